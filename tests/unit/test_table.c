/* The survey's table from run files: means by hand (methods 5.1, 5.7), empty cells with a
 * reason, unfinished and several runs, and every form of printing. */
#include "knowedit/bench.h"
#include "study/table.h"
#include "support/oom.h"
#include "support/run_file.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *cx;

static int set_up(void **state)
{
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke_ctx_free(cx);
    return scratch_remove(state);
}

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

static void refused(ke_status st, ke_status expected, const char *says)
{
    assert_int_equal(st, expected);
    if (!strstr(ke_ctx_message(cx), says))
        fail_msg("expected \"%s\" in \"%s\"", says, ke_ctx_message(cx));
}

/* --- looking into a table --- */

static ke__table table_of(const char *path, bool parts)
{
    ke__table t;
    ok(ke__table_make(cx, &t, (const char *const[]){path}, 1, parts));
    return t;
}

static const ke__cell *cell_named(const ke__block *b, const ke__table_row *r,
                                  ke__measure measure, const char *name)
{
    for (size_t k = 0; k < b->n_columns; k++)
        if (b->columns[k].measure == measure && strcmp(b->columns[k].name, name) == 0)
            return &r->cells[k];
    fail_msg("no column %s", name);
    return NULL;
}

/* Mean, error (NAN: none) and count of a cell of the first page's first block. */
static void holds(const ke__table *t, size_t row, ke__measure measure, const char *name,
                  double mean, double error, size_t n)
{
    const ke__block *b = &t->pages[0].blocks[0];
    const ke__cell *c = cell_named(b, &b->rows[row], measure, name);
    assert_int_equal(c->mean.n, n);
    if (fabs(c->mean.mean - mean) > 1e-9)
        fail_msg("%s: %.12g, expected %.12g", name, c->mean.mean, mean);
    if (!isnan(error) && fabs(c->mean.standard_error - error) > 1e-9)
        fail_msg("%s: error %.12g, expected %.12g", name, c->mean.standard_error, error);
}

static const char *note_of(const ke__table *t, size_t note)
{
    assert_in_range(note, 1, t->n_notes);
    return t->notes[note - 1];
}

