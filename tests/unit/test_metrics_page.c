/* docs/metrics.md against the program: each line of its boxes is a metric's name, its
 * arguments and its value. */
#include "eval/metrics.h"
#include "study/bench.h"
#include "study/table.h"
#include "support/run_file.h"
#include "support/scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 }; /* of a list on the page */

static ke_ctx *cx;
static void **scratch;

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

/* --- arguments ---------------------------------------------------------------------- */

static const json_t *arg(const json_t *args, size_t i)
{
    const json_t *value = json_array_get(args, i);
    if (!value)
        fail_msg("argument %zu is missing", i);
    return value;
}

static char *text(const json_t *args, size_t i)
{
    assert_true(json_is_string(arg(args, i)));
    return (char *)(uintptr_t)json_string_value(arg(args, i));
}

static size_t ids(int32_t out[MOST], const json_t *args, size_t i)
{
    size_t n = json_array_size(arg(args, i));
    assert_in_range(n, 0, MOST);
    for (size_t k = 0; k < n; k++)
        out[k] = (int32_t)json_integer_value(json_array_get(arg(args, i), k));
    return n;
}

static size_t numbers(double out[MOST], const json_t *list)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 0, MOST);
    for (size_t k = 0; k < n; k++) {
        const json_t *value = json_array_get(list, k);
        out[k] = json_is_null(value) ? (double)NAN : json_number_value(value);
    }
    return n;
}

static double mean_of(const json_t *args, size_t i)
{
    double values[MOST];
    size_t n = numbers(values, arg(args, i));
    return ke__metric_mean(values, n).mean;
}

static size_t names(const char *out[MOST], const json_t *list)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 0, MOST);
    for (size_t k = 0; k < n; k++)
        out[k] = json_string_value(json_array_get(list, k));
    return n;
}

/* --- judged by a protocol ----------------------------------------------------------- */

/* A case with one item, and what was said to it before the edit and after. */
typedef struct scene {
    ke__case c;
    ke__item item;
    ke__reply before, after;
    int32_t ids[2][MOST];
} scene;

static json_t *judge(scene *s, const ke__protocol *p, bool exactly)
{
    double score = -1;
    ke__view view = p->view(&s->c);
    ke__said before = {.n_items = 1}, after = before;
    before.replies[view] = &s->before;
    after.replies[view] = &s->after;
    const ke__trial t = {.c = &s->c, .items = &s->item, 1, &before, &after};
    ok((exactly ? p->exact : p->score)(cx, &score, &t, 0));
    return json_real(score);
}

static json_t *forced(const json_t *args, bool exactly)
{
    scene s = {.item = {.kind = KE__SUCCESS}};
    s.after = (ke__reply){.ids = s.ids[1], .labels = s.ids[0]};
    s.after.n = ids(s.ids[0], args, 0);
    assert_int_equal(ids(s.ids[1], args, 1), s.after.n);
    return judge(&s, &ke__protocol_easyedit, exactly);
}

static json_t *easyedit_success(const json_t *args)
{
    return forced(args, false);
}

static json_t *easyedit_exact(const json_t *args)
{
    return forced(args, true);
}

static json_t *kept(const json_t *args, ke__case_kind kind)
{
    scene s = {.c = {.kind = kind}, .item = {.kind = KE__LOCALITY}};
    s.before = (ke__reply){.ids = s.ids[0], .n = ids(s.ids[0], args, 0)};
    s.after = (ke__reply){.ids = s.ids[1], .n = ids(s.ids[1], args, 1)};
    return judge(&s, &ke__protocol_easyedit, false);
}

static json_t *easyedit_locality(const json_t *args)
{
    return kept(args, KE__CASE_FACT);
}

static json_t *easyedit_retained(const json_t *args)
{
    return kept(args, KE__CASE_SANITATION);
}

static json_t *easyedit_erased(const json_t *args)
{
    scene s = {
        .c = {.kind = KE__CASE_SANITATION},
        .item = {.kind = KE__SUCCESS, .prompt = text(args, 0), .expected = text(args, 2)}};
    s.after.text = text(args, 1);
    return judge(&s, &ke__protocol_easyedit, false);
}

