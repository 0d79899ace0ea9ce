/* Q4_0: x = d (q - 8);  Q5_0: x = d (q - 16);  Q4_1, Q5_1: x = d q + m;  Q8_0: x = d q.  A
 * block has 32 elements; d and m are f16. */
#include "tensor/quant.h"
#include "tensor/blocks.h"

#include <float.h>
#include <math.h>

enum { N = 32 };
enum {
    Q4_0_BYTES = 18,
    Q4_1_BYTES = 20,
    Q5_0_BYTES = 22,
    Q5_1_BYTES = 24,
    Q8_0_BYTES = 34
};

static bool all_finite(const float *x)
{
    float zero = 0;
    for (int i = 0; i < N; i++)
        zero += x[i] * 0.0f; /* NaN from infinity and from NaN */
    return zero == 0.0f;
}

/* Element j of a 4-bit block is the low half of byte j, element j + 16 its high half; of
 * more bits, the lowest four. */
static void pack4(uint8_t *out, const int8_t *level, int zero)
{
    for (int j = 0; j < N / 2; j++)
        out[j] =
            (uint8_t)(((level[j] + zero) & 15) | ((level[j + N / 2] + zero) & 15) << 4);
}

/* The fifth bits of a 5-bit block: bit j of four bytes is element j's. */
static void pack_fifth(uint8_t out[4], const int8_t *level, int zero)
{
    memset(out, 0, 4);
    for (int j = 0; j < N; j++)
        out[j / 8] |= (uint8_t)(((level[j] + zero) >> 4 & 1) << j % 8);
}

static void unpack5(uint8_t q[N], const uint8_t *fifth, const uint8_t *low)
{
    for (int j = 0; j < N; j++) {
        int four = j < N / 2 ? low[j] & 15 : low[j - N / 2] >> 4;
        q[j] = (uint8_t)(four | (fifth[j / 8] >> j % 8 & 1) << 4);
    }
}

void ke__q4_0_to_f32(float *out, const void *in, size_t n)
{
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += N, block += Q4_0_BYTES, out += N) {
        float d = load_f16(block);
        for (int j = 0; j < N / 2; j++) {
            out[j] = (float)((block[2 + j] & 15) - 8) * d;
            out[j + N / 2] = (float)((block[2 + j] >> 4) - 8) * d;
        }
    }
}

void ke__q4_1_to_f32(float *out, const void *in, size_t n)
{
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += N, block += Q4_1_BYTES, out += N) {
        float d = load_f16(block), m = load_f16(block + 2);
        for (int j = 0; j < N / 2; j++) {
            out[j] = (float)(block[4 + j] & 15) * d + m;
            out[j + N / 2] = (float)(block[4 + j] >> 4) * d + m;
        }
    }
}

void ke__q5_0_to_f32(float *out, const void *in, size_t n)
{
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += N, block += Q5_0_BYTES, out += N) {
        float d = load_f16(block);
        uint8_t q[N];
        unpack5(q, block + 2, block + 6);
        for (int j = 0; j < N; j++)
            out[j] = (float)(q[j] - 16) * d;
    }
}

void ke__q5_1_to_f32(float *out, const void *in, size_t n)
{
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += N, block += Q5_1_BYTES, out += N) {
        float d = load_f16(block), m = load_f16(block + 2);
        uint8_t q[N];
        unpack5(q, block + 4, block + 8);
        for (int j = 0; j < N; j++)
            out[j] = (float)q[j] * d + m;
    }
}

void ke__q8_0_to_f32(float *out, const void *in, size_t n)
{
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += N, block += Q8_0_BYTES, out += N) {
        float d = load_f16(block);
        for (int j = 0; j < N; j++)
            out[j] = (float)(int8_t)block[2 + j] * d;
    }
}

/* --- x = d level ------------------------------------------------------------------ */

/* One way to write a block, and its squared error. */
typedef struct coded {
    float d, m, error;
    int8_t level[N];
} coded;

/* What stays where no way has a finite error: a value is NaN, infinite or too large for
 * the scales of f16. */
static const coded unwritable = {.d = NAN, .error = INFINITY};

/* Levels for scale d, kept in `best` if they err less. */
static void try_scale(coded *best, const float *x, float d, float low, float high)
{
    coded c = {.d = d};
    float inverse = d != 0.0f ? 1.0f / d : 0.0f, error[LANES] = {0};
    for (int i = 0; i < N; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float level = nearest(x[i + j] * inverse, low, high);
            float e = x[i + j] - level * d;
            c.level[i + j] = (int8_t)level;
            error[j] += e * e;
        }
    c.error = sum(error);
    if (c.error < best->error)
        *best = c;
}

