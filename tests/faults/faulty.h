/* The whole program in a child process, on a small model, with one call made to fail.
 *
 * The programs of this folder are linked with src/cli, its main() as faulty_main(), and
 * with the allocator and the system calls of our own objects wrapped (the Makefile says
 * which): nothing in the product knows of this.
 */
#ifndef KE_TESTS_FAULTY_H
#define KE_TESTS_FAULTY_H

#include <stdbool.h>
#include <stddef.h>

enum faulty_kind {
    FAULTY_ALLOC,   /* an allocation through the context's hook */
    FAULTY_LIBRARY, /* one of jansson or SQLite */
    FAULTY_CALL,    /* a system call of ours or of SQLite */
    FAULTY_KINDS
};

#define FAULTY_EARLIER "an earlier file\n"

/* What of all calls of a kind fails: number `at`, from 0; if `on`, all after it too. */
typedef struct faulty_plan {
    enum faulty_kind kind;
    long at; /* -1: none */
    bool on;
    int error;         /* errno of a system call; 0: it succeeds, by halves */
    bool dies;         /* a system call does not fail, but is where SIGKILL comes */
    bool no_tmpfile;   /* O_TMPFILE is unknown, as it is to some file systems */
    bool force;        /* --force is given; outputs may hold FAULTY_EARLIER */
    double kill_after; /* seconds of processor time until SIGKILL; 0: it is not killed */
} faulty_plan;

typedef struct faulty_run {
    int code; /* exit code; 128 + the signal's number if one ended it */
    long n_calls[FAULTY_KINDS];
    long n_live; /* blocks of the hook and of jansson that were not freed */
    bool force;  /* as the plan says */
    bool hides;  /* files that are not done yet have hidden names */
    bool killed;
    double seconds; /* of processor time */
    char hit[16];   /* the system call that was made to fail */
    char out[1 << 18], err[1 << 14];
} faulty_run;

/* Arguments without the program's name, for the folder that faulty_make() fills, and the
 * files that are written to its out/; "NAME/" is a folder. */
typedef struct faulty_command {
    const char *title;
    const char *args[28];
    const char *outputs[3];
    bool no_json; /* no "--json" is added */
} faulty_command;
enum { FAULTY_MAX_COMMANDS = 64 };
extern const faulty_command
    faulty_commands[FAULTY_MAX_COMMANDS]; /* the rest has no title */

/* cmocka fixtures of a group: the folder, and its removal. It holds base.gguf, small.gguf,
 * edited.gguf with its patch, the folders shards/ (of a safetensors model), parts/ (of a
 * split GGUF) and edited copies of both with their patches, told.kepatch, facts in three
 * forms, data.json, text.txt, run.sqlite, and the folder out/, into which all commands
 * write. */
int faulty_make(void **state);
int faulty_remove(void **state);

/* Run the program in the folder, by one thread. */
void faulty_start(faulty_run *run, void **state, const char *const *args,
                  const faulty_plan *plan);
/* The same with the arguments of `c`, and "-q --json" where that is possible. */
void faulty_command_start(faulty_run *run, void **state, const faulty_command *c,
                          const faulty_plan *plan);
/* Put FAULTY_EARLIER where the outputs of `c` go. */
void faulty_plant(void **state, const faulty_command *c);
/* Remove the hidden files in out/, as whoever finds them may. */
void faulty_drop_hidden(void **state);
/* Remove what is in out/. */
void faulty_clear(void **state);

/* What a command prints and writes where nothing fails. */
typedef struct faulty_truth {
    const faulty_command *command;
    int code;
    long n_calls[FAULTY_KINDS];
    char *out;  /* without what differs between any two runs */
    char *rows; /* of a benchmark's run, alike; NULL: it is none */
    char *files[3];
    size_t bytes[3]; /* of command->outputs */
} faulty_truth;
/* Found out once for each of both values of no_tmpfile; lasts until faulty_remove(), as
 * `c` must. */
const faulty_truth *faulty_truth_of(void **state, const faulty_command *c, bool no_tmpfile);
void faulty_truths_free(void);

/* What is wrong with a run in which something failed, NULL if nothing is: it ended as the
 * truth did, or with exit code 1 and one line (and one object) that says so, naming `code`
 * if that is not NULL; each output is as the truth has it or missing, and nothing else is
 * there. Valid until the next call. */
const char *faulty_wrong(void **state, const faulty_truth *truth, const faulty_run *run,
                         const char *code);

/* $NAME as a number, else `fallback`. */
long faulty_number(const char *name, long fallback);

/* A way to fail, which is tested on every command: a test's initial state is the command.
 */
typedef struct faulty_way {
    const char *name;
    void (*test)(void **command);
} faulty_way;
extern void *faulty_folder; /* the folder of faulty_group() */
/* All commands by all ways, and other tests, as one group: main()'s result. $FAULT_ONLY
 * takes those with a text in their names. */
int faulty_group(const faulty_way *ways, size_t n_ways, const faulty_way *more,
                 size_t n_more);

#endif
