/* What identifies a run: everything that its numbers depend on, by name. */
#include "base/file.h"
#include "edit/edit.h"
#include "study/bench.h"

#include <stdio.h>
#include <string.h>

typedef struct entry {
    char *name, *value;
} entry;
typedef struct identity {
    entry *entries;
    size_t n, room;
} identity;

static void identity_free(ke_ctx *cx, identity *id)
{
    for (size_t i = 0; i < id->n; i++) {
        ke__free(cx, id->entries[i].name);
        ke__free(cx, id->entries[i].value);
    }
    ke__free(cx, id->entries);
}

static ke_status add(ke_ctx *cx, identity *id, const char *name, const char *value)
{
    ke_status st = KE_OK;
    if (id->n == id->room) {
        size_t room = id->room ? 2 * id->room : 64;
        KE_TRY(ke__resize(cx, &id->entries, room, sizeof *id->entries));
        id->room = room;
    }
    id->entries[id->n] = (entry){0};
    id->n++;
    KE_TRY(ke__strdup(cx, &id->entries[id->n - 1].name, name));
    KE_TRY(ke__strdup(cx, &id->entries[id->n - 1].value, value));
done:
    return st;
}

static ke_status add_number(ke_ctx *cx, identity *id, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return add(cx, id, name, text);
}

/* A setting that names a file counts by what is in it, wherever it lies. */
static ke_status add_text(ke_ctx *cx, identity *id, const char *name, const char *value)
{
    ke_status st = KE_OK;
    ke__map map = {0};
    char sha[65], text[80];
    if (!ke__file_exists(value) || ke__map_open(cx, &map, value) != KE_OK)
        return add(cx, id, name, value);
    KE_TRY(ke__sha256_of(cx, sha, map.data, map.bytes));
    snprintf(text, sizeof text, "sha256 %s", sha);
    KE_TRY(add(cx, id, name, text));
done:
    ke__map_close(cx, &map);
    return st;
}

static ke_status add_methods(ke_ctx *cx, identity *id, const ke__bench *b)
{
    ke_status st = KE_OK;
    ke__text names = {0};
    char name[128];

    for (size_t i = 0; i < b->n_methods; i++)
        KE_TRY(ke__text_addf(cx, &names, "%s%s", i ? "," : "", b->methods[i].name));
    KE_TRY(add(cx, id, "methods", names.data));
    for (size_t i = 0; i < b->n_methods; i++) {
        const ke_settings *s = b->methods[i].settings;
        const ke__setting *rows = s ? ke__method_find(b->methods[i].name)->settings : NULL;
        for (; rows && rows->name; rows++) {
            snprintf(name, sizeof name, "%s.%s", b->methods[i].name, rows->name);
            const char *value = ke_settings_get(s, rows->name);
            KE_TRY(rows->type == KE__TEXT ? add_text(cx, id, name, value)
                                          : add(cx, id, name, value));
        }
    }
done:
    ke__free(cx, names.data);
    return st;
}

static const char *yes(bool value)
{
    return value ? "yes" : "no";
}

static const char *protocols_text(unsigned protocols)
{
    return protocols == KE_PROTOCOL_EASYEDIT ? "easyedit"
           : protocols == KE_PROTOCOL_REAL   ? "real"
                                             : "both";
}

static const char *faults_text(unsigned faults)
{
    static const char *const texts[] = {"none", "boundary", "shift", "boundary,shift"};
    return texts[faults & (KE_FAULT_BOUNDARY | KE_FAULT_SHIFT)];
}

static ke_status identity_make(ke_ctx *cx, identity *id, const ke__bench *b)
{
    ke_status st = KE_OK;
    const ke_bench_job *job = b->job;
    char sha[65], name[32];

    KE_TRY(ke_model_sha256(cx, b->model, sha));
    KE_TRY(add(cx, id, "version", ke_version()));
    KE_TRY(add(cx, id, "model", sha));
    for (size_t i = 0; i < b->cases.n_files; i++) {
        snprintf(name, sizeof name, "data %zu", i + 1);
        KE_TRY(add(cx, id, name, b->cases.sha256[i]));
    }
    KE_TRY(add(cx, id, "set", job->set ? job->set : "as recognised"));
    KE_TRY(add_number(cx, id, "limit", job->limit));
    KE_TRY(add(cx, id, "protocol", protocols_text(b->protocols)));
    KE_TRY(add(cx, id, "without", faults_text(job->without)));
    KE_TRY(add(cx, id, "mode", job->sequential ? "sequential" : "single"));
    KE_TRY(add(cx, id, "score-at",
               b->score_at == KE_SCORE_EACH  ? "each"
               : b->score_at == KE_SCORE_END ? "end"
                                             : "each,end"));
    KE_TRY(add_number(cx, id, "seed", job->seed));
    KE_TRY(add(cx, id, "fluency", yes(!job->no_fluency)));
    KE_TRY(add(cx, id, "chat", b->chat ? b->chat->family : "no"));
    KE_TRY(add(cx, id, "retain", job->retain_all ? "all" : "drawn"));
    KE_TRY(add(cx, id, "skip-bad", yes(job->skip_bad)));
    KE_TRY(add(cx, id, "edited-type", job->edited_type ? job->edited_type : "as computed"));
    st = add_methods(cx, id, b);
done:
    return st;
}

