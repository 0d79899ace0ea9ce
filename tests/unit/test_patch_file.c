/* Patch files: the documented layout, and files that are damaged or hostile. */
#include "patch/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/oom.h"
#include "support/scratch.h"

static const float u[2] = {1, 2}, v[3] = {3, 4, 5}, delta[4] = {1, 2, 3, 4};

static void put_u32(ke__text *t, ke_ctx *cx, uint32_t x)
{
    assert_int_equal(KE_OK, ke__text_add(cx, t, (const char *)&x, sizeof x));
}

static void put_u64(ke__text *t, ke_ctx *cx, uint64_t x)
{
    assert_int_equal(KE_OK, ke__text_add(cx, t, (const char *)&x, sizeof x));
}

static void put_hash(ke__text *t, ke_ctx *cx)
{
    char hex[65];

    assert_int_equal(KE_OK, ke__sha256_of(cx, hex, t->data, t->bytes));
    assert_int_equal(KE_OK, ke__text_add(cx, t, hex, 64));
}

/* A file as docs/patch-format.md lays it out, whatever its header says. */
static ke__text file_of(ke_ctx *cx, const char *header, const void *payload, size_t bytes)
{
    ke__text t = {0};

    assert_int_equal(KE_OK, ke__text_add(cx, &t, "KEPATCH\n", 8));
    put_u32(&t, cx, 1);
    put_u32(&t, cx, 0);
    put_u64(&t, cx, strlen(header));
    put_u64(&t, cx, bytes);
    assert_int_equal(KE_OK, ke__text_add(cx, &t, header, strlen(header)));
    assert_int_equal(KE_OK, ke__text_add(cx, &t, payload, bytes));
    put_hash(&t, cx);
    return t;
}

static ke_status parse(ke_ctx *cx, ke_patch **out, const ke__text *t)
{
    return ke__patch_parse(cx, out, "p", (const uint8_t *)t->data, t->bytes);
}

static void reads_a_file_written_by_the_document(void **state)
{
    static const char header[] =
        "{\"meta\":{\"method\":\"rome\",\"note\":\"caf\\u00e9\"},\"parts\":["
        "{\"kind\":\"lowrank\",\"tensor\":\"t.weight\",\"rows\":2,\"cols\":3,\"rank\":1,"
        "\"scale\":0.25,\"u\":0,\"v\":8},"
        "{\"kind\":\"dense\",\"tensor\":\"d\",\"rows\":1,\"cols\":1,\"delta\":20}],"
        "\"undo\":{\"pieces\":[[1,100,7],[0,0,3]],\"literal_bytes\":3,\"literal\":24}}";
    /* 1, 2; 3, 4, 5; 6 in IEEE single, little-endian, then the literal. */
    static const uint8_t payload[27] = {
        0,    0,    0x80, 0x3f, 0,    0,    0, 0x40, 0,    0,    0x40, 0x40, 0,  0,
        0x80, 0x40, 0,    0,    0xa0, 0x40, 0, 0,    0xc0, 0x40, 'a',  'b',  'c'};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__text t = file_of(cx, header, payload, sizeof payload);
    ke_patch *p = NULL;
    (void)state;

    assert_int_equal(KE_OK, parse(cx, &p, &t));
    assert_int_equal(2, p->n_parts);
    assert_int_equal(KE__PART_LOWRANK, p->parts[0].kind);
    assert_string_equal("t.weight", p->parts[0].tensor);
    assert_int_equal(1, p->parts[0].rank);
    assert_true(p->parts[0].scale == 0.25F);
    assert_memory_equal(u, p->parts[0].u, sizeof u);
    assert_memory_equal(v, p->parts[0].v, sizeof v);
    assert_int_equal(KE__PART_DENSE, p->parts[1].kind);
    assert_true(p->parts[1].delta[0] == 6.0F);
    assert_int_equal(2, p->undo.n_pieces);
    assert_int_equal(1, p->undo.pieces[0].source);
    assert_int_equal(100, p->undo.pieces[0].offset);
    assert_int_equal(7, p->undo.pieces[0].bytes);
    assert_int_equal(3, p->undo.literal_bytes);
    assert_memory_equal("abc", p->undo.literal, 3);
    assert_non_null(strstr(ke_patch_describe(p), "\"note\":\"caf\xc3\xa9\""));
    ke_patch_free(cx, p);
    ke__free(cx, t.data);
    ke_ctx_free(cx);
}

