/* What two models do not share, against differences that are known. */
#include "patch/patch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

/* Models of which only the files are there. */
struct pair {
    ke_model a, b;
};

static void open_pair(ke_ctx *cx, struct pair *p, void **state,
                      const ke__gguf_new_kv *kvs_a, size_t n_kvs_a,
                      const ke__gguf_new_tensor *a, size_t n_a,
                      const ke__gguf_new_kv *kvs_b, size_t n_kvs_b,
                      const ke__gguf_new_tensor *b, size_t n_b)
{
    const char *path_a = scratch_path(state, "a"), *path_b = scratch_path(state, "b");

    memset(p, 0, sizeof *p);
    assert_int_equal(KE_OK, ke__gguf_create(cx, path_a, kvs_a, n_kvs_a, a, n_a));
    assert_int_equal(KE_OK, ke__gguf_create(cx, path_b, kvs_b, n_kvs_b, b, n_b));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &p->a.file, path_a));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &p->b.file, path_b));
}

static void close_pair(ke_ctx *cx, struct pair *p)
{
    ke__gguf_close(cx, &p->a.file);
    ke__gguf_close(cx, &p->b.file);
}

/* The difference of two models that have one tensor "t" of the same shape. */
static ke_diff_tensor diff_of(void **state, const char *type_a, const void *a,
                              const char *type_b, const void *b, uint64_t rows,
                              uint64_t cols)
{
    const ke__gguf_new_tensor ta = {"t", ke__dtype_named(type_a), rows, cols, a};
    const ke__gguf_new_tensor tb = {"t", ke__dtype_named(type_b), rows, cols, b};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct pair p;
    ke_diff d;

    open_pair(cx, &p, state, NULL, 0, &ta, 1, NULL, 0, &tb, 1);
    assert_int_equal(KE_OK, ke_diff_models(cx, &d, &p.a, &p.b));
    assert_int_equal(1, d.n);
    assert_int_equal(1, d.n_compared);
    ke_diff_tensor t = d.tensors[0];
    t.name = NULL;
    ke_diff_free(cx, &d);
    close_pair(cx, &p);
    ke_ctx_free(cx);
    return t;
}

static void close_to(double want, double got)
{
    if (!(fabs(want - got) <= 1e-9 * (1.0 + fabs(want))))
        fail_msg("%.12g, expected %.12g", got, want);
}

static void measures_a_rank_one_change(void **state)
{
    /* B - A = (1, 2)^T (2, 0, 1): norm 5; A has norm 10. */
    static const float a[6] = {0, 6, 0, 8, 0, 0}, b[6] = {2, 6, 1, 12, 0, 2};
    ke_diff_tensor t = diff_of(state, "f32", a, "f32", b, 2, 3);

    assert_string_equal("f32", t.type_a);
    assert_string_equal("f32", t.type_b);
    assert_int_equal(2, t.rows);
    assert_int_equal(3, t.cols);
    close_to(5, t.norm);
    close_to(0.5, t.rel);
    close_to(1, t.sigma1_share);
    assert_int_equal(1, t.rank);
    assert_true(t.rank_one);
}

static void measures_a_change_of_two_values(void **state)
{
    /* B - A = diag(4, 3): sigma1 holds 16 / 25. */
    static const float a[4] = {0, 1, 1, 0}, b[4] = {4, 1, 1, 3};
    ke_diff_tensor t = diff_of(state, "f32", a, "f32", b, 2, 2);

    close_to(5, t.norm);
    close_to(0.64, t.sigma1_share);
    assert_int_equal(2, t.rank);
    assert_false(t.rank_one);
}

static void a_vector_tells_nothing_of_rank(void **state)
{
    static const float a[3] = {0, 0, 0}, b[3] = {3, 0, 4};
    ke_diff_tensor t = diff_of(state, "f32", a, "f32", b, 1, 3);

    close_to(5, t.norm);
    close_to(1, t.rel); /* of a zero tensor */
    assert_int_equal(1, t.rank);
    assert_false(t.rank_one);
}

