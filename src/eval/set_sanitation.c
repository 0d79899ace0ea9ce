/* KnowEdit's Sanitation: answers to forget, and questions whose answers are to be kept
 * (methods 5.10). The file is one object of two lists. */
#include "eval/queries.h"

#include <stdio.h>
#include <string.h>

enum { N_RETAIN = 10 };

static bool recognise(const json_t *first)
{
    return json_is_array(json_object_get(first, "success")) ||
           json_is_array(json_object_get(first, "K_F"));
}

static ke_status ask(const ke__reader *r, const char **out, const char *question)
{
    char *text = NULL;
    ke_status st = ke__format(r->cx, &text, "Question:%s\nAnswer:", question);
    if (st == KE_OK)
        st = ke__fact_box_take(r->cx, r->box, text);
    *out = st == KE_OK ? text : NULL;
    return st;
}

/* The subject that the file names, else the question without its final mark. */
static ke_status read_subject(const ke__reader *r, ke__case *out, const char **field,
                              const json_t *record, const char *question)
{
    ke_status st = KE_OK;
    const char *subject;
    char *copy = NULL;
    size_t bytes = strlen(question);

    *field = json_object_get(record, "subject") ? "subject" : "question";
    if (strcmp(*field, "subject") == 0) {
        KE_TRY(ke__read_text(r, &subject, record, "", "subject"));
        return ke__fact_box_text(r->cx, r->box, &out->fact.subject, subject);
    }
    if (bytes > 0 && strchr("?.!", question[bytes - 1]))
        bytes--;
    KE_TRY(ke__strndup(r->cx, &copy, question, bytes));
    KE_TRY(ke__fact_box_take(r->cx, r->box, copy));
    out->fact.subject = copy;
done:
    return st;
}

/* What the model should say, and what it should forget. */
static ke_status read_answers(ke__reader *r, ke__case *out, const json_t *record)
{
    ke_status st = KE_OK;
    ke__case target = {0};
    const json_t *old = json_object_get(record, "ground_truth");
    const json_t *new = json_object_get(record, "target_new");
    if (!old || !new)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing",
                               old ? "target_new" : "ground_truth");
    KE_TRY(ke__read_old(r, out, "ground_truth", old));
    KE_TRY(ke__read_old(r, &target, "target_new", new));
    if (out->n_old == 0 || target.n_old == 0)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\": the text is empty",
                               out->n_old ? "target_new" : "ground_truth");
    out->fact.old_answer = out->old_answers[0].names[0];
    out->fact.target = target.old_answers[0].names[0];
    out->targets = target.old_answers;
    out->n_targets = target.n_old;
done:
    return st;
}

/* One question to keep, unless its answer is empty. */
static ke_status add_retained(ke__reader *r, ke__part_queries *out, ke__query *queries,
                              const ke__section *retain, size_t i)
{
    ke_status st = KE_OK;
    char path[64], field[80];
    const char *question;
    const json_t *answer = json_object_get(retain->items[i], "ground_truth");
    ke__query query = {0};

    r->at = &retain->at[i];
    snprintf(path, sizeof path, "%s[%zu].", retain->key, i);
    snprintf(field, sizeof field, "%sground_truth", path);
    KE_TRY(ke__read_text(r, &question, retain->items[i], path, "question"));
    if (!answer)
        return ke__record_fail(r->cx, r->at, KE_EFORMAT, "field \"%s\" is missing", field);
    KE_TRY(ke__read_answers(r, &query.answers, &query.n_answers, field, answer));
    KE_TRY(ask(r, &query.prompt, question));
    if (query.n_answers > 0)
        queries[out->n++] = query;
done:
    return st;
}

/* All that is to be kept, or ten items of it in the order of the file: each is taken with
 * the share of what is still wanted in what is left, so every choice is as likely. */
static ke_status read_retained(ke__reader *r, ke__case *out, const ke__section *retain,
                               size_t index, const ke__cases_opts *opts)
{
    ke_status st = KE_OK;
    ke__rng rng = ke__case_rng(opts->seed, index);
    size_t want = opts->retain_all || retain->n < N_RETAIN ? retain->n : N_RETAIN;
    ke__query *queries = NULL;
    ke__part_queries *part = NULL;

    KE_TRY(ke__read_room(r, &part, 1, sizeof *part));
    KE_TRY(ke__read_room(r, &queries, want, sizeof *queries));
    for (size_t i = 0; want > 0; i++) {
        if (ke__rng_unit(&rng) * (double)(retain->n - i) >= (double)want)
            continue;
        want--;
        KE_TRY(add_retained(r, part, queries, retain, i));
    }
    part->name = "retain";
    part->queries = queries;
    out->locality = part;
    out->n_locality = part->n > 0;
    out->n_skipped = r->n_skipped;
done:
    return st;
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    ke_status st = KE_OK;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    const json_t *record = source->records.items[index];
    const char *question, *subject_field;

    KE_TRY(ke__read_text(&r, &question, record, "", "question"));
    KE_TRY(read_subject(&r, out, &subject_field, record, question));
    KE_TRY(ask(&r, &out->fact.prompt, question));
    KE_TRY(read_answers(&r, out, record));
    KE_TRY(
        ke__fact_check_at(cx, &out->fact, r.at,
                          (const char *const[]){subject_field, "question", "target_new"}));
    st = read_retained(&r, out, &source->beside, index, opts);
done:
    return st;
}

const ke__set ke__set_sanitation = {
    .name = "sanitation",
    .title = "Sanitation",
    .task = "erasure",
    .type = "unwanted information",
    .n_train = 80,
    .n_test = 80,
    .kind = KE__CASE_SANITATION,
    .stream = 4,
    .records = {"success", "K_F"},
    .beside = {"locality", "K_R"},
    .recognise = recognise,
    .read = read,
};
