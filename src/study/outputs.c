/* Where model and patch go: refused early, written whole, named last. */
#include "study/study.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- before work -----------------------------------------------------------------------
 */

/* Find out now whether `path` can be written; nothing is left. */
static ke_status try_open(ke_ctx *cx, const char *path, bool force)
{
    ke__out out = {.fd = -1};
    ke_status st = ke__out_open(cx, &out, path, force);
    ke__out_close(cx, &out);
    return st;
}

/* The same for the model. */
static ke_status try_model(ke_ctx *cx, const ke__files *base, const char *path, bool force)
{
    ke__model_out out;
    ke_status st = ke__model_out_open(cx, &out, base, path, force);
    ke__model_out_close(cx, &out);
    return st;
}

/* What the job reads: the model, the facts' file, and whatever files settings name. */
static ke_status refuse_inputs(ke_ctx *cx, const char *path, const ke_edit_job *job,
                               const ke__files *base)
{
    ke_status st = KE_OK;
    ke_setting_info info;
    const char *method = ke_settings_method(job->settings);
    KE_TRY(ke__files_refuse(cx, base, path));
    KE_TRY(ke__file_refuse_input(cx, path, job->facts_path));
    for (size_t i = 0; ke_method_setting(method, i, &info); i++)
        KE_TRY(ke__file_refuse_input(cx, path, ke_settings_get(job->settings, info.name)));
done:
    return st;
}

/* Whether the patch file there was left by an edit whose model is gone (or never got its
 * name): such a one may be replaced. */
static ke_status is_orphan(ke_ctx *cx, bool *out, const ke__run *run)
{
    ke_patch *patch = NULL;
    *out = false;
    if (!run->output_path || ke__file_exists(run->output_path) ||
        !ke__file_exists(run->patch_path))
        return KE_OK;
    ke_status st = ke_patch_load(cx, &patch, run->patch_path);
    ke_patch_free(cx, patch);
    if (st == KE_ENOMEM || st == KE_ECANCELED)
        return st;
    *out = st == KE_OK;
    return KE_OK;
}

/* What is told before prompts can't be merged into weights. */
static ke_status refuse_model(ke_ctx *cx, const ke_edit_job *job)
{
    const char *method = ke_settings_method(job->settings);
    if (job->output_path && ke__method_find(method)->memory)
        return ke__fail(cx, KE_EINVAL, job->output_path,
                        "method %s tells the facts before every prompt and changes no "
                        "weight: there is no model to write, expected a patch file alone",
                        method);
    return KE_OK;
}

/* A folder's name without the slashes that it may end with. */
static ke_status name_output(ke_ctx *cx, char **out, const char *path)
{
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    return ke__strndup(cx, out, path, bytes);
}

static ke_status name_outputs(ke_ctx *cx, ke__run *run, const ke__files *base)
{
    ke_status st = KE_OK;
    const ke_edit_job *job = run->job;
    const char *output = job->output_path;

    if (output && ke__files_folder_at(base, output))
        KE_TRY(name_output(cx, &run->output_path, output));
    else if (output)
        KE_TRY(ke__strdup(cx, &run->output_path, output));
    if (job->patch_path)
        KE_TRY(ke__strdup(cx, &run->patch_path, job->patch_path));
    else if (output)
        KE_TRY(ke__format(cx, &run->patch_path, "%s.kepatch", run->output_path));
done:
    return st;
}

static ke_status check_outputs(ke_ctx *cx, ke__run *run, const ke__files *base)
{
    ke_status st = KE_OK;
    const ke_edit_job *job = run->job;
    bool orphan = false;

    KE_TRY(name_outputs(cx, run, base));
    if (run->output_path) {
        KE_TRY(refuse_inputs(cx, run->output_path, job, base));
        if (ke__file_same(run->output_path, run->patch_path))
            return ke__fail(cx, KE_EINVAL, run->patch_path,
                            "model and patch would both be %s: expected two files",
                            run->patch_path);
    }
    if (run->patch_path)
        KE_TRY(refuse_inputs(cx, run->patch_path, job, base));
    if (run->output_path)
        KE_TRY(try_model(cx, base, run->output_path, job->force));
    if (run->patch_path) {
        KE_TRY(is_orphan(cx, &orphan, run));
        run->replace_patch = job->force || orphan;
        KE_TRY(try_open(cx, run->patch_path, run->replace_patch));
    }
done:
    return st;
}

