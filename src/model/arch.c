/* The architectures, one row each. The metadata's numbers fill in the sizes. */
#include "model/model.h"

#include <string.h>

static const ke__arch archs[] = {
    {.name = "llama",
     .norm = KE__NORM_RMS,
     .act = KE__ACT_SILU,
     .gated = true,
     .rope_interleaved = true},
    {.name = "qwen2",
     .norm = KE__NORM_RMS,
     .act = KE__ACT_SILU,
     .gated = true,
     .qkv_bias = true},
    {.name = "qwen3",
     .norm = KE__NORM_RMS,
     .act = KE__ACT_SILU,
     .gated = true,
     .qk_norm = true},
    {.name = "gemma3",
     .norm = KE__NORM_RMS,
     .act = KE__ACT_GELU_TANH,
     .gated = true,
     .qk_norm = true,
     .post_norms = true,
     .embed_scaled = true,
     .sliding = true},
    {.name = "gpt2",
     .norm = KE__NORM_LAYER,
     .act = KE__ACT_GELU_TANH,
     .learned_positions = true,
     .fused_qkv = true,
     .biases = true},
};

const ke__arch *ke__arch_find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strlen(archs[i].name) == bytes && memcmp(archs[i].name, name, bytes) == 0)
            return &archs[i];
    return NULL;
}

const char *ke__arch_name(size_t i)
{
    return i < sizeof archs / sizeof archs[0] ? archs[i].name : NULL;
}
