#include "tensor/tensor.h"
#include "tensor/quant.h"

#include <stdio.h>
#include <strings.h>

/* Every type that a GGUF file may hold: those without conversions are carried as they are.
 * Missing ids were never used in a GGUF file (4, 5). */
static const ke__dtype_traits types[] = {
    {"f32", 0, 1, 4, ke__f32_row_to_f32, ke__f32_row_from_f32},
    {"f16", 1, 1, 2, ke__f16_row_to_f32, ke__f16_row_from_f32},
    {"q4_0", 2, 32, 18, ke__q4_0_to_f32, ke__q4_0_from_f32},
    {"q4_1", 3, 32, 20, ke__q4_1_to_f32, ke__q4_1_from_f32},
    {"q5_0", 6, 32, 22, ke__q5_0_to_f32, ke__q5_0_from_f32},
    {"q5_1", 7, 32, 24, ke__q5_1_to_f32, ke__q5_1_from_f32},
    {"q8_0", 8, 32, 34, ke__q8_0_to_f32, ke__q8_0_from_f32},
    {"q8_1", 9, 32, 36, NULL, NULL},
    {"q2_k", 10, 256, 84, ke__q2_k_to_f32, ke__q2_k_from_f32},
    {"q3_k", 11, 256, 110, ke__q3_k_to_f32, ke__q3_k_from_f32},
    {"q4_k", 12, 256, 144, ke__q4_k_to_f32, ke__q4_k_from_f32},
    {"q5_k", 13, 256, 176, ke__q5_k_to_f32, ke__q5_k_from_f32},
    {"q6_k", 14, 256, 210, ke__q6_k_to_f32, ke__q6_k_from_f32},
    {"q8_k", 15, 256, 292, NULL, NULL},
    {"iq2_xxs", 16, 256, 66, NULL, NULL},
    {"iq2_xs", 17, 256, 74, NULL, NULL},
    {"iq3_xxs", 18, 256, 98, NULL, NULL},
    {"iq1_s", 19, 256, 50, NULL, NULL},
    {"iq4_nl", 20, 32, 18, NULL, NULL},
    {"iq3_s", 21, 256, 110, NULL, NULL},
    {"iq2_s", 22, 256, 82, NULL, NULL},
    {"iq4_xs", 23, 256, 136, NULL, NULL},
    {"i8", 24, 1, 1, NULL, NULL},
    {"i16", 25, 1, 2, NULL, NULL},
    {"i32", 26, 1, 4, NULL, NULL},
    {"i64", 27, 1, 8, NULL, NULL},
    {"f64", 28, 1, 8, ke__f64_row_to_f32, ke__f64_row_from_f32},
    {"iq1_m", 29, 256, 56, NULL, NULL},
    {"bf16", 30, 1, 2, ke__bf16_row_to_f32, ke__bf16_row_from_f32},
    {"q4_0_4_4", 31, 32, 18, NULL, NULL},
    {"q4_0_4_8", 32, 32, 18, NULL, NULL},
    {"q4_0_8_8", 33, 32, 18, NULL, NULL},
    {"tq1_0", 34, 256, 54, NULL, NULL},
    {"tq2_0", 35, 256, 66, NULL, NULL},
    {"iq4_nl_4_4", 36, 32, 18, NULL, NULL},
    {"iq4_nl_4_8", 37, 32, 18, NULL, NULL},
    {"iq4_nl_8_8", 38, 32, 18, NULL, NULL},
    {"mxfp4", 39, 32, 17, NULL, NULL},
};
#define N_TYPES (sizeof types / sizeof types[0])

const ke__dtype_traits *ke__dtype_of(uint32_t id)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id)
            return &types[i];
    return NULL;
}

const ke__dtype_traits *ke__dtype_named(const char *name)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (strcasecmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

void ke__dtype_list(char *out, size_t room)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_TYPES && at < room; i++)
        if (types[i].to_f32 && types[i].from_f32)
            at += (size_t)snprintf(out + at, room - at, "%s%s", at ? ", " : "",
                                   types[i].name);
}

bool ke__row_bytes(size_t *out, const ke__dtype_traits *type, uint64_t n)
{
    return n % type->block == 0 && ke__mul(out, n / type->block, type->bytes);
}
