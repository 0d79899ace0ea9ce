/* The header is jansson's to parse; what it says is compared with the file here. */
#include "format/safetensors.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

enum { LENGTH_BYTES = 8, NAME_SHOWN = 100 };

/* The types of the format, and what they are here. */
static const struct dtype {
    const char *name;
    uint32_t bytes;
    int id; /* of ke__dtype, -1: carried only */
} dtypes[] = {
    {"F32", 4, KE__F32}, {"F16", 2, KE__F16}, {"BF16", 2, KE__BF16}, {"F64", 8, KE__F64},
    {"I64", 8, -1},      {"I32", 4, -1},      {"I16", 2, -1},        {"I8", 1, -1},
    {"U64", 8, -1},      {"U32", 4, -1},      {"U16", 2, -1},        {"U8", 1, -1},
    {"BOOL", 1, -1},     {"F8_E4M3", 1, -1},  {"F8_E5M2", 1, -1},
};

static ke_status refuse(ke_ctx *cx, const ke__safe_shard *s, const char *name,
                        const char *what)
{
    return ke__fail(cx, KE_EFORMAT, s->path, "tensor '%.*s': %s", NAME_SHOWN, name, what);
}

/* A whole number from 0 on that JSON can say exactly. */
static bool whole(const json_t *value, uint64_t *out)
{
    json_int_t v = json_integer_value(value);
    *out = v < 0 ? 0 : (uint64_t)v;
    return json_is_integer(value) && v >= 0;
}

static ke_status read_shape(ke_ctx *cx, const ke__safe_shard *s, ke__safe_tensor *t,
                            const json_t *shape, uint32_t element_bytes)
{
    size_t n = json_array_size(shape), bytes = element_bytes;
    if (!json_is_array(shape) || n > KE__SAFE_DIMS)
        return refuse(cx, s, t->name, "a \"shape\" of at most 8 dimensions expected");
    t->n_dims = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        if (!whole(json_array_get(shape, i), &t->dims[i]))
            return refuse(cx, s, t->name, "a \"shape\" of whole numbers expected");
        if (!ke__mul(&bytes, bytes, t->dims[i]))
            return refuse(cx, s, t->name, "more bytes than any file holds");
    }
    if (bytes != t->bytes)
        return ke__fail(cx, KE_EFORMAT, s->path,
                        "tensor '%.*s' of %s has %llu bytes between its data_offsets, its "
                        "shape makes %zu",
                        NAME_SHOWN, t->name, t->dtype, (ull)t->bytes, bytes);
    return KE_OK;
}

static ke_status read_entry(ke_ctx *cx, const ke__safe_shard *s, ke__safe_tensor *t,
                            const json_t *entry)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin = 0, end = 0, room = s->bytes - s->data_offset;
    size_t i = 0, n = sizeof dtypes / sizeof dtypes[0];
    if (t->name[0] == '\0')
        return refuse(cx, s, t->name, "a tensor without a name");
    t->dtype = json_string_value(json_object_get(entry, "dtype"));
    while (t->dtype && i < n && strcmp(dtypes[i].name, t->dtype) != 0)
        i++;
    if (!t->dtype || i == n)
        return ke__fail(
            cx, KE_EFORMAT, s->path,
            "tensor '%.*s' has the unknown dtype '%.20s', F32, F16, BF16 or F64 "
            "expected",
            NAME_SHOWN, t->name, t->dtype ? t->dtype : "(no text)");
    t->type = dtypes[i].id < 0 ? NULL : ke__dtype_of((uint32_t)dtypes[i].id);
    if (json_array_size(offsets) != 2 || !whole(json_array_get(offsets, 0), &begin) ||
        !whole(json_array_get(offsets, 1), &end) || begin > end)
        return refuse(cx, s, t->name, "\"data_offsets\" [begin, end] expected");
    if (end > room)
        return ke__fail(cx, KE_EFORMAT, s->path,
                        "tensor '%.*s' ends at byte %llu of the data, which has %llu: the "
                        "file is cut short or damaged",
                        NAME_SHOWN, t->name, (ull)end, (ull)room);
    t->offset = s->data_offset + begin;
    t->bytes = end - begin;
    t->data = s->data + t->offset;
    return read_shape(cx, s, t, json_object_get(entry, "shape"), dtypes[i].bytes);
}

