/* tokenizer.json and what a model's folder says beside it: vocabulary, merges and added
 * tokens, the way back from ids to text, and BOS and EOS. */
#include "token/added_json.h"
#include "token/json_model.h"
#include "token/steps_json.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_TEXT_BYTES = 1 << 12, /* of an added token */
    MAX_DECODERS = 16,
    MAX_REPLACED = 256 /* bytes that a decoder looks for */
};

/* One step from a token's text to the bytes that it stands for. */
typedef struct decoder {
    enum { SPELLED, BYTE, REPLACED } kind;
    const char *from, *to; /* REPLACED */
    size_t from_bytes, to_bytes;
} decoder;

typedef struct loading {
    ke_ctx *cx;
    ke_tokenizer *tok;
    ke__json_model *m;
    ke__json_at at;
    json_t *root, *config; /* the latter: the tokenizer's, or NULL */
    json_t *added;
    json_t *vocab; /* root's model.vocab */
    size_t n_vocab;
    ke__step_facts facts;
    decoder decoder[MAX_DECODERS];
    size_t n_decoders;
    bool drops_prefix;
    size_t used; /* of m->strings */
} loading;

/* --- vocabulary ------------------------------------------------------------------------
 */

/* Give `text`, which is copied, to an id that has none. */
static ke_status name_token(loading *l, int32_t id, const char *text, size_t bytes)
{
    ke__gguf_str *slot = &l->tok->vocab.text[id];
    if (slot->bytes > 0)
        return ke__json_bad(
            &l->at, KE_EFORMAT,
            "gives id %d to \"%.40s\" and to \"%.*s\", expected one text an id", id, text,
            (int)(slot->bytes < 40 ? slot->bytes : 40), slot->data);
    memcpy(l->m->strings + l->used, text, bytes);
    *slot = (ke__gguf_str){l->m->strings + l->used, bytes};
    l->used += bytes;
    return KE_OK;
}

/* The largest id + 1 of vocabulary and added tokens, and the room for all their texts. */
static ke_status measure(loading *l, const json_t *added)
{
    ke_status st = KE_OK;
    const char *text;
    json_t *value;
    size_t n = 0, bytes = 0, i;
    int32_t id;
    json_object_foreach(l->vocab, text, value)
    {
        json_int_t number = json_integer_value(value);
        if (!json_is_integer(value) || number < 0 || number >= KE__MAX_TOKENS) {
            st = ke__json_bad(&l->at, KE_EFORMAT,
                              "model.vocab gives \"%.40s\" no id from 0 to %d", text,
                              KE__MAX_TOKENS - 1);
            goto done;
        }
        n = (size_t)number + 1 > n ? (size_t)number + 1 : n;
        bytes += strlen(text);
    }
    if (n == 0) {
        st = ke__json_bad(&l->at, KE_EFORMAT, "model.vocab is missing or empty");
        goto done;
    }
    json_array_foreach(added, i, value)
    {
        KE_TRY(ke__json_id_in(&l->at, value, "id", KE__MAX_TOKENS, &id));
        n = (size_t)(id + 1) > n ? (size_t)(id + 1) : n;
        bytes += json_string_length(json_object_get(value, "content"));
    }
    l->tok->vocab.n = n;
    KE_TRY(ke__alloc(l->cx, &l->m->strings, bytes, 1));
    KE_TRY(ke__alloc(l->cx, &l->tok->vocab.text, n, sizeof *l->tok->vocab.text));
    KE_TRY(ke__alloc(l->cx, &l->tok->vocab.flags, n, sizeof *l->tok->vocab.flags));
done:
    return st;
}

