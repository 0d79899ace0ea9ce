/* Words as NLTK makes them (tests/data/words), sentences by the rules of Punkt, and the
 * entropy of n-grams (methods 5.6, T3, T4, T40). */
#include "eval/metrics.h"
#include "eval/sentences.h"
#include "support/close.h"
#include "support/oom.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static ke_ctx *cx;

static int set_up(void **state)
{
    (void)state;
    cx = ke_ctx_new(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ke_ctx_free(cx);
    return 0;
}

/* --- words -------------------------------------------------------------------------- */

static void check_words(const char *text, const json_t *want)
{
    char *words = NULL;
    size_t n = 0;
    assert_int_equal(ke__metric_words(cx, &words, &n, text), KE_OK);
    const char *at = words;
    for (size_t i = 0; i < n && i < json_array_size(want); i++, at += strlen(at) + 1)
        if (strcmp(at, json_string_value(json_array_get(want, i))) != 0)
            fail_msg("\"%s\": word %zu is \"%s\", expected \"%s\"", text, i, at,
                     json_string_value(json_array_get(want, i)));
    if (n != json_array_size(want))
        fail_msg("\"%s\": %zu words, expected %zu", text, n, json_array_size(want));
    ke__free(cx, words);
}

static void words_are_those_of_the_record(void **state)
{
    (void)state;
    json_error_t error;
    json_t *rows = json_load_file("tests/data/words/words.json", 0, &error), *row;
    size_t i;
    if (!rows)
        fail_msg("words.json:%d: %s", error.line, error.text);
    assert_true(json_array_size(rows) > 50);
    json_array_foreach(rows, i, row)
        check_words(json_string_value(json_array_get(row, 0)), json_array_get(row, 1));
    json_decref(rows);
}

/* A full stop is a word of its own where a sentence ends, and only there. */
static void words_depend_on_sentences(void **state)
{
    (void)state;
    json_t *want = json_pack("[ssssssssss]", "Dr.", "Ray", "left", ".", "She", "has", "$",
                             "3.50", "today", ".");
    check_words("Dr. Ray left. She has $3.50 today.", want);
    json_decref(want);
}

/* --- sentences ---------------------------------------------------------------------- */

/* Sentences are marked off by "|"; the blanks between them belong to none. */
static void sentences_end_by_the_rules(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "One ends here.|Two begins.",
        "Really?|Yes!|Well.",
        "no mark at all",
        "",
        /* abbreviations, initials, numbers */
        "Mr. Hill met Gen. Ray at 5 p.m. in Wash. D.C. on Nov. 3 of that year.",
        "He is from the U.S. army.",
        "He came to the U.S.|However, he left.",
        "A book by J. R. Hill is here.",
        "It is 3.5 or .5 or 1. of them.",
        "That was in 1990.|Later it was sold.",
        "She said etc.|Hill said e.g.|Ray left.",
        /* ellipses go on unless a word begins that does so nowhere else */
        "Wait... for it... Hill came.",
        "He waited...|Therefore he was late.",
        /* quotes and brackets that close belong to what they close */
        "\"I go.\"|He went.",
        "(He went.)|She stayed.",
        "He went.\"|She stayed.",
        /* other marks end one whatever follows */
        "Is it (really?)|so?|It is.",
        /* no blank, no end */
        "See a.b.c and v2.0.|It works.",
        "So?!|He asked.",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[256], got[256] = "";
        snprintf(text, sizeof text, "%s", rows[i]);
        for (char *mark = text; (mark = strchr(mark, '|'));)
            *mark = ' ';
        ke__sentences s = ke__sentences_begin(text, strlen(text));
        for (size_t begin, end; ke__sentences_next(&s, &begin, &end);)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", *got ? "|" : "",
                     (int)(end - begin), text + begin);
        assert_string_equal(got, rows[i]);
    }
}

/* --- fluency ------------------------------------------------------------------------ */

static double fluency(const char *text)
{
    double out = -1;
    assert_int_equal(ke__metric_fluency(cx, &out, text), KE_OK);
    return out;
}

static void fluency_of_texts(void **state)
{
    (void)state;
    /* 8 bigrams of 6 kinds, p = 1/4 twice and 1/8 four times: 2.5 bits; 7 trigrams of 6
     * kinds: log2 7 - 2/7 (T3). */
    double h3 = log2(7) - 2.0 / 7.0;
    assert_close(2.521641, h3, 5e-7);
    assert_close((2.0 / 3.0 * 2.5 + 4.0 / 3.0 * h3) / 2,
                 fluency("the cat sat on the mat the cat sat"), 1e-12);
    assert_close(2.514427, fluency("the cat sat on the mat the cat sat"), 5e-7);
    /* 8 words, all n-grams distinct (T4); the full stop is a word with or without a blank
     */
    assert_close(2.659093, fluency("Steve Jobs was the founder of Apple ."), 5e-7);
    assert_close(2.659093, fluency("Steve Jobs was the founder of Apple."), 5e-7);
    assert_close(0, fluency("go go go go go"), 0);
    assert_close(0, fluency("two words"), 0);
    assert_close(0, fluency("word"), 0);
    assert_close(0, fluency(""), 0);
    /* Capitals tell words apart. */
    assert_close((2.0 / 3.0 + 0) / 2, fluency("Go go go"), 1e-12);
}

/* T40: the most that 100 words can have. */
static void fluency_has_a_bound(void **state)
{
    (void)state;
    char text[800] = "";
    for (int i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "word%d ", i);
    assert_close((2.0 / 3.0 * log2(99) + 4.0 / 3.0 * log2(98)) / 2, fluency(text), 1e-12);
    assert_close(6.619592, fluency(text), 5e-7);
}

/* --- failures ----------------------------------------------------------------------- */

static void no_utf8_is_refused(void **state)
{
    (void)state;
    double out = -1;
    assert_int_equal(ke__metric_fluency(cx, &out, "ab\xff"), KE_EINVAL);
    assert_close(0, out, 0);
    assert_non_null(strstr(ke_ctx_message(cx), "a text of 3 bytes"));
}

static ke_status measure(ke_ctx *small, void *payload)
{
    (void)payload;
    double out;
    return ke__metric_fluency(small, &out, "He said \"go\". (She can't...)");
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(measure, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_the_record),
        cmocka_unit_test(words_depend_on_sentences),
        cmocka_unit_test(sentences_end_by_the_rules),
        cmocka_unit_test(fluency_of_texts),
        cmocka_unit_test(fluency_has_a_bound),
        cmocka_unit_test(no_utf8_is_refused),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
