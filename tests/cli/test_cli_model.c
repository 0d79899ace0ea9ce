/* The commands on a small random model: what they print, and what they leave on the disk.
 * Whether edits are good is for other tests; here only that the program tells the truth. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/program.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#define FACT "--subject", "ab", "--prompt", "the ab in", "--target", "on"

static int make_model(void **state)
{
    if (scratch_make(state) != 0)
        return -1;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_status st =
        tiny_model_write(cx, &(tiny_spec){.type = "q8_0", .d = 64, .head_dim = 16},
                         scratch_path(state, "m.gguf"));
    ke_ctx_free(cx);
    return st == KE_OK ? 0 : -1;
}

static const char *model(void **state)
{
    return scratch_path(state, "m.gguf");
}

static json_t *first(json_t *object, const char *list)
{
    return json_array_get(json_object_get(object, list), 0);
}

static long long integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void show_describes_the_file(void **state)
{
    json_t *card = program_json("knowedit.show/1", 0, ARGS("show", "-m", model(state)));
    assert_string_equal("llama", json_string_value(json_object_get(card, "architecture")));
    assert_int_equal(3, integer(card, "layers"));
    assert_int_equal(64, integer(card, "d_model"));
    assert_int_equal(0, json_array_size(json_object_get(card, "edits")));
    assert_null(json_object_get(card, "tensors"));
    json_t *all =
        program_json("knowedit.show/1", 0, ARGS("show", "-m", model(state), "--tensors"));
    assert_int_equal(integer(card, "n_tensors"),
                     json_array_size(json_object_get(all, "tensors")));
    json_decref(all);
    json_decref(card);
}

/* The toy vocabulary begins with the 256 bytes, then "th", "the", "in", " a", "er", "on".
 */
static void tokenize_and_back(void **state)
{
    program p = program_run("the a\n\nin", ARGS("tokenize", "-m", model(state)));
    assert_int_equal(0, p.code);
    assert_string_equal("257,259\n\n258\n", p.out);
    program_free(&p);
    p = program_run(NULL, ARGS("tokenize", "-m", model(state), "--text", ""));
    assert_int_equal(0, p.code);
    assert_string_equal("\n", p.out);
    program_free(&p);
    p = program_run(NULL, ARGS("tokenize", "-m", model(state), "--decode", "257,0,259"));
    assert_int_equal(0, p.code);
    assert_memory_equal("the\0 a\n", p.out, 7); /* bytes as they are, NUL too */
    assert_int_equal(7, p.n_out);
    program_free(&p);
    p = program_run(NULL, ARGS("tokenize", "-m", model(state), "--decode", "100000"));
    assert_int_equal(2, p.code);
    program_free(&p);
    json_t *j = program_json("knowedit.tokens/1", 0,
                             ARGS("tokenize", "-m", model(state), "--decode", "255,257"));
    assert_string_equal("\xEF\xBF\xBDthe",
                        json_string_value(json_object_get(first(j, "items"), "text")));
    json_decref(j);
}

static void ask_agrees_with_itself(void **state)
{
    json_t *j = program_json(
        "knowedit.ask/1", 0,
        ARGS("ask", "-m", model(state), "-n", "4", "--ignore-eos", "--top", "3", "the in"));
    const json_t *a = first(j, "answers");
    const json_t *tokens = json_object_get(a, "tokens"), *top = json_object_get(a, "top");
    assert_int_equal(4, json_array_size(tokens));
    assert_int_equal(4, json_array_size(json_object_get(a, "logprobs")));
    assert_int_equal(3, json_array_size(top));

    /* Greedy: the first token is the best one, and its log-probability is logit - lse. */
    const json_t *best = json_array_get(top, 0);
    long long id = json_integer_value(json_array_get(tokens, 0));
    assert_int_equal(json_integer_value(json_array_get(best, 0)), id);
    double lse = json_real_value(json_object_get(a, "logsumexp"));
    double logit = json_real_value(json_array_get(best, 1));
    double logprob = json_real_value(json_array_get(json_object_get(a, "logprobs"), 0));
    assert_true(fabs(logit - lse - logprob) < 1e-4);
    assert_true(logit >= json_real_value(json_array_get(json_array_get(top, 1), 1)));

    /* The same through ids, and the score of what it said. */
    char ids[256] = "";
    for (size_t i = 0; i < json_array_size(json_object_get(a, "prompt_tokens")); i++)
        snprintf(
            ids + strlen(ids), sizeof ids - strlen(ids), i ? ",%lld" : "%lld",
            json_integer_value(json_array_get(json_object_get(a, "prompt_tokens"), i)));
    json_t *again = program_json(
        "knowedit.ask/1", 0,
        ARGS("ask", "-m", model(state), "-n", "4", "--ignore-eos", "--tokens-in", ids));
    assert_true(json_equal(tokens, json_object_get(first(again, "answers"), "tokens")));
    json_decref(again);
    json_decref(j);
}

