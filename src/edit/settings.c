#include "edit/edit.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who set a value; a higher one is not overwritten by a lower one. */
enum { BY_DEFAULT, BY_ATTEMPT, BY_PRESET, BY_USER };

struct value {
    char *text;
    double number; /* NaN for a word or a text */
    int by;
};
struct ke_settings {
    const ke__method *method;
    size_t n;
    struct value *values; /* [n], in the order of the method's rows */
};

static size_t row_count(const ke__method *m)
{
    size_t n = 0;
    while (m->settings[n].name)
        n++;
    return n;
}

/* Index of a setting, or n. */
static size_t row_find(const ke_settings *s, const char *name)
{
    size_t i = 0;
    while (i < s->n && strcmp(s->method->settings[i].name, name) != 0)
        i++;
    return i;
}

static bool is_word(const char *words, const char *text)
{
    size_t bytes = strlen(text);
    for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL)
        if (bytes > 0 && strcspn(w, "|") == bytes && strncmp(w, text, bytes) == 0)
            return true;
    return false;
}

static void range_text(char *out, size_t room, const ke__setting *row)
{
    const char *words = row->words ? row->words : "";
    bool number = row->type == KE__INT || row->type == KE__REAL;
    if (number)
        snprintf(out, room, "%s%s%.10g..%.10g", words, *words ? "|" : "", row->min,
                 row->max);
    else
        snprintf(out, room, "%s", words);
}

/* A host program's locale may have another decimal point. */
static double in_c_locale(const char *text, char **end)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double v = c ? strtod_l(text, end, c) : strtod(text, end);
    if (c)
        freelocale(c);
    return v;
}

static ke_status parse(ke_ctx *cx, double *number, const ke__setting *row, const char *text)
{
    char range[96], *end;
    *number = (double)NAN;
    if (row->type == KE__TEXT || is_word(row->words, text))
        return KE_OK;
    range_text(range, sizeof range, row);
    if (row->type == KE__CHOICE)
        return ke__fail(cx, KE_EINVAL, row->name, "%s is '%.60s', expected one of %s",
                        row->name, text, range);
    double v = in_c_locale(text, &end);
    /* strtod() takes hexadecimal, inf and blanks before; a setting doesn't. */
    bool bad = end == text || *end || strspn(text, "+-.0123456789eE") != strlen(text);
    if (bad || !isfinite(v) || (row->type == KE__INT && v != floor(v)))
        return ke__fail(cx, KE_EINVAL, row->name, "%s is '%.60s', expected %s of %s",
                        row->name, text,
                        row->type == KE__INT ? "a whole number" : "a number", range);
    if (v < row->min || v > row->max)
        return ke__fail(cx, KE_EINVAL, row->name, "%s is %.60s, expected %s", row->name,
                        text, range);
    *number = v;
    return KE_OK;
}

static ke_status put(ke_ctx *cx, ke_settings *s, const char *name, const char *text, int by)
{
    double number;
    char *copy = NULL;
    size_t i = row_find(s, name);
    ke_status st = KE_OK;
    if (i == s->n) {
        st = ke__fail(cx, KE_EINVAL, name, "method %s has no setting '%.60s'",
                      s->method->name, name);
        goto done;
    }
    KE_TRY(parse(cx, &number, &s->method->settings[i], text));
    if (by < s->values[i].by)
        goto done;
    KE_TRY(ke__strdup(cx, &copy, text));
    ke__free(cx, s->values[i].text);
    s->values[i] = (struct value){copy, number, by};
done:
    return st;
}

ke_status ke_settings_new(ke_ctx *cx, ke_settings **out, const char *method)
{
    ke_status st = KE_OK;
    ke_settings *s = NULL;
    const ke__method *m = ke__method_find(method);
    char known[256] = "";
    *out = NULL;
    for (size_t i = 0; !m && i < ke_method_count(); i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 ke_method_name(i));
    if (!m)
        return ke__fail(cx, KE_EINVAL, "method", "no method '%.60s', expected one of: %s",
                        method, known);
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    s->method = m;
    KE_TRY(ke__alloc(cx, &s->values, row_count(m), sizeof *s->values));
    s->n = row_count(m);
    for (size_t i = 0; i < s->n; i++)
        KE_TRY(put(cx, s, m->settings[i].name, m->settings[i].fallback, BY_DEFAULT));
    *out = s;
    s = NULL;
done:
    ke_settings_free(cx, s);
    return st;
}

