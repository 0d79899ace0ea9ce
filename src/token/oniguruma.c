/* Patterns of tokenizer.json are in Oniguruma's dialect; this writes them in PCRE2's. Where
 * the same letters mean something else, or nothing, in PCRE2 and no rewriting is known, a
 * pattern is refused: a text cut elsewhere would give other ids without a word. */
#include "token/oniguruma.h"

#include "token/unicode16.h"

#include <ctype.h>
#include <string.h>

typedef struct rewriter {
    ke_ctx *cx;
    ke__text *out;
    const char *at, *end;
    bool in_class;
} rewriter;

static ke_status refuse(const rewriter *r, const char *what)
{
    return ke__fail(r->cx, KE_ENOTSUP, NULL, "%s in a pattern is not supported", what);
}

static ke_status put(rewriter *r, const char *text, size_t bytes)
{
    return ke__text_add(r->cx, r->out, text, bytes);
}

/* The inside of a class, or a class of it; `negated` only outside of one. */
static ke_status put_class(rewriter *r, const char *inside, bool negated, const char *name)
{
    if (r->in_class && negated)
        return refuse(r, name);
    return ke__text_addf(r->cx, r->out, "%s%s%s",
                         r->in_class ? ""
                         : negated   ? "[^"
                                     : "[",
                         inside, r->in_class ? "" : "]");
}

/* What \w takes there beyond UTS #18. */
#define LATIN1_NUMBERS "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"

/* General categories, of which `inside` is more than PCRE2 has; other names are scripts'.
 */
static const struct {
    const char *name, *inside;
} categories[] = {
    {"L", KE__LETTERS_16},
    {"Letter", KE__LETTERS_16},
    {"N", KE__NUMBERS_16},
    {"Number", KE__NUMBERS_16},
    {"Nd", KE__DIGITS_16},
    {"P", "\\p{P}" KE__NEW_P},
    {"Punctuation", "\\p{P}" KE__NEW_P},
    {"M", "\\p{M}" KE__NEW_M},
    {"Mark", "\\p{M}" KE__NEW_M},
    {"S", "\\p{S}" KE__NEW_S},
    {"Symbol", "\\p{S}" KE__NEW_S},
    {"Lu", "\\p{Lu}" KE__NEW_LU},
    {"Ll", "\\p{Ll}" KE__NEW_LL},
    {"Lt", "\\p{Lt}"},
    {"Lm", "\\p{Lm}" KE__NEW_LM},
    {"Lo", "\\p{Lo}" KE__NEW_LO},
    {"Nl", "\\p{Nl}"},
    {"No", "\\p{No}"},
    {"Mn", "\\p{Mn}"},
    {"Mc", "\\p{Mc}"},
    {"Me", "\\p{Me}"},
    {"Pc", "\\p{Pc}"},
    {"Pd", "\\p{Pd}"},
    {"Ps", "\\p{Ps}"},
    {"Pe", "\\p{Pe}"},
    {"Pi", "\\p{Pi}"},
    {"Pf", "\\p{Pf}"},
    {"Po", "\\p{Po}"},
    {"Sm", "\\p{Sm}"},
    {"Sc", "\\p{Sc}"},
    {"Sk", "\\p{Sk}"},
    {"So", "\\p{So}"},
    {"Z", "\\p{Z}"},
    {"Zs", "\\p{Zs}"},
    {"Zl", "\\p{Zl}"},
    {"Zp", "\\p{Zp}"},
    {"Cc", "\\p{Cc}"},
    {"Cf", "\\p{Cf}"},
};

/* \p{...} or \P{...}, of which r->at is after the p. */
static ke_status property(rewriter *r, char p)
{
    const char *close = r->at < r->end && *r->at == '{'
                            ? memchr(r->at, '}', (size_t)(r->end - r->at))
                            : NULL;
    if (!close)
        return refuse(r, "\\p without {a property}");
    const char *name = r->at + 1;
    bool caret = *name == '^', negated = (p == 'P') != caret;
    name += caret;
    size_t bytes = (size_t)(close - name);
    r->at = close + 1;
    if (bytes == 0)
        return refuse(r, "\\p{}");
    for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
        if (strlen(categories[i].name) == bytes &&
            memcmp(categories[i].name, name, bytes) == 0)
            return put_class(r, categories[i].inside, negated, "\\P in a class");
    if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") != bytes)
        return refuse(r, "\\p{with other than a name}");
    /* Without sc: PCRE2 takes the characters that a script shares with others too. */
    return ke__text_addf(r->cx, r->out, "\\%c{sc:%.*s}", negated ? 'P' : 'p', (int)bytes,
                         name);
}

