#include "eval/harm.h"

#include <math.h>
#include <string.h>

/* Rows of logits held at once, of each model: 16 MB, but no fewer than two rows. */
#define BLOCK_FLOATS ((size_t)4 << 20)

static size_t block_rows(const ke_model *m, size_t chunk)
{
    size_t rows = BLOCK_FLOATS / (m->info.n_vocab ? m->info.n_vocab : 1);
    if (rows < 2)
        rows = 2;
    return rows < chunk ? rows : chunk;
}

uint64_t ke__harm_bytes(const ke_model *model, const ke__harm_opts *opts)
{
    uint64_t pass = ke__pass_bytes(model, opts->chunk + 1, opts->chunk + 1, false, 0);
    uint64_t logits = (uint64_t)block_rows(model, opts->chunk) * model->info.n_vocab * 4;
    return 2 * pass + 2 * logits;
}

/* A block of rows: logits of the two models and, for each row, what came next. */
typedef struct block {
    const float *before, *after; /* [n, V] */
    const int32_t *next;         /* [n], -1: nothing, the chunk ends */
    size_t n_vocab;
    double *kl, *nll_before, *nll_after; /* [n] */
} block;

static float largest(const float *x, size_t n)
{
    float top = x[0];
    for (size_t i = 1; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* With p = softmax(b), q = softmax(a): KL(p || q) = sum p (b - a) - lse(b) + lse(a). The
 * row's own order of summation makes it independent of the number of threads. */
static void compare_row(size_t i, unsigned thread, void *payload)
{
    const block *bl = payload;
    size_t n = bl->n_vocab;
    const float *b = bl->before + i * n, *a = bl->after + i * n;
    float top_b = largest(b, n), top_a = largest(a, n);
    double sum_b = 0, sum_a = 0, gap = 0;
    (void)thread;

    for (size_t k = 0; k < n; k++) {
        double e = (double)expf(b[k] - top_b);
        sum_b += e;
        gap += e * ((double)b[k] - (double)a[k]);
        sum_a += (double)expf(a[k] - top_a);
    }
    double lse_b = (double)top_b + log(sum_b), lse_a = (double)top_a + log(sum_a);
    double kl = gap / sum_b - lse_b + lse_a;
    bl->kl[i] = kl < 0 ? 0 : kl; /* rounding of equal rows; a NaN stays */
    if (bl->next[i] >= 0) {
        bl->nll_before[i] = lse_b - (double)b[bl->next[i]];
        bl->nll_after[i] = lse_a - (double)a[bl->next[i]];
    }
}

typedef struct sums {
    double kl, nll_before, nll_after;
    size_t n, n_predicted;
} sums;

typedef struct measure {
    ke__pass *before, *after;
    float *logits_before, *logits_after; /* [rows, V] */
    double *numbers;                     /* [3, rows] */
    int32_t *ids, *next, *out_rows;      /* [chunk + 1] */
    size_t rows;
} measure;

static void measure_free(ke_ctx *cx, measure *m)
{
    ke__pass_free(cx, m->before);
    ke__pass_free(cx, m->after);
    ke__free(cx, m->logits_before);
    ke__free(cx, m->logits_after);
    ke__free(cx, m->numbers);
    ke__free(cx, m->ids);
    ke__free(cx, m->next);
    ke__free(cx, m->out_rows);
}

/* Freed by measure_free(), also on failure. */
static ke_status measure_new(ke_ctx *cx, measure *m, const ke_model *model, size_t chunk)
{
    ke_status st = KE_OK;
    size_t n = 0;
    *m = (measure){.rows = block_rows(model, chunk)};
    if (!ke__mul(&n, m->rows, model->info.n_vocab))
        return ke__fail(cx, KE_ENOMEM, NULL, "out of memory: %zu rows of logits", m->rows);
    KE_TRY(ke__pass_new(cx, &m->before, model, NULL));
    KE_TRY(ke__pass_new(cx, &m->after, model, NULL));
    KE_TRY(ke__alloc(cx, &m->logits_before, n, sizeof(float)));
    KE_TRY(ke__alloc(cx, &m->logits_after, n, sizeof(float)));
    KE_TRY(ke__alloc(cx, &m->numbers, 3 * m->rows, sizeof(double)));
    KE_TRY(ke__alloc(cx, &m->ids, chunk + 1, sizeof(int32_t)));
    KE_TRY(ke__alloc(cx, &m->next, chunk + 1, sizeof(int32_t)));
    KE_TRY(ke__alloc(cx, &m->out_rows, chunk + 1, sizeof(int32_t)));
done:
    return st;
}

/* One chunk: m->ids[0..n) through both models, compared block by block. */
static ke_status measure_chunk(ke_ctx *cx, measure *m, const ke_model *model,
                               const ke_stack *before, const ke_stack *after, size_t n,
                               sums *out)
{
    ke_status st = KE_OK;
    ke__seq seq = {.ids = m->ids, .n = (uint32_t)n};
    ke__pass_in in = {.seqs = &seq, .n_seqs = 1, .out_rows = m->out_rows, .n_out = n};

    in.edits = before;
    KE_TRY(ke__pass_run(cx, m->before, &in));
    in.edits = after;
    KE_TRY(ke__pass_run(cx, m->after, &in));
    for (size_t at = 0; at < n; at += m->rows) {
        size_t rows = n - at < m->rows ? n - at : m->rows;
        block bl = {m->logits_before,        m->logits_after, m->next + at,
                    model->info.n_vocab,     m->numbers,      m->numbers + m->rows,
                    m->numbers + 2 * m->rows};
        KE_TRY(ke__pass_logits(cx, m->before, m->logits_before, at, rows));
        KE_TRY(ke__pass_logits(cx, m->after, m->logits_after, at, rows));
        ke__parallel(cx, rows, compare_row, &bl);
        for (size_t i = 0; i < rows; i++) {
            out->kl += bl.kl[i];
            out->n++;
            if (bl.next[i] >= 0) {
                out->nll_before += bl.nll_before[i];
                out->nll_after += bl.nll_after[i];
                out->n_predicted++;
            }
        }
    }
done:
    return st;
}

static ke_status measure_all(ke_ctx *cx, measure *m, const ke_model *model,
                             const ke_stack *before, const ke_stack *after, ke_ids text,
                             size_t chunk, int32_t bos, sums *out)
{
    ke_status st = KE_OK;
    for (size_t at = 0; at < text.n; at += chunk) {
        size_t n = text.n - at < chunk ? text.n - at : chunk, lead = bos >= 0;
        KE_TRY(ke__progress(cx, "harm", at, text.n));
        if (lead)
            m->ids[0] = bos;
        memcpy(m->ids + lead, text.ids + at, n * sizeof *m->ids);
        n += lead;
        for (size_t i = 0; i < n; i++) {
            m->out_rows[i] = (int32_t)i;
            m->next[i] = i + 1 < n ? m->ids[i + 1] : -1;
        }
        KE_TRY(measure_chunk(cx, m, model, before, after, n, out));
    }
    KE_TRY(ke__progress(cx, "harm", text.n, text.n));
done:
    return st;
}

/* The token that begins a text where the file says so, else -1. */
static ke_status first_token(ke_ctx *cx, int32_t *out, const ke_tokenizer *tok)
{
    int32_t *ids = NULL;
    size_t n = 0;
    ke_status st = ke_tokenize(cx, &ids, &n, tok, "", 0, KE_TOK_ADD_BOS);
    *out = st == KE_OK && n > 0 ? ids[0] : -1;
    ke_free(cx, ids);
    return st;
}

ke_status ke__harm_measure(ke_ctx *cx, ke__harm *out, const ke_model *model,
                           const ke_stack *before, const ke_stack *after,
                           const ke__harm_opts *opts)
{
    ke_status st = KE_OK;
    measure m = {0};
    sums s = {0};
    int32_t *ids = NULL, bos = -1;
    size_t n_ids = 0;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    size_t chunk = opts->chunk;

    if (chunk + 1 > model->info.n_context)
        chunk = model->info.n_context > 2 ? model->info.n_context - 1 : 2;
    KE_TRY(ke_tokenize(cx, &ids, &n_ids, tok, ke__harm_text,
                       (size_t)(ke__harm_text_end - ke__harm_text), 0));
    if (n_ids > opts->tokens)
        n_ids = opts->tokens;
    if (opts->bos)
        KE_TRY(first_token(cx, &bos, tok));
    KE_TRY(measure_new(cx, &m, model, chunk));
    KE_TRY(measure_all(cx, &m, model, before, after, (ke_ids){ids, n_ids}, chunk, bos, &s));
    *out = (ke__harm){s.kl / (double)s.n, exp(s.nll_before / (double)s.n_predicted),
                      exp(s.nll_after / (double)s.n_predicted), n_ids};
done:
    measure_free(cx, &m);
    ke_free(cx, ids);
    return st;
}
