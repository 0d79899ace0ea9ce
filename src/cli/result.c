#include "base/utf8.h"
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ke_status ke__result_json(ke__cli *c, json_t *object)
{
    if (object == NULL)
        return c->cx ? ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result")
                     : KE_ENOMEM;
    /* A failed write is seen on stdout at the end; a second object must not follow it. */
    (void)json_dumpf(object, stdout, JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
    return KE_OK;
}

/* Not UTF-8 (a name of the file system, a text cut between two tokens): each bad byte
 * becomes U+FFFD. Three bytes for one at most. */
static json_t *repaired_text(const char *text, size_t bytes)
{
    char *out = bytes < SIZE_MAX / 4 ? malloc(3 * bytes + 1) : NULL;
    size_t n = 0;
    if (out == NULL)
        return NULL;
    while (bytes > 0) {
        size_t good = ke__utf8_prefix(text, bytes);
        memcpy(out + n, text, good);
        n += good;
        text += good;
        bytes -= good;
        if (bytes > 0) {
            memcpy(out + n, "\xEF\xBF\xBD", 3);
            n += 3;
            text++;
            bytes--;
        }
    }
    json_t *whole = json_stringn(out, n);
    free(out);
    return whole;
}

json_t *ke__result_text_n(const char *text, size_t bytes)
{
    json_t *whole = json_stringn(text, bytes);
    return whole != NULL ? whole : repaired_text(text, bytes);
}

json_t *ke__result_text(const char *text)
{
    return text != NULL ? ke__result_text_n(text, strlen(text)) : json_null();
}

json_t *ke__result_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
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
        if (json_array_append_new(list, ke__result_real((double)values[i])) != 0) {
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
