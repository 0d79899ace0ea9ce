/* The chat template of a model's folder: a file of its own, or in tokenizer_config.json. */
#include "token/json_at.h"
#include "token/token.h"

#include <string.h>

/* A text, or the one called "default" of a list of {"name": ..., "template": ...}. */
static ke_status read_chat(ke_ctx *cx, char **out, ke__json_at *at, const json_t *config)
{
    json_t *item, *found = json_object_get(config, "chat_template");
    if (json_is_array(found)) {
        json_t *list = found;
        size_t i;
        found = NULL;
        json_array_foreach(list, i, item)
        {
            const char *name = json_string_value(json_object_get(item, "name"));
            if (name && strcmp(name, "default") == 0)
                found = json_object_get(item, "template");
        }
    }
    if (!found || json_is_null(found))
        return KE_OK;
    if (!json_is_string(found))
        return ke__json_bad(
            at, KE_EFORMAT,
            "chat_template is neither a text nor a list of {name, template}");
    return ke__strdup(cx, out, json_string_value(found));
}

ke_status ke__chat_template_from_json(ke_ctx *cx, char **out, const char *folder)
{
    static const char config[] = "tokenizer_config.json";
    ke_status st = KE_OK;
    ke__json_at at = {.cx = cx, .folder = folder, .file = config};
    json_t *root = NULL;
    ke__gguf_str text = {NULL, 0};
    *out = NULL;
    KE_TRY(ke__folder_text(cx, &text, folder, "chat_template.jinja", false));
    if (text.data) {
        KE_TRY(ke__strdup(cx, out, text.data));
        goto done;
    }
    KE_TRY(ke__folder_text(cx, &text, folder, config, false));
    if (text.data) {
        KE_TRY(ke__json_root(&at, &root, text.data, text.bytes, KE__CONFIG_FLAGS));
        KE_TRY(read_chat(cx, out, &at, root));
    }
done:
    json_decref(root);
    ke__free(cx, (char *)text.data);
    return st;
}
