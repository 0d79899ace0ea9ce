#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define N_GLOBALS     12
#define GIVEN_THREADS 31 /* the bit of ke__cli.given */

static void fill_globals(ke__cli *c, struct poptOption table[N_GLOBALS])
{
    const struct poptOption rows[N_GLOBALS] = {
        {"json", 0, POPT_ARG_NONE, &c->json, 0, "print one JSON object", NULL},
        {"quiet", 'q', POPT_ARG_NONE, &c->quiet, 0, "results only, no talk", NULL},
        {"verbose", 'v', POPT_ARG_NONE, &c->verbose, 0, "more talk", NULL},
        {"threads", 't', POPT_ARG_LONGLONG, &c->n_threads, GIVEN_THREADS,
         "threads to use (one per core); results do not depend on it", "N"},
        {"seed", 0, POPT_ARG_STRING, &c->seed_text, 0, "of everything drawn (0)", "N"},
        {"isa", 0, POPT_ARG_STRING, &c->isa, 0,
         "kernels: ref, avx2, avx512 (the best there is)", "NAME"},
        {"mem-limit", 0, POPT_ARG_STRING, &c->mem_limit, 0,
         "refuse work that needs more: bytes, or with K, M, G (what is free)", "SIZE"},
        {"dry-run", 0, POPT_ARG_NONE, &c->dry_run, 0, "write nothing", NULL},
        {"force", 0, POPT_ARG_NONE, &c->force, 0, "replace existing outputs", NULL},
        {"help", 'h', POPT_ARG_NONE, &c->help, 0, "this help", NULL},
        POPT_TABLEEND,
    };
    memcpy(table, rows, sizeof rows);
}

ke_status ke__opt_refuse(ke__cli *c, const char *where, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    ke__talk_error(c, KE_EINVAL, where ? where : "", message);
    if (c->command != NULL)
        fprintf(stderr, "see: knowedit %s --help\n", c->command->name);
    else
        fprintf(stderr, "usage: knowedit COMMAND [OPTIONS]\n");
    c->ended = true;
    c->exit_code = KE__EXIT_USAGE;
    return KE_EINVAL;
}

/* popt leaves texts to whoever asked for them; keep them until the end. */
static ke_status own_text(ke__cli *c, char *text)
{
    char **more = realloc(c->owned, (c->n_owned + 1) * sizeof *more);
    if (more == NULL)
        return KE_ENOMEM;
    c->owned = more;
    c->owned[c->n_owned++] = text;
    return KE_OK;
}

static ke_status own_texts(ke__cli *c, const struct poptOption *o)
{
    ke_status st = KE_OK;
    for (; o->longName != NULL || o->shortName != 0 || o->arg != NULL; o++) {
        unsigned type = o->argInfo & POPT_ARG_MASK;
        if (type == POPT_ARG_INCLUDE_TABLE) {
            KE_TRY(own_texts(c, o->arg));
        } else if (type == POPT_ARG_STRING && *(char **)o->arg != NULL) {
            KE_TRY(own_text(c, *(char **)o->arg));
        } else if (type == POPT_ARG_ARGV && *(char ***)o->arg != NULL) {
            char **list = *(char ***)o->arg;
            for (size_t i = 0; list[i] != NULL; i++)
                KE_TRY(own_text(c, list[i]));
            KE_TRY(own_text(c, (char *)list));
        }
    }
done:
    return st;
}

void ke__opt_free(ke__cli *c)
{
    for (size_t i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c->owned);
    poptFreeContext(c->popt);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    ke_ctx_free(c->cx);
}