static ke_patch *full_patch(ke_ctx *cx)
{
    ke_patch *p = NULL;

    assert_int_equal(KE_OK, ke__patch_new(cx, &p));
    assert_int_equal(KE_OK, ke__patch_set_meta(cx, p, "{\"pi\":3.14,\"seed\":7}"));
    assert_int_equal(KE_OK, ke__patch_add_lowrank(cx, p, "a", 2, 3, 1, 0.1F, u, v));
    assert_int_equal(KE_OK, ke__patch_add_dense(cx, p, "b", 2, 2, delta));
    assert_int_equal(KE_OK, ke__alloc(cx, &p->undo.pieces, 2, sizeof *p->undo.pieces));
    assert_int_equal(KE_OK, ke__alloc(cx, &p->undo.literal, 5, 1));
    p->undo.pieces[0] = (ke__piece){0, 0, 5};
    p->undo.pieces[1] = (ke__piece){1, 9, 1};
    p->undo.n_pieces = 2;
    p->undo.literal_bytes = 5;
    return p;
}

static char *slurp(ke_ctx *cx, const char *path, size_t *bytes)
{
    char *data = NULL;

    assert_int_equal(KE_OK, ke__file_read(cx, &data, bytes, path, 1 << 20));
    return data;
}

static void comes_back_as_it_was(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = full_patch(cx), *q = NULL;
    const char *one = scratch_path(state, "1.kepatch"),
               *two = scratch_path(state, "2.kepatch");
    size_t n_one, n_two;

    assert_int_equal(KE_OK, ke_patch_save(cx, p, one, false));
    assert_int_equal(KE_OK, ke_patch_load(cx, &q, one));
    assert_int_equal(KE_OK, ke_patch_save(cx, q, two, false));
    assert_string_equal(ke_patch_describe(p), ke_patch_describe(q));
    assert_true(q->parts[0].scale == 0.1F);
    assert_memory_equal(p->undo.pieces, q->undo.pieces, 2 * sizeof *p->undo.pieces);
    char *a = slurp(cx, one, &n_one), *b = slurp(cx, two, &n_two), hex[65];
    assert_int_equal(n_one, n_two);
    assert_memory_equal(a, b, n_one);
    assert_int_equal(KE_OK, ke__sha256_of(cx, hex, a, n_one - 64));
    assert_memory_equal(hex, a + n_one - 64, 64);
    ke__free(cx, a);
    ke__free(cx, b);
    ke_patch_free(cx, p);
    ke_patch_free(cx, q);
    ke_ctx_free(cx);
}

static void replaces_a_file_only_by_force(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = full_patch(cx);
    const char *path = scratch_path(state, "p");

    scratch_write(path, "mine", 4);
    assert_int_equal(KE_EEXIST, ke_patch_save(cx, p, path, false));
    assert_int_equal(KE_OK, ke_patch_save(cx, p, path, true));
    assert_int_equal(1, scratch_count(state));
    ke_patch_free(cx, p);
    assert_int_equal(KE_EIO, ke_patch_load(cx, &p, scratch_path(state, "none")));
    assert_null(p);
    ke_ctx_free(cx);
}

/* Every prefix of a file, and every bit of it turned. */
static void tells_damage(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = full_patch(cx);
    const char *path = scratch_path(state, "p");
    size_t bytes;

    assert_int_equal(KE_OK, ke_patch_save(cx, p, path, false));
    ke_patch_free(cx, p);
    char *data = slurp(cx, path, &bytes);
    for (size_t n = 0; n < bytes; n++) {
        char *part = malloc(n + 1); /* its own block, so that sanitizers see its end */
        memcpy(part, data, n);
        assert_int_equal(KE_EFORMAT,
                         ke__patch_parse(cx, &p, "p", (const uint8_t *)part, n));
        assert_null(p);
        free(part);
    }
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        data[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(KE_EFORMAT,
                         ke__patch_parse(cx, &p, "p", (const uint8_t *)data, bytes));
        if (bit >= 64)
            assert_string_equal("checksum differs: the file is damaged",
                                ke_ctx_message(cx));
        data[bit / 8] ^= (char)(1 << bit % 8);
    }
    ke__free(cx, data);
    ke_ctx_free(cx);
}

