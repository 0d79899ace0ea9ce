/* The file of a run: what is put in comes out in order, what is cut off leaves nothing, and
 * what is no run is left alone. */
#include "study/store.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static ke_ctx *cx;

static int set_up(void **state)
{
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke_ctx_free(cx);
    return scratch_remove(state);
}

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

static void refused(ke_status st, ke_status expected, const char *says)
{
    assert_int_equal(st, expected);
    if (!strstr(ke_ctx_message(cx), says))
        fail_msg("expected \"%s\" in \"%s\"", says, ke_ctx_message(cx));
}

/* Two files, three cases, one bad record; rows are put by the tests. */
static ke__store *begin(const char *path)
{
    ke__store *s = NULL;
    ok(ke__store_open(cx, &s, path));
    ok(ke__store_begin(cx, s));
    ok(ke__store_put_setting(cx, s, "seed", "3"));
    ok(ke__store_put_setting(cx, s, "model", "abc"));
    ok(ke__store_put_file(cx, s, 0, "a.json", "00"));
    ok(ke__store_put_file(cx, s, 1, "b.json", "11"));
    ok(ke__store_put_case(cx, s,
                          &(ke__store_case){.file = 1, .set = "zsre", .prompt = "p"}));
    ok(ke__store_put_case(
        cx, s, &(ke__store_case){.index = 7, .set = "wikibio", .subject = "Zoë"}));
    ok(ke__store_put_case(cx, s, &(ke__store_case){.index = 2, .set = "wikibio"}));
    ok(ke__store_put_bad(cx, s, 0, 5, "a.json:9: record 6: no subject"));
    ok(ke__store_commit(cx, s));
    return s;
}

static void put_row(ke__store *s, size_t file, size_t index, size_t order,
                    const char *method, const char *protocol, const char *body)
{
    ok(ke__store_begin(cx, s));
    ok(ke__store_put_row(cx, s,
                         &(ke__store_row){.file = file,
                                          .index = index,
                                          .method_order = order,
                                          .method = method,
                                          .protocol = protocol,
                                          .at = "each",
                                          .body = body,
                                          .seconds_edit = 0.5,
                                          .seconds_evaluate = 2,
                                          .peak_bytes = 1U << 31}));
    ok(ke__store_commit(cx, s));
}

/* --- what visits write down, a line each --- */

static char seen[2048];

static void see(const char *format, ...)
{
    size_t at = strlen(seen);
    va_list args;
    va_start(args, format);
    vsnprintf(seen + at, sizeof seen - at, format, args);
    va_end(args);
}

static ke_status see_setting(ke_ctx *c, const char *name, const char *value, void *payload)
{
    (void)c, (void)payload;
    see("%s=%s\n", name, value);
    return KE_OK;
}

static ke_status see_case(ke_ctx *c, const ke__store_case *k, void *payload)
{
    (void)c, (void)payload;
    see("%s %zu %s %s\n", k->file_name, k->index, k->set, k->subject ? k->subject : "-");
    return KE_OK;
}

static ke_status see_row(ke_ctx *c, const ke__store_row *r, void *payload)
{
    (void)c, (void)payload;
    see("%s %zu %s %s %s %s %s %s\n", r->file_name, r->index, r->set, r->method,
        r->protocol, r->at, r->body, r->error ? r->error : "-");
    assert_true(r->seconds_edit == 0.5 && r->seconds_evaluate == 2);
    assert_true(r->peak_bytes == 1U << 31);
    return KE_OK;
}

static ke_status see_bad(ke_ctx *c, const char *file, size_t index, const char *message,
                         void *payload)
{
    (void)c, (void)payload;
    see("%s %zu %s\n", file, index, message);
    return KE_OK;
}

static void saw(const char *expected)
{
    assert_string_equal(seen, expected);
    seen[0] = '\0';
}

/* --- tests --- */

