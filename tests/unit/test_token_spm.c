/* SentencePiece on vocabularies small enough to merge by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"
#include "support/toy_tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SP "\xE2\x96\x81"

/* What the file says. Fields left 0 leave their key out. */
typedef struct words {
    const char *const *tokens; /* NULL-terminated */
    const int32_t *types;      /* one a token, as the scores */
    const float *scores;
    bool no_prefix;
    uint64_t unknown_plus_1;
} words;

static ke_status open_words(toy *t, void **state, const words *w)
{
    ke__gguf_new_kv kvs[4];
    size_t n = 0, n_tokens = 0;
    while (w->tokens[n_tokens])
        n_tokens++;
    kvs[n++] = (ke__gguf_new_kv){
        .key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = 0};
    if (w->scores)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.scores",
                                     .type = KE__GGUF_ARRAY,
                                     .floats = w->scores,
                                     .n = n_tokens};
    if (w->no_prefix)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.add_space_prefix",
                                     .type = KE__GGUF_BOOL};
    if (w->unknown_plus_1)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.unknown_token_id",
                                     .type = KE__GGUF_U32,
                                     .value.u = w->unknown_plus_1 - 1};
    return toy_open(t, scratch_path(state, "toy.gguf"),
                    &(toy_spec){.model = "llama",
                                .tokens = w->tokens,
                                .types = w->types,
                                .more = kvs,
                                .n_more = n});
}

static void expect_back(toy *t, const int32_t *ids, const char *want)
{
    char *text = NULL;
    size_t n = 0, bytes = 0;
    while (ids[n] >= 0)
        n++;
    assert_int_equal(ke_detokenize(t->cx, &text, &bytes, t->tok, ids, n), KE_OK);
    assert_string_equal(text, want);
    assert_int_equal(bytes, strlen(want));
    ke_free(t->cx, text);
}

/* --- as Llama 2 has it: special tokens, the bytes, then the pieces ------------------ */

enum { BOS, UNK, BYTE, SPACE = BYTE + 256, A, B, C, AB, BC, ABC, SP_A, SP_SP, XY, X, N };
static const struct {
    const char *text;
    float score;
} pieces[] = {{SP, -9},    {"a", -9},    {"b", -9},   {"c", -9},  {"ab", -3}, {"bc", -2},
              {"abc", -4}, {SP "a", -1}, {SP SP, -5}, {"xy", -8}, {"<x>", 0}};

static char byte_text[256][8];
static const char *tokens[N + 1];
static int32_t types[N];
static float scores[N];

static int fill_tokens(void **state)
{
    (void)state;
    tokens[BOS] = "<s>";
    types[BOS] = 3;
    tokens[UNK] = "<unk>";
    types[UNK] = 2;
    for (unsigned c = 0; c < 256; c++) {
        snprintf(byte_text[c], sizeof byte_text[c], "<0x%02X>", c);
        tokens[BYTE + c] = byte_text[c];
        types[BYTE + c] = 6;
    }
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        tokens[SPACE + i] = pieces[i].text;
        types[SPACE + i] = 1;
        scores[SPACE + i] = pieces[i].score;
    }
    types[X] = 4;
    return 0;
}

static void open_llama(toy *t, void **state, bool prefix)
{
    words w = {tokens, types, scores, !prefix, UNK + 1};
    if (open_words(t, state, &w) != KE_OK)
        fail_msg("%s", ke_ctx_message(t->cx));
}

static void the_highest_score_goes_first(void **state)
{
    toy t;
    open_llama(&t, state, false);
    assert_string_equal(ke__tokenizer_name(t.tok), "llama (SentencePiece)");
    assert_int_equal(ke__tokenizer_size(t.tok), N);
    toy_expect(&t, "cab", 3, 0, TOY_IDS(C, AB), TOY_IDS(1, 3));
    /* bc before ab; then a and bc make a token, whatever its own halves were. */
    toy_expect(&t, "abc", 3, 0, TOY_IDS(ABC), TOY_IDS(3));
    toy_expect(&t, "abbc", 4, 0, TOY_IDS(AB, BC), TOY_IDS(2, 4));
    /* The space takes the a away from ab. */
    toy_expect(&t, " ab", 3, 0, TOY_IDS(SP_A, B), TOY_IDS(2, 3));
    toy_expect(&t, "axy", 3, 0, TOY_IDS(A, XY), TOY_IDS(1, 3)); /* x and y are no tokens */
    toy_close(&t);
}

