/* A part that adds scale * U V to a matrix: what ROME and its kin compute. */
#include "patch/kinds.h"

#include <math.h>

ke_status ke__patch_add_lowrank(ke_ctx *cx, ke_patch *p, const char *tensor, uint64_t rows,
                                uint64_t cols, uint32_t rank, float scale, const float *u,
                                const float *v)
{
    ke_status st = KE_OK;
    const ke__part view = {
        .kind = KE__PART_LOWRANK,
        .tensor = (char *)tensor, /* copied from, not written */
        .rows = rows,
        .cols = cols,
        .rank = rank,
        .scale = scale,
        .u = (float *)u,
        .v = (float *)v,
    };

    KE_TRY(ke__check_f32(cx, tensor, "factor U", u, rows, rank));
    KE_TRY(ke__check_f32(cx, tensor, "factor V", v, rank, cols));
    if (!isfinite(scale)) {
        st = ke__fail(cx, KE_ENUMERIC, tensor, "scale of a low-rank part is not finite");
        goto done;
    }
    KE_TRY(ke__patch_add_copies(cx, p, &view, 1));
done:
    return st;
}

static ke_status apply(ke_ctx *cx, ke_stack *stack, const ke__part *part, uint32_t tensor)
{
    const ke__dtype_traits *f32 = ke__dtype_of(KE__F32);
    const ke__term term = {
        .kind = KE__TERM_LOWRANK,
        .tensor = tensor,
        .scale = part->scale,
        .u = {.type = f32, .rows = part->rows, .cols = part->rank, .data = part->u},
        .v = {.type = f32, .rows = part->rank, .cols = part->cols, .data = part->v},
    };

    return ke__stack_term(cx, stack, &term);
}

static ke_status describe(ke_ctx *cx, json_t *entry, const ke__part *part)
{
    ke_status st = KE_OK;

    KE_TRY(ke__json_put(cx, entry, "rank", json_integer(part->rank)));
    KE_TRY(ke__json_put(cx, entry, "scale", json_real((double)part->scale)));
done:
    return st;
}

static ke_status save(ke_ctx *cx, ke__payload *payload, json_t *entry, const ke__part *part)
{
    ke_status st = KE_OK;

    KE_TRY(ke__payload_add(cx, payload, entry, "u", part->u,
                           part->rows * part->rank * sizeof(float)));
    KE_TRY(ke__payload_add(cx, payload, entry, "v", part->v,
                           part->rank * part->cols * sizeof(float)));
done:
    return st;
}

static ke_status load(ke_ctx *cx, ke__part *part, ke__source *src, const json_t *entry)
{
    ke_status st = KE_OK;
    const json_t *scale = json_object_get(entry, "scale");
    uint64_t rank = 0;

    KE_TRY(ke__source_u64(cx, src, entry, "rank", 1, UINT32_MAX, &rank));
    part->rank = (uint32_t)rank;
    part->scale = (float)json_number_value(scale);
    if (!json_is_number(scale) || !isfinite(part->scale)) {
        st = ke__fail(cx, KE_EFORMAT, src->path,
                      "\"scale\" in the header: expected a number");
        goto done;
    }
    KE_TRY(ke__source_f32(cx, src, entry, "u", part->rows, rank, &part->u));
    KE_TRY(ke__source_f32(cx, src, entry, "v", rank, part->cols, &part->v));
done:
    return st;
}

static ke_status copy(ke_ctx *cx, ke__part *out, const ke__part *part)
{
    ke_status st = KE_OK;

    out->rank = part->rank;
    out->scale = part->scale;
    KE_TRY(ke__copy_f32(cx, &out->u, part->u, part->rows, part->rank));
    KE_TRY(ke__copy_f32(cx, &out->v, part->v, part->rank, part->cols));
done:
    return st;
}

static void free_arrays(ke_ctx *cx, ke__part *part)
{
    ke__free(cx, part->u);
    ke__free(cx, part->v);
}

const ke__kind ke__kind_lowrank = {
    .name = "lowrank",
    .apply = apply,
    .describe = describe,
    .save = save,
    .load = load,
    .copy = copy,
    .free = free_arrays,
};
