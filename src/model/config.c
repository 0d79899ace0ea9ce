/* config.json: the names that each family of models gives to its sizes, and what else
 * decides how it computes. */
#include "model/folder.h"

#include "base/json.h"

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

/* Names in config.json (GPT-2's second), and the largest that is taken: what the pass can
 * compute with, so that nothing is sized by a number that no tensor has confirmed. */
static const struct size {
    const char *names[2];
    uint64_t most;
} sizes[KE__SIZE_COUNT] = {
    [KE__SIZE_ONE] = {{"", ""}, 1},
    [KE__SIZE_LAYERS] = {{"num_hidden_layers", "n_layer"}, KE__MAX_LAYERS},
    [KE__SIZE_HIDDEN] = {{"hidden_size", "n_embd"}, KE__MAX_WIDTH},
    [KE__SIZE_FFN] = {{"intermediate_size", "n_inner"}, KE__MAX_WIDTH},
    [KE__SIZE_HEADS] = {{"num_attention_heads", "n_head"}, KE__MAX_WIDTH},
    [KE__SIZE_KV_HEADS] = {{"num_key_value_heads", "n_head"}, KE__MAX_WIDTH},
    [KE__SIZE_HEAD_DIM] = {{"head_dim", "n_embd / n_head"}, KE__MAX_WIDTH},
    [KE__SIZE_VOCAB] = {{"vocab_size", "vocab_size"}, KE__MAX_CONTEXT},
    [KE__SIZE_CONTEXT] = {{"max_position_embeddings", "n_positions"}, KE__MAX_CONTEXT},
    [KE__SIZE_Q] = {{"num_attention_heads x head_dim", "n_embd"}, KE__MAX_WIDTH},
    [KE__SIZE_KV] = {{"num_key_value_heads x head_dim", "n_embd"}, KE__MAX_WIDTH},
    [KE__SIZE_QKV] = {{"", "3 x n_embd"}, 3 * KE__MAX_WIDTH},
};

const char *ke__config_size_name(const ke__config *c, ke__config_size size)
{
    return sizes[size].names[c->family == KE__GPT2];
}

/* --- values ------------------------------------------------------------------------ */

/* The member, NULL if it is absent or null. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

/* What is there in the place of what was expected. */
static ke_status bad_value(reader *r, const char *name, const json_t *value,
                           const char *expected)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "a list",
        [JSON_STRING] = "a long text", [JSON_INTEGER] = "a number",
        [JSON_REAL] = "a number",      [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    char text[48];
    size_t n = value ? json_dumpb(value, text, sizeof text - 1,
                                  JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9))
                     : 0;
    bool fits = n > 0 && n < sizeof text;
    text[fits ? n : 0] = '\0';
    return ke__fail(r->cx, KE_EFORMAT, r->path, "config.json: %s is %s, %s expected", name,
                    fits    ? text
                    : value ? kinds[json_typeof(value)]
                            : "missing",
                    expected);
}

static ke_status get_count(reader *r, const char *name, uint64_t most, uint64_t fallback,
                           uint64_t *out)
{
    const json_t *value = member(r->root, name);
    json_int_t v = json_integer_value(value);
    char expected[64];
    *out = value ? (uint64_t)v : fallback;
    if (value ? json_is_integer(value) && v >= 1 && (uint64_t)v <= most : fallback > 0)
        return KE_OK;
    snprintf(expected, sizeof expected, "a whole number from 1 to %llu",
             (unsigned long long)most);
    return bad_value(r, name, value, expected);
}

static ke_status get_size(reader *r, ke__config_size size, uint64_t fallback)
{
    return get_count(r, ke__config_size_name(r->c, size), sizes[size].most, fallback,
                     &r->c->size[size]);
}

static ke_status get_real(reader *r, const json_t *from, const char *name, double fallback,
                          double least, double most, double *out)
{
    const json_t *value = member(from, name);
    char expected[64];
    *out = value ? json_number_value(value) : fallback;
    if (!value || (json_is_number(value) && *out >= least && *out <= most))
        return KE_OK;
    snprintf(expected, sizeof expected, "a number from %g to %g", least, most);
    return bad_value(r, name, value, expected);
}

