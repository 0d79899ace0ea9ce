/* Byte-level BPE on vocabularies small enough to merge by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/scratch.h"
#include "support/toy_tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* In the vocabulary's alphabet: Ġ is a space, Ċ a line feed, ÿ byte FF, Ģ byte 80. */
enum { A, B, C, AB, BC, ABC, CAB, SP, SP_A, LF, ONE, TWO, ONE_TWO, FF, X80, A_FF, N_PLAIN };
#define PLAIN                                                                              \
    "a", "b", "c", "ab", "bc", "abc", "cab", "Ġ", "Ġa", "Ċ", "1", "2", "12", "ÿ", "Ģ", "aÿ"
static const char *const plain[] = {PLAIN, NULL};
static const char *const merges[] = {"a b", "b c", "ab c", "Ġ a", "1 2", "a ÿ", NULL};

static void open_plain(toy *t, void **state, const char *pre, const char *const *order)
{
    toy_spec spec = {.pre = pre, .tokens = plain, .merges = order};
    if (toy_open(t, scratch_path(state, "toy.gguf"), &spec) != KE_OK)
        fail_msg("%s", ke_ctx_message(t->cx));
}

static void the_first_merge_of_the_list_goes_first(void **state)
{
    static const char *const bc_first[] = {"b c", "a b", "ab c", NULL};
    toy t;
    open_plain(&t, state, "gpt-2", merges);
    toy_expect(&t, "abc", 3, 0, TOY_IDS(ABC), TOY_IDS(3));
    toy_expect(&t, "bc", 2, 0, TOY_IDS(BC), TOY_IDS(2));
    toy_expect(&t, "ab abc", 6, 0, TOY_IDS(AB, SP, ABC), TOY_IDS(2, 3, 6));
    toy_expect(&t, "cab", 3, 0, TOY_IDS(C, AB), TOY_IDS(1, 3)); /* cab: no merge makes it */
    toy_expect(&t, "", 0, 0, TOY_IDS(-1), NULL);
    toy_expect(&t, NULL, 0, 0, TOY_IDS(-1), NULL);
    toy_close(&t);
    open_plain(&t, state, "gpt-2", bc_first);
    toy_expect(&t, "abc", 3, 0, TOY_IDS(A, BC), TOY_IDS(1, 3));
    toy_close(&t);
}

static void of_equal_merges_the_leftmost_goes_first(void **state)
{
    static const char *const tokens[] = {"a", "aa", "aaa", NULL};
    static const char *const order[] = {"a a", "aa a", NULL};
    toy t;
    toy_spec spec = {.pre = "gpt-2", .tokens = tokens, .merges = order};
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    toy_expect(&t, "aaa", 3, 0, TOY_IDS(2), NULL);
    toy_expect(&t, "aaaa", 4, 0, TOY_IDS(1, 1), NULL);
    toy_expect(&t, "aaaaa", 5, 0, TOY_IDS(1, 2), NULL);
    toy_close(&t);
}

static void each_split_cuts_its_own_way(void **state)
{
    toy t;
    open_plain(&t, state, "gpt-2", merges);
    assert_string_equal(ke__tokenizer_name(t.tok), "gpt2 (gpt-2)");
    assert_int_equal(ke__tokenizer_size(t.tok), N_PLAIN);
    toy_expect(&t, "12", 2, 0, TOY_IDS(ONE_TWO), NULL);
    toy_expect(&t, "  a", 3, 0, TOY_IDS(SP, SP_A), TOY_IDS(1, 3));
    toy_expect(&t, "  \n a", 5, 0, TOY_IDS(SP, SP, LF, SP_A), NULL);
    toy_close(&t);
    open_plain(&t, state, "smollm", merges);
    toy_expect(&t, "12", 2, 0, TOY_IDS(ONE, TWO), NULL);
    toy_close(&t);
    open_plain(&t, state, "qwen2", merges);
    toy_expect(&t, "12", 2, 0, TOY_IDS(ONE, TWO), NULL);
    toy_expect(&t, "cab", 3, 0, TOY_IDS(C, AB), NULL);
    toy_close(&t);
    open_plain(&t, state, "dbrx", merges);
    toy_expect(&t, "1212", 4, 0, TOY_IDS(ONE_TWO, ONE, TWO), NULL); /* 121, 2 */
    toy_close(&t);
}

