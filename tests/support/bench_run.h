/* Benchmark runs on a small random model, and the rows that they leave. */
#ifndef KE_TESTS_BENCH_RUN_H
#define KE_TESTS_BENCH_RUN_H

#include "knowedit/bench.h"

#include <jansson.h>

/* Three facts in ZsRE's form: with portability and locality, with locality, bare. */
extern const char bench_facts[];

typedef struct bench_run {
    ke_ctx *cx;
    ke_settings *rome;
    const ke_settings *methods[1];
    const char *files[1];
    char model[256], data[256], out[256];
    ke_bench_job job;
    ke_bench_summary summary;
    size_t n_said, cancel_at; /* the line at which the run is cut off, from 1 */
    bool kill;
    char said[8192];
} bench_run;

/* A model, a data file holding `json`, and a job: all cases by none and ROME (in the last
 * layer), both protocols. It can be changed before bench_go(). *state: scratch_make()'s. */
void bench_begin(bench_run *r, void **state, const char *json);
void bench_begin_threads(bench_run *r, void **state, const char *json, unsigned n_threads);
void bench_end(bench_run *r);
/* Run it; it must end well, or with `status` and a message that says `says`. */
void bench_go(bench_run *r);
void bench_refused(bench_run *r, ke_status status, const char *says);
void bench_ok(bench_run *r, ke_status st);

/* Every row without its seconds; the caller's. */
json_t *bench_rows(bench_run *r);
/* The row of `rows`; the test fails if it is missing. */
const json_t *bench_row(const json_t *rows, size_t index, const char *method,
                        const char *protocol, const char *at);
/* The value at a path like "locality/KL/0", which must be there. */
const json_t *bench_at(const json_t *value, const char *path);
double bench_number(const json_t *value, const char *path);
const char *bench_text(const json_t *value, const char *path);

#endif
