#include "support/rig.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void rig_begin(struct rig *r, const ke_ops *ops, unsigned n_threads)
{
    ke_ctx_opts opts = {.n_threads = n_threads};

    memset(r, 0, sizeof *r);
    r->cx = ke_ctx_new(&opts);
    assert_non_null(r->cx);
    r->ops = ops;
    r->rng.state = 7;
}

void rig_end(struct rig *r)
{
    for (size_t i = 0; i < r->n_bufs; i++)
        r->ops->buf_free(r->cx, r->bufs[i]);
    for (size_t i = 0; i < 2 * r->n_mats; i++)
        ke__free(r->cx, r->blocks[i]);
    ke__free(r->cx, r->results);
    ke_ctx_free(r->cx);
}

ke_buf *rig_zeros(struct rig *r, size_t n)
{
    ke_buf **buf = &r->bufs[r->n_bufs++];

    assert_true(r->n_bufs <= RIG_BUFS);
    assert_int_equal(r->ops->buf_new(r->cx, buf, n), KE_OK);
    return *buf;
}

ke_buf *rig_values(struct rig *r, const float *values, size_t n)
{
    ke_buf *buf = rig_zeros(r, n);

    assert_int_equal(r->ops->put(r->cx, buf, 0, values, n), KE_OK);
    return buf;
}

static float uniform(struct rig *r, float scale)
{
    return scale * (float)(2.0 * ke__rng_unit(&r->rng) - 1.0);
}

ke_buf *rig_random(struct rig *r, size_t n, float scale)
{
    ke_buf *buf = rig_zeros(r, n);

    for (size_t i = 0; i < n; i++) {
        float x = uniform(r, scale);

        assert_int_equal(r->ops->put(r->cx, buf, i, &x, 1), KE_OK);
    }
    return buf;
}

static ke__mat *new_mat(struct rig *r, const char *type, size_t rows, size_t cols)
{
    ke__mat *mat = &r->mats[r->n_mats];
    size_t bytes;

    assert_true(r->n_mats < RIG_MATS);
    *mat = (ke__mat){ke__dtype_named(type), rows, cols, NULL, NULL};
    assert_true(ke__row_bytes(&bytes, mat->type, cols));
    assert_int_equal(ke__alloc(r->cx, &r->blocks[2 * r->n_mats], rows, bytes), KE_OK);
    assert_int_equal(
        ke__alloc(r->cx, &r->blocks[2 * r->n_mats + 1], rows * cols, sizeof(float)), KE_OK);
    mat->data = r->blocks[2 * r->n_mats];
    return mat;
}

const ke__mat *rig_mat(struct rig *r, const char *type, size_t rows, size_t cols)
{
    ke__mat *mat = new_mat(r, type, rows, cols);
    float *values = r->blocks[2 * r->n_mats + 1];

    for (size_t i = 0; i < rows * cols; i++)
        values[i] = uniform(r, 0.5F);
    mat->type->from_f32(r->blocks[2 * r->n_mats++], values, rows * cols);
    return mat;
}

const ke__mat *rig_mat_values(struct rig *r, const float *values, size_t rows, size_t cols)
{
    ke__mat *mat = new_mat(r, "f32", rows, cols);

    memcpy(r->blocks[2 * r->n_mats++], values, rows * cols * sizeof *values);
    return mat;
}

static float *new_piece(struct rig *r, const char *what, size_t n, double terms)
{
    assert_true(r->n_pieces < RIG_PIECES);
    assert_int_equal(
        ke__resize(r->cx, &r->results, r->n_results + n + 1, sizeof *r->results), KE_OK);
    r->pieces[r->n_pieces++] = (struct rig_piece){what, r->n_results, n, terms};
    r->n_results += n;
    return r->results + r->n_results - n;
}

void rig_keep(struct rig *r, const char *what, const ke_buf *buf, size_t n, double terms)
{
    float *to = new_piece(r, what, n, terms);

    assert_int_equal(r->ops->get(r->cx, to, buf, 0, n), KE_OK);
}

void rig_keep_f32(struct rig *r, const char *what, const float *x, size_t n, double terms)
{
    memcpy(new_piece(r, what, n, terms), x, n * sizeof *x);
}

void rig_keep_f64(struct rig *r, const char *what, const double *x, size_t n, double terms)
{
    float *to = new_piece(r, what, n, terms);

    for (size_t i = 0; i < n; i++)
        to[i] = (float)x[i];
}

static void compare_piece(const char *name, const struct rig *r, const struct rig *want,
                          const struct rig_piece *p)
{
    const float *a = r->results + p->at, *b = want->results + p->at;
    double sum = 0.0, rms;

    for (size_t i = 0; i < p->n; i++)
        sum += (double)b[i] * (double)b[i];
    rms = p->n > 0 ? sqrt(sum / (double)p->n) : 0.0;
    for (size_t i = 0; i < p->n; i++) {
        double size = fmax(rms, fabs((double)b[i]));
        double allowed = 8.0 * (double)FLT_EPSILON * sqrt(p->terms) * size;

        if (!(fabs((double)a[i] - (double)b[i]) <= allowed))
            fail_msg("%s, %s, %s[%zu]: %.9g, ref64 %.9g, allowed difference %.3g", name,
                     r->ops->name, p->what, i, (double)a[i], (double)b[i], allowed);
    }
}

static const char *const families[] = {"ref", "avx2", "avx512"};

void rig_compare(const char *name, rig_work *work, const void *params)
{
    struct rig want, got;

    rig_begin(&want, ke__ops_named("ref64"), 1);
    work(&want, params);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const ke_ops *ops = ke__ops_named(families[i]);

        if (ops == NULL)
            continue;
        rig_begin(&got, ops, 1);
        work(&got, params);
        assert_int_equal(got.n_results, want.n_results);
        for (size_t p = 0; p < want.n_pieces; p++)
            compare_piece(name, &got, &want, &want.pieces[p]);
        rig_end(&got);
    }
    rig_end(&want);
}

static void compare_threads(const char *name, rig_work *work, const void *params,
                            const ke_ops *ops)
{
    static const unsigned threads[] = {2, 7};
    struct rig one, more;

    rig_begin(&one, ops, 1);
    work(&one, params);
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        rig_begin(&more, ops, threads[t]);
        work(&more, params);
        if (memcmp(one.results, more.results, one.n_results * sizeof(float)) != 0)
            fail_msg("%s, %s: other bits with %u threads than with one", name, ops->name,
                     threads[t]);
        rig_end(&more);
    }
    rig_end(&one);
}

void rig_same_bits(const char *name, rig_work *work, const void *params)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (ke__ops_named(families[i]) != NULL)
            compare_threads(name, work, params, ke__ops_named(families[i]));
}
