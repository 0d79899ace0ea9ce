/* The scalar specification of the element types that are computed with. Private to tensor.
 */
#ifndef KE_TENSOR_QUANT_H
#define KE_TENSOR_QUANT_H

#include "tensor/tensor.h"

void ke__f32_row_to_f32(float *out, const void *in, size_t n);
void ke__f32_row_from_f32(void *out, const float *in, size_t n);
void ke__f16_row_to_f32(float *out, const void *in, size_t n);
void ke__f16_row_from_f32(void *out, const float *in, size_t n);
void ke__bf16_row_to_f32(float *out, const void *in, size_t n);
void ke__bf16_row_from_f32(void *out, const float *in, size_t n);
void ke__f64_row_to_f32(float *out, const void *in, size_t n);
void ke__f64_row_from_f32(void *out, const float *in, size_t n);

/* Blocks of 32. Quantising keeps, of several scales, the one with the least squared error,
 * never worse than rounding with the scale taken from the extremes; a block that is exactly
 * representable comes back as the same values. A block with a value that is not finite, or
 * too large for its scale, becomes NaN throughout, so that it cannot pass unseen. */
void ke__q4_0_to_f32(float *out, const void *in, size_t n);
void ke__q4_0_from_f32(void *out, const float *in, size_t n);
void ke__q4_1_to_f32(float *out, const void *in, size_t n);
void ke__q4_1_from_f32(void *out, const float *in, size_t n);
void ke__q5_0_to_f32(float *out, const void *in, size_t n);
void ke__q5_0_from_f32(void *out, const float *in, size_t n);
void ke__q5_1_to_f32(float *out, const void *in, size_t n);
void ke__q5_1_from_f32(void *out, const float *in, size_t n);
void ke__q8_0_to_f32(float *out, const void *in, size_t n);
void ke__q8_0_from_f32(void *out, const float *in, size_t n);

/* Blocks of 256 in sub-blocks with a small scale each, and in Q2_K, Q4_K and Q5_K a small
 * minimum. The same holds as for blocks of 32. */
void ke__q2_k_to_f32(float *out, const void *in, size_t n);
void ke__q2_k_from_f32(void *out, const float *in, size_t n);
void ke__q3_k_to_f32(float *out, const void *in, size_t n);
void ke__q3_k_from_f32(void *out, const float *in, size_t n);
void ke__q4_k_to_f32(float *out, const void *in, size_t n);
void ke__q4_k_from_f32(void *out, const float *in, size_t n);
void ke__q5_k_to_f32(float *out, const void *in, size_t n);
void ke__q5_k_from_f32(void *out, const float *in, size_t n);
void ke__q6_k_to_f32(float *out, const void *in, size_t n);
void ke__q6_k_from_f32(void *out, const float *in, size_t n);

#endif
