/* Files of cases: whose they are, where they are wrong, and what is left of them then. */
#include "eval/case.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static ke_status parse(ke_ctx *cx, ke__cases *out, const char *text,
                       const ke__cases_opts *opts)
{
    return ke__cases_parse(cx, out, "f.json", text, strlen(text), opts);
}

#define FACT "\"subject\":\"a\",\"prompt\":\"a is\""
#define WIKI FACT ",\"target_new\":\"t\""
#define CF   WIKI ",\"ground_truth\":\"o\""
#define TALK "\"pos\":[\"p\"],\"neg\":[\"n\"]"

/* --- whose it is ------------------------------------------------------------------ */

static const struct {
    const char *text, *set;
} known[] = {
    {"[{" WIKI ",\"portability\":{},\"locality\":{}}]", "wiki_recent"},
    {"[{" WIKI ",\"locality\":{\"Forgetfulness\":[]}}]", "wiki_recent"},
    {"[{" CF ",\"portability\":{\"Reasoning\":[]}}]", "wiki_counterfact"},
    {"[{" CF ",\"rephrase_prompt\":\"r\",\"locality\":{}}]", "zsre"},
    {"[{\"concept\":\"a\",\"text\":\"a.\",\"labels\":\"t\"}]", "wikibio"},
    {"[{\"ent\":\"a\"," TALK "}]", "convsent"},
    {"{\"success\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"t\"}],"
     "\"locality\":[]}",
     "sanitation"},
    {"{\"K_R\":[],\"K_F\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":"
     "\"t\"}]}",
     "sanitation"},
    {"[{\"requested_rewrite\":{\"subject\":\"a\",\"prompt\":\"{} is\",\"target_new\":{"
     "\"str\":\"t\"},\"target_true\":{\"str\":\"o\"}},\"paraphrase_prompts\":[\"r\"],"
     "\"neighborhood_prompts\":[\"n\"]}]",
     "counterfact"},
    {"[{\"case_id\":1," CF ",\"rephrase_prompt\":\"r\",\"locality_prompt\":\"n\"}]",
     "counterfact"},
    {"{" FACT ",\"target\":\"t\"}", "own"},
    {"[{" WIKI "}]", "own"},
    /* EasyEdit's requests: groups, but not KnowEdit's */
    {"[{" CF ",\"locality\":{\"neighborhood\":{\"prompt\":[\"p\"],\"ground_truth\":[\"g\"]}"
     "}}]",
     "own"},
};

static void the_set_is_seen_from_the_content(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        ke__cases cases;
        ke_status st = parse(cx, &cases, known[i].text, &(ke__cases_opts){0});
        if (st != KE_OK)
            fail_msg("%zu: %s", i, ke_ctx_message(cx));
        assert_int_equal(1, cases.n);
        assert_string_equal(known[i].set, cases.items[0].set);
        ke__cases_free(cx, &cases);
        assert_int_equal(0, o.n_live);
    }
    ke_ctx_free(cx);
}

static void the_set_may_be_named(void **state)
{
    (void)state;
    static const char text[] = "[{" CF ",\"locality\":{\"g\":[{\"prompt\":\"p\","
                               "\"ground_truth\":[[\"x\"]]}]},\"portability\":{}}]";
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    assert_int_equal(KE_OK,
                     parse(cx, &cases, text, &(ke__cases_opts){.set = "Wiki_CounterFact"}));
    assert_string_equal("wiki_counterfact", cases.items[0].set);
    assert_string_equal("g", cases.items[0].locality[0].name);
    ke__cases_free(cx, &cases);
    assert_int_equal(KE_EINVAL, parse(cx, &cases, text, &(ke__cases_opts){.set = "zsree"}));
    assert_non_null(strstr(ke_ctx_message(cx), "'zsree': expected one of wiki_recent, "));
    assert_null(cases.items);
    ke_ctx_free(cx);
}

/* --- answers ---------------------------------------------------------------------- */

/* What becomes of a question's "ground_truth": answers as "name|name;name", "" if it is
 * skipped. */
static const struct {
    const char *value, *answers;
    size_t n_skipped;
} answers[] = {
    {"\"s\"", "s", 0},
    {"[\"a\",\"b\"]", "a;b", 0},
    {"[[\"a\",\"b\"],[\"c\"]]", "a|b;c", 0},
    {"[\"a\",[\"b\",\"c\"]]", "a;b|c", 0},
    {"{\"str\":\"s\"}", "s", 0},
    {"\"\"", "", 1},
    {"\" \\n\"", "", 1},
    {"[]", "", 1},
    {"[[]]", "", 1},
    {"[[],[\"a\"]]", "", 1},
    {"[[\" \",\"b\"]]", "", 1},
    {"[[\"a\"],[],[\"b\"]]", "a;b", 1},
    {"[[\"a\",\"\"],[\"\"]]", "a", 2},
};

