#include "patch/spectrum.h"

#include <math.h>
#include <string.h>

enum { BLOCK = KE__SPECTRUM_BLOCK, RANGES = 16, MAX_PASSES = 8 };

/* One pass over M [O, I] with an orthonormal basis Q [I, 16]: Y = M Q row by row, then
 * Z = M^T Y, which turns Q towards the leading right singular vectors, and G = Y^T Y, whose
 * eigenvalues are the squared singular values of M on Q's span. */
struct range {
    double *z;  /* [I, 16] */
    float *row; /* [2, I]: the row, scratch */
    double gram[BLOCK][BLOCK];
};
struct pass {
    const ke__rows *m;
    const ke_ctx *cx;
    double *q; /* [I, 16] */
    struct range ranges[RANGES];
};

/* y = Q^T x, four sums at a time: as many as stay in registers. */
static void project(double y[BLOCK], const float *x, const double *q, size_t n)
{
    for (size_t k = 0; k < BLOCK; k += 4) {
        double sum[4] = {0};
        for (size_t c = 0; c < n; c++)
            for (size_t l = 0; l < 4; l++)
                sum[l] += (double)x[c] * q[c * BLOCK + k + l];
        memcpy(y + k, sum, sizeof sum);
    }
}

static void add_row(const struct pass *p, struct range *r, size_t i)
{
    double y[BLOCK], *restrict z = r->z;

    p->m->row(r->row, r->row + p->m->cols, i, p->m->payload);
    project(y, r->row, p->q, p->m->cols);
    for (size_t c = 0; c < p->m->cols; c++)
        for (size_t k = 0; k < BLOCK; k++)
            z[c * BLOCK + k] += (double)r->row[c] * y[k];
    for (size_t k = 0; k < BLOCK; k++)
        for (size_t l = 0; l < BLOCK; l++)
            r->gram[k][l] += y[k] * y[l];
}

static void add_range(size_t i, unsigned thread, void *payload)
{
    struct pass *p = payload;
    struct range *r = &p->ranges[i];
    size_t rows = p->m->rows;

    (void)thread;
    memset(r->z, 0, p->m->cols * BLOCK * sizeof *r->z);
    memset(r->gram, 0, sizeof r->gram);
    for (size_t at = rows * i / RANGES; at < rows * (i + 1) / RANGES; at++) {
        if (p->cx->canceled)
            return;
        add_row(p, r, at);
    }
}

/* Sum the ranges in order into the first. */
static void reduce(struct pass *p)
{
    struct range *sum = &p->ranges[0];

    for (size_t i = 1; i < RANGES; i++) {
        for (size_t c = 0; c < p->m->cols * BLOCK; c++)
            sum->z[c] += p->ranges[i].z[c];
        for (size_t k = 0; k < BLOCK; k++)
            for (size_t l = 0; l < BLOCK; l++)
                sum->gram[k][l] += p->ranges[i].gram[k][l];
    }
}

static double column_dot(const double *x, size_t k, size_t l, size_t n)
{
    double sum = 0.0;

    for (size_t i = 0; i < n; i++)
        sum += x[i * BLOCK + k] * x[i * BLOCK + l];
    return sum;
}

/* Gram-Schmidt on the columns of x [n, 16], twice, for the first time leaves rounding
 * errors of nearly dependent columns. A column that depends on those before it becomes
 * zero. */
static void orthonormalise(double *x, size_t n)
{
    for (size_t k = 0; k < BLOCK; k++) {
        double before = sqrt(column_dot(x, k, k, n));
        for (size_t l = 0; l < 2 * k; l++) {
            double along = column_dot(x, k, l % k, n);
            for (size_t i = 0; i < n; i++)
                x[i * BLOCK + k] -= along * x[i * BLOCK + l % k];
        }
        double after = sqrt(column_dot(x, k, k, n));
        double scale = after > 1e-12 * before ? 1.0 / after : 0.0;
        for (size_t i = 0; i < n; i++)
            x[i * BLOCK + k] *= scale;
    }
}

