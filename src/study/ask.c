/* What a model says to a fact's prompt, and how firmly. */
#include "study/study.h"

#include "base/utf8.h"

#include <math.h>
#include <string.h>

#define BATCH         16 /* prompts side by side: bounds memory, not results */
#define MIN_TOKENS    16 /* of a continuation that is shown */
#define TOKENS_BEYOND 8  /* after the target: white space before it, and where it ends */

/* A fact's prompt and target as token ids. `scored` is prompt, blank and target as one
 * text: its first n_before ids are the prompt's (or fewer, where the prompt's last token
 * merges with the target) and the rest are the target's. */
typedef struct question {
    int32_t *prompt;
    size_t n_prompt;
    int32_t *scored;
    size_t n_scored, n_before;
    size_t max_tokens; /* that say whether the target is there and where it ends */
} question;

static bool ends_open(const char *prompt, const char *target)
{
    size_t n = ke__trimmed(prompt);
    return prompt[n] == '\0' && ke__skip_space(target) == target;
}

/* A prompt as the model reads it under `edits` (NULL: none): what they tell, then it, all
 * laid out by `chat` (NULL: not). */
static ke_status told(ke_ctx *cx, char **out, const ke_stack *edits, const ke_chat *chat,
                      const char *prompt)
{
    ke_status st = KE_OK;
    char *text = NULL;
    KE_TRY(edits ? ke_stack_prompt(cx, &text, edits, prompt)
                 : ke__strdup(cx, &text, prompt));
    st = ke_chat_format(cx, out, chat, text);
done:
    ke_free(cx, text);
    return st;
}

static ke_status question_new(ke_ctx *cx, question *out, const ke__run *run,
                              const ke_stack *edits, const ke_fact *fact)
{
    ke_status st = KE_OK;
    char *prompt = NULL, *text = NULL;
    size_t n = 0;
    const ke_tokenizer *tok = ke_model_tokenizer(run->model);

    const unsigned flags = ke__chat_flags(fact->chat);
    const char *target = ke__chat_target(fact->chat, fact->target);
    KE_TRY(told(cx, &prompt, edits, fact->chat, fact->prompt));
    KE_TRY(
        ke_tokenize(cx, &out->prompt, &out->n_prompt, tok, prompt, strlen(prompt), flags));
    KE_TRY(ke__format(cx, &text, "%s%s%.*s", prompt,
                      ke__chat_blank(fact->chat) && ends_open(prompt, target) ? " " : "",
                      (int)ke__trimmed(target), target));
    KE_TRY(ke_tokenize(cx, &out->scored, &out->n_scored, tok, text, strlen(text), flags));
    while (n < out->n_prompt && n < out->n_scored && out->prompt[n] == out->scored[n])
        n++;
    if (n == out->n_scored && n > 0)
        n--; /* a target that is all of one merged token */
    if (n == 0)
        st = ke__fail(cx, KE_EINVAL, NULL,
                      "the prompt \"%.80s\" has no token before the target", fact->prompt);
    out->n_before = n;
    out->max_tokens = out->n_scored - n + TOKENS_BEYOND;
    if (out->max_tokens < MIN_TOKENS)
        out->max_tokens = MIN_TOKENS;
done:
    ke__free(cx, prompt);
    ke__free(cx, text);
    return st;
}

static void question_free(ke_ctx *cx, question *q)
{
    ke_free(cx, q->prompt);
    ke_free(cx, q->scored);
    *q = (question){0};
}

/* Which tokens, put right after a target, would go on with its word. A token that begins
 * inside a character may: it counts as one. */
static ke_status breaks_new(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(run->model);
    size_t n = ke__tokenizer_size(tok), n_vocab = run->model->info.n_vocab;

    KE_TRY(ke__alloc(cx, &run->breaks, n_vocab, 1));
    for (size_t i = 0; i < n && i < n_vocab; i++) {
        const char *data = NULL;
        size_t bytes = 0;
        char first[5] = {0};
        if (ke_tokenizer_is_end(tok, (int32_t)i))
            continue;
        KE_TRY(ke__token_bytes(cx, tok, (int32_t)i, &data, &bytes));
        size_t c = ke__utf8_char(data, bytes);
        memcpy(first, data, c);
        run->breaks[i] = (bytes > 0 && c == 0) || ke__at_word(first);
    }
done:
    return st;
}

ke_status ke__questions_new(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    question q = {0};
    KE_TRY(breaks_new(cx, run));
    KE_TRY(ke__alloc(cx, &run->max_tokens, run->job->n_facts, sizeof *run->max_tokens));
    for (size_t i = 0; i < run->job->n_facts; i++) {
        KE_TRY(question_new(cx, &q, run, NULL, &run->facts[i]));
        run->max_tokens[i] = q.max_tokens;
        question_free(cx, &q);
    }
done:
    question_free(cx, &q);
    return st;
}

void ke__questions_free(ke_ctx *cx, ke__run *run)
{
    ke__free(cx, run->max_tokens);
    ke__free(cx, run->breaks);
}

