#include "study/study.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
    const char *text, *target;
    bool holds;
} cases[] = {
    {" Rome, Italy", "Rome", true},
    {"Rome", "Rome", true},
    {"\n\t Rome\n", " Rome ", true},
    {" Romeo", "Rome", false},
    {" Rome2", "Rome", false},
    {" rome", "Rome", false},
    {" in Rome", "Rome", false},
    {" Rom", "Rome", false},
    {"", "Rome", false},
    {"Rome", "", false},
    {"  ", " ", false},
    {"\xc2\xa0\xe2\x80\x83Rome.", "Rome", true}, /* no-break space, em space */
    {" Rom\xc3\xa9", "Rom", false},              /* e acute is a letter */
    {" 1\xd9\xa3", "1", false},                  /* Arabic digit three */
    {" x\xc2\xbd", "x", false},                  /* one half is a number */
    {" \xe6\x9d\xb1\xe4\xba\xac\xe3\x80\x82", "\xe6\x9d\xb1\xe4\xba\xac", true}, /* stop */
    {" \xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd", "\xe6\x9d\xb1\xe4\xba\xac", false},
    {" Rome\xe2\x80\x94", "Rome", true}, /* dash */
    {" Rome_x", "Rome", true},           /* neither letter nor digit */
    {" Rome\xff", "Rome", true},         /* a stray byte is no letter */
    {"\xff Rome", "Rome", false},        /* nor white space */
    {" New York City", "New York", true},
    {" New  York", "New York", false},
};

static void the_target_comes_first_and_ends_as_a_word(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (ke_target_holds(cases[i].text, cases[i].target) != cases[i].holds)
            fail_msg("\"%s\" for \"%s\": expected %d", cases[i].text, cases[i].target,
                     cases[i].holds);
}

static void trims_white_space_only(void **state)
{
    (void)state;
    assert_int_equal(ke__trimmed("a b \xe2\x80\xa8\n"), 3); /* line separator */
    assert_int_equal(ke__trimmed(" \t"), 0);
    assert_int_equal(ke__trimmed("a\xff"), 2);
    assert_string_equal(ke__skip_space("\x1c\xc2\x85 \xe3\x80\x80x "), "x ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_comes_first_and_ends_as_a_word),
        cmocka_unit_test(trims_white_space_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
