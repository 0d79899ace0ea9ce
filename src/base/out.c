/* Outputs that appear whole or not at all.
 *
 * Without a name (O_TMPFILE) a killed process leaves nothing behind. Where the file system
 * or a missing /proc does not allow that, the file bears a hidden name beside its target.
 */
#include "base/fault.h"
#include "base/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 20)

static int open_file(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

ke__calls ke__sys = {read, write, fsync, linkat, renameat2, open_file, statvfs};

ke_status ke__out_folder_of(ke_ctx *cx, char **out, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return ke__strdup(cx, out, ".");
    return ke__strndup(cx, out, path, slash == path ? 1 : (size_t)(slash - path));
}

/* Where the output goes: through a symbolic link to the file it names, so that the link
 * stays. A dangling link counts as an existing file and is itself replaced. */
static ke_status resolve(ke_ctx *cx, char **out, const char *path)
{
    char *target = realpath(path, NULL);
    ke_status st = ke__strdup(cx, out, target ? target : path);
    free(target);
    return st;
}

static ke_status check_target(ke_ctx *cx, const ke__out *out)
{
    struct stat info;
    size_t bytes = strlen(out->path);
    if (bytes == 0 || out->path[bytes - 1] == '/')
        return ke__fail(cx, KE_EIO, out->path,
                        "the output path ends without a file's name");
    if (lstat(out->path, &info) != 0)
        return KE_OK;
    if (S_ISDIR(info.st_mode))
        return ke__fail(cx, KE_EIO, out->path,
                        "the output is a folder, a file is expected");
    if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))
        return ke__fail(cx, KE_EIO, out->path, "the output is not a regular file");
    if (!out->force)
        return ke__fail(cx, KE_EEXIST, out->path, "the output exists already");
    return KE_OK;
}

ke_status ke__out_room(ke_ctx *cx, const char *path, uint64_t bytes)
{
    ke_status st = KE_OK;
    struct statvfs disk;
    char *name = NULL, *folder = NULL;
    uint64_t left = bytes;
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    KE_TRY(ke__strndup(cx, &name, path, n));
    KE_TRY(ke__out_folder_of(cx, &folder, name));
    if (ke__sys.statvfs(folder, &disk) == 0)
        left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (left < bytes)
        st = ke__fail(cx, KE_EIO, path,
                      "the output takes about %llu MB, %llu MB are free there",
                      (unsigned long long)(bytes / 1000000 + 1),
                      (unsigned long long)(left / 1000000));
done:
    ke__free(cx, folder);
    ke__free(cx, name);
    return st;
}

ke_status ke__out_hidden(ke_ctx *cx, char **name, const char *folder, const char *path)
{
    static uint64_t serial; /* atomic */
    struct timespec now;
    const char *slash = strrchr(path, '/');
    clock_gettime(CLOCK_REALTIME, &now);
    ke__rng rng = {(uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 32 ^
                   __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED) << 20};
    /* Names have at most 255 bytes. */
    return ke__format(cx, name, "%s/.%.200s.%08x", folder, slash ? slash + 1 : path,
                      (unsigned)(ke__rng_next(&rng) >> 32));
}

