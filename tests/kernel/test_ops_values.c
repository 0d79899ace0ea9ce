/* Rows of every family against numbers worked out by hand. */
#include "support/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OK(call) assert_int_equal(call, KE_OK)

typedef void value_fn(struct rig *r);

static void on_every_family(value_fn *fn)
{
    static const char *const names[] = {"ref", "ref64", "avx2", "avx512"};
    struct rig r;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (ke__ops_named(names[i]) == NULL)
            continue;
        rig_begin(&r, ke__ops_named(names[i]), 2);
        fn(&r);
        rig_end(&r);
    }
}

/* Within a few roundings of float. */
static void expect_near(double got, double want)
{
    if (!(fabs(got - want) <= 5e-7 * (1.0 + fabs(want))))
        fail_msg("%.9g instead of %.9g", got, want);
}

static void expect_buf(struct rig *r, const ke_buf *buf, const double *want, size_t n)
{
    float got[16];

    OK(r->ops->get(r->cx, got, buf, 0, n));
    for (size_t i = 0; i < n; i++)
        expect_near((double)got[i], want[i]);
}

/* x = (1, 2, 2): mean of squares 3; mean 5/3, variance 2/9. */
static void norm(struct rig *r)
{
    const float x[] = {1, 2, 2}, wv[] = {1, 2, 4}, bv[] = {0, 0, 1};
    const ke__mat *w = rig_mat_values(r, wv, 1, 3), *b = rig_mat_values(r, bv, 1, 3);
    ke_buf *in = rig_values(r, x, 3), *out = rig_zeros(r, 3);

    OK(r->ops->norm(r->cx, out, in, w, NULL, 1, 3, 0.0F, KE__NORM_RMS));
    expect_buf(r, out, (double[]){sqrt(1.0 / 3), 4 * sqrt(1.0 / 3), 8 * sqrt(1.0 / 3)}, 3);
    OK(r->ops->norm(r->cx, out, in, w, b, 1, 3, 0.0F, KE__NORM_LAYER));
    expect_buf(r, out, (double[]){-sqrt(2.0), sqrt(2.0), 2 * sqrt(2.0) + 1}, 3);
}

/* Position 1, frequencies 1 and 1/100: by 1 and 0.01 rad. */
static void rope(struct rig *r)
{
    const float x[] = {1, 0, 0, 1};
    const int32_t pos[] = {1};
    ke__rope how = {4, true, 1e4F, 1.0F, NULL};
    ke_buf *buf = rig_values(r, x, 4);

    OK(r->ops->rope(r->cx, buf, pos, 1, 1, 4, &how, 1));
    expect_buf(r, buf, (double[]){cos(1.0), sin(1.0), -sin(0.01), cos(0.01)}, 4);
    how.interleaved = false; /* pairs (0, 2), (1, 3) */
    buf = rig_values(r, x, 4);
    OK(r->ops->rope(r->cx, buf, pos, 1, 1, 4, &how, 1));
    expect_buf(r, buf, (double[]){cos(1.0), -sin(0.01), sin(1.0), cos(0.01)}, 4);
}

/* Row 0 sees its own key only. Row 1: scores 2 * (0, ln 3 / 2), softmax (1/4, 3/4). */
static void attention(struct rig *r)
{
    const float q[] = {5, 1}, k[] = {0, 0.549306144F}, v[] = {10, 20};
    const int32_t keys[] = {0, 1};
    const ke__span span = {0, 2, 0, keys};
    const ke__attention att = {1, 1, 1, 2.0F, 0.0F, 0, &span, 1};
    ke_buf *out = rig_zeros(r, 2), *lse = rig_zeros(r, 2);

    OK(r->ops->attention(r->cx, out, lse, rig_values(r, q, 2), rig_values(r, k, 2),
                         rig_values(r, v, 2), &att));
    expect_buf(r, out, (double[]){10.0, 17.5}, 2);
    expect_buf(r, lse, (double[]){0.0, log(4.0)}, 2);
}

static void activation(struct rig *r)
{
    const float x[] = {0, 1, -1, 2}, up[] = {3, 1, 2, 0.5F};
    ke_buf *in = rig_values(r, x, 4), *out = rig_zeros(r, 4);
    const double e = exp(1.0);

    OK(r->ops->glu(r->cx, out, in, rig_values(r, up, 4), 4, KE__ACT_SILU));
    expect_buf(r, out, (double[]){0, e / (1 + e), -2 / (1 + e), 1 / (1 + 1 / (e * e))}, 4);
    OK(r->ops->glu(r->cx, out, in, NULL, 4, KE__ACT_GELU)); /* Phi(1) = 0.841344746 */
    expect_buf(r, out, (double[]){0, 0.841344746, -0.158655254, 1.954499736}, 4);
    OK(r->ops->glu(r->cx, out, in, NULL, 4, KE__ACT_GELU_TANH));
    expect_buf(r, out, (double[]){0, 0.841191991, -0.158808009, 1.954597694}, 4);
    OK(r->ops->glu(r->cx, out, in, NULL, 4, KE__ACT_RELU));
    expect_buf(r, out, (double[]){0, 1, 0, 2}, 4);
    OK(r->ops->softcap(r->cx, in, 4, 2.0F));
    expect_buf(r, in, (double[]){0, 2 * tanh(0.5), -2 * tanh(0.5), 2 * tanh(1.0)}, 4);
}

/* p = (0.7, 0.2, 0.1) as logits shifted by 3, q = (0.5, 0.3, 0.2):
 * KL = 0.7 ln 1.4 + 0.2 ln(2/3) + 0.1 ln 0.5 = 0.085123. */
