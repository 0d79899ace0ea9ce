/* What the program promises whatever the model: help, refusals, exit codes, streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/program.h"

static const char *const commands[] = {"edit", "ask",     "show",       "undo",
                                       "diff", "stats",   "perplexity", "tokenize",
                                       "demo", "version", "help"};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static void every_command_explains_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        program p = program_run(NULL, ARGS(commands[i], "--help"));
        assert_int_equal(0, p.code);
        assert_true(p.n_out > 100);
        assert_string_equal("", p.err);
        assert_non_null(strstr(p.out, "Example:\n  knowedit "));
        program q = program_run(NULL, ARGS("help", commands[i]));
        assert_string_equal(p.out, q.out);
        program_free(&p);
        program_free(&q);
    }
}

static void help_lists_every_command(void **state)
{
    (void)state;
    program p = program_run(NULL, ARGS("help"));
    assert_int_equal(0, p.code);
    for (size_t i = 0; i < N_COMMANDS; i++)
        assert_non_null(strstr(p.out, commands[i]));
    program_free(&p);
    p = program_run(NULL, ARGS("--help"));
    assert_int_equal(0, p.code);
    assert_true(p.n_out > 100);
    program_free(&p);
}

/* Exit 2, a line on stderr, nothing on stdout; with --json an error object instead. */
static void refused(const char *const *args)
{
    program p = program_run(NULL, args);
    if (p.code != 2 || p.n_out != 0 || p.err[0] == '\0')
        fail_msg("%s %s: exit %d, out '%s', err '%s'", args[0], args[0] ? args[1] : "",
                 p.code, p.out, p.err);
    program_free(&p);
    if (args[0] == NULL)
        return;
    json_t *e = program_json("knowedit.error/1", 2, args);
    const json_t *error = json_object_get(e, "error");
    assert_string_equal("EINVAL", json_string_value(json_object_get(error, "code")));
    assert_true(json_string_length(json_object_get(error, "message")) > 0);
    assert_true(json_is_string(json_object_get(error, "where")));
    json_decref(e);
}

static void wrong_usage_is_refused(void **state)
{
    (void)state;
    refused((const char *const[]){NULL});
    refused(ARGS("nosuchverb"));
    refused(ARGS("help", "nosuchverb"));
    refused(ARGS("edit"));
    refused(ARGS("ask", "-m", "x"));
    refused(ARGS("ask", "-m", "x", "one", "two"));
    refused(ARGS("diff", "one"));
    refused(ARGS("undo", "one"));
    refused(ARGS("version", "extra"));
    refused(ARGS("version", "--no-such-flag"));
    refused(ARGS("version", "-t"));
    refused(ARGS("tokenize", "-m", "x", "--text", "a", "--decode", "1"));
    refused(ARGS("edit", "-m", "x", "--facts", "f", "--prompt", "p"));
    refused(ARGS("ask", "-m", "x", "--chat", "--tokens-in", "1"));
    refused(ARGS("ask", "-m", "x", "--template", "ChatML", "p"));
    refused(ARGS("bench", "-m", "x", "--method", "ice", "--data", "d", "-o", "o",
                 "--template", "ChatML"));
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    refused(ARGS("version", "-t", "0"));
    refused(ARGS("version", "-t", "-3"));
    refused(ARGS("version", "-t", "two"));
    refused(ARGS("version", "-t", "99999999999999999999"));
    refused(ARGS("version", "--isa", "nosuch"));
    refused(ARGS("version", "--seed", "-1"));
    refused(ARGS("version", "--seed", "18446744073709551616"));
    refused(ARGS("version", "--mem-limit", "0"));
    refused(ARGS("version", "--mem-limit", "12Q"));
    refused(ARGS("version", "--mem-limit", "1.5G"));
    refused(ARGS("version", "--mem-limit", "18446744073709551615K"));
    refused(ARGS("ask", "-m", "x", "-n", "-1", "p"));
    refused(ARGS("ask", "-m", "x", "--temperature", "nan", "p"));
    refused(ARGS("ask", "-m", "x", "--top-p", "1.5", "p"));
    refused(ARGS("ask", "-m", "x", "--top", "1x", "p"));
    refused(ARGS("version", "--seed", "9223372036854775808"));
    refused(ARGS("--seed", "nonsense", "version"));
    refused(ARGS("--isa", "nosuch", "version"));
    refused(ARGS("--mem-limit", "lots", "version"));
    refused(ARGS("perplexity", "-m", "x", "-f", "y", "--chunk", "1"));
    refused(ARGS("stats", "-m", "x", "-o", "y", "--layers", "1", "--shrink", "nan"));
    refused(ARGS("edit", "-m", "x", "--subject", "s", "--prompt", "s", "--target", "t",
                 "--lr", "nan"));
    refused(ARGS("edit", "-m", "x", "--subject", "s", "--prompt", "s", "--target", "t",
                 "--method", "nosuch"));
    refused(ARGS("edit", "-m", "x", "--subject", "s", "--prompt", "s", "--target", "t",
                 "--layer", "-1"));
}

