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
void ke__tokenizer_free(ke_ctx *cx, ke_tokenizer *tok);

size_t ke__tokenizer_size(const ke_tokenizer *tok);
/* "gpt2 (smollm)", "llama (SentencePiece)" */
const char *ke__tokenizer_name(const ke_tokenizer *tok);

/* From now on KE_TOK_ADD_BOS adds nothing; and whether that was asked for. */
void ke__tokenizer_drop_bos(ke_tokenizer *tok);
bool ke__tokenizer_bos_dropped(const ke_tokenizer *tok);

/* As ke_tokenize(), and ends[i] = the byte of `text` where token i ends (BOS: 0), so token
 * i covers [ends[i-1], ends[i]): nothing, if it is only the space that SentencePiece puts
 * before a text. Caller frees both; `ends` may be NULL. */
KE_MUST_CHECK ke_status ke__tokenize_spans(ke_ctx *cx, int32_t **ids, size_t **ends,
                                           size_t *n_ids, const ke_tokenizer *tok,
                                           const char *text, size_t bytes, unsigned flags);
/* The bytes of one token (special tokens: their text); not NUL-terminated. */
KE_MUST_CHECK ke_status ke__token_bytes(ke_ctx *cx, const ke_tokenizer *tok, int32_t id,
                                        const char **data, size_t *bytes);

/* token/chat.c: lay `message` out by the family recognised in the template text. */
KE_MUST_CHECK ke_status ke__chat_format(ke_ctx *cx, char **out, const char *template_text,
                                        const char *message);

#endif
