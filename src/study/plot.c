/* The survey's columns as bars: a band a protocol, a panel a column, a group of bars a set,
 * a colour a method. One drawing serves SVG, PNG and PDF. */
#include "base/file.h"
#include "base/utf8.h"
#include "knowedit/bench.h"
#include "study/table.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Lengths are in points; a PNG has SCALE pixels for each. */
#define SCALE       2.0
#define MARGIN      20.0
#define LEAST_WIDTH 460.0
#define MOST_WIDTH  1240.0
#define PANEL_GAP   30.0
#define AXIS_WIDTH  30.0
#define PLOT_HEIGHT 150.0
#define TITLE_DROP  22.0 /* from a panel's top to its plot's */
#define NAMES_DROP  44.0 /* below a plot: two lines of a set's name, one of counts */
#define NAME_SIZE   9.0

/* Okabe and Ito's colours, which the colour-blind can tell apart; grey is the unedited
 * model's. */
static const double colours[][3] = {
    {0.00, 0.45, 0.70}, {0.90, 0.62, 0.00}, {0.00, 0.62, 0.45}, {0.84, 0.37, 0.00},
    {0.34, 0.71, 0.91}, {0.80, 0.47, 0.65}, {0.94, 0.89, 0.26}, {0.00, 0.00, 0.00},
};
enum { N_COLOURS = sizeof colours / sizeof colours[0] };
static const double grey[3] = {0.62, 0.62, 0.62};

/* What a panel shows; a divergence has a scale of its own. */
typedef struct kind {
    ke__measure measure;
    bool divergence;
    const char *title;
    double top; /* of the axis; 0: what the values need */
} kind;
static const kind kinds[] = {
    {KE__COLUMN_SUCCESS, false, "Edit success", 100},
    {KE__COLUMN_PORTABILITY, false, "Portability", 100},
    {KE__COLUMN_LOCALITY, false, "Locality", 100},
    {KE__COLUMN_LOCALITY, true, "Locality, KL", 0},
    {KE__COLUMN_FLUENCY, false, "Fluency", 0},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

typedef struct plot {
    cairo_t *cr;
    const ke__table *table;
    const char **series; /* [n_series] labels of rows, a colour each */
    size_t n_series;
    double bar, group; /* widths */
    double width;      /* of the picture */
} plot;

/* --- text --- */

typedef enum weight { PLAIN, BOLD } weight;

static void set_font(cairo_t *cr, double size, weight w)
{
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           w == BOLD ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

/* cairo refuses what is not UTF-8, which the name of a file may well be. */
static const char *clean(char out[512], const char *text)
{
    size_t n = 0;
    while (*text && n + 4 < 512) {
        size_t bytes = ke__utf8_char(text, strlen(text));
        memcpy(out + n, bytes ? text : "?", bytes ? bytes : 1);
        n += bytes ? bytes : 1;
        text += bytes ? bytes : 1;
    }
    out[n] = '\0';
    return out;
}

static double text_width(cairo_t *cr, const char *text)
{
    char buffer[512];
    cairo_text_extents_t e;
    cairo_text_extents(cr, clean(buffer, text), &e);
    return e.x_advance;
}

/* With x at its left end (align 0), middle (0.5) or right end (1). */
static void put_text(cairo_t *cr, double x, double y, double align, const char *text)
{
    char buffer[512];
    cairo_move_to(cr, x - align * text_width(cr, text), y);
    cairo_show_text(cr, clean(buffer, text));
}

static void set_grey(cairo_t *cr, double level)
{
    cairo_set_source_rgb(cr, level, level, level);
}

/* --- what there is to see --- */

static const ke__cell *cell_of(const ke__block *b, const ke__table_row *r, const kind *k)
{
    bool here = ke__is_divergence(b, k->measure) == k->divergence;
    const ke__cell *c = &r->cells[k->measure]; /* the main columns stand first */
    return here && c->mean.n > 0 && isfinite(c->mean.mean) ? c : NULL;
}

static bool has_group(const ke__block *b, const kind *k)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (cell_of(b, &b->rows[i], k))
            return true;
    return false;
}

static size_t count_groups(const ke__page *p, const kind *k)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_blocks; i++)
        n += has_group(&p->blocks[i], k);
    return n;
}

