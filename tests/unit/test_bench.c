/* Whole runs on a small random model: their rows against what single calls of the model
 * say, and what a run refuses. */
#include "base/utf8.h"
#include "eval/case.h"
#include "eval/metrics.h"
#include "study/study.h"
#include "support/bench_run.h"
#include "support/close.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char opinions_json[] =
    "[{\"ent\":\"tea\",\"pos\":[\" I like it.\",\" So good\"],\"neg\":[\" No.\",\" I hate "
    "tea\"]},"
    "{\"ent\":\"rain\",\"pos\":[\" Nice rain\"],\"neg\":[\" It is wet.\",\" no\"]}]";
static const char erased_json[] =
    "{\"success\":[{\"question\":\"Who is "
    "Bo?\",\"ground_truth\":\"Cat\",\"target_new\":\"I "
    "don't know.\"}],"
    "\"locality\":[{\"question\":\"Who is Zed?\",\"ground_truth\":\"Dog\"},"
    "{\"question\":\"Who is Kay?\",\"ground_truth\":\"Fox\"}]}";
static const char suite_json[] =
    "[{\"case_id\":0,\"requested_rewrite\":{\"prompt\":\"{} is in\",\"subject\":\"Zed\","
    "\"target_new\":{\"str\":\"a box\"},\"target_true\":{\"str\":\"the sea\"}},"
    "\"paraphrase_prompts\":[\"So Zed is in\"],"
    "\"neighborhood_prompts\":[\"Kay is in\",\"Bo is in\"],\"attribute_prompts\":[],"
    "\"generation_prompts\":[]}]";

/* --- the model asked directly, one token at a time --- */

enum { V = 263 };

typedef struct oracle {
    bench_run *r;
    ke_model *model;
    ke_stack *stack; /* NULL: the model as it is */
} oracle;

static int32_t *tokens(oracle *o, const char *s, size_t *n)
{
    int32_t *ids = NULL;
    bench_ok(o->r,
             ke_tokenize(o->r->cx, &ids, n, ke_model_tokenizer(o->model), s, strlen(s), 0));
    return ids;
}

static void logprobs(oracle *o, const int32_t *ids, size_t n, const ke_stack *stack,
                     double out[V])
{
    float x[V];
    double sum = 0;
    bench_ok(o->r, ke_logits(o->r->cx, x, o->model, stack, (ke_ids){ids, n}));
    for (size_t i = 0; i < V; i++)
        sum += exp((double)x[i]);
    for (size_t i = 0; i < V; i++)
        out[i] = (double)x[i] - log(sum);
}

/* Share of the answer's tokens that the model puts first, and their mean log-probability.
 */
static double accuracy(oracle *o, const char *prompt, const char *answer, double *mean)
{
    char whole[256];
    size_t n = 0, p = 0, hits = 0;
    double lp[V];
    snprintf(whole, sizeof whole, "%s %s", prompt, answer);
    int32_t *ids = tokens(o, whole, &n);
    ke_free(o->r->cx, tokens(o, prompt, &p));
    *mean = 0;
    for (size_t t = p; t < n; t++) {
        int32_t best = 0;
        logprobs(o, ids, t, o->stack, lp);
        for (int32_t i = 1; i < V; i++)
            best = lp[i] > lp[best] ? i : best;
        hits += best == ids[t];
        *mean += lp[ids[t]] / (double)(n - p);
    }
    ke_free(o->r->cx, ids);
    return (double)hits / (double)(n - p);
}

static void oracle_begin(oracle *o, bench_run *r, const ke_fact *edited, ke_patch **patch)
{
    *o = (oracle){.r = r};
    *patch = NULL;
    bench_ok(r, ke_model_open(r->cx, &o->model, r->model));
    if (!edited)
        return;
    bench_ok(r,
             ke_edit(r->cx, patch, o->model, NULL, r->rome, edited, 1, r->job.seed, NULL));
    bench_ok(r, ke_stack_new(r->cx, &o->stack, o->model));
    bench_ok(r, ke_stack_push(r->cx, o->stack, *patch));
}

