/* The vocabulary of a GGUF file: its strings, found by hash, and which of them are special.
 */
#include "token/tokenizer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

/* Values of tokenizer.ggml.token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_BYTE = 6 };

/* Keys that name a token at which a text is over: the end of the text or turn, or, where a
 * code model goes on to another file or repository, of the document. */
static const char *const end_keys[] = {
    KEY("eos_token_id"),     KEY("eot_token_id"),     KEY("eom_token_id"),
    KEY("fim_pad_token_id"), KEY("fim_rep_token_id"), KEY("fim_sep_token_id"),
};

/* Converters have lost the type or the key of these, so llama.cpp knows them by their text:
 * they are control tokens whatever the file says, unless the file has `key`. */
static const struct {
    const char *text, *key;
    bool end;
} known[] = {
    {"<|eot_id|>", NULL, true},
    {"<|im_end|>", NULL, true},
    {"<|end|>", NULL, true},
    {"<end_of_turn>", NULL, true},
    {"<|endoftext|>", NULL, true},
    {"<|end_of_text|>", NULL, true},
    {"<|eom_id|>", NULL, true},
    {"<end_of_utterance>", NULL, true},
    {"<EOT>", NULL, true},
    {"</s>", NULL, true},
    {"<eos>", NULL, true},
    {"<|fim_pad|>", KEY("fim_pad_token_id"), true},
    {"<fim-pad>", KEY("fim_pad_token_id"), true},
    {"<fim_pad>", KEY("fim_pad_token_id"), true},
    {"<|fim_repo|>", KEY("fim_rep_token_id"), true},
    {"<|repo_name|>", KEY("fim_rep_token_id"), true},
    {"<fim-repo>", KEY("fim_rep_token_id"), true},
    {"<reponame>", KEY("fim_rep_token_id"), true},
    {"<|file_sep|>", KEY("fim_sep_token_id"), true},
    {"<|fim_prefix|>", KEY("fim_pre_token_id"), false},
    {"<fim-prefix>", KEY("fim_pre_token_id"), false},
    {"<fim_prefix>", KEY("fim_pre_token_id"), false},
    {"<|fim_suffix|>", KEY("fim_suf_token_id"), false},
    {"<fim-suffix>", KEY("fim_suf_token_id"), false},
    {"<fim_suffix>", KEY("fim_suf_token_id"), false},
    {"<|fim_middle|>", KEY("fim_mid_token_id"), false},
    {"<fim-middle>", KEY("fim_mid_token_id"), false},
    {"<fim_middle>", KEY("fim_mid_token_id"), false},
};
enum { N_KNOWN = sizeof known / sizeof known[0] };

/* GGUF has no field for stripping either: it goes by a part of a name, in lower case. The
 * rules are applied in order. */
static const struct {
    const char *key, *part;
    const char *token; /* NULL: every special token */
    uint8_t flag;
    bool on;
} strips[] = {
    {KEY("pre"), "jina-v2-", "<mask>", KE__TOKEN_LSTRIP, true},
    {"general.name", "modern-bert", "[MASK]", KE__TOKEN_LSTRIP, true},
    {"general.name", "phi-3", NULL, KE__TOKEN_RSTRIP, true},
    {"general.name", "phi-3", "<unk>", KE__TOKEN_RSTRIP, false},
    {"general.name", "phi-3", "<s>", KE__TOKEN_RSTRIP, false},
    {"general.name", "phi-3", "<|endoftext|>", KE__TOKEN_RSTRIP, false},
    {"general.name", "phi3", NULL, KE__TOKEN_RSTRIP, true},
    {"general.name", "phi3", "<unk>", KE__TOKEN_RSTRIP, false},
    {"general.name", "phi3", "<s>", KE__TOKEN_RSTRIP, false},
    {"general.name", "phi3", "<|endoftext|>", KE__TOKEN_RSTRIP, false},
};

ke_status ke__token_array(ke_ctx *cx, const ke__gguf *g, const char *key,
                          ke__gguf_type item, const ke__gguf_kv **out)
{
    const ke__gguf_kv *kv = *out = ke__gguf_find(g, key);
    if (!kv)
        return ke__fail(cx, KE_EFORMAT, key, "metadata key \"%s\" is missing", key);
    if (kv->type != KE__GGUF_ARRAY || kv->item != item)
        return ke__fail(
            cx, KE_EFORMAT, key,
            "metadata key \"%s\" has type %d of items %d, expected an array (%d) "
            "of items %d",
            key, (int)kv->type, (int)kv->item, (int)KE__GGUF_ARRAY, (int)item);
    return KE_OK;
}

ke_status ke__table_room(ke_ctx *cx, const char *key, uint64_t n, size_t *slots)
{
    if (n >= INT32_MAX)
        return ke__fail(cx, KE_EFORMAT, key,
                        "\"%s\" has %llu items, at most %d are possible", key,
                        (unsigned long long)n, INT32_MAX - 1);
    *slots = 1;
    while (*slots < n + n / 2 + 1)
        *slots *= 2;
    return KE_OK;
}

