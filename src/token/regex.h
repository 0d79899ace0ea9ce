/* Patterns: PCRE2 on the context's allocator, with limits for those that come from a file.
 */
#ifndef KE_TOKEN_REGEX_H
#define KE_TOKEN_REGEX_H

#include "format/gguf.h"

/* Insides of character classes. White space is spelled out because PCRE2's \s has U+180E,
 * which Unicode gave up in 6.3. Letters and numbers are \p{L} and \p{N} of Unicode 15.1,
 * the version that vocabularies are used with; PCRE2 10.42 has 14. */
#define KE__SPACES                                                                         \
    "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"        \
    "\\x{205F}\\x{3000}"
#define KE__LETTERS                                                                        \
    "\\p{L}\\x{1123F}\\x{11240}\\x{11F02}\\x{11F04}-\\x{11F10}\\x{11F12}-\\x{11F33}"       \
    "\\x{1342F}\\x{13441}-\\x{13446}\\x{1B132}\\x{1B155}\\x{1DF25}-\\x{1DF2A}"             \
    "\\x{1E030}-\\x{1E06D}\\x{1E4D0}-\\x{1E4EB}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}"            \
    "\\x{31350}-\\x{323AF}"
#define KE__NUMBERS "\\p{N}\\x{11F50}-\\x{11F59}\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}"

typedef struct ke__regex ke__regex; /* compiled; read-only in use */

enum {
    KE__REGEX_TRUSTED = 1, /* ours: no limit to the steps of a match */
    KE__REGEX_LITERAL = 2  /* the pattern is the text to find */
};
/* KE_ENOTSUP says why PCRE2 refuses a pattern. */
KE_MUST_CHECK ke_status ke__regex_new(ke_ctx *cx, ke__regex **out, ke__gguf_str pattern,
                                      unsigned flags);
void ke__regex_free(ke_ctx *cx, ke__regex *re);

/* What one call needs to match with. */
KE_MUST_CHECK ke_status ke__regex_match_new(ke_ctx *cx, void **match);
void ke__regex_match_free(void *match);

/* Whether text[0, bytes), valid UTF-8, has a match at `at` or later: then the first.
 * KE_ENOTSUP if a pattern of a file backtracks too often. */
KE_MUST_CHECK ke_status ke__regex_find(ke_ctx *cx, const ke__regex *re, void *match,
                                       const char *text, size_t bytes, size_t at,
                                       bool *found, size_t *from, size_t *to);

#endif
