/* A subject is what the prompts about it share: the longest run of whole words. Its ends
 * are right in half of the records of KnowEdit and CounterFact; without the words that no
 * name begins or ends with (those without a capital or a digit), in nine of ten
 * (docs/facts.md). */
#include "eval/subject.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

enum {
    MAX_WORDS = 512, /* of a prompt that are looked at: bounds the work, not results */
    MAX_SPANS = 8    /* that are kept, longest first */
};

typedef struct word {
    const char *begin, *end;
    bool name;  /* has a capital, a digit or a letter of a script without capitals */
    bool first; /* its capital may be there only because it begins the text */
} word;

typedef struct words {
    word items[MAX_WORDS];
    size_t n;
} words;

/* A part of the prompt that other prompts have too. */
typedef struct span {
    const char *begin;
    size_t bytes;
    bool name;
} span;

typedef struct search {
    words prompt, other;
    uint16_t run[2][MAX_WORDS + 2]; /* [k + 1]: common run that ends at word k */
    bool proven;           /* the prompt's first word has its capital elsewhere too */
    span spans[MAX_SPANS]; /* [n] names first, then longest first */
    size_t n;
} search;

/* --- words ------------------------------------------------------------------------------
 */

enum { NO_WORD, LETTER, NAME_LETTER };

static int kind_of(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
        return NAME_LETTER;
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return LETTER;
    default:
        return NO_WORD;
    }
}

/* The kind of the character at `*text`, which moves past it; a stray byte is no part of a
 * word. */
static int next_kind(const char **text)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)*text,
                                          (utf8proc_ssize_t)strnlen(*text, 4), &c);
    *text += n > 0 ? n : 1;
    return n > 0 ? kind_of(c) : NO_WORD;
}

/* The same for the next character of a word; a hyphen between two of them is one. */
static int next_in_word(const char **text)
{
    const char *after = *text + 1;
    if (**text == '-' && next_kind(&after) != NO_WORD)
        return ++*text, LETTER;
    return next_kind(text);
}

static void split(words *out, const char *text)
{
    out->n = 0;
    while (*text && out->n < MAX_WORDS) {
        const char *begin = text, *end = text;
        int kind = next_kind(&text), n_name = kind == NAME_LETTER;
        bool capital = n_name;
        if (kind == NO_WORD)
            continue;
        for (; end = text, *text && (kind = next_in_word(&text)) != NO_WORD;)
            n_name += kind == NAME_LETTER;
        out->items[out->n] = (word){.begin = begin,
                                    .end = end,
                                    .name = n_name > 0,
                                    .first = out->n == 0 && capital && n_name == 1};
        out->n++;
    }
}

static bool same(const char *a, const char *a_end, const char *b, const char *b_end)
{
    return a_end - a == b_end - b && memcmp(a, b, (size_t)(a_end - a)) == 0;
}

/* --- what two prompts share -------------------------------------------------------------
 */

static bool longer(const span *a, const span *b)
{
    return a->name != b->name ? a->name : a->bytes > b->bytes;
}

static void keep(search *s, span new)
{
    size_t at = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (s->spans[i].bytes == new.bytes &&
            memcmp(s->spans[i].begin, new.begin, new.bytes) == 0)
            return;
    if (s->n < MAX_SPANS)
        s->n++;
    else if (!longer(&new, &s->spans[--at]))
        return;
    for (; at > 0 && longer(&new, &s->spans[at - 1]); at--)
        s->spans[at] = s->spans[at - 1];
    s->spans[at] = new;
}

/* The run of words first..last, without what no name begins or ends with; or, if nothing is
 * left of it, all of it. */
static void take_run(search *s, size_t first, size_t last)
{
    const word *w = s->prompt.items;
    size_t a = first, b = last;
    while (b > a && !w[b].name)
        b--;
    while (a < b && (!w[a].name || (w[a].first && !w[a + 1].name)))
        a++;
    bool name = w[a].name && !(a == b && w[a].first && !s->proven);
    if (!name) {
        a = first;
        b = last;
    }
    keep(s, (span){w[a].begin, (size_t)(w[b].end - w[a].begin), name});
}

/* Take every run of words that the prompt shares with another text, as long as it goes on.
 * One round beyond either end, where nothing is the same, ends the runs there. */
static void share(search *s, const char *text)
{
    const word *p = s->prompt.items, *o = s->other.items;
    split(&s->other, text);
    memset(s->run, 0, sizeof s->run);
    for (size_t i = 0; i <= s->prompt.n; i++) {
        uint16_t *now = s->run[i % 2], *before = s->run[(i + 1) % 2];
        for (size_t k = 0; k <= s->other.n; k++) {
            bool equal = i < s->prompt.n && k < s->other.n &&
                         same(p[i].begin, p[i].end, o[k].begin, o[k].end);
            bool goes_on = equal && before[k] > 0 &&
                           same(p[i - 1].end, p[i].begin, o[k - 1].end, o[k].begin);
            if (before[k] > 0 && !goes_on)
                take_run(s, i - before[k], i - 1);
            now[k + 1] = (uint16_t)(equal ? 1 + (goes_on ? before[k] : 0) : 0);
        }
    }
}

/* A capital inside another text is of the word, not of its place. */
static void look_for_first(search *s, const char *text)
{
    const word *w = &s->prompt.items[0];
    split(&s->other, text);
    for (size_t k = 1; k < s->other.n && s->prompt.n > 0; k++)
        s->proven = s->proven ||
                    same(w->begin, w->end, s->other.items[k].begin, s->other.items[k].end);
}

