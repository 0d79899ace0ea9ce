/* Any text as a chat template: a message laid out by it, or a line that says what is known.
 * What follows the first NUL is the message; without one it is " message ". A family is
 * named by the text, too: by its first line. */
#include "token/token.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const char *prompt, const char *message)
{
    static const char space[] = " \t\n\v\f\r";
    size_t n = strlen(message), from = strspn(message, space);
    while (n > from && strchr(space, message[n - 1]))
        n--;
    if (!memmem(prompt, strlen(prompt), message + from, n - from))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    ke_ctx *cx = ke_ctx_new(&(ke_ctx_opts){.n_threads = 1});
    /* A block of the input's own length, so that sanitizers see its end. */
    char *text = malloc(bytes + 1), *prompt = NULL, name[16];
    ke_chat *chat = NULL;
    if (!cx || !text)
        abort();
    if (bytes > 0)
        memcpy(text, data, bytes);
    text[bytes] = '\0';
    size_t n = strlen(text);
    const char *message = n < bytes ? text + n + 1 : " message ";
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "\n"), text);
    for (int named = 0; named < 2; named++) {
        ke_status st =
            ke__chat_new(cx, &chat, text, bytes % 2 ? "</s>" : NULL, named ? name : NULL);
        if (st == KE_OK && ke_chat_format(cx, &prompt, chat, message) == KE_OK)
            check(prompt, message);
        else if (chat || prompt || !*ke_ctx_message(cx))
            abort();
        ke_chat_free(cx, chat);
        ke_free(cx, prompt);
        prompt = NULL;
    }
    free(text);
    if (cx->live_bytes != 0)
        abort();
    ke_ctx_free(cx);
    return 0;
}
