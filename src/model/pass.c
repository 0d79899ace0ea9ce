/* The pass: set-up of a run, and what is kept between runs. */
#include "model/pass_state.h"

#include <inttypes.h>
#include <string.h>

ke_status ke__slot_need(ke_ctx *cx, const ke_ops *ops, ke__slot *slot, size_t n)
{
    if (n <= slot->room && slot->buf)
        return KE_OK;
    if (slot->buf)
        ops->buf_free(cx, slot->buf);
    *slot = (ke__slot){NULL, 0};
    ke_status st = ops->buf_new(cx, &slot->buf, n ? n : 1);
    if (st == KE_OK)
        slot->room = n;
    return st;
}

static void slot_free(ke_ctx *cx, const ke_ops *ops, ke__slot *slot)
{
    if (slot->buf)
        ops->buf_free(cx, slot->buf);
    *slot = (ke__slot){NULL, 0};
}

ke__acts *ke__pass_acts(ke__pass *p, uint32_t layer)
{
    return p->in.keep && layer >= p->in.keep_from ? &p->acts[layer] : &p->shared;
}

const ke_ops *ke__pass_ops(const ke__pass *p)
{
    return p->ops;
}

ke_status ke__pass_new(ke_ctx *cx, ke__pass **out, const ke_model *model, const ke_ops *ops)
{
    ke_status st = KE_OK;
    ke__pass *p = NULL;
    *out = NULL;
    KE_TRY(ke__model_computable(cx, model));
    KE_TRY(ke__alloc(cx, &p, 1, sizeof *p));
    p->model = model;
    p->ops = ops;
    if (!ops)
        KE_TRY(ke__ops_get(cx, &p->ops));
    KE_TRY(ke__alloc(cx, &p->acts, (size_t)model->info.n_layers + 1, sizeof *p->acts));
    *out = p;
    p = NULL;
done:
    ke__pass_free(cx, p);
    return st;
}

void ke__pass_free(ke_ctx *cx, ke__pass *p)
{
    if (!p)
        return;
    for (uint32_t l = 0; p->acts && l <= p->model->info.n_layers; l++)
        for (int k = 0; k < A_COUNT; k++)
            slot_free(cx, p->ops, &p->acts[l].at[k]);
    for (int k = 0; k < A_COUNT; k++)
        slot_free(cx, p->ops, &p->shared.at[k]);
    for (int k = 0; k < W_COUNT; k++)
        slot_free(cx, p->ops, &p->work[k]);
    for (size_t i = 0; i < p->overs_room; i++) {
        slot_free(cx, p->ops, &p->over_old[i]);
        slot_free(cx, p->ops, &p->over_from[i]);
    }
    ke__free(cx, p->over_old);
    ke__free(cx, p->over_from);
    ke__kv_free(cx, p->own_kv);
    ke__free(cx, p->acts);
    ke__free(cx, p->ids);
    ke__free(cx, p->pos);
    ke__free(cx, p->cache_rows);
    ke__free(cx, p->spans);
    ke__free(cx, p);
}

static ke_status overlay_room(ke_ctx *cx, ke__pass *p)
{
    size_t n = p->in.edits ? p->in.edits->n_overlays : 0, old = p->overs_room;
    ke_status st = KE_OK;
    if (n <= old)
        return KE_OK;
    KE_TRY(ke__resize(cx, &p->over_old, n, sizeof *p->over_old));
    memset(p->over_old + old, 0, (n - old) * sizeof *p->over_old);
    KE_TRY(ke__resize(cx, &p->over_from, n, sizeof *p->over_from));
    memset(p->over_from + old, 0, (n - old) * sizeof *p->over_from);
    p->overs_room = n;
done:
    return st;
}

