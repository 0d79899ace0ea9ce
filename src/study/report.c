/* The report as the JSON of schema knowedit.edit/1 (a plan: knowedit.plan/1), and its end.
 */
#include "study/study.h"

static json_t *answer_json(const ke_answer *a)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "text", ke__json_string(a->text)) &&
              ke__json_set(out, "target_logprob", ke__json_number(a->target_logprob)) &&
              ke__json_set(out, "target_rank", json_integer(a->target_rank)) &&
              ke__json_set(out, "margin", ke__json_number((double)a->margin));
    return ke__json_done(out, ok);
}

static json_t *probe_json(const ke_probe_result *p)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "prompt", ke__json_string(p->prompt)) &&
              ke__json_set(out, "before", ke__json_string(p->before)) &&
              ke__json_set(out, "after", ke__json_string(p->after)) &&
              ke__json_set(out, "made", json_boolean(p->made)) &&
              ke__json_set(out, "ok", json_boolean(p->ok));
    return ke__json_done(out, ok);
}

static json_t *probes_json(const ke_probe_result *probes, size_t n, const char *counted,
                           size_t count)
{
    json_t *out = json_object(), *items = json_array();
    bool ok = ke__json_set(out, "n", json_integer((json_int_t)n)) &&
              ke__json_set(out, counted, json_integer((json_int_t)count));
    for (size_t i = 0; ok && i < n; i++)
        ok = ke__json_add(items, probe_json(&probes[i]));
    ok = ke__json_set(out, "items", items) && ok;
    return ke__json_done(out, ok);
}

static json_t *loss_json(const ke_edit_trace *trace)
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < trace->n_loss; i++)
        ok = ke__json_add(out, ke__json_number(trace->loss[i]));
    return ke__json_done(out, ok);
}

/* null: not asked in this form. */
static json_t *form_json(const ke_form *form)
{
    json_t *out;
    if (!form->before)
        return json_null();
    out = json_object();
    bool ok = ke__json_set(out, "before", ke__json_string(form->before)) &&
              ke__json_set(out, "after", ke__json_string(form->after)) &&
              ke__json_set(out, "states", json_boolean(form->states)) &&
              ke__json_set(out, "names", json_boolean(form->names));
    return ke__json_done(out, ok);
}

static void form_free(ke_ctx *cx, ke_form *form)
{
    ke__free(cx, form->before);
    ke__free(cx, form->after);
}

static json_t *fact_json(const ke_fact_report *f)
{
    json_t *out = json_object();
    bool ok =
        ke__json_set(out, "subject", ke__json_string(f->subject)) &&
        ke__json_set(out, "subject_from", ke__json_string(f->subject_from)) &&
        ke__json_set(out, "prompt", ke__json_string(f->prompt)) &&
        ke__json_set(out, "target", ke__json_string(f->target)) &&
        ke__json_set(out, "took", json_boolean(f->took)) &&
        ke__json_set(out, "already", json_boolean(f->already)) &&
        ke__json_set(out, "reason", ke__json_string(f->reason)) &&
        ke__json_set(out, "before", answer_json(&f->before)) &&
        ke__json_set(out, "after", answer_json(&f->after)) &&
        ke__json_set(out, "bare", form_json(&f->bare)) &&
        ke__json_set(out, "chat", form_json(&f->chat)) &&
        ke__json_set(
            out, "paraphrases",
            probes_json(f->paraphrases, f->n_paraphrases, "success", f->n_success)) &&
        ke__json_set(out, "neighbours",
                     probes_json(f->neighbours, f->n_neighbours, "kept", f->n_kept)) &&
        ke__json_set(out, "aspects",
                     probes_json(f->aspects, f->n_aspects, "kept", f->n_aspects_kept)) &&
        ke__json_set(out, "attempts", json_integer((json_int_t)f->n_attempts)) &&
        ke__json_set(out, "loss", loss_json(&f->trace)) &&
        ke__json_set(out, "delta_norm", ke__json_number(f->trace.delta_norm)) &&
        ke__json_set(out, "key_norm", ke__json_number(f->trace.key_norm)) &&
        ke__json_set(out, "value_norm", ke__json_number(f->trace.value_norm));
    return ke__json_done(out, ok);
}

