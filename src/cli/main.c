/* knowedit: find the command, run it, turn its status into an exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define COMMAND(name) extern const ke__command ke__cmd_##name;
#include "cli/commands.def"
#undef COMMAND

const ke__command *const ke__commands[] = {
#define COMMAND(name) &ke__cmd_##name,
#include "cli/commands.def"
#undef COMMAND
    NULL};

const ke__command *ke__command_find(const char *name)
{
    for (size_t i = 0; ke__commands[i] != NULL; i++)
        if (strcmp(ke__commands[i]->name, name) == 0)
            return ke__commands[i];
    return NULL;
}

/* A closed standard stream would give its number to the next file opened, and talk would go
 * into a model. Opened the wrong way round, its use stays an error. */
static void guard_streams(void)
{
    static const int mode[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", mode[fd]) != fd)
            _exit(KE__EXIT_ERROR);
}

/* A mapped file that shrinks, or a disk that fails, ends in this signal: there is nothing
 * to return to. What was under way has no name yet, and leaves nothing. */
static bool as_json;

static void on_bus_error(int number)
{
    static const char text[] = "knowedit: a mapped file can't be read any more: it was "
                               "shortened, or its disk fails\n";
    static const char object[] =
        "{\"schema\": \"knowedit.error/1\", \"error\": {\"code\": \"EIO\", \"message\": "
        "\"a "
        "mapped file can't be read any more: it was shortened, or its disk fails\", "
        "\"where\": \"\"}}\n";
    (void)number;
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    if (as_json)
        n = write(STDOUT_FILENO, object, sizeof object - 1);
    (void)n;
    _exit(KE__EXIT_ERROR);
}

/* --json decides how a refusal looks, so it must be known before the options are parsed. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static ke_status run(ke__cli *c, int argc, char **argv)
{
    ke_status st = KE_OK;

    KE_TRY(ke__opt_parse_leading(c, argc, argv));
    if (c->help)
        c->command = ke__command_find("help");
    else if (c->argc == 0)
        return ke__opt_refuse(c, NULL, "no command; `knowedit help` lists them");
    else
        c->command = ke__command_find(c->argv[0]);
    if (c->command == NULL)
        return ke__opt_refuse(
            c, c->argv[0], "unknown command '%s'; `knowedit help` lists them", c->argv[0]);
    c->help = 0;
    st = c->command->run(c);

done:
    return st;
}

/* The library's message, and the option that helps where there is one. */
static void tell_error(ke__cli *c, ke_status st)
{
    static const struct {
        ke_status st;
        const char *part, *hint;
    } hints[] = {{KE_EEXIST, "the output exists already", "--force replaces it"},
                 {KE_ENOTSUP, "chat template", "--template names a family"},
                 {KE_EINVAL, ": no subject is given", "--subjects FILE lists names"},
                 {KE_EINVAL, "no subject is given", "--subject gives it"}};
    const char *message = c->cx ? ke_ctx_message(c->cx) : ke_status_text(st);
    char text[1024];
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (st == hints[i].st && strstr(message, hints[i].part)) {
            snprintf(text, sizeof text, "%s; %s", message, hints[i].hint);
            message = text;
            break;
        }
    ke__talk_error(c, st, c->cx ? ke_ctx_where(c->cx) : "", message);
}

static int exit_code(const ke__cli *c, ke_status st)
{
    if (st == KE_OK || c->ended)
        return c->exit_code;
    if (st == KE_ECANCELED)
        return KE__EXIT_INTERRUPTED;
    return st == KE_EINVAL ? KE__EXIT_USAGE : KE__EXIT_ERROR;
}

int main(int argc, char **argv)
{
    ke__cli c = {0};
    c.json = as_json = wants_json(argc, argv);
    guard_streams();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of writing, not a death */
    signal(SIGBUS, on_bus_error);
    c.talk.terminal = isatty(STDERR_FILENO);

    ke_status st = run(&c, argc, argv);
    ke__talk_clear(&c);
    if (st != KE_OK && !c.ended)
        tell_error(&c, st);
    int code = exit_code(&c, st);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "knowedit: standard output: cannot write the result: %s\n",
                strerror(errno));
        code = KE__EXIT_ERROR;
    }
    ke__opt_free(&c);
    return code;
}
