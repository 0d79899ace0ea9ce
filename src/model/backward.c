/* The backward of the blocks, from the top down to the lowest thing that anybody wants. */
#include "model/pass_state.h"

#include <inttypes.h>

/* A point in the order of computation, so that the walk knows when it may stop. */
typedef struct walk {
    ke__pass *p;
    const ke__want *wants;
    size_t n_wants;
    const ke__seed *seeds;
    size_t n_seeds;
    uint64_t lowest; /* place() of the lowest want */
} walk;

static uint64_t place_of(uint32_t layer, ke__site site)
{
    return (uint64_t)layer * KE__SITE_COUNT + site;
}

/* The site whose gradient a linear map's weight gradient needs. */
static ke__site site_of_linear(ke__linear l)
{
    static const ke__site sites[KE__LIN_COUNT] = {
        KE__ATTN_IN, KE__ATTN_IN, KE__ATTN_IN, KE__ATTN_OUT,
        KE__MLP_IN,  KE__MLP_IN,  KE__MLP_OUT,
    };
    return sites[l];
}

static uint64_t place_of_want(const ke_model *m, const ke__want *w)
{
    static const ke__site norms[KE__AT_COUNT] = {
        KE__RESID_IN, KE__ATTN_OUT, KE__ATTN_IN, KE__ATTN_IN, KE__RESID_MID, KE__MLP_OUT,
    };
    switch (w->kind) {
    case KE__WANT_SITE:
        if (w->site == KE__FINAL)
            return place_of(m->info.n_layers, KE__FINAL);
        return place_of(w->site == KE__EMBED ? 0 : w->layer, w->site);
    case KE__WANT_EMBED:
        return 0;
    case KE__WANT_NORM:
        return w->norm == KE__AT_COUNT ? place_of(m->info.n_layers, KE__EMBED)
                                       : place_of(w->layer, norms[w->norm]);
    default:
        return place_of(w->layer, site_of_linear(w->linear));
    }
}

/* --- at a site: seeds in, wants out, touches and overlays undone ------------------------
 */

static ke_status touch_back(ke_ctx *cx, const walk *w, const ke__touch *t, ke_buf *g,
                            size_t width)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    if (t->how == KE__PUT_ADD)
        return KE_OK;
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_TOUCH], t->n_rows * width));
    ke_buf *v = p->work[W_TOUCH].buf;
    if (t->how == KE__PUT_SET) {
        KE_TRY(p->ops->zero(cx, v, 0, t->n_rows * width));
        return p->ops->scatter(cx, g, v, t->rows, t->n_rows, width, KE__PUT_SET);
    }
    KE_TRY(p->ops->put(cx, v, 0, t->values, t->n_rows * width));
    KE_TRY(p->ops->scatter(cx, g, v, t->rows, t->n_rows, width, KE__PUT_SCALE));
done:
    return st;
}

static ke_status overlay_back(ke_ctx *cx, const walk *w, size_t i, ke_buf *g)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke__overlay *o = &p->in.edits->overlays[i];
    ke_buf *dfrom = NULL, *from = p->over_old[i].buf;
    if (o->from != o->to) {
        size_t n = p->n_rows * ke__site_width(p->model, o->from);
        KE_TRY(ke__slot_need(cx, p->ops, &p->over_from[i], n));
        KE_TRY(p->ops->zero(cx, p->over_from[i].buf, 0, n));
        dfrom = p->over_from[i].buf;
        from = ke__pass_site(p, o->layer, o->from);
    }
    KE_TRY(
        o->backward(cx, o->payload, p->ops, g, dfrom, p->over_old[i].buf, from, p->n_rows));
done:
    return st;
}

