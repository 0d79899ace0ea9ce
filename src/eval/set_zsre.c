/* KnowEdit's ZsRE: questions with several old answers and one rephrase. */
#include "eval/queries.h"

static bool recognise(const json_t *first)
{
    return json_object_get(first, "rephrase_prompt") && ke__has_knowedit_parts(first);
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    ke_status st = ke__read_fact_case(&r, out, source->records.items[index]);
    if (st == KE_OK && (!out->old_answers || out->n_rephrases == 0))
        st = ke__record_fail(cx, r.at, KE_EFORMAT, "field \"%s\" is missing",
                             out->old_answers ? "rephrase_prompt" : "ground_truth");
    return st;
}

const ke__set ke__set_zsre = {
    .name = "zsre",
    .title = "ZsRE",
    .task = "modification",
    .type = "question answering",
    .n_train = 10000,
    .n_test = 1301,
    .kind = KE__CASE_FACT,
    .stream = 1,
    .portability = true,
    .recognise = recognise,
    .read = read,
};
