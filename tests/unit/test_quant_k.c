/* The K types: blocks of 256 in sub-blocks. */
#include "tensor/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 256, MOST_BYTES = 210 };

/* Where a block has what; `scales` bytes at `scales_at`. */
static const struct k_type {
    uint32_t id;
    int d_at, dmin_at, scales_at, scales;
} types[] = {{KE__Q2_K, 80, 82, 0, 16},
             {KE__Q3_K, 108, -1, 96, 12},
             {KE__Q4_K, 0, 2, 4, 12},
             {KE__Q5_K, 0, 2, 4, 12},
             {KE__Q6_K, 208, -1, 192, 16}};
enum { N_TYPES = sizeof types / sizeof types[0] };

static void set_f16(uint8_t *block, int at, float f)
{
    uint16_t h = ke__f32_to_f16(f);
    memcpy(block + at, &h, sizeof h);
}

/* --- reading ---------------------------------------------------------------------- */

/* All by hand, d = 0.5 and dmin = 0.25: what is named is set, and nothing else. */
static void q2_k_is_read_as_the_format_says(void **state)
{
    uint8_t block[84] = {0};
    float x[N];
    (void)state;
    set_f16(block, 80, 0.5f);
    set_f16(block, 82, 0.25f);
    block[12] = 5 | 3 << 4;      /* sub-block 12: scale 5, minimum 3 */
    block[16 + 32 + 8] = 2 << 4; /* second half, third quarter, element 8: 200 */
    ke__dtype_of(KE__Q2_K)->to_f32(x, block, N);
    assert_true(x[200] == 0.5f * 5 * 2 - 0.25f * 3);
    assert_true(x[199] == -0.75f && x[192] == -0.75f && x[207] == -0.75f);
    assert_true(x[191] == 0 && x[208] == 0 && x[8] == 0);
}

static void q3_k_is_read_as_the_format_says(void **state)
{
    uint8_t block[110] = {0};
    float x[N];
    (void)state;
    set_f16(block, 108, 0.5f);
    block[96 + 4] = 13 << 4; /* sub-block 12: 13 + 2 * 16 - 32 = 13 */
    block[96 + 8] = 2 << 6;
    block[32 + 32 + 8] = 2 << 4; /* element 200: 2 with the high bit, 2 - 4 without */
    block[8] = 1 << 6;
    block[32 + 32 + 9] = 2 << 4;
    ke__dtype_of(KE__Q3_K)->to_f32(x, block, N);
    assert_true(x[200] == 0.5f * 13 * 2);
    assert_true(x[201] == 0.5f * 13 * -2);
    assert_true(x[202] == 0.5f * 13 * -4);
    assert_true(x[0] == 0.5f * -32 * -4); /* a scale of 0 bits, a level of 0 bits */
}

/* Scale 3 and minimum 2 of sub-block 1; 5 + 2 * 16 and 2 + 3 * 16 of sub-block 6. */
static void set_pairs(uint8_t *block)
{
    set_f16(block, 0, 0.5f);
    set_f16(block, 2, 0.25f);
    block[4 + 1] = 3;
    block[4 + 5] = 2;
    block[4 + 8 + 2] = 5 | 2 << 4;
    block[4 + 2] = 2 << 6;
    block[4 + 6] = 3 << 6;
}

static void q4_k_is_read_as_the_format_says(void **state)
{
    uint8_t block[144] = {0};
    float x[N];
    (void)state;
    set_pairs(block);
    block[16 + 8] = 7 << 4; /* element 40 */
    block[16 + 96 + 5] = 9; /* element 197 */
    ke__dtype_of(KE__Q4_K)->to_f32(x, block, N);
    assert_true(x[40] == 0.5f * 3 * 7 - 0.25f * 2);
    assert_true(x[41] == -0.5f && x[32] == -0.5f && x[63] == -0.5f);
    assert_true(x[197] == 0.5f * 37 * 9 - 0.25f * 50);
    assert_true(x[192] == -12.5f && x[223] == -12.5f);
    assert_true(x[31] == 0 && x[64] == 0 && x[191] == 0 && x[224] == 0);
}