/* `g` is the gradient at the site's rows after its touches; leave the one before them. */
static ke_status at_site(ke_ctx *cx, const walk *w, uint32_t layer, ke__site site,
                         ke_buf *g)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke_stack *edits = p->in.edits;
    size_t width = ke__site_width(p->model, site);
    for (size_t i = 0; i < w->n_seeds; i++) {
        const ke__seed *s = &w->seeds[i];
        if (!ke__site_is(s->layer, s->site, layer, site))
            continue;
        KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_TOUCH], s->n_rows * width));
        KE_TRY(p->ops->put(cx, p->work[W_TOUCH].buf, 0, s->values, s->n_rows * width));
        KE_TRY(p->ops->scatter(cx, g, p->work[W_TOUCH].buf, s->rows, s->n_rows, width,
                               KE__PUT_ADD));
    }
    for (size_t i = 0; edits && i < edits->n_overlays; i++) {
        const ke__overlay *o = &edits->overlays[i];
        if (o->layer == layer && o->from == site && o->to != site && p->over_from[i].buf)
            KE_TRY(p->ops->axpy(cx, g, p->over_from[i].buf, 1.0F, p->n_rows * width));
    }
    for (size_t i = 0; i < w->n_wants; i++) {
        const ke__want *x = &w->wants[i];
        if (x->kind != KE__WANT_SITE || !ke__site_is(x->layer, x->site, layer, site))
            continue;
        KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_TOUCH], x->n_rows * width));
        KE_TRY(p->ops->gather(cx, p->work[W_TOUCH].buf, g, x->rows, x->n_rows, width));
        KE_TRY(p->ops->get(cx, x->out, p->work[W_TOUCH].buf, 0, x->n_rows * width));
    }
    for (size_t i = p->in.n_touches; i-- > 0;)
        if (ke__site_is(p->in.touches[i].layer, p->in.touches[i].site, layer, site))
            KE_TRY(touch_back(cx, w, &p->in.touches[i], g, width));
    for (size_t i = edits ? edits->n_overlays : 0; i-- > 0;)
        if (edits->overlays[i].layer == layer && edits->overlays[i].to == site)
            KE_TRY(overlay_back(cx, w, i, g));
done:
    return st;
}

/* --- wants of linear maps and norms
 * -------------------------------------------------------- */

static ke_status linear_wants(ke_ctx *cx, const walk *w, uint32_t layer, ke__linear l,
                              const ke_buf *x, const ke_buf *dy)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke__mat *mat = &p->model->layers[layer].linear[l].mat;
    size_t n = p->n_rows, rows = mat->rows, cols = mat->cols;
    for (size_t i = 0; i < w->n_wants; i++) {
        const ke__want *q = &w->wants[i];
        if (q->layer != layer || q->linear != l)
            continue;
        if (q->kind == KE__WANT_WEIGHT)
            KE_TRY(p->ops->linear_grad(cx, q->grad, dy, x, n, rows, cols));
        if (q->kind == KE__WANT_BIAS)
            KE_TRY(p->ops->bias_grad(cx, q->grad, dy, n, rows));
        if (q->kind == KE__WANT_PAIR) {
            KE_TRY(p->ops->get(cx, q->out_x, x, 0, n * cols));
            KE_TRY(p->ops->get(cx, q->out_dy, dy, 0, n * rows));
        }
    }
done:
    return st;
}

/* dx += backward of a norm of the block, and the norm's own gradient where wanted. */
static ke_status norm_back(ke_ctx *cx, const walk *w, ke_buf *dx, const ke_buf *dy,
                           const ke_buf *x, uint32_t layer, ke__norm_at at, size_t n,
                           size_t width)
{
    const ke__pass *p = w->p;
    const ke__param *weight =
        at == KE__AT_COUNT ? &p->model->out_norm : &p->model->layers[layer].norm[at];
    ke_buf *dw = NULL;
    for (size_t i = 0; i < w->n_wants; i++)
        if (w->wants[i].kind == KE__WANT_NORM && w->wants[i].norm == at &&
            (at == KE__AT_COUNT || w->wants[i].layer == layer))
            dw = w->wants[i].grad;
    return p->ops->norm_back(cx, dx, dw, NULL, dy, x, &weight->mat, n, width, p->model->eps,
                             p->model->arch->norm);
}

/* --- halves of a block, in reverse
 * ----------------------------------------------------------- */

/* From dres, the gradient of a sum, to the gradient of the branch's linear output. */
static ke_status branch_back(ke_ctx *cx, const walk *w, uint32_t layer, ke__site add,
                             ke__site out, ke__norm_at post, ke_buf **g)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    size_t d = p->model->info.d_model, n = p->n_rows;
    ke_buf *branch = p->work[W_DBRANCH].buf;
    KE_TRY(p->ops->copy(cx, branch, 0, p->work[W_DRES].buf, 0, n * d));
    KE_TRY(at_site(cx, w, layer, add, branch));
    if (p->model->arch->post_norms) {
        ke_buf *before = p->work[W_DIN].buf;
        KE_TRY(p->ops->zero(cx, before, 0, n * d));
        KE_TRY(norm_back(cx, w, before, branch, ke__pass_site(p, layer, out), layer, post,
                         n, d));
        branch = before;
    }
    KE_TRY(at_site(cx, w, layer, out, branch));
    *g = branch;
