/* Opening a model: the files, the descriptor's row, the metadata's numbers, and every
 * weight checked for its shape before anything is computed. */
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

const char *const ke__linear_names[KE__LIN_COUNT] = {
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
};
static const char *const norm_names[KE__AT_COUNT] = {
    "attn_norm", "post_attention_norm", "attn_q_norm", "attn_k_norm",
    "ffn_norm",  "post_ffw_norm",
};

/* "ARCH.suffix" in a fixed buffer; architecture names are short (they are ours). */
typedef struct key_buf {
    char text[96];
} key_buf;
static const char *arch_key(key_buf *b, const ke_model *m, const char *suffix)
{
    snprintf(b->text, sizeof b->text, "%s.%s", m->arch->name, suffix);
    return b->text;
}

/* A size from the metadata, 1 <= value <= max; `fallback` 0 means that it is required. */
static ke_status get_size(ke_ctx *cx, const ke_model *m, const char *suffix,
                          uint64_t fallback, uint64_t max, uint32_t *out)
{
    key_buf key;
    uint64_t value = 0;
    ke_status st = ke__gguf_u64(cx, &m->file, arch_key(&key, m, suffix), fallback, &value);
    if (st != KE_OK)
        return st;
    if (value < 1 || value > max)
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "metadata key \"%s\" is %s%" PRIu64 ", expected 1 to %" PRIu64,
                        key.text, value == 0 ? "missing or " : "", value, max);
    *out = (uint32_t)value;
    return KE_OK;
}

static ke_status get_real(ke_ctx *cx, const ke_model *m, const char *suffix, float fallback,
                          float *out)
{
    key_buf key;
    ke_status st = ke__gguf_f32(cx, &m->file, arch_key(&key, m, suffix), fallback, out);
    if (st == KE_OK && !isfinite(*out))
        st = ke__fail(cx, KE_EFORMAT, m->info.path, "metadata key \"%s\" is not finite",
                      key.text);
    return st;
}

static ke_status read_sizes(ke_ctx *cx, ke_model *m)
{
    ke_status st = KE_OK;
    ke_model_info *i = &m->info;
    KE_TRY(get_size(cx, m, "block_count", 0, KE__MAX_LAYERS, &i->n_layers));
    KE_TRY(get_size(cx, m, "embedding_length", 0, KE__MAX_WIDTH, &i->d_model));
    KE_TRY(get_size(cx, m, "feed_forward_length", 0, KE__MAX_WIDTH, &i->d_ffn));
    KE_TRY(get_size(cx, m, "attention.head_count", 0, KE__MAX_WIDTH, &i->n_heads));
    KE_TRY(
        get_size(cx, m, "attention.head_count_kv", i->n_heads, i->n_heads, &i->n_kv_heads));
    KE_TRY(get_size(cx, m, "context_length", 2048, KE__MAX_CONTEXT, &i->n_context));
    KE_TRY(get_size(cx, m, "attention.key_length",
                    i->d_model >= i->n_heads ? i->d_model / i->n_heads : 1, KE__MAX_WIDTH,
                    &i->head_dim));
    uint32_t value_dim = 0;
    KE_TRY(
        get_size(cx, m, "attention.value_length", i->head_dim, KE__MAX_WIDTH, &value_dim));
    if (value_dim != i->head_dim || i->n_heads % i->n_kv_heads != 0)
        return ke__fail(cx, KE_ENOTSUP, i->path,
                        "attention of %" PRIu32 " heads over %" PRIu32
                        ", key width %" PRIu32 ", value width %" PRIu32
                        ": expected equal widths, and a multiple",
                        i->n_heads, i->n_kv_heads, i->head_dim, value_dim);
    if ((uint64_t)i->n_heads * i->head_dim > KE__MAX_WIDTH)
        return ke__fail(cx, KE_ENOTSUP, i->path,
                        "attention of %" PRIu32 " heads, %" PRIu32
                        " wide: expected at most %d in all",
                        i->n_heads, i->head_dim, KE__MAX_WIDTH);
    m->kv_dim = i->n_kv_heads * i->head_dim;
    KE_TRY(get_real(cx, m,
                    m->arch->norm == KE__NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                  : "attention.layer_norm_epsilon",
                    1e-5F, &m->eps));
    KE_TRY(get_real(cx, m, "final_logit_softcapping", 0.0F, &m->logit_softcap));
    KE_TRY(get_real(cx, m, "attn_logit_softcapping", 0.0F, &m->attn_softcap));
    m->embed_scale = m->arch->embed_scaled ? sqrtf((float)i->d_model) : 1.0F;
    KE_TRY(get_real(cx, m, "attention.scale", 1.0F / sqrtf((float)i->head_dim),
                    &m->attn_scale));
done:
    return st;
}

