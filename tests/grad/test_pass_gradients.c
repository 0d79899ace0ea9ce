/* Every gradient of the pass against central differences in f64 of its own forward, on
 * small random models of every architecture. Errors of a central difference with step h are
 * of order h^2 f'''/6: with h = 1e-3 and functions of size 1 about 1e-6 of the gradient's
 * norm, plus 1e-7 for values that pass through float. */
#include "model/pass.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const double tolerance = 2e-5;
static const float h = 0x1p-10F;

enum { D = 32, F = 64, N_OUT = 3 };
static const int32_t ids_a[] = {84, 104, 101, 32, 99, 97, 116}, ids_b[] = {65, 66, 67, 68};
static const ke__seq seqs[] = {{ids_a, 7, 0}, {ids_b, 4, 1}};
static const int32_t out_rows[N_OUT] = {5, 6, 10};

typedef struct rig {
    ke_ctx *cx;
    ke_model *model;
    ke__pass *pass;
    ke_stack *stack;
} gradient_rig;

static void check(const gradient_rig *r, ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(r->cx));
}

static gradient_rig rig_open(const tiny_spec *spec)
{
    gradient_rig r = {.cx = ke_ctx_new(NULL)};
    assert_non_null(r.cx);
    r.model = tiny_model_open(r.cx, spec);
    check(&r, ke__pass_new(r.cx, &r.pass, r.model, ke__ops_named("ref64")));
    check(&r, ke_stack_new(r.cx, &r.stack, r.model));
    return r;
}

static void rig_close(gradient_rig *r)
{
    ke_stack_free(r->cx, r->stack);
    ke__pass_free(r->cx, r->pass);
    ke_model_close(r->cx, r->model);
    ke_ctx_free(r->cx);
}

/* A loss that uses both kinds: cross-entropy on two rows, KL to a fixed reference on one.
 */
static double loss_of(const gradient_rig *r, const ke__pass_in *in)
{
    static const int32_t targets[2] = {100, 7}, first[2] = {0, 1}, third[1] = {2};
    static const float weight[2] = {0.5F, 1.5F}, kl_weight[1] = {0.75F};
    float logq[512];
    double loss = 0;
    size_t v = r->model->info.n_vocab;
    for (size_t i = 0; i < v; i++)
        logq[i] = -logf((float)v) + 0.25F * sinf((float)i);
    check(r, ke__pass_run(r->cx, r->pass, in));
    check(r, ke__pass_xent(r->cx, r->pass, first, targets, weight, 2, &loss, NULL));
    check(r, ke__pass_kl(r->cx, r->pass, third, logq, kl_weight, 1, &loss));
    return loss;
}

static ke__pass_in base_in(const gradient_rig *r)
{
    return (ke__pass_in){.seqs = seqs,
                         .n_seqs = 2,
                         .out_rows = out_rows,
                         .n_out = N_OUT,
                         .edits = r->stack,
                         .keep = true};
}

static void compare(const char *what, const double *fd, const float *grad, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        diff += (fd[i] - (double)grad[i]) * (fd[i] - (double)grad[i]);
        norm += fd[i] * fd[i];
    }
    if (!(norm > 0) || !(sqrt(diff) <= tolerance * sqrt(norm)))
        fail_msg("%s: gradient differs by %.3g of its norm %.3g, allowed %.3g", what,
                 sqrt(diff / norm), sqrt(norm), tolerance);
}

/* --- sites: add h to one channel of one row of a site ------------------------------------
 */

static void site_gradient(const gradient_rig *r, uint32_t layer, ke__site site, int32_t row)
{
    float grad[F], bump[F] = {0};
    double fd[F];
    size_t width = ke__site_width(r->model, site);
    char what[64];
    ke__pass_in in = base_in(r);
    ke__want want = {.kind = KE__WANT_SITE,
                     .layer = layer,
                     .site = site,
                     .rows = &row,
                     .n_rows = 1,
                     .out = grad};
    loss_of(r, &in);
    check(r, ke__pass_backward(r->cx, r->pass, &want, 1, NULL, 0));
    ke__touch touch = {.layer = layer,
                       .site = site,
                       .how = KE__PUT_ADD,
                       .rows = &row,
                       .n_rows = 1,
                       .values = bump};
    in.touches = &touch;
    in.n_touches = 1;
    for (size_t i = 0; i < width; i++) {
        bump[i] = h;
        fd[i] = loss_of(r, &in);
        bump[i] = -h;
        fd[i] = (fd[i] - loss_of(r, &in)) / (2 * (double)h);
        bump[i] = 0;
    }
    snprintf(what, sizeof what, "%s layer %u %s row %d", r->model->arch->name,
             (unsigned)layer, ke__site_name(site), (int)row);
    compare(what, fd, grad, width);
}

