/* The patch reader on anything. An input is a patch file without its checksum; one that
 * does not begin with the magic is a header, NUL and a payload, without the prefix too.
 * What is missing is made here, since no mutation would ever find it. */
#include "patch/kinds.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What a caller does with a patch that was read. */
static void use(ke_ctx *cx, const ke_patch *p)
{
    ke_patch *all = NULL;
    uint64_t total;

    if (ke__patch_new(cx, &all) != KE_OK || ke__patch_join(cx, all, p) != KE_OK ||
        strlen(ke_patch_describe(all)) > strlen(ke_patch_describe(p)))
        abort(); /* what was read can be copied, and says no more */
    if (ke__recipe_check(cx, &p->undo, 1000, &total) == KE_OK &&
        total > 1000 + p->undo.literal_bytes)
        abort();
    ke_patch_free(cx, all);
}

/* The prefix that belongs before a header, NUL and a payload; the NUL goes. */
static void add_prefix(ke__text *file, ke_ctx *cx, const uint8_t *data, size_t bytes)
{
    const uint8_t *nul = bytes > 0 ? memchr(data, 0, bytes) : NULL;
    uint64_t header = nul ? (uint64_t)(nul - data) : bytes;
    uint64_t payload = nul ? bytes - header - 1 : 0;
    const uint32_t version[2] = {1, 0};
    const uint64_t lengths[2] = {header, payload};

    if (ke__text_add(cx, file, "KEPATCH\n", 8) != KE_OK ||
        ke__text_add(cx, file, (const char *)version, sizeof version) != KE_OK ||
        ke__text_add(cx, file, (const char *)lengths, sizeof lengths) != KE_OK ||
        ke__text_add(cx, file, (const char *)data, header) != KE_OK ||
        ke__text_add(cx, file, (const char *)data + bytes - payload, payload) != KE_OK)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke__text file = {0};
    ke_patch *p = NULL;
    char hex[65];

    if (!cx)
        abort();
    if (bytes < 8 || memcmp(data, "KEPATCH\n", 8) != 0)
        add_prefix(&file, cx, data, bytes);
    else if (ke__text_add(cx, &file, (const char *)data, bytes) != KE_OK)
        abort();
    if (ke__sha256_of(cx, hex, file.data, file.bytes) != KE_OK ||
        ke__text_add(cx, &file, hex, 64) != KE_OK)
        abort();
    /* A block of the file's own length, so that sanitizers see its end. */
    uint8_t *exact = malloc(file.bytes);
    if (!exact)
        abort();
    memcpy(exact, file.data, file.bytes);
    if (ke__patch_parse(cx, &p, "input", exact, file.bytes) == KE_OK)
        use(cx, p);
    ke_patch_free(cx, p);
    free(exact);
    ke__free(cx, file.data);
    ke_ctx_free(cx);
    return 0;
}
