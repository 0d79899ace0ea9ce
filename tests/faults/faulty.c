#include "faults/faulty.h"

#include "base/memory.h"
#include "support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

enum { MAX_ARGS = 40, CODE_LEAK = 97 };

int faulty_main(int argc, char **argv);

/* What a child counts, where its parent sees it even after a crash. */
typedef struct tally {
    long n_calls[FAULTY_KINDS], n_live;
    char hit[16];
} tally;
static tally *seen;
static faulty_plan plan = {.at = -1};

/* Whether this call of a kind is to fail. Calls may come from several threads. */
static bool fails(enum faulty_kind kind)
{
    if (!seen)
        return false;
    long k = __atomic_fetch_add(&seen->n_calls[kind], 1, __ATOMIC_RELAXED);
    return plan.kind == kind && plan.at >= 0 && (k == plan.at || (plan.on && k > plan.at));
}

static void count_live(long more)
{
    if (seen)
        __atomic_add_fetch(&seen->n_live, more, __ATOMIC_RELAXED);
}

/* --- allocations -------------------------------------------------------------------- */

void *__real_ke__alloc_libc(void *payload, void *ptr, size_t old_bytes, size_t new_bytes);
void *__wrap_ke__alloc_libc(void *payload, void *ptr, size_t old_bytes, size_t new_bytes);

void *__wrap_ke__alloc_libc(void *payload, void *ptr, size_t old_bytes, size_t new_bytes)
{
    if (new_bytes > 0 && fails(FAULTY_ALLOC))
        return NULL;
    void *fresh = __real_ke__alloc_libc(payload, ptr, old_bytes, new_bytes);
    count_live((fresh && !ptr) - (new_bytes == 0 && ptr));
    return fresh;
}

/* jansson's parser loses a byte where its buffer cannot grow, and says nothing: what fails
 * is the making and writing of values. */
static bool parsing;

json_t *__real_json_loads(const char *text, size_t flags, json_error_t *error);
json_t *__wrap_json_loads(const char *text, size_t flags, json_error_t *error);
json_t *__real_json_loadb(const char *data, size_t n, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *data, size_t n, size_t flags, json_error_t *error);

json_t *__wrap_json_loads(const char *text, size_t flags, json_error_t *error)
{
    parsing = true;
    json_t *value = __real_json_loads(text, flags, error);
    parsing = false;
    return value;
}

json_t *__wrap_json_loadb(const char *data, size_t n, size_t flags, json_error_t *error)
{
    parsing = true;
    json_t *value = __real_json_loadb(data, n, flags, error);
    parsing = false;
    return value;
}

static void *json_allocate(size_t bytes)
{
    void *fresh = !parsing && fails(FAULTY_LIBRARY) ? NULL : malloc(bytes);
    count_live(fresh != NULL);
    return fresh;
}

static void json_release(void *ptr)
{
    count_live(-(ptr != NULL));
    free(ptr);
}

static sqlite3_mem_methods sqlite_memory;

static void *sqlite_allocate(int bytes)
{
    return fails(FAULTY_LIBRARY) ? NULL : sqlite_memory.xMalloc(bytes);
}

static void *sqlite_resize(void *ptr, int bytes)
{
    return fails(FAULTY_LIBRARY) ? NULL : sqlite_memory.xRealloc(ptr, bytes);
}

/* --- system calls ------------------------------------------------------------------- */

/* Fails with the plan's errno; *half: it is to do half of its work instead. */
static bool call_fails(const char *name, bool *half)
{
    *half = false;
    if (!fails(FAULTY_CALL))
        return false;
    snprintf(seen->hit, sizeof seen->hit, "%s", name);
    if (plan.dies)
        kill(getpid(), SIGKILL);
    *half = plan.error == 0;
    errno = plan.error;
    return !*half;
}

static bool call_breaks(const char *name)
{
    bool half;
    return call_fails(name, &half);
}

