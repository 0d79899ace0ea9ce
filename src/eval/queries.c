#include "eval/queries.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 200 };

static bool blank(const char *text)
{
    return text[strspn(text, " \t\r\n\v\f")] == '\0';
}

ke_status ke__read_room(const ke__reader *r, void *out, size_t n, size_t size)
{
    ke_status st = ke__alloc(r->cx, out, n, size);
    if (st == KE_OK)
        st = ke__fact_box_take(r->cx, r->box, *(void **)out);
    return st;
}

ke_status ke__read_text(const ke__reader *r, const char **out, const json_t *object,
                        const char *path, const char *field)
{
    char name[PATH_BYTES];
    const json_t *value = json_object_get(object, field);
    snprintf(name, sizeof name, "%s%s", path, field);
    if (!json_is_object(object))
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "expected an object, found %s",
                               ke__json_kind(object));
    if (!value)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing", name);
    if (!json_is_string(value))
        return ke__record_wrong(r->cx, r->at, name, "a string", value);
    *out = json_string_value(value);
    return blank(*out) ? ke__record_fail(r->cx, r->at, KE_EFORMAT,
                                         "field \"%s\": the text is empty", name)
                       : KE_OK;
}

static ke_status empty_list(const ke__reader *r, const char *field)
{
    return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\": the list is empty",
                           field);
}

ke_status ke__read_array(const ke__reader *r, const json_t **out, const json_t *object,
                         const char *field)
{
    *out = json_object_get(object, field);
    if (!*out)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing", field);
    if (!json_is_array(*out))
        return ke__record_wrong(r->cx, r->at, field, "an array", *out);
    return json_array_size(*out) ? KE_OK : empty_list(r, field);
}

/* A value as a list of one. */
static size_t list_size(const json_t *value)
{
    return json_is_array(value) ? json_array_size(value) : 1;
}

static const json_t *list_item(const json_t *value, size_t i)
{
    return json_is_array(value) ? json_array_get(value, i) : value;
}

/* The names of one answer that are not blank; *blank_first: the first one is, or there is
 * none. */
static ke_status read_names(ke__reader *r, ke__names *out, bool *blank_first,
                            const char *field, const json_t *value)
{
    ke_status st = KE_OK;
    size_t n = list_size(value), kept = 0;
    const char **names = NULL;

    *blank_first = n == 0;
    KE_TRY(ke__read_room(r, &names, n, sizeof *names));
    for (size_t i = 0; i < n; i++) {
        const json_t *name = list_item(value, i), *text = json_object_get(name, "str");
        if (text) /* CounterFact's {"str": .., "id": ..} */
            name = text;
        if (!json_is_string(name))
            return ke__record_wrong(r->cx, r->at, field, "a string", name);
        if (!blank(json_string_value(name)))
            KE_TRY(
                ke__fact_box_text(r->cx, r->box, &names[kept++], json_string_value(name)));
        else if (i == 0)
            *blank_first = true;
    }
    r->n_skipped += n == 0 ? 1 : n - kept;
    *out = (ke__names){names, kept};
done:
    return st;
}

ke_status ke__read_answers(ke__reader *r, const ke__names **out, size_t *n,
                           const char *field, const json_t *value)
{
    ke_status st = KE_OK;
    size_t size = list_size(value), skipped = r->n_skipped, kept = 0;
    bool blank_first = size == 0;
    ke__names *answers = NULL;

    *out = NULL;
    *n = 0;
    KE_TRY(ke__read_room(r, &answers, size, sizeof *answers));
    for (size_t i = 0; i < size; i++) {
        bool blank_name;
        KE_TRY(read_names(r, &answers[kept], &blank_name, field, list_item(value, i)));
        blank_first |= i == 0 && blank_name;
        kept += answers[kept].n > 0;
    }
    if (blank_first) {
        r->n_skipped = skipped + 1; /* the question, whatever else is in its list */
        kept = 0;
    }
    *out = answers;
    *n = kept;
done:
    return st;
}

ke_status ke__read_targets(ke__reader *r, ke__case *out, const json_t *request)
{
    const char *field;
    const json_t *value = ke__fact_new(request, &field);
    size_t skipped = r->n_skipped;
    if (!value || !json_is_array(value))
        return KE_OK;
    ke_status st = ke__read_answers(r, &out->targets, &out->n_targets, field, value);
    r->n_skipped = skipped;
    return st;
}

