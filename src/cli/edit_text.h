/* An edit's report as a person reads it. */
#ifndef KE_CLI_EDIT_TEXT_H
#define KE_CLI_EDIT_TEXT_H

#include "cli/cli.h"
#include "knowedit/study.h"

/* What was asked before and after, the harm and the change, to stdout; at most 36 lines
 * however many facts there are. */
void ke__edit_text_print(const ke_edit_report *r);
/* What was written, and how to undo it. */
void ke__edit_text_print_files(const ke_edit_report *r);

#endif
