/* The benchmark from inside: ke_bench_run() in bench.c goes from case to case; what a model
 * says to a case is heard once (bench_ask.c, bench_opinion.c) and judged by every protocol
 * (protocol_<name>.c), and what comes of it is one row of the run's file (bench_row.c). */
#ifndef KE_STUDY_BENCH_H
#define KE_STUDY_BENCH_H

#include "eval/case.h"
#include "knowedit/bench.h"
#include "patch/patch.h"
#include "study/store.h"

typedef struct ke__bench_method {
    const char *name;            /* "none" has no settings */
    const ke_settings *settings; /* borrowed */
    ke_editor *editor;           /* made ready with the first edit */
    double success[2];           /* sums of the rows measured now, a protocol each */
    size_t n_success[2];
} ke__bench_method;
typedef struct ke__bench {
    const ke_bench_job *job;
    unsigned protocols, score_at;
    size_t n_protocols;
    ke_model *model;
    ke_chat *chat; /* the layout of the job's chat messages, or NULL */
    ke__cases cases;
    ke__store *store;
    char **file_names;         /* [n_files] as the run first had them */
    ke__bench_method *methods; /* [n_methods] */
    size_t n_methods;
    const ke__dtype_traits
        *type; /* of edited tensors, with `rounded`; NULL: the file's own */
    bool rounded;
    ke_progress_fn progress; /* the context's own, which is silent during a run */
    uint64_t done, total;    /* rows' worth of progress: cases x methods x at */
    ke_bench_summary *summary;
} ke__bench;

/* --- items: the prompts of a case, in the order of a row's texts -------------------- */

typedef enum ke__item_kind {
    KE__SUCCESS,
    KE__REPHRASE,
    KE__PORTABILITY,
    KE__LOCALITY,
    KE__FLUENCY /* of texts only */
} ke__item_kind;
typedef struct ke__item {
    ke__item_kind kind;
    const char *part; /* of portability and locality, else NULL */
    const char *prompt, *expected;
    const ke__names *answers; /* [n_answers], any of which is right; none: `expected` */
    size_t n_answers;
} ke__item;
/* Everything is borrowed from the case; the caller frees *out. */
KE_MUST_CHECK ke_status ke__items_make(ke_ctx *cx, ke__item **out, size_t *n,
                                       const ke__case *c);

/* --- what a model says -------------------------------------------------------------- */

/* Kinds of replies, each [n_items] or absent. */
typedef enum ke__view {
    KE__FORCED, /* the most probable token before each token of the expected answer */
    KE__SHORT,  /* ten greedy tokens: Sanitation under easyedit */
    KE__LONG,   /* greedy until the model stops, at most 50 tokens: real */
    KE__VIEWS
} ke__view;
typedef struct ke__reply {
    int32_t *ids; /* [n] */
    size_t n;
    int32_t *labels; /* [n] the answer's own tokens: FORCED */
    char *text;      /* of ids, in UTF-8; NULL: not asked */
    double logprob;  /* FORCED: mean over the answer's tokens; NaN without any */
    double margin;   /* FORCED: least distance in logits of a label from the best other */
    double rival;    /* CounterFact: as logprob, of the answer that competes */
} ke__reply;
/* Mean log-probability a token of the replies that agree and that oppose (ConvSent). */
typedef struct ke__opinion {
    double agree, oppose;
} ke__opinion;
enum { KE__UNSHIFTED, KE__SHIFTED, KE__SHIFTS };
typedef struct ke__said {
    size_t n_items;
    ke__reply *replies[KE__VIEWS];
    ke__opinion opinion[KE__SHIFTS];
    double kl[KE__SHIFTS]; /* from the unedited model, on the other topic's replies */
} ke__said;
void ke__said_free(ke_ctx *cx, ke__said *said);

/* Ask the model under `stack` (NULL: as it is) what the run's protocols need. */
KE_MUST_CHECK ke_status ke__said_ask(ke_ctx *cx, ke__said *out, ke__bench *b,
                                     const ke__case *c, const ke__item *items, size_t n,
                                     const ke_stack *stack);
/* As JSON text, the caller's, and back; nothing is lost on the way. */
KE_MUST_CHECK ke_status ke__said_write(ke_ctx *cx, char **out, const ke__said *said);
KE_MUST_CHECK ke_status ke__said_parse(ke_ctx *cx, ke__said *out, const char *text,
                                       size_t n_items);
/* Opinion and, under a stack, KL. */
KE_MUST_CHECK ke_status ke__opinion_ask(ke_ctx *cx, ke__said *out, ke__bench *b,
                                        const ke__case *c, const ke_stack *stack);

/* Texts drawn for fluency, a protocol each: mean over the prompts, and the prompts' texts.
 */
typedef struct ke__drawn {
    double fluency[2];    /* NaN without texts */
    const char **prompts; /* [n] borrowed */
    char **texts[2];      /* [n] */
    size_t n;
} ke__drawn;
KE_MUST_CHECK ke_status ke__drawn_ask(ke_ctx *cx, ke__drawn *out, ke__bench *b,
                                      const ke__case *c, const ke__item *items, size_t n,
                                      const ke_stack *stack);
