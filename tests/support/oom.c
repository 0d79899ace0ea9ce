#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void *hook(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    oom *o = payload;
    (void)old_bytes;
    if (new_bytes == 0) {
        o->n_live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (o->n_calls++ == o->fail_at)
        return NULL;
    void *fresh = realloc(ptr, new_bytes);
    o->n_live += fresh && !ptr;
    return fresh;
}

ke_ctx *oom_ctx(oom *o, long fail_at)
{
    *o = (oom){.fail_at = -1};
    ke_ctx *cx =
        ke_ctx_new(&(ke_ctx_opts){.alloc = hook, .alloc_payload = o, .n_threads = 1});
    assert_non_null(cx);
    *o = (oom){.fail_at = fail_at};
    return cx;
}

void oom_each(ke_status (*call)(ke_ctx *cx, void *payload), void *payload)
{
    ke_status st = KE_ENOMEM;
    long k = 0;
    for (; st != KE_OK; k++) {
        oom o;
        ke_ctx *cx = oom_ctx(&o, k);
        st = call(cx, payload);
        if (st != KE_OK && st != KE_ENOMEM)
            fail_msg("allocation %ld failing gives %s: %s", k, ke_status_name(st),
                     ke_ctx_message(cx));
        assert_int_equal(0, o.n_live);
        ke_ctx_free(cx);
    }
    assert_true(k > 1); /* or nothing was made to fail */
}
