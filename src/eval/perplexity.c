/* Perplexity of a token sequence: chunks read alone, several of them in one batch. */
#include "model/pass.h"

#include <math.h>
#include <string.h>

#define BATCH_ROWS 512

typedef struct batch {
    ke__pass *pass;
    int32_t *ids;      /* [rows] packed chunks, BOS included */
    int32_t *out_rows; /* [rows] rows that predict something */
    int32_t *targets;  /* [rows] what they predict */
    float *logprob;    /* [rows] */
    ke__seq *seqs;     /* [n_seqs] */
} batch;

static void batch_free(ke_ctx *cx, batch *b)
{
    ke__pass_free(cx, b->pass);
    ke__free(cx, b->ids);
    ke__free(cx, b->out_rows);
    ke__free(cx, b->targets);
    ke__free(cx, b->logprob);
    ke__free(cx, b->seqs);
}

/* Freed by batch_free(), also on failure. */
static ke_status batch_new(ke_ctx *cx, batch *b, const ke_model *model, size_t rows,
                           size_t n_seqs)
{
    ke_status st = KE_OK;
    *b = (batch){0};
    KE_TRY(ke__pass_new(cx, &b->pass, model, NULL));
    KE_TRY(ke__alloc(cx, &b->ids, rows, sizeof *b->ids));
    KE_TRY(ke__alloc(cx, &b->out_rows, rows, sizeof *b->out_rows));
    KE_TRY(ke__alloc(cx, &b->targets, rows, sizeof *b->targets));
    KE_TRY(ke__alloc(cx, &b->logprob, rows, sizeof *b->logprob));
    KE_TRY(ke__alloc(cx, &b->seqs, n_seqs, sizeof *b->seqs));
done:
    return st;
}

/* Lay up to n_seqs chunks of text.ids[at..) side by side; returns where the text goes on.
 */
static size_t batch_fill(batch *b, ke__pass_in *in, ke_ids text, size_t at, size_t chunk,
                         size_t n_seqs, int32_t bos)
{
    size_t row = 0, lead = bos >= 0;
    *in = (ke__pass_in){.seqs = b->seqs, .out_rows = b->out_rows};
    while (in->n_seqs < n_seqs && at < text.n) {
        size_t n = text.n - at < chunk ? text.n - at : chunk;
        int32_t *ids = b->ids + row;
        if (lead)
            ids[0] = bos;
        memcpy(ids + lead, text.ids + at, n * sizeof *ids);
        b->seqs[in->n_seqs] =
            (ke__seq){.ids = ids, .n = (uint32_t)(n + lead), .slot = (uint32_t)in->n_seqs};
        in->n_seqs++;
        for (size_t i = 0; i + 1 < n + lead; i++) {
            b->out_rows[in->n_out] = (int32_t)(row + i);
            b->targets[in->n_out++] = ids[i + 1];
        }
        row += n + lead;
        at += n;
    }
    return at;
}

static ke_status check(ke_ctx *cx, const ke_model *model, ke_ids text, size_t chunk,
                       size_t lead)
{
    if (chunk < 2)
        return ke__fail(cx, KE_EINVAL, "chunk",
                        "a chunk of %zu tokens: expected at least 2", chunk);
    if (chunk + lead > model->info.n_context)
        return ke__fail(cx, KE_EINVAL, "chunk",
                        "a chunk of %zu tokens: the model reads at most %u", chunk + lead,
                        model->info.n_context);
    if (text.n + lead < 2)
        return ke__fail(cx, KE_EINVAL, NULL,
                        "a text of %zu token(s) has nothing to predict", text.n);
    return KE_OK;
}

ke_status ke_perplexity_measure(ke_ctx *cx, ke_perplexity *out, const ke_model *model,
                                const ke_stack *edits, ke_ids text, size_t chunk,
                                int32_t bos)
{
    ke_status st = KE_OK;
    batch b = {0};
    double nll = 0;
    size_t predicted = 0, lead = bos >= 0;

    *out = (ke_perplexity){0};
    KE_TRY(check(cx, model, text, chunk, lead));
    if (chunk > text.n)
        chunk = text.n;
    size_t n_seqs = BATCH_ROWS / (chunk + lead);
    n_seqs = n_seqs ? n_seqs : 1;
    KE_TRY(ke__pass_fits(cx, model, n_seqs * (chunk + lead), 32, 0));
    KE_TRY(batch_new(cx, &b, model, n_seqs * (chunk + lead), n_seqs));
    for (size_t at = 0; at < text.n;) {
        ke__pass_in in;
        KE_TRY(ke__progress(cx, "perplexity", at, text.n));
        at = batch_fill(&b, &in, text, at, chunk, n_seqs, bos);
        if (in.n_out == 0)
            break; /* a last chunk of one token */
        in.edits = edits;
        KE_TRY(ke__pass_run(cx, b.pass, &in));
        KE_TRY(ke__pass_score(cx, b.pass, 0, in.n_out, b.targets, b.logprob, NULL, NULL,
                              NULL, NULL));
        for (size_t i = 0; i < in.n_out; i++)
            nll -= (double)b.logprob[i];
        predicted += in.n_out;
    }
    KE_TRY(ke__progress(cx, "perplexity", text.n, text.n));
    nll /= (double)predicted;
    *out = (ke_perplexity){text.n, predicted, nll, exp(nll)};
done:
    batch_free(cx, &b);
    return st;
}
