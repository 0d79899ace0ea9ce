/* Fine-tuning of down projections on a small random model: which loss, which tensors, how
 * far, and that it is undone by leaving it out. */
#include "edit/edit.h"
#include "support/close.h"
#include "support/oom.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#define N_WEIGHTS (32 * 64)

static ke_ctx *cx;
static ke_model *model;

static const ke_fact fact = {.subject = "cat", .prompt = "my cat is", .target = "xy"};

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s (%s)", ke_ctx_message(cx), ke_ctx_where(cx));
}

static int set_up(void **state)
{
    (void)state;
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 2});
    model = tiny_model_open(cx, &(tiny_spec){.type = "q8_0", .seed = 5});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ke_model_close(cx, model);
    ke_ctx_free(cx);
    return 0;
}

static ke_settings *settings(const char *method, const char *const *pairs)
{
    ke_settings *s = NULL;
    ok(ke_settings_new(cx, &s, method));
    ok(ke_settings_set(cx, s, "stop-loss", "0"));
    for (; *pairs; pairs += 2)
        ok(ke_settings_set(cx, s, pairs[0], pairs[1]));
    return s;
}
#define SETTINGS(method, ...) settings(method, (const char *const[]){__VA_ARGS__, NULL})

/* Logits after the fact's prompt. */
static void logits_after_prompt(float *out, const ke_stack *edits)
{
    int32_t *ids = NULL;
    size_t n = 0;
    ok(ke_tokenize(cx, &ids, &n, ke_model_tokenizer(model), fact.prompt,
                   strlen(fact.prompt), 0));
    ok(ke_logits(cx, out, model, edits, (ke_ids){ids, n}));
    ke_free(cx, ids);
}

/* Mean over " ", "x" and "y" of -log p: each after those before it, or all after the
 * prompt. */
static double loss_of(const ke_stack *edits, bool from_the_prompt)
{
    int32_t *ids = NULL, *target = NULL;
    size_t n = 0, n_target = 0;
    double sum = 0.0;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    ok(ke_tokenize(cx, &ids, &n, tok, "my cat is xy", 12, 0));
    ok(ke_tokenize(cx, &target, &n_target, tok, " xy", 3, 0));
    assert_int_equal(3, n_target);
    for (size_t i = 0; i < 3; i++) {
        ke_score score;
        ok(ke_score_targets(cx, &score, model, edits,
                            &(ke_ids){ids, n - 3 + (from_the_prompt ? 0 : i)},
                            &(ke_ids){target + i, 1}, 1));
        sum -= score.logprob / 3.0;
        ke_score_free(cx, &score);
    }
    ke_free(cx, ids);
    ke_free(cx, target);
    return sum;
}

/* --- what is trained ----------------------------------------------------------------- */

static void each_lowers_its_loss_in_its_own_layers(void **state)
{
    static const struct {
        const char *method, *layer;
        bool from_the_prompt;
        size_t n;
        const char *first; /* tensor */
    } rows[] = {{"ft", "all", false, 3, "blk.0.ffn_down.weight"},
                {"ft-l", "late", true, 1, "blk.2.ffn_down.weight"},
                {"ft-m", "auto", false, 1, "blk.0.ffn_down.weight"},
                {"ft-m", "1", false, 1, "blk.1.ffn_down.weight"}};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        ke_settings *s =
            SETTINGS(rows[i].method, "layer", rows[i].layer, "steps", "10", "lr", "1e-3");
        ke_patch *patch = NULL;
        ke_stack *stack = NULL;
        ke_edit_trace t;
        bool last = rows[i].from_the_prompt;
        float before[512], after[512];
        assert_true(model->info.n_vocab <= 512);
        ok(ke_stack_new(cx, &stack, model));
        logits_after_prompt(before, stack);
        ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &t));
        assert_int_equal(10, t.n_loss);
        assert_int_equal(rows[i].n, t.n_layers);
        assert_int_equal(rows[i].n, patch->n_parts);
        assert_string_equal(rows[i].first, patch->parts[0].tensor);
        for (size_t k = 0; k < patch->n_parts; k++) {
            assert_int_equal(KE__PART_DENSE, patch->parts[k].kind);
            assert_non_null(strstr(patch->parts[k].tensor, ".ffn_down.weight"));
        }
        assert_close(loss_of(NULL, last), t.loss[0], 1e-5);
        ok(ke_stack_push(cx, stack, patch));
        /* An update follows the last loss too. */
        assert_true(loss_of(stack, last) < t.loss[9] && t.loss[9] < t.loss[0]);
        ke_stack_pop(cx, stack);
        logits_after_prompt(after, stack);
        assert_memory_equal(before, after, model->info.n_vocab * sizeof(float));
        ke_edit_trace_free(cx, &t);
        ke_stack_free(cx, stack);
        ke_patch_free(cx, patch);
        ke_settings_free(cx, s);
    }
}

