/* The same rows with any number of threads, however often a run is cut off, and what a
 * sequence of edits does. */
#include "support/bench_run.h"
#include "support/close.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the same rows whatever happens --- */

static void same_rows(json_t *a, json_t *b)
{
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
        if (!json_equal(x, y)) {
            char *left = json_dumps(x, 0), *right = json_dumps(y, 0);
            fail_msg("row %zu:\n%s\n%s", i, left, right);
        }
    }
}

static json_t *whole_run(void **state, const char *json, bool sequential,
                         unsigned n_threads)
{
    bench_run r;
    bench_begin_threads(&r, state, json, n_threads);
    snprintf(r.out, sizeof r.out, "%s", scratch_path(state, "whole.sqlite"));
    r.job.sequential = sequential;
    r.job.score_at = sequential ? KE_SCORE_EACH | KE_SCORE_END : 0;
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    unlink(r.out);
    bench_end(&r);
    return rows;
}

static void threads_change_nothing(void **state)
{
    json_t *one = whole_run(state, bench_facts, false, 1);
    for (unsigned n = 2; n <= 7; n += 5) {
        json_t *more = whole_run(state, bench_facts, false, n);
        same_rows(one, more);
        json_decref(more);
    }
    json_decref(one);
}

/* Cut off at every line said in turn, and resumed. */
static void cut_and_resume(void **state, bool sequential)
{
    json_t *whole = whole_run(state, bench_facts, sequential, 1);
    for (size_t cut = 3;; cut++) {
        bench_run r;
        bench_begin(&r, state, bench_facts);
        r.job.sequential = sequential;
        r.job.score_at = sequential ? KE_SCORE_EACH | KE_SCORE_END : 0;
        r.cancel_at = cut;
        ke_status st = ke_bench_run(r.cx, &r.summary, &r.job);
        if (st == KE_OK)
            assert_true(r.n_said < cut);
        else
            assert_int_equal(st, KE_ECANCELED);
        json_t *some = bench_rows(&r);
        size_t n = json_array_size(some);
        json_decref(some);
        r.cancel_at = 0;
        bench_go(&r);
        assert_int_equal(r.summary.n_resumed, n);
        assert_int_equal(r.summary.n_rows, json_array_size(whole));
        json_t *resumed = bench_rows(&r);
        same_rows(whole, resumed);
        json_decref(resumed);
        unlink(r.out);
        bench_end(&r);
        if (st == KE_OK)
            break;
    }
    json_decref(whole);
}

static void a_canceled_run_goes_on(void **state)
{
    cut_and_resume(state, false);
}

static void a_canceled_sequence_goes_on(void **state)
{
    cut_and_resume(state, true);
}

static void a_killed_run_goes_on(void **state)
{
    json_t *whole = whole_run(state, bench_facts, false, 1);
    bench_run r;
    pid_t child = fork();
    if (child == 0) {
        bench_begin(&r, state, bench_facts);
        r.cancel_at = 5;
        r.kill = true;
        (void)!ke_bench_run(r.cx, &r.summary, &r.job);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    bench_begin(&r, state, bench_facts);
    bench_go(&r);
    assert_true(r.summary.n_resumed > 0 && r.summary.n_resumed < 12);
    json_t *resumed = bench_rows(&r);
    same_rows(whole, resumed);
    json_decref(resumed);
    json_decref(whole);
    bench_end(&r);
}

static void a_sequence_builds_on_its_edits(void **state)
{
    json_t *single = whole_run(state, bench_facts, false, 1);
    json_t *rows = whole_run(state, bench_facts, true, 1);
    static const char *const protocols[] = {"easyedit", "real"};
    assert_int_equal(json_array_size(rows), 2 * json_array_size(single));
    for (size_t k = 0; k < 2; k++) {
        json_t *a = json_copy(
            (json_t *)(uintptr_t)bench_row(single, 0, "rome", protocols[k], "each"));
        json_t *b = json_copy(
            (json_t *)(uintptr_t)bench_row(rows, 0, "rome", protocols[k], "each"));
        json_object_del(a, "mode"); /* the first edit starts from the model all the same */
        json_object_del(b, "mode");
        assert_true(json_equal(bench_at(a, "texts"), bench_at(b, "texts")));
        assert_close(bench_number(b, "probability/0"), bench_number(a, "probability/0"),
                     1e-5);
        json_decref(a);
        json_decref(b);
        const json_t *each = bench_row(rows, 2, "rome", protocols[k], "each");
        const json_t *last = bench_row(rows, 2, "rome", protocols[k], "end");
        assert_true(json_equal(bench_at(each, "texts"), bench_at(last, "texts")));
        assert_true(json_equal(bench_at(each, "success"), bench_at(last, "success")));
    }
    assert_false(
        json_equal(bench_at(bench_row(rows, 0, "rome", "easyedit", "each"), "probability"),
                   bench_at(bench_row(rows, 0, "rome", "easyedit", "end"), "probability")));
    json_decref(single);
    json_decref(rows);
}

/* Memory that runs out anywhere (looked at in steps, for time) ends a run, frees all, and
 * leaves a file that the next run completes. */
static void a_run_out_of_memory_goes_on(void **state)
{
    bench_run r;
    ke_status st = KE_OK;
    long at = 0;
    bench_begin(&r, state, bench_facts);
    r.job.limit = 1;
    r.job.no_fluency = true;
    bench_go(&r);
    json_t *whole = bench_rows(&r);
    for (; at == 0 || st != KE_OK; at += 83) {
        oom o;
        ke_ctx *cx = oom_ctx(&o, at);
        unlink(r.out);
        st = ke_bench_run(cx, &r.summary, &r.job);
        if (st != KE_OK && st != KE_ENOMEM)
            fail_msg("%s: %s", ke_status_name(st), ke_ctx_message(cx));
        assert_int_equal(o.n_live, 0);
        ke_ctx_free(cx);
        bench_go(&r);
        json_t *resumed = bench_rows(&r);
        same_rows(whole, resumed);
        json_decref(resumed);
    }
    assert_true(at > 10 * 83); /* or nothing was injected */
    json_decref(whole);
    bench_end(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(threads_change_nothing),         TEST(a_canceled_run_goes_on),
        TEST(a_canceled_sequence_goes_on),    TEST(a_killed_run_goes_on),
        TEST(a_sequence_builds_on_its_edits), TEST(a_run_out_of_memory_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
