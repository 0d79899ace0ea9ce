/* The order and the numbers are those of transformers' PreTrainedTokenizerBase and of the
 * tokenizers library: a token that has a text already keeps its id and takes the new flags,
 * another one gets the id of the vocabulary, or the next after all; the ids that the files
 * beside tokenizer.json give are for sorting only. */
#include "token/added_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT_BYTES = 1 << 12 };

static const char *const flag_names[] = {"lstrip", "rstrip", "single_word", "normalized"};
static const char *const special_names[] = {"bos_token", "eos_token", "unk_token",
                                            "sep_token", "pad_token", "cls_token",
                                            "mask_token"};
enum {
    N_FLAGS = sizeof flag_names / sizeof flag_names[0],
    N_SPECIAL = sizeof special_names / sizeof special_names[0]
};

typedef struct merging {
    ke__json_at *at;
    json_t *list;    /* the result */
    json_t *by_text; /* text: its index in the list */
    const json_t *vocab;
    json_int_t next; /* id of a token that is new to both */
} merging;

static ke_status short_of_memory(const merging *m)
{
    return ke__fail(m->at->cx, KE_ENOMEM, m->at->folder, "no memory for added tokens");
}

/* jansson's copy is short of members where memory is short, and says nothing. */
static json_t *whole_copy(json_t *value)
{
    json_t *copy = json_copy(value);
    return ke__json_done(copy, json_object_size(copy) == json_object_size(value) &&
                                   json_array_size(copy) == json_array_size(value));
}

static bool add_to_list(merging *m, const char *text, json_t *token)
{
    json_int_t at = (json_int_t)json_array_size(m->list);
    return ke__json_add(m->list, token) && ke__json_set(m->by_text, text, json_integer(at));
}

/* A token is a text, or an object with "content" and flags. */
static const json_t *text_of(const json_t *token)
{
    return json_is_object(token) ? json_object_get(token, "content") : token;
}

/* *out NULL: there is none. */
static ke_status content_of(const merging *m, const json_t *token, const char **out)
{
    const json_t *text = text_of(token);
    size_t bytes = json_string_length(text);
    *out = json_string_value(text);
    if (!token || json_is_null(token))
        return KE_OK;
    if (!*out)
        return ke__json_bad(m->at, KE_EFORMAT,
                            "is neither a text nor an object with \"content\"");
    if (strlen(*out) != bytes || bytes > MAX_TEXT_BYTES)
        return ke__json_bad(
            m->at, KE_EFORMAT,
            "has a content of %zu bytes, expected at most %d, none of them NUL", bytes,
            MAX_TEXT_BYTES);
    return KE_OK;
}

/* `entry` gets the flags of `token`. What was special once stays that. */
static ke_status set_flags(const merging *m, json_t *entry, const json_t *token,
                           bool special)
{
    ke_status st = KE_OK;
    bool value, ok = true;
    const json_t *object = json_is_object(token) ? token : NULL;
    KE_TRY(ke__json_bool_in(m->at, object, "special", special, &value));
    special = special || value || json_is_true(json_object_get(entry, "special"));
    ok = ke__json_set(entry, "special", json_boolean(special));
    for (size_t i = 0; i < N_FLAGS; i++) {
        bool fallback = strcmp(flag_names[i], "normalized") == 0 && !special;
        KE_TRY(ke__json_bool_in(m->at, object, flag_names[i], fallback, &value));
        ok = ok && ke__json_set(entry, flag_names[i], json_boolean(value));
    }
    if (!ok)
        st = short_of_memory(m);
done:
    return st;
}