static void what_is_put_comes_out_in_order(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    ke__store *s = begin(path);
    size_t n = 9;
    char *text = NULL;
    double seconds = 0;
    put_row(s, 1, 0, 1, "rome", "real", "{\"a\":1}");
    put_row(s, 0, 7, 0, "none", "real", "{}");
    put_row(s, 0, 2, 1, "rome", "easyedit", "{}");
    put_row(s, 0, 7, 0, "none", "easyedit", "{}");
    put_row(s, 0, 2, 0, "none", "easyedit", "{}");
    ok(ke__store_begin(cx, s));
    ok(ke__store_put_before(cx, s, 0, 7, "{\"x\":[]}", 1.5));
    ok(ke__store_commit(cx, s));
    ke__store_close(cx, s);

    ok(ke__store_read(cx, &s, path));
    ok(ke__store_settings(cx, s, see_setting, NULL));
    saw("seed=3\nmodel=abc\n");
    ok(ke__store_cases(cx, s, see_case, NULL));
    saw("a.json 2 wikibio -\na.json 7 wikibio Zoë\nb.json 0 zsre -\n");
    ok(ke__store_rows(cx, s, see_row, NULL));
    saw("a.json 2 wikibio none easyedit each {} -\n"
        "a.json 2 wikibio rome easyedit each {} -\n"
        "a.json 7 wikibio none easyedit each {} -\n"
        "a.json 7 wikibio none real each {} -\n"
        "b.json 0 zsre rome real each {\"a\":1} -\n");
    ok(ke__store_bad(cx, s, see_bad, NULL));
    saw("a.json 5 a.json:9: record 6: no subject\n");

    ok(ke__store_setting(cx, s, "seed", &text));
    assert_string_equal(text, "3");
    ke__free(cx, text);
    ok(ke__store_setting(cx, s, "chat", &text));
    assert_null(text);
    ok(ke__store_file(cx, s, 1, &text));
    assert_string_equal(text, "b.json");
    ke__free(cx, text);
    ok(ke__store_before(cx, s, 0, 7, &text, &seconds));
    assert_string_equal(text, "{\"x\":[]}");
    ke__free(cx, text);
    ok(ke__store_before(cx, s, 0, 2, &text, &seconds));
    assert_null(text);
    ok(ke__store_count(cx, s, 0, 7, "none", "each", &n));
    assert_int_equal(n, 2);
    ok(ke__store_count(cx, s, 0, 7, "none", "end", &n));
    assert_int_equal(n, 0);
    ke__store_close(cx, s);
}

static void what_is_not_committed_leaves_nothing(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    ke__store *s = begin(path);
    put_row(s, 0, 2, 0, "none", "easyedit", "{}");
    ok(ke__store_begin(cx, s));
    ok(ke__store_put_before(cx, s, 0, 2, "{}", 1));
    ke__store_close(cx, s);
    ok(ke__store_open(cx, &s, path));
    size_t n = 0;
    char *text = NULL;
    double seconds;
    ok(ke__store_before(cx, s, 0, 2, &text, &seconds));
    assert_null(text);
    ok(ke__store_count(cx, s, 0, 2, "none", "each", &n));
    assert_int_equal(n, 1);
    ke__store_close(cx, s);
}

static void a_row_is_put_once(void **state)
{
    ke__store *s = begin(scratch_path(state, "run.sqlite"));
    put_row(s, 0, 2, 0, "none", "easyedit", "{}");
    ok(ke__store_begin(cx, s));
    refused(ke__store_put_row(cx, s,
                              &(ke__store_row){.index = 2,
                                               .method = "none",
                                               .protocol = "easyedit",
                                               .at = "each",
                                               .body = "{}"}),
            KE_EIO, "UNIQUE");
    ke__store_close(cx, s);
}

/* A process that dies while it writes: rows it committed are there, and the next run may
 * write. */
static void a_killed_writer_loses_nothing(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    pid_t child = fork();
    if (child == 0) {
        ke__store *s = begin(path);
        put_row(s, 0, 2, 0, "none", "easyedit", "{}");
        ok(ke__store_begin(cx, s));
        ok(ke__store_put_before(cx, s, 0, 2, "{}", 1));
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    ke__store *s = NULL;
    ok(ke__store_read(cx, &s, path));
    ok(ke__store_rows(cx, s, see_row, NULL));
    saw("a.json 2 wikibio none easyedit each {} -\n");
    ke__store_close(cx, s);
    ok(ke__store_open(cx, &s, path));
    put_row(s, 0, 7, 0, "none", "easyedit", "{}");
    ke__store_close(cx, s);
}

static void one_process_writes_and_others_read(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    ke__store *s = begin(path), *reader = NULL, *second = NULL;
    refused(ke__store_open(cx, &second, path), KE_EIO,
            "another process is writing this run");
    assert_null(second);
    ok(ke__store_read(cx, &reader, path));
    ok(ke__store_settings(cx, reader, see_setting, NULL));
    saw("seed=3\nmodel=abc\n");
    put_row(s, 0, 2, 0, "none", "easyedit", "{}");
    ok(ke__store_rows(cx, reader, see_row, NULL));
    saw("a.json 2 wikibio none easyedit each {} -\n");
    ke__store_close(cx, reader);
    ke__store_close(cx, s);
    ok(ke__store_open(cx, &s, path));
    ke__store_close(cx, s);
}

static void left_as_it_is(const char *path, const char *bytes, size_t n)
{
    ke__store *s = NULL;
    char found[256];
    refused(ke__store_open(cx, &s, path), KE_EEXIST, "it is left as it is");
    assert_null(s);
    refused(ke__store_read(cx, &s, path), KE_EFORMAT, "not");
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(found, 1, sizeof found, f), n);
    fclose(f);
    assert_memory_equal(found, bytes, n);
}

