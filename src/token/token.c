/* Tokenizers: which model a file has, special tokens, BOS and EOS, and the way back. */
#include "token/tokenizer.h"

#include <ctype.h>
#include <string.h>

static const ke__token_model *const models[] = {
    &ke__token_bpe,
    &ke__token_spm,
};

/* --- opening --------------------------------------------------------------------- */

static ke_status pick_model(ke_ctx *cx, ke_tokenizer *tok, const ke__gguf *g)
{
    static const char key[] = "tokenizer.ggml.model";
    ke__gguf_str name;
    ke_status st = ke__gguf_string(cx, g, key, &name);
    if (st != KE_OK)
        return st;
    if (!name.data)
        return ke__fail(cx, KE_EFORMAT, key, "metadata key \"%s\" is missing", key);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strlen(models[i]->name) == name.bytes &&
            memcmp(models[i]->name, name.data, name.bytes) == 0) {
            tok->model = models[i];
            return KE_OK;
        }
    }
    return ke__fail(cx, KE_ENOTSUP, key,
                    "tokenizer.ggml.model \"%.*s\" is not known; known are gpt2 and llama",
                    (int)(name.bytes < 40 ? name.bytes : 40), name.data);
}

/* BOS or EOS: its id, and whether it is added, by default as the model has set *add. */
static ke_status load_mark(ke_ctx *cx, const ke_tokenizer *tok, const ke__gguf *g,
                           const char *id_key, const char *add_key, int32_t *id, bool *add)
{
    ke_status st = KE_OK;
    KE_TRY(ke__vocab_id(cx, &tok->vocab, g, id_key, id));
    KE_TRY(ke__gguf_bool(cx, g, add_key, *add, add));
    if (*add && *id < 0)
        st = ke__fail(cx, KE_EFORMAT, id_key,
                      "metadata key \"%s\" is missing, but the token is to be added",
                      id_key);
done:
    return st;
}

ke_status ke__tokenizer_from_gguf(ke_ctx *cx, ke_tokenizer **out, const ke__gguf *g)
{
    ke_status st = KE_OK;
    ke_tokenizer *tok = NULL;
    *out = NULL;

    KE_TRY(ke__alloc(cx, &tok, 1, sizeof *tok));
    KE_TRY(pick_model(cx, tok, g));
    KE_TRY(ke__vocab_load(cx, &tok->vocab, g));
    KE_TRY(tok->model->load(cx, tok, g));
    KE_TRY(load_mark(cx, tok, g, "tokenizer.ggml.bos_token_id",
                     "tokenizer.ggml.add_bos_token", &tok->bos, &tok->add_bos));
    KE_TRY(load_mark(cx, tok, g, "tokenizer.ggml.eos_token_id",
                     "tokenizer.ggml.add_eos_token", &tok->eos, &tok->add_eos));
done:
    if (st == KE_OK)
        *out = tok;
    else
        ke__tokenizer_free(cx, tok);
    return st;
}

void ke__tokenizer_free(ke_ctx *cx, ke_tokenizer *tok)
{
    if (!tok)
        return;
    if (tok->model)
        tok->model->free(cx, tok);
    ke__free(cx, tok->piece);
    ke__vocab_free(cx, &tok->vocab);
    ke__free(cx, tok);
}

size_t ke__tokenizer_size(const ke_tokenizer *tok)
{
    return tok->vocab.n;
}

const char *ke__tokenizer_name(const ke_tokenizer *tok)
{
    return tok->name;
}

void ke__tokenizer_drop_bos(ke_tokenizer *tok)
{
    tok->bos_dropped = true;
}

bool ke__tokenizer_bos_dropped(const ke_tokenizer *tok)
{
    return tok->bos_dropped;
}

int32_t ke_tokenizer_bos(const ke_tokenizer *tok)
{
    return tok->bos;
}

int32_t ke_tokenizer_eos(const ke_tokenizer *tok)
{
    return tok->eos;
}

bool ke_tokenizer_is_end(const ke_tokenizer *tok, int32_t id)
{
    return id >= 0 && (size_t)id < tok->vocab.n && (tok->vocab.flags[id] & KE__TOKEN_END);
}

bool ke__token_is_special(const ke_tokenizer *tok, int32_t id)
{
    return id >= 0 && (size_t)id < tok->vocab.n &&
           ke__vocab_special(&tok->vocab, (size_t)id);
}

/* --- special tokens in a text ---------------------------------------------------- */

