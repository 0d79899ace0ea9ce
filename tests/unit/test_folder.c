/* Models of several files: safetensors folders against transformers, split GGUF against the
 * whole file, edited copies of both and the way back. */
#include "base/fault.h"
#include "knowedit/study.h"
#include "patch/patch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "support/folders.h"
#include "support/oom.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#define HF "tests/data/hf/"
static const char *const folders[] = {"llama", "llama-linear", "qwen2",
                                      "qwen3", "gemma3",       "gpt2"};
enum { N_FOLDERS = sizeof folders / sizeof folders[0], N_IDS = 12, PARTS = FOLDER_PARTS };

static char *text_of(ke_ctx *cx, const char *path, size_t *bytes)
{
    char *text = NULL;
    if (ke__file_read(cx, &text, bytes, path, 1 << 24) != KE_OK)
        fail_msg("%s: %s", path, ke_ctx_message(cx));
    return text;
}

static void copy(ke_ctx *cx, const char *from, const char *to)
{
    size_t bytes;
    char *text = text_of(cx, from, &bytes);
    scratch_write(to, text, bytes);
    ke__free(cx, text);
}

static void same_bytes(ke_ctx *cx, const char *a, const char *b)
{
    size_t n, m;
    char *x = text_of(cx, a, &n), *y = text_of(cx, b, &m);
    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("%s and %s differ", a, b);
    ke__free(cx, x);
    ke__free(cx, y);
}

static ke_model *opened(ke_ctx *cx, const char *path)
{
    ke_model *m = NULL;
    if (ke_model_open(cx, &m, path) != KE_OK)
        fail_msg("%s: %s: %s", path, ke_ctx_where(cx), ke_ctx_message(cx));
    return m;
}

/* --- logits ------------------------------------------------------------------------ */

static void agrees_with_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FOLDERS; i++) {
        ke_ctx *cx = ke_ctx_new(NULL);
        char path[128];
        int32_t ids[N_IDS];
        snprintf(path, sizeof path, HF "%s", folders[i]);
        ke_model *m = opened(cx, path);
        snprintf(path, sizeof path, HF "%s/expected.json", folders[i]);
        json_t *want = json_load_file(path, 0, NULL);
        json_t *logits = json_object_get(want, "logits"),
               *list = json_object_get(want, "ids");
        size_t n = json_array_size(logits);
        float *got = calloc(n, sizeof *got);
        assert_int_equal(N_IDS, json_array_size(list));
        assert_int_equal(n, m->info.n_vocab);
        for (size_t k = 0; k < N_IDS; k++)
            ids[k] = (int32_t)json_integer_value(json_array_get(list, k));
        assert_int_equal(KE_OK, ke_logits(cx, got, m, NULL, (ke_ids){ids, N_IDS}));
        /* Logits of about 5, sums of some hundred f32 products a layer, in another order.
         */
        double worst = 0;
        for (size_t k = 0; k < n; k++) {
            double expected = json_number_value(json_array_get(logits, k));
            double off = fabs((double)got[k] - expected);
            worst = off > worst ? off : worst;
            if (off > 5e-5)
                fail_msg("%s: logit %zu is %.6f, transformers has %.6f", folders[i], k,
                         (double)got[k], expected);
        }
        print_message("# %s: %.1e, 5e-5 allowed\n", folders[i], worst);
        free(got);
        json_decref(want);
        ke_model_close(cx, m);
        ke_ctx_free(cx);
    }
}

/* --- edited copies ------------------------------------------------------------------ */