/* Llama 3 takes a word that is a token whole, and up to three digits a word. */
static void llama3_ignores_merges(void **state)
{
    static const ke__gguf_new_kv bos = {
        .key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = A};
    toy_spec spec = {
        .pre = "llama-bpe", .tokens = plain, .merges = merges, .more = &bos, .n_more = 1};
    toy t;
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    toy_expect(&t, "cab", 3, 0, TOY_IDS(CAB), TOY_IDS(3));
    toy_expect(&t, "cabc", 4, 0, TOY_IDS(C, ABC), NULL);
    toy_expect(&t, "b", 1, KE_TOK_ADD_BOS, TOY_IDS(A, B), TOY_IDS(0, 1)); /* its default */
    toy_close(&t);
}

static void invalid_utf8_is_kept_byte_by_byte(void **state)
{
    toy t;
    open_plain(&t, state, "gpt-2", merges);
    /* "a ÿ" is a merge, but a byte that is no UTF-8 is a word of its own. */
    toy_expect(&t, "a\xFF\x80 a", 5, 0, TOY_IDS(A, FF, X80, SP_A), TOY_IDS(1, 2, 3, 5));
    toy_expect(&t, "\xFF", 1, 0, TOY_IDS(FF), TOY_IDS(1));
    char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(
        ke_detokenize(t.cx, &text, &bytes, t.tok, TOY_IDS(A, FF, X80, SP_A), 4), KE_OK);
    assert_int_equal(bytes, 5);
    assert_memory_equal(text, "a\xFF\x80 a", 6);
    ke_free(t.cx, text);
    toy_close(&t);
}

static void a_byte_without_a_token_is_left_out(void **state)
{
    toy t;
    open_plain(&t, state, "gpt-2", merges);
    toy_expect(&t, "a\004b", 3, 0, TOY_IDS(A, B), TOY_IDS(1, 3));
    toy_expect(&t, "\004", 1, 0, TOY_IDS(-1), NULL);
    toy_close(&t);
}

/* --- special tokens --------------------------------------------------------------- */

enum { X = N_PLAIN, XX, UNK, HOLE, END, XYX };
static const char *const special[] = {PLAIN, "<x>",        "<x><x>", "<unk>",
                                      "",    "<|im_end|>", "x><x",   NULL};
static const int32_t special_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                        1, 1, 1, 1, 1, 4, 3, 2, 3, 1, 3};

static void open_special(toy *t, void **state, const ke__gguf_new_kv *more, size_t n_more)
{
    toy_spec spec = {.pre = "gpt-2",
                     .tokens = special,
                     .types = special_types,
                     .merges = merges,
                     .more = more,
                     .n_more = n_more};
    if (toy_open(t, scratch_path(state, "toy.gguf"), &spec) != KE_OK)
        fail_msg("%s", ke_ctx_message(t->cx));
}

static void control_tokens_only_where_asked_for(void **state)
{
    toy t;
    open_special(&t, state, NULL, 0);
    toy_expect(&t, "a<x>b", 5, 0, TOY_IDS(A, X, B), TOY_IDS(1, 4, 5));
    toy_expect(&t, "<x><x>", 6, 0, TOY_IDS(X, X), TOY_IDS(3, 6));
    toy_expect(&t, "a<unk>b", 7, 0, TOY_IDS(A, B), NULL); /* no tokens for < u n k > */
    toy_expect(&t, "a<unk>b", 7, KE_TOK_PARSE_SPECIAL, TOY_IDS(A, UNK, B),
               TOY_IDS(1, 6, 7));
    /* The longest first, wherever it stands. */
    toy_expect(&t, "<x><x><x>", 9, KE_TOK_PARSE_SPECIAL, TOY_IDS(XX, X), TOY_IDS(6, 9));
    toy_expect(&t, "a<x>b<x><x>", 11, KE_TOK_PARSE_SPECIAL, TOY_IDS(A, X, B, XX), NULL);
    toy_close(&t);
}

/* <|im_end|> is of type normal here, as in files of old converters. */
static void an_end_is_known_by_its_text_or_key(void **state)
{
    static const ke__gguf_new_kv eos = {
        .key = "tokenizer.ggml.eos_token_id", .type = KE__GGUF_U32, .value.u = C};
    toy t;
    open_special(&t, state, &eos, 1);
    toy_expect(&t, "<|im_end|>", 10, KE_TOK_PARSE_SPECIAL, TOY_IDS(END), TOY_IDS(10));
    toy_expect(&t, "a<|im_end|>", 11, 0, TOY_IDS(A), NULL);
    assert_true(ke_tokenizer_is_end(t.tok, END));
    assert_true(ke_tokenizer_is_end(t.tok, C));
    assert_false(ke_tokenizer_is_end(t.tok, X));
    assert_false(ke_tokenizer_is_end(t.tok, -1));
    assert_false(ke_tokenizer_is_end(t.tok, XYX + 1));
    toy_close(&t);
}