static ke_status check_seqs(ke_ctx *cx, ke__pass *p)
{
    const ke_model_info *i = &p->model->info;
    p->n_rows = 0;
    for (size_t s = 0; s < p->in.n_seqs; s++) {
        const ke__seq *q = &p->in.seqs[s];
        uint32_t before = q->shared  ? q->shared
                          : p->in.kv ? ke__kv_len(p->in.kv, q->slot)
                                     : 0;
        if (q->shared && (q->parent >= s || p->in.keep))
            return ke__fail(cx, KE_EINVAL, NULL,
                            "sequence %zu shares a prefix of sequence %" PRIu32
                            ": expected an earlier one, and no backward",
                            s, q->parent);
        if (q->n == 0)
            return ke__fail(cx, KE_EINVAL, "prompt", "sequence %zu is empty", s);
        if (q->n > i->n_context || before > i->n_context - q->n)
            return ke__fail(cx, KE_EINVAL, "prompt",
                            "%" PRIu64
                            " tokens are longer than the model's context of %" PRIu32,
                            (uint64_t)before + q->n, i->n_context);
        for (uint32_t t = 0; t < q->n; t++)
            if (q->ids[t] < 0 || (uint32_t)q->ids[t] >= i->n_vocab)
                return ke__fail(cx, KE_EINVAL, "prompt",
                                "token id %" PRId32
                                " is outside the vocabulary of %" PRIu32,
                                q->ids[t], i->n_vocab);
        p->n_rows += q->n;
    }
    return KE_OK;
}

static ke_status row_room(ke_ctx *cx, ke__pass *p)
{
    ke_status st = KE_OK;
    if (p->n_rows > p->rows_room) {
        KE_TRY(ke__resize(cx, &p->ids, p->n_rows, sizeof *p->ids));
        KE_TRY(ke__resize(cx, &p->pos, p->n_rows, sizeof *p->pos));
        KE_TRY(ke__resize(cx, &p->cache_rows, p->n_rows, sizeof *p->cache_rows));
        p->rows_room = p->n_rows;
    }
    if (p->in.n_seqs > p->spans_room) {
        KE_TRY(ke__resize(cx, &p->spans, p->in.n_seqs, sizeof *p->spans));
        p->spans_room = p->in.n_seqs;
    }
done:
    return st;
}

/* The pass's own cache has a slot for each sequence of the batch. */
static uint32_t slot_of(const ke__pass *p, uint32_t seq)
{
    return p->in.kv ? p->in.seqs[seq].slot : seq;
}

/* Give every sequence its cache rows and positions. */
static ke_status place(ke_ctx *cx, ke__pass *p)
{
    ke_status st = KE_OK;
    size_t row = 0;
    if (!p->in.kv) {
        if (!p->own_kv)
            KE_TRY(ke__kv_new(cx, &p->own_kv, p->model, p->ops, p->in.n_seqs));
        KE_TRY(ke__kv_slots(cx, p->own_kv, p->in.n_seqs));
        for (uint32_t s = 0; s < p->own_kv->n_slots; s++)
            ke__kv_truncate(cx, p->own_kv, s, 0);
    }
    p->kv = p->in.kv ? p->in.kv : p->own_kv;
    KE_TRY(ke__kv_reserve(cx, p->kv, p->n_rows));
    for (size_t s = 0; s < p->in.n_seqs; s++) {
        const ke__seq *q = &p->in.seqs[s];
        uint32_t slot = slot_of(p, (uint32_t)s);
        KE_TRY(ke__kv_slots(cx, p->kv, (size_t)slot + 1));
        if (q->shared)
            KE_TRY(ke__kv_fork(cx, p->kv, slot, slot_of(p, q->parent), q->shared));
        uint32_t before = ke__kv_len(p->kv, slot);
        p->spans[s] = (ke__span){.row0 = (uint32_t)row, .n = q->n, .pos0 = before};
        KE_TRY(ke__kv_extend(cx, p->kv, slot, q->n));
        p->n_placed++;
        for (uint32_t t = 0; t < q->n; t++, row++) {
            p->ids[row] = q->ids[t];
            p->pos[row] = (int32_t)(before + t);
            p->cache_rows[row] = p->kv->slots[slot].rows[before + t];
        }
    }
    /* Slots may have moved while later ones grew: point at their rows last. */
    for (size_t s = 0; s < p->in.n_seqs; s++)
        p->spans[s].keys = p->kv->slots[p->in.kv ? p->in.seqs[s].slot : (uint32_t)s].rows;
done:
    return st;
}

/* A failed run leaves the cache as it was. */
static void unplace(ke_ctx *cx, ke__pass *p)
{
    for (size_t s = 0; s < p->n_placed; s++) {
        uint32_t slot = slot_of(p, (uint32_t)s);
        ke__kv_truncate(cx, p->kv, slot, p->spans[s].pos0);
    }
}

