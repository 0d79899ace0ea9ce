/* What may be true after something failed: all or nothing, and a line that says so. */
#include "faults/faulty.h"
#include "support/scratch.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MAX_ARGS = 40, N_OUTPUTS = 3 };

static const char *output_path(void **state, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "out/%s", name);
    return scratch_path(state, path);
}

/* The name of an output; "NAME/" stands for the folder NAME. */
static size_t name_bytes(const char *output)
{
    size_t n = strlen(output);
    return output[n - 1] == '/' ? n - 1 : n;
}

static bool is_folder(const char *output)
{
    return output[name_bytes(output)] == '/';
}

/* The whole file, NULL if there is none; the caller's. */
static char *slurp_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    *bytes = 0;
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *data = malloc((size_t)size + 1);
    assert_non_null(data);
    *bytes = fread(data, 1, (size_t)size, f);
    fclose(f);
    return data;
}

/* All files of a folder one after another, each with its name and size. */
static char *slurp_folder(const char *path, size_t *bytes)
{
    struct dirent **list = NULL;
    int n = scandir(path, &list, NULL, alphasort);
    char *all = n < 0 ? NULL : calloc(1, 1);
    *bytes = 0;
    for (int i = 0; i < n; i++) {
        char name[4096], head[300];
        size_t size;
        snprintf(name, sizeof name, "%.3000s/%s", path, list[i]->d_name);
        char *data = list[i]->d_type == DT_REG ? slurp_file(name, &size) : NULL;
        if (data) {
            int m = snprintf(head, sizeof head, "%s %zu\n", list[i]->d_name, size);
            all = realloc(all, *bytes + (size_t)m + size);
            assert_non_null(all);
            memcpy(all + *bytes, head, (size_t)m);
            memcpy(all + *bytes + m, data, size);
            *bytes += (size_t)m + size;
        }
        free(data);
        free(list[i]);
    }
    free(list);
    return all;
}

static char *slurp(void **state, const char *output, size_t *bytes)
{
    const char *path = output_path(state, output);
    return is_folder(output) ? slurp_folder(path, bytes) : slurp_file(path, bytes);
}

/* What faulty_plant() puts into a folder: a model's file, or it would not be replaced. */
#define EARLIER_SHARD "model.safetensors"

static bool is_earlier(const char *output, const char *data, size_t bytes)
{
    char want[128];
    if (is_folder(output))
        snprintf(want, sizeof want, EARLIER_SHARD " %zu\n" FAULTY_EARLIER,
                 strlen(FAULTY_EARLIER));
    else
        snprintf(want, sizeof want, FAULTY_EARLIER);
    return bytes == strlen(want) && memcmp(data, want, bytes) == 0;
}

/* --- the truth --------------------------------------------------------------------- */

/* Times and memory differ between any two runs; so does what was there to go on from. */
static void drop_measures(json_t *value)
{
    const char *key;
    json_t *part;
    size_t i;
    json_object_del(value, "seconds");
    json_object_del(value, "peak_bytes");
    json_object_del(value, "resumed");
    json_object_foreach(value, key, part) drop_measures(part);
    json_array_foreach(value, i, part) drop_measures(part);
}

/* A result as it compares; the caller's. */
static char *plain(const char *out)
{
    json_t *value = json_loads(out, 0, NULL);
    if (!value)
        return strdup(out);
    drop_measures(value);
    char *text = json_dumps(value, JSON_SORT_KEYS);
    json_decref(value);
    return text;
}

void faulty_command_start(faulty_run *run, void **state, const faulty_command *c,
                          const faulty_plan *plan)
{
    static const char *const globals[] = {"-t", "1", "-q", "--json"};
    const char *args[MAX_ARGS] = {NULL};
    size_t n = 0;
    for (; c->args[n]; n++)
        args[n] = c->args[n];
    for (size_t i = 0; i < (c->no_json ? 3 : 4); i++)
        args[n++] = globals[i];
    if (plan->force)
        args[n++] = "--force";
    faulty_start(run, state, args, plan);
    run->force = plan->force;
    run->hides = plan->force || plan->no_tmpfile;
}

