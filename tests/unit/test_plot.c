/* The plot: its file appears whole or not at all, and its bars have the height of the
 * means. */
#include "knowedit/bench.h"
#include "support/oom.h"
#include "support/run_file.h"
#include "support/scratch.h"

#include <cairo.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static ke_ctx *cx;

static int set_up(void **state)
{
    cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    return scratch_make(state);
}

static int tear_down(void **state)
{
    ke_ctx_free(cx);
    return scratch_remove(state);
}

static void ok(ke_status st)
{
    if (st != KE_OK)
        fail_msg("%s", ke_ctx_message(cx));
}

static void refused(ke_status st, ke_status expected, const char *says)
{
    assert_int_equal(st, expected);
    if (!strstr(ke_ctx_message(cx), says))
        fail_msg("expected \"%s\" in \"%s\"", says, ke_ctx_message(cx));
}

/* One case of ZsRE by one method. */
static const char *write_run(void **state, const char *body)
{
    const char *path = scratch_path(state, "run");
    run_file r = run_file_new(cx, path, "rome", "real", NULL);
    run_file_cases(&r, 0, "zsre", 1);
    run_file_row(&r, 0, 0, 0, "rome", "real", body);
    run_file_end(&r);
    return path;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *data = calloc(1, 1 << 20);
    assert_non_null(data);
    *bytes = fread(data, 1, (1 << 20) - 1, f);
    fclose(f);
    return data;
}

static void every_kind_of_file_is_written(void **state)
{
    static const struct {
        const char *name, *begins, *says;
    } kinds[] = {{"p.svg", "<?xml", "</svg>"},
                 {"p.PNG", "\x89PNG\r\n", "IEND"},
                 {"p.pdf", "%PDF-", "%%EOF"}};
    const char *run = write_run(state, "{\"success\":[1],\"fluency\":5}");
    for (size_t i = 0; i < 3; i++) {
        const char *path = scratch_path(state, kinds[i].name);
        size_t bytes, again;
        ok(ke_report_plot(cx, &run, 1, path, false));
        char *data = read_file(path, &bytes);
        assert_memory_equal(data, kinds[i].begins, strlen(kinds[i].begins));
        assert_non_null(memmem(data, bytes, kinds[i].says, strlen(kinds[i].says)));
        ok(ke_report_plot(cx, &run, 1, path, true));
        char *other = read_file(path, &again);
        /* The same bytes for the same run; but cairo counts surfaces in SVG's names on and
         * on through the life of a process. */
        assert_int_equal(bytes, again);
        if (i > 0)
            assert_memory_equal(data, other, bytes);
        free(data);
        free(other);
    }
}

/* The longest column of pixels of the first method's colour. */
static int tallest(const char *path)
{
    cairo_surface_t *s = cairo_image_surface_create_from_png(path);
    assert_int_equal(cairo_surface_status(s), CAIRO_STATUS_SUCCESS);
    int width = cairo_image_surface_get_width(s),
        height = cairo_image_surface_get_height(s);
    int stride = cairo_image_surface_get_stride(s), most = 0;
    const unsigned char *data = cairo_image_surface_get_data(s);
    for (int x = 0; x < width; x++) {
        int n = 0;
        for (int y = 0; y < height; y++) {
            uint32_t pixel;
            memcpy(&pixel, data + (size_t)y * (size_t)stride + 4 * (size_t)x, 4);
            n += (pixel & 0xffffff) == 0x0073b3; /* (0, 0.45, 0.70) of 255 */
        }
        most = n > most ? n : most;
    }
    cairo_surface_destroy(s);
    return most;
}

/* A panel is 150 points high for 100, and a point is two pixels. */
static void bars_are_as_high_as_means(void **state)
{
    const char *path = scratch_path(state, "p.png");
    const char *run = write_run(state, "{\"success\":[0.5,0.25]}");
    ok(ke_report_plot(cx, &run, 1, path, false));
    assert_in_range(tallest(path), 112, 113); /* 37.5 of 100 */
}

static void nothing_measured_is_no_bar(void **state)
{
    const char *path = scratch_path(state, "p.png");
    const char *run = write_run(state, "{\"success\":[]}");
    ok(ke_report_plot(cx, &run, 1, path, false));
    assert_in_range(tallest(path), 1, 22); /* the legend's square alone */
}

/* Two runs' methods have the runs' names beside them, and a name may hold any bytes. */
static void names_may_be_no_utf8(void **state)
{
    const char *runs[] = {write_run(state, "{\"success\":[1]}"),
                          scratch_path(state, "caf\xe9.sqlite")};
    const char *path = scratch_path(state, "p.svg");
    run_file r = run_file_new(cx, runs[1], "rome", "real", NULL);
    run_file_cases(&r, 0, "zsre", 3); /* not finished: a remark names it too */
    run_file_row(&r, 0, 0, 0, "rome", "real", "{\"success\":[1]}");
    run_file_end(&r);
    ok(ke_report_plot(cx, runs, 2, path, false));
}

static void the_output_is_whole_or_untouched(void **state)
{
    const char *run = write_run(state, "{\"success\":[1]}"), *path;
    const char *none = scratch_path(state, "none");

    refused(ke_report_plot(cx, &run, 1, scratch_path(state, "p.gif"), false), KE_EINVAL,
            ".svg, .png or .pdf");
    refused(ke_report_plot(cx, &run, 1, scratch_path(state, "no/p.svg"), false), KE_EIO,
            "cannot write");
    refused(ke_report_plot(cx, &none, 1, scratch_path(state, "p.svg"), false), KE_ENOENT,
            "none");
    assert_int_equal(scratch_count(state), 1);

    path = scratch_path(state, "p.svg");
    scratch_write(path, "mine", 4);
    refused(ke_report_plot(cx, &run, 1, path, false), KE_EEXIST, "exists");
    size_t bytes;
    char *data = read_file(path, &bytes);
    assert_string_equal(data, "mine");
    free(data);

    const char *svg = scratch_path(state, "run.svg");
    assert_int_equal(rename(run, svg), 0);
    refused(ke_report_plot(cx, &svg, 1, svg, true), KE_EINVAL, "no input is ever written");
}

typedef struct request {
    const char *run, *path;
} request;

static ke_status plot(ke_ctx *c, void *payload)
{
    const request *q = payload;
    return ke_report_plot(c, &q->run, 1, q->path, true);
}

static void memory_may_run_out_anywhere(void **state)
{
    request q = {write_run(state, "{\"success\":[1]}"), scratch_path(state, "p.svg")};
    oom_each(plot, &q);
    assert_int_equal(scratch_count(state), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_kind_of_file_is_written), TEST(bars_are_as_high_as_means),
        TEST(nothing_measured_is_no_bar),    TEST(the_output_is_whole_or_untouched),
        TEST(names_may_be_no_utf8),          TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
