/* Cases from files: which set a file is of, its records with their places, and each as a
 * case. */
#include "eval/case.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_FILE_BYTES ((size_t)1 << 30)

#define SET(id) extern const ke__set ke__set_##id;
#include "eval/sets.def"
#undef SET

static const ke__set *const sets[] = {
#define SET(id) &ke__set_##id,
#include "eval/sets.def"
#undef SET
};
enum { N_SETS = sizeof sets / sizeof sets[0] };

const ke__set *ke__set_at(size_t i)
{
    return i < N_SETS ? sets[i] : NULL;
}

const ke__set *ke__set_find(const char *name)
{
    for (size_t i = 0; i < N_SETS; i++)
        if (strcasecmp(sets[i]->name, name) == 0)
            return sets[i];
    return NULL;
}

static ke_status unknown_set(ke_ctx *cx, const char *name)
{
    char known[256] = "";
    for (size_t i = 0; i < N_SETS; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", sets[i]->name);
    }
    return ke__fail(cx, KE_EINVAL, "set", "unknown set '%.60s': expected one of %s", name,
                    known);
}

/* --- records ---------------------------------------------------------------------- */

static void section_free(ke_ctx *cx, ke__section *s)
{
    for (size_t i = 0; i < s->n; i++)
        json_decref(s->items[i]);
    ke__free(cx, s->items);
    ke__free(cx, s->at);
    *s = (ke__section){0};
}

/* What is left of the walk, at most `limit` records (0: all). */
static ke_status section_read(ke_ctx *cx, ke__section *s, ke__walk *w, size_t limit)
{
    ke_status st = KE_OK;
    json_t *record = NULL;
    while (limit == 0 || s->n < limit) {
        if (s->n == s->room) {
            size_t room = s->room ? 2 * s->room : 64;
            KE_TRY(ke__resize(cx, &s->items, room, sizeof *s->items));
            KE_TRY(ke__resize(cx, &s->at, room, sizeof *s->at));
            s->room = room;
        }
        KE_TRY(ke__walk_next(cx, w, &record));
        if (!record)
            break;
        s->items[s->n] = record;
        s->at[s->n++] = w->record;
        KE_TRY(ke__check_cancel(cx));
    }
done:
    return st;
}

/* The array of an object at the first of two keys that it has. */
static ke_status section_find(ke_ctx *cx, ke__section *s, const ke__walk *start,
                              const char *const keys[2], size_t limit)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < 2; i++) {
        ke__walk w = *start;
        bool found;
        KE_TRY(ke__walk_enter(cx, &w, keys[i], &found));
        s->key = keys[i];
        if (found)
            return section_read(cx, s, &w, limit);
    }
    st = ke__fail(cx, KE_EFORMAT, start->record.file,
                  "%s:%zu: expected an object with an array \"%s\" or \"%s\"",
                  start->record.file, start->line, keys[0], keys[1]);
done:
    return st;
}

/* The set that was named, else the one of the first record. */
static ke_status find_set(ke_ctx *cx, const ke__set **out, const ke__walk *start,
                          const char *name)
{
    ke_status st = KE_OK;
    ke__walk w = *start;
    json_t *first = NULL;

    *out = name ? ke__set_find(name) : NULL;
    if (name && !*out)
        return unknown_set(cx, name);
    KE_TRY(ke__walk_next(cx, &w, &first));
    if (!first) {
        st = ke__fail(cx, KE_EFORMAT, w.record.file,
                      "%s: no records in it, expected at least one", w.record.file);
        goto done;
    }
    for (size_t i = 0; !*out; i++)
        if (sets[i]->recognise(first))
            *out = sets[i];
    if ((*out)->records[0] && !w.array) { /* then the object is all that there is */
        json_decref(first);
        first = NULL;
        KE_TRY(ke__walk_next(cx, &w, &first));
        if (first)
            st = ke__record_fail(cx, &w.record, KE_EFORMAT,
                                 "expected the end of the file after one object");
    }
done:
    json_decref(first);
    return st;
}

