/* Edited copies of models: one GGUF file, or a folder of parts or shards. */
#include "base/json.h"
#include "format/safetensors.h"
#include "patch/patch.h"

#include <string.h>

/* What is written: the model's changes in the order of its tensors. */
typedef struct job {
    const ke_model *model;
    const ke__merged *merged;
    const ke__gguf_stamp *stamps;
    size_t n_stamps;
} job;

ke_status ke__model_out_open(ke_ctx *cx, ke__model_out *out, const ke__files *base,
                             const char *path, bool force)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t stem, n = strlen(path);
    unsigned part, parts;
    *out = (ke__model_out)KE__MODEL_OUT_NONE;
    out->is_folder = ke__files_folder_at(base, path);
    if (base->form == KE__FORM_SAFETENSORS && n > 5 && strcmp(path + n - 5, ".gguf") == 0)
        return ke__fail(cx, KE_EINVAL, path,
                        "the model is a safetensors folder, and forms are not converted: "
                        "expected the name of a folder");
    if (!out->is_folder && ke__split_name(name, &stem, &part, &parts))
        return ke__fail(cx, KE_EINVAL, path,
                        "the output is one file, its name is that of part %u of %u", part,
                        parts);
    return out->is_folder ? ke__outdir_open(cx, &out->folder, path, force)
                          : ke__out_open(cx, &out->file, path, force);
}

/* --- GGUF -------------------------------------------------------------------------- */

/* Changes of the tensors [first, first + g->n_tensors) of the model, which are those of g.
 */
static ke_status write_gguf(ke_ctx *cx, ke__out *out, const job *j, const ke__gguf *g,
                            size_t first, size_t n_stamps)
{
    ke_status st = KE_OK;
    ke__gguf_change *changes = NULL;
    size_t n = 0;
    KE_TRY(ke__alloc(cx, &changes, j->merged->n, sizeof *changes));
    for (size_t i = 0; i < j->merged->n; i++) {
        const ke__merged_tensor *t = &j->merged->tensors[i];
        if (t->tensor >= first && t->tensor - first < g->n_tensors)
            changes[n++] = (ke__gguf_change){t->tensor - first, t->type, t->data};
    }
    KE_TRY(ke__gguf_write(cx, out, g, changes, n, j->stamps, n_stamps));
done:
    ke__free(cx, changes);
    return st;
}

/* Each part anew, under its name; the first one has the stamps. */
static ke_status write_parts(ke_ctx *cx, const ke__model_out *out, const job *j)
{
    ke_status st = KE_OK;
    const ke__files *files = &j->model->files;
    ke__out file = {.fd = -1};
    ke__gguf part = {0};
    size_t first = 0;
    for (size_t i = 0; i < files->n; i++) {
        part = (ke__gguf){.map = files->items[i].map, .borrowed = true};
        KE_TRY(ke__gguf_parse(cx, &part));
        KE_TRY(ke__outdir_file(cx, &out->folder, &file, files->items[i].name));
        KE_TRY(write_gguf(cx, &file, j, &part, first, i == 0 ? j->n_stamps : 0));
        KE_TRY(ke__out_commit(cx, &file));
        ke__out_close(cx, &file);
        first += part.n_tensors;
        ke__gguf_close(cx, &part);
    }
done:
    ke__out_close(cx, &file);
    ke__gguf_close(cx, &part);
    return st;
}

/* --- safetensors ------------------------------------------------------------------- */

/* The metadata of safetensors are texts: a list is the text of a JSON array. */
static ke_status stamp_text(ke_ctx *cx, char **out, const ke__gguf_stamp *stamp)
{
    if (!stamp->array)
        return ke__strdup(cx, out, stamp->items[0]);
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < stamp->n; i++)
        ok = ke__json_add(list, ke__json_string(stamp->items[i]));
    ke_status st = ke__json_text(cx, out, ok ? list : NULL, 17);
    json_decref(list);
    return st;
}

