#include "cli/cli.h"
#include "knowedit/model.h"

#include <string.h>

typedef struct type_sum {
    const char *type;
    size_t n;
    uint64_t bytes;
} type_sum;

/* Sum the tensors up by type, in order of first appearance. */
static size_t sum_types(const ke_model *model, size_t n_tensors, type_sum *sums,
                        size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        ke_tensor_info t;
        ke_model_tensor_get(model, i, &t);
        size_t at = 0;
        while (at < n && strcmp(sums[at].type, t.type) != 0)
            at++;
        if (at == room)
            continue;
        if (at == n)
            sums[n++] = (type_sum){.type = t.type};
        sums[at].n++;
        sums[at].bytes += t.bytes;
    }
    return n;
}

static json_t *types_json(const type_sum *sums, size_t n)
{
    json_t *list = json_array();
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok = ok && ke__json_add(list, json_pack("{s:s, s:I, s:I}", "type", sums[i].type,
                                                "tensors", (json_int_t)sums[i].n, "bytes",
                                                (json_int_t)sums[i].bytes));
    return ke__json_done(list, ok);
}

static json_t *tensors_json(const ke_model *model, size_t n)
{
    json_t *list = json_array();
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        ke_tensor_info t;
        ke_model_tensor_get(model, i, &t);
        ok = ok &&
             ke__json_add(list, json_pack("{s:o, s:s, s:I, s:I, s:I}", "name",
                                          ke__json_string(t.name), "type", t.type, "rows",
                                          (json_int_t)t.rows, "cols", (json_int_t)t.cols,
                                          "bytes", (json_int_t)t.bytes));
    }
    return ke__json_done(list, ok);
}

/* The records of the edits that the file carries; one that is no JSON is given as text. */
static json_t *edits_json(const ke_model *model, size_t n)
{
    json_t *list = json_array();
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        const char *record = ke_model_edit_get(model, i);
        json_t *edit = json_loads(record, 0, NULL);
        ok = ke__json_add(list, edit != NULL ? edit : ke__json_string(record)) && ok;
    }
    return ke__json_done(list, ok);
}

static json_t *card_json(const ke_model *model, const ke_model_info *m,
                         const type_sum *sums, size_t n_sums, bool tensors)
{
    json_t *card = json_pack(
        "{s:s, s:o, s:s, s:s, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I}",
        "schema", "knowedit.show/1", "path", ke__json_string(m->path), "container",
        m->container, "architecture", m->architecture, "name", ke__json_string(m->name),
        "layers", (int)m->n_layers, "d_model", (int)m->d_model, "d_ffn", (int)m->d_ffn,
        "heads", (int)m->n_heads, "kv_heads", (int)m->n_kv_heads, "head_dim",
        (int)m->head_dim, "vocabulary", (int)m->n_vocab, "context", (int)m->n_context,
        "parameters", (json_int_t)m->n_params, "bytes", (json_int_t)m->file_bytes,
        "n_tensors", (json_int_t)m->n_tensors);
    bool ok =
        ke__json_set(card, "types", types_json(sums, n_sums)) &&
        ke__json_set(card, "tokenizer", ke__json_string(m->tokenizer)) &&
        ke__json_set(card, "chat_template", ke__json_string(m->chat_template)) &&
        ke__json_set(card, "template", ke__json_string(m->chat_family)) &&
        ke__json_set(card, "edits", edits_json(model, m->n_edits)) &&
        (!tensors || ke__json_set(card, "tensors", tensors_json(model, m->n_tensors)));
    return ke__json_done(card, ok);
}

static void print_edit(size_t i, const char *record)
{
    json_t *edit = json_loads(record, 0, NULL), *fact;
    const char *method = json_string_value(json_object_get(edit, "method"));
    const char *chat = json_string_value(json_object_get(edit, "chat"));
    size_t at;
    printf("edit %-6zu %s", i + 1, method ? method : "(unreadable record)");
    if (chat) {
        printf(", as a message of the form ");
        ke__talk_plain(stdout, chat, 0);
    }
    putchar('\n');
    json_array_foreach(json_object_get(edit, "facts"), at, fact)
    {
        const char *prompt = json_string_value(json_object_get(fact, "prompt"));
        const char *target = json_string_value(json_object_get(fact, "target"));
        printf("            ");
        ke__talk_quote(stdout, prompt ? prompt : "", 120);
        printf(" -> ");
        ke__talk_quote(stdout, target ? target : "", 60);
        putchar('\n');
    }
    json_decref(edit);
}

static void print_card(const ke_model *model, const ke_model_info *m, const type_sum *sums,
                       size_t n_sums)
{
    char size[32];
    printf("file        %s (%s, %s)\n", m->path, m->container,
           ke__talk_size(size, m->file_bytes));
    printf("model       ");
    ke__talk_plain(stdout, m->name[0] ? m->name : "(no name)", 0);
    printf(", architecture %s, %.1f million parameters\n", m->architecture,
           (double)m->n_params / 1e6);
    printf("shape       %u layers, width %u, FFN %u, %u heads of %u over %u\n", m->n_layers,
           m->d_model, m->d_ffn, m->n_heads, m->head_dim, m->n_kv_heads);
    printf("context     %u tokens\n", m->n_context);
    printf("tokenizer   %s, %u tokens\n", m->tokenizer, m->n_vocab);
    printf("template    %s\n", m->chat_family     ? m->chat_family
                               : m->chat_template ? "of no known family"
                                                  : "none");
    printf("tensors     %zu:", m->n_tensors);
    for (size_t i = 0; i < n_sums; i++)
        printf("%s %zu %s (%s)", i ? "," : "", sums[i].n, sums[i].type,
               ke__talk_size(size, sums[i].bytes));
    printf("\nedits       %zu recorded in the file\n", m->n_edits);
    for (size_t i = 0; i < m->n_edits; i++)
        print_edit(i, ke_model_edit_get(model, i));
}

static void print_tensors(const ke_model *model, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ke_tensor_info t;
        ke_model_tensor_get(model, i, &t);
        printf("[%4zu/%zu] ", i + 1, n);
        ke__talk_plain(stdout, t.name, 36);
        printf(" [%llu, %llu] %s, %llu bytes\n", (unsigned long long)t.rows,
               (unsigned long long)t.cols, t.type, (unsigned long long)t.bytes);
    }
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *path = NULL;
    int tensors = 0;
    ke_model *model = NULL;
    ke_model_info info;
    type_sum sums[40]; /* more than there are types */
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0, "model file, or a fetched model's name",
         "MODEL"},
        {"tensors", 0, POPT_ARG_NONE, &tensors, 0, "list every tensor", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", name));
    KE_TRY(ke__find_model(c, name, &path));
    KE_TRY(ke_model_open(c->cx, &model, path));
    ke_model_info_get(model, &info);
    size_t n_sums = sum_types(model, info.n_tensors, sums, sizeof sums / sizeof sums[0]);
    if (c->json) {
        st = ke__result_json(c, card_json(model, &info, sums, n_sums, tensors));
    } else {
        print_card(model, &info, sums, n_sums);
        if (tensors)
            print_tensors(model, info.n_tensors);
    }
done:
    ke_model_close(c->cx, model);
    ke__free(c->cx, path);
    return st;
}

const ke__command ke__cmd_show = {
    .name = "show",
    .summary = "what a model file is, and the edits it carries",
    .usage = "-m MODEL [--tensors]",
    .example = "knowedit show -m smollm2-135m --tensors",
    .run = run,
};
