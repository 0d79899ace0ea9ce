/* The cases of a run, one transaction each: what a kill cuts off is measured anew, and what
 * is in the file is never measured again. */
#include "study/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One case under way: its prompts and what the unedited model said to them, heard when it
 * is first needed and then kept in the file for all methods and later runs. */
typedef struct visit {
    const ke__case *c;
    ke__item *items; /* [n]; NULL: not begun */
    size_t n;
    ke__said before;
    double seconds; /* that hearing it took, in whatever run it was */
    char *error;    /* why the case can't be asked at all, or NULL */
} visit;

/* What an edit came to. */
typedef struct outcome {
    bool edited;
    char *error; /* why there is nothing to measure, or NULL */
    ke_edit_trace trace;
    double seconds;
} outcome;

static void visit_end(ke_ctx *cx, visit *v)
{
    ke__said_free(cx, &v->before);
    ke__free(cx, v->items);
    ke__free(cx, v->error);
    *v = (visit){0};
}

static void outcome_free(ke_ctx *cx, outcome *o)
{
    ke_edit_trace_free(cx, &o->trace);
    ke__free(cx, o->error);
    *o = (outcome){0};
}

static ke_status hear_before(ke_ctx *cx, ke__bench *b, visit *v)
{
    ke_status st = KE_OK;
    char *text = NULL;
    const ke__case *c = v->c;

    KE_TRY(ke__store_before(cx, b->store, c->file, c->index, &text, &v->seconds));
    if (text) {
        KE_TRY(ke__said_parse(cx, &v->before, text, v->n));
        goto done;
    }
    double begun = ke__now();
    st = ke__said_ask(cx, &v->before, b, c, v->items, v->n, NULL);
    if (st == KE_EINVAL) { /* a prompt that is too long: of this case, not of the run */
        st = ke__strdup(cx, &v->error, ke_ctx_message(cx));
        goto done;
    }
    KE_TRY(st);
    v->seconds = ke__now() - begun;
    KE_TRY(ke__said_write(cx, &text, &v->before));
    KE_TRY(ke__store_begin(cx, b->store));
    KE_TRY(ke__store_put_before(cx, b->store, c->file, c->index, text, v->seconds));
    KE_TRY(ke__store_commit(cx, b->store));
done:
    ke__free(cx, text);
    return st;
}

static ke_status visit_begin(ke_ctx *cx, ke__bench *b, visit *v, const ke__case *c)
{
    ke_status st = KE_OK;
    if (v->items)
        return KE_OK;
    v->c = c;
    KE_TRY(ke__items_make(cx, &v->items, &v->n, c));
    KE_TRY(hear_before(cx, b, v));
done:
    if (st != KE_OK)
        visit_end(cx, v);
    return st;
}

/* --- editing ------------------------------------------------------------------------ */

/* Failures that say something about a method on a case; all others end the run. */
static bool is_finding(ke_status st)
{
    return st == KE_ENUMERIC || st == KE_ENOTSUP || st == KE_EINVAL;
}

/* One attempt at the settings as they are: a benchmark measures a method, not a ladder. */
static ke_status edit(ke_ctx *cx, ke__bench *b, ke__bench_method *m, const ke__case *c,
                      ke__pile *pile, outcome *o)
{
    ke_status st = KE_OK;
    ke_patch *patch = NULL;
    double begun = ke__now();

    *o = (outcome){0};
    if (!m->settings)
        return KE_OK;
    if (!m->editor)
        st = ke_editor_new(cx, &m->editor, b->model, m->settings, b->job->seed);
    if (st == KE_OK)
        st = ke_editor_edit(cx, m->editor, &patch, pile->stack, &c->fact, 1, &o->trace);
    o->seconds = ke__now() - begun - o->trace.stats_seconds;
    ke__bench_leave(b, begun);
    if (is_finding(st))
        return ke__strdup(cx, &o->error, ke_ctx_message(cx));
    if (st != KE_OK)
        return st;
    o->edited = true;
    return ke__pile_push(cx, pile, patch, b->job->sequential);
}

/* --- measuring ---------------------------------------------------------------------- */

static ke_status ask_after(ke_ctx *cx, ke__bench *b, const visit *v, ke_stack *stack,
                           ke__said *after, ke__drawn *drawn)
{
    ke_status st = KE_OK;
    ke__merged rounded = {0};
    bool pushed = false;

    if (stack && b->rounded) {
        KE_TRY(ke__merge(cx, &rounded, b->model, stack, b->type));
        KE_TRY(ke__stack_push_merged(cx, stack, &rounded));
        pushed = true;
    }
    if (stack)
        KE_TRY(ke__said_ask(cx, after, b, v->c, v->items, v->n, stack));
    if (!b->job->no_fluency)
        KE_TRY(ke__drawn_ask(cx, drawn, b, v->c, v->items, v->n, stack));
done:
    if (pushed)
        ke_stack_pop(cx, stack);
    ke__merged_free(cx, &rounded);
    return st;
}

