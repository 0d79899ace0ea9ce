/* Methods that leave the weights alone and tell the model the facts before every prompt:
 * one memory part a fact. They differ in the style. */
#ifndef KE_EDIT_TELL_H
#define KE_EDIT_TELL_H

#include "edit/edit.h"

/* The members of a ke__method; the style is the method's name. */
extern const ke__setting ke__tell_settings[];
extern const ke__preset ke__tell_presets[];
extern const ke__attempt ke__tell_attempts[];
KE_MUST_CHECK ke_status ke__tell_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                                      const ke_settings *settings, const ke_fact *facts,
                                      size_t n_facts);
KE_MUST_CHECK ke_status ke__tell_prepare(ke_ctx *cx, void **state, const ke__edit_in *in,
                                         json_t *meta);
void ke__tell_release(ke_ctx *cx, void *state);
KE_MUST_CHECK ke_status ke__tell_compute(ke_ctx *cx, void *state, ke_patch *out,
                                         const ke__edit_in *in, const ke_fact *facts,
                                         size_t n_facts, ke_edit_trace *trace);

#endif
