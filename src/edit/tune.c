/* Fine-tuning (docs/methods.md): Adam on the down projections W of some layers, to the loss
 * of one fact's target. What is trained is the change of W, which gets the gradient of W:
 * then W may have any type in the file, and the change is the patch. */
#include "edit/tune.h"
#include "edit/keys.h"
#include "edit/plan.h"
#include "edit/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LAYERS = 64 }; /* that a plan and a trace can list */

/* Long targets need more steps; some then go on with the last word: an end is learnt with
 * them. */
const ke__attempt ke__tune_attempts[] = {{1, "steps", "150"}, {1, "stop-loss", "0.02"},
                                         {2, "steps", "150"}, {2, "stop-loss", "0.02"},
                                         {2, "ending", "."},  {0}};

/* --- layers -------------------------------------------------------------------------- */

struct layers {
    uint32_t at[MAX_LAYERS];
    size_t n;
};

static ke_status check_layer(ke_ctx *cx, const ke_model *model, uint32_t layer)
{
    uint32_t n = model->info.n_layers;
    if (layer >= n)
        return ke__fail(cx, KE_EINVAL, "layer", "layer is %u, expected 0..%u of this model",
                        layer, n - 1);
    const ke__param *down = &model->layers[layer].linear[KE__LIN_DOWN];
    if (!down->mat.type->to_f32)
        return ke__fail(cx, KE_ENOTSUP, model->file.tensors[down->tensor].name,
                        "the matrix to edit is of type %s, which can't be computed with",
                        down->mat.type->name);
    return KE_OK;
}

static ke_status pick_layers(ke_ctx *cx, struct layers *out, const ke_model *model,
                             const ke_settings *set)
{
    ke_status st = KE_OK;
    uint32_t n = model->info.n_layers, first;
    bool all = ke__settings_is(set, "layer", "all");
    if (all && n > MAX_LAYERS)
        return ke__fail(cx, KE_ENOTSUP, "layer", "%u layers, expected at most %d for all",
                        n, MAX_LAYERS);
    if (all)
        first = 0;
    else if (ke__settings_is(set, "layer", "auto"))
        first = (n + 5) / 10;
    else if (ke__settings_is(set, "layer", "late"))
        first = n * 7 / 10;
    else
        first = (uint32_t)ke__settings_number(set, "layer");
    out->n = all ? n : 1;
    for (uint32_t i = 0; i < out->n; i++) {
        KE_TRY(check_layer(cx, model, first + i));
        out->at[i] = first + i;
    }
done:
    return st;
}

/* --- one call ------------------------------------------------------------------------ */

struct state {
    struct layers layers;
    ke__pass *pass;
};

void ke__tune_release(ke_ctx *cx, void *state)
{
    struct state *s = state;
    if (!s)
        return;
    ke__pass_free(cx, s->pass);
    ke__free(cx, s);
}

ke_status ke__tune_prepare(ke_ctx *cx, void **out, const ke__edit_in *in, json_t *meta)
{
    ke_status st = KE_OK;
    struct state *s = NULL;
    json_t *list = json_array();
    bool ok = ke__json_set(meta, "layers", list); /* meta's from here on */
    KE_TRY(ke__alloc(cx, &s, 1, sizeof *s));
    *out = s;
    KE_TRY(pick_layers(cx, &s->layers, in->model, in->settings));
    KE_TRY(ke__pass_new(cx, &s->pass, in->model, NULL));
    for (size_t i = 0; i < s->layers.n; i++)
        ok = ok && ke__json_add(list, json_integer(s->layers.at[i]));
    if (!ok)
        st = ke__fail(cx, KE_ENOMEM, NULL, "out of memory for the edit's record");
done:
    return st;
}

/* --- one fact ------------------------------------------------------------------------ */

/* A down projection in training. */
struct matrix {
    uint32_t tensor;
    size_t rows, cols;
    float *delta; /* [rows, cols] its change so far, as the pass reads it */
    ke_buf *x, *m, *v, *gradient;
};

