/* FT-L (docs/methods.md): one layer, no weight moves far, and all target tokens are
 * predicted from the prompt alone. */
#include "edit/tune.h"

static const ke__setting settings[] = {
#include "edit/tune_settings.def"
    {"layer", KE__INT, "auto", 0, 1023, "auto|late|all", "",
     "layer whose down projection is trained (auto, late: at a tenth, seven tenths of the "
     "depth)"},
    {"lr", KE__REAL, "5e-4", 1e-9, 1, NULL, "", "Adam's rate"},
    {"objective", KE__CHOICE, "prompt_last", 0, 0, "target_new|prompt_last", "",
     "target tokens are predicted from those before them, or all from the prompt alone"},
    {"constraint", KE__REAL, "5e-4", 1e-9, 100, "none", "", "largest change of a weight"},
    {0}};

/* A bound of 5e-4 is reached after one step, and seldom changes an answer: widen it. */
static const ke__attempt attempts[] = {
    {1, "constraint", "2e-3"}, {2, "constraint", "1e-2"}, {0}};

static const ke__preset presets[] = {
    {"easyedit", "layer", "late"},      {"easyedit", "steps", "25"},
    {"easyedit", "lr", "5e-4"},         {"easyedit", "stop-loss", "0.01"},
    {"easyedit", "ending", ""},         {"easyedit", "objective", "prompt_last"},
    {"easyedit", "constraint", "none"}, {0}};

const ke__method ke__method_ft_l = {
    .name = "ft-l",
    .summary = "fine-tuning of one down projection, bounded, from the prompt's end alone",
    .max_facts = 1,
    .settings = settings,
    .presets = presets,
    .attempts = attempts,
    .plan = ke__tune_plan,
    .prepare = ke__tune_prepare,
    .release = ke__tune_release,
    .compute = ke__tune_compute,
};
