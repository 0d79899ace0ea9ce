/* What a model said, as JSON: the run's file keeps it of the unedited model. */
#include "study/bench.h"
#include "study/study.h"

#include <math.h>
#include <string.h>

static const char *const view_names[KE__VIEWS] = {"forced", "short", "long"};

static json_t *ids_json(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok &= ke__json_add(list, json_integer(ids[i]));
    return ke__json_done(list, ok);
}

static json_t *reply_json(const ke__reply *r, ke__view view)
{
    json_t *out = json_object();
    bool ok = ke__json_set(out, "ids", ids_json(r->ids, r->n)) &&
              ke__json_set(out, "text", ke__json_string(r->text));
    if (view == KE__FORCED)
        ok = ok && ke__json_set(out, "labels", ids_json(r->labels, r->labels ? r->n : 0)) &&
             ke__json_set(out, "logprob", ke__json_number(r->logprob)) &&
             ke__json_set(out, "margin", ke__json_number(r->margin)) &&
             ke__json_set(out, "rival", ke__json_number(r->rival));
    return ke__json_done(out, ok);
}

static json_t *opinion_json(const ke__said *said)
{
    json_t *list = json_array();
    bool ok = true;
    for (int k = 0; k < KE__SHIFTS; k++)
        ok = ok && ke__json_add(list, ke__json_number(said->opinion[k].agree)) &&
             ke__json_add(list, ke__json_number(said->opinion[k].oppose));
    return ke__json_done(list, ok);
}

ke_status ke__said_write(ke_ctx *cx, char **out, const ke__said *said)
{
    json_t *root = json_object();
    bool ok = ke__json_set(root, "opinion", opinion_json(said));
    for (int v = 0; v < KE__VIEWS; v++) {
        json_t *list = said->replies[v] ? json_array() : NULL;
        if (!said->replies[v])
            continue;
        for (size_t i = 0; i < said->n_items; i++)
            ok = ok && ke__json_add(list, reply_json(&said->replies[v][i], (ke__view)v));
        ok = ke__json_set(root, view_names[v], list) && ok;
    }
    /* All digits: a number read back is the number. */
    ke_status st = ke__json_text(cx, out, ok ? root : NULL, 17);
    json_decref(root);
    return st;
}

static double number_or_nan(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static ke_status ids_parse(ke_ctx *cx, int32_t **out, size_t *n, const json_t *list)
{
    *n = json_array_size(list);
    ke_status st = ke__alloc(cx, out, *n, sizeof **out);
    for (size_t i = 0; st == KE_OK && i < *n; i++)
        (*out)[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return st;
}

static ke_status reply_parse(ke_ctx *cx, ke__reply *out, const json_t *value)
{
    ke_status st = KE_OK;
    size_t n_labels = 0;
    const json_t *text = json_object_get(value, "text");

    KE_TRY(ids_parse(cx, &out->ids, &out->n, json_object_get(value, "ids")));
    KE_TRY(ids_parse(cx, &out->labels, &n_labels, json_object_get(value, "labels")));
    if (n_labels != out->n) {
        ke__free(cx, out->labels); /* generated, not forced */
        out->labels = NULL;
    }
    if (json_is_string(text))
        KE_TRY(ke__strdup(cx, &out->text, json_string_value(text)));
    out->logprob = number_or_nan(json_object_get(value, "logprob"));
    out->margin = number_or_nan(json_object_get(value, "margin"));
    out->rival = number_or_nan(json_object_get(value, "rival"));
done:
    return st;
}

static ke_status replies_parse(ke_ctx *cx, ke__said *out, const json_t *root)
{
    ke_status st = KE_OK;
    for (int v = 0; v < KE__VIEWS; v++) {
        const json_t *list = json_object_get(root, view_names[v]);
        if (!list)
            continue;
        if (json_array_size(list) != out->n_items)
            return ke__fail(cx, KE_EFORMAT, NULL,
                            "a run file with %zu %s replies to a case of %zu prompts",
                            json_array_size(list), view_names[v], out->n_items);
        KE_TRY(ke__alloc(cx, &out->replies[v], out->n_items, sizeof(ke__reply)));
        for (size_t i = 0; i < out->n_items; i++)
            KE_TRY(reply_parse(cx, &out->replies[v][i], json_array_get(list, i)));
    }
done:
    return st;
}

ke_status ke__said_parse(ke_ctx *cx, ke__said *out, const char *text, size_t n_items)
{
    ke_status st = KE_OK;
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);

    *out = (ke__said){.n_items = n_items};
    if (!root)
        return ke__fail(cx, KE_EFORMAT, NULL, "a run file with bad JSON: %s", error.text);
    for (int k = 0; k < KE__SHIFTS; k++) {
        const json_t *list = json_object_get(root, "opinion");
        out->opinion[k] =
            (ke__opinion){number_or_nan(json_array_get(list, 2 * (size_t)k)),
                          number_or_nan(json_array_get(list, 2 * (size_t)k + 1))};
    }
    st = replies_parse(cx, out, root);
    json_decref(root);
    if (st != KE_OK)
        ke__said_free(cx, out);
    return st;
}