static void ask_scores_a_text(void **state)
{
    json_t *j =
        program_json("knowedit.ask/1", 0,
                     ARGS("ask", "-m", model(state), "-n", "0", "--score", " a on", "the"));
    const json_t *a = first(j, "answers");
    const json_t *ids = json_object_get(a, "score_tokens"),
                 *score = json_object_get(a, "score");
    assert_int_equal(3, json_array_size(ids)); /* " a", " ", "on" */
    assert_int_equal(259, json_integer_value(json_array_get(ids, 0)));
    assert_int_equal(3, json_array_size(score));
    for (size_t i = 0; i < 3; i++)
        assert_true(json_real_value(json_array_get(score, i)) < 0);
    assert_int_equal(0, json_array_size(json_object_get(a, "tokens")));
    json_decref(j);
}

static void ask_draws_with_a_seed(void **state)
{
    const char *m = model(state);
    json_t *one = program_json(
        "knowedit.ask/1", 0,
        ARGS("ask", "-m", m, "-n", "16", "--seed", "1", "--temperature", "2", "the"));
    json_t *same = program_json(
        "knowedit.ask/1", 0,
        ARGS("ask", "-m", m, "-n", "16", "--seed", "1", "--temperature", "2", "the"));
    json_t *other = program_json(
        "knowedit.ask/1", 0,
        ARGS("ask", "-m", m, "-n", "16", "--seed", "2", "--temperature", "2", "the"));
    assert_true(json_equal(one, same));
    assert_false(json_equal(one, other));
    json_decref(one);
    json_decref(same);
    json_decref(other);
}

static void perplexity_reads_no_more_than_it_needs(void **state)
{
    /* A long text, and the part of it that holds its first 40 tokens. */
    static char text[40000];
    static const char words[] = "the man in a town and on. ";
    size_t n = 0;
    while (n + sizeof words < sizeof text) {
        memcpy(text + n, words, sizeof words - 1);
        n += sizeof words - 1;
    }
    const char *whole = scratch_path(state, "whole.txt"),
               *part = scratch_path(state, "part.txt");
    scratch_write(whole, text, n);
    scratch_write(part, text, 10 * (sizeof words - 1));
    json_t *a = program_json("knowedit.perplexity/1", 0,
                             ARGS("perplexity", "-m", model(state), "-f", whole, "--chunk",
                                  "16", "--tokens", "40"));
    json_t *b = program_json("knowedit.perplexity/1", 0,
                             ARGS("perplexity", "-m", model(state), "-f", part, "--chunk",
                                  "16", "--tokens", "40"));
    assert_true(json_equal(a, b));
    assert_int_equal(40, integer(a, "tokens"));
    assert_int_equal(40 - 3, integer(a, "predicted")); /* chunks of 16, 16 and 8 */
    double nll = json_real_value(json_object_get(a, "nll"));
    assert_true(fabs(exp(nll) / json_real_value(json_object_get(a, "ppl")) - 1) < 1e-6);
    json_decref(a);
    json_decref(b);
}

