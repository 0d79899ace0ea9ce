/* How the K types lie in memory. The bits of a level are spread over one or two planes;
 * scales and minima are packed in one of four ways. */
#include "tensor/quant_k.h"
#include "tensor/blocks.h"
#include "tensor/quant.h"

/* Elements i, i + run, i + 2 run, ... share a byte until it is full: the next `run` bytes
 * follow. */
typedef struct plane {
    int offset; /* in the block */
    int bits;   /* of each element: 1, 2 or 4; 0 if there is no such plane */
    int run;
    int at; /* the lowest of these bits in the level */
} plane;

typedef struct layout {
    ke__k_shape shape;
    uint32_t bytes;
    int zero; /* a level is stored with this added */
    plane planes[2];
    int d, dmin, scales; /* offsets in the block */
    void (*load)(ke__k_block *out, const uint8_t *scales);
    void (*store)(uint8_t *scales, const ke__k_block *b);
} layout;

/* --- levels ----------------------------------------------------------------------- */

static void load_plane(uint8_t level[KE__K_BLOCK], const uint8_t *from, const plane *p)
{
    if (p->bits == 0)
        return;
    for (int i = 0, part = 0; i < KE__K_BLOCK; i += p->run, part++) {
        const uint8_t *bytes = from + p->bits * part / 8 * p->run;
        int shift = p->bits * part % 8, mask = (1 << p->bits) - 1;
        for (int j = 0; j < p->run; j++)
            level[i + j] |= (uint8_t)((bytes[j] >> shift & mask) << p->at);
    }
}

static void store_plane(uint8_t *to, const uint8_t level[KE__K_BLOCK], const plane *p)
{
    if (p->bits == 0)
        return;
    for (int i = 0, part = 0; i < KE__K_BLOCK; i += p->run, part++) {
        uint8_t *bytes = to + p->bits * part / 8 * p->run;
        int shift = p->bits * part % 8, mask = (1 << p->bits) - 1;
        for (int j = 0; j < p->run; j++)
            bytes[j] |= (uint8_t)((level[i + j] >> p->at & mask) << shift);
    }
}

/* --- scales ----------------------------------------------------------------------- */

/* 16 bytes: scale in the low half, minimum in the high half. */
static void load_halves(ke__k_block *out, const uint8_t *scales)
{
    for (int b = 0; b < 16; b++) {
        out->s[b] = scales[b] & 15;
        out->m[b] = (int8_t)(scales[b] >> 4);
    }
}

static void store_halves(uint8_t *scales, const ke__k_block *b)
{
    for (int i = 0; i < 16; i++)
        scales[i] = (uint8_t)(b->s[i] | b->m[i] << 4);
}

/* 12 bytes for 16 scales of 6 bits, stored with 32 added: the low four bits of scale b in a
 * half of byte b % 8, the others in a quarter of byte 8 + b % 4. */
static void load_sixes(ke__k_block *out, const uint8_t *scales)
{
    for (int b = 0; b < 16; b++) {
        int low = scales[b % 8] >> 4 * (b / 8) & 15;
        int high = scales[8 + b % 4] >> 2 * (b / 4) & 3;
        out->s[b] = (int8_t)((low | high << 4) - 32);
    }
}

static void store_sixes(uint8_t *scales, const ke__k_block *b)
{
    for (int i = 0; i < 16; i++) {
        int s = b->s[i] + 32;
        scales[i % 8] |= (uint8_t)((s & 15) << 4 * (i / 8));
        scales[8 + i % 4] |= (uint8_t)((s >> 4) << 2 * (i / 4));
    }
}

/* 12 bytes for 8 scales and 8 minima of 6 bits. The first four of each have a byte, whose
 * two high bits belong to the last four; the low four bits of those fill four bytes more,
 * scales in the low halves. */
static void load_pairs(ke__k_block *out, const uint8_t *scales)
{
    for (int b = 0; b < 4; b++) {
        out->s[b] = scales[b] & 63;
        out->m[b] = scales[4 + b] & 63;
        out->s[4 + b] = (int8_t)((scales[8 + b] & 15) | scales[b] >> 6 << 4);
        out->m[4 + b] = (int8_t)(scales[8 + b] >> 4 | scales[4 + b] >> 6 << 4);
    }
}

static void store_pairs(uint8_t *scales, const ke__k_block *b)
{
    for (int i = 0; i < 4; i++) {
        scales[i] = (uint8_t)(b->s[i] | b->s[4 + i] >> 4 << 6);
        scales[4 + i] = (uint8_t)(b->m[i] | b->m[4 + i] >> 4 << 6);
        scales[8 + i] = (uint8_t)((b->s[4 + i] & 15) | (b->m[4 + i] & 15) << 4);
    }
}

