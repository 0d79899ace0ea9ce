/* PROMPT: as ICE, after a line that asks to use the facts (docs/methods.md). */
#include "edit/tell.h"

const ke__method ke__method_prompt = {
    .name = "prompt",
    .summary = "tells the fact before every prompt, and asks to use it",
    .max_facts = 1,
    .memory = true,
    .settings = ke__tell_settings,
    .presets = ke__tell_presets,
    .attempts = ke__tell_attempts,
    .plan = ke__tell_plan,
    .prepare = ke__tell_prepare,
    .release = ke__tell_release,
    .compute = ke__tell_compute,
};
