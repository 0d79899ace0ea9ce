/* The walk over a facts file: an array, one object, one object a line, or CSV. */
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

ke_status ke__fact_box_text(ke_ctx *cx, ke__fact_box *box, const char **out,
                            const char *text)
{
    char *copy = NULL;
    ke_status st = ke__strdup(cx, &copy, text);
    if (st == KE_OK)
        st = ke__fact_box_take(cx, box, copy);
    *out = st == KE_OK ? copy : NULL;
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

const char *ke__json_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

ke_status ke__record_wrong(ke_ctx *cx, const ke__record *at, const char *field,
                           const char *expected, const json_t *found)
{
    return ke__record_fail(cx, at, KE_EFORMAT, "field \"%s\": expected %s, found %s", field,
                           expected, ke__json_kind(found));
}

ke__walk ke__walk_begin(const char *file, const char *text, size_t bytes)
{
    size_t mark = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return (ke__walk){
        .text = text, .bytes = bytes, .at = mark, .line = 1, .record = {file, 1, 0}};
}

static void skip_space(ke__walk *w)
{
    for (; w->at < w->bytes && strchr(" \t\r\n", w->text[w->at]) && w->text[w->at]; w->at++)
        w->line += w->text[w->at] == '\n';
}

static bool skip_mark(ke__walk *w, char mark)
{
    skip_space(w);
    if (w->at == w->bytes || w->text[w->at] != mark)
        return false;
    w->at++;
    return true;
}

/* The value at the walk's place; the walk moves past it. */
static ke_status next_value(ke_ctx *cx, ke__walk *w, json_t **out)
{
    json_error_t error;
    skip_space(w);
    w->record.line = w->line;
    *out = json_loadb(w->text + w->at, w->bytes - w->at,
                      JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
    if (!*out) {
        if (ke__json_load_status(&error) == KE_ENOMEM)
            return ke__record_fail(cx, &w->record, KE_ENOMEM, "out of memory");
        if (error.line > 0)
            w->record.line += (size_t)error.line - 1;
        return ke__record_fail(cx, &w->record, KE_EFORMAT, "column %d: %s",
                               error.column > 0 ? error.column : 1, error.text);
    }
    size_t end = w->at + (size_t)error.position;
    for (const char *c = w->text + w->at;
         (c = memchr(c, '\n', (size_t)(w->text + end - c))); c++)
        w->line++;
    w->at = end;
    return KE_OK;
}

/* Between two records of an array, or at its end. */
static ke_status next_in_array(ke_ctx *cx, ke__walk *w)
{
    w->ended = skip_mark(w, ']');
    if (!w->ended && w->record.number > 0 && !skip_mark(w, ',')) {
        w->record.line = w->line;
        return ke__record_fail(
            cx, &w->record, KE_EFORMAT, "after it: expected ',' or ']', found %s",
            w->at == w->bytes ? "the end of the file" : "something else");
    }
    if (!w->ended || w->inner)
        return KE_OK;
    skip_space(w);
    return w->at == w->bytes
               ? KE_OK
               : ke__fail(cx, KE_EFORMAT, w->record.file,
                          "%s:%zu: expected the end of the file after the array",
                          w->record.file, w->line);
}

ke_status ke__walk_next(ke_ctx *cx, ke__walk *w, json_t **out)
{
    *out = NULL;
    if (!w->begun)
        w->array = skip_mark(w, '[');
    w->begun = true;
    if (w->array) {
        ke_status st = w->ended ? KE_OK : next_in_array(cx, w);
        if (st != KE_OK)
            return st;
    } else {
        skip_space(w);
        w->ended = w->at == w->bytes;
    }
    if (w->ended)
        return KE_OK;
    w->record.number++;
    return next_value(cx, w, out);
}

ke_status ke__walk_enter(ke_ctx *cx, ke__walk *w, const char *key, bool *found)
{
    ke_status st = KE_OK;
    json_t *name = NULL, *value = NULL;
    size_t at = 0, line = 0; /* behind the '[' */

    *found = false;
    if (!skip_mark(w, '{') || skip_mark(w, '}'))
        return KE_OK;
    do {
        KE_TRY(next_value(cx, w, &name));
        if (!skip_mark(w, ':')) {
            st = ke__record_fail(cx, &w->record, KE_EFORMAT, "expected ':' after a name");
            goto done;
        }
        /* Of equal names the last counts, as it does for the JSON reader. */
        if (json_is_string(name) && strcmp(json_string_value(name), key) == 0) {
            *found = skip_mark(w, '[');
            at = w->at;
            line = w->line;
            w->at -= *found;
        }
        KE_TRY(next_value(cx, w, &value));
        json_decref(name);
        json_decref(value);
        name = value = NULL;
    } while (skip_mark(w, ','));
    if (*found) {
        w->at = at;
        w->line = line;
        w->begun = w->array = w->inner = true;
    }
done:
    json_decref(name);
    json_decref(value);
    return st;
}

/* Whether the line that ends at `end` is all that its record can have: nothing follows but
 * blanks, or another record begins. */
static bool line_is_record(const ke__walk *w, const char *end)
{
    ke__walk next = *w;
    next.at = end ? (size_t)(end - w->text) : w->bytes;
    return next.at == w->bytes || skip_mark(&next, '{') || next.at == w->bytes;
}

/* A record that can't be read, where each has a line of its own: the next line may be
 * sound. The place it began at is `from`. */
static ke_status skip_record(ke_ctx *cx, ke__walk *w, ke_status st, size_t from,
                             size_t line, ke__record_fn *take, void *payload)
{
    const char *end = memchr(w->text + from, '\n', w->bytes - from);
    if (st != KE_EFORMAT || w->array)
        return st;
    if (w->record.line != line && end && line_is_record(w, end)) {
        /* It lacks its end, which shows in the next line: what is wrong with this one? */
        ke__walk alone = *w;
        json_t *value = NULL;
        alone.at = from;
        alone.line = line;
        alone.bytes = (size_t)(end - w->text);
        st = next_value(cx, &alone, &value);
        json_decref(value);
        w->record = alone.record;
    }
    if (st != KE_EFORMAT || w->record.line != line)
        return st;
    st = take(cx, NULL, &w->record, payload);
    w->at = end ? (size_t)(end - w->text) : w->bytes;
    w->line = line;
    return st;
}

static ke_status records_json(ke_ctx *cx, const char *file, const char *text, size_t bytes,
                              ke__record_fn *take, void *payload)
{
    ke_status st = KE_OK;
    json_t *record = NULL;
    ke__walk w = ke__walk_begin(file, text, bytes);
    for (;;) {
        skip_space(&w);
        size_t from = w.at, line = w.line;
        st = ke__walk_next(cx, &w, &record);
        if (st != KE_OK) {
            KE_TRY(skip_record(cx, &w, st, from, line, take, payload));
            KE_TRY(ke__check_cancel(cx));
            continue;
        }
        if (!record)
            break;
        KE_TRY(take(cx, record, &w.record, payload));
        json_decref(record);
        record = NULL;
        KE_TRY(ke__check_cancel(cx));
    }
done:
    json_decref(record);
    return st;
}

static ke_status records(ke_ctx *cx, const char *file, const char *text, size_t bytes,
                         ke__record_fn *take, void *payload)
{
    return (ke__is_csv(file, text, bytes) ? ke__records_csv : records_json)(
        cx, file, text, bytes, take, payload);
}

static const ke_subject_opts no_names;

struct reading {
    ke_facts *out;
    size_t room;
    const ke_subject_opts *subjects;
};

static ke_status take_fact(ke_ctx *cx, const json_t *record, const ke__record *at,
                           void *payload)
{
    ke_status st = KE_OK;
    struct reading *r = payload;
    ke_facts *out = r->out;
    char *place = NULL;
    if (!record)
        return KE_EFORMAT;
    if (out->n == r->room) {
        r->room = r->room ? 2 * r->room : 16;
        KE_TRY(ke__resize(cx, &out->items, r->room, sizeof *out->items));
    }
    KE_TRY(ke__fact_read(cx, &out->items[out->n], record, at, out->owner, r->subjects));
    KE_TRY(ke__format(cx, &place, "%s:%zu", at->file, at->line));
    KE_TRY(ke__fact_box_take(cx, out->owner, place));
    out->items[out->n++].place = place;
done:
    return st;
}

static ke_status none(ke_ctx *cx, const char *file)
{
    return ke__fail(cx, KE_EFORMAT, file,
                    "%s: no facts in it, expected at least one record", file);
}

ke_status ke__facts_parse(ke_ctx *cx, ke_facts *out, const char *file, const char *text,
                          size_t bytes, const ke_subject_opts *subjects)
{
    ke_status st = KE_OK;
    struct reading r = {.out = out, .subjects = subjects ? subjects : &no_names};
    *out = (ke_facts){0};
    KE_TRY(ke__alloc(cx, &out->owner, 1, sizeof(ke__fact_box)));
    KE_TRY(records(cx, file, text, bytes, take_fact, &r));
    if (out->n == 0)
        st = none(cx, file);
done:
    if (st != KE_OK)
        ke_facts_free(cx, out);
    return st;
}

struct checking {
    const ke_subject_opts *subjects;
    size_t n_good, n_bad;
    ke_bad_fact_fn say;
    void *payload;
};

static ke_status check_fact(ke_ctx *cx, const json_t *record, const ke__record *at,
                            void *payload)
{
    struct checking *c = payload;
    ke__fact_box box = {0};
    ke_fact fact;
    ke_status st =
        record ? ke__fact_read(cx, &fact, record, at, &box, c->subjects) : KE_EFORMAT;
    for (size_t i = 0; i < box.n; i++)
        ke__free(cx, box.blocks[i]);
    ke__free(cx, box.blocks);
    if (st == KE_ENOMEM || st == KE_ECANCELED)
        return st;
    c->n_good += st == KE_OK;
    c->n_bad += st != KE_OK;
    if (st != KE_OK)
        c->say(cx->message, c->payload);
    return KE_OK;
}

ke_status ke_facts_check(ke_ctx *cx, const char *path, const ke_subject_opts *subjects,
                         size_t *n_good, size_t *n_bad, ke_bad_fact_fn say, void *payload)
{
    ke_status st = KE_OK;
    struct checking c = {
        .subjects = subjects ? subjects : &no_names, .say = say, .payload = payload};
    const char *file = strcmp(path, "-") ? path : "standard input";
    char *text = NULL;
    size_t bytes = 0;
    KE_TRY(ke__file_read(cx, &text, &bytes, path, MAX_FILE_BYTES));
    st = records(cx, file, text, bytes, check_fact, &c);
    /* What comes after that is unknown. */
    if (st == KE_EFORMAT)
        st = ke__fail(cx, KE_EFORMAT, file, "%s; what follows was not read", cx->message);
    else if (st == KE_OK && c.n_good + c.n_bad == 0)
        st = none(cx, file);
    if (st == KE_EFORMAT) {
        c.n_bad++;
        say(cx->message, payload);
        st = KE_OK;
    }
done:
    *n_good = c.n_good;
    *n_bad = c.n_bad;
    ke__free(cx, text);
    return st;
}

ke_status ke_facts_load(ke_ctx *cx, ke_facts *out, const char *path,
                        const ke_subject_opts *subjects)
{
    ke_status st = KE_OK;
    char *text = NULL;
    size_t bytes = 0;

    *out = (ke_facts){0};
    KE_TRY(ke__file_read(cx, &text, &bytes, path, MAX_FILE_BYTES));
    KE_TRY(ke__facts_parse(cx, out, strcmp(path, "-") ? path : "standard input", text,
                           bytes, subjects));
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
