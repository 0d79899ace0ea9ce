/* ROME's arithmetic against numbers worked by hand, the rows it is fed with, and its
 * properties on a small random model. */
#include "edit/keys.h"
#include "edit/rome.h"
#include "edit/value.h"
#include "linalg/linalg.h"
#include "support/close.h"
#include "support/oom.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *cx;
static ke_model *model;

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s (%s)", ke_ctx_message(cx), ke_ctx_where(cx));
}

static int set_up(void **state)
{
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 2});
    model = tiny_model_open(cx, &(tiny_spec){.seed = 5});
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke_model_close(cx, model);
    ke_ctx_free(cx);
    return scratch_remove(state);
}

/* --- the update ---------------------------------------------------------------------- */

/* W = [[1,0,.5],[0,1,-.5]], k = (1,2,1), v* = (3,0): W k = (1.5,1.5). */
static const float key[] = {1, 2, 1}, value[] = {3, 0}, output[] = {1.5F, 1.5F};
static const double moments[] = {2, 0.5, 1,
                                 0, 0,   0.5}; /* C = [[2,.5,0],[.5,1,0],[0,0,.5]] */

static void factor_of_moments(double factor[9])
{
    size_t pivot;
    memset(factor, 0, 9 * sizeof *factor);
    ke__unpack(factor, moments, 3);
    ok(ke__cholesky(cx, factor, 3, &pivot));
}

static ke_status update(float *r, float *u, double *agreement, const ke__rome_in *in)
{
    ke_status st = ke__rome_direction(cx, u, agreement, in);
    return st == KE_OK ? ke__rome_residual(cx, r, u, in) : st;
}

static void expect_update(const double want[2][3], const double *factor, const float *mean)
{
    float r[2], u[3];
    double agreement;
    ok(update(r, u, &agreement, &(ke__rome_in){2, 3, mean, key, value, output, factor}));
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++)
            assert_close(want[i][j], (double)r[i] * (double)u[j], 1e-6);
}

static void update_with_moments(void **state) /* T12 */
{
    (void)state;
    const double want[2][3] = {{0, 0.5, 0.5}, {0, -0.5, -0.5}};
    double factor[9];
    factor_of_moments(factor);
    expect_update(want, factor, key);
}

static void update_with_identity(void **state) /* T13 */
{
    (void)state;
    const double want[2][3] = {{0.25, 0.5, 0.25}, {-0.25, -0.5, -0.25}};
    expect_update(want, NULL, key);
}

/* Keys that have little in common: the denominator is .0925, the update 22.9 long. */
static void poor_agreement_is_told(void **state)
{
    (void)state;
    const float mean[] = {1, -0.4F, -0.1F};
    float r[2], u[3];
    double agreement;
    ok(update(r, u, &agreement, &(ke__rome_in){2, 3, mean, key, value, output, NULL}));
    assert_close(22.9, ke__norm2(r, 2) * ke__norm2(u, 3), 0.05);
    assert_close(0.1 / 1.17, agreement, 1e-6);
}

static void orthogonal_and_zero_keys_are_refused(void **state)
{
    (void)state;
    const float across[] = {2, -1, 0}, zero[] = {0, 0, 0};
    const float nan_key[] = {NAN, 0, 0};
    const float *means[] = {across, zero, nan_key};
    float r[2], u[3];
    double agreement;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(KE_ENUMERIC,
                         update(r, u, &agreement,
                                &(ke__rome_in){2, 3, means[i], key, value, output, NULL}));
}

/* tr(D C D^T) of D = r w^T / (w . k), |r| = 1. */
static double cost(const double w[3])
{
    double along = w[0] * 1 + w[1] * 2 + w[2] * 1;
    double square = 2 * w[0] * w[0] + w[1] * w[1] + 0.5 * w[2] * w[2] + w[0] * w[1];
    return square / (along * along);
}

