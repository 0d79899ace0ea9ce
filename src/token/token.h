/* The tokenizer inside: what ke_tokenize() has, plus the byte spans that the lookup
 * position of an edit needs. */
#ifndef KE_TOKEN_TOKEN_H
#define KE_TOKEN_TOKEN_H

#include "format/gguf.h"
#include "knowedit/model.h"

/* From the metadata of a GGUF file, which must outlive it. KE_ENOTSUP names an unknown
 * tokenizer.ggml.model or .pre. */
KE_MUST_CHECK ke_status ke__tokenizer_from_gguf(ke_ctx *cx, ke_tokenizer **out,
                                                const ke__gguf *g);
/* From FOLDER/tokenizer.json, with BOS and EOS as tokenizer_config.json, config.json and
 * generation_config.json beside it say, where they are there. Nothing of the files is
 * needed after that. KE_ENOTSUP names a part that is not known, KE_EFORMAT one that is
 * wrong. */
KE_MUST_CHECK ke_status ke__tokenizer_from_json(ke_ctx *cx, ke_tokenizer **out,
                                                const char *folder);
/* The same of the texts themselves; those but the first may be {NULL, 0}. */
typedef struct ke__tokenizer_texts {
    const char *folder; /* for messages */
    ke__gguf_str tokenizer, tokenizer_config, config, generation_config, special_tokens_map,
        added_tokens;
} ke__tokenizer_texts;
KE_MUST_CHECK ke_status ke__tokenizer_parse_json(ke_ctx *cx, ke_tokenizer **out,
                                                 const ke__tokenizer_texts *texts);
void ke__tokenizer_free(ke_ctx *cx, ke_tokenizer *tok);

size_t ke__tokenizer_size(const ke_tokenizer *tok);
/* "gpt2 (smollm)", "llama (SentencePiece)" */
const char *ke__tokenizer_name(const ke_tokenizer *tok);

/* From now on KE_TOK_ADD_BOS adds nothing; and whether that was asked for. */
void ke__tokenizer_drop_bos(ke_tokenizer *tok);
bool ke__tokenizer_bos_dropped(const ke_tokenizer *tok);

/* Whether a text has it only where special tokens are parsed, or it was added whole. */
bool ke__token_is_special(const ke_tokenizer *tok, int32_t id);
/* As ke_tokenize(), and ends[i] = the byte of `text` where token i ends (BOS: 0), so token
 * i covers [ends[i-1], ends[i]): nothing, if it is only the space that SentencePiece puts
 * before a text. Caller frees both; `ends` may be NULL. */
KE_MUST_CHECK ke_status ke__tokenize_spans(ke_ctx *cx, int32_t **ids, size_t **ends,
                                           size_t *n_ids, const ke_tokenizer *tok,
                                           const char *text, size_t bytes, unsigned flags);
/* The bytes of one token (special tokens: their text); not NUL-terminated. */
KE_MUST_CHECK ke_status ke__token_bytes(ke_ctx *cx, const ke_tokenizer *tok, int32_t id,
                                        const char **data, size_t *bytes);

/* The layout of the family `name` or, where that is NULL, of the one recognised in the
 * template's text; the text (NULL: none) also has the system message. `eos`: the text of
 * EOS, or NULL. KE_ENOTSUP: of no known family; KE_EINVAL: there is none of that name. */
KE_MUST_CHECK ke_status ke__chat_new(ke_ctx *cx, ke_chat **out, const char *template_text,
                                     const char *eos, const char *name);
/* The family recognised in a template's text, or NULL. */
const char *ke__chat_family(const char *template_text);
/* The message as `chat` (NULL: none) lays it out; its byte k, where it is not trimmed, is
 * at *at + k (modulo SIZE_MAX + 1). */
KE_MUST_CHECK ke_status ke__chat_lay_out(ke_ctx *cx, char **out, size_t *at,
                                         const ke_chat *chat, const char *message);
/* Whether a blank goes before an answer that has none. */
static inline bool ke__chat_blank(const ke_chat *chat)
{
    return !chat || chat->blank;
}
/* A target as it follows: without blanks before it where none goes there. */
const char *ke__chat_target(const ke_chat *chat, const char *target);
/* How a prompt that `chat` (NULL: none) has laid out is tokenised. */
static inline unsigned ke__chat_flags(const ke_chat *chat)
{
    return KE_TOK_ADD_BOS | (chat ? KE_TOK_PARSE_SPECIAL : 0U);
}
/* The text of the template in FOLDER/chat_template.jinja or, failing that, of the default
 * one in FOLDER/tokenizer_config.json; NULL if neither is there. Caller frees. */
KE_MUST_CHECK ke_status ke__chat_template_from_json(ke_ctx *cx, char **out,
                                                    const char *folder);

#endif
