/* The patch as a value: its parts, its description, and its place on a stack. */
#include "patch/kinds.h"

#include <string.h>

ke_status ke__patch_new(ke_ctx *cx, ke_patch **out)
{
    ke_status st = KE_OK;
    ke_patch *p = NULL;

    *out = NULL;
    KE_TRY(ke__alloc(cx, &p, 1, sizeof *p));
    KE_TRY(ke__patch_set_meta(cx, p, "{}"));
    *out = p;
    p = NULL;
done:
    ke_patch_free(cx, p);
    return st;
}

void ke_patch_free(ke_ctx *cx, ke_patch *patch)
{
    if (!patch)
        return;
    for (size_t i = 0; i < patch->n_parts; i++)
        ke__part_free(cx, &patch->parts[i]);
    ke__free(cx, patch->parts);
    ke__free(cx, patch->meta);
    ke__recipe_free(cx, &patch->undo);
    ke__free(cx, patch->description);
    ke__free(cx, patch);
}

const char *ke_patch_describe(const ke_patch *patch)
{
    return patch->description;
}

/* --- description ------------------------------------------------------------------- */

ke_status ke__part_entry(ke_ctx *cx, json_t **out, const ke__part *part)
{
    ke_status st = KE_OK;
    const ke__kind *kind = ke__kind_of(part->kind);
    json_t *entry = json_object();

    *out = NULL;
    KE_TRY(ke__json_put(cx, entry, "kind", json_string(kind->name)));
    if (!kind->no_tensor) {
        KE_TRY(ke__json_put(cx, entry, "tensor", json_string(part->tensor)));
        KE_TRY(ke__json_put(cx, entry, "rows", json_integer((json_int_t)part->rows)));
        KE_TRY(ke__json_put(cx, entry, "cols", json_integer((json_int_t)part->cols)));
    }
    if (kind->describe)
        KE_TRY(kind->describe(cx, entry, part));
    *out = entry;
    entry = NULL;
done:
    json_decref(entry);
    return st;
}

/* The description of `p` if its meta object were `meta`. */
static ke_status build_description(ke_ctx *cx, char **out, const ke_patch *p,
                                   const char *meta)
{
    ke_status st = KE_OK;
    json_error_t error;
    json_t *entry = NULL, *list = json_array();
    json_t *object = json_loads(meta, JSON_REJECT_DUPLICATES, &error);

    *out = NULL;
    if (!json_is_object(object)) {
        st = ke__fail(cx, KE_EINVAL, "meta", "expected one JSON object: %s",
                      object ? "it is an array" : error.text);
        goto done;
    }
    for (size_t i = 0; i < p->n_parts; i++) {
        KE_TRY(ke__part_entry(cx, &entry, &p->parts[i]));
        if (json_array_append_new(list, entry) != 0) {
            st = ke__fail(cx, KE_ENOMEM, NULL, "no memory for JSON");
            goto done;
        }
    }
    KE_TRY(ke__json_put(cx, object, "parts", json_incref(list)));
    KE_TRY(ke__json_text(cx, out, object, 17));
done:
    json_decref(list);
    json_decref(object);
    return st;
}

ke_status ke__patch_set_meta(ke_ctx *cx, ke_patch *p, const char *json)
{
    ke_status st = KE_OK;
    char *meta = NULL, *description = NULL;

    KE_TRY(build_description(cx, &description, p, json));
    KE_TRY(ke__strdup(cx, &meta, json));
    ke__free(cx, p->description);
    ke__free(cx, p->meta);
    p->description = description;
    p->meta = meta;
    description = NULL;
done:
    ke__free(cx, description);
    return st;
}

/* --- parts ------------------------------------------------------------------------- */

void ke__part_free(ke_ctx *cx, ke__part *part)
{
    ke__kind_of(part->kind)->free(cx, part);
    ke__free(cx, part->tensor);
}

ke_status ke__patch_next_part(ke_ctx *cx, ke_patch *p, ke__part **out)
{
    ke_status st = KE_OK;

    if (p->n_parts == p->parts_room) {
        size_t room = p->parts_room ? 2 * p->parts_room : 4;
        KE_TRY(ke__resize(cx, &p->parts, room, sizeof *p->parts));
        p->parts_room = room;
    }
    *out = &p->parts[p->n_parts];
    memset(*out, 0, sizeof **out);
done:
    return st;
}

static ke_status append_copy(ke_ctx *cx, ke_patch *p, const ke__part *part)
{
    ke_status st = KE_OK;
    ke__part *copy = NULL;

    KE_TRY(ke__patch_next_part(cx, p, &copy));
    p->n_parts++; /* from here on a failure frees it with the others */
    copy->kind = part->kind;
    copy->rows = part->rows;
    copy->cols = part->cols;
    if (part->tensor)
        KE_TRY(ke__strdup(cx, &copy->tensor, part->tensor));
    KE_TRY(ke__kind_of(part->kind)->copy(cx, copy, part));
done:
    return st;
}

ke_status ke__patch_add_copies(ke_ctx *cx, ke_patch *p, const ke__part *parts, size_t n)
{
    ke_status st = KE_OK;
    size_t n_before = p->n_parts;
    char *description = NULL;

    for (size_t i = 0; i < n; i++)
        KE_TRY(append_copy(cx, p, &parts[i]));
    KE_TRY(build_description(cx, &description, p, p->meta));
    ke__free(cx, p->description);
    p->description = description;
done:
    while (st != KE_OK && p->n_parts > n_before)
        ke__part_free(cx, &p->parts[--p->n_parts]);
    return st;
}

ke_status ke__patch_join(ke_ctx *cx, ke_patch *p, const ke_patch *other)
{
    return ke__patch_add_copies(cx, p, other->parts, other->n_parts);
}

/* --- stack ------------------------------------------------------------------------- */

static ke_status apply_part(ke_ctx *cx, ke_stack *stack, const ke__part *part)
{
    const ke__gguf *file = &stack->model->file;
    const ke__kind *kind = ke__kind_of(part->kind);
    ptrdiff_t at = kind->no_tensor ? 0 : ke__gguf_tensor(file, part->tensor);

    if (kind->no_tensor)
        return kind->apply(cx, stack, part, 0);
    if (at < 0)
        return ke__fail(cx, KE_EMISMATCH, part->tensor,
                        "the patch changes a tensor that the model lacks");
    const ke__tensor *t = &file->tensors[at];
    if (t->rows != part->rows || t->cols != part->cols)
        return ke__fail(
            cx, KE_EMISMATCH, part->tensor,
            "the patch changes a matrix of %llu x %llu, the model's is %llu x %llu",
            (unsigned long long)part->rows, (unsigned long long)part->cols,
            (unsigned long long)t->rows, (unsigned long long)t->cols);
    return kind->apply(cx, stack, part, (uint32_t)at);
}

ke_status ke_stack_push(ke_ctx *cx, ke_stack *stack, const ke_patch *patch)
{
    ke_status st = KE_OK;

    KE_TRY(ke__stack_begin(cx, stack));
    for (size_t i = 0; i < patch->n_parts && st == KE_OK; i++)
        st = apply_part(cx, stack, &patch->parts[i]);
    if (st != KE_OK)
        ke_stack_pop(cx, stack);
done:
    return st;
}
