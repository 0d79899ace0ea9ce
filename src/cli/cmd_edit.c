#include "cli/cli.h"
#include "cli/edit_text.h"
#include "cli/setting_options.h"
#include "cli/subjects.h"
#include "knowedit/study.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct edit_options {
    char *model, *output, *patch, *subject, *subjects, *prompt, *target, *facts_file,
        *method, *preset, *edited_type, *family;
    char **paraphrases, **neighbours; /* NULL-terminated, or NULL */
    double max_kl;
    int keep_failed, no_stamp, no_special, chat, plan_only;
    ke__setting_options settings;
} edit_options;

static ke_status make_settings(ke__cli *c, const edit_options *o, ke_settings **out)
{
    ke_status st = KE_OK;

    KE_TRY(ke_settings_new(c->cx, out, o->method ? o->method : ke_method_name(0)));
    for (size_t i = 0; i < o->settings.n; i++) {
        const char *value = ke__setting_options_last(&o->settings, i);
        if (value != NULL)
            KE_TRY(ke_settings_set(c->cx, *out, o->settings.table[i].longName, value));
    }
    if (o->preset != NULL)
        KE_TRY(ke_settings_preset(c->cx, *out, o->preset));
    for (size_t i = 0; c->verbose && i < o->settings.n; i++) {
        const char *name = o->settings.table[i].longName,
                   *value = ke_settings_get(*out, name);
        if (value != NULL)
            ke__talk_say(c, "setting %s = %s", name, value);
    }
done:
    return st;
}

