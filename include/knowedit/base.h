/**
 * @file knowedit/base.h
 * @brief Status codes and the context that every call takes first.
 *
 * A context carries the allocator, the last error, progress and cancellation.
 * Use one context per thread of control; several may work on one model at once.
 *
 *     ke_ctx *cx = ke_ctx_new(NULL);
 *     ke_model *m = NULL;
 *     if (ke_model_open(cx, &m, "base.gguf") != KE_OK)
 *         fprintf(stderr, "%s\n", ke_ctx_message(cx));
 *     ke_model_close(cx, m);
 *     ke_ctx_free(cx);
 */
#ifndef KNOWEDIT_BASE_H
#define KNOWEDIT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KE_API        __attribute__((visibility("default")))
#define KE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define KE_API
#define KE_MUST_CHECK
#endif

#define KE_VERSION "0.1.0"

/** X(name, value, text): the values are permanent. */
#define KE_STATUS_MAP(X)                                                                   \
    X(OK, 0, "done")                                                                       \
    X(ENOMEM, -1, "out of memory")                                                         \
    X(EINVAL, -2, "invalid argument")                                                      \
    X(EIO, -3, "input or output failed")                                                   \
    X(EFORMAT, -4, "malformed file")                                                       \
    X(ENOTSUP, -5, "not supported")                                                        \
    X(ENUMERIC, -6, "not a number, or a matrix that cannot be factorised")                 \
    X(ECANCELED, -7, "interrupted")                                                        \
    X(EEXIST, -8, "output exists")                                                         \
    X(ENOENT, -9, "not found")                                                             \
    X(ELIMIT, -10, "memory limit")                                                         \
    X(EMISMATCH, -11, "belongs to another file")

typedef enum ke_status {
#define KE_STATUS_ENUM(name, value, text) KE_##name = value,
    KE_STATUS_MAP(KE_STATUS_ENUM)
#undef KE_STATUS_ENUM
} ke_status;

/** The text of a status, e.g. "out of memory". Never NULL. */
KE_API const char *ke_status_text(ke_status st);
/** The name of a status as scripts see it, e.g. "ENOMEM". Never NULL. */
KE_API const char *ke_status_name(ke_status st);

/** Opaque. What was made with a context is freed with it, and before it. */
typedef struct ke_ctx ke_ctx;

/**
 * Allocator: resize `ptr` from `old_bytes` to `new_bytes` (0 frees and returns
 * NULL); NULL `ptr` allocates. Returns memory aligned to at least 16 bytes, or
 * NULL, leaving `ptr` valid. May be called from several threads.
 */
typedef void *(*ke_alloc_fn)(void *payload, void *ptr, size_t old_bytes, size_t new_bytes);

/** Progress of a long call: `done` of `total` steps of `what`. */
typedef void (*ke_progress_fn)(const char *what, uint64_t done, uint64_t total,
                               void *payload);

/** Choices of a context; start from {0}. */
typedef struct ke_ctx_opts {
    ke_alloc_fn alloc; /**< NULL: the C library's. */
    void *alloc_payload;
    ke_progress_fn progress; /**< NULL: silent. */
    void *progress_payload;
    unsigned n_threads;       /**< 0: one per core. */
    const char *isa;          /**< "ref", "avx2", "avx512"; NULL: $KE_ISA or the best. */
    uint64_t mem_limit_bytes; /**< 0: what the machine has free. */
    /** Outputs are made and checked, but get no name; the cache folder stays as it is. */
    bool dry_run;
} ke_ctx_opts;

/** A new context, or NULL if memory is short or `opts` or $KE_ISA names an unknown isa. */
KE_API ke_ctx *ke_ctx_new(const ke_ctx_opts *opts);
/** Free a context; NULL is fine. Everything made with it must be freed before. */
KE_API void ke_ctx_free(ke_ctx *cx);

/** What went wrong in the last failed call, with the numbers. Never NULL. */
KE_API const char *ke_ctx_message(const ke_ctx *cx);
/** Where: a file, a tensor, a setting; "" if nowhere in particular. */
KE_API const char *ke_ctx_where(const ke_ctx *cx);
/**
 * Ask the running call to stop; it returns KE_ECANCELED and the context serves on.
 * Safe in a signal handler and from other threads.
 */
KE_API void ke_ctx_cancel(ke_ctx *cx);
/** Largest number of bytes allocated at once so far (mapped files not counted). */
KE_API uint64_t ke_ctx_peak_bytes(const ke_ctx *cx);
/** The kernels in use: "ref", "avx2" or "avx512"; "" if the processor lacks those asked
 * for. */
KE_API const char *ke_ctx_isa(const ke_ctx *cx);
/** Free a string or array that a call returned as the caller's. NULL is fine. */
KE_API void ke_free(ke_ctx *cx, void *ptr);
/** The library's version, e.g. "0.1.0". */
KE_API const char *ke_version(void);

#ifdef __cplusplus
}
#endif
#endif
