/* An allocator that fails when told to and counts what was not freed. */
#ifndef KE_TESTS_OOM_H
#define KE_TESTS_OOM_H

#include "knowedit/base.h"

typedef struct oom {
    long fail_at; /* the allocation that fails, counted from 0; -1: none does */
    long n_calls; /* allocations and resizes asked for */
    long n_live;  /* blocks not freed */
} oom;

/* A context over `o` (one thread), its own block not counted. */
ke_ctx *oom_ctx(oom *o, long fail_at);

/* Call `call` again and again, failing its first allocation, then its second, and so on
 * until it succeeds: each time it must return KE_ENOMEM and leave nothing allocated. */
void oom_each(ke_status (*call)(ke_ctx *cx, void *payload), void *payload);

#endif