/* Of all rank-one updates that give r at k, this one moves the keys of C least. */
static void no_competitor_is_cheaper(void **state)
{
    (void)state;
    float r[2], u[3];
    double factor[9], agreement;
    ke__rng rng = {1};
    factor_of_moments(factor);
    ok(update(r, u, &agreement, &(ke__rome_in){2, 3, key, key, value, output, factor}));
    assert_close(1.0, agreement, 1e-12);
    const double own[] = {(double)u[0], (double)u[1], (double)u[2]};
    for (int i = 0; i < 100; i++) {
        double w[3];
        for (size_t k = 0; k < 3; k++)
            w[k] = 2 * ke__rng_unit(&rng) - 1;
        assert_true(cost(w) >= cost(own) - 1e-7);
    }
}

static void layer_follows_the_depth(void **state)
{
    (void)state;
    /* SmolLM2, Llama 3.2 3B and Qwen2.5 7B, Llama 7B: 5, as in EasyEdit; the shallow too.
     */
    const uint32_t want[][2] = {{30, 5}, {28, 5}, {32, 5}, {24, 4},
                                {12, 2}, {3, 1},  {1, 0}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(want[i][1], ke__rome_layer(want[i][0]));
}

/* --- what bounds delta (T20) --------------------------------------------------------- */

static void clamp_and_decay(void **state)
{
    (void)state;
    float a[] = {3, 4}, b[] = {3, 4}, c[] = {3, 4};
    ke__delta_clamp(a, 2, 4.0);
    assert_close(2.4, (double)a[0], 1e-6);
    assert_close(3.2, (double)a[1], 1e-6);
    ke__delta_clamp(b, 2, 0.75);
    assert_close(0.45, (double)b[0], 1e-6);
    assert_close(0.6, (double)b[1], 1e-6);
    ke__delta_clamp(c, 2, 5.0); /* at the limit: as it was */
    assert_true(c[0] == 3.0F && c[1] == 4.0F);
    assert_close(2.0, ke__delta_decay(0.5, 4.0, 1.0), 1e-12);
    assert_close(0.5, ke__delta_decay(0.5, 4.0, 2.0), 1e-12); /* the square of |v0| */
}

/* --- rows ---------------------------------------------------------------------------- */

static void expect_lookup_in(const ke_chat *chat, uint32_t want, const char *context,
                             const char *prompt, const char *subject)
{
    ke__row row;
    ok(ke__row_make(cx, &row, ke_model_tokenizer(model), chat, context, prompt, subject));
    if (row.lookup != want)
        fail_msg("'%s' in '%s': token %u, expected %u", subject, prompt, row.lookup, want);
    ke__free(cx, row.ids);
}

static void expect_lookup(uint32_t want, const char *context, const char *prompt,
                          const char *subject)
{
    expect_lookup_in(NULL, want, context, prompt, subject);
}

/* The tokens are bytes, and "the", "th", "in", "er", "on", " a". */
static void lookup_is_the_subjects_last_token(void **state)
{
    (void)state;
    expect_lookup(2, "{}", "cat is", "cat");
    expect_lookup(5, "{}", "my cat is", "cat");    /* m y _ c a t */
    expect_lookup(8, "x. {}", "my cat is", "cat"); /* behind "x . _" */
    expect_lookup(2, "{} so", "cat", "cat");
    expect_lookup(7, "{}", "cat, cat, ox", "cat"); /* the last of two */
    expect_lookup(0, "{}", "the ox", "th");        /* merged with what follows */
    expect_lookup(4, "{}", "in there", "there");   /* in _ the r e */
    expect_lookup(2, "{}", "x\u00e9!", "x\u00e9"); /* two bytes, two tokens */
}

/* The layout stands around context and prompt. */
static void lookup_is_found_in_a_chat_message(void **state)
{
    (void)state;
    char head[] = "<u>", tail[] = "cat\n";
    ke_chat chat = {.family = "T", .head = head, .tail = tail};
    expect_lookup_in(&chat, 5, "{}", "cat is", "cat");      /* < u > c a t */
    expect_lookup_in(&chat, 9, "{}", " my cat ", "cat");    /* < u > _ m y _ c a t */
    expect_lookup_in(&chat, 12, "x. {}", " my cat", "cat"); /* < u > x . _ _ m y _ c a t */
    chat.trim = true;
    expect_lookup_in(&chat, 8, "{}", " my cat ", "cat"); /* < u > m y _ c a t */
    expect_lookup_in(&chat, 12, "x. {}", " my cat ", "cat");
    /* More white space than the head has bytes. */
    expect_lookup_in(&chat, 8, "{}", "\n\n\n\n\n\n\n\nmy cat ", "cat");
}

static void a_missing_subject_is_told(void **state)
{
    (void)state;
    ke__row row;
    assert_int_equal(KE_EINVAL, ke__row_make(cx, &row, ke_model_tokenizer(model), NULL,
                                             "{}", "my cat is", "dog"));
    assert_non_null(strstr(ke_ctx_message(cx), "dog"));
    assert_null(row.ids);
}

static void target_follows_one_space(void **state)
{
    (void)state;
    static const char *const targets[] = {"b", " b"}; /* one space is added, not two */
    for (size_t i = 0; i < 2; i++) {
        int32_t *ids = NULL, *want = NULL;
        size_t n, n_want, drop;
        const ke_fact of = {.subject = "cat", .prompt = "cat is"};
        ok(ke__target_ids(cx, &ids, &n, &drop, ke_model_tokenizer(model), &of, targets[i]));
        ok(ke_tokenize(cx, &want, &n_want, ke_model_tokenizer(model), " b", 2, 0));
        assert_int_equal(0, drop);
        assert_int_equal(n_want, n);
        assert_memory_equal(want, ids, n * sizeof *ids);
        ke__free(cx, ids);
        ke__free(cx, want);
    }
}

/* A blank begins an answer only where the layout says so, however the target is given. */
static void target_begins_a_chat_answer(void **state)
{
    (void)state;
    static const char *const targets[] = {"b", " b"};
    char head[] = "U: ", tail[] = "\nA:";
    for (size_t i = 0; i < 4; i++) {
        int32_t *ids = NULL, *want = NULL;
        size_t n, n_want, drop;
        const ke_chat chat = {.family = "T", .head = head, .tail = tail, .blank = i / 2};
        const ke_fact of = {.subject = "cat", .prompt = "cat is", .chat = &chat};
        const char *follows = chat.blank ? " b" : "b";
        ok(ke__target_ids(cx, &ids, &n, &drop, ke_model_tokenizer(model), &of,
                          targets[i % 2]));
        ok(ke_tokenize(cx, &want, &n_want, ke_model_tokenizer(model), follows,
                       strlen(follows), 0));
        assert_int_equal(0, drop);
        assert_int_equal(n_want, n);
        assert_memory_equal(want, ids, n * sizeof *ids);
        ke__free(cx, ids);
        ke__free(cx, want);
    }
}

/* "x " is two tokens, "x  a" (a space is put between) x, _ and "_a": nothing is dropped;
 * with the last token of the prompt merged away, rows lose it too. */
static void rows_are_lengthened(void **state)
{
    (void)state;
    ke__row row;
    const int32_t more[] = {7, 8};
    ok(ke__row_make(cx, &row, ke_model_tokenizer(model), NULL, "{}", "cat is", "cat"));
    assert_int_equal(6, row.n);
    ok(ke__row_extend(cx, &row, 1, more, 2));
    assert_int_equal(7, row.n);
    assert_memory_equal(more, row.ids + 5, sizeof more);
    assert_int_equal(KE_EINVAL,
                     ke__row_extend(cx, &row, 5, more, 1)); /* the subject itself */
    ke__free(cx, row.ids);
}

static void batches_depend_on_rows_alone(void **state)
{
    (void)state;
    const ke__row rows[] = {{NULL, 4, 3}, {NULL, 5, 1}, {NULL, 9, 8}, {NULL, 2, 0}};
    assert_int_equal(2, ke__rows_batch(rows, 0, 4, false, 10)); /* 4 + 5 */
    assert_int_equal(3, ke__rows_batch(rows, 2, 4, false, 5));  /* one, however long */
    assert_int_equal(4, ke__rows_batch(rows, 0, 4, true, 8));   /* 1 + 4 + 1 + 2 */
}

/* --- contexts ------------------------------------------------------------------------ */

static void contexts_follow_the_seed(void **state)
{
    (void)state;
    ke__contexts a, b, c;
    size_t same = 0;
    ok(ke__contexts_make(cx, &a, model, "easyedit", 1));
    ok(ke__contexts_make(cx, &b, model, "easyedit", 1));
    ok(ke__contexts_make(cx, &c, model, "easyedit", 2));
    assert_int_equal(KE__CONTEXTS_EASYEDIT, a.n);
    assert_string_equal("{}", a.items[0]);
    for (size_t i = 0; i < a.n; i++) {
        const char *hole = strchr(a.items[i], '{');
        assert_non_null(hole);
        assert_string_equal("{}", hole); /* the only brace, at the end */
        assert_string_equal(a.items[i], b.items[i]);
        same += strcmp(a.items[i], c.items[i]) == 0;
    }
    assert_true(same < a.n);
    ke__contexts_free(cx, &a);
    ke__contexts_free(cx, &b);
    ke__contexts_free(cx, &c);
}

static void contexts_come_from_files(void **state)
{
    static const struct {
        const char *text;
        size_t n; /* 0: refused */
    } cases[] = {
        {"[\"{}\", \"So. {}\"]", 2},
        {"{\"templates\": [\"{}\"], \"seconds\": 1.5}", 1},
        {"[]", 0},
        {"[\"no hole\"]", 0},
        {"[\"{} {}\"]", 0},
        {"[1]", 0},
        {"{\"templates\": 3}", 0},
        {"not JSON", 0},
        {"\"{}\"", 0},
        {"{}", 0},
    };
    const char *path = scratch_path(state, "contexts.json");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke__contexts c;
        scratch_write(path, cases[i].text, strlen(cases[i].text));
        ke_status st = ke__contexts_make(cx, &c, model, path, 0);
        if (st != (cases[i].n ? KE_OK : KE_EFORMAT) || c.n != cases[i].n)
            fail_msg("%s: %s, %zu templates", cases[i].text, ke_status_name(st), c.n);
        ke__contexts_free(cx, &c);
    }
}

