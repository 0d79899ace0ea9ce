#include "linalg/linalg.h"

#include <f77blas.h>
#include <string.h>

/* LAPACK is column-major: our lower triangle is its upper one, and L L^T its U^T U. */
static char upper[] = "U";

void ke__unpack(double *a, const double *m, size_t width)
{
    for (size_t i = 0; i < width; i++)
        memcpy(a + i * width, m + ke__packed(i), (i + 1) * sizeof *a);
}

/* A factor is made panel by panel, so that threads share the work, results don't depend on
 * their number, and an interrupt is heard. Tiles are named by their row and column of
 * tiles; to BLAS they are transposed. */
enum { TILE = 256 };

struct factor_job {
    double *a;
    size_t width, n_tiles;
    size_t panel; /* the column of tiles at work */
    blasint info; /* of its diagonal tile */
};

static double *tile(const struct factor_job *job, size_t row, size_t col)
{
    return job->a + row * TILE * job->width + col * TILE;
}

static blasint side(const struct factor_job *job, size_t at)
{
    size_t left = job->width - at * TILE;
    return (blasint)(left < TILE ? left : TILE);
}

static void factor_diagonal(size_t i, unsigned thread, void *payload)
{
    struct factor_job *job = payload;
    blasint n = side(job, job->panel), lead = (blasint)job->width;
    (void)i;
    (void)thread;
    dpotrf_(upper, &n, tile(job, job->panel, job->panel), &lead, &job->info);
}

/* L_ik = A_ik L_kk^-T of the tiles below the diagonal one. */
static void solve_panel(size_t i, unsigned thread, void *payload)
{
    struct factor_job *job = payload;
    size_t k = job->panel, row = k + 1 + i;
    blasint n = side(job, k), m = side(job, row), lead = (blasint)job->width;
    double one = 1.0;
    char left[] = "L", transposed[] = "T", general[] = "N";
    (void)thread;
    dtrsm_(left, upper, transposed, general, &n, &m, &one, tile(job, k, k), &lead,
           tile(job, row, k), &lead);
}

/* A_ij -= L_ik L_jk^T of the tiles to the right; task t is tile t of their triangle. */
static void update_rest(size_t t, unsigned thread, void *payload)
{
    struct factor_job *job = payload;
    size_t k = job->panel, i = 0;
    while (ke__packed(i + 1) <= t)
        i++;
    size_t row = k + 1 + i, col = k + 1 + t - ke__packed(i);
    blasint n = side(job, k), rows = side(job, row), cols = side(job, col);
    blasint lead = (blasint)job->width;
    double minus = -1.0, one = 1.0;
    char transposed[] = "T", plain[] = "N";
    (void)thread;
    if (row == col)
        dsyrk_(upper, transposed, &rows, &n, &minus, tile(job, row, k), &lead, &one,
               tile(job, row, col), &lead);
    else
        dgemm_(transposed, plain, &cols, &rows, &n, &minus, tile(job, col, k), &lead,
               tile(job, row, k), &lead, &one, tile(job, row, col), &lead);
}

ke_status ke__cholesky(ke_ctx *cx, double *a, size_t width, size_t *pivot)
{
    struct factor_job job = {.a = a, .width = width, .n_tiles = (width + TILE - 1) / TILE};
    for (; job.panel < job.n_tiles; job.panel++) {
        size_t below = job.n_tiles - job.panel - 1;
        ke_status st = ke__check_cancel(cx);
        if (st != KE_OK)
            return st;
        ke__parallel(cx, 1, factor_diagonal, &job);
        if (job.info != 0) {
            *pivot = job.panel * TILE + (size_t)job.info - 1;
            return ke__fail(cx, KE_ENUMERIC, NULL,
                            "a matrix of width %zu is not positive definite at pivot %zu",
                            width, *pivot);
        }
        ke__parallel(cx, below, solve_panel, &job);
        ke__parallel(cx, ke__packed(below), update_rest, &job);
    }
    return KE_OK;
}

struct solve_job {
    double *x, *factor;
    blasint width;
};

static void solve(size_t i, unsigned thread, void *payload)
{
    struct solve_job *job = payload;
    blasint one = 1, info;
    (void)i;
    (void)thread;
    dpotrs_(upper, &job->width, &one, job->factor, &job->width, job->x, &job->width, &info);
}

void ke__cholesky_solve(ke_ctx *cx, double *x, const double *factor, size_t width)
{
    /* LAPACK's prototype lacks the const that its manual promises. */
    struct solve_job job = {x, (double *)(uintptr_t)factor, (blasint)width};
    ke__parallel(cx, 1, solve, &job);
}
