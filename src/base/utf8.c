#include "base/utf8.h"

size_t ke__utf8_char(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    if (bytes == 0 || s[0] < 0x80)
        return bytes != 0;
    size_t n = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n == 0 || n > bytes)
        return 0;
    /* The second byte's range is where overlong forms, surrogates and too large values
     * show. */
    unsigned char low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

size_t ke__utf8_prefix(const char *text, size_t bytes)
{
    size_t at = 0, n;
    while (at < bytes && (n = ke__utf8_char(text + at, bytes - at)) != 0)
        at += n;
    return at;
}
