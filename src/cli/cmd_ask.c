#include "cli/cli.h"
#include "knowedit/patch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPERATURE = 1 }; /* in c->given */

typedef struct ask_options {
    char **models, **patches, **stop; /* NULL-terminated, or NULL */
    char *score, *tokens_in, *family;
    long long n, top, top_k;
    double temperature, top_p, min_p;
    int ignore_eos, chat, parse_special, no_special;
} ask_options;

/* One model's answer, with the patches in force or without. */
typedef struct answer {
    const char *model;
    char **patches; /* in force; NULL: none */
    char *prompt;
    int32_t *prompt_ids;
    size_t n_prompt;
    ke_generated said;
    float *logits; /* [V] of the token after the prompt, or NULL */
    size_t n_vocab;
    double logsumexp;
    int32_t *top; /* [n_top] best first */
    size_t n_top;
    int32_t *score_ids;
    size_t n_score;
    ke_score score;
} answer;

static void answer_free(ke_ctx *cx, answer *a)
{
    ke_free(cx, a->prompt);
    ke_free(cx, a->prompt_ids);
    ke_generated_free(cx, &a->said);
    ke__free(cx, a->logits);
    ke__free(cx, a->top);
    ke_free(cx, a->score_ids);
    ke_score_free(cx, &a->score);
}

/* The prompt behind what the patches tell; *out is the caller's. */
static ke_status told_prompt(ke__cli *c, const ask_options *o, const ke_stack *stack,
                             char **out)
{
    ke_status st = KE_OK;
    const char *prompt = o->tokens_in ? "" : c->args[0];

    if (stack == NULL)
        return ke__strdup(c->cx, out, prompt);
    KE_TRY(ke_stack_prompt(c->cx, out, stack, prompt));
    if (o->tokens_in && **out != '\0')
        st = ke__opt_refuse(c, "--tokens-in",
                            "a patch tells facts before the prompt: expected it as text, "
                            "not by --tokens-in");
done:
    return st;
}

/* The prompt as ids, and as text whichever way it was given. */
static ke_status read_prompt(ke__cli *c, const ask_options *o, const ke_model *model,
                             const ke_stack *stack, answer *a)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    ke_model_info info;
    char *told = NULL;
    ke_chat *chat = NULL;
    size_t bytes = 0;

    KE_TRY(told_prompt(c, o, stack, &told));
    if (o->tokens_in != NULL) {
        ke_model_info_get(model, &info);
        KE_TRY(ke__opt_list(c, "--tokens-in", o->tokens_in, false,
                            (int32_t)info.n_vocab - 1, &a->prompt_ids, &a->n_prompt));
        st = ke_detokenize(c->cx, &a->prompt, &bytes, tok, a->prompt_ids, a->n_prompt);
        goto done;
    }
    unsigned flags = (o->no_special ? 0U : KE_TOK_ADD_BOS) |
                     (o->parse_special || o->chat ? KE_TOK_PARSE_SPECIAL : 0U);
    if (o->chat)
        KE_TRY(ke_chat_new(c->cx, &chat, model, o->family));
    KE_TRY(ke_chat_format(c->cx, &a->prompt, chat, told));
    KE_TRY(ke_tokenize(c->cx, &a->prompt_ids, &a->n_prompt, tok, a->prompt,
                       strlen(a->prompt), flags));
done:
    ke_free(c->cx, told);
    ke_chat_free(c->cx, chat);
    return st;
}

/* The logits after the prompt: their log-sum-exp and the `k` largest, best first. */
static ke_status look_at_logits(ke__cli *c, const ke_model *model, const ke_stack *stack,
                                size_t k, answer *a)
{
    ke_status st = KE_OK;
    ke_model_info info;

    ke_model_info_get(model, &info);
    a->n_vocab = info.n_vocab;
    KE_TRY(ke__alloc(c->cx, &a->logits, a->n_vocab, sizeof *a->logits));
    KE_TRY(ke__alloc(c->cx, &a->top, k, sizeof *a->top));
    KE_TRY(ke_logits(c->cx, a->logits, model, stack, (ke_ids){a->prompt_ids, a->n_prompt}));

    float largest = a->logits[0];
    for (size_t i = 0; i < a->n_vocab; i++) {
        largest = a->logits[i] > largest ? a->logits[i] : largest;
        size_t at = a->n_top;
        while (at > 0 && a->logits[i] > a->logits[a->top[at - 1]])
            at--;
        if (at == k)
            continue;
        a->n_top += a->n_top < k;
        memmove(a->top + at + 1, a->top + at, (a->n_top - 1 - at) * sizeof *a->top);
        a->top[at] = (int32_t)i;
    }
    double sum = 0;
    for (size_t i = 0; i < a->n_vocab; i++)
        sum += exp((double)a->logits[i] - (double)largest);
    a->logsumexp = (double)largest + log(sum);
done:
    return st;
}

