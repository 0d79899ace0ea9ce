/* What is left once every run is read: the order of rows and columns, means, and the notes
 * that say why a cell is empty. */
#include "study/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- several runs in one table --- */

/* Whether runs that differ in a setting can still stand side by side: it shows in the table
 * itself, or says what was measured and not how. */
static bool is_harmless(const char *name)
{
    static const char *const shown[] = {"methods",  "set",      "limit",
                                        "skip-bad", "protocol", "score-at",
                                        "mode",     "fluency",  NULL};
    for (size_t i = 0; shown[i]; i++)
        if (strcmp(shown[i], name) == 0)
            return true;
    return strncmp(name, "data ", 5) == 0;
}

/* Whether a run after `run` has another value. A setting of a method, "rome.layer", counts
 * only where both runs have the method. */
static bool differs(const ke__table *t, size_t run, const ke__table_setting *s)
{
    const char *absent = strchr(s->name, '.') ? s->value : "";
    for (size_t i = run + 1; i < t->n_runs; i++)
        if (strcmp(ke__table_setting_of(&t->runs[i], s->name, absent), s->value) != 0)
            return true;
    return false;
}

/* The names of settings in which runs differ. */
static ke_status compare_runs(ke_ctx *cx, const ke__table *t, ke__text *names)
{
    ke_status st = KE_OK;
    for (size_t run = 0; run < t->n_runs; run++)
        for (size_t k = 0; k < t->runs[run].n_settings; k++) {
            const ke__table_setting *s = &t->runs[run].settings[k];
            bool seen = is_harmless(s->name);
            for (size_t i = 0; i < run && !seen; i++)
                seen = ke__table_setting_of(&t->runs[i], s->name, NULL) != NULL;
            if (!seen && differs(t, run, s))
                KE_TRY(ke__text_addf(cx, names, "%s%s", names->data ? ", " : "", s->name));
        }
done:
    return st;
}

/* Whether two runs read a file in common, by its hash, for all that they say. */
static bool share_data(const ke__table_run *a, const ke__table_run *b)
{
    if (!ke__table_setting_of(a, "data 1", NULL) ||
        !ke__table_setting_of(b, "data 1", NULL))
        return true;
    for (size_t i = 0; i < a->n_settings; i++)
        for (size_t k = 0; k < b->n_settings; k++)
            if (strncmp(a->settings[i].name, "data ", 5) == 0 &&
                strncmp(b->settings[k].name, "data ", 5) == 0 &&
                strcmp(a->settings[i].value, b->settings[k].value) == 0)
                return true;
    return false;
}

/* Whether a block has rows of runs that read other files. */
static bool mixes_data(const ke__table *t, const ke__block *b)
{
    for (size_t i = 1; i < b->n_rows; i++)
        if (b->rows[i].run != b->rows[0].run &&
            !share_data(&t->runs[b->rows[0].run], &t->runs[b->rows[i].run]))
            return true;
    return false;
}

static bool has_namesake(const ke__block *b, const ke__table_row *row)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (&b->rows[i] != row && strcmp(b->rows[i].method, row->method) == 0)
            return true;
    return false;
}

/* The unedited model first, then run by run. */
static bool is_after(const ke__table_row *a, const ke__table_row *b)
{
    bool a_none = strcmp(a->method, "none") == 0, b_none = strcmp(b->method, "none") == 0;
    if (a_none != b_none)
        return b_none;
    return a->run != b->run ? a->run > b->run : a->order > b->order;
}

static ke_status finish_rows(ke_ctx *cx, const ke__table *t, ke__block *b, bool with_run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < b->n_rows; i++) {
        ke__table_row *r = &b->rows[i];
        r->n_cases = r->n_cases < r->n_measured ? r->n_measured : r->n_cases;
        KE_TRY(with_run || has_namesake(b, r)
                   ? ke__format(cx, &r->label, "%s (%s)", r->method, t->runs[r->run].name)
                   : ke__strdup(cx, &r->label, r->method));
    }
    for (size_t i = 1; i < b->n_rows; i++)
        for (size_t k = i; k > 0 && is_after(&b->rows[k - 1], &b->rows[k]); k--) {
            ke__table_row other = b->rows[k];
            b->rows[k] = b->rows[k - 1];
            b->rows[k - 1] = other;
        }
done:
    return st;
}

/* --- columns and means --- */

