#include "eval/characters.h"

#include <string.h>

ke_status ke__characters(ke_ctx *cx, int32_t **out, size_t *n, const char *text,
                         utf8proc_option_t how)
{
    ke_status st = KE_OK;
    const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t size = (utf8proc_ssize_t)strlen(text), count;

    *out = NULL;
    *n = 0;
    count = utf8proc_decompose(bytes, size, NULL, 0, how);
    if (count < 0)
        return ke__fail(cx, KE_EINVAL, NULL, "a text of %zd bytes: %s, expected UTF-8",
                        size, utf8proc_errmsg(count));
    KE_TRY(ke__alloc(cx, out, (size_t)count + 1, sizeof **out));
    *n = (size_t)utf8proc_decompose(bytes, size, *out, count, how);
done:
    return st;
}

char *ke__characters_text(int32_t *characters, size_t n, utf8proc_option_t how)
{
    /* Valid characters fit into their own four bytes each: nothing can fail. */
    (void)utf8proc_reencode(characters, (utf8proc_ssize_t)n, how);
    return (char *)characters;
}

bool ke__is_space(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return true;
    default:
        return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85;
    }
}
