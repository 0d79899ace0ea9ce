#ifndef KE_TOKEN_STEPS_JSON_H
#define KE_TOKEN_STEPS_JSON_H

#include "token/json_at.h"
#include "token/steps.h"

/* What is known about a pipeline besides its steps, for the way back. */
typedef struct ke__step_facts {
    bool byte_level;  /* ids spell bytes */
    bool prefix;      /* something is put before a text, */
    bool prefix_each; /* and before what follows an added token */
} ke__step_facts;

/* Append the steps of root's member "normalizer" and "pre_tokenizer". KE_ENOTSUP names a
 * kind that is not known, and those that are. */
KE_MUST_CHECK ke_status ke__normalizer_read(ke__json_at *at, const json_t *root,
                                            ke__steps *out, ke__step_facts *facts);
KE_MUST_CHECK ke_status ke__pre_tokenizer_read(ke__json_at *at, const json_t *root,
                                               ke__steps *out, ke__step_facts *facts);

#endif
