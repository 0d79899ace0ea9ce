/* Token ids of real models against llama.cpp's (tests/data/oracles). */
#include "oracle/oracle.h"

#include <string.h>

static const oracle_model *model;
static oracle o;
static ke_ctx *cx;
static ke_tokenizer *tok;

static int set_up(void **state)
{
    (void)state;
    o = oracle_open(model->path_variable, model->file);
    cx = o.cx;
    tok = o.model->tokenizer;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oracle_close(&o);
    return 0;
}

/* The ids of every text, and the text back from them (without the BOS before it). */
static void compare(const char *key, unsigned flags)
{
    size_t i;
    json_t *item;
    assert_true(json_array_size(json_object_get(o.expected, "tokens")) > 0);
    json_array_foreach(json_object_get(o.expected, "tokens"), i, item)
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

static void ids_of_the_file(void **state)
{
    (void)state;
    assert_string_equal(ke__tokenizer_name(tok), model->tokenizer);
    assert_int_equal(ke__tokenizer_size(tok), model->n_tokens);
    assert_int_equal(ke_tokenizer_bos(tok), model->bos);
    assert_int_equal(ke_tokenizer_eos(tok), model->eos);
    assert_true(ke_tokenizer_is_end(tok, model->end));
    assert_true(ke_tokenizer_is_end(tok, model->eos));
    assert_false(ke_tokenizer_is_end(tok, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text),
        cmocka_unit_test(special_tokens_recognised),
        cmocka_unit_test(bos_asked_for),
        cmocka_unit_test(ids_of_the_file),
    };
    int failed = 0;
    for (size_t i = 0; i < ORACLE_MODELS; i++) {
        model = &oracle_models[i];
        if (i == 0 || getenv(model->path_variable))
            failed += cmocka_run_group_tests_name(model->file, tests, set_up, tear_down);
    }
    return failed;
}