/* Bytes [from, to) of a text: one special token, or plain text (id -1). */
typedef struct fragment {
    size_t from, to;
    int32_t id;
} fragment;

typedef struct fragments {
    fragment *at; /* [room] */
    size_t n, room;
} fragments;

static ke_status add_fragment(ke_ctx *cx, fragments *f, size_t from, size_t to, int32_t id)
{
    ke_status st = KE_OK;
    if (from == to)
        return KE_OK;
    if (f->n == f->room) {
        size_t room = f->room ? 2 * f->room : 16;
        KE_TRY(ke__resize(cx, &f->at, room, sizeof *f->at));
        f->room = room;
    }
    f->at[f->n++] = (fragment){from, to, id};
done:
    return st;
}

static const char *find(const char *text, size_t from, size_t to, ke__gguf_str what)
{
    return memmem(text + from, to - from, what.data, what.bytes);
}

static bool is_space(char c)
{
    return isspace((unsigned char)c);
}

/* Append fragment f to `out`, cut at every occurrence of token `id`. */
static ke_status cut_fragment(ke_ctx *cx, fragments *out, const ke__vocab *v, int32_t id,
                              const char *text, fragment f)
{
    ke_status st = KE_OK;
    ke__gguf_str what = v->text[id];
    const char *hit;
    while (f.id < 0 && (hit = find(text, f.from, f.to, what)) != NULL) {
        size_t from = (size_t)(hit - text), to = from + what.bytes;
        while ((v->flags[id] & KE__TOKEN_LSTRIP) && from > f.from &&
               is_space(text[from - 1]))
            from--;
        while ((v->flags[id] & KE__TOKEN_RSTRIP) && to < f.to && is_space(text[to]))
            to++;
        KE_TRY(add_fragment(cx, out, f.from, from, -1));
        KE_TRY(add_fragment(cx, out, from, to, id));
        f.from = to;
    }
    KE_TRY(add_fragment(cx, out, f.from, f.to, f.id));
done:
    return st;
}

/* Cut a text at its special tokens. A longer token wins wherever it stands, so one token
 * after the other is looked for in what the earlier ones have left. */
static ke_status cut_special(ke_ctx *cx, fragments *out, const ke__vocab *v,
                             const char *text, size_t bytes, bool control)
{
    ke_status st = KE_OK;
    fragments spare = {NULL, 0, 0};
    bool has[256] = {false};
    KE_TRY(add_fragment(cx, out, 0, bytes, -1));
    for (size_t i = 0; i < bytes; i++)
        has[(uint8_t)text[i]] = true;
    for (size_t i = 0; i < v->n_special; i++) {
        int32_t id = v->special[i];
        if ((v->flags[id] & KE__TOKEN_CONTROL) && !control)
            continue;
        if (!has[(uint8_t)v->text[id].data[0]] || !find(text, 0, bytes, v->text[id]))
            continue;
        KE_TRY(ke__check_cancel(cx));
        spare.n = 0;
        for (size_t k = 0; k < out->n; k++)
            KE_TRY(cut_fragment(cx, &spare, v, id, text, out->at[k]));
        fragments swap = *out;
        *out = spare;
        spare = swap;
    }
done:
    ke__free(cx, spare.at);
    return st;
}

/* --- there and back -------------------------------------------------------------- */

ke_status ke__encoder_push(ke__encoder *e, int32_t id, size_t end)
{
    ke_status st = KE_OK;
    if (e->n == e->room) {
        size_t room = e->room + e->room / 2 + 16;
        KE_TRY(ke__resize(e->cx, &e->ids, room, sizeof *e->ids));
        KE_TRY(ke__resize(e->cx, &e->ends, room, sizeof *e->ends));
        e->room = room;
    }
    e->ids[e->n] = id;
    e->ends[e->n++] = end;
done:
    return st;
}

