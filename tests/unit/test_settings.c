/* Settings of every method: typed rows, presets, the ladder of attempts. */
#include "edit/edit.h"
#include "support/close.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *cx;
static ke_settings *s;

static int set_up(void **state)
{
    (void)state;
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    return ke_settings_new(cx, &s, "rome") == KE_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    ke_settings_free(cx, s);
    ke_ctx_free(cx);
    return 0;
}

static void unknown_method_lists_the_known(void **state)
{
    (void)state;
    ke_settings *none = s;
    assert_int_equal(KE_EINVAL, ke_settings_new(cx, &none, "roma"));
    assert_null(none);
    assert_non_null(strstr(ke_ctx_message(cx), "rome"));
}

static void values_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        ke_status st;
    } cases[] = {
        {"steps", "30", KE_OK},        {"steps", "30.5", KE_EINVAL},
        {"steps", "0", KE_EINVAL},     {"steps", "many", KE_EINVAL},
        {"steps", "", KE_EINVAL},      {"steps", " 5", KE_EINVAL},
        {"steps", "0x10", KE_EINVAL},  {"steps", "5 ", KE_EINVAL},
        {"lr", "1e-2", KE_OK},         {"lr", "nan", KE_EINVAL},
        {"lr", "inf", KE_EINVAL},      {"lr", "-1", KE_EINVAL},
        {"lr", "1e99999", KE_EINVAL},  {"layer", "auto", KE_OK},
        {"layer", "au", KE_EINVAL},    {"layer", "auto|", KE_EINVAL},
        {"layer", "99999", KE_EINVAL}, {"layer", "3", KE_OK},
        {"no-such", "1", KE_EINVAL},   {"contexts", "any text", KE_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke_status st = ke_settings_set(cx, s, cases[i].name, cases[i].value);
        if (st != cases[i].st)
            fail_msg("--%s '%s': %s", cases[i].name, cases[i].value, ke_status_name(st));
        if (st != KE_OK)
            assert_string_equal(cases[i].name, ke_ctx_where(cx));
    }
    assert_string_equal("30", ke_settings_get(s, "steps"));
    assert_close(30.0, ke__settings_number(s, "steps"), 0.0);
    assert_close(0.01, ke__settings_number(s, "lr"), 0.0);
    assert_null(ke_settings_get(s, "no-such"));
    assert_string_equal("rome", ke_settings_method(s));
}

static void a_word_is_not_a_number(void **state)
{
    (void)state;
    assert_int_equal(KE_OK, ke_settings_set(cx, s, "layer", "auto"));
    assert_true(isnan(ke__settings_number(s, "layer")));
    assert_true(ke__settings_is(s, "layer", "auto"));
    assert_false(ke__settings_is(s, "layer", "5"));
}

static void what_the_user_sets_beats_a_preset(void **state)
{
    (void)state;
    assert_int_equal(KE_OK, ke_settings_set(cx, s, "lr", "0.25"));
    assert_int_equal(KE_OK, ke_settings_preset(cx, s, "easyedit"));
    assert_int_equal(KE_OK, ke_settings_set(cx, s, "steps", "7"));
    assert_string_equal("0.25", ke_settings_get(s, "lr"));
    assert_string_equal("7", ke_settings_get(s, "steps"));
    assert_close(4.0, ke__settings_number(s, "clamp"), 0.0);
    assert_string_equal("identity", ke_settings_get(s, "cov"));
    assert_int_equal(KE_EINVAL, ke_settings_preset(cx, s, "hardedit"));
    assert_non_null(strstr(ke_ctx_message(cx), "easyedit"));
}