/* Find "name" with the given shape ([cols] if rows is 0) and point a parameter at rows
 * [row0, row0 + take) of it. Absent is an error only if required. */
typedef struct want {
    const char *name;
    uint64_t rows, cols, row0, take;
    bool required;
} want;
static ke_status bind(ke_ctx *cx, ke_model *m, ke__param *out, want w)
{
    ptrdiff_t at = ke__gguf_tensor(&m->file, w.name);
    if (at < 0) {
        if (!w.required)
            return KE_OK;
        return ke__fail(cx, KE_EFORMAT, m->info.path, "tensor \"%s\" is missing", w.name);
    }
    const ke__tensor *t = &m->file.tensors[at];
    uint64_t rows = w.rows ? w.rows : 1;
    bool flat = t->n_dims == 1 || t->rows == 1;
    if (t->cols != w.cols || t->rows != rows || (w.rows == 0 && !flat))
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "tensor \"%s\" is [%" PRIu64 ", %" PRIu64 "], expected [%" PRIu64
                        ", %" PRIu64 "]",
                        w.name, t->rows, t->cols, rows, w.cols);
    size_t row_bytes = 0;
    if (!ke__row_bytes(&row_bytes, t->type, t->cols))
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "tensor \"%s\": rows of %" PRIu64 " are no whole blocks of %s",
                        w.name, t->cols, t->type->name);
    *out = (ke__param){.mat = {.type = t->type,
                               .rows = w.take ? w.take : rows,
                               .cols = w.cols,
                               .data = t->data + w.row0 * row_bytes},
                       .tensor = (uint32_t)at,
                       .row0 = w.row0};
    return KE_OK;
}

static ke_status bind_linear(ke_ctx *cx, ke_model *m, uint32_t layer, ke__linear l)
{
    const ke_model_info *i = &m->info;
    uint64_t q_dim = (uint64_t)i->n_heads * i->head_dim;
    const uint64_t shape[KE__LIN_COUNT][2] = {
        {q_dim, i->d_model},    {m->kv_dim, i->d_model}, {m->kv_dim, i->d_model},
        {i->d_model, q_dim},    {i->d_ffn, i->d_model},  {i->d_ffn, i->d_model},
        {i->d_model, i->d_ffn},
    };
    bool qkv = l <= KE__LIN_V, fused = qkv && m->arch->fused_qkv;
    uint64_t all = q_dim + 2 * (uint64_t)m->kv_dim;
    uint64_t row0 = !fused || l == KE__LIN_Q ? 0
                    : l == KE__LIN_K         ? q_dim
                                             : q_dim + m->kv_dim;
    const char *name = fused ? "attn_qkv" : ke__linear_names[l];
    char text[64];
    ke__layer *y = &m->layers[layer];

    snprintf(text, sizeof text, "blk.%" PRIu32 ".%s.weight", layer, name);
    ke_status st =
        bind(cx, m, &y->linear[l],
             (want){text, fused ? all : shape[l][0], shape[l][1], row0, shape[l][0], true});
    if (st != KE_OK)
        return st;
    snprintf(text, sizeof text, "blk.%" PRIu32 ".%s.bias", layer, name);
    st = bind(cx, m, &y->bias[l],
              (want){text, 0, fused ? all : shape[l][0], 0, 0,
                     m->arch->biases || (qkv && m->arch->qkv_bias)});
    if (st != KE_OK || !fused || !y->bias[l].mat.data)
        return st;
    /* A fused bias is one row; take this map's part of it. */
    size_t skip = 0;
    if (!ke__row_bytes(&skip, y->bias[l].mat.type, row0) ||
        shape[l][0] % y->bias[l].mat.type->block != 0)
        return ke__fail(cx, KE_EFORMAT, m->info.path, "tensor \"%s\" has type %s", text,
                        y->bias[l].mat.type->name);
    y->bias[l].mat.data = (const uint8_t *)y->bias[l].mat.data + skip;
    y->bias[l].mat.cols = shape[l][0];
    return KE_OK;
}

