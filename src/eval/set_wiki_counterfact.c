/* KnowEdit's wiki_counterfact: what is not so, with the object that it replaces. */
#include "eval/queries.h"

static bool recognise(const json_t *first)
{
    return json_object_get(first, "target_new") && json_object_get(first, "ground_truth") &&
           ke__has_knowedit_parts(first);
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    ke_status st = ke__read_fact_case(&r, out, source->records.items[index]);
    if (st == KE_OK && !out->old_answers)
        st = ke__record_fail(cx, r.at, KE_EFORMAT, "field \"ground_truth\" is missing");
    return st;
}

const ke__set ke__set_wiki_counterfact = {
    .name = "wiki_counterfact",
    .title = "WikiData_counterfact",
    .task = "modification",
    .type = "counterfact",
    .n_train = 1455,
    .n_test = 885,
    .kind = KE__CASE_FACT,
    .stream = 2,
    .portability = true,
    .recognise = recognise,
    .read = read,
};
