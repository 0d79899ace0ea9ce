#include "base/base.h"
#include "base/utf8.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void statuses_have_names_and_texts(void **state)
{
    (void)state;
    assert_string_equal("ENOMEM", ke_status_name(KE_ENOMEM));
    assert_string_equal("out of memory", ke_status_text(KE_ENOMEM));
    assert_string_equal("OK", ke_status_name(KE_OK));
    assert_string_equal("UNKNOWN", ke_status_name((ke_status)-99));
    assert_string_equal("unknown status", ke_status_text((ke_status)-99));
    assert_string_equal(KE_VERSION, ke_version());
}

static void isa_comes_from_the_options_or_the_environment(void **state)
{
    (void)state;
    setenv("KE_ISA", "ref", 1);
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_string_equal("ref", cx->opts.isa);
    ke_ctx_free(cx);
    cx = ke_ctx_new(&(ke_ctx_opts){.isa = "avx2"});
    assert_string_equal("avx2", cx->opts.isa);
    ke_ctx_free(cx);
    assert_null(ke_ctx_new(&(ke_ctx_opts){.isa = "AVX2"}));
    /* ref64 is what gradient tests difference: nothing that runs. */
    const char *const unknown[] = {"nosuch", "ref64"};
    for (size_t i = 0; i < 2; i++) {
        setenv("KE_ISA", unknown[i], 1);
        assert_null(ke_ctx_new(NULL));
    }
    unsetenv("KE_ISA");
    cx = ke_ctx_new(NULL);
    assert_null(cx->opts.isa);
    ke_ctx_free(cx);
}

static void thread_numbers_are_kept_in_bounds(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_true(ke__threads(cx) >= 1);
    ke_ctx_free(cx);
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 4000000000U});
    assert_int_equal(1024, ke__threads(cx));
    ke_ctx_free(cx);
}

static void *no_memory(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    (void)payload, (void)ptr, (void)old_bytes, (void)new_bytes;
    return NULL;
}

static void no_context_without_memory(void **state)
{
    (void)state;
    assert_null(ke_ctx_new(&(ke_ctx_opts){.alloc = no_memory}));
    ke_ctx_free(NULL);
}

static void failures_say_what_and_where(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_string_equal("", ke_ctx_message(cx));
    assert_string_equal("", ke_ctx_where(cx));
    assert_int_equal(KE_EINVAL,
                     ke__fail(cx, KE_EINVAL, "--steps", "%d steps, %d expected", 0, 1));
    assert_string_equal("0 steps, 1 expected", ke_ctx_message(cx));
    assert_string_equal("--steps", ke_ctx_where(cx));
    /* A caller that knows more may wrap the message. */
    (void)ke__fail(cx, KE_EINVAL, NULL, "plan: %s", ke_ctx_message(cx));
    assert_string_equal("plan: 0 steps, 1 expected", ke_ctx_message(cx));
    assert_string_equal("", ke_ctx_where(cx));
    ke_ctx_free(cx);
}

static void messages_stay_one_line_of_utf8(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    (void)ke__fail(cx, KE_EIO, "a\nb\x7f", "x\x80y\tz \xc3\xa9");
    assert_string_equal("x?y?z \xc3\xa9", ke_ctx_message(cx));
    assert_string_equal("a?b?", ke_ctx_where(cx));

    char text[2 * 400 + 1] = "";
    for (int i = 0; i < 400; i++)
        strcat(text, "\xc3\xa9");
    (void)ke__fail(cx, KE_EIO, text, "%s", text);
    /* 511 bytes hold 255 and a half of the characters. */
    assert_int_equal(511, strlen(ke_ctx_message(cx)));
    assert_int_equal('?', ke_ctx_message(cx)[510]);
    assert_int_equal(511, ke__utf8_prefix(ke_ctx_message(cx), 511));
    assert_int_equal(255, ke__utf8_prefix(ke_ctx_where(cx), 255));
    ke_ctx_free(cx);
}

static void canceling_stops_one_call(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(KE_OK, ke__check_cancel(cx));
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, ke__check_cancel(cx));
    assert_string_equal("interrupted", ke_ctx_message(cx));
    assert_int_equal(KE_OK, ke__check_cancel(cx));
    ke_ctx_free(cx);
}

struct seen {
    ke_ctx *cx;
    uint64_t done, total;
    const char *what;
};

static void on_progress(const char *what, uint64_t done, uint64_t total, void *payload)
{
    struct seen *seen = payload;
    seen->what = what;
    seen->done = done;
    seen->total = total;
    if (done == 2)
        ke_ctx_cancel(seen->cx);
}

static void progress_is_reported_and_can_cancel(void **state)
{
    (void)state;
    struct seen seen = {0};
    seen.cx =
        ke_ctx_new(&(ke_ctx_opts){.progress = on_progress, .progress_payload = &seen});
    assert_int_equal(KE_OK, ke__progress(seen.cx, "steps", 1, 25));
    assert_string_equal("steps", seen.what);
    assert_int_equal(1, seen.done);
    assert_int_equal(25, seen.total);
    assert_int_equal(KE_ECANCELED, ke__progress(seen.cx, "steps", 2, 25));
    ke_ctx_free(seen.cx);
}

static void utf8_is_told_from_other_bytes(void **state)
{
    /* The rows of Unicode's table 3-7, at their edges. */
    static const struct {
        const char *text;
        size_t bytes;
    } cases[] = {
        {"A", 1},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},             /* a continuation */
        {"\xc1\xbf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xed\xa0\x80", 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 0}, /* U+110000 */
        {"\xf5\x80\x80\x80", 0},
        {"\xe2\x82", 0}, /* cut */
        {"\xe2\x82(", 0},
        {"\xf0\x9f\x98(", 0},
        {"", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(cases[i].bytes,
                         ke__utf8_char(cases[i].text, strlen(cases[i].text)));
    assert_int_equal(1, ke__utf8_char("", 1)); /* NUL is a character */
    assert_int_equal(3, ke__utf8_prefix("a\xc3\xa9\xff", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_have_names_and_texts),
        cmocka_unit_test(isa_comes_from_the_options_or_the_environment),
        cmocka_unit_test(thread_numbers_are_kept_in_bounds),
        cmocka_unit_test(no_context_without_memory),
        cmocka_unit_test(failures_say_what_and_where),
        cmocka_unit_test(messages_stay_one_line_of_utf8),
        cmocka_unit_test(canceling_stops_one_call),
        cmocka_unit_test(progress_is_reported_and_can_cancel),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
