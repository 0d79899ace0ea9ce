/* Memory that runs out: of every command, each allocation through the context's hook fails
 * once, then with all that follow it, then each of jansson and SQLite once. Every time the
 * program says so on one line, frees all, and has written nothing or all.
 *
 * $FAULT_EVERY=N looks at every N-th allocation only. */
#include "faults/faulty.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A prime, so that loops of allocations are met at different places. */
enum { EVERY = 499 };

static bool covers(const char *name)
{
    const faulty_command *c = faulty_commands;
    while (c->title && strcmp(c->args[0], name) != 0)
        c++;
    return c->title != NULL;
}

static void every_command_is_here(void **state)
{
    (void)state;
#define COMMAND(name) assert_true(covers(#name));
#include "cli/commands.def"
#undef COMMAND
}

static void each_fails(const faulty_command *c, enum faulty_kind kind, bool on)
{
    static faulty_run run;
    char first[1024];
    const faulty_truth *truth = faulty_truth_of(&faulty_folder, c, false);
    long n = truth->n_calls[kind], n_bad = 0, every = faulty_number("FAULT_EVERY", EVERY);
    for (long at = n % every; at < n; at += every) {
        faulty_command_start(&run, &faulty_folder, c,
                             &(faulty_plan){.kind = kind, .at = at, .on = on});
        const char *wrong = faulty_wrong(&faulty_folder, truth, &run, "ENOMEM");
        if (wrong && n_bad++ == 0)
            snprintf(first, sizeof first, "%ld: %.900s", at, wrong);
        faulty_clear(&faulty_folder);
    }
    if (n_bad > 0)
        fail_msg("%ld of %ld allocations; the first is %s", n_bad, n, first);
}

static void fails_once(void **command)
{
    each_fails(*command, FAULTY_ALLOC, false);
}

static void fails_from_then_on(void **command)
{
    each_fails(*command, FAULTY_ALLOC, true);
}

static void a_library_fails_once(void **command)
{
    each_fails(*command, FAULTY_LIBRARY, false);
}

int main(void)
{
    static const faulty_way ways[] = {{"once", fails_once},
                                      {"from then on", fails_from_then_on},
                                      {"of a library", a_library_fails_once}},
                            more = {"every command is here", every_command_is_here};
    return faulty_group(ways, sizeof ways / sizeof ways[0], &more, 1);
}
