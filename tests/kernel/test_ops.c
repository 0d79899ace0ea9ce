/* The rows of every family against the double reference, except matrix products
 * (test_linear.c): ragged sizes, tails, repeated rows, nothing at all. */
#include "support/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define OK(call) assert_int_equal(call, KE_OK)

/* Around vectors of 8 and 16, chunks of 256 and tasks of 8192 elements. */
static const size_t widths[] = {1, 7, 8, 16, 33, 255, 256, 259, 576};

static void moving(struct rig *r, const void *params)
{
    static const int32_t rows[] = {3, 0, 3, 5, 1};
    size_t width = *(const size_t *)params, n = 6 * width, k = COUNT(rows);
    ke_buf *x = rig_random(r, n, 1.0F), *some = rig_zeros(r, k * width);
    ke_buf *add = rig_random(r, n, 1.0F), *scale = rig_random(r, n, 1.0F);
    ke_buf *set = rig_random(r, n, 1.0F), *moved = rig_zeros(r, n + 3);

    OK(r->ops->gather(r->cx, some, x, rows, k, width));
    OK(r->ops->scatter(r->cx, add, some, rows, k, width, KE__PUT_ADD));
    OK(r->ops->scatter(r->cx, scale, some, rows + 1, 4, width, KE__PUT_SCALE));
    OK(r->ops->scatter(r->cx, set, some, rows + 1, 4, width, KE__PUT_SET));
    OK(r->ops->axpy(r->cx, x, add, -0.3F, n));
    OK(r->ops->copy(r->cx, moved, 3, x, 0, n));
    OK(r->ops->zero(r->cx, set, width, width));
    rig_keep(r, "gathered", some, k * width, 1.0);
    rig_keep(r, "added", add, n, 2.0);
    rig_keep(r, "scaled", scale, n, 1.0);
    rig_keep(r, "set", set, n, 1.0);
    rig_keep(r, "moved", moved, n + 3, 1.0);
}

static void embedding(struct rig *r, const void *params)
{
    static const int32_t ids[] = {4, 0, 4, 9, 1, 2};
    const char *type = params;
    const ke__mat *table = rig_mat(r, type, 10, 288);
    ke_buf *out = rig_zeros(r, COUNT(ids) * 288);

    OK(r->ops->embed(r->cx, out, table, ids, COUNT(ids), 24.0F));
    rig_keep(r, "embedded", out, COUNT(ids) * 288, 1.0);
}

static void moves_rows(void **state)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q4_0", "q4_1", "q8_0"};

    (void)state;
    for (size_t i = 0; i < COUNT(widths); i++)
        rig_compare("moving", moving, &widths[i]);
    for (size_t i = 0; i < COUNT(types); i++)
        rig_compare(types[i], embedding, types[i]);
}

struct norm_case {
    size_t n, width;
    ke__norm kind;
    bool weighted;
};

static void normalise(struct rig *r, const void *params)
{
    const struct norm_case *c = params;
    size_t size = c->n * c->width;
    const ke__mat *w = c->weighted ? rig_mat(r, "f32", 1, c->width) : NULL;
    const ke__mat *b = c->weighted ? rig_mat(r, "f16", 1, c->width) : NULL;
    ke_buf *x = rig_random(r, size, 3.0F), *out = rig_zeros(r, size);
    ke_buf *dy = rig_random(r, size, 1.0F), *dx = rig_random(r, size, 1.0F);
    ke_buf *dw = rig_random(r, c->width, 1.0F), *db = rig_random(r, c->width, 1.0F);

    OK(r->ops->norm(r->cx, out, x, w, b, c->n, c->width, 1e-5F, c->kind));
    OK(r->ops->norm_back(r->cx, dx, dw, db, dy, x, w, c->n, c->width, 1e-5F, c->kind));
    OK(r->ops->norm_back(r->cx, dx, NULL, NULL, dy, x, w, c->n, c->width, 1e-5F, c->kind));
    OK(r->ops->norm(r->cx, x, x, w, b, c->n, c->width, 1e-5F, c->kind));
    rig_keep(r, "out", out, size, 1.0);
    rig_keep(r, "in place", x, size, 1.0);
    rig_keep(r, "dx", dx, size, 4.0);
    rig_keep(r, "dw", dw, c->width, (double)c->n + 1.0);
    rig_keep(r, "db", db, c->width, (double)c->n + 1.0);
}

