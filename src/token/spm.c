/* SentencePiece's BPE (tokenizer.ggml.model "llama"): characters are merged pair by pair,
 * the pair whose token has the highest score first, and of equal pairs the leftmost. Spaces
 * are written U+2581 in the vocabulary, and a character that is no token becomes one token
 * a byte. */
#include "token/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCORES_KEY "tokenizer.ggml.scores"
#define SPACE      "\xE2\x96\x81"
enum { SPACE_BYTES = 3 };

typedef struct spm {
    uint32_t *rank; /* [n] of a merge that makes the token; NULL: all alike */
    char *pieces;
    char byte[256];       /* each of them, as pieces of one */
    int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
    int32_t unknown;      /* or -1 */
} spm;

typedef struct scratch {
    ke__merger merger;
    char *text; /* [room] with SPACE for spaces */
    size_t room;
} scratch;

/* --- loading --------------------------------------------------------------------- */

/* The higher the score, the lower the rank. */
static uint32_t rank_of(float score)
{
    uint32_t bits;
    score += 0.0F; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits >> 31 ? bits : bits ^ 0x7FFFFFFFU;
}

static ke_status load_ranks(ke_ctx *cx, spm *s, size_t n, const ke__gguf *g)
{
    ke_status st = KE_OK;
    const ke__gguf_kv *kv = NULL;
    if (!ke__gguf_find(g, SCORES_KEY))
        return KE_OK;
    KE_TRY(ke__token_array(cx, g, SCORES_KEY, KE__GGUF_F32, &kv));
    if (kv->n != n) {
        st = ke__fail(cx, KE_EFORMAT, SCORES_KEY,
                      "\"" SCORES_KEY "\" has %llu items, expected %zu, one a token",
                      (unsigned long long)kv->n, n);
        goto done;
    }
    KE_TRY(ke__alloc(cx, &s->rank, n, sizeof *s->rank));
    for (size_t i = 0; i < n; i++) {
        float score;
        memcpy(&score, kv->value + i * sizeof score, sizeof score);
        if (isnan(score)) {
            st = ke__fail(cx, KE_EFORMAT, SCORES_KEY,
                          "\"" SCORES_KEY "\" item %zu is not a number", i);
            goto done;
        }
        s->rank[i] = rank_of(score);
    }
done:
    return st;
}

/* `text` with its spaces as they were, at `out`. */
static size_t unescape(char *out, const void *model, ke__gguf_str text)
{
    (void)model;
    size_t n = 0;
    for (uint64_t i = 0; i < text.bytes;) {
        bool space =
            text.bytes - i >= SPACE_BYTES && memcmp(text.data + i, SPACE, SPACE_BYTES) == 0;
        out[n++] = space ? ' ' : text.data[i];
        i += space ? SPACE_BYTES : 1;
    }
    return n;
}

static void find_bytes(spm *s, ke_tokenizer *tok)
{
    for (unsigned c = 0; c < 256; c++) {
        char text[sizeof "<0x00>"];
        snprintf(text, sizeof text, "<0x%02X>", c);
        int32_t id = ke__vocab_find(&tok->vocab, (ke__gguf_str){text, strlen(text)});
        s->byte[c] = (char)c;
        s->byte_id[c] = id;
        if (id >= 0 && (tok->vocab.flags[id] & KE__TOKEN_BYTE))
            tok->piece[id] = (ke__gguf_str){&s->byte[c], 1};
    }
}

static ke_status load(ke_ctx *cx, ke_tokenizer *tok, const ke__gguf *g)
{
    ke_status st = KE_OK;
    spm *s = NULL;
    snprintf(tok->name, sizeof tok->name, "%s (SentencePiece)", tok->model->name);
    tok->add_bos = true;
    KE_TRY(
        ke__gguf_bool(cx, g, "tokenizer.ggml.add_space_prefix", true, &tok->space_prefix));
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    tok->data = s;
    KE_TRY(
        ke__vocab_id(cx, &tok->vocab, g, "tokenizer.ggml.unknown_token_id", &s->unknown));
    KE_TRY(load_ranks(cx, s, tok->vocab.n, g));
    KE_TRY(ke__pieces_load(cx, tok, &s->pieces, unescape, s));
    find_bytes(s, tok);
done:
    return st;
}

static void unload(ke_ctx *cx, ke_tokenizer *tok)
{
    spm *s = tok->data;
    if (!s)
        return;
    ke__free(cx, s->rank);
    ke__free(cx, s->pieces);
    ke__free(cx, s);
}

/* --- encoding -------------------------------------------------------------------- */

/* A place in the text and the same place in what it became. */
typedef struct place {
    size_t text, escaped;
} place;

/* The byte of the text where the first `escaped` bytes of what it became end. */
static size_t advance(place *p, const char *text, size_t escaped)
{
    while (p->escaped < escaped)
        p->escaped += text[p->text++] == ' ' ? SPACE_BYTES : 1;
    return p->text;
}

