/* The walk over a facts file: an array, one object, or one object a line. */
#include "eval/facts.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)1 << 30)

ke_status ke__fact_box_take(ke_ctx *cx, ke__fact_box *box, void *block)
{
    ke_status st = KE_OK;
    if (box->n == box->room) {
        size_t room = box->room ? 2 * box->room : 64;
        KE_TRY(ke__resize(cx, &box->blocks, room, sizeof *box->blocks));
        box->room = room;
    }
    box->blocks[box->n++] = block;
done:
    if (st != KE_OK)
        ke__free(cx, block);
    return st;
}

ke_status ke__record_fail(ke_ctx *cx, const ke__record *at, ke_status st,
                          const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* The JSON reader quotes the file, line ends and all. */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    return ke__fail(cx, st, at->file, "%s:%zu: record %zu: %s", at->file, at->line,
                    at->number, text);
}

typedef struct walk {
    const char *text;
    size_t bytes, at;
    ke__record record;
} walk;

static void skip_space(walk *w)
{
    for (; w->at < w->bytes && strchr(" \t\r\n", w->text[w->at]) && w->text[w->at]; w->at++)
        w->record.line += w->text[w->at] == '\n';
}

static bool skip_mark(walk *w, char mark)
{
    skip_space(w);
    if (w->at == w->bytes || w->text[w->at] != mark)
        return false;
    w->at++;
    return true;
}

/* The value at the walk's place; the walk moves past it. */
static ke_status next_value(ke_ctx *cx, json_t **out, walk *w, size_t *lines)
{
    json_error_t error;
    *out = json_loadb(w->text + w->at, w->bytes - w->at,
                      JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
    if (!*out) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return ke__record_fail(cx, &w->record, KE_ENOMEM, "out of memory");
        if (error.line > 0)
            w->record.line += (size_t)error.line - 1;
        return ke__record_fail(cx, &w->record, KE_EFORMAT, "column %d: %s",
                               error.column > 0 ? error.column : 1, error.text);
    }
    size_t end = w->at + (size_t)error.position;
    *lines = 0;
    for (const char *c = w->text + w->at;
         (c = memchr(c, '\n', (size_t)(w->text + end - c))); c++)
        ++*lines;
    w->at = end;
    return KE_OK;
}

static ke_status add_record(ke_ctx *cx, ke_facts *out, size_t *room, walk *w)
{
    ke_status st = KE_OK;
    json_t *value = NULL;
    size_t lines = 0;

    w->record.number++;
    KE_TRY(next_value(cx, &value, w, &lines));
    if (out->n == *room) {
        *room = *room ? 2 * *room : 16;
        KE_TRY(ke__resize(cx, &out->items, *room, sizeof *out->items));
    }
    KE_TRY(ke__fact_read(cx, &out->items[out->n], value, &w->record, out->owner));
    out->n++;
    w->record.line += lines;
    KE_TRY(ke__check_cancel(cx));

done:
    json_decref(value);
    return st;
}

static ke_status add_array(ke_ctx *cx, ke_facts *out, size_t *room, walk *w)
{
    ke_status st = KE_OK;
    if (skip_mark(w, ']'))
        goto end;
    for (;;) {
        skip_space(w);
        KE_TRY(add_record(cx, out, room, w));
        if (skip_mark(w, ']'))
            break;
        if (!skip_mark(w, ','))
            return ke__record_fail(
                cx, &w->record, KE_EFORMAT, "after it: expected ',' or ']', found %s",
                w->at == w->bytes ? "the end of the file" : "something else");
    }
end:
    skip_space(w);
    if (w->at < w->bytes)
        st = ke__fail(cx, KE_EFORMAT, w->record.file,
                      "%s:%zu: expected the end of the file after the array",
                      w->record.file, w->record.line);
done:
    return st;
}

ke_status ke__facts_parse(ke_ctx *cx, ke_facts *out, const char *file, const char *text,
                          size_t bytes)
{
    ke_status st = KE_OK;
    size_t room = 0;
    walk w = {text, bytes, 0, {file, 1, 0}};

    *out = (ke_facts){0};
    KE_TRY(ke__alloc(cx, &out->owner, 1, sizeof(ke__fact_box)));
    if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        w.at = 3;
    if (skip_mark(&w, '['))
        KE_TRY(add_array(cx, out, &room, &w));
    else
        for (skip_space(&w); w.at < w.bytes; skip_space(&w))
            KE_TRY(add_record(cx, out, &room, &w));
    if (out->n == 0)
        st = ke__fail(cx, KE_EFORMAT, file,
                      "%s: no facts in it, expected at least one record", file);
done:
    if (st != KE_OK)
        ke_facts_free(cx, out);
    return st;
}

ke_status ke_facts_load(ke_ctx *cx, ke_facts *out, const char *path)
{
    ke_status st = KE_OK;
    char *text = NULL;
    size_t bytes = 0;

    *out = (ke_facts){0};
    KE_TRY(ke__file_read(cx, &text, &bytes, path, MAX_FILE_BYTES));
    KE_TRY(
        ke__facts_parse(cx, out, strcmp(path, "-") ? path : "standard input", text, bytes));
done:
    ke__free(cx, text);
    return st;
}

void ke_facts_free(ke_ctx *cx, ke_facts *facts)
{
    ke__fact_box *box = facts->owner;
    if (box) {
        for (size_t i = 0; i < box->n; i++)
            ke__free(cx, box->blocks[i]);
        ke__free(cx, box->blocks);
        ke__free(cx, box);
    }
    ke__free(cx, facts->items);
    *facts = (ke_facts){0};
}
