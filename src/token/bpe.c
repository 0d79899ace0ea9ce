/* Byte-level BPE (tokenizer.ggml.model "gpt2"): a word's bytes are merged pair by pair, the
 * pair that comes first in the file's list first, and of equal pairs the leftmost. */
#include "token/regex.h"
#include "token/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define MERGES_KEY "tokenizer.ggml.merges"

typedef struct bpe {
    ke__splitter *splitter;
    bool ignore_merges;
    ke__merges merges;
    int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
    char *pieces;
} bpe;

typedef struct scratch {
    ke__merger merger;
    void *match;
    char *spelled; /* [2 * room] */
    size_t room;
    size_t n_words;
} scratch;

/* --- loading --------------------------------------------------------------------- */

static void find_bytes(bpe *b, const ke__vocab *v)
{
    for (unsigned c = 0; c < 256; c++) {
        char text[2];
        size_t bytes = ke__alphabet_spell(text, (uint8_t)c);
        b->byte_id[c] = ke__vocab_find(v, (ke__gguf_str){text, bytes});
    }
}

static ke_status load_merges(ke_ctx *cx, bpe *b, const ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    const ke__gguf_kv *kv = NULL;
    KE_TRY(ke__token_array(cx, g, MERGES_KEY, KE__GGUF_STRING, &kv));
    KE_TRY(ke__merges_reserve(cx, &b->merges, MERGES_KEY, kv->n));

    const uint8_t *at = kv->value;
    for (uint32_t i = 0; i < kv->n; i++) {
        ke__gguf_str s = ke__gguf_next_string(&at);
        const char *space = s.bytes > 2 ? memchr(s.data + 1, ' ', s.bytes - 2) : NULL;
        if (!space) {
            st = ke__fail(cx, KE_EFORMAT, MERGES_KEY,
                          "\"" MERGES_KEY
                          "\" item %u is \"%.*s\", expected two symbols with "
                          "a space between",
                          i, (int)(s.bytes < 40 ? s.bytes : 40), s.data);
            goto done;
        }
        ke__gguf_str left = {s.data, (uint64_t)(space - s.data)};
        ke__gguf_str right = {space + 1, s.bytes - left.bytes - 1};
        int32_t l = ke__vocab_find(v, left);
        int32_t r = ke__vocab_find(v, right);
        int32_t result = ke__vocab_find_pair(v, left, right);
        if (l < 0 || r < 0 || result < 0)
            continue; /* of a cut-down vocabulary: leads to no token */
        ke__merges_add(&b->merges, l, r, i, result);
    }
done:
    return st;
}

static ke_status load(ke_ctx *cx, ke_tokenizer *tok, const ke__gguf *g)
{
    ke_status st = KE_OK;
    bpe *b = NULL;
    ke__gguf_str pre;
    KE_TRY(ke__gguf_string(cx, g, "tokenizer.ggml.pre", &pre));
    if (!pre.data)
        pre = (ke__gguf_str){"default", strlen("default")};
    const ke__split *split = ke__split_find(pre);
    if (!split) {
        st = ke__fail(cx, KE_ENOTSUP, "tokenizer.ggml.pre",
                      "tokenizer.ggml.pre \"%.*s\" is not known; known are default, gpt-2, "
                      "smollm, llama-bpe, qwen2 and names for the same splits",
                      (int)(pre.bytes < 40 ? pre.bytes : 40), pre.data);
        goto done;
    }
    snprintf(tok->name, sizeof tok->name, "%s (%s)", tok->model->name, split->name);
    tok->add_bos = split->add_bos;

    KE_TRY(ke__alloc(cx, &b, 1, sizeof *b));
    tok->data = b;
    b->ignore_merges = split->ignore_merges;
    find_bytes(b, &tok->vocab);
    KE_TRY(load_merges(cx, b, &tok->vocab, g));
    KE_TRY(ke__pieces_load(cx, tok, &b->pieces, ke__alphabet_read, NULL));
    KE_TRY(ke__splitter_new(cx, &b->splitter, split));
done:
    return st;
}

static void unload(ke_ctx *cx, ke_tokenizer *tok)
{
    bpe *b = tok->data;
    if (!b)
        return;
    ke__splitter_free(cx, b->splitter);
    ke__merges_free(cx, &b->merges);
    ke__free(cx, b->pieces);
    ke__free(cx, b);
}

/* --- merging --------------------------------------------------------------------- */

static ke_status reserve(ke_ctx *cx, scratch *s, size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(ke__merger_reserve(cx, &s->merger, n));
    if (s->room < s->merger.room) {
        KE_TRY(ke__resize(cx, &s->spelled, s->merger.room, 2));
        s->room = s->merger.room;
    }
done:
    return st;
}

/* The token that is the whole word, or -1. */
static int32_t find_word(const ke_tokenizer *tok, char *spelled, const char *word, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += ke__alphabet_spell(spelled + bytes, (uint8_t)word[i]);
    return ke__vocab_find(&tok->vocab, (ke__gguf_str){spelled, bytes});
}

static ke_status encode_word(void *encoder, size_t from, size_t to)
{
    ke_status st = KE_OK;
    ke__encoder *e = encoder;
    const bpe *b = e->tok->data;
    scratch *s = e->scratch;
    uint32_t n = (uint32_t)(to - from);
    if ((++s->n_words & 0xFFF) == 0)
        KE_TRY(ke__check_cancel(e->cx));
    KE_TRY(reserve(e->cx, s, n));
    if (b->ignore_merges) {
        int32_t id = find_word(e->tok, s->spelled, e->text + from, n);
        if (id >= 0)
            return ke__encoder_push(e, id, to);
    }
    ke__symbol *symbols = s->merger.symbols;
    for (uint32_t i = 0; i < n; i++)
        symbols[i] = (ke__symbol){
            .id = b->byte_id[(uint8_t)e->text[from + i]], .prev = i - 1, .next = i + 1};
    KE_TRY(ke__merge_all(e->cx, &s->merger, n, ke__merges_find, &b->merges));
    /* A byte that the vocabulary lacks has no token: it is left out, as every reader of
     * such vocabularies does (SmolLM2 lacks 21 of the 256, of no use in UTF-8 text). */
    for (uint32_t i = 0; i < n; i = symbols[i].next)
        if (symbols[i].id >= 0)
            KE_TRY(ke__encoder_push(e, symbols[i].id, from + symbols[i].next));
done:
    return st;
}

static ke_status encode(ke__encoder *e, size_t from, size_t to)
{
    ke_status st = KE_OK;
    const bpe *b = e->tok->data;
    if (!e->scratch)
        KE_TRY(ke__alloc(e->cx, &e->scratch, 1, sizeof(scratch)));
    scratch *s = e->scratch;
    if (!s->match)
        KE_TRY(ke__regex_match_new(e->cx, &s->match));
    KE_TRY(
        ke__splitter_run(e->cx, b->splitter, s->match, e->text, from, to, encode_word, e));
done:
    return st;
}

static void free_scratch(ke__encoder *e)
{
    scratch *s = e->scratch;
    if (!s)
        return;
    ke__regex_match_free(s->match);
    ke__merger_free(e->cx, &s->merger);
    ke__free(e->cx, s->spelled);
    ke__free(e->cx, s);
}

const ke__token_model ke__token_bpe = {"gpt2", load, unload, encode, free_scratch};
