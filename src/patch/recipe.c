/* The way back from an edited file: the base file as pieces of the edited one, and a
 * literal for what the edit replaced. Nothing but match_gguf() knows a file format: it
 * says where in the edited file a range of the base should be found again. */
#include "patch/kinds.h"
#include "patch/pairs.h"

#include <stdlib.h>
#include <string.h>

/* A shorter run of equal bytes amid changed ones costs more as a piece than as literal. */
#define MIN_RUN 256

/* The base's bytes [base, base + bytes) should stand at `edited` in the edited file. */
struct match {
    uint64_t base, edited, bytes;
};
struct matches {
    struct match *items;
    size_t n, room;
};

void ke__recipe_free(ke_ctx *cx, ke__recipe *recipe)
{
    ke__free(cx, recipe->pieces);
    ke__free(cx, recipe->literal);
    *recipe = (ke__recipe){0};
}

ke_status ke__recipe_check(ke_ctx *cx, const ke__recipe *recipe, uint64_t edited_bytes,
                           uint64_t *total)
{
    uint64_t sum = 0, most = 0;

    if (__builtin_add_overflow(edited_bytes, recipe->literal_bytes, &most))
        most = UINT64_MAX;
    for (size_t i = 0; i < recipe->n_pieces; i++) {
        const ke__piece *piece = &recipe->pieces[i];
        uint64_t room = piece->source == 0 ? recipe->literal_bytes : edited_bytes;
        if (piece->source > 1 || piece->offset > room ||
            piece->bytes > room - piece->offset)
            return ke__fail(cx, KE_EFORMAT, "undo",
                            "piece %zu: %llu bytes at %llu of source %llu, which has %llu",
                            i, (unsigned long long)piece->bytes,
                            (unsigned long long)piece->offset,
                            (unsigned long long)piece->source,
                            (unsigned long long)(piece->source > 1 ? 0 : room));
        /* No byte is needed twice, so a small patch can't ask for a huge file. */
        if (__builtin_add_overflow(sum, piece->bytes, &sum) || sum > most)
            return ke__fail(cx, KE_EFORMAT, "undo",
                            "piece %zu: more than the %llu bytes that there are", i,
                            (unsigned long long)most);
    }
    *total = sum;
    return KE_OK;
}

/* --- building ---------------------------------------------------------------------- */

struct builder {
    const ke__map *base, *edited;
    ke__recipe recipe;
    size_t pieces_room;
    size_t literal_room;
    uint64_t done; /* bytes of the base that the pieces give so far */
};

static ke_status add_piece(ke_ctx *cx, struct builder *b, uint64_t source, uint64_t offset,
                           uint64_t bytes)
{
    ke_status st = KE_OK;
    ke__recipe *r = &b->recipe;
    ke__piece *last = r->n_pieces ? &r->pieces[r->n_pieces - 1] : NULL;

    b->done += bytes;
    if (last && last->source == source && last->offset + last->bytes == offset) {
        last->bytes += bytes;
        goto done;
    }
    if (r->n_pieces == b->pieces_room) {
        size_t room = b->pieces_room ? 2 * b->pieces_room : 16;
        KE_TRY(ke__resize(cx, &r->pieces, room, sizeof *r->pieces));
        b->pieces_room = room;
    }
    r->pieces[r->n_pieces++] = (ke__piece){source, offset, bytes};
done:
    return st;
}

/* The next bytes of the base, kept here. */
static ke_status add_literal(ke_ctx *cx, struct builder *b, uint64_t bytes)
{
    ke_status st = KE_OK;
    ke__recipe *r = &b->recipe;
    uint64_t at = r->literal_bytes;

    if (bytes == 0)
        goto done;
    if (at + bytes > b->literal_room) {
        size_t room = at + bytes > 2 * b->literal_room ? at + bytes : 2 * b->literal_room;
        KE_TRY(ke__resize(cx, &r->literal, room, 1));
        b->literal_room = room;
    }
    memcpy(r->literal + at, b->base->data + b->done, bytes);
    r->literal_bytes += bytes;
    KE_TRY(add_piece(cx, b, 0, at, bytes));
done:
    return st;
}

