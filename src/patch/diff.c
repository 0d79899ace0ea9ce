/* What two models do not share, tensor by tensor and key by key. */
#include "patch/pairs.h"
#include "patch/patch.h"
#include "patch/spectrum.h"

#include <math.h>
#include <string.h>

struct pair {
    const ke__tensor *a, *b;
    size_t row_bytes_a, row_bytes_b;
    float *scratch;    /* [threads, 2, cols] */
    double (*sums)[2]; /* [rows] squares of A's row and of the difference */
    const ke_ctx *cx;
};

/* out = row i of B less row i of A; scratch: A's. */
static void delta_row(float *out, float *scratch, size_t i, const void *payload)
{
    const struct pair *p = payload;
    size_t n = p->a->cols;

    p->a->type->to_f32(scratch, p->a->data + i * p->row_bytes_a, n);
    p->b->type->to_f32(out, p->b->data + i * p->row_bytes_b, n);
    for (size_t c = 0; c < n; c++)
        out[c] -= scratch[c];
}

static void sum_row(size_t i, unsigned thread, void *payload)
{
    const struct pair *p = payload;
    size_t n = p->a->cols;
    float *delta = p->scratch + 2 * n * thread, *a = delta + n;
    double size = 0.0, change = 0.0;

    if (p->cx->canceled)
        return;
    delta_row(delta, a, i, p);
    for (size_t c = 0; c < n; c++) {
        size += (double)a[c] * (double)a[c];
        change += (double)delta[c] * (double)delta[c];
    }
    p->sums[i][0] = size;
    p->sums[i][1] = change;
}

/* Rounding puts noise of full rank beside an edit. In f16 and bf16 it holds a few per cent
 * of the square of an edit of one per cent of the matrix. Quantised types may make more
 * noise than the edit has norm, but spread over hundreds of singular values: there the
 * edit's own value must stand out from the next one. */
static bool looks_rank_one(const struct pair *p, const double *sigma2, double norm2)
{
    if (p->a->rows < 2 || p->a->cols < 2)
        return false; /* a vector's difference always is, and tells nothing */
    if (p->a->type->block == 1 && p->b->type->block == 1)
        return sigma2[0] >= 0.9 * norm2;
    return sigma2[0] > 10.0 * sigma2[1];
}

static ke_status measure(ke_ctx *cx, ke_diff_tensor *out, const struct pair *p)
{
    ke_status st = KE_OK;
    double size = 0.0, norm2 = 0.0, held = 0.0, sigma2[KE__SPECTRUM_BLOCK] = {0};
    const ke__rows rows = {p->a->rows, p->a->cols, delta_row, p};

    ke__parallel(cx, p->a->rows, sum_row, (void *)p);
    KE_TRY(ke__check_cancel(cx));
    for (size_t i = 0; i < p->a->rows; i++) {
        size += p->sums[i][0];
        norm2 += p->sums[i][1];
    }
    if (!isfinite(size) || !isfinite(norm2))
        goto done; /* stays incomparable */
    out->norm = sqrt(norm2);
    out->rel = size > 0.0 ? sqrt(norm2 / size) : (norm2 > 0.0 ? 1.0 : 0.0);
    if (norm2 == 0.0)
        goto done;
    KE_TRY(ke__spectrum(cx, sigma2, &rows, norm2));
    while (out->rank < KE__SPECTRUM_BLOCK && held < 0.99 * norm2)
        held += sigma2[out->rank++];
    out->sigma1_share = sigma2[0] / norm2;
    out->rank_one = looks_rank_one(p, sigma2, norm2);
done:
    return st;
}

/* An entry for a tensor that at least one of the models has; incomparable until measured.
 */
static ke_status add_entry(ke_ctx *cx, ke_diff *out, ke_diff_tensor **entry,
                           const ke__tensor *a, const ke__tensor *b)
{
    ke_status st = KE_OK;
    const ke__tensor *any = a ? a : b;
    ke_diff_tensor *t = &out->tensors[out->n];

    *t = (ke_diff_tensor){
        .type_a = a ? a->type->name : NULL,
        .type_b = b ? b->type->name : NULL,
        .rows = any->rows,
        .cols = any->cols,
        .norm = -1.0,
    };
    KE_TRY(ke__strdup(cx, &t->name, any->name));
    out->n++;
    *entry = t;
done:
    return st;
}

