/* Patch kinds: what this layer asks of a kind of part, and the payload of a patch file in
 * which parts keep their arrays. A kind is one file and one row in kinds.c. */
#ifndef KE_PATCH_KINDS_H
#define KE_PATCH_KINDS_H

#include "base/json.h"
#include "patch/patch.h"

/* Arrays that follow the header of a patch file, in this order, without gaps. Borrowed. */
typedef struct ke__blob {
    const void *data;
    size_t bytes;
} ke__blob;
typedef struct ke__payload {
    ke__blob *blobs;
    size_t n, room;
    uint64_t bytes;
} ke__payload;
/* Append `bytes` bytes of `data`; entry[key] becomes their offset in the payload. */
KE_MUST_CHECK ke_status ke__payload_add(ke_ctx *cx, ke__payload *out, json_t *entry,
                                        const char *key, const void *data, size_t bytes);

/* A payload under reading. Every array begins where the one before it ends, so that no
 * byte is claimed twice and all arrays together are no larger than the file. */
typedef struct ke__source {
    const char *path;
    const uint8_t *data;
    uint64_t bytes, used;
} ke__source;
/* The next `bytes` bytes, which must lie at offset entry[key]. */
KE_MUST_CHECK ke_status ke__source_take(ke_ctx *cx, ke__source *src, const json_t *entry,
                                        const char *key, uint64_t bytes,
                                        const uint8_t **out);
/* A copy of the next [rows, cols] floats. KE_EFORMAT if one of them is not finite. */
KE_MUST_CHECK ke_status ke__source_f32(ke_ctx *cx, ke__source *src, const json_t *entry,
                                       const char *key, uint64_t rows, uint64_t cols,
                                       float **out);
/* The whole number entry[key] in min..max. */
KE_MUST_CHECK ke_status ke__source_u64(ke_ctx *cx, const ke__source *src,
                                       const json_t *entry, const char *key, uint64_t min,
                                       uint64_t max, uint64_t *out);

typedef struct ke__kind {
    const char *name; /* in files and descriptions: permanent */
    bool no_tensor;   /* changes none: the part's tensor is NULL, rows and cols are 0 */
    /* Put the part on the stack; where there is a tensor, its shape was checked. */
    ke_status (*apply)(ke_ctx *cx, ke_stack *stack, const ke__part *part, uint32_t tensor);
    /* Members beyond the kind, and tensor, rows and cols; NULL if there are none. */
    ke_status (*describe)(ke_ctx *cx, json_t *entry, const ke__part *part);
    /* Give the arrays to the payload; NULL if there are none. The entry is described
     * already. */
    ke_status (*save)(ke_ctx *cx, ke__payload *payload, json_t *entry,
                      const ke__part *part);
    /* Fill a part whose common members are set, from its entry. On failure the caller frees
     * what is there. */
    ke_status (*load)(ke_ctx *cx, ke__part *part, ke__source *src, const json_t *entry);
    /* Copy the arrays; the other members are copied already. Failure as in load. */
    ke_status (*copy)(ke_ctx *cx, ke__part *out, const ke__part *part);
    void (*free)(ke_ctx *cx, ke__part *part); /* the arrays */
} ke__kind;
extern const ke__kind ke__kind_lowrank, ke__kind_dense, ke__kind_memory;

const ke__kind *ke__kind_of(ke__part_kind kind);
/* False if no kind has this name. */
bool ke__kind_named(ke__part_kind *out, const char *name);

/* --- used by kinds and by the patch ------------------------------------------------ */

/* object[key] = value, which is given away. KE_ENOMEM also for a NULL value. */
KE_MUST_CHECK ke_status ke__json_put(ke_ctx *cx, json_t *object, const char *key,
                                     json_t *value);
/* Index of the first element that is NaN or infinite, n if none. */
size_t ke__first_bad(const float *x, size_t n);
/* A copy of [rows, cols] floats. */
KE_MUST_CHECK ke_status ke__copy_f32(ke_ctx *cx, float **out, const float *x, uint64_t rows,
                                     uint64_t cols);
/* KE_EINVAL or KE_ENUMERIC unless `x` is [rows, cols] finite floats, rows and cols >= 1. */
KE_MUST_CHECK ke_status ke__check_f32(ke_ctx *cx, const char *tensor, const char *what,
                                      const float *x, uint64_t rows, uint64_t cols);

/* Append copies of parts and renew the description: all or none of them. */
KE_MUST_CHECK ke_status ke__patch_add_copies(ke_ctx *cx, ke_patch *p, const ke__part *parts,
                                             size_t n);
/* The next free part, zeroed; it counts once the caller adds one to n_parts. */
KE_MUST_CHECK ke_status ke__patch_next_part(ke_ctx *cx, ke_patch *p, ke__part **out);
void ke__part_free(ke_ctx *cx, ke__part *part);
/* What a description and a file say of a part: kind, tensor, rows, cols (where it has a
 * tensor), the kind's own. */
KE_MUST_CHECK ke_status ke__part_entry(ke_ctx *cx, json_t **out, const ke__part *part);

/* Read a patch from memory; `path` is for messages. */
KE_MUST_CHECK ke_status ke__patch_parse(ke_ctx *cx, ke_patch **out, const char *path,
                                        const uint8_t *data, size_t bytes);

/* --- used by the recipe and by undo ------------------------------------------------ */

/* Bytes handled between two looks at the cancel flag. */
#define KE__STEP_BYTES ((uint64_t)16 << 20)
/* KE_EFORMAT unless every piece lies within the edited files or the literal, they are
 * together no longer than the two, and the files, if any are named, are just as long.
 * *total: the pieces' sum. */
KE_MUST_CHECK ke_status ke__recipe_check(ke_ctx *cx, const ke__recipe *recipe,
                                         uint64_t edited_bytes, uint64_t *total);
/* The bytes of a checked piece from its byte `done` on, of which *n (at least one, if there
 * are any, and no more than a step) lie in one place. */
const uint8_t *ke__piece_at(const ke__recipe *r, const ke__piece *piece,
                            const ke__files *edited, uint64_t done, uint64_t *n);
void ke__recipe_free(ke_ctx *cx, ke__recipe *recipe);

#endif
