/* The value to write: v* = v0 + delta, found by descent on a hidden vector.
 *
 *   loss(delta) = mean over rows of (-1/n sum log p(target token))
 *               + kl * KL(p_now || p_before) at the lookup of the KL row
 *               + decay * |delta| / |v0|^2
 *
 * delta is added at one site of one layer, at the lookup token of every row. Whatever lies
 * left of the lookup or below the layer doesn't depend on it and is computed once.
 *
 * A finished update delta u^T / (key . u) acts on every token, by delta (k . u) / (key .
 * u). Given u and key, that is what the loss sees: then it is the edited model's. */
#ifndef KE_EDIT_VALUE_H
#define KE_EDIT_VALUE_H

#include "edit/keys.h"

typedef struct ke__value_in {
    const ke_model *model;
    const ke_stack *edits;
    uint32_t layer;
    ke__site site;       /* where delta is added */
    const ke__row *rows; /* [n_rows] each ends with all target tokens but the last */
    size_t n_rows;
    const int32_t *target; /* [n_target] */
    size_t n_target;
    const ke__row *kl_row; /* or NULL */
    const float *u, *key;  /* [F], or NULL: delta is added at the lookup token alone */
    double kl, decay;
} ke__value_in;
typedef struct ke__value ke__value;

/* Read all rows once. `in` and what it points to is borrowed; so is the pass. */
KE_MUST_CHECK ke_status ke__value_new(ke_ctx *cx, ke__value **out, ke__pass *pass,
                                      const ke__value_in *in);
void ke__value_free(ke_ctx *cx, ke__value *v);
const float *ke__value_start(const ke__value *v); /* v0 [D], of the first row */
/* The loss, and (unless NULL) its gradient [D], at delta[D]. */
KE_MUST_CHECK ke_status ke__value_loss(ke_ctx *cx, ke__value *v, const float *delta,
                                       double *loss, float *gradient);

typedef struct ke__descent {
    size_t steps;     /* losses that are looked at; one update fewer */
    double lr, clamp; /* |delta| <= clamp * |v0| */
    double stop;      /* no further below this loss */
} ke__descent;
/* Adam from delta = 0; value[D] = v0 + delta. *loss [*n_loss] is the caller's. */
KE_MUST_CHECK ke_status ke__value_descend(ke_ctx *cx, ke__value *v, const ke__descent *how,
                                          float *value, double **loss, size_t *n_loss);

/* The two rules that bound delta. */
void ke__delta_clamp(float *delta, size_t n, double limit);
/* weight * |delta| / |v0|^2: the norm, over the square. */
double ke__delta_decay(double weight, double delta_norm, double start_norm);
double ke__norm2(const float *x, size_t n);
double ke__dot(const float *a, const float *b, size_t n); /* summed in f64 */

#endif
