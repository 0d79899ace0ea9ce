#include "support/tiny_model.h"

#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_MERGES = 6, N_VOCAB = 256 + N_MERGES + 1, MAX_TENSORS = 256 };
static const char *const merges[N_MERGES] = {"t h",      "th e", "i n",
                                             "\u0120 a", "e r",  "o n"};

typedef struct maker {
    ke_ctx *cx;
    ke__rng rng;
    const ke__dtype_traits *type;
    ke__gguf_new_tensor tensors[MAX_TENSORS];
    size_t n;
    float poison;
} maker;

/* --- temporary files -------------------------------------------------------------------
 */

static char folder[64];
static char paths[64][128];
static size_t n_paths;

static void remove_all(void)
{
    for (size_t i = 0; i < n_paths; i++)
        unlink(paths[i]);
    rmdir(folder);
}

const char *tiny_path(const char *name)
{
    if (!folder[0]) {
        const char *top = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%.40s/knowedit-XXXXXX", top ? top : "/tmp");
        if (!mkdtemp(folder))
            fail_msg("no temporary folder");
        atexit(remove_all);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/%.40s", folder, name);
    for (size_t i = 0; i < n_paths; i++)
        if (strcmp(paths[i], path) == 0)
            return paths[i];
    if (n_paths == sizeof paths / sizeof paths[0])
        fail_msg("more than %zu temporary files", n_paths);
    memcpy(paths[n_paths], path, sizeof path);
    return paths[n_paths++];
}

/* --- the vocabulary: byte-level alphabet, merges, an end
 * ------------------------------------ */

static void utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        out[2] = '\0';
    }
}

static void fill_vocab(char text[N_VOCAB][16], const char *tokens[N_VOCAB],
                       int32_t types[N_VOCAB])
{
    unsigned spare = 256;
    for (unsigned b = 0; b < 256; b++) {
        bool shown = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
        utf8(text[b], shown ? b : spare++);
    }
    for (size_t i = 0; i < N_MERGES; i++) {
        const char *gap = strchr(merges[i], ' ');
        snprintf(text[256 + i], 16, "%.*s%s", (int)(gap - merges[i]), merges[i], gap + 1);
    }
    snprintf(text[N_VOCAB - 1], 16, "<|end|>");
    for (size_t i = 0; i < N_VOCAB; i++) {
        tokens[i] = text[i];
        types[i] = i == N_VOCAB - 1 ? 3 : 1;
    }
}

/* --- tensors
 * -------------------------------------------------------------------------------- */

static ke_status add(maker *m, const char *name, uint64_t rows, uint64_t cols, float scale,
                     float centre)
{
    ke_status st = KE_OK;
    float *values = NULL;
    char *copy = NULL;
    void *data = NULL;
    const ke__dtype_traits *type = rows ? m->type : ke__dtype_of(KE__F32);
    size_t n = (rows ? rows : 1) * cols, row_bytes = 0;
    if (m->n == MAX_TENSORS || !ke__row_bytes(&row_bytes, type, cols))
        return ke__fail(m->cx, KE_EINVAL, name, "a tiny model can't have %s", name);
    KE_TRY(ke__alloc(m->cx, &values, n, sizeof *values));
    KE_TRY(ke__strdup(m->cx, &copy, name));
    KE_TRY(ke__alloc(m->cx, &data, rows ? rows : 1, row_bytes));
    for (size_t i = 0; i < n; i++)
        values[i] = centre + scale * (float)(2.0 * ke__rng_unit(&m->rng) - 1.0);
    if (m->poison != 0.0F && strcmp(name, "blk.0.ffn_up.weight") == 0)
        values[3] = m->poison;
    type->from_f32(data, values, n);
    m->tensors[m->n++] = (ke__gguf_new_tensor){copy, type, rows, cols, data};
    copy = NULL;
    data = NULL;
done:
    ke__free(m->cx, values);
    ke__free(m->cx, copy);
    ke__free(m->cx, data);
    return st;
}

static ke_status add_part(maker *m, uint32_t layer, const char *part, uint64_t rows,
                          uint64_t cols)
{
    char name[64];
    bool norm = strstr(part, "norm") && strstr(part, "weight");
    snprintf(name, sizeof name, "blk.%u.%s", (unsigned)layer, part);
    /* A scale that keeps activations near 1 through random layers. */
    return add(m, name, rows, cols, rows ? 2.5F / 8.0F : 0.25F, norm ? 1.0F : 0.0F);
}

