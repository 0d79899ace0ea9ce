/* Characters as tokenizer.json classes them, in texts that need not be valid UTF-8. */
#ifndef KE_TOKEN_CHARACTER_H
#define KE_TOKEN_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of white space (Unicode's White_Space) that a text begins and ends with. */
size_t ke__spaces_at_start(const char *text, size_t bytes);
size_t ke__spaces_at_end(const char *text, size_t bytes);
/* Whether it begins, ends with a character of a word (UTS #18's \w). */
bool ke__word_at_start(const char *text, size_t bytes);
bool ke__word_at_end(const char *text, size_t bytes);

#endif
