/* From an edited file and its patch back to the file that was edited. */
#include "patch/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

enum { ROWS = 16, COLS = 64, N_WORDS = 3000 };

/* A model of which only the file matters: a vocabulary, and matrices a, b, c in F16, Q8_0
 * and F32, b between two others so that the offset of c depends on it. */
static void create_base(ke_ctx *cx, const char *path)
{
    static float values[ROWS * COLS];
    static uint16_t a[ROWS * COLS];
    static uint8_t b[ROWS * COLS / 32 * 34];
    static char words[N_WORDS][12];
    static const char *list[N_WORDS];
    ke__rng rng = {1};

    for (size_t i = 0; i < ROWS * COLS; i++)
        values[i] = (float)(ke__rng_unit(&rng) - 0.5);
    ke__dtype_named("f16")->from_f32(a, values, ROWS * COLS);
    ke__dtype_named("q8_0")->from_f32(b, values, ROWS * COLS);
    for (size_t i = 0; i < N_WORDS; i++) {
        snprintf(words[i], sizeof words[i], "word%zu", i);
        list[i] = words[i];
    }
    const ke__gguf_new_kv kvs[] = {
        {.key = "general.name", .type = KE__GGUF_STRING, .value.s = "tiny"},
        {.key = "tokens", .type = KE__GGUF_ARRAY, .strings = list, .n = N_WORDS},
        {.key = "last", .type = KE__GGUF_U32, .value.u = 7},
    };
    const ke__gguf_new_tensor tensors[] = {
        {"a", ke__dtype_named("f16"), ROWS, COLS, a},
        {"b", ke__dtype_named("q8_0"), ROWS, COLS, b},
        {"c", ke__dtype_named("f32"), ROWS, COLS, values},
    };
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, kvs, 3, tensors, 3));
}

static void hash_of(ke_ctx *cx, char out[65], const char *path)
{
    ke__map map;

    assert_int_equal(KE_OK, ke__map_open(cx, &map, path));
    assert_int_equal(KE_OK, ke__sha256_of(cx, out, map.data, map.bytes));
    ke__map_close(cx, &map);
}

struct edit {
    const char *base, *edited, *patch;
    const char *tensor, *type; /* NULL: the tensor's own */
    const char *stamp;         /* an item of "knowedit.edits", or NULL */
};

/* The patch of one edit: W += u v, with a way back once the edited file is written. */
static ke_patch *make_edit(ke_ctx *cx, const struct edit *e)
{
    const ke__gguf_stamp stamp = {"knowedit.edits", &e->stamp, 1, true};
    float u[ROWS], v[COLS];
    ke_model model = {0};
    ke_stack *stack = NULL;
    ke_patch *p = NULL;
    ke__merged m;
    ke__model_out out;
    ke__files edited;
    char *path = NULL, meta[256], base_hash[65], hash[65];

    for (size_t i = 0; i < COLS; i++)
        v[i] = (float)i / COLS;
    for (size_t i = 0; i < ROWS; i++)
        u[i] = 1.0F;
    hash_of(cx, base_hash, e->base);
    assert_int_equal(KE_OK, ke__files_open(cx, &model.files, e->base));
    assert_int_equal(KE_OK, ke__gguf_join(cx, &model.file, &model.files));
    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_int_equal(KE_OK,
                     ke__patch_add_lowrank(cx, p, e->tensor, ROWS, COLS, 1, 1, u, v));
    assert_int_equal(KE_OK, ke_stack_new(cx, &stack, &model));
    assert_int_equal(KE_OK, ke_stack_push(cx, stack, p));
    assert_int_equal(
        KE_OK, ke__merge(cx, &m, &model, stack, e->type ? ke__dtype_named(e->type) : NULL));
    assert_int_equal(KE_OK, ke__model_out_open(cx, &out, &model.files, e->edited, true));
    assert_int_equal(
        KE_OK, ke__model_out_write(cx, &out, &model, &m, &stamp, e->stamp ? 1 : 0, hash));
    assert_int_equal(KE_OK, ke__model_out_readable(cx, &out, &path));
    assert_int_equal(KE_OK, ke__files_open(cx, &edited, path));
    assert_int_equal(KE_OK, ke__patch_set_undo(cx, p, &model.files, &edited));
    assert_int_equal(KE_OK, ke__model_out_commit(cx, &out));
    snprintf(meta, sizeof meta, "{\"sha256_base\":\"%s\",\"sha256_output\":\"%s\"}",
             base_hash, hash);
    assert_int_equal(KE_OK, ke__patch_set_meta(cx, p, meta));
    assert_int_equal(KE_OK, ke_patch_save(cx, p, e->patch, true));
    ke__files_close(cx, &edited);
    ke__free(cx, path);
    ke__model_out_close(cx, &out);
    ke__merged_free(cx, &m);
    ke_stack_free(cx, stack);
    ke__gguf_close(cx, &model.file);
    ke__files_close(cx, &model.files);
    return p;
}

