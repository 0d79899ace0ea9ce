/* The words of a text as word_tokenize() of NLTK 3.6.5 makes them (the version that
 * EasyEdit asks for): sentences by Punkt, then in each the Treebank rules, one after
 * another. */
#include "eval/characters.h"
#include "eval/metrics.h"
#include "eval/sentences.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* Python's \s and \w, and the end of a word and of the text as its \b and $ see them:
 * PCRE2's differ, and some from version to version. */
#define BLANK                                                                              \
    "\\t-\\r\\x1C-\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}"       \
    "\\x{202F}\\x{205F}\\x{3000}"
#define SPACE "[" BLANK "]"
#define WORD  "[\\p{L}\\p{N}_]"
#define FROM  "(?<!" WORD ")"
#define TO    "(?!" WORD ")"
#define END   "(?=\\n?\\z)"

#define CONTRACTION(first, second, to)                                                     \
    {                                                                                      \
        "(?i)" FROM "(" first ")(" second ")" to, " $1 $2 "                                \
    }

typedef struct rule {
    const char *pattern, *replacement;
} rule;

static const rule rules[] = {
    /* quotes that open */
    {"([\\x{AB}\\x{201C}\\x{2018}\\x{201E}]|`+)", " $1 "},
    {"\\A\"", "``"},
    {"(``)", " $1 "},
    {"([ (\\[{<])(\"|'{2})", "$1 `` "},
    {"(?i)(')(?!re|ve|ll|m|t|s|d|n)(" WORD ")" TO, "$1 $2"},
    /* The full stop at the end of the sentence, and other marks. "*+" matches what "*" does
     * there, but not again for every space of a run. */
    {"([^.])(\\.)([\\])}>\"'\\x{BB}\\x{201D}\\x{2019} ]*+)" SPACE "*" END, "$1 $2 $3 "},
    {"([:,])([^\\d])", " $1 $2"},
    {"([:,])" END, " $1 "},
    {"\\.{2,}", " $0 "},
    {"[;@#$%&]", " $0 "},
    {"([^.])(\\.)([\\])}>\"']*)" SPACE "*" END, "$1 $2$3 "},
    {"[?!]", " $0 "},
    {"([^'])' ", "$1 ' "},
    {"[*]", " $0 "},
    {"[\\]\\[(){}<>]", " $0 "},
    {"--", " -- "},
    /* A space at either end, for the rules below. */
    {"\\A", " "},
    {"\\z", " "},
    /* quotes that close, and endings */
    {"([\\x{BB}\\x{201D}\\x{2019}])", " $1 "},
    {"\"", " '' "},
    {"([^" BLANK "])('')", "$1 $2 "},
    {"([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "},
    {"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "},
    /* contractions */
    CONTRACTION("can", "not", TO),
    CONTRACTION("d", "'ye", TO),
    CONTRACTION("gim", "me", TO),
    CONTRACTION("gon", "na", TO),
    CONTRACTION("got", "ta", TO),
    CONTRACTION("lem", "me", TO),
    CONTRACTION("more", "'n", TO),
    CONTRACTION("wan", "na", SPACE),
    {"(?i) ('t)(is)" TO, " $1 $2 "},
    {"(?i) ('t)(was)" TO, " $1 $2 "},
};
#define N_RULES (sizeof rules / sizeof rules[0])

/* --- PCRE2 on the context's allocator --------------------------------------------- */

typedef struct ruler {
    ke_ctx *cx;
    pcre2_general_context *heap;
    pcre2_compile_context *how;
    pcre2_match_data *match;
    pcre2_code *code[N_RULES];
} ruler;

static void *pcre_alloc(PCRE2_SIZE bytes, void *cx)
{
    void *ptr = NULL;
    return ke__alloc(cx, &ptr, bytes, 1) == KE_OK ? ptr : NULL;
}

static void pcre_free(void *ptr, void *cx)
{
    ke__free(cx, ptr);
}

static void ruler_end(ruler *r)
{
    for (size_t i = 0; i < N_RULES; i++)
        pcre2_code_free(r->code[i]);
    pcre2_match_data_free(r->match);
    pcre2_compile_context_free(r->how);
    pcre2_general_context_free(r->heap);
}

static ke_status pcre_fail(ke_ctx *cx, int error, const char *pattern)
{
    PCRE2_UCHAR text[120];
    if (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED)
        return KE_ENOMEM;
    pcre2_get_error_message(error, text, sizeof text);
    return ke__fail(cx, KE_ENOTSUP, pattern, "PCRE2 fails at a rule for words: %s",
                    (const char *)text);
}

