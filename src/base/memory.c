#include "base/memory.h"
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define KE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KE_ASAN 1
#endif
#endif
#ifdef KE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

/* A block as the hook gives it (16-byte aligned at least) and as callers see it:
 *
 *     raw              data - 64        data                  data + bytes
 *     | 0..48 unused   | struct block   | the caller's bytes  | the rest of the 48 |
 *
 * where data is the first multiple of 64 that leaves room for the 64 bytes before it. */
#define ALIGN     ((size_t)64)
#define OVERHEAD  (ALIGN + 48)
#define HUGE_PAGE ((size_t)2 << 20)

struct block {
    void *raw;
    size_t bytes; /* the caller's */
};

void *ke__alloc_libc(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    (void)payload;
    if (new_bytes == 0) {
        free(ptr);
        return NULL;
    }
    if (new_bytes < 2 * HUGE_PAGE || old_bytes >= 2 * HUGE_PAGE)
        return realloc(ptr, new_bytes);
    /* Page faults of 4 KiB would cost more than the work on a fresh large block. */
    void *fresh =
        aligned_alloc(HUGE_PAGE, (new_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (!fresh)
        return realloc(ptr, new_bytes);
    madvise(fresh, new_bytes, MADV_HUGEPAGE);
    if (ptr)
        memcpy(fresh, ptr, old_bytes);
    free(ptr);
    return fresh;
}

static struct block *block_of(void *ptr)
{
    return (struct block *)((char *)ptr - ALIGN);
}

static char *align_up(char *raw)
{
    return raw + ALIGN + (-(uintptr_t)raw & (ALIGN - 1)); /* raw is a multiple of 16 */
}

/* The sanitizer then sees an overrun of the caller's bytes, not only of the raw block. */
static char *seal(char *raw, size_t bytes)
{
    char *data = align_up(raw);
    *block_of(data) = (struct block){.raw = raw, .bytes = bytes};
    ASAN_POISON_MEMORY_REGION(data + bytes,
                              (size_t)(raw + bytes + OVERHEAD - (data + bytes)));
    return data;
}

static void count(ke_ctx *cx, size_t more, size_t less)
{
    uint64_t live = __atomic_add_fetch(&cx->live_bytes, (uint64_t)more - (uint64_t)less,
                                       __ATOMIC_RELAXED);
    uint64_t peak = __atomic_load_n(&cx->peak_bytes, __ATOMIC_RELAXED);
    while (live > peak && !__atomic_compare_exchange_n(&cx->peak_bytes, &peak, live, true,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
}

static ke_status no_memory(ke_ctx *cx, size_t n, size_t size)
{
    return ke__fail(cx, KE_ENOMEM, NULL,
                    "out of memory: no block of %zu x %zu bytes, %llu bytes in use", n,
                    size,
                    (unsigned long long)__atomic_load_n(&cx->live_bytes, __ATOMIC_RELAXED));
}

ke_status ke__resize(ke_ctx *cx, void *io, size_t n, size_t size)
{
    char *data, *raw = NULL;
    size_t bytes, total, old_bytes = 0, old_at = 0;
    memcpy(&data, io, sizeof data);
    if (!ke__mul(&bytes, n, size) || __builtin_add_overflow(bytes, OVERHEAD, &total))
        return no_memory(cx, n, size);
    if (data) {
        raw = block_of(data)->raw;
        old_bytes = block_of(data)->bytes;
        old_at = (size_t)(data - raw);
        ASAN_UNPOISON_MEMORY_REGION(raw, old_bytes + OVERHEAD);
    }
    char *fresh =
        cx->opts.alloc(cx->opts.alloc_payload, raw, raw ? old_bytes + OVERHEAD : 0, total);
    if (!fresh) {
        if (raw)
            seal(raw, old_bytes);
        return no_memory(cx, n, size);
    }
    /* The same raw offset need not be aligned in the new place. */
    size_t at = (size_t)(align_up(fresh) - fresh);
    if (raw && at != old_at)
        memmove(fresh + at, fresh + old_at, old_bytes < bytes ? old_bytes : bytes);
    data = seal(fresh, bytes);
    memcpy(io, &data, sizeof data);
    count(cx, total, raw ? old_bytes + OVERHEAD : 0);
    return KE_OK;
}

ke_status ke__alloc(ke_ctx *cx, void *out, size_t n, size_t size)
{
    char *data = NULL;
    ke_status st = ke__resize(cx, &data, n, size);
    if (st == KE_OK)
        memset(data, 0, n * size);
    memcpy(out, &data, sizeof data);
    return st;
}

void ke__free(ke_ctx *cx, void *ptr)
{
    if (!ptr)
        return;
    char *raw = block_of(ptr)->raw;
    size_t total = block_of(ptr)->bytes + OVERHEAD;
    ASAN_UNPOISON_MEMORY_REGION(raw, total);
    count(cx, 0, total);
    cx->opts.alloc(cx->opts.alloc_payload, raw, total, 0);
}

void ke_free(ke_ctx *cx, void *ptr)
{
    ke__free(cx, ptr);
}