static ke_status load_vocab(loading *l, const json_t *model, const json_t *added)
{
    ke_status st = KE_OK;
    const char *text;
    json_t *value;
    KE_TRY(ke__json_object_in(&l->at, model, "vocab", &l->vocab));
    KE_TRY(measure(l, added));
    size_t path = ke__json_enter(&l->at, "model.vocab", -1);
    json_object_foreach(l->vocab, text, value)
        KE_TRY(name_token(l, (int32_t)json_integer_value(value), text, strlen(text)));
    ke__json_leave(&l->at, path);
    l->n_vocab = json_object_size(l->vocab);
    /* Added tokens come after this: the model does not know those that are not its own. */
    KE_TRY(ke__vocab_index(l->cx, &l->tok->vocab, "model.vocab"));
done:
    return st;
}

/* --- merges ----------------------------------------------------------------------------
 */

/* The two texts of a merge: "a b", or ["a", "b"]. */
static bool read_pair(const json_t *item, ke__gguf_str *left, ke__gguf_str *right)
{
    if (json_is_string(item)) {
        const char *text = json_string_value(item);
        size_t bytes = json_string_length(item);
        const char *space = memchr(text, ' ', bytes);
        if (!space || memchr(space + 1, ' ', (size_t)(text + bytes - space - 1)))
            return false;
        *left = (ke__gguf_str){text, (size_t)(space - text)};
        *right = (ke__gguf_str){space + 1, bytes - left->bytes - 1};
        return true;
    }
    const json_t *a = json_array_get(item, 0), *b = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(a) || !json_is_string(b))
        return false;
    *left = (ke__gguf_str){json_string_value(a), json_string_length(a)};
    *right = (ke__gguf_str){json_string_value(b), json_string_length(b)};
    return true;
}

/* How much of a text without an end of its own a message shows. */
static int shown(ke__gguf_str s)
{
    return s.bytes < 40 ? (int)s.bytes : 40;
}

static ke_status load_merges(loading *l, const json_t *model)
{
    ke_status st = KE_OK;
    const ke__vocab *v = &l->tok->vocab;
    json_t *merges;
    KE_TRY(ke__json_array_in(&l->at, model, "merges", &merges));
    size_t path = ke__json_enter(&l->at, "model.merges", -1);
    KE_TRY(
        ke__merges_reserve(l->cx, &l->m->merges, "model.merges", json_array_size(merges)));
    /* Backwards: of several of one pair the last counts. */
    for (size_t i = json_array_size(merges); i-- > 0;) {
        ke__gguf_str left, right;
        size_t list = ke__json_enter(&l->at, NULL, (ptrdiff_t)i);
        if (!read_pair(json_array_get(merges, i), &left, &right)) {
            st = ke__json_bad(
                &l->at, KE_EFORMAT,
                "is no merge, expected \"a b\" with one space or [\"a\", \"b\"]");
            goto done;
        }
        int32_t a = ke__vocab_find(v, left), b = ke__vocab_find(v, right);
        int32_t both = ke__vocab_find_pair(v, left, right);
        if (a < 0 || b < 0 || both < 0) {
            st = ke__json_bad(&l->at, KE_EFORMAT,
                              "merges \"%.*s\" and \"%.*s\", but %s is not in model.vocab",
                              shown(left), left.data, shown(right), right.data,
                              a < 0   ? "the first"
                              : b < 0 ? "the second"
                                      : "what they make");
            goto done;
        }
        ke__merges_add(&l->m->merges, a, b, (uint32_t)i, both);
        ke__json_leave(&l->at, list);
    }
    ke__json_leave(&l->at, path);
done:
    return st;
}

/* --- the model -------------------------------------------------------------------------
 */