ke_status ke__read_old(ke__reader *r, ke__case *out, const char *field, const json_t *value)
{
    size_t skipped = r->n_skipped;
    for (size_t i = 0; i < list_size(value); i++)
        if (json_is_array(list_item(value, i)) && !json_array_size(list_item(value, i)))
            return empty_list(r, field);
    if (list_size(value) == 0)
        return empty_list(r, field);
    ke_status st = ke__read_answers(r, &out->old_answers, &out->n_old, field, value);
    r->n_skipped = skipped;
    return st;
}

ke_status ke__read_prompts(ke__reader *r, ke__part_queries *out, const char *name,
                           const char *field, const json_t *prompts,
                           const ke__names *answers, size_t n_answers)
{
    ke_status st = KE_OK;
    size_t n = list_size(prompts);
    ke__query *queries = NULL;

    *out = (ke__part_queries){.name = name};
    if (n == 0)
        return empty_list(r, field);
    KE_TRY(ke__read_room(r, &queries, n, sizeof *queries));
    for (size_t i = 0; i < n; i++) {
        const json_t *prompt = list_item(prompts, i);
        if (!json_is_string(prompt))
            return ke__record_wrong(r->cx, r->at, field, "a string", prompt);
        if (blank(json_string_value(prompt)))
            return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                                   "field \"%s\": item %zu is empty", field, i + 1);
        queries[i] = (ke__query){.answers = answers, .n_answers = n_answers};
        KE_TRY(ke__fact_box_text(r->cx, r->box, &queries[i].prompt,
                                 json_string_value(prompt)));
    }
    out->queries = queries;
    out->n = n;
done:
    return st;
}

/* --- groups ----------------------------------------------------------------------- */

/* queries[*n] = the question, unless it cannot be scored. */
static ke_status add_query(ke__reader *r, ke__query *queries, size_t *n, const char *path,
                           const json_t *prompt, const json_t *answer)
{
    ke_status st = KE_OK;
    char field[PATH_BYTES + 20];
    ke__query query = {0};

    snprintf(field, sizeof field, "%s.prompt", path);
    if (!prompt || !json_is_string(prompt) || blank(json_string_value(prompt)))
        return !prompt ? ke__record_fail(r->cx, r->at, KE_EFORMAT,
                                         "field \"%s\" is missing", field)
               : !json_is_string(prompt)
                   ? ke__record_wrong(r->cx, r->at, field, "a string", prompt)
                   : ke__record_fail(r->cx, r->at, KE_EFORMAT,
                                     "field \"%s\": the text is empty", field);
    snprintf(field, sizeof field, "%s.ground_truth", path);
    if (answer)
        KE_TRY(ke__read_answers(r, &query.answers, &query.n_answers, field, answer));
    else if (r->loose)
        r->n_skipped++;
    else
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing", field);
    if (query.n_answers == 0)
        goto done;
    KE_TRY(ke__fact_box_text(r->cx, r->box, &query.prompt, json_string_value(prompt)));
    queries[(*n)++] = query;
done:
    return st;
}

static ke_status read_item(ke__reader *r, ke__query *queries, size_t *n, const char *path,
                           const json_t *item)
{
    if (r->loose && json_is_string(item))
        return add_query(r, queries, n, path, item, NULL);
    if (!json_is_object(item))
        return ke__record_wrong(r->cx, r->at, path, "an object", item);
    const json_t *answer = json_object_get(item, "ground_truth");
    if (!answer && r->loose)
        answer = json_object_get(item, "answer");
    return add_query(r, queries, n, path, json_object_get(item, "prompt"), answer);
}

/* EasyEdit's {"prompt": [..], "ground_truth": [..]}. */
static ke_status read_parallel(ke__reader *r, ke__part_queries *out, const char *path,
                               const json_t *prompts, const json_t *answers)
{
    ke_status st = KE_OK;
    char item[PATH_BYTES];
    ke__query *queries = NULL;
    size_t n = json_array_size(prompts);

    if (!json_is_array(answers) || json_array_size(answers) != n)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                               "field \"%s\": %zu prompts, but not as many answers", path,
                               n);
    KE_TRY(ke__read_room(r, &queries, n, sizeof *queries));
    for (size_t i = 0; i < n; i++) {
        snprintf(item, sizeof item, "%s[%zu]", path, i);
        KE_TRY(add_query(r, queries, &out->n, item, json_array_get(prompts, i),
                         json_array_get(answers, i)));
    }
    out->queries = queries;
