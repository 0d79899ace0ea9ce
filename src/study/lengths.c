/* Texts that the model can't read, named before any work. */
#include "study/study.h"

#include <string.h>

ke_status ke__length(ke_ctx *cx, size_t *n, const ke__run *run, const ke_chat *chat,
                     const char *text, const char *target)
{
    ke_status st = KE_OK;
    char *laid_out = NULL, *whole = NULL;
    int32_t *ids = NULL;

    *n = 0;
    KE_TRY(ke_chat_format(cx, &laid_out, chat, text));
    /* A token is a byte at least; beside them a blank, its own, BOS and EOS. */
    if (strlen(laid_out) + strlen(target) + 4 <= run->model->info.n_context)
        goto done;
    KE_TRY(ke__format(cx, &whole, "%s%s%s", laid_out, *target ? " " : "", target));
    KE_TRY(ke_tokenize(cx, &ids, n, ke_model_tokenizer(run->model), whole, strlen(whole),
                       ke__chat_flags(chat)));
done:
    ke_free(cx, ids);
    ke_free(cx, laid_out);
    ke__free(cx, whole);
    return st;
}

/* One text of fact i, with what is to be said after it. */
static ke_status check_text(ke_ctx *cx, const ke__run *run, size_t i, const char *what,
                            const char *text, const char *target)
{
    ke_status st = KE_OK;
    const char *place = run->facts[i].place;
    size_t n = 0, most = run->model->info.n_context;

    KE_TRY(ke__length(cx, &n, run, ke__form_of_job(run), text, target));
    if (n > most)
        st = ke__fail(cx, KE_EINVAL, place ? place : "facts",
                      "%s%sfact %zu: %s has %zu tokens, the model reads at most %zu: "
                      "\"%.60s...\"",
                      place ? place : "", place ? ": " : "", i + 1, what, n, most, text);
done:
    return st;
}

ke_status ke__lengths_check(ke_ctx *cx, const ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        const ke_fact *f = &run->facts[i];
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
