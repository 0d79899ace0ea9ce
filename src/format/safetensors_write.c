#include "base/json.h"
#include "format/safetensors.h"

#include <string.h>

static const ke__safe_change *change_of(const ke__safe_change *changes, size_t n,
                                        size_t tensor)
{
    for (size_t i = 0; i < n; i++)
        if (changes[i].tensor == tensor)
            return &changes[i];
    return NULL;
}

static const char *dtype_name(const ke__dtype_traits *type)
{
    return type->id == KE__F32    ? "F32"
           : type->id == KE__F16  ? "F16"
           : type->id == KE__BF16 ? "BF16"
                                  : "F64";
}

/* entry := the tensor as it will be; data begins at *at, which moves on. */
static bool move_entry(json_t *entry, const ke__safe_tensor *t, const ke__safe_change *c,
                       uint64_t *at)
{
    uint64_t end = *at + (c ? c->bytes : t->bytes);
    bool ok = ke__json_set(entry, "data_offsets",
                           json_pack("[I, I]", (json_int_t)*at, (json_int_t)end));
    if (c)
        ok = ke__json_set(entry, "dtype", json_string(dtype_name(c->type))) && ok;
    *at = end;
    return ok;
}

/* The header's JSON with everything changed; its entries keep their order. */
static ke_status new_header(ke_ctx *cx, char **out, const ke__safetensors *s, size_t shard,
                            const ke__safe_change *changes, size_t n_changes,
                            const ke__safe_stamp *stamps, size_t n_stamps)
{
    const ke__safe_shard *from = &s->shards[shard];
    json_t *header = json_deep_copy(from->header);
    json_t *metadata = json_object_get(header, "__metadata__");
    uint64_t at = 0;
    bool ok = json_equal(header, from->header) != 0; /* copies may lack members */
    if (ok && !metadata && n_stamps > 0) {
        ok = ke__json_set(header, "__metadata__", json_object());
        metadata = json_object_get(header, "__metadata__");
    }
    for (size_t i = 0; ok && i < n_stamps; i++)
        ok = ke__json_set(metadata, stamps[i].key, ke__json_string(stamps[i].text));
    for (size_t i = from->first; ok && i < from->first + from->n; i++)
        ok = move_entry(json_object_get(header, s->tensors[i].name), &s->tensors[i],
                        change_of(changes, n_changes, i), &at);
    ke_status st = ke__json_text(cx, out, ok ? header : NULL, 17);
    json_decref(header);
    return st;
}

static ke_status put(ke_ctx *cx, ke__out *out, const void *data, uint64_t bytes)
{
    enum { STEP = 4 << 20 };
    ke_status st = KE_OK;
    for (const uint8_t *from = data; bytes > 0;) {
        size_t step = bytes < STEP ? bytes : STEP;
        KE_TRY(ke__check_cancel(cx));
        KE_TRY(ke__out_write(cx, out, from, step));
        from += step;
        bytes -= step;
    }
done:
    return st;
}

/* The length, and the text filled up with blanks so that the data stays aligned. */
static ke_status put_header(ke_ctx *cx, ke__out *out, const char *text)
{
    ke_status st = KE_OK;
    uint64_t bytes = strlen(text), padded = (bytes + 7) & ~(uint64_t)7;
    KE_TRY(ke__out_write(cx, out, &padded, sizeof padded));
    KE_TRY(ke__out_write(cx, out, text, bytes));
    KE_TRY(ke__out_write(cx, out, "        ", padded - bytes));
done:
    return st;
}

ke_status ke__safetensors_write(ke_ctx *cx, ke__out *out, const ke__safetensors *s,
                                size_t shard, const ke__safe_change *changes,
                                size_t n_changes, const ke__safe_stamp *stamps,
                                size_t n_stamps)
{
    ke_status st = KE_OK;
    const ke__safe_shard *from = &s->shards[shard];
    char *header = NULL;
    bool same = n_stamps == 0;
    for (size_t i = 0; i < n_changes; i++) {
        const ke__safe_tensor *t = &s->tensors[changes[i].tensor];
        same = same && (t->shard != shard || t->type == changes[i].type);
    }
    if (same) {
        KE_TRY(put(cx, out, from->data, from->data_offset));
    } else {
        KE_TRY(new_header(cx, &header, s, shard, changes, n_changes, stamps, n_stamps));
        KE_TRY(put_header(cx, out, header));
    }
    for (size_t i = from->first; i < from->first + from->n; i++) {
        const ke__safe_change *c = change_of(changes, n_changes, i);
        const ke__safe_tensor *t = &s->tensors[i];
        KE_TRY(put(cx, out, c ? c->data : t->data, c ? c->bytes : t->bytes));
    }
done:
    ke__free(cx, header);
    return st;
}
