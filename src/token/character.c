#include "token/character.h"

#include "base/utf8.h"

#include <utf8proc.h>

static utf8proc_int32_t decode(const char *text, size_t bytes, size_t *n)
{
    utf8proc_int32_t c = -1;
    *n = ke__utf8_char(text, bytes);
    if (*n > 0)
        (void)utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)*n, &c);
    return c;
}

/* The last character, if it is well-formed; *n bytes. */
static utf8proc_int32_t decode_last(const char *text, size_t bytes, size_t *n)
{
    for (size_t back = 1; back <= 4 && back <= bytes; back++) {
        utf8proc_int32_t c = decode(text + bytes - back, back, n);
        if (*n == back)
            return c;
    }
    *n = 0;
    return -1;
}

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

static bool is_word(utf8proc_int32_t c)
{
    if (c < 0)
        return false;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and letters in circles and squares, which are alphabetic symbols */
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
               (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
               (c >= 0x1F170 && c <= 0x1F189);
    }
}

size_t ke__spaces_at_start(const char *text, size_t bytes)
{
    size_t at = 0, n;
    while (is_space(decode(text + at, bytes - at, &n)))
        at += n;
    return at;
}

size_t ke__spaces_at_end(const char *text, size_t bytes)
{
    size_t to = bytes, n;
    while (is_space(decode_last(text, to, &n)))
        to -= n;
    return bytes - to;
}

bool ke__word_at_start(const char *text, size_t bytes)
{
    size_t n;
    return is_word(decode(text, bytes, &n));
}

bool ke__word_at_end(const char *text, size_t bytes)
{
    size_t n;
    return is_word(decode_last(text, bytes, &n));
}
