#include "base/base.h"
#include "base/memory.h"
#include "base/threads.h"
#include "base/utf8.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beyond any machine; keeps a wild number from the thread runtime. */
#define MAX_THREADS 1024

const char *ke_status_text(ke_status st)
{
    switch (st) {
#define CASE(name, value, text)                                                            \
    case KE_##name:                                                                        \
        return text;
        KE_STATUS_MAP(CASE)
#undef CASE
    }
    return "unknown status";
}

const char *ke_status_name(ke_status st)
{
    switch (st) {
#define CASE(name, value, text)                                                            \
    case KE_##name:                                                                        \
        return #name;
        KE_STATUS_MAP(CASE)
#undef CASE
    }
    return "UNKNOWN";
}

const char *ke_version(void)
{
    return KE_VERSION;
}

/* The name as a constant that outlives the caller's string; NULL if unknown. */
static const char *isa_name(const char *name)
{
    static const char *const names[] = {"ref", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return names[i];
    return NULL;
}

ke_ctx *ke_ctx_new(const ke_ctx_opts *opts)
{
    ke_ctx_opts filled = opts ? *opts : (ke_ctx_opts){0};
    const char *isa = filled.isa ? filled.isa : getenv("KE_ISA");
    if (isa && *isa) {
        filled.isa = isa_name(isa);
        if (!filled.isa)
            return NULL;
    }
    if (!filled.alloc)
        filled.alloc = ke__alloc_libc;
    if (filled.n_threads == 0)
        filled.n_threads = ke__cores();
    if (filled.n_threads > MAX_THREADS)
        filled.n_threads = MAX_THREADS;

    ke_ctx *cx = filled.alloc(filled.alloc_payload, NULL, 0, sizeof *cx);
    if (!cx)
        return NULL;
    memset(cx, 0, sizeof *cx);
    cx->opts = filled;
    ke__team_join();
    return cx;
}

void ke_ctx_free(ke_ctx *cx)
{
    if (!cx)
        return;
    cx->opts.alloc(cx->opts.alloc_payload, cx, sizeof *cx, 0);
    ke__team_leave();
}

const char *ke_ctx_message(const ke_ctx *cx)
{
    return cx->message;
}

const char *ke_ctx_where(const ke_ctx *cx)
{
    return cx->where;
}

void ke_ctx_cancel(ke_ctx *cx)
{
    __atomic_store_n(&cx->canceled, 1, __ATOMIC_RELAXED);
}

uint64_t ke_ctx_peak_bytes(const ke_ctx *cx)
{
    return __atomic_load_n(&cx->peak_bytes, __ATOMIC_RELAXED);
}

/* Names from files reach messages: keep those one line, and UTF-8 even where cut. */
static void clean(char *text)
{
    size_t at = 0, left = strlen(text);
    while (left > 0) {
        size_t n = ke__utf8_char(text + at, left);
        if (n == 0 || (unsigned char)text[at] < 0x20 || text[at] == 0x7F) {
            text[at] = '?';
            n = 1;
        }
        at += n;
        left -= n;
    }
}

ke_status ke__fail(ke_ctx *cx, ke_status st, const char *where, const char *format, ...)
{
    /* Allocation may fail in several threads of a parallel region at once. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    /* Copies first: the arguments may be the context's own message. */
    char message[sizeof cx->message], place[sizeof cx->where];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(place, sizeof place, "%s", where ? where : "");
    clean(message);
    clean(place);

    pthread_mutex_lock(&lock);
    memcpy(cx->message, message, sizeof message);
    memcpy(cx->where, place, sizeof place);
    pthread_mutex_unlock(&lock);
    return st;
}

ke_status ke__check_cancel(ke_ctx *cx)
{
    /* Taking the request ends it, so that the context serves the next call. */
    if (!__atomic_load_n(&cx->canceled, __ATOMIC_RELAXED) ||
        !__atomic_exchange_n(&cx->canceled, 0, __ATOMIC_RELAXED))
        return KE_OK;
    return ke__fail(cx, KE_ECANCELED, NULL, "interrupted");
}

ke_status ke__progress(ke_ctx *cx, const char *what, uint64_t done, uint64_t total)
{
    if (cx->opts.progress)
        cx->opts.progress(what, done, total, cx->opts.progress_payload);
    return ke__check_cancel(cx);
}
