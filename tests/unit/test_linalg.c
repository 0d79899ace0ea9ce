#include "linalg/linalg.h"
#include "support/close.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *context(unsigned threads)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = threads});
    assert_non_null(cx);
    return cx;
}

/* (1,2), (3,0), (2,-1): sums of products (14, 0, 5). */
static void sums_products(void **state)
{
    (void)state;
    ke_ctx *cx = context(1);
    const float x[] = {1, 2, 3, 0, 2, -1};
    double sum[3] = {0}, trace, frobenius;
    assert_int_equal(KE_OK, ke__moment_add(cx, sum, x, 3, 2));
    for (size_t i = 0; i < 3; i++)
        sum[i] /= 3.0;
    assert_close(14.0 / 3.0, sum[0], 1e-12); /* T30 */
    assert_close(0.0, sum[1], 1e-12);
    assert_close(5.0 / 3.0, sum[2], 1e-12);
    ke__moment_norms(sum, 2, &trace, &frobenius);
    assert_close(19.0 / 3.0, trace, 1e-12);
    assert_close(sqrt(196.0 + 25.0) / 3.0, frobenius, 1e-12);
    ke_ctx_free(cx);
}

enum { WIDTH = 600, ROWS = 37 }; /* three tiles a side, the last one short */

static float element(size_t t, size_t i)
{
    return (float)((t * 31 + i * 17) % 23) / 8.0F - 1.25F;
}

static void fill(float *x)
{
    for (size_t t = 0; t < ROWS; t++)
        for (size_t i = 0; i < WIDTH; i++)
            x[t * WIDTH + i] = element(t, i);
}

/* The elements are eighths below 2: their products and sums are exact in f32. */
static void tiles_make_the_whole(void **state)
{
    (void)state;
    ke_ctx *cx = context(2);
    static float x[ROWS * WIDTH];
    double *sum = NULL;
    fill(x);
    assert_int_equal(KE_OK, ke__alloc(cx, &sum, ke__packed(WIDTH), sizeof *sum));
    assert_int_equal(KE_OK, ke__moment_add(cx, sum, x, ROWS, WIDTH));
    assert_int_equal(KE_OK, ke__moment_add(cx, sum, x, ROWS, WIDTH));
    for (size_t i = 0; i < WIDTH; i++)
        for (size_t j = 0; j <= i; j++) {
            double want = 0.0;
            for (size_t t = 0; t < ROWS; t++)
                want += 2.0 * (double)element(t, i) * (double)element(t, j);
            assert_true(want == sum[ke__packed(i) + j]);
        }
    ke__free(cx, sum);
    ke_ctx_free(cx);
}

/* Values whose sums do round. */
static void same_for_any_number_of_threads(void **state)
{
    (void)state;
    static float x[ROWS * WIDTH];
    static double first[WIDTH * (WIDTH + 1) / 2], factor[2][WIDTH * WIDTH];
    const unsigned threads[] = {1, 2, 7};
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        x[i] = sinf((float)i);
    for (size_t k = 0; k < 3; k++) {
        ke_ctx *cx = context(threads[k]);
        double *sum = NULL;
        size_t pivot;
        assert_int_equal(KE_OK, ke__alloc(cx, &sum, ke__packed(WIDTH), sizeof *sum));
        assert_int_equal(KE_OK, ke__moment_add(cx, sum, x, ROWS, WIDTH));
        for (size_t i = 0; i < WIDTH; i++)
            sum[ke__packed(i) + i] += 1.0;
        double *a = factor[k > 0];
        memset(a, 0, sizeof factor[0]);
        ke__unpack(a, sum, WIDTH);
        assert_int_equal(KE_OK, ke__cholesky(cx, a, WIDTH, &pivot));
        if (k == 0)
            memcpy(first, sum, sizeof first);
        assert_memory_equal(first, sum, sizeof first);
        assert_memory_equal(factor[0], a, sizeof factor[0]);
        ke__free(cx, sum);
        ke_ctx_free(cx);
    }
}

/* C = [[2,.5,0],[.5,1,0],[0,0,.5]], k = (1,2,1): C^-1 k = (0,2,2). */
static void solves(void **state)
{
    (void)state;
    ke_ctx *cx = context(1);
    const double packed[] = {2, 0.5, 1, 0, 0, 0.5};
    double a[9] = {0}, x[] = {1, 2, 1};
    size_t pivot;
    ke__unpack(a, packed, 3);
    assert_int_equal(KE_OK, ke__cholesky(cx, a, 3, &pivot));
    ke__cholesky_solve(cx, x, a, 3);
    assert_close(0.0, x[0], 1e-15);
    assert_close(2.0, x[1], 1e-15);
    assert_close(2.0, x[2], 1e-15);
    ke_ctx_free(cx);
}

static void names_the_pivot(void **state)
{
    (void)state;
    ke_ctx *cx = context(1);
    double a[] = {1, 0, 2, 1}; /* the lower triangle of [[1,2],[2,1]]: eigenvalues 3, -1 */
    size_t pivot = 9;
    assert_int_equal(KE_ENUMERIC, ke__cholesky(cx, a, 2, &pivot));
    assert_int_equal(1, pivot);
    assert_non_null(strstr(ke_ctx_message(cx), "pivot 1"));
    ke_ctx_free(cx);
}

static ke_status add_some(ke_ctx *cx, void *payload)
{
    double sum[3] = {0};
    const float x[] = {1, 2};
    (void)payload;
    return ke__moment_add(cx, sum, x, 1, 2);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    oom_each(add_some, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_products),
        cmocka_unit_test(tiles_make_the_whole),
        cmocka_unit_test(same_for_any_number_of_threads),
        cmocka_unit_test(solves),
        cmocka_unit_test(names_the_pivot),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
