/* A table as text: the walk that every form goes, plain text, and CSV. */
#include "knowedit/bench.h"
#include "study/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_COLUMNS = 7 }; /* of a grid with parts */

const char ke__table_legend[] =
    "Mean, standard error and number of cases; shares and fluency times 100.";

/* --- cells --- */

static void number_text(char out[32], double value, int decimals)
{
    snprintf(out, 32, fabs(value) < 1e6 ? "%.*f" : "%.*e", decimals, value);
    if (out[0] == '-' && !out[strspn(out, "-0.")])
        memmove(out, out + 1, strlen(out)); /* no -0.00 */
}

void ke__cell_text(char out[KE__CELL_BYTES], const ke__cell *c, const char *pm)
{
    char mean[32], error[32];
    out[0] = '\0';
    if (c->mean.n == 0)
        return;
    number_text(mean, c->mean.mean, c->decimals);
    number_text(error, c->mean.standard_error, c->decimals);
    if (c->mean.n > 1 && isfinite(c->mean.standard_error))
        snprintf(out, KE__CELL_BYTES, "%s%s%s (%zu)", mean, pm, error, c->mean.n);
    else
        snprintf(out, KE__CELL_BYTES, "%s (%zu)", mean, c->mean.n);
}

void ke__count_text(char out[KE__CELL_BYTES], const ke__table_row *r)
{
    snprintf(out, KE__CELL_BYTES, "%zu/%zu", r->n_measured, r->n_cases);
}

ke_status ke__text_escape(ke_ctx *cx, ke__text *out, const char *text, const char *special,
                          const char *const *by)
{
    ke_status st = KE_OK;
    for (; *text; text++) {
        const char *found = strchr(special, *text);
        unsigned char byte = (unsigned char)*text;
        if (found)
            KE_TRY(ke__text_addf(cx, out, "%s", by[found - special]));
        else
            KE_TRY(ke__text_add(cx, out, byte < 0x20 || byte == 0x7f ? " " : text, 1));
    }
done:
    return st;
}

/* --- the walk --- */

static int group_of(const ke__column *c)
{
    return c->measure < KE__COLUMN_PORTABILITY_PART ? 0 : (int)c->measure;
}

/* End of the grid that begins at a block's column `from`: a group of columns in parts of
 * about one size. */
static size_t end_of_grid(const ke__block *b, size_t from)
{
    size_t begin = from, end = from;
    while (begin > 0 && group_of(&b->columns[begin - 1]) == group_of(&b->columns[from]))
        begin--;
    while (end < b->n_columns && group_of(&b->columns[end]) == group_of(&b->columns[from]))
        end++;
    size_t n_grids = (end - begin + MOST_COLUMNS - 1) / MOST_COLUMNS;
    size_t size = (end - begin + n_grids - 1) / n_grids;
    return from + size < end ? from + size : end;
}

static ke_status print_grid(ke_ctx *cx, const ke__form *form, ke__print *p)
{
    ke_status st = KE_OK;
    if (form->open)
        KE_TRY(form->open(cx, p));
    for (size_t i = 0; i < p->n_blocks; i++) {
        const ke__block *b = &p->blocks[i];
        if (form->block)
            KE_TRY(form->block(cx, p, b));
        for (size_t k = 0; k < b->n_rows; k++)
            KE_TRY(form->row(cx, p, b, &b->rows[k]));
    }
    if (form->close)
        KE_TRY(form->close(cx, p));
done:
    return st;
}

static ke_status print_page(ke_ctx *cx, const ke__form *form, ke__print *p)
{
    ke_status st = KE_OK;
    if (form->page)
        KE_TRY(form->page(cx, p));
    p->blocks = p->page->blocks;
    p->n_blocks = p->page->n_blocks;
    p->from = 0;
    p->to = KE__COLUMNS_MAIN;
    if (!p->table->parts)
        return print_grid(cx, form, p);
    p->n_blocks = 1;
    for (size_t i = 0; i < p->page->n_blocks; i++, p->blocks++)
        for (p->from = 0; p->from < p->blocks->n_columns; p->from = p->to) {
            p->to = end_of_grid(p->blocks, p->from);
            KE_TRY(print_grid(cx, form, p));
        }
done:
    return st;
}

static ke_status print_table(ke_ctx *cx, const ke__form *form, ke__text *out,
                             const ke__table *t)
{
    ke_status st = KE_OK;
    ke__print p = {.out = out, .table = t};
    if (form->begin)
        KE_TRY(form->begin(cx, &p));
    for (size_t i = 0; i < t->n_pages; i++) {
        p.page = &t->pages[i];
        KE_TRY(print_page(cx, form, &p));
    }
    if (form->end)
        KE_TRY(form->end(cx, &p));
done:
    return st;
}

