/* Subjects that facts don't name: from a list of names, or asked for on a terminal. */
#ifndef KE_CLI_SUBJECTS_H
#define KE_CLI_SUBJECTS_H

#include "cli/cli.h"
#include "knowedit/edit.h"

typedef struct ke__subjects {
    ke_subject_opts opts;
    ke__cli *c;
    char *text;         /* of the file */
    const char **names; /* [opts.n_names] lines of it */
    char *line;         /* the answer under way, getline()'s */
    size_t room;
} ke__subjects;

/* The names in `path` (NULL: none), one a line. With `asks`, a person on a terminal is
 * asked for what can't be told. Freed by ke__subjects_free() on failure too. */
KE_MUST_CHECK ke_status ke__subjects_open(ke__cli *c, ke__subjects *out, const char *path,
                                          bool asks);
void ke__subjects_free(ke__subjects *s);

#endif