/* --- the lead
 * ------------------------------------------------------------------------------ */

/* How many generated tokens it takes to say the target, and whether their text ends with it
 * (else it goes beyond: the last token holds the boundary too). */
static ke_status find_path(ke_ctx *cx, size_t *n_path, bool *exact, const ke_tokenizer *tok,
                           const ke_generated *g, const char *target)
{
    ke_status st = KE_OK;
    char *text = NULL;
    target = ke__skip_space(target);
    size_t bytes = ke__trimmed(target), unused;

    *n_path = 0;
    *exact = false;
    for (size_t k = 1; k <= g->n && *n_path == 0; k++) {
        KE_TRY(ke_detokenize(cx, &text, &unused, tok, g->ids, k));
        const char *said = ke__skip_space(text);
        if (strncmp(said, target, bytes) == 0) {
            *n_path = k;
            *exact = said[bytes] == '\0';
        }
        ke_free(cx, text);
        text = NULL;
    }
done:
    return st;
}

static float boundary_lead(const float *logits, const uint8_t *breaks, size_t n_vocab)
{
    float good = -INFINITY, bad = -INFINITY;
    for (size_t i = 0; i < n_vocab; i++) {
        float *top = breaks[i] ? &bad : &good;
        *top = logits[i] > *top ? logits[i] : *top;
    }
    return good - bad;
}

/* Smallest lead along the tokens that say the target, boundary included. */
static ke_status path_margin(ke_ctx *cx, float *out, const ke__run *run,
                             const ke_model *model, const ke_stack *edits,
                             const question *q, const ke_generated *g, const char *target)
{
    ke_status st = KE_OK;
    ke__pass *pass = NULL;
    int32_t *ids = NULL, *rows = NULL;
    float *margin = NULL, *logits = NULL;
    size_t n = 0;
    bool exact = false;

    *out = INFINITY;
    KE_TRY(find_path(cx, &n, &exact, ke_model_tokenizer(model), g, target));
    if (n == 0)
        goto done;
    KE_TRY(ke__alloc(cx, &ids, q->n_prompt + n, sizeof *ids));
    KE_TRY(ke__alloc(cx, &rows, n + 1, sizeof *rows));
    KE_TRY(ke__alloc(cx, &margin, n, sizeof *margin));
    KE_TRY(ke__alloc(cx, &logits, model->info.n_vocab, sizeof *logits));
    memcpy(ids, q->prompt, q->n_prompt * sizeof *ids);
    memcpy(ids + q->n_prompt, g->ids, n * sizeof *ids);
    for (size_t i = 0; i <= n; i++)
        rows[i] = (int32_t)(q->n_prompt - 1 + i);

    ke__seq seq = {.ids = ids, .n = (uint32_t)(q->n_prompt + n)};
    KE_TRY(ke__pass_new(cx, &pass, model, NULL));
    KE_TRY(ke__pass_run(
        cx, pass,
        &(ke__pass_in){
            .seqs = &seq, .n_seqs = 1, .out_rows = rows, .n_out = n + 1, .edits = edits}));
    KE_TRY(ke__pass_score(cx, pass, 0, n, g->ids, NULL, NULL, NULL, margin, NULL));
    for (size_t i = 0; i < n; i++)
        *out = margin[i] < *out ? margin[i] : *out;
    if (exact) {
        KE_TRY(ke__pass_logits(cx, pass, logits, n, 1));
        float lead = boundary_lead(logits, run->breaks, model->info.n_vocab);
        *out = lead < *out ? lead : *out;
    }
done:
    ke__pass_free(cx, pass);
    ke__free(cx, ids);
    ke__free(cx, rows);
    ke__free(cx, margin);
    ke__free(cx, logits);
    return st;
}

/* --- asking
 * -------------------------------------------------------------------------------- */

/* Whether `text` may still become the target with more tokens. */
static bool unfinished(const char *text, const char *target)
{
    text = ke__skip_space(text);
    target = ke__skip_space(target);
    return strncmp(text, target, strlen(text)) == 0;
}

static ke_status fill_verdict(ke_ctx *cx, ke__verdict *out, const ke__run *run,
                              const ke_model *model, const ke_stack *edits,
                              const question *q, const char *target, ke_generated *g,
                              const ke_score *score)
{
    ke_status st = KE_OK;

    /* A target spelt in more tokens than the tokenizer would use: no more than its bytes.
     */
    if (g->n >= q->max_tokens && unfinished(g->text, target)) {
        ke_generate_opts opts = KE_GENERATE_DEFAULT;
        opts.max_tokens = q->max_tokens + strlen(target);
        ke_generated_free(cx, g);
        KE_TRY(
            ke_generate(cx, g, model, edits, &(ke_ids){q->prompt, q->n_prompt}, 1, &opts));
    }
    KE_TRY(ke__strdup(cx, &out->answer.text, g->text));
    out->holds = ke_target_holds(g->text, target);
    out->answer.target_logprob = score->logprob;
    out->answer.target_rank = score->rank;
    out->answer.margin = INFINITY;
    if (out->holds)
        KE_TRY(path_margin(cx, &out->answer.margin, run, model, edits, q, g, target));
    else
        for (size_t i = 0; i < score->n; i++)
            if (score->margin[i] < out->answer.margin)
                out->answer.margin = score->margin[i];
done:
    return st;
}

