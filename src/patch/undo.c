/* Which file a patch belongs to, and the way back from it. */
#include "patch/kinds.h"

#include <string.h>

/* meta[key], which must be a SHA-256 in hex. */
static ke_status meta_hash(ke_ctx *cx, char out[65], const ke_patch *p, const char *path,
                           const char *key)
{
    ke_status st = KE_OK;
    json_t *meta = json_loads(p->meta, 0, NULL);
    const char *hash = json_string_value(json_object_get(meta, key));

    if (!hash || strlen(hash) != 64 || strspn(hash, "0123456789abcdef") != 64) {
        st = ke__fail(cx, KE_EFORMAT, path, "the patch does not say \"%s\"", key);
        goto done;
    }
    memcpy(out, hash, 65);
done:
    json_decref(meta);
    return st;
}

ke_status ke_patch_fits(ke_ctx *cx, const ke_patch *patch, const ke_model *model,
                        const ke_patch *const *before, size_t n)
{
    char base[65], output[65], sha256[65];
    if (meta_hash(cx, base, patch, "patch", "sha256_base") != KE_OK)
        return KE_OK;
    ke_status st = ke_model_sha256(cx, model, sha256);
    if (st != KE_OK || strcmp(base, sha256) == 0)
        return st;
    for (size_t i = 0; i < n; i++)
        if (meta_hash(cx, output, before[i], "patch", "sha256_output") == KE_OK &&
            strcmp(base, output) == 0)
            return KE_OK;
    return ke__fail(
        cx, KE_EMISMATCH, "patch",
        "it is an edit of the file of SHA-256 %.12s..., this model has %.12s...", base,
        sha256);
}

ke_status ke__patch_load_for(ke_ctx *cx, ke_patch **out, const char *path,
                             const char *edited)
{
    ke_status st = KE_OK;
    ke_patch *p = NULL;
    char output[65];

    KE_TRY(ke_patch_load(cx, &p, path));
    if (p->undo.n_pieces == 0) {
        st = ke__fail(
            cx, KE_EINVAL, path,
            "the patch was never merged into a file, so there is no way back in it");
        goto done;
    }
    KE_TRY(meta_hash(cx, output, p, path, "sha256_output"));
    if (strcmp(output, edited) != 0) {
        st = ke__fail(
            cx, KE_EMISMATCH, path,
            "the patch belongs to a file of SHA-256 %.12s..., this one has %.12s...",
            output, edited);
        goto done;
    }
    *out = p;
    p = NULL;
done:
    ke_patch_free(cx, p);
    return st;
}

/* Whoever replaces an edited file and its patch keeps the old patch as PATH.prev until both
 * are in place. Killed in between, it leaves the old file beside a newer patch, or none. */
static ke_status find_patch(ke_ctx *cx, ke_patch **out, const char *path,
                            const char *edited)
{
    ke_status st = ke__patch_load_for(cx, out, path, edited);
    char *prev = NULL;
    struct {
        char message[sizeof cx->message], where[sizeof cx->where];
    } first;

    if (st == KE_OK || st == KE_ENOMEM || st == KE_ECANCELED)
        return st;
    memcpy(first.message, cx->message, sizeof first.message);
    memcpy(first.where, cx->where, sizeof first.where);
    ke_status st_prev = ke__format(cx, &prev, "%s.prev", path);
    if (st_prev == KE_OK && ke__file_exists(prev))
        st_prev = ke__patch_load_for(cx, out, prev, edited);
    else if (st_prev == KE_OK)
        st_prev = KE_ENOENT;
    if (st_prev == KE_OK || st_prev == KE_ENOMEM || st_prev == KE_ECANCELED) {
        st = st_prev;
    } else { /* the patch that was asked for is the one to talk about */
        memcpy(cx->message, first.message, sizeof first.message);
        memcpy(cx->where, first.where, sizeof first.where);
    }
    ke__free(cx, prev);
    return st;
}

/* The original under way: one file, or a folder of the recipe's files. */
struct original {
    const ke__recipe *recipe;
    const ke__files *edited;
    ke__sha256 *sha; /* of all files joined */
    uint64_t total, done;
    size_t piece;     /* the next bytes are */
    uint64_t skipped; /* those of this piece from here on */
};

