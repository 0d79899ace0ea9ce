#include "token/json_at.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 1 << 28 }; /* eight times the largest */

ke_status ke__folder_text(ke_ctx *cx, ke__gguf_str *out, const char *folder,
                          const char *file, bool required)
{
    ke_status st = KE_OK;
    char *path = NULL, *text = NULL;
    size_t bytes;
    struct stat info;
    KE_TRY(ke__format(cx, &path, "%s/%s", folder, file));
    if (required || ke__file_exists(path)) {
        /* Opening a pipe would wait for who writes into it. */
        if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
            st = ke__fail(cx, KE_EIO, path, "not a regular file");
            goto done;
        }
        KE_TRY(ke__file_read(cx, &text, &bytes, path, MAX_FILE_BYTES));
        *out = (ke__gguf_str){text, bytes};
    }
done:
    ke__free(cx, path);
    return st;
}

size_t ke__json_enter(ke__json_at *at, const char *member, ptrdiff_t item)
{
    size_t bytes = at->bytes, room = sizeof at->path - bytes;
    int n = item < 0 ? snprintf(at->path + bytes, room, "%s%s", bytes ? "." : "", member)
                     : snprintf(at->path + bytes, room, "[%td]", item);
    at->bytes += (size_t)n < room ? (size_t)n : room - 1;
    return bytes;
}

void ke__json_leave(ke__json_at *at, size_t bytes)
{
    at->bytes = bytes;
    at->path[bytes] = '\0';
}

ke_status ke__json_bad(const ke__json_at *at, ke_status st, const char *format, ...)
{
    char what[300], where[200];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(where, sizeof where, "%s/%s", at->folder, at->file);
    return ke__fail(at->cx, st, where, "%s: %s%s%s", at->file, at->path,
                    at->bytes ? " " : "", what);
}

ke_status ke__json_root(ke__json_at *at, json_t **out, const char *text, size_t bytes,
                        size_t flags)
{
    json_error_t error;
    *out = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | flags, &error);
    if (!*out)
        return ke__json_bad(at, ke__json_load_status(&error), "line %d, column %d: %s",
                            error.line, error.column, error.text);
    if (json_is_object(*out))
        return KE_OK;
    json_decref(*out);
    *out = NULL;
    return ke__json_bad(at, KE_EFORMAT, "the file is not one JSON object");
}

/* *out: the member, or NULL if it is absent or null. */
static ke_status member(ke__json_at *at, const json_t *object, const char *name,
                        bool right(const json_t *), const char *expected, json_t **out)
{
    *out = json_object_get(object, name);
    if (json_is_null(*out))
        *out = NULL;
    if (!*out || right(*out))
        return KE_OK;
    size_t path = ke__json_enter(at, name, -1);
    ke_status st = ke__json_bad(at, KE_EFORMAT, "is not %s", expected);
    ke__json_leave(at, path);
    return st;
}

static bool is_object(const json_t *v)
{
    return json_is_object(v);
}

static bool is_array(const json_t *v)
{
    return json_is_array(v);
}

static bool is_string(const json_t *v)
{
    return json_is_string(v);
}

static bool is_bool(const json_t *v)
{
    return json_is_boolean(v);
}

static bool is_integer(const json_t *v)
{
    return json_is_integer(v);
}

ke_status ke__json_object_in(ke__json_at *at, const json_t *object, const char *name,
                             json_t **out)
{
    return member(at, object, name, is_object, "an object", out);
}

ke_status ke__json_array_in(ke__json_at *at, const json_t *object, const char *name,
                            json_t **out)
{
    return member(at, object, name, is_array, "an array", out);
}

ke_status ke__json_string_in(ke__json_at *at, const json_t *object, const char *name,
                             const char **out, size_t *bytes)
{
    json_t *value;
    ke_status st = member(at, object, name, is_string, "a string", &value);
    *out = value ? json_string_value(value) : NULL;
    *bytes = value ? json_string_length(value) : 0;
    return st;
}

ke_status ke__json_bool_in(ke__json_at *at, const json_t *object, const char *name,
                           bool fallback, bool *out)
{
    json_t *value;
    ke_status st = member(at, object, name, is_bool, "true or false", &value);
    *out = value ? json_is_true(value) : fallback;
    return st;
}

ke_status ke__json_id_in(ke__json_at *at, const json_t *object, const char *name,
                         int32_t limit, int32_t *out)
{
    json_t *value;
    *out = -1;
    ke_status st = member(at, object, name, is_integer, "an integer", &value);
    if (st != KE_OK || !value)
        return st;
    json_int_t id = json_integer_value(value);
    if (id < 0 || id >= limit) {
        size_t path = ke__json_enter(at, name, -1);
        st = ke__json_bad(at, KE_EFORMAT, "is %" JSON_INTEGER_FORMAT ", expected 0 to %d",
                          id, limit - 1);
        ke__json_leave(at, path);
        return st;
    }
    *out = (int32_t)id;
    return KE_OK;
}