/* Add a matrix of rank one to `tensor`, write the copy and its patch. */
static void edit(ke_ctx *cx, const char *base, const char *tensor, const char *type,
                 const char *output, const char *patch)
{
    static const char *const record[] = {"{\"method\":\"test\"}"};
    const ke__gguf_stamp stamp = {"knowedit.edits", record, 1, true};
    ke_model *m = opened(cx, base), *written = NULL;
    ptrdiff_t at = ke__gguf_tensor(&m->file, tensor);
    ke_stack *stack = NULL;
    ke_patch *p = NULL;
    ke__merged merged;
    ke__model_out out;
    float u[256], v[256];
    char meta[256], before[65], after[65], *path = NULL;
    assert_true(at >= 0);
    const ke__tensor *t = &m->file.tensors[at];
    for (size_t i = 0; i < 256; i++) {
        u[i] = (float)i / 256.0F;
        v[i] = 1.0F - u[i];
    }
    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_int_equal(KE_OK,
                     ke__patch_add_lowrank(cx, p, tensor, t->rows, t->cols, 1, 1, u, v));
    assert_int_equal(KE_OK, ke_stack_new(cx, &stack, m));
    assert_int_equal(KE_OK, ke_stack_push(cx, stack, p));
    assert_int_equal(KE_OK,
                     ke__merge(cx, &merged, m, stack, type ? ke__dtype_named(type) : NULL));
    if (ke__model_out_open(cx, &out, &m->files, output, false) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    assert_int_equal(KE_OK, ke__model_out_write(cx, &out, m, &merged, &stamp, 1, after));
    assert_int_equal(KE_OK, ke__model_out_readable(cx, &out, &path));
    written = opened(cx, path);
    assert_int_equal(1, written->info.n_edits);
    assert_string_equal(record[0], ke_model_edit_get(written, 0));
    /* What was merged is what is read, turned back where the file has it otherwise. */
    at = ke__gguf_tensor(&written->file, tensor);
    assert_int_equal(merged.tensors[0].bytes, written->file.tensors[at].bytes);
    assert_memory_equal(merged.tensors[0].data, written->file.tensors[at].data,
                        merged.tensors[0].bytes);
    assert_int_equal(KE_OK, ke__patch_set_undo(cx, p, &m->files, &written->files));
    assert_int_equal(KE_OK, ke__model_out_commit(cx, &out));
    assert_int_equal(KE_OK, ke_model_sha256(cx, m, before));
    snprintf(meta, sizeof meta, "{\"sha256_base\":\"%s\",\"sha256_output\":\"%s\"}", before,
             after);
    assert_int_equal(KE_OK, ke__patch_set_meta(cx, p, meta));
    assert_int_equal(KE_OK, ke_patch_save(cx, p, patch, true));
    ke_model_close(cx, written);
    ke__free(cx, path);
    ke__model_out_close(cx, &out);
    ke__merged_free(cx, &merged);
    ke_stack_free(cx, stack);
    ke_patch_free(cx, p);
    ke_model_close(cx, m);
}

/* Every file of the model is as it was. */
static void same_model(ke_ctx *cx, const char *base, const char *back)
{
    ke__files a, b;
    assert_int_equal(KE_OK, ke__files_open(cx, &a, base));
    assert_int_equal(KE_OK, ke__files_open(cx, &b, back));
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        assert_string_equal(a.items[i].name, b.items[i].name);
        same_bytes(cx, a.items[i].map.path, b.items[i].map.path);
    }
    ke__files_close(cx, &a);
    ke__files_close(cx, &b);
}

static void safetensors_come_back(void **state)
{
    static const char *const types[] = {NULL, "f32", "bf16", "f16"};
    ke_ctx *cx = ke_ctx_new(NULL);
    char said[65];
    for (size_t i = 0; i < 2 * (size_t)N_FOLDERS; i++) {
        char base[128], name[32], other[512];
        snprintf(base, sizeof base, HF "%s", folders[i / 2]);
        snprintf(name, sizeof name, "edited-%zu", i);
        const char *edited = scratch_path(state, name), *patch = scratch_path(state, "p");
        snprintf(name, sizeof name, "back-%zu", i);
        const char *back = scratch_path(state, name);
        edit(cx, base, i % 2 ? "blk.1.ffn_down.weight" : "blk.0.ffn_up.weight",
             types[i % 4], edited, patch);
        snprintf(other, sizeof other, "%s/tokenizer.json", edited);
        assert_true(ke__file_exists(other));
        if (ke_undo(cx, edited, patch, back, false, said) != KE_OK)
            fail_msg("%s: %s", base, ke_ctx_message(cx));
        same_model(cx, base, back);
        snprintf(other, sizeof other, "%s/tokenizer.json", back);
        assert_true(ke__file_exists(other));
    }
    ke_ctx_free(cx);
}

/* --- split GGUF ---------------------------------------------------------------------- */

