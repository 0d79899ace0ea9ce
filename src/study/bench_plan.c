/* What a run will take, said before it: edits by their methods' own plans, scores by a few
 * timed tokens and the lengths of the first cases' texts. */
#include "model/pass.h"
#include "study/bench.h"

#include <stdio.h>
#include <string.h>

enum {
    SAMPLE = 16, /* cases whose texts are measured */
    LONG_TOKENS = 50,
    FLUENCY_TOKENS = 100,
    RUN_ROWS = 512 /* of one pass */
};

/* Seconds a row of a batch, and a step of generation. */
typedef struct pace {
    double row, step;
} pace;

static ke_status measure_pace(ke_ctx *cx, pace *out, const ke__bench *b)
{
    enum { ROWS = 64, STEPS = 4 };
    ke_status st = KE_OK;
    int32_t ids[ROWS];
    ke_score score = {0};
    ke_generated text = {0};
    ke_generate_opts opts = KE_GENERATE_DEFAULT;

    opts.max_tokens = STEPS;
    opts.ignore_end = true;
    for (size_t i = 0; i < ROWS; i++)
        ids[i] = (int32_t)(i % b->model->info.n_vocab);
    size_t n = b->model->info.n_context < ROWS ? b->model->info.n_context : ROWS;
    double begun = ke__now();
    KE_TRY(ke_score_targets(cx, &score, b->model, NULL, &(ke_ids){ids, n / 2},
                            &(ke_ids){ids, n - n / 2}, 1));
    out->row = (ke__now() - begun) / (double)n;
    begun = ke__now();
    KE_TRY(ke_generate(cx, &text, b->model, NULL, &(ke_ids){ids, 1}, 1, &opts));
    out->step = (ke__now() - begun) / STEPS;
done:
    ke_score_free(cx, &score);
    ke_generated_free(cx, &text);
    return st;
}

/* Rows that the prompts of a case have, by four bytes a token. */
static ke_status rows_of(ke_ctx *cx, const ke__case *c, size_t *rows, size_t *n_items)
{
    ke__item *items = NULL;
    size_t bytes = 0;
    ke_status st = ke__items_make(cx, &items, n_items, c);
    for (size_t i = 0; st == KE_OK && i < *n_items; i++)
        bytes += strlen(items[i].prompt) + strlen(items[i].expected);
    for (size_t i = 0; i < c->n_agree; i++)
        bytes += strlen(c->agree[i]);
    for (size_t i = 0; i < c->n_oppose; i++)
        bytes += strlen(c->oppose[i]);
    for (size_t i = 0; i < c->n_other; i++)
        bytes += 2 * strlen(c->other[i]);
    *rows = bytes / 4 + 1;
    ke__free(cx, items);
    return st;
}

/* Seconds to score one case once, and *items: the most prompts of a case. */
static ke_status scoring_time(ke_ctx *cx, const ke__bench *b, double *seconds,
                              size_t *most_items)
{
    ke_status st = KE_OK;
    pace p = {0};
    size_t rows = 0, items = 0, stride = b->cases.n / SAMPLE + 1, n = 0;
    bool real = b->protocols & KE_PROTOCOL_REAL;

    *seconds = 0;
    *most_items = 1;
    KE_TRY(measure_pace(cx, &p, b));
    for (size_t i = 0; i < b->cases.n; i += stride, n++) {
        KE_TRY(rows_of(cx, &b->cases.items[i], &rows, &items));
        *most_items = items > *most_items ? items : *most_items;
        *seconds += (double)rows * p.row * (real ? 2.0 : 1.0);
        if (real) /* a step of many sequences: their rows, but never less than of one */
            *seconds += LONG_TOKENS *
                        (p.step > (double)items * p.row ? p.step : (double)items * p.row);
        if (!b->job->no_fluency)
            *seconds += FLUENCY_TOKENS * p.step;
    }
    *seconds /= n > 0 ? (double)n : 1.0;
done:
    return st;
}

