/* Logits of a next token, and how a model takes given continuations. */
#include "model/pass.h"

#include <math.h>

#include <stdlib.h>
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
    KE_TRY(ke__pass_fits(cx, m, prompt.n < MAX_ROWS ? prompt.n : MAX_ROWS, 1, prompt.n));
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
    for (size_t i = 0; i < m->info.n_vocab; i++)
        if (!isfinite(logits[i]))
            st = KE_ENUMERIC;
    if (st == KE_ENUMERIC)
        st = ke__model_not_numbers(cx, m);
done:
    ke__kv_free(cx, kv);
    ke__pass_free(cx, pass);
    return st;
}

/* --- scoring pairs
 * ------------------------------------------------------------------------ What a pair
 * feeds is prompt ++ target[:-1]. Pairs are sorted by these ids, so that each shares the
 * longest prefix with the one before it, and common prefixes are read once. */

typedef struct pair {
    const ke_ids *prompt, *target;
    size_t n;      /* ids fed */
    size_t shared; /* of them with the pair before, in this order */
    size_t row0;   /* row of its first own id in the run */
    size_t out0;   /* of its targets among the run's requested rows */
    size_t at;     /* place in the caller's arrays */
} pair;

static int32_t id_at(const pair *p, size_t i)
{
    return i < p->prompt->n ? p->prompt->ids[i] : p->target->ids[i - p->prompt->n];
}

static size_t common_prefix(const pair *a, const pair *b)
{
    size_t n = a->n < b->n ? a->n : b->n, i = 0;
    while (i < n && id_at(a, i) == id_at(b, i))
        i++;
    return i;
}

static int by_ids(const void *x, const void *y)
{
    const pair *a = x, *b = y;
    size_t i = common_prefix(a, b);
    if (i < a->n && i < b->n)
        return id_at(a, i) < id_at(b, i) ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Row of position `pos` of pair i: its own, or of the pair that it shares it with. */
static int32_t row_of(const pair *pairs, size_t i, size_t pos)
{
    while (pos < pairs[i].shared)
        i--;
    return (int32_t)(pairs[i].row0 + pos - pairs[i].shared);
}

/* Pairs that one run takes, with all of its arrays. */
typedef struct group {
    int32_t *ids; /* what each feeds beyond what it shares */
    ke__seq *seqs;
    int32_t *out_rows, *targets;
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

static void fill(group *g, const pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const pair *p = &pairs[i];
        for (size_t k = p->shared; k < p->n; k++)
            g->ids[p->row0 + k - p->shared] = id_at(p, k);
        g->seqs[i] = (ke__seq){.ids = g->ids + p->row0,
                               .n = (uint32_t)(p->n - p->shared),
                               .slot = (uint32_t)i,
                               .parent = i ? (uint32_t)i - 1 : 0,
                               .shared = (uint32_t)p->shared};
        for (size_t k = 0; k < p->target->n; k++) {
            g->out_rows[p->out0 + k] = row_of(pairs, i, p->prompt->n - 1 + k);
            g->targets[p->out0 + k] = p->target->ids[k];
        }
    }
}

static ke_status score_group(ke_ctx *cx, ke_score *out, ke__pass *pass,
                             const ke_stack *edits, const pair *pairs, size_t n,
                             size_t n_rows, size_t n_out)
{
    ke_status st = KE_OK;
    group g = {0};
    KE_TRY(group_new(cx, &g, n_rows, n_out, n));
    fill(&g, pairs, n);
    KE_TRY(ke__pass_run(cx, pass,
                        &(ke__pass_in){.seqs = g.seqs,
                                       .n_seqs = n,
                                       .out_rows = g.out_rows,
                                       .n_out = n_out,
                                       .edits = edits}));
    KE_TRY(ke__pass_score(cx, pass, 0, n_out, g.targets, g.logprob, g.best, g.rank,
                          g.margin, NULL));
    for (size_t i = 0; i < n; i++)
        KE_TRY(store(cx, &out[pairs[i].at], &g, pairs[i].out0, pairs[i].target->n));
done:
    group_free(cx, &g);
    return st;
}

/* As many of the sorted pairs as fit into a run; at least one. */
static size_t take_group(pair *pairs, size_t n, size_t *n_rows, size_t *n_out)
{
    size_t k = 0;
    *n_rows = *n_out = 0;
    for (; k < n && (k == 0 || *n_rows < MAX_ROWS); k++) {
        pair *p = &pairs[k];
        /* The last id is always its own: a sequence computes something. */
        p->shared = k == 0 ? 0 : common_prefix(p - 1, p);
        p->shared = p->shared < p->n ? p->shared : p->n - 1;
        p->row0 = *n_rows;
        p->out0 = *n_out;
        *n_rows += p->n - p->shared;
        *n_out += p->target->n;
    }
    return k;
}

ke_status ke_score_targets(ke_ctx *cx, ke_score *out, const ke_model *m,
                           const ke_stack *edits, const ke_ids *prompts,
                           const ke_ids *targets, size_t n)
{
    ke_status st = KE_OK;
    ke__pass *pass = NULL;
    pair *pairs = NULL;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        if (prompts[i].n == 0 || targets[i].n == 0)
            return ke__fail(cx, KE_EINVAL, prompts[i].n == 0 ? "prompt" : "target",
                            "pair %zu has an empty %s", i,
                            prompts[i].n == 0 ? "prompt" : "target");
    KE_TRY(ke__alloc(cx, &pairs, n, sizeof *pairs));
    for (size_t i = 0; i < n; i++)
        pairs[i] = (pair){.prompt = &prompts[i],
                          .target = &targets[i],
                          .n = prompts[i].n + targets[i].n - 1,
                          .at = i};
    qsort(pairs, n, sizeof *pairs, by_ids);
    KE_TRY(ke__pass_new(cx, &pass, m, NULL));
    for (size_t i = 0, k; i < n; i += k) {
        size_t n_rows, n_out;
        k = take_group(pairs + i, n - i, &n_rows, &n_out);
        KE_TRY(score_group(cx, out, pass, edits, pairs + i, k, n_rows, n_out));
    }
done:
    ke__pass_free(cx, pass);
    ke__free(cx, pairs);
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
