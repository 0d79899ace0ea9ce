/* An edit's report as a person reads it. */
#ifndef KE_CLI_EDIT_TEXT_H
#define KE_CLI_EDIT_TEXT_H

#include "cli/cli.h"
#include "knowedit/study.h"

/* To stdout, at most 40 lines however many facts there are. */
void ke__edit_text_print(const ke_edit_report *r);

#endif
