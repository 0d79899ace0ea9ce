/* The loss of the value descent against differences, in double on small random models: its
 * rows, its KL term and its decay, with and without edits below, in one batch and in
 * several, with delta at the subject alone and as the update gives it to all tokens. */
#include "edit/value.h"
#include "kernels/families.h"
#include "support/close.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { D = 32, F = 64, MAX_ROWS = 60, DIRECTIONS = 10 };

struct setup {
    const char *arch;
    size_t n_rows;
    bool edited; /* random patch below */
    bool whole;  /* delta as the update gives it to all tokens */
    double kl;
    const float *r; /* [D] an edit to push, r u^T; or NULL */
};

struct rig {
    ke_ctx *cx;
    ke_model *model;
    ke_stack *edits;
    ke_patch *patch;
    ke__row *rows; /* [n] then the KL row */
    size_t n;
    int32_t *target;
    size_t n_target;
    float u[F], key[F];
    ke__pass *pass;
    ke__value *value;
};

static void ok(const struct rig *r, ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s (%s)", ke_ctx_message(r->cx), ke_ctx_where(r->cx));
}

static void add_rows(struct rig *r, size_t n)
{
    const ke_tokenizer *tok = ke_model_tokenizer(r->model);
    size_t drop;
    r->n = n;
    ok(r, ke__alloc(r->cx, &r->rows, n + 1, sizeof *r->rows));
    ok(r, ke__target_ids(r->cx, &r->target, &r->n_target, &drop, tok,
                         &(const ke_fact){.prompt = "my cat is"}, "in on"));
    for (size_t i = 0; i < n; i++) {
        static const char *const contexts[] = {"{}", "The. {}", "then on. {}"};
        ok(r, ke__row_make(r->cx, &r->rows[i], tok, NULL, contexts[i % 3], "my cat is",
                           "cat"));
        ok(r, ke__row_extend(r->cx, &r->rows[i], drop, r->target, r->n_target - 1));
    }
    ok(r, ke__row_make(r->cx, &r->rows[n], tok, NULL, "{}", "cat is a", "cat"));
}

static void draw(float *x, size_t n, uint64_t seed)
{
    ke__rng rng = {seed};
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(ke__rng_unit(&rng) - 0.5);
}

/* A rank-one change of the matrix that is edited next. */
static void add_edit(struct rig *r, const float *left, const float *right)
{
    ok(r, ke__patch_new(r->cx, &r->patch));
    ok(r, ke__patch_add_lowrank(r->cx, r->patch, "blk.1.ffn_down.weight", D, F, 1, 1.0F,
                                left, right));
    ok(r, ke_stack_new(r->cx, &r->edits, r->model));
    ok(r, ke_stack_push(r->cx, r->edits, r->patch));
}

static struct rig rig_new(const struct setup *s)
{
    struct rig r = {.cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1})};
    r.model = tiny_model_open(r.cx, &(tiny_spec){.arch = s->arch, .seed = 7});
    add_rows(&r, s->n_rows);
    draw(r.u, F, 12);
    draw(r.key, F, 13);
    if (s->edited) {
        float left[D], right[F];
        draw(left, D, 11);
        draw(right, F, 14);
        add_edit(&r, left, right);
    } else if (s->r) {
        add_edit(&r, s->r, r.u);
    }
    ok(&r, ke__pass_new(r.cx, &r.pass, r.model, &ke__ops_ref64));
    ok(&r, ke__value_new(r.cx, &r.value, r.pass,
                         &(ke__value_in){.model = r.model,
                                         .edits = r.edits,
                                         .layer = 1,
                                         .site = KE__MLP_OUT,
                                         .rows = r.rows,
                                         .n_rows = r.n,
                                         .target = r.target,
                                         .n_target = r.n_target,
                                         .kl_row = s->kl > 0.0 ? &r.rows[r.n] : NULL,
                                         .u = s->whole ? r.u : NULL,
                                         .key = r.key,
                                         .kl = s->kl,
                                         .decay = s->r ? 0.0 : 0.05}));
    return r;
}

static void rig_free(struct rig *r)
{
    ke__value_free(r->cx, r->value);
    ke__pass_free(r->cx, r->pass);
    ke_stack_free(r->cx, r->edits);
    ke_patch_free(r->cx, r->patch);
    ke__rows_free(r->cx, r->rows, r->n + 1);
    ke__free(r->cx, r->target);
    ke_model_close(r->cx, r->model);
    ke_ctx_free(r->cx);
}

static double loss_at(struct rig *r, const float *delta, const float *direction,
                      double step)
{
    float moved[D];
    double loss;
    for (size_t i = 0; i < D; i++)
        moved[i] = delta[i] + (float)step * direction[i];
    ok(r, ke__value_loss(r->cx, r->value, moved, &loss, NULL));
    return loss;
}

