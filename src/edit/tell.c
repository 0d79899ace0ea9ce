#include "edit/tell.h"

#include <stdio.h>

const ke__setting ke__tell_settings[] = {{0}};
const ke__preset ke__tell_presets[] = {{0}};
const ke__attempt ke__tell_attempts[] = {{0}};

ke_status ke__tell_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                        const ke_settings *settings, const ke_fact *facts, size_t n_facts)
{
    (void)cx;
    (void)model;
    (void)facts;
    snprintf(out->text, sizeof out->text,
             "%s: %zu fact%s told before every prompt, no weight is changed",
             ke_settings_method(settings), n_facts, n_facts == 1 ? "" : "s");
    return KE_OK;
}

ke_status ke__tell_prepare(ke_ctx *cx, void **state, const ke__edit_in *in, json_t *meta)
{
    (void)cx;
    (void)in;
    (void)meta;
    *state = NULL;
    return KE_OK;
}

void ke__tell_release(ke_ctx *cx, void *state)
{
    (void)cx;
    (void)state;
}

ke_status ke__tell_compute(ke_ctx *cx, void *state, ke_patch *out, const ke__edit_in *in,
                           const ke_fact *facts, size_t n_facts, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    char *text = NULL;
    (void)state;
    (void)n_facts; /* max_facts is 1 */
    (void)trace;
    KE_TRY(ke__format(cx, &text, "%s%s%s", facts->prompt,
                      facts->target[0] == ' ' ? "" : " ", facts->target));
    KE_TRY(ke__patch_add_memory(cx, out, ke_settings_method(in->settings), text));
done:
    ke__free(cx, text);
    return st;
}
