#include "study/bench.h"

ke_status ke__pile_new(ke_ctx *cx, ke__pile *out, const ke_model *model)
{
    *out = (ke__pile){0};
    return ke_stack_new(cx, &out->stack, model);
}

void ke__pile_free(ke_ctx *cx, ke__pile *p)
{
    ke_stack_free(cx, p->stack);
    for (size_t i = 0; i < p->n; i++)
        ke_patch_free(cx, p->patches[i]);
    ke__free(cx, p->patches);
    ke__merged_free(cx, &p->folded);
    *p = (ke__pile){0};
}

/* Whether all of it is added to weights. */
static bool foldable(const ke_patch *patch)
{
    for (size_t i = 0; i < patch->n_parts; i++)
        if (patch->parts[i].kind != KE__PART_LOWRANK &&
            patch->parts[i].kind != KE__PART_DENSE)
            return false;
    return patch->n_parts > 0;
}

/* What is on the stack becomes one copy of each touched tensor; `patch`, its top, goes. */
static ke_status fold(ke_ctx *cx, ke__pile *p)
{
    ke_status st = KE_OK;
    ke__merged merged = {0};
    ke_stack *stack = NULL;

    KE_TRY(ke__merge(cx, &merged, p->stack->model, p->stack, ke__dtype_of(KE__F32)));
    KE_TRY(ke_stack_new(cx, &stack, p->stack->model));
    KE_TRY(ke__stack_push_merged(cx, stack, &merged));
    ke_stack_free(cx, p->stack);
    p->stack = stack;
    stack = NULL;
    ke__merged_free(cx, &p->folded);
    p->folded = merged;
    merged = (ke__merged){0};
done:
    ke_stack_free(cx, stack);
    ke__merged_free(cx, &merged);
    return st;
}

ke_status ke__pile_push(ke_ctx *cx, ke__pile *p, ke_patch *patch, bool fold_it)
{
    ke_status st = KE_OK;
    st = ke_stack_push(cx, p->stack, patch);
    if (st != KE_OK) {
        ke_patch_free(cx, patch);
        return st;
    }
    /* Once something else lies on the stack, the order has to be kept. */
    if (fold_it && p->n == 0 && foldable(patch)) {
        KE_TRY(fold(cx, p));
        goto done;
    }
    if (p->n == p->room) {
        size_t room = p->room ? 2 * p->room : 8;
        KE_TRY(ke__resize(cx, &p->patches, room, sizeof *p->patches));
        p->room = room;
    }
    p->patches[p->n++] = patch;
    return KE_OK;
done:
    if (st != KE_OK)
        ke_stack_pop(cx, p->stack);
    ke_patch_free(cx, patch);
    return st;
}