/* --- comparing ---------------------------------------------------------------------- */

typedef struct difference {
    const identity *here;
    size_t n_there, n_different;
    char text[300];
} difference;

static const char *value_of(const identity *id, const char *name)
{
    for (size_t i = 0; i < id->n; i++)
        if (strcmp(id->entries[i].name, name) == 0)
            return id->entries[i].value;
    return NULL;
}

static void note(difference *d, const char *name, const char *there, const char *here)
{
    size_t at = strlen(d->text);
    if (d->n_different++ < 3)
        snprintf(d->text + at, sizeof d->text - at, "%s%.40s: %.64s there, %.64s here",
                 at ? "; " : "", name, there, here);
}

static ke_status compare(ke_ctx *cx, const char *name, const char *value, void *payload)
{
    difference *d = payload;
    const char *here = value_of(d->here, name);
    (void)cx;
    d->n_there++;
    if (!here || strcmp(here, value) != 0)
        note(d, name, value, here ? here : "not set");
    return KE_OK;
}

static ke_status check_same(ke_ctx *cx, const ke__bench *b, const identity *id, bool *begun)
{
    ke_status st = KE_OK;
    difference d = {.here = id};
    char *there = NULL;

    KE_TRY(ke__store_settings(cx, b->store, compare, &d));
    *begun = d.n_there > 0;
    for (size_t i = 0; *begun && i < id->n; i++) {
        KE_TRY(ke__store_setting(cx, b->store, id->entries[i].name, &there));
        if (!there)
            note(&d, id->entries[i].name, "not set", id->entries[i].value);
        ke__free(cx, there);
        there = NULL;
    }
    if (d.n_different > 0)
        st = ke__fail(cx, KE_EMISMATCH, b->job->output_path,
                      "%.120s is of another run: %s%s; name another file",
                      b->job->output_path, d.text, d.n_different > 3 ? "; and more" : "");
done:
    return st;
}

/* --- recording ---------------------------------------------------------------------- */

static ke_status record(ke_ctx *cx, ke__bench *b, const identity *id)
{
    ke_status st = KE_OK;
    KE_TRY(ke__store_begin(cx, b->store));
    for (size_t i = 0; i < id->n; i++)
        KE_TRY(
            ke__store_put_setting(cx, b->store, id->entries[i].name, id->entries[i].value));
    for (size_t i = 0; i < b->cases.n_files; i++)
        KE_TRY(ke__store_put_file(cx, b->store, i, b->job->files[i], b->cases.sha256[i]));
    for (size_t i = 0; i < b->cases.n; i++) {
        const ke__case *c = &b->cases.items[i];
        KE_TRY(ke__store_put_case(cx, b->store,
                                  &(ke__store_case){.file = c->file,
                                                    .index = c->index,
                                                    .set = c->set,
                                                    .subject = c->fact.subject,
                                                    .prompt = c->fact.prompt,
                                                    .target = c->fact.target,
                                                    .n_skipped = c->n_skipped}));
    }
    for (size_t i = 0; i < b->cases.n_bad; i++)
        KE_TRY(ke__store_put_bad(cx, b->store, b->cases.bad[i].file, b->cases.bad[i].index,
                                 b->cases.bad[i].message));
    KE_TRY(ke__store_commit(cx, b->store));
done:
    return st;
}

ke_status ke__bench_identify(ke_ctx *cx, ke__bench *b)
{
    ke_status st = KE_OK;
    identity id = {0};
    bool begun = false;

    KE_TRY(identity_make(cx, &id, b));
    KE_TRY(check_same(cx, b, &id, &begun));
    if (!begun)
        KE_TRY(record(cx, b, &id));
    for (size_t i = 0; i < b->cases.n_files; i++)
        KE_TRY(ke__store_file(cx, b->store, i, &b->file_names[i]));
done:
    identity_free(cx, &id);
    return st;
}
