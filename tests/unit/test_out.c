#include "base/fault.h"
#include "base/file.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* As on a file system without nameless files, and as on a network file system. */
static int no_tmpfile(const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return open(path, flags, mode);
}
static int no_flags(int from_folder, const char *from, int to_folder, const char *to,
                    unsigned flags)
{
    if (flags) {
        errno = EINVAL;
        return -1;
    }
    return renameat2(from_folder, from, to_folder, to, 0);
}
static int no_links(int from_folder, const char *from, int to_folder, const char *to,
                    int flags)
{
    (void)from_folder, (void)from, (void)to_folder, (void)to, (void)flags;
    errno = EPERM;
    return -1;
}

/* The kinds of file systems that an output may lie on. */
enum { NAMELESS, HIDDEN, NO_RENAME_FLAGS, NO_LINKS_EITHER, N_KINDS };

static void use_kind(int kind)
{
    static ke__calls first;
    if (!first.open)
        first = ke__sys;
    ke__sys = first;
    if (kind >= HIDDEN)
        ke__sys.open = no_tmpfile;
    if (kind >= NO_RENAME_FLAGS)
        ke__sys.rename = no_flags;
    if (kind >= NO_LINKS_EITHER)
        ke__sys.link = no_links;
}

static void check_content(const char *path, const char *want)
{
    char text[64] = "";
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(strlen(want), fread(text, 1, sizeof text - 1, f));
    fclose(f);
    assert_string_equal(want, text);
}

static ke_status write_text(ke_ctx *cx, const char *path, const char *text, bool force)
{
    ke_status st = KE_OK;
    ke__out out;
    KE_TRY(ke__out_open(cx, &out, path, force));
    KE_TRY(ke__out_write(cx, &out, text, strlen(text)));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}

