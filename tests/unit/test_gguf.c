#include "format/gguf.h"
#include "support/oom.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A file of a few hundred bytes, made field by field, with the places that tests damage. */
typedef struct sample {
    uint8_t data[2048];
    size_t bytes;
    size_t name, name_type, name_value; /* key 0: general.name, a string */
    size_t alignment;                   /* key 1: the key; its type and value follow */
    size_t list;                        /* key 2: an array of three u32 */
    size_t words;                       /* key 3: an array of two strings */
    size_t flag;                        /* key 4: a bool, the last key */
    size_t a, b;                        /* tensor infos: name's length first */
    size_t data_start;
} sample;

static void add(sample *s, const void *data, size_t bytes)
{
    assert_true(s->bytes + bytes <= sizeof s->data);
    memcpy(s->data + s->bytes, data, bytes);
    s->bytes += bytes;
}
static void add_u32(sample *s, uint32_t value)
{
    add(s, &value, 4);
}
static void add_u64(sample *s, uint64_t value)
{
    add(s, &value, 8);
}
static void add_text(sample *s, const char *text)
{
    add_u64(s, strlen(text));
    add(s, text, strlen(text));
}
static void add_padding(sample *s)
{
    while (s->bytes % 32)
        add(s, "", 1);
}

static void add_keys(sample *s)
{
    s->name = s->bytes;
    add_text(s, "general.name");
    s->name_type = s->bytes;
    add_u32(s, KE__GGUF_STRING);
    s->name_value = s->bytes;
    add_text(s, "Sample");
    s->alignment = s->bytes;
    add_text(s, "general.alignment");
    add_u32(s, KE__GGUF_U32);
    add_u32(s, 32);
    s->list = s->bytes;
    add_text(s, "list");
    add_u32(s, KE__GGUF_ARRAY);
    add_u32(s, KE__GGUF_U32);
    add_u64(s, 3);
    for (uint32_t i = 0; i < 3; i++)
        add_u32(s, 10 + i);
    s->words = s->bytes;
    add_text(s, "words");
    add_u32(s, KE__GGUF_ARRAY);
    add_u32(s, KE__GGUF_STRING);
    add_u64(s, 2);
    add_text(s, "one");
    add_text(s, "two");
    s->flag = s->bytes;
    add_text(s, "flag");
    add_u32(s, KE__GGUF_BOOL);
    add(s, "\1", 1);
}

/* "a" is f32 [3, 2] and lies second; "b" is q8_0 [64] and lies first; between them is a gap
 * of 32 bytes that no tensor owns. */
static sample make_sample(void)
{
    sample s = {0};
    add(&s, "GGUF", 4);
    add_u32(&s, 3);
    add_u64(&s, 2);
    add_u64(&s, 5);
    add_keys(&s);
    s.a = s.bytes;
    add_text(&s, "a");
    add_u32(&s, 2);
    add_u64(&s, 2);
    add_u64(&s, 3);
    add_u32(&s, KE__F32);
    add_u64(&s, 128);
    s.b = s.bytes;
    add_text(&s, "b");
    add_u32(&s, 1);
    add_u64(&s, 64);
    add_u32(&s, KE__Q8_0);
    add_u64(&s, 0);
    add_padding(&s);
    s.data_start = s.bytes;
    for (int i = 0; i < 128; i++)
        add(&s, "\x5a", 1);
    for (int i = 0; i < 6; i++)
        add(&s, &(float){(float)i}, 4);
    return s;
}

/* Parse exactly these bytes: what a sanitizer guards to the byte. */
static ke_status parse(ke_ctx *cx, ke__gguf *g, const sample *s)
{
    uint8_t *copy = malloc(s->bytes ? s->bytes : 1);
    assert_non_null(copy);
    memcpy(copy, s->data, s->bytes);
    *g = (ke__gguf){.map = {.data = copy, .bytes = s->bytes}};
    return ke__gguf_parse(cx, g);
}

static void done(ke_ctx *cx, ke__gguf *g)
{
    uint8_t *copy = (uint8_t *)(uintptr_t)g->map.data;
    ke__gguf_close(cx, g);
    assert_int_equal(0, cx->live_bytes);
    free(copy);
}