/* --- one edit of a small model ------------------------------------------------------- */

static const ke_fact fact = {.subject = "cat", .prompt = "my cat is", .target = "in on"};

static ke_settings *settings_of(const char *method, const char *const *pairs)
{
    ke_settings *s = NULL;
    ok(ke_settings_new(cx, &s, method));
    ok(ke_settings_set(cx, s, "stop-loss", "0"));
    for (; *pairs; pairs += 2)
        ok(ke_settings_set(cx, s, pairs[0], pairs[1]));
    return s;
}
#define SETTINGS(...)   settings_of("rome", (const char *const[]){__VA_ARGS__, NULL})
#define R_SETTINGS(...) settings_of("r-rome", (const char *const[]){__VA_ARGS__, NULL})

/* The layer's output at the clean prompt's lookup, under `edits`. */
static void output_at_lookup(float *out, const ke_stack *edits, uint32_t layer)
{
    ke__row row;
    ke__pass *pass = NULL;
    float unused[64];
    ok(ke__row_make(cx, &row, ke_model_tokenizer(model), NULL, "{}", fact.prompt,
                    fact.subject));
    ok(ke__pass_new(cx, &pass, model, NULL));
    ok(ke__keys_collect(cx, pass, model, edits, layer, &row, 1, unused, out));
    ke__pass_free(cx, pass);
    ke__free(cx, row.ids);
}

