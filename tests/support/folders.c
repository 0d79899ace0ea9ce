#include "support/folders.h"
#include "format/gguf.h"
#include "support/scratch.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define HF "tests/data/hf/"

/* --- safetensors -------------------------------------------------------------------- */

static char *text_of(const char *path, size_t *bytes)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(0, fstat(fileno(f), &info));
    *bytes = (size_t)info.st_size;
    char *text = malloc(*bytes + 1);
    assert_non_null(text);
    assert_int_equal(*bytes, fread(text, 1, *bytes, f));
    fclose(f);
    return text;
}

/* All but the weights if `bare`. */
static void copy_files(const char *name, const char *to, bool bare)
{
    char folder[256], path[1024];
    const struct dirent *e;
    snprintf(folder, sizeof folder, HF "%s", name);
    DIR *d = opendir(folder);
    assert_non_null(d);
    assert_int_equal(0, mkdir(to, 0777));
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "expected.json") == 0 ||
            (bare && strstr(e->d_name, ".safetensors")))
            continue;
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        char *text = text_of(path, &bytes);
        snprintf(path, sizeof path, "%.700s/%s", to, e->d_name);
        scratch_write(path, text, bytes);
        free(text);
    }
    closedir(d);
}

void folder_copy(const char *name, const char *to)
{
    copy_files(name, to, false);
}

void folder_join(const char *name, const char *to)
{
    enum { N_SHARDS = 2 };
    char path[1024];
    json_t *header = json_object();
    char *data[N_SHARDS];
    size_t bytes[N_SHARDS];
    uint64_t heads[N_SHARDS], start = 0;
    copy_files(name, to, true);
    for (int i = 0; i < N_SHARDS; i++) {
        snprintf(path, sizeof path, HF "%s/model-%05d-of-%05d.safetensors", name, i + 1,
                 N_SHARDS);
        data[i] = text_of(path, &bytes[i]);
        memcpy(&heads[i], data[i], sizeof heads[i]);
        json_t *one = json_loadb(data[i] + 8, heads[i], 0, NULL), *tensor, *at;
        const char *key;
        size_t k;
        assert_non_null(one);
        json_object_foreach(one, key, tensor)
            json_array_foreach(json_object_get(tensor, "data_offsets"), k, at)
                json_integer_set(at, json_integer_value(at) + (json_int_t)start);
        json_object_update(header, one);
        json_decref(one);
        start += bytes[i] - 8 - heads[i];
    }
    char *text = json_dumps(header, JSON_COMPACT);
    uint64_t n = strlen(text);
    snprintf(path, sizeof path, "%.700s/model.safetensors", to);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(text, n, 1, f);
    for (int i = 0; i < N_SHARDS; i++) {
        fwrite(data[i] + 8 + heads[i], bytes[i] - 8 - heads[i], 1, f);
        free(data[i]);
    }
    assert_int_equal(0, fclose(f));
    free(text);
    json_decref(header);
}

/* --- split GGUF --------------------------------------------------------------------- */

static ke__gguf_new_kv kv_of(const char *key, uint64_t value)
{
    return (ke__gguf_new_kv){.key = key, .type = KE__GGUF_U16, .value.u = value};
}

static void put(ke_ctx *cx, ke__text *to, const void *data, size_t bytes)
{
    assert_int_equal(KE_OK, ke__text_add(cx, to, data, bytes));
}

void folder_split(ke_ctx *cx, const char *path, const char *to, uint64_t count_said)
{
    ke__gguf g;
    assert_int_equal(0, mkdir(to, 0777));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    for (size_t i = 0; i < FOLDER_PARTS; i++) {
        size_t first = g.n_tensors * i / FOLDER_PARTS,
               end = g.n_tensors * (i + 1) / FOLDER_PARTS;
        ke__text whole = {0}, own = {0};
        char name[512];
        uint64_t at = 0, counts[2];
        const ke__gguf_new_kv kvs[] = {
            kv_of("split.no", i), kv_of("split.count", FOLDER_PARTS),
            kv_of("split.tensors.count", count_said ? count_said : g.n_tensors)};
        assert_int_equal(KE_OK, ke__gguf_keys(cx, &own, kvs, 3));
        counts[0] = end - first;
        counts[1] = 3 + (i == 0 ? g.n_kvs : 0);
        memcpy(own.data + 8, counts, sizeof counts);
        assert_int_equal(KE_OK, ke__text_add(cx, &whole, own.data, own.bytes));
        for (size_t k = 0; i == 0 && k < g.n_kvs; k++)
            assert_int_equal(KE_OK, ke__text_add(cx, &whole,
                                                 (const char *)g.map.data + g.kvs[k].offset,
                                                 g.kvs[k].bytes));
        for (size_t k = first; k < end; k++) {
            const ke__tensor *t = &g.tensors[k];
            uint64_t n = strlen(t->name);
            put(cx, &whole, &n, 8);
            put(cx, &whole, t->name, n);
            put(cx, &whole, &t->n_dims, 4);
            put(cx, &whole, t->dims, 8 * t->n_dims);
            put(cx, &whole, &t->type->id, 4);
            put(cx, &whole, &at, 8);
            at += (t->bytes + 31) / 32 * 32;
        }
        for (size_t k = first; k < end; k++) {
            while (whole.bytes % 32)
                put(cx, &whole, "", 1);
            put(cx, &whole, g.tensors[k].data, g.tensors[k].bytes);
        }
        snprintf(name, sizeof name, "%s/tiny-%05zu-of-%05d.gguf", to, i + 1, FOLDER_PARTS);
        scratch_write(name, whole.data, whole.bytes);
        ke__free(cx, whole.data);
        ke__free(cx, own.data);
    }
    ke__gguf_close(cx, &g);
}
