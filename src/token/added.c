#include "token/added.h"

#include "token/character.h"

#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    const ke__gguf_str *x = &((const ke__added *)a)->text,
                       *y = &((const ke__added *)b)->text;
    uint64_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->data, y->data, n);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

void ke__added_sort(ke__added_set *set)
{
    if (set->n > 0)
        qsort(set->item, set->n, sizeof *set->item, by_text);
    for (size_t i = 0; i < set->n; i++)
        set->begins[(uint8_t)set->item[i].text.data[0]] = true;
}

/* The first of items [lo, hi), alike up to `depth`, whose next byte is c or more. */
static size_t first_from(const ke__added_set *set, size_t lo, size_t hi, size_t depth,
                         int c)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        ke__gguf_str t = set->item[mid].text;
        if (t.bytes == depth || (uint8_t)t.data[depth] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token that a text begins with, or NULL. */
static const ke__added *longest(const ke__added_set *set, const char *text, size_t bytes)
{
    const ke__added *best = NULL;
    size_t lo = 0, hi = set->n;
    for (size_t depth = 0; depth < bytes && lo < hi; depth++) {
        int c = (uint8_t)text[depth];
        lo = first_from(set, lo, hi, depth, c);
        hi = first_from(set, lo, hi, depth, c + 1);
        if (lo < hi && set->item[lo].text.bytes == depth + 1)
            best = &set->item[lo];
    }
    return best;
}

/* Whether a token found at [from, to) of a piece counts. */
static bool counts(const ke__added *a, bool special, const char *text, ke__stretch s,
                   size_t from, size_t to)
{
    if (a->special && !special)
        return false;
    return !a->single_word || !(ke__word_at_end(text + s.from, from - s.from) ||
                                ke__word_at_start(text + to, s.to - to));
}

static ke_status cut(ke_ctx *cx, const ke__added_set *set, bool special,
                     const ke__pieces *in, ke__stretch s, ke__pieces *out)
{
    ke_status st = KE_OK;
    const char *text = in->text;
    size_t done_to = s.from;
    for (size_t at = s.from; at < s.to;) {
        const ke__added *a = NULL;
        if (set->begins[(uint8_t)text[at]])
            a = longest(set, text + at, s.to - at);
        if (!a) {
            at++;
            continue;
        }
        size_t from = at, to = at + a->text.bytes;
        at = to;
        if (!counts(a, special, text, s, from, to))
            continue;
        if (from < done_to) /* an earlier token took its white space along */
            from = done_to;
        if (a->lstrip)
            from -= ke__spaces_at_end(text + done_to, from - done_to);
        if (a->rstrip)
            to += ke__spaces_at_start(text + to, s.to - to);
        KE_TRY(ke__check_cancel(cx));
        KE_TRY(ke__pieces_add(cx, out, ke__pieces_part(in, s, done_to, from)));
        if (to < from)
            to = from;
        ke__stretch token = ke__pieces_part(in, s, from, to);
        token.id = a->id;
        KE_TRY(ke__pieces_add(cx, out, token));
        done_to = to;
    }
    KE_TRY(ke__pieces_add(cx, out, ke__pieces_part(in, s, done_to, s.to)));
done:
    return st;
}

ke_status ke__added_cut(ke_ctx *cx, const ke__added_set *set, bool special, ke__pieces *p,
                        ke__pieces *spare)
{
    ke_status st = KE_OK;
    if (set->n == 0)
        return KE_OK;
    spare->n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->piece[i].id >= 0)
            KE_TRY(ke__pieces_add(cx, spare, p->piece[i]));
        else
            KE_TRY(cut(cx, set, special, p, p->piece[i], spare));
    }
    ke__stretch *piece = p->piece;
    size_t room = p->n_room;
    p->piece = spare->piece;
    p->n = spare->n;
    p->n_room = spare->n_room;
    spare->piece = piece;
    spare->n_room = room;
done:
    return st;
}
