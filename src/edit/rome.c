/* ROME (arXiv:2202.05262): a rank-one update of one down projection, so that the key of the
 * subject's last token gives the value v*. R-ROME is the same with other keys. */
#include "edit/rome.h"
#include "edit/keys.h"
#include "edit/plan.h"
#include "edit/stats.h"
#include "edit/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const ke__setting settings[] = {
#include "edit/rome_settings.def"
    {0}};

const ke__preset ke__rome_presets[] = {
    {"easyedit", "steps", "25"},     {"easyedit", "lr", "0.5"},
    {"easyedit", "kl", "0.0625"},    {"easyedit", "decay", "1e-3"},
    {"easyedit", "clamp", "4"},      {"easyedit", "stop-loss", "0.05"},
    {"easyedit", "ending", ""},      {"easyedit", "min-agreement", "0"},
    {"easyedit", "fit", "value"},    {"easyedit", "contexts", "easyedit"},
    {"easyedit", "cov", "identity"}, {0}};

/* Long and stubborn targets need more steps, to a lower loss, and an update that weighs
 * what other keys see. Some then go on with the last word ("Johnny Reinehart"): an end is
 * learnt with them. Where the prompt begins with its subject, the key is near those of all
 * first tokens, and only a value that was fitted as the edit acts holds. */
const ke__attempt ke__rome_attempts[] = {{1, "steps", "100"},      {1, "stop-loss", "0.02"},
                                         {1, "cov", "auto"},       {2, "steps", "100"},
                                         {2, "stop-loss", "0.02"}, {2, "cov", "auto"},
                                         {2, "ending", "."},       {3, "steps", "300"},
                                         {3, "contexts", "none"},  {3, "stop-loss", "0.02"},
                                         {3, "cov", "auto"},       {3, "fit", "edit"},
                                         {3, "clamp", "8"},        {0}};

/* --- the arithmetic ------------------------------------------------------------------ */

uint32_t ke__rome_layer(uint32_t n_layers)
{
    return (n_layers + 3) / 6; /* a sixth of the depth, to the nearest */
}

ke_status ke__rome_direction(ke_ctx *cx, float *u, double *agreement, const ke__rome_in *in)
{
    ke_status st = KE_OK;
    double *x = NULL, norm = 0.0;
    KE_TRY(ke__alloc(cx, &x, in->f, sizeof *x));
    for (size_t i = 0; i < in->f; i++)
        x[i] = (double)in->key_mean[i];
    if (in->factor)
        ke__cholesky_solve(cx, x, in->factor, in->f);
    for (size_t i = 0; i < in->f; i++)
        norm += x[i] * x[i];
    norm = sqrt(norm);
    for (size_t i = 0; i < in->f; i++)
        u[i] = (float)(x[i] / norm);
    *agreement = ke__dot(in->key, u, in->f) / ke__dot(in->key_mean, u, in->f);
    if (!isfinite(*agreement))
        st = ke__fail(
            cx, KE_ENUMERIC, "key",
            "the subject's key (norm %g, mean over contexts %g) gives no direction "
            "to write in",
            ke__norm2(in->key, in->f), ke__norm2(in->key_mean, in->f));
done:
    ke__free(cx, x);
    return st;
}

ke_status ke__rome_residual(ke_ctx *cx, float *r, const float *u, const ke__rome_in *in)
{
    double along = ke__dot(in->key, u, in->f);
    if (along == 0.0)
        return ke__fail(
            cx, KE_ENUMERIC, "key",
            "the subject's key (norm %g) is orthogonal to the direction to write in",
            ke__norm2(in->key, in->f));
    for (size_t i = 0; i < in->d; i++)
        r[i] = (float)(((double)in->value[i] - (double)in->output[i]) / along);
    return KE_OK;
}

/* --- one call ------------------------------------------------------------------------ */

struct state {
    uint32_t layer;
    ke__contexts contexts;
    double *factor; /* NULL: identity */
    double stats_seconds;
    ke__pass *pass;
    char note[256];
};

void ke__rome_release(ke_ctx *cx, void *state)
{
    struct state *s = state;
    if (!s)
        return;
    ke__contexts_free(cx, &s->contexts);
    ke__free(cx, s->factor);
    ke__pass_free(cx, s->pass);
    ke__free(cx, s);
}

