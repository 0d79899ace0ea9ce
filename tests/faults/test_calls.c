/* System calls that fail: of every command, each of its calls (our own and SQLite's: open,
 * read, write, sync, link, rename, map) fails once, by each error that it may bring, or
 * does half of its work. The program goes on to the same end, or says what failed on one
 * line and leaves nothing or all. An interrupted call is made again, and so is the rest of
 * a short one.
 *
 * $FAULT_EVERY=N looks at every N-th call only. */
#include "faults/faulty.h"
#include "support/scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Replacing takes a few calls more than writing. */
enum { EVERY = 31, MORE_BY_FORCE = 8 };

/* Reading and writing survive an interruption and a part of the work done. */
static bool harmless(const char *call, int error)
{
    return (error == 0 || error == EINTR) &&
           (strstr(call, "read") || strstr(call, "write"));
}

static void each_fails(const faulty_command *c, faulty_plan plan)
{
    static faulty_run run;
    char first[1024];
    const faulty_truth *truth = faulty_truth_of(&faulty_folder, c, plan.no_tmpfile);
    long n = truth->n_calls[FAULTY_CALL], n_bad = 0;
    long every = faulty_number("FAULT_EVERY", EVERY);
    n += plan.force ? MORE_BY_FORCE : 0;
    plan.kind = FAULTY_CALL;
    for (plan.at = n % every; plan.at < n; plan.at += every) {
        if (plan.force)
            faulty_plant(&faulty_folder, c);
        faulty_command_start(&run, &faulty_folder, c, &plan);
        const char *wrong = faulty_wrong(&faulty_folder, truth, &run, NULL);
        if (!wrong && harmless(run.hit, plan.error) && run.err[0])
            wrong = run.err;
        if (wrong && n_bad++ == 0)
            snprintf(first, sizeof first, "%ld, %s: %.900s", plan.at, run.hit, wrong);
        faulty_clear(&faulty_folder);
    }
    if (n_bad > 0)
        fail_msg("%ld of %ld calls; the first is %s", n_bad, n, first);
}

static void the_disk_is_full(void **command)
{
    each_fails(*command, (faulty_plan){.error = ENOSPC});
}

static void the_disk_fails(void **command)
{
    each_fails(*command, (faulty_plan){.error = EIO});
}

static void a_signal_comes(void **command)
{
    each_fails(*command, (faulty_plan){.error = EINTR});
}

static void half_is_done(void **command)
{
    each_fails(*command, (faulty_plan){.error = 0});
}

static void the_disk_fails_under_hidden_names(void **command)
{
    each_fails(*command, (faulty_plan){.error = EIO, .no_tmpfile = true});
}

/* A run of `bench` is gone on with, not replaced. */
static bool replaces(const faulty_command *c)
{
    return c->outputs[0] && !strstr(c->outputs[0], ".sqlite");
}

static void the_disk_fails_over_earlier_files(void **command)
{
    for (int hidden = 0; hidden < 2 && replaces(*command); hidden++)
        each_fails(*command,
                   (faulty_plan){.error = EIO, .no_tmpfile = hidden, .force = true});
}

int main(void)
{
    static const faulty_way ways[] = {
        {"ENOSPC", the_disk_is_full},
        {"EIO", the_disk_fails},
        {"EINTR", a_signal_comes},
        {"by halves", half_is_done},
        {"EIO, no O_TMPFILE", the_disk_fails_under_hidden_names},
        {"EIO, --force", the_disk_fails_over_earlier_files}};
    return faulty_group(ways, sizeof ways / sizeof ways[0], NULL, 0);
}