/* Run popt over argv by `table`; what is no option stays in *rest. */
static ke_status parse(ke__cli *c, int argc, char **argv, const struct poptOption *table,
                       unsigned flags, char ***rest, size_t *n_rest)
{
    poptFreeContext(c->popt);
    c->popt = poptGetContext(NULL, argc, (const char **)argv, table, flags);
    if (c->popt == NULL)
        return ke__opt_refuse(c, NULL, "the command line cannot be read");
    int code;
    while ((code = poptGetNextOpt(c->popt)) > 0)
        c->given |= 1U << code;
    ke_status st = own_texts(c, table);
    if (st != KE_OK)
        return st;
    if (code < -1) {
        const char *option = poptBadOption(c->popt, POPT_BADOPTION_NOALIAS);
        return ke__opt_refuse(c, option, "%s: %s", option, poptStrerror(code));
    }
    *rest = (char **)poptGetArgs(c->popt);
    *n_rest = 0;
    while (*rest != NULL && (*rest)[*n_rest] != NULL)
        ++*n_rest;
    return KE_OK;
}

ke_status ke__opt_parse_leading(ke__cli *c, int argc, char **argv)
{
    struct poptOption table[N_GLOBALS];
    char **rest = NULL;
    size_t n_rest = 0;

    fill_globals(c, table);
    ke_status st = parse(c, argc, argv, table, POPT_CONTEXT_POSIXMEHARDER, &rest, &n_rest);
    if (st != KE_OK)
        return st;
    /* The rest is the tail of argv, and outlives the popt context there. */
    c->argc = (int)n_rest;
    c->argv = argv + argc - n_rest;
    /* popt would take values that are there for its own. */
    c->leading.seed = c->seed_text;
    c->leading.isa = c->isa;
    c->leading.mem_limit = c->mem_limit;
    c->seed_text = c->isa = c->mem_limit = NULL;
    return KE_OK;
}

/* "512M" as bytes, false if it is no size. */
static bool parse_size(const char *text, uint64_t *bytes)
{
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    unsigned shift = 0;
    if (*end != '\0') {
        const char *unit = strchr("KkMmGgTt", *end);
        if (unit == NULL || end[1] != '\0')
            return false;
        shift = 10 * (unsigned)((unit - "KkMmGgTt") / 2 + 1);
    }
    if (n == 0 || n > UINT64_MAX >> shift)
        return false;
    *bytes = (uint64_t)n << shift;
    return true;
}

static bool parse_seed(const char *text, uint64_t *seed)
{
    char *end = NULL;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 &&
           *seed <= INT64_MAX; /* JSON's integers end there */
}

static ke_ctx *interrupted; /* what a signal cancels */

static void on_signal(int number)
{
    (void)number;
    ke_ctx_cancel(interrupted);
}

static ke_status make_context(ke__cli *c)
{
    ke_ctx_opts opts = {.progress = ke__talk_progress,
                        .progress_payload = c,
                        .isa = c->isa,
                        .dry_run = c->dry_run};

    if (c->given & 1U << GIVEN_THREADS) {
        ke_status st = ke__opt_range(c, "-t", c->n_threads, 1, 1024);
        if (st != KE_OK)
            return st;
        opts.n_threads = (unsigned)c->n_threads;
    }
    if (c->seed_text != NULL && !parse_seed(c->seed_text, &c->seed))
        return ke__opt_refuse(c, "--seed", "--seed %s: expected a number in 0..2^63-1",
                              c->seed_text);
    if (c->mem_limit != NULL && !parse_size(c->mem_limit, &opts.mem_limit_bytes))
        return ke__opt_refuse(c, "--mem-limit",
                              "--mem-limit %s: expected bytes, or a number with K, M or G",
                              c->mem_limit);
    c->cx = ke_ctx_new(&opts);
    if (c->cx == NULL || ke_ctx_isa(c->cx)[0] == '\0') {
        const char *isa = c->isa ? c->isa : getenv("KE_ISA");
        if (isa == NULL)
            return KE_ENOMEM;
        return ke__opt_refuse(
            c, c->isa ? "--isa" : "KE_ISA",
            "%s %s: expected ref, avx2 or avx512, and a processor with it",
            c->isa ? "--isa" : "KE_ISA", isa);
    }

    interrupted = c->cx;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL); /* the second one ends the process */
    sigaction(SIGTERM, &action, NULL);
    return KE_OK;
}

