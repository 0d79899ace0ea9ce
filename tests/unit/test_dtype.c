#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* The value of an f16 by its definition. */
static double f16_value(uint16_t h)
{
    int exponent = h >> 10 & 31, part = h & 1023;
    double magnitude = exponent ? ldexp(1024 + part, exponent - 25) : ldexp(part, -24);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void every_f16_is_read_by_definition_and_comes_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = ke__f16_to_f32((uint16_t)h);
        if ((h & 0x7C00) != 0x7C00) {
            assert_true((double)f == f16_value((uint16_t)h));
            assert_int_equal(h & 0x8000, signbit(f) ? 0x8000 : 0);
        } else if (h & 1023) {
            assert_true(isnan(f));
        } else {
            assert_true(isinf(f));
        }
        uint16_t back = ke__f32_to_f16(f);
        if (isnan(f)) /* stays one, quiet, of the same sign */
            assert_int_equal(h | 0x200, back);
        else
            assert_int_equal(h, back);
    }
}

static void f16_rounds_to_the_nearest_and_to_even_between(void **state)
{
    (void)state;
    for (uint16_t h = 0; h < 0x7BFF; h++) {
        float middle = (float)((f16_value(h) + f16_value(h + 1)) / 2); /* exact in f32 */
        uint16_t even = h & 1 ? h + 1 : h;
        assert_int_equal(even, ke__f32_to_f16(middle));
        assert_int_equal(even | 0x8000, ke__f32_to_f16(-middle));
        assert_int_equal(h, ke__f32_to_f16(nextafterf(middle, 0)));
        assert_int_equal(h + 1, ke__f32_to_f16(nextafterf(middle, INFINITY)));
    }
    assert_int_equal(0x7BFF, ke__f32_to_f16(nextafterf(65520.0f, 0)));
    assert_int_equal(0x7C00, ke__f32_to_f16(65520.0f));
    assert_int_equal(0xFC00, ke__f32_to_f16(-1e30f));
    assert_int_equal(0x0000, ke__f32_to_f16(0x1p-25f)); /* half of the least: to even */
    assert_int_equal(0x0001, ke__f32_to_f16(nextafterf(0x1p-25f, 1)));
    assert_int_equal(0x8000, ke__f32_to_f16(-1e-40f));
}

static void bf16_is_the_upper_half_rounded_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = ke__bf16_to_f32((uint16_t)h);
        assert_int_equal(h << 16, bits_of(f));
        if (isnan(f)) {
            assert_int_equal(h | 0x40, ke__f32_to_bf16(f));
            continue;
        }
        assert_int_equal(h, ke__f32_to_bf16(f));
        if (isinf(f))
            continue;
        assert_int_equal(h, ke__f32_to_bf16(float_of(h << 16 | 0x7FFF)));
        assert_int_equal(h + (h & 1), ke__f32_to_bf16(float_of(h << 16 | 0x8000)));
        assert_int_equal(h + 1, ke__f32_to_bf16(float_of(h << 16 | 0x8001)));
    }
    /* A NaN whose bits would all round away stays one. */
    assert_true(isnan(ke__bf16_to_f32(ke__f32_to_bf16(float_of(0x7F800001)))));
}