struct work {
    struct matrix *matrices; /* [n] */
    ke__want *wants;         /* [n] */
    size_t n;
    ke_stack *stack; /* the edits before, then the changes */
    ke__row row; /* the prompt, and all target tokens but the last where they are read */
    int32_t *target; /* [n_target], and for each */
    int32_t *places; /* its row's place among those that predict, */
    float *weights;  /* its share of the loss */
    size_t n_target;
    int32_t *outs; /* [n_out] rows that predict */
    size_t n_out;
    float *resid; /* [row.n, D] what enters the lowest layer in training; NULL: layer 0 */
};

static void free_training(ke_ctx *cx, const ke_ops *ops, struct matrix *x)
{
    ke_buf **const bufs[] = {&x->x, &x->m, &x->v, &x->gradient};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++) {
        ops->buf_free(cx, *bufs[i]);
        *bufs[i] = NULL;
    }
}

static void work_free(ke_ctx *cx, const ke_ops *ops, struct work *w)
{
    ke_stack_free(cx, w->stack);
    for (size_t i = 0; w->matrices && i < w->n; i++) {
        free_training(cx, ops, &w->matrices[i]);
        ke__free(cx, w->matrices[i].delta);
    }
    void *const arrays[] = {w->matrices, w->wants,   w->row.ids, w->target,
                            w->places,   w->weights, w->outs,    w->resid};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        ke__free(cx, arrays[i]);
}

/* Changes of zero, on a stack over the edits before. */
static ke_status make_matrices(ke_ctx *cx, struct work *w, const struct state *s,
                               const ke__edit_in *in)
{
    ke_status st = KE_OK;
    const ke_ops *ops = ke__pass_ops(s->pass);
    KE_TRY(ke__alloc(cx, &w->matrices, s->layers.n, sizeof *w->matrices));
    w->n = s->layers.n;
    KE_TRY(ke__alloc(cx, &w->wants, w->n, sizeof *w->wants));
    KE_TRY(ke__stack_copy(cx, &w->stack, in->model, in->edits));
    KE_TRY(ke__stack_begin(cx, w->stack));
    for (size_t i = 0; i < w->n; i++) {
        struct matrix *x = &w->matrices[i];
        uint32_t layer = s->layers.at[i];
        const ke__mat *mat = &in->model->layers[layer].linear[KE__LIN_DOWN].mat;
        size_t n = mat->rows * mat->cols;
        *x = (struct matrix){.tensor =
                                 ke__model_linear_tensor(in->model, layer, KE__LIN_DOWN),
                             .rows = mat->rows,
                             .cols = mat->cols};
        KE_TRY(ke__alloc(cx, &x->delta, n, sizeof *x->delta));
        KE_TRY(ops->buf_new(cx, &x->x, n));
        KE_TRY(ops->buf_new(cx, &x->m, n));
        KE_TRY(ops->buf_new(cx, &x->v, n));
        KE_TRY(ops->buf_new(cx, &x->gradient, n));
        w->wants[i] = (ke__want){.kind = KE__WANT_WEIGHT,
                                 .layer = layer,
                                 .linear = KE__LIN_DOWN,
                                 .grad = x->gradient};
        KE_TRY(ke__stack_term(cx, w->stack,
                              &(ke__term){.kind = KE__TERM_DENSE,
                                          .tensor = x->tensor,
                                          .scale = 1.0F,
                                          .dense = {.type = ke__dtype_of(KE__F32),
                                                    .rows = x->rows,
                                                    .cols = x->cols,
                                                    .data = x->delta}}));
    }
done:
    return st;
}

/* The loss is -1/n sum log p(t_i), where t_i is predicted from the tokens before it, or
 * ("prompt_last") all of them from the prompt alone. */
