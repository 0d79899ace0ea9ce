/* The layout (all little-endian): "GGUF", u32 version, u64 tensors, u64 keys; the keys; the
 * tensor infos; padding to the alignment; tensor data. Everything read is checked against
 * what is left of the file before it is used. */
#include "base/utf8.h"
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_BYTES = 24,
    KEY_BYTES_MAX = 65535,
    NAME_BYTES_MAX = 255,
    KV_BYTES_MIN = 8 + 1 + 4 + 1,           /* key, type, value */
    INFO_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8, /* name, n_dims, a dimension, type, offset */
    ALIGNMENT_DEFAULT = 32,
    MAX_ENTRIES = 1 << 20 /* keys, or tensors; real files have thousands at most */
};

typedef unsigned long long ull;

typedef struct reader {
    ke_ctx *cx;
    const ke__map *map;
    uint64_t at;
    const char *noun; /* what is being read: noun and number, for messages */
    uint64_t number;
} reader;

/* "tensor 7 at byte 1234: ..." */
__attribute__((format(printf, 2, 3))) static ke_status bad(reader *r, const char *format,
                                                           ...)
{
    char text[384];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return ke__fail(r->cx, KE_EFORMAT, r->map->path, "%s %llu at byte %llu: %s", r->noun,
                    (ull)r->number, (ull)r->at, text);
}

static ke_status need(reader *r, uint64_t bytes, const char *what)
{
    uint64_t left = r->map->bytes - r->at;
    if (bytes <= left)
        return KE_OK;
    return bad(r, "%s of %llu bytes, but %llu are left in the file", what, (ull)bytes,
               (ull)left);
}

static ke_status read_bytes(reader *r, void *out, size_t bytes, const char *what)
{
    ke_status st = need(r, bytes, what);
    if (st != KE_OK)
        return st;
    memcpy(out, r->map->data + r->at, bytes);
    r->at += bytes;
    return KE_OK;
}

static ke_status read_string(reader *r, ke__gguf_str *out, const char *what)
{
    ke_status st = KE_OK;
    KE_TRY(read_bytes(r, &out->bytes, sizeof out->bytes, what));
    KE_TRY(need(r, out->bytes, what));
    out->data = (const char *)r->map->data + r->at;
    r->at += out->bytes;
done:
    return st;
}

/* A key or a tensor's name: something that can be printed and compared. */
static ke_status read_name(reader *r, ke__gguf_str *out, uint64_t max, const char *what)
{
    ke_status st = read_string(r, out, what);
    if (st != KE_OK)
        return st;
    if (out->bytes == 0 || out->bytes > max)
        return bad(r, "%s of %llu bytes, 1 to %llu expected", what, (ull)out->bytes,
                   (ull)max);
    size_t good = ke__utf8_prefix(out->data, out->bytes);
    if (good != out->bytes)
        return bad(r, "%s is not UTF-8 at its byte %zu", what, good);
    if (memchr(out->data, 0, out->bytes))
        return bad(r, "%s contains a NUL byte", what);
    return KE_OK;
}

/* Bytes of a value of a type; 0 for those of varying size. */
static const uint8_t scalar_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static ke_status read_type(reader *r, ke__gguf_type *out, const char *what)
{
    uint32_t type;
    ke_status st = read_bytes(r, &type, sizeof type, what);
    if (st != KE_OK)
        return st;
    if (type > KE__GGUF_F64)
        return bad(r, "%s %u, 0 to %d expected", what, type, KE__GGUF_F64);
    *out = (ke__gguf_type)type;
    return KE_OK;
}

static ke_status skip_strings(reader *r, uint64_t n)
{
    ke__gguf_str item;
    /* Before walking, so that the message names the count and not a far-off item. */
    if (n > (r->map->bytes - r->at) / 8)
        return bad(r, "array of %llu strings, but %llu bytes are left in the file", (ull)n,
                   (ull)(r->map->bytes - r->at));
    for (uint64_t i = 0; i < n; i++) {
        ke_status st = read_string(r, &item, "string in an array");
        if (st != KE_OK)
            return st;
    }
    return KE_OK;
}