/* The change is what the file's weights lack to a trained matrix: more steps go on from
 * fewer, since the loss is read of the sum. */
static void losses_are_of_the_edited_model(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft", "steps", "4", "lr", "1e-3");
    ke_patch *four = NULL, *five = NULL;
    ke_stack *stack = NULL;
    ke_edit_trace t;
    ok(ke_edit(cx, &four, model, NULL, s, &fact, 1, 0, NULL));
    ok(ke_settings_set(cx, s, "steps", "5"));
    ok(ke_edit(cx, &five, model, NULL, s, &fact, 1, 0, &t));
    ok(ke_stack_new(cx, &stack, model));
    ok(ke_stack_push(cx, stack, four));
    assert_close(loss_of(stack, false), t.loss[4], 1e-5);
    ke_edit_trace_free(cx, &t);
    ke_stack_free(cx, stack);
    ke_patch_free(cx, four);
    ke_patch_free(cx, five);
    ke_settings_free(cx, s);
}

/* Three different tokens predicted at one place share its probability: the loss can't go
 * below ln 3. Below ln 4 no fourth token is as likely as they are. */
static void prompt_last_ends_above_the_logarithm(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft-l", "constraint", "none", "steps", "200", "lr", "1e-2");
    ke_patch *patch = NULL;
    ke_edit_trace t;
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &t));
    for (size_t i = 0; i < t.n_loss; i++)
        assert_true(t.loss[i] > log(3.0));
    assert_true(t.loss[t.n_loss - 1] < log(4.0));
    ke_edit_trace_free(cx, &t);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

static void training_ends_below_the_stop_loss(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft-m", "stop-loss", "0.5", "steps", "1000", "lr", "1e-2");
    ke_patch *patch = NULL;
    ke_edit_trace t;
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &t));
    assert_true(t.n_loss < 1000 && t.loss[t.n_loss - 1] < 0.5);
    assert_true(t.loss[t.n_loss - 2] >= 0.5);
    ke_edit_trace_free(cx, &t);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

/* --- how far ------------------------------------------------------------------------- */

/* Adam's first step is rate * g / (|g| + 1e-8): as long as the rate wherever there is a
 * gradient to speak of. */
static void the_first_step_is_as_long_as_the_rate(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft-m", "steps", "1", "lr", "0.25");
    ke_patch *patch = NULL;
    size_t whole = 0;
    double square = 0.0;
    ke_edit_trace t;
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &t));
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        double step = fabs((double)patch->parts[0].delta[i]);
        assert_true(step <= 0.25 * (1 + 1e-6));
        whole += step > 0.249;
        square += step * step;
    }
    assert_true(whole > N_WEIGHTS * 9 / 10);
    assert_close(sqrt(square), t.delta_norm, 1e-6);
    ke_edit_trace_free(cx, &t);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

/* No weight leaves its bound: ten steps that would go ten times as far end there. */
static void a_constraint_bounds_every_weight(void **state)
{
    (void)state;
    ke_settings *s =
        SETTINGS("ft-m", "steps", "10", "lr", "1e-3", "constraint", "0.0009765625");
    ke_patch *patch = NULL;
    size_t at_bound = 0;
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, NULL));
    for (size_t i = 0; i < N_WEIGHTS; i++) {
        assert_true(fabsf(patch->parts[0].delta[i]) <= 0x1p-10F);
        at_bound += fabsf(patch->parts[0].delta[i]) == 0x1p-10F;
    }
    assert_true(at_bound > N_WEIGHTS / 2);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

/* --- around it ----------------------------------------------------------------------- */

/* "all" is a layer that every row takes: FT-M of all layers is FT. */
static void rows_differ_in_their_settings_alone(void **state)
{
    (void)state;
    ke_settings *ft = SETTINGS("ft", "steps", "3", "lr", "5e-4");
    ke_settings *ft_l = SETTINGS("ft-l", "steps", "3", "layer", "all", "constraint", "none",
                                 "objective", "target_new");
    ke_patch *a = NULL, *b = NULL;
    ok(ke_edit(cx, &a, model, NULL, ft, &fact, 1, 0, NULL));
    ok(ke_edit(cx, &b, model, NULL, ft_l, &fact, 1, 0, NULL));
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(a->parts[i].delta, b->parts[i].delta,
                            N_WEIGHTS * sizeof(float));
    ke_patch_free(cx, a);
    ke_patch_free(cx, b);
    ke_settings_free(cx, ft);
    ke_settings_free(cx, ft_l);
}

