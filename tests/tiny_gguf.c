/* Writes the small random model that tests use: tiny_gguf PATH. */
#include "support/tiny_model.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    ke_ctx *cx = argc == 2 ? ke_ctx_new(&(ke_ctx_opts){.n_threads = 1}) : NULL;
    if (!cx)
        return 2;
    ke_status st = tiny_model_write(
        cx, &(tiny_spec){.type = "q8_0", .d = 64, .head_dim = 16}, argv[1]);
    if (st != KE_OK)
        fprintf(stderr, "%s: %s\n", argv[1], ke_ctx_message(cx));
    ke_ctx_free(cx);
    return st != KE_OK;
}
