/* Records of a CSV text (RFC 4180; libcsv splits it): the first line names the columns,
 * each row is a record of strings, a name that stands twice makes a list. Empty cells are
 * absent. */
#include "base/utf8.h"
#include "eval/facts.h"

#include <csv.h>
#include <string.h>

typedef struct table {
    ke_ctx *cx;
    ke__record_fn *take;
    void *payload;
    char **names; /* [n_names] */
    size_t n_names, room;
    bool named; /* the header is read */
    bool bad;   /* the row has a cell that can't be taken */
    json_t *row;
    size_t column;
    ke__record at;             /* the row under way */
    size_t line;               /* being read */
    size_t cell_line;          /* where the cell under way begins */
    size_t line_end, cell_end; /* where those two lines end */
    size_t ended;              /* rows so far, the header counted in */
    ke_status st;
} table;

static ke_status add_name(table *t, const char *text, size_t bytes)
{
    ke_status st = KE_OK;
    if (t->n_names == t->room) {
        t->room = t->room ? 2 * t->room : 16;
        KE_TRY(ke__resize(t->cx, &t->names, t->room, sizeof *t->names));
    }
    KE_TRY(ke__strndup(t->cx, &t->names[t->n_names], text, bytes));
    t->n_names++;
done:
    return st;
}

static ke_status add_cell(table *t, const char *text, size_t bytes)
{
    if (t->column > t->n_names)
        return ke__record_fail(t->cx, &t->at, KE_EFORMAT,
                               "more than the %zu cells that the first line names",
                               t->n_names);
    const char *name = t->names[t->column - 1];
    if (memchr(text, 0, bytes))
        return ke__record_fail(t->cx, &t->at, KE_EFORMAT, "field \"%s\": a NUL byte", name);
    if (ke__utf8_prefix(text, bytes) < bytes)
        return ke__record_fail(t->cx, &t->at, KE_EFORMAT,
                               "field \"%s\": byte %zu is not UTF-8", name,
                               ke__utf8_prefix(text, bytes) + 1);
    if (bytes == 0)
        return KE_OK;
    json_t *value = json_stringn(text, bytes), *before = json_object_get(t->row, name);
    bool ok;
    if (before && !json_is_array(before)) {
        json_t *list = json_pack("[O]", before);
        ok = ke__json_set(t->row, name, list);
        before = list;
    }
    if (before)
        ok = ke__json_add(before, value);
    else
        ok = ke__json_set(t->row, name, value);
    return ok ? KE_OK : ke__record_fail(t->cx, &t->at, KE_ENOMEM, "out of memory");
}

static void on_cell(void *text, size_t bytes, void *payload)
{
    table *t = payload;
    if (t->st != KE_OK)
        return;
    t->cell_line = t->line;
    t->cell_end = t->line_end;
    t->column++;
    if (t->bad)
        return;
    t->st = t->named ? add_cell(t, text ? text : "", bytes)
                     : add_name(t, text ? text : "", bytes);
    if (t->st == KE_EFORMAT) {
        t->bad = true;
        t->st = KE_OK;
    }
}

/* The row is over; NULL: it can't be read. */
static void next_row(table *t, const json_t *row)
{
    t->ended++;
    if (t->st == KE_OK && t->named)
        t->st = t->take(t->cx, row, &t->at, t->payload);
    json_decref(t->row);
    t->row = json_object();
    t->named = true;
    t->bad = false;
    t->column = 0;
    t->at.number = t->ended;
    if (t->st == KE_OK && !t->row)
        t->st = ke__record_fail(t->cx, &t->at, KE_ENOMEM, "out of memory");
}

static void on_row(int end, void *payload)
{
    table *t = payload;
    (void)end;
    next_row(t, t->bad ? NULL : t->row);
}

static bool blank(const char *text, size_t n)
{
    while (n > 0 && (text[n - 1] == ' ' || (text[n - 1] >= '\t' && text[n - 1] <= '\r')))
        n--;
    return n == 0;
}

/* The reader stumbled at column `column` of a line: over a quote there, or over the end of
 * a cell that an earlier line opened by mistake. That one is to be mended. */
