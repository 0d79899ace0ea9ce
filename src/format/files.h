/* The files that a model is: one GGUF file, the parts of a split one, or a folder of
 * safetensors shards with their index and config.json. Offsets count through all of them,
 * one after the other, as `cat` would join them. */
#ifndef KE_FORMAT_FILES_H
#define KE_FORMAT_FILES_H

#include "base/file.h"

typedef enum ke__files_form {
    KE__FORM_GGUF,       /* one file, under any name */
    KE__FORM_SPLIT,      /* NAME-00001-of-0000N.gguf and so on */
    KE__FORM_SAFETENSORS /* config.json, the index if there is one, the shards */
} ke__files_form;

typedef struct ke__file {
    ke__map map;
    const char *name; /* the last part of map.path */
    uint64_t start;   /* bytes of the files before it */
} ke__file;

typedef struct ke__files {
    ke__files_form form;
    char *path;        /* as the caller named it */
    char *folder;      /* that the files are in; NULL: one GGUF file */
    ke__file *items;   /* [n] */
    size_t n, n_heads; /* SAFETENSORS: the first n_heads are JSON, the others shards */
    uint64_t bytes;    /* of all */
} ke__files;

/* What `path` names: a file, any part of a split one, a folder of either kind.
 * @retval KE_ENOENT  a part or shard is missing; the message has its name
 * @retval KE_EFORMAT a folder without a model, or an index that is no weight map */
KE_MUST_CHECK ke_status ke__files_open(ke_ctx *cx, ke__files *out, const char *path);
void ke__files_close(ke_ctx *cx, ke__files *files); /* of a zeroed one is a no-op */
/* The bytes from `offset` on, of which *left lie in one piece. offset < bytes. */
const uint8_t *ke__files_at(const ke__files *files, uint64_t offset, uint64_t *left);
/* Of all bytes: what `cat FILES | sha256sum` prints. */
KE_MUST_CHECK ke_status ke__files_sha256(ke_ctx *cx, const ke__files *files, char out[65]);

/* Whether an edited copy of such files at `path` is a folder, not one file. */
bool ke__files_folder_at(const ke__files *files, const char *path);
/* KE_EINVAL if writing `path` would change one of the files, or what lies beside them in a
 * safetensors folder. */
KE_MUST_CHECK ke_status ke__files_refuse(ke_ctx *cx, const ke__files *files,
                                         const char *path);
/* Names of what belongs to a safetensors folder beside its weights: tokenizer, generation
 * settings, a licence; no hidden files, folders, and weights in other forms. `out` [n] is
 * freed by ke__files_beside_free(). Empty for the other forms. */
KE_MUST_CHECK ke_status ke__files_beside(ke_ctx *cx, char ***out, size_t *n,
                                         const ke__files *files);
void ke__files_beside_free(ke_ctx *cx, char **names, size_t n);
/* KE_EIO if the disk that `path` is to be on has no room for `n_copies` of them all. */
KE_MUST_CHECK ke_status ke__files_room(ke_ctx *cx, const ke__files *files, const char *path,
                                       unsigned n_copies);

/* Whether `name` is NAME-00001-of-0000N.gguf with N > 1; *stem: bytes of NAME. */
bool ke__split_name(const char *name, size_t *stem, unsigned *part, unsigned *n_parts);
/* Whether `name` can be a file's name in a folder: no slash, not hidden. */
bool ke__plain_name(const char *name);

#endif
