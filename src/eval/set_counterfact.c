/* CounterFact: ROME's own records, and the flat ones that EasyEdit made of them. What is
 * asked of the edit's neighbours has the edit's old answer. */
#include "eval/queries.h"

enum { MAX_PARTS = 3 };

static bool recognise(const json_t *first)
{
    return json_object_get(first, "requested_rewrite") ||
           (json_object_get(first, "case_id") && json_object_get(first, "locality_prompt"));
}

/* The neighbours of a flat record: one prompt with its answer. */
static ke_status read_flat(ke__reader *r, ke__part_queries *out, const ke__case *c,
                           const json_t *record)
{
    ke_status st = KE_OK;
    const ke__names *answers = c->old_answers;
    size_t n = c->n_old;
    const json_t *prompt = json_object_get(record, "locality_prompt");
    const json_t *answer = json_object_get(record, "locality_ground_truth");
    if (!prompt)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                               "field \"neighborhood_prompts\" is missing");
    if (answer)
        KE_TRY(ke__read_answers(r, &answers, &n, "locality_ground_truth", answer));
    if (n > 0)
        st =
            ke__read_prompts(r, out, "neighborhood", "locality_prompt", prompt, answers, n);
done:
    return st;
}

/* Another attribute of the subject (EasyEdit's locality files). */
static ke_status read_unrelated(ke__reader *r, ke__part_queries *out, const json_t *value)
{
    ke_status st = KE_OK;
    const char *unused;
    const ke__names *answers = NULL;
    size_t n = 0;
    if (!json_is_object(value))
        return ke__record_wrong(r->cx, r->at, "unrelated_relation", "an object", value);
    KE_TRY(ke__read_text(r, &unused, value, "unrelated_relation.", "question"));
    KE_TRY(ke__read_text(r, &unused, value, "unrelated_relation.", "object"));
    KE_TRY(ke__read_answers(r, &answers, &n, "unrelated_relation.object",
                            json_object_get(value, "object")));
    st = ke__read_prompts(r, out, "other_attributes", "unrelated_relation.question",
                          json_object_get(value, "question"), answers, n);
done:
    return st;
}

static ke_status read_locality(ke__reader *r, ke__case *out, const json_t *record)
{
    ke_status st = KE_OK;
    ke__part_queries *parts = NULL;
    size_t n = 0;
    const json_t *near = json_object_get(record, "neighborhood_prompts");
    const json_t *distracting = json_object_get(record, "distracting_neighborhood_prompts");
    const json_t *unrelated = json_object_get(record, "unrelated_relation");

    KE_TRY(ke__read_room(r, &parts, MAX_PARTS, sizeof *parts));
    if (near)
        KE_TRY(ke__read_prompts(r, &parts[n], "neighborhood", "neighborhood_prompts", near,
                                out->old_answers, out->n_old));
    else
        KE_TRY(read_flat(r, &parts[n], out, record));
    n += parts[n].n > 0;
    if (distracting)
        KE_TRY(ke__read_prompts(r, &parts[n++], "distracting",
                                "distracting_neighborhood_prompts", distracting,
                                out->old_answers, out->n_old));
    if (unrelated)
        KE_TRY(read_unrelated(r, &parts[n++], unrelated));
    out->locality = parts;
    out->n_locality = n;
    out->n_skipped = r->n_skipped;
done:
    return st;
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    ke_status st = KE_OK;
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    const json_t *record = source->records.items[index], *old;
    const json_t *rewrite = json_object_get(record, "requested_rewrite");
    const char *field = NULL;
    ke_fact fact;

    KE_TRY(ke__fact_read_edit(cx, &fact, record, r.at, box));
    ke__take_fact(out, &fact);
    KE_TRY(ke__read_targets(&r, out, rewrite ? rewrite : record));
    old = ke__fact_old(rewrite ? rewrite : record, &field);
    if (old)
        KE_TRY(ke__read_old(&r, out, field, old));
    if (out->n_old == 0 || out->n_rephrases == 0)
        return ke__record_fail(cx, r.at, KE_EFORMAT, "field \"%s\" is %s",
                               out->n_old ? "paraphrase_prompts" : "target_true",
                               "missing or empty");
    st = read_locality(&r, out, record);
done:
    return st;
}

const ke__set ke__set_counterfact = {
    .name = "counterfact",
    .title = "CounterFact",
    .task = "modification",
    .type = "counterfact",
    .kind = KE__CASE_COUNTERFACT,
    .stream = 6,
    .recognise = recognise,
    .read = read,
};