ke_status ke__tokenize_spans(ke_ctx *cx, int32_t **ids, size_t **ends, size_t *n_ids,
                             const ke_tokenizer *tok, const char *text, size_t bytes,
                             unsigned flags)
{
    ke_status st = KE_OK;
    bool special = flags & KE_TOK_PARSE_SPECIAL;
    ke__encoder e = {.cx = cx, .tok = tok, .text = text, .special = special};
    fragments parts = {NULL, 0, 0};
    *ids = NULL;
    *n_ids = 0;
    if (ends)
        *ends = NULL;
    if (bytes > INT32_MAX)
        return ke__fail(cx, KE_EINVAL, NULL, "a text of %zu bytes, at most %d are possible",
                        bytes, INT32_MAX);

    e.room = bytes / 4 + 16;
    KE_TRY(ke__alloc(cx, &e.ids, e.room, sizeof *e.ids));
    KE_TRY(ke__alloc(cx, &e.ends, e.room, sizeof *e.ends));
    if (tok->model->whole)
        KE_TRY(add_fragment(cx, &parts, 0, bytes, -1));
    else
        KE_TRY(cut_special(cx, &parts, &tok->vocab, text, bytes, special));
    if ((flags & KE_TOK_ADD_BOS) && tok->add_bos && !tok->bos_dropped)
        KE_TRY(ke__encoder_push(&e, tok->bos, 0));
    for (size_t i = 0; i < parts.n; i++) {
        const fragment *f = &parts.at[i];
        if (f->id < 0)
            KE_TRY(tok->model->encode(&e, f->from, f->to));
        else
            KE_TRY(ke__encoder_push(&e, f->id, f->to));
    }
    if ((flags & KE_TOK_ADD_EOS) && tok->add_eos)
        KE_TRY(ke__encoder_push(&e, tok->eos, bytes));

    *ids = e.ids;
    *n_ids = e.n;
    e.ids = NULL;
    if (ends) {
        *ends = e.ends;
        e.ends = NULL;
    }
done:
    tok->model->free_scratch(&e);
    ke__free(cx, parts.at);
    ke__free(cx, e.ids);
    ke__free(cx, e.ends);
    return st;
}

ke_status ke_tokenize(ke_ctx *cx, int32_t **ids, size_t *n_ids, const ke_tokenizer *tok,
                      const char *text, size_t bytes, unsigned flags)
{
    return ke__tokenize_spans(cx, ids, NULL, n_ids, tok, text, bytes, flags);
}

ke_status ke__token_bytes(ke_ctx *cx, const ke_tokenizer *tok, int32_t id,
                          const char **data, size_t *bytes)
{
    if (id < 0 || (size_t)id >= tok->vocab.n)
        return ke__fail(cx, KE_EINVAL, NULL, "token id %d, expected 0 to %zu", id,
                        tok->vocab.n - 1);
    *data = tok->piece[id].data;
    *bytes = (size_t)tok->piece[id].bytes;
    return KE_OK;
}

ke_status ke_detokenize(ke_ctx *cx, char **text, size_t *bytes, const ke_tokenizer *tok,
                        const int32_t *ids, size_t n_ids)
{
    ke_status st = KE_OK;
    ke__text t = {NULL, 0, 0};
    bool drop_space = tok->space_prefix; /* the next token begins a stretch of plain text */
    *text = NULL;
    *bytes = 0;
    KE_TRY(ke__text_add(cx, &t, "", 0));
    for (size_t i = 0; i < n_ids; i++) {
        const char *data = NULL;
        size_t n = 0;
        KE_TRY(ke__token_bytes(cx, tok, ids[i], &data, &n));
        bool special = ke__vocab_special(&tok->vocab, (size_t)ids[i]);
        size_t skip = drop_space && !special && n > 0 && data[0] == ' ';
        KE_TRY(ke__text_add(cx, &t, data + skip, n - skip));
        drop_space = tok->space_prefix && special && (i == 0 || !tok->prefix_once);
    }
    *text = t.data;
    *bytes = t.bytes;
    t.data = NULL;
done:
    ke__free(cx, t.data);
    return st;
}

ke_status ke__pieces_load(ke_ctx *cx, ke_tokenizer *tok, char **pieces, ke__piece_fn *read,
                          const void *model)
{
    ke_status st = KE_OK;
    const ke__vocab *v = &tok->vocab;
    size_t room = 0; /* no overflow: all the strings lie in one file */
    for (size_t i = 0; i < v->n; i++)
        room += v->text[i].bytes;
    KE_TRY(ke__alloc(cx, pieces, room, 1));
    KE_TRY(ke__alloc(cx, &tok->piece, v->n, sizeof *tok->piece));
    char *out = *pieces;
    for (size_t i = 0; i < v->n; i++) {
        tok->piece[i] = v->text[i];
        if (v->flags[i] & KE__TOKEN_RAW)
            continue;
        tok->piece[i] = (ke__gguf_str){out, read(out, model, v->text[i])};
        out += tok->piece[i].bytes;
    }
done:
    return st;
}