/* --- strings by hash (FNV-1a, from a start that no file can know) -------------------- */

static uint32_t hash(uint32_t h, ke__gguf_str s)
{
    for (uint64_t i = 0; i < s.bytes; i++)
        h = (h ^ (uint8_t)s.data[i]) * 16777619U;
    return h;
}

static bool equal(ke__gguf_str t, ke__gguf_str a, ke__gguf_str b)
{
    return t.bytes == a.bytes + b.bytes && memcmp(t.data, a.data, a.bytes) == 0 &&
           memcmp(t.data + a.bytes, b.data, b.bytes) == 0;
}

/* The slot that holds ab, or the empty one where it belongs. */
static ke__vocab_slot *slot_of(const ke__vocab *v, uint32_t h, ke__gguf_str a,
                               ke__gguf_str b)
{
    /* FNV leaves the low bits of similar strings alike, hence the fold. */
    for (size_t i = h ^ (h >> 15);; i++) {
        ke__vocab_slot *s = &v->slots[i & v->mask];
        if (s->id_plus_1 == 0 || (s->hash == h && equal(v->text[s->id_plus_1 - 1], a, b)))
            return s;
    }
}

static const ke__gguf_str nothing = {"", 0};

int32_t ke__vocab_find_pair(const ke__vocab *v, ke__gguf_str a, ke__gguf_str b)
{
    return slot_of(v, hash(hash(v->hash_start, a), b), a, b)->id_plus_1 - 1;
}

int32_t ke__vocab_find(const ke__vocab *v, ke__gguf_str text)
{
    return ke__vocab_find_pair(v, text, nothing);
}

static ke__gguf_str str(const char *text)
{
    return (ke__gguf_str){text, strlen(text)};
}

static int32_t find_text(const ke__vocab *v, const char *text)
{
    return ke__vocab_find(v, str(text));
}

ke_status ke__vocab_id(ke_ctx *cx, const ke__vocab *v, const ke__gguf *g, const char *key,
                       int32_t *id)
{
    /* Some converters write "none" as -1, which is UINT32_MAX in a key of type u32. */
    uint64_t value;
    ke_status st = ke__gguf_u64(cx, g, key, UINT32_MAX, &value);
    if (st != KE_OK)
        return st;
    if (value != UINT32_MAX && value >= v->n)
        return ke__fail(cx, KE_EFORMAT, key, "\"%s\" is %llu, but there are %zu tokens",
                        key, (unsigned long long)value, v->n);
    *id = value == UINT32_MAX ? -1 : (int32_t)value;
    return KE_OK;
}

/* --- loading --------------------------------------------------------------------- */

ke_status ke__vocab_index(ke_ctx *cx, ke__vocab *v, const char *key)
{
    ke_status st = KE_OK;
    size_t slots = 0;
    KE_TRY(ke__table_room(cx, key, v->n, &slots));
    KE_TRY(ke__alloc(cx, &v->slots, slots, sizeof *v->slots));
    v->mask = slots - 1;
    v->hash_start = (uint32_t)ke__hash_seed();
    for (size_t i = 0; i < v->n; i++) {
        if (v->text[i].bytes == 0)
            continue; /* a hole; no text is this token */
        uint32_t h = hash(v->hash_start, v->text[i]);
        /* Of tokens with the same text the last one counts. */
        *slot_of(v, h, v->text[i], nothing) = (ke__vocab_slot){h, (int32_t)i + 1};
    }
done:
    return st;
}

static ke_status load_text(ke_ctx *cx, ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    const ke__gguf_kv *kv = NULL;
    KE_TRY(ke__token_array(cx, g, KEY("tokens"), KE__GGUF_STRING, &kv));
    if (kv->n == 0) {
        st = ke__fail(cx, KE_EFORMAT, KEY("tokens"), "the vocabulary is empty");
        goto done;
    }
    if (kv->n > KE__MAX_TOKENS) {
        st = ke__fail(cx, KE_EFORMAT, KEY("tokens"), "%llu tokens, at most %d are read",
                      (unsigned long long)kv->n, KE__MAX_TOKENS);
        goto done;
    }
    v->n = (size_t)kv->n;
    KE_TRY(ke__alloc(cx, &v->text, v->n, sizeof *v->text));
    KE_TRY(ke__alloc(cx, &v->flags, v->n, sizeof *v->flags));
    const uint8_t *at = kv->value;
    for (size_t i = 0; i < v->n; i++)
        v->text[i] = ke__gguf_next_string(&at);
    KE_TRY(ke__vocab_index(cx, v, KEY("tokens")));
done:
    return st;
}