static uint64_t tiny(ke_ctx *cx, const char *path)
{
    ke__gguf g;
    assert_int_equal(KE_OK, tiny_model_write(cx, &(tiny_spec){.type = "q8_0"}, path));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    uint64_t n = g.n_tensors;
    ke__gguf_close(cx, &g);
    return n;
}

static void parts_are_the_whole(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *whole = scratch_path(state, "whole.gguf"),
               *folder = scratch_path(state, "s");
    const int32_t ids[] = {5, 77, 130, 9};
    char path[512];
    tiny(cx, whole);
    folder_split(cx, whole, folder, 0);
    ke_model *a = opened(cx, whole);
    float *x = calloc(a->info.n_vocab, sizeof *x), *y = calloc(a->info.n_vocab, sizeof *y);
    assert_int_equal(KE_OK, ke_logits(cx, x, a, NULL, (ke_ids){ids, 4}));
    for (int i = 0; i <= PARTS; i++) {
        snprintf(path, sizeof path, i ? "%s/tiny-%05d-of-%05d.gguf" : "%s", folder, i,
                 PARTS);
        ke_model *b = opened(cx, path);
        assert_string_equal("GGUF in 3 parts", b->info.container);
        assert_int_equal(a->info.n_params, b->info.n_params);
        assert_int_equal(KE_OK, ke_logits(cx, y, b, NULL, (ke_ids){ids, 4}));
        assert_memory_equal(x, y, a->info.n_vocab * sizeof *x);
        ke_diff diff;
        assert_int_equal(KE_OK, ke_diff_models(cx, &diff, a, b));
        assert_int_equal(0, diff.n + diff.n_metadata);
        ke_diff_free(cx, &diff);
        ke_model_close(cx, b);
    }
    free(x);
    free(y);
    ke_model_close(cx, a);
    ke_ctx_free(cx);
}

/* Those who publish GGUF files put the config.json of what they were made from beside. */
static void a_config_beside_parts_changes_nothing(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *whole = scratch_path(state, "whole.gguf"),
               *folder = scratch_path(state, "s");
    char path[512];
    tiny(cx, whole);
    folder_split(cx, whole, folder, 0);
    snprintf(path, sizeof path, "%s/config.json", folder);
    scratch_write(path, "{}", 2);
    ke_model *m = opened(cx, folder);
    assert_string_equal("GGUF in 3 parts", m->info.container);
    ke_model_close(cx, m);
    ke_ctx_free(cx);
}

static void parts_come_back(void **state)
{
    static const char *const outputs[] = {"edited.gguf", "edited"};
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *whole = scratch_path(state, "whole.gguf");
    char folder[512], said[65], name[32];
    snprintf(folder, sizeof folder, "%s", scratch_path(state, "s"));
    tiny(cx, whole);
    folder_split(cx, whole, folder, 0);
    for (size_t i = 0; i < 4; i++) {
        const char *patch = scratch_path(state, "p");
        snprintf(name, sizeof name, "%zu%s", i, outputs[i % 2]);
        const char *edited = scratch_path(state, name);
        snprintf(name, sizeof name, "back-%zu", i);
        const char *back = scratch_path(state, name);
        edit(cx, folder, "blk.1.ffn_down.weight", i < 2 ? NULL : "f16", edited, patch);
        assert_int_equal(KE_EINVAL, ke_undo(cx, edited, patch, "x.gguf", false, said));
        if (ke_undo(cx, edited, patch, back, false, said) != KE_OK)
            fail_msg("%s", ke_ctx_message(cx));
        same_model(cx, folder, back);
    }
    ke_ctx_free(cx);
}

/* --- what is refused ----------------------------------------------------------------- */

static void refused(ke_ctx *cx, const char *path, ke_status want, const char *says)
{
    ke_model *m = NULL;
    ke_status st = ke_model_open(cx, &m, path);
    if (st != want || !strstr(ke_ctx_message(cx), says))
        fail_msg("%s: %s: %s; expected %s: %s", path, ke_status_name(st),
                 ke_ctx_message(cx), ke_status_name(want), says);
    ke_model_close(cx, m);
}

