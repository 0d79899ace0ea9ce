#include "support/bench_run.h"
#include "study/store.h"
#include "support/scratch.h"
#include "support/tiny_model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const char bench_facts[] =
    "[{\"subject\":\"Zed\",\"prompt\":\"in Zed\",\"target_new\":\"a\","
    "\"ground_truth\":\"it\",\"rephrase_prompt\":\"at Zed\","
    "\"portability\":{\"Reasoning\":[{\"prompt\":\"we like Zed\",\"ground_truth\":[[\"the "
    "sea\",\"sea\"]]}]},"
    "\"locality\":{\"Relation_Specificity\":[{\"prompt\":\"Kay is\",\"ground_truth\":"
    "[[\"here now\"]]},{\"prompt\":\"Bo is\",\"ground_truth\":[[\"there\"]]}]}},"
    "{\"subject\":\"Kay\",\"prompt\":\"we like Kay\",\"target_new\":\"an ant\","
    "\"ground_truth\":\"it\",\"rephrase_prompt\":\"for Kay\",\"portability\":{},"
    "\"locality\":{\"Forgetfulness\":[{\"prompt\":\"Zed has\",\"ground_truth\":[[\"a "
    "hat\"]]}]}},"
    "{\"subject\":\"Bo\",\"prompt\":\"they saw Bo\",\"target_new\":\"a\","
    "\"ground_truth\":\"it\",\"rephrase_prompt\":\"to Bo\",\"portability\":{},"
    "\"locality\":{}}]";
static void say(const char *line, void *payload)
{
    bench_run *r = payload;
    size_t n = strlen(r->said);
    snprintf(r->said + n, sizeof r->said - n, "%s\n", line);
    if (++r->n_said != r->cancel_at)
        return;
    if (r->kill)
        kill(getpid(), SIGKILL);
    ke_ctx_cancel(r->cx);
}

void bench_ok(bench_run *r, ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s: %s", ke_status_name(st), ke_ctx_message(r->cx));
}

void bench_begin_threads(bench_run *r, void **state, const char *json, unsigned n_threads)
{
    static const char *const choices[][2] = {{"cov", "identity"}, {"contexts", "none"},
                                             {"layer", "2"},      {"clamp", "100"},
                                             {"steps", "20"},     {"decay", "0"}};
    *r = (bench_run){.cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = n_threads})};
    snprintf(r->model, sizeof r->model, "%s", scratch_path(state, "base.gguf"));
    snprintf(r->data, sizeof r->data, "%s", scratch_path(state, "data.json"));
    snprintf(r->out, sizeof r->out, "%s", scratch_path(state, "run.sqlite"));
    scratch_write(r->data, json, strlen(json));
    bench_ok(r, tiny_model_write(r->cx, &(tiny_spec){.seed = 3}, r->model));
    bench_ok(r, ke_settings_new(r->cx, &r->rome, "rome"));
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++)
        bench_ok(r, ke_settings_set(r->cx, r->rome, choices[i][0], choices[i][1]));
    r->methods[0] = r->rome;
    r->files[0] = r->data;
    r->job = (ke_bench_job){.model_path = r->model,
                            .methods = r->methods,
                            .n_methods = 1,
                            .unedited = true,
                            .files = r->files,
                            .n_files = 1,
                            .seed = 5,
                            .output_path = r->out,
                            .say = say,
                            .payload = r};
}

void bench_begin(bench_run *r, void **state, const char *json)
{
    bench_begin_threads(r, state, json, 1);
}

void bench_end(bench_run *r)
{
    ke_settings_free(r->cx, r->rome);
    ke_ctx_free(r->cx);
}

void bench_go(bench_run *r)
{
    bench_ok(r, ke_bench_run(r->cx, &r->summary, &r->job));
}

void bench_refused(bench_run *r, ke_status status, const char *says)
{
    assert_int_equal(ke_bench_run(r->cx, &r->summary, &r->job), status);
    if (!strstr(ke_ctx_message(r->cx), says))
        fail_msg("expected \"%s\" in \"%s\"", says, ke_ctx_message(r->cx));
}

static ke_status add_row(ke_ctx *cx, const ke__store_row *row, void *payload)
{
    json_t *body = json_loads(row->body, 0, NULL);
    (void)cx;
    assert_non_null(body);
    assert_int_equal(json_object_del(body, "seconds"), 0);
    assert_int_equal(json_array_append_new(payload, body), 0);
    return KE_OK;
}

json_t *bench_rows(bench_run *r)
{
    json_t *rows = json_array();
    ke__store *s = NULL;
    bench_ok(r, ke__store_read(r->cx, &s, r->out));
    bench_ok(r, ke__store_rows(r->cx, s, add_row, rows));
    ke__store_close(r->cx, s);
    return rows;
}

const json_t *bench_row(const json_t *rows, size_t index, const char *method,
                        const char *protocol, const char *at)
{
    const json_t *found;
    size_t i;
    json_array_foreach(rows, i, found)
    {
        const char *m, *p, *a;
        json_int_t k;
        assert_int_equal(json_unpack((json_t *)(uintptr_t)found, "{s:I, s:s, s:s, s:s}",
                                     "index", &k, "method", &m, "protocol", &p, "at", &a),
                         0);
        if ((size_t)k == index && !strcmp(m, method) && !strcmp(p, protocol) &&
            !strcmp(a, at))
            return found;
    }
    fail_msg("no row %zu %s %s %s", index, method, protocol, at);
    return NULL;
}

const json_t *bench_at(const json_t *value, const char *path)
{
    char key[64];
    while (*path) {
        size_t n = strcspn(path, "/");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        value = json_is_array(value) ? json_array_get(value, (size_t)atoi(key))
                                     : json_object_get(value, key);
        if (!value)
            fail_msg("nothing at %s", key);
        path += n + (path[n] == '/');
    }
    return value;
}

double bench_number(const json_t *value, const char *path)
{
    assert_true(json_is_number(bench_at(value, path)));
    return json_number_value(bench_at(value, path));
}

const char *bench_text(const json_t *value, const char *path)
{
    return json_string_value(bench_at(value, path));
}
