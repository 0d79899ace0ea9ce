/* What the context takes from the allocator and the machine. Private to base. */
#ifndef KE_BASE_MEMORY_H
#define KE_BASE_MEMORY_H

#include <stddef.h>

/* The C library's allocator as a ke_alloc_fn; large blocks ask for huge pages. */
void *ke__alloc_libc(void *payload, void *ptr, size_t old_bytes, size_t new_bytes);
/* Processors that this process may run on, >= 1. */
unsigned ke__cores(void);

#endif
