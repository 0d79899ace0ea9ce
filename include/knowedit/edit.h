/**
 * @file knowedit/edit.h
 * @brief Facts, methods and their settings, and the change that a method computes.
 *
 * Shape letters: D model width, F FFN width, N facts.
 */
#ifndef KNOWEDIT_EDIT_H
#define KNOWEDIT_EDIT_H

#include "knowedit/patch.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A question beside the fact, and (or NULL) what the model should say. */
typedef struct ke_probe {
    const char *prompt, *answer;
} ke_probe;

/** One fact to write. Strings are UTF-8 and borrowed. */
typedef struct ke_fact {
    const char *subject; /**< Occurs in `prompt`; of several places the last counts. */
    /** How ke_subject_find() found it: "names", "prompts", "answer"; NULL: it was given. */
    const char *subject_from;
    const char *prompt;
    const char *target;             /**< What the edited model should say next. */
    const char *old_answer;         /**< Or NULL. */
    const char *const *paraphrases; /**< [n_paraphrases] */
    size_t n_paraphrases;
    const ke_probe *neighbours; /**< [n_neighbours] prompts that must stay as they were. */
    size_t n_neighbours;
    const char *place;   /**< "FILE:LINE" that it was read from, for messages, or NULL. */
    const ke_chat *chat; /**< Edited as this lays out the prompt, or NULL: as it is. */
} ke_fact;

/**
 * Asked for a subject that can't be told, perhaps one of `candidates` [n], parts of
 * `prompt` (n may be 0). The answer is read before the next call; NULL: none.
 */
typedef const char *(*ke_ask_subject_fn)(const char *prompt, const char *const *candidates,
                                         size_t n, void *payload);
/** Where subjects come from that facts don't name; start from {0}. Strings are borrowed. */
typedef struct ke_subject_opts {
    const char *const *names; /**< [n_names] subjects that there are. */
    size_t n_names;
    ke_ask_subject_fn ask; /**< NULL: nobody is asked. */
    void *payload;
} ke_subject_opts;
/**
 * The subject of a fact that names none: the longest of the names that stands in its
 * prompt; else the longest span of whole words that its prompt shares with its paraphrases
 * and neighbours (docs/facts.md); else what `ask` answers, whatever it is.
 *
 * Ownership: `*out` is the caller's (ke_free()); `*from` is as ke_fact's subject_from.
 * @retval KE_EINVAL none can be told; the message proposes some
 */
KE_API KE_MUST_CHECK ke_status ke_subject_find(ke_ctx *cx, char **out, const char **from,
                                               const ke_fact *fact,
                                               const ke_subject_opts *how);

/** Facts read from a file; free with ke_facts_free(). */
typedef struct ke_facts {
    ke_fact *items; /**< [n] */
    size_t n;
    void *owner;
} ke_facts;
/**
 * Read JSON (an array, or one object), JSONL or CSV ("-": standard input). Field names of
 * EasyEdit, CounterFact and KnowEdit are understood (docs/facts.md).
 * @param subjects where a record's subject comes from if it names none; NULL is {0}
 * @retval KE_EFORMAT the message names file, line, record and field
 * @retval KE_EINVAL  the same, of a record that is no fact, or whose subject can't be told
 */
KE_API KE_MUST_CHECK ke_status ke_facts_load(ke_ctx *cx, ke_facts *out, const char *path,
                                             const ke_subject_opts *subjects);
KE_API void ke_facts_free(ke_ctx *cx, ke_facts *facts);
/** Called with "FILE:LINE: record N: what" for each record that is no fact. */
typedef void (*ke_bad_fact_fn)(const char *message, void *payload);
/**
 * Read a facts file to its end as ke_facts_load() would, whatever is in it, and count.
 * @retval KE_EIO the file cannot be read; bad records are no error
 */
KE_API KE_MUST_CHECK ke_status ke_facts_check(ke_ctx *cx, const char *path,
                                              const ke_subject_opts *subjects,
                                              size_t *n_good, size_t *n_bad,
                                              ke_bad_fact_fn say, void *payload);
/** KE_EINVAL with the reason if a fact can't be edited: empty, subject not in its prompt.
 */
KE_API KE_MUST_CHECK ke_status ke_fact_check(ke_ctx *cx, const ke_fact *fact);

/** Methods by number, 0 <= i < ke_method_count(). */
KE_API size_t ke_method_count(void);
KE_API const char *ke_method_name(size_t i);
KE_API const char *ke_method_summary(size_t i);

/** One setting of a method, as its table declares it. */
typedef struct ke_setting_info {
    const char *name;     /**< As in --name. */
    const char *fallback; /**< The default as text. */
    char range[96];       /**< e.g. "1..1000"; "" for free text. */
    const char *unit;     /**< "" if none. */
    const char *help;     /**< One line. */
} ke_setting_info;
/** Setting `i` of `method`, false past the last. */
KE_API bool ke_method_setting(const char *method, size_t i, ke_setting_info *out);
/** Name of preset `i` of `method`, NULL past the last. */
KE_API const char *ke_method_preset(const char *method, size_t i);

typedef struct ke_settings ke_settings; /**< Opaque: values of one method's settings. */
/** @retval KE_EINVAL unknown method; the message lists the known ones */
KE_API KE_MUST_CHECK ke_status ke_settings_new(ke_ctx *cx, ke_settings **out,
                                               const char *method);
KE_API void ke_settings_free(ke_ctx *cx, ke_settings *s);
/** Set by text, checked against type and range. Beats a preset, before or after it. */
KE_API KE_MUST_CHECK ke_status ke_settings_set(ke_ctx *cx, ke_settings *s, const char *name,
                                               const char *value);