static void refuses_bad_parts(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *whole = scratch_path(state, "whole.gguf"), *s = scratch_path(state, "s"),
               *t = scratch_path(state, "t");
    uint64_t n = tiny(cx, whole);
    char first[512], second[512], third[512], moved[512];
    folder_split(cx, whole, s, 0);
    folder_split(cx, whole, t, n + 1);
    refused(cx, t, KE_EFORMAT, "split.tensors.count is");
    snprintf(first, sizeof first, "%s/tiny-00001-of-00003.gguf", s);
    snprintf(second, sizeof second, "%s/tiny-00002-of-00003.gguf", s);
    snprintf(third, sizeof third, "%s/tiny-00003-of-00003.gguf", s);
    snprintf(moved, sizeof moved, "%s/alone.gguf", s);
    copy(cx, second, moved);
    refused(cx, moved, KE_EFORMAT, "split.count is 3");
    copy(cx, third, second);
    refused(cx, first, KE_EFORMAT, "split.no is 2, 1 expected");
    copy(cx, whole, second);
    refused(cx, first, KE_EFORMAT, "split.no is missing, 1 expected");
    unlink(second);
    refused(cx, first, KE_ENOENT, "tiny-00002-of-00003.gguf, is missing");
    ke_ctx_free(cx);
}

static const char *copied(void **state, const char *name)
{
    const char *to = scratch_path(state, name);
    folder_copy(name, to);
    return to;
}

