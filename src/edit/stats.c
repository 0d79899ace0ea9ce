/* Second moments of keys, from text. */
#include "edit/stats.h"

#include <math.h>
#include <string.h>

/* Tokens of one pass: whole chunks, about this many. Fixed, since sums of one call are in
 * f32 and have to come out the same everywhere. */
#define PASS_TOKENS 1024

void ke__moments_free(ke_ctx *cx, ke__moments *m)
{
    for (size_t i = 0; m->sums && i < m->info.n_layers; i++)
        ke__free(cx, m->sums[i]);
    ke__free(cx, m->sums);
    *m = (ke__moments){0};
}

static size_t chunks_a_pass(size_t chunk)
{
    return chunk < PASS_TOKENS ? PASS_TOKENS / chunk : 1;
}

uint64_t ke__moments_bytes(const ke_model *model, size_t n_layers, size_t chunk)
{
    uint64_t rows = chunks_a_pass(chunk) * (chunk + 1), f = model->info.d_ffn;
    return ke__pass_bytes(model, rows, 0, false, 0) +
           n_layers * (rows * f * 4 + ke__packed(f) * 8);
}

static ke_status check(ke_ctx *cx, const ke_model *model, const ke_stats_opts *o)
{
    const ke_model_info *i = &model->info;
    enum { LAYERS = sizeof((ke_stats_info *)0)->layers / sizeof(ke_stats_layer) };
    if (o->n_layers == 0 || o->n_layers > LAYERS)
        return ke__fail(cx, KE_EINVAL, "layers", "%zu layers, expected 1 to %d",
                        o->n_layers, LAYERS);
    for (size_t k = 0; k < o->n_layers; k++) {
        if (o->layers[k] >= i->n_layers)
            return ke__fail(cx, KE_EINVAL, "layers", "layer %u, expected 0 to %u",
                            o->layers[k], i->n_layers - 1);
        for (size_t j = 0; j < k; j++)
            if (o->layers[j] == o->layers[k])
                return ke__fail(cx, KE_EINVAL, "layers", "layer %u is named twice",
                                o->layers[k]);
    }
    if (o->chunk < 1 || o->chunk + o->bos > i->n_context)
        return ke__fail(cx, KE_EINVAL, "chunk", "chunks of %zu tokens, expected 1 to %u",
                        o->chunk, i->n_context - o->bos);
    if (!(o->shrink >= 0.0) || o->shrink > 1e6)
        return ke__fail(cx, KE_EINVAL, "shrink", "shrink is %g, expected 0 to 1e6",
                        o->shrink);
    uint64_t need = ke__moments_bytes(model, o->n_layers, o->chunk);
    if (ke__memory_limit(cx) && need > ke__memory_limit(cx))
        return ke__fail(cx, KE_ELIMIT, "memory",
                        "statistics of %zu layers need %llu MB, the limit is %llu MB",
                        o->n_layers, (unsigned long long)(need >> 20),
                        (unsigned long long)(ke__memory_limit(cx) >> 20));
    return KE_OK;
}

/* What one run over the text needs. */
struct reader {
    const ke_model *model;
    const ke_stats_opts *opts;
    int32_t bos;  /* -1: none */
    int32_t *ids; /* [n] of the text */
    size_t n;
    uint32_t last; /* highest layer */
    ke__pass *pass;
    int32_t *batch; /* ids of one pass */
    ke__seq *seqs;
    int32_t *rows; /* 0, 1, 2, ... */
    ke__tap *taps; /* [n_layers] */
    float *keys;   /* [n_layers, batch rows, F] */
};

static void reader_free(ke_ctx *cx, struct reader *r)
{
    ke__pass_free(cx, r->pass);
    ke__free(cx, r->ids);
    ke__free(cx, r->batch);
    ke__free(cx, r->seqs);
    ke__free(cx, r->rows);
    ke__free(cx, r->taps);
    ke__free(cx, r->keys);
}

