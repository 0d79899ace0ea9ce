/* Files of second moments, the cache of them, and their factors. */
#include "edit/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "KESTATS1"
#define ALIGN 64

/* --- writing -----------------------------------------------------------------------------
 */

static ke_status data_hash(ke_ctx *cx, char out[65], const ke__moments *m)
{
    ke_status st = KE_OK;
    ke__sha256 *sha = NULL;
    KE_TRY(ke__sha256_new(cx, &sha));
    for (size_t i = 0; i < m->info.n_layers; i++)
        ke__sha256_add(sha, m->sums[i],
                       ke__packed(m->info.layers[i].width) * sizeof(double));
    ke__sha256_hex(sha, out);
done:
    ke__sha256_free(cx, sha);
    return st;
}

static json_t *header_of(const ke__moments *m, const char *data_sha256)
{
    json_t *layers = json_array();
    bool ok = true;
    for (size_t i = 0; i < m->info.n_layers; i++) {
        const ke_stats_layer *l = &m->info.layers[i];
        ok = ok &&
             ke__json_add(layers, json_pack("{s:i, s:f, s:f}", "layer", (int)l->layer,
                                            "trace", l->trace, "frobenius", l->frobenius));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:f, s:I, s:o, s:s}", "schema",
                     "knowedit.stats/1", "model_sha256", m->info.model_sha256,
                     "text_sha256", m->info.text_sha256, "tokens",
                     (json_int_t)m->info.n_tokens, "keys", (json_int_t)m->n_keys, "chunk",
                     (json_int_t)m->chunk, "bos", (int)m->bos, "shrink", m->shrink, "width",
                     (json_int_t)m->info.layers[0].width, "layers",
                     ke__json_done(layers, ok), "data_sha256", data_sha256);
}

ke_status ke__moments_write(ke_ctx *cx, ke__out *out, const ke__moments *m)
{
    static const uint8_t zeros[ALIGN];
    ke_status st = KE_OK;
    char sha256[65], *text = NULL;
    json_t *header = NULL;
    uint64_t bytes, at;
    KE_TRY(data_hash(cx, sha256, m));
    header = header_of(m, sha256);
    KE_TRY(ke__json_text(cx, &text, header, 17));
    bytes = strlen(text);
    at = sizeof MAGIC - 1 + sizeof bytes + bytes;
    KE_TRY(ke__out_write(cx, out, MAGIC, sizeof MAGIC - 1));
    KE_TRY(ke__out_write(cx, out, &bytes, sizeof bytes));
    KE_TRY(ke__out_write(cx, out, text, bytes));
    KE_TRY(ke__out_write(cx, out, zeros, (ALIGN - at % ALIGN) % ALIGN));
    for (size_t i = 0; i < m->info.n_layers; i++)
        KE_TRY(ke__out_write(cx, out, m->sums[i],
                             ke__packed(m->info.layers[i].width) * sizeof(double)));
done:
    json_decref(header);
    ke__free(cx, text);
    return st;
}

/* --- reading -----------------------------------------------------------------------------
 */

static ke_status malformed(ke_ctx *cx, const ke__map *map, const char *what)
{
    return ke__fail(cx, KE_EFORMAT, map->path, "not a sound statistics file: %s", what);
}

/* The header, checked against the file's length; *data: the first layer's moments. */
static ke_status read_header(ke_ctx *cx, json_t **out, const uint8_t **data,
                             const ke__map *map)
{
    uint64_t bytes, at = sizeof MAGIC - 1 + sizeof bytes;
    *out = NULL;
    if (map->bytes < at || memcmp(map->data, MAGIC, sizeof MAGIC - 1) != 0)
        return malformed(cx, map, "it doesn't begin with " MAGIC);
    memcpy(&bytes, map->data + sizeof MAGIC - 1, sizeof bytes);
    if (bytes > map->bytes - at)
        return malformed(cx, map, "its header is longer than the file");
    json_t *header = json_loadb((const char *)map->data + at, bytes, 0, NULL);
    json_int_t width = json_integer_value(json_object_get(header, "width"));
    const char *schema = json_string_value(json_object_get(header, "schema"));
    const char *wanted = json_string_value(json_object_get(header, "data_sha256"));
    size_t n = json_array_size(json_object_get(header, "layers"));
    const char *wrong = NULL;
    char sha256[65];
    at += bytes;
    at += (ALIGN - at % ALIGN) % ALIGN;
    /* No overflow: the packed triangle of 2^24 takes 2^50 bytes. */
    if (!schema || strcmp(schema, "knowedit.stats/1") != 0 || !wanted)
        wrong = "its header is not of schema knowedit.stats/1";
    else if (width < 1 || width > 1 << 24 || n < 1 || n > 64)
        wrong = "its width or number of layers is out of range";
    else if (map->bytes != at + n * ke__packed((size_t)width) * sizeof(double))
        wrong = "its length isn't what width and layers make";
    ke_status st = wrong ? malformed(cx, map, wrong)
                         : ke__sha256_of(cx, sha256, map->data + at, map->bytes - at);
    if (st == KE_OK && strcmp(sha256, wanted) != 0)
        st = malformed(cx, map, "its data don't match their checksum");
    if (st != KE_OK) {
        json_decref(header);
        return st;
    }
    *out = header;
    *data = map->data + at;
    return KE_OK;
}

