/* Every command of src/cli/commands.def on the small model, and the folder it runs in. */
#include "faults/faulty.h"

#include "support/bench_run.h"
#include "support/folders.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Few steps, and in one attempt: what is done is the same, only not as often. */
#define FACT  "--subject", "ab", "--prompt", "the ab in", "--target", "on", "--keep-failed"
#define BRIEF "--preset", "easyedit", "--steps", "3", "--layer", "1"
#define BASE  "-m", "base.gguf"
#define EDIT  "edit", BASE, FACT, BRIEF, "--contexts", "none"
#define EDIT_FOLDER(folder)                                                                \
    "edit", "-m", folder, FACT, BRIEF, "--contexts", "none", "--cov", "identity"
#define EDITED                                                                             \
    {                                                                                      \
        "e.gguf", "e.gguf.kepatch"                                                         \
    }

const faulty_command faulty_commands[FAULTY_MAX_COMMANDS] = {
    {"edit", {EDIT, "-o", "out/e.gguf", "--cov", "base.stats"}, EDITED},
    {"edit: facts from a file",
     {"edit", BASE, BRIEF, "--contexts", "none", "--keep-failed", "--facts", "facts.csv",
      "--patch", "out/p.kepatch"},
     {"p.kepatch"}},
    {"edit: contexts and statistics of its own",
     {"edit", BASE, FACT, BRIEF, "--contexts", "auto", "--cov", "auto", "--stats-tokens",
      "200", "-o", "out/e.gguf"},
     EDITED},
    {"edit: attempts", {"edit", BASE, FACT, "--steps", "3", "-o", "out/e.gguf"}, EDITED},
    {"edit: r-rome", {EDIT, "--method", "r-rome", "-o", "out/e.gguf"}, EDITED},
    {"edit: ft-m",
     {"edit", BASE, FACT, "--method", "ft-m", "--steps", "2", "--layer", "1", "-o",
      "out/e.gguf"},
     EDITED},
    {"edit: ice",
     {"edit", BASE, FACT, "--method", "ice", "--patch", "out/p.kepatch"},
     {"p.kepatch"}},
    {"bench",
     {"bench", BASE, "--data", "data.json", "-o", "out/run.sqlite", "--method", "none,rome",
      "--cov", "identity", "--contexts", "none", "--steps", "3", "--limit", "1",
      "--no-fluency"},
     {"run.sqlite"}},
    {"report", {"report", "run.sqlite", "--parts"}, {NULL}},
    {"report: as text", {"report", "run.sqlite"}, {NULL}, true},
    {"report: cases", {"report", "run.sqlite", "--cases"}, {NULL}},
    {"report: a case", {"report", "run.sqlite", "--case", "0"}, {NULL}, true},
    {"report: a plot", {"report", "run.sqlite", "--plot", "out/p.svg"}, {"p.svg"}},
    {"check", {"check", "facts.json", "facts.jsonl", "facts.csv"}, {NULL}},
    {"data: check", {"data", "check", "data.json"}, {NULL}},
    {"data: show", {"data", "show", "data.json"}, {NULL}},
    {"data: convert", {"data", "convert", "data.json"}, {NULL}},
    {"ask", {"ask", BASE, "-n", "3", "--top", "2", "--score", " a on", "the ab"}, {NULL}},
    {"ask: under a patch",
     {"ask", BASE, "-n", "2", "--patch", "edited.gguf.kepatch", "the ab in"},
     {NULL}},
    {"ask: told", {"ask", BASE, "-n", "2", "--patch", "told.kepatch", "the ab in"}, {NULL}},
    {"show", {"show", "-m", "edited.gguf", "--tensors"}, {NULL}},
    {"apply",
     {"apply", BASE, "--patch", "edited.gguf.kepatch", "-o", "out/a.gguf"},
     {"a.gguf"}},
    {"undo", {"undo", "edited.gguf", "-o", "out/u.gguf"}, {"u.gguf"}},
    {"diff", {"diff", "base.gguf", "edited.gguf"}, {NULL}},
    {"edit: shards", {EDIT_FOLDER("shards"), "-o", "out/e"}, {"e/", "e.kepatch"}},
    {"edit: parts", {EDIT_FOLDER("parts"), "-o", "out/e"}, {"e/", "e.kepatch"}},
    {"edit: parts into one file", {EDIT_FOLDER("parts"), "-o", "out/e.gguf"}, EDITED},
    {"apply: shards",
     {"apply", "-m", "shards", "--patch", "edited-shards.kepatch", "-o", "out/a"},
     {"a/"}},
    {"apply: parts",
     {"apply", "-m", "parts", "--patch", "edited-parts.kepatch", "-o", "out/a"},
     {"a/"}},
    {"undo: shards", {"undo", "edited-shards", "-o", "out/u"}, {"u/"}},
    {"undo: parts", {"undo", "edited-parts", "-o", "out/u"}, {"u/"}},
    {"diff: shards", {"diff", "shards", "edited-shards"}, {NULL}},
    {"ask: shards", {"ask", "-m", "shards", "-n", "2", "--top", "2", "the ab"}, {NULL}},
    {"stats",
     {"stats", BASE, "-o", "out/s.stats", "--layers", "0,2", "--tokens", "64", "--chunk",
      "16", "-f", "text.txt"},
     {"s.stats"}},
    {"stats: the built-in text",
     {"stats", BASE, "-o", "out/s.stats", "--layers", "1", "--tokens", "4096", "--chunk",
      "64"},
     {"s.stats"}},
    {"perplexity",
     {"perplexity", BASE, "-f", "text.txt", "--chunk", "16", "--tokens", "40"},
     {NULL}},
    {"tokenize", {"tokenize", BASE, "--text", "the man in a town"}, {NULL}},
    {"tokenize: back", {"tokenize", BASE, "--decode", "257,0,259"}, {NULL}},
    {"demo", {"demo", "-m", "small.gguf"}, {NULL}},
    {"version", {"version"}, {NULL}},
    {"help", {"help", "edit"}, {NULL}, true},
};

