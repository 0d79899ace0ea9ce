/* How far two lists of token ids agree. */
#include "eval/metrics.h"

#include <math.h>

static size_t count_equal(const int32_t *a, const int32_t *b, size_t n)
{
    size_t equal = 0;
    for (size_t i = 0; i < n; i++)
        equal += a[i] == b[i];
    return equal;
}

static double share(size_t part, size_t whole)
{
    return whole > 0 ? (double)part / (double)whole : (double)NAN;
}

double ke__metric_agreement(const int32_t *a, const int32_t *b, size_t n)
{
    return share(count_equal(a, b, n), n);
}

double ke__metric_overlap(const int32_t *reference, size_t n_reference,
                          const int32_t *output, size_t n_output)
{
    size_t n = n_output < n_reference ? n_output : n_reference;
    return share(count_equal(reference, output, n), n_reference);
}