/* What would change how words are merged, and is not there in any causal model's file. */
static ke_status refuse_rest(loading *l, const json_t *model)
{
    static const char *const names[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    ke_status st = KE_OK;
    const char *text;
    size_t bytes;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        KE_TRY(ke__json_string_in(&l->at, model, names[i], &text, &bytes));
        if (bytes > 0) {
            st = ke__json_bad(&l->at, KE_ENOTSUP, "%s is \"%.40s\", only null is supported",
                              names[i], text);
            goto done;
        }
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (json_number_value(dropout) != 0)
        st = ke__json_bad(&l->at, KE_ENOTSUP, "dropout is %g, only null is supported",
                          json_number_value(dropout));
done:
    return st;
}

static void find_bytes(loading *l)
{
    for (unsigned c = 0; c < 256; c++) {
        char text[sizeof "<0x00>"];
        snprintf(text, sizeof text, "<0x%02X>", c);
        l->m->byte[c] = (char)c;
        l->m->byte_id[c] =
            ke__vocab_find(&l->tok->vocab, (ke__gguf_str){text, strlen(text)});
    }
}

static ke_status load_model(loading *l, const json_t *added)
{
    ke_status st = KE_OK;
    json_t *model;
    const char *type, *unknown;
    size_t bytes;
    KE_TRY(ke__json_object_in(&l->at, l->root, "model", &model));
    size_t path = ke__json_enter(&l->at, "model", -1);
    KE_TRY(ke__json_string_in(&l->at, model, "type", &type, &bytes));
    /* The first files did not name the type. */
    if (type ? strcmp(type, "BPE") != 0 : !json_object_get(model, "merges")) {
        st = ke__json_bad(&l->at, KE_ENOTSUP,
                          "has type \"%.40s\", which is not known; known is BPE",
                          type ? type : "");
        goto done;
    }
    KE_TRY(refuse_rest(l, model));
    KE_TRY(ke__json_bool_in(&l->at, model, "byte_fallback", false, &l->m->byte_fallback));
    KE_TRY(ke__json_bool_in(&l->at, model, "fuse_unk", false, &l->m->fuse_unknown));
    KE_TRY(ke__json_bool_in(&l->at, model, "ignore_merges", false, &l->m->ignore_merges));
    KE_TRY(ke__json_string_in(&l->at, model, "unk_token", &unknown, &bytes));
    ke__json_leave(&l->at, path);
    KE_TRY(load_vocab(l, model, added));
    KE_TRY(load_merges(l, model));
    find_bytes(l);
    l->m->unknown = -1;
    if (bytes > 0) {
        l->m->unknown = ke__vocab_find(&l->tok->vocab, (ke__gguf_str){unknown, bytes});
        if (l->m->unknown < 0)
            st = ke__json_bad(&l->at, KE_EFORMAT,
                              "model.unk_token \"%.40s\" is not in model.vocab", unknown);
    }
done:
    return st;
}

/* --- added tokens ----------------------------------------------------------------------
 */

/* One added token into `a`, by the id that the vocabulary has for it or else `next`. */
static ke_status read_added(loading *l, const json_t *value, int32_t next, ke__added *a,
                            bool *normalized)
{
    ke_status st = KE_OK;
    ke__vocab *v = &l->tok->vocab;
    const char *text;
    size_t bytes;
    KE_TRY(ke__json_id_in(&l->at, value, "id", KE__MAX_TOKENS, &a->id));
    KE_TRY(ke__json_string_in(&l->at, value, "content", &text, &bytes));
    KE_TRY(ke__json_bool_in(&l->at, value, "special", false, &a->special));
    KE_TRY(ke__json_bool_in(&l->at, value, "lstrip", false, &a->lstrip));
    KE_TRY(ke__json_bool_in(&l->at, value, "rstrip", false, &a->rstrip));
    KE_TRY(ke__json_bool_in(&l->at, value, "single_word", false, &a->single_word));
    KE_TRY(ke__json_bool_in(&l->at, value, "normalized", !a->special, normalized));
    if (bytes == 0 || bytes > MAX_TEXT_BYTES) {
        st =
            ke__json_bad(&l->at, KE_EFORMAT, "has a content of %zu bytes, expected 1 to %d",
                         bytes, MAX_TEXT_BYTES);
        goto done;
    }
    int32_t own = ke__vocab_find(v, (ke__gguf_str){text, bytes});
    int32_t expected = own >= 0 ? own : next;
    if (a->id != expected) {
        st = ke__json_bad(
            &l->at, KE_EFORMAT, "has id %d for \"%.40s\", expected %d, %s", a->id, text,
            expected, own >= 0 ? "its id in model.vocab" : "the next after those before");
        goto done;
    }
    if (own < 0)
        KE_TRY(name_token(l, a->id, text, bytes));
    else if (v->flags[own] & (KE__TOKEN_CONTROL | KE__TOKEN_USER)) {
        st = ke__json_bad(&l->at, KE_EFORMAT, "is \"%.40s\" once more", text);
        goto done;
    }
    a->text = v->text[a->id];
    v->flags[a->id] |= a->special ? KE__TOKEN_CONTROL : KE__TOKEN_USER;
    v->flags[a->id] |= KE__TOKEN_RAW;
done:
    return st;
}

/* Put the normalised texts of a set in the place of those in the file. */
static ke_status normalise_added(loading *l, ke__added_set *set)
{
    ke_status st = KE_OK;
    void *match = NULL;
    ke__pieces p = {0}, spare = {0};
    ke__text *pool = &l->m->normal_text;
    size_t most = 64 << 10; /* of all together, as a text may grow in ke__steps_run() */
    KE_TRY(ke__regex_match_new(l->cx, &match));
    for (size_t i = 0; i < set->n; i++) {
        ke__gguf_str *text = &set->item[i].text;
        most += 64 * text->bytes;
        KE_TRY(ke__pieces_start(l->cx, &p, text->data, text->bytes));
        KE_TRY(ke__steps_run(l->cx, &l->m->normalizer, match, &p, &spare));
        KE_TRY(ke__text_add(l->cx, pool, p.text, p.bytes));
        if (pool->bytes > most) {
            st = ke__json_bad(&l->at, KE_EFORMAT,
                              "the normalizer makes %zu bytes of the first %zu added "
                              "tokens, at most %zu expected",
                              pool->bytes, i + 1, most);
            goto done;
        }
        text->bytes = p.bytes;
    }
    size_t at = 0, n = 0;
    for (size_t i = 0; i < set->n; i++) {
        ke__added a = set->item[i];
        a.text.data = pool->data + at;
        at += a.text.bytes;
        if (a.text.bytes > 0) /* what normalises to nothing is never found */
            set->item[n++] = a;
    }
    set->n = n;
done:
    ke__regex_match_free(match);
    ke__pieces_free(l->cx, &p);
    ke__pieces_free(l->cx, &spare);
    return st;
}

static ke_status load_added(loading *l, const json_t *added)
{
    ke_status st = KE_OK;
    ke__json_model *m = l->m;
    size_t i, n = json_array_size(added);
    json_t *value;
    int32_t next = (int32_t)l->n_vocab;
    KE_TRY(ke__alloc(l->cx, &m->raw.item, n, sizeof *m->raw.item));
    KE_TRY(ke__alloc(l->cx, &m->normal.item, n, sizeof *m->normal.item));
    json_array_foreach(added, i, value)
    {
        ke__added a = {0};
        bool normalized;
        size_t path = ke__json_enter(&l->at, "added_tokens", -1);
        ke__json_enter(&l->at, NULL, (ptrdiff_t)i);
        KE_TRY(read_added(l, value, next, &a, &normalized));
        ke__json_leave(&l->at, path);
        next = a.id >= next ? a.id + 1 : next;
        ke__added_set *set = normalized ? &m->normal : &m->raw;
        set->item[set->n++] = a;
    }
    KE_TRY(normalise_added(l, &m->normal));
    ke__added_sort(&m->raw);
    ke__added_sort(&m->normal);
    ke__vocab_mark_ends(&l->tok->vocab);
done:
    return st;
}

/* --- from ids to text ------------------------------------------------------------------
 */

static decoder *add_decoder(loading *l, int kind)
{
    if (l->n_decoders == MAX_DECODERS)
        return NULL;
    decoder *d = &l->decoder[l->n_decoders++];
    *d = (decoder){.kind = kind};
    return d;
}

static ke_status read_replaced(loading *l, const json_t *value)
{
    ke_status st = KE_OK;
    json_t *pattern;
    const char *from, *to;
    size_t from_bytes, to_bytes;
    KE_TRY(ke__json_object_in(&l->at, value, "pattern", &pattern));
    KE_TRY(ke__json_string_in(&l->at, pattern, "String", &from, &from_bytes));
    KE_TRY(ke__json_string_in(&l->at, value, "content", &to, &to_bytes));
    bool shorter = from_bytes > 0 && from_bytes <= MAX_REPLACED && to_bytes <= from_bytes;
    decoder *d = shorter ? add_decoder(l, REPLACED) : NULL;
    if (d)
        *d = (decoder){REPLACED, from, to ? to : "", from_bytes, to_bytes};
    else
        st = ke__json_bad(&l->at, KE_ENOTSUP,
                          "replaces other than a {\"String\": ...} of up to %d bytes by a "
                          "shorter one",
                          MAX_REPLACED);
done:
    return st;
}

/* Only the space that Prepend put before the text is known to be taken off. */
static ke_status read_stripped(loading *l, const json_t *value)
{
    const char *text;
    size_t bytes;
    ke_status st = ke__json_string_in(&l->at, value, "content", &text, &bytes);
    json_int_t start = json_integer_value(json_object_get(value, "start"));
    json_int_t stop = json_integer_value(json_object_get(value, "stop"));
    if (st != KE_OK || (start == 0 && stop == 0))
        return st;
    if (start != 1 || stop != 0 || bytes != 1 || *text != ' ')
        return ke__json_bad(&l->at, KE_ENOTSUP,
                            "strips other than one space at the beginning");
    l->drops_prefix = true;
    return KE_OK;
}

static ke_status read_unmetaspaced(loading *l, const json_t *value)
{
    ke_status st = KE_OK;
    const char *text;
    size_t bytes;
    KE_TRY(ke__json_string_in(&l->at, value, "replacement", &text, &bytes));
    bool a_few = bytes > 0 && bytes <= MAX_REPLACED;
    decoder *d = a_few ? add_decoder(l, REPLACED) : NULL;
    if (d)
        *d = (decoder){REPLACED, text, " ", bytes, 1};
    else
        st = ke__json_bad(&l->at, KE_EFORMAT, "has no replacement, expected one character");
    l->drops_prefix = l->facts.prefix;
done:
    return st;
}

static ke_status read_decoder(loading *l, const json_t *value)
{
    const char *type;
    size_t bytes;
    if (!json_is_object(value))
        return ke__json_bad(&l->at, KE_EFORMAT, "is not an object");
    ke_status st = ke__json_string_in(&l->at, value, "type", &type, &bytes);
    if (st != KE_OK)
        return st;
    type = type ? type : "";
    if (strcmp(type, "Replace") == 0)
        return read_replaced(l, value);
    if (strcmp(type, "Strip") == 0)
        return read_stripped(l, value);
    if (strcmp(type, "Metaspace") == 0)
        return read_unmetaspaced(l, value);
    bool spelled = strcmp(type, "ByteLevel") == 0, byte = strcmp(type, "ByteFallback") == 0;
    if (strcmp(type, "Fuse") == 0 ||
        ((spelled || byte) && add_decoder(l, spelled ? SPELLED : BYTE)))
        return KE_OK;
    return ke__json_bad(
        &l->at, KE_ENOTSUP,
        "has type \"%.40s\", which is not known (or one too many); known are "
        "Sequence, ByteLevel, Metaspace, ByteFallback, Fuse, Strip, Replace",
        type);
}

static ke_status load_decoders(loading *l)
{
    ke_status st = KE_OK;
    json_t *value, *items, *item;
    size_t i;
    KE_TRY(ke__json_object_in(&l->at, l->root, "decoder", &value));
    size_t path = ke__json_enter(&l->at, "decoder", -1);
    KE_TRY(ke__json_array_in(&l->at, value, "decoders", &items));
    if (value && !items)
        KE_TRY(read_decoder(l, value));
    json_array_foreach(items, i, item)
    {
        size_t list = ke__json_enter(&l->at, NULL, (ptrdiff_t)i);
        KE_TRY(read_decoder(l, item));
        ke__json_leave(&l->at, list);
    }
    ke__json_leave(&l->at, path);
    /* What a file leaves out that its own ids need to come back. */
    if (!value && l->facts.byte_level)
        (void)add_decoder(l, SPELLED);
    if (l->m->byte_fallback)
        (void)add_decoder(l, BYTE);
    l->tok->space_prefix = l->drops_prefix;
    l->tok->prefix_once = !l->facts.prefix_each;
done:
    return st;
}

static size_t replaced(char *text, size_t bytes, const decoder *d)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        bool here =
            bytes - i >= d->from_bytes && memcmp(text + i, d->from, d->from_bytes) == 0;
        if (here)
            memcpy(text + n, d->to, d->to_bytes);
        else
            text[n] = text[i];
        n += here ? d->to_bytes : 1;
        i += here ? d->from_bytes : 1;
    }
    return n;
}

