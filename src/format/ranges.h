/* Where the pieces of a model stand in its files: heads, keys, tensors, by name, so that
 * the same piece is found again in an edited copy. */
#ifndef KE_FORMAT_RANGES_H
#define KE_FORMAT_RANGES_H

#include "format/gguf.h"
#include "format/safetensors.h"

typedef enum ke__range_kind {
    KE__RANGE_FILE,  /* all of a file, by its name */
    KE__RANGE_HEAD,  /* what a file begins with, by its number */
    KE__RANGE_KEY,   /* a GGUF key, by the file's number and its name */
    KE__RANGE_INFOS, /* GGUF tensor infos, by the file's number */
    KE__RANGE_TENSOR /* a tensor's data and what pads it, by its name */
} ke__range_kind;

typedef struct ke__range {
    ke__range_kind kind;
    size_t number;          /* 0: TENSOR, FILE */
    ke__gguf_str name;      /* empty: HEAD, INFOS */
    uint64_t offset, bytes; /* through all files; within one file */
} ke__range;

typedef struct ke__ranges {
    ke__range *items; /* [n], sorted by kind, number and name */
    size_t n, room;
    ke__gguf *ggufs; /* [n_ggufs] what the names lie in */
    size_t n_ggufs;
    ke__safetensors safe;
} ke__ranges;

/* The files are parsed once more; `files` must outlive *out. */
KE_MUST_CHECK ke_status ke__ranges_new(ke_ctx *cx, ke__ranges *out, const ke__files *files);
void ke__ranges_free(ke_ctx *cx, ke__ranges *r);
/* The range of the same kind, number and name; NULL if there is none. */
const ke__range *ke__ranges_find(const ke__ranges *r, const ke__range *like);

#endif