/* text[from, to) with SPACE for its spaces, and one before it if the file wants that. */
static ke_status escape(ke__encoder *e, size_t from, size_t to, uint32_t *bytes)
{
    ke_status st = KE_OK;
    scratch *s = e->scratch;
    size_t room = to - from + SPACE_BYTES, n = 0;
    for (size_t i = from; i < to; i++)
        room += e->text[i] == ' ' ? SPACE_BYTES - 1 : 0;
    if (room > UINT32_MAX)
        return ke__fail(e->cx, KE_EINVAL, NULL,
                        "a text of %zu bytes with %d for a space, at most %u are possible",
                        room, SPACE_BYTES, UINT32_MAX);
    if (room > s->room) {
        KE_TRY(ke__resize(e->cx, &s->text, room, 1));
        s->room = room;
    }
    if (e->tok->space_prefix) {
        memcpy(s->text, SPACE, SPACE_BYTES);
        n = SPACE_BYTES;
    }
    for (size_t i = from; i < to; i++) {
        bool space = e->text[i] == ' ';
        memcpy(s->text + n, space ? SPACE : e->text + i, space ? SPACE_BYTES : 1);
        n += space ? SPACE_BYTES : 1;
    }
    *bytes = (uint32_t)n;
done:
    return st;
}

/* One symbol a character. The first byte alone says how long it is, whatever follows, as
 * in llama.cpp: so invalid UTF-8 becomes the same ids there and here. (A space that such a
 * byte takes along comes back as U+2581, there and here.) */
static void cut_characters(const ke__vocab *v, scratch *s, uint32_t n)
{
    static const uint8_t length[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    for (uint32_t i = 0, prev = 0, bytes; i < n; prev = i, i += bytes) {
        bytes = length[(uint8_t)s->text[i] >> 4];
        bytes = bytes < n - i ? bytes : n - i;
        s->merger.symbols[i] =
            (ke__symbol){.id = ke__vocab_find(v, (ke__gguf_str){s->text + i, bytes}),
                         .prev = prev,
                         .next = i + bytes};
    }
}

static bool find_merge(const void *encoder, const ke__symbol *symbols, ke__symbol *left)
{
    const ke__encoder *e = encoder;
    const scratch *s = e->scratch;
    const spm *data = e->tok->data;
    size_t from = (size_t)(left - symbols);
    ke__gguf_str text = {s->text + from, symbols[left->next].next - from};
    left->result = ke__vocab_find(&e->tok->vocab, text);
    if (left->result < 0)
        return false;
    left->rank = data->rank ? data->rank[left->result] : 0;
    return true;
}

/* A character that is no token: its bytes, or unknown if the vocabulary lacks any. */
static ke_status push_bytes(ke__encoder *e, place *p, uint32_t from, uint32_t to)
{
    ke_status st = KE_OK;
    const scratch *s = e->scratch;
    const spm *data = e->tok->data;
    bool all = true;
    for (uint32_t i = from; i < to; i++)
        all = all && data->byte_id[(uint8_t)s->text[i]] >= 0;
    for (uint32_t i = from; all && i < to; i++)
        KE_TRY(ke__encoder_push(e, data->byte_id[(uint8_t)s->text[i]],
                                advance(p, e->text, i + 1)));
    if (!all && data->unknown >= 0)
        KE_TRY(ke__encoder_push(e, data->unknown, advance(p, e->text, to)));
done:
    return st;
}

static ke_status encode(ke__encoder *e, size_t from, size_t to)
{
    ke_status st = KE_OK;
    uint32_t n = 0;
    if (!e->scratch)
        KE_TRY(ke__alloc(e->cx, &e->scratch, 1, sizeof(scratch)));
    scratch *s = e->scratch;
    KE_TRY(escape(e, from, to, &n));
    KE_TRY(ke__merger_reserve(e->cx, &s->merger, n));
    cut_characters(&e->tok->vocab, s, n);
    KE_TRY(ke__merge_all(e->cx, &s->merger, n, find_merge, e));

    place p = {from, e->tok->space_prefix ? SPACE_BYTES : 0};
    const ke__symbol *symbols = s->merger.symbols;
    for (uint32_t i = 0; i < n; i = symbols[i].next) {
        if (symbols[i].id >= 0)
            KE_TRY(
                ke__encoder_push(e, symbols[i].id, advance(&p, e->text, symbols[i].next)));
        else
            KE_TRY(push_bytes(e, &p, i, symbols[i].next));
    }
done:
    return st;
}

static void free_scratch(ke__encoder *e)
{
    scratch *s = e->scratch;
    if (!s)
        return;
    ke__merger_free(e->cx, &s->merger);
    ke__free(e->cx, s->text);
    ke__free(e->cx, s);
}

const ke__token_model ke__token_spm = {"llama", load, unload, encode, free_scratch};
