/* The ordered edits that a pass sees, and the matrices they amount to. */
#include "model/stack.h"

#include <string.h>

size_t ke__site_width(const ke_model *m, ke__site site)
{
    return site == KE__MLP_KEY ? m->info.d_ffn : m->info.d_model;
}

const char *ke__site_name(ke__site site)
{
    static const char *const names[KE__SITE_COUNT] = {
        "embed",  "resid_in", "attn_in", "attn_out", "attn_add",  "resid_mid",
        "mlp_in", "mlp_key",  "mlp_out", "mlp_add",  "resid_out", "final",
    };
    return names[site];
}

ke_status ke_stack_new(ke_ctx *cx, ke_stack **out, const ke_model *model)
{
    ke_status st = ke__alloc(cx, out, 1, sizeof **out);
    if (st == KE_OK)
        (*out)->model = model;
    return st;
}

void ke_stack_free(ke_ctx *cx, ke_stack *s)
{
    if (!s)
        return;
    ke__free(cx, s->terms);
    ke__free(cx, s->overlays);
    ke__free(cx, s->memories);
    ke__free(cx, s->levels);
    ke__free(cx, s);
}

size_t ke_stack_depth(const ke_stack *s)
{
    return s->depth;
}

void ke_stack_pop(ke_ctx *cx, ke_stack *s)
{
    (void)cx;
    if (s->depth == 0)
        return;
    s->depth--;
    s->n_terms = s->levels[s->depth][0];
    s->n_overlays = s->levels[s->depth][1];
    s->n_memories = s->levels[s->depth][2];
}

/* Room for one more item in an array that doubles. */
static ke_status room(ke_ctx *cx, void *io, size_t n, size_t *have, size_t size)
{
    if (n < *have)
        return KE_OK;
    size_t more = *have ? 2 * *have : 8;
    ke_status st = ke__resize(cx, io, more, size);
    if (st == KE_OK)
        *have = more;
    return st;
}

ke_status ke__stack_begin(ke_ctx *cx, ke_stack *s)
{
    ke_status st = room(cx, &s->levels, s->depth, &s->levels_room, sizeof *s->levels);
    if (st != KE_OK)
        return st;
    s->levels[s->depth][0] = s->n_terms;
    s->levels[s->depth][1] = s->n_overlays;
    s->levels[s->depth][2] = s->n_memories;
    s->depth++;
    return KE_OK;
}

ke_status ke__stack_term(ke_ctx *cx, ke_stack *s, const ke__term *term)
{
    ke_status st = room(cx, &s->terms, s->n_terms, &s->terms_room, sizeof *s->terms);
    if (st == KE_OK)
        s->terms[s->n_terms++] = *term;
    return st;
}

ke_status ke__stack_overlay(ke_ctx *cx, ke_stack *s, const ke__overlay *overlay)
{
    if (overlay->from < KE__RESID_IN || overlay->to > KE__RESID_OUT ||
        overlay->from > overlay->to || overlay->layer >= s->model->info.n_layers)
        return ke__fail(cx, KE_EINVAL, NULL, "an overlay from %s to %s in layer %u",
                        ke__site_name(overlay->from), ke__site_name(overlay->to),
                        (unsigned)overlay->layer);
    ke_status st =
        room(cx, &s->overlays, s->n_overlays, &s->overlays_room, sizeof *s->overlays);
    if (st == KE_OK)
        s->overlays[s->n_overlays++] = *overlay;
    return st;
}

ke_status ke__stack_memory(ke_ctx *cx, ke_stack *s, const ke__memory *memory)
{
    ke_status st =
        room(cx, &s->memories, s->n_memories, &s->memories_room, sizeof *s->memories);
    if (st == KE_OK)
        s->memories[s->n_memories++] = *memory;
    return st;
}

ke_status ke__stack_copy(ke_ctx *cx, ke_stack **out, const ke_model *model,
                         const ke_stack *edits)
{
    ke_status st = KE_OK;
    ke_stack *s = NULL;
    *out = NULL;
    KE_TRY(ke_stack_new(cx, &s, model));
    KE_TRY(ke__stack_begin(cx, s));
    for (size_t i = 0; edits && i < edits->n_terms; i++)
        KE_TRY(ke__stack_term(cx, s, &edits->terms[i]));
    for (size_t i = 0; edits && i < edits->n_overlays; i++)
        KE_TRY(ke__stack_overlay(cx, s, &edits->overlays[i]));
    for (size_t i = 0; edits && i < edits->n_memories; i++)
        KE_TRY(ke__stack_memory(cx, s, &edits->memories[i]));
    *out = s;
    s = NULL;
done:
    ke_stack_free(cx, s);
    return st;
}