void ke_settings_free(ke_ctx *cx, ke_settings *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        ke__free(cx, s->values[i].text);
    ke__free(cx, s->values);
    ke__free(cx, s);
}

ke_status ke_settings_set(ke_ctx *cx, ke_settings *s, const char *name, const char *value)
{
    return put(cx, s, name, value, BY_USER);
}

ke_status ke_settings_preset(ke_ctx *cx, ke_settings *s, const char *preset)
{
    bool found = false;
    ke_status st = KE_OK;
    for (const ke__preset *p = s->method->presets; p->preset; p++)
        if (strcmp(p->preset, preset) == 0) {
            found = true;
            KE_TRY(put(cx, s, p->name, p->value, BY_PRESET));
        }
    if (!found)
        st = ke__fail(cx, KE_EINVAL, "preset",
                      "method %s has no preset '%.60s', expected %s", s->method->name,
                      preset,
                      s->method->presets[0].preset ? s->method->presets[0].preset : "none");
done:
    return st;
}

const char *ke_settings_get(const ke_settings *s, const char *name)
{
    size_t i = row_find(s, name);
    return i < s->n ? s->values[i].text : NULL;
}

const char *ke_settings_method(const ke_settings *s)
{
    return s->method->name;
}

double ke__settings_number(const ke_settings *s, const char *name)
{
    size_t i = row_find(s, name);
    return i < s->n ? s->values[i].number : (double)NAN;
}

bool ke__settings_is(const ke_settings *s, const char *name, const char *word)
{
    const char *text = ke_settings_get(s, name);
    return text && strcmp(text, word) == 0;
}

size_t ke__method_attempts(const char *method)
{
    const ke__method *m = ke__method_find(method);
    size_t last = 0;
    for (const ke__attempt *a = m ? m->attempts : NULL; a && a->name; a++)
        last = a->attempt > last ? a->attempt : last;
    return last + 1;
}

ke_status ke__settings_attempt(ke_ctx *cx, const ke_settings *s, size_t i,
                               ke_settings **out)
{
    ke_status st = KE_OK;
    ke_settings *copy = NULL;
    *out = NULL;
    KE_TRY(ke_settings_new(cx, &copy, s->method->name));
    for (size_t k = 0; k < s->n; k++)
        KE_TRY(
            put(cx, copy, s->method->settings[k].name, s->values[k].text, s->values[k].by));
    for (const ke__attempt *a = s->method->attempts; a->name; a++)
        if (a->attempt == i)
            KE_TRY(put(cx, copy, a->name, a->value, BY_ATTEMPT));
    *out = copy;
    copy = NULL;
done:
    ke_settings_free(cx, copy);
    return st;
}

/* --- what the tables say, for helps and plans --------------------------------------------
 */

bool ke_method_setting(const char *method, size_t i, ke_setting_info *out)
{
    const ke__method *m = ke__method_find(method);
    if (!m || i >= row_count(m))
        return false;
    const ke__setting *row = &m->settings[i];
    *out = (ke_setting_info){
        .name = row->name, .fallback = row->fallback, .unit = row->unit, .help = row->help};
    range_text(out->range, sizeof out->range, row);
    return true;
}

/* A preset's first row names it. */
const char *ke_method_preset(const char *method, size_t i)
{
    const ke__method *m = ke__method_find(method);
    const char *last = NULL;
    for (const ke__preset *p = m ? m->presets : NULL; p && p->preset; p++) {
        if (last && strcmp(last, p->preset) == 0)
            continue;
        last = p->preset;
        if (i-- == 0)
            return last;
    }
    return NULL;
}
