/* One edit job, step by step: ke_edit_run() in job.c calls the steps in the order below,
 * and all of them share its state. */
#ifndef KE_STUDY_STUDY_H
#define KE_STUDY_STUDY_H

#include "edit/edit.h"
#include "eval/harm.h"
#include "knowedit/study.h"
#include "patch/patch.h"

/* Lead in logits that every token of a target must have over the next best, and the best
 * harmless token after it over the best that would go on with the word. Why this number:
 * docs/verification.md. */
#define KE__MARGIN 1.0F

/* A fact's answer and whether it states the target. */
typedef struct ke__verdict {
    ke_answer answer;
    bool holds;
} ke__verdict;

typedef struct ke__run {
    const ke_edit_job *job;
    ke_model *model;
    ke_edit_report *report;
    ke_chat *chat; /* the layout of the model or of the job, or NULL */
    const ke_fact
        *facts;         /* [n_facts] the job's, with the layout if they are edited in it */
    ke_fact *laid_out;  /* what `facts` is then, owned */
    size_t *max_tokens; /* [n_facts] that say whether a target is there, and ends */
    uint8_t *breaks;    /* [V] whether a token goes on with a word, see ask.c */
    ke_stack *stack;    /* the accepted patches, in f32 */
    ke_patch **patches; /* [n_patches] them, owned */
    size_t n_patches, patches_room;
    size_t *rungs; /* [n_rungs] the attempts of the ladder that fit into memory */
    size_t n_rungs;
    /* The method as ready for the attempt made last: facts share what it prepared. */
    ke_editor *editor;
    ke_settings *editor_settings;
    size_t editor_rung;
    const char *type_name;          /* "auto", "same" or the type's */
    const ke__dtype_traits *type;   /* of a named type */
    ke__merged merged;              /* what the file will hold */
    char *output_path, *patch_path; /* NULL: not written */
    bool replace_patch;             /* one that is there may be replaced */
    double lap;
} ke__run;

