/* The edits that a pass sees: terms of linear maps, and overlays at sites. Patches
 * (src/patch) put them here; the pass knows no patch kind. */
#ifndef KE_MODEL_STACK_H
#define KE_MODEL_STACK_H

#include "knowedit/patch.h"
#include "model/model.h"

/* Where a hidden state is read or changed; widths in ke__site_width(). */
typedef enum ke__site {
    KE__EMBED,     /* [D] after scaling; layer ignored */
    KE__RESID_IN,  /* [D] */
    KE__ATTN_IN,   /* [D] normed */
    KE__ATTN_OUT,  /* [D] after the output projection */
    KE__ATTN_ADD,  /* [D] what is added to the residual */
    KE__RESID_MID, /* [D] */
    KE__MLP_IN,    /* [D] normed */
    KE__MLP_KEY,   /* [F] input of the down projection */
    KE__MLP_OUT,   /* [D] its output */
    KE__MLP_ADD,   /* [D] */
    KE__RESID_OUT, /* [D] */
    KE__FINAL,     /* [D] normed input of the head; requested rows only; layer ignored */
    KE__SITE_COUNT
} ke__site;
size_t ke__site_width(const ke_model *m, ke__site site);
const char *ke__site_name(ke__site site);
/* Whether what is wanted at a site of a layer is wanted here. */
static inline bool ke__site_is(uint32_t layer, ke__site site, uint32_t here_layer,
                               ke__site here)
{
    return site == here && (layer == here_layer || site == KE__EMBED || site == KE__FINAL);
}

typedef enum ke__term_kind {
    KE__TERM_LOWRANK, /* y += scale * (x V^T) U^T */
    KE__TERM_DENSE,   /* y += scale * x delta^T */
    KE__TERM_REPLACE  /* the tensor's data are these; earlier terms on it are dropped */
} ke__term_kind;
typedef struct ke__term {
    ke__term_kind kind;
    uint32_t tensor; /* index in the model's file: the whole matrix [O, I] */
    float scale;
    ke__mat u;     /* [O, r] f32: LOWRANK */
    ke__mat v;     /* [r, I] f32: LOWRANK */
    ke__mat dense; /* [O, I]: DENSE (f32) and REPLACE (any type) */
} ke__term;

/* Rows of one site recomputed from rows of another site of the same layer (or of itself).
 */
typedef struct ke__overlay {
    uint32_t layer;
    ke__site from, to; /* `from` is not later than `to` in the layer */
    void *payload;
    /* Change io[n, width(to)] given from[n, width(from)] (from == io if the sites are one:
     * then the old value). */
    ke_status (*forward)(ke_ctx *cx, void *payload, const ke_ops *ops, ke_buf *io,
                         const ke_buf *from, size_t n);
    /* dio: in, the gradient of the changed rows; out, that of the unchanged rows.
     * dfrom[n, width(from)] += what flows to `from` (NULL if the sites are one: then it is
     * added to dio). `io` is the value before the change. */
    ke_status (*backward)(ke_ctx *cx, void *payload, const ke_ops *ops, ke_buf *dio,
                          ke_buf *dfrom, const ke_buf *io, const ke_buf *from, size_t n);
} ke__overlay;

/* A fact that is told before every prompt. Borrowed. */
typedef struct ke__memory {
    const char *lead; /* what begins a run of facts that share it, or "" */
    const char *fact;
} ke__memory;

struct ke_stack {
    const ke_model *model;
    ke__term *terms; /* in order of pushing; borrowed data */
    size_t n_terms, terms_room;
    ke__overlay *overlays;
    size_t n_overlays, overlays_room;
    ke__memory *memories; /* for ke_stack_prompt(): the pass doesn't look at them */
    size_t n_memories, memories_room;
    size_t (*levels)[3]; /* n_terms, n_overlays, n_memories below each patch, for pop */
    size_t depth, levels_room;
};

/* What a patch's apply does, between ke__stack_begin() and its return. */
KE_MUST_CHECK ke_status ke__stack_begin(ke_ctx *cx, ke_stack *stack);
KE_MUST_CHECK ke_status ke__stack_term(ke_ctx *cx, ke_stack *stack, const ke__term *term);
KE_MUST_CHECK ke_status ke__stack_overlay(ke_ctx *cx, ke_stack *stack,
                                          const ke__overlay *overlay);
KE_MUST_CHECK ke_status ke__stack_memory(ke_ctx *cx, ke_stack *stack,
                                         const ke__memory *memory);
/* A stack for more edits that begins as `edits` (NULL: empty); what that borrows, this does
 * too. */
KE_MUST_CHECK ke_status ke__stack_copy(ke_ctx *cx, ke_stack **out, const ke_model *model,
                                       const ke_stack *edits);

/* The matrix [rows, cols] of a tensor in f32 with the stack's terms added (NULL: none). The
 * caller frees *out. KE_ENOTSUP names a type that can't be computed with. */
KE_MUST_CHECK ke_status ke__stack_matrix(ke_ctx *cx, float **out, const ke_model *model,
                                         const ke_stack *stack, uint32_t tensor);
/* The data and type that a tensor has under the stack's last REPLACE, else the file's. */
ke__mat ke__stack_base(const ke_model *model, const ke_stack *stack, uint32_t tensor);
bool ke__stack_touches(const ke_stack *stack, uint32_t tensor);

#endif
