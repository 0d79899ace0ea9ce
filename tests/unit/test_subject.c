/* Subjects that facts don't name. What is expected is what a reader would name. */
#include "eval/facts.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct told {
    const char *prompt, *others[4], *names[4];
    const char *subject, *from;
} told[] = {
    {"The Eiffel Tower is in the city of",
     {"Where is the Eiffel Tower?"},
     {NULL},
     "Eiffel Tower",
     "prompts"},
    /* a longer span that is no name, and a genitive */
    {"The capital of Australia is the city of",
     {"Australia's capital is the city of"},
     {NULL},
     "Australia",
     "prompts"},
    /* lower case inside a name, digits, a hyphen */
    {"The University of Oxford lies in",
     {"Who led the University of Oxford then?"},
     {NULL},
     "University of Oxford",
     "prompts"},
    {"The sequel of 2001 is", {"Who wrote 2001?"}, {NULL}, "2001", "prompts"},
    {"The job of Son Ye-jin is",
     {"Where was Son Ye-jin born?"},
     {NULL},
     "Son Ye-jin",
     "prompts"},
    /* whole words only: Rome is no part of Romeo */
    {"Romeo and Rome are in", {"Is Rome old?"}, {NULL}, "Rome", "prompts"},
    /* a first word: the longest that is shared, or a capital elsewhere too */
    {"Paris is in", {"Paris, where?"}, {NULL}, "Paris", "prompts"},
    {"Mali belongs to the continent of",
     {"It belongs to the continent of", "He left Mali"},
     {NULL},
     "Mali",
     "prompts"},
    /* of several texts the longest span of any */
    {"The wife of Hans Castorp is",
     {"Hans went up", "Who met Hans Castorp?"},
     {NULL},
     "Hans Castorp",
     "prompts"},
    /* scripts without capitals */
    {"\xd8\xaa\xd9\x82\xd8\xb9 \xd9\x85\xd8\xb5\xd8\xb1 \xd9\x81\xd9\x8a",
     {"\xd8\xb9\xd8\xa7\xd8\xb5\xd9\x85\xd8\xa9 \xd9\x85\xd8\xb5\xd8\xb1"},
     {NULL},
     "\xd9\x85\xd8\xb5\xd8\xb1",
     "prompts"},
    /* given names come first; the longest counts, as whole words, in any case */
    {"the big ben of London is",
     {"London?"},
     {"ben", "big ben", "big bend"},
     "big ben",
     "names"},
    {"The Louvre is in", {"Is the Louvre open?"}, {"Louv", "Ely"}, "Louvre", "prompts"},
    /* nothing tells: what is proposed */
    {"The capital of Australia is", {NULL}, {NULL}, NULL, "perhaps \"Australia\""},
    {"snow is", {"what is snow"}, {NULL}, NULL, "perhaps \"snow\" or \"is\""},
    {"which is older, Rome or Pisa?",
     {"Rome, Pisa"},
     {NULL},
     NULL,
     "perhaps \"Rome\" or \"Pisa\""},
    {"...", {"..."}, {NULL}, NULL, "share no one name with it: expected"},
    {"", {""}, {NULL}, NULL, "expected a part of the prompt"},
    {"a \xff b", {"\xff b"}, {NULL}, NULL, "perhaps \"b\""},
};

static size_t count(const char *const *list)
{
    size_t n = 0;
    while (n < 4 && list[n])
        n++;
    return n;
}

static ke_status find(ke_ctx *cx, char **out, const char **from, const struct told *t)
{
    const ke_fact fact = {
        .prompt = t->prompt, .paraphrases = t->others, .n_paraphrases = count(t->others)};
    const ke_subject_opts how = {.names = t->names, .n_names = count(t->names)};
    return ke_subject_find(cx, out, from, &fact, &how);
}

