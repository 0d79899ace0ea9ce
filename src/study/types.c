/* The type of edited tensors in the output: the smallest in which the facts hold firmly. */
#include "base/utf8.h"
#include "study/study.h"

#include <math.h>
#include <string.h>

/* A type that was tried, and how the facts did on values rounded to it. */
typedef struct trial {
    const ke__dtype_traits *type; /* NULL: each tensor's own */
    ke__verdict *verdicts;        /* [n_facts] */
    size_t n_hold;
    float margin; /* smallest, of the facts that hold */
} trial;

static void trial_free(ke_ctx *cx, trial *t, size_t n)
{
    ke__verdicts_free(cx, t->verdicts, n);
    ke__free(cx, t->verdicts);
    t->verdicts = NULL;
}

static ke_status try_type(ke_ctx *cx, trial *out, ke__run *run,
                          const ke__dtype_traits *type)
{
    ke_status st = KE_OK;
    size_t n = run->job->n_facts;
    *out = (trial){.type = type, .margin = INFINITY};
    KE_TRY(ke__alloc(cx, &out->verdicts, n, sizeof *out->verdicts));
    KE_TRY(ke__ask_merged(cx, out->verdicts, run, type, NULL, n));
    for (size_t i = 0; i < n; i++) {
        if (!out->verdicts[i].holds)
            continue;
        out->n_hold++;
        if (out->verdicts[i].answer.margin < out->margin)
            out->margin = out->verdicts[i].answer.margin;
    }
done:
    if (st != KE_OK)
        trial_free(cx, out, n);
    return st;
}

static double bits(const ke__dtype_traits *type)
{
    return 8.0 * type->bytes / type->block;
}

/* Whether every edited tensor can be stored as `type`, and none in fewer bits than now: a
 * coarser type would cost precision that nobody asked for. NULL: in the type it has. */
static bool can_hold(const ke__run *run, const ke__dtype_traits *type)
{
    const ke__gguf *file = &run->model->file;
    for (size_t i = 0; i < file->n_tensors; i++) {
        const ke__tensor *t = &file->tensors[i];
        if (!ke__stack_touches(run->stack, (uint32_t)i))
            continue;
        const ke__dtype_traits *to = type ? type : t->type;
        if (!to->from_f32 || t->cols % to->block != 0)
            return false;
        if (type && (type == t->type || bits(type) < bits(t->type)))
            return false;
    }
    return true;
}

/* The name of a type; NULL is the one that the edited tensors have, if they share one. */
static const char *name_of(const ke__run *run, const ke__dtype_traits *type)
{
    const ke__gguf *file = &run->model->file;
    for (size_t i = 0; !type && i < file->n_tensors; i++)
        if (ke__stack_touches(run->stack, (uint32_t)i))
            type = file->tensors[i].type;
    return type ? type->name : "unchanged";
}

static ke_status reason_auto(ke_ctx *cx, ke__run *run, const trial *t, size_t want)
{
    if (run->n_patches == 0)
        return ke__strdup(cx, &run->report->type_reason, "nothing was edited");
    if (run->stack->n_terms == 0)
        return ke__strdup(cx, &run->report->type_reason, "no tensor was changed");
    if (t->n_hold < want)
        return ke__format(cx, &run->report->type_reason,
                          "%s: no type keeps all facts (%zu of %zu hold)",
                          name_of(run, t->type), t->n_hold, want);
    if (t->n_hold == 0)
        return ke__format(cx, &run->report->type_reason, "%s: no fact holds",
                          name_of(run, t->type));
    if (t->margin < KE__MARGIN)
        return ke__format(
            cx, &run->report->type_reason,
            "%s: the facts hold, but in no type with the margin of %.1f logits "
            "that rounding elsewhere may need (%.2f)",
            name_of(run, t->type), (double)KE__MARGIN, (double)t->margin);
    return ke__format(
        cx, &run->report->type_reason,
        "%s: the smallest type in which every fact holds by %.1f logits (%.2f)",
        name_of(run, t->type), (double)KE__MARGIN, (double)t->margin);
}