static uint64_t scoring_bytes(const ke__bench *b, size_t n_items)
{
    const ke_model *m = b->model;
    uint64_t side = n_items < 64 ? n_items : 64;
    uint64_t kv = 2 * side * (LONG_TOKENS + 64) * m->info.n_layers * m->kv_dim;
    return ke__pass_bytes(m, RUN_ROWS, RUN_ROWS, false, 0) +
           (kv + (side + 64) * m->info.n_vocab) * sizeof(float);
}

/* "1 h 20 min" */
static void time_text(char out[32], double seconds)
{
    if (seconds < 90)
        snprintf(out, 32, "%.0f s", seconds < 1 ? 1 : seconds);
    else if (seconds < 5400)
        snprintf(out, 32, "%.0f min", seconds / 60);
    else
        snprintf(out, 32, "%.1f h", seconds / 3600);
}

/* The fact with the most to read. */
static const ke_fact *longest_fact(const ke__bench *b)
{
    const ke_fact *out = &b->cases.items[0].fact;
    for (size_t i = 1; i < b->cases.n; i++) {
        const ke_fact *f = &b->cases.items[i].fact;
        if (strlen(f->prompt) + strlen(f->target) >
            strlen(out->prompt) + strlen(out->target))
            out = f;
    }
    return out;
}

/* An editor keeps between cases what it computed with, so all of them add up. */
static ke_status plan_method(ke_ctx *cx, const ke__bench *b, const ke__bench_method *m,
                             double *seconds, uint64_t *bytes)
{
    ke_status st = KE_OK;
    ke_edit_plan plan;
    char text[32];
    *seconds = 0;
    if (!m->settings || b->cases.n == 0)
        return KE_OK;
    KE_TRY(ke_edit_plan_make(cx, &plan, b->model, m->settings, longest_fact(b), 1));
    *bytes += plan.peak_bytes;
    KE_TRY(ke_edit_plan_make(cx, &plan, b->model, m->settings, &b->cases.items[0].fact, 1));
    *seconds = plan.seconds - plan.stats_seconds;
    time_text(text, *seconds);
    KE_TRY(ke__bench_say(cx, b, "%s; about %s an edit", plan.text, text));
    *seconds = *seconds * (double)b->cases.n + plan.stats_seconds;
done:
    return st;
}

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

ke_status ke__bench_plan(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    double seconds = 0, scoring = 0, one = 0;
    uint64_t bytes = 0, limit = ke__memory_limit(cx);
    size_t most_items = 1;
    char time[32];

    KE_TRY(scoring_time(cx, b, &scoring, &most_items));
    bytes = scoring_bytes(b, most_items);
    for (size_t i = 0; i < b->n_methods; i++) {
        KE_TRY(plan_method(cx, b, &b->methods[i], &one, &bytes));
        seconds += one;
    }
    size_t scorings = b->n_methods;
    if (b->score_at == (KE_SCORE_EACH | KE_SCORE_END))
        scorings *= 2;
    seconds += scoring * (double)b->cases.n * (double)(scorings + 1);
    time_text(time, seconds);
    KE_TRY(ke__bench_say(cx, b,
                         "%zu case%s of %zu file%s by %zu method%s, %s%s: about %s in all, "
                         "%llu MiB of memory beside the mapped file",
                         b->cases.n, plural(b->cases.n), b->cases.n_files,
                         plural(b->cases.n_files), b->n_methods, plural(b->n_methods),
                         b->job->sequential ? "in sequence" : "each from the model",
                         b->n_protocols > 1 ? ", both protocols" : "", time,
                         (unsigned long long)(bytes >> 20) + 1));
    if (b->cases.n_bad > 0)
        KE_TRY(ke__bench_say(cx, b, "%zu bad records are left out", b->cases.n_bad));
    if (limit && bytes > limit)
        st = ke__fail(cx, KE_ELIMIT, "mem-limit",
                      "this run needs %llu MiB of memory, the limit is %llu MiB: %llu MiB "
                      "would do",
                      (unsigned long long)(bytes >> 20) + 1,
                      (unsigned long long)(limit >> 20),
                      (unsigned long long)(bytes >> 20) + 1);
done:
    return st;
}
