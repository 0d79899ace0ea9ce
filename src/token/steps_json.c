/* Normalizers and pre-tokenizers of tokenizer.json as steps. */
#include "token/steps_json.h"

#include "token/oniguruma.h"
#include "token/unicode16.h"

#include <string.h>

enum {
    MAX_DEPTH = 8,    /* of a Sequence in a Sequence */
    MAX_STEPS = 256,  /* of all of them */
    MAX_CONTENT = 256 /* bytes of a replacement */
};

#define GPT2                                                                               \
    "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef struct reader reader;

typedef struct kind {
    const char *type;
    ke_status (*read)(reader *r, const json_t *value);
} kind;

struct reader {
    ke__json_at *at;
    ke__steps *out;
    ke__step_facts *facts;
    const kind *kinds;
    size_t n_kinds;
    int depth;
};

/* --- steps -----------------------------------------------------------------------------
 */

/* A step of a kind, which the list owns. */
static ke_status add(reader *r, ke__step_kind what, ke__step **out)
{
    ke_status st = KE_OK;
    ke__steps *s = r->out;
    if (s->n == MAX_STEPS)
        return ke__json_bad(r->at, KE_ENOTSUP, "is step %d, at most %d are taken",
                            MAX_STEPS + 1, MAX_STEPS);
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 8;
        KE_TRY(ke__resize(r->at->cx, &s->step, room, sizeof *s->step));
        s->room = room;
    }
    *out = &s->step[s->n++];
    **out = (ke__step){.kind = what};
done:
    return st;
}

static ke_status set_text(reader *r, ke__step *step, const char *text, size_t bytes)
{
    if (bytes > MAX_CONTENT)
        return ke__json_bad(r->at, KE_ENOTSUP, "puts in %zu bytes, at most %d are taken",
                            bytes, MAX_CONTENT);
    step->bytes = bytes;
    return ke__strndup(r->at->cx, &step->text, text, bytes);
}

/* Errors of PCRE2 and of the rewriting, with the place of the pattern. */
static ke_status locate(reader *r, ke_status st)
{
    char what[sizeof r->at->cx->message];
    if (st != KE_ENOTSUP && st != KE_EFORMAT)
        return st;
    memcpy(what, r->at->cx->message, sizeof what);
    return ke__json_bad(r->at, st, "%s", what);
}

static ke_status set_regex(reader *r, ke__step *step, const char *pattern, size_t bytes,
                           unsigned flags)
{
    ke_status st = KE_OK;
    ke__text text = {NULL, 0, 0};
    if (flags & KE__REGEX_LITERAL)
        KE_TRY(ke__text_add(r->at->cx, &text, pattern, bytes));
    else
        KE_TRY(locate(r, ke__oniguruma(r->at->cx, &text, pattern, bytes)));
    ke__gguf_str s = {text.data, text.bytes};
    KE_TRY(locate(r, ke__regex_new(r->at->cx, &step->regex, s, flags)));
done:
    ke__free(r->at->cx, text.data);
    return st;
}

static ke_status split(reader *r, const char *pattern, unsigned flags,
                       ke__split_behaviour behaviour)
{
    ke_status st = KE_OK;
    ke__step *step;
    KE_TRY(add(r, KE__STEP_SPLIT, &step));
    step->behaviour = behaviour;
    KE_TRY(set_regex(r, step, pattern, strlen(pattern), flags));
done:
    return st;
}

/* --- members ---------------------------------------------------------------------------
 */

/* "pattern": {"String": text} or {"Regex": pattern} */
static ke_status read_pattern(reader *r, const json_t *value, ke__step *step)
{
    ke_status st = KE_OK;
    json_t *pattern;
    const char *text;
    size_t bytes;
    KE_TRY(ke__json_object_in(r->at, value, "pattern", &pattern));
    size_t path = ke__json_enter(r->at, "pattern", -1);
    KE_TRY(ke__json_string_in(r->at, pattern, "String", &text, &bytes));
    bool literal = text != NULL;
    if (!text)
        KE_TRY(ke__json_string_in(r->at, pattern, "Regex", &text, &bytes));
    if (bytes == 0) {
        st = ke__json_bad(r->at, KE_EFORMAT,
                          "is empty, expected {\"String\": ...} or {\"Regex\": ...}");
        goto done;
    }
    KE_TRY(set_regex(r, step, text, bytes, literal ? KE__REGEX_LITERAL : 0));
    ke__json_leave(r->at, path);
done:
    return st;
}

