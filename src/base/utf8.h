/* UTF-8 as far as names in files and messages need it. */
#ifndef KE_BASE_UTF8_H
#define KE_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed character at `text`, 1..4, or 0 if there is none (Unicode 15,
 * table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). */
size_t ke__utf8_char(const char *text, size_t bytes);
/* Bytes of the longest well-formed beginning; equal to `bytes` if all is well-formed. */
size_t ke__utf8_prefix(const char *text, size_t bytes);

#endif