done:
    r->n_skipped += n == 0;
    return st;
}

static ke_status read_group(ke__reader *r, ke__part_queries *out, const char *path,
                            const json_t *group)
{
    ke_status st = KE_OK;
    char item[PATH_BYTES];
    ke__query *queries = NULL;
    size_t n = list_size(group);

    if (json_is_object(group) && json_is_array(json_object_get(group, "prompt")))
        return read_parallel(r, out, path, json_object_get(group, "prompt"),
                             json_object_get(group, "ground_truth"));
    if (!json_is_object(group) && !json_is_array(group))
        return ke__record_wrong(r->cx, r->at, path, "an array", group);
    KE_TRY(ke__read_room(r, &queries, n, sizeof *queries));
    for (size_t i = 0; i < n; i++) {
        snprintf(item, sizeof item, "%s[%zu]", path, i);
        KE_TRY(read_item(r, queries, &out->n, item, list_item(group, i)));
    }
    out->queries = queries;
done:
    r->n_skipped += n == 0;
    return st;
}

ke_status ke__read_parts(ke__reader *r, const ke__part_queries **out, size_t *n,
                         const json_t *record, const char *key)
{
    ke_status st = KE_OK;
    char path[PATH_BYTES - 30]; /* room for "[N]" */
    const char *name;
    json_t *groups = json_object_get(record, key), *group;
    ke__part_queries *parts = NULL;

    *out = NULL;
    *n = 0;
    if (!groups || json_is_null(groups))
        return KE_OK;
    if (!json_is_object(groups))
        return ke__record_wrong(r->cx, r->at, key, "an object of groups", groups);
    KE_TRY(ke__read_room(r, &parts, json_object_size(groups), sizeof *parts));
    json_object_foreach(groups, name, group)
    {
        ke__part_queries *part = &parts[*n];
        snprintf(path, sizeof path, "%s.%.100s", key, name);
        KE_TRY(read_group(r, part, path, group));
        if (part->n == 0)
            continue;
        KE_TRY(ke__fact_box_text(r->cx, r->box, &part->name, name));
        ++*n;
    }
    *out = parts;
done:
    return st;
}

void ke__take_fact(ke__case *out, const ke_fact *fact)
{
    out->fact = (ke_fact){.subject = fact->subject,
                          .prompt = fact->prompt,
                          .target = fact->target,
                          .old_answer = fact->old_answer};
    out->rephrases = fact->paraphrases;
    out->n_rephrases = fact->n_paraphrases;
}

ke_status ke__read_fact_case(ke__reader *r, ke__case *out, const json_t *record)
{
    ke_status st = KE_OK;
    const char *field;
    ke_fact fact;
    KE_TRY(ke__fact_read_edit(r->cx, &fact, record, r->at, r->box));
    ke__take_fact(out, &fact);
    KE_TRY(ke__read_targets(r, out, record));
    const json_t *old = ke__fact_old(record, &field);
    if (old)
        KE_TRY(ke__read_old(r, out, field, old));
    KE_TRY(
        ke__read_parts(r, &out->portability, &out->n_portability, record, "portability"));
    KE_TRY(ke__read_parts(r, &out->locality, &out->n_locality, record, "locality"));
    out->n_skipped = r->n_skipped;
done:
    return st;
}

bool ke__has_knowedit_parts(const json_t *record)
{
    static const char *const known[] = {"Relation_Specificity", "Forgetfulness",
                                        "Reasoning", "Subject_Aliasing",
                                        "Logical_Generalization"};
    const char *const keys[] = {"portability", "locality"}, *name;
    bool found = false;
    json_t *group;
    for (size_t k = 0; k < 2; k++) {
        json_t *groups = json_object_get(record, keys[k]);
        found |= json_is_object(groups);
        json_object_foreach(groups, name, group)
        {
            size_t i = 0;
            while (i < 5 && strcmp(known[i], name) != 0)
                i++;
            if (i == 5)
                return false;
        }
    }
    return found;
}

ke__rng ke__case_rng(uint64_t seed, size_t index)
{
    /* Twice through the generator: its streams of neighbouring states are one stream. */
    ke__rng rng = {seed};
    rng.state = ke__rng_next(&rng) ^ index;
    rng.state = ke__rng_next(&rng);
    return rng;
}