static void losses(struct rig *r)
{
    const double p[] = {0.7, 0.2, 0.1}, q[] = {0.5, 0.3, 0.2}, kl = 0.0851226;
    const float two = 2.0F;
    const int32_t target = 1;
    float logits[3], logq[3], logprob, margin;
    double loss, lse, slope[3];
    int32_t best;
    uint32_t rank;

    for (size_t i = 0; i < 3; i++) {
        logits[i] = (float)(log(p[i]) + 3.0);
        logq[i] = (float)log(q[i]);
        slope[i] = 2.0 * p[i] * (log(p[i] / q[i]) - kl);
    }
    ke_buf *x = rig_values(r, logits, 3);
    OK(r->ops->score(r->cx, &logprob, &best, &rank, &margin, &lse, x, &target, 1, 3));
    expect_near((double)logprob, log(0.2));
    expect_near((double)margin, log(0.2 / 0.7));
    expect_near(lse, 3.0);
    assert_int_equal(best, 0);
    assert_int_equal(rank, 2);
    OK(r->ops->kl(r->cx, &loss, x, rig_values(r, logq, 3), &two, 1, 3));
    expect_near(loss, 2.0 * kl);
    expect_buf(r, x, slope, 3);
    x = rig_values(r, logits, 3);
    OK(r->ops->xent(r->cx, &loss, x, &target, &two, 1, 3));
    expect_near(loss, -2.0 * log(0.2));
    expect_buf(r, x, (double[]){1.4, -1.6, 0.2}, 3);
}

/* Ties take the first as best and do not count into the rank; NaN shows in logprob. */
static void scores(struct rig *r)
{
    const float tied[] = {1, 4, 4, 2}, broken[] = {1, NAN, 0, 2};
    const int32_t target = 2;
    float logprob, margin;
    int32_t best;
    uint32_t rank;

    OK(r->ops->score(r->cx, &logprob, &best, &rank, &margin, NULL, rig_values(r, tied, 4),
                     &target, 1, 4));
    assert_int_equal(best, 1);
    assert_int_equal(rank, 1);
    expect_near((double)margin, 0.0);
    OK(r->ops->score(r->cx, &logprob, NULL, NULL, NULL, NULL, rig_values(r, broken, 4),
                     &target, 1, 4));
    assert_true(isnan(logprob));
}

/* At t = 1 the corrected moments are g and g^2: a step of lr sign(g) / (1 + eps / |g|). */
static void adam(struct rig *r)
{
    const float x[] = {1, 1, 1}, g[] = {0.5F, -2, 1e-3F};
    ke_buf *buf = rig_values(r, x, 3);

    OK(r->ops->adam(r->cx, buf, rig_zeros(r, 3), rig_zeros(r, 3), rig_values(r, g, 3), 3, 1,
                    0.25F, 0.9F, 0.999F, 1e-3F, 0.0F));
    expect_buf(r, buf, (double[]){1 - 0.25 / 1.002, 1 + 0.25 / 1.0005, 1 - 0.25 / 2}, 3);
}

/* Infinities and NaN must not be hidden by clamps. */
static void extremes(struct rig *r)
{
    const float x[] = {INFINITY, -INFINITY, NAN, 200, -200};
    float y[5];
    ke_buf *out = rig_zeros(r, 5);

    OK(r->ops->glu(r->cx, out, rig_values(r, x, 5), NULL, 5, KE__ACT_RELU));
    OK(r->ops->get(r->cx, y, out, 0, 5));
    assert_true(isinf(y[0]) && y[1] == 0.0F && isnan(y[2]) && y[4] == 0.0F);
    OK(r->ops->glu(r->cx, out, rig_values(r, x, 5), NULL, 5, KE__ACT_SILU));
    OK(r->ops->get(r->cx, y, out, 0, 5));
    assert_true(isinf(y[0]) && isnan(y[2]) && y[3] == 200.0F);
    assert_true(fabsf(y[4]) < 1e-36F);
    ke_buf *capped = rig_values(r, x, 5);
    OK(r->ops->softcap(r->cx, capped, 5, 30.0F));
    OK(r->ops->get(r->cx, y, capped, 0, 5));
    assert_true(y[0] == 30.0F && y[1] == -30.0F && isnan(y[2]));
}

static void norm_by_hand(void **state)
{
    (void)state;
    on_every_family(norm);
}
static void rope_by_hand(void **state)
{
    (void)state;
    on_every_family(rope);
}
static void attention_by_hand(void **state)
{
    (void)state;
    on_every_family(attention);
}
static void activation_by_hand(void **state)
{
    (void)state;
    on_every_family(activation);
}
static void losses_by_hand(void **state)
{
    (void)state;
    on_every_family(losses);
    on_every_family(scores);
}
static void adam_by_hand(void **state)
{
    (void)state;
    on_every_family(adam);
}
static void keeps_what_is_not_a_number(void **state)
{
    (void)state;
    on_every_family(extremes);
}

static void picks_by_name(void **state)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.isa = "ref"});

    (void)state;
    assert_non_null(cx);
    assert_string_equal(ke__ops_pick(cx)->name, "ref");
    assert_null(ke__ops_named("mmx"));
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_by_hand),      cmocka_unit_test(rope_by_hand),
        cmocka_unit_test(attention_by_hand), cmocka_unit_test(activation_by_hand),
        cmocka_unit_test(losses_by_hand),    cmocka_unit_test(adam_by_hand),
        cmocka_unit_test(picks_by_name),     cmocka_unit_test(keeps_what_is_not_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
