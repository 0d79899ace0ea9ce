/* The patch as a value and on a stack. */
#include "patch/kinds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

static const float u[2] = {1, 2}, v[3] = {3, 4, 5}, delta[4] = {1, 2, 3, 4};

static ke_patch *new_patch(ke_ctx *cx)
{
    ke_patch *p = NULL;

    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_int_equal(KE_OK, ke__patch_add_lowrank(cx, p, "a.weight", 2, 3, 1, 0.5F, u, v));
    return p;
}

static void describes_meta_and_parts(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = NULL;

    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_string_equal("{\"parts\":[]}", ke_patch_describe(p));
    assert_int_equal(KE_OK,
                     ke__patch_set_meta(cx, p, "{\"method\": \"rome\", \"seed\": 7}"));
    assert_int_equal(KE_OK, ke__patch_add_lowrank(cx, p, "a", 2, 3, 1, 0.5F, u, v));
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, p, "b", 2, 2, delta));
    assert_string_equal("{\"method\":\"rome\",\"seed\":7,\"parts\":["
                        "{\"kind\":\"lowrank\",\"tensor\":\"a\",\"rows\":2,\"cols\":3,"
                        "\"rank\":1,\"scale\":0.5},"
                        "{\"kind\":\"dense\",\"tensor\":\"b\",\"rows\":2,\"cols\":2}]}",
                        ke_patch_describe(p));
    ke_patch_free(cx, p);
    ke_patch_free(cx, NULL);
    ke_ctx_free(cx);
}

static void refuses_meta_that_is_no_object(void **state)
{
    static const char *const bad[] = {"[1]", "7", "{", "", "{\"a\":1,\"a\":2}", "{} {}"};

    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = new_patch(cx);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(KE_EINVAL, ke__patch_set_meta(cx, p, bad[i]));
        assert_string_equal("{}", p->meta);
    }
    ke_patch_free(cx, p);
    ke_ctx_free(cx);
}

static void refuses_parts_without_numbers(void **state)
{
    const float nan3[3] = {0, NAN, 0}, inf4[4] = {0, 0, 0, -INFINITY};

    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = new_patch(cx);
    assert_int_equal(KE_ENUMERIC, ke__patch_add_lowrank(cx, p, "a", 2, 3, 1, 1, u, nan3));
    assert_string_equal("factor V [1, 3] is not finite at [0, 1]", ke_ctx_message(cx));
    assert_string_equal("a", ke_ctx_where(cx));
    assert_int_equal(KE_ENUMERIC, ke__patch_add_dense(cx, p, "b", 2, 2, inf4));
    assert_string_equal("change [2, 2] is not finite at [1, 1]", ke_ctx_message(cx));
    assert_int_equal(KE_ENUMERIC, ke__patch_add_lowrank(cx, p, "a", 2, 3, 1, NAN, u, v));
    assert_int_equal(KE_EINVAL, ke__patch_add_lowrank(cx, p, "a", 2, 3, 0, 1, u, v));
    assert_int_equal(KE_EINVAL,
                     ke__patch_add_dense(cx, p, "b", 1ULL << 40, 1ULL << 40, delta));
    assert_int_equal(1, p->n_parts);
    ke_patch_free(cx, p);
    ke_ctx_free(cx);
}

static void joins_copies(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *all = NULL;

    assert_int_equal(KE_OK, ke__patch_new(cx, &all));
    for (int i = 0; i < 5; i++) {
        ke_patch *one = new_patch(cx);
        assert_int_equal(KE_OK, ke__patch_join(cx, all, one));
        ke_patch_free(cx, one);
    }
    assert_int_equal(5, all->n_parts);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal("a.weight", all->parts[i].tensor);
        assert_memory_equal(u, all->parts[i].u, sizeof u);
        assert_memory_equal(v, all->parts[i].v, sizeof v);
        assert_true(all->parts[i].scale == 0.5F);
    }
    ke_patch_free(cx, all);
    ke_ctx_free(cx);
}

