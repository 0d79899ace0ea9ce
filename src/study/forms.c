/* The two forms of a prompt: as it is, and as a chat message. A fact is edited in one of
 * them; the other is asked too, since that may be the one in which people will. */
#include "study/study.h"

#include <string.h>

#define TOKENS                                                                             \
    32 /* of an answer in the other form; enough for a sentence that names it              \
        */

const ke_chat *ke__form_of_job(const ke__run *run)
{
    return run->job->chat ? run->chat : NULL;
}

/* The layout, or none where the model's can't be told and nobody asked for it. */
static ke_status find_layout(ke_ctx *cx, ke__run *run)
{
    const ke_edit_job *job = run->job;
    ke_model_info info;
    ke_model_info_get(run->model, &info);
    if (!job->chat && !job->chat_family && !info.chat_template)
        return KE_OK;
    ke_status st = ke_chat_new(cx, &run->chat, run->model, job->chat_family);
    if (st != KE_ENOTSUP || job->chat)
        return st;
    return ke__run_say(cx, run,
                       "the chat template is of no known family: facts are asked without "
                       "one only (--template names a family)");
}

ke_status ke__forms_new(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    size_t n = run->job->n_facts;

    run->facts = run->job->facts;
    KE_TRY(find_layout(cx, run));
    run->report->chat = run->job->chat;
    run->report->chat_family = run->chat ? run->chat->family : NULL;
    if (!run->job->chat)
        goto done;
    KE_TRY(ke__alloc(cx, &run->laid_out, n, sizeof *run->laid_out));
    for (size_t i = 0; i < n; i++) {
        run->laid_out[i] = run->job->facts[i];
        run->laid_out[i].chat = run->chat;
    }
    run->facts = run->laid_out;
done:
    return st;
}

void ke__forms_free(ke_ctx *cx, ke__run *run)
{
    ke_chat_free(cx, run->chat);
    ke__free(cx, run->laid_out);
}

bool ke__target_named(const char *text, const char *target)
{
    const char *from = ke__skip_space(target);
    size_t bytes = ke__trimmed(from);
    for (const char *at = text; bytes > 0 && (at = memmem(at, strlen(at), from, bytes));
         at++) {
        if (!ke__ends_in_word(text, at) && !ke__at_word(at + bytes))
            return true;
    }
    return false;
}

/* --- what is asked ---------------------------------------------------------------------
 */

ke_form *ke__form_other(const ke__run *run, size_t i)
{
    ke_fact_report *f = &run->report->facts[i];
    return run->job->chat ? &f->bare : &f->chat;
}

static ke_form *own(const ke__run *run, size_t i)
{
    ke_fact_report *f = &run->report->facts[i];
    return run->job->chat ? &f->chat : &f->bare;
}

/* What doesn't fit into the context in this form is left out. */
ke_status ke__form_prompt(ke_ctx *cx, ke__prompt *out, const ke__run *run, size_t i)
{
    ke_status st = KE_OK;
    size_t length = 0, most = run->max_tokens[i];
    const ke_chat *chat = run->job->chat ? NULL : run->chat;
    const char *text = run->facts[i].prompt;

    *out = (ke__prompt){NULL, chat, most > TOKENS ? most : TOKENS};
    if (!run->chat)
        return KE_OK;
    KE_TRY(ke__length(cx, &length, run, chat, text, ""));
    if (length <= run->model->info.n_context)
        out->text = text;
done:
    return st;
}

ke_status ke__forms_before(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++)
        KE_TRY(ke__strdup(cx, &own(run, i)->before, run->report->facts[i].before.text));
done:
    return st;
}

static void judge(ke_form *form, const char *target)
{
    if (!form->after)
        return;
    form->states = ke_target_holds(form->after, target);
    form->names = ke__target_named(form->after, target);
}

ke_status ke__forms_after(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        const char *said = run->report->facts[i].after.text;
        if (said)
            KE_TRY(ke__strdup(cx, &own(run, i)->after, said));
        judge(own(run, i), run->facts[i].target);
        judge(ke__form_other(run, i), run->facts[i].target);
    }
done:
    return st;
}
