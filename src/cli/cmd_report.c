#include "cli/cli.h"
#include "knowedit/bench.h"

typedef struct report_options {
    char *format, *plot;
    long long index;
    int parts, cases;
} report_options;

enum { INDEX = 1 }; /* in c->given */

/* One result a call: what was asked for twice is refused. */
static ke_status check(ke__cli *c, const report_options *o)
{
    bool one = c->given & 1U << INDEX;
    if ((o->plot != NULL) + one + o->cases + (o->format != NULL) > 1)
        return ke__opt_refuse(c, NULL,
                              "--format, --plot, --case and --cases are alternatives");
    if (o->cases && !c->json)
        return ke__opt_refuse(c, "--cases", "--cases needs --json");
    if (c->json && (one || o->format))
        return ke__opt_refuse(c, one ? "--case" : "--format",
                              "%s is for people; for programs: --json, or --cases --json",
                              one ? "--case" : "--format");
    return one ? ke__opt_range(c, "--case", o->index, 0, INT64_MAX) : KE_OK;
}

static ke_status plot(ke__cli *c, const report_options *o, const char *const *runs)
{
    ke_status st = ke_report_plot(c->cx, runs, c->n_args, o->plot, c->force);
    if (st != KE_OK)
        return st;
    if (c->json)
        return ke__result_json(c, json_pack("{s:s, s:o}", "schema", "knowedit.plot/1",
                                            "output",
                                            ke__json_string(c->dry_run ? NULL : o->plot)));
    if (c->dry_run)
        ke__talk_say(c, "would draw %s", o->plot);
    else
        puts(o->plot);
    return KE_OK;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    report_options o = {0};
    char *text = NULL;
    const struct poptOption options[] = {
        {"parts", 0, POPT_ARG_NONE, &o.parts, 0,
         "parts of portability and locality, and further metrics", NULL},
        {"format", 0, POPT_ARG_STRING, &o.format, 0, "text, md, csv, latex, html (text)",
         "F"},
        {"plot", 0, POPT_ARG_STRING, &o.plot, 0,
         "draw the table as bars, into FILE.svg, .png or .pdf", "FILE"},
        {"case", 0, POPT_ARG_LONGLONG, &o.index, INDEX,
         "one case, by its place in its file, from 0", "N"},
        {"cases", 0, POPT_ARG_NONE, &o.cases, 0, "every case (with --json)", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 1, SIZE_MAX));
    KE_TRY(check(c, &o));
    const char *const *runs = (const char *const *)c->args;
    if (o.plot)
        return plot(c, &o, runs);
    if (o.cases)
        st = ke_report_cases(c->cx, &text, runs, c->n_args);
    else if (c->given & 1U << INDEX)
        st = ke_report_case(c->cx, &text, runs, c->n_args, (size_t)o.index);
    else
        st = ke_report_table(c->cx, &text, runs, c->n_args,
                             c->json    ? "json"
                             : o.format ? o.format
                                        : "text",
                             o.parts);
    if (st == KE_OK)
        printf("%s%s", text, c->json ? "\n" : "");
    ke_free(c->cx, text);
done:
    return st;
}

const ke__command ke__cmd_report = {
    .name = "report",
    .summary = "what runs of `bench` measured: the survey's table, bars, single cases",
    .usage = "RUN... [--parts] [--format F] [--plot FILE] [--case N] [--cases --json]",
    .example = "knowedit report run.sqlite --parts --format md",
    .run = run,
};
