#include "cli/cli.h"
#include "cli/setting_options.h"
#include "knowedit/bench.h"

#include <string.h>

#define MAX_LIST 32 /* methods, files */

typedef struct bench_options {
    char *model, *output, *methods, *data, *set, *protocol, *without, *mode, *score_at,
        *retain, *edited_type, *preset, *family;
    long long limit;
    int no_fluency, chat, skip_bad;
    ke__setting_options settings; /* VALUE for all that have it, NAME:VALUE for one */
} bench_options;

/* The parts of "a,b,c", which lose their commas; items[n] are of `text`. */
typedef struct parts {
    char *text;
    const char *items[MAX_LIST];
    size_t n;
} parts;

static ke_status split(ke__cli *c, parts *out, const char *option, const char *text)
{
    ke_status st = KE_OK;
    char *at = NULL;
    KE_TRY(ke__strdup(c->cx, &out->text, text));
    for (at = out->text; at != NULL && out->n < MAX_LIST;) {
        char *comma = strchr(at, ',');
        if (comma != NULL)
            *comma++ = '\0';
        if (*at == '\0')
            return ke__opt_refuse(c, option, "%s %s: an item is empty", option, text);
        out->items[out->n++] = at;
        at = comma;
    }
    if (at != NULL)
        st = ke__opt_refuse(c, option, "%s: at most %d items", option, MAX_LIST);
done:
    return st;
}

/* --- settings of methods -----------------------------------------------------------------
 */

/* The value for `method` in "VALUE" or "METHOD:VALUE", NULL if it is for another. */
static const char *value_for(const char *text, const char *method)
{
    size_t n = strcspn(text, ":");
    bool named = false;
    for (size_t i = 0; text[n] == ':' && !named && i < ke_method_count(); i++)
        named = strlen(ke_method_name(i)) == n && strncmp(ke_method_name(i), text, n) == 0;
    if (!named)
        return text;
    return strlen(method) == n && strncmp(method, text, n) == 0 ? text + n + 1 : NULL;
}

/* Whether value_for() finds a method's name before the value. */
static bool is_named(const char *text)
{
    for (size_t i = 0; i < ke_method_count(); i++)
        if (value_for(text, ke_method_name(i)) != text)
            return true;
    return false;
}

/* Give one option's value to the methods that it is for. */
static ke_status set_one(ke__cli *c, ke_settings **methods, size_t n, const char *name,
                         const char *text)
{
    ke_status st = KE_OK;
    size_t n_set = 0;
    for (size_t i = 0; i < n; i++) {
        const char *value = value_for(text, ke_settings_method(methods[i]));
        if (value == NULL || ke_settings_get(methods[i], name) == NULL)
            continue;
        KE_TRY(ke_settings_set(c->cx, methods[i], name, value));
        n_set++;
    }
    if (n_set == 0)
        st = ke__opt_refuse(c, name, "--%s %s: none of the methods chosen has that setting",
                            name, text);
done:
    return st;
}

static bool has_preset(const char *method, const char *preset)
{
    const char *name;
    for (size_t i = 0; (name = ke_method_preset(method, i)) != NULL; i++)
        if (strcmp(name, preset) == 0)
            return true;
    return false;
}

static ke_status set_preset(ke__cli *c, ke_settings **methods, size_t n, const char *preset)
{
    ke_status st = KE_OK;
    size_t n_set = 0;
    for (size_t i = 0; i < n; i++)
        if (has_preset(ke_settings_method(methods[i]), preset)) {
            KE_TRY(ke_settings_preset(c->cx, methods[i], preset));
            n_set++;
        }
    if (n_set == 0)
        st = ke__opt_refuse(c, "--preset",
                            "--preset %s: none of the methods chosen has that preset",
                            preset);
done:
    return st;
}

/* Settings of every method named but "none", which is only noted. */
static ke_status make_methods(ke__cli *c, const bench_options *o, const parts *names,
                              ke_settings **methods, size_t *n, bool *unedited)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->items[i], "none") == 0) {
            *unedited = true;
            continue;
        }
        KE_TRY(ke_settings_new(c->cx, &methods[*n], names->items[i]));
        ++*n;
    }
    if (o->preset != NULL)
        KE_TRY(set_preset(c, methods, *n, o->preset));
    /* What is said of one method outweighs what is said of all, in whatever order. */
    for (int named = 0; named < 2; named++)
        for (size_t i = 0; i < o->settings.n; i++)
            for (char **v = o->settings.values[i]; v != NULL && *v != NULL; v++)
                if (is_named(*v) == (named == 1))
                    KE_TRY(set_one(c, methods, *n, o->settings.table[i].longName, *v));
done:
    return st;
}

/* --- words -------------------------------------------------------------------------------
 */