static void q5_k_is_read_as_the_format_says(void **state)
{
    uint8_t block[176] = {0};
    float x[N];
    (void)state;
    set_pairs(block);
    block[48 + 8] = 7 << 4;
    block[48 + 96 + 5] = 9;
    block[16 + 8] = 1 << 1; /* the fifth bit of element 40 */
    block[16 + 5] = 1 << 6; /* of element 197 */
    ke__dtype_of(KE__Q5_K)->to_f32(x, block, N);
    assert_true(x[40] == 0.5f * 3 * 23 - 0.25f * 2);
    assert_true(x[197] == 0.5f * 37 * 25 - 0.25f * 50);
    assert_true(x[41] == -0.5f && x[192] == -12.5f && x[8] == 0 && x[5] == 0);
}

static void q6_k_is_read_as_the_format_says(void **state)
{
    uint8_t block[210] = {0};
    float x[N];
    (void)state;
    set_f16(block, 208, 0.5f);
    block[192 + 12] = (uint8_t)-7;
    block[192 + 10] = 100;
    block[64 + 8] = 9 << 4;            /* element 200: 9 + 2 * 16 - 32 = 9 */
    block[64 + 40] = 6;                /* element 168: 6 + 3 * 16 - 32 = 22 */
    block[128 + 40] = 2 << 4 | 3 << 2; /* both high parts */
    ke__dtype_of(KE__Q6_K)->to_f32(x, block, N);
    assert_true(x[200] == 0.5f * -7 * 9);
    assert_true(x[168] == 0.5f * 100 * 22);
    assert_true(x[201] == 0.5f * -7 * -32);
    assert_true(x[0] == 0);
}

/* --- writing ---------------------------------------------------------------------- */

/* Sum of 12 uniforms less 6: close to the normal distribution that weights have. */
static float normal(ke__rng *rng)
{
    double s = -6;
    for (int i = 0; i < 12; i++)
        s += ke__rng_unit(rng);
    return (float)s;
}

/* Beside llama.cpp without an importance matrix, on the same elements: roots of the mean
 * square, by tests/data/oracles/quantise.py with llama-cpp-python 0.3.36. */
static void quantising_errs_no_more_than_llama_cpp(void **state)
{
    enum { BLOCKS = 512 };
    static const struct {
        uint32_t id;
        double theirs;
    } records[] = {
        {KE__Q4_0, 0.084881}, {KE__Q4_1, 0.077484}, {KE__Q5_0, 0.042090},
        {KE__Q5_1, 0.037502}, {KE__Q8_0, 0.005265}, {KE__Q2_K, 0.294627},
        {KE__Q3_K, 0.149311}, {KE__Q4_K, 0.070616}, {KE__Q5_K, 0.035794},
        {KE__Q6_K, 0.017542},
    };
    static float x[BLOCKS * N], y[BLOCKS * N];
    static uint8_t blocks[BLOCKS * 8 * 34]; /* Q8_0 takes the most */
    ke__rng rng = {1};
    (void)state;
    for (int i = 0; i < BLOCKS * N; i++)
        x[i] = normal(&rng);
    for (size_t k = 0; k < sizeof records / sizeof records[0]; k++) {
        const ke__dtype_traits *t = ke__dtype_of(records[k].id);
        double square = 0;
        t->from_f32(blocks, x, BLOCKS * N);
        t->to_f32(y, blocks, BLOCKS * N);
        for (int i = 0; i < BLOCKS * N; i++)
            square += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        double ours = sqrt(square / (BLOCKS * N));
        print_message("%s: %.6f, llama.cpp %.6f\n", t->name, ours, records[k].theirs);
        assert_true(ours <= records[k].theirs);
    }
}

static void check_comes_back(const ke__dtype_traits *t, const uint8_t *block, int trial)
{
    uint8_t again[MOST_BYTES];
    float x[N], y[N];
    t->to_f32(x, block, N);
    t->from_f32(again, x, N);
    t->to_f32(y, again, N);
    for (int i = 0; i < N; i++)
        if (x[i] != y[i])
            fail_msg("%s, block %d: element %d was %.9g and became %.9g", t->name, trial, i,
                     (double)x[i], (double)y[i]);
}

