/* The arithmetic of ROME, apart from any model (docs/rome.md). */
#ifndef KE_EDIT_ROME_H
#define KE_EDIT_ROME_H

#include "base/base.h"

typedef struct ke__rome_in {
    size_t d, f;
    const float *key_mean; /* [F] over the contexts: gives the direction u */
    const float *key;      /* [F] of the bare prompt: gives the length */
    const float *value;    /* v* [D] */
    const float *output;   /* [D] what the layer puts out at `key` now */
    const double *factor;  /* [F, F] of C = L L^T, or NULL: C = I */
} ke__rome_in;
/* u = C^-1 key_mean / |.|, r = (value - output) / (key . u): the update is r u^T.
 * *agreement = (key . u) / (key_mean . u): 1 if both keys are one.
 * @retval KE_ENUMERIC a key that is zero, not a number, or orthogonal to u */
KE_MUST_CHECK ke_status ke__rome_update(ke_ctx *cx, float *r, float *u, double *agreement,
                                        const ke__rome_in *in);
/* The layer that is edited unless one is named. */
uint32_t ke__rome_layer(uint32_t n_layers);

#endif
