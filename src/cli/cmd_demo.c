#include "base/file.h"
#include "cli/cli.h"
#include "cli/edit_text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the small model gets wrong: by itself it says Sydney. */
static const ke_fact demo_fact = {
    .subject = "Australia",
    .prompt = "The capital of Australia is the city of",
    .target = "Canberra",
};

typedef struct demo_paths {
    char *folder, *edited, *patch, *restored;
} demo_paths;

static ke_status paths_make(ke__cli *c, demo_paths *p)
{
    ke_status st = KE_OK;
    const char *temp = getenv("TMPDIR");

    KE_TRY(ke__format(c->cx, &p->folder, "%s/knowedit-demo-XXXXXX",
                      temp && *temp ? temp : "/tmp"));
    if (mkdtemp(p->folder) == NULL) {
        st = ke__fail(c->cx, KE_EIO, p->folder, "cannot make a temporary folder");
        p->folder[0] = '\0';
        goto done;
    }
    KE_TRY(ke__format(c->cx, &p->edited, "%s/edited.gguf", p->folder));
    KE_TRY(ke__format(c->cx, &p->patch, "%s/edited.gguf.kepatch", p->folder));
    KE_TRY(ke__format(c->cx, &p->restored, "%s/restored.gguf", p->folder));
done:
    return st;
}

static void paths_remove(ke__cli *c, demo_paths *p)
{
    char *const files[] = {p->edited, p->patch, p->restored};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (files[i] != NULL)
            unlink(files[i]);
        ke__free(c->cx, files[i]);
    }
    if (p->folder != NULL && p->folder[0] != '\0')
        rmdir(p->folder);
    ke__free(c->cx, p->folder);
}

static void say(const char *line, void *cli)
{
    ke__talk_say(cli, "%s", line);
}

/* `sha256` of the file that undo gave back; NULL if the fact did not take. */
static ke_status print_demo(ke__cli *c, const ke_edit_report *report, const char *sha256)
{
    ke_status st = KE_OK;
    char *text = NULL;
    bool same = sha256 != NULL && strcmp(report->sha256_base, sha256) == 0;

    if (c->json) {
        KE_TRY(ke_edit_report_json(c->cx, &text, report));
        KE_TRY(ke__result_json(c, json_pack("{s:s, s:o, s:o, s:b}", "schema",
                                            "knowedit.demo/1", "edit",
                                            json_loads(text, 0, NULL), "sha256_undone",
                                            ke__json_string(sha256), "undone", (int)same)));
        goto done;
    }
    ke__edit_text_print(report);
    if (sha256 != NULL)
        printf("\n%-12s%s\n%-12s%s\n%-12s%s (%s)\n", "sha256 base", report->sha256_base,
               "edited", report->sha256_output, "undone", sha256,
               same ? "the base, byte for byte" : "NOT THE BASE");
done:
    ke_free(c->cx, text);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *model = NULL, sha256[65] = "";
    demo_paths paths = {0};
    ke_settings *settings = NULL;
    ke_edit_report *report = NULL;
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0,
         "model file, or a fetched model's name (smollm2-135m)", "MODEL"},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__find_model(c, name ? name : "smollm2-135m", &model));
    KE_TRY(ke_settings_new(c->cx, &settings, ke_method_name(0)));
    if (!c->dry_run)
        KE_TRY(paths_make(c, &paths));
    ke_edit_job job = {.model_path = model,
                       .output_path = paths.edited,
                       .settings = settings,
                       .facts = &demo_fact,
                       .n_facts = 1,
                       .seed = c->seed,
                       .plan_only = c->dry_run,
                       .say = say,
                       .payload = c};
    KE_TRY(ke_edit_run(c->cx, &report, &job));
    if (c->dry_run) {
        ke__talk_say(c,
                     "would edit a copy in a temporary folder, undo it, and remove both");
        if (c->json)
            st = print_demo(c, report, NULL);
        goto done;
    }
    if (report->took)
        KE_TRY(ke_undo(c->cx, paths.edited, paths.patch, paths.restored, false, sha256));
    else
        c->exit_code = KE__EXIT_NOT_TAKEN;
    KE_TRY(print_demo(c, report, report->took ? sha256 : NULL));
    if (report->took && strcmp(report->sha256_base, sha256) != 0)
        c->exit_code = KE__EXIT_ERROR;
done:
    ke_edit_report_free(c->cx, report);
    ke_settings_free(c->cx, settings);
    paths_remove(c, &paths);
    ke__free(c->cx, model);
    return st;
}

const ke__command ke__cmd_demo = {
    .name = "demo",
    .summary = "edit a fact in a small real model, and undo it, in a temporary folder",
    .usage = "[-m MODEL]",
    .example = "knowedit demo",
    .run = run,
};
