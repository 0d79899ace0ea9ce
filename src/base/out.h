/* What outputs that are files and outputs that are folders share. Private to base. */
#ifndef KE_BASE_OUT_H
#define KE_BASE_OUT_H

#include "base/file.h"

/* The folder part of a path, as something that open() takes. Caller frees. */
KE_MUST_CHECK ke_status ke__out_folder_of(ke_ctx *cx, char **out, const char *path);
/* A hidden name beside the target `path` in `folder`, ".NAME.12345678", that nobody else is
 * likely to pick. Caller frees. */
KE_MUST_CHECK ke_status ke__out_hidden(ke_ctx *cx, char **name, const char *folder,
                                       const char *path);
/* Bring the names in `folder` to the disk; `path` is the output, for the message. */
KE_MUST_CHECK ke_status ke__out_sync_folder(ke_ctx *cx, const char *path,
                                            const char *folder);

#endif