static void write_answers(char *out, size_t room, const ke__query *q)
{
    size_t used = 0;
    for (size_t i = 0; i < q->n_answers; i++)
        for (size_t k = 0; k < q->answers[i].n; k++)
            used += (size_t)snprintf(out + used, room - used, "%s%s",
                                     k   ? "|"
                                     : i ? ";"
                                         : "",
                                     q->answers[i].names[k]);
}

static void answers_may_be_lists_in_every_set(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } forms[] = {
        {"[{" WIKI ",\"locality\":{\"Forgetfulness\":[{\"prompt\":\"p\",\"ground_truth\":",
         "}]}}]"},
        {"[{" CF ",\"rephrase_prompt\":\"r\",\"locality\":{\"Relation_Specificity\":[{"
         "\"prompt\":\"p\",\"ground_truth\":",
         "}]}}]"},
        {"[{\"concept\":\"a\",\"text\":\"a.\",\"labels\":\"t\",\"locality\":{\"g\":[{"
         "\"prompt\":\"p\",\"ground_truth\":",
         "}]}}]"},
        {"{\"success\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"t\"}],"
         "\"locality\":[{\"question\":\"p\",\"ground_truth\":",
         "}]}"},
        {"{" FACT
         ",\"target\":\"t\",\"locality\":{\"g\":[{\"prompt\":\"p\",\"ground_truth\":",
         "}]}}"},
        {"[{\"case_id\":1," CF ",\"rephrase_prompt\":\"r\",\"locality_prompt\":\"p\","
         "\"locality_ground_truth\":",
         "}]"},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++)
        for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
            char text[600], found[64] = "";
            ke__cases cases;
            snprintf(text, sizeof text, "%s%s%s", forms[f].before, answers[i].value,
                     forms[f].after);
            if (parse(cx, &cases, text, &(ke__cases_opts){0}) != KE_OK)
                fail_msg("form %zu, answer %zu: %s", f, i, ke_ctx_message(cx));
            const ke__case *c = &cases.items[0];
            if (c->n_locality > 0)
                write_answers(found, sizeof found, &c->locality[0].queries[0]);
            print_message("form %zu, answer %zu\n", f, i);
            assert_string_equal(answers[i].answers, found);
            assert_int_equal(answers[i].n_skipped, c->n_skipped);
            ke__cases_free(cx, &cases);
        }
    ke_ctx_free(cx);
}

