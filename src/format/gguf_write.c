#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

/* An output that a GGUF file is written to, perhaps not at its first byte; or memory. */
typedef struct writer {
    ke_ctx *cx;
    ke__out *out;
    uint64_t start;
    ke__text *text; /* instead of out */
} writer;

static uint64_t position(const writer *w)
{
    return w->text ? w->text->bytes : w->out->bytes - w->start;
}

static ke_status emit(writer *w, const void *data, size_t bytes)
{
    return w->text ? ke__text_add(w->cx, w->text, data, bytes)
                   : ke__out_write(w->cx, w->out, data, bytes);
}

/* In pieces, so that a caller who asks to stop is heard. */
static ke_status put(writer *w, const void *data, uint64_t bytes)
{
    enum { STEP = 4 << 20 };
    ke_status st = KE_OK;
    const char *from = data;
    while (bytes > 0) {
        size_t step = bytes < STEP ? bytes : STEP;
        KE_TRY(ke__check_cancel(w->cx));
        KE_TRY(emit(w, from, step));
        from += step;
        bytes -= step;
    }
done:
    return st;
}

static ke_status put_u32(writer *w, uint32_t value)
{
    return emit(w, &value, sizeof value);
}

static ke_status put_u64(writer *w, uint64_t value)
{
    return emit(w, &value, sizeof value);
}

static ke_status put_string(writer *w, const char *text)
{
    ke_status st = put_u64(w, strlen(text));
    return st == KE_OK ? put(w, text, strlen(text)) : st;
}

static ke_status put_padding(writer *w, uint32_t alignment)
{
    static const char zeros[64];
    ke_status st = KE_OK;
    uint64_t left = -position(w) & (alignment - 1);
    while (left > 0 && st == KE_OK) {
        size_t step = left < sizeof zeros ? left : sizeof zeros;
        st = emit(w, zeros, step);
        left -= step;
    }
    return st;
}

static ke_status put_header(writer *w, uint32_t version, uint64_t n_tensors, uint64_t n_kvs)
{
    ke_status st = KE_OK;
    KE_TRY(put(w, "GGUF", 4));
    KE_TRY(put_u32(w, version));
    KE_TRY(put_u64(w, n_tensors));
    KE_TRY(put_u64(w, n_kvs));
done:
    return st;
}

static ke_status put_strings(writer *w, const char *const *items, size_t n)
{
    ke_status st = KE_OK;
    KE_TRY(put_u32(w, KE__GGUF_STRING));
    KE_TRY(put_u64(w, n));
    for (size_t i = 0; i < n; i++)
        KE_TRY(put_string(w, items[i]));
done:
    return st;
}

static ke_status put_info(writer *w, const char *name, uint32_t n_dims,
                          const uint64_t *dims, const ke__dtype_traits *type,
                          uint64_t offset)
{
    ke_status st = KE_OK;
    KE_TRY(put_string(w, name));
    KE_TRY(put_u32(w, n_dims));
    KE_TRY(put(w, dims, n_dims * sizeof *dims));
    KE_TRY(put_u32(w, type->id));
    KE_TRY(put_u64(w, offset));
done:
    return st;
}

static uint64_t aligned(uint64_t bytes, uint32_t alignment)
{
    return (bytes + alignment - 1) & -(uint64_t)alignment;
}

/* --- a changed copy ----------------------------------------------------------------- */

static ke_status put_stamp(writer *w, const ke__gguf_stamp *stamp)
{
    ke_status st = KE_OK;
    KE_TRY(put_string(w, stamp->key));
    KE_TRY(put_u32(w, stamp->array ? KE__GGUF_ARRAY : KE__GGUF_STRING));
    if (stamp->array)
        KE_TRY(put_strings(w, stamp->items, stamp->n));
    else
        KE_TRY(put_string(w, stamp->items[0]));
done:
    return st;
}

static bool is_stamped(const ke__gguf_kv *kv, const ke__gguf_stamp *stamps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(stamps[i].key) == kv->key.bytes &&
            memcmp(stamps[i].key, kv->key.data, kv->key.bytes) == 0)
            return true;
    return false;
}

static ke_status check_request(ke_ctx *cx, const ke__gguf *g,
                               const ke__gguf_change *changes, size_t n_changes,
                               const ke__gguf_stamp *stamps, size_t n_stamps)
{
    size_t row_bytes;
    for (size_t i = 0; i < n_changes; i++) {
        const ke__gguf_change *c = &changes[i];
        if (c->tensor >= g->n_tensors || (i > 0 && c->tensor <= changes[i - 1].tensor))
            return ke__fail(cx, KE_EINVAL, g->map.path,
                            "change %zu is of tensor %zu: below %zu and rising expected", i,
                            c->tensor, g->n_tensors);
        const ke__tensor *t = &g->tensors[c->tensor];
        if (!ke__row_bytes(&row_bytes, c->type, t->cols))
            return ke__fail(cx, KE_EINVAL, t->name,
                            "rows of %llu elements cannot be stored as %s, which takes "
                            "multiples of %u",
                            (ull)t->cols, c->type->name, c->type->block);
    }
    for (size_t i = 0; i < n_stamps; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(stamps[i].key, stamps[j].key) == 0)
                return ke__fail(cx, KE_EINVAL, stamps[i].key, "the key is stamped twice");
    return KE_OK;
}

