#include "base/file.h"
#include "cli/cli.h"

#include <string.h>

size_t ke__name_bytes(const char *path)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    return bytes;
}

ke_status ke__find_model(ke__cli *c, const char *name, char **path)
{
    ke_status st = KE_OK;
    char *cache = NULL;

    *path = NULL;
    if (ke__file_exists(name) || strchr(name, '/') != NULL || name[0] == '\0')
        return ke__strndup(c->cx, path, name, ke__name_bytes(name));
    KE_TRY(ke__cache_folder(c->cx, &cache));
    KE_TRY(ke__format(c->cx, path, "%s/models/%s.gguf", cache, name));
    if (ke__file_exists(*path))
        goto done;
    ke__free(c->cx, *path);
    *path = NULL;
    st = ke__fail(c->cx, KE_ENOENT, name,
                  "%s: neither a file nor a model that tools/fetch_model has fetched "
                  "(without a name it lists them)",
                  name);
done:
    ke__free(c->cx, cache);
    return st;
}