/* Whether x may be a whole number times an f16: 8 + 11 bits leave the low 5 of 24 zero. */
static bool may_be_exact(const float *x)
{
    uint32_t bits, low = 0;
    for (int i = 0; i < N; i++) {
        memcpy(&bits, &x[i], sizeof bits);
        low |= bits & 31;
    }
    return low == 0;
}

static bool is_exact(const float *x, float d, float low, float high)
{
    for (int i = 0; i < N; i++)
        if (nearest(x[i] / d, low, high) * d != x[i])
            return false;
    return true;
}

/* A scale under which no element changes, where the extreme need not have the outermost
 * level (other quantisers choose so). */
static bool find_exact(coded *best, const float *x, float extreme, float low, float high)
{
    if (!may_be_exact(x))
        return false;
    for (float k = low; k <= high; k++) {
        float d = k != 0.0f ? round_f16(extreme / k) : 0.0f;
        if (d == 0.0f || k * d != extreme || !is_exact(x, d, low, high))
            continue;
        try_scale(best, x, d, low, high);
        return true;
    }
    return false;
}

/* Given levels, the error is least at d = sum(x l) / sum(l l), and is then
 * sum(x x) - sum(x l)^2 / sum(l l): the scale of the trial that makes the last term
 * largest. Trials give the extreme the levels from `first` on, a tenth apart. */
static float best_scale(const float *x, float extreme, float first, int n_trials, float low,
                        float high)
{
    float best = 0, best_gain = 0;
    for (int t = 0; t < n_trials; t++) {
        float inverse = (first + 0.1f * (float)t) / extreme, xl[LANES] = {0},
              ll[LANES] = {0};
        for (int i = 0; i < N; i += LANES)
            for (int j = 0; j < LANES; j++) {
                float level = nearest(x[i + j] * inverse, low, high);
                xl[j] += x[i + j] * level;
                ll[j] += level * level;
            }
        float sxl = sum(xl), sll = sum(ll);
        if (sll > 0 && sxl * sxl > best_gain * sll) {
            best_gain = sxl * sxl / sll;
            best = sxl / sll;
        }
    }
    return best;
}

static float signed_extreme(const float *x)
{
    float extreme = 0;
    for (int i = 0; i < N; i++)
        if (fabsf(x[i]) > fabsf(extreme))
            extreme = x[i];
    return extreme;
}

/* Levels low to -low - 1, as Q4_0 and Q5_0 have them. */
static coded code_signed(const float *x, float low)
{
    coded best = unwritable;
    float extreme = signed_extreme(x), high = -low - 1.0f;
    if (!all_finite(x))
        return best;
    try_scale(&best, x, round_f16(extreme / low), low, high);
    if (best.error == 0.0f || find_exact(&best, x, extreme, low, high))
        return best;
    try_scale(&best, x, round_f16(best_scale(x, extreme, low - 0.9f, 19, low, high)), low,
              high);
    try_scale(&best, x, round_f16(best_scale(x, extreme, high - 0.8f, 15, low, high)), low,
              high);
    return best;
}

static coded code_q8_0(const float *x)
{
    coded best = unwritable;
    float extreme = signed_extreme(x);
    if (!all_finite(x))
        return best;
    /* Level -128 only where a file had it: some programs take its absolute value in 8 bits.
     */
    try_scale(&best, x, round_f16(fabsf(extreme) / 127.0f), -127, 127);
    if (best.error == 0.0f || find_exact(&best, x, extreme, -128, 127))
        return best;
    try_scale(&best, x, round_f16(best_scale(x, fabsf(extreme), 126.5f, 11, -127, 127)),
              -127, 127);
    return best;
}

/* --- x = d level + m -------------------------------------------------------------- */

static void try_affine(coded *best, const float *x, float d, float m, float high)
{
    coded c = {.d = d, .m = m};
    float inverse = d != 0.0f ? 1.0f / d : 0.0f, error[LANES] = {0};
    for (int i = 0; i < N; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float level = nearest((x[i + j] - m) * inverse, 0, high);
            float e = x[i + j] - (level * d + m);
            c.level[i + j] = (int8_t)level;
            error[j] += e * e;
        }
    c.error = sum(error);
    if (c.error < best->error)
        *best = c;
}

