/* Second moments and solves over OpenBLAS. Every BLAS call runs on one thread and on a tile
 * that the sizes alone decide, so results are the same for any number of threads.
 *
 * Letters: F width. A symmetric matrix is kept as its packed lower triangle: row i holds
 * columns 0..i from ke__packed(i) on. */
#ifndef KE_LINALG_LINALG_H
#define KE_LINALG_LINALG_H

#include "base/base.h"

/* Elements of the packed lower triangle of width n; also where row n of a larger one is. */
static inline size_t ke__packed(size_t n)
{
    return n * (n + 1) / 2;
}

/* sum[packed F] += x^T x of x[n, F]. Products of one call are summed in f32, so give at
 * most a few thousand rows a call; `sum` is f64. */
KE_MUST_CHECK ke_status ke__moment_add(ke_ctx *cx, double *sum, const float *x, size_t n,
                                       size_t width);
/* Trace and Frobenius norm of packed m[F, F]. */
void ke__moment_norms(const double *m, size_t width, double *trace, double *frobenius);
/* a[F, F], lower triangle only, from packed m. */
void ke__unpack(double *a, const double *m, size_t width);

/* Replace a[F, F] (its lower triangle is read) by the lower factor L of a = L L^T.
 * @retval KE_ENUMERIC not positive definite; *pivot is the first bad one, from 0 */
KE_MUST_CHECK ke_status ke__cholesky(ke_ctx *cx, double *a, size_t width, size_t *pivot);
/* x[F] := (L L^T)^-1 x */
void ke__cholesky_solve(ke_ctx *cx, double *x, const double *factor, size_t width);

#endif
