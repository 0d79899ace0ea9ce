/* Chat templates. The files carry Jinja programs; the families they come from are few, so a
 * family is recognised by what only its templates contain, and laid out here. BOS is the
 * tokenizer's business. */
#include "token/token.h"

#include <ctype.h>
#include <string.h>

typedef struct family {
    const char *name;
    const char *mark, *also; /* its templates contain these; `also` may be NULL */
    const char *near;        /* and this, between a mark and the end of its tag; or NULL */
    const char *begin;       /* before everything, or NULL */
    /* Around a system message; NULL: never written. `said` is one that the template puts
     * together, else it is looked for in the template. */
    const char *system, *system_end, *said;
    const char *user, *answer; /* around the user's message */
    bool trim;                 /* white space around the message goes */
    bool eos;                  /* the model's EOS ends the message, before `answer` */
} family;

#define BAR           "\xEF\xBD\x9C" /* a full-width | */
#define LLAMA3_SYSTEM "<|start_header_id|>system<|end_header_id|>\n\n"
#define LLAMA3_USER   "<|start_header_id|>user<|end_header_id|>\n\n"
#define LLAMA3_ANSWER "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"

/* The first that fits. Mistral's tokenizers differ in the spaces around [INST], which its
 * templates write out. The date of Llama 3.1 is the one that its template falls back to:
 * today's would make every run another one. */
static const family families[] = {
    {.name = "Phi-4",
     .mark = "<|im_sep|>",
     .system = "<|im_start|>system<|im_sep|>",
     .system_end = "<|im_end|>",
     .user = "<|im_start|>user<|im_sep|>",
     .answer = "<|im_end|><|im_start|>assistant<|im_sep|>"},
    {.name = "ChatML",
     .mark = "<|im_start|>",
     .system = "<|im_start|>system\n",
     .system_end = "<|im_end|>\n",
     .user = "<|im_start|>user\n",
     .answer = "<|im_end|>\n<|im_start|>assistant\n"},
    {.name = "Kimi",
     .mark = "<|im_middle|>",
     .system = "<|im_system|>system<|im_middle|>",
     .system_end = "<|im_end|>",
     .user = "<|im_user|>user<|im_middle|>",
     .answer = "<|im_end|><|im_assistant|>assistant<|im_middle|>"},
    {.name = "Llama 3.1",
     .mark = "<|start_header_id|>",
     .also = "Today Date: ",
     .system = LLAMA3_SYSTEM,
     .system_end = "<|eot_id|>",
     .said = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
     .user = LLAMA3_USER,
     .answer = LLAMA3_ANSWER,
     .trim = true},
    {.name = "Llama 3",
     .mark = "<|start_header_id|>",
     .system = LLAMA3_SYSTEM,
     .system_end = "<|eot_id|>",
     .user = LLAMA3_USER,
     .answer = LLAMA3_ANSWER,
     .trim = true},
    {.name = "Gemma",
     .mark = "<start_of_turn>",
     .user = "<start_of_turn>user\n",
     .answer = "<end_of_turn>\n<start_of_turn>model\n",
     .trim = true},
    {.name = "Llama 2",
     .mark = "[INST]",
     .also = "<<SYS>>",
     .user = "[INST] ",
     .answer = " [/INST]",
     .trim = true},
    {.name = "Mistral",
     .mark = "[INST]",
     .also = " [/INST]",
     .user = "[INST] ",
     .answer = " [/INST]"},
    {.name = "Mistral",
     .mark = "[INST]",
     .also = "[INST] ",
     .user = "[INST] ",
     .answer = "[/INST]"},
    {.name = "Mistral", .mark = "[INST]", .user = "[INST]", .answer = "[/INST]"},
    {.name = "GLM",
     .mark = "[gMASK]<sop>",
     .begin = "[gMASK]<sop>",
     .user = "<|user|>\n",
     .answer = "<|assistant|>"},
    {.name = "Phi-3",
     .mark = "<|user|>",
     .also = "<|end|>",
     .system = "<|system|>\n",
     .system_end = "<|end|>\n",
     .user = "<|user|>\n",
     .answer = "<|end|>\n<|assistant|>\n"},
    {.name = "Zephyr",
     .mark = "<|user|>",
     .near = "eos_token",
     .user = "<|user|>\n",
     .answer = "\n<|assistant|>\n",
     .eos = true},
    {.name = "Tulu",
     .mark = "<|user|>",
     .near = "content",
     .user = "<|user|>\n",
     .answer = "\n<|assistant|>\n"},
    {.name = "Granite",
     .mark = "<|start_of_role|>",
     .system = "<|start_of_role|>system<|end_of_role|>",
     .system_end = "<|end_of_text|>\n",
     .user = "<|start_of_role|>user<|end_of_role|>",
     .answer = "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>"},
    {.name = "DeepSeek",
     .mark = "<" BAR "User" BAR ">",
     .user = "<" BAR "User" BAR ">",
     .answer = "<" BAR "Assistant" BAR ">"},
    {.name = "Command R",
     .mark = "<|START_OF_TURN_TOKEN|>",
     .user = "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
     .answer = "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
     .trim = true},
    {.name = "OpenChat",
     .mark = "GPT4 Correct ",
     .user = "GPT4 Correct User: ",
     .answer = "<|end_of_turn|>GPT4 Correct Assistant:"},
    {.name = "Vicuna",
     .mark = "USER: ",
     .also = "ASSISTANT:",
     .user = "USER: ",
     .answer = "\nASSISTANT:",
     .trim = true},
    {.name = "Alpaca",
     .mark = "### Instruction:",
     .also = "### Response:",
     .near = "\\n\\n",
     .user = "### Instruction:\n",
     .answer = "\n\n### Response:\n",
     .trim = true},
};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