/* |(W + dW) k - v*| <= 1e-5 |v*| for the clean key: the change of the output points along
 * r, and the new output is as long as v*. */
static void clean_key_gives_the_value(void **state)
{
    (void)state;
    static const char *const covs[] = {"none", "auto"};
    for (size_t c = 0; c < 2; c++) {
        ke_settings *s = SETTINGS("contexts", covs[c], "layer", "1", "steps", "12");
        ke_patch *patch = NULL;
        ke_stack *stack = NULL;
        ke_edit_trace trace;
        float before[32], after[32], change[32];
        double along = 0.0;
        ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 3, &trace));
        ok(ke_stack_new(cx, &stack, model));
        output_at_lookup(before, stack, 1);
        ok(ke_stack_push(cx, stack, patch));
        output_at_lookup(after, stack, 1);
        const ke__part *p = &patch->parts[0];
        assert_int_equal(1, patch->n_parts);
        assert_int_equal(1, p->rank);
        for (size_t i = 0; i < 32; i++) {
            change[i] = after[i] - before[i];
            along += (double)change[i] * (double)p->u[i];
        }
        assert_close(1.0, fabs(along) / (ke__norm2(change, 32) * ke__norm2(p->u, 32)),
                     1e-6);
        assert_close(1.0, ke__norm2(after, 32) / trace.value_norm, 1e-5);
        assert_close(1.0, ke__norm2(p->v, p->cols), 1e-6);
        assert_close(1.0, trace.delta_norm / ke__norm2(p->u, 32), 1e-6);
        assert_true(ke__norm2(change, 32) <= 4.0 * ke__norm2(before, 32) * (1 + 1e-5));
        assert_true(trace.loss[trace.n_loss - 1] < trace.loss[0]);
        assert_int_equal(12, trace.n_loss);
        ke_edit_trace_free(cx, &trace);
        ke_stack_free(cx, stack);
        ke_patch_free(cx, patch);
        ke_settings_free(cx, s);
    }
}

