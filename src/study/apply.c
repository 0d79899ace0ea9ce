/* Patches merged into the file that they were made for: what `edit` would have written. */
#include "study/study.h"

#include <string.h>

/* One patch on its way into a model. */
typedef struct step {
    const ke_apply_job *job;
    const ke_model *model;
    ke_patch *patch;
    json_t *meta;
    ke_stack *stack;
    ke__merged merged;
    const char *path; /* the patch's */
} step;

static void step_free(ke_ctx *cx, step *s)
{
    ke__merged_free(cx, &s->merged);
    ke_stack_free(cx, s->stack);
    ke_patch_free(cx, s->patch);
    json_decref(s->meta);
}

/* The type that edited tensors got in the file, NULL if each kept its own. */
static ke_status type_of(ke_ctx *cx, const ke__dtype_traits **out, const step *s)
{
    size_t i;
    json_t *item;
    *out = NULL;
    json_array_foreach(json_object_get(s->meta, "tensors"), i, item)
    {
        const char *before = json_string_value(json_object_get(item, "type_before"));
        const char *after = json_string_value(json_object_get(item, "type_after"));
        if (!before || !after || strcmp(before, after) == 0)
            continue;
        *out = ke__dtype_named(after);
        if (!*out || !(*out)->from_f32)
            return ke__fail(cx, KE_ENOTSUP, s->path,
                            "the patch was merged into type %.40s, which can't be written",
                            after);
    }
    return KE_OK;
}

static ke_status prepare(ke_ctx *cx, step *s)
{
    ke_status st = KE_OK;
    const ke__dtype_traits *type;
    KE_TRY(ke_patch_load(cx, &s->patch, s->path));
    s->meta = json_loads(s->patch->meta ? s->patch->meta : "{}", 0, NULL);
    if (!s->job->any_base)
        st = ke_patch_fits(cx, s->patch, s->model, NULL, 0);
    if (st == KE_EMISMATCH)
        st = ke__fail(cx, KE_EMISMATCH, s->path, "%s: %s", s->path, cx->message);
    if (st != KE_OK)
        goto done;
    KE_TRY(ke_stack_new(cx, &s->stack, s->model));
    KE_TRY(ke_stack_push(cx, s->stack, s->patch));
    KE_TRY(type_of(cx, &type, s));
    KE_TRY(ke__merge(cx, &s->merged, s->model, s->stack, type));
    if (s->merged.n == 0)
        st = ke__fail(cx, KE_EINVAL, s->path,
                      "%s changes no tensor: there is nothing to merge", s->path);
done:
    return st;
}

static ke_status write_file(ke_ctx *cx, const step *s, ke__model_out *out, bool stamped,
                            char sha256[65])
{
    ke_status st = KE_OK;
    ke__stamps stamps = {0};
    char *record = NULL;
    KE_TRY(ke__record_of_meta(cx, &record, s->meta));
    if (stamped && record) {
        char *given = record;
        record = NULL;
        KE_TRY(ke__stamps_new(cx, &stamps, s->model, given));
    }
    KE_TRY(
        ke__model_out_open(cx, out, &s->model->files, s->job->output_path, s->job->force));
    KE_TRY(
        ke__model_out_write(cx, out, s->model, &s->merged, stamps.items, stamps.n, sha256));
done:
    ke__free(cx, record);
    ke__stamps_free(cx, &stamps);
    return st;
}

/* With the record of the edit, unless the file that `edit` wrote had none. */
static ke_status merge_step(ke_ctx *cx, step *s, ke__model_out *out, char sha256[65])
{
    ke_status st = KE_OK;
    const char *want;
    KE_TRY(prepare(cx, s));
    KE_TRY(write_file(cx, s, out, true, sha256));
    want = json_string_value(json_object_get(s->meta, "sha256_output"));
    if (want && strcmp(want, sha256) != 0 && !s->job->any_base) {
        ke__model_out_close(cx, out);
        KE_TRY(write_file(cx, s, out, false, sha256));
        if (strcmp(want, sha256) != 0)
            st = ke__fail(cx, KE_EMISMATCH, s->path,
                          "the merged file has SHA-256 %.12s..., the one that was edited "
                          "%.12s...: it was made by another version",
                          sha256, want);
    }
done:
    return st;
}

/* The model as written so far is what the next patch is an edit of. It needs no name for
 * that, but a folder must stay until what lies beside its weights is copied on. */
static ke_status step_on(ke_ctx *cx, ke_model **model, ke__model_out *out,
                         ke__model_out *before)
{
    ke_status st = KE_OK;
    ke_model *next = NULL;
    char *path = NULL;
    KE_TRY(ke__model_out_readable(cx, out, &path));
    KE_TRY(ke_model_open(cx, &next, path));
    ke_model_close(cx, *model);
    *model = next;
    ke__model_out_close(cx, before);
    *before = *out;
    *out = (ke__model_out)KE__MODEL_OUT_NONE;
done:
    ke__free(cx, path);
    return st;
}

ke_status ke_apply(ke_ctx *cx, const ke_apply_job *job, char sha256[65])
{
    ke_status st = KE_OK;
    ke_model *model = NULL;
    ke__model_out out = KE__MODEL_OUT_NONE, before = KE__MODEL_OUT_NONE;
    step s = {0};
    if (job->n_patches == 0)
        return ke__fail(cx, KE_EINVAL, "patch", "no patch to apply");
    for (size_t i = 0; i < job->n_patches; i++)
        KE_TRY(ke__file_refuse_input(cx, job->output_path, job->patch_paths[i]));
    KE_TRY(ke_model_open(cx, &model, job->base_path));
    KE_TRY(ke__files_refuse(cx, &model->files, job->output_path));
    /* Of several patches each is merged into what the one before gave. */
    KE_TRY(ke__files_room(cx, &model->files, job->output_path, job->n_patches > 1 ? 2 : 1));
    for (size_t i = 0; i < job->n_patches; i++) {
        if (i > 0)
            KE_TRY(step_on(cx, &model, &out, &before));
        s = (step){.job = job, .model = model, .path = job->patch_paths[i]};
        st = merge_step(cx, &s, &out, sha256);
        step_free(cx, &s);
        if (st != KE_OK)
            break;
    }
    if (st == KE_OK && !job->dry_run)
        KE_TRY(ke__model_out_commit(cx, &out));
done:
    ke__model_out_close(cx, &out);
    ke__model_out_close(cx, &before);
    ke_model_close(cx, model);
    return st;
}
