/* Second moments of keys, C = E[k k^T]: computed from text, kept in files, factorised. */
#ifndef KE_EDIT_STATS_H
#define KE_EDIT_STATS_H

#include "edit/edit.h"
#include "linalg/linalg.h"

/* The built-in text (stats_text.S). */
extern const char ke__stats_text[], ke__stats_text_end[];

/* Moments of some layers in memory. */
typedef struct ke__moments {
    ke_stats_info info;
    size_t chunk;
    double shrink; /* already in `sums` */
    bool bos;      /* each chunk began with BOS */
    uint64_t n_keys;
    double **sums; /* [info.n_layers] packed [F, F], divided by n_keys */
} ke__moments;
KE_MUST_CHECK ke_status ke__moments_compute(ke_ctx *cx, ke__moments *out,
                                            const ke_model *model,
                                            const ke_stats_opts *opts);
void ke__moments_free(ke_ctx *cx, ke__moments *m);

/* docs/stats-format.md */
KE_MUST_CHECK ke_status ke__moments_write(ke_ctx *cx, ke__out *out, const ke__moments *m);

/* The lower Cholesky factor [F, F] of one layer's moments.
 *
 * `source` is a file, or "auto": the cache's file for this model, layer and the built-in
 * text, computed and put there if it is missing or damaged (*seconds: how long that took).
 * `note` [256] gets a remark, or stays as it is.
 * @retval KE_EMISMATCH the file belongs to another model
 * @retval KE_ENUMERIC  not positive definite; the message names layer and pivot */
KE_MUST_CHECK ke_status ke__covariance_factor(ke_ctx *cx, double **factor,
                                              const ke_model *model, uint32_t layer,
                                              const char *source, size_t n_tokens,
                                              double *seconds, char *note);
/* Whether "auto" would have to compute, and from how many tokens. */
KE_MUST_CHECK ke_status ke__covariance_missing(ke_ctx *cx, size_t *n_tokens,
                                               const ke_model *model, uint32_t layer,
                                               size_t wanted);
/* Heap bytes of the factorisation, and of computing moments of n layers. */
uint64_t ke__covariance_bytes(const ke_model *model);
uint64_t ke__moments_bytes(const ke_model *model, size_t n_layers, size_t chunk);

#endif