static ke_status pick_layer(ke_ctx *cx, uint32_t *layer, const ke_model *model,
                            const ke_settings *set)
{
    uint32_t n = model->info.n_layers;
    *layer = ke__settings_is(set, "layer", "auto")
                 ? ke__rome_layer(n)
                 : (uint32_t)ke__settings_number(set, "layer");
    if (*layer >= n)
        return ke__fail(cx, KE_EINVAL, "layer", "layer is %u, expected 0..%u of this model",
                        *layer, n - 1);
    const ke__param *down = &model->layers[*layer].linear[KE__LIN_DOWN];
    if (!down->mat.type->to_f32)
        return ke__fail(cx, KE_ENOTSUP, model->file.tensors[down->tensor].name,
                        "the matrix to edit is of type %s, which can't be computed with",
                        down->mat.type->name);
    return KE_OK;
}

/* Tokens that "auto" takes; 0: by rule. */
static size_t stats_tokens(const ke_settings *s)
{
    double n = ke__settings_number(s, "stats-tokens");
    return isnan(n) ? 0 : (size_t)n;
}

ke_status ke__rome_prepare(ke_ctx *cx, void **out, const ke__edit_in *in, json_t *meta)
{
    ke_status st = KE_OK;
    struct state *s = NULL;
    json_t *list;
    bool ok = true;
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    *out = s;
    KE_TRY(pick_layer(cx, &s->layer, in->model, in->settings));
    if (!ke__settings_is(in->settings, "cov", "identity"))
        KE_TRY(ke__covariance_factor(
            cx, &s->factor, in->model, s->layer, ke_settings_get(in->settings, "cov"),
            stats_tokens(in->settings), &s->stats_seconds, s->note));
    KE_TRY(ke__contexts_make(cx, &s->contexts, in->model,
                             ke_settings_get(in->settings, "contexts"), in->seed));
    KE_TRY(ke__pass_new(cx, &s->pass, in->model, NULL));
    list = json_array();
    for (size_t i = 0; i < s->contexts.n; i++)
        ok = ok && ke__json_add(list, ke__json_string(s->contexts.items[i]));
    if (!ke__json_set(meta, "contexts", ke__json_done(list, ok)) ||
        !ke__json_set(meta, "layers", json_pack("[i]", (int)s->layer)))
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory for the edit's record");
done:
    return st;
}

/* --- one fact ------------------------------------------------------------------------ */

struct work {
    ke__row *rows; /* [n + 2] the bare prompt, the contexts, the KL row */
    size_t n;      /* contexts */
    size_t first,
        taken;       /* the rows that count: the contexts', or the bare prompt's alone */
    int32_t *target; /* [n_target] */
    size_t n_target;
    float *keys;               /* [n + 1, F] */
    float *outputs;            /* [n + 1, D] */
    float *mean, *u;           /* [F] the mean key of the contexts */
    float *mean_output;        /* [D] */
    const float *key, *output; /* [F], [D] what the update maps, and what it gives now */
    float *value, *r;          /* [D] */
};

static void work_free(ke_ctx *cx, struct work *w)
{
    ke__rows_free(cx, w->rows, w->n + 2);
    ke__free(cx, w->target);
    ke__free(cx, w->keys);
    ke__free(cx, w->outputs);
    ke__free(cx, w->mean);
    ke__free(cx, w->mean_output);
    ke__free(cx, w->u);
    ke__free(cx, w->value);
    ke__free(cx, w->r);
}

/* Rows without the target, for the keys. */
static ke_status make_rows(ke_ctx *cx, struct work *w, const struct state *s,
                           const ke_tokenizer *tok, const ke_fact *fact)
{
    ke_status st = KE_OK;
    char *is_a = NULL;
    w->n = s->contexts.n;
    KE_TRY(ke__alloc(cx, &w->rows, w->n + 2, sizeof *w->rows));
    KE_TRY(
        ke__row_make(cx, &w->rows[0], tok, fact->chat, "{}", fact->prompt, fact->subject));
    for (size_t i = 0; i < w->n; i++)
        KE_TRY(ke__row_make(cx, &w->rows[1 + i], tok, fact->chat, s->contexts.items[i],
                            fact->prompt, fact->subject));
    /* What the subject is, is kept as it stands in a text, in whatever form the fact is
     * asked. */
    KE_TRY(ke__format(cx, &is_a, "%s is a", fact->subject));
    KE_TRY(ke__row_make(cx, &w->rows[1 + w->n], tok, NULL, "{}", is_a, fact->subject));
done:
    ke__free(cx, is_a);
    return st;
}

static void mean_of(float *mean, const float *rows, size_t n, size_t width)
{
    for (size_t i = 0; i < width; i++) {
        double sum = 0.0;
        for (size_t k = 0; k < n; k++)
            sum += (double)rows[k * width + i];
        mean[i] = (float)(sum / (double)n);
    }
}

