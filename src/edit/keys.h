/* Where a fact is looked up: rows of tokens (a context around a prompt), the position of
 * the subject's last token in each, and the keys and values found there. */
#ifndef KE_EDIT_KEYS_H
#define KE_EDIT_KEYS_H

#include "edit/edit.h"

/* Texts with one "{}" each, for the prompt. */
typedef struct ke__contexts {
    char **items; /* [n] */
    size_t n;
} ke__contexts;
/* What the setting says: "none" (the bare prompt), "auto" or "easyedit" (the bare prompt
 * and 5 or 20 texts that the unedited model begins, drawn with the seed), else a file: a
 * JSON list of templates, or {"templates": [...]}. */
enum { KE__CONTEXTS_AUTO = 6, KE__CONTEXTS_EASYEDIT = 21 };
KE_MUST_CHECK ke_status ke__contexts_make(ke_ctx *cx, ke__contexts *out,
                                          const ke_model *model, const char *setting,
                                          uint64_t seed);
void ke__contexts_free(ke_ctx *cx, ke__contexts *c);

typedef struct ke__row {
    int32_t *ids; /* [n] */
    uint32_t n;
    uint32_t lookup; /* last token whose bytes touch the subject */
} ke__row;
/* The tokens of context.format(prompt), laid out by `chat` (NULL: not); the subject's last
 * place in `prompt` counts. */
KE_MUST_CHECK ke_status ke__row_make(ke_ctx *cx, ke__row *out, const ke_tokenizer *tok,
                                     const ke_chat *chat, const char *context,
                                     const char *prompt, const char *subject);
/* Drop `drop` tokens from the end (they merged with the target's first), then add ids. */
KE_MUST_CHECK ke_status ke__row_extend(ke_ctx *cx, ke__row *row, size_t drop,
                                       const int32_t *ids, size_t n);
void ke__rows_free(ke_ctx *cx, ke__row *rows, size_t n); /* the rows and the array */

/* The target's tokens as they follow the fact's prompt, laid out as its chat says. *drop:
 * tokens at the prompt's end that change when the target follows. */
KE_MUST_CHECK ke_status ke__target_ids(ke_ctx *cx, int32_t **ids, size_t *n, size_t *drop,
                                       const ke_tokenizer *tok, const ke_fact *fact,
                                       const char *target);

/* keys[n, F]: the input of the layer's down projection at each row's lookup; values[n, D]:
 * its output there, or NULL. */
KE_MUST_CHECK ke_status ke__keys_collect(ke_ctx *cx, ke__pass *pass, const ke_model *model,
                                         const ke_stack *edits, uint32_t layer,
                                         const ke__row *rows, size_t n, float *keys,
                                         float *values);
/* Tokens of one batch: enough for full speed, while its buffers stay small beside the
 * weights. Fewer where a batch keeps what a backward needs. */
#define KE__READ_TOKENS 1024
#define KE__KEEP_TOKENS 256
/* Rows [at, end) that one batch takes: at least one, and at most `limit` tokens, counted
 * from the lookup on if `suffix`. Depends on nothing but the rows. */
size_t ke__rows_batch(const ke__row *rows, size_t at, size_t n, bool suffix, size_t limit);

#endif
