/* The head: logits of requested rows in blocks, scores, and the losses with the gradient
 * that they send to the final states. */
#include "model/pass_state.h"

#include <math.h>
#include <string.h>

/* Rows whose logits exist at one time: 32 rows of 262,144 logits are 32 MB. */
enum { BLOCK = 32 };

static ke_status need_run(ke_ctx *cx, const ke__pass *p, size_t at, size_t n)
{
    if (!p->ran || at > p->in.n_out || n > p->in.n_out - at)
        return ke__fail(cx, KE_EINVAL, NULL, "rows %zu to %zu of %zu requested ones", at,
                        at + n, p->in.n_out);
    return KE_OK;
}

/* Logits of `n` <= BLOCK requested rows, given by index, into W_LOGITS; their final states
 * into W_HEAD_ROWS. With `keep_capped`, a copy of capped logits into W_CAPPED. */
static ke_status logits_of(ke_ctx *cx, ke__pass *p, const int32_t *out, size_t n,
                           bool keep_capped)
{
    ke_status st = KE_OK;
    const ke_model *m = p->model;
    size_t d = m->info.d_model, v = m->info.n_vocab;
    KE_TRY(ke__check_cancel(cx));
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_HEAD_ROWS], BLOCK * d));
    size_t most = p->in.n_out < BLOCK ? p->in.n_out : BLOCK;
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_LOGITS], (most > n ? most : n) * v));
    ke_buf *rows = p->work[W_HEAD_ROWS].buf, *logits = p->work[W_LOGITS].buf;
    KE_TRY(p->ops->gather(cx, rows, p->work[W_FINAL].buf, out, n, d));
    KE_TRY(ke__pass_linear(cx, p, logits, rows, &m->head, &m->head_bias, n));
    if (m->logit_softcap > 0.0F) {
        KE_TRY(p->ops->softcap(cx, logits, n * v, m->logit_softcap));
        if (keep_capped) {
            KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_CAPPED], BLOCK * v));
            KE_TRY(p->ops->copy(cx, p->work[W_CAPPED].buf, 0, logits, 0, n * v));
        }
    }
done:
    return st;
}

static void count_up(int32_t *out, size_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)(at + i);
}

static size_t block_of(size_t left)
{
    return left < BLOCK ? left : BLOCK;
}

ke_status ke__pass_logits(ke_ctx *cx, ke__pass *p, float *out, size_t at, size_t n)
{
    ke_status st = KE_OK;
    int32_t rows[BLOCK];
    size_t v = p->model->info.n_vocab;
    KE_TRY(need_run(cx, p, at, n));
    for (size_t i = 0, k; i < n; i += k) {
        k = block_of(n - i);
        count_up(rows, at + i, k);
        KE_TRY(logits_of(cx, p, rows, k, false));
        KE_TRY(p->ops->get(cx, out + i * v, p->work[W_LOGITS].buf, 0, k * v));
    }
done:
    return st;
}

ke_status ke__pass_logprobs(ke_ctx *cx, ke__pass *p, float *out, size_t at, size_t n)
{
    ke_status st = KE_OK;
    int32_t rows[BLOCK];
    size_t v = p->model->info.n_vocab;
    KE_TRY(need_run(cx, p, at, n));
    for (size_t i = 0, k; i < n; i += k) {
        k = block_of(n - i);
        count_up(rows, at + i, k);
        KE_TRY(logits_of(cx, p, rows, k, false));
        KE_TRY(p->ops->log_softmax(cx, p->work[W_LOGITS].buf, k, v));
        KE_TRY(p->ops->get(cx, out + i * v, p->work[W_LOGITS].buf, 0, k * v));
    }
done:
    return st;
}

ke_status ke__pass_score(ke_ctx *cx, ke__pass *p, size_t at, size_t n,
                         const int32_t *targets, float *logprob, int32_t *best,
                         uint32_t *rank, float *margin, double *lse)
{
    ke_status st = KE_OK;
    int32_t rows[BLOCK];
    double sums[BLOCK];
    KE_TRY(need_run(cx, p, at, n));
    for (size_t i = 0, k; i < n; i += k) {
        k = block_of(n - i);
        count_up(rows, at + i, k);
        KE_TRY(logits_of(cx, p, rows, k, false));
        KE_TRY(p->ops->score(cx, logprob ? logprob + i : NULL, best ? best + i : NULL,
                             rank ? rank + i : NULL, margin ? margin + i : NULL, sums,
                             p->work[W_LOGITS].buf, targets + i, k,
                             p->model->info.n_vocab));
        for (size_t j = 0; j < k; j++) {
            if (!isfinite(sums[j]))
                return ke__model_not_numbers(cx, p->model);
            if (lse)
                lse[i + j] = sums[j];
        }
    }
done:
    return st;
}