static int by_offset(const void *a, const void *b)
{
    const ke__safe_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* empty ones first, or they would seem to overlap */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The data is all tensors, each once. */
static ke_status check_cover(ke_ctx *cx, const ke__safe_shard *s, const ke__safe_tensor *t)
{
    uint64_t at = s->data_offset;
    for (size_t i = 0; i < s->n; i++) {
        if (t[i].offset != at)
            return ke__fail(cx, KE_EFORMAT, s->path,
                            "tensor '%.*s' begins at byte %llu of the data, %llu expected: "
                            "tensors overlap or leave a gap",
                            NAME_SHOWN, t[i].name, (ull)(t[i].offset - s->data_offset),
                            (ull)(at - s->data_offset));
        at += t[i].bytes;
    }
    if (at != s->bytes)
        return ke__fail(cx, KE_EFORMAT, s->path,
                        "the tensors end at byte %llu of the file, which has %llu", (ull)at,
                        (ull)s->bytes);
    return KE_OK;
}

static ke_status check_metadata(ke_ctx *cx, const ke__safe_shard *s, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (metadata && !json_is_object(metadata))
        return ke__fail(cx, KE_EFORMAT, s->path, "__metadata__: an object expected");
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return ke__fail(cx, KE_EFORMAT, s->path, "__metadata__: '%.*s' is not a text",
                            NAME_SHOWN, key);
    }
    return KE_OK;
}

static ke_status read_header(ke_ctx *cx, ke__safe_shard *s)
{
    json_error_t error;
    uint64_t bytes = 0;
    if (s->bytes >= LENGTH_BYTES)
        memcpy(&bytes, s->data, LENGTH_BYTES);
    if (s->bytes < LENGTH_BYTES || bytes > KE__SAFE_HEADER_MAX ||
        bytes > s->bytes - LENGTH_BYTES)
        return ke__fail(cx, KE_EFORMAT, s->path,
                        "not a safetensors file, or cut short: a header of %llu bytes in a "
                        "file of %llu, at most %d",
                        (ull)bytes, (ull)s->bytes, KE__SAFE_HEADER_MAX);
    s->data_offset = LENGTH_BYTES + bytes;
    s->header = json_loadb((const char *)s->data + LENGTH_BYTES, bytes,
                           JSON_REJECT_DUPLICATES, &error);
    if (!s->header)
        return ke__fail(cx, ke__json_load_status(&error), s->path, "header, byte %d: %s",
                        error.position, error.text);
    if (!json_is_object(s->header))
        return ke__fail(cx, KE_EFORMAT, s->path, "the header is no object of tensors");
    return check_metadata(cx, s, json_object_get(s->header, "__metadata__"));
}

ke_status ke__safetensors_add(ke_ctx *cx, ke__safetensors *s, const char *path,
                              const uint8_t *data, uint64_t bytes)
{
    ke_status st = KE_OK;
    const char *name;
    json_t *entry;
    KE_TRY(ke__resize(cx, &s->shards, s->n_shards + 1, sizeof *s->shards));
    ke__safe_shard *shard = &s->shards[s->n_shards++];
    *shard = (ke__safe_shard){.data = data, .bytes = bytes, .path = path, .first = s->n};
    KE_TRY(read_header(cx, shard));
    KE_TRY(ke__resize(cx, &s->tensors, s->n + json_object_size(shard->header) + 1,
                      sizeof *s->tensors));
    json_object_foreach(shard->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        ke__safe_tensor *t = &s->tensors[s->n];
        *t = (ke__safe_tensor){.name = name, .shard = s->n_shards - 1};
        KE_TRY(read_entry(cx, shard, t, entry));
        s->n++;
        shard->n++;
    }
    qsort(s->tensors + shard->first, shard->n, sizeof *s->tensors, by_offset);
    KE_TRY(check_cover(cx, shard, s->tensors + shard->first));
done:
    return st;
}

