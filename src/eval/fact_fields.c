/* One record as a fact: the field names of EasyEdit, CounterFact and KnowEdit. */
#include "eval/facts.h"
#include "eval/subject.h"

#include <string.h>

/* Alternatives, the first present one counts; null counts as absent. */
typedef const char *const names[9];
static names subject_names = {"subject", "concept"};
static names prompt_names = {"prompt", "src", "text", "question"};
static names target_names = {"target_new", "target", "labels", "alt"};
static names old_names = {"ground_truth", "target_true", "old_answer", "answers"};
static names paraphrase_names = {"paraphrases", "rephrase_prompt", "rephrase_prompts",
                                 "rephrase", "paraphrase_prompts"};
static names group_names = {"locality", "locality_inputs"};
static names list_names = {"neighbours", "neighbors", "neighborhood_prompts"};
static names single_names = {"locality_prompt", "loc"};
static names answer_names = {"ground_truth", "answer", "locality_ground_truth", "loc_ans"};
static names probe_names = {"prompt", "loc", "question"};

typedef struct reader {
    ke_ctx *cx;
    const ke__record *at;
    ke__fact_box *box;
    const ke_subject_opts *subjects; /* NULL: a record has to name its own */
    const char *fields[3];           /* that hold subject, prompt and target */
    const char **paraphrases;
    size_t n_paraphrases, paraphrases_room;
    ke_probe *probes;
    size_t n_probes, probes_room;
} reader;

static ke_status wrong(const reader *r, const char *field, const char *expected,
                       const json_t *found)
{
    return ke__record_wrong(r->cx, r->at, field, expected, found);
}

/* The value of the first name that the record has, and that name; else NULL and names[0].
 */
static const json_t *find(const json_t *record, names alternatives, const char **name)
{
    *name = alternatives[0];
    for (size_t i = 0; alternatives[i]; i++) {
        const json_t *value = json_object_get(record, alternatives[i]);
        if (value && !json_is_null(value)) {
            *name = alternatives[i];
            return value;
        }
    }
    return NULL;
}

static bool blank(const char *text)
{
    return text[strspn(text, " \t\r\n\v\f")] == '\0';
}

static ke_status keep(const reader *r, const char **out, const char *text)
{
    return ke__fact_box_text(r->cx, r->box, out, text);
}

/* A string; {"str": string} (CounterFact); or the first of a list of them, however deep
 * (KnowEdit's lists of aliases). *out NULL: the list is empty. */
static ke_status first_text(const reader *r, const char **out, const char *field,
                            const json_t *value)
{
    *out = NULL;
    while (json_is_array(value)) {
        if (json_array_size(value) == 0)
            return KE_OK;
        value = json_array_get(value, 0);
    }
    if (json_is_object(value) && json_object_get(value, "str"))
        value = json_object_get(value, "str");
    if (!json_is_string(value))
        return wrong(r, field, "a string", value);
    *out = json_string_value(value);
    return KE_OK;
}

static ke_status need_text(const reader *r, const char **out, const char **field,
                           const json_t *record, names alternatives)
{
    const json_t *value = find(record, alternatives, field);
    if (!value)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing", *field);
    ke_status st = first_text(r, out, *field, value);
    if (st == KE_OK && !*out)
        st = ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\": the list is empty",
                             *field);
    return st;
}

/* Make room for one more item of a growing array. */
static ke_status more_room(ke_ctx *cx, void *io, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return KE_OK;
    size_t wider = *room ? 2 * *room : 8;
    ke_status st = ke__resize(cx, io, wider, size);
    if (st == KE_OK)
        *room = wider;
    return st;
}

static ke_status add_paraphrase(reader *r, const char *field, const json_t *value)
{
    if (!json_is_string(value))
        return wrong(r, field, "a string", value);
    if (blank(json_string_value(value)))
        return KE_OK;
    ke_status st = more_room(r->cx, &r->paraphrases, r->n_paraphrases, &r->paraphrases_room,
                             sizeof *r->paraphrases);
    if (st == KE_OK)
        st = keep(r, &r->paraphrases[r->n_paraphrases], json_string_value(value));
    r->n_paraphrases += st == KE_OK;
    return st;
}

static ke_status add_probe(reader *r, const char *field, const json_t *prompt,
                           const json_t *answer)
{
    ke_status st = KE_OK;
    ke_probe probe = {0};
    const char *text = NULL;

    if (!json_is_string(prompt))
        return wrong(r, field, "a string", prompt);
    if (blank(json_string_value(prompt)))
        return KE_OK;
    KE_TRY(keep(r, &probe.prompt, json_string_value(prompt)));
    if (answer && !json_is_null(answer))
        KE_TRY(first_text(r, &text, field, answer));
    if (text && !blank(text))
        KE_TRY(keep(r, &probe.answer, text));
    KE_TRY(more_room(r->cx, &r->probes, r->n_probes, &r->probes_room, sizeof *r->probes));
    r->probes[r->n_probes++] = probe;
done:
    return st;
}

