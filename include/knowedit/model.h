/**
 * @file knowedit/model.h
 * @brief Open a model; tokens; generate, score and measure, with or without edits.
 *
 * Shape letters: T tokens, V vocabulary, L layers, D model width, F FFN width.
 */
#ifndef KNOWEDIT_MODEL_H
#define KNOWEDIT_MODEL_H

#include "knowedit/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ke_model ke_model;         /**< Open files: read-only maps. */
typedef struct ke_tokenizer ke_tokenizer; /**< Belongs to its model. */
typedef struct ke_stack ke_stack;         /**< Edits in force, see knowedit/patch.h. */

/**
 * Open a model: a GGUF file, any part of a split one or the folder of its parts, or a
 * safetensors folder as transformers saves it (docs/formats.md). Nothing of it is copied
 * but the index, and what a safetensors model stores in another layout than is computed
 * with (GPT-2's matrices, Gemma's norms).
 *
 * Ownership: `*out` is the caller's, freed with ke_model_close(). NULL on failure.
 * The files stay mapped: a program that shortens one meanwhile ends this one with SIGBUS.
 * @retval KE_EIO      cannot be opened or read
 * @retval KE_ENOENT   a part or shard is missing; the message has its name
 * @retval KE_EFORMAT  not a sound file; the message says what, where, expected
 * @retval KE_ENOTSUP  an architecture or tokenizer that is not known
 */
KE_API KE_MUST_CHECK ke_status ke_model_open(ke_ctx *cx, ke_model **out, const char *path);
/** NULL is fine. Stacks and whatever was borrowed from the model must be gone. */
KE_API void ke_model_close(ke_ctx *cx, ke_model *model);

/** Sizes of a model. Strings belong to the model. */
typedef struct ke_model_info {
    const char *path, *architecture, *name;
    uint32_t n_layers, d_model, d_ffn, n_heads, n_kv_heads, head_dim, n_vocab;
    uint32_t n_context; /**< Longest input in tokens. */
    uint64_t n_params;
    uint64_t file_bytes;
    size_t n_tensors;
    size_t n_edits;            /**< Edits recorded in the file's metadata. */
    const char *tokenizer;     /**< e.g. "gpt2 (smollm)". */
    const char *chat_template; /**< The file's own text, or NULL. */
    const char *chat_family;   /**< What is recognised in it, e.g. "ChatML", or NULL. */
    const char *container;     /**< e.g. "GGUF", "safetensors in 2 shards". */
} ke_model_info;
KE_API void ke_model_info_get(const ke_model *model, ke_model_info *out);

/** One tensor of a model, rows first: [rows, cols] = [out, in] of a linear map. */
typedef struct ke_tensor_info {
    const char *name, *type; /**< Belong to the model. */
    uint64_t rows, cols;     /**< Higher dimensions are folded into rows. */
    uint64_t bytes;
} ke_tensor_info;
/** Tensor `i`, 0 <= i < n_tensors. */
KE_API void ke_model_tensor_get(const ke_model *model, size_t i, ke_tensor_info *out);
/** Edit record `i` of the file as JSON text, as written by a stamp; the model's. */
KE_API const char *ke_model_edit_get(const ke_model *model, size_t i);
/** SHA-256 of the whole file as 64 hex digits and NUL; read once, then remembered. Of
 * several files, that of all of them one after the other (docs/formats.md). */
KE_API KE_MUST_CHECK ke_status ke_model_sha256(ke_ctx *cx, const ke_model *model,
                                               char out[65]);

KE_API const ke_tokenizer *ke_model_tokenizer(const ke_model *model);
/** From now on no text begins with BOS, whatever the file says: not prompts, not the texts
 * that statistics and harm are computed on. */
KE_API void ke_model_drop_bos(ke_model *model);

/** How to tokenise a text; combine with |. */
enum {
    KE_TOK_PARSE_SPECIAL = 1, /**< Special tokens in the text are recognised. */
    KE_TOK_ADD_BOS = 2,       /**< BOS first, where the file says so. */
    KE_TOK_ADD_EOS = 4        /**< EOS last, where the file says so. */
};

/**
 * Token ids of `bytes` bytes of UTF-8 (invalid bytes are kept as bytes).
 * Ownership: `*ids` is the caller's, freed with ke_free(); [*n_ids].
 */
KE_API KE_MUST_CHECK ke_status ke_tokenize(ke_ctx *cx, int32_t **ids, size_t *n_ids,
                                           const ke_tokenizer *tok, const char *text,
                                           size_t bytes, unsigned flags);
/**
 * The bytes that `ids` stand for, NUL-terminated (NUL not counted in *bytes).
 * Special tokens print their text. Where a tokenizer reads a text as if a space stood
 * before it (SentencePiece, as Llama 2 has it), that space is left out again. Ownership:
 * `*text` is the caller's (ke_free()).
 * @retval KE_EINVAL an id outside the vocabulary
 */
KE_API KE_MUST_CHECK ke_status ke_detokenize(ke_ctx *cx, char **text, size_t *bytes,
                                             const ke_tokenizer *tok, const int32_t *ids,
                                             size_t n_ids);
/** The id that begins or ends a text, or -1. */
KE_API int32_t ke_tokenizer_bos(const ke_tokenizer *tok);
KE_API int32_t ke_tokenizer_eos(const ke_tokenizer *tok);
/** Whether generation stops at `id` (EOS, end of turn). */
KE_API bool ke_tokenizer_is_end(const ke_tokenizer *tok, int32_t id);