static void a_good_file_is_read(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    sample s = make_sample();
    ke__gguf g;
    assert_int_equal(KE_OK, parse(cx, &g, &s));
    assert_int_equal(3, g.version);
    assert_int_equal(32, g.alignment);
    assert_int_equal(5, g.n_kvs);
    assert_int_equal(2, g.n_tensors);
    assert_int_equal(s.a, g.infos_offset);
    assert_int_equal(s.data_start, g.data_offset);

    const ke__gguf_kv *kv = ke__gguf_find(&g, "list");
    assert_int_equal(KE__GGUF_ARRAY, kv->type);
    assert_int_equal(KE__GGUF_U32, kv->item);
    assert_int_equal(3, kv->n);
    assert_int_equal(10, kv->value[0]);
    assert_int_equal(s.list, kv->offset);
    assert_int_equal(s.words - s.list, kv->bytes);
    assert_null(ke__gguf_find(&g, "lis"));
    assert_null(ke__gguf_find(&g, "list2"));

    const uint8_t *cursor = ke__gguf_find(&g, "words")->value;
    assert_memory_equal("one", ke__gguf_next_string(&cursor).data, 3);
    ke__gguf_str two = ke__gguf_next_string(&cursor);
    assert_int_equal(3, two.bytes);
    assert_memory_equal("two", two.data, 3);

    const ke__tensor *a = &g.tensors[ke__gguf_tensor(&g, "a")];
    assert_string_equal("a", a->name);
    assert_string_equal("f32", a->type->name);
    assert_int_equal(3, a->rows);
    assert_int_equal(2, a->cols);
    assert_int_equal(24, a->bytes);
    assert_int_equal(s.data_start + 128, a->offset);
    assert_ptr_equal(g.map.data + a->offset, a->data);
    const ke__tensor *b = &g.tensors[ke__gguf_tensor(&g, "b")];
    assert_int_equal(1, b->rows);
    assert_int_equal(64, b->cols);
    assert_int_equal(68, b->bytes);
    assert_int_equal(-1, ke__gguf_tensor(&g, "c"));
    assert_int_equal(1, g.by_offset[0]);
    done(cx, &g);
    ke_ctx_free(cx);
}

/* --- hostile files ----------------------------------------------------------------------
 */

/* Bytes written over the sample at `at`, which is counted from the place `from`. */
#define NO_PLACE SIZE_MAX
typedef struct damage {
    size_t from; /* offset in struct sample of the place; NO_PLACE: from the file's start */
    size_t at;
    uint64_t value;
    size_t bytes; /* of value, little-endian */
    const char *says;
} damage;
#define PLACE(field) offsetof(sample, field)

