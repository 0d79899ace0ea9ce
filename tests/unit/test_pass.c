/* The pass: batches, caches, edits, errors, on small random models. */
#include "model/pass.h"
#include "support/oom.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { V = 263, D = 32, F = 64 };
static const int32_t text[] = {84, 104, 101, 32, 99, 97, 116, 32, 115, 97, 116, 46};
static const uint32_t n_text = sizeof text / sizeof text[0];

static ke_ctx *cx;

static int set_up(void **state)
{
    (void)state;
    cx = ke_ctx_new(NULL);
    return cx ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ke_ctx_free(cx);
    return 0;
}

static void check(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

/* Rounding of other summation orders through three layers: 32 eps of the logits' size. */
static void assert_close(const float *a, const float *b, size_t n)
{
    float size = 0;
    for (size_t i = 0; i < n; i++)
        size = fmaxf(size, fabsf(a[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 32 * 0x1p-23F * size))
            fail_msg("element %zu: %.9g and %.9g", i, (double)a[i], (double)b[i]);
}

static void logits_of(float *out, ke__pass *pass, const ke__seq *seqs, size_t n_seqs,
                      ke__kv *kv, int32_t row, const ke_stack *edits)
{
    check(ke__pass_run(cx, pass,
                       &(ke__pass_in){.seqs = seqs,
                                      .n_seqs = n_seqs,
                                      .kv = kv,
                                      .out_rows = &row,
                                      .n_out = 1,
                                      .edits = edits}));
    check(ke__pass_logits(cx, pass, out, 0, 1));
}

static void a_batch_is_its_sequences(void **state)
{
    (void)state;
    float alone[V], together[V];
    ke__pass *pass = NULL;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 1});
    check(ke__pass_new(cx, &pass, m, NULL));
    const ke__seq one = {text + 3, 5, 0};
    const ke__seq three[] = {{text, 3, 0}, {text + 3, 5, 1}, {text, n_text, 2}};
    logits_of(alone, pass, &one, 1, NULL, 4, NULL);
    logits_of(together, pass, three, 3, NULL, 3 + 4, NULL);
    assert_close(alone, together, V);
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

static void a_cached_prefix_is_read_once(void **state)
{
    (void)state;
    float whole[V], part[V], forked[V];
    ke__pass *pass = NULL;
    ke__kv *kv = NULL;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.arch = "gemma3", .seed = 2});
    check(ke__pass_new(cx, &pass, m, NULL));
    check(ke__kv_new(cx, &kv, m, ke__pass_ops(pass), 1));
    ke__seq seq = {text, n_text, 0};
    logits_of(whole, pass, &seq, 1, NULL, (int32_t)n_text - 1, NULL);

    seq = (ke__seq){text, 7, 0};
    logits_of(part, pass, &seq, 1, kv, 6, NULL);
    check(ke__kv_fork(cx, kv, 1, 0, 5)); /* another continuation of the first five */
    seq = (ke__seq){text + 7, n_text - 7, 0};
    logits_of(part, pass, &seq, 1, kv, (int32_t)n_text - 8, NULL);
    seq = (ke__seq){text + 5, n_text - 5, 1};
    logits_of(forked, pass, &seq, 1, kv, (int32_t)n_text - 6, NULL);
    assert_close(whole, part, V);
    assert_close(whole, forked, V);
    assert_int_equal(ke__kv_len(kv, 0), n_text);
    ke__kv_truncate(cx, kv, 0, 3);
    assert_int_equal(ke__kv_len(kv, 0), 3);
    assert_int_equal(ke__kv_len(kv, 1), n_text); /* rows are shared, lengths are not */
    ke__kv_free(cx, kv);
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

/* --- edits
 * -------------------------------------------------------------------------------- */

static ke__mat f32(const float *data, size_t rows, size_t cols)
{
    return (ke__mat){
        .type = ke__dtype_of(KE__F32), .rows = rows, .cols = cols, .data = data};
}

