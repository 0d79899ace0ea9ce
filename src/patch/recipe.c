/* The way back from an edited file: the base file as pieces of the edited one, and a
 * literal for what the edit replaced. Offsets count through all files of a model; which
 * range of the base should be found where again is format/ranges.h's to say. */
#include "format/ranges.h"
#include "patch/kinds.h"

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
    size_t n;
};

void ke__recipe_free(ke_ctx *cx, ke__recipe *recipe)
{
    for (size_t i = 0; i < recipe->n_files; i++)
        ke__free(cx, recipe->files[i].name);
    ke__free(cx, recipe->files);
    ke__free(cx, recipe->pieces);
    ke__free(cx, recipe->literal);
    *recipe = (ke__recipe){0};
}

/* The files that the pieces are cut into: names in one folder, each once. */
static ke_status check_files(ke_ctx *cx, const ke__recipe *recipe, uint64_t total)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < recipe->n_files; i++) {
        const ke__recipe_file *f = &recipe->files[i];
        if (!ke__plain_name(f->name))
            return ke__fail(cx, KE_EFORMAT, "undo",
                            "file %zu: '%.60s' is no file's name in a folder", i, f->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(f->name, recipe->files[j].name) == 0)
                return ke__fail(cx, KE_EFORMAT, "undo", "the file '%.60s' occurs twice",
                                f->name);
        if (f->bytes == 0 || __builtin_add_overflow(sum, f->bytes, &sum))
            sum = UINT64_MAX;
    }
    if (recipe->n_files > 0 && sum != total)
        return ke__fail(cx, KE_EFORMAT, "undo",
                        "files of other sizes than the %llu bytes of the pieces",
                        (unsigned long long)total);
    return KE_OK;
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
    return check_files(cx, recipe, sum);
}

const uint8_t *ke__piece_at(const ke__recipe *r, const ke__piece *piece,
                            const ke__files *edited, uint64_t done, uint64_t *n)
{
    uint64_t left = piece->bytes - done;
    const uint8_t *from = r->literal + piece->offset + done;

    *n = left;
    if (piece->source == 1)
        from = ke__files_at(edited, piece->offset + done, n);
    *n = *n < left ? *n : left;
    *n = *n < KE__STEP_BYTES ? *n : KE__STEP_BYTES;
    return from;
}

/* --- building ---------------------------------------------------------------------- */

struct builder {
    const ke__files *base, *edited;
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
    for (uint64_t n = 0, copied = 0; copied < bytes; copied += n) {
        const uint8_t *from = ke__files_at(b->base, b->done + copied, &n);
        n = n < bytes - copied ? n : bytes - copied;
        memcpy(r->literal + at + copied, from, n);
    }
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
        uint64_t left = m->bytes - at, in_base, in_edited;
        const uint8_t *base = ke__files_at(b->base, m->base + at, &in_base);
        const uint8_t *edited = ke__files_at(b->edited, m->edited + at, &in_edited);
        left = left < in_base ? left : in_base;
        left = left < in_edited ? left : in_edited;
        uint64_t run = common_prefix(base, edited, left);
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

static ke_status match_ranges(ke_ctx *cx, struct matches *list, const ke__ranges *base,
                              const ke__ranges *edited)
{
    ke_status st = KE_OK;

    KE_TRY(ke__alloc(cx, &list->items, base->n, sizeof *list->items));
    for (size_t i = 0; i < base->n; i++) {
        const ke__range *from = &base->items[i], *twin = ke__ranges_find(edited, from);
        if (twin)
            list->items[list->n++] =
                (struct match){from->offset, twin->offset, from->bytes};
    }
done:
    return st;
}

/* The files that the joined bytes are; none, if they are one file under any name. */
static ke_status list_files(ke_ctx *cx, ke__recipe *r, const ke__files *base)
{
    ke_status st = KE_OK;

    if (!base->folder)
        goto done;
    KE_TRY(ke__alloc(cx, &r->files, base->n, sizeof *r->files));
    for (size_t i = 0; i < base->n; i++) {
        KE_TRY(ke__strdup(cx, &r->files[i].name, base->items[i].name));
        r->files[i].bytes = base->items[i].map.bytes;
        r->n_files++;
    }
done:
    return st;
}

/* --- the whole --------------------------------------------------------------------- */

static ke_status check_gives_back(ke_ctx *cx, const ke__recipe *r, const ke__files *base,
                                  const ke__files *edited)
{
    ke_status st = KE_OK;
    uint64_t at = 0, total = 0;

    KE_TRY(ke__recipe_check(cx, r, edited->bytes, &total));
    bool same = total == base->bytes;
    for (size_t i = 0; same && i < r->n_pieces; i++) {
        const ke__piece *piece = &r->pieces[i];
        for (uint64_t n = 0, done = 0; same && done < piece->bytes; done += n, at += n) {
            const uint8_t *from = ke__piece_at(r, piece, edited, done, &n), *want;
            uint64_t left;
            KE_TRY(ke__progress(cx, "checking the way back", at, total));
            want = ke__files_at(base, at, &left);
            n = n < left ? n : left;
            same = memcmp(want, from, n) == 0;
        }
    }
    KE_TRY(ke__progress(cx, "checking the way back", total, total));
    if (!same)
        st =
            ke__fail(cx, KE_EIO, base->path, "the way back does not give the file's bytes");
done:
    return st;
}

ke_status ke__patch_set_undo(ke_ctx *cx, ke_patch *p, const ke__files *base,
                             const ke__files *edited)
{
    ke_status st = KE_OK;
    ke__ranges in_base = {0}, in_edited = {0};
    struct matches list = {0};
    struct builder b = {.base = base, .edited = edited};

    KE_TRY(ke__ranges_new(cx, &in_base, base));
    KE_TRY(ke__ranges_new(cx, &in_edited, edited));
    KE_TRY(match_ranges(cx, &list, &in_base, &in_edited));
    KE_TRY(build(cx, &b, &list));
    KE_TRY(list_files(cx, &b.recipe, base));
    KE_TRY(check_gives_back(cx, &b.recipe, base, edited));
    ke__recipe_free(cx, &p->undo);
    p->undo = b.recipe;
    b.recipe = (ke__recipe){0};
done:
    ke__recipe_free(cx, &b.recipe);
    ke__free(cx, list.items);
    ke__ranges_free(cx, &in_edited);
    ke__ranges_free(cx, &in_base);
    return st;
}
