/* Models that are folders: copies of tests/data/hf, and what is made from other forms. */
#ifndef KE_TESTS_FOLDERS_H
#define KE_TESTS_FOLDERS_H

#include "base/base.h"

enum { FOLDER_PARTS = 3 };

/* The small model tests/data/hf/NAME in the new folder `to`, without what is expected of
 * it. */
void folder_copy(const char *name, const char *to);
/* The same with all shards in one file. */
void folder_join(const char *name, const char *to);
/* The GGUF file at `path` as parts tiny-0000N-of-00003.gguf in the new folder `to`, by
 * hand: keys, split keys, a third of the tensors each. They say that there are `count_said`
 * tensors, or 0: as many as there are. */
void folder_split(ke_ctx *cx, const char *path, const char *to, uint64_t count_said);

#endif