static const char *remarks_of(const ke__table *t)
{
    static char all[2048];
    all[0] = '\0';
    for (size_t i = 0; i < t->n_remarks; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s\n", t->remarks[i]);
    return all;
}

static void contains(const char *text, const char *expected)
{
    if (!strstr(text, expected))
        fail_msg("no \"%s\" in:\n%s", expected, text);
}

static void lacks(const char *text, const char *unwanted)
{
    if (strstr(text, unwanted))
        fail_msg("\"%s\" in:\n%s", unwanted, text);
}

/* --- means --- */

/* Methods 5.1: a record's keys weigh the same, and so do records. Standard errors of two
 * values a, b: |a - b| / 2. */
static void means_are_means_of_means(void **state)
{
    const char *path = scratch_path(state, "run");
    run_file r = run_file_new(cx, path, "rome", "easyedit", NULL);
    run_file_cases(&r, 0, "zsre", 3);
    run_file_row(&r, 0, 0, 0, "rome", "easyedit",
                 "{\"success\":[1],\"rephrase\":[0.25],\"exact\":[1],\"probability\":[0.5],"
                 "\"portability\":{\"Reasoning\":[1,0.5],\"Subject_Aliasing\":[1]},"
                 "\"locality\":{\"Relation_Specificity\":[1,0,0.5,null]},\"fluency\":5.5}");
    run_file_row(&r, 0, 1, 0, "rome", "easyedit",
                 "{\"success\":[0.5],\"rephrase\":[],\"exact\":[0],\"probability\":[0.25],"
                 "\"portability\":{\"Reasoning\":[0],\"Logical_Generalization\":[]},"
                 "\"locality\":{\"Forgetfulness\":[null]},\"fluency\":null}");
    run_file_row(&r, 0, 2, 0, "rome", "easyedit", "{\"success\":[0],\"portability\":{}}");
    run_file_end(&r);

    ke__table t = table_of(path, true);
    holds(&t, 0, KE__COLUMN_SUCCESS, "success", 50, 100 * sqrt(1.0 / 12), 3);
    holds(&t, 0, KE__COLUMN_PORTABILITY, "portability", 43.75, 43.75, 2);
    holds(&t, 0, KE__COLUMN_LOCALITY, "locality", 50, NAN, 1);
    holds(&t, 0, KE__COLUMN_FLUENCY, "fluency", 550, NAN, 1);
    holds(&t, 0, KE__COLUMN_REPHRASE, "rephrase", 25, NAN, 1);
    holds(&t, 0, KE__COLUMN_EXACT, "exact", 50, 50, 2);
    holds(&t, 0, KE__COLUMN_PROBABILITY, "probability", 37.5, 12.5, 2);
    holds(&t, 0, KE__COLUMN_PORTABILITY_PART, "Reasoning", 37.5, 37.5, 2);
    holds(&t, 0, KE__COLUMN_PORTABILITY_PART, "Subject_Aliasing", 100, NAN, 1);
    holds(&t, 0, KE__COLUMN_LOCALITY_PART, "Relation_Specificity", 50, NAN, 1);
    holds(&t, 0, KE__COLUMN_SECONDS, "edit", 0.5, 0, 3);
    holds(&t, 0, KE__COLUMN_SECONDS, "evaluate", 2, 0, 3);
    /* A part without a score in any record is no column. */
    for (size_t k = 0; k < t.pages[0].blocks[0].n_columns; k++) {
        const char *name = t.pages[0].blocks[0].columns[k].name;
        assert_string_not_equal(name, "Logical_Generalization");
        assert_string_not_equal(name, "Forgetfulness");
    }
    ke__table_free(cx, &t);

    t = table_of(path, false);
    assert_int_equal(t.pages[0].blocks[0].n_columns, KE__COLUMNS_MAIN);
    holds(&t, 0, KE__COLUMN_PORTABILITY, "portability", 43.75, 43.75, 2);
    ke__table_free(cx, &t);
}

/* Methods 5.7's two records. */
static void counterfact_has_its_scores(void **state)
{
    const char *path = scratch_path(state, "run");
    run_file r = run_file_new(cx, path, "rome", "easyedit", NULL);
    run_file_cases(&r, 0, "counterfact", 2);
    run_file_row(&r, 0, 0, 0, "rome", "easyedit",
                 "{\"metrics\":{\"steps\":3,\"note\":\"text\",\"efficacy\":[1],"
                 "\"paraphrase\":[1,0],\"neighbourhood\":[1,1,0,1],"
                 "\"efficacy_magnitude\":[0.588]}}");
    run_file_row(&r, 0, 1, 0, "rome", "easyedit",
                 "{\"metrics\":{\"steps\":5,\"efficacy\":[0],\"paraphrase\":[1,1],"
                 "\"neighbourhood\":[1,0,1,1],\"efficacy_magnitude\":[-0.088]}}");
    run_file_end(&r);

    ke__table t = table_of(path, true);
    holds(&t, 0, KE__COLUMN_METRIC, "efficacy", 50, 50, 2);
    holds(&t, 0, KE__COLUMN_METRIC, "paraphrase", 75, 25, 2);
    holds(&t, 0, KE__COLUMN_METRIC, "neighbourhood", 75, 0, 2);
    holds(&t, 0, KE__COLUMN_METRIC, "efficacy_magnitude", 25, 33.8, 2);
    holds(&t, 0, KE__COLUMN_METRIC, "score", 450.0 / 7, NAN, 2); /* 3 / (1/50 + 2/75) */
    holds(&t, 0, KE__COLUMN_METRIC, "steps", 4, 1, 2);           /* not a share */
    const ke__block *b = &t.pages[0].blocks[0];
    static const char *const titles[] = {"S", "ES", "EM", "PS", "NS", "steps"};
    size_t at = 0;
    while (b->columns[at].measure != KE__COLUMN_METRIC)
        at++;
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(b->columns[at + i].title, titles[i]);
    ke__table_free(cx, &t);
}

static void a_divergence_is_no_share(void **state)
{
    const char *path = scratch_path(state, "run");
    char *text;
    run_file r = run_file_new(cx, path, "none", "real", NULL);
    run_file_cases(&r, 0, "convsent", 1);
    run_file_row(&r, 0, 0, 0, "none", "real",
                 "{\"success\":[0.5],\"locality\":{\"KL\":[0.026]}}");
    run_file_end(&r);

    ke__table t = table_of(path, false);
    holds(&t, 0, KE__COLUMN_LOCALITY, "locality", 0.026, NAN, 1);
    contains(note_of(&t, t.pages[0].blocks[0].rows[0].cells[KE__COLUMN_LOCALITY].note),
             "lower is better");
    ke__table_free(cx, &t);
    ok(ke_report_table(cx, &text, &path, 1, "text", false));
    contains(text, "0.0260 (1) [");
    ke_free(cx, text);
}

/* --- what is not there --- */

static void empty_cells_have_a_reason(void **state)
{
    static const char *const no_fluency[] = {"fluency", "no", NULL};
    const char *path = scratch_path(state, "run");
    run_file r = run_file_new(cx, path, "none,rome,ft-m,ft-l", "easyedit", no_fluency);
    run_file_cases(&r, 0, "wikibio", 2);
    run_file_row(&r, 0, 0, 0, "none", "easyedit", "{\"success\":[0]}");
    run_file_failed(&r, 0, 0, 1, "rome", "easyedit", "no subject");
    run_file_failed(&r, 0, 0, 2, "ft-m", "easyedit", "a NaN");
    run_file_row(&r, 0, 1, 2, "ft-m", "easyedit", "{\"success\":[1]}");
    run_file_end(&r);

    ke__table t = table_of(path, false);
    const ke__block *b = &t.pages[0].blocks[0];
    assert_int_equal(b->n_rows, 4);
    const ke__cell *none = b->rows[0].cells, *rome = b->rows[1].cells;
    const ke__cell *ft_m = b->rows[2].cells, *ft_l = b->rows[3].cells;
    holds(&t, 0, KE__COLUMN_SUCCESS, "success", 0, NAN, 1); /* a zero that was measured */
    assert_int_equal(none[KE__COLUMN_SUCCESS].note, 0);
    contains(note_of(&t, none[KE__COLUMN_PORTABILITY].note), "WikiBio has no prompts");
    contains(note_of(&t, none[KE__COLUMN_LOCALITY].note), "no case that is measured");
    contains(note_of(&t, none[KE__COLUMN_FLUENCY].note), "left fluency out");
    contains(note_of(&t, rome[KE__COLUMN_SUCCESS].note), "measured: no subject");
    contains(note_of(&t, b->rows[1].note), "1 of 1 could not be measured");
    contains(note_of(&t, b->rows[2].note),
             "1 of 2 could not be measured, the first: a NaN");
    assert_int_equal(ft_m[KE__COLUMN_SUCCESS].mean.n, 1);
    contains(note_of(&t, ft_l[KE__COLUMN_SUCCESS].note), "measured yet");
    ke__table_free(cx, &t);
}

static void an_unfinished_run_says_so(void **state)
{
    static const char *const more[] = {"score-at", "each,end", "mode", "sequential", NULL};
    const char *path = scratch_path(state, "run.sqlite");
    run_file r = run_file_new(cx, path, "ft-m", "both", more);
    run_file_cases(&r, 0, "zsre", 2);
    run_file_row_at(&r, "each", 0, "ft-m", "real", "{\"success\":[1]}");
    run_file_row_at(&r, "each", 0, "ft-m", "easyedit", "{\"success\":[1]}");
    run_file_row_at(&r, "end", 1, "ft-m", "easyedit", "{\"success\":[0.5]}");
    ok(ke__store_put_bad(cx, r.store, 0, 7, "zsre.json:9: record 7: no subject"));
    ok(ke__store_put_case(cx, r.store,
                          &(ke__store_case){.index = 9, .set = "zsre", .n_skipped = 3}));
    run_file_end(&r);

    ke__table t = table_of(path, false);
    assert_int_equal(t.n_pages, 4);
    assert_string_equal(t.pages[0].heading,
                        "easyedit protocol, sequential edits, scored after each");
    assert_string_equal(t.pages[1].heading,
                        "easyedit protocol, sequential edits, scored at the end");
    assert_string_equal(t.pages[2].protocol, "real");
    assert_int_equal(t.pages[1].blocks[0].rows[0].n_measured, 1);
    assert_int_equal(t.pages[1].blocks[0].rows[0].n_cases, 3);
    assert_string_equal(remarks_of(&t),
                        "run.sqlite: model of SHA-256 m, seed 0, knowedit unknown\n"
                        "run.sqlite is not finished: 3 of 12 measurements are there\n"
                        "run.sqlite left out 1 bad record, the first: zsre.json:9: record "
                        "7: no subject\n"
                        "run.sqlite skipped 3 empty answers or groups\n");
    ke__table_free(cx, &t);
}

/* --- several runs --- */

static const char *one_run(void **state, const char *name, const char *methods,
                           const char *set, const char *const *more)
{
    const char *path = scratch_path(state, name);
    char method[64];
    size_t order = 0;
    run_file r = run_file_new(cx, path, methods, "real", more);
    run_file_cases(&r, 0, set, 1);
    for (const char *at = methods; *at; order++) {
        size_t n = strcspn(at, ",");
        snprintf(method, sizeof method, "%.*s", (int)n, at);
        run_file_row(&r, 0, 0, order, method, "real", "{\"success\":[1]}");
        at += n + (at[n] == ',');
    }
    run_file_end(&r);
    return path;
}

static void several_runs_are_one_table(void **state)
{
    const char *paths[] = {one_run(state, "a", "rome", "zsre", NULL),
                           one_run(state, "b", "none,ft-m", "zsre", NULL),
                           one_run(state, "c", "rome", "wiki_recent", NULL)};
    ke__table t;
    ok(ke__table_make(cx, &t, paths, 3, false));
    assert_int_equal(t.n_pages, 1);
    assert_int_equal(t.pages[0].n_blocks, 2);
    const ke__block *recent = &t.pages[0].blocks[0], *zsre = &t.pages[0].blocks[1];
    assert_string_equal(recent->title, "WikiData_recent"); /* the survey's order */
    assert_string_equal(zsre->set, "zsre");
    assert_int_equal(zsre->n_rows, 3);
    assert_string_equal(zsre->rows[0].label, "none");
    assert_string_equal(zsre->rows[1].label, "rome");
    assert_string_equal(zsre->rows[2].label, "ft-m");
    assert_string_equal(recent->rows[0].label, "rome");
    assert_int_equal(t.n_remarks, 3); /* what each of them is, no more */
    ke__table_free(cx, &t);
}

static void runs_are_told_apart(void **state)
{
    static const char *const layer[] = {"rome.layer", "9", NULL};
    static const char *const higher[] = {"rome.layer", "11", "data 1", "aa", NULL};
    static const char *const file[] = {"rome.layer", "11", "data 1", "bb", NULL};
    static const char *const other[] = {"model", "m2",   "seed",   "1", "limit",
                                        "5",     "chat", "ChatML", NULL};
    const char *first = one_run(state, "a.sqlite", "none,rome", "zsre", NULL);
    const char *same[] = {first, one_run(state, "b.sqlite", "rome", "zsre", layer)};
    const char *unlike[] = {first, one_run(state, "c.sqlite", "ft-m", "zsre", other)};
    const char *twice[] = {first, first};
    ke__table t;

    ok(ke__table_make(cx, &t, same, 2, false));
    assert_string_equal(t.pages[0].blocks[0].rows[0].label, "none");
    assert_string_equal(t.pages[0].blocks[0].rows[1].label, "rome (a.sqlite)");
    assert_string_equal(t.pages[0].blocks[0].rows[2].label, "rome (b.sqlite)");
    assert_int_equal(t.n_remarks, 2);
    ke__table_free(cx, &t);

    ok(ke__table_make(cx, &t, unlike, 2, false));
    assert_string_equal(t.pages[0].blocks[0].rows[0].label, "none (a.sqlite)");
    assert_string_equal(t.pages[0].blocks[0].rows[2].label, "ft-m (c.sqlite)");
    assert_string_equal(remarks_of(&t),
                        "a.sqlite: model of SHA-256 m, seed 0, knowedit unknown\n"
                        "c.sqlite: model of SHA-256 m2, seed 1, knowedit unknown\n"
                        "c.sqlite is a run with chat: ChatML\n"
                        "the runs differ in: model, seed\n");
    ke__table_free(cx, &t);

    /* Settings of a method count where both runs have it, and files where both name one. */
    const char *layers[] = {
        same[1], one_run(state, "d.sqlite", "rome", "wiki_recent", higher), first};
    ok(ke__table_make(cx, &t, layers, 3, false));
    assert_string_equal(t.pages[0].blocks[0].rows[0].label, "rome (d.sqlite)");
    assert_non_null(strstr(remarks_of(&t), "the runs differ in: rome.layer\n"));
    ke__table_free(cx, &t);
    const char *files[] = {layers[1],
                           one_run(state, "e.sqlite", "rome", "wiki_recent", file)};
    ok(ke__table_make(cx, &t, files, 2, false));
    assert_non_null(
        strstr(remarks_of(&t), "the runs read different files of WikiData_recent\n"));
    ke__table_free(cx, &t);

    refused(ke__table_make(cx, &t, twice, 2, false), KE_EINVAL, "given twice");
}

/* --- forms --- */

/* Two methods with names that every form has to escape, on ZsRE and a set of no table. */
static const char *odd_run(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    run_file r = run_file_new(cx, path, "none,a_b&<|\"%", "easyedit", NULL);
    run_file_cases(&r, 0, "zsre", 2);
    run_file_cases(&r, 1, "x, \"y\"", 1);
    for (size_t i = 0; i < 2; i++) {
        run_file_row(&r, 0, i, 0, "none", "easyedit",
                     i ? "{\"success\":[1]}" : "{\"success\":[0.5],\"fluency\":5}");
        run_file_row(&r, 0, i, 1, "a_b&<|\"%", "easyedit", "{\"success\":[1]}");
    }
    run_file_row(&r, 1, 0, 0, "none", "easyedit", "{\"success\":[0.0004]}");
    run_file_end(&r);
    return path;
}

static char *report(const char *path, const char *format, bool parts)
{
    char *text;
    ok(ke_report_table(cx, &text, &path, 1, format, parts));
    return text;
}

static void plain_text_is_aligned(void **state)
{
    char *text = report(odd_run(state), "text", false);
    assert_string_equal(
        text, "easyedit protocol, single edits\n"
              "\n"
              "            cases  Edit Succ.          Portability  Locality  Fluency\n"
              "ZsRE\n"
              "  none      2/2     75.00 ± 25.00 (2)  [1]          [1]       500.00 (1)\n"
              "  a_b&<|\"%  2/2    100.00 ± 0.00 (2)   [1]          [1]       [1]\n"
              "x, \"y\"\n"
              "  none      1/1      0.04 (1)          [1]          [1]       [1]\n"
              "  a_b&<|\"%  0/1    [2]                 [2]          [2]       [2]\n"
              "\n"
              "Mean, standard error and number of cases; shares and fluency times 100.\n"
              "[1] no case that is measured has a score of it\n"
              "[2] no case of it is measured yet\n"
              "run.sqlite: model of SHA-256 m, seed 0, knowedit unknown\n"
              "run.sqlite is not finished: 5 of 6 measurements are there\n");
    ke_free(cx, text);
}

static void markdown_is_escaped(void **state)
{
    char *text = report(odd_run(state), "md", false);
    contains(text,
             "### easyedit protocol, single edits\n\n| Set | Method | Cases | Edit "
             "Succ. | Portability | Locality | Fluency |\n|---|---|---:|---:|---:|---:"
             "|---:|\n| ZsRE | none | 2/2 | 75.00 ± 25.00 (2) |");
    contains(text, "\n|  | a\\_b\\&\\<\\|\"% | 2/2 | 100.00 ± 0.00 (2) | <sup>1</sup> |");
    contains(text, "\n| x, \"y\" | none | 1/1 |");
    ke_free(cx, text);
}

static void csv_has_a_line_a_number(void **state)
{
    char *text = report(odd_run(state), "csv", false);
    contains(text,
             "protocol,mode,at,set,run,method,cases,measured,failed,measure,part,mean,"
             "standard_error,n,reason\n"
             "easyedit,single,each,zsre,run.sqlite,none,2,2,0,success,,75,25,2,\n");
    contains(text, "\neasyedit,single,each,zsre,run.sqlite,none,2,2,0,fluency,,500,,1,\n");
    contains(text, "\neasyedit,single,each,zsre,run.sqlite,\"a_b&<|\"\"%\",2,2,0,success,,"
                   "100,0,2,\n");
    contains(text,
             "\neasyedit,single,each,\"x, \"\"y\"\"\",run.sqlite,none,1,1,0,locality,,"
             ",,0,no case that is measured has a score of it\n");
    size_t lines = 0;
    for (const char *at = text; *at; at++)
        lines += *at == '\n';
    assert_int_equal(lines, 1 + 4 * 4);
    ke_free(cx, text);
}

static void latex_is_escaped(void **state)
{
    char *text = report(odd_run(state), "latex", false);
    contains(text,
             "\\caption{easyedit protocol, single edits}\n\\begin{tabular}{lrrrrr}\n");
    contains(text, "\na\\_b\\&\\textless{}\\textbar{}\\textquotedbl{}\\% & 2/2 & 100.00 "
                   "$\\pm$ 0.00 (2) & \\textsuperscript{1} &");
    contains(text, "\\multicolumn{6}{l}{\\textbf{ZsRE}} \\\\\n");
    ke_free(cx, text);
}

/* Every element that is opened is closed, in order. */
static void is_well_formed(const char *html)
{
    char open[32][16];
    size_t depth = 0;
    for (const char *at = strchr(html, '<'); at; at = strchr(at + 1, '<')) {
        bool closes = at[1] == '/';
        const char *name = at + 1 + closes;
        int n = (int)strcspn(name, " >");
        if (*name == '!' || strncmp(name, "meta", 4) == 0)
            continue;
        if (closes) {
            assert_true(depth > 0);
            depth--;
            if (strncmp(open[depth], name, (size_t)n) != 0 || open[depth][n])
                fail_msg("<%s> closed as </%.*s>", open[depth], n, name);
            continue;
        }
        assert_true(depth < 32 && n < 16);
        snprintf(open[depth++], 16, "%.*s", n, name);
    }
    assert_int_equal(depth, 0);
}

static void html_is_a_whole_page(void **state)
{
    const char *path = odd_run(state);
    for (int parts = 0; parts < 2; parts++) {
        char *text = report(path, "html", parts);
        assert_true(strncmp(text, "<!DOCTYPE html>\n<html lang=\"en\">", 31) == 0);
        contains(text, "<caption>easyedit protocol, single edits</caption>");
        contains(text, "<th scope=\"row\">a_b&amp;&lt;|&quot;%</th>");
        contains(text, "<td>75.00 ± 25.00 (2)</td>");
        contains(text, "<sup><a href=\"#note1\">1</a></sup>");
        contains(text, "<p id=\"note1\">");
        lacks(text, "http:");
        lacks(text, "https:");
        is_well_formed(text);
        ke_free(cx, text);
    }
}

static void json_has_what_the_table_has(void **state)
{
    char *text = report(odd_run(state), "json", false);
    contains(text, "{\"schema\":\"knowedit.report/1\",\"runs\":[{\"path\":");
    contains(text, "\"measured\":5,\"expected\":6,\"failed\":0");
    contains(text,
             "{\"measure\":\"success\",\"mean\":75.0,\"standard_error\":25.0,\"n\":2}");
    contains(text,
             "{\"measure\":\"locality\",\"mean\":null,\"standard_error\":null,\"n\":0,"
             "\"note\":\"no case of it is measured yet\"}");
    ke_free(cx, text);
}

static void parts_are_grids_of_their_own(void **state)
{
    const char *path = scratch_path(state, "run");
    run_file r = run_file_new(cx, path, "rome", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 0, "rome", "real",
                 "{\"success\":[1],\"portability\":{\"Reasoning\":[1]},"
                 "\"locality\":{\"Relation_Specificity\":[0.5]},"
                 "\"metrics\":{\"steps\":25,\"margin\":[1,-3]}}");
    run_file_end(&r);
    char *text = report(path, "text", true);
    contains(text, "  cases  Reasoning\nZsRE\n  rome  1/1    100.00 (1)\n");
    contains(text, "  cases  Relation_Specificity\nZsRE\n  rome  1/1     50.00 (1)\n");
    contains(text,
             "  cases  margin      steps\nZsRE\n  rome  1/1     -1.00 (1)   25.00 (1)\n");
    contains(text, "  cases  Edit (s)    Scores (s)\n");
    ke_free(cx, text);
    text = report(path, "csv", true);
    contains(text, "rome,1,1,0,portability,Reasoning,100,,1,\n");
    contains(text, "rome,1,1,0,metrics,steps,25,,1,\n");
    contains(text, "rome,1,1,0,seconds,edit,0.5,,1,\n");
    ke_free(cx, text);
}

/* --- what goes wrong --- */

static void wrong_inputs_are_refused(void **state)
{
    const char *path = scratch_path(state, "run"), *none = scratch_path(state, "none");
    char *text = NULL;
    run_file r = run_file_new(cx, path, "rome", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 0, "rome", "real", "[1");
    run_file_end(&r);

    refused(ke_report_table(cx, &text, &path, 1, "text", false), KE_EFORMAT,
            "case 0 of zsre, method rome");
    refused(ke_report_table(cx, &text, &path, 1, "odt", false), KE_EINVAL, "\"odt\"");
    refused(ke_report_table(cx, &text, &none, 1, "text", false), KE_ENOENT, "none");
    refused(ke_report_table(cx, &text, &path, 0, "text", false), KE_EINVAL, "a run");
    assert_null(text);
}

typedef struct request {
    const char *path, *format;
} request;

static ke_status print_parts(ke_ctx *c, void *payload)
{
    const request *q = payload;
    char *text = NULL;
    ke_status st = ke_report_table(c, &text, &q->path, 1, q->format, true);
    ke_free(c, text);
    return st;
}

static void memory_may_run_out_anywhere(void **state)
{
    static const char *const formats[] = {"text", "md", "csv", "latex", "html"};
    request q = {.path = odd_run(state)};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        q.format = formats[i];
        oom_each(print_parts, &q);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(means_are_means_of_means),
        TEST(counterfact_has_its_scores),
        TEST(a_divergence_is_no_share),
        TEST(empty_cells_have_a_reason),
        TEST(an_unfinished_run_says_so),
        TEST(several_runs_are_one_table),
        TEST(runs_are_told_apart),
        TEST(plain_text_is_aligned),
        TEST(markdown_is_escaped),
        TEST(csv_has_a_line_a_number),
        TEST(latex_is_escaped),
        TEST(html_is_a_whole_page),
        TEST(json_has_what_the_table_has),
        TEST(parts_are_grids_of_their_own),
        TEST(wrong_inputs_are_refused),
        TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
