/* What the model under a stack says to the prompts of a case. */
#include "study/bench.h"
#include "study/study.h"

#include <math.h>
#include <string.h>

enum {
    SHORT_TOKENS = 10, /* of Sanitation's answers (methods 5.10) */
    LONG_TOKENS = 50,  /* methods 5.8 */
    BATCH = 64         /* sequences generated side by side: bounds their logits */
};

void ke__bench_leave(ke__bench *b, double entered)
{
    b->summary->seconds_in_model += ke__now() - entered;
}

/* --- texts and ids ------------------------------------------------------------------ */

ke_status ke__bench_wrap(ke_ctx *cx, char **out, bool *memory, const ke_stack *stack,
                         const char *prompt)
{
    ke_status st =
        stack ? ke_stack_prompt(cx, out, stack, prompt) : ke__strdup(cx, out, prompt);
    *memory = st == KE_OK && strcmp(*out, prompt) != 0;
    return st;
}

static ke_status ids_of(ke_ctx *cx, ke_ids *out, const ke__bench *b, const char *text,
                        unsigned flags)
{
    int32_t *ids = NULL;
    *out = (ke_ids){0};
    ke_status st = ke_tokenize(cx, &ids, &out->n, ke_model_tokenizer(b->model), text,
                               strlen(text), flags);
    out->ids = ids;
    return st;
}

ke_status ke__bench_ids(ke_ctx *cx, ke_ids *out, const ke__bench *b, const char *text)
{
    return ids_of(cx, out, b, text, KE_TOK_ADD_BOS);
}

static void ids_free(ke_ctx *cx, ke_ids *ids)
{
    ke_free(cx, (void *)(uintptr_t)ids->ids);
    *ids = (ke_ids){0};
}

ke_status ke__bench_prompt(ke_ctx *cx, ke_ids *out, const ke__bench *b,
                           const ke_stack *stack, const char *prompt, bool chat)
{
    ke_status st = KE_OK;
    char *wrapped = NULL, *laid_out = NULL;
    bool memory = false;

    KE_TRY(ke__bench_wrap(cx, &wrapped, &memory, stack, prompt));
    if (chat) {
        KE_TRY(ke_chat_format(cx, &laid_out, b->chat, wrapped));
        KE_TRY(ids_of(cx, out, b, laid_out, KE_TOK_ADD_BOS | KE_TOK_PARSE_SPECIAL));
    } else {
        KE_TRY(ke__bench_ids(cx, out, b, wrapped));
    }
done:
    ke_free(cx, laid_out);
    ke__free(cx, wrapped);
    return st;
}

ke_status ke__bench_text(ke_ctx *cx, char **out, const ke__bench *b, const int32_t *ids,
                         size_t n)
{
    ke_status st = KE_OK;
    char *bytes = NULL;
    size_t n_bytes = 0;
    json_t *clean = NULL;

    *out = NULL;
    KE_TRY(ke_detokenize(cx, &bytes, &n_bytes, ke_model_tokenizer(b->model), ids, n));
    clean = ke__json_string(bytes);
    if (!clean)
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory: a text of %zu bytes", n_bytes);
    else
        st = ke__strdup(cx, out, json_string_value(clean));
done:
    json_decref(clean);
    ke_free(cx, bytes);
    return st;
}

static void reply_free(ke_ctx *cx, ke__reply *r)
{
    ke__free(cx, r->ids);
    ke__free(cx, r->labels);
    ke__free(cx, r->text);
}

void ke__said_free(ke_ctx *cx, ke__said *said)
{
    for (int v = 0; v < KE__VIEWS; v++) {
        for (size_t i = 0; said->replies[v] && i < said->n_items; i++)
            reply_free(cx, &said->replies[v][i]);
        ke__free(cx, said->replies[v]);
    }
    *said = (ke__said){0};
}