/* Where the layer is in the file, once model and width are right. */
static ke_status find_layer(ke_ctx *cx, size_t *index, const json_t *header,
                            const ke__map *map, const ke_model *model, uint32_t layer)
{
    char sha256[65], has[128] = "";
    const json_t *layers = json_object_get(header, "layers");
    const char *of = json_string_value(json_object_get(header, "model_sha256"));
    json_int_t width = json_integer_value(json_object_get(header, "width"));
    ke_status st = ke_model_sha256(cx, model, sha256);
    if (st != KE_OK)
        return st;
    if (!of || strcmp(of, sha256) != 0 || width != (json_int_t)model->info.d_ffn)
        return ke__fail(cx, KE_EMISMATCH, map->path,
                        "the statistics are of the model %.12s... (width %" PRId64
                        "), this one is %.12s... (width %u)",
                        of ? of : "?", (int64_t)width, sha256, model->info.d_ffn);
    for (*index = 0; *index < json_array_size(layers); (*index)++) {
        const json_t *item = json_array_get(layers, *index);
        json_int_t have = json_integer_value(json_object_get(item, "layer"));
        if (have == (json_int_t)layer)
            return KE_OK;
        snprintf(has + strlen(has), sizeof has - strlen(has), "%s%" PRId64,
                 *index ? ", " : "", (int64_t)have);
    }
    return ke__fail(cx, KE_EINVAL, map->path, "no statistics of layer %u, only of %s",
                    layer, has);
}

static ke_status factorise(ke_ctx *cx, double *a, size_t width, uint32_t layer)
{
    size_t pivot = 0;
    ke_status st = ke__cholesky(cx, a, width, &pivot);
    if (st != KE_ENUMERIC)
        return st;
    return ke__fail(
        cx, st, "covariance",
        "the second moments of layer %u are not positive definite (pivot %zu of "
        "%zu): take more tokens, or a larger shrink",
        layer, pivot, width);
}

static ke_status factor_file(ke_ctx *cx, double **factor, const ke_model *model,
                             uint32_t layer, const char *path)
{
    ke_status st = KE_OK;
    ke__map map = {0};
    json_t *header = NULL;
    const uint8_t *data = NULL;
    size_t index = 0, f = model->info.d_ffn;
    double *a = NULL;
    KE_TRY(ke__map_open(cx, &map, path));
    KE_TRY(read_header(cx, &header, &data, &map));
    KE_TRY(find_layer(cx, &index, header, &map, model, layer));
    KE_TRY(ke__alloc(cx, &a, f, f * sizeof *a));
    /* Aligned: the data begin at a multiple of 64 in a page. */
    ke__unpack(a, (const double *)(const void *)data + index * ke__packed(f), f);
    KE_TRY(factorise(cx, a, f, layer));
    *factor = a;
    a = NULL;
done:
    ke__free(cx, a);
    json_decref(header);
    ke__map_close(cx, &map);
    return st;
}

/* --- the cache ---------------------------------------------------------------------------
 */

/* The defaults, with chunks that the model can read. */
static ke_stats_opts defaults(const ke_model *model)
{
    ke_stats_opts o = KE_STATS_DEFAULT;
    size_t longest = model->info.n_context > 1 ? model->info.n_context - 1 : 1;
    o.chunk = o.chunk < longest ? o.chunk : longest;
    return o;
}

/* The file's name says everything that its values depend on: the instruction set too, since
 * sums are rounded otherwise in each. */
