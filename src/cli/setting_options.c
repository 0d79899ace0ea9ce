#include "cli/setting_options.h"

#include "knowedit/edit.h"

#include <string.h>

static bool has_option(const ke__setting_options *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->table[i].longName, name) == 0)
            return true;
    return false;
}

void ke__setting_options_fill(ke__setting_options *o, const char *value)
{
    ke_setting_info info;
    for (size_t m = 0; m < ke_method_count(); m++)
        for (size_t i = 0; ke_method_setting(ke_method_name(m), i, &info); i++) {
            if (o->n == KE__MAX_SETTINGS || has_option(o, info.name))
                continue;
            size_t at = o->n++;
            bool detail = info.range[0] != '\0' || info.fallback[0] != '\0';
            snprintf(o->help[at], sizeof o->help[at], "%s%s%s%s%s%s%s%s", info.help,
                     detail ? " (" : "", info.range,
                     info.range[0] && info.unit[0] ? " " : "", info.unit,
                     info.fallback[0] ? "; " : "", info.fallback, detail ? ")" : "");
            o->table[at] = (struct poptOption){
                info.name, 0, POPT_ARG_ARGV, &o->values[at], 0, o->help[at], value};
        }
    o->table[o->n] = (struct poptOption)POPT_TABLEEND;
}

const char *ke__setting_options_last(const ke__setting_options *o, size_t i)
{
    char **values = o->values[i];
    while (values != NULL && values[1] != NULL)
        values++;
    return values != NULL ? values[0] : NULL;
}
