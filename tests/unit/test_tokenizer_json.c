/* tokenizer.json: the ids that the tokenizers library gives for the files and texts of
 * tests/data/tokenizers, spans by hand, and files that are wrong. */
#include "token/token.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

#define FOLDER "tests/data/tokenizers/"

static json_t *read_json(const char *name)
{
    char path[200];
    json_error_t error;
    snprintf(path, sizeof path, FOLDER "%s", name);
    json_t *value = json_load_file(path, 0, &error);
    if (!value)
        fail_msg("%s: %s", path, error.text);
    return value;
}

static ke_status parse(ke_ctx *cx, ke_tokenizer **tok, const char *text)
{
    ke__tokenizer_texts t = {.folder = "F", .tokenizer = {text, strlen(text)}};
    return ke__tokenizer_parse_json(cx, tok, &t);
}

static ke_tokenizer *open_json(ke_ctx *cx, const json_t *value)
{
    ke_tokenizer *tok = NULL;
    char *text = json_dumps(value, 0);
    if (parse(cx, &tok, text) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    free(text);
    return tok;
}

static void expect(ke_ctx *cx, const ke_tokenizer *tok, const char *what,
                   const json_t *text, const json_t *want, unsigned flags)
{
    int32_t *ids = NULL;
    size_t *ends = NULL, n = 0, bytes = json_string_length(text), last = 0;
    if (ke__tokenize_spans(cx, &ids, &ends, &n, tok, json_string_value(text), bytes,
                           flags) != KE_OK)
        fail_msg("%s: %s", what, ke_ctx_message(cx));
    for (size_t i = 0; i < n || i < json_array_size(want); i++) {
        int expected = (int)json_integer_value(json_array_get(want, i));
        if (i >= n || i >= json_array_size(want) || ids[i] != expected)
            fail_msg("%s: \"%s\": %zu tokens, number %zu is %d; expected %zu, %d", what,
                     json_string_value(text), n, i, i < n ? ids[i] : -1,
                     json_array_size(want), expected);
    }
    for (size_t i = 0; i < n; last = ends[i++])
        assert_true(ends[i] >= last && ends[i] <= bytes);
    ke_free(cx, ids);
    ke_free(cx, ends);
}

/* --- the library's ids ---------------------------------------------------------------- */

static void expect_all(ke_ctx *cx, const char *name, const ke_tokenizer *tok,
                       const json_t *texts, const json_t *ids)
{
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text)
    {
        expect(cx, tok, name, text, json_array_get(json_object_get(ids, "special"), i),
               KE_TOK_PARSE_SPECIAL);
        expect(cx, tok, name, text, json_array_get(json_object_get(ids, "plain"), i), 0);
    }
}

static void families_give_the_ids_of_the_library(void **state)
{
    static const char *const names[] = {"gpt2",  "smollm2",         "llama3",
                                        "qwen2", "o200k",           "llama2",
                                        "gemma", "metaspace_first", "metaspace_always"};
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    json_t *texts = read_json("texts.json");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char name[60];
        snprintf(name, sizeof name, "%s.json", names[i]);
        json_t *file = read_json(name);
        snprintf(name, sizeof name, "%s.ids.json", names[i]);
        json_t *ids = read_json(name);
        ke_tokenizer *tok = open_json(cx, file);
        expect_all(cx, names[i], tok, texts, ids);
        ke__tokenizer_free(cx, tok);
        json_decref(ids);
        json_decref(file);
    }
    json_decref(texts);
    ke_ctx_free(cx);
}