static const damage damages[] = {
    {NO_PLACE, 0, 'X', 1, "does not begin with \"GGUF\""},
    {NO_PLACE, 4, 99, 4, "GGUF version 99, 2 or 3 expected"},
    {NO_PLACE, 4, 0, 4, "GGUF version 0,"},
    {NO_PLACE, 4, 1, 4, "GGUF version 1,"},
    {NO_PLACE, 4, 0x03000000, 4, "GGUF version 3 in big-endian order"},
    {NO_PLACE, 8, UINT64_MAX, 8, "18446744073709551615 tensors announced"},
    {NO_PLACE, 8, 1000, 8, "1000 tensors announced"},
    {NO_PLACE, 8, (1 << 20) + 1, 8, "1048577 tensors announced, at most 1048576"},
    {NO_PLACE, 16, (1 << 20) + 1, 8, "1048577 keys announced, at most 1048576"},
    {NO_PLACE, 8, 3, 8, "tensor 2 at byte"},
    {NO_PLACE, 16, UINT64_MAX, 8, "18446744073709551615 keys announced"},
    {NO_PLACE, 16, 1000, 8, "1000 keys announced"},
    {NO_PLACE, 16, 4, 8, "dimensions"}, /* the fifth key read as a tensor */
    {PLACE(name), 0, UINT64_MAX, 8, "key of 18446744073709551615 bytes"},
    {PLACE(name), 0, 0, 8, "key 0 at byte 32: key of 0 bytes, 1 to 65535 expected"},
    {PLACE(name), 0, (uint64_t)1 << 63, 8, "key of 9223372036854775808 bytes"},
    {PLACE(name), 8, 0xFF, 1, "key is not UTF-8 at its byte 0"},
    {PLACE(name), 11, 0, 1, "key contains a NUL byte"},
    {PLACE(name_type), 0, 13, 4, "value type 13, 0 to 12 expected"},
    {PLACE(name_type), 0, UINT32_MAX, 4, "value type 4294967295"},
    {PLACE(name_value), 0, UINT64_MAX, 8, "string of 18446744073709551615 bytes, but"},
    {PLACE(name_value), 0, 5000, 8, "string of 5000 bytes, but"},
    {PLACE(alignment), 25, KE__GGUF_F32, 4, "general.alignment of type 6"},
    {PLACE(alignment), 29, 0, 4, "general.alignment of type 4 and value 0"},
    {PLACE(alignment), 29, 4, 4, "value 4, a u32 that is a power of two"},
    {PLACE(alignment), 29, 48, 4, "and value 48"},
    {PLACE(alignment), 29, UINT32_MAX, 4, "value 4294967295"},
    {PLACE(alignment), 29, 0x80000000, 4, "a multiple of 2147483648 expected"},
    {PLACE(alignment), 29, 4096, 4, "multiple of 4096"},
    {PLACE(list), 16, 13, 4, "array item type 13"},
    {PLACE(list), 16, KE__GGUF_ARRAY, 4, "array of arrays"},
    {PLACE(list), 20, UINT64_MAX, 8, "array of 18446744073709551615 items, more than any"},
    {PLACE(list), 20, UINT64_MAX / 4, 8, "array of 18446744073709551612 bytes, but"},
    {PLACE(list), 20, 1000, 8, "array of 4000 bytes, but"},
    {PLACE(words), 21, UINT64_MAX, 8, "array of 18446744073709551615 strings, but"},
    {PLACE(words), 21, 30, 8, "string in an array of"},
    {PLACE(words), 29, UINT64_MAX - 7, 8,
     "string in an array of 18446744073709551608 bytes"},
    {PLACE(flag), 8, 0x7473696C, 4, "the key 'list' occurs twice"},
    {PLACE(a), 0, 0, 8, "tensor name of 0 bytes, 1 to 255 expected"},
    {PLACE(a), 8, 0x80, 1, "tensor name is not UTF-8"},
    {PLACE(a), 8, 0, 1, "tensor name contains a NUL byte"},
    {PLACE(a), 9, 0, 4, "'a' has 0 dimensions, 1 to 4 expected"},
    {PLACE(a), 9, 5, 4, "'a' has 5 dimensions"},
    {PLACE(a), 13, 0, 8, "'a' has dimension 0 of size 0"},
    {PLACE(a), 21, 0, 8, "'a' has dimension 1 of size 0"},
    {PLACE(a), 13, UINT64_MAX, 8, "'a' has more bytes than any file holds"},
    {PLACE(a), 21, UINT64_MAX / 2, 8, "'a' has more bytes than any file holds"},
    {PLACE(a), 29, 4, 4, "'a' has the unknown element type 4"},
    {PLACE(a), 29, UINT32_MAX, 4, "unknown element type 4294967295"},
    {PLACE(a), 29, KE__Q4_1, 4,
     "'a' has rows of 2 elements, a multiple of 32 expected for q4_1"},
    {PLACE(a), 29, KE__Q5_0, 4, "a multiple of 32 expected for q5_0"},
    {PLACE(a), 29, KE__Q4_K, 4, "a multiple of 256 expected for q4_k"},
    {PLACE(a), 33, 8, 8, "'a' has offset 8, a multiple of 32 expected"},
    {PLACE(a), 33, 160, 8, "tensor 'a' has 24 bytes at offset 160 of the data"},
    {PLACE(a), 33, (uint64_t)-32, 8,
     "tensor 'a' has 24 bytes at offset 18446744073709551584"},
    {PLACE(a), 33, 64, 8, "tensors 'b' and 'a' overlap"},
    {PLACE(a), 33, 0, 8, "overlap"},
    {PLACE(a), 21, 4, 8, "cut short or damaged"},
    {PLACE(b), 8, 'a', 1, "the tensor 'a' occurs twice"},
    {PLACE(b), 13, 65, 8, "rows of 65 elements"},
};

