/* config.json: the names that each family of models gives to its sizes, and what else
 * decides how it computes. */
#include "model/folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_KEYS = 40 };

static const struct family {
    const char *model_type, *architecture, *act;
    ke__family_bit bit;
    bool tied;         /* where tie_word_embeddings is not given */
    uint64_t head_dim; /* where head_dim is not given; 0: hidden / heads */
    double rope_base, eps;
} families[] = {
    {"llama", "llama", "silu", KE__LLAMA, false, 0, 10000, 1e-6},
    {"mistral", "llama", "silu", KE__LLAMA, false, 0, 10000, 1e-6},
    {"qwen2", "qwen2", "silu", KE__QWEN2, false, 0, 10000, 1e-6},
    {"qwen3", "qwen3", "silu", KE__QWEN3, false, 128, 10000, 1e-6},
    {"gemma3_text", "gemma3", "gelu_pytorch_tanh", KE__GEMMA3, true, 256, 1e6, 1e-6},
    {"gpt2", "gpt2", "gelu_new", KE__GPT2, true, 0, 10000, 1e-5},
};

typedef struct reader {
    ke_ctx *cx;
    const char *path;
    json_t *root;
    const struct family *family;
    ke__config *c;
    ke__gguf_new_kv kvs[MAX_KEYS];
    char names[MAX_KEYS][64];
    size_t n;
} reader;

const char *ke__config_size_name(const ke__config *c, ke__config_size size)
{
    static const char *const names[KE__SIZE_COUNT][2] = {
        {"", ""},
        {"num_hidden_layers", "n_layer"},
        {"hidden_size", "n_embd"},
        {"intermediate_size", "n_inner"},
        {"num_attention_heads", "n_head"},
        {"num_key_value_heads", "n_head"},
        {"head_dim", "n_embd / n_head"},
        {"vocab_size", "vocab_size"},
        {"max_position_embeddings", "n_positions"},
        {"num_attention_heads x head_dim", "n_embd"},
        {"num_key_value_heads x head_dim", "n_embd"},
        {"", "3 x n_embd"},
    };
    return names[size][c->family == KE__GPT2];
}

/* --- values ------------------------------------------------------------------------ */

/* The member, NULL if it is absent or null. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static ke_status get_size(reader *r, ke__config_size size, uint64_t fallback)
{
    const char *name = ke__config_size_name(r->c, size);
    const json_t *value = member(r->root, name);
    json_int_t v = json_integer_value(value);
    if (!value && fallback > 0) {
        r->c->size[size] = fallback;
        return KE_OK;
    }
    if (!json_is_integer(value) || v < 1 || v > 1 << 28)
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: %s is %s, a whole number from 1 to %d expected", name,
                        value ? "something else" : "missing", 1 << 28);
    r->c->size[size] = (uint64_t)v;
    return KE_OK;
}

static ke_status get_real(reader *r, const json_t *from, const char *name, double fallback,
                          double *out)
{
    const json_t *value = member(from, name);
    *out = value ? json_number_value(value) : fallback;
    if ((value && !json_is_number(value)) || !isfinite(*out) || *out < 0.0 || *out > 1e30)
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: %s is not a number from 0 on", name);
    return KE_OK;
}

static ke_status get_bool(reader *r, const char *name, bool fallback, bool *out)
{
    const json_t *value = member(r->root, name);
    *out = value ? json_is_true(value) : fallback;
    if (value && !json_is_boolean(value))
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: %s is neither true nor false", name);
    return KE_OK;
}

static ke__gguf_new_kv *next_key(reader *r, const char *suffix, ke__gguf_type type)
{
    ke__gguf_new_kv *kv = &r->kvs[r->n];
    snprintf(r->names[r->n], sizeof r->names[0], "%s.%s", r->c->architecture, suffix);
    kv->key = r->names[r->n++];
    kv->type = type;
    return kv;
}

static void put_size(reader *r, const char *suffix, uint64_t value)
{
    next_key(r, suffix, KE__GGUF_U32)->value.u = value;
}

static void put_real(reader *r, const char *suffix, double value)
{
    next_key(r, suffix, KE__GGUF_F32)->value.f = value;
}

static void put_text(reader *r, const char *key, const char *value)
{
    r->kvs[r->n++] =
        (ke__gguf_new_kv){.key = key, .type = KE__GGUF_STRING, .value.s = value};
}

/* --- what is computed ---------------------------------------------------------------- */

