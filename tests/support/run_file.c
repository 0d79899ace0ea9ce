#include "support/run_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void ok(const run_file *r, ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(r->cx));
}

static const char *more_value(const char *const *more, const char *name)
{
    for (; more && *more; more += 2)
        if (strcmp(more[0], name) == 0)
            return more[1];
    return NULL;
}

run_file run_file_new(ke_ctx *cx, const char *path, const char *methods,
                      const char *protocol, const char *const *more)
{
    const char *const usual[][2] = {{"model", "m"},       {"seed", "0"},
                                    {"methods", methods}, {"protocol", protocol},
                                    {"mode", "single"},   {"score-at", "each"},
                                    {"fluency", "yes"}};
    run_file r = {.cx = cx};
    ok(&r, ke__store_open(cx, &r.store, path));
    ok(&r, ke__store_begin(cx, r.store));
    for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
        if (!more_value(more, usual[i][0]))
            ok(&r, ke__store_put_setting(cx, r.store, usual[i][0], usual[i][1]));
    for (; more && *more; more += 2)
        ok(&r, ke__store_put_setting(cx, r.store, more[0], more[1]));
    return r;
}

void run_file_cases(run_file *r, size_t file, const char *set, size_t n)
{
    char name[64];
    snprintf(name, sizeof name, "%s.json", set);
    ok(r, ke__store_put_file(r->cx, r->store, file, name, "00"));
    for (size_t i = 0; i < n; i++)
        ok(r, ke__store_put_case(r->cx, r->store,
                                 &(ke__store_case){.file = file,
                                                   .index = i,
                                                   .set = set,
                                                   .subject = "S",
                                                   .prompt = "S is",
                                                   .target = "T"}));
}

static void put(run_file *r, ke__store_row row)
{
    row.at = row.at ? row.at : "each";
    row.seconds_edit = 0.5;
    row.seconds_evaluate = 2;
    ok(r, ke__store_put_row(r->cx, r->store, &row));
}

void run_file_row(run_file *r, size_t file, size_t index, size_t order, const char *method,
                  const char *protocol, const char *body)
{
    put(r, (ke__store_row){.file = file,
                           .index = index,
                           .method_order = order,
                           .method = method,
                           .protocol = protocol,
                           .body = body});
}

void run_file_row_at(run_file *r, const char *at, size_t index, const char *method,
                     const char *protocol, const char *body)
{
    put(r, (ke__store_row){.index = index,
                           .method = method,
                           .protocol = protocol,
                           .at = at,
                           .body = body});
}

void run_file_failed(run_file *r, size_t file, size_t index, size_t order,
                     const char *method, const char *protocol, const char *error)
{
    put(r, (ke__store_row){.file = file,
                           .index = index,
                           .method_order = order,
                           .method = method,
                           .protocol = protocol,
                           .body = "{}",
                           .error = error});
}

void run_file_end(run_file *r)
{
    ok(r, ke__store_commit(r->cx, r->store));
    ke__store_close(r->cx, r->store);
    r->store = NULL;
}
