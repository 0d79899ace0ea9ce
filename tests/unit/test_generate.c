/* Generation and scoring against what repeated calls of ke_logits() say. */
#include "knowedit/patch.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { V = 263 };
static ke_ctx *cx;
static ke_model *model;

static int set_up(void **state)
{
    (void)state;
    cx = ke_ctx_new(NULL);
    model = tiny_model_open(cx, &(tiny_spec){.seed = 21, .untied = true});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ke_model_close(cx, model);
    ke_ctx_free(cx);
    return 0;
}

static void check(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

static int32_t argmax(const float *x)
{
    int32_t best = 0;
    for (int32_t i = 1; i < V; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

static double log_prob(const float *x, int32_t id)
{
    double sum = 0;
    for (size_t i = 0; i < V; i++)
        sum += exp((double)x[i]);
    return (double)x[id] - log(sum);
}

static void greedy_is_the_argmax_of_each_step(void **state)
{
    (void)state;
    int32_t ids[16] = {84, 104, 101, 32};
    float logits[V];
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated g;
    const ke_ids prompt = {ids, 4};
    opts.max_tokens = 8;
    opts.ignore_end = true;
    check(ke_generate(cx, &g, model, NULL, &prompt, 1, &opts));
    assert_int_equal(g.n, 8);
    for (size_t i = 0; i < g.n; i++) {
        check(ke_logits(cx, logits, model, NULL, (ke_ids){ids, 4 + i}));
        assert_int_equal(g.ids[i], argmax(logits));
        assert_float_equal(g.logprobs[i], log_prob(logits, g.ids[i]), 1e-4);
        ids[4 + i] = g.ids[i];
    }
    ke_generated_free(cx, &g);
}

static void prompts_side_by_side_are_each_alone(void **state)
{
    (void)state;
    static const int32_t a[] = {65, 66, 67}, b[] = {97, 98, 99, 100, 101, 102};
    const ke_ids prompts[2] = {{a, 3}, {b, 6}};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated both[2], alone;
    opts.max_tokens = 12;
    check(ke_generate(cx, both, model, NULL, prompts, 2, &opts));
    for (size_t i = 0; i < 2; i++) {
        check(ke_generate(cx, &alone, model, NULL, &prompts[i], 1, &opts));
        assert_int_equal(alone.n, both[i].n);
        assert_memory_equal(alone.ids, both[i].ids, alone.n * sizeof *alone.ids);
        assert_string_equal(alone.text, both[i].text);
        ke_generated_free(cx, &alone);
        ke_generated_free(cx, &both[i]);
    }
}

static void a_seed_repeats_and_top_k_1_is_greedy(void **state)
{
    (void)state;
    static const int32_t a[] = {65, 66, 67};
    const ke_ids prompt = {a, 3};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated greedy, first, second, other;
    opts.max_tokens = 16;
    opts.ignore_end = true;
    check(ke_generate(cx, &greedy, model, NULL, &prompt, 1, &opts));
    opts.temperature = 1.5F;
    opts.seed = 5;
    check(ke_generate(cx, &first, model, NULL, &prompt, 1, &opts));
    check(ke_generate(cx, &second, model, NULL, &prompt, 1, &opts));
    opts.seed = 6;
    check(ke_generate(cx, &other, model, NULL, &prompt, 1, &opts));
    assert_memory_equal(first.ids, second.ids, 16 * sizeof(int32_t));
    assert_memory_not_equal(first.ids, other.ids, 16 * sizeof(int32_t));
    assert_memory_not_equal(first.ids, greedy.ids, 16 * sizeof(int32_t));
    ke_generated_free(cx, &first);
    opts.top_k = 1;
    check(ke_generate(cx, &first, model, NULL, &prompt, 1, &opts));
    assert_memory_equal(first.ids, greedy.ids, 16 * sizeof(int32_t));
    ke_generated_free(cx, &first);
    opts.top_k = 0;
    opts.min_p = 1.0F; /* only what is as probable as the best */
    check(ke_generate(cx, &first, model, NULL, &prompt, 1, &opts));
    assert_memory_equal(first.ids, greedy.ids, 16 * sizeof(int32_t));
    ke_generated_free(cx, &first);
    opts.min_p = 0.0F;
    opts.top_p = 0.0F; /* the nucleus is the best alone */
    check(ke_generate(cx, &first, model, NULL, &prompt, 1, &opts));
    assert_memory_equal(first.ids, greedy.ids, 16 * sizeof(int32_t));
    ke_generated_free(cx, &first);
    ke_generated_free(cx, &second);
    ke_generated_free(cx, &other);
    ke_generated_free(cx, &greedy);
}

static void a_stop_string_ends_the_text_before_it(void **state)
{
    (void)state;
    static const int32_t a[] = {65, 66, 67};
    const ke_ids prompt = {a, 3};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated g, cut;
    opts.max_tokens = 16;
    opts.ignore_end = true;
    check(ke_generate(cx, &g, model, NULL, &prompt, 1, &opts));
    size_t n = strlen(g.text);
    assert_true(n > 8);
    char mark[4] = {g.text[5], g.text[6], g.text[7], '\0'};
    const char *const stop[] = {mark, NULL};
    opts.stop = stop;
    check(ke_generate(cx, &cut, model, NULL, &prompt, 1, &opts));
    assert_null(strstr(cut.text, mark));
    assert_true(strlen(cut.text) <= 5);
    assert_memory_equal(cut.text, g.text, strlen(cut.text));
    ke_generated_free(cx, &g);
    ke_generated_free(cx, &cut);
}

static void scores_are_log_probabilities_of_each_step(void **state)
{
    (void)state;
    static const int32_t all[] = {65, 66, 67, 97, 98, 99};
    const ke_ids prompts[2] = {{all, 3}, {all, 5}},
                 targets[2] = {{all + 3, 3}, {all + 5, 1}};
    ke_score s[2];
    float logits[V];
    check(ke_score_targets(cx, s, model, NULL, prompts, targets, 2));
    assert_int_equal(s[0].n, 3);
    double sum = 0;
    for (size_t i = 0; i < 3; i++) {
        check(ke_logits(cx, logits, model, NULL, (ke_ids){all, 3 + i}));
        double want = log_prob(logits, all[3 + i]);
        uint32_t rank = 1;
        float next = -INFINITY;
        for (int32_t k = 0; k < V; k++) {
            rank += logits[k] > logits[all[3 + i]];
            next = k != all[3 + i] ? fmaxf(next, logits[k]) : next;
        }
        assert_float_equal(s[0].logprobs[i], want, 1e-4);
        assert_int_equal(s[0].best[i], argmax(logits));
        assert_float_equal(s[0].margin[i], logits[all[3 + i]] - next, 1e-4);
        if (i == 0)
            assert_int_equal(s[0].rank, rank);
        sum += want;
    }
    assert_float_equal(s[0].logprob, sum, 1e-4);
    assert_float_equal(s[1].logprobs[0], s[0].logprobs[2], 1e-4);
    ke_score_free(cx, &s[0]);
    ke_score_free(cx, &s[1]);
}

/* Pairs with common prefixes, one inside another and one twice, score as each alone. */
static void shared_prefixes_change_no_score(void **state)
{
    (void)state;
    static const int32_t a[] = {65, 66, 67, 97, 98, 99, 100},
                         b[] = {65, 66, 67, 97, 50, 51};
    const ke_ids prompts[5] = {{a, 5}, {b, 4}, {a, 2}, {a, 5}, {b + 4, 1}};
    const ke_ids targets[5] = {{a + 5, 2}, {b + 4, 2}, {a + 2, 2}, {a + 5, 2}, {b, 3}};
    ke_score together[5], alone;
    check(ke_score_targets(cx, together, model, NULL, prompts, targets, 5));
    for (size_t i = 0; i < 5; i++) {
        check(ke_score_targets(cx, &alone, model, NULL, &prompts[i], &targets[i], 1));
        assert_int_equal(alone.n, together[i].n);
        assert_int_equal(alone.rank, together[i].rank);
        for (size_t k = 0; k < alone.n; k++) {
            assert_float_equal(alone.logprobs[k], together[i].logprobs[k], 1e-4);
            assert_int_equal(alone.best[k], together[i].best[k]);
        }
        ke_score_free(cx, &alone);
        ke_score_free(cx, &together[i]);
    }
}

static void empty_and_overlong_prompts_are_refused(void **state)
{
    (void)state;
    static const int32_t many[200] = {0};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated g;
    ke_score s;
    const ke_ids none = {many, 0}, one = {many, 1}, lots = {many, 200};
    assert_int_equal(ke_generate(cx, &g, model, NULL, &none, 1, &opts), KE_EINVAL);
    assert_int_equal(ke_generate(cx, &g, model, NULL, &lots, 1, &opts), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "128"));
    assert_int_equal(ke_score_targets(cx, &s, model, NULL, &one, &none, 1), KE_EINVAL);
    opts.max_tokens = 500; /* ends where the context does */
    opts.ignore_end = true;
    check(ke_generate(cx, &g, model, NULL, &one, 1, &opts));
    assert_int_equal(g.n, 128);
    ke_generated_free(cx, &g);
}

/* Each prompt ends at its own number of tokens, and says what it says alone. */
static void each_prompt_has_its_own_end(void **state)
{
    (void)state;
    static const int32_t ids[] = {84, 104, 101, 32};
    static const size_t each[] = {5, 0, 2}, too_many[] = {5, 0, 6};
    const ke_ids prompts[3] = {{ids, 4}, {ids, 2}, {ids + 1, 3}};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated g[3], alone;
    opts.max_tokens = 5;
    opts.ignore_end = true;
    opts.max_each = each;
    check(ke_generate(cx, g, model, NULL, prompts, 3, &opts));
    for (size_t i = 0; i < 3; i++) {
        opts.max_each = NULL;
        opts.max_tokens = each[i];
        check(ke_generate(cx, &alone, model, NULL, &prompts[i], 1, &opts));
        assert_int_equal(g[i].n, each[i]);
        assert_memory_equal(g[i].ids, alone.ids, each[i] * sizeof *alone.ids);
        assert_string_equal(g[i].text, alone.text);
        ke_generated_free(cx, &alone);
        ke_generated_free(cx, &g[i]);
    }
    opts.max_tokens = 5;
    opts.max_each = too_many;
    assert_int_equal(ke_generate(cx, g, model, NULL, prompts, 3, &opts), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "6 new tokens of prompt 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_the_argmax_of_each_step),
        cmocka_unit_test(prompts_side_by_side_are_each_alone),
        cmocka_unit_test(a_seed_repeats_and_top_k_1_is_greedy),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(scores_are_log_probabilities_of_each_step),
        cmocka_unit_test(shared_prefixes_change_no_score),
        cmocka_unit_test(each_prompt_has_its_own_end),
        cmocka_unit_test(empty_and_overlong_prompts_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
