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
    ke_chat *chat = NULL;
    char *text = NULL;
    assert_int_equal(ke__chat_new(cx, &chat, template_text, "</e>", NULL), KE_OK);
    assert_int_equal(ke_chat_format(cx, &text, chat, message), KE_OK);
    assert_string_equal(text, want);
    ke_free(cx, text);
    ke_chat_free(cx, chat);
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
                  "<|user|>\nHi</e>\n<|assistant|>\n");
    expect_prompt("{{ '<|user|>\\n' + content + '\\n' }}{{ content + eos_token }}", "Hi",
                  "<|user|>\nHi\n<|assistant|>\n");
    expect_prompt("{{ '<|im_start|>user<|im_sep|>' + content + '<|im_end|>' }}", " Hi",
                  "<|im_start|>user<|im_sep|> Hi<|im_end|><|im_start|>assistant<|im_sep|>");
    expect_prompt(
        "{{ '<|im_system|>system<|im_middle|>You are K.<|im_end|>' }}<|im_user|>", "Hi",
        "<|im_system|>system<|im_middle|>You are K.<|im_end|><|im_user|>user<|im_middle|>Hi"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>");
    expect_prompt("{{ '[gMASK]<sop>' }}{{ '<|user|>\\n' + content }}", "Hi",
                  "[gMASK]<sop><|user|>\nHi<|assistant|>");
    expect_prompt("{{ '<|start_of_role|>user<|end_of_role|>' + content }}", "Hi",
                  "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
                  "<|start_of_role|>assistant<|end_of_role|>");
    expect_prompt("{{ '<\uff5cUser\uff5c>' + content }}", "Hi",
                  "<\uff5cUser\uff5c>Hi<\uff5cAssistant\uff5c>");
    expect_prompt("{{ '<|START_OF_TURN_TOKEN|>' + role }}", " Hi",
                  "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
                  "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>");
    expect_prompt("{{ 'GPT4 Correct ' + role }}", "Hi",
                  "GPT4 Correct User: Hi<|end_of_turn|>GPT4 Correct Assistant:");
    expect_prompt("{{ 'USER: ' + content + ' ASSISTANT:' }}", "Hi", "USER: Hi\nASSISTANT:");
    expect_prompt("{{ '### Instruction:\\n' + content + '\\n\\n### Response:\\n' }}", "Hi",
                  "### Instruction:\nHi\n\n### Response:\n");
}

/* Llama 3.1 puts its system message together; the date is the template's own. */
static void llama_3_1_begins_with_its_dates(void **state)
{
    (void)state;
    expect_prompt("{%- set date_string = \"26 Jul 2024\" %}{{- \"<|start_header_id|>system"
                  "<|end_header_id|>\\n\\n\" }}{{- \"Cutting Knowledge Date: December "
                  "2023\\n\" }}{{- \"Today Date: \" + date_string + \"\\n\\n\" }}",
                  "Hi",
                  "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                  "December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>"
                  "user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant"
                  "<|end_header_id|>\n\n");
}

/* A name beats what the template says; of rows with that name, the one that fits. */
static void a_family_can_be_named(void **state)
{
    (void)state;
    static const struct {
        const char *template_text, *name, *family, *head, *tail;
    } cases[] = {
        {NULL, "chatml", "ChatML", "<|im_start|>user\n",
         "<|im_end|>\n<|im_start|>assistant\n"},
        {smollm2, "gemma", "Gemma", "<start_of_turn>user\n",
         "<end_of_turn>\n<start_of_turn>model\n"},
        {NULL, "LLAMA-2", "Llama 2", "[INST] ", " [/INST]"},
        {NULL, "Mistral", "Mistral", "[INST] ", " [/INST]"},
        {"{{ '[INST]' + content + '[/INST]' }}", "mistral", "Mistral", "[INST]", "[/INST]"},
        {NULL, "command_r", "Command R", "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
         "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"},
    };
    ke_ctx *cx = ke_ctx_new(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ke_chat *chat = NULL;
        assert_int_equal(
            ke__chat_new(cx, &chat, cases[i].template_text, NULL, cases[i].name), KE_OK);
        assert_string_equal(chat->family, cases[i].family);
        assert_string_equal(chat->head, cases[i].head);
        assert_string_equal(chat->tail, cases[i].tail);
        ke_chat_free(cx, chat);
    }
    ke_chat_free(cx, NULL);
    ke_ctx_free(cx);
}

static void an_unknown_family_names_the_known(void **state)
{
    (void)state;
    ke_ctx *cx = ke_ctx_new(NULL);
    ke_chat *chat = NULL;
    static const char known[] =
        "known are Phi-4, ChatML, Kimi, Llama 3.1, Llama 3, Gemma, Llama 2, Mistral, GLM, "
        "Phi-3, Zephyr, Tulu, Granite, DeepSeek, Command R, OpenChat, Vicuna, Alpaca";
    assert_int_equal(ke__chat_new(cx, &chat, "{{ '<|start|>user' }}", NULL, NULL),
                     KE_ENOTSUP);
    assert_null(chat);
    assert_non_null(strstr(ke_ctx_message(cx), "of no known family; known"));
    assert_non_null(strstr(ke_ctx_message(cx), known));
    assert_int_equal(ke__chat_new(cx, &chat, NULL, NULL, "Lama"), KE_EINVAL);
    assert_null(chat);
    assert_non_null(strstr(ke_ctx_message(cx), "\"Lama\""));
    assert_non_null(strstr(ke_ctx_message(cx), known));
    /* What tells a family may stand behind any of its marks. */
    assert_string_equal("Zephyr", ke__chat_family("{{ '<|user|>' }}\n"
                                                  "{{ '<|user|><|user|>' + eos_token }}"));
    /* Near a family, and none of it. */
    assert_null(ke__chat_family("{{ '<|user|>' }}{{ '<|user|>' + eos_token"));
    assert_null(ke__chat_family("{{ '<|user|>' }}{{ eos_token }}"));
    assert_null(ke__chat_family("{{ '### Instruction:\\n' + content + '\\n' }}\n"
                                "{{ '### Response:\\n' + content + '\\n\\n' }}"));
    assert_null(ke__chat_family("{{ '<|start|>user' }}"));
    assert_null(ke__chat_family(NULL));
    ke_ctx_free(cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chatml_writes_the_default_system_message),
        cmocka_unit_test(a_system_message_is_a_whole_literal),
        cmocka_unit_test(every_family_has_its_layout),
        cmocka_unit_test(llama_3_1_begins_with_its_dates),
        cmocka_unit_test(a_family_can_be_named),
        cmocka_unit_test(an_unknown_family_names_the_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