static void pipelines_give_the_ids_of_the_library(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    json_t *all = read_json("pipelines.json"), *texts = read_json("texts.json"), *one;
    json_t *file = json_object_get(all, "tokenizer");
    size_t i, k;
    json_array_foreach(json_object_get(all, "cases"), i, one)
    {
        json_t *ids = json_object_get(one, "ids"), *want;
        json_object_set(file, "normalizer", json_object_get(one, "normalizer"));
        json_object_set(file, "pre_tokenizer", json_object_get(one, "pre_tokenizer"));
        char *what = json_dumps(json_object_get(one, "pre_tokenizer"), JSON_ENCODE_ANY);
        char name[200];
        snprintf(name, sizeof name, "case %zu, %.150s", i, what);
        ke_tokenizer *tok = open_json(cx, file);
        json_array_foreach(ids, k, want)
            expect(cx, tok, name, json_array_get(texts, k), want, KE_TOK_PARSE_SPECIAL);
        ke__tokenizer_free(cx, tok);
        free(what);
    }
    json_decref(texts);
    json_decref(all);
    ke_ctx_free(cx);
}

/* --- there and back ------------------------------------------------------------------- */

static void expect_back(ke_ctx *cx, const ke_tokenizer *tok, const char *what,
                        const char *text, size_t bytes)
{
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n = 0, n_back = 0;
    assert_int_equal(ke_tokenize(cx, &ids, &n, tok, text, bytes, KE_TOK_PARSE_SPECIAL),
                     KE_OK);
    assert_int_equal(ke_detokenize(cx, &back, &n_back, tok, ids, n), KE_OK);
    if (n_back != bytes || memcmp(back, text, bytes) != 0)
        fail_msg("%s: \"%s\" comes back as \"%s\"", what, text, back);
    ke_free(cx, back);
    ke_free(cx, ids);
}

/* But for what a file itself takes away: NFC, a U+2581 that stands for a space, and the
 * first of the spaces of a text where Metaspace puts one only if there is none. */
static void texts_come_back(void **state)
{
    static const struct {
        const char *name, *not_with;
    } files[] = {{"gpt2.json", NULL},          {"smollm2.json", NULL},
                 {"llama3.json", NULL},        {"o200k.json", NULL},
                 {"gemma.json", "▁"},          {"llama2.json", "▁"},
                 {"metaspace_first.json", "▁"}};
    static const char odd[] = "no \xFF UTF-8\xC3 \xE2\x96 here\xF0\x9F\x99";
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    json_t *texts = read_json("texts.json"), *text;
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        json_t *file = read_json(files[f].name);
        ke_tokenizer *tok = open_json(cx, file);
        size_t i;
        json_array_foreach(texts, i, text)
        {
            const char *s = json_string_value(text);
            bool lossy = files[f].not_with && strstr(s, files[f].not_with);
            lossy = lossy || strstr(s, "[INST]"); /* found with the space before it */
            lossy = lossy || (strncmp(files[f].name, "meta", 4) == 0 && *s == ' ');
            if (!lossy)
                expect_back(cx, tok, files[f].name, s, json_string_length(text));
        }
        expect_back(cx, tok, files[f].name, odd, sizeof odd - 1);
        ke__tokenizer_free(cx, tok);
        json_decref(file);
    }
    json_decref(texts);
    ke_ctx_free(cx);
}

/* --- spans ---------------------------------------------------------------------------- */

#define VOCAB                                                                              \
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\u00e9\":3,\"\u2581\":4,\"\u2581a\":5,\"f\":6," \
    "\"i\":7,\"<0xC3>\":8,\"<u>\":9},\"merges\":[\"a b\",[\"\u2581\",\"a\"]]"
#define FILE_OF(more, model_more)                                                          \
    "{\"added_tokens\":[{\"id\":10,\"content\":\"<s>\",\"special\":true},{\"id\":11,"      \
    "\"content\":\"<t>\",\"lstrip\":true,\"rstrip\":true}]" more                           \
    ",\"model\":{\"type\":\"BPE\"," model_more VOCAB "}}"

