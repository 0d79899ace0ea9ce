/* Continue prompts side by side: every run feeds each live sequence what it has pending,
 * be it a part of its prompt or its last token. */
#include "model/pass.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows of one run: bounds the activations of long prompts, and keeps products large. */
enum { MAX_ROWS = 512 };

typedef struct live {
    size_t most; /* new tokens */
    const int32_t *pending;
    size_t n_pending;
    ke__rng rng;
    ke__text text;
    int32_t last;
    bool done;
} live;

typedef struct choice {
    int32_t id;
    float logprob, margin;
    bool bad; /* the logits are not numbers */
} choice;

typedef struct job {
    const ke_generate_opts *opts;
    const float *logits; /* [n, V] */
    choice *choices;     /* [n] */
    live **who;          /* [n] */
    int32_t *order;      /* [n, V] scratch for sampling, or NULL */
    size_t n_vocab;
} job;

/* --- choosing a token ---------------------------------------------------------------- */

static double log_sum_exp(const float *x, size_t n, float top)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - top);
    return (double)top + log(sum);
}

/* The largest logit and its lead over the next; of equals the first wins. */
static void greedy(choice *c, const float *x, size_t n)
{
    size_t best = 0;
    float second = -INFINITY;
    for (size_t i = 1; i < n; i++) {
        if (x[i] > x[best]) {
            second = x[best];
            best = i;
        } else if (x[i] > second) {
            second = x[i];
        }
    }
    c->id = (int32_t)best;
    c->margin = x[best] - second;
}

static int by_logit(const void *a, const void *b, void *logits)
{
    const float *x = logits;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (x[i] != x[j])
        return x[i] > x[j] ? -1 : 1;
    return i < j ? -1 : i > j;
}

/* The `keep` largest logits, best first. Small cuts are kept sorted by insertion, which
 * looks at most logits once; a whole vocabulary is sorted. */
static void best_first(int32_t *order, const float *x, size_t n, size_t keep)
{
    if (keep > 256) {
        for (size_t i = 0; i < n; i++)
            order[i] = (int32_t)i;
        qsort_r(order, n, sizeof *order, by_logit, (void *)(uintptr_t)x);
        return;
    }
    size_t have = 0;
    for (size_t i = 0; i < n; i++) {
        if (have == keep && !(x[i] > x[order[have - 1]]))
            continue;
        size_t at = have < keep ? have++ : have - 1;
        for (; at > 0 && x[order[at - 1]] < x[i]; at--)
            order[at] = order[at - 1];
        order[at] = (int32_t)i;
    }
}

/* top-k, then top-p and min-p on the untempered probabilities, then temperature. */
static void sample(choice *c, const job *j, const float *x, int32_t *order, ke__rng *rng)
{
    const ke_generate_opts *o = j->opts;
    size_t n = j->n_vocab, keep = o->top_k > 0 && o->top_k < n ? o->top_k : n;
    best_first(order, x, n, keep);
    float top = x[order[0]];
    double all = 0, sum = 0;
    for (size_t i = 0; i < keep; i++)
        all += exp((double)(x[order[i]] - top));
    for (size_t i = 0; i < keep; i++) {
        double p = exp((double)(x[order[i]] - top)) / all;
        if (i > 0 && (sum >= (double)o->top_p || p < (double)o->min_p / all)) {
            keep = i;
            break;
        }
        sum += p;
    }
    all = 0;
    for (size_t i = 0; i < keep; i++)
        all += exp((double)(x[order[i]] - top) / (double)o->temperature);
    double draw = ke__rng_unit(rng) * all;
    size_t pick = 0;
    for (; pick + 1 < keep; pick++) {
        draw -= exp((double)(x[order[pick]] - top) / (double)o->temperature);
        if (draw < 0)
            break;
    }
    if (order[pick] != c->id) /* the margin of a token that is not the best is negative */
        c->margin = x[order[pick]] - top;
    c->id = order[pick];
}

static void choose(size_t i, unsigned thread, void *payload)
{
    (void)thread;
    const job *j = payload;
    const float *x = j->logits + i * j->n_vocab;
    choice *c = &j->choices[i];
    greedy(c, x, j->n_vocab);
    double lse = log_sum_exp(x, j->n_vocab, x[c->id]);
    c->bad = !isfinite(lse);
    if (!c->bad && j->order)
        sample(c, j, x, j->order + i * j->n_vocab, &j->who[i]->rng);
    c->logprob = (float)((double)x[c->id] - lse);
}

