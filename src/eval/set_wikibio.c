/* KnowEdit's WikiBio: the right next sentence of a life, where models make one up. */
#include "eval/queries.h"

static bool recognise(const json_t *first)
{
    return json_object_get(first, "concept") && json_object_get(first, "text") &&
           json_object_get(first, "labels");
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    return ke__read_fact_case(&r, out, source->records.items[index]);
}

const ke__set ke__set_wikibio = {
    .name = "wikibio",
    .title = "WikiBio",
    .task = "modification",
    .type = "hallucination",
    .n_train = 592,
    .n_test = 1392,
    .kind = KE__CASE_FACT,
    .stream = 5,
    .recognise = recognise,
    .read = read,
};