static void old_answers_keep_all_names(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    assert_int_equal(KE_OK, parse(cx, &cases,
                                  "[{" WIKI ",\"ground_truth\":[[\"o\",\"oo\"],\"q\",\"\"],"
                                  "\"portability\":{}}]",
                                  &(ke__cases_opts){0}));
    const ke__case *c = &cases.items[0];
    assert_int_equal(2, c->n_old);
    assert_string_equal("oo", c->old_answers[0].names[1]);
    assert_string_equal("q", c->old_answers[1].names[0]);
    assert_string_equal("o", c->fact.old_answer);
    assert_int_equal(0, c->n_skipped); /* counts portability and locality only */
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

/* The user's own: groups, EasyEdit's parallel lists, neighbours with and without answer. */
static void own_facts_have_parts(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    assert_int_equal(
        KE_OK,
        parse(cx, &cases,
              "{" FACT
              ",\"target\":\"t\",\"old_answer\":\"o\",\"paraphrases\":[\"r\",\"s\"],"
              "\"portability\":{\"P\":{\"prompt\":[\"p\",\"q\"],\"ground_truth\":[\"x\","
              "[\"y\",\"z\"]]}},"
              "\"locality\":{\"L\":[{\"prompt\":\"l\",\"answer\":\"m\"},\"bare\"]},"
              "\"neighbours\":[\"bare\",{\"prompt\":\"n\",\"ground_truth\":\"k\"}]}",
              &(ke__cases_opts){0}));
    const ke__case *c = &cases.items[0];
    assert_int_equal(2, c->n_rephrases);
    assert_string_equal("o", c->old_answers[0].names[0]);
    assert_int_equal(1, c->n_portability);
    assert_string_equal("q", c->portability[0].queries[1].prompt);
    assert_string_equal("z", c->portability[0].queries[1].answers[1].names[0]);
    assert_int_equal(2, c->n_locality);
    assert_string_equal("m", c->locality[0].queries[0].answers[0].names[0]);
    assert_string_equal("neighbours", c->locality[1].name);
    assert_int_equal(1, c->locality[1].n);
    assert_string_equal("n", c->locality[1].queries[0].prompt);
    assert_int_equal(2, c->n_skipped);
    assert_int_equal(0, c->fact.n_paraphrases + c->fact.n_neighbours);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

/* --- what is wrong ---------------------------------------------------------------- */

static const struct {
    const char *text, *set, *says;
} faults[] = {
    {"", NULL, "f.json: no records in it, expected at least one"},
    {" [ ] ", NULL, "f.json: no records in it"},
    {"[{" WIKI "},\n\n{" FACT ",\"target_new\":7}]", NULL,
     "f.json:3: record 2: field \"target_new\": expected a string, found a number"},
    {"[{" WIKI "},\n{\"subject\": }]", NULL, "f.json:2: record 2: column 13: "},
    {"[{" WIKI "},\n[]]", NULL, "f.json:2: record 2: expected an object, found an array"},
    {"[{" WIKI ",\"locality\":[1],\"portability\":{}}]", "wiki_recent",
     "f.json:1: record 1: field \"locality\": expected an object of groups, found an "
     "array"},
    {"[{" WIKI ",\"locality\":{\"Forgetfulness\":{}}}]", NULL,
     "field \"locality.Forgetfulness[0].prompt\" is missing"},
    {"[{" WIKI ",\"locality\":{\"Forgetfulness\":\"x\"}}]", NULL,
     "field \"locality.Forgetfulness\": expected an array, found a string"},
    {"[{" WIKI ",\"portability\":{\"Reasoning\":[\"x\"]}}]", NULL,
     "field \"portability.Reasoning[0]\": expected an object, found a string"},
    {"[{" WIKI ",\"portability\":{\"Reasoning\":[{\"prompt\":\"p\",\"ground_truth\":\"g\"},"
     "{\"prompt\":\"p\"}]}}]",
     NULL, "field \"portability.Reasoning[1].ground_truth\" is missing"},
    {"[{" WIKI
     ",\"portability\":{\"Reasoning\":[{\"prompt\":\"p\",\"ground_truth\":[[\"a\"]"
     ",[3]]}]}}]",
     NULL,
     "field \"portability.Reasoning[0].ground_truth\": expected a string, found a number"},
    {"[{" WIKI ",\"portability\":{\"Reasoning\":[{\"prompt\":\"\",\"ground_truth\":\"g\"}]}"
     "}]",
     NULL, "field \"portability.Reasoning[0].prompt\": the text is empty"},
    {"[{" WIKI ",\"locality\":{\"g\":{\"prompt\":[\"p\"],\"ground_truth\":[]}}}]", NULL,
     "field \"locality.g\": 1 prompts, but not as many answers"},
    {"[{" WIKI "}]", "wiki_counterfact", "field \"ground_truth\" is missing"},
    {"[{" CF "}]", "zsre", "field \"rephrase_prompt\" is missing"},
    {"[{" WIKI ",\"ground_truth\":[],\"locality\":{}}]", NULL,
     "field \"ground_truth\": the list is empty"},
    {"[{" WIKI ",\"ground_truth\":[[\"o\"],[]],\"locality\":{}}]", NULL,
     "field \"ground_truth\": the list is empty"},
    {"[{\"subject\":\"b\",\"prompt\":\"a is\",\"target_new\":\"t\",\"locality\":{}}]", NULL,
     "f.json:1: record 1: field \"subject\": the subject 'b' doesn't occur in the prompt"},
    {"[{\"concept\":\"b\",\"text\":\"a.\",\"labels\":\"t\"}]", NULL,
     "f.json:1: record 1: field \"concept\": the subject 'b' doesn't occur"},
    {"[{\"concept\":\"a\",\"text\":\"a.\",\"labels\":\" \"}]", NULL,
     "field \"labels\": the target is empty"},
    {"[{\"ent\":\"a\"," TALK "},\n{\"ent\":\"b\",\"pos\":[],\"neg\":[\"n\"]}]", NULL,
     "f.json:2: record 2: field \"pos\": the list is empty"},
    {"[{\"ent\":\"a\"," TALK "},{\"ent\":\"b\",\"pos\":[\"p\",\" \"],\"neg\":[\"n\"]}]",
     NULL, "field \"pos\": item 2 is empty"},
    {"[{\"ent\":\"a\"," TALK "},{\"ent\":\"b\",\"pos\":\"p\",\"neg\":[\"n\"]}]", NULL,
     "field \"pos\": expected an array, found a string"},
    {"[{" WIKI "}]", "convsent", "field \"ent\" is missing"},
    {"[3]", "convsent", "record 1: expected an object, found a number"},
    {"{\"success\":\n[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"t\"},\n"
     "{\"question\":1,\"ground_truth\":\"o\",\"target_new\":\"t\"}],\"locality\":[]}",
     NULL, "f.json:3: record 2: field \"question\": expected a string, found a number"},
    {"{\"success\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"t\"}],\n"
     "\"locality\":[{\"question\":\"q\",\"ground_truth\":\"o\"},\n{\"question\":\"q\"}]}",
     NULL, "f.json:3: record 2: field \"locality[1].ground_truth\" is missing"},
    {"{\"success\":[{\"question\":\"q?\",\"ground_truth\":\"o\",\"target_new\":\"\"}],"
     "\"locality\":[]}",
     NULL, "field \"target_new\": the text is empty"},
    {"{\"success\":[],\"locality\":[]}", NULL, "f.json: no records in it"},
    {"{\"success\":[]}", NULL, "expected an object with an array \"locality\" or \"K_R\""},
    {"[{" WIKI "}]", "sanitation",
     "expected an object with an array \"success\" or \"K_F\""},
    {"{\"success\":[],\"locality\":[]}\n{}", NULL,
     "f.json:2: record 2: expected the end of the file after one object"},
    {"[{\"requested_rewrite\":{\"subject\":\"a\",\"prompt\":\"{} "
     "is\",\"target_new\":\"t\"},"
     "\"paraphrase_prompts\":[\"r\"],\"neighborhood_prompts\":[\"n\"]}]",
     NULL, "field \"target_true\" is missing or empty"},
    {"[{\"case_id\":1," CF ",\"locality_prompt\":\"n\"}]", NULL,
     "field \"paraphrase_prompts\" is missing or empty"},
    {"[{\"requested_rewrite\":{\"subject\":\"a\",\"prompt\":\"{} is\",\"target_new\":\"t\","
     "\"target_true\":\"o\"},\"paraphrase_prompts\":[\"r\"],\"neighborhood_prompts\":[]}]",
     NULL, "field \"neighborhood_prompts\": the list is empty"},
};

static void says_where_and_what_is_wrong(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        ke__cases cases;
        print_message("fault %zu\n", i);
        ke_status st = parse(cx, &cases, faults[i].text,
                             &(ke__cases_opts){.set = faults[i].set, .retain_all = true});
        assert_int_equal(KE_EFORMAT, st);
        if (!strstr(ke_ctx_message(cx), faults[i].says))
            fail_msg("expected \"%s\" in \"%s\"", faults[i].says, ke_ctx_message(cx));
        assert_null(cases.items);
        assert_int_equal(0, o.n_live);
    }
    ke_ctx_free(cx);
}

/* Record 2 of 4 is bad, and the one that ConvSent looks at from record 1. */
static void bad_records_are_left_out_and_counted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[{" WIKI "},\n{" FACT ",\"target_new\":7},\n{" WIKI "},\n{" WIKI "}]",
        "[{\"ent\":\"a\"," TALK "},\n{\"ent\":\"b\"},\n{\"ent\":\"c\"," TALK "},\n{\"ent\":"
        "\"d\"," TALK "}]",
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < 2; i++) {
        ke__cases cases;
        assert_int_equal(KE_OK,
                         parse(cx, &cases, texts[i], &(ke__cases_opts){.skip_bad = true}));
        assert_int_equal(3, cases.n);
        assert_int_equal(0, cases.items[0].index);
        assert_int_equal(2, cases.items[1].index);
        assert_int_equal(3, cases.items[2].index);
        assert_int_equal(1, cases.n_bad);
        assert_int_equal(1, cases.bad[0].index);
        assert_non_null(strstr(cases.bad[0].message, "f.json:2: record 2: field "));
        if (i == 1)
            assert_non_null(strstr(cases.items[0].other_question, " c?"));
        ke__cases_free(cx, &cases);
        /* a text that is no JSON has no records to skip */
        assert_int_equal(KE_EFORMAT,
                         parse(cx, &cases, "[{},", &(ke__cases_opts){.skip_bad = true}));
    }
    ke_ctx_free(cx);
}

static void a_limit_reads_no_further(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    const char *text = "[{" WIKI "},{" WIKI "},{" WIKI "},{\"subject\":7},broken";
    assert_int_equal(KE_OK, parse(cx, &cases, text, &(ke__cases_opts){.limit = 2}));
    assert_int_equal(2, cases.n);
    ke__cases_free(cx, &cases);
    assert_int_equal(KE_OK, parse(cx, &cases, text, &(ke__cases_opts){.limit = 3}));
    assert_int_equal(3, cases.n);
    ke__cases_free(cx, &cases);
    assert_int_equal(KE_EFORMAT, parse(cx, &cases, text, &(ke__cases_opts){.limit = 4}));
    ke_ctx_free(cx);
}

/* --- files ------------------------------------------------------------------------ */

static void files_are_read_in_order(void **state)
{
    static const char first[] = "[{" WIKI "},{" WIKI "}]", second[] = "abc";
    static const char lines[] = "{" WIKI "}\n{" WIKI "}\n{" WIKI "}\n";
    const char *files[2] = {scratch_path(state, "a.json"), scratch_path(state, "b.jsonl")};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    scratch_write(files[0], first, strlen(first));
    scratch_write(files[1], lines, strlen(lines));
    assert_int_equal(KE_OK, ke__cases_load(cx, &cases, files, 2, &(ke__cases_opts){0}));
    assert_int_equal(5, cases.n);
    assert_int_equal(2, cases.n_files);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(i >= 2, cases.items[i].file);
        assert_int_equal(i >= 2 ? i - 2 : i, cases.items[i].index);
    }
    ke__cases_free(cx, &cases);

    scratch_write(files[1], second, strlen(second));
    assert_int_equal(KE_EFORMAT,
                     ke__cases_load(cx, &cases, files, 2, &(ke__cases_opts){0}));
    assert_non_null(strstr(ke_ctx_message(cx), "b.jsonl:1: record 1: column "));
    files[1] = scratch_path(state, "none");
    assert_int_equal(KE_EIO, ke__cases_load(cx, &cases, files, 2, &(ke__cases_opts){0}));
    ke_ctx_free(cx);
}

