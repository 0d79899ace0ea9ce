/* Merging, as byte-level BPE and SentencePiece do it: a heap of the pairs that may merge.
 */
#include "token/tokenizer.h"

#define NO_RANK UINT32_MAX

typedef struct search {
    ke__merge_fn find;
    const void *payload;
    uint32_t n;
} search;

/* --- a heap of merges to do: rank << 32 | symbol, smallest first ------------------- */

static void heap_push(ke__merger *m, uint64_t key)
{
    size_t i = m->n_heap++;
    for (; i > 0 && m->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = key;
}

static uint64_t heap_pop(ke__merger *m)
{
    uint64_t top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->n_heap; i = child) {
        if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return top;
}

/* --- merging --------------------------------------------------------------------- */

/* Look up what symbol i and its successor make, and queue it. */
static void consider(ke__merger *m, const search *s, uint32_t i)
{
    ke__symbol *left = &m->symbols[i];
    if (left->next < s->n && s->find(s->payload, m->symbols, left))
        heap_push(m, (uint64_t)left->rank << 32 | i);
    else
        left->rank = NO_RANK;
}

ke_status ke__merge_all(ke_ctx *cx, ke__merger *m, uint32_t n, ke__merge_fn find,
                        const void *payload)
{
    ke_status st = KE_OK;
    const search s = {find, payload, n};
    m->n_heap = 0;
    for (uint32_t i = 0; i < n; i = m->symbols[i].next)
        consider(m, &s, i);
    for (size_t step = 1; m->n_heap > 0; step++) {
        if (step % ((size_t)1 << 20) == 0)
            KE_TRY(ke__check_cancel(cx));
        uint64_t key = heap_pop(m);
        uint32_t i = (uint32_t)key;
        ke__symbol *left = &m->symbols[i];
        /* One of the two has changed since. (If they have and rank the same again, this
         * pair was queued with the same key, so either entry will do.) */
        if (left->rank != key >> 32)
            continue;
        ke__symbol *right = &m->symbols[left->next];
        right->rank = NO_RANK;
        left->id = left->result;
        left->next = right->next;
        if (left->next < n)
            m->symbols[left->next].prev = i;
        consider(m, &s, i);
        if (i > 0)
            consider(m, &s, left->prev);
    }
done:
    return st;
}

ke_status ke__merger_reserve(ke_ctx *cx, ke__merger *m, size_t n)
{
    ke_status st = KE_OK;
    if (n <= m->room)
        return KE_OK;
    size_t room = n < 256 ? 256 : n + n / 2;
    KE_TRY(ke__resize(cx, &m->symbols, room, sizeof *m->symbols));
    /* A word of n bytes queues n - 1 pairs, and each of its merges, at most n - 1, takes
     * one off and puts two on at most. */
    KE_TRY(ke__resize(cx, &m->heap, room, 2 * sizeof *m->heap));
    m->room = room;
done:
    return st;
}

void ke__merger_free(ke_ctx *cx, ke__merger *m)
{
    ke__free(cx, m->symbols);
    ke__free(cx, m->heap);
}

/* --- merges by the ids of a pair ---------------------------------------------------- */

static ke__merge *slot_of(const ke__merges *m, uint32_t left, uint32_t right)
{
    uint64_t h = (((uint64_t)left << 32 | right) ^ m->hash_seed) * 0x9E3779B97F4A7C15U;
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15U;
    for (size_t i = h >> 32;; i++) {
        ke__merge *slot = &m->slots[i & m->mask];
        if (slot->rank_plus_1 == 0 || (slot->left == left && slot->right == right))
            return slot;
    }
}

ke_status ke__merges_reserve(ke_ctx *cx, ke__merges *m, const char *key, uint64_t n)
{
    ke_status st = KE_OK;
    size_t slots = 0;
    KE_TRY(ke__table_room(cx, key, n, &slots));
    KE_TRY(ke__alloc(cx, &m->slots, slots, sizeof *m->slots));
    m->mask = slots - 1;
    m->hash_seed = ke__hash_seed();
done:
    return st;
}

void ke__merges_add(ke__merges *m, int32_t left, int32_t right, uint32_t rank,
                    int32_t result)
{
    ke__merge *slot = slot_of(m, (uint32_t)left, (uint32_t)right);
    if (slot->rank_plus_1 == 0)
        *slot = (ke__merge){(uint32_t)left, (uint32_t)right, rank + 1, result};
}

bool ke__merges_find(const void *merges, const ke__symbol *symbols, ke__symbol *left)
{
    int32_t l = left->id, r = symbols[left->next].id;
    if (l < 0 || r < 0)
        return false;
    const ke__merge *m = slot_of(merges, (uint32_t)l, (uint32_t)r);
    if (m->rank_plus_1 == 0)
        return false;
    left->rank = m->rank_plus_1 - 1;
    left->result = m->result;
    return true;
}

void ke__merges_free(ke_ctx *cx, ke__merges *m)
{
    ke__free(cx, m->slots);
}