ke_status ke_stack_prompt(ke_ctx *cx, char **out, const ke_stack *s, const char *prompt)
{
    ke_status st = KE_OK;
    ke__text text = {0};
    const char *lead = "";
    *out = NULL;
    for (size_t i = 0; i < s->n_memories; i++) {
        const ke__memory *m = &s->memories[i];
        KE_TRY(ke__text_addf(cx, &text, "%sNew Fact: %s\n",
                             strcmp(m->lead, lead) == 0 ? "" : m->lead, m->fact));
        lead = m->lead;
    }
    KE_TRY(ke__text_addf(cx, &text, "%s%s", s->n_memories ? "Prompt: " : "", prompt));
    *out = text.data;
    text.data = NULL;
done:
    ke__free(cx, text.data);
    return st;
}

bool ke__stack_touches(const ke_stack *s, uint32_t tensor)
{
    for (size_t i = 0; s && i < s->n_terms; i++)
        if (s->terms[i].tensor == tensor)
            return true;
    return false;
}

/* Index of the first term that counts: the one after the last REPLACE. */
static size_t first_term(const ke_stack *s, uint32_t tensor, const ke__mat **base)
{
    size_t first = 0;
    for (size_t i = 0; s && i < s->n_terms; i++)
        if (s->terms[i].tensor == tensor && s->terms[i].kind == KE__TERM_REPLACE) {
            first = i + 1;
            *base = &s->terms[i].dense;
        }
    return first;
}

ke__mat ke__stack_base(const ke_model *m, const ke_stack *s, uint32_t tensor)
{
    const ke__tensor *t = &m->file.tensors[tensor];
    const ke__mat file = {
        .type = t->type, .rows = t->rows, .cols = t->cols, .data = t->data};
    const ke__mat *base = &file;
    first_term(s, tensor, &base);
    return *base;
}

typedef struct sum_task {
    float *out;
    ke__mat base;
    const ke_stack *stack;
    uint32_t tensor;
    size_t first, row_bytes;
} sum_task;

static void sum_row(size_t r, unsigned thread, void *payload)
{
    (void)thread;
    const sum_task *t = payload;
    size_t n = t->base.cols;
    float *out = t->out + r * n;
    t->base.type->to_f32(out, (const uint8_t *)t->base.data + r * t->row_bytes, n);
    for (size_t i = t->first; t->stack && i < t->stack->n_terms; i++) {
        const ke__term *m = &t->stack->terms[i];
        if (m->tensor != t->tensor)
            continue;
        if (m->kind == KE__TERM_DENSE) {
            const float *d = (const float *)m->dense.data + r * n;
            for (size_t c = 0; c < n; c++)
                out[c] += m->scale * d[c];
            continue;
        }
        size_t rank = m->v.rows;
        for (size_t k = 0; k < rank; k++) {
            float u = m->scale * ((const float *)m->u.data)[r * rank + k];
            const float *v = (const float *)m->v.data + k * n;
            for (size_t c = 0; c < n; c++)
                out[c] += u * v[c];
        }
    }
}

ke_status ke__stack_matrix(ke_ctx *cx, float **out, const ke_model *m, const ke_stack *s,
                           uint32_t tensor)
{
    ke_status st = KE_OK;
    sum_task t = {.base = ke__stack_base(m, s, tensor), .stack = s, .tensor = tensor};
    const ke__mat *base = &t.base;
    *out = NULL;
    if (!t.base.type->to_f32)
        return ke__fail(cx, KE_ENOTSUP, m->file.tensors[tensor].name,
                        "tensor \"%s\" has type %s, which can't be computed with",
                        m->file.tensors[tensor].name, t.base.type->name);
    if (!ke__row_bytes(&t.row_bytes, t.base.type, t.base.cols))
        return ke__fail(cx, KE_EFORMAT, m->file.tensors[tensor].name,
                        "tensor \"%s\": its rows are no whole blocks",
                        m->file.tensors[tensor].name);
    t.first = first_term(s, tensor, &base);
    size_t n = 0;
    if (!ke__mul(&n, t.base.rows, t.base.cols))
        return ke__fail(cx, KE_ENOMEM, NULL, "tensor \"%s\" is too large",
                        m->file.tensors[tensor].name);
    KE_TRY(ke__alloc(cx, out, n, sizeof **out));
    t.out = *out;
    ke__parallel(cx, t.base.rows, sum_row, &t);
done:
    return st;
}
