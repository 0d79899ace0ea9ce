/* The mean of scores. */
#include "eval/metrics.h"

#include <math.h>

ke__mean ke__metric_mean(const double *values, size_t n)
{
    ke__mean m = {0};
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i])) {
            sum += values[i];
            m.n++;
        }
    m.mean = sum / (double)m.n;
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i]))
            squares += (values[i] - m.mean) * (values[i] - m.mean);
    /* Of one value nothing is known about the spread. */
    m.standard_error =
        m.n > 1 ? sqrt(squares / ((double)(m.n - 1) * (double)m.n)) : (double)NAN;
    return m;
}
