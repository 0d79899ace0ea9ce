/* The contract of an editing method, and its settings. A method computes a patch; applying,
 * stacking and undoing are not its business. */
#ifndef KE_EDIT_EDIT_H
#define KE_EDIT_EDIT_H

#include "base/json.h"
#include "knowedit/edit.h"
#include "model/pass.h"
#include "patch/patch.h"

/* --- settings: rows of a table ---------------------------------------------------------
 */

typedef enum ke__setting_type { KE__INT, KE__REAL, KE__CHOICE, KE__TEXT } ke__setting_type;
typedef struct ke__setting {
    const char *name;
    ke__setting_type type;
    const char *fallback; /* the default, as text */
    double min, max;      /* INT, REAL */
    const char *words;    /* "a|b": CHOICE, or words accepted beside a number; NULL: none */
    const char *unit, *help;
} ke__setting;
/* One value of a preset, or (group = its number) of an attempt. Presets are named texts. */
typedef struct ke__preset {
    const char *preset, *name, *value;
} ke__preset;
typedef struct ke__attempt {
    unsigned attempt; /* from 1: attempt 0 is the settings as they are */
    const char *name, *value;
} ke__attempt;

/* The value of a numeric setting; of a word, NaN. */
double ke__settings_number(const ke_settings *s, const char *name);
bool ke__settings_is(const ke_settings *s, const char *name, const char *word);

/* The ladder that a fact climbs at default settings until it takes: attempts 0 .. n - 1. */
size_t ke__method_attempts(const char *method);
/* A copy with the overrides of attempt `i`, where the user set nothing. *out is the
 * caller's. */
KE_MUST_CHECK ke_status ke__settings_attempt(ke_ctx *cx, const ke_settings *s, size_t i,
                                             ke_settings **out);

/* --- methods ---------------------------------------------------------------------------
 */

typedef struct ke__edit_in {
    const ke_model *model;
    const ke_stack *edits; /* the facts before these are in it */
    const ke_settings *settings;
    uint64_t seed;
} ke__edit_in;

typedef struct ke__method {
    const char *name, *summary;
    size_t max_facts;            /* that one compute() writes together */
    bool memory;                 /* changes what is fed, no weight: nothing to merge */
    const ke__setting *settings; /* ended by a row without a name; so are the two below */
    const ke__preset *presets;
    const ke__attempt *attempts;
    ke_status (*plan)(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                      const ke_settings *settings, const ke_fact *facts, size_t n_facts);
    /* What all facts of one call share (contexts, factors). `meta` is the patch's record:
     * what was decided here is added to it. *state is freed by release(), also on failure.
     */
    ke_status (*prepare)(ke_ctx *cx, void **state, const ke__edit_in *in, json_t *meta);
    void (*release)(ke_ctx *cx, void *state);
    /* Add parts to `out` that make the model under in->edits state the facts. */
    ke_status (*compute)(ke_ctx *cx, void *state, ke_patch *out, const ke__edit_in *in,
                         const ke_fact *facts, size_t n_facts, ke_edit_trace *trace);
} ke__method;

#define METHOD(id) extern const ke__method ke__method_##id;
#include "edit/methods.def"
#undef METHOD
const ke__method *ke__method_find(const char *name); /* NULL if unknown */

#endif
