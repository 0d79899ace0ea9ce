#include "cli/cli.h"
#include "knowedit/bench.h"

#include <string.h>

/* --- check ------------------------------------------------------------------------ */

static json_t *lines_json(const char *text)
{
    json_t *list = json_array();
    bool ok = true;
    for (const char *end; text && (end = strchr(text, '\n')); text = end + 1)
        ok = ok && ke__json_add(list, ke__json_string_n(text, (size_t)(end - text)));
    return ke__json_done(list, ok);
}

static ke_status check(ke__cli *c, const char *const *files, size_t n, const char *set)
{
    ke_status st = KE_OK;
    char *lines = NULL;

    st = ke_data_check(c->cx, &lines, files, n, set);
    if (lines == NULL)
        return st;
    bool sound = st == KE_OK;
    if (c->json) {
        st = ke__result_json(c,
                             json_pack("{s:s, s:b, s:o}", "schema", "knowedit.data_check/1",
                                       "sound", (int)sound, "lines", lines_json(lines)));
    } else {
        fputs(lines, stdout);
        st = KE_OK;
    }
    if (!sound) {
        fprintf(stderr, "knowedit: %s\n", ke_ctx_message(c->cx));
        c->exit_code = KE__EXIT_ERROR;
    }
    ke_free(c->cx, lines);
    return st;
}

/* --- show ------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_parts(const json_t *file, const char *key)
{
    const char *name;
    json_t *count, *parts = json_object_get(file, key);
    json_object_foreach(parts, name, count)
        printf("%-11s %s: %lld questions in %lld records\n", key, name,
               number_of(count, "items"), number_of(count, "records"));
}

static void print_file(const json_t *file)
{
    const json_t *survey = json_object_get(file, "survey");
    const json_t *settings = json_object_get(file, "settings");
    const json_t *sample = json_object_get(file, "sample");

    printf("file        %s\nsha256      %s\n", text_of(file, "file"),
           text_of(file, "sha256"));
    printf("set         %s", text_of(file, "set"));
    if (json_is_object(survey))
        printf(" (%s; knowledge %s, %s; the survey has %lld to train, %lld to test)",
               text_of(file, "title"), text_of(file, "task"), text_of(file, "type"),
               number_of(survey, "train"), number_of(survey, "test"));
    printf("\nrecords     %lld, %lld of them bad\n", number_of(file, "records"),
           number_of(file, "bad"));
    if (number_of(file, "rephrases") > 0)
        printf("rephrases   %lld\n", number_of(file, "rephrases"));
    if (number_of(file, "replies") > 0)
        printf("replies     %lld\n", number_of(file, "replies"));
    print_parts(file, "portability");
    print_parts(file, "locality");
    printf("skipped     %lld empty answers and groups\n", number_of(file, "skipped"));
    if (text_of(settings, "drawn")[0])
        printf("drawn       %s, by seed %s\n", text_of(settings, "drawn"),
               text_of(settings, "seed"));
    printf("sample      ");
    ke__talk_quote(stdout, text_of(sample, "prompt"), 160);
    printf(" -> ");
    ke__talk_quote(stdout, text_of(sample, "target"), 80);
    putchar('\n');
}

static ke_status show(ke__cli *c, const char *const *files, size_t n, const char *set)
{
    char *text = NULL;
    size_t i;
    json_t *file;
    ke_status st = ke_data_show(c->cx, &text, files, n, set, c->seed);
    if (st != KE_OK)
        return st;
    json_t *object = json_loads(text, 0, NULL);
    ke_free(c->cx, text);
    if (c->json)
        return ke__result_json(c, object);
    json_array_foreach(json_object_get(object, "files"), i, file)
    {
        if (i > 0)
            putchar('\n');
        print_file(file);
    }
    json_decref(object);
    return KE_OK;
}

/* --- convert ---------------------------------------------------------------------- */

static ke_status convert(ke__cli *c, const char *file, const char *set, const char *format)
{
    char *text = NULL;
    ke_status st =
        ke_data_convert(c->cx, &text, file, set, c->seed, c->json ? "json" : format);
    if (st != KE_OK)
        return st;
    if (c->json)
        st = ke__result_json(c, json_pack("{s:s, s:o}", "schema", "knowedit.facts/1",
                                          "facts", json_loads(text, 0, NULL)));
    else
        fputs(text, stdout);
    ke_free(c->cx, text);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *set = NULL, *format = NULL;
    const struct poptOption options[] = {
        {"set", 0, POPT_ARG_STRING, &set, 0,
         "the files' set (recognised): wiki_recent, zsre, wikibio, wiki_counterfact, "
         "convsent, sanitation, counterfact, own",
         "NAME"},
        {"format", 0, POPT_ARG_STRING, &format, 0, "of convert: json or jsonl (json)", "F"},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    if (c->n_args < 2)
        return ke__opt_refuse(c, NULL, "expected check, show or convert, then FILE");
    bool converts = strcmp(c->args[0], "convert") == 0;
    if (format && !converts)
        return ke__opt_refuse(c, "--format", "--format is for convert");
    if (format && strcmp(format, "json") != 0 && strcmp(format, "jsonl") != 0)
        return ke__opt_refuse(c, "--format", "--format '%s': expected json or jsonl",
                              format);
    const char *const *files = (const char *const *)c->args + 1;
    size_t n = c->n_args - 1;
    if (strcmp(c->args[0], "check") == 0)
        st = check(c, files, n, set);
    else if (strcmp(c->args[0], "show") == 0)
        st = show(c, files, n, set);
    else if (!converts)
        st = ke__opt_refuse(c, c->args[0], "'%s' is not one of check, show, convert",
                            c->args[0]);
    else if (n > 1)
        st = ke__opt_refuse(c, c->args[2], "convert takes one FILE");
    else
        st = convert(c, files[0], set, format ? format : "json");
done:
    return st;
}

const ke__command ke__cmd_data = {
    .name = "data",
    .summary = "check, describe or convert files of cases",
    .usage = "check|show|convert FILE... [--set NAME] [--format json|jsonl]",
    .example = "knowedit data show recent_test.json",
    .run = run,
};
