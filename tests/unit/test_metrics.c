/* Metrics on numbers: the reference's vectors (methods 9.3), identities (9.2)
 * and what has no value. */
#include "eval/metrics.h"
#include "support/close.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
/* The vectors are printed to six decimals. */
#define SIX 5e-7

static void agreement_is_a_share_of_positions(void **state)
{
    (void)state;
    const int32_t labels[] = {5, 9, 2}, predicted[] = {5, 9, 7};       /* T1 */
    const int32_t before[] = {29, 234, 334}, after[] = {29, 234, 333}; /* T2 */
    assert_close(2.0 / 3.0, ke__metric_agreement(labels, predicted, 3), 1e-15);
    assert_close(2.0 / 3.0, ke__metric_agreement(before, after, 3), 1e-15);
    assert_close(1, ke__metric_agreement(labels, labels, 3), 0);
    assert_close(0, ke__metric_agreement(labels + 2, predicted + 2, 1), 0);
    assert_true(isnan(ke__metric_agreement(labels, predicted, 0)));
}

static void overlap_is_a_share_of_the_reference(void **state)
{
    (void)state;
    const int32_t reference[] = {5, 6, 7, 8}, output[] = {5, 6, 9}; /* T34 */
    const int32_t later[] = {9, 5, 6, 7, 8};
    assert_close(0.5, ke__metric_overlap(reference, 4, output, 3), 0);
    assert_close(1, ke__metric_overlap(reference, 2, output, 3), 0);
    assert_close(0, ke__metric_overlap(reference, 4, later, 5), 0);
    assert_close(0, ke__metric_overlap(reference, 4, output, 0), 0);
    assert_true(isnan(ke__metric_overlap(reference, 0, output, 3)));
}

static double kl(const double *p, const double *q, size_t n)
{
    float logp[4], logq[4];
    for (size_t i = 0; i < n; i++) {
        logp[i] = (float)log(p[i]);
        logq[i] = (float)log(q[i]);
    }
    return ke__metric_kl(logp, logq, n);
}

static void divergence_has_a_direction(void **state)
{
    (void)state;
    const double p[] = {.7, .2, .1}, q[] = {.5, .3, .2}; /* T7 */
    const double sure[] = {1, 0, 0};
    assert_close(.085123, kl(p, q, 3), SIX);
    assert_close(.092033, kl(q, p, 3), SIX);
    assert_close(0, kl(p, p, 3), 0);
    assert_close(-log(.7), kl(sure, p, 3), 1e-7); /* the logarithms are floats */
    assert_close(0, kl(sure, sure, 3), 0);        /* 0 log (0 / 0) counts as 0 */
    assert_true(isinf(kl(p, sure, 3)));
}

static void an_opinion_needs_polarity_and_topic(void **state)
{
    (void)state;
    assert_close(.817574, ke__metric_convsent(-2, -3.5, -2.4), SIX); /* T11 */
    assert_close(.341613, ke__metric_convsent(-3, -3.5, -2.4), SIX);
    assert_close(.5, ke__metric_convsent(-2, -2, -2), 0);
    /* A model that was not edited has sigmoid(agree - oppose). */
    assert_close(1 / (1 + exp(-.25)), ke__metric_convsent(-2, -2.25, -2), 1e-15);
    assert_close(1, ke__metric_convsent(-1, -2000, -1), 0); /* no overflow */
    assert_close(0, ke__metric_convsent(-2000, -1, -2000), 0);
    assert_true(isnan(ke__metric_convsent(-2, -3, (double)NAN)));
    assert_true(isnan(ke__metric_convsent(-2, (double)NAN, -2)));
}

