/* Whole jobs on a small random model: what is written, what is refused, what is left. */
#include "base/fault.h"
#include "base/file.h"
#include "study/study.h"
#include "support/oom.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The model's one token with a blank before it is " a". The facts end in their subjects, so
 * that an edit of the last layer reaches the answer whatever the random weights attend to.
 */
static const ke_fact fact = {.subject = "Zed", .prompt = "in Zed", .target = "a"};

static const ke_fact second = {.subject = "Kay", .prompt = "we like Kay", .target = "a"};

typedef struct bench {
    void **folder;
    ke_ctx *cx;
    ke_settings *settings;
    char base[200], out[200], patch[220], prev[240];
    ke_edit_job job;
    char said[4096];
} bench;

static void say(const char *line, void *payload)
{
    bench *b = payload;
    size_t n = strlen(b->said);
    snprintf(b->said + n, sizeof b->said - n, "%s\n", line);
}

/* A model, a job that edits its last layer, one thread. */
static void begin(bench *b, void **state, const char *type)
{
    *b = (bench){.folder = state, .cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1})};
    snprintf(b->base, sizeof b->base, "%s", scratch_path(state, "base.gguf"));
    snprintf(b->out, sizeof b->out, "%s", scratch_path(state, "out.gguf"));
    snprintf(b->patch, sizeof b->patch, "%s.kepatch", b->out);
    snprintf(b->prev, sizeof b->prev, "%s.prev", b->patch);
    static const char *const choices[][2] = {
        {"cov", "identity"}, {"contexts", "none"}, {"layer", "2"}, {"clamp", "100"},
        {"steps", "100"},    {"kl", "0"},          {"decay", "0"},
    };
    tiny_spec spec = {.type = type, .seed = 3};
    if (ke__dtype_named(type)->block == 256) /* every row has to hold whole blocks */
        spec = (tiny_spec){
            .type = type, .seed = 3, .d = 256, .f = 256, .n_heads = 4, .head_dim = 64};
    assert_int_equal(tiny_model_write(b->cx, &spec, b->base), KE_OK);
    assert_int_equal(ke_settings_new(b->cx, &b->settings, "rome"), KE_OK);
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        assert_int_equal(ke_settings_set(b->cx, b->settings, choices[i][0], choices[i][1]),
                         KE_OK);
    b->job = (ke_edit_job){.model_path = b->base,
                           .output_path = b->out,
                           .settings = b->settings,
                           .facts = &fact,
                           .n_facts = 1,
                           .say = say,
                           .payload = b};
}

static void end(bench *b)
{
    ke_settings_free(b->cx, b->settings);
    ke_ctx_free(b->cx);
}

static ke_edit_report *run(bench *b)
{
    ke_edit_report *r = NULL;
    ke_status st = ke_edit_run(b->cx, &r, &b->job);
    if (st != KE_OK)
        fail_msg("%s: %s", ke_status_name(st), ke_ctx_message(b->cx));
    return r;
}

static void refused(bench *b, ke_status status, const char *says)
{
    ke_edit_report *r = NULL;
    assert_int_equal(ke_edit_run(b->cx, &r, &b->job), status);
    assert_null(r);
    if (!strstr(ke_ctx_message(b->cx), says) && !strstr(ke_ctx_where(b->cx), says))
        fail_msg("expected \"%s\" in \"%s: %s\"", says, ke_ctx_where(b->cx),
                 ke_ctx_message(b->cx));
}

static void sha_of(bench *b, const char *path, char sha[65])
{
    ke__map map = {0};
    assert_int_equal(ke__map_open(b->cx, &map, path), KE_OK);
    assert_int_equal(ke__sha256_of(b->cx, sha, map.data, map.bytes), KE_OK);
    ke__map_close(b->cx, &map);
}

static void same_file(bench *b, const char *path, const char *sha)
{
    char found[65];
    sha_of(b, path, found);
    assert_string_equal(found, sha);
}

/* --- what an edit leaves -----------------------------------------------------------------
 */

