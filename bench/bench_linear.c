/* Matrix products of each family against OpenBLAS, in one run.
 *
 *     bench_linear [THREADS [FAMILY]]
 *
 * One line a shape, type and number of rows: median of the forward and the backward product
 * in GF/s (2 n I O operations), and that of cblas_sgemm on the same weights in f32, taken
 * in turns. At n <= 4 the weights' bytes bound the time, so that GB/s of them are shown
 * too. Weights rotate through copies larger than the caches. */
#include "kernels/ops.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 15, COPIES_BYTES = 64 << 20, MAX_ROWS = 512 };

struct bench {
    ke_ctx *cx;
    const ke_ops *ops;
    ke__mat w; /* of the type measured; data moves from copy to copy */
    uint8_t *copies;
    float *dense; /* the same in f32 */
    size_t n_copies, bytes;
    ke_buf *x, *y;
};

static void check(ke_ctx *cx, ke_status st)
{
    if (st == KE_OK)
        return;
    fprintf(stderr, "bench_linear: %s %s\n", ke_status_text(st), ke_ctx_message(cx));
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

enum way { FORWARD, BACKWARD, BLAS, N_WAYS };

static void call(struct bench *b, enum way way, size_t n, size_t copy)
{
    int out = (int)b->w.rows, in = (int)b->w.cols;

    b->w.data = b->copies + copy * b->bytes;
    if (way == FORWARD)
        check(b->cx, b->ops->linear(b->cx, b->y, b->x, &b->w, NULL, n, 1.0F, false));
    else if (way == BACKWARD)
        check(b->cx, b->ops->linear_back(b->cx, b->x, b->y, &b->w, n, 1.0F, false));
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, out, in, 1.0F,
                    (float *)(void *)b->x, in, b->dense, in, 0.0F, (float *)(void *)b->y,
                    out);
}

static void measure(struct bench *b, size_t n)
{
    double seconds[N_WAYS][RUNS], flop = 2.0 * (double)(n * b->w.rows * b->w.cols);
    size_t inner = (size_t)(2e8 / flop) + 1, copy = 0;

    for (int run = 0; run < RUNS; run++)
        for (int way = 0; way < N_WAYS; way++) {
            double start = ke__now();

            for (size_t i = 0; i < inner; i++, copy = (copy + 1) % b->n_copies)
                call(b, (enum way)way, n, copy);
            seconds[way][run] = (ke__now() - start) / (double)inner;
        }
    printf("%-6s %6llu %6llu %4zu ", b->w.type->name, (unsigned long long)b->w.cols,
           (unsigned long long)b->w.rows, n);
    for (int way = 0; way < N_WAYS; way++) {
        qsort(seconds[way], RUNS, sizeof(double), by_size);
        printf(" %9.1f", flop / seconds[way][RUNS / 2] * 1e-9);
    }
    printf(" %7.1f\n", (double)b->bytes / seconds[FORWARD][RUNS / 2] * 1e-9);
}

static void bench_shape(struct bench *b, const char *type, size_t in, size_t out)
{
    static const size_t rows[] = {1, 4, 8, 16, 32, 66, 128, 512};
    ke__rng rng = {1};
    size_t row_bytes = 0, size = in * out;

    b->w = (ke__mat){ke__dtype_named(type), out, in, NULL, NULL};
    if (!ke__row_bytes(&row_bytes, b->w.type, in))
        return;
    b->bytes = row_bytes * out;
    b->n_copies = COPIES_BYTES / b->bytes + 1;
    check(b->cx, ke__alloc(b->cx, &b->dense, size, sizeof(float)));
    check(b->cx, ke__alloc(b->cx, &b->copies, b->n_copies, b->bytes));
    for (size_t i = 0; i < size; i++)
        b->dense[i] = (float)(ke__rng_unit(&rng) - 0.5);
    b->w.type->from_f32(b->copies, b->dense, size);
    for (size_t i = 1; i < b->n_copies; i++)
        memcpy(b->copies + i * b->bytes, b->copies, b->bytes);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check(b->cx, b->ops->buf_new(b->cx, &b->x, rows[i] * in));
        check(b->cx, b->ops->buf_new(b->cx, &b->y, rows[i] * out));
        measure(b, rows[i]);
        b->ops->buf_free(b->cx, b->x);
        b->ops->buf_free(b->cx, b->y);
    }
    ke__free(b->cx, b->dense);
    ke__free(b->cx, b->copies);
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"q4_1", "f32", "bf16", "q8_0", "q5_0", "q4_k", "q6_k"};
    static const size_t shapes[][2] = {{576, 1536}, {1536, 576}, {576, 192}, {576, 576}};
    ke_ctx_opts opts = {.n_threads = argc > 1 ? (unsigned)atoi(argv[1]) : 0};
    struct bench b = {.cx = ke_ctx_new(&opts)};

    if (b.cx == NULL)
        return 1;
    b.ops = argc > 2 ? ke__ops_named(argv[2]) : ke__ops_pick(b.cx);
    if (b.ops == NULL) {
        fprintf(stderr, "bench_linear: this processor has no family \"%s\"\n", argv[2]);
        return 1;
    }
    printf("# %s, %u threads, OpenBLAS %s\n", b.ops->name, ke__threads(b.cx),
           openblas_get_corename());
    printf("# type   inputs outputs rows   forward  backward  OpenBLAS GF/s; GB/s\n");
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            bench_shape(&b, types[t], shapes[s][0], shapes[s][1]);
    ke_ctx_free(b.cx);
    return 0;
}