/* Ids of the text that follows the prompt: what prompt and text together have after what
 * they share with the prompt alone, so that a word cut by the prompt's end is read as one
 * reads. */
static ke_status score(ke__cli *c, const ask_options *o, const ke_model *model,
                       const ke_stack *stack, answer *a)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    char *whole = NULL;
    int32_t *ids = NULL;
    size_t n = 0, same = 0;

    KE_TRY(ke__format(c->cx, &whole, "%s%s", o->tokens_in ? "" : a->prompt, o->score));
    unsigned flags = (o->no_special || o->tokens_in ? 0U : KE_TOK_ADD_BOS) |
                     (o->parse_special || o->chat ? KE_TOK_PARSE_SPECIAL : 0U);
    KE_TRY(ke_tokenize(c->cx, &ids, &n, tok, whole, strlen(whole), flags));
    if (!o->tokens_in)
        while (same < n && same < a->n_prompt && ids[same] == a->prompt_ids[same])
            same++;
    size_t context = o->tokens_in ? a->n_prompt : same;
    a->n_score = n - same;
    KE_TRY(ke__alloc(c->cx, &a->score_ids, a->n_score, sizeof *ids));
    memcpy(a->score_ids, ids + same, a->n_score * sizeof *ids);
    KE_TRY(ke_score_targets(c->cx, &a->score, model, stack,
                            &(ke_ids){a->prompt_ids, context},
                            &(ke_ids){a->score_ids, a->n_score}, 1));
done:
    ke_free(c->cx, ids);
    ke__free(c->cx, whole);
    return st;
}

static ke_status ask(ke__cli *c, const ask_options *o, const ke_model *model,
                     const ke_stack *stack, answer *a)
{
    ke_status st = KE_OK;
    bool by_share = o->top_k > 0 || o->top_p < 1 || o->min_p > 0;
    ke_generate_opts opts = KE_GENERATE_DEFAULT;

    opts.max_tokens = (size_t)o->n;
    opts.ignore_end = o->ignore_eos;
    opts.seed = c->seed;
    opts.stop = (const char *const *)o->stop;
    opts.temperature = (float)o->temperature;
    if (by_share && (c->given & 1U << TEMPERATURE) == 0)
        opts.temperature = 1.0F;
    opts.top_k = (size_t)o->top_k;
    opts.top_p = (float)o->top_p;
    opts.min_p = (float)o->min_p;
    KE_TRY(read_prompt(c, o, model, stack, a));
    if (o->n > 0)
        KE_TRY(ke_generate(c->cx, &a->said, model, stack,
                           &(ke_ids){a->prompt_ids, a->n_prompt}, 1, &opts));
    if (o->top > 0 || c->json)
        KE_TRY(look_at_logits(c, model, stack, (size_t)o->top, a));
    if (o->score != NULL)
        KE_TRY(score(c, o, model, stack, a));
done:
    return st;
}

static json_t *answer_json(const answer *a)
{
    json_t *top = json_array(), *patches = json_array();
    bool ok = true;
    for (size_t i = 0; i < a->n_top; i++)
        ok = ok &&
             ke__json_add(top, json_pack("[i, o]", a->top[i],
                                         ke__json_number((double)a->logits[a->top[i]])));
    for (char **p = a->patches; p != NULL && *p != NULL; p++)
        ok = ok && ke__json_add(patches, ke__json_string(*p));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "model",
                     ke__json_string(a->model), "patches", ke__json_done(patches, ok),
                     "prompt", ke__json_string(a->prompt), "prompt_tokens",
                     ke__result_ids(a->prompt_ids, a->n_prompt), "text",
                     ke__json_string(a->said.text ? a->said.text : ""), "tokens",
                     ke__result_ids(a->said.ids, a->said.n), "logprobs",
                     ke__result_floats(a->said.logprobs, a->said.n), "top",
                     ke__json_done(top, ok), "logsumexp", ke__json_number(a->logsumexp),
                     "score", ke__result_floats(a->score.logprobs, a->score.n),
                     "score_tokens", ke__result_ids(a->score_ids, a->n_score));
}

