/* Outputs of several files: a folder that gets its name when all is in it. */
#include "base/fault.h"
#include "base/out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcmp(name + n - m, end) == 0;
}

/* Whoever says --force means the model that is there, not the photographs beside it. */
static ke_status check_contents(ke_ctx *cx, const char *path)
{
    ke_status st = KE_OK;
    DIR *folder = opendir(path);
    struct dirent *entry;
    struct stat info;
    bool model = false, any = false;
    if (!folder)
        return ke__fail(cx, KE_EIO, path, "cannot read the folder: %s", strerror(errno));
    while (st == KE_OK && (entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        any = true;
        model |= ends_with(name, ".safetensors") || ends_with(name, ".gguf");
        if (fstatat(dirfd(folder), name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(info.st_mode))
            st = ke__fail(cx, KE_EEXIST, path,
                          "the output is a folder that holds the folder %.100s: only a "
                          "folder of a model's files is replaced",
                          name);
    }
    if (st == KE_OK && any && !model)
        st = ke__fail(cx, KE_EEXIST, path,
                      "the output is a folder without a model (*.safetensors, *.gguf): it "
                      "is not replaced");
    closedir(folder);
    return st;
}

static ke_status check_target(ke_ctx *cx, const ke__outdir *out)
{
    struct stat info;
    if (lstat(out->path, &info) != 0)
        return KE_OK;
    if (!out->force)
        return ke__fail(cx, KE_EEXIST, out->path, "the output exists already");
    if (!S_ISDIR(info.st_mode))
        return ke__fail(cx, KE_EEXIST, out->path,
                        "the output is not a folder, as this model's is");
    return check_contents(cx, out->path);
}

/* The files in `path`, then itself. What can't be removed stays: it is hidden. */
static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    (void)rmdir(path);
}

/* Whether `name` is what ke__out_hidden() makes of `target`'s name. */
static bool is_hidden_of(const char *name, const char *target)
{
    size_t n = strlen(target) < 200 ? strlen(target) : 200;
    return name[0] == '.' && strlen(name) == n + 10 && memcmp(name + 1, target, n) == 0 &&
           name[n + 1] == '.' && strspn(name + n + 2, "0123456789abcdef") == 8;
}

/* Drop what a killed process left for the same target: nobody holds its lock. */
static void drop_stale(const char *around, const char *target)
{
    DIR *folder = opendir(around);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        char path[4096];
        if (!is_hidden_of(entry->d_name, target) ||
            snprintf(path, sizeof path, "%s/%s", around, entry->d_name) >= (int)sizeof path)
            continue;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            remove_folder(path);
        if (fd >= 0)
            close(fd);
    }
    if (folder)
        closedir(folder);
}

ke_status ke__outdir_open(ke_ctx *cx, ke__outdir *out, const char *path, bool force)
{
    ke_status st = KE_OK;
    char *around = NULL;
    size_t bytes = strlen(path);
    *out = (ke__outdir){.fd = -1, .force = force};
    while (bytes > 1 && path[bytes - 1] == '/')
        bytes--;
    KE_TRY(ke__strndup(cx, &out->path, path, bytes));
    KE_TRY(check_target(cx, out));
    KE_TRY(ke__out_folder_of(cx, &around, out->path));
    const char *slash = strrchr(out->path, '/');
    if (!cx->opts.dry_run)
        drop_stale(around, slash ? slash + 1 : out->path);
    KE_TRY(ke__out_hidden(cx, &out->temp, around, out->path));
    if (mkdir(out->temp, 0777) != 0) {
        st = ke__fail(cx, KE_EIO, out->path, "cannot write to the folder %s: %s", around,
                      strerror(errno));
        ke__free(cx, out->temp); /* not ours */
        out->temp = NULL;
        goto done;
    }
    out->fd = open(out->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out->fd < 0 || (flock(out->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK))
        st = ke__fail(cx, KE_EIO, out->path, "cannot lock the folder %s: %s", out->temp,
                      strerror(errno));
done:
    ke__free(cx, around);
    if (st != KE_OK)
        ke__outdir_close(cx, out);
    return st;
}

ke_status ke__outdir_file(ke_ctx *cx, const ke__outdir *out, ke__out *file,
                          const char *name)
{
    char *path = NULL;
    ke_status st = ke__format(cx, &path, "%s/%s", out->temp, name);
    if (st == KE_OK)
        st = ke__out_open(cx, file, path, false);
    file->within = true;
    ke__free(cx, path);
    return st;
}

ke_status ke__outdir_commit(ke_ctx *cx, ke__outdir *out)
{
    ke_status st = KE_OK;
    char *around = NULL;
    struct stat info;
    KE_TRY(check_target(cx, out));
    if (cx->opts.dry_run)
        return KE_OK; /* closing drops it */
    KE_TRY(ke__out_folder_of(cx, &around, out->path));
    bool exchange = out->force && lstat(out->path, &info) == 0;
    int failed = ke__sys.rename(AT_FDCWD, out->temp, AT_FDCWD, out->path,
                                exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE);
    /* A file system without the flag: there a folder replaces an empty folder at most. */
    if (failed && !exchange && (errno == EINVAL || errno == ENOSYS))
        failed = ke__sys.rename(AT_FDCWD, out->temp, AT_FDCWD, out->path, 0);
    if (failed) {
        st = errno == EEXIST || errno == ENOTEMPTY
                 ? ke__fail(cx, KE_EEXIST, out->path, "the output exists already")
             : exchange ? ke__fail(cx, KE_EIO, out->path,
                                   "cannot replace the folder: %s; remove it first",
                                   strerror(errno))
                        : ke__fail(cx, KE_EIO, out->path, "cannot name the output: %s",
                                   strerror(errno));
        goto done;
    }
    out->named = true;
    if (exchange)
        remove_folder(out->temp);
    ke__free(cx, out->temp);
    out->temp = NULL;
    KE_TRY(ke__out_sync_folder(cx, out->path, around));
done:
    ke__free(cx, around);
    return st;
}

void ke__outdir_close(ke_ctx *cx, ke__outdir *out)
{
    if (out->temp)
        remove_folder(out->temp);
    if (out->fd >= 0)
        close(out->fd);
    ke__free(cx, out->temp);
    ke__free(cx, out->path);
    *out = (ke__outdir){.fd = -1};
}
