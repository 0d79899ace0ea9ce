/* The faults that other readers of GGUF had, by the place that went wrong in them: reports
 * of 2024 on ggml (CVE-2024-21802, -21825, -21836, -23496, -23605) and their kin. Each file
 * is as long as its bytes say, in a block of that length, so that a sanitizer sees one byte
 * too many.
 */
#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct file {
    uint8_t data[512];
    size_t bytes;
} file;

static void put(file *f, const void *data, size_t bytes)
{
    assert_true(f->bytes + bytes <= sizeof f->data);
    memcpy(f->data + f->bytes, data, bytes);
    f->bytes += bytes;
}
static void put_u32(file *f, uint32_t value)
{
    put(f, &value, sizeof value);
}
static void put_u64(file *f, uint64_t value)
{
    put(f, &value, sizeof value);
}
static void put_text(file *f, const char *text)
{
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}
static file begin(uint64_t n_tensors, uint64_t n_keys)
{
    file f = {0};
    put(&f, "GGUF", 4);
    put_u32(&f, 3);
    put_u64(&f, n_tensors);
    put_u64(&f, n_keys);
    return f;
}
static void put_array(file *f, uint32_t item, uint64_t n)
{
    put_text(f, "k");
    put_u32(f, KE__GGUF_ARRAY);
    put_u32(f, item);
    put_u64(f, n);
}

/* A tensor's entry with `n` dimensions, and padding to the data. */
static void put_tensor(file *f, const uint64_t *dims, uint32_t n, uint32_t type,
                       uint64_t offset)
{
    put_text(f, "t");
    put_u32(f, n);
    put(f, dims, n * sizeof *dims);
    put_u32(f, type);
    put_u64(f, offset);
    while (f->bytes % 32)
        put(f, "", 1);
}

/* It is refused, and the reason says `says`. */
static void refused(const file *f, const char *says)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    uint8_t *exact = malloc(f->bytes);
    ke__gguf g = {.map = {.data = exact, .bytes = f->bytes}};
    assert_non_null(exact);
    memcpy(exact, f->data, f->bytes);
    ke_status st = ke__gguf_parse(cx, &g);
    if (st != KE_EFORMAT || !strstr(ke_ctx_message(cx), says))
        fail_msg("%s \"%s\", \"%s\" expected", ke_status_name(st), ke_ctx_message(cx),
                 says);
    g.map = (ke__map){0};
    ke__gguf_close(cx, &g);
    assert_int_equal(0, cx->live_bytes);
    ke_ctx_free(cx);
    free(exact);
}

/* CVE-2024-23605: n_kv times the size of an entry wraps, and the table is too small. */
static void the_count_of_keys_wraps_a_table(void **state)
{
    static const uint64_t counts[] = {UINT64_MAX / 48 + 2, UINT64_MAX / 40 + 2,
                                      (uint64_t)1 << 60, (uint64_t)1 << 63, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        file f = begin(0, counts[i]);
        put_array(&f, KE__GGUF_U8, 0);
        refused(&f, "keys announced");
    }
}

/* CVE-2024-21836: the same of n_tensors. */
static void the_count_of_tensors_wraps_a_table(void **state)
{
    static const uint64_t counts[] = {UINT64_MAX / 88 + 2, UINT64_MAX / 96 + 2,
                                      (uint64_t)1 << 58, (uint64_t)1 << 63, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        file f = begin(counts[i], 0);
        put_tensor(&f, (const uint64_t[]){1}, 1, KE__F32, 0);
        refused(&f, "tensors announced");
    }
}

/* CVE-2024-23496: a string's length plus one, for its NUL, is 0. In a key, in a value, in
 * an array and in a tensor's name. */
static void a_strings_length_plus_one_is_nothing(void **state)
{
    (void)state;
    file key = begin(0, 1), value = begin(0, 1), item = begin(0, 1), name = begin(1, 0);
    put_u64(&key, UINT64_MAX);
    put(&key, "0123456789012345", 16);
    refused(&key, "key of 18446744073709551615 bytes");
    put_text(&value, "k");
    put_u32(&value, KE__GGUF_STRING);
    put_u64(&value, UINT64_MAX);
    refused(&value, "string of 18446744073709551615 bytes");
    put_array(&item, KE__GGUF_STRING, 1);
    put_u64(&item, UINT64_MAX);
    refused(&item, "string in an array of 18446744073709551615 bytes");
    put_u64(&name, UINT64_MAX);
    put(&name, "0123456789012345678901234567890123456789", 40);
    refused(&name, "tensor name of 18446744073709551615 bytes");
}

/* CVE-2024-21825: an array's length times the size of an item, or of a string's entry,
 * wraps. */
