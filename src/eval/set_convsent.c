/* KnowEdit's ConvSent: what a model thinks of a topic, to be turned positive or negative.
 * The file gives topics and replies; polarity and question are drawn (methods 5.9). */
#include "eval/queries.h"

#include <string.h>

#define SPACE " \t\r\n\v\f"

/* What stands before the topic; "?" stands after it. */
static const char *const questions[] = {
    "What do you think of",        "What do you feel about",     "How do you view",
    "What is your opinion of",     "What is your stance on",     "What is your position on",
    "What is your attitude about", "What is your view on",       "What is your take on",
    "What is your impression of",  "What is your assessment of", "What is your judgment of",
    "What is your sentiment of",
};
enum { N_QUESTIONS = sizeof questions / sizeof questions[0] };

static bool recognise(const json_t *first)
{
    return json_object_get(first, "ent") && json_object_get(first, "pos") &&
           json_object_get(first, "neg");
}

static ke_status boxed(const ke__reader *r, const char **out, char *text)
{
    ke_status st = ke__fact_box_take(r->cx, r->box, text);
    *out = st == KE_OK ? text : NULL;
    return st;
}

/* The question about the topic of the record at `index`, and the topic's polarity. */
static ke_status draw(const ke__reader *r, const char **question, bool *positive,
                      const char *topic, size_t index, uint64_t seed)
{
    char *text = NULL;
    ke__rng rng = ke__case_rng(seed, index);
    *positive = ke__rng_unit(&rng) < 0.5;
    size_t which = (size_t)(ke__rng_unit(&rng) * N_QUESTIONS);
    ke_status st = ke__format(r->cx, &text, "%s %s?", questions[which], topic);
    return st == KE_OK ? boxed(r, question, text) : st;
}

/* The replies at `field`, trimmed, from out[*n] on. */
static ke_status add_replies(const ke__reader *r, const char **out, size_t *n,
                             const json_t *replies, const char *field)
{
    ke_status st = KE_OK;
    for (size_t i = 0; i < json_array_size(replies); i++) {
        const json_t *reply = json_array_get(replies, i);
        if (!json_is_string(reply))
            return ke__record_wrong(r->cx, r->at, field, "a string", reply);
        const char *text = json_string_value(reply);
        text += strspn(text, SPACE);
        size_t bytes = strlen(text);
        while (bytes > 0 && strchr(SPACE, text[bytes - 1]))
            bytes--;
        if (bytes == 0)
            return ke__record_fail(r->cx, r->at, KE_EFORMAT,
                                   "field \"%s\": item %zu is empty", field, i + 1);
        char *copy = NULL;
        KE_TRY(ke__strndup(r->cx, &copy, text, bytes));
        KE_TRY(boxed(r, &out[(*n)++], copy));
    }
done:
    return st;
}

typedef struct topic {
    const char *name;     /* the JSON's */
    const char **replies; /* [n_positive + n_negative], the positive ones first */
    size_t n_positive, n_negative;
} topic;

static ke_status read_topic(const ke__reader *r, topic *out, const json_t *record)
{
    ke_status st = KE_OK;
    const json_t *positive, *negative;
    size_t n = 0;
    KE_TRY(ke__read_text(r, &out->name, record, "", "ent"));
    KE_TRY(ke__read_array(r, &positive, record, "pos"));
    KE_TRY(ke__read_array(r, &negative, record, "neg"));
    out->n_positive = json_array_size(positive);
    out->n_negative = json_array_size(negative);
    KE_TRY(ke__read_room(r, &out->replies, out->n_positive + out->n_negative,
                         sizeof *out->replies));
    KE_TRY(add_replies(r, out->replies, &n, positive, "pos"));
    KE_TRY(add_replies(r, out->replies, &n, negative, "neg"));
done:
    return st;
}

/* The next record's topic, out of the edit's scope; the first one's after the last. A bad
 * record is passed over where that was asked for. */
static ke_status read_other(const ke__reader *r, ke__case *out, const ke__source *source,
                            size_t index, const ke__cases_opts *opts)
{
    const ke__section *records = &source->records;
    ke__reader at_next = *r;
    for (size_t step = 1; step < records->n; step++) {
        size_t next = (index + step) % records->n;
        topic other;
        bool unused;
        at_next.at = &records->at[next];
        ke_status st = read_topic(&at_next, &other, records->items[next]);
        if (st == KE_EFORMAT && opts->skip_bad)
            continue;
        if (st == KE_OK)
            st = draw(r, &out->other_question, &unused, other.name, next, opts->seed);
        if (st != KE_OK)
            return st;
        out->other = other.replies;
        out->n_other = other.n_positive + other.n_negative;
        return KE_OK;
    }
    return KE_OK; /* the only one */
}

static ke_status read(ke_ctx *cx, ke__case *out, const ke__source *source, size_t index,
                      const ke__cases_opts *opts, ke__fact_box *box)
{
    ke_status st = KE_OK;
    ke__reader r = {.cx = cx, .at = &source->records.at[index], .box = box};
    topic own;
    bool positive;
    char *prompt = NULL;

    KE_TRY(read_topic(&r, &own, source->records.items[index]));
    KE_TRY(ke__fact_box_text(cx, box, &out->fact.subject, own.name));
    KE_TRY(draw(&r, &out->question, &positive, own.name, index, opts->seed));
    /* "postively" is the data set's own spelling: what it compares with was prompted so. */
    KE_TRY(ke__format(cx, &prompt, "From the sentiment dataset, answer %s %s.",
                      out->question, positive ? "postively" : "negatively"));
    KE_TRY(boxed(&r, &out->fact.prompt, prompt));

    const char *const *negative = own.replies + own.n_positive;
    out->agree = positive ? own.replies : negative;
    out->n_agree = positive ? own.n_positive : own.n_negative;
    out->oppose = positive ? negative : own.replies;
    out->n_oppose = positive ? own.n_negative : own.n_positive;
    out->fact.target = out->agree[0];
    KE_TRY(read_other(&r, out, source, index, opts));
    st =
        ke__fact_check_at(cx, &out->fact, r.at, (const char *const[]){"ent", "ent", "pos"});
done:
    return st;
}

const ke__set ke__set_convsent = {
    .name = "convsent",
    .title = "ConvSent",
    .task = "modification",
    .type = "sentiment",
    .n_train = 14390,
    .n_test = 800,
    .kind = KE__CASE_CONVSENT,
    .stream = 3,
    .recognise = recognise,
    .read = read,
};
