#include "cli/cli.h"
#include "knowedit/study.h"

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *output = NULL, **patches = NULL, *path = NULL, sha256[65] = "";
    int any_base = 0;
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0, "the file that was edited", "BASE"},
        {"patch", 0, POPT_ARG_ARGV, &patches, 0,
         "a patch; several in the order of the edits", "FILE"},
        {"output", 'o', POPT_ARG_STRING, &output, 0, "where the edited model goes", "FILE"},
        {"any-base", 0, POPT_ARG_NONE, &any_base, 0,
         "merge into another file too, where shapes fit", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", name));
    KE_TRY(ke__opt_need(c, "--patch", patches));
    KE_TRY(ke__opt_need(c, "-o", output));
    KE_TRY(ke__find_model(c, name, &path));
    ke_apply_job job = {.base_path = path,
                        .patch_paths = (const char *const *)patches,
                        .output_path = output,
                        .any_base = any_base,
                        .force = c->force,
                        .dry_run = c->dry_run};
    json_t *list = json_array();
    bool ok = list != NULL;
    while (patches[job.n_patches] != NULL)
        ok = ke__json_add(list, ke__json_string(patches[job.n_patches++])) && ok;
    st = ok ? ke_apply(c->cx, &job, sha256)
            : ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the list of patches");
    ke__talk_clear(c);
    if (st == KE_OK && c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:o, s:O, s:o, s:s}", "schema", "knowedit.apply/1", "base",
                         ke__json_string(path), "patches", list, "output",
                         ke__json_string(c->dry_run ? NULL : output), "sha256", sha256));
    else if (st == KE_OK && c->quiet && !c->dry_run)
        printf("%s\n", output);
    else if (st == KE_OK && !c->quiet)
        printf("%-12s%s\nsha256      %s\n", c->dry_run ? "would be" : "written", output,
               sha256);
    json_decref(list);
done:
    ke__free(c->cx, path);
    return st;
}

const ke__command ke__cmd_apply = {
    .name = "apply",
    .summary = "merge patches into the model that they were made for",
    .usage = "-m BASE --patch FILE... -o OUTPUT",
    .example = "knowedit apply -m base.gguf --patch edited.gguf.kepatch -o edited.gguf",
    .run = run,
};
