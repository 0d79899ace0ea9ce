/* From facts to patches: each fact climbs its method's ladder of settings until it holds.
 */
#include "study/study.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

ke_status ke__ask_merged(ke_ctx *cx, ke__verdict *out, ke__run *run,
                         const ke__dtype_traits *type, const size_t *which, size_t n)
{
    ke_status st = KE_OK;
    ke__merged merged = {0};
    bool pushed = false;

    memset(out, 0, n * sizeof *out);
    KE_TRY(ke__merge(cx, &merged, run->model, run->stack, type));
    KE_TRY(ke__stack_push_merged(cx, run->stack, &merged));
    pushed = true;
    KE_TRY(ke__ask(cx, out, run, run->model, run->stack, which, n));
done:
    if (pushed)
        ke_stack_pop(cx, run->stack);
    ke__merged_free(cx, &merged);
    return st;
}

/* What one rung of the ladder gave. */
typedef struct attempt {
    ke_patch *patch;
    ke_edit_trace trace;
    ke__verdict verdict;
    double
        kl; /* what it costs, nats a token; 0 if it did not take or nothing else is left */
} attempt;

/* An attempt that takes at a higher cost is not the last one. Edits that are any good cost
 * a tenth of it at most (docs/quality.md). */
#define MUCH_HARM 0.1

static void attempt_free(ke_ctx *cx, attempt *a)
{
    ke_patch_free(cx, a->patch);
    ke_edit_trace_free(cx, &a->trace);
    ke__verdicts_free(cx, &a->verdict, 1);
    *a = (attempt){0};
}

/* What attempts are judged in: the type asked for, or f32, which auto can fall back to. */
static const ke__dtype_traits *judged_type(const ke__run *run)
{
    return strcmp(run->type_name, "auto") == 0 ? ke__dtype_of(KE__F32) : run->type;
}

static ke_status make_ready(ke_ctx *cx, ke__run *run, size_t rung)
{
    ke_status st = KE_OK;
    if (run->editor && run->editor_rung == rung)
        return KE_OK;
    ke_editor_free(cx, run->editor);
    ke_settings_free(cx, run->editor_settings);
    run->editor = NULL;
    run->editor_settings = NULL;
    run->editor_rung = rung;
    KE_TRY(ke__settings_attempt(cx, run->job->settings, rung, &run->editor_settings));
    KE_TRY(
        ke_editor_new(cx, &run->editor, run->model, run->editor_settings, run->job->seed));
done:
    return st;
}

/* What the topmost patch of `after` costs, on as few tokens as tell good from bad. */
static ke_status weigh(ke_ctx *cx, double *kl, const ke__run *run, const ke_stack *before,
                       const ke_stack *after)
{
    ke__harm_opts opts = KE__HARM_DEFAULT;
    ke__harm harm;
    opts.tokens = opts.chunk;
    ke_status st = ke__harm_measure(cx, &harm, run->model, before, after, &opts);
    *kl = st != KE_OK || isfinite(harm.kl) ? harm.kl : HUGE_VAL;
    return st;
}

static ke_status try_settings(ke_ctx *cx, attempt *out, ke__run *run, size_t fact,
                              size_t rung)
{
    ke_status st = KE_OK;
    ke_stack *before = NULL;
    bool pushed = false;

    *out = (attempt){0};
    KE_TRY(make_ready(cx, run, rung));
    KE_TRY(ke__stack_copy(cx, &before, run->model, run->stack));
    KE_TRY(ke_editor_edit(cx, run->editor, &out->patch, run->stack, &run->facts[fact], 1,
                          &out->trace));
    KE_TRY(ke_stack_push(cx, run->stack, out->patch));
    pushed = true;
    KE_TRY(ke__ask_merged(cx, &out->verdict, run, judged_type(run), &fact, 1));
    if (out->verdict.holds && run->n_rungs > 1)
        KE_TRY(weigh(cx, &out->kl, run, before, run->stack));
done:
    if (pushed)
        ke_stack_pop(cx, run->stack);
    ke_stack_free(cx, before);
    if (st != KE_OK)
        attempt_free(cx, out);
    return st;
}

static bool firm(const attempt *a)
{
    return a->verdict.holds && a->verdict.answer.margin >= KE__MARGIN && a->kl <= MUCH_HARM;
}

static bool better(const attempt *a, const attempt *b)
{
    if (a->verdict.holds != b->verdict.holds)
        return a->verdict.holds;
    if (a->kl > MUCH_HARM || b->kl > MUCH_HARM)
        return a->kl < b->kl;
    return a->verdict.answer.margin > b->verdict.answer.margin;
}