static ke_status read_text(ke_ctx *cx, struct reader *r, const char *text, size_t bytes)
{
    ke_status st = KE_OK;
    const ke_stats_opts *o = r->opts;
    const ke_tokenizer *tok = ke_model_tokenizer(r->model);
    size_t rule = (size_t)10 * r->model->info.d_ffn, n = 0, wanted;
    int32_t *none = NULL;
    KE_TRY(ke_tokenize(cx, &r->ids, &r->n, tok, text, bytes, 0));
    wanted = o->n_tokens ? o->n_tokens : rule < r->n ? rule : r->n;
    if (wanted > r->n || wanted == 0) {
        st = ke__fail(cx, KE_EINVAL, "tokens", "the text has %zu tokens, %zu are wanted",
                      r->n, wanted);
        goto done;
    }
    r->n = wanted;
    /* The tokenizer knows whether the file asks for BOS. */
    KE_TRY(ke_tokenize(cx, &none, &n, tok, "", 0, o->bos ? KE_TOK_ADD_BOS : 0));
    r->bos = n > 0 ? none[0] : -1;
done:
    ke__free(cx, none);
    return st;
}

static ke_status make_room(ke_ctx *cx, struct reader *r)
{
    ke_status st = KE_OK;
    const ke_stats_opts *o = r->opts;
    size_t chunks = chunks_a_pass(o->chunk), rows = chunks * (o->chunk + (r->bos >= 0));
    size_t f = r->model->info.d_ffn;
    KE_TRY(ke__pass_new(cx, &r->pass, r->model, NULL));
    KE_TRY(ke__alloc(cx, &r->batch, rows, sizeof *r->batch));
    KE_TRY(ke__alloc(cx, &r->seqs, chunks, sizeof *r->seqs));
    KE_TRY(ke__alloc(cx, &r->rows, rows, sizeof *r->rows));
    KE_TRY(ke__alloc(cx, &r->taps, o->n_layers, sizeof *r->taps));
    KE_TRY(ke__alloc(cx, &r->keys, o->n_layers * rows, f * sizeof *r->keys));
    for (size_t i = 0; i < rows; i++)
        r->rows[i] = (int32_t)i;
    for (size_t i = 0; i < o->n_layers; i++) {
        r->taps[i] = (ke__tap){.layer = o->layers[i],
                               .site = KE__MLP_KEY,
                               .rows = r->rows,
                               .out = r->keys + i * rows * f};
        r->last = o->layers[i] > r->last ? o->layers[i] : r->last;
    }
done:
    return st;
}

/* Add the keys of the chunks from token *at on, as many as one pass takes. */
static ke_status read_batch(ke_ctx *cx, struct reader *r, ke__moments *m, size_t *at)
{
    ke_status st = KE_OK;
    const ke_stats_opts *o = r->opts;
    size_t n_seqs = 0, rows = 0;
    while (n_seqs < chunks_a_pass(o->chunk) && *at < r->n) {
        size_t n = r->n - *at < o->chunk ? r->n - *at : o->chunk;
        size_t begin = rows;
        if (r->bos >= 0)
            r->batch[rows++] = r->bos;
        memcpy(r->batch + rows, r->ids + *at, n * sizeof *r->batch);
        rows += n;
        *at += n;
        r->seqs[n_seqs] =
            (ke__seq){r->batch + begin, (uint32_t)(rows - begin), (uint32_t)n_seqs};
        n_seqs++;
    }
    for (size_t i = 0; i < o->n_layers; i++)
        r->taps[i].n_rows = rows;
    KE_TRY(ke__pass_run(cx, r->pass,
                        &(ke__pass_in){.seqs = r->seqs,
                                       .n_seqs = n_seqs,
                                       .end_layer = r->last + 1,
                                       .last_site = KE__MLP_KEY,
                                       .taps = r->taps,
                                       .n_taps = o->n_layers}));
    for (size_t i = 0; i < o->n_layers; i++)
        KE_TRY(ke__moment_add(cx, m->sums[i], r->taps[i].out, rows, r->model->info.d_ffn));
    m->n_keys += rows;
done:
    return st;
}