static void facts_build_on_one_another(void **state)
{
    (void)state;
    const ke_fact facts[] = {fact, {.subject = "ox", .prompt = "an ox", .target = "er"}};
    ke_settings *s = SETTINGS("ft-m", "steps", "4");
    ke_patch *both = NULL, *one = NULL, *two = NULL;
    ke_stack *stack = NULL;
    ok(ke_edit(cx, &both, model, NULL, s, facts, 2, 0, NULL));
    ok(ke_edit(cx, &one, model, NULL, s, facts, 1, 0, NULL));
    ok(ke_stack_new(cx, &stack, model));
    ok(ke_stack_push(cx, stack, one));
    ok(ke_edit(cx, &two, model, stack, s, facts + 1, 1, 0, NULL));
    assert_int_equal(2, both->n_parts);
    assert_memory_equal(one->parts[0].delta, both->parts[0].delta,
                        N_WEIGHTS * sizeof(float));
    assert_memory_equal(two->parts[0].delta, both->parts[1].delta,
                        N_WEIGHTS * sizeof(float));
    ke_stack_free(cx, stack);
    ke_patch_free(cx, both);
    ke_patch_free(cx, one);
    ke_patch_free(cx, two);
    ke_settings_free(cx, s);
}

static void same_for_any_number_of_threads(void **state)
{
    (void)state;
    const unsigned threads[] = {1, 2, 7};
    ke_patch *patches[3] = {NULL};
    for (size_t i = 0; i < 3; i++) {
        ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = threads[i]});
        ke_settings *s = SETTINGS("ft", "steps", "4");
        assert_int_equal(KE_OK,
                         ke_edit(own, &patches[i], model, NULL, s, &fact, 1, 0, NULL));
        for (size_t k = 0; k < 3; k++)
            assert_memory_equal(patches[0]->parts[k].delta, patches[i]->parts[k].delta,
                                N_WEIGHTS * sizeof(float));
        ke_settings_free(cx, s);
        ke_ctx_free(own);
    }
    for (size_t i = 0; i < 3; i++)
        ke_patch_free(cx, patches[i]);
}

static void what_cannot_be_trained_is_refused(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft-m", "layer", "3"); /* of 0 to 2 */
    ke_patch *patch = NULL;
    ke_edit_trace t;
    assert_int_equal(KE_EINVAL, ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &t));
    assert_null(patch);
    assert_null(t.loss);
    ke_settings_free(cx, s);

    ke_model *bad = tiny_model_open(cx, &(tiny_spec){.seed = 5, .poison = NAN});
    s = SETTINGS("ft-m", "layer", "1");
    assert_int_equal(KE_ENUMERIC, ke_edit(cx, &patch, bad, NULL, s, &fact, 1, 0, &t));
    assert_null(patch);
    ke_settings_free(cx, s);
    ke_model_close(cx, bad);
}

static void the_plan_states_the_memory(void **state)
{
    static const char *const layers[] = {"1", "all"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        ke_settings *s = SETTINGS("ft-m", "layer", layers[i], "steps", "2");
        ke_edit_plan plan;
        ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
        ke_patch *patch = NULL;
        size_t n = i ? 3 : 1;
        assert_int_equal(KE_OK, ke_edit_plan_make(own, &plan, model, s, &fact, 1));
        assert_int_equal(n, plan.n_layers);
        assert_int_equal(i ? 0 : 1, plan.layers[0]);
        assert_true(plan.seconds > 0.0);
        assert_int_equal(n * N_WEIGHTS * sizeof(float), plan.patch_bytes);
        assert_int_equal(KE_OK, ke_edit(own, &patch, model, NULL, s, &fact, 1, 0, NULL));
        ke_patch_free(own, patch);
        assert_true(ke_ctx_peak_bytes(own) <= plan.peak_bytes);
        assert_true(5 * plan.patch_bytes < plan.peak_bytes);
        ke_ctx_free(own);
        ke_settings_free(cx, s);
    }
}

static ke_status edit_once(ke_ctx *own, void *payload)
{
    ke_patch *patch = NULL;
    ke_edit_trace trace;
    ke_status st = ke_edit(own, &patch, model, NULL, payload, &fact, 1, 0, &trace);
    ke_edit_trace_free(own, &trace);
    ke_patch_free(own, patch);
    return st;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("ft", "steps", "2");
    oom_each(edit_once, s);
    ke_settings_free(cx, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_lowers_its_loss_in_its_own_layers),
        cmocka_unit_test(losses_are_of_the_edited_model),
        cmocka_unit_test(prompt_last_ends_above_the_logarithm),
        cmocka_unit_test(training_ends_below_the_stop_loss),
        cmocka_unit_test(the_first_step_is_as_long_as_the_rate),
        cmocka_unit_test(a_constraint_bounds_every_weight),
        cmocka_unit_test(rows_differ_in_their_settings_alone),
        cmocka_unit_test(facts_build_on_one_another),
        cmocka_unit_test(same_for_any_number_of_threads),
        cmocka_unit_test(what_cannot_be_trained_is_refused),
        cmocka_unit_test(the_plan_states_the_memory),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