static void normalises_rows(void **state)
{
    (void)state;
    for (size_t i = 1; i < COUNT(widths); i++)
        for (size_t n = 0; n <= 5; n += 5) {
            rig_compare("rms", normalise,
                        &(struct norm_case){n, widths[i], KE__NORM_RMS, i % 2 == 0});
            rig_compare("layer", normalise,
                        &(struct norm_case){n, widths[i], KE__NORM_LAYER, i % 2 == 1});
        }
}

struct rope_case {
    uint32_t heads, head_dim;
    ke__rope rope;
};

static void rotate(struct rig *r, const void *params)
{
    const struct rope_case *c = params;
    size_t n = 37, size = n * c->heads * c->head_dim;
    ke_buf *x = rig_random(r, size, 1.0F);
    int32_t pos[37];

    for (size_t i = 0; i < n; i++)
        pos[i] = (int32_t)(i * i * 3);
    OK(r->ops->rope(r->cx, x, pos, n, c->heads, c->head_dim, &c->rope, 1));
    rig_keep(r, "rotated", x, size, 2.0);
    OK(r->ops->rope(r->cx, x, pos, n, c->heads, c->head_dim, &c->rope, -1));
    rig_keep(r, "and back", x, size, 4.0);
}

static void rotates_heads(void **state)
{
    static const float factors[] = {1, 1, 2, 4, 8, 8, 8, 8};

    (void)state;
    rig_compare("neox", rotate, &(struct rope_case){3, 64, {64, false, 1e5F, 1.0F, NULL}});
    rig_compare("pairs", rotate, &(struct rope_case){2, 20, {12, true, 1e4F, 1.0F, NULL}});
    rig_compare("scaled", rotate,
                &(struct rope_case){1, 16, {16, true, 1e4F, 0.25F, factors}});
    rig_compare("wide", rotate,
                &(struct rope_case){1, 256, {256, false, 1e6F, 1.0F, NULL}});
    rig_compare("none", rotate, &(struct rope_case){1, 8, {0, false, 1e4F, 1.0F, NULL}});
}

/* Three spans: one from the start, one over a cached prefix, one longer than a block of
 * keys. Cache rows lie backwards, so that position and row are never the same. */
struct attend_case {
    uint32_t heads, kv, dim, window;
    float softcap;
};

enum { SPANS = 3, CACHE = 110 };

static void attend(struct rig *r, const void *params)
{
    static const uint32_t n_rows[SPANS] = {5, 3, 80}, before[SPANS] = {0, 14, 2};
    const struct attend_case *c = params;
    size_t rows = 88, q_width = c->heads * c->dim, kv_width = c->kv * c->dim, used = CACHE;
    int32_t keys[SPANS][CACHE];
    ke__span spans[SPANS];
    ke__attention att = {c->heads,   c->kv,     c->dim, 1.0F / sqrtf((float)c->dim),
                         c->softcap, c->window, spans,  SPANS};
    ke_buf *q = rig_random(r, rows * q_width, 2.0F), *out = rig_zeros(r, rows * q_width);
    ke_buf *k = rig_random(r, CACHE * kv_width, 2.0F),
           *v = rig_random(r, CACHE * kv_width, 1);
    ke_buf *lse = rig_zeros(r, rows * c->heads),
           *dout = rig_random(r, rows * q_width, 1.0F);
    ke_buf *dq = rig_random(r, rows * q_width, 0.1F);
    ke_buf *dk = rig_random(r, rows * kv_width, 0.1F);
    ke_buf *dv = rig_random(r, rows * kv_width, 0.1F);

    for (uint32_t s = 0, row = 0; s < SPANS; row += n_rows[s], s++) {
        spans[s] = (ke__span){row, n_rows[s], before[s], keys[s]};
        for (uint32_t p = 0; p < before[s] + n_rows[s]; p++)
            keys[s][p] = (int32_t)--used;
    }
    OK(r->ops->attention(r->cx, out, lse, q, k, v, &att));
    OK(r->ops->attention_back(r->cx, dq, dk, dv, dout, out, lse, q, k, v, &att));
    rig_keep(r, "out", out, rows * q_width, (double)c->dim);
    rig_keep(r, "lse", lse, rows * c->heads, (double)c->dim);
    rig_keep(r, "dq", dq, rows * q_width, 2.0 * c->dim);
    rig_keep(r, "dk", dk, rows * kv_width, 2.0 * c->dim);
    rig_keep(r, "dv", dv, rows * kv_width, 2.0 * c->dim);
}