static void every_damage_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const damage *d = &damages[i];
        ke_ctx *cx = ke_ctx_new(NULL);
        sample s = make_sample();
        size_t from = 0;
        ke__gguf g;
        if (d->from != NO_PLACE)
            memcpy(&from, (char *)&s + d->from, sizeof from);
        memcpy(s.data + from + d->at, &d->value, d->bytes);
        ke_status st = parse(cx, &g, &s);
        if (st != KE_EFORMAT || !strstr(ke_ctx_message(cx), d->says))
            fail_msg("damage %zu gives %s \"%s\", \"%s\" expected", i, ke_status_name(st),
                     ke_ctx_message(cx), d->says);
        done(cx, &g);
        ke_ctx_free(cx);
    }
}

static void rows_that_overflow_are_named(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    sample s = {0};
    ke__gguf g;
    add(&s, "GGUF", 4);
    add_u32(&s, 2);
    add_u64(&s, 1);
    add_u64(&s, 0);
    add_text(&s, "x");
    add_u32(&s, 3);
    add_u64(&s, 1);
    add_u64(&s, (uint64_t)1 << 32);
    add_u64(&s, (uint64_t)1 << 32);
    add_u32(&s, KE__F32);
    add_u64(&s, 0);
    add_padding(&s);
    assert_int_equal(KE_EFORMAT, parse(cx, &g, &s));
    assert_non_null(strstr(ke_ctx_message(cx), "'x' has more rows than any file holds"));
    done(cx, &g);
    ke_ctx_free(cx);
}

static void a_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    sample s = make_sample();
    size_t infos_end = s.b + 8 + 1 + 4 + 8 + 4 + 8;
    assert_true(infos_end < s.data_start);
    while (s.bytes-- > 0) {
        ke__gguf g;
        assert_int_equal(KE_EFORMAT, parse(cx, &g, &s));
        if (s.bytes >= infos_end && s.bytes < s.data_start)
            assert_non_null(strstr(ke_ctx_message(cx), "before its tensor data"));
        assert_true(strlen(ke_ctx_message(cx)) > 10);
        done(cx, &g);
    }
    ke_ctx_free(cx);
}

/* No bit flip ends otherwise than in a result or a message. */
static void any_flipped_bit_is_survived(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t bit = 0; bit < 8 * make_sample().data_start; bit++) {
        sample s = make_sample();
        ke__gguf g;
        s.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ke_status st = parse(cx, &g, &s);
        assert_true(st == KE_OK || st == KE_EFORMAT);
        done(cx, &g);
    }
    ke_ctx_free(cx);
}

static void names_may_have_255_bytes(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    char name[257];
    for (size_t bytes = 255; bytes <= 256; bytes++) {
        sample s = {0};
        ke__gguf g;
        memset(name, 'n', bytes);
        name[bytes] = '\0';
        add(&s, "GGUF", 4);
        add_u32(&s, 2);
        add_u64(&s, 1);
        add_u64(&s, 0);
        add_text(&s, name);
        add_u32(&s, 1);
        add_u64(&s, 1);
        add_u32(&s, KE__F32);
        add_u64(&s, 0);
        add_padding(&s);
        add_u32(&s, 0);
        assert_int_equal(bytes == 255 ? KE_OK : KE_EFORMAT, parse(cx, &g, &s));
        done(cx, &g);
    }
    ke_ctx_free(cx);
}

static void a_file_without_tensors_need_not_be_padded(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    sample s = {0};
    ke__gguf g;
    add(&s, "GGUF", 4);
    add_u32(&s, 3);
    add_u64(&s, 0);
    add_u64(&s, 0);
    assert_int_equal(KE_OK, parse(cx, &g, &s));
    assert_int_equal(24, g.data_offset);
    assert_int_equal(-1, ke__gguf_tensor(&g, "a"));
    assert_null(ke__gguf_find(&g, ""));
    done(cx, &g);
    ke_ctx_free(cx);
}

/* --- getters
 * ------------------------------------------------------------------------------ */