#define PART(rest)                                                                         \
    "{\"meta\":{},\"parts\":[{\"kind\":\"lowrank\",\"tensor\":\"t\"," rest "}]}"
#define UNDO(rest) "{\"meta\":{},\"parts\":[],\"undo\":{" rest "}}"
static const struct {
    const char *header, *message;
} hostile[] = {
    {"", "header, byte"},
    {"[]", "\"meta\" and \"parts\""},
    {"{\"meta\":{}}", "\"meta\" and \"parts\""},
    {"{\"meta\":[],\"parts\":[]}", "\"meta\" and \"parts\""},
    {"{\"meta\":{},\"parts\":[7]}", "part 0"},
    {"{\"meta\":{},\"parts\":[{\"kind\":\"wave\",\"tensor\":\"t\"}]}", "part 0"},
    {"{\"meta\":{},\"parts\":[{\"kind\":\"dense\",\"tensor\":7}]}", "part 0"},
    {"{\"meta\":{},\"parts\":[]}", "0 of 20 bytes"},
    {PART("\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"), "\"rows\""},
    {PART("\"rows\":0,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"), "\"rows\""},
    {PART("\"rows\":-2,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"), "\"rows\""},
    {PART("\"rows\":2.0,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"), "\"rows\""},
    {PART("\"rows\":2,\"cols\":3,\"rank\":4294967296,\"scale\":1,\"u\":0,\"v\":8"),
     "\"rank\""},
    {PART("\"rows\":2,\"cols\":3,\"rank\":1,\"u\":0,\"v\":8"), "\"scale\""},
    {PART("\"rows\":2,\"cols\":3,\"rank\":1,\"scale\":1e39,\"u\":0,\"v\":8"), "\"scale\""},
    {PART("\"rows\":2,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":1,\"v\":8"), "\"u\""},
    {PART("\"rows\":2,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":0"), "\"v\""},
    {PART("\"rows\":2,\"cols\":4,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"),
     "needs 16 bytes"},
    {PART(
         "\"rows\":4611686018427387905,\"cols\":3,\"rank\":4,\"scale\":1,\"u\":0,\"v\":16"),
     "too many"},
    {PART("\"rows\":9223372036854775807,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"),
     "too many"},
    {PART("\"rows\":1152921504606846976,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8"),
     "needs 4611686018427387904 bytes"},
    {UNDO("\"pieces\":[],\"literal_bytes\":20,\"literal\":0"), "no pieces"},
    {UNDO("\"literal_bytes\":20,\"literal\":0"), "no pieces"},
    {UNDO("\"pieces\":[[1,2]],\"literal_bytes\":20,\"literal\":0"), "undo piece"},
    {UNDO("\"pieces\":[[1,2,-3]],\"literal_bytes\":20,\"literal\":0"), "undo piece"},
    {UNDO("\"pieces\":[[1,2,3,4]],\"literal_bytes\":20,\"literal\":0"), "undo piece"},
    {UNDO("\"pieces\":[[1,2,3]],\"literal_bytes\":21,\"literal\":0"), "\"literal_bytes\""},
    {UNDO("\"pieces\":[[1,2,3]],\"literal_bytes\":19,\"literal\":0"), "19 of 20 bytes"},
    {UNDO("\"pieces\":[[1,2,3]],\"literal_bytes\":20,\"literal\":4"), "\"literal\""},
};

static void refuses_hostile_headers(void **state)
{
    const float payload[5] = {1, 2, 3, 4, 5};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = NULL;
    (void)state;

    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        ke__text t = file_of(cx, hostile[i].header, payload, sizeof payload);
        assert_int_equal(KE_EFORMAT, parse(cx, &p, &t));
        assert_null(p);
        if (!strstr(ke_ctx_message(cx), hostile[i].message))
            fail_msg("%s: \"%s\" has no \"%s\"", hostile[i].header, ke_ctx_message(cx),
                     hostile[i].message);
        ke__free(cx, t.data);
    }
    ke_ctx_free(cx);
}

