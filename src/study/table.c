/* A table: its pages, blocks, columns and rows, found or made. */
#include "study/table.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Further figures with a name of their own in the literature (methods 5.7), in the order of
 * their columns; any other is printed as it is, after them. */
static const struct metric {
    const char *name, *title;
    double scale;
} metrics[] = {
    {"score", "S", 1}, /* made here of three columns */
    {"efficacy", "ES", 100},
    {"efficacy_magnitude", "EM", 100},
    {"paraphrase", "PS", 100},
    {"paraphrase_magnitude", "PM", 100},
    {"neighbourhood", "NS", 100},
    {"neighbourhood_magnitude", "NM", 100},
};
enum { N_METRICS = sizeof metrics / sizeof metrics[0] };

static const struct {
    const char *name, *title;
} measures[] = {
    [KE__COLUMN_SUCCESS] = {"success", "Edit Succ."},
    [KE__COLUMN_PORTABILITY] = {"portability", "Portability"},
    [KE__COLUMN_LOCALITY] = {"locality", "Locality"},
    [KE__COLUMN_FLUENCY] = {"fluency", "Fluency"},
    [KE__COLUMN_REPHRASE] = {"rephrase", "Rephrase"},
    [KE__COLUMN_EXACT] = {"exact", "Exact"},
    [KE__COLUMN_PROBABILITY] = {"probability", "Probability"},
    /* Their columns' titles are the parts' own. */
    [KE__COLUMN_PORTABILITY_PART] = {"portability", NULL},
    [KE__COLUMN_LOCALITY_PART] = {"locality", NULL},
    [KE__COLUMN_METRIC] = {"metrics", NULL},
    [KE__COLUMN_SECONDS] = {"seconds", NULL},
};

const char *ke__measure_name(ke__measure measure)
{
    return measures[measure].name;
}

size_t ke__metric_rank(const char *name)
{
    size_t i = 0;
    while (i < N_METRICS && strcmp(metrics[i].name, name) != 0)
        i++;
    return i;
}

bool ke__is_divergence(const ke__block *b, ke__measure measure)
{
    return b->row && b->row->kind == KE__CASE_CONVSENT &&
           (measure == KE__COLUMN_LOCALITY || measure == KE__COLUMN_LOCALITY_PART);
}

double ke__column_scale(const ke__block *b, const ke__column *c)
{
    if (c->measure == KE__COLUMN_SECONDS || ke__is_divergence(b, c->measure))
        return 1;
    if (c->measure != KE__COLUMN_METRIC)
        return 100;
    size_t i = ke__metric_rank(c->name);
    return i < N_METRICS ? metrics[i].scale : 1;
}

/* --- pages, blocks, columns, rows: found, or made --- */

ke_status ke__table_grow(ke_ctx *cx, void *io, size_t n, size_t size)
{
    void **block = io;
    ke_status st = ke__resize(cx, io, n + 1, size);
    if (st == KE_OK)
        memset((char *)*block + n * size, 0, size);
    return st;
}

static int compare_pages(const ke__page *a, const ke__page *b)
{
    int protocol = strcmp(a->protocol, b->protocol), mode = strcmp(b->mode, a->mode);
    return protocol ? protocol : mode ? mode : strcmp(a->at, b->at);
}

static ke_status head_page(ke_ctx *cx, ke__page *p)
{
    bool sequential = strcmp(p->mode, "sequential") == 0;
    return ke__format(cx, &p->heading, "%s protocol, %s edits%s", p->protocol, p->mode,
                      !sequential                 ? ""
                      : strcmp(p->at, "end") == 0 ? ", scored at the end"
                                                  : ", scored after each");
}