/* As find_exact(): the least element has level `first`, the greatest first + span. The
 * scale must then be near an f16, which settles nearly every span at once. */
static bool find_exact_affine(coded *best, const float *x, float least, float greatest,
                              int high)
{
    float range = greatest - least;
    float slack = FLT_EPSILON * (fabsf(least) + fabsf(greatest));
    for (int span = high; span > 0; span--) {
        float d = round_f16(range / (float)span);
        if (fabsf((float)span * d - range) > slack)
            continue;
        for (int first = 0; first + span <= high; first++) {
            try_affine(best, x, d, round_f16(least - (float)first * d), (float)high);
            if (best->error == 0.0f)
                return true;
        }
    }
    return false;
}

/* Least squares for x - least = d l + m over several ways to set the levels; the pair that
 * explains most. With y = x - least, the error is sum(y y) - d sum(y l) - m sum(y). */
static void best_affine(const float *x, float least, float range, float high, float *out_d,
                        float *out_m)
{
    enum { TRIALS = 21 };
    float best_gain = 0;
    for (int t = 0; t < TRIALS; t++) {
        float inverse = (high - 1.0f + 0.1f * (float)t) / range;
        float l[LANES] = {0}, ll[LANES] = {0}, y[LANES] = {0}, yl[LANES] = {0};
        for (int i = 0; i < N; i += LANES)
            for (int j = 0; j < LANES; j++) {
                float above = x[i + j] - least, level = nearest(above * inverse, 0, high);
                l[j] += level;
                ll[j] += level * level;
                y[j] += above;
                yl[j] += above * level;
            }
        float sl = sum(l), sll = sum(ll), sy = sum(y), syl = sum(yl);
        float det = N * sll - sl * sl; /* > 0: level 0 and another occur */
        float d = (N * syl - sy * sl) / det, m = (sll * sy - sl * syl) / det;
        float gain = d * syl + m * sy;
        if (gain > best_gain) {
            best_gain = gain;
            *out_d = d;
            *out_m = m + least;
        }
    }
}

/* Levels 0 to `high`, as Q4_1 and Q5_1 have them. */
static coded code_affine(const float *x, int high)
{
    coded best = unwritable;
    float least = x[0], greatest = x[0], d = 0, m = 0;
    if (!all_finite(x))
        return best;
    for (int i = 1; i < N; i++) {
        least = x[i] < least ? x[i] : least;
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    try_affine(&best, x, round_f16((greatest - least) / (float)high), round_f16(least),
               (float)high);
    if (best.error == 0.0f || greatest == least ||
        find_exact_affine(&best, x, least, greatest, high))
        return best;
    best_affine(x, least, greatest - least, (float)high, &d, &m);
    try_affine(&best, x, round_f16(d), round_f16(m), (float)high);
    return best;
}

void ke__q4_0_from_f32(void *out, const float *in, size_t n)
{
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += N, block += Q4_0_BYTES) {
        coded c = code_signed(in + i, -8);
        store_f16(block, c.d);
        pack4(block + 2, c.level, 8);
    }
}

void ke__q4_1_from_f32(void *out, const float *in, size_t n)
{
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += N, block += Q4_1_BYTES) {
        coded c = code_affine(in + i, 15);
        store_f16(block, c.d);
        store_f16(block + 2, c.m);
        pack4(block + 4, c.level, 0);
    }
}

void ke__q5_0_from_f32(void *out, const float *in, size_t n)
{
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += N, block += Q5_0_BYTES) {
        coded c = code_signed(in + i, -16);
        store_f16(block, c.d);
        pack_fifth(block + 2, c.level, 16);
        pack4(block + 6, c.level, 16);
    }
}

void ke__q5_1_from_f32(void *out, const float *in, size_t n)
{
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += N, block += Q5_1_BYTES) {
        coded c = code_affine(in + i, 31);
        store_f16(block, c.d);
        store_f16(block + 2, c.m);
        pack_fifth(block + 4, c.level, 0);
        pack4(block + 8, c.level, 0);
    }
}

void ke__q8_0_from_f32(void *out, const float *in, size_t n)
{
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += N, block += Q8_0_BYTES) {
        coded c = code_q8_0(in + i);
        store_f16(block, c.d);
        memcpy(block + 2, c.level, N);
    }
}