static void subjects_are_told_or_asked_for(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, -1);
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        const struct told *t = &told[i];
        char *subject = NULL;
        const char *from = NULL;
        print_message("%s\n", t->prompt);
        ke_status st = find(cx, &subject, &from, t);
        assert_int_equal(t->subject ? KE_OK : KE_EINVAL, st);
        if (t->subject) {
            assert_string_equal(t->subject, subject);
            assert_string_equal(t->from, from);
        } else {
            assert_null(subject);
            if (!strstr(ke_ctx_message(cx), t->from))
                fail_msg("expected '%s' in '%s'", t->from, ke_ctx_message(cx));
        }
        ke_free(cx, subject);
        assert_int_equal(0, o.n_live);
    }
    ke_ctx_free(cx);
}

static ke_status find_first(ke_ctx *cx, void *payload)
{
    char *subject = NULL;
    const char *from;
    ke_status st = find(cx, &subject, &from, payload);
    ke_free(cx, subject);
    return st;
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(find_first, (void *)(uintptr_t)&told[0]);
}

static const char *answer(const char *prompt, const char *const *candidates, size_t n,
                          void *payload)
{
    assert_string_equal("The capital of Australia is", prompt);
    assert_int_equal(1, n);
    assert_string_equal("Australia", candidates[0]);
    return payload;
}

static void who_is_asked_may_answer(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    const ke_fact fact = {.prompt = "The capital of Australia is"};
    ke_subject_opts how = {.ask = answer, .payload = "capital"};
    char *subject = NULL;
    const char *from;
    assert_int_equal(KE_OK, ke_subject_find(cx, &subject, &from, &fact, &how));
    assert_string_equal("capital", subject);
    assert_string_equal("answer", from);
    ke_free(cx, subject);
    how.payload = NULL;
    assert_int_equal(KE_EINVAL, ke_subject_find(cx, &subject, &from, &fact, &how));
    ke_ctx_free(cx);
}

/* In each form of a file; portability counts, whatever else is in it. */
static void records_without_a_subject_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[{\"prompt\":\"The Louvre is in\",\"target_new\":\"Rome\",\"portability\":{\"R\":["
        "{\"prompt\":\"Who built the Louvre?\",\"ground_truth\":[[3]]}],\"x\":7}}]",
        "\n{\"prompt\":\"The Louvre is in\",\"target\":\"Rome\",\"locality\":{\"R\":["
        "{\"prompt\":\"The age of Louvre is\",\"ground_truth\":[]}]}}",
        "prompt,target,rephrase,subject\n\"The Louvre is in\",Rome,Is the Louvre there?,\n",
    };
    static const char *const places[] = {"f:1", "f:2", "f:2"};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_facts facts;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            KE_OK, ke__facts_parse(cx, &facts, "f", texts[i], strlen(texts[i]), NULL));
        assert_string_equal("Louvre", facts.items[0].subject);
        assert_string_equal("prompts", facts.items[0].subject_from);
        assert_string_equal(places[i], facts.items[0].place);
        ke_facts_free(cx, &facts);
    }
    static const char asked[] = "prompt,target\nThe Louvre is in,Rome\n";
    assert_int_equal(KE_EINVAL,
                     ke__facts_parse(cx, &facts, "f.csv", asked, strlen(asked), NULL));
    assert_non_null(strstr(ke_ctx_message(cx), "f.csv:2: record 1: field \"subject\": no "
                                               "subject is given"));
    assert_non_null(strstr(ke_ctx_message(cx), "perhaps \"The Louvre\""));
    const char *const names[] = {"Louvre"};
    const ke_subject_opts how = {.names = names, .n_names = 1};
    assert_int_equal(KE_OK,
                     ke__facts_parse(cx, &facts, "f.csv", asked, strlen(asked), &how));
    assert_string_equal("names", facts.items[0].subject_from);
    ke_facts_free(cx, &facts);
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects_are_told_or_asked_for),
        cmocka_unit_test(survives_every_allocation_failure),
        cmocka_unit_test(who_is_asked_may_answer),
        cmocka_unit_test(records_without_a_subject_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