static ke_status open_hidden(ke_ctx *cx, ke__out *out, const char *folder)
{
    for (int tries = 0;; tries++) {
        ke_status st = ke__out_hidden(cx, &out->temp, folder, out->path);
        if (st != KE_OK)
            return st;
        /* Not mkstemp(): the mode must follow the umask. */
        out->fd = ke__sys.open(out->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (out->fd >= 0)
            return KE_OK;
        int reason = errno; /* freeing may change it */
        ke__free(cx, out->temp);
        out->temp = NULL;
        if (reason != EEXIST || tries == 100)
            return ke__fail(cx, KE_EIO, out->path, "cannot write to the folder %s: %s",
                            folder, strerror(reason));
    }
}

ke_status ke__out_open(ke_ctx *cx, ke__out *out, const char *path, bool force)
{
    ke_status st = KE_OK;
    char *folder = NULL;
    *out = (ke__out){.fd = -1, .force = force};
    KE_TRY(resolve(cx, &out->path, path));
    KE_TRY(check_target(cx, out));
    KE_TRY(ke__out_folder_of(cx, &folder, out->path));
    if (access("/proc/self/fd", X_OK) == 0)
        out->fd = ke__sys.open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
    if (out->fd < 0)
        KE_TRY(open_hidden(cx, out, folder));
    KE_TRY(ke__sha256_new(cx, (ke__sha256 **)&out->sha));
    KE_TRY(ke__alloc(cx, &out->buffer, BUFFER_BYTES, 1));
done:
    ke__free(cx, folder);
    if (st != KE_OK)
        ke__out_close(cx, out);
    return st;
}

/* To the file, in full. */
static ke_status put(ke_ctx *cx, ke__out *out, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = ke__sys.write(out->fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ke__fail(cx, KE_EIO, out->path, "cannot write after %llu bytes: %s",
                            (unsigned long long)out->bytes, strerror(errno));
        data += n;
        bytes -= (size_t)n;
    }
    return KE_OK;
}

static ke_status flush(ke_ctx *cx, ke__out *out)
{
    ke_status st = put(cx, out, out->buffer, out->buffered);
    out->buffered = 0;
    return st;
}

ke_status ke__out_write(ke_ctx *cx, ke__out *out, const void *data, size_t bytes)
{
    ke_status st = KE_OK;
    ke__sha256_add(out->sha, data, bytes);
    if (bytes > BUFFER_BYTES - out->buffered)
        KE_TRY(flush(cx, out));
    if (bytes >= BUFFER_BYTES) {
        KE_TRY(put(cx, out, data, bytes));
    } else if (bytes > 0) {
        memcpy(out->buffer + out->buffered, data, bytes);
        out->buffered += bytes;
    }
    out->bytes += bytes;
done:
    return st;
}

ke_status ke__out_sync(ke_ctx *cx, ke__out *out, char sha256[65])
{
    ke_status st = KE_OK;
    KE_TRY(flush(cx, out));
    if (ke__sys.fsync(out->fd) != 0) {
        st = ke__fail(cx, KE_EIO, out->path, "cannot bring %llu bytes to the disk: %s",
                      (unsigned long long)out->bytes, strerror(errno));
        goto done;
    }
    ke__sha256_hex(out->sha, sha256);
    ke__sha256_free(cx, out->sha);
    out->sha = NULL;
done:
    return st;
}

static void proc_name(const ke__out *out, char name[32])
{
    snprintf(name, 32, "/proc/self/fd/%d", out->fd);
}

/* Link the nameless file; 0 or -1 with errno. */
static int link_as(const ke__out *out, const char *path)
{
    char name[32];
    proc_name(out, name);
    return ke__sys.link(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* Rename, to a free name only; 0 or -1 with errno. */
static int rename_to_free(const char *temp, const char *path)
{
    struct stat info;
    if (ke__sys.rename(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    /* A network file system may lack the flag; linking is as safe. */
    if (ke__sys.link(AT_FDCWD, temp, AT_FDCWD, path, 0) == 0)
        return unlink(temp);
    if (errno == EEXIST)
        return -1;
    /* And some know no links either: a moment between looking and doing is left. */
    if (lstat(path, &info) == 0) {
        errno = EEXIST;
        return -1;
    }
    return ke__sys.rename(AT_FDCWD, temp, AT_FDCWD, path, 0);
}

/* A nameless file gets a hidden name, since linking replaces nothing. */
static ke_status link_hidden(ke_ctx *cx, ke__out *out, const char *folder)
{
    for (int tries = 0;; tries++) {
        ke_status st = ke__out_hidden(cx, &out->temp, folder, out->path);
        if (st != KE_OK || link_as(out, out->temp) == 0)
            return st;
        int reason = errno; /* freeing may change it */
        ke__free(cx, out->temp);
        out->temp = NULL;
        if (reason != EEXIST || tries == 100)
            return ke__fail(cx, KE_EIO, out->path, "cannot name the output: %s",
                            strerror(reason));
    }
}

ke_status ke__out_sync_folder(ke_ctx *cx, const char *path, const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EINVAL: a file system without such a thing. A folder may be writable but unreadable.
     */
    bool bad = fd >= 0 && ke__sys.fsync(fd) != 0 && errno != EINVAL;
    ke_status st = KE_OK;
    if (bad)
        st = ke__fail(
            cx, KE_EIO, path,
            "the output is whole, but its folder cannot be brought to the disk: %s",
            strerror(errno));
    if (fd >= 0)
        close(fd);
    return st;
}

ke_status ke__out_commit(ke_ctx *cx, ke__out *out)
{
    ke_status st = KE_OK;
    char *folder = NULL, sha256[65];
    int failed;
    if (out->sha)
        KE_TRY(ke__out_sync(cx, out, sha256));
    KE_TRY(check_target(cx, out));
    if (cx->opts.dry_run && !out->within)
        return KE_OK; /* closing drops it */
    KE_TRY(ke__out_folder_of(cx, &folder, out->path));
    if (!out->temp && out->force)
        KE_TRY(link_hidden(cx, out, folder));
    if (!out->temp)
        failed = link_as(out, out->path);
    else if (out->force)
        failed = ke__sys.rename(AT_FDCWD, out->temp, AT_FDCWD, out->path, 0);
    else
        failed = rename_to_free(out->temp, out->path);
    if (failed) {
        st = errno == EEXIST
                 ? ke__fail(cx, KE_EEXIST, out->path, "the output exists already")
                 : ke__fail(cx, KE_EIO, out->path, "cannot name the output: %s",
                            strerror(errno));
        goto done;
    }
    out->named = true;
    ke__free(cx, out->temp); /* gone: nothing is left for close to drop */
    out->temp = NULL;
    KE_TRY(ke__out_sync_folder(cx, out->path, folder));
done:
    ke__free(cx, folder);
    return st;
}

void ke__out_close(ke_ctx *cx, ke__out *out)
{
    if (out->temp)
        unlink(out->temp);
    if (out->fd >= 0)
        close(out->fd);
    ke__free(cx, out->temp);
    ke__free(cx, out->path);
    ke__sha256_free(cx, out->sha);
    ke__free(cx, out->buffer);
    *out = (ke__out){.fd = -1};
}

ke_status ke__out_readable(ke_ctx *cx, const ke__out *out, char **path)
{
    char name[32];
    proc_name(out, name);
    return ke__strdup(cx, path, out->temp ? out->temp : name);
}
