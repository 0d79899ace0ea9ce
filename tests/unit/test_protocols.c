/* The protocols on replies written by hand, and what was said before an edit as the run's
 * file keeps it. */
#include "study/bench.h"
#include "support/close.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* --- protocols on replies written by hand --- */

static double judged(const ke__protocol *p, const ke__trial *t, size_t i)
{
    double out = -1;
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(p->score(cx, &out, t, i), KE_OK);
    ke_ctx_free(cx);
    return out;
}

static void easyedit_counts_tokens(void **state)
{
    (void)state;
    int32_t labels[] = {5, 9, 2}, best[] = {5, 9, 7}, pre[] = {29, 234, 334},
            post[] = {29, 234, 333}, longer[] = {1, 29, 234, 334};
    const ke__item items[] = {
        {.kind = KE__SUCCESS, .prompt = "p", .expected = "a"},
        {.kind = KE__LOCALITY, .part = "x", .prompt = "q", .expected = "b"}};
    ke__reply b[2] = {{0}, {.ids = pre, .n = 3}};
    ke__reply a[2] = {{.ids = best, .labels = labels, .n = 3}, {.ids = post, .n = 3}};
    const ke__said before = {.n_items = 2, .replies[KE__FORCED] = b};
    const ke__said after = {.n_items = 2, .replies[KE__FORCED] = a};
    const ke__case c = {.set = "zsre", .kind = KE__CASE_FACT};
    const ke__trial t = {&c, items, 2, &before, &after};
    assert_close(2.0 / 3.0, judged(&ke__protocol_easyedit, &t, 0), 1e-12);
    assert_close(2.0 / 3.0, judged(&ke__protocol_easyedit, &t, 1), 1e-12);
    b[1] = (ke__reply){.ids = longer, .n = 4}; /* compared from the end */
    assert_close(2.0 / 3.0, judged(&ke__protocol_easyedit, &t, 1), 1e-12);
    a[0].n = 0;
    assert_true(isnan(judged(&ke__protocol_easyedit, &t, 0)));
}

/* Methods 5.10: [5,6,7,8] that becomes [5,6,9] keeps half; letters count in any case. */
static void easyedit_reads_erasure_in_what_is_generated(void **state)
{
    (void)state;
    int32_t four[] = {5, 6, 7, 8}, three[] = {5, 6, 9};
    const ke__item items[] = {
        {.kind = KE__SUCCESS, .prompt = "Who?", .expected = "I don't know."},
        {.kind = KE__LOCALITY, .part = "retain", .prompt = "q", .expected = "b"}};
    ke__reply b[2] = {{.text = (char[]){""}}, {.ids = four, .n = 4}};
    ke__reply a[2] = {{.text = (char[]){" Well, I DON'T KNOW. So"}},
                      {.ids = three, .n = 3}};
    const ke__said before = {.n_items = 2, .replies[KE__SHORT] = b};
    const ke__said after = {.n_items = 2, .replies[KE__SHORT] = a};
    const ke__case c = {.set = "sanitation", .kind = KE__CASE_SANITATION};
    const ke__trial t = {&c, items, 2, &before, &after, 0};
    const ke__protocol *p = &ke__protocol_easyedit;
    assert_close(1, judged(p, &t, 0), 0);
    assert_close(0.5, judged(p, &t, 1), 0);
    a[0].text = (char[]){" I do know."};
    assert_close(0, judged(p, &t, 0), 0);
    b[1].n = 0; /* it said nothing before */
    assert_close(0, judged(p, &t, 1), 0);
    a[1].n = 0;
    assert_close(1, judged(p, &t, 1), 0);
}

static void real_reads_texts(void **state)
{
    (void)state;
    const char *const names[] = {"United States", "USA"}, *const old[] = {"York"};
    const ke__names answers[] = {{names, 2}}, olds[] = {{old, 1}};
    const ke__item items[] = {
        {.kind = KE__SUCCESS, .prompt = "p", .expected = "Leeds"},
        {.kind = KE__PORTABILITY,
         .part = "x",
         .prompt = "q",
         .expected = "United States",
         .answers = answers,
         .n_answers = 1},
        {.kind = KE__LOCALITY, .part = "y", .prompt = "r", .expected = "z"}};
    ke__reply b[3] = {{0}, {0}, {.text = (char[]){"same"}}};
    ke__reply a[3] = {{.text = (char[]){" It is Leeds, of course."}},
                      {.text = (char[]){"in the USA"}},
                      {.text = (char[]){"same"}}};
    const ke__said before = {.n_items = 3, .replies[KE__LONG] = b};
    const ke__said after = {.n_items = 3, .replies[KE__LONG] = a};
    ke__case c = {.set = "zsre",
                  .kind = KE__CASE_FACT,
                  .old_answers = olds,
                  .n_old = 1,
                  .fact = {.target = "Leeds"}};
    const ke__trial t = {&c, items, 3, &before, &after};
    const ke__protocol *p = &ke__protocol_real;
    assert_close(1, judged(p, &t, 0), 0);
    assert_close(1, judged(p, &t, 1), 0);
    assert_close(1, judged(p, &t, 2), 0);
    a[0].text = (char[]){"Leeds, or York"}; /* both the new and the old */
    assert_close(0, judged(p, &t, 0), 0);
    a[1].text = (char[]){"USA, not York"}; /* what was true may be named elsewhere */
    assert_close(1, judged(p, &t, 1), 0);
    a[0].text = (char[]){"Leedsworth"}; /* no whole word */
    assert_close(0, judged(p, &t, 0), 0);
    a[2].text = (char[]){"same."};
    assert_close(0, judged(p, &t, 2), 0);
    c.fact.target = "New York"; /* can't be said without the old name */
    const ke__item york[] = {{.kind = KE__SUCCESS, .prompt = "p", .expected = "New York"}};
    const ke__trial u = {&c, york, 1, &before, &after};
    a[0].text = (char[]){"New York"};
    assert_close(1, judged(p, &u, 0), 0);
}