/* The layer's key and output behind a context, under `edits`. */
static void key_behind(float *own_key, float *out, const ke_stack *edits,
                       const char *context)
{
    ke__row row;
    ke__pass *pass = NULL;
    ok(ke__row_make(cx, &row, ke_model_tokenizer(model), NULL, context, fact.prompt,
                    fact.subject));
    ok(ke__pass_new(cx, &pass, model, NULL));
    ok(ke__keys_collect(cx, pass, model, edits, 1, &row, 1, own_key, out));
    ke__pass_free(cx, pass);
    ke__free(cx, row.ids);
}

/* R-ROME maps the mean of the contexts' keys: the mean of the outputs there becomes v*,
 * since the update is linear and its keys lie below it. */
static void r_rome_maps_the_mean_key(void **state)
{
    static const char text[] = "[\"{}\", \"So. {}\", \"on in {}\"]";
    static const char *const contexts[] = {"{}", "So. {}", "on in {}"};
    const char *path = scratch_path(state, "contexts.json");
    scratch_write(path, text, sizeof text - 1);
    ke_settings *s =
        R_SETTINGS("contexts", path, "layer", "1", "steps", "6", "min-agreement", "0");
    ke_patch *patch = NULL;
    ke_stack *stack = NULL;
    ke_edit_trace trace;
    float mean_key[64] = {0}, mean[32] = {0};
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 3, &trace));
    ok(ke_stack_new(cx, &stack, model));
    ok(ke_stack_push(cx, stack, patch));
    for (size_t c = 0; c < 3; c++) {
        float own_key[64], out[32];
        key_behind(own_key, out, stack, contexts[c]);
        for (size_t i = 0; i < 64; i++)
            mean_key[i] += own_key[i] / 3.0F;
        for (size_t i = 0; i < 32; i++)
            mean[i] += out[i] / 3.0F;
    }
    for (size_t i = 0; i < 64; i++)
        assert_close((double)mean_key[i] / ke__norm2(mean_key, 64),
                     (double)patch->parts[0].v[i], 1e-6);
    assert_close(1.0, ke__norm2(mean, 32) / trace.value_norm, 1e-5);
    ke_edit_trace_free(cx, &trace);
    ke_stack_free(cx, stack);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

/* Its variants: both keys as in ROME, which is ROME; the bare prompt's alone, whose
 * direction is that key. */