static int compare_change(const void *tensor, const void *change)
{
    size_t a = *(const size_t *)tensor, b = ((const ke__gguf_change *)change)->tensor;
    return (a > b) - (a < b);
}

static const ke__gguf_change *change_of(size_t tensor, const ke__gguf_change *changes,
                                        size_t n)
{
    return n ? bsearch(&tensor, changes, n, sizeof *changes, compare_change) : NULL;
}

static uint64_t changed_bytes(const ke__tensor *t, const ke__gguf_change *c)
{
    size_t row_bytes = 0;
    ke__row_bytes(&row_bytes, c->type, t->cols);
    return t->rows * row_bytes;
}

/* A tensor's slot runs from its data to the next tensor's, or to the end of the file. Of
 * several files, what lies between the tensors is not kept. */
static uint64_t slot_bytes(const ke__gguf *g, size_t rank)
{
    const ke__tensor *t = &g->tensors[g->by_offset[rank]];
    if (g->joined)
        return aligned(t->bytes, g->alignment);
    uint64_t end =
        rank + 1 < g->n_tensors ? g->tensors[g->by_offset[rank + 1]].offset : g->map.bytes;
    return end - t->offset;
}

/* Where the first tensor's data lies; what is before it in the data is kept too. */
static uint64_t first_offset(const ke__gguf *g)
{
    if (g->joined)
        return g->data_offset;
    return g->n_tensors ? g->tensors[g->by_offset[0]].offset : g->map.bytes;
}

/* Offsets of all tensors in the new data. A tensor that keeps its size keeps its slot, with
 * whatever lies behind it; so the offsets change only where they must. */
static void place(const ke__gguf *g, const ke__gguf_change *changes, size_t n_changes,
                  uint64_t *offsets)
{
    uint64_t at = first_offset(g) - g->data_offset;
    for (size_t rank = 0; rank < g->n_tensors; rank++) {
        size_t i = g->by_offset[rank];
        const ke__gguf_change *c = change_of(i, changes, n_changes);
        uint64_t bytes = c ? changed_bytes(&g->tensors[i], c) : g->tensors[i].bytes;
        offsets[i] = at;
        at += bytes == g->tensors[i].bytes ? slot_bytes(g, rank)
                                           : aligned(bytes, g->alignment);
    }
}

static ke_status put_data(writer *w, const ke__gguf *g, const ke__gguf_change *changes,
                          size_t n_changes)
{
    ke_status st = KE_OK;
    KE_TRY(put(w, g->map.data + g->data_offset, first_offset(g) - g->data_offset));
    for (size_t rank = 0; rank < g->n_tensors; rank++) {
        const ke__tensor *t = &g->tensors[g->by_offset[rank]];
        const ke__gguf_change *c = change_of(g->by_offset[rank], changes, n_changes);
        uint64_t slot = slot_bytes(g, rank), bytes = c ? changed_bytes(t, c) : t->bytes;
        KE_TRY(put(w, c ? c->data : t->data, bytes));
        if (bytes == t->bytes && !g->joined)
            KE_TRY(put(w, t->data + bytes, slot - bytes));
        else
            KE_TRY(put_padding(w, g->alignment));
    }
done:
    return st;
}

ke_status ke__gguf_write(ke_ctx *cx, ke__out *out, const ke__gguf *g,
                         const ke__gguf_change *changes, size_t n_changes,
                         const ke__gguf_stamp *stamps, size_t n_stamps)
{
    ke_status st = KE_OK;
    writer w = {cx, out, out->bytes, NULL};
    uint64_t *offsets = NULL;
    size_t n_kept = 0;
    if (n_changes == 0 && n_stamps == 0 && !g->joined)
        return put(&w, g->map.data, g->map.bytes);
    KE_TRY(check_request(cx, g, changes, n_changes, stamps, n_stamps));
    KE_TRY(ke__alloc(cx, &offsets, g->n_tensors, sizeof *offsets));
    place(g, changes, n_changes, offsets);

    for (size_t i = 0; i < g->n_kvs; i++)
        n_kept += !is_stamped(&g->kvs[i], stamps, n_stamps);
    KE_TRY(put_header(&w, g->version, g->n_tensors, n_kept + n_stamps));
    for (size_t i = 0; i < g->n_kvs; i++)
        if (!is_stamped(&g->kvs[i], stamps, n_stamps))
            KE_TRY(put(&w, g->map.data + g->kvs[i].offset, g->kvs[i].bytes));
    for (size_t i = 0; i < n_stamps; i++)
        KE_TRY(put_stamp(&w, &stamps[i]));
    for (size_t i = 0; i < g->n_tensors; i++) {
        const ke__tensor *t = &g->tensors[i];
        const ke__gguf_change *c = change_of(i, changes, n_changes);
        KE_TRY(
            put_info(&w, t->name, t->n_dims, t->dims, c ? c->type : t->type, offsets[i]));
    }
    KE_TRY(put_padding(&w, g->alignment));
    KE_TRY(put_data(&w, g, changes, n_changes));
done:
    ke__free(cx, offsets);
    return st;
}

