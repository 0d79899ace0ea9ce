/* What the edited file and the patch say about an edit. No times: the same inputs give the
 * same bytes. */
#include "study/study.h"

#include <string.h>

static json_t *settings_json(const ke_settings *settings)
{
    json_t *out = json_object();
    ke_setting_info info;
    const char *method = ke_settings_method(settings);
    bool ok = out;
    for (size_t i = 0; ok && ke_method_setting(method, i, &info); i++)
        ok = ke__json_set(out, info.name,
                          ke__json_string(ke_settings_get(settings, info.name)));
    return ke__json_done(out, ok);
}

static json_t *facts_json(const ke__run *run)
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < run->job->n_facts; i++) {
        const ke_fact_report *f = &run->report->facts[i];
        json_t *item = json_object();
        ok = ke__json_set(item, "subject", ke__json_string(f->subject)) &&
             ke__json_set(item, "prompt", ke__json_string(f->prompt)) &&
             ke__json_set(item, "target", ke__json_string(f->target)) &&
             ke__json_set(item, "took", json_boolean(f->took));
        if (f->subject_from)
            ok = ok && ke__json_set(item, "subject_from", ke__json_string(f->subject_from));
        ok = ke__json_add(out, item) && ok;
    }
    return ke__json_done(out, ok);
}

/* What each accepted patch recorded about itself (contexts, the settings of its attempt).
 */
static json_t *edits_json(const ke__run *run)
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < run->n_patches; i++) {
        const char *meta = run->patches[i]->meta;
        ok = ke__json_add(out, meta ? json_loads(meta, 0, NULL) : json_object());
    }
    return ke__json_done(out, ok);
}

static bool set_common(json_t *out, const ke__run *run)
{
    const ke_edit_report *r = run->report;
    return ke__json_set(out, "tool", ke__json_string("knowedit " KE_VERSION)) &&
           ke__json_set(out, "method", ke__json_string(r->method)) &&
           (!r->chat || ke__json_set(out, "chat", ke__json_string(r->chat_family))) &&
           ke__json_set(out, "layers", ke__json_layers(r)) &&
           ke__json_set(out, "seed", json_integer((json_int_t)run->job->seed)) &&
           ke__json_set(out, "facts", facts_json(run)) &&
           ke__json_set(out, "tensors", ke__json_tensors(r)) &&
           ke__json_set(out, "settings", settings_json(run->job->settings)) &&
           ke__json_set(out, "sha256_base", ke__json_string(r->sha256_base));
}

ke_status ke__record_stamp(ke_ctx *cx, char **out, const ke__run *run)
{
    json_t *stamp = json_object();
    bool ok = set_common(stamp, run);
    return ke__json_dump(cx, out, ke__json_done(stamp, ok));
}

ke_status ke__record_of_meta(ke_ctx *cx, char **out, const json_t *meta)
{
    static const char *const own[] = {"schema", "sha256_output", "edits"};
    const char *schema = json_string_value(json_object_get(meta, "schema"));
    *out = NULL;
    if (!schema || strcmp(schema, "knowedit.patch/1") != 0)
        return KE_OK;
    json_t *stamp = json_copy((json_t *)(uintptr_t)meta);
    /* Where memory is short, jansson's copy lacks members. */
    stamp = ke__json_done(stamp, json_object_size(stamp) == json_object_size(meta));
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        (void)json_object_del(stamp, own[i]); /* not of the stamp */
    return ke__json_dump(cx, out, stamp);
}

ke_status ke__stamps_new(ke_ctx *cx, ke__stamps *s, const ke_model *model, char *record)
{
    ke_status st = KE_OK;
    size_t n = model->info.n_edits;
    *s = (ke__stamps){.record = record, .version = KE_VERSION};
    KE_TRY(ke__alloc(cx, &s->edits, n + 1, sizeof *s->edits));
    for (size_t i = 0; i < n; i++)
        s->edits[i] = ke_model_edit_get(model, i);
    s->edits[n] = record;
    s->items[0] = (ke__gguf_stamp){"knowedit.version", &s->version, 1, false};
    s->items[1] = (ke__gguf_stamp){"knowedit.edits", s->edits, n + 1, true};
    s->n = 2;
done:
    return st;
}

void ke__stamps_free(ke_ctx *cx, ke__stamps *s)
{
    ke__free(cx, s->record);
    ke__free(cx, s->edits);
}

ke_status ke__record_patch(ke_ctx *cx, char **out, const ke__run *run)
{
    const char *sha = run->report->sha256_output;
    json_t *meta = json_object();
    bool ok = ke__json_set(meta, "schema", ke__json_string("knowedit.patch/1")) &&
              set_common(meta, run) &&
              ke__json_set(meta, "sha256_output", ke__json_string(*sha ? sha : NULL)) &&
              ke__json_set(meta, "edits", edits_json(run));
    return ke__json_dump(cx, out, ke__json_done(meta, ok));
}
