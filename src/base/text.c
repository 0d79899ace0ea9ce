#include "base/base.h"

#include <stdio.h>
#include <string.h>

ke_status ke__strndup(ke_ctx *cx, char **out, const char *text, size_t bytes)
{
    *out = NULL;
    if (bytes == SIZE_MAX)
        return ke__fail(cx, KE_ENOMEM, NULL, "out of memory: a text of %zu bytes", bytes);
    ke_status st = ke__alloc(cx, out, bytes + 1, 1);
    if (st == KE_OK && bytes > 0)
        memcpy(*out, text, bytes);
    return st;
}

ke_status ke__strdup(ke_ctx *cx, char **out, const char *text)
{
    return ke__strndup(cx, out, text, strlen(text));
}

/* Room for `more` bytes and the NUL. */
static ke_status reserve(ke_ctx *cx, ke__text *t, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(t->bytes, more, &need) || need > SIZE_MAX / 2 - 1)
        return ke__fail(cx, KE_ENOMEM, NULL, "out of memory: a text of %zu + %zu bytes",
                        t->bytes, more);
    if (need < t->room)
        return KE_OK;
    size_t room = need + 1 > 2 * t->room ? need + 1 : 2 * t->room;
    if (room < 64)
        room = 64;
    ke_status st = ke__resize(cx, &t->data, room, 1);
    if (st == KE_OK)
        t->room = room;
    return st;
}

ke_status ke__text_add(ke_ctx *cx, ke__text *t, const char *data, size_t bytes)
{
    ke_status st = reserve(cx, t, bytes);
    if (st != KE_OK)
        return st;
    if (bytes > 0)
        memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    return KE_OK;
}

static ke_status add_args(ke_ctx *cx, ke__text *t, const char *format, va_list args)
{
    ke_status st;
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0)
        return ke__fail(cx, KE_EINVAL, NULL, "text cannot be formatted");
    st = reserve(cx, t, (size_t)n);
    if (st != KE_OK)
        return st;
    vsnprintf(t->data + t->bytes, (size_t)n + 1, format, args);
    t->bytes += (size_t)n;
    return KE_OK;
}

ke_status ke__text_addf(ke_ctx *cx, ke__text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ke_status st = add_args(cx, t, format, args);
    va_end(args);
    return st;
}

ke_status ke__format(ke_ctx *cx, char **out, const char *format, ...)
{
    ke__text t = {0};
    va_list args;
    va_start(args, format);
    ke_status st = add_args(cx, &t, format, args);
    va_end(args);
    *out = t.data;
    return st;
}
