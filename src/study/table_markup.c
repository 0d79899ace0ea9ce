/* A table in Markdown, LaTeX and HTML. */
#include "study/table.h"

#include <string.h>

/* What a form escapes: each byte of `special` becomes what stands at its place in `by`. */
typedef struct escapes {
    const char *special;
    const char *by[16];
} escapes;

static ke_status add_text(ke_ctx *cx, ke__text *out, const escapes *e, const char *text)
{
    return ke__text_escape(cx, out, text, e->special, e->by);
}

static ke_status add(ke_ctx *cx, ke__text *out, const char *text)
{
    return ke__text_add(cx, out, text, strlen(text));
}

/* --- Markdown, with the tables of GitHub --- */

static const escapes md_escapes = {
    "\\|*_`<>[]#&",
    {"\\\\", "\\|", "\\*", "\\_", "\\`", "\\<", "\\>", "\\[", "\\]", "\\#", "\\&"}};

static ke_status md_page(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    KE_TRY(add(cx, p->out, p->out->bytes ? "\n### " : "### "));
    KE_TRY(add_text(cx, p->out, &md_escapes, p->page->heading));
    KE_TRY(add(cx, p->out, "\n"));
done:
    return st;
}

static ke_status md_open(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    KE_TRY(add(cx, p->out, "\n| Set | Method | Cases |"));
    for (size_t k = p->from; k < p->to; k++) {
        KE_TRY(add(cx, p->out, " "));
        KE_TRY(add_text(cx, p->out, &md_escapes, p->blocks->columns[k].title));
        KE_TRY(add(cx, p->out, " |"));
    }
    KE_TRY(add(cx, p->out, "\n|---|---|---:|"));
    for (size_t k = p->from; k < p->to; k++)
        KE_TRY(add(cx, p->out, "---:|"));
    KE_TRY(add(cx, p->out, "\n"));
done:
    return st;
}

static ke_status md_value(ke_ctx *cx, ke__text *out, const char *text, size_t note)
{
    if (note == 0)
        return ke__text_addf(cx, out, " %s |", text);
    return ke__text_addf(cx, out, " %s<sup>%zu</sup> |", text, note);
}

static ke_status md_row(ke_ctx *cx, ke__print *p, const ke__block *b,
                        const ke__table_row *r)
{
    ke_status st = KE_OK;
    char text[KE__CELL_BYTES];
    KE_TRY(add(cx, p->out, "| "));
    KE_TRY(add_text(cx, p->out, &md_escapes, r == b->rows ? b->title : ""));
    KE_TRY(add(cx, p->out, " | "));
    KE_TRY(add_text(cx, p->out, &md_escapes, r->label));
    KE_TRY(add(cx, p->out, " |"));
    ke__count_text(text, r);
    KE_TRY(md_value(cx, p->out, text, r->note));
    for (size_t k = p->from; k < p->to; k++) {
        ke__cell_text(text, &r->cells[k], " \xc2\xb1 ");
        KE_TRY(md_value(cx, p->out, text, r->cells[k].note));
    }
    KE_TRY(add(cx, p->out, "\n"));
done:
    return st;
}

static ke_status md_end(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    const ke__table *t = p->table;
    KE_TRY(ke__text_addf(cx, p->out, "\n%s\n", ke__table_legend));
    for (size_t i = 0; i < t->n_notes; i++) {
        KE_TRY(ke__text_addf(cx, p->out, "\n<sup>%zu</sup> ", i + 1));
        KE_TRY(add_text(cx, p->out, &md_escapes, t->notes[i]));
        KE_TRY(add(cx, p->out, "\n"));
    }
    for (size_t i = 0; i < t->n_remarks; i++) {
        KE_TRY(add(cx, p->out, "\n"));
        KE_TRY(add_text(cx, p->out, &md_escapes, t->remarks[i]));
        KE_TRY(add(cx, p->out, "\n"));
    }
done:
    return st;
}

const ke__form ke__form_md = {
    .name = "md", .page = md_page, .open = md_open, .row = md_row, .end = md_end};

/* --- LaTeX --- */

static const escapes latex_escapes = {
    "\\{}$&#%_^~<>|\"",
    {"\\textbackslash{}", "\\{", "\\}", "\\$", "\\&", "\\#", "\\%", "\\_",
     "\\textasciicircum{}", "\\textasciitilde{}", "\\textless{}", "\\textgreater{}",
     "\\textbar{}", "\\textquotedbl{}"}};

