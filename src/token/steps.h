/* What tokenizer.json does to a text before a model sees it: normalizers and
 * pre-tokenizers, as a list of steps over pieces of text. Each byte of a piece knows where
 * the source byte that it came from ends. */
#ifndef KE_TOKEN_STEPS_H
#define KE_TOKEN_STEPS_H

#include "token/regex.h"

/* --- pieces.c ---------------------------------------------------------------------- */

typedef struct ke__stretch {
    size_t from, to; /* bytes of the pieces' text */
    size_t source;   /* byte of the source where it begins */
    int32_t id;      /* of the added token that it is, or -1: plain text */
} ke__stretch;

typedef struct ke__pieces {
    char *text;
    size_t *ends; /* [bytes] of [room]: source bytes covered up to and with this byte */
    size_t bytes, room, limit;
    ke__stretch *piece; /* [n] of [n_room], none empty */
    size_t n, n_room;
    size_t covered; /* source bytes covered by the piece under way */
} ke__pieces;

/* One piece that is a text. */
KE_MUST_CHECK ke_status ke__pieces_start(ke_ctx *cx, ke__pieces *p, const char *text,
                                         size_t bytes);
void ke__pieces_free(ke_ctx *cx, ke__pieces *p);
/* Append a piece, unless it is empty. */
KE_MUST_CHECK ke_status ke__pieces_add(ke_ctx *cx, ke__pieces *p, ke__stretch piece);
/* A piece of `in` cut out at [from, to). */
ke__stretch ke__pieces_part(const ke__pieces *in, ke__stretch of, size_t from, size_t to);
/* Append in.text[from, to) with its ends to p's text; and text that came from source bytes
 * up to `end`, which its last byte completes. */
KE_MUST_CHECK ke_status ke__pieces_copy(ke_ctx *cx, ke__pieces *p, const ke__pieces *in,
                                        size_t from, size_t to);
KE_MUST_CHECK ke_status ke__pieces_put(ke_ctx *cx, ke__pieces *p, const char *text,
                                       size_t bytes, size_t end);

/* --- steps.c ----------------------------------------------------------------------- */

typedef enum ke__step_kind {
    KE__STEP_NORMALISE, /* to one of the four forms */
    KE__STEP_LOWERCASE,
    KE__STEP_STRIP,
    KE__STEP_PREPEND, /* `text` before each piece */
    KE__STEP_PREFIX,  /* the same, unless it begins so already */
    KE__STEP_REPLACE, /* what `regex` finds by `text` */
    KE__STEP_SPLIT,
    KE__STEP_SPELL /* bytes by the characters that stand for them */
} ke__step_kind;

typedef enum ke__split_behaviour {
    KE__SPLIT_ISOLATED,
    KE__SPLIT_REMOVED,
    KE__SPLIT_WITH_PREVIOUS,
    KE__SPLIT_WITH_NEXT,
    KE__SPLIT_CONTIGUOUS
} ke__split_behaviour;

typedef struct ke__step {
    ke__step_kind kind;
    ke__regex *regex;
    char *text;
    size_t bytes;
    bool compose, compatible; /* NORMALISE: NFC and NFKC; NFKC and NFKD */
    bool left, right;         /* STRIP */
    bool first_only;          /* PREFIX: of what stands at the source's beginning */
    bool invert;              /* SPLIT: what is found and what lies between change places */
    ke__split_behaviour behaviour;
} ke__step;

typedef struct ke__steps {
    ke__step *step; /* [n] of [room] */
    size_t n, room;
} ke__steps;

/* Take every step on `p`; `spare` is room that may be used again, `match` from
 * ke__regex_match_new(). */
KE_MUST_CHECK ke_status ke__steps_run(ke_ctx *cx, const ke__steps *steps, void *match,
                                      ke__pieces *p, ke__pieces *spare);
void ke__steps_free(ke_ctx *cx, ke__steps *steps);

/* normalise.c: append the form of piece `s` that `step` names to `out`. */
KE_MUST_CHECK ke_status ke__normalise(ke_ctx *cx, const ke__step *step, ke__pieces *out,
                                      const ke__pieces *in, const ke__stretch *s);

#endif
