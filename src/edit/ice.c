/* ICE: "New Fact: ..." before the prompt, without demonstrations (docs/methods.md). */
#include "edit/tell.h"

const ke__method ke__method_ice = {
    .name = "ice",
    .summary = "tells the fact before every prompt: New Fact: ... Prompt: ...",
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
