#include "base/fault.h"
#include "base/file.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void check_map_refused(const char *path, ke_status want, const char *fragment)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__map map;
    assert_int_equal(want, ke__map_open(cx, &map, path));
    assert_non_null(strstr(ke_ctx_message(cx), fragment));
    assert_string_equal(path, ke_ctx_where(cx));
    assert_null(map.data);
    ke__map_close(cx, &map);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void only_regular_files_with_data_are_mapped(void **state)
{
    const char *empty = scratch_path(state, "empty"), *fifo = scratch_path(state, "fifo");
    scratch_write(empty, "", 0);
    assert_int_equal(0, mkfifo(fifo, 0600));
    check_map_refused(scratch_path(state, "missing"), KE_EIO, "No such file");
    check_map_refused(*state, KE_EFORMAT, "a folder where a regular file");
    check_map_refused("/dev/null", KE_EFORMAT, "a device");
    check_map_refused(fifo, KE_EFORMAT, "pipe");
    check_map_refused(empty, KE_EFORMAT, "an empty file");
}

static ke_status map_it(ke_ctx *cx, void *path)
{
    ke__map map;
    struct stat info;
    ke_status st = ke__map_open(cx, &map, path);
    if (st == KE_OK) {
        assert_int_equal(5, map.bytes);
        assert_memory_equal("bytes", map.data, 5);
        assert_string_equal(path, map.path);
        assert_int_equal(0, stat(path, &info));
        assert_true(info.st_ino == map.ino && info.st_dev == map.dev);
    }
    ke__map_close(cx, &map);
    return st;
}

static void a_map_shows_the_files_bytes(void **state)
{
    const char *path = scratch_path(state, "f");
    scratch_write(path, "bytes", 5);
    oom_each(map_it, (void *)(uintptr_t)path);
}

static ke_status read_it(ke_ctx *cx, void *path)
{
    char *text;
    size_t bytes;
    ke_status st = ke__file_read(cx, &text, &bytes, path, 1 << 20);
    if (st == KE_OK) {
        assert_int_equal(300000, bytes);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal('a' + (int)(i % 26), text[i]);
        assert_int_equal('\0', text[bytes]);
    } else {
        assert_null(text);
    }
    ke__free(cx, text);
    return st;
}

static void write_alphabet(const char *path)
{
    static char text[300000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 26);
    scratch_write(path, text, sizeof text);
}

static void a_file_is_read_whole(void **state)
{
    const char *path = scratch_path(state, "f");
    write_alphabet(path);
    oom_each(read_it, (void *)(uintptr_t)path);
}

static void reading_has_a_limit(void **state)
{
    const char *path = scratch_path(state, "f");
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    size_t bytes;
    scratch_write(path, "12345", 5);
    assert_int_equal(KE_OK, ke__file_read(cx, &text, &bytes, path, 5));
    assert_string_equal("12345", text);
    ke__free(cx, text);
    assert_int_equal(KE_EFORMAT, ke__file_read(cx, &text, &bytes, path, 4));
    assert_string_equal("the file has more than 4 bytes", ke_ctx_message(cx));
    assert_int_equal(KE_EFORMAT, ke__file_read(cx, &text, &bytes, "/dev/zero", 1 << 20));
    assert_int_equal(KE_EIO, ke__file_read(cx, &text, &bytes, *state, 10));
    assert_non_null(strstr(ke_ctx_message(cx), "Is a directory"));
    assert_int_equal(KE_EIO,
                     ke__file_read(cx, &text, &bytes, scratch_path(state, "missing"), 10));
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, ke__file_read(cx, &text, &bytes, "/dev/zero", SIZE_MAX));
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void a_dash_is_standard_input(void **state)
{
    int ends[2], kept = dup(STDIN_FILENO);
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    size_t bytes;
    (void)state;
    assert_int_equal(0, pipe(ends));
    assert_int_equal(2, write(ends[1], "in", 2));
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    assert_int_equal(KE_OK, ke__file_read(cx, &text, &bytes, "-", 100));
    assert_string_equal("in", text);
    ke__free(cx, text);
    assert_int_equal(0, fcntl(STDIN_FILENO, F_GETFD)); /* still open */
    dup2(kept, STDIN_FILENO);
    close(kept);
    close(ends[0]);
    ke_ctx_free(cx);
}

static int n_reads;
static ssize_t interrupted_read(int fd, void *data, size_t bytes)
{
    if (n_reads++ % 2 == 0) {
        errno = EINTR;
        return -1;
    }
    return read(fd, data, bytes < 1000 ? bytes : 1000);
}
static ssize_t failing_read(int fd, void *data, size_t bytes)
{
    (void)fd, (void)data, (void)bytes;
    errno = EIO;
    return -1;
}

