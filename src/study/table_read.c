/* A run file into a table: every row is looked at once, and what is kept of it is a number
 * a column. */
#include "study/table.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- reading a row --- */

ke_status ke__row_body(ke_ctx *cx, json_t **out, const ke__store_row *row, const char *path)
{
    *out = json_loads(row->body, JSON_DECODE_ANY, NULL);
    if (json_is_object(*out))
        return KE_OK;
    json_decref(*out);
    *out = NULL;
    return ke__fail(cx, KE_EFORMAT, path,
                    "%s: case %zu of %s, method %s: its scores are no JSON object", path,
                    row->index, row->set, row->method);
}

/* Of a list of scores, or a number; NaN without any. */
static double mean_of(const json_t *value)
{
    double sum = 0;
    size_t n = 0;
    if (json_is_number(value))
        return json_number_value(value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item))
            continue;
        sum += json_number_value(item);
        n++;
    }
    return n ? sum / (double)n : (double)NAN;
}

/* Mean over the parts that have a score of the means of their prompts (methods 5.1). */
static double mean_of_parts(json_t *parts)
{
    double sum = 0;
    size_t n = 0;
    const char *name;
    json_t *scores;
    json_object_foreach(parts, name, scores)
    {
        double mean = mean_of(scores);
        if (isnan(mean))
            continue;
        sum += mean;
        n++;
    }
    return n ? sum / (double)n : (double)NAN;
}

static ke_status take_all(ke_ctx *cx, ke__block *b, ke__table_row *r, ke__measure measure,
                          json_t *values)
{
    ke_status st = KE_OK;
    const char *name;
    json_t *value;
    json_object_foreach(values, name, value)
        KE_TRY(ke__table_take(cx, b, r, measure, name, mean_of(value)));
done:
    return st;
}

static ke_status take_scores(ke_ctx *cx, const ke__table *t, ke__block *b, ke__table_row *r,
                             const json_t *body, const ke__store_row *row)
{
    ke_status st = KE_OK;
    json_t *portability = json_object_get(body, "portability");
    json_t *locality = json_object_get(body, "locality");

    for (int m = 0; m < KE__COLUMN_PORTABILITY_PART; m++) {
        const char *name = ke__measure_name((ke__measure)m);
        bool parts = m == KE__COLUMN_PORTABILITY || m == KE__COLUMN_LOCALITY;
        json_t *value = json_object_get(body, name);
        if (m < KE__COLUMNS_MAIN || t->parts)
            KE_TRY(ke__table_take(cx, b, r, (ke__measure)m, name,
                                  parts ? mean_of_parts(value) : mean_of(value)));
    }
    if (!t->parts)
        return KE_OK;
    KE_TRY(take_all(cx, b, r, KE__COLUMN_PORTABILITY_PART, portability));
    KE_TRY(take_all(cx, b, r, KE__COLUMN_LOCALITY_PART, locality));
    KE_TRY(take_all(cx, b, r, KE__COLUMN_METRIC, json_object_get(body, "metrics")));
    KE_TRY(ke__table_take(cx, b, r, KE__COLUMN_SECONDS, "edit", row->seconds_edit));
    KE_TRY(ke__table_take(cx, b, r, KE__COLUMN_SECONDS, "evaluate", row->seconds_evaluate));
done:
    return st;
}

/* --- reading a run --- */

typedef struct reader {
    ke__table *table;
    size_t run;
} reader;

static ke_status read_setting(ke_ctx *cx, const char *name, const char *value,
                              void *payload)
{
    ke_status st = KE_OK;
    const reader *rd = payload;
    ke__table_run *run = &rd->table->runs[rd->run];
    KE_TRY(ke__table_grow(cx, &run->settings, run->n_settings, sizeof *run->settings));
    ke__table_setting *s = &run->settings[run->n_settings++];
    KE_TRY(ke__strdup(cx, &s->name, name));
    KE_TRY(ke__strdup(cx, &s->value, value));
done:
    return st;
}