/* Whether `near` follows a place of the mark before its tag ends. Of the marks before one
 * end the first has all that follows the others. */
static bool is_near(const family *f, const char *template_text)
{
    const char *end = template_text;
    for (const char *at = strstr(end, f->mark); at; at = strstr(end, f->mark)) {
        end = strstr(at, "}}");
        if (!end)
            return false;
        if (memmem(at, (size_t)(end - at), f->near, strlen(f->near)))
            return true;
    }
    return false;
}

static bool fits(const family *f, const char *template_text)
{
    return strstr(template_text, f->mark) && (!f->also || strstr(template_text, f->also)) &&
           (!f->near || is_near(f, template_text));
}

static const family *recognise(const char *template_text)
{
    for (size_t i = 0; template_text && i < N_FAMILIES; i++)
        if (fits(&families[i], template_text))
            return &families[i];
    return NULL;
}

/* Names are compared by letters and digits: "llama-3", "Llama3" and "Llama 3" are one. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a && !isalnum((unsigned char)*a))
            a++;
        while (*b && !isalnum((unsigned char)*b))
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (*a == '\0')
            return true;
    }
}

/* The row of that name that fits the template or, failing that, the first. */
static const family *named(const char *name, const char *template_text)
{
    const family *found = NULL;
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const family *f = &families[i];
        if (!same_name(f->name, name))
            continue;
        if (template_text && fits(f, template_text))
            return f;
        found = found ? found : f;
    }
    return found;
}

static ke_status unknown_family(ke_ctx *cx, const char *name)
{
    ke_status st = KE_OK;
    ke__text known = {NULL, 0, 0};
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (i == 0 || strcmp(families[i].name, families[i - 1].name) != 0)
            KE_TRY(ke__text_addf(cx, &known, "%s%s", i ? ", " : "", families[i].name));
    st = name ? ke__fail(cx, KE_EINVAL, "template",
                         "no family of chat templates is called \"%.40s\"; known are %s",
                         name, known.data)
              : ke__fail(cx, KE_ENOTSUP, "tokenizer.chat_template",
                         "the chat template is of no known family; known are %s",
                         known.data);
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
    bool more = f->system != NULL && template_text != NULL;
    if (f->said)
        return ke__text_addf(cx, out, "%s%s%s", f->system, f->said, f->system_end);
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

/* --- a layout --------------------------------------------------------------------------
 */

ke_status ke__chat_new(ke_ctx *cx, ke_chat **out, const char *template_text,
                       const char *eos, const char *name)
{
    ke_status st = KE_OK;
    ke__text head = {NULL, 0, 0};
    ke_chat *chat = NULL;
    const family *f = name ? named(name, template_text) : recognise(template_text);
    *out = NULL;
    if (!f)
        return unknown_family(cx, name);

    KE_TRY(ke__alloc(cx, &chat, 1, sizeof *chat));
    *chat = (ke_chat){.family = f->name, .trim = f->trim};
    chat->blank = !strchr("\n>", f->answer[strlen(f->answer) - 1]);
    KE_TRY(ke__text_addf(cx, &head, "%s", f->begin ? f->begin : ""));
    KE_TRY(add_system(cx, &head, f, template_text));
    KE_TRY(ke__text_addf(cx, &head, "%s", f->user));
    chat->head = head.data;
    head.data = NULL;
    KE_TRY(ke__format(cx, &chat->tail, "%s%s", f->eos && eos ? eos : "", f->answer));
    *out = chat;
    chat = NULL;
done:
    ke__free(cx, head.data);
    ke_chat_free(cx, chat);
    return st;
}

const char *ke__chat_family(const char *template_text)
{
    const family *f = recognise(template_text);
    return f ? f->name : NULL;
}

void ke_chat_free(ke_ctx *cx, ke_chat *chat)
{
    if (!chat)
        return;
    ke__free(cx, chat->head);
    ke__free(cx, chat->tail);
    ke__free(cx, chat);
}

ke_status ke__chat_lay_out(ke_ctx *cx, char **out, size_t *at, const ke_chat *chat,
                           const char *message)
{
    size_t from = 0, to = strlen(message);
    *at = 0;
    if (!chat)
        return ke__strdup(cx, out, message);
    while (chat->trim && from < to && isspace((unsigned char)message[from]))
        from++;
    while (chat->trim && to > from && isspace((unsigned char)message[to - 1]))
        to--;
    *at = strlen(chat->head) - from; /* may wrap: what was trimmed has no place */
    return ke__format(cx, out, "%s%.*s%s", chat->head, (int)(to - from), message + from,
                      chat->tail);
}

const char *ke__chat_target(const ke_chat *chat, const char *target)
{
    while (chat && !chat->blank && isspace((unsigned char)*target))
        target++;
    return target;
}

ke_status ke_chat_format(ke_ctx *cx, char **text, const ke_chat *chat, const char *message)
{
    size_t at;
    *text = NULL;
    return ke__chat_lay_out(cx, text, &at, chat, message);
}