static ke_status cache_path(ke_ctx *cx, char **out, const ke_model *model, uint32_t layer,
                            size_t n_tokens)
{
    ke_status st = KE_OK;
    const ke_stats_opts o = defaults(model);
    char *folder = NULL, *sub = NULL, sha256[65], text[65];
    *out = NULL;
    KE_TRY(ke_model_sha256(cx, model, sha256));
    KE_TRY(ke__sha256_of(cx, text, ke__stats_text,
                         (size_t)(ke__stats_text_end - ke__stats_text)));
    KE_TRY(ke__cache_folder(cx, &folder));
    KE_TRY(ke__format(cx, &sub, "%s/stats", folder));
    if (!cx->opts.dry_run && mkdir(sub, 0777) != 0 && errno != EEXIST) {
        st = ke__fail(cx, KE_EIO, sub, "cannot make the folder: %s", strerror(errno));
        goto done;
    }
    KE_TRY(ke__format(cx, out, "%s/%.32s-%u-%.16s-%zu-%zu-%s%s.kestats", sub, sha256, layer,
                      text, n_tokens ? n_tokens : (size_t)10 * model->info.d_ffn, o.chunk,
                      ke_ctx_isa(cx),
                      ke__tokenizer_bos_dropped(model->tokenizer) ? "-nobos" : ""));
done:
    ke__free(cx, folder);
    ke__free(cx, sub);
    return st;
}

static ke_status save(ke_ctx *cx, const char *path, const ke__moments *m)
{
    ke_status st = KE_OK;
    ke__out out = {.fd = -1};
    char sha256[65];
    KE_TRY(ke__out_open(cx, &out, path, true));
    KE_TRY(ke__moments_write(cx, &out, m));
    KE_TRY(ke__out_sync(cx, &out, sha256));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}

static ke_status factor_computed(ke_ctx *cx, double **factor, const ke_model *model,
                                 uint32_t layer, const char *path, size_t n_tokens,
                                 char *note)
{
    ke_status st = KE_OK;
    ke__moments m = {0};
    ke_stats_opts opts = defaults(model);
    double *a = NULL;
    size_t f = model->info.d_ffn;
    opts.layers = &layer;
    opts.n_layers = 1;
    opts.n_tokens = n_tokens;
    KE_TRY(ke__moments_compute(cx, &m, model, &opts));
    /* An edit doesn't fail for want of a cache. */
    if (!cx->opts.dry_run && (!path || save(cx, path, &m) != KE_OK))
        snprintf(note, 256, "the key statistics could not be cached: %.180s", cx->message);
    KE_TRY(ke__alloc(cx, &a, f, f * sizeof *a));
    ke__unpack(a, m.sums[0], f);
    KE_TRY(factorise(cx, a, f, layer));
    *factor = a;
    a = NULL;
done:
    ke__free(cx, a);
    ke__moments_free(cx, &m);
    return st;
}

ke_status ke__covariance_factor(ke_ctx *cx, double **factor, const ke_model *model,
                                uint32_t layer, const char *source, size_t n_tokens,
                                double *seconds, char *note)
{
    ke_status st = KE_OK;
    char *path = NULL;
    *factor = NULL;
    *seconds = 0.0;
    if (strcmp(source, "auto") != 0)
        return factor_file(cx, factor, model, layer, source);
    st = cache_path(cx, &path, model, layer, n_tokens);
    if (st != KE_OK && st != KE_EIO && st != KE_ENOENT)
        goto done; /* without a cache folder they are computed each time */
    if (st == KE_OK && ke__file_exists(path)) {
        st = factor_file(cx, factor, model, layer, path);
        if (st != KE_EFORMAT && st != KE_EMISMATCH && st != KE_EIO)
            goto done;
    }
    double begin = ke__now();
    st = factor_computed(cx, factor, model, layer, path, n_tokens, note);
    *seconds = ke__now() - begin;
done:
    ke__free(cx, path);
    return st;
}

ke_status ke__covariance_missing(ke_ctx *cx, size_t *n_tokens, const ke_model *model,
                                 uint32_t layer, size_t wanted)
{
    char *path = NULL;
    *n_tokens = wanted ? wanted : (size_t)10 * model->info.d_ffn;
    ke_status st = cache_path(cx, &path, model, layer, wanted);
    if (st == KE_OK && ke__file_exists(path))
        *n_tokens = 0;
    ke__free(cx, path);
    /* Without a cache folder they are computed each time. */
    return st == KE_EIO || st == KE_ENOENT ? KE_OK : st;
}

uint64_t ke__covariance_bytes(const ke_model *model)
{
    return (uint64_t)model->info.d_ffn * model->info.d_ffn * sizeof(double);
}
