/* The backward rows of the double reference against differences of its forward rows. */
#include "support/rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define OK(call) assert_int_equal(call, KE_OK)

enum { MAX_INPUTS = 3, MAX_SIZE = 256 };

/* A scalar function of up to three arrays, and what its backward says. */
struct grad {
    struct rig r;
    const void *params;
    float value[MAX_INPUTS][MAX_SIZE]; /* multiples of 2^-10 in [-1, 1) */
    float seed[MAX_SIZE];              /* the gradient of every output */
    size_t size[MAX_INPUTS];
    ke_buf *grad[MAX_INPUTS]; /* made by backward() */
};
typedef double loss_fn(struct grad *g);
typedef void backward_fn(struct grad *g);

static ke_buf *input(struct grad *g, size_t i)
{
    return rig_values(&g->r, g->value[i], g->size[i]);
}

static ke_buf *seeds(struct grad *g, size_t n)
{
    return rig_values(&g->r, g->seed, n);
}

/* sum of seed * out. get() gives floats: what they leave is fetched once more. */
static double weighted(struct grad *g, ke_buf *out, size_t n)
{
    float high[MAX_SIZE], low[MAX_SIZE];
    double sum = 0.0;

    OK(g->r.ops->get(g->r.cx, high, out, 0, n));
    OK(g->r.ops->axpy(g->r.cx, out, rig_values(&g->r, high, n), -1.0F, n));
    OK(g->r.ops->get(g->r.cx, low, out, 0, n));
    for (size_t i = 0; i < n; i++)
        sum += (double)g->seed[i] * ((double)high[i] + (double)low[i]);
    return sum;
}

static double loss_at(struct grad *g, loss_fn *loss, float *at, float value)
{
    float before = *at;
    size_t n_bufs = g->r.n_bufs, n_mats = g->r.n_mats;
    double y;

    *at = value;
    y = loss(g);
    *at = before;
    while (g->r.n_bufs > n_bufs)
        g->r.ops->buf_free(g->r.cx, g->r.bufs[--g->r.n_bufs]);
    while (g->r.n_mats > n_mats) {
        g->r.n_mats--;
        ke__free(g->r.cx, g->r.blocks[2 * g->r.n_mats]);
        ke__free(g->r.cx, g->r.blocks[2 * g->r.n_mats + 1]);
    }
    return y;
}

/* With steps h = 2^-8, which floats hold exactly, the four-point formula is off by
 * h^4 f^(5) / 30 = 8e-12 f^(5), and by 1e-13 for the 48 bits that weighted() sees. */
static void check(const char *name, loss_fn *loss, backward_fn *backward,
                  const void *params, const size_t *sizes, size_t n_inputs)
{
    const float h = 1.0F / 256.0F;
    struct grad g = {.params = params};
    float got[MAX_SIZE];

    rig_begin(&g.r, ke__ops_named("ref64"), 1);
    for (size_t i = 0; i < n_inputs; i++)
        for (size_t j = 0; j < (g.size[i] = sizes[i]); j++)
            g.value[i][j] =
                floorf((float)ke__rng_unit(&g.r.rng) * 2048.0F) / 1024.0F - 1.0F;
    for (size_t j = 0; j < MAX_SIZE; j++)
        g.seed[j] = (float)ke__rng_unit(&g.r.rng) - 0.5F;
    backward(&g);
    for (size_t i = 0; i < n_inputs; i++) {
        OK(g.r.ops->get(g.r.cx, got, g.grad[i], 0, g.size[i]));
        for (size_t j = 0; j < g.size[i]; j++) {
            float *at = &g.value[i][j], x = *at;
            double near = loss_at(&g, loss, at, x + h) - loss_at(&g, loss, at, x - h);
            double far =
                loss_at(&g, loss, at, x + 2 * h) - loss_at(&g, loss, at, x - 2 * h);
            double want = (8.0 * near - far) / (12.0 * (double)h);

            if (!(fabs((double)got[j] - want) <= 1e-7 * (1.0 + fabs(want))))
                fail_msg("%s, input %zu, element %zu: gradient %.10g, differences %.10g",
                         name, i, j, (double)got[j], want);
        }
    }
    rig_end(&g.r);
}

/* --- products: x[3, 5], W[4, 5], b[4] ------------------------------------------------- */

static double linear_loss(struct grad *g)
{
    const ke__mat *w = rig_mat_values(&g->r, g->value[1], 4, 5);
    const ke__mat *b = rig_mat_values(&g->r, g->value[2], 1, 4);
    ke_buf *y = rig_zeros(&g->r, 12);

    OK(g->r.ops->linear(g->r.cx, y, input(g, 0), w, b, 3, 1.0F, false));
    return weighted(g, y, 12);
}