static ke_status say_attempt(ke_ctx *cx, const ke__run *run, size_t fact, size_t rung,
                             size_t n_rungs, const attempt *a)
{
    const ke__verdict *v = &a->verdict;
    ke_status st = KE_OK;
    char how[64] = "";
    size_t n = a->trace.n_layers;
    if (n == 1)
        snprintf(how, sizeof how, "layer %u, ", a->trace.layers[0]);
    else if (n > 1)
        snprintf(how, sizeof how, "layers %u to %u, ", a->trace.layers[0],
                 a->trace.layers[n - 1]);
    if (a->trace.n_loss > 0)
        snprintf(how + strlen(how), sizeof how - strlen(how),
                 "%zu steps: ", a->trace.n_loss);
    KE_TRY(ke__run_say(cx, run, "fact %zu of %zu, attempt %zu of %zu: %s%s%s%s", fact + 1,
                       run->job->n_facts, rung + 1, n_rungs, how,
                       !v->holds           ? "it did not take"
                       : a->kl > MUCH_HARM ? "it took, and harms much else"
                       : firm(a)           ? "it took"
                                           : "it took narrowly",
                       *a->trace.note ? "; " : "", a->trace.note));
done:
    return st;
}

/* Keep the patch of `a` on the stack; its trace goes to the report. */
static ke_status accept(ke_ctx *cx, ke__run *run, size_t fact, attempt *a)
{
    ke_status st = KE_OK;
    ke_fact_report *f = &run->report->facts[fact];
    if (run->n_patches == run->patches_room) {
        size_t room = run->patches_room ? 2 * run->patches_room : 8;
        KE_TRY(ke__resize(cx, &run->patches, room, sizeof *run->patches));
        run->patches_room = room;
    }
    KE_TRY(ke_stack_push(cx, run->stack, a->patch));
    run->patches[run->n_patches++] = a->patch;
    a->patch = NULL;
    ke_edit_trace_free(cx, &f->trace);
    f->trace = a->trace;
    a->trace = (ke_edit_trace){0};
    f->took = a->verdict.holds;
done:
    return st;
}

/* `must_hold`: an attempt that does not hold is dropped, not kept for --keep-failed. */
static ke_status edit_fact(ke_ctx *cx, ke__run *run, size_t fact, bool must_hold)
{
    ke_status st = KE_OK;
    attempt best = {0}, next = {0};
    size_t n_rungs = run->n_rungs;

    for (size_t rung = 0; rung < n_rungs && !firm(&best); rung++) {
        st = try_settings(cx, &next, run, fact, run->rungs[rung]);
        /* A later rung may be tamer; what diverges on the last one is the user's to know.
         */
        if (st == KE_ENUMERIC && (best.patch || rung + 1 < n_rungs)) {
            KE_TRY(ke__run_say(cx, run, "fact %zu, attempt %zu of %zu: %s", fact + 1,
                               rung + 1, n_rungs, ke_ctx_message(cx)));
            continue;
        }
        if (st != KE_OK)
            goto done;
        run->report->facts[fact].n_attempts++;
        run->report->seconds.stats += next.trace.stats_seconds;
        KE_TRY(say_attempt(cx, run, fact, rung, n_rungs, &next));
        if (!best.patch || better(&next, &best)) {
            attempt swap = best;
            best = next;
            next = swap;
        }
        attempt_free(cx, &next);
    }
    if (best.verdict.holds || !must_hold)
        KE_TRY(accept(cx, run, fact, &best));
done:
    attempt_free(cx, &best);
    attempt_free(cx, &next);
    return st;
}

/* Facts that an edit of another fact broke get one more round. */
static ke_status mend_all(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    ke__verdict *verdicts = NULL;
    size_t n = run->job->n_facts;

    KE_TRY(ke__alloc(cx, &verdicts, n, sizeof *verdicts));
    KE_TRY(ke__ask_merged(cx, verdicts, run, judged_type(run), NULL, n));
    for (size_t i = 0; i < n; i++) {
        if (verdicts[i].holds || !run->report->facts[i].took)
            continue;
        KE_TRY(ke__run_say(
            cx, run, "fact %zu of %zu no longer holds after the others: again", i + 1, n));
        KE_TRY(edit_fact(cx, run, i, true));
    }
done:
    ke__verdicts_free(cx, verdicts, n);
    ke__free(cx, verdicts);
    return st;
}

ke_status ke__edit_all(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        ke_fact_report *f = &run->report->facts[i];
        KE_TRY(ke__progress(cx, "facts", i, run->job->n_facts));
        f->took = f->already;
        if (!f->already)
            KE_TRY(edit_fact(cx, run, i, false));
    }
    if (run->job->n_facts > 1)
        KE_TRY(mend_all(cx, run));
done:
    return st;
}