/* config.json with one member set; NULL takes it away. */
static void set_config(const char *folder, const char *name, const char *value)
{
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *config = json_load_file(path, 0, NULL);
    if (value)
        json_object_set_new(config, name, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(config, name);
    assert_int_equal(0, json_dump_file(config, path, 0));
    json_decref(config);
}

static void refuses_contradictions(void **state)
{
    static const struct {
        const char *name, *value;
        ke_status st;
        const char *says;
    } cases[] = {
        {"hidden_size", "40", KE_EFORMAT,
         "hidden_size is 40, lm_head.weight has 32 columns"},
        {"vocab_size", "261", KE_EFORMAT, "vocab_size is 261"},
        {"intermediate_size", "64", KE_EFORMAT, "intermediate_size is 64"},
        {"num_key_value_heads", "4", KE_EFORMAT,
         "num_key_value_heads x head_dim is 32, model.layers.0.self_attn.k_proj.bias has "
         "16 elements"},
        {"num_hidden_layers", "1", KE_EFORMAT, "but there is model.layers.1."},
        {"num_hidden_layers", "3", KE_EFORMAT,
         "num_hidden_layers is 3, but the tensor model.layers.2."},
        {"hidden_size", NULL, KE_EFORMAT, "hidden_size is missing"},
        {"model_type", "\"mamba\"", KE_ENOTSUP, "model_type \"mamba\" is not known"},
        {"model_type", "\"gpt2\"", KE_ENOTSUP, "gelu_new expected of a gpt2 model"},
        {"hidden_act", "\"relu\"", KE_ENOTSUP, "hidden_act is \"relu\", silu expected"},
        {"rope_parameters", "{\"rope_type\": \"yarn\"}", KE_ENOTSUP, "\"yarn\""},
        {"tie_word_embeddings", "3", KE_EFORMAT, "tie_word_embeddings is 3, true or false"},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *folder = copied(state, "qwen2");
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        copy(cx, HF "qwen2/config.json", path);
        set_config(folder, cases[i].name, cases[i].value);
        refused(cx, folder, cases[i].st, cases[i].says);
    }
    scratch_write(path, "{\"model_type\":", 14);
    refused(cx, folder, KE_EFORMAT, "line 1");
    ke_ctx_free(cx);
}

/* Of each number that config.json may hold: what nobody means, beside what is expected. */
static const struct {
    const char *folder, *name, *value, *says;
} absurd[] = {
    {"qwen2", "num_hidden_layers", "-1", "num_hidden_layers is -1, a whole number from 1 "},
    {"qwen2", "num_hidden_layers", "0", "num_hidden_layers is 0, a whole number from 1 "},
    {"qwen2", "num_hidden_layers", "2.5", "num_hidden_layers is 2.5, a whole number"},
    {"qwen2", "num_hidden_layers", "\"2\"", "num_hidden_layers is \"2\", a whole number"},
    {"qwen2", "num_hidden_layers", "[2]", "num_hidden_layers is [2], a whole number"},
    {"qwen2", "num_hidden_layers", "1025",
     "is 1025, a whole number from 1 to 1024 expected"},
    {"qwen2", "num_hidden_layers", "9223372036854775807",
     "is 9223372036854775807, a whole"},
    {"qwen2", "hidden_size", "1048577", "is 1048577, a whole number from 1 to 1048576 "},
    {"qwen2", "hidden_size", "4294967328", "hidden_size is 4294967328, a whole number"},
    {"qwen2", "hidden_size", "-32", "hidden_size is -32, a whole number"},
    {"qwen2", "hidden_size", "33",
     "hidden_size is 33, no multiple of num_attention_heads, "
     "which is 4"},
    {"qwen2", "intermediate_size", "0", "intermediate_size is 0, a whole number"},
    {"qwen2", "intermediate_size", "1e300", "intermediate_size is 1e300, a whole number"},
    {"qwen2", "num_attention_heads", "0", "num_attention_heads is 0, a whole number"},
    {"qwen2", "num_attention_heads", "1000000000", "is 1000000000, a whole number"},
    {"qwen2", "num_attention_heads", "64", "hidden_size is 32, no multiple of num_att"},
    {"qwen2", "num_key_value_heads", "3",
     "num_attention_heads is 4, no multiple of "
     "num_key_value_heads, which is 3"},
    {"qwen2", "num_key_value_heads", "0", "num_key_value_heads is 0, a whole number"},
    {"qwen2", "head_dim", "0", "head_dim is 0, a whole number"},
    {"qwen2", "head_dim", "7", "head_dim is 7, an even number"},
    {"qwen2", "head_dim", "1048576",
     "num_attention_heads x head_dim is 4194304, at most "
     "1048576 expected"},
    {"qwen2", "vocab_size", "0", "vocab_size is 0, a whole number"},
    {"qwen2", "vocab_size", "99999999999", "vocab_size is 99999999999, a whole number"},
    {"qwen2", "max_position_embeddings", "0", "max_position_embeddings is 0, a whole"},
    {"qwen2", "max_position_embeddings", "268435457",
     "is 268435457, a whole number from 1 "
     "to 268435456 expected"},
    {"qwen2", "sliding_window", "-4", "sliding_window is -4, a whole number"},
    {"qwen2", "sliding_window", "1.5", "sliding_window is 1.5, a whole number"},
    {"qwen2", "rms_norm_eps", "-1e-6", "rms_norm_eps is -1e-6, a number from 0 to 1 "},
    {"qwen2", "rms_norm_eps", "\"1e-6\"", "rms_norm_eps is \"1e-6\", a number from 0 to 1"},
    {"qwen2", "use_sliding_window", "\"no\"", "is \"no\", true or false expected"},
    {"qwen2", "rope_parameters", "7", "rope_parameters is 7, an object or null expected"},
    {"qwen2", "rope_parameters", "{\"rope_theta\": 0}",
     "rope_theta is 0, a number from 2 "},
    {"qwen2", "rope_parameters", "{\"rope_theta\": -10000}", "rope_theta is -10000, a num"},
    {"qwen2", "rope_parameters", "{\"rope_theta\": 1e40}", "rope_theta is 1e40, a number"},
    {"qwen2", "rope_parameters", "{\"partial_rotary_factor\": -1}",
     "partial_rotary_factor is -1, a number from 0 to 1 expected"},
    {"qwen2", "rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 0}",
     "factor is 0, a number from 0.001 to 1e+06 expected"},
    {"qwen2", "rope_parameters", "{\"rope_type\": \"llama3\", \"factor\": 0.5}",
     "factor is 0.5, a number from 1 to 1e+06 expected"},
    {"qwen2", "rope_parameters",
     "{\"rope_type\": \"llama3\", \"low_freq_factor\": 4, \"high_freq_factor\": 4}",
     "low_freq_factor is 4, high_freq_factor is 4"},
    {"gemma3", "query_pre_attn_scalar", "0", "query_pre_attn_scalar is 0, a number from "},
    {"gemma3", "final_logit_softcapping", "-30", "final_logit_softcapping is -30, a num"},
    {"gemma3", "sliding_window", "0", "sliding_window is 0, a whole number"},
    {"gemma3", "_sliding_window_pattern", "0", "_sliding_window_pattern is 0, a whole num"},
    {"gemma3", "layer_types", "[\"full_attention\"]", "layer_types has 1 entries, "},
    {"gpt2", "n_layer", "-2", "n_layer is -2, a whole number from 1 to 1024 expected"},
    {"gpt2", "n_embd", "0", "n_embd is 0, a whole number"},
    {"gpt2", "n_head", "5", "n_embd is 32, no multiple of n_head, which is 5"},
    {"gpt2", "n_positions", "63", "n_positions is 63, transformer.wpe.weight has 64 rows"},
    {"gpt2", "n_inner", "0", "n_inner is 0, a whole number"},
    {"gpt2", "layer_norm_epsilon", "2", "layer_norm_epsilon is 2, a number from 0 to 1 "},
};

/* GPT-2 knows no head_dim; what stands under that name is somebody else's. */
static void gpt2_has_no_head_dim(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *folder = copied(state, "gpt2");
    set_config(folder, "head_dim", "64");
    ke_model_close(cx, opened(cx, folder));
    ke_ctx_free(cx);
}

/* Nobody writes into it, so reading would wait for ever. */
static void refuses_a_pipe(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *folder = copied(state, "llama");
    char path[512];
    snprintf(path, sizeof path, "%s/special_tokens_map.json", folder);
    unlink(path);
    assert_int_equal(0, mkfifo(path, 0600));
    refused(cx, folder, KE_EIO, "not a regular file");
    ke_ctx_free(cx);
}

static void refuses_absurd_numbers(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    char path[512], from[512];
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        snprintf(path, sizeof path, "%s", scratch_path(state, absurd[i].folder));
        const char *folder = ke__file_exists(path) ? path : copied(state, absurd[i].folder);
        char config[600];
        snprintf(from, sizeof from, HF "%s/config.json", absurd[i].folder);
        snprintf(config, sizeof config, "%s/config.json", folder);
        copy(cx, from, config);
        set_config(folder, absurd[i].name, absurd[i].value);
        refused(cx, folder, KE_EFORMAT, absurd[i].says);
        assert_non_null(strstr(ke_ctx_where(cx), absurd[i].folder));
    }
    ke_ctx_free(cx);
}

