/* A linear map under edits: the base matrix (or its replacement), then the terms. */
#include "model/pass_state.h"

#include <string.h>

/* Rows [row0, row0 + rows) of a matrix; row0 is 0 but for fused matrices. */
static ke__mat part_of(ke__mat whole, uint64_t row0, uint64_t rows)
{
    size_t row_bytes = 0;
    if (ke__row_bytes(&row_bytes, whole.type, whole.cols))
        whole.data = (const uint8_t *)whole.data + row0 * row_bytes;
    whole.rows = rows;
    return whole;
}

static ke__mat base_of(const ke__pass *p, const ke__param *w)
{
    if (!ke__stack_touches(p->in.edits, w->tensor))
        return w->mat;
    ke__mat base = ke__stack_base(p->model, p->in.edits, w->tensor);
    return part_of(base, w->row0, w->mat.rows);
}

/* The next term on w's tensor at or after *i that still counts; NULL past the last. */
static const ke__term *next_term(const ke__pass *p, const ke__param *w, size_t *i)
{
    const ke_stack *s = p->in.edits;
    for (; s && *i < s->n_terms; (*i)++)
        if (s->terms[*i].tensor == w->tensor && s->terms[*i].kind != KE__TERM_REPLACE)
            return &s->terms[(*i)++];
    return NULL;
}

static size_t after_replace(const ke__pass *p, const ke__param *w)
{
    const ke_stack *s = p->in.edits;
    size_t first = 0;
    for (size_t i = 0; s && i < s->n_terms; i++)
        if (s->terms[i].tensor == w->tensor && s->terms[i].kind == KE__TERM_REPLACE)
            first = i + 1;
    return first;
}

ke_status ke__pass_linear(ke_ctx *cx, ke__pass *p, ke_buf *y, const ke_buf *x,
                          const ke__param *w, const ke__param *bias, size_t n)
{
    ke_status st = KE_OK;
    const ke_ops *ops = p->ops;
    ke__mat base = base_of(p, w);
    KE_TRY(ops->linear(cx, y, x, &base, bias && bias->mat.data ? &bias->mat : NULL, n, 1.0F,
                       false));
    size_t i = after_replace(p, w);
    for (const ke__term *t; (t = next_term(p, w, &i)) != NULL;) {
        if (t->kind == KE__TERM_DENSE) {
            ke__mat d = part_of(t->dense, w->row0, w->mat.rows);
            KE_TRY(ops->linear(cx, y, x, &d, NULL, n, t->scale, true));
            continue;
        }
        ke__mat u = part_of(t->u, w->row0, w->mat.rows);
        KE_TRY(ke__slot_need(cx, ops, &p->work[W_TERM], n * t->v.rows));
        ke_buf *mid = p->work[W_TERM].buf; /* x V^T, [n, r] */
        KE_TRY(ops->linear(cx, mid, x, &t->v, NULL, n, 1.0F, false));
        KE_TRY(ops->linear(cx, y, mid, &u, NULL, n, t->scale, true));
    }
done:
    return st;
}

ke_status ke__pass_linear_back(ke_ctx *cx, ke__pass *p, ke_buf *dx, const ke_buf *dy,
                               const ke__param *w, size_t n, bool add)
{
    ke_status st = KE_OK;
    const ke_ops *ops = p->ops;
    ke__mat base = base_of(p, w);
    KE_TRY(ops->linear_back(cx, dx, dy, &base, n, 1.0F, add));
    size_t i = after_replace(p, w);
    for (const ke__term *t; (t = next_term(p, w, &i)) != NULL;) {
        if (t->kind == KE__TERM_DENSE) {
            /* y += s x D^T, so dx += s dy D */
            ke__mat d = part_of(t->dense, w->row0, w->mat.rows);
            KE_TRY(ops->linear_back(cx, dx, dy, &d, n, t->scale, true));
            continue;
        }
        /* y += s (x V^T) U^T, so dx += s (dy U) V */
        ke__mat u = part_of(t->u, w->row0, w->mat.rows);
        KE_TRY(ke__slot_need(cx, ops, &p->work[W_TERM], n * t->v.rows));
        ke_buf *mid = p->work[W_TERM].buf;
        KE_TRY(ops->linear_back(cx, mid, dy, &u, n, 1.0F, false));
        KE_TRY(ops->linear_back(cx, dx, mid, &t->v, n, t->scale, true));
    }
done:
    return st;
}
