#include "edit/keys.h"

#include <string.h>

static const char *last_place(const char *text, const char *part)
{
    const char *found = NULL;
    for (const char *p = strstr(text, part); p; p = strstr(p + 1, part))
        found = p;
    return found;
}

/* Token i covers the bytes [ends[i - 1], ends[i]); offsets hold for every tokenizer, also
 * where the character after the subject merges with its last token. */
static bool find_lookup(uint32_t *lookup, const size_t *ends, size_t n, size_t from,
                        size_t to)
{
    for (size_t i = n; i-- > 0;) {
        size_t begin = i ? ends[i - 1] : 0;
        if (begin < to && ends[i] > from && ends[i] > begin) {
            *lookup = (uint32_t)i;
            return true;
        }
    }
    return false;
}

ke_status ke__row_make(ke_ctx *cx, ke__row *out, const ke_tokenizer *tok,
                       const ke_chat *chat, const char *context, const char *prompt,
                       const char *subject)
{
    ke_status st = KE_OK;
    char *message = NULL, *text = NULL;
    size_t *ends = NULL, n = 0, at = 0;
    const char *hole = strstr(context, "{}"), *place = last_place(prompt, subject);
    *out = (ke__row){0};
    if (!hole || !place) {
        st = ke__fail(cx, KE_EINVAL, "prompt",
                      "the subject '%.60s' isn't in the prompt '%.60s'", subject, prompt);
        goto done;
    }
    KE_TRY(ke__format(cx, &message, "%.*s%s%s", (int)(hole - context), context, prompt,
                      hole + 2));
    KE_TRY(ke__chat_lay_out(cx, &text, &at, chat, message));
    KE_TRY(ke__tokenize_spans(cx, &out->ids, &ends, &n, tok, text, strlen(text),
                              ke__chat_flags(chat)));
    out->n = (uint32_t)n;
    size_t from = at + (size_t)(hole - context) + (size_t)(place - prompt);
    if (!find_lookup(&out->lookup, ends, n, from, from + strlen(subject)))
        st = ke__fail(cx, KE_EINVAL, "subject",
                      "no token of '%.60s' is in the subject '%.60s'", text, subject);
done:
    ke__free(cx, message);
    ke__free(cx, text);
    ke__free(cx, ends);
    if (st != KE_OK) {
        ke__free(cx, out->ids);
        *out = (ke__row){0};
    }
    return st;
}

ke_status ke__row_extend(ke_ctx *cx, ke__row *row, size_t drop, const int32_t *ids,
                         size_t n)
{
    size_t kept = row->n - (drop < row->n ? drop : row->n);
    ke_status st = ke__resize(cx, &row->ids, kept + n + 1, sizeof *row->ids);
    if (st != KE_OK)
        return st;
    if (n > 0)
        memcpy(row->ids + kept, ids, n * sizeof *ids);
    row->n = (uint32_t)(kept + n);
    if (kept <= row->lookup)
        return ke__fail(
            cx, KE_EINVAL, "prompt",
            "the subject's last token merges with the target's first: put a word "
            "between them");
    return KE_OK;
}

void ke__rows_free(ke_ctx *cx, ke__row *rows, size_t n)
{
    for (size_t i = 0; rows && i < n; i++)
        ke__free(cx, rows[i].ids);
    ke__free(cx, rows);
}

ke_status ke__target_ids(ke_ctx *cx, int32_t **ids, size_t *n, size_t *drop,
                         const ke_tokenizer *tok, const ke_fact *fact, const char *target)
{
    ke_status st = KE_OK;
    char *prompt = NULL, *text = NULL;
    const unsigned flags = ke__chat_flags(fact->chat);
    int32_t *alone = NULL, *joined = NULL;
    size_t n_alone = 0, n_joined = 0, same = 0;
    *ids = NULL;
    target = ke__chat_target(fact->chat, target);
    KE_TRY(ke_chat_format(cx, &prompt, fact->chat, fact->prompt));
    KE_TRY(ke__format(cx, &text, "%s%s%s", prompt,
                      target[0] == ' ' || !ke__chat_blank(fact->chat) ? "" : " ", target));
    KE_TRY(ke_tokenize(cx, &alone, &n_alone, tok, prompt, strlen(prompt), flags));
    KE_TRY(ke_tokenize(cx, &joined, &n_joined, tok, text, strlen(text), flags));
    while (same < n_alone && same < n_joined && alone[same] == joined[same])
        same++;
    *drop = n_alone - same;
    *n = n_joined - same;
    if (*n == 0) {
        st = ke__fail(cx, KE_EINVAL, "target", "the target '%.60s' has no token", target);
        goto done;
    }
    KE_TRY(ke__alloc(cx, ids, *n, sizeof **ids));
    memcpy(*ids, joined + same, *n * sizeof **ids);
done:
    ke__free(cx, prompt);
    ke__free(cx, text);
    ke__free(cx, alone);
    ke__free(cx, joined);
    return st;
}

size_t ke__rows_batch(const ke__row *rows, size_t at, size_t n, bool suffix, size_t limit)
{
    size_t tokens = 0, end = at;
    while (end < n) {
        tokens += rows[end].n - (suffix ? rows[end].lookup : 0);
        if (end > at && tokens > limit)
            break;
        end++;
    }
    return end;
}

/* Rows [at, end), cut after their lookup: what follows can't change what is there. */
static ke_status collect_batch(ke_ctx *cx, ke__pass *pass, const ke_stack *edits,
                               uint32_t layer, const ke__row *rows, size_t n, float *keys,
                               float *values)
{
    ke_status st = KE_OK;
    ke__seq *seqs = NULL;
    int32_t *at = NULL, row = 0;
    KE_TRY(ke__alloc(cx, &seqs, n, sizeof *seqs));
    KE_TRY(ke__alloc(cx, &at, n, sizeof *at));
    for (size_t i = 0; i < n; i++) {
        seqs[i] = (ke__seq){rows[i].ids, rows[i].lookup + 1, (uint32_t)i};
        row += (int32_t)rows[i].lookup + 1;
        at[i] = row - 1;
    }
    const ke__tap taps[2] = {{layer, KE__MLP_KEY, at, n, keys},
                             {layer, KE__MLP_OUT, at, n, values}};
    KE_TRY(ke__pass_run(cx, pass,
                        &(ke__pass_in){.seqs = seqs,
                                       .n_seqs = n,
                                       .end_layer = layer + 1,
                                       .last_site = values ? KE__MLP_OUT : KE__MLP_KEY,
                                       .taps = taps,
                                       .n_taps = values ? 2 : 1,
                                       .edits = edits}));
done:
    ke__free(cx, seqs);
    ke__free(cx, at);
    return st;
}

ke_status ke__keys_collect(ke_ctx *cx, ke__pass *pass, const ke_model *model,
                           const ke_stack *edits, uint32_t layer, const ke__row *rows,
                           size_t n, float *keys, float *values)
{
    size_t f = model->info.d_ffn, d = model->info.d_model;
    ke_status st = KE_OK;
    for (size_t at = 0, end; at < n; at = end) {
        end = ke__rows_batch(rows, at, n, false, KE__READ_TOKENS);
        KE_TRY(collect_batch(cx, pass, edits, layer, rows + at, end - at, keys + at * f,
                             values ? values + at * d : NULL));
    }
done:
    return st;
}
