/* From a stack to the values that a file will hold. */
#include "patch/patch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

/* A model of which only the file is there, with one tensor "t", under one patch. */
struct fixture {
    ke_model model;
    ke_stack *stack;
    ke_patch *patch;
};

static void begin(ke_ctx *cx, struct fixture *f, void **state, const char *type,
                  uint64_t rows, uint64_t cols, const void *data)
{
    const ke__gguf_new_tensor tensor = {"t", ke__dtype_named(type), rows, cols, data};
    const char *path = scratch_path(state, "m.gguf");

    memset(f, 0, sizeof *f);
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, NULL, 0, &tensor, 1));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &f->model.file, path));
    assert_int_equal(KE_OK, ke_stack_new(cx, &f->stack, &f->model));
    assert_int_equal(KE_OK, ke__patch_new(cx, &f->patch));
}

static void end(ke_ctx *cx, struct fixture *f)
{
    ke_stack_free(cx, f->stack);
    ke_patch_free(cx, f->patch);
    ke__gguf_close(cx, &f->model.file);
}

static void rounds_what_the_stack_changes(void **state)
{
    /* W = (3, 0; 0, 4), U V = (0, 1)^T (3, 0): W' = (3, 0; 3, 4); 3 / 5 of ||W||. */
    static const float w[4] = {3, 0, 0, 4}, u[2] = {0, 1}, v[2] = {3, 0};
    static const uint16_t want_f16[4] = {0x4200, 0, 0x4200, 0x4400};
    static const float want_f32[4] = {3, 0, 3, 4};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    begin(cx, &f, state, "f32", 2, 2, w);
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, NULL));
    assert_int_equal(0, m.n); /* nothing on the stack */
    ke__merged_free(cx, &m);
    assert_int_equal(KE_OK, ke__patch_add_lowrank(cx, f.patch, "t", 2, 2, 1, 1, u, v));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, NULL));
    assert_int_equal(1, m.n);
    assert_string_equal("f32", m.tensors[0].type->name);
    assert_int_equal(sizeof want_f32, m.tensors[0].bytes);
    assert_memory_equal(want_f32, m.tensors[0].data, sizeof want_f32);
    assert_true(fabs(m.tensors[0].rel_change - 0.6) < 1e-15);
    ke__merged_free(cx, &m);
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("f16")));
    assert_memory_equal(want_f16, m.tensors[0].data, sizeof want_f16);
    assert_true(fabs(m.tensors[0].rel_change - 0.6) < 1e-15);
    ke__merged_free(cx, &m);
    end(cx, &f);
    ke_ctx_free(cx);
}

static void measures_what_the_file_will_hold(void **state)
{
    /* 1 + 2^-12 is 1 in f16: the edit is lost in the file, and the number says so. */
    static const float w[2] = {1, 1}, delta[2] = {0x1p-12F, 0};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    begin(cx, &f, state, "f32", 1, 2, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 1, 2, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("f16")));
    assert_true(m.tensors[0].rel_change == 0.0);
    ke__merged_free(cx, &m);
    end(cx, &f);
    ke_ctx_free(cx);
}

enum { ROWS = 3, COLS = 64, BLOCK_BYTES = 20, ROW_BYTES = 2 * BLOCK_BYTES };

/* Blocks that our own rounding would write otherwise: all elements 5 = 5 d + 0. */
static void fill_q4_1(uint8_t data[ROWS * ROW_BYTES])
{
    static const uint8_t scale[4] = {0x00, 0x3c, 0, 0}; /* d = 1, m = 0 in f16 */

    for (size_t b = 0; b < 2 * ROWS; b++) {
        memcpy(data + b * BLOCK_BYTES, scale, 4);
        memset(data + b * BLOCK_BYTES + 4, 0x55, 16);
    }
}

static void keeps_the_bytes_of_blocks_left_alone(void **state)
{
    const ke__dtype_traits *q4_1 = ke__dtype_named("q4_1");
    uint8_t data[ROWS * ROW_BYTES], again[BLOCK_BYTES];
    float fives[32], delta[ROWS * COLS] = {[1 * COLS + 40] = 7};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    fill_q4_1(data);
    for (size_t i = 0; i < 32; i++)
        fives[i] = 5;
    q4_1->from_f32(again, fives, 32);
    assert_memory_not_equal(again, data, BLOCK_BYTES); /* or this test tells nothing */
    begin(cx, &f, state, "q4_1", ROWS, COLS, data);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", ROWS, COLS, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, NULL));
    for (size_t b = 0; b < 2 * ROWS; b++) {
        const uint8_t *was = data + b * BLOCK_BYTES,
                      *is = m.tensors[0].data + b * BLOCK_BYTES;
        if (b == 3) /* row 1, columns 32.. */
            assert_memory_not_equal(was, is, BLOCK_BYTES);
        else
            assert_memory_equal(was, is, BLOCK_BYTES);
    }
    /* 5 and 12 are the ends of 16 levels, whose distance 7 / 15 f16 rounds by 2^-12. */
    double want = 7.0 / sqrt(25.0 * ROWS * COLS);
    assert_true(fabs(m.tensors[0].rel_change - want) < 0.001 * want);
    ke__merged_free(cx, &m);
    end(cx, &f);
    ke_ctx_free(cx);
}

