/* GGUF v2 and v3: a bounds-checked reader over a map, and a writer that changes tensors and
 * metadata and keeps every other byte. */
#ifndef KE_FORMAT_GGUF_H
#define KE_FORMAT_GGUF_H

#include "format/files.h"
#include "tensor/tensor.h"

typedef enum ke__gguf_type {
    KE__GGUF_U8,
    KE__GGUF_I8,
    KE__GGUF_U16,
    KE__GGUF_I16,
    KE__GGUF_U32,
    KE__GGUF_I32,
    KE__GGUF_F32,
    KE__GGUF_BOOL,
    KE__GGUF_STRING,
    KE__GGUF_ARRAY,
    KE__GGUF_U64,
    KE__GGUF_I64,
    KE__GGUF_F64
} ke__gguf_type;

/* A string in the map: not NUL-terminated. */
typedef struct ke__gguf_str {
    const char *data;
    uint64_t bytes;
} ke__gguf_str;

/* One metadata key. The raw value (after its type tag) lies at [value, value + bytes). */
typedef struct ke__gguf_kv {
    ke__gguf_str key;
    ke__gguf_type type;
    ke__gguf_type item;   /* of an array (arrays of arrays are refused) */
    uint64_t n;           /* items of an array, else 1 */
    const uint8_t *value; /* the first item of an array */
    uint64_t value_bytes; /* from there to the end */
    uint64_t offset;      /* of the key's length field in the file */
    uint64_t bytes;       /* from offset to the end of the value */
} ke__gguf_kv;

typedef struct ke__gguf {
    ke__map map;
    bool borrowed; /* the map is closed by somebody else */
    bool joined;   /* the tensors are in several files, which map does not cover */
    uint32_t version, alignment;
    ke__gguf_kv *kvs;
    size_t n_kvs;
    ke__tensor *tensors; /* in the file's order; names are NUL-terminated copies */
    size_t n_tensors;
    char *names;           /* the tensors' names, one after the other */
    size_t *by_name;       /* tensor indices, sorted by name */
    size_t *by_offset;     /* and by offset */
    uint64_t infos_offset; /* where the tensor infos begin */
    uint64_t data_offset;  /* where tensor data begins (aligned) */
} ke__gguf;

/* Every length, count, type, alignment and overlap is checked against the file.
 * @retval KE_EFORMAT the message names what, at which offset, and what was expected */
KE_MUST_CHECK ke_status ke__gguf_open(ke_ctx *cx, ke__gguf *out, const char *path);
/* The same of bytes in memory: `g` is zero but for map.data, map.bytes and, for messages,
 * map.path with `borrowed`. On failure and after use, ke__gguf_close() frees what was made;
 * a map without a path stays the caller's. */
KE_MUST_CHECK ke_status ke__gguf_parse(ke_ctx *cx, ke__gguf *g);
/* One index of all parts of a split file: the keys of the first but split.*, the tensors of
 * all, with offsets through `files`, which must outlive it. One file is itself.
 * @retval KE_EFORMAT parts that do not belong together */
KE_MUST_CHECK ke_status ke__gguf_join(ke_ctx *cx, ke__gguf *out, const ke__files *files);
/* Make by_name and by_offset of g->tensors; KE_EFORMAT if two share a name or a byte. */
KE_MUST_CHECK ke_status ke__gguf_index(ke_ctx *cx, ke__gguf *g);
void ke__gguf_close(ke_ctx *cx, ke__gguf *g); /* of a zeroed one is a no-op */

const ke__gguf_kv *ke__gguf_find(const ke__gguf *g, const char *key); /* NULL if absent */
/* Tensor index, or -1. */
ptrdiff_t ke__gguf_tensor(const ke__gguf *g, const char *name);
/* Typed getters: the value, or `fallback` if the key is absent. KE_EFORMAT if the type is
 * wrong (any integer type that holds the value serves for an integer). */
KE_MUST_CHECK ke_status ke__gguf_u64(ke_ctx *cx, const ke__gguf *g, const char *key,
                                     uint64_t fallback, uint64_t *out);
KE_MUST_CHECK ke_status ke__gguf_f32(ke_ctx *cx, const ke__gguf *g, const char *key,
                                     float fallback, float *out);
KE_MUST_CHECK ke_status ke__gguf_bool(ke_ctx *cx, const ke__gguf *g, const char *key,
                                      bool fallback, bool *out);
/* {NULL, 0} if absent. */
KE_MUST_CHECK ke_status ke__gguf_string(ke_ctx *cx, const ke__gguf *g, const char *key,
                                        ke__gguf_str *out);
/* An iterator over an array of strings: *cursor starts at kv->value. The reader has checked
 * the bounds of every item already. */
ke__gguf_str ke__gguf_next_string(const uint8_t **cursor);

/* --- writing ---------------------------------------------------------------------- */

/* New data for one tensor. `type` may differ from the file's; the shape does not. */
typedef struct ke__gguf_change {
    size_t tensor; /* index */
    const ke__dtype_traits *type;
    const void *data; /* rows * row bytes of `type` */
} ke__gguf_change;
/* Metadata put at the end, replacing a key of the same name: string, or array of strings.
 */
typedef struct ke__gguf_stamp {
    const char *key;
    const char *const *items; /* NUL-terminated strings */
    size_t n;
    bool array;
} ke__gguf_stamp;
/* Copy `g` to `out` with changes and stamps; all else keeps its bytes and order. With none
 * of either, the same bytes. Tensor changes are sorted by tensor index. */
KE_MUST_CHECK ke_status ke__gguf_write(ke_ctx *cx, ke__out *out, const ke__gguf *g,
                                       const ke__gguf_change *changes, size_t n_changes,
                                       const ke__gguf_stamp *stamps, size_t n_stamps);

/* A file from nothing, for tests and for small models: keys then tensors. */
typedef struct ke__gguf_new_kv {
    const char *key;
    ke__gguf_type type;
    union {
        uint64_t u;
        double f;
        const char *s;
    } value;
    const char *const *strings; /* type ARRAY: strings, or */
    const float *floats;        /* f32, or */
    const int32_t *ints;        /* i32 */
    size_t n;
} ke__gguf_new_kv;
/* Append a file of keys alone to `out`, which the caller frees. */
KE_MUST_CHECK ke_status ke__gguf_keys(ke_ctx *cx, ke__text *out, const ke__gguf_new_kv *kvs,
                                      size_t n);
typedef struct ke__gguf_new_tensor {
    const char *name;
    const ke__dtype_traits *type;
    uint64_t rows, cols; /* rows == 0: one-dimensional */
    const void *data;
} ke__gguf_new_tensor;
KE_MUST_CHECK ke_status ke__gguf_create(ke_ctx *cx, const char *path,
                                        const ke__gguf_new_kv *kvs, size_t n_kvs,
                                        const ke__gguf_new_tensor *tensors,
                                        size_t n_tensors);

#endif
