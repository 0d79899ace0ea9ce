/* What the K types have in common: 256 elements in sub-blocks, x = d s q - dmin m, where
 * d and dmin are f16 of the block, s and m small whole numbers of the sub-block, and q the
 * element's level. Private to tensor. */
#ifndef KE_TENSOR_QUANT_K_H
#define KE_TENSOR_QUANT_K_H

#include <stdbool.h>
#include <stdint.h>

enum { KE__K_BLOCK = 256, KE__K_SUBS = 16 };

typedef struct ke__k_shape {
    int sub;           /* elements a sub-block: 16 or 32 */
    int low, high;     /* of levels */
    int s_low, s_high; /* of scales */
    int m_high;        /* of minima; 0 for a type that has none */
} ke__k_shape;

typedef struct ke__k_block {
    float d, dmin; /* exact in f16 */
    int8_t s[KE__K_SUBS], m[KE__K_SUBS];
    int8_t level[KE__K_BLOCK];
} ke__k_block;

/* The block of this shape that is nearest to the 256 elements of x, d = NaN if none is
 * finite. */
void ke__k_fit(ke__k_block *out, const float *x, const ke__k_shape *shape);

/* A block that has exactly the elements of x; false if none was found. */
bool ke__k_exact(ke__k_block *out, const float *x, const ke__k_shape *shape);
/* Set the levels of sub-block k to the nearest for its elements x; their squared error. */
float ke__k_levels(ke__k_block *b, int k, const float *x, const ke__k_shape *shape);

#endif