static ke_status read_behaviour(reader *r, const json_t *value, const char *fallback,
                                ke__split_behaviour *out)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name;
    size_t bytes;
    ke_status st = ke__json_string_in(r->at, value, "behavior", &name, &bytes);
    if (st != KE_OK)
        return st;
    if (!name)
        name = fallback;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (name && strcmp(name, names[i]) == 0) {
            *out = (ke__split_behaviour)i;
            return KE_OK;
        }
    }
    return ke__json_bad(r->at, KE_EFORMAT,
                        "has behavior \"%.40s\", expected Isolated, Removed, "
                        "MergedWithPrevious, MergedWithNext or Contiguous",
                        name ? name : "");
}

/* --- normalizers -----------------------------------------------------------------------
 */

static ke_status form(reader *r, bool compose, bool compatible)
{
    ke__step *step;
    ke_status st = add(r, KE__STEP_NORMALISE, &step);
    if (st == KE_OK) {
        step->compose = compose;
        step->compatible = compatible;
    }
    return st;
}

static ke_status read_nfc(reader *r, const json_t *value)
{
    (void)value;
    return form(r, true, false);
}

static ke_status read_nfd(reader *r, const json_t *value)
{
    (void)value;
    return form(r, false, false);
}

static ke_status read_nfkc(reader *r, const json_t *value)
{
    (void)value;
    return form(r, true, true);
}

static ke_status read_nfkd(reader *r, const json_t *value)
{
    (void)value;
    return form(r, false, true);
}

static ke_status read_lowercase(reader *r, const json_t *value)
{
    ke__step *step;
    (void)value;
    return add(r, KE__STEP_LOWERCASE, &step);
}

static ke_status read_strip(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    KE_TRY(add(r, KE__STEP_STRIP, &step));
    KE_TRY(ke__json_bool_in(r->at, value, "strip_left", true, &step->left));
    KE_TRY(ke__json_bool_in(r->at, value, "strip_right", true, &step->right));
done:
    return st;
}

static ke_status read_prepend(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    const char *text;
    size_t bytes;
    KE_TRY(ke__json_string_in(r->at, value, "prepend", &text, &bytes));
    KE_TRY(add(r, KE__STEP_PREPEND, &step));
    KE_TRY(set_text(r, step, text ? text : "", bytes));
    r->facts->prefix = r->facts->prefix_each = true;
done:
    return st;
}

static ke_status read_replace(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    const char *text;
    size_t bytes;
    KE_TRY(ke__json_string_in(r->at, value, "content", &text, &bytes));
    KE_TRY(add(r, KE__STEP_REPLACE, &step));
    KE_TRY(set_text(r, step, text ? text : "", bytes));
    KE_TRY(read_pattern(r, value, step));
done:
    return st;
}

/* --- pre-tokenizers --------------------------------------------------------------------
 */

static ke_status read_byte_level(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    bool prefix, regex;
    KE_TRY(ke__json_bool_in(r->at, value, "add_prefix_space", true, &prefix));
    KE_TRY(ke__json_bool_in(r->at, value, "use_regex", true, &regex));
    if (prefix) {
        KE_TRY(add(r, KE__STEP_PREFIX, &step));
        KE_TRY(set_text(r, step, " ", 1));
    }
    if (regex)
        KE_TRY(split(r, GPT2, 0, KE__SPLIT_ISOLATED));
    KE_TRY(add(r, KE__STEP_SPELL, &step));
    r->facts->byte_level = true;
done:
    return st;
}

