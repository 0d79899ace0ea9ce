/* Where the reference's word rules end a sentence: NLTK's Punkt with the English model. */
#ifndef KE_EVAL_SENTENCES_H
#define KE_EVAL_SENTENCES_H

#include <stdbool.h>
#include <stddef.h>

/* A walk over valid UTF-8. */
typedef struct ke__sentences {
    const char *text;
    size_t bytes, at, run; /* the next sentence; the next word to look at */
} ke__sentences;
ke__sentences ke__sentences_begin(const char *text, size_t bytes);
/* The next sentence is text[*begin, *end), which may be empty; false past the last. */
bool ke__sentences_next(ke__sentences *s, size_t *begin, size_t *end);

#endif