static json_t *facts_json(const ke_edit_report *r, json_t *(*one)(const ke_fact_report *))
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < r->n_facts; i++)
        ok = ke__json_add(out, one(&r->facts[i]));
    return ke__json_done(out, ok);
}

json_t *ke__json_tensors(const ke_edit_report *r)
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < r->n_tensors; i++) {
        const ke_edited_tensor *t = &r->tensors[i];
        json_t *item = json_object();
        ok = ke__json_set(item, "name", ke__json_string(t->name)) &&
             ke__json_set(item, "type_before", ke__json_string(t->type_before)) &&
             ke__json_set(item, "type_after", ke__json_string(t->type_after)) &&
             ke__json_set(item, "rel_change", ke__json_number(t->rel_change));
        ok = ke__json_add(out, item) && ok;
    }
    return ke__json_done(out, ok);
}

static json_t *layers_json(const uint32_t *layers, size_t n)
{
    json_t *out = json_array();
    bool ok = out;
    for (size_t i = 0; ok && i < n; i++)
        ok = ke__json_add(out, json_integer(layers[i]));
    return ke__json_done(out, ok);
}

json_t *ke__json_layers(const ke_edit_report *r)
{
    return layers_json(r->layers, r->n_layers);
}

static json_t *harm_json(const ke_edit_report *r)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "kl", ke__json_number(r->kl)) &&
              ke__json_set(out, "ppl_before", ke__json_number(r->ppl_before)) &&
              ke__json_set(out, "ppl_after", ke__json_number(r->ppl_after)) &&
              ke__json_set(out, "tokens", json_integer((json_int_t)r->harm_tokens)) &&
              ke__json_set(out, "too_harmful", json_boolean(r->too_harmful));
    return ke__json_done(out, ok);
}

static json_t *seconds_json(const ke_edit_report *r)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "open", ke__json_number(r->seconds.open)) &&
              ke__json_set(out, "stats", ke__json_number(r->seconds.stats)) &&
              ke__json_set(out, "edit", ke__json_number(r->seconds.edit)) &&
              ke__json_set(out, "verify", ke__json_number(r->seconds.verify)) &&
              ke__json_set(out, "save", ke__json_number(r->seconds.save)) &&
              ke__json_set(out, "total", ke__json_number(r->seconds.total));
    return ke__json_done(out, ok);
}

static json_t *sha_json(const char *sha)
{
    return ke__json_string(*sha ? sha : NULL);
}

static json_t *report_json(const ke_edit_report *r)
{
    json_t *o = json_object();
    bool ok = ke__json_set(o, "schema", ke__json_string("knowedit.edit/1")) &&
              ke__json_set(o, "method", ke__json_string(r->method)) &&
              ke__json_set(o, "form", ke__json_string(r->chat ? "chat" : "bare")) &&
              ke__json_set(o, "template", ke__json_string(r->chat_family)) &&
              ke__json_set(o, "layers", layers_json(r->layers, r->n_layers)) &&
              ke__json_set(o, "took", json_boolean(r->took)) &&
              ke__json_set(o, "already", json_boolean(r->already)) &&
              ke__json_set(o, "facts", facts_json(r, fact_json)) &&
              ke__json_set(o, "harm", harm_json(r)) &&
              ke__json_set(o, "output", ke__json_string(r->output)) &&
              ke__json_set(o, "patch", ke__json_string(r->patch)) &&
              ke__json_set(o, "sha256_base", sha_json(r->sha256_base)) &&
              ke__json_set(o, "sha256_output", sha_json(r->sha256_output)) &&
              ke__json_set(o, "edited_tensors", ke__json_tensors(r)) &&
              ke__json_set(o, "type_reason", ke__json_string(r->type_reason)) &&
              ke__json_set(o, "seconds", seconds_json(r)) &&
              ke__json_set(o, "peak_bytes", json_integer((json_int_t)r->peak_bytes));
    return ke__json_done(o, ok);
}

