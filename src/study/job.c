/* ke_edit_run(): the way of a job from its plan to its files. */
#include "study/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ke__run_lap(ke__run *run, double *slot)
{
    double now = ke__now();
    *slot += now - run->lap;
    run->lap = now;
}

ke_status ke__run_say(ke_ctx *cx, const ke__run *run, const char *format, ...)
{
    char line[512];
    va_list args;
    if (!run->job->say)
        return ke__check_cancel(cx);
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    run->job->say(line, run->job->payload);
    return ke__check_cancel(cx);
}

/* --- what is asked for -------------------------------------------------------------------
 */

static int by_prompt(const void *a, const void *b)
{
    const ke_fact *x = *(const ke_fact *const *)a, *y = *(const ke_fact *const *)b;
    int order = strcmp(x->prompt, y->prompt);
    return order ? order : (x > y) - (x < y);
}

/* Two facts that can't both hold would be edited in turns, to no end. */
static ke_status refuse_contradictions(ke_ctx *cx, const ke_edit_job *job)
{
    ke_status st = KE_OK;
    const ke_fact **sorted = NULL;
    KE_TRY(ke__alloc(cx, &sorted, job->n_facts, sizeof *sorted));
    for (size_t i = 0; i < job->n_facts; i++)
        sorted[i] = &job->facts[i];
    qsort(sorted, job->n_facts, sizeof *sorted, by_prompt);
    for (size_t i = 0; i + 1 < job->n_facts; i++) {
        const ke_fact *a = sorted[i], *b = sorted[i + 1];
        if (strcmp(a->prompt, b->prompt) == 0 && strcmp(a->target, b->target) != 0) {
            st = ke__fail(cx, KE_EINVAL, "facts",
                          "facts %zu and %zu contradict each other: '%.80s' is to go on "
                          "with '%.40s' and with '%.40s'",
                          (size_t)(a - job->facts) + 1, (size_t)(b - job->facts) + 1,
                          a->prompt, a->target, b->target);
            goto done;
        }
    }
done:
    ke__free(cx, sorted);
    return st;
}

static ke_status check_job(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    const ke_edit_job *job = run->job;
    if (!job->model_path || !job->settings || job->n_facts == 0 || !job->facts)
        return ke__fail(cx, KE_EINVAL, NULL,
                        "an edit job needs a model, settings and at least one fact");
    for (size_t i = 0; i < job->n_facts; i++)
        KE_TRY(ke_fact_check(cx, &job->facts[i]));
    KE_TRY(refuse_contradictions(cx, job));
    run->type_name = job->edited_type ? job->edited_type : "auto";
    if (strcmp(run->type_name, "auto") != 0 && strcmp(run->type_name, "same") != 0) {
        char names[128];
        ke__dtype_list(names, sizeof names);
        run->type = ke__dtype_named(run->type_name);
        if (!run->type || !run->type->from_f32)
            return ke__fail(
                cx, KE_EINVAL, "edited-type",
                "edited-type \"%.40s\": expected auto, same, or a type that can be "
                "written (%s)",
                run->type_name, names);
    }
    KE_TRY(ke__outputs_check(cx, run));
done:
    return st;
}

static ke_status report_new(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_edit_report *r = NULL;
    size_t n = run->job->n_facts;

    KE_TRY(ke__alloc(cx, &r, 1, sizeof *r));
    run->report = r;
    KE_TRY(ke__alloc(cx, &r->facts, n, sizeof *r->facts));
    r->n_facts = n;
    for (size_t i = 0; i < n; i++) {
        const ke_fact *fact = &run->job->facts[i];
        ke_fact_report *f = &r->facts[i];
        KE_TRY(ke__strdup(cx, &f->subject, fact->subject));
        if (fact->subject_from)
            KE_TRY(ke__strdup(cx, &f->subject_from, fact->subject_from));
        KE_TRY(ke__strdup(cx, &f->prompt, fact->prompt));
        KE_TRY(ke__strdup(cx, &f->target, fact->target));
        KE_TRY(ke__strdup(cx, &f->reason, ""));
    }
done:
    return st;
}

/* --- the plan
 * ------------------------------------------------------------------------------ */