static ke_status add_layer(maker *m, const ke__arch *a, const tiny_spec *s, uint32_t l)
{
    ke_status st = KE_OK;
    uint64_t q = (uint64_t)s->n_heads * s->head_dim, kv = (uint64_t)s->n_kv * s->head_dim;
    KE_TRY(add_part(m, l, "attn_norm.weight", 0, s->d));
    KE_TRY(add_part(m, l, "ffn_norm.weight", 0, s->d));
    if (a->norm == KE__NORM_LAYER) {
        KE_TRY(add_part(m, l, "attn_norm.bias", 0, s->d));
        KE_TRY(add_part(m, l, "ffn_norm.bias", 0, s->d));
    }
    if (a->fused_qkv) {
        KE_TRY(add_part(m, l, "attn_qkv.weight", q + 2 * kv, s->d));
        KE_TRY(add_part(m, l, "attn_qkv.bias", 0, q + 2 * kv));
    } else {
        KE_TRY(add_part(m, l, "attn_q.weight", q, s->d));
        KE_TRY(add_part(m, l, "attn_k.weight", kv, s->d));
        KE_TRY(add_part(m, l, "attn_v.weight", kv, s->d));
    }
    if (a->qkv_bias) {
        KE_TRY(add_part(m, l, "attn_q.bias", 0, q));
        KE_TRY(add_part(m, l, "attn_k.bias", 0, kv));
        KE_TRY(add_part(m, l, "attn_v.bias", 0, kv));
    }
    if (a->qk_norm) {
        KE_TRY(add_part(m, l, "attn_q_norm.weight", 0, s->head_dim));
        KE_TRY(add_part(m, l, "attn_k_norm.weight", 0, s->head_dim));
    }
    if (a->post_norms) {
        KE_TRY(add_part(m, l, "post_attention_norm.weight", 0, s->d));
        KE_TRY(add_part(m, l, "post_ffw_norm.weight", 0, s->d));
    }
    KE_TRY(add_part(m, l, "attn_output.weight", s->d, q));
    if (a->gated)
        KE_TRY(add_part(m, l, "ffn_gate.weight", s->f, s->d));
    KE_TRY(add_part(m, l, "ffn_up.weight", s->f, s->d));
    KE_TRY(add_part(m, l, "ffn_down.weight", s->d, s->f));
    if (a->biases) {
        KE_TRY(add_part(m, l, "attn_output.bias", 0, s->d));
        KE_TRY(add_part(m, l, "ffn_up.bias", 0, s->f));
        KE_TRY(add_part(m, l, "ffn_down.bias", 0, s->d));
    }
done:
    return st;
}

/* --- the file
 * ---------------------------------------------------------------------------------- */

static ke__gguf_new_kv number(const char *key, uint64_t value)
{
    return (ke__gguf_new_kv){.key = key, .type = KE__GGUF_U32, .value.u = value};
}

static ke__gguf_new_kv string(const char *key, const char *value)
{
    return (ke__gguf_new_kv){.key = key, .type = KE__GGUF_STRING, .value.s = value};
}

