/* Small random models of every architecture, written as GGUF to a temporary folder. */
#ifndef KE_TESTS_TINY_MODEL_H
#define KE_TESTS_TINY_MODEL_H

#include "model/model.h"

typedef struct tiny_spec {
    const char *arch;                                 /* NULL: "llama" */
    const char *type;                                 /* of the matrices; NULL: "f32" */
    uint32_t n_layers, d, f, n_heads, n_kv, head_dim; /* 0: 3, 32, 64, 4, 2, 8 */
    uint64_t seed;
    bool bos;                  /* begins texts with BOS */
    bool untied;               /* an output matrix of its own */
    const char *chat_template; /* NULL: none */
    float poison; /* put into one weight of the last layer if not 0 (NaN for instance) */
} tiny_spec;

/* Write the model to `path`. Its tokenizer is byte-level: 256 bytes, a few merges, and
 * "<|end|>" as BOS and EOS (neither is added to a text, unless `bos`). */
KE_MUST_CHECK ke_status tiny_model_write(ke_ctx *cx, const tiny_spec *spec,
                                         const char *path);
/* The same in a temporary file that is gone at exit; opened. Fails the test on error. */
ke_model *tiny_model_open(ke_ctx *cx, const tiny_spec *spec);
/* A fresh path in this test program's temporary folder, which is removed at exit. */
const char *tiny_path(const char *name);

#endif
