/* Questions beside a fact: paraphrases, which should follow the edit, and what should not:
 * neighbours (others in the same relation) and other aspects of the subject. Those that the
 * user did not give are made here; docs/verification.md has the rules. */
#include "study/study.h"

#include <string.h>

#define N_NEIGHBOURS     5
#define NEIGHBOUR_TOKENS 5 /* of an answer that is compared before and after */

/* Subjects of several kinds, so that a few taken at even steps are mixed. */
static const char *const others[] = {
    "Albert Einstein",
    "Paris",
    "Microsoft",
    "Hamlet",
    "Mount Everest",
    "Marie Curie",
    "Tokyo",
    "Toyota",
    "Titanic",
    "Amazon River",
    "Isaac Newton",
    "Canada",
    "BBC",
    "Star Wars",
    "Lake Victoria",
    "Frida Kahlo",
    "Brazil",
    "Sony",
    "Don Quixote",
    "Mount Fuji",
    "Charles Darwin",
    "Sydney",
    "Nintendo",
    "The Beatles",
    "Stonehenge",
    "Nelson Mandela",
    "Egypt",
    "Boeing",
    "Mona Lisa",
    "Niagara Falls",
    "Napoleon",
    "Stockholm",
    "Harvard University",
};
#define N_OTHERS (sizeof others / sizeof others[0])
#define STEP     8 /* no common factor with N_OTHERS: visits all of them */

/* --- making -----------------------------------------------------------------------------
 */

static ke_status make_given(ke_ctx *cx, ke_probe_result *out, const char *prompt)
{
    *out = (ke_probe_result){0};
    return ke__strdup(cx, &out->prompt, prompt);
}

/* Add a prompt of our own, given away, unless it is longer than the model reads. */
static ke_status add_made(ke_ctx *cx, const ke__run *run, ke_probe_result *probes,
                          size_t *n, char *prompt, const char *target)
{
    size_t length = 0;
    ke_status st = ke__length(cx, &length, run, ke__form_of_job(run), prompt, target);
    if (st == KE_OK && length <= run->model->info.n_context)
        probes[(*n)++] = (ke_probe_result){.prompt = prompt, .made = true};
    else
        ke__free(cx, prompt);
    return st;
}

static ke_status make_paraphrases(ke_ctx *cx, const ke__run *run, ke_fact_report *f,
                                  const ke_fact *fact)
{
    ke_status st = KE_OK;
    size_t n = ke__trimmed(fact->prompt);
    bool question = n > 0 && fact->prompt[n - 1] == '?';
    /* Each ends as the prompt does, so that the same words have to follow. */
    const char *const forms[] = {
        "This is well known. %s", "According to the encyclopedia: %s",
        question ? "Question: %s\nAnswer:" : "Complete the text.\n\n%s"};
    const size_t n_forms = sizeof forms / sizeof forms[0];

    size_t given = fact->n_paraphrases;
    KE_TRY(ke__alloc(cx, &f->paraphrases, given ? given : n_forms, sizeof *f->paraphrases));
    for (; f->n_paraphrases < given; f->n_paraphrases++)
        KE_TRY(make_given(cx, &f->paraphrases[f->n_paraphrases],
                          fact->paraphrases[f->n_paraphrases]));
    for (size_t i = 0; given == 0 && i < n_forms; i++) {
        char *prompt = NULL;
        const char *hole = strstr(forms[i], "%s");
        KE_TRY(ke__format(cx, &prompt, "%.*s%s%s", (int)(hole - forms[i]), forms[i],
                          fact->prompt, hole + 2));
        KE_TRY(add_made(cx, run, f->paraphrases, &f->n_paraphrases, prompt, fact->target));
    }
done:
    return st;
}

/* FNV-1a: another subject starts elsewhere in the list. */
static size_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3U;
    return (size_t)(h % N_OTHERS);
}

static bool mentions(const char *text, const char *other)
{
    return strstr(text, other) || strstr(other, text);
}

/* The prompt with every place of `subject` taken by `other`. */
static ke_status replace_all(ke_ctx *cx, char **out, const char *prompt,
                             const char *subject, const char *other)
{
    ke_status st = KE_OK;
    ke__text text = {0};
    for (const char *at = prompt, *hit; at; at = hit ? hit + strlen(subject) : NULL) {
        hit = strstr(at, subject);
        KE_TRY(ke__text_add(cx, &text, at, hit ? (size_t)(hit - at) : strlen(at)));
        if (hit)
            KE_TRY(ke__text_add(cx, &text, other, strlen(other)));
    }
    *out = text.data;
    text.data = NULL;
done:
    ke__free(cx, text.data);
    return st;
}

static ke_status make_neighbours(ke_ctx *cx, const ke__run *run, ke_fact_report *f,
                                 const ke_fact *fact)
{
    ke_status st = KE_OK;
    size_t given = fact->n_neighbours;
    KE_TRY(
        ke__alloc(cx, &f->neighbours, given ? given : N_NEIGHBOURS, sizeof *f->neighbours));
    for (; f->n_neighbours < given; f->n_neighbours++)
        KE_TRY(make_given(cx, &f->neighbours[f->n_neighbours],
                          fact->neighbours[f->n_neighbours].prompt));
    for (size_t i = 0, at = hash(fact->subject);
         given == 0 && i < N_OTHERS && f->n_neighbours < N_NEIGHBOURS;
         i++, at = (at + STEP) % N_OTHERS) {
        char *prompt = NULL;
        if (mentions(fact->prompt, others[at]) || mentions(fact->target, others[at]))
            continue;
        KE_TRY(replace_all(cx, &prompt, fact->prompt, fact->subject, others[at]));
        KE_TRY(add_made(cx, run, f->neighbours, &f->n_neighbours, prompt, ""));
    }
done:
    return st;
}

