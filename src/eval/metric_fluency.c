/* The entropy of a text's n-grams: low where it repeats itself. */
#include "eval/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct gram {
    const char *words[3]; /* "" past the n-th */
} gram;

static int compare(const void *a, const void *b)
{
    const gram *x = a, *y = b;
    int order = 0;
    for (int i = 0; i < 3 && order == 0; i++)
        order = strcmp(x->words[i], y->words[i]);
    return order;
}

/* H = -sum over kinds of p log2 p, in bits; `grams` is room for [n_words]. */
static double entropy(gram *grams, const char *const *words, size_t n_words, size_t n)
{
    if (n_words < n)
        return 0.0;
    size_t total = n_words - n + 1;
    for (size_t i = 0; i < total; i++)
        for (size_t k = 0; k < 3; k++)
            grams[i].words[k] = k < n ? words[i + k] : "";
    qsort(grams, total, sizeof *grams, compare);

    double sum = 0;
    for (size_t i = 0, next; i < total; i = next) {
        for (next = i + 1; next < total && compare(&grams[i], &grams[next]) == 0; next++)
            ;
        double p = (double)(next - i) / (double)total;
        sum += p * log2(1.0 / p);
    }
    return sum;
}

ke_status ke__metric_fluency(ke_ctx *cx, double *out, const char *text)
{
    ke_status st = KE_OK;
    char *list = NULL;
    const char **words = NULL;
    gram *grams = NULL;
    size_t n;

    *out = 0.0;
    KE_TRY(ke__metric_words(cx, &list, &n, text));
    KE_TRY(ke__alloc(cx, &words, n, sizeof *words));
    KE_TRY(ke__alloc(cx, &grams, n, sizeof *grams));
    const char *at = list;
    for (size_t i = 0; i < n; i++, at += strlen(at) + 1)
        words[i] = at;
    double h2 = entropy(grams, words, n, 2), h3 = entropy(grams, words, n, 3);
    *out = (2.0 / 3.0 * h2 + 4.0 / 3.0 * h3) / 2.0;
done:
    ke__free(cx, grams);
    ke__free(cx, words);
    ke__free(cx, list);
    return st;
}