/* The new answer is `expected`, or a list of answers with a list of names each. */
static json_t *written(const json_t *args, const char *expected, const json_t *answers)
{
    const char *new[MOST][MOST], *old[MOST];
    ke__names lists[MOST], olds = {old, names(old, arg(args, 2))};
    size_t n = json_array_size(answers);
    assert_in_range(n, 0, MOST);
    for (size_t i = 0; i < n; i++)
        lists[i] = (ke__names){new[i], names(new[i], json_array_get(answers, i))};
    scene s = {.c = {.fact = {.target = expected}, .old_answers = &olds, .n_old = 1},
               .item = {.kind = n ? KE__PORTABILITY : KE__SUCCESS,
                        .expected = expected,
                        .answers = lists,
                        .n_answers = n}};
    s.after.text = text(args, 0);
    return judge(&s, &ke__protocol_real, false);
}

static json_t *real_success(const json_t *args)
{
    return written(args, text(args, 1), NULL);
}

static json_t *real_portability(const json_t *args)
{
    return written(args, "", arg(args, 1));
}

static json_t *real_exact(const json_t *args)
{
    scene s = {.item = {.kind = KE__SUCCESS, .expected = text(args, 1)}};
    s.after.text = text(args, 0);
    return judge(&s, &ke__protocol_real, true);
}

static json_t *real_locality(const json_t *args)
{
    scene s = {.item = {.kind = KE__LOCALITY}};
    s.before.text = text(args, 0);
    s.after.text = text(args, 1);
    return judge(&s, &ke__protocol_real, false);
}

/* --- from a row --------------------------------------------------------------------- */