static void refuses_bad_shards(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *folder = copied(state, "llama");
    char one[512], two[512], index[512];
    snprintf(one, sizeof one, "%s/model-00001-of-00002.safetensors", folder);
    snprintf(two, sizeof two, "%s/model-00002-of-00002.safetensors", folder);
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    ke_model_close(cx, opened(cx, folder));
    copy(cx, HF "qwen3/model.safetensors", two);
    refused(cx, folder, KE_EFORMAT, "is in another shard too");
    copy(cx, one, two);
    refused(cx, folder, KE_EFORMAT, "is in another shard too");
    copy(cx, HF "gpt2/model.safetensors", two);
    refused(cx, folder, KE_EFORMAT, "a shard of another model");
    unlink(two);
    refused(cx, folder, KE_ENOENT, "model-00002-of-00002.safetensors, is missing");
    static const char outside[] = "{\"weight_map\": {\"a\": \"../b.safetensors\"}}";
    scratch_write(index, outside, sizeof outside - 1);
    refused(cx, folder, KE_EFORMAT, "weight_map names the file '../b.safetensors'");
    scratch_write(index, "{}", 2);
    refused(cx, folder, KE_EFORMAT, "no \"weight_map\"");
    unlink(index);
    refused(cx, folder, KE_ENOENT, "neither model.safetensors nor");
    ke_ctx_free(cx);
}

/* --- outputs that are folders --------------------------------------------------------- */

static void folders_appear_whole(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *path = scratch_path(state, "out");
    char name[512];
    ke__outdir out;
    ke__out file;
    for (int force = 0; force < 2; force++) {
        assert_int_equal(KE_OK, ke__outdir_open(cx, &out, path, force));
        assert_int_equal(KE_OK, ke__outdir_file(cx, &out, &file, "model.safetensors"));
        assert_int_equal(KE_OK, ke__out_write(cx, &file, force ? "new" : "old", 3));
        assert_int_equal(KE_OK, ke__out_commit(cx, &file));
        ke__out_close(cx, &file);
        if (!force)
            ke__outdir_close(cx, &out); /* nothing is left of one that is dropped */
        assert_int_equal(force ? 2 : 0, scratch_count(state));
        if (!force)
            assert_int_equal(KE_OK, ke__outdir_open(cx, &out, path, false));
        assert_int_equal(KE_OK, ke__outdir_commit(cx, &out));
        ke__outdir_close(cx, &out);
        assert_int_equal(1, scratch_count(state));
    }
    assert_int_equal(KE_EEXIST, ke__outdir_open(cx, &out, path, false));
    snprintf(name, sizeof name, "%s/photographs", path);
    assert_int_equal(0, mkdir(name, 0777));
    assert_int_equal(KE_EEXIST, ke__outdir_open(cx, &out, path, true));
    assert_non_null(strstr(ke_ctx_message(cx), "holds the folder photographs"));
    assert_int_equal(1, scratch_count(state));
    ke_ctx_free(cx);
}

