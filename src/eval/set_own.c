/* The user's own facts (docs/facts.md), with KnowEdit's "portability" and "locality" if
 * they have them; neighbours that are in no group are a part of locality. */
#include "eval/queries.h"

#include <string.h>

static bool recognise(const json_t *first)
{
    (void)first; /* the last row: whatever the others do not know */
    return true;
}

/* One more part of locality: the neighbours that have answers. */
static ke_status add_neighbours(ke__reader *r, ke__case *out, const ke_fact *fact)
{
    ke_status st = KE_OK;
    ke__part_queries *parts = NULL;
    ke__query *queries = NULL;
    ke__names *answers = NULL;
    size_t n = 0;

    KE_TRY(ke__read_room(r, &parts, out->n_locality + 1, sizeof *parts));
    KE_TRY(ke__read_room(r, &queries, fact->n_neighbours, sizeof *queries));
    KE_TRY(ke__read_room(r, &answers, fact->n_neighbours, sizeof *answers));
    for (size_t i = 0; i < fact->n_neighbours; i++) {
        const ke_probe *probe = &fact->neighbours[i];
        if (!probe->answer) {
            r->n_skipped++;
            continue;
        }
        answers[n] = (ke__names){&probe->answer, 1}; /* the box owns probes, too */
        queries[n] = (ke__query){probe->prompt, &answers[n], 1};
        n++;
    }
    if (n == 0)
        goto done;
    if (out->n_locality > 0)
        memcpy(parts, out->locality, out->n_locality * sizeof *parts);
    parts[out->n_locality++] = (ke__part_queries){"neighbours", queries, n};
    out->locality = parts;
done:
    return st;
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    ke_status st = KE_OK;
    (void)opts;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box, .loose = true};
    const json_t *record = source->records.items[index];
    const json_t *rewrite = json_object_get(record, "requested_rewrite");
    bool groups = json_is_object(json_object_get(record, "locality"));
    const char *field;
    ke_fact fact;

    /* Groups are read by part, and everything else as `edit --facts` reads it. */
    json_t *rest = json_copy((json_t *)(uintptr_t)record);
    if (!rest)
        return ke__record_fail(cx, r.at, KE_ENOMEM, "out of memory");
    if (groups)
        (void)json_object_del(rest, "locality");
    KE_TRY(ke__fact_read(cx, &fact, rest, r.at, box, NULL));
    ke__take_fact(out, &fact);
    const json_t *old = ke__fact_old(rewrite ? rewrite : record, &field);
    KE_TRY(ke__read_targets(&r, out, rewrite ? rewrite : record));
    if (old)
        KE_TRY(ke__read_answers(&r, &out->old_answers, &out->n_old, field, old));
    r.n_skipped = 0; /* none of portability or locality yet */
    KE_TRY(
        ke__read_parts(&r, &out->portability, &out->n_portability, record, "portability"));
    if (groups)
        KE_TRY(ke__read_parts(&r, &out->locality, &out->n_locality, record, "locality"));
    KE_TRY(add_neighbours(&r, out, &fact));
    out->n_skipped = r.n_skipped;
done:
    json_decref(rest);
    return st;
}

const ke__set ke__set_own = {
    .name = "own",
    .title = "own",
    .task = "",
    .type = "",
    .kind = KE__CASE_FACT,
    .stream = 7,
    .portability = true,
    .recognise = recognise,
    .read = read,
};