static void gives_back_every_kind_of_edit(void **state)
{
    static const char *const tensors[] = {"a", "b", "c"};
    static const char *const types[] = {NULL, "f16", "f32", "q4_0"};
    static const char *const stamps[] = {NULL, "{\"method\":\"rome\"}"};
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *base = scratch_path(state, "base"), *edited = scratch_path(state, "edited"),
               *patch = scratch_path(state, "p"), *back = scratch_path(state, "back");
    char want[65], got[65], said[65];

    create_base(cx, base);
    hash_of(cx, want, base);
    for (size_t i = 0; i < 3 * 4 * 2; i++) {
        const struct edit e = {base,           edited,           patch,
                               tensors[i % 3], types[i / 3 % 4], stamps[i / 12]};
        ke_patch *p = make_edit(cx, &e);
        assert_int_equal(KE_OK, ke_undo(cx, edited, patch, back, true, said));
        hash_of(cx, got, back);
        assert_string_equal(want, got);
        assert_string_equal(want, said);
        /* Fixed head 24, three infos of 1 + 8 + 4 + 16 + 4 + 8 and their padding, and the
         * tensor itself: at most F32. The vocabulary is not in it. */
        assert_true(p->undo.literal_bytes <= 24 + 3 * 41 + 31 + ROWS * COLS * 4);
        assert_true(p->undo.n_pieces <= 12);
        ke_patch_free(cx, p);
    }
    ke_ctx_free(cx);
}

static void keeps_equal_runs_within_a_changed_tensor(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *base = scratch_path(state, "base"), *other = scratch_path(state, "other");
    ke__files a, b;
    ke_patch *p = NULL;

    create_base(cx, base);
    assert_int_equal(KE_OK, ke__files_open(cx, &a, base));
    /* Byte 1000 of the last tensor, F32 and 4096 bytes long, is another one. */
    uint8_t *data = malloc(a.bytes);
    memcpy(data, a.items[0].map.data, a.bytes);
    data[a.bytes - 4096 + 1000] ^= 1;
    scratch_write(other, data, a.bytes);
    free(data);
    assert_int_equal(KE_OK, ke__files_open(cx, &b, other));
    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_int_equal(KE_OK, ke__patch_set_undo(cx, p, &a, &b));
    assert_int_equal(3, p->undo.n_pieces);
    assert_int_equal(a.bytes - 4096 + 1000, p->undo.pieces[0].bytes);
    assert_int_equal(1, p->undo.literal_bytes);
    assert_int_equal(3095, p->undo.pieces[2].bytes);
    ke_patch_free(cx, p);
    ke__files_close(cx, &a);
    ke__files_close(cx, &b);
    ke_ctx_free(cx);
}

static void gives_back_edits_of_edits_one_by_one(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *base = scratch_path(state, "base"), *one = scratch_path(state, "1"),
               *two = scratch_path(state, "2"), *p1 = scratch_path(state, "1p"),
               *p2 = scratch_path(state, "2p"), *back = scratch_path(state, "back");
    const struct edit first = {base, one, p1, "b", "f16", "first"};
    const struct edit second = {one, two, p2, "b", NULL, "second"};
    char want[65], got[65], said[65];

    create_base(cx, base);
    ke_patch_free(cx, make_edit(cx, &first));
    ke_patch_free(cx, make_edit(cx, &second));
    hash_of(cx, want, one);
    assert_int_equal(KE_OK, ke_undo(cx, two, p2, back, false, said));
    hash_of(cx, got, back);
    assert_string_equal(want, got);
    hash_of(cx, want, base);
    assert_int_equal(0, unlink(base));
    assert_int_equal(KE_OK, ke_undo(cx, back, p1, base, false, said));
    hash_of(cx, got, base);
    assert_string_equal(want, got);
    ke_ctx_free(cx);
}

