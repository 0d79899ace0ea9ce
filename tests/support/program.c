#include "support/program.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_ARGS = 64 };

static const char *program_path(void)
{
    static char path[512];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof path, "%s/knowedit", build && *build ? build : "build");
    return path;
}

static pid_t start(const char *const *args, int in, int out, int err)
{
    const char *argv[MAX_ARGS + 2] = {program_path()};
    size_t n = 1;
    while (args[n - 1] && n <= MAX_ARGS) {
        argv[n] = args[n - 1];
        n++;
    }
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

int program_wait(pid_t pid)
{
    int status = 0;
    assert_int_equal(pid, waitpid(pid, &status, 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A file without a name: what goes in and out may be larger than a pipe holds. */
static FILE *scrap(const char *text)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    if (text)
        fwrite(text, 1, strlen(text), f);
    rewind(f);
    return f;
}

static char *drain(FILE *f, size_t *bytes)
{
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    *bytes = fread(text, 1, (size_t)size, f);
    text[*bytes] = '\0';
    fclose(f);
    return text;
}

program program_run(const char *input, const char *const *args)
{
    program p = {0};
    size_t bytes = 0;
    FILE *in = scrap(input), *out = scrap(NULL), *err = scrap(NULL);
    p.code = program_wait(start(args, fileno(in), fileno(out), fileno(err)));
    fclose(in);
    p.out = drain(out, &p.n_out);
    p.err = drain(err, &bytes);
    return p;
}

void program_free(program *p)
{
    free(p->out);
    free(p->err);
}

program program_terminal(const char *input, const char *const *args)
{
    program p = {0};
    size_t bytes = 0;
    char piece[4096];
    FILE *out = scrap(NULL), *err = scrap(NULL);
    int person = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(person >= 0 && grantpt(person) == 0 && unlockpt(person) == 0);
    int terminal = open(ptsname(person), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    assert_int_equal(strlen(input), write(person, input, strlen(input)));
    pid_t pid = start(args, terminal, fileno(out), terminal);
    close(terminal);
    /* Ends with an error once nobody holds the other side. */
    for (ssize_t n; (n = read(person, piece, sizeof piece)) > 0;)
        fwrite(piece, 1, (size_t)n, err);
    close(person);
    p.code = program_wait(pid);
    p.out = drain(out, &p.n_out);
    p.err = drain(err, &bytes);
    return p;
}

pid_t program_start(const char *const *args)
{
    int null = open("/dev/null", O_RDWR);
    pid_t pid = start(args, null, null, null);
    close(null);
    return pid;
}

program program_shell(const char *command)
{
    program p = {0};
    size_t bytes = 0;
    FILE *out = scrap(NULL), *err = scrap(NULL);
    setenv("K", program_path(), 1);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(out), 1);
        dup2(fileno(err), 2);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    p.code = program_wait(pid);
    p.out = drain(out, &p.n_out);
    p.err = drain(err, &bytes);
    return p;
}

json_t *program_json(const char *schema, int code, const char *const *args)
{
    const char *with[MAX_ARGS + 1] = {NULL};
    size_t n = 0;
    for (; args[n] && n + 1 < MAX_ARGS; n++)
        with[n] = args[n];
    with[n] = "--json";

    program p = program_run(NULL, with);
    json_error_t why;
    json_t *object = json_loadb(p.out, p.n_out, 0, &why);
    if (p.code != code || !object)
        fail_msg("%s: exit %d for %d; %s; %s", args[0], p.code, code,
                 object ? "JSON" : why.text, p.err);
    const char *found = json_string_value(json_object_get(object, "schema"));
    assert_string_equal(schema, found ? found : "(none)");
    program_free(&p);
    return object;
}
