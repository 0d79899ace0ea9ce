#include "eval/facts.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A file and what its last record has to say; NULL is absent. */
static const struct form {
    const char *text;
    size_t n;
    const char *subject, *prompt, *target, *old;
    const char *paraphrase; /* the last one */
    size_t n_paraphrases;
    const char *neighbour, *answer; /* the last one */
    size_t n_neighbours;
} forms[] = {
    /* our own, one object, a byte order mark before it */
    {"\xef\xbb\xbf{\"subject\":\"Big Ben\",\"prompt\":\"Big Ben is "
     "in\",\"target\":\"Rome\","
     "\"old_answer\":\"London\",\"paraphrases\":[\"Where is Big Ben?\",\"Big Ben stands "
     "in\"],"
     "\"neighbours\":[\"The Louvre is in\",{\"prompt\":\"Ely is "
     "in\",\"answer\":\"England\"}]}",
     1, "Big Ben", "Big Ben is in", "Rome", "London", "Big Ben stands in", 2, "Ely is in",
     "England", 2},
    /* KnowEdit: lists of aliases, groups, empty answers */
    {"[{\"subject\":\"A\",\"prompt\":\"A is\",\"target_new\":\"x\",\"ground_truth\":\"y\","
     "\"portability\":{\"Reasoning\":[{\"prompt\":\"p\",\"ground_truth\":[[\"q\"]]}]},"
     "\"locality\":{\"Relation_Specificity\":[{\"prompt\":\"one\",\"ground_truth\":[[\"a\","
     "\"b\"],"
     "[\"c\"]]}],\"Forgetfulness\":[{\"prompt\":\"two\",\"ground_truth\":[[]]}]}}]",
     1, "A", "A is", "x", "y", NULL, 0, "two", NULL, 2},
    /* KnowEdit's WikiBio */
    {"[{\"text\":\"about ann. \",\"concept\":\"ann\",\"labels\":\"Ann "
     "is.\",\"locality\":{}}]",
     1, "ann", "about ann. ", "Ann is.", NULL, NULL, 0, NULL, NULL, 0},
    /* KnowEdit's ZsRE: an old answer in a list, a rephrased question */
    {"[{\"subject\":\"S\",\"target_new\":\"t\",\"prompt\":\"who is "
     "S?\",\"ground_truth\":[\"o\","
     "\"oo\"],\"rephrase_prompt\":\"S is who?\",\"locality\":{\"Relation_Specificity\":[{"
     "\"prompt\":\"n\",\"ground_truth\":[\"m\"]}]}}]",
     1, "S", "who is S?", "t", "o", "S is who?", 1, "n", "m", 1},
    /* CounterFact: a template, prompts as plain strings */
    {"[{\"case_id\":1,\"requested_rewrite\":{\"prompt\":\"In {}, they speak\",\"subject\":"
     "\"Kuhmo\",\"target_new\":{\"str\":\"Dutch\",\"id\":\"Q1\"},\"target_true\":{\"str\":"
     "\"Finnish\"}},\"paraphrase_prompts\":[\"Kuhmo's law is "
     "in\"],\"neighborhood_prompts\":"
     "[\"In Salla, they speak\",\"In Oulu, they speak\"]}]",
     1, "Kuhmo", "In Kuhmo, they speak", "Dutch", "Finnish", "Kuhmo's law is in", 1,
     "In Oulu, they speak", NULL, 2},
    /* EasyEdit: flat, and the lists of its API */
    {"[{\"prompt\":\"BBC One, by\",\"target_new\":\"Sega\",\"subject\":\"BBC One\","
     "\"ground_truth\":\"BBC\",\"rephrase_prompt\":\"BBC One is by\",\"locality_prompt\":"
     "\"BBC Radio, by\",\"locality_ground_truth\":\"BBC\"}]",
     1, "BBC One", "BBC One, by", "Sega", "BBC", "BBC One is by", 1, "BBC Radio, by", "BBC",
     1},
    {"{\"prompt\":\"B "
     "by\",\"target_new\":\"S\",\"subject\":\"B\",\"locality\":{\"neighborhood\":"
     "{\"prompt\":[\"p\",\"q\"],\"ground_truth\":[\"r\",\"s\"]},\"distracting\":{"
     "\"prompt\":\"u\","
     "\"ground_truth\":\"v\"}}}",
     1, "B", "B by", "S", NULL, NULL, 0, "u", "v", 3},
    /* MEND's zsRE and QAEdit */
    {"[{\"subject\":\"S\",\"src\":\"where is S?\",\"pred\":\"p\",\"rephrase\":\"S "
     "where?\",\"alt\":"
     "\"T\",\"answers\":[\"U\"],\"loc\":\"nq: w\",\"loc_ans\":\"z\"}]",
     1, "S", "where is S?", "T", "U", "S where?", 1, "nq: w", "z", 1},
    {"[{\"subject\":\"S\",\"prompt\":\"of "
     "S?\",\"target\":\"T\",\"rephrase\":\"S?\",\"locality\":[{"
     "\"loc\":\"l\",\"loc_ans\":\"m\"}]}]",
     1, "S", "of S?", "T", NULL, "S?", 1, "l", "m", 1},
    /* JSONL with an empty line, null fields, escapes */
    {"{\"subject\":\"a\",\"prompt\":\"a "
     "b\",\"target\":\"c\"}\r\n\n{\"subject\":\"d\\u00e9\","
     "\"prompt\":\"le d\xc3\xa9 x\",\"target\":\"c\",\"concept\":null,\"rephrase\":null,"
     "\"ground_truth\":[]}\n",
     2, "d\xc3\xa9", "le d\xc3\xa9 x", "c", NULL, NULL, 0, NULL, NULL, 0},
    /* CSV: quoted cells with commas, quotes and line ends, a name twice, an empty cell */
    {"\xef\xbb\xbfsubject,prompt,target,ground_truth,paraphrases,paraphrases\r\n"
     "Old,Old is,x,,,\r\n\r\n"
     "\"A, B\",\"A, B \"\"is\"\"\nin\",t,,p,q\r\n",
     2, "A, B", "A, B \"is\"\nin", "t", NULL, "q", 2, NULL, NULL, 0},
};

