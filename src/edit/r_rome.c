/* R-ROME (arXiv:2403.07175): ROME with one key in both places where it uses two. */
#include "edit/rome.h"

static const ke__setting settings[] = {
#include "edit/rome_settings.def"
    {"keys", KE__CHOICE, "mean", 0, 0, "mean|prompt|original", "",
     "which key the update maps: the contexts' mean, the bare prompt's, or ROME's two"},
    {0}};

const ke__method ke__method_r_rome = {
    .name = "r-rome",
    .summary = "ROME with one key throughout (arXiv:2403.07175)",
    .max_facts = 1,
    .settings = settings,
    .presets = ke__rome_presets,
    .attempts = ke__rome_attempts,
    .plan = ke__rome_plan,
    .prepare = ke__rome_prepare,
    .release = ke__rome_release,
    .compute = ke__rome_compute,
};
