#include "base/utf8.h"
#include "study/study.h"

#include <math.h>
#include <string.h>

json_t *ke__json_string(const char *text)
{
    static const char stand_in[] = "\xef\xbf\xbd"; /* U+FFFD */
    if (!text)
        return json_null();
    size_t bytes = strlen(text), good = ke__utf8_prefix(text, bytes);
    json_t *out = json_stringn(text, good);
    while (out && good < bytes) {
        text += good + 1;
        bytes -= good + 1;
        good = ke__utf8_prefix(text, bytes);
        json_t *more =
            json_sprintf("%s%s%.*s", json_string_value(out), stand_in, (int)good, text);
        json_decref(out);
        out = more;
    }
    return out;
}

json_t *ke__json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
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

ke_status ke__json_dump(ke_ctx *cx, char **out, json_t *value)
{
    ke_status st = ke__json_text(cx, out, value, 9);
    json_decref(value);
    return st;
}