static ke_status skip_array(reader *r, ke__gguf_kv *kv)
{
    ke_status st = KE_OK;
    size_t bytes;
    KE_TRY(read_type(r, &kv->item, "array item type"));
    KE_TRY(read_bytes(r, &kv->n, sizeof kv->n, "array length"));
    kv->value = r->map->data + r->at;
    if (kv->item == KE__GGUF_ARRAY)
        return bad(r, "array of arrays, which no GGUF key has");
    if (kv->item == KE__GGUF_STRING)
        return skip_strings(r, kv->n);
    if (!ke__mul(&bytes, kv->n, scalar_bytes[kv->item]))
        return bad(r, "array of %llu items, more than any file holds", (ull)kv->n);
    KE_TRY(need(r, bytes, "array"));
    r->at += bytes;
done:
    return st;
}

static ke_status read_kv(reader *r, ke__gguf_kv *kv)
{
    ke_status st = KE_OK;
    ke__gguf_str text;
    kv->offset = r->at;
    KE_TRY(read_name(r, &kv->key, KEY_BYTES_MAX, "key"));
    KE_TRY(read_type(r, &kv->type, "value type"));
    kv->value = r->map->data + r->at;
    kv->n = 1;
    if (kv->type == KE__GGUF_ARRAY) {
        KE_TRY(skip_array(r, kv));
    } else if (kv->type == KE__GGUF_STRING) {
        KE_TRY(read_string(r, &text, "string"));
    } else {
        KE_TRY(need(r, scalar_bytes[kv->type], "value"));
        r->at += scalar_bytes[kv->type];
    }
    kv->bytes = r->at - kv->offset;
    kv->value_bytes = (uint64_t)(r->map->data + r->at - kv->value);
done:
    return st;
}

static int compare_strings(ke__gguf_str a, ke__gguf_str b)
{
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_kvs(const void *a, const void *b)
{
    return compare_strings((*(const ke__gguf_kv *const *)a)->key,
                           (*(const ke__gguf_kv *const *)b)->key);
}

static ke_status check_keys_differ(reader *r, const ke__gguf *g)
{
    ke_status st = KE_OK;
    const ke__gguf_kv **sorted = NULL;
    KE_TRY(ke__alloc(r->cx, &sorted, g->n_kvs, sizeof *sorted));
    for (size_t i = 0; i < g->n_kvs; i++)
        sorted[i] = &g->kvs[i];
    qsort(sorted, g->n_kvs, sizeof *sorted, compare_kvs);
    for (size_t i = 1; i < g->n_kvs; i++)
        if (compare_kvs(&sorted[i - 1], &sorted[i]) == 0) {
            ke__gguf_str key = sorted[i]->key;
            st = ke__fail(r->cx, KE_EFORMAT, r->map->path,
                          "the key '%.*s' occurs twice, at bytes %llu and %llu",
                          key.bytes < 100 ? (int)key.bytes : 100, key.data,
                          (ull)sorted[i - 1]->offset, (ull)sorted[i]->offset);
            goto done;
        }
done:
    ke__free(r->cx, sorted);
    return st;
}

/* "GGUF", a version, and counts that the file has room for. */
static ke_status read_header(reader *r, ke__gguf *g)
{
    uint64_t counts[2];
    const uint8_t *data = r->map->data;
    if (r->map->bytes < 4 || memcmp(data, "GGUF", 4) != 0)
        return ke__fail(r->cx, KE_EFORMAT, r->map->path,
                        "not a GGUF file: it does not begin with \"GGUF\"");
    if (r->map->bytes < HEADER_BYTES)
        return ke__fail(r->cx, KE_EFORMAT, r->map->path,
                        "the file has %zu bytes, a GGUF header takes %d", r->map->bytes,
                        HEADER_BYTES);
    memcpy(&g->version, data + 4, sizeof g->version);
    memcpy(counts, data + 8, sizeof counts);
    r->at = HEADER_BYTES;
    uint64_t left = r->map->bytes - r->at;
    if (g->version != 2 && g->version != 3) {
        bool swapped = (g->version & 0xFFFF) == 0 && g->version != 0;
        return ke__fail(r->cx, KE_EFORMAT, r->map->path,
                        "GGUF version %u%s, 2 or 3 expected",
                        swapped ? __builtin_bswap32(g->version) : g->version,
                        swapped ? " in big-endian order, which is not supported" : "");
    }
    /* Tables of what is announced are made before it is read: a big file can't have big
     * tables, whatever it says. */
    for (int i = 0; i < 2; i++)
        if (counts[i] > MAX_ENTRIES)
            return ke__fail(r->cx, KE_EFORMAT, r->map->path,
                            "%llu %s announced, at most %d are read", (ull)counts[i],
                            i ? "keys" : "tensors", MAX_ENTRIES);
    if (counts[1] > left / KV_BYTES_MIN)
        return ke__fail(
            r->cx, KE_EFORMAT, r->map->path,
            "%llu keys announced, more than the %llu bytes after the header hold",
            (ull)counts[1], (ull)left);
    if (counts[0] > left / INFO_BYTES_MIN)
        return ke__fail(
            r->cx, KE_EFORMAT, r->map->path,
            "%llu tensors announced, more than the %llu bytes after the header hold",
            (ull)counts[0], (ull)left);
    g->n_tensors = counts[0];
    g->n_kvs = counts[1];
    return KE_OK;
}

static ke_status read_kvs(reader *r, ke__gguf *g)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(r->cx, &g->kvs, g->n_kvs, sizeof *g->kvs));
    r->noun = "key";
    for (size_t i = 0; i < g->n_kvs; i++) {
        r->number = i;
        KE_TRY(read_kv(r, &g->kvs[i]));
    }
    KE_TRY(check_keys_differ(r, g));

    const ke__gguf_kv *kv = ke__gguf_find(g, "general.alignment");
    g->alignment = ALIGNMENT_DEFAULT;
    if (!kv)
        goto done;
    if (kv->type == KE__GGUF_U32)
        memcpy(&g->alignment, kv->value, sizeof g->alignment);
    if (kv->type != KE__GGUF_U32 || g->alignment < 8 || (g->alignment & (g->alignment - 1)))
        st = ke__fail(
            r->cx, KE_EFORMAT, r->map->path,
            "general.alignment of type %d and value %u, a u32 that is a power of two "
            "from 8 on expected",
            kv->type, g->alignment);
