/* Matrix products of every family against the double reference: every type, every tail. */
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct product {
    const char *type;
    size_t n, n_in, n_out;
    float alpha;
    bool add, bias;
};

static void forward(struct rig *r, const void *params)
{
    const struct product *p = params;
    const ke__mat *w = rig_mat(r, p->type, p->n_out, p->n_in);
    const ke__mat *b = p->bias ? rig_mat(r, "f32", 1, p->n_out) : NULL;
    ke_buf *x = rig_random(r, p->n * p->n_in, 1.0F),
           *y = rig_random(r, p->n * p->n_out, 1.0F);

    assert_int_equal(r->ops->linear(r->cx, y, x, w, b, p->n, p->alpha, p->add), KE_OK);
    rig_keep(r, "y", y, p->n * p->n_out, (double)p->n_in + 1.0);
}

static void backward(struct rig *r, const void *params)
{
    const struct product *p = params;
    const ke__mat *w = rig_mat(r, p->type, p->n_out, p->n_in);
    ke_buf *dy = rig_random(r, p->n * p->n_out, 1.0F);
    ke_buf *dx = rig_random(r, p->n * p->n_in, 1.0F);

    assert_int_equal(r->ops->linear_back(r->cx, dx, dy, w, p->n, p->alpha, p->add), KE_OK);
    rig_keep(r, "dx", dx, p->n * p->n_in, (double)p->n_out + 1.0);
}

static void gradient(struct rig *r, const void *params)
{
    const struct product *p = params;
    ke_buf *x = rig_random(r, p->n * p->n_in, 1.0F);
    ke_buf *dy = rig_random(r, p->n * p->n_out, 1.0F);
    ke_buf *dw = rig_random(r, p->n_out * p->n_in, 1.0F),
           *db = rig_random(r, p->n_out, 1.0F);

    assert_int_equal(r->ops->linear_grad(r->cx, dw, dy, x, p->n, p->n_out, p->n_in), KE_OK);
    assert_int_equal(r->ops->bias_grad(r->cx, db, dy, p->n, p->n_out), KE_OK);
    rig_keep(r, "dw", dw, p->n_out * p->n_in, (double)p->n + 1.0);
    rig_keep(r, "db", db, p->n_out, (double)p->n + 1.0);
}

static void compare(const struct product *p)
{
    char name[128];

    snprintf(name, sizeof name, "%s [%zu, %zu] n %zu alpha %g%s%s", p->type, p->n_out,
             p->n_in, p->n, (double)p->alpha, p->add ? " add" : "", p->bias ? " bias" : "");
    rig_compare(name, forward, p);
    rig_compare(name, backward, p);
    if (strcmp(p->type, "f32") == 0)
        rig_compare(name, gradient, p);
}

static const char *const types[] = {"f32",  "f16",  "bf16", "q4_0", "q4_1", "q8_0", "q5_0",
                                    "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "f64"};

enum { COMMON = 6 }; /* the first: only these go through every shape */

/* The next width that has whole blocks. */
static size_t whole_blocks(const char *type, size_t n)
{
    size_t block = ke__dtype_named(type)->block;

    return (n + block - 1) / block * block;
}

/* Up to four rows there are no tiles; tiles have 1 to 6 or 1 to 12 rows. */
static void every_number_of_rows(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 40; n += n < 14 ? 1 : 5)
        compare(&(struct product){types[n % COUNT(types)], n,
                                  whole_blocks(types[n % COUNT(types)], 96), 72, 1.0F,
                                  false, false});
    for (size_t n = 1; n <= 14; n++)
        compare(&(struct product){"f32", n, 24, 40, 1.0F, false, true});
}

/* Blocks of k (256), groups of columns (288), panels (16, 32) and vectors all end within.
 */
