/* The vector type of this family and what the code in simd/ asks of it. */
#ifndef KE_KERNELS_AVX512_VEC_H
#define KE_KERNELS_AVX512_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES     16
#define TILE_ROWS 12 /* with two vectors a row: 24 accumulators of 32 registers */

typedef __m512 vec;
typedef __m512d vecd; /* LANES / 2 doubles */

static inline vec v_zero(void)
{
    return _mm512_setzero_ps();
}
static inline vec v_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}
/* The first n <= LANES lanes, the others zero. */
static inline vec v_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1U << n) - 1), p);
}
static inline void v_store_n(float *p, vec x, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1U << n) - 1), x);
}

static inline vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c) /* c - a b */
{
    return _mm512_fnmadd_ps(a, b, c);
}
static inline vec v_max(vec a, vec b) /* b where either is NaN */
{
    return _mm512_max_ps(a, b);
}
static inline vec v_min(vec a, vec b) /* b where either is NaN */
{
    return _mm512_min_ps(a, b);
}
static inline vec v_round(vec x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x 2^n for whole n, overflowing and underflowing as the product would */
static inline vec v_scale(vec x, vec n)
{
    return _mm512_scalef_ps(x, n);
}
/* The first n lanes of x, the others zero. */
static inline vec v_first_n(vec x, size_t n)
{
    return _mm512_maskz_mov_ps((__mmask16)((1U << n) - 1), x);
}
static inline size_t v_count_gt(vec a, vec b) /* lanes with a > b */
{
    return (size_t)__builtin_popcount(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ));
}
static inline float v_sum(vec x)
{
    return _mm512_reduce_add_ps(x);
}
static inline float v_top(vec x)
{
    return _mm512_reduce_max_ps(x);
}

static inline vecd vd_zero(void)
{
    return _mm512_setzero_pd();
}
static inline vecd vd_low(vec x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}
static inline vecd vd_high(vec x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}
static inline vecd vd_add(vecd a, vecd b)
{
    return _mm512_add_pd(a, b);
}
static inline double vd_sum(vecd x)
{
    return _mm512_reduce_add_pd(x);
}

/* --- from the element types of files: LANES elements ------------------------------- */

static inline vec v_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static inline vec v_load_bf16(const uint8_t *p)
{
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);

    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* 16 signed bytes. */
static inline void v_from_bytes(vec out[16 / LANES], __m128i bytes)
{
    out[0] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
/* One half-precision number in every lane. */
static inline vec v_set1_f16(const uint8_t *p)
{
    return _mm512_set1_ps(_cvtsh_ss((uint16_t)(p[0] | p[1] << 8)));
}

/* to[j * to_step + i] = from[i * from_step + j] for 0 <= i, j < LANES; rows i >= `rows` are
 * taken as zero and not read. Three rounds: pairs of rows, pairs of pairs, quarters. */
static inline void v_transpose(float *to, size_t to_step, const float *from,
                               size_t from_step, size_t rows)
{
    __m512 r[16], t[16];

#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = (size_t)i < rows ? _mm512_loadu_ps(from + (size_t)i * from_step) : v_zero();
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* r[i + c]: column 4 q + c in quarter q, rows i.. */
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512 a = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88);
        __m512 b = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd);
        __m512 d = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88);
        __m512 e = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
        float *out = to + (size_t)c * to_step;

        _mm512_storeu_ps(out, _mm512_shuffle_f32x4(a, d, 0x88));
        _mm512_storeu_ps(out + 4 * to_step, _mm512_shuffle_f32x4(b, e, 0x88));
        _mm512_storeu_ps(out + 8 * to_step, _mm512_shuffle_f32x4(a, d, 0xdd));
        _mm512_storeu_ps(out + 12 * to_step, _mm512_shuffle_f32x4(b, e, 0xdd));
    }
}

#endif
