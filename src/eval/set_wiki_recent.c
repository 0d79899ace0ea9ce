/* KnowEdit's wiki_recent: facts newer than the model; no old answers, no rephrases. */
#include "eval/queries.h"

static bool recognise(const json_t *first)
{
    return json_object_get(first, "target_new") &&
           !json_object_get(first, "ground_truth") && ke__has_knowedit_parts(first);
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    return ke__read_fact_case(&r, out, source->records.items[index]);
}

const ke__set ke__set_wiki_recent = {
    .name = "wiki_recent",
    .title = "WikiData_recent",
    .task = "insertion",
    .type = "fact",
    .n_train = 570,
    .n_test = 1266,
    .kind = KE__CASE_FACT,
    .stream = 0,
    .portability = true,
    .recognise = recognise,
    .read = read,
};