static ke_status ruler_begin(ruler *r)
{
    r->heap = pcre2_general_context_create(pcre_alloc, pcre_free, r->cx);
    r->how = r->heap ? pcre2_compile_context_create(r->heap) : NULL;
    r->match = r->how ? pcre2_match_data_create(4, r->heap) : NULL;
    if (!r->match)
        return KE_ENOMEM;
    for (size_t i = 0; i < N_RULES; i++) {
        int error;
        size_t at;
        r->code[i] = pcre2_compile((PCRE2_SPTR)rules[i].pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &error, &at, r->how);
        if (!r->code[i])
            return pcre_fail(r->cx, error, rules[i].pattern);
    }
    return KE_OK;
}

/* --- one sentence ----------------------------------------------------------------- */

static ke_status apply(ruler *r, size_t i, const ke__text *from, ke__text *to)
{
    ke_status st = KE_OK;
    for (;;) {
        PCRE2_SIZE bytes = to->room;
        int rc = pcre2_substitute(r->code[i], (PCRE2_SPTR)from->data, from->bytes, 0,
                                  PCRE2_SUBSTITUTE_GLOBAL |
                                      PCRE2_SUBSTITUTE_OVERFLOW_LENGTH | PCRE2_NO_UTF_CHECK,
                                  r->match, NULL, (PCRE2_SPTR)rules[i].replacement,
                                  PCRE2_ZERO_TERMINATED, (PCRE2_UCHAR *)to->data, &bytes);
        if (rc >= 0) {
            to->bytes = bytes;
            return KE_OK;
        }
        /* Too little room comes with the bytes that would do; too little memory does not.
         */
        if (rc != PCRE2_ERROR_NOMEMORY || bytes == PCRE2_UNSET)
            return pcre_fail(r->cx, rc, rules[i].pattern);
        KE_TRY(ke__resize(r->cx, &to->data, bytes, 1));
        to->room = bytes;
    }
done:
    return st;
}

static ke_status add_words(ke_ctx *cx, ke__text *out, size_t *n, const ke__text *text)
{
    ke_status st = KE_OK;
    size_t begin = 0;
    for (size_t at = 0, bytes; at <= text->bytes; at += bytes) {
        utf8proc_int32_t c = ' ';
        bytes = 1;
        if (at < text->bytes)
            bytes = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text->data + at,
                                             (utf8proc_ssize_t)(text->bytes - at), &c);
        if (!ke__is_space(c))
            continue;
        if (at > begin) {
            KE_TRY(ke__text_add(cx, out, text->data + begin, at - begin));
            KE_TRY(ke__text_add(cx, out, "", 1));
            ++*n;
        }
        begin = at + bytes;
    }
done:
    return st;
}

/* `pair` holds the sentence, and room to rewrite it from one to the other. */
static ke_status read_sentence(ruler *r, ke__text *out, size_t *n, ke__text pair[2])
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < N_RULES; i++)
        KE_TRY(apply(r, i, &pair[i % 2], &pair[(i + 1) % 2]));
    KE_TRY(add_words(r->cx, out, n, &pair[N_RULES % 2]));
done:
    return st;
}

/* --- the text --------------------------------------------------------------------- */

/* Replace every `old` by the shorter `new`, in place. */
static void replace(char *text, const char *old, const char *new)
{
    char *to = text;
    size_t n_old = strlen(old), n_new = strlen(new);
    for (const char *found; (found = strstr(text, old)); text = (char *)found + n_old) {
        size_t kept = (size_t)(found - text);
        memmove(to, text, kept);
        memcpy(to + kept, new, n_new);
        to += kept + n_new;
    }
    memmove(to, text, strlen(text) + 1);
}

ke_status ke__metric_words(ke_ctx *cx, char **out, size_t *n, const char *text)
{
    ke_status st = KE_OK;
    const utf8proc_option_t form = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    ruler r = {.cx = cx};
    ke__text words = {0}, pair[2] = {{0}, {0}};
    int32_t *characters = NULL;
    size_t count;

    *out = NULL;
    *n = 0;
    KE_TRY(ke__characters(cx, &characters, &count, text, form));
    char *clean = ke__characters_text(characters, count, form);
    replace(clean, "\n\n", " ");
    replace(clean, "<|endoftext|>", "");

    KE_TRY(ruler_begin(&r));
    KE_TRY(ke__text_add(cx, &words, "", 0));
    ke__sentences s = ke__sentences_begin(clean, strlen(clean));
    for (size_t begin, end; ke__sentences_next(&s, &begin, &end);) {
        pair[0].bytes = 0;
        KE_TRY(ke__text_add(cx, &pair[0], clean + begin, end - begin));
        KE_TRY(read_sentence(&r, &words, n, pair));
    }
    *out = words.data;
    words.data = NULL;

done:
    ke__free(cx, pair[0].data);
    ke__free(cx, pair[1].data);
    ke__free(cx, words.data);
    ke__free(cx, characters);
    ruler_end(&r);
    return st;
}
