#include "patch/pairs.h"

#include <stdlib.h>
#include <string.h>

static int by_key(const void *va, const void *vb)
{
    const ke__gguf_str *a = &(*(const ke__gguf_kv *const *)va)->key;
    const ke__gguf_str *b = &(*(const ke__gguf_kv *const *)vb)->key;
    int order = memcmp(a->data, b->data, a->bytes < b->bytes ? a->bytes : b->bytes);

    return order != 0 ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

ke_status ke__pair_keys(ke_ctx *cx, ptrdiff_t **out, const ke__gguf *a, const ke__gguf *b)
{
    ke_status st = KE_OK;
    const ke__gguf_kv **sorted = NULL; /* of b: a hostile file may have millions of keys */

    *out = NULL;
    KE_TRY(ke__alloc(cx, &sorted, b->n_kvs, sizeof *sorted));
    for (size_t i = 0; i < b->n_kvs; i++)
        sorted[i] = &b->kvs[i];
    qsort(sorted, b->n_kvs, sizeof *sorted, by_key);
    KE_TRY(ke__alloc(cx, out, a->n_kvs, sizeof **out));
    for (size_t i = 0; i < a->n_kvs; i++) {
        const ke__gguf_kv *key = &a->kvs[i];
        const ke__gguf_kv **hit = bsearch(&key, sorted, b->n_kvs, sizeof *sorted, by_key);
        (*out)[i] = hit ? *hit - b->kvs : -1;
    }
done:
    ke__free(cx, sorted);
    return st;
}
