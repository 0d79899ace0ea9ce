/* Any bytes as config.json: what comes of it is a sound file of keys. */
#include "model/folder.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke__config config;
    char *exact = malloc(size ? size : 1);
    if (!cx || !exact)
        abort();
    if (size > 0)
        memcpy(exact, data, size);
    if (ke__config_parse(cx, &config, "input", exact, size, NULL, 0) == KE_OK) {
        ke__gguf g = {
            .map = {.data = (const uint8_t *)config.keys.data, .bytes = config.keys.bytes}};
        if (ke__gguf_parse(cx, &g) != KE_OK)
            abort();
        ke__gguf_close(cx, &g);
        ke__config_free(cx, &config);
    }
    free(exact);
    if (cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    return 0;
}