static void terms_are_the_matrix_that_they_add(void **state)
{
    (void)state;
    enum { R = 2 };
    static float u[D * R], v[R * F], dense[D * F];
    float base[V], by_rank[V], by_delta[V], by_whole[V], *matrix = NULL;
    ke__pass *pass = NULL;
    ke_stack *stack = NULL;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 3, .type = "q8_0"});
    uint32_t tensor = ke__model_linear_tensor(m, 1, KE__LIN_DOWN);
    const ke__seq seq = {text, n_text, 0};
    int32_t row = (int32_t)n_text - 1;
    ke__rng rng = {9};
    for (size_t i = 0; i < D * R; i++)
        u[i] = (float)ke__rng_unit(&rng) - 0.5F;
    for (size_t i = 0; i < R * F; i++)
        v[i] = (float)ke__rng_unit(&rng) - 0.5F;
    for (size_t o = 0; o < D; o++)
        for (size_t i = 0; i < F; i++)
            dense[o * F + i] = 0.5F * (u[o * R] * v[i] + u[o * R + 1] * v[F + i]);
    check(ke__pass_new(cx, &pass, m, NULL));
    check(ke_stack_new(cx, &stack, m));
    logits_of(base, pass, &seq, 1, NULL, row, NULL);

    check(ke__stack_begin(cx, stack));
    check(ke__stack_term(cx, stack,
                         &(ke__term){.kind = KE__TERM_LOWRANK,
                                     .tensor = tensor,
                                     .scale = 0.5F,
                                     .u = f32(u, D, R),
                                     .v = f32(v, R, F)}));
    logits_of(by_rank, pass, &seq, 1, NULL, row, stack);
    check(ke__stack_matrix(cx, &matrix, m, stack, tensor));
    ke_stack_pop(cx, stack);

    check(ke__stack_begin(cx, stack));
    check(ke__stack_term(cx, stack,
                         &(ke__term){.kind = KE__TERM_DENSE,
                                     .tensor = tensor,
                                     .scale = 1.0F,
                                     .dense = f32(dense, D, F)}));
    logits_of(by_delta, pass, &seq, 1, NULL, row, stack);
    /* A replacement drops the terms before it. */
    check(ke__stack_term(cx, stack,
                         &(ke__term){.kind = KE__TERM_REPLACE,
                                     .tensor = tensor,
                                     .dense = f32(matrix, D, F)}));
    logits_of(by_whole, pass, &seq, 1, NULL, row, stack);
    ke_stack_pop(cx, stack);

    assert_close(by_rank, by_delta, V);
    assert_close(by_rank, by_whole, V);
    assert_true(fabsf(by_rank[7] - base[7]) > 1e-3F);
    logits_of(by_rank, pass, &seq, 1, NULL, row, stack); /* an empty stack is exact */
    assert_memory_equal(by_rank, base, sizeof base);
    ke__free(cx, matrix);
    ke_stack_free(cx, stack);
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

static void an_overlay_out_of_order_is_refused(void **state)
{
    (void)state;
    ke_stack *stack = NULL;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 3});
    check(ke_stack_new(cx, &stack, m));
    check(ke__stack_begin(cx, stack));
    assert_int_equal(
        ke__stack_overlay(cx, stack, &(ke__overlay){.from = KE__MLP_OUT, .to = KE__MLP_IN}),
        KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "mlp_out to mlp_in"));
    ke_stack_free(cx, stack);
    ke_model_close(cx, m);
}

/* A change that only a merge would see is refused, and not passed over. */
static void changes_that_no_product_sees_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"blk.1.attn_norm.weight", "token_embd.weight",
                                        "blk.1.attn_q.weight"};
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 3});
    ke__pass *pass = NULL;
    const ke__seq seq = {text, 3, 0};
    check(ke__pass_new(cx, &pass, m, NULL));
    for (size_t i = 0; i < 3; i++) {
        ke_stack *stack = NULL;
        ptrdiff_t at = ke__gguf_tensor(&m->file, names[i]);
        assert_true(at >= 0);
        const ke__tensor *t = &m->file.tensors[at];
        float *delta = NULL;
        check(ke__alloc(cx, &delta, t->rows * t->cols, sizeof *delta));
        check(ke_stack_new(cx, &stack, m));
        check(ke__stack_begin(cx, stack));
        check(ke__stack_term(cx, stack,
                             &(ke__term){.kind = KE__TERM_DENSE,
                                         .tensor = (uint32_t)at,
                                         .scale = 1.0F,
                                         .dense = f32(delta, t->rows, t->cols)}));
        assert_int_equal(
            ke__pass_run(cx, pass,
                         &(ke__pass_in){.seqs = &seq, .n_seqs = 1, .edits = stack}),
            i < 2 ? KE_ENOTSUP : KE_OK);
        if (i < 2)
            assert_non_null(strstr(ke_ctx_message(cx), names[i]));
        ke_stack_free(cx, stack);
        ke__free(cx, delta);
    }
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

/* --- threads, errors
 * ------------------------------------------------------------------------ */

