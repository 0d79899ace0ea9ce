/* The tensors of a safetensors model under their GGUF names. */
#include "model/folder.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REQUIRED = 1, TURNED = 2, PLUS_ONE = 4, HEAD = 8 };
enum { ROTARY = KE__LLAMA | KE__QWEN2 | KE__QWEN3 | KE__GEMMA3, ANY = ROTARY | KE__GPT2 };

/* One name. `families` it occurs in and `required` in which of them; the shape as GGUF has
 * it; what has to be done to the stored values. Rows with `layer` come once a layer. */
static const struct name {
    const char *theirs, *ours;
    bool layer;
    unsigned families, required, flags;
    ke__config_size rows, cols; /* ONE row: a vector */
} names[] = {
    {"embed_tokens.weight", "token_embd.weight", false, ROTARY, ROTARY, 0, KE__SIZE_VOCAB,
     KE__SIZE_HIDDEN},
    {"norm.weight", "output_norm.weight", false, ROTARY, ROTARY, PLUS_ONE, KE__SIZE_ONE,
     KE__SIZE_HIDDEN},
    {"wte.weight", "token_embd.weight", false, KE__GPT2, KE__GPT2, 0, KE__SIZE_VOCAB,
     KE__SIZE_HIDDEN},
    {"wpe.weight", "position_embd.weight", false, KE__GPT2, KE__GPT2, 0, KE__SIZE_CONTEXT,
     KE__SIZE_HIDDEN},
    {"ln_f.weight", "output_norm.weight", false, KE__GPT2, KE__GPT2, 0, KE__SIZE_ONE,
     KE__SIZE_HIDDEN},
    {"ln_f.bias", "output_norm.bias", false, KE__GPT2, KE__GPT2, 0, KE__SIZE_ONE,
     KE__SIZE_HIDDEN},
    {"lm_head.weight", "output.weight", false, ANY, ANY, HEAD, KE__SIZE_VOCAB,
     KE__SIZE_HIDDEN},
#define LINEAR(theirs, ours, rows, cols, bias_required)                                    \
    {theirs ".weight", ours ".weight", true, ROTARY, ROTARY, 0, rows, cols},               \
    {                                                                                      \
        theirs ".bias", ours ".bias", true, ROTARY, bias_required, 0, KE__SIZE_ONE, rows   \
    }
    LINEAR("self_attn.q_proj", "attn_q", KE__SIZE_Q, KE__SIZE_HIDDEN, KE__QWEN2),
    LINEAR("self_attn.k_proj", "attn_k", KE__SIZE_KV, KE__SIZE_HIDDEN, KE__QWEN2),
    LINEAR("self_attn.v_proj", "attn_v", KE__SIZE_KV, KE__SIZE_HIDDEN, KE__QWEN2),
    LINEAR("self_attn.o_proj", "attn_output", KE__SIZE_HIDDEN, KE__SIZE_Q, 0),
    LINEAR("mlp.gate_proj", "ffn_gate", KE__SIZE_FFN, KE__SIZE_HIDDEN, 0),
    LINEAR("mlp.up_proj", "ffn_up", KE__SIZE_FFN, KE__SIZE_HIDDEN, 0),
    LINEAR("mlp.down_proj", "ffn_down", KE__SIZE_HIDDEN, KE__SIZE_FFN, 0),
#undef LINEAR
#define NORM(theirs, ours, in, cols)                                                       \
    {                                                                                      \
        theirs ".weight", ours ".weight", true, in, in, PLUS_ONE, KE__SIZE_ONE, cols       \
    }
    NORM("self_attn.q_norm", "attn_q_norm", KE__QWEN3 | KE__GEMMA3, KE__SIZE_HEAD_DIM),
    NORM("self_attn.k_norm", "attn_k_norm", KE__QWEN3 | KE__GEMMA3, KE__SIZE_HEAD_DIM),
    NORM("input_layernorm", "attn_norm", ROTARY, KE__SIZE_HIDDEN),
    NORM("post_attention_layernorm", "ffn_norm", ROTARY & ~KE__GEMMA3, KE__SIZE_HIDDEN),
    NORM("post_attention_layernorm", "post_attention_norm", KE__GEMMA3, KE__SIZE_HIDDEN),
    NORM("pre_feedforward_layernorm", "ffn_norm", KE__GEMMA3, KE__SIZE_HIDDEN),
    NORM("post_feedforward_layernorm", "post_ffw_norm", KE__GEMMA3, KE__SIZE_HIDDEN),
#undef NORM
#define GPT2(theirs, ours, rows, cols, flags)                                              \
    {theirs ".weight", ours ".weight", true, KE__GPT2, KE__GPT2, flags, rows, cols},       \
    {                                                                                      \
        theirs ".bias", ours ".bias", true, KE__GPT2, KE__GPT2, 0, KE__SIZE_ONE,           \
            rows == KE__SIZE_ONE ? cols : rows                                             \
    }
    GPT2("ln_1", "attn_norm", KE__SIZE_ONE, KE__SIZE_HIDDEN, 0),
    GPT2("attn.c_attn", "attn_qkv", KE__SIZE_QKV, KE__SIZE_HIDDEN, TURNED),
    GPT2("attn.c_proj", "attn_output", KE__SIZE_HIDDEN, KE__SIZE_Q, TURNED),
    GPT2("ln_2", "ffn_norm", KE__SIZE_ONE, KE__SIZE_HIDDEN, 0),
    GPT2("mlp.c_fc", "ffn_up", KE__SIZE_FFN, KE__SIZE_HIDDEN, TURNED),
    GPT2("mlp.c_proj", "ffn_down", KE__SIZE_HIDDEN, KE__SIZE_FFN, TURNED),
#undef GPT2
};