static void of_equal_scores_the_leftmost_goes_first(void **state)
{
    static const char *const few[] = {"a", "b", "c", "ab", "bc", NULL};
    static const struct {
        float scores[5];
        int32_t ids[3];
    } cases[] = {
        {{0, 0, 0, -1, -1}, {3, 2, -1}},
        {{0, 0, 0, -0.0F, 0}, {3, 2, -1}},
        {{0, 0, 0, -2, -1}, {0, 4, -1}},
        {{0, 0, 0, -1, 1}, {0, 4, -1}},
        {{0, 0, 0, 1, 2}, {0, 4, -1}},
        {{0, 0, 0, 2, 1}, {3, 2, -1}},
        {{0, 0, 0, -INFINITY, -3e38F}, {0, 4, -1}},
        {{0, 0, 0, 3e38F, INFINITY}, {0, 4, -1}},
    };
    toy t;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        words w = {.tokens = few, .scores = cases[i].scores, .no_prefix = true};
        assert_int_equal(open_words(&t, state, &w), KE_OK);
        toy_expect(&t, "abc", 3, 0, cases[i].ids, NULL);
        toy_close(&t);
    }
    words none = {.tokens = few, .no_prefix = true};
    assert_int_equal(open_words(&t, state, &none), KE_OK);
    toy_expect(&t, "abc", 3, 0, TOY_IDS(3, 2), NULL);
    toy_close(&t);
}

static void spaces_are_characters(void **state)
{
    toy t;
    open_llama(&t, state, false);
    toy_expect(&t, " ", 1, 0, TOY_IDS(SPACE), TOY_IDS(1));
    toy_expect(&t, "b   a", 5, 0, TOY_IDS(B, SP_SP, SP_A), TOY_IDS(1, 3, 5));
    toy_expect(&t, "b" SP "a", 5, 0, TOY_IDS(B, SP_A), TOY_IDS(1, 5)); /* the same to it */
    toy_expect(&t, "", 0, 0, TOY_IDS(-1), NULL);
    toy_expect(&t, NULL, 0, 0, TOY_IDS(-1), NULL);
    toy_expect(&t, "", 0, KE_TOK_ADD_BOS, TOY_IDS(BOS), TOY_IDS(0)); /* by default */
    expect_back(&t, TOY_IDS(BOS, SP_A, SP_SP, B), "<s> a  b");
    toy_close(&t);
}

/* A stretch of plain text is read as if a space stood before it; its tokens end where the
 * text itself does. */
static void a_space_is_put_first(void **state)
{
    toy t;
    open_llama(&t, state, true);
    toy_expect(&t, "ab", 2, KE_TOK_ADD_BOS, TOY_IDS(BOS, SP_A, B), TOY_IDS(0, 1, 2));
    toy_expect(&t, "b", 1, 0, TOY_IDS(SPACE, B), TOY_IDS(0, 1));
    toy_expect(&t, " b", 2, 0, TOY_IDS(SP_SP, B), TOY_IDS(1, 2));
    toy_expect(&t, "a<x>b<x>", 8, 0, TOY_IDS(SP_A, X, SPACE, B, X), TOY_IDS(1, 4, 4, 5, 8));
    toy_expect(&t, "", 0, 0, TOY_IDS(-1), NULL);

    expect_back(&t, TOY_IDS(BOS, SP_A, B), "<s>ab");
    expect_back(&t, TOY_IDS(SPACE, B), "b");
    expect_back(&t, TOY_IDS(SP_SP, B), " b");
    expect_back(&t, TOY_IDS(SP_A, X, SPACE, B, X), "a<x>b<x>");
    expect_back(&t, TOY_IDS(B, SP_A), "b a");
    expect_back(&t, TOY_IDS(-1), "");
    toy_close(&t);
}

static void what_is_no_token_becomes_bytes(void **state)
{
    toy t;
    open_llama(&t, state, false);
    toy_expect(&t, "a\n", 2, 0, TOY_IDS(A, BYTE + '\n'), TOY_IDS(1, 2));
    toy_expect(&t, "\xE2\x82\xAC b", 5, 0,
               TOY_IDS(BYTE + 0xE2, BYTE + 0x82, BYTE + 0xAC, SPACE, B),
               TOY_IDS(1, 2, 3, 4, 5));
    expect_back(&t, TOY_IDS(BYTE + 0xE2, BYTE + 0x82, BYTE + 0xAC, SPACE, B),
                "\xE2\x82\xAC b");
    toy_expect(&t, "a\0b", 3, 0, TOY_IDS(A, BYTE, B), NULL);
    /* The text of a byte's token is text like any other. */
    toy_expect(
        &t, "<0x41>", 6, 0,
        TOY_IDS(BYTE + '<', BYTE + '0', BYTE + 'x', BYTE + '4', BYTE + '1', BYTE + '>'),
        NULL);
    toy_close(&t);
}

/* The first byte says how long a character is: F0 four, E2 three, 80 and FF one and four.
 */
