/* What the metadata of two GGUF files have in common. */
#ifndef KE_PATCH_PAIRS_H
#define KE_PATCH_PAIRS_H

#include "format/gguf.h"

/* For each key of `a` the index of the same key in `b`, or -1. The caller frees *out. */
KE_MUST_CHECK ke_status ke__pair_keys(ke_ctx *cx, ptrdiff_t **out, const ke__gguf *a,
                                      const ke__gguf *b);

#endif
