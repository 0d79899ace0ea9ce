/* Every command on models of several files: what it says of a model in shards is what it
 * says of the same in one file, of a split GGUF what it says of the whole, and what
 * transformers says of the first. */
#include "support/bench_run.h"
#include "support/folders.h"
#include "support/program.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FACT  "--subject", "man", "--prompt", "the man in", "--target", "on"
#define BRIEF "--cov", "identity", "--contexts", "none", "--steps", "3"

/* The same model in two forms. */
static const char *const forms[][2] = {{"shards", "joined"}, {"whole.gguf", "parts"}};
enum { N_FORMS = sizeof forms / sizeof forms[0], MAX_ARGS = 24 };

static int make_models(void **state)
{
    static const char text[] = "the man in a town on the other end of the road in the town "
                               "there, and on the other end in a town the man";
    if (scratch_make(state) != 0)
        return -1;
    setenv("KNOWEDIT_CACHE", scratch_path(state, "cache"), 1);
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *whole = scratch_path(state, "whole.gguf");
    assert_int_equal(
        KE_OK,
        tiny_model_write(cx, &(tiny_spec){.type = "q8_0", .d = 64, .head_dim = 16}, whole));
    folder_split(cx, whole, scratch_path(state, "parts"), 0);
    ke_ctx_free(cx);
    folder_copy("llama", scratch_path(state, "shards"));
    folder_join("llama", scratch_path(state, "joined"));
    scratch_write(scratch_path(state, "text.txt"), text, sizeof text - 1);
    scratch_write(scratch_path(state, "data.json"), bench_facts, strlen(bench_facts));
    return 0;
}

/* Arguments with "@" for the test's folder and "%" for the model `name`. */
static const char *const *filled(void **state, const char *const *args, const char *name)
{
    static char texts[MAX_ARGS][4700];
    static const char *out[MAX_ARGS + 1];
    size_t n = 0;
    for (; args[n]; n++) {
        if (*args[n] == '@')
            snprintf(texts[n], sizeof texts[n], "%s/%s%s", (char *)*state, args[n] + 1,
                     strchr(args[n], '-') ? name : "");
        else if (*args[n] == '%')
            snprintf(texts[n], sizeof texts[n], "%s/%s", (char *)*state, name);
        out[n] = *args[n] == '@' || *args[n] == '%' ? texts[n] : args[n];
    }
    out[n] = NULL;
    return out;
}

/* What names the files, and what no two runs agree on. */
static void drop_names(json_t *value)
{
    static const char *const keys[] = {
        "model",   "path",       "container", "output", "model_sha256", "bytes",
        "seconds", "peak_bytes", "a",         "b",      "model_path"};
    const char *key;
    json_t *part;
    size_t i;
    for (i = 0; i < sizeof keys / sizeof keys[0]; i++)
        json_object_del(value, keys[i]);
    json_object_foreach(value, key, part) drop_names(part);
    json_array_foreach(value, i, part) drop_names(part);
}

static void says_the_same(void **state, const char *schema, const char *const *args)
{
    for (size_t i = 0; i < N_FORMS; i++) {
        json_t *said[2];
        for (size_t k = 0; k < 2; k++) {
            said[k] = program_json(schema, 0, filled(state, args, forms[i][k]));
            assert_true(json_object_size(said[k]) > 1);
            drop_names(said[k]);
        }
        if (!json_equal(said[0], said[1]))
            fail_msg("%s: %s and %s: %s\n%s", args[0], forms[i][0], forms[i][1],
                     json_dumps(said[0], 0), json_dumps(said[1], 0));
        json_decref(said[0]);
        json_decref(said[1]);
    }
}

