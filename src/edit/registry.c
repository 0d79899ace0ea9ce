/* The methods, and what is done around each of them: facts checked, several facts edited
 * one after another, the patch's record. */
#include "edit/edit.h"

#include <ctype.h>
#include <string.h>

static const ke__method *const methods[] = {
#define METHOD(id) &ke__method_##id,
#include "edit/methods.def"
#undef METHOD
};

size_t ke_method_count(void)
{
    return sizeof methods / sizeof methods[0];
}

const char *ke_method_name(size_t i)
{
    return methods[i]->name;
}

const char *ke_method_summary(size_t i)
{
    return methods[i]->summary;
}

const ke__method *ke__method_find(const char *name)
{
    for (size_t i = 0; i < ke_method_count(); i++)
        if (strcmp(methods[i]->name, name) == 0)
            return methods[i];
    return NULL;
}

static bool blank(const char *text)
{
    while (text && isspace((unsigned char)*text))
        text++;
    return !text || !*text;
}

ke_status ke_fact_check(ke_ctx *cx, const ke_fact *fact)
{
    const struct {
        const char *name, *text;
    } parts[] = {
        {"subject", fact->subject}, {"prompt", fact->prompt}, {"target", fact->target}};
    for (size_t i = 0; i < 3; i++)
        if (blank(parts[i].text))
            return ke__fail(cx, KE_EINVAL, parts[i].name, "the %s is empty", parts[i].name);
    if (!strstr(fact->prompt, fact->subject))
        return ke__fail(cx, KE_EINVAL, "subject",
                        "the subject '%.80s' doesn't occur in the prompt '%.160s'",
                        fact->subject, fact->prompt);
    return KE_OK;
}

void ke_edit_trace_free(ke_ctx *cx, ke_edit_trace *trace)
{
    ke__free(cx, trace->loss);
    *trace = (ke_edit_trace){0};
}

static ke_status check_facts(ke_ctx *cx, const ke_fact *facts, size_t n)
{
    ke_status st = n > 0 ? KE_OK : ke__fail(cx, KE_EINVAL, "facts", "no fact to edit");
    for (size_t i = 0; st == KE_OK && i < n; i++)
        st = ke_fact_check(cx, &facts[i]);
    return st;
}

ke_status ke_edit_plan_make(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                            const ke_settings *settings, const ke_fact *facts,
                            size_t n_facts)
{
    *out = (ke_edit_plan){0};
    ke_status st = check_facts(cx, facts, n_facts);
    if (st != KE_OK)
        return st;
    return ke__method_find(ke_settings_method(settings))
        ->plan(cx, out, model, settings, facts, n_facts);
}

/* json_pack()'s optional strings are left out where memory is short, too. */
static json_t *fact_json(const ke_fact *f)
{
    json_t *fact = json_object();
    bool ok = (!f->subject || ke__json_set(fact, "subject", ke__json_string(f->subject))) &&
              (!f->prompt || ke__json_set(fact, "prompt", ke__json_string(f->prompt))) &&
              (!f->target || ke__json_set(fact, "target", ke__json_string(f->target)));
    return ke__json_done(fact, ok);
}

/* NULL if memory is short. */
static json_t *record(const ke_settings *s, const ke_fact *facts, size_t n, uint64_t seed)
{
    json_t *settings = json_object(), *list = json_array();
    ke_setting_info info;
    bool ok = true;
    for (size_t i = 0; ke_method_setting(ke_settings_method(s), i, &info); i++)
        ok = ok && ke__json_set(settings, info.name,
                                ke__json_string(ke_settings_get(s, info.name)));
    for (size_t i = 0; i < n; i++)
        ok = ok && ke__json_add(list, fact_json(&facts[i]));
    return json_pack("{s:s, s:o, s:I, s:o}", "method", ke_settings_method(s), "settings",
                     ke__json_done(settings, ok), "seed", (json_int_t)seed, "facts",
                     ke__json_done(list, ok));
}