static int compare_columns(const ke__column *a, const ke__column *b)
{
    if (a->measure != b->measure)
        return a->measure < b->measure ? -1 : 1;
    if (a->measure == KE__COLUMN_METRIC &&
        ke__metric_rank(a->name) != ke__metric_rank(b->name))
        return ke__metric_rank(a->name) < ke__metric_rank(b->name) ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void sort_columns(ke__block *b)
{
    for (size_t i = 1; i < b->n_columns; i++)
        for (size_t k = i; k > 0 && compare_columns(&b->columns[k - 1], &b->columns[k]) > 0;
             k--) {
            ke__column column = b->columns[k];
            b->columns[k] = b->columns[k - 1];
            b->columns[k - 1] = column;
            for (size_t r = 0; r < b->n_rows; r++) {
                ke__cell *cells = b->rows[r].cells, cell = cells[k];
                cells[k] = cells[k - 1];
                cells[k - 1] = cell;
            }
        }
}

/* CounterFact's score: the harmonic mean of the means ES, PS and NS, not a mean of cases.
 */
static ke_status add_score(ke_ctx *cx, ke__block *b)
{
    static const char *const parts[] = {"efficacy", "paraphrase", "neighbourhood"};
    ke_status st = KE_OK;
    size_t at[3], score;

    for (int i = 0; i < 3; i++)
        KE_TRY(ke__table_column(cx, b, &at[i], KE__COLUMN_METRIC, parts[i]));
    KE_TRY(ke__table_column(cx, b, &score, KE__COLUMN_METRIC, "score"));
    for (size_t r = 0; r < b->n_rows; r++) {
        ke__cell *cells = b->rows[r].cells;
        double means[3];
        size_t n = SIZE_MAX;
        for (int i = 0; i < 3; i++) {
            means[i] = cells[at[i]].mean.mean;
            n = n < cells[at[i]].n ? n : cells[at[i]].n;
        }
        cells[score].n = n;
        cells[score].decimals = 2;
        cells[score].mean = (ke__mean){
            .mean = ke__metric_harmonic(means, 3), .standard_error = (double)NAN, .n = n};
    }
done:
    return st;
}

/* Two, as the survey prints; four where two would leave nothing of a small divergence. */
static int decimals_of(double scale, double mean)
{
    return scale == 1 && mean != 0 && fabs(mean) < 0.1 ? 4 : 2;
}

static ke_status finish_means(ke_ctx *cx, ke__block *b, bool parts)
{
    ke_status st = KE_OK;
    for (size_t r = 0; r < b->n_rows; r++)
        for (size_t k = 0; k < b->n_columns; k++) {
            ke__cell *c = &b->rows[r].cells[k];
            c->mean = ke__metric_mean(c->values, c->n);
            c->decimals = decimals_of(ke__column_scale(b, &b->columns[k]), c->mean.mean);
        }
    if (parts && b->row && b->row->kind == KE__CASE_COUNTERFACT)
        KE_TRY(add_score(cx, b));
    sort_columns(b);
done:
    return st;
}

/* --- notes --- */

/* Number of the note with this text, which is taken over. */
static ke_status note(ke_ctx *cx, ke__table *t, size_t *out, char *text)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < t->n_notes; i++)
        if (strcmp(t->notes[i], text) == 0) {
            *out = i + 1;
            goto done;
        }
    KE_TRY(ke__table_grow(cx, &t->notes, t->n_notes, sizeof *t->notes));
    t->notes[t->n_notes++] = text;
    *out = t->n_notes;
    return KE_OK;
done:
    ke__free(cx, text);
    return st;
}

/* Why a cell is empty, or what its number is; *out stays NULL if there is nothing to say.
 */
static ke_status explain(ke_ctx *cx, char **out, const ke__table *t, const ke__block *b,
                         const ke__table_row *r, size_t k)
{
    ke__measure measure = b->columns[k].measure;
    if (r->cells[k].n > 0)
        return measure == KE__COLUMN_LOCALITY && ke__is_divergence(b, measure)
                   ? ke__format(cx, out,
                                "%s: KL divergence from the unedited model in nats, lower "
                                "is better",
                                b->title)
                   : KE_OK;
    /* Figures that only some methods have. */
    if (measure >= KE__COLUMN_METRIC)
        return KE_OK;
    if (r->n_measured == 0)
        return ke__strdup(cx, out, "no case of it is measured yet");
    if (r->n_failed == r->n_measured)
        return ke__format(cx, out, "no case could be measured: %s", r->error);
    if (measure == KE__COLUMN_FLUENCY &&
        strcmp(ke__table_setting_of(&t->runs[r->run], "fluency", "yes"), "no") == 0)
        return ke__strdup(cx, out, "the run left fluency out");
    if (measure == KE__COLUMN_PORTABILITY && b->row && !b->row->portability)
        return ke__format(cx, out, "%s has no prompts for portability", b->title);
    return ke__strdup(cx, out, "no case that is measured has a score of it");
}

