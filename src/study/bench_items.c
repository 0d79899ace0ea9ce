/* A case as a list of prompts. */
#include "study/bench.h"

#include <string.h>

static size_t count(const ke__part_queries *parts, size_t n_parts)
{
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        n += parts[i].n;
    return n;
}

static void add_parts(ke__item *items, size_t *n, ke__item_kind kind,
                      const ke__part_queries *parts, size_t n_parts)
{
    for (size_t i = 0; i < n_parts; i++)
        for (size_t k = 0; k < parts[i].n; k++) {
            const ke__query *q = &parts[i].queries[k];
            items[(*n)++] = (ke__item){.kind = kind,
                                       .part = parts[i].name,
                                       .prompt = q->prompt,
                                       .expected = q->answers[0].names[0],
                                       .answers = q->answers,
                                       .n_answers = q->n_answers};
        }
}

ke_status ke__items_make(ke_ctx *cx, ke__item **out, size_t *n, const ke__case *c)
{
    ke_status st = KE_OK;
    size_t room = 1 + c->n_rephrases + count(c->portability, c->n_portability) +
                  count(c->locality, c->n_locality);
    *n = 0;
    KE_TRY(ke__alloc(cx, out, room, sizeof **out));
    for (size_t i = 0; i < 1 + c->n_rephrases; i++)
        (*out)[(*n)++] = (ke__item){.kind = i ? KE__REPHRASE : KE__SUCCESS,
                                    .prompt = i ? c->rephrases[i - 1] : c->fact.prompt,
                                    .expected = c->fact.target,
                                    .answers = c->targets,
                                    .n_answers = c->n_targets};
    add_parts(*out, n, KE__PORTABILITY, c->portability, c->n_portability);
    add_parts(*out, n, KE__LOCALITY, c->locality, c->n_locality);
done:
    return st;
}