static void every_type_and_shape(void **state)
{
    static const size_t shapes[][2] = {
        {32, 1}, {64, 33}, {288, 48}, {544, 300}, {320, 640}};
    static const size_t rows[] = {1, 4, 5, 13};

    (void)state;
    for (size_t t = 0; t < COUNT(types); t++)
        for (size_t s = 0; s < (t < COMMON ? COUNT(shapes) : 3); s++)
            for (size_t n = 0; n < COUNT(rows); n++)
                compare(&(struct product){
                    types[t], rows[n], whole_blocks(types[t], shapes[s][0]), shapes[s][1],
                    -0.75F, (s + n) % 2 == 0, (t + n) % 2 == 0});
}

/* Only types without blocks may have rows of any width. */
static void ragged_widths(void **state)
{
    static const size_t widths[] = {1, 3, 8, 15, 17, 24, 33, 257, 290};

    (void)state;
    for (size_t t = 0; t < 3; t++)
        for (size_t w = 0; w < COUNT(widths); w++)
            for (size_t n = 2; n <= 7; n += 5)
                compare(&(struct product){types[t], n, widths[w],
                                          widths[COUNT(widths) - 1 - w], 1.0F, w % 2 == 0,
                                          w % 3 == 0});
}

/* A type that no family knows goes through its to_f32: blocks of 256 with a float each. */
static void steps_to_f32(float *out, const void *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = (const uint8_t *)in + i / 256 * 260;
        float scale;

        memcpy(&scale, block, sizeof scale);
        out[i] = scale * (float)(block[4 + i % 256] - 128);
    }
}

static void steps_from_f32(void *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *block = (uint8_t *)out + i / 256 * 260;
        const float scale = 1.0F / 256.0F;

        memcpy(block, &scale, sizeof scale);
        block[4 + i % 256] = (uint8_t)(128 + (int)(in[i] * 255.0F));
    }
}

static void unknown_type(struct rig *r, const void *params)
{
    static const ke__dtype_traits steps = {"steps", 9999,         256,
                                           260,     steps_to_f32, steps_from_f32};
    const size_t n_in = 768, n_out = 40, n = *(const size_t *)params;
    ke__mat w = *rig_mat(r, "f32", n_out, n_in);
    ke_buf *x = rig_random(r, n * n_in, 1.0F), *y = rig_zeros(r, n * n_out);
    ke_buf *dx = rig_zeros(r, n * n_in);
    uint8_t blocks[40 * 3 * 260];

    steps.from_f32(blocks, w.data, n_in * n_out);
    w.type = &steps;
    w.data = blocks;
    assert_int_equal(r->ops->linear(r->cx, y, x, &w, NULL, n, 1.0F, false), KE_OK);
    assert_int_equal(r->ops->linear_back(r->cx, dx, y, &w, n, 0.5F, false), KE_OK);
    rig_keep(r, "y", y, n * n_out, (double)n_in);
    rig_keep(r, "dx", dx, n * n_in, (double)(n_in + n_out));
}

static void types_without_a_fast_path(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 13; n += 4)
        rig_compare("unknown type", unknown_type, &n);
}

/* Rows of the identity pick single weights, which no sum changes: by tiles all at once, by
 * dots one by one. */
static void check_weights(const char *family, const char *type)
{
    enum { IN = 512, OUT = 3 };
    static float identity[IN * IN], want[OUT * IN], got[IN * OUT], one[OUT];
    const ke_ops *ops = ke__ops_named(family);
    struct rig r;

    if (ops == NULL)
        return;
    for (size_t i = 0; i < IN; i++)
        identity[i * IN + i] = 1;
    rig_begin(&r, ops, 1);
    const ke__mat *w = rig_mat(&r, type, OUT, IN);
    ke_buf *x = rig_values(&r, identity, COUNT(identity)), *x1 = rig_zeros(&r, IN);
    ke_buf *y = rig_zeros(&r, COUNT(got)), *y1 = rig_zeros(&r, OUT);
    w->type->to_f32(want, w->data, COUNT(want));
    assert_int_equal(r.ops->linear(r.cx, y, x, w, NULL, IN, 1.0F, false), KE_OK);
    assert_int_equal(r.ops->get(r.cx, got, y, 0, COUNT(got)), KE_OK);
    for (size_t i = 0; i < IN; i++) {
        assert_int_equal(r.ops->put(r.cx, x1, 0, identity + i * IN, IN), KE_OK);
        assert_int_equal(r.ops->linear(r.cx, y1, x1, w, NULL, 1, 1.0F, false), KE_OK);
        assert_int_equal(r.ops->get(r.cx, one, y1, 0, OUT), KE_OK);
        for (size_t o = 0; o < OUT; o++)
            if (got[i * OUT + o] != want[o * IN + i] || one[o] != want[o * IN + i])
                fail_msg("%s, %s: weight [%zu, %zu] is %.9g, by tiles %.9g, by dots %.9g",
                         family, type, o, i, (double)want[o * IN + i],
                         (double)got[i * OUT + o], (double)one[o]);
    }
    rig_end(&r);
}