static void r_rome_has_variants(void **state)
{
    (void)state;
    ke_settings *rome = SETTINGS("contexts", "auto", "layer", "1", "steps", "3");
    ke_settings *original =
        R_SETTINGS("contexts", "auto", "layer", "1", "steps", "3", "keys", "original");
    ke_settings *prompt =
        R_SETTINGS("contexts", "auto", "layer", "1", "steps", "3", "keys", "prompt");
    ke_patch *a = NULL, *b = NULL, *c = NULL;
    float own_key[64], out[32];
    ok(ke_edit(cx, &a, model, NULL, rome, &fact, 1, 3, NULL));
    ok(ke_edit(cx, &b, model, NULL, original, &fact, 1, 3, NULL));
    ok(ke_edit(cx, &c, model, NULL, prompt, &fact, 1, 3, NULL));
    assert_memory_equal(a->parts[0].u, b->parts[0].u, 32 * sizeof(float));
    assert_memory_equal(a->parts[0].v, b->parts[0].v, 64 * sizeof(float));
    key_behind(own_key, out, NULL, "{}");
    for (size_t i = 0; i < 64; i++)
        assert_close((double)own_key[i] / ke__norm2(own_key, 64), (double)c->parts[0].v[i],
                     1e-6);
    ke_patch_free(cx, a);
    ke_patch_free(cx, b);
    ke_patch_free(cx, c);
    ke_settings_free(cx, rome);
    ke_settings_free(cx, original);
    ke_settings_free(cx, prompt);
}

/* Fitted as the edit acts, the loss that the descent saw last is the edited model's. */
static void a_fitted_edit_has_its_own_loss(void **state)
{
    (void)state;
    static const char *const methods[] = {"rome", "r-rome"};
    for (size_t m = 0; m < 2; m++) {
        ke_settings *s = settings_of(
            methods[m], (const char *const[]){"contexts", "auto", "layer", "1", "steps",
                                              "6", "fit", "edit", "min-agreement", "0",
                                              "decay", "0", "kl", "0", NULL});
        ke_patch *patch = NULL, *more = NULL;
        ke_stack *stack = NULL;
        ke_edit_trace first, again;
        ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 3, &first));
        ok(ke_stack_new(cx, &stack, model));
        ok(ke_stack_push(cx, stack, patch));
        ok(ke_settings_set(cx, s, "steps", "1"));
        ok(ke_edit(cx, &more, model, stack, s, &fact, 1, 3, &again));
        assert_close(first.loss[first.n_loss - 1], again.loss[0], 1e-4);
        ke_edit_trace_free(cx, &first);
        ke_edit_trace_free(cx, &again);
        ke_stack_free(cx, stack);
        ke_patch_free(cx, patch);
        ke_patch_free(cx, more);
        ke_settings_free(cx, s);
    }
}

/* Where the key behind the contexts is not the bare prompt's, the contexts are left out,
 * and the trace says so; asked for with a threshold that no pair of keys reaches. */
static void disagreeing_contexts_are_left_out(void **state)
{
    (void)state;
    ke_settings *with = SETTINGS("contexts", "auto", "steps", "3", "min-agreement", "100");
    ke_settings *without = SETTINGS("contexts", "none", "steps", "3");
    ke_patch *a = NULL, *b = NULL;
    ke_edit_trace trace;
    ok(ke_edit(cx, &a, model, NULL, with, &fact, 1, 3, &trace));
    ok(ke_edit(cx, &b, model, NULL, without, &fact, 1, 3, NULL));
    assert_non_null(strstr(trace.note, "left out"));
    assert_memory_equal(b->parts[0].u, a->parts[0].u, 32 * sizeof(float));
    assert_memory_equal(b->parts[0].v, a->parts[0].v, 64 * sizeof(float));
    ke_edit_trace_free(cx, &trace);
    ke_patch_free(cx, a);
    ke_patch_free(cx, b);
    ke_settings_free(cx, with);
    ke_settings_free(cx, without);
}

/* With delta = 0 there is no KL and no decay: the loss is the plain one. A loss below the
 * stop ends it there, and nothing changes. */
static void first_loss_is_the_plain_one(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("contexts", "none", "layer", "1", "stop-loss", "100");
    ke_patch *patch = NULL;
    ke_edit_trace trace;
    ke_score score;
    int32_t *prompt = NULL, *target = NULL;
    size_t n, n_target;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 3, &trace));
    ok(ke_tokenize(cx, &prompt, &n, tok, fact.prompt, strlen(fact.prompt), 0));
    ok(ke_tokenize(cx, &target, &n_target, tok, " in on", 6, 0));
    ok(ke_score_targets(cx, &score, model, NULL, &(ke_ids){prompt, n},
                        &(ke_ids){target, n_target}, 1));
    assert_int_equal(1, trace.n_loss);
    assert_close(-score.logprob / (double)n_target, trace.loss[0], 1e-5);
    assert_close(0.0, trace.delta_norm, 0.0);
    ke_score_free(cx, &score);
    ke__free(cx, prompt);
    ke__free(cx, target);
    ke_edit_trace_free(cx, &trace);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, s);
}