static void load_bytes(ke__k_block *out, const uint8_t *scales)
{
    memcpy(out->s, scales, 16);
}

static void store_bytes(uint8_t *scales, const ke__k_block *b)
{
    memcpy(scales, b->s, 16);
}

/* --- blocks ----------------------------------------------------------------------- */

static void load_block(ke__k_block *out, const uint8_t *from, const layout *l)
{
    uint8_t level[KE__K_BLOCK] = {0};
    *out = (ke__k_block){.d = load_f16(from + l->d)};
    if (l->shape.m_high)
        out->dmin = load_f16(from + l->dmin);
    l->load(out, from + l->scales);
    for (int p = 0; p < 2; p++)
        load_plane(level, from + l->planes[p].offset, &l->planes[p]);
    for (int i = 0; i < KE__K_BLOCK; i++)
        out->level[i] = (int8_t)(level[i] - l->zero);
}

static void store_block(uint8_t *to, const ke__k_block *b, const layout *l)
{
    uint8_t level[KE__K_BLOCK];
    memset(to, 0, l->bytes);
    store_f16(to + l->d, b->d);
    if (l->shape.m_high)
        store_f16(to + l->dmin, b->dmin);
    l->store(to + l->scales, b);
    for (int i = 0; i < KE__K_BLOCK; i++)
        level[i] = (uint8_t)(b->level[i] + l->zero);
    for (int p = 0; p < 2; p++)
        store_plane(to + l->planes[p].offset, level, &l->planes[p]);
}

static void read_row(float *out, const uint8_t *from, size_t n, const layout *l)
{
    for (size_t at = 0; at < n; at += KE__K_BLOCK, from += l->bytes, out += KE__K_BLOCK) {
        ke__k_block b;
        load_block(&b, from, l);
        for (int i = 0; i < KE__K_BLOCK; i++) {
            int k = i / l->shape.sub;
            out[i] = b.d * (float)b.s[k] * (float)b.level[i] - b.dmin * (float)b.m[k];
        }
    }
}

static void write_row(uint8_t *to, const float *in, size_t n, const layout *l)
{
    for (size_t at = 0; at < n; at += KE__K_BLOCK, to += l->bytes) {
        ke__k_block b;
        ke__k_fit(&b, in + at, &l->shape);
        store_block(to, &b, l);
    }
}

static const layout q2_k = {.shape = {.sub = 16, .high = 3, .s_high = 15, .m_high = 15},
                            .bytes = 84,
                            .planes = {{16, 2, 32, 0}},
                            .d = 80,
                            .dmin = 82,
                            .scales = 0,
                            .load = load_halves,
                            .store = store_halves};
static const layout q3_k = {
    .shape = {.sub = 16, .low = -4, .high = 3, .s_low = -32, .s_high = 31},
    .bytes = 110,
    .zero = 4,
    .planes = {{32, 2, 32, 0}, {0, 1, 32, 2}},
    .d = 108,
    .scales = 96,
    .load = load_sixes,
    .store = store_sixes};
static const layout q4_k = {.shape = {.sub = 32, .high = 15, .s_high = 63, .m_high = 63},
                            .bytes = 144,
                            .planes = {{16, 4, 32, 0}},
                            .d = 0,
                            .dmin = 2,
                            .scales = 4,
                            .load = load_pairs,
                            .store = store_pairs};
static const layout q5_k = {.shape = {.sub = 32, .high = 31, .s_high = 63, .m_high = 63},
                            .bytes = 176,
                            .planes = {{48, 4, 32, 0}, {16, 1, 32, 4}},
                            .d = 0,
                            .dmin = 2,
                            .scales = 4,
                            .load = load_pairs,
                            .store = store_pairs};
static const layout q6_k = {
    .shape = {.sub = 16, .low = -32, .high = 31, .s_low = -128, .s_high = 127},
    .bytes = 210,
    .zero = 32,
    .planes = {{0, 4, 64, 0}, {128, 2, 32, 4}},
    .d = 208,
    .scales = 192,
    .load = load_bytes,
    .store = store_bytes};

#define K_TYPE(type)                                                                       \
    void ke__##type##_to_f32(float *out, const void *in, size_t n)                         \
    {                                                                                      \
        read_row(out, in, n, &type);                                                       \
    }                                                                                      \
    void ke__##type##_from_f32(void *out, const float *in, size_t n)                       \
    {                                                                                      \
        write_row(out, in, n, &type);                                                      \
    }
K_TYPE(q2_k)
K_TYPE(q3_k)
K_TYPE(q4_k)
K_TYPE(q5_k)
K_TYPE(q6_k)
