/* JSON values made from whatever there is, and as text. */
#ifndef KE_BASE_JSON_H
#define KE_BASE_JSON_H

#include "base/base.h"

#include <jansson.h>

/* A string of text that may hold anything: each byte that is not UTF-8 (of a name of the
 * file system, of a text cut between two tokens) becomes U+FFFD. NULL text is null; NULL is
 * returned if memory is short. */
json_t *ke__json_string(const char *text);
json_t *ke__json_string_n(const char *text, size_t bytes);
/* null for a number that JSON cannot say. */
json_t *ke__json_number(double value);
/* What went wrong with json_load...(): KE_ENOMEM or KE_EFORMAT. */
ke_status ke__json_load_status(const json_error_t *error);
/* Set key to a value, or append it (consumed); false if either is NULL. */
bool ke__json_set(json_t *object, const char *key, json_t *value);
bool ke__json_add(json_t *array, json_t *value);
/* `value` if all went well, else NULL (and it is dropped). */
json_t *ke__json_done(json_t *value, bool ok);
/* The text of `value` (consumed) as results have it, nine digits a number. */
KE_MUST_CHECK ke_status ke__json_dump(ke_ctx *cx, char **out, json_t *value);

/* The compact text of `value`, numbers with so many digits (17: exactly). NULL is what a
 * value is whose making ran out of memory: KE_ENOMEM. Caller frees. */
KE_MUST_CHECK ke_status ke__json_text(ke_ctx *cx, char **out, const json_t *value,
                                      unsigned digits);

#endif