static ke_status print_token(ke__cli *c, const ke_tokenizer *tok, int32_t id)
{
    char *text = NULL;
    size_t bytes = 0;
    ke_status st = ke_detokenize(c->cx, &text, &bytes, tok, &id, 1);
    if (st == KE_OK)
        ke__talk_quote(stdout, text, 40);
    ke_free(c->cx, text);
    return st;
}

static ke_status print_answer(ke__cli *c, const ask_options *o, const ke_tokenizer *tok,
                              const answer *a, bool several)
{
    ke_status st = KE_OK;
    if (several) {
        printf("# %s", a->model);
        for (char **p = a->patches; p != NULL && *p != NULL; p++)
            printf(" + %s", *p);
        putchar('\n');
    }
    if (o->n > 0)
        printf("%s\n", a->said.text);
    for (size_t i = 0; i < a->n_top; i++) {
        float logit = a->logits[a->top[i]];
        printf("%8d  %9.4f  %7.3f %%  ", a->top[i], (double)logit,
               100 * exp((double)logit - a->logsumexp));
        KE_TRY(print_token(c, tok, a->top[i]));
        putchar('\n');
    }
    for (size_t i = 0; i < a->n_score; i++) {
        printf("%8d  log-probability %9.4f  ", a->score_ids[i],
               (double)a->score.logprobs[i]);
        KE_TRY(print_token(c, tok, a->score_ids[i]));
        putchar('\n');
    }
    if (a->n_score > 0)
        printf("sum %.4f, rank of the first %u\n", a->score.logprob, a->score.rank);
done:
    return st;
}

/* Ask `model` once and add the answer to the list, or print it where there is none. */
static ke_status answer_once(ke__cli *c, const ask_options *o, const char *path,
                             const ke_model *model, const ke_stack *stack, bool several,
                             json_t *list)
{
    ke_status st = KE_OK;
    answer a = {.model = path, .patches = stack ? o->patches : NULL};

    KE_TRY(ask(c, o, model, stack, &a));
    if (list == NULL)
        KE_TRY(print_answer(c, o, ke_model_tokenizer(model), &a, several));
    else if (json_array_append_new(list, answer_json(&a)) != 0)
        st = ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result");
done:
    answer_free(c->cx, &a);
    return st;
}

/* Put every patch file on a stack; *out holds them until the stack is freed. */
static ke_status push_patches(ke__cli *c, char **paths, const ke_model *model,
                              ke_stack *stack, ke_patch ***out)
{
    ke_status st = KE_OK;
    size_t n = 0;
    while (paths[n] != NULL)
        n++;
    KE_TRY(ke__alloc(c->cx, out, n + 1, sizeof **out));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(ke_patch_load(c->cx, &(*out)[i], paths[i]));
        if (!c->force)
            st = ke_patch_fits(c->cx, (*out)[i], model, (const ke_patch *const *)*out, i);
        if (st == KE_EMISMATCH)
            st = ke__fail(c->cx, KE_EMISMATCH, paths[i], "%s: %s; --force applies it",
                          paths[i], ke_ctx_message(c->cx));
        if (st != KE_OK)
            goto done;
        KE_TRY(ke_stack_push(c->cx, stack, (*out)[i]));
    }
done:
    return st;
}

static ke_status ask_model(ke__cli *c, const ask_options *o, const char *name, json_t *list)
{
    ke_status st = KE_OK;
    char *path = NULL;
    ke_model *model = NULL;
    ke_stack *stack = NULL;
    ke_patch **patches = NULL;
    bool several = o->models[1] != NULL || o->patches != NULL;

    KE_TRY(ke__find_model(c, name, &path));
    KE_TRY(ke_model_open(c->cx, &model, path));
    if (o->patches != NULL) {
        KE_TRY(ke_stack_new(c->cx, &stack, model));
        KE_TRY(push_patches(c, o->patches, model, stack, &patches));
    }
    KE_TRY(answer_once(c, o, path, model, NULL, several, list));
    if (stack != NULL)
        KE_TRY(answer_once(c, o, path, model, stack, several, list));
done:
    ke_stack_free(c->cx, stack);
    for (ke_patch **p = patches; p != NULL && *p != NULL; p++)
        ke_patch_free(c->cx, *p);
    ke__free(c->cx, patches);
    ke_model_close(c->cx, model);
    ke__free(c->cx, path);
    return st;
}