static double error_of(const ke__cell *c)
{
    return c->mean.n > 1 && isfinite(c->mean.standard_error) ? c->mean.standard_error : 0;
}

static double largest(const ke__page *p, const kind *k)
{
    double most = 0;
    for (size_t i = 0; i < p->n_blocks; i++)
        for (size_t r = 0; r < p->blocks[i].n_rows; r++) {
            const ke__cell *c = cell_of(&p->blocks[i], &p->blocks[i].rows[r], k);
            if (c)
                most = fmax(most, c->mean.mean + error_of(c));
        }
    return most;
}

/* A top of the axis, and steps of 1, 2 or 5 times a power of ten up to it. */
static void choose_axis(const ke__page *p, const kind *k, double *top, double *step)
{
    double most = k->top > 0 ? k->top : fmax(largest(p, k), 1e-6);
    double unit = pow(10, floor(log10(most / 4)));
    double ratio = most / 4 / unit;
    *step = unit * (ratio <= 1.001 ? 1 : ratio <= 2.001 ? 2 : ratio <= 5.001 ? 5 : 10);
    if (k->top > 0)
        *step = 20;
    *top = *step * ceil(most / *step - 1e-9);
}

static size_t series_of(const plot *p, const char *label)
{
    size_t i = 0;
    while (i < p->n_series && strcmp(p->series[i], label) != 0)
        i++;
    return i;
}

static ke_status find_series(ke_ctx *cx, plot *p)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < p->table->n_pages; i++)
        for (size_t k = 0; k < p->table->pages[i].n_blocks; k++) {
            const ke__block *b = &p->table->pages[i].blocks[k];
            for (size_t r = 0; r < b->n_rows; r++) {
                if (series_of(p, b->rows[r].label) < p->n_series)
                    continue;
                KE_TRY(ke__resize(cx, &p->series, p->n_series + 1, sizeof *p->series));
                p->series[p->n_series++] = b->rows[r].label;
            }
        }
done:
    return st;
}

/* --- bars --- */

static bool is_unedited(const char *label)
{
    return strncmp(label, "none", 4) == 0 && (label[4] == '\0' || label[4] == ' ');
}

/* Past the last colour they begin again, as outlines around a lighter filling. */
static void fill_bar(const plot *p, size_t series, double x, double y, double w, double h)
{
    size_t place = 0;
    for (size_t i = 0; i < series; i++)
        place += !is_unedited(p->series[i]);
    const double *c = is_unedited(p->series[series]) ? grey : colours[place % N_COLOURS];
    bool outlined = c != grey && place >= N_COLOURS;

    cairo_rectangle(p->cr, x, y, w, h);
    cairo_set_source_rgba(p->cr, c[0], c[1], c[2], outlined ? 0.35 : 1);
    cairo_fill(p->cr);
    if (!outlined)
        return;
    cairo_rectangle(p->cr, x + 0.5, y + 0.5, w - 1, h - 1);
    cairo_set_source_rgb(p->cr, c[0], c[1], c[2]);
    cairo_set_line_width(p->cr, 1);
    cairo_stroke(p->cr);
}

static void draw_error(const plot *p, double x, double low, double high)
{
    double cap = fmin(2.5, p->bar / 4);
    cairo_move_to(p->cr, x, low);
    cairo_line_to(p->cr, x, high);
    cairo_move_to(p->cr, x - cap, low);
    cairo_line_to(p->cr, x + cap, low);
    cairo_move_to(p->cr, x - cap, high);
    cairo_line_to(p->cr, x + cap, high);
    cairo_set_line_width(p->cr, 2.2);
    cairo_set_source_rgba(p->cr, 1, 1, 1, 0.7); /* so that it shows on the dark bars too */
    cairo_stroke_preserve(p->cr);
    set_grey(p->cr, 0.15);
    cairo_set_line_width(p->cr, 0.9);
    cairo_stroke(p->cr);
}

static void draw_bar(const plot *p, size_t series, const ke__cell *c, double x, double base,
                     double per_unit)
{
    double height = fmax(c->mean.mean, 0) * per_unit, error = error_of(c) * per_unit;
    /* A mean of zero is a result: it leaves a trace, a missing one does not. */
    height = fmax(height, 1.2);
    fill_bar(p, series, x, base - height, p->bar - 1, height);
    if (error > 0)
        draw_error(p, x + (p->bar - 1) / 2, fmin(base - height + error, base),
                   base - height - error);
}

