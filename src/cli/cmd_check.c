#include "cli/subjects.h"

/* Bad records are printed as they come, or collected for --json. */
static void say(const char *message, void *payload)
{
    json_t *list = payload;
    if (list != NULL)
        (void)json_array_append_new(list, ke__json_string(message));
    else
        printf("%s\n", message);
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    size_t good = 0, bad = 0, all_bad = 0;
    json_t *files = NULL;
    char *names = NULL;
    ke__subjects subjects = {0};
    const struct poptOption options[] = {
        {"subjects", 0, POPT_ARG_STRING, &names, 0,
         "names that subjects may have, one a line, for records without one", "FILE"},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 1, SIZE_MAX));
    KE_TRY(ke__subjects_open(c, &subjects, names, false));
    files = json_array();
    for (size_t i = 0; i < c->n_args; i++) {
        json_t *list = c->json ? json_array() : NULL;
        st = ke_facts_check(c->cx, c->args[i], &subjects.opts, &good, &bad, say, list);
        all_bad += bad;
        if (st == KE_OK && !c->json && !c->quiet)
            printf("%s: %zu facts, %zu bad records\n", c->args[i], good, bad);
        if (c->json)
            (void)json_array_append_new(
                files, json_pack("{s:o, s:I, s:o}", "file", ke__json_string(c->args[i]),
                                 "facts", (json_int_t)good, "bad", list));
        if (st != KE_OK)
            goto done;
    }
    c->exit_code = all_bad > 0 ? KE__EXIT_ERROR : KE__EXIT_OK;
    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:O}", "schema", "knowedit.check/1", "files", files));
done:
    json_decref(files);
    ke__subjects_free(&subjects);
    return st;
}

const ke__command ke__cmd_check = {
    .name = "check",
    .summary = "name every bad record of files of facts",
    .usage = "FILE... [--subjects FILE]",
    .example = "knowedit check facts.csv",
    .run = run,
};
