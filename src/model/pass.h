/* The instrumented pass: a ragged batch of sequences through (a range of) the layers, with
 * taps, interventions, edits, rows of logits on request, and a backward from losses.
 *
 * A batch is packed: row r of every buffer is token r of the sequences written one after
 * another. A sequence continues what its slot of the key-value cache already holds, so that
 * a prefix is read once. Positions are counted from 0.
 *
 *     ke__pass *pass = NULL;                      // buffers are kept between runs
 *     KE_TRY(ke__pass_new(cx, &pass, model, NULL));
 *     KE_TRY(ke__pass_run(cx, pass, &(ke__pass_in){.seqs = &seq, .n_seqs = 1,
 *                                                  .out_rows = &last, .n_out = 1}));
 *     KE_TRY(ke__pass_logits(cx, pass, logits, 0, 1));
 */
#ifndef KE_MODEL_PASS_H
#define KE_MODEL_PASS_H

#include "model/stack.h"

typedef struct ke__pass ke__pass;
typedef struct ke__kv ke__kv;

/* --- key-value cache: slots of positions; positions may be shared ------------------- */

KE_MUST_CHECK ke_status ke__kv_new(ke_ctx *cx, ke__kv **out, const ke_model *model,
                                   const ke_ops *ops, size_t n_slots);
void ke__kv_free(ke_ctx *cx, ke__kv *kv);
uint32_t ke__kv_len(const ke__kv *kv, uint32_t slot);
/* Forget positions from `len` on. */
void ke__kv_truncate(ke_ctx *cx, ke__kv *kv, uint32_t slot, uint32_t len);
/* dst := the first `len` positions of src, shared without a copy. */
KE_MUST_CHECK ke_status ke__kv_fork(ke_ctx *cx, ke__kv *kv, uint32_t dst, uint32_t src,
                                    uint32_t len);

/* --- one run ------------------------------------------------------------------------ */

typedef struct ke__seq {
    const int32_t *ids; /* [n], n >= 1 */
    uint32_t n;
    uint32_t slot; /* of the cache; distinct within a batch */
    /* The first `shared` positions are those of sequence `parent`, an earlier one of this
     * batch: they are computed once. `ids` are what follows them, and the slot is emptied
     * first. Forward only. 0: nothing is shared. */
    uint32_t parent, shared;
} ke__seq;
/* Copy rows of a site out: out[n_rows, width]. */
typedef struct ke__tap {
    uint32_t layer;
    ke__site site;
    const int32_t *rows;
    size_t n_rows;
    float *out;
} ke__tap;
/* Set, add to or scale rows of a site: values[n_rows, width]. Taps see the changed rows. */
typedef struct ke__touch {
    uint32_t layer;
    ke__site site;
    ke__put how;
    const int32_t *rows;
    size_t n_rows;
    const float *values;
} ke__touch;

typedef struct ke__pass_in {
    const ke__seq *seqs;
    size_t n_seqs;
    ke__kv *kv;              /* NULL: a cache of the pass's own, emptied before each run */
    uint32_t first_layer;    /* > 0, or resid_in given: start from resid_in */
    const float *resid_in;   /* [n_rows, D] of first_layer, or NULL: embed */
    uint32_t end_layer;      /* stop before this layer; 0: all */
    ke__site last_site;      /* in the last layer stop after this site; 0: whole layer */
    const int32_t *out_rows; /* rows whose final state (and logits) are wanted */
    size_t n_out;
    const ke__tap *taps;
    size_t n_taps;
    const ke__touch *touches;
    size_t n_touches;
    const ke_stack *edits; /* NULL: none */
    bool keep;             /* keep what a backward needs */
    uint32_t keep_from;    /* ... from this layer up only (the lowest that anybody wants) */
} ke__pass_in;

/* `ops` NULL: the context's table. */
KE_MUST_CHECK ke_status ke__pass_new(ke_ctx *cx, ke__pass **out, const ke_model *model,
                                     const ke_ops *ops);
void ke__pass_free(ke_ctx *cx, ke__pass *pass);
const ke_ops *ke__pass_ops(const ke__pass *pass);
/* The pointers in `in` are borrowed until the next run. KE_EINVAL for ids outside the
 * vocabulary and sequences longer than the context. */
