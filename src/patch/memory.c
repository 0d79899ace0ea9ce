/* A part that changes what is fed: a fact that is told before every prompt. */
#include "base/utf8.h"
#include "patch/kinds.h"

#include <string.h>

/* What begins the text in each style. Names are in files: permanent. */
static const struct {
    const char *style, *lead;
} styles[] = {
    {"ice", ""},
    {"prompt", "Please acknowledge the following new facts and use them to answer the "
               "question:\n"},
};

/* NULL if no style has this name. */
static const char *lead_of(const char *style)
{
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++)
        if (strcmp(styles[i].style, style) == 0)
            return styles[i].lead;
    return NULL;
}

ke_status ke__patch_add_memory(ke_ctx *cx, ke_patch *p, const char *style, const char *fact)
{
    ke_status st = KE_OK;
    size_t bytes = strlen(fact);
    const ke__part view = {
        .kind = KE__PART_MEMORY,
        .style = (char *)style, /* copied from, not written */
        .fact = (char *)fact,
    };

    if (!lead_of(style)) {
        st = ke__fail(cx, KE_EINVAL, "style", "no style \"%.40s\", expected ice or prompt",
                      style);
        goto done;
    }
    if (bytes == 0 || ke__utf8_prefix(fact, bytes) < bytes) {
        st = ke__fail(cx, KE_EINVAL, "fact",
                      "a fact to be told: expected UTF-8, byte %zu of %zu is not",
                      ke__utf8_prefix(fact, bytes), bytes);
        goto done;
    }
    KE_TRY(ke__patch_add_copies(cx, p, &view, 1));
done:
    return st;
}

static ke_status apply(ke_ctx *cx, ke_stack *stack, const ke__part *part, uint32_t tensor)
{
    (void)tensor;
    return ke__stack_memory(cx, stack, &(ke__memory){lead_of(part->style), part->fact});
}

static ke_status describe(ke_ctx *cx, json_t *entry, const ke__part *part)
{
    ke_status st = KE_OK;

    KE_TRY(ke__json_put(cx, entry, "style", json_string(part->style)));
    KE_TRY(ke__json_put(cx, entry, "fact", json_string(part->fact)));
done:
    return st;
}

static ke_status load(ke_ctx *cx, ke__part *part, ke__source *src, const json_t *entry)
{
    ke_status st = KE_OK;
    const char *style = json_string_value(json_object_get(entry, "style"));
    const char *fact = json_string_value(json_object_get(entry, "fact"));

    if (!style || !lead_of(style) || !fact || !*fact) {
        st = ke__fail(cx, KE_EFORMAT, src->path,
                      "a memory part: expected a \"fact\" and the \"style\" ice or prompt");
        goto done;
    }
    KE_TRY(ke__strdup(cx, &part->style, style));
    KE_TRY(ke__strdup(cx, &part->fact, fact));
done:
    return st;
}

static ke_status copy(ke_ctx *cx, ke__part *out, const ke__part *part)
{
    ke_status st = KE_OK;

    KE_TRY(ke__strdup(cx, &out->style, part->style));
    KE_TRY(ke__strdup(cx, &out->fact, part->fact));
done:
    return st;
}

static void free_texts(ke_ctx *cx, ke__part *part)
{
    ke__free(cx, part->style);
    ke__free(cx, part->fact);
}

const ke__kind ke__kind_memory = {
    .name = "memory",
    .no_tensor = true,
    .apply = apply,
    .describe = describe,
    .load = load,
    .copy = copy,
    .free = free_texts,
};