static void a_stripping_token_takes_white_space_along(void **state)
{
    static const ke__gguf_new_kv name = {
        .key = "general.name", .type = KE__GGUF_STRING, .value.s = "Phi-3 toy"};
    toy t;
    open_special(&t, state, &name, 1);
    toy_expect(&t, "a <x> \n b", 9, 0, TOY_IDS(A, SP, X, B), TOY_IDS(1, 2, 8, 9));
    toy_expect(&t, "a<unk> a", 8, KE_TOK_PARSE_SPECIAL, TOY_IDS(A, UNK, SP_A), NULL);
    toy_close(&t);

    static const char *const tokens[] = {"a", "Ġ", "<mask>", NULL};
    static const int32_t types[] = {1, 1, 3};
    static const char *const none[] = {"a Ġ", NULL};
    toy_spec spec = {.pre = "jina-v2-de", .tokens = tokens, .types = types, .merges = none};
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    toy_expect(&t, "a \t<mask> a", 11, KE_TOK_PARSE_SPECIAL, TOY_IDS(0, 2, 1, 0),
               TOY_IDS(1, 9, 10, 11));
    toy_close(&t);
}

static void bos_and_eos_as_the_file_says(void **state)
{
    ke__gguf_new_kv kvs[] = {
        {.key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = X},
        {.key = "tokenizer.ggml.eos_token_id", .type = KE__GGUF_U32, .value.u = END},
        {.key = "tokenizer.ggml.add_bos_token", .type = KE__GGUF_BOOL, .value.u = 1},
        {.key = "tokenizer.ggml.add_eos_token", .type = KE__GGUF_BOOL, .value.u = 1},
    };
    toy t;
    open_special(&t, state, kvs, 4);
    assert_int_equal(ke_tokenizer_bos(t.tok), X);
    assert_int_equal(ke_tokenizer_eos(t.tok), END);
    toy_expect(&t, "ab", 2, 0, TOY_IDS(AB), NULL);
    toy_expect(&t, "ab", 2, KE_TOK_ADD_BOS, TOY_IDS(X, AB), TOY_IDS(0, 2));
    toy_expect(&t, "ab", 2, KE_TOK_ADD_BOS | KE_TOK_ADD_EOS, TOY_IDS(X, AB, END),
               TOY_IDS(0, 2, 2));
    toy_expect(&t, "", 0, KE_TOK_ADD_BOS, TOY_IDS(X), TOY_IDS(0));
    ke__tokenizer_drop_bos(t.tok);
    toy_expect(&t, "ab", 2, KE_TOK_ADD_BOS | KE_TOK_ADD_EOS, TOY_IDS(AB, END), NULL);
    toy_close(&t);

    open_special(&t, state, kvs, 2); /* named, but not to be added */
    toy_expect(&t, "ab", 2, KE_TOK_ADD_BOS | KE_TOK_ADD_EOS, TOY_IDS(AB), NULL);
    toy_close(&t);
    open_special(&t, state, NULL, 0);
    assert_int_equal(ke_tokenizer_bos(t.tok), -1);
    assert_int_equal(ke_tokenizer_eos(t.tok), -1);
    toy_close(&t);
}

static void ids_give_back_their_bytes(void **state)
{
    toy t;
    char *text = NULL;
    const char *data = NULL;
    size_t bytes = 0;
    open_special(&t, state, NULL, 0);
    assert_int_equal(
        ke_detokenize(t.cx, &text, &bytes, t.tok, TOY_IDS(SP_A, LF, FF, X, HOLE, END), 6),
        KE_OK);
    assert_int_equal(bytes, strlen(" a\n\xFF<x><|im_end|>"));
    assert_string_equal(text, " a\n\xFF<x><|im_end|>");
    ke_free(t.cx, text);
    assert_int_equal(ke_detokenize(t.cx, &text, &bytes, t.tok, NULL, 0), KE_OK);
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    ke_free(t.cx, text);

    assert_int_equal(ke__token_bytes(t.cx, t.tok, SP_A, &data, &bytes), KE_OK);
    assert_int_equal(bytes, 2);
    assert_memory_equal(data, " a", 2);
    assert_int_equal(ke_detokenize(t.cx, &text, &bytes, t.tok, TOY_IDS(A, XYX + 1), 2),
                     KE_EINVAL);
    assert_null(text);
    assert_non_null(strstr(ke_ctx_message(t.cx), "token id 22, expected 0 to 21"));
    assert_int_equal(ke__token_bytes(t.cx, t.tok, -1, &data, &bytes), KE_EINVAL);
    toy_close(&t);
}

