/* Element types of the file formats, and views of tensors. Nothing here is architecture
 * dependent; fast conversions live in kernels/. */
#ifndef KE_TENSOR_TENSOR_H
#define KE_TENSOR_TENSOR_H

#include "base/base.h"

/* Values are GGUF's. A type without a `to_f32` is carried byte for byte only. */
typedef enum ke__dtype {
    KE__F32 = 0,
    KE__F16 = 1,
    KE__Q4_0 = 2,
    KE__Q4_1 = 3,
    KE__Q5_0 = 6,
    KE__Q5_1 = 7,
    KE__Q8_0 = 8,
    KE__Q2_K = 10,
    KE__Q3_K = 11,
    KE__Q4_K = 12,
    KE__Q5_K = 13,
    KE__Q6_K = 14,
    KE__F64 = 28,
    KE__BF16 = 30
} ke__dtype;

typedef struct ke__dtype_traits {
    const char *name; /* lower case: "q4_1" */
    uint32_t id;
    uint32_t block; /* elements a block */
    uint32_t bytes; /* bytes a block */
    /* n elements (whole blocks); NULL if not computable. The scalar specification. */
    void (*to_f32)(float *out, const void *in, size_t n);
    void (*from_f32)(void *out, const float *in, size_t n);
} ke__dtype_traits;

/* NULL for an unknown id. */
const ke__dtype_traits *ke__dtype_of(uint32_t id);
/* By name, case ignored; NULL if unknown. */
const ke__dtype_traits *ke__dtype_named(const char *name);

/* The names of the types that are computed with and rounded to, for messages. */
void ke__dtype_list(char *out, size_t room);

/* A tensor in a file: rows of `cols` elements, rows first. [rows, cols] = [out, in] for the
 * matrix of a linear map. */
typedef struct ke__tensor {
    const char *name;
    const ke__dtype_traits *type;
    uint32_t n_dims;
    uint64_t dims[4]; /* as in the file: dims[0] = cols, fastest */
    uint64_t rows, cols;
    uint64_t bytes;  /* of the data, without padding */
    uint64_t offset; /* from the start of the file */
    const uint8_t *data;
} ke__tensor;

/* Bytes of a row of n elements; false if n is no multiple of the block or overflows. */
bool ke__row_bytes(size_t *out, const ke__dtype_traits *type, uint64_t n);

float ke__f16_to_f32(uint16_t h);
uint16_t ke__f32_to_f16(float f); /* round to nearest even; NaN kept */
float ke__bf16_to_f32(uint16_t h);
uint16_t ke__f32_to_bf16(float f); /* round to nearest even; NaN kept quiet */

#endif