/* A change that a merge would write but no product sees must not pass for none. */
static ke_status check_terms(ke_ctx *cx, const ke__pass *p)
{
    const ke_stack *edits = p->in.edits;
    for (size_t i = 0; edits && i < edits->n_terms; i++) {
        uint32_t tensor = edits->terms[i].tensor;
        const char *name = p->model->file.tensors[tensor].name;
        if (!ke__model_takes_terms(p->model, tensor))
            return ke__fail(
                cx, KE_ENOTSUP, name,
                "a patch changes \"%s\": a pass sees changes of layers' matrices, "
                "and of an output matrix that is not the embedding too",
                name);
    }
    return KE_OK;
}

ke_status ke__pass_run(ke_ctx *cx, ke__pass *p, const ke__pass_in *in)
{
    ke_status st = KE_OK;
    p->in = *in;
    p->ran = false;
    p->n_placed = 0;
    p->end_layer = in->end_layer ? in->end_layer : p->model->info.n_layers;
    if (in->n_out && (p->end_layer < p->model->info.n_layers || in->last_site))
        return ke__fail(cx, KE_EINVAL, NULL, "logits asked of a pass that stops early");
    if (in->first_layer >= p->end_layer || (in->first_layer > 0 && !in->resid_in))
        return ke__fail(cx, KE_EINVAL, NULL, "a pass from layer %" PRIu32 " to %" PRIu32,
                        in->first_layer, p->end_layer);
    KE_TRY(check_seqs(cx, p));
    KE_TRY(check_terms(cx, p));
    if (p->n_rows == 0) {
        p->ran = true;
        goto done;
    }
    KE_TRY(row_room(cx, p));
    KE_TRY(overlay_room(cx, p));
    KE_TRY(place(cx, p));
    KE_TRY(ke__pass_forward(cx, p));
    if (in->keep && in->n_out) {
        size_t n = in->n_out * p->model->info.d_model;
        KE_TRY(ke__slot_need(cx, p->ops, &p->work[W_DFINAL], n));
        KE_TRY(p->ops->zero(cx, p->work[W_DFINAL].buf, 0, n));
    }
    p->ran = true;
done:
    if (st != KE_OK)
        unplace(cx, p);
    return st;
}

uint64_t ke__pass_bytes(const ke_model *m, size_t n_rows, size_t n_out, bool keep,
                        uint32_t keep_from)
{
    const ke_model_info *i = &m->info;
    uint64_t d = i->d_model, f = i->d_ffn, q = (uint64_t)i->n_heads * i->head_dim;
    uint64_t acts = 6 * d + 3 * f + 2 * q + i->n_heads + (m->arch->post_norms ? 2 * d : 0) +
                    (m->arch->qk_norm ? q + m->kv_dim : 0);
    uint64_t sets = keep ? i->n_layers - (keep_from < i->n_layers ? keep_from : 0) + 1 : 1;
    uint64_t work = 6 * d + 3 * f + 3 * q + 6 * (uint64_t)m->kv_dim;
    uint64_t cache = 2 * (uint64_t)i->n_layers * m->kv_dim;
    uint64_t block = n_out < 32 ? n_out : 32;
    return 4 * (n_rows * (acts * sets + work + cache) + n_out * 4 * d +
                block * 2 * (uint64_t)i->n_vocab);
}

ke_status ke__pass_fits(ke_ctx *cx, const ke_model *m, size_t n_rows, size_t n_out,
                        size_t kept)
{
    uint64_t limit = ke__memory_limit(cx);
    uint64_t need = ke__pass_bytes(m, n_rows, n_out, false, 0) +
                    (uint64_t)kept * 2 * m->info.n_layers * m->kv_dim * sizeof(float) +
                    (uint64_t)n_out * m->info.n_vocab * sizeof(float);
    if (!limit || need <= limit)
        return KE_OK;
    uint64_t kilo = (need + 1023) >> 10;
    return ke__fail(cx, KE_ELIMIT, "mem-limit",
                    "this needs %" PRIu64 "K of memory, the limit is %" PRIu64 "K: %" PRIu64
                    "K would do",
                    kilo, limit >> 10, kilo);
}
