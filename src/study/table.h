/* The survey's table from run files: the scores are read once, case by case, into means
 * (table.c), and printed in several forms (table_print.c, table_markup.c, table_json.c) or
 * drawn (plot.c). What is read and how it is averaged: docs/report.md. */
#ifndef KE_STUDY_TABLE_H
#define KE_STUDY_TABLE_H

#include "eval/case.h"
#include "eval/metrics.h"
#include "study/store.h"

/* What a column holds, in the order of columns. */
typedef enum ke__measure {
    KE__COLUMN_SUCCESS,
    KE__COLUMN_PORTABILITY,
    KE__COLUMN_LOCALITY,
    KE__COLUMN_FLUENCY,
    KE__COLUMNS_MAIN, /* the survey's, there in every block; what follows is with `parts` */
    KE__COLUMN_REPHRASE = KE__COLUMNS_MAIN,
    KE__COLUMN_EXACT,
    KE__COLUMN_PROBABILITY,
    KE__COLUMN_PORTABILITY_PART,
    KE__COLUMN_LOCALITY_PART,
    KE__COLUMN_METRIC,
    KE__COLUMN_SECONDS
} ke__measure;

typedef struct ke__column {
    ke__measure measure;
    char *name;        /* of a part or a metric; else the measure's own: "success" */
    const char *title; /* as printed; may be `name` */
} ke__column;

typedef struct ke__cell {
    double *values; /* [n] one a case, in the unit that is printed */
    size_t n, room;
    ke__mean mean;
    int decimals; /* of the printed numbers */
    size_t note;  /* number of a note, from 1; 0: none */
} ke__cell;

/* A method on a set. */
typedef struct ke__table_row {
    size_t run, order; /* which run; the method's place in it */
    char *method;
    char *label; /* as printed: the method, with its run where that is needed */
    size_t n_cases, n_measured, n_failed;
    char *error;     /* of the first that failed */
    ke__cell *cells; /* [n_columns] of its block */
    size_t note;     /* as a cell's */
} ke__table_row;

/* A set under one protocol. */
typedef struct ke__block {
    char *set;
    const ke__set *row; /* of the table of sets; NULL if it is none of them */
    const char *title;
    ke__column *columns; /* [n_columns] */
    size_t n_columns;
    ke__table_row *rows; /* [n_rows] */
    size_t n_rows;
} ke__block;

/* A protocol, with the mode of editing and the time of scoring: numbers of one page are
 * comparable. */
typedef struct ke__page {
    char *protocol, *mode, *at, *heading;
    ke__block *blocks; /* [n_blocks] in the survey's order */
    size_t n_blocks;
} ke__page;

typedef struct ke__table_setting {
    char *name, *value;
} ke__table_setting;
typedef struct ke__table_run {
    const char *path, *name;     /* borrowed; how rows are told apart by it */
    ke__table_setting *settings; /* [n_settings] as the run recorded them */
    size_t n_settings;
    size_t n_rows, n_expected, n_failed; /* of (case, method, protocol, at) */
    size_t n_bad, n_skipped;             /* records; empty answers and groups */
    char *first_bad;
} ke__table_run;

typedef struct ke__table {
    bool parts;
    ke__page *pages; /* [n_pages] */
    size_t n_pages;
    ke__table_run *runs; /* [n_runs] */
    size_t n_runs;
    char **notes; /* [n_notes] what cells and rows point at */
    size_t n_notes;
    char **remarks; /* [n_remarks] about the runs */
    size_t n_remarks;
} ke__table;

/* `runs` is borrowed as long as the table lives. */
KE_MUST_CHECK ke_status ke__table_make(ke_ctx *cx, ke__table *out, const char *const *runs,
                                       size_t n_runs, bool parts);
void ke__table_free(ke_ctx *cx, ke__table *t);

/* The body of a row of the run at `path`; the caller's. KE_EFORMAT if it is no object. */
KE_MUST_CHECK ke_status ke__row_body(ke_ctx *cx, json_t **out, const ke__store_row *row,
                                     const char *path);

/* --- between table.c, table_read.c and table_finish.c --- */

/* Room for one more of `size` bytes behind the n at *io, zeroed. One by one: tables are
 * small, and only cells grow with the cases. */