static void numbers_in_range_are_taken(void **state)
{
    (void)state;
    program p =
        program_run(NULL, ARGS("version", "-t", "1", "--seed", "9223372036854775807",
                               "--mem-limit", "512M", "--isa", "ref"));
    assert_int_equal(0, p.code);
    assert_non_null(strstr(p.out, "ref"));
    program_free(&p);
    p = program_run(NULL, ARGS("--isa", "ref", "version", "--seed", "1"));
    assert_int_equal(0, p.code);
    assert_non_null(strstr(p.out, "ref"));
    program_free(&p);
}

static void an_unknown_isa_of_the_environment_is_refused(void **state)
{
    (void)state;
    program p = program_shell("KE_ISA=ref64 \"$K\" version");
    assert_int_equal(2, p.code);
    assert_string_equal("", p.out);
    assert_non_null(strstr(p.err, "KE_ISA ref64: expected ref, avx2 or avx512"));
    program_free(&p);
}

static void global_options_may_stand_first(void **state)
{
    (void)state;
    program p = program_run(NULL, ARGS("--json", "-t", "1", "version"));
    assert_int_equal(0, p.code);
    json_t *v = json_loads(p.out, 0, NULL);
    assert_int_equal(1, json_integer_value(json_object_get(v, "threads")));
    json_decref(v);
    program_free(&p);
}

static void version_names_what_it_stands_on(void **state)
{
    (void)state;
    json_t *v = program_json("knowedit.version/1", 0, ARGS("version"));
    assert_non_null(strstr(json_string_value(json_object_get(v, "built_with")), "jansson"));
    assert_non_null(strstr(json_string_value(json_object_get(v, "notices")), "CC BY-SA"));
    json_decref(v);
}

static void a_result_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    static const char *const ways[] = {"\"$K\" help >/dev/full", "\"$K\" help >&-",
                                       "\"$K\" version --json >/dev/full",
                                       "(\"$K\" help; echo $? >&2) | :"};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        program p = program_shell(ways[i]);
        bool pipe = strstr(ways[i], "| :") != NULL;
        /* What the pipe's reader leaves unread may still fit into the pipe: 0 or 1 then. */
        assert_int_equal(pipe ? 0 : 1, p.code);
        assert_true(!pipe || strstr(p.err, "141") == NULL);
        program_free(&p);
    }
}

static void a_closed_stderr_does_not_get_into_files(void **state)
{
    (void)state;
    program p = program_shell("\"$K\" version 2>&- 0<&-");
    assert_int_equal(0, p.code);
    program_free(&p);
}

static void an_unknown_model_name_is_explained(void **state)
{
    (void)state;
    program p = program_run(NULL, ARGS("show", "-m", "nosuchmodel"));
    assert_int_equal(1, p.code);
    assert_non_null(strstr(p.err, "nosuchmodel"));
    assert_non_null(strstr(p.err, "fetch_model"));
    program_free(&p);
    json_t *e =
        program_json("knowedit.error/1", 1, ARGS("show", "-m", "/nonexistent.gguf"));
    assert_string_equal("/nonexistent.gguf", json_string_value(json_object_get(
                                                 json_object_get(e, "error"), "where")));
    json_decref(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_explains_itself),
        cmocka_unit_test(help_lists_every_command),
        cmocka_unit_test(wrong_usage_is_refused),
        cmocka_unit_test(wrong_numbers_are_refused),
        cmocka_unit_test(numbers_in_range_are_taken),
        cmocka_unit_test(an_unknown_isa_of_the_environment_is_refused),
        cmocka_unit_test(global_options_may_stand_first),
        cmocka_unit_test(version_names_what_it_stands_on),
        cmocka_unit_test(a_result_that_cannot_be_written_is_an_error),
        cmocka_unit_test(a_closed_stderr_does_not_get_into_files),
        cmocka_unit_test(an_unknown_model_name_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
