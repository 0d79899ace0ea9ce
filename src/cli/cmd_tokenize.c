#include "base/file.h"
#include "cli/cli.h"
#include "knowedit/model.h"

#include <string.h>

#define TEXT_BYTES ((size_t)1 << 30)

/* One text: its ids go to the list, or to stdout where there is none. */
static ke_status tokenize(ke__cli *c, const ke_tokenizer *tok, const char *text,
                          size_t bytes, unsigned flags, json_t *items)
{
    ke_status st = KE_OK;
    int32_t *ids = NULL;
    size_t n = 0;

    KE_TRY(ke_tokenize(c->cx, &ids, &n, tok, text, bytes, flags));
    if (items == NULL)
        ke__result_print_ids(ids, n);
    else if (json_array_append_new(items, json_pack("{s:o, s:o}", "text",
                                                    ke__json_string_n(text, bytes), "ids",
                                                    ke__result_ids(ids, n))) != 0)
        st = ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result");
done:
    ke_free(c->cx, ids);
    return st;
}

static ke_status tokenize_lines(ke__cli *c, const ke_tokenizer *tok, unsigned flags,
                                json_t *items)
{
    ke_status st = KE_OK;
    char *text = NULL;
    size_t bytes = 0;

    KE_TRY(ke__file_read(c->cx, &text, &bytes, "-", TEXT_BYTES));
    for (const char *line = text, *end = text + bytes; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop ? stop : end) - line);
        KE_TRY(tokenize(c, tok, line, length, flags, items));
        line += length + 1;
    }
done:
    ke__free(c->cx, text);
    return st;
}

static ke_status decode(ke__cli *c, const ke_model *model, const char *list, json_t *items)
{
    ke_status st = KE_OK;
    const ke_tokenizer *tok = ke_model_tokenizer(model);
    ke_model_info info;
    int32_t *ids = NULL;
    char *text = NULL;
    size_t n = 0, bytes = 0;

    ke_model_info_get(model, &info);
    KE_TRY(ke__opt_list(c, "--decode", list, false, (int32_t)info.n_vocab - 1, &ids, &n));
    KE_TRY(ke_detokenize(c->cx, &text, &bytes, tok, ids, n));
    if (items == NULL) {
        fwrite(text, 1, bytes, stdout);
        putchar('\n');
    } else if (json_array_append_new(items, json_pack("{s:o, s:o}", "text",
                                                      ke__json_string_n(text, bytes), "ids",
                                                      ke__result_ids(ids, n))) != 0) {
        st = ke__fail(c->cx, KE_ENOMEM, NULL, "no memory for the result");
    }
done:
    ke_free(c->cx, text);
    ke__free(c->cx, ids);
    return st;
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *text = NULL, *ids = NULL, *path = NULL;
    int parse_special = 0, add_special = 0;
    ke_model *model = NULL;
    json_t *items = NULL;
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0, "model file, or a fetched model's name",
         "MODEL"},
        {"text", 0, POPT_ARG_STRING, &text, 0, "this text instead of lines on stdin",
         "TEXT"},
        {"decode", 0, POPT_ARG_STRING, &ids, 0, "print the text of these ids", "1,2,3"},
        {"parse-special", 0, POPT_ARG_NONE, &parse_special, 0,
         "recognise special tokens in the text", NULL},
        {"add-special", 0, POPT_ARG_NONE, &add_special, 0,
         "begin and end as the model's file says", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", name));
    if (text != NULL && ids != NULL)
        return ke__opt_refuse(c, "--decode", "--text and --decode exclude each other");
    KE_TRY(ke__find_model(c, name, &path));
    KE_TRY(ke_model_open(c->cx, &model, path));

    const ke_tokenizer *tok = ke_model_tokenizer(model);
    unsigned flags = (parse_special ? KE_TOK_PARSE_SPECIAL : 0U) |
                     (add_special ? KE_TOK_ADD_BOS | KE_TOK_ADD_EOS : 0U);
    KE_TRY(ke__result_list(c, &items));
    if (ids != NULL)
        KE_TRY(decode(c, model, ids, items));
    else if (text != NULL)
        KE_TRY(tokenize(c, tok, text, strlen(text), flags, items));
    else
        KE_TRY(tokenize_lines(c, tok, flags, items));
    if (c->json)
        st = ke__result_json(
            c, json_pack("{s:s, s:O}", "schema", "knowedit.tokens/1", "items", items));
done:
    json_decref(items);
    ke_model_close(c->cx, model);
    ke__free(c->cx, path);
    return st;
}

const ke__command ke__cmd_tokenize = {
    .name = "tokenize",
    .summary = "token ids of texts, and texts of token ids",
    .usage = "-m MODEL (--text TEXT | --decode 1,2,3 | lines on stdin)",
    .example = "knowedit tokenize -m smollm2-135m --text \"The Eiffel Tower\"",
    .run = run,
};
