#include "eval/harm.h"
#include "support/tiny_model.h"

#include "patch/patch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 40, CHUNK = 16 };

typedef struct bench {
    ke_ctx *cx;
    ke_model *model;
    int32_t *ids;
    size_t n_ids;
} bench;

static void begin(bench *b, unsigned n_threads)
{
    b->cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = n_threads});
    b->model = tiny_model_open(b->cx, &(tiny_spec){.seed = 5});
    assert_int_equal(ke_tokenize(b->cx, &b->ids, &b->n_ids, ke_model_tokenizer(b->model),
                                 ke__harm_text, (size_t)(ke__harm_text_end - ke__harm_text),
                                 0),
                     KE_OK);
    assert_true(b->n_ids > TOKENS);
}

static void end(bench *b)
{
    ke_free(b->cx, b->ids);
    ke_model_close(b->cx, b->model);
    ke_ctx_free(b->cx);
}

/* Log-probabilities of the token after ids[0..n), from ke_logits(), in f64. */
static void log_probs(const bench *b, const ke_stack *edits, const int32_t *ids, size_t n,
                      double *out)
{
    float logits[512];
    size_t n_vocab = b->model->info.n_vocab;
    double sum = 0, top = -INFINITY;
    assert_true(n_vocab <= 512);
    assert_int_equal(ke_logits(b->cx, logits, b->model, edits, (ke_ids){ids, n}), KE_OK);
    for (size_t i = 0; i < n_vocab; i++)
        top = fmax(top, (double)logits[i]);
    for (size_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - top);
    for (size_t i = 0; i < n_vocab; i++)
        out[i] = (double)logits[i] - top - log(sum);
}

/* The definition, token by token: f32 logits of two orders of summation differ by about
 * 1e-6 of their size, and the mean of 40 differs less than the worst of them. */
static double mean_nll(const bench *b, const ke_stack *edits, size_t tokens, size_t chunk,
                       size_t *predicted)
{
    double lp[512], sum = 0;
    *predicted = 0;
    for (size_t i = 0; i < tokens; i++) {
        size_t start = i / chunk * chunk;
        if (i == start)
            continue;
        log_probs(b, edits, b->ids + start, i - start, lp);
        sum -= lp[b->ids[i]];
        ++*predicted;
    }
    return sum / (double)*predicted;
}

static double mean_kl(const bench *b, const ke_stack *edits, size_t tokens, size_t chunk)
{
    double p[512], q[512], sum = 0;
    for (size_t i = 0; i < tokens; i++) {
        size_t start = i / chunk * chunk;
        log_probs(b, NULL, b->ids + start, i - start + 1, p);
        log_probs(b, edits, b->ids + start, i - start + 1, q);
        for (size_t k = 0; k < b->model->info.n_vocab; k++)
            sum += exp(p[k]) * (p[k] - q[k]);
    }
    return sum / (double)tokens;
}

/* A rank-one change of one matrix. */
static void make_edit(const bench *b, ke_patch **patch, ke_stack **stack)
{
    const ke__mat *w = &b->model->layers[1].linear[KE__LIN_DOWN].mat;
    uint32_t tensor = ke__model_linear_tensor(b->model, 1, KE__LIN_DOWN);
    float u[128], v[128];
    assert_true(w->rows <= 128 && w->cols <= 128);
    for (size_t i = 0; i < 128; i++) {
        u[i] = 0.25F * (float)((int)(i % 5) - 2);
        v[i] = 0.25F * (float)((int)(i % 7) - 3);
    }
    assert_int_equal(ke__patch_new(b->cx, patch), KE_OK);
    assert_int_equal(ke__patch_add_lowrank(b->cx, *patch,
                                           b->model->file.tensors[tensor].name, w->rows,
                                           w->cols, 1, 1.0F, u, v),
                     KE_OK);
    assert_int_equal(ke_stack_new(b->cx, stack, b->model), KE_OK);
    assert_int_equal(ke_stack_push(b->cx, *stack, *patch), KE_OK);
}

static void perplexity_is_its_definition(void **state)
{
    static const struct {
        size_t tokens, chunk;
    } cuts[] = {{TOKENS, CHUNK}, {TOKENS, 2}, {33, 16}, {TOKENS, 1000}};
    (void)state;
    bench b;
    begin(&b, 1);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        ke_perplexity p;
        size_t predicted, chunk = cuts[i].chunk < 100 ? cuts[i].chunk : cuts[i].tokens;
        double nll = mean_nll(&b, NULL, cuts[i].tokens, chunk, &predicted);
        assert_int_equal(ke_perplexity_measure(b.cx, &p, b.model, NULL,
                                               (ke_ids){b.ids, cuts[i].tokens}, chunk, -1),
                         KE_OK);
        assert_int_equal(p.n_tokens, cuts[i].tokens);
        assert_int_equal(p.n_predicted, predicted);
        assert_true(fabs(p.nll - nll) < 1e-5 * fabs(nll));
        assert_true(fabs(p.ppl / exp(p.nll) - 1) < 1e-12);
    }
    end(&b);
}