static void attends_over_ragged_spans(void **state)
{
    (void)state;
    rig_compare("one head", attend, &(struct attend_case){1, 1, 5, 0, 0.0F});
    rig_compare("grouped", attend, &(struct attend_case){6, 2, 64, 0, 0.0F});
    rig_compare("window", attend, &(struct attend_case){4, 4, 24, 7, 0.0F});
    rig_compare("soft cap", attend, &(struct attend_case){3, 1, 33, 70, 2.0F});
}

static void no_rows(struct rig *r, const void *params)
{
    const ke__attention att = {2, 1, 8, 1.0F, 0.0F, 0, NULL, 0};
    ke_buf *x = rig_random(r, 16, 1.0F);

    (void)params;
    OK(r->ops->attention(r->cx, x, x, x, x, x, &att));
    OK(r->ops->attention_back(r->cx, x, x, x, x, x, x, x, x, x, &att));
    OK(r->ops->glu(r->cx, x, x, x, 0, KE__ACT_SILU));
    OK(r->ops->gather(r->cx, x, x, NULL, 0, 16));
    OK(r->ops->score(r->cx, NULL, NULL, NULL, NULL, NULL, x, NULL, 0, 16));
    OK(r->ops->log_softmax(r->cx, x, 0, 16));
    rig_keep(r, "untouched", x, 16, 1.0);
}

static void does_nothing_with_no_rows(void **state)
{
    (void)state;
    rig_compare("no rows", no_rows, NULL);
}

struct act_case {
    ke__act act;
    size_t n;
    float scale;
    bool gated;
};

static void activate(struct rig *r, const void *params)
{
    const struct act_case *c = params;
    ke_buf *gate = rig_random(r, c->n, c->scale), *out = rig_zeros(r, c->n);
    ke_buf *up = c->gated ? rig_random(r, c->n, 1.0F) : NULL;
    ke_buf *dup = c->gated ? rig_zeros(r, c->n) : NULL;
    ke_buf *dout = rig_random(r, c->n, 1.0F), *dgate = rig_zeros(r, c->n);

    OK(r->ops->glu(r->cx, out, gate, up, c->n, c->act));
    OK(r->ops->glu_back(r->cx, dgate, dup, dout, gate, up, c->n, c->act));
    rig_keep(r, "out", out, c->n, 4.0);
    /* x (1 - s) loses what 1 - s rounds, until s is 1 at x = 17: some 8 roundings. */
    rig_keep(r, "dgate", dgate, c->n, 16.0);
    if (c->gated)
        rig_keep(r, "dup", dup, c->n, 4.0);
}

static void cap(struct rig *r, const void *params)
{
    const struct act_case *c = params;
    ke_buf *x = rig_random(r, c->n, c->scale), *dy = rig_random(r, c->n, 1.0F);

    OK(r->ops->softcap(r->cx, x, c->n, 5.0F));
    rig_keep(r, "capped", x, c->n, 1.0);
    OK(r->ops->softcap_back(r->cx, dy, x, c->n, 5.0F));
    if (c->scale <= 5.0F) /* beyond, 1 - (y / cap)^2 cancels all digits */
        rig_keep(r, "dy", dy, c->n, 4.0);
}

static void activates(void **state)
{
    static const ke__act acts[] = {KE__ACT_SILU, KE__ACT_GELU_TANH, KE__ACT_GELU,
                                   KE__ACT_RELU};
    static const float scales[] = {0.01F, 4.0F, 120.0F};
    static const size_t sizes[] = {0, 5, 16, 250, 8192 + 37};

    (void)state;
    for (size_t a = 0; a < COUNT(acts); a++)
        for (size_t s = 0; s < COUNT(scales); s++)
            for (size_t n = 0; n < COUNT(sizes); n++)
                rig_compare("activation", activate,
                            &(struct act_case){acts[a], sizes[n], scales[s], n % 2 == 0});
    for (size_t s = 0; s < COUNT(scales); s++)
        for (size_t n = 0; n < COUNT(sizes); n++)
            rig_compare("soft cap", cap, &(struct act_case){0, sizes[n], scales[s], false});
}

enum { LOSS_ROWS = 6 };