/* Random bytes are blocks with any scales, minima and levels. */
static void foreign_blocks_come_back_with_the_same_values(void **state)
{
    ke__rng rng = {2};
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++)
        for (int trial = 0; trial < 1000; trial++) {
            const ke__dtype_traits *t = ke__dtype_of(types[k].id);
            uint8_t block[MOST_BYTES];
            for (size_t i = 0; i < t->bytes; i++)
                block[i] = (uint8_t)ke__rng_next(&rng);
            float d = ldexpf(1.0f + (float)ke__rng_unit(&rng), -5 - trial % 8);
            set_f16(block, types[k].d_at, d);
            if (types[k].dmin_at >= 0)
                set_f16(block, types[k].dmin_at, d * 8 * (float)ke__rng_unit(&rng));
            check_comes_back(t, block, trial);
        }
}

static void own_blocks_come_back_with_the_same_values(void **state)
{
    ke__rng rng = {3};
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++)
        for (int trial = 0; trial < 500; trial++) {
            const ke__dtype_traits *t = ke__dtype_of(types[k].id);
            uint8_t block[MOST_BYTES];
            float x[N], size = ldexpf(1, trial % 12 - 8);
            for (int i = 0; i < N; i++)
                x[i] = size * normal(&rng);
            t->from_f32(block, x, N);
            check_comes_back(t, block, trial);
        }
}

static void constant_and_tiny_blocks_are_kept(void **state)
{
    static const float values[] = {0, 1, -0.75f, 0x1p-24f, -0x1p-20f, 60000};
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++)
        for (size_t v = 0; v < 6; v++)
            for (int single = 0; single < 2; single++) { /* all alike, or one of 256 */
                const ke__dtype_traits *t = ke__dtype_of(types[k].id);
                uint8_t block[MOST_BYTES];
                float x[N] = {0}, y[N];
                for (int i = single ? 5 : 0; i < (single ? 6 : N); i++)
                    x[i] = values[v];
                t->from_f32(block, x, N);
                t->to_f32(y, block, N);
                /* d is rounded to 11 bits. */
                for (int i = 0; i < N; i++)
                    if (!(fabsf(x[i] - y[i]) <= ldexpf(fabsf(values[v]), -11)))
                        fail_msg("%s: %g became %g", t->name, (double)x[i], (double)y[i]);
            }
}

static void what_is_not_finite_is_not_hidden(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -1e20f, 1e9f};
    (void)state;
    for (size_t k = 0; k < N_TYPES; k++)
        for (size_t b = 0; b < 6; b++) {
            const ke__dtype_traits *t = ke__dtype_of(types[k].id);
            uint8_t blocks[2 * MOST_BYTES];
            float x[2 * N], y[2 * N];
            for (int i = 0; i < 2 * N; i++)
                x[i] = (float)(i % 4) - 2;
            x[9] = bad[b];
            t->from_f32(blocks, x, (size_t)2 * N);
            t->to_f32(y, blocks, (size_t)2 * N);
            for (int i = 0; i < N; i++)
                assert_true(isnan(y[i]));
            for (int i = N; i < 2 * N; i++) /* the next block is none the worse */
                assert_true(y[i] == x[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q2_k_is_read_as_the_format_says),
        cmocka_unit_test(q3_k_is_read_as_the_format_says),
        cmocka_unit_test(q4_k_is_read_as_the_format_says),
        cmocka_unit_test(q5_k_is_read_as_the_format_says),
        cmocka_unit_test(q6_k_is_read_as_the_format_says),
        cmocka_unit_test(quantising_errs_no_more_than_llama_cpp),
        cmocka_unit_test(foreign_blocks_come_back_with_the_same_values),
        cmocka_unit_test(own_blocks_come_back_with_the_same_values),
        cmocka_unit_test(constant_and_tiny_blocks_are_kept),
        cmocka_unit_test(what_is_not_finite_is_not_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
