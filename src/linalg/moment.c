#include "linalg/linalg.h"

#include <cblas.h>
#include <math.h>

/* 256 keeps a tile (256 KiB) in the second-level cache beside the packed panels of x, and
 * gives the 21 tasks of the smallest width in use (1536) to the team. */
#define TILE ((size_t)256)

struct moment_job {
    double *sum;
    const float *x;
    size_t n, width;
    float *scratch; /* [threads, TILE, TILE] */
};

/* Tile number t counts row by row through the lower triangle of tiles. */
static void tile_at(size_t t, size_t *row, size_t *col)
{
    *row = 0;
    while (ke__packed(*row + 1) <= t)
        (*row)++;
    *col = t - ke__packed(*row);
}

static void add_tile(size_t t, unsigned thread, void *payload)
{
    const struct moment_job *job = payload;
    size_t row, col;
    tile_at(t, &row, &col);
    size_t i0 = row * TILE, j0 = col * TILE, width = job->width;
    size_t ni = width - i0 < TILE ? width - i0 : TILE;
    size_t nj = width - j0 < TILE ? width - j0 : TILE;
    float *c = job->scratch + thread * TILE * TILE;

    if (row == col)
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)ni, (int)job->n, 1.0F,
                    job->x + i0, (int)width, 0.0F, c, (int)TILE);
    else
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)ni, (int)nj, (int)job->n,
                    1.0F, job->x + i0, (int)width, job->x + j0, (int)width, 0.0F, c,
                    (int)TILE);
    for (size_t i = 0; i < ni; i++) {
        double *sum = job->sum + ke__packed(i0 + i) + j0;
        size_t end = row == col ? i + 1 : nj;
        for (size_t j = 0; j < end; j++)
            sum[j] += (double)c[i * TILE + j];
    }
}

ke_status ke__moment_add(ke_ctx *cx, double *sum, const float *x, size_t n, size_t width)
{
    struct moment_job job = {.sum = sum, .x = x, .n = n, .width = width};
    size_t side = (width + TILE - 1) / TILE;
    ke_status st =
        ke__alloc(cx, &job.scratch, ke__threads(cx), TILE * TILE * sizeof(float));
    if (st == KE_OK)
        ke__parallel(cx, ke__packed(side), add_tile, &job);
    ke__free(cx, job.scratch);
    return st;
}

void ke__moment_norms(const double *m, size_t width, double *trace, double *frobenius)
{
    double t = 0.0, off = 0.0, diagonal = 0.0;
    for (size_t i = 0; i < width; i++) {
        const double *row = m + ke__packed(i);
        for (size_t j = 0; j < i; j++)
            off += row[j] * row[j];
        t += row[i];
        diagonal += row[i] * row[i];
    }
    *trace = t;
    *frobenius = sqrt(2.0 * off + diagonal);
}