/* BOS before a chunk lets its first token be predicted, and is not counted. */
static void bos_predicts_the_first_token(void **state)
{
    (void)state;
    bench b;
    ke_perplexity p;
    double lp[512];
    begin(&b, 1);
    int32_t bos = ke_tokenizer_bos(ke_model_tokenizer(b.model));
    assert_true(bos >= 0);
    assert_int_equal(
        ke_perplexity_measure(b.cx, &p, b.model, NULL, (ke_ids){b.ids, 1}, 8, bos), KE_OK);
    assert_int_equal(p.n_predicted, 1);
    log_probs(&b, NULL, &bos, 1, lp);
    assert_true(fabs(p.nll + lp[b.ids[0]]) < 1e-4);
    assert_int_equal(
        ke_perplexity_measure(b.cx, &p, b.model, NULL, (ke_ids){b.ids, 20}, 8, bos), KE_OK);
    assert_int_equal(p.n_tokens, 20);
    assert_int_equal(p.n_predicted, 20);
    end(&b);
}

static void perplexity_refuses_what_has_no_answer(void **state)
{
    (void)state;
    bench b;
    ke_perplexity p;
    begin(&b, 1);
    assert_int_equal(
        ke_perplexity_measure(b.cx, &p, b.model, NULL, (ke_ids){b.ids, 1}, 8, -1),
        KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(b.cx), "nothing to predict"));
    assert_int_equal(
        ke_perplexity_measure(b.cx, &p, b.model, NULL, (ke_ids){b.ids, 9}, 1, -1),
        KE_EINVAL);
    assert_int_equal(ke_perplexity_measure(b.cx, &p, b.model, NULL, (ke_ids){b.ids, 9},
                                           b.model->info.n_context + 1, -1),
                     KE_EINVAL);
    end(&b);
}

static void harm_is_its_definition(void **state)
{
    (void)state;
    bench b;
    ke_patch *patch = NULL;
    ke_stack *stack = NULL;
    ke__harm harm;
    size_t predicted;
    const ke__harm_opts opts = {TOKENS, CHUNK, false};
    begin(&b, 1);
    make_edit(&b, &patch, &stack);
    assert_int_equal(ke__harm_measure(b.cx, &harm, b.model, NULL, stack, &opts), KE_OK);
    double kl = mean_kl(&b, stack, TOKENS, CHUNK);
    assert_int_equal(harm.tokens, TOKENS);
    assert_true(kl > 1e-3);
    assert_true(fabs(harm.kl - kl) < 1e-4 * kl);
    double before = exp(mean_nll(&b, NULL, TOKENS, CHUNK, &predicted));
    double after = exp(mean_nll(&b, stack, TOKENS, CHUNK, &predicted));
    assert_true(fabs(harm.ppl_before / before - 1) < 1e-4);
    assert_true(fabs(harm.ppl_after / after - 1) < 1e-4);
    assert_true(fabs(after / before - 1) > 1e-3);

    assert_int_equal(ke__harm_measure(b.cx, &harm, b.model, stack, stack, &opts), KE_OK);
    assert_true(harm.kl == 0);
    assert_true(harm.ppl_before == harm.ppl_after);
    ke_stack_free(b.cx, stack);
    ke_patch_free(b.cx, patch);
    end(&b);
}

static void the_number_of_threads_changes_nothing(void **state)
{
    (void)state;
    ke__harm one = {0}, other;
    static const unsigned threads[] = {1, 2, 7};
    for (size_t i = 0; i < 3; i++) {
        bench b;
        ke_patch *patch = NULL;
        ke_stack *stack = NULL;
        begin(&b, threads[i]);
        make_edit(&b, &patch, &stack);
        assert_int_equal(ke__harm_measure(b.cx, &other, b.model, NULL, stack,
                                          &(ke__harm_opts){TOKENS, CHUNK, false}),
                         KE_OK);
        if (i == 0)
            one = other;
        assert_true(one.kl == other.kl && one.ppl_before == other.ppl_before &&
                    one.ppl_after == other.ppl_after);
        ke_stack_free(b.cx, stack);
        ke_patch_free(b.cx, patch);
        end(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_is_its_definition),
        cmocka_unit_test(bos_predicts_the_first_token),
        cmocka_unit_test(perplexity_refuses_what_has_no_answer),
        cmocka_unit_test(harm_is_its_definition),
        cmocka_unit_test(the_number_of_threads_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
