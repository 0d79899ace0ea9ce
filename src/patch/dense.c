/* A part that adds a whole matrix: what fine-tuning and its kin compute. */
#include "patch/kinds.h"

ke_status ke__patch_add_dense(ke_ctx *cx, ke_patch *p, const char *tensor, uint64_t rows,
                              uint64_t cols, const float *delta)
{
    ke_status st = KE_OK;
    const ke__part view = {
        .kind = KE__PART_DENSE,
        .tensor = (char *)tensor, /* copied from, not written */
        .rows = rows,
        .cols = cols,
        .delta = (float *)delta,
    };

    KE_TRY(ke__check_f32(cx, tensor, "change", delta, rows, cols));
    KE_TRY(ke__patch_add_copies(cx, p, &view, 1));
done:
    return st;
}

static ke_status apply(ke_ctx *cx, ke_stack *stack, const ke__part *part, uint32_t tensor)
{
    const ke__term term = {
        .kind = KE__TERM_DENSE,
        .tensor = tensor,
        .scale = 1.0F,
        .dense = {.type = ke__dtype_of(KE__F32),
                  .rows = part->rows,
                  .cols = part->cols,
                  .data = part->delta},
    };

    return ke__stack_term(cx, stack, &term);
}

static ke_status save(ke_ctx *cx, ke__payload *payload, json_t *entry, const ke__part *part)
{
    return ke__payload_add(cx, payload, entry, "delta", part->delta,
                           part->rows * part->cols * sizeof(float));
}

static ke_status load(ke_ctx *cx, ke__part *part, ke__source *src, const json_t *entry)
{
    return ke__source_f32(cx, src, entry, "delta", part->rows, part->cols, &part->delta);
}

static ke_status copy(ke_ctx *cx, ke__part *out, const ke__part *part)
{
    return ke__copy_f32(cx, &out->delta, part->delta, part->rows, part->cols);
}

static void free_arrays(ke_ctx *cx, ke__part *part)
{
    ke__free(cx, part->delta);
}

const ke__kind ke__kind_dense = {
    .name = "dense",
    .apply = apply,
    .save = save,
    .load = load,
    .copy = copy,
    .free = free_arrays,
};
