/* Every row of run files as the JSON of schema knowedit.cases/1. */
#include "edit/edit.h"
#include "knowedit/bench.h"
#include "study/study.h"
#include "study/table.h"

#include <string.h>

typedef struct writer {
    ke__text text;
    const char *path;
    char *mode; /* of the run */
    size_t n;   /* rows so far */
} writer;

static json_t *seconds_json(const ke__store_row *row)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "edit", ke__json_number(row->seconds_edit)) &&
              ke__json_set(out, "evaluate", ke__json_number(row->seconds_evaluate));
    return ke__json_done(out, ok);
}

/* The store's columns are what a row is found by, so they count. */
static bool add_columns(json_t *o, const writer *w, const ke__store_row *row)
{
    return ke__json_set(o, "set", ke__json_string(row->set)) &&
           ke__json_set(o, "index", json_integer((json_int_t)row->index)) &&
           ke__json_set(o, "method", ke__json_string(row->method)) &&
           ke__json_set(o, "protocol", ke__json_string(row->protocol)) &&
           ke__json_set(o, "file", ke__json_string(row->file_name)) &&
           ke__json_set(o, "mode", ke__json_string(w->mode ? w->mode : "single")) &&
           ke__json_set(o, "at", ke__json_string(row->at)) &&
           ke__json_set(o, "seconds", seconds_json(row)) &&
           (!row->error || ke__json_set(o, "error", ke__json_string(row->error)));
}

/* Rows are written one by one: only the text that is asked for grows with them. */
static ke_status write_row(ke_ctx *cx, const ke__store_row *row, void *payload)
{
    ke_status st = KE_OK;
    writer *w = payload;
    char *text = NULL;
    json_t *o = NULL;

    KE_TRY(ke__check_cancel(cx));
    KE_TRY(ke__row_body(cx, &o, row, w->path));
    if (!add_columns(o, w, row)) {
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory: a row of %s", w->path);
        goto done;
    }
    KE_TRY(ke__json_text(cx, &text, o, 17));
    KE_TRY(ke__text_addf(cx, &w->text, "%s\n", w->n++ ? "," : ""));
    KE_TRY(ke__text_add(cx, &w->text, text, strlen(text)));
done:
    ke__free(cx, text);
    json_decref(o);
    return st;
}

static ke_status write_run(ke_ctx *cx, writer *w, const char *path)
{
    ke_status st = KE_OK;
    ke__store *store = NULL;
    w->path = path;
    w->mode = NULL;
    KE_TRY(ke__store_read(cx, &store, path));
    KE_TRY(ke__store_setting(cx, store, "mode", &w->mode));
    KE_TRY(ke__store_rows(cx, store, write_row, w));
done:
    ke__free(cx, w->mode);
    ke__store_close(cx, store);
    return st;
}

ke_status ke_report_cases(ke_ctx *cx, char **json, const char *const *runs, size_t n_runs)
{
    ke_status st = KE_OK;
    writer w = {0};

    *json = NULL;
    KE_TRY(ke__text_addf(cx, &w.text, "{\"schema\":\"knowedit.cases/1\",\"cases\":["));
    for (size_t i = 0; i < n_runs; i++)
        KE_TRY(write_run(cx, &w, runs[i]));
    KE_TRY(ke__text_addf(cx, &w.text, "\n]}"));
    *json = w.text.data;
    w.text.data = NULL;
done:
    ke__free(cx, w.text.data);
    return st;
}