done:
    return st;
}

/* Shape and size from dims and type; every product is checked. */
static ke_status measure(reader *r, ke__tensor *t, ke__gguf_str name, uint32_t type)
{
    size_t row_bytes, bytes, rows = 1;
    int shown = (int)name.bytes;
    t->type = ke__dtype_of(type);
    if (!t->type)
        return bad(r, "'%.*s' has the unknown element type %u", shown, name.data, type);
    t->cols = t->dims[0];
    for (uint32_t d = 0; d < t->n_dims; d++)
        if (t->dims[d] == 0)
            return bad(r, "'%.*s' has dimension %u of size 0", shown, name.data, d);
    for (uint32_t d = 1; d < t->n_dims; d++)
        if (!ke__mul(&rows, rows, t->dims[d]))
            return bad(r, "'%.*s' has more rows than any file holds", shown, name.data);
    if (t->cols % t->type->block != 0)
        return bad(r, "'%.*s' has rows of %llu elements, a multiple of %u expected for %s",
                   shown, name.data, (ull)t->cols, t->type->block, t->type->name);
    if (!ke__row_bytes(&row_bytes, t->type, t->cols) || !ke__mul(&bytes, rows, row_bytes))
        return bad(r, "'%.*s' has more bytes than any file holds", shown, name.data);
    t->rows = rows;
    t->bytes = bytes;
    return KE_OK;
}

static ke_status read_info(reader *r, ke__gguf *g, ke__tensor *t, ke__text *names)
{
    ke_status st = KE_OK;
    ke__gguf_str name;
    uint32_t type;
    KE_TRY(read_name(r, &name, NAME_BYTES_MAX, "tensor name"));
    KE_TRY(ke__text_add(r->cx, names, name.data, name.bytes));
    KE_TRY(ke__text_add(r->cx, names, "", 1));
    KE_TRY(read_bytes(r, &t->n_dims, sizeof t->n_dims, "number of dimensions"));
    if (t->n_dims < 1 || t->n_dims > 4)
        return bad(r, "'%.*s' has %u dimensions, 1 to 4 expected", (int)name.bytes,
                   name.data, t->n_dims);
    KE_TRY(read_bytes(r, t->dims, t->n_dims * sizeof t->dims[0], "dimensions"));
    KE_TRY(read_bytes(r, &type, sizeof type, "element type"));
    KE_TRY(read_bytes(r, &t->offset, sizeof t->offset, "offset"));
    KE_TRY(measure(r, t, name, type));
    if (t->offset % g->alignment != 0)
        return bad(r, "'%.*s' has offset %llu, a multiple of %u expected", (int)name.bytes,
                   name.data, (ull)t->offset, g->alignment);
done:
    return st;
}

