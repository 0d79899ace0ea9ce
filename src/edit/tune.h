/* Fine-tuning of down projections: what FT, FT-L and FT-M share. They differ in which
 * layers, which loss and which bound, and those are settings. */
#ifndef KE_EDIT_TUNE_H
#define KE_EDIT_TUNE_H

#include "edit/edit.h"

/* The members of a ke__method; the settings are tune_settings.def and a row each of
 * "layer", "lr", "objective" and "constraint". */
extern const ke__attempt ke__tune_attempts[];
KE_MUST_CHECK ke_status ke__tune_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                                      const ke_settings *set, const ke_fact *facts,
                                      size_t n_facts);
KE_MUST_CHECK ke_status ke__tune_prepare(ke_ctx *cx, void **out, const ke__edit_in *in,
                                         json_t *meta);
void ke__tune_release(ke_ctx *cx, void *state);
KE_MUST_CHECK ke_status ke__tune_compute(ke_ctx *cx, void *state, ke_patch *out,
                                         const ke__edit_in *in, const ke_fact *facts,
                                         size_t n_facts, ke_edit_trace *trace);

#endif