static void lose(struct rig *r, const void *params)
{
    size_t v = *(const size_t *)params, size = LOSS_ROWS * v;
    int32_t targets[LOSS_ROWS], best[LOSS_ROWS];
    float logprob[LOSS_ROWS], margin[LOSS_ROWS], counts[2 * LOSS_ROWS];
    uint32_t rank[LOSS_ROWS];
    double lse[LOSS_ROWS], loss[LOSS_ROWS], kl[LOSS_ROWS];
    const float weight[LOSS_ROWS] = {1.0F, 0.5F, 0.0F, 2.0F, 0.125F, 1.0F};
    ke_buf *logits = rig_random(r, size, 8.0F), *other = rig_random(r, size, 8.0F);
    ke_buf *p = rig_random(r, size, 8.0F);

    for (size_t i = 0; i < LOSS_ROWS; i++)
        targets[i] = (int32_t)(i * (v - 1) / (LOSS_ROWS - 1));
    OK(r->ops->score(r->cx, logprob, best, rank, margin, lse, logits, targets, LOSS_ROWS,
                     v));
    OK(r->ops->xent(r->cx, loss, logits, targets, weight, LOSS_ROWS, v));
    OK(r->ops->log_softmax(r->cx, other, LOSS_ROWS, v));
    OK(r->ops->kl(r->cx, kl, p, other, weight, LOSS_ROWS, v));
    for (size_t i = 0; i < LOSS_ROWS; i++) {
        counts[2 * i] = (float)best[i];
        counts[2 * i + 1] = (float)rank[i];
    }
    rig_keep_f32(r, "logprob", logprob, LOSS_ROWS, 1.0);
    rig_keep_f32(r, "margin", margin, v > 1 ? LOSS_ROWS : 0, 1.0);
    rig_keep_f32(r, "best and rank", counts, 2 * LOSS_ROWS, 1e-9); /* exact */
    rig_keep_f64(r, "lse", lse, LOSS_ROWS, 1.0);
    rig_keep_f64(r, "loss", loss, LOSS_ROWS, 1.0);
    /* Probabilities carry the rounding of logits of size 8 as relative error: 8^2. */
    rig_keep(r, "dlogits", logits, size, 64.0);
    rig_keep(r, "log-probabilities", other, size, 1.0);
    rig_keep_f64(r, "kl", kl, LOSS_ROWS, 1.0);
    rig_keep(r, "dkl", p, size, 64.0);
}

static void loses_and_scores(void **state)
{
    static const size_t vocabularies[] = {1, 2, 15, 16, 40, 1003, 20011};

    (void)state;
    for (size_t i = 0; i < COUNT(vocabularies); i++)
        rig_compare("losses", lose, &vocabularies[i]);
}

static void optimise(struct rig *r, const void *params)
{
    size_t n = *(const size_t *)params;
    ke_buf *x = rig_random(r, n, 1.0F), *dx = rig_random(r, n, 1.0F);
    ke_buf *m = rig_zeros(r, n), *v = rig_zeros(r, n);

    for (uint32_t t = 1; t <= 3; t++)
        OK(r->ops->adam(r->cx, x, m, v, dx, n, t, 0.1F, 0.9F, 0.999F, 1e-8F, 0.01F));
    rig_keep(r, "x", x, n, 3.0);
    rig_keep(r, "m", m, n, 3.0);
    rig_keep(r, "v", v, n, 3.0);
}

static void steps_by_adam(void **state)
{
    static const size_t sizes[] = {0, 1, 9, 576, 8192 + 5};

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++)
        rig_compare("adam", optimise, &sizes[i]);
}

static void same_bits_for_any_threads(void **state)
{
    static const size_t n = 8192 * 3 + 11, vocabulary = 1003;

    (void)state;
    rig_same_bits("embedding", embedding, "q8_0");
    rig_same_bits("norm", normalise, &(struct norm_case){37, 259, KE__NORM_LAYER, true});
    rig_same_bits("rope", rotate,
                  &(struct rope_case){3, 64, {64, false, 1e5F, 1.0F, NULL}});
    rig_same_bits("attention", attend, &(struct attend_case){6, 2, 64, 0, 3.0F});
    rig_same_bits("activation", activate, &(struct act_case){KE__ACT_SILU, n, 4.0F, true});
    rig_same_bits("soft cap", cap, &(struct act_case){0, n, 4.0F, false});
    rig_same_bits("losses", lose, &vocabulary);
    rig_same_bits("adam", optimise, &n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_rows),
        cmocka_unit_test(normalises_rows),
        cmocka_unit_test(rotates_heads),
        cmocka_unit_test(attends_over_ragged_spans),
        cmocka_unit_test(does_nothing_with_no_rows),
        cmocka_unit_test(activates),
        cmocka_unit_test(loses_and_scores),
        cmocka_unit_test(steps_by_adam),
        cmocka_unit_test(same_bits_for_any_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
