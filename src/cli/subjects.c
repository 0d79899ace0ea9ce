#include "cli/subjects.h"

#include "base/file.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_BYTES ((size_t)1 << 30)

/* Ask until the answer is a part of the prompt; an empty one takes the first candidate. */
static const char *ask(const char *prompt, const char *const *candidates, size_t n,
                       void *subjects)
{
    ke__subjects *s = subjects;
    for (;;) {
        ke__talk_clear(s->c);
        fputs("Which part of ", stderr);
        ke__talk_quote(stderr, prompt, 120);
        fputs(" is its subject?", stderr);
        for (size_t i = 0; i < n && i < 3; i++) {
            fputs(i ? " or " : " Perhaps ", stderr);
            ke__talk_quote(stderr, candidates[i], 60);
        }
        fputs(n > 0 ? " (Enter: the first)\n> " : "\n> ", stderr);
        ssize_t bytes = getline(&s->line, &s->room, stdin);
        if (bytes < 0)
            return NULL;
        while (bytes > 0 && strchr(" \t\r\n", s->line[bytes - 1]) != NULL)
            s->line[--bytes] = '\0';
        const char *answer = s->line + strspn(s->line, " \t");
        if (*answer == '\0' && n > 0)
            return candidates[0];
        if (*answer != '\0' && strstr(prompt, answer) != NULL)
            return answer;
        fputs("That is no part of it.\n", stderr);
    }
}

static ke_status read_names(ke__subjects *s, const char *path)
{
    ke_status st = KE_OK;
    ke_ctx *cx = s->c->cx;
    size_t bytes = 0, room = 0, line = 1;

    KE_TRY(ke__file_read(cx, &s->text, &bytes, path, LIST_BYTES));
    char *at = s->text + (strncmp(s->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0), *end;
    for (; at < s->text + bytes; at = end + 1, line++) {
        end = memchr(at, '\n', (size_t)(s->text + bytes - at));
        end = end != NULL ? end : s->text + bytes;
        size_t n = (size_t)(end - at);
        if (memchr(at, 0, n) != NULL || ke__utf8_prefix(at, n) < n)
            return ke__fail(cx, KE_EFORMAT, path, "%s:%zu: expected a name in UTF-8", path,
                            line);
        while (n > 0 && strchr(" \t\r", at[n - 1]) != NULL)
            n--;
        at[n] = '\0';
        at += strspn(at, " \t");
        if (*at == '\0')
            continue;
        if (s->opts.n_names == room) {
            room = room > 0 ? 2 * room : 64;
            KE_TRY(ke__resize(cx, &s->names, room, sizeof *s->names));
        }
        s->names[s->opts.n_names++] = at;
    }
    if (s->opts.n_names == 0)
        return ke__fail(cx, KE_EFORMAT, path, "%s: no names in it, expected one a line",
                        path);
    s->opts.names = s->names;
done:
    return st;
}

ke_status ke__subjects_open(ke__cli *c, ke__subjects *out, const char *path, bool asks)
{
    *out = (ke__subjects){.c = c};
    if (asks && !c->json && !c->quiet && isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) {
        out->opts.ask = ask;
        out->opts.payload = out;
    }
    return path != NULL ? read_names(out, path) : KE_OK;
}

void ke__subjects_free(ke__subjects *s)
{
    if (s->c == NULL)
        return;
    ke__free(s->c->cx, s->names);
    ke__free(s->c->cx, s->text);
    free(s->line);
}
