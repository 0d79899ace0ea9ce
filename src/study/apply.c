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
    if (!s->job->any_base && ke_patch_fits(cx, s->patch, s->model, NULL, 0) != KE_OK) {
        st = ke__fail(cx, KE_EMISMATCH, s->path, "%s: %s", s->path, cx->message);
        goto done;
    }
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

static ke_status write_file(ke_ctx *cx, const step *s, ke__out *out, bool stamped,
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
    KE_TRY(ke__out_open(cx, out, s->job->output_path, s->job->force));
    KE_TRY(ke__merged_write(cx, out, s->model, &s->merged, stamps.items, stamps.n));
    KE_TRY(ke__out_sync(cx, out, sha256));
done:
    ke__free(cx, record);
    ke__stamps_free(cx, &stamps);
    return st;
}

/* With the record of the edit, unless the file that `edit` wrote had none. */
static ke_status merge_step(ke_ctx *cx, step *s, ke__out *out, char sha256[65])
{
    ke_status st = KE_OK;
    const char *want;
    KE_TRY(prepare(cx, s));
    KE_TRY(write_file(cx, s, out, true, sha256));
    want = json_string_value(json_object_get(s->meta, "sha256_output"));
    if (want && strcmp(want, sha256) != 0 && !s->job->any_base) {
        ke__out_close(cx, out);
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

ke_status ke_apply(ke_ctx *cx, const ke_apply_job *job, char sha256[65])
{
    ke_status st = KE_OK;
    ke_model *model = NULL, *next = NULL;
    ke__out out = {.fd = -1};
    char *path = NULL;
    step s = {0};
    if (job->n_patches == 0)
        return ke__fail(cx, KE_EINVAL, "patch", "no patch to apply");
    KE_TRY(ke__file_refuse_input(cx, job->output_path, job->base_path));
    for (size_t i = 0; i < job->n_patches; i++)
        KE_TRY(ke__file_refuse_input(cx, job->output_path, job->patch_paths[i]));
    KE_TRY(ke_model_open(cx, &model, job->base_path));
    for (size_t i = 0; i < job->n_patches; i++) {
        s = (step){.job = job, .model = model, .path = job->patch_paths[i]};
        st = merge_step(cx, &s, &out, sha256);
        step_free(cx, &s);
        if (st != KE_OK || i + 1 == job->n_patches)
            break;
        /* The next edit is of this file, which needs no name for that. */
        KE_TRY(ke__out_readable(cx, &out, &path));
        KE_TRY(ke_model_open(cx, &next, path));
        ke__free(cx, path);
        path = NULL;
        ke__out_close(cx, &out); /* it lives on in the map */
        ke_model_close(cx, model);
        model = next;
        next = NULL;
    }
    if (st == KE_OK && !job->dry_run)
        KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    ke__free(cx, path);
    ke_model_close(cx, model);
    return st;
}
