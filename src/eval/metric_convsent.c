/* Opinions: the target's polarity against the other, and what a topic lost. */
#include "eval/metrics.h"

#include <math.h>

double ke__metric_convsent(double agree_after, double oppose_after, double agree_before)
{
    double sentiment = 1.0 / (1.0 + exp(oppose_after - agree_after));
    double topic = exp(agree_after - agree_before);
    /* Not fmin(): a NaN must stay one. */
    return sentiment * (topic > 1.0 ? 1.0 : topic);
}

double ke__metric_kl(const float *logp, const float *logq, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double p = exp((double)logp[i]);
        /* 0 log 0 = 0, also where q is 0. */
        if (p != 0.0)
            sum += p * ((double)logp[i] - (double)logq[i]);
    }
    return sum;
}