static ke_status bind_layer(ke_ctx *cx, ke_model *m, uint32_t layer)
{
    ke_status st = KE_OK;
    const ke__arch *a = m->arch;
    char text[64];
    for (ke__linear l = 0; l < KE__LIN_COUNT; l++)
        if (l != KE__LIN_GATE || a->gated)
            KE_TRY(bind_linear(cx, m, layer, l));
    for (ke__norm_at n = 0; n < KE__AT_COUNT; n++) {
        bool per_head = n == KE__AT_Q || n == KE__AT_K;
        bool post = n == KE__AT_ATTN_POST || n == KE__AT_MLP_POST;
        if ((per_head && !a->qk_norm) || (post && !a->post_norms))
            continue;
        uint64_t width = per_head ? m->info.head_dim : m->info.d_model;
        snprintf(text, sizeof text, "blk.%" PRIu32 ".%s.weight", layer, norm_names[n]);
        KE_TRY(bind(cx, m, &m->layers[layer].norm[n], (want){text, 0, width, 0, 0, true}));
        snprintf(text, sizeof text, "blk.%" PRIu32 ".%s.bias", layer, norm_names[n]);
        KE_TRY(bind(cx, m, &m->layers[layer].norm_bias[n],
                    (want){text, 0, width, 0, 0, a->norm == KE__NORM_LAYER}));
    }
done:
    return st;
}

/* Llama 3's frequency divisors come as a tensor of rot / 2 numbers, or are computed from
 * config.json. */
static ke_status read_rope_factors(ke_ctx *cx, ke_model *m)
{
    ke__param p = {0};
    if (m->folder) {
        m->rope_factors = m->folder->config.rope_factors;
        m->folder->config.rope_factors = NULL;
        return KE_OK;
    }
    ke_status st =
        bind(cx, m, &p, (want){"rope_freqs.weight", 0, m->rope_rot / 2, 0, 0, false});
    if (st != KE_OK || !p.mat.data)
        return st;
    if (!p.mat.type->to_f32)
        return ke__fail(cx, KE_ENOTSUP, m->info.path, "rope_freqs.weight has type %s",
                        p.mat.type->name);
    KE_TRY(ke__alloc(cx, &m->rope_factors, m->rope_rot / 2, sizeof(float)));
    p.mat.type->to_f32(m->rope_factors, p.mat.data, m->rope_rot / 2);
    for (uint32_t i = 0; i < m->rope_rot / 2; i++)
        if (!isfinite(m->rope_factors[i]) || m->rope_factors[i] == 0.0F)
            return ke__fail(cx, KE_EFORMAT, m->info.path,
                            "rope_freqs.weight[%" PRIu32 "] is not a divisor", i);
done:
    return st;
}

