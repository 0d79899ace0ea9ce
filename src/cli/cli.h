/* The program around the library: options in, results to stdout, talk to stderr.
 *
 * A command is a function that declares its options, parses them, calls the library and
 * prints one result. Results go to stdout and everything else to stderr; with --json,
 * stdout is one JSON object, for errors too. */
#ifndef KE_CLI_CLI_H
#define KE_CLI_CLI_H

#include "base/json.h"

#include <popt.h>
#include <stdio.h>

enum {
    KE__EXIT_OK = 0,
    KE__EXIT_ERROR = 1,
    KE__EXIT_USAGE = 2,
    KE__EXIT_NOT_TAKEN = 3,
    KE__EXIT_INTERRUPTED = 130
};

typedef struct ke__cli ke__cli;

typedef struct ke__command {
    const char *name;
    const char *summary; /* what it does, in one line */
    const char *usage;   /* after its name */
    const char *example; /* one whole command line */
    ke_status (*run)(ke__cli *c);
} ke__command;

/* Progress of the call under way, on a terminal only. */
typedef struct ke__talk {
    bool terminal, shown; /* shown: the line is on the screen and must be cleared */
    char what[64];
    double begun, drawn; /* seconds */
} ke__talk;

struct ke__cli {
    ke_ctx *cx; /* made by ke__opt_parse() */
    const ke__command *command;
    /* Options that every command takes; int where popt writes them. */
    int json, quiet, verbose, dry_run, force, help;
    long long n_threads; /* 0: one per core */
    uint64_t seed;
    char *seed_text, *isa, *mem_limit;
    struct {
        char *seed, *isa, *mem_limit;
    } leading;   /* given before the command; those after it come first */
    char **args; /* [n_args] what stands beside the options */
    size_t n_args;
    int exit_code;  /* of a command that returned KE_OK, or ended in ke__opt_parse() */
    unsigned given; /* bit `val` of every option that was given, where `val` is not 0 */
    bool ended;     /* help or a refusal is out: nothing is left to report */
    ke__talk talk;
    /* The command line, for ke__opt_parse(); argv[0] is the command. */
    int argc;
    char **argv;
    poptContext popt;
    char **owned; /* [n_owned] option texts, freed at the end */
    size_t n_owned;
};

extern const ke__command *const ke__commands[]; /* NULL-terminated */
const ke__command *ke__command_find(const char *name);

/* --- opt.c ------------------------------------------------------------------------ */

/* Parse the command line by `options` and the options that every command takes, then make
 * the context. Text options (POPT_ARG_STRING, POPT_ARG_ARGV) must start as NULL. On a
 * status other than KE_OK the command returns at once: the refusal or the help is out. */
KE_MUST_CHECK ke_status ke__opt_parse(ke__cli *c, const struct poptOption *options);
/* Parse the options before the command's name; the rest becomes c->argc, c->argv. */
KE_MUST_CHECK ke_status ke__opt_parse_leading(ke__cli *c, int argc, char **argv);
void ke__opt_free(ke__cli *c);
/* Wrong usage: say so, with `where` (an option or NULL); exit code 2. Returns KE_EINVAL. */
KE_MUST_CHECK ke_status ke__opt_refuse(ke__cli *c, const char *where, const char *format,
                                       ...) __attribute__((format(printf, 3, 4)));

/* Refuse a value outside [low, high]. */
KE_MUST_CHECK ke_status ke__opt_range(ke__cli *c, const char *option, long long value,
                                      long long low, long long high);
/* The same for a number with a fraction; refuses what is not a number. */
KE_MUST_CHECK ke_status ke__opt_range_real(ke__cli *c, const char *option, double value,
                                           double low, double high);
/* Refuse a missing option or argument. */
KE_MUST_CHECK ke_status ke__opt_need(ke__cli *c, const char *option, const void *value);
/* Refuse more (or fewer) arguments than `low`..`high`. */
KE_MUST_CHECK ke_status ke__opt_args(ke__cli *c, size_t low, size_t high);
/* "1,2,5-7" as numbers in 0..max; ranges only if `ranges`. Caller frees. */
KE_MUST_CHECK ke_status ke__opt_list(ke__cli *c, const char *option, const char *text,
                                     bool ranges, int32_t max, int32_t **out, size_t *n);

/* --- talk.c ----------------------------------------------------------------------- */

/* A line to stderr, unless -q. */
void ke__talk_say(ke__cli *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ke__talk_progress(const char *what, uint64_t done, uint64_t total, void *cli);
void ke__talk_clear(ke__cli *c);
/* An error: one line to stderr, with --json the error object to stdout. */
void ke__talk_error(ke__cli *c, ke_status st, const char *where, const char *message);
/* `text` in quotes on one line: controls escaped, cut after `max` characters. */
void ke__talk_quote(FILE *f, const char *text, size_t max);
/* The same without quotes and cut, and with blanks up to a width. */
void ke__talk_plain(FILE *f, const char *text, size_t width);
/* 98362432 as "98.4 MB" into `out`, returned. */
const char *ke__talk_size(char out[32], uint64_t bytes);

/* --- result.c --------------------------------------------------------------------- */

/* Print the object as the command's result and free it; NULL is KE_ENOMEM. */
KE_MUST_CHECK ke_status ke__result_json(ke__cli *c, json_t *object);
/* A list for --json, NULL without it. */
KE_MUST_CHECK ke_status ke__result_list(ke__cli *c, json_t **out);
json_t *ke__result_ids(const int32_t *ids, size_t n);
json_t *ke__result_floats(const float *values, size_t n);
/* ids as "1,2,3" */
void ke__result_print_ids(const int32_t *ids, size_t n);

/* --- find_model.c ----------------------------------------------------------------- */

/* Bytes of a path without the slashes that the name of a folder may end with. */
size_t ke__name_bytes(const char *path);
/* The path of a file or folder, or of a fetched model by its name (tools/fetch_model).
 * Caller frees.
 */
KE_MUST_CHECK ke_status ke__find_model(ke__cli *c, const char *name, char **path);

#endif