static ke_status escape(rewriter *r)
{
    char c = r->at < r->end ? *r->at : '\0';
    r->at += r->at < r->end;
    switch (c) {
    case 's':
        return put_class(r, KE__SPACES, false, "");
    case 'S':
        if (r->in_class)
            return put(r, "\\S", 2); /* U+180E apart, the same */
        return put_class(r, KE__SPACES, true, "");
    case 'w':
    case 'W':
        return put_class(r, KE__WORDS_16 LATIN1_NUMBERS, c == 'W', "\\W in a class");
    case 'h':
    case 'H':
        return put_class(r, "0-9A-Fa-f", c == 'H', "\\H in a class");
    case 'p':
    case 'P':
        return property(r, c);
    case 'd':
    case 'D':
        return put_class(r, KE__DIGITS_16, c == 'D', "\\D in a class");
    case 'v': /* a tab here, any vertical space in PCRE2 */
        return put(r, "\\x0B", 4);
    case 'u':
        if (r->end - r->at < 4)
            return refuse(r, "\\u without four digits");
        r->at += 4;
        return ke__text_addf(r->cx, r->out, "\\x{%.4s}", r->at - 4);
    default:
        if (c == '\0' || (isalnum((unsigned char)c) && !strchr("nrtfxbBAzZ0", c))) {
            char what[] = "\\?";
            what[1] = c;
            return refuse(r, what);
        }
    }
    return ke__text_addf(r->cx, r->out, "\\%c", c);
}

/* "(?i" and the like; r->at is after the bracket. */
static ke_status group(rewriter *r)
{
    ke_status st = KE_OK;
    if (r->at < r->end && *r->at == '*')
        return refuse(r, "(*");
    KE_TRY(put(r, "(", 1));
    if (r->end - r->at < 2 || *r->at != '?')
        return KE_OK;
    size_t flags = strspn(r->at + 1, "imx-");
    char after = r->at[1 + flags];
    if (flags == 0 && !strchr(":=!><", after))
        return refuse(r, "(? with other than imx-:=!><");
    KE_TRY(put(r, "?", 1));
    for (size_t i = 0; i < flags; i++) /* m lets the dot be a newline there, s in PCRE2 */
        KE_TRY(put(r, r->at[1 + i] == 'm' ? "s" : r->at + 1 + i, 1));
    r->at += 1 + flags;
done:
    return st;
}

/* A quantifier {n,m}, which in PCRE2 a + after it would make possessive. */
static ke_status braces(rewriter *r)
{
    size_t n = strspn(r->at, "0123456789,");
    if (r->at[n] == '}' && r->at[n + 1] == '+')
        return refuse(r, "{n,m}+");
    return put(r, "{", 1);
}

static ke_status class_begins(rewriter *r)
{
    ke_status st = KE_OK;
    r->in_class = true;
    KE_TRY(put(r, "[", 1));
    if (r->at < r->end && *r->at == '^')
        KE_TRY(put(r, r->at++, 1));
    if (r->at < r->end && *r->at == ']')
        st = refuse(r, "a class that begins with ]");
done:
    return st;
}

static ke_status in_class(rewriter *r, char c)
{
    if (c == '[' && r->at < r->end && *r->at == ':')
        return refuse(r, "[:a class by its name:]");
    if (c == '[')
        return refuse(r, "a class in a class");
    if (c == '&' && r->at < r->end && *r->at == '&')
        return refuse(r, "&& in a class");
    r->in_class = c != ']';
    return put(r, &c, 1);
}

ke_status ke__oniguruma(ke_ctx *cx, ke__text *out, const char *pattern, size_t bytes)
{
    ke_status st = KE_OK;
    rewriter r = {cx, out, pattern, pattern + bytes, false};
    if (memchr(pattern, '\0', bytes))
        return refuse(&r, "a NUL");
    KE_TRY(put(&r, "", 0));
    while (r.at < r.end) {
        char c = *r.at++;
        if (c == '\\')
            KE_TRY(escape(&r));
        else if (r.in_class)
            KE_TRY(in_class(&r, c));
        else if (c == '[')
            KE_TRY(class_begins(&r));
        else if (c == '(')
            KE_TRY(group(&r));
        else if (c == '{')
            KE_TRY(braces(&r));
        else
            KE_TRY(put(&r, &c, 1));
    }
done:
    return st;
}