static ke_status latex_begin(ke_ctx *cx, ke__print *p)
{
    return add(cx, p->out, "% \\usepackage[T1]{fontenc}, \\usepackage{booktabs}\n");
}

static ke_status latex_open(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    KE_TRY(add(cx, p->out, "\\begin{table}\n\\centering\n\\caption{"));
    KE_TRY(add_text(cx, p->out, &latex_escapes, p->page->heading));
    KE_TRY(add(cx, p->out, "}\n\\begin{tabular}{lr"));
    for (size_t k = p->from; k < p->to; k++)
        KE_TRY(add(cx, p->out, "r"));
    KE_TRY(add(cx, p->out, "}\n\\toprule\nMethod & Cases"));
    for (size_t k = p->from; k < p->to; k++) {
        KE_TRY(add(cx, p->out, " & "));
        KE_TRY(add_text(cx, p->out, &latex_escapes, p->blocks->columns[k].title));
    }
    KE_TRY(add(cx, p->out, " \\\\\n"));
done:
    return st;
}

static ke_status latex_block(ke_ctx *cx, ke__print *p, const ke__block *b)
{
    ke_status st = KE_OK;
    KE_TRY(ke__text_addf(cx, p->out, "\\midrule\n\\multicolumn{%zu}{l}{\\textbf{",
                         2 + p->to - p->from));
    KE_TRY(add_text(cx, p->out, &latex_escapes, b->title));
    KE_TRY(add(cx, p->out, "}} \\\\\n"));
done:
    return st;
}

static ke_status latex_value(ke_ctx *cx, ke__text *out, const char *text, size_t note)
{
    if (note == 0)
        return ke__text_addf(cx, out, " & %s", text);
    return ke__text_addf(cx, out, " & %s\\textsuperscript{%zu}", text, note);
}

static ke_status latex_row(ke_ctx *cx, ke__print *p, const ke__block *b,
                           const ke__table_row *r)
{
    ke_status st = KE_OK;
    char text[KE__CELL_BYTES];
    (void)b;
    KE_TRY(add_text(cx, p->out, &latex_escapes, r->label));
    ke__count_text(text, r);
    KE_TRY(latex_value(cx, p->out, text, r->note));
    for (size_t k = p->from; k < p->to; k++) {
        ke__cell_text(text, &r->cells[k], " $\\pm$ ");
        KE_TRY(latex_value(cx, p->out, text, r->cells[k].note));
    }
    KE_TRY(add(cx, p->out, " \\\\\n"));
done:
    return st;
}

static ke_status latex_close(ke_ctx *cx, ke__print *p)
{
    return add(cx, p->out, "\\bottomrule\n\\end{tabular}\n\\end{table}\n\n");
}

static ke_status latex_end(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    const ke__table *t = p->table;
    KE_TRY(ke__text_addf(cx, p->out, "{\\footnotesize\\noindent\n%s\n", ke__table_legend));
    for (size_t i = 0; i < t->n_notes; i++) {
        KE_TRY(ke__text_addf(cx, p->out, "\\\\\\textsuperscript{%zu}~", i + 1));
        KE_TRY(add_text(cx, p->out, &latex_escapes, t->notes[i]));
        KE_TRY(add(cx, p->out, "\n"));
    }
    for (size_t i = 0; i < t->n_remarks; i++) {
        KE_TRY(add(cx, p->out, "\\\\"));
        KE_TRY(add_text(cx, p->out, &latex_escapes, t->remarks[i]));
        KE_TRY(add(cx, p->out, "\n"));
    }
    KE_TRY(add(cx, p->out, "\\par}\n"));
done:
    return st;
}

const ke__form ke__form_latex = {
    .name = "latex",
    .begin = latex_begin,
    .open = latex_open,
    .block = latex_block,
    .row = latex_row,
    .close = latex_close,
    .end = latex_end,
};

/* --- HTML: one page that needs nothing else --- */

static const escapes html_escapes = {"&<>\"'",
                                     {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}};