static void an_output_appears_at_commit_and_not_before(void **state)
{
    const char *path = scratch_path(state, "f");
    ke_ctx *cx = ke_ctx_new(NULL);
    for (int kind = 0; kind < N_KINDS; kind++) {
        ke__out out;
        char sha[65], *readable;
        use_kind(kind);
        assert_int_equal(KE_OK, ke__out_open(cx, &out, path, false));
        assert_int_equal(KE_OK, ke__out_write(cx, &out, "ab", 2));
        assert_int_equal(KE_OK, ke__out_write(cx, &out, "c", 1));
        assert_int_equal(KE_OK, ke__out_sync(cx, &out, sha));
        assert_string_equal(
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            sha); /* FIPS 180-2, B.1 */
        assert_int_equal(3, out.bytes);
        assert_int_equal(out.temp ? 1 : 0, scratch_count(state));
        assert_false(ke__file_exists(path));
        assert_int_equal(KE_OK, ke__out_readable(cx, &out, &readable));
        check_content(readable, "abc");
        ke__free(cx, readable);
        assert_int_equal(KE_OK, ke__out_commit(cx, &out));
        ke__out_close(cx, &out);
        check_content(path, "abc");
        assert_int_equal(1, scratch_count(state));
        assert_int_equal(0, unlink(path));
    }
    use_kind(NAMELESS);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void an_output_not_committed_leaves_nothing(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    for (int kind = 0; kind < N_KINDS; kind++) {
        ke__out out;
        char sha[65];
        use_kind(kind);
        assert_int_equal(KE_OK, ke__out_open(cx, &out, scratch_path(state, "f"), true));
        assert_int_equal(KE_OK, ke__out_write(cx, &out, "abc", 3));
        assert_int_equal(KE_OK, ke__out_sync(cx, &out, sha));
        ke__out_close(cx, &out);
        assert_int_equal(0, scratch_count(state));
    }
    use_kind(NAMELESS);
    ke_ctx_free(cx);
}

static void an_existing_file_is_replaced_only_by_force(void **state)
{
    const char *path = scratch_path(state, "f");
    ke_ctx *cx = ke_ctx_new(NULL);
    for (int kind = 0; kind < N_KINDS; kind++) {
        ke__out out;
        use_kind(kind);
        scratch_write(path, "precious", 8);
        assert_int_equal(KE_EEXIST, write_text(cx, path, "new", false));
        assert_string_equal("the output exists already", ke_ctx_message(cx));
        check_content(path, "precious");
        assert_int_equal(KE_OK, write_text(cx, path, "new", true));
        check_content(path, "new");
        assert_int_equal(1, scratch_count(state));

        /* One that comes up while ours is being written. */
        assert_int_equal(0, unlink(path));
        assert_int_equal(KE_OK, ke__out_open(cx, &out, path, false));
        scratch_write(path, "precious", 8);
        assert_int_equal(KE_EEXIST, ke__out_commit(cx, &out));
        ke__out_close(cx, &out);
        check_content(path, "precious");
        assert_int_equal(1, scratch_count(state));
    }
    use_kind(NAMELESS);
    ke_ctx_free(cx);
}

static const char *late_path;
static int late_link(int from_folder, const char *from, int to_folder, const char *to,
                     int flags)
{
    scratch_write(late_path, "precious", 8);
    return linkat(from_folder, from, to_folder, to, flags);
}
static int late_rename(int from_folder, const char *from, int to_folder, const char *to,
                       unsigned flags)
{
    scratch_write(late_path, "precious", 8);
    return renameat2(from_folder, from, to_folder, to, flags);
}

static void a_file_that_comes_up_at_the_last_moment_is_kept(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    late_path = scratch_path(state, "f");
    for (int kind = NAMELESS; kind <= HIDDEN; kind++) {
        use_kind(kind);
        ke__sys.link = late_link;
        ke__sys.rename = late_rename;
        assert_int_equal(KE_EEXIST, write_text(cx, late_path, "new", false));
        check_content(late_path, "precious");
        assert_int_equal(1, scratch_count(state));
        assert_int_equal(0, unlink(late_path));
    }
    use_kind(NAMELESS);
    ke_ctx_free(cx);
}

static void the_mode_follows_the_umask(void **state)
{
    struct stat info;
    ke_ctx *cx = ke_ctx_new(NULL);
    mode_t kept = umask(027);
    for (int kind = 0; kind < N_KINDS; kind++) {
        const char *path = scratch_path(state, "f");
        use_kind(kind);
        assert_int_equal(KE_OK, write_text(cx, path, "x", true));
        assert_int_equal(0, stat(path, &info));
        assert_int_equal(0640, info.st_mode & 07777);
        assert_int_equal(0, unlink(path));
    }
    umask(kept);
    use_kind(NAMELESS);
    ke_ctx_free(cx);
}

static void a_link_stays_and_its_file_is_replaced(void **state)
{
    struct stat info;
    const char *file = scratch_path(state, "sub/f"), *alias = scratch_path(state, "alias");
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(0, mkdir(scratch_path(state, "sub"), 0777));
    scratch_write(file, "old", 3);
    assert_int_equal(0, symlink("sub/f", alias));
    assert_int_equal(KE_EEXIST, write_text(cx, alias, "new", false));
    assert_int_equal(KE_OK, write_text(cx, alias, "new", true));
    check_content(file, "new");
    assert_int_equal(0, lstat(alias, &info));
    assert_true(S_ISLNK(info.st_mode));

    /* A dangling link counts as a file that exists. */
    assert_int_equal(0, unlink(file));
    assert_int_equal(KE_EEXIST, write_text(cx, alias, "new", false));
    assert_int_equal(KE_OK, write_text(cx, alias, "new", true));
    assert_int_equal(0, lstat(alias, &info));
    assert_true(S_ISREG(info.st_mode));
    ke_ctx_free(cx);
}

static void check_refused(const char *path, const char *fragment)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_int_equal(KE_EIO, write_text(cx, path, "x", true));
    if (!strstr(ke_ctx_message(cx), fragment))
        fail_msg("\"%s\" lacks \"%s\"", ke_ctx_message(cx), fragment);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void places_that_take_no_file_are_refused(void **state)
{
    assert_int_equal(0, mkdir(scratch_path(state, "dir"), 0777));
    check_refused(scratch_path(state, "dir"), "a folder");
    check_refused(scratch_path(state, "dir/"), "a folder");
    check_refused(scratch_path(state, "none/"), "without a file's name");
    check_refused(scratch_path(state, "none/f"), "No such file or directory");
    check_refused("/dev/null", "not a regular file");
    check_refused("/proc/nope/x.gguf", "cannot write to the folder /proc/nope");
    check_refused("", "without a file's name");
    assert_int_equal(1, scratch_count(state));
}

static void names_may_be_as_long_as_names_can_be(void **state)
{
    char name[256];
    ke_ctx *cx = ke_ctx_new(NULL);
    memset(name, 'n', 255);
    name[255] = '\0';
    for (int kind = 0; kind < N_KINDS; kind++) {
        use_kind(kind);
        assert_int_equal(KE_OK, write_text(cx, scratch_path(state, name), "x", true));
    }
    use_kind(NAMELESS);
    ke_ctx_free(cx);
}

/* --- every call failing once ------------------------------------------------------- */

static int n_calls, fail_at, fail_errno;

static bool fails(void)
{
    bool now = n_calls++ == fail_at;
    if (now)
        errno = fail_errno;
    return now;
}
static ssize_t faulty_write(int fd, const void *data, size_t bytes)
{
    return fails() ? -1 : write(fd, data, bytes);
}
static int faulty_fsync(int fd)
{
    return fails() ? -1 : fsync(fd);
}
static int faulty_link(int from_folder, const char *from, int to_folder, const char *to,
                       int flags)
{
    return fails() ? -1 : linkat(from_folder, from, to_folder, to, flags);
}
static int faulty_rename(int from_folder, const char *from, int to_folder, const char *to,
                         unsigned flags)
{
    return fails() ? -1 : renameat2(from_folder, from, to_folder, to, flags);
}

/* Three megabytes by small and large pieces, then a last few bytes. */
static ke_status write_much(ke_ctx *cx, const char *path, bool force)
{
    static const char block[3 << 19];
    ke_status st = KE_OK;
    ke__out out;
    KE_TRY(ke__out_open(cx, &out, path, force));
    for (int i = 0; i < 3; i++)
        KE_TRY(ke__out_write(cx, &out, block, (size_t)1 << 19));
    KE_TRY(ke__out_write(cx, &out, block, sizeof block));
    KE_TRY(ke__out_write(cx, &out, "end", 3));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}

static void check_faults(void **state, int kind, bool force)
{
    const char *path = scratch_path(state, "f");
    ke_status st = KE_EIO;
    fail_errno = ENOSPC;
    for (fail_at = 0; st != KE_OK; fail_at++) {
        ke_ctx *cx = ke_ctx_new(NULL);
        use_kind(kind);
        ke__sys.write = faulty_write;
        ke__sys.fsync = faulty_fsync;
        ke__sys.link = faulty_link;
        ke__sys.rename = faulty_rename;
        n_calls = 0;
        if (force)
            scratch_write(path, "precious", 8);
        st = write_much(cx, path, force);
        use_kind(NAMELESS);
        assert_true(st == KE_OK || st == KE_EIO);
        if (st == KE_EIO)
            assert_non_null(strstr(ke_ctx_message(cx), "No space left on device"));
        /* The last call syncs the folder: the output is there by then, and whole. */
        bool whole =
            st == KE_OK || strstr(ke_ctx_message(cx), "the output is whole") != NULL;
        assert_int_equal(whole || force ? 1 : 0, scratch_count(state));
        if (whole)
            assert_int_equal(0, unlink(path));
        else if (force)
            check_content(path, "precious");
        assert_int_equal(0, cx->live_bytes);
        ke_ctx_free(cx);
    }
    assert_true(fail_at >= 3 + 1 + 1 + 1 + 1); /* writes, sync, name, folder; then none */
}

static void a_failing_call_leaves_things_as_they_were(void **state)
{
    for (int kind = NAMELESS; kind <= HIDDEN; kind++) {
        check_faults(state, kind, false);
        check_faults(state, kind, true);
    }
}

static ssize_t short_write(int fd, const void *data, size_t bytes)
{
    if (n_calls++ % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return write(fd, data, bytes < 100000 ? bytes : 100000);
}

static void short_and_interrupted_writes_go_on(void **state)
{
    struct stat info;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__sys.write = short_write;
    assert_int_equal(KE_OK, write_much(cx, scratch_path(state, "f"), false));
    use_kind(NAMELESS);
    assert_int_equal(0, stat(scratch_path(state, "f"), &info));
    assert_int_equal((3 << 19) + (3 << 19) + 3, info.st_size);
    ke_ctx_free(cx);
}

static void a_full_disk_says_so(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    use_kind(NAMELESS);
    ke__sys.write = faulty_write;
    n_calls = 0;
    fail_at = 1;
    fail_errno = ENOSPC;
    assert_int_equal(KE_EIO, write_much(cx, scratch_path(state, "f"), false));
    use_kind(NAMELESS);
    assert_string_equal("cannot write after 1572864 bytes: No space left on device",
                        ke_ctx_message(cx));
    assert_string_equal(scratch_path(state, "f"), ke_ctx_where(cx));
    ke_ctx_free(cx);
}

static ke_status write_forced(ke_ctx *cx, void *path)
{
    return write_text(cx, path, "abc", true);
}

static void outputs_survive_every_allocation_failure(void **state)
{
    for (int kind = NAMELESS; kind <= HIDDEN; kind++) {
        use_kind(kind);
        oom_each(write_forced, (void *)(uintptr_t)scratch_path(state, "f"));
        assert_int_equal(1, scratch_count(state));
    }
    use_kind(NAMELESS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_output_appears_at_commit_and_not_before),
        TEST(an_output_not_committed_leaves_nothing),
        TEST(an_existing_file_is_replaced_only_by_force),
        TEST(a_file_that_comes_up_at_the_last_moment_is_kept),
        TEST(the_mode_follows_the_umask),
        TEST(a_link_stays_and_its_file_is_replaced),
        TEST(places_that_take_no_file_are_refused),
        TEST(names_may_be_as_long_as_names_can_be),
        TEST(a_failing_call_leaves_things_as_they_were),
        TEST(short_and_interrupted_writes_go_on),
        TEST(a_full_disk_says_so),
        TEST(outputs_survive_every_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
