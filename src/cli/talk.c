#include "base/utf8.h"
#include "cli/cli.h"

#include <string.h>

void ke__talk_clear(ke__cli *c)
{
    if (!c->talk.shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    c->talk.shown = false;
}

void ke__talk_say(ke__cli *c, const char *format, ...)
{
    if (c->quiet)
        return;
    ke__talk_clear(c);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void ke__talk_progress(const char *what, uint64_t done, uint64_t total, void *cli)
{
    ke__cli *c = cli;
    ke__talk *t = &c->talk;
    if (!t->terminal || c->quiet || total == 0)
        return;
    double now = ke__now();
    if (strncmp(t->what, what, sizeof t->what - 1) != 0) {
        snprintf(t->what, sizeof t->what, "%s", what);
        t->begun = now;
        t->drawn = 0;
    }
    if (done >= total) {
        t->what[0] = '\0'; /* the same step may come again: its clock starts anew */
        ke__talk_clear(c);
        return;
    }
    if (now - t->drawn < 0.1)
        return;
    t->drawn = now;
    double left = done > 0 ? (now - t->begun) / (double)done * (double)(total - done) : 0;
    fprintf(stderr, "\r\033[K%s: %3d %%", what, (int)((double)done / (double)total * 100));
    if (done > 0 && now - t->begun > 1)
        fprintf(stderr, ", %d:%02d left", (int)left / 60, (int)left % 60);
    fflush(stderr);
    t->shown = true;
}

void ke__talk_error(ke__cli *c, ke_status st, const char *where, const char *message)
{
    ke__talk_clear(c);
    bool named = where[0] == '\0' || strstr(message, where) != NULL;
    fprintf(stderr, "knowedit: %s%s%s\n", named ? "" : where, named ? "" : ": ", message);
    if (!c->json)
        return;
    json_t *error = json_pack("{s:s, s:{s:s, s:o, s:o}}", "schema", "knowedit.error/1",
                              "error", "code", ke_status_name(st), "message",
                              ke__json_string(message), "where", ke__json_string(where));
    if (ke__result_json(c, error) !=
        KE_OK) /* then stdout is broken, and the exit code says so */
        fputs("knowedit: the error object could not be printed\n", stderr);
}

/* One character, spelled out where a terminal could take it for more; its bytes. */
static size_t put_char(FILE *f, const char *text, size_t left)
{
    unsigned char byte = (unsigned char)*text;
    size_t n = ke__utf8_char(text, left);
    if (byte == '\n')
        fputs("\\n", f);
    else if (byte == '\t')
        fputs("\\t", f);
    else if (n == 0 || byte < 0x20 || byte == 0x7F)
        fprintf(f, "\\x%02x", byte);
    else
        fwrite(text, 1, n, f);
    return n > 0 ? n : 1;
}

void ke__talk_quote(FILE *f, const char *text, size_t max)
{
    size_t left = strlen(text);
    fputc('"', f);
    for (size_t shown = 0; left > 0; shown++) {
        if (shown == max) {
            fputs("...", f);
            break;
        }
        if (*text == '"' || *text == '\\')
            fputc('\\', f);
        size_t n = put_char(f, text, left);
        text += n;
        left -= n;
    }
    fputc('"', f);
}

void ke__talk_plain(FILE *f, const char *text, size_t width)
{
    size_t left = strlen(text), shown = 0;
    for (size_t n; left > 0; shown++, text += n, left -= n)
        n = put_char(f, text, left);
    for (; shown < width; shown++)
        fputc(' ', f);
}

const char *ke__talk_size(char out[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double n = (double)bytes;
    size_t unit = 0;
    while (n >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        n /= 1000;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
    return out;
}