/* Bytes a block from what a block holds, in the formats' own terms. */
static void the_table_has_every_type_with_its_size(void **state)
{
    static const struct {
        uint32_t id;
        const char *name;
        uint32_t block, bytes;
    } want[] = {
        {0, "f32", 1, 4},
        {1, "f16", 1, 2},
        {2, "q4_0", 32, 2 + 16},
        {3, "q4_1", 32, 2 + 2 + 16},
        {6, "q5_0", 32, 2 + 4 + 16},
        {7, "q5_1", 32, 2 + 2 + 4 + 16},
        {8, "q8_0", 32, 2 + 32},
        {9, "q8_1", 32, 2 + 2 + 32},
        {10, "q2_k", 256, 16 + 64 + 2 + 2},
        {11, "q3_k", 256, 32 + 64 + 12 + 2},
        {12, "q4_k", 256, 2 + 2 + 12 + 128},
        {13, "q5_k", 256, 2 + 2 + 12 + 32 + 128},
        {14, "q6_k", 256, 128 + 64 + 16 + 2},
        {15, "q8_k", 256, 4 + 256 + 32},
        {16, "iq2_xxs", 256, 2 + 64},
        {17, "iq2_xs", 256, 2 + 64 + 8},
        {18, "iq3_xxs", 256, 2 + 96},
        {19, "iq1_s", 256, 2 + 32 + 16},
        {20, "iq4_nl", 32, 2 + 16},
        {21, "iq3_s", 256, 2 + 64 + 8 + 32 + 4},
        {22, "iq2_s", 256, 2 + 64 + 8 + 8},
        {23, "iq4_xs", 256, 2 + 2 + 4 + 128},
        {24, "i8", 1, 1},
        {25, "i16", 1, 2},
        {26, "i32", 1, 4},
        {27, "i64", 1, 8},
        {28, "f64", 1, 8},
        {29, "iq1_m", 256, 32 + 16 + 8},
        {30, "bf16", 1, 2},
        {34, "tq1_0", 256, 48 + 4 + 2},
        {35, "tq2_0", 256, 64 + 2},
        {39, "mxfp4", 32, 1 + 16},
    };
    (void)state;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        const ke__dtype_traits *t = ke__dtype_of(want[i].id);
        assert_non_null(t);
        assert_string_equal(want[i].name, t->name);
        assert_int_equal(want[i].block, t->block);
        assert_int_equal(want[i].bytes, t->bytes);
        assert_ptr_equal(t, ke__dtype_named(want[i].name));
    }
    for (uint32_t id = 0; id < 100; id++)
        assert_true((ke__dtype_of(id) == NULL) == (id == 4 || id == 5 || id > 39));
    assert_ptr_equal(ke__dtype_of(KE__Q4_1), ke__dtype_named("Q4_1"));
    assert_null(ke__dtype_named("q4"));
    assert_null(ke__dtype_of(UINT32_MAX));
}

static void row_bytes_are_checked(void **state)
{
    size_t bytes;
    (void)state;
    assert_true(ke__row_bytes(&bytes, ke__dtype_of(KE__Q4_1), 576));
    assert_int_equal(360, bytes);
    assert_true(ke__row_bytes(&bytes, ke__dtype_of(KE__F32), 0));
    assert_int_equal(0, bytes);
    assert_false(ke__row_bytes(&bytes, ke__dtype_of(KE__Q4_1), 577));
    assert_true(ke__row_bytes(&bytes, ke__dtype_of(KE__Q6_K), 512));
    assert_int_equal(420, bytes);
    assert_false(ke__row_bytes(&bytes, ke__dtype_of(KE__Q6_K), 576));
    assert_false(ke__row_bytes(&bytes, ke__dtype_of(KE__F32), UINT64_MAX / 2));
}

static void plain_types_convert(void **state)
{
    static const float x[] = {0, 1, -2.5f, 0.1f, 65504, 1e-7f};
    float back[6], want[6];
    char bytes[6 * 8 + 1];
    (void)state;
    for (int odd = 0; odd < 2; odd++) { /* file data may lie anywhere */
        void *out = bytes + odd;
        ke__dtype_of(KE__F32)->from_f32(out, x, 6);
        ke__dtype_of(KE__F32)->to_f32(back, out, 6);
        assert_memory_equal(x, back, sizeof x);
        ke__dtype_of(KE__F64)->from_f32(out, x, 6);
        ke__dtype_of(KE__F64)->to_f32(back, out, 6);
        assert_memory_equal(x, back, sizeof x);
        ke__dtype_of(KE__F16)->from_f32(out, x, 6);
        ke__dtype_of(KE__F16)->to_f32(back, out, 6);
        for (int i = 0; i < 6; i++)
            want[i] = ke__f16_to_f32(ke__f32_to_f16(x[i]));
        assert_memory_equal(want, back, sizeof want);
        ke__dtype_of(KE__BF16)->from_f32(out, x, 6);
        ke__dtype_of(KE__BF16)->to_f32(back, out, 6);
        for (int i = 0; i < 6; i++)
            want[i] = ke__bf16_to_f32(ke__f32_to_bf16(x[i]));
        assert_memory_equal(want, back, sizeof want);
    }
}