static void weights_are_converted_as_the_type_says(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(types); t++) {
        check_weights("ref", types[t]);
        check_weights("avx2", types[t]);
        check_weights("avx512", types[t]);
    }
}

static void same_bits_for_any_threads(void **state)
{
    static const struct product cases[] = {
        {"q4_1", 1, 320, 352, 1.0F, true, true},
        {"q4_1", 19, 576, 640, 1.0F, false, false},
        {"q4_k", 2, 768, 352, 1.0F, false, true},
        {"q6_k", 19, 768, 640, 1.0F, true, false},
        {"f32", 40, 290, 1000, -0.5F, true, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        rig_same_bits("forward", forward, &cases[i]);
        rig_same_bits("backward", backward, &cases[i]);
        rig_same_bits("gradient", gradient, &cases[i]);
    }
}

/* y = 2 x W^T + b by hand, W = [[1, 2], [3, 4], [0, -1]], x = (1, 10), b = (0, 0.5, 1). */
static void products_by_hand(void **state)
{
    static const float wv[] = {1, 2, 3, 4, 0, -1}, xv[] = {1, 10}, bv[] = {0, 0.5F, 1};
    static const float want_y[] = {42, 86.5F, -19}, want_dx[] = {301.5F, 449};
    static const float want_dw[] = {42, 420, 86.5F, 865, -19, -190};
    float got[6];
    struct rig r;

    (void)state;
    rig_begin(&r, ke__ops_named("ref"), 1);
    const ke__mat *w = rig_mat_values(&r, wv, 3, 2), *b = rig_mat_values(&r, bv, 1, 3);
    ke_buf *x = rig_values(&r, xv, 2), *y = rig_zeros(&r, 3), *dx = rig_zeros(&r, 2);
    ke_buf *dw = rig_zeros(&r, 6);
    assert_int_equal(r.ops->linear(r.cx, y, x, w, b, 1, 2.0F, false), KE_OK);
    assert_int_equal(r.ops->get(r.cx, got, y, 0, 3), KE_OK);
    assert_memory_equal(got, want_y, sizeof want_y);
    assert_int_equal(r.ops->linear_back(r.cx, dx, y, w, 1, 1.0F, false), KE_OK);
    assert_int_equal(r.ops->get(r.cx, got, dx, 0, 2), KE_OK);
    assert_memory_equal(got, want_dx, sizeof want_dx);
    assert_int_equal(r.ops->linear_grad(r.cx, dw, y, x, 1, 3, 2), KE_OK);
    assert_int_equal(r.ops->get(r.cx, got, dw, 0, 6), KE_OK);
    assert_memory_equal(got, want_dw, sizeof want_dw);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_by_hand),
        cmocka_unit_test(every_number_of_rows),
        cmocka_unit_test(every_type_and_shape),
        cmocka_unit_test(ragged_widths),
        cmocka_unit_test(types_without_a_fast_path),
        cmocka_unit_test(weights_are_converted_as_the_type_says),
        cmocka_unit_test(same_bits_for_any_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