static void sites_of(const char *arch)
{
    gradient_rig r = rig_open(&(tiny_spec){.arch = arch, .seed = 11});
    for (ke__site s = KE__RESID_IN; s <= KE__RESID_OUT; s++) {
        site_gradient(&r, 1, s, 3);
        site_gradient(&r, 1, s, 10);
    }
    site_gradient(&r, 0, KE__EMBED, 0);
    site_gradient(&r, 0, KE__FINAL, 1);
    rig_close(&r);
}

/* --- weights: add h to one element through a dense term
 * ------------------------------------ */

static void element(const gradient_rig *r, float *delta, size_t at, double *fd)
{
    ke__pass_in in = base_in(r);
    delta[at] = h;
    *fd = loss_of(r, &in);
    delta[at] = -h;
    *fd = (*fd - loss_of(r, &in)) / (2 * (double)h);
    delta[at] = 0;
}

static void weight_gradient(const gradient_rig *r, uint32_t layer, ke__linear l)
{
    const ke__param *p = &r->model->layers[layer].linear[l];
    const ke__tensor *t = &r->model->file.tensors[p->tensor];
    size_t rows = p->mat.rows, cols = p->mat.cols, n = rows * cols;
    const ke_ops *ops = ke__pass_ops(r->pass);
    ke_buf *grad = NULL;
    float *delta = NULL, *got = NULL;
    char what[64];
    double fd[16];
    float picked[16];
    check(r, ops->buf_new(r->cx, &grad, n));
    check(r, ke__alloc(r->cx, &got, n, sizeof *got));
    check(r, ke__alloc(r->cx, &delta, t->rows * cols, sizeof *delta));

    ke__pass_in in = base_in(r);
    loss_of(r, &in);
    ke__want want = {.kind = KE__WANT_WEIGHT, .layer = layer, .linear = l, .grad = grad};
    check(r, ke__pass_backward(r->cx, r->pass, &want, 1, NULL, 0));
    check(r, ops->get(r->cx, got, grad, 0, n));

    ke__term term = {
        .kind = KE__TERM_DENSE,
        .tensor = p->tensor,
        .scale = 1.0F,
        .dense = {
            .type = ke__dtype_of(KE__F32), .rows = t->rows, .cols = cols, .data = delta}};
    check(r, ke__stack_begin(r->cx, r->stack));
    check(r, ke__stack_term(r->cx, r->stack, &term));
    for (size_t k = 0; k < 16; k++) {
        size_t at = k * 2654435761U % n;
        picked[k] = got[at];
        element(r, delta, p->row0 * cols + at, &fd[k]);
    }
    ke_stack_pop(r->cx, r->stack);
    snprintf(what, sizeof what, "%s %s", r->model->arch->name, ke__linear_names[l]);
    compare(what, fd, picked, 16);
    ops->buf_free(r->cx, grad);
    ke__free(r->cx, got);
    ke__free(r->cx, delta);
}

