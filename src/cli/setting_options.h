/* Options that the methods' own tables of settings make, so that a new setting appears by
 * itself. */
#ifndef KE_CLI_SETTING_OPTIONS_H
#define KE_CLI_SETTING_OPTIONS_H

#include "cli/cli.h"

#define KE__MAX_SETTINGS 128 /* of all methods together */

typedef struct ke__setting_options {
    size_t n;
    char **values[KE__MAX_SETTINGS]; /* NULL-terminated, or NULL: as often as given */
    char help[KE__MAX_SETTINGS][160];
    struct poptOption table[KE__MAX_SETTINGS + 1];
} ke__setting_options;

/* One option per setting of any method; `value` is what help calls its value. */
void ke__setting_options_fill(ke__setting_options *o, const char *value);
/* The value given last for option `i`, or NULL. */
const char *ke__setting_options_last(const ke__setting_options *o, size_t i);

#endif
