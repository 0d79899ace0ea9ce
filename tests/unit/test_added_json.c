/* Tokens that the files beside tokenizer.json name: the ids that transformers gives
 * (tests/data/tokenizers/folders.json), tokens without a row, and files that are wrong. */
#include "token/token.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"

#define TOKENIZER "tests/data/hf/llama/tokenizer.json"
#define CASES     "tests/data/tokenizers/folders.json"

static char *tokenizer; /* the text of TOKENIZER */

static int read_tokenizer(void **state)
{
    (void)state;
    json_t *value = json_load_file(TOKENIZER, 0, NULL);
    tokenizer = json_dumps(value, 0);
    json_decref(value);
    return tokenizer ? 0 : -1;
}

static int free_tokenizer(void **state)
{
    (void)state;
    free(tokenizer);
    return 0;
}

static ke__gguf_str text_of(const char *text)
{
    return (ke__gguf_str){text, text ? strlen(text) : 0};
}

static void expect(ke_ctx *cx, const char *name, const ke_tokenizer *tok, const char *text,
                   const json_t *want, unsigned flags)
{
    int32_t *ids = NULL;
    size_t n = 0;
    if (ke_tokenize(cx, &ids, &n, tok, text, strlen(text), flags) != KE_OK)
        fail_msg("%s: %s", name, ke_ctx_message(cx));
    for (size_t i = 0; i < n || i < json_array_size(want); i++) {
        int id = (int)json_integer_value(json_array_get(want, i));
        if (i >= n || i >= json_array_size(want) || ids[i] != id)
            fail_msg("%s: \"%s\": %zu tokens, number %zu is %d; expected %zu, %d", name,
                     text, n, i, i < n ? ids[i] : -1, json_array_size(want), id);
    }
    ke_free(cx, ids);
}

static void ids_are_those_of_transformers(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    json_t *all = json_load_file(CASES, 0, NULL), *one, *text;
    size_t i, k;
    assert_true(json_array_size(json_object_get(all, "cases")) > 20);
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        static const char *const names[] = {"tokenizer_config", "special_tokens_map",
                                            "added_tokens"};
        const char *name = json_string_value(json_object_get(one, "name"));
        char *files[3];
        for (k = 0; k < 3; k++)
            files[k] = json_dumps(json_object_get(one, names[k]), 0);
        ke__tokenizer_texts t = {.folder = "F",
                                 .tokenizer = text_of(tokenizer),
                                 .tokenizer_config = text_of(files[0]),
                                 .special_tokens_map = text_of(files[1]),
                                 .added_tokens = text_of(files[2])};
        ke_tokenizer *tok = NULL;
        if (ke__tokenizer_parse_json(cx, &tok, &t) != KE_OK)
            fail_msg("%s: %s", name, ke_ctx_message(cx));
        assert_int_equal(json_integer_value(json_object_get(one, "tokens")),
                         ke__tokenizer_size(tok));
        json_array_foreach(json_object_get(all, "texts"), k, text)
        {
            const char *said = json_string_value(text);
            expect(cx, name, tok, said, json_array_get(json_object_get(one, "ids"), k),
                   KE_TOK_PARSE_SPECIAL);
            expect(cx, name, tok, said, json_array_get(json_object_get(one, "begun"), k),
                   KE_TOK_PARSE_SPECIAL | KE_TOK_ADD_BOS | KE_TOK_ADD_EOS);
        }
        ke__tokenizer_free(cx, tok);
        for (k = 0; k < 3; k++)
            free(files[k]);
    }
    json_decref(all);
    ke_ctx_free(cx);
}

static ke_status parse(ke_ctx *cx, ke_tokenizer **tok, const char *config,
                       const char *tokenizer_config, const char *map, const char *added)
{
    ke__tokenizer_texts t = {.folder = "F",
                             .tokenizer = text_of(tokenizer),
                             .config = text_of(config),
                             .tokenizer_config = text_of(tokenizer_config),
                             .special_tokens_map = text_of(map),
                             .added_tokens = text_of(added)};
    return ke__tokenizer_parse_json(cx, tok, &t);
}

