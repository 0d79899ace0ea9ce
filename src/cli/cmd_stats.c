#include "base/file.h"
#include "cli/cli.h"
#include "knowedit/edit.h"

#define TEXT_BYTES ((size_t)1 << 30)

static json_t *stats_json(const char *output, const ke_stats_info *info)
{
    json_t *layers = json_array();
    bool ok = true;
    for (size_t i = 0; i < info->n_layers; i++) {
        const ke_stats_layer *l = &info->layers[i];
        ok = ok &&
             ke__json_add(layers, json_pack("{s:i, s:I, s:o, s:o}", "layer", (int)l->layer,
                                            "width", (json_int_t)l->width, "trace",
                                            ke__json_number(l->trace), "frobenius",
                                            ke__json_number(l->frobenius)));
    }
    return json_pack("{s:s, s:o, s:o, s:I, s:s, s:s}", "schema", "knowedit.stats/1",
                     "output", ke__json_string(output), "layers", ke__json_done(layers, ok),
                     "tokens", (json_int_t)info->n_tokens, "model_sha256",
                     info->model_sha256, "text_sha256", info->text_sha256);
}

static void print_stats(const char *output, const ke_stats_info *info)
{
    for (size_t i = 0; i < info->n_layers; i++)
        printf("layer %-5u  %llu wide, trace %.6g, norm %.6g\n", info->layers[i].layer,
               (unsigned long long)info->layers[i].width, info->layers[i].trace,
               info->layers[i].frobenius);
    printf("tokens       %llu\n%s\n", (unsigned long long)info->n_tokens, output);
}

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    char *name = NULL, *output = NULL, *layers = NULL, *file = NULL, *path = NULL,
         *text = NULL;
    long long tokens = 0, chunk = 256;
    char size[32];
    double shrink = 1e-4;
    int no_special = 0;
    int32_t *list = NULL;
    ke_model *model = NULL;
    ke_model_info info;
    ke_stats_info result = {0};
    ke_stats_opts opts = KE_STATS_DEFAULT;
    const struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &name, 0, "model file, or a fetched model's name",
         "MODEL"},
        {"output", 'o', POPT_ARG_STRING, &output, 0, "where the statistics go", "FILE"},
        {"layers", 0, POPT_ARG_STRING, &layers, 0, "layers, from 0", "L[,L...]"},
        {"tokens", 0, POPT_ARG_LONGLONG, &tokens, 0,
         "tokens to read (ten times the key width)", "N"},
        {"chunk", 0, POPT_ARG_LONGLONG, &chunk, 0, "tokens read together (256)", "C"},
        {"shrink", 0, POPT_ARG_DOUBLE, &shrink, 0,
         "share of the mean diagonal added to the diagonal (1e-4)", "X"},
        {"file", 'f', POPT_ARG_STRING, &file, 0, "text to read (the built-in one)", "TEXT"},
        {"no-special", 0, POPT_ARG_NONE, &no_special, 0, "no BOS before a chunk", NULL},
        POPT_TABLEEND,
    };

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    KE_TRY(ke__opt_need(c, "-m", name));
    KE_TRY(ke__opt_need(c, "-o", output));
    KE_TRY(ke__opt_need(c, "--layers", layers));
    KE_TRY(ke__opt_range(c, "--tokens", tokens, 0, INT32_MAX));
    KE_TRY(ke__opt_range(c, "--chunk", chunk, 1, INT32_MAX));
    KE_TRY(ke__opt_range_real(c, "--shrink", shrink, 0, 1));
    KE_TRY(ke__find_model(c, name, &path));
    KE_TRY(ke_model_open(c->cx, &model, path));
    ke_model_info_get(model, &info);
    KE_TRY(ke__opt_list(c, "--layers", layers, true, (int32_t)info.n_layers - 1, &list,
                        &opts.n_layers));
    opts.layers = (const uint32_t *)list;
    opts.n_tokens = (size_t)tokens;
    opts.chunk = (size_t)chunk;
    opts.shrink = shrink;
    opts.bos = !no_special;
    if (file != NULL) {
        KE_TRY(ke__file_read(c->cx, &text, &opts.text_bytes, file, TEXT_BYTES));
        opts.text = text;
    }
    KE_TRY(ke_stats_compute(c->cx, &result, model, &opts, output, c->force));
    if (c->dry_run) { /* f64, a triangle a layer */
        uint64_t bytes =
            opts.n_layers * (uint64_t)info.d_ffn * (info.d_ffn + 1) / 2 * sizeof(double);
        ke__talk_say(c, "would write %s: the key statistics of %zu layer%s, about %s",
                     output, opts.n_layers, opts.n_layers == 1 ? "" : "s",
                     ke__talk_size(size, bytes));
    }
    if (c->json)
        st = ke__result_json(c, stats_json(c->dry_run ? NULL : output, &result));
    else if (!c->dry_run)
        print_stats(output, &result);
done:
    ke__free(c->cx, text);
    ke__free(c->cx, list);
    ke_model_close(c->cx, model);
    ke__free(c->cx, path);
    return st;
}

const ke__command ke__cmd_stats = {
    .name = "stats",
    .summary = "second moments of the keys of some layers, for `edit --cov FILE`",
    .usage = "-m MODEL -o FILE --layers L[,L...]",
    .example = "knowedit stats -m smollm2-135m -o layer5.stats --layers 5 --tokens 16384",
    .run = run,
};