static ke_status get_bool(reader *r, const char *name, bool fallback, bool *out)
{
    const json_t *value = member(r->root, name);
    *out = value ? json_is_true(value) : fallback;
    return !value || json_is_boolean(value) ? KE_OK
                                            : bad_value(r, name, value, "true or false");
}

/* The member, an object, NULL if it is absent or null. */
static ke_status get_object(reader *r, const json_t *from, const char *name,
                            const json_t **out)
{
    *out = member(from, name);
    return !*out || json_is_object(*out) ? KE_OK
                                         : bad_value(r, name, *out, "an object or null");
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

static ke_status not_a_multiple(reader *r, ke__config_size a, ke__config_size b)
{
    const uint64_t *s = r->c->size;
    return ke__fail(r->cx, KE_EFORMAT, r->path,
                    "config.json: %s is %llu, no multiple of %s, which is %llu",
                    ke__config_size_name(r->c, a), (unsigned long long)s[a],
                    ke__config_size_name(r->c, b), (unsigned long long)s[b]);
}

static ke_status read_sizes(reader *r)
{
    ke_status st = KE_OK;
    uint64_t *s = r->c->size;
    bool gpt2 = r->family->bit == KE__GPT2;
    s[KE__SIZE_ONE] = 1;
    KE_TRY(get_size(r, KE__SIZE_LAYERS, 0));
    KE_TRY(get_size(r, KE__SIZE_HIDDEN, 0));
    KE_TRY(get_size(r, KE__SIZE_HEADS, 0));
    KE_TRY(get_size(r, KE__SIZE_VOCAB, 0));
    KE_TRY(get_size(r, KE__SIZE_CONTEXT, gpt2 ? 1024 : 2048));
    KE_TRY(get_size(r, KE__SIZE_KV_HEADS, s[KE__SIZE_HEADS]));
    KE_TRY(get_size(r, KE__SIZE_FFN, gpt2 ? 4 * s[KE__SIZE_HIDDEN] : 0));
    if (s[KE__SIZE_HEADS] % s[KE__SIZE_KV_HEADS] != 0)
        return not_a_multiple(r, KE__SIZE_HEADS, KE__SIZE_KV_HEADS);
    uint64_t dim = r->family->head_dim;
    if (dim == 0 && (gpt2 || !member(r->root, "head_dim"))) {
        if (s[KE__SIZE_HIDDEN] % s[KE__SIZE_HEADS] != 0)
            return not_a_multiple(r, KE__SIZE_HIDDEN, KE__SIZE_HEADS);
        dim = s[KE__SIZE_HIDDEN] / s[KE__SIZE_HEADS];
    }
    KE_TRY(get_size(r, KE__SIZE_HEAD_DIM, dim));
    if (!gpt2 && s[KE__SIZE_HEAD_DIM] % 2 != 0)
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: head_dim is %llu, an even number expected: rotary "
                        "embedding turns pairs",
                        (unsigned long long)s[KE__SIZE_HEAD_DIM]);
    s[KE__SIZE_Q] = s[KE__SIZE_HEADS] * s[KE__SIZE_HEAD_DIM];
    s[KE__SIZE_KV] = s[KE__SIZE_KV_HEADS] * s[KE__SIZE_HEAD_DIM];
    s[KE__SIZE_QKV] = s[KE__SIZE_Q] + 2 * s[KE__SIZE_KV];
    if (s[KE__SIZE_Q] > sizes[KE__SIZE_Q].most)
        st = ke__fail(
            r->cx, KE_EFORMAT, r->path, "config.json: %s is %llu, at most %llu expected",
            ke__config_size_name(r->c, KE__SIZE_Q), (unsigned long long)s[KE__SIZE_Q],
            (unsigned long long)sizes[KE__SIZE_Q].most);
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
    KE_TRY(get_real(r, rope, "factor", 8, 1, 1e6, &factor));
    KE_TRY(get_real(r, rope, "low_freq_factor", 1, 1e-6, 1e6, &low));
    KE_TRY(get_real(r, rope, "high_freq_factor", 4, 1e-6, 1e6, &high));
    KE_TRY(get_real(r, rope, "original_max_position_embeddings", 8192, 1, KE__MAX_CONTEXT,
                    &old));
    if (high <= low)
        return ke__fail(r->cx, KE_EFORMAT, r->path,
                        "config.json: low_freq_factor is %g, high_freq_factor is %g: the "
                        "high one expected to be greater",
                        low, high);
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
        KE_TRY(get_real(r, rope, "factor", 1, 1e-3, 1e6, &factor));
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
    const json_t *rope, *local, *full;
    double base, local_base, share;
    KE_TRY(get_object(r, r->root, "rope_parameters", &rope));
    KE_TRY(get_object(r, rope, "sliding_attention", &local));
    KE_TRY(get_object(r, rope, "full_attention", &full));
    if (!rope)
        KE_TRY(get_object(r, r->root, "rope_scaling", &rope));
    rope = full ? full : rope;
    KE_TRY(get_real(r, r->root, "rope_theta", r->family->rope_base, 2, 1e30, &base));
    KE_TRY(get_real(r, rope, "rope_theta", base, 2, 1e30, &base));
    KE_TRY(get_real(r, r->root, "partial_rotary_factor", 1, 0, 1, &share));
    KE_TRY(get_real(r, rope, "partial_rotary_factor", share, 0, 1, &share));
    if (share != 1.0)
        return ke__fail(r->cx, KE_ENOTSUP, r->path,
                        "config.json: partial_rotary_factor is %g, 1 is supported", share);
    put_real(r, "rope.freq_base", base);
    KE_TRY(read_scaling(r, rope, base));
    if (r->family->bit == KE__GEMMA3) {
        KE_TRY(get_real(r, r->root, "rope_local_base_freq", 10000, 2, 1e30, &local_base));
        KE_TRY(get_real(r, local, "rope_theta", local_base, 2, 1e30, &local_base));
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
    size_t n = r->c->size[KE__SIZE_LAYERS], first = 0;
    const char *name = member(r->root, "sliding_window_pattern")
                           ? "sliding_window_pattern"
                           : "_sliding_window_pattern";
    ke_status st = get_count(r, name, KE__MAX_WIDTH, 6, period);
    if (st != KE_OK)
        return st;
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
    uint64_t size, period;
    bool used;
    KE_TRY(get_bool(r, "use_sliding_window", r->family->bit == KE__LLAMA, &used));
    KE_TRY(get_count(r, "sliding_window", KE__MAX_CONTEXT, 4096, &size));
    if (r->family->bit == KE__GEMMA3) {
        KE_TRY(window_period(r, &period));
        put_size(r, "attention.sliding_window", size);
        put_size(r, "attention.sliding_window_pattern", period);
    } else if (member(r->root, "sliding_window") && used &&
               size < r->c->size[KE__SIZE_CONTEXT]) {
        /* Within one window all of it is seen: no longer input is offered. */
        r->c->size[KE__SIZE_CONTEXT] = size;
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
                    r->family->eps, 0, 1, &eps));
    put_real(r, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             eps);
    KE_TRY(get_real(r, r->root, "final_logit_softcapping", 0, 0, 1e6, &cap));
    put_real(r, "final_logit_softcapping", cap);
    KE_TRY(get_real(r, r->root, "attn_logit_softcapping", 0, 0, 1e6, &cap));
    put_real(r, "attn_logit_softcapping", cap);
    KE_TRY(get_real(r, r->root, "query_pre_attn_scalar", 256, 1e-3, 1e6, &query));
    if (r->family->bit == KE__GEMMA3)
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
        st = r.root
                 ? ke__fail(cx, KE_EFORMAT, path, "expected one JSON object")
                 : ke__fail(cx, ke__json_load_status(&error), path,
                            "line %d, column %d: %s", error.line, error.column, error.text);
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
