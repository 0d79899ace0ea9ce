#include "edit/value.h"

#include <math.h>
#include <string.h>

struct ke__value {
    ke__value_in in;
    ke__pass *pass;
    ke__kv *kv;    /* slot i: row i's tokens before `lookup` */
    ke__row *rows; /* [n] in.rows, then the KL row cut after its lookup; ids borrowed. Here
                    * `lookup` is the first token that delta reaches */
    size_t n;
    size_t *at;   /* [n + 1] where row i's tokens from `lookup` on begin in `resid` */
    float *resid; /* [at[n], D] what enters the layer there */
    float *scale; /* [at[n]] how much of delta such a token gets */
    float *start; /* v0 [D] */
    float *logq;  /* [V] the KL row's log-probabilities before */
    /* of one batch, at its largest */
    ke__seq *seqs;    /* [n] */
    int32_t *touched; /* [at[n]] rows that get some of delta; then, for each of them, */
    float *values;    /* [at[n], D] what they get, */
    float *gradients; /* [at[n], D] and the gradient there */
    int32_t *outs;    /* [n * n_target + 1] rows that predict; then, for each of them, */
    int32_t *places;  /* its place in `outs`, */
    int32_t *targets; /* its target */
    float *weights;
};

double ke__norm2(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

void ke__delta_clamp(float *delta, size_t n, double limit)
{
    double norm = ke__norm2(delta, n);
    for (size_t i = 0; norm > limit && i < n; i++)
        delta[i] = (float)((double)delta[i] * limit / norm);
}

double ke__delta_decay(double weight, double delta_norm, double start_norm)
{
    return weight * delta_norm / (start_norm * start_norm);
}

const float *ke__value_start(const ke__value *v)
{
    return v->start;
}

static size_t width(const ke__value *v)
{
    return v->in.model->info.d_model;
}

static bool is_kl(const ke__value *v, size_t row)
{
    return row >= v->in.n_rows;
}

void ke__value_free(ke_ctx *cx, ke__value *v)
{
    if (!v)
        return;
    ke__kv_free(cx, v->kv);
    void *const arrays[] = {v->rows, v->at,     v->resid,   v->scale,  v->start,
                            v->logq, v->seqs,   v->touched, v->values, v->gradients,
                            v->outs, v->places, v->targets, v->weights};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        ke__free(cx, arrays[i]);
    ke__free(cx, v);
}

static ke_status make_room(ke_ctx *cx, ke__value *v)
{
    const ke_model *m = v->in.model;
    ke_status st = KE_OK;
    size_t n_out = v->in.n_rows * v->in.n_target + 1, d = m->info.d_model;
    KE_TRY(ke__alloc(cx, &v->at, v->n + 1, sizeof *v->at));
    for (size_t i = 0; i < v->n; i++)
        v->at[i + 1] = v->at[i] + v->rows[i].n - v->rows[i].lookup;
    KE_TRY(ke__alloc(cx, &v->resid, v->at[v->n], d * sizeof *v->resid));
    KE_TRY(ke__alloc(cx, &v->scale, v->at[v->n], sizeof *v->scale));
    KE_TRY(ke__alloc(cx, &v->start, d, sizeof *v->start));
    KE_TRY(ke__alloc(cx, &v->logq, m->info.n_vocab, sizeof *v->logq));
    KE_TRY(ke__alloc(cx, &v->seqs, v->n, sizeof *v->seqs));
    KE_TRY(ke__alloc(cx, &v->touched, v->at[v->n], sizeof *v->touched));
    KE_TRY(ke__alloc(cx, &v->values, v->at[v->n], d * sizeof *v->values));
    KE_TRY(ke__alloc(cx, &v->gradients, v->at[v->n], d * sizeof *v->gradients));
    KE_TRY(ke__alloc(cx, &v->outs, n_out, sizeof *v->outs));
    KE_TRY(ke__alloc(cx, &v->places, n_out, sizeof *v->places));
    for (size_t i = 0; i < n_out; i++)
        v->places[i] = (int32_t)i;
    KE_TRY(ke__alloc(cx, &v->targets, n_out, sizeof *v->targets));
    KE_TRY(ke__alloc(cx, &v->weights, n_out, sizeof *v->weights));
    KE_TRY(ke__kv_new(cx, &v->kv, m, ke__pass_ops(v->pass), v->n));
done:
    return st;
}

double ke__dot(const float *a, const float *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* What tokens [at, at + n) get of delta: (k . u) / (key . u), with their keys [n, F]. */
static void set_scales(ke__value *v, size_t at, size_t n, const float *keys)
{
    size_t f = v->in.model->info.d_ffn;
    for (size_t i = 0; i < n; i++)
        v->scale[at + i] =
            (float)(ke__dot(keys + i * f, v->in.u, f) / ke__dot(v->in.key, v->in.u, f));
}

/* Rows [first, end) from their first token, before any change. */
static ke_status read_rows(ke_ctx *cx, ke__value *v, size_t first, size_t end)
{
    ke_status st = KE_OK;
    size_t n = 0, n_taps = 1, d = width(v);
    int32_t row = 0, start = 0, *suffix = NULL;
    float *keys = NULL;
    ke__tap taps[3];
    bool kl = is_kl(v, end - 1);
    KE_TRY(ke__alloc(cx, &suffix, v->at[end] - v->at[first], sizeof *suffix));
    for (size_t i = first; i < end; i++) {
        const ke__row *r = &v->rows[i];
        v->seqs[i - first] = (ke__seq){r->ids, r->n, (uint32_t)i};
        for (uint32_t t = r->lookup; t < r->n; t++)
            suffix[n++] = row + (int32_t)t;
        row += (int32_t)r->n;
    }
    const int32_t last = row - 1;
    taps[0] = (ke__tap){v->in.layer, KE__RESID_IN, suffix, n, v->resid + v->at[first] * d};
    if (first == 0) {
        start = (int32_t)v->in.rows[0].lookup;
        taps[n_taps++] = (ke__tap){v->in.layer, v->in.site, &start, 1, v->start};
    }
    if (v->in.u) {
        KE_TRY(ke__alloc(cx, &keys, n, v->in.model->info.d_ffn * sizeof *keys));
        taps[n_taps++] = (ke__tap){v->in.layer, KE__MLP_KEY, suffix, n, keys};
    }
    KE_TRY(ke__pass_run(cx, v->pass,
                        &(ke__pass_in){.seqs = v->seqs,
                                       .n_seqs = end - first,
                                       .kv = v->kv,
                                       .out_rows = &last,
                                       .n_out = kl,
                                       .taps = taps,
                                       .n_taps = n_taps,
                                       .edits = v->in.edits}));
    if (kl)
        KE_TRY(ke__pass_logprobs(cx, v->pass, v->logq, 0, 1));
    if (v->in.u)
        set_scales(v, v->at[first], n, keys);
    for (size_t i = first; !v->in.u && i < end; i++)
        v->scale[v->at[i]] = 1.0F;
done:
    ke__free(cx, suffix);
    ke__free(cx, keys);
    return st;
}

ke_status ke__value_new(ke_ctx *cx, ke__value **out, ke__pass *pass, const ke__value_in *in)
{
    ke_status st = KE_OK;
    ke__value *v = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &v, 1, sizeof *v));
    v->in = *in;
    v->pass = pass;
    v->n = in->n_rows + (in->kl_row != NULL);
    KE_TRY(ke__alloc(cx, &v->rows, v->n, sizeof *v->rows));
    memcpy(v->rows, in->rows, in->n_rows * sizeof *v->rows);
    if (in->kl_row) {
        v->rows[in->n_rows] = *in->kl_row;
        v->rows[in->n_rows].n = in->kl_row->lookup + 1;
    }
    for (size_t i = 0; in->u && i < v->n; i++)
        v->rows[i].lookup = 0;
    KE_TRY(make_room(cx, v));
    for (size_t at = 0, end; at < v->n; at = end) {
        end = ke__rows_batch(v->rows, at, v->n, false, KE__READ_TOKENS);
        KE_TRY(read_rows(cx, v, at, end));
    }
    if (!(ke__norm2(v->start, width(v)) > 0.0)) {
        st = ke__fail(cx, KE_ENUMERIC, "value", "the %s of layer %u at the subject is %s",
                      ke__site_name(in->site), in->layer,
                      isnan(ke__norm2(v->start, width(v))) ? "not a number" : "zero");
        goto done;
    }
    *out = v;
    v = NULL;
done:
    ke__value_free(cx, v);
    return st;
}

