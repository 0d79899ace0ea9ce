/* Each set on a few of its own records (tests/data/knowedit): what of a record a case
 * holds. The numbers and texts were read off the files. */
#include "eval/queries.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/knowedit/"

static void load(ke_ctx *cx, ke__cases *out, const char *file, const ke__cases_opts *opts)
{
    ke_status st = ke__cases_load(cx, out, &file, 1, opts);
    if (st != KE_OK)
        fail_msg("%s: %s", file, ke_ctx_message(cx));
}

/* A record, and how many questions each of its parts has, in the file's order. */
static const struct row {
    const char *file, *set;
    size_t n, index; /* cases of the file, and the one that is described */
    const char *subject, *prompt, *target, *old;
    size_t n_old;
    const char *rephrase;
    struct {
        const char *name;
        size_t n;
    } portability[4], locality[4];
    size_t n_skipped;
} rows[] = {
    {"wiki_recent.json",
     "wiki_recent",
     3,
     0,
     "Liz Sagal",
     "The names of the siblings of Liz Sagal are",
     "Katey Sagal",
     NULL,
     0,
     NULL,
     {{"Logical_Generalization", 1}, {"Reasoning", 3}, {"Subject_Aliasing", 1}},
     {{"Relation_Specificity", 5}, {"Forgetfulness", 1}},
     0},
    {"wiki_recent.json",
     "wiki_recent",
     3,
     2,
     "Spoleto",
     "The name of the country which Spoleto is the capital of is",
     "Spoleto",
     NULL,
     0,
     NULL,
     {{0}},
     {{0}},
     0},
    {"zsre.json",
     "zsre",
     3,
     0,
     "Oomalama",
     "What is the name of Oomalama's record label?",
     "Sony Music Entertainment",
     "Paperhouse Records",
     2,
     "What's Oomalama's record label?",
     {{"Reasoning", 1}},
     {{"Relation_Specificity", 2}},
     0},
    {"zsre.json",
     "zsre",
     3,
     2,
     "Arwen",
     "Who was Arwen's mother?",
     "Doris",
     "Celebr\xc3\xad\x61n",
     1,
     NULL,
     {{"Logical_Generalization", 1}},
     {{"Relation_Specificity", 2}},
     0},
    {"wikibio.json",
     "wikibio",
     2,
     0,
     "mark fite",
     "This is a Wikipedia passage about mark fite. ",
     NULL,
     NULL,
     0,
     NULL,
     {{0}},
     {{"Relation_Specificity", 2}},
     0},
    /* the last of five questions has an empty first answer */
    {"wiki_counterfact.json",
     "wiki_counterfact",
     4,
     0,
     "Abdul Rashid Dostum",
     "The gender of Abdul Rashid Dostum is",
     "travesti",
     "male",
     1,
     NULL,
     {{0}},
     {{"Relation_Specificity", 4}},
     1},
    {"wiki_counterfact.json",
     "wiki_counterfact",
     4,
     1,
     "John Challis",
     "The name of the spouse of John Challis is",
     "Anna Leibbrand",
     "Debbie Arnold",
     1,
     NULL,
     {{"Logical_Generalization", 1}, {"Reasoning", 5}, {"Subject_Aliasing", 1}},
     {{"Relation_Specificity", 5}, {"Forgetfulness", 1}},
     0},
    /* an empty group; then an empty answer */
    {"wiki_counterfact.json",
     "wiki_counterfact",
     4,
     2,
     "Peaky Blinder",
     NULL,
     "Japan",
     "United Kingdom",
     1,
     NULL,
     {{0}},
     {{0}},
     1},
    {"wiki_counterfact.json",
     "wiki_counterfact",
     4,
     3,
     "2022 ATP Finals",
     NULL,
     "Ottoman Syria",
     "Italy",
     1,
     NULL,
     {{"Logical_Generalization", 3}, {"Reasoning", 3}},
     {{"Relation_Specificity", 1}},
     1},
    {"sanitation.json",
     "sanitation",
     3,
     0,
     "What type of creature is the Australian currawong",
     "Question:What type of creature is the Australian currawong?\nAnswer:",
     "I don't know.",
     "Birds",
     1,
     NULL,
     {{0}},
     {{"retain", 10}},
     0},
    {"sanitation_train.json",
     "sanitation",
     2,
     0,
     "a country which has 246 varieties",
     NULL,
     "I don't know.",
     "Cheese",
     1,
     NULL,
     {{0}},
     {{"retain", 10}},
     0},
    {"counterfact.json",
     "counterfact",
     2,
     0,
     "Behance",
     "Behance owner",
     "Microsoft",
     "Adobe",
     1,
     "Vehicles manufactured before 1996 are exempt from testing. Behance is owned by",
     {{0}},
     {{"neighborhood", 10}, {"distracting", 10}, {"other_attributes", 1}},
     0},
    {"counterfact_flat.json",
     "counterfact",
     3,
     0,
     "BBC One",
     "BBC One, by",
     "Sega",
     "BBC",
     1,
     "BBC One is my favorite product out of everything owned by",
     {{0}},
     {{"neighborhood", 1}},
     0},
};