/* A prompt; {"prompt", "ground_truth"}; EasyEdit's object of parallel lists; or a list of
 * the first two. */
static ke_status add_probes(reader *r, const char *field, const json_t *value)
{
    ke_status st = KE_OK;
    const char *name;

    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            if (json_is_array(item))
                return wrong(r, field, "a string or an object", item);
            KE_TRY(add_probes(r, field, item));
        }
        return KE_OK;
    }
    if (!json_is_object(value))
        return add_probe(r, field, value, NULL);

    const json_t *prompt = find(value, probe_names, &name);
    const json_t *answer = find(value, answer_names, &name);
    if (!prompt)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                               "field \"%s\": an item has no \"prompt\"", field);
    if (!json_is_array(prompt))
        return add_probe(r, field, prompt, answer);
    if (answer &&
        (!json_is_array(answer) || json_array_size(answer) != json_array_size(prompt)))
        return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                               "field \"%s\": %zu prompts, but not as many answers", field,
                               json_array_size(prompt));
    for (size_t i = 0; i < json_array_size(prompt); i++)
        KE_TRY(add_probe(r, field, json_array_get(prompt, i), json_array_get(answer, i)));
done:
    return st;
}

static ke_status read_neighbours(reader *r, const json_t *record)
{
    ke_status st = KE_OK;
    const char *name, *unused;
    const json_t *value = find(record, list_names, &name);
    if (value)
        KE_TRY(add_probes(r, name, value));

    value = find(record, group_names, &name);
    if (json_is_array(value)) {
        KE_TRY(add_probes(r, name, value));
    } else if (value) {
        const char *group;
        json_t *items;
        if (!json_is_object(value))
            return wrong(r, name, "an object of groups", value);
        json_object_foreach((json_t *)(uintptr_t)value, group, items)
            KE_TRY(add_probes(r, name, items));
    }

    value = find(record, single_names, &name);
    if (value)
        KE_TRY(
            add_probe(r, name, value,
                      find(record, (names){"locality_ground_truth", "loc_ans"}, &unused)));
done:
    return st;
}

static ke_status read_paraphrases(reader *r, const json_t *record)
{
    const char *name;
    const json_t *value = find(record, paraphrase_names, &name);
    if (!json_is_array(value))
        return value ? add_paraphrase(r, name, value) : KE_OK;
    ke_status st = KE_OK;
    for (size_t i = 0; st == KE_OK && i < json_array_size(value); i++)
        st = add_paraphrase(r, name, json_array_get(value, i));
    return st;
}

/* CounterFact's prompts are templates: "{}" stands for the subject. */
static ke_status fill_prompt(const reader *r, const char **out, const char *prompt,
                             const char *subject)
{
    const char *hole = strstr(prompt, "{}");
    if (!hole || !subject || strstr(prompt, subject))
        return keep(r, out, prompt);
    char *text = NULL;
    ke_status st = ke__format(r->cx, &text, "%.*s%s%s", (int)(hole - prompt), prompt,
                              subject, hole + 2);
    if (st == KE_OK)
        st = ke__fact_box_take(r->cx, r->box, text);
    *out = st == KE_OK ? text : NULL;
    return st;
}

const json_t *ke__fact_old(const json_t *record, const char **field)
{
    return find(record, old_names, field);
}

const json_t *ke__fact_new(const json_t *record, const char **field)
{
    return find(record, target_names, field);
}

ke_status ke__fact_check_at(ke_ctx *cx, const ke_fact *fact, const ke__record *at,
                            const char *const fields[3])
{
    static const char *const places[3] = {"subject", "prompt", "target"};
    char why[sizeof cx->message];
    size_t i = 0;
    ke_status st = ke_fact_check(cx, fact);
    if (st == KE_OK)
        return st;
    memcpy(why, cx->message, sizeof why);
    while (i < 2 && strcmp(places[i], cx->where) != 0)
        i++;
    return ke__record_fail(cx, at, st, "field \"%s\": %s", fields[i], why);
}

static ke_status read_request(reader *r, ke_fact *out, const json_t *request)
{
    ke_status st = KE_OK;
    const char *subject = NULL, *prompt = NULL, *target = NULL, *old = NULL, *old_field;
    if (!r->subjects || find(request, subject_names, &r->fields[0]))
        KE_TRY(need_text(r, &subject, &r->fields[0], request, subject_names));
    KE_TRY(need_text(r, &prompt, &r->fields[1], request, prompt_names));
    KE_TRY(need_text(r, &target, &r->fields[2], request, target_names));
    const json_t *value = ke__fact_old(request, &old_field);
    if (value)
        KE_TRY(first_text(r, &old, old_field, value));

    if (subject)
        KE_TRY(keep(r, &out->subject, subject));
    KE_TRY(fill_prompt(r, &out->prompt, prompt, subject));
    KE_TRY(keep(r, &out->target, target));
    if (old && !blank(old))
        KE_TRY(keep(r, &out->old_answer, old));
done:
    return st;
}