/* Fill the batch's arrays for rows [first, end): sequences from the first token that
 * changes, the tokens that get some of delta, and the rows that predict, the KL row's last.
 */
static void lay_out(ke__value *v, size_t first, size_t end, const float *delta,
                    size_t *n_out, size_t *n_touched)
{
    size_t nt = v->in.n_target, d = width(v);
    *n_out = *n_touched = 0;
    for (size_t i = first; i < end; i++) {
        const ke__row *r = &v->rows[i];
        size_t begin = v->at[i] - v->at[first], length = r->n - r->lookup;
        v->seqs[i - first] = (ke__seq){r->ids + r->lookup, (uint32_t)length, (uint32_t)i};
        for (size_t t = 0; t < (v->in.u ? length : 1); t++) {
            float scale = v->scale[v->at[i] + t], *to = v->values + *n_touched * d;
            v->touched[(*n_touched)++] = (int32_t)(begin + t);
            for (size_t k = 0; k < d; k++)
                to[k] = scale * delta[k];
        }
        if (is_kl(v, i))
            v->outs[(*n_out)++] = (int32_t)(begin + length - 1);
        for (size_t k = 0; !is_kl(v, i) && k < nt; k++) {
            v->outs[*n_out] = (int32_t)(begin + length - nt + k);
            v->targets[*n_out] = v->in.target[k];
            v->weights[(*n_out)++] = 1.0F / (float)(v->in.n_rows * nt);
        }
    }
}