static const char *const words[] = {"alpha", "", "\xc3\xa9t\xc3\xa9"};
static const float floats[] = {0.5f, -2};
static const int32_t ints[] = {1, -1, 7};
static const ke__gguf_new_kv new_kvs[] = {
    {.key = "u8", .type = KE__GGUF_U8, .value.u = 200},
    {.key = "i8", .type = KE__GGUF_I8, .value.u = 100},
    {.key = "i8.negative", .type = KE__GGUF_I8, .value.u = (uint64_t)-3},
    {.key = "u16", .type = KE__GGUF_U16, .value.u = 60000},
    {.key = "i16.negative", .type = KE__GGUF_I16, .value.u = (uint64_t)-3},
    {.key = "u32", .type = KE__GGUF_U32, .value.u = 4000000000U},
    {.key = "i32", .type = KE__GGUF_I32, .value.u = 2000000000},
    {.key = "i32.negative", .type = KE__GGUF_I32, .value.u = (uint64_t)-1},
    {.key = "u64", .type = KE__GGUF_U64, .value.u = UINT64_MAX},
    {.key = "i64", .type = KE__GGUF_I64, .value.u = INT64_MAX},
    {.key = "i64.negative", .type = KE__GGUF_I64, .value.u = (uint64_t)INT64_MIN},
    {.key = "f32", .type = KE__GGUF_F32, .value.f = 1e-5},
    {.key = "f64", .type = KE__GGUF_F64, .value.f = 10000.0},
    {.key = "yes", .type = KE__GGUF_BOOL, .value.u = 1},
    {.key = "no", .type = KE__GGUF_BOOL, .value.u = 0},
    {.key = "text", .type = KE__GGUF_STRING, .value.s = "llama"},
    {.key = "words", .type = KE__GGUF_ARRAY, .strings = words, .n = 3},
    {.key = "floats", .type = KE__GGUF_ARRAY, .floats = floats, .n = 2},
    {.key = "ints", .type = KE__GGUF_ARRAY, .ints = ints, .n = 3},
};
enum { N_NEW_KVS = sizeof new_kvs / sizeof new_kvs[0] };

static void integers_of_every_type_serve(void **state)
{
    static const struct {
        const char *key;
        uint64_t want;
    } good[] = {{"u8", 200},          {"i8", 100},         {"u16", 60000},
                {"u32", 4000000000U}, {"i32", 2000000000}, {"u64", UINT64_MAX},
                {"i64", INT64_MAX},   {"missing", 77}};
    static const char *const bad[][2] = {
        {"i8.negative", "the key i8.negative is negative"},
        {"i16.negative", "negative"},
        {"i32.negative", "negative"},
        {"i64.negative", "negative"},
        {"f32", "the key f32 is of type f32, an integer expected"},
        {"yes", "of type bool, an integer expected"},
        {"text", "of type string, an integer expected"},
        {"words", "of type array, an integer expected"},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *path = scratch_path(state, "f.gguf");
    ke__gguf g;
    uint64_t value;
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, new_kvs, N_NEW_KVS, NULL, 0));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(KE_OK, ke__gguf_u64(cx, &g, good[i].key, 77, &value));
        assert_true(good[i].want == value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(KE_EFORMAT, ke__gguf_u64(cx, &g, bad[i][0], 77, &value));
        assert_non_null(strstr(ke_ctx_message(cx), bad[i][1]));
        assert_string_equal(path, ke_ctx_where(cx));
    }
    ke__gguf_close(cx, &g);
    ke_ctx_free(cx);
}