static const ke_fact *fact_at(const ke__run *run, const size_t *which, size_t i)
{
    return &run->facts[which ? which[i] : i];
}

static ke_status ask_batch(ke_ctx *cx, ke__verdict *out, const ke__run *run,
                           const ke_model *model, const ke_stack *edits,
                           const size_t *which, size_t first, size_t n)
{
    ke_status st = KE_OK;
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    question questions[BATCH] = {{0}};
    ke_ids prompts[BATCH] = {{0}}, before[BATCH] = {{0}}, targets[BATCH] = {{0}};
    ke_generated texts[BATCH] = {{0}};
    ke_score scores[BATCH] = {{0}};

    opts.max_tokens = 0;
    for (size_t i = 0; i < n; i++) {
        question *q = &questions[i];
        KE_TRY(question_new(cx, q, run, edits, fact_at(run, which, first + i)));
        prompts[i] = (ke_ids){q->prompt, q->n_prompt};
        before[i] = (ke_ids){q->scored, q->n_before};
        targets[i] = (ke_ids){q->scored + q->n_before, q->n_scored - q->n_before};
        if (q->max_tokens > opts.max_tokens)
            opts.max_tokens = q->max_tokens;
    }
    KE_TRY(ke_generate(cx, texts, model, edits, prompts, n, &opts));
    KE_TRY(ke_score_targets(cx, scores, model, edits, before, targets, n));
    for (size_t i = 0; i < n; i++)
        KE_TRY(fill_verdict(cx, &out[i], run, model, edits, &questions[i],
                            fact_at(run, which, first + i)->target, &texts[i], &scores[i]));
done:
    for (size_t i = 0; i < n; i++) {
        question_free(cx, &questions[i]);
        ke_generated_free(cx, &texts[i]);
        ke_score_free(cx, &scores[i]);
    }
    return st;
}

ke_status ke__ask(ke_ctx *cx, ke__verdict *out, const ke__run *run, const ke_model *model,
                  const ke_stack *edits, const size_t *which, size_t n)
{
    ke_status st = KE_OK;
    memset(out, 0, n * sizeof *out);
    for (size_t at = 0; at < n; at += BATCH)
        KE_TRY(ask_batch(cx, out + at, run, model, edits, which, at,
                         n - at < BATCH ? n - at : BATCH));
done:
    if (st != KE_OK)
        ke__verdicts_free(cx, out, n);
    return st;
}

void ke__verdicts_free(ke_ctx *cx, ke__verdict *verdicts, size_t n)
{
    for (size_t i = 0; verdicts && i < n; i++) {
        ke__free(cx, verdicts[i].answer.text);
        verdicts[i] = (ke__verdict){0};
    }
}

static ke_status continue_batch(ke_ctx *cx, char **out, const ke__run *run,
                                const ke_stack *edits, const ke__prompt *prompts, size_t n)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(run->model);
    ke_ids asked[BATCH] = {{0}};
    size_t each[BATCH];
    ke_generated texts[BATCH] = {{0}};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    int32_t *ids = NULL;
    char *text = NULL;

    opts.max_tokens = 0;
    opts.max_each = each;
    for (size_t i = 0; i < n; i++) {
        const ke__prompt *p = &prompts[i];
        KE_TRY(told(cx, &text, edits, p->chat, p->text));
        KE_TRY(ke_tokenize(cx, &ids, &asked[i].n, tok, text, strlen(text),
                           ke__chat_flags(p->chat)));
        asked[i].ids = ids;
        each[i] = p->max_tokens;
        opts.max_tokens = each[i] > opts.max_tokens ? each[i] : opts.max_tokens;
        ke__free(cx, text);
        text = NULL;
    }
    KE_TRY(ke_generate(cx, texts, run->model, edits, asked, n, &opts));
    for (size_t i = 0; i < n; i++)
        KE_TRY(ke__strdup(cx, &out[i], texts[i].text));
done:
    ke__free(cx, text);
    for (size_t i = 0; i < n; i++) {
        ke_free(cx, (void *)(uintptr_t)asked[i].ids);
        ke_generated_free(cx, &texts[i]);
    }
    return st;
}

ke_status ke__continue(ke_ctx *cx, char **out, const ke__run *run, const ke_stack *edits,
                       const ke__prompt *prompts, size_t n)
{
    ke_status st = KE_OK;

    for (size_t i = 0; i < n; i++)
        out[i] = NULL;
    for (size_t at = 0; at < n; at += BATCH)
        KE_TRY(continue_batch(cx, out + at, run, edits, prompts + at,
                              n - at < BATCH ? n - at : BATCH));
done:
    for (size_t i = 0; st != KE_OK && i < n; i++) {
        ke__free(cx, out[i]);
        out[i] = NULL;
    }
    return st;
}
