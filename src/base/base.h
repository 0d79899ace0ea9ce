/* What every layer stands on: context, errors, memory, threads. Knows nothing above.
 * JSON is used through jansson directly; files, hashes and text are in their own headers.
 */
#ifndef KE_BASE_BASE_H
#define KE_BASE_BASE_H

#include "knowedit/base.h"

#include <stdarg.h>

struct ke_ctx {
    ke_ctx_opts opts;  /* as given, with defaults filled in */
    char message[512]; /* written once by whoever detects the fault */
    char where[256];
    volatile int canceled; /* set by ke_ctx_cancel(), read by every long loop */
    uint64_t live_bytes;   /* atomic: blocks may be allocated inside a parallel region */
    uint64_t peak_bytes;
};

#define KE_TRY(expr)                                                                       \
    do {                                                                                   \
        st = (expr);                                                                       \
        if (st != KE_OK)                                                                   \
            goto done;                                                                     \
    } while (0)

/* Record an error and return its status. `where` may be NULL. Of several in a parallel
 * region, the last is kept. */
ke_status ke__fail(ke_ctx *cx, ke_status st, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* KE_ECANCELED (with its message), once, after the caller asked to stop; else KE_OK. Pass
 * it on: a second look says KE_OK again. */
KE_MUST_CHECK ke_status ke__check_cancel(ke_ctx *cx);
/* Report progress and look at the cancel flag. */
KE_MUST_CHECK ke_status ke__progress(ke_ctx *cx, const char *what, uint64_t done,
                                     uint64_t total);

/* --- memory: 64-byte aligned, counted, through the context's hook ---------------- */

/* n * size zeroed bytes into *out (a pointer to a pointer); overflow is KE_ENOMEM. n == 0
 * gives a valid pointer. On failure *out is NULL. */
KE_MUST_CHECK ke_status ke__alloc(ke_ctx *cx, void *out, size_t n, size_t size);
/* Resize the block at *io to n * size bytes; *io stays valid on failure. New bytes are
 * not zeroed. */
KE_MUST_CHECK ke_status ke__resize(ke_ctx *cx, void *io, size_t n, size_t size);
void ke__free(ke_ctx *cx, void *ptr); /* NULL is fine */
KE_MUST_CHECK ke_status ke__strdup(ke_ctx *cx, char **out, const char *text);
KE_MUST_CHECK ke_status ke__strndup(ke_ctx *cx, char **out, const char *text, size_t bytes);
KE_MUST_CHECK ke_status ke__format(ke_ctx *cx, char **out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* *out = a * b, false on overflow. */
static inline bool ke__mul(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* A growing text buffer; start from {0}. After a failed append it stays usable. */
typedef struct ke__text {
    char *data; /* NUL-terminated once anything was appended; freed with ke__free() */
    size_t bytes, room;
} ke__text;
KE_MUST_CHECK ke_status ke__text_add(ke_ctx *cx, ke__text *t, const char *data,
                                     size_t bytes);
KE_MUST_CHECK ke_status ke__text_addf(ke_ctx *cx, ke__text *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- threads --------------------------------------------------------------------- */

/* Number of threads that this context uses, >= 1. */
unsigned ke__threads(const ke_ctx *cx);
/* Call task(i, thread, payload) for 0 <= i < n on the thread team (0 <= thread <
 * ke__threads). Tasks are handed out in any order: each owns what it writes, so that
 * results do not depend on the number of threads. A nested call runs serially. */
void ke__parallel(ke_ctx *cx, size_t n,
                  void (*task)(size_t i, unsigned thread, void *payload), void *payload);

/* --- machine --------------------------------------------------------------------- */

double ke__now(void);                /* monotonic seconds */
uint64_t ke__memory_available(void); /* bytes that the machine can give; 0 if unknown */
/* The limit that work is planned against: opts.mem_limit_bytes, else what is available. */
uint64_t ke__memory_limit(const ke_ctx *cx);
uint64_t ke__memory_resident_peak(void); /* VmHWM of this process in bytes */
/* Where a hash of what comes from files begins, another each time: no file can choose what
 * falls together. No result may depend on it. */
uint64_t ke__hash_seed(void);

/* --- random numbers: splitmix64, the same everywhere ------------------------------ */

typedef struct ke__rng {
    uint64_t state;
} ke__rng;
static inline uint64_t ke__rng_next(ke__rng *rng)
{
    uint64_t z = (rng->state += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}
/* Uniform in [0, 1). */
static inline double ke__rng_unit(ke__rng *rng)
{
    return (double)(ke__rng_next(rng) >> 11) * 0x1p-53;
}

#endif
