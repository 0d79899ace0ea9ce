#include "base/base.h"
#include "base/memory.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

double ke__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t ke__hash_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)(1e9 * ke__now()) ^ (uintptr_t)&seed; /* early at boot */
    return seed;
}

unsigned ke__cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t holds */
    return n > 0 ? (unsigned)n : 1;
}

/* The number after `key` at the start of a line, in a small file of such lines; "" is the
 * file's first number. False where there is none ("max" in a control group). */
static bool read_number(const char *path, const char *key, uint64_t *out)
{
    char line[256], *end;
    size_t key_bytes = strlen(key);
    bool found = false;
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, key_bytes) != 0)
            continue;
        *out = strtoull(line + key_bytes, &end, 10);
        found = end != line + key_bytes;
    }
    if (f)
        fclose(f);
    return found;
}

/* What the group at `folder` may still take; its file cache gives way to us. */
static uint64_t group_room(const char *folder)
{
    char path[4352];
    uint64_t max, used, cache = 0;
    snprintf(path, sizeof path, "%s/memory.max", folder);
    if (!read_number(path, "", &max))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.current", folder);
    if (!read_number(path, "", &used))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (!read_number(path, "inactive_file ", &cache) || cache > used)
        cache = 0;
    used -= cache;
    return used < max ? max - used : 0;
}

/* The least room of this process's control group (version 2) and those above it. */
static uint64_t groups_room(void)
{
    char line[4096], folder[4224];
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    line[0] = '\0';
    while (f && fgets(line, sizeof line, f) && strncmp(line, "0::/", 4) != 0)
        line[0] = '\0';
    if (f)
        fclose(f);
    if (line[0] == '\0')
        return least;
    line[strcspn(line, "\n")] = '\0';
    snprintf(folder, sizeof folder, "/sys/fs/cgroup%s", line + 3);
    for (;;) {
        uint64_t room = group_room(folder);
        least = room < least ? room : least;
        char *slash = strrchr(folder, '/');
        if ((size_t)(slash - folder) < strlen("/sys/fs/cgroup"))
            return least;
        *slash = '\0';
    }
}

uint64_t ke__memory_available(void)
{
    uint64_t kib, room = groups_room();
    if (!read_number("/proc/meminfo", "MemAvailable:", &kib))
        return room == UINT64_MAX ? 0 : room;
    return kib * 1024 < room ? kib * 1024 : room;
}

uint64_t ke__memory_limit(const ke_ctx *cx)
{
    return cx->opts.mem_limit_bytes ? cx->opts.mem_limit_bytes : ke__memory_available();
}

uint64_t ke__memory_resident_peak(void)
{
    uint64_t kib;
    return read_number("/proc/self/status", "VmHWM:", &kib) ? kib * 1024 : 0;
}