static ke_status make_row(ke_ctx *cx, struct work *w, const ke__edit_in *in,
                          const ke_fact *fact)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(in->model);
    bool last = ke__settings_is(in->settings, "objective", "prompt_last");
    char *target = NULL, *prompt = NULL;
    size_t drop = 0, n = 0;
    KE_TRY(ke__format(cx, &target, "%s%s", fact->target,
                      ke_settings_get(in->settings, "ending")));
    KE_TRY(ke__target_ids(cx, &w->target, &w->n_target, &drop, tok, fact, target));
    KE_TRY(ke_chat_format(cx, &prompt, fact->chat, fact->prompt));
    KE_TRY(ke_tokenize(cx, &w->row.ids, &n, tok, prompt, strlen(prompt),
                       ke__chat_flags(fact->chat)));
    w->row.n = (uint32_t)n;
    KE_TRY(ke__row_extend(cx, &w->row, drop, w->target, last ? 0 : w->n_target - 1));
    w->n_out = last ? 1 : w->n_target;
    KE_TRY(ke__alloc(cx, &w->outs, w->n_out, sizeof *w->outs));
    KE_TRY(ke__alloc(cx, &w->places, w->n_target, sizeof *w->places));
    KE_TRY(ke__alloc(cx, &w->weights, w->n_target, sizeof *w->weights));
    for (size_t i = 0; i < w->n_out; i++)
        w->outs[i] = (int32_t)(w->row.n - w->n_out + i);
    for (size_t i = 0; i < w->n_target; i++) {
        w->places[i] = last ? 0 : (int32_t)i;
        w->weights[i] = 1.0F / (float)w->n_target;
    }
done:
    ke__free(cx, target);
    ke__free(cx, prompt);
    return st;
}

/* Nothing below the lowest layer in training changes: read it once. */
static ke_status read_below(ke_ctx *cx, struct work *w, const struct state *s,
                            const ke__edit_in *in)
{
    ke_status st = KE_OK;
    uint32_t lowest = s->layers.at[0];
    const ke__seq seq = {.ids = w->row.ids, .n = w->row.n};
    int32_t *rows = NULL;
    if (lowest == 0)
        return KE_OK;
    KE_TRY(ke__alloc(cx, &rows, w->row.n, sizeof *rows));
    for (uint32_t i = 0; i < w->row.n; i++)
        rows[i] = (int32_t)i;
    KE_TRY(ke__alloc(cx, &w->resid, w->row.n, in->model->info.d_model * sizeof *w->resid));
    const ke__tap tap = {lowest, KE__RESID_IN, rows, w->row.n, w->resid};
    KE_TRY(ke__pass_run(cx, s->pass,
                        &(ke__pass_in){.seqs = &seq,
                                       .n_seqs = 1,
                                       .end_layer = lowest + 1,
                                       .last_site = KE__RESID_IN,
                                       .taps = &tap,
                                       .n_taps = 1,
                                       .edits = in->edits}));
done:
    ke__free(cx, rows);
    return st;
}

static ke_status read_loss(ke_ctx *cx, const struct work *w, const struct state *s,
                           double *loss)
{
    ke_status st = KE_OK;
    const ke__seq seq = {.ids = w->row.ids, .n = w->row.n};
    *loss = 0.0;
    KE_TRY(ke__pass_run(cx, s->pass,
                        &(ke__pass_in){.seqs = &seq,
                                       .n_seqs = 1,
                                       .first_layer = s->layers.at[0],
                                       .resid_in = w->resid,
                                       .out_rows = w->outs,
                                       .n_out = w->n_out,
                                       .edits = w->stack,
                                       .keep = true,
                                       .keep_from = s->layers.at[0]}));
    KE_TRY(ke__pass_xent(cx, s->pass, w->places, w->target, w->weights, w->n_target, loss,
                         NULL));
done:
    return st;
}

/* One step of Adam as torch has it; `bound` infinite: none. */
static ke_status update(ke_ctx *cx, const ke_ops *ops, struct matrix *x, uint32_t t,
                        float lr, float bound)
{
    ke_status st = KE_OK;
    size_t n = x->rows * x->cols;
    KE_TRY(ops->adam(cx, x->x, x->m, x->v, x->gradient, n, t, lr, 0.9F, 0.999F, 1e-8F, 0));
    KE_TRY(ops->zero(cx, x->gradient, 0, n));
    KE_TRY(ops->get(cx, x->delta, x->x, 0, n));
    if (isinf(bound))
        goto done;
    for (size_t i = 0; i < n; i++)
        x->delta[i] = fminf(fmaxf(x->delta[i], -bound), bound);
    KE_TRY(ops->put(cx, x->x, 0, x->delta, n));
done:
    return st;
}