static ke_status keep_ids(ke_ctx *cx, ke__reply *r, const ke__bench *b, const int32_t *ids,
                          size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &r->ids, n, sizeof *r->ids));
    if (n > 0)
        memcpy(r->ids, ids, n * sizeof *ids);
    r->n = n;
    st = ke__bench_text(cx, &r->text, b, ids, n);
done:
    return st;
}

/* --- forced answers ----------------------------------------------------------------- */

/* A prompt and an answer as one text; tokens from `at` on are scored. */
typedef struct pair {
    ke_ids all;
    size_t at;
    ke_ids alone; /* labels of their own (a memory's), else empty */
    size_t item;
    bool rival;
} pair;

static void pair_free(ke_ctx *cx, pair *p)
{
    ids_free(cx, &p->all);
    ids_free(cx, &p->alone);
}

/* The answer begins with the first token that has a byte beyond the prompt's. */
static ke_status find_answer(ke_ctx *cx, pair *out, const ke__bench *b, const char *text,
                             size_t n_prompt)
{
    ke_status st = KE_OK;
    int32_t *ids = NULL;
    size_t *ends = NULL;
    KE_TRY(ke__tokenize_spans(cx, &ids, &ends, &out->all.n, ke_model_tokenizer(b->model),
                              text, strlen(text), KE_TOK_ADD_BOS));
    out->all.ids = ids;
    for (out->at = 0; out->at < out->all.n && ends[out->at] <= n_prompt;)
        out->at++;
    if (out->at == 0) /* nothing before it to predict it from */
        out->at = out->all.n;
done:
    ke__free(cx, ends);
    return st;
}

/* Methods 5.2: ids of prompt, blank and answer; the answer begins where the prompt alone
 * would end, even if its last token merges with the blank (EasyEdit's quirk). Methods 5.3,
 * "others", for a prompt that a memory wraps: as many tokens from the end as the answer has
 * alone, which also are the labels. An answer without tokens gets at == all.n. */
static ke_status pair_make(ke_ctx *cx, pair *out, const ke__bench *b, const ke_stack *stack,
                           const char *prompt, const char *answer)
{
    ke_status st = KE_OK;
    char *wrapped = NULL, *text = NULL;
    ke_ids alone = {0};
    bool memory = false;

    KE_TRY(ke__bench_wrap(cx, &wrapped, &memory, stack, prompt));
    KE_TRY(ke__format(cx, &text, "%s %s", wrapped, answer));
    if (b->job->without & KE_FAULT_BOUNDARY) {
        KE_TRY(find_answer(cx, out, b, text, strlen(wrapped)));
        goto done;
    }
    KE_TRY(ke__bench_ids(cx, &out->all, b, text));
    out->at = out->all.n;
    if (memory) {
        ke__free(cx, text);
        text = NULL;
        KE_TRY(ke__format(cx, &text, " %s\n", answer));
        KE_TRY(ids_of(cx, &out->alone, b, text, 0));
        if (out->alone.n > 0 && out->alone.n <= out->all.n)
            out->at = out->all.n - out->alone.n + 1;
    } else {
        KE_TRY(ke__bench_ids(cx, &alone, b, wrapped));
        if (alone.n > 0 && alone.n < out->all.n)
            out->at = alone.n;
    }
done:
    ids_free(cx, &alone);
    ke__free(cx, text);
    ke__free(cx, wrapped);
    return st;
}

static double mean_logprob(const ke_score *s)
{
    return s->n > 0 ? s->logprob / (double)s->n : (double)NAN;
}

static ke_status take_score(ke_ctx *cx, ke__reply *r, const ke__bench *b, const pair *p,
                            const ke_score *s)
{
    ke_status st = KE_OK;
    const int32_t *labels = p->alone.n ? p->alone.ids : p->all.ids + p->at;

    if (p->rival) {
        r->rival = mean_logprob(s);
        return KE_OK;
    }
    KE_TRY(keep_ids(cx, r, b, s->best, s->n));
    KE_TRY(ke__alloc(cx, &r->labels, s->n, sizeof *r->labels));
    if (s->n > 0)
        memcpy(r->labels, labels, s->n * sizeof *labels);
    r->logprob = mean_logprob(s);
    r->margin = s->n > 0 ? (double)INFINITY : (double)NAN;
    for (size_t i = 0; i < s->n; i++)
        r->margin = fmin(r->margin, fabs((double)s->margin[i]));
done:
    return st;
}

