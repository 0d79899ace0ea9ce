/* Added tokens of a tokenizer.json: texts that are one token wherever they stand. */
#ifndef KE_TOKEN_ADDED_H
#define KE_TOKEN_ADDED_H

#include "token/steps.h"

typedef struct ke__added {
    ke__gguf_str text;
    int32_t id;
    bool special;        /* found only when special tokens are asked for */
    bool lstrip, rstrip; /* takes the white space before, after it along */
    bool single_word;    /* not within a word */
} ke__added;

typedef struct ke__added_set {
    ke__added *item; /* [n] sorted by text */
    size_t n;
    bool begins[256]; /* whether a text begins with this byte */
} ke__added_set;

/* Sort what was put into `set`. */
void ke__added_sort(ke__added_set *set);
/* Cut the pieces that are plain text at the tokens in them, from left to right, the longest
 * first; `spare` is room that may be used again. */
KE_MUST_CHECK ke_status ke__added_cut(ke_ctx *cx, const ke__added_set *set, bool special,
                                      ke__pieces *p, ke__pieces *spare);

#endif