KE_MUST_CHECK ke_status ke__table_grow(ke_ctx *cx, void *io, size_t n, size_t size);
/* Found, or made in its place. What is handed out stays valid until one more is made. */
KE_MUST_CHECK ke_status ke__table_page(ke_ctx *cx, ke__table *t, ke__page **out,
                                       const char *protocol, const char *mode,
                                       const char *at);
KE_MUST_CHECK ke_status ke__table_block(ke_ctx *cx, ke__page *p, ke__block **out,
                                        const char *set);
KE_MUST_CHECK ke_status ke__table_row_of(ke_ctx *cx, ke__block *b, ke__table_row **out,
                                         size_t run, size_t order, const char *method);
KE_MUST_CHECK ke_status ke__table_column(ke_ctx *cx, ke__block *b, size_t *out,
                                         ke__measure measure, const char *name);
/* Add a case's score to its column, in the unit that is printed; NaN is no score. */
KE_MUST_CHECK ke_status ke__table_take(ke_ctx *cx, ke__block *b, ke__table_row *r,
                                       ke__measure measure, const char *name, double value);
/* The value of a run's setting, or `or_else`. */
const char *ke__table_setting_of(const ke__table_run *run, const char *name,
                                 const char *or_else);
/* As scripts see it: "success"; of a part's measure what it is a part of. */
const char *ke__measure_name(ke__measure measure);
/* Place of a metric among those with a title of their own; past them for any other. */
size_t ke__metric_rank(const char *name);
/* What a column's scores are multiplied with before they are printed. */
double ke__column_scale(const ke__block *b, const ke__column *c);
/* ConvSent's locality is a divergence: not a share, and lower is better. */
bool ke__is_divergence(const ke__block *b, ke__measure measure);
KE_MUST_CHECK ke_status ke__table_read(ke_ctx *cx, ke__table *t, size_t run);
KE_MUST_CHECK ke_status ke__table_finish(ke_ctx *cx, ke__table *t);

/* --- how it is printed --- */

/* A table on its way into text. A grid is what is printed as one: the blocks of a page with
 * the survey's columns or, with parts, some columns of one block. */
typedef struct ke__print {
    ke__text *out;
    const ke__table *table;
    const ke__page *page;
    const ke__block *blocks;   /* [n_blocks] of the grid that is open */
    size_t n_blocks, from, to; /* its columns: from .. to - 1 of each block */
} ke__print;

/* A form of printing: what it does at each stop of the walk through pages, grids, blocks
 * and rows. A stop where it does nothing is NULL. */
typedef struct ke__form {
    const char *name; /* permanent */
    ke_status (*begin)(ke_ctx *cx, ke__print *p);
    ke_status (*page)(ke_ctx *cx, ke__print *p);
    ke_status (*open)(ke_ctx *cx, ke__print *p);
    ke_status (*block)(ke_ctx *cx, ke__print *p, const ke__block *b);
    ke_status (*row)(ke_ctx *cx, ke__print *p, const ke__block *b, const ke__table_row *r);
    ke_status (*close)(ke_ctx *cx, ke__print *p);
    ke_status (*end)(ke_ctx *cx, ke__print *p);
} ke__form;
extern const ke__form ke__form_text, ke__form_md, ke__form_csv, ke__form_latex,
    ke__form_html;

/* What the numbers are, in one line. */
extern const char ke__table_legend[];
/* Longest result of the two below, with its NUL. */
#define KE__CELL_BYTES 96
/* "12.34 ± 1.20 (25)" with `pm` between mean and error; "" for an empty cell. */
void ke__cell_text(char out[KE__CELL_BYTES], const ke__cell *c, const char *pm);
/* "24/25": measured of cases. */
void ke__count_text(char out[KE__CELL_BYTES], const ke__table_row *r);
/* `text` with each byte of `special` replaced by what stands at its place in `by`; controls
 * become blanks. */
KE_MUST_CHECK ke_status ke__text_escape(ke_ctx *cx, ke__text *out, const char *text,
                                        const char *special, const char *const *by);

/* As schema knowedit.report/1; the caller's. */
KE_MUST_CHECK ke_status ke__table_json(ke_ctx *cx, char **out, const ke__table *t);

#endif
