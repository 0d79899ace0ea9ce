/* Answers found in texts, by the rules of `real` (methods 5.8) and of erasure (5.10). */
#include "eval/metrics.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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

static void normalised_text(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        /* methods 5.8 and T35 */
        {"The United States.", "united states"},
        {"united   states", "united states"},
        {"A  Tale of the Two-Cities!", "tale of twocities"},
        {"U.S.A.", "usa"},
        /* articles are whole words, and only these three */
        {"an ant, a tan; the theatre", "ant tan theatre"},
        {"Athe An", "athe"},
        {"the", ""},
        {"", ""},
        {" \t\r\n", ""},
        {"tab\tline\nend\xc2\xa0space", "tab line end space"},
        /* all of ASCII's marks, and those of other scripts */
        {"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ""},
        {"\xe2\x80\x9c"
         "Caf\xc3\xa9\xe2\x80\x9d\xe3\x80\x82",
         "caf\xc3\xa9"},
        /* a dash stands between words, a hyphen inside one */
        {"Rome\xe2\x80\x94"
         "Bonn 1-2",
         "rome bonn 12"},
        /* one letter spelled two ways; capitals beyond ASCII */
        {"Cafe\xcc\x81 \xc3\x9c"
         "BER",
         "caf\xc3\xa9 \xc3\xbc"
         "ber"},
        {"5 \xe2\x82\xac + 3", "5 \xe2\x82\xac 3"}, /* a sign of money is no mark */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *out = NULL;
        assert_int_equal(ke__metric_normalise(cx, &out, rows[i][0]), KE_OK);
        assert_string_equal(out, rows[i][1]);
        ke__free(cx, out);
    }
}

typedef struct row {
    const char *text, *answer;
    bool hit;
} row;
typedef ke_status finder(ke_ctx *cx, bool *out, const char *text, const char *answer);

static void check(finder *find, const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool hit = !rows[i].hit;
        assert_int_equal(find(cx, &hit, rows[i].text, rows[i].answer), KE_OK);
        if (hit != rows[i].hit)
            fail_msg("\"%s\" in \"%s\": %d", rows[i].answer, rows[i].text, hit);
    }
}

static void answers_are_whole_words(void **state)
{
    (void)state;
    static const row rows[] = {
        {"It is Leeds, of course.", "Leeds", true},
        {"leeds", "The LEEDS!", true},
        {"Leedsworth", "Leeds", false},
        {"Southleeds", "Leeds", false},
        {"West Leeds", "Leeds", true},
        {"Newleeds or Leeds", "Leeds", true}, /* not at the first place */
        {"in the United\n States of America", "United States", true},
        {"United Kingdom and States", "United States", false},
        {"the U.S.A.", "USA", true},
        {"USA", "United States", false}, /* T35 */
        {"He was born in 1990s", "1990", false},
        {"", "Leeds", false},
        /* without a word left, an answer is nowhere */
        {"a vitamin: A", "A", false},
        {"anything", "", false},
        {"what?", "?", false},
    };
    check(ke__metric_contains, rows, COUNT(rows));
}

static void exact_is_the_first_line(void **state)
{
    (void)state;
    static const row rows[] = {
        {" The United States.", "united   states", true},
        {"Leeds.\nThe capital of", "Leeds", true},
        {"Leeds\r\nand more", "Leeds", true},
        {"Leeds, of course", "Leeds", false},
        {"\nLeeds", "Leeds", false},
        {"U.S.A.", "United States", false},
        {"", "Leeds", false},
        {"the", "a", false}, /* nothing equals nothing, but says nothing */
    };
    check(ke__metric_exact, rows, COUNT(rows));
}

/* As Python's `target.lower() in text.lower()`: marks and parts of words count. */
static void mentions_are_substrings(void **state)
{
    (void)state;
    static const row rows[] = {
        {"Question:Who?\nAnswer: I DON'T KNOW.", "I don't know.", true},
        {"I don't know", "I don't know.", false},
        {"I dont know.", "I don't know.", false},
        {"unknown", "know", true},
        {"\xc3\x9c"
         "BER",
         "\xc3\xbc"
         "ber",
         true},
        {"anything", "", true},
    };
    check(ke__metric_mentions, rows, COUNT(rows));
}

static void no_utf8_is_refused(void **state)
{
    (void)state;
    char *out = NULL;
    bool hit = true;
    assert_int_equal(ke__metric_normalise(cx, &out, "ab\xff"), KE_EINVAL);
    assert_null(out);
    assert_non_null(strstr(ke_ctx_message(cx), "a text of 3 bytes"));
    assert_int_equal(ke__metric_contains(cx, &hit, "x", "\xc3"), KE_EINVAL);
    assert_false(hit);
    assert_int_equal(ke__metric_exact(cx, &hit, "\xc3", "x"), KE_EINVAL);
    assert_int_equal(ke__metric_mentions(cx, &hit, "\xc3", "x"), KE_EINVAL);
}

static ke_status find_all(ke_ctx *small, void *payload)
{
    (void)payload;
    bool hit;
    ke_status st = ke__metric_contains(small, &hit, "in the USA", "USA");
    if (st == KE_OK)
        st = ke__metric_exact(small, &hit, "USA\n", "USA");
    return st == KE_OK ? ke__metric_mentions(small, &hit, "USA", "usa") : st;
}

static void survives_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(find_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalised_text),
        cmocka_unit_test(answers_are_whole_words),
        cmocka_unit_test(exact_is_the_first_line),
        cmocka_unit_test(mentions_are_substrings),
        cmocka_unit_test(no_utf8_is_refused),
        cmocka_unit_test(survives_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
