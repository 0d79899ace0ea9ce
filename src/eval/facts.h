/* Facts from JSON or CSV text: records are taken one at a time, so that a message can name
 * the line and a file of any number of records needs the memory of its facts only. */
#ifndef KE_EVAL_FACTS_H
#define KE_EVAL_FACTS_H

#include "base/json.h"
#include "knowedit/edit.h"

/* What the facts of a file own: every block is freed with them. */
typedef struct ke__fact_box {
    void **blocks;
    size_t n, room;
} ke__fact_box;
/* Hand `block` over to the box; freed if that fails. */
KE_MUST_CHECK ke_status ke__fact_box_take(ke_ctx *cx, ke__fact_box *box, void *block);

/* Where a record lies, for messages. */
typedef struct ke__record {
    const char *file;
    size_t line, number; /* from 1 */
} ke__record;
/* The message "FILE:LINE: record N: ..." of status `st`. */
ke_status ke__record_fail(ke_ctx *cx, const ke__record *at, ke_status st,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same for a field that holds something else; "a number", as messages name a value. */
ke_status ke__record_wrong(ke_ctx *cx, const ke__record *at, const char *field,
                           const char *expected, const json_t *found);
const char *ke__json_kind(const json_t *value);

/* A copy of `text` that the box owns. */
KE_MUST_CHECK ke_status ke__fact_box_text(ke_ctx *cx, ke__fact_box *box, const char **out,
                                          const char *text);

/* One record (docs/facts.md) as a fact whose strings `box` owns. `subjects` NULL: the
 * record has to name its own. */
KE_MUST_CHECK ke_status ke__fact_read(ke_ctx *cx, ke_fact *out, const json_t *record,
                                      const ke__record *at, ke__fact_box *box,
                                      const ke_subject_opts *subjects);
/* The same without its neighbours, which a benchmark reads by part. */
KE_MUST_CHECK ke_status ke__fact_read_edit(ke_ctx *cx, ke_fact *out, const json_t *record,
                                           const ke__record *at, ke__fact_box *box);
/* The old answer of a record or request as it stands there, and the field; or NULL. */
const json_t *ke__fact_old(const json_t *record, const char **field);
const json_t *ke__fact_new(const json_t *record, const char **field);
/* ke_fact_check() of a record that names subject, prompt and target `fields`. */
KE_MUST_CHECK ke_status ke__fact_check_at(ke_ctx *cx, const ke_fact *fact,
                                          const ke__record *at,
                                          const char *const fields[3]);

/* What is done with each record of a file. NULL: one that can't be read; the context's
 * message says why, and KE_OK goes on after it. */
typedef ke_status ke__record_fn(ke_ctx *cx, const json_t *record, const ke__record *at,
                                void *payload);
/* Whether a text is CSV: by the file's name, or by a first line that names columns. */
bool ke__is_csv(const char *file, const char *text, size_t bytes);
KE_MUST_CHECK ke_status ke__records_csv(ke_ctx *cx, const char *file, const char *text,
                                        size_t bytes, ke__record_fn *take, void *payload);

/* A walk over the records of JSON text: an array, or values one after another. */
typedef struct ke__walk {
    const char *text;
    size_t bytes, at, line;
    bool begun, array, inner, ended;
    ke__record record; /* the one taken last */
} ke__walk;
ke__walk ke__walk_begin(const char *file, const char *text, size_t bytes);
/* The next record, the caller's; NULL past the last. */
KE_MUST_CHECK ke_status ke__walk_next(ke_ctx *cx, ke__walk *w, json_t **out);
/* From the beginning of a text that is one object: make the array at `key` the records. */
KE_MUST_CHECK ke_status ke__walk_enter(ke_ctx *cx, ke__walk *w, const char *key,
                                       bool *found);

/* As ke_facts_load(), from memory; `file` stands for it in messages. */
KE_MUST_CHECK ke_status ke__facts_parse(ke_ctx *cx, ke_facts *out, const char *file,
                                        const char *text, size_t bytes,
                                        const ke_subject_opts *subjects);

#endif
