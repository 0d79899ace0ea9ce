/* tokenizer.json, the tokenizer of a safetensors folder. */
#include "token/tokenizer.h"

ke_status ke__tokenizer_parse_json(ke_ctx *cx, ke_tokenizer **out,
                                   const ke__tokenizer_texts *texts)
{
    *out = NULL;
    return ke__fail(cx, KE_ENOTSUP, texts->folder, "tokenizer.json is not read yet");
}

ke_status ke__tokenizer_from_json(ke_ctx *cx, ke_tokenizer **out, const char *folder)
{
    return ke__tokenizer_parse_json(cx, out, &(ke__tokenizer_texts){.folder = folder});
}

ke_status ke__chat_template_from_json(ke_ctx *cx, char **out, const char *folder)
{
    *out = NULL;
    return ke__fail(cx, KE_ENOTSUP, folder, "chat templates are not read yet");
}