/* --- blocks --------------------------------------------------------------------------- */

/* d = 0.5 (0x3800), m = -3 (0xC200). Byte j: element j in its low half, j + 16 in its high.
 */
static void blocks_are_read_as_the_format_says(void **state)
{
    float x[32];
    uint8_t q4_0[18] = {0x00, 0x38}, q4_1[20] = {0x00, 0x38, 0x00, 0xC2};
    uint8_t q5_0[22], q5_1[24], q8_0[34] = {0x00, 0x38};
    (void)state;
    for (int j = 0; j < 16; j++)
        q4_0[2 + j] = q4_1[4 + j] = (uint8_t)(j | (15 - j) << 4);
    for (int j = 0; j < 32; j++)
        q8_0[2 + j] = (uint8_t)(j * 8 - 128);
    ke__dtype_of(KE__Q4_0)->to_f32(x, q4_0, 32);
    for (int j = 0; j < 16; j++) {
        assert_true(x[j] == 0.5f * (float)(j - 8));
        assert_true(x[16 + j] == 0.5f * (float)(7 - j));
    }
    ke__dtype_of(KE__Q4_1)->to_f32(x, q4_1, 32);
    for (int j = 0; j < 16; j++) {
        assert_true(x[j] == 0.5f * (float)j - 3);
        assert_true(x[16 + j] == 0.5f * (float)(15 - j) - 3);
    }
    /* The fifth bits of elements 0 to 7 and 16 to 23 are set. */
    memcpy(q5_0, (uint8_t[6]){0x00, 0x38, 0xFF, 0x00, 0xFF, 0x00}, 6);
    memcpy(q5_1, (uint8_t[8]){0x00, 0x38, 0x00, 0xC2, 0xFF, 0x00, 0xFF, 0x00}, 8);
    memcpy(q5_0 + 6, q4_0 + 2, 16);
    memcpy(q5_1 + 8, q4_0 + 2, 16);
    ke__dtype_of(KE__Q5_0)->to_f32(x, q5_0, 32);
    for (int j = 0; j < 16; j++) {
        assert_true(x[j] == 0.5f * (float)(j + (j < 8 ? 0 : -16)));
        assert_true(x[16 + j] == 0.5f * (float)(15 - j + (j < 8 ? 0 : -16)));
    }
    ke__dtype_of(KE__Q5_1)->to_f32(x, q5_1, 32);
    for (int j = 0; j < 16; j++) {
        assert_true(x[j] == 0.5f * (float)(j + (j < 8 ? 16 : 0)) - 3);
        assert_true(x[16 + j] == 0.5f * (float)(15 - j + (j < 8 ? 16 : 0)) - 3);
    }
    ke__dtype_of(KE__Q8_0)->to_f32(x, q8_0, 32);
    for (int j = 0; j < 32; j++)
        assert_true(x[j] == 0.5f * (float)(j * 8 - 128));
}

static const uint32_t quantised[] = {KE__Q4_0, KE__Q4_1, KE__Q5_0, KE__Q5_1, KE__Q8_0};
enum { N_QUANTISED = sizeof quantised / sizeof quantised[0] };

static bool has_minimum(uint32_t id)
{
    return id == KE__Q4_1 || id == KE__Q5_1;
}

/* Sum of 12 uniforms less 6: close to the normal distribution that weights have. */
static float normal(ke__rng *rng)
{
    double s = -6;
    for (int i = 0; i < 12; i++)
        s += ke__rng_unit(rng);
    return (float)s;
}

static double squared_error(const ke__dtype_traits *t, const void *block, const float *x)
{
    float y[32];
    double error = 0;
    t->to_f32(y, block, 32);
    for (int i = 0; i < 32; i++)
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return error;
}

/* The plain quantisers that others write files with: the scale is taken from the extremes,
 * and levels are rounded with the scale before that is rounded to f16. */