static void invalid_utf8_is_bytes_too(void **state)
{
    toy t;
    open_llama(&t, state, false);
    toy_expect(&t,
               "a\x80"
               "b",
               3, 0, TOY_IDS(A, BYTE + 0x80, B), TOY_IDS(1, 2, 3));
    toy_expect(&t,
               "\xFF"
               "abab",
               5, 0, TOY_IDS(BYTE + 0xFF, BYTE + 'a', BYTE + 'b', BYTE + 'a', B),
               TOY_IDS(1, 2, 3, 4, 5));
    toy_expect(&t, "a\xE2", 2, 0, TOY_IDS(A, BYTE + 0xE2), TOY_IDS(1, 2));
    /* Written out, the space is E2 96 81: its first two go with the E2 before it. */
    toy_expect(&t, "\xE2 a", 3, 0,
               TOY_IDS(BYTE + 0xE2, BYTE + 0xE2, BYTE + 0x96, BYTE + 0x81, A),
               TOY_IDS(1, 2, 2, 2, 3));
    toy_close(&t);
}

static void without_its_bytes_a_character_is_unknown(void **state)
{
    static const char *const few[] = {"<unk>", "a", "<0xC3>", NULL};
    static const int32_t few_types[] = {2, 1, 6};
    words w = {.tokens = few, .types = few_types, .no_prefix = true, .unknown_plus_1 = 1};
    toy t;
    assert_int_equal(open_words(&t, state, &w), KE_OK);
    toy_expect(&t,
               "a\xC3\xA9"
               "a",
               4, 0, TOY_IDS(1, 0, 1), TOY_IDS(1, 3, 4));
    toy_expect(&t, "\xC3", 1, 0, TOY_IDS(2), TOY_IDS(1));
    toy_close(&t);
    w.unknown_plus_1 = 0;
    assert_int_equal(open_words(&t, state, &w), KE_OK);
    toy_expect(&t,
               "a\xC3\xA9"
               "a",
               4, 0, TOY_IDS(1, 1), TOY_IDS(1, 4));
    toy_close(&t);
}

/* A token that looks like a byte's but is of another type prints as it stands. */
static void only_a_byte_token_prints_a_byte(void **state)
{
    static const char *const few[] = {"<0x41>", "<0x42>", NULL};
    static const int32_t few_types[] = {1, 6};
    words w = {.tokens = few, .types = few_types};
    toy t;
    assert_int_equal(open_words(&t, state, &w), KE_OK);
    expect_back(&t, TOY_IDS(0, 1), "<0x41>B");
    toy_close(&t);
}

/* --- the rule itself ---------------------------------------------------------------- */

static const char *const some[] = {"a",    "b",    "c",     "ab",  "ba",    "aa",  "aba",
                                   "abab", "aaba", "ababc", "bac", "cabab", "bab", NULL};
static const float some_scores[] = {0, 0, 0, -2, -1, -2, -3, -3, 5, -2, -1, -4, -3};

static ptrdiff_t find_some(const char *left, const char *right)
{
    char pair[256];
    strcat(strcpy(pair, left), right);
    for (ptrdiff_t i = 0; some[i]; i++)
        if (strcmp(some[i], pair) == 0)
            return i;
    return -1;
}

/* Over and over, of the neighbours that make a token the best, its leftmost place. */
static size_t merge_slowly(char (*parts)[32], size_t n)
{
    for (;;) {
        ptrdiff_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            ptrdiff_t made = find_some(parts[i], parts[i + 1]);
            if (made >= 0 && (best < 0 || some_scores[made] > some_scores[best])) {
                best = made;
                at = i;
            }
        }
        if (best < 0)
            return n;
        strcpy(parts[at], some[best]);
        memmove(parts[at + 1], parts[at + 2], (n - at - 2) * sizeof parts[0]);
        n--;
    }
}

static void long_texts_merge_as_the_rule_says(void **state)
{
    static char parts[202][32];
    words w = {.tokens = some, .scores = some_scores, .no_prefix = true};
    ke__rng rng = {7};
    toy t;
    assert_int_equal(open_words(&t, state, &w), KE_OK);
    for (size_t round = 0; round < 100; round++) {
        char text[200];
        size_t n = 1 + ke__rng_next(&rng) % sizeof text, got = 0;
        int32_t *ids = NULL;
        memset(parts, 0, sizeof parts);
        for (size_t i = 0; i < n; i++)
            parts[i][0] = text[i] = "aabbbc"[ke__rng_next(&rng) % 6];
        size_t want = merge_slowly(parts, n);
        assert_int_equal(ke_tokenize(t.cx, &ids, &got, t.tok, text, n, 0), KE_OK);
        assert_int_equal(got, want);
        for (size_t i = 0; i < want; i++)
            assert_string_equal(some[ids[i]], parts[i]);
        ke_free(t.cx, ids);
    }
    toy_close(&t);
}

