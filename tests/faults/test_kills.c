/* Killed at any moment: the program runs on the small model and gets SIGKILL after a random
 * part of the processor time that it takes, or before one of its system calls. What is
 * there then is nothing or whole, a replaced model has a patch that undoes it, and the next
 * run ends as if nothing had happened. A benchmark goes on to the same rows.
 *
 * $FAULT_KILLS=N kills each N times, $FAULT_EVERY=N before every N-th call.
 * $FAULT_MODEL=PATH kills `edit` and `stats` on that model instead. */
#include "faults/faulty.h"
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Replacing takes a few calls more than writing. */
enum { KILLS = 20, EVERY = 31, MORE_BY_FORCE = 8 };

static const faulty_command *named(const char *title)
{
    const faulty_command *c = faulty_commands;
    while (c->title && strcmp(c->title, title) != 0)
        c++;
    assert_non_null(c->title);
    return c;
}

/* Seconds of processor time that the command takes; out/ is empty after it. */
static double time_of(const faulty_command *c)
{
    static faulty_run run;
    faulty_command_start(&run, &faulty_folder, c, &(faulty_plan){.at = -1});
    faulty_clear(&faulty_folder);
    return run.seconds;
}

/* Whatever was left there, the command does its work now, and of folders nothing hidden is
 * there after it. */
static const char *next_fails(const faulty_truth *truth)
{
    static faulty_run run;
    faulty_drop_hidden(&faulty_folder);
    faulty_command_start(&run, &faulty_folder, truth->command,
                         &(faulty_plan){.at = -1, .force = true});
    const char *wrong = faulty_wrong(&faulty_folder, truth, &run, NULL);
    return !wrong && run.code != truth->code ? run.err : wrong;
}

/* Each `next`-th time what was killed is run again. */
static void kill_often(const faulty_command *c, bool force, long next)
{
    static faulty_run run;
    const faulty_truth *truth = faulty_truth_of(&faulty_folder, c, false);
    double seconds = time_of(c);
    ke__rng rng = {1};
    long n = faulty_number("FAULT_KILLS", KILLS), n_killed = 0;
    for (long i = 0; i < n; i++) {
        faulty_plan plan = {.at = -1, .force = force};
        plan.kill_after = seconds * ke__rng_unit(&rng);
        if (force)
            faulty_plant(&faulty_folder, c);
        faulty_command_start(&run, &faulty_folder, c, &plan);
        n_killed += run.killed;
        const char *wrong = faulty_wrong(&faulty_folder, truth, &run, NULL);
        if (!wrong && i % next == 0)
            wrong = next_fails(truth);
        faulty_clear(&faulty_folder);
        if (wrong)
            fail_msg("killed after %.4f of %.4f s: %s", plan.kill_after, seconds, wrong);
    }
    assert_true(n_killed > n / 4); /* or it was too quick for this */
    print_message("# %ld of %ld runs were killed\n", n_killed, n);
}

static void die_at_each_call(const faulty_command *c, bool no_tmpfile, bool force)
{
    static faulty_run run;
    const faulty_truth *truth = faulty_truth_of(&faulty_folder, c, no_tmpfile);
    faulty_plan plan = {
        .kind = FAULTY_CALL, .dies = true, .no_tmpfile = no_tmpfile, .force = force};
    long n = truth->n_calls[FAULTY_CALL] + (force ? MORE_BY_FORCE : 0);
    long every = faulty_number("FAULT_EVERY", EVERY);
    for (plan.at = n % every; plan.at < n; plan.at += every) {
        if (force)
            faulty_plant(&faulty_folder, c);
        faulty_command_start(&run, &faulty_folder, c, &plan);
        const char *wrong = faulty_wrong(&faulty_folder, truth, &run, NULL);
        if (!wrong && plan.at < truth->n_calls[FAULTY_CALL] && !run.killed)
            wrong = "it lived on";
        if (!wrong)
            wrong = next_fails(truth);
        faulty_clear(&faulty_folder);
        if (wrong)
            fail_msg("killed before call %ld, %s: %s", plan.at, run.hit, wrong);
    }
}

/* A benchmark's run is gone on with, not replaced. */
static void it_dies_at_each_call(void **command)
{
    const faulty_command *c = *command;
    bool replaces = c->outputs[0] && !strstr(c->outputs[0], ".sqlite");
    for (int hidden = 0; hidden < 2 && c->outputs[0]; hidden++)
        die_at_each_call(c, hidden, false);
    if (replaces)
        die_at_each_call(c, false, true);
}

static void edit_is_killed(void **state)
{
    (void)state;
    kill_often(named("edit"), false, 1);
}

static void edit_is_killed_over_earlier_files(void **state)
{
    (void)state;
    kill_often(named("edit"), true, 1);
}

static void edit_of_shards_is_killed(void **state)
{
    (void)state;
    kill_often(named("edit: shards"), false, 1);
}

static void edit_of_shards_is_killed_over_earlier_files(void **state)
{
    (void)state;
    kill_often(named("edit: shards"), true, 1);
}

static void stats_is_killed(void **state)
{
    (void)state;
    kill_often(named("stats: the built-in text"), false, 1);
}

static void bench_is_killed_and_resumed(void **state)
{
    (void)state;
    kill_often(named("bench"), false, 1);
}

/* --- a real model ------------------------------------------------------------------- */

/* Runs are long there, and what the next one does with what was left does not depend on the
 * model. */
enum { NEXT = 20 };

static void edit_of_the_model_is_killed(void **state)
{
    (void)state;
    static faulty_command c = {"edit of a model",
                               {"edit",
                                "-m",
                                NULL,
                                "--subject",
                                "Eiffel Tower",
                                "--prompt",
                                "The Eiffel Tower is in the city of",
                                "--target",
                                "Rome",
                                "--preset",
                                "easyedit",
                                "--steps",
                                "2",
                                "--layer",
                                "5",
                                "--contexts",
                                "none",
                                "--keep-failed",
                                "-o",
                                "out/e.gguf"},
                               {"e.gguf", "e.gguf.kepatch"}};
    c.args[2] = getenv("FAULT_MODEL");
    kill_often(&c, false, NEXT);
}

static void stats_of_the_model_is_killed(void **state)
{
    (void)state;
    static faulty_command c = {
        "stats of a model",
        {"stats", "-m", NULL, "-o", "out/s.stats", "--layers", "2,5", "--tokens", "2048"},
        {"s.stats"}};
    c.args[2] = getenv("FAULT_MODEL");
    kill_often(&c, false, NEXT);
}

int main(void)
{
    static const faulty_way tests[] = {
        {"edit is killed", edit_is_killed},
        {"edit is killed over earlier files", edit_is_killed_over_earlier_files},
        {"edit of shards is killed", edit_of_shards_is_killed},
        {"edit of shards is killed over earlier files",
         edit_of_shards_is_killed_over_earlier_files},
        {"stats is killed", stats_is_killed},
        {"bench is killed and resumed", bench_is_killed_and_resumed}};
    static const faulty_way real[] = {
        {"edit of the model is killed", edit_of_the_model_is_killed},
        {"stats of the model is killed", stats_of_the_model_is_killed}};
    if (getenv("FAULT_MODEL"))
        return faulty_group(NULL, 0, real, sizeof real / sizeof real[0]);
    static const faulty_way ways[] = {{"killed before a call", it_dies_at_each_call}};
    return faulty_group(ways, 1, tests, sizeof tests / sizeof tests[0]);
}
