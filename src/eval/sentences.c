/* Punkt (Kiss and Strunk 2006) as NLTK 3.6.5 runs it, the version that EasyEdit asks for: a
 * full stop ends a sentence unless its word is an abbreviation, an initial or a number that
 * the next word goes on from. The English model's statistics on 20,000 words decide only
 * what comes after those, and function words stand in for them; its collocations, names
 * from one newspaper, are left out. A sentence that ends elsewhere than there changes a
 * text's words by one full stop. */
#include "eval/sentences.h"

#include "eval/characters.h"

#include <string.h>
#include <strings.h>

/* Each list is of words in lower case, a blank behind each.
 *
 * Words that a full stop belongs to, in the model's opinion; "etc" and "e.g" are not. */
static const char abbreviations[] =
    /* people */
    "dr gen jr lt maj messrs mr mrs ms ph.d prof rep reps sen sr m.b.a col "
    /* times */
    "a.m p.m jan feb aug sept sep oct nov dec tues wed fri yr a.d a.m.e "
    /* companies, streets, measures */
    "adm ave bros chg cie co corp cos ct ft inc ltd mg ok s.a s.p.a s.a.y st va "
    "vs w.w "
    /* countries and states */
    "u.k u.n u.s u.s.a u.s.s.r ala ariz calif colo conn d.c fla ga ill kan ky "
    "l.a mich minn n.c n.d n.h n.j n.m n.v n.y nev okla ore pa s.c sw tenn vt "
    "w.va wash wis "
    /* initials, single and together */
    "c d e f g h k l m n p r s t v w a.a a.c a.g a.h a.s a.t b.f b.v c.i.t "
    "c.o.m.b c.v d.h d.w e.f e.h e.l e.m f.g f.j g.d g.f g.k h.c h.f h.m i.m.s "
    "j.b j.c j.j j.k j.p j.r m.d.c m.j p.a.m r.a r.h r.i r.j r.k r.t s.g s.s "
    "t.j l.f l.p w.c w.r ";

/* Words that often begin a sentence. */
static const char starters[] =
    "according although among but despite even he however i if in indeed "
    "instead it many meanwhile moreover most nevertheless nonetheless nor sales "
    "separately similarly since so some the there these they this though thus "
    "under when while yet both ";

/* Words that are capitalised nowhere else... */
static const char openers[] =
    "above along always anyone behind being besides between beyond does either "
    "eventually finally following furthermore given hence her here indeed "
    "instead into moreover neither nevertheless nonetheless nor nothing onto "
    "originally otherwise per please recently similarly so someone sometimes "
    "soon still such therefore though through thus tomorrow towards unless upon "
    "using via were whereas whether which within without yes yesterday yet your ";

/* ... and words that are in titles as well. */
static const char function_words[] =
    "a about across after again against all also although am among an and "
    "another any are around as at be because been before below both but by can "
    "could despite did do down during each even every everyone few first for "
    "from had has have he his how however if in is it its just last later let "
    "like many may maybe meanwhile might more most much must my near never new "
    "next no not now of off often on once one only or other our out over people "
    "perhaps second see several she should since some than that the their then "
    "there these they this those three to today toward two under until up "
    "usually was we well what when where while who why will with would you ";

static bool listed(const char *list, const char *word, size_t bytes)
{
    for (size_t n; *list; list += n + 1) {
        n = strcspn(list, " ");
        if (n == bytes && strncasecmp(list, word, bytes) == 0)
            return true;
    }
    return false;
}

/* --- tokens ----------------------------------------------------------------------- */

typedef struct token {
    const char *text;
    size_t bytes; /* 0: none */
} token;

static bool in(const char *set, char c)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static bool ends_word(char c)
{
    return in(")\";}]*:@'({[?!", c);
}

/* Bytes of the run of hyphens or full stops at `at`, if there are two or more. */
static size_t run_of_marks(const char *text, size_t at, size_t end)
{
    size_t n = 0;
    if (text[at] == '-' || text[at] == '.')
        while (at + n < end && text[at + n] == text[at])
            n++;
    return n >= 2 ? n : 0;
}

static bool ends_here(const char *text, size_t at, size_t end)
{
    return at == end || ends_word(text[at]) || run_of_marks(text, at, end) > 0;
}

static token next_token(const char *text, size_t *at, size_t end)
{
    token t = {text + *at, 0};
    if (*at == end)
        return t;
    t.bytes = run_of_marks(text, *at, end);
    if (t.bytes == 0) {
        size_t to = *at + 1;
        if (!in("(\"`{[:;&#*@)}]-,", text[*at]))
            while (!ends_here(text, to, end) &&
                   !(text[to] == ',' && ends_here(text, to + 1, end)))
                to++;
        t.bytes = to - *at;
    }
    *at += t.bytes;
    return t;
}

static bool is_stop(const token *t)
{
    return t->text[t->bytes - 1] == '.';
}

static bool is_abbreviation(const token *t)
{
    const char *hyphen = memrchr(t->text, '-', t->bytes);
    const char *from = hyphen ? hyphen + 1 : t->text;
    const char *stop = t->text + t->bytes - 1;
    return is_stop(t) && from < stop && listed(abbreviations, from, (size_t)(stop - from));
}