/* --- one sequence -----------------------------------------------------------------------
 */

/* Cut the text before a stop string; only its tail can be new. */
static bool stopped(live *s, const ke_generate_opts *o, size_t added)
{
    for (size_t i = 0; o->stop && o->stop[i]; i++) {
        size_t n = strlen(o->stop[i]);
        size_t from = s->text.bytes > added + n ? s->text.bytes - added - n : 0;
        if (n == 0 || s->text.bytes < n)
            continue;
        const char *hit = memmem(s->text.data + from, s->text.bytes - from, o->stop[i], n);
        if (hit) {
            s->text.bytes = (size_t)(hit - s->text.data);
            s->text.data[s->text.bytes] = '\0';
            return true;
        }
    }
    return false;
}

static ke_status take(ke_ctx *cx, ke_generated *g, live *s, const choice *c,
                      const ke_model *m, const ke_generate_opts *o)
{
    ke_status st = KE_OK;
    const char *bytes = NULL;
    size_t n = 0;
    if (!o->ignore_end && ke_tokenizer_is_end(m->tokenizer, c->id)) {
        s->done = true;
        return KE_OK;
    }
    KE_TRY(ke__token_bytes(cx, m->tokenizer, c->id, &bytes, &n));
    KE_TRY(ke__text_add(cx, &s->text, bytes, n));
    g->ids[g->n] = c->id;
    g->logprobs[g->n] = c->logprob;
    g->margin = g->n == 0 || c->margin < g->margin ? c->margin : g->margin;
    g->n++;
    s->last = c->id;
    s->pending = &s->last;
    s->n_pending = 1;
    s->done = g->n == s->most || stopped(s, o, n);
done:
    return st;
}

/* --- all of them
 * -------------------------------------------------------------------------- */

typedef struct batch {
    ke__seq *seqs;     /* [n] */
    int32_t *out_rows; /* [n] */
    live **who;        /* [n] whose logits come, in order */
    size_t *index;     /* [n] their places in the caller's arrays */
    size_t n_seqs, n_out;
} batch;

static void gather_batch(batch *b, live *lives, size_t n)
{
    size_t rows = 0;
    b->n_seqs = b->n_out = 0;
    for (size_t i = 0; i < n && rows < MAX_ROWS; i++) {
        live *s = &lives[i];
        if (s->done)
            continue;
        size_t k = s->n_pending < MAX_ROWS - rows ? s->n_pending : MAX_ROWS - rows;
        b->seqs[b->n_seqs++] =
            (ke__seq){.ids = s->pending, .n = (uint32_t)k, .slot = (uint32_t)i};
        rows += k;
        s->pending += k;
        s->n_pending -= k;
        if (s->n_pending == 0) {
            b->out_rows[b->n_out] = (int32_t)rows - 1;
            b->who[b->n_out] = s;
            b->index[b->n_out++] = i;
        }
    }
}

static ke_status run_all(ke_ctx *cx, ke_generated *out, const ke_model *m,
                         const ke_stack *edits, live *lives, size_t n, batch *b, job *j,
                         ke__pass *pass, ke__kv *kv)
{
    ke_status st = KE_OK;
    float *logits = NULL;
    size_t room = 0;
    for (;;) {
        gather_batch(b, lives, n);
        if (b->n_seqs == 0)
            break;
        KE_TRY(ke__pass_run(cx, pass,
                            &(ke__pass_in){.seqs = b->seqs,
                                           .n_seqs = b->n_seqs,
                                           .kv = kv,
                                           .out_rows = b->out_rows,
                                           .n_out = b->n_out,
                                           .edits = edits}));
        if (b->n_out > room) {
            KE_TRY(ke__resize(cx, &logits, b->n_out * j->n_vocab, sizeof *logits));
            if (j->opts->temperature > 0.0F)
                KE_TRY(ke__resize(cx, &j->order, b->n_out * j->n_vocab, sizeof *j->order));
            room = b->n_out;
        }
        KE_TRY(ke__pass_logits(cx, pass, logits, 0, b->n_out));
        j->logits = logits;
        j->who = b->who;
        ke__parallel(cx, b->n_out, choose, j);
        for (size_t i = 0; i < b->n_out; i++) {
            if (j->choices[i].bad) {
                st = ke__model_not_numbers(cx, m);
                goto done;
            }
            size_t at = b->index[i];
            KE_TRY(take(cx, &out[at], b->who[i], &j->choices[i], m, j->opts));
            if (ke__kv_len(kv, (uint32_t)at) >= m->info.n_context)
                b->who[i]->done = true;
        }
    }
done:
    ke__free(cx, logits);
    ke__free(cx, j->order);
    return st;
}

