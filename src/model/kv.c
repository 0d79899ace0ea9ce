/* Key-value cache with rows shared between slots. */
#include "model/kv.h"

#include <string.h>

ke_status ke__kv_new(ke_ctx *cx, ke__kv **out, const ke_model *model, const ke_ops *ops,
                     size_t n_slots)
{
    ke_status st = KE_OK;
    ke__kv *kv = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &kv, 1, sizeof *kv));
    kv->model = model;
    kv->ops = ops ? ops : ke__ops_pick(cx);
    KE_TRY(ke__alloc(cx, &kv->k, model->info.n_layers, sizeof *kv->k));
    KE_TRY(ke__alloc(cx, &kv->v, model->info.n_layers, sizeof *kv->v));
    KE_TRY(ke__kv_slots(cx, kv, n_slots));
    *out = kv;
    kv = NULL;
done:
    ke__kv_free(cx, kv);
    return st;
}

void ke__kv_free(ke_ctx *cx, ke__kv *kv)
{
    if (!kv)
        return;
    for (uint32_t l = 0; l < kv->model->info.n_layers; l++) {
        if (kv->k && kv->k[l])
            kv->ops->buf_free(cx, kv->k[l]);
        if (kv->v && kv->v[l])
            kv->ops->buf_free(cx, kv->v[l]);
    }
    for (size_t s = 0; s < kv->n_slots; s++)
        ke__free(cx, kv->slots[s].rows);
    ke__free(cx, kv->slots);
    ke__free(cx, kv->k);
    ke__free(cx, kv->v);
    ke__free(cx, kv->users);
    ke__free(cx, kv->free);
    ke__free(cx, kv);
}

ke_status ke__kv_slots(ke_ctx *cx, ke__kv *kv, size_t n)
{
    if (n <= kv->n_slots)
        return KE_OK;
    ke_status st = ke__resize(cx, &kv->slots, n, sizeof *kv->slots);
    if (st != KE_OK)
        return st;
    memset(kv->slots + kv->n_slots, 0, (n - kv->n_slots) * sizeof *kv->slots);
    kv->n_slots = n;
    return KE_OK;
}

/* One layer's cache to `rows` rows, the first `used` of them copied. */
static ke_status regrow(ke_ctx *cx, ke__kv *kv, ke_buf **io, size_t used, size_t rows)
{
    ke_buf *grown = NULL;
    ke_status st = kv->ops->buf_new(cx, &grown, rows * kv->model->kv_dim);
    if (st != KE_OK)
        return st;
    if (used)
        st = kv->ops->copy(cx, grown, 0, *io, 0, used * kv->model->kv_dim);
    if (st == KE_OK) {
        if (*io)
            kv->ops->buf_free(cx, *io);
        *io = grown;
    } else {
        kv->ops->buf_free(cx, grown);
    }
    return st;
}

ke_status ke__kv_reserve(ke_ctx *cx, ke__kv *kv, size_t n)
{
    ke_status st = KE_OK;
    if (n <= kv->n_free)
        return KE_OK;
    size_t old = kv->rows_room, rows = old + (n - kv->n_free), doubled = 2 * old;
    rows = rows > doubled ? rows : doubled;
    if (rows > INT32_MAX)
        return ke__fail(cx, KE_EINVAL, NULL, "a cache of %zu positions is too large", rows);
    KE_TRY(ke__resize(cx, &kv->users, rows, sizeof *kv->users));
    KE_TRY(ke__resize(cx, &kv->free, rows, sizeof *kv->free));
    for (uint32_t l = 0; l < kv->model->info.n_layers; l++) {
        KE_TRY(regrow(cx, kv, &kv->k[l], old, rows));
        KE_TRY(regrow(cx, kv, &kv->v[l], old, rows));
    }
    for (size_t r = rows; r > old; r--) {
        kv->users[r - 1] = 0;
        kv->free[kv->n_free++] = (int32_t)(r - 1);
    }
    kv->rows_room = rows;
done:
    return st;
}

static ke_status slot_room(ke_ctx *cx, ke__kv_slot *s, uint32_t len)
{
    if (len <= s->room)
        return KE_OK;
    uint32_t room = len > 2 * s->room ? len : 2 * s->room;
    ke_status st = ke__resize(cx, &s->rows, room, sizeof *s->rows);
    if (st == KE_OK)
        s->room = room;
    return st;
}

ke_status ke__kv_extend(ke_ctx *cx, ke__kv *kv, uint32_t slot, uint32_t n)
{
    ke_status st = KE_OK;
    ke__kv_slot *s = &kv->slots[slot];
    KE_TRY(ke__kv_reserve(cx, kv, n));
    KE_TRY(slot_room(cx, s, s->len + n));
    for (uint32_t i = 0; i < n; i++) {
        int32_t row = kv->free[--kv->n_free];
        kv->users[row] = 1;
        s->rows[s->len++] = row;
    }
done:
    return st;
}

uint32_t ke__kv_len(const ke__kv *kv, uint32_t slot)
{
    return slot < kv->n_slots ? kv->slots[slot].len : 0;
}

void ke__kv_truncate(ke_ctx *cx, ke__kv *kv, uint32_t slot, uint32_t len)
{
    (void)cx;
    if (slot >= kv->n_slots)
        return;
    ke__kv_slot *s = &kv->slots[slot];
    while (s->len > len) {
        int32_t row = s->rows[--s->len];
        if (--kv->users[row] == 0)
            kv->free[kv->n_free++] = row;
    }
}

ke_status ke__kv_fork(ke_ctx *cx, ke__kv *kv, uint32_t dst, uint32_t src, uint32_t len)
{
    ke_status st = KE_OK;
    KE_TRY(ke__kv_slots(cx, kv, (size_t)(dst > src ? dst : src) + 1));
    if (dst == src || len > kv->slots[src].len)
        return ke__fail(cx, KE_EINVAL, NULL,
                        "fork of %u positions of slot %u, which holds %u, into slot %u",
                        len, src, kv->slots[src].len, dst);
    KE_TRY(slot_room(cx, &kv->slots[dst], len));
    ke__kv_truncate(cx, kv, dst, 0);
    for (uint32_t i = 0; i < len; i++) {
        int32_t row = kv->slots[src].rows[i];
        kv->users[row]++;
        kv->slots[dst].rows[i] = row;
    }
    kv->slots[dst].len = len;
done:
    return st;
}