/* NAME(arguments), which gives `bad` where it fails. */
#define WRAP(type, name, bad, parameters, arguments)                                       \
    type __real_##name parameters;                                                         \
    type __wrap_##name parameters;                                                         \
    type __wrap_##name parameters                                                          \
    {                                                                                      \
        return call_breaks(#name) ? (bad) : __real_##name arguments;                       \
    }

/* The same, with a number of bytes `n` that can be done by halves. */
#define WRAP_PART(name, parameters, arguments)                                             \
    ssize_t __real_##name parameters;                                                      \
    ssize_t __wrap_##name parameters;                                                      \
    ssize_t __wrap_##name parameters                                                       \
    {                                                                                      \
        bool half;                                                                         \
        if (call_fails(#name, &half))                                                      \
            return -1;                                                                     \
        n = half ? (n + 1) / 2 : n;                                                        \
        return __real_##name arguments;                                                    \
    }

WRAP_PART(read, (int fd, void *data, size_t n), (fd, data, n))
WRAP_PART(write, (int fd, const void *data, size_t n), (fd, data, n))
WRAP(int, link, -1, (const char *from, const char *to), (from, to))
WRAP(int, linkat, -1,
     (int from_dir, const char *from, int to_dir, const char *to, int flags),
     (from_dir, from, to_dir, to, flags))
WRAP(int, rename, -1, (const char *from, const char *to), (from, to))
WRAP(int, renameat2, -1,
     (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags))
WRAP(void *, mmap, MAP_FAILED,
     (void *at, size_t bytes, int access, int flags, int fd, off_t offset),
     (at, bytes, access, flags, fd, offset))
WRAP(FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode))
WRAP(int, mkdir, -1, (const char *path, mode_t mode), (path, mode))
WRAP(char *, mkdtemp, NULL, (char *path), (path))

/* Nobody pulls the plug here, and to sync takes longer than all the rest. */
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return call_breaks("fsync") ? -1 : 0;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (plan.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return call_breaks("open") ? -1 : __real_open(path, flags, mode);
}

static int sqlite_open(const char *path, int flags, int mode)
{
    return call_breaks("open") ? -1 : open(path, flags, mode);
}
static ssize_t sqlite_pread(int fd, void *data, size_t n, off_t at)
{
    bool half;
    if (call_fails("pread", &half))
        return -1;
    return pread(fd, data, half ? (n + 1) / 2 : n, at);
}
static ssize_t sqlite_pwrite(int fd, const void *data, size_t n, off_t at)
{
    bool half;
    if (call_fails("pwrite", &half))
        return -1;
    return pwrite(fd, data, half ? (n + 1) / 2 : n, at);
}
static int sqlite_ftruncate(int fd, off_t bytes)
{
    return call_breaks("ftruncate") ? -1 : ftruncate(fd, bytes);
}

/* --- the child ---------------------------------------------------------------------- */

static void hook_libraries(void)
{
    static const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {{"open", (sqlite3_syscall_ptr)sqlite_open},
                 {"pread", (sqlite3_syscall_ptr)sqlite_pread},
                 {"pread64", (sqlite3_syscall_ptr)sqlite_pread},
                 {"pwrite", (sqlite3_syscall_ptr)sqlite_pwrite},
                 {"pwrite64", (sqlite3_syscall_ptr)sqlite_pwrite},
                 {"ftruncate", (sqlite3_syscall_ptr)sqlite_ftruncate}};
    json_set_alloc_funcs(json_allocate, json_release);
    sqlite3_shutdown();
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory);
    sqlite3_mem_methods memory = sqlite_memory;
    memory.xMalloc = sqlite_allocate;
    memory.xRealloc = sqlite_resize;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    sqlite3_initialize();
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        vfs->xSetSystemCall(vfs, calls[i].name, calls[i].call);
}

static void child(const char *folder, const char *const *args, int out, int err,
                  const faulty_plan *wanted, tally *shared)
{
    char *argv[MAX_ARGS + 1] = {"knowedit"};
    int argc = 1;
    for (; args[argc - 1] && argc < MAX_ARGS; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
    if (chdir(folder) != 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    hook_libraries();
    plan = *wanted;
    seen = shared;
    int code = faulty_main(argc, argv);
    seen = NULL;
#ifdef __SANITIZE_ADDRESS__
    /* What libraries keep is not on this list; what they were given by us is. */
    if (__lsan_do_recoverable_leak_check())
        code = CODE_LEAK;
#endif
    _exit(code);
}

static void drain(int fd, char *text, size_t room)
{
    ssize_t n = pread(fd, text, room - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    assert_int_equal(0, ftruncate(fd, 0));
    lseek(fd, 0, SEEK_SET);
}

/* End a child after so many seconds of processor time, which do not depend on what else the
 * machine does. By one thread they never run faster than the clock. */
static void kill_after(pid_t pid, double seconds)
{
    clockid_t clock;
    struct timespec spent;
    siginfo_t ended = {0};
    assert_int_equal(0, clock_getcpuclockid(pid, &clock));
    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0 && clock_gettime(clock, &spent) == 0) {
        double left = seconds - (double)spent.tv_sec - 1e-9 * (double)spent.tv_nsec;
        if (left <= 0)
            break;
        left = fmin(fmax(left, 2e-5), 0.5);
        nanosleep(&(struct timespec){.tv_nsec = (long)(left * 1e9)}, NULL);
    }
    kill(pid, SIGKILL);
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

void faulty_start(faulty_run *run, void **state, const char *const *args,
                  const faulty_plan *wanted)
{
    static int out = -1, err = -1;
    static tally *shared;
    int status = 0;
    if (!shared) {
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(shared != MAP_FAILED);
        out = memfd_create("out", MFD_CLOEXEC);
        err = memfd_create("err", MFD_CLOEXEC);
        assert_true(out >= 0 && err >= 0);
    }
    *shared = (tally){0};
    pid_t pid = fork();
    if (pid == 0)
        child(*state, args, out, err, wanted, shared);
    assert_true(pid > 0);
    if (wanted->kill_after > 0)
        kill_after(pid, wanted->kill_after);
    struct rusage used;
    assert_int_equal(pid, wait4(pid, &status, 0, &used));
    run->seconds = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    run->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    memcpy(run->n_calls, shared->n_calls, sizeof run->n_calls);
    run->n_live = shared->n_live;
    snprintf(run->hit, sizeof run->hit, "%.15s", shared->hit);
    drain(out, run->out, sizeof run->out);
    drain(err, run->err, sizeof run->err);
}

long faulty_number(const char *name, long fallback)
{
    const char *text = getenv(name);
    return text && atol(text) > 0 ? atol(text) : fallback;
}