static ke_status score_pairs(ke_ctx *cx, ke__reply *replies, ke__bench *b,
                             const ke_stack *stack, const pair *pairs, size_t n)
{
    ke_status st = KE_OK;
    ke_ids *prompts = NULL, *targets = NULL;
    ke_score *scores = NULL, none = {0};
    size_t n_asked = 0, at = 0;

    KE_TRY(ke__alloc(cx, &prompts, n, sizeof *prompts));
    KE_TRY(ke__alloc(cx, &targets, n, sizeof *targets));
    KE_TRY(ke__alloc(cx, &scores, n, sizeof *scores));
    for (size_t i = 0; i < n; i++)
        if (pairs[i].at < pairs[i].all.n) {
            prompts[n_asked] = (ke_ids){pairs[i].all.ids, pairs[i].at};
            targets[n_asked++] =
                (ke_ids){pairs[i].all.ids + pairs[i].at, pairs[i].all.n - pairs[i].at};
        }
    double entered = ke__now();
    st = ke_score_targets(cx, scores, b->model, stack, prompts, targets, n_asked);
    ke__bench_leave(b, entered);
    for (size_t i = 0; st == KE_OK && i < n; i++) {
        bool asked = pairs[i].at < pairs[i].all.n;
        st = take_score(cx, &replies[pairs[i].item], b, &pairs[i],
                        asked ? &scores[at++] : &none);
    }
done:
    for (size_t i = 0; scores && i < n_asked; i++)
        ke_score_free(cx, &scores[i]);
    ke__free(cx, scores);
    ke__free(cx, targets);
    ke__free(cx, prompts);
    return st;
}

/* The success prompt is always scored, for its probability; CounterFact's figures need all
 * of them whatever the protocol. */
static bool wants_forced(const ke__bench *b, const ke__case *c, const ke__item *item)
{
    return item->kind == KE__SUCCESS || c->kind == KE__CASE_COUNTERFACT ||
           (c->kind == KE__CASE_FACT && (b->protocols & KE_PROTOCOL_EASYEDIT));
}

/* CounterFact compares the new answer with the true one: the one that is not expected. */
static const char *rival_of(const ke__case *c, const ke__item *item)
{
    if (c->kind != KE__CASE_COUNTERFACT || item->kind == KE__PORTABILITY)
        return NULL;
    if (item->kind == KE__LOCALITY)
        return strcmp(item->part, "neighborhood") == 0 ? c->fact.target : NULL;
    return c->n_old > 0 ? c->old_answers[0].names[0] : c->fact.old_answer;
}

static ke_status ask_forced(ke_ctx *cx, ke__said *out, ke__bench *b, const ke__case *c,
                            const ke__item *items, size_t n, const ke_stack *stack)
{
    ke_status st = KE_OK;
    pair *pairs = NULL;
    size_t n_pairs = 0;

    KE_TRY(ke__alloc(cx, &out->replies[KE__FORCED], n, sizeof(ke__reply)));
    KE_TRY(ke__alloc(cx, &pairs, 2 * n, sizeof *pairs));
    for (size_t i = 0; i < n; i++) {
        const char *rival = rival_of(c, &items[i]);
        out->replies[KE__FORCED][i].rival = (double)NAN;
        if (!wants_forced(b, c, &items[i]))
            continue;
        pairs[n_pairs].item = i;
        KE_TRY(
            pair_make(cx, &pairs[n_pairs++], b, stack, items[i].prompt, items[i].expected));
        if (!rival)
            continue;
        pairs[n_pairs].item = i;
        pairs[n_pairs].rival = true;
        KE_TRY(pair_make(cx, &pairs[n_pairs++], b, stack, items[i].prompt, rival));
    }
    st = score_pairs(cx, out->replies[KE__FORCED], b, stack, pairs, n_pairs);
done:
    for (size_t i = 0; pairs && i < n_pairs; i++)
        pair_free(cx, &pairs[i]);
    ke__free(cx, pairs);
    return st;
}

