/* The forward of one block and of the stack of blocks. */
#include "model/pass_state.h"

/* --- sites ---------------------------------------------------------------------------- */

static ke_status overlay(ke_ctx *cx, ke__pass *p, size_t i, ke_buf *rows)
{
    ke_status st = KE_OK;
    const ke__overlay *o = &p->in.edits->overlays[i];
    size_t width = ke__site_width(p->model, o->to);
    ke_buf *from = o->from == o->to ? rows : ke__pass_site(p, o->layer, o->from);
    if (p->in.keep && o->layer >= p->in.keep_from) {
        KE_TRY(ke__slot_need(cx, p->ops, &p->over_old[i], p->n_rows * width));
        KE_TRY(p->ops->copy(cx, p->over_old[i].buf, 0, rows, 0, p->n_rows * width));
    }
    KE_TRY(o->forward(cx, o->payload, p->ops, rows, from, p->n_rows));
done:
    return st;
}

ke_status ke__pass_at_site(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__site site,
                           ke_buf *rows)
{
    ke_status st = KE_OK;
    const ke_ops *ops = p->ops;
    const ke__pass_in *in = &p->in;
    size_t width = ke__site_width(p->model, site);
    for (size_t i = 0; in->edits && i < in->edits->n_overlays; i++)
        if (in->edits->overlays[i].layer == layer && in->edits->overlays[i].to == site)
            KE_TRY(overlay(cx, p, i, rows));
    for (size_t i = 0; i < in->n_touches; i++) {
        const ke__touch *t = &in->touches[i];
        if (!ke__site_is(t->layer, t->site, layer, site))
            continue;
        KE_TRY(ke__slot_need(cx, ops, &p->work[W_TOUCH], t->n_rows * width));
        KE_TRY(ops->put(cx, p->work[W_TOUCH].buf, 0, t->values, t->n_rows * width));
        KE_TRY(ops->scatter(cx, rows, p->work[W_TOUCH].buf, t->rows, t->n_rows, width,
                            t->how));
    }
    for (size_t i = 0; i < in->n_taps; i++) {
        const ke__tap *t = &in->taps[i];
        if (!ke__site_is(t->layer, t->site, layer, site))
            continue;
        KE_TRY(ke__slot_need(cx, ops, &p->work[W_TOUCH], t->n_rows * width));
        KE_TRY(ops->gather(cx, p->work[W_TOUCH].buf, rows, t->rows, t->n_rows, width));
        KE_TRY(ops->get(cx, t->out, p->work[W_TOUCH].buf, 0, t->n_rows * width));
    }
done:
    return st;
}

ke_buf *ke__pass_site(ke__pass *p, uint32_t layer, ke__site site)
{
    bool post = p->model->arch->post_norms;
    static const ke__act_id ids[] = {
        [KE__RESID_IN] = A_RESID_IN,   [KE__ATTN_IN] = A_ATTN_IN,
        [KE__ATTN_OUT] = A_ATTN_OUT,   [KE__ATTN_ADD] = A_ATTN_ADD,
        [KE__RESID_MID] = A_RESID_MID, [KE__MLP_IN] = A_MLP_IN,
        [KE__MLP_KEY] = A_MLP_KEY,     [KE__MLP_OUT] = A_MLP_OUT,
        [KE__MLP_ADD] = A_MLP_ADD,
    };
    switch (site) {
    case KE__EMBED:
    case KE__SITE_COUNT:
        return NULL;
    case KE__FINAL:
        return p->work[W_FINAL].buf;
    case KE__RESID_OUT:
        return ke__pass_acts(p, layer + 1)->at[A_RESID_IN].buf;
    case KE__ATTN_ADD:
        return ke__pass_acts(p, layer)->at[post ? A_ATTN_ADD : A_ATTN_OUT].buf;
    case KE__MLP_ADD:
        return ke__pass_acts(p, layer)->at[post ? A_MLP_ADD : A_MLP_OUT].buf;
    default:
        return ke__pass_acts(p, layer)->at[ids[site]].buf;
    }
}

/* --- one block ------------------------------------------------------------------------ */

static const ke__mat *mat_or_null(const ke__param *p)
{
    return p->mat.data ? &p->mat : NULL;
}

