/* Any bytes as a safetensors shard, and any header: an input that begins with '{' gets the
 * length before it and, after a NUL, its data. */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every byte of every tensor is there, and every name is found. */
static uint64_t look(const ke__safetensors *s)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        const ke__safe_tensor *t = &s->tensors[i];
        if (ke__safetensors_find(s, t->name) != (ptrdiff_t)i)
            abort();
        for (uint64_t j = 0; j < t->bytes; j++)
            sum += t->data[j];
    }
    return sum + (ke__safetensors_metadata(s, "format") != NULL);
}

static void try_shard(ke_ctx *cx, const uint8_t *data, size_t bytes)
{
    static volatile uint64_t kept; /* or reading could be left out */
    ke__safetensors s = {0};
    if (ke__safetensors_add(cx, &s, "input", data, bytes) == KE_OK &&
        ke__safetensors_index(cx, &s) == KE_OK)
        kept = look(&s);
    ke__safetensors_close(cx, &s);
    (void)kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    uint64_t header = nul ? (uint64_t)(nul - data) : size, at = 0;
    bool bare = size > 0 && data[0] == '{';
    /* A block of its own length, so that sanitizers see its end. */
    uint8_t *exact = malloc(size + 8);
    if (!cx || !exact)
        abort();
    if (bare) {
        memcpy(exact, &header, 8);
        memcpy(exact + 8, data, header);
        at = 8 + header;
        if (nul) {
            memcpy(exact + at, nul + 1, size - header - 1);
            at += size - header - 1;
        }
    } else {
        memcpy(exact, data, size);
        at = size;
    }
    exact = realloc(exact, at ? at : 1);
    if (!exact)
        abort();
    try_shard(cx, exact, at);
    free(exact);
    if (cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    return 0;
}
