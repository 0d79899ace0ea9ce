/* From a stack to a file: edited tensors rounded to the type that they get there. */
#include "format/safetensors.h"
#include "patch/patch.h"

#include <math.h>
#include <string.h>

struct rounding {
    const ke__tensor *tensor;     /* as in the file */
    const ke__dtype_traits *type; /* of the output */
    const float *values;          /* [rows, cols] edited */
    uint8_t *data;                /* [rows] rows of row_bytes */
    size_t row_bytes, file_row_bytes;
    float *scratch;    /* [threads, 2, cols] */
    double (*sums)[2]; /* [rows] squares of the change and of the file's row */
    const ke_ctx *cx;
};

/* A block that the edit left alone keeps its bytes: rounding its values again could pick
 * another scale, and the tensor would differ more than the edit asks for. */
static void keep_blocks(const struct rounding *r, uint8_t *row, const uint8_t *file_row,
                        const float *values, const float *file_values)
{
    size_t block = r->type->block, bytes = r->type->bytes;

    for (size_t c = 0, at = 0; c < r->tensor->cols; c += block, at += bytes) {
        size_t i = 0;
        while (i < block && values[c + i] == file_values[c + i])
            i++;
        if (i == block)
            memcpy(row + at, file_row + at, bytes);
    }
}

static void round_row(size_t row, unsigned thread, void *payload)
{
    const struct rounding *r = payload;
    size_t n = r->tensor->cols;
    const float *values = r->values + row * n;
    const uint8_t *file_row = r->tensor->data + row * r->file_row_bytes;
    uint8_t *out = r->data + row * r->row_bytes;
    float *before = r->scratch + 2 * n * thread, *after = before + n;
    double change = 0.0, size = 0.0;

    if (r->cx->canceled)
        return;
    r->tensor->type->to_f32(before, file_row, n);
    r->type->from_f32(out, values, n);
    if (r->type == r->tensor->type)
        keep_blocks(r, out, file_row, values, before);
    r->type->to_f32(after, out, n);
    for (size_t c = 0; c < n; c++) {
        double d = (double)after[c] - (double)before[c];
        change += d * d;
        size += (double)before[c] * (double)before[c];
    }
    r->sums[row][0] = change;
    r->sums[row][1] = size;
}

static ke_status check_types(ke_ctx *cx, const ke_model *model, const ke__tensor *t,
                             const ke__dtype_traits *type)
{
    char names[128];

    if (model->files.form == KE__FORM_SAFETENSORS && !ke__safetensors_takes(type))
        return ke__fail(cx, KE_ENOTSUP, t->name,
                        "tensor \"%s\" can't be stored as %s in a safetensors file, which "
                        "takes f32, f16, bf16 and f64",
                        t->name, type->name);
    ke__dtype_list(names, sizeof names);
    if (!type->from_f32 || !type->to_f32)
        return ke__fail(cx, KE_ENOTSUP, t->name,
                        "tensor \"%s\" can't be rounded to %s; types that it can have: %s",
                        t->name, type->name, names);
    if (!t->type->to_f32)
        return ke__fail(
            cx, KE_ENOTSUP, t->name,
            "tensor \"%s\" has type %s, which can't be computed with; known: %s", t->name,
            t->type->name, names);
    if (t->cols % type->block != 0)
        return ke__fail(cx, KE_ENOTSUP, t->name,
                        "tensor \"%s\" has rows of %llu, %s needs a multiple of %u",
                        t->name, (unsigned long long)t->cols, type->name,
                        (unsigned)type->block);
    return KE_OK;
}

/* ||W' - W||_F / ||W||_F; of a zero matrix, 1 if anything changed. */
static ke_status relative_change(ke_ctx *cx, double *out, const struct rounding *r)
{
    double change = 0.0, size = 0.0;

    for (size_t row = 0; row < r->tensor->rows; row++) {
        if (!isfinite(r->sums[row][0]) || !isfinite(r->sums[row][1]))
            return ke__fail(cx, KE_ENUMERIC, r->tensor->name,
                            "tensor \"%s\": row %zu of %llu has a value that is not finite "
                            "as %s",
                            r->tensor->name, row, (unsigned long long)r->tensor->rows,
                            r->type->name);
        change += r->sums[row][0];
        size += r->sums[row][1];
    }
    *out = size > 0.0 ? sqrt(change / size) : (change > 0.0 ? 1.0 : 0.0);
    return KE_OK;
}