/* Add the time since the last call to *slot. */
void ke__run_lap(ke__run *run, double *slot);
/* A line of talk. */
KE_MUST_CHECK ke_status ke__run_say(ke_ctx *cx, const ke__run *run, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* --- outputs.c: where things go, before work and after -------------------------------- */

/* Settle run->output_path and run->patch_path, and refuse what could not be written. */
KE_MUST_CHECK ke_status ke__outputs_check(ke_ctx *cx, ke__run *run);
/* Write the edited model and the patch, ask the facts in the written file, then give both
 * their names: patch first. Nothing gets a name if a fact no longer holds there. */
KE_MUST_CHECK ke_status ke__outputs_write(ke_ctx *cx, ke__run *run);

/* --- lengths.c ------------------------------------------------------------------------ */

/* How many tokens a text has, laid out by `chat` (NULL: not) and with what follows it; 0 if
 * it is so short that they must fit. */
KE_MUST_CHECK ke_status ke__length(ke_ctx *cx, size_t *n, const ke__run *run,
                                   const ke_chat *chat, const char *text,
                                   const char *target);
/* KE_EINVAL if a prompt, paraphrase or neighbour is longer than the model's context. */
KE_MUST_CHECK ke_status ke__lengths_check(ke_ctx *cx, const ke__run *run);

/* --- ask.c: what a model says -----------------------------------------------------------
 */

KE_MUST_CHECK ke_status ke__questions_new(ke_ctx *cx, ke__run *run);
void ke__questions_free(ke_ctx *cx, ke__run *run);
/* Ask the facts which[0..n) (NULL: all n) of `model`, a copy of run->model or an edit of
 * it; out[n] is freed by ke__verdicts_free(). What `edits` tell stands before a prompt,
 * here and in ke__continue(). */
KE_MUST_CHECK ke_status ke__ask(ke_ctx *cx, ke__verdict *out, const ke__run *run,
                                const ke_model *model, const ke_stack *edits,
                                const size_t *which, size_t n);
void ke__verdicts_free(ke_ctx *cx, ke__verdict *verdicts, size_t n);
typedef struct ke__prompt {
    const char *text;
    const ke_chat *chat; /* lays it out; NULL: asked as it is */
    size_t max_tokens;   /* of the continuation */
} ke__prompt;
/* Continuations; out[n] are the caller's. */
KE_MUST_CHECK ke_status ke__continue(ke_ctx *cx, char **out, const ke__run *run,
                                     const ke_stack *edits, const ke__prompt *prompts,
                                     size_t n);

/* --- forms.c: as it is, and as a chat message
 * --------------------------------------------- */

/* Find the layout, and lay out the facts in it if the job says so. */
KE_MUST_CHECK ke_status ke__forms_new(ke_ctx *cx, ke__run *run);
void ke__forms_free(ke_ctx *cx, ke__run *run);
/* The layout in which the job's prompts are asked, or NULL. */
const ke_chat *ke__form_of_job(const ke__run *run);
/* The prompt of fact i in the other form; text NULL: it is not asked in it. */
KE_MUST_CHECK ke_status ke__form_prompt(ke_ctx *cx, ke__prompt *out, const ke__run *run,
                                        size_t i);
/* What it gets there. */
ke_form *ke__form_other(const ke__run *run, size_t i);
/* Whether `target`, without white space around it, stands in `text` as whole words. */
bool ke__target_named(const char *text, const char *target);
/* Fill in what is said in the form of the job (asked already), and judge both. */
KE_MUST_CHECK ke_status ke__forms_before(ke_ctx *cx, ke__run *run);
KE_MUST_CHECK ke_status ke__forms_after(ke_ctx *cx, ke__run *run);

/* --- attempts.c: from facts to patches -------------------------------------------------
 */

/* Ask facts on the values that a file would hold with edited tensors of `type` (NULL: the
 * types they have). */
KE_MUST_CHECK ke_status ke__ask_merged(ke_ctx *cx, ke__verdict *out, ke__run *run,
                                       const ke__dtype_traits *type, const size_t *which,
                                       size_t n);
/* Edit every fact that does not hold yet, climbing the method's ladder. */
KE_MUST_CHECK ke_status ke__edit_all(ke_ctx *cx, ke__run *run);

/* --- types.c
 * ------------------------------------------------------------------------------ */

/* Choose the type of edited tensors; fills run->merged, the reasons and the answers after.
 */
KE_MUST_CHECK ke_status ke__type_choose(ke_ctx *cx, ke__run *run);

/* --- probes.c: paraphrases and neighbours
 * ------------------------------------------------- */

KE_MUST_CHECK ke_status ke__probes_make(ke_ctx *cx, ke__run *run);
/* Their answers, and those in the other form, before; then after, with the counts. */
KE_MUST_CHECK ke_status ke__probes_before(ke_ctx *cx, ke__run *run);
KE_MUST_CHECK ke_status ke__probes_after(ke_ctx *cx, ke__run *run, const ke_stack *edits);

/* --- record.c: what file and patch say about the edit ------------------------------------
 */

/* The stamp: one JSON object on one line. Caller frees. */
KE_MUST_CHECK ke_status ke__record_stamp(ke_ctx *cx, char **out, const ke__run *run);
/* The same from a patch's meta object; *out is NULL if it is none of ours. */
KE_MUST_CHECK ke_status ke__record_of_meta(ke_ctx *cx, char **out, const json_t *meta);
/* A file's earlier records with one more. */
typedef struct ke__stamps {
    char *record;
    const char **edits;
    const char *version;
    ke__gguf_stamp items[2];
    size_t n; /* 0: nothing is stamped */
} ke__stamps;
/* `record` is given away, on failure too. */
KE_MUST_CHECK ke_status ke__stamps_new(ke_ctx *cx, ke__stamps *out, const ke_model *model,
                                       char *record);
void ke__stamps_free(ke_ctx *cx, ke__stamps *s);
/* The patch's meta object. */
KE_MUST_CHECK ke_status ke__record_patch(ke_ctx *cx, char **out, const ke__run *run);

/* --- report.c
 * --------------------------------------------------------------------------------- */

json_t *ke__json_layers(const ke_edit_report *report);
json_t *ke__json_tensors(const ke_edit_report *report);

/* --- holds.c
 * --------------------------------------------------------------------------------- */

/* `text` without the white space (Unicode's) that it begins with. */
const char *ke__skip_space(const char *text);
/* Bytes of `text` without the white space that it ends with. */
size_t ke__trimmed(const char *text);
/* Whether a letter or a digit stands at `text`, or as the last before `end`. */
bool ke__at_word(const char *text);
bool ke__ends_in_word(const char *text, const char *end);

#endif
