/* The table of operations that a pass is made of. One table per device and instruction
 * set; only a table's owner looks into a ke_buf. All matrices are row-major, rows first.
 *
 * Letters: n rows (tokens of a packed batch), I inputs, O outputs, H heads, G key-value
 * heads, Dh head width, V vocabulary. Gradients named d<x> are accumulated (+=) unless
 * said otherwise. Shapes are checked by the caller; a status other than KE_OK means that
 * the device failed (the CPU's tables return KE_ENOMEM from buf_new only).
 *
 * Each output element is computed by one task in a fixed order: results are the same for
 * any number of threads. The scalar family is the specification (kernels/ref). */
#ifndef KE_KERNELS_OPS_H
#define KE_KERNELS_OPS_H

#include "tensor/tensor.h"

typedef struct ke_buf ke_buf; /* reals of the table's own width, dense */

/* A matrix or vector of weights in its file type, [rows, cols] = [O, I]; a vector is one
 * row. Borrowed for the model's life-time. */
typedef struct ke__mat {
    const ke__dtype_traits *type;
    uint64_t rows, cols;
    const void *data;
    void *device; /* a table's own copy, made on first use; NULL on the CPU */
} ke__mat;

typedef enum ke__norm { KE__NORM_RMS, KE__NORM_LAYER } ke__norm;
typedef enum ke__act {
    KE__ACT_SILU,
    KE__ACT_GELU_TANH,
    KE__ACT_GELU,
    KE__ACT_RELU
} ke__act;
typedef enum ke__put { KE__PUT_SET, KE__PUT_ADD, KE__PUT_SCALE } ke__put;

/* Rotary embedding of the first `rot` of Dh channels of every head. */
typedef struct ke__rope {
    uint32_t rot; /* rotated channels, even, <= Dh */
    bool
        interleaved; /* pairs (0,1),(2,3).. (llama GGUF) instead of (i, i + rot/2) (NeoX) */
    float base;
    float scale;          /* positions are multiplied by it; 1 unless linear scaling */
    const float *factors; /* [rot / 2] frequency divisors (Llama 3), or NULL */
} ke__rope;

/* Sequence s holds rows [row0, row0 + n) of the batch, at positions pos0.. ; keys[p] is the
 * cache row of its position p, 0 <= p < pos0 + n. */
typedef struct ke__span {
    uint32_t row0, n, pos0;
    const int32_t *keys;
} ke__span;
typedef struct ke__attention {
    uint32_t n_heads, n_kv, head_dim;
    float scale;
    float softcap;   /* 0: none; else cap * tanh(score / cap) */
    uint32_t window; /* 0: none; else position p sees q with p - q < window */
    const ke__span *spans;
    size_t n_spans;
} ke__attention;

struct ke_ops {
    const char *name; /* "ref", "avx2", "avx512", "ref64" */

    /* Buffers of n reals, zeroed. put and get convert from and to float. */
    ke_status (*buf_new)(ke_ctx *cx, ke_buf **out, size_t n);
    void (*buf_free)(ke_ctx *cx, ke_buf *buf);
    ke_status (*put)(ke_ctx *cx, ke_buf *dst, size_t at, const float *src, size_t n);
    ke_status (*get)(ke_ctx *cx, float *dst, const ke_buf *src, size_t at, size_t n);
    ke_status (*zero)(ke_ctx *cx, ke_buf *dst, size_t at, size_t n);
    /* y[0..n) += alpha * x[0..n) */
    ke_status (*axpy)(ke_ctx *cx, ke_buf *y, const ke_buf *x, float alpha, size_t n);
    ke_status (*copy)(ke_ctx *cx, ke_buf *dst, size_t dst_at, const ke_buf *src,
                      size_t src_at, size_t n);

    /* out[k, width] = x[rows[i], :]                                             */
    ke_status (*gather)(ke_ctx *cx, ke_buf *out, const ke_buf *x, const int32_t *rows,
                        size_t k, size_t width);
    /* y[rows[i], :] = | += | *= x[i, :]; rows may repeat for ADD (in order of i) */
    ke_status (*scatter)(ke_ctx *cx, ke_buf *y, const ke_buf *x, const int32_t *rows,
                         size_t k, size_t width, ke__put how);

    /* out[n, I] = scale * table[ids[i], :] */
    ke_status (*embed)(ke_ctx *cx, ke_buf *out, const ke__mat *table, const int32_t *ids,
                       size_t n, float scale);

    /* RMS: out = x / sqrt(mean(x^2) + eps) * w. LAYER: (x - mean) / sqrt(var + eps) * w +
     * b. w, b: [width] or NULL. n rows of `width`. In place allowed (out == x). */
    ke_status (*norm)(ke_ctx *cx, ke_buf *out, const ke_buf *x, const ke__mat *w,
                      const ke__mat *b, size_t n, size_t width, float eps, ke__norm kind);
    /* dx += ; dw, db ([width], either may be NULL) += */
    ke_status (*norm_back)(ke_ctx *cx, ke_buf *dx, ke_buf *dw, ke_buf *db, const ke_buf *dy,
                           const ke_buf *x, const ke__mat *w, size_t n, size_t width,
                           float eps, ke__norm kind);

