/* One row of a run as JSON (schema knowedit.cases/1): what a protocol makes of a trial. */
#include "eval/metrics.h"
#include "study/bench.h"
#include "study/study.h"

#include <math.h>
#include <string.h>

static const ke__protocol *const protocols[] = {&ke__protocol_easyedit, &ke__protocol_real};

const ke__protocol *ke__protocol_at(size_t i)
{
    return i < sizeof protocols / sizeof protocols[0] ? protocols[i] : NULL;
}

static ke_status no_memory(ke_ctx *cx)
{
    return ke__fail(cx, KE_ENOMEM, NULL, "out of memory: a row of the run");
}

/* A list of object[key], made when it is first asked for. */
static json_t *list_of(json_t *object, const char *key)
{
    json_t *list = json_object_get(object, key);
    if (!list && ke__json_set(object, key, json_array()))
        list = json_object_get(object, key);
    return list;
}

static json_t *object_of(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!value && ke__json_set(object, key, json_object()))
        value = json_object_get(object, key);
    return value;
}

/* --- scores ------------------------------------------------------------------------- */

static json_t *place_of(json_t *row, const ke__item *item)
{
    switch (item->kind) {
    case KE__SUCCESS:
        return list_of(row, "success");
    case KE__REPHRASE:
        return list_of(row, "rephrase");
    case KE__PORTABILITY:
        return list_of(object_of(row, "portability"), item->part);
    default:
        return list_of(object_of(row, "locality"), item->part);
    }
}

static unsigned shift_of(const ke__protocol *p, const ke__trial *t)
{
    return t->without & KE_FAULT_SHIFT ? KE__SHIFTED : p->shift;
}

/* ConvSent's success is one number for the topic, its locality a divergence. */
static bool add_opinion(json_t *row, double *success, const ke__protocol *p,
                        const ke__trial *t)
{
    unsigned shift = shift_of(p, t);
    const ke__opinion *after = &t->after->opinion[shift];
    const ke__opinion *before = &t->before->opinion[shift];
    *success = ke__metric_convsent(after->agree, after->oppose, before->agree);
    return ke__json_add(list_of(row, "success"), ke__json_number(*success)) &&
           (t->c->n_other == 0 || ke__json_add(list_of(object_of(row, "locality"), "KL"),
                                               ke__json_number(t->after->kl[shift])));
}

static ke_status add_scores(ke_ctx *cx, json_t *row, double *success, const ke__protocol *p,
                            const ke__trial *t)
{
    ke_status st = KE_OK;
    double sum = 0, value = 0;
    size_t n = 0;
    if (t->c->kind == KE__CASE_CONVSENT)
        return add_opinion(row, success, p, t) ? KE_OK : no_memory(cx);
    for (size_t i = 0; i < t->n; i++) {
        KE_TRY(p->score(cx, &value, t, i));
        if (!ke__json_add(place_of(row, &t->items[i]), ke__json_number(value)))
            return no_memory(cx);
        if (t->items[i].kind == KE__SUCCESS && !isnan(value)) {
            sum += value;
            n++;
        }
    }
    *success = n > 0 ? sum / (double)n : (double)NAN;
done:
    return st;
}

static ke_status add_exact(ke_ctx *cx, json_t *row, const ke__protocol *p,
                           const ke__trial *t)
{
    ke_status st = KE_OK;
    double value = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->items[i].kind != KE__SUCCESS)
            continue;
        KE_TRY(p->exact(cx, &value, t, i));
        double probability = exp(t->after->replies[KE__FORCED][i].logprob);
        if (!ke__json_add(list_of(row, "exact"), ke__json_number(value)) ||
            !ke__json_add(list_of(row, "probability"), ke__json_number(probability)))
            return no_memory(cx);
    }
done:
    return st;
}

/* --- figures that only some sets have ----------------------------------------------- */

