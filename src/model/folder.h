/* A model as transformers saves it: what config.json says as GGUF keys, and the tensors of
 * its safetensors under their GGUF names, in the layout that the pass wants. */
#ifndef KE_MODEL_FOLDER_H
#define KE_MODEL_FOLDER_H

#include "format/gguf.h"
#include "format/safetensors.h"

/* The largest model that the pass computes with, whatever form it comes in. */
enum { KE__MAX_LAYERS = 1024, KE__MAX_WIDTH = 1 << 20, KE__MAX_CONTEXT = 1 << 28 };

/* Kinds of models: model_type picks one. A bit each, for tables. */
typedef enum ke__family_bit {
    KE__LLAMA = 1,
    KE__QWEN2 = 2,
    KE__QWEN3 = 4,
    KE__GEMMA3 = 8,
    KE__GPT2 = 16
} ke__family_bit;

typedef enum ke__config_size {
    KE__SIZE_ONE,
    KE__SIZE_LAYERS,
    KE__SIZE_HIDDEN,
    KE__SIZE_FFN,
    KE__SIZE_HEADS,
    KE__SIZE_KV_HEADS,
    KE__SIZE_HEAD_DIM,
    KE__SIZE_VOCAB,
    KE__SIZE_CONTEXT,
    KE__SIZE_Q,   /* heads * head_dim */
    KE__SIZE_KV,  /* key-value heads * head_dim */
    KE__SIZE_QKV, /* Q + 2 KV */
    KE__SIZE_COUNT
} ke__config_size;

/* What config.json says. */
typedef struct ke__config {
    ke__family_bit family;
    const char *architecture; /* as GGUF calls it */
    uint64_t size[KE__SIZE_COUNT];
    bool tied;           /* the output matrix is the embedding */
    float *rope_factors; /* [head_dim / 2] divisors of frequencies, or NULL; owned */
    ke__text keys;       /* a GGUF file of keys alone; owned */
} ke__config;
/* Name of a size in config.json, of the family. */
const char *ke__config_size_name(const ke__config *c, ke__config_size size);
/* Parse `bytes` bytes at `text`, of the file `path`. `extra` [n_extra] keys are added.
 * @retval KE_EFORMAT a value that is missing or out of range
 * @retval KE_ENOTSUP a model_type, activation or rope scaling that is not known */
KE_MUST_CHECK ke_status ke__config_parse(ke_ctx *cx, ke__config *out, const char *path,
                                         const char *text, size_t bytes,
                                         const ke__gguf_new_kv *extra, size_t n_extra);
void ke__config_free(ke_ctx *cx, ke__config *c);

/* Where a tensor of the index comes from. */
typedef struct ke__folder_source {
    size_t entry; /* in safe.tensors */
    bool turned;  /* stored [in, out] */
} ke__folder_source;
typedef struct ke__folder {
    ke__config config;
    ke__safetensors safe;
    ke__folder_source *sources; /* [n] as the index's tensors */
    void **owned;               /* [n] data that is not the file's own, or NULL */
    size_t n;
} ke__folder;
/* Fill `index` (keys of config.json and __metadata__, tensors) from `files`; both results
 * borrow from `files`, and the index from the folder.
 * @retval KE_EFORMAT a tensor that is missing, unknown, or contradicts config.json */
KE_MUST_CHECK ke_status ke__folder_open(ke_ctx *cx, ke__folder **out, ke__gguf *index,
                                        const ke__files *files);
void ke__folder_close(ke_ctx *cx, ke__folder *folder); /* NULL is fine */

/* *out: [cols, rows] elements of so many bytes, from [rows, cols]. Caller frees. */
KE_MUST_CHECK ke_status ke__turned(ke_ctx *cx, void **out, const void *data, uint64_t rows,
                                   uint64_t cols, size_t element_bytes);

#endif
