/* Tokenizers over a few tokens, through a GGUF file without tensors. */
#ifndef KE_TESTS_TOY_TOKENIZER_H
#define KE_TESTS_TOY_TOKENIZER_H

#include "token/token.h"

/* What the file says. Fields left 0 leave their key out, `model` makes "gpt2". */
typedef struct toy_spec {
    const char *model, *pre;
    const char *const *tokens; /* NULL-terminated, as `merges` */
    const int32_t *types;      /* one a token */
    const char *const *merges;
    const ke__gguf_new_kv *more;
    size_t n_more;
} toy_spec;

typedef struct toy {
    ke_ctx *cx;
    ke__gguf file;
    ke_tokenizer *tok;
} toy;

/* The file at `path`, and a tokenizer of it or the status that says why not. */
void toy_write(ke_ctx *cx, const char *path, const toy_spec *spec);
ke_status toy_open(toy *t, const char *path, const toy_spec *spec);
void toy_close(toy *t);

/* Tokenise `bytes` bytes and compare ids and ends, each -1-terminated; ends may be NULL. */
void toy_expect(toy *t, const char *text, size_t bytes, unsigned flags, const int32_t *ids,
                const int32_t *ends);

#define TOY_IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

#endif
