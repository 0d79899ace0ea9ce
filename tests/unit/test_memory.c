#include "base/base.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A hook that keeps the bare promise: 16-byte alignment, another place at every call. */
static void *shifting(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    size_t *turn = payload;
    char *fresh = NULL;
    if (new_bytes > 0) {
        size_t shift = 16 + 16 * (*turn)++ % 64;
        char *raw = aligned_alloc(64, (new_bytes + 128 + 63) / 64 * 64);
        assert_non_null(raw);
        fresh = raw + shift;
        memset(fresh, 0xAA, new_bytes);
        memcpy(fresh - 8, &shift, sizeof shift);
        if (ptr)
            memcpy(fresh, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    }
    if (ptr) {
        size_t shift;
        memcpy(&shift, (char *)ptr - 8, sizeof shift);
        free((char *)ptr - shift);
    }
    return fresh;
}

static void blocks_are_aligned_zeroed_and_kept_through_resizing(void **state)
{
    (void)state;
    size_t turn = 0;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.alloc = shifting, .alloc_payload = &turn});
    for (size_t bytes = 0; bytes < 200; bytes++) {
        unsigned char *p;
        assert_int_equal(KE_OK, ke__alloc(cx, &p, bytes, 1));
        assert_int_equal(0, (uintptr_t)p % 64);
        for (size_t i = 0; i < bytes; i++) {
            assert_int_equal(0, p[i]);
            p[i] = (unsigned char)(i * 7 + 1);
        }
        size_t kept = bytes;
        for (size_t more = 300; more-- > 296;) { /* grow, then shrink by one, each time */
            assert_int_equal(KE_OK, ke__resize(cx, &p, more, 1));
            assert_int_equal(0, (uintptr_t)p % 64);
            for (size_t i = 0; i < kept; i++)
                assert_int_equal((unsigned char)(i * 7 + 1), p[i]);
        }
        assert_int_equal(KE_OK, ke__resize(cx, &p, bytes / 2, 1));
        for (size_t i = 0; i < bytes / 2; i++)
            assert_int_equal((unsigned char)(i * 7 + 1), p[i]);
        ke__free(cx, p);
    }
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void large_blocks_keep_their_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1000, 5 << 20, 9 << 20, 4 << 20, 100, 6 << 20};
    ke_ctx *cx = ke_ctx_new(NULL);
    unsigned char *p = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(KE_OK, ke__resize(cx, &p, sizes[i], 1));
        if (i > 0)
            for (size_t j = 0; j < 100; j++)
                assert_int_equal(j, p[j]);
        for (size_t j = 0; j < sizes[i]; j++)
            p[j] = (unsigned char)j;
    }
    ke__free(cx, p);
    assert_true(ke_ctx_peak_bytes(cx) >= 9 << 20);
    assert_true(ke_ctx_peak_bytes(cx) < 10 << 20);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    int mark = 0;
    void *p = &mark;
    assert_int_equal(KE_ENOMEM, ke__alloc(cx, &p, SIZE_MAX / 2, 3));
    assert_null(p);
    assert_non_null(strstr(ke_ctx_message(cx), "x 3 bytes"));
    assert_int_equal(KE_ENOMEM, ke__alloc(cx, &p, SIZE_MAX, 1));
    assert_int_equal(KE_OK, ke__alloc(cx, &p, 0, 8));
    assert_non_null(p);
    ke__free(cx, p);
    ke__free(cx, NULL);
    ke_ctx_free(cx);
}

static void a_failed_resize_leaves_the_block(void **state)
{
    (void)state;
    oom o;
    ke_ctx *cx = oom_ctx(&o, 1);
    char *p, *before;
    assert_int_equal(KE_OK, ke__alloc(cx, &p, 100, 1));
    strcpy(p, "kept");
    before = p;
    assert_int_equal(KE_ENOMEM, ke__resize(cx, &p, 1000, 1));
    assert_ptr_equal(before, p);
    assert_string_equal("kept", p);
    assert_int_equal(KE_OK, ke__resize(cx, &p, 1000, 1));
    assert_string_equal("kept", p);
    ke__free(cx, p);
    assert_int_equal(0, o.n_live);
    ke_ctx_free(cx);
}

static ke_status build_texts(ke_ctx *cx, void *payload)
{
    ke_status st = KE_OK;
    ke__text t = {0};
    char *copy = NULL, *line = NULL;
    (void)payload;
    for (int i = 0; i < 100; i++)
        KE_TRY(ke__text_addf(cx, &t, "%d,", i));
    KE_TRY(ke__text_add(cx, &t, "\0end", 4));
    assert_int_equal(10 * 2 + 90 * 3 + 4, t.bytes);
    assert_memory_equal("0,1,2,", t.data, 6);
    assert_memory_equal("98,99,\0end", t.data + t.bytes - 10, 11);
    KE_TRY(ke__strndup(cx, &copy, t.data, 5));
    assert_string_equal("0,1,2", copy);
    KE_TRY(ke__format(cx, &line, "[%s] %d", copy, 7));
    assert_string_equal("[0,1,2] 7", line);
done:
    ke__free(cx, t.data);
    ke__free(cx, copy);
    ke__free(cx, line);
    return st;
}

static void texts_grow_and_survive_every_allocation_failure(void **state)
{
    (void)state;
    oom_each(build_texts, NULL);
}

static void a_text_too_long_is_refused(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__text t = {0};
    char *copy;
    assert_int_equal(KE_OK, ke__text_add(cx, &t, "abc", 3));
    assert_int_equal(KE_ENOMEM, ke__text_add(cx, &t, "", SIZE_MAX - 1));
    assert_int_equal(KE_ENOMEM, ke__strndup(cx, &copy, "", SIZE_MAX));
    assert_null(copy);
    assert_string_equal("abc", t.data);
    ke__free(cx, t.data);
    ke_ctx_free(cx);
}

static void the_machine_tells_its_memory_and_time(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.mem_limit_bytes = 12345});
    assert_int_equal(12345, ke__memory_limit(cx));
    ke_ctx_free(cx);
    cx = ke_ctx_new(NULL);
    assert_true(ke__memory_limit(cx) > 0);
    ke_ctx_free(cx);
    assert_true(ke__memory_resident_peak() > 1 << 20);
    double begun = ke__now();
    assert_true(ke__now() >= begun);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_zeroed_and_kept_through_resizing),
        cmocka_unit_test(large_blocks_keep_their_bytes),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(a_failed_resize_leaves_the_block),
        cmocka_unit_test(texts_grow_and_survive_every_allocation_failure),
        cmocka_unit_test(a_text_too_long_is_refused),
        cmocka_unit_test(the_machine_tells_its_memory_and_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