/* The byte of "<0xE2>", -1 for any other text. */
static int spelled_byte(const char *text, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const char *high = memchr(digits, tolower((unsigned char)text[3]), 16),
               *low = memchr(digits, tolower((unsigned char)text[4]), 16);
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

static size_t read_piece(char *out, const void *loading_, ke__gguf_str text)
{
    const loading *l = loading_;
    size_t n = text.bytes;
    if (n > 0)
        memcpy(out, text.data, n);
    for (size_t i = 0; i < l->n_decoders; i++) {
        const decoder *d = &l->decoder[i];
        if (d->kind == SPELLED)
            n = ke__alphabet_read(out, NULL, (ke__gguf_str){out, n});
        else if (d->kind == REPLACED)
            n = replaced(out, n, d);
        else if (spelled_byte(out, n) >= 0) {
            out[0] = (char)spelled_byte(out, n);
            n = 1;
        }
    }
    return n;
}

/* --- BOS and EOS -----------------------------------------------------------------------
 */

static int32_t find_token(const loading *l, ke__gguf_str text)
{
    const ke__vocab *v = &l->tok->vocab;
    int32_t id = ke__vocab_find(v, text);
    for (size_t i = 0; id < 0 && i < v->n; i++)
        if (ke__vocab_special(v, i) && v->text[i].bytes == text.bytes &&
            memcmp(v->text[i].data, text.data, text.bytes) == 0)
            id = (int32_t)i;
    return id;
}

/* What a TemplateProcessing puts before and after the text. */
static ke_status read_template(loading *l, const json_t *value)
{
    ke_status st = KE_OK;
    json_t *items, *item;
    size_t i;
    bool after = false;
    KE_TRY(ke__json_array_in(&l->at, value, "single", &items));
    json_array_foreach(items, i, item)
    {
        const json_t *special = json_object_get(item, "SpecialToken");
        after = after || json_object_get(item, "Sequence");
        if (!special)
            continue;
        const json_t *name = json_object_get(special, "id");
        bool *add = after ? &l->tok->add_eos : &l->tok->add_bos;
        int32_t id = -1;
        if (json_is_string(name))
            id = find_token(
                l, (ke__gguf_str){json_string_value(name), json_string_length(name)});
        if (id < 0 || *add) {
            st = ke__json_bad(&l->at, id < 0 ? KE_EFORMAT : KE_ENOTSUP,
                              "single[%zu] puts in \"%.40s\", expected %s", i,
                              json_is_string(name) ? json_string_value(name) : "",
                              id < 0 ? "a token of the file"
                                     : "one token before and one after the text at most");
            goto done;
        }
        *add = true;
        *(after ? &l->tok->eos : &l->tok->bos) = id;
    }
done:
    return st;
}

static ke_status read_processor(loading *l, const json_t *value)
{
    const char *type;
    size_t bytes;
    ke_status st = ke__json_string_in(&l->at, value, "type", &type, &bytes);
    if (st != KE_OK)
        return st;
    if (type && strcmp(type, "TemplateProcessing") == 0)
        return read_template(l, value);
    if (type && strcmp(type, "ByteLevel") == 0)
        return KE_OK; /* concerns offsets only */
    return ke__json_bad(&l->at, KE_ENOTSUP,
                        "has type \"%.40s\", which is not known; known are Sequence, "
                        "TemplateProcessing, ByteLevel",
                        type ? type : "");
}

static ke_status load_processor(loading *l)
{
    ke_status st = KE_OK;
    json_t *value, *items, *item;
    size_t i;
    l->tok->bos = l->tok->eos = -1;
    KE_TRY(ke__json_object_in(&l->at, l->root, "post_processor", &value));
    size_t path = ke__json_enter(&l->at, "post_processor", -1);
    KE_TRY(ke__json_array_in(&l->at, value, "processors", &items));
    if (value && !items)
        KE_TRY(read_processor(l, value));
    json_array_foreach(items, i, item)
    {
        size_t list = ke__json_enter(&l->at, NULL, (ptrdiff_t)i);
        KE_TRY(read_processor(l, item));
        ke__json_leave(&l->at, list);
    }
    ke__json_leave(&l->at, path);
done:
    return st;
}

/* "<s>", or {"content": "<s>", ...}; an id that is known already stays. */
static void read_mark(const loading *l, const json_t *config, const char *name, int32_t *id)
{
    const json_t *text = json_object_get(config, name);
    if (json_is_object(text))
        text = json_object_get(text, "content");
    if (*id < 0 && json_is_string(text))
        *id = find_token(l,
                         (ke__gguf_str){json_string_value(text), json_string_length(text)});
}

/* The tokenizer's own configuration: BOS and EOS by their text, and whether they are added.
 */
static ke_status read_tokenizer_config(loading *l, const json_t *config)
{
    ke_status st = KE_OK;
    ke_tokenizer *tok = l->tok;
    /* These classes make a post-processor of their own. */
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    if (class && (strncmp(class, "Llama", 5) == 0 || strncmp(class, "CodeLlama", 9) == 0 ||
                  strncmp(class, "Gemma", 5) == 0)) {
        tok->bos = tok->eos = -1;
        tok->add_bos = true;
        tok->add_eos = false;
    }
    read_mark(l, config, "bos_token", &tok->bos);
    read_mark(l, config, "eos_token", &tok->eos);
    KE_TRY(ke__json_bool_in(&l->at, config, "add_bos_token", tok->add_bos, &tok->add_bos));
    KE_TRY(ke__json_bool_in(&l->at, config, "add_eos_token", tok->add_eos, &tok->add_eos));
    tok->add_bos = tok->add_bos && tok->bos >= 0;
    tok->add_eos = tok->add_eos && tok->eos >= 0;
done:
    return st;
}

/* An id of the vocabulary, or -1. */
static int32_t to_id(const loading *l, const json_t *value)
{
    double id = json_is_number(value) ? json_number_value(value) : -1;
    return id >= 0 && id < (double)l->tok->vocab.n && id == floor(id) ? (int32_t)id : -1;
}

/* config.json and generation_config.json: ids, of which EOS may be several. */
static ke_status read_ids(loading *l, const json_t *config)
{
    ke_tokenizer *tok = l->tok;
    const json_t *eos = json_object_get(config, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos && !json_is_null(eos);
    if (tok->bos < 0)
        tok->bos = to_id(l, json_object_get(config, "bos_token_id"));
    for (size_t i = 0; i < n; i++) {
        int32_t id = to_id(l, json_is_array(eos) ? json_array_get(eos, i) : eos);
        if (id < 0)
            return ke__json_bad(
                &l->at, KE_EFORMAT,
                "eos_token_id is no id of tokenizer.json, expected 0 to %zu",
                tok->vocab.n - 1);
        tok->vocab.flags[id] |= KE__TOKEN_END;
        if (tok->eos < 0)
            tok->eos = id;
    }
    return KE_OK;
}

static ke_status read_beside(loading *l, const char *file, ke__gguf_str text,
                             ke_status read(loading *, const json_t *))
{
    json_t *root = NULL;
    if (!text.data)
        return KE_OK;
    l->at.file = file;
    ke_status st = ke__json_root(&l->at, &root, text.data, text.bytes, KE__CONFIG_FLAGS);
    if (st == KE_OK)
        st = read(l, root);
    json_decref(root);
    return st;
}

/* --- all of it -------------------------------------------------------------------------
 */

static ke_status load(loading *l, const ke__tokenizer_texts *texts)
{
    ke_status st = KE_OK;
    KE_TRY(
        ke__json_root(&l->at, &l->root, texts->tokenizer.data, texts->tokenizer.bytes, 0));
    KE_TRY(ke__added_read(&l->at, &l->added, &l->config, l->root, texts));
    KE_TRY(ke__normalizer_read(&l->at, l->root, &l->m->normalizer, &l->facts));
    KE_TRY(ke__pre_tokenizer_read(&l->at, l->root, &l->m->pre_tokenizer, &l->facts));
    KE_TRY(load_model(l, l->added));
    KE_TRY(load_added(l, l->added));
    KE_TRY(load_decoders(l));
    KE_TRY(ke__pieces_load(l->cx, l->tok, &l->m->pieces, read_piece, l));
    KE_TRY(load_processor(l));
    l->at.file = "tokenizer_config.json";
    if (l->config)
        KE_TRY(read_tokenizer_config(l, l->config));
    KE_TRY(read_beside(l, "config.json", texts->config, read_ids));
    KE_TRY(read_beside(l, "generation_config.json", texts->generation_config, read_ids));
    if (l->tok->eos >= 0)
        l->tok->vocab.flags[l->tok->eos] |= KE__TOKEN_END;
done:
    return st;
}

ke_status ke__tokenizer_parse_json(ke_ctx *cx, ke_tokenizer **out,
                                   const ke__tokenizer_texts *texts)
{
    ke_status st = KE_OK;
    loading l = {.cx = cx,
                 .at = {.cx = cx, .folder = texts->folder, .file = "tokenizer.json"}};
    ke_tokenizer *tok = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &tok, 1, sizeof *tok));
    l.tok = tok;
    tok->model = &ke__token_json;
    snprintf(tok->name, sizeof tok->name, "%s (BPE)", tok->model->name);
    KE_TRY(ke__alloc(cx, &tok->data, 1, sizeof *l.m));
    l.m = tok->data;
    KE_TRY(load(&l, texts));
done:
    json_decref(l.added);
    json_decref(l.config);
    json_decref(l.root);
    if (st == KE_OK)
        *out = tok;
    else
        ke__tokenizer_free(cx, tok);
    return st;
}