/* "84M": rounded up, so that the number given as a limit is enough. */
static void bytes_text(char out[24], uint64_t bytes)
{
    static const char units[] = "KMG";
    uint64_t n = (bytes + 1023) >> 10;
    size_t unit = 0;
    while (n >= 10240 && unit < 2) {
        n = (n + 1023) >> 10;
        unit++;
    }
    snprintf(out, 24, "%llu%c", (unsigned long long)n, units[unit]);
}

static uint64_t verify_bytes(const ke__run *run)
{
    ke__harm_opts harm = KE__HARM_DEFAULT;
    const ke_model *m = run->model;
    /* The patches, and once more as they are written. */
    uint64_t bytes = ke__harm_bytes(m, &harm) + 2 * run->report->plan.patch_bytes;
    /* Values in f32 and in the output's type, and what they are merged from. */
    for (size_t i = 0; i < run->report->plan.n_layers; i++) {
        const ke__mat *w = &m->layers[run->report->plan.layers[i]].linear[KE__LIN_DOWN].mat;
        bytes += 3 * w->rows * w->cols * sizeof(float);
    }
    return bytes;
}

/* The first attempt must fit into memory; later ones that don't are left out. */
static ke_status plan_ladder(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    const ke_edit_job *job = run->job;
    ke_edit_plan *plan = &run->report->plan, later;
    ke_settings *settings = NULL;
    double *seconds = &run->report->planned_seconds;
    uint64_t limit = ke__memory_limit(cx), verify;
    bool stats; /* they are computed once */
    size_t n =
        job->one_attempt ? 1 : ke__method_attempts(ke_settings_method(job->settings));
    KE_TRY(ke__alloc(cx, &run->rungs, n + 1, sizeof *run->rungs));
    KE_TRY(
        ke_edit_plan_make(cx, plan, run->model, job->settings, run->facts, job->n_facts));
    verify = verify_bytes(run);
    plan->peak_bytes = verify > plan->peak_bytes ? verify : plan->peak_bytes;
    run->rungs[run->n_rungs++] = 0;
    *seconds = plan->seconds;
    stats = plan->stats_tokens > 0;
    for (size_t i = 1; i < n; i++) {
        KE_TRY(ke__settings_attempt(cx, job->settings, i, &settings));
        KE_TRY(
            ke_edit_plan_make(cx, &later, run->model, settings, run->facts, job->n_facts));
        ke_settings_free(cx, settings);
        settings = NULL;
        if (limit && later.peak_bytes > limit)
            continue;
        run->rungs[run->n_rungs++] = i;
        *seconds += later.seconds - (stats ? later.stats_seconds : 0.0);
        stats = stats || later.stats_tokens > 0;
        if (later.peak_bytes > plan->peak_bytes)
            plan->peak_bytes = later.peak_bytes;
    }
    run->report->planned_attempts = run->n_rungs;
    if (run->n_rungs < n)
        KE_TRY(ke__run_say(cx, run, "%zu of %zu attempts need more memory and are left out",
                           n - run->n_rungs, n));
done:
    ke_settings_free(cx, settings);
    return st;
}

/* A subject that was found is the user's to judge. */
static ke_status say_subjects(ke_ctx *cx, const ke__run *run)
{
    enum { SHOWN = 5 };
    ke_status st = KE_OK;
    size_t n = 0;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        const ke_fact *f = &run->job->facts[i];
        if (f->subject_from && n++ < SHOWN)
            KE_TRY(ke__run_say(
                cx, run, "fact %zu: its subject is \"%.100s\" (from %s)", i + 1, f->subject,
                strcmp(f->subject_from, "names") == 0     ? "the given names"
                : strcmp(f->subject_from, "prompts") == 0 ? "what its prompts share"
                                                          : "the answer"));
    }
    if (n > SHOWN)
        KE_TRY(ke__run_say(cx, run, "and the subjects of %zu more facts were found",
                           n - SHOWN));
done:
    return st;
}

/* Most tokenizers put a blank before a word: one after the prompt leads elsewhere. */
static ke_status warn_of_blanks(ke_ctx *cx, const ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        const char *prompt = run->job->facts[i].prompt;
        if (prompt[ke__trimmed(prompt)] != '\0')
            KE_TRY(
                ke__run_say(cx, run,
                            "warning: the prompt of fact %zu ends with a blank, which is "
                            "not how texts are tokenised: leave it out",
                            i + 1));
    }