/* --- greedy answers ----------------------------------------------------------------- */

static ke_status generate_batch(ke_ctx *cx, ke__reply *replies, ke__bench *b,
                                const ke_stack *stack, const ke__item *items, size_t n,
                                bool chat, size_t max_tokens)
{
    ke_status st = KE_OK;
    ke_ids prompts[BATCH] = {{0}};
    ke_generated texts[BATCH] = {{0}};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;

    opts.max_tokens = max_tokens;
    for (size_t i = 0; i < n; i++)
        KE_TRY(ke__bench_prompt(cx, &prompts[i], b, stack, items[i].prompt, chat));
    double entered = ke__now();
    st = ke_generate(cx, texts, b->model, stack, prompts, n, &opts);
    ke__bench_leave(b, entered);
    for (size_t i = 0; st == KE_OK && i < n; i++)
        st = keep_ids(cx, &replies[i], b, texts[i].ids, texts[i].n);
done:
    for (size_t i = 0; i < n; i++) {
        ids_free(cx, &prompts[i]);
        ke_generated_free(cx, &texts[i]);
    }
    return st;
}

static ke_status ask_greedy(ke_ctx *cx, ke__said *out, ke__view view, ke__bench *b,
                            const ke_stack *stack, const ke__item *items, size_t n)
{
    ke_status st = KE_OK;
    bool chat = view == KE__LONG && b->job->chat;

    KE_TRY(ke__alloc(cx, &out->replies[view], n, sizeof(ke__reply)));
    for (size_t at = 0; at < n; at += BATCH)
        KE_TRY(generate_batch(cx, out->replies[view] + at, b, stack, items + at,
                              n - at < BATCH ? n - at : BATCH, chat,
                              view == KE__LONG ? LONG_TOKENS : SHORT_TOKENS));
done:
    return st;
}

/* A short reply is how the long one begins, unless a chat template comes between. */
static ke_status cut_short(ke_ctx *cx, ke__said *out, const ke__bench *b, size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &out->replies[KE__SHORT], n, sizeof(ke__reply)));
    for (size_t i = 0; i < n; i++) {
        const ke__reply *r = &out->replies[KE__LONG][i];
        KE_TRY(keep_ids(cx, &out->replies[KE__SHORT][i], b, r->ids,
                        r->n < SHORT_TOKENS ? r->n : SHORT_TOKENS));
    }
done:
    return st;
}

ke_status ke__said_ask(ke_ctx *cx, ke__said *out, ke__bench *b, const ke__case *c,
                       const ke__item *items, size_t n, const ke_stack *stack)
{
    ke_status st = KE_OK;
    bool real = b->protocols & KE_PROTOCOL_REAL;
    bool brief = (b->protocols & KE_PROTOCOL_EASYEDIT) && c->kind == KE__CASE_SANITATION;

    *out = (ke__said){.n_items = n};
    KE_TRY(ask_forced(cx, out, b, c, items, n, stack));
    if (real)
        KE_TRY(ask_greedy(cx, out, KE__LONG, b, stack, items, n));
    if (brief && real && !b->job->chat)
        KE_TRY(cut_short(cx, out, b, n));
    else if (brief)
        KE_TRY(ask_greedy(cx, out, KE__SHORT, b, stack, items, n));
    if (c->kind == KE__CASE_CONVSENT)
        KE_TRY(ke__opinion_ask(cx, out, b, c, stack));
done:
    if (st != KE_OK)
        ke__said_free(cx, out);
    return st;
}