/* ROME takes the direction from the mean key and the length from the bare prompt's; R-ROME
 * takes both from one of them. */
static void choose_keys(struct work *w, const ke_settings *set, size_t f)
{
    bool mean = ke__settings_is(set, "keys", "mean");
    w->key = mean ? w->mean : w->keys;
    w->output = mean ? w->mean_output : w->outputs;
    if (ke__settings_is(set, "keys", "prompt"))
        memcpy(w->mean, w->keys, f * sizeof *w->mean);
}

static ke_status find_keys(ke_ctx *cx, struct work *w, const struct state *s,
                           const ke__edit_in *in)
{
    ke_status st = KE_OK;
    size_t f = in->model->info.d_ffn, d = in->model->info.d_model;
    KE_TRY(ke__alloc(cx, &w->keys, w->n + 1, f * sizeof *w->keys));
    KE_TRY(ke__alloc(cx, &w->outputs, w->n + 1, d * sizeof *w->outputs));
    KE_TRY(ke__alloc(cx, &w->mean, f, sizeof *w->mean));
    KE_TRY(ke__alloc(cx, &w->mean_output, d, sizeof *w->mean_output));
    KE_TRY(ke__keys_collect(cx, s->pass, in->model, in->edits, s->layer, w->rows, w->n + 1,
                            w->keys, w->outputs));
    mean_of(w->mean, w->keys + f, w->n, f);
    mean_of(w->mean_output, w->outputs + d, w->n, d);
    choose_keys(w, in->settings, f);
    w->first = 1;
    w->taken = w->n;
done:
    return st;
}

/* The update's direction comes from the keys behind the contexts, its length from the bare
 * prompt's key. A subject that begins its prompt has a key of its own there (the first
 * positions are unlike all others), and then the quotient is huge: the change spills over
 * everything that uses the layer. Keys of other subjects agree by 0.85 and more. */
static ke_status find_direction(ke_ctx *cx, struct work *w, const struct state *s,
                                const ke__edit_in *in, char *note)
{
    ke_status st = KE_OK;
    size_t f = in->model->info.d_ffn;
    const ke__rome_in keys = {
        .f = f, .key_mean = w->mean, .key = w->keys, .factor = s->factor};
    double agreement;
    KE_TRY(ke__alloc(cx, &w->u, f, sizeof *w->u));
    KE_TRY(ke__rome_direction(cx, w->u, &agreement, &keys));
    if (fabs(agreement) >= ke__settings_number(in->settings, "min-agreement"))
        goto done;
    snprintf(
        note, sizeof((ke_edit_trace *)0)->note,
        "the contexts are left out: the subject's key behind them agrees with the bare "
        "prompt's by %.3f of 1 only",
        agreement);
    memcpy(w->mean, w->keys, f * sizeof *w->mean);
    w->key = w->keys;
    w->output = w->outputs;
    w->first = 0;
    w->taken = 1;
    KE_TRY(ke__rome_direction(cx, w->u, &agreement, &keys));
done:
    return st;
}

/* Lengthen the rows by the target, and descend. */
static ke_status find_value(ke_ctx *cx, struct work *w, const struct state *s,
                            const ke__edit_in *in, const ke_fact *fact,
                            ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    ke__value *problem = NULL;
    const ke_settings *set = in->settings;
    char *target = NULL;
    size_t drop = 0;
    double kl = ke__settings_number(set, "kl");
    bool whole = ke__settings_is(set, "fit", "edit");
    const ke__descent how = {
        (size_t)ke__settings_number(set, "steps"), ke__settings_number(set, "lr"),
        ke__settings_number(set, "clamp"), ke__settings_number(set, "stop-loss")};
    KE_TRY(ke__format(cx, &target, "%s%s", fact->target, ke_settings_get(set, "ending")));
    KE_TRY(ke__target_ids(cx, &w->target, &w->n_target, &drop,
                          ke_model_tokenizer(in->model), fact, target));
    for (size_t i = 0; i < w->taken; i++)
        KE_TRY(
            ke__row_extend(cx, &w->rows[w->first + i], drop, w->target, w->n_target - 1));
    KE_TRY(ke__alloc(cx, &w->value, in->model->info.d_model, sizeof *w->value));
    KE_TRY(ke__value_new(cx, &problem, s->pass,
                         &(ke__value_in){.model = in->model,
                                         .edits = in->edits,
                                         .layer = s->layer,
                                         .site = KE__MLP_OUT,
                                         .rows = w->rows + w->first,
                                         .n_rows = w->taken,
                                         .target = w->target,
                                         .n_target = w->n_target,
                                         .kl_row = kl > 0.0 ? &w->rows[1 + w->n] : NULL,
                                         .u = whole ? w->u : NULL,
                                         .key = w->key,
                                         .kl = kl,
                                         .decay = ke__settings_number(set, "decay")}));
    KE_TRY(ke__value_descend(cx, problem, &how, w->value, &trace->loss, &trace->n_loss));
    /* As the edit acts, delta is what comes on top of the output that it replaces. */
    for (size_t i = 0; whole && i < in->model->info.d_model; i++)
        w->value[i] += w->output[i] - ke__value_start(problem)[i];
done:
    ke__value_free(cx, problem);
    ke__free(cx, target);
    return st;
}