/* --- plain text --- */

static const char plus_minus[] = " \xc2\xb1 ";

/* Characters, as far as they are one column wide each. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void add_mark(char text[KE__CELL_BYTES], size_t note)
{
    size_t at = strlen(text);
    if (note > 0)
        snprintf(text + at, KE__CELL_BYTES - at, "%s[%zu]", at ? " " : "", note);
}

/* With the mean's points below each other. */
static void plain_cell(char out[KE__CELL_BYTES], const ke__cell *c)
{
    ke__cell_text(out, c, plus_minus);
    size_t bytes = strlen(out) + 1, whole = strcspn(out, ".");
    size_t lead = out[0] && whole < 3 ? 3 - whole : 0;
    if (bytes + lead <= KE__CELL_BYTES) {
        memmove(out + lead, out, bytes);
        memset(out, ' ', lead);
    }
    add_mark(out, c->note);
}

static void plain_count(char out[KE__CELL_BYTES], const ke__table_row *r)
{
    ke__count_text(out, r);
    add_mark(out, r->note);
}

typedef struct widths {
    size_t label, count;
} widths;

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static widths first_widths(const ke__print *p)
{
    char text[KE__CELL_BYTES];
    widths w = {0, strlen("cases")};
    for (size_t i = 0; i < p->n_blocks; i++) {
        w.label = larger(w.label, width_of(p->blocks[i].title));
        for (size_t k = 0; k < p->blocks[i].n_rows; k++) {
            plain_count(text, &p->blocks[i].rows[k]);
            w.count = larger(w.count, width_of(text));
            w.label = larger(w.label, 2 + width_of(p->blocks[i].rows[k].label));
        }
    }
    return w;
}

static size_t column_width(const ke__print *p, size_t column)
{
    char text[KE__CELL_BYTES];
    size_t width = width_of(p->blocks->columns[column].title);
    for (size_t i = 0; i < p->n_blocks; i++)
        for (size_t k = 0; k < p->blocks[i].n_rows; k++) {
            plain_cell(text, &p->blocks[i].rows[k].cells[column]);
            width = larger(width, width_of(text));
        }
    return width;
}

/* Two blanks between columns, none at the end of a line. */
static ke_status add_padded(ke_ctx *cx, ke__text *out, const char *text, size_t width,
                            bool last)
{
    size_t have = width_of(text);
    int pad = last ? 0 : (int)(have < width ? width - have + 2 : 2);
    return ke__text_addf(cx, out, "%s%*s%s", text, pad, "", last ? "\n" : "");
}

/* What is left blank at the end of a row is cut off. */
static void end_line(ke__text *out, size_t begin)
{
    while (out->bytes > begin + 1 && out->data[out->bytes - 2] == ' ')
        out->data[--out->bytes - 1] = '\n';
    out->data[out->bytes] = '\0';
}

static ke_status text_page(ke_ctx *cx, ke__print *p)
{
    return ke__text_addf(cx, p->out, "%s%s\n", p->out->bytes ? "\n" : "", p->page->heading);
}

static ke_status text_open(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    widths w = first_widths(p);
    KE_TRY(ke__text_add(cx, p->out, "\n", 1));
    KE_TRY(add_padded(cx, p->out, "", w.label, false));
    KE_TRY(add_padded(cx, p->out, "cases", w.count, false));
    for (size_t k = p->from; k < p->to; k++)
        KE_TRY(add_padded(cx, p->out, p->blocks->columns[k].title, column_width(p, k),
                          k + 1 == p->to));
done:
    return st;
}

static ke_status text_block(ke_ctx *cx, ke__print *p, const ke__block *b)
{
    return ke__text_addf(cx, p->out, "%s\n", b->title);
}

static ke_status text_row(ke_ctx *cx, ke__print *p, const ke__block *b,
                          const ke__table_row *r)
{
    ke_status st = KE_OK;
    char text[KE__CELL_BYTES];
    widths w = first_widths(p);
    size_t begin = p->out->bytes;
    (void)b;
    KE_TRY(ke__text_add(cx, p->out, "  ", 2));
    KE_TRY(add_padded(cx, p->out, r->label, w.label - 2, false));
    plain_count(text, r);
    KE_TRY(add_padded(cx, p->out, text, w.count, false));
    for (size_t k = p->from; k < p->to; k++) {
        plain_cell(text, &r->cells[k]);
        KE_TRY(add_padded(cx, p->out, text, column_width(p, k), k + 1 == p->to));
    }
    end_line(p->out, begin);
done:
    return st;
}

