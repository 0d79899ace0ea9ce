/* ke_bench_run(): a job checked, its cases loaded, its plan said, and then measured. */
#include "study/bench.h"

#include <stdio.h>
#include <string.h>

ke_status ke__bench_say(ke_ctx *cx, const ke__bench *b, const char *format, ...)
{
    char line[512];
    va_list args;
    if (!b->job->say)
        return ke__check_cancel(cx);
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    b->job->say(line, b->job->payload);
    return ke__check_cancel(cx);
}

ke_status ke__bench_progress(ke_ctx *cx, const ke__bench *b, uint64_t done)
{
    if (b->progress)
        b->progress("bench", done, b->total, cx->opts.progress_payload);
    return ke__check_cancel(cx);
}

/* --- what is asked for --- */

static ke_status check_type(ke_ctx *cx, ke__bench *b)
{
    const char *name = b->job->edited_type;
    char names[128];
    if (!name)
        return KE_OK;
    b->rounded = true;
    if (strcmp(name, "same") == 0)
        return KE_OK;
    b->type = ke__dtype_named(name);
    ke__dtype_list(names, sizeof names);
    if (!b->type || !b->type->from_f32)
        return ke__fail(cx, KE_EINVAL, "edited-type",
                        "edited-type \"%.40s\": expected same, or a type that can be "
                        "written (%s)",
                        name, names);
    return KE_OK;
}

static ke_status check_job(ke_ctx *cx, ke__bench *b)
{
    const ke_bench_job *job = b->job;
    if (!job->model_path || job->n_files == 0 || (job->n_methods == 0 && !job->unedited))
        return ke__fail(cx, KE_EINVAL, NULL,
                        "a benchmark needs a model, a data file and a method");
    if (!job->output_path && !job->plan_only)
        return ke__fail(cx, KE_EINVAL, NULL, "a benchmark needs a file for its results");
    for (size_t i = 0; i < job->n_methods; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(ke_settings_method(job->methods[i]),
                       ke_settings_method(job->methods[k])) == 0)
                return ke__fail(cx, KE_EINVAL, "method", "method %s is given twice",
                                ke_settings_method(job->methods[i]));
    if (!job->sequential && (job->score_at & KE_SCORE_END))
        return ke__fail(cx, KE_EINVAL, "score-at",
                        "scores at the end need edits in sequence: single edits have none");
    return check_type(cx, b);
}

static ke_status methods_make(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    const ke_bench_job *job = b->job;
    KE_TRY(ke__alloc(cx, &b->methods, job->n_methods + 1, sizeof *b->methods));
    if (job->unedited)
        b->methods[b->n_methods++].name = "none";
    for (size_t i = 0; i < job->n_methods; i++)
        b->methods[b->n_methods++] = (ke__bench_method){
            .name = ke_settings_method(job->methods[i]), .settings = job->methods[i]};
done:
    return st;
}

static ke_status load_cases(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    const ke_bench_job *job = b->job;
    const ke__cases_opts opts = {.set = job->set,
                                 .limit = job->limit,
                                 .seed = job->seed,
                                 .skip_bad = job->skip_bad,
                                 .retain_all = job->retain_all};
    KE_TRY(ke__cases_load(cx, &b->cases, job->files, job->n_files, &opts));
    b->summary->n_cases = b->cases.n;
    b->summary->n_bad = b->cases.n_bad;
    if (b->cases.n == 0)
        st = ke__fail(cx, KE_EFORMAT, job->files[0], "%s: no case to measure",
                      job->files[0]);
done:
    return st;
}

/* --- the run --- */

static ke_status measure_all(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    size_t n_at = 1 + (b->score_at == (KE_SCORE_EACH | KE_SCORE_END));

    KE_TRY(ke__store_open(cx, &b->store, b->job->output_path));
    KE_TRY(ke__alloc(cx, &b->file_names, b->cases.n_files, sizeof *b->file_names));
    KE_TRY(ke__bench_identify(cx, b));
    b->total = (uint64_t)b->cases.n * b->n_methods * n_at;
    b->progress = cx->opts.progress;
    cx->opts.progress = NULL;
    KE_TRY(ke__bench_progress(cx, b, 0));
    KE_TRY(b->job->sequential ? ke__bench_sequential(cx, b) : ke__bench_single(cx, b));
done:
    if (b->progress)
        cx->opts.progress = b->progress;
    if (st == KE_ECANCELED && b->store)
        st = ke__fail(
            cx, st, b->job->output_path,
            "interrupted; %zu measurements are in %.120s, the same command goes on",
            b->summary->n_rows, b->job->output_path);
    return st;
}

static void bench_free(ke_ctx *cx, ke__bench *b)
{
    ke__store_close(cx, b->store);
    for (size_t i = 0; b->file_names && i < b->cases.n_files; i++)
        ke__free(cx, b->file_names[i]);
    ke__free(cx, b->file_names);
    for (size_t i = 0; i < b->n_methods; i++)
        ke_editor_free(cx, b->methods[i].editor);
    ke__free(cx, b->methods);
    ke__cases_free(cx, &b->cases);
    ke_chat_free(cx, b->chat);
    ke_model_close(cx, b->model);
}

ke_status ke_bench_run(ke_ctx *cx, ke_bench_summary *out, const ke_bench_job *job)
{
    ke_status st = KE_OK;
    double begun = ke__now();
    ke__bench b = {.job = job, .summary = out};

    *out = (ke_bench_summary){0};
    b.protocols = job->protocols ? job->protocols : KE_PROTOCOL_EASYEDIT | KE_PROTOCOL_REAL;
    b.n_protocols = b.protocols == (KE_PROTOCOL_EASYEDIT | KE_PROTOCOL_REAL) ? 2 : 1;
    b.score_at = job->score_at ? job->score_at : KE_SCORE_EACH;
    KE_TRY(check_job(cx, &b));
    KE_TRY(methods_make(cx, &b));
    KE_TRY(load_cases(cx, &b));
    KE_TRY(ke_model_open(cx, &b.model, job->model_path));
    if (job->chat)
        KE_TRY(ke_chat_new(cx, &b.chat, b.model, job->chat_family));
    KE_TRY(ke__bench_plan(cx, &b));
    if (!job->plan_only)
        KE_TRY(measure_all(cx, &b));
done:
    out->seconds = ke__now() - begun;
    bench_free(cx, &b);
    return st;
}
