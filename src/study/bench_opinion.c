/* ConvSent: how likely a model finds replies to a question about a topic, and how far an
 * edit moves it on another topic (methods 5.9). Two forms of each number come from the same
 * rows: UNSHIFTED looks token t up in the row that has read token t, as both published
 * programs do; SHIFTED in the row before it, which predicts it. */
#include "eval/metrics.h"
#include "model/pass.h"
#include "study/bench.h"

#include <math.h>
#include <string.h>

enum {
    RUN_ROWS = 512, /* of one pass */
    BLOCK = 64      /* rows whose log-probabilities are held at once */
};

/* Question, blank and reply; the reply's tokens are ids[from..n). */
typedef struct text {
    ke_ids ids;
    size_t from;
} text;

static void texts_free(ke_ctx *cx, text *texts, size_t n)
{
    for (size_t i = 0; texts && i < n; i++)
        ke_free(cx, (void *)(uintptr_t)texts[i].ids.ids);
    ke__free(cx, texts);
}

static ke_status texts_make(ke_ctx *cx, text **out, const ke__bench *b,
                            const ke_stack *stack, const char *question,
                            const char *const *replies, size_t n)
{
    ke_status st = KE_OK;
    char *wrapped = NULL, *line = NULL;
    ke_ids asked = {0};
    bool memory = false;

    *out = NULL;
    KE_TRY(ke__alloc(cx, out, n, sizeof **out));
    KE_TRY(ke__bench_wrap(cx, &wrapped, &memory, stack, question));
    KE_TRY(ke__bench_ids(cx, &asked, b, wrapped));
    for (size_t i = 0; i < n; i++) {
        text *t = &(*out)[i];
        KE_TRY(ke__format(cx, &line, "%s %s", wrapped, replies[i]));
        KE_TRY(ke__bench_ids(cx, &t->ids, b, line));
        /* At least one row before the reply, and no more than there are. */
        t->from = asked.n > 0 ? asked.n : 1;
        t->from = t->from < t->ids.n ? t->from : t->ids.n;
        ke__free(cx, line);
        line = NULL;
    }
done:
    ke_free(cx, (void *)(uintptr_t)asked.ids);
    ke__free(cx, line);
    ke__free(cx, wrapped);
    return st;
}

/* Texts that one pass reads: the tokens that the first one begins with are read once. */
typedef struct batch {
    int32_t *ids;
    ke__seq *seqs;
    int32_t *out_rows;           /* per text those from before its reply to its end */
    int32_t *looked[KE__SHIFTS]; /* the token looked up in each, or -1 */
    size_t n_seqs, n_out;
} batch;

static void batch_free(ke_ctx *cx, batch *bt)
{
    ke__free(cx, bt->ids);
    ke__free(cx, bt->seqs);
    ke__free(cx, bt->out_rows);
    ke__free(cx, bt->looked[KE__UNSHIFTED]);
    ke__free(cx, bt->looked[KE__SHIFTED]);
    *bt = (batch){0};
}

static size_t shared_with(const text *first, const text *t)
{
    size_t n = first->ids.n < t->ids.n ? first->ids.n : t->ids.n, i = 0;
    while (i < n && first->ids.ids[i] == t->ids.ids[i])
        i++;
    return i < t->ids.n ? i : t->ids.n - 1;
}

static void batch_add(batch *bt, const text *texts, size_t i, size_t *row0)
{
    const text *t = &texts[i];
    size_t shared = i == 0 ? 0 : shared_with(&texts[0], t);
    bt->seqs[i] = (ke__seq){.ids = bt->ids + *row0,
                            .n = (uint32_t)(t->ids.n - shared),
                            .slot = (uint32_t)i,
                            .shared = (uint32_t)shared};
    memcpy(bt->ids + *row0, t->ids.ids + shared, (t->ids.n - shared) * sizeof *bt->ids);
    for (size_t p = t->from - 1; p < t->ids.n; p++) {
        size_t o = bt->n_out++;
        bt->out_rows[o] = (int32_t)(p < shared ? p : *row0 + p - shared);
        bt->looked[KE__UNSHIFTED][o] = p >= t->from ? t->ids.ids[p] : -1;
        bt->looked[KE__SHIFTED][o] = p + 1 < t->ids.n ? t->ids.ids[p + 1] : -1;
    }
    *row0 += t->ids.n - shared;
}