static ke_status train(ke_ctx *cx, struct work *w, const struct state *s,
                       const ke_settings *set, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    const ke_ops *ops = ke__pass_ops(s->pass);
    size_t steps = (size_t)ke__settings_number(set, "steps");
    double stop = ke__settings_number(set, "stop-loss");
    float lr = (float)ke__settings_number(set, "lr");
    float bound = ke__settings_is(set, "constraint", "none")
                      ? INFINITY
                      : (float)ke__settings_number(set, "constraint");
    KE_TRY(ke__alloc(cx, &trace->loss, steps, sizeof *trace->loss));
    for (size_t step = 0; step < steps; step++) {
        double loss;
        KE_TRY(ke__progress(cx, "training", step, steps));
        KE_TRY(read_loss(cx, w, s, &loss));
        trace->loss[trace->n_loss++] = loss;
        if (!isfinite(loss)) { /* the constraint would make numbers of what is none */
            st = ke__fail(cx, KE_ENUMERIC, "loss",
                          "the loss at step %zu is not finite: lower --lr", step + 1);
            goto done;
        }
        if (loss < stop)
            break;
        KE_TRY(ke__pass_backward(cx, s->pass, w->wants, w->n, NULL, 0));
        for (size_t i = 0; i < w->n; i++)
            KE_TRY(update(cx, ops, &w->matrices[i], (uint32_t)step + 1, lr, bound));
    }
    KE_TRY(ke__progress(cx, "training", steps, steps));
done:
    return st;
}

ke_status ke__tune_compute(ke_ctx *cx, void *state, ke_patch *out, const ke__edit_in *in,
                           const ke_fact *facts, size_t n_facts, ke_edit_trace *trace)
{
    ke_status st = KE_OK;
    const struct state *s = state;
    struct work w = {0};
    double square = 0.0;
    (void)n_facts; /* max_facts is 1 */
    KE_TRY(make_row(cx, &w, in, facts));
    KE_TRY(make_matrices(cx, &w, s, in));
    KE_TRY(read_below(cx, &w, s, in));
    KE_TRY(train(cx, &w, s, in->settings, trace));
    for (size_t i = 0; i < w.n; i++) {
        struct matrix *x = &w.matrices[i];
        double norm = ke__norm2(x->delta, x->rows * x->cols);
        free_training(cx, ke__pass_ops(s->pass), x);
        KE_TRY(ke__patch_add_dense(cx, out, in->model->file.tensors[x->tensor].name,
                                   x->rows, x->cols, x->delta));
        trace->layers[i] = s->layers.at[i];
        square += norm * norm;
    }
    trace->n_layers = w.n;
    trace->delta_norm = sqrt(square);
done:
    work_free(cx, ke__pass_ops(s->pass), &w);
    return st;
}

/* --- the plan ------------------------------------------------------------------------ */

ke_status ke__tune_plan(ke_ctx *cx, ke_edit_plan *out, const ke_model *model,
                        const ke_settings *set, const ke_fact *facts, size_t n_facts)
{
    ke_status st = KE_OK;
    struct layers layers = {.n = 0};
    ke__plan_in in = {.model = model, .settings = set, .facts = facts, .n_facts = n_facts};
    KE_TRY(pick_layers(cx, &layers, model, set));
    in.layer = layers.at[0];
    in.steps = (size_t)ke__settings_number(set, "steps");
    memcpy(out->layers, layers.at, layers.n * sizeof layers.at[0]);
    out->n_layers = layers.n;
    KE_TRY(ke__plan_training(cx, out, &in));
    if (layers.n == 1)
        snprintf(out->text, sizeof out->text, "%s: layer %u of %u%s, at most %zu steps",
                 ke_settings_method(set), in.layer, model->info.n_layers,
                 isnan(ke__settings_number(set, "layer")) ? " (by depth)" : "", in.steps);
    else
        snprintf(out->text, sizeof out->text, "%s: all %u layers, at most %zu steps",
                 ke_settings_method(set), model->info.n_layers, in.steps);
done:
    return st;
}