static void print_help(const ke__cli *c)
{
    char other[256];
    printf("%s\n\n", c->command->summary);
    snprintf(other, sizeof other, "[OPTIONS] %s", c->command->usage);
    poptSetOtherOptionHelp(c->popt, other);
    poptPrintHelp(c->popt, stdout, 0);
    printf("\nExample:\n  %s\n", c->command->example);
}

ke_status ke__opt_parse(ke__cli *c, const struct poptOption *options)
{
    ke_status st = KE_OK;
    struct poptOption globals[N_GLOBALS];
    fill_globals(c, globals);
    const struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)options, 0, "Options:", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, globals, 0, "Options of every command:", NULL},
        POPT_TABLEEND,
    };
    char name[64];
    snprintf(name, sizeof name, "knowedit %s", c->command->name);
    c->argv[0] = name; /* what popt's usage line begins with */
    KE_TRY(parse(c, c->argc, c->argv, table, 0, &c->args, &c->n_args));
    if (c->help) {
        print_help(c);
        c->ended = true;
        return KE_ECANCELED;
    }
    c->seed_text = c->seed_text ? c->seed_text : c->leading.seed;
    c->isa = c->isa ? c->isa : c->leading.isa;
    c->mem_limit = c->mem_limit ? c->mem_limit : c->leading.mem_limit;
    KE_TRY(make_context(c));
done:
    return st;
}

ke_status ke__opt_range(ke__cli *c, const char *option, long long value, long long low,
                        long long high)
{
    if (value >= low && value <= high)
        return KE_OK;
    return ke__opt_refuse(c, option, "%s %lld: expected a number in %lld..%lld", option,
                          value, low, high);
}

ke_status ke__opt_range_real(ke__cli *c, const char *option, double value, double low,
                             double high)
{
    if (value >= low && value <= high) /* false for NaN */
        return KE_OK;
    return ke__opt_refuse(c, option, "%s %g: expected a number in %g..%g", option, value,
                          low, high);
}

ke_status ke__opt_need(ke__cli *c, const char *option, const void *value)
{
    return value != NULL ? KE_OK : ke__opt_refuse(c, option, "%s is missing", option);
}

ke_status ke__opt_args(ke__cli *c, size_t low, size_t high)
{
    if (c->n_args > high)
        return ke__opt_refuse(c, c->args[high], "unexpected argument '%s'", c->args[high]);
    if (c->n_args < low)
        return ke__opt_refuse(c, NULL, "%zu of %zu arguments given; usage: knowedit %s %s",
                              c->n_args, low, c->command->name, c->command->usage);
    return KE_OK;
}

static bool parse_id(const char **text, int32_t max, int32_t *out)
{
    char *end = NULL;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    unsigned long n = strtoul(*text, &end, 10);
    if (errno != 0 || n > (unsigned long)max)
        return false;
    *out = (int32_t)n;
    *text = end;
    return true;
}

ke_status ke__opt_list(ke__cli *c, const char *option, const char *text, bool ranges,
                       int32_t max, int32_t **out, size_t *n)
{
    ke_status st = KE_OK;
    const char *at = text;
    int32_t first = 0, last = 0;
    size_t room = 0;

    *out = NULL;
    *n = 0;
    while (*at != '\0') {
        if (!parse_id(&at, max, &first))
            break;
        last = first;
        if (ranges && *at == '-' && (at++, !parse_id(&at, max, &last) || last < first))
            break;
        if (*at == ',' && at[1] != '\0')
            at++;
        else if (*at != '\0')
            break;
        for (int64_t id = first; id <= last; id++) {
            if (*n == room) {
                room = room ? 2 * room : 64;
                KE_TRY(ke__resize(c->cx, out, room, sizeof **out));
            }
            (*out)[(*n)++] = (int32_t)id;
        }
    }
    if (*at != '\0' || *n == 0) {
        ke__free(c->cx, *out);
        *out = NULL;
        return ke__opt_refuse(c, option,
                              "%s: expected numbers in 0..%d like 1,2%s, found '%.40s'",
                              option, max, ranges ? ",5-7" : "", at);
    }
done:
    return st;
}
