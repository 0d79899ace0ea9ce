#include "format/files.h"

#include "base/json.h"
#include "base/out.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 10000 };

/* --- names ------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

bool ke__plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strlen(name) < 256 && !strchr(name, '/');
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Five digits, as both the name and llama.cpp have them; 0 is none. */
static unsigned five_digits(const char *text)
{
    unsigned value = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        value = 10 * value + (unsigned)(text[i] - '0');
    }
    return value;
}

bool ke__split_name(const char *name, size_t *stem, unsigned *part, unsigned *n_parts)
{
    enum { TAIL = 20 }; /* -00001-of-00003.gguf */
    size_t n = strlen(name);
    if (n <= TAIL)
        return false;
    const char *tail = name + n - TAIL;
    *stem = n - TAIL;
    *part = five_digits(tail + 1);
    *n_parts = five_digits(tail + 10);
    return tail[0] == '-' && memcmp(tail + 6, "-of-", 4) == 0 &&
           strcmp(tail + 15, ".gguf") == 0 && *part >= 1 && *part <= *n_parts &&
           *n_parts > 1;
}

static const char *last_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- opening ----------------------------------------------------------------------- */

static ke_status add_file(ke_ctx *cx, ke__files *f, const char *path)
{
    ke_status st = KE_OK;
    KE_TRY(ke__resize(cx, &f->items, f->n + 1, sizeof *f->items));
    ke__file *file = &f->items[f->n];
    KE_TRY(ke__map_open(cx, &file->map, path));
    file->name = last_of(file->map.path);
    file->start = f->bytes;
    f->bytes += file->map.bytes;
    f->n++;
done:
    return st;
}

static ke_status open_parts(ke_ctx *cx, ke__files *f, const char *name, size_t stem,
                            unsigned n_parts)
{
    ke_status st = KE_OK;
    char *path = NULL;
    f->form = KE__FORM_SPLIT;
    if (n_parts > MAX_PARTS)
        return ke__fail(cx, KE_EFORMAT, f->path, "a model of %u parts, at most %d are read",
                        n_parts, MAX_PARTS);
    for (unsigned i = 1; i <= n_parts; i++) {
        KE_TRY(ke__format(cx, &path, "%s/%.*s-%05u-of-%05u.gguf", f->folder, (int)stem,
                          name, i, n_parts));
        if (!ke__file_exists(path)) {
            st = ke__fail(cx, KE_ENOENT, path, "part %u of %u, %.100s, is missing", i,
                          n_parts, last_of(path));
            goto done;
        }
        KE_TRY(add_file(cx, f, path));
        ke__free(cx, path);
        path = NULL;
    }
done:
    ke__free(cx, path);
    return st;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The shards that the index names, each once, in order of their names. */
static ke_status list_shards(ke_ctx *cx, const char ***out, size_t *n, json_t *index,
                             const char *path)
{
    ke_status st = KE_OK;
    json_t *map = json_object_get(index, "weight_map"), *value;
    const char *tensor;
    size_t all = json_object_size(map), k = 0;
    if (all == 0)
        return ke__fail(cx, KE_EFORMAT, path,
                        "no \"weight_map\", an object of tensor and shard names expected");
    KE_TRY(ke__alloc(cx, out, all, sizeof **out));
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !ke__plain_name(name) || !ends_with(name, ".safetensors")) {
            st = ke__fail(cx, KE_EFORMAT, path,
                          "weight_map names the file '%.100s' for '%.100s', a name like "
                          "model-00001-of-00002.safetensors expected",
                          name ? name : "(no text)", tensor);
            goto done;
        }
        (*out)[k++] = name;
    }
    qsort(*out, all, sizeof **out, by_text);
    *n = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || strcmp((*out)[i], (*out)[*n - 1]) != 0)
            (*out)[(*n)++] = (*out)[i];
    if (*n > MAX_PARTS)
        st = ke__fail(cx, KE_EFORMAT, path, "%zu shards, at most %d are read", *n,
                      MAX_PARTS);
done:
    return st;
}

