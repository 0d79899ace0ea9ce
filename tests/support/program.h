/* Runs the built program and keeps what it printed. */
#ifndef KE_TESTS_PROGRAM_H
#define KE_TESTS_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct program {
    int code;        /* exit code; 128 + the signal's number if one ended it */
    char *out, *err; /* NUL-terminated; [n_out] as `out` may hold NULs */
    size_t n_out;
} program;

/* Run `knowedit ARGUMENTS`, NULL-terminated, with `input` on stdin (NULL: none). */
program program_run(const char *input, const char *const *args);
void program_free(program *p);
/* The same with stdin and stderr on a terminal, where `input` is typed. */
program program_terminal(const char *input, const char *const *args);
/* Start it without waiting (output dropped); wait for it. */
pid_t program_start(const char *const *args);
int program_wait(pid_t pid);
/* The same through the shell, to redirect: "$K" is the program. */
program program_shell(const char *command);

/* Run with --json and parse; fails the test unless stdout is exactly one object of `schema`
 * and the exit code is `code`. Caller json_decref()s. */
json_t *program_json(const char *schema, int code, const char *const *args);

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
