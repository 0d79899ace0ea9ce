#include "cli/subjects.h"

/* For --json: NULL if memory was short. */
static void collect(const char *message, void *payload)
{
    json_t **list = payload;
    *list = ke__json_done(*list, ke__json_add(*list, ke__json_string(message)));
}

static void print(const char *message, void *payload)
{
    (void)payload;
    printf("%s\n", message);
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    size_t good = 0, bad = 0, all_bad = 0;
    json_t *files = NULL, *list = NULL;
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
        KE_TRY(ke__result_list(c, &list));
        KE_TRY(ke_facts_check(c->cx, c->args[i], &subjects.opts, &good, &bad,
                              c->json ? collect : print, &list));
        all_bad += bad;
        if (!c->json && !c->quiet)
            printf("%s: %zu fact%s, %zu bad record%s\n", c->args[i], good,
                   good == 1 ? "" : "s", bad, bad == 1 ? "" : "s");
        if (c->json)
            files = ke__json_done(
                files, ke__json_add(files, json_pack("{s:o, s:I, s:o}", "file",
                                                     ke__json_string(c->args[i]), "facts",
                                                     (json_int_t)good, "bad", list)));
        list = NULL;
    }
    c->exit_code = all_bad > 0 ? KE__EXIT_ERROR : KE__EXIT_OK;
    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:O}", "schema", "knowedit.check/1", "files", files));
done:
    json_decref(list);
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