/* Runs of names in the prompt itself: worth proposing, not worth trusting. The first word
 * is, if there are no others. */
static void propose(search *s)
{
    const word *w = s->prompt.items;
    for (size_t i = 0, k; i < s->prompt.n; i = k + 1) {
        for (k = i; k < s->prompt.n && w[k].name; k++)
            ;
        if (k > i && !(k == i + 1 && w[i].first))
            keep(s, (span){w[i].begin, (size_t)(w[k - 1].end - w[i].begin), true});
    }
    if (s->prompt.n > 0 && w[0].first && !(s->n > 0 && s->spans[0].name))
        keep(s, (span){w[0].begin, (size_t)(w[0].end - w[0].begin), true});
    while (s->n > 0 && s->spans[0].name && !s->spans[s->n - 1].name)
        s->n--;
}

/* Whether the first span is the one: the longest name, or, where none is shared, the word
 * that the prompt begins with if nothing shared is longer. */
static bool clear(const search *s)
{
    const word *w = s->prompt.items;
    if (s->n == 0)
        return false;
    bool alone = s->n == 1 || s->spans[1].name != s->spans[0].name ||
                 s->spans[1].bytes < s->spans[0].bytes;
    return alone &&
           (s->spans[0].name || (w[0].first && s->spans[0].begin == w[0].begin &&
                                 s->spans[0].bytes == (size_t)(w[0].end - w[0].begin)));
}

/* --- names that are given ---------------------------------------------------------------
 */

/* Whether `name` stands in `text` as whole words. */
static bool stands_in(const char *text, const char *name)
{
    size_t bytes = strlen(name);
    for (const char *at = text; bytes > 0 && (at = strstr(at, name)); at++) {
        const char *before = at, *after = at + bytes;
        while (before > text && ((unsigned char)*--before & 0xC0) == 0x80)
            ;
        if ((at == text || next_kind(&before) == NO_WORD) &&
            (*after == '\0' || next_kind(&after) == NO_WORD))
            return true;
    }
    return false;
}

static const char *longest_name(const char *prompt, const ke_subject_opts *how)
{
    const char *best = NULL;
    for (size_t i = 0; i < how->n_names; i++)
        if ((!best || strlen(how->names[i]) > strlen(best)) &&
            stands_in(prompt, how->names[i]))
            best = how->names[i];
    return best;
}

/* --- asking -----------------------------------------------------------------------------
 */

/* Ask for the subject; without anyone to ask, or an answer, say what could be given. */
static ke_status ask(ke_ctx *cx, char **out, const search *s, const char *prompt,
                     size_t n_others, const ke_subject_opts *how)
{
    ke_status st = KE_OK;
    char *texts[MAX_SPANS] = {NULL}, perhaps[200] = "";
    const char *candidates[MAX_SPANS], *answer = NULL;
    for (size_t i = 0; i < s->n; i++) {
        KE_TRY(ke__strndup(cx, &texts[i], s->spans[i].begin, s->spans[i].bytes));
        candidates[i] = texts[i];
        size_t used = strlen(perhaps);
        if (i < 3)
            snprintf(perhaps + used, sizeof perhaps - used, "%s\"%.40s\"",
                     i ? " or " : ", perhaps ", texts[i]);
    }
    if (how->ask)
        answer = how->ask(prompt, candidates, s->n, how->payload);
    if (answer)
        KE_TRY(ke__strdup(cx, out, answer));
    else
        st = ke__fail(cx, KE_EINVAL, "subject",
                      "no subject is given, and %s: expected a part of the prompt "
                      "\"%.60s\"%s",
                      n_others == 0 ? "there is neither a list of names nor another prompt "
                                      "that would tell it"
                                    : "its other prompts share no one name with it",
                      prompt, perhaps);
done:
    for (size_t i = 0; i < MAX_SPANS; i++)
        ke__free(cx, texts[i]);
    return st;
}

ke_status ke__subject_find(ke_ctx *cx, char **out, const char **from, const char *prompt,
                           const char *const *others, size_t n, const ke_subject_opts *how)
{
    ke_status st = KE_OK;
    search *s = NULL;
    const char *name = longest_name(prompt, how);

    *out = NULL;
    *from = name ? "names" : "prompts";
    if (name)
        return ke__strdup(cx, out, name);
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    split(&s->prompt, prompt);
    for (size_t i = 0; i < n; i++)
        look_for_first(s, others[i]);
    for (size_t i = 0; i < n; i++)
        share(s, others[i]);
    if (clear(s)) {
        KE_TRY(ke__strndup(cx, out, s->spans[0].begin, s->spans[0].bytes));
        goto done;
    }
    propose(s);
    *from = "answer";
    KE_TRY(ask(cx, out, s, prompt, n, how));
done:
    ke__free(cx, s);
    return st;
}

ke_status ke_subject_find(ke_ctx *cx, char **out, const char **from, const ke_fact *fact,
                          const ke_subject_opts *how)
{
    ke_status st = KE_OK;
    const char **others = NULL;
    size_t n = 0;

    *out = NULL;
    KE_TRY(
        ke__alloc(cx, &others, fact->n_paraphrases + fact->n_neighbours, sizeof *others));
    for (size_t i = 0; i < fact->n_paraphrases; i++)
        others[n++] = fact->paraphrases[i];
    for (size_t i = 0; i < fact->n_neighbours; i++)
        others[n++] = fact->neighbours[i].prompt;
    KE_TRY(ke__subject_find(cx, out, from, fact->prompt, others, n, how));
done:
    ke__free(cx, others);
    return st;
}