/* Base, edited file and patch of one edit, and no other file. */
static void one_edit(ke_ctx *cx, void **state)
{
    const struct edit e = {scratch_path(state, "base"),
                           scratch_path(state, "edited"),
                           scratch_path(state, "p"),
                           "b",
                           "f16",
                           "note"};

    create_base(cx, e.base);
    ke_patch_free(cx, make_edit(cx, &e));
}

static void refuses_what_does_not_belong(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    one_edit(cx, state);
    const char *base = scratch_path(state, "base"), *edited = scratch_path(state, "edited"),
               *patch = scratch_path(state, "p"), *back = scratch_path(state, "back"),
               *none = scratch_path(state, "none");
    char said[65], hash[65], part[16];

    assert_int_equal(KE_EMISMATCH, ke_undo(cx, base, patch, back, false, said));
    hash_of(cx, hash, base);
    snprintf(part, sizeof part, "%.12s", hash);
    assert_non_null(strstr(ke_ctx_message(cx), part));
    hash_of(cx, hash, edited);
    snprintf(part, sizeof part, "%.12s", hash);
    assert_non_null(strstr(ke_ctx_message(cx), part));
    assert_int_equal(KE_EEXIST, ke_undo(cx, edited, patch, base, false, said));
    assert_int_equal(KE_EINVAL, ke_undo(cx, edited, patch, edited, true, said));
    assert_int_equal(KE_EINVAL, ke_undo(cx, edited, patch, patch, true, said));
    assert_int_equal(KE_EIO, ke_undo(cx, edited, none, back, false, said));
    assert_string_equal(none, ke_ctx_where(cx));
    assert_int_equal(KE_EIO, ke_undo(cx, none, patch, back, false, said));
    assert_int_equal(3, scratch_count(state));
    ke_ctx_free(cx);
}

/* Save the patch after a change to it, and undo. */
static ke_status undo_changed(ke_ctx *cx, void **state,
                              void (*change)(ke_ctx *cx, ke_patch *p))
{
    const char *other = scratch_path(state, "changed");
    ke_patch *p = NULL;
    char said[65];

    assert_int_equal(KE_OK, ke_patch_load(cx, &p, scratch_path(state, "p")));
    change(cx, p);
    assert_int_equal(KE_OK, ke_patch_save(cx, p, other, true));
    ke_patch_free(cx, p);
    return ke_undo(cx, scratch_path(state, "edited"), other, scratch_path(state, "back"),
                   false, said);
}

static void without_pieces(ke_ctx *cx, ke_patch *p)
{
    ke__recipe_free(cx, &p->undo);
}

static void without_hashes(ke_ctx *cx, ke_patch *p)
{
    assert_int_equal(KE_OK, ke__patch_set_meta(cx, p, "{\"sha256_output\":\"7\"}"));
}

static void past_the_end(ke_ctx *cx, ke_patch *p)
{
    (void)cx;
    p->undo.pieces[p->undo.n_pieces - 1].bytes += 1;
}

static void far_past_the_end(ke_ctx *cx, ke_patch *p)
{
    (void)cx;
    p->undo.pieces[0].offset = INT64_MAX;
    p->undo.pieces[0].bytes = INT64_MAX;
}

static void third_source(ke_ctx *cx, ke_patch *p)
{
    (void)cx;
    p->undo.pieces[0].source = 2;
}

/* Nothing but the edited file, again and again. */
static void endless(ke_ctx *cx, ke_patch *p)
{
    enum { TIMES = 1000 };
    uint64_t bytes = p->undo.pieces[p->undo.n_pieces - 1].bytes;

    assert_int_equal(KE_OK, ke__resize(cx, &p->undo.pieces, TIMES, sizeof *p->undo.pieces));
    for (size_t i = 0; i < TIMES; i++)
        p->undo.pieces[i] = (ke__piece){1, 0, bytes};
    p->undo.n_pieces = TIMES;
}

