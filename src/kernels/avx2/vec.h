/* The vector type of this family and what the code in simd/ asks of it. */
#ifndef KE_KERNELS_AVX2_VEC_H
#define KE_KERNELS_AVX2_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES     8
#define TILE_ROWS 6 /* with two vectors a row: 12 accumulators of 16 registers */

typedef __m256 vec;
typedef __m256d vecd; /* LANES / 2 doubles */

static inline vec v_zero(void)
{
    return _mm256_setzero_ps();
}
static inline vec v_set1(float x)
{
    return _mm256_set1_ps(x);
}
static inline vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}
static inline __m256i v_mask(size_t n)
{
    static const int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const __m256i *)(const void *)(window + 8 - n));
}
/* The first n <= LANES lanes, the others zero. */
static inline vec v_load_n(const float *p, size_t n)
{
    return n == LANES ? v_load(p) : _mm256_maskload_ps(p, v_mask(n));
}
static inline void v_store_n(float *p, vec x, size_t n)
{
    if (n == LANES) /* masked stores are slow */
        v_store(p, x);
    else
        _mm256_maskstore_ps(p, v_mask(n), x);
}

static inline vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
static inline vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
static inline vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
static inline vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
static inline vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec v_fnma(vec a, vec b, vec c) /* c - a b */
{
    return _mm256_fnmadd_ps(a, b, c);
}
static inline vec v_max(vec a, vec b) /* b where either is NaN */
{
    return _mm256_max_ps(a, b);
}
static inline vec v_min(vec a, vec b) /* b where either is NaN */
{
    return _mm256_min_ps(a, b);
}
static inline vec v_round(vec x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* x 2^n for whole n in [-252, 254], in two steps so that the ends of the range are right */
static inline vec v_scale(vec x, vec n)
{
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);

    return v_mul(v_mul(x, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
/* The first n lanes of x, the others zero. */
static inline vec v_first_n(vec x, size_t n)
{
    return _mm256_and_ps(x, _mm256_castsi256_ps(v_mask(n)));
}
static inline size_t v_count_gt(vec a, vec b) /* lanes with a > b */
{
    return (size_t)__builtin_popcount(
        (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}
static inline float v_sum(vec x)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_top(vec x)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline vecd vd_zero(void)
{
    return _mm256_setzero_pd();
}
static inline vecd vd_low(vec x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}
static inline vecd vd_high(vec x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}
static inline vecd vd_add(vecd a, vecd b)
{
    return _mm256_add_pd(a, b);
}
static inline double vd_sum(vecd x)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));

    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

/* --- from the element types of files: LANES elements ------------------------------- */

static inline vec v_load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline vec v_load_bf16(const uint8_t *p)
{
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);

    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
/* 16 signed bytes. */
static inline void v_from_bytes(vec out[16 / LANES], __m128i bytes)
{
    out[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
    out[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
}
/* One half-precision number in every lane. */
static inline vec v_set1_f16(const uint8_t *p)
{
    return _mm256_set1_ps(_cvtsh_ss((uint16_t)(p[0] | p[1] << 8)));
}

/* to[j * to_step + i] = from[i * from_step + j] for 0 <= i, j < LANES; rows i >= `rows` are
 * taken as zero and not read. The 128-bit halves meet while loading, so that only shuffles
 * within halves are left. */
static inline void v_transpose(float *to, size_t to_step, const float *from,
                               size_t from_step, size_t rows)
{
    const __m128 none = _mm_setzero_ps();

#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) { /* columns 4 h .. 4 h + 3 */
        const float *p = from + 4 * h;
        float *out = to + 4 * (size_t)h * to_step;
        __m256 r[4], t[4];

#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            __m128 low = i < rows ? _mm_loadu_ps(p + i * from_step) : none;
            __m128 high = i + 4 < rows ? _mm_loadu_ps(p + (i + 4) * from_step) : none;

            r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
        }
        t[0] = _mm256_unpacklo_ps(r[0], r[1]);
        t[1] = _mm256_unpackhi_ps(r[0], r[1]);
        t[2] = _mm256_unpacklo_ps(r[2], r[3]);
        t[3] = _mm256_unpackhi_ps(r[2], r[3]);
        _mm256_storeu_ps(out, _mm256_shuffle_ps(t[0], t[2], 0x44));
        _mm256_storeu_ps(out + to_step, _mm256_shuffle_ps(t[0], t[2], 0xee));
        _mm256_storeu_ps(out + 2 * to_step, _mm256_shuffle_ps(t[1], t[3], 0x44));
        _mm256_storeu_ps(out + 3 * to_step, _mm256_shuffle_ps(t[1], t[3], 0xee));
    }
}

#endif