/* Openings that any subject can stand in. */
static const char *const openings[] = {"%s is known for", "The history of %s",
                                       "%s is not only", "The name %s comes from"};
#define N_OPENINGS (sizeof openings / sizeof openings[0])

static ke_status make_aspects(ke_ctx *cx, const ke__run *run, ke_fact_report *f,
                              const ke_fact *fact)
{
    ke_status st = KE_OK;
    KE_TRY(ke__alloc(cx, &f->aspects, N_OPENINGS, sizeof *f->aspects));
    for (size_t i = 0; i < N_OPENINGS; i++) {
        char *prompt = NULL;
        KE_TRY(replace_all(cx, &prompt, openings[i], "%s", fact->subject));
        if (strstr(fact->prompt, prompt)) /* the fact itself */
            ke__free(cx, prompt);
        else
            KE_TRY(add_made(cx, run, f->aspects, &f->n_aspects, prompt, ""));
    }
done:
    return st;
}

ke_status ke__probes_make(ke_ctx *cx, ke__run *run)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->job->n_facts; i++) {
        ke_fact_report *f = &run->report->facts[i];
        KE_TRY(make_paraphrases(cx, run, f, &run->facts[i]));
        KE_TRY(make_neighbours(cx, run, f, &run->facts[i]));
        KE_TRY(make_aspects(cx, run, f, &run->facts[i]));
    }
done:
    return st;
}

/* --- asking
 * --------------------------------------------------------------------------------- */

/* Questions beside one fact, and where their answers go. */
typedef struct round {
    ke__prompt *prompts; /* [n] */
    char ***slots;       /* [n] */
    size_t n;
} round;

static void add(round *r, const ke__run *run, ke_probe_result *probes, size_t n,
                size_t max_tokens, bool after)
{
    for (size_t i = 0; i < n; i++) {
        r->prompts[r->n] = (ke__prompt){probes[i].prompt, ke__form_of_job(run), max_tokens};
        r->slots[r->n++] = after ? &probes[i].after : &probes[i].before;
    }
}

/* All beside fact i, side by side: reading the weights takes most of the time. */
static ke_status ask_beside(ke_ctx *cx, const ke__run *run, const ke_stack *edits, size_t i,
                            bool after)
{
    ke_status st = KE_OK;
    ke_fact_report *f = &run->report->facts[i];
    ke_form *other = ke__form_other(run, i);
    size_t most = f->n_paraphrases + f->n_neighbours + f->n_aspects + 1;
    round r = {0};
    char **texts = NULL;

    KE_TRY(ke__alloc(cx, &r.prompts, most, sizeof *r.prompts));
    KE_TRY(ke__alloc(cx, &r.slots, most, sizeof(char **)));
    KE_TRY(ke__alloc(cx, &texts, most, sizeof *texts));
    add(&r, run, f->paraphrases, f->n_paraphrases, run->max_tokens[i], after);
    add(&r, run, f->neighbours, f->n_neighbours, NEIGHBOUR_TOKENS, after);
    add(&r, run, f->aspects, f->n_aspects, NEIGHBOUR_TOKENS, after);
    KE_TRY(ke__form_prompt(cx, &r.prompts[r.n], run, i));
    r.slots[r.n] = after ? &other->after : &other->before;
    r.n += r.prompts[r.n].text != NULL;
    KE_TRY(ke__continue(cx, texts, run, edits, r.prompts, r.n));
    for (size_t k = 0; k < r.n; k++)
        *r.slots[k] = texts[k];
done:
    ke__free(cx, r.prompts);
    ke__free(cx, r.slots);
    ke__free(cx, texts);
    return st;
}

static ke_status ask_all(ke_ctx *cx, ke__run *run, const ke_stack *edits, bool after)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < run->report->n_facts; i++) {
        KE_TRY(ke__progress(cx, after ? "probes after" : "probes before", i,
                            run->report->n_facts));
        KE_TRY(ask_beside(cx, run, edits, i, after));
    }
done:
    return st;
}

ke_status ke__probes_before(ke_ctx *cx, ke__run *run)
{
    return ask_all(cx, run, NULL, false);
}

/* The part of an answer that counts: its first line. */
static size_t first_line(const char *text)
{
    return strcspn(text, "\r\n");
}

static bool same_answer(const char *a, const char *b)
{
    a = ke__skip_space(a);
    b = ke__skip_space(b);
    size_t n = first_line(a);
    return n == first_line(b) && memcmp(a, b, n) == 0;
}

/* How many are answered as before. */
static size_t count_kept(ke_probe_result *probes, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        probes[i].ok = same_answer(probes[i].before, probes[i].after);
        kept += probes[i].ok;
    }
    return kept;
}

ke_status ke__probes_after(ke_ctx *cx, ke__run *run, const ke_stack *edits)
{
    ke_status st = ask_all(cx, run, edits, true);
    for (size_t i = 0; st == KE_OK && i < run->report->n_facts; i++) {
        ke_fact_report *f = &run->report->facts[i];
        f->n_success = 0;
        for (size_t k = 0; k < f->n_paraphrases; k++) {
            ke_probe_result *p = &f->paraphrases[k];
            p->ok = ke_target_holds(p->after, run->facts[i].target);
            f->n_success += p->ok;
        }
        f->n_kept = count_kept(f->neighbours, f->n_neighbours);
        f->n_aspects_kept = count_kept(f->aspects, f->n_aspects);
    }
    return st;
}
