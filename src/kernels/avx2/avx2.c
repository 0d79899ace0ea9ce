#include "kernels/avx2/vec.h"

#define KE_TABLE ke__ops_avx2
#define KE_NAME  "avx2"
#include "kernels/simd/simd.inc"