static bool is_number(const token *t)
{
    size_t i = 0;
    if (t->text[i] == '-')
        i++;
    if (i < t->bytes && in(".,", t->text[i]))
        i++;
    return i < t->bytes && t->text[i] >= '0' && t->text[i] <= '9' &&
           strspn(t->text + i, "0123456789,.-") >= t->bytes - i;
}

static size_t first_char(const token *t, utf8proc_int32_t *c)
{
    return (size_t)utf8proc_iterate((const utf8proc_uint8_t *)t->text,
                                    (utf8proc_ssize_t)t->bytes, c);
}

/* One letter and a full stop. */
static bool is_initial(const token *t)
{
    utf8proc_int32_t c;
    if (first_char(t, &c) + 1 != t->bytes || !is_stop(t))
        return false;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return c == '_';
    }
}

static bool has_category(const token *t, utf8proc_category_t category)
{
    utf8proc_int32_t c;
    (void)first_char(t, &c);
    return utf8proc_category(c) == category;
}

/* --- decisions -------------------------------------------------------------------- */

/* Whether a token is a capitalised word of a list, its own full stop not counted. */
static bool is_upper_of(const token *t, const char *list)
{
    size_t bytes = t->bytes;
    if (bytes > 1 && is_stop(t) && !is_abbreviation(t))
        bytes--;
    return has_category(t, UTF8PROC_CATEGORY_LU) && listed(list, t->text, bytes);
}

static bool opens(const token *t)
{
    return is_upper_of(t, openers);
}

static bool goes_on(const token *t)
{
    return (t->bytes == 1 && in(";:,.!?", *t->text)) ||
           has_category(t, UTF8PROC_CATEGORY_LL);
}

/* Whether a sentence ends with `a` if `b` follows. */
static bool is_break(const token *a, const token *b)
{
    if (a->bytes == 1 && in(".?!", *a->text))
        return true;
    if (!is_stop(a))
        return false;
    bool initial = is_initial(a), abbreviation = is_abbreviation(a);
    bool ellipsis = run_of_marks(a->text, 0, a->bytes) > 0;
    if ((abbreviation && !initial) || ellipsis)
        return opens(b) || is_upper_of(b, starters);
    if ((initial || is_number(a)) && goes_on(b))
        return false;
    /* A name after an initial: it is a word that isn't known in lower case. */
    if (initial && has_category(b, UTF8PROC_CATEGORY_LU) && !opens(b) &&
        !is_upper_of(b, function_words))
        return false;
    return !abbreviation;
}

/* Whether a sentence ends in text[from, to) or with it, as seen from the word behind. */
static bool has_break(const char *text, const size_t from[2], const size_t to[2])
{
    token before = {NULL, 0};
    for (int piece = 0; piece < 2; piece++)
        for (size_t at = from[piece]; at < to[piece];) {
            token t = next_token(text, &at, to[piece]);
            if (before.bytes > 0 && is_break(&before, &t))
                return true;
            before = t;
        }
    return false;
}

/* --- the walk --------------------------------------------------------------------- */

static size_t skip(const ke__sentences *s, size_t at, bool space)
{
    while (at < s->bytes) {
        utf8proc_int32_t c;
        size_t n = (size_t)utf8proc_iterate((const utf8proc_uint8_t *)s->text + at,
                                            (utf8proc_ssize_t)(s->bytes - at), &c);
        if (ke__is_space(c) != space)
            break;
        at += n;
    }
    return at;
}

ke__sentences ke__sentences_begin(const char *text, size_t bytes)
{
    ke__sentences s = {.text = text, .bytes = bytes};
    size_t end = 0;
    for (size_t at = skip(&s, 0, true); at < bytes; at = skip(&s, end, true))
        end = skip(&s, at, false);
    s.bytes = end; /* space at the end is no part of a sentence */
    return s;
}

/* Where the walk goes on after a sentence that ends at *end: closing quotes and brackets
 * that stand alone are given to it. */
static size_t realign(const ke__sentences *s, size_t at, size_t *end)
{
    size_t to = at;
    while (to < s->bytes && in("\"')]}", s->text[to]))
        to++;
    if (to == at)
        return at;
    size_t next = skip(s, to, true);
    if (next == to && to < s->bytes &&
        !(s->bytes - to >= 2 && s->text[to] == '-' && s->text[to + 1] == '-'))
        return at;
    *end = to;
    return next;
}

bool ke__sentences_next(ke__sentences *s, size_t *begin, size_t *end)
{
    if (s->at >= s->bytes)
        return false;
    *begin = s->at;
    while (s->run < s->bytes) {
        size_t word = skip(s, s->run, true), word_end = skip(s, word, false);
        size_t next = skip(s, word_end, true), last = word_end;
        s->run = word_end;
        /* The last mark of the word that another mark or another word follows. */
        while (last > word &&
               !(in(".?!", s->text[last - 1]) &&
                 (last == word_end ? next < s->bytes : ends_word(s->text[last]))))
            last--;
        if (last == word)
            continue;
        bool whole = last == word_end;
        const size_t from[2] = {word, next};
        const size_t to[2] = {whole ? last : last + 1, whole ? skip(s, next, false) : next};
        if (has_break(s->text, from, to)) {
            *end = last;
            s->at = realign(s, whole ? next : last, end);
            return true;
        }
    }
    *end = s->at = s->bytes;
    return true;
}
