/* Writes the file of a run by hand, row by row; a failure ends the test. */
#ifndef KE_TESTS_RUN_FILE_H
#define KE_TESTS_RUN_FILE_H

#include "study/store.h"

typedef struct run_file {
    ke_ctx *cx;
    ke__store *store;
} run_file;

/* A new run of `methods` ("none,rome") by `protocol` ("both"): single edits, of model "m",
 * with seed 0. `more` are settings beside or instead of these, name and value in turn,
 * NULL-terminated; may be NULL. */
run_file run_file_new(ke_ctx *cx, const char *path, const char *methods,
                      const char *protocol, const char *const *more);
/* Data file `file`, "<set>.json", with the records 0 .. n - 1. */
void run_file_cases(run_file *r, size_t file, const char *set, size_t n);
void run_file_row(run_file *r, size_t file, size_t index, size_t order, const char *method,
                  const char *protocol, const char *body);
/* The same of file 0 and its first method, scored at `at`. */
void run_file_row_at(run_file *r, const char *at, size_t index, const char *method,
                     const char *protocol, const char *body);
/* The same for a row that says why nothing was measured. */
void run_file_failed(run_file *r, size_t file, size_t index, size_t order,
                     const char *method, const char *protocol, const char *error);
void run_file_end(run_file *r); /* commits and closes */

#endif