static uint64_t common_prefix(const uint8_t *a, const uint8_t *b, uint64_t n)
{
    enum { STRIDE = 4096 };
    uint64_t i = 0;

    while (n - i >= STRIDE && memcmp(a + i, b + i, STRIDE) == 0)
        i += STRIDE;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* The range of a match: what is equal there becomes pieces, the rest literal. */
static ke_status add_match(ke_ctx *cx, struct builder *b, const struct match *m)
{
    ke_status st = KE_OK;

    for (uint64_t at = 0; at < m->bytes;) {
        uint64_t left = m->bytes - at;
        uint64_t run = common_prefix(b->base->data + m->base + at,
                                     b->edited->data + m->edited + at, left);
        if (run >= MIN_RUN || run == left) {
            KE_TRY(add_piece(cx, b, 1, m->edited + at, run));
        } else {
            run++; /* with the byte that differs */
            KE_TRY(add_literal(cx, b, run));
        }
        at += run;
    }
done:
    return st;
}

static int by_base(const void *va, const void *vb)
{
    const struct match *a = va, *b = vb;

    return (a->base > b->base) - (a->base < b->base);
}

/* Cover the base by the matches, as far as they lie within both files and do not overlap,
 * and by literal between them. */
static ke_status build(ke_ctx *cx, struct builder *b, struct matches *list)
{
    ke_status st = KE_OK;

    qsort(list->items, list->n, sizeof *list->items, by_base);
    for (size_t i = 0; i < list->n; i++) {
        struct match m = list->items[i];
        if (m.base < b->done || m.base > b->base->bytes || m.edited > b->edited->bytes)
            continue;
        if (m.bytes > b->base->bytes - m.base)
            m.bytes = b->base->bytes - m.base;
        if (m.bytes > b->edited->bytes - m.edited)
            m.bytes = b->edited->bytes - m.edited;
        KE_TRY(ke__progress(cx, "recording the way back", b->done, b->base->bytes));
        KE_TRY(add_literal(cx, b, m.base - b->done));
        KE_TRY(add_match(cx, b, &m));
    }
    KE_TRY(add_literal(cx, b, b->base->bytes - b->done));
done:
    return st;
}

/* --- GGUF -------------------------------------------------------------------------- */

static ke_status add(ke_ctx *cx, struct matches *list, uint64_t base, uint64_t edited,
                     uint64_t bytes)
{
    ke_status st = KE_OK;

    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 64;
        KE_TRY(ke__resize(cx, &list->items, room, sizeof *list->items));
        list->room = room;
    }
    list->items[list->n++] = (struct match){base, edited, bytes};
done:
    return st;
}

/* Each tensor's data and what pads it, up to the next tensor's data or the file's end. */
static ke_status match_tensors(ke_ctx *cx, struct matches *list, const ke__gguf *base,
                               const ke__gguf *edited)
{
    ke_status st = KE_OK;
    uint64_t end = base->map.bytes;

    for (size_t rank = base->n_tensors; rank-- > 0;) {
        const ke__tensor *t = &base->tensors[base->by_offset[rank]];
        ptrdiff_t twin = ke__gguf_tensor(edited, t->name);
        if (twin >= 0)
            KE_TRY(add(cx, list, t->offset, edited->tensors[twin].offset, end - t->offset));
        end = t->offset;
    }
done:
    return st;
}

/* The file's fixed head, each metadata key, the tensor infos, each tensor. */
static ke_status match_gguf(ke_ctx *cx, struct matches *list, const ke__gguf *base,
                            const ke__gguf *edited)
{
    ke_status st = KE_OK;
    ptrdiff_t *twin = NULL;

    KE_TRY(ke__pair_keys(cx, &twin, base, edited));
    KE_TRY(add(cx, list, 0, 0, base->n_kvs ? base->kvs[0].offset : base->infos_offset));
    for (size_t i = 0; i < base->n_kvs; i++) {
        const ke__gguf_kv *kv = &base->kvs[i];
        if (twin[i] >= 0)
            KE_TRY(add(cx, list, kv->offset, edited->kvs[twin[i]].offset, kv->bytes));
    }
    KE_TRY(add(cx, list, base->infos_offset, edited->infos_offset,
               base->data_offset - base->infos_offset));
    KE_TRY(match_tensors(cx, list, base, edited));
done:
    ke__free(cx, twin);
    return st;
}

/* --- the whole --------------------------------------------------------------------- */

static ke_status check_gives_back(ke_ctx *cx, const ke__recipe *r, const ke__map *base,
                                  const ke__map *edited)
{
    ke_status st = KE_OK;
    uint64_t at = 0, total = 0;

    KE_TRY(ke__recipe_check(cx, r, edited->bytes, &total));
    bool same = total == base->bytes;
    for (size_t i = 0; same && i < r->n_pieces; i++) {
        const ke__piece *piece = &r->pieces[i];
        const uint8_t *from = piece->source == 0 ? r->literal : edited->data;
        for (uint64_t n = 0, done = 0; same && done < piece->bytes; done += n, at += n) {
            n = piece->bytes - done < KE__STEP_BYTES ? piece->bytes - done : KE__STEP_BYTES;
            KE_TRY(ke__progress(cx, "checking the way back", at, total));
            same = memcmp(base->data + at, from + piece->offset + done, n) == 0;
        }
    }
    KE_TRY(ke__progress(cx, "checking the way back", total, total));
    if (!same)
        st =
            ke__fail(cx, KE_EIO, base->path, "the way back does not give the file's bytes");
done:
    return st;
}

ke_status ke__patch_set_undo(ke_ctx *cx, ke_patch *p, const ke__map *base,
                             const ke__map *edited)
{
    ke_status st = KE_OK;
    /* Maps without a path: they stay the caller's. */
    ke__gguf base_file = {.map = {.data = base->data, .bytes = base->bytes}};
    ke__gguf edited_file = {.map = {.data = edited->data, .bytes = edited->bytes}};
    struct matches list = {0};
    struct builder b = {.base = base, .edited = edited};

    KE_TRY(ke__gguf_parse(cx, &base_file));
    KE_TRY(ke__gguf_parse(cx, &edited_file));
    KE_TRY(match_gguf(cx, &list, &base_file, &edited_file));
    KE_TRY(build(cx, &b, &list));
    KE_TRY(check_gives_back(cx, &b.recipe, base, edited));
    ke__recipe_free(cx, &p->undo);
    p->undo = b.recipe;
    b.recipe = (ke__recipe){0};
done:
    ke__recipe_free(cx, &b.recipe);
    ke__free(cx, list.items);
    ke__gguf_close(cx, &edited_file);
    ke__gguf_close(cx, &base_file);
    return st;
}