ke_status ke__outputs_check(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke__files base = {0};

    KE_TRY(refuse_model(cx, run->job));
    KE_TRY(ke__files_open(cx, &base, run->job->model_path));
    KE_TRY(check_outputs(cx, run, &base));
done:
    ke__files_close(cx, &base);
    return st;
}

/* --- after work --------------------------------------------------------------------------
 */

/* Ask every fact of the written model, as any program would open it. */
static ke_status ask_written(ke_ctx *cx, ke__run *run, const ke_model *written)
{
    ke_status st = KE_OK;
    ke__verdict *verdicts = NULL;
    size_t n = run->job->n_facts;

    KE_TRY(ke__alloc(cx, &verdicts, n, sizeof *verdicts));
    KE_TRY(ke__ask(cx, verdicts, run, written, NULL, NULL, n));
    for (size_t i = 0; i < n; i++) {
        ke_fact_report *f = &run->report->facts[i];
        if (f->took == verdicts[i].holds)
            continue;
        st = ke__fail(cx, KE_EIO, run->output_path,
                      "the written file answers fact %zu otherwise than its values did in "
                      "memory: \"%.60s\"; nothing was kept",
                      i + 1, verdicts[i].answer.text);
        goto done;
    }
done:
    ke__verdicts_free(cx, verdicts, n);
    ke__free(cx, verdicts);
    return st;
}

static ke_status write_model(ke_ctx *cx, ke__run *run, ke__model_out *out, ke_patch *patch)
{
    ke_status st = KE_OK;
    ke__stamps s = {0};
    ke_model *written = NULL;
    char *path = NULL;

    /* A file without a change is the base itself, byte for byte. */
    if (!run->job->no_stamp && run->merged.n > 0) {
        char *record = NULL;
        KE_TRY(ke__record_stamp(cx, &record, run));
        KE_TRY(ke__stamps_new(cx, &s, run->model, record));
    }
    KE_TRY(
        ke__model_out_open(cx, out, &run->model->files, run->output_path, run->job->force));
    KE_TRY(ke__model_out_write(cx, out, run->model, &run->merged, s.items, s.n,
                               run->report->sha256_output));
    KE_TRY(ke__model_out_readable(cx, out, &path));
    KE_TRY(ke_model_open(cx, &written, path));
    KE_TRY(ke__patch_set_undo(cx, patch, &run->model->files, &written->files));
    KE_TRY(ask_written(cx, run, written));
done:
    ke_model_close(cx, written);
    ke__free(cx, path);
    ke__stamps_free(cx, &s);
    return st;
}

/* Whether `patch` is that of the model at `model`: of what is none, it is not. What could
 * not be read is not known to be none. */
static ke_status belongs(ke_ctx *cx, bool *out, const char *patch, const char *model)
{
    ke_status st = KE_OK;
    ke__files files = {0};
    ke_patch *p = NULL;
    char sha256[65];
    KE_TRY(ke__files_open(cx, &files, model));
    KE_TRY(ke__files_sha256(cx, &files, sha256));
    st = ke__patch_load_for(cx, &p, patch, sha256);
done:
    *out = st == KE_OK;
    if (st == KE_EFORMAT || st == KE_ENOTSUP || st == KE_ENOENT || st == KE_EMISMATCH)
        st = KE_OK;
    ke_patch_free(cx, p);
    ke__files_close(cx, &files);
    return st;
}