static void the_hash_is_the_files(void **state)
{
    /* by sha256sum */
    static const char text[] = "{" FACT ",\"target\":\"t\"}";
    const char *file = scratch_path(state, "c.json");
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    scratch_write(file, text, strlen(text));
    assert_int_equal(KE_OK, ke__cases_load(cx, &cases, &file, 1, &(ke__cases_opts){0}));
    assert_string_equal("79cfbe366b5f1eea1a4a979d9850e71c696a62a1b3ee502b423f3636d877bdbf",
                        cases.sha256[0]);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

static ke_status load_one(ke_ctx *cx, void *payload)
{
    const char *file = payload;
    ke__cases cases;
    ke_status st = ke__cases_load(cx, &cases, &file, 1,
                                  &(ke__cases_opts){.skip_bad = true, .limit = 1});
    ke__cases_free(cx, &cases);
    return st;
}

static ke_status parse_bad(ke_ctx *cx, void *payload)
{
    ke__cases cases;
    ke_status st = parse(cx, &cases, payload, &(ke__cases_opts){.skip_bad = true});
    ke__cases_free(cx, &cases);
    return st;
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(load_one, (void *)(uintptr_t) "tests/data/knowedit/zsre.json");
    oom_each(load_one, (void *)(uintptr_t) "tests/data/knowedit/sanitation.json");
    oom_each(load_one, (void *)(uintptr_t) "tests/data/knowedit/counterfact.json");
    oom_each(load_one, (void *)(uintptr_t) "tests/data/knowedit/convsent.json");
    oom_each(parse_bad, (void *)(uintptr_t) "[{" FACT ",\"target\":\"t\",\"neighbours\":[{"
                                            "\"prompt\":\"n\",\"answer\":\"k\"}]},{}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_is_seen_from_the_content),
        cmocka_unit_test(the_set_may_be_named),
        cmocka_unit_test(answers_may_be_lists_in_every_set),
        cmocka_unit_test(old_answers_keep_all_names),
        cmocka_unit_test(own_facts_have_parts),
        cmocka_unit_test(says_where_and_what_is_wrong),
        cmocka_unit_test(bad_records_are_left_out_and_counted),
        cmocka_unit_test(a_limit_reads_no_further),
        cmocka_unit_test_setup_teardown(files_are_read_in_order, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(the_hash_is_the_files, scratch_make,
                                        scratch_remove),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