static ke_status open_shards(ke_ctx *cx, ke__files *f)
{
    ke_status st = KE_OK;
    json_error_t error;
    const ke__file *file = &f->items[f->n - 1];
    json_t *index = json_loadb((const char *)file->map.data, file->map.bytes,
                               JSON_REJECT_DUPLICATES, &error);
    const char **names = NULL;
    char *path = NULL;
    size_t n = 0;
    if (!index) {
        st = ke__fail(cx, ke__json_load_status(&error), file->map.path,
                      "line %d, column %d: %s", error.line, error.column, error.text);
        goto done;
    }
    KE_TRY(list_shards(cx, &names, &n, index, file->map.path));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(ke__format(cx, &path, "%s/%s", f->folder, names[i]));
        if (!ke__file_exists(path)) {
            st = ke__fail(cx, KE_ENOENT, path, "shard %zu of %zu, %.100s, is missing",
                          i + 1, n, names[i]);
            goto done;
        }
        KE_TRY(add_file(cx, f, path));
        ke__free(cx, path);
        path = NULL;
    }
done:
    ke__free(cx, path);
    ke__free(cx, names);
    json_decref(index);
    return st;
}

/* *found: whether there are weights beside config.json, which the parts of a GGUF file may
 * have beside them too. */
static ke_status open_safetensors(ke_ctx *cx, ke__files *f, const char *config, bool *found)
{
    ke_status st = KE_OK;
    char *single = NULL, *index = NULL;
    KE_TRY(ke__format(cx, &single, "%s/model.safetensors", f->folder));
    KE_TRY(ke__format(cx, &index, "%s/model.safetensors.index.json", f->folder));
    *found = ke__file_exists(single) || ke__file_exists(index);
    if (!*found)
        goto done;
    f->form = KE__FORM_SAFETENSORS;
    KE_TRY(add_file(cx, f, config));
    f->n_heads = 1;
    if (ke__file_exists(single)) {
        KE_TRY(add_file(cx, f, single));
    } else {
        KE_TRY(add_file(cx, f, index));
        f->n_heads = 2;
        KE_TRY(open_shards(cx, f));
    }
done:
    ke__free(cx, index);
    ke__free(cx, single);
    return st;
}

/* The first part of the only split file in the folder; *name NULL if there is none. */
static ke_status find_split(ke_ctx *cx, const char *folder, char **name)
{
    ke_status st = KE_OK;
    struct dirent *entry;
    size_t stem;
    unsigned part, n;
    DIR *d = opendir(folder);
    *name = NULL;
    if (!d)
        return ke__fail(cx, KE_EIO, folder, "cannot read the folder: %s", strerror(errno));
    while (st == KE_OK && (entry = readdir(d)) != NULL) {
        if (!ke__split_name(entry->d_name, &stem, &part, &n) || part != 1)
            continue;
        st = *name ? ke__fail(cx, KE_EFORMAT, folder,
                              "two split models in one folder, %.100s and %.100s: name a "
                              "part of one",
                              *name, entry->d_name)
                   : ke__strdup(cx, name, entry->d_name);
    }
    closedir(d);
    return st;
}

static ke_status open_folder(ke_ctx *cx, ke__files *f)
{
    ke_status st = KE_OK;
    char *config = NULL, *split = NULL;
    size_t stem;
    unsigned part, n_parts;
    bool has_config, found = false;
    KE_TRY(ke__format(cx, &config, "%s/config.json", f->folder));
    has_config = ke__file_exists(config);
    if (has_config)
        KE_TRY(open_safetensors(cx, f, config, &found));
    if (found)
        goto done;
    KE_TRY(find_split(cx, f->folder, &split));
    if (split && ke__split_name(split, &stem, &part, &n_parts))
        KE_TRY(open_parts(cx, f, split, stem, n_parts));
    else if (has_config)
        st = ke__fail(cx, KE_ENOENT, f->folder,
                      "config.json, but neither model.safetensors nor "
                      "model.safetensors.index.json");
    else
        st = ke__fail(cx, KE_EFORMAT, f->folder,
                      "a folder without a model: config.json and model.safetensors, or the "
                      "parts of a split GGUF file expected");
done:
    ke__free(cx, config);
    ke__free(cx, split);
    return st;
}