/* `change`: a token that is there already takes these flags. */
static ke_status put(merging *m, const json_t *token, bool special, bool change)
{
    ke_status st = KE_OK;
    const char *text;
    json_t *fresh = NULL;
    KE_TRY(content_of(m, token, &text));
    if (!text || !*text)
        return KE_OK;
    const json_t *known = json_object_get(m->by_text, text);
    if (known) {
        json_t *entry = json_array_get(m->list, (size_t)json_integer_value(known));
        return change ? set_flags(m, entry, token, special) : KE_OK;
    }
    const json_t *own = json_object_get(m->vocab, text);
    fresh = json_object();
    if (!ke__json_set(fresh, "id", json_integer(own ? json_integer_value(own) : m->next)) ||
        !ke__json_set(fresh, "content", json_string(text))) {
        st = short_of_memory(m);
        goto done;
    }
    KE_TRY(set_flags(m, fresh, token, special));
    json_int_t id = json_integer_value(own);
    if (!own)
        m->next++;
    else if (id >= m->next && id < INT32_MAX) /* ids out of range are refused later */
        m->next = id + 1;
    if (!add_to_list(m, text, json_incref(fresh)))
        st = short_of_memory(m);
done:
    json_decref(fresh);
    return st;
}

/* --- tokenizer.json ------------------------------------------------------------------ */

static ke_status take_own(merging *m, const json_t *root)
{
    ke_status st = KE_OK;
    json_t *own, *token;
    size_t i;
    KE_TRY(ke__json_array_in(m->at, root, "added_tokens", &own));
    m->vocab = json_object_get(json_object_get(root, "model"), "vocab");
    m->next = (json_int_t)json_object_size(m->vocab);
    m->list = json_array();
    m->by_text = json_object();
    json_array_foreach(own, i, token)
    {
        const char *text = json_string_value(json_object_get(token, "content"));
        json_int_t id = json_integer_value(json_object_get(token, "id"));
        bool new_text = text && !json_object_get(m->by_text, text);
        m->next = id >= m->next && id < INT32_MAX ? id + 1 : m->next;
        token = whole_copy(token);
        if (new_text ? !add_to_list(m, text, token) : !ke__json_add(m->list, token)) {
            st = short_of_memory(m);
            goto done;
        }
    }
done:
    return st;
}

/* --- the files beside it ---------------------------------------------------------------
 */

typedef struct numbered {
    long id;
    size_t place;     /* in the file */
    const char *text; /* of added_tokens.json */
    const json_t *token;
} numbered;

static int by_id(const void *a, const void *b)
{
    const numbered *x = a, *y = b;
    return x->id != y->id ? (x->id > y->id ? 1 : -1)
                          : (x->place > y->place) - (x->place < y->place);
}

/* By id; of those with one id the last stays, as in transformers' dictionary. */
static size_t sort(numbered *items, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(items, n, sizeof *items, by_id);
    for (size_t i = 0; i < n; i++) {
        kept -= kept > 0 && items[kept - 1].id == items[i].id;
        items[kept++] = items[i];
    }
    return kept;
}

/* "added_tokens_decoder": tokens by their ids as texts. */
static ke_status put_decoder(merging *m, json_t *decoder)
{
    ke_status st = KE_OK;
    numbered *items = NULL;
    const char *key;
    json_t *token;
    size_t n = 0, path = ke__json_enter(m->at, "added_tokens_decoder", -1);
    KE_TRY(ke__alloc(m->at->cx, &items, json_object_size(decoder), sizeof *items));
    json_object_foreach(decoder, key, token)
    {
        char *end;
        errno = 0;
        items[n] = (numbered){strtol(key, &end, 10), n, NULL, token};
        if (*end || end == key || errno || items[n++].id < 0) {
            st = ke__json_bad(m->at, KE_EFORMAT, "has the name \"%.40s\", an id expected",
                              key);
            goto done;
        }
    }
    n = sort(items, n);
    for (size_t i = 0; i < n; i++)
        KE_TRY(put(m, items[i].token, false, true));
    ke__json_leave(m->at, path);
done:
    ke__free(m->at->cx, items);
    return st;
}

static bool note_text(json_t *texts, const json_t *token)
{
    const char *text = json_string_value(text_of(token));
    return !text || ke__json_set(texts, text, json_true());
}

/* The texts of the tokens that a configuration calls special, as names of an object; the
 * caller's. */