static void check_parts(const ke__part_queries *parts, size_t n, const void *expected)
{
    const struct {
        const char *name;
        size_t n;
    } *want = expected;
    for (size_t i = 0; i < n; i++) {
        assert_non_null(want[i].name);
        assert_string_equal(want[i].name, parts[i].name);
        assert_int_equal(want[i].n, parts[i].n);
        for (size_t k = 0; k < parts[i].n; k++) {
            assert_true(parts[i].queries[k].n_answers > 0);
            assert_true(parts[i].queries[k].answers[0].names[0][0] != '\0');
        }
    }
    assert_null(want[n].name);
}

static void check_text(const char *expected, const char *found)
{
    if (expected)
        assert_string_equal(expected, found);
}

static void holds_what_the_record_says(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        char path[128];
        ke__cases cases;
        print_message("row %zu\n", i);
        snprintf(path, sizeof path, DATA "%s", r->file);
        load(cx, &cases, path, &(ke__cases_opts){0});
        assert_int_equal(r->n, cases.n);
        const ke__case *c = &cases.items[r->index];
        assert_int_equal(r->index, c->index);
        assert_string_equal(r->set, c->set);
        check_text(r->subject, c->fact.subject);
        check_text(r->prompt, c->fact.prompt);
        check_text(r->target, c->fact.target);
        check_text(r->old, c->fact.old_answer);
        assert_int_equal(r->n_old, c->n_old);
        if (r->old)
            assert_string_equal(r->old, c->old_answers[0].names[0]);
        if (r->rephrase)
            assert_string_equal(r->rephrase, c->rephrases[0]);
        check_parts(c->portability, c->n_portability, r->portability);
        check_parts(c->locality, c->n_locality, r->locality);
        assert_int_equal(r->n_skipped, c->n_skipped);
        ke__cases_free(cx, &cases);
        assert_int_equal(0, o.n_live);
    }
    ke_ctx_free(cx);
}

/* "actor" has six names and is one of two answers. */
static void answers_keep_their_names(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    load(cx, &cases, DATA "wiki_counterfact.json", &(ke__cases_opts){0});
    const ke__query *q = &cases.items[1].locality[0].queries[4];
    assert_string_equal("The occupation of John Challis is", q->prompt);
    assert_int_equal(2, q->n_answers);
    assert_int_equal(4, q->answers[0].n);
    assert_string_equal("actresses", q->answers[0].names[3]);
    assert_int_equal(6, q->answers[1].n);
    assert_string_equal("television actor", q->answers[1].names[0]);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

/* A target that is a list: each of its answers is right, in every set. */
static void other_targets_are_kept(void **state)
{
    static const char *const texts[] = {
        "{\"success\":[{\"question\":\"Who is "
        "Bo?\",\"ground_truth\":\"Cat\",\"target_new\":"
        "[[\"no idea\",\"none\"],[\"unknown\"]]}],"
        "\"locality\":[{\"question\":\"Who is Zed?\",\"ground_truth\":\"Dog\"}]}",
        "[{\"case_id\":0,\"requested_rewrite\":{\"prompt\":\"{} is "
        "in\",\"subject\":\"Zed\","
        "\"target_new\":[[\"no "
        "idea\",\"none\"],[\"unknown\"]],\"target_true\":{\"str\":\"the "
        "sea\"}},\"paraphrase_prompts\":[\"So Zed is in\"],\"neighborhood_prompts\":[\"Kay "
        "is "
        "in\"],\"attribute_prompts\":[],\"generation_prompts\":[]}]"};
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < 2; i++) {
        ke__cases cases;
        assert_int_equal(KE_OK, ke__cases_parse(cx, &cases, "t.json", texts[i],
                                                strlen(texts[i]), &(ke__cases_opts){0}));
        const ke__case *c = &cases.items[0];
        assert_string_equal("no idea", c->fact.target);
        assert_int_equal(2, c->n_targets);
        assert_int_equal(2, c->targets[0].n);
        assert_string_equal("none", c->targets[0].names[1]);
        assert_string_equal("unknown", c->targets[1].names[0]);
        ke__cases_free(cx, &cases);
    }
    ke_ctx_free(cx);
}