static ke_status put_rows(ke_ctx *cx, ke__bench *b, ke__bench_method *m,
                          const ke__row_in *in, double success[2])
{
    ke_status st = KE_OK;
    const ke__protocol *p;
    char *body = NULL;

    KE_TRY(ke__store_begin(cx, b->store));
    for (size_t i = 0; (p = ke__protocol_at(i)); i++) {
        success[i] = (double)NAN;
        if (!(b->protocols & p->bit))
            continue;
        KE_TRY(ke__bench_row(cx, &body, &success[i], p, in));
        KE_TRY(ke__store_put_row(cx, b->store,
                                 &(ke__store_row){.file = in->trial->c->file,
                                                  .index = in->trial->c->index,
                                                  .method_order = (size_t)(m - b->methods),
                                                  .method = m->name,
                                                  .protocol = p->name,
                                                  .at = in->at,
                                                  .body = body,
                                                  .error = in->error,
                                                  .seconds_edit = in->seconds_edit,
                                                  .seconds_evaluate = in->seconds_evaluate,
                                                  .peak_bytes = ke_ctx_peak_bytes(cx)}));
        ke__free(cx, body);
        body = NULL;
        b->summary->n_rows++;
    }
    KE_TRY(ke__store_commit(cx, b->store));
done:
    ke__free(cx, body);
    return st;
}

/* "success 1.00 easyedit, 0.00 real; so far 0.85, 0.40" */
static ke_status say_measured(ke_ctx *cx, ke__bench *b, ke__bench_method *m,
                              const ke__row_in *in, const double success[2])
{
    char now[96] = "", mean[64] = "";
    const ke__protocol *p;
    for (size_t i = 0; (p = ke__protocol_at(i)); i++) {
        if (!(b->protocols & p->bit) || isnan(success[i]))
            continue;
        m->success[i] += success[i];
        m->n_success[i]++;
        size_t at = strlen(now), end = strlen(mean);
        snprintf(now + at, sizeof now - at, "%s%.2f %s", at ? ", " : "", success[i],
                 p->name);
        snprintf(mean + end, sizeof mean - end, "%s%.2f", end ? ", " : "",
                 m->success[i] / (double)m->n_success[i]);
    }
    return ke__bench_say(
        cx, b, "%s %zu, %s: %s%s%s%s; edit %.1f s, scores %.1f s", in->trial->c->set,
        in->trial->c->index, m->name, in->error ? in->error : "success ", now,
        in->error ? "" : "; so far ", mean, in->seconds_edit, in->seconds_evaluate);
}

/* Ask the model under the stack (NULL: none), judge, and put the rows into the file. */
static ke_status measure(ke_ctx *cx, ke__bench *b, ke__bench_method *m, visit *v,
                         ke_stack *stack, outcome *o, const char *at)
{
    ke_status st = KE_OK;
    ke__said after = {0};
    ke__drawn drawn = {0};
    char *unasked = NULL; /* why the edited model can't be asked: of this scoring alone */
    const char *error = o->error ? o->error : v->error;
    double begun = ke__now(), success[2];

    if (!error) {
        st = ask_after(cx, b, v, m->settings ? stack : NULL, &after, &drawn);
        if (is_finding(st))
            st = ke__strdup(cx, &unasked, ke_ctx_message(cx));
        if (st != KE_OK)
            goto done;
        error = unasked;
    }
    const ke__trial trial = {
        v->c,           v->items, v->n, &v->before, m->settings ? &after : &v->before,
        b->job->without};
    const ke__row_in in = {.trial = &trial,
                           .drawn = error || b->job->no_fluency ? NULL : &drawn,
                           .trace = o->edited ? &o->trace : NULL,
                           .file = b->file_names[v->c->file],
                           .method = m->name,
                           .mode = b->job->sequential ? "sequential" : "single",
                           .at = at,
                           .error = error,
                           .seconds_edit = o->seconds,
                           .seconds_evaluate =
                               ke__now() - begun + (m->settings ? 0.0 : v->seconds)};
    KE_TRY(put_rows(cx, b, m, &in, success));
    KE_TRY(say_measured(cx, b, m, &in, success));
done:
    ke__free(cx, unasked);
    ke__drawn_free(cx, &drawn);
    ke__said_free(cx, &after);
    return st;
}

/* --- the two modes ------------------------------------------------------------------ */

static ke_status is_done(ke_ctx *cx, ke__bench *b, const ke__bench_method *m,
                         const ke__case *c, const char *at, bool *done)
{
    size_t n = 0;
    ke_status st = ke__store_count(cx, b->store, c->file, c->index, m->name, at, &n);
    *done = n >= b->n_protocols;
    return st;
}

