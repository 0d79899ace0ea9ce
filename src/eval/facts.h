/* Facts from JSON text: records are taken one at a time, so that a message can name the
 * line and a file of any number of records needs the memory of its facts only. */
#ifndef KE_EVAL_FACTS_H
#define KE_EVAL_FACTS_H

#include "base/base.h"
#include "knowedit/edit.h"

#include <jansson.h>

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

/* One record (docs/facts.md) as a fact whose strings `box` owns. */
KE_MUST_CHECK ke_status ke__fact_read(ke_ctx *cx, ke_fact *out, const json_t *record,
                                      const ke__record *at, ke__fact_box *box);

/* As ke_facts_load(), from memory; `file` stands for it in messages. */
KE_MUST_CHECK ke_status ke__facts_parse(ke_ctx *cx, ke_facts *out, const char *file,
                                        const char *text, size_t bytes);

#endif
