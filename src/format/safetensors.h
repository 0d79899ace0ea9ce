/* safetensors: u64 length of a JSON header, the header, then the tensors' bytes without
 * gaps. A bounds-checked reader over all shards of a model, and a writer that changes
 * tensors and __metadata__. */
#ifndef KE_FORMAT_SAFETENSORS_H
#define KE_FORMAT_SAFETENSORS_H

#include "format/files.h"
#include "tensor/tensor.h"

#include <jansson.h>

enum { KE__SAFE_DIMS = 8, KE__SAFE_HEADER_MAX = 100000000 };

typedef struct ke__safe_tensor {
    const char *name;             /* in the header */
    const char *dtype;            /* as the header has it */
    const ke__dtype_traits *type; /* NULL: carried byte for byte only */
    uint32_t n_dims;
    uint64_t dims[KE__SAFE_DIMS]; /* rows first */
    size_t shard;
    uint64_t offset; /* from the start of its shard */
    uint64_t bytes;
    const uint8_t *data;
} ke__safe_tensor;

typedef struct ke__safe_shard {
    const uint8_t *data; /* the whole file, the caller's */
    uint64_t bytes;
    const char *path; /* for messages, the caller's */
    json_t *header;   /* holds the names */
    uint64_t data_offset;
    size_t first, n; /* its tensors, in order of their data */
} ke__safe_shard;

typedef struct ke__safetensors {
    ke__safe_shard *shards; /* [n_shards] */
    size_t n_shards;
    ke__safe_tensor *tensors; /* [n], shard by shard */
    size_t n;
    size_t *by_name; /* [n] */
} ke__safetensors;

/* Add a shard of `bytes` bytes at `data`, which must outlive `s` (start from {0}). Every
 * name, type, shape and offset is checked against the file.
 * @retval KE_EFORMAT the message names what and where, and what was expected */
KE_MUST_CHECK ke_status ke__safetensors_add(ke_ctx *cx, ke__safetensors *s,
                                            const char *path, const uint8_t *data,
                                            uint64_t bytes);
/* After the last shard: the order by name. KE_EFORMAT if two tensors share one. */
KE_MUST_CHECK ke_status ke__safetensors_index(ke_ctx *cx, ke__safetensors *s);
/* All shards of a folder, and that each tensor is where the index says. */
KE_MUST_CHECK ke_status ke__safetensors_open(ke_ctx *cx, ke__safetensors *out,
                                             const ke__files *files);
void ke__safetensors_close(ke_ctx *cx, ke__safetensors *s); /* of a zeroed one is a no-op */
/* Tensor index, or -1. */
ptrdiff_t ke__safetensors_find(const ke__safetensors *s, const char *name);
/* The text of __metadata__[key] of the first shard, or NULL. */
const char *ke__safetensors_metadata(const ke__safetensors *s, const char *key);
/* Whether a file of this kind holds such elements. */
bool ke__safetensors_takes(const ke__dtype_traits *type);

/* --- writing ---------------------------------------------------------------------- */

/* New data for one tensor, of the same shape. */
typedef struct ke__safe_change {
    size_t tensor; /* index */
    const ke__dtype_traits *type;
    const void *data;
    uint64_t bytes;
} ke__safe_change;
/* A key of __metadata__ and its text. */
typedef struct ke__safe_stamp {
    const char *key, *text;
} ke__safe_stamp;
/* Copy a shard with changes (sorted by tensor; those of other shards are passed over) and
 * stamps. Without any, the same bytes; without another type or a stamp, the same header. */
KE_MUST_CHECK ke_status ke__safetensors_write(ke_ctx *cx, ke__out *out,
                                              const ke__safetensors *s, size_t shard,
                                              const ke__safe_change *changes,
                                              size_t n_changes,
                                              const ke__safe_stamp *stamps,
                                              size_t n_stamps);

#endif
