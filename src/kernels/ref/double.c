/* The specification, in double: what gradient tests difference. Weights pass through float,
 * so a test perturbs them by steps that float holds exactly. */
#define KE_REAL  double
#define KE_TABLE ke__ops_ref64
#define KE_NAME  "ref64"
#include "kernels/ref/ref.inc"
