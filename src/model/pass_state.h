/* What a pass holds between its forward, its losses and its backward. */
#ifndef KE_MODEL_PASS_STATE_H
#define KE_MODEL_PASS_STATE_H

#include "model/kv.h"

/* A buffer that grows and is kept. */
typedef struct ke__slot {
    ke_buf *buf;
    size_t room;
} ke__slot;

/* Activations of one layer. Where two names are one thing (no post-norm), the buffer of the
 * first is used for both. */
typedef enum ke__act_id {
    A_RESID_IN,
    A_ATTN_IN,
    A_Q_RAW,
    A_K_RAW,
    A_Q,
    A_CTX,
    A_LSE,
    A_ATTN_OUT,
    A_ATTN_ADD,
    A_RESID_MID,
    A_MLP_IN,
    A_GATE,
    A_UP,
    A_MLP_KEY,
    A_MLP_OUT,
    A_MLP_ADD,
    A_COUNT
} ke__act_id;
typedef struct ke__acts {
    ke__slot at[A_COUNT];
} ke__acts;

typedef enum ke__work_id {
    W_K,
    W_V,     /* new rows' keys and values [n, kv_dim] */
    W_TERM,  /* [n, r] inside a low-rank term */
    W_TOUCH, /* rows going in or out of a site */
    W_LOGITS,
    W_CAPPED,
    W_REFERENCE,
    W_FINAL_IN,
    W_FINAL,     /* [n_out, D] before and after the last norm */
    W_HEAD_ROWS, /* [block, D] */
    W_DHEAD,     /* [block, D] */
    W_DFINAL,
    W_DRES,
    W_DBRANCH,
    W_DIN,
    W_DKEY,
    W_DGATE,
    W_DUP,
    W_DQ,
    W_DK,
    W_DV,
    W_DCTX,
    W_DQ_RAW,
    W_DK_RAW,
    W_COUNT
} ke__work_id;

struct ke__pass {
    const ke_model *model;
    const ke_ops *ops;
    ke__kv *own_kv;
    /* of the run */
    ke__pass_in in;
    ke__kv *kv;
    uint32_t end_layer;
    size_t n_rows;
    int32_t *ids, *pos, *cache_rows; /* [n_rows] */
    size_t rows_room;
    ke__span *spans; /* [n_seqs] */
    size_t spans_room;
    size_t n_placed; /* sequences that have their cache rows */
    bool ran;
    /* buffers */
    ke__acts *acts;  /* [L + 1] where kept; the last holds the final residual */
    ke__acts shared; /* where not kept */
    ke__slot work[W_COUNT];
    /* overlays that read one site and change another keep the old rows and the gradient
     * that flows to the earlier site: [stack's n_overlays] */
    ke__slot *over_old, *over_from;
    size_t overs_room;
    ke_buf *head_grad;
};

/* A buffer of at least n reals in *slot; contents are undefined. */
KE_MUST_CHECK ke_status ke__slot_need(ke_ctx *cx, const ke_ops *ops, ke__slot *slot,
                                      size_t n);
/* Activations of layer l in this run. */
ke__acts *ke__pass_acts(ke__pass *p, uint32_t layer);
/* The buffer of a site of a layer (FINAL included); NULL for KE__EMBED. */
ke_buf *ke__pass_site(ke__pass *p, uint32_t layer, ke__site site);

/* model/linear.c: a linear map with the stack's terms. `bias` may be absent. */
KE_MUST_CHECK ke_status ke__pass_linear(ke_ctx *cx, ke__pass *p, ke_buf *y, const ke_buf *x,
                                        const ke__param *w, const ke__param *bias,
                                        size_t n);
/* dx = (or +=) dy (W + terms) */
KE_MUST_CHECK ke_status ke__pass_linear_back(ke_ctx *cx, ke__pass *p, ke_buf *dx,
                                             const ke_buf *dy, const ke__param *w, size_t n,
                                             bool add);

/* model/forward.c */
ke__attention ke__pass_attention(const ke__pass *p, uint32_t layer);
KE_MUST_CHECK ke_status ke__pass_forward(ke_ctx *cx, ke__pass *p);
/* Overlays, touches and taps of a site, in this order. */
KE_MUST_CHECK ke_status ke__pass_at_site(ke_ctx *cx, ke__pass *p, uint32_t layer,
                                         ke__site site, ke_buf *rows);

#endif