ke_status ke__table_page(ke_ctx *cx, ke__table *t, ke__page **out, const char *protocol,
                         const char *mode, const char *at)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < t->n_pages; i++) {
        *out = &t->pages[i];
        if (strcmp((*out)->protocol, protocol) == 0 && strcmp((*out)->mode, mode) == 0 &&
            strcmp((*out)->at, at) == 0)
            return KE_OK;
    }
    KE_TRY(ke__table_grow(cx, &t->pages, t->n_pages, sizeof *t->pages));
    size_t i = t->n_pages++;
    ke__page *p = t->pages;
    KE_TRY(ke__strdup(cx, &p[i].protocol, protocol));
    KE_TRY(ke__strdup(cx, &p[i].mode, mode));
    KE_TRY(ke__strdup(cx, &p[i].at, at));
    KE_TRY(head_page(cx, &p[i]));
    for (; i > 0 && compare_pages(&p[i - 1], &p[i]) > 0; i--) {
        ke__page other = p[i];
        p[i] = p[i - 1];
        p[i - 1] = other;
    }
    *out = &p[i];
done:
    return st;
}

static const char *title_of(const ke__column *c)
{
    if (c->measure < KE__COLUMN_PORTABILITY_PART)
        return measures[c->measure].title;
    if (c->measure == KE__COLUMN_SECONDS)
        return strcmp(c->name, "edit") == 0 ? "Edit (s)" : "Scores (s)";
    size_t i = c->measure == KE__COLUMN_METRIC ? ke__metric_rank(c->name) : N_METRICS;
    return i < N_METRICS ? metrics[i].title : c->name;
}

ke_status ke__table_column(ke_ctx *cx, ke__block *b, size_t *out, ke__measure measure,
                           const char *name)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < b->n_columns; i++)
        if (b->columns[i].measure == measure && strcmp(b->columns[i].name, name) == 0) {
            *out = i;
            return KE_OK;
        }
    for (size_t i = 0; i < b->n_rows; i++)
        KE_TRY(ke__table_grow(cx, &b->rows[i].cells, b->n_columns, sizeof *b->rows->cells));
    KE_TRY(ke__table_grow(cx, &b->columns, b->n_columns, sizeof *b->columns));
    *out = b->n_columns++;
    ke__column *c = &b->columns[*out];
    c->measure = measure;
    KE_TRY(ke__strdup(cx, &c->name, name));
    c->title = title_of(c);
done:
    return st;
}

static size_t set_rank(const ke__set *set)
{
    size_t i = 0;
    while (ke__set_at(i) && ke__set_at(i) != set)
        i++;
    return i;
}

ke_status ke__table_block(ke_ctx *cx, ke__page *p, ke__block **out, const char *set)
{
    ke_status st = KE_OK;
    size_t column;
    for (size_t i = 0; i < p->n_blocks; i++) {
        *out = &p->blocks[i];
        if (strcmp((*out)->set, set) == 0)
            return KE_OK;
    }
    KE_TRY(ke__table_grow(cx, &p->blocks, p->n_blocks, sizeof *p->blocks));
    size_t i = p->n_blocks++;
    ke__block *b = p->blocks;
    KE_TRY(ke__strdup(cx, &b[i].set, set));
    b[i].row = ke__set_find(set);
    b[i].title = b[i].row ? b[i].row->title : b[i].set;
    for (int m = 0; m < KE__COLUMNS_MAIN; m++)
        KE_TRY(ke__table_column(cx, &b[i], &column, (ke__measure)m, measures[m].name));
    for (; i > 0 && set_rank(b[i - 1].row) > set_rank(b[i].row); i--) {
        ke__block other = b[i];
        b[i] = b[i - 1];
        b[i - 1] = other;
    }
    *out = &b[i];
done:
    return st;
}

ke_status ke__table_row_of(ke_ctx *cx, ke__block *b, ke__table_row **out, size_t run,
                           size_t order, const char *method)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < b->n_rows; i++) {
        *out = &b->rows[i];
        if ((*out)->run == run && (*out)->order == order)
            return KE_OK;
    }
    KE_TRY(ke__table_grow(cx, &b->rows, b->n_rows, sizeof *b->rows));
    ke__table_row *r = *out = &b->rows[b->n_rows++];
    r->run = run;
    r->order = order;
    KE_TRY(ke__alloc(cx, &r->cells, b->n_columns, sizeof *r->cells));
    KE_TRY(ke__strdup(cx, &r->method, method));
done:
    return st;
}

