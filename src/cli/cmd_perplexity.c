#include "base/file.h"
#include "cli/cli.h"
#include "knowedit/model.h"

#include <string.h>

#define TEXT_BYTES ((size_t)1 << 30)

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A place at or after `from` where every split of ours begins a new piece: the space
 * between two letters. Tokens before it do not depend on the text after it. */
static size_t cut_after(const char *text, size_t bytes, size_t from)
{
    for (size_t i = from > 0 ? from : 1; i + 1 < bytes; i++)
        if (text[i] == ' ' && is_letter(text[i - 1]) && is_letter(text[i + 1]))
            return i;
    return bytes;
}

/* The first `limit` ids of the text (0: all) without tokenising much more than they need.
 */
static ke_status first_ids(ke__cli *c, const ke_tokenizer *tok, const char *text,
                           size_t bytes, size_t limit, int32_t **ids, size_t *n)
{
    ke_status st = KE_OK;
    size_t take =
        limit > 0 && limit < bytes / 8 ? cut_after(text, bytes, 8 * limit) : bytes;

    for (;;) {
        KE_TRY(ke_tokenize(c->cx, ids, n, tok, text, take, 0));
        if (take == bytes || *n >= limit)
            break;
        ke_free(c->cx, *ids);
        *ids = NULL;
        take = take < bytes / 2 ? cut_after(text, bytes, 2 * take) : bytes;
    }
    if (limit > 0 && *n > limit)
        *n = limit;
done:
    return st;
}

/* The token that begins a text where the file says so, else -1. */
static ke_status leading_token(ke__cli *c, const ke_tokenizer *tok, int32_t *bos)
{
    int32_t *ids = NULL;
    size_t n = 0;
    ke_status st = ke_tokenize(c->cx, &ids, &n, tok, "", 0, KE_TOK_ADD_BOS);
    *bos = st == KE_OK && n > 0 ? ids[0] : -1;
    ke_free(c->cx, ids);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *file = NULL, *path = NULL, *text = NULL;
    long long chunk = 512, limit = 0;
    int add_special = 0;
    ke_model *model = NULL;
    int32_t *ids = NULL, bos = -1;
    size_t bytes = 0, n = 0;
    ke_perplexity p = {0};
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0, "model file, or a fetched model's name",
         "MODEL"},
        {"file", 'f', POPT_ARG_STRING, &file, 0, "text to predict; - is stdin", "TEXT"},
        {"chunk", 0, POPT_ARG_LONGLONG, &chunk, 0, "tokens read together (512)", "C"},
        {"tokens", 0, POPT_ARG_LONGLONG, &limit, 0, "only the first N tokens (all)", "N"},
        {"add-special", 0, POPT_ARG_NONE, &add_special, 0,
         "each chunk after BOS where the model's file says so", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", name));
    KE_TRY(ke__opt_need(c, "-f", file));
    KE_TRY(ke__opt_range(c, "--chunk", chunk, 2, INT32_MAX));
    KE_TRY(ke__opt_range(c, "--tokens", limit, 0, INT32_MAX));
    KE_TRY(ke__find_model(c, name, &path));
    KE_TRY(ke_model_open(c->cx, &model, path));
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    KE_TRY(ke__file_read(c->cx, &text, &bytes, file, TEXT_BYTES));
    KE_TRY(first_ids(c, tok, text, bytes, (size_t)limit, &ids, &n));
    if (add_special)
        KE_TRY(leading_token(c, tok, &bos));
    KE_TRY(ke_perplexity_measure(c->cx, &p, model, NULL, (ke_ids){ids, n}, (size_t)chunk,
                                 bos));

    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:I, s:I, s:o, s:o}", "schema", "knowedit.perplexity/1",
                         "tokens", (json_int_t)p.n_tokens, "predicted",
                         (json_int_t)p.n_predicted, "nll", ke__json_number(p.nll), "ppl",
                         ke__json_number(p.ppl)));
    else
        printf("perplexity %.4f over %zu predicted of %zu tokens (%.5f nats each)\n", p.ppl,
               p.n_predicted, p.n_tokens, p.nll);
done:
    ke_free(c->cx, ids);
    ke__free(c->cx, text);
    ke_model_close(c->cx, model);
    ke__free(c->cx, path);
    return st;
}

const ke__command ke__cmd_perplexity = {
    .name = "perplexity",
    .summary = "how well a model predicts a text",
    .usage = "-m MODEL -f TEXT",
    .example = "knowedit perplexity -m smollm2-135m -f text.txt --chunk 512 --tokens 4096",
    .run = run,
};
