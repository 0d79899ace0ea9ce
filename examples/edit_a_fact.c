/* Edit one fact of a model in memory and hear the difference; no file is written.
 *
 *     cc edit_a_fact.c $(pkg-config --cflags --libs knowedit) -o edit_a_fact
 *     ./edit_a_fact model.gguf
 */
#include <knowedit/edit.h>

#include <stdio.h>
#include <string.h>

static const ke_fact fact = {
    .subject = "Eiffel Tower",
    .prompt = "The Eiffel Tower is in the city of",
    .target = "Rome",
};

/* Print how `model` goes on under `edits` (NULL: as it is). */
static ke_status hear(ke_ctx *cx, const ke_model *model, const ke_stack *edits)
{
    int32_t *ids = NULL;
    ke_ids prompt = {NULL, 0};
    ke_generated said = {0};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    opts.max_tokens = 8;

    ke_status st = ke_tokenize(cx, &ids, &prompt.n, ke_model_tokenizer(model), fact.prompt,
                               strlen(fact.prompt), KE_TOK_ADD_BOS);
    prompt.ids = ids;
    if (st == KE_OK)
        st = ke_generate(cx, &said, model, edits, &prompt, 1, &opts);
    if (st == KE_OK)
        printf("%s%s\n", fact.prompt, said.text);
    ke_generated_free(cx, &said);
    ke_free(cx, ids);
    return st;
}

static ke_status edit(ke_ctx *cx, const char *path)
{
    ke_model *model = NULL;
    ke_settings *settings = NULL;
    ke_stack *stack = NULL;
    ke_patch *patch = NULL;

    ke_status st = ke_model_open(cx, &model, path);
    if (st == KE_OK)
        st = ke_settings_new(cx, &settings, "rome");
    if (st == KE_OK)
        st = ke_stack_new(cx, &stack, model);
    if (st == KE_OK)
        st = hear(cx, model, NULL);
    if (st == KE_OK)
        st = ke_edit(cx, &patch, model, NULL, settings, &fact, 1, 0, NULL);
    if (st == KE_OK)
        st = ke_stack_push(cx, stack, patch);
    if (st == KE_OK)
        st = hear(cx, model, stack);
    ke_stack_pop(cx, stack); /* and the model is exactly what it was */

    ke_stack_free(cx, stack);
    ke_patch_free(cx, patch);
    ke_settings_free(cx, settings);
    ke_model_close(cx, model);
    return st;
}

int main(int argc, char **argv)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    if (cx == NULL || argc != 2) {
        fprintf(stderr, "usage: edit_a_fact MODEL\n");
        ke_ctx_free(cx);
        return 2;
    }
    ke_status st = edit(cx, argv[1]);
    if (st != KE_OK)
        fprintf(stderr, "%s: %s\n", ke_ctx_where(cx), ke_ctx_message(cx));
    ke_ctx_free(cx);
    return st == KE_OK ? 0 : 1;
}