static void refuses_numbers_that_are_none(void **state)
{
    static const char header[] =
        PART("\"rows\":2,\"cols\":3,\"rank\":1,\"scale\":1,\"u\":0,\"v\":8");
    const uint32_t payload[5] = {0x3f800000, 0x7fc00000, 0, 0, 0}; /* 1, NaN, 0, 0, 0 */
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = NULL;
    (void)state;

    ke__text t = file_of(cx, header, payload, sizeof payload);
    assert_int_equal(KE_EFORMAT, parse(cx, &p, &t));
    assert_string_equal("\"u\": number 1 of 2 is not finite", ke_ctx_message(cx));
    ke__free(cx, t.data);
    ke_ctx_free(cx);
}

/* Lengths in the prefix, each in a file whose checksum is right. */
static void checks_lengths_and_version(void **state)
{
    static const struct {
        uint32_t version;
        uint64_t header_bytes, payload_bytes;
        ke_status st;
    } cases[] = {
        {1, 23, 0, KE_OK},
        {2, 23, 0, KE_ENOTSUP},
        {1, 24, 0, KE_EFORMAT},
        {1, 22, 0, KE_EFORMAT},
        {1, 22, 1, KE_EFORMAT},
        {1, 23, 1, KE_EFORMAT},
        {1, UINT64_MAX, 24, KE_EFORMAT},
        {1, 24, UINT64_MAX, KE_EFORMAT},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke__text t = {0};
        ke_patch *p = NULL;
        assert_int_equal(KE_OK, ke__text_add(cx, &t, "KEPATCH\n", 8));
        put_u32(&t, cx, cases[i].version);
        put_u32(&t, cx, 0);
        put_u64(&t, cx, cases[i].header_bytes);
        put_u64(&t, cx, cases[i].payload_bytes);
        assert_int_equal(KE_OK, ke__text_add(cx, &t, "{\"meta\":{},\"parts\":[]} ", 23));
        put_hash(&t, cx);
        assert_int_equal(cases[i].st, parse(cx, &p, &t));
        ke_patch_free(cx, p);
        ke__free(cx, t.data);
    }
    ke_ctx_free(cx);
}

static void limits_depth(void **state)
{
    enum { DEPTH = 100000 };
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = NULL;
    char *header = malloc(DEPTH + 1);
    (void)state;

    memset(header, '[', DEPTH);
    header[DEPTH] = '\0';
    ke__text t = file_of(cx, header, "", 0);
    assert_int_equal(KE_EFORMAT, parse(cx, &p, &t));
    ke__free(cx, t.data);
    free(header);
    ke_ctx_free(cx);
}

static ke_status load_and_save(ke_ctx *cx, void *payload)
{
    ke_status st = KE_OK;
    ke_patch *p = NULL;
    const char *const *paths = payload;

    KE_TRY(ke_patch_load(cx, &p, paths[0]));
    KE_TRY(ke_patch_save(cx, p, paths[1], true));
done:
    ke_patch_free(cx, p);
    return st;
}

static void survives_allocation_failures(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_patch *p = full_patch(cx);
    const char *paths[2] = {scratch_path(state, "1"), scratch_path(state, "2")};

    assert_int_equal(KE_OK, ke_patch_save(cx, p, paths[0], false));
    ke_patch_free(cx, p);
    ke_ctx_free(cx);
    oom_each(load_and_save, paths);
    assert_int_equal(2, scratch_count(state)); /* no half-written file is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_file_written_by_the_document),
        cmocka_unit_test_setup_teardown(comes_back_as_it_was, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(replaces_a_file_only_by_force, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(tells_damage, scratch_make, scratch_remove),
        cmocka_unit_test(refuses_hostile_headers),
        cmocka_unit_test(refuses_numbers_that_are_none),
        cmocka_unit_test(checks_lengths_and_version),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test_setup_teardown(survives_allocation_failures, scratch_make,
                                        scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