static ke_status read_rope(ke_ctx *cx, ke_model *m)
{
    ke_status st = KE_OK;
    float base = 0, local_base = 0, factor = 1, scale = 1;
    uint32_t window = 0, period = 0;
    key_buf key;
    ke__gguf_str kind = {NULL, 0};
    if (m->arch->learned_positions)
        return KE_OK;
    KE_TRY(get_size(cx, m, "rope.dimension_count", m->info.head_dim, m->info.head_dim,
                    &m->rope_rot));
    KE_TRY(get_real(cx, m, "rope.freq_base", 10000.0F, &base));
    KE_TRY(get_real(cx, m, "rope.scaling.factor", 1.0F, &factor));
    KE_TRY(ke__gguf_string(cx, &m->file, arch_key(&key, m, "rope.scaling.type"), &kind));
    if (m->rope_rot % 2 != 0 || base <= 1.0F || factor <= 0.0F)
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "rotary embedding of %" PRIu32 " channels, base %g, factor %g: "
                        "expected an even number, a base over 1, a positive factor",
                        m->rope_rot, (double)base, (double)factor);
    if (kind.bytes == 6 && memcmp(kind.data, "linear", 6) == 0)
        scale = 1.0F / factor;
    else if (kind.bytes != 0 && !(kind.bytes == 4 && memcmp(kind.data, "none", 4) == 0))
        return ke__fail(cx, KE_ENOTSUP, m->info.path,
                        "rope scaling \"%.*s\" is not supported (none and linear are)",
                        (int)(kind.bytes < 40 ? kind.bytes : 40), kind.data);
    KE_TRY(get_real(cx, m, "rope.freq_base_swa", 10000.0F, &local_base));
    /* Gemma 3: five layers with a window and a base of their own, then one that sees all.
     */
    KE_TRY(get_size(cx, m, "attention.sliding_window_pattern", 6, KE__MAX_WIDTH, &period));
    if (m->arch->sliding)
        KE_TRY(get_size(cx, m, "attention.sliding_window", 0, KE__MAX_CONTEXT, &window));
    KE_TRY(read_rope_factors(cx, m));
    for (uint32_t l = 0; l < m->info.n_layers; l++) {
        bool local = m->arch->sliding && (l + 1) % period != 0;
        m->layers[l].window = local ? window : 0;
        m->layers[l].rope =
            (ke__rope){.rot = m->rope_rot,
                       .interleaved = m->arch->rope_interleaved && !m->folder,
                       .base = local ? local_base : base,
                       .scale = local ? 1.0F : scale,
                       .factors = m->rope_factors};
    }
done:
    return st;
}

static ke_status bind_outside(ke_ctx *cx, ke_model *m)
{
    ke_status st = KE_OK;
    uint64_t d = m->info.d_model;
    ptrdiff_t at = ke__gguf_tensor(&m->file, "token_embd.weight");
    uint64_t n_vocab = at < 0 ? 1 : m->file.tensors[at].rows;
    if (n_vocab > INT32_MAX)
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "token_embd.weight has %" PRIu64 " rows", n_vocab);
    m->info.n_vocab = (uint32_t)n_vocab;
    KE_TRY(bind(cx, m, &m->embed, (want){"token_embd.weight", n_vocab, d, 0, 0, true}));
    if (m->arch->learned_positions)
        KE_TRY(bind(cx, m, &m->positions,
                    (want){"position_embd.weight", m->info.n_context, d, 0, 0, true}));
    KE_TRY(bind(cx, m, &m->out_norm, (want){"output_norm.weight", 0, d, 0, 0, true}));
    KE_TRY(bind(cx, m, &m->out_norm_bias,
                (want){"output_norm.bias", 0, d, 0, 0, m->arch->norm == KE__NORM_LAYER}));
    KE_TRY(bind(cx, m, &m->head, (want){"output.weight", n_vocab, d, 0, 0, false}));
    if (!m->head.mat.data)
        m->head = m->embed; /* tied */
    KE_TRY(bind(cx, m, &m->head_bias, (want){"output.bias", 0, n_vocab, 0, 0, false}));
done:
    return st;
}

static ke_status copy_string(ke_ctx *cx, char **out, ke__gguf_str s)
{
    return s.data ? ke__strndup(cx, out, s.data, s.bytes) : KE_OK;
}

static ke_status read_edits(ke_ctx *cx, ke_model *m)
{
    const ke__gguf_kv *kv = ke__gguf_find(&m->file, "knowedit.edits");
    if (!kv || kv->type != KE__GGUF_ARRAY || kv->item != KE__GGUF_STRING)
        return KE_OK;
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &m->edits, kv->n, sizeof *m->edits));
    const uint8_t *cursor = kv->value;
    for (uint64_t i = 0; i < kv->n; i++) {
        ke__gguf_str s = ke__gguf_next_string(&cursor);
        KE_TRY(ke__strndup(cx, &m->edits[i], s.data, s.bytes));
        m->info.n_edits++;
    }