static ke_status block_norm(ke_ctx *cx, ke__pass *p, ke_buf *out, const ke_buf *x,
                            uint32_t layer, ke__norm_at at, size_t n, size_t width)
{
    const ke__layer *y = &p->model->layers[layer];
    return p->ops->norm(cx, out, x, &y->norm[at].mat, mat_or_null(&y->norm_bias[at]), n,
                        width, p->model->eps, p->model->arch->norm);
}

/* Queries, keys and values of the new rows; keys and values go to the cache. */
static ke_status project(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__acts *a)
{
    ke_status st = KE_OK;
    const ke_model_info *i = &p->model->info;
    const ke__layer *y = &p->model->layers[layer];
    const ke_ops *ops = p->ops;
    size_t n = p->n_rows;
    bool qk = p->model->arch->qk_norm;
    ke_buf *x = a->at[A_ATTN_IN].buf, *q = a->at[A_Q].buf;
    ke_buf *k = p->work[W_K].buf, *v = p->work[W_V].buf;
    ke_buf *q_raw = qk ? a->at[A_Q_RAW].buf : q, *k_raw = qk ? a->at[A_K_RAW].buf : k;

    KE_TRY(ke__pass_linear(cx, p, q_raw, x, &y->linear[KE__LIN_Q], &y->bias[KE__LIN_Q], n));
    KE_TRY(ke__pass_linear(cx, p, k_raw, x, &y->linear[KE__LIN_K], &y->bias[KE__LIN_K], n));
    KE_TRY(ke__pass_linear(cx, p, v, x, &y->linear[KE__LIN_V], &y->bias[KE__LIN_V], n));
    if (qk) {
        KE_TRY(block_norm(cx, p, q, q_raw, layer, KE__AT_Q, n * i->n_heads, i->head_dim));
        KE_TRY(
            block_norm(cx, p, k, k_raw, layer, KE__AT_K, n * i->n_kv_heads, i->head_dim));
    }
    if (y->rope.rot) {
        KE_TRY(ops->rope(cx, q, p->pos, n, i->n_heads, i->head_dim, &y->rope, 1));
        KE_TRY(ops->rope(cx, k, p->pos, n, i->n_kv_heads, i->head_dim, &y->rope, 1));
    }
    KE_TRY(ops->scatter(cx, p->kv->k[layer], k, p->cache_rows, n, p->model->kv_dim,
                        KE__PUT_SET));
    KE_TRY(ops->scatter(cx, p->kv->v[layer], v, p->cache_rows, n, p->model->kv_dim,
                        KE__PUT_SET));
done:
    return st;
}

ke__attention ke__pass_attention(const ke__pass *p, uint32_t layer)
{
    const ke_model_info *i = &p->model->info;
    return (ke__attention){.n_heads = i->n_heads,
                           .n_kv = i->n_kv_heads,
                           .head_dim = i->head_dim,
                           .scale = p->model->attn_scale,
                           .softcap = p->model->attn_softcap,
                           .window = p->model->layers[layer].window,
                           .spans = p->spans,
                           .n_spans = p->in.n_seqs};
}

/* out = in + branch, with the post-norm of the branch where the model has one. */
static ke_status add_branch(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__acts *a,
                            ke__act_id out_id, ke__site add_site, ke_buf *in, ke_buf *sum)
{
    ke_status st = KE_OK;
    size_t d = p->model->info.d_model, n = p->n_rows;
    bool attn = out_id == A_ATTN_OUT;
    ke_buf *branch = a->at[out_id].buf;
    if (p->model->arch->post_norms) {
        ke_buf *normed = a->at[attn ? A_ATTN_ADD : A_MLP_ADD].buf;
        KE_TRY(block_norm(cx, p, normed, branch, layer,
                          attn ? KE__AT_ATTN_POST : KE__AT_MLP_POST, n, d));
        branch = normed;
    }
    KE_TRY(ke__pass_at_site(cx, p, layer, add_site, branch));
    KE_TRY(p->ops->copy(cx, sum, 0, in, 0, n * d));
    KE_TRY(p->ops->axpy(cx, sum, branch, 1.0F, n * d));
done:
    return st;
}