/* --- long words ------------------------------------------------------------------- */

/* The rule itself: over and over, the best pair of the list, its leftmost place. */
static size_t merge_slowly(char (*parts)[32], size_t n, const char *const *order)
{
    for (size_t k = 0; order[k]; k++) {
        for (size_t i = 0; i + 1 < n; i++) {
            char pair[80];
            strcat(strcat(strcpy(pair, parts[i]), " "), parts[i + 1]);
            if (strcmp(pair, order[k]) != 0)
                continue;
            strcat(parts[i], parts[i + 1]);
            memmove(parts[i + 1], parts[i + 2], (n - i - 2) * sizeof parts[0]);
            n--;
            k = (size_t)-1; /* from the top of the list again */
            break;
        }
    }
    return n;
}

static void long_words_merge_as_the_rule_says(void **state)
{
    static const char *const tokens[] = {"a",   "b",     "c",    "ab",   "ba",
                                         "aa",  "aba",   "abab", "aaba", "ababc",
                                         "bac", "cabab", "bab",  NULL};
    static const char *const order[] = {"b a",    "a b",   "a a",    "ab ab",
                                        "a ba",   "a aba", "abab c", "ba c",
                                        "c abab", "ba b",  NULL};
    static char parts[202][32];
    toy t;
    toy_spec spec = {.pre = "gpt-2", .tokens = tokens, .merges = order};
    ke__rng rng = {7};
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    for (size_t round = 0; round < 40; round++) {
        char word[200];
        size_t n = 1 + ke__rng_next(&rng) % sizeof word, got = 0;
        int32_t *ids = NULL;
        memset(parts, 0, sizeof parts);
        for (size_t i = 0; i < n; i++)
            parts[i][0] = word[i] = "aabbbc"[ke__rng_next(&rng) % 6];
        size_t want = merge_slowly(parts, n, order);
        assert_int_equal(ke_tokenize(t.cx, &ids, &got, t.tok, word, n, 0), KE_OK);
        assert_int_equal(got, want);
        for (size_t i = 0; i < want; i++)
            assert_string_equal(tokens[ids[i]], parts[i]);
        ke_free(t.cx, ids);
    }
    toy_close(&t);
}

static void a_word_of_a_million_bytes_is_no_trouble(void **state)
{
    static const char *const tokens[] = {"a", "aa", "aaaa", NULL};
    static const char *const order[] = {"a a", "aa aa", NULL};
    enum { BYTES = 1000000 };
    toy t;
    toy_spec spec = {.pre = "gpt-2", .tokens = tokens, .merges = order};
    int32_t *ids = NULL;
    size_t n = 0;
    char *text = malloc(BYTES);
    assert_non_null(text);
    memset(text, 'a', BYTES);
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    assert_int_equal(ke_tokenize(t.cx, &ids, &n, t.tok, text, BYTES, 0), KE_OK);
    assert_int_equal(n, BYTES / 4);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], 2);
    ke_free(t.cx, ids);

    ke_ctx_cancel(t.cx);
    for (size_t i = 0; i < BYTES; i += 2)
        text[i] = ' ';
    assert_int_equal(ke_tokenize(t.cx, &ids, &n, t.tok, text, BYTES, 0), KE_ECANCELED);
    assert_null(ids);
    free(text);
    toy_close(&t);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(the_first_merge_of_the_list_goes_first),
        ON_DISK(of_equal_merges_the_leftmost_goes_first),
        ON_DISK(each_split_cuts_its_own_way),
        ON_DISK(llama3_ignores_merges),
        ON_DISK(invalid_utf8_is_kept_byte_by_byte),
        ON_DISK(a_byte_without_a_token_is_left_out),
        ON_DISK(control_tokens_only_where_asked_for),
        ON_DISK(an_end_is_known_by_its_text_or_key),
        ON_DISK(a_stripping_token_takes_white_space_along),
        ON_DISK(bos_and_eos_as_the_file_says),
        ON_DISK(ids_give_back_their_bytes),
        ON_DISK(long_words_merge_as_the_rule_says),
        ON_DISK(a_word_of_a_million_bytes_is_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