/* The next of "rome,ft-m" into `item`; false at the end. */
static bool next_item(const char **list, char item[64])
{
    size_t n = strcspn(*list, ",");
    if (n == 0)
        return false;
    snprintf(item, 64, "%.*s", (int)n, *list);
    *list += n + ((*list)[n] == ',');
    return true;
}

/* A row for every method on the case's set in a page, measured or not. */
static ke_status expect_methods(ke_ctx *cx, const reader *rd, ke__page *page,
                                const char *set)
{
    ke_status st = KE_OK;
    ke__table_run *run = &rd->table->runs[rd->run];
    const char *methods = ke__table_setting_of(run, "methods", "");
    char method[64];
    ke__block *block;
    ke__table_row *row;

    KE_TRY(ke__table_block(cx, page, &block, set));
    for (size_t order = 0; next_item(&methods, method); order++) {
        KE_TRY(ke__table_row_of(cx, block, &row, rd->run, order, method));
        row->n_cases++;
        run->n_expected++;
    }
done:
    return st;
}

static ke_status read_case(ke_ctx *cx, const ke__store_case *c, void *payload)
{
    ke_status st = KE_OK;
    const reader *rd = payload;
    ke__table_run *run = &rd->table->runs[rd->run];
    const char *protocols = ke__table_setting_of(run, "protocol", ""), *ats;
    char protocol[64], at[64];
    ke__page *page;

    run->n_skipped += c->n_skipped;
    if (strcmp(protocols, "both") == 0)
        protocols = "easyedit,real";
    while (next_item(&protocols, protocol))
        for (ats = ke__table_setting_of(run, "score-at", "each"); next_item(&ats, at);) {
            KE_TRY(ke__table_page(cx, rd->table, &page, protocol,
                                  ke__table_setting_of(run, "mode", "single"), at));
            KE_TRY(expect_methods(cx, rd, page, c->set));
        }
done:
    return st;
}

static ke_status read_row(ke_ctx *cx, const ke__store_row *in, void *payload)
{
    ke_status st = KE_OK;
    const reader *rd = payload;
    ke__table_run *run = &rd->table->runs[rd->run];
    ke__page *page;
    ke__block *block;
    ke__table_row *row;
    json_t *body = NULL;

    KE_TRY(ke__check_cancel(cx));
    KE_TRY(ke__table_page(cx, rd->table, &page, in->protocol,
                          ke__table_setting_of(run, "mode", "single"), in->at));
    KE_TRY(ke__table_block(cx, page, &block, in->set));
    KE_TRY(ke__table_row_of(cx, block, &row, rd->run, in->method_order, in->method));
    run->n_rows++;
    row->n_measured++;
    if (in->error) {
        run->n_failed++;
        if (row->n_failed++ == 0)
            KE_TRY(ke__strdup(cx, &row->error, in->error));
        goto done;
    }
    KE_TRY(ke__row_body(cx, &body, in, run->path));
    KE_TRY(take_scores(cx, rd->table, block, row, body, in));
done:
    json_decref(body);
    return st;
}

static ke_status read_bad(ke_ctx *cx, const char *file, size_t index, const char *message,
                          void *payload)
{
    const reader *rd = payload;
    ke__table_run *run = &rd->table->runs[rd->run];
    (void)file, (void)index;
    return run->n_bad++ == 0 ? ke__strdup(cx, &run->first_bad, message) : KE_OK;
}

ke_status ke__table_read(ke_ctx *cx, ke__table *t, size_t i)
{
    ke_status st = KE_OK;
    ke__store *store = NULL;
    reader rd = {t, i};

    KE_TRY(ke__store_read(cx, &store, t->runs[i].path));
    KE_TRY(ke__store_settings(cx, store, read_setting, &rd));
    KE_TRY(ke__store_cases(cx, store, read_case, &rd));
    KE_TRY(ke__store_rows(cx, store, read_row, &rd));
    KE_TRY(ke__store_bad(cx, store, read_bad, &rd));
done:
    ke__store_close(cx, store);
    return st;
}