static ke_status write_file(maker *m, const ke__arch *a, const tiny_spec *s,
                            const char *path)
{
    static char text[N_VOCAB][16];
    const char *tokens[N_VOCAB];
    int32_t types[N_VOCAB];
    char keys[12][64];
    static const char *const suffix[12] = {"block_count",
                                           "embedding_length",
                                           "feed_forward_length",
                                           "attention.head_count",
                                           "attention.head_count_kv",
                                           "attention.key_length",
                                           "attention.value_length",
                                           "context_length",
                                           "attention.sliding_window",
                                           "attention.layer_norm_rms_epsilon",
                                           "attention.layer_norm_epsilon",
                                           "rope.freq_base"};
    fill_vocab(text, tokens, types);
    for (size_t i = 0; i < 12; i++)
        snprintf(keys[i], sizeof keys[i], "%s.%s", a->name, suffix[i]);
    size_t n_kvs;
    const ke__gguf_new_kv kvs[] = {
        string("general.architecture", a->name),
        string("general.name", "tiny"),
        number(keys[0], s->n_layers),
        number(keys[1], s->d),
        number(keys[2], s->f),
        number(keys[3], s->n_heads),
        number(keys[4], s->n_kv),
        number(keys[5], s->head_dim),
        number(keys[6], s->head_dim),
        number(keys[7], 128),
        number(keys[8], 3),
        {.key = keys[9], .type = KE__GGUF_F32, .value.f = 1e-5},
        {.key = keys[10], .type = KE__GGUF_F32, .value.f = 1e-5},
        {.key = keys[11], .type = KE__GGUF_F32, .value.f = 10000.0},
        string("tokenizer.ggml.model", "gpt2"),
        string("tokenizer.ggml.pre", "gpt-2"),
        {.key = "tokenizer.ggml.tokens",
         .type = KE__GGUF_ARRAY,
         .strings = tokens,
         .n = N_VOCAB},
        {.key = "tokenizer.ggml.token_type",
         .type = KE__GGUF_ARRAY,
         .ints = types,
         .n = N_VOCAB},
        {.key = "tokenizer.ggml.merges",
         .type = KE__GGUF_ARRAY,
         .strings = merges,
         .n = N_MERGES},
        number("tokenizer.ggml.bos_token_id", N_VOCAB - 1),
        number("tokenizer.ggml.eos_token_id", N_VOCAB - 1),
        {.key = "tokenizer.ggml.add_bos_token", .type = KE__GGUF_BOOL, .value.u = s->bos},
        string("tokenizer.chat_template", s->chat_template),
    };
    n_kvs = sizeof kvs / sizeof kvs[0] - (s->chat_template == NULL);
    return ke__gguf_create(m->cx, path, kvs, n_kvs, m->tensors, m->n);
}

ke_status tiny_model_write(ke_ctx *cx, const tiny_spec *spec, const char *path)
{
    ke_status st = KE_OK;
    tiny_spec s = *spec;
    s.arch = s.arch ? s.arch : "llama";
    s.n_layers = s.n_layers ? s.n_layers : 3;
    s.d = s.d ? s.d : 32;
    s.f = s.f ? s.f : 64;
    s.n_heads = s.n_heads ? s.n_heads : 4;
    s.n_kv = s.n_kv ? s.n_kv : 2;
    s.head_dim = s.head_dim ? s.head_dim : 8;
    const ke__arch *a = ke__arch_find(s.arch, strlen(s.arch));
    maker m = {.cx = cx,
               .rng = {spec->seed},
               .poison = s.poison,
               .type = ke__dtype_named(s.type ? s.type : "f32")};
    if (!a || !m.type)
        return ke__fail(cx, KE_EINVAL, NULL, "no tiny model %s of %s", s.arch, s.type);
    KE_TRY(add(&m, "token_embd.weight", N_VOCAB, s.d, 1.0F, 0.0F));
    if (a->learned_positions)
        KE_TRY(add(&m, "position_embd.weight", 128, s.d, 0.5F, 0.0F));
    for (uint32_t l = 0; l < s.n_layers; l++)
        KE_TRY(add_layer(&m, a, &s, l));
    KE_TRY(add(&m, "output_norm.weight", 0, s.d, 0.25F, 1.0F));
    if (a->norm == KE__NORM_LAYER)
        KE_TRY(add(&m, "output_norm.bias", 0, s.d, 0.25F, 0.0F));
    if (s.untied)
        KE_TRY(add(&m, "output.weight", N_VOCAB, s.d, 1.0F, 0.0F));
    KE_TRY(write_file(&m, a, &s, path));
done:
    for (size_t i = 0; i < m.n; i++) {
        ke__free(cx, (void *)(uintptr_t)m.tensors[i].name);
        ke__free(cx, (void *)(uintptr_t)m.tensors[i].data);
    }
    return st;
}

ke_model *tiny_model_open(ke_ctx *cx, const tiny_spec *spec)
{
    static unsigned count;
    char name[32];
    ke_model *m = NULL;
    snprintf(name, sizeof name, "tiny-%u.gguf", count++);
    const char *path = tiny_path(name);
    if (tiny_model_write(cx, spec, path) != KE_OK || ke_model_open(cx, &m, path) != KE_OK)
        fail_msg("tiny model: %s", ke_ctx_message(cx));
    return m;
}