/* A pair's product is the weight gradient. */
static void pair_product(const gradient_rig *r, uint32_t layer, ke__linear l)
{
    enum { ROWS = 11 };
    const ke__mat *m = &r->model->layers[layer].linear[l].mat;
    size_t out = m->rows, in_width = m->cols;
    float x[ROWS * F], dy[ROWS * F], *got = NULL;
    double product[16];
    float picked[16];
    const ke_ops *ops = ke__pass_ops(r->pass);
    ke_buf *grad = NULL;
    assert_true(out <= F && in_width <= F);
    check(r, ops->buf_new(r->cx, &grad, out * in_width));
    check(r, ke__alloc(r->cx, &got, out * in_width, sizeof *got));
    ke__pass_in in = base_in(r);
    loss_of(r, &in);
    ke__want wants[2] = {
        {.kind = KE__WANT_PAIR, .layer = layer, .linear = l, .out_x = x, .out_dy = dy},
        {.kind = KE__WANT_WEIGHT, .layer = layer, .linear = l, .grad = grad}};
    check(r, ke__pass_backward(r->cx, r->pass, wants, 2, NULL, 0));
    check(r, ops->get(r->cx, got, grad, 0, out * in_width));
    for (size_t k = 0; k < 16; k++) {
        size_t at = k * 2654435761U % (out * in_width), o = at / in_width,
               i = at % in_width;
        product[k] = 0;
        for (size_t row = 0; row < ROWS; row++)
            product[k] += (double)dy[row * out + o] * (double)x[row * in_width + i];
        picked[k] = got[at];
    }
    compare("pair", product, picked, 16);
    ops->buf_free(r->cx, grad);
    ke__free(r->cx, got);
}

static void weights_of(const char *arch)
{
    gradient_rig r = rig_open(&(tiny_spec){.arch = arch, .seed = 5, .untied = true});
    for (ke__linear l = 0; l < KE__LIN_COUNT; l++) {
        if (l == KE__LIN_GATE && !r.model->arch->gated)
            continue;
        weight_gradient(&r, 1, l);
        pair_product(&r, 1, l);
    }
    rig_close(&r);
}

/* --- vectors (norms, biases) and the outer matrices: the f32 file's own bytes are bumped
 * ---- */

/* The map is read-only: the test points the parameter at a copy that it may change. */
static float *own_copy(const gradient_rig *r, ke__param *p)
{
    float *copy = NULL;
    size_t n = p->mat.rows * p->mat.cols;
    check(r, ke__alloc(r->cx, &copy, n, sizeof *copy));
    p->mat.type->to_f32(copy, p->mat.data, n);
    p->mat.data = copy;
    return copy;
}

static void own_gradient(const gradient_rig *r, const char *what, ke__param *p,
                         ke__want want, bool head)
{
    const ke_ops *ops = ke__pass_ops(r->pass);
    size_t n = p->mat.rows * p->mat.cols, picks = n < 16 ? n : 16;
    const void *file = p->mat.data;
    float *values = own_copy(r, p), *got = NULL, picked[16];
    double fd[16];
    ke_buf *grad = NULL;
    char text[64];
    check(r, ops->buf_new(r->cx, &grad, n));
    check(r, ke__alloc(r->cx, &got, n, sizeof *got));
    want.grad = grad;
    ke__pass_in in = base_in(r);
    ke__pass_want_head(r->pass, head ? grad : NULL);
    loss_of(r, &in);
    ke__pass_want_head(r->pass, NULL);
    if (!head)
        check(r, ke__pass_backward(r->cx, r->pass, &want, 1, NULL, 0));
    check(r, ops->get(r->cx, got, grad, 0, n));
    for (size_t k = 0; k < picks; k++) {
        size_t at = n <= 64 ? k % n : (k < 8 ? (size_t)ids_a[k % 7] : 100) * D + k;
        float old = values[at];
        picked[k] = got[at];
        values[at] = old + h;
        float up = values[at];
        fd[k] = loss_of(r, &in);
        values[at] = old - h;
        fd[k] = (fd[k] - loss_of(r, &in)) / ((double)up - (double)values[at]);
        values[at] = old;
    }
    snprintf(text, sizeof text, "%s %s", r->model->arch->name, what);
    compare(text, fd, picked, picks);
    p->mat.data = file;
    ops->buf_free(r->cx, grad);
    ke__free(r->cx, got);
    ke__free(r->cx, values);
}

