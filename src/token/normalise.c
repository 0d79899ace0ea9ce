/* The normalisation forms of Unicode, a grapheme cluster at a time: nothing composes or
 * changes places across the boundary of two clusters (of the decomposed text: UAX #29), so
 * what a cluster became covers what it came from. */
#include "token/steps.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { MOST = 32 }; /* characters that one decomposes into: 18 in Unicode 15 */

typedef struct cluster {
    int32_t *c; /* [n] of [room] */
    size_t n, room;
    size_t from, to;       /* bytes of the piece that it takes part in */
    bool cut_from, cut_to; /* but not with the whole first, last character */
    utf8proc_int32_t state;
} cluster;

typedef struct job {
    ke_ctx *cx;
    const ke__step *step;
    ke__pieces *out;
    const ke__pieces *in;
    cluster k;
    char *text; /* [4 * room] */
    size_t text_room;
    uint64_t *marks; /* [room] */
    size_t marks_room;
} job;

/* --- one cluster --------------------------------------------------------------------- */

static int by_order(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Marks between two starters by their combining class, in their order within a class. */
static ke_status reorder(job *j)
{
    ke_status st = KE_OK;
    cluster *k = &j->k;
    if (k->n > j->marks_room) {
        KE_TRY(ke__resize(j->cx, &j->marks, k->room, sizeof *j->marks));
        j->marks_room = k->room;
    }
    for (size_t i = 0; i < k->n;) {
        size_t n = 0;
        for (; i + n < k->n; n++) {
            uint64_t class = (uint64_t)utf8proc_get_property(k->c[i + n])->combining_class;
            if (class == 0)
                break;
            j->marks[n] = class << 56 | (uint64_t)n << 24 | (uint32_t)k->c[i + n];
        }
        qsort(j->marks, n, sizeof *j->marks, by_order);
        for (size_t m = 0; m < n; m++)
            k->c[i + m] = (int32_t)(j->marks[m] & 0xFFFFFF);
        i += n + 1;
    }
done:
    return st;
}

/* Write the cluster out and begin another. */
static ke_status flush(job *j)
{
    ke_status st = KE_OK;
    cluster *k = &j->k;
    if (k->n == 0)
        return KE_OK;
    KE_TRY(reorder(j));
    size_t n = k->n, bytes = 0;
    if (j->step->compose)
        n = (size_t)utf8proc_normalize_utf32(k->c, (utf8proc_ssize_t)n,
                                             UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (4 * n > j->text_room) {
        KE_TRY(ke__resize(j->cx, &j->text, k->room, 4));
        j->text_room = 4 * k->room;
    }
    for (size_t i = 0; i < n; i++)
        bytes += (size_t)utf8proc_encode_char(k->c[i], (uint8_t *)j->text + bytes);

    size_t end = k->cut_to ? j->out->covered : j->in->ends[k->to - 1];
    if (!k->cut_from && !k->cut_to && bytes == k->to - k->from &&
        memcmp(j->text, j->in->text + k->from, bytes) == 0)
        KE_TRY(ke__pieces_copy(j->cx, j->out, j->in, k->from, k->to));
    else
        KE_TRY(ke__pieces_put(j->cx, j->out, j->text, bytes, end));
    k->n = 0;
done:
    return st;
}

/* --- a piece ------------------------------------------------------------------------- */

/* Character c, number i of the n that [from, to) decomposes into. */
static ke_status take(job *j, int32_t c, size_t i, size_t n, size_t from, size_t to)
{
    ke_status st = KE_OK;
    cluster *k = &j->k;
    if (k->n > 0 && utf8proc_grapheme_break_stateful(k->c[k->n - 1], c, &k->state))
        KE_TRY(flush(j));
    if (k->n == 0) {
        k->from = from;
        k->cut_from = i > 0;
        k->state = 0;
    }
    if (k->n == k->room) {
        size_t room = k->room + k->room / 2 + 32;
        KE_TRY(ke__resize(j->cx, &k->c, room, sizeof *k->c));
        k->room = room;
    }
    k->c[k->n++] = c;
    k->to = to;
    k->cut_to = i + 1 < n;
done:
    return st;
}

/* Bytes of ASCII at `from` that nothing after them composes with. */
static size_t plain(const char *text, size_t from, size_t to)
{
    size_t at = from;
    while (at < to && (uint8_t)text[at] < 0x80)
        at++;
    return at - from - (at < to && at > from);
}

ke_status ke__normalise(ke_ctx *cx, const ke__step *step, ke__pieces *out,
                        const ke__pieces *in, const ke__stretch *s)
{
    ke_status st = KE_OK;
    job j = {.cx = cx, .step = step, .out = out, .in = in};
    int how = UTF8PROC_DECOMPOSE | (step->compatible ? UTF8PROC_COMPAT : 0);
    const char *text = in->text;
    for (size_t at = s->from, n; at < s->to; at += n) {
        utf8proc_int32_t c, parts[MOST];
        size_t same = plain(text, at, s->to);
        n = ke__utf8_char(text + at, s->to - at);
        if (same > 0 || n == 0) { /* what is not UTF-8 stays as it is */
            n = same > 0 ? same : 1;
            KE_TRY(flush(&j));
            KE_TRY(ke__pieces_copy(cx, out, in, at, at + n));
            continue;
        }
        (void)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)n, &c);
        utf8proc_ssize_t n_parts = utf8proc_decompose_char(c, parts, MOST, how, NULL);
        for (utf8proc_ssize_t i = 0; i < n_parts; i++)
            KE_TRY(take(&j, parts[i], (size_t)i, (size_t)n_parts, at, at + n));
    }
    KE_TRY(flush(&j));
done:
    ke__free(cx, j.k.c);
    ke__free(cx, j.text);
    ke__free(cx, j.marks);
    return st;
}
