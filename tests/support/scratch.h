/* A folder of a test's own, gone after it. */
#ifndef KE_TESTS_SCRATCH_H
#define KE_TESTS_SCRATCH_H

#include <stddef.h>

/* Fixtures for cmocka: *state is the folder's path. */
int scratch_make(void **state);
int scratch_remove(void **state);

/* "FOLDER/NAME", valid until eight calls later. */
const char *scratch_path(void **state, const char *name);
/* Files and folders in it, hidden ones too. */
int scratch_count(void **state);
void scratch_write(const char *path, const void *data, size_t bytes);

#endif