done:
    return st;
}

static ke_status mlp_back(ke_ctx *cx, const walk *w, uint32_t layer)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke__layer *y = &p->model->layers[layer];
    ke__acts *a = ke__pass_acts(p, layer);
    const ke_ops *ops = p->ops;
    size_t n = p->n_rows, d = p->model->info.d_model;
    bool gated = p->model->arch->gated;
    ke_buf *dkey = p->work[W_DKEY].buf, *dgate = p->work[W_DGATE].buf;
    ke_buf *dup = p->work[W_DUP].buf, *din = p->work[W_DIN].buf, *dout = NULL;

    KE_TRY(branch_back(cx, w, layer, KE__MLP_ADD, KE__MLP_OUT, KE__AT_MLP_POST, &dout));
    KE_TRY(linear_wants(cx, w, layer, KE__LIN_DOWN, a->at[A_MLP_KEY].buf, dout));
    if (w->lowest >= place_of(layer, KE__MLP_OUT))
        goto done;
    KE_TRY(ke__pass_linear_back(cx, p, dkey, dout, &y->linear[KE__LIN_DOWN], n, false));
    KE_TRY(at_site(cx, w, layer, KE__MLP_KEY, dkey));
    if (w->lowest >= place_of(layer, KE__MLP_KEY))
        goto done;
    /* key = act(gate) * up, or act(up) where there is no gate */
    KE_TRY(ops->glu_back(cx, gated ? dgate : dup, gated ? dup : NULL, dkey,
                         a->at[gated ? A_GATE : A_UP].buf, gated ? a->at[A_UP].buf : NULL,
                         n * p->model->info.d_ffn, p->model->arch->act));
    KE_TRY(linear_wants(cx, w, layer, KE__LIN_UP, a->at[A_MLP_IN].buf, dup));
    KE_TRY(ke__pass_linear_back(cx, p, din, dup, &y->linear[KE__LIN_UP], n, false));
    if (gated) {
        KE_TRY(linear_wants(cx, w, layer, KE__LIN_GATE, a->at[A_MLP_IN].buf, dgate));
        KE_TRY(ke__pass_linear_back(cx, p, din, dgate, &y->linear[KE__LIN_GATE], n, true));
    }
    KE_TRY(at_site(cx, w, layer, KE__MLP_IN, din));
    KE_TRY(norm_back(cx, w, p->work[W_DRES].buf, din, a->at[A_RESID_MID].buf, layer,
                     KE__AT_MLP, n, d));
done:
    return st;
}

/* q and k before the rotation, and before their norms where the model has them. */
static ke_status qk_back(ke_ctx *cx, const walk *w, uint32_t layer, ke_buf **dq,
                         ke_buf **dk)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke_model_info *i = &p->model->info;
    const ke__layer *y = &p->model->layers[layer];
    const ke_ops *ops = p->ops;
    ke__acts *a = ke__pass_acts(p, layer);
    size_t n = p->n_rows, qd = (size_t)i->n_heads * i->head_dim;
    *dq = p->work[W_DQ].buf;
    *dk = p->work[W_DK].buf;
    if (y->rope.rot) {
        KE_TRY(ops->rope(cx, *dq, p->pos, n, i->n_heads, i->head_dim, &y->rope, -1));
        KE_TRY(ops->rope(cx, *dk, p->pos, n, i->n_kv_heads, i->head_dim, &y->rope, -1));
    }
    if (p->model->arch->qk_norm) {
        ke_buf *rq = p->work[W_DQ_RAW].buf, *rk = p->work[W_DK_RAW].buf;
        KE_TRY(ops->zero(cx, rq, 0, n * qd));
        KE_TRY(ops->zero(cx, rk, 0, n * p->model->kv_dim));
        KE_TRY(norm_back(cx, w, rq, *dq, a->at[A_Q_RAW].buf, layer, KE__AT_Q,
                         n * i->n_heads, i->head_dim));
        KE_TRY(norm_back(cx, w, rk, *dk, a->at[A_K_RAW].buf, layer, KE__AT_K,
                         n * i->n_kv_heads, i->head_dim));
        *dq = rq;
        *dk = rk;
    }
