/* The parts of a tokenizer, shared by the files of this folder only.
 *
 * A model (gpt2, ...) knows how a stretch of plain text becomes ids; what is the same for
 * all of them (vocabulary, special tokens, BOS and EOS, spans) is in token.c and vocab.c.
 */
#ifndef KE_TOKEN_TOKENIZER_H
#define KE_TOKEN_TOKENIZER_H

#include "token/token.h"

/* --- vocab.c: the strings and what is special about them ------------------------- */

enum { KE__MAX_TOKENS = 1 << 22 }; /* ten times the largest vocabulary */

enum {
    KE__TOKEN_CONTROL = 1, /* found in a text only when special tokens are asked for */
    KE__TOKEN_USER = 2,    /* found in every text, before anything else */
    KE__TOKEN_RAW = 4,     /* prints its text as it stands in the file */
    KE__TOKEN_END = 8,     /* generation stops here */
    KE__TOKEN_LSTRIP = 16, /* takes the white space before it along */
    KE__TOKEN_RSTRIP = 32, /* and after it */
    KE__TOKEN_BYTE = 64    /* stands for the byte that its text names */
};

typedef struct ke__vocab_slot {
    uint32_t hash;
    int32_t id_plus_1; /* 0: empty */
} ke__vocab_slot;

typedef struct ke__vocab {
    size_t n;
    ke__gguf_str *text;    /* [n] as in the file, whose map they lie in */
    uint8_t *flags;        /* [n] KE__TOKEN_... */
    ke__vocab_slot *slots; /* [mask + 1] open addressing, at most two thirds full */
    size_t mask;
    uint32_t hash_start;
    int32_t *special; /* [n_special] CONTROL or USER, longest text first */
    size_t n_special;
} ke__vocab;

KE_MUST_CHECK ke_status ke__vocab_load(ke_ctx *cx, ke__vocab *v, const ke__gguf *g);
void ke__vocab_free(ke_ctx *cx, ke__vocab *v);
/* The id of a text, and of a followed by b, or -1. */
int32_t ke__vocab_find(const ke__vocab *v, ke__gguf_str text);
int32_t ke__vocab_find_pair(const ke__vocab *v, ke__gguf_str a, ke__gguf_str b);
/* Whether a text is cut at this token: it has text, and is CONTROL or USER. */
bool ke__vocab_special(const ke__vocab *v, size_t id);
/* Ids named by keys; -1 if the file names none. */
KE_MUST_CHECK ke_status ke__vocab_id(ke_ctx *cx, const ke__vocab *v, const ke__gguf *g,
                                     const char *key, int32_t *id);
/* The array at `key`, which must be one of `item`s. */
KE_MUST_CHECK ke_status ke__token_array(ke_ctx *cx, const ke__gguf *g, const char *key,
                                        ke__gguf_type item, const ke__gguf_kv **out);

/* Of v->text [v->n], already there, make what finds an id by its text. */
KE_MUST_CHECK ke_status ke__vocab_index(ke_ctx *cx, ke__vocab *v, const char *key);
/* Mark the CONTROL tokens at which a text is over, by what they are called. */
void ke__vocab_mark_ends(ke__vocab *v);

/* Slots of an open-addressing table for n entries: a power of two, 3/2 n and more. */
KE_MUST_CHECK ke_status ke__table_room(ke_ctx *cx, const char *key, uint64_t n,
                                       size_t *slots);

/* --- split.c: how a text is cut into words before merging ------------------------ */

enum { KE__SPLIT_PATTERNS = 4 };

/* One name that tokenizer.ggml.pre may have. */
typedef struct ke__split {
    const char *name;
    const char *const *patterns; /* up to KE__SPLIT_PATTERNS, NULL-terminated if fewer */
    bool ignore_merges; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;       /* where the file doesn't say */
} ke__split;

/* NULL if unknown. */
const ke__split *ke__split_find(ke__gguf_str name);

typedef struct ke__splitter ke__splitter; /* compiled; read-only in use */
KE_MUST_CHECK ke_status ke__splitter_new(ke_ctx *cx, ke__splitter **out,
                                         const ke__split *split);
void ke__splitter_free(ke_ctx *cx, ke__splitter *sp);

typedef ke_status (*ke__word_fn)(void *payload, size_t from, size_t to);
/* Call word() for every word of text[from, to), in order. */
KE_MUST_CHECK ke_status ke__splitter_run(ke_ctx *cx, const ke__splitter *sp, void *match,
                                         const char *text, size_t from, size_t to,
                                         ke__word_fn word, void *payload);

/* --- merge.c: neighbours become one, the best pair first ------------------------- */

/* A run of bytes of a word, numbered by its first byte. */
typedef struct ke__symbol {
    int32_t id;          /* -1: no token */
    uint32_t prev, next; /* next == bytes of the word: the last one */
    uint32_t rank;       /* of the merge with `next` */
    int32_t result;
} ke__symbol;