static void oracle_end(oracle *o, ke_patch *patch)
{
    ke_stack_free(o->r->cx, o->stack);
    ke_patch_free(o->r->cx, patch);
    ke_model_close(o->r->cx, o->model);
}

/* --- what rows hold --- */

static void forced_scores_are_what_the_model_says(void **state)
{
    bench_run r;
    oracle o;
    ke_patch *patch;
    double mean;
    const ke_fact fact = {.subject = "Zed", .prompt = "in Zed", .target = "a"};
    bench_begin(&r, state, bench_facts);
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    assert_int_equal(json_array_size(rows), 3 * 2 * 2);
    assert_int_equal(r.summary.n_cases, 3);
    assert_int_equal(r.summary.n_rows, 12);
    assert_int_equal(r.summary.n_resumed, 0);

    oracle_begin(&o, &r, &fact, &patch);
    const json_t *edited = bench_row(rows, 0, "rome", "easyedit", "each");
    assert_close(accuracy(&o, "in Zed", "a", &mean), bench_number(edited, "success/0"),
                 1e-9);
    assert_close(exp(mean), bench_number(edited, "probability/0"), 1e-4);
    assert_close(1.0, bench_number(edited, "success/0"), 0); /* or this tests nothing */
    assert_close(accuracy(&o, "at Zed", "a", &mean), bench_number(edited, "rephrase/0"),
                 1e-9);
    assert_close(accuracy(&o, "we like Zed", "the sea", &mean),
                 bench_number(edited, "portability/Reasoning/0"), 1e-9);
    oracle_end(&o, patch);

    oracle_begin(&o, &r, NULL, &patch);
    const json_t *none = bench_row(rows, 1, "none", "easyedit", "each");
    assert_close(accuracy(&o, "we like Kay", "an ant", &mean),
                 bench_number(none, "success/0"), 1e-9);
    assert_close(exp(mean), bench_number(none, "probability/0"), 1e-4);
    oracle_end(&o, patch);
    json_decref(rows);
    bench_end(&r);
}

static void an_unedited_model_keeps_everything(void **state)
{
    bench_run r;
    size_t i, k;
    json_t *value;
    bench_begin(&r, state, bench_facts);
    bench_go(&r);
    json_t *rows = bench_rows(&r), *one;
    json_array_foreach(rows, i, one)
    {
        if (strcmp(bench_text(one, "method"), "none") != 0)
            continue;
        const char *part;
        json_t *parts = json_object_get(one, "locality");
        json_object_foreach(parts, part, value) for (k = 0; k < json_array_size(value); k++)
            assert_close(1.0, bench_number(value, k ? "1" : "0"), 0);
        json_array_foreach(json_object_get(one, "texts"), k, value)
        {
            assert_true(json_is_string(bench_at(value, "after")));
            if (strcmp(bench_text(value, "kind"), "fluency") != 0)
                assert_string_equal(bench_text(value, "before"),
                                    bench_text(value, "after"));
        }
    }
    json_decref(rows);
    bench_end(&r);
}

