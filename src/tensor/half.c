#include "tensor/quant.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read as they lie");

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float ke__f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31,
             part = h & 1023;
    if (exponent == 31)
        return float_of(sign | 0x7F800000 | part << 13);
    if (exponent == 0) { /* zero or subnormal: part * 2^-24 is exact */
        float f = (float)part * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of(sign | (exponent + 112) << 23 | part << 13);
}

uint16_t ke__f32_to_f16(float f)
{
    uint32_t u = bits_of(f), magnitude = u & 0x7FFFFFFF;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    if (magnitude >
        0x7F800000) /* NaN: a set top bit keeps the rest from reading as infinity */
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
    if (magnitude >= 0x477FF000) /* 65520 and above round to infinity */
        return sign | 0x7C00;
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 rounds at 2^-24 */
        float rounded = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(rounded) - 0x3F000000));
    }
    uint32_t even = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xFFF + even) >> 13));
}

float ke__bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t ke__f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000) /* NaN: rounding could carry it to infinity */
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

void ke__f32_row_to_f32(float *out, const void *in, size_t n)
{
    memcpy(out, in, n * sizeof *out);
}

void ke__f32_row_from_f32(void *out, const float *in, size_t n)
{
    memcpy(out, in, n * sizeof *in);
}

/* File data may lie at odd addresses: elements are copied, which costs nothing. */
#define ROW(type, stored, load, store)                                                     \
    void ke__##type##_row_to_f32(float *out, const void *in, size_t n)                     \
    {                                                                                      \
        for (size_t i = 0; i < n; i++) {                                                   \
            stored x;                                                                      \
            memcpy(&x, (const char *)in + i * sizeof x, sizeof x);                         \
            out[i] = load(x);                                                              \
        }                                                                                  \
    }                                                                                      \
    void ke__##type##_row_from_f32(void *out, const float *in, size_t n)                   \
    {                                                                                      \
        for (size_t i = 0; i < n; i++) {                                                   \
            stored x = store(in[i]);                                                       \
            memcpy((char *)out + i * sizeof x, &x, sizeof x);                              \
        }                                                                                  \
    }

ROW(f16, uint16_t, ke__f16_to_f32, ke__f32_to_f16)
ROW(bf16, uint16_t, ke__bf16_to_f32, ke__f32_to_bf16)
ROW(f64, double, (float), (double))