static void other_values_are_read_by_type(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *path = scratch_path(state, "f.gguf");
    ke__gguf g;
    float f;
    bool b;
    ke__gguf_str s;
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, new_kvs, N_NEW_KVS, NULL, 0));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    assert_int_equal(KE_OK, ke__gguf_f32(cx, &g, "f32", 0, &f));
    assert_true(f == 1e-5f);
    assert_int_equal(KE_OK, ke__gguf_f32(cx, &g, "f64", 0, &f));
    assert_true(f == 10000);
    assert_int_equal(KE_OK, ke__gguf_f32(cx, &g, "missing", 2.5f, &f));
    assert_true(f == 2.5f);
    assert_int_equal(KE_EFORMAT, ke__gguf_f32(cx, &g, "u32", 0, &f));
    assert_non_null(strstr(ke_ctx_message(cx), "u32 is of type u32, a floating-point"));
    assert_int_equal(KE_OK, ke__gguf_bool(cx, &g, "yes", false, &b));
    assert_true(b);
    assert_int_equal(KE_OK, ke__gguf_bool(cx, &g, "no", true, &b));
    assert_false(b);
    assert_int_equal(KE_OK, ke__gguf_bool(cx, &g, "missing", true, &b));
    assert_true(b);
    assert_int_equal(KE_EFORMAT, ke__gguf_bool(cx, &g, "u8", true, &b));
    assert_int_equal(KE_OK, ke__gguf_string(cx, &g, "text", &s));
    assert_int_equal(5, s.bytes);
    assert_memory_equal("llama", s.data, 5);
    assert_int_equal(KE_OK, ke__gguf_string(cx, &g, "missing", &s));
    assert_null(s.data);
    assert_int_equal(KE_EFORMAT, ke__gguf_string(cx, &g, "words", &s));

    const ke__gguf_kv *kv = ke__gguf_find(&g, "words");
    const uint8_t *cursor = kv->value;
    for (size_t i = 0; i < kv->n; i++) {
        s = ke__gguf_next_string(&cursor);
        assert_int_equal(strlen(words[i]), s.bytes);
        assert_memory_equal(words[i], s.data, s.bytes);
    }
    assert_memory_equal(floats, ke__gguf_find(&g, "floats")->value, sizeof floats);
    assert_memory_equal(ints, ke__gguf_find(&g, "ints")->value, sizeof ints);
    ke__gguf_close(cx, &g);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

/* --- writing
 * ------------------------------------------------------------------------------ */

static void write_sample(void **state, const char *name)
{
    sample s = make_sample();
    scratch_write(scratch_path(state, name), s.data, s.bytes);
}

static ke_status copy(ke_ctx *cx, const char *to, const ke__gguf *g,
                      const ke__gguf_change *changes, size_t n_changes,
                      const ke__gguf_stamp *stamps, size_t n_stamps)
{
    ke_status st = KE_OK;
    ke__out out;
    KE_TRY(ke__out_open(cx, &out, to, true));
    KE_TRY(ke__gguf_write(cx, &out, g, changes, n_changes, stamps, n_stamps));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}

static void a_copy_without_a_change_has_the_same_bytes(void **state)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf g;
    ke__map back;
    write_sample(state, "in");
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, scratch_path(state, "in")));
    assert_int_equal(KE_OK, copy(cx, scratch_path(state, "out"), &g, NULL, 0, NULL, 0));
    assert_int_equal(KE_OK, ke__map_open(cx, &back, scratch_path(state, "out")));
    assert_int_equal(g.map.bytes, back.bytes);
    assert_memory_equal(g.map.data, back.data, back.bytes);

    /* The same data in place of itself: everything is written anew, and alike. */
    ke__gguf_change change = {0, g.tensors[0].type, g.tensors[0].data};
    ke__map_close(cx, &back);
    assert_int_equal(KE_OK, copy(cx, scratch_path(state, "out"), &g, &change, 1, NULL, 0));
    assert_int_equal(KE_OK, ke__map_open(cx, &back, scratch_path(state, "out")));
    assert_int_equal(g.map.bytes, back.bytes);
    assert_memory_equal(g.map.data, back.data, back.bytes);
    ke__map_close(cx, &back);
    ke__gguf_close(cx, &g);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void check_same_kv(const ke__gguf *a, const ke__gguf *b, size_t i, size_t j)
{
    const ke__gguf_kv *x = &a->kvs[i], *y = &b->kvs[j];
    assert_int_equal(x->bytes, y->bytes);
    assert_memory_equal(a->map.data + x->offset, b->map.data + y->offset, x->bytes);
}