static ke_status load_types(ke_ctx *cx, ke__vocab *v, const ke__gguf *g)
{
    const ke__gguf_kv *kv = NULL;
    if (!ke__gguf_find(g, KEY("token_type")))
        return KE_OK; /* all normal */
    ke_status st = ke__token_array(cx, g, KEY("token_type"), KE__GGUF_I32, &kv);
    if (st != KE_OK)
        return st;
    if (kv->n != v->n)
        return ke__fail(
            cx, KE_EFORMAT, KEY("token_type"),
            "\"" KEY("token_type") "\" has %llu items, expected %zu, one a token",
            (unsigned long long)kv->n, v->n);
    for (size_t i = 0; i < v->n; i++) {
        int32_t type;
        memcpy(&type, kv->value + i * sizeof type, sizeof type);
        if (type == TYPE_CONTROL || type == TYPE_UNKNOWN)
            v->flags[i] = KE__TOKEN_CONTROL | KE__TOKEN_RAW;
        else if (type == TYPE_USER)
            v->flags[i] = KE__TOKEN_USER | KE__TOKEN_RAW;
        else if (type == TYPE_BYTE)
            v->flags[i] = KE__TOKEN_BYTE | KE__TOKEN_RAW;
        else if (type != TYPE_NORMAL)
            v->flags[i] = KE__TOKEN_RAW;
    }
    return KE_OK;
}

static ke_status load_ends(ke_ctx *cx, ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < N_KNOWN; i++) {
        int32_t id = find_text(v, known[i].text);
        if (id < 0 || (known[i].key && ke__gguf_find(g, known[i].key)))
            continue;
        v->flags[id] |= KE__TOKEN_CONTROL | KE__TOKEN_RAW;
        if (known[i].end)
            v->flags[id] |= KE__TOKEN_END;
    }
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++) {
        int32_t id;
        KE_TRY(ke__vocab_id(cx, v, g, end_keys[i], &id));
        if (id >= 0)
            v->flags[id] |= KE__TOKEN_END;
    }
done:
    return st;
}

void ke__vocab_mark_ends(ke__vocab *v)
{
    for (size_t id = 0; id < v->n; id++)
        for (size_t i = 0; (v->flags[id] & KE__TOKEN_CONTROL) && i < N_KNOWN; i++)
            if (known[i].end && equal(v->text[id], nothing, str(known[i].text)))
                v->flags[id] |= KE__TOKEN_END;
}

bool ke__vocab_special(const ke__vocab *v, size_t id)
{
    return (v->flags[id] & (KE__TOKEN_CONTROL | KE__TOKEN_USER)) && v->text[id].bytes > 0;
}

static ke_status load_strips(ke_ctx *cx, ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < sizeof strips / sizeof strips[0]; i++) {
        char name[256] = "";
        ke__gguf_str s;
        KE_TRY(ke__gguf_string(cx, g, strips[i].key, &s));
        for (size_t k = 0; k < s.bytes && k < sizeof name - 1; k++)
            name[k] = (char)tolower((unsigned char)s.data[k]);
        if (!strstr(name, strips[i].part))
            continue;
        int32_t only = strips[i].token ? find_text(v, strips[i].token) : -1;
        for (size_t id = 0; id < v->n; id++)
            if (strips[i].token ? (int32_t)id == only : ke__vocab_special(v, id))
                v->flags[id] = (uint8_t)(strips[i].on ? v->flags[id] | strips[i].flag
                                                      : v->flags[id] & ~strips[i].flag);
    }
done:
    return st;
}

typedef struct by_length {
    uint64_t bytes;
    int32_t id;
} by_length;

static int longest_first(const void *a, const void *b)
{
    const by_length *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static ke_status list_special(ke_ctx *cx, ke__vocab *v)
{
    ke_status st = KE_OK;
    by_length *order = NULL;
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n += ke__vocab_special(v, i);
    KE_TRY(ke__alloc(cx, &order, n, sizeof *order));
    KE_TRY(ke__alloc(cx, &v->special, n, sizeof *v->special));
    for (size_t i = 0; i < v->n; i++)
        if (ke__vocab_special(v, i))
            order[v->n_special++] = (by_length){v->text[i].bytes, (int32_t)i};
    qsort(order, n, sizeof *order, longest_first);
    for (size_t i = 0; i < n; i++)
        v->special[i] = order[i].id;
done:
    ke__free(cx, order);
    return st;
}

ke_status ke__vocab_load(ke_ctx *cx, ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    KE_TRY(load_text(cx, v, g));
    KE_TRY(load_types(cx, v, g));
    KE_TRY(load_ends(cx, v, g));
    KE_TRY(load_strips(cx, v, g));
    KE_TRY(list_special(cx, v));
done:
    return st;
}

void ke__vocab_free(ke_ctx *cx, ke__vocab *v)
{
    ke__free(cx, v->text);
    ke__free(cx, v->flags);
    ke__free(cx, v->slots);
    ke__free(cx, v->special);
}
