/* Second moments of keys: their values, their files, the cache, and their factors. */
#include "edit/keys.h"
#include "edit/stats.h"
#include "support/close.h"
#include "support/oom.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { F = 64, PACKED = F * (F + 1) / 2 };
static ke_ctx *cx;
static ke_model *model;
static char *text; /* every token of it is a byte: no pair merges */
static const uint32_t layers[] = {2, 0};

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s (%s)", ke_ctx_message(cx), ke_ctx_where(cx));
}

static int set_up(void **state)
{
    enum { BYTES = 400 };
    ke__rng rng = {9};
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 2});
    model = tiny_model_open(cx, &(tiny_spec){.seed = 5});
    ok(ke__alloc(cx, &text, BYTES + 1, 1));
    for (size_t i = 0; i < BYTES; i++)
        text[i] = "bcdfg"[ke__rng_next(&rng) % 5];
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke__free(cx, text);
    ke_model_close(cx, model);
    ke_ctx_free(cx);
    return scratch_remove(state);
}

static ke_stats_opts options(size_t tokens, size_t chunk, double shrink)
{
    ke_stats_opts o = KE_STATS_DEFAULT;
    o.layers = layers;
    o.n_layers = 2;
    o.n_tokens = tokens;
    o.chunk = chunk;
    o.shrink = shrink;
    o.text = text;
    o.text_bytes = strlen(text);
    return o;
}

/* The mean of k k^T, element by element in double, each chunk in a run of its own. */
static void naive(double *out, uint32_t layer, size_t tokens, size_t chunk)
{
    int32_t *ids = NULL, rows[400];
    float *keys = NULL;
    size_t n;
    ke__pass *pass = NULL;
    ok(ke_tokenize(cx, &ids, &n, ke_model_tokenizer(model), text, strlen(text), 0));
    assert_int_equal(strlen(text), n);
    ok(ke__alloc(cx, &keys, tokens * F, sizeof *keys));
    ok(ke__pass_new(cx, &pass, model, NULL));
    for (size_t i = 0; i < tokens; i++)
        rows[i] = (int32_t)i;
    for (size_t at = 0; at < tokens; at += chunk) {
        size_t many = tokens - at < chunk ? tokens - at : chunk;
        const ke__seq seq = {ids + at, (uint32_t)many, 0};
        const ke__tap tap = {layer, KE__MLP_KEY, rows, many, keys + at * F};
        ok(ke__pass_run(
            cx, pass,
            &(ke__pass_in){.seqs = &seq, .n_seqs = 1, .taps = &tap, .n_taps = 1}));
    }
    for (size_t i = 0; i < F; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0.0;
            for (size_t t = 0; t < tokens; t++)
                sum += (double)keys[t * F + i] * (double)keys[t * F + j];
            out[ke__packed(i) + j] = sum / (double)tokens;
        }
    ke__pass_free(cx, pass);
    ke__free(cx, keys);
    ke__free(cx, ids);
}

/* The last chunk is a short one. Allowed: f32 rounding of sums of squares. */
static void moments_are_means_of_products(void **state)
{
    (void)state;
    ke_stats_opts o = options(150, 32, 0.0);
    ke__moments m;
    double want[PACKED], trace = 0.0, square = 0.0;
    ok(ke__moments_compute(cx, &m, model, &o));
    assert_int_equal(150, m.info.n_tokens);
    for (size_t k = 0; k < 2; k++) {
        naive(want, layers[k], 150, 32);
        ke__moment_norms(want, F, &trace, &square);
        for (size_t i = 0; i < PACKED; i++)
            assert_close(want[i], m.sums[k][i], 1e-6 * trace);
        assert_int_equal(layers[k], m.info.layers[k].layer);
        assert_close(trace, m.info.layers[k].trace, 1e-6 * trace);
        assert_close(square, m.info.layers[k].frobenius, 1e-6 * square);
    }
    ke__moments_free(cx, &m);
}

/* C + s (tr C / F) I has (1 + s) times the trace, and the same off the diagonal. */
static void shrinkage_lifts_the_diagonal(void **state)
{
    (void)state;
    ke_stats_opts plain = options(150, 32, 0.0), shrunk = options(150, 32, 0.5);
    ke__moments a, b;
    ok(ke__moments_compute(cx, &a, model, &plain));
    ok(ke__moments_compute(cx, &b, model, &shrunk));
    double lift = 0.5 * a.info.layers[0].trace / F;
    assert_close(1.5 * a.info.layers[0].trace, b.info.layers[0].trace, 1e-9);
    for (size_t i = 0; i < F; i++)
        for (size_t j = 0; j <= i; j++)
            assert_close(a.sums[0][ke__packed(i) + j] + (i == j ? lift : 0.0),
                         b.sums[0][ke__packed(i) + j], 1e-12);
    ke__moments_free(cx, &a);
    ke__moments_free(cx, &b);
}

