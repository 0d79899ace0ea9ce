/* The largest singular values of a matrix that is too large to hold in f64. */
#ifndef KE_PATCH_SPECTRUM_H
#define KE_PATCH_SPECTRUM_H

#include "base/base.h"

#define KE__SPECTRUM_BLOCK 16

/* A matrix [rows, cols] whose rows are made when they are needed, by several threads. */
typedef struct ke__rows {
    size_t rows, cols;
    /* out[cols] = row i; scratch[cols] is the call's own. */
    void (*row)(float *out, float *scratch, size_t i, const void *payload);
    const void *payload;
} ke__rows;

/* sigma2: the squares of the largest singular values, descending, zero past the rank.
 * norm2: the squared Frobenius norm, which says when they are settled.
 *
 * Randomised subspace iteration from a fixed seed: the values are settled to a
 * thousandth of norm2, from below; those of a flat spectrum may be a third too small. Rows
 * are summed in 16 fixed ranges, so the number of threads changes nothing. */
KE_MUST_CHECK ke_status ke__spectrum(ke_ctx *cx, double sigma2[KE__SPECTRUM_BLOCK],
                                     const ke__rows *m, double norm2);

#endif