/* Methods 5.7: which of the new and the true answer is more likely, and by how much. */
static bool add_rivals(json_t *metrics, const ke__trial *t)
{
    static const char *const names[][2] = {
        [KE__SUCCESS] = {"efficacy", "efficacy_magnitude"},
        [KE__REPHRASE] = {"paraphrase", "paraphrase_magnitude"},
        [KE__LOCALITY] = {"neighbourhood", "neighbourhood_magnitude"},
    };
    bool ok = true;
    for (size_t i = 0; i < t->n; i++) {
        const ke__reply *r = &t->after->replies[KE__FORCED][i];
        ke__item_kind kind = t->items[i].kind;
        if (kind == KE__PORTABILITY || isnan(r->rival) || isnan(r->logprob))
            continue;
        /* The expected answer is the new one, but for neighbours the true one; both numbers
         * are mirrored there (NS, NM). */
        bool prefers = ke__metric_prefers_new(-r->logprob, -r->rival);
        double magnitude = ke__metric_magnitude(-r->logprob, -r->rival);
        ok = ok && ke__json_add(list_of(metrics, names[kind][0]), json_integer(prefers)) &&
             ke__json_add(list_of(metrics, names[kind][1]), ke__json_number(magnitude));
    }
    return ok;
}

/* The perplexity of an answer is one over its probability (methods 5.11). */
static bool add_perplexity(json_t *metrics, const ke__trial *t)
{
    return ke__json_set(metrics, "perplexity",
                        ke__json_number(exp(-t->after->replies[KE__FORCED][0].logprob))) &&
           ke__json_set(metrics, "perplexity_before",
                        ke__json_number(exp(-t->before->replies[KE__FORCED][0].logprob)));
}

static bool add_margins(json_t *metrics, const ke__trial *t)
{
    bool ok = true;
    for (size_t i = 0; i < t->n; i++)
        ok = ok && ke__json_add(list_of(metrics, "margin"),
                                ke__json_number(t->after->replies[KE__FORCED][i].margin));
    return ok;
}

static bool add_opinions(json_t *metrics, const ke__protocol *p, const ke__trial *t)
{
    unsigned shift = shift_of(p, t);
    const ke__opinion *after = &t->after->opinion[shift];
    return ke__json_set(metrics, "agree", ke__json_number(after->agree)) &&
           ke__json_set(metrics, "oppose", ke__json_number(after->oppose)) &&
           ke__json_set(metrics, "agree_before",
                        ke__json_number(t->before->opinion[shift].agree));
}

static bool add_trace(json_t *metrics, const ke_edit_trace *trace)
{
    bool ok = ke__json_set(metrics, "steps", json_integer((json_int_t)trace->n_loss)) &&
              ke__json_set(metrics, "delta_norm", ke__json_number(trace->delta_norm));
    if (trace->n_loss > 0)
        ok = ok && ke__json_set(metrics, "first_loss", ke__json_number(trace->loss[0])) &&
             ke__json_set(metrics, "last_loss",
                          ke__json_number(trace->loss[trace->n_loss - 1]));
    if (*trace->note)
        ok = ok && ke__json_set(metrics, "note", ke__json_string(trace->note));
    return ok;
}

static bool add_metrics(json_t *row, const ke__protocol *p, const ke__row_in *in)
{
    json_t *metrics = object_of(row, "metrics");
    const ke__trial *t = in->trial;
    bool ok = metrics != NULL;
    if (in->trace)
        ok = ok && add_trace(metrics, in->trace);
    if (in->error)
        return ok;
    if (p->view(t->c) == KE__FORCED)
        ok = ok && add_margins(metrics, t);
    if (t->c->kind == KE__CASE_COUNTERFACT)
        ok = ok && add_rivals(metrics, t);
    if (t->c->kind == KE__CASE_CONVSENT)
        ok = ok && add_opinions(metrics, p, t);
    if (strcmp(t->c->set, "wikibio") == 0)
        ok = ok && add_perplexity(metrics, t);
    return ok;
}

/* --- texts -------------------------------------------------------------------------- */

