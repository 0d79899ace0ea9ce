#include "cli/cli.h"

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    if (c->n_args == 0 && c->argc > 1 && c->argv[1][0] != '-') {
        /* `help COMMAND` is `COMMAND --help`. */
        const ke__command *command = ke__command_find(c->argv[1]);
        if (command == NULL)
            return ke__opt_refuse(c, c->argv[1],
                                  "unknown command '%s'; `knowedit help` lists them",
                                  c->argv[1]);
        char *argv[] = {c->argv[1], "--help", NULL};
        c->command = command;
        c->argc = 2;
        c->argv = argv;
        return command->run(c);
    }
    static const struct poptOption options[] = {POPT_TABLEEND};
    if (c->argc > 0)
        KE_TRY(ke__opt_parse(c, options));
    if (c->json) {
        json_t *list = json_array();
        bool ok = true;
        for (size_t i = 0; ke__commands[i] != NULL; i++)
            ok = ok && ke__json_add(list, json_pack("{s:s, s:s, s:s}", "name",
                                                    ke__commands[i]->name, "summary",
                                                    ke__commands[i]->summary, "usage",
                                                    ke__commands[i]->usage));
        return ke__result_json(c, json_pack("{s:s, s:o}", "schema", "knowedit.help/1",
                                            "commands", ke__json_done(list, ok)));
    }
    printf("knowedit %s: edit what a language model knows\n\n"
           "Usage: knowedit COMMAND [OPTIONS]\n\n",
           ke_version());
    for (size_t i = 0; ke__commands[i] != NULL; i++)
        printf("  %-11s %s\n", ke__commands[i]->name, ke__commands[i]->summary);
    printf("\n`knowedit COMMAND --help` has the options and an example of each.\n"
           "Exit codes: 0 done and it holds, 1 error, 2 wrong usage,\n"
           "            3 ran but a fact did not take, 130 interrupted.\n");
done:
    return st;
}

const ke__command ke__cmd_help = {
    .name = "help",
    .summary = "list the commands, or explain one",
    .usage = "[COMMAND]",
    .example = "knowedit help edit",
    .run = run,
};