static ke_status build_and_join(ke_ctx *cx, void *payload)
{
    ke_status st = KE_OK;
    ke_patch *p = NULL, *q = NULL;

    (void)payload;
    KE_TRY(ke__patch_new(cx, &p));
    KE_TRY(ke__patch_add_lowrank(cx, p, "a", 2, 3, 1, 1, u, v));
    KE_TRY(ke__patch_add_dense(cx, p, "b", 2, 2, delta));
    KE_TRY(ke__patch_new(cx, &q));
    KE_TRY(ke__patch_join(cx, q, p));
    KE_TRY(ke__patch_set_meta(cx, q, "{\"a\":1}"));
done:
    /* All or nothing: a part that could not be described is not there. */
    if (p)
        assert_true(st != KE_OK || p->n_parts == 2);
    if (q)
        assert_true(q->n_parts == 0 || q->n_parts == 2);
    ke_patch_free(cx, p);
    ke_patch_free(cx, q);
    return st;
}

static void survives_allocation_failures(void **state)
{
    (void)state;
    oom_each(build_and_join, NULL);
}

/* --- on a stack ---------------------------------------------------------------------- */

/* A model of which only the file is there: a.weight [2, 3] and b.weight [2, 2], all zero.
 */
static void open_model(ke_ctx *cx, ke_model *model, void **state)
{
    static const float zeros[6];
    const ke__dtype_traits *f32 = ke__dtype_of(KE__F32);
    const ke__gguf_new_tensor tensors[] = {
        {"a.weight", f32, 2, 3, zeros},
        {"b.weight", f32, 2, 2, zeros},
    };
    const char *path = scratch_path(state, "m.gguf");

    assert_int_equal(KE_OK, ke__gguf_create(cx, path, NULL, 0, tensors, 2));
    memset(model, 0, sizeof *model);
    assert_int_equal(KE_OK, ke__gguf_open(cx, &model->file, path));
}

static void adds_its_terms_to_a_stack(void **state)
{
    /* 0.5 * (1, 2)^T (3, 4, 5) */
    static const float want_a[6] = {1.5F, 2, 2.5F, 3, 4, 5};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_model model;
    ke_stack *stack = NULL;
    ke_patch *p = new_patch(cx);
    float *a = NULL, *b = NULL;

    open_model(cx, &model, state);
    assert_int_equal(KE_OK, ke_stack_new(cx, &stack, &model));
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, p, "b.weight", 2, 2, delta));
    assert_int_equal(KE_OK, ke_stack_push(cx, stack, p));
    assert_int_equal(1, ke_stack_depth(stack));
    assert_int_equal(KE_OK, ke__stack_matrix(cx, &a, &model, stack, 0));
    assert_int_equal(KE_OK, ke__stack_matrix(cx, &b, &model, stack, 1));
    assert_memory_equal(want_a, a, sizeof want_a);
    assert_memory_equal(delta, b, sizeof delta);
    ke_stack_pop(cx, stack);
    assert_false(ke__stack_touches(stack, 0));
    ke__free(cx, a);
    ke__free(cx, b);
    ke_stack_free(cx, stack);
    ke_patch_free(cx, p);
    ke__gguf_close(cx, &model.file);
    ke_ctx_free(cx);
}

static void names_what_does_not_fit(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_model model;
    ke_stack *stack = NULL;
    ke_patch *missing = new_patch(cx), *wrong = new_patch(cx);

    open_model(cx, &model, state);
    assert_int_equal(KE_OK, ke_stack_new(cx, &stack, &model));
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, missing, "c.weight", 2, 2, delta));
    assert_int_equal(KE_EMISMATCH, ke_stack_push(cx, stack, missing));
    assert_string_equal("c.weight", ke_ctx_where(cx));
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, wrong, "b.weight", 1, 4, delta));
    assert_int_equal(KE_EMISMATCH, ke_stack_push(cx, stack, wrong));
    assert_non_null(strstr(ke_ctx_message(cx), "1 x 4"));
    assert_non_null(strstr(ke_ctx_message(cx), "2 x 2"));
    assert_string_equal("b.weight", ke_ctx_where(cx));
    /* The part that did fit is gone again. */
    assert_int_equal(0, ke_stack_depth(stack));
    assert_false(ke__stack_touches(stack, 0));
    ke_stack_free(cx, stack);
    ke_patch_free(cx, missing);
    ke_patch_free(cx, wrong);
    ke__gguf_close(cx, &model.file);
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_meta_and_parts),
        cmocka_unit_test(refuses_meta_that_is_no_object),
        cmocka_unit_test(refuses_parts_without_numbers),
        cmocka_unit_test(joins_copies),
        cmocka_unit_test(survives_allocation_failures),
        cmocka_unit_test_setup_teardown(adds_its_terms_to_a_stack, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(names_what_does_not_fit, scratch_make,
                                        scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
