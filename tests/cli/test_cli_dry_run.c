/* --dry-run of every command that writes: nothing is written, not even to the cache, and
 * what the real run would refuse is refused. A new command has to be in one of the lists.
 */
#include "support/program.h"
#include "support/run_file.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define FACT "--subject", "ab", "--prompt", "the ab in", "--target", "on"

/* "@" begins a path in the test's folder. */
typedef struct writer {
    const char *args[16];
    const char *makes; /* NULL: nothing that stays */
    int code;          /* of both runs; -1: whatever the edit comes to, 0 or 3 */
} writer;

static const writer writers[] = {
    {{"edit", "-m", "@m.gguf", "-o", "@new.gguf", "--keep-failed", FACT}, "@new.gguf", -1},
    {{"edit", "-m", "@m.gguf", "--patch", "@new.kepatch", "--method", "ft", "--keep-failed",
      FACT},
     "@new.kepatch",
     -1},
    {{"apply", "-m", "@m.gguf", "--patch", "@e.gguf.kepatch", "-o", "@a.gguf"},
     "@a.gguf",
     0},
    {{"undo", "@e.gguf", "-o", "@u.gguf"}, "@u.gguf", 0},
    {{"stats", "-m", "@m.gguf", "-o", "@l.stats", "--layers", "1", "--tokens", "640",
      "--chunk", "64"},
     "@l.stats",
     0},
    {{"bench", "-m", "@m.gguf", "--method", "none", "--protocol", "easyedit", "--data",
      "@data.json", "-o", "@b.sqlite"},
     "@b.sqlite",
     0},
    {{"report", "@run.sqlite", "--plot", "@p.svg"}, "@p.svg", 0},
    {{"demo", "-m", "@m.gguf"}, NULL, -1},
};
enum { N_WRITERS = sizeof writers / sizeof writers[0] };

/* They print, and open no file for writing. */
static const char *const readers[] = {"check",      "data",     "ask",     "show", "diff",
                                      "perplexity", "tokenize", "version", "help"};
enum { N_READERS = sizeof readers / sizeof readers[0] };

static const char data[] =
    "[{\"subject\":\"ab\",\"prompt\":\"the ab in\",\"target_new\":\"on\",\"ground_truth\":["
    "\"a\"],\"rephrase_prompt\":\"ab in\",\"portability\":{},\"locality\":{}}]";

static program run(void **state, const writer *w, bool dry)
{
    static char paths[16][4608];
    const char *args[18] = {NULL};
    size_t n = 0;
    for (; w->args[n]; n++) {
        args[n] = w->args[n];
        if (*args[n] == '@') {
            snprintf(paths[n], sizeof paths[n], "%s/%s", (char *)*state, args[n] + 1);
            args[n] = paths[n];
        }
    }
    if (dry)
        args[n] = "--dry-run";
    return program_run(NULL, args);
}

static int set_up(void **state)
{
    static const writer edit = {
        {"edit", "-m", "@m.gguf", "-o", "@e.gguf", "--keep-failed", FACT}, NULL, 0};
    if (scratch_make(state) != 0)
        return -1;
    setenv("TMPDIR", *state, 1);
    setenv("KNOWEDIT_CACHE", scratch_path(state, "cache"), 1);
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(
        KE_OK, tiny_model_write(cx, &(tiny_spec){.type = "q8_0", .d = 64, .head_dim = 16},
                                scratch_path(state, "m.gguf")));
    run_file r = run_file_new(cx, scratch_path(state, "run.sqlite"), "none", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 0, "none", "real", "{\"success\":[1]}");
    run_file_end(&r);
    ke_ctx_free(cx);
    scratch_write(scratch_path(state, "data.json"), data, sizeof data - 1);
    program p = run(state, &edit, false);
    assert_true(p.code == 0 || p.code == 3);
    program_free(&p);
    /* The dry runs begin without a cache. */
    p = program_shell("rm -r \"$KNOWEDIT_CACHE\"");
    assert_int_equal(0, p.code);
    program_free(&p);
    return 0;
}

/* Names, sizes, times of change and numbers of all that is in the folder. */
static char *listing(void)
{
    program p = program_shell("find \"$TMPDIR\" -printf '%p %s %T@ %C@ %i\\n' | sort");
    assert_int_equal(0, p.code);
    assert_true(p.n_out > 0);
    free(p.err);
    return p.out;
}

static bool as_expected(const writer *w, int code)
{
    return w->code >= 0 ? code == w->code : code == 0 || code == 3;
}

static void nothing_is_written(void **state)
{
    for (size_t i = 0; i < N_WRITERS; i++) {
        char *before = listing();
        program p = run(state, &writers[i], true);
        char *after = listing();
        if (!as_expected(&writers[i], p.code))
            fail_msg("%s: exit %d, %s", writers[i].args[0], p.code, p.err);
        if (p.n_out == 0 && p.err[0] == '\0')
            fail_msg("%s: no plan is said", writers[i].args[0]);
        if (strcmp(before, after) != 0)
            fail_msg("%s: from\n%s to\n%s", writers[i].args[0], before, after);
        /* What will be there is named. */
        const char *makes = writers[i].makes ? writers[i].makes + 1 : "";
        if (!strstr(p.out, makes) && !strstr(p.err, makes))
            fail_msg("%s: %s is not named in '%s%s'", writers[i].args[0], makes, p.out,
                     p.err);
        free(before);
        free(after);
        program_free(&p);
    }
}

/* So the lines above would write; and what is there then is refused in a dry run too. */
static void the_same_lines_write(void **state)
{
    for (size_t i = 0; i < N_WRITERS; i++) {
        const writer *w = &writers[i];
        program p = run(state, w, false);
        if (!as_expected(w, p.code))
            fail_msg("%s: exit %d, %s", w->args[0], p.code, p.err);
        program_free(&p);
        if (!w->makes)
            continue;
        assert_int_equal(0, access(scratch_path(state, w->makes + 1), F_OK));
        if (strcmp(w->args[0], "bench") == 0)
            continue; /* a run that is there goes on */
        p = run(state, w, true);
        assert_int_equal(1, p.code);
        assert_non_null(strstr(p.err, "exists"));
        program_free(&p);
    }
}

static bool is_listed(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < N_WRITERS; i++)
        found = found || strcmp(writers[i].args[0], name) == 0;
    for (size_t i = 0; i < N_READERS; i++)
        found = found || strcmp(readers[i], name) == 0;
    return found;
}

static void every_command_is_in_a_list(void **state)
{
    (void)state;
    size_t i;
    json_t *command, *help = program_json("knowedit.help/1", 0, ARGS("help"));
    json_array_foreach(json_object_get(help, "commands"), i, command)
    {
        const char *name = json_string_value(json_object_get(command, "name"));
        if (!is_listed(name))
            fail_msg("%s: does it write? See the lists above", name);
    }
    assert_true(i > 0);
    json_decref(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_written),
        cmocka_unit_test(the_same_lines_write),
        cmocka_unit_test(every_command_is_in_a_list),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_remove);
}
