/* Pre-tokenisation: the patterns that cut a text into words, by the names that
 * tokenizer.ggml.pre gives them. */
#include "token/tokenizer.h"

#include "base/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* Insides of character classes. White space is spelled out because PCRE2's \s has U+180E,
 * which Unicode gave up in 6.3. Letters and numbers are \p{L} and \p{N} of Unicode 15.1,
 * the version that vocabularies are used with; PCRE2 10.42 has 14. No pattern matches the
 * empty string. */
#define WS                                                                                 \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"        \
    "\\x{205F}\\x{3000}"
#define L                                                                                  \
    "\\p{L}\\x{1123F}\\x{11240}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}"       \
    "\\x{1342F}\\x{13441}-\\x{13446}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"             \
    "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}"            \
    "\\x{31350}-\\x{323AF}"
#define N "\\p{N}\\x{11F50}-\\x{11F59}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}"

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
    pcre2_match_context *limits;
    pcre2_code *code[KE__SPLIT_PATTERNS];
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

/* --- PCRE2 on the context's allocator -------------------------------------------- */

static void *pcre_alloc(PCRE2_SIZE bytes, void *cx)
{
    void *ptr = NULL;
    return ke__alloc(cx, &ptr, bytes, 1) == KE_OK ? ptr : NULL;
}

static void pcre_free(void *ptr, void *cx)
{
    ke__free(cx, ptr);
}

static ke_status compile(ke_ctx *cx, pcre2_code **out, const char *pattern,
                         pcre2_compile_context *how)
{
    int error;
    size_t at;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                         &error, &at, how);
    if (!*out) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(error, text, sizeof text);
        return ke__fail(cx, error == PCRE2_ERROR_HEAP_FAILED ? KE_ENOMEM : KE_ENOTSUP,
                        pattern, "PCRE2 cannot compile a split: %s at %zu",
                        (const char *)text, at);
    }
    /* Where code can't be generated the interpreter matches the same, only slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return KE_OK;
}

ke_status ke__splitter_new(ke_ctx *cx, ke__splitter **out, const ke__split *split)
{
    ke_status st = KE_OK;
    ke__splitter *sp = NULL;
    pcre2_general_context *heap = NULL;
    pcre2_compile_context *how = NULL;
    *out = NULL;

    KE_TRY(ke__alloc(cx, &sp, 1, sizeof *sp));
    heap = pcre2_general_context_create(pcre_alloc, pcre_free, cx);
    how = heap ? pcre2_compile_context_create(heap) : NULL;
    sp->limits = how ? pcre2_match_context_create(heap) : NULL;
    if (!sp->limits) {
        st = KE_ENOMEM;
        goto done;
    }
    /* A long run of spaces backtracks once a character: linear, but over the default. */
    pcre2_set_match_limit(sp->limits, UINT32_MAX);
    for (; sp->n < KE__SPLIT_PATTERNS && split->patterns[sp->n]; sp->n++)
        KE_TRY(compile(cx, &sp->code[sp->n], split->patterns[sp->n], how));

done:
    pcre2_compile_context_free(how);
    pcre2_general_context_free(heap);
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
        pcre2_code_free(sp->code[i]);
    pcre2_match_context_free(sp->limits);
    ke__free(cx, sp);
}

ke_status ke__split_match_new(ke_ctx *cx, void **match)
{
    pcre2_general_context *heap = pcre2_general_context_create(pcre_alloc, pcre_free, cx);
    *match = heap ? pcre2_match_data_create(1, heap) : NULL;
    pcre2_general_context_free(heap);
    return *match ? KE_OK : KE_ENOMEM;
}

void ke__split_match_free(void *match)
{
    pcre2_match_data_free(match);
}

/* --- cutting --------------------------------------------------------------------- */

typedef struct job {
    ke_ctx *cx;
    const ke__splitter *sp;
    pcre2_match_data *match;
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

    const size_t *match = pcre2_get_ovector_pointer(j->match);
    for (size_t at = from; at < to;) {
        size_t begin = to, end = to;
        int rc = pcre2_match(j->sp->code[level], (PCRE2_SPTR)j->text + from, to - from,
                             at - from, PCRE2_NO_UTF_CHECK, j->match, j->sp->limits);
        if (rc >= 0) {
            begin = from + match[0];
            end = from + match[1];
        } else if (rc != PCRE2_ERROR_NOMATCH) {
            return ke__fail(j->cx, rc == PCRE2_ERROR_NOMEMORY ? KE_ENOMEM : KE_ENOTSUP,
                            NULL, "PCRE2 error %d while splitting text at byte %zu", rc,
                            at);
        }
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
