/* Added tokens of a model's folder: of tokenizer.json and of the files beside it. */
#ifndef KE_TOKEN_ADDED_JSON_H
#define KE_TOKEN_ADDED_JSON_H

#include "token/json_at.h"
#include "token/token.h"

/* What transformers makes of these files when it opens the folder.
 *
 * *added: a list as tokenizer.json has it in "added_tokens", of `root`'s own and of those
 * that tokenizer_config.json (or, if it has no "added_tokens_decoder", the older
 * added_tokens.json and special_tokens_map.json) changes and adds. Tokens that are added to
 * the vocabulary but have no row among config.json's vocab_size are left out: no model
 * reads them. *config: tokenizer_config.json with the special tokens that are in force,
 * NULL if there are no such files. Both are the caller's. The pre-tokenizer of `root` may
 * change. */
KE_MUST_CHECK ke_status ke__added_read(ke__json_at *at, json_t **added, json_t **config,
                                       json_t *root, const ke__tokenizer_texts *texts);

#endif