void faulty_plant(void **state, const faulty_command *c)
{
    for (size_t i = 0; i < N_OUTPUTS && c->outputs[i]; i++) {
        char path[4700];
        bool folder = is_folder(c->outputs[i]);
        snprintf(path, sizeof path, "%s%s", output_path(state, c->outputs[i]),
                 folder ? EARLIER_SHARD : "");
        if (folder)
            assert_int_equal(0, mkdir(output_path(state, c->outputs[i]), 0777));
        scratch_write(path, FAULTY_EARLIER, strlen(FAULTY_EARLIER));
    }
}

/* The rows of the benchmark's run in out/; the caller's. */
static char *rows_of(void **state)
{
    static faulty_run run;
    static const char *const report[] = {
        "report", "out/run.sqlite", "--cases", "--json", "-t", "1", NULL};
    faulty_start(&run, state, report, &(faulty_plan){.at = -1});
    return plain(run.out);
}

static void find_truth(faulty_truth *truth, void **state, const faulty_command *c,
                       bool no_tmpfile)
{
    static faulty_run run;
    *truth = (faulty_truth){.command = c};
    faulty_clear(state);
    faulty_command_start(&run, state, c,
                         &(faulty_plan){.at = -1, .no_tmpfile = no_tmpfile});
    if (strlen(run.out) + 1 == sizeof run.out || run.err[0] || run.n_live != 0)
        fail_msg("%s: %zu bytes on stdout, %ld blocks left, exit %d: %s", c->title,
                 strlen(run.out), run.n_live, run.code, run.err);
    truth->code = run.code;
    memcpy(truth->n_calls, run.n_calls, sizeof run.n_calls);
    truth->out = plain(run.out);
    for (size_t i = 0; i < N_OUTPUTS && c->outputs[i]; i++) {
        truth->files[i] = slurp(state, c->outputs[i], &truth->bytes[i]);
        if (!truth->files[i])
            fail_msg("%s: no %s (exit %d)", c->title, c->outputs[i], run.code);
    }
    if (c->outputs[0] && strstr(c->outputs[0], ".sqlite"))
        truth->rows = rows_of(state);
    faulty_clear(state);
}

static faulty_truth truths[2][FAULTY_MAX_COMMANDS];

const faulty_truth *faulty_truth_of(void **state, const faulty_command *c, bool no_tmpfile)
{
    size_t i = 0;
    while (i < FAULTY_MAX_COMMANDS - 1 && truths[no_tmpfile][i].command &&
           truths[no_tmpfile][i].command != c)
        i++;
    faulty_truth *truth = &truths[no_tmpfile][i];
    if (!truth->command)
        find_truth(truth, state, c, no_tmpfile);
    assert_ptr_equal(c, truth->command);
    return truth;
}

void faulty_truths_free(void)
{
    for (size_t i = 0; i < 2 * FAULTY_MAX_COMMANDS; i++) {
        faulty_truth *truth = &truths[i / FAULTY_MAX_COMMANDS][i % FAULTY_MAX_COMMANDS];
        free(truth->out);
        free(truth->rows);
        for (size_t k = 0; k < N_OUTPUTS; k++)
            free(truth->files[k]);
        *truth = (faulty_truth){0};
    }
}

/* The first thing that is wrong; "" if nothing is. */
static char wrong[2048];

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!wrong[0])
        vsnprintf(wrong, sizeof wrong, format, args);
    va_end(args);
}

/* --- what is said ------------------------------------------------------------------- */

static void judge_error(const faulty_truth *truth, const faulty_run *run, const char *code)
{
    const char *end = strchr(run->err, '\n');
    if (run->code != 1)
        complain("exit %d: %s", run->code, run->err);
    if (strncmp(run->err, "knowedit: ", 10) != 0 || !end || end[1] || end - run->err < 15)
        complain("stderr is not one line of ours: \"%s\"", run->err);
    if (truth->command->no_json)
        return;
    json_error_t why;
    json_t *value = json_loads(run->out, 0, &why);
    const json_t *error = json_object_get(value, "error");
    const char *found = json_string_value(json_object_get(error, "code"));
    if (!value)
        complain("stdout: %s: %.200s", why.text, run->out);
    else if (!found || (code && strcmp(found, code) != 0))
        complain("stdout: code %s, expected %s: %s", found ? found : "none",
                 code ? code : "any", run->err);
    json_decref(value);
}