/* A file that belongs to a model in another form, or to none: what is meant, rather than
 * what it lacks. */
static ke_status refuse_other(ke_ctx *cx, const ke__map *map)
{
    bool gguf = map->bytes >= 4 && memcmp(map->data, "GGUF", 4) == 0;
    if (!gguf && (ends_with(map->path, ".safetensors") || ends_with(map->path, ".json")))
        return ke__fail(cx, KE_EFORMAT, map->path,
                        "a file of a safetensors model: expected the folder that it is in");
    if (!gguf && ends_with(map->path, ".kepatch"))
        return ke__fail(
            cx, KE_EFORMAT, map->path,
            "a patch: expected a model (ask and apply take patches by --patch)");
    return KE_OK;
}

ke_status ke__files_open(ke_ctx *cx, ke__files *out, const char *path)
{
    ke_status st = KE_OK;
    size_t stem, bytes = strlen(path);
    unsigned part, n_parts;
    const char *name = last_of(path);
    *out = (ke__files){0};
    KE_TRY(ke__strdup(cx, &out->path, path));
    if (is_folder(path)) {
        while (bytes > 1 && path[bytes - 1] == '/')
            bytes--;
        KE_TRY(ke__strndup(cx, &out->folder, path, bytes));
        KE_TRY(open_folder(cx, out));
    } else if (ke__split_name(name, &stem, &part, &n_parts)) {
        KE_TRY(name == path ? ke__strdup(cx, &out->folder, ".")
                            : ke__strndup(cx, &out->folder, path,
                                          name - 1 > path ? (size_t)(name - 1 - path) : 1));
        KE_TRY(open_parts(cx, out, name, stem, n_parts));
    } else {
        KE_TRY(add_file(cx, out, path));
        KE_TRY(refuse_other(cx, &out->items[0].map));
    }
done:
    if (st != KE_OK)
        ke__files_close(cx, out);
    return st;
}

void ke__files_close(ke_ctx *cx, ke__files *f)
{
    for (size_t i = 0; i < f->n; i++)
        ke__map_close(cx, &f->items[i].map);
    ke__free(cx, f->items);
    ke__free(cx, f->folder);
    ke__free(cx, f->path);
    *f = (ke__files){0};
}

/* --- their bytes ------------------------------------------------------------------- */

const uint8_t *ke__files_at(const ke__files *f, uint64_t offset, uint64_t *left)
{
    size_t low = 0, high = f->n; /* the last file that starts at or before offset */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (f->items[middle].start <= offset)
            low = middle;
        else
            high = middle;
    }
    const ke__file *file = &f->items[low];
    *left = file->map.bytes - (offset - file->start);
    return file->map.data + (offset - file->start);
}

ke_status ke__files_sha256(ke_ctx *cx, const ke__files *f, char out[65])
{
    enum { STEP = 4 << 20 };
    ke_status st = KE_OK;
    ke__sha256 *sha = NULL;
    uint64_t left;
    KE_TRY(ke__sha256_new(cx, &sha));
    for (uint64_t at = 0; at < f->bytes;) {
        const uint8_t *data = ke__files_at(f, at, &left);
        KE_TRY(ke__check_cancel(cx));
        left = left < STEP ? left : STEP;
        ke__sha256_add(sha, data, left);
        at += left;
    }
    ke__sha256_hex(sha, out);
done:
    ke__sha256_free(cx, sha);
    return st;
}

/* --- outputs of their form ----------------------------------------------------------- */

bool ke__files_folder_at(const ke__files *f, const char *path)
{
    return f->form == KE__FORM_SAFETENSORS ||
           (f->form == KE__FORM_SPLIT && !ends_with(path, ".gguf"));
}