ke_status ke__table_take(ke_ctx *cx, ke__block *b, ke__table_row *r, ke__measure measure,
                         const char *name, double value)
{
    ke_status st = KE_OK;
    size_t column;
    if (isnan(value))
        return KE_OK;
    KE_TRY(ke__table_column(cx, b, &column, measure, name));
    ke__cell *c = &r->cells[column];
    if (c->n == c->room) {
        size_t room = c->room ? 2 * c->room : 32;
        KE_TRY(ke__resize(cx, &c->values, room, sizeof *c->values));
        c->room = room;
    }
    c->values[c->n++] = value * ke__column_scale(b, &b->columns[column]);
done:
    return st;
}

const char *ke__table_setting_of(const ke__table_run *run, const char *name,
                                 const char *or_else)
{
    for (size_t i = 0; i < run->n_settings; i++)
        if (strcmp(run->settings[i].name, name) == 0)
            return run->settings[i].value;
    return or_else;
}

/* --- the whole --- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static ke_status name_runs(ke_ctx *cx, ke__table *t, const char *const *paths)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < t->n_runs; i++) {
        t->runs[i].path = paths[i];
        t->runs[i].name = last_part(paths[i]);
        for (size_t k = 0; k < i; k++) {
            if (ke__file_same(paths[k], paths[i])) {
                st = ke__fail(cx, KE_EINVAL, paths[i], "%s is given twice", paths[i]);
                goto done;
            }
            if (strcmp(last_part(paths[k]), last_part(paths[i])) == 0) {
                t->runs[k].name = paths[k];
                t->runs[i].name = paths[i];
            }
        }
    }
done:
    return st;
}

ke_status ke__table_make(ke_ctx *cx, ke__table *out, const char *const *runs, size_t n_runs,
                         bool parts)
{
    ke_status st = KE_OK;
    *out = (ke__table){.parts = parts};
    if (n_runs == 0)
        return ke__fail(cx, KE_EINVAL, NULL, "a report needs the file of a run");
    KE_TRY(ke__alloc(cx, &out->runs, n_runs, sizeof *out->runs));
    out->n_runs = n_runs;
    KE_TRY(name_runs(cx, out, runs));
    for (size_t i = 0; i < n_runs; i++)
        KE_TRY(ke__table_read(cx, out, i));
    KE_TRY(ke__table_finish(cx, out));
done:
    if (st != KE_OK)
        ke__table_free(cx, out);
    return st;
}

static void block_free(ke_ctx *cx, ke__block *b)
{
    for (size_t i = 0; i < b->n_rows; i++) {
        ke__table_row *r = &b->rows[i];
        for (size_t k = 0; r->cells && k < b->n_columns; k++)
            ke__free(cx, r->cells[k].values);
        ke__free(cx, r->cells);
        ke__free(cx, r->method);
        ke__free(cx, r->label);
        ke__free(cx, r->error);
    }
    for (size_t i = 0; i < b->n_columns; i++)
        ke__free(cx, b->columns[i].name);
    ke__free(cx, b->rows);
    ke__free(cx, b->columns);
    ke__free(cx, b->set);
}

static void run_free(ke_ctx *cx, ke__table_run *r)
{
    for (size_t i = 0; i < r->n_settings; i++) {
        ke__free(cx, r->settings[i].name);
        ke__free(cx, r->settings[i].value);
    }
    ke__free(cx, r->settings);
    ke__free(cx, r->first_bad);
}

static void texts_free(ke_ctx *cx, char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ke__free(cx, texts[i]);
    ke__free(cx, texts);
}

void ke__table_free(ke_ctx *cx, ke__table *t)
{
    for (size_t i = 0; i < t->n_pages; i++) {
        ke__page *p = &t->pages[i];
        for (size_t k = 0; k < p->n_blocks; k++)
            block_free(cx, &p->blocks[k]);
        ke__free(cx, p->blocks);
        ke__free(cx, p->protocol);
        ke__free(cx, p->mode);
        ke__free(cx, p->at);
        ke__free(cx, p->heading);
    }
    for (size_t i = 0; i < t->n_runs; i++)
        run_free(cx, &t->runs[i]);
    texts_free(cx, t->notes, t->n_notes);
    texts_free(cx, t->remarks, t->n_remarks);
    ke__free(cx, t->pages);
    ke__free(cx, t->runs);
    *t = (ke__table){0};
}