done:
    return st;
}

static ke_status pick_arch(ke_ctx *cx, ke_model *m)
{
    ke_status st = KE_OK;
    ke__gguf_str s;
    ke__text known = {0};
    KE_TRY(ke__gguf_string(cx, &m->file, "general.architecture", &s));
    if (!s.data)
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "metadata key \"general.architecture\" is missing");
    m->arch = ke__arch_find(s.data, s.bytes);
    if (!m->arch) {
        for (size_t i = 0; ke__arch_name(i); i++)
            KE_TRY(ke__text_addf(cx, &known, "%s%s", i ? ", " : "", ke__arch_name(i)));
        st = ke__fail(cx, KE_ENOTSUP, m->info.path,
                      "architecture \"%.*s\" is not known; known are %s",
                      (int)(s.bytes < 60 ? s.bytes : 60), s.data, known.data);
        goto done;
    }
    KE_TRY(copy_string(cx, &m->strings[0], s));
    KE_TRY(ke__gguf_string(cx, &m->file, "general.name", &s));
    KE_TRY(copy_string(cx, &m->strings[1], s));
    KE_TRY(ke__gguf_string(cx, &m->file, "tokenizer.chat_template", &s));
    KE_TRY(copy_string(cx, &m->strings[2], s));
    m->info.architecture = m->strings[0];
    m->info.name = m->strings[1] ? m->strings[1] : "";
    m->info.chat_template = m->strings[2];
done:
    ke__free(cx, known.data);
    return st;
}

/* "GGUF", "GGUF in 3 parts", "safetensors in 2 shards" */
static ke_status name_container(ke_ctx *cx, ke_model *m)
{
    const ke__files *f = &m->files;
    size_t shards = f->n - f->n_heads;
    ke_status st;
    if (f->form == KE__FORM_SPLIT)
        st = ke__format(cx, &m->strings[3], "GGUF in %zu parts", f->n);
    else if (f->form == KE__FORM_SAFETENSORS && shards > 1)
        st = ke__format(cx, &m->strings[3], "safetensors in %zu shards", shards);
    else
        st = ke__strdup(cx, &m->strings[3],
                        f->form == KE__FORM_SAFETENSORS ? "safetensors" : "GGUF");
    m->info.container = m->strings[3];
    return st;
}

/* The index, whatever the files are. */
static ke_status open_files(ke_ctx *cx, ke_model *m, const char *path)
{
    ke_status st = KE_OK;
    KE_TRY(ke__files_open(cx, &m->files, path));
    if (m->files.form == KE__FORM_SAFETENSORS)
        KE_TRY(ke__folder_open(cx, &m->folder, &m->file, &m->files));
    else
        KE_TRY(ke__gguf_join(cx, &m->file, &m->files));
    KE_TRY(name_container(cx, m));
    m->info.path = m->files.path;
    m->info.file_bytes = m->files.bytes;
    m->info.n_tensors = m->file.n_tensors;
    for (size_t i = 0; i < m->file.n_tensors; i++)
        m->info.n_params += m->file.tensors[i].rows * m->file.tensors[i].cols;
done:
    return st;
}

static ke_status open_tokenizer(ke_ctx *cx, ke_model *m)
{
    ke_status st = KE_OK;
    if (m->folder) {
        KE_TRY(ke__tokenizer_from_json(cx, &m->tokenizer, m->files.folder));
        KE_TRY(ke__chat_template_from_json(cx, &m->strings[2], m->files.folder));
        m->info.chat_template = m->strings[2];
    } else {
        KE_TRY(ke__tokenizer_from_gguf(cx, &m->tokenizer, &m->file));
    }
    if (ke__tokenizer_size(m->tokenizer) > m->info.n_vocab)
        return ke__fail(cx, KE_EFORMAT, m->info.path,
                        "the tokenizer has %zu tokens, token_embd.weight %" PRIu32 " rows",
                        ke__tokenizer_size(m->tokenizer), m->info.n_vocab);
    m->info.tokenizer = ke__tokenizer_name(m->tokenizer);
    m->info.chat_family = ke__chat_family(m->info.chat_template);
done:
    return st;
}

