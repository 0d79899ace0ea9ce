/* The specification, in float. */
#define KE_REAL  float
#define KE_TABLE ke__ops_ref
#define KE_NAME  "ref"
#include "kernels/ref/ref.inc"