static json_t *planned_fact_json(const ke_fact_report *f)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "subject", ke__json_string(f->subject)) &&
              ke__json_set(out, "subject_from", ke__json_string(f->subject_from)) &&
              ke__json_set(out, "prompt", ke__json_string(f->prompt)) &&
              ke__json_set(out, "target", ke__json_string(f->target));
    return ke__json_done(out, ok);
}

static json_t *planned_seconds_json(const ke_edit_report *r)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "one_attempt", ke__json_number(r->plan.seconds)) &&
              ke__json_set(out, "all_attempts", ke__json_number(r->planned_seconds));
    return ke__json_done(out, ok);
}

/* What is known before work, and nothing that would have to be measured. */
static json_t *plan_json(const ke_edit_report *r)
{
    const ke_edit_plan *p = &r->plan;
    json_t *o = json_object();
    bool ok = ke__json_set(o, "schema", ke__json_string("knowedit.plan/1")) &&
              ke__json_set(o, "method", ke__json_string(r->method)) &&
              ke__json_set(o, "form", ke__json_string(r->chat ? "chat" : "bare")) &&
              ke__json_set(o, "template", ke__json_string(r->chat_family)) &&
              ke__json_set(o, "plan", ke__json_string(p->text)) &&
              ke__json_set(o, "layers", layers_json(p->layers, p->n_layers)) &&
              ke__json_set(o, "facts", facts_json(r, planned_fact_json)) &&
              ke__json_set(o, "output", ke__json_string(r->output)) &&
              ke__json_set(o, "patch", ke__json_string(r->patch)) &&
              ke__json_set(o, "sha256_base", sha_json(r->sha256_base)) &&
              ke__json_set(o, "attempts", json_integer((json_int_t)r->planned_attempts)) &&
              ke__json_set(o, "seconds", planned_seconds_json(r)) &&
              ke__json_set(o, "memory_bytes", json_integer((json_int_t)p->peak_bytes));
    return ke__json_done(o, ok);
}

ke_status ke_edit_report_json(ke_ctx *cx, char **out, const ke_edit_report *r)
{
    return ke__json_dump(cx, out, r->plan_only ? plan_json(r) : report_json(r));
}

static void probes_free(ke_ctx *cx, ke_probe_result *probes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ke__free(cx, probes[i].prompt);
        ke__free(cx, probes[i].before);
        ke__free(cx, probes[i].after);
    }
    ke__free(cx, probes);
}

void ke_edit_report_free(ke_ctx *cx, ke_edit_report *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_facts; i++) {
        ke_fact_report *f = &r->facts[i];
        ke__free(cx, f->subject);
        ke__free(cx, f->subject_from);
        ke__free(cx, f->prompt);
        ke__free(cx, f->target);
        ke__free(cx, f->reason);
        ke__free(cx, f->before.text);
        ke__free(cx, f->after.text);
        form_free(cx, &f->bare);
        form_free(cx, &f->chat);
        probes_free(cx, f->paraphrases, f->n_paraphrases);
        probes_free(cx, f->neighbours, f->n_neighbours);
        probes_free(cx, f->aspects, f->n_aspects);
        ke_edit_trace_free(cx, &f->trace);
    }
    for (size_t i = 0; i < r->n_tensors; i++)
        ke__free(cx, r->tensors[i].name);
    ke__free(cx, r->facts);
    ke__free(cx, r->tensors);
    ke__free(cx, r->output);
    ke__free(cx, r->patch);
    ke__free(cx, r->type_reason);
    ke__free(cx, r);
}