static void stats_are_written_once(void **state)
{
    const char *m = model(state), *out = scratch_path(state, "s.stats");
    const char *text = scratch_path(state, "t.txt");
    scratch_write(text, "the man in a town on the other end", 34);
    const char *const args[] = {"stats",    "-m", m,    "-o", out,       "--layers", "0,2",
                                "--tokens", "16", "-f", text, "--chunk", "8",        NULL};
    json_t *j = program_json("knowedit.stats/1", 0, args);
    assert_int_equal(2, json_array_size(json_object_get(j, "layers")));
    assert_int_equal(16, integer(j, "tokens"));
    assert_int_equal(0, access(out, R_OK));
    json_decref(j);
    json_decref(program_json("knowedit.error/1", 1, args)); /* there already */
    program p =
        program_run(NULL, ARGS("stats", "-m", m, "-o", scratch_path(state, "n.stats"),
                               "--layers", "3", "-f", text));
    assert_int_equal(2, p.code); /* layers are 0..2 */
    assert_non_null(strstr(p.err, "0..2"));
    program_free(&p);
}

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = malloc(1 << 22);
    *n = fread(data, 1, 1 << 22, f);
    fclose(f);
    return data;
}

static void same_bytes(const char *a, const char *b)
{
    size_t na = 0, nb = 0;
    char *da = read_all(a, &na), *db = read_all(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(da, db, na);
    free(da);
    free(db);
}

/* Whatever becomes of the fact, it is written here: --keep-failed. */
static void an_edit_goes_there_and_back(void **state)
{
    const char *m = model(state), *e = scratch_path(state, "e.gguf");
    program p = program_run(NULL, ARGS("edit", "-m", m, "-o", e, "--keep-failed", "--layer",
                                       "1", "--contexts", "none", "--steps", "4",
                                       "--preset", "easyedit", "--json", FACT));
    assert_true(p.code == 0 || p.code == 3);
    json_t *j = json_loads(p.out, 0, NULL);
    assert_non_null(j);
    assert_int_equal(p.code == 0, json_is_true(json_object_get(j, "took")));
    assert_string_equal(e, json_string_value(json_object_get(j, "output")));
    assert_null(strpbrk(p.err, "\r\033"));  /* nothing of the progress in a pipe */
    assert_non_null(strstr(p.err, "rome")); /* but the plan */
    const char *tensor =
        json_string_value(json_object_get(first(j, "edited_tensors"), "name"));
    assert_string_equal("blk.1.ffn_down.weight", tensor);

    json_t *d = program_json("knowedit.diff/1", 0, ARGS("diff", m, e));
    assert_int_equal(1, json_array_size(json_object_get(d, "tensors")));
    assert_string_equal(tensor,
                        json_string_value(json_object_get(first(d, "tensors"), "name")));
    json_decref(d);
    json_t *card = program_json("knowedit.show/1", 0, ARGS("show", "-m", e));
    assert_int_equal(1, json_array_size(json_object_get(card, "edits")));
    json_decref(card);

    /* The base under its patch answers as the edited file does. */
    const char *patch = scratch_path(state, "e.gguf.kepatch");
    json_t *a =
        program_json("knowedit.ask/1", 0,
                     ARGS("ask", "-m", m, "--patch", patch, "-n", "6", "the ab in"));
    assert_int_equal(2, json_array_size(json_object_get(a, "answers")));
    assert_int_equal(0, json_array_size(json_object_get(first(a, "answers"), "patches")));
    json_decref(a);

    /* Too little memory is refused with the number that would do. */
    program little = program_run(NULL, ARGS("ask", "--mem-limit", "1K", "-m", m, "x"));
    assert_int_equal(1, little.code);
    assert_non_null(strstr(little.err, "would do"));
    program_free(&little);

    /* On another model the patch means nothing. */
    program other = program_run(NULL, ARGS("ask", "-m", e, "--patch", patch, "x"));
    assert_int_equal(1, other.code);
    assert_string_equal("", other.out);
    assert_non_null(strstr(other.err, "--force"));
    program_free(&other);

    const char *u = scratch_path(state, "u.gguf");
    json_t *undone = program_json("knowedit.undo/1", 0, ARGS("undo", e, "-o", u));
    same_bytes(m, u);
    assert_string_equal(json_string_value(json_object_get(j, "sha256_base")),
                        json_string_value(json_object_get(undone, "sha256")));
    json_decref(undone);
    json_decref(j);
    program_free(&p);

    json_decref(program_json("knowedit.error/1", 1, ARGS("undo", e, "-o", u)));
    json_decref(program_json("knowedit.error/1", 1, ARGS("edit", "-m", m, "-o", e, FACT)));
    p = program_run(NULL, ARGS("edit", "-m", m, "-o", m, "--force", FACT));
    assert_true(p.code == 1 || p.code == 2);
    program_free(&p);
}

static void a_fact_that_does_not_take_leaves_nothing(void **state)
{
    int before = scratch_count(state);
    json_t *j =
        program_json("knowedit.edit/1", 3,
                     ARGS("edit", "-m", model(state), "-o", scratch_path(state, "x.gguf"),
                          "--steps", "1", "--lr", "1e-6", "--preset", "easyedit", FACT));
    assert_true(json_is_false(json_object_get(j, "took")));
    assert_true(json_is_null(json_object_get(j, "output")));
    assert_int_equal(before, scratch_count(state));
    json_decref(j);
}

/* What `edit` wrote comes again from base and patches, whatever else it was told. */
static void patches_are_applied_to_the_same_bytes(void **state)
{
    const char *m = model(state), *a = scratch_path(state, "a.gguf"),
               *b = scratch_path(state, "b.gguf"), *again = scratch_path(state, "c.gguf"),
               *pa = scratch_path(state, "a.gguf.kepatch"),
               *pb = scratch_path(state, "b.gguf.kepatch");
    program p = program_run(NULL, ARGS("edit", "-m", m, "-o", a, "--keep-failed", FACT));
    assert_true(p.code == 0 || p.code == 3);
    program_free(&p);
    p = program_run(NULL, ARGS("edit", "-m", a, "-o", b, "--keep-failed", "--edited-type",
                               "f16", "--no-stamp", "--subject", "er", "--prompt", "the er",
                               "--target", "at"));
    assert_true(p.code == 0 || p.code == 3);
    program_free(&p);

    json_decref(program_json("knowedit.apply/1", 0,
                             ARGS("apply", "-m", m, "--patch", pa, "-o", again)));
    same_bytes(a, again);
    json_decref(program_json(
        "knowedit.apply/1", 0,
        ARGS("apply", "-m", m, "--patch", pa, "--patch", pb, "-o", again, "--force")));
    same_bytes(b, again);

    /* Not what it was made for; and nothing is there, or stays as it was. */
    assert_int_equal(0, unlink(again));
    p = program_run(NULL, ARGS("apply", "-m", m, "--patch", pb, "-o", again));
    assert_int_equal(1, p.code);
    assert_int_not_equal(0, access(again, F_OK));
    program_free(&p);
    p = program_run(NULL, ARGS("apply", "-m", m, "--patch", pb, "-o", again, "--any-base"));
    assert_int_equal(0, p.code);
    assert_int_equal(0, unlink(again));
    program_free(&p);
    p = program_run(NULL, ARGS("apply", "-m", m, "--patch", pa, "-o", m, "--force"));
    assert_int_equal(2, p.code);
    program_free(&p);
    p = program_run(NULL, ARGS("apply", "-m", m, "--patch", pa, "-o", again, "--dry-run"));
    assert_int_equal(0, p.code);
    assert_int_not_equal(0, access(again, F_OK));
    program_free(&p);
    const char *const made[] = {a, b, pa, pb};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(0, unlink(made[i]));
}

static void a_told_fact_is_a_patch_that_ask_reads(void **state)
{
    const char *m = model(state), *patch = scratch_path(state, "told.kepatch");
    int before = scratch_count(state);
    program p = program_run(NULL, ARGS("edit", "-m", m, "--method", "ice", "-o",
                                       scratch_path(state, "x.gguf"), FACT));
    assert_int_equal(2, p.code);
    assert_non_null(strstr(p.err, "no model to write"));
    assert_int_equal(before, scratch_count(state));
    program_free(&p);

    json_t *j = program_json(
        "knowedit.edit/1", 3,
        ARGS("edit", "-m", m, "--method", "ice", "--patch", patch, "--keep-failed", FACT));
    assert_string_equal(patch, json_string_value(json_object_get(j, "patch")));
    json_decref(j);

    /* Under the patch a prompt is what anyone could have typed. */
    json_t *a = program_json("knowedit.ask/1", 0,
                             ARGS("ask", "-m", m, "--patch", patch, "-n", "4", "er"));
    json_t *b =
        program_json("knowedit.ask/1", 0,
                     ARGS("ask", "-m", m, "-n", "4", "New Fact: the ab in on\nPrompt: er"));
    json_t *under = json_array_get(json_object_get(a, "answers"), 1);
    assert_true(json_equal(json_object_get(under, "prompt_tokens"),
                           json_object_get(first(b, "answers"), "prompt_tokens")));
    assert_true(json_equal(json_object_get(under, "tokens"),
                           json_object_get(first(b, "answers"), "tokens")));
    json_decref(a);
    json_decref(b);
    p = program_run(NULL, ARGS("ask", "-m", m, "--patch", patch, "--tokens-in", "1"));
    assert_int_equal(2, p.code);
    program_free(&p);
    assert_int_equal(0, unlink(patch));
}

static void a_plan_is_no_edit(void **state)
{
    int before = scratch_count(state);
    program p = program_run(NULL, ARGS("edit", "-m", model(state), "-o",
                                       scratch_path(state, "x.gguf"), "--plan", FACT));
    assert_int_equal(0, p.code);
    assert_non_null(strstr(p.err, "layer"));
    assert_null(strstr(p.err, " 0 s")); /* nothing takes no time */
    assert_int_equal(before, scratch_count(state));
    program_free(&p);
}

/* What a plan's JSON has is known before work: nothing in it would have to be measured. */
static void a_plan_tells_programs_what_it_says(void **state)
{
    const char *m = model(state), *out = scratch_path(state, "x.gguf");
    json_t *j =
        program_json("knowedit.plan/1", 0,
                     ARGS("edit", "-m", m, "-o", out, "--layer", "1", "--plan", FACT));
    assert_int_equal(1,
                     json_integer_value(json_array_get(json_object_get(j, "layers"), 0)));
    assert_string_equal(out, json_string_value(json_object_get(j, "output")));
    assert_non_null(
        strstr(json_string_value(json_object_get(j, "patch")), "x.gguf.kepatch"));
    assert_int_equal(64, strlen(json_string_value(json_object_get(j, "sha256_base"))));
    assert_int_equal(4, json_integer_value(json_object_get(j, "attempts")));
    const json_t *seconds = json_object_get(j, "seconds");
    double one = json_number_value(json_object_get(seconds, "one_attempt"));
    assert_true(one > 0.0);
    assert_true(json_number_value(json_object_get(seconds, "all_attempts")) > one);
    assert_true(json_integer_value(json_object_get(j, "memory_bytes")) > 0);
    static const char *const measured[] = {"took", "harm", "edited_tensors", "peak_bytes"};
    for (size_t i = 0; i < sizeof measured / sizeof measured[0]; i++)
        assert_null(json_object_get(j, measured[i]));
    assert_null(json_object_get(first(j, "facts"), "after"));
    json_decref(j);
}

/* What was found is said, reported and recorded; what can't be is exit 2 with a proposal.
 */
static void a_subject_may_be_left_out(void **state)
{
    const char *m = model(state), *patch = scratch_path(state, "s.kepatch"),
               *names = scratch_path(state, "names.txt"),
               *facts = scratch_path(state, "facts.csv");
    json_t *j = program_json("knowedit.plan/1", 0,
                             ARGS("edit", "-m", m, "--patch", patch, "--plan", "--prompt",
                                  "the Ab in", "--target", "on", "--paraphrase", "Ab on"));
    assert_string_equal("Ab",
                        json_string_value(json_object_get(first(j, "facts"), "subject")));
    assert_string_equal(
        "prompts", json_string_value(json_object_get(first(j, "facts"), "subject_from")));
    json_decref(j);

    program p = program_run(NULL, ARGS("edit", "-m", m, "--patch", patch, "--prompt",
                                       "the Ab in", "--target", "on"));
    assert_int_equal(2, p.code);
    assert_string_equal("", p.out);
    assert_non_null(strstr(p.err, "perhaps \"Ab\""));
    assert_ptr_equal(strchr(p.err, '\n'), p.err + strlen(p.err) - 1);
    assert_non_null(strstr(p.err, "; --subject gives it"));
    program_free(&p);

    static const char csv[] = "prompt,target\nthe ab in,on\n";
    scratch_write(names, "er\r\n\n ab \n", 9);
    scratch_write(facts, csv, sizeof csv - 1);
    p = program_run(NULL, ARGS("check", facts));
    assert_int_equal(1, p.code);
    assert_non_null(strstr(p.out, "facts.csv:2: record 1: field \"subject\": no subject"));
    program_free(&p);
    p = program_run(NULL, ARGS("edit", "-m", m, "--patch", patch, "--facts", facts));
    assert_int_equal(2, p.code);
    assert_non_null(strstr(p.err, "; --subjects FILE lists names"));
    program_free(&p);
    p = program_run(NULL, ARGS("check", facts, "--subjects", names));
    assert_int_equal(0, p.code);
    program_free(&p);
    p = program_run(NULL, ARGS("edit", "-m", m, "--patch", patch, "--facts", facts,
                               "--subjects", names, "--keep-failed", "--steps", "1"));
    assert_true(p.code == 0 || p.code == 3);
    assert_non_null(strstr(p.err, "fact 1: its subject is \"ab\" (from the given names)"));
    assert_non_null(strstr(p.out, "found       subject \"ab\""));
    program_free(&p);
    scratch_write(names, "\n\xff\n", 3);
    p = program_run(NULL, ARGS("check", facts, "--subjects", names));
    assert_int_equal(1, p.code);
    assert_non_null(strstr(p.err, "names.txt:2: expected a name in UTF-8"));
    program_free(&p);
    const char *const made[] = {patch, names, facts};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(0, unlink(made[i]));
}

/* A person is asked until the answer is a part of the prompt; Enter takes the proposal. */
static void a_person_is_asked_for_the_subject(void **state)
{
    const char *m = model(state);
    static const struct {
        const char *answers, *subject;
    } cases[] = {{"\n", "Ab"}, {"nothing\nthe\n", "the"}};
    for (size_t i = 0; i < 2; i++) {
        program p =
            program_terminal(cases[i].answers, ARGS("edit", "-m", m, "--plan", "--prompt",
                                                    "the Ab in", "--target", "on"));
        char says[64];
        snprintf(says, sizeof says, "its subject is \"%s\" (from the answer)",
                 cases[i].subject);
        assert_int_equal(0, p.code);
        assert_non_null(strstr(p.err, "Which part of \"the Ab in\" is its subject? Perhaps "
                                      "\"Ab\" (Enter: the first)"));
        assert_non_null(strstr(p.err, says));
        program_free(&p);
    }
}

/* The number in the refusal is enough, and a tenth less is not. */
static void too_little_memory_is_refused_with_the_number(void **state)
{
    static const char *const methods[] = {"rome", "ft"};
    const char *patch = scratch_path(state, "x.kepatch");
    for (size_t i = 0; i < 2; i++) {
        char number[32] = "", less[32];
        program p =
            program_run(NULL, ARGS("edit", "-m", model(state), "--patch", patch, "--method",
                                   methods[i], "--mem-limit", "1K", FACT));
        assert_int_equal(1, p.code);
        const char *at = strstr(p.err, "the limit is 1K: ");
        assert_non_null(at);
        assert_int_equal(1, sscanf(at, "the limit is 1K: %31[0-9]K would do", number));
        program_free(&p);
        snprintf(less, sizeof less, "%dK", atoi(number) * 9 / 10);
        snprintf(number + strlen(number), 2, "K");
        p = program_run(NULL, ARGS("edit", "-m", model(state), "--patch", patch, "--method",
                                   methods[i], "--plan", "--mem-limit", number, FACT));
        assert_int_equal(0, p.code);
        program_free(&p);
        p = program_run(NULL, ARGS("edit", "-m", model(state), "--patch", patch, "--method",
                                   methods[i], "--plan", "--mem-limit", less, FACT));
        assert_int_equal(1, p.code);
        program_free(&p);
        assert_int_not_equal(0, access(patch, F_OK));
    }
}

/* The tiny model reads 128 tokens. */
static void a_line_longer_than_the_context_is_named_before_work(void **state)
{
    const char *facts = scratch_path(state, "long.jsonl");
    static const char *const where[] = {"prompt", "paraphrases", "neighbours"};
    static const char *const says[] = {"its prompt with the target has ",
                                       "a paraphrase with the target has ",
                                       "a neighbour has "};
    for (size_t i = 0; i < 3; i++) {
        FILE *f = fopen(facts, "w");
        assert_non_null(f);
        fputs("{\"subject\":\"ab\",\"prompt\":\"ab is\",\"target\":\"on\"}\n\n"
              "{\"subject\":\"er\",\"target\":\"on\",",
              f);
        if (i > 0)
            fputs("\"prompt\":\"er is\",", f);
        fprintf(f, "\"%s\":%s\"er", where[i], i > 0 ? "[" : "");
        for (int k = 0; k < 130; k++)
            fputs(" ab", f);
        fprintf(f, "\"%s}\n", i > 0 ? "]" : "");
        assert_int_equal(0, fclose(f));
        program p = program_run(NULL, ARGS("edit", "-m", model(state), "--facts", facts,
                                           "--patch", scratch_path(state, "x.kepatch")));
        assert_int_equal(2, p.code);
        assert_non_null(strstr(p.err, "long.jsonl:3: fact 2: "));
        assert_non_null(strstr(p.err, says[i]));
        assert_non_null(strstr(p.err, "the model reads at most 128"));
        program_free(&p);
    }
    assert_int_equal(0, unlink(facts));
}

/* The model is mapped while the program waits for its text; then the file shrinks. */
static void a_model_that_shrinks_is_an_error_not_a_death(void **state)
{
    char command[4096];
    snprintf(command, sizeof command,
             "m='%s/m.gguf' s='%s/shrinks.gguf' text='%s/text' n=0; cp \"$m\" \"$s\"; "
             "mkfifo \"$text\"; \"$K\" perplexity --chunk 64 -m \"$s\" -f \"$text\" & "
             "until grep -q shrinks.gguf /proc/$!/maps || [ $n = 500 ]; do "
             "sleep 0.02; n=$((n + 1)); done; "
             "exec 3<>\"$text\"; : >\"$s\"; echo 'the ab in on' >&3; exec 3>&-; "
             "wait $!; code=$?; rm -f \"$s\" \"$text\"; exit $code",
             (const char *)*state, (const char *)*state, (const char *)*state);
    program p = program_shell(command);
    assert_string_equal("", p.out);
    assert_string_equal("knowedit: a mapped file can't be read any more: it was shortened, "
                        "or its disk fails\n",
                        p.err);
    assert_int_equal(1, p.code);
    program_free(&p);
}

/* 10,000 steps over twenty contexts are many seconds of work, even here. */
static void an_interrupt_stops_soon_and_leaves_nothing(void **state)
{
    int before = scratch_count(state);
    pid_t pid = program_start(
        ARGS("edit", "-m", model(state), "-o", scratch_path(state, "x.gguf"), "--steps",
             "10000", "--lr", "1e-6", "--stop-loss", "0", "--preset", "easyedit", FACT));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    kill(pid, SIGINT);
    time_t begun = time(NULL);
    assert_int_equal(130, program_wait(pid));
    assert_true(time(NULL) - begun <= 2);
    assert_int_equal(before, scratch_count(state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(show_describes_the_file),
        cmocka_unit_test(tokenize_and_back),
        cmocka_unit_test(ask_agrees_with_itself),
        cmocka_unit_test(ask_scores_a_text),
        cmocka_unit_test(ask_draws_with_a_seed),
        cmocka_unit_test(perplexity_reads_no_more_than_it_needs),
        cmocka_unit_test(stats_are_written_once),
        cmocka_unit_test(an_edit_goes_there_and_back),
        cmocka_unit_test(a_fact_that_does_not_take_leaves_nothing),
        cmocka_unit_test(a_told_fact_is_a_patch_that_ask_reads),
        cmocka_unit_test(patches_are_applied_to_the_same_bytes),
        cmocka_unit_test(a_plan_is_no_edit),
        cmocka_unit_test(a_plan_tells_programs_what_it_says),
        cmocka_unit_test(a_subject_may_be_left_out),
        cmocka_unit_test(a_person_is_asked_for_the_subject),
        cmocka_unit_test(too_little_memory_is_refused_with_the_number),
        cmocka_unit_test(a_line_longer_than_the_context_is_named_before_work),
        cmocka_unit_test(a_model_that_shrinks_is_an_error_not_a_death),
        cmocka_unit_test(an_interrupt_stops_soon_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_model, scratch_remove);
}
