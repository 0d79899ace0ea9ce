/* One case as a person reads it: what was edited, then for every method and protocol the
 * scores, and the prompts with what was expected and what was said. */
#include "knowedit/bench.h"
#include "study/table.h"

#include <string.h>

/* The record of that index in one file of one run, and what was measured of it. */
typedef struct page {
    size_t run, file;
    ke__text text;
    size_t n_rows;
} page;
typedef struct reader {
    page *pages; /* [n] */
    size_t n, run, index;
    const char *path; /* of the run */
    char *mode;
} reader;

/* In quotes, on one line. */
static ke_status add_quoted(ke_ctx *cx, ke__text *out, const char *text)
{
    ke_status st = KE_OK;
    KE_TRY(ke__text_add(cx, out, "\"", 1));
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '\n')
            KE_TRY(ke__text_add(cx, out, "\\n", 2));
        else if (byte == '"' || byte == '\\')
            KE_TRY(ke__text_addf(cx, out, "\\%c", byte));
        else if (byte < 0x20 || byte == 0x7f)
            KE_TRY(ke__text_addf(cx, out, "\\x%02x", byte));
        else
            KE_TRY(ke__text_add(cx, out, text, 1));
    }
    KE_TRY(ke__text_add(cx, out, "\"", 1));
done:
    return st;
}

static ke_status add_line(ke_ctx *cx, ke__text *out, const char *label, const char *text)
{
    ke_status st = KE_OK;
    if (!text)
        return KE_OK;
    KE_TRY(ke__text_addf(cx, out, "%s", label));
    KE_TRY(add_quoted(cx, out, text));
    KE_TRY(ke__text_add(cx, out, "\n", 1));
done:
    return st;
}

/* --- scores --- */

static bool is_empty(const json_t *value)
{
    return json_is_null(value) || (!json_is_number(value) && !json_is_string(value) &&
                                   json_array_size(value) == 0);
}

static ke_status add_value(ke_ctx *cx, ke__text *out, const json_t *value)
{
    if (json_is_string(value))
        return ke__text_addf(cx, out, " %s", json_string_value(value));
    if (json_is_number(value))
        return ke__text_addf(cx, out, " %.4g", json_number_value(value));
    return ke__text_add(cx, out, " -", 2);
}

/* "    portability Reasoning: 1 0.5"; nothing of what is not there. */
static ke_status add_values(ke_ctx *cx, ke__text *out, const char *name, const char *part,
                            const json_t *value)
{
    ke_status st = KE_OK;
    if (is_empty(value))
        return KE_OK;
    KE_TRY(ke__text_addf(cx, out, "    %s%s%s:", name, *part ? " " : "", part));
    if (!json_is_array(value))
        KE_TRY(add_value(cx, out, value));
    for (size_t i = 0; i < json_array_size(value); i++)
        KE_TRY(add_value(cx, out, json_array_get(value, i)));
    KE_TRY(ke__text_add(cx, out, "\n", 1));
done:
    return st;
}

static ke_status add_scores(ke_ctx *cx, ke__text *out, const json_t *body)
{
    static const char *const names[] = {"success",  "exact",       "probability",
                                        "rephrase", "portability", "locality",
                                        "fluency",  "metrics",     NULL};
    ke_status st = KE_OK;
    const char *part;
    json_t *value;
    for (size_t i = 0; names[i]; i++) {
        json_t *scores = json_object_get(body, names[i]);
        if (!json_is_object(scores))
            KE_TRY(add_values(cx, out, names[i], "", scores));
        json_object_foreach(scores, part, value)
            KE_TRY(add_values(cx, out, names[i], part, value));
    }
done:
    return st;
}

/* --- texts --- */

/* The score of text i: texts of a kind and part stand in the order of their scores. */
static const json_t *score_of(const json_t *body, const json_t *texts, size_t i)
{
    const json_t *text = json_array_get(texts, i);
    const char *kind = json_string_value(json_object_get(text, "kind"));
    const char *part = json_string_value(json_object_get(text, "part"));
    const json_t *scores = json_object_get(body, kind ? kind : "");
    size_t place = 0;
    for (size_t k = 0; k < i; k++) {
        const json_t *other = json_array_get(texts, k);
        place +=
            json_equal(json_object_get(other, "kind"), json_object_get(text, "kind")) &&
            (!part ||
             json_equal(json_object_get(other, "part"), json_object_get(text, "part")));
    }
    return json_array_get(part ? json_object_get(scores, part) : scores, place);
}

