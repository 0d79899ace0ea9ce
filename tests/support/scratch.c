#include "support/scratch.h"

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int scratch_make(void **state)
{
    const char *root = getenv("TMPDIR");
    char *path = malloc(4096);
    if (!path)
        return -1;
    snprintf(path, 4096, "%s/knowedit-test-XXXXXX", root && *root ? root : "/tmp");
    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static int drop(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info, (void)type, (void)ftw;
    return remove(path);
}

int scratch_remove(void **state)
{
    int bad = nftw(*state, drop, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return bad;
}

const char *scratch_path(void **state, const char *name)
{
    static char paths[8][4608];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", (char *)*state, name);
    return path;
}

int scratch_count(void **state)
{
    int n = -2; /* . and .. */
    DIR *folder = opendir(*state);
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

void scratch_write(const char *path, const void *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(bytes, fwrite(data, 1, bytes, f));
    assert_int_equal(0, fclose(f));
}
