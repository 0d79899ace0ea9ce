/* The thread team: OpenMP, or plain threads (-DKE_THREADS_PTHREAD) for ThreadSanitizer,
 * which cannot see into libgomp. */
#include "base/base.h"

#ifdef KE_THREADS_PTHREAD
#include <pthread.h>
#else
#include <omp.h>
#endif

/* Whose task this thread runs, and as which member of the team. */
static _Thread_local struct {
    const ke_ctx *cx; /* NULL: no task of ours */
    unsigned thread;
} current;

typedef void task_fn(size_t i, unsigned thread, void *payload);

unsigned ke__threads(const ke_ctx *cx)
{
    return cx->opts.n_threads;
}

static void run_here(size_t n, unsigned thread, task_fn *task, void *payload)
{
    for (size_t i = 0; i < n; i++)
        task(i, thread, payload);
}

#ifdef KE_THREADS_PTHREAD

typedef struct team {
    ke_ctx *cx;
    task_fn *task;
    void *payload;
    size_t n, next;   /* next: atomic */
    unsigned members; /* atomic */
} team;

static void *member(void *arg)
{
    team *t = arg;
    current.cx = t->cx;
    current.thread = __atomic_fetch_add(&t->members, 1, __ATOMIC_RELAXED);
    size_t i;
    while ((i = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < t->n)
        t->task(i, current.thread, t->payload);
    current.cx = NULL;
    return NULL;
}

static void run_team(ke_ctx *cx, size_t n, task_fn *task, void *payload)
{
    team t = {.cx = cx, .task = task, .payload = payload, .n = n};
    enum { LIMIT = 64 };
    pthread_t threads[LIMIT];
    size_t wanted = n < ke__threads(cx) ? n : ke__threads(cx), started = 0;
    /* Where a thread cannot be had, the others do its share. */
    while (started < LIMIT && started + 1 < wanted &&
           pthread_create(&threads[started], NULL, member, &t) == 0)
        started++;
    member(&t);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

static void run_serial(size_t n, task_fn *task, void *payload)
{
    run_here(n, 0, task, payload);
}

#else

/* Always the whole team: libgomp ends threads when a team shrinks, and starts them again.
 */
static void run_team(ke_ctx *cx, size_t n, task_fn *task, void *payload)
{
#pragma omp parallel num_threads((int)cx->opts.n_threads)
    {
        current.cx = cx;
        current.thread = (unsigned)omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < n; i++)
            task(i, current.thread, payload);
        current.cx = NULL;
    }
}

/* OpenBLAS runs on one thread inside a team by itself; here it must be told, or a product
 * would be summed in another order than with more threads. */
static void run_serial(size_t n, task_fn *task, void *payload)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    run_here(n, 0, task, payload);
    omp_set_num_threads(before);
}

#endif

void ke__parallel(ke_ctx *cx, size_t n, task_fn *task, void *payload)
{
    if (current.cx)
        /* Under a task of the same context, scratch of other members is in use: keep the
         * number. Another context belongs to this thread alone. */
        run_here(n, current.cx == cx ? current.thread : 0, task, payload);
    else if (n <= 1 || cx->opts.n_threads == 1)
        run_serial(n, task, payload);
    else
        run_team(cx, n, task, payload);
}
