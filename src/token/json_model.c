/* tokenizer.json's way from a text to ids: added tokens are cut out, the rest is
 * normalised, cut into pieces, and the characters of a piece are merged. */
#include "token/json_model.h"

#include "base/utf8.h"

#include <string.h>

typedef struct scratch {
    ke__merger merger;
    void *match;
    ke__pieces text, spare;
    size_t *end; /* [room] byte of the pieces' text where a symbol ends */
    size_t room;
} scratch;

static ke_status reserve(ke_ctx *cx, scratch *s, size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(ke__merger_reserve(cx, &s->merger, n));
    if (s->room < s->merger.room) {
        KE_TRY(ke__resize(cx, &s->end, s->merger.room, sizeof *s->end));
        s->room = s->merger.room;
    }
done:
    return st;
}

static void add_symbol(scratch *s, uint32_t *n, int32_t id, size_t end)
{
    s->merger.symbols[*n] = (ke__symbol){.id = id, .prev = *n - 1, .next = *n + 1};
    s->end[(*n)++] = end;
}

static bool has_bytes(const ke__json_model *m, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (m->byte_id[(uint8_t)text[i]] < 0)
            return false;
    return m->byte_fallback;
}

/* One symbol a character, numbered in a row: how many. What is no token and has no bytes
 * either leaves no gap, so its neighbours may merge. */
static uint32_t cut_characters(const ke_tokenizer *tok, scratch *s, size_t from, size_t to)
{
    const ke__json_model *m = tok->data;
    const char *text = s->text.text;
    uint32_t n = 0;
    bool was_unknown = false;
    for (size_t at = from, bytes; at < to; at += bytes) {
        bytes = ke__utf8_char(text + at, to - at);
        bytes += bytes == 0; /* a byte that is not UTF-8 stands alone */
        int32_t id = ke__vocab_find(&tok->vocab, (ke__gguf_str){text + at, bytes});
        bool fused = was_unknown && m->fuse_unknown;
        was_unknown = false;
        if (id >= 0) {
            add_symbol(s, &n, id, at + bytes);
        } else if (has_bytes(m, text + at, bytes)) {
            for (size_t i = 0; i < bytes; i++)
                add_symbol(s, &n, m->byte_id[(uint8_t)text[at + i]], at + i + 1);
        } else if (m->unknown >= 0) {
            was_unknown = true;
            if (fused)
                s->end[n - 1] = at + bytes;
            else
                add_symbol(s, &n, m->unknown, at + bytes);
        }
    }
    return n;
}

static ke_status encode_piece(ke__encoder *e, size_t from, size_t to)
{
    ke_status st = KE_OK;
    scratch *s = e->scratch;
    const ke__json_model *m = e->tok->data;
    const size_t *ends = s->text.ends;
    if (m->ignore_merges) {
        ke__gguf_str whole = {s->text.text + from, to - from};
        int32_t id = ke__vocab_find(&e->tok->vocab, whole);
        if (id >= 0)
            return ke__encoder_push(e, id, ends[to - 1]);
    }
    if (to - from > INT32_MAX)
        return ke__fail(e->cx, KE_EINVAL, NULL,
                        "a word of %zu bytes after normalisation, at most %d are possible",
                        to - from, INT32_MAX);
    KE_TRY(reserve(e->cx, s, to - from));
    uint32_t n = cut_characters(e->tok, s, from, to);
    KE_TRY(ke__merge_all(e->cx, &s->merger, n, ke__merges_find, &m->merges));
    const ke__symbol *symbols = s->merger.symbols;
    for (uint32_t i = 0; i < n; i = symbols[i].next)
        KE_TRY(ke__encoder_push(e, symbols[i].id, ends[s->end[symbols[i].next - 1] - 1]));
done:
    return st;
}

static ke_status encode(ke__encoder *e, size_t from, size_t to)
{
    ke_status st = KE_OK;
    const ke__json_model *m = e->tok->data;
    (void)from; /* the whole text */
    KE_TRY(ke__alloc(e->cx, &e->scratch, 1, sizeof(scratch)));
    scratch *s = e->scratch;
    KE_TRY(ke__regex_match_new(e->cx, &s->match));
    KE_TRY(ke__pieces_start(e->cx, &s->text, e->text, to));
    KE_TRY(ke__added_cut(e->cx, &m->raw, e->special, &s->text, &s->spare));
    KE_TRY(ke__steps_run(e->cx, &m->normalizer, s->match, &s->text, &s->spare));
    KE_TRY(ke__added_cut(e->cx, &m->normal, e->special, &s->text, &s->spare));
    KE_TRY(ke__steps_run(e->cx, &m->pre_tokenizer, s->match, &s->text, &s->spare));
    for (size_t i = 0; i < s->text.n; i++) {
        const ke__stretch *piece = &s->text.piece[i];
        if (i % 4096 == 4095)
            KE_TRY(ke__check_cancel(e->cx));
        if (piece->id >= 0)
            KE_TRY(ke__encoder_push(e, piece->id, s->text.ends[piece->to - 1]));
        else
            KE_TRY(encode_piece(e, piece->from, piece->to));
    }
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
    ke__pieces_free(e->cx, &s->text);
    ke__pieces_free(e->cx, &s->spare);
    ke__free(e->cx, s->end);
    ke__free(e->cx, s);
}

static void unload(ke_ctx *cx, ke_tokenizer *tok)
{
    ke__json_model *m = tok->data;
    if (!m)
        return;
    ke__steps_free(cx, &m->normalizer);
    ke__steps_free(cx, &m->pre_tokenizer);
    ke__merges_free(cx, &m->merges);
    ke__free(cx, m->raw.item);
    ke__free(cx, m->normal.item);
    ke__free(cx, m->normal_text.data);
    ke__free(cx, m->strings);
    ke__free(cx, m->pieces);
    ke__free(cx, m);
}

const ke__token_model ke__token_json = {.name = "tokenizer.json",
                                        .free = unload,
                                        .encode = encode,
                                        .free_scratch = free_scratch,
                                        .whole = true};