ke_status ke_model_open(ke_ctx *cx, ke_model **out, const char *path)
{
    ke_status st = KE_OK;
    ke_model *m = NULL;
    *out = NULL;
    KE_TRY(ke__alloc(cx, &m, 1, sizeof *m));
    KE_TRY(open_files(cx, m, path));
    KE_TRY(pick_arch(cx, m));
    KE_TRY(read_sizes(cx, m));
    KE_TRY(ke__alloc(cx, &m->layers, m->info.n_layers, sizeof *m->layers));
    KE_TRY(bind_outside(cx, m));
    for (uint32_t l = 0; l < m->info.n_layers; l++)
        KE_TRY(bind_layer(cx, m, l));
    KE_TRY(read_rope(cx, m));
    KE_TRY(open_tokenizer(cx, m));
    KE_TRY(read_edits(cx, m));
    *out = m;
    m = NULL;
done:
    ke_model_close(cx, m);
    return st;
}

void ke_model_close(ke_ctx *cx, ke_model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->info.n_edits; i++)
        ke__free(cx, m->edits[i]);
    ke__free(cx, m->edits);
    ke__tokenizer_free(cx, m->tokenizer);
    for (size_t i = 0; i < sizeof m->strings / sizeof m->strings[0]; i++)
        ke__free(cx, m->strings[i]);
    ke__free(cx, m->rope_factors);
    ke__free(cx, m->layers);
    ke__gguf_close(cx, &m->file);
    ke__folder_close(cx, m->folder);
    ke__files_close(cx, &m->files);
    ke__free(cx, m);
}

void ke_model_info_get(const ke_model *m, ke_model_info *out)
{
    *out = m->info;
}

void ke_model_tensor_get(const ke_model *m, size_t i, ke_tensor_info *out)
{
    const ke__tensor *t = &m->file.tensors[i];
    *out = (ke_tensor_info){.name = t->name,
                            .type = t->type->name,
                            .rows = t->rows,
                            .cols = t->cols,
                            .bytes = t->bytes};
}

const char *ke_model_edit_get(const ke_model *m, size_t i)
{
    return i < m->info.n_edits ? m->edits[i] : NULL;
}

/* Several contexts may ask for a model's hash at once: one computes it. */
static pthread_mutex_t hashing = PTHREAD_MUTEX_INITIALIZER;

ke_status ke_model_sha256(ke_ctx *cx, const ke_model *m, char out[65])
{
    /* The hash is a cache of what the map says: filling it changes nothing one can see. */
    ke_model *cache = (ke_model *)(uintptr_t)m;
    ke_status st = KE_OK;
    pthread_mutex_lock(&hashing);
    if (!m->sha256[0]) {
        char hex[65];
        KE_TRY(ke__files_sha256(cx, &m->files, hex));
        memcpy(cache->sha256, hex, sizeof hex);
    }
    memcpy(out, m->sha256, 65);
done:
    pthread_mutex_unlock(&hashing);
    return st;
}

const ke_tokenizer *ke_model_tokenizer(const ke_model *m)
{
    return m->tokenizer;
}

void ke_model_drop_bos(ke_model *m)
{
    ke__tokenizer_drop_bos(m->tokenizer);
}