typedef struct builder {
    ke_ctx *cx;
    ke__folder *f;
    ke__gguf *index;
    const ke__files *files;
    ke__text names;
    uint64_t bytes; /* of the tensors so far */
} builder;

static const char *skip(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(text, prefix, n) == 0 ? text + n : text;
}

/* What takes part in no computation of ours: tables that follow from config.json, masks. */
static bool is_idle(const builder *b, const char *name)
{
    static const char *const ends[] = {".rotary_emb.inv_freq", ".attn.bias",
                                       ".attn.masked_bias"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (n > strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return b->f->config.tied && strcmp(name, "lm_head.weight") == 0;
}

/* The row of a tensor's name, and its layer. NULL: not known. */
static const struct name *find(const builder *b, const char *name, uint64_t *layer)
{
    bool gpt2 = b->f->config.family == KE__GPT2;
    const char *rest = skip(name, gpt2 ? "transformer." : "model.");
    const char *in_layer = skip(rest, gpt2 ? "h." : "layers."), *number = in_layer;
    bool inner = in_layer != rest && *number >= '0' && *number <= '9';
    *layer = 0;
    while (inner && *number >= '0' && *number <= '9' && *layer < 1000000)
        *layer = 10 * *layer + (uint64_t)(*number++ - '0');
    if (inner && *number++ != '.')
        return NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((names[i].families & b->f->config.family) && names[i].layer == inner &&
            strcmp(names[i].theirs, inner ? number : rest) == 0)
            return &names[i];
    return NULL;
}

/* --- checks ------------------------------------------------------------------------ */

static ke_status contradicts(const builder *b, const ke__safe_tensor *t,
                             ke__config_size size, uint64_t found, const char *what)
{
    const ke__config *c = &b->f->config;
    return ke__fail(b->cx, KE_EFORMAT, b->f->safe.shards[t->shard].path,
                    "config.json: %s is %" PRIu64 ", %.100s has %" PRIu64 " %s",
                    ke__config_size_name(c, size), c->size[size], t->name, found, what);
}

static ke_status check(const builder *b, const ke__safe_tensor *t, const struct name *n,
                       uint64_t layer)
{
    const ke__config *c = &b->f->config;
    uint64_t rows = c->size[n->rows], cols = c->size[n->cols];
    bool vector = n->rows == KE__SIZE_ONE, turned = n->flags & TURNED;
    if (!t->type)
        return ke__fail(b->cx, KE_ENOTSUP, b->f->safe.shards[t->shard].path,
                        "%.100s has dtype %s, F32, F16, BF16 or F64 expected", t->name,
                        t->dtype);
    if (n->layer && layer >= c->size[KE__SIZE_LAYERS])
        return ke__fail(b->cx, KE_EFORMAT, b->f->safe.shards[t->shard].path,
                        "config.json: %s is %" PRIu64 ", but there is %.100s",
                        ke__config_size_name(c, KE__SIZE_LAYERS), c->size[KE__SIZE_LAYERS],
                        t->name);
    if (t->n_dims != (vector ? 1 : 2))
        return ke__fail(b->cx, KE_EFORMAT, b->f->safe.shards[t->shard].path,
                        "%.100s has %u dimensions, %d expected", t->name, t->n_dims,
                        vector ? 1 : 2);
    if (vector)
        return t->dims[0] == cols ? KE_OK
                                  : contradicts(b, t, n->cols, t->dims[0], "elements");
    if (t->dims[turned] != rows)
        return contradicts(b, t, n->rows, t->dims[turned], turned ? "columns" : "rows");
    if (t->dims[!turned] != cols)
        return contradicts(b, t, n->cols, t->dims[!turned], turned ? "rows" : "columns");
    return KE_OK;
}

static ke_status check_complete(const builder *b)
{
    const ke__config *c = &b->f->config;
    bool gpt2 = c->family == KE__GPT2;
    char ours[64];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct name *n = &names[i];
        uint64_t n_layers = n->layer ? c->size[KE__SIZE_LAYERS] : 1;
        if (!(n->required & c->family) || ((n->flags & HEAD) && c->tied))
            continue;
        for (uint64_t layer = 0; layer < n_layers; layer++) {
            if (n->layer)
                snprintf(ours, sizeof ours, "blk.%" PRIu64 ".%s", layer, n->ours);
            if (ke__gguf_tensor(b->index, n->layer ? ours : n->ours) >= 0)
                continue;
            snprintf(ours, sizeof ours,
                     gpt2 ? "h.%" PRIu64 "." : "model.layers.%" PRIu64 ".", layer);
            return n->layer ? ke__fail(b->cx, KE_EFORMAT, b->files->folder,
                                       "config.json: %s is %" PRIu64
                                       ", but the tensor %s%s is missing",
                                       ke__config_size_name(c, KE__SIZE_LAYERS), n_layers,
                                       ours, n->theirs)
                            : ke__fail(b->cx, KE_EFORMAT, b->files->folder,
                                       "the tensor %s is missing", n->theirs);
        }
    }
    return KE_OK;
}

/* --- values ------------------------------------------------------------------------ */

ke_status ke__turned(ke_ctx *cx, void **out, const void *data, uint64_t rows, uint64_t cols,
                     size_t element_bytes)
{
    ke_status st = ke__alloc(cx, out, rows * cols, element_bytes);
    const uint8_t *from = data;
    uint8_t *to = *out;
    if (st != KE_OK)
        return st;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            memcpy(to + (c * rows + r) * element_bytes,
                   from + (r * cols + c) * element_bytes, element_bytes);
    return KE_OK;
}

/* Gemma's norms multiply by 1 + w. */
static ke_status add_one(ke_ctx *cx, void **out, const ke__safe_tensor *t)
{
    ke_status st = ke__alloc(cx, out, t->dims[0], sizeof(float));
    float *values = *out;
    if (st != KE_OK)
        return st;
    t->type->to_f32(values, t->data, t->dims[0]);
    for (uint64_t i = 0; i < t->dims[0]; i++)
        values[i] += 1.0F;
    return KE_OK;
}

/* Data that the pass can read as it stands is the file's; else a copy. A header of any
 * length may stand before it, so it need not be aligned. */
static ke_status settle(builder *b, ke__tensor *out, const ke__safe_tensor *t,
                        const struct name *n, void **owned)
{
    ke_status st = KE_OK;
    if ((n->flags & PLUS_ONE) && b->f->config.family == KE__GEMMA3) {
        KE_TRY(add_one(b->cx, owned, t));
        out->type = ke__dtype_of(KE__F32);
        out->bytes = t->dims[0] * sizeof(float);
    } else if (n->flags & TURNED) {
        KE_TRY(ke__turned(b->cx, owned, t->data, t->dims[0], t->dims[1], t->type->bytes));
    } else if ((uintptr_t)t->data % t->type->bytes != 0) {
        KE_TRY(ke__alloc(b->cx, owned, t->bytes, 1));
        memcpy(*owned, t->data, t->bytes);
    }
    out->data = *owned ? *owned : t->data;
done:
    return st;
}

static ke_status add(builder *b, size_t entry)
{
    ke_status st = KE_OK;
    const ke__safe_tensor *t = &b->f->safe.tensors[entry];
    uint64_t layer;
    const struct name *n = find(b, t->name, &layer);
    if (is_idle(b, t->name))
        return KE_OK;
    if (!n)
        return ke__fail(b->cx, KE_ENOTSUP, b->f->safe.shards[t->shard].path,
                        "the tensor %.100s is not one of a %s model", t->name,
                        b->f->config.architecture);
    KE_TRY(check(b, t, n, layer));
    ke__tensor *out = &b->index->tensors[b->f->n];
    bool vector = n->rows == KE__SIZE_ONE, turned = n->flags & TURNED;
    *out = (ke__tensor){.type = t->type,
                        .n_dims = t->n_dims,
                        .rows = vector ? 1 : t->dims[turned],
                        .cols = vector ? t->dims[0] : t->dims[!turned],
                        .bytes = t->bytes,
                        .offset = b->bytes};
    out->dims[0] = out->cols;
    out->dims[1] = vector ? 0 : out->rows;
    b->f->sources[b->f->n] = (ke__folder_source){entry, turned};
    b->f->n++;
    KE_TRY(settle(b, out, t, n, &b->f->owned[b->f->n - 1]));
    b->bytes += out->bytes;
    if (n->layer)
        KE_TRY(ke__text_addf(b->cx, &b->names, "blk.%" PRIu64 ".", layer));
    KE_TRY(ke__text_add(b->cx, &b->names, n->ours, strlen(n->ours) + 1));
done:
    return st;
}

static ke_status add_tensors(builder *b)
{
    ke_status st = KE_OK;
    size_t n = b->f->safe.n;
    /* The keys were parsed as a file of no tensors, with tables for none. */
    ke__free(b->cx, b->index->tensors);
    ke__free(b->cx, b->index->by_name);
    ke__free(b->cx, b->index->by_offset);
    b->index->by_name = b->index->by_offset = NULL;
    KE_TRY(ke__alloc(b->cx, &b->index->tensors, n, sizeof *b->index->tensors));
    KE_TRY(ke__alloc(b->cx, &b->f->sources, n, sizeof *b->f->sources));
    KE_TRY(ke__alloc(b->cx, &b->f->owned, n, sizeof *b->f->owned));
    for (size_t i = 0; i < n; i++)
        KE_TRY(add(b, i));
    const char *name = b->names.data;
    for (size_t i = 0; i < b->f->n; i++) {
        b->index->tensors[i].name = name;
        name += strlen(name) + 1;
    }
    b->index->n_tensors = b->f->n;
    KE_TRY(ke__gguf_index(b->cx, b->index));
    KE_TRY(check_complete(b));
done:
    ke__free(b->cx, b->index->names);
    b->index->names = b->names.data;
    return st;
}

/* --- keys -------------------------------------------------------------------------- */

/* The records of edits, a JSON array of texts in __metadata__, as the GGUF key; anything
 * else under that name is not ours. */
static ke_status read_keys(builder *b)
{
    ke_status st = KE_OK;
    const char *text = ke__safetensors_metadata(&b->f->safe, "knowedit.edits");
    const ke__map *config = &b->files->items[0].map;
    json_error_t error;
    json_t *list = text ? json_loads(text, 0, &error) : NULL;
    size_t n = json_array_size(list);
    const char **items = NULL;
    if (text && !list && ke__json_load_status(&error) == KE_ENOMEM) {
        st = ke__fail(b->cx, KE_ENOMEM, config->path, "out of memory");
        goto done;
    }
    KE_TRY(ke__alloc(b->cx, &items, n, sizeof *items));
    for (size_t i = 0; i < n; i++) {
        items[i] = json_string_value(json_array_get(list, i));
        n = items[i] ? n : 0;
    }
    const ke__gguf_new_kv edits = {
        .key = "knowedit.edits", .type = KE__GGUF_ARRAY, .strings = items, .n = n};
    KE_TRY(ke__config_parse(b->cx, &b->f->config, config->path, (const char *)config->data,
                            config->bytes, &edits, n > 0));
    b->index->map.data = (const uint8_t *)b->f->config.keys.data;
    b->index->map.bytes = b->f->config.keys.bytes;
    b->index->map.path = config->path;
    b->index->borrowed = true;
    KE_TRY(ke__gguf_parse(b->cx, b->index));
done:
    ke__free(b->cx, items);
    json_decref(list);
    return st;
}

ke_status ke__folder_open(ke_ctx *cx, ke__folder **out, ke__gguf *index,
                          const ke__files *files)
{
    ke_status st = KE_OK;
    builder b = {.cx = cx, .index = index, .files = files};
    *index = (ke__gguf){0};
    *out = NULL;
    KE_TRY(ke__alloc(cx, &b.f, 1, sizeof *b.f));
    KE_TRY(ke__safetensors_open(cx, &b.f->safe, files));
    KE_TRY(read_keys(&b));
    KE_TRY(add_tensors(&b));
    *out = b.f;
    b.f = NULL;
done:
    if (st != KE_OK)
        ke__gguf_close(cx, index);
    ke__folder_close(cx, b.f);
    return st;
}

void ke__folder_close(ke_ctx *cx, ke__folder *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++)
        ke__free(cx, f->owned[i]);
    ke__free(cx, f->owned);
    ke__free(cx, f->sources);
    ke__safetensors_close(cx, &f->safe);
    ke__config_free(cx, &f->config);
    ke__free(cx, f);
}
