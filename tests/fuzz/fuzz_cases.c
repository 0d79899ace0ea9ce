/* The readers of the sets on any bytes: cases that can be edited and scored, or a message
 * on one line. The text goes through the set that it is of and through one more, by its
 * length: all of them on every input would make an execution nine times as long. Where the
 * JSON itself is broken, which comes before any set is asked, once is enough. */
#include "eval/case.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_parts(const ke__part_queries *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!*parts[i].name && parts[i].n == 0)
            abort();
        for (size_t k = 0; k < parts[i].n; k++) {
            const ke__query *q = &parts[i].queries[k];
            if (!*q->prompt || q->n_answers == 0 || q->answers[0].n == 0 ||
                !*q->answers[0].names[0])
                abort();
        }
    }
}

static void check_case(ke_ctx *cx, const ke__case *c)
{
    if (ke_fact_check(cx, &c->fact) != KE_OK || !ke__set_find(c->set))
        abort();
    check_parts(c->portability, c->n_portability);
    check_parts(c->locality, c->n_locality);
    for (size_t i = 0; i < c->n_rephrases; i++)
        if (!*c->rephrases[i])
            abort();
    for (size_t i = 0; i < c->n_old; i++)
        if (c->old_answers[i].n == 0)
            abort();
    if (c->kind == KE__CASE_CONVSENT && (c->n_agree == 0 || c->n_oppose == 0))
        abort();
    if (c->kind == KE__CASE_COUNTERFACT && c->n_old == 0)
        abort();
}

/* Whether all of the text could be read. */
static bool read_as(ke_ctx *cx, const char *text, size_t bytes, const char *set)
{
    ke__cases cases;
    ke__cases_opts opts = {.set = set, .seed = bytes, .skip_bad = bytes % 2};
    ke_status st = ke__cases_parse(cx, &cases, "fuzz", text, bytes, &opts);
    if (st != KE_OK &&
        (cases.items || !*ke_ctx_message(cx) || strchr(ke_ctx_message(cx), '\n')))
        abort();
    for (size_t i = 0; i < cases.n; i++)
        check_case(cx, &cases.items[i]);
    for (size_t i = 0; i < cases.n_bad; i++)
        if (!*cases.bad[i].message)
            abort();
    ke__cases_free(cx, &cases);
    return st == KE_OK || !strstr(ke_ctx_message(cx), ": column ");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    size_t n_sets = 0;
    while (ke__set_at(n_sets))
        n_sets++;
    if (read_as(cx, (const char *)data, bytes, NULL))
        read_as(cx, (const char *)data, bytes, ke__set_at(bytes / 2 % n_sets)->name);
    if (cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    return 0;
}