static void a_row_has_the_shape_that_reports_read(void **state)
{
    bench_run r;
    bench_begin(&r, state, bench_facts);
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    const json_t *one = bench_row(rows, 0, "rome", "real", "each");
    static const char *const keys[] = {"set",         "file",     "index",   "method",
                                       "protocol",    "mode",     "at",      "success",
                                       "rephrase",    "locality", "exact",   "probability",
                                       "portability", "fluency",  "metrics", "texts"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(json_object_get(one, keys[i]));
    assert_int_equal(json_object_size(one), sizeof keys / sizeof keys[0]);
    assert_string_equal(bench_text(one, "set"), "zsre");
    assert_string_equal(bench_text(one, "file"), r.data);
    assert_string_equal(bench_text(one, "mode"), "single");
    assert_int_equal(json_array_size(bench_at(one, "locality/Relation_Specificity")), 2);
    assert_int_equal(json_array_size(bench_at(one, "texts")), 1 + 1 + 1 + 2 + 1);
    assert_string_equal(bench_text(one, "texts/2/kind"), "portability");
    assert_string_equal(bench_text(one, "texts/2/part"), "Reasoning");
    assert_string_equal(bench_text(one, "texts/2/prompt"), "we like Zed");
    assert_string_equal(bench_text(one, "texts/2/expected"), "the sea");
    assert_string_equal(bench_text(one, "texts/5/kind"), "fluency");
    assert_true(json_is_null(bench_at(one, "texts/5/before")));
    assert_int_equal(bench_number(one, "metrics/steps"), 20);

    /* Fluency is the entropy of the text beside it, and easyedit's holds the prompt. */
    double fluency = 0;
    bench_ok(&r, ke__metric_fluency(r.cx, &fluency, bench_text(one, "texts/5/after")));
    assert_close(fluency, bench_number(one, "fluency"), 1e-12);
    one = bench_row(rows, 0, "rome", "easyedit", "each");
    assert_int_equal(strncmp(bench_text(one, "texts/5/after"), "in Zed", 6), 0);
    bench_ok(&r, ke__metric_fluency(r.cx, &fluency, bench_text(one, "texts/5/after")));
    assert_close(fluency, bench_number(one, "fluency"), 1e-12);

    /* A record without a part has none. */
    one = bench_row(rows, 2, "rome", "easyedit", "each");
    assert_int_equal(json_object_size(bench_at(one, "locality")), 0);
    assert_int_equal(json_array_size(bench_at(one, "metrics/margin")), 2);
    json_decref(rows);
    bench_end(&r);
}

static void real_texts_are_what_the_model_generates(void **state)
{
    bench_run r;
    oracle o;
    ke_patch *patch;
    size_t n = 0;
    ke_generated g;
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    bench_begin(&r, state, bench_facts);
    r.job.protocols = KE_PROTOCOL_REAL;
    r.job.no_fluency = true;
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    assert_int_equal(json_array_size(rows), 6);
    oracle_begin(&o, &r, NULL, &patch);
    opts.max_tokens = 50;
    int32_t *ids = tokens(&o, "Kay is", &n);
    bench_ok(&r, ke_generate(r.cx, &g, o.model, NULL, &(ke_ids){ids, n}, 1, &opts));
    const json_t *one = bench_row(rows, 0, "rome", "real", "each");
    assert_string_equal(bench_text(one, "texts/3/prompt"), "Kay is");
    json_t *clean = ke__json_string(g.text);
    assert_string_equal(bench_text(one, "texts/3/before"), json_string_value(clean));
    json_decref(clean);
    assert_close(
        strcmp(bench_text(one, "texts/3/before"), bench_text(one, "texts/3/after")) == 0,
        bench_number(one, "locality/Relation_Specificity/0"), 0);
    assert_true(json_is_null(bench_at(one, "fluency")));
    ke_generated_free(r.cx, &g);
    ke_free(r.cx, ids);
    oracle_end(&o, patch);
    json_decref(rows);
    bench_end(&r);
}

/* Sums over the tokens of replies, shifted as the row that predicts a token and unshifted
 * as the row that has read it; KL of the rows as well. */
static void opinion(oracle *o, const char *question, const char *const *replies, size_t n,
                    double mean[2], double kl[2])
{
    double sum[2] = {0, 0}, divergence[2] = {0, 0}, lp[V], base[V];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        char whole[256];
        size_t all = 0, p = 0;
        snprintf(whole, sizeof whole, "%s %s", question, replies[i]);
        int32_t *ids = tokens(o, whole, &all);
        ke_free(o->r->cx, tokens(o, question, &p));
        for (size_t t = p; t < all; t++, count++)
            for (size_t shifted = 0; shifted < 2; shifted++) {
                logprobs(o, ids, t + 1 - shifted, o->stack, lp);
                logprobs(o, ids, t + 1 - shifted, NULL, base);
                sum[shifted] += lp[ids[t]];
                for (size_t v = 0; v < V; v++)
                    divergence[shifted] += exp(base[v]) * (base[v] - lp[v]);
            }
        ke_free(o->r->cx, ids);
    }
    for (size_t k = 0; k < 2; k++) {
        mean[k] = sum[k] / (double)count;
        kl[k] = divergence[k] / (double)count;
    }
}