/* W_LOGITS holds dL/dlogits of `n` rows: send it on to the final states and the head. */
static ke_status logits_back(ke_ctx *cx, ke__pass *p, const int32_t *out, size_t n)
{
    ke_status st = KE_OK;
    const ke_model *m = p->model;
    size_t d = m->info.d_model, v = m->info.n_vocab;
    ke_buf *dlogits = p->work[W_LOGITS].buf;
    if (m->logit_softcap > 0.0F)
        KE_TRY(p->ops->softcap_back(cx, dlogits, p->work[W_CAPPED].buf, n * v,
                                    m->logit_softcap));
    if (p->head_grad)
        KE_TRY(p->ops->linear_grad(cx, p->head_grad, dlogits, p->work[W_HEAD_ROWS].buf, n,
                                   v, d));
    KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_DHEAD], BLOCK * d));
    KE_TRY(ke__pass_linear_back(cx, p, p->work[W_DHEAD].buf, dlogits, &m->head, n, false));
    KE_TRY(p->ops->scatter(cx, p->work[W_DFINAL].buf, p->work[W_DHEAD].buf, out, n, d,
                           KE__PUT_ADD));
done:
    return st;
}

static ke_status check_out(ke_ctx *cx, const ke__pass *p, const int32_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!p->ran || out[i] < 0 || (size_t)out[i] >= p->in.n_out)
            return ke__fail(cx, KE_EINVAL, NULL, "a loss on row %d of %zu requested ones",
                            (int)out[i], p->in.n_out);
    return KE_OK;
}

ke_status ke__pass_xent(ke_ctx *cx, ke__pass *p, const int32_t *out, const int32_t *targets,
                        const float *weight, size_t n, double *loss, double *each)
{
    ke_status st = KE_OK;
    double part[BLOCK];
    KE_TRY(check_out(cx, p, out, n));
    for (size_t i = 0, k; i < n; i += k) {
        k = block_of(n - i);
        KE_TRY(logits_of(cx, p, out + i, k, p->in.keep));
        KE_TRY(p->ops->xent(cx, part, p->work[W_LOGITS].buf, targets + i, weight + i, k,
                            p->model->info.n_vocab));
        for (size_t j = 0; j < k; j++) {
            if (!isfinite(part[j]))
                return ke__model_not_numbers(cx, p->model);
            *loss += part[j];
            if (each)
                each[i + j] = weight[i + j] != 0.0F ? part[j] / (double)weight[i + j] : 0.0;
        }
        if (p->in.keep)
            KE_TRY(logits_back(cx, p, out + i, k));
    }
done:
    return st;
}

ke_status ke__pass_kl(ke_ctx *cx, ke__pass *p, const int32_t *out, const float *logq,
                      const float *weight, size_t n, double *loss)
{
    ke_status st = KE_OK;
    double part[BLOCK];
    size_t v = p->model->info.n_vocab;
    KE_TRY(check_out(cx, p, out, n));
    for (size_t i = 0, k; i < n; i += k) {
        k = block_of(n - i);
        KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_REFERENCE], k * v));
        KE_TRY(p->ops->put(cx, p->work[W_REFERENCE].buf, 0, logq + i * v, k * v));
        KE_TRY(logits_of(cx, p, out + i, k, p->in.keep));
        KE_TRY(p->ops->kl(cx, part, p->work[W_LOGITS].buf, p->work[W_REFERENCE].buf,
                          weight + i, k, v));
        for (size_t j = 0; j < k; j++) {
            if (!isfinite(part[j]))
                return ke__model_not_numbers(cx, p->model);
            *loss += part[j];
        }
        if (p->in.keep)
            KE_TRY(logits_back(cx, p, out + i, k));
    }
done:
    return st;
}

void ke__pass_want_head(ke__pass *p, ke_buf *grad)
{
    p->head_grad = grad;
}