static ke_status add_text(ke_ctx *cx, ke__text *out, const json_t *body,
                          const json_t *texts, size_t i)
{
    static const char *const fields[][2] = {{"prompt", "      prompt    "},
                                            {"expected", "      expected  "},
                                            {"before", "      before    "},
                                            {"after", "      after     "}};
    ke_status st = KE_OK;
    const json_t *text = json_array_get(texts, i), *score = score_of(body, texts, i);
    const char *kind = json_string_value(json_object_get(text, "kind"));
    const char *part = json_string_value(json_object_get(text, "part"));

    KE_TRY(ke__text_addf(cx, out, "\n    %s%s%s", kind ? kind : "text", part ? " " : "",
                         part ? part : ""));
    if (json_is_number(score))
        KE_TRY(ke__text_addf(cx, out, ", score %.4g", json_number_value(score)));
    KE_TRY(ke__text_add(cx, out, "\n", 1));
    for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++)
        KE_TRY(add_line(cx, out, fields[k][1],
                        json_string_value(json_object_get(text, fields[k][0]))));
done:
    return st;
}

/* --- cases and their rows --- */

static ke_status read_case(ke_ctx *cx, const ke__store_case *c, void *payload)
{
    ke_status st = KE_OK;
    reader *rd = payload;
    if (c->index != rd->index)
        return KE_OK;
    KE_TRY(ke__resize(cx, &rd->pages, rd->n + 1, sizeof *rd->pages));
    page *p = &rd->pages[rd->n++];
    *p = (page){.run = rd->run, .file = c->file};
    KE_TRY(ke__text_addf(cx, &p->text, "case %zu of %s (%s)\n", c->index, c->set,
                         c->file_name));
    KE_TRY(add_line(cx, &p->text, "  subject  ", c->subject));
    KE_TRY(add_line(cx, &p->text, "  prompt   ", c->prompt));
    KE_TRY(add_line(cx, &p->text, "  target   ", c->target));
done:
    return st;
}

static ke_status add_row(ke_ctx *cx, ke__text *out, const ke__store_row *row,
                         const char *mode, const json_t *body)
{
    ke_status st = KE_OK;
    const json_t *texts = json_object_get(body, "texts");
    bool end = strcmp(row->at, "end") == 0;

    KE_TRY(ke__text_addf(cx, out,
                         "\n  %s, %s protocol, %s edits%s (edit %.2f s, scores %.2f s)\n",
                         row->method, row->protocol, mode, end ? ", scored at the end" : "",
                         row->seconds_edit, row->seconds_evaluate));
    if (row->error)
        KE_TRY(ke__text_addf(cx, out, "    not measured: %s\n", row->error));
    KE_TRY(add_scores(cx, out, body));
    for (size_t i = 0; i < json_array_size(texts); i++)
        KE_TRY(add_text(cx, out, body, texts, i));
done:
    return st;
}

static ke_status read_row(ke_ctx *cx, const ke__store_row *row, void *payload)
{
    ke_status st = KE_OK;
    reader *rd = payload;
    json_t *body = NULL;
    if (row->index != rd->index)
        return KE_OK;
    KE_TRY(ke__row_body(cx, &body, row, rd->path));
    for (size_t i = 0; i < rd->n; i++)
        if (rd->pages[i].run == rd->run && rd->pages[i].file == row->file) {
            KE_TRY(
                add_row(cx, &rd->pages[i].text, row, rd->mode ? rd->mode : "single", body));
            rd->pages[i].n_rows++;
        }
done:
    json_decref(body);
    return st;
}

static ke_status read_run(ke_ctx *cx, reader *rd)
{
    ke_status st = KE_OK;
    ke__store *store = NULL;
    KE_TRY(ke__store_read(cx, &store, rd->path));
    KE_TRY(ke__store_setting(cx, store, "mode", &rd->mode));
    KE_TRY(ke__store_cases(cx, store, read_case, rd));
    KE_TRY(ke__store_rows(cx, store, read_row, rd));
done:
    ke__free(cx, rd->mode);
    rd->mode = NULL;
    ke__store_close(cx, store);
    return st;
}

ke_status ke_report_case(ke_ctx *cx, char **out, const char *const *runs, size_t n_runs,
                         size_t index)
{
    ke_status st = KE_OK;
    reader rd = {.index = index};
    ke__text text = {0};

    *out = NULL;
    for (rd.run = 0; rd.run < n_runs; rd.run++) {
        rd.path = runs[rd.run];
        KE_TRY(read_run(cx, &rd));
    }
    if (rd.n == 0) {
        st = ke__fail(cx, KE_ENOENT, NULL, "no case %zu in %s%s", index,
                      n_runs > 0 ? runs[0] : "no run", n_runs > 1 ? " and the others" : "");
        goto done;
    }
    for (size_t i = 0; i < rd.n; i++) {
        const page *p = &rd.pages[i];
        KE_TRY(ke__text_addf(cx, &text, "%s%s", i ? "\n" : "",
                             n_runs > 1 ? runs[p->run] : ""));
        KE_TRY(ke__text_addf(cx, &text, "%s%s%s", n_runs > 1 ? ": " : "", p->text.data,
                             p->n_rows ? "" : "\n  not measured yet\n"));
    }
    *out = text.data;
    text.data = NULL;
done:
    for (size_t i = 0; i < rd.n; i++)
        ke__free(cx, rd.pages[i].text.data);
    ke__free(cx, rd.pages);
    ke__free(cx, text.data);
    return st;
}
