/* The thread team: one for the process, shared by all contexts.
 *
 * Members wait for work by spinning for about as long as the gaps within a pass last, and
 * then sleep, so that a busy machine is not kept busier by waiting. The caller works too
 * and waits only for members that took a task: one that the machine has no core for never
 * holds up the rest. (An OpenMP team does both; with four other processes on two cores that
 * made an edit 45 times slower.) OpenBLAS, which has OpenMP threads of its own, is told to
 * use one in every member, so that its sums have one order. */
#include "base/threads.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <pthread.h>
#include <stdatomic.h>

enum {
    MAX_MEMBERS = 256,
    SPINS = 4000,  /* pauses: some 50 to 150 microseconds */
    OPEN = 1 << 16 /* in `door`: members may enter; below it, how many are inside */
};

typedef void task_fn(size_t i, unsigned thread, void *payload);

typedef struct job {
    ke_ctx *cx;
    task_fn *task;
    void *payload;
    size_t n;
    unsigned members; /* including the caller */
} job;

static struct {
    pthread_mutex_t caller; /* held by whoever uses the team */
    pthread_mutex_t lock;   /* for sleeping and waking */
    pthread_mutex_t life;   /* guards n_contexts */
    pthread_cond_t work, left;
    pthread_t threads[MAX_MEMBERS];
    unsigned n_threads, n_contexts;
    job job;
    atomic_size_t next;     /* task to take */
    atomic_uint generation; /* of the job; changes wake the members */
    atomic_uint door;
    atomic_uint sleepers;
    atomic_bool waiting; /* the caller sleeps until the last member has left */
    atomic_bool quit;
} team = {.caller = PTHREAD_MUTEX_INITIALIZER,
          .lock = PTHREAD_MUTEX_INITIALIZER,
          .life = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER,
          .left = PTHREAD_COND_INITIALIZER};

/* Whose task this thread runs, and as which member of the team. */
static _Thread_local struct {
    const ke_ctx *cx; /* NULL: no task of ours */
    unsigned thread;
} current;

unsigned ke__threads(const ke_ctx *cx)
{
    return cx->opts.n_threads;
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* OpenBLAS calls from this thread use `n` threads; the number before is returned. */
static int blas_threads(int n)
{
#ifdef _OPENMP
    int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
#else
    return n;
#endif
}

static void take_tasks(const job *j, unsigned thread)
{
    size_t i;
    current.cx = j->cx;
    current.thread = thread;
    while ((i = atomic_fetch_add(&team.next, 1)) < j->n)
        j->task(i, thread, j->payload);
    current.cx = NULL;
}

/* --- members ------------------------------------------------------------------------- */

static bool enter(void)
{
    unsigned seen = atomic_load(&team.door);
    while (seen & OPEN)
        if (atomic_compare_exchange_weak(&team.door, &seen, seen + 1))
            return true;
    return false;
}

static void leave(void)
{
    if (atomic_fetch_sub(&team.door, 1) == 1 && atomic_load(&team.waiting)) {
        pthread_mutex_lock(&team.lock);
        pthread_cond_signal(&team.left);
        pthread_mutex_unlock(&team.lock);
    }
}

/* Until the generation is no longer `seen`, or the team ends. */
static void await_work(unsigned seen)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&team.generation) != seen || atomic_load(&team.quit))
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&team.lock);
    atomic_fetch_add(&team.sleepers, 1);
    while (atomic_load(&team.generation) == seen && !atomic_load(&team.quit))
        pthread_cond_wait(&team.work, &team.lock);
    atomic_fetch_sub(&team.sleepers, 1);
    pthread_mutex_unlock(&team.lock);
}

static void *member(void *arg)
{
    unsigned thread = (unsigned)(uintptr_t)arg, seen = 0;
    blas_threads(1);
    while (!atomic_load(&team.quit)) {
        await_work(seen);
        seen = atomic_load(&team.generation);
        if (!enter())
            continue;
        if (thread < team.job.members)
            take_tasks(&team.job, thread);
        leave();
    }
    return NULL;
}

/* --- the caller ------------------------------------------------------------------------
 */

/* Where a thread cannot be had, the others do its share. */
static void grow(unsigned members)
{
    while (team.n_threads + 1 < members && team.n_threads < MAX_MEMBERS &&
           pthread_create(&team.threads[team.n_threads], NULL, member,
                          (void *)(uintptr_t)(team.n_threads + 1)) == 0)
        team.n_threads++;
}

static void publish(const job *j)
{
    team.job = *j;
    atomic_store(&team.next, 0);
    atomic_store(&team.door, OPEN);
    atomic_fetch_add(&team.generation, 1);
    if (atomic_load(&team.sleepers) > 0) {
        pthread_mutex_lock(&team.lock);
        pthread_cond_broadcast(&team.work);
        pthread_mutex_unlock(&team.lock);
    }
}

/* No member comes in any more; wait for those inside. */
static void close_door(void)
{
    atomic_fetch_and(&team.door, ~(unsigned)OPEN);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&team.door) == 0)
            return;
        pause_briefly();
    }
    pthread_mutex_lock(&team.lock);
    atomic_store(&team.waiting, true);
    while (atomic_load(&team.door) != 0)
        pthread_cond_wait(&team.left, &team.lock);
    atomic_store(&team.waiting, false);
    pthread_mutex_unlock(&team.lock);
}

static void run_here(size_t n, unsigned thread, task_fn *task, void *payload)
{
    for (size_t i = 0; i < n; i++)
        task(i, thread, payload);
}

/* On this thread alone, as member 0: what a team of one does. */
static void run_alone(size_t n, task_fn *task, void *payload)
{
    int before = blas_threads(1);
    run_here(n, 0, task, payload);
    blas_threads(before);
}

static void run_team(ke_ctx *cx, size_t n, task_fn *task, void *payload)
{
    const job j = {cx, task, payload, n, cx->opts.n_threads};
    int before = blas_threads(1);
    grow(j.members);
    publish(&j);
    take_tasks(&j, 0);
    close_door();
    blas_threads(before);
}

void ke__parallel(ke_ctx *cx, size_t n, task_fn *task, void *payload)
{
    if (current.cx)
        /* Under a task of the same context, scratch of other members is in use: keep the
         * number. Another context belongs to this thread alone. */
        run_here(n, current.cx == cx ? current.thread : 0, task, payload);
    else if (n <= 1 || cx->opts.n_threads == 1)
        run_alone(n, task, payload);
    else if (pthread_mutex_trylock(&team.caller) != 0)
        run_alone(n, task, payload); /* another context has the team: all cores are busy */
    else {
        run_team(cx, n, task, payload);
        pthread_mutex_unlock(&team.caller);
    }
}

/* --- life-time
 * ---------------------------------------------------------------------------- */

void ke__team_join(void)
{
    pthread_mutex_lock(&team.life);
    team.n_contexts++;
    pthread_mutex_unlock(&team.life);
}

void ke__team_leave(void)
{
    pthread_mutex_lock(&team.life);
    if (--team.n_contexts == 0 && team.n_threads > 0) {
        pthread_mutex_lock(&team.lock);
        atomic_store(&team.quit, true);
        pthread_cond_broadcast(&team.work);
        pthread_mutex_unlock(&team.lock);
        while (team.n_threads > 0)
            pthread_join(team.threads[--team.n_threads], NULL);
        atomic_store(&team.quit, false);
    }
    pthread_mutex_unlock(&team.life);
}
