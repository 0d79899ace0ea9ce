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
void ke__q8_0_to_f32(float *out, const void *in, size_t n);
void ke__q8_0_from_f32(void *out, const float *in, size_t n);

#endif