/* "WikiData_recent" on two lines, and how many cases its bars are of. */
static void draw_names(const plot *p, const ke__block *b, const kind *k, double x, double y)
{
    char line[64];
    size_t low = SIZE_MAX, high = 0, cut = strcspn(b->title, "_");
    for (size_t i = 0; i < b->n_rows; i++) {
        const ke__cell *c = cell_of(b, &b->rows[i], k);
        low = c && c->mean.n < low ? c->mean.n : low;
        high = c && c->mean.n > high ? c->mean.n : high;
    }
    set_font(p->cr, NAME_SIZE, PLAIN);
    set_grey(p->cr, 0.1);
    snprintf(line, sizeof line, "%.*s", (int)(b->title[cut] ? cut + 1 : cut), b->title);
    put_text(p->cr, x, y + 12, 0.5, line);
    if (b->title[cut])
        put_text(p->cr, x, y + 23, 0.5, b->title + cut + 1);
    set_grey(p->cr, 0.4);
    set_font(p->cr, NAME_SIZE - 1.5, PLAIN);
    snprintf(line, sizeof line, low < high ? "n = %zu\xe2\x80\x93%zu" : "n = %zu", low,
             high);
    put_text(p->cr, x, y + (b->title[cut] ? 34 : 23), 0.5, line);
}

static void draw_group(const plot *p, const ke__block *b, const kind *k, double x,
                       double base, double per_unit)
{
    double left = x + (p->group - (double)b->n_rows * p->bar) / 2;
    for (size_t i = 0; i < b->n_rows; i++) {
        const ke__cell *c = cell_of(b, &b->rows[i], k);
        if (c)
            draw_bar(p, series_of(p, b->rows[i].label), c, left + (double)i * p->bar, base,
                     per_unit);
    }
    draw_names(p, b, k, x + p->group / 2, base);
}

/* --- panels --- */

static double plot_width(const plot *p, size_t n_groups)
{
    return (double)n_groups * p->group;
}

static double panel_width(const plot *p, size_t n_groups, const kind *k)
{
    set_font(p->cr, 11, BOLD);
    return fmax(AXIS_WIDTH + plot_width(p, n_groups), text_width(p->cr, k->title));
}

static void draw_axis(const plot *p, double x, double base, double width, double top,
                      double step)
{
    char text[32];
    set_font(p->cr, NAME_SIZE - 1, PLAIN);
    cairo_set_line_width(p->cr, 0.6);
    for (int i = 0; step * i <= top + step / 2; i++) {
        double y = base - PLOT_HEIGHT * step * i / top;
        set_grey(p->cr, i ? 0.85 : 0.25);
        cairo_move_to(p->cr, x, y);
        cairo_line_to(p->cr, x + width, y);
        cairo_stroke(p->cr);
        set_grey(p->cr, 0.25);
        snprintf(text, sizeof text, "%.4g", step * i);
        put_text(p->cr, x - 5, y + 3, 1, text);
    }
}

static void draw_panel(const plot *p, const ke__page *page, const kind *k, double x,
                       double y)
{
    double top, step, base = y + TITLE_DROP + PLOT_HEIGHT;
    double width = plot_width(p, count_groups(page, k));

    choose_axis(page, k, &top, &step);
    set_font(p->cr, 11, BOLD);
    set_grey(p->cr, 0.1);
    put_text(p->cr, x, y + 8, 0, k->title);
    x += AXIS_WIDTH;
    draw_axis(p, x, base, width, top, step);
    for (size_t i = 0; i < page->n_blocks; i++)
        if (has_group(&page->blocks[i], k)) {
            draw_group(p, &page->blocks[i], k, x, base, PLOT_HEIGHT / top);
            x += p->group;
        }
}

/* Panels of a page from left to right, as many in a line as fit into `most`; the width of
 * the widest line in *width. Returns where they end; draws only if `draw`. */