/* A target that is a list is stated by any of its names. */
static void any_listed_target_counts(void **state)
{
    (void)state;
    static const char text[] =
        "[{\"subject\": \"Rome\", \"prompt\": \"Rome is in\", \"target_new\": [[\"Italy\", "
        "\"Italia\"], \"Lazio\"], \"ground_truth\": [\"Spain\"], \"rephrase_prompt\": "
        "\"Where is "
        "Rome? In\"}]";
    static const char *const says[] = {" Italia.", " Lazio", " Italy", " Spain"};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__cases cases = {0};
    ke__item *items = NULL;
    size_t n = 0;
    ke__reply replies[2] = {{0}};
    const ke__said said = {.n_items = 2, .replies[KE__LONG] = replies};
    assert_int_equal(KE_OK, ke__cases_parse(cx, &cases, "f", text, strlen(text),
                                            &(ke__cases_opts){.set = "zsre"}));
    assert_string_equal("Italy", cases.items[0].fact.target);
    assert_int_equal(KE_OK, ke__items_make(cx, &items, &n, &cases.items[0]));
    assert_int_equal(2, n);
    const ke__trial t = {&cases.items[0], items, n, &said, &said};
    for (size_t i = 0; i < 4; i++) {
        replies[0].text = replies[1].text = (char *)(uintptr_t)says[i];
        assert_close(i < 3, judged(&ke__protocol_real, &t, 0), 0);
        assert_close(i < 3, judged(&ke__protocol_real, &t, 1), 0);
    }
    ke__free(cx, items);
    ke__cases_free(cx, &cases);
    ke_ctx_free(cx);
}

static void what_was_said_survives_the_file(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    int32_t ids[] = {1, -1, 99}, labels[] = {3, 2, 1};
    ke__reply forced = {.ids = ids,
                        .labels = labels,
                        .n = 3,
                        .text = (char[]){"a\"\n\xc3\xab"},
                        .logprob = -1.0 / 3.0,
                        .margin = 0.1,
                        .rival = (double)NAN};
    ke__reply none = {.logprob = (double)NAN, .margin = (double)NAN, .rival = (double)NAN};
    ke__reply replies[2] = {forced, none};
    ke__said said = {.n_items = 2,
                     .replies[KE__FORCED] = replies,
                     .opinion = {{-1.0 / 7.0, -2.5}, {-3, -4}}};
    ke__said back;
    char *text = NULL, *again = NULL;
    assert_int_equal(ke__said_write(cx, &text, &said), KE_OK);
    assert_int_equal(ke__said_parse(cx, &back, text, 2), KE_OK);
    const ke__reply *r = &back.replies[KE__FORCED][0];
    assert_int_equal(r->n, 3);
    assert_memory_equal(r->ids, ids, sizeof ids);
    assert_memory_equal(r->labels, labels, sizeof labels);
    assert_string_equal(r->text, forced.text);
    assert_true(r->logprob == forced.logprob && r->margin == forced.margin);
    assert_true(isnan(r->rival));
    assert_null(back.replies[KE__FORCED][1].text);
    assert_null(back.replies[KE__LONG]);
    assert_true(back.opinion[0].agree == -1.0 / 7.0 && back.opinion[1].oppose == -4);
    assert_int_equal(ke__said_write(cx, &again, &back), KE_OK);
    assert_string_equal(text, again);
    ke__said_free(cx, &back);
    assert_int_equal(ke__said_parse(cx, &back, text, 3), KE_EFORMAT);
    assert_int_equal(ke__said_parse(cx, &back, "{", 2), KE_EFORMAT);
    ke__free(cx, text);
    ke__free(cx, again);
    ke_ctx_free(cx);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(easyedit_counts_tokens),
        TEST(easyedit_reads_erasure_in_what_is_generated),
        TEST(real_reads_texts),
        TEST(any_listed_target_counts),
        TEST(what_was_said_survives_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