static void linear_backward(struct grad *g)
{
    const ke__mat *w = rig_mat_values(&g->r, g->value[1], 4, 5);
    ke_buf *dy = seeds(g, 12);

    for (size_t i = 0; i < 3; i++)
        g->grad[i] = rig_zeros(&g->r, g->size[i]);
    OK(g->r.ops->linear_back(g->r.cx, g->grad[0], dy, w, 3, 1.0F, false));
    OK(g->r.ops->linear_grad(g->r.cx, g->grad[1], dy, input(g, 0), 3, 4, 5));
    OK(g->r.ops->bias_grad(g->r.cx, g->grad[2], dy, 3, 4));
}

static void products(void **state)
{
    (void)state;
    check("linear", linear_loss, linear_backward, NULL, (size_t[]){15, 20, 4}, 3);
}

/* --- norms: x[3, 7], w[7], b[7] ------------------------------------------------------- */

static double norm_loss(struct grad *g)
{
    const ke__mat *w = rig_mat_values(&g->r, g->value[1], 1, 7);
    const ke__mat *b = rig_mat_values(&g->r, g->value[2], 1, 7);
    ke_buf *y = rig_zeros(&g->r, 21);

    OK(g->r.ops->norm(g->r.cx, y, input(g, 0), w, b, 3, 7, 1e-5F,
                      *(const ke__norm *)g->params));
    return weighted(g, y, 21);
}

static void norm_backward(struct grad *g)
{
    const ke__mat *w = rig_mat_values(&g->r, g->value[1], 1, 7);

    for (size_t i = 0; i < 3; i++)
        g->grad[i] = rig_zeros(&g->r, g->size[i]);
    OK(g->r.ops->norm_back(g->r.cx, g->grad[0], g->grad[1], g->grad[2], seeds(g, 21),
                           input(g, 0), w, 3, 7, 1e-5F, *(const ke__norm *)g->params));
}

static void norms(void **state)
{
    static const ke__norm rms = KE__NORM_RMS, layer = KE__NORM_LAYER;

    (void)state;
    check("rms", norm_loss, norm_backward, &rms, (size_t[]){21, 7, 7}, 3);
    check("layer", norm_loss, norm_backward, &layer, (size_t[]){21, 7, 7}, 3);
}

/* --- rotation of x[3, 2 heads * 10] -----------------------------------------------------
 */

static const int32_t positions[3] = {0, 5, 77};

static double rope_loss(struct grad *g)
{
    ke_buf *x = input(g, 0);

    OK(g->r.ops->rope(g->r.cx, x, positions, 3, 2, 10, g->params, 1));
    return weighted(g, x, 60);
}

static void rope_backward(struct grad *g)
{
    g->grad[0] = seeds(g, 60);
    OK(g->r.ops->rope(g->r.cx, g->grad[0], positions, 3, 2, 10, g->params, -1));
}

static void rotations(void **state)
{
    static const ke__rope neox = {10, false, 1e4F, 1.0F, NULL},
                          pairs = {6, true, 1e4F, 1, NULL};

    (void)state;
    check("neox", rope_loss, rope_backward, &neox, (size_t[]){60}, 1);
    check("pairs", rope_loss, rope_backward, &pairs, (size_t[]){60}, 1);
}

/* --- attention: 4 heads on 2, width 3; spans of 3 rows, and of 2 rows after 2 cached ones.
 * Cache rows 0-1: the prefix; 2-4: the first span; 5-6: the second. ----------------------
 */

enum { HEADS = 4, KV = 2, DIM = 3, ROWS = 5, CACHED = 2 };
static const int32_t first_keys[] = {2, 3, 4}, second_keys[] = {0, 1, 5, 6};
static const ke__span spans[] = {{0, 3, 0, first_keys}, {3, 2, 2, second_keys}};

struct caches {
    ke_buf *k, *v, *out, *lse;
};

static struct caches attend(struct grad *g)
{
    size_t width = KV * DIM, prefix = CACHED * width, own = ROWS * width;
    struct caches c = {rig_zeros(&g->r, prefix + own), rig_zeros(&g->r, prefix + own),
                       rig_zeros(&g->r, ROWS * HEADS * DIM),
                       rig_zeros(&g->r, ROWS * HEADS)};

    OK(g->r.ops->put(g->r.cx, c.k, 0, g->seed + 100, prefix));
    OK(g->r.ops->put(g->r.cx, c.v, 0, g->seed + 120, prefix));
    OK(g->r.ops->put(g->r.cx, c.k, prefix, g->value[1], own));
    OK(g->r.ops->put(g->r.cx, c.v, prefix, g->value[2], own));
    OK(g->r.ops->attention(g->r.cx, c.out, c.lse, input(g, 0), c.k, c.v, g->params));
    return c;
}

static double attention_loss(struct grad *g)
{
    return weighted(g, attend(g).out, ROWS * HEADS * DIM);
}

static void attention_backward(struct grad *g)
{
    struct caches c = attend(g);

    for (size_t i = 0; i < 3; i++)
        g->grad[i] = rig_zeros(&g->r, g->size[i]);
    OK(g->r.ops->attention_back(g->r.cx, g->grad[0], g->grad[1], g->grad[2],
                                seeds(g, ROWS * HEADS * DIM), c.out, c.lse, input(g, 0),
                                c.k, c.v, g->params));
}