static ke_status pick_family(reader *r)
{
    ke_status st = KE_OK;
    const char *type = json_string_value(member(r->root, "model_type"));
    ke__text known = {0};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (type && strcmp(families[i].model_type, type) == 0)
            r->family = &families[i];
        KE_TRY(ke__text_addf(r->cx, &known, "%s%s", i ? ", " : "", families[i].model_type));
    }
    if (!r->family) {
        st = ke__fail(r->cx, KE_ENOTSUP, r->path,
                      "config.json: model_type \"%.60s\" is not known; known are %s",
                      type ? type : "", known.data);
        goto done;
    }
    r->c->family = r->family->bit;
    r->c->architecture = r->family->architecture;
done:
    ke__free(r->cx, known.data);
    return st;
}

static ke_status check_act(reader *r)
{
    static const char *const names[] = {"hidden_activation", "hidden_act",
                                        "activation_function"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = member(r->root, names[i]);
        const char *act = json_string_value(value);
        if (value && (!act || strcmp(act, r->family->act) != 0))
            return ke__fail(r->cx, KE_ENOTSUP, r->path,
                            "config.json: %s is \"%.40s\", %s expected of a %s model",
                            names[i], act ? act : "", r->family->act,
                            r->family->model_type);
    }
    return KE_OK;
}

static ke_status read_sizes(reader *r)
{
    ke_status st = KE_OK;
    uint64_t *s = r->c->size;
    s[KE__SIZE_ONE] = 1;
    KE_TRY(get_size(r, KE__SIZE_LAYERS, 0));
    KE_TRY(get_size(r, KE__SIZE_HIDDEN, 0));
    KE_TRY(get_size(r, KE__SIZE_HEADS, 0));
    KE_TRY(get_size(r, KE__SIZE_VOCAB, 0));
    KE_TRY(get_size(r, KE__SIZE_CONTEXT, 2048));
    KE_TRY(get_size(r, KE__SIZE_KV_HEADS, s[KE__SIZE_HEADS]));
    KE_TRY(
        get_size(r, KE__SIZE_FFN, r->family->bit == KE__GPT2 ? 4 * s[KE__SIZE_HIDDEN] : 0));
    uint64_t share = s[KE__SIZE_HIDDEN] / s[KE__SIZE_HEADS];
    if (share == 0 ||
        (r->family->bit == KE__GPT2 && share * s[KE__SIZE_HEADS] != s[KE__SIZE_HIDDEN]))
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: %s is %llu, no multiple of %s, which is %llu",
                        ke__config_size_name(r->c, KE__SIZE_HIDDEN),
                        (unsigned long long)s[KE__SIZE_HIDDEN],
                        ke__config_size_name(r->c, KE__SIZE_HEADS),
                        (unsigned long long)s[KE__SIZE_HEADS]);
    KE_TRY(
        get_size(r, KE__SIZE_HEAD_DIM, r->family->head_dim ? r->family->head_dim : share));
    s[KE__SIZE_Q] = s[KE__SIZE_HEADS] * s[KE__SIZE_HEAD_DIM];
    s[KE__SIZE_KV] = s[KE__SIZE_KV_HEADS] * s[KE__SIZE_HEAD_DIM];
    s[KE__SIZE_QKV] = s[KE__SIZE_Q] + 2 * s[KE__SIZE_KV];
done:
    return st;
}

static ke_status refuse_variants(reader *r)
{
    static const struct {
        const char *name;
        bool usual;
    } flags[] = {{"scale_attn_weights", true},
                 {"scale_attn_by_inverse_layer_idx", false},
                 {"add_cross_attention", false},
                 {"use_bidirectional_attention", false}};
    ke_status st = KE_OK;
    bool value;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        KE_TRY(get_bool(r, flags[i].name, flags[i].usual, &value));
        if (value != flags[i].usual)
            return ke__fail(r->cx, KE_ENOTSUP, r->path,
                            "config.json: %s is %s, which is not supported", flags[i].name,
                            value ? "true" : "false");
    }
    if (member(r->root, "quantization_config"))
        st = ke__fail(r->cx, KE_ENOTSUP, r->path,
                      "config.json: quantization_config: quantised safetensors are not "
                      "supported, f32, f16 and bf16 are");
done:
    return st;
}

/* --- rotary embedding ---------------------------------------------------------------- */

/* Llama 3's divisors: frequencies of wavelengths beyond the old context are divided by
 * `factor`, those of wavelengths well within it stay, and between the two bounds the
 * reciprocal of the divisor goes linearly with the share of the wavelength. */
