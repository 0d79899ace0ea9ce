/* Members of a JSON file of a model's folder, and what is wrong with them: by file and
 * path. */
#ifndef KE_TOKEN_JSON_AT_H
#define KE_TOKEN_JSON_AT_H

#include "base/json.h"
#include "format/gguf.h"

typedef struct ke__json_at {
    ke_ctx *cx;
    const char *folder, *file; /* file: its name in the folder */
    char path[160];            /* "model.merges[3]" */
    size_t bytes;
} ke__json_at;

/* tokenizer_config.json says "no limit" by an integer of 31 digits, which jansson takes as
 * a real number only. */
#define KE__CONFIG_FLAGS JSON_DECODE_INT_AS_REAL

/* FOLDER/FILE, the caller's; {NULL, 0} if it is not there and need not be. */
KE_MUST_CHECK ke_status ke__folder_text(ke_ctx *cx, ke__gguf_str *out, const char *folder,
                                        const char *file, bool required);

/* Go into a member (item -1) or an item of an array; what it returns is for
 * ke__json_leave(). */
size_t ke__json_enter(ke__json_at *at, const char *member, ptrdiff_t item);
void ke__json_leave(ke__json_at *at, size_t bytes);

/* "FILE: PATH ...", in FOLDER/FILE. */
ke_status ke__json_bad(const ke__json_at *at, ke_status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The root object of a text; the caller's. `flags` are jansson's, besides ours. */
KE_MUST_CHECK ke_status ke__json_root(ke__json_at *at, json_t **out, const char *text,
                                      size_t bytes, size_t flags);
/* Members that may be absent or null: then NULL, {NULL, 0}, `fallback`. Another type is
 * KE_EFORMAT. */
KE_MUST_CHECK ke_status ke__json_object_in(ke__json_at *at, const json_t *object,
                                           const char *name, json_t **out);
KE_MUST_CHECK ke_status ke__json_array_in(ke__json_at *at, const json_t *object,
                                          const char *name, json_t **out);
KE_MUST_CHECK ke_status ke__json_string_in(ke__json_at *at, const json_t *object,
                                           const char *name, const char **out,
                                           size_t *bytes);
KE_MUST_CHECK ke_status ke__json_bool_in(ke__json_at *at, const json_t *object,
                                         const char *name, bool fallback, bool *out);
/* -1 if absent; 0 <= *out < limit. */
KE_MUST_CHECK ke_status ke__json_id_in(ke__json_at *at, const json_t *object,
                                       const char *name, int32_t limit, int32_t *out);

#endif
