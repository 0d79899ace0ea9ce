/* The facts reader on any bytes: facts that can be used, or a message on one line. */
#include "eval/facts.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke_facts facts;
    ke_status st = ke__facts_parse(cx, &facts, "fuzz", (const char *)data, bytes, NULL);

    if (st == KE_OK) {
        for (size_t i = 0; i < facts.n; i++)
            if (ke_fact_check(cx, &facts.items[i]) != KE_OK)
                abort();
        if (facts.n == 0)
            abort();
    } else if (facts.items || !*ke_ctx_message(cx) || strchr(ke_ctx_message(cx), '\n')) {
        abort();
    }
    ke_facts_free(cx, &facts);
    ke_ctx_free(cx);
    return 0;
}