static void the_same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    static const unsigned counts[3] = {1, 2, 7};
    float logits[3][V], grads[3][D];
    for (size_t i = 0; i < 3; i++) {
        ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = counts[i]});
        ke_ctx *saved = cx;
        ke__pass *pass = NULL;
        cx = own;
        ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 4, .type = "q4_1"});
        const ke__seq seq = {text, n_text, 0};
        int32_t row = (int32_t)n_text - 1, zero = 0, target = 5, at = 2;
        float one = 1.0F;
        double loss = 0;
        ke__want want = {.kind = KE__WANT_SITE,
                         .layer = 0,
                         .site = KE__MLP_OUT,
                         .rows = &at,
                         .n_rows = 1,
                         .out = grads[i]};
        check(ke__pass_new(cx, &pass, m, NULL));
        check(ke__pass_run(
            cx, pass,
            &(ke__pass_in){
                .seqs = &seq, .n_seqs = 1, .keep = true, .out_rows = &row, .n_out = 1}));
        check(ke__pass_logits(cx, pass, logits[i], 0, 1));
        check(ke__pass_xent(cx, pass, &zero, &target, &one, 1, &loss, NULL));
        check(ke__pass_backward(cx, pass, &want, 1, NULL, 0));
        ke__pass_free(cx, pass);
        ke_model_close(cx, m);
        cx = saved;
        ke_ctx_free(own);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    assert_memory_equal(logits[0], logits[2], sizeof logits[0]);
    assert_memory_equal(grads[0], grads[1], sizeof grads[0]);
    assert_memory_equal(grads[0], grads[2], sizeof grads[0]);
}

static void bad_requests_are_named(void **state)
{
    (void)state;
    static const int32_t outside[] = {1, V}, many[200] = {0};
    ke__pass *pass = NULL;
    int32_t row = 0;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 1});
    ke__seq seq = {outside, 2, 0};
    ke__pass_in in = {.seqs = &seq, .n_seqs = 1};
    check(ke__pass_new(cx, &pass, m, NULL));
    assert_int_equal(ke__pass_run(cx, pass, &in), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "token id 263"));
    seq = (ke__seq){many, 200, 0};
    assert_int_equal(ke__pass_run(cx, pass, &in), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "200 tokens"));
    seq = (ke__seq){many, 0, 0};
    assert_int_equal(ke__pass_run(cx, pass, &in), KE_EINVAL);
    seq = (ke__seq){many, 2, 0};
    in.end_layer = 1;
    in.out_rows = &row;
    in.n_out = 1;
    assert_int_equal(ke__pass_run(cx, pass, &in), KE_EINVAL);
    assert_int_equal(ke__pass_backward(cx, pass, NULL, 0, NULL, 0), KE_EINVAL);
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

static void a_weight_that_is_no_number_is_named(void **state)
{
    (void)state;
    float logprob;
    ke__pass *pass = NULL;
    int32_t row = 2, target = 1;
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 1, .poison = NAN});
    const ke__seq seq = {text, 3, 0};
    check(ke__pass_new(cx, &pass, m, NULL));
    check(ke__pass_run(
        cx, pass, &(ke__pass_in){.seqs = &seq, .n_seqs = 1, .out_rows = &row, .n_out = 1}));
    assert_int_equal(
        ke__pass_score(cx, pass, 0, 1, &target, &logprob, NULL, NULL, NULL, NULL),
        KE_ENUMERIC);
    assert_non_null(strstr(ke_ctx_message(cx), "blk.0.ffn_up.weight"));
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
}

static void a_cancelled_run_stops_and_leaves_the_cache(void **state)
{
    (void)state;
    ke__pass *pass = NULL;
    ke__kv *kv = NULL;
    ke_ctx *saved = cx;
    cx = ke_ctx_new(NULL);
    ke_model *m = tiny_model_open(cx, &(tiny_spec){.seed = 1});
    const ke__seq seq = {text, 3, 0};
    check(ke__pass_new(cx, &pass, m, NULL));
    check(ke__kv_new(cx, &kv, m, ke__pass_ops(pass), 1));
    ke_ctx_cancel(cx);
    assert_int_equal(
        ke__pass_run(cx, pass, &(ke__pass_in){.seqs = &seq, .n_seqs = 1, .kv = kv}),
        KE_ECANCELED);
    assert_int_equal(ke__kv_len(kv, 0), 0);
    ke__kv_free(cx, kv);
    ke__pass_free(cx, pass);
    ke_model_close(cx, m);
    ke_ctx_free(cx);
    cx = saved;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_its_sequences),
        cmocka_unit_test(a_cached_prefix_is_read_once),
        cmocka_unit_test(terms_are_the_matrix_that_they_add),
        cmocka_unit_test(an_overlay_out_of_order_is_refused),
        cmocka_unit_test(changes_that_no_product_sees_are_refused),
        cmocka_unit_test(the_same_bits_for_any_number_of_threads),
        cmocka_unit_test(bad_requests_are_named),
        cmocka_unit_test(a_weight_that_is_no_number_is_named),
        cmocka_unit_test(a_cancelled_run_stops_and_leaves_the_cache),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
