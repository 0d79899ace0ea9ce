/* The metrics of the benchmark on what a model gave; no model in here. Each is computed by
 * hand in docs/metrics.md; a test checks that page. */
#ifndef KE_EVAL_METRICS_H
#define KE_EVAL_METRICS_H

#include "base/base.h"

/* Share of positions where two id lists agree, over n; 0/0 is NaN (methods 5.2, 5.4). */
double ke__metric_agreement(const int32_t *a, const int32_t *b, size_t n);

/* Fluency: mean of (2/3) H2 and (4/3) H3 over the words of `text` (methods 5.6), H_n the
 * entropy in bits of its n-grams; 0 for fewer than n words. */
KE_MUST_CHECK ke_status ke__metric_fluency(ke_ctx *cx, double *out, const char *text);
/* The words themselves: after NFKD, "\n\n" made a blank and "<|endoftext|>" left out, by
 * the Treebank rules in each sentence. n texts behind one another, a NUL after each, in one
 * block that the caller frees. */
KE_MUST_CHECK ke_status ke__metric_words(ke_ctx *cx, char **out, size_t *n,
                                         const char *text);

/* Normalised text (methods 5.8): lower case, no punctuation, no articles, single spaces.
 * Caller frees. */
KE_MUST_CHECK ke_status ke__metric_normalise(ke_ctx *cx, char **out, const char *text);
/* Whether normalised `text` contains normalised `answer` as whole words. */
KE_MUST_CHECK ke_status ke__metric_contains(ke_ctx *cx, bool *out, const char *text,
                                            const char *answer);
/* Whether the first line of `text`, normalised, equals `answer`, normalised. */
KE_MUST_CHECK ke_status ke__metric_exact(ke_ctx *cx, bool *out, const char *text,
                                         const char *answer);

/* ConvSent: sigma(agree_after - oppose_after) * min(1, exp(agree_after - agree_before)),
 * each a mean log-probability over the answers' tokens (methods 5.9). */
double ke__metric_convsent(double agree_after, double oppose_after, double agree_before);
/* Sum over i of p(i) (log p(i) - log q(i)) from two rows of log-probabilities. */
double ke__metric_kl(const float *logp, const float *logq, size_t n);

/* CounterFact, from mean negative log-likelihoods of the new and the true answer. */
bool ke__metric_prefers_new(double nll_new, double nll_true); /* strict */
double ke__metric_magnitude(double nll_new, double nll_true); /* e^-new - e^-true */
double ke__metric_harmonic(const double *values, size_t n);   /* 0 if one is 0 */

/* Sanitation (methods 5.10): whether lower-cased `text` contains lower-cased `answer`, and
 * the share of the reference's positions at which the output has the same id; 0/0 is NaN.
 */
KE_MUST_CHECK ke_status ke__metric_mentions(ke_ctx *cx, bool *out, const char *text,
                                            const char *answer);
double ke__metric_overlap(const int32_t *reference, size_t n_reference,
                          const int32_t *output, size_t n_output);

/* Mean and standard error (of the mean, n - 1); NaN entries are left out and n tells how
 * many counted. */
typedef struct ke__mean {
    double mean, standard_error;
    size_t n;
} ke__mean;
ke__mean ke__metric_mean(const double *values, size_t n);

#endif