/* A model's folder is an input whole: nothing new goes into it. */
static ke_status refuse_inside(ke_ctx *cx, const char *folder, const char *path)
{
    ke_status st = KE_OK;
    char *around = NULL, input[PATH_MAX], place[PATH_MAX];
    KE_TRY(ke__out_folder_of(cx, &around, path));
    if (!realpath(folder, input) || !realpath(around, place))
        goto done; /* opening it will say why */
    size_t n = strlen(input);
    if (strncmp(place, input, n) == 0 && (place[n] == '\0' || place[n] == '/'))
        st = ke__fail(cx, KE_EINVAL, path,
                      "the output is inside the input %s: expected another place, no input "
                      "is ever written",
                      folder);
done:
    ke__free(cx, around);
    return st;
}

ke_status ke__files_refuse(ke_ctx *cx, const ke__files *f, const char *path)
{
    ke_status st = KE_OK;
    char *beside = NULL;
    KE_TRY(ke__file_refuse_input(cx, path, f->path));
    for (size_t i = 0; i < f->n; i++)
        KE_TRY(ke__file_refuse_input(cx, path, f->items[i].map.path));
    if (f->form == KE__FORM_SAFETENSORS) {
        KE_TRY(ke__format(cx, &beside, "%s/%s", f->folder, last_of(path)));
        KE_TRY(ke__file_refuse_input(cx, path, beside));
        KE_TRY(refuse_inside(cx, f->folder, path));
    }
done:
    ke__free(cx, beside);
    return st;
}

static bool is_weights(const char *name)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json",
                                       ".bin",         ".bin.index.json",
                                       ".gguf",        ".ggml",
                                       ".pt",          ".pth",
                                       ".ckpt",        ".h5",
                                       ".npz",         ".onnx",
                                       ".msgpack",     ".tflite",
                                       ".ot",          ".kepatch"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, ends[i]))
            return true;
    return false;
}

static ke_status add_name(ke_ctx *cx, char ***out, size_t *n, const char *name)
{
    ke_status st = ke__resize(cx, out, *n + 1, sizeof **out);
    if (st == KE_OK)
        st = ke__strdup(cx, &(*out)[*n], name);
    *n += st == KE_OK;
    return st;
}

ke_status ke__files_beside(ke_ctx *cx, char ***out, size_t *n, const ke__files *f)
{
    ke_status st = KE_OK;
    DIR *folder = NULL;
    struct dirent *entry;
    struct stat info;
    *out = NULL;
    *n = 0;
    if (f->form != KE__FORM_SAFETENSORS)
        return KE_OK;
    folder = opendir(f->folder);
    if (!folder)
        return ke__fail(cx, KE_EIO, f->folder, "cannot read the folder: %s",
                        strerror(errno));
    while ((entry = readdir(folder)) != NULL)
        if (ke__plain_name(entry->d_name) && !is_weights(entry->d_name) &&
            strcmp(entry->d_name, "config.json") != 0 &&
            fstatat(dirfd(folder), entry->d_name, &info, 0) == 0 && S_ISREG(info.st_mode))
            KE_TRY(add_name(cx, out, n, entry->d_name));
    if (*n > 0)
        qsort(*out, *n, sizeof **out, by_text);
done:
    closedir(folder);
    if (st != KE_OK) {
        ke__files_beside_free(cx, *out, *n);
        *out = NULL;
        *n = 0;
    }
    return st;
}

void ke__files_beside_free(ke_ctx *cx, char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ke__free(cx, names[i]);
    ke__free(cx, names);
}

ke_status ke__files_room(ke_ctx *cx, const ke__files *f, const char *path,
                         unsigned n_copies)
{
    ke_status st = KE_OK;
    uint64_t bytes = f->bytes;
    struct stat info;
    char **names = NULL, *beside = NULL;
    size_t n = 0;
    KE_TRY(ke__files_beside(cx, &names, &n, f));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(ke__format(cx, &beside, "%s/%s", f->folder, names[i]));
        if (stat(beside, &info) == 0)
            bytes += (uint64_t)info.st_size;
        ke__free(cx, beside);
        beside = NULL;
    }
    KE_TRY(ke__out_room(cx, path, bytes * n_copies));
done:
    ke__free(cx, beside);
    ke__files_beside_free(cx, names, n);
    return st;
}