/* The shipped settings, as EasyEdit's Llama file has them. */
static void easyedit_is_easyedit(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double value;
    } rows[] = {{"steps", 25},   {"lr", 0.5},  {"kl", 0.0625},
                {"decay", 1e-3}, {"clamp", 4}, {"stop-loss", 0.05}};
    assert_int_equal(KE_OK, ke_settings_preset(cx, s, "easyedit"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_close(rows[i].value, ke__settings_number(s, rows[i].name), 0.0);
    assert_string_equal("", ke_settings_get(s, "ending"));
    assert_string_equal("easyedit", ke_settings_get(s, "contexts"));
}

static void tables_are_sound(void **state)
{
    (void)state;
    for (size_t m = 0; m < ke_method_count(); m++) {
        const ke__method *method = ke__method_find(ke_method_name(m));
        ke_settings *own = NULL;
        ke_setting_info info;
        assert_non_null(method);
        assert_true(strlen(ke_method_summary(m)) > 0 && method->max_facts > 0);
        assert_true(method->plan && method->prepare && method->release && method->compute);
        assert_int_equal(KE_OK, ke_settings_new(cx, &own, method->name));
        for (size_t i = 0; ke_method_setting(method->name, i, &info); i++) {
            assert_true(strlen(info.help) > 0);
            assert_string_equal(info.fallback, ke_settings_get(own, info.name));
            for (size_t k = 0; k < i; k++)
                assert_string_not_equal(info.name, method->settings[k].name);
        }
        for (size_t i = 0; ke_method_preset(method->name, i); i++)
            assert_int_equal(
                KE_OK, ke_settings_preset(cx, own, ke_method_preset(method->name, i)));
        for (size_t i = 0; i < ke__method_attempts(method->name); i++) {
            ke_settings *attempt = NULL;
            assert_int_equal(KE_OK, ke__settings_attempt(cx, own, i, &attempt));
            ke_settings_free(cx, attempt);
        }
        ke_settings_free(cx, own);
    }
}

/* Whatever an attempt overrides, it doesn't override the user. */
static void attempts_leave_the_users_values(void **state)
{
    (void)state;
    const ke__method *m = ke__method_find("rome");
    ke_settings *copy = NULL, *again = NULL;
    assert_int_equal(KE_OK, ke__settings_attempt(cx, s, 0, &copy));
    for (size_t i = 0; m->settings[i].name; i++)
        assert_string_equal(m->settings[i].fallback,
                            ke_settings_get(copy, m->settings[i].name));
    ke_settings_free(cx, copy);
    assert_int_equal(KE_OK, ke_settings_set(cx, s, "steps", "13"));
    for (const ke__attempt *a = m->attempts; a->name; a++) {
        assert_int_equal(KE_OK, ke__settings_attempt(cx, s, a->attempt, &copy));
        assert_string_equal("13", ke_settings_get(copy, "steps"));
        if (strcmp(a->name, "steps") != 0)
            assert_string_equal(a->value, ke_settings_get(copy, a->name));
        /* And the copy still knows who set what. */
        assert_int_equal(KE_OK, ke__settings_attempt(cx, copy, a->attempt, &again));
        assert_string_equal("13", ke_settings_get(again, "steps"));
        ke_settings_free(cx, copy);
        ke_settings_free(cx, again);
    }
}

static void facts_are_checked(void **state)
{
    (void)state;
    static const struct {
        ke_fact fact;
        const char *where; /* NULL: fine */
    } cases[] = {
        {{.subject = "Rome", .prompt = "Rome is in", .target = "Italy"}, NULL},
        {{.subject = "", .prompt = "Rome is in", .target = "Italy"}, "subject"},
        {{.subject = "Rome", .prompt = " ", .target = "Italy"}, "prompt"},
        {{.subject = "Rome", .prompt = "Rome is in", .target = " \n"}, "target"},
        {{.subject = "Rome", .prompt = "Rome is in", .target = NULL}, "target"},
        {{.subject = "rome", .prompt = "Rome is in", .target = "Italy"}, "subject"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke_status st = ke_fact_check(cx, &cases[i].fact);
        assert_int_equal(cases[i].where ? KE_EINVAL : KE_OK, st);
        if (cases[i].where)
            assert_string_equal(cases[i].where, ke_ctx_where(cx));
    }
}

static ke_status make_and_climb(ke_ctx *own, void *payload)
{
    ke_settings *a = NULL, *b = NULL;
    ke_status st;
    (void)payload;
    KE_TRY(ke_settings_new(own, &a, "rome"));
    KE_TRY(ke_settings_preset(own, a, "easyedit"));
    KE_TRY(ke__settings_attempt(own, a, 1, &b));
done:
    ke_settings_free(own, a);
    ke_settings_free(own, b);
    return st;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    oom_each(make_and_climb, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(unknown_method_lists_the_known),
        TEST(values_are_checked),
        TEST(a_word_is_not_a_number),
        TEST(what_the_user_sets_beats_a_preset),
        TEST(easyedit_is_easyedit),
        TEST(tables_are_sound),
        TEST(attempts_leave_the_users_values),
        TEST(facts_are_checked),
        TEST(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
