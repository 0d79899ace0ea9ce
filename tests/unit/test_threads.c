#include "base/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1000 };

struct work {
    ke_ctx *cx;
    unsigned limit;
    int count[N];    /* how often task i ran; task i alone writes it */
    bool bad_thread; /* atomic */
};

static void task(size_t i, unsigned thread, void *payload)
{
    struct work *w = payload;
    w->count[i]++;
    if (thread >= w->limit)
        __atomic_store_n(&w->bad_thread, true, __ATOMIC_RELAXED);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    static const unsigned teams[] = {1, 2, 7};
    static const size_t counts[] = {0, 1, 2, N};
    for (int t = 0; t < 3; t++)
        for (int c = 0; c < 4; c++) {
            ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = teams[t]});
            struct work w = {.cx = cx, .limit = teams[t]};
            ke__parallel(cx, counts[c], task, &w);
            for (size_t i = 0; i < N; i++)
                assert_int_equal(i < counts[c], w.count[i]);
            assert_false(w.bad_thread);
            ke_ctx_free(cx);
        }
}

struct nested {
    ke_ctx *cx;
    unsigned limit;
    size_t *scratch; /* one counter a thread, written without a lock */
    int bad;         /* atomic */
};

struct inner {
    struct nested *outer;
    unsigned thread; /* of the task that made the call */
    size_t n;
};

static void inner_task(size_t i, unsigned thread, void *payload)
{
    struct inner *in = payload;
    in->n += i + 1; /* a race, unless the nested call runs serially */
    in->outer->scratch[thread]++;
    if (thread != in->thread)
        __atomic_add_fetch(&in->outer->bad, 1, __ATOMIC_RELAXED);
}

static void outer_task(size_t i, unsigned thread, void *payload)
{
    struct inner in = {payload, thread, 0};
    (void)i;
    ke__parallel(in.outer->cx, 10, inner_task, &in);
    if (in.n != 55)
        __atomic_add_fetch(&in.outer->bad, 1, __ATOMIC_RELAXED);
}

static void a_nested_call_runs_on_its_callers_thread(void **state)
{
    (void)state;
    size_t scratch[4] = {0};
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 4});
    struct nested w = {.cx = cx, .scratch = scratch};
    ke__parallel(cx, 100, outer_task, &w);
    assert_int_equal(0, w.bad);
    assert_int_equal(1000, scratch[0] + scratch[1] + scratch[2] + scratch[3]);
    ke_ctx_free(cx);
}

static void narrow_task(size_t i, unsigned thread, void *payload)
{
    (void)i;
    if (thread != 0)
        __atomic_add_fetch((int *)payload, 1, __ATOMIC_RELAXED);
}

static void context_task(size_t i, unsigned thread, void *payload)
{
    (void)i, (void)thread;
    ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke__parallel(own, 5, narrow_task, payload);
    ke_ctx_free(own);
}

static void a_nested_call_with_its_own_context_counts_from_zero(void **state)
{
    (void)state;
    int bad = 0;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 4});
    ke__parallel(cx, 100, context_task, &bad);
    assert_int_equal(0, bad);
    ke_ctx_free(cx);
}

static void allocating_task(size_t i, unsigned thread, void *payload)
{
    ke_ctx *cx = payload;
    void *p;
    (void)thread;
    /* Every third is too large for any machine: failing is safe in a task too. */
    size_t bytes = i % 3 ? 100 * i : SIZE_MAX / 2;
    if (ke__alloc(cx, &p, bytes, 1) == KE_OK)
        ke__free(cx, p);
}

static void *limited(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    (void)payload, (void)old_bytes;
    if (new_bytes == 0) {
        free(ptr);
        return NULL;
    }
    return new_bytes > 1 << 30 ? NULL : realloc(ptr, new_bytes);
}

static void tasks_may_allocate(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 4, .alloc = limited});
    ke__parallel(cx, 300, allocating_task, cx);
    assert_int_equal(0, cx->live_bytes);
    assert_true(ke_ctx_peak_bytes(cx) >= 100 * 299);
    assert_non_null(strstr(ke_ctx_message(cx), "out of memory"));
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(a_nested_call_runs_on_its_callers_thread),
        cmocka_unit_test(a_nested_call_with_its_own_context_counts_from_zero),
        cmocka_unit_test(tasks_may_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