ke_status ke_chat_new(ke_ctx *cx, ke_chat **out, const ke_model *m, const char *family)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = m->tokenizer;
    int32_t *ids = NULL, eos_id = ke_tokenizer_eos(tok);
    char *eos = NULL;
    size_t n = 0;
    ke_chat *chat = NULL;

    *out = NULL;
    if (!family && !m->info.chat_template)
        return ke__fail(cx, KE_ENOTSUP, m->info.path, "%s: the model has no chat template",
                        m->info.path);
    if (eos_id >= 0)
        KE_TRY(ke_detokenize(cx, &eos, &n, tok, &eos_id, 1));
    KE_TRY(ke__chat_new(cx, &chat, m->info.chat_template, eos, family));
    KE_TRY(ke_tokenize(cx, &ids, &n, tok, chat->tail, strlen(chat->tail),
                       KE_TOK_PARSE_SPECIAL));
    if (n > 0 && ke__token_is_special(tok, ids[n - 1]))
        chat->blank = false;
    *out = chat;
    chat = NULL;
done:
    ke_chat_free(cx, chat);
    ke_free(cx, ids);
    ke_free(cx, eos);
    return st;
}

static ke_status computable(ke_ctx *cx, const ke_model *m, const ke__param *p)
{
    if (!p->mat.data || p->mat.type->to_f32)
        return KE_OK;
    return ke__fail(cx, KE_ENOTSUP, m->file.tensors[p->tensor].name,
                    "tensor \"%s\" has type %s, which can't be computed with",
                    m->file.tensors[p->tensor].name, p->mat.type->name);
}

ke_status ke__model_computable(ke_ctx *cx, const ke_model *m)
{
    ke_status st = KE_OK;
    const ke__param *outside[] = {&m->embed,         &m->positions, &m->out_norm,
                                  &m->out_norm_bias, &m->head,      &m->head_bias};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
        KE_TRY(computable(cx, m, outside[i]));
    for (uint32_t l = 0; l < m->info.n_layers; l++) {
        for (int k = 0; k < KE__LIN_COUNT; k++) {
            KE_TRY(computable(cx, m, &m->layers[l].linear[k]));
            KE_TRY(computable(cx, m, &m->layers[l].bias[k]));
        }
        for (int k = 0; k < KE__AT_COUNT; k++) {
            KE_TRY(computable(cx, m, &m->layers[l].norm[k]));
            KE_TRY(computable(cx, m, &m->layers[l].norm_bias[k]));
        }
    }
done:
    return st;
}

bool ke__model_takes_terms(const ke_model *m, uint32_t tensor)
{
    for (uint32_t l = 0; l < m->info.n_layers; l++)
        for (int k = 0; k < KE__LIN_COUNT; k++)
            if (m->layers[l].linear[k].mat.data && m->layers[l].linear[k].tensor == tensor)
                return true;
    return m->head.tensor == tensor && m->embed.tensor != tensor;
}

/* *name: the first tensor that holds a NaN or an infinity, or NULL. */
static ke_status find_nan(ke_ctx *cx, const ke_model *m, const char **name)
{
    ke_status st = KE_OK;
    float *row = NULL;
    *name = NULL;
    for (size_t i = 0; i < m->file.n_tensors && !*name; i++) {
        const ke__tensor *t = &m->file.tensors[i];
        size_t row_bytes = 0;
        bool bad = false;
        if (!t->type->to_f32 || !ke__row_bytes(&row_bytes, t->type, t->cols))
            continue;
        KE_TRY(ke__check_cancel(cx));
        KE_TRY(ke__resize(cx, &row, t->cols, sizeof *row));
        for (uint64_t r = 0; r < t->rows && !bad; r++) {
            t->type->to_f32(row, t->data + r * row_bytes, t->cols);
            for (uint64_t c = 0; c < t->cols; c++)
                bad |= !isfinite(row[c]);
        }
        *name = bad ? t->name : NULL;
    }
done:
    ke__free(cx, row);
    return st;
}

ke_status ke__model_not_numbers(ke_ctx *cx, const ke_model *m)
{
    const char *name;
    ke_status st = find_nan(cx, m, &name);
    if (st != KE_OK)
        return st;
    if (name)
        return ke__fail(cx, KE_ENUMERIC, name,
                        "tensor \"%s\" holds values that are not finite", name);
    return ke__fail(cx, KE_ENUMERIC, m->info.path,
                    "the logits are not finite, though the file's weights are");
}