/* Gemma 3's text models come with a token for images that only the larger ones embed. */
static void a_token_without_a_row_is_text(void **state)
{
    static const char added[] = "{\"added_tokens_decoder\":{\"260\":{\"content\":\"<x>\"},"
                                "\"261\":{\"content\":\"<y>\",\"special\":true}}}";
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    /* '<', 'x', '>' as bytes of the alphabet, which begins with '!' = 0. */
    json_t *x = json_pack("[i]", 260), *y = json_pack("[iii]", 27, 88, 29),
           *end = json_pack("[i]", 259);
    assert_int_equal(KE_OK, parse(cx, &tok, "{\"vocab_size\":261}", added, NULL, NULL));
    assert_int_equal(261, ke__tokenizer_size(tok));
    expect(cx, "a row", tok, "<x>", x, KE_TOK_PARSE_SPECIAL);
    expect(cx, "no row", tok, "<y>", y, KE_TOK_PARSE_SPECIAL);
    ke__tokenizer_free(cx, tok);
    /* A token of the vocabulary itself is not dropped: there the file contradicts. */
    assert_int_equal(KE_OK, parse(cx, &tok, "{\"vocab_size\":259}", added, NULL, NULL));
    assert_int_equal(259, ke__tokenizer_size(tok));
    ke__tokenizer_free(cx, tok);
    assert_int_equal(KE_OK, parse(cx, &tok, "{\"vocab_size\":100}", NULL, NULL, NULL));
    assert_int_equal(259, ke__tokenizer_size(tok));
    ke__tokenizer_free(cx, tok);
    assert_int_equal(KE_OK, parse(cx, &tok, "{\"vocab_size\":260}", added, NULL, NULL));
    expect(cx, "its own", tok, "<|end|>", end, KE_TOK_PARSE_SPECIAL);
    ke__tokenizer_free(cx, tok);
    json_decref(x);
    json_decref(y);
    json_decref(end);
    ke_ctx_free(cx);
}

/* An id from which no next one can be counted. */
static void the_largest_number_is_no_id(void **state)
{
    static const char file[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"zz\":"
                               "9223372036854775807},\"merges\":[]}}";
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    ke__tokenizer_texts t = {
        .folder = "F",
        .tokenizer = text_of(file),
        .tokenizer_config =
            text_of("{\"added_tokens_decoder\":{\"0\":{\"content\":\"zz\"}}}")};
    assert_int_equal(KE_EFORMAT, ke__tokenizer_parse_json(cx, &tok, &t));
    assert_null(tok);
    assert_non_null(strstr(ke_ctx_message(cx), "model.vocab gives \"zz\" no id from 0"));
    ke_ctx_free(cx);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *config, *map, *added, *says;
    } cases[] = {
        {"{\"added_tokens_decoder\":[]}", NULL, NULL,
         "tokenizer_config.json: added_tokens_decoder is not an object"},
        {"{\"added_tokens_decoder\":{\"x1\":\"a\"}}", NULL, NULL,
         "tokenizer_config.json: added_tokens_decoder has the name \"x1\", an id expected"},
        {"{\"added_tokens_decoder\":{\"-1\":\"a\"}}", NULL, NULL, "the name \"-1\", an id"},
        {"{\"added_tokens_decoder\":{\"9999999999999999999999\":\"a\"}}", NULL, NULL,
         "an id expected"},
        {"{\"added_tokens_decoder\":{\"1\":7}}", NULL, NULL,
         "added_tokens_decoder is neither a text nor an object with \"content\""},
        {"{\"added_tokens_decoder\":{\"1\":{\"content\":\"a\\u0000b\"}}}", NULL, NULL,
         "has a content of 3 bytes, expected at most 4096, none of them NUL"},
        {"{\"added_tokens_decoder\":{\"1\":{\"content\":\"<x>\",\"lstrip\":1}}}", NULL,
         NULL, "added_tokens_decoder.lstrip is not true or false"},
        {"{\"additional_special_tokens\":\"<x>\"}", NULL, NULL,
         "additional_special_tokens is not an array"},
        {"{\"pad_token\":5}", NULL, NULL,
         "pad_token is neither a text nor an object with \"content\""},
        {NULL, "[]", NULL, "special_tokens_map.json: the file is not one JSON object"},
        {"{}", "{\"pad_token\":5}", NULL, "special_tokens_map.json: pad_token is neither"},
        {NULL, NULL, "{\"<x>\":\"1\"}", "added_tokens.json: gives \"<x>\" no id"},
        {NULL, NULL, "{\"<x>\":-1}", "added_tokens.json: gives \"<x>\" no id"},
    };
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke_tokenizer *tok = NULL;
        ke_status st = parse(cx, &tok, NULL, cases[i].config, cases[i].map, cases[i].added);
        if (st != KE_EFORMAT || !strstr(ke_ctx_message(cx), cases[i].says))
            fail_msg("%s: %s; expected: %s", ke_status_name(st), ke_ctx_message(cx),
                     cases[i].says);
        assert_null(tok);
    }
    ke_ctx_free(cx);
}

static ke_status parse_all(ke_ctx *cx, void *payload)
{
    (void)payload;
    ke_tokenizer *tok = NULL;
    ke_status st =
        parse(cx, &tok, "{\"vocab_size\":300}",
              "{\"added_tokens_decoder\":{\"260\":{\"content\":\"<x>\"}}}", NULL, NULL);
    ke__tokenizer_free(cx, tok);
    if (st == KE_OK)
        st = parse(cx, &tok, NULL, NULL, "{\"bos_token\":\"<s>\"}", "{\"<y>\":260}");
    if (st == KE_OK)
        ke__tokenizer_free(cx, tok);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    oom_each(parse_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_transformers),
        cmocka_unit_test(a_token_without_a_row_is_text),
        cmocka_unit_test(the_largest_number_is_no_id),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, read_tokenizer, free_tokenizer);
}
