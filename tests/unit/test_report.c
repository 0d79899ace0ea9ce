#include "study/study.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static ke_status fill(ke_ctx *cx, ke_edit_report **out)
{
    ke_status st = KE_OK;
    ke_edit_report *r = NULL;
    KE_TRY(ke__alloc(cx, &r, 1, sizeof *r));
    *out = r;
    KE_TRY(ke__alloc(cx, &r->facts, 1, sizeof *r->facts));
    r->n_facts = 1;
    ke_fact_report *f = &r->facts[0];
    r->method = "rome";
    r->layers[0] = 5;
    r->n_layers = 1;
    r->took = f->took = true;
    r->kl = 0.25;
    r->ppl_before = NAN;
    r->ppl_after = INFINITY;
    strcpy(r->sha256_base, "ab");
    KE_TRY(ke__strdup(cx, &f->subject, "S"));
    KE_TRY(ke__strdup(cx, &f->prompt, "S \"quoted\"\n"));
    KE_TRY(ke__strdup(cx, &f->target, "t"));
    KE_TRY(ke__strdup(cx, &f->reason, ""));
    /* A stray byte, a cut character at the end, and a good character between them. */
    KE_TRY(ke__strdup(cx, &f->before.text,
                      "a\xff"
                      "b\xc3\xa9\xe2\x82"));
    f->before.target_logprob = -1.5;
    f->before.target_rank = 7;
    KE_TRY(ke__alloc(cx, &f->paraphrases, 1, sizeof *f->paraphrases));
    f->n_paraphrases = f->n_success = 1;
    f->paraphrases[0].ok = true;
    KE_TRY(ke__strdup(cx, &f->paraphrases[0].prompt, "p"));
    KE_TRY(ke__alloc(cx, &f->trace.loss, 2, sizeof(double)));
    f->trace.n_loss = 2;
    f->trace.loss[0] = 0.1;
    f->trace.loss[1] = NAN;
    KE_TRY(ke__alloc(cx, &r->tensors, 1, sizeof *r->tensors));
    r->n_tensors = 1;
    KE_TRY(ke__strdup(cx, &r->tensors[0].name, "w"));
    r->tensors[0].type_before = "q4_1";
    r->tensors[0].type_after = "f32";
done:
    return st;
}

/* The member of an object, which has to be there. */
static json_t *at(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!value)
        fail_msg("no \"%s\"", key);
    return value;
}

static void says_what_the_schema_promises(void **state)
{
    static const char *const keys[] = {
        "schema",        "method",  "layers",     "took",           "already",
        "facts",         "harm",    "output",     "patch",          "sha256_base",
        "sha256_output", "seconds", "peak_bytes", "edited_tensors",
    };
    static const char *const fact_keys[] = {
        "subject", "prompt",     "target",      "took",       "before",   "after",
        "loss",    "neighbours", "paraphrases", "delta_norm", "key_norm", "value_norm",
    };
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_edit_report *r = NULL;
    char *text = NULL;
    assert_int_equal(fill(cx, &r), KE_OK);
    assert_int_equal(ke_edit_report_json(cx, &text, r), KE_OK);
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        at(o, keys[i]);
    assert_string_equal(json_string_value(at(o, "schema")), "knowedit.edit/1");
    assert_true(json_is_true(at(o, "took")));
    assert_true(json_is_null(at(o, "output")));
    assert_true(json_is_null(at(o, "sha256_output")));
    assert_string_equal(json_string_value(at(o, "sha256_base")), "ab");
    assert_int_equal(json_integer_value(json_array_get(at(o, "layers"), 0)), 5);
    assert_true(json_is_null(at(at(o, "harm"), "ppl_before")));
    assert_true(json_is_null(at(at(o, "harm"), "ppl_after")));
    assert_true(fabs(json_real_value(at(at(o, "harm"), "kl")) - 0.25) < 1e-12);

    json_t *fact = json_array_get(at(o, "facts"), 0);
    for (size_t i = 0; i < sizeof fact_keys / sizeof fact_keys[0]; i++)
        at(fact, fact_keys[i]);
    assert_string_equal(json_string_value(at(fact, "prompt")), "S \"quoted\"\n");
    assert_string_equal(json_string_value(at(at(fact, "before"), "text")),
                        "a\xef\xbf\xbd"
                        "b\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd");
    assert_int_equal(json_integer_value(at(at(fact, "before"), "target_rank")), 7);
    assert_true(json_is_null(at(at(fact, "after"), "text")));
    assert_int_equal(json_array_size(at(fact, "loss")), 2);
    assert_true(json_is_null(json_array_get(at(fact, "loss"), 1)));
    assert_int_equal(json_integer_value(at(at(fact, "paraphrases"), "success")), 1);
    assert_int_equal(json_integer_value(at(at(fact, "neighbours"), "n")), 0);
    json_t *tensor = json_array_get(at(o, "edited_tensors"), 0);
    assert_string_equal(json_string_value(at(tensor, "type_after")), "f32");

    json_decref(o);
    ke_free(cx, text);
    ke_edit_report_free(cx, r);
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_what_the_schema_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