static void expect_text(const char *found, const char *expected)
{
    if (expected)
        assert_string_equal(found, expected);
    else
        assert_null(found);
}

static void understands_every_form(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct form *f = &forms[i];
        ke_facts facts;
        print_message("form %zu\n", i);
        assert_int_equal(
            ke__facts_parse(cx, &facts, "f.json", f->text, strlen(f->text), NULL), KE_OK);
        assert_int_equal(facts.n, f->n);
        const ke_fact *last = &facts.items[facts.n - 1];
        assert_string_equal(last->subject, f->subject);
        assert_string_equal(last->prompt, f->prompt);
        assert_string_equal(last->target, f->target);
        expect_text(last->old_answer, f->old);
        assert_int_equal(last->n_paraphrases, f->n_paraphrases);
        if (f->paraphrase)
            assert_string_equal(last->paraphrases[last->n_paraphrases - 1], f->paraphrase);
        assert_int_equal(last->n_neighbours, f->n_neighbours);
        if (f->neighbour) {
            const ke_probe *probe = &last->neighbours[last->n_neighbours - 1];
            assert_string_equal(probe->prompt, f->neighbour);
            expect_text(probe->answer, f->answer);
        }
        ke_facts_free(cx, &facts);
        assert_int_equal(o.n_live, 0);
    }
    ke_ctx_free(cx);
}

#define GOOD "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"}"

