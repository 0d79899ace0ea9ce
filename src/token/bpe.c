/* Byte-level BPE (tokenizer.ggml.model "gpt2"): a word's bytes are merged pair by pair, the
 * pair that comes first in the file's list first, and of equal pairs the leftmost. */
#include "token/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define MERGES_KEY "tokenizer.ggml.merges"

/* Vocabularies write bytes as printable characters: those that print in Latin-1 stand for
 * themselves, the others are numbered from U+0100 on. */
enum { ALPHABET_END = 0x144 }; /* 0x100 + the 68 that don't print */

typedef struct merge {
    uint32_t left, right; /* ids */
    uint32_t rank_plus_1; /* place in the file's list; 0: an empty slot */
    int32_t result;
} merge;

typedef struct bpe {
    ke__splitter *splitter;
    bool ignore_merges;
    merge *merges; /* [mask + 1], open addressing */
    size_t mask;
    int32_t byte_id[256];       /* -1: the vocabulary has no token for this byte */
    uint16_t character[256];    /* code point that stands for a byte */
    int16_t byte[ALPHABET_END]; /* and back; -1: stands for none */
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

static void fill_alphabet(bpe *b)
{
    uint16_t next = 0x100;
    memset(b->byte, 0xFF, sizeof b->byte);
    for (unsigned c = 0; c < 256; c++) {
        bool prints = (c > 0x20 && c < 0x7F) || (c > 0xA0 && c != 0xAD);
        b->character[c] = prints ? (uint16_t)c : next++;
        b->byte[b->character[c]] = (int16_t)c;
    }
}

/* UTF-8 of the character that stands for a byte: one or two bytes. */
static size_t spell(char *out, const bpe *b, uint8_t byte)
{
    uint16_t c = b->character[byte];
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

static void find_bytes(bpe *b, const ke__vocab *v)
{
    for (unsigned c = 0; c < 256; c++) {
        char text[2];
        size_t bytes = spell(text, b, (uint8_t)c);
        b->byte_id[c] = ke__vocab_find(v, (ke__gguf_str){text, bytes});
    }
}

static merge *merge_slot(const bpe *b, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15U;
    for (size_t i = h >> 32;; i++) {
        merge *m = &b->merges[i & b->mask];
        if (m->rank_plus_1 == 0 || (m->left == left && m->right == right))
            return m;
    }
}

static ke_status load_merges(ke_ctx *cx, bpe *b, const ke__vocab *v, const ke__gguf *g)
{
    ke_status st = KE_OK;
    const ke__gguf_kv *kv = NULL;
    size_t slots = 0;
    KE_TRY(ke__token_array(cx, g, MERGES_KEY, KE__GGUF_STRING, &kv));
    KE_TRY(ke__table_room(cx, MERGES_KEY, kv->n, &slots));
    KE_TRY(ke__alloc(cx, &b->merges, slots, sizeof *b->merges));
    b->mask = slots - 1;

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
        merge *m = merge_slot(b, (uint32_t)l, (uint32_t)r);
        if (m->rank_plus_1 == 0)
            *m = (merge){(uint32_t)l, (uint32_t)r, i + 1, result};
    }
done:
    return st;
}

/* The bytes that `text` spells, at `out`; a character outside the alphabet is kept. */
static size_t unspell(char *out, const void *model, ke__gguf_str text)
{
    const bpe *b = model;
    size_t n = 0;
    for (uint64_t i = 0; i < text.bytes; i++) {
        uint8_t c = (uint8_t)text.data[i];
        unsigned code = c;
        if (c >= 0xC2 && c < 0xE0 && i + 1 < text.bytes &&
            (text.data[i + 1] & 0xC0) == 0x80)
            code = (c & 0x1FU) << 6 | (text.data[i + 1] & 0x3FU);
        else if (c >= 0x80)
            code = ALPHABET_END;
        bool known = code < ALPHABET_END && b->byte[code] >= 0;
        out[n++] = known ? (char)b->byte[code] : (char)c;
        i += known && code >= 0x80;
    }
    return n;
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
    fill_alphabet(b);
    find_bytes(b, &tok->vocab);
    KE_TRY(load_merges(cx, b, &tok->vocab, g));
    KE_TRY(ke__pieces_load(cx, tok, &b->pieces, unspell, b));
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
    ke__free(cx, b->merges);
    ke__free(cx, b->pieces);
    ke__free(cx, b);
}

/* --- merging --------------------------------------------------------------------- */

static bool find_merge(const void *bpe_data, const ke__symbol *symbols, ke__symbol *left)
{
    const bpe *b = bpe_data;
    int32_t l = left->id, r = symbols[left->next].id;
    if (l < 0 || r < 0)
        return false;
    const merge *m = merge_slot(b, (uint32_t)l, (uint32_t)r);
    if (m->rank_plus_1 == 0)
        return false;
    left->rank = m->rank_plus_1 - 1;
    left->result = m->result;
    return true;
}

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
        bytes += spell(spelled + bytes, tok->data, (uint8_t)word[i]);
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
    KE_TRY(ke__merge_all(e->cx, &s->merger, n, find_merge, b));
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
        KE_TRY(ke__split_match_new(e->cx, &s->match));
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
    ke__split_match_free(s->match);
    ke__merger_free(e->cx, &s->merger);
    ke__free(e->cx, s->spelled);
    ke__free(e->cx, s);
}

const ke__token_model ke__token_bpe = {"gpt2", load, unload, encode, free_scratch};
