/* ROME's suite: two answers compete for a prompt. */
#include "eval/metrics.h"

#include <math.h>

bool ke__metric_prefers_new(double nll_new, double nll_true)
{
    return nll_true > nll_new;
}

double ke__metric_magnitude(double nll_new, double nll_true)
{
    return exp(-nll_new) - exp(-nll_true);
}

double ke__metric_harmonic(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (values[i] == 0.0)
            return 0.0;
        sum += 1.0 / values[i];
    }
    return (double)n / sum;
}