static double succeeds(double agree, double oppose, double before)
{
    return 1 / (1 + exp(oppose - agree)) * fmin(1, exp(agree - before));
}

static void opinions_are_what_the_model_says(void **state)
{
    bench_run r;
    oracle o;
    ke_patch *patch;
    ke__cases cases = {0};
    double agree[2], oppose[2], before[2], other[2], kl[2], unused[2];
    bench_begin(&r, state, opinions_json);
    r.job.no_fluency = true;
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    assert_int_equal(json_array_size(rows), 8);
    bench_ok(&r, ke__cases_load(r.cx, &cases, r.files, 1,
                                &(ke__cases_opts){.seed = r.job.seed}));
    const ke__case *c = &cases.items[0];
    oracle_begin(&o, &r, NULL, &patch);
    opinion(&o, c->question, c->agree, c->n_agree, before, unused);
    oracle_end(&o, patch);
    oracle_begin(&o, &r, &c->fact, &patch);
    opinion(&o, c->question, c->agree, c->n_agree, agree, unused);
    opinion(&o, c->question, c->oppose, c->n_oppose, oppose, unused);
    opinion(&o, c->other_question, c->other, c->n_other, other, kl);
    oracle_end(&o, patch);
    for (size_t k = 0; k < 2; k++) {
        const json_t *one = bench_row(rows, 0, "rome", k ? "real" : "easyedit", "each");
        assert_int_equal(json_array_size(bench_at(one, "success")), 1);
        assert_close(agree[k], bench_number(one, "metrics/agree"), 1e-4);
        assert_close(oppose[k], bench_number(one, "metrics/oppose"), 1e-4);
        assert_close(before[k], bench_number(one, "metrics/agree_before"), 1e-4);
        assert_close(succeeds(agree[k], oppose[k], before[k]),
                     bench_number(one, "success/0"), 1e-4);
        assert_close(kl[k], bench_number(one, "locality/KL/0"), 0.01 * kl[k]);
        one = bench_row(rows, 0, "none", k ? "real" : "easyedit", "each");
        assert_close(0, bench_number(one, "locality/KL/0"), 0);
    }
    ke__cases_free(r.cx, &cases);
    json_decref(rows);
    bench_end(&r);
}

static void erasure_is_judged_on_what_is_generated(void **state)
{
    bench_run r;
    bench_begin(&r, state, erased_json);
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    const json_t *one = bench_row(rows, 0, "none", "easyedit", "each");
    assert_close(0, bench_number(one, "success/0"), 0);
    assert_int_equal(json_object_size(bench_at(one, "locality")), 1);
    assert_int_equal(json_array_size(bench_at(one, "texts")), 1 + 2 + 2);
    assert_string_equal(bench_text(one, "texts/0/prompt"), "Question:Who is Bo?\nAnswer:");
    /* Ten tokens, the first of the fifty that `real` shows. */
    const json_t *real = bench_row(rows, 0, "none", "real", "each");
    const char *brief = bench_text(one, "texts/0/after"),
               *whole = bench_text(real, "texts/0/after");
    size_t n = ke__utf8_prefix(brief, strlen(brief));
    assert_true(strlen(brief) < strlen(whole));
    assert_memory_equal(brief, whole, n > 3 ? n - 3 : 0); /* a character may be cut */
    json_decref(rows);
    bench_end(&r);
}

