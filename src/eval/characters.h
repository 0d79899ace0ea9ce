/* Text as characters: what the metrics on words need of Unicode. */
#ifndef KE_EVAL_CHARACTERS_H
#define KE_EVAL_CHARACTERS_H

#include "base/base.h"

#include <utf8proc.h>

/* The characters of UTF-8 text in the form that `how` names; room for one more behind the
 * last, which ke__characters_text() needs. Caller frees. KE_EINVAL if it is no UTF-8. */
KE_MUST_CHECK ke_status ke__characters(ke_ctx *cx, int32_t **out, size_t *n,
                                       const char *text, utf8proc_option_t how);
/* Make n such characters UTF-8 in their own block, NUL-terminated. */
char *ke__characters_text(int32_t *characters, size_t n, utf8proc_option_t how);

/* White space as the reference's str.split() and \s have it. */
bool ke__is_space(int32_t c);

#endif