static ke_status merge_tensor(ke_ctx *cx, ke__merged_tensor *out, const ke_model *model,
                              const ke_stack *stack, uint32_t index,
                              const ke__dtype_traits *type)
{
    ke_status st = KE_OK;
    const ke__tensor *t = &model->file.tensors[index];
    float *values = NULL;
    struct rounding r = {.tensor = t, .type = type, .cx = cx};

    KE_TRY(check_types(cx, model, t, type));
    if (!ke__row_bytes(&r.row_bytes, type, t->cols) ||
        !ke__row_bytes(&r.file_row_bytes, t->type, t->cols) ||
        !ke__mul(&out->bytes, t->rows, r.row_bytes)) {
        st = ke__fail(cx, KE_ENOMEM, t->name, "tensor \"%s\" is too large as %s", t->name,
                      type->name);
        goto done;
    }
    KE_TRY(ke__stack_matrix(cx, &values, model, stack, index));
    KE_TRY(ke__alloc(cx, &out->data, out->bytes, 1));
    KE_TRY(ke__alloc(cx, &r.scratch, 2 * (size_t)ke__threads(cx) * t->cols, sizeof(float)));
    KE_TRY(ke__alloc(cx, &r.sums, t->rows, sizeof *r.sums));
    r.values = values;
    r.data = out->data;
    out->tensor = index;
    out->type = type;
    ke__parallel(cx, t->rows, round_row, &r);
    KE_TRY(ke__check_cancel(cx));
    KE_TRY(relative_change(cx, &out->rel_change, &r));
done:
    ke__free(cx, r.sums);
    ke__free(cx, r.scratch);
    ke__free(cx, values);
    return st;
}

ke_status ke__merge(ke_ctx *cx, ke__merged *out, const ke_model *model,
                    const ke_stack *stack, const ke__dtype_traits *type)
{
    ke_status st = KE_OK;
    size_t n = 0;

    *out = (ke__merged){0};
    for (uint32_t i = 0; i < model->file.n_tensors; i++)
        n += ke__stack_touches(stack, i);
    KE_TRY(ke__alloc(cx, &out->tensors, n, sizeof *out->tensors));
    for (uint32_t i = 0; i < model->file.n_tensors; i++) {
        if (!ke__stack_touches(stack, i))
            continue;
        KE_TRY(merge_tensor(cx, &out->tensors[out->n++], model, stack, i,
                            type ? type : model->file.tensors[i].type));
    }
done:
    if (st != KE_OK)
        ke__merged_free(cx, out);
    return st;
}

void ke__merged_free(ke_ctx *cx, ke__merged *m)
{
    for (size_t i = 0; i < m->n; i++)
        ke__free(cx, m->tensors[i].data);
    ke__free(cx, m->tensors);
    *m = (ke__merged){0};
}

ke_status ke__stack_push_merged(ke_ctx *cx, ke_stack *stack, const ke__merged *m)
{
    ke_status st = KE_OK;

    KE_TRY(ke__stack_begin(cx, stack));
    for (size_t i = 0; i < m->n && st == KE_OK; i++) {
        const ke__merged_tensor *t = &m->tensors[i];
        const ke__tensor *file = &stack->model->file.tensors[t->tensor];
        const ke__term term = {
            .kind = KE__TERM_REPLACE,
            .tensor = t->tensor,
            .scale = 1.0F,
            .dense = {.type = t->type,
                      .rows = file->rows,
                      .cols = file->cols,
                      .data = t->data},
        };
        st = ke__stack_term(cx, stack, &term);
    }
    if (st != KE_OK)
        ke_stack_pop(cx, stack);
done:
    return st;
}