/* Delta, directions and steps are multiples of 2^-12 below 2: moved deltas are exact in
 * f32, so that differences see no rounding but double's. The four-point difference is off
 * by h^4 f5 / 30; the gradient comes back in f32. Scaled deltas are rounded to f32, by up
 * to 2^-24 of what is differenced over h. */
static void check(const struct setup *s)
{
    const double h = 0x1p-6, allowed = s->whole ? 0x1p-24 / h : 2e-7;
    struct rig r = rig_new(s);
    ke__rng rng = {3};
    float delta[D], direction[D], gradient[D];
    double loss, norm;
    for (size_t i = 0; i < D; i++)
        delta[i] = (float)(ke__rng_next(&rng) % 1024) / 1024.0F - 0.5F;
    ok(&r, ke__value_loss(r.cx, r.value, delta, &loss, gradient));
    norm = ke__norm2(gradient, D);
    assert_true(norm > 1e-3);
    for (int k = 0; k < DIRECTIONS; k++) {
        double along = 0.0;
        for (size_t i = 0; i < D; i++) {
            direction[i] = (float)(ke__rng_next(&rng) % 33) / 32.0F - 0.5F;
            along += (double)direction[i] * (double)gradient[i];
        }
        double near = loss_at(&r, delta, direction, h) - loss_at(&r, delta, direction, -h);
        double far =
            loss_at(&r, delta, direction, 2 * h) - loss_at(&r, delta, direction, -2 * h);
        double slope = (8.0 * near - far) / (12.0 * h);
        assert_close(slope, along, allowed * norm * ke__norm2(direction, D));
    }
    rig_free(&r);
}

static void plain(void **state)
{
    (void)state;
    check(&(struct setup){"llama", 1});
}

static void with_divergence(void **state)
{
    (void)state;
    check(&(struct setup){"llama", 3, .kl = 0.5});
    check(&(struct setup){"qwen2", 3, .kl = 0.5});
}

static void over_edits(void **state)
{
    (void)state;
    check(&(struct setup){"llama", 3, .edited = true, .kl = 0.5});
}

static void in_several_batches(void **state)
{
    (void)state;
    check(&(struct setup){"llama", MAX_ROWS, .kl = 0.5});
}

/* Rows three times over, in several batches: the same mean. */
static void batches_add_up(void **state)
{
    (void)state;
    struct rig few = rig_new(&(struct setup){"llama", 3, .kl = 0.5}),
               many = rig_new(&(struct setup){"llama", MAX_ROWS, .kl = 0.5});
    float delta[D], a[D], b[D];
    double loss_a, loss_b;
    assert_true(ke__rows_batch(many.rows, 0, MAX_ROWS, true, KE__KEEP_TOKENS) < MAX_ROWS);
    for (size_t i = 0; i < D; i++)
        delta[i] = (float)(i % 5) / 8.0F - 0.25F;
    ok(&few, ke__value_loss(few.cx, few.value, delta, &loss_a, a));
    ok(&many, ke__value_loss(many.cx, many.value, delta, &loss_b, b));
    assert_close(loss_a, loss_b, 1e-6); /* weights of rows are f32 */
    for (size_t i = 0; i < D; i++)
        assert_close((double)a[i], (double)b[i], 1e-6);
    rig_free(&few);
    rig_free(&many);
}

static void of_the_whole_edit(void **state)
{
    (void)state;
    check(&(struct setup){"llama", 3, .whole = true, .kl = 0.5});
    check(&(struct setup){"qwen2", MAX_ROWS, .edited = true, .whole = true, .kl = 0.5});
}

/* What the descent sees is what the finished update delta u^T / (key . u) does. */
static void whole_edit_is_the_update(void **state)
{
    (void)state;
    float delta[D], r[D], zero[D] = {0};
    double along = 0.0, seen, done;
    struct rig before = rig_new(&(struct setup){"llama", 3, .whole = true});
    draw(delta, D, 15);
    for (size_t i = 0; i < F; i++)
        along += (double)before.key[i] * (double)before.u[i];
    for (size_t i = 0; i < D; i++)
        r[i] = (float)((double)delta[i] / along);
    struct rig after = rig_new(&(struct setup){"llama", 3, .r = r});
    ok(&before, ke__value_loss(before.cx, before.value, delta, &seen, NULL));
    ok(&after, ke__value_loss(after.cx, after.value, zero, &done, NULL));
    seen -= ke__delta_decay(0.05, ke__norm2(delta, D),
                            ke__norm2(ke__value_start(before.value), D));
    assert_close(seen, done, 1e-6); /* r and the scales are f32 */
    ok(&before, ke__value_loss(before.cx, before.value, zero, &seen, NULL));
    assert_true(fabs(seen - done) > 1e-3);
    rig_free(&before);
    rig_free(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(with_divergence),
        cmocka_unit_test(over_edits),
        cmocka_unit_test(in_several_batches),
        cmocka_unit_test(batches_add_up),
        cmocka_unit_test(of_the_whole_edit),
        cmocka_unit_test(whole_edit_is_the_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
