/* `data` from inside: checking, describing and converting files of cases. */
#include "knowedit/bench.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/knowedit/"
#define WIKI "\"subject\":\"a\",\"prompt\":\"a is\",\"target_new\":\"t\""

static void sound_files_get_a_line_each(void **state)
{
    (void)state;
    const char *files[] = {DATA "zsre.json", DATA "wiki_counterfact.json"};
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    assert_int_equal(KE_OK, ke_data_check(cx, &text, files, 2, NULL));
    assert_string_equal(
        DATA
        "zsre.json: 3 records of zsre, 3 sound, 0 empty answers and groups skipped\n" DATA
        "wiki_counterfact.json: 4 records of wiki_counterfact, 4 sound, 3 empty answers "
        "and groups skipped\n",
        text);
    ke_free(cx, text);
    ke_ctx_free(cx);
}

static void bad_files_are_all_told(void **state)
{
    static const char bad[] = "[{" WIKI "},\n{\"subject\":1},\n{" WIKI "},\n{}]";
    static const char cut[] = "[{" WIKI "},\n";
    static const char keep[] =
        "{\"success\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"t\"},"
        "{\"question\":\"r?\",\"ground_truth\":\"o\",\"target_new\":\"t\"}],\n"
        "\"locality\":[{\"question\":3}]}";
    const char *files[] = {scratch_path(state, "bad.json"), scratch_path(state, "cut.json"),
                           scratch_path(state, "keep.json"), DATA "zsre.json"};
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    scratch_write(files[0], bad, strlen(bad));
    scratch_write(files[1], cut, strlen(cut));
    scratch_write(files[2], keep, strlen(keep));
    assert_int_equal(KE_EFORMAT, ke_data_check(cx, &text, files, 4, NULL));
    assert_string_equal("4 faults in 4 files", ke_ctx_message(cx));
    assert_non_null(strstr(text, "bad.json:2: record 2: field \"subject\": expected"));
    assert_non_null(strstr(text, "bad.json:4: record 4: field \"subject\" is missing\n"));
    assert_non_null(strstr(text, "bad.json: 4 records of own, 2 sound, 0 empty"));
    assert_non_null(strstr(text, "cut.json:2: record 2: column "));
    /* both cases look at it, and it is told once */
    const char *told =
        strstr(text, "keep.json:2: record 1: field \"locality[0].question\"");
    assert_non_null(told);
    assert_null(strstr(told + 1, "keep.json:2"));
    assert_non_null(strstr(text, "zsre.json: 3 records of zsre, 3 sound"));
    ke_free(cx, text);

    assert_int_equal(KE_EIO, ke_data_check(cx, &text, (const char *[]){"none"}, 1, NULL));
    assert_null(text);
    ke_ctx_free(cx);
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void shows_the_counts(void **state)
{
    (void)state;
    const char *files[] = {DATA "wiki_counterfact.json", DATA "convsent.json"};
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    assert_int_equal(KE_OK, ke_data_show(cx, &text, files, 2, NULL, 18446744073709551615U));
    json_t *o = json_loads(text, 0, NULL), *part;
    assert_string_equal("knowedit.data/1", json_string_value(json_object_get(o, "schema")));
    json_t *cf = json_array_get(json_object_get(o, "files"), 0);
    json_t *talk = json_array_get(json_object_get(o, "files"), 1);

    assert_int_equal(4, number(cf, "records"));
    assert_int_equal(3, number(cf, "skipped"));
    assert_int_equal(1455, number(json_object_get(cf, "survey"), "train"));
    assert_string_equal("modification", json_string_value(json_object_get(cf, "task")));
    /* John Challis 5, 2022 ATP Finals 3 */
    part = json_object_get(json_object_get(cf, "portability"), "Reasoning");
    assert_int_equal(2, number(part, "records"));
    assert_int_equal(8, number(part, "items"));
    /* 4, 5, 1 of the first, second and last */
    part = json_object_get(json_object_get(cf, "locality"), "Relation_Specificity");
    assert_int_equal(3, number(part, "records"));
    assert_int_equal(10, number(part, "items"));
    part = json_object_get(cf, "sample");
    assert_string_equal("travesti", json_string_value(json_object_get(part, "target")));

    assert_int_equal(60, number(talk, "replies"));
    part = json_object_get(talk, "settings");
    assert_string_equal("polarity, question",
                        json_string_value(json_object_get(part, "drawn")));
    assert_string_equal("18446744073709551615",
                        json_string_value(json_object_get(part, "seed")));
    json_decref(o);
    ke_free(cx, text);
    ke_ctx_free(cx);
}

/* What was converted is a file of our own form, and converts to itself. */
static void conversion_loses_nothing(void **state)
{
    static const char *const files[] = {"wiki_recent",      "zsre",       "wikibio",
                                        "wiki_counterfact", "sanitation", "counterfact",
                                        "counterfact_flat"};
    static const char *const formats[] = {"json", "jsonl"};
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        for (size_t f = 0; f < 2; f++) {
            const char *own = scratch_path(state, "own");
            char path[128], *once, *twice;
            strcat(strcat(strcpy(path, DATA), files[i]), ".json");
            assert_int_equal(KE_OK, ke_data_convert(cx, &once, path, NULL, 3, formats[f]));
            scratch_write(own, once, strlen(once));
            assert_int_equal(KE_OK, ke_data_convert(cx, &twice, own, "own", 0, formats[f]));
            assert_string_equal(once, twice);
            ke_free(cx, twice);
            ke_free(cx, once);
        }
    ke_ctx_free(cx);
}

static void converts_as_documented(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    assert_int_equal(KE_OK,
                     ke_data_convert(cx, &text, DATA "zsre.json", "zsre", 0, "jsonl"));
    static const char first[] =
        "{\"subject\":\"Oomalama\",\"prompt\":\"What is the name of Oomalama's record "
        "label?"
        "\",\"target\":\"Sony Music Entertainment\",\"ground_truth\":[[\"Paperhouse "
        "Records\"],[\"Atlantic Records\"]],\"paraphrases\":[\"What's Oomalama's record "
        "label?\"],\"portability\":{\"Reasoning\":[";
    assert_memory_equal(first, text, strlen(first));
    ke_free(cx, text);
    assert_int_equal(KE_EINVAL,
                     ke_data_convert(cx, &text, DATA "zsre.json", NULL, 0, "csv"));
    assert_null(text);
    ke_ctx_free(cx);
}

static ke_status each(ke_ctx *cx, void *payload)
{
    const char *file = DATA "zsre.json";
    char *text = NULL;
    int which = *(int *)payload;
    ke_status st = which == 0   ? ke_data_check(cx, &text, &file, 1, NULL)
                   : which == 1 ? ke_data_show(cx, &text, &file, 1, NULL, 0)
                                : ke_data_convert(cx, &text, file, NULL, 0, "jsonl");
    ke_free(cx, text);
    return st;
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++)
        oom_each(each, &which);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_files_get_a_line_each),
        cmocka_unit_test_setup_teardown(bad_files_are_all_told, scratch_make,
                                        scratch_remove),
        cmocka_unit_test(shows_the_counts),
        cmocka_unit_test_setup_teardown(conversion_loses_nothing, scratch_make,
                                        scratch_remove),
        cmocka_unit_test(converts_as_documented),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