static void another_type_of_equal_values_is_no_change(void **state)
{
    static const float a[4] = {1, 2, 3, 4};
    static const uint16_t b[4] = {0x3c00, 0x4000, 0x4200, 0x4400};
    ke_diff_tensor t = diff_of(state, "f32", a, "f16", b, 2, 2);

    assert_string_equal("f16", t.type_b);
    close_to(0, t.norm);
    close_to(0, t.rel);
    assert_int_equal(0, t.rank);
    assert_false(t.rank_one);
}

enum { N = 128 };

static void random_matrix(float *out, uint64_t seed)
{
    ke__rng rng = {seed};

    for (size_t i = 0; i < (size_t)N * N; i++)
        out[i] = (float)(ke__rng_unit(&rng) - 0.5);
}

/* A rank-one edit of 45 % of the matrix's norm, under rounding to 4 bits before and after,
 * which makes noise of 7 % each; and the rounding alone. */
static void sees_through_rounding(void **state)
{
    static float w[N * N], x[N * N];
    static uint8_t a[N * N / 32 * 20], b[N * N / 32 * 20];
    const ke__dtype_traits *q4_1 = ke__dtype_named("q4_1");

    random_matrix(w, 1);
    q4_1->from_f32(a, w, (size_t)N * N);
    for (size_t i = 0; i < (size_t)N * N; i++)
        x[i] = w[i] + 0.1F * (float)((i / N) % 3) * (i % 2 ? 1.0F : -1.0F);
    q4_1->from_f32(b, x, (size_t)N * N);
    ke_diff_tensor t = diff_of(state, "q4_1", a, "q4_1", b, N, N);
    assert_true(t.rank_one);
    assert_true(t.rank > 1); /* the noise has its share */
    t = diff_of(state, "f32", w, "q4_1", a, N, N);
    assert_false(t.rank_one);
    assert_int_equal(16, t.rank);
    assert_true(t.rel < 0.1);
}

static void lists_what_cannot_be_compared(void **state)
{
    static float zeros[512];
    static const float nan4[4] = {0, NAN, 0, 0};
    static const uint8_t q8_k[292] = {0}, other[292] = {1};
    const ke__dtype_traits *f32 = ke__dtype_named("f32"), *q = ke__dtype_named("q8_k");
    const ke__gguf_new_tensor a[] = {
        {"same", f32, 2, 2, zeros},  {"only_a", f32, 2, 2, zeros},
        {"shape", f32, 2, 3, zeros}, {"opaque", q, 1, 256, q8_k},
        {"equal", q, 1, 256, q8_k},  {"nan", f32, 2, 2, zeros},
    };
    const ke__gguf_new_tensor b[] = {
        {"nan", f32, 2, 2, nan4},    {"same", f32, 2, 2, zeros},
        {"shape", f32, 3, 2, zeros}, {"opaque", q, 1, 256, other},
        {"equal", q, 1, 256, q8_k},  {"only_b", f32, 1, 4, zeros},
    };
    static const char *const want[] = {"only_a", "shape", "opaque", "nan", "only_b"};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct pair p;
    ke_diff d;

    open_pair(cx, &p, state, NULL, 0, a, 6, NULL, 0, b, 6);
    assert_int_equal(KE_OK, ke_diff_models(cx, &d, &p.a, &p.b));
    assert_int_equal(5, d.n_compared);
    assert_int_equal(5, d.n);
    for (size_t i = 0; i < d.n; i++) {
        assert_string_equal(want[i], d.tensors[i].name);
        assert_true(d.tensors[i].norm == -1.0);
        assert_int_equal(0, d.tensors[i].rank);
        assert_false(d.tensors[i].rank_one);
    }
    assert_null(d.tensors[0].type_b);
    assert_string_equal("f32", d.tensors[0].type_a);
    assert_null(d.tensors[4].type_a);
    assert_int_equal(4, d.tensors[4].cols);
    ke_diff_free(cx, &d);
    close_pair(cx, &p);
    ke_ctx_free(cx);
}