static void reads_go_on_after_interruption_and_report_errors(void **state)
{
    const char *path = scratch_path(state, "f");
    ke__calls kept = ke__sys;
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text;
    size_t bytes;
    write_alphabet(path);
    ke__sys.read = interrupted_read;
    assert_int_equal(KE_OK, read_it(cx, (void *)(uintptr_t)path));
    ke__sys.read = failing_read;
    assert_int_equal(KE_EIO, ke__file_read(cx, &text, &bytes, path, 1 << 20));
    assert_string_equal("cannot read after 0 bytes: Input/output error",
                        ke_ctx_message(cx));
    ke__sys = kept;
    ke_ctx_free(cx);
}

static void files_are_told_apart_by_identity(void **state)
{
    const char *a = scratch_path(state, "a"), *b = scratch_path(state, "b");
    const char *link_a = scratch_path(state, "link"), *none = scratch_path(state, "none");
    scratch_write(a, "x", 1);
    scratch_write(b, "x", 1);
    assert_int_equal(0, symlink(a, link_a));
    assert_true(ke__file_exists(a));
    assert_false(ke__file_exists(none));
    assert_true(ke__file_same(a, link_a));
    assert_false(ke__file_same(a, b));
    assert_false(ke__file_same(a, none));
    assert_false(ke__file_same(none, link_a));
}

/* A file that is not there yet is known by its folder and name. */
static void files_to_be_are_told_apart_by_place(void **state)
{
    char folder[200], other_way[300];
    const char *none = scratch_path(state, "none"), *more = scratch_path(state, "more");
    snprintf(folder, sizeof folder, "%s", scratch_path(state, "sub"));
    assert_int_equal(0, mkdir(folder, 0700));
    snprintf(other_way, sizeof other_way, "%s/../none", folder);
    assert_true(ke__file_same(none, none));
    assert_true(ke__file_same(none, other_way));
    assert_false(ke__file_same(none, more));
    assert_true(ke__file_same("nosuch.file", "./nosuch.file"));
    assert_int_equal(0, rmdir(folder));
}

static void check_cache(const char *want)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    char *folder;
    assert_int_equal(KE_OK, ke__cache_folder(cx, &folder));
    assert_string_equal(want, folder);
    assert_true(ke__file_exists(folder));
    ke__free(cx, folder);
    ke_ctx_free(cx);
}

static void the_cache_folder_is_found_and_made(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    char *folder;
    setenv("HOME", scratch_path(state, "home"), 1);
    unsetenv("KNOWEDIT_CACHE");
    unsetenv("XDG_CACHE_HOME");
    check_cache(scratch_path(state, "home/.cache/knowedit"));
    setenv("XDG_CACHE_HOME", "relative", 1); /* to be ignored */
    check_cache(scratch_path(state, "home/.cache/knowedit"));
    setenv("XDG_CACHE_HOME", scratch_path(state, "xdg"), 1);
    check_cache(scratch_path(state, "xdg/knowedit"));
    setenv("KNOWEDIT_CACHE", scratch_path(state, "own/deep"), 1);
    check_cache(scratch_path(state, "own/deep"));

    scratch_write(scratch_path(state, "file"), "x", 1);
    setenv("KNOWEDIT_CACHE", scratch_path(state, "file"), 1);
    assert_int_equal(KE_EIO, ke__cache_folder(cx, &folder));
    assert_null(folder);
    setenv("KNOWEDIT_CACHE", scratch_path(state, "file/below"), 1);
    assert_int_equal(KE_EIO, ke__cache_folder(cx, &folder));
    unsetenv("KNOWEDIT_CACHE");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    assert_int_equal(KE_ENOENT, ke__cache_folder(cx, &folder));
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static ke_status hash_it(ke_ctx *cx, void *payload)
{
    char hex[65];
    ke_status st = ke__sha256_of(cx, hex, "abc", 3);
    (void)payload;
    /* FIPS 180-2, appendix B.1. */
    if (st == KE_OK)
        assert_string_equal(
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", hex);
    return st;
}

static void hashes_are_those_of_the_standard(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__sha256 *sha;
    char hex[65];
    assert_int_equal(KE_OK, hash_it(cx, NULL));
    assert_int_equal(KE_OK, ke__sha256_of(cx, hex, "", 0));
    assert_string_equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                        hex);
    /* B.3: a million times "a", in uneven pieces. */
    char piece[1000];
    memset(piece, 'a', sizeof piece);
    assert_int_equal(KE_OK, ke__sha256_new(cx, &sha));
    for (size_t left = 1000000, n = 1; left > 0; left -= n, n = n % 999 + 1) {
        n = n < left ? n : left;
        ke__sha256_add(sha, piece, n);
    }
    ke__sha256_hex(sha, hex);
    ke__sha256_free(cx, sha);
    assert_string_equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
                        hex);
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, ke__sha256_of(cx, hex, "abc", 3));
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_regular_files_with_data_are_mapped),
        TEST(a_map_shows_the_files_bytes),
        TEST(a_file_is_read_whole),
        TEST(reading_has_a_limit),
        TEST(a_dash_is_standard_input),
        TEST(reads_go_on_after_interruption_and_report_errors),
        TEST(files_are_told_apart_by_identity),
        TEST(files_to_be_are_told_apart_by_place),
        TEST(the_cache_folder_is_found_and_made),
        cmocka_unit_test(hashes_are_those_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