/** How a family of chat templates lays out one message of a user: head, message, tail. */
typedef struct ke_chat {
    const char *family; /**< e.g. "ChatML"; static. */
    char *head; /**< The system message, if the template has one, and what follows. */
    char *tail; /**< Up to where the answer begins. */
    bool trim;  /**< White space around the message goes. */
    bool blank; /**< A blank begins the answer; not after a special token. */
} ke_chat;
/**
 * The layout of the model's own chat template, or of a family by name ("ChatML",
 * "llama-3", ...; docs/chat.md), with the model's system message where it has one.
 *
 * Ownership: `*out` is the caller's, freed with ke_chat_free().
 * @param family NULL: as the model's template says
 * @retval KE_ENOTSUP no template in the model, or one of an unknown family
 * @retval KE_EINVAL  no family of that name; the message lists them
 */
KE_API KE_MUST_CHECK ke_status ke_chat_new(ke_ctx *cx, ke_chat **out, const ke_model *model,
                                           const char *family);
KE_API void ke_chat_free(ke_ctx *cx, ke_chat *chat);
/** `message` laid out, ready for the answer; without BOS, to be tokenised with
 *  KE_TOK_PARSE_SPECIAL. chat NULL: the message as it is. The caller's (ke_free()). */
KE_API KE_MUST_CHECK ke_status ke_chat_format(ke_ctx *cx, char **text, const ke_chat *chat,
                                              const char *message);

/** How to continue a prompt. KE_GENERATE_DEFAULT is greedy. */
typedef struct ke_generate_opts {
    size_t max_tokens; /**< New tokens at most. */
    const size_t
        *max_each;      /**< [n_prompts] the same of each prompt, none larger; or NULL. */
    bool ignore_end;    /**< Go on after EOS. */
    float temperature;  /**< 0: greedy. */
    size_t top_k;       /**< 0: all. */
    float top_p, min_p; /**< 1 and 0: off. */
    uint64_t seed;
    const char *const
        *stop; /**< The text ends before any of these; NULL-terminated, or NULL. */
} ke_generate_opts;
#define KE_GENERATE_DEFAULT                                                                \
    {                                                                                      \
        64, NULL, false, 0.0F, 0, 1.0F, 0.0F, 0, NULL                                      \
    }

/** A continuation. Free with ke_generated_free(). */
typedef struct ke_generated {
    char *text;   /**< NUL-terminated, without the prompt; UTF-8, but for a character that
                       max_tokens cut. */
    int32_t *ids; /**< [n] */
    float *logprobs; /**< [n] natural log-probability of each id under the model. */
    size_t n;
    float margin; /**< Smallest lead (logits) of a chosen token over the next best. */
} ke_generated;

/** Token ids, borrowed. */
typedef struct ke_ids {
    const int32_t *ids;
    size_t n;
} ke_ids;

/**
 * Continue `n_prompts` prompts side by side; `out` has room for as many.
 * `edits` may be NULL. On failure every out[i] is empty.
 * @retval KE_EINVAL   an empty prompt, an id outside the vocabulary, or a prompt
 *                     longer than the context
 * @retval KE_ENUMERIC logits that are not numbers; the message names a cause
 */
KE_API KE_MUST_CHECK ke_status ke_generate(ke_ctx *cx, ke_generated *out,
                                           const ke_model *model, const ke_stack *edits,
                                           const ke_ids *prompts, size_t n_prompts,
                                           const ke_generate_opts *opts);
KE_API void ke_generated_free(ke_ctx *cx, ke_generated *g);

/**
 * Logits [V] of the token after `prompt`.
 * @retval KE_EINVAL   as for ke_generate()
 * @retval KE_ENUMERIC logits that are not numbers; the message names a cause
 */
KE_API KE_MUST_CHECK ke_status ke_logits(ke_ctx *cx, float *logits, const ke_model *model,
                                         const ke_stack *edits, ke_ids prompt);

/** How a model takes a given continuation of a prompt. */
typedef struct ke_score {
    float *logprobs; /**< [n] of each target token given all before it. */
    int32_t *best;   /**< [n] most probable token at each target position. */
    float *margin;   /**< [n] logit of the target less the best other logit. */
    size_t n;
    double logprob; /**< Natural-log sum over the target's tokens. */
    uint32_t rank;  /**< Of the first target token, from 1. */
} ke_score;
/**
 * Score `n` (prompt, target) pairs in one batch. Free each with ke_score_free().
 * @retval KE_EINVAL, KE_ENUMERIC as for ke_generate(); an empty target is KE_EINVAL too
 */
KE_API KE_MUST_CHECK ke_status ke_score_targets(ke_ctx *cx, ke_score *out,
                                                const ke_model *model,
                                                const ke_stack *edits,
                                                const ke_ids *prompts,
                                                const ke_ids *targets, size_t n);
KE_API void ke_score_free(ke_ctx *cx, ke_score *s);

/** Perplexity of a token sequence, cut into chunks that are read alone. */
typedef struct ke_perplexity {
    size_t n_tokens, n_predicted;
    double nll; /**< Mean natural-log negative likelihood a predicted token. */
    double ppl; /**< exp(nll) */
} ke_perplexity;
/**
 * @param chunk tokens a chunk, >= 2
 * @param bos   a token put before each chunk, or -1 for none; not counted
 */
KE_API KE_MUST_CHECK ke_status ke_perplexity_measure(ke_ctx *cx, ke_perplexity *out,
                                                     const ke_model *model,
                                                     const ke_stack *edits, ke_ids text,
                                                     size_t chunk, int32_t bos);

#ifdef __cplusplus
}
#endif
#endif