static ke_status misquoted(table *t, size_t column)
{
    size_t noticed = t->line;
    if (t->cell_line == noticed) {
        t->at.line = noticed;
        return ke__record_fail(t->cx, &t->at, KE_EFORMAT,
                               "column %zu: a quote inside a cell must be doubled, "
                               "and the cell quoted",
                               column);
    }
    t->at.line = t->cell_line;
    return ke__record_fail(t->cx, &t->at, KE_EFORMAT,
                           "cell %zu: a quote is not closed (it shows at line %zu, column "
                           "%zu)",
                           t->column + 1, noticed, column);
}

/* The reader can't go on. The records can, after the line in which the fault is, with a
 * fresh reader. */
static ke_status begin_anew(table *t, struct csv_parser *p, ke_status fault, bool *open,
                            size_t *at)
{
    t->st = t->named && fault == KE_EFORMAT ? KE_OK : fault;
    if (t->st != KE_OK)
        return t->st;
    next_row(t, NULL);
    csv_free(p);
    if (csv_init(p, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return ke__fail(t->cx, KE_ENOMEM, t->at.file, "out of memory for a CSV reader");
    *open = false;
    *at = t->cell_end;
    t->line = t->cell_line;
    return t->st;
}

/* Line by line, so that each row knows where it began: a quoted cell may hold line ends. */
static ke_status read_lines(table *t, struct csv_parser *p, const char *text, size_t bytes)
{
    ke_status st = KE_OK;
    bool open = false;
    size_t at = 0, n;
    for (t->line = 1; at < bytes; t->line++) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t rows = t->ended;
        n = end ? (size_t)(end - text) - at + 1 : bytes - at;
        t->line_end = at + n;
        if (!open) {
            t->at.line = t->cell_line = t->line;
            t->cell_end = t->line_end;
        }
        size_t used = csv_parse(p, text + at, n, on_cell, on_row, t);
        if (used < n && t->st == KE_OK) {
            st = csv_error(p) == CSV_EPARSE
                     ? misquoted(t, used + 1)
                     : ke__record_fail(t->cx, &t->at, KE_ENOMEM, "out of memory");
            KE_TRY(begin_anew(t, p, st, &open, &at));
            KE_TRY(ke__check_cancel(t->cx));
            continue;
        }
        open = t->ended == rows && (open || !blank(text + at, n));
        at += n;
        KE_TRY(t->st);
        KE_TRY(ke__check_cancel(t->cx));
        if (at == bytes && csv_fini(p, on_cell, on_row, t) != 0) {
            t->at.line = t->cell_line;
            st = ke__record_fail(t->cx, &t->at, KE_EFORMAT, "a quote is not closed");
            KE_TRY(begin_anew(t, p, st, &open, &at));
        }
    }
    st = t->st;
done:
    return st;
}

ke_status ke__records_csv(ke_ctx *cx, const char *file, const char *text, size_t bytes,
                          ke__record_fn *take, void *payload)
{
    ke_status st = KE_OK;
    struct csv_parser p;
    table t = {.cx = cx,
               .take = take,
               .payload = payload,
               .row = json_object(),
               .at = {file, 1, 0}};
    size_t mark = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (!t.row || csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        st = ke__fail(cx, KE_ENOMEM, file, "out of memory for a CSV reader");
        goto done;
    }
    st = read_lines(&t, &p, text + mark, bytes - mark);
    csv_free(&p);
done:
    json_decref(t.row);
    for (size_t i = 0; i < t.n_names; i++)
        ke__free(cx, t.names[i]);
    ke__free(cx, t.names);
    return st;
}

bool ke__is_csv(const char *file, const char *text, size_t bytes)
{
    size_t name = strlen(file), mark = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
    const char *first = text + 3 * mark, *end = memchr(first, '\n', bytes - 3 * mark);
    size_t n = end ? (size_t)(end - first) : bytes - 3 * mark;
    if (name >= 4 &&
        (strcmp(file + name - 4, ".csv") == 0 || strcmp(file + name - 4, ".CSV") == 0))
        return true;
    return n > 0 && *first != '{' && *first != '[' && memchr(first, ',', n) &&
           memmem(first, n, "prompt", 6) && memmem(first, n, "target", 6);
}