/* Turn rows and columns k, l of the symmetric g so that g[k][l] vanishes. */
static void rotate(double g[BLOCK][BLOCK], size_t k, size_t l)
{
    if (g[k][l] == 0.0)
        return;
    double theta = (g[l][l] - g[k][k]) / (2.0 * g[k][l]);
    double t = (theta < 0.0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
    double c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    for (size_t i = 0; i < BLOCK; i++) {
        double a = g[i][k], b = g[i][l];
        g[i][k] = c * a - s * b;
        g[i][l] = s * a + c * b;
    }
    for (size_t i = 0; i < BLOCK; i++) {
        double a = g[k][i], b = g[l][i];
        g[k][i] = c * a - s * b;
        g[l][i] = s * a + c * b;
    }
}

/* Eigenvalues of a positive semi-definite matrix, descending; destroys g. Cyclic Jacobi
 * converges quadratically: 16 x 16 needs some six sweeps. */
static void eigenvalues(double out[BLOCK], double g[BLOCK][BLOCK])
{
    for (int sweep = 0; sweep < 12; sweep++)
        for (size_t k = 0; k < BLOCK; k++)
            for (size_t l = k + 1; l < BLOCK; l++)
                rotate(g, k, l);
    for (size_t k = 0; k < BLOCK; k++) {
        double value = g[k][k] > 0.0 ? g[k][k] : 0.0; /* rounding may leave -1e-17 */
        size_t at = k;
        for (; at > 0 && out[at - 1] < value; at--)
            out[at] = out[at - 1];
        out[at] = value;
    }
}

/* Shares are asked for to a per mille; a flat spectrum would take many passes to more. */
static bool settled(const double a[BLOCK], const double b[BLOCK], double norm2)
{
    for (size_t k = 0; k < BLOCK; k++)
        if (fabs(a[k] - b[k]) > 1e-3 * norm2)
            return false;
    return true;
}

static ke_status start(ke_ctx *cx, struct pass *p)
{
    ke_status st = KE_OK;
    size_t n = 0;
    ke__rng rng = {1};

    if (!ke__mul(&n, p->m->cols, BLOCK))
        n = SIZE_MAX; /* refused below */
    KE_TRY(ke__alloc(cx, &p->q, n, sizeof *p->q));
    for (size_t i = 0; i < RANGES; i++) {
        KE_TRY(ke__alloc(cx, &p->ranges[i].z, n, sizeof(double)));
        KE_TRY(ke__alloc(cx, &p->ranges[i].row, 2 * p->m->cols, sizeof(float)));
    }
    for (size_t i = 0; i < n; i++)
        p->q[i] = ke__rng_unit(&rng) - 0.5;
    orthonormalise(p->q, p->m->cols);
done:
    return st;
}

ke_status ke__spectrum(ke_ctx *cx, double sigma2[KE__SPECTRUM_BLOCK], const ke__rows *m,
                       double norm2)
{
    ke_status st = KE_OK;
    struct pass p = {.m = m, .cx = cx};
    double last[BLOCK] = {0};

    KE_TRY(start(cx, &p));
    for (int pass = 0; pass < MAX_PASSES; pass++) {
        ke__parallel(cx, RANGES, add_range, &p);
        KE_TRY(ke__check_cancel(cx));
        reduce(&p);
        eigenvalues(sigma2, p.ranges[0].gram);
        if (pass > 0 && settled(sigma2, last, norm2))
            break;
        memcpy(last, sigma2, sizeof last);
        memcpy(p.q, p.ranges[0].z, m->cols * BLOCK * sizeof *p.q);
        orthonormalise(p.q, m->cols);
    }
done:
    for (size_t i = 0; i < RANGES; i++) {
        ke__free(cx, p.ranges[i].z);
        ke__free(cx, p.ranges[i].row);
    }
    ke__free(cx, p.q);
    return st;
}