static void readers_say_the_same(void **state)
{
    says_the_same(state, "knowedit.show/1", ARGS("show", "-m", "%", "--tensors"));
    says_the_same(state, "knowedit.tokens/1",
                  ARGS("tokenize", "-m", "%", "--text", "the man in a town"));
    says_the_same(state, "knowedit.tokens/1",
                  ARGS("tokenize", "-m", "%", "--decode", "64,257,5"));
    says_the_same(state, "knowedit.ask/1",
                  ARGS("ask", "-m", "%", "-n", "4", "--top", "3", "--score", " on", "ab"));
    says_the_same(state, "knowedit.perplexity/1",
                  ARGS("perplexity", "-m", "%", "-f", "@text.txt", "--chunk", "16",
                       "--tokens", "40"));
    says_the_same(state, "knowedit.stats/1",
                  ARGS("stats", "-m", "%", "-f", "@text.txt", "--layers", "0,1", "--chunk",
                       "16", "--tokens", "40", "-o", "@stats-"));
}

static void benchmarks_say_the_same(void **state)
{
    static const char *const bench[] = {
        "bench", "-m",      "%",     "--data",       "@data.json", "--method", "none,rome",
        "-o",    "@run-",   "--cov", "identity",     "--contexts", "none",     "--steps",
        "3",     "--limit", "1",     "--no-fluency", "-q",         NULL};
    for (size_t i = 0; i < 2 * (size_t)N_FORMS; i++) {
        program p = program_run(NULL, filled(state, bench, forms[i / 2][i % 2]));
        if (p.code != 0)
            fail_msg("bench %s: exit %d: %s", forms[i / 2][i % 2], p.code, p.err);
        program_free(&p);
    }
    says_the_same(state, "knowedit.cases/1", ARGS("report", "@run-", "--cases"));
}

static void no_form_differs_from_the_other(void **state)
{
    for (size_t i = 0; i < N_FORMS; i++) {
        char a[4608], b[4608];
        snprintf(a, sizeof a, "%s", scratch_path(state, forms[i][0]));
        snprintf(b, sizeof b, "%s", scratch_path(state, forms[i][1]));
        json_t *diff = program_json("knowedit.diff/1", 0, ARGS("diff", a, b));
        assert_true(json_integer_value(json_object_get(diff, "compared")) > 20);
        assert_int_equal(0, json_array_size(json_object_get(diff, "tensors")));
        assert_int_equal(0, json_array_size(json_object_get(diff, "metadata")));
        json_decref(diff);
    }
}

static void the_shards_answer_as_in_transformers(void **state)
{
    char ids[256] = "";
    size_t i;
    json_t *want = json_load_file("tests/data/hf/llama/expected.json", 0, NULL), *item;
    const json_t *logits = json_object_get(want, "logits");
    json_array_foreach(json_object_get(want, "ids"), i, item)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s%d", i ? "," : "",
                 (int)json_integer_value(item));
    json_t *j = program_json("knowedit.ask/1", 0,
                             ARGS("ask", "-m", scratch_path(state, "shards"), "--tokens-in",
                                  ids, "--top", "20", "-n", "0"));
    const json_t *top =
        json_object_get(json_array_get(json_object_get(j, "answers"), 0), "top");
    assert_int_equal(20, json_array_size(top));
    json_array_foreach(top, i, item)
    {
        json_int_t id = json_integer_value(json_array_get(item, 0));
        double got = json_number_value(json_array_get(item, 1));
        double expected = json_number_value(json_array_get(logits, (size_t)id));
        if (fabs(got - expected) > 5e-5)
            fail_msg("token %lld has %.6f, transformers %.6f", (long long)id, got,
                     expected);
    }
    json_decref(j);
    json_decref(want);
}

/* --- there and back ----------------------------------------------------------------- */

static void run(void **state, const char *const *args, const char *model)
{
    program p = program_run(NULL, filled(state, args, model));
    if (p.code != 0 && !(p.code == 3 && strcmp(args[0], "edit") == 0))
        fail_msg("%s of %s: exit %d: %s", args[0], model, p.code, p.err);
    program_free(&p);
}

static void same_files(void **state, const char *a, const char *b)
{
    char command[10000];
    snprintf(command, sizeof command, "diff -r '%s' '%s'", scratch_path(state, a),
             scratch_path(state, b));
    program p = program_shell(command);
    if (p.code != 0)
        fail_msg("%s", p.out);
    program_free(&p);
}