/* gradient[D] += what reaches delta through each token that got some of it. */
static void add_gradients(const ke__value *v, size_t first, size_t n_touched,
                          float *gradient)
{
    size_t d = width(v);
    for (size_t i = 0; i < n_touched; i++) {
        const float *g = v->gradients + i * d;
        /* Touched tokens stand in the order of `resid`; without u, one a row. */
        float scale = v->in.u ? v->scale[v->at[first] + i] : 1.0F;
        for (size_t k = 0; k < d; k++)
            gradient[k] += scale * g[k];
    }
}

static ke_status batch_loss(ke_ctx *cx, ke__value *v, size_t n_out, bool kl, double *loss)
{
    ke_status st = KE_OK;
    size_t n_xent = n_out - kl;
    if (n_xent > 0)
        KE_TRY(ke__pass_xent(cx, v->pass, v->places, v->targets, v->weights, n_xent, loss,
                             NULL));
    if (kl) {
        const float weight = (float)v->in.kl;
        KE_TRY(ke__pass_kl(cx, v->pass, v->places + n_xent, v->logq, &weight, 1, loss));
    }
done:
    return st;
}

static ke_status run_batch(ke_ctx *cx, ke__value *v, size_t first, size_t end,
                           const float *delta, double *loss, float *gradient)
{
    ke_status st = KE_OK;
    size_t d = width(v), n_out, n_touched;
    lay_out(v, first, end, delta, &n_out, &n_touched);
    const ke__touch touch = {v->in.layer, v->in.site, KE__PUT_ADD,
                             v->touched,  n_touched,  v->values};
    const ke__want want = {.kind = KE__WANT_SITE,
                           .layer = v->in.layer,
                           .site = v->in.site,
                           .rows = v->touched,
                           .n_rows = n_touched,
                           .out = v->gradients};
    for (size_t i = first; i < end; i++)
        ke__kv_truncate(cx, v->kv, (uint32_t)i, v->rows[i].lookup);
    KE_TRY(ke__pass_run(cx, v->pass,
                        &(ke__pass_in){.seqs = v->seqs,
                                       .n_seqs = end - first,
                                       .kv = v->kv,
                                       .first_layer = v->in.layer,
                                       .resid_in = v->resid + v->at[first] * d,
                                       .out_rows = v->outs,
                                       .n_out = n_out,
                                       .touches = &touch,
                                       .n_touches = 1,
                                       .edits = v->in.edits,
                                       .keep = gradient != NULL,
                                       .keep_from = v->in.layer}));
    KE_TRY(batch_loss(cx, v, n_out, is_kl(v, end - 1), loss));
    if (!gradient)
        goto done;
    KE_TRY(ke__pass_backward(cx, v->pass, &want, 1, NULL, 0));
    add_gradients(v, first, n_touched, gradient);
done:
    return st;
}

