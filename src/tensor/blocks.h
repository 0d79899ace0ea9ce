/* What the quantisers of blocks share. Private to tensor. */
#ifndef KE_TENSOR_BLOCKS_H
#define KE_TENSOR_BLOCKS_H

#include "tensor/tensor.h"

#include <string.h>

static inline float load_f16(const uint8_t *in)
{
    uint16_t h;
    memcpy(&h, in, sizeof h);
    return ke__f16_to_f32(h);
}

static inline void store_f16(uint8_t *out, float f)
{
    uint16_t h = ke__f32_to_f16(f);
    memcpy(out, &h, sizeof h);
}

static inline float round_f16(float f)
{
    return ke__f16_to_f32(ke__f32_to_f16(f));
}

/* The nearest whole number within [low, high], `low` for NaN; |low|, |high| <= 128. Adding
 * 1.5 * 2^23 leaves no bits for a fraction. */
static inline float nearest(float v, float low, float high)
{
    v = v > low ? v : low;
    v = v < high ? v : high;
    return v + 0x1.8p23f - 0x1.8p23f;
}

/* Sums are kept in lanes, which the compiler turns into vectors without reordering any. */
enum { LANES = 8 };

static inline float sum(const float lanes[LANES])
{
    float s = 0;
    for (int j = 0; j < LANES; j++)
        s += lanes[j];
    return s;
}

#endif