static void an_edit_is_written_and_can_be_undone(void **state)
{
    bench b;
    char sha[65], undone[65];
    begin(&b, state, "q8_0");
    ke_edit_report *r = run(&b);
    assert_true(r->took);
    assert_false(r->already);
    assert_true(r->facts[0].took);
    assert_true(ke_target_holds(r->facts[0].after.text, "a"));
    assert_false(ke_target_holds(r->facts[0].before.text, "a"));
    assert_int_equal(r->facts[0].after.target_rank, 1);
    assert_true(r->facts[0].before.target_logprob < r->facts[0].after.target_logprob);
    assert_true(r->facts[0].after.margin > 0);
    assert_string_equal(r->facts[0].reason, "");
    assert_true(r->kl > 0 && r->ppl_before > 1 && r->ppl_after > 1);
    assert_int_equal(r->n_tensors, 1);
    assert_string_equal(r->tensors[0].type_before, "q8_0");
    assert_true(r->tensors[0].rel_change > 0);
    assert_string_equal(r->output, b.out);
    assert_string_equal(r->patch, b.patch);
    same_file(&b, b.base, r->sha256_base);
    same_file(&b, b.out, r->sha256_output);
    assert_int_equal(scratch_count(state), 3);
    assert_non_null(strstr(b.said, "attempt 1 of"));

    /* The written file says it too, and carries the record. */
    ke_model *written = NULL;
    assert_int_equal(ke_model_open(b.cx, &written, b.out), KE_OK);
    assert_int_equal(written->info.n_edits, 1);
    assert_non_null(strstr(ke_model_edit_get(written, 0), "\"target\":\"a\""));
    assert_non_null(strstr(ke_model_edit_get(written, 0), r->sha256_base));
    ke_model_close(b.cx, written);

    snprintf(sha, sizeof sha, "%s", r->sha256_base);
    assert_int_equal(unlink(b.base), 0);
    assert_int_equal(ke_undo(b.cx, b.out, b.patch, b.base, false, undone), KE_OK);
    assert_string_equal(undone, sha);
    same_file(&b, b.base, sha);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* Whatever a method of weights computes: its loss falls, no other tensor than its own is
 * changed in the file, and undo gives back the base. */
static void every_method_can_be_undone(void **state)
{
    size_t n = 0;
    for (size_t i = 0; i < ke_method_count(); i++) {
        bench b;
        char sha[65], undone[65];
        if (ke__method_find(ke_method_name(i))->memory)
            continue;
        begin(&b, state, "q8_0");
        ke_settings_free(b.cx, b.settings);
        assert_int_equal(ke_settings_new(b.cx, &b.settings, ke_method_name(i)), KE_OK);
        b.job.settings = b.settings;
        b.job.one_attempt = true;
        b.job.keep_failed = true;
        b.job.force = true;
        ke_edit_report *r = run(&b);
        const ke_edit_trace *t = &r->facts[0].trace;
        assert_true(t->n_loss > 1 && t->loss[t->n_loss - 1] < t->loss[0]);
        assert_int_equal(r->n_tensors, r->n_layers);
        for (size_t k = 0; k < r->n_tensors; k++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%u.ffn_down.weight", r->layers[k]);
            assert_string_equal(name, r->tensors[k].name);
        }
        snprintf(sha, sizeof sha, "%s", r->sha256_base);
        const char *back = scratch_path(state, "back.gguf");
        assert_int_equal(ke_undo(b.cx, b.out, b.patch, back, true, undone), KE_OK);
        assert_string_equal(undone, sha);
        same_file(&b, back, sha);
        ke_edit_report_free(b.cx, r);
        end(&b);
        n++;
    }
    assert_true(n >= 5);
}

/* Same inputs and seed, same bytes; and the file's own edits stay in its record. */
static void an_edit_of_an_edit_keeps_the_records(void **state)
{
    bench b;
    char first[65], third[220];
    begin(&b, state, "f32");
    ke_edit_report *r = run(&b);
    snprintf(first, sizeof first, "%s", r->sha256_output);
    ke_edit_report_free(b.cx, r);
    b.job.force = true;
    r = run(&b);
    assert_string_equal(r->sha256_output, first);
    assert_false(ke__file_exists(b.prev));
    ke_edit_report_free(b.cx, r);

    snprintf(third, sizeof third, "%s", scratch_path(state, "third.gguf"));
    b.job.model_path = b.out;
    b.job.output_path = third;
    b.job.facts = &second;
    r = run(&b);
    assert_true(r->took);
    assert_string_equal(r->sha256_base, first);
    ke_model *written = NULL;
    assert_int_equal(ke_model_open(b.cx, &written, third), KE_OK);
    assert_int_equal(written->info.n_edits, 2);
    assert_non_null(strstr(ke_model_edit_get(written, 0), "Zed"));
    assert_non_null(strstr(ke_model_edit_get(written, 1), "Kay"));
    ke_model_close(b.cx, written);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void what_holds_already_is_copied(void **state)
{
    bench b;
    begin(&b, state, "f32");
    ke_edit_report *r = run(&b);
    char sha[65], copy[220];
    snprintf(sha, sizeof sha, "%s", r->sha256_output);
    ke_edit_report_free(b.cx, r);

    snprintf(copy, sizeof copy, "%s", scratch_path(state, "copy.gguf"));
    b.job.model_path = b.out;
    b.job.output_path = copy;
    r = run(&b);
    assert_true(r->already && r->took && r->facts[0].already && r->facts[0].took);
    assert_string_equal(r->sha256_output, sha);
    same_file(&b, copy, sha);
    assert_int_equal(r->n_tensors, 0);
    assert_true(r->kl == 0);
    assert_int_equal(r->facts[0].n_kept, r->facts[0].n_neighbours);

    char undone[65];
    assert_int_equal(
        ke_undo(b.cx, copy, r->patch, scratch_path(state, "third.gguf"), false, undone),
        KE_OK);
    assert_string_equal(undone, sha);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void several_facts_hold_together(void **state)
{
    const ke_fact facts[] = {fact, second};
    bench b;
    begin(&b, state, "f32");
    b.job.facts = facts;
    b.job.n_facts = 2;
    ke_edit_report *r = run(&b);
    assert_int_equal(r->n_facts, 2);
    assert_true(r->took && r->facts[0].took && r->facts[1].took);
    assert_true(ke_target_holds(r->facts[0].after.text, "a"));
    assert_true(ke_target_holds(r->facts[1].after.text, "a"));
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* One step at a rate of a millionth changes nothing that a token could show. */
static void make_futile(bench *b)
{
    assert_int_equal(ke_settings_set(b->cx, b->settings, "steps", "1"), KE_OK);
    assert_int_equal(ke_settings_set(b->cx, b->settings, "lr", "1e-6"), KE_OK);
    b->job.one_attempt = true;
}

static void what_did_not_take_is_not_written(void **state)
{
    bench b;
    begin(&b, state, "f32");
    make_futile(&b);
    ke_edit_report *r = run(&b);
    assert_false(r->took);
    assert_false(r->facts[0].took);
    assert_int_equal(r->facts[0].n_attempts, 1);
    assert_non_null(strstr(r->facts[0].reason, "the model says"));
    assert_null(r->output);
    assert_null(r->patch);
    assert_string_equal(r->sha256_output, "");
    assert_int_equal(scratch_count(state), 1);
    ke_edit_report_free(b.cx, r);

    b.job.keep_failed = true;
    r = run(&b);
    assert_false(r->took);
    assert_string_equal(r->output, b.out);
    assert_int_equal(scratch_count(state), 3);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* An attempt that takes by wrecking the rest is not the last one. */
static void a_harmful_attempt_is_followed_by_another(void **state)
{
    bench b;
    begin(&b, state, "f32");
    assert_int_equal(ke_settings_set(b.cx, b.settings, "lr", "20"), KE_OK);
    assert_int_equal(ke_settings_set(b.cx, b.settings, "clamp", "1000"), KE_OK);
    ke_edit_report *r = run(&b);
    assert_true(r->kl > 0.1); /* as meant; otherwise this shows nothing */
    assert_non_null(strstr(b.said, "harms much else"));
    assert_true(r->facts[0].n_attempts > 1);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void what_harms_too_much_is_not_written(void **state)
{
    bench b;
    begin(&b, state, "f32");
    ke_edit_report *r = run(&b);
    double kl = r->kl;
    assert_false(r->too_harmful);
    ke_edit_report_free(b.cx, r);
    assert_int_equal(unlink(b.out), 0);
    assert_int_equal(unlink(b.patch), 0);

    b.job.max_kl = kl * 0.5;
    r = run(&b);
    assert_true(r->facts[0].took);
    assert_true(r->too_harmful && !r->took);
    assert_null(r->output);
    assert_int_equal(scratch_count(state), 1);
    ke_edit_report_free(b.cx, r);

    b.job.max_kl = kl * 2.0;
    r = run(&b);
    assert_true(r->took);
    assert_string_equal(r->output, b.out);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* Without BOS the job is that of a file which asks for none. */
static void bos_can_be_left_out(void **state)
{
    bench b;
    double with, without, plain;
    begin(&b, state, "f32");
    ke_edit_report *r = run(&b);
    plain = r->facts[0].trace.key_norm;
    ke_edit_report_free(b.cx, r);
    tiny_spec spec = {.type = "f32", .seed = 3, .bos = true};
    assert_int_equal(tiny_model_write(b.cx, &spec, b.base), KE_OK);
    b.job.force = true;
    r = run(&b);
    with = r->facts[0].trace.key_norm;
    ke_edit_report_free(b.cx, r);
    b.job.no_special = true;
    r = run(&b);
    without = r->facts[0].trace.key_norm;
    assert_true(r->took);
    ke_edit_report_free(b.cx, r);
    assert_true(with != plain);
    assert_true(without == plain);
    end(&b);
}

static void a_dry_run_and_a_plan_leave_nothing(void **state)
{
    bench b;
    begin(&b, state, "f32");
    b.job.dry_run = true;
    ke_edit_report *r = run(&b);
    assert_true(r->took);
    assert_null(r->output);
    assert_int_equal(scratch_count(state), 1);
    ke_edit_report_free(b.cx, r);
    b.job.plan_only = true;
    r = run(&b);
    assert_true(r->plan.peak_bytes > 0);
    assert_int_equal(r->plan.n_layers, 1);
    assert_int_equal(scratch_count(state), 1);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void without_an_output_only_the_patch_is_written(void **state)
{
    bench b;
    begin(&b, state, "f32");
    b.job.output_path = NULL;
    b.job.patch_path = b.patch;
    ke_edit_report *r = run(&b);
    assert_true(r->took);
    assert_null(r->output);
    assert_string_equal(r->patch, b.patch);
    assert_int_equal(scratch_count(state), 2);
    ke_edit_report_free(b.cx, r);
    refused(&b, KE_EEXIST, b.patch); /* no model is missing here: it is not replaced */
    end(&b);
}

/* --- what is refused
 * -------------------------------------------------------------------------- */

static void an_output_that_is_there_stays(void **state)
{
    bench b;
    char sha[65];
    begin(&b, state, "f32");
    scratch_write(b.out, "precious", 8);
    sha_of(&b, b.out, sha);
    refused(&b, KE_EEXIST, b.out);
    same_file(&b, b.out, sha);
    make_futile(&b);
    b.job.force = true;
    ke_edit_report *r = run(&b); /* did not take: stays as it was, force or not */
    same_file(&b, b.out, sha);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void the_input_is_never_an_output(void **state)
{
    bench b;
    char sha[65], link_path[220];
    begin(&b, state, "f32");
    sha_of(&b, b.base, sha);
    snprintf(link_path, sizeof link_path, "%s", scratch_path(state, "link.gguf"));
    b.job.force = true;
    b.job.output_path = b.base;
    refused(&b, KE_EINVAL, "is the input");
    b.job.output_path = link_path;
    assert_int_equal(symlink(b.base, link_path), 0);
    refused(&b, KE_EINVAL, "is the input");
    assert_int_equal(unlink(link_path), 0);
    assert_int_equal(link(b.base, link_path), 0);
    refused(&b, KE_EINVAL, "is the input");
    b.job.output_path = b.out;
    b.job.patch_path = b.base;
    refused(&b, KE_EINVAL, "is the input");
    b.job.patch_path = b.out;
    refused(&b, KE_EINVAL, "two files");
    same_file(&b, b.base, sha);
    end(&b);
}

static void a_patch_is_replaced_only_if_its_model_is_gone(void **state)
{
    bench b;
    begin(&b, state, "f32");
    scratch_write(b.patch, "not a patch", 11);
    refused(&b, KE_EEXIST, b.patch);
    assert_int_equal(unlink(b.patch), 0);

    ke_edit_report_free(b.cx, run(&b));
    assert_int_equal(unlink(b.out), 0);
    ke_edit_report_free(b.cx, run(&b)); /* the patch was an orphan */

    char other[220];
    snprintf(other, sizeof other, "%s", scratch_path(state, "other.gguf"));
    assert_int_equal(rename(b.out, other), 0);
    scratch_write(b.out, "precious", 8);
    refused(&b, KE_EEXIST, b.out);
    end(&b);
}

static void what_is_read_is_not_written(void **state)
{
    bench b;
    char facts[220], twin[240];
    begin(&b, state, "f32");
    snprintf(facts, sizeof facts, "%s", scratch_path(state, "facts.json"));
    scratch_write(facts, "[]", 2);
    b.job.force = true;
    b.job.facts_path = facts;
    b.job.patch_path = facts;
    refused(&b, KE_EINVAL, "is the input");
    b.job.facts_path = NULL;
    assert_int_equal(ke_settings_set(b.cx, b.settings, "contexts", facts), KE_OK);
    refused(&b, KE_EINVAL, "is the input");
    assert_int_equal(ke_settings_set(b.cx, b.settings, "contexts", "none"), KE_OK);

    /* One file by two names, though neither is there yet. */
    snprintf(twin, sizeof twin, "%s/./out.gguf", (const char *)*state);
    b.job.patch_path = twin;
    refused(&b, KE_EINVAL, "both");
    assert_int_equal(scratch_count(state), 2);
    end(&b);
}

static int failing_rename_calls; /* which call fails, counted down */

static int failing_rename(int from_folder, const char *from, int to_folder, const char *to,
                          unsigned flags)
{
    if (--failing_rename_calls == 0) {
        errno = EIO;
        return -1;
    }
    return renameat2(from_folder, from, to_folder, to, flags);
}

/* Whichever name cannot be given, the model that is there keeps its patch. */
static void a_model_keeps_its_patch_if_it_is_not_replaced(void **state)
{
    bench b;
    char sha[65], patch_sha[65], undone[65], back[220];
    ke__calls kept = ke__sys;
    begin(&b, state, "f32");
    ke_edit_report_free(b.cx, run(&b));
    sha_of(&b, b.out, sha);
    sha_of(&b, b.patch, patch_sha);
    snprintf(back, sizeof back, "%s", scratch_path(state, "back.gguf"));
    b.job.force = true;
    b.job.facts = &second;
    for (int call = 1; call <= 2; call++)
        for (int stale = 0; stale < 2; stale++) {
            ke_edit_report *r = NULL;
            if (stale)
                scratch_write(b.prev, "left by another run", 19);
            ke__sys.rename = failing_rename;
            failing_rename_calls = call;
            assert_int_equal(ke_edit_run(b.cx, &r, &b.job), KE_EIO);
            ke__sys = kept;
            same_file(&b, b.out, sha);
            same_file(&b, b.patch, patch_sha);
            assert_int_equal(ke_undo(b.cx, b.out, b.patch, back, true, undone), KE_OK);
            unlink(b.prev);
        }
    ke_edit_report_free(b.cx, run(&b));
    assert_false(ke__file_exists(b.prev));
    assert_int_equal(ke_undo(b.cx, b.out, b.patch, back, true, undone), KE_OK);
    end(&b);
}

static void bad_jobs_are_named(void **state)
{
    bench b;
    begin(&b, state, "f32");
    b.job.edited_type = "q9";
    refused(&b, KE_EINVAL, "edited-type \"q9\"");
    b.job.edited_type = "iq4_xs";
    refused(&b, KE_EINVAL, "edited-type \"iq4_xs\"");
    b.job.edited_type = NULL;
    b.job.n_facts = 0;
    refused(&b, KE_EINVAL, "at least one fact");
    b.job.n_facts = 1;
    b.job.output_path = "/proc/nope/x.gguf";
    refused(&b, KE_EIO, "/proc/nope/x.gguf");
    b.job.output_path = b.out;
    b.job.model_path = scratch_path(state, "none.gguf");
    refused(&b, KE_EIO, "none.gguf");
    b.job.model_path = b.base;
    b.cx->opts.mem_limit_bytes = 1000;
    refused(&b, KE_ELIMIT, "would do");
    assert_int_equal(scratch_count(state), 1);
    end(&b);
}

static void a_named_type_is_taken(void **state)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "same"};
    bench b;
    begin(&b, state, "q8_0");
    b.job.force = true;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        b.job.edited_type = types[i];
        b.job.keep_failed = true;
        ke_edit_report *r = run(&b);
        const char *expected = strcmp(types[i], "same") ? types[i] : "q8_0";
        assert_string_equal(r->tensors[0].type_after, expected);
        assert_non_null(strstr(r->type_reason, "asked for"));
        ke_edit_report_free(b.cx, r);
    }
    end(&b);
}

/* Read, edited, rounded to, written, read again and undone. */
static void every_type_is_edited_and_undone(void **state)
{
    for (uint32_t id = 0; id < 64; id++) {
        const ke__dtype_traits *t = ke__dtype_of(id);
        char undone[65];
        bench b;
        if (!t || !t->from_f32)
            continue;
        begin(&b, state, t->name);
        b.job.force = true;
        b.job.edited_type = "same";
        b.job.keep_failed = true; /* what rounding to two bits leaves of a fact is luck */
        b.job.one_attempt = true;
        ke_edit_report *r = run(&b);
        assert_int_equal(1, r->n_tensors);
        assert_string_equal(t->name, r->tensors[0].type_after);
        assert_true(r->tensors[0].rel_change > 0 && r->tensors[0].rel_change < 2);
        const char *back = scratch_path(state, "back.gguf");
        assert_int_equal(ke_undo(b.cx, b.out, b.patch, back, true, undone), KE_OK);
        same_file(&b, back, r->sha256_base);
        ke_edit_report_free(b.cx, r);
        end(&b);
    }
}

/* --- facts that are told
 * ----------------------------------------------------------------------- */

/* Greedy text of `prompt`, and the log-probability of `target` (a token) after it. */
static double answer_to(bench *b, char said[256], const char *prompt, const char *target,
                        size_t max_tokens)
{
    ke_model *m = NULL;
    int32_t *ids = NULL, *next = NULL;
    size_t n = 0, n_next = 0;
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_generated g = {0};
    ke_score score = {0};
    opts.max_tokens = max_tokens;
    assert_int_equal(ke_model_open(b->cx, &m, b->base), KE_OK);
    const ke_tokenizer *tok = ke_model_tokenizer(m);
    assert_int_equal(ke_tokenize(b->cx, &ids, &n, tok, prompt, strlen(prompt), 0), KE_OK);
    assert_int_equal(ke_tokenize(b->cx, &next, &n_next, tok, target, strlen(target), 0),
                     KE_OK);
    assert_int_equal(ke_generate(b->cx, &g, m, NULL, &(ke_ids){ids, n}, 1, &opts), KE_OK);
    assert_int_equal(ke_score_targets(b->cx, &score, m, NULL, &(ke_ids){ids, n},
                                      &(ke_ids){next, n_next}, 1),
                     KE_OK);
    double logprob = score.logprob;
    snprintf(said, 256, "%s", g.text);
    ke_generated_free(b->cx, &g);
    ke_score_free(b->cx, &score);
    ke_free(b->cx, ids);
    ke_free(b->cx, next);
    ke_model_close(b->cx, m);
    return logprob;
}

static void told_facts_are_a_patch_alone(void **state)
{
    static const struct {
        const char *method, *lead;
    } methods[] = {{"ice", ""},
                   {"prompt", "Please acknowledge the following new facts and use them to "
                              "answer the question:\n"}};
    for (size_t i = 0; i < 2; i++) {
        bench b;
        char sha[65], prompt[256], said[256];
        begin(&b, state, "q8_0");
        sha_of(&b, b.base, sha);
        ke_settings_free(b.cx, b.settings);
        assert_int_equal(ke_settings_new(b.cx, &b.settings, methods[i].method), KE_OK);
        b.job.settings = b.settings;
        refused(&b, KE_EINVAL, "no model to write");

        b.job.output_path = NULL;
        b.job.patch_path = b.patch;
        b.job.keep_failed = true; /* random weights don't listen */
        ke_edit_report *r = run(&b);
        assert_string_equal(r->patch, b.patch);
        assert_null(r->output);
        assert_int_equal(r->n_tensors, 0);
        assert_int_equal(r->n_layers, 0);
        assert_true(r->kl == 0);
        assert_string_equal(r->type_reason, "no tensor was changed");
        assert_int_equal(r->facts[0].n_attempts, 1);

        /* It was asked as the patch has it, and so were the questions beside it. */
        snprintf(prompt, sizeof prompt, "%sNew Fact: in Zed a\nPrompt: in Zed",
                 methods[i].lead);
        double logprob = answer_to(&b, said, prompt, " a", 16);
        assert_true(r->facts[0].after.target_logprob == logprob);
        assert_string_equal(r->facts[0].after.text, said);
        snprintf(prompt, sizeof prompt, "%sNew Fact: in Zed a\nPrompt: %s", methods[i].lead,
                 r->facts[0].neighbours[0].prompt);
        answer_to(&b, said, prompt, " a", 5);
        assert_string_equal(r->facts[0].neighbours[0].after, said);
        answer_to(&b, said, r->facts[0].neighbours[0].prompt, " a", 5);
        assert_string_equal(r->facts[0].neighbours[0].before, said);
        same_file(&b, b.base, sha);
        ke_edit_report_free(b.cx, r);
        unlink(b.patch);
        end(&b);
    }
}

/* --- interruption
 * ------------------------------------------------------------------------------ */

typedef struct stop {
    ke_ctx *cx;
    long after; /* progress reports until then */
} stop;

static void count_down(const char *what, uint64_t done, uint64_t total, void *payload)
{
    stop *s = payload;
    (void)what;
    (void)done;
    (void)total;
    if (s->after-- == 0)
        ke_ctx_cancel(s->cx);
}

/* Wherever a job is stopped, it ends as interrupted and leaves the input alone. */
static void an_interrupted_job_leaves_nothing(void **state)
{
    bench b;
    stop s = {0};
    begin(&b, state, "f32");
    b.cx->opts.progress = count_down;
    b.cx->opts.progress_payload = &s;
    s.cx = b.cx;
    ke_status st = KE_ECANCELED;
    for (long k = 0; st == KE_ECANCELED; k += 7) {
        ke_edit_report *r = NULL;
        s.after = k;
        b.cx->canceled = 0;
        st = ke_edit_run(b.cx, &r, &b.job);
        ke_edit_report_free(b.cx, r);
        /* Whoever asked is heard: no step may swallow it. */
        assert_int_equal(st, s.after < 0 ? KE_ECANCELED : KE_OK);
        if (st == KE_ECANCELED)
            assert_int_equal(scratch_count(state), 1);
        assert_true(k < 100000);
    }
    assert_int_equal(st, KE_OK);
    assert_int_equal(scratch_count(state), 3);
    end(&b);
}

/* --- short memory
 * ------------------------------------------------------------------------------ */

/* To fail every allocation of a job takes too long; each thirteenth is in every step. A
 * pattern that could not be compiled to machine code is interpreted: then the job succeeds.
 */
static void short_memory_leaves_nothing(void **state)
{
    bench b;
    bool failed = true;
    begin(&b, state, "f32");
    for (long k = 0; failed; k += 13) {
        oom o;
        ke_ctx *cx = oom_ctx(&o, k);
        ke_edit_report *r = NULL;
        ke_status st = ke_edit_run(cx, &r, &b.job);
        ke_edit_report_free(cx, r);
        assert_int_equal(o.n_live, 0);
        failed = o.n_calls > k;
        assert_true(st == KE_OK || (failed && st == KE_ENOMEM));
        assert_int_equal(scratch_count(state), st == KE_OK ? 3 : 1);
        unlink(b.out);
        unlink(b.patch);
        ke_ctx_free(cx);
    }
    end(&b);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(an_edit_is_written_and_can_be_undone),
        IN_FOLDER(every_method_can_be_undone),
        IN_FOLDER(an_edit_of_an_edit_keeps_the_records),
        IN_FOLDER(what_holds_already_is_copied),
        IN_FOLDER(several_facts_hold_together),
        IN_FOLDER(what_did_not_take_is_not_written),
        IN_FOLDER(a_harmful_attempt_is_followed_by_another),
        IN_FOLDER(what_harms_too_much_is_not_written),
        IN_FOLDER(bos_can_be_left_out),
        IN_FOLDER(a_dry_run_and_a_plan_leave_nothing),
        IN_FOLDER(without_an_output_only_the_patch_is_written),
        IN_FOLDER(an_output_that_is_there_stays),
        IN_FOLDER(the_input_is_never_an_output),
        IN_FOLDER(a_patch_is_replaced_only_if_its_model_is_gone),
        IN_FOLDER(what_is_read_is_not_written),
        IN_FOLDER(a_model_keeps_its_patch_if_it_is_not_replaced),
        IN_FOLDER(bad_jobs_are_named),
        IN_FOLDER(a_named_type_is_taken),
        IN_FOLDER(every_type_is_edited_and_undone),
        IN_FOLDER(told_facts_are_a_patch_alone),
        IN_FOLDER(an_interrupted_job_leaves_nothing),
        IN_FOLDER(short_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