static ke_status source_read(ke_ctx *cx, ke__source *out, const ke__set *set,
                             const ke__walk *start, size_t limit)
{
    ke_status st = KE_OK;
    size_t records = limit ? limit + 1 : 0; /* a reader may look at the next one */
    ke__walk w = *start;
    if (!set->records[0])
        return section_read(cx, &out->records, &w, records);
    KE_TRY(section_find(cx, &out->records, start, set->records, records));
    KE_TRY(section_find(cx, &out->beside, start, set->beside, 0));
    if (out->records.n == 0)
        st = ke__fail(cx, KE_EFORMAT, start->record.file,
                      "%s: no records in it, expected at least one", start->record.file);
done:
    return st;
}

/* --- cases ------------------------------------------------------------------------ */

static ke_status add_bad(ke_ctx *cx, ke__cases *out, size_t file, size_t index)
{
    ke_status st = KE_OK;
    char *message = NULL;
    KE_TRY(ke__strdup(cx, &message, cx->message));
    KE_TRY(ke__fact_box_take(cx, &out->box, message));
    KE_TRY(ke__resize(cx, &out->bad, out->n_bad + 1, sizeof *out->bad));
    out->bad[out->n_bad++] = (ke__bad_record){message, file, index};
done:
    return st;
}

static ke_status add_case(ke_ctx *cx, ke__cases *out, const ke__set *set,
                          const ke__source *source, size_t file, size_t index,
                          const ke__cases_opts *opts)
{
    ke__case c = {.set = set->name, .kind = set->kind, .file = file, .index = index};
    ke_status st = set->read(cx, &c, source, index, opts, &out->box);
    if (st == KE_OK)
        out->items[out->n++] = c;
    else if (st == KE_EINVAL) /* a fact that cannot be edited: here the file is at fault */
        st = KE_EFORMAT;
    return st == KE_EFORMAT && opts->skip_bad ? add_bad(cx, out, file, index) : st;
}

static ke_status add_file(ke_ctx *cx, ke__cases *out, size_t file, const ke__walk *start,
                          const ke__cases_opts *opts)
{
    ke_status st = KE_OK;
    const ke__set *set;
    ke__source source = {0};

    KE_TRY(find_set(cx, &set, start, opts->set));
    KE_TRY(source_read(cx, &source, set, start, opts->limit));
    size_t n = source.records.n;
    if (opts->limit > 0 && n > opts->limit)
        n = opts->limit;
    KE_TRY(ke__resize(cx, &out->items, out->n + n, sizeof *out->items));
    for (size_t i = 0; i < n; i++) {
        KE_TRY(add_case(cx, out, set, &source, file, i, opts));
        KE_TRY(ke__check_cancel(cx));
    }
done:
    section_free(cx, &source.records);
    section_free(cx, &source.beside);
    return st;
}

ke_status ke__cases_parse(ke_ctx *cx, ke__cases *out, const char *file, const char *text,
                          size_t bytes, const ke__cases_opts *opts)
{
    *out = (ke__cases){0};
    ke__walk start = ke__walk_begin(file, text, bytes);
    ke_status st = add_file(cx, out, 0, &start, opts);
    if (st != KE_OK)
        ke__cases_free(cx, out);
    return st;
}

ke_status ke__cases_load(ke_ctx *cx, ke__cases *out, const char *const *files,
                         size_t n_files, const ke__cases_opts *opts)
{
    ke_status st = KE_OK;
    char *text = NULL;
    size_t bytes = 0;

    *out = (ke__cases){.n_files = n_files};
    KE_TRY(ke__alloc(cx, &out->sha256, n_files, sizeof *out->sha256));
    for (size_t i = 0; i < n_files; i++) {
        const char *name = strcmp(files[i], "-") ? files[i] : "standard input";
        KE_TRY(ke__file_read(cx, &text, &bytes, files[i], MAX_FILE_BYTES));
        KE_TRY(ke__sha256_of(cx, out->sha256[i], text, bytes));
        ke__walk start = ke__walk_begin(name, text, bytes);
        KE_TRY(add_file(cx, out, i, &start, opts));
        ke__free(cx, text);
        text = NULL;
    }
done:
    ke__free(cx, text);
    if (st != KE_OK)
        ke__cases_free(cx, out);
    return st;
}

void ke__cases_free(ke_ctx *cx, ke__cases *cases)
{
    for (size_t i = 0; i < cases->box.n; i++)
        ke__free(cx, cases->box.blocks[i]);
    ke__free(cx, cases->box.blocks);
    ke__free(cx, cases->items);
    ke__free(cx, cases->bad);
    ke__free(cx, cases->sha256);
    *cases = (ke__cases){0};
}
