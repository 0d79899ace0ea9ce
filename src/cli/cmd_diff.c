#include "cli/cli.h"
#include "knowedit/patch.h"

/* Figures of a difference, where there is one. */
static json_t *number(const ke_diff_tensor *t, double value)
{
    return t->norm < 0 ? json_null() : ke__json_number(value);
}

static json_t *diff_json(const char *a, const char *b, const ke_diff *d)
{
    json_t *tensors = json_array(), *metadata = json_array();
    bool ok = true;
    for (size_t i = 0; i < d->n; i++) {
        const ke_diff_tensor *t = &d->tensors[i];
        ok =
            ok &&
            ke__json_add(
                tensors,
                json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:b}", "name",
                          ke__json_string(t->name), "type_a", ke__json_string(t->type_a),
                          "type_b", ke__json_string(t->type_b), "rows", (json_int_t)t->rows,
                          "cols", (json_int_t)t->cols, "norm", number(t, t->norm), "rel",
                          number(t, t->rel), "sigma1_share", number(t, t->sigma1_share),
                          "rank", t->norm < 0 ? json_null() : json_integer(t->rank),
                          "rank_one", (int)t->rank_one));
    }
    for (size_t i = 0; i < d->n_metadata; i++)
        ok = ok && ke__json_add(metadata, ke__json_string(d->metadata[i]));
    return json_pack("{s:s, s:o, s:o, s:I, s:o, s:o}", "schema", "knowedit.diff/1", "a",
                     ke__json_string(a), "b", ke__json_string(b), "compared",
                     (json_int_t)d->n_compared, "tensors", ke__json_done(tensors, ok),
                     "metadata", ke__json_done(metadata, ok));
}

static void print_diff(const ke_diff *d)
{
    size_t alone = 0;
    for (size_t i = 0; i < d->n; i++)
        alone += d->tensors[i].type_a == NULL || d->tensors[i].type_b == NULL;
    printf("%zu of %zu tensors differ", d->n - alone, d->n_compared);
    if (alone > 0)
        printf(", %zu are in one file only", alone);
    printf(d->n_metadata ? ", %zu metadata keys differ\n" : "\n", d->n_metadata);
    for (size_t i = 0; i < d->n; i++) {
        const ke_diff_tensor *t = &d->tensors[i];
        printf("  ");
        ke__talk_plain(stdout, t->name, 28);
        putchar(' ');
        if (t->type_a == NULL || t->type_b == NULL) {
            printf("only in the %s file\n", t->type_a ? "first" : "second");
            continue;
        }
        if (t->norm < 0) {
            printf("%s -> %s, cannot be compared (shapes, a type, or values that are no "
                   "numbers)\n",
                   t->type_a, t->type_b);
            continue;
        }
        printf("[%llu, %llu] %s -> %s, change %.4g (%.3g %%), %.0f %% of it in one "
               "direction%s\n",
               (unsigned long long)t->rows, (unsigned long long)t->cols, t->type_a,
               t->type_b, t->norm, 100 * t->rel, 100 * t->sigma1_share,
               t->rank_one ? ": looks like a rank-one edit" : "");
    }
    for (size_t i = 0; i < d->n_metadata; i++) {
        printf("  metadata ");
        ke__talk_plain(stdout, d->metadata[i], 0);
        putchar('\n');
    }
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *path_a = NULL, *path_b = NULL;
    ke_model *a = NULL, *b = NULL;
    ke_diff diff = {0};
    static const struct poptOption options[] = {POPT_TABLEEND};

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 2, 2));
    KE_TRY(ke__find_model(c, c->args[0], &path_a));
    KE_TRY(ke__find_model(c, c->args[1], &path_b));
    KE_TRY(ke_model_open(c->cx, &a, path_a));
    KE_TRY(ke_model_open(c->cx, &b, path_b));
    KE_TRY(ke_diff_models(c->cx, &diff, a, b));
    if (c->json)
        st = ke__result_json(c, diff_json(path_a, path_b, &diff));
    else
        print_diff(&diff);
done:
    ke_diff_free(c->cx, &diff);
    ke_model_close(c->cx, b);
    ke_model_close(c->cx, a);
    ke__free(c->cx, path_b);
    ke__free(c->cx, path_a);
    return st;
}

const ke__command ke__cmd_diff = {
    .name = "diff",
    .summary = "what differs between two models, and whether it looks like an edit",
    .usage = "A B",
    .example = "knowedit diff base.gguf edited.gguf",
    .run = run,
};