static void same_file_for_any_number_of_threads(void **state)
{
    const unsigned threads[] = {1, 2, 7};
    char *first = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < 3; i++) {
        ke_ctx *own = ke_ctx_new(&(ke_ctx_opts){.n_threads = threads[i]});
        ke_stats_opts o = options(300, 64, 1e-4);
        ke_stats_info info;
        const char *path = scratch_path(state, "threads.stats");
        char *data = NULL;
        size_t n;
        assert_int_equal(KE_OK, ke_stats_compute(own, &info, model, &o, path, i > 0));
        ok(ke__file_read(cx, &data, &n, path, (size_t)1 << 20));
        if (i == 0) {
            first = data;
            bytes = n;
            data = NULL;
        } else {
            assert_int_equal(bytes, n);
            assert_memory_equal(first, data, n);
        }
        ke__free(cx, data);
        ke_ctx_free(own);
    }
    ke__free(cx, first);
}

static ke_status factor_of(double **a, const ke_model *m, uint32_t layer,
                           const char *source)
{
    double seconds;
    char note[256] = "";
    return ke__covariance_factor(cx, a, m, layer, source, 0, &seconds, note);
}

/* What a file gives back is L with L L^T = C. */
static void a_file_gives_the_factor(void **state)
{
    ke_stats_opts o = options(300, 64, 1e-2);
    ke_stats_info info;
    ke__moments m;
    double *a = NULL;
    const char *path = scratch_path(state, "factor.stats");
    ok(ke_stats_compute(cx, &info, model, &o, path, true));
    ok(ke__moments_compute(cx, &m, model, &o));
    for (size_t k = 0; k < 2; k++) {
        ok(factor_of(&a, model, layers[k], path));
        for (size_t i = 0; i < F; i++)
            for (size_t j = 0; j <= i; j++) {
                double sum = 0.0;
                for (size_t p = 0; p <= j; p++)
                    sum += a[i * F + p] * a[j * F + p];
                assert_close(m.sums[k][ke__packed(i) + j], sum,
                             1e-12 * m.info.layers[k].trace);
            }
        ke__free(cx, a);
    }
    assert_int_equal(KE_EINVAL, factor_of(&a, model, 1, path)); /* it has 2 and 0 */
    assert_non_null(strstr(ke_ctx_message(cx), "2, 0"));
    assert_int_equal(KE_EEXIST, ke_stats_compute(cx, &info, model, &o, path, false));
    assert_int_equal(KE_EINVAL,
                     ke_stats_compute(cx, &info, model, &o, model->info.path, true));
    ke__moments_free(cx, &m);
}

static void a_file_of_another_model_is_refused(void **state)
{
    ke_model *other = tiny_model_open(cx, &(tiny_spec){.seed = 6});
    ke_stats_opts o = options(300, 64, 1e-2);
    ke_stats_info info;
    double *a = NULL;
    const char *path = scratch_path(state, "other.stats");
    ok(ke_stats_compute(cx, &info, other, &o, path, true));
    assert_int_equal(KE_EMISMATCH, factor_of(&a, model, 2, path));
    assert_null(a);
    ke_model_close(cx, other);
}

/* Cut anywhere, or with any byte changed: an error, and nothing read beyond the end. */
static void damaged_files_are_refused(void **state)
{
    ke_stats_opts o = options(300, 64, 1e-2);
    ke_stats_info info;
    char *data = NULL;
    size_t n;
    double *a = NULL;
    const char *path = scratch_path(state, "damaged.stats");
    ok(ke_stats_compute(cx, &info, model, &o, path, true));
    ok(ke__file_read(cx, &data, &n, path, (size_t)1 << 20));
    for (size_t cut = 1; cut < n; cut += cut < 700 ? 7 : 1009) {
        scratch_write(path, data, cut);
        assert_int_equal(KE_EFORMAT, factor_of(&a, model, 2, path));
    }
    for (size_t at = 0; at < n; at += at < 700 ? 1 : 1009) {
        data[at] ^= 1;
        scratch_write(path, data, n);
        data[at] ^= 1;
        if (factor_of(&a, model, 2, path) == KE_OK &&
            at < 700) /* a figure of no consequence */
            ke__free(cx, a);
        else
            assert_null(a);
    }
    ke__free(cx, data);
}

/* Fewer keys than directions: without shrinkage some direction was never seen. */
static void too_few_tokens_name_layer_and_pivot(void **state)
{
    ke_stats_opts o = options(F / 2, 32, 0.0);
    ke_stats_info info;
    double *a = NULL;
    const char *path = scratch_path(state, "few.stats");
    ok(ke_stats_compute(cx, &info, model, &o, path, true));
    assert_int_equal(KE_ENUMERIC, factor_of(&a, model, 2, path));
    assert_non_null(strstr(ke_ctx_message(cx), "layer 2"));
    assert_non_null(strstr(ke_ctx_message(cx), "pivot"));
    assert_null(a);
}

