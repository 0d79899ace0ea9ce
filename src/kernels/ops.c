/* Which table of operations a context uses. */
#include "kernels/families.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool can_always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool can_avx2(void)
{
    unsigned eax, ebx, ecx = 0, edx;

    /* clang 14 does not know the name "f16c". */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

static bool can_avx512(void)
{
    return can_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

/* Best first. ref64 comes after ref, so it is never the best. */
static const struct family {
    const ke_ops *ops;
    bool (*can)(void);
} families[] = {
#if defined(__x86_64__)
    {&ke__ops_avx512, can_avx512},
    {&ke__ops_avx2, can_avx2},
#endif
    {&ke__ops_ref, can_always},
    {&ke__ops_ref64, can_always},
};

const ke_ops *ke__ops_named(const char *name)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].ops->name, name) == 0)
            return families[i].can() ? families[i].ops : NULL;
    return NULL;
}

const ke_ops *ke__ops_pick(const ke_ctx *cx)
{
    /* What the context was made with; $KE_ISA is in it. */
    if (cx->opts.isa != NULL && cx->opts.isa[0] != '\0')
        return ke__ops_named(cx->opts.isa);
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (families[i].can())
            return families[i].ops;
    return NULL;
}

ke_status ke__ops_get(ke_ctx *cx, const ke_ops **out)
{
    *out = ke__ops_pick(cx);
    if (*out)
        return KE_OK;
    return ke__fail(cx, KE_ENOTSUP, "isa",
                    "this processor lacks the instruction set \"%s\"",
                    cx->opts.isa ? cx->opts.isa : "");
}