static void a_text_of_a_million_bytes_is_no_trouble(void **state)
{
    static const char *const few[] = {"a", "aa", "aaaa", NULL};
    enum { BYTES = 1000000 };
    words w = {.tokens = few, .no_prefix = true};
    toy t;
    int32_t *ids = NULL;
    size_t n = 0;
    char *text = malloc(BYTES);
    assert_non_null(text);
    memset(text, 'a', BYTES);
    assert_int_equal(open_words(&t, state, &w), KE_OK);
    assert_int_equal(ke_tokenize(t.cx, &ids, &n, t.tok, text, BYTES, 0), KE_OK);
    assert_int_equal(n, BYTES / 4);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], 2);
    ke_free(t.cx, ids);
    free(text);
    toy_close(&t);
}

/* --- bad files and too little memory -------------------------------------------------- */

static void refused(void **state, ke__gguf_new_kv kv, const char *part)
{
    static const char *const few[] = {"a", "b", NULL};
    const ke__gguf_new_kv kvs[] = {
        kv, {.key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = 0}};
    toy t;
    assert_int_equal(
        toy_open(&t, scratch_path(state, "toy.gguf"),
                 &(toy_spec){.model = "llama", .tokens = few, .more = kvs, .n_more = 2}),
        KE_EFORMAT);
    assert_null(t.tok);
    if (!strstr(ke_ctx_message(t.cx), part))
        fail_msg("\"%s\" lacks \"%s\"", ke_ctx_message(t.cx), part);
    toy_close(&t);
}

static void bad_keys_are_named(void **state)
{
    static const float three[] = {0, 0, 0}, no_number[] = {0, NAN};
    static const int32_t whole[] = {1, 2};
    refused(state,
            (ke__gguf_new_kv){.key = "tokenizer.ggml.scores",
                              .type = KE__GGUF_ARRAY,
                              .floats = three,
                              .n = 3},
            "\"tokenizer.ggml.scores\" has 3 items, expected 2");
    refused(state,
            (ke__gguf_new_kv){.key = "tokenizer.ggml.scores",
                              .type = KE__GGUF_ARRAY,
                              .floats = no_number,
                              .n = 2},
            "\"tokenizer.ggml.scores\" item 1 is not a number");
    refused(
        state,
        (ke__gguf_new_kv){
            .key = "tokenizer.ggml.scores", .type = KE__GGUF_ARRAY, .ints = whole, .n = 2},
        "\"tokenizer.ggml.scores\" has type");
    refused(state,
            (ke__gguf_new_kv){.key = "tokenizer.ggml.unknown_token_id",
                              .type = KE__GGUF_U32,
                              .value.u = 2},
            "\"tokenizer.ggml.unknown_token_id\" is 2, but there are 2 tokens");
    refused(state,
            (ke__gguf_new_kv){.key = "tokenizer.ggml.add_space_prefix",
                              .type = KE__GGUF_U32,
                              .value.u = 1},
            "tokenizer.ggml.add_space_prefix");
}

static ke_status load_and_use(ke_ctx *cx, void *file)
{
    static const char text[] = "<x>ab<x>babababababababa \xE2\x82\xAC b";
    ke_status st = KE_OK;
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n, bytes;
    KE_TRY(ke__tokenizer_from_gguf(cx, &tok, file));
    KE_TRY(ke_tokenize(cx, &ids, &n, tok, text, strlen(text), 0));
    KE_TRY(ke_detokenize(cx, &back, &bytes, tok, ids, n));
    assert_string_equal(back, text);
done:
    ke_free(cx, ids);
    ke_free(cx, back);
    ke__tokenizer_free(cx, tok);
    return st;
}

static void any_allocation_may_fail(void **state)
{
    toy t;
    open_llama(&t, state, true);
    oom_each(load_and_use, &t.file);
    toy_close(&t);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(the_highest_score_goes_first),
        ON_DISK(of_equal_scores_the_leftmost_goes_first),
        ON_DISK(spaces_are_characters),
        ON_DISK(a_space_is_put_first),
        ON_DISK(what_is_no_token_becomes_bytes),
        ON_DISK(invalid_utf8_is_bytes_too),
        ON_DISK(without_its_bytes_a_character_is_unknown),
        ON_DISK(only_a_byte_token_prints_a_byte),
        ON_DISK(long_texts_merge_as_the_rule_says),
        ON_DISK(a_text_of_a_million_bytes_is_no_trouble),
        ON_DISK(bad_keys_are_named),
        ON_DISK(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, fill_tokens, NULL);
}