/* Facts in groups of what the method writes together; each group sees those before it. */
static ke_status edit_all(ke_ctx *cx, ke_patch *patch, const ke__method *method,
                          void *state, ke__edit_in *in, const ke_fact *facts, size_t n,
                          ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    ke_stack *stack = NULL;
    size_t group = method->max_facts, n_groups = (n + group - 1) / group;
    ke_patch **patches = NULL;
    KE_TRY(ke__alloc(cx, &patches, n_groups, sizeof *patches));
    KE_TRY(ke__stack_copy(cx, &stack, in->model, in->edits));
    in->edits = stack;
    for (size_t g = 0; g < n_groups; g++) {
        size_t at = g * group, many = n - at < group ? n - at : group;
        KE_TRY(ke__patch_new(cx, &patches[g]));
        KE_TRY(method->compute(cx, state, patches[g], in, facts + at, many, trace + at));
        KE_TRY(ke_stack_push(cx, stack, patches[g]));
        KE_TRY(ke__patch_join(cx, patch, patches[g]));
    }
done:
    ke_stack_free(cx, stack);
    for (size_t g = 0; patches && g < n_groups; g++)
        ke_patch_free(cx, patches[g]);
    ke__free(cx, patches);
    return st;
}

struct ke_editor {
    const ke__method *method;
    const ke_model *model;
    const ke_settings *settings;
    uint64_t seed;
    void *state;
    json_t *shared;       /* what preparing adds to each edit's record */
    double stats_seconds; /* told with the first edit */
};

ke_status ke_editor_new(ke_ctx *cx, ke_editor **out, const ke_model *model,
                        const ke_settings *settings, uint64_t seed)
{
    ke_status st = KE_OK;
    ke_editor *e = NULL;
    const ke__edit_in in = {model, NULL, settings, seed};
    *out = NULL;
    KE_TRY(ke__alloc(cx, &e, 1, sizeof *e));
    *e = (ke_editor){.method = ke__method_find(ke_settings_method(settings)),
                     .model = model,
                     .settings = settings,
                     .seed = seed,
                     .shared = json_object()};
    KE_TRY(e->method->prepare(cx, &e->state, &in, e->shared));
    *out = e;
    e = NULL;
done:
    ke_editor_free(cx, e);
    return st;
}

void ke_editor_free(ke_ctx *cx, ke_editor *e)
{
    if (!e)
        return;
    e->method->release(cx, e->state);
    json_decref(e->shared);
    ke__free(cx, e);
}

ke_status ke_editor_edit(ke_ctx *cx, ke_editor *e, ke_patch **out, const ke_stack *edits,
                         const ke_fact *facts, size_t n_facts, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    ke__edit_in in = {e->model, edits, e->settings, e->seed};
    ke_edit_trace *own = NULL;
    ke_patch *patch = NULL;
    json_t *meta = NULL;
    char *text = NULL;
    *out = NULL;
    for (size_t i = 0; trace && i < n_facts; i++)
        trace[i] = (ke_edit_trace){0};
    KE_TRY(check_facts(cx, facts, n_facts));
    KE_TRY(ke__alloc(cx, &own, n_facts, sizeof *own));
    KE_TRY(ke__patch_new(cx, &patch));
    meta = record(e->settings, facts, n_facts, e->seed);
    if (!meta || json_object_update(meta, e->shared) != 0) {
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory for the edit's record");
        goto done;
    }
    KE_TRY(edit_all(cx, patch, e->method, e->state, &in, facts, n_facts, own));
    KE_TRY(ke__json_text(cx, &text, meta, 17));
    KE_TRY(ke__patch_set_meta(cx, patch, text));
    for (size_t i = 0; trace && i < n_facts; i++) {
        trace[i] = own[i];
        /* Statistics are computed once, and told once. */
        trace[i].stats_seconds -= e->stats_seconds;
        own[i] = (ke_edit_trace){0};
    }
    if (trace && n_facts > 0)
        e->stats_seconds += trace[0].stats_seconds;
    *out = patch;
    patch = NULL;
done:
    for (size_t i = 0; own && i < n_facts; i++)
        ke_edit_trace_free(cx, &own[i]);
    ke__free(cx, own);
    ke_patch_free(cx, patch);
    json_decref(meta);
    ke__free(cx, text);
    return st;
}

ke_status ke_edit(ke_ctx *cx, ke_patch **out, const ke_model *model, const ke_stack *edits,
                  const ke_settings *settings, const ke_fact *facts, size_t n_facts,
                  uint64_t seed, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    ke_editor *editor = NULL;
    *out = NULL;
    for (size_t i = 0; trace && i < n_facts; i++)
        trace[i] = (ke_edit_trace){0};
    KE_TRY(check_facts(cx, facts, n_facts)); /* before what takes long */
    KE_TRY(ke_editor_new(cx, &editor, model, settings, seed));
    KE_TRY(ke_editor_edit(cx, editor, out, edits, facts, n_facts, trace));
done:
    ke_editor_free(cx, editor);
    return st;
}