ke_status ke__rome_compute(ke_ctx *cx, void *state, ke_patch *out, const ke__edit_in *in,
                           const ke_fact *facts, size_t n_facts, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    const struct state *s = state;
    struct work w = {0};
    const ke_model *m = in->model;
    size_t d = m->info.d_model, f = m->info.d_ffn;
    uint32_t tensor = ke__model_linear_tensor(m, s->layer, KE__LIN_DOWN);
    (void)n_facts; /* max_facts is 1 */
    snprintf(trace->note, sizeof trace->note, "%s", s->note);
    KE_TRY(make_rows(cx, &w, s, ke_model_tokenizer(m), facts));
    KE_TRY(find_keys(cx, &w, s, in));
    KE_TRY(find_direction(cx, &w, s, in, trace->note));
    KE_TRY(find_value(cx, &w, s, in, facts, trace));
    KE_TRY(ke__alloc(cx, &w.r, d, sizeof *w.r));
    KE_TRY(ke__rome_residual(
        cx, w.r, w.u, &(ke__rome_in){d, f, w.mean, w.key, w.value, w.output, s->factor}));
    KE_TRY(ke__patch_add_lowrank(cx, out, m->file.tensors[tensor].name, d, f, 1, 1.0F, w.r,
                                 w.u));
    trace->layers[0] = s->layer;
    trace->n_layers = 1;
    trace->delta_norm = ke__norm2(w.r, d) * ke__norm2(w.u, f);
    trace->key_norm = ke__norm2(w.keys, f);
    trace->value_norm = ke__norm2(w.value, d);
    trace->stats_seconds = s->stats_seconds;
done:
    work_free(cx, &w);
    return st;
}

/* --- the plan ------------------------------------------------------------------------ */

ke_status ke__rome_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                        const ke_settings *set, const ke_fact *facts, size_t n_facts)
{
    ke_status st = KE_OK;
    ke__plan_in in = {.model = model, .settings = set, .facts = facts, .n_facts = n_facts};
    const char *contexts = ke_settings_get(set, "contexts"),
               *cov = ke_settings_get(set, "cov");
    ke__contexts c = {0};
    size_t drawn = strcmp(contexts, "auto") == 0       ? KE__CONTEXTS_AUTO
                   : strcmp(contexts, "easyedit") == 0 ? KE__CONTEXTS_EASYEDIT
                                                       : 0;
    KE_TRY(pick_layer(cx, &in.layer, model, set));
    if (!drawn)
        KE_TRY(ke__contexts_make(cx, &c, model, contexts, 0));
    in.n_contexts = drawn ? drawn : c.n;
    in.drawn = drawn > 0;
    in.steps = (size_t)ke__settings_number(set, "steps");
    in.factor = strcmp(cov, "identity") != 0;
    if (strcmp(cov, "auto") == 0)
        KE_TRY(ke__covariance_missing(cx, &out->stats_tokens, model, in.layer,
                                      stats_tokens(set)));
    out->layers[0] = in.layer;
    out->n_layers = 1;
    KE_TRY(ke__plan_descent(cx, out, &in));
    snprintf(out->text, sizeof out->text,
             "%s: layer %u of %u%s, covariance %s, %zu context%s, at most %zu steps",
             ke_settings_method(set), in.layer, model->info.n_layers,
             ke__settings_is(set, "layer", "auto") ? " (by depth)" : "", cov, in.n_contexts,
             in.n_contexts == 1 ? "" : "s", in.steps);
done:
    ke__contexts_free(cx, &c);
    return st;
}

const ke__method ke__method_rome = {
    .name = "rome",
    .summary = "rank-one update of one FFN output matrix (arXiv:2202.05262)",
    .max_facts = 1,
    .settings = settings,
    .presets = ke__rome_presets,
    .attempts = ke__rome_attempts,
    .plan = ke__rome_plan,
    .prepare = ke__rome_prepare,
    .release = ke__rome_release,
    .compute = ke__rome_compute,
};