/* The next `bytes` bytes of the original. */
static ke_status write_bytes(ke_ctx *cx, ke__out *out, struct original *o, uint64_t bytes)
{
    ke_status st = KE_OK;

    while (bytes > 0) {
        const ke__piece *piece = &o->recipe->pieces[o->piece];
        uint64_t n = 0;
        const uint8_t *from = ke__piece_at(o->recipe, piece, o->edited, o->skipped, &n);
        n = n < bytes ? n : bytes;
        KE_TRY(ke__progress(cx, "writing", o->done, o->total));
        KE_TRY(ke__out_write(cx, out, from, n));
        ke__sha256_add(o->sha, from, n);
        bytes -= n;
        o->done += n;
        o->skipped += n;
        if (o->skipped == piece->bytes) {
            o->piece++;
            o->skipped = 0;
        }
    }
done:
    return st;
}

static ke_status write_files(ke_ctx *cx, const ke__outdir *folder, struct original *o)
{
    ke_status st = KE_OK;
    ke__out file = {.fd = -1};

    KE_TRY(ke__beside_copy(cx, folder, o->edited));
    for (size_t i = 0; i < o->recipe->n_files; i++) {
        KE_TRY(ke__outdir_file(cx, folder, &file, o->recipe->files[i].name));
        KE_TRY(write_bytes(cx, &file, o, o->recipe->files[i].bytes));
        KE_TRY(ke__out_commit(cx, &file));
        ke__out_close(cx, &file);
    }
done:
    ke__out_close(cx, &file);
    return st;
}

/* The original has the form that it had, whatever the edited one has. */
static ke_status open_original(ke_ctx *cx, ke__model_out *out, const struct original *o,
                               const char *path, bool force)
{
    size_t n = strlen(path);

    out->is_folder = o->recipe->n_files > 0;
    if (!out->is_folder)
        return ke__out_open(cx, &out->file, path, force);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0)
        return ke__fail(cx, KE_EINVAL, path,
                        "the original is %zu files: expected the name of a folder",
                        o->recipe->n_files);
    return ke__outdir_open(cx, &out->folder, path, force);
}

static ke_status write_original(ke_ctx *cx, ke__model_out *out, struct original *o,
                                const char *path, bool force, char sha256[65])
{
    ke_status st = KE_OK;

    KE_TRY(ke__recipe_check(cx, o->recipe, o->edited->bytes, &o->total));
    KE_TRY(ke__sha256_new(cx, &o->sha));
    KE_TRY(open_original(cx, out, o, path, force));
    if (out->is_folder) {
        KE_TRY(write_files(cx, &out->folder, o));
        ke__sha256_hex(o->sha, sha256);
    } else {
        KE_TRY(write_bytes(cx, &out->file, o, o->total));
        KE_TRY(ke__out_sync(cx, &out->file, sha256));
    }
done:
    ke__sha256_free(cx, o->sha);
    o->sha = NULL;
    return st;
}

ke_status ke_undo(ke_ctx *cx, const char *edited_path, const char *patch_path,
                  const char *out_path, bool force, char sha256_out[65])
{
    ke_status st = KE_OK;
    ke__files edited = {0};
    ke__model_out out = KE__MODEL_OUT_NONE;
    ke_patch *p = NULL;
    struct original o = {.edited = &edited};
    char hash[65], base[65];

    KE_TRY(ke__file_refuse_input(cx, out_path, edited_path));
    KE_TRY(ke__file_refuse_input(cx, out_path, patch_path));
    KE_TRY(ke__files_open(cx, &edited, edited_path));
    KE_TRY(ke__files_refuse(cx, &edited, out_path));
    KE_TRY(ke__files_room(cx, &edited, out_path, 1));
    KE_TRY(ke__files_sha256(cx, &edited, hash));
    KE_TRY(find_patch(cx, &p, patch_path, hash));
    KE_TRY(meta_hash(cx, base, p, patch_path, "sha256_base"));
    o.recipe = &p->undo;
    KE_TRY(write_original(cx, &out, &o, out_path, force, hash));
    if (strcmp(hash, base) != 0) {
        st = ke__fail(cx, KE_EMISMATCH, patch_path,
                      "the way back gives a file of SHA-256 %.12s..., expected %.12s...",
                      hash, base);
        goto done;
    }
    KE_TRY(ke__model_out_commit(cx, &out));
    memcpy(sha256_out, base, sizeof base);
done:
    ke__model_out_close(cx, &out);
    ke_patch_free(cx, p);
    ke__files_close(cx, &edited);
    return st;
}
