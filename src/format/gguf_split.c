/* A GGUF model in several files: each is a GGUF file of its own, the first has the keys,
 * and split.no, split.count and split.tensors.count in each say how they belong together.
 */
#include "format/gguf.h"

#include <string.h>

typedef unsigned long long ull;

static bool is_split_key(const ke__gguf_kv *kv)
{
    return kv->key.bytes > 6 && memcmp(kv->key.data, "split.", 6) == 0;
}

static ke_status expect(ke_ctx *cx, const ke__gguf *part, const char *key, uint64_t want)
{
    uint64_t value;
    ke_status st = ke__gguf_u64(cx, part, key, UINT64_MAX, &value);
    if (st != KE_OK || value == want)
        return st;
    if (value == UINT64_MAX)
        return ke__fail(cx, KE_EFORMAT, part->map.path,
                        "the key %s is missing, %llu expected", key, (ull)want);
    return ke__fail(cx, KE_EFORMAT, part->map.path,
                    "%s is %llu, %llu expected: a part of another model", key, (ull)value,
                    (ull)want);
}

/* Append the part's tensors; their names move to `names`, as offsets for now. */
static ke_status add_tensors(ke_ctx *cx, ke__gguf *out, ke__text *names,
                             const ke__gguf *part, uint64_t start)
{
    ke_status st = KE_OK;
    if (part->n_tensors == 0)
        goto done;
    KE_TRY(ke__resize(cx, &out->tensors, out->n_tensors + part->n_tensors,
                      sizeof *out->tensors));
    for (size_t i = 0; i < part->n_tensors; i++) {
        ke__tensor *t = &out->tensors[out->n_tensors];
        *t = part->tensors[i];
        t->offset += start;
        KE_TRY(ke__text_add(cx, names, t->name, strlen(t->name) + 1));
        out->n_tensors++;
    }
done:
    return st;
}

/* The first part's keys become the whole's. */
static void take_keys(ke__gguf *out, ke__gguf *first)
{
    out->map = first->map;
    out->version = first->version;
    out->alignment = first->alignment;
    out->data_offset = first->data_offset;
    out->infos_offset = first->infos_offset;
    out->kvs = first->kvs;
    first->kvs = NULL;
    for (size_t i = 0; i < first->n_kvs; i++)
        if (!is_split_key(&out->kvs[i]))
            out->kvs[out->n_kvs++] = out->kvs[i];
}

static ke_status join(ke_ctx *cx, ke__gguf *out, const ke__files *files)
{
    ke_status st = KE_OK;
    ke__text names = {0};
    ke__gguf part = {0};
    uint64_t total = 0;
    for (size_t i = 0; i < files->n; i++) {
        const ke__file *f = &files->items[i];
        part = (ke__gguf){.map = f->map, .borrowed = true};
        KE_TRY(ke__gguf_parse(cx, &part));
        KE_TRY(expect(cx, &part, "split.no", i));
        KE_TRY(expect(cx, &part, "split.count", files->n));
        if (i == 0)
            KE_TRY(ke__gguf_u64(cx, &part, "split.tensors.count", UINT64_MAX, &total));
        KE_TRY(expect(cx, &part, "split.tensors.count", total));
        KE_TRY(add_tensors(cx, out, &names, &part, f->start));
        if (i == 0)
            take_keys(out, &part);
        ke__gguf_close(cx, &part);
    }
    if (out->n_tensors != total) {
        st = ke__fail(cx, KE_EFORMAT, files->path,
                      "the parts have %zu tensors, split.tensors.count is %llu",
                      out->n_tensors, (ull)total);
        goto done;
    }
    const char *name = names.data;
    for (size_t i = 0; i < out->n_tensors; i++) {
        out->tensors[i].name = name;
        name += strlen(name) + 1;
    }
    KE_TRY(ke__gguf_index(cx, out));
done:
    ke__gguf_close(cx, &part);
    out->names = names.data;
    return st;
}

ke_status ke__gguf_join(ke_ctx *cx, ke__gguf *out, const ke__files *files)
{
    ke_status st = KE_OK;
    *out = (ke__gguf){.map = files->items[0].map, .borrowed = true};
    if (files->n == 1) {
        KE_TRY(ke__gguf_parse(cx, out));
        uint64_t count;
        KE_TRY(ke__gguf_u64(cx, out, "split.count", 1, &count));
        if (count > 1)
            st = ke__fail(cx, KE_EFORMAT, files->path,
                          "split.count is %llu, so the file is a part of a model and must "
                          "be named NAME-00001-of-%05llu.gguf",
                          (ull)count, (ull)count);
    } else {
        out->joined = true;
        KE_TRY(join(cx, out, files));
    }
done:
    if (st != KE_OK)
        ke__gguf_close(cx, out);
    return st;
}