void ke__drawn_free(ke_ctx *cx, ke__drawn *drawn);

/* --- used by the askers ------------------------------------------------------------- */

/* `prompt` as the stack's memory patches have it fed; *out is the caller's, and *memory
 * says whether it is another text. */
KE_MUST_CHECK ke_status ke__bench_wrap(ke_ctx *cx, char **out, bool *memory,
                                       const ke_stack *stack, const char *prompt);
KE_MUST_CHECK ke_status ke__bench_ids(ke_ctx *cx, ke_ids *out, const ke__bench *b,
                                      const char *text);
/* The ids of a prompt as it is fed, laid out as a chat message or as it is. */
KE_MUST_CHECK ke_status ke__bench_prompt(ke_ctx *cx, ke_ids *out, const ke__bench *b,
                                         const ke_stack *stack, const char *prompt,
                                         bool chat);
/* The text of ids, in UTF-8 whatever they are; the caller's. */
KE_MUST_CHECK ke_status ke__bench_text(ke_ctx *cx, char **out, const ke__bench *b,
                                       const int32_t *ids, size_t n);
/* Work in the model that began at `entered` (ke__now()) ends, for the summary. */
void ke__bench_leave(ke__bench *b, double entered);

/* --- protocols ---------------------------------------------------------------------- */

/* A case after an edit (or none) and before it. */
typedef struct ke__trial {
    const ke__case *c;
    const ke__item *items; /* [n] */
    size_t n;
    const ke__said *before, *after;
    unsigned without; /* KE_FAULT_* */
} ke__trial;
typedef struct ke__protocol {
    const char *name; /* permanent */
    unsigned bit;
    unsigned shift; /* form of ConvSent's numbers, unless without KE_FAULT_SHIFT */
    /* Where the replies of a case stand. */
    ke__view (*view)(const ke__case *c);
    /* The score of item i in 0..1, NaN if it has none. */
    ke_status (*score)(ke_ctx *cx, double *out, const ke__trial *t, size_t i);
    /* Whether a success item is met exactly: 0 or 1. */
    ke_status (*exact)(ke_ctx *cx, double *out, const ke__trial *t, size_t i);
} ke__protocol;
extern const ke__protocol ke__protocol_easyedit, ke__protocol_real;
/* In the order of rows; NULL past the last. */
const ke__protocol *ke__protocol_at(size_t i);

/* --- rows --------------------------------------------------------------------------- */

typedef struct ke__row_in {
    const ke__trial *trial;
    const ke__drawn *drawn;     /* NULL: no fluency */
    const ke_edit_trace *trace; /* NULL: no edit */
    const char *file, *method, *mode, *at;
    const char *error; /* not NULL: nothing was measured, and why */
    double seconds_edit, seconds_evaluate;
} ke__row_in;
/* The row's JSON text, the caller's; *success: the mean over its success prompts, or NaN.
 */
KE_MUST_CHECK ke_status ke__bench_row(ke_ctx *cx, char **out, double *success,
                                      const ke__protocol *protocol, const ke__row_in *in);

/* --- edits in force ----------------------------------------------------------------- */

/* Edits that pile up. Changes of weights are folded into one f32 copy of each tensor that
 * they touch, so that a long sequence takes no more memory than one edit. */
typedef struct ke__pile {
    ke_stack *stack;
    ke__merged folded;
    ke_patch **patches; /* [n] what could not be folded, owned */
    size_t n, room;
} ke__pile;
KE_MUST_CHECK ke_status ke__pile_new(ke_ctx *cx, ke__pile *out, const ke_model *model);
void ke__pile_free(ke_ctx *cx, ke__pile *p);
/* The patch is taken, also on failure. `fold` if more edits will follow. */
KE_MUST_CHECK ke_status ke__pile_push(ke_ctx *cx, ke__pile *p, ke_patch *patch, bool fold);

/* --- steps of a run ----------------------------------------------------------------- */

/* Say what will be done and what it takes; KE_ELIMIT if memory is too little. */
KE_MUST_CHECK ke_status ke__bench_plan(ke_ctx *cx, ke__bench *b);
/* Record what identifies the run in a new file, or compare it with what is there. */
KE_MUST_CHECK ke_status ke__bench_identify(ke_ctx *cx, ke__bench *b);
/* Progress of the whole run. While it goes on, the steps of single edits report none. */
KE_MUST_CHECK ke_status ke__bench_progress(ke_ctx *cx, const ke__bench *b, uint64_t done);
/* Measure every case that is not in the file yet. */
KE_MUST_CHECK ke_status ke__bench_single(ke_ctx *cx, ke__bench *b);
KE_MUST_CHECK ke_status ke__bench_sequential(ke_ctx *cx, ke__bench *b);
KE_MUST_CHECK ke_status ke__bench_say(ke_ctx *cx, const ke__bench *b, const char *format,
                                      ...) __attribute__((format(printf, 3, 4)));

#endif
