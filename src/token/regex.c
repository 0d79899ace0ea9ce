#include "token/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Of a pattern that a file brings: steps of one match beyond which it is refused, and
 * memory. Splitting a text takes a step or two a character; what takes more is exponential.
 */
enum { MAX_STEPS = 2000000, MAX_HEAP_KIB = 65536 };

struct ke__regex {
    pcre2_match_context *limits;
    pcre2_code *code;
};

static void *pcre_alloc(PCRE2_SIZE bytes, void *cx)
{
    void *ptr = NULL;
    return ke__alloc(cx, &ptr, bytes, 1) == KE_OK ? ptr : NULL;
}

static void pcre_free(void *ptr, void *cx)
{
    ke__free(cx, ptr);
}

static ke_status compile(ke_ctx *cx, pcre2_code **out, ke__gguf_str pattern, bool literal,
                         pcre2_compile_context *how)
{
    int error;
    size_t at;
    /* In the dialect of tokenizer.json, ^ and $ are those of a line. */
    uint32_t options =
        literal ? PCRE2_UTF | PCRE2_LITERAL
                : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    *out =
        pcre2_compile((PCRE2_SPTR)pattern.data, pattern.bytes, options, &error, &at, how);
    if (!*out) {
        PCRE2_UCHAR text[120];
        pcre2_get_error_message(error, text, sizeof text);
        return ke__fail(cx, error == PCRE2_ERROR_HEAP_FAILED ? KE_ENOMEM : KE_ENOTSUP, NULL,
                        "the pattern \"%.*s\" cannot be used: %s at %zu",
                        (int)(pattern.bytes < 60 ? pattern.bytes : 60), pattern.data,
                        (const char *)text, at);
    }
    /* Where code can't be generated the interpreter matches the same, only slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return KE_OK;
}

ke_status ke__regex_new(ke_ctx *cx, ke__regex **out, ke__gguf_str pattern, unsigned flags)
{
    ke_status st = KE_OK;
    ke__regex *re = NULL;
    pcre2_general_context *heap = NULL;
    pcre2_compile_context *how = NULL;
    *out = NULL;

    KE_TRY(ke__alloc(cx, &re, 1, sizeof *re));
    heap = pcre2_general_context_create(pcre_alloc, pcre_free, cx);
    how = heap ? pcre2_compile_context_create(heap) : NULL;
    re->limits = how ? pcre2_match_context_create(heap) : NULL;
    if (!re->limits) {
        st = KE_ENOMEM;
        goto done;
    }
    bool trusted = flags & KE__REGEX_TRUSTED;
    pcre2_set_match_limit(re->limits, trusted ? UINT32_MAX : MAX_STEPS);
    if (!trusted)
        pcre2_set_heap_limit(re->limits, MAX_HEAP_KIB);
    pcre2_set_newline(how, PCRE2_NEWLINE_LF);
    KE_TRY(compile(cx, &re->code, pattern, flags & KE__REGEX_LITERAL, how));
done:
    pcre2_compile_context_free(how);
    pcre2_general_context_free(heap);
    if (st == KE_OK)
        *out = re;
    else
        ke__regex_free(cx, re);
    return st;
}

void ke__regex_free(ke_ctx *cx, ke__regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    pcre2_match_context_free(re->limits);
    ke__free(cx, re);
}

ke_status ke__regex_match_new(ke_ctx *cx, void **match)
{
    pcre2_general_context *heap = pcre2_general_context_create(pcre_alloc, pcre_free, cx);
    *match = heap ? pcre2_match_data_create(1, heap) : NULL;
    pcre2_general_context_free(heap);
    return *match ? KE_OK : KE_ENOMEM;
}

void ke__regex_match_free(void *match)
{
    pcre2_match_data_free(match);
}

ke_status ke__regex_find(ke_ctx *cx, const ke__regex *re, void *match, const char *text,
                         size_t bytes, size_t at, bool *found, size_t *from, size_t *to)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(re->code, (PCRE2_SPTR)text, bytes, at, options, match, re->limits);
    /* Generated code keeps what it may have to go back to on a small stack. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(re->code, (PCRE2_SPTR)text, bytes, at, options | PCRE2_NO_JIT,
                         match, re->limits);
    *found = rc >= 0;
    if (rc >= 0) {
        const size_t *where = pcre2_get_ovector_pointer(match);
        *from = where[0];
        *to = where[1] > where[0] ? where[1] : where[0];
    } else if (rc != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR reason[120];
        pcre2_get_error_message(rc, reason, sizeof reason);
        return ke__fail(cx, rc == PCRE2_ERROR_NOMEMORY ? KE_ENOMEM : KE_ENOTSUP, NULL,
                        "a pattern of the tokenizer fails at byte %zu of a text of %zu: %s",
                        at, bytes, (const char *)reason);
    }
    return KE_OK;
}
