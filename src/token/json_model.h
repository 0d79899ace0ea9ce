/* A tokenizer of tokenizer.json in memory, shared by what loads and what runs it. */
#ifndef KE_TOKEN_JSON_MODEL_H
#define KE_TOKEN_JSON_MODEL_H

#include "token/added.h"
#include "token/tokenizer.h"

typedef struct ke__json_model {
    ke__steps normalizer, pre_tokenizer;
    ke__added_set raw;    /* added tokens found in the text as it is, */
    ke__added_set normal; /* and in the normalised one */
    ke__text normal_text; /* the texts of the latter, normalised */
    ke__merges merges;
    bool ignore_merges;     /* a piece that is a token is that token */
    bool byte_fallback;     /* a character that is no token is one a byte, */
    int32_t byte_id[256];   /* or unknown if any of these is -1 */
    int32_t unknown;        /* -1: such a character is left out */
    bool fuse_unknown;      /* several in a row are one */
    char byte[256];         /* each of them, as pieces of one */
    char *strings, *pieces; /* what the vocabulary's texts, the tokens' bytes lie in */
} ke__json_model;

#endif
