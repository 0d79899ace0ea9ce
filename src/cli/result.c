#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

ke_status ke__result_json(ke__cli *c, json_t *object)
{
    if (object == NULL)
        return c->cx ? ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result")
                     : KE_ENOMEM;
    /* Whole or not at all: a part of an object can't be taken back. Not by the context's
     * memory, of which there is none where that is what is to be said. */
    char *text = NULL;
    size_t n = 0;
    FILE *whole = open_memstream(&text, &n);
    bool ok = whole && json_dumpf(object, whole, JSON_REAL_PRECISION(9)) == 0;
    ok = whole && fclose(whole) == 0 && ok;
    json_decref(object);
    /* A failed write is seen on stdout at the end; a second object must not follow it. */
    if (ok)
        (void)puts(text);
    free(text);
    if (ok)
        return KE_OK;
    return c->cx ? ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result") : KE_ENOMEM;
}

ke_status ke__result_list(ke__cli *c, json_t **out)
{
    *out = c->json ? json_array() : NULL;
    return c->json && *out == NULL
               ? ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result")
               : KE_OK;
}

json_t *ke__result_ids(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && list != NULL; i++)
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

json_t *ke__result_floats(const float *values, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && list != NULL; i++)
        if (json_array_append_new(list, ke__json_number((double)values[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

void ke__result_print_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf(i == 0 ? "%d" : ",%d", ids[i]);
    putchar('\n');
}
