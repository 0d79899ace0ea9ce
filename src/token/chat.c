/* Chat templates. The files carry Jinja programs; the families they come from are few, so a
 * family is recognised by what only its templates contain, and laid out here. BOS is the
 * tokenizer's business. */
#include "token/token.h"

#include <ctype.h>
#include <string.h>

typedef struct family {
    const char *name;
    const char *mark, *also;         /* its templates contain these; `also` may be NULL */
    const char *system, *system_end; /* around a system message; NULL: never written */
    const char *user, *answer;       /* around the user's message */
    bool trim;                       /* white space around the message goes */
} family;

/* The first that fits. Mistral's tokenizers differ in the spaces around [INST], which its
 * templates write out. */
static const family families[] = {
    {"ChatML", "<|im_start|>", NULL, "<|im_start|>system\n", "<|im_end|>\n",
     "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", false},
    {"Llama 3", "<|start_header_id|>", NULL,
     "<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>",
     "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", true},
    {"Gemma", "<start_of_turn>", NULL, NULL, NULL, "<start_of_turn>user\n",
     "<end_of_turn>\n<start_of_turn>model\n", true},
    {"Llama 2", "[INST]", "<<SYS>>", NULL, NULL, "[INST] ", " [/INST]", true},
    {"Mistral", "[INST]", " [/INST]", NULL, NULL, "[INST] ", " [/INST]", false},
    {"Mistral", "[INST]", "[INST] ", NULL, NULL, "[INST] ", "[/INST]", false},
    {"Mistral", "[INST]", NULL, NULL, NULL, "[INST]", "[/INST]", false},
    {"Phi-3", "<|user|>", "<|end|>", "<|system|>\n", "<|end|>\n", "<|user|>\n",
     "<|end|>\n<|assistant|>\n", false},
    {"Zephyr", "<|user|>", NULL, "<|system|>\n", "</s>\n", "<|user|>\n",
     "</s>\n<|assistant|>\n", false},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static const family *recognise(const char *template_text)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        if (strstr(template_text, f->mark) && (!f->also || strstr(template_text, f->also)))
            return f;
    }
    return NULL;
}

static ke_status unknown_family(ke_ctx *cx)
{
    ke_status st = KE_OK;
    ke__text known = {NULL, 0, 0};
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (i == 0 || strcmp(families[i].name, families[i - 1].name) != 0)
            KE_TRY(ke__text_addf(cx, &known, "%s%s", i ? ", " : "", families[i].name));
    st = ke__fail(cx, KE_ENOTSUP, "tokenizer.chat_template",
                  "the chat template is of no known family; known are %s", known.data);
done:
    ke__free(cx, known.data);
    return st;
}

/* --- the system message that a template writes when there is none ------------------ */

typedef struct reader {
    const char *at;
    char close; /* the second-last character of "}}", "%}" or "#}" to come; 0: outside */
} reader;

/* A quoted string, from after its opening quote to after its closing one. */
static ke_status read_quoted(ke_ctx *cx, ke__text *out, reader *r, char quote)
{
    ke_status st = KE_OK;
    while (*r->at && *r->at != quote) {
        char c = *r->at++;
        if (c == '\\' && *r->at) {
            c = *r->at++;
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        KE_TRY(ke__text_add(cx, out, &c, 1));
    }
    r->at += *r->at != '\0';
done:
    return st;
}

/* The next literal of a template into `out`: text outside of tags, or a string in one.
 * *more becomes false at the end. */
static ke_status next_literal(ke_ctx *cx, ke__text *out, reader *r, bool *more)
{
    out->bytes = 0;
    while (*r->at) {
        char c = *r->at;
        if (r->close == 0) {
            const char *from = r->at;
            while (*r->at && !(r->at[0] == '{' && r->at[1] && strchr("{%#", r->at[1])))
                r->at++;
            size_t bytes = (size_t)(r->at - from);
            if (*r->at) {
                r->close = r->at[1] == '{' ? '}' : r->at[1];
                r->at += 2;
            }
            if (bytes > 0)
                return ke__text_add(cx, out, from, bytes);
        } else if (c == r->close && r->at[1] == '}') {
            r->close = 0;
            r->at += 2;
        } else {
            r->at++;
            if (r->close != '#' && (c == '\'' || c == '"'))
                return read_quoted(cx, out, r, c);
        }
    }
    *more = false;
    return KE_OK;
}

/* Append the family's system part to `out`, if a literal of the template has one whole. */
static ke_status add_system(ke_ctx *cx, ke__text *out, const family *f,
                            const char *template_text)
{
    ke_status st = KE_OK;
    ke__text literal = {NULL, 0, 0};
    reader r = {template_text, 0};
    bool more = f->system != NULL;
    while (more) {
        KE_TRY(next_literal(cx, &literal, &r, &more));
        if (literal.bytes == 0)
            continue;
        const char *from = strstr(literal.data, f->system);
        if (!from)
            continue;
        from += strlen(f->system);
        const char *to =
            memmem(from, strlen(from), f->system_end, strcspn(f->system_end, "\n"));
        if (!to || to == from)
            continue;
        KE_TRY(ke__text_addf(cx, out, "%s%.*s%s", f->system, (int)(to - from), from,
                             f->system_end));
        break;
    }
done:
    ke__free(cx, literal.data);
    return st;
}

ke_status ke__chat_format(ke_ctx *cx, char **out, const char *template_text,
                          const char *message)
{
    ke_status st = KE_OK;
    ke__text text = {NULL, 0, 0};
    size_t bytes = strlen(message);
    *out = NULL;
    const family *f = recognise(template_text);
    if (!f)
        return unknown_family(cx);

    while (f->trim && bytes > 0 && isspace((unsigned char)message[0])) {
        message++;
        bytes--;
    }
    while (f->trim && bytes > 0 && isspace((unsigned char)message[bytes - 1]))
        bytes--;
    KE_TRY(add_system(cx, &text, f, template_text));
    KE_TRY(ke__text_add(cx, &text, f->user, strlen(f->user)));
    KE_TRY(ke__text_add(cx, &text, message, bytes));
    KE_TRY(ke__text_add(cx, &text, f->answer, strlen(f->answer)));
    *out = text.data;
    text.data = NULL;
done:
    ke__free(cx, text.data);
    return st;
}