static ke_status read_split(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    KE_TRY(add(r, KE__STEP_SPLIT, &step));
    KE_TRY(read_behaviour(r, value, NULL, &step->behaviour));
    KE_TRY(ke__json_bool_in(r->at, value, "invert", false, &step->invert));
    KE_TRY(read_pattern(r, value, step));
done:
    return st;
}

static ke_status read_digits(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    bool one_by_one;
    KE_TRY(ke__json_bool_in(r->at, value, "individual_digits", false, &one_by_one));
    KE_TRY(split(r, "\\p{N}", 0, one_by_one ? KE__SPLIT_ISOLATED : KE__SPLIT_CONTIGUOUS));
done:
    return st;
}

static ke_status read_punctuation(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__split_behaviour behaviour;
    KE_TRY(read_behaviour(r, value, "Isolated", &behaviour));
    KE_TRY(split(r, "[\\p{P}$+<=>^`|~]", 0, behaviour));
done:
    return st;
}

static ke_status read_whitespace(reader *r, const json_t *value)
{
    static const char words[] = "[" KE__WORDS_16 "\\x{200C}\\x{200D}]+|"
                                "[^" KE__WORDS_16 "\\x{200C}\\x{200D}" KE__SPACES "]+";
    ke_status st = KE_OK;
    ke__step *step;
    (void)value;
    KE_TRY(add(r, KE__STEP_SPLIT, &step));
    step->behaviour = KE__SPLIT_REMOVED;
    step->invert = true;
    ke__gguf_str pattern = {words, sizeof words - 1};
    KE_TRY(ke__regex_new(r->at->cx, &step->regex, pattern, KE__REGEX_TRUSTED));
done:
    return st;
}

static ke_status read_whitespace_split(reader *r, const json_t *value)
{
    (void)value;
    return split(r, "\\s", 0, KE__SPLIT_REMOVED);
}

static ke_status read_scheme(reader *r, const json_t *value, bool *prefix, bool *first)
{
    ke_status st = KE_OK;
    const char *scheme;
    size_t bytes;
    bool always;
    KE_TRY(ke__json_string_in(r->at, value, "prepend_scheme", &scheme, &bytes));
    /* What older files have instead. */
    KE_TRY(ke__json_bool_in(r->at, value, "add_prefix_space", true, &always));
    if (!scheme)
        scheme = always ? "always" : "never";
    *first = strcmp(scheme, "first") == 0;
    *prefix = *first || strcmp(scheme, "always") == 0;
    if (!*prefix && strcmp(scheme, "never") != 0)
        st = ke__json_bad(r->at, KE_EFORMAT,
                          "has prepend_scheme \"%.40s\", expected always, first or never",
                          scheme);
done:
    return st;
}

static ke_status read_metaspace(reader *r, const json_t *value)
{
    ke_status st = KE_OK;
    ke__step *step;
    const char *text;
    size_t bytes;
    bool prefix, first, cut;
    KE_TRY(ke__json_string_in(r->at, value, "replacement", &text, &bytes));
    if (!text || bytes == 0 || strlen(text) != bytes) {
        st = ke__json_bad(r->at, KE_EFORMAT, "has no replacement, expected one character");
        goto done;
    }
    KE_TRY(read_scheme(r, value, &prefix, &first));
    KE_TRY(ke__json_bool_in(r->at, value, "split", true, &cut));
    KE_TRY(add(r, KE__STEP_REPLACE, &step));
    KE_TRY(set_text(r, step, text, bytes));
    KE_TRY(set_regex(r, step, " ", 1, KE__REGEX_LITERAL));
    if (prefix) {
        KE_TRY(add(r, KE__STEP_PREFIX, &step));
        step->first_only = first;
        KE_TRY(set_text(r, step, text, bytes));
        r->facts->prefix = true;
        r->facts->prefix_each = r->facts->prefix_each || !first;
    }
    if (cut)
        KE_TRY(split(r, text, KE__REGEX_LITERAL, KE__SPLIT_WITH_NEXT));
done:
    return st;
}

