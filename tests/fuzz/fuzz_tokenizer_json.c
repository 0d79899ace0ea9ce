/* tokenizer.json and a text, with a line that is "---" between them. Before the text may
 * come tokenizer_config.json (config.json is the same), then special_tokens_map.json and
 * added_tokens.json, each with such a line after it. */
#include "token/token.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 16, MAX_TEXT = 512 };

static ke__gguf_str section(const char **at, const char *end)
{
    const char *from = *at, *stop = memmem(from, (size_t)(end - from), "\n---\n", 5);
    *at = stop ? stop + 5 : end;
    return (ke__gguf_str){from, (uint64_t)((stop ? stop : end) - from)};
}

static void use(ke_ctx *cx, const ke_tokenizer *tok, const char *text, size_t bytes,
                unsigned flags)
{
    int32_t *ids = NULL;
    size_t *ends = NULL, n = 0, n_back = 0, last = 0;
    char *back = NULL;
    if (ke__tokenize_spans(cx, &ids, &ends, &n, tok, text, bytes, flags) != KE_OK)
        return;
    for (size_t i = 0; i < n; last = ends[i++])
        if (ids[i] < 0 || (size_t)ids[i] >= ke__tokenizer_size(tok) || ends[i] < last ||
            ends[i] > bytes)
            abort();
    if (ke_detokenize(cx, &back, &n_back, tok, ids, n) != KE_OK)
        abort();
    ke_free(cx, back);
    ke_free(cx, ids);
    ke_free(cx, ends);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > MAX_BYTES)
        return 0;
    const char *at = (const char *)data, *end = at + bytes;
    ke__tokenizer_texts texts = {.folder = "F"};
    ke__gguf_str parts[5], text;
    size_t n = 0;
    do
        parts[n++] = section(&at, end);
    while (at < end && n < 5);
    text = parts[n - 1];
    texts.tokenizer = parts[0];
    if (n > 2)
        texts.tokenizer_config = texts.config = parts[1];
    if (n > 3)
        texts.special_tokens_map = parts[2];
    if (n > 4)
        texts.added_tokens = parts[3];
    if (text.bytes > MAX_TEXT)
        text.bytes = MAX_TEXT;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke_tokenizer *tok = NULL;
    if (ke__tokenizer_parse_json(cx, &tok, &texts) == KE_OK) {
        use(cx, tok, text.data, text.bytes, KE_TOK_PARSE_SPECIAL | KE_TOK_ADD_BOS);
        use(cx, tok, text.data, text.bytes, KE_TOK_ADD_EOS);
    }
    ke__tokenizer_free(cx, tok);
    ke_ctx_free(cx);
    return 0;
}