ke_status ke__tokenizer_from_json(ke_ctx *cx, ke_tokenizer **out, const char *folder)
{
    ke_status st = KE_OK;
    ke__tokenizer_texts t = {.folder = folder};
    *out = NULL;
    KE_TRY(ke__folder_text(cx, &t.tokenizer, folder, "tokenizer.json", true));
    KE_TRY(
        ke__folder_text(cx, &t.tokenizer_config, folder, "tokenizer_config.json", false));
    KE_TRY(ke__folder_text(cx, &t.config, folder, "config.json", false));
    KE_TRY(
        ke__folder_text(cx, &t.generation_config, folder, "generation_config.json", false));
    KE_TRY(ke__folder_text(cx, &t.special_tokens_map, folder, "special_tokens_map.json",
                           false));
    KE_TRY(ke__folder_text(cx, &t.added_tokens, folder, "added_tokens.json", false));
    KE_TRY(ke__tokenizer_parse_json(cx, out, &t));
done:
    ke__free(cx, (char *)t.tokenizer.data);
    ke__free(cx, (char *)t.tokenizer_config.data);
    ke__free(cx, (char *)t.config.data);
    ke__free(cx, (char *)t.special_tokens_map.data);
    ke__free(cx, (char *)t.added_tokens.data);
    ke__free(cx, (char *)t.generation_config.data);
    return st;
}