static ke_status check(ke__cli *c, const ask_options *o)
{
    ke_status st = KE_OK;

    KE_TRY(ke__opt_need(c, "-m", o->models));
    KE_TRY(ke__opt_args(c, o->tokens_in ? 0 : 1, o->tokens_in ? 0 : 1));
    if (o->tokens_in && o->chat)
        return ke__opt_refuse(c, "--chat", "--chat and --tokens-in exclude each other");
    if (o->family && !o->chat)
        return ke__opt_refuse(c, "--template", "--template is of use with --chat only");
    KE_TRY(ke__opt_range(c, "-n", o->n, 0, INT32_MAX));
    KE_TRY(ke__opt_range(c, "--top", o->top, 0, 1000));
    KE_TRY(ke__opt_range(c, "--top-k", o->top_k, 0, INT32_MAX));
    KE_TRY(ke__opt_range_real(c, "--temperature", o->temperature, 0, 100));
    KE_TRY(ke__opt_range_real(c, "--top-p", o->top_p, 0, 1));
    KE_TRY(ke__opt_range_real(c, "--min-p", o->min_p, 0, 1));
done:
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    ask_options o = {.n = 64, .top_p = 1};
    json_t *list = NULL;
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_ARGV, &o.models, 0,
         "model file, or a fetched model's name; several are asked one by one", "MODEL"},
        {"patch", 0, POPT_ARG_ARGV, &o.patches, 0,
         "ask again with this patch in force; several are stacked", "FILE"},
        {"n", 'n', POPT_ARG_LONGLONG, &o.n, 0, "new tokens at most (64)", "N"},
        {"ignore-eos", 0, POPT_ARG_NONE, &o.ignore_eos, 0, "go on after the end", NULL},
        {"chat", 0, POPT_ARG_NONE, &o.chat, 0, "lay the prompt out as a chat message",
         NULL},
        {"template", 0, POPT_ARG_STRING, &o.family, 0,
         "family of the chat layout: ChatML, Llama-3, Gemma, ... (the model's own)",
         "NAME"},
        {"tokens-in", 0, POPT_ARG_STRING, &o.tokens_in, 0, "token ids instead of a prompt",
         "1,2,3"},
        {"top", 0, POPT_ARG_LONGLONG, &o.top, 0, "show the K best next tokens", "K"},
        {"score", 0, POPT_ARG_STRING, &o.score, 0, "log-probabilities of this text",
         "TEXT"},
        {"temperature", 0, POPT_ARG_DOUBLE, &o.temperature, TEMPERATURE,
         "draw instead of greedy", "X"},
        {"top-k", 0, POPT_ARG_LONGLONG, &o.top_k, 0, "draw from the K best", "K"},
        {"top-p", 0, POPT_ARG_DOUBLE, &o.top_p, 0,
         "draw from the best that hold this share", "X"},
        {"min-p", 0, POPT_ARG_DOUBLE, &o.min_p, 0,
         "drop what is below this share of the best", "X"},
        {"stop", 0, POPT_ARG_ARGV, &o.stop, 0, "end before this text; may be repeated",
         "TEXT"},
        {"parse-special", 0, POPT_ARG_NONE, &o.parse_special, 0,
         "recognise special tokens in the prompt", NULL},
        {"no-special", 0, POPT_ARG_NONE, &o.no_special, 0, "no BOS before the prompt",
         NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(check(c, &o));
    KE_TRY(ke__result_list(c, &list));
    for (char **name = o.models; *name != NULL; name++)
        KE_TRY(ask_model(c, &o, *name, list));
    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:O}", "schema", "knowedit.ask/1", "answers", list));
done:
    json_decref(list);
    return st;
}

const ke__command ke__cmd_ask = {
    .name = "ask",
    .summary = "let models complete a prompt, with and without patches",
    .usage = "-m MODEL... [--patch FILE...] (PROMPT | --tokens-in 1,2,3)",
    .example = "knowedit ask -m smollm2-135m --top 5 \"The capital of France is\"",
    .run = run,
};