done:
    return st;
}

/* An edited model is as large as its base, but for edited tensors of another type. */
static ke_status say_outputs(ke_ctx *cx, const ke__run *run)
{
    char size[24];
    bytes_text(size, run->model->info.file_bytes);
    if (run->output_path)
        return ke__run_say(cx, run, "output: %s, about %s, and its patch %s",
                           run->output_path, size, run->patch_path);
    return run->patch_path ? ke__run_say(cx, run, "output: the patch %s", run->patch_path)
                           : KE_OK;
}

/* Less is no second that anyone waits for. */
static double at_least_one(double seconds)
{
    return seconds < 1 ? 1 : seconds;
}

static ke_status make_plan(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_edit_plan *plan = &run->report->plan;
    char need[24], have[24], more[64] = "";
    uint64_t limit = ke__memory_limit(cx);

    KE_TRY(say_subjects(cx, run));
    KE_TRY(ke__lengths_check(cx, run));
    KE_TRY(plan_ladder(cx, run));
    if (run->output_path)
        KE_TRY(ke__files_room(cx, &run->model->files, run->output_path, 1));
    bytes_text(need, plan->peak_bytes);
    bytes_text(have, limit);
    if (run->n_rungs > 1)
        snprintf(more, sizeof more, ", up to %.0f s if all %zu attempts are needed",
                 at_least_one(run->report->planned_seconds), run->n_rungs);
    KE_TRY(ke__run_say(cx, run, "%s", plan->text));
    KE_TRY(say_outputs(cx, run));
    KE_TRY(warn_of_blanks(cx, run));
    KE_TRY(ke__run_say(cx, run,
                       "type of edited tensors: %s; memory: %s%s%s beside the mapped file; "
                       "time: about %.0f s%s%s",
                       run->type_name, need, limit ? " of " : "", limit ? have : "",
                       at_least_one(plan->seconds),
                       plan->stats_tokens ? ", key statistics included" : "", more));
    if (limit && plan->peak_bytes > limit)
        st = ke__fail(cx, KE_ELIMIT, "mem-limit",
                      "this edit needs %s of memory, the limit is %s: %s would do", need,
                      have, need);
done:
    return st;
}

/* --- before
 * ---------------------------------------------------------------------------------- */

static ke_status measure_before(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke__verdict *verdicts = NULL;
    ke_edit_report *r = run->report;

    KE_TRY(ke__questions_new(cx, run));
    KE_TRY(ke__probes_make(cx, run));
    KE_TRY(ke__alloc(cx, &verdicts, r->n_facts, sizeof *verdicts));
    KE_TRY(ke__ask(cx, verdicts, run, run->model, NULL, NULL, r->n_facts));
    r->already = true;
    for (size_t i = 0; i < r->n_facts; i++) {
        r->facts[i].before = verdicts[i].answer;
        verdicts[i].answer.text = NULL;
        r->facts[i].already = verdicts[i].holds;
        r->already = r->already && verdicts[i].holds;
    }
    KE_TRY(ke__forms_before(cx, run));
    KE_TRY(ke__probes_before(cx, run));
done:
    ke__verdicts_free(cx, verdicts, r->n_facts);
    ke__free(cx, verdicts);
    return st;
}

/* --- after
 * ----------------------------------------------------------------------------------- */

static ke_status list_tensors(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_edit_report *r = run->report;
    KE_TRY(ke__alloc(cx, &r->tensors, run->merged.n, sizeof *r->tensors));
    for (; r->n_tensors < run->merged.n; r->n_tensors++) {
        const ke__merged_tensor *m = &run->merged.tensors[r->n_tensors];
        const ke__tensor *was = &run->model->file.tensors[m->tensor];
        ke_edited_tensor *t = &r->tensors[r->n_tensors];
        KE_TRY(ke__strdup(cx, &t->name, was->name));
        t->type_before = was->type->name;
        t->type_after = m->type->name;
        t->rel_change = m->rel_change;
    }
done:
    return st;
}