typedef struct ke__merger {
    ke__symbol *symbols; /* [room] */
    uint64_t *heap;      /* [2 * room] */
    size_t room, n_heap;
} ke__merger;

/* Whether `left` and its successor merge: then their rank, below UINT32_MAX, and the id of
 * what they make are in left->rank and left->result. */
typedef bool (*ke__merge_fn)(const void *payload, const ke__symbol *symbols,
                             ke__symbol *left);

/* Room for a word of n bytes. */
KE_MUST_CHECK ke_status ke__merger_reserve(ke_ctx *cx, ke__merger *m, size_t n);
/* Merge the symbols of a word of n bytes, of which the caller has set id, prev and next:
 * the pair of the smallest rank first, of equal pairs the leftmost, until none is left. */
KE_MUST_CHECK ke_status ke__merge_all(ke_ctx *cx, ke__merger *m, uint32_t n,
                                      ke__merge_fn find, const void *payload);
void ke__merger_free(ke_ctx *cx, ke__merger *m);

/* Merges by the ids of a pair, in open addressing. */
typedef struct ke__merge {
    uint32_t left, right; /* ids */
    uint32_t rank_plus_1; /* place in the file's list; 0: an empty slot */
    int32_t result;
} ke__merge;
typedef struct ke__merges {
    ke__merge *slots; /* [mask + 1] */
    size_t mask;
    uint64_t hash_seed;
} ke__merges;
/* Room for n merges, which come from `key`. */
KE_MUST_CHECK ke_status ke__merges_reserve(ke_ctx *cx, ke__merges *m, const char *key,
                                           uint64_t n);
/* Of several of one pair the first added counts. */
void ke__merges_add(ke__merges *m, int32_t left, int32_t right, uint32_t rank,
                    int32_t result);
bool ke__merges_find(const void *merges, const ke__symbol *symbols, ke__symbol *left);
void ke__merges_free(ke_ctx *cx, ke__merges *m);

/* --- alphabet.c: the characters that byte-level vocabularies write for bytes ------- */

/* UTF-8 of the character that stands for a byte: one or two bytes. */
size_t ke__alphabet_spell(char *out, uint8_t byte);
/* The bytes that `text` spells, at `out` (which may be text.data): how many. A character
 * outside the alphabet is kept. */
size_t ke__alphabet_read(char *out, const void *unused, ke__gguf_str text);

/* --- the models ------------------------------------------------------------------ */

/* One call of ke__tokenize_spans(). */
typedef struct ke__encoder {
    ke_ctx *cx;
    const ke_tokenizer *tok;
    const char *text;
    int32_t *ids; /* [room], n used */
    size_t *ends;
    size_t n, room;
    bool special;  /* special tokens in the text are looked for */
    void *scratch; /* the model's own, made by its first encode() */
} ke__encoder;
KE_MUST_CHECK ke_status ke__encoder_push(ke__encoder *e, int32_t id, size_t end);

/* One value of tokenizer.ggml.model, or tokenizer.json's, which load() does not load. */
typedef struct ke__token_model {
    const char *name;
    /* Fill tok->data and tok->piece; the vocabulary is loaded. */
    ke_status (*load)(ke_ctx *cx, ke_tokenizer *tok, const ke__gguf *g);
    void (*free)(ke_ctx *cx, ke_tokenizer *tok); /* of a half-loaded one too */
    /* Push the ids of text[from, to), which holds no special token; or, if `whole`, of the
     * text, in which the model finds special tokens itself. */
    ke_status (*encode)(ke__encoder *e, size_t from, size_t to);
    void (*free_scratch)(ke__encoder *e);
    bool whole;
} ke__token_model;

extern const ke__token_model ke__token_bpe, ke__token_spm, ke__token_json;

struct ke_tokenizer {
    const ke__token_model *model;
    void *data; /* the model's */
    char name[64];
    ke__vocab vocab;
    ke__gguf_str *piece; /* [n] the bytes that each id stands for */
    int32_t bos, eos;
    bool add_bos, add_eos;
    bool bos_dropped;  /* at the user's wish */
    bool space_prefix; /* a stretch of plain text is read as if a space stood before it */
    bool prefix_once;  /* but only one that begins the text */
};

/* tok->piece: the bytes that each token stands for, as `read` (which returns how many, at
 * most text's) puts them at `out`; those of RAW tokens are their text. *pieces owns them.
 */
typedef size_t ke__piece_fn(char *out, const void *model, ke__gguf_str text);
KE_MUST_CHECK ke_status ke__pieces_load(ke_ctx *cx, ke_tokenizer *tok, char **pieces,
                                        ke__piece_fn *read, const void *model);

#endif