/* Prompts that may name the subject. */
typedef struct prompts {
    const char **items; /* [n] of the record */
    size_t n, room;
} prompts;

static ke_status add_prompt(const reader *r, prompts *p, const char *text)
{
    ke_status st = more_room(r->cx, &p->items, p->n, &p->room, sizeof *p->items);
    if (st == KE_OK)
        p->items[p->n++] = text;
    return st;
}

/* All prompts in a field that is not used otherwise: whatever else it holds is no fault. */
static ke_status gather(const reader *r, prompts *p, const json_t *value)
{
    ke_status st = KE_OK;
    const char *name;
    size_t i;
    json_t *item;
    if (json_is_string(value))
        return add_prompt(r, p, json_string_value(value));
    if (json_is_object(value) && find(value, probe_names, &name))
        return gather(r, p, find(value, probe_names, &name));
    json_array_foreach(value, i, item) KE_TRY(gather(r, p, item));
    json_object_foreach((json_t *)(uintptr_t)value, name, item) KE_TRY(gather(r, p, item));
done:
    return st;
}

/* The subject that the record's prompts share. */
static ke_status find_subject(const reader *r, ke_fact *out, const json_t *record)
{
    ke_status st = KE_OK;
    prompts p = {0};
    char *subject = NULL, why[sizeof r->cx->message];

    for (size_t i = 0; i < r->n_paraphrases; i++)
        KE_TRY(add_prompt(r, &p, r->paraphrases[i]));
    for (size_t i = 0; i < r->n_probes; i++)
        KE_TRY(add_prompt(r, &p, r->probes[i].prompt));
    KE_TRY(gather(r, &p, json_object_get(record, "portability")));
    st = ke__subject_find(r->cx, &subject, &out->subject_from, out->prompt, p.items, p.n,
                          r->subjects);
    if (st == KE_EINVAL) {
        memcpy(why, r->cx->message, sizeof why);
        st = ke__record_fail(r->cx, r->at, st, "field \"subject\": %s", why);
    }
    if (st != KE_OK)
        goto done;
    out->subject = subject;
    st = ke__fact_box_take(r->cx, r->box, subject);
done:
    ke__free(r->cx, p.items);
    return st;
}

static ke_status read_fact(ke_ctx *cx, ke_fact *out, const json_t *record,
                           const ke__record *at, ke__fact_box *box, bool neighbours,
                           const ke_subject_opts *subjects)
{
    ke_status st = KE_OK;
    reader r = {.cx = cx, .at = at, .box = box, .subjects = subjects};

    *out = (ke_fact){0};
    if (!json_is_object(record))
        return ke__record_fail(cx, at, KE_EFORMAT, "expected an object, found %s",
                               ke__json_kind(record));
    const json_t *rewrite = json_object_get(record, "requested_rewrite");
    if (rewrite && !json_is_object(rewrite))
        return wrong(&r, "requested_rewrite", "an object", rewrite);
    KE_TRY(read_request(&r, out, rewrite ? rewrite : record));
    KE_TRY(read_paraphrases(&r, record));
    if (neighbours)
        KE_TRY(read_neighbours(&r, record));
    if (!out->subject)
        KE_TRY(find_subject(&r, out, record));
    KE_TRY(ke__fact_check_at(cx, out, at, r.fields));

    out->n_paraphrases = r.n_paraphrases;
    out->n_neighbours = r.n_probes;
    if (r.paraphrases) {
        out->paraphrases = r.paraphrases;
        r.paraphrases = NULL;
        KE_TRY(ke__fact_box_take(cx, box, (void *)(uintptr_t)out->paraphrases));
    }
    if (r.probes) {
        out->neighbours = r.probes;
        r.probes = NULL;
        KE_TRY(ke__fact_box_take(cx, box, (void *)(uintptr_t)out->neighbours));
    }
done:
    ke__free(cx, r.paraphrases);
    ke__free(cx, r.probes);
    return st;
}

ke_status ke__fact_read(ke_ctx *cx, ke_fact *out, const json_t *record,
                        const ke__record *at, ke__fact_box *box,
                        const ke_subject_opts *subjects)
{
    return read_fact(cx, out, record, at, box, true, subjects);
}

ke_status ke__fact_read_edit(ke_ctx *cx, ke_fact *out, const json_t *record,
                             const ke__record *at, ke__fact_box *box)
{
    return read_fact(cx, out, record, at, box, false, NULL);
}