/* Layers of all facts, each once, in order. */
static void list_layers(ke_edit_report *r)
{
    for (uint32_t layer = 0; r->n_layers < 64 && layer < UINT16_MAX; layer++) {
        bool used = false;
        for (size_t i = 0; i < r->n_facts && !used; i++)
            for (size_t k = 0; k < r->facts[i].trace.n_layers && !used; k++)
                used = r->facts[i].trace.layers[k] == layer;
        if (used)
            r->layers[r->n_layers++] = layer;
    }
}

static ke_status measure_after(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_edit_report *r = run->report;
    ke__harm_opts opts = KE__HARM_DEFAULT;
    ke__harm harm = {0};
    bool pushed = false;

    KE_TRY(list_tensors(cx, run));
    list_layers(r);
    KE_TRY(ke__stack_push_merged(cx, run->stack, &run->merged));
    pushed = true;
    KE_TRY(ke__probes_after(cx, run, run->stack));
    KE_TRY(ke__forms_after(cx, run));
    KE_TRY(ke__harm_measure(cx, &harm, run->model, NULL, run->stack, &opts));
    r->kl = harm.kl;
    r->ppl_before = harm.ppl_before;
    r->ppl_after = harm.ppl_after;
    r->harm_tokens = harm.tokens;
    r->too_harmful = run->job->max_kl > 0.0 && !(harm.kl <= run->job->max_kl);
    r->took = r->took && !r->too_harmful;
done:
    if (pushed)
        ke_stack_pop(cx, run->stack);
    return st;
}

static bool to_write(const ke__run *run)
{
    return !run->job->dry_run && (run->report->took || run->job->keep_failed);
}

/* --- the job
 * ----------------------------------------------------------------------------------- */

static ke_status run_steps(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_edit_report *r = run->report;

    KE_TRY(ke_model_open(cx, &run->model, run->job->model_path));
    if (run->job->no_special)
        ke_model_drop_bos(run->model);
    KE_TRY(ke__forms_new(cx, run));
    KE_TRY(make_plan(cx, run));
    KE_TRY(ke_model_sha256(cx, run->model, r->sha256_base));
    ke__run_lap(run, &r->seconds.open);
    if (run->job->plan_only) {
        r->plan_only = true;
        r->output = run->output_path;
        r->patch = run->patch_path;
        run->output_path = run->patch_path = NULL;
        goto done;
    }

    KE_TRY(measure_before(cx, run));
    ke__run_lap(run, &r->seconds.verify);

    KE_TRY(ke_stack_new(cx, &run->stack, run->model));
    KE_TRY(ke__edit_all(cx, run));
    ke__run_lap(run, &r->seconds.edit);
    r->seconds.edit -= r->seconds.stats;

    KE_TRY(ke__type_choose(cx, run));
    KE_TRY(measure_after(cx, run));
    ke__run_lap(run, &r->seconds.verify);

    if (to_write(run))
        KE_TRY(ke__outputs_write(cx, run));
    ke__run_lap(run, &r->seconds.save);
done:
    return st;
}

static void run_free(ke_ctx *cx, ke__run *run)
{
    ke__questions_free(cx, run);
    ke__forms_free(cx, run);
    ke_stack_free(cx, run->stack);
    for (size_t i = 0; i < run->n_patches; i++)
        ke_patch_free(cx, run->patches[i]);
    ke__free(cx, run->patches);
    ke__free(cx, run->rungs);
    ke_editor_free(cx, run->editor);
    ke_settings_free(cx, run->editor_settings);
    ke__merged_free(cx, &run->merged);
    ke__free(cx, run->output_path);
    ke__free(cx, run->patch_path);
    ke_model_close(cx, run->model);
}

ke_status ke_edit_run(ke_ctx *cx, ke_edit_report **out, const ke_edit_job *job)
{
    ke_status st = KE_OK;
    ke__run run = {.job = job, .lap = ke__now()};
    double start = run.lap;

    *out = NULL;
    KE_TRY(check_job(cx, &run));
    KE_TRY(report_new(cx, &run));
    run.report->method = ke_settings_method(job->settings);
    KE_TRY(run_steps(cx, &run));
    *out = run.report;
    run.report = NULL;
done:
    run_free(cx, &run);
    if (*out) {
        (*out)->seconds.total = ke__now() - start;
        (*out)->peak_bytes = ke__memory_resident_peak();
    }
    ke_edit_report_free(cx, run.report);
    return st;
}