static void a_larger_type_moves_what_lies_behind(void **state)
{
    static const char *const made_by[] = {"knowedit"}, *const facts[] = {"f1", "f2"};
    const ke__gguf_stamp stamps[] = {{"knowedit.tool", made_by, 1, false},
                                     {"words", facts, 2, true}};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf g, h;
    float wide[64];
    write_sample(state, "in");
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, scratch_path(state, "in")));
    for (int i = 0; i < 64; i++)
        wide[i] = (float)i;
    ke__gguf_change change = {1, ke__dtype_of(KE__F32), wide}; /* "b", 68 to 256 bytes */
    assert_int_equal(KE_OK,
                     copy(cx, scratch_path(state, "out"), &g, &change, 1, stamps, 2));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &h, scratch_path(state, "out")));

    /* Keys in their order without "words", then the stamps. */
    assert_int_equal(6, h.n_kvs);
    check_same_kv(&g, &h, 0, 0);
    check_same_kv(&g, &h, 1, 1);
    check_same_kv(&g, &h, 2, 2);
    check_same_kv(&g, &h, 4, 3);
    assert_memory_equal("knowedit.tool", h.kvs[4].key.data, 13);
    assert_memory_equal("words", h.kvs[5].key.data, 5);
    const uint8_t *cursor = h.kvs[5].value;
    assert_int_equal(2, h.kvs[5].n);
    assert_memory_equal("f1", ke__gguf_next_string(&cursor).data, 2);
    assert_memory_equal("f2", ke__gguf_next_string(&cursor).data, 2);

    assert_string_equal("a", h.tensors[0].name);
    assert_string_equal("b", h.tensors[1].name);
    assert_int_equal(256, h.tensors[0].offset - h.data_offset);
    assert_memory_equal(g.tensors[0].data, h.tensors[0].data, 24);
    assert_string_equal("f32", h.tensors[1].type->name);
    assert_int_equal(h.data_offset, h.tensors[1].offset);
    assert_memory_equal(wide, h.tensors[1].data, sizeof wide);
    assert_int_equal(h.data_offset + 256 + 24, h.map.bytes);
    ke__gguf_close(cx, &g);
    ke__gguf_close(cx, &h);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void stamps_alone_leave_the_data_as_it_is(void **state)
{
    static const char *const text[] = {"x"};
    const ke__gguf_stamp stamp = {"knowedit.x", text, 1, false};
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf g, h;
    write_sample(state, "in");
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, scratch_path(state, "in")));
    assert_int_equal(KE_OK, copy(cx, scratch_path(state, "out"), &g, NULL, 0, &stamp, 1));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &h, scratch_path(state, "out")));
    /* Gap and tail too. */
    assert_int_equal(g.map.bytes - g.data_offset, h.map.bytes - h.data_offset);
    assert_memory_equal(g.map.data + g.data_offset, h.map.data + h.data_offset,
                        h.map.bytes - h.data_offset);
    ke__gguf_close(cx, &h);

    /* Stamping the stamped replaces: nothing grows. */
    ke__gguf_close(cx, &g);
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, scratch_path(state, "out")));
    assert_int_equal(KE_OK, copy(cx, scratch_path(state, "again"), &g, NULL, 0, &stamp, 1));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &h, scratch_path(state, "again")));
    assert_int_equal(g.map.bytes, h.map.bytes);
    assert_memory_equal(g.map.data, h.map.data, h.map.bytes);
    ke__gguf_close(cx, &g);
    ke__gguf_close(cx, &h);
    ke_ctx_free(cx);
}

static void requests_that_cannot_be_met_are_refused(void **state)
{
    static const char *const text[] = {"x"};
    const ke__gguf_stamp twice[] = {{"k", text, 1, false}, {"k", text, 1, false}};
    static const float zeros[64];
    ke_ctx *cx = ke_ctx_new(NULL);
    const char *to = scratch_path(state, "out");
    ke__gguf g;
    write_sample(state, "in");
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, scratch_path(state, "in")));
    const ke__dtype_traits *f32 = ke__dtype_of(KE__F32);
    ke__gguf_change beyond = {2, f32, zeros}, blocks = {0, ke__dtype_of(KE__Q8_0), zeros};
    ke__gguf_change falling[] = {{1, f32, zeros}, {0, f32, zeros}};
    assert_int_equal(KE_EINVAL, copy(cx, to, &g, &beyond, 1, NULL, 0));
    assert_int_equal(KE_EINVAL, copy(cx, to, &g, falling, 2, NULL, 0));
    assert_int_equal(KE_EINVAL, copy(cx, to, &g, &blocks, 1, NULL, 0));
    assert_non_null(
        strstr(ke_ctx_message(cx), "rows of 2 elements cannot be stored as q8_0"));
    assert_int_equal(KE_EINVAL, copy(cx, to, &g, NULL, 0, twice, 2));
    ke_ctx_cancel(cx);
    assert_int_equal(KE_ECANCELED, copy(cx, to, &g, NULL, 0, twice, 1));
    assert_int_equal(1, scratch_count(state));
    ke__gguf_close(cx, &g);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
}

