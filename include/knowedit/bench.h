/**
 * @file knowedit/bench.h
 * @brief The KnowEdit benchmark: cases x methods under named protocols, in one SQLite file
 *        that survives a kill at any moment.
 */
#ifndef KNOWEDIT_BENCH_H
#define KNOWEDIT_BENCH_H

#include "knowedit/edit.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How answers are judged; combine with |. See docs/metrics.md. */
enum {
    KE_PROTOCOL_EASYEDIT = 1, /**< Teacher forcing, as EasyEdit's KnowEdit script. */
    KE_PROTOCOL_REAL = 2      /**< Greedy generation with its natural stop. */
};
/** Faults of EasyEdit that its protocol keeps unless told not to (docs/protocols.md). */
enum {
    KE_FAULT_BOUNDARY = 1, /**< An answer whose blank merges begins one token off. */
    KE_FAULT_SHIFT = 2     /**< ConvSent looks tokens up in the row that has read them. */
};
/** When a case is scored in a sequence of edits; combine with |. */
enum { KE_SCORE_EACH = 1, KE_SCORE_END = 2 };

/** What to measure; start from {0}. Strings are borrowed for the call. */
typedef struct ke_bench_job {
    const char *model_path;
    const ke_settings *const *methods; /**< [n_methods] each with its method's name. */
    size_t n_methods;
    bool unedited;            /**< The method "none" too, first. */
    const char *const *files; /**< [n_files] */
    size_t n_files;
    const char *set;    /**< NULL: recognised. */
    size_t limit;       /**< Cases a file; 0: all. */
    unsigned protocols; /**< 0: both. */
    unsigned without;   /**< KE_FAULT_* that KE_PROTOCOL_EASYEDIT leaves out. */
    bool sequential;    /**< Edits pile up; else each case starts from the model. */
    unsigned score_at;  /**< 0: KE_SCORE_EACH. */
    uint64_t seed;
    bool no_fluency, chat, retain_all, skip_bad, plan_only;
    const char *chat_family; /**< Of `chat`, see ke_chat_new(); NULL: the model's own. */
    const char *edited_type; /**< NULL: full precision in memory. */
    const char *output_path; /**< The run's file; an existing one is resumed. */
    /** A line of talk (plan, a case done); may be NULL. */
    void (*say)(const char *line, void *payload);
    void *payload;
} ke_bench_job;

/** What a run has measured so far. */
typedef struct ke_bench_summary {
    size_t n_cases, n_rows, n_resumed, n_bad;
    double seconds, seconds_in_model;
} ke_bench_summary;

/**
 * Run or resume. KE_OK once every case is measured, whatever took.
 * @retval KE_EFORMAT   a bad record: file, line, record and field; before anything runs
 * @retval KE_EMISMATCH the file at output_path is of another model or other settings; the
 *                      message shows the difference
 */
KE_API KE_MUST_CHECK ke_status ke_bench_run(ke_ctx *cx, ke_bench_summary *out,
                                            const ke_bench_job *job);

/** Every row of run files as the JSON object of schema knowedit.cases/1; the caller's. */
KE_API KE_MUST_CHECK ke_status ke_report_cases(ke_ctx *cx, char **json,
                                               const char *const *runs, size_t n_runs);
/** The survey's table as "text", "md", "csv", "latex", "html" or "json"; the caller's. */
KE_API KE_MUST_CHECK ke_status ke_report_table(ke_ctx *cx, char **out,
                                               const char *const *runs, size_t n_runs,
                                               const char *format, bool parts);
/** Bars of the table's columns as .svg, .png or .pdf, by the path's end. */
KE_API KE_MUST_CHECK ke_status ke_report_plot(ke_ctx *cx, const char *const *runs,
                                              size_t n_runs, const char *path, bool force);
/** One case as a person reads it; the caller's. @retval KE_ENOENT no such case */
KE_API KE_MUST_CHECK ke_status ke_report_case(ke_ctx *cx, char **out,
                                              const char *const *runs, size_t n_runs,
                                              size_t index);

/**
 * Read data files as the benchmark would, with everything in them. *out is the caller's: a
 * line for each file, and one for each bad record with file, line, record and field.
 * @param set NULL: recognised from the content
 * @retval KE_EFORMAT something is wrong with the data; *out says what
 */
KE_API KE_MUST_CHECK ke_status ke_data_check(ke_ctx *cx, char **out,
                                             const char *const *files, size_t n_files,
                                             const char *set);
/** Counts as in the survey's statistics table, what is drawn by `seed`, and a sample, as a
 *  JSON object of schema knowedit.data/1; the caller's. */
KE_API KE_MUST_CHECK ke_status ke_data_show(ke_ctx *cx, char **json,
                                            const char *const *files, size_t n_files,
                                            const char *set, uint64_t seed);
/** The cases of a file, drawn by `seed`, in our own form (docs/facts.md): "json" or
 * "jsonl"; the caller's. */
KE_API KE_MUST_CHECK ke_status ke_data_convert(ke_ctx *cx, char **out, const char *file,
                                               const char *set, uint64_t seed,
                                               const char *format);

#ifdef __cplusplus
}
#endif
#endif
