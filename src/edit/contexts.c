/* Texts put before a prompt, so that a key and a value hold whatever precedes them. */
#include "base/file.h"
#include "edit/keys.h"

#include <string.h>

/* Drawn from each start word, sampled from the five likeliest tokens: one text of 10 tokens
 * ("auto", as many as MEMIT has), or two of 5 and two of 10 ("easyedit", as ROME there). */
static const char *const starts[] = {"The", "Therefore", "Because", "I", "You"};
static const size_t lengths[] = {5, 10};
enum { STARTS = 5, LENGTHS = 2, COPIES = 2 };

void ke__contexts_free(ke_ctx *cx, ke__contexts *c)
{
    for (size_t i = 0; i < c->n; i++)
        ke__free(cx, c->items[i]);
    ke__free(cx, c->items);
    *c = (ke__contexts){0};
}

static ke_status room_for(ke_ctx *cx, ke__contexts *c, size_t n)
{
    return ke__alloc(cx, &c->items, n, sizeof *c->items);
}

static ke_status add(ke_ctx *cx, ke__contexts *c, const char *text)
{
    ke_status st = ke__strdup(cx, &c->items[c->n], text);
    if (st == KE_OK)
        c->n++;
    return st;
}

static ke_status add_drawn(ke_ctx *cx, ke__contexts *c, const char *start,
                           const char *drawn)
{
    ke_status st = ke__format(cx, &c->items[c->n], "%s%s. {}", start, drawn);
    if (st != KE_OK)
        return st;
    /* The hole is to be the only brace of a template. */
    char *text = c->items[c->n++];
    for (size_t i = 0; i + 2 < strlen(text); i++)
        if (text[i] == '{' || text[i] == '}')
            text[i] = ' ';
    return KE_OK;
}

/* `rows` texts side by side, from each start word in turn; the shorter lengths first. */
static ke_status draw(ke_ctx *cx, ke__contexts *c, const ke_model *model,
                      const ke_ids *words, size_t rows, uint64_t seed)
{
    enum { MOST = STARTS * LENGTHS * COPIES };
    ke_generated texts[MOST] = {{0}};
    ke_ids prompts[MOST] = {{0}};
    size_t each[MOST];
    ke_generate_opts opts = KE_GENERATE_DEFAULT;
    ke_status st = KE_OK;
    opts.max_tokens = 0;
    for (size_t i = 0; i < rows; i++) {
        size_t length = lengths[rows > STARTS ? i * LENGTHS / rows : LENGTHS - 1];
        prompts[i] = words[i % STARTS];
        each[i] = length > prompts[i].n ? length - prompts[i].n : 1;
        opts.max_tokens = each[i] > opts.max_tokens ? each[i] : opts.max_tokens;
    }
    opts.max_each = each;
    opts.temperature = 1.0F;
    opts.top_k = 5;
    opts.seed = seed;
    KE_TRY(ke_generate(cx, texts, model, NULL, prompts, rows, &opts));
    for (size_t i = 0; i < rows; i++)
        KE_TRY(add_drawn(cx, c, starts[i % STARTS], texts[i].text));
done:
    for (size_t i = 0; i < rows; i++)
        ke_generated_free(cx, &texts[i]);
    return st;
}

static ke_status draw_all(ke_ctx *cx, ke__contexts *c, const ke_model *model, uint64_t seed,
                          size_t n)
{
    ke_ids words[STARTS] = {{0}};
    int32_t *ids[STARTS] = {0};
    ke__rng rng = {seed};
    ke_status st = KE_OK;
    KE_TRY(room_for(cx, c, n));
    KE_TRY(add(cx, c, "{}"));
    for (size_t i = 0; i < STARTS; i++) {
        KE_TRY(ke_tokenize(cx, &ids[i], &words[i].n, ke_model_tokenizer(model), starts[i],
                           strlen(starts[i]), KE_TOK_ADD_BOS));
        words[i].ids = ids[i];
    }
    KE_TRY(draw(cx, c, model, words, n - 1, ke__rng_next(&rng)));
done:
    for (size_t i = 0; i < STARTS; i++)
        ke__free(cx, ids[i]);
    return st;
}

static ke_status read_items(ke_ctx *cx, ke__contexts *c, const json_t *list,
                            const char *path)
{
    enum { LIMIT = 1000 };
    ke_status st = KE_OK;
    size_t n = json_array_size(list);
    if (n == 0 || n > LIMIT)
        return ke__fail(
            cx, KE_EFORMAT, path,
            "%zu templates, expected a list of 1 to %d strings, or an object with "
            "such a list as \"templates\"",
            n, LIMIT);
    KE_TRY(room_for(cx, c, n));
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        const char *hole = text ? strstr(text, "{}") : NULL;
        if (!hole || strstr(hole + 2, "{}")) {
            st = ke__fail(cx, KE_EFORMAT, path,
                          "template %zu: expected a string with one {}", i);
            goto done;
        }
        KE_TRY(add(cx, c, text));
    }
done:
    return st;
}

static ke_status read_file(ke_ctx *cx, ke__contexts *c, const char *path)
{
    ke_status st = KE_OK;
    char *text = NULL;
    size_t bytes = 0;
    json_t *root = NULL, *inner;
    json_error_t error;
    KE_TRY(ke__file_read(cx, &text, &bytes, path, (size_t)1 << 20));
    root = json_loadb(text, bytes, 0, &error);
    if (!root) {
        st = ke__fail(cx, KE_EFORMAT, path, "line %d, column %d: %s", error.line,
                      error.column, error.text);
        goto done;
    }
    inner = json_object_get(root, "templates");
    KE_TRY(read_items(cx, c, inner ? inner : root, path));
done:
    json_decref(root);
    ke__free(cx, text);
    return st;
}

ke_status ke__contexts_make(ke_ctx *cx, ke__contexts *out, const ke_model *model,
                            const char *setting, uint64_t seed)
{
    ke_status st = KE_OK;
    *out = (ke__contexts){0};
    if (strcmp(setting, "auto") == 0 || strcmp(setting, "easyedit") == 0) {
        KE_TRY(draw_all(cx, out, model, seed,
                        setting[0] == 'e' ? KE__CONTEXTS_EASYEDIT : KE__CONTEXTS_AUTO));
    } else if (strcmp(setting, "none") == 0) {
        KE_TRY(room_for(cx, out, 1));
        KE_TRY(add(cx, out, "{}"));
    } else {
        KE_TRY(read_file(cx, out, setting));
    }
done:
    if (st != KE_OK)
        ke__contexts_free(cx, out);
    return st;
}