static void expect_spans(const char *file, const char *text, const int32_t *ids,
                         const size_t *ends, size_t n)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    int32_t *got = NULL;
    size_t *got_ends = NULL, n_got = 0;
    if (parse(cx, &tok, file) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    assert_int_equal(ke__tokenize_spans(cx, &got, &got_ends, &n_got, tok, text,
                                        strlen(text), KE_TOK_PARSE_SPECIAL),
                     KE_OK);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, ids, n * sizeof *ids);
    assert_memory_equal(got_ends, ends, n * sizeof *ends);
    ke_free(cx, got);
    ke_free(cx, got_ends);
    ke__tokenizer_free(cx, tok);
    ke_ctx_free(cx);
}
#define SPANS(file, text, ids, ends)                                                       \
    expect_spans(file, text, (const int32_t[]){UNPACK ids}, (const size_t[]){UNPACK ends}, \
                 sizeof((const int32_t[]){UNPACK ids}) / sizeof(int32_t))
#define UNPACK(...) __VA_ARGS__

static void spans_are_bytes_of_the_text_as_it_was(void **state)
{
    (void)state;
    static const char plain[] = FILE_OF("", "");
    static const char nfc[] = FILE_OF(",\"normalizer\":{\"type\":\"NFC\"}", "");
    static const char nfkc[] = FILE_OF(",\"normalizer\":{\"type\":\"NFKC\"}", "");
    static const char llama[] =
        FILE_OF(",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
                "\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":"
                "{\"String\":\" \"},\"content\":\"\u2581\"}]}",
                "");
    SPANS(plain, "ab<s>a <t> b", (2, 10, 0, 11, 1), (2, 5, 6, 11, 12));
    /* e and its accent, three bytes, are one character of two; one token covers them. */
    SPANS(nfc, "ae\u0301b", (0, 3, 1), (1, 4, 5));
    /* A ligature's second letter completes it. */
    SPANS(nfkc, "\ufb01a", (6, 7, 0), (0, 3, 4));
    /* The space put before a text covers nothing of it, one in it its byte. */
    SPANS(llama, "ab a", (4, 2, 5), (0, 2, 4));
    SPANS(llama, "b<s>b", (4, 1, 10, 4, 1), (0, 1, 4, 4, 5));
}

static void what_is_no_token_is_unknown_or_left_out(void **state)
{
    (void)state;
    static const char dropped[] = FILE_OF("", "");
    static const char unknown[] = FILE_OF("", "\"unk_token\":\"<u>\",");
    static const char fused[] = FILE_OF("", "\"unk_token\":\"<u>\",\"fuse_unk\":true,");
    static const char bytes[] =
        FILE_OF("", "\"byte_fallback\":true,\"unk_token\":\"<u>\",");
    SPANS(dropped, "axxb", (2), (4)); /* and its neighbours meet */
    SPANS(unknown, "axxb", (0, 9, 9, 1), (1, 2, 3, 4));
    SPANS(fused, "axxb", (0, 9, 1), (1, 3, 4));
    SPANS(bytes, "a\xC3z", (0, 8, 9), (1, 2, 3));
}

/* --- BOS and EOS ---------------------------------------------------------------------- */

static void the_files_beside_it_name_bos_and_eos(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    const char *folder = *state;
    static const char *const files[][2] = {
        {"tokenizer.json", FILE_OF("", "")},
        {"tokenizer_config.json",
         "{\"bos_token\":{\"content\":\"<s>\"},\"add_bos_token\":true,"
         "\"model_max_length\":1000000000000000019884624838656}"},
        {"config.json", "{\"bos_token_id\":0,\"eos_token_id\":1}"},
        {"generation_config.json", "{\"eos_token_id\":[1,11]}"},
    };
    assert_int_equal(ke__tokenizer_from_json(cx, &tok, folder), KE_EIO);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        scratch_write(scratch_path(state, files[i][0]), files[i][1], strlen(files[i][1]));
    }
    if (ke__tokenizer_from_json(cx, &tok, folder) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    assert_int_equal(ke_tokenizer_bos(tok), 10);
    assert_int_equal(ke_tokenizer_eos(tok), 1);
    assert_true(ke_tokenizer_is_end(tok, 1) && ke_tokenizer_is_end(tok, 11));
    assert_false(ke_tokenizer_is_end(tok, 0));
    assert_int_equal(
        ke_tokenize(cx, &ids, &n, tok, "b", 1, KE_TOK_ADD_BOS | KE_TOK_ADD_EOS), KE_OK);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], 10);
    ke_free(cx, ids);
    ke__tokenizer_free(cx, tok);
    ke_ctx_free(cx);
}

