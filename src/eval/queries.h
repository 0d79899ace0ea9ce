/* What the readers of the sets share: answers, questions and parts of a record as a case
 * holds them. Messages name a field by its path, e.g. "locality.Forgetfulness[0].prompt".
 */
#ifndef KE_EVAL_QUERIES_H
#define KE_EVAL_QUERIES_H

#include "eval/case.h"

typedef struct ke__reader {
    ke_ctx *cx;
    const ke__record *at;
    ke__fact_box *box;
    size_t n_skipped;
    /* The user's own files: a question may lack an answer. It cannot be scored, so it is
     * skipped and counted. */
    bool loose;
} ke__reader;

/* n zeroed items that the box owns, into *out (a pointer to a pointer). */
KE_MUST_CHECK ke_status ke__read_room(const ke__reader *r, void *out, size_t n,
                                      size_t size);
/* A string that is not blank, of an object that must have it. `path` names the object and
 * ends in a dot; "" is the record. The text is the JSON's. */
KE_MUST_CHECK ke_status ke__read_text(const ke__reader *r, const char **out,
                                      const json_t *object, const char *path,
                                      const char *field);
/* An array that is not empty, of an object that must have it. */
KE_MUST_CHECK ke_status ke__read_array(const ke__reader *r, const json_t **out,
                                       const json_t *object, const char *field);

/* Answers: a string; a list, each item an answer; an item that is a list has the names of
 * one answer. Empty answers and names are left out and counted; *n is 0 if the first one
 * is empty, which is where EasyEdit skips the question. */
KE_MUST_CHECK ke_status ke__read_answers(ke__reader *r, const ke__names **out, size_t *n,
                                         const char *field, const json_t *value);
/* Where the target of an edit is a list, all that it holds are right answers. */
KE_MUST_CHECK ke_status ke__read_targets(ke__reader *r, ke__case *out,
                                         const json_t *request);
/* The old answers at `field`: as above, but an empty list is an error, and blank texts are
 * no answers. */
KE_MUST_CHECK ke_status ke__read_old(ke__reader *r, ke__case *out, const char *field,
                                     const json_t *value);

/* One part: questions of the strings in the array (or of the one string) `prompts`, all
 * with the same answers. */
KE_MUST_CHECK ke_status ke__read_prompts(ke__reader *r, ke__part_queries *out,
                                         const char *name, const char *field,
                                         const json_t *prompts, const ke__names *answers,
                                         size_t n_answers);
/* The groups of the record's object at `key`, if it has one: a list of {"prompt",
 * "ground_truth"}, or one such object, or one of parallel lists. */
KE_MUST_CHECK ke_status ke__read_parts(ke__reader *r, const ke__part_queries **out,
                                       size_t *n, const json_t *record, const char *key);

/* The edit of a fact; its paraphrases are the case's rephrases. */
void ke__take_fact(ke__case *out, const ke_fact *fact);
/* A record of KnowEdit's factual sets: the edit, its old answers and rephrases, and both
 * groups of parts. */
KE_MUST_CHECK ke_status ke__read_fact_case(ke__reader *r, ke__case *out,
                                           const json_t *record);
/* Whether a record has "portability" or "locality" with no groups but KnowEdit's. */
bool ke__has_knowedit_parts(const json_t *record);

/* The numbers that a set draws for the case at `index`, apart from those of every other. */
ke__rng ke__case_rng(uint64_t seed, size_t index);

#endif
