#include "support/toy_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static size_t count(const char *const *strings)
{
    size_t n = 0;
    while (strings[n])
        n++;
    return n;
}

void toy_write(ke_ctx *cx, const char *path, const toy_spec *spec)
{
    ke__gguf_new_kv kvs[16];
    size_t n = 0;
    kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.model",
                                 .type = KE__GGUF_STRING,
                                 .value.s = spec->model ? spec->model : "gpt2"};
    if (spec->pre)
        kvs[n++] = (ke__gguf_new_kv){
            .key = "tokenizer.ggml.pre", .type = KE__GGUF_STRING, .value.s = spec->pre};
    if (spec->tokens)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.tokens",
                                     .type = KE__GGUF_ARRAY,
                                     .strings = spec->tokens,
                                     .n = count(spec->tokens)};
    if (spec->types)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.token_type",
                                     .type = KE__GGUF_ARRAY,
                                     .ints = spec->types,
                                     .n = count(spec->tokens)};
    if (spec->merges)
        kvs[n++] = (ke__gguf_new_kv){.key = "tokenizer.ggml.merges",
                                     .type = KE__GGUF_ARRAY,
                                     .strings = spec->merges,
                                     .n = count(spec->merges)};
    assert_true(n + spec->n_more <= sizeof kvs / sizeof kvs[0]);
    for (size_t i = 0; i < spec->n_more; i++)
        kvs[n++] = spec->more[i];
    if (ke__gguf_create(cx, path, kvs, n, NULL, 0) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

ke_status toy_open(toy *t, const char *path, const toy_spec *spec)
{
    *t = (toy){.cx = ke_ctx_new(NULL)};
    assert_non_null(t->cx);
    toy_write(t->cx, path, spec);
    if (ke__gguf_open(t->cx, &t->file, path) != KE_OK)
        fail_msg("%s", ke_ctx_message(t->cx));
    return ke__tokenizer_from_gguf(t->cx, &t->tok, &t->file);
}

void toy_close(toy *t)
{
    ke__tokenizer_free(t->cx, t->tok);
    ke__gguf_close(t->cx, &t->file);
    ke_ctx_free(t->cx);
}

void toy_expect(toy *t, const char *text, size_t bytes, unsigned flags, const int32_t *ids,
                const int32_t *ends)
{
    int32_t *got = NULL;
    size_t *got_ends = NULL, n = 0, want = 0;
    if (ke__tokenize_spans(t->cx, &got, &got_ends, &n, t->tok, text, bytes, flags) != KE_OK)
        fail_msg("%s", ke_ctx_message(t->cx));
    while (ids[want] >= 0)
        want++;
    for (size_t i = 0; i < n && i < want; i++) {
        if (got[i] != ids[i])
            fail_msg("\"%s\": token %zu is %d, expected %d", text, i, got[i], ids[i]);
        if (ends && got_ends[i] != (size_t)ends[i])
            fail_msg("\"%s\": token %zu ends at %zu, expected %d", text, i, got_ends[i],
                     ends[i]);
    }
    if (n != want)
        fail_msg("\"%s\": %zu tokens, expected %zu", text, n, want);
    ke_free(t->cx, got);
    ke_free(t->cx, got_ends);
}
