/* What an edit will take: memory from the sizes of its batches, time from its operations
 * and a short measurement. */
#ifndef KE_EDIT_PLAN_H
#define KE_EDIT_PLAN_H

#include "edit/edit.h"

typedef struct ke__plan_in {
    const ke_model *model;
    const ke_settings *settings;
    const ke_fact *facts;
    size_t n_facts;
    uint32_t layer;
    size_t n_contexts, steps;
    bool drawn;  /* contexts are generated first */
    bool factor; /* of a covariance; out->stats_tokens is set */
} ke__plan_in;
/* Fill peak_bytes, seconds and stats_seconds for a value descent per fact. */
KE_MUST_CHECK ke_status ke__plan_descent(ke_ctx *cx, ke_edit_plan *out,
                                         const ke__plan_in *in);
/* The same, and patch_bytes, for training the down projections of out->layers, of which
 * in->layer is the lowest. */
KE_MUST_CHECK ke_status ke__plan_training(ke_ctx *cx, ke_edit_plan *out,
                                          const ke__plan_in *in);

#endif
