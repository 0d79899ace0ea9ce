/* Texts that the model can't read, named before any work. */
#include "study/study.h"

#include <string.h>

/* One text of fact i, with what is to be said after it. */
static ke_status check_text(ke_ctx *cx, const ke__run *run, size_t i, const char *what,
                            const char *text, const char *target)
{
    ke_status st = KE_OK;
    const char *place = run->job->facts[i].place;
    char *whole = NULL;
    int32_t *ids = NULL;
    size_t n = 0, most = run->model->info.n_context;

    /* A token is a byte at least; beside them a blank, its own, BOS and EOS. */
    if (strlen(text) + strlen(target) + 4 <= most)
        return KE_OK;
    KE_TRY(ke__format(cx, &whole, "%s%s%s", text, *target ? " " : "", target));
    KE_TRY(ke_tokenize(cx, &ids, &n, ke_model_tokenizer(run->model), whole, strlen(whole),
                       KE_TOK_ADD_BOS));
    if (n > most)
        st = ke__fail(cx, KE_EINVAL, place ? place : "facts",
                      "%s%sfact %zu: %s has %zu tokens, the model reads at most %zu: "
                      "\"%.60s...\"",
                      place ? place : "", place ? ": " : "", i + 1, what, n, most, text);
done:
    ke_free(cx, ids);
    ke__free(cx, whole);
    return st;
}

ke_status ke__lengths_check(ke_ctx *cx, const ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        const ke_fact *f = &run->job->facts[i];
        KE_TRY(check_text(cx, run, i, "its prompt with the target", f->prompt, f->target));
        for (size_t k = 0; k < f->n_paraphrases; k++)
            KE_TRY(check_text(cx, run, i, "a paraphrase with the target", f->paraphrases[k],
                              f->target));
        for (size_t k = 0; k < f->n_neighbours; k++)
            KE_TRY(check_text(cx, run, i, "a neighbour", f->neighbours[k].prompt, ""));
    }
done:
    return st;
}
