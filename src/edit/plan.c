#include "edit/plan.h"
#include "edit/stats.h"
#include "edit/value.h"

#include <string.h>

/* Operations a second of matrix products of this model on this machine: one small product,
 * timed. Half of that is what whole passes reach. */
static ke_status speed(ke_ctx *cx, double *out, const ke_model *model, uint32_t layer)
{
    enum { ROWS = 32, TRIES = 3 };
    ke_status st = KE_OK;
    const ke_ops *ops;
    const ke__mat *w = &model->layers[layer].linear[KE__LIN_DOWN].mat;
    ke_buf *x = NULL, *y = NULL;
    double best = 1e9;
    st = ke__ops_get(cx, &ops);
    if (st != KE_OK)
        return st;
    KE_TRY(ops->buf_new(cx, &x, ROWS * w->cols));
    KE_TRY(ops->buf_new(cx, &y, ROWS * w->rows));
    for (int i = 0; i < TRIES; i++) {
        double begin = ke__now(), took;
        KE_TRY(ops->linear(cx, y, x, w, NULL, ROWS, 1.0F, false));
        took = ke__now() - begin;
        best = took < best ? took : best;
    }
    *out = 0.5 * 2.0 * ROWS * (double)w->rows * (double)w->cols / (best + 1e-9);
done:
    ops->buf_free(cx, x);
    ops->buf_free(cx, y);
    return st;
}

/* Multiply-adds of one token through one layer, times two. */
static double layer_flops(const ke_model *m)
{
    double d = m->info.d_model, q = (double)m->info.n_heads * m->info.head_dim;
    return 2.0 *
           (2.0 * d * (q + m->kv_dim) + (m->arch->gated ? 3.0 : 2.0) * d * m->info.d_ffn);
}

/* Tokens of one fact's rows. */
struct sizes {
    double whole, suffix, outs;
};

static ke_status measure(ke_ctx *cx, struct sizes *s, const ke__plan_in *in,
                         const ke_fact *fact)
{
    enum { CONTEXT_TOKENS = 9 };
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(in->model);
    ke__row row = {0};
    int32_t *target = NULL;
    size_t n_target = 0, drop = 0;
    KE_TRY(ke__row_make(cx, &row, tok, fact->chat, "{}", fact->prompt, fact->subject));
    KE_TRY(ke__target_ids(cx, &target, &n_target, &drop, tok, fact, fact->target));
    if (row.n + n_target > in->model->info.n_context) {
        st = ke__fail(cx, KE_EINVAL, "prompt",
                      "prompt and target have %zu tokens, the model reads at most %u",
                      row.n + n_target, in->model->info.n_context);
        goto done;
    }
    double n = (double)in->n_contexts, tail = (double)(row.n - row.lookup + n_target);
    s->whole = n * ((double)(row.n + n_target) + CONTEXT_TOKENS);
    s->suffix = n * tail;
    s->outs = n * (double)n_target + 1.0;
done:
    ke__free(cx, row.ids);
    ke__free(cx, target);
    return st;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static double larger(double a, double b)
{
    return a < b ? b : a;
}

/* The largest of a fact's batches, its cache of keys and values, and its own arrays. */
static double fact_bytes(const ke__plan_in *in, const struct sizes *s)
{
    const ke_model *m = in->model;
    double read = smaller(s->whole, KE__READ_TOKENS + s->whole / (double)in->n_contexts);
    double keep = smaller(s->suffix, KE__KEEP_TOKENS + s->suffix / (double)in->n_contexts);
    double pass =
        (double)(ke__pass_bytes(m, (size_t)read, 1, false, 0) +
                 ke__pass_bytes(m, (size_t)keep, (size_t)s->outs, true, in->layer));
    double kv = 2.0 * s->whole * m->kv_dim * m->info.n_layers * sizeof(float);
    double rows = ((double)in->n_contexts + 2.0) * (m->info.d_ffn + 3.0 * m->info.d_model) +
                  s->suffix * m->info.d_model + m->info.n_vocab;
    return pass + kv + rows * sizeof(float);
}

ke_status ke__plan_descent(ke_ctx *cx, ke_edit_plan *out, const ke__plan_in *in)
{
    enum { DRAWN_STEPS = 30 };
    ke_status st = KE_OK;
    const ke_model *m = in->model;
    double flops = 0.0, peak = 0.0, rate, layers = m->info.n_layers, f = m->info.d_ffn;
    double stats_bytes = 0.0, factor = in->factor ? (double)ke__covariance_bytes(m) : 0.0;
    double head = 2.0 * m->info.d_model * (double)m->info.n_vocab, layer = layer_flops(m);
    KE_TRY(speed(cx, &rate, m, in->layer));
    for (size_t i = 0; i < in->n_facts; i++) {
        struct sizes s = {0};
        KE_TRY(measure(cx, &s, in, &in->facts[i]));
        /* Forward, and as much again for the way back to the layer. */
        flops += s.whole * layers * layer +
                 2.0 * (double)in->steps *
                     (s.suffix * (layers - in->layer) * layer + s.outs * head);
        peak = larger(peak, fact_bytes(in, &s));
    }
    /* Few rows at a time read the weights as often as many do: count eight a step. */
    if (in->drawn)
        flops += 8.0 * DRAWN_STEPS * (layers * layer + head);
    if (out->stats_tokens > 0) {
        double n = (double)out->stats_tokens;
        out->stats_seconds = n * ((in->layer + 1.0) * layer + f * f) / rate;
        stats_bytes =
            (double)ke__moments_bytes(m, 1, ((ke_stats_opts)KE_STATS_DEFAULT).chunk);
    }
    out->seconds =
        flops / rate + (in->factor ? f * f * f / 3.0 / rate : 0.0) + out->stats_seconds;
    out->peak_bytes = (uint64_t)(factor + larger(peak, stats_bytes));
done:
    return st;
}

ke_status ke__plan_training(ke_ctx *cx, ke_edit_plan *out, const ke__plan_in *in)
{
    enum { COPIES = 5, UPDATE_FLOPS = 100 }; /* change twice, two moments, gradient */
    ke_status st = KE_OK;
    const ke_model *m = in->model;
    double layers = m->info.n_layers, above = layers - in->layer, layer = layer_flops(m);
    double head = 2.0 * m->info.d_model * (double)m->info.n_vocab;
    double flops = 0.0, peak = 0.0, weights = 0.0, rate;
    for (size_t i = 0; i < out->n_layers; i++) {
        const ke__mat *w = &m->layers[out->layers[i]].linear[KE__LIN_DOWN].mat;
        weights += (double)w->rows * (double)w->cols;
    }
    KE_TRY(speed(cx, &rate, m, in->layer));
    for (size_t i = 0; i < in->n_facts; i++) {
        struct sizes s = {0};
        ke__plan_in one = *in;
        one.n_contexts = 1;
        KE_TRY(measure(cx, &s, &one, &in->facts[i]));
        /* The gradient of the weights is as much work again as that of their input. */
        flops += s.whole * layers * layer +
                 (double)in->steps * (2.0 * (s.whole * above * layer + s.outs * head) +
                                      (2.0 * s.whole + UPDATE_FLOPS) * weights);
        peak = larger(peak, (double)ke__pass_bytes(m, (size_t)s.whole, (size_t)s.outs, true,
                                                   in->layer));
    }
    out->seconds = flops / rate;
    out->patch_bytes = (uint64_t)(weights * sizeof(float)) * in->n_facts;
    out->peak_bytes =
        (uint64_t)(peak + COPIES * weights * sizeof(float)) + out->patch_bytes;
done:
    return st;
}