/* Several facts are edited one after another: as two calls, the second over the first. */
static void facts_build_on_one_another(void **state)
{
    (void)state;
    const ke_fact facts[] = {fact, {.subject = "ox", .prompt = "an ox", .target = "er"}};
    ke_settings *s = SETTINGS("contexts", "auto", "steps", "4");
    ke_patch *both = NULL, *one = NULL, *two = NULL;
    ke_stack *stack = NULL;
    ok(ke_edit(cx, &both, model, NULL, s, facts, 2, 3, NULL));
    ok(ke_edit(cx, &one, model, NULL, s, facts, 1, 3, NULL));
    ok(ke_stack_new(cx, &stack, model));
    ok(ke_stack_push(cx, stack, one));
    ok(ke_edit(cx, &two, model, stack, s, facts + 1, 1, 3, NULL));
    assert_int_equal(2, both->n_parts);
    assert_memory_equal(one->parts[0].u, both->parts[0].u, 32 * sizeof(float));
    assert_memory_equal(two->parts[0].u, both->parts[1].u, 32 * sizeof(float));
    assert_memory_equal(two->parts[0].v, both->parts[1].v, 64 * sizeof(float));
    ke_stack_free(cx, stack);
    ke_patch_free(cx, both);
    ke_patch_free(cx, one);
    ke_patch_free(cx, two);
    ke_settings_free(cx, s);
}

/* What an editor has made ready serves every edit, and leaves nothing of the one before. */
static void an_editor_is_as_good_as_new(void **state)
{
    (void)state;
    const ke_fact other = {.subject = "ox", .prompt = "an ox", .target = "er"};
    ke_settings *s = SETTINGS("contexts", "auto", "steps", "4");
    ke_editor *editor = NULL;
    ok(ke_editor_new(cx, &editor, model, s, 3));
    for (int i = 0; i < 3; i++) {
        const ke_fact *one = i == 1 ? &other : &fact;
        ke_patch *fresh = NULL, *kept = NULL;
        ok(ke_edit(cx, &fresh, model, NULL, s, one, 1, 3, NULL));
        ok(ke_editor_edit(cx, editor, &kept, NULL, one, 1, NULL));
        assert_string_equal(ke_patch_describe(fresh), ke_patch_describe(kept));
        assert_memory_equal(fresh->parts[0].u, kept->parts[0].u, 32 * sizeof(float));
        assert_memory_equal(fresh->parts[0].v, kept->parts[0].v, 64 * sizeof(float));
        ke_patch_free(cx, fresh);
        ke_patch_free(cx, kept);
    }
    ke_editor_free(cx, editor);
    ke_settings_free(cx, s);
}

static void same_for_any_number_of_threads(void **state)
{
    (void)state;
    const unsigned threads[] = {1, 2, 7};
    float u[3][32], v[3][64];
    for (size_t i = 0; i < 3; i++) {
        ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = threads[i]});
        ke_settings *s = SETTINGS("contexts", "auto", "steps", "6");
        ke_patch *patch = NULL;
        assert_int_equal(KE_OK, ke_edit(own, &patch, model, NULL, s, &fact, 1, 3, NULL));
        memcpy(u[i], patch->parts[0].u, sizeof u[i]);
        memcpy(v[i], patch->parts[0].v, sizeof v[i]);
        assert_memory_equal(u[0], u[i], sizeof u[0]);
        assert_memory_equal(v[0], v[i], sizeof v[0]);
        ke_patch_free(own, patch);
        ke_settings_free(cx, s);
        ke_ctx_free(own);
    }
}

