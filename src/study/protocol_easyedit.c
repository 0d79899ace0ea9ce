/* EasyEdit's protocol: the model is shown the answer and asked, token by token, what it
 * would have said next. docs/protocols.md says what is kept of its faults. */
#include "eval/metrics.h"
#include "study/bench.h"

#include <math.h>

static ke__view view(const ke__case *c)
{
    return c->kind == KE__CASE_SANITATION ? KE__SHORT : KE__FORCED;
}

/* Agreement over the last tokens that both have: a memory's answer is cut from the end of
 * its text, which is another place where the prompt's last token merges. */
static double kept(const ke__reply *before, const ke__reply *after)
{
    size_t n = before->n < after->n ? before->n : after->n;
    return ke__metric_agreement(before->ids + before->n - n, after->ids + after->n - n, n);
}

/* A model that stopped at once before keeps that by stopping at once. */
static double retained(const ke__reply *before, const ke__reply *after)
{
    if (before->n == 0)
        return after->n == 0;
    return ke__metric_overlap(before->ids, before->n, after->ids, after->n);
}

/* The whole text counts, the prompt included (methods 5.10). */
static ke_status erased(ke_ctx *cx, double *out, const ke__item *item, const ke__reply *r)
{
    ke_status st = KE_OK;
    char *text = NULL;
    bool hit = false;
    KE_TRY(ke__format(cx, &text, "%s%s", item->prompt, r->text));
    KE_TRY(ke__metric_mentions(cx, &hit, text, item->expected));
    *out = hit;
done:
    ke__free(cx, text);
    return st;
}

static ke_status score(ke_ctx *cx, double *out, const ke__trial *t, size_t i)
{
    const ke__item *item = &t->items[i];
    const ke__reply *before = &t->before->replies[view(t->c)][i];
    const ke__reply *after = &t->after->replies[view(t->c)][i];

    if (item->kind == KE__LOCALITY) {
        *out = t->c->kind == KE__CASE_SANITATION ? retained(before, after)
                                                 : kept(before, after);
        return KE_OK;
    }
    if (t->c->kind == KE__CASE_SANITATION)
        return erased(cx, out, item, after);
    *out = ke__metric_agreement(after->ids, after->labels, after->n);
    return KE_OK;
}

static ke_status exact(ke_ctx *cx, double *out, const ke__trial *t, size_t i)
{
    ke_status st = score(cx, out, t, i);
    if (st == KE_OK && !isnan(*out))
        *out = *out >= 1.0;
    return st;
}

const ke__protocol ke__protocol_easyedit = {
    .name = "easyedit",
    .bit = KE_PROTOCOL_EASYEDIT,
    .shift = KE__UNSHIFTED,
    .view = view,
    .score = score,
    .exact = exact,
};