static void lists_keys_that_differ(void **state)
{
    static const char *const words[] = {"x", "y", "z"}, *const others[] = {"x", "yy", ""};
    const ke__gguf_new_kv a[] = {
        {.key = "name", .type = KE__GGUF_STRING, .value.s = "one"},
        {.key = "same", .type = KE__GGUF_STRING, .value.s = "same"},
        {.key = "gone", .type = KE__GGUF_U32, .value.u = 1},
        {.key = "wider", .type = KE__GGUF_U32, .value.u = 1},
        {.key = "words", .type = KE__GGUF_ARRAY, .strings = words, .n = 3},
        {.key = "list", .type = KE__GGUF_ARRAY, .strings = words, .n = 3},
    };
    const ke__gguf_new_kv b[] = {
        {.key = "list", .type = KE__GGUF_ARRAY, .strings = words, .n = 3},
        {.key = "same", .type = KE__GGUF_STRING, .value.s = "same"},
        {.key = "name", .type = KE__GGUF_STRING, .value.s = "two"},
        {.key = "wider", .type = KE__GGUF_U64, .value.u = 1},
        {.key = "words", .type = KE__GGUF_ARRAY, .strings = others, .n = 3},
        {.key = "new", .type = KE__GGUF_U32, .value.u = 1},
    };
    static const char *const want[] = {"name", "gone", "wider", "words", "new"};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct pair p;
    ke_diff d;

    open_pair(cx, &p, state, a, 6, NULL, 0, b, 6, NULL, 0);
    assert_int_equal(KE_OK, ke_diff_models(cx, &d, &p.a, &p.b));
    assert_int_equal(0, d.n);
    assert_int_equal(5, d.n_metadata);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(want[i], d.metadata[i]);
    ke_diff_free(cx, &d);
    assert_int_equal(KE_OK, ke_diff_models(cx, &d, &p.a, &p.a));
    assert_int_equal(0, d.n_metadata);
    ke_diff_free(cx, &d);
    close_pair(cx, &p);
    ke_ctx_free(cx);
}

static ke_status diff_both(ke_ctx *cx, void *payload)
{
    struct pair *p = payload;
    ke_diff d;
    ke_status st = ke_diff_models(cx, &d, &p->a, &p->b);

    ke_diff_free(cx, &d); /* also after a failure */
    return st;
}

static void survives_failures_and_stops(void **state)
{
    static const float a[4] = {1, 2, 3, 4}, b[4] = {1, 2, 3, 5};
    const ke__dtype_traits *f32 = ke__dtype_named("f32");
    const ke__gguf_new_kv kv = {.key = "k", .type = KE__GGUF_U32};
    const ke__gguf_new_tensor ta[] = {{"t", f32, 2, 2, a}, {"a", f32, 2, 2, a}};
    const ke__gguf_new_tensor tb[] = {{"t", f32, 2, 2, b}, {"b", f32, 2, 2, b}};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct pair p;
    ke_diff d;

    open_pair(cx, &p, state, &kv, 1, ta, 2, NULL, 0, tb, 2);
    oom_each(diff_both, &p);
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, ke_diff_models(cx, &d, &p.a, &p.b));
    close_pair(cx, &p);
    ke_ctx_free(cx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(measures_a_rank_one_change),
        TEST(measures_a_change_of_two_values),
        TEST(a_vector_tells_nothing_of_rank),
        TEST(another_type_of_equal_values_is_no_change),
        TEST(sees_through_rounding),
        TEST(lists_what_cannot_be_compared),
        TEST(lists_keys_that_differ),
        TEST(survives_failures_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
