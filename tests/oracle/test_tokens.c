/* Token ids against llama.cpp's, on the models that KE_MODEL_SMOLLM2 and KE_MODEL_GEMMA3
 * are the paths of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "token/token.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static ke_ctx *cx;
static ke__gguf file;
static ke_tokenizer *tok;
static json_t *oracle;

static int open_all(const char *variable, const char *expected)
{
    const char *path = getenv(variable);
    if (!path)
        fail_msg("%s is not set; it is the path of the model's GGUF file", variable);
    oracle = json_load_file(expected, 0, NULL);
    if (!oracle)
        fail_msg("cannot read %s; run from the root of the tree", expected);
    cx = ke_ctx_new(NULL);
    assert_non_null(cx);
    if (ke__gguf_open(cx, &file, path) != KE_OK ||
        ke__tokenizer_from_gguf(cx, &tok, &file) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    return 0;
}

static int open_smollm2(void **state)
{
    (void)state;
    return open_all("KE_MODEL_SMOLLM2", "tests/data/oracles/smollm2-135m.json");
}

static int open_gemma3(void **state)
{
    (void)state;
    return open_all("KE_MODEL_GEMMA3", "tests/data/oracles/gemma3-270m.json");
}

static int close_all(void **state)
{
    (void)state;
    ke__tokenizer_free(cx, tok);
    ke__gguf_close(cx, &file);
    ke_ctx_free(cx);
    json_decref(oracle);
    return 0;
}

/* The ids of every text, and the text back from them (without the BOS before it). */
static void compare(const char *key, unsigned flags)
{
    size_t i;
    json_t *item;
    assert_true(json_array_size(json_object_get(oracle, "tokens")) > 0);
    json_array_foreach(json_object_get(oracle, "tokens"), i, item)
    {
        const json_t *text = json_object_get(item, "text"),
                     *want = json_object_get(item, key);
        int32_t *ids = NULL;
        size_t n = 0;
        assert_int_equal(ke_tokenize(cx, &ids, &n, tok, json_string_value(text),
                                     json_string_length(text), flags),
                         KE_OK);
        if (n != json_array_size(want))
            fail_msg("\"%s\": %zu tokens, expected %zu", json_string_value(text), n,
                     json_array_size(want));
        for (size_t k = 0; k < n; k++)
            if (ids[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("\"%s\": token %zu is %d, expected %d", json_string_value(text), k,
                         ids[k], (int)json_integer_value(json_array_get(want, k)));

        char *back = NULL;
        size_t bytes = 0;
        size_t bos = flags & KE_TOK_ADD_BOS && n > 0 && ids[0] == ke_tokenizer_bos(tok);
        assert_int_equal(ke_detokenize(cx, &back, &bytes, tok, ids + bos, n - bos), KE_OK);
        assert_int_equal(bytes, json_string_length(text));
        assert_memory_equal(back, json_string_value(text), bytes);
        ke_free(cx, back);
        ke_free(cx, ids);
    }
}

static void plain_text(void **state)
{
    (void)state;
    compare("ids", 0);
}

static void special_tokens_recognised(void **state)
{
    (void)state;
    compare("ids_special", KE_TOK_PARSE_SPECIAL);
}

static void bos_asked_for(void **state)
{
    (void)state;
    compare("ids_bos", KE_TOK_ADD_BOS);
}

static void ids_of_smollm2(void **state)
{
    (void)state;
    assert_string_equal(ke__tokenizer_name(tok), "gpt2 (smollm)");
    assert_int_equal(ke__tokenizer_size(tok), 49152);
    assert_int_equal(ke_tokenizer_bos(tok), 1);
    assert_int_equal(ke_tokenizer_eos(tok), 2);
    assert_true(ke_tokenizer_is_end(tok, 0)); /* <|endoftext|> */
    assert_false(ke_tokenizer_is_end(tok, 1));
    assert_true(ke_tokenizer_is_end(tok, 2));
}

static void ids_of_gemma3(void **state)
{
    (void)state;
    assert_string_equal(ke__tokenizer_name(tok), "llama (SentencePiece)");
    assert_int_equal(ke__tokenizer_size(tok), 262144);
    assert_int_equal(ke_tokenizer_bos(tok), 2);
    assert_int_equal(ke_tokenizer_eos(tok), 1);
    assert_true(ke_tokenizer_is_end(tok, 1));
    assert_true(ke_tokenizer_is_end(tok, 106)); /* <end_of_turn> */
    assert_false(ke_tokenizer_is_end(tok, 105));
}

#define COMPARISONS                                                                        \
    cmocka_unit_test(plain_text), cmocka_unit_test(special_tokens_recognised),             \
        cmocka_unit_test(bos_asked_for)

int main(void)
{
    const struct CMUnitTest smollm2[] = {COMPARISONS, cmocka_unit_test(ids_of_smollm2)};
    const struct CMUnitTest gemma3[] = {COMPARISONS, cmocka_unit_test(ids_of_gemma3)};
    return cmocka_run_group_tests(smollm2, open_smollm2, close_all) +
           cmocka_run_group_tests(gemma3, open_gemma3, close_all);
}