/* The value at row[key], or row["metrics"][key]; the first of a list. */
static json_t *from_row(const ke__trial *t, const char *key)
{
    char *body = NULL;
    double success;
    ok(ke__bench_row(
        cx, &body, &success, &ke__protocol_easyedit,
        &(ke__row_in){
            .trial = t, .file = "f", .method = "m", .mode = "single", .at = "each"}));
    json_t *row = json_loads(body, 0, NULL);
    json_t *value = json_object_get(row, key);
    if (!value)
        value = json_object_get(json_object_get(row, "metrics"), key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    assert_non_null(value);
    json_incref(value);
    json_decref(row);
    ke__free(cx, body);
    return value;
}

/* Of an item with log-probabilities: its own and, if there are two, a rival's. */
static json_t *likely(const json_t *args, const char *set, ke__case_kind kind,
                      ke__item_kind item_kind, const char *key)
{
    scene s = {.c = {.set = set, .kind = kind},
               .item = {.kind = item_kind, .part = "p", .prompt = "q", .expected = "e"}};
    s.before.logprob = s.after.logprob = mean_of(args, 0);
    s.after.rival = json_array_size(args) > 1 ? mean_of(args, 1) : (double)NAN;
    const ke__said before = {.n_items = 1, .replies[KE__FORCED] = &s.before};
    const ke__said after = {.n_items = 1, .replies[KE__FORCED] = &s.after};
    const ke__trial t = {.c = &s.c, .items = &s.item, 1, &before, &after};
    return from_row(&t, key);
}

static json_t *probability(const json_t *args)
{
    return likely(args, "wikibio", KE__CASE_FACT, KE__SUCCESS, "probability");
}

static json_t *perplexity(const json_t *args)
{
    return likely(args, "wikibio", KE__CASE_FACT, KE__SUCCESS, "perplexity");
}

#define RIVAL(name, kind)                                                                  \
    static json_t *name(const json_t *args)                                                \
    {                                                                                      \
        return likely(args, "counterfact", KE__CASE_COUNTERFACT, kind, #name);             \
    }
RIVAL(efficacy, KE__SUCCESS)
RIVAL(efficacy_magnitude, KE__SUCCESS)
RIVAL(paraphrase, KE__REPHRASE)
RIVAL(paraphrase_magnitude, KE__REPHRASE)
RIVAL(neighbourhood, KE__LOCALITY)
RIVAL(neighbourhood_magnitude, KE__LOCALITY)

static json_t *convsent(const json_t *args)
{
    const ke__case c = {.set = "convsent", .kind = KE__CASE_CONVSENT};
    ke__said after = {0}, before = {0};
    after.opinion[KE__UNSHIFTED] = (ke__opinion){mean_of(args, 0), mean_of(args, 1)};
    before.opinion[KE__UNSHIFTED].agree = mean_of(args, 2);
    return from_row(&(ke__trial){.c = &c, .before = &before, .after = &after}, "success");
}

/* --- from a table ------------------------------------------------------------------- */

/* A cell of the table over records that have the arguments as their `member`. */
static json_t *from_table(const json_t *args, const char *set, const char *member,
                          ke__measure measure, const char *column)
{
    static int n_runs;
    char name[32];
    snprintf(name, sizeof name, "run%d", n_runs++);
    const char *path = scratch_path(scratch, name);
    run_file r = run_file_new(cx, path, "none", "easyedit", NULL);
    run_file_cases(&r, 0, set, json_array_size(args));
    for (size_t i = 0; i < json_array_size(args); i++) {
        json_t *row = json_pack("{sO}", member, arg(args, i));
        char *body = json_dumps(row, 0);
        run_file_row(&r, 0, i, 0, "none", "easyedit", body);
        free(body);
        json_decref(row);
    }
    run_file_end(&r);

    ke__table t;
    double mean = (double)NAN;
    ok(ke__table_make(cx, &t, &path, 1, true));
    const ke__block *b = &t.pages[0].blocks[0];
    for (size_t k = 0; k < b->n_columns; k++)
        if (b->columns[k].measure == measure && strcmp(b->columns[k].name, column) == 0)
            mean = b->rows[0].cells[k].mean.mean;
    ke__table_free(cx, &t);
    return json_real(mean);
}

static json_t *portability(const json_t *args)
{
    return from_table(args, "zsre", "portability", KE__COLUMN_PORTABILITY, "portability");
}

static json_t *locality(const json_t *args)
{
    return from_table(args, "zsre", "locality", KE__COLUMN_LOCALITY, "locality");
}

static json_t *score(const json_t *args)
{
    return from_table(args, "counterfact", "metrics", KE__COLUMN_METRIC, "score");
}

/* --- by themselves ------------------------------------------------------------------ */

static json_t *number_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static json_t *mean(const json_t *args)
{
    double values[MOST];
    size_t n = numbers(values, arg(args, 0));
    ke__mean m = ke__metric_mean(values, n);
    json_t *out = json_array();
    json_array_append_new(out, number_or_null(m.mean));
    json_array_append_new(out, number_or_null(m.standard_error));
    json_array_append_new(out, json_integer((json_int_t)m.n));
    return out;
}

static json_t *normalised(const json_t *args)
{
    char *out = NULL;
    ok(ke__metric_normalise(cx, &out, text(args, 0)));
    json_t *value = json_string(out);
    ke__free(cx, out);
    return value;
}

static json_t *fluency(const json_t *args)
{
    double out = -1;
    ok(ke__metric_fluency(cx, &out, text(args, 0)));
    return json_real(out);
}

static json_t *words(const json_t *args)
{
    json_t *list = json_array();
    char *out = NULL;
    size_t n = 0;
    ok(ke__metric_words(cx, &out, &n, text(args, 0)));
    for (const char *at = out; n > 0; n--, at += strlen(at) + 1)
        json_array_append_new(list, json_string(at));
    ke__free(cx, out);
    return list;
}

static json_t *kl(const json_t *args)
{
    double p[2][MOST];
    float logs[2][MOST];
    size_t n = numbers(p[0], arg(args, 0));
    assert_int_equal(numbers(p[1], arg(args, 1)), n);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++)
            logs[k][i] = (float)log(p[k][i]);
    return json_real(ke__metric_kl(logs[0], logs[1], n));
}

/* --- the page ----------------------------------------------------------------------- */

static struct metric {
    const char *name;
    json_t *(*compute)(const json_t *args);
    size_t n_lines; /* that the page has of it */
} metrics[] = {
    {"easyedit.success", easyedit_success, 0},
    {"easyedit.exact", easyedit_exact, 0},
    {"easyedit.locality", easyedit_locality, 0},
    {"easyedit.erased", easyedit_erased, 0},
    {"easyedit.retained", easyedit_retained, 0},
    {"real.success", real_success, 0},
    {"real.portability", real_portability, 0},
    {"real.exact", real_exact, 0},
    {"real.locality", real_locality, 0},
    {"probability", probability, 0},
    {"perplexity", perplexity, 0},
    {"convsent", convsent, 0},
    {"kl", kl, 0},
    {"efficacy", efficacy, 0},
    {"efficacy_magnitude", efficacy_magnitude, 0},
    {"paraphrase", paraphrase, 0},
    {"paraphrase_magnitude", paraphrase_magnitude, 0},
    {"neighbourhood", neighbourhood, 0},
    {"neighbourhood_magnitude", neighbourhood_magnitude, 0},
    {"score", score, 0},
    {"portability", portability, 0},
    {"locality", locality, 0},
    {"mean", mean, 0},
    {"normalised", normalised, 0},
    {"fluency", fluency, 0},
    {"words", words, 0},
};
enum { N_METRICS = sizeof metrics / sizeof metrics[0] };

/* Numbers to within `error`, all else as it is. */
static bool agree(const json_t *want, const json_t *got, double error)
{
    if (json_is_array(want)) {
        bool same = json_array_size(want) == json_array_size(got);
        for (size_t i = 0; same && i < json_array_size(want); i++)
            same = agree(json_array_get(want, i), json_array_get(got, i), error);
        return same;
    }
    if (!json_is_number(want))
        return json_equal(want, got);
    return json_is_number(got) &&
           fabs(json_number_value(want) - json_number_value(got)) <= error;
}

/* Half a unit of the last digit that is printed; whole numbers are exact. */
static double error_of(const char *result)
{
    size_t digits = 0;
    for (const char *at = result; (at = strchr(at, '.')); at++) {
        size_t n = strspn(at + 1, "0123456789");
        digits = n > digits ? n : digits;
    }
    return digits ? 0.5 * pow(10, -(double)digits) : 1e-9;
}

static json_t *parse(const char *line, const char *json)
{
    json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
    if (!value)
        fail_msg("%s: bad JSON: %s", line, json);
    return value;
}

static void check_line(const char *line)
{
    char name[64], list[512];
    const char *args = strchr(line, ' '), *result = NULL;
    for (const char *at = line; (at = strstr(at, " = ")); at++)
        result = at;
    if (!args || !result || (size_t)(args - line) >= sizeof name)
        fail_msg("%s: expected NAME ARGUMENTS = VALUE", line);
    snprintf(name, sizeof name, "%.*s", (int)(args - line), line);
    snprintf(list, sizeof list, "[%.*s]", (int)(result - args), args);

    size_t i = 0;
    while (i < N_METRICS && strcmp(metrics[i].name, name) != 0)
        i++;
    if (i == N_METRICS)
        fail_msg("%s: no such metric", line);
    json_t *in = parse(line, list), *want = parse(line, result + 3);
    json_t *got = metrics[i].compute(in);
    if (!agree(want, got, error_of(result + 3)))
        fail_msg("%s: the program says %s", line, json_dumps(got, JSON_ENCODE_ANY));
    metrics[i].n_lines++;
    json_decref(got);
    json_decref(want);
    json_decref(in);
}

static void the_page_is_right(void **state)
{
    char line[512];
    bool boxed = false;
    FILE *page = fopen("docs/metrics.md", "r");
    assert_non_null(page);
    scratch = state;
    while (fgets(line, sizeof line, page)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "```", 3) == 0)
            boxed = strcmp(line, "```metric") == 0;
        else if (boxed)
            check_line(line);
    }
    fclose(page);
    for (size_t i = 0; i < N_METRICS; i++)
        if (metrics[i].n_lines == 0)
            fail_msg("docs/metrics.md has no %s", metrics[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_page_is_right, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