/* What the shards get. Texts and turned matrices are owned. */
typedef struct safe_job {
    ke__safe_change *changes; /* [n_changes] */
    void **turned;            /* [n_changes] or NULL each */
    ke__safe_stamp *stamps;   /* [n_stamps] */
    char **texts;             /* [n_stamps] */
    size_t n_changes, n_stamps;
} safe_job;

static void safe_job_free(ke_ctx *cx, safe_job *s)
{
    for (size_t i = 0; s->turned && i < s->n_changes; i++)
        ke__free(cx, s->turned[i]);
    for (size_t i = 0; s->texts && i < s->n_stamps; i++)
        ke__free(cx, s->texts[i]);
    ke__free(cx, s->changes);
    ke__free(cx, s->turned);
    ke__free(cx, s->stamps);
    ke__free(cx, s->texts);
}

static ke_status safe_job_new(ke_ctx *cx, safe_job *s, const job *j)
{
    ke_status st = KE_OK;
    const ke__folder *folder = j->model->folder;
    s->n_changes = j->merged->n;
    s->n_stamps = j->n_stamps;
    KE_TRY(ke__alloc(cx, &s->changes, s->n_changes, sizeof *s->changes));
    KE_TRY(ke__alloc(cx, &s->turned, s->n_changes, sizeof *s->turned));
    KE_TRY(ke__alloc(cx, &s->stamps, s->n_stamps, sizeof *s->stamps));
    KE_TRY(ke__alloc(cx, &s->texts, s->n_stamps, sizeof *s->texts));
    for (size_t i = 0; i < s->n_changes; i++) {
        const ke__merged_tensor *t = &j->merged->tensors[i];
        const ke__tensor *tensor = &j->model->file.tensors[t->tensor];
        const ke__folder_source *from = &folder->sources[t->tensor];
        if (from->turned)
            KE_TRY(ke__turned(cx, &s->turned[i], t->data, tensor->rows, tensor->cols,
                              t->type->bytes));
        s->changes[i] = (ke__safe_change){from->entry, t->type,
                                          s->turned[i] ? s->turned[i] : t->data, t->bytes};
    }
    for (size_t i = 0; i < s->n_stamps; i++) {
        KE_TRY(stamp_text(cx, &s->texts[i], &j->stamps[i]));
        s->stamps[i] = (ke__safe_stamp){j->stamps[i].key, s->texts[i]};
    }
done:
    return st;
}

static ke_status copy_file(ke_ctx *cx, const ke__outdir *out, const char *name,
                           const void *data, uint64_t bytes)
{
    ke_status st = KE_OK;
    ke__out file = {.fd = -1};
    KE_TRY(ke__outdir_file(cx, out, &file, name));
    KE_TRY(ke__out_write(cx, &file, data, bytes));
    KE_TRY(ke__out_commit(cx, &file));
done:
    ke__out_close(cx, &file);
    return st;
}

/* The index with the size that the tensors have now. */
static ke_status write_index(ke_ctx *cx, const ke__model_out *out, const ke__files *files,
                             const ke__safetensors *safe, const safe_job *s)
{
    ke_status st = KE_OK;
    const ke__file *file = &files->items[1];
    json_int_t change = 0;
    char *text = NULL;
    for (size_t i = 0; i < s->n_changes; i++)
        change += (json_int_t)s->changes[i].bytes -
                  (json_int_t)safe->tensors[s->changes[i].tensor].bytes;
    json_t *index = json_loadb((const char *)file->map.data, file->map.bytes, 0, NULL);
    json_t *metadata = json_object_get(index, "metadata");
    json_t *total = json_object_get(metadata, "total_size");
    if (change == 0 || !json_is_integer(total)) {
        KE_TRY(copy_file(cx, &out->folder, file->name, file->map.data, file->map.bytes));
        goto done;
    }
    (void)json_integer_set(total, json_integer_value(total) + change);
    KE_TRY(ke__json_text(cx, &text, index, 17));
    KE_TRY(copy_file(cx, &out->folder, file->name, text, strlen(text)));
done:
    ke__free(cx, text);
    json_decref(index);
    return st;
}

