/* What the tests on real models share: the model, and JSON of expected values. */
#ifndef KE_TESTS_ORACLE_H
#define KE_TESTS_ORACLE_H

#include "model/pass.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

typedef struct oracle {
    ke_ctx *cx;
    ke_model *model;
    json_t *expected;
} oracle;

/* The models that have expected values of the pass and of the tokenizer. */
typedef struct oracle_model {
    const char *path_variable; /* of the environment; the others are left out without it */
    const char *file;          /* in tests/data/oracles */
    uint32_t weights_layer;    /* whose gradients were recorded */
    bool permutes;             /* the file has rows of q and k in another order */
    const char *tokenizer;
    size_t n_tokens;
    int32_t bos, eos, end; /* `end` ends a text too */
} oracle_model;

static const oracle_model oracle_models[] = {
    {"KE_MODEL_SMOLLM2", "smollm2-135m.json", 15, true, "gpt2 (smollm)", 49152, 1, 2, 0},
    {"KE_MODEL_QWEN05", "qwen2.5-coder-0.5b.json", 12, false, "gpt2 (qwen2)", 151936,
     151643, 151645, 151643},
    {"KE_MODEL_GEMMA3", "gemma3-270m.json", 9, false, "llama (SentencePiece)", 262144, 2, 1,
     106},
};
enum { ORACLE_MODELS = sizeof oracle_models / sizeof oracle_models[0] };

/* The model named by environment variable `path_variable` and tests/data/oracles/`file`.
 * A missing one fails the test: these tests are only built by `make check-models`. */
static inline oracle oracle_open(const char *path_variable, const char *file)
{
    oracle o = {.cx = ke_ctx_new(NULL)};
    json_error_t error;
    char path[256];
    const char *model = getenv(path_variable), *isa = getenv("KE_ISA");
    if (!o.cx)
        fail_msg("KE_ISA=%s: expected ref, avx2 or avx512", isa ? isa : "");
    if (!model)
        fail_msg("set %s to the model's path", path_variable);
    if (ke_model_open(o.cx, &o.model, model) != KE_OK)
        fail_msg("%s", ke_ctx_message(o.cx));
    snprintf(path, sizeof path, "tests/data/oracles/%s", file);
    o.expected = json_load_file(path, 0, &error);
    if (!o.expected)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return o;
}

static inline void oracle_close(oracle *o)
{
    json_decref(o->expected);
    ke_model_close(o->cx, o->model);
    ke_ctx_free(o->cx);
}

static inline void oracle_check(const oracle *o, ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(o->cx));
}

/* Token ids of a JSON array; the caller frees. */
static inline int32_t *oracle_ids(const oracle *o, const json_t *array, size_t *n)
{
    int32_t *ids = NULL;
    *n = json_array_size(array);
    oracle_check(o, ke__alloc(o->cx, &ids, *n, sizeof *ids));
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

static inline double oracle_number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Print a figure for docs/fidelity.md; more than `allowed` fails the test. */
static inline void oracle_report(const char *what, double measured, double allowed)
{
    print_message("measured %-28s %.3g, allowed %.3g\n", what, measured, allowed);
    if (!(measured <= allowed))
        fail_msg("%s: %.3g is more than %.3g", what, measured, allowed);
}

#endif
