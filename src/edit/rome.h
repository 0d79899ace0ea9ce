/* ROME (docs/rome.md): its arithmetic, apart from any model, and what its row shares with
 * R-ROME's. */
#ifndef KE_EDIT_ROME_H
#define KE_EDIT_ROME_H

#include "edit/edit.h"

typedef struct ke__rome_in {
    size_t d, f;
    const float *key_mean; /* [F] over the contexts: gives the direction u */
    const float *key;      /* [F] of the bare prompt: gives the length */
    const float *value;    /* v* [D] */
    const float *output;   /* [D] what the layer puts out at `key` now */
    const double *factor;  /* [F, F] of C = L L^T, or NULL: C = I */
} ke__rome_in;
/* u [F] = C^-1 key_mean / |.|; value and output aren't looked at.
 * *agreement = (key . u) / (key_mean . u): 1 if both keys are one.
 * @retval KE_ENUMERIC a mean key that is zero, or a key that is not a number */
KE_MUST_CHECK ke_status ke__rome_direction(ke_ctx *cx, float *u, double *agreement,
                                           const ke__rome_in *in);
/* r [D] = (value - output) / (key . u): the update is r u^T.
 * @retval KE_ENUMERIC a key that is orthogonal to u */
KE_MUST_CHECK ke_status ke__rome_residual(ke_ctx *cx, float *r, const float *u,
                                          const ke__rome_in *in);
/* The layer that is edited unless one is named. */
uint32_t ke__rome_layer(uint32_t n_layers);

/* --- the members of a ke__method; the settings are rome_settings.def ----------------- */

extern const ke__preset ke__rome_presets[];
extern const ke__attempt ke__rome_attempts[];
/* A method with a setting "keys" takes the update's direction and its length from one key:
 * the contexts' "mean", or the bare "prompt"'s; else ("original") from both, as ROME. */
KE_MUST_CHECK ke_status ke__rome_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                                      const ke_settings *set, const ke_fact *facts,
                                      size_t n_facts);
KE_MUST_CHECK ke_status ke__rome_prepare(ke_ctx *cx, void **out, const ke__edit_in *in,
                                         json_t *meta);
void ke__rome_release(ke_ctx *cx, void *state);
KE_MUST_CHECK ke_status ke__rome_compute(ke_ctx *cx, void *state, ke_patch *out,
                                         const ke__edit_in *in, const ke_fact *facts,
                                         size_t n_facts, ke_edit_trace *trace);

#endif