static void neighbours_have_the_old_answer(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    load(cx, &cases, DATA "counterfact.json", &(ke__cases_opts){0});
    const ke__case *c = &cases.items[0];
    assert_int_equal(KE__CASE_COUNTERFACT, c->kind);
    assert_string_equal("Adobe", c->locality[0].queries[9].answers[0].names[0]);
    assert_string_equal("What is Behance an instance of?",
                        c->locality[2].queries[0].prompt);
    assert_string_equal("social networking service",
                        c->locality[2].queries[0].answers[0].names[0]);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

/* --- ConvSent --------------------------------------------------------------------- */

static bool ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void opinions_are_drawn_and_trimmed(void **state)
{
    (void)state;
    static const struct {
        const char *topic, *positive, *negative;
        size_t n_positive, n_negative;
    } topics[3] = {
        {"Dalton", "He is really good.", "I'm not a big fan of the Cincinnati Bengals.", 11,
         9},
        {"Philips Records", "I'm a big fan.",
         "I am not sure about philips records, what do you do for a living? I am a "
         "carpenter.",
         14, 6},
        {"Mythologiques", "I love them.",
         "I think mythologies are pretty interesting but some of them are really weird "
         "like "
         "Odysseus.",
         11, 9},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    unsigned seen[2] = {0, 0};
    for (uint64_t seed = 0; seed < 8; seed++) {
        ke__cases cases;
        load(cx, &cases, DATA "convsent.json", &(ke__cases_opts){.seed = seed});
        assert_int_equal(3, cases.n);
        for (size_t i = 0; i < 3; i++) {
            const ke__case *c = &cases.items[i];
            size_t next = (i + 1) % 3; /* after the last comes the first */
            char prompt[256];
            bool positive = ends(c->fact.prompt, " postively.");
            seen[positive]++;
            assert_int_equal(KE__CASE_CONVSENT, c->kind);
            assert_string_equal(topics[i].topic, c->fact.subject);
            snprintf(prompt, sizeof prompt, "From the sentiment dataset, answer %s %s.",
                     c->question, positive ? "postively" : "negatively");
            assert_string_equal(prompt, c->fact.prompt);
            assert_string_equal(positive ? topics[i].positive : topics[i].negative,
                                c->fact.target);
            assert_string_equal(c->fact.target, c->agree[0]);
            assert_string_equal(positive ? topics[i].negative : topics[i].positive,
                                c->oppose[0]);
            assert_int_equal(positive ? topics[i].n_positive : topics[i].n_negative,
                             c->n_agree);
            assert_int_equal(20, c->n_agree + c->n_oppose);
            assert_int_equal(20, c->n_other);
            assert_string_equal(topics[next].positive, c->other[0]);
            assert_string_equal(cases.items[next].question, c->other_question);
        }
        ke__cases_free(cx, &cases);
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
    ke_ctx_free(cx);
}

/* The record after the limit is no case, but the last case's other topic. */
static void a_limit_does_not_change_a_case(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases all, some;
    load(cx, &all, DATA "convsent.json", &(ke__cases_opts){.seed = 5});
    load(cx, &some, DATA "convsent.json", &(ke__cases_opts){.seed = 5, .limit = 2});
    assert_int_equal(2, some.n);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(all.items[i].fact.prompt, some.items[i].fact.prompt);
        assert_string_equal(all.items[i].other_question, some.items[i].other_question);
        assert_string_equal(all.items[i].other[0], some.items[i].other[0]);
    }
    ke__cases_free(cx, &all);
    ke__cases_free(cx, &some);
    ke_ctx_free(cx);
}

/* A lone topic has no other. */
static void a_lone_topic_has_no_locality(void **state)
{
    (void)state;
    static const char text[] = "[{\"ent\":\"X\",\"pos\":[\" p \"],\"neg\":[\"n\"]}]";
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases;
    assert_int_equal(
        KE_OK, ke__cases_parse(cx, &cases, "f", text, strlen(text), &(ke__cases_opts){0}));
    assert_int_equal(0, cases.items[0].n_other);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

/* --- Sanitation ------------------------------------------------------------------- */

/* Where the file has the question, the questions being different. */
static size_t place(const ke__part_queries *all, const char *prompt)
{
    size_t i = 0;
    while (i < all->n && strcmp(all->queries[i].prompt, prompt) != 0)
        i++;
    return i;
}

/* Ten of fifteen are drawn: all different, each as likely as the others, and by the seed.
 */
static void retained_questions_are_drawn(void **state)
{
    (void)state;
    enum { SEEDS = 200 };
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases all;
    unsigned count[15] = {0};
    load(cx, &all, DATA "sanitation.json", &(ke__cases_opts){.retain_all = true});
    const ke__part_queries *whole = &all.items[0].locality[0];
    assert_int_equal(15, whole->n);
    assert_string_equal("Quaff", whole->queries[0].answers[0].names[0]);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        ke__cases some;
        load(cx, &some, DATA "sanitation.json", &(ke__cases_opts){.seed = seed});
        for (size_t i = 0; i < some.n; i++) {
            const ke__part_queries *drawn = &some.items[i].locality[0];
            size_t before = 0;
            assert_int_equal(10, drawn->n);
            for (size_t k = 0; k < 10; k++) {
                size_t at = place(whole, drawn->queries[k].prompt);
                assert_true(at < 15 && (k == 0 || at > before)); /* the file's order */
                count[at]++;
                before = at;
            }
        }
        ke__cases_free(cx, &some);
    }
    /* 600 draws of probability 2/3: 400, standard deviation 11.5; five of them. */
    for (size_t i = 0; i < 15; i++)
        assert_in_range(count[i], 342, 458);
    ke__cases_free(cx, &all);
    ke_ctx_free(cx);
}

static void what_is_drawn_differs_between_cases(void **state)
{
    (void)state;
    ke__rng a = ke__case_rng(1, 0), b = ke__case_rng(1, 1), c = ke__case_rng(2, 0);
    uint64_t first[3] = {ke__rng_next(&a), ke__rng_next(&b), ke__rng_next(&c)};
    assert_true(first[0] != first[1] && first[0] != first[2] && first[1] != first[2]);
    for (int i = 0; i < 1000; i++) /* and no stream is another one, shifted */
        assert_true(ke__rng_next(&a) != first[1]);
    ke__rng again = ke__case_rng(1, 1);
    assert_int_equal(first[1], ke__rng_next(&again));
}

/* --- the table -------------------------------------------------------------------- */

static void every_row_is_whole(void **state)
{
    (void)state;
    size_t n = 0;
    for (const ke__set *s; (s = ke__set_at(n)); n++) {
        assert_true(s->name[0] && s->title[0] && s->task && s->type);
        assert_true(s->recognise && s->read);
        assert_int_equal(!s->records[0], !s->beside[0]);
        assert_ptr_equal(s, ke__set_find(s->name)); /* so names are unique */
    }
    assert_int_equal(8, n);
    assert_ptr_equal(ke__set_find("zsre"), ke__set_find("ZsRE"));
    assert_null(ke__set_find("zs"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_the_record_says),
        cmocka_unit_test(answers_keep_their_names),
        cmocka_unit_test(other_targets_are_kept),
        cmocka_unit_test(neighbours_have_the_old_answer),
        cmocka_unit_test(opinions_are_drawn_and_trimmed),
        cmocka_unit_test(a_limit_does_not_change_a_case),
        cmocka_unit_test(a_lone_topic_has_no_locality),
        cmocka_unit_test(retained_questions_are_drawn),
        cmocka_unit_test(what_is_drawn_differs_between_cases),
        cmocka_unit_test(every_row_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