static const char html_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Knowledge editing: scores</title>\n<style>\n"
    ":root { color-scheme: light dark; }\n"
    "body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em;"
    " padding: 0 1em; }\n"
    "table { border-collapse: collapse; margin: 0 0 2em; }\n"
    "caption { text-align: left; font-weight: bold; padding: .5em 0; }\n"
    "th, td { padding: .2em .8em; text-align: right; white-space: nowrap;"
    " font-variant-numeric: tabular-nums; }\n"
    "th:first-child { text-align: left; }\n"
    "tbody th { font-weight: normal; padding-left: 1.6em; }\n"
    "tbody th[scope=rowgroup] { font-weight: bold; padding-left: .8em;"
    " border-top: 1px solid #8888; }\n"
    "thead th { border-bottom: 2px solid #8888; }\n"
    "</style>\n</head>\n<body>\n<h1>Knowledge editing: scores</h1>\n";

static ke_status html_element(ke_ctx *cx, ke__text *out, const char *open, const char *text,
                              const char *close)
{
    ke_status st = KE_OK;
    KE_TRY(add(cx, out, open));
    KE_TRY(add_text(cx, out, &html_escapes, text));
    KE_TRY(add(cx, out, close));
done:
    return st;
}

static ke_status html_begin(ke_ctx *cx, ke__print *p)
{
    return add(cx, p->out, html_head);
}

static ke_status html_open(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    KE_TRY(
        html_element(cx, p->out, "<table>\n<caption>", p->page->heading, "</caption>\n"));
    KE_TRY(add(cx, p->out,
               "<thead>\n<tr><th scope=\"col\">Method</th><th scope=\"col\">Cases</th>"));
    for (size_t k = p->from; k < p->to; k++)
        KE_TRY(html_element(cx, p->out, "<th scope=\"col\">", p->blocks->columns[k].title,
                            "</th>"));
    KE_TRY(add(cx, p->out, "</tr>\n</thead>\n"));
done:
    return st;
}

static ke_status html_block(ke_ctx *cx, ke__print *p, const ke__block *b)
{
    ke_status st = KE_OK;
    KE_TRY(ke__text_addf(cx, p->out,
                         "%s<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"%zu\">",
                         b == p->blocks ? "" : "</tbody>\n", 2 + p->to - p->from));
    KE_TRY(html_element(cx, p->out, "", b->title, "</th></tr>\n"));
done:
    return st;
}

static ke_status html_value(ke_ctx *cx, ke__text *out, const char *text, size_t note)
{
    if (note == 0)
        return ke__text_addf(cx, out, "<td>%s</td>", text);
    return ke__text_addf(cx, out, "<td>%s<sup><a href=\"#note%zu\">%zu</a></sup></td>",
                         text, note, note);
}

static ke_status html_row(ke_ctx *cx, ke__print *p, const ke__block *b,
                          const ke__table_row *r)
{
    ke_status st = KE_OK;
    char text[KE__CELL_BYTES];
    (void)b;
    KE_TRY(html_element(cx, p->out, "<tr><th scope=\"row\">", r->label, "</th>"));
    ke__count_text(text, r);
    KE_TRY(html_value(cx, p->out, text, r->note));
    for (size_t k = p->from; k < p->to; k++) {
        ke__cell_text(text, &r->cells[k], " \xc2\xb1 ");
        KE_TRY(html_value(cx, p->out, text, r->cells[k].note));
    }
    KE_TRY(add(cx, p->out, "</tr>\n"));
done:
    return st;
}

static ke_status html_close(ke_ctx *cx, ke__print *p)
{
    return add(cx, p->out, "</tbody>\n</table>\n");
}

static ke_status html_end(ke_ctx *cx, ke__print *p)
{
    ke_status st = KE_OK;
    const ke__table *t = p->table;
    KE_TRY(ke__text_addf(cx, p->out, "<p>%s</p>\n", ke__table_legend));
    for (size_t i = 0; i < t->n_notes; i++) {
        KE_TRY(
            ke__text_addf(cx, p->out, "<p id=\"note%zu\"><sup>%zu</sup> ", i + 1, i + 1));
        KE_TRY(html_element(cx, p->out, "", t->notes[i], "</p>\n"));
    }
    for (size_t i = 0; i < t->n_remarks; i++)
        KE_TRY(html_element(cx, p->out, "<p>", t->remarks[i], "</p>\n"));
    KE_TRY(add(cx, p->out, "</body>\n</html>\n"));
done:
    return st;
}

const ke__form ke__form_html = {
    .name = "html",
    .begin = html_begin,
    .open = html_open,
    .block = html_block,
    .row = html_row,
    .close = html_close,
    .end = html_end,
};