static ke_status finish_notes(ke_ctx *cx, ke__table *t, ke__block *b)
{
    ke_status st = KE_OK;
    char *text = NULL;
    for (size_t i = 0; i < b->n_rows; i++) {
        ke__table_row *r = &b->rows[i];
        if (r->n_failed > 0) {
            KE_TRY(ke__format(cx, &text, "%zu of %zu could not be measured, the first: %s",
                              r->n_failed, r->n_measured, r->error));
            KE_TRY(note(cx, t, &r->note, text));
        }
        for (size_t k = 0; k < b->n_columns; k++) {
            text = NULL;
            KE_TRY(explain(cx, &text, t, b, r, k));
            if (text)
                KE_TRY(note(cx, t, &r->cells[k].note, text));
        }
    }
done:
    return st;
}

static ke_status remark(ke_ctx *cx, ke__table *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static ke_status remark(ke_ctx *cx, ke__table *t, const char *format, ...)
{
    ke_status st = KE_OK;
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    KE_TRY(ke__table_grow(cx, &t->remarks, t->n_remarks, sizeof *t->remarks));
    KE_TRY(ke__strdup(cx, &t->remarks[t->n_remarks], line));
    t->n_remarks++;
done:
    return st;
}

/* Settings that change what a protocol's name means, where a run has not the usual ones. */
static ke_status remark_settings(ke_ctx *cx, ke__table *t, const ke__table_run *r)
{
    static const struct {
        const char *name, *usual;
    } settings[] = {{"without", "none"}, {"chat", "no"}, {"edited-type", "as computed"}};
    ke_status st = KE_OK;
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const char *name = settings[i].name, *usual = settings[i].usual;
        const char *value = ke__table_setting_of(r, name, usual);
        if (strcmp(value, usual) != 0)
            KE_TRY(remark(cx, t, "%s is a run with %s: %s", r->name, name, value));
    }
done:
    return st;
}

static ke_status remark_runs(ke_ctx *cx, ke__table *t)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < t->n_runs; i++) {
        const ke__table_run *r = &t->runs[i];
        KE_TRY(remark(cx, t, "%s: model of SHA-256 %.12s, seed %s, knowedit %s", r->name,
                      ke__table_setting_of(r, "model", "unknown"),
                      ke__table_setting_of(r, "seed", "unknown"),
                      ke__table_setting_of(r, "version", "unknown")));
        KE_TRY(remark_settings(cx, t, r));
        if (r->n_rows < r->n_expected)
            KE_TRY(remark(cx, t, "%s is not finished: %zu of %zu measurements are there",
                          r->name, r->n_rows, r->n_expected));
        if (r->n_bad > 0)
            KE_TRY(remark(cx, t, "%s left out %zu bad record%s, the first: %s", r->name,
                          r->n_bad, r->n_bad == 1 ? "" : "s", r->first_bad));
        if (r->n_skipped > 0)
            KE_TRY(remark(cx, t, "%s skipped %zu empty answer%s or group%s", r->name,
                          r->n_skipped, r->n_skipped == 1 ? "" : "s",
                          r->n_skipped == 1 ? "" : "s"));
    }
done:
    return st;
}

/* --- the whole --- */

ke_status ke__table_finish(ke_ctx *cx, ke__table *t)
{
    ke_status st = KE_OK;
    ke__text names = {0};
    bool mixed = false;

    KE_TRY(compare_runs(cx, t, &names));
    for (size_t i = 0; i < t->n_pages; i++)
        for (size_t k = 0; k < t->pages[i].n_blocks; k++) {
            ke__block *b = &t->pages[i].blocks[k];
            KE_TRY(finish_rows(cx, t, b, names.data != NULL));
            KE_TRY(finish_means(cx, b, t->parts));
            KE_TRY(finish_notes(cx, t, b));
        }
    KE_TRY(remark_runs(cx, t));
    for (size_t i = 0; i < t->n_pages && !mixed; i++)
        for (size_t k = 0; k < t->pages[i].n_blocks && !mixed; k++)
            if ((mixed = mixes_data(t, &t->pages[i].blocks[k])))
                KE_TRY(remark(cx, t, "the runs read different files of %s",
                              t->pages[i].blocks[k].title));
    if (names.data)
        KE_TRY(remark(cx, t, "the runs differ in: %s", names.data));
done:
    ke__free(cx, names.data);
    return st;
}
