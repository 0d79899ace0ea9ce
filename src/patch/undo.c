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

static ke_status write_pieces(ke_ctx *cx, ke__out *out, const ke__recipe *recipe,
                              const ke__map *edited)
{
    ke_status st = KE_OK;
    uint64_t total = 0;

    KE_TRY(ke__recipe_check(cx, recipe, edited->bytes, &total));
    for (size_t i = 0; i < recipe->n_pieces; i++) {
        const ke__piece *piece = &recipe->pieces[i];
        const uint8_t *from = piece->source == 0 ? recipe->literal : edited->data;
        for (uint64_t n = 0, done = 0; done < piece->bytes; done += n) {
            n = piece->bytes - done < KE__STEP_BYTES ? piece->bytes - done : KE__STEP_BYTES;
            KE_TRY(ke__progress(cx, "writing", out->bytes, total));
            KE_TRY(ke__out_write(cx, out, from + piece->offset + done, n));
        }
    }
done:
    return st;
}

ke_status ke_undo(ke_ctx *cx, const char *edited_path, const char *patch_path,
                  const char *out_path, bool force, char sha256_out[65])
{
    ke_status st = KE_OK;
    ke__map edited = {0};
    ke__out out = {.fd = -1};
    ke_patch *p = NULL;
    char hash[65], base[65];

    KE_TRY(ke__file_refuse_input(cx, out_path, edited_path));
    KE_TRY(ke__file_refuse_input(cx, out_path, patch_path));
    KE_TRY(ke__map_open(cx, &edited, edited_path));
    KE_TRY(ke__sha256_of(cx, hash, edited.data, edited.bytes));
    KE_TRY(find_patch(cx, &p, patch_path, hash));
    KE_TRY(meta_hash(cx, base, p, patch_path, "sha256_base"));
    KE_TRY(ke__out_open(cx, &out, out_path, force));
    KE_TRY(write_pieces(cx, &out, &p->undo, &edited));
    KE_TRY(ke__out_sync(cx, &out, hash));
    if (strcmp(hash, base) != 0) {
        st = ke__fail(cx, KE_EMISMATCH, patch_path,
                      "the way back gives a file of SHA-256 %.12s..., expected %.12s...",
                      hash, base);
        goto done;
    }
    KE_TRY(ke__out_commit(cx, &out));
    memcpy(sha256_out, base, sizeof base);
done:
    ke__out_close(cx, &out);
    ke_patch_free(cx, p);
    ke__map_close(cx, &edited);
    return st;
}