    /* y[n, O] (= or, if add, +=) alpha * x[n, I] W^T + b; b may be NULL */
    ke_status (*linear)(ke_ctx *cx, ke_buf *y, const ke_buf *x, const ke__mat *w,
                        const ke__mat *b, size_t n, float alpha, bool add);
    /* dx[n, I] (= or, if add, +=) alpha * dy[n, O] W */
    ke_status (*linear_back)(ke_ctx *cx, ke_buf *dx, const ke_buf *dy, const ke__mat *w,
                             size_t n, float alpha, bool add);
    /* dw[O, I] += dy[n, O]^T x[n, I] */
    ke_status (*linear_grad)(ke_ctx *cx, ke_buf *dw, const ke_buf *dy, const ke_buf *x,
                             size_t n, size_t n_out, size_t n_in);
    /* db[O] += column sums of dy[n, O] */
    ke_status (*bias_grad)(ke_ctx *cx, ke_buf *db, const ke_buf *dy, size_t n,
                           size_t n_out);

    /* In place on x[n, heads * Dh]; sign +1 forward, -1 backward (the inverse rotation). */
    ke_status (*rope)(ke_ctx *cx, ke_buf *x, const int32_t *pos, size_t n, uint32_t heads,
                      uint32_t head_dim, const ke__rope *rope, int sign);

    /* out[n, H*Dh] = softmax(scale q k^T) v, causal, per span; k, v: caches of G*Dh wide
     * rows. lse[n, H] = log-sum-exp of the (scaled, capped) scores. */
    ke_status (*attention)(ke_ctx *cx, ke_buf *out, ke_buf *lse, const ke_buf *q,
                           const ke_buf *k, const ke_buf *v, const ke__attention *att);
    /* dq[n, H*Dh] +=; dk, dv[n, G*Dh] += for the batch's own rows (position pos0 + i of a
     * span is its row row0 + i); cached positions before pos0 get no gradient. */
    ke_status (*attention_back)(ke_ctx *cx, ke_buf *dq, ke_buf *dk, ke_buf *dv,
                                const ke_buf *dout, const ke_buf *out, const ke_buf *lse,
                                const ke_buf *q, const ke_buf *k, const ke_buf *v,
                                const ke__attention *att);

    /* out = act(gate) * up, or act(gate) if up is NULL; n elements */
    ke_status (*glu)(ke_ctx *cx, ke_buf *out, const ke_buf *gate, const ke_buf *up,
                     size_t n, ke__act act);
    /* dgate = , dup = (not +=; dup NULL if up is) from dout and the forward's gate, up */
    ke_status (*glu_back)(ke_ctx *cx, ke_buf *dgate, ke_buf *dup, const ke_buf *dout,
                          const ke_buf *gate, const ke_buf *up, size_t n, ke__act act);

    /* x = cap * tanh(x / cap), in place; back: dy *= 1 - (y / cap)^2, y the capped output
     */
    ke_status (*softcap)(ke_ctx *cx, ke_buf *x, size_t n, float cap);
    ke_status (*softcap_back)(ke_ctx *cx, ke_buf *dy, const ke_buf *y, size_t n, float cap);

    /* Per row of logits[n, V] and its target: logprob[i], argmax best[i], rank[i] from 1
     * (1 + number of logits greater than the target's), margin[i] = target logit - best
     * other logit, lse[i]. Any output may be NULL. A row with a NaN gives NaN logprob. */
    ke_status (*score)(ke_ctx *cx, float *logprob, int32_t *best, uint32_t *rank,
                       float *margin, double *lse, const ke_buf *logits,
                       const int32_t *targets, size_t n, size_t n_vocab);
    /* loss[i] = weight[i] * -log p(target[i]); logits become weight[i] * (p - onehot). */
    ke_status (*xent)(ke_ctx *cx, double *loss, ke_buf *logits, const int32_t *targets,
                      const float *weight, size_t n, size_t n_vocab);
    /* logits[n, V] become log-probabilities, in place. */
    ke_status (*log_softmax)(ke_ctx *cx, ke_buf *logits, size_t n, size_t n_vocab);
    /* loss[i] = weight[i] * KL(p || q), p = softmax(logits row i), q = exp(logq row i);
     * logits become the gradient: weight * p * (log p - log q - KL). */
    ke_status (*kl)(ke_ctx *cx, double *loss, ke_buf *logits, const ke_buf *logq,
                    const float *weight, size_t n, size_t n_vocab);

    /* One Adam step, t counted from 1: m, v moments; x -= lr * mhat / (sqrt(vhat) + eps).
     * The gradient is dx + weight_decay * x, as in torch.optim.Adam. */
    ke_status (*adam)(ke_ctx *cx, ke_buf *x, ke_buf *m, ke_buf *v, const ke_buf *dx,
                      size_t n, uint32_t t, float lr, float beta1, float beta2, float eps,
                      float weight_decay);
};
typedef struct ke_ops ke_ops;

/* The table for this context: that of opts.isa, else the best the processor has. */
const ke_ops *ke__ops_pick(const ke_ctx *cx);
/* The same, or KE_ENOTSUP: it may have been asked for by name. */
KE_MUST_CHECK ke_status ke__ops_get(ke_ctx *cx, const ke_ops **out);
/* By name ("ref", "avx2", "avx512", "ref64"); NULL if unknown or the processor can't. */
const ke_ops *ke__ops_named(const char *name);

#endif
