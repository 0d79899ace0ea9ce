#include "token/steps.h"

#include "base/utf8.h"
#include "token/character.h"
#include "token/tokenizer.h"

#include <string.h>
#include <utf8proc.h>

typedef struct segment {
    size_t from, to;
    bool match;
} segment;

typedef struct run {
    ke_ctx *cx;
    const ke__step *step;
    void *match;
    const ke__pieces *in;
    ke__pieces *out;
    segment *segment; /* [n] of [room] */
    size_t n, room;
    size_t limit; /* bytes that the text may become */
} run;

/* What one byte of a text may become: 12 by NFKC, 3 a space that is U+2581. A file that
 * asks for more, step after step, fills the memory. */
enum { MAX_GROWTH = 64, MAX_GROWTH_BYTES = 1 << 16 };

/* --- what a pattern finds in a piece ------------------------------------------------- */

static ke_status add_segment(run *r, size_t from, size_t to, bool match)
{
    ke_status st = KE_OK;
    if (r->n == r->room) {
        size_t room = r->room + r->room / 2 + 16;
        KE_TRY(ke__resize(r->cx, &r->segment, room, sizeof *r->segment));
        r->room = room;
    }
    r->segment[r->n++] = (segment){from, to, match};
done:
    return st;
}

/* Valid UTF-8 at [from, to). An empty match counts, but not right after another match. */
static ke_status find_in(run *r, size_t from, size_t to)
{
    ke_status st = KE_OK;
    const char *text = r->in->text + from;
    size_t bytes = to - from, before = 0, last = SIZE_MAX;
    for (size_t at = 0, tries = 1; at <= bytes; tries++) {
        size_t begin, end;
        bool found;
        if (tries % 4096 == 0)
            KE_TRY(ke__check_cancel(r->cx));
        KE_TRY(ke__regex_find(r->cx, r->step->regex, r->match, text, bytes, at, &found,
                              &begin, &end));
        if (!found)
            break;
        if (begin == end && end == last) {
            at += at < bytes ? ke__utf8_char(text + at, bytes - at) : 1;
            continue;
        }
        if (begin > before)
            KE_TRY(add_segment(r, from + before, from + begin, false));
        KE_TRY(add_segment(r, from + begin, from + end, true));
        at = before = last = end;
    }
    if (before < bytes)
        KE_TRY(add_segment(r, from + before, to, false));
done:
    return st;
}

/* All of a piece as segments, matches and what lies between. A byte that is not UTF-8 is a
 * segment of its own, which nothing matches. */
static ke_status find(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    r->n = 0;
    for (size_t at = s->from; at < s->to;) {
        size_t end = at + ke__utf8_prefix(r->in->text + at, s->to - at);
        if (end > at)
            KE_TRY(find_in(r, at, end));
        if (end < s->to) {
            KE_TRY(add_segment(r, end, end + 1, false));
            end++;
        }
        at = end;
    }
done:
    return st;
}

/* --- splitting ----------------------------------------------------------------------- */

/* Of the segments in the order given by `step` (1 or -1), join each match to what comes
 * before it in that order, unless that is a match. */
static void join_matches(run *r, bool backwards)
{
    size_t n = 0;
    bool previous = false;
    for (size_t i = 0; i < r->n; i++) {
        segment s = r->segment[backwards ? r->n - 1 - i : i];
        segment *last = n == 0 ? NULL : &r->segment[backwards ? r->n - n : n - 1];
        bool match = s.match;
        s.match = false;
        if (match && !previous && last && backwards)
            last->from = s.from;
        else if (match && !previous && last)
            last->to = s.to;
        else
            r->segment[backwards ? r->n - 1 - n++ : n++] = s;
        previous = match;
    }
    if (backwards)
        memmove(r->segment, r->segment + r->n - n, n * sizeof *r->segment);
    r->n = n;
}

static void join_alike(run *r)
{
    size_t n = 0;
    bool previous = false;
    for (size_t i = 0; i < r->n; i++) {
        segment s = r->segment[i];
        if (n > 0 && s.match == previous)
            r->segment[n - 1].to = s.to;
        else
            r->segment[n++] = (segment){s.from, s.to, false};
        previous = s.match;
    }
    r->n = n;
}

static ke_status split(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    ke__split_behaviour how = r->step->behaviour;
    KE_TRY(find(r, s));
    for (size_t i = 0; i < r->n; i++)
        r->segment[i].match = r->segment[i].match != r->step->invert;
    if (how == KE__SPLIT_CONTIGUOUS)
        join_alike(r);
    else if (how == KE__SPLIT_WITH_PREVIOUS || how == KE__SPLIT_WITH_NEXT)
        join_matches(r, how == KE__SPLIT_WITH_NEXT);
    for (size_t i = 0; i < r->n; i++)
        if (how != KE__SPLIT_REMOVED || !r->segment[i].match)
            KE_TRY(ke__pieces_add(
                r->cx, r->out,
                ke__pieces_part(r->in, *s, r->segment[i].from, r->segment[i].to)));
done:
    return st;
}

/* --- rewriting ----------------------------------------------------------------------- */

static ke_status replace(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    KE_TRY(find(r, s));
    for (size_t i = 0; i < r->n; i++) {
        segment g = r->segment[i];
        if (!g.match)
            KE_TRY(ke__pieces_copy(r->cx, r->out, r->in, g.from, g.to));
        else
            KE_TRY(ke__pieces_put(r->cx, r->out, r->step->text, r->step->bytes,
                                  g.to > g.from ? r->in->ends[g.to - 1] : r->out->covered));
    }
done:
    return st;
}

