/* One case of a benchmark, whatever set it comes from, and the table of sets.
 *
 * A set is one file (src/eval/set_<id>.c) and one line in sets.def: it recognises its files
 * from the content and turns a record into a case. */
#ifndef KE_EVAL_CASE_H
#define KE_EVAL_CASE_H

#include "eval/facts.h"

/* A question with its right answers: answers[i] are the names of one object, the first of
 * answers[0] is the one that counts under EasyEdit's protocol. Strings are the case's. */
typedef struct ke__names {
    const char *const *names; /* [n] */
    size_t n;
} ke__names;
typedef struct ke__query {
    const char *prompt;
    const ke__names *answers; /* [n_answers], none of them empty */
    size_t n_answers;
} ke__query;
/* A part of portability or locality, e.g. "Reasoning". */
typedef struct ke__part_queries {
    const char *name;
    const ke__query *queries; /* [n] */
    size_t n;
} ke__part_queries;

/* How a set's success is judged; each kind is a row of metrics (docs/metrics.md). */
typedef enum ke__case_kind {
    KE__CASE_FACT,       /* wiki_recent, zsre, wikibio, wiki_counterfact, own files */
    KE__CASE_CONVSENT,   /* opinions */
    KE__CASE_SANITATION, /* erasure */
    KE__CASE_COUNTERFACT /* ROME's suite */
} ke__case_kind;

typedef struct ke__case {
    const char *set; /* "wiki_recent", ... */
    ke__case_kind kind;
    size_t file, index; /* which of the files given; the record's place in it, from 0 */
    ke_fact fact;       /* subject, prompt, target, old answer; no probes */
    const ke__names *old_answers; /* ground_truth of the edit; may be none */
    size_t n_old;
    const ke__names *targets; /* other right answers of the edit, fact.target among them */
    size_t n_targets;         /* 0: fact.target alone */
    const char *const *rephrases;
    size_t n_rephrases;
    const ke__part_queries *portability, *locality;
    size_t n_portability, n_locality;
    /* CONVSENT: replies of the topic in the target's polarity and in the other; the next
     * record's replies and question for locality. */
    const char *question, *other_question;
    const char *const *agree, *const *oppose, *const *other;
    size_t n_agree, n_oppose, n_other;
    size_t n_skipped; /* empty answers and groups under portability or locality */
} ke__case;

/* The cases of the files of one run; everything is owned by `box`. */
typedef struct ke__bad_record {
    char *message;
    size_t file, index;
} ke__bad_record;
typedef struct ke__cases {
    ke__case *items; /* [n] in the order of file, then index */
    size_t n;
    ke__bad_record *bad; /* [n_bad], with skip_bad */
    size_t n_bad;
    char (*sha256)[65]; /* [n_files] of the files */
    size_t n_files;
    ke__fact_box box;
} ke__cases;

typedef struct ke__cases_opts {
    const char *set; /* NULL: recognised from the content; case ignored */
    size_t limit;    /* of records a file, the first ones; 0: all */
    uint64_t seed;   /* of what a set draws (ConvSent, Sanitation) */
    bool skip_bad;   /* collect bad records instead of failing at the first */
    bool retain_all; /* Sanitation: all retain items instead of ten drawn */
} ke__cases_opts;

/* @retval KE_EFORMAT "FILE:LINE: record N: field ..." */
KE_MUST_CHECK ke_status ke__cases_load(ke_ctx *cx, ke__cases *out, const char *const *files,
                                       size_t n_files, const ke__cases_opts *opts);
/* The same of one file's text; `file` stands for it in messages, and no hash is made. */
KE_MUST_CHECK ke_status ke__cases_parse(ke_ctx *cx, ke__cases *out, const char *file,
                                        const char *text, size_t bytes,
                                        const ke__cases_opts *opts);
void ke__cases_free(ke_ctx *cx, ke__cases *cases);

/* A list of records of a file with their places; ke__source below says which. */
typedef struct ke__section {
    const char *key; /* of the array in the file's object, else NULL */
    json_t **items;  /* [n] */
    ke__record *at;  /* [n] */
    size_t n, room;
} ke__section;
/* A file as the reader of its set sees it: its records (one more than the limit, or all),
 * and what an object holds beside them. */
typedef struct ke__source {
    ke__section records, beside;
} ke__source;

/* A row of the table of sets, in the order of the survey. */
typedef struct ke__set {
    const char *name;       /* permanent */
    const char *title;      /* as the survey prints it: "WikiData_recent" */
    const char *task;       /* "insertion", "modification", "erasure", "" */
    const char *type;       /* the survey's word for the knowledge; "" */
    size_t n_train, n_test; /* records as the survey counts them; 0: not in it */
    ke__case_kind kind;
    uint64_t stream;  /* of the random numbers for its texts, apart from other sets'; never
                         changed, so that runs repeat whatever files are given with it */
    bool portability; /* the survey's table has that column for this set */
    /* Keys of the arrays of a file that is one object, for source->records and ->beside,
     * the first that the file has counts; all NULL: the file is an array or lines. */
    const char *records[2], *beside[2];
    /* Whether a file is of this set, from its first record (or its object); the first row
     * that says so wins. */
    bool (*recognise)(const json_t *first);
    /* source->records.items[index] as a case. */
    ke_status (*read)(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box);
} ke__set;
const ke__set *ke__set_find(const char *name); /* case ignored; NULL if unknown */
const ke__set *ke__set_at(size_t i);           /* NULL past the last */

#endif
