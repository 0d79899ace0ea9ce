#include "kernels/avx512/vec.h"

#define KE_TABLE ke__ops_avx512
#define KE_NAME  "avx512"
#include "kernels/simd/simd.inc"