static ke_status special_texts(const merging *m, const json_t *config, json_t **out)
{
    size_t i;
    json_t *item;
    bool ok = (*out = json_object()) != NULL;
    for (i = 0; ok && i < N_SPECIAL; i++)
        ok = note_text(*out, json_object_get(config, special_names[i]));
    json_array_foreach(json_object_get(config, "additional_special_tokens"), i, item) ok =
        ok && note_text(*out, item);
    return ok ? KE_OK : short_of_memory(m);
}

/* added_tokens.json: ids by the tokens' texts. */
static ke_status put_older(merging *m, const json_t *config, json_t *older)
{
    ke_status st = KE_OK;
    numbered *items = NULL;
    const char *text;
    json_t *id, *special = NULL;
    size_t n = 0;
    KE_TRY(ke__alloc(m->at->cx, &items, json_object_size(older), sizeof *items));
    json_object_foreach(older, text, id)
    {
        double number = json_number_value(id);
        if (!json_is_number(id) || number < 0 || number > INT32_MAX) {
            st = ke__json_bad(m->at, KE_EFORMAT, "gives \"%.40s\" no id", text);
            goto done;
        }
        items[n] = (numbered){(long)number, n, text, NULL};
        n++;
    }
    n = sort(items, n);
    KE_TRY(special_texts(m, config, &special));
    for (size_t i = 0; i < n; i++) {
        json_t *token = json_string(items[i].text);
        st = token ? put(m, token, json_object_get(special, items[i].text) != NULL, false)
                   : short_of_memory(m);
        json_decref(token);
        if (st != KE_OK)
            break;
    }
done:
    json_decref(special);
    ke__free(m->at->cx, items);
    return st;
}

/* Special tokens that are in none of the lists. */
static ke_status put_special(merging *m, json_t *config)
{
    ke_status st = KE_OK;
    const char *key;
    json_t *list, *extra, *token;
    size_t i;
    for (i = 0; i < N_SPECIAL; i++) {
        size_t path = ke__json_enter(m->at, special_names[i], -1);
        KE_TRY(put(m, json_object_get(config, special_names[i]), true, false));
        ke__json_leave(m->at, path);
    }
    KE_TRY(ke__json_array_in(m->at, config, "additional_special_tokens", &list));
    size_t path = ke__json_enter(m->at, "additional_special_tokens", -1);
    json_array_foreach(list, i, token) KE_TRY(put(m, token, true, false));
    ke__json_leave(m->at, path);
    extra = json_object_get(config, "extra_special_tokens");
    ke__json_enter(m->at, "extra_special_tokens", -1);
    json_object_foreach(extra, key, token) KE_TRY(put(m, token, true, false));
    json_array_foreach(extra, i, token) KE_TRY(put(m, token, true, false));
    ke__json_leave(m->at, path);
done:
    return st;
}

/* The further special tokens of the configuration, then those of the map that it lacks. */
static bool extend_list(json_t *config, json_t *more)
{
    static const char name[] = "additional_special_tokens";
    json_t *old = json_object_get(config, name), *list = json_array(), *item;
    json_t *texts = json_object();
    bool ok = list && texts;
    size_t i;
    json_array_foreach(old, i, item) ok =
        ok && json_array_append(list, item) == 0 && note_text(texts, item);
    json_array_foreach(more, i, item)
    {
        const char *text = json_string_value(text_of(item));
        if (!text || !json_object_get(texts, text))
            ok = ok && json_array_append(list, item) == 0 && note_text(texts, item);
    }
    json_decref(texts);
    return ke__json_set(config, name, ke__json_done(list, ok));
}

/* Without "added_tokens_decoder", special_tokens_map.json decides over the names that it
 * has. */
