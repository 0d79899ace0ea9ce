/* Logits of a next token, and how a model takes given continuations. */
#include "model/pass.h"

#include <string.h>

enum { MAX_ROWS = 512 };

ke_status ke_logits(ke_ctx *cx, float *logits, const ke_model *m, const ke_stack *edits,
                    ke_ids prompt)
{
    ke_status st = KE_OK;
    ke__pass *pass = NULL;
    ke__kv *kv = NULL;
    if (prompt.n == 0 || prompt.n > m->info.n_context)
        return ke__fail(cx, KE_EINVAL, "prompt",
                        "a prompt of %zu tokens, expected 1 to %u (the model's context)",
                        prompt.n, m->info.n_context);
    KE_TRY(ke__pass_new(cx, &pass, m, NULL));
    KE_TRY(ke__kv_new(cx, &kv, m, ke__pass_ops(pass), 1));
    for (size_t at = 0, n; at < prompt.n; at += n) {
        n = prompt.n - at < MAX_ROWS ? prompt.n - at : MAX_ROWS;
        ke__seq seq = {.ids = prompt.ids + at, .n = (uint32_t)n};
        int32_t last = (int32_t)n - 1;
        KE_TRY(ke__pass_run(cx, pass,
                            &(ke__pass_in){.seqs = &seq,
                                           .n_seqs = 1,
                                           .kv = kv,
                                           .out_rows = &last,
                                           .n_out = at + n == prompt.n,
                                           .edits = edits}));
    }
    KE_TRY(ke__pass_logits(cx, pass, logits, 0, 1));
done:
    ke__kv_free(cx, kv);
    ke__pass_free(cx, pass);
    return st;
}

/* A group of pairs that one run takes: their rows, and the rows that predict targets. */
typedef struct group {
    int32_t *ids; /* prompt ++ target[:-1], one pair after another */
    ke__seq *seqs;
    int32_t *out_rows; /* the last n_target rows of each */
    int32_t *targets;
    float *logprob, *margin;
    int32_t *best;
    uint32_t *rank;
} group;

static void group_free(ke_ctx *cx, group *g)
{
    ke__free(cx, g->ids);
    ke__free(cx, g->seqs);
    ke__free(cx, g->out_rows);
    ke__free(cx, g->targets);
    ke__free(cx, g->logprob);
    ke__free(cx, g->margin);
    ke__free(cx, g->best);
    ke__free(cx, g->rank);
}

static ke_status group_new(ke_ctx *cx, group *g, size_t rows, size_t targets, size_t pairs)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &g->ids, rows, sizeof *g->ids));
    KE_TRY(ke__alloc(cx, &g->seqs, pairs, sizeof *g->seqs));
    KE_TRY(ke__alloc(cx, &g->out_rows, targets, sizeof *g->out_rows));
    KE_TRY(ke__alloc(cx, &g->targets, targets, sizeof *g->targets));
    KE_TRY(ke__alloc(cx, &g->logprob, targets, sizeof *g->logprob));
    KE_TRY(ke__alloc(cx, &g->margin, targets, sizeof *g->margin));
    KE_TRY(ke__alloc(cx, &g->best, targets, sizeof *g->best));
    KE_TRY(ke__alloc(cx, &g->rank, targets, sizeof *g->rank));
done:
    return st;
}

static ke_status store(ke_ctx *cx, ke_score *out, const group *g, size_t at, size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &out->logprobs, n, sizeof *out->logprobs));
    KE_TRY(ke__alloc(cx, &out->best, n, sizeof *out->best));
    KE_TRY(ke__alloc(cx, &out->margin, n, sizeof *out->margin));
    memcpy(out->logprobs, g->logprob + at, n * sizeof *out->logprobs);
    memcpy(out->best, g->best + at, n * sizeof *out->best);
    memcpy(out->margin, g->margin + at, n * sizeof *out->margin);
    out->n = n;
    out->rank = g->rank[at];
    for (size_t i = 0; i < n; i++)
        out->logprob += (double)out->logprobs[i];
done:
    return st;
}

static ke_status score_group(ke_ctx *cx, ke_score *out, ke__pass *pass,
                             const ke_stack *edits, const ke_ids *prompts,
                             const ke_ids *targets, size_t n, size_t n_rows, size_t n_out)
{
    ke_status st = KE_OK;
    group g = {0};
    size_t row = 0, o = 0;
    KE_TRY(group_new(cx, &g, n_rows, n_out, n));
    for (size_t i = 0; i < n; i++) {
        const ke_ids *p = &prompts[i], *t = &targets[i];
        g.seqs[i] = (ke__seq){
            .ids = g.ids + row, .n = (uint32_t)(p->n + t->n - 1), .slot = (uint32_t)i};
        memcpy(g.ids + row, p->ids, p->n * sizeof *g.ids);
        memcpy(g.ids + row + p->n, t->ids, (t->n - 1) * sizeof *g.ids);
        memcpy(g.targets + o, t->ids, t->n * sizeof *g.targets);
        for (size_t k = 0; k < t->n; k++)
            g.out_rows[o++] = (int32_t)(row + p->n - 1 + k);
        row += p->n + t->n - 1;
    }
    KE_TRY(ke__pass_run(cx, pass,
                        &(ke__pass_in){.seqs = g.seqs,
                                       .n_seqs = n,
                                       .out_rows = g.out_rows,
                                       .n_out = n_out,
                                       .edits = edits}));
    KE_TRY(ke__pass_score(cx, pass, 0, n_out, g.targets, g.logprob, g.best, g.rank,
                          g.margin, NULL));
    o = 0;
    for (size_t i = 0; i < n; i++) {
        KE_TRY(store(cx, &out[i], &g, o, targets[i].n));
        o += targets[i].n;
    }
done:
    group_free(cx, &g);
    return st;
}

ke_status ke_score_targets(ke_ctx *cx, ke_score *out, const ke_model *m,
                           const ke_stack *edits, const ke_ids *prompts,
                           const ke_ids *targets, size_t n)
{
    ke_status st = KE_OK;
    ke__pass *pass = NULL;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        if (prompts[i].n == 0 || targets[i].n == 0)
            return ke__fail(cx, KE_EINVAL, prompts[i].n == 0 ? "prompt" : "target",
                            "pair %zu has an empty %s", i,
                            prompts[i].n == 0 ? "prompt" : "target");
    KE_TRY(ke__pass_new(cx, &pass, m, NULL));
    for (size_t i = 0, k; i < n; i += k) {
        size_t rows = 0, targets_in = 0;
        for (k = 0; i + k < n && (k == 0 || rows < MAX_ROWS); k++) {
            rows += prompts[i + k].n + targets[i + k].n - 1;
            targets_in += targets[i + k].n;
        }
        KE_TRY(score_group(cx, out + i, pass, edits, prompts + i, targets + i, k, rows,
                           targets_in));
    }
done:
    ke__pass_free(cx, pass);
    if (st != KE_OK)
        for (size_t i = 0; i < n; i++)
            ke_score_free(cx, &out[i]);
    return st;
}

void ke_score_free(ke_ctx *cx, ke_score *s)
{
    ke__free(cx, s->logprobs);
    ke__free(cx, s->best);
    ke__free(cx, s->margin);
    *s = (ke_score){0};
}