static ke_status batch_make(ke_ctx *cx, batch *bt, const text *texts, size_t n)
{
    ke_status st = KE_OK;
    size_t rows = 0, row0 = 0;
    for (size_t i = 0; i < n; i++)
        rows += texts[i].ids.n;
    KE_TRY(ke__alloc(cx, &bt->ids, rows, sizeof *bt->ids));
    KE_TRY(ke__alloc(cx, &bt->seqs, n, sizeof *bt->seqs));
    KE_TRY(ke__alloc(cx, &bt->out_rows, rows, sizeof *bt->out_rows));
    for (int k = 0; k < KE__SHIFTS; k++)
        KE_TRY(ke__alloc(cx, &bt->looked[k], rows, sizeof *bt->looked[k]));
    for (size_t i = 0; i < n; i++)
        batch_add(bt, texts, i, &row0);
    bt->n_seqs = n;
done:
    return st;
}

static ke_status batch_run(ke_ctx *cx, ke__pass *pass, const batch *bt,
                           const ke_stack *stack)
{
    return ke__pass_run(cx, pass,
                        &(ke__pass_in){.seqs = bt->seqs,
                                       .n_seqs = bt->n_seqs,
                                       .out_rows = bt->out_rows,
                                       .n_out = bt->n_out,
                                       .edits = stack});
}

/* Texts [at, at + k) that one pass takes; at least one. */
static size_t take(const text *texts, size_t at, size_t n)
{
    size_t rows = 0, k = 0;
    while (at + k < n && (k == 0 || rows + texts[at + k].ids.n <= RUN_ROWS))
        rows += texts[at + k++].ids.n;
    return k;
}

/* --- mean log-probability of replies ------------------------------------------------ */

typedef struct sums {
    double sum[KE__SHIFTS];
    size_t n[KE__SHIFTS];
} sums;

static ke_status add_logprobs(ke_ctx *cx, sums *out, ke__pass *pass, const batch *bt,
                              float *rows, size_t n_vocab)
{
    ke_status st = KE_OK;
    for (size_t at = 0, n; at < bt->n_out; at += n) {
        n = bt->n_out - at < BLOCK ? bt->n_out - at : BLOCK;
        KE_TRY(ke__pass_logprobs(cx, pass, rows, at, n));
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < KE__SHIFTS; k++) {
                int32_t id = bt->looked[k][at + i];
                if (id < 0)
                    continue;
                out->sum[k] += (double)rows[i * n_vocab + (size_t)id];
                out->n[k]++;
            }
    }
done:
    return st;
}

static ke_status mean_logprobs(ke_ctx *cx, double out[KE__SHIFTS], const ke__bench *b,
                               const ke_stack *stack, const char *question,
                               const char *const *replies, size_t n)
{
    ke_status st = KE_OK;
    ke__pass *pass = NULL;
    text *texts = NULL;
    float *rows = NULL;
    batch bt = {0};
    sums s = {{0}, {0}};

    KE_TRY(texts_make(cx, &texts, b, stack, question, replies, n));
    KE_TRY(ke__pass_new(cx, &pass, b->model, NULL));
    KE_TRY(ke__alloc(cx, &rows, (size_t)BLOCK * b->model->info.n_vocab, sizeof *rows));
    for (size_t at = 0, k; at < n; at += k) {
        k = take(texts, at, n);
        KE_TRY(batch_make(cx, &bt, texts + at, k));
        KE_TRY(batch_run(cx, pass, &bt, stack));
        KE_TRY(add_logprobs(cx, &s, pass, &bt, rows, b->model->info.n_vocab));
        batch_free(cx, &bt);
    }
    for (int k = 0; k < KE__SHIFTS; k++)
        out[k] = s.n[k] ? s.sum[k] / (double)s.n[k] : (double)NAN;
done:
    batch_free(cx, &bt);
    ke__free(cx, rows);
    ke__pass_free(cx, pass);
    texts_free(cx, texts, n);
    return st;
}

/* --- divergence on the other topic -------------------------------------------------- */

typedef struct compare {
    ke__pass *before, *after;
    float *logp, *logq; /* [BLOCK, V] */
    double kl[BLOCK];
    size_t n_vocab;
} compare;

