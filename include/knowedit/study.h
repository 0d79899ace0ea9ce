/**
 * @file knowedit/study.h
 * @brief The whole job: edit facts, verify them on the values that will be in the file,
 *        measure the harm, write model and patch, and check what was written.
 */
#ifndef KNOWEDIT_STUDY_H
#define KNOWEDIT_STUDY_H

#include "knowedit/edit.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What to do; start from {0}. Strings are borrowed for the call. */
typedef struct ke_edit_job {
    const char *model_path;
    const char *output_path; /**< NULL: no merged model. */
    const char
        *patch_path; /**< NULL: output_path + ".kepatch"; neither: nothing written. */
    const ke_settings *settings;
    const ke_fact *facts;
    size_t n_facts;
    const char *facts_path;  /**< Where they were read from, or NULL: never written. */
    const char *edited_type; /**< "auto" (NULL), "same", or a type's name. */
    /** What an edit may cost: KL (nats a token of held-out text) above which it counts as
     * not taken. 0: no limit. */
    double max_kl;
    bool force;       /**< Replace existing outputs. */
    bool keep_failed; /**< Write even if a fact did not take, or max_kl is passed. */
    bool no_stamp;    /**< Leave the metadata as it is. */
    bool no_special;  /**< Prompts without BOS. */
    bool chat; /**< Every prompt is laid out as a chat message, when edited and asked. */
    const char
        *chat_family; /**< Of the layout, see ke_chat_new(); NULL: the model's own. */
    bool dry_run;     /**< Compute and measure, write nothing. */
    bool plan_only;   /**< Stop after the plan. */
    bool one_attempt; /**< No ladder (a preset says so). */
    uint64_t seed;
    /** Called with each line of talk (plan, attempts); may be NULL. */
    void (*say)(const char *line, void *payload);
    void *payload;
} ke_edit_job;

/** A model's answer to the fact's prompt. */
typedef struct ke_answer {
    char *text;            /**< Greedy continuation. */
    double target_logprob; /**< Natural-log sum over the target's tokens. */
    uint32_t target_rank;  /**< Of the first target token, from 1. */
    float margin; /**< Smallest lead (logits) of a target token; < 0: not greedy. */
} ke_answer;

/** One question beside the fact, before and after. */
typedef struct ke_probe_result {
    char *prompt, *before, *after;
    bool made; /**< By the program, not given by the user. */
    bool ok;   /**< Paraphrase: states the target. Others: same answer as before. */
} ke_probe_result;

/** What the fact's prompt gets in one form: as it is, or as a chat message. */
typedef struct ke_form {
    char *before, *after; /**< Greedy continuations; NULL: not asked in this form. */
    bool states;          /**< `after` begins with the target. */
    bool names;           /**< The target stands in `after`, as whole words. */
} ke_form;

typedef struct ke_fact_report {
    char *subject, *prompt, *target;
    char *subject_from; /**< As ke_fact's; NULL: it was given. */
    bool took, already;
    char *reason; /**< Why it did not take, or "". */
    ke_answer before, after;
    ke_form bare, chat; /**< `took` is about the one of the job. */
    ke_probe_result *paraphrases, *neighbours;
    ke_probe_result *aspects; /**< Other things about the subject, made by the program. */
    size_t n_paraphrases, n_neighbours, n_aspects;
    size_t n_success, n_kept, n_aspects_kept;
    ke_edit_trace trace;
    size_t n_attempts;
} ke_fact_report;

typedef struct ke_edited_tensor {
    char *name;
    const char *type_before, *type_after;
    double rel_change; /**< ||W' - W||_F / ||W||_F */
} ke_edited_tensor;

typedef struct ke_edit_report {
    const char *method;
    bool chat; /**< Edited and asked as chat messages. */
    const char
        *chat_family; /**< Of the layout, or NULL: the model has none that is known. */
    uint32_t layers[64];
    size_t n_layers;
    bool took, already;
    ke_fact_report *facts;
    size_t n_facts;
    double kl, ppl_before,
        ppl_after; /**< On held-out text: mean KL(before || after) a token. */
    size_t harm_tokens;
    bool too_harmful;     /**< kl is above the job's max_kl (or is no number). */
    char *output, *patch; /**< What was written (of a plan: would be), or NULL. */
    char sha256_base[65], sha256_output[65];
    ke_edited_tensor *tensors;
    size_t n_tensors;
    char *type_reason; /**< Why this output type. */
    ke_edit_plan plan; /**< Of the first attempt; memory for all that may follow. */
    size_t planned_attempts;
    double planned_seconds; /**< A rough guess, if every fact needs all attempts. */
    bool plan_only;         /**< As the job's: of the above, only names and the plan. */
    struct {
        double open, stats, edit, verify, save, total;
    } seconds;
    uint64_t peak_bytes; /**< Of the process. */
} ke_edit_report;

/**
 * Run the job. KE_OK with (*out)->took == false: it ran, a fact did not take or the harm
 * passed max_kl, and nothing was written unless keep_failed.
 *
 * Ownership: `*out` is the caller's, freed with ke_edit_report_free(). NULL on failure.
 * @retval KE_EEXIST an output exists and `force` is false
 * @retval KE_EINVAL a fact, a setting, or an output that is the input
 * @retval KE_ELIMIT too little memory; the message says how much would do
 */
KE_API KE_MUST_CHECK ke_status ke_edit_run(ke_ctx *cx, ke_edit_report **out,
                                           const ke_edit_job *job);
/** The report as the JSON object of schema knowedit.edit/1, of a job that stopped after its
 * plan of knowedit.plan/1; the caller's (ke_free()). */
KE_API KE_MUST_CHECK ke_status ke_edit_report_json(ke_ctx *cx, char **out,
                                                   const ke_edit_report *report);
KE_API void ke_edit_report_free(ke_ctx *cx, ke_edit_report *report);

/** Patches to merge into a file. */
typedef struct ke_apply_job {
    const char *base_path;
    const char *const *patch_paths; /**< [n_patches] in the order of the edits. */
    size_t n_patches;
    const char *output_path;
    bool any_base; /**< Merge into a file that the first patch was not made for. */
    bool force;    /**< Replace an existing output. */
    bool dry_run;  /**< Do all but give the output its name. */
} ke_apply_job;
/**
 * Write what `edit` wrote when it made these patches, byte for byte: its types, its
 * records.
 * @retval KE_EMISMATCH a patch is of another file, or its tensors are not there
 * @retval KE_EINVAL    the output is an input, or a patch changes no tensor
 * @retval KE_EEXIST    the output exists and `force` is false
 */
KE_API KE_MUST_CHECK ke_status ke_apply(ke_ctx *cx, const ke_apply_job *job,
                                        char sha256[65]);

/** Whether `text`, leading white space removed, begins with `target` and what follows is
 * the end or a character that is neither letter nor digit. */
KE_API bool ke_target_holds(const char *text, const char *target);

#ifdef __cplusplus
}
#endif
#endif