/* --- either ----------------------------------------------------------------------------
 */

static ke_status unknown(reader *r, const char *type)
{
    ke_status st = KE_OK;
    ke__text known = {NULL, 0, 0};
    for (size_t i = 0; i < r->n_kinds; i++)
        KE_TRY(ke__text_addf(r->at->cx, &known, "%s%s", i ? ", " : "", r->kinds[i].type));
    st = ke__json_bad(r->at, KE_ENOTSUP,
                      "has type \"%.40s\", which is not known; known are %s",
                      type ? type : "", known.data);
done:
    ke__free(r->at->cx, known.data);
    return st;
}

static ke_status read_one(reader *r, const json_t *value)
{
    const char *type;
    size_t bytes;
    if (!json_is_object(value))
        return ke__json_bad(r->at, KE_EFORMAT, "is not an object");
    ke_status st = ke__json_string_in(r->at, value, "type", &type, &bytes);
    if (st != KE_OK)
        return st;
    for (size_t i = 0; type && i < r->n_kinds; i++)
        if (strcmp(r->kinds[i].type, type) == 0)
            return r->kinds[i].read(r, value);
    return unknown(r, type);
}

static ke_status read_sequence(reader *r, const json_t *value, const char *name)
{
    ke_status st = KE_OK;
    json_t *items, *item;
    size_t i;
    if (r->depth == MAX_DEPTH)
        return ke__json_bad(r->at, KE_ENOTSUP, "is nested deeper than %d", MAX_DEPTH);
    KE_TRY(ke__json_array_in(r->at, value, name, &items));
    size_t path = ke__json_enter(r->at, name, -1);
    r->depth++;
    json_array_foreach(items, i, item)
    {
        size_t list = ke__json_enter(r->at, NULL, (ptrdiff_t)i);
        KE_TRY(read_one(r, item));
        ke__json_leave(r->at, list);
    }
    r->depth--;
    ke__json_leave(r->at, path);
done:
    return st;
}

static ke_status read_normalizers(reader *r, const json_t *value)
{
    return read_sequence(r, value, "normalizers");
}

static ke_status read_pre_tokenizers(reader *r, const json_t *value)
{
    return read_sequence(r, value, "pretokenizers");
}

static const kind normalizers[] = {
    {"Sequence", read_normalizers},
    {"NFC", read_nfc},
    {"NFD", read_nfd},
    {"NFKC", read_nfkc},
    {"NFKD", read_nfkd},
    {"Lowercase", read_lowercase},
    {"Strip", read_strip},
    {"Prepend", read_prepend},
    {"Replace", read_replace},
};

static const kind pre_tokenizers[] = {
    {"Sequence", read_pre_tokenizers},
    {"ByteLevel", read_byte_level},
    {"Split", read_split},
    {"Digits", read_digits},
    {"Punctuation", read_punctuation},
    {"Whitespace", read_whitespace},
    {"WhitespaceSplit", read_whitespace_split},
    {"Metaspace", read_metaspace},
};

static ke_status read_member(reader *r, const json_t *root, const char *name)
{
    ke_status st = KE_OK;
    const json_t *value = json_object_get(root, name);
    if (!value || json_is_null(value))
        return KE_OK;
    size_t path = ke__json_enter(r->at, name, -1);
    KE_TRY(read_one(r, value));
    ke__json_leave(r->at, path);
done:
    return st;
}

ke_status ke__normalizer_read(ke__json_at *at, const json_t *root, ke__steps *out,
                              ke__step_facts *facts)
{
    reader r = {at, out, facts, normalizers, sizeof normalizers / sizeof normalizers[0], 0};
    return read_member(&r, root, "normalizer");
}

ke_status ke__pre_tokenizer_read(ke__json_at *at, const json_t *root, ke__steps *out,
                                 ke__step_facts *facts)
{
    reader r = {
        at, out, facts, pre_tokenizers, sizeof pre_tokenizers / sizeof pre_tokenizers[0],
        0};
    return read_member(&r, root, "pre_tokenizer");
}
