#include "patch/kinds.h"

#include <math.h>
#include <string.h>

static const ke__kind *const kinds[KE__PART_KINDS] = {
    [KE__PART_LOWRANK] = &ke__kind_lowrank,
    [KE__PART_DENSE] = &ke__kind_dense,
    [KE__PART_MEMORY] = &ke__kind_memory,
};

const ke__kind *ke__kind_of(ke__part_kind kind)
{
    return kinds[kind];
}

bool ke__kind_named(ke__part_kind *out, const char *name)
{
    for (size_t i = 0; i < KE__PART_KINDS; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            *out = (ke__part_kind)i;
            return true;
        }
    }
    return false;
}

/* --- writing ----------------------------------------------------------------------- */

ke_status ke__payload_add(ke_ctx *cx, ke__payload *out, json_t *entry, const char *key,
                          const void *data, size_t bytes)
{
    ke_status st = KE_OK;

    if (out->n == out->room) {
        size_t room = out->room ? 2 * out->room : 8;
        KE_TRY(ke__resize(cx, &out->blobs, room, sizeof *out->blobs));
        out->room = room;
    }
    KE_TRY(ke__json_put(cx, entry, key, json_integer((json_int_t)out->bytes)));
    out->blobs[out->n++] = (ke__blob){data, bytes};
    out->bytes += bytes;
done:
    return st;
}

ke_status ke__json_put(ke_ctx *cx, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) == 0)
        return KE_OK;
    return ke__fail(cx, KE_ENOMEM, key, "no memory for JSON, or a text that is not UTF-8");
}

/* --- reading ----------------------------------------------------------------------- */

ke_status ke__source_u64(ke_ctx *cx, const ke__source *src, const json_t *entry,
                         const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
    const json_t *value = json_object_get(entry, key);
    json_int_t n = json_integer_value(value); /* 0 if it is no integer */

    if (!json_is_integer(value) || n < 0 || (uint64_t)n < min || (uint64_t)n > max)
        return ke__fail(cx, KE_EFORMAT, src->path,
                        "\"%s\" in the header: expected a whole number in %llu..%llu", key,
                        (unsigned long long)min, (unsigned long long)max);
    *out = (uint64_t)n;
    return KE_OK;
}

ke_status ke__source_take(ke_ctx *cx, ke__source *src, const json_t *entry, const char *key,
                          uint64_t bytes, const uint8_t **out)
{
    ke_status st = KE_OK;

    KE_TRY(ke__source_u64(cx, src, entry, key, src->used, src->used, &(uint64_t){0}));
    if (bytes > src->bytes - src->used) {
        st = ke__fail(
            cx, KE_EFORMAT, src->path, "\"%s\" needs %llu bytes, the payload has %llu left",
            key, (unsigned long long)bytes, (unsigned long long)(src->bytes - src->used));
        goto done;
    }
    *out = src->data + src->used;
    src->used += bytes;
done:
    return st;
}

ke_status ke__source_f32(ke_ctx *cx, ke__source *src, const json_t *entry, const char *key,
                         uint64_t rows, uint64_t cols, float **out)
{
    ke_status st = KE_OK;
    const uint8_t *data = NULL;
    size_t n = 0, bytes = 0;

    *out = NULL;
    if (!ke__mul(&n, rows, cols) || !ke__mul(&bytes, n, sizeof(float))) {
        st = ke__fail(cx, KE_EFORMAT, src->path, "\"%s\": %llu x %llu numbers are too many",
                      key, (unsigned long long)rows, (unsigned long long)cols);
        goto done;
    }
    KE_TRY(ke__source_take(cx, src, entry, key, bytes, &data));
    KE_TRY(ke__alloc(cx, out, n, sizeof(float)));
    memcpy(*out, data, bytes);
    size_t bad = ke__first_bad(*out, n);
    if (bad < n) {
        st = ke__fail(cx, KE_EFORMAT, src->path, "\"%s\": number %zu of %zu is not finite",
                      key, bad, n);
        goto done;
    }
done:
    return st;
}

/* --- arrays ------------------------------------------------------------------------ */

size_t ke__first_bad(const float *x, size_t n)
{
    size_t i = 0;

    while (i < n && isfinite(x[i]))
        i++;
    return i;
}

ke_status ke__copy_f32(ke_ctx *cx, float **out, const float *x, uint64_t rows,
                       uint64_t cols)
{
    ke_status st = KE_OK;
    size_t n = 0;

    *out = NULL;
    if (!ke__mul(&n, rows, cols))
        n = SIZE_MAX; /* refused below */
    KE_TRY(ke__alloc(cx, out, n, sizeof(float)));
    memcpy(*out, x, n * sizeof(float));
done:
    return st;
}

ke_status ke__check_f32(ke_ctx *cx, const char *tensor, const char *what, const float *x,
                        uint64_t rows, uint64_t cols)
{
    size_t n = 0, bytes = 0;

    if (!ke__mul(&n, rows, cols) || !ke__mul(&bytes, n, sizeof(float)) || n == 0)
        return ke__fail(cx, KE_EINVAL, tensor, "%s of %llu x %llu: empty or too large",
                        what, (unsigned long long)rows, (unsigned long long)cols);
    size_t bad = ke__first_bad(x, n);
    if (bad < n)
        return ke__fail(cx, KE_ENUMERIC, tensor,
                        "%s [%llu, %llu] is not finite at [%llu, %llu]", what,
                        (unsigned long long)rows, (unsigned long long)cols,
                        (unsigned long long)(bad / cols), (unsigned long long)(bad % cols));
    return KE_OK;
}
