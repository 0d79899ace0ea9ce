#include "cli/edit_text.h"

#include <math.h>
#include <string.h>

#define FEW_FACTS  3  /* up to here each fact is shown with all that was asked beside it */
#define MOST_FACTS 22 /* shown in a line each; more are counted */

static void print_answer(const char *when, const ke_answer *a)
{
    printf("%-12s", when);
    ke__talk_quote(stdout, a->text ? a->text : "", 60);
    printf("\n%-12starget: probability %.3g %%, rank of its first token %u\n", "",
           100 * exp(a->target_logprob), a->target_rank);
}

/* The first question whose answer is not as it should be. */
static void print_miss(const ke_probe_result *probes, size_t n)
{
    size_t i = 0;
    while (i < n && probes[i].ok)
        i++;
    if (i == n)
        return;
    printf("%-12se.g. ", "");
    ke__talk_quote(stdout, probes[i].prompt, 60);
    printf(": ");
    if (probes[i].before != NULL) {
        ke__talk_quote(stdout, probes[i].before, 24);
        printf(" -> ");
    }
    ke__talk_quote(stdout, probes[i].after ? probes[i].after : "", 24);
    putchar('\n');
}

static void print_probes(const char *what, const char *holds, const ke_probe_result *probes,
                         size_t n, size_t n_ok)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i++)
        made += probes[i].made;
    if (n == 0)
        return;
    printf("%-12s%zu of %zu %s (%zu given, %zu made here)\n", what, n_ok, n, holds,
           n - made, made);
    print_miss(probes, n);
}

/* What the prompt gets in the form that the fact was not edited in. */
static void print_other_form(const ke_edit_report *r, const ke_fact_report *f)
{
    const ke_form *form = r->chat ? &f->bare : &f->chat;
    if (form->after == NULL)
        return;
    printf("%-12s", r->chat ? "bare" : "chat");
    if (r->chat)
        printf("without the chat template");
    else
        printf("as a %s message", r->chat_family);
    printf(form->states  ? " it states the target: "
           : form->names ? " it names the target: "
                         : " it does not name the target: ");
    ke__talk_quote(stdout, form->after, 60);
    putchar('\n');
}

static void print_fact(const ke_edit_report *r, const ke_fact_report *f)
{
    printf("%-12s", "fact");
    ke__talk_quote(stdout, f->prompt, 100);
    printf(" -> ");
    ke__talk_quote(stdout, f->target, 60);
    if (f->subject_from != NULL) {
        printf("\n%-12ssubject ", "found");
        ke__talk_quote(stdout, f->subject, 60);
    }
    putchar('\n');
    print_answer("before", &f->before);
    if (f->already) {
        printf("%-12sthe model says so already: nothing is changed\n", "already");
        return;
    }
    print_answer("after", &f->after);
    if (!f->took)
        printf("%-12s%s\n", "not taken", f->reason ? f->reason : "");
    print_other_form(r, f);
    print_probes("paraphrases", "state it", f->paraphrases, f->n_paraphrases, f->n_success);
    if (f->took && f->n_paraphrases > 0 && f->n_success == 0)
        printf("%-12sonly this wording states the fact: no paraphrase does\n", "warning");
    print_probes("neighbours", "answered as before", f->neighbours, f->n_neighbours,
                 f->n_kept);
    if (f->took && 2 * f->n_kept < f->n_neighbours)
        printf("%-12smost neighbours are answered otherwise: the edit reaches beyond its "
               "subject\n",
               "warning");
    print_probes("subject", "answered as before", f->aspects, f->n_aspects,
                 f->n_aspects_kept);
}

static void print_fact_line(const ke_fact_report *f)
{
    printf("%-12s", f->already ? "already" : f->took ? "took" : "not taken");
    ke__talk_quote(stdout, f->prompt, 60);
    printf(" -> ");
    ke__talk_quote(stdout, f->target, 30);
    putchar('\n');
}

static void print_facts(const ke_edit_report *r)
{
    size_t took = 0;
    for (size_t i = 0; i < r->n_facts; i++)
        took += r->facts[i].took;
    if (r->n_facts <= FEW_FACTS) {
        for (size_t i = 0; i < r->n_facts; i++)
            print_fact(r, &r->facts[i]);
        return;
    }
    printf("%-12s%zu of %zu took\n", "facts", took, r->n_facts);
    /* Failures first: they are what somebody has to look at. */
    size_t shown = 0;
    for (int good = 0; good < 2; good++)
        for (size_t i = 0; i < r->n_facts && shown < MOST_FACTS; i++)
            if (r->facts[i].took == good) {
                print_fact_line(&r->facts[i]);
                shown++;
            }
    if (shown < r->n_facts)
        printf("%-12sand %zu more (--json has them all)\n", "", r->n_facts - shown);
}

static void print_change(const ke_edit_report *r)
{
    for (size_t i = 0; i < r->n_tensors && i < 4; i++)
        printf("%-12s%s, %s -> %s, by %.3g %% of its norm\n", i ? "" : "change",
               r->tensors[i].name, r->tensors[i].type_before, r->tensors[i].type_after,
               100 * r->tensors[i].rel_change);
    if (r->n_tensors > 4)
        printf("%-12sand %zu more tensors\n", "", r->n_tensors - 4);
    if (r->n_tensors > 0 && r->type_reason != NULL && r->type_reason[0] != '\0')
        printf("%-12s%s\n", "", r->type_reason);
}

void ke__edit_text_print(const ke_edit_report *r)
{
    char size[32];
    print_facts(r);
    if (!r->already) {
        printf(
            "%-12sKL %.3g a token, perplexity %.4g -> %.4g (%zu tokens of held-out text)\n",
            "harm", r->kl, r->ppl_before, r->ppl_after, r->harm_tokens);
        if (r->too_harmful)
            printf("%-12sthe edit costs more than --max-kl allows\n", "refused");
        print_change(r);
    }
    printf("%-12s%.1f s (open %.1f, statistics %.1f, edit %.1f, verify %.1f, save %.1f); "
           "at most %s of memory, mapped file included\n",
           "time", r->seconds.total, r->seconds.open, r->seconds.stats, r->seconds.edit,
           r->seconds.verify, r->seconds.save, ke__talk_size(size, r->peak_bytes));
}

void ke__edit_text_print_files(const ke_edit_report *r)
{
    if (r->patch != NULL)
        printf("%-12s%s\n", "patch", r->patch);
    if (r->output == NULL && r->patch != NULL)
        printf("%-12sknowedit ask -m MODEL --patch %s PROMPT, or apply\n", "use", r->patch);
    if (r->output != NULL && r->patch != NULL && !r->already)
        printf("%-12sknowedit undo %s -o ORIGINAL\n", "undo", r->output);
    if (r->output != NULL)
        printf("%-12s%s%s\n", "written", r->output,
               r->already ? " (a copy of the base)" : "");
    else if (r->patch == NULL)
        printf("%-12snothing\n", "written");
}
