/* Data files from outside: whether they are sound, what is in them, and the same in our
 * own form. */
#include "knowedit/bench.h"

#include "eval/case.h"
#include "study/study.h"

#include <stdio.h>
#include <string.h>

/* --- check ------------------------------------------------------------------------ */

static ke_status say_bad(ke_ctx *cx, ke__text *text, size_t *n, const ke__cases *cases)
{
    ke_status st = KE_OK;
    const char *said = ""; /* what every case looks at spoils them all: named once */
    for (size_t i = 0; i < cases->n_bad; i++) {
        const char *message = cases->bad[i].message;
        if (strcmp(said, message) == 0)
            continue;
        KE_TRY(ke__text_addf(cx, text, "%s\n", message));
        ++*n;
        said = message;
    }
done:
    return st;
}

static size_t sum_skipped(const ke__cases *cases)
{
    size_t n = 0;
    for (size_t i = 0; i < cases->n; i++)
        n += cases->items[i].n_skipped;
    return n;
}

static ke_status check_file(ke_ctx *cx, ke__text *text, size_t *n_bad, const char *file,
                            const char *set)
{
    ke_status st = KE_OK;
    const ke__cases_opts opts = {.set = set, .skip_bad = true, .retain_all = true};
    ke__cases cases;

    st = ke__cases_load(cx, &cases, &file, 1, &opts);
    if (st == KE_EFORMAT) { /* not even records */
        ++*n_bad;
        return ke__text_addf(cx, text, "%s\n", ke_ctx_message(cx));
    }
    if (st != KE_OK)
        return st;
    KE_TRY(say_bad(cx, text, n_bad, &cases));
    if (cases.n > 0)
        KE_TRY(ke__text_addf(cx, text,
                             "%s: %zu records of %s, %zu sound, %zu empty "
                             "answers and groups skipped\n",
                             file, cases.n + cases.n_bad, cases.items[0].set, cases.n,
                             sum_skipped(&cases)));
done:
    ke__cases_free(cx, &cases);
    return st;
}

ke_status ke_data_check(ke_ctx *cx, char **out, const char *const *files, size_t n_files,
                        const char *set)
{
    ke_status st = KE_OK;
    ke__text text = {0};
    size_t n_bad = 0;

    *out = NULL;
    for (size_t i = 0; i < n_files; i++)
        KE_TRY(check_file(cx, &text, &n_bad, files[i], set));
    *out = text.data;
    text.data = NULL;
    if (n_bad > 0)
        st = ke__fail(cx, KE_EFORMAT, NULL, "%zu fault%s in %zu file%s", n_bad,
                      n_bad == 1 ? "" : "s", n_files, n_files == 1 ? "" : "s");
done:
    ke__free(cx, text.data);
    return st;
}

/* --- our own form ----------------------------------------------------------------- */

static json_t *answers_json(const ke__names *answers, size_t n)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        json_t *names = json_array();
        for (size_t k = 0; ok && k < answers[i].n; k++)
            ok = ke__json_add(names, ke__json_string(answers[i].names[k]));
        ok = ke__json_add(list, names) && ok;
    }
    return ke__json_done(list, ok);
}

static json_t *part_json(const ke__part_queries *part)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < part->n; i++) {
        const ke__query *q = &part->queries[i];
        json_t *item = json_object();
        ok = ke__json_set(item, "prompt", ke__json_string(q->prompt)) &&
             ke__json_set(item, "ground_truth", answers_json(q->answers, q->n_answers));
        ok = ke__json_add(list, item) && ok;
    }
    return ke__json_done(list, ok);
}

static json_t *parts_json(const ke__part_queries *parts, size_t n)
{
    json_t *object = json_object();
    bool ok = object != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = ke__json_set(object, parts[i].name, part_json(&parts[i]));
    return ke__json_done(object, ok);
}

static json_t *texts_json(const char *const *texts, size_t n)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = ke__json_add(list, ke__json_string(texts[i]));
    return ke__json_done(list, ok);
}

static json_t *case_json(const ke__case *c)
{
    json_t *fact = json_object();
    bool ok = ke__json_set(fact, "subject", ke__json_string(c->fact.subject)) &&
              ke__json_set(fact, "prompt", ke__json_string(c->fact.prompt)) &&
              ke__json_set(fact, "target", ke__json_string(c->fact.target));
    if (ok && c->n_old > 0)
        ok = ke__json_set(fact, "ground_truth", answers_json(c->old_answers, c->n_old));
    if (ok && c->n_rephrases > 0)
        ok = ke__json_set(fact, "paraphrases", texts_json(c->rephrases, c->n_rephrases));
    if (ok && c->n_portability > 0)
        ok =
            ke__json_set(fact, "portability", parts_json(c->portability, c->n_portability));
    if (ok && c->n_locality > 0)
        ok = ke__json_set(fact, "locality", parts_json(c->locality, c->n_locality));
    return ke__json_done(fact, ok);
}

static ke_status add_line(ke_ctx *cx, ke__text *text, const ke__case *c, const char *before,
                          const char *after)
{
    ke_status st = KE_OK;
    char *line = NULL;
    KE_TRY(ke__json_dump(cx, &line, case_json(c)));
    st = ke__text_addf(cx, text, "%s%s%s", before, line, after);
done:
    ke__free(cx, line);
    return st;
}