static void bad_options_are_refused(void **state)
{
    static const uint32_t twice[] = {1, 1}, high[] = {0, 3};
    ke_stats_info info;
    ke_stats_opts cases[7];
    for (size_t i = 0; i < 7; i++)
        cases[i] = options(150, 32, 0.0);
    cases[0].n_tokens = 401;
    cases[1].layers = twice;
    cases[2].layers = high;
    cases[3].n_layers = 0;
    cases[4].chunk = 0;
    cases[5].chunk = (size_t)model->info.n_context + 1;
    cases[6].shrink = -1;
    for (size_t i = 0; i < 7; i++) {
        int files = scratch_count(state);
        assert_int_equal(KE_EINVAL,
                         ke_stats_compute(cx, &info, model, &cases[i],
                                          scratch_path(state, "bad.stats"), true));
        assert_int_equal(files, scratch_count(state)); /* nothing was left */
    }
}

static void not_a_number_is_told(void **state)
{
    (void)state;
    ke_model *bad = tiny_model_open(cx, &(tiny_spec){.seed = 5, .poison = (float)NAN});
    ke_stats_opts o = options(150, 32, 0.0);
    ke__moments m;
    assert_int_equal(KE_ENUMERIC, ke__moments_compute(cx, &m, bad, &o));
    ke_model_close(cx, bad);
}

static int files_in(const char *folder)
{
    char command[600];
    snprintf(command, sizeof command, "ls '%s' | wc -l", folder);
    FILE *f = popen(command, "r");
    int n = -1;
    assert_non_null(f);
    assert_int_equal(1, fscanf(f, "%d", &n));
    pclose(f);
    return n;
}

/* Computed once, then read; a damaged file is computed again; without a folder it works
 * too, and says so. */
static void auto_is_cached(void **state)
{
    const char *cache = scratch_path(state, "cache");
    char folder[512], broken[1024], note[256] = "";
    double *a = NULL, *b = NULL, seconds;
    size_t missing;
    setenv("KNOWEDIT_CACHE", cache, 1);
    snprintf(folder, sizeof folder, "%s/stats", cache);
    ok(ke__covariance_missing(cx, &missing, model, 1, 0));
    assert_int_equal(10 * F, missing);
    ok(ke__covariance_factor(cx, &a, model, 1, "auto", 0, &seconds, note));
    assert_true(seconds > 0.0);
    assert_int_equal(1, files_in(folder));
    ok(ke__covariance_missing(cx, &missing, model, 1, 0));
    assert_int_equal(0, missing);
    ok(ke__covariance_factor(cx, &b, model, 1, "auto", 0, &seconds, note));
    assert_true(seconds == 0.0);
    assert_memory_equal(a, b, F * F * sizeof *a);
    ke__free(cx, b);

    snprintf(broken, sizeof broken, "truncate -s 1000 '%s'/*", folder);
    assert_int_equal(0, system(broken));
    ok(ke__covariance_factor(cx, &b, model, 1, "auto", 0, &seconds, note));
    assert_true(seconds > 0.0);
    assert_memory_equal(a, b, F * F * sizeof *a);
    assert_string_equal("", note);
    ke__free(cx, b);

    setenv("KNOWEDIT_CACHE", "/dev/null/none", 1);
    ok(ke__covariance_factor(cx, &b, model, 1, "auto", 0, &seconds, note));
    assert_memory_equal(a, b, F * F * sizeof *a);
    assert_non_null(strstr(note, "cached"));
    ke__free(cx, b);
    ke__free(cx, a);
}

static void the_built_in_text_is_there(void **state)
{
    (void)state;
    size_t n = (size_t)(ke__stats_text_end - ke__stats_text);
    assert_true(n > 390000 && n < 410000);
    assert_int_equal('\n', ke__stats_text[n - 1]);
    assert_int_equal('\0', *ke__stats_text_end);
}

static ke_status compute_and_write(ke_ctx *own, void *payload)
{
    ke_stats_opts o = options(70, 32, 0.1);
    ke_stats_info info;
    return ke_stats_compute(own, &info, model, &o, payload, true);
}

static void survives_failing_allocations(void **state)
{
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path(state, "oom.stats"));
    oom_each(compute_and_write, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_means_of_products),
        cmocka_unit_test(shrinkage_lifts_the_diagonal),
        cmocka_unit_test(same_file_for_any_number_of_threads),
        cmocka_unit_test(a_file_gives_the_factor),
        cmocka_unit_test(a_file_of_another_model_is_refused),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(too_few_tokens_name_layer_and_pivot),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(not_a_number_is_told),
        cmocka_unit_test(auto_is_cached),
        cmocka_unit_test(the_built_in_text_is_there),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