static const struct fault {
    const char *text;
    ke_status status;
    const char *says;
} faults[] = {
    {"", KE_EFORMAT, "f.json: no facts"},
    {" \n\t", KE_EFORMAT, "no facts"},
    {"[]", KE_EFORMAT, "no facts"},
    {"\xef\xbb\xbf[]", KE_EFORMAT, "no facts"},
    {"{", KE_EFORMAT, "f.json:1: record 1: column "},
    {"[\n" GOOD ",\n{\"subject\": }]", KE_EFORMAT, "f.json:3: record 2: column 13: "},
    {"[" GOOD ",\n\n{\"subject\":\n3}]", KE_EFORMAT,
     "f.json:3: record 2: field \"subject\": expected a string, found a number"},
    {"[1,2", KE_EFORMAT, "record 1: expected an object, found a number"},
    {"[[]]", KE_EFORMAT, "record 1: expected an object, found an array"},
    {"\"x\"", KE_EFORMAT, "expected an object, found a string"},
    {"[" GOOD, KE_EFORMAT, "record 1: after it: expected ',' or ']', found the end"},
    {"[" GOOD " " GOOD "]", KE_EFORMAT, "expected ',' or ']', found something else"},
    {"[" GOOD "]\n x", KE_EFORMAT, "f.json:2: expected the end of the file"},
    {"[" GOOD ",]", KE_EFORMAT, "record 2: column 1"},
    {"{\"a\":1}", KE_EFORMAT, "record 1: field \"prompt\" is missing"},
    {"[{\"prompt\":\"x\"}]", KE_EFORMAT, "field \"target_new\" is missing"},
    {"{\"subject\":\"x\",\"prompt\":\"x\"}", KE_EFORMAT, "field \"target_new\" is missing"},
    {"{\"subject\":\"x\",\"prompt\":\"x\",\"target\":[]}", KE_EFORMAT,
     "field \"target\": the list is empty"},
    {"{\"subject\":\"x\",\"prompt\":\"x\",\"labels\":true}", KE_EFORMAT,
     "field \"labels\": expected a string, found a boolean"},
    {"{\"requested_rewrite\":3}", KE_EFORMAT,
     "field \"requested_rewrite\": expected an object, found a number"},
    {"{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\",\"rephrase\":[1]}", KE_EFORMAT,
     "field \"rephrase\": expected a string, found a number"},
    {"{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\",\"locality\":\"x\"}",
     KE_EFORMAT, "field \"locality\": expected an object of groups, found a string"},
    {"{\"subject\":\"a\",\"prompt\":\"a "
     "b\",\"target\":\"c\",\"neighbours\":[{\"answer\":\"x\"}]}",
     KE_EFORMAT, "field \"neighbours\": an item has no \"prompt\""},
    {"{\"subject\":\"a\",\"prompt\":\"a "
     "b\",\"target\":\"c\",\"locality\":{\"g\":{\"prompt\":[\"p\"],"
     "\"ground_truth\":[]}}}",
     KE_EFORMAT, "1 prompts, but not as many answers"},
    {"{\"subject\":\"\xff\",\"prompt\":\"x\",\"target\":\"y\"}", KE_EFORMAT,
     "record 1: column"},
    {GOOD "\n{\"subject\":\"z\",\"prompt\":\"a b\",\"target\":\"c\"}", KE_EINVAL,
     "f.json:2: record 2: "},
    {"{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"\"}", KE_EINVAL, "record 1: "},
    {"subject,prompt,target\na,a b,c\nd,e,f\n", KE_EINVAL, "f.json:3: record 2: "},
    {"subject,prompt,target\n\"a\nb\",\"a\nb c\",d\n\nx,\n", KE_EFORMAT,
     "f.json:6: record 2: field \"prompt\" is missing"},
    {"subject,prompt,target\na,a b,c,d\n", KE_EFORMAT, "record 1: more than the 3 cells"},
    {"subject,prompt,target\na,a \"b,c\n", KE_EFORMAT,
     "f.json:2: record 1: column 5: a quote"},
    {"subject,prompt,target\na,a b,c\na,\"a b,c\n\n\n", KE_EFORMAT,
     "f.json:3: record 2: a quote is not closed"},
    {"subject,prompt,target\n\xff,a,b\n", KE_EFORMAT,
     "field \"subject\": byte 1 is not UTF-8"},
    {"subject,prompt,target\n", KE_EFORMAT, "no facts"},
    {"{\"subject\":\"a\\u0000\",\"prompt\":\"a\",\"target\":\"b\"}", KE_EFORMAT,
     "record 1: "},
};

