#include "token/steps.h"

#include <string.h>

static ke_status reserve(ke_ctx *cx, ke__pieces *p, size_t more)
{
    ke_status st = KE_OK;
    if (p->bytes + more > p->limit)
        return ke__fail(cx, KE_EINVAL, NULL,
                        "normalisation makes more than %zu bytes of a text", p->limit);
    if (more <= p->room - p->bytes)
        return KE_OK;
    size_t room = p->bytes + more;
    room += room / 2 + 64;
    KE_TRY(ke__resize(cx, &p->text, room, 1));
    KE_TRY(ke__resize(cx, &p->ends, room, sizeof *p->ends));
    p->room = room;
done:
    return st;
}

ke_status ke__pieces_start(ke_ctx *cx, ke__pieces *p, const char *text, size_t bytes)
{
    ke_status st = KE_OK;
    p->bytes = p->n = 0;
    p->limit = SIZE_MAX;
    KE_TRY(reserve(cx, p, bytes));
    memcpy(p->text, text, bytes);
    for (size_t i = 0; i < bytes; i++)
        p->ends[i] = i + 1;
    p->bytes = bytes;
    KE_TRY(ke__pieces_add(cx, p, (ke__stretch){0, bytes, 0, -1}));
done:
    return st;
}

void ke__pieces_free(ke_ctx *cx, ke__pieces *p)
{
    ke__free(cx, p->text);
    ke__free(cx, p->ends);
    ke__free(cx, p->piece);
}

ke_status ke__pieces_add(ke_ctx *cx, ke__pieces *p, ke__stretch piece)
{
    ke_status st = KE_OK;
    if (piece.from == piece.to)
        return KE_OK;
    if (p->n == p->n_room) {
        size_t room = p->n_room + p->n_room / 2 + 16;
        KE_TRY(ke__resize(cx, &p->piece, room, sizeof *p->piece));
        p->n_room = room;
    }
    p->piece[p->n++] = piece;
done:
    return st;
}

ke__stretch ke__pieces_part(const ke__pieces *in, ke__stretch of, size_t from, size_t to)
{
    return (ke__stretch){from, to, from == of.from ? of.source : in->ends[from - 1], of.id};
}

ke_status ke__pieces_copy(ke_ctx *cx, ke__pieces *p, const ke__pieces *in, size_t from,
                          size_t to)
{
    ke_status st = KE_OK;
    if (from == to)
        return KE_OK;
    KE_TRY(reserve(cx, p, to - from));
    memcpy(p->text + p->bytes, in->text + from, to - from);
    memcpy(p->ends + p->bytes, in->ends + from, (to - from) * sizeof *p->ends);
    p->bytes += to - from;
    p->covered = in->ends[to - 1];
done:
    return st;
}

ke_status ke__pieces_put(ke_ctx *cx, ke__pieces *p, const char *text, size_t bytes,
                         size_t end)
{
    ke_status st = KE_OK;
    if (bytes == 0)
        return KE_OK;
    KE_TRY(reserve(cx, p, bytes));
    memcpy(p->text + p->bytes, text, bytes);
    for (size_t i = 0; i < bytes; i++)
        p->ends[p->bytes++] = i + 1 < bytes ? p->covered : end;
    p->covered = end;
done:
    return st;
}