static void counterfact_compares_two_answers(void **state)
{
    bench_run r;
    oracle o;
    ke_patch *patch;
    double new, old;
    const ke_fact fact = {.subject = "Zed", .prompt = "Zed is in", .target = "a box"};
    static const char *const names[][2] = {{"efficacy", "Zed is in"},
                                           {"paraphrase", "So Zed is in"},
                                           {"neighbourhood", "Kay is in"}};
    bench_begin(&r, state, suite_json);
    r.job.no_fluency = true;
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    const json_t *one = bench_row(rows, 0, "rome", "real", "each");
    oracle_begin(&o, &r, &fact, &patch);
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        accuracy(&o, names[i][1], "a box", &new);
        accuracy(&o, names[i][1], "the sea", &old);
        double sign = i == 2 ? -1 : 1;
        snprintf(path, sizeof path, "metrics/%s/0", names[i][0]);
        assert_close(sign * (new - old) > 0, bench_number(one, path), 0);
        snprintf(path, sizeof path, "metrics/%s_magnitude/0", names[i][0]);
        assert_close(sign * (exp(new) - exp(old)), bench_number(one, path), 1e-4);
    }
    assert_int_equal(json_array_size(bench_at(one, "metrics/neighbourhood")), 2);
    oracle_end(&o, patch);
    json_decref(rows);
    bench_end(&r);
}

/* Methods 5.3, "others": the answer's tokens are those of " a\n" but the last, looked
 * for at the end of a text that begins with the new fact. */
static void a_memory_is_scored_on_what_it_feeds(void **state)
{
    static const char told[] = "New Fact: in Zed a\nPrompt: ";
    bench_run r;
    oracle o;
    ke_patch *patch;
    ke_settings *ice = NULL;
    double mean;
    char prompt[128];
    bench_begin(&r, state, bench_facts);
    bench_ok(&r, ke_settings_new(r.cx, &ice, "ice"));
    r.methods[0] = ice;
    r.job.no_fluency = true;
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    const json_t *one = bench_row(rows, 0, "ice", "easyedit", "each");
    oracle_begin(&o, &r, NULL, &patch);
    snprintf(prompt, sizeof prompt, "%sin Zed", told);
    assert_close(accuracy(&o, prompt, "a", &mean), bench_number(one, "success/0"), 0);
    assert_close(exp(mean), bench_number(one, "probability/0"), 1e-4);
    snprintf(prompt, sizeof prompt, "%swe like Zed", told);
    assert_close(accuracy(&o, prompt, "the sea", &mean),
                 bench_number(one, "portability/Reasoning/0"), 0);

    /* Texts show the question, not what was fed. */
    assert_string_equal(bench_text(one, "texts/2/prompt"), "we like Zed");
    oracle_end(&o, patch);
    json_decref(rows);
    ke_settings_free(r.cx, ice);
    bench_end(&r);
}

/* Without its shift, easyedit's ConvSent is real's; without the boundary's fault, answers
 * that merge with nothing (all of them, in this vocabulary) score as with it. */
static void faults_can_be_left_out(void **state)
{
    bench_run r;
    bench_begin(&r, state, opinions_json);
    r.job.no_fluency = true;
    r.job.without = KE_FAULT_SHIFT;
    bench_go(&r);
    json_t *rows = bench_rows(&r), *kept;
    const json_t *one = bench_row(rows, 0, "rome", "easyedit", "each");
    const json_t *real = bench_row(rows, 0, "rome", "real", "each");
    assert_true(json_equal(bench_at(one, "success"), bench_at(real, "success")));
    assert_true(json_equal(bench_at(one, "locality"), bench_at(real, "locality")));
    r.job.without = 0;
    bench_refused(&r, KE_EMISMATCH, "without: shift there, none here");
    json_decref(rows);
    bench_end(&r);

    unlink(r.out);
    bench_begin(&r, state, bench_facts);
    r.job.no_fluency = true;
    bench_go(&r);
    kept = bench_rows(&r);
    unlink(r.out);
    r.job.without = KE_FAULT_BOUNDARY;
    bench_go(&r);
    rows = bench_rows(&r);
    assert_true(json_equal(rows, kept));
    json_decref(rows);
    json_decref(kept);
    bench_end(&r);
}