static size_t count(char **list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* The facts of a job, from a file or the command line. */
typedef struct edit_facts {
    ke__subjects subjects;
    ke_facts file;
    ke_fact fact; /* of the command line */
    ke_probe *probes;
    char *subject; /* found, or NULL */
} edit_facts;

static ke_status fact_from_options(ke__cli *c, const edit_options *o, edit_facts *f)
{
    ke_status st = KE_OK;

    KE_TRY(ke__opt_need(c, "--prompt", o->prompt));
    KE_TRY(ke__opt_need(c, "--target", o->target));
    f->fact = (ke_fact){.subject = o->subject,
                        .prompt = o->prompt,
                        .target = o->target,
                        .paraphrases = (const char *const *)o->paraphrases,
                        .n_paraphrases = count(o->paraphrases),
                        .n_neighbours = count(o->neighbours)};
    KE_TRY(ke__alloc(c->cx, &f->probes, f->fact.n_neighbours, sizeof *f->probes));
    for (size_t i = 0; i < f->fact.n_neighbours; i++)
        f->probes[i].prompt = o->neighbours[i];
    f->fact.neighbours = f->probes;
    if (o->subject == NULL) {
        KE_TRY(ke_subject_find(c->cx, &f->subject, &f->fact.subject_from, &f->fact,
                               &f->subjects.opts));
        f->fact.subject = f->subject;
    }
done:
    return st;
}

static ke_status facts_get(ke__cli *c, const edit_options *o, edit_facts *f)
{
    ke_status st = KE_OK;
    KE_TRY(ke__subjects_open(c, &f->subjects, o->subjects, true));
    if (o->facts_file != NULL)
        st = ke_facts_load(c->cx, &f->file, o->facts_file, &f->subjects.opts);
    else
        st = fact_from_options(c, o, f);
done:
    return st;
}

static void facts_release(ke__cli *c, edit_facts *f)
{
    ke__subjects_free(&f->subjects);
    ke_facts_free(c->cx, &f->file);
    ke__free(c->cx, f->probes);
    ke_free(c->cx, f->subject);
}

/* Without -o and --patch, the patch goes to the working folder, named after the model. */
static ke_status default_patch(ke__cli *c, const char *model, char **out)
{
    static const char extension[] = ".gguf";
    const size_t n = sizeof extension - 1;
    char whole[PATH_MAX];
    size_t end = strlen(model), from;
    while (end > 1 && model[end - 1] == '/')
        end--;
    for (from = end; from > 0 && model[from - 1] != '/'; from--)
        ;
    const char *name = model + from;
    size_t bytes = end - from;
    if (strspn(name, "./") >= bytes && realpath(model, whole) != NULL) {
        name = strrchr(whole, '/') + 1; /* what "." and ".." are called */
        bytes = strlen(name);
    }
    if (bytes > n && memcmp(name + bytes - n, extension, n) == 0)
        bytes -= n;
    return ke__format(c->cx, out, "%.*s-edited.kepatch", (int)bytes, name);
}

static void say(const char *line, void *cli)
{
    ke__talk_say(cli, "%s", line);
}

static ke_status print_report(ke__cli *c, const ke_edit_report *report)
{
    char *json = NULL;
    ke_status st = KE_OK;

    ke__talk_clear(c);
    if (c->json) {
        KE_TRY(ke_edit_report_json(c->cx, &json, report));
        printf("%s\n", json);
    } else if (!c->quiet) {
        ke__edit_text_print(report);
        ke__edit_text_print_files(report);
    } else if (report->output != NULL || report->patch != NULL) {
        printf("%s\n", report->output ? report->output : report->patch);
    }
done:
    ke_free(c->cx, json);
    return st;
}

static ke_status edit(ke__cli *c, const edit_options *o)
{
    ke_status st = KE_OK;
    char *model = NULL, *patch = NULL;
    ke_settings *settings = NULL;
    edit_facts facts = {0};
    ke_edit_report *report = NULL;
    bool from_file = o->facts_file != NULL;

    KE_TRY(make_settings(c, o, &settings));
    KE_TRY(facts_get(c, o, &facts));
    KE_TRY(ke__find_model(c, o->model, &model));
    if (o->output == NULL && o->patch == NULL)
        KE_TRY(default_patch(c, model, &patch));

    ke_edit_job job = {
        .model_path = model,
        .output_path = o->output,
        .patch_path = o->patch ? o->patch : patch,
        .settings = settings,
        .facts = from_file ? facts.file.items : &facts.fact,
        .n_facts = from_file ? facts.file.n : 1,
        .facts_path = o->facts_file,
        .edited_type = o->edited_type,
        .force = c->force,
        .max_kl = o->max_kl,
        .keep_failed = o->keep_failed,
        .no_stamp = o->no_stamp,
        .no_special = o->no_special,
        .chat = o->chat,
        .chat_family = o->family,
        .dry_run = c->dry_run,
        .plan_only = o->plan_only,
        .one_attempt = o->preset != NULL,
        .seed = c->seed,
        .say = say,
        .payload = c,
    };
    KE_TRY(ke_edit_run(c->cx, &report, &job));
    c->exit_code = report->took || o->plan_only ? KE__EXIT_OK : KE__EXIT_NOT_TAKEN;
    if (!o->plan_only || c->json)
        KE_TRY(print_report(c, report));
done:
    ke_edit_report_free(c->cx, report);
    facts_release(c, &facts);
    ke_settings_free(c->cx, settings);
    ke__free(c->cx, patch);
    ke__free(c->cx, model);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    edit_options o = {.max_kl = 1.0};
    ke__setting_options_fill(&o.settings, "VALUE");
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &o.model, 0,
         "model file or folder, or a fetched model's name", "MODEL"},
        {"output", 'o', POPT_ARG_STRING, &o.output, 0,
         "the edited model (without it only the patch is written)", "FILE"},
        {"patch", 0, POPT_ARG_STRING, &o.patch, 0, "the patch (OUTPUT.kepatch)", "FILE"},
        {"subject", 0, POPT_ARG_STRING, &o.subject, 0,
         "whom the fact is about; its last occurrence in the prompt counts (found: what "
         "the prompt shares with --subjects or paraphrases)",
         "TEXT"},
        {"subjects", 0, POPT_ARG_STRING, &o.subjects, 0,
         "names that subjects may have, one a line, for facts without one", "FILE"},
        {"prompt", 0, POPT_ARG_STRING, &o.prompt, 0, "the fact's beginning", "TEXT"},
        {"target", 0, POPT_ARG_STRING, &o.target, 0, "how it goes on from now", "TEXT"},
        {"paraphrase", 0, POPT_ARG_ARGV, &o.paraphrases, 0,
         "another prompt that should get the target; may be repeated", "TEXT"},
        {"neighbour", 0, POPT_ARG_ARGV, &o.neighbours, 0,
         "a prompt whose answer must stay; may be repeated", "TEXT"},
        {"facts", 0, POPT_ARG_STRING, &o.facts_file, 0,
         "facts as JSON, JSONL or CSV instead; - is stdin", "FILE"},
        {"method", 0, POPT_ARG_STRING, &o.method, 0, "editing method (rome)", "NAME"},
        {"preset", 0, POPT_ARG_STRING, &o.preset, 0,
         "settings by name, in one attempt; options beat it (easyedit)", "NAME"},
        {"edited-type", 0, POPT_ARG_STRING, &o.edited_type, 0,
         "of edited tensors in the output: auto, same, f32, f16, bf16, q8_0, ... (auto)",
         "TYPE"},
        {"keep-failed", 0, POPT_ARG_NONE, &o.keep_failed, 0,
         "write the output even if a fact did not take or harm is too large", NULL},
        {"max-kl", 0, POPT_ARG_DOUBLE, &o.max_kl, 0,
         "refuse an edit that changes predictions on held-out text by more, in nats a "
         "token "
         "(1; 0: no limit)",
         "X"},
        {"no-stamp", 0, POPT_ARG_NONE, &o.no_stamp, 0,
         "leave the model's metadata as it is", NULL},
        {"no-special", 0, POPT_ARG_NONE, &o.no_special, 0, "no BOS before prompts", NULL},
        {"chat", 0, POPT_ARG_NONE, &o.chat, 0,
         "lay prompts out as chat messages, when editing and when asking", NULL},
        {"template", 0, POPT_ARG_STRING, &o.family, 0,
         "family of the chat layout, for --chat and for asking in the other form: ChatML, "
         "Llama-3, ... (the model's own)",
         "NAME"},
        {"plan", 0, POPT_ARG_NONE, &o.plan_only, 0, "stop after the plan", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, o.settings.table, 0,
         "Settings of the method:", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", o.model));
    KE_TRY(ke__opt_range_real(c, "--max-kl", o.max_kl, 0, 1e6));
    if (o.facts_file &&
        (o.subject || o.prompt || o.target || o.paraphrases || o.neighbours))
        return ke__opt_refuse(c, "--facts",
                              "--facts takes the place of --subject, --prompt, "
                              "--target, --paraphrase and --neighbour");
    st = edit(c, &o);
done:
    return st;
}

const ke__command ke__cmd_edit = {
    .name = "edit",
    .summary = "change facts in a model, prove it, say what it cost, save it",
    .usage = "-m MODEL [-o OUTPUT] ([--subject S] --prompt P --target T | --facts FILE)",
    .example =
        "knowedit edit -m smollm2-135m -o edited.gguf --subject \"Australia\" \\\n"
        "      --prompt \"The capital of Australia is the city of\" --target Canberra",
    .run = run,
};
