/* Edits in a chat layout, and the other form of each prompt. The model is small and random:
 * what it answers has no meaning, but the written file has to answer the same. */
#include "study/study.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CHATML "{{ '<|im_start|>' + role + '\n' }}"

static const ke_fact fact = {.subject = "Zed", .prompt = "in Zed", .target = "a"};

typedef struct bench {
    ke_ctx *cx;
    ke_settings *settings;
    char base[200], out[200];
    ke_edit_job job;
    char said[4096];
} bench;

static void say(const char *line, void *payload)
{
    bench *b = payload;
    size_t n = strlen(b->said);
    snprintf(b->said + n, sizeof b->said - n, "%s\n", line);
}

/* A job that trains the last layer, which reaches the answer whatever attention does. */
static void begin(bench *b, void **state, const char *chat_template)
{
    static const char *const choices[][2] = {{"layer", "2"}, {"steps", "200"}};
    const tiny_spec spec = {.type = "f32", .seed = 3, .chat_template = chat_template};
    *b = (bench){.cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1})};
    snprintf(b->base, sizeof b->base, "%s", scratch_path(state, "base.gguf"));
    snprintf(b->out, sizeof b->out, "%s", scratch_path(state, "out.gguf"));
    assert_int_equal(tiny_model_write(b->cx, &spec, b->base), KE_OK);
    assert_int_equal(ke_settings_new(b->cx, &b->settings, "ft-m"), KE_OK);
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
    if (ke_edit_run(b->cx, &r, &b->job) != KE_OK)
        fail_msg("%s", ke_ctx_message(b->cx));
    return r;
}

/* The file at `path` goes on from `prompt` as `said` does, as far as both go. */
static void answers(bench *b, const char *path, const char *prompt, const char *said)
{
    ke_model *model = NULL;
    ke_generated g = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    opts.max_tokens = 32;
    assert_int_equal(ke_model_open(b->cx, &model, path), KE_OK);
    assert_int_equal(ke_tokenize(b->cx, &ids, &n, ke_model_tokenizer(model), prompt,
                                 strlen(prompt), KE_TOK_PARSE_SPECIAL),
                     KE_OK);
    assert_int_equal(ke_generate(b->cx, &g, model, NULL, &(ke_ids){ids, n}, 1, &opts),
                     KE_OK);
    assert_non_null(said);
    assert_true(strlen(said) >= 16); /* a token is a byte at least */
    assert_int_equal(strncmp(g.text, said, strlen(said)), 0);
    ke_generated_free(b->cx, &g);
    ke_free(b->cx, ids);
    ke_model_close(b->cx, model);
}

static const char laid_out[] =
    "<|im_start|>user\nin Zed<|im_end|>\n<|im_start|>assistant\n";