static ke_status read_infos(reader *r, ke__gguf *g)
{
    ke_status st = KE_OK;
    ke__text names = {0};
    KE_TRY(ke__alloc(r->cx, &g->tensors, g->n_tensors, sizeof *g->tensors));
    r->noun = "tensor";
    g->infos_offset = r->at;
    for (size_t i = 0; i < g->n_tensors; i++) {
        r->number = i;
        KE_TRY(read_info(r, g, &g->tensors[i], &names));
    }
    /* Only now: the text moved while it grew. */
    const char *name = names.data;
    for (size_t i = 0; i < g->n_tensors; i++) {
        g->tensors[i].name = name;
        name += strlen(name) + 1;
    }
done:
    g->names = names.data;
    return st;
}

/* From offsets in the data to places in the file. */
static ke_status place_tensors(reader *r, ke__gguf *g)
{
    uint64_t padding = -r->at & (g->alignment - 1), left = r->map->bytes - r->at;
    /* A file without tensors need not be padded. */
    if (g->n_tensors == 0 && padding > left)
        padding = left;
    if (padding > left)
        return ke__fail(r->cx, KE_EFORMAT, r->map->path,
                        "the file ends at byte %zu, before its tensor data", r->map->bytes);
    g->data_offset = r->at + padding;
    left -= padding;
    for (size_t i = 0; i < g->n_tensors; i++) {
        ke__tensor *t = &g->tensors[i];
        if (t->offset > left || t->bytes > left - t->offset)
            return ke__fail(
                r->cx, KE_EFORMAT, r->map->path,
                "tensor '%s' has %llu bytes at offset %llu of the data, but the "
                "data has %llu bytes: the file is cut short or damaged",
                t->name, (ull)t->bytes, (ull)t->offset, (ull)left);
        t->offset += g->data_offset;
        t->data = r->map->data + t->offset;
    }
    return KE_OK;
}

static int compare_names(const void *a, const void *b, void *tensors)
{
    const ke__tensor *t = tensors;
    return strcmp(t[*(const size_t *)a].name, t[*(const size_t *)b].name);
}

static int compare_offsets(const void *a, const void *b, void *tensors)
{
    const ke__tensor *t = tensors;
    uint64_t x = t[*(const size_t *)a].offset, y = t[*(const size_t *)b].offset;
    return (x > y) - (x < y);
}

ke_status ke__gguf_index(ke_ctx *cx, ke__gguf *g)
{
    ke_status st = KE_OK;
    size_t n = g->n_tensors;
    KE_TRY(ke__alloc(cx, &g->by_name, n, sizeof *g->by_name));
    KE_TRY(ke__alloc(cx, &g->by_offset, n, sizeof *g->by_offset));
    for (size_t i = 0; i < n; i++)
        g->by_name[i] = g->by_offset[i] = i;
    qsort_r(g->by_name, n, sizeof *g->by_name, compare_names, g->tensors);
    qsort_r(g->by_offset, n, sizeof *g->by_offset, compare_offsets, g->tensors);
    for (size_t i = 1; i < n; i++) {
        const ke__tensor *a = &g->tensors[g->by_name[i - 1]],
                         *b = &g->tensors[g->by_name[i]];
        if (strcmp(a->name, b->name) == 0) {
            st = ke__fail(cx, KE_EFORMAT, g->map.path, "the tensor '%s' occurs twice",
                          a->name);
            goto done;
        }
        a = &g->tensors[g->by_offset[i - 1]];
        b = &g->tensors[g->by_offset[i]];
        if (b->offset - a->offset < a->bytes) {
            st =
                ke__fail(cx, KE_EFORMAT, g->map.path,
                         "tensors '%s' and '%s' overlap: %llu bytes at byte %llu, and then "
                         "byte %llu",
                         a->name, b->name, (ull)a->bytes, (ull)a->offset, (ull)b->offset);
            goto done;
        }
    }
done:
    return st;
}

ke_status ke__gguf_parse(ke_ctx *cx, ke__gguf *g)
{
    ke_status st = KE_OK;
    reader r = {.cx = cx, .map = &g->map};
    KE_TRY(read_header(&r, g));
    KE_TRY(read_kvs(&r, g));
    KE_TRY(read_infos(&r, g));
    KE_TRY(place_tensors(&r, g));
    KE_TRY(ke__gguf_index(cx, g));
done:
    return st;
}

ke_status ke__gguf_open(ke_ctx *cx, ke__gguf *out, const char *path)
{
    ke_status st = KE_OK;
    *out = (ke__gguf){0};
    KE_TRY(ke__map_open(cx, &out->map, path));
    KE_TRY(ke__gguf_parse(cx, out));
done:
    if (st != KE_OK)
        ke__gguf_close(cx, out);
    return st;
}