/* The patch of a model that is being replaced stays beside the new one until the new model
 * has its name: whatever happens in between, the model that is there has its patch. */
static ke_status keep_old_patch(ke_ctx *cx, const ke__run *run, char **kept)
{
    ke_status st = KE_OK;
    bool needed = false;
    *kept = NULL;
    if (!run->output_path || !ke__file_exists(run->output_path) ||
        !ke__file_exists(run->patch_path))
        return KE_OK;
    KE_TRY(ke__format(cx, kept, "%s.prev", run->patch_path));
    /* One that is there already was left by a run that was killed: before the new model had
     * its name (then it is still needed), or after. */
    if (ke__file_exists(*kept))
        KE_TRY(belongs(cx, &needed, *kept, run->output_path));
    if (needed)
        return KE_OK;
    unlink(*kept);
    /* A file system without links: the patch moves. */
    if (link(run->patch_path, *kept) != 0 && rename(run->patch_path, *kept) != 0)
        st = ke__fail(cx, KE_EIO, *kept, "%s: the earlier patch cannot be kept: %s", *kept,
                      strerror(errno));
done:
    if (st != KE_OK) {
        ke__free(cx, *kept);
        *kept = NULL;
    }
    return st;
}

static void take_back(const ke__run *run, const ke__out *patch, const char *kept)
{
    if (!kept) {
        if (patch->named)
            unlink(run->patch_path);
    } else if (rename(kept, run->patch_path) == 0) {
        unlink(kept); /* renaming one of two links of a file leaves both */
    }
}

static ke_status give_names(ke_ctx *cx, const ke__run *run, ke__model_out *model,
                            ke__out *patch)
{
    ke_status st = KE_OK;
    char *kept = NULL;

    KE_TRY(ke__check_cancel(cx));
    KE_TRY(keep_old_patch(cx, run, &kept));
    KE_TRY(ke__out_commit(cx, patch));
    if (run->output_path)
        KE_TRY(ke__model_out_commit(cx, model));
done:
    /* A model that has its name keeps its patch, even if its folder could not be synced. */
    if (st != KE_OK && run->output_path && !ke__model_out_named(model))
        take_back(run, patch, kept);
    else if (kept)
        unlink(kept);
    ke__free(cx, kept);
    return st;
}

/* All accepted changes as one patch. */
static ke_status join_patches(ke_ctx *cx, ke_patch **out, const ke__run *run)
{
    ke_status st = KE_OK;
    KE_TRY(ke__patch_new(cx, out));
    for (size_t i = 0; i < run->n_patches; i++)
        KE_TRY(ke__patch_join(cx, *out, run->patches[i]));
done:
    return st;
}

ke_status ke__outputs_write(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke_patch *patch = NULL;
    char *meta = NULL, sha[65];
    ke__model_out model_out = KE__MODEL_OUT_NONE;
    ke__out patch_out = {.fd = -1};

    if (!run->patch_path)
        return KE_OK;
    KE_TRY(join_patches(cx, &patch, run));
    if (run->output_path)
        KE_TRY(write_model(cx, run, &model_out, patch));
    KE_TRY(ke__record_patch(cx, &meta, run));
    KE_TRY(ke__patch_set_meta(cx, patch, meta));
    KE_TRY(ke__out_open(cx, &patch_out, run->patch_path, run->replace_patch));
    KE_TRY(ke__patch_write(cx, &patch_out, patch));
    KE_TRY(ke__out_sync(cx, &patch_out, sha));
    KE_TRY(give_names(cx, run, &model_out, &patch_out));
    /* Nothing can fail from here on: the files are there. */
    run->report->output = run->output_path;
    run->report->patch = run->patch_path;
    run->output_path = run->patch_path = NULL;
done:
    if (!run->report->output)
        run->report->sha256_output[0] = '\0';
    ke__model_out_close(cx, &model_out);
    ke__out_close(cx, &patch_out);
    ke__free(cx, meta);
    ke_patch_free(cx, patch);
    return st;
}