static ke_status read_faults(ke__cli *c, const bench_options *o, ke_bench_job *job)
{
    ke_status st = KE_OK;
    parts faults = {0};
    if (o->without == NULL)
        return KE_OK;
    KE_TRY(split(c, &faults, "--without", o->without));
    for (size_t i = 0; i < faults.n; i++) {
        bool shift = strcmp(faults.items[i], "shift") == 0;
        if (!shift && strcmp(faults.items[i], "boundary") != 0) {
            st = ke__opt_refuse(c, "--without",
                                "--without %s: expected boundary, shift or boundary,shift",
                                o->without);
            goto done;
        }
        job->without |= shift ? KE_FAULT_SHIFT : KE_FAULT_BOUNDARY;
    }
    if (!(job->protocols & KE_PROTOCOL_EASYEDIT))
        st = ke__opt_refuse(c, "--without",
                            "--without %s: --protocol real has no faults to leave out",
                            o->without);
done:
    ke__free(c->cx, faults.text);
    return st;
}

static ke_status read_words(ke__cli *c, const bench_options *o, ke_bench_job *job)
{
    ke_status st = KE_OK;
    parts at = {0};

    if (o->protocol == NULL || strcmp(o->protocol, "both") == 0)
        job->protocols = KE_PROTOCOL_EASYEDIT | KE_PROTOCOL_REAL;
    else if (strcmp(o->protocol, "easyedit") == 0)
        job->protocols = KE_PROTOCOL_EASYEDIT;
    else if (strcmp(o->protocol, "real") == 0)
        job->protocols = KE_PROTOCOL_REAL;
    else
        return ke__opt_refuse(
            c, "--protocol", "--protocol %s: expected easyedit, real or both", o->protocol);
    KE_TRY(read_faults(c, o, job));
    if (o->family != NULL && !o->chat)
        return ke__opt_refuse(c, "--template", "--template is of use with --chat only");
    job->sequential = o->mode != NULL && strcmp(o->mode, "sequential") == 0;
    if (o->mode != NULL && !job->sequential && strcmp(o->mode, "single") != 0)
        return ke__opt_refuse(c, "--mode", "--mode %s: expected single or sequential",
                              o->mode);
    job->retain_all = o->retain != NULL && strcmp(o->retain, "all") == 0;
    if (o->retain != NULL && !job->retain_all)
        return ke__opt_refuse(c, "--retain", "--retain %s: expected all", o->retain);
    if (o->score_at == NULL)
        return KE_OK;
    KE_TRY(split(c, &at, "--score-at", o->score_at));
    for (size_t i = 0; i < at.n; i++) {
        bool end = strcmp(at.items[i], "end") == 0;
        if (!end && strcmp(at.items[i], "each") != 0) {
            st = ke__opt_refuse(c, "--score-at",
                                "--score-at %s: expected each, end or each,end",
                                o->score_at);
            goto done;
        }
        job->score_at |= end ? KE_SCORE_END : KE_SCORE_EACH;
    }
done:
    ke__free(c->cx, at.text);
    return st;
}

static void say(const char *line, void *cli)
{
    ke__talk_say(cli, "%s", line);
}

static ke_status print_summary(ke__cli *c, const bench_options *o,
                               const ke_bench_summary *s)
{
    if (c->json)
        return ke__result_json(
            c, json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:{s:o, s:o}}", "schema",
                         "knowedit.bench/1", "output",
                         c->dry_run ? json_null() : ke__json_string(o->output), "cases",
                         (json_int_t)s->n_cases, "rows", (json_int_t)s->n_rows, "resumed",
                         (json_int_t)s->n_resumed, "bad", (json_int_t)s->n_bad, "seconds",
                         "total", ke__json_number(s->seconds), "in_model",
                         ke__json_number(s->seconds_in_model)));
    if (c->dry_run) {
        if (o->output != NULL)
            ke__talk_say(c, "would write %s", o->output);
        return KE_OK;
    }
    if (c->quiet) {
        printf("%s\n", o->output);
        return KE_OK;
    }
    printf("%zu cases, %zu rows", s->n_cases, s->n_rows);
    if (s->n_resumed > 0)
        printf(", %zu of them measured before", s->n_resumed);
    if (s->n_bad > 0)
        printf("; %zu bad records left out", s->n_bad);
    printf("; %.1f s\n%s\n", s->seconds, o->output);
    return KE_OK;
}