static void says_where_and_what_is_wrong(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        ke_facts facts;
        const char *text = faults[i].text;
        print_message("fault %zu\n", i);
        assert_int_equal(ke__facts_parse(cx, &facts, "f.json", text, strlen(text), NULL),
                         faults[i].status);
        if (!strstr(ke_ctx_message(cx), faults[i].says))
            fail_msg("expected \"%s\" in \"%s\"", faults[i].says, ke_ctx_message(cx));
        assert_null(strchr(ke_ctx_message(cx), '\n'));
        assert_null(facts.items);
        assert_int_equal(o.n_live, 0);
    }
    ke_ctx_free(cx);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    static char text[DEEP];
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    ke_facts facts;
    memset(text, '[', sizeof text);
    assert_int_equal(ke__facts_parse(cx, &facts, "f.json", text, sizeof text, NULL),
                     KE_EFORMAT);
    assert_int_equal(o.n_live, 0);
    ke_ctx_free(cx);
}

static ke_status parse_first(ke_ctx *cx, void *payload)
{
    const struct form *f = payload;
    ke_facts facts;
    ke_status st = ke__facts_parse(cx, &facts, "f.json", f->text, strlen(f->text), NULL);
    ke_facts_free(cx, &facts);
    return st;
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(parse_first, (void *)(uintptr_t)&forms[0]);
    oom_each(parse_first, (void *)(uintptr_t)&forms[4]);
    oom_each(parse_first, (void *)(uintptr_t)&forms[sizeof forms / sizeof forms[0] - 1]);
}

/* A quote that is opened on line 900 swallows lines until the next quote: the line to mend
 * is named, not the one where it shows. */
static void a_broken_quote_is_named_by_its_own_line(void **state)
{
    (void)state;
    static const struct {
        const char *broken, *later, *says;
    } cases[] = {
        {"s,\"s is,t", "s,\"s, too\",t",
         "f.csv:900: record 899: cell 2: a quote is not closed (it shows at line "
         "950, column 4)"},
        {"s,\"s is,t", "s,s is,t", "f.csv:900: record 899: a quote is not closed"},
        {"\"s\n\",\"s\n is,t", "s,\"s, too\",t", "f.csv:901: record 899: cell 2: a quote"},
        {"s,s \"is\",t", "s,s is,t", "f.csv:900: record 899: column 5: a quote inside"},
        {"s,\"s\" is,t", "s,s is,t", "f.csv:900: record 899: column 7: a quote inside"},
    };
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static char text[20000];
        ke_facts facts;
        size_t n = (size_t)snprintf(text, sizeof text, "subject,prompt,target\n");
        for (int line = 2; line <= 1000; line++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s\n",
                                  line == 900   ? cases[i].broken
                                  : line == 950 ? cases[i].later
                                                : "s,s is,t");
        assert_int_equal(KE_EFORMAT, ke__facts_parse(cx, &facts, "f.csv", text, n, NULL));
        if (!strstr(ke_ctx_message(cx), cases[i].says))
            fail_msg("expected \"%s\" in \"%s\"", cases[i].says, ke_ctx_message(cx));
    }
    ke_ctx_free(cx);
}

static void count_line(const char *message, void *payload)
{
    static const char *const says[] = {"f.csv:3: record 2: ", "f.csv:6: record 4: ",
                                       "f.csv:7: record 5: a quote is not closed"};
    size_t *n = payload;
    assert_true(*n < 3);
    if (!strstr(message, says[*n]))
        fail_msg("expected \"%s\" in \"%s\"", says[*n], message);
    ++*n;
}

/* Every bad record is named, not only the first. */
static void checks_go_on_to_the_end(void **state)
{
    static const char text[] = "subject,prompt,target\na,a b,c\nx,a b,c\n\"a\",\"a\n\",c\n"
                               ",,d\na,\"a b,c\n\n";
    const char *path = scratch_path(state, "f.csv");
    size_t good, bad, n = 0;
    scratch_write(path, text, sizeof text - 1);
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(KE_OK, ke_facts_check(cx, path, NULL, &good, &bad, count_line, &n));
    assert_int_equal(2, good);
    assert_int_equal(3, bad);
    assert_int_equal(3, n);
    assert_int_equal(KE_EIO, ke_facts_check(cx, scratch_path(state, "none"), NULL, &good,
                                            &bad, count_line, &n));
    ke_ctx_free(cx);
}

typedef struct lines {
    size_t at[8], n;
    bool stopped;
} lines;

