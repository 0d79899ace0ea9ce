/* `knowedit report`: what it prints where, and what it refuses. What is in a table is for
 * the unit tests. */
#include "support/program.h"
#include "support/run_file.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *run_path(void **state)
{
    return scratch_path(state, "run.sqlite");
}

static int set_up(void **state)
{
    if (scratch_make(state) != 0)
        return -1;
    ke_ctx *cx = ke_ctx_new(NULL);
    run_file r = run_file_new(cx, run_path(state), "none,rome", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 1, "rome", "real", "{\"success\":[1]}");
    run_file_end(&r);
    ke_ctx_free(cx);
    return 0;
}

/* It must end with `code` and print `text` on the stream where results or errors go. */
static void says(int code, const char *text, const char *const *args)
{
    program p = program_run(NULL, args);
    const char *stream = code == 0 ? p.out : p.err;
    assert_int_equal(p.code, code);
    if (!strstr(stream, text))
        fail_msg("no \"%s\" in:\n%s", text, stream);
    if (code != 0)
        assert_string_equal(p.out, "");
    program_free(&p);
}

static void tables_go_to_stdout(void **state)
{
    const char *run = run_path(state);
    says(0, "real protocol, single edits\n", ARGS("report", run));
    says(0, "| ZsRE | none | 0/1 |", ARGS("report", run, "--format", "md"));
    says(0, ",rome,1,1,0,seconds,edit,0.5,,1,\n",
         ARGS("report", run, "--format", "csv", "--parts"));
    says(0, "case 0 of zsre (zsre.json)\n", ARGS("report", run, "--case", "0"));
    json_decref(program_json("knowedit.report/1", 0, ARGS("report", run)));
    json_t *o = program_json("knowedit.cases/1", 0, ARGS("report", run, "--cases"));
    assert_int_equal(json_array_size(json_object_get(o, "cases")), 1);
    json_decref(o);
}

static void a_dry_run_draws_nothing(void **state)
{
    const char *run = run_path(state), *plot = scratch_path(state, "p.svg");
    program p = program_run(NULL, ARGS("report", run, "--plot", plot, "--dry-run"));
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "");
    assert_non_null(strstr(p.err, "would draw"));
    assert_int_equal(access(plot, F_OK), -1);
    program_free(&p);
}

static void wrong_usage_is_refused(void **state)
{
    const char *run = run_path(state);
    says(2, "0 of 1 arguments", ARGS("report"));
    says(2, "alternatives", ARGS("report", run, "--case", "0", "--cases"));
    says(2, "alternatives", ARGS("report", run, "--format", "md", "--plot", "p.svg"));
    says(2, "--cases needs --json", ARGS("report", run, "--cases"));
    says(2, "--case -1", ARGS("report", run, "--case", "-1"));
    says(2, "\"odt\"", ARGS("report", run, "--format", "odt"));
    says(2, ".svg, .png or .pdf", ARGS("report", run, "--plot", "p.gif"));
    says(1, "no case 7", ARGS("report", run, "--case", "7"));
    says(1, "none.sqlite", ARGS("report", scratch_path(state, "none.sqlite")));
    json_decref(program_json("knowedit.error/1", 2, ARGS("report", run, "--case", "0")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tables_go_to_stdout),
        TEST(a_dry_run_draws_nothing),
        TEST(wrong_usage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
