/* What an edit does to text that it should leave alone. */
#ifndef KE_EVAL_HARM_H
#define KE_EVAL_HARM_H

#include "model/pass.h"

/* The built-in held-out text (data/harm-text). */
extern const char ke__harm_text[], ke__harm_text_end[];

/* Shape of the measure: the first tokens of a text in chunks that are read alone. */
typedef struct ke__harm_opts {
    size_t tokens, chunk;
    bool bos; /* before each chunk, where the file says so */
} ke__harm_opts;
#define KE__HARM_DEFAULT                                                                   \
    {                                                                                      \
        512, 128, true                                                                     \
    }

typedef struct ke__harm {
    double kl;                    /* mean over tokens of KL(before || after) in nats */
    double ppl_before, ppl_after; /* of the tokens that have something before them */
    size_t tokens;                /* read */
} ke__harm;

/* Compare `model` under `before` and under `after` (either may be NULL) on the built-in
 * text. */
KE_MUST_CHECK ke_status ke__harm_measure(ke_ctx *cx, ke__harm *out, const ke_model *model,
                                         const ke_stack *before, const ke_stack *after,
                                         const ke__harm_opts *opts);
/* Bytes that it takes beside the weights. */
uint64_t ke__harm_bytes(const ke_model *model, const ke__harm_opts *opts);

#endif
