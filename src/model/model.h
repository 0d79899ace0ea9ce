/* A model: descriptor, dimensions, and weights as views of the mapped file. */
#ifndef KE_MODEL_MODEL_H
#define KE_MODEL_MODEL_H

#include "format/gguf.h"
#include "kernels/ops.h"
#include "knowedit/model.h"
#include "model/folder.h"
#include "token/token.h"

/* What an architecture is, apart from its sizes. One row in arch.c. */
typedef struct ke__arch {
    const char *name; /* general.architecture */
    ke__norm norm;
    ke__act act;
    bool gated;            /* FFN has a gate matrix */
    bool rope_interleaved; /* pairs of neighbours, else NeoX halves */
    bool learned_positions;
    bool qk_norm;          /* per-head norms of q and k are required */
    bool post_norms;       /* norms on what attention and FFN add */
    bool fused_qkv;        /* one attn_qkv matrix of q, k and v rows */
    bool embed_scaled;     /* embeddings times sqrt(D) */
    bool sliding;          /* some layers see a window, with a rotary base of their own */
    bool qkv_bias, biases; /* q, k, v must have a bias; all linear maps must */
} ke__arch;
const ke__arch *ke__arch_find(const char *name, size_t bytes);
/* Name of row i, NULL past the last. */
const char *ke__arch_name(size_t i);

/* A weight: a view of (some rows of) a tensor. Absent: mat.data == NULL. */
typedef struct ke__param {
    ke__mat mat;
    uint32_t tensor; /* index in the file */
    uint64_t row0;   /* first row within the tensor (fused matrices) */
} ke__param;

typedef enum ke__linear {
    KE__LIN_Q,
    KE__LIN_K,
    KE__LIN_V,
    KE__LIN_O,
    KE__LIN_GATE,
    KE__LIN_UP,
    KE__LIN_DOWN,
    KE__LIN_COUNT
} ke__linear;
typedef enum ke__norm_at {
    KE__AT_ATTN,
    KE__AT_ATTN_POST,
    KE__AT_Q,
    KE__AT_K,
    KE__AT_MLP,
    KE__AT_MLP_POST,
    KE__AT_COUNT
} ke__norm_at;

typedef struct ke__layer {
    ke__param linear[KE__LIN_COUNT], bias[KE__LIN_COUNT];
    ke__param norm[KE__AT_COUNT], norm_bias[KE__AT_COUNT];
    ke__rope rope;
    uint32_t window; /* 0: all */
} ke__layer;

struct ke_model {
    ke__files files;
    ke__gguf file;      /* keys and tensors, whatever the files are */
    ke__folder *folder; /* of a safetensors model, else NULL */
    const ke__arch *arch;
    ke_model_info info;
    float eps, embed_scale, attn_scale, attn_softcap, logit_softcap;
    uint32_t kv_dim;            /* n_kv_heads * head_dim */
    ke__param embed, positions; /* token_embd; position_embd */
    ke__param out_norm, out_norm_bias, head, head_bias;
    ke__layer *layers;   /* [L] */
    float *rope_factors; /* [rot / 2] from rope_freqs.weight, or NULL */
    ke_tokenizer *tokenizer;
    char *strings[4]; /* architecture, name, template, container: owned */
    char **edits;     /* [info.n_edits] JSON texts, owned */
    uint32_t rope_rot;
    char sha256[65]; /* "" until asked for */
};

/* What the descriptor's row and the metadata say of one layer. */
extern const char *const ke__linear_names[KE__LIN_COUNT]; /* as in blk.N.NAME.weight */
/* KE_ENOTSUP naming the first weight whose type can't be computed with. */
KE_MUST_CHECK ke_status ke__model_computable(ke_ctx *cx, const ke_model *m);
/* Whether a pass sees edits of this tensor: a linear map's, or the head's where it is not
 * the embedding too. */
bool ke__model_takes_terms(const ke_model *m, uint32_t tensor);
/* Why are there no numbers? A weight is the usual cause. KE_ENUMERIC, naming the first
 * tensor that holds a NaN or an infinity if there is one. */
KE_MUST_CHECK ke_status ke__model_not_numbers(ke_ctx *cx, const ke_model *m);

/* Index of the tensor that a linear map of a layer lives in. */
static inline uint32_t ke__model_linear_tensor(const ke_model *m, uint32_t layer,
                                               ke__linear l)
{
    return m->layers[layer].linear[l].tensor;
}

#endif