/* --- a new file ----------------------------------------------------------------------- */

static ke_status put_array(writer *w, const ke__gguf_new_kv *kv)
{
    ke_status st = KE_OK;
    if (kv->strings)
        return put_strings(w, kv->strings, kv->n);
    KE_TRY(put_u32(w, kv->floats ? KE__GGUF_F32 : KE__GGUF_I32));
    KE_TRY(put_u64(w, kv->n));
    if (kv->floats)
        KE_TRY(put(w, kv->floats, kv->n * sizeof *kv->floats));
    else
        KE_TRY(put(w, kv->ints, kv->n * sizeof *kv->ints));
done:
    return st;
}

static ke_status put_kv(writer *w, const ke__gguf_new_kv *kv)
{
    static const uint8_t int_bytes[] = {1, 1, 2, 2, 4, 4, 0, 1, 0, 0, 8, 8};
    ke_status st = KE_OK;
    float narrow = (float)kv->value.f;
    KE_TRY(put_string(w, kv->key));
    KE_TRY(put_u32(w, kv->type));
    if (kv->type == KE__GGUF_ARRAY)
        KE_TRY(put_array(w, kv));
    else if (kv->type == KE__GGUF_STRING)
        KE_TRY(put_string(w, kv->value.s));
    else if (kv->type == KE__GGUF_F32)
        KE_TRY(put(w, &narrow, sizeof narrow));
    else if (kv->type == KE__GGUF_F64)
        KE_TRY(put(w, &kv->value.f, sizeof kv->value.f));
    else
        KE_TRY(put(w, &kv->value.u, int_bytes[kv->type]));
done:
    return st;
}

ke_status ke__gguf_keys(ke_ctx *cx, ke__text *out, const ke__gguf_new_kv *kvs, size_t n)
{
    ke_status st = KE_OK;
    writer w = {.cx = cx, .text = out};
    KE_TRY(put_header(&w, 3, 0, n));
    for (size_t i = 0; i < n; i++)
        KE_TRY(put_kv(&w, &kvs[i]));
done:
    return st;
}

static ke_status new_tensor_bytes(ke_ctx *cx, const ke__gguf_new_tensor *t, size_t *bytes)
{
    size_t row_bytes;
    if (ke__row_bytes(&row_bytes, t->type, t->cols) &&
        ke__mul(bytes, row_bytes, t->rows ? t->rows : 1))
        return KE_OK;
    return ke__fail(cx, KE_EINVAL, t->name, "[%llu, %llu] elements cannot be stored as %s",
                    (ull)t->rows, (ull)t->cols, t->type->name);
}

static ke_status put_new_tensors(writer *w, const ke__gguf_new_tensor *tensors, size_t n,
                                 uint32_t alignment)
{
    ke_status st = KE_OK;
    uint64_t offset = 0;
    size_t bytes;
    for (size_t i = 0; i < n; i++) {
        const ke__gguf_new_tensor *t = &tensors[i];
        uint64_t dims[2] = {t->cols, t->rows};
        KE_TRY(new_tensor_bytes(w->cx, t, &bytes));
        KE_TRY(put_info(w, t->name, t->rows ? 2 : 1, dims, t->type, offset));
        offset += aligned(bytes, alignment);
    }
    KE_TRY(put_padding(w, alignment));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(new_tensor_bytes(w->cx, &tensors[i], &bytes));
        KE_TRY(put(w, tensors[i].data, bytes));
        KE_TRY(put_padding(w, alignment));
    }
done:
    return st;
}

ke_status ke__gguf_create(ke_ctx *cx, const char *path, const ke__gguf_new_kv *kvs,
                          size_t n_kvs, const ke__gguf_new_tensor *tensors,
                          size_t n_tensors)
{
    ke_status st = KE_OK;
    uint32_t alignment = 32;
    ke__out out;
    KE_TRY(ke__out_open(cx, &out, path, true));
    writer w = {cx, &out, 0, NULL};
    KE_TRY(put_header(&w, 3, n_tensors, n_kvs));
    for (size_t i = 0; i < n_kvs; i++) {
        if (strcmp(kvs[i].key, "general.alignment") == 0)
            alignment = (uint32_t)kvs[i].value.u;
        KE_TRY(put_kv(&w, &kvs[i]));
    }
    KE_TRY(put_new_tensors(&w, tensors, n_tensors, alignment));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}
