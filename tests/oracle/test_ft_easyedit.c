/* FT-M and FT-L on SmolLM2 against EasyEdit's records (tests/data/easyedit) of its two
 * objectives, without a constraint: the loss before every update, and the change's norm. */
#include "edit/edit.h"
#include "oracle/oracle.h"

#include <math.h>

static ke_ctx *cx;
static ke_model *model;

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s (%s)", ke_ctx_message(cx), ke_ctx_where(cx));
}

static int set_up(void **state)
{
    const char *path = getenv("KE_MODEL_SMOLLM2");
    (void)state;
    cx = ke_ctx_new(NULL);
    if (!path)
        fail_msg("set KE_MODEL_SMOLLM2 to the model's path");
    ok(ke_model_open(cx, &model, path));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ke_model_close(cx, model);
    ke_ctx_free(cx);
    return 0;
}

struct worst {
    double loss, norm; /* relative */
};

static void raise_to(double *worst, double x)
{
    if (!(x <= *worst))
        *worst = x;
}

static void compare(struct worst *w, const json_t *record, const ke_edit_trace *t)
{
    const json_t *losses = json_object_get(record, "ft_losses");
    double norm = json_number_value(
        json_object_iter_value(json_object_iter(json_object_get(record, "update_norm"))));
    assert_int_equal(json_array_size(losses), t->n_loss);
    for (size_t i = 0; i < t->n_loss; i++) {
        double theirs = json_number_value(json_array_get(losses, i));
        raise_to(&w->loss, fabs(t->loss[i] - theirs) / theirs);
    }
    raise_to(&w->norm, fabs(t->delta_norm - norm) / norm);
}

static void edit_all(const char *method, const char *file)
{
    json_error_t error;
    json_t *records = json_load_file(file, 0, &error), *record;
    struct worst w = {0};
    size_t i;
    if (!records)
        fail_msg("%s:%d: %s", file, error.line, error.text);
    json_array_foreach(records, i, record)
    {
        const json_t *c = json_object_get(record, "case");
        const ke_fact fact = {.subject = json_string_value(json_object_get(c, "subject")),
                              .prompt = json_string_value(json_object_get(c, "prompt")),
                              .target =
                                  json_string_value(json_object_get(c, "target_new"))};
        ke_settings *s = NULL;
        ke_patch *patch = NULL;
        ke_edit_trace trace;
        ok(ke_settings_new(cx, &s, method));
        ok(ke_settings_preset(cx, s, "easyedit"));
        ok(ke_edit(cx, &patch, model, NULL, s, &fact, 1, 0, &trace));
        assert_int_equal(1, patch->n_parts);
        assert_string_equal("blk.21.ffn_down.weight", patch->parts[0].tensor);
        compare(&w, record, &trace);
        ke_edit_trace_free(cx, &trace);
        ke_patch_free(cx, patch);
        ke_settings_free(cx, s);
    }
    json_decref(records);
    oracle_report("losses, relative", w.loss, 0.01);
    oracle_report("|update|, relative", w.norm, 0.02);
}

static void ft_m_agrees(void **state)
{
    (void)state;
    edit_all("ft-m", "tests/data/easyedit/ft-m.json");
}

static void ft_l_agrees(void **state)
{
    (void)state;
    edit_all("ft-l", "tests/data/easyedit/ft-l-objective.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ft_m_agrees),
        cmocka_unit_test(ft_l_agrees),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