static void names_types_that_cannot_be(void **state)
{
    static const float w[48], delta[48] = {1};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    begin(cx, &f, state, "f32", 1, 48, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 1, 48, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_ENOTSUP,
                     ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("q8_0")));
    assert_non_null(strstr(ke_ctx_message(cx), "rows of 48, q8_0 needs a multiple of 32"));
    assert_int_equal(0, m.n);
    assert_int_equal(KE_ENOTSUP,
                     ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("q4_k")));
    assert_non_null(strstr(ke_ctx_message(cx), "rows of 48, q4_k needs a multiple of 256"));
    assert_int_equal(KE_ENOTSUP,
                     ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("iq4_nl")));
    assert_non_null(strstr(ke_ctx_message(cx), "f32, f16"));
    end(cx, &f);
    ke_ctx_free(cx);
}

static void names_values_that_overflow(void **state)
{
    static const float w[4], delta[4] = {0, 0, 70000, 0}; /* the largest f16 is 65504 */
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    begin(cx, &f, state, "f32", 2, 2, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 2, 2, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_ENUMERIC,
                     ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("f16")));
    assert_string_equal("t", ke_ctx_where(cx));
    assert_non_null(strstr(ke_ctx_message(cx), "row 1 of 2"));
    assert_non_null(strstr(ke_ctx_message(cx), "f16"));
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, NULL));
    assert_true(m.tensors[0].rel_change == 1.0); /* of a zero matrix */
    ke__merged_free(cx, &m);
    end(cx, &f);
    ke_ctx_free(cx);
}

static void random_values(float *out, size_t n, uint64_t seed)
{
    ke__rng rng = {seed};

    for (size_t i = 0; i < n; i++)
        out[i] = (float)(ke__rng_unit(&rng) - 0.5);
}

static void is_the_same_for_any_number_of_threads(void **state)
{
    static const unsigned threads[] = {1, 2, 7};
    static float w[200 * 96], u[200], v[96];
    ke__merged first = {0};
    struct fixture f;
    ke_ctx *one = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});

    random_values(w, 200 * 96, 1);
    random_values(u, 200, 2);
    random_values(v, 96, 3);
    begin(one, &f, state, "f32", 200, 96, w);
    assert_int_equal(KE_OK, ke__patch_add_lowrank(one, f.patch, "t", 200, 96, 1, 1, u, v));
    assert_int_equal(KE_OK, ke_stack_push(one, f.stack, f.patch));
    for (size_t i = 0; i < 3; i++) {
        ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = threads[i]});
        ke__merged m;
        assert_int_equal(KE_OK,
                         ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("q4_0")));
        if (i > 0) {
            assert_memory_equal(first.tensors[0].data, m.tensors[0].data,
                                m.tensors[0].bytes);
            assert_true(first.tensors[0].rel_change == m.tensors[0].rel_change);
            ke__merged_free(cx, &m);
        } else {
            first = m;
        }
        ke_ctx_free(cx);
    }
    ke__merged_free(one, &first);
    end(one, &f);
    ke_ctx_free(one);
}

static void merged_values_replace_the_file_s(void **state)
{
    static const float w[4] = {1, 2, 3, 4}, delta[4] = {0.1F, 0.2F, 0.3F, 0.4F};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;
    float *values = NULL, want[4];

    begin(cx, &f, state, "f32", 2, 2, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 2, 2, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    assert_int_equal(KE_OK, ke__merge(cx, &m, &f.model, f.stack, ke__dtype_named("bf16")));
    assert_int_equal(KE_OK, ke__stack_push_merged(cx, f.stack, &m));
    assert_int_equal(2, ke_stack_depth(f.stack));
    assert_int_equal(KE_OK, ke__stack_matrix(cx, &values, &f.model, f.stack, 0));
    for (size_t i = 0; i < 4; i++)
        want[i] = ke__bf16_to_f32(ke__f32_to_bf16(w[i] + delta[i]));
    assert_memory_equal(want, values, sizeof want);
    ke__free(cx, values);
    ke__merged_free(cx, &m);
    end(cx, &f);
    ke_ctx_free(cx);
}

static ke_status merge_and_push(ke_ctx *cx, void *payload)
{
    ke_status st = KE_OK;
    struct fixture *f = payload;
    ke_stack *stack = NULL;
    ke__merged m = {0};

    KE_TRY(ke_stack_new(cx, &stack, &f->model));
    KE_TRY(ke_stack_push(cx, stack, f->patch));
    KE_TRY(ke__merge(cx, &m, &f->model, stack, NULL));
    KE_TRY(ke__stack_push_merged(cx, stack, &m));
done:
    ke_stack_free(cx, stack);
    ke__merged_free(cx, &m);
    return st;
}

static void survives_allocation_failures(void **state)
{
    static const float w[4] = {1, 2, 3, 4}, delta[4] = {1};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;

    begin(cx, &f, state, "f32", 2, 2, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 2, 2, delta));
    oom_each(merge_and_push, &f);
    end(cx, &f);
    ke_ctx_free(cx);
}

static void stops_when_asked(void **state)
{
    static const float w[4] = {1, 2, 3, 4}, delta[4] = {1};
    ke_ctx *cx = ke_ctx_new(NULL);
    struct fixture f;
    ke__merged m;

    begin(cx, &f, state, "f32", 2, 2, w);
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, f.patch, "t", 2, 2, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, f.stack, f.patch));
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, ke__merge(cx, &m, &f.model, f.stack, NULL));
    assert_int_equal(0, m.n);
    end(cx, &f);
    ke_ctx_free(cx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rounds_what_the_stack_changes),
        TEST(measures_what_the_file_will_hold),
        TEST(keeps_the_bytes_of_blocks_left_alone),
        TEST(names_types_that_cannot_be),
        TEST(names_values_that_overflow),
        TEST(is_the_same_for_any_number_of_threads),
        TEST(merged_values_replace_the_file_s),
        TEST(survives_allocation_failures),
        TEST(stops_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