/* The line that a message names. */
static void note_line(const char *message, void *payload)
{
    lines *l = payload;
    const char *place = strrchr(message, '/');
    assert_non_null(place);
    assert_true(l->n < 8);
    l->at[l->n++] = strtoul(strchr(place, ':') + 1, NULL, 10);
    l->stopped = strstr(message, "what follows was not read") != NULL;
}

/* A record that can't even be read hides no other, where each begins a line. */
static void checks_go_on_after_what_cannot_be_read(void **state)
{
    static const struct {
        const char *name, *text;
        size_t good, lines[4]; /* of bad records, then 0 */
        bool stops;
    } cases[] = {
        {"wide.csv",
         "subject,prompt,target\na,a b,c\na,a b,c,d\na,b,c\na,a b,c\n",
         2,
         {3, 4},
         false},
        {"quote.csv",
         "subject,prompt,target\n\"a\" b,a,c\na,a b,c\na,b,c\n",
         1,
         {2, 4},
         false},
        {"open.csv",
         "subject,prompt,target\na,a b,\"c\na,a b,c\na,\"a b\",c\na,b,c\n",
         2,
         {2, 5},
         false},
        {"last.csv", "subject,prompt,target\na,a b,c\na,a b,\"c\na,a b,c\n", 2, {3}, false},
        {"each.jsonl",
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":}\n"
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"}\nx\n{}\n",
         1,
         {1, 3, 4},
         false},
        {"unfinished.jsonl",
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"\n"
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"}\n"
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":[\n\n",
         1,
         {1, 3},
         false},
        {"of-two-lines.jsonl",
         "{\"subject\":\"a\",\n\"prompt\":\"a b\",\"target\":}\n"
         "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"}\n",
         0,
         {2},
         true},
        {"array.json",
         "[{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"},\n{x},\n{}]",
         1,
         {2},
         true},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = scratch_path(state, cases[i].name);
        size_t good, bad, n = 0;
        lines found = {0};
        ke_facts facts;
        scratch_write(path, cases[i].text, strlen(cases[i].text));
        assert_int_equal(KE_OK,
                         ke_facts_check(cx, path, NULL, &good, &bad, note_line, &found));
        while (cases[i].lines[n])
            n++;
        if (good != cases[i].good || bad != n || found.n != n ||
            memcmp(found.at, cases[i].lines, n * sizeof *found.at) != 0)
            fail_msg("%s: %zu good, %zu bad, the first at %zu", cases[i].name, good, bad,
                     found.at[0]);
        assert_int_equal(cases[i].stops, found.stopped);
        /* Loading names the first. */
        ke_status st = ke_facts_load(cx, &facts, path, NULL);
        assert_true(st == KE_EFORMAT || st == KE_EINVAL);
        lines first = {0};
        note_line(ke_ctx_message(cx), &first);
        assert_int_equal(cases[i].lines[0], first.at[0]);
    }
    ke_ctx_free(cx);
}

/* Many records: line numbers count on, and the work is linear (this is instant). */
static void many_records(void **state)
{
    enum { N = 20000 };
    const char *path = scratch_path(state, "many.jsonl");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < N; i++)
        fprintf(file, "{\"subject\":\"s%d\",\"prompt\":\"s%d is\",\"target\":\"t\"}\n", i,
                i);
    fputs("{\"subject\":3}\n", file);
    assert_int_equal(fclose(file), 0);

    ke_ctx *cx = ke_ctx_new(NULL);
    ke_facts facts;
    assert_int_equal(ke_facts_load(cx, &facts, path, NULL), KE_EFORMAT);
    assert_non_null(strstr(ke_ctx_message(cx), ":20001: record 20001: field \"subject\""));
    assert_int_equal(ke_facts_load(cx, &facts, scratch_path(state, "none.json"), NULL),
                     KE_EIO);
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understands_every_form),
        cmocka_unit_test(says_where_and_what_is_wrong),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(survives_every_allocation_failure),
        cmocka_unit_test(a_broken_quote_is_named_by_its_own_line),
        cmocka_unit_test_setup_teardown(checks_go_on_after_what_cannot_be_read,
                                        scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(checks_go_on_to_the_end, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(many_records, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
