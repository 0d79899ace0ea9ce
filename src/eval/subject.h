/* The subject of a prompt that comes without one. */
#ifndef KE_EVAL_SUBJECT_H
#define KE_EVAL_SUBJECT_H

#include "base/base.h"
#include "knowedit/edit.h"

/* As ke_subject_find(), from a prompt and other prompts [n] about the same. */
KE_MUST_CHECK ke_status ke__subject_find(ke_ctx *cx, char **out, const char **from,
                                         const char *prompt, const char *const *others,
                                         size_t n, const ke_subject_opts *how);

#endif
