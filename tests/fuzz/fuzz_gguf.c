/* Any bytes as a GGUF file: parsed, and if that works, everything in it is looked at. */
#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t look_at_keys(ke_ctx *cx, const ke__gguf *g)
{
    uint64_t sum = 0, u;
    float f;
    bool b;
    ke__gguf_str s;
    for (size_t i = 0; i < g->n_kvs; i++) {
        const ke__gguf_kv *kv = &g->kvs[i];
        char key[64] = "";
        memcpy(key, kv->key.data, kv->key.bytes < 63 ? kv->key.bytes : 63);
        sum += ke__gguf_u64(cx, g, key, 0, &u) == KE_OK ? u : 0;
        sum += ke__gguf_f32(cx, g, key, 0, &f) == KE_OK;
        sum += ke__gguf_bool(cx, g, key, false, &b) == KE_OK;
        if (ke__gguf_string(cx, g, key, &s) == KE_OK && s.bytes > 0)
            sum += (uint8_t)s.data[s.bytes - 1];
        const uint8_t *cursor = kv->value, *end = g->map.data + kv->offset + kv->bytes;
        for (uint64_t j = 0; kv->item == KE__GGUF_STRING && j < kv->n; j++) {
            s = ke__gguf_next_string(&cursor);
            sum += s.bytes > 0 ? (uint8_t)s.data[s.bytes - 1] : 0;
        }
        for (; cursor < end; cursor++)
            sum += *cursor;
    }
    return sum;
}

static uint64_t look_at_tensors(const ke__gguf *g)
{
    uint64_t sum = 0;
    float values[256];
    uint8_t block[256];
    for (size_t i = 0; i < g->n_tensors; i++) {
        const ke__tensor *t = &g->tensors[i];
        if (ke__gguf_tensor(g, t->name) != (ptrdiff_t)i)
            abort();
        for (uint64_t j = 0; j < t->bytes; j++)
            sum += t->data[j];
        if (t->type->to_f32)
            t->type->to_f32(values, t->data, t->type->block);
        if (t->type->from_f32)
            t->type->from_f32(block, values, t->type->block);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile uint64_t kept; /* or reading could be left out */
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke__gguf g = {.map = {.data = data, .bytes = size}};
    if (cx && ke__gguf_parse(cx, &g) == KE_OK)
        kept = look_at_keys(cx, &g) + look_at_tensors(&g);
    if (cx)
        ke__gguf_close(cx, &g);
    if (cx && cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    (void)kept;
    return 0;
}