static void what_cannot_be_edited_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        ke_status st;
    } cases[] = {{"layer", "3", KE_EINVAL}, /* of 0 to 2 */
                 {"contexts", "/no/such/file", KE_EIO},
                 {"cov", "/no/such/file", KE_EIO}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke_settings *s = SETTINGS(cases[i].name, cases[i].value);
        ke_patch *patch = NULL;
        ke_edit_trace trace;
        assert_int_equal(cases[i].st,
                         ke_edit(cx, &patch, model, NULL, s, &fact, 1, 3, &trace));
        assert_null(patch);
        assert_null(trace.loss);
        ke_settings_free(cx, s);
    }
}

static void not_a_number_is_told(void **state)
{
    (void)state;
    ke_model *bad = tiny_model_open(cx, &(tiny_spec){.seed = 5, .poison = NAN});
    ke_settings *s = SETTINGS("contexts", "none", "layer", "1");
    ke_patch *patch = NULL;
    assert_int_equal(KE_ENUMERIC, ke_edit(cx, &patch, bad, NULL, s, &fact, 1, 3, NULL));
    assert_null(patch);
    ke_settings_free(cx, s);
    ke_model_close(cx, bad);
}

static void plan_says_what_it_takes(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("contexts", "none", "layer", "1");
    ke_edit_plan plan;
    ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke_patch *patch = NULL;
    assert_int_equal(KE_OK, ke_edit_plan_make(own, &plan, model, s, &fact, 1));
    assert_int_equal(1, plan.n_layers);
    assert_int_equal(1, plan.layers[0]);
    assert_int_equal(0, plan.stats_tokens);
    assert_true(plan.seconds > 0.0);
    assert_non_null(strstr(plan.text, "layer 1 of 3"));
    assert_int_equal(KE_OK, ke_edit(own, &patch, model, NULL, s, &fact, 1, 0, NULL));
    ke_patch_free(own, patch);
    ke_ctx_free(own);
    ke_settings_free(cx, s);
}

static ke_status edit_once(ke_ctx *own, void *payload)
{
    ke_patch *patch = NULL;
    ke_edit_trace trace;
    ke_status st = ke_edit(own, &patch, model, NULL, payload, &fact, 1, 3, &trace);
    ke_edit_trace_free(own, &trace);
    ke_patch_free(own, patch);
    return st;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    ke_settings *s = SETTINGS("contexts", "none", "steps", "2");
    oom_each(edit_once, s);
    ke_settings_free(cx, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_with_moments),
        cmocka_unit_test(update_with_identity),
        cmocka_unit_test(poor_agreement_is_told),
        cmocka_unit_test(orthogonal_and_zero_keys_are_refused),
        cmocka_unit_test(no_competitor_is_cheaper),
        cmocka_unit_test(layer_follows_the_depth),
        cmocka_unit_test(clamp_and_decay),
        cmocka_unit_test(lookup_is_the_subjects_last_token),
        cmocka_unit_test(lookup_is_found_in_a_chat_message),
        cmocka_unit_test(a_missing_subject_is_told),
        cmocka_unit_test(target_begins_a_chat_answer),
        cmocka_unit_test(target_follows_one_space),
        cmocka_unit_test(rows_are_lengthened),
        cmocka_unit_test(batches_depend_on_rows_alone),
        cmocka_unit_test(contexts_follow_the_seed),
        cmocka_unit_test(contexts_come_from_files),
        cmocka_unit_test(clean_key_gives_the_value),
        cmocka_unit_test(r_rome_maps_the_mean_key),
        cmocka_unit_test(r_rome_has_variants),
        cmocka_unit_test(a_fitted_edit_has_its_own_loss),
        cmocka_unit_test(disagreeing_contexts_are_left_out),
        cmocka_unit_test(first_loss_is_the_plain_one),
        cmocka_unit_test(facts_build_on_one_another),
        cmocka_unit_test(an_editor_is_as_good_as_new),
        cmocka_unit_test(same_for_any_number_of_threads),
        cmocka_unit_test(what_cannot_be_edited_is_refused),
        cmocka_unit_test(not_a_number_is_told),
        cmocka_unit_test(plan_says_what_it_takes),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