static ke_status step(ke_ctx *cx, ke__bench *b, bool resumed)
{
    if (resumed) {
        b->summary->n_resumed += b->n_protocols;
        b->summary->n_rows += b->n_protocols;
    }
    return ke__bench_progress(cx, b, ++b->done);
}

static ke_status single_case(ke_ctx *cx, ke__bench *b, ke__bench_method *m, visit *v,
                             const ke__case *c)
{
    ke_status st = KE_OK;
    ke__pile pile = {0};
    outcome o = {0};
    bool done = false;

    KE_TRY(is_done(cx, b, m, c, "each", &done));
    if (!done) {
        KE_TRY(visit_begin(cx, b, v, c));
        KE_TRY(ke__pile_new(cx, &pile, b->model));
        if (!v->error)
            KE_TRY(edit(cx, b, m, c, &pile, &o));
        KE_TRY(measure(cx, b, m, v, pile.stack, &o, "each"));
    }
    KE_TRY(step(cx, b, done));
done:
    outcome_free(cx, &o);
    ke__pile_free(cx, &pile);
    return st;
}

ke_status ke__bench_single(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    visit v = {0};
    for (size_t i = 0; i < b->cases.n; i++) {
        for (size_t k = 0; k < b->n_methods; k++)
            KE_TRY(single_case(cx, b, &b->methods[k], &v, &b->cases.items[i]));
        visit_end(cx, &v);
    }
done:
    visit_end(cx, &v);
    return st;
}

/* A sequence: the edits of one file's cases by one method. Nothing of the edited model is
 * kept in the file, so a resumed sequence makes its edits again; what was measured stays.
 */
typedef struct sequence {
    ke__bench *b;
    ke__bench_method *m;
    const ke__case *cases; /* [n] */
    size_t n;
    outcome *outcomes; /* [n] */
    ke__pile pile;
} sequence;

static ke_status measure_one(ke_ctx *cx, sequence *s, size_t i, const char *at)
{
    ke_status st = KE_OK;
    visit v = {0};
    bool done = false;
    KE_TRY(is_done(cx, s->b, s->m, &s->cases[i], at, &done));
    if (!done) {
        KE_TRY(visit_begin(cx, s->b, &v, &s->cases[i]));
        KE_TRY(measure(cx, s->b, s->m, &v, s->pile.stack, &s->outcomes[i], at));
    }
    KE_TRY(step(cx, s->b, done));
done:
    visit_end(cx, &v);
    return st;
}

/* How many of the edits have to be made for what is not measured yet. */
static ke_status edits_needed(ke_ctx *cx, sequence *s, size_t *out)
{
    ke_status st = KE_OK;
    bool done = false;
    *out = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->b->score_at & KE_SCORE_EACH) {
            KE_TRY(is_done(cx, s->b, s->m, &s->cases[i], "each", &done));
            *out = done ? *out : i + 1;
        }
        if (s->b->score_at & KE_SCORE_END) {
            KE_TRY(is_done(cx, s->b, s->m, &s->cases[i], "end", &done));
            *out = done ? *out : s->n;
        }
    }
done:
    return st;
}

static ke_status run_sequence(ke_ctx *cx, sequence *s)
{
    ke_status st = KE_OK;
    size_t needed = 0;

    KE_TRY(ke__alloc(cx, &s->outcomes, s->n, sizeof *s->outcomes));
    KE_TRY(ke__pile_new(cx, &s->pile, s->b->model));
    KE_TRY(edits_needed(cx, s, &needed));
    for (size_t i = 0; i < s->n; i++) {
        if (i < needed)
            KE_TRY(edit(cx, s->b, s->m, &s->cases[i], &s->pile, &s->outcomes[i]));
        if (s->b->score_at & KE_SCORE_EACH)
            KE_TRY(measure_one(cx, s, i, "each"));
    }
    for (size_t i = 0; (s->b->score_at & KE_SCORE_END) && i < s->n; i++)
        KE_TRY(measure_one(cx, s, i, "end"));
done:
    for (size_t i = 0; s->outcomes && i < s->n; i++)
        outcome_free(cx, &s->outcomes[i]);
    ke__free(cx, s->outcomes);
    ke__pile_free(cx, &s->pile);
    return st;
}

ke_status ke__bench_sequential(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    for (size_t k = 0; k < b->n_methods; k++)
        for (size_t i = 0, n; i < b->cases.n; i += n) {
            const ke__case *first = &b->cases.items[i];
            for (n = 1; i + n < b->cases.n && first[n].file == first->file;)
                n++;
            sequence s = {.b = b, .m = &b->methods[k], .cases = first, .n = n};
            KE_TRY(run_sequence(cx, &s));
        }
done:
    return st;
}