static void plain_quantise(uint32_t id, uint8_t *out, const float *x)
{
    float low = x[0], high = x[0], extreme = 0, d, m = 0;
    int most = id == KE__Q5_0 || id == KE__Q5_1 ? 31 : 15, half = (most + 1) / 2;
    int level[32];
    for (int i = 0; i < 32; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    }
    if (id == KE__Q8_0)
        d = fabsf(extreme) / 127;
    else if (has_minimum(id))
        d = (high - low) / (float)most, m = low;
    else
        d = extreme / -(float)half;
    for (int i = 0; i < 32; i++) {
        float v = d != 0 ? (x[i] - m) * (1 / d) : 0;
        level[i] = id == KE__Q8_0
                       ? (int)roundf(v)
                       : (int)(v + (has_minimum(id) ? 0.5f : (float)half + 0.5f));
        if (id != KE__Q8_0 && level[i] > most)
            level[i] = most;
    }
    uint16_t halves[2] = {ke__f32_to_f16(d), ke__f32_to_f16(m)};
    size_t head = has_minimum(id) ? 4 : 2;
    memcpy(out, halves, head);
    if (most == 31) { /* the fifth bits */
        uint32_t bits = 0;
        for (int i = 0; i < 32; i++)
            bits |= (uint32_t)(level[i] >> 4) << i;
        memcpy(out + head, &bits, sizeof bits);
        head += sizeof bits;
    }
    for (int i = 0; i < 32; i++)
        if (id == KE__Q8_0)
            out[head + (size_t)i] = (uint8_t)level[i];
        else if (i < 16)
            out[head + (size_t)i] = (uint8_t)((level[i] & 15) | (level[i + 16] & 15) << 4);
}

static void quantising_errs_less_than_the_plain_way(void **state)
{
    ke__rng rng = {1};
    (void)state;
    for (size_t k = 0; k < N_QUANTISED; k++) {
        const ke__dtype_traits *t = ke__dtype_of(quantised[k]);
        double ours = 0, plain = 0;
        for (int trial = 0; trial < 2000; trial++) {
            uint8_t a[34], b[34];
            float x[32], size = ldexpf(1, (int)(ke__rng_next(&rng) % 12) - 10);
            for (int i = 0; i < 32; i++)
                x[i] = size * normal(&rng);
            t->from_f32(a, x, 32);
            plain_quantise(quantised[k], b, x);
            double e = squared_error(t, a, x), f = squared_error(t, b, x);
            /* Rounding of 32 squares in f32 when two ways are compared. */
            if (e > f * (1 + 1e-5))
                fail_msg("%s: squared error %g, the plain way %g", t->name, e, f);
            ours += e / ((double)size * (double)size);
            plain += f / ((double)size * (double)size);
        }
        print_message("%s: squared error %.3f of the plain way's\n", t->name, ours / plain);
        assert_true(ours < plain);
    }
}

static void check_same_values(const ke__dtype_traits *t, const void *block,
                              const void *again)
{
    float x[32], y[32];
    t->to_f32(x, block, 32);
    t->to_f32(y, again, 32);
    for (int i = 0; i < 32; i++)
        if (x[i] != y[i])
            fail_msg("%s: element %d was %.9g and became %.9g", t->name, i, (double)x[i],
                     (double)y[i]);
}

static void plain_blocks_come_back_byte_for_byte(void **state)
{
    ke__rng rng = {2};
    (void)state;
    for (size_t k = 0; k < N_QUANTISED; k++) {
        const ke__dtype_traits *t = ke__dtype_of(quantised[k]);
        for (int trial = 0; trial < 5000; trial++) {
            uint8_t block[34], again[34];
            float x[32], y[32], size = ldexpf(1, (int)(ke__rng_next(&rng) % 12) - 10);
            for (int i = 0; i < 32; i++)
                x[i] = size * normal(&rng);
            plain_quantise(quantised[k], block, x);
            t->to_f32(y, block, 32);
            t->from_f32(again, y, 32);
            assert_memory_equal(block, again, t->bytes);
        }
    }
}

