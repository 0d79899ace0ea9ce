/* The key-value cache inside: what the pass writes and attention reads. */
#ifndef KE_MODEL_KV_H
#define KE_MODEL_KV_H

#include "model/pass.h"

/* Cache rows are handed out to positions; a row may serve several slots (forks). */
typedef struct ke__kv_slot {
    int32_t *rows; /* [room]: cache row of each position */
    uint32_t len, room;
} ke__kv_slot;

struct ke__kv {
    const ke_model *model;
    const ke_ops *ops;
    ke_buf **k, **v; /* [L] of [rows_room, kv_dim] */
    uint32_t *users; /* [rows_room] slots that hold a row; 0: free */
    int32_t *free;   /* [n_free] rows to hand out, last first */
    size_t n_free, rows_room;
    ke__kv_slot *slots;
    size_t n_slots;
};

/* Append `n` positions to a slot and give them rows. */
KE_MUST_CHECK ke_status ke__kv_extend(ke_ctx *cx, ke__kv *kv, uint32_t slot, uint32_t n);
/* Make room for n more rows in all, so that a batch grows the cache once. */
KE_MUST_CHECK ke_status ke__kv_reserve(ke_ctx *cx, ke__kv *kv, size_t n);
/* At least n slots. */
KE_MUST_CHECK ke_status ke__kv_slots(ke_ctx *cx, ke__kv *kv, size_t n);

#endif
