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

struct factor_job {
    double *a;
    blasint width, info;
};

static void factorise(size_t i, unsigned thread, void *payload)
{
    struct factor_job *job = payload;
    (void)i;
    (void)thread;
    BLASFUNC(dpotrf)(upper, &job->width, job->a, &job->width, &job->info);
}

ke_status ke__cholesky(ke_ctx *cx, double *a, size_t width, size_t *pivot)
{
    struct factor_job job = {.a = a, .width = (blasint)width};
    ke__parallel(cx, 1, factorise, &job); /* a team of one: so OpenBLAS takes one thread */
    if (job.info == 0)
        return KE_OK;
    *pivot = (size_t)job.info - 1;
    return ke__fail(cx, KE_ENUMERIC, NULL,
                    "a matrix of width %zu is not positive definite at pivot %zu", width,
                    *pivot);
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
    BLASFUNC(dpotrs)
    (upper, &job->width, &one, job->factor, &job->width, job->x, &job->width, &info);
}

void ke__cholesky_solve(ke_ctx *cx, double *x, const double *factor, size_t width)
{
    /* LAPACK's prototype lacks the const that its manual promises. */
    struct solve_job job = {x, (double *)(uintptr_t)factor, (blasint)width};
    ke__parallel(cx, 1, solve, &job);
}
