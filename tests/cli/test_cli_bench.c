/* `knowedit bench` on a small random model: options, what is printed, exit codes. What a
 * run measures is for the unit tests. */
#include "support/bench_run.h"
#include "support/program.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RUN                                                                                \
    "bench", "-m", path(state, "m.gguf"), "--data", path(state, "d.json"), "-o",           \
        path(state, "run.sqlite"), "--cov", "identity", "--contexts", "none"

static const char *path(void **state, const char *name)
{
    return scratch_path(state, name);
}

static int set_up(void **state)
{
    if (scratch_make(state) != 0)
        return -1;
    scratch_write(path(state, "d.json"), bench_facts, strlen(bench_facts));
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_status st = tiny_model_write(cx, &(tiny_spec){.seed = 3}, path(state, "m.gguf"));
    ke_ctx_free(cx);
    return st == KE_OK ? 0 : -1;
}

static json_int_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* The program must end with `code` and say `says` on stderr. */
static void ends(int code, const char *says, const char *const *args)
{
    program p = program_run(NULL, args);
    if (p.code != code || !strstr(p.err, says))
        fail_msg("exit %d, expected %d with \"%s\": %s", p.code, code, says, p.err);
    program_free(&p);
}

static void a_run_is_summed_up_and_resumed(void **state)
{
    json_t *sum = program_json("knowedit.bench/1", 0, ARGS(RUN, "--method", "none,rome"));
    assert_int_equal(integer(sum, "cases"), 3);
    assert_int_equal(integer(sum, "rows"), 12);
    assert_int_equal(integer(sum, "resumed"), 0);
    assert_string_equal(json_string_value(json_object_get(sum, "output")),
                        path(state, "run.sqlite"));
    json_decref(sum);
    sum = program_json("knowedit.bench/1", 0, ARGS(RUN, "--method", "none,rome"));
    assert_int_equal(integer(sum, "rows"), 12);
    assert_int_equal(integer(sum, "resumed"), 12);
    json_decref(sum);
    ends(1, "seed: 0 there, 4 here", ARGS(RUN, "--method", "none,rome", "--seed", "4"));
    program p = program_run(NULL, ARGS(RUN, "--method", "none,rome", "-q"));
    assert_string_equal(p.err, "");
    assert_non_null(strstr(p.out, "run.sqlite\n"));
    program_free(&p);
}

static void a_plan_is_said_first_and_alone_with_dry_run(void **state)
{
    program p = program_run(NULL, ARGS(RUN, "--method", "rome", "--dry-run"));
    assert_int_equal(p.code, 0);
    assert_non_null(strstr(p.err, "3 cases of 1 file by 1 method"));
    assert_non_null(strstr(p.err, "MiB of memory"));
    assert_string_equal(p.out, "");
    program_free(&p);
    assert_int_not_equal(access(path(state, "run.sqlite"), F_OK), 0);
    ends(1, "would do", ARGS(RUN, "--method", "rome", "--mem-limit", "1K"));
    assert_int_not_equal(access(path(state, "run.sqlite"), F_OK), 0);
}

static void settings_reach_the_methods_that_have_them(void **state)
{
    ends(0, "layer 1 of 3",
         ARGS(RUN, "--method", "none,rome", "--layer", "1", "--dry-run"));
    ends(0, "layer 1 of 3",
         ARGS(RUN, "--method", "rome", "--layer", "0", "--layer", "rome:1", "--dry-run"));
    ends(0, "layer 1 of 3",
         ARGS(RUN, "--method", "rome", "--layer", "rome:1", "--layer", "0", "--dry-run"));
    ends(2, "none of the methods chosen has that setting",
         ARGS(RUN, "--method", "none", "--layer", "1"));
    ends(2, "--nonsense", ARGS(RUN, "--method", "rome", "--nonsense", "1"));
    ends(2, "expected", ARGS(RUN, "--method", "rome", "--layer", "nowhere"));
    ends(0, "", ARGS(RUN, "--method", "none,rome", "--preset", "easyedit", "--dry-run"));
    ends(2, "has that preset", ARGS(RUN, "--method", "rome", "--preset", "best"));
}

static void words_are_checked(void **state)
{
    ends(2, "expected easyedit, real or both",
         ARGS(RUN, "--method", "none,rome", "--protocol", "kind"));
    ends(2, "expected boundary, shift or boundary,shift",
         ARGS(RUN, "--method", "none,rome", "--without", "errors"));
    ends(2, "has no faults",
         ARGS(RUN, "--method", "none,rome", "--protocol", "real", "--without", "shift"));
    ends(2, "expected single or sequential",
         ARGS(RUN, "--method", "none,rome", "--mode", "all"));
    ends(2, "expected each, end or each,end",
         ARGS(RUN, "--method", "none,rome", "--score-at", "each,never"));
    ends(2, "expected all", ARGS(RUN, "--method", "none,rome", "--retain", "some"));
    ends(2, "an item is empty", ARGS(RUN, "--method", "none,,rome"));
    ends(2, "no method 'room'", ARGS(RUN, "--method", "room"));
    ends(2, "given twice", ARGS(RUN, "--method", "rome,rome"));
    ends(2, "in sequence", ARGS(RUN, "--method", "none,rome", "--score-at", "end"));
    ends(2, "--limit -1", ARGS(RUN, "--method", "none,rome", "--limit=-1"));
    ends(2, "--method is missing", ARGS(RUN));
    assert_int_not_equal(access(path(state, "run.sqlite"), F_OK), 0);
}

static void inputs_and_outputs_are_checked(void **state)
{
    scratch_write(path(state, "run.sqlite"), "my notes", 8);
    ends(1, "it is left as it is", ARGS(RUN, "--method", "none,rome"));
    ends(1, "it is left as it is", ARGS(RUN, "--method", "none,rome", "--force"));
    scratch_write(path(state, "d.json"), "[{\"subject\": 7}]", 16);
    ends(1, "d.json:1: record 1", ARGS(RUN, "--method", "none,rome"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_is_summed_up_and_resumed),
        TEST(a_plan_is_said_first_and_alone_with_dry_run),
        TEST(settings_reach_the_methods_that_have_them),
        TEST(words_are_checked),
        TEST(inputs_and_outputs_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
