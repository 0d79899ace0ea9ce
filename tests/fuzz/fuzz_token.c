/* A tokenizer and a text from one input. Lines up to the first empty one are tokens, each
 * after a digit that is its type; lines up to the next empty one are merges; what follows
 * is the text. The first byte picks the split and the flags, or (80 and above) a
 * SentencePiece model: the first byte of each merge is then the score of a token.
 *
 * The linker sends the making of a splitter here: its patterns are of the product, not of
 * the input, and to compile them took as long as all the rest. */
#include "token/token.h"
#include "token/tokenizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = 1 << 16 };

/* An array of strings as it lies in a file: eight bytes of length before each. */
typedef struct strings {
    uint8_t data[9 * MAX_BYTES];
    size_t bytes, n;
} strings;

ke_status __real_ke__splitter_new(ke_ctx *cx, ke__splitter **out, const ke__split *split);
ke_status __wrap_ke__splitter_new(ke_ctx *cx, ke__splitter **out, const ke__split *split);
void __wrap_ke__splitter_free(ke_ctx *cx, ke__splitter *sp);

/* Each is made when an input first wants it, and kept. */
ke_status __wrap_ke__splitter_new(ke_ctx *cx, ke__splitter **out, const ke__split *split)
{
    enum { ROOM = 64 };
    static const ke__split *splits[ROOM];
    static ke__splitter *made[ROOM];
    static ke_ctx *keeper;
    (void)cx; /* ends with its input */
    size_t i = 0;
    while (i < ROOM && splits[i] && splits[i] != split)
        i++;
    if (i == ROOM || (!keeper && !(keeper = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1}))) ||
        (!made[i] && __real_ke__splitter_new(keeper, &made[i], split) != KE_OK))
        abort();
    splits[i] = split;
    *out = made[i];
    return KE_OK;
}

void __wrap_ke__splitter_free(ke_ctx *cx, ke__splitter *sp)
{
    (void)cx;
    (void)sp;
}

static void add(strings *s, const char *text, uint64_t bytes)
{
    memcpy(s->data + s->bytes, &bytes, sizeof bytes);
    memcpy(s->data + s->bytes + sizeof bytes, text, bytes);
    s->bytes += sizeof bytes + bytes;
    s->n++;
}

/* One line off the front of *at; false at an empty one or the end. */
static bool line(const char **at, const char *end, const char **from, size_t *bytes)
{
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *from = *at;
    *bytes = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    return *bytes > 0;
}

static ke__gguf_kv key(const char *name, ke__gguf_type type)
{
    return (ke__gguf_kv){.key = {name, strlen(name)}, .type = type, .n = 1};
}

static ke__gguf_kv string(const char *name, const char *value, uint8_t room[64])
{
    ke__gguf_kv kv = key(name, KE__GGUF_STRING);
    uint64_t bytes = strlen(value);
    memcpy(room, &bytes, sizeof bytes);
    memcpy(room + sizeof bytes, value, bytes);
    kv.value = room;
    return kv;
}

static ke__gguf_kv array(const char *name, ke__gguf_type item, const void *value, size_t n)
{
    ke__gguf_kv kv = key(name, KE__GGUF_ARRAY);
    kv.item = item;
    kv.value = value;
    kv.n = n;
    return kv;
}

/* A token may cover nothing of the text only where a text and its vocabulary differ. */
static void use(ke_ctx *cx, const ke_tokenizer *tok, const char *text, size_t bytes,
                unsigned flags, bool may_cover_nothing)
{
    int32_t *ids = NULL;
    size_t *ends = NULL, n = 0, n_back = 0, last = 0;
    char *back = NULL;
    if (ke__tokenize_spans(cx, &ids, &ends, &n, tok, text, bytes, flags) != KE_OK)
        abort();
    for (size_t i = 0; i < n; last = ends[i++])
        if (ids[i] < 0 || (size_t)ids[i] >= ke__tokenizer_size(tok) ||
            ends[i] < last + !may_cover_nothing || ends[i] > bytes)
            abort();
    if (ke_detokenize(cx, &back, &n_back, tok, ids, n) != KE_OK)
        abort();
    ke_free(cx, back);
    ke_free(cx, ids);
    ke_free(cx, ends);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const splits[] = {"default", "gpt-2", "smollm",
                                         "llama3",  "qwen2", "jina-v2-de"};
    static strings tokens, merges;
    static int32_t types[MAX_BYTES];
    static float scores[MAX_BYTES];
    uint8_t model[64], pre[64];
    if (bytes == 0 || bytes > MAX_BYTES)
        return 0;
    const char *at = (const char *)data + 1, *end = (const char *)data + bytes, *from;
    size_t n;
    tokens.n = tokens.bytes = merges.n = merges.bytes = 0;
    for (; line(&at, end, &from, &n); add(&tokens, from + 1, n - 1))
        types[tokens.n] = *from - '0';
    memset(scores, 0, tokens.n * sizeof *scores);
    for (; line(&at, end, &from, &n); add(&merges, from, n))
        scores[merges.n] = (float)*from;

    bool spm = data[0] & 0x80;
    ke__gguf_kv none = key("tokenizer.ggml.add_bos_token", KE__GGUF_BOOL);
    none.value = (const uint8_t *)"";
    ke__gguf_kv prefix = key("tokenizer.ggml.add_space_prefix", KE__GGUF_BOOL);
    prefix.value = (const uint8_t *)(data[0] & 2 ? "\1" : "");
    ke__gguf_kv kvs[] = {
        string("tokenizer.ggml.model", spm ? "llama" : "gpt2", model),
        string("tokenizer.ggml.pre", splits[data[0] / 2 % 6], pre),
        array("tokenizer.ggml.tokens", KE__GGUF_STRING, tokens.data, tokens.n),
        array("tokenizer.ggml.token_type", KE__GGUF_I32, types, tokens.n),
        array("tokenizer.ggml.merges", KE__GGUF_STRING, merges.data, merges.n),
        array("tokenizer.ggml.scores", KE__GGUF_F32, scores, tokens.n),
        none,
        prefix,
    };
    ke__gguf file = {.version = 3, .kvs = kvs, .n_kvs = sizeof kvs / sizeof kvs[0]};
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke_tokenizer *tok = NULL;
    if (ke__tokenizer_from_gguf(cx, &tok, &file) == KE_OK)
        use(cx, tok, at, (size_t)(end - at), data[0] % 2 ? KE_TOK_PARSE_SPECIAL : 0, spm);
    ke__tokenizer_free(cx, tok);
    if (cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    return 0;
}
