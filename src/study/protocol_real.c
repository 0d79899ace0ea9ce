/* The protocol of real use: the model writes on greedily until it stops, and its text is
 * read as a person would (methods 5.8). */
#include "eval/metrics.h"
#include "study/bench.h"

#include <string.h>

static ke__view view(const ke__case *c)
{
    (void)c;
    return KE__LONG;
}

static ke_status any_name(ke_ctx *cx, bool *out, const ke__names *answers, size_t n,
                          const char *text)
{
    ke_status st = KE_OK;
    *out = false;
    for (size_t i = 0; i < n && !*out; i++)
        for (size_t k = 0; k < answers[i].n && !*out; k++)
            KE_TRY(ke__metric_contains(cx, out, text, answers[i].names[k]));
done:
    return st;
}

/* Whether the text names what was true before. A name that the new answer contains ("York"
 * in "New York") can't tell the two apart and is passed over. */
static ke_status names_old(ke_ctx *cx, bool *out, const ke__case *c, const char *text)
{
    ke_status st = KE_OK;
    bool within = false;
    *out = false;
    for (size_t i = 0; i < c->n_old; i++)
        for (size_t k = 0; k < c->old_answers[i].n && !*out; k++) {
            const char *name = c->old_answers[i].names[k];
            KE_TRY(ke__metric_contains(cx, &within, c->fact.target, name));
            if (!within)
                KE_TRY(ke__metric_contains(cx, out, text, name));
        }
done:
    return st;
}

static ke_status score(ke_ctx *cx, double *out, const ke__trial *t, size_t i)
{
    ke_status st = KE_OK;
    const ke__item *item = &t->items[i];
    const char *text = t->after->replies[KE__LONG][i].text;
    bool hit = false, old = false;

    if (item->kind == KE__LOCALITY) {
        *out = strcmp(text, t->before->replies[KE__LONG][i].text) == 0;
        return KE_OK;
    }
    if (item->n_answers > 0)
        KE_TRY(any_name(cx, &hit, item->answers, item->n_answers, text));
    else
        KE_TRY(ke__metric_contains(cx, &hit, text, item->expected));
    if (hit && item->kind != KE__PORTABILITY)
        KE_TRY(names_old(cx, &old, t->c, text));
    *out = hit && !old;
done:
    return st;
}

static ke_status exact(ke_ctx *cx, double *out, const ke__trial *t, size_t i)
{
    bool hit = false;
    ke_status st = ke__metric_exact(cx, &hit, t->after->replies[KE__LONG][i].text,
                                    t->items[i].expected);
    *out = hit;
    return st;
}

const ke__protocol ke__protocol_real = {
    .name = "real",
    .bit = KE_PROTOCOL_REAL,
    .shift = KE__SHIFTED,
    .view = view,
    .score = score,
    .exact = exact,
};