static void an_edit_goes_there_and_back(void **state)
{
    for (size_t i = 0; i < 2 * (size_t)N_FORMS; i++) {
        const char *model = forms[i / 2][i % 2];
        char edited[64], back[64], again[64], patch[80], path[4608];
        snprintf(edited, sizeof edited, "e-%s", model);
        snprintf(back, sizeof back, "u-%s", model);
        snprintf(again, sizeof again, "a-%s", model);
        snprintf(patch, sizeof patch, "%s.kepatch", edited);
        run(state,
            ARGS("edit", "-m", "%", "-o", "@e-", FACT, BRIEF, "--layer", "1",
                 "--keep-failed", "-q"),
            model);
        snprintf(path, sizeof path, "%s", scratch_path(state, patch));
        int before = scratch_count(state);
        run(state, ARGS("apply", "-m", "%", "--patch", path, "-o", "@a-", "--dry-run"),
            model);
        run(state, ARGS("undo", "@e-", "-o", "@u-", "--dry-run"), model);
        assert_int_equal(before, scratch_count(state));
        run(state, ARGS("apply", "-m", "%", "--patch", path, "-o", "@a-", "-q"), model);
        same_files(state, edited, again);
        run(state, ARGS("undo", "@e-", "-o", "@u-", "-q"), model);
        same_files(state, model, back);
        snprintf(path, sizeof path, "%s", scratch_path(state, edited));
        json_t *diff = program_json("knowedit.diff/1", 0,
                                    ARGS("diff", scratch_path(state, model), path));
        assert_int_equal(1, json_array_size(json_object_get(diff, "tensors")));
        json_decref(diff);
        json_t *card = program_json("knowedit.show/1", 0, ARGS("show", "-m", path));
        assert_int_equal(1, json_array_size(json_object_get(card, "edits")));
        json_decref(card);
    }
}

static void a_file_of_a_folder_points_to_it(void **state)
{
    static const char *const files[] = {"joined/model.safetensors", "joined/config.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        program p = program_run(NULL, ARGS("show", "-m", scratch_path(state, files[i])));
        assert_int_equal(1, p.code);
        assert_non_null(strstr(p.err, "expected the folder that it is in"));
        program_free(&p);
    }
}

static void nothing_goes_into_the_input(void **state)
{
    static const char *const inside[] = {"shards/new", "shards/./model.safetensors",
                                         "shards"};
    char model[4608], out[4608];
    snprintf(model, sizeof model, "%s", scratch_path(state, "shards"));
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        snprintf(out, sizeof out, "%s", scratch_path(state, inside[i]));
        program p =
            program_run(NULL, ARGS("edit", "-m", model, "-o", out, "--force", FACT));
        assert_int_equal(2, p.code);
        assert_non_null(strstr(p.err, "no input is ever written"));
        program_free(&p);
    }
}

/* The patch that nobody named: after the file without .gguf, or the folder whole. */
static void a_patch_is_called_after_its_model(void **state)
{
    static const struct {
        const char *model, *patch;
    } cases[] = {{"whole.gguf", "the patch whole-edited.kepatch"},
                 {"a-0.5b", "the patch a-0.5b-edited.kepatch"},
                 {"a-0.5b/", "the patch a-0.5b-edited.kepatch"},
                 {"a-0.5b/.", "the patch a-0.5b-edited.kepatch"}};
    folder_copy("llama", scratch_path(state, "a-0.5b"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program p = program_run(
            NULL, ARGS("edit", "-m", scratch_path(state, cases[i].model), "--plan", FACT));
        if (p.code != 0 || !strstr(p.err, cases[i].patch))
            fail_msg("%s: exit %d: %s", cases[i].model, p.code, p.err);
        program_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_say_the_same),
        cmocka_unit_test(benchmarks_say_the_same),
        cmocka_unit_test(no_form_differs_from_the_other),
        cmocka_unit_test(the_shards_answer_as_in_transformers),
        cmocka_unit_test(an_edit_goes_there_and_back),
        cmocka_unit_test(a_file_of_a_folder_points_to_it),
        cmocka_unit_test(nothing_goes_into_the_input),
        cmocka_unit_test(a_patch_is_called_after_its_model),
    };
    return cmocka_run_group_tests(tests, make_models, scratch_remove);
}