static ke_status llama3_factors(reader *r, const json_t *rope, double base)
{
    ke_status st = KE_OK;
    double factor, low, high, old;
    size_t dim = r->c->size[KE__SIZE_HEAD_DIM], n = dim / 2;
    KE_TRY(get_real(r, rope, "factor", 8, &factor));
    KE_TRY(get_real(r, rope, "low_freq_factor", 1, &low));
    KE_TRY(get_real(r, rope, "high_freq_factor", 4, &high));
    KE_TRY(get_real(r, rope, "original_max_position_embeddings", 8192, &old));
    if (factor < 1.0 || low <= 0.0 || high <= low || old < 1.0)
        return ke__fail(
            r->cx, KE_EFORMAT, r->path,
            "config.json: llama3 rope scaling with factor %g, low_freq_factor "
            "%g, high_freq_factor %g, original_max_position_embeddings %g: 1 or "
            "more, 0 < low < high, and a length expected",
            factor, low, high, old);
    KE_TRY(ke__alloc(r->cx, &r->c->rope_factors, n, sizeof(float)));
    for (size_t i = 0; i < n; i++) {
        double frequency = pow(base, -2.0 * (double)i / (double)dim);
        double turns = old * frequency / (2.0 * 3.14159265358979323846);
        double smooth = (turns - low) / (high - low), divisor = factor;
        if (smooth >= 1.0)
            divisor = 1.0;
        else if (smooth > 0.0)
            divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
        r->c->rope_factors[i] = (float)divisor;
    }
done:
    return st;
}

/* `rope` may be NULL. */
static ke_status read_scaling(reader *r, const json_t *rope, double base)
{
    ke_status st = KE_OK;
    const json_t *type = member(rope, "rope_type");
    type = type ? type : member(rope, "type");
    const char *name = type ? json_string_value(type) : "default";
    double factor;
    if (name && strcmp(name, "linear") == 0) {
        KE_TRY(get_real(r, rope, "factor", 1, &factor));
        next_key(r, "rope.scaling.type", KE__GGUF_STRING)->value.s = "linear";
        put_real(r, "rope.scaling.factor", factor);
    } else if (name && strcmp(name, "llama3") == 0) {
        KE_TRY(llama3_factors(r, rope, base));
    } else if (!name || strcmp(name, "default") != 0) {
        st = ke__fail(r->cx, KE_ENOTSUP, r->path,
                      "config.json: rope scaling \"%.40s\" is not supported (default, "
                      "linear and llama3 are)",
                      name ? name : "");
    }
done:
    return st;
}

/* The parameters stand in the root, in rope_scaling, in rope_parameters, or there for each
 * type of layer, as the years went. */
static ke_status read_rope(reader *r)
{
    ke_status st = KE_OK;
    const json_t *rope = member(r->root, "rope_parameters");
    const json_t *local = member(rope, "sliding_attention");
    double base, local_base, share;
    if (member(rope, "full_attention"))
        rope = member(rope, "full_attention");
    if (!rope)
        rope = member(r->root, "rope_scaling");
    KE_TRY(get_real(r, r->root, "rope_theta", r->family->rope_base, &base));
    KE_TRY(get_real(r, rope, "rope_theta", base, &base));
    KE_TRY(get_real(r, r->root, "partial_rotary_factor", 1, &share));
    KE_TRY(get_real(r, rope, "partial_rotary_factor", share, &share));
    if (share != 1.0)
        return ke__fail(r->cx, KE_ENOTSUP, r->path,
                        "config.json: partial_rotary_factor is %g, 1 is supported", share);
    put_real(r, "rope.freq_base", base);
    KE_TRY(read_scaling(r, rope, base));
    if (r->family->bit == KE__GEMMA3) {
        KE_TRY(get_real(r, r->root, "rope_local_base_freq", 10000, &local_base));
        KE_TRY(get_real(r, local, "rope_theta", local_base, &local_base));
        put_real(r, "rope.freq_base_swa", local_base);
    }
done:
    return st;
}

/* --- windows ---------------------------------------------------------------------------
 */

/* Every which layer sees all. */
static ke_status window_period(reader *r, uint64_t *period)
{
    const json_t *types = member(r->root, "layer_types");
    const json_t *every = member(r->root, "sliding_window_pattern");
    size_t n = r->c->size[KE__SIZE_LAYERS], first = 0;
    every = every ? every : member(r->root, "_sliding_window_pattern");
    *period = every ? (uint64_t)json_integer_value(every) : 6;
    if (*period < 1 || *period > 1 << 20)
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: sliding_window_pattern is not a number of layers");
    if (!types)
        return KE_OK;
    if (json_array_size(types) != n)
        return ke__fail(
            r->cx, KE_EFORMAT, r->path,
            "config.json: layer_types has %zu entries, num_hidden_layers is %zu",
            json_array_size(types), n);
    for (size_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool full = type && strcmp(type, "full_attention") == 0;
        if (!full && !(type && strcmp(type, "sliding_attention") == 0))
            return ke__fail(r->cx, KE_ENOTSUP, r->path,
                            "config.json: layer_types[%zu] is \"%.40s\", full_attention or "
                            "sliding_attention expected",
                            i, type ? type : "");
        if (full && first == 0)
            first = i + 1;
        if (full != (first > 0 && (i + 1) % first == 0))
            return ke__fail(r->cx, KE_ENOTSUP, r->path,
                            "config.json: layer_types[%zu] breaks the pattern that every "
                            "%zu-th layer is full_attention",
                            i, first);
    }
    *period = first ? first : n + 1;
    return KE_OK;
}

