/* Whether a continuation states a target: the contract's "took". */
#include "study/study.h"

#include <string.h>
#include <utf8proc.h>

static bool is_space(utf8proc_int32_t c)
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

/* The character at `text`: its bytes (1 for a stray byte), 0 at the end. */
static size_t next_char(const char *text, utf8proc_int32_t *c)
{
    size_t bytes = strnlen(text, 4);
    *c = -1;
    if (bytes == 0)
        return 0;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, c);
    return n > 0 ? (size_t)n : 1;
}

const char *ke__skip_space(const char *text)
{
    utf8proc_int32_t c;
    for (size_t n; (n = next_char(text, &c)) > 0 && c >= 0 && is_space(c);)
        text += n;
    return text;
}

size_t ke__trimmed(const char *text)
{
    size_t end = 0;
    utf8proc_int32_t c;
    for (size_t at = 0, n; (n = next_char(text + at, &c)) > 0;) {
        at += n;
        if (c < 0 || !is_space(c))
            end = at;
    }
    return end;
}

bool ke__at_word(const char *text)
{
    utf8proc_int32_t c;
    if (next_char(text, &c) == 0 || c < 0)
        return false;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

bool ke__ends_in_word(const char *text, const char *end)
{
    const char *last = end;
    if (end == text)
        return false;
    do
        last--;
    while (last > text && end - last < 4 && ((unsigned char)*last & 0xc0) == 0x80);
    return ke__at_word(last);
}

bool ke_target_holds(const char *text, const char *target)
{
    target = ke__skip_space(target);
    size_t n = ke__trimmed(target);
    text = ke__skip_space(text);
    return n > 0 && strncmp(text, target, n) == 0 && !ke__at_word(text + n);
}