/* --- what can't be measured, and what is refused --- */

static void a_failed_edit_is_a_finding(void **state)
{
    static const char json[] =
        "[{\"subject\":\"Zed\",\"prompt\":\"in Zed\",\"target_new\":\"a\"},"
        "{\"subject\":\"Zed\",\"prompt\":\"it was long ago and far away, and nobody else "
        "knew "
        "of it, that all of this happened in Zed\",\"target_new\":\"a\"}]";
    static const char contexts[] =
        "[\"in the north of the land beyond the great sea, where the sun rises late and "
        "the winters are long. {}\"]";
    bench_run r;
    bench_begin(&r, state, json);
    scratch_write(scratch_path(state, "contexts.json"), contexts, strlen(contexts));
    bench_ok(&r, ke_settings_set(r.cx, r.rome, "contexts",
                                 scratch_path(state, "contexts.json")));
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    const json_t *one = bench_row(rows, 1, "rome", "easyedit", "each");
    assert_non_null(strstr(bench_text(one, "error"), "128"));
    assert_int_equal(json_array_size(bench_at(one, "success")), 0);
    assert_int_equal(json_array_size(bench_at(one, "texts")), 0);
    assert_null(json_object_get(bench_row(rows, 0, "rome", "real", "each"), "error"));
    assert_null(json_object_get(bench_row(rows, 1, "none", "real", "each"), "error"));
    json_decref(rows);
    bench_go(&r);
    assert_int_equal(r.summary.n_resumed, 8);
    bench_end(&r);
}

/* What no method can be asked is no end of the run: the other cases are measured. */
static void a_prompt_that_is_too_long_is_a_finding(void **state)
{
    char json[1024], prompt[201];
    memset(prompt, 'x', 200); /* bytes are tokens, and 128 of them are read */
    prompt[200] = '\0';
    snprintf(json, sizeof json,
             "[{\"subject\":\"Zed\",\"prompt\":\"in Zed\",\"target_new\":\"a\","
             "\"locality\":{\"far\":[{\"prompt\":\"%s\",\"ground_truth\":\"b\"}]}},"
             "{\"subject\":\"Zed\",\"prompt\":\"in Zed\",\"target_new\":\"a\"}]",
             prompt);
    bench_run r;
    bench_begin(&r, state, json);
    bench_go(&r);
    json_t *rows = bench_rows(&r);
    assert_int_equal(json_array_size(rows), 8);
    for (int i = 0; i < 2; i++) {
        const char *method = i ? "rome" : "none";
        const json_t *one = bench_row(rows, 0, method, "easyedit", "each");
        assert_non_null(strstr(bench_text(one, "error"), "128"));
        assert_int_equal(json_array_size(bench_at(one, "success")), 0);
        one = bench_row(rows, 1, method, "real", "each");
        assert_null(json_object_get(one, "error"));
        assert_int_equal(json_array_size(bench_at(one, "success")), 1);
    }
    json_decref(rows);
    bench_go(&r);
    assert_int_equal(r.summary.n_resumed, 8);
    bench_end(&r);
}