static void an_arrays_length_wraps(void **state)
{
    (void)state;
    static const struct {
        uint32_t item;
        uint64_t n;
        const char *says;
    } rows[] = {{KE__GGUF_U32, ((uint64_t)1 << 62) + 1, "more than any file holds"},
                {KE__GGUF_U64, ((uint64_t)1 << 61) + 1, "more than any file holds"},
                {KE__GGUF_F64, UINT64_MAX, "more than any file holds"},
                {KE__GGUF_U8, UINT64_MAX, "array of 18446744073709551615 bytes"},
                {KE__GGUF_STRING, ((uint64_t)1 << 60) + 1, "strings, but"},
                {KE__GGUF_STRING, UINT64_MAX, "strings, but"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        file f = begin(0, 1);
        put_array(&f, rows[i].item, rows[i].n);
        put_u64(&f, 1);
        put_u64(&f, 0);
        refused(&f, rows[i].says);
    }
}

/* CVE-2024-21802: the dimensions' product wraps, and so does the number of bytes. */
static void the_dimensions_wrap(void **state)
{
    static const uint64_t shapes[][4] = {
        {1, (uint64_t)1 << 32, (uint64_t)1 << 32, 1},
        {1, 3, 0xAAAAAAAAAAAAAAABU, 1}, /* 1 modulo 2^64 */
        {(uint64_t)1 << 62, 1, 1, 1},   /* times four bytes: 0 */
        {(uint64_t)1 << 62, 4, 1, 1},
        {(uint64_t)1 << 63, 1, 1, 1}, /* negative as a signed number */
        {2, (uint64_t)1 << 61, 1, 1},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        file f = begin(1, 0);
        put_tensor(&f, shapes[i], 4, KE__F32, 0);
        put(&f, (const uint8_t[64]){0}, 64);
        refused(&f, "than any file holds");
    }
}

static void more_dimensions_than_there_is_room_for(void **state)
{
    (void)state;
    file f = begin(1, 0);
    put_tensor(&f, (const uint64_t[]){1, 1, 1, 1, 1}, 5, KE__F32, 0);
    refused(&f, "has 5 dimensions");
    f = begin(1, 0);
    put_text(&f, "t");
    put_u32(&f, UINT32_MAX);
    put(&f, (const uint8_t[64]){0}, 64);
    refused(&f, "has 4294967295 dimensions");
}

/* Types index tables: of values, of items, of elements (4 and 5 are gone from the list). */
static void types_beyond_the_tables(void **state)
{
    static const uint32_t types[] = {4, 5, 1000, 0x7FFFFFFF, 0x80000000, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        file f = begin(1, 0);
        put_tensor(&f, (const uint64_t[]){32}, 1, types[i], 0);
        put(&f, (const uint8_t[128]){0}, 128);
        refused(&f, "unknown element type");
    }
    for (size_t i = 2; i < sizeof types / sizeof types[0]; i++) {
        file value = begin(0, 1), item = begin(0, 1);
        put_text(&value, "k");
        put_u32(&value, types[i]);
        put_u64(&value, 0);
        refused(&value, "value type");
        put_array(&item, types[i], 1);
        put_u64(&item, 0);
        refused(&item, "array item type");
    }
}

/* Arrays in arrays, deep enough for a reader that calls itself to run out of stack. */
static void arrays_in_arrays(void **state)
{
    (void)state;
    file f = begin(0, 1);
    put_array(&f, KE__GGUF_ARRAY, 1);
    for (int depth = 0; depth < 30; depth++) {
        put_u32(&f, KE__GGUF_ARRAY);
        put_u64(&f, 1);
    }
    refused(&f, "array of arrays");
}

/* An alignment of 0 divides by zero, one that is no power of two breaks a mask. */
static void an_alignment_that_is_none(void **state)
{
    static const uint32_t values[] = {0, 1, 3, 48, 0xFFFFFFFF};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        file f = begin(0, 1);
        put_text(&f, "general.alignment");
        put_u32(&f, KE__GGUF_U32);
        put_u32(&f, values[i]);
        refused(&f, "general.alignment");
    }
}

/* The data's start plus an offset wraps to somewhere inside the file. */
static void an_offset_wraps(void **state)
{
    static const uint64_t offsets[] = {(uint64_t)0 - 32, (uint64_t)0 - 96,
                                       (uint64_t)1 << 63};
    (void)state;
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        file f = begin(1, 0);
        put_tensor(&f, (const uint64_t[]){8}, 1, KE__F32, offsets[i]);
        put(&f, (const uint8_t[64]){0}, 64);
        refused(&f, "has 32 bytes at offset");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_count_of_keys_wraps_a_table),
        cmocka_unit_test(the_count_of_tensors_wraps_a_table),
        cmocka_unit_test(a_strings_length_plus_one_is_nothing),
        cmocka_unit_test(an_arrays_length_wraps),
        cmocka_unit_test(the_dimensions_wrap),
        cmocka_unit_test(more_dimensions_than_there_is_room_for),
        cmocka_unit_test(types_beyond_the_tables),
        cmocka_unit_test(arrays_in_arrays),
        cmocka_unit_test(an_alignment_that_is_none),
        cmocka_unit_test(an_offset_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