ke_status ke__beside_copy(ke_ctx *cx, const ke__outdir *out, const ke__files *files)
{
    ke_status st = KE_OK;
    char **names = NULL, *path = NULL, *data = NULL;
    size_t n = 0, bytes;
    KE_TRY(ke__files_beside(cx, &names, &n, files));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(ke__format(cx, &path, "%s/%s", files->folder, names[i]));
        KE_TRY(ke__file_read(cx, &data, &bytes, path, SIZE_MAX / 4));
        KE_TRY(copy_file(cx, out, names[i], data, bytes));
        ke__free(cx, data);
        ke__free(cx, path);
        data = path = NULL;
    }
done:
    ke__free(cx, data);
    ke__free(cx, path);
    ke__files_beside_free(cx, names, n);
    return st;
}

static ke_status write_safetensors(ke_ctx *cx, const ke__model_out *out, const job *j)
{
    ke_status st = KE_OK;
    const ke__files *files = &j->model->files;
    const ke__safetensors *safe = &j->model->folder->safe;
    ke__out file = {.fd = -1};
    safe_job s = {0};
    KE_TRY(safe_job_new(cx, &s, j));
    KE_TRY(ke__beside_copy(cx, &out->folder, files));
    KE_TRY(copy_file(cx, &out->folder, files->items[0].name, files->items[0].map.data,
                     files->items[0].map.bytes));
    if (files->n_heads == 2)
        KE_TRY(write_index(cx, out, files, safe, &s));
    for (size_t i = 0; i < safe->n_shards; i++) {
        KE_TRY(ke__outdir_file(cx, &out->folder, &file,
                               files->items[files->n_heads + i].name));
        KE_TRY(ke__safetensors_write(cx, &file, safe, i, s.changes, s.n_changes, s.stamps,
                                     i == 0 ? s.n_stamps : 0));
        KE_TRY(ke__out_commit(cx, &file));
        ke__out_close(cx, &file);
    }
done:
    ke__out_close(cx, &file);
    safe_job_free(cx, &s);
    return st;
}

/* --- both -------------------------------------------------------------------------- */

ke_status ke__model_out_write(ke_ctx *cx, ke__model_out *out, const ke_model *model,
                              const ke__merged *m, const ke__gguf_stamp *stamps,
                              size_t n_stamps, char sha256[65])
{
    ke_status st = KE_OK;
    const job j = {model, m, stamps, n_stamps};
    ke__files written = {0};
    if (!out->is_folder) {
        KE_TRY(write_gguf(cx, &out->file, &j, &model->file, 0, n_stamps));
        KE_TRY(ke__out_sync(cx, &out->file, sha256));
        goto done;
    }
    if (model->files.form == KE__FORM_SAFETENSORS)
        KE_TRY(write_safetensors(cx, out, &j));
    else
        KE_TRY(write_parts(cx, out, &j));
    KE_TRY(ke__files_open(cx, &written, out->folder.temp));
    KE_TRY(ke__files_sha256(cx, &written, sha256));
done:
    ke__files_close(cx, &written);
    return st;
}

ke_status ke__model_out_readable(ke_ctx *cx, const ke__model_out *out, char **path)
{
    return out->is_folder ? ke__strdup(cx, path, out->folder.temp)
                          : ke__out_readable(cx, &out->file, path);
}

ke_status ke__model_out_commit(ke_ctx *cx, ke__model_out *out)
{
    return out->is_folder ? ke__outdir_commit(cx, &out->folder)
                          : ke__out_commit(cx, &out->file);
}

bool ke__model_out_named(const ke__model_out *out)
{
    return out->is_folder ? out->folder.named : out->file.named;
}

void ke__model_out_close(ke_ctx *cx, ke__model_out *out)
{
    ke__out_close(cx, &out->file);
    ke__outdir_close(cx, &out->folder);
}
