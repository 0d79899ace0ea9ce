#ifndef KE_TOKEN_ONIGURUMA_H
#define KE_TOKEN_ONIGURUMA_H

#include "base/base.h"

/* Append to `out` what PCRE2 (with ^ and $ for lines) takes for `pattern`, which is
 * NUL-terminated. KE_ENOTSUP names what in it is not known. */
KE_MUST_CHECK ke_status ke__oniguruma(ke_ctx *cx, ke__text *out, const char *pattern,
                                      size_t bytes);

#endif
