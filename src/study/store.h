/* The file of a benchmark run: one SQLite database (docs/run-format.md). A run writes it, a
 * report reads it, also while the run goes on. */
#ifndef KE_STUDY_STORE_H
#define KE_STUDY_STORE_H

#include "base/base.h"

typedef struct ke__store ke__store;

/* Open for writing: a new file, or the one of an earlier run.
 * @retval KE_EEXIST the path is something else than a run's file
 * @retval KE_EIO    it can't be opened, or another process is writing it */
KE_MUST_CHECK ke_status ke__store_open(ke_ctx *cx, ke__store **out, const char *path);
/* Open for reading. KE_ENOENT: there is none; KE_EFORMAT: not a run's file. */
KE_MUST_CHECK ke_status ke__store_read(ke_ctx *cx, ke__store **out, const char *path);
/* What was not committed is dropped. NULL is fine. */
void ke__store_close(ke_ctx *cx, ke__store *s);

/* --- what is in it: each visit goes in the order told; strings live for the call only - */

/* What identifies the run, by name: "model", "rome.layer", "seed", ... */
typedef ke_status ke__store_setting_fn(ke_ctx *cx, const char *name, const char *value,
                                       void *payload);
KE_MUST_CHECK ke_status ke__store_settings(ke_ctx *cx, ke__store *s,
                                           ke__store_setting_fn *visit, void *payload);
/* The value of one of them, the caller's; NULL if there is none. */
KE_MUST_CHECK ke_status ke__store_setting(ke_ctx *cx, ke__store *s, const char *name,
                                          char **value);

/* A record of a data file as it was taken: in the order of file, index. */
typedef struct ke__store_case {
    size_t file, index;
    const char *file_name, *set, *subject, *prompt, *target;
    size_t n_skipped; /* empty answers and groups of it */
} ke__store_case;
typedef ke_status ke__store_case_fn(ke_ctx *cx, const ke__store_case *c, void *payload);
KE_MUST_CHECK ke_status ke__store_cases(ke_ctx *cx, ke__store *s, ke__store_case_fn *visit,
                                        void *payload);

/* One measured (case, method, protocol, at): in the order of file, index, method (as the
 * run lists them), protocol, at. */
typedef struct ke__store_row {
    size_t file, index, method_order;
    const char *file_name, *set, *method, *protocol, *at;
    const char *body;  /* the JSON object of knowedit.cases/1 */
    const char *error; /* why nothing was measured, or NULL: then the scores are empty */
    double seconds_edit, seconds_evaluate;
    uint64_t peak_bytes; /* heap of the run at its largest when the row was written */
} ke__store_row;
typedef ke_status ke__store_row_fn(ke_ctx *cx, const ke__store_row *row, void *payload);
KE_MUST_CHECK ke_status ke__store_rows(ke_ctx *cx, ke__store *s, ke__store_row_fn *visit,
                                       void *payload);

/* A record that --skip-bad left out: in the order of file, index. */
typedef ke_status ke__store_bad_fn(ke_ctx *cx, const char *file_name, size_t index,
                                   const char *message, void *payload);
KE_MUST_CHECK ke_status ke__store_bad(ke_ctx *cx, ke__store *s, ke__store_bad_fn *visit,
                                      void *payload);

/* --- writing: between begin and commit, all or nothing ------------------------------ */

KE_MUST_CHECK ke_status ke__store_begin(ke_ctx *cx, ke__store *s);
KE_MUST_CHECK ke_status ke__store_commit(ke_ctx *cx, ke__store *s);

KE_MUST_CHECK ke_status ke__store_put_setting(ke_ctx *cx, ke__store *s, const char *name,
                                              const char *value);
KE_MUST_CHECK ke_status ke__store_put_file(ke_ctx *cx, ke__store *s, size_t file,
                                           const char *name, const char *sha256);
KE_MUST_CHECK ke_status ke__store_put_case(ke_ctx *cx, ke__store *s,
                                           const ke__store_case *c); /* no file_name */
KE_MUST_CHECK ke_status ke__store_put_bad(ke_ctx *cx, ke__store *s, size_t file,
                                          size_t index, const char *message);
/* What the unedited model said to a case: JSON of the runner's own. */
KE_MUST_CHECK ke_status ke__store_put_before(ke_ctx *cx, ke__store *s, size_t file,
                                             size_t index, const char *body,
                                             double seconds);
KE_MUST_CHECK ke_status ke__store_put_row(
    ke_ctx *cx, ke__store *s, const ke__store_row *row); /* no names of file, set */

/* Name of a file as the run first had it; the caller's. NULL if it is not there yet. */
KE_MUST_CHECK ke_status ke__store_file(ke_ctx *cx, ke__store *s, size_t file, char **name);
/* What was put by ke__store_put_before(): the text, the caller's (NULL if there is none),
 * and the seconds. */
KE_MUST_CHECK ke_status ke__store_before(ke_ctx *cx, ke__store *s, size_t file,
                                         size_t index, char **body, double *seconds);
/* Rows of a case that a method has at `at`, of whatever protocol. */
KE_MUST_CHECK ke_status ke__store_count(ke_ctx *cx, ke__store *s, size_t file, size_t index,
                                        const char *method, const char *at, size_t *n);

#endif
