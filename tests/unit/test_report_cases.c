/* Every case for programs (knowedit.cases/1), and one case for people. */
#include "knowedit/bench.h"
#include "support/oom.h"
#include "support/run_file.h"
#include "support/scratch.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *cx;

static int set_up(void **state)
{
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke_ctx_free(cx);
    return scratch_remove(state);
}

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

static void refused(ke_status st, ke_status expected, const char *says)
{
    assert_int_equal(st, expected);
    if (!strstr(ke_ctx_message(cx), says))
        fail_msg("expected \"%s\" in \"%s\"", says, ke_ctx_message(cx));
}

/* 1/3 as it is written and read back without loss. */
static const char body[] =
    "{\"success\":[0.33333333333333331],\"exact\":[0],\"probability\":[0.125],"
    "\"portability\":{\"Reasoning\":[1,0]},\"locality\":{\"Relation_Specificity\":[0.5]},"
    "\"fluency\":5.25,\"metrics\":{\"steps\":25},\"texts\":["
    "{\"kind\":\"success\",\"prompt\":\"S "
    "is\",\"expected\":\"T\",\"before\":\"a\\n\\\"b\\\"\","
    "\"after\":\"T\"},"
    "{\"kind\":\"portability\",\"part\":\"Reasoning\",\"prompt\":\"p1\",\"expected\":"
    "\"e1\","
    "\"before\":\"b1\",\"after\":\"a1\"},"
    "{\"kind\":\"portability\",\"part\":\"Reasoning\",\"prompt\":\"p2\",\"expected\":"
    "\"e2\","
    "\"before\":\"b2\",\"after\":\"a2\"},"
    "{\"kind\":\"locality\",\"part\":\"Relation_Specificity\",\"prompt\":\"p3\","
    "\"expected\":\"e3\",\"before\":\"b3\",\"after\":\"a3\"},"
    "{\"kind\":\"fluency\",\"prompt\":\"S is\",\"expected\":null,\"before\":null,"
    "\"after\":\"S is long\"}]}";

/* Two files, put out of order. */
static const char *write_run(void **state)
{
    static const char *const more[] = {"mode", "sequential", NULL};
    const char *path = scratch_path(state, "run.sqlite");
    run_file r = run_file_new(cx, path, "rome,ft-m", "both", more);
    run_file_cases(&r, 0, "zsre", 2);
    run_file_cases(&r, 1, "wikibio", 1);
    run_file_failed(&r, 1, 0, 1, "ft-m", "real", "not a number");
    run_file_row(&r, 0, 1, 1, "ft-m", "real", "{}");
    run_file_row(&r, 0, 1, 0, "rome", "real", "{\"set\":\"other\",\"index\":8}");
    run_file_row(&r, 0, 1, 0, "rome", "easyedit", body);
    run_file_row(&r, 0, 0, 0, "rome", "real", "{}");
    run_file_end(&r);
    return path;
}

static json_t *cases_of(const char *const *paths, size_t n)
{
    char *text = NULL;
    ok(ke_report_cases(cx, &text, paths, n));
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "schema")),
                        "knowedit.cases/1");
    ke_free(cx, text);
    return o;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "-";
}

static void cases_come_in_order(void **state)
{
    static const char *const expected[] = {
        "zsre.json 0 rome real each",    "zsre.json 1 rome easyedit each",
        "zsre.json 1 rome real each",    "zsre.json 1 ft-m real each",
        "wikibio.json 0 ft-m real each",
    };
    const char *path = write_run(state);
    json_t *o = cases_of(&path, 1), *cases = json_object_get(o, "cases");
    char line[128];
    assert_int_equal(json_array_size(cases), 5);
    for (size_t i = 0; i < 5; i++) {
        const json_t *c = json_array_get(cases, i);
        snprintf(line, sizeof line, "%s %d %s %s %s", string_of(c, "file"),
                 (int)json_integer_value(json_object_get(c, "index")),
                 string_of(c, "method"), string_of(c, "protocol"), string_of(c, "at"));
        assert_string_equal(line, expected[i]);
        assert_string_equal(string_of(c, "set"), i < 4 ? "zsre" : "wikibio");
        assert_string_equal(string_of(c, "mode"), "sequential");
        const json_t *seconds = json_object_get(c, "seconds");
        assert_true(json_real_value(json_object_get(seconds, "edit")) == 0.5);
        assert_true(json_real_value(json_object_get(seconds, "evaluate")) == 2);
        assert_string_equal(string_of(c, "error"), i < 4 ? "-" : "not a number");
    }
    json_decref(o);
}

static void scores_and_texts_are_as_they_were(void **state)
{
    const char *path = write_run(state), *name;
    json_t *o = cases_of(&path, 1), *put = json_loads(body, 0, NULL), *value;
    const json_t *c = json_array_get(json_object_get(o, "cases"), 1);
    json_object_foreach(put, name, value) if (!json_equal(value, json_object_get(c, name)))
        fail_msg("\"%s\" is not as it was put", name);
    json_decref(put);
    json_decref(o);
}

