/* Doubles that must agree to `error`: cmocka's own comparison is in float. */
#ifndef KE_TESTS_CLOSE_H
#define KE_TESTS_CLOSE_H

#include <math.h>

#define assert_close(want, got, error)                                                     \
    do {                                                                                   \
        double want_ = (want), got_ = (got);                                               \
        if (!(fabs(want_ - got_) <= (error)))                                              \
            fail_msg("%.17g, expected %.17g to %g", got_, want_, (double)(error));         \
    } while (0)

#endif
