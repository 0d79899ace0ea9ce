/* Where the splits cut, with "|" shown at each cut. What is not evident from the patterns
 * was taken from llama.cpp, whose own tables and code these stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "token/regex.h"
#include "token/tokenizer.h"

#include <string.h>

typedef struct shown {
    const char *text;
    char words[512];
    size_t bytes;
} shown;

static ke_status show(void *payload, size_t from, size_t to)
{
    shown *s = payload;
    if (s->bytes > 0)
        s->words[s->bytes++] = '|';
    memcpy(s->words + s->bytes, s->text + from, to - from);
    s->bytes += to - from;
    return KE_OK;
}

static const struct {
    const char *split, *words; /* "|" is in no text */
} cases[] = {
    {"gpt-2", "I|'ll|'|LL| don|'t|'|S"},
    {"gpt-2", "a|  | b|\t|c|\n\n|\n|d|   "},
    {"gpt-2", "12345| 678|x|9½²| Ⅷ|!?| $,"},
    {"gpt-2", "漢字e|\u0301\U0001F600| naïve"},
    {"smollm", "1|2|3| |4|x|½|²| !?"},
    {"smollm", "a|  |1| b|  "},
    {"llama-bpe", "I|'ll|'LL|'Re|\tx|.y| z|!!\r\n|123|45| |6"},
    {"llama-bpe", "a|  \n \n|  | b|  "},
    {"llama-bpe", "'ſ|(ab|)\n\r\n| \n|x"},
    {"qwen2", "1|2|3| |4|'S|x|\t\t|\ty"},
    {"default", "a|!|b|$+|123|45|x| |<-"},
    /* U+180E is no white space, U+0085 and U+2003 are. */
    {"gpt-2", "a|\u180E\u180E|b"},
    {"gpt-2", "a|\u2003|\u2003|b|\xC2\x85|c"},
    /* Letters and numbers of Unicode 15 and 15.1. */
    {"gpt-2", "a\U00031350\U0002EBF0|1\U0001D2C0|a"},
    {"smollm", "a|\U0001E4F0|\U00011F50|b"},
    /* Control characters, unassigned ones and U+FFFD are like punctuation. */
    {"gpt-2", "a|\x01\x7F\uFFFD.|b|\U000E0080"},
    /* A byte that is no UTF-8 is alone: stray, cut short, overlong, a surrogate, too large.
     */
    {"gpt-2", "a|\x80|\xE6|\xBC|b"},
    {"gpt-2", "a|\xC0|\xAF|b| |\xED|\xA0|\x80| c"},
    {"qwen2", "\xF4|\x90|\x80|\x80|漢|\xF0"},
};

static void cuts_where_expected(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    assert_non_null(cx);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        size_t n = 0;
        for (const char *c = cases[i].words; *c; c++)
            if (*c != '|')
                text[n++] = *c;
        shown s = {.text = text};
        ke__splitter *sp = NULL;
        void *match = NULL;
        const ke__split *split =
            ke__split_find((ke__gguf_str){cases[i].split, strlen(cases[i].split)});
        assert_non_null(split);
        assert_int_equal(ke__splitter_new(cx, &sp, split), KE_OK);
        assert_int_equal(ke__regex_match_new(cx, &match), KE_OK);
        assert_int_equal(ke__splitter_run(cx, sp, match, text, 0, n, show, &s), KE_OK);
        assert_string_equal(s.words, cases[i].words);
        ke__regex_match_free(match);
        ke__splitter_free(cx, sp);
    }
    ke_ctx_free(cx);
}

static void a_name_is_matched_whole(void **state)
{
    (void)state;
    assert_null(ke__split_find((ke__gguf_str){"qwen", 4}));
    assert_null(ke__split_find((ke__gguf_str){"qwen25", 6}));
    assert_null(ke__split_find((ke__gguf_str){"", 0}));
    assert_non_null(ke__split_find((ke__gguf_str){"qwen25", 5}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_where_expected),
        cmocka_unit_test(a_name_is_matched_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