void ke__gguf_close(ke_ctx *cx, ke__gguf *g)
{
    ke__free(cx, g->kvs);
    ke__free(cx, g->tensors);
    ke__free(cx, g->names);
    ke__free(cx, g->by_name);
    ke__free(cx, g->by_offset);
    if (g->map.path && !g->borrowed)
        ke__map_close(cx, &g->map);
    *g = (ke__gguf){0};
}

const ke__gguf_kv *ke__gguf_find(const ke__gguf *g, const char *key)
{
    ke__gguf_str wanted = {key, strlen(key)};
    for (size_t i = 0; i < g->n_kvs; i++)
        if (compare_strings(g->kvs[i].key, wanted) == 0)
            return &g->kvs[i];
    return NULL;
}

ptrdiff_t ke__gguf_tensor(const ke__gguf *g, const char *name)
{
    size_t low = 0, high = g->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, g->tensors[g->by_name[middle]].name);
        if (order == 0)
            return (ptrdiff_t)g->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

static ke_status wrong_type(ke_ctx *cx, const ke__gguf *g, const char *key,
                            const ke__gguf_kv *kv, const char *expected)
{
    static const char *const names[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                        "i32", "f32", "bool", "string", "array",
                                        "u64", "i64", "f64"};
    return ke__fail(cx, KE_EFORMAT, g->map.path, "the key %s is of type %s, %s expected",
                    key, names[kv->type], expected);
}

ke_status ke__gguf_u64(ke_ctx *cx, const ke__gguf *g, const char *key, uint64_t fallback,
                       uint64_t *out)
{
    const ke__gguf_kv *kv = ke__gguf_find(g, key);
    *out = kv ? 0 : fallback;
    if (!kv)
        return KE_OK;
    bool whole =
        kv->type <= KE__GGUF_I32 || kv->type == KE__GGUF_U64 || kv->type == KE__GGUF_I64;
    if (!whole)
        return wrong_type(cx, g, key, kv, "an integer");
    /* Each signed type follows its unsigned one, at an odd number: but 64 bits, at 11. */
    bool is_signed = kv->type % 2 == 1;
    size_t bytes = scalar_bytes[kv->type];
    memcpy(out, kv->value, bytes);
    if (is_signed && (*out >> (8 * bytes - 1) & 1)) {
        *out = fallback;
        return ke__fail(cx, KE_EFORMAT, g->map.path, "the key %s is negative", key);
    }
    return KE_OK;
}

ke_status ke__gguf_f32(ke_ctx *cx, const ke__gguf *g, const char *key, float fallback,
                       float *out)
{
    const ke__gguf_kv *kv = ke__gguf_find(g, key);
    double wide;
    *out = fallback;
    if (!kv)
        return KE_OK;
    if (kv->type == KE__GGUF_F32) {
        memcpy(out, kv->value, sizeof *out);
    } else if (kv->type == KE__GGUF_F64) {
        memcpy(&wide, kv->value, sizeof wide);
        *out = (float)wide;
    } else {
        return wrong_type(cx, g, key, kv, "a floating-point number");
    }
    return KE_OK;
}

ke_status ke__gguf_bool(ke_ctx *cx, const ke__gguf *g, const char *key, bool fallback,
                        bool *out)
{
    const ke__gguf_kv *kv = ke__gguf_find(g, key);
    *out = fallback;
    if (!kv)
        return KE_OK;
    if (kv->type != KE__GGUF_BOOL)
        return wrong_type(cx, g, key, kv, "a bool");
    *out = *kv->value != 0;
    return KE_OK;
}

ke_status ke__gguf_string(ke_ctx *cx, const ke__gguf *g, const char *key, ke__gguf_str *out)
{
    const ke__gguf_kv *kv = ke__gguf_find(g, key);
    *out = (ke__gguf_str){0};
    if (!kv)
        return KE_OK;
    if (kv->type != KE__GGUF_STRING)
        return wrong_type(cx, g, key, kv, "a string");
    const uint8_t *cursor = kv->value;
    *out = ke__gguf_next_string(&cursor);
    return KE_OK;
}

ke__gguf_str ke__gguf_next_string(const uint8_t **cursor)
{
    ke__gguf_str s;
    memcpy(&s.bytes, *cursor, sizeof s.bytes);
    s.data = (const char *)*cursor + sizeof s.bytes;
    *cursor += sizeof s.bytes + s.bytes;
    return s;
}