static void other_bytes(ke_ctx *cx, ke_patch *p)
{
    (void)cx;
    p->undo.literal[30] ^= 1;
}

static void refuses_a_way_back_that_leads_elsewhere(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);

    one_edit(cx, state);
    assert_int_equal(KE_EINVAL, undo_changed(cx, state, without_pieces));
    assert_non_null(strstr(ke_ctx_message(cx), "never merged"));
    assert_int_equal(KE_EFORMAT, undo_changed(cx, state, without_hashes));
    assert_non_null(strstr(ke_ctx_message(cx), "sha256_output"));
    assert_int_equal(KE_EFORMAT, undo_changed(cx, state, past_the_end));
    assert_int_equal(KE_EFORMAT, undo_changed(cx, state, far_past_the_end));
    assert_int_equal(KE_EFORMAT, undo_changed(cx, state, third_source));
    assert_int_equal(KE_EFORMAT, undo_changed(cx, state, endless));
    assert_non_null(strstr(ke_ctx_message(cx), "more than"));
    assert_int_equal(KE_EMISMATCH, undo_changed(cx, state, other_bytes));
    assert_int_equal(4, scratch_count(state)); /* base, edited, p, changed */
    ke_ctx_free(cx);
}

/* A run that was killed while it replaced both files: the edited file is the old one. */
static void falls_back_on_the_previous_patch(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    one_edit(cx, state);
    const char *edited = scratch_path(state, "edited"), *patch = scratch_path(state, "p"),
               *prev = scratch_path(state, "p.prev"), *back = scratch_path(state, "back");
    const struct edit newer = {
        scratch_path(state, "base"), scratch_path(state, "newer"), patch, "a", NULL, NULL};
    char want[65], said[65];

    hash_of(cx, want, newer.base);
    assert_int_equal(0, rename(patch, prev));
    assert_int_equal(KE_OK,
                     ke_undo(cx, edited, patch, back, false, said)); /* not there yet */
    assert_string_equal(want, said);
    ke_patch_free(cx, make_edit(cx, &newer));
    assert_int_equal(KE_OK, ke_undo(cx, edited, patch, back, true, said));
    assert_string_equal(want, said);
    assert_int_equal(KE_OK, ke_undo(cx, newer.edited, patch, back, true, said));
    /* Neither belongs to the base: the patch that was named is spoken of. */
    assert_int_equal(KE_EMISMATCH, ke_undo(cx, newer.base, patch, back, true, said));
    assert_string_equal(patch, ke_ctx_where(cx));
    ke_ctx_free(cx);
}

static ke_status undo_all(ke_ctx *cx, void *payload)
{
    const char *const *paths = payload;
    char said[65];

    return ke_undo(cx, paths[0], paths[1], paths[2], true, said);
}

static ke_status record(ke_ctx *cx, void *payload)
{
    ke_status st = KE_OK;
    const char *const *paths = payload;
    ke_patch *p = NULL;
    ke__files base = {0}, edited = {0};

    KE_TRY(ke__files_open(cx, &base, paths[3]));
    KE_TRY(ke__files_open(cx, &edited, paths[0]));
    KE_TRY(ke__patch_new(cx, &p));
    KE_TRY(ke__patch_set_undo(cx, p, &base, &edited));
done:
    ke_patch_free(cx, p);
    ke__files_close(cx, &base);
    ke__files_close(cx, &edited);
    return st;
}

static void survives_allocation_failures(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *paths[4] = {scratch_path(state, "edited"), scratch_path(state, "p"),
                            scratch_path(state, "back"), scratch_path(state, "base")};

    one_edit(cx, state);
    ke_ctx_free(cx);
    oom_each(undo_all, paths);
    oom_each(record, paths);
    assert_int_equal(4, scratch_count(state));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_back_every_kind_of_edit),
        TEST(keeps_equal_runs_within_a_changed_tensor),
        TEST(gives_back_edits_of_edits_one_by_one),
        TEST(refuses_what_does_not_belong),
        TEST(refuses_a_way_back_that_leads_elsewhere),
        TEST(falls_back_on_the_previous_patch),
        TEST(survives_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