static ke_status attention_half(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__acts *a)
{
    ke_status st = KE_OK;
    const ke__layer *y = &p->model->layers[layer];
    ke__attention att = ke__pass_attention(p, layer);
    KE_TRY(block_norm(cx, p, a->at[A_ATTN_IN].buf, a->at[A_RESID_IN].buf, layer,
                      KE__AT_ATTN, p->n_rows, p->model->info.d_model));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__ATTN_IN, a->at[A_ATTN_IN].buf));
    KE_TRY(project(cx, p, layer, a));
    KE_TRY(p->ops->attention(cx, a->at[A_CTX].buf, a->at[A_LSE].buf, a->at[A_Q].buf,
                             p->kv->k[layer], p->kv->v[layer], &att));
    KE_TRY(ke__pass_linear(cx, p, a->at[A_ATTN_OUT].buf, a->at[A_CTX].buf,
                           &y->linear[KE__LIN_O], &y->bias[KE__LIN_O], p->n_rows));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__ATTN_OUT, a->at[A_ATTN_OUT].buf));
    KE_TRY(add_branch(cx, p, layer, a, A_ATTN_OUT, KE__ATTN_ADD, a->at[A_RESID_IN].buf,
                      a->at[A_RESID_MID].buf));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__RESID_MID, a->at[A_RESID_MID].buf));
done:
    return st;
}

/* Up to the input of the down projection. */
static ke_status key_half(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__acts *a)
{
    ke_status st = KE_OK;
    const ke__layer *y = &p->model->layers[layer];
    size_t n = p->n_rows;
    bool gated = p->model->arch->gated;
    ke_buf *x = a->at[A_MLP_IN].buf, *up = a->at[A_UP].buf, *gate = a->at[A_GATE].buf;
    KE_TRY(block_norm(cx, p, x, a->at[A_RESID_MID].buf, layer, KE__AT_MLP, n,
                      p->model->info.d_model));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__MLP_IN, x));
    KE_TRY(ke__pass_linear(cx, p, up, x, &y->linear[KE__LIN_UP], &y->bias[KE__LIN_UP], n));
    if (gated)
        KE_TRY(ke__pass_linear(cx, p, gate, x, &y->linear[KE__LIN_GATE],
                               &y->bias[KE__LIN_GATE], n));
    KE_TRY(p->ops->glu(cx, a->at[A_MLP_KEY].buf, gated ? gate : up, gated ? up : NULL,
                       n * p->model->info.d_ffn, p->model->arch->act));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__MLP_KEY, a->at[A_MLP_KEY].buf));
done:
    return st;
}

static ke_status value_half(ke_ctx *cx, ke__pass *p, uint32_t layer, ke__acts *a)
{
    ke_status st = KE_OK;
    const ke__layer *y = &p->model->layers[layer];
    ke_buf *next = ke__pass_acts(p, layer + 1)->at[A_RESID_IN].buf;
    KE_TRY(ke__pass_linear(cx, p, a->at[A_MLP_OUT].buf, a->at[A_MLP_KEY].buf,
                           &y->linear[KE__LIN_DOWN], &y->bias[KE__LIN_DOWN], p->n_rows));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__MLP_OUT, a->at[A_MLP_OUT].buf));
    KE_TRY(
        add_branch(cx, p, layer, a, A_MLP_OUT, KE__MLP_ADD, a->at[A_RESID_MID].buf, next));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__RESID_OUT, next));
done:
    return st;
}

/* Buffers of a layer's activations, for this run's rows. */
static ke_status make_acts(ke_ctx *cx, ke__pass *p, ke__acts *a, bool whole)
{
    const ke_model_info *i = &p->model->info;
    const ke__arch *arch = p->model->arch;
    size_t d = i->d_model, f = i->d_ffn, q = (size_t)i->n_heads * i->head_dim;
    const size_t widths[A_COUNT] = {
        [A_RESID_IN] = d,
        [A_ATTN_IN] = d,
        [A_Q_RAW] = arch->qk_norm ? q : 0,
        [A_K_RAW] = arch->qk_norm ? p->model->kv_dim : 0,
        [A_Q] = q,
        [A_CTX] = q,
        [A_LSE] = i->n_heads,
        [A_ATTN_OUT] = d,
        [A_ATTN_ADD] = arch->post_norms ? d : 0,
        [A_RESID_MID] = d,
        [A_MLP_IN] = d,
        [A_GATE] = arch->gated ? f : 0,
        [A_UP] = f,
        [A_MLP_KEY] = f,
        [A_MLP_OUT] = d,
        [A_MLP_ADD] = arch->post_norms ? d : 0,
    };
    for (int k = 0; k < (whole ? A_COUNT : 1); k++) {
        ke_status st =
            widths[k] ? ke__slot_need(cx, p->ops, &a->at[k], p->n_rows * widths[k]) : KE_OK;
        if (st != KE_OK)
            return st;
    }
    return KE_OK;
}