ke_status ke__value_loss(ke_ctx *cx, ke__value *v, const float *delta, double *loss,
                         float *gradient)
{
    ke_status st = KE_OK;
    size_t d = width(v);
    double norm = ke__norm2(delta, d), start = ke__norm2(v->start, d);
    *loss = 0.0;
    if (gradient)
        memset(gradient, 0, d * sizeof *gradient);
    for (size_t at = 0, end; at < v->n; at = end) {
        end = ke__rows_batch(v->rows, at, v->n, true, KE__KEEP_TOKENS);
        KE_TRY(run_batch(cx, v, at, end, delta, loss, gradient));
    }
    *loss += ke__delta_decay(v->in.decay, norm, start);
    /* d|delta| = delta / |delta|; at zero the norm has a kink, and 0 is a subgradient. */
    for (size_t i = 0; gradient && norm > 0.0 && i < d; i++)
        gradient[i] += (float)(v->in.decay * (double)delta[i] / (norm * start * start));
done:
    return st;
}

struct adam {
    float *m, *v;
    unsigned t;
};

static void adam_step(struct adam *a, float *x, const float *g, size_t n, double lr)
{
    const double b1 = 0.9, b2 = 0.999, eps = 1e-8;
    a->t++;
    float step = (float)(lr / (1.0 - pow(b1, a->t)));
    float root = (float)sqrt(1.0 - pow(b2, a->t));
    for (size_t i = 0; i < n; i++) {
        a->m[i] = (float)b1 * a->m[i] + (float)(1.0 - b1) * g[i];
        a->v[i] = (float)b2 * a->v[i] + (float)(1.0 - b2) * g[i] * g[i];
        x[i] -= step * a->m[i] / (sqrtf(a->v[i]) / root + (float)eps);
    }
}

ke_status ke__value_descend(ke_ctx *cx, ke__value *v, const ke__descent *how, float *value,
                            double **loss, size_t *n_loss)
{
    ke_status st = KE_OK;
    size_t d = width(v);
    float *delta = NULL, *gradient = NULL;
    struct adam adam = {0};
    double limit = how->clamp * ke__norm2(v->start, d);
    *loss = NULL;
    *n_loss = 0;
    KE_TRY(ke__alloc(cx, &delta, d, sizeof *delta));
    KE_TRY(ke__alloc(cx, &gradient, d, sizeof *gradient));
    KE_TRY(ke__alloc(cx, &adam.m, d, sizeof *adam.m));
    KE_TRY(ke__alloc(cx, &adam.v, d, sizeof *adam.v));
    KE_TRY(ke__alloc(cx, loss, how->steps, sizeof **loss));
    for (size_t step = 0; step < how->steps; step++) {
        KE_TRY(ke__progress(cx, "optimising the value", step, how->steps));
        double now;
        KE_TRY(ke__value_loss(cx, v, delta, &now, gradient));
        if (!isfinite(now) || !isfinite(ke__norm2(gradient, d))) {
            st = ke__fail(cx, KE_ENUMERIC, "value", "the loss is %g at step %zu of %zu",
                          now, step, how->steps);
            goto done;
        }
        (*loss)[(*n_loss)++] = now;
        if (now < how->stop || step + 1 == how->steps)
            break;
        adam_step(&adam, delta, gradient, d, how->lr);
        ke__delta_clamp(delta, d, limit);
    }
    for (size_t i = 0; i < d; i++)
        value[i] = v->start[i] + delta[i];
    KE_TRY(ke__progress(cx, "optimising the value", how->steps, how->steps));
done:
    ke__free(cx, delta);
    ke__free(cx, gradient);
    ke__free(cx, adam.m);
    ke__free(cx, adam.v);
    if (st != KE_OK) {
        ke__free(cx, *loss);
        *loss = NULL;
        *n_loss = 0;
    }
    return st;
}