static bool add_text(json_t *texts, const ke__item *item, const char *before,
                     const char *after)
{
    static const char *const kinds[] = {"success", "rephrase", "portability", "locality",
                                        "fluency"};
    json_t *out = json_object();
    bool ok = ke__json_set(out, "kind", json_string(kinds[item->kind]));
    if (item->part)
        ok = ok && ke__json_set(out, "part", ke__json_string(item->part));
    ok = ok && ke__json_set(out, "prompt", ke__json_string(item->prompt)) &&
         ke__json_set(out, "expected", ke__json_string(item->expected)) &&
         ke__json_set(out, "before", ke__json_string(before)) &&
         ke__json_set(out, "after", ke__json_string(after));
    return ke__json_add(texts, ke__json_done(out, ok));
}

static bool add_texts(json_t *row, const ke__protocol *p, size_t place,
                      const ke__row_in *in)
{
    json_t *texts = list_of(row, "texts");
    const ke__trial *t = in->trial;
    ke__view view = p->view(t->c);
    bool ok = texts != NULL;
    for (size_t i = 0; !in->error && i < t->n; i++)
        ok = ok && add_text(texts, &t->items[i], t->before->replies[view][i].text,
                            t->after->replies[view][i].text);
    for (size_t i = 0; in->drawn && i < in->drawn->n; i++) {
        const ke__item item = {.kind = KE__FLUENCY, .prompt = in->drawn->prompts[i]};
        ok = ok && add_text(texts, &item, NULL, in->drawn->texts[place][i]);
    }
    return ok;
}

/* --- the row ------------------------------------------------------------------------ */

static bool add_head(json_t *row, const ke__protocol *p, const ke__row_in *in)
{
    const ke__case *c = in->trial->c;
    return ke__json_set(row, "set", ke__json_string(c->set)) &&
           ke__json_set(row, "file", ke__json_string(in->file)) &&
           ke__json_set(row, "index", json_integer((json_int_t)c->index)) &&
           ke__json_set(row, "method", json_string(in->method)) &&
           ke__json_set(row, "protocol", json_string(p->name)) &&
           ke__json_set(row, "mode", json_string(in->mode)) &&
           ke__json_set(row, "at", json_string(in->at)) &&
           ke__json_set(row, "success", json_array()) &&
           ke__json_set(row, "rephrase", json_array()) &&
           ke__json_set(row, "portability", json_object()) &&
           ke__json_set(row, "locality", json_object()) &&
           ke__json_set(row, "exact", json_array()) &&
           ke__json_set(row, "probability", json_array());
}

static bool add_seconds(json_t *row, const ke__row_in *in)
{
    json_t *seconds = object_of(row, "seconds");
    return ke__json_set(seconds, "edit", ke__json_number(in->seconds_edit)) &&
           ke__json_set(seconds, "evaluate", ke__json_number(in->seconds_evaluate)) &&
           (!in->error || ke__json_set(row, "error", ke__json_string(in->error)));
}

ke_status ke__bench_row(ke_ctx *cx, char **out, double *success, const ke__protocol *p,
                        const ke__row_in *in)
{
    ke_status st = KE_OK;
    json_t *row = json_object();
    size_t place = 0;
    while (ke__protocol_at(place) != p)
        place++;

    *out = NULL;
    *success = (double)NAN;
    bool ok = add_head(row, p, in);
    if (ok && !in->error) {
        KE_TRY(add_scores(cx, row, success, p, in->trial));
        KE_TRY(add_exact(cx, row, p, in->trial));
    }
    ok = ok &&
         ke__json_set(
             row, "fluency",
             ke__json_number(in->drawn ? in->drawn->fluency[place] : (double)NAN)) &&
         add_seconds(row, in) && add_metrics(row, p, in) && add_texts(row, p, place, in);
    st = ok ? ke__json_text(cx, out, row, 17) : no_memory(cx);
done:
    json_decref(row);
    return st;
}
