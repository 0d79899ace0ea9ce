/* Quantising to the K types: the least squared error that a short search finds.
 *
 * Each sub-block first gets the real scale and minimum that suit it alone. From the largest
 * of them follow d and dmin; then come whole scales, minima and levels, each beside its
 * ideal, whichever errs least; then d and dmin anew by least squares; and so on. */
#include "tensor/blocks.h"
#include "tensor/quant_k.h"

#include <math.h>

enum { N = KE__K_BLOCK, ROUNDS = 4 };

/* x = d q - m of one sub-block, in reals. */
typedef struct ideal {
    float d, m;
} ideal;

/* --- one sub-block, alone --------------------------------------------------------- */

/* Least squares for x + offset = d l + offset - m, the levels l being set by `inverse`. The
 * gain is what that takes from sum((x + offset)^2). */
static float try_levels(ideal *out, const float *x, float offset, float inverse,
                        const ke__k_shape *shape)
{
    float n = (float)shape->sub, low = (float)shape->low, high = (float)shape->high;
    float l[LANES] = {0}, ll[LANES] = {0}, y[LANES] = {0}, yl[LANES] = {0};
    for (int i = 0; i < shape->sub; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float above = x[i + j] + offset, level = nearest(above * inverse, low, high);
            l[j] += level;
            ll[j] += level * level;
            y[j] += above;
            yl[j] += above * level;
        }
    float sl = sum(l), sll = sum(ll), sy = sum(y), syl = sum(yl), c = offset, d;
    float det = n * sll - sl * sl;
    if (!(sll > 0))
        return 0;
    if (shape->m_high && det > 0)
        c = (sll * sy - sl * syl) / det;
    c = c < offset ? c : offset; /* there are no negative minima */
    d = (syl - c * sl) / sll;
    *out = (ideal){d, offset - c};
    return 2 * (d * syl + c * sy - d * c * sl) - d * d * sll - n * c * c;
}

/* Trials give the extreme a level near either end, or the greatest one near the top. */
static ideal fit_sub(const float *x, const ke__k_shape *shape)
{
    float least = 0, greatest = x[0], best_gain = 0;
    for (int i = 0; i < shape->sub; i++) {
        least = x[i] < least ? x[i] : least;
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    float offset = shape->m_high ? -least : 0;
    float range = shape->m_high || greatest > -least ? greatest + offset : least;
    ideal best = {0, offset}, next = {0};
    for (int t = -10; t <= 10 && range != 0.0f; t++)
        for (int end = shape->m_high ? 1 : 0; end < 2; end++) {
            float level = (float)(end ? shape->high : shape->low) + 0.1f * (float)t;
            float gain = try_levels(&next, x, offset, level / range, shape);
            if (gain > best_gain) {
                best_gain = gain;
                best = next;
            }
        }
    return best;
}

/* --- the block -------------------------------------------------------------------- */

static int clamp(int v, int low, int high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

float ke__k_levels(ke__k_block *b, int k, const float *x, const ke__k_shape *shape)
{
    float low = (float)shape->low, high = (float)shape->high;
    float d = b->d * (float)b->s[k], m = b->dmin * (float)b->m[k];
    float inverse = d != 0.0f ? 1.0f / d : 0.0f, error[LANES] = {0};
    int8_t *level = b->level + k * shape->sub;
    for (int i = 0; i < shape->sub; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float l = nearest((x[i + j] + m) * inverse, low, high);
            float e = x[i + j] - (l * d - m);
            level[i + j] = (int8_t)l;
            error[j] += e * e;
        }
    return sum(error);
}

/* Whole s and m near the ideal of sub-block k, and its levels; returns the squared error.
 */
static float place_sub(ke__k_block *b, int k, const float *x, const ideal *to,
                       const ke__k_shape *shape)
{
    int s0 = b->d != 0.0f ? (int)nearest(to->d / b->d, -128, 127) : 0;
    int m0 = b->dmin != 0.0f ? (int)nearest(to->m / b->dmin, 0, 127) : 0;
    int reach = shape->m_high ? 1 : 0, s = 0, m = 0;
    float best = INFINITY;
    for (int i = -1; i <= 1; i++)
        for (int j = -reach; j <= reach; j++) {
            b->s[k] = (int8_t)clamp(s0 + i, shape->s_low, shape->s_high);
            b->m[k] = (int8_t)clamp(m0 + j, 0, shape->m_high);
            float error = ke__k_levels(b, k, x, shape);
            if (error < best) {
                best = error;
                s = b->s[k];
                m = b->m[k];
            }
        }
    b->s[k] = (int8_t)s;
    b->m[k] = (int8_t)m;
    return ke__k_levels(b, k, x, shape);
}

/* d and dmin by least squares over the block: x = d a - dmin c with a = s l, c = m. */
static void refit(ke__k_block *b, const float *x, const ke__k_shape *shape)
{
    double aa = 0, ac = 0, cc = 0, xa = 0, xc = 0;
    for (int i = 0; i < N; i++) {
        double a = b->s[i / shape->sub] * b->level[i], c = b->m[i / shape->sub];
        aa += a * a;
        ac += a * c;
        cc += c * c;
        xa += (double)x[i] * a;
        xc += (double)x[i] * c;
    }
    double det = aa * cc - ac * ac;
    if (det > 0) {
        b->d = round_f16((float)((xa * cc - xc * ac) / det));
        b->dmin = round_f16((float)((xa * ac - xc * aa) / det));
    } else if (aa > 0) {
        b->d = round_f16((float)(xa / aa));
    }
}

/* The scale that gives `top` the level `high`; the least there is, rather than none. */
static float unit(float top, int high)
{
    float d = high ? round_f16(top / (float)high) : 0;
    return d == 0.0f && top > 0.0f ? 0x1p-24f : d;
}

void ke__k_fit(ke__k_block *out, const float *x, const ke__k_shape *shape)
{
    ideal ideals[KE__K_SUBS], top = {0};
    ke__k_block next;
    float best = INFINITY;
    *out = (ke__k_block){.d = NAN};
    for (int i = 0; i < N; i++)
        if (!(fabsf(x[i]) < 0x1p30f)) /* f16 times scale times level stays below */
            return;
    if (ke__k_exact(&next, x, shape)) {
        *out = next;
        return;
    }
    next = (ke__k_block){0};
    for (int k = 0; k < N / shape->sub; k++) {
        ideals[k] = fit_sub(x + k * shape->sub, shape);
        top.d = fmaxf(top.d, fabsf(ideals[k].d));
        top.m = fmaxf(top.m, ideals[k].m);
    }
    next.d = unit(top.d, shape->s_high);
    next.dmin = unit(top.m, shape->m_high);
    for (int round = 0; round < ROUNDS; round++) {
        float error = 0;
        for (int k = 0; k < N / shape->sub; k++)
            error += place_sub(&next, k, x + k * shape->sub, &ideals[k], shape);
        if (error < best) {
            best = error;
            *out = next;
        }
        refit(&next, x, shape);
    }
}
