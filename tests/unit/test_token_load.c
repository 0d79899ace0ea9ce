/* Tokenizers of malformed files, and loading with too little memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"
#include "support/toy_tokenizer.h"

#include <string.h>

static const char *const tokens[] = {"a", "b", "ab", "<x>", NULL};
static const char *const merges[] = {"a b", NULL};
static const char *const nothing[] = {NULL};

static void refused(void **state, const toy_spec *spec, ke_status st, const char *part)
{
    toy t;
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), spec), st);
    assert_null(t.tok);
    if (!strstr(ke_ctx_message(t.cx), part))
        fail_msg("\"%s\" lacks \"%s\"", ke_ctx_message(t.cx), part);
    toy_close(&t);
}

static void a_missing_key_is_named(void **state)
{
    refused(state, &(toy_spec){.merges = merges}, KE_EFORMAT,
            "\"tokenizer.ggml.tokens\" is missing");
    refused(state, &(toy_spec){.tokens = tokens}, KE_EFORMAT,
            "\"tokenizer.ggml.merges\" is missing");
    refused(state, &(toy_spec){.tokens = nothing, .merges = merges}, KE_EFORMAT, "empty");
    ke__gguf_new_kv add = {
        .key = "tokenizer.ggml.add_bos_token", .type = KE__GGUF_BOOL, .value.u = 1};
    refused(
        state,
        &(toy_spec){
            .pre = "gpt-2", .tokens = tokens, .merges = merges, .more = &add, .n_more = 1},
        KE_EFORMAT, "\"tokenizer.ggml.bos_token_id\" is missing");

    toy t;
    ke_tokenizer *tok = NULL;
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"),
                              &(toy_spec){.tokens = tokens, .merges = merges}),
                     KE_OK); /* no tokenizer.ggml.pre */
    assert_string_equal(ke__tokenizer_name(t.tok), "gpt2 (default)");
    toy_close(&t);
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf empty = {.n_kvs = 0};
    assert_int_equal(ke__tokenizer_from_gguf(cx, &tok, &empty), KE_EFORMAT);
    assert_non_null(strstr(ke_ctx_message(cx), "\"tokenizer.ggml.model\" is missing"));
    ke_ctx_free(cx);
}

static void an_unknown_name_is_named(void **state)
{
    refused(state, &(toy_spec){.model = "bert", .tokens = tokens, .merges = merges},
            KE_ENOTSUP, "tokenizer.ggml.model \"bert\" is not known");
    refused(state, &(toy_spec){.pre = "qwen", .tokens = tokens, .merges = merges},
            KE_ENOTSUP, "tokenizer.ggml.pre \"qwen\" is not known");
}

static void a_merge_is_two_symbols(void **state)
{
    static const char *const bad[] = {"ab", "a ", " a", " ", "", "ab "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *list[] = {"a b", bad[i], NULL};
        refused(state, &(toy_spec){.pre = "gpt-2", .tokens = tokens, .merges = list},
                KE_EFORMAT, "\"tokenizer.ggml.merges\" item 1");
    }
}

static void sizes_types_and_ids_are_checked(void **state)
{
    static const int32_t three[] = {1, 1, 1, 3};
    static const float scores[] = {1, 1, 1, 1};
    const struct {
        ke__gguf_new_kv kv;
        const char *part;
    } cases[] = {
        {{.key = "tokenizer.ggml.token_type",
          .type = KE__GGUF_ARRAY,
          .ints = three,
          .n = 3},
         "\"tokenizer.ggml.token_type\" has 3 items, expected 4"},
        {{.key = "tokenizer.ggml.token_type",
          .type = KE__GGUF_ARRAY,
          .floats = scores,
          .n = 4},
         "\"tokenizer.ggml.token_type\" has type"},
        {{.key = "tokenizer.ggml.token_type", .type = KE__GGUF_U32, .value.u = 1},
         "\"tokenizer.ggml.token_type\" has type"},
        {{.key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = 4},
         "\"tokenizer.ggml.bos_token_id\" is 4, but there are 4 tokens"},
        {{.key = "tokenizer.ggml.eos_token_id",
          .type = KE__GGUF_U64,
          .value.u = UINT64_MAX},
         "\"tokenizer.ggml.eos_token_id\" is 18446744073709551615"},
        {{.key = "tokenizer.ggml.eot_token_id", .type = KE__GGUF_U32, .value.u = 99},
         "\"tokenizer.ggml.eot_token_id\" is 99"},
        {{.key = "tokenizer.ggml.eos_token_id", .type = KE__GGUF_STRING, .value.s = "0"},
         "tokenizer.ggml.eos_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        toy_spec spec = {.pre = "gpt-2",
                         .tokens = tokens,
                         .merges = merges,
                         .more = &cases[i].kv,
                         .n_more = 1};
        refused(state, &spec, KE_EFORMAT, cases[i].part);
    }
}

static void oddities_of_real_files_are_taken(void **state)
{
    /* A token twice, holes, a merge that leads out of the vocabulary, "no BOS" as -1. */
    static const char *const odd[] = {"a", "b", "a", "", "", "ab", NULL};
    static const char *const list[] = {"b b", "a b", "a b", "ab b", NULL};
    static const ke__gguf_new_kv none = {
        .key = "tokenizer.ggml.bos_token_id", .type = KE__GGUF_U32, .value.u = UINT32_MAX};
    toy t;
    toy_spec spec = {
        .pre = "gpt-2", .tokens = odd, .merges = list, .more = &none, .n_more = 1};
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    assert_int_equal(ke_tokenizer_bos(t.tok), -1);
    toy_expect(&t, "abba", 4, 0, TOY_IDS(5, 1, 2), TOY_IDS(2, 3, 4));
    toy_close(&t);
}

static ke_status load_and_use(ke_ctx *cx, const ke__gguf *file)
{
    ke_status st = KE_OK;
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n, bytes;
    KE_TRY(ke__tokenizer_from_gguf(cx, &tok, file));
    KE_TRY(ke_tokenize(cx, &ids, &n, tok, "<x>ab<x>bababababababababababababa", 34, 0));
    KE_TRY(ke_detokenize(cx, &text, &bytes, tok, ids, n));
    assert_int_equal(bytes, 34);
done:
    ke_free(cx, ids);
    ke_free(cx, text);
    ke__tokenizer_free(cx, tok);
    return st;
}

/* PCRE2 does without generated code if that fails, so success ends nothing here. */
static void any_allocation_may_fail(void **state)
{
    static const int32_t types[] = {1, 1, 1, 4};
    toy t;
    toy_spec spec = {.pre = "default", .tokens = tokens, .types = types, .merges = merges};
    assert_int_equal(toy_open(&t, scratch_path(state, "toy.gguf"), &spec), KE_OK);
    oom o;
    long failed = 0, k = 0;
    do {
        ke_ctx *cx = oom_ctx(&o, k);
        ke_status st = load_and_use(cx, &t.file);
        assert_true(st == KE_OK || st == KE_ENOMEM);
        failed += st == KE_ENOMEM;
        assert_int_equal(o.n_live, 0);
        ke_ctx_free(cx);
    } while (k++ < o.n_calls);
    assert_true(failed > 20);
    toy_close(&t);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest cases[] = {
        ON_DISK(a_missing_key_is_named),           ON_DISK(an_unknown_name_is_named),
        ON_DISK(a_merge_is_two_symbols),           ON_DISK(sizes_types_and_ids_are_checked),
        ON_DISK(oddities_of_real_files_are_taken), ON_DISK(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