/* Blocks of other quantisers: any scale, any levels, extremes used or not. */
static void foreign_blocks_come_back_with_the_same_values(void **state)
{
    ke__rng rng = {3};
    (void)state;
    for (size_t k = 0; k < N_QUANTISED; k++) {
        const ke__dtype_traits *t = ke__dtype_of(quantised[k]);
        size_t head = has_minimum(quantised[k]) ? 4 : 2;
        for (int trial = 0; trial < 20000; trial++) {
            uint8_t block[34], again[34];
            float x[32], d = ldexpf(normal(&rng), (int)(ke__rng_next(&rng) % 16) - 14);
            float m = -8 * d * (1 + 0.2f * normal(&rng));
            uint16_t halves[2] = {ke__f32_to_f16(fabsf(d)), ke__f32_to_f16(m)};
            if (!has_minimum(quantised[k]) && quantised[k] != KE__Q8_0 && trial % 2)
                halves[0] |= 0x8000;
            memcpy(block, halves, head);
            unsigned keep = (unsigned)(trial % 4); /* fewer and fewer levels */
            for (size_t j = head; j < t->bytes; j++) {
                uint64_t r = ke__rng_next(&rng);
                if (quantised[k] == KE__Q8_0)
                    block[j] = (uint8_t)((int8_t)(r & 255) >> keep);
                else
                    block[j] = (uint8_t)((r & 15) >> keep | (r >> 4 & 15) >> keep << 4);
            }
            t->to_f32(x, block, 32);
            t->from_f32(again, x, 32);
            check_same_values(t, block, again);
        }
    }
}

static void constant_and_tiny_blocks_are_kept(void **state)
{
    static const float values[] = {0, 1, -0.75f, 0x1p-24f, -0x1p-20f, 60000};
    (void)state;
    for (size_t k = 0; k < N_QUANTISED; k++)
        for (size_t v = 0; v < 6; v++)
            for (int single = 0; single < 2; single++) { /* all alike, or one of 32 */
                const ke__dtype_traits *t = ke__dtype_of(quantised[k]);
                uint8_t block[34];
                float x[32] = {0};
                for (int i = single ? 5 : 0; i < (single ? 6 : 32); i++)
                    x[i] = values[v];
                t->from_f32(block, x, 32);
                /* 60000 / 127 in f16 and such are rounded: 11 bits. */
                assert_true(squared_error(t, block, x) <=
                            32 * ldexp((double)values[v] * (double)values[v], -22));
            }
}

static void what_is_not_finite_is_not_hidden(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e20f};
    (void)state;
    for (size_t k = 0; k < N_QUANTISED; k++)
        for (size_t b = 0; b < 5; b++) {
            const ke__dtype_traits *t = ke__dtype_of(quantised[k]);
            uint8_t block[2 * 34];
            float x[64], y[64];
            for (int i = 0; i < 64; i++)
                x[i] = (float)(i % 7) - 3;
            x[9] = bad[b];
            t->from_f32(block, x, 64);
            t->to_f32(y, block, 64);
            for (int i = 0; i < 32; i++)
                assert_true(isnan(y[i]));
            for (int i = 32; i < 64; i++) /* the next block is none the worse */
                assert_true(fabsf(y[i] - x[i]) < 0.3f);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_is_read_by_definition_and_comes_back),
        cmocka_unit_test(f16_rounds_to_the_nearest_and_to_even_between),
        cmocka_unit_test(bf16_is_the_upper_half_rounded_to_even),
        cmocka_unit_test(the_table_has_every_type_with_its_size),
        cmocka_unit_test(row_bytes_are_checked),
        cmocka_unit_test(plain_types_convert),
        cmocka_unit_test(blocks_are_read_as_the_format_says),
        cmocka_unit_test(quantising_errs_less_than_the_plain_way),
        cmocka_unit_test(plain_blocks_come_back_byte_for_byte),
        cmocka_unit_test(foreign_blocks_come_back_with_the_same_values),
        cmocka_unit_test(constant_and_tiny_blocks_are_kept),
        cmocka_unit_test(what_is_not_finite_is_not_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