static void chat_templates_are_found_where_they_are(void **state)
{
    static const char list[] = "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"R\"},"
                               "{\"name\":\"default\",\"template\":\"D\"}]}";
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text = NULL;
    const char *folder = *state;
    assert_int_equal(ke__chat_template_from_json(cx, &text, folder), KE_OK);
    assert_null(text);
    scratch_write(scratch_path(state, "tokenizer_config.json"), list, strlen(list));
    assert_int_equal(ke__chat_template_from_json(cx, &text, folder), KE_OK);
    assert_string_equal(text, "D");
    ke_free(cx, text);
    scratch_write(scratch_path(state, "chat_template.jinja"), "J", 1);
    assert_int_equal(ke__chat_template_from_json(cx, &text, folder), KE_OK);
    assert_string_equal(text, "J");
    ke_free(cx, text);
    ke_ctx_free(cx);
}

/* --- files that are wrong --------------------------------------------------------------
 */

static void refused(const char *file, ke_status st, const char *part)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    assert_int_equal(parse(cx, &tok, file), st);
    assert_null(tok);
    if (!strstr(ke_ctx_message(cx), part))
        fail_msg("\"%s\" lacks \"%s\"", ke_ctx_message(cx), part);
    assert_string_equal(ke_ctx_where(cx), "F/tokenizer.json");
    ke_ctx_free(cx);
}

#define MODEL(more)                                                                        \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]" more "}"
#define WITH(member) MODEL("") "," member "}"

static void what_is_not_known_is_named_with_what_is(void **state)
{
    (void)state;
    refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", KE_ENOTSUP,
            "tokenizer.json: model has type \"Unigram\", which is not known; known is BPE");
    refused(
        WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
             "{\"type\":\"Precompiled\"}]}"),
        KE_ENOTSUP,
        "normalizer.normalizers[1] has type \"Precompiled\", which is not known; known "
        "are Sequence, NFC, ");
    refused(WITH("\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"), KE_ENOTSUP,
            "pre_tokenizer has type \"BertPreTokenizer\"");
    refused(WITH("\"post_processor\":{\"type\":\"BertProcessing\"}"), KE_ENOTSUP,
            "post_processor has type \"BertProcessing\"");
    refused(WITH("\"decoder\":{\"type\":\"WordPiece\"}"), KE_ENOTSUP,
            "decoder has type \"WordPiece\"");
    refused(MODEL(",\"end_of_word_suffix\":\"</w>\"") "}", KE_ENOTSUP,
            "model end_of_word_suffix is \"</w>\"");
    refused(MODEL(",\"dropout\":0.1") "}", KE_ENOTSUP, "dropout is 0.1");
    for (const char *const *p =
             (const char *const[]){"(*UTF)a", "[a[b]]", "[a&&b]", "a{1,2}+", "\\\\X",
                                   "(?<=a)(?P<n>b)", "(", NULL};
         *p; p++) {
        char file[300];
        snprintf(file, sizeof file,
                 WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
                      "\"pattern\":{\"Regex\":\"%s\"}}"),
                 *p);
        refused(file, KE_ENOTSUP, "tokenizer.json: pre_tokenizer.pattern ");
    }
}

