#include "cli/cli.h"

#ifndef KE_BUILT_WITH
#define KE_BUILT_WITH ""
#endif

static const char notices[] = "The text that key statistics and harm are measured on is "
                              "taken from Wikipedia by way of "
                              "WikiText-2, CC BY-SA.";

static ke_status run(ke__cli *c)
{
    ke_status st = KE_OK;
    static const struct poptOption options[] = {POPT_TABLEEND};

    KE_TRY(ke__opt_parse(c, options));
    KE_TRY(ke__opt_args(c, 0, 0));
    if (c->json)
        return ke__result_json(c, json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s}", "schema",
                                            "knowedit.version/1", "version", ke_version(),
                                            "isa", ke_ctx_isa(c->cx), "threads",
                                            (int)ke__threads(c->cx), "built_with",
                                            KE_BUILT_WITH, "licence", "MIT", "notices",
                                            notices));
    printf("knowedit %s (MIT licence)\n", ke_version());
    printf("kernels     %s, %u threads\n", ke_ctx_isa(c->cx), ke__threads(c->cx));
    printf("built with  %s\n", KE_BUILT_WITH);
    printf("%s\n", notices);
done:
    return st;
}

const ke__command ke__cmd_version = {
    .name = "version",
    .summary = "the version, the kernels in use, and what it is built with",
    .usage = "",
    .example = "knowedit version --json",
    .run = run,
};
