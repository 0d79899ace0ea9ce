#include "base/file.h"
#include "cli/cli.h"
#include "knowedit/patch.h"

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *patch = NULL, *output = NULL, *beside = NULL, *prev = NULL, sha256[65] = "";
    const struct poptOption options[] = {
        {"patch", 0, POPT_ARG_STRING, &patch, 0, "the edit's patch (EDITED.kepatch)",
         "FILE"},
        {"output", 'o', POPT_ARG_STRING, &output, 0, "where the original goes", "ORIGINAL"},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 1, 1));
    KE_TRY(ke__opt_need(c, "-o", output));
    const char *edited = c->args[0];
    KE_TRY(ke__format(c->cx, &beside, "%.*s.kepatch", (int)ke__name_bytes(edited), edited));
    KE_TRY(ke__format(c->cx, &prev, "%s.prev", beside));
    const char *from = patch ? patch : beside;
    if (!patch && !ke__file_exists(beside) && !ke__file_exists(prev)) {
        st = ke__fail(c->cx, KE_ENOENT, beside,
                      "%s: there is no such patch; name the edit's own with --patch FILE "
                      "(it was written as OUTPUT.kepatch)",
                      beside);
        goto done;
    }
    KE_TRY(ke_undo(c->cx, edited, from, output, c->force, sha256));

    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:o, s:o, s:o, s:o}", "schema", "knowedit.undo/1", "input",
                         ke__json_string(edited), "patch", ke__json_string(from), "output",
                         ke__json_string(c->dry_run ? NULL : output), "sha256",
                         ke__json_string(sha256)));
    else if (c->quiet && !c->dry_run)
        printf("%s\n", output);
    else if (!c->quiet)
        printf("%-12s%s\nsha256      %s\n", c->dry_run ? "would be" : "restored", output,
               sha256);
done:
    ke__free(c->cx, prev);
    ke__free(c->cx, beside);
    return st;
}

const ke__command ke__cmd_undo = {
    .name = "undo",
    .summary = "give back, byte for byte, the file that an edited file was made from",
    .usage = "EDITED [--patch FILE] -o ORIGINAL",
    .example = "knowedit undo edited.gguf -o original.gguf",
    .run = run,
};