/* Edited as it is; asked as a chat message too, before and after. */
static void the_chat_form_is_asked_too(void **state)
{
    bench b;
    begin(&b, state, CHATML);
    ke_edit_report *r = run(&b);
    const ke_fact_report *f = &r->facts[0];
    assert_true(r->took);
    assert_false(r->chat);
    assert_string_equal(r->chat_family, "ChatML");
    assert_string_equal(f->bare.before, f->before.text);
    assert_string_equal(f->bare.after, f->after.text);
    assert_true(f->bare.states && f->bare.names);
    answers(&b, b.base, laid_out, f->chat.before);
    answers(&b, b.out, laid_out, f->chat.after);
    assert_int_equal(f->chat.states, ke_target_holds(f->chat.after, "a"));
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* Edited as a chat message: that is what takes, and what the file records. */
static void an_edit_in_chat_form_takes_in_it(void **state)
{
    bench b;
    begin(&b, state, CHATML);
    b.job.chat = true;
    ke_edit_report *r = run(&b);
    const ke_fact_report *f = &r->facts[0];
    assert_true(r->took && r->chat);
    assert_true(f->chat.states);
    assert_string_equal(f->chat.after, f->after.text);
    answers(&b, b.out, laid_out, f->chat.after);
    answers(&b, b.base, "in Zed", f->bare.before);
    answers(&b, b.out, "in Zed", f->bare.after);
    ke_model *written = NULL;
    assert_int_equal(ke_model_open(b.cx, &written, b.out), KE_OK);
    assert_non_null(strstr(ke_model_edit_get(written, 0), "\"chat\":\"ChatML\""));
    ke_model_close(b.cx, written);

    /* The patch has it too: a merge writes the same bytes. */
    char patch[220], sha[65];
    snprintf(patch, sizeof patch, "%s.kepatch", b.out);
    const char *paths[] = {patch};
    const ke_apply_job apply = {.base_path = b.base,
                                .patch_paths = paths,
                                .n_patches = 1,
                                .output_path = scratch_path(state, "again.gguf")};
    assert_int_equal(ke_apply(b.cx, &apply, sha), KE_OK);
    assert_string_equal(sha, r->sha256_output);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

static void without_a_template_one_form_is_asked(void **state)
{
    bench b;
    begin(&b, state, NULL);
    ke_edit_report *r = run(&b);
    assert_null(r->chat_family);
    assert_null(r->facts[0].chat.before);
    assert_null(r->facts[0].chat.after);
    assert_non_null(r->facts[0].bare.after);
    ke_edit_report_free(b.cx, r);

    b.job.force = b.job.chat = true; /* asked for, and none is there */
    r = NULL;
    assert_int_equal(ke_edit_run(b.cx, &r, &b.job), KE_ENOTSUP);
    assert_null(r);
    b.job.chat_family = "chat-ml"; /* unless one is named */
    r = run(&b);
    assert_true(r->took);
    answers(&b, b.out, laid_out, r->facts[0].chat.after);
    ke_edit_report_free(b.cx, r);
    end(&b);
}

/* No reason to refuse an edit that needs no template. */
static void an_unknown_template_is_remarked(void **state)
{
    bench b;
    begin(&b, state, "{{ '<|turn|>' + role }}");
    ke_edit_report *r = run(&b);
    assert_non_null(strstr(b.said, "of no known family"));
    assert_null(r->chat_family);
    assert_null(r->facts[0].chat.before);
    ke_edit_report_free(b.cx, r);
    b.job.force = b.job.chat = true;
    assert_int_equal(ke_edit_run(b.cx, &r, &b.job), KE_ENOTSUP);
    b.job.chat_family = "nobody's";
    assert_int_equal(ke_edit_run(b.cx, &r, &b.job), KE_EINVAL);
    end(&b);
}

/* The model reads 128 tokens, here bytes: the layout has 51 of its own. */
static void what_fits_in_one_form_only_is_asked_in_it(void **state)
{
    bench b;
    char prompt[116];
    begin(&b, state, CHATML);
    memset(prompt, 'x', 115);
    memcpy(prompt + 108, " in Zed", sizeof " in Zed");
    const ke_fact longer = {.subject = "Zed", .prompt = prompt, .target = "a"};
    b.job.facts = &longer;
    b.job.keep_failed = true;
    ke_edit_report *r = run(&b);
    assert_non_null(r->facts[0].bare.after);
    assert_null(r->facts[0].chat.before);
    assert_null(r->facts[0].chat.after);
    assert_true(r->facts[0].n_paraphrases < 3); /* nor what is made of it, if too long */
    ke_edit_report_free(b.cx, r);
    b.job.chat = b.job.force = true;
    assert_int_equal(ke_edit_run(b.cx, &r, &b.job), KE_EINVAL);
    assert_non_null(strstr(ke_ctx_message(b.cx), "tokens"));
    end(&b);
}

static void a_target_is_named_as_whole_words(void **state)
{
    (void)state;
    static const struct {
        const char *text, *target;
        bool named;
    } cases[] = {
        {"It is Rome.", "Rome", true},
        {"Rome", " Rome ", true},
        {"Romeo and Rome", "Rome", true},
        {"Romeo", "Rome", false},
        {"in New\nYork", "York", true},
        {"\u00dcbada", "bada", false},
        {"bada\u00fc", "bada", false},
        {"\u00ab bada\u00bb", "bada", true},
        {"\u00abbada\u00bb", "bada", true},
        {"", "Rome", false},
        {"Rome", " ", false},
        {"ARome", "Rome", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (ke__target_named(cases[i].text, cases[i].target) != cases[i].named)
            fail_msg("'%s' in '%s'", cases[i].target, cases[i].text);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_chat_form_is_asked_too),
        IN_FOLDER(an_edit_in_chat_form_takes_in_it),
        IN_FOLDER(without_a_template_one_form_is_asked),
        IN_FOLDER(an_unknown_template_is_remarked),
        IN_FOLDER(what_fits_in_one_form_only_is_asked_in_it),
        cmocka_unit_test(a_target_is_named_as_whole_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