static void runs_follow_each_other(void **state)
{
    const char *paths[2] = {write_run(state), scratch_path(state, "other")};
    run_file r = run_file_new(cx, paths[1], "none", "real", NULL);
    run_file_end(&r);
    json_t *o = cases_of(paths, 2);
    assert_int_equal(json_array_size(json_object_get(o, "cases")), 5);
    json_decref(o);
    o = cases_of(paths + 1, 1); /* nothing measured yet */
    assert_int_equal(json_array_size(json_object_get(o, "cases")), 0);
    json_decref(o);
}

/* --- one case --- */

static void a_case_is_readable(void **state)
{
    const char *path = write_run(state);
    char *text = NULL;
    ok(ke_report_case(cx, &text, &path, 1, 1));
    assert_non_null(strstr(text, "case 1 of zsre (zsre.json)\n"
                                 "  subject  \"S\"\n"
                                 "  prompt   \"S is\"\n"
                                 "  target   \"T\"\n"
                                 "\n"
                                 "  rome, easyedit protocol, sequential edits "
                                 "(edit 0.50 s, scores 2.00 s)\n"
                                 "    success: 0.3333\n"
                                 "    exact: 0\n"
                                 "    probability: 0.125\n"
                                 "    portability Reasoning: 1 0\n"
                                 "    locality Relation_Specificity: 0.5\n"
                                 "    fluency: 5.25\n"
                                 "    metrics steps: 25\n"
                                 "\n"
                                 "    success, score 0.3333\n"
                                 "      prompt    \"S is\"\n"
                                 "      expected  \"T\"\n"
                                 "      before    \"a\\n\\\"b\\\"\"\n"
                                 "      after     \"T\"\n"
                                 "\n"
                                 "    portability Reasoning, score 1\n"
                                 "      prompt    \"p1\"\n"));
    assert_non_null(strstr(text, "    portability Reasoning, score 0\n"
                                 "      prompt    \"p2\"\n"));
    assert_non_null(strstr(text, "    locality Relation_Specificity, score 0.5\n"));
    assert_non_null(strstr(text, "    fluency\n      prompt    \"S is\"\n"
                                 "      after     \"S is long\"\n"));
    assert_non_null(strstr(text, "\n  ft-m, real protocol, sequential edits"));
    ke_free(cx, text);
}

static void a_case_of_every_file_is_shown(void **state)
{
    const char *path = write_run(state);
    char *text = NULL;
    ok(ke_report_case(cx, &text, &path, 1, 0));
    assert_non_null(strstr(text, "case 0 of zsre (zsre.json)\n"));
    assert_non_null(strstr(text, "\n\ncase 0 of wikibio (wikibio.json)\n"));
    assert_non_null(strstr(text, "    not measured: not a number\n"));
    ke_free(cx, text);
}

static void a_case_may_not_be_measured_yet(void **state)
{
    const char *path = scratch_path(state, "run");
    char *text = NULL;
    run_file r = run_file_new(cx, path, "none", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_end(&r);
    ok(ke_report_case(cx, &text, &path, 1, 0));
    assert_non_null(strstr(text, "  not measured yet\n"));
    ke_free(cx, text);
}

static void what_is_not_there_is_refused(void **state)
{
    const char *path = write_run(state), *none = scratch_path(state, "none");
    char *text = NULL;
    refused(ke_report_case(cx, &text, &path, 1, 2), KE_ENOENT, "no case 2");
    refused(ke_report_case(cx, &text, &none, 1, 0), KE_ENOENT, "none");
    refused(ke_report_cases(cx, &text, &none, 1), KE_ENOENT, "none");
    assert_null(text);

    const char *broken = scratch_path(state, "broken");
    run_file r = run_file_new(cx, broken, "none", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 0, "none", "real", "{");
    run_file_end(&r);
    refused(ke_report_cases(cx, &text, &broken, 1), KE_EFORMAT, "case 0 of zsre");
    refused(ke_report_case(cx, &text, &broken, 1, 0), KE_EFORMAT, "case 0 of zsre");
}

static ke_status print_all(ke_ctx *c, void *payload)
{
    const char *path = payload;
    char *text = NULL;
    ke_status st = ke_report_cases(c, &text, &path, 1);
    ke_free(c, text);
    return st;
}

static ke_status print_one(ke_ctx *c, void *payload)
{
    const char *path = payload;
    char *text = NULL;
    ke_status st = ke_report_case(c, &text, &path, 1, 1);
    ke_free(c, text);
    return st;
}

static void memory_may_run_out_anywhere(void **state)
{
    const char *path = write_run(state);
    oom_each(print_all, (void *)(uintptr_t)path);
    oom_each(print_one, (void *)(uintptr_t)path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(cases_come_in_order),           TEST(scores_and_texts_are_as_they_were),
        TEST(runs_follow_each_other),        TEST(a_case_is_readable),
        TEST(a_case_of_every_file_is_shown), TEST(a_case_may_not_be_measured_yet),
        TEST(what_is_not_there_is_refused),  TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