done:
    return st;
}

static ke_status attention_back(ke_ctx *cx, const walk *w, uint32_t layer)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    const ke__layer *y = &p->model->layers[layer];
    const ke_ops *ops = p->ops;
    ke__acts *a = ke__pass_acts(p, layer);
    const ke_model_info *i = &p->model->info;
    size_t n = p->n_rows, d = i->d_model, qd = (size_t)i->n_heads * i->head_dim;
    size_t kd = p->model->kv_dim;
    ke__attention att = ke__pass_attention(p, layer);
    ke_buf *dout = NULL, *dq, *dk, *din = p->work[W_DIN].buf;

    KE_TRY(branch_back(cx, w, layer, KE__ATTN_ADD, KE__ATTN_OUT, KE__AT_ATTN_POST, &dout));
    KE_TRY(linear_wants(cx, w, layer, KE__LIN_O, a->at[A_CTX].buf, dout));
    if (w->lowest >= place_of(layer, KE__ATTN_OUT))
        goto done;
    KE_TRY(ke__pass_linear_back(cx, p, p->work[W_DCTX].buf, dout, &y->linear[KE__LIN_O], n,
                                false));
    KE_TRY(ops->zero(cx, p->work[W_DQ].buf, 0, n * qd));
    KE_TRY(ops->zero(cx, p->work[W_DK].buf, 0, n * kd));
    KE_TRY(ops->zero(cx, p->work[W_DV].buf, 0, n * kd));
    KE_TRY(ops->attention_back(cx, p->work[W_DQ].buf, p->work[W_DK].buf, p->work[W_DV].buf,
                               p->work[W_DCTX].buf, a->at[A_CTX].buf, a->at[A_LSE].buf,
                               a->at[A_Q].buf, p->kv->k[layer], p->kv->v[layer], &att));
    KE_TRY(qk_back(cx, w, layer, &dq, &dk));
    const ke_buf *x = a->at[A_ATTN_IN].buf;
    const ke_buf *const dy[3] = {dq, dk, p->work[W_DV].buf};
    for (ke__linear l = KE__LIN_Q; l <= KE__LIN_V; l++) {
        KE_TRY(linear_wants(cx, w, layer, l, x, dy[l]));
        KE_TRY(ke__pass_linear_back(cx, p, din, dy[l], &y->linear[l], n, l != KE__LIN_Q));
    }
    KE_TRY(at_site(cx, w, layer, KE__ATTN_IN, din));
    KE_TRY(norm_back(cx, w, p->work[W_DRES].buf, din, a->at[A_RESID_IN].buf, layer,
                     KE__AT_ATTN, n, d));
done:
    return st;
}

static ke_status block_back(ke_ctx *cx, const walk *w, uint32_t layer)
{
    ke_status st = KE_OK;
    ke_buf *dres = w->p->work[W_DRES].buf;
    KE_TRY(ke__check_cancel(cx));
    KE_TRY(at_site(cx, w, layer, KE__RESID_OUT, dres));
    if (w->lowest >= place_of(layer, KE__RESID_OUT))
        goto done;
    KE_TRY(mlp_back(cx, w, layer));
    if (w->lowest >= place_of(layer, KE__MLP_KEY))
        goto done;
    KE_TRY(at_site(cx, w, layer, KE__RESID_MID, dres));
    if (w->lowest >= place_of(layer, KE__RESID_MID))
        goto done;
    KE_TRY(attention_back(cx, w, layer));
    if (w->lowest >= place_of(layer, KE__ATTN_OUT))
        goto done;
    KE_TRY(at_site(cx, w, layer, KE__RESID_IN, dres));
done:
    return st;
}

