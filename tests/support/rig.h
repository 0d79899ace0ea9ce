/* Runs one piece of work on every table of operations and compares what it left. */
#ifndef KE_TESTS_RIG_H
#define KE_TESTS_RIG_H

#include "kernels/ops.h"

enum { RIG_BUFS = 32, RIG_MATS = 8, RIG_PIECES = 32 };

/* Results of one kind: a piece of the rig's results and what rounding it may show. */
struct rig_piece {
    const char *what;
    size_t at, n;
    double terms; /* additions behind an element; 1 for elementwise work */
};

struct rig {
    ke_ctx *cx;
    const ke_ops *ops;
    ke__rng rng; /* the same data for every table */
    ke_buf *bufs[RIG_BUFS];
    size_t n_bufs;
    void *blocks[2 * RIG_MATS];
    ke__mat mats[RIG_MATS];
    size_t n_mats;
    float *results;
    size_t n_results;
    struct rig_piece pieces[RIG_PIECES];
    size_t n_pieces;
};

/* A rig on one table. End it with rig_end(), which frees all that came from it. */
void rig_begin(struct rig *r, const ke_ops *ops, unsigned n_threads);
void rig_end(struct rig *r);

/* A buffer of zeros; of given values; of values uniform in [-scale, scale). */
ke_buf *rig_zeros(struct rig *r, size_t n);
ke_buf *rig_values(struct rig *r, const float *values, size_t n);
ke_buf *rig_random(struct rig *r, size_t n, float scale);
/* Weights uniform in [-0.5, 0.5), quantised to `type`; of given values in f32. */
const ke__mat *rig_mat(struct rig *r, const char *type, size_t rows, size_t cols);
const ke__mat *rig_mat_values(struct rig *r, const float *values, size_t rows, size_t cols);
/* Remember n elements of a result: of a buffer, of floats, of doubles. */
void rig_keep(struct rig *r, const char *what, const ke_buf *buf, size_t n, double terms);
void rig_keep_f32(struct rig *r, const char *what, const float *x, size_t n, double terms);
void rig_keep_f64(struct rig *r, const char *what, const double *x, size_t n, double terms);

typedef void rig_work(struct rig *r, const void *params);

/* Run `work` on ref64 and on every family that this processor has: each element x within
 *     8 eps sqrt(terms) max(|x|, rms)
 * of ref64, rms over the piece. Adding n numbers rounds n times by up to eps / 2 of a
 * partial sum, a walk of sqrt(n) such steps; 16 times that is far beyond the largest of the
 * elements compared, while a wrong element is off by about the rms itself. */
void rig_compare(const char *name, rig_work *work, const void *params);
/* The same bits with 1, 2 and 7 threads, on every family. */
void rig_same_bits(const char *name, rig_work *work, const void *params);

#endif