static ke_status bench(ke__cli *c, const bench_options *o)
{
    ke_status st = KE_OK;
    parts names = {0}, files = {0};
    ke_settings *methods[MAX_LIST] = {0};
    char *model = NULL;
    ke_bench_summary summary = {0};
    ke_bench_job job = {
        .set = o->set,
        .limit = (size_t)o->limit,
        .seed = c->seed,
        .no_fluency = o->no_fluency,
        .chat = o->chat,
        .chat_family = o->family,
        .skip_bad = o->skip_bad,
        .plan_only = c->dry_run,
        .edited_type = o->edited_type,
        .output_path = o->output,
        .say = say,
        .payload = c,
    };

    KE_TRY(read_words(c, o, &job));
    KE_TRY(split(c, &names, "--method", o->methods));
    KE_TRY(split(c, &files, "--data", o->data));
    KE_TRY(make_methods(c, o, &names, methods, &job.n_methods, &job.unedited));
    KE_TRY(ke__find_model(c, o->model, &model));
    job.model_path = model;
    job.methods = (const ke_settings *const *)methods;
    job.files = files.items;
    job.n_files = files.n;
    KE_TRY(ke_bench_run(c->cx, &summary, &job));
    st = print_summary(c, o, &summary);
done:
    for (size_t i = 0; i < MAX_LIST; i++)
        ke_settings_free(c->cx, methods[i]);
    ke__free(c->cx, model);
    ke__free(c->cx, files.text);
    ke__free(c->cx, names.text);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    bench_options o = {0};
    char method_help[256] = "none (the unedited model)";
    for (size_t i = 0; i < ke_method_count(); i++) {
        size_t at = strlen(method_help);
        snprintf(method_help + at, sizeof method_help - at, ", %s", ke_method_name(i));
    }
    ke__setting_options_fill(&o.settings, "[METHOD:]VALUE");
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &o.model, 0,
         "model file, or a fetched model's name", "MODEL"},
        {"method", 0, POPT_ARG_STRING, &o.methods, 0, method_help, "M[,M...]"},
        {"data", 0, POPT_ARG_STRING, &o.data, 0, "data files", "FILE[,FILE...]"},
        {"set", 0, POPT_ARG_STRING, &o.set, 0,
         "what set the files are of (recognised from their content)", "NAME"},
        {"output", 'o', POPT_ARG_STRING, &o.output, 0,
         "the run's file; a run that is there goes on", "FILE"},
        {"limit", 0, POPT_ARG_LONGLONG, &o.limit, 0, "records of each file (0: all)", "N"},
        {"protocol", 0, POPT_ARG_STRING, &o.protocol, 0, "easyedit, real or both (both)",
         "NAME"},
        {"without", 0, POPT_ARG_STRING, &o.without, 0,
         "faults of EasyEdit that easyedit leaves out: boundary, shift", "FAULT[,FAULT]"},
        {"mode", 0, POPT_ARG_STRING, &o.mode, 0,
         "single: each edit from the model; sequential: edits pile up (single)", "NAME"},
        {"score-at", 0, POPT_ARG_STRING, &o.score_at, 0,
         "in a sequence: each (after its own edit), end, or each,end (each)", "WHEN"},
        {"no-fluency", 0, POPT_ARG_NONE, &o.no_fluency, 0, "draw no texts for fluency",
         NULL},
        {"chat", 0, POPT_ARG_NONE, &o.chat, 0,
         "lay prompts out as chat messages under the real protocol", NULL},
        {"template", 0, POPT_ARG_STRING, &o.family, 0,
         "family of the chat layout: ChatML, Llama-3, Gemma, ... (the model's own)",
         "NAME"},
        {"retain", 0, POPT_ARG_STRING, &o.retain, 0,
         "Sanitation: ask all questions to be kept, not ten of them", "all"},
        {"skip-bad", 0, POPT_ARG_NONE, &o.skip_bad, 0,
         "leave bad records out, and say so in the report", NULL},
        {"edited-type", 0, POPT_ARG_STRING, &o.edited_type, 0,
         "round edited tensors to same, f32, f16, q8_0, ... (full precision)", "TYPE"},
        {"preset", 0, POPT_ARG_STRING, &o.preset, 0,
         "settings by name, for every method that has it; options beat it", "NAME"},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, o.settings.table, 0,
         "Settings of methods, for all that have them or for one:", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", o.model));
    KE_TRY(ke__opt_need(c, "--method", o.methods));
    KE_TRY(ke__opt_need(c, "--data", o.data));
    if (!c->dry_run)
        KE_TRY(ke__opt_need(c, "-o", o.output));
    KE_TRY(ke__opt_range(c, "--limit", o.limit, 0, INT32_MAX));
    st = bench(c, &o);
done:
    return st;
}

const ke__command ke__cmd_bench = {
    .name = "bench",
    .summary = "measure methods on the cases of data sets, resumably",
    .usage = "-m MODEL --method M[,M...] --data FILE[,FILE...] -o RUN",
    .example = "knowedit bench -m smollm2-135m --method none,rome --data test_cf.json "
               "--limit 10 -o run.sqlite",
    .run = run,
};