KE_MUST_CHECK ke_status ke__pass_run(ke_ctx *cx, ke__pass *pass, const ke__pass_in *in);

/* Bytes that a run over n_rows (n_out of them with logits) takes beside the weights. */
uint64_t ke__pass_bytes(const ke_model *model, size_t n_rows, size_t n_out, bool keep,
                        uint32_t keep_from);

/* KE_ELIMIT, with the number that would do, if such runs and `kept` tokens in a cache take
 * more memory than there is. */
KE_MUST_CHECK ke_status ke__pass_fits(ke_ctx *cx, const ke_model *model, size_t n_rows,
                                      size_t n_out, size_t kept);

/* --- the head: on requested rows [at, at + n) of out_rows ---------------------------- */

KE_MUST_CHECK ke_status ke__pass_logits(ke_ctx *cx, ke__pass *pass, float *out, size_t at,
                                        size_t n);
/* As ke_ops.score, in blocks; outputs [n], any may be NULL. A NaN or infinite score is
 * KE_ENUMERIC. */
KE_MUST_CHECK ke_status ke__pass_score(ke_ctx *cx, ke__pass *pass, size_t at, size_t n,
                                       const int32_t *targets, float *logprob,
                                       int32_t *best, uint32_t *rank, float *margin,
                                       double *lse);

/* --- losses: each adds to *loss, and (with keep) to the gradient ---------------------- */

/* Sum over i of weight[i] * -log p(targets[i]) at requested row out[i]. `each` [n], the
 * unweighted negative log-likelihoods, may be NULL. */
KE_MUST_CHECK ke_status ke__pass_xent(ke_ctx *cx, ke__pass *pass, const int32_t *out,
                                      const int32_t *targets, const float *weight, size_t n,
                                      double *loss, double *each);
/* Log-probabilities [n, V] at requested rows [at, at + n), as a reference for kl. */
KE_MUST_CHECK ke_status ke__pass_logprobs(ke_ctx *cx, ke__pass *pass, float *out, size_t at,
                                          size_t n);
/* Sum over i of weight[i] * KL(current || reference), logq [n, V]. */
KE_MUST_CHECK ke_status ke__pass_kl(ke_ctx *cx, ke__pass *pass, const int32_t *out,
                                    const float *logq, const float *weight, size_t n,
                                    double *loss);

/* From now on losses add the head's share of the gradient to grad[V, D] (NULL: no more). */
void ke__pass_want_head(ke__pass *pass, ke_buf *grad);

/* --- backward --------------------------------------------------------------------------
 */

typedef enum ke__want_kind {
    KE__WANT_SITE,   /* out[n_rows, width]: gradient at rows of a site (after touches) */
    KE__WANT_WEIGHT, /* grad[O, I] += dy^T x of a linear map */
    KE__WANT_PAIR,   /* out_x[n, I], out_dy[n, O]: all rows of the batch */
    KE__WANT_BIAS,   /* grad[O] += */
    KE__WANT_NORM,   /* grad[width] += of norm `norm` */
    KE__WANT_EMBED   /* grad[V, D] += the embedding's share */
} ke__want_kind;
typedef struct ke__want {
    ke__want_kind kind;
    uint32_t layer;
    ke__site site;
    ke__linear linear;
    ke__norm_at norm; /* KE__AT_COUNT: the final norm */
    const int32_t *rows;
    size_t n_rows;
    float *out, *out_x, *out_dy;
    ke_buf *grad; /* of the pass's table */
} ke__want;
/* A loss on a site: its gradient values[n_rows, width] at rows, added on the way down. */
typedef struct ke__seed {
    uint32_t layer;
    ke__site site;
    const int32_t *rows;
    size_t n_rows;
    const float *values;
} ke__seed;
/* From the losses since the run (and seeds) down to the lowest layer that a want names.
 * One backward a run. */
KE_MUST_CHECK ke_status ke__pass_backward(ke_ctx *cx, ke__pass *pass, const ke__want *wants,
                                          size_t n_wants, const ke__seed *seeds,
                                          size_t n_seeds);

#endif
