#include "base/file.h"
#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)   ? "a folder"
           : S_ISREG(mode) ? "a file"
                           : "a device, pipe or socket";
}

ke_status ke__map_open(ke_ctx *cx, ke__map *out, const char *path)
{
    ke_status st = KE_OK;
    struct stat info;
    void *data;
    *out = (ke__map){0};
    /* Without O_NONBLOCK, opening a pipe would wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        st = ke__fail(cx, KE_EIO, path, "cannot open the file: %s", strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        st = ke__fail(cx, KE_EFORMAT, path, "%s where a regular file with data is expected",
                      S_ISREG(info.st_mode) ? "an empty file" : kind_of(info.st_mode));
        goto done;
    }
    KE_TRY(ke__strdup(cx, &out->path, path));
    data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        st = ke__fail(cx, KE_EIO, path, "cannot map %lld bytes: %s",
                      (long long)info.st_size, strerror(errno));
        goto done;
    }
    out->data = data;
    out->bytes = (size_t)info.st_size;
    out->dev = info.st_dev;
    out->ino = info.st_ino;
done:
    if (fd >= 0)
        close(fd);
    if (st != KE_OK)
        ke__map_close(cx, out);
    return st;
}

void ke__map_close(ke_ctx *cx, ke__map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->bytes);
    ke__free(cx, map->path);
    *map = (ke__map){0};
}

ke_status ke__file_read(ke_ctx *cx, char **out, size_t *bytes, const char *path,
                        size_t max_bytes)
{
    enum { STEP = 64 << 10 };
    ke_status st = KE_OK;
    bool from_stdin = strcmp(path, "-") == 0;
    size_t room = 0, used = 0;
    struct stat info;
    *out = NULL;
    *bytes = 0;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        st = ke__fail(cx, KE_EIO, path, "cannot open the file: %s", strerror(errno));
        goto done;
    }
    for (;;) {
        if (room - used < STEP) {
            room = room ? 2 * room : STEP + 1;
            KE_TRY(ke__resize(cx, out, room, 1));
        }
        KE_TRY(ke__check_cancel(cx));
        ssize_t n = ke__sys.read(fd, *out + used, room - used - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            st = ke__fail(cx, KE_EIO, path, "cannot read after %zu bytes: %s", used,
                          strerror(errno));
            goto done;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            st = ke__fail(cx, KE_EFORMAT, path, "the file has more than %zu bytes",
                          max_bytes);
            goto done;
        }
        if (n == 0)
            break;
    }
    (*out)[used] = '\0';
    *bytes = used;
done:
    if (fd >= 0 && !from_stdin)
        close(fd);
    if (st != KE_OK) {
        ke__free(cx, *out);
        *out = NULL;
    }
    return st;
}

bool ke__file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

/* The name's last part, and what its folder is. */
static bool split(const char *path, const char **name, struct stat *folder)
{
    char text[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    *name = path + n;
    if (n >= sizeof text)
        return false;
    memcpy(text, path, n);
    text[n] = '\0';
    return stat(n ? text : ".", folder) == 0;
}

bool ke__file_same(const char *a, const char *b)
{
    struct stat x, y;
    const char *name_a, *name_b;
    bool same;
    if (stat(a, &x) == 0 && stat(b, &y) == 0)
        same = true;
    else
        same =
            split(a, &name_a, &x) && split(b, &name_b, &y) && strcmp(name_a, name_b) == 0;
    return same && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

ke_status ke__file_refuse_input(ke_ctx *cx, const char *output, const char *input)
{
    struct stat info;
    if (!input || stat(input, &info) != 0 || !ke__file_same(output, input))
        return KE_OK;
    return ke__fail(cx, KE_EINVAL, output,
                    "the output is the input %s: expected another file, no input is ever "
                    "written",
                    input);
}

/* Make `path` and the folders above it. */
static ke_status make_folders(ke_ctx *cx, char *path)
{
    for (char *slash = path + 1;; slash++) {
        slash += strcspn(slash, "/");
        char kept = *slash;
        *slash = '\0';
        int failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        if (failed)
            return ke__fail(cx, KE_EIO, path, "cannot make the folder: %s",
                            strerror(errno));
        *slash = kept;
        if (kept == '\0')
            return KE_OK;
    }
}

ke_status ke__cache_folder(ke_ctx *cx, char **out)
{
    ke_status st = KE_OK;
    struct stat info;
    const char *own = getenv("KNOWEDIT_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    *out = NULL;
    if (own && *own) {
        KE_TRY(ke__strdup(cx, out, own));
    } else if (xdg &&
               xdg[0] == '/') { /* a relative one is to be ignored, says its standard */
        KE_TRY(ke__format(cx, out, "%s/knowedit", xdg));
    } else if (home && *home) {
        KE_TRY(ke__format(cx, out, "%s/.cache/knowedit", home));
    } else {
        st = ke__fail(cx, KE_ENOENT, "cache",
                      "no cache folder: $KNOWEDIT_CACHE and $HOME unset");
        goto done;
    }
    if (cx->opts.dry_run)
        goto done;
    KE_TRY(make_folders(cx, *out));
    if (stat(*out, &info) != 0 || !S_ISDIR(info.st_mode))
        st = ke__fail(cx, KE_EIO, *out, "the cache folder is not a folder");
done:
    if (st != KE_OK) {
        ke__free(cx, *out);
        *out = NULL;
    }
    return st;
}
