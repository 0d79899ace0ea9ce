/* Files: read-only maps, whole reads, and writes that appear whole or not at all. */
#ifndef KE_BASE_FILE_H
#define KE_BASE_FILE_H

#include "base/base.h"

#include <sys/stat.h>

/* A read-only private map of a regular file. */
typedef struct ke__map {
    const uint8_t *data;
    size_t bytes;
    char *path;
    dev_t dev; /* identity, to tell whether an output is this input */
    ino_t ino;
} ke__map;
/* KE_EIO with the reason; an empty file, a directory or a device is KE_EFORMAT. */
KE_MUST_CHECK ke_status ke__map_open(ke_ctx *cx, ke__map *out, const char *path);
void ke__map_close(ke_ctx *cx, ke__map *map); /* of a zeroed map is a no-op */

/* The whole file, NUL-terminated (not counted); at most max_bytes, else KE_EFORMAT. "-" is
 * standard input. Caller frees *out. */
KE_MUST_CHECK ke_status ke__file_read(ke_ctx *cx, char **out, size_t *bytes,
                                      const char *path, size_t max_bytes);
bool ke__file_exists(const char *path);
/* Whether both name the same file: the one that is there, or the one that would be made. */
bool ke__file_same(const char *a, const char *b);
/* KE_EINVAL if writing `output` would replace the file `input` (may be NULL, or no file).
 */
KE_MUST_CHECK ke_status ke__file_refuse_input(ke_ctx *cx, const char *output,
                                              const char *input);

/* An output under way. It has no name until commit where the file system can do that
 * (O_TMPFILE), else a hidden temporary one beside the target. */
typedef struct ke__out {
    int fd; /* -1: not open */
    char *path;
    char *temp; /* NULL: nameless */
    uint64_t bytes;
    bool force;
    bool within; /* a folder under way, which is named or not as a whole */
    bool named;  /* committed, even if syncing the folder failed after that */
    void *sha;   /* running SHA-256 of all that was written */
    char *buffer;
    size_t buffered;
} ke__out;
/* KE_EIO if the disk that `path` is to be on has no room for so many bytes more. A disk
 * that can't be asked is not judged. */
KE_MUST_CHECK ke_status ke__out_room(ke_ctx *cx, const char *path, uint64_t bytes);
/* KE_EEXIST if path exists and !force; KE_EIO if the folder can't be written. */
KE_MUST_CHECK ke_status ke__out_open(ke_ctx *cx, ke__out *out, const char *path,
                                     bool force);
KE_MUST_CHECK ke_status ke__out_write(ke_ctx *cx, ke__out *out, const void *data,
                                      size_t bytes);
/* Flush and sync; the hash of everything written. The file can be renamed after. */
KE_MUST_CHECK ke_status ke__out_sync(ke_ctx *cx, ke__out *out, char sha256[65]);
/* Give it its name (replacing an existing file only with force), and sync the folder; in a
 * dry run, leave it without. */
KE_MUST_CHECK ke_status ke__out_commit(ke_ctx *cx, ke__out *out);
void ke__out_close(ke_ctx *cx,
                   ke__out *out); /* drop it if not committed; {.fd=-1} is fine */
/* A path under which an uncommitted, synced output can be read ("/proc/self/fd/N" or the
 * temporary name), so that what was written is checked before it is named. */
KE_MUST_CHECK ke_status ke__out_readable(ke_ctx *cx, const ke__out *out, char **path);

/* A folder of outputs under way: hidden beside its target, which it becomes in one step. A
 * process that is killed leaves it behind; the next one with the same target drops it. In a
 * dry run it gets no name. */
typedef struct ke__outdir {
    char *path, *temp; /* without a slash at the end */
    int fd;            /* of temp, locked while its owner lives; -1: not open */
    bool force;
    bool named; /* committed, even if syncing the folder around it failed after that */
} ke__outdir;
/* KE_EEXIST if path exists and !force, or is no folder of a model's files alone (then it
 * is never replaced). */
KE_MUST_CHECK ke_status ke__outdir_open(ke_ctx *cx, ke__outdir *out, const char *path,
                                        bool force);
/* A new file in it, committed and closed by the caller. `name` has no slash. */
KE_MUST_CHECK ke_status ke__outdir_file(ke_ctx *cx, const ke__outdir *out, ke__out *file,
                                        const char *name);
/* Give it its name. With force, a folder that is there changes places with it and is then
 * removed. */
KE_MUST_CHECK ke_status ke__outdir_commit(ke_ctx *cx, ke__outdir *out);
/* Remove it if not committed; {.fd=-1} is fine. */
void ke__outdir_close(ke_ctx *cx, ke__outdir *out);

/* The cache folder ($KNOWEDIT_CACHE, else $XDG_CACHE_HOME/knowedit, else
 * ~/.cache/knowedit), made if missing, unless this is a dry run. Caller frees. */
KE_MUST_CHECK ke_status ke__cache_folder(ke_ctx *cx, char **out);

#define KE__SHA256_BYTES 32
typedef struct ke__sha256 ke__sha256;
KE_MUST_CHECK ke_status ke__sha256_new(ke_ctx *cx, ke__sha256 **out);
void ke__sha256_add(ke__sha256 *sha, const void *data, size_t bytes);
void ke__sha256_hex(ke__sha256 *sha, char out[65]); /* ends it */
void ke__sha256_free(ke_ctx *cx, ke__sha256 *sha);
/* Of a block, looking at the cancel flag every few megabytes. */
KE_MUST_CHECK ke_status ke__sha256_of(ke_ctx *cx, char out[65], const void *data,
                                      size_t bytes);

#endif