static ke_status block(ke_ctx *cx, ke__pass *p, uint32_t layer)
{
    ke_status st = KE_OK;
    ke__acts *a = ke__pass_acts(p, layer);
    bool last = layer + 1 == p->end_layer && p->in.last_site != 0;
    ke__site stop = p->in.last_site;
    KE_TRY(ke__check_cancel(cx));
    KE_TRY(ke__pass_at_site(cx, p, layer, KE__RESID_IN, a->at[A_RESID_IN].buf));
    if (last && stop <= KE__RESID_IN)
        goto done;
    KE_TRY(make_acts(cx, p, a, true));
    KE_TRY(attention_half(cx, p, layer, a));
    if (last && stop <= KE__RESID_MID)
        goto done;
    KE_TRY(key_half(cx, p, layer, a));
    if (last && stop <= KE__MLP_KEY)
        goto done;
    KE_TRY(make_acts(cx, p, ke__pass_acts(p, layer + 1), false));
    KE_TRY(value_half(cx, p, layer, a));
done:
    return st;
}

/* The first residual: embeddings, or what the caller saved. */
static ke_status first_rows(ke_ctx *cx, ke__pass *p)
{
    ke_status st = KE_OK;
    const ke_model *m = p->model;
    ke__acts *a = ke__pass_acts(p, p->in.first_layer);
    size_t d = m->info.d_model;
    KE_TRY(make_acts(cx, p, a, false));
    ke_buf *x = a->at[A_RESID_IN].buf;
    if (p->in.resid_in)
        return p->ops->put(cx, x, 0, p->in.resid_in, p->n_rows * d);
    KE_TRY(p->ops->embed(cx, x, &m->embed.mat, p->ids, p->n_rows, m->embed_scale));
    if (m->positions.mat.data) {
        KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_TOUCH], p->n_rows * d));
        KE_TRY(p->ops->embed(cx, p->work[W_TOUCH].buf, &m->positions.mat, p->pos, p->n_rows,
                             1.0F));
        KE_TRY(p->ops->axpy(cx, x, p->work[W_TOUCH].buf, 1.0F, p->n_rows * d));
    }
    KE_TRY(ke__pass_at_site(cx, p, 0, KE__EMBED, x));
done:
    return st;
}

static ke_status last_rows(ke_ctx *cx, ke__pass *p)
{
    ke_status st = KE_OK;
    const ke_model *m = p->model;
    size_t d = m->info.d_model, n = p->in.n_out;
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_FINAL_IN], n * d));
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_FINAL], n * d));
    KE_TRY(p->ops->gather(cx, p->work[W_FINAL_IN].buf,
                          ke__pass_acts(p, p->end_layer)->at[A_RESID_IN].buf,
                          p->in.out_rows, n, d));
    KE_TRY(p->ops->norm(cx, p->work[W_FINAL].buf, p->work[W_FINAL_IN].buf, &m->out_norm.mat,
                        mat_or_null(&m->out_norm_bias), n, d, m->eps, m->arch->norm));
    KE_TRY(ke__pass_at_site(cx, p, 0, KE__FINAL, p->work[W_FINAL].buf));
done:
    return st;
}

ke_status ke__pass_forward(ke_ctx *cx, ke__pass *p)
{
    ke_status st = KE_OK;
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_K], p->n_rows * p->model->kv_dim));
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_V], p->n_rows * p->model->kv_dim));
    KE_TRY(first_rows(cx, p));
    for (uint32_t l = p->in.first_layer; l < p->end_layer; l++)
        KE_TRY(block(cx, p, l));
    if (p->in.n_out > 0)
        KE_TRY(last_rows(cx, p));
done:
    return st;
}