/* More facts, then a firm margin, then the smaller type (tried first). */
static bool better(const trial *a, const trial *b)
{
    if (a->n_hold != b->n_hold)
        return a->n_hold > b->n_hold;
    return b->margin < KE__MARGIN && a->margin > b->margin;
}

static ke_status choose_auto(ke_ctx *cx, trial *best, ke__run *run)
{
    static const uint32_t ladder[] = {KE__Q8_0, KE__F16, KE__BF16, KE__F32};
    ke_status st = KE_OK;
    size_t n = run->job->n_facts, want = 0;
    trial next = {0};

    for (size_t i = 0; i < n; i++)
        want += run->report->facts[i].took;
    for (size_t i = 0; i <= sizeof ladder / sizeof ladder[0]; i++) {
        const ke__dtype_traits *type = i ? ke__dtype_of(ladder[i - 1]) : NULL;
        if (!can_hold(run, type))
            continue;
        KE_TRY(try_type(cx, &next, run, type));
        if (!best->verdicts || better(&next, best)) {
            trial swap = *best;
            *best = next;
            next = swap;
        }
        trial_free(cx, &next, n);
        if ((best->n_hold >= want && best->margin >= KE__MARGIN) ||
            run->stack->n_terms == 0)
            break;
    }
    if (!best->verdicts)
        return ke__fail(cx, KE_ENOTSUP, "edited-type",
                        "the edited tensors fit no type that can be written");
    KE_TRY(reason_auto(cx, run, best, want));
done:
    trial_free(cx, &next, n);
    return st;
}

/* Bytes of a text's first line, or of as much as a message has room for. */
static int shown(const char *text)
{
    size_t n = strcspn(text, "\r\n");
    return (int)ke__utf8_prefix(text, n < 60 ? n : 60);
}

/* Why a fact does not hold in the values that the file gets; f->took is the ladder's view.
 */
static ke_status reason_fact(ke_ctx *cx, const ke__run *run, ke_fact_report *f,
                             const trial *t, const ke__verdict *v)
{
    const char *said = ke__skip_space(v->answer.text);
    const char *target = ke__skip_space(f->target);
    size_t n = ke__trimmed(target);
    ke__free(cx, f->reason);
    f->reason = NULL;
    if (v->holds)
        return ke__strdup(cx, &f->reason, "");
    if (f->took)
        return ke__format(
            cx, &f->reason,
            "it took, but does not hold with all edits in place and rounded to "
            "%s: the model says \"%.*s\"",
            name_of(run, t->type), shown(said), said);
    if (strncmp(said, target, n) == 0)
        return ke__format(cx, &f->reason, "the answer goes on with the word: \"%.*s\"",
                          shown(said), said);
    return ke__format(cx, &f->reason,
                      "the model says \"%.*s\" (the target's first token has rank %u)",
                      shown(said), said, v->answer.target_rank);
}

ke_status ke__type_choose(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    trial best = {0};
    ke_edit_report *r = run->report;

    if (strcmp(run->type_name, "auto") == 0) {
        KE_TRY(choose_auto(cx, &best, run));
    } else {
        KE_TRY(try_type(cx, &best, run, run->type));
        KE_TRY(ke__format(cx, &r->type_reason, "%s: asked for", name_of(run, run->type)));
    }
    KE_TRY(ke__merge(cx, &run->merged, run->model, run->stack, best.type));
    r->took = true;
    for (size_t i = 0; i < r->n_facts; i++) {
        ke_fact_report *f = &r->facts[i];
        KE_TRY(reason_fact(cx, run, f, &best, &best.verdicts[i]));
        f->took = best.verdicts[i].holds;
        r->took = r->took && f->took;
        ke__free(cx, f->after.text);
        f->after = best.verdicts[i].answer;
        best.verdicts[i].answer.text = NULL;
    }
done:
    trial_free(cx, &best, run->job->n_facts);
    return st;
}
