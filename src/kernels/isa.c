#include "kernels/ops.h"

const char *ke_ctx_isa(const ke_ctx *cx)
{
    const ke_ops *ops = ke__ops_pick(cx);
    return ops != NULL ? ops->name : "";
}