static void judge_result(const faulty_truth *truth, const faulty_run *run)
{
    char *out = plain(run->out);
    if (strcmp(out, truth->out) != 0)
        complain("exit %d, as without a fault, but it prints %.800s", run->code, out);
    free(out);
}

/* --- what is left ------------------------------------------------------------------- */

/* An output, or a name that belongs to one: a database's journal; of a run that was killed
 * the hidden name of a folder, and of a file where it had one; while it replaced files also
 * the earlier patch. */
static bool belongs(const char *output, const char *name, const faulty_run *run)
{
    char prev[256];
    size_t n = name_bytes(output);
    bool replacing = run->killed && run->force;
    bool hidden = name[0] == '.' && strncmp(name + 1, output, n) == 0 && name[n + 1] == '.';
    snprintf(prev, sizeof prev, "%.*s.prev", (int)n, output);
    return (strncmp(name, output, n) == 0 && name[n] == '\0') ||
           (strstr(name, ".sqlite-journal") && strncmp(name, output, n) == 0) ||
           (replacing && strcmp(name, prev) == 0) ||
           (hidden && run->killed && (run->hides || is_folder(output)));
}

static bool known(const faulty_command *c, const char *name, const faulty_run *run)
{
    bool found = strcmp(name, "cache") == 0;
    for (size_t i = 0; i < N_OUTPUTS && c->outputs[i]; i++)
        found = found || belongs(c->outputs[i], name, run);
    return found;
}

static void judge_names(void **state, const faulty_command *c, const faulty_run *run)
{
    DIR *dir = opendir(scratch_path(state, "out"));
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            !known(c, e->d_name, run))
            complain("%s is left", e->d_name);
    closedir(dir);
}

/* A database is not compared: it holds times, and a part of one is no fault. */
static void judge_files(void **state, const faulty_truth *truth, const faulty_run *run,
                        bool ended_well)
{
    const char *const *names = truth->command->outputs;
    bool model = false;
    for (size_t i = 0; i < N_OUTPUTS && names[i]; i++) {
        size_t bytes;
        char *data = slurp(state, names[i], &bytes);
        if (run->force && !data)
            complain("%s is gone, the earlier one too", names[i]);
        if (run->force && data && is_earlier(names[i], data, bytes)) {
            free(data); /* as good as none */
            data = NULL;
        }
        if (data && !strstr(names[i], ".sqlite") &&
            (bytes != truth->bytes[i] || memcmp(data, truth->files[i], bytes) != 0))
            complain("%s is there, but not whole", names[i]);
        if (!data && (ended_well || model))
            complain("%s is missing", names[i]);
        model = data != NULL; /* its patch comes next, and must be there */
        free(data);
    }
}

/* The next run goes on from what is there, and ends with the rows that it should. */
static void judge_resumed(void **state, const faulty_truth *truth)
{
    static faulty_run run;
    const faulty_plan none = {.at = -1};
    faulty_command_start(&run, state, truth->command, &none);
    if (run.code != truth->code)
        complain("resumed: exit %d: %s", run.code, run.err);
    char *rows = rows_of(state);
    if (strcmp(rows, truth->rows) != 0)
        complain("resumed: other rows: %.800s", rows);
    free(rows);
}

const char *faulty_wrong(void **state, const faulty_truth *truth, const faulty_run *run,
                         const char *code)
{
    bool ended_well = run->code == truth->code && !run->err[0];
    wrong[0] = '\0';
    if (run->killed)
        ended_well = false;
    else if (ended_well)
        judge_result(truth, run);
    else
        judge_error(truth, run, code);
    if (run->n_live != 0 && !run->killed)
        complain("%ld blocks were not freed", run->n_live);
    judge_names(state, truth->command, run);
    judge_files(state, truth, run, ended_well);
    if (truth->rows)
        judge_resumed(state, truth);
    return wrong[0] ? wrong : NULL;
}
