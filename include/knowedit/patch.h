/**
 * @file knowedit/patch.h
 * @brief A patch is an edit as a value: save, load, stack, merge, undo.
 *
 * The base model is never written. A stack is the ordered list of patches in force;
 * dropping one is exact, since nothing was ever added to the weights.
 */
#ifndef KNOWEDIT_PATCH_H
#define KNOWEDIT_PATCH_H

#include "knowedit/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ke_patch ke_patch; /**< Opaque. */

/** An empty stack over `model`, which must outlive it. */
KE_API KE_MUST_CHECK ke_status ke_stack_new(ke_ctx *cx, ke_stack **out,
                                            const ke_model *model);
/** NULL is fine; the patches are not freed. */
KE_API void ke_stack_free(ke_ctx *cx, ke_stack *stack);
/**
 * Put `patch` on top. It is borrowed and must outlive its place on the stack.
 * @retval KE_EMISMATCH a tensor that the model lacks, or of another shape
 */
KE_API KE_MUST_CHECK ke_status ke_stack_push(ke_ctx *cx, ke_stack *stack,
                                             const ke_patch *patch);
/** Drop the topmost patch; on an empty stack nothing happens. */
KE_API void ke_stack_pop(ke_ctx *cx, ke_stack *stack);
KE_API size_t ke_stack_depth(const ke_stack *stack);
/**
 * The text to feed for `prompt`: with the facts of the stack's memory patches before it, or
 * a copy of it if there are none. `*out` is the caller's (ke_free()).
 */
KE_API KE_MUST_CHECK ke_status ke_stack_prompt(ke_ctx *cx, char **out,
                                               const ke_stack *stack, const char *prompt);

/**
 * Whether `patch` is an edit of `model`, or of the model as one of `before` [n] edited it,
 * by the SHA-256 that it recorded. A patch that records none fits any model.
 * @retval KE_EMISMATCH it is an edit of another file
 */
KE_API KE_MUST_CHECK ke_status ke_patch_fits(ke_ctx *cx, const ke_patch *patch,
                                             const ke_model *model,
                                             const ke_patch *const *before, size_t n);

/**
 * Read a patch file (format: docs/patch-format.md). `*out` is the caller's.
 * @retval KE_EFORMAT not a sound patch file, or damaged; the message says what and where
 */
KE_API KE_MUST_CHECK ke_status ke_patch_load(ke_ctx *cx, ke_patch **out, const char *path);
/** Write it whole or not at all. @retval KE_EEXIST there is one and `force` is false */
KE_API KE_MUST_CHECK ke_status ke_patch_save(ke_ctx *cx, const ke_patch *patch,
                                             const char *path, bool force);
KE_API void ke_patch_free(ke_ctx *cx, ke_patch *patch);
/** Method, settings, facts, hashes and tensors as one JSON object; the patch's own. */
KE_API const char *ke_patch_describe(const ke_patch *patch);

/**
 * Give back the file that an edited file was made from, byte for byte, from the edited
 * file and its patch alone. If `patch_path` does not fit and `patch_path`.prev does (left
 * by an edit that was killed while it replaced both files), that one is used.
 * @retval KE_EINVAL    the output is an input, or the patch was never merged into a file
 * @retval KE_EMISMATCH the patch belongs to another edited file
 * @retval KE_EEXIST    `out_path` exists and `force` is false
 */
KE_API KE_MUST_CHECK ke_status ke_undo(ke_ctx *cx, const char *edited_path,
                                       const char *patch_path, const char *out_path,
                                       bool force, char sha256_out[65]);

/** One tensor that two models do not share byte for byte. */
typedef struct ke_diff_tensor {
    char *name;
    const char *type_a, *type_b; /**< NULL where a model lacks it. */
    uint64_t rows, cols;
    double norm; /**< Frobenius norm of the difference; -1: not comparable (one model
                      lacks it, other shapes, a type or value that is no number). */
    double rel;  /**< norm / Frobenius norm in A; 1 if that is zero and norm is not. */
    double sigma1_share; /**< Share of the squared norm in the largest singular value. */
    uint32_t rank; /**< Singular values that hold 99 % of the squared norm, at most 16. */
    bool rank_one; /**< Looks like a rank-one edit: sigma1_share >= 0.9, or, where a type
                        is quantised, sigma1^2 > 10 sigma2^2 (docs/patch-format.md). */
} ke_diff_tensor;
typedef struct ke_diff {
    ke_diff_tensor *tensors; /**< [n] */
    size_t n, n_compared;
    char **metadata; /**< [n_metadata] keys that differ. */
    size_t n_metadata;
} ke_diff;
/** Compare tensors and metadata. `*out` is freed with ke_diff_free().
 * @retval KE_ENOMEM, KE_ECANCELED; files that can't be compared are not an error */
KE_API KE_MUST_CHECK ke_status ke_diff_models(ke_ctx *cx, ke_diff *out, const ke_model *a,
                                              const ke_model *b);
KE_API void ke_diff_free(ke_ctx *cx, ke_diff *diff);

#ifdef __cplusplus
}
#endif
#endif