static void attentions(void **state)
{
    static const ke__attention kinds[] = {
        {HEADS, KV, DIM, 0.5F, 0.0F, 0, spans, 2},
        {HEADS, KV, DIM, 0.5F, 0.0F, 2, spans, 2},
        {HEADS, KV, DIM, 1.5F, 0.7F, 3, spans, 2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++)
        check("attention", attention_loss, attention_backward, &kinds[i],
              (size_t[]){ROWS * HEADS * DIM, ROWS * KV * DIM, ROWS * KV * DIM}, 3);
}

/* --- activations of 40 gates and ups
 * ------------------------------------------------------ */

struct act_case {
    ke__act act;
    bool gated;
};

/* A shift keeps every step clear of the kink of ReLU at 0: gates are multiples of 2^-10. */
static ke_buf *gates(struct grad *g)
{
    ke_buf *x = input(g, 0);
    float shift[40];

    for (size_t j = 0; j < 40; j++)
        shift[j] = g->value[0][j] < 0.0F ? -0.25F : 0.25F;
    OK(g->r.ops->axpy(g->r.cx, x, rig_values(&g->r, shift, 40), 1.0F, 40));
    return x;
}

static double glu_loss(struct grad *g)
{
    const struct act_case *c = g->params;
    ke_buf *y = rig_zeros(&g->r, 40), *up = c->gated ? input(g, 1) : NULL;

    OK(g->r.ops->glu(g->r.cx, y, gates(g), up, 40, c->act));
    return weighted(g, y, 40);
}

static void glu_backward(struct grad *g)
{
    const struct act_case *c = g->params;
    ke_buf *up = c->gated ? input(g, 1) : NULL;

    g->grad[0] = rig_zeros(&g->r, 40);
    g->grad[1] = c->gated ? rig_zeros(&g->r, 40) : NULL;
    OK(g->r.ops->glu_back(g->r.cx, g->grad[0], g->grad[1], seeds(g, 40), gates(g), up, 40,
                          c->act));
}

static double cap_loss(struct grad *g)
{
    ke_buf *x = input(g, 0);

    OK(g->r.ops->softcap(g->r.cx, x, 40, 0.75F));
    return weighted(g, x, 40);
}

static void cap_backward(struct grad *g)
{
    ke_buf *y = input(g, 0);

    OK(g->r.ops->softcap(g->r.cx, y, 40, 0.75F));
    g->grad[0] = seeds(g, 40);
    OK(g->r.ops->softcap_back(g->r.cx, g->grad[0], y, 40, 0.75F));
}

static void activations(void **state)
{
    static const ke__act acts[] = {KE__ACT_SILU, KE__ACT_GELU_TANH, KE__ACT_GELU,
                                   KE__ACT_RELU};

    (void)state;
    for (size_t a = 0; a < COUNT(acts); a++)
        for (size_t gated = 0; gated < 2; gated++)
            check("activation", glu_loss, glu_backward,
                  &(struct act_case){acts[a], gated == 1}, (size_t[]){40, 40}, 1 + gated);
    check("soft cap", cap_loss, cap_backward, NULL, (size_t[]){40}, 1);
}

/* --- losses of 3 rows of 13 logits
 * ---------------------------------------------------------- */

static const int32_t targets[3] = {0, 12, 5};
static const float weights[3] = {1.0F, 0.25F, 0.0F};

static double run_xent(struct grad *g, ke_buf *x)
{
    double loss[3];

    OK(g->r.ops->xent(g->r.cx, loss, x, targets, weights, 3, 13));
    return loss[0] + loss[1] + loss[2];
}

static double xent_loss(struct grad *g)
{
    return run_xent(g, input(g, 0));
}

static void xent_backward(struct grad *g)
{
    g->grad[0] = input(g, 0);
    run_xent(g, g->grad[0]);
}

static double run_kl(struct grad *g, ke_buf *x)
{
    ke_buf *logq = seeds(g, 39);
    double loss[3];

    OK(g->r.ops->log_softmax(g->r.cx, logq, 3, 13));
    OK(g->r.ops->kl(g->r.cx, loss, x, logq, weights, 3, 13));
    return loss[0] + loss[1] + loss[2];
}

static double kl_loss(struct grad *g)
{
    return run_kl(g, input(g, 0));
}

static void kl_backward(struct grad *g)
{
    g->grad[0] = input(g, 0);
    run_kl(g, g->grad[0]);
}

static void losses(void **state)
{
    (void)state;
    check("xent", xent_loss, xent_backward, NULL, (size_t[]){39}, 1);
    check("kl", kl_loss, kl_backward, NULL, (size_t[]){39}, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),    cmocka_unit_test(norms),
        cmocka_unit_test(rotations),   cmocka_unit_test(attentions),
        cmocka_unit_test(activations), cmocka_unit_test(losses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
