/* Pre-tokenisation: the patterns that cut a text into words, by the names that
 * tokenizer.ggml.pre gives them. */
#include "base/utf8.h"
#include "token/regex.h"
#include "token/tokenizer.h"

#include <string.h>

#define WS KE__SPACES
#define L  KE__LETTERS
#define N  KE__NUMBERS

/* No pattern matches the empty string. */
/* White space before a word leaves its last character to the word. */
#define SPACES "[" WS "]+(?![^" WS "])|[" WS "]+"
#define GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?[" L "]+| ?[" N "]+| ?[^" WS L N "]+|" SPACES
/* Contractions in either case, spelled out: (?i) would let U+017F pass for s. */
#define LLAMA3(digits)                                                                     \
    "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\n" L N "]?[" L "]+"      \
    "|[" N "]" digits "| ?[^" WS L N "]+[\\r\\n]*|[" WS "]*[\\r\\n]+|" SPACES

static const char *const gpt2[KE__SPLIT_PATTERNS] = {GPT2};
static const char *const smollm[KE__SPLIT_PATTERNS] = {"[" N "]", GPT2};
static const char *const llama3[KE__SPLIT_PATTERNS] = {LLAMA3("{1,3}")};
static const char *const qwen2[KE__SPLIT_PATTERNS] = {LLAMA3("")};
static const char *const fallback[KE__SPLIT_PATTERNS] = {"[\\p{P}$+<=>^~|]+", GPT2,
                                                         "[" N "]+", "[0-9][0-9][0-9]"};

static const ke__split splits[] = {
    /* name, patterns, ignore_merges, add_bos */
    {"default", fallback, false, false},
    {"gpt-2", gpt2, false, false},
    {"gpt2", gpt2, false, false},
    {"phi-2", gpt2, false, false},
    {"mpt", gpt2, false, false},
    {"olmo", gpt2, false, false},
    {"jais", gpt2, false, false},
    {"trillion", gpt2, false, false},
    {"granite-docling", gpt2, false, false},
    {"exaone4", gpt2, false, false},
    {"gigachat", gpt2, false, false},
    {"a.x-4.0", gpt2, false, false},
    {"mellum", gpt2, false, false},
    {"modern-bert", gpt2, false, false},
    {"jina-es", gpt2, false, false},
    {"jina-de", gpt2, false, false},
    {"jina-v1-en", gpt2, false, false},
    {"jina-v2-es", gpt2, false, false},
    {"jina-v2-de", gpt2, false, false},
    {"jina-v2-code", gpt2, false, false},
    {"roberta-bpe", gpt2, false, false},
    {"smollm", smollm, false, false},
    {"starcoder", smollm, false, false},
    {"refact", smollm, false, false},
    {"command-r", smollm, false, false},
    {"codeshell", smollm, false, false},
    {"exaone", smollm, false, false},
    {"minerva-7b", smollm, false, false},
    {"mellum2", smollm, false, false},
    {"llama-bpe", llama3, true, true},
    {"llama3", llama3, true, true},
    {"llama-v3", llama3, true, true},
    {"falcon3", llama3, true, true},
    {"falcon-h1", llama3, true, true},
    {"pixtral", llama3, true, true},
    {"midm-2.0", llama3, true, true},
    {"lfm2", llama3, true, true},
    {"dbrx", llama3, false, false},
    {"smaug-bpe", llama3, false, false},
    {"glm4", llama3, false, false},
    {"chatglm-bpe", llama3, false, false},
    {"qwen2", qwen2, false, false},
    {"stablelm2", qwen2, false, false},
    {"deepseek-r1-qwen", qwen2, false, false},
    {"megrez", qwen2, false, false},
    {"hunyuan", qwen2, false, false},
    {"solar-open", qwen2, false, false},
    {"kormo", qwen2, false, false},
    {"grok-2", qwen2, false, false},
};

struct ke__splitter {
    ke__regex *regex[KE__SPLIT_PATTERNS];
    size_t n;
};

const ke__split *ke__split_find(ke__gguf_str name)
{
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
        if (strlen(splits[i].name) == name.bytes &&
            memcmp(splits[i].name, name.data, name.bytes) == 0)
            return &splits[i];
    return NULL;
}

ke_status ke__splitter_new(ke_ctx *cx, ke__splitter **out, const ke__split *split)
{
    ke_status st = KE_OK;
    ke__splitter *sp = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &sp, 1, sizeof *sp));
    for (; sp->n < KE__SPLIT_PATTERNS && split->patterns[sp->n]; sp->n++) {
        ke__gguf_str pattern = {split->patterns[sp->n], strlen(split->patterns[sp->n])};
        /* A long run of spaces backtracks once a character: linear, so without a limit. */
        KE_TRY(ke__regex_new(cx, &sp->regex[sp->n], pattern, KE__REGEX_TRUSTED));
    }
done:
    if (st == KE_OK)
        *out = sp;
    else
        ke__splitter_free(cx, sp);
    return st;
}

void ke__splitter_free(ke_ctx *cx, ke__splitter *sp)
{
    if (!sp)
        return;
    for (size_t i = 0; i < KE__SPLIT_PATTERNS; i++)
        ke__regex_free(cx, sp->regex[i]);
    ke__free(cx, sp);
}

/* --- cutting --------------------------------------------------------------------- */

typedef struct job {
    ke_ctx *cx;
    const ke__splitter *sp;
    void *match;
    const char *text;
    ke__word_fn word;
    void *payload;
} job;

/* Cut valid UTF-8 by the patterns from `level` on. What lies between two matches is a piece
 * as well, and each piece is cut by the next pattern as if it stood alone. */
static ke_status cut(const job *j, size_t from, size_t to, size_t level)
{
    ke_status st = KE_OK;
    if (level == j->sp->n)
        return j->word(j->payload, from, to);

    for (size_t at = from; at < to;) {
        size_t begin, end;
        bool found;
        KE_TRY(ke__regex_find(j->cx, j->sp->regex[level], j->match, j->text + from,
                              to - from, at - from, &found, &begin, &end));
        begin = found ? from + begin : to;
        end = found ? from + end : to;
        if (begin > at)
            KE_TRY(cut(j, at, begin, level + 1));
        if (end > begin)
            KE_TRY(cut(j, begin, end, level + 1));
        at = end;
    }
done:
    return st;
}

ke_status ke__splitter_run(ke_ctx *cx, const ke__splitter *sp, void *match,
                           const char *text, size_t from, size_t to, ke__word_fn word,
                           void *payload)
{
    ke_status st = KE_OK;
    job j = {cx, sp, match, text, word, payload};
    while (from < to) {
        size_t end = from + ke__utf8_prefix(text + from, to - from);
        if (end > from)
            KE_TRY(cut(&j, from, end, 0));
        if (end < to) { /* a byte that isn't UTF-8 is a word of its own */
            KE_TRY(word(payload, end, end + 1));
            end++;
        }
        from = end;
    }
done:
    return st;
}