static void what_is_no_run_is_left_alone(void **state)
{
    const char *path = scratch_path(state, "notes.txt");
    char page[200] = "SQLite format 3"; /* and then nothing that SQLite would write */
    ke__store *s = NULL;
    scratch_write(path, "my notes", 8);
    left_as_it_is(path, "my notes", 8);
    scratch_write(path, page, sizeof page);
    left_as_it_is(path, page, sizeof page);
    refused(ke__store_open(cx, &s, scratch_path(state, "")), KE_EEXIST,
            "not the file of a run");
    refused(ke__store_open(cx, &s, scratch_path(state, "none/run.sqlite")), KE_EIO,
            "No such");
    refused(ke__store_read(cx, &s, scratch_path(state, "none.sqlite")), KE_ENOENT,
            "No such");
    assert_int_equal(scratch_count(state), 1);
}

static void another_program_s_database_is_left_alone(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    ke__store *s = begin(path);
    ke__store_close(cx, s);
    int f = open(path, O_RDWR);
    assert_int_equal(pwrite(f, "KExx", 4, 68), 4); /* the application's id */
    close(f);
    refused(ke__store_open(cx, &s, path), KE_EEXIST, "not of a run");
    f = open(path, O_RDWR);
    assert_int_equal(pwrite(f, "KEbr", 4, 68), 4);
    assert_int_equal(pwrite(f, "\0\0\0\2", 4, 60), 4); /* the version */
    close(f);
    refused(ke__store_open(cx, &s, path), KE_EEXIST, "version 2 of a run file, expected 1");
}

/* Killed between the file's making and its first commit: the run begins there. */
static void an_empty_file_is_a_new_run(void **state)
{
    const char *path = scratch_path(state, "run.sqlite");
    ke__store *s = NULL;
    scratch_write(path, "", 0);
    refused(ke__store_read(cx, &s, path), KE_EFORMAT, "no run has begun");
    ke__store_close(cx, begin(path));
}

static void a_name_with_a_colon_is_a_file(void **state)
{
    char folder[1024];
    assert_non_null(getcwd(folder, sizeof folder));
    assert_int_equal(chdir(scratch_path(state, ".")), 0);
    ke__store_close(cx, begin(":memory:"));
    ke__store *s = NULL;
    ok(ke__store_read(cx, &s, ":memory:"));
    ok(ke__store_settings(cx, s, see_setting, NULL));
    saw("seed=3\nmodel=abc\n");
    ke__store_close(cx, s);
    assert_int_equal(chdir(folder), 0);
}

static ke_status open_and_ask(ke_ctx *c, void *path)
{
    ke__store *s = NULL;
    char *text = NULL;
    ke_status st = KE_OK;
    KE_TRY(ke__store_open(c, &s, path));
    KE_TRY(ke__store_setting(c, s, "seed", &text));
done:
    ke__free(c, text);
    ke__store_close(c, s);
    return st;
}

static void every_failed_allocation_is_survived(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s", scratch_path(state, "run.sqlite"));
    ke__store_close(cx, begin(path));
    oom_each(open_and_ask, path);
}

static int n_writes_left;

static ssize_t deadly_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    if (n_writes_left-- == 0)
        raise(SIGKILL);
    return pwrite(fd, data, bytes, at);
}

/* Open a new run in a child that is killed at one of its writes; true if it was. */
static bool die_in_the_beginning(const char *path, int n_writes)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        ke__store *s = NULL;
        sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
        n_writes_left = n_writes;
        vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)deadly_pwrite);
        vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)deadly_pwrite);
        _exit(ke__store_open(cx, &s, path));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void a_run_killed_while_it_is_made_begins_again(void **state)
{
    const char *path = scratch_path(state, "run");
    ke__store *s = NULL;
    int n = 0;
    for (; die_in_the_beginning(path, n); n++) {
        refused(ke__store_read(cx, &s, path), KE_EFORMAT, "no run has begun there");
        assert_null(s);
        die_in_the_beginning(path, n); /* and once more, over what is left */
        ke__store_close(cx, begin(path));
        ok(ke__store_read(cx, &s, path));
        ke__store_close(cx, s);
        assert_int_equal(0, unlink(path));
    }
    assert_true(n > 2); /* a journal and tables */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_comes_out_in_order),
        TEST(what_is_not_committed_leaves_nothing),
        TEST(a_row_is_put_once),
        TEST(a_killed_writer_loses_nothing),
        TEST(one_process_writes_and_others_read),
        TEST(what_is_no_run_is_left_alone),
        TEST(another_program_s_database_is_left_alone),
        TEST(an_empty_file_is_a_new_run),
        TEST(a_run_killed_while_it_is_made_begins_again),
        TEST(a_name_with_a_colon_is_a_file),
        TEST(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
