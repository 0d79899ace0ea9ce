/* The families behind ke__ops_named(). Each is one .c file that puts the same named rows
 * together: scalar ones from ref/, vector ones from simd/ over its own vec.h. */
#ifndef KE_KERNELS_FAMILIES_H
#define KE_KERNELS_FAMILIES_H

#include "kernels/ops.h"

extern const ke_ops ke__ops_ref; /* scalar float: the specification */
extern const ke_ops
    ke__ops_ref64; /* the same code in double: what gradient tests difference */
#if defined(__x86_64__)
extern const ke_ops ke__ops_avx2;   /* AVX2, FMA, F16C */
extern const ke_ops ke__ops_avx512; /* AVX-512 F, BW, DQ, VL */
#endif

#endif