/* Sums to means, the shrinkage, and the figures of each layer. */
static ke_status finish(ke_ctx *cx, ke__moments *m, const ke_model *model,
                        const ke_stats_opts *o)
{
    size_t f = model->info.d_ffn;
    for (size_t i = 0; i < o->n_layers; i++) {
        ke_stats_layer *l = &m->info.layers[i];
        double *c = m->sums[i], trace = 0.0;
        for (size_t k = 0; k < ke__packed(f); k++)
            c[k] /= (double)m->n_keys;
        for (size_t k = 0; k < f; k++)
            trace += c[ke__packed(k) + k];
        for (size_t k = 0; k < f; k++)
            c[ke__packed(k) + k] += o->shrink * trace / (double)f;
        *l = (ke_stats_layer){.layer = o->layers[i], .width = f};
        ke__moment_norms(c, f, &l->trace, &l->frobenius);
        if (!isfinite(l->frobenius))
            return ke__fail(cx, KE_ENUMERIC, "statistics",
                            "the keys of layer %u have values that are not numbers",
                            o->layers[i]);
    }
    return KE_OK;
}

ke_status ke__moments_compute(ke_ctx *cx, ke__moments *out, const ke_model *model,
                              const ke_stats_opts *opts)
{
    ke_status st = KE_OK;
    struct reader r = {.model = model, .opts = opts};
    const char *text = opts->text ? opts->text : ke__stats_text;
    size_t bytes =
        opts->text ? opts->text_bytes : (size_t)(ke__stats_text_end - ke__stats_text);
    *out = (ke__moments){.chunk = opts->chunk, .shrink = opts->shrink};
    KE_TRY(check(cx, model, opts));
    KE_TRY(ke_model_sha256(cx, model, out->info.model_sha256));
    KE_TRY(ke__sha256_of(cx, out->info.text_sha256, text, bytes));
    KE_TRY(read_text(cx, &r, text, bytes));
    KE_TRY(make_room(cx, &r));
    KE_TRY(ke__alloc(cx, &out->sums, opts->n_layers, sizeof *out->sums));
    out->info.n_layers = opts->n_layers;
    for (size_t i = 0; i < opts->n_layers; i++)
        KE_TRY(ke__alloc(cx, &out->sums[i], ke__packed(model->info.d_ffn), sizeof(double)));
    for (size_t at = 0; at < r.n;) {
        KE_TRY(ke__progress(cx, "key statistics", at, r.n));
        KE_TRY(read_batch(cx, &r, out, &at));
    }
    KE_TRY(ke__progress(cx, "key statistics", r.n, r.n));
    out->info.n_tokens = r.n;
    out->bos = r.bos >= 0;
    KE_TRY(finish(cx, out, model, opts));
done:
    reader_free(cx, &r);
    if (st != KE_OK)
        ke__moments_free(cx, out);
    return st;
}

ke_status ke_stats_compute(ke_ctx *cx, ke_stats_info *out, const ke_model *model,
                           const ke_stats_opts *opts, const char *path, bool force)
{
    ke_status st = KE_OK;
    ke__moments m = {0};
    ke__out file = {.fd = -1};
    char sha256[65];
    *out = (ke_stats_info){0};
    KE_TRY(ke__file_refuse_input(cx, path, model->info.path));
    KE_TRY(ke__out_open(cx, &file, path, force)); /* before the work: it may be refused */
    if (cx->opts.dry_run) {
        st = check(cx, model, opts);
        goto done;
    }
    KE_TRY(ke__moments_compute(cx, &m, model, opts));
    KE_TRY(ke__moments_write(cx, &file, &m));
    KE_TRY(ke__out_sync(cx, &file, sha256));
    KE_TRY(ke__out_commit(cx, &file));
    *out = m.info;
done:
    ke__out_close(cx, &file);
    ke__moments_free(cx, &m);
    return st;
}