ke_status ke_generate(ke_ctx *cx, ke_generated *out, const ke_model *m,
                      const ke_stack *edits, const ke_ids *prompts, size_t n,
                      const ke_generate_opts *opts)
{
    ke_status st = KE_OK;
    live *lives = NULL;
    batch b = {0};
    job j = {.opts = opts, .n_vocab = m->info.n_vocab};
    ke__pass *pass = NULL;
    ke__kv *kv = NULL;
    size_t rows = 0;
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        rows += prompts[i].n;
    for (size_t i = 0; opts->max_each && i < n; i++)
        if (opts->max_each[i] > opts->max_tokens)
            return ke__fail(cx, KE_EINVAL, "max_each",
                            "%zu new tokens of prompt %zu, expected at most %zu",
                            opts->max_each[i], i + 1, opts->max_tokens);
    KE_TRY(ke__pass_fits(cx, m, rows < MAX_ROWS ? rows : MAX_ROWS, n,
                         rows + n * (opts->max_tokens < m->info.n_context
                                         ? opts->max_tokens
                                         : m->info.n_context)));
    KE_TRY(ke__alloc(cx, &lives, n, sizeof *lives));
    KE_TRY(ke__alloc(cx, &b.seqs, n, sizeof *b.seqs));
    KE_TRY(ke__alloc(cx, &b.out_rows, n, sizeof *b.out_rows));
    KE_TRY(ke__alloc(cx, &b.who, n, sizeof *b.who));
    KE_TRY(ke__alloc(cx, &b.index, n, sizeof *b.index));
    KE_TRY(ke__alloc(cx, &j.choices, n, sizeof *j.choices));
    KE_TRY(ke__pass_new(cx, &pass, m, NULL));
    KE_TRY(ke__kv_new(cx, &kv, m, ke__pass_ops(pass), n));
    for (size_t i = 0; i < n; i++) {
        if (prompts[i].n == 0 || prompts[i].n > m->info.n_context) {
            st = ke__fail(cx, KE_EINVAL, "prompt",
                          "a prompt of %zu tokens, expected 1 to %u (the model's context)",
                          prompts[i].n, m->info.n_context);
            goto done;
        }
        lives[i].most = opts->max_each ? opts->max_each[i] : opts->max_tokens;
        size_t most = lives[i].most < m->info.n_context ? lives[i].most : m->info.n_context;
        KE_TRY(ke__alloc(cx, &out[i].ids, most, sizeof *out[i].ids));
        KE_TRY(ke__alloc(cx, &out[i].logprobs, most, sizeof *out[i].logprobs));
        KE_TRY(ke__text_add(cx, &lives[i].text, "", 0));
        lives[i].pending = prompts[i].ids;
        lives[i].n_pending = prompts[i].n;
        lives[i].done = lives[i].most == 0;
        lives[i].rng.state = opts->seed + 0x9e3779b97f4a7c15U * i;
    }
    KE_TRY(run_all(cx, out, m, edits, lives, n, &b, &j, pass, kv));
    for (size_t i = 0; i < n; i++) {
        out[i].text = lives[i].text.data;
        lives[i].text.data = NULL;
    }
done:
    for (size_t i = 0; i < n; i++) {
        if (lives)
            ke__free(cx, lives[i].text.data);
        if (st != KE_OK)
            ke_generated_free(cx, &out[i]);
    }
    ke__kv_free(cx, kv);
    ke__pass_free(cx, pass);
    ke__free(cx, j.choices);
    ke__free(cx, b.index);
    ke__free(cx, b.who);
    ke__free(cx, b.out_rows);
    ke__free(cx, b.seqs);
    ke__free(cx, lives);
    return st;
}

void ke_generated_free(ke_ctx *cx, ke_generated *g)
{
    ke__free(cx, g->text);
    ke__free(cx, g->ids);
    ke__free(cx, g->logprobs);
    *g = (ke_generated){0};
}
