/* Blocks whose elements are already those of some block of the type, whoever wrote it: d,
 * dmin and the whole numbers are found again from the steps between the elements. */
#include "tensor/blocks.h"
#include "tensor/quant_k.h"

#include <math.h>
#include <stdlib.h>

/* Candidates for d and dmin are many only for elements that look like many blocks and are
 * none: those end the search here, after some milliseconds at most. A pair that is tried on
 * all sub-blocks costs more than a number that is looked at. */
enum { BUDGET = 1 << 16, PAIR_COST = 64 };

/* What a sub-block shows of itself: each x is least + step times a whole number, within
 * `slop`, since reading rounds once. The greatest of these numbers is `span`; step and span
 * are 0 if all are alike. Without minima, `least` stays 0 and reading is exact. */
typedef struct trace {
    double least, step, slop;
    int span;
} trace;

static bool is_whole(const float *x, int n, const trace *t)
{
    for (int i = 0; i < n; i++) {
        double y = (double)x[i] - t->least;
        if (fabs(y - nearbyint(y / t->step) * t->step) > t->slop)
            return false;
    }
    return true;
}

static int most_steps(const ke__k_shape *shape)
{
    return shape->m_high ? shape->high : -shape->low;
}

/* The largest step. One that drowns in rounding tells nothing. */
static bool trace_sub(trace *t, const float *x, const ke__k_shape *shape)
{
    double least = (double)x[0], greatest = least;
    for (int i = 1; i < shape->sub; i++) {
        least = fmin(least, (double)x[i]);
        greatest = fmax(greatest, (double)x[i]);
    }
    double size = fmax(greatest, -least), reach = shape->m_high ? greatest - least : size;
    *t = (trace){.least = shape->m_high ? least : 0, .slop = 0x1p-22 * size};
    while (reach > 0 && ++t->span <= most_steps(shape)) {
        t->step = reach / t->span;
        if (t->step < 0x1p11 * t->slop)
            return false;
        if (is_whole(x, shape->sub, t))
            return true;
    }
    return reach == 0;
}

static int steps_of(const trace *t, float d)
{
    return d != 0.0f ? (int)nearbyint(fmin(t->step / fabs((double)d), 1e6)) : 0;
}

static bool steps_fit(const trace *t, float d, const ke__k_shape *shape)
{
    for (int k = 0; k < KE__K_BLOCK / shape->sub; k++)
        if (t[k].span > 0 &&
            fabs(steps_of(&t[k], d) * fabs((double)d) - t[k].step) > t[k].slop / t[k].span)
            return false;
    return true;
}

/* Sub-block k with the d and dmin of b: whole numbers that leave every element as it is.
 * Its step is d times s times the greatest common divisor of its levels. */
static bool solve_sub(ke__k_block *b, int k, const float *x, const trace *t,
                      const ke__k_shape *shape)
{
    int steps = steps_of(t, b->d), most = most_steps(shape);
    for (int i = 0; i <= shape->s_high - shape->s_low; i++) {
        int s = i <= shape->s_high ? i : shape->s_high - i;
        int divisor = s != 0 ? steps / abs(s) : 0;
        if (divisor * abs(s) != steps || divisor * t->span > most)
            continue;
        /* With minima, the level of the least element settles the sub-block's. */
        int last = shape->m_high && s != 0 ? most - divisor * t->span : 0;
        for (int first = 0; first <= last; first++) {
            double m = shape->m_high ? first * s * (double)b->d - t->least : 0;
            double whole = b->dmin > 0.0f ? nearbyint(m / (double)b->dmin) : 0;
            if (whole < 0 || whole > shape->m_high ||
                fabs(whole * (double)b->dmin - m) > t->slop)
                continue;
            b->s[k] = (int8_t)s;
            b->m[k] = (int8_t)whole;
            if (ke__k_levels(b, k, x, shape) == 0.0f)
                return true;
        }
    }
    return false;
}

static bool solve(ke__k_block *b, const float *x, const trace *t, const ke__k_shape *shape,
                  int *budget)
{
    *budget -= PAIR_COST;
    for (int k = 0; k < KE__K_BLOCK / shape->sub; k++)
        if (!solve_sub(b, k, x + k * shape->sub, &t[k], shape))
            return false;
    return true;
}

/* d is known: the dmin that fit what sub-block k may have as its minimum. */
static bool try_minima(ke__k_block *b, int k, const float *x, const trace *t,
                       const ke__k_shape *shape, int *budget)
{
    int steps = steps_of(&t[k], b->d);
    for (int s = 1; s <= (t[k].span ? shape->s_high : 1); s++) {
        int last = t[k].span ? shape->high - steps / s * t[k].span : 0;
        for (int first = 0; first <= last && steps % s == 0; first++) {
            double m = first * s * (double)b->d - t[k].least;
            for (int whole = 1; m > 0 && whole <= shape->m_high; whole++) {
                if (--*budget <= 0)
                    return false;
                b->dmin = round_f16((float)(m / whole));
                if (fabs(whole * (double)b->dmin - m) <= t[k].slop && b->dmin > 0.0f &&
                    solve(b, x, t, shape, budget))
                    return true;
            }
        }
    }
    return false;
}

static bool try_step(ke__k_block *b, float d, const float *x, const trace *t,
                     const ke__k_shape *shape, int *budget)
{
    *b = (ke__k_block){.d = d};
    if (solve(b, x, t, shape, budget))
        return true;
    for (int k = 0; k < KE__K_BLOCK / shape->sub && shape->m_high && *budget > 0; k++)
        if (try_minima(b, k, x, t, shape, budget))
            return true;
    return false;
}

bool ke__k_exact(ke__k_block *out, const float *x, const ke__k_shape *shape)
{
    trace t[KE__K_SUBS];
    int widest = 0, budget = BUDGET;
    for (int k = 0; k < KE__K_BLOCK / shape->sub; k++) {
        if (!trace_sub(&t[k], x + k * shape->sub, shape))
            return false;
        if (t[k].span > t[widest].span)
            widest = k;
    }
    if (t[widest].span == 0)
        return try_step(out, 0, x, t, shape, &budget);
    int last = -shape->s_low > shape->s_high ? -shape->s_low : shape->s_high;
    last *= most_steps(shape) / t[widest].span;
    for (int n = 1; n <= last && budget > 0; n++) {
        float d = round_f16((float)(t[widest].step / n));
        if (d == 0.0f || !steps_fit(t, d, shape))
            continue;
        /* The lowest scale has no counterpart, so that the sign of d matters. */
        if (try_step(out, d, x, t, shape, &budget) ||
            (shape->s_low < 0 && try_step(out, -d, x, t, shape, &budget)))
            return true;
    }
    return false;
}