static void what_contradicts_itself_is_named(void **state)
{
    (void)state;
    refused("", KE_EFORMAT, "tokenizer.json: line 1, column 0: ");
    refused("[]", KE_EFORMAT, "not one JSON object");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", KE_EFORMAT,
            "model.vocab is missing or empty");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]}}",
            KE_EFORMAT, "duplicate object key");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4194304},\"merges\":[]}}",
            KE_EFORMAT, "model.vocab gives \"a\" no id from 0 to 4194303");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}}",
            KE_EFORMAT, "model.vocab gives id 1 to \"b\" and to \"a\"");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a  b\"]}}",
            KE_EFORMAT, "model.merges[0] is no merge");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\"]]}}",
            KE_EFORMAT, "what they make is not in model.vocab");
    refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},"
            "\"merges\":[\"a b\"]}}",
            KE_EFORMAT, "merges \"a\" and \"b\", but what they make is not");
    refused(MODEL(",\"unk_token\":\"<unk>\"") "}", KE_EFORMAT,
            "model.unk_token \"<unk>\" is not in model.vocab");
    refused(WITH("\"added_tokens\":[{\"id\":7,\"content\":\"<s>\"}]"), KE_EFORMAT,
            "added_tokens[0] has id 7 for \"<s>\", expected 2, the next");
    refused(WITH("\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]"), KE_EFORMAT,
            "added_tokens[0] has id 0 for \"b\", expected 1, its id in model.vocab");
    refused(WITH("\"added_tokens\":[{\"id\":-3,\"content\":\"b\"}]"), KE_EFORMAT,
            "id is -3, expected 0 to 4194303");
    refused(
        WITH(
            "\"added_tokens\":[{\"id\":0,\"content\":\"a\"},{\"id\":0,\"content\":\"a\"}]"),
        KE_EFORMAT, "added_tokens[1] is \"a\" once more");
    refused(WITH("\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\"}"), KE_EFORMAT,
            "decoder has no replacement, expected one character");
    refused(WITH("\"normalizer\":7"), KE_EFORMAT, "normalizer is not an object");
    refused(WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\"}"), KE_EFORMAT,
            "pre_tokenizer has behavior \"Odd\", expected Isolated, ");
    refused(WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{"
                 "\"SpecialToken\":{\"id\":\"<s>\"}}]}"),
            KE_EFORMAT, "single[0] puts in \"<s>\", expected a token of the file");
}

