/* Answers found in texts. */
#include "eval/characters.h"
#include "eval/metrics.h"

#include <string.h>

/* U+2012..U+2015 stand between words without spaces; a hyphen joins its two. */
static bool is_dash(int32_t c)
{
    return c >= 0x2012 && c <= 0x2015;
}

/* string.punctuation of the reference, and what else Unicode calls punctuation. */
static bool is_punctuation(int32_t c)
{
    if (c < 0x80)
        return c != 0 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c) != NULL;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return true;
    default:
        return false;
    }
}

static bool is_article(const int32_t *word, size_t n)
{
    return (n == 1 && word[0] == 'a') || (n == 2 && word[0] == 'a' && word[1] == 'n') ||
           (n == 3 && word[0] == 't' && word[1] == 'h' && word[2] == 'e');
}

/* Lower case without punctuation, every space or dash U+0020; in place. */
static size_t fold(int32_t *c, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (ke__is_space(c[i]) || is_dash(c[i]))
            c[kept++] = ' ';
        else if (!is_punctuation(c[i]))
            c[kept++] = utf8proc_tolower(c[i]);
    }
    return kept;
}

/* Words but for articles, one space between two; in place. */
static size_t join(int32_t *c, size_t n)
{
    size_t kept = 0;
    for (size_t at = 0, end; at < n; at = end + 1) {
        for (end = at; end < n && c[end] != ' '; end++)
            ;
        if (end == at || is_article(c + at, end - at))
            continue;
        if (kept > 0)
            c[kept++] = ' ';
        memmove(c + kept, c + at, (end - at) * sizeof *c);
        kept += end - at;
    }
    return kept;
}

/* Composed, so that one letter spelled two ways is the same. */
#define FORM (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

ke_status ke__metric_normalise(ke_ctx *cx, char **out, const char *text)
{
    ke_status st = KE_OK;
    int32_t *c = NULL;
    size_t n;
    *out = NULL;
    KE_TRY(ke__characters(cx, &c, &n, text, FORM));
    n = join(c, fold(c, n));
    *out = ke__characters_text(c, n, FORM);
done:
    return st;
}

ke_status ke__metric_contains(ke_ctx *cx, bool *out, const char *text, const char *answer)
{
    ke_status st = KE_OK;
    char *hay = NULL, *needle = NULL;
    *out = false;
    KE_TRY(ke__metric_normalise(cx, &hay, text));
    KE_TRY(ke__metric_normalise(cx, &needle, answer));

    size_t n = strlen(needle);
    /* An answer without a word ("A", "?") is found nowhere rather than everywhere. */
    for (const char *at = hay; n > 0 && (at = strstr(at, needle)) && !*out; at++)
        *out = (at == hay || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ');
done:
    ke__free(cx, needle);
    ke__free(cx, hay);
    return st;
}

ke_status ke__metric_exact(ke_ctx *cx, bool *out, const char *text, const char *answer)
{
    ke_status st = KE_OK;
    char *line = NULL, *said = NULL, *wanted = NULL;
    *out = false;
    KE_TRY(ke__strndup(cx, &line, text, strcspn(text, "\n")));
    KE_TRY(ke__metric_normalise(cx, &said, line));
    KE_TRY(ke__metric_normalise(cx, &wanted, answer));
    *out = *wanted && strcmp(said, wanted) == 0;
done:
    ke__free(cx, wanted);
    ke__free(cx, said);
    ke__free(cx, line);
    return st;
}

static ke_status lower(ke_ctx *cx, char **out, const char *text)
{
    ke_status st = KE_OK;
    int32_t *c = NULL;
    size_t n;
    *out = NULL;
    KE_TRY(ke__characters(cx, &c, &n, text, 0));
    for (size_t i = 0; i < n; i++)
        c[i] = utf8proc_tolower(c[i]);
    *out = ke__characters_text(c, n, 0);
done:
    return st;
}

ke_status ke__metric_mentions(ke_ctx *cx, bool *out, const char *text, const char *answer)
{
    ke_status st = KE_OK;
    char *hay = NULL, *needle = NULL;
    *out = false;
    KE_TRY(lower(cx, &hay, text));
    KE_TRY(lower(cx, &needle, answer));
    *out = strstr(hay, needle) != NULL;
done:
    ke__free(cx, needle);
    ke__free(cx, hay);
    return st;
}