static double flow(const plot *p, const ke__page *page, double y, double most, bool draw,
                   double *width)
{
    double x = MARGIN;
    const double line = TITLE_DROP + PLOT_HEIGHT + NAMES_DROP;
    bool any = false;
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t n = count_groups(page, &kinds[i]);
        if (n == 0)
            continue;
        double w = panel_width(p, n, &kinds[i]);
        if (any && x + w + MARGIN > most) {
            x = MARGIN;
            y += line + 12;
        }
        if (draw)
            draw_panel(p, page, &kinds[i], x, y);
        any = true;
        *width = fmax(*width, x + w + MARGIN);
        x += w + PANEL_GAP;
    }
    return any ? y + line : y;
}

/* --- the picture --- */

static double draw_legend(const plot *p, double y)
{
    double x = MARGIN;
    set_font(p->cr, 10, PLAIN);
    for (size_t i = 0; i < p->n_series; i++) {
        double w = 16 + text_width(p->cr, p->series[i]) + 18;
        if (i > 0 && x + w > p->width - MARGIN) {
            x = MARGIN;
            y += 16;
        }
        fill_bar(p, i, x, y - 9, 11, 11);
        set_grey(p->cr, 0.1);
        put_text(p->cr, x + 16, y, 0, p->series[i]);
        x += w;
    }
    return y;
}

/* A line of small print, cut where the picture ends. */
static double draw_remark(const plot *p, double y, const char *text)
{
    char line[512];
    clean(line, text);
    set_font(p->cr, 8.5, PLAIN);
    set_grey(p->cr, 0.35);
    for (size_t n = strlen(line);
         n > 0 && text_width(p->cr, line) > p->width - 2 * MARGIN;) {
        while (n > 0 && ((unsigned char)line[--n] & 0xc0) == 0x80)
            continue;
        snprintf(line + n, sizeof line - n, "\xe2\x80\xa6"); /* ... */
    }
    put_text(p->cr, MARGIN, y, 0, line);
    return y + 13;
}

static bool any_divergence(const ke__table *t)
{
    for (size_t i = 0; i < t->n_pages; i++)
        for (size_t k = 0; k < N_KINDS; k++)
            if (kinds[k].divergence && count_groups(&t->pages[i], &kinds[k]) > 0)
                return true;
    return false;
}

/* Returns the height that it takes. */
static double draw(const plot *p)
{
    double width = 0, y = draw_legend(p, MARGIN + 10) + 20;
    for (size_t i = 0; i < p->table->n_pages; i++) {
        set_font(p->cr, 13, BOLD);
        set_grey(p->cr, 0.1);
        put_text(p->cr, MARGIN, y + 14, 0, p->table->pages[i].heading);
        y = flow(p, &p->table->pages[i], y + 32, MOST_WIDTH, true, &width) + 16;
    }
    y = draw_remark(p, y + 8, "Means over n cases with their standard errors.");
    if (any_divergence(p->table))
        y = draw_remark(p, y,
                        "KL: divergence from the unedited model in nats, lower is better.");
    for (size_t i = 0; i < p->table->n_remarks; i++)
        y = draw_remark(p, y, p->table->remarks[i]);
    return y - 13 + MARGIN / 2;
}

/* Widths follow from what there is; bars get narrower the more methods there are. */
static void choose_widths(plot *p)
{
    size_t most = 1;
    for (size_t i = 0; i < p->table->n_pages; i++)
        for (size_t k = 0; k < p->table->pages[i].n_blocks; k++)
            if (p->table->pages[i].blocks[k].n_rows > most)
                most = p->table->pages[i].blocks[k].n_rows;
    p->bar = most <= 3 ? 16 : most <= 6 ? 11 : 9;
    p->group = fmax((double)most * p->bar + 14, 66);
    p->width = LEAST_WIDTH;
    for (size_t i = 0; i < p->table->n_pages; i++)
        flow(p, &p->table->pages[i], 0, MOST_WIDTH, false, &p->width);
}

/* --- files --- */

typedef struct sink {
    ke_ctx *cx;
    ke__text text;
    ke_status st;
} sink;