/* T8: two records, (nll_new, nll_true) of a rewrite, two paraphrases, four neighbours. */
typedef struct pair {
    double new_nll, true_nll;
} pair;
static const pair rewrites[2][1] = {{{.5, 4}}, {{2, 1.5}}};
static const pair paraphrases[2][2] = {{{1, 3}, {2.5, 2}}, {{.7, 2.2}, {1.2, 1.9}}};
static const pair neighbours[2][4] = {{{6, 1}, {5, 2}, {1.5, 2}, {4, .5}},
                                      {{3, 1}, {.9, 1.1}, {2, 1}, {2.2, 1.2}}};

/* Means over records of means over prompts, share and magnitude; for neighbours the true
 * answer is the wanted one. */
static void rivals(double out[2], const pair *pairs, size_t n, bool neighbour)
{
    out[0] = out[1] = 0;
    for (size_t i = 0; i < 2 * n; i++) {
        double a = neighbour ? pairs[i].true_nll : pairs[i].new_nll;
        double b = neighbour ? pairs[i].new_nll : pairs[i].true_nll;
        out[0] += ke__metric_prefers_new(a, b) / (2.0 * (double)n);
        out[1] += ke__metric_magnitude(a, b) / (2.0 * (double)n);
        /* Without a tie, who loses one way wins the other. */
        assert_int_equal(ke__metric_prefers_new(b, a), !ke__metric_prefers_new(a, b));
    }
}

static void counterfact_lets_answers_compete(void **state)
{
    (void)state;
    double es[2], ps[2], ns[2];
    rivals(es, rewrites[0], 1, false);
    rivals(ps, paraphrases[0], 2, false);
    rivals(ns, neighbours[0], 4, true);
    assert_close(.5, es[0], 0);
    assert_close(.75, ps[0], 0);
    assert_close(.75, ns[0], 0);
    assert_close(.250210, es[1], SIX);
    assert_close(.200562, ps[1], SIX);
    assert_close(.207718, ns[1], SIX);
    const double scores[] = {100 * es[0], 100 * ps[0], 100 * ns[0]};
    assert_close(64.2857, ke__metric_harmonic(scores, 3), 5e-5);
    assert_false(ke__metric_prefers_new(2, 2)); /* a tie is a failure, either way */
}

static void harmonic_means(void **state)
{
    (void)state;
    static const struct {
        double values[3], mean;
    } t9[] = {{{100, 96.4, 75.4}, 89.19},
              {{99.9, 99.1, 78.9}, 91.53},
              {{98.9, 88.6, 73.7}, 85.80}};
    for (size_t i = 0; i < COUNT(t9); i++)
        assert_close(t9[i].mean, ke__metric_harmonic(t9[i].values, 3), 5e-3);
    assert_close(0, ke__metric_harmonic((const double[]){100, 0, 100}, 3), 0);
    assert_true(isnan(ke__metric_harmonic((const double[]){100, (double)NAN}, 2)));
}

/* 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14, s^2 = 14 / 3, error sqrt(14 / 12). */
static void means_come_with_errors_and_counts(void **state)
{
    (void)state;
    const double values[] = {1, (double)NAN, 2, 3, 6};
    ke__mean m = ke__metric_mean(values, COUNT(values));
    assert_close(3, m.mean, 0);
    assert_close(sqrt(14.0 / 12.0), m.standard_error, 1e-15);
    assert_int_equal(m.n, 4);

    m = ke__metric_mean(values, 2); /* one value says nothing of the spread */
    assert_close(1, m.mean, 0);
    assert_true(isnan(m.standard_error));
    assert_int_equal(m.n, 1);

    m = ke__metric_mean(values + 1, 1);
    assert_true(isnan(m.mean) && isnan(m.standard_error));
    assert_int_equal(m.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreement_is_a_share_of_positions),
        cmocka_unit_test(overlap_is_a_share_of_the_reference),
        cmocka_unit_test(divergence_has_a_direction),
        cmocka_unit_test(an_opinion_needs_polarity_and_topic),
        cmocka_unit_test(counterfact_lets_answers_compete),
        cmocka_unit_test(harmonic_means),
        cmocka_unit_test(means_come_with_errors_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
