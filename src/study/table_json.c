/* A table as the JSON of schema knowedit.report/1. */
#include "edit/edit.h"
#include "study/study.h"
#include "study/table.h"

#include <math.h>

static json_t *count(size_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *cell_json(const ke__table *t, const ke__column *column, const ke__cell *c)
{
    json_t *out = json_object();
    bool empty = c->mean.n == 0, one = c->mean.n < 2;
    bool ok =
        ke__json_set(out, "measure", json_string(ke__measure_name(column->measure))) &&
        (column->measure < KE__COLUMN_PORTABILITY_PART ||
         ke__json_set(out, "part", ke__json_string(column->name))) &&
        ke__json_set(out, "mean", ke__json_number(empty ? (double)NAN : c->mean.mean)) &&
        ke__json_set(out, "standard_error",
                     ke__json_number(one ? (double)NAN : c->mean.standard_error)) &&
        ke__json_set(out, "n", count(c->mean.n)) &&
        (c->note == 0 || ke__json_set(out, "note", ke__json_string(t->notes[c->note - 1])));
    return ke__json_done(out, ok);
}

static json_t *row_json(const ke__table *t, const ke__block *b, const ke__table_row *r)
{
    json_t *out = json_object(), *scores = json_array();
    bool ok = ke__json_set(out, "method", ke__json_string(r->method)) &&
              ke__json_set(out, "run", ke__json_string(t->runs[r->run].path)) &&
              ke__json_set(out, "cases", count(r->n_cases)) &&
              ke__json_set(out, "measured", count(r->n_measured)) &&
              ke__json_set(out, "failed", count(r->n_failed)) &&
              (r->n_failed == 0 || ke__json_set(out, "error", ke__json_string(r->error)));
    for (size_t k = 0; k < b->n_columns; k++)
        ok = ok && ke__json_add(scores, cell_json(t, &b->columns[k], &r->cells[k]));
    ok = ke__json_set(out, "scores", scores) && ok;
    return ke__json_done(out, ok);
}

static json_t *block_json(const ke__table *t, const ke__block *b)
{
    json_t *out = json_object(), *rows = json_array();
    bool ok = ke__json_set(out, "set", ke__json_string(b->set)) &&
              ke__json_set(out, "title", ke__json_string(b->title));
    for (size_t i = 0; i < b->n_rows; i++)
        ok = ok && ke__json_add(rows, row_json(t, b, &b->rows[i]));
    ok = ke__json_set(out, "methods", rows) && ok;
    return ke__json_done(out, ok);
}

static json_t *page_json(const ke__table *t, const ke__page *p)
{
    json_t *out = json_object(), *blocks = json_array();
    bool ok = ke__json_set(out, "protocol", ke__json_string(p->protocol)) &&
              ke__json_set(out, "mode", ke__json_string(p->mode)) &&
              ke__json_set(out, "at", ke__json_string(p->at));
    for (size_t i = 0; i < p->n_blocks; i++)
        ok = ok && ke__json_add(blocks, block_json(t, &p->blocks[i]));
    ok = ke__json_set(out, "sets", blocks) && ok;
    return ke__json_done(out, ok);
}

static json_t *run_json(const ke__table_run *r)
{
    json_t *out = json_object(), *settings = json_object();
    bool ok = ke__json_set(out, "path", ke__json_string(r->path)) &&
              ke__json_set(out, "measured", count(r->n_rows)) &&
              ke__json_set(out, "expected", count(r->n_expected)) &&
              ke__json_set(out, "failed", count(r->n_failed)) &&
              ke__json_set(out, "bad_records", count(r->n_bad)) &&
              ke__json_set(out, "skipped_answers", count(r->n_skipped));
    for (size_t i = 0; i < r->n_settings; i++)
        ok = ok && ke__json_set(settings, r->settings[i].name,
                                ke__json_string(r->settings[i].value));
    ok = ke__json_set(out, "settings", settings) && ok;
    return ke__json_done(out, ok);
}

static json_t *table_json(const ke__table *t)
{
    json_t *out = json_object(), *runs = json_array(), *pages = json_array(),
           *remarks = json_array();
    bool ok = ke__json_set(out, "schema", json_string("knowedit.report/1"));
    for (size_t i = 0; i < t->n_runs; i++)
        ok = ok && ke__json_add(runs, run_json(&t->runs[i]));
    for (size_t i = 0; i < t->n_pages; i++)
        ok = ok && ke__json_add(pages, page_json(t, &t->pages[i]));
    for (size_t i = 0; i < t->n_remarks; i++)
        ok = ok && ke__json_add(remarks, ke__json_string(t->remarks[i]));
    ok = ke__json_set(out, "runs", runs) && ok;
    ok = ke__json_set(out, "tables", pages) && ok;
    ok = ke__json_set(out, "remarks", remarks) && ok;
    return ke__json_done(out, ok);
}

ke_status ke__table_json(ke_ctx *cx, char **out, const ke__table *t)
{
    json_t *table = table_json(t);
    ke_status st = ke__json_text(cx, out, table, 17);
    json_decref(table);
    return st;
}
