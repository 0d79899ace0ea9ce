/* Chat layouts: a template text and a message in, the prompt out. The templates are cut
 * down to what tells the families apart; the prompts are what the whole ones give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "token/token.h"

#include <string.h>

static void expect_prompt(const char *template_text, const char *message, const char *want)
{
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text = NULL;
    assert_int_equal(ke__chat_format(cx, &text, template_text, message), KE_OK);
    assert_string_equal(text, want);
    ke_free(cx, text);
    ke_ctx_free(cx);
}

/* As SmolLM2-135M-Instruct has it: line breaks are real ones. */
static const char smollm2[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
    "Hugging "
    "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

/* As Qwen2.5 has it: line breaks are escapes, and other literals begin the same way. */
static const char qwen2[] =
    "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n{{- \"# Tools<|im_end|>\\n\" }}\n"
    "{%- else %}\n    {%- if messages[0]['role'] == 'system' %}\n"
    "        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "    {%- else %}\n        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba "
    "Cloud. You are a helpful assistant.<|im_end|>\\n' }}\n    {%- endif %}\n{%- endif "
    "%}\n";

static void chatml_writes_the_default_system_message(void **state)
{
    (void)state;
    expect_prompt(
        smollm2, "Hi",
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
        "Hugging Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n");
    expect_prompt(qwen2, " Hi ",
                  "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a "
                  "helpful assistant.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
                  "<|im_start|>assistant\n");
}

static void a_system_message_is_a_whole_literal(void **state)
{
    (void)state;
    static const char bare[] = "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n";
    static const char with[] = "<|im_start|>system\nIt's \"so\"<|im_end|>\n"
                               "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n";
    expect_prompt("{{ '<|im_start|>' + role + '\\n' }}", "x", bare);
    expect_prompt("{{ '<|im_start|>system\\n' + content + '<|im_end|>' }}", "x", bare);
    expect_prompt("{{ '<|im_start|>system\\n<|im_end|>' }}", "x", bare);
    expect_prompt("{{ \"<|im_start|>system\\nIt's \\\"so\\\"<|im_end|>\\n\" }}", "x", with);
    expect_prompt("{% if a %}<|im_start|>system\nIt's \"so\"<|im_end|>{% endif %}", "x",
                  with);
    /* A quote in a comment opens nothing; an open tag or string at the end is no trap. */
    expect_prompt("{# it's #}{{ '<|im_start|>system\\nIt\\'s \"so\"<|im_end|>' }}", "x",
                  with);
    expect_prompt("<|im_start|>{{ 'open\\", "x", bare);
    expect_prompt("<|im_start|>{", "x", bare);
    expect_prompt("<|im_start|>{%", "x", bare);
}

static void every_family_has_its_layout(void **state)
{
    (void)state;
    expect_prompt("{{ '<|start_header_id|>' + role }}", " Hi\n",
                  "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                  "<|start_header_id|>assistant<|end_header_id|>\n\n");
    expect_prompt("{{ '<start_of_turn>' + role }}", "Hi ",
                  "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n");
    expect_prompt("{{ '<<SYS>>' }}{{ '[INST] ' + content.strip() + ' [/INST]' }}", " Hi ",
                  "[INST] Hi [/INST]");
    expect_prompt("{{ '[INST] ' + content + ' [/INST]' }}", "Hi", "[INST] Hi [/INST]");
    expect_prompt("{{ '[INST] ' + content + '[/INST]' }}", "Hi", "[INST] Hi[/INST]");
    expect_prompt("{{ '[INST]' + content + '[/INST]' }}", "Hi", "[INST]Hi[/INST]");
    expect_prompt("{{ '<|user|>\\n' + content + '<|end|>\\n' }}", "Hi",
                  "<|user|>\nHi<|end|>\n<|assistant|>\n");
    expect_prompt("{{ '<|user|>\\n' + content + eos_token }}", "Hi",
                  "<|user|>\nHi</s>\n<|assistant|>\n");
}

static void an_unknown_family_names_the_known(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    char *text = NULL;
    assert_int_equal(ke__chat_format(cx, &text, "{{ '<|start|>user' }}", "Hi"), KE_ENOTSUP);
    assert_null(text);
    assert_non_null(strstr(ke_ctx_message(cx), "known are ChatML, Llama 3, Gemma, Llama 2, "
                                               "Mistral, Phi-3, Zephyr"));
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chatml_writes_the_default_system_message),
        cmocka_unit_test(a_system_message_is_a_whole_literal),
        cmocka_unit_test(every_family_has_its_layout),
        cmocka_unit_test(an_unknown_family_names_the_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
