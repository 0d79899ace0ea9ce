#include "format/ranges.h"

#include <stdlib.h>
#include <string.h>

static ke_status add(ke_ctx *cx, ke__ranges *r, ke__range range)
{
    ke_status st = KE_OK;
    if (r->n == r->room) {
        size_t room = r->room ? 2 * r->room : 64;
        KE_TRY(ke__resize(cx, &r->items, room, sizeof *r->items));
        r->room = room;
    }
    r->items[r->n++] = range;
done:
    return st;
}

static ke__gguf_str name_of(const char *text)
{
    return (ke__gguf_str){text, strlen(text)};
}

/* The fixed head, each key, the infos, each tensor up to the next one. */
static ke_status add_gguf(ke_ctx *cx, ke__ranges *r, const ke__gguf *g, size_t number,
                          uint64_t start)
{
    ke_status st = KE_OK;
    uint64_t head = g->n_kvs ? g->kvs[0].offset : g->infos_offset, end = g->map.bytes;
    KE_TRY(add(cx, r, (ke__range){KE__RANGE_HEAD, number, {0}, start, head}));
    for (size_t i = 0; i < g->n_kvs; i++)
        KE_TRY(add(cx, r,
                   (ke__range){KE__RANGE_KEY, number, g->kvs[i].key,
                               start + g->kvs[i].offset, g->kvs[i].bytes}));
    KE_TRY(add(cx, r,
               (ke__range){KE__RANGE_INFOS,
                           number,
                           {0},
                           start + g->infos_offset,
                           g->data_offset - g->infos_offset}));
    for (size_t rank = g->n_tensors; rank-- > 0;) {
        const ke__tensor *t = &g->tensors[g->by_offset[rank]];
        KE_TRY(add(cx, r,
                   (ke__range){KE__RANGE_TENSOR, 0, name_of(t->name), start + t->offset,
                               end - t->offset}));
        end = t->offset;
    }
done:
    return st;
}

static ke_status add_ggufs(ke_ctx *cx, ke__ranges *r, const ke__files *files)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &r->ggufs, files->n, sizeof *r->ggufs));
    for (size_t i = 0; i < files->n; i++) {
        ke__gguf *g = &r->ggufs[r->n_ggufs++];
        g->map = files->items[i].map;
        g->borrowed = true;
        KE_TRY(ke__gguf_parse(cx, g));
        KE_TRY(add_gguf(cx, r, g, i, files->items[i].start));
    }
done:
    return st;
}

static ke_status add_safetensors(ke_ctx *cx, ke__ranges *r, const ke__files *files)
{
    ke_status st = KE_OK;
    KE_TRY(ke__safetensors_open(cx, &r->safe, files));
    for (size_t i = 0; i < files->n_heads; i++)
        KE_TRY(add(cx, r,
                   (ke__range){KE__RANGE_FILE, 0, name_of(files->items[i].name),
                               files->items[i].start, files->items[i].map.bytes}));
    for (size_t i = 0; i < r->safe.n_shards; i++)
        KE_TRY(add(cx, r,
                   (ke__range){KE__RANGE_HEAD,
                               i,
                               {0},
                               files->items[files->n_heads + i].start,
                               r->safe.shards[i].data_offset}));
    for (size_t i = 0; i < r->safe.n; i++) {
        const ke__safe_tensor *t = &r->safe.tensors[i];
        uint64_t start = files->items[files->n_heads + t->shard].start;
        KE_TRY(add(cx, r,
                   (ke__range){KE__RANGE_TENSOR, 0, name_of(t->name), start + t->offset,
                               t->bytes}));
    }
done:
    return st;
}

static int compare(const void *va, const void *vb)
{
    const ke__range *a = va, *b = vb;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    uint64_t n = a->name.bytes < b->name.bytes ? a->name.bytes : b->name.bytes;
    int order = n ? memcmp(a->name.data, b->name.data, n) : 0;
    return order ? order
                 : (a->name.bytes > b->name.bytes) - (a->name.bytes < b->name.bytes);
}

ke_status ke__ranges_new(ke_ctx *cx, ke__ranges *out, const ke__files *files)
{
    *out = (ke__ranges){0};
    ke_status st = files->form == KE__FORM_SAFETENSORS ? add_safetensors(cx, out, files)
                                                       : add_ggufs(cx, out, files);
    if (st == KE_OK)
        qsort(out->items, out->n, sizeof *out->items, compare);
    else
        ke__ranges_free(cx, out);
    return st;
}

void ke__ranges_free(ke_ctx *cx, ke__ranges *r)
{
    for (size_t i = 0; i < r->n_ggufs; i++)
        ke__gguf_close(cx, &r->ggufs[i]);
    ke__free(cx, r->ggufs);
    ke__safetensors_close(cx, &r->safe);
    ke__free(cx, r->items);
    *r = (ke__ranges){0};
}

const ke__range *ke__ranges_find(const ke__ranges *r, const ke__range *like)
{
    return bsearch(like, r->items, r->n, sizeof *r->items, compare);
}