static uint64_t n_free;

static int little_room(const char *path, struct statvfs *disk)
{
    (void)path;
    *disk = (struct statvfs){.f_frsize = 1, .f_bavail = n_free};
    return 0;
}

/* All files of the folder are copied: its weights, and what lies beside them. */
static void room_is_looked_for_first(void **state)
{
    static const char *const files[] = {
        "config.json", "tokenizer.json", "model.safetensors.index.json",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    ke_ctx *cx = ke_ctx_new(NULL);
    const ke__calls calls = ke__sys;
    const char *patch = scratch_path(state, "p");
    char folder[512], edited[512], back[512], path[1024], said[65];
    uint64_t bytes = 0;
    ke__files f;
    snprintf(folder, sizeof folder, "%s", copied(state, "llama"));
    snprintf(edited, sizeof edited, "%s", scratch_path(state, "edited"));
    snprintf(back, sizeof back, "%s/", scratch_path(state, "back"));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(0, stat(path, &info));
        bytes += (uint64_t)info.st_size;
    }
    edit(cx, folder, "blk.1.ffn_down.weight", NULL, edited, patch);
    assert_int_equal(3, scratch_count(state));
    ke__sys.statvfs = little_room;
    assert_int_equal(KE_OK, ke__files_open(cx, &f, folder));
    n_free = 2 * bytes;
    assert_int_equal(KE_OK, ke__files_room(cx, &f, edited, 2));
    assert_int_equal(KE_EIO, ke__files_room(cx, &f, edited, 3));
    n_free = bytes - 1;
    assert_int_equal(KE_EIO, ke__files_room(cx, &f, edited, 1));
    ke__files_close(cx, &f);
    assert_int_equal(KE_EIO, ke_undo(cx, edited, patch, back, false, said));
    assert_non_null(strstr(ke_ctx_message(cx), "takes about 1 MB, 0 MB are free there"));
    const ke_apply_job job = {.base_path = folder,
                              .patch_paths = (const char *const[]){patch},
                              .n_patches = 1,
                              .output_path = back};
    assert_int_equal(KE_EIO, ke_apply(cx, &job, said));
    assert_int_equal(3, scratch_count(state));
    ke__sys = calls;
    assert_int_equal(KE_OK, ke_undo(cx, edited, patch, back, false, said));
    ke_ctx_free(cx);
}

static ke_status open_all(ke_ctx *cx, void *payload)
{
    ke_model *m = NULL;
    ke_status st = ke_model_open(cx, &m, payload);
    ke_model_close(cx, m);
    return st;
}

static void survives_allocation_failures(void **state)
{
    (void)state;
    oom_each(open_all, HF "llama");
    oom_each(open_all, HF "gpt2");
}

int main(void)
{
#define WITH_FOLDER(test)                                                                  \
    cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_transformers),
        WITH_FOLDER(safetensors_come_back),
        WITH_FOLDER(parts_are_the_whole),
        WITH_FOLDER(parts_come_back),
        WITH_FOLDER(refuses_bad_parts),
        WITH_FOLDER(refuses_contradictions),
        WITH_FOLDER(refuses_a_pipe),
        WITH_FOLDER(a_config_beside_parts_changes_nothing),
        WITH_FOLDER(gpt2_has_no_head_dim),
        WITH_FOLDER(refuses_absurd_numbers),
        WITH_FOLDER(refuses_bad_shards),
        WITH_FOLDER(folders_appear_whole),
        WITH_FOLDER(room_is_looked_for_first),
        cmocka_unit_test(survives_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