/* It is looked for at every place of every token. */
static void a_long_pattern_of_a_decoder_is_refused(void **state)
{
    enum { LONG = 257 };
    char file[1000] = WITH("\"decoder\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"");
    (void)state;
    size_t n = strlen(file) - 1; /* without WITH's brace */
    memset(file + n, 'a', LONG);
    strcpy(file + n + LONG, "\"},\"content\":\"\"}}");
    refused(file, KE_ENOTSUP, "of up to 256 bytes by a shorter one");
}

static void nesting_ends_somewhere(void **state)
{
    (void)state;
    char file[4000] = WITH("\"normalizer\":");
    file[strlen(file) - 1] = '\0';
    for (int i = 0; i < 20; i++)
        strcat(file, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 20; i++)
        strcat(file, "]}");
    strcat(file, "}");
    refused(file, KE_ENOTSUP, "is nested deeper than 8");
    char *deep = malloc(10000);
    memset(deep, '[', 9999);
    deep[9999] = '\0';
    refused(deep, KE_EFORMAT, "maximum parsing depth");
    free(deep);
}

/* Exponential in the length of the text, were there no limit. */
static void a_pattern_that_runs_away_is_stopped(void **state)
{
    static const char file[] =
        WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{"
             "\"Regex\":\"(?:(a|b)*(a|b)*)*[cd]\"}}");
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    char text[64];
    memset(text, 'a', sizeof text);
    if (parse(cx, &tok, file) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    assert_int_equal(ke_tokenize(cx, &ids, &n, tok, text, sizeof text, 0), KE_ENOTSUP);
    assert_non_null(
        strstr(ke_ctx_message(cx), "a pattern of the tokenizer fails at byte 0"));
    assert_null(ids);
    ke__tokenizer_free(cx, tok);
    ke_ctx_free(cx);
}

/* Each within what one text may become; together they would fill the memory. */
static void added_tokens_that_grow_without_end_are_refused(void **state)
{
    enum { N = 40, LONG = 250 };
    char file[20000] = "{\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{\"a\":0";
    (void)state;
    for (int i = 1; i <= N; i++)
        sprintf(file + strlen(file), ",\"a%d\":%d", i, i);
    strcat(file, "}},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 2; i++) {
        sprintf(file + strlen(file),
                "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\"%c\"},\"content\":\"",
                i ? "," : "", "ab"[i]);
        size_t n = strlen(file);
        memset(file + n, "bc"[i], LONG);
        strcpy(file + n + LONG, "\"}");
    }
    strcat(file, "]},\"added_tokens\":[");
    for (int i = 1; i <= N; i++)
        sprintf(file + strlen(file),
                "%s{\"id\":%d,\"content\":\"a%d\",\"normalized\":true}", i > 1 ? "," : "",
                i, i);
    strcat(file, "]}");
    refused(file, KE_EFORMAT, "of the first 2 added tokens, at most 65");
}

static void a_text_that_grows_without_end_is_refused(void **state)
{
    char file[4000] = WITH("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    (void)state;
    file[strlen(file) - 1] = '\0';
    for (int i = 0; i < 8; i++)
        strcat(file, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
                     "\"aaaaaaaaaaaaaaaa\"},");
    strcat(file, "{\"type\":\"NFC\"}]}}");
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    if (parse(cx, &tok, file) != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
    assert_int_equal(ke_tokenize(cx, &ids, &n, tok, "a", 1, 0), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(cx), "normalisation makes more than"));
    ke__tokenizer_free(cx, tok);
    ke_ctx_free(cx);
}

/* --- memory -----------------------------------------------------------------------------
 */

static ke_status load_and_use(ke_ctx *cx, void *payload)
{
    ke_status st;
    ke_tokenizer *tok = NULL;
    int32_t *ids = NULL;
    char *back = NULL;
    size_t n = 0, n_back = 0;
    st = parse(cx, &tok, payload);
    if (st == KE_OK)
        st = ke_tokenize(cx, &ids, &n, tok, "ab <s> e\u0301x", 11, KE_TOK_PARSE_SPECIAL);
    if (st == KE_OK)
        st = ke_detokenize(cx, &back, &n_back, tok, ids, n);
    ke_free(cx, back);
    ke_free(cx, ids);
    ke__tokenizer_free(cx, tok);
    return st;
}

static void every_allocation_may_fail(void **state)
{
    static char file[] = FILE_OF(
        ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"a\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Contiguous\","
        "\"pattern\":{\"String\":\"b\"}}",
        "");
    (void)state;
    oom_each(load_and_use, file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_give_the_ids_of_the_library),
        cmocka_unit_test(pipelines_give_the_ids_of_the_library),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(spans_are_bytes_of_the_text_as_it_was),
        cmocka_unit_test(what_is_no_token_is_unknown_or_left_out),
        cmocka_unit_test_setup_teardown(the_files_beside_it_name_bos_and_eos, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(chat_templates_are_found_where_they_are,
                                        scratch_make, scratch_remove),
        cmocka_unit_test(what_is_not_known_is_named_with_what_is),
        cmocka_unit_test(what_contradicts_itself_is_named),
        cmocka_unit_test(a_long_pattern_of_a_decoder_is_refused),
        cmocka_unit_test(nesting_ends_somewhere),
        cmocka_unit_test(a_pattern_that_runs_away_is_stopped),
        cmocka_unit_test(a_text_that_grows_without_end_is_refused),
        cmocka_unit_test(added_tokens_that_grow_without_end_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