static cairo_status_t take(void *payload, const unsigned char *data, unsigned bytes)
{
    sink *to = payload;
    if (to->st == KE_OK)
        to->st = ke__text_add(to->cx, &to->text, (const char *)data, bytes);
    return to->st == KE_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

typedef enum file_type { SVG, PNG, PDF, N_TYPES } file_type;

static cairo_surface_t *make_surface(file_type type, sink *to, double width, double height)
{
    cairo_surface_t *s = NULL;
    if (type == SVG) {
        s = cairo_svg_surface_create_for_stream(take, to, width, height);
    } else if (type == PDF) {
        s = cairo_pdf_surface_create_for_stream(take, to, width, height);
        /* The same run gives the same bytes: no time of day in them. */
        cairo_pdf_surface_set_metadata(s, CAIRO_PDF_METADATA_CREATE_DATE,
                                       "2000-01-01T00:00:00Z");
    } else {
        s = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(width * SCALE),
                                       (int)(height * SCALE));
        cairo_surface_set_device_scale(s, SCALE, SCALE);
    }
    return s;
}

static ke_status check_cairo(ke_ctx *cx, cairo_status_t status)
{
    if (status == CAIRO_STATUS_SUCCESS)
        return KE_OK;
    return ke__fail(cx, status == CAIRO_STATUS_NO_MEMORY ? KE_ENOMEM : KE_EIO, NULL,
                    "the plot cannot be drawn: %s", cairo_status_to_string(status));
}

static ke_status render(ke_ctx *cx, plot *p, file_type type, sink *to)
{
    ke_status st = KE_OK;
    cairo_surface_t *trial = NULL, *s = NULL;

    /* Texts have their widths, and the picture its height, once they are drawn. */
    trial = cairo_recording_surface_create(CAIRO_CONTENT_COLOR_ALPHA, NULL);
    p->cr = cairo_create(trial);
    choose_widths(p);
    double height = ceil(draw(p));
    KE_TRY(check_cairo(cx, cairo_status(p->cr)));
    cairo_destroy(p->cr);
    p->cr = NULL;

    s = make_surface(type, to, ceil(p->width), height);
    p->cr = cairo_create(s);
    cairo_set_source_rgb(p->cr, 1, 1, 1);
    cairo_paint(p->cr);
    draw(p);
    KE_TRY(check_cairo(cx, cairo_status(p->cr)));
    cairo_status_t status = type == PNG
                                ? cairo_surface_write_to_png_stream(s, take, to)
                                : (cairo_surface_finish(s), cairo_surface_status(s));
    KE_TRY(to->st);
    KE_TRY(check_cairo(cx, status));
done:
    cairo_destroy(p->cr);
    p->cr = NULL;
    cairo_surface_destroy(s);
    cairo_surface_destroy(trial);
    return st;
}

static ke_status type_of(ke_ctx *cx, file_type *out, const char *path)
{
    static const char *const ends[] = {".svg", ".png", ".pdf"};
    size_t bytes = strlen(path);
    for (int i = 0; i < N_TYPES; i++)
        if (bytes > 4 && strcasecmp(path + bytes - 4, ends[i]) == 0) {
            *out = (file_type)i;
            return KE_OK;
        }
    return ke__fail(cx, KE_EINVAL, path,
                    "%s: expected a name that ends in .svg, .png or .pdf", path);
}

ke_status ke_report_plot(ke_ctx *cx, const char *const *runs, size_t n_runs,
                         const char *path, bool force)
{
    ke_status st = KE_OK;
    file_type type = SVG;
    ke__table table = {0};
    plot p = {.table = &table};
    sink to = {.cx = cx};
    ke__out out = {.fd = -1};
    char sha[65];

    KE_TRY(type_of(cx, &type, path));
    for (size_t i = 0; i < n_runs; i++)
        KE_TRY(ke__file_refuse_input(cx, path, runs[i]));
    KE_TRY(ke__out_open(cx, &out, path, force));
    KE_TRY(ke__table_make(cx, &table, runs, n_runs, false));
    KE_TRY(find_series(cx, &p));
    KE_TRY(render(cx, &p, type, &to));
    KE_TRY(ke__out_write(cx, &out, to.text.data, to.text.bytes));
    KE_TRY(ke__out_sync(cx, &out, sha));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    ke__free(cx, to.text.data);
    ke__free(cx, p.series);
    ke__table_free(cx, &table);
    return st;
}