static ke_status compare(ke_ctx *cx, ke_diff *out, const ke__tensor *a, const ke__tensor *b)
{
    ke_status st = KE_OK;
    struct pair p = {.a = a, .b = b, .cx = cx};
    ke_diff_tensor *entry = NULL;
    bool same_shape = a->rows == b->rows && a->cols == b->cols;

    if (same_shape && a->type == b->type && memcmp(a->data, b->data, a->bytes) == 0)
        goto done;
    KE_TRY(add_entry(cx, out, &entry, a, b));
    if (!same_shape || !a->type->to_f32 || !b->type->to_f32 ||
        !ke__row_bytes(&p.row_bytes_a, a->type, a->cols) ||
        !ke__row_bytes(&p.row_bytes_b, b->type, b->cols))
        goto done;
    KE_TRY(ke__alloc(cx, &p.scratch, 2 * (size_t)ke__threads(cx) * a->cols, sizeof(float)));
    KE_TRY(ke__alloc(cx, &p.sums, a->rows, sizeof *p.sums));
    KE_TRY(measure(cx, entry, &p));
done:
    ke__free(cx, p.sums);
    ke__free(cx, p.scratch);
    return st;
}

static ke_status diff_tensors(ke_ctx *cx, ke_diff *out, const ke__gguf *a,
                              const ke__gguf *b)
{
    ke_status st = KE_OK;
    ke_diff_tensor *entry = NULL;

    KE_TRY(ke__alloc(cx, &out->tensors, a->n_tensors + b->n_tensors, sizeof *out->tensors));
    for (size_t i = 0; i < a->n_tensors; i++) {
        ptrdiff_t twin = ke__gguf_tensor(b, a->tensors[i].name);
        KE_TRY(ke__progress(cx, "comparing tensors", i, a->n_tensors));
        if (twin >= 0) {
            KE_TRY(compare(cx, out, &a->tensors[i], &b->tensors[twin]));
            out->n_compared++;
        } else {
            KE_TRY(add_entry(cx, out, &entry, &a->tensors[i], NULL));
        }
    }
    for (size_t i = 0; i < b->n_tensors; i++)
        if (ke__gguf_tensor(a, b->tensors[i].name) < 0)
            KE_TRY(add_entry(cx, out, &entry, NULL, &b->tensors[i]));
done:
    return st;
}

static bool same_value(const ke__gguf_kv *a, const ke__gguf_kv *b)
{
    return a->type == b->type && a->item == b->item && a->n == b->n &&
           a->value_bytes == b->value_bytes &&
           memcmp(a->value, b->value, a->value_bytes) == 0;
}

static ke_status add_key(ke_ctx *cx, ke_diff *out, const ke__gguf_kv *kv)
{
    ke_status st = KE_OK;

    KE_TRY(ke__strndup(cx, &out->metadata[out->n_metadata], kv->key.data, kv->key.bytes));
    out->n_metadata++;
done:
    return st;
}

static ke_status diff_keys(ke_ctx *cx, ke_diff *out, const ke__gguf *a, const ke__gguf *b)
{
    ke_status st = KE_OK;
    ptrdiff_t *in_b = NULL, *in_a = NULL;

    KE_TRY(ke__pair_keys(cx, &in_b, a, b));
    KE_TRY(ke__pair_keys(cx, &in_a, b, a));
    KE_TRY(ke__alloc(cx, &out->metadata, a->n_kvs + b->n_kvs, sizeof *out->metadata));
    for (size_t i = 0; i < a->n_kvs; i++)
        if (in_b[i] < 0 || !same_value(&a->kvs[i], &b->kvs[in_b[i]]))
            KE_TRY(add_key(cx, out, &a->kvs[i]));
    for (size_t i = 0; i < b->n_kvs; i++)
        if (in_a[i] < 0)
            KE_TRY(add_key(cx, out, &b->kvs[i]));
done:
    ke__free(cx, in_a);
    ke__free(cx, in_b);
    return st;
}

ke_status ke_diff_models(ke_ctx *cx, ke_diff *out, const ke_model *a, const ke_model *b)
{
    ke_status st = KE_OK;

    *out = (ke_diff){0};
    KE_TRY(diff_tensors(cx, out, &a->file, &b->file));
    KE_TRY(diff_keys(cx, out, &a->file, &b->file));
done:
    if (st != KE_OK)
        ke_diff_free(cx, out);
    return st;
}

void ke_diff_free(ke_ctx *cx, ke_diff *diff)
{
    for (size_t i = 0; i < diff->n; i++)
        ke__free(cx, diff->tensors[i].name);
    for (size_t i = 0; i < diff->n_metadata; i++)
        ke__free(cx, diff->metadata[i]);
    ke__free(cx, diff->tensors);
    ke__free(cx, diff->metadata);
    *diff = (ke_diff){0};
}