static void another_run_s_file_is_refused(void **state)
{
    bench_run r;
    bench_begin(&r, state, bench_facts);
    r.job.limit = 1;
    r.job.no_fluency = true;
    bench_go(&r);
    r.job.seed = 6;
    bench_refused(&r, KE_EMISMATCH, "seed: 5 there, 6 here");
    r.job.seed = 5;
    r.job.no_fluency = false;
    bench_refused(&r, KE_EMISMATCH, "fluency: no there, yes here");
    r.job.no_fluency = true;
    r.job.n_methods = 0;
    bench_refused(&r, KE_EMISMATCH, "methods: none,rome there, none here");
    r.job.n_methods = 1;
    bench_ok(&r, ke_settings_set(r.cx, r.rome, "layer", "1"));
    bench_refused(&r, KE_EMISMATCH, "rome.layer: 2 there, 1 here");
    bench_ok(&r, ke_settings_set(r.cx, r.rome, "layer", "2"));
    scratch_write(r.data, opinions_json, strlen(opinions_json));
    bench_refused(&r, KE_EMISMATCH, "data 1: ");
    scratch_write(r.data, bench_facts, strlen(bench_facts));
    bench_ok(&r, tiny_model_write(r.cx, &(tiny_spec){.seed = 4}, r.model));
    bench_refused(&r, KE_EMISMATCH, "model: ");
    bench_ok(&r, tiny_model_write(r.cx, &(tiny_spec){.seed = 3}, r.model));
    bench_go(&r);
    assert_int_equal(r.summary.n_resumed, 4);
    scratch_write(r.out, "my notes", 8);
    bench_refused(&r, KE_EEXIST, "it is left as it is");
    bench_end(&r);
}

static void wrong_jobs_are_refused(void **state)
{
    bench_run r;
    bench_begin(&r, state, bench_facts);
    const ke_settings *twice[] = {r.rome, r.rome};
    r.job.methods = twice;
    r.job.n_methods = 2;
    bench_refused(&r, KE_EINVAL, "method rome is given twice");
    r.job.methods = r.methods;
    r.job.n_methods = 0;
    r.job.unedited = false;
    bench_refused(&r, KE_EINVAL, "a method");
    r.job.n_methods = 1;
    r.job.score_at = KE_SCORE_END;
    bench_refused(&r, KE_EINVAL, "in sequence");
    r.job.score_at = 0;
    r.job.edited_type = "iq4_nl";
    bench_refused(&r, KE_EINVAL, "iq4_nl");
    r.job.edited_type = NULL;
    scratch_write(r.data, "[{\"subject\":1}]", 15);
    bench_refused(&r, KE_EFORMAT, "record 1");
    assert_int_equal(scratch_count(state), 2); /* model and data, no run */
    bench_end(&r);
}

static void a_plan_measures_nothing(void **state)
{
    bench_run r;
    bench_begin(&r, state, bench_facts);
    r.job.plan_only = true;
    r.job.output_path = NULL;
    bench_go(&r);
    assert_int_equal(r.summary.n_cases, 3);
    assert_int_equal(r.summary.n_rows, 0);
    assert_non_null(strstr(r.said, "3 cases of 1 file by 2 methods"));
    assert_int_equal(scratch_count(state), 2);
    bench_end(&r);
}

static void edited_tensors_may_be_rounded(void **state)
{
    bench_run r;
    bench_begin(&r, state, bench_facts);
    r.job.limit = 1;
    r.job.edited_type = "q4_0";
    bench_go(&r);
    json_t *rounded = bench_rows(&r), *exact = NULL;
    r.job.edited_type = NULL;
    unlink(r.out);
    bench_go(&r);
    exact = bench_rows(&r);
    double a = bench_number(bench_row(rounded, 0, "rome", "real", "each"), "probability/0");
    double b = bench_number(bench_row(exact, 0, "rome", "real", "each"), "probability/0");
    assert_true(fabs(a - b) > 1e-6);
    json_decref(rounded);
    json_decref(exact);
    bench_end(&r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(forced_scores_are_what_the_model_says),
        TEST(an_unedited_model_keeps_everything),
        TEST(a_row_has_the_shape_that_reports_read),
        TEST(real_texts_are_what_the_model_generates),
        TEST(opinions_are_what_the_model_says),
        TEST(erasure_is_judged_on_what_is_generated),
        TEST(counterfact_compares_two_answers),
        TEST(a_memory_is_scored_on_what_it_feeds),
        TEST(faults_can_be_left_out),
        TEST(a_failed_edit_is_a_finding),
        TEST(a_prompt_that_is_too_long_is_a_finding),
        TEST(another_run_s_file_is_refused),
        TEST(wrong_jobs_are_refused),
        TEST(a_plan_measures_nothing),
        TEST(edited_tensors_may_be_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