static void kl_row(size_t i, unsigned thread, void *payload)
{
    (void)thread;
    compare *c = payload;
    c->kl[i] =
        ke__metric_kl(c->logp + i * c->n_vocab, c->logq + i * c->n_vocab, c->n_vocab);
}

static ke_status add_kl(ke_ctx *cx, sums *out, compare *c, const batch *before,
                        const batch *after, const ke_stack *stack)
{
    ke_status st = KE_OK;
    KE_TRY(batch_run(cx, c->before, before, NULL));
    KE_TRY(batch_run(cx, c->after, after, stack));
    for (size_t at = 0, n; at < before->n_out; at += n) {
        n = before->n_out - at < BLOCK ? before->n_out - at : BLOCK;
        KE_TRY(ke__pass_logprobs(cx, c->before, c->logp, at, n));
        KE_TRY(ke__pass_logprobs(cx, c->after, c->logq, at, n));
        ke__parallel(cx, n, kl_row, c);
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < KE__SHIFTS; k++)
                if (before->looked[k][at + i] >= 0) {
                    out->sum[k] += c->kl[i];
                    out->n[k]++;
                }
    }
done:
    return st;
}

/* The replies' rows side by side: a memory has more before them, and where a first token
 * merges with what stands before it, one row less is compared. */
static void align(text *a, text *b)
{
    size_t n = a->ids.n - a->from, m = b->ids.n - b->from;
    a->from += n > m ? n - m : 0;
    b->from += m > n ? m - n : 0;
}

static ke_status mean_kl(ke_ctx *cx, double out[KE__SHIFTS], const ke__bench *b,
                         const ke__case *cs, const ke_stack *stack)
{
    ke_status st = KE_OK;
    size_t n = cs->n_other, rows = (size_t)BLOCK * b->model->info.n_vocab;
    compare c = {.n_vocab = b->model->info.n_vocab};
    text *before = NULL, *after = NULL;
    batch batches[2] = {{0}, {0}};
    sums s = {{0}, {0}};

    KE_TRY(texts_make(cx, &before, b, NULL, cs->other_question, cs->other, n));
    KE_TRY(texts_make(cx, &after, b, stack, cs->other_question, cs->other, n));
    for (size_t i = 0; i < n; i++)
        align(&before[i], &after[i]);
    KE_TRY(ke__pass_new(cx, &c.before, b->model, NULL));
    KE_TRY(ke__pass_new(cx, &c.after, b->model, NULL));
    KE_TRY(ke__alloc(cx, &c.logp, rows, sizeof *c.logp));
    KE_TRY(ke__alloc(cx, &c.logq, rows, sizeof *c.logq));
    for (size_t at = 0, k; at < n; at += k) {
        k = take(before, at, n);
        KE_TRY(batch_make(cx, &batches[0], before + at, k));
        KE_TRY(batch_make(cx, &batches[1], after + at, k));
        KE_TRY(add_kl(cx, &s, &c, &batches[0], &batches[1], stack));
        batch_free(cx, &batches[0]);
        batch_free(cx, &batches[1]);
    }
    for (int k = 0; k < KE__SHIFTS; k++)
        out[k] = s.n[k] ? s.sum[k] / (double)s.n[k] : (double)NAN;
done:
    batch_free(cx, &batches[0]);
    batch_free(cx, &batches[1]);
    ke__free(cx, c.logp);
    ke__free(cx, c.logq);
    ke__pass_free(cx, c.before);
    ke__pass_free(cx, c.after);
    texts_free(cx, before, n);
    texts_free(cx, after, n);
    return st;
}

ke_status ke__opinion_ask(ke_ctx *cx, ke__said *out, ke__bench *b, const ke__case *c,
                          const ke_stack *stack)
{
    ke_status st = KE_OK;
    double agree[KE__SHIFTS], oppose[KE__SHIFTS], entered = ke__now();

    KE_TRY(mean_logprobs(cx, agree, b, stack, c->question, c->agree, c->n_agree));
    KE_TRY(mean_logprobs(cx, oppose, b, stack, c->question, c->oppose, c->n_oppose));
    for (int k = 0; k < KE__SHIFTS; k++)
        out->opinion[k] = (ke__opinion){agree[k], oppose[k]};
    if (stack && c->n_other > 0)
        KE_TRY(mean_kl(cx, out->kl, b, c, stack));
done:
    ke__bench_leave(b, entered);
    return st;
}