static ke_status take_map(const merging *m, json_t *config, const json_t *map)
{
    bool ok = true;
    json_t *list = json_object_get(map, "additional_special_tokens");
    for (size_t i = 0; ok && i < N_SPECIAL; i++) {
        json_t *token = json_object_get(map, special_names[i]);
        ok = !token || json_object_set(config, special_names[i], token) == 0;
    }
    if (ok && json_is_array(list))
        ok = extend_list(config, list);
    else if (ok && list)
        ok = ke__json_set(config, "additional_special_tokens", whole_copy(list));
    return ok ? KE_OK : short_of_memory(m);
}

/* --- all of it -------------------------------------------------------------------------
 */

static ke_status root_of(ke__json_at *at, json_t **out, const char *file, ke__gguf_str text)
{
    at->file = file;
    *out = NULL;
    return text.data ? ke__json_root(at, out, text.data, text.bytes, KE__CONFIG_FLAGS)
                     : KE_OK;
}

static ke_status put_beside(merging *m, json_t **config, const ke__tokenizer_texts *texts)
{
    ke_status st = KE_OK;
    json_t *map = NULL, *older = NULL, *decoder;
    static const char file[] = "tokenizer_config.json";
    KE_TRY(root_of(m->at, config, file, texts->tokenizer_config));
    KE_TRY(ke__json_object_in(m->at, *config, "added_tokens_decoder", &decoder));
    if (decoder) {
        KE_TRY(put_decoder(m, decoder));
    } else if (texts->special_tokens_map.data || texts->added_tokens.data) {
        KE_TRY(root_of(m->at, &map, "special_tokens_map.json", texts->special_tokens_map));
        if (!*config && !(*config = json_object())) {
            st = short_of_memory(m);
            goto done;
        }
        KE_TRY(take_map(m, *config, map));
        KE_TRY(root_of(m->at, &older, "added_tokens.json", texts->added_tokens));
        KE_TRY(put_older(m, *config, older));
        m->at->file = map ? "special_tokens_map.json" : file;
    }
    KE_TRY(put_special(m, *config));
done:
    json_decref(map);
    json_decref(older);
    return st;
}

static ke_status drop_rowless(merging *m, const ke__tokenizer_texts *texts)
{
    json_t *config, *kept = NULL, *token;
    size_t i;
    ke_status st = root_of(m->at, &config, "config.json", texts->config);
    double n_rows = json_number_value(json_object_get(config, "vocab_size"));
    bool ok = st != KE_OK || n_rows <= 0 || (kept = json_array()) != NULL;
    json_array_foreach(kept ? m->list : NULL, i, token)
    {
        const char *text = json_string_value(json_object_get(token, "content"));
        if ((double)json_integer_value(json_object_get(token, "id")) < n_rows || !text ||
            json_object_get(m->vocab, text))
            ok = ok && json_array_append(kept, token) == 0;
    }
    if (kept && ok) {
        json_decref(m->list);
        m->list = kept;
    } else {
        json_decref(kept);
    }
    json_decref(config);
    return ok ? st : short_of_memory(m);
}

/* transformers sets this of a pre-tokenizer that has it, and false is what it is by
 * default. */
static ke_status set_prefix(const merging *m, json_t *root, const json_t *config)
{
    json_t *step = json_object_get(root, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(step, "type"));
    bool prefix = json_is_true(json_object_get(config, "add_prefix_space"));
    if (!config || !type || strcmp(type, "ByteLevel") != 0 ||
        ke__json_set(step, "add_prefix_space", json_boolean(prefix)))
        return KE_OK;
    return short_of_memory(m);
}

ke_status ke__added_read(ke__json_at *at, json_t **added, json_t **config, json_t *root,
                         const ke__tokenizer_texts *texts)
{
    ke_status st = KE_OK;
    merging m = {.at = at};
    const char *file = at->file;
    *added = *config = NULL;
    KE_TRY(take_own(&m, root));
    KE_TRY(put_beside(&m, config, texts));
    KE_TRY(drop_rowless(&m, texts));
    KE_TRY(set_prefix(&m, root, *config));
    at->file = file;
    *added = json_incref(m.list);
done:
    json_decref(m.list);
    json_decref(m.by_text);
    return st;
}
