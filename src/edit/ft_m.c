/* FT-M (docs/methods.md): one layer, each target token from those before it. */
#include "edit/tune.h"

static const ke__setting settings[] = {
#include "edit/tune_settings.def"
    {"layer", KE__INT, "auto", 0, 1023, "auto|late|all", "",
     "layer whose down projection is trained (auto, late: at a tenth, seven tenths of the "
     "depth)"},
    {"lr", KE__REAL, "5e-4", 1e-9, 1, NULL, "", "Adam's rate"},
    {"objective", KE__CHOICE, "target_new", 0, 0, "target_new|prompt_last", "",
     "target tokens are predicted from those before them, or all from the prompt alone"},
    {"constraint", KE__REAL, "none", 1e-9, 100, "none", "", "largest change of a weight"},
    {0}};

static const ke__preset presets[] = {
    {"easyedit", "layer", "late"},      {"easyedit", "steps", "25"},
    {"easyedit", "lr", "5e-4"},         {"easyedit", "stop-loss", "0.01"},
    {"easyedit", "ending", ""},         {"easyedit", "objective", "target_new"},
    {"easyedit", "constraint", "none"}, {0}};

const ke__method ke__method_ft_m = {
    .name = "ft-m",
    .summary = "fine-tuning of one down projection to the target's tokens",
    .max_facts = 1,
    .settings = settings,
    .presets = presets,
    .attempts = ke__tune_attempts,
    .plan = ke__tune_plan,
    .prepare = ke__tune_prepare,
    .release = ke__tune_release,
    .compute = ke__tune_compute,
};
