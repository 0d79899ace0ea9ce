/* JSON values as text. */
#ifndef KE_BASE_JSON_H
#define KE_BASE_JSON_H

#include "base/base.h"

#include <jansson.h>

/* The compact text of `value`, numbers with so many digits (17: exactly). NULL is what a
 * value is whose making ran out of memory: KE_ENOMEM. Caller frees. */
KE_MUST_CHECK ke_status ke__json_text(ke_ctx *cx, char **out, const json_t *value,
                                      unsigned digits);

#endif
