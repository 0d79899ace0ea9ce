#include "base/json.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- values -------------------------------------------------------------------------- */

/* U+FFFD takes three bytes. */
static json_t *repaired(const char *text, size_t bytes)
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

json_t *ke__json_string_n(const char *text, size_t bytes)
{
    json_t *whole = json_stringn(text, bytes);
    return whole != NULL ? whole : repaired(text, bytes);
}

json_t *ke__json_string(const char *text)
{
    return text != NULL ? ke__json_string_n(text, strlen(text)) : json_null();
}

json_t *ke__json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

ke_status ke__json_load_status(const json_error_t *error)
{
    return json_error_code(error) == json_error_out_of_memory ? KE_ENOMEM : KE_EFORMAT;
}

bool ke__json_set(json_t *object, const char *key, json_t *value)
{
    if (object && value)
        return json_object_set_new(object, key, value) == 0;
    json_decref(value);
    return false;
}

bool ke__json_add(json_t *array, json_t *value)
{
    if (array && value)
        return json_array_append_new(array, value) == 0;
    json_decref(value);
    return false;
}

json_t *ke__json_done(json_t *value, bool ok)
{
    if (ok)
        return value;
    json_decref(value);
    return NULL;
}

/* --- text ---------------------------------------------------------------------------- */

struct sink {
    ke_ctx *cx;
    ke__text text;
    ke_status st;
};

static int add(const char *data, size_t bytes, void *payload)
{
    struct sink *to = payload;
    /* jansson goes on after a failure at an object's key: the first one counts. */
    if (to->st == KE_OK)
        to->st = ke__text_add(to->cx, &to->text, data, bytes);
    return to->st == KE_OK ? 0 : -1;
}

ke_status ke__json_text(ke_ctx *cx, char **out, const json_t *value, unsigned digits)
{
    struct sink to = {.cx = cx};
    *out = NULL;
    if (value &&
        json_dump_callback(value, add, &to, JSON_COMPACT | JSON_REAL_PRECISION(digits)) ==
            0 &&
        to.st == KE_OK) {
        *out = to.text.data;
        return KE_OK;
    }
    ke__free(cx, to.text.data);
    return ke__fail(cx, KE_ENOMEM, NULL, "out of memory for JSON text");
}

ke_status ke__json_dump(ke_ctx *cx, char **out, json_t *value)
{
    ke_status st = ke__json_text(cx, out, value, 9);
    json_decref(value);
    return st;
}