static void created_tensors_are_read_back(void **state)
{
    float data[2][64];
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf g;
    for (int i = 0; i < 128; i++)
        data[i / 64][i % 64] = (float)i;
    const ke__gguf_new_kv kv = {
        .key = "general.alignment", .type = KE__GGUF_U32, .value.u = 128};
    const ke__gguf_new_tensor tensors[] = {
        {"norm", ke__dtype_of(KE__F32), 0, 5, data},
        {"matrix", ke__dtype_of(KE__F32), 2, 64, data},
    };
    const char *path = scratch_path(state, "f");
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, &kv, 1, tensors, 2));
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    assert_int_equal(128, g.alignment);
    assert_int_equal(1, g.tensors[0].n_dims);
    assert_int_equal(5, g.tensors[0].cols);
    assert_memory_equal(data, g.tensors[0].data, 20);
    assert_int_equal(2, g.tensors[1].n_dims);
    assert_int_equal(2, g.tensors[1].rows);
    assert_int_equal(64, g.tensors[1].cols);
    assert_int_equal(0, g.tensors[1].offset % 128);
    assert_memory_equal(data, g.tensors[1].data, sizeof data);
    ke__gguf_close(cx, &g);
    ke_ctx_free(cx);
}

static ke_status open_and_write(ke_ctx *cx, void *payload)
{
    static const char *const text[] = {"x"};
    const ke__gguf_stamp stamp = {"knowedit.x", text, 1, false};
    void **state = payload;
    ke_status st = KE_OK;
    ke__gguf g = {0};
    KE_TRY(ke__gguf_open(cx, &g, scratch_path(state, "in")));
    KE_TRY(copy(cx, scratch_path(state, "out"), &g, NULL, 0, &stamp, 1));
done:
    ke__gguf_close(cx, &g);
    return st;
}

static void every_allocation_failure_is_survived(void **state)
{
    write_sample(state, "in");
    oom_each(open_and_write, state);
}

/* 20,000 tensors and keys: what grows with their square would take minutes. */
static void many_names_are_no_burden(void **state)
{
    enum { MANY = 20000 };
    static char names[MANY][16];
    static ke__gguf_new_kv kvs[MANY];
    static ke__gguf_new_tensor tensors[MANY];
    static const float zero;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke__gguf g;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "t.%zu", i * 7919 % MANY);
        kvs[i] = (ke__gguf_new_kv){.key = names[i], .type = KE__GGUF_U8, .value.u = 1};
        tensors[i] = (ke__gguf_new_tensor){names[i], ke__dtype_of(KE__F32), 0, 1, &zero};
    }
    const char *path = scratch_path(state, "f");
    assert_int_equal(KE_OK, ke__gguf_create(cx, path, kvs, MANY, tensors, MANY));
    double begun = ke__now();
    assert_int_equal(KE_OK, ke__gguf_open(cx, &g, path));
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(i, ke__gguf_tensor(&g, names[i]));
    assert_true(ke__now() - begun < 5); /* takes a twentieth of a second */
    ke__gguf_close(cx, &g);
    ke_ctx_free(cx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),
        cmocka_unit_test(every_damage_is_named),
        cmocka_unit_test(rows_that_overflow_are_named),
        cmocka_unit_test(a_cut_at_any_byte_is_refused),
        cmocka_unit_test(any_flipped_bit_is_survived),
        cmocka_unit_test(names_may_have_255_bytes),
        cmocka_unit_test(a_file_without_tensors_need_not_be_padded),
        TEST(integers_of_every_type_serve),
        TEST(other_values_are_read_by_type),
        TEST(a_copy_without_a_change_has_the_same_bytes),
        TEST(a_larger_type_moves_what_lies_behind),
        TEST(stamps_alone_leave_the_data_as_it_is),
        TEST(requests_that_cannot_be_met_are_refused),
        TEST(created_tensors_are_read_back),
        TEST(every_allocation_failure_is_survived),
        TEST(many_names_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