static ke_status text_end(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    const ke__table *t = p->table;
    KE_TRY(ke__text_addf(cx, p->out, "\n%s\n", ke__table_legend));
    for (size_t i = 0; i < t->n_notes; i++)
        KE_TRY(ke__text_addf(cx, p->out, "[%zu] %s\n", i + 1, t->notes[i]));
    for (size_t i = 0; i < t->n_remarks; i++)
        KE_TRY(ke__text_addf(cx, p->out, "%s\n", t->remarks[i]));
done:
    return st;
}

const ke__form ke__form_text = {
    .name = "text",
    .page = text_page,
    .open = text_open,
    .block = text_block,
    .row = text_row,
    .end = text_end,
};

/* --- CSV: a line a number (RFC 4180, with \n) --- */

static ke_status csv_field(ke_ctx *cx, ke__text *out, const char *text)
{
    static const char *const by[] = {"\"\""};
    ke_status st = KE_OK;
    if (!text[strcspn(text, "\",\r\n")])
        return ke__text_addf(cx, out, "%s,", text);
    KE_TRY(ke__text_add(cx, out, "\"", 1));
    KE_TRY(ke__text_escape(cx, out, text, "\"", by));
    KE_TRY(ke__text_add(cx, out, "\",", 2));
done:
    return st;
}

static ke_status csv_begin(ke_ctx *cx, ke__print *p)
{
    return ke__text_addf(cx, p->out,
                         "protocol,mode,at,set,run,method,cases,measured,failed,measure,"
                         "part,mean,standard_error,n,reason\n");
}

static ke_status csv_number(ke_ctx *cx, ke__text *out, double value)
{
    return isfinite(value) ? ke__text_addf(cx, out, "%.10g,", value)
                           : ke__text_add(cx, out, ",", 1);
}

static ke_status csv_cell(ke_ctx *cx, ke__print *p, const ke__column *column,
                          const ke__cell *c)
{
    ke_status st = KE_OK;
    bool part = column->measure >= KE__COLUMN_PORTABILITY_PART;
    bool empty = c->mean.n == 0;
    KE_TRY(csv_field(cx, p->out, ke__measure_name(column->measure)));
    KE_TRY(csv_field(cx, p->out, part ? column->name : ""));
    KE_TRY(csv_number(cx, p->out, empty ? (double)NAN : c->mean.mean));
    KE_TRY(csv_number(cx, p->out, c->mean.n > 1 ? c->mean.standard_error : (double)NAN));
    KE_TRY(ke__text_addf(cx, p->out, "%zu,", c->mean.n));
    KE_TRY(csv_field(cx, p->out, empty && c->note ? p->table->notes[c->note - 1] : ""));
    p->out->data[p->out->bytes - 1] = '\n';
done:
    return st;
}

static ke_status csv_row(ke_ctx *cx, ke__print *p, const ke__block *b,
                         const ke__table_row *r)
{
    ke_status st = KE_OK;
    for (size_t k = p->from; k < p->to; k++) {
        KE_TRY(csv_field(cx, p->out, p->page->protocol));
        KE_TRY(csv_field(cx, p->out, p->page->mode));
        KE_TRY(csv_field(cx, p->out, p->page->at));
        KE_TRY(csv_field(cx, p->out, b->set));
        KE_TRY(csv_field(cx, p->out, p->table->runs[r->run].name));
        KE_TRY(csv_field(cx, p->out, r->method));
        KE_TRY(ke__text_addf(cx, p->out, "%zu,%zu,%zu,", r->n_cases, r->n_measured,
                             r->n_failed));
        KE_TRY(csv_cell(cx, p, &b->columns[k], &r->cells[k]));
    }
done:
    return st;
}

const ke__form ke__form_csv = {.name = "csv", .begin = csv_begin, .row = csv_row};

/* --- the report --- */

ke_status ke_report_table(ke_ctx *cx, char **out, const char *const *runs, size_t n_runs,
                          const char *format, bool parts)
{
    static const ke__form *const forms[] = {&ke__form_text, &ke__form_md, &ke__form_csv,
                                            &ke__form_latex, &ke__form_html};
    ke_status st = KE_OK;
    const ke__form *form = NULL;
    ke__table t = {0};
    ke__text text = {0};

    *out = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i]->name, format) == 0)
            form = forms[i];
    if (!form && strcmp(format, "json") != 0)
        return ke__fail(cx, KE_EINVAL, "format",
                        "format \"%.40s\": expected text, md, csv, latex, html or json",
                        format);
    KE_TRY(ke__table_make(cx, &t, runs, n_runs, parts));
    if (!form) {
        KE_TRY(ke__table_json(cx, out, &t));
    } else {
        KE_TRY(print_table(cx, form, &text, &t));
        *out = text.data;
        text.data = NULL;
    }
done:
    ke__free(cx, text.data);
    ke__table_free(cx, &t);
    return st;
}