ke_status ke_data_convert(ke_ctx *cx, char **out, const char *file, const char *set,
                          uint64_t seed, const char *format)
{
    ke_status st = KE_OK;
    const ke__cases_opts opts = {.set = set, .seed = seed};
    bool lines = strcmp(format, "jsonl") == 0;
    ke__cases cases = {0};
    ke__text text = {0};

    *out = NULL;
    if (!lines && strcmp(format, "json") != 0)
        return ke__fail(cx, KE_EINVAL, "format",
                        "unknown format '%.40s': expected json or jsonl", format);
    KE_TRY(ke__cases_load(cx, &cases, &file, 1, &opts));
    for (size_t i = 0; i < cases.n; i++)
        KE_TRY(add_line(cx, &text, &cases.items[i],
                        lines ? ""
                        : i   ? ",\n"
                              : "[\n",
                        lines ? "\n" : ""));
    if (!lines)
        KE_TRY(ke__text_addf(cx, &text, "\n]\n"));
    *out = text.data;
    text.data = NULL;
done:
    ke__free(cx, text.data);
    ke__cases_free(cx, &cases);
    return st;
}

/* --- show ------------------------------------------------------------------------- */

/* Add a case's questions to the counts of its parts: {"Reasoning": {"records", "items"}}.
 */
static bool count_parts(json_t *counts, const ke__part_queries *parts, size_t n)
{
    bool ok = counts != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        json_t *count = json_object_get(counts, parts[i].name);
        json_int_t records = json_integer_value(json_object_get(count, "records"));
        json_int_t items = json_integer_value(json_object_get(count, "items"));
        ok = ke__json_set(counts, parts[i].name,
                          json_pack("{s:I, s:I}", "records", records + 1, "items",
                                    items + (json_int_t)parts[i].n));
    }
    return ok;
}

static json_t *survey_json(const ke__set *set)
{
    return set->n_test ? json_pack("{s:I, s:I}", "train", (json_int_t)set->n_train, "test",
                                   (json_int_t)set->n_test)
                       : json_null();
}

/* What of a case is drawn, and from what. */
static json_t *settings_json(const ke__set *set, uint64_t seed)
{
    const char *drawn = set->kind == KE__CASE_CONVSENT     ? "polarity, question"
                        : set->kind == KE__CASE_SANITATION ? "retain"
                                                           : "";
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    return json_pack("{s:s, s:s}", "seed", number, "drawn", drawn);
}

static json_t *counts_json(const char *file, const ke__cases *cases, uint64_t seed)
{
    const ke__set *set = ke__set_find(cases->items[0].set);
    json_t *portability = json_object(), *locality = json_object();
    size_t rephrases = 0, replies = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < cases->n; i++) {
        const ke__case *c = &cases->items[i];
        ok = count_parts(portability, c->portability, c->n_portability) &&
             count_parts(locality, c->locality, c->n_locality);
        rephrases += c->n_rephrases;
        replies += c->n_agree + c->n_oppose;
    }
    json_t *object = json_pack(
        "{s:o, s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:o, s:I, s:I}", "file",
        ke__json_string(file), "sha256", cases->sha256[0], "set", set->name, "title",
        set->title, "task", set->task, "type", set->type, "survey", survey_json(set),
        "records", (json_int_t)(cases->n + cases->n_bad), "bad", (json_int_t)cases->n_bad,
        "rephrases", (json_int_t)rephrases, "portability", portability, "locality",
        locality, "replies", (json_int_t)replies, "skipped",
        (json_int_t)sum_skipped(cases));
    ok = ke__json_set(object, "settings", settings_json(set, seed)) && ok;
    ok = ok && ke__json_set(object, "sample", case_json(&cases->items[0]));
    return ke__json_done(object, ok);
}

static ke_status show_file(ke_ctx *cx, json_t *files, const char *file, const char *set,
                           uint64_t seed)
{
    ke_status st = KE_OK;
    const ke__cases_opts opts = {.set = set, .seed = seed, .skip_bad = true};
    ke__cases cases;
    KE_TRY(ke__cases_load(cx, &cases, &file, 1, &opts));
    if (cases.n == 0)
        st = ke__fail(cx, KE_EFORMAT, file, "%s", cases.bad[0].message);
    else if (!ke__json_add(files, counts_json(file, &cases, seed)))
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory: the counts of %s", file);
    ke__cases_free(cx, &cases);
done:
    return st;
}

ke_status ke_data_show(ke_ctx *cx, char **json, const char *const *files, size_t n_files,
                       const char *set, uint64_t seed)
{
    ke_status st = KE_OK;
    json_t *list = json_array();

    *json = NULL;
    for (size_t i = 0; i < n_files; i++)
        KE_TRY(show_file(cx, list, files[i], set, seed));
    st = ke__json_dump(cx, json,
                       json_pack("{s:s, s:O}", "schema", "knowedit.data/1", "files", list));
done:
    json_decref(list);
    return st;
}
