/* A patch inside: parts that change tensors, a description, and the way back. */
#ifndef KE_PATCH_PATCH_H
#define KE_PATCH_PATCH_H

#include "model/stack.h"

typedef enum ke__part_kind {
    KE__PART_LOWRANK,
    KE__PART_DENSE,
    KE__PART_MEMORY,
    KE__PART_KINDS
} ke__part_kind;

/* The change of one tensor [rows, cols] = [O, I], or a fact that is told. Owns its arrays
 * and texts. */
typedef struct ke__part {
    ke__part_kind kind;
    char *tensor; /* its name in the file; NULL: MEMORY */
    uint64_t rows, cols;
    uint32_t rank; /* LOWRANK */
    float scale;
    float *u;     /* [O, r] */
    float *v;     /* [r, I] */
    float *delta; /* [O, I] DENSE */
    char *style;  /* MEMORY: how it is told, "ice" or "prompt" */
    char *fact;   /* as it is told */
} ke__part;

/* How to rebuild the base: pieces taken from the edited file (of several, one after the
 * other) or from here; and the files that they are cut into, if it was a folder. */
typedef struct ke__piece {
    uint64_t source; /* 0: `literal`, 1: the edited file */
    uint64_t offset, bytes;
} ke__piece;
typedef struct ke__recipe_file {
    char *name;
    uint64_t bytes;
} ke__recipe_file;
typedef struct ke__recipe {
    ke__piece *pieces;
    size_t n_pieces;
    ke__recipe_file *files; /* [n_files]; none: one file under any name */
    size_t n_files;
    uint8_t *literal;
    uint64_t literal_bytes;
} ke__recipe;

struct ke_patch {
    ke__part *parts;
    size_t n_parts, parts_room;
    char *meta;        /* a JSON object: method, settings, facts, hashes, tool version */
    ke__recipe undo;   /* no pieces: never merged into a file */
    char *description; /* meta and parts as one JSON object, see ke_patch_describe() */
};

KE_MUST_CHECK ke_status ke__patch_new(ke_ctx *cx, ke_patch **out);
/* Add a part: arrays are copied. */
KE_MUST_CHECK ke_status ke__patch_add_lowrank(ke_ctx *cx, ke_patch *p, const char *tensor,
                                              uint64_t rows, uint64_t cols, uint32_t rank,
                                              float scale, const float *u, const float *v);
KE_MUST_CHECK ke_status ke__patch_add_dense(ke_ctx *cx, ke_patch *p, const char *tensor,
                                            uint64_t rows, uint64_t cols,
                                            const float *delta);
/* Add a fact to be told before every prompt, in the style "ice" or "prompt". */
KE_MUST_CHECK ke_status ke__patch_add_memory(ke_ctx *cx, ke_patch *p, const char *style,
                                             const char *fact);
/* Append copies of the parts of `other` (facts edited one after another are one patch). */
KE_MUST_CHECK ke_status ke__patch_join(ke_ctx *cx, ke_patch *p, const ke_patch *other);
/* Replace the meta object (JSON text, copied) and renew the description. */
KE_MUST_CHECK ke_status ke__patch_set_meta(ke_ctx *cx, ke_patch *p, const char *json);

/* Tensors that the patches on `stack` change, with values in the type they get in a file.
 */
typedef struct ke__merged_tensor {
    uint32_t tensor;
    const ke__dtype_traits *type;
    uint8_t *data;
    size_t bytes;
    double rel_change; /* ||W' - W||_F / ||W||_F, both as the files hold them */
} ke__merged_tensor;
typedef struct ke__merged {
    ke__merged_tensor *tensors; /* sorted by tensor index */
    size_t n;
} ke__merged;
/* Round every touched tensor to `type` (NULL: the type it has in the file). */
KE_MUST_CHECK ke_status ke__merge(ke_ctx *cx, ke__merged *out, const ke_model *model,
                                  const ke_stack *stack, const ke__dtype_traits *type);
void ke__merged_free(ke_ctx *cx, ke__merged *m);
/* Push the merged values themselves, so that a pass computes with what the file will hold.
 * `m` is borrowed. Popped with ke_stack_pop(). */
KE_MUST_CHECK ke_status ke__stack_push_merged(ke_ctx *cx, ke_stack *stack,
                                              const ke__merged *m);

/* An edited copy of a model under way: a file or a folder, as the model's form and the
 * path have it. Start from KE__MODEL_OUT_NONE. */
typedef struct ke__model_out {
    ke__out file;
    ke__outdir folder;
    bool is_folder;
} ke__model_out;
#define KE__MODEL_OUT_NONE                                                                 \
    {                                                                                      \
        .file = {.fd = -1}, .folder = {.fd = -1 }                                          \
    }
/* KE_EEXIST, KE_EIO as for the outputs; KE_EINVAL for a name that the form can't have. */
KE_MUST_CHECK ke_status ke__model_out_open(ke_ctx *cx, ke__model_out *out,
                                           const ke__files *base, const char *path,
                                           bool force);
/* Write the model with changes and stamps, all of it on the disk after; the SHA-256. */
KE_MUST_CHECK ke_status ke__model_out_write(ke_ctx *cx, ke__model_out *out,
                                            const ke_model *model, const ke__merged *m,
                                            const ke__gguf_stamp *stamps, size_t n_stamps,
                                            char sha256[65]);
/* A path under which it can be opened before it has its name. Caller frees. */
KE_MUST_CHECK ke_status ke__model_out_readable(ke_ctx *cx, const ke__model_out *out,
                                               char **path);
KE_MUST_CHECK ke_status ke__model_out_commit(ke_ctx *cx, ke__model_out *out);
bool ke__model_out_named(const ke__model_out *out);
void ke__model_out_close(ke_ctx *cx, ke__model_out *out); /* drop it if it has no name */

/* Copy what belongs to a safetensors folder beside its weights. */
KE_MUST_CHECK ke_status ke__beside_copy(ke_ctx *cx, const ke__outdir *out,
                                        const ke__files *files);

/* Fill patch->undo: how the files `base` come back from the files `edited`. */
KE_MUST_CHECK ke_status ke__patch_set_undo(ke_ctx *cx, ke_patch *p, const ke__files *base,
                                           const ke__files *edited);
/* The patch at `path`, which must belong to the edited file of hash `edited`, and know the
 * way back: else KE_EMISMATCH or KE_EINVAL. */
KE_MUST_CHECK ke_status ke__patch_load_for(ke_ctx *cx, ke_patch **out, const char *path,
                                           const char *edited);
/* Write the patch to an output that the caller opened (and syncs and commits). */
KE_MUST_CHECK ke_status ke__patch_write(ke_ctx *cx, ke__out *out, const ke_patch *p);

#endif