static void vectors_of(const char *arch)
{
    gradient_rig r = rig_open(&(tiny_spec){.arch = arch, .seed = 8, .untied = true});
    ke__layer *y = &r.model->layers[1];
    for (ke__norm_at at = 0; at < KE__AT_COUNT; at++)
        if (y->norm[at].mat.data)
            own_gradient(&r, "norm", &y->norm[at],
                         (ke__want){.kind = KE__WANT_NORM, .layer = 1, .norm = at}, false);
    for (ke__linear l = 0; l < KE__LIN_COUNT; l++)
        if (y->bias[l].mat.data && l != KE__LIN_K) /* softmax does not see a key's bias */
            own_gradient(&r, "bias", &y->bias[l],
                         (ke__want){.kind = KE__WANT_BIAS, .layer = 1, .linear = l}, false);
    own_gradient(&r, "output norm", &r.model->out_norm,
                 (ke__want){.kind = KE__WANT_NORM, .norm = KE__AT_COUNT}, false);
    own_gradient(&r, "embedding", &r.model->embed, (ke__want){.kind = KE__WANT_EMBED},
                 false);
    own_gradient(&r, "head", &r.model->head, (ke__want){.kind = KE__WANT_SITE}, true);
    rig_close(&r);
}

#define FOR_ARCH(id)                                                                       \
    static void sites_##id(void **state)                                                   \
    {                                                                                      \
        (void)state;                                                                       \
        sites_of(#id);                                                                     \
    }                                                                                      \
    static void weights_##id(void **state)                                                 \
    {                                                                                      \
        (void)state;                                                                       \
        weights_of(#id);                                                                   \
    }                                                                                      \
    static void vectors_##id(void **state)                                                 \
    {                                                                                      \
        (void)state;                                                                       \
        vectors_of(#id);                                                                   \
    }
FOR_ARCH(llama)
FOR_ARCH(qwen2)
FOR_ARCH(qwen3)
FOR_ARCH(gemma3)
FOR_ARCH(gpt2)

/* --- range, reuse, touches
 * ------------------------------------------------------------------- */

/* A suffix over cached keys, from a saved residual, has the whole pass's loss and gradient.
 */
static void a_suffix_from_a_saved_residual_is_the_whole_pass(void **state)
{
    (void)state;
    gradient_rig r = rig_open(&(tiny_spec){.seed = 3});
    enum { FROM = 4, LAYER = 1 };
    int32_t suffix_rows[3] = {4, 5, 6}, row = 4, zero = 0;
    float saved[3 * D], whole[D], part[D];
    ke__kv *kv = NULL;
    ke__want want = {.kind = KE__WANT_SITE,
                     .layer = LAYER,
                     .site = KE__MLP_OUT,
                     .rows = &row,
                     .n_rows = 1,
                     .out = whole};
    ke__tap tap = {.layer = LAYER,
                   .site = KE__RESID_IN,
                   .rows = suffix_rows,
                   .n_rows = 3,
                   .out = saved};
    int32_t out_whole = 6, out_part = 2, target = 9;
    float one = 1.0F;
    double loss[2] = {0, 0};
    ke__seq seq = {ids_a, 7, 0};
    check(&r, ke__kv_new(r.cx, &kv, r.model, ke__pass_ops(r.pass), 1));
    check(&r, ke__pass_run(r.cx, r.pass,
                           &(ke__pass_in){.seqs = &seq,
                                          .n_seqs = 1,
                                          .kv = kv,
                                          .keep = true,
                                          .out_rows = &out_whole,
                                          .n_out = 1,
                                          .taps = &tap,
                                          .n_taps = 1}));
    check(&r, ke__pass_xent(r.cx, r.pass, &zero, &target, &one, 1, &loss[0], NULL));
    check(&r, ke__pass_backward(r.cx, r.pass, &want, 1, NULL, 0));

    seq = (ke__seq){ids_a + FROM, 3, 0};
    ke__kv_truncate(r.cx, kv, 0, FROM);
    check(&r, ke__pass_run(r.cx, r.pass,
                           &(ke__pass_in){.seqs = &seq,
                                          .n_seqs = 1,
                                          .kv = kv,
                                          .keep = true,
                                          .keep_from = LAYER,
                                          .first_layer = LAYER,
                                          .resid_in = saved,
                                          .out_rows = &out_part,
                                          .n_out = 1}));
    check(&r, ke__pass_xent(r.cx, r.pass, &zero, &target, &one, 1, &loss[1], NULL));
    row = 0;
    want.out = part;
    check(&r, ke__pass_backward(r.cx, r.pass, &want, 1, NULL, 0));
    assert_float_equal(loss[0], loss[1], 1e-6); /* saved in f32 */
    double wide[D];
    for (size_t i = 0; i < D; i++)
        wide[i] = (double)whole[i];
    compare("suffix", wide, part, D);
    ke__kv_free(r.cx, kv);
    rig_close(&r);
}

/* Under SET nothing flows below; under SCALE the factor does. */
static void touches_pass_their_gradient_on(void **state)
{
    (void)state;
    gradient_rig r = rig_open(&(tiny_spec){.seed = 4});
    float values[F], below[F], plain[F];
    int32_t row = 6;
    for (size_t i = 0; i < F; i++)
        values[i] = 0.5F;
    ke__touch touch = {.layer = 2,
                       .site = KE__RESID_IN,
                       .how = KE__PUT_SCALE,
                       .rows = &row,
                       .n_rows = 1,
                       .values = values};
    ke__pass_in in = base_in(&r);
    in.touches = &touch;
    in.n_touches = 1;
    ke__want wants[2] = {{.kind = KE__WANT_SITE,
                          .layer = 1,
                          .site = KE__RESID_OUT,
                          .rows = &row,
                          .n_rows = 1,
                          .out = below},
                         {.kind = KE__WANT_SITE,
                          .layer = 2,
                          .site = KE__RESID_IN,
                          .rows = &row,
                          .n_rows = 1,
                          .out = plain}};
    loss_of(&r, &in);
    check(&r, ke__pass_backward(r.cx, r.pass, wants, 2, NULL, 0));
    for (size_t i = 0; i < D; i++)
        assert_true(plain[i] != 0.0F && below[i] == 0.5F * plain[i]);
    touch.how = KE__PUT_SET;
    loss_of(&r, &in);
    check(&r, ke__pass_backward(r.cx, r.pass, wants, 2, NULL, 0));
    for (size_t i = 0; i < D; i++)
        assert_true(plain[i] != 0.0F && below[i] == 0.0F);
    rig_close(&r);
}

/* --- overlays
 * ------------------------------------------------------------------------------------ */

/* to += 0.5 * from^2 on the first D channels; from and to may be one. */
static ke_status square_forward(ke_ctx *cx, void *payload, const ke_ops *ops, ke_buf *io,
                                const ke_buf *from, size_t n)
{
    ke_status st = KE_OK;
    float x[11 * D], y[11 * D];
    (void)payload;
    KE_TRY(ops->get(cx, x, from, 0, n * D));
    KE_TRY(ops->get(cx, y, io, 0, n * D));
    for (size_t i = 0; i < n * D; i++)
        y[i] += 0.5F * x[i] * x[i];
    KE_TRY(ops->put(cx, io, 0, y, n * D));
done:
    return st;
}

static ke_status square_backward(ke_ctx *cx, void *payload, const ke_ops *ops, ke_buf *dio,
                                 ke_buf *dfrom, const ke_buf *io, const ke_buf *from,
                                 size_t n)
{
    ke_status st = KE_OK;
    float x[11 * D], g[11 * D], f[11 * D];
    ke_buf *into = dfrom ? dfrom : dio;
    (void)payload;
    (void)io;
    KE_TRY(ops->get(cx, x, from, 0, n * D));
    KE_TRY(ops->get(cx, g, dio, 0, n * D));
    KE_TRY(ops->get(cx, f, into, 0, n * D));
    for (size_t i = 0; i < n * D; i++)
        f[i] += x[i] * g[i];
    KE_TRY(ops->put(cx, into, 0, f, n * D));
done:
    return st;
}

static void overlay_gradient(ke__site from, ke__site to)
{
    gradient_rig r = rig_open(&(tiny_spec){.seed = 6});
    ke__overlay o = {.layer = 1,
                     .from = from,
                     .to = to,
                     .forward = square_forward,
                     .backward = square_backward};
    check(&r, ke__stack_begin(r.cx, r.stack));
    check(&r, ke__stack_overlay(r.cx, r.stack, &o));
    /* The overlay computes in float, so the difference is rougher: eps / h = 1e-4 a value.
     */
    float grad[D], bump[D] = {0};
    double fd[D], norm = 0, diff = 0;
    int32_t row = 5;
    ke__want want = {.kind = KE__WANT_SITE,
                     .layer = 0,
                     .site = KE__RESID_OUT,
                     .rows = &row,
                     .n_rows = 1,
                     .out = grad};
    ke__touch touch = {.layer = 0,
                       .site = KE__RESID_OUT,
                       .how = KE__PUT_ADD,
                       .rows = &row,
                       .n_rows = 1,
                       .values = bump};
    ke__pass_in in = base_in(&r);
    loss_of(&r, &in);
    check(&r, ke__pass_backward(r.cx, r.pass, &want, 1, NULL, 0));
    in.touches = &touch;
    in.n_touches = 1;
    for (size_t i = 0; i < D; i++) {
        bump[i] = 4 * h;
        fd[i] = loss_of(&r, &in);
        bump[i] = -4 * h;
        fd[i] = (fd[i] - loss_of(&r, &in)) / (8 * (double)h);
        bump[i] = 0;
        norm += fd[i] * fd[i];
        diff += (fd[i] - (double)grad[i]) * (fd[i] - (double)grad[i]);
    }
    assert_true(norm > 0 && sqrt(diff / norm) < 1e-3);
    rig_close(&r);
}

static void overlays_have_a_backward(void **state)
{
    (void)state;
    overlay_gradient(KE__MLP_IN, KE__MLP_OUT);
    overlay_gradient(KE__MLP_OUT, KE__MLP_OUT);
    overlay_gradient(KE__RESID_IN, KE__RESID_MID);
}

/* A seed is the gradient of a loss on a site: seeding dL/dx gives what the loss gives. */
static void a_seed_stands_for_a_loss(void **state)
{
    (void)state;
    gradient_rig r = rig_open(&(tiny_spec){.seed = 7});
    int32_t all[11], row = 2;
    float top[11 * D], direct[D], seeded[D];
    double wide[D];
    for (int32_t i = 0; i < 11; i++)
        all[i] = i;
    ke__want wants[2] = {{.kind = KE__WANT_SITE,
                          .layer = 1,
                          .site = KE__RESID_OUT,
                          .rows = all,
                          .n_rows = 11,
                          .out = top},
                         {.kind = KE__WANT_SITE,
                          .layer = 0,
                          .site = KE__MLP_OUT,
                          .rows = &row,
                          .n_rows = 1,
                          .out = direct}};
    ke__pass_in in = base_in(&r);
    loss_of(&r, &in);
    check(&r, ke__pass_backward(r.cx, r.pass, wants, 2, NULL, 0));
    in.out_rows = NULL;
    in.n_out = 0;
    in.end_layer = 2;
    ke__seed seed = {
        .layer = 1, .site = KE__RESID_OUT, .rows = all, .n_rows = 11, .values = top};
    wants[1].out = seeded;
    check(&r, ke__pass_run(r.cx, r.pass, &in));
    check(&r, ke__pass_backward(r.cx, r.pass, &wants[1], 1, &seed, 1));
    for (size_t i = 0; i < D; i++)
        wide[i] = (double)direct[i];
    compare("seed", wide, seeded, D);
    rig_close(&r);
}

#define ARCH_TESTS(id)                                                                     \
    cmocka_unit_test(sites_##id), cmocka_unit_test(weights_##id),                          \
        cmocka_unit_test(vectors_##id)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ARCH_TESTS(llama),
        ARCH_TESTS(qwen2),
        ARCH_TESTS(qwen3),
        ARCH_TESTS(gemma3),
        ARCH_TESTS(gpt2),
        cmocka_unit_test(a_suffix_from_a_saved_residual_is_the_whole_pass),
        cmocka_unit_test(touches_pass_their_gradient_on),
        cmocka_unit_test(overlays_have_a_backward),
        cmocka_unit_test(a_seed_stands_for_a_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