static ke_status read_windows(reader *r)
{
    ke_status st = KE_OK;
    const json_t *window = member(r->root, "sliding_window");
    json_int_t size = json_integer_value(window);
    uint64_t period;
    bool used;
    KE_TRY(get_bool(r, "use_sliding_window", r->family->bit == KE__LLAMA, &used));
    if (window && (!json_is_integer(window) || size < 1 || size > 1 << 28))
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: sliding_window is not a number of tokens");
    if (r->family->bit == KE__GEMMA3) {
        KE_TRY(window_period(r, &period));
        put_size(r, "attention.sliding_window", window ? (uint64_t)size : 4096);
        put_size(r, "attention.sliding_window_pattern", period);
    } else if (window && used && (uint64_t)size < r->c->size[KE__SIZE_CONTEXT]) {
        /* Within one window all of it is seen: no longer input is offered. */
        r->c->size[KE__SIZE_CONTEXT] = (uint64_t)size;
    }
done:
    return st;
}

/* --- all of it -------------------------------------------------------------------------
 */

static ke_status put_keys(reader *r)
{
    ke_status st = KE_OK;
    const uint64_t *s = r->c->size;
    double eps, cap, query;
    bool gpt2 = r->family->bit == KE__GPT2;
    const char *name = json_string_value(member(r->root, "_name_or_path"));
    put_text(r, "general.architecture", r->c->architecture);
    put_text(r, "general.name", name ? name : "");
    put_size(r, "block_count", s[KE__SIZE_LAYERS]);
    put_size(r, "embedding_length", s[KE__SIZE_HIDDEN]);
    put_size(r, "feed_forward_length", s[KE__SIZE_FFN]);
    put_size(r, "attention.head_count", s[KE__SIZE_HEADS]);
    put_size(r, "attention.head_count_kv", s[KE__SIZE_KV_HEADS]);
    put_size(r, "attention.key_length", s[KE__SIZE_HEAD_DIM]);
    put_size(r, "attention.value_length", s[KE__SIZE_HEAD_DIM]);
    KE_TRY(get_real(r, r->root, gpt2 ? "layer_norm_epsilon" : "rms_norm_eps",
                    r->family->eps, &eps));
    put_real(r, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             eps);
    KE_TRY(get_real(r, r->root, "final_logit_softcapping", 0, &cap));
    put_real(r, "final_logit_softcapping", cap);
    KE_TRY(get_real(r, r->root, "attn_logit_softcapping", 0, &cap));
    put_real(r, "attn_logit_softcapping", cap);
    KE_TRY(get_real(r, r->root, "query_pre_attn_scalar", 0, &query));
    if (r->family->bit == KE__GEMMA3 && query > 0.0)
        put_real(r, "attention.scale", 1.0 / sqrt(query));
    if (!gpt2)
        KE_TRY(read_rope(r));
    KE_TRY(read_windows(r));
    put_size(r, "context_length", s[KE__SIZE_CONTEXT]);
done:
    return st;
}

ke_status ke__config_parse(ke_ctx *cx, ke__config *out, const char *path, const char *text,
                           size_t bytes, const ke__gguf_new_kv *extra, size_t n_extra)
{
    ke_status st = KE_OK;
    json_error_t error;
    reader r = {.cx = cx, .path = path, .c = out};
    *out = (ke__config){0};
    r.root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(r.root)) {
        st = ke__fail(cx, KE_EFORMAT, path, "line %d, column %d: %s", error.line,
                      error.column, r.root ? "no object" : error.text);
        goto done;
    }
    KE_TRY(pick_family(&r));
    KE_TRY(check_act(&r));
    KE_TRY(refuse_variants(&r));
    KE_TRY(read_sizes(&r));
    KE_TRY(get_bool(&r, "tie_word_embeddings", r.family->tied, &out->tied));
    KE_TRY(put_keys(&r));
    for (size_t i = 0; i < n_extra; i++)
        r.kvs[r.n++] = extra[i];
    KE_TRY(ke__gguf_keys(cx, &out->keys, r.kvs, r.n));
done:
    json_decref(r.root);
    if (st != KE_OK)
        ke__config_free(cx, out);
    return st;
}

void ke__config_free(ke_ctx *cx, ke__config *c)
{
    ke__free(cx, c->rope_factors);
    ke__free(cx, c->keys.data);
    *c = (ke__config){0};
}