KE_API KE_MUST_CHECK ke_status ke_settings_preset(ke_ctx *cx, ke_settings *s,
                                                  const char *preset);
/** The value as text, the settings' own until it is set again; NULL for an unknown name. */
KE_API const char *ke_settings_get(const ke_settings *s, const char *name);
KE_API const char *ke_settings_method(const ke_settings *s);

/** What an edit will take, known before work. */
typedef struct ke_edit_plan {
    uint32_t layers[64]; /**< [n_layers] edited layers */
    size_t n_layers;
    uint64_t peak_bytes;  /**< Heap at its largest; mapped weights not counted. */
    uint64_t patch_bytes; /**< Of that, a patch of whole matrices; else 0. */
    double seconds;       /**< A rough guess on this machine. */
    double stats_seconds; /**< Of which key statistics that are not cached. */
    size_t stats_tokens;  /**< 0: cached, or not needed. */
    char text[256];       /**< One line: what will be done. */
} ke_edit_plan;
/**
 * Plan an edit of `facts` [n_facts] with one attempt's settings.
 * @retval KE_EINVAL, KE_ENOTSUP as for ke_edit(), as far as it shows before work
 */
KE_API KE_MUST_CHECK ke_status ke_edit_plan_make(ke_ctx *cx, ke_edit_plan *out,
                                                 const ke_model *model,
                                                 const ke_settings *settings,
                                                 const ke_fact *facts, size_t n_facts);

/** What happened on the way to one fact. Free with ke_edit_trace_free(). */
typedef struct ke_edit_trace {
    uint32_t layers[64]; /**< [n_layers] */
    size_t n_layers;
    double *loss; /**< [n_loss] total loss a step */
    size_t n_loss;
    double delta_norm; /**< Frobenius norm of the change of the weights. */
    double key_norm;   /**< Of the key k* (clean prompt). */
    double value_norm; /**< Of the value v*. */
    double stats_seconds;
    char note[256]; /**< A remark worth printing, or "". */
} ke_edit_trace;
KE_API void ke_edit_trace_free(ke_ctx *cx, ke_edit_trace *trace);

/**
 * Compute the change that makes `model` under `edits` (NULL: as it is) state `facts`.
 *
 * Nothing changes until the patch is pushed on a stack.
 * Ownership: `*out` is the caller's, freed with ke_patch_free(). trace: [n_facts], or NULL.
 * Threads:   one call per `cx` at a time; the same bytes for any number of threads.
 * @param seed of everything drawn (contexts)
 * @retval KE_EINVAL   a fact or setting that can't be used
 * @retval KE_ENOTSUP  this model lacks what the method edits
 * @retval KE_ENUMERIC not a number on the way; the message says where
 */
KE_API KE_MUST_CHECK ke_status ke_edit(ke_ctx *cx, ke_patch **out, const ke_model *model,
                                       const ke_stack *edits, const ke_settings *settings,
                                       const ke_fact *facts, size_t n_facts, uint64_t seed,
                                       ke_edit_trace *trace);

/** A method made ready for a model: what its edits share is computed once. */
typedef struct ke_editor ke_editor;
/**
 * Draw contexts, compute or read key statistics. Model and settings are borrowed.
 * Ownership: `*out` is the caller's, freed with ke_editor_free(). One call at a time.
 * @retval KE_EINVAL, KE_ENOTSUP, KE_ENUMERIC as for ke_edit()
 */
KE_API KE_MUST_CHECK ke_status ke_editor_new(ke_ctx *cx, ke_editor **out,
                                             const ke_model *model,
                                             const ke_settings *settings, uint64_t seed);
KE_API void ke_editor_free(ke_ctx *cx, ke_editor *editor);
/** As ke_edit(), with the editor's model, settings and seed: the same patch. */
KE_API KE_MUST_CHECK ke_status ke_editor_edit(ke_ctx *cx, ke_editor *editor, ke_patch **out,
                                              const ke_stack *edits, const ke_fact *facts,
                                              size_t n_facts, ke_edit_trace *trace);

/** What key statistics to compute; start from KE_STATS_DEFAULT. */
typedef struct ke_stats_opts {
    const uint32_t *layers; /**< [n_layers] */
    size_t n_layers;
    size_t n_tokens;  /**< 0: by rule, ten times the key width. */
    size_t chunk;     /**< Tokens read together. */
    double shrink;    /**< Share of the mean diagonal added to the diagonal; 0: none. */
    const char *text; /**< UTF-8, or NULL: the built-in text. */
    size_t text_bytes;
    bool bos; /**< Begin each chunk with BOS where the file says so. */
} ke_stats_opts;
#define KE_STATS_DEFAULT                                                                   \
    {                                                                                      \
        NULL, 0, 0, 256, 1e-4, NULL, 0, true                                               \
    }
/** Second moments E[k k^T] of the keys (inputs of the down projection), one layer. */
typedef struct ke_stats_layer {
    uint32_t layer;
    uint64_t width; /**< F */
    double trace, frobenius;
} ke_stats_layer;
typedef struct ke_stats_info {
    ke_stats_layer layers[64];
    size_t n_layers;
    uint64_t n_tokens;
    char model_sha256[65], text_sha256[65];
} ke_stats_info;
/** Compute them and write a file (docs/stats-format.md). A dry run computes nothing: it
 *  finds what would be refused, and *out is empty. */
KE_API KE_MUST_CHECK ke_status ke_stats_compute(ke_ctx *cx, ke_stats_info *out,
                                                const ke_model *model,
                                                const ke_stats_opts *opts, const char *path,
                                                bool force);

#ifdef __cplusplus
}
#endif
#endif