static void write_text(void **state, const char *name, const char *text)
{
    scratch_write(scratch_path(state, name), text, strlen(text));
}

static bool prepare(void **state, const char *const *args)
{
    static faulty_run run;
    faulty_start(&run, state, args, &(faulty_plan){.at = -1});
    if (run.code != 0 && run.code != 3)
        fprintf(stderr, "%s: exit %d: %s\n", args[0], run.code, run.err);
    return run.code == 0 || run.code == 3;
}

#define RUN(...) prepare(state, (const char *const[]){__VA_ARGS__, "-t", "1", "-q", NULL})

int faulty_make(void **state)
{
    if (scratch_make(state) != 0)
        return -1;
    /* What the program writes elsewhere by itself, it writes here. */
    setenv("TMPDIR", scratch_path(state, "out"), 1);
    setenv("KNOWEDIT_CACHE", scratch_path(state, "out/cache"), 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    ke_status st =
        tiny_model_write(cx, &(tiny_spec){.type = "q8_0", .d = 64, .head_dim = 16},
                         scratch_path(state, "base.gguf"));
    if (st == KE_OK)
        folder_split(cx, scratch_path(state, "base.gguf"), scratch_path(state, "parts"), 0);
    /* A demonstration can't be told to be brief, so what it edits is smaller still. */
    if (st == KE_OK)
        st = tiny_model_write(
            cx,
            &(tiny_spec){
                .n_layers = 2, .d = 16, .f = 16, .n_heads = 1, .n_kv = 1, .head_dim = 16},
            scratch_path(state, "small.gguf"));
    ke_ctx_free(cx);
    folder_copy("llama", scratch_path(state, "shards"));
    if (st != KE_OK || mkdir(scratch_path(state, "out"), 0777) != 0)
        return -1;
    write_text(state, "data.json", bench_facts);
    write_text(state, "facts.json",
               "[{\"subject\":\"ab\",\"prompt\":\"the ab in\",\"target\":\"on\","
               "\"paraphrases\":[\"ab in\"],\"neighbours\":[{\"prompt\":\"er\"}]}]");
    write_text(
        state, "facts.jsonl",
        "{\"subject\":\"a\",\"prompt\":\"a b\",\"target\":\"c\"}\n{\"subject\":1}\n");
    write_text(state, "facts.csv", "subject,prompt,target\nab,\"the ab in\",on\n");
    write_text(state, "text.txt",
               "the man in a town on the other end of the road in the town there, "
               "and on the other end in a town the man");
    return RUN(EDIT, "-o", "edited.gguf") &&
                   RUN(EDIT_FOLDER("shards"), "-o", "edited-shards") &&
                   RUN(EDIT_FOLDER("parts"), "-o", "edited-parts") &&
                   RUN("edit", BASE, FACT, "--method", "ice", "--patch", "told.kepatch") &&
                   RUN("stats", BASE, "-o", "base.stats", "--layers", "1", "--tokens", "64",
                       "--chunk", "16") &&
                   RUN("bench", BASE, "--data", "data.json", "-o", "run.sqlite", "--method",
                       "none,rome", "--cov", "identity", "--contexts", "none", "--limit",
                       "1")
               ? 0
               : -1;
}

int faulty_remove(void **state)
{
    faulty_truths_free();
    faulty_clear(state);
    unsetenv("TMPDIR");
    return scratch_remove(state);
}

static void clear(const char *folder)
{
    char path[4096];
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (const struct dirent *e; (e = readdir(dir));) {
        snprintf(path, sizeof path, "%.3000s/%.255s", folder, e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlink(path) != 0) {
            clear(path);
            rmdir(path);
        }
    }
    closedir(dir);
}

void faulty_drop_hidden(void **state)
{
    char path[4096];
    DIR *dir = opendir(scratch_path(state, "out"));
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] == '.' && e->d_type == DT_REG) {
            snprintf(path, sizeof path, "%.3000s/%.255s", scratch_path(state, "out"),
                     e->d_name);
            unlink(path);
        }
    closedir(dir);
}

void faulty_clear(void **state)
{
    clear(scratch_path(state, "out"));
}

/* --- tests -------------------------------------------------------------------------- */

void *faulty_folder;

static int make(void **state)
{
    (void)state;
    return faulty_make(&faulty_folder);
}

static int drop(void **state)
{
    (void)state;
    return faulty_remove(&faulty_folder);
}

int faulty_group(const faulty_way *ways, size_t n_ways, const faulty_way *more,
                 size_t n_more)
{
    enum { MAX = 8 * FAULTY_MAX_COMMANDS };
    static char names[MAX][80];
    static struct CMUnitTest tests[MAX];
    size_t n = 0;
    const char *only = getenv("FAULT_ONLY");
    for (size_t i = 0; i < n_more; i++)
        if (!only || strstr(more[i].name, only))
            tests[n++] =
                (struct CMUnitTest){.name = more[i].name, .test_func = more[i].test};
    for (const faulty_command *c = faulty_commands; c->title; c++)
        for (size_t i = 0; i < n_ways && n < MAX; i++, n++) {
            if (only && !strstr(c->title, only))
                break;
            snprintf(names[n], sizeof names[n], "%s (%s)", c->title, ways[i].name);
            tests[n] = (struct CMUnitTest){.name = names[n],
                                           .test_func = ways[i].test,
                                           .initial_state = (void *)(uintptr_t)c};
        }
    return _cmocka_run_group_tests("commands", tests, n, make, drop);
}
