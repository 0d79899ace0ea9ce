/* Texts drawn for fluency (methods 5.6). One drawing serves both protocols: easyedit reads
 * the prompt and what follows it up to 100 tokens in all, real 100 tokens without it. */
#include "eval/metrics.h"
#include "study/bench.h"

#include <math.h>
#include <string.h>

enum {
    TOKENS = 100,
    TOP_K = 5,
    MOST = 3 /* of Sanitation's prompts, of however many are retained */
};

void ke__drawn_free(ke_ctx *cx, ke__drawn *d)
{
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; d->texts[k] && i < d->n; i++)
            ke__free(cx, d->texts[k][i]);
        ke__free(cx, d->texts[k]);
    }
    ke__free(cx, d->prompts);
    *d = (ke__drawn){0};
}

/* The edit prompt; in Sanitation, where that is to say nothing, the retained ones. */
static void choose(ke__drawn *d, const ke__case *c, const ke__item *items, size_t n)
{
    ke__item_kind kind = c->kind == KE__CASE_SANITATION ? KE__LOCALITY : KE__SUCCESS;
    for (size_t i = 0; i < n && d->n < MOST; i++)
        if (items[i].kind == kind)
            d->prompts[d->n++] = items[i].prompt;
}

/* The same seed for every method, and for a case wherever a run begins and whatever other
 * files it has. */
static uint64_t seed_of(const ke__bench *b, const ke__case *c)
{
    ke__rng rng = {b->job->seed ^ ke__set_find(c->set)->stream << 40 ^ (uint64_t)c->index};
    return ke__rng_next(&rng);
}

/* What one protocol reads, and its fluency added to *sum. */
static ke_status read_text(ke_ctx *cx, char **out, double *sum, const ke__bench *b,
                           const int32_t *ids, size_t n)
{
    ke_status st = KE_OK;
    double fluency = 0;
    KE_TRY(ke__bench_text(cx, out, b, ids, n));
    KE_TRY(ke__metric_fluency(cx, &fluency, *out));
    *sum += fluency;
done:
    return st;
}

static ke_status read_drawn(ke_ctx *cx, ke__drawn *d, size_t i, double sums[2],
                            const ke__bench *b, ke_ids prompt, const ke_generated *g)
{
    ke_status st = KE_OK;
    int32_t *all = NULL;
    size_t n = prompt.n < TOKENS ? TOKENS - prompt.n : 0;
    n = n < g->n ? n : g->n;

    if (b->protocols & KE_PROTOCOL_EASYEDIT) {
        KE_TRY(ke__alloc(cx, &all, prompt.n + n, sizeof *all));
        memcpy(all, prompt.ids, prompt.n * sizeof *all);
        if (n > 0)
            memcpy(all + prompt.n, g->ids, n * sizeof *all);
        KE_TRY(read_text(cx, &d->texts[0][i], &sums[0], b, all, prompt.n + n));
    }
    if ((b->protocols & KE_PROTOCOL_REAL) && !b->job->chat)
        KE_TRY(read_text(cx, &d->texts[1][i], &sums[1], b, g->ids, g->n));
done:
    ke__free(cx, all);
    return st;
}

/* `real` needs all of them, easyedit what its prompts leave. */
static size_t tokens_for(const ke__bench *b, const ke_ids *prompts, size_t n, bool chat)
{
    size_t shortest = SIZE_MAX;
    if (chat || ((b->protocols & KE_PROTOCOL_REAL) && !b->job->chat))
        return TOKENS;
    for (size_t i = 0; i < n; i++)
        shortest = prompts[i].n < shortest ? prompts[i].n : shortest;
    return shortest < TOKENS ? TOKENS - shortest : 0;
}

static ke_status draw(ke_ctx *cx, ke__drawn *d, double sums[2], ke__bench *b,
                      const ke_stack *stack, uint64_t seed, bool chat)
{
    ke_status st = KE_OK;
    ke_ids prompts[MOST] = {{0}};
    ke_generated texts[MOST] = {{0}};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;

    opts.ignore_end = true;
    opts.temperature = 1.0F;
    opts.top_k = TOP_K;
    opts.seed = seed;
    for (size_t i = 0; i < d->n; i++)
        KE_TRY(ke__bench_prompt(cx, &prompts[i], b, stack, d->prompts[i], chat));
    opts.max_tokens = tokens_for(b, prompts, d->n, chat);
    double entered = ke__now();
    st = ke_generate(cx, texts, b->model, stack, prompts, d->n, &opts);
    ke__bench_leave(b, entered);
    for (size_t i = 0; st == KE_OK && i < d->n; i++)
        st = chat ? read_text(cx, &d->texts[1][i], &sums[1], b, texts[i].ids, texts[i].n)
                  : read_drawn(cx, d, i, sums, b, prompts[i], &texts[i]);
done:
    for (size_t i = 0; i < d->n; i++) {
        ke_free(cx, (void *)(uintptr_t)prompts[i].ids);
        ke_generated_free(cx, &texts[i]);
    }
    return st;
}

ke_status ke__drawn_ask(ke_ctx *cx, ke__drawn *out, ke__bench *b, const ke__case *c,
                        const ke__item *items, size_t n, const ke_stack *stack)
{
    ke_status st = KE_OK;
    double sums[2] = {0, 0};
    bool easyedit = b->protocols & KE_PROTOCOL_EASYEDIT;
    bool real = b->protocols & KE_PROTOCOL_REAL;

    *out = (ke__drawn){0};
    KE_TRY(ke__alloc(cx, &out->prompts, MOST, sizeof *out->prompts));
    for (int k = 0; k < 2; k++)
        KE_TRY(ke__alloc(cx, &out->texts[k], MOST, sizeof **out->texts));
    choose(out, c, items, n);
    if (easyedit || !b->job->chat)
        KE_TRY(draw(cx, out, sums, b, stack, seed_of(b, c), false));
    if (real && b->job->chat)
        KE_TRY(draw(cx, out, sums, b, stack, seed_of(b, c), true));
    for (int k = 0; k < 2; k++)
        out->fluency[k] = out->n > 0 ? sums[k] / (double)out->n : (double)NAN;
done:
    if (st != KE_OK)
        ke__drawn_free(cx, out);
    return st;
}