static int by_name(const void *a, const void *b, void *tensors)
{
    const ke__safe_tensor *t = tensors;
    return strcmp(t[*(const size_t *)a].name, t[*(const size_t *)b].name);
}

ke_status ke__safetensors_index(ke_ctx *cx, ke__safetensors *s)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &s->by_name, s->n, sizeof *s->by_name));
    for (size_t i = 0; i < s->n; i++)
        s->by_name[i] = i;
    qsort_r(s->by_name, s->n, sizeof *s->by_name, by_name, s->tensors);
    for (size_t i = 1; i < s->n; i++) {
        const ke__safe_tensor *a = &s->tensors[s->by_name[i - 1]],
                              *b = &s->tensors[s->by_name[i]];
        if (strcmp(a->name, b->name) != 0)
            continue;
        st = ke__fail(cx, KE_EFORMAT, s->shards[b->shard].path,
                      "the tensor '%.*s' is in another shard too: %.100s", NAME_SHOWN,
                      b->name, s->shards[a->shard].path);
        goto done;
    }
done:
    return st;
}

/* Each tensor of the index is in the shard that it names, and no others are there. */
static ke_status check_index(ke_ctx *cx, const ke__safetensors *s, const ke__files *files)
{
    ke_status st = KE_OK;
    const ke__map *map = &files->items[1].map;
    json_t *index = json_loadb((const char *)map->data, map->bytes, 0, NULL), *value;
    json_t *weights = json_object_get(index, "weight_map");
    const char *name;
    if (!index) { /* it was read before */
        st = ke__fail(cx, KE_ENOMEM, map->path, "out of memory");
        goto done;
    }
    json_object_foreach(weights, name, value)
    {
        const char *shard = json_string_value(value);
        ptrdiff_t at = ke__safetensors_find(s, name);
        const ke__file *in =
            at < 0 ? NULL : &files->items[files->n_heads + s->tensors[at].shard];
        if (in && shard && strcmp(in->name, shard) == 0)
            continue;
        st = ke__fail(cx, KE_EFORMAT, map->path,
                      "'%.*s' should be in %.100s, but is %s: a shard of another model",
                      NAME_SHOWN, name, shard ? shard : "?", in ? in->name : "nowhere");
        goto done;
    }
    for (size_t i = 0; i < s->n; i++) {
        if (json_object_get(weights, s->tensors[i].name))
            continue;
        st = ke__fail(cx, KE_EFORMAT, s->shards[s->tensors[i].shard].path,
                      "the tensor '%.*s' is not in the index: a shard of another model",
                      NAME_SHOWN, s->tensors[i].name);
        goto done;
    }
done:
    json_decref(index);
    return st;
}

ke_status ke__safetensors_open(ke_ctx *cx, ke__safetensors *out, const ke__files *files)
{
    ke_status st = KE_OK;
    *out = (ke__safetensors){0};
    for (size_t i = files->n_heads; i < files->n; i++) {
        const ke__map *map = &files->items[i].map;
        KE_TRY(ke__safetensors_add(cx, out, map->path, map->data, map->bytes));
    }
    KE_TRY(ke__safetensors_index(cx, out));
    if (files->n_heads == 2)
        KE_TRY(check_index(cx, out, files));
done:
    if (st != KE_OK)
        ke__safetensors_close(cx, out);
    return st;
}

void ke__safetensors_close(ke_ctx *cx, ke__safetensors *s)
{
    for (size_t i = 0; i < s->n_shards; i++)
        json_decref(s->shards[i].header);
    ke__free(cx, s->shards);
    ke__free(cx, s->tensors);
    ke__free(cx, s->by_name);
    *s = (ke__safetensors){0};
}

ptrdiff_t ke__safetensors_find(const ke__safetensors *s, const char *name)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, s->tensors[s->by_name[middle]].name);
        if (order == 0)
            return (ptrdiff_t)s->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

const char *ke__safetensors_metadata(const ke__safetensors *s, const char *key)
{
    return json_string_value(
        json_object_get(json_object_get(s->shards[0].header, "__metadata__"), key));
}

bool ke__safetensors_takes(const ke__dtype_traits *type)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (dtypes[i].id == (int)type->id)
            return true;
    return false;
}