static ke_status prepend(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    const ke__step *step = r->step;
    bool has = s->to - s->from >= step->bytes &&
               memcmp(r->in->text + s->from, step->text, step->bytes) == 0;
    if (step->kind == KE__STEP_PREPEND || (!has && (!step->first_only || s->source == 0)))
        KE_TRY(ke__pieces_put(r->cx, r->out, step->text, step->bytes, s->source));
    KE_TRY(ke__pieces_copy(r->cx, r->out, r->in, s->from, s->to));
done:
    return st;
}

static ke_status strip(run *r, const ke__stretch *s)
{
    size_t from = s->from, to = s->to;
    if (r->step->left)
        from += ke__spaces_at_start(r->in->text + from, to - from);
    if (r->step->right)
        to -= ke__spaces_at_end(r->in->text + from, to - from);
    return ke__pieces_copy(r->cx, r->out, r->in, from, to);
}

static ke_status lower(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    const char *text = r->in->text;
    for (size_t at = s->from, n; at < s->to; at += n) {
        utf8proc_int32_t c;
        uint8_t out[8];
        n = ke__utf8_char(text + at, s->to - at);
        if (n == 0) {
            n = 1;
            KE_TRY(ke__pieces_copy(r->cx, r->out, r->in, at, at + 1));
            continue;
        }
        (void)utf8proc_iterate((const uint8_t *)text + at, (utf8proc_ssize_t)n, &c);
        /* The one character whose lower case is two: I with a dot above. */
        bool dotted = c == 0x130;
        size_t bytes =
            (size_t)utf8proc_encode_char(dotted ? 'i' : utf8proc_tolower(c), out);
        if (dotted)
            bytes += (size_t)utf8proc_encode_char(0x307, out + bytes);
        if (bytes == n && memcmp(out, text + at, n) == 0)
            KE_TRY(ke__pieces_copy(r->cx, r->out, r->in, at, at + n));
        else
            KE_TRY(ke__pieces_put(r->cx, r->out, (const char *)out, bytes,
                                  r->in->ends[at + n - 1]));
    }
done:
    return st;
}

static ke_status spell(run *r, const ke__stretch *s)
{
    ke_status st = KE_OK;
    for (size_t at = s->from; at < s->to; at++) {
        char out[2];
        size_t bytes = ke__alphabet_spell(out, (uint8_t)r->in->text[at]);
        KE_TRY(ke__pieces_put(r->cx, r->out, out, bytes, r->in->ends[at]));
    }
done:
    return st;
}

static ke_status rewrite(run *r, const ke__stretch *s)
{
    switch (r->step->kind) {
    case KE__STEP_NORMALISE:
        return ke__normalise(r->cx, r->step, r->out, r->in, s);
    case KE__STEP_LOWERCASE:
        return lower(r, s);
    case KE__STEP_STRIP:
        return strip(r, s);
    case KE__STEP_PREPEND:
    case KE__STEP_PREFIX:
        return prepend(r, s);
    case KE__STEP_REPLACE:
        return replace(r, s);
    case KE__STEP_SPELL:
        return spell(r, s);
    case KE__STEP_SPLIT:
        break;
    }
    return ke__pieces_copy(r->cx, r->out, r->in, s->from, s->to);
}

static ke_status rewrite_all(run *r)
{
    ke_status st = KE_OK;
    ke__pieces *out = r->out;
    out->bytes = out->n = 0;
    out->limit = r->limit;
    for (size_t i = 0; i < r->in->n; i++) {
        const ke__stretch *s = &r->in->piece[i];
        size_t from = out->bytes;
        out->covered = s->source;
        if (s->id < 0)
            KE_TRY(rewrite(r, s));
        else
            KE_TRY(ke__pieces_copy(r->cx, out, r->in, s->from, s->to));
        KE_TRY(
            ke__pieces_add(r->cx, out, (ke__stretch){from, out->bytes, s->source, s->id}));
    }
done:
    return st;
}

static ke_status split_all(run *r)
{
    ke_status st = KE_OK;
    r->out->n = 0;
    for (size_t i = 0; i < r->in->n; i++) {
        const ke__stretch *s = &r->in->piece[i];
        if (s->id < 0)
            KE_TRY(split(r, s));
        else
            KE_TRY(ke__pieces_add(r->cx, r->out, *s));
    }
done:
    return st;
}

ke_status ke__steps_run(ke_ctx *cx, const ke__steps *steps, void *match, ke__pieces *p,
                        ke__pieces *spare)
{
    ke_status st = KE_OK;
    run r = {.cx = cx, .match = match, .in = p, .out = spare};
    r.limit = MAX_GROWTH * p->bytes + MAX_GROWTH_BYTES;
    for (size_t i = 0; i < steps->n; i++) {
        ke__pieces before = *p;
        r.step = &steps->step[i];
        KE_TRY(ke__check_cancel(cx));
        if (r.step->kind == KE__STEP_SPLIT) {
            KE_TRY(split_all(&r));
            p->piece = spare->piece;
            p->n = spare->n;
            p->n_room = spare->n_room;
            spare->piece = before.piece;
            spare->n_room = before.n_room;
        } else {
            KE_TRY(rewrite_all(&r));
            *p = *spare;
            *spare = before;
        }
    }
done:
    ke__free(cx, r.segment);
    return st;
}

void ke__steps_free(ke_ctx *cx, ke__steps *steps)
{
    for (size_t i = 0; i < steps->n; i++) {
        ke__regex_free(cx, steps->step[i].regex);
        ke__free(cx, steps->step[i].text);
    }
    ke__free(cx, steps->step);
}