static ke_status make_work(ke_ctx *cx, ke__pass *p)
{
    const ke_model_info *i = &p->model->info;
    size_t d = i->d_model, f = i->d_ffn, q = (size_t)i->n_heads * i->head_dim;
    size_t kv = p->model->kv_dim;
    const struct {
        ke__work_id id;
        size_t width;
    } need[] = {
        {W_DRES, d}, {W_DBRANCH, d}, {W_DIN, d}, {W_DKEY, f}, {W_DGATE, f},  {W_DUP, f},
        {W_DQ, q},   {W_DK, kv},     {W_DV, kv}, {W_DCTX, q}, {W_DQ_RAW, q}, {W_DK_RAW, kv},
    };
    for (size_t k = 0; k < sizeof need / sizeof need[0]; k++) {
        ke_status st =
            ke__slot_need(cx, p->ops, &p->work[need[k].id], p->n_rows * need[k].width);
        if (st != KE_OK)
            return st;
    }
    return p->ops->zero(cx, p->work[W_DRES].buf, 0, p->n_rows * d);
}

/* From the final states of the requested rows into the residual's gradient. */
static ke_status head_back(ke_ctx *cx, const walk *w)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    size_t d = p->model->info.d_model, n = p->in.n_out;
    KE_TRY(at_site(cx, w, 0, KE__FINAL, p->work[W_DFINAL].buf));
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_DHEAD], n * d));
    KE_TRY(p->ops->zero(cx, p->work[W_DHEAD].buf, 0, n * d));
    KE_TRY(norm_back(cx, w, p->work[W_DHEAD].buf, p->work[W_DFINAL].buf,
                     p->work[W_FINAL_IN].buf, 0, KE__AT_COUNT, n, d));
    KE_TRY(p->ops->scatter(cx, p->work[W_DRES].buf, p->work[W_DHEAD].buf, p->in.out_rows, n,
                           d, KE__PUT_ADD));
done:
    return st;
}

static ke_status embed_back(ke_ctx *cx, const walk *w)
{
    ke_status st = KE_OK;
    ke__pass *p = w->p;
    size_t n = p->n_rows * p->model->info.d_model;
    ke_buf *g = p->work[W_DRES].buf, *scaled = p->work[W_DIN].buf;
    KE_TRY(at_site(cx, w, 0, KE__EMBED, g));
    for (size_t i = 0; i < w->n_wants; i++) {
        if (w->wants[i].kind != KE__WANT_EMBED)
            continue;
        KE_TRY(p->ops->zero(cx, scaled, 0, n));
        KE_TRY(p->ops->axpy(cx, scaled, g, p->model->embed_scale, n));
        KE_TRY(p->ops->scatter(cx, w->wants[i].grad, scaled, p->ids, p->n_rows,
                               p->model->info.d_model, KE__PUT_ADD));
    }
done:
    return st;
}

ke_status ke__pass_backward(ke_ctx *cx, ke__pass *p, const ke__want *wants, size_t n_wants,
                            const ke__seed *seeds, size_t n_seeds)
{
    ke_status st = KE_OK;
    walk w = {.p = p,
              .wants = wants,
              .n_wants = n_wants,
              .seeds = seeds,
              .n_seeds = n_seeds,
              .lowest = UINT64_MAX};
    if (!p->ran || !p->in.keep)
        return ke__fail(cx, KE_EINVAL, NULL, "backward of a pass that kept nothing");
    p->ran = false; /* the gradients of the final states are used up */
    for (size_t i = 0; i < n_wants; i++) {
        uint64_t at = place_of_want(p->model, &wants[i]);
        w.lowest = at < w.lowest ? at : w.lowest;
    }
    uint32_t floor = w.lowest < UINT64_MAX ? (uint32_t)(w.lowest / KE__SITE_COUNT) : 0;
    if (floor < p->in.keep_from || floor < p->in.first_layer)
        return ke__fail(cx, KE_EINVAL, NULL,
                        "gradient wanted in layer %" PRIu32 ", kept from %" PRIu32, floor,
                        p->in.keep_from);
    if (n_wants == 0 || p->n_rows == 0)
        return KE_OK;
    KE_TRY(make_work(cx, p));
    for (size_t i = 0; i < p->overs_room; i++) /* no gradient has reached a `from` yet */
        if (p->over_from[i].buf)
            KE_TRY(p->ops->zero(cx, p->over_from[i].buf, 0, p->over_from[i].room));
    if (p->in.n_out > 0)
        KE_TRY(head_back(cx, &w));
    for (uint32_t l = p->end_layer; l-- > floor;)
        KE_TRY(block_back(cx, &w, l));
    if (w.lowest < KE__RESID_IN && p->in.first_layer == 0 && !p->in.resid_in)
        KE_TRY(embed_back(cx, &w));
done:
    return st;
}
