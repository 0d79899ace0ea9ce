/* Singular values against matrices whose values are known. */
#include "patch/spectrum.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"

struct matrix {
    size_t rows, cols;
    const float *x;
};

static void row(float *out, float *scratch, size_t i, const void *payload)
{
    const struct matrix *m = payload;

    scratch[m->cols - 1] = 0; /* it is as long as a row */
    memcpy(out, m->x + i * m->cols, m->cols * sizeof *out);
}

static void spectrum(double sigma2[KE__SPECTRUM_BLOCK], const float *x, size_t rows,
                     size_t cols, unsigned n_threads)
{
    const struct matrix m = {rows, cols, x};
    const ke__rows source = {rows, cols, row, &m};
    double norm2 = 0;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = n_threads});

    for (size_t i = 0; i < rows * cols; i++)
        norm2 += (double)x[i] * (double)x[i];
    assert_int_equal(KE_OK, ke__spectrum(cx, sigma2, &source, norm2));
    ke_ctx_free(cx);
}

static void close_to(double want, double got, double tolerance)
{
    if (!(fabs(want - got) <= tolerance))
        fail_msg("%.12g, expected %.12g within %.1g", got, want, tolerance);
}

static void finds_a_diagonal(void **state)
{
    static float x[60 * 40];
    static const float sigma[4] = {5, 3, 2, 1};
    double sigma2[KE__SPECTRUM_BLOCK];
    (void)state;

    for (size_t i = 0; i < 4; i++)
        x[(7 * i + 3) * 40 + 9 * i + 1] = i % 2 ? -sigma[i] : sigma[i];
    spectrum(sigma2, x, 60, 40, 2);
    for (size_t i = 0; i < KE__SPECTRUM_BLOCK; i++)
        close_to(i < 4 ? (double)(sigma[i] * sigma[i]) : 0.0, sigma2[i], 1e-12);
}

static void finds_a_product_of_vectors(void **state)
{
    /* (1, 2, 2)^T (2, 3, 6): sigma = 3 * 7. */
    static const float x[9] = {2, 3, 6, 4, 6, 12, 4, 6, 12};
    double sigma2[KE__SPECTRUM_BLOCK];
    (void)state;

    spectrum(sigma2, x, 3, 3, 1);
    close_to(441, sigma2[0], 1e-9);
    for (size_t i = 1; i < KE__SPECTRUM_BLOCK; i++)
        close_to(0, sigma2[i], 1e-9);
}

static void finds_a_small_matrix(void **state)
{
    /* (3, 0; 4, 5): M^T M = (25, 20; 20, 25), eigenvalues 45 and 5. */
    static const float x[4] = {3, 0, 4, 5}, vector[3] = {1, 2, 2};
    double sigma2[KE__SPECTRUM_BLOCK];
    (void)state;

    spectrum(sigma2, x, 2, 2, 1);
    close_to(45, sigma2[0], 1e-11);
    close_to(5, sigma2[1], 1e-11);
    spectrum(sigma2, vector, 1, 3, 1);
    close_to(9, sigma2[0], 1e-12);
    spectrum(sigma2, vector, 3, 1, 1);
    close_to(9, sigma2[0], 1e-12);
}

/* Noise of n x n with variance s^2 has sigma <= about 2 s sqrt(n), and a rank-one term far
 * above that keeps its own value but for a share of about n s^2. */
static void tells_a_signal_from_noise(void **state)
{
    enum { N = 200 };
    static float x[N * N];
    double sigma2[KE__SPECTRUM_BLOCK], s2 = 0.01 / 12.0;
    ke__rng rng = {5};
    (void)state;

    for (size_t i = 0; i < N * N; i++)
        x[i] = (float)(0.1 * (ke__rng_unit(&rng) - 0.5)) + 0.1F;
    spectrum(sigma2, x, N, N, 2);
    close_to(0.01 * N * N, sigma2[0], 3.0 * N * s2 + 0.01 * 0.01 * N * N);
    assert_true(sigma2[1] < 4.0 * N * s2 * 1.1);
    assert_true(sigma2[1] > 2.0 * N * s2);
}

static void is_the_same_for_any_number_of_threads(void **state)
{
    static float x[77 * 33];
    double one[KE__SPECTRUM_BLOCK], more[KE__SPECTRUM_BLOCK];
    ke__rng rng = {6};
    (void)state;

    for (size_t i = 0; i < 77 * 33; i++)
        x[i] = (float)(ke__rng_unit(&rng) - 0.5);
    spectrum(one, x, 77, 33, 1);
    for (unsigned n = 2; n <= 7; n += 5) {
        spectrum(more, x, 77, 33, n);
        assert_memory_equal(one, more, sizeof one);
    }
}

static ke_status small(ke_ctx *cx, void *payload)
{
    const struct matrix *m = payload;
    const ke__rows source = {m->rows, m->cols, row, m};
    double sigma2[KE__SPECTRUM_BLOCK];

    return ke__spectrum(cx, sigma2, &source, 5);
}

static void survives_allocation_failures(void **state)
{
    static const float x[2] = {1, 2};
    struct matrix m = {1, 2, x};
    (void)state;

    oom_each(small, &m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_diagonal),
        cmocka_unit_test(finds_a_product_of_vectors),
        cmocka_unit_test(finds_a_small_matrix),
        cmocka_unit_test(tells_a_signal_from_noise),
        cmocka_unit_test(is_the_same_for_any_number_of_threads),
        cmocka_unit_test(survives_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
