/* Byte-level vocabularies write bytes as printable characters: those that print in Latin-1
 * stand for themselves, the others, 0 to 0x20, 0x7F to 0xA0 and 0xAD, are numbered from
 * U+0100 on. */
#include "token/tokenizer.h"

enum { LOW = 0x100, HIGH = LOW + 0x21, SOFT_HYPHEN = HIGH + 0x22, END };

static unsigned character(uint8_t byte)
{
    if (byte <= 0x20)
        return LOW + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return HIGH + byte - 0x7FU;
    return byte == 0xAD ? SOFT_HYPHEN : byte;
}

/* The byte that a character stands for; -1: none. */
static int byte_of(unsigned code)
{
    if (code >= END)
        return -1;
    if (code == SOFT_HYPHEN)
        return 0xAD;
    if (code >= HIGH)
        return (int)code - HIGH + 0x7F;
    if (code >= LOW)
        return (int)code - LOW;
    return character((uint8_t)code) == code ? (int)code : -1;
}

size_t ke__alphabet_spell(char *out, uint8_t byte)
{
    unsigned c = character(byte);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

size_t ke__alphabet_read(char *out, const void *unused, ke__gguf_str text)
{
    (void)unused;
    size_t n = 0;
    for (uint64_t i = 0; i < text.bytes; i++) {
        uint8_t c = (uint8_t)text.data[i];
        unsigned code = c;
        if (c >= 0xC2 && c < 0xE0 && i + 1 < text.bytes &&
            (text.data[i + 1] & 0xC0) == 0x80)
            code = (c & 0x1FU) << 6 | (text.data[i + 1] & 0x3FU);
        else if (c >= 0x80)
            code = END;
        int byte = byte_of(code);
        out[n++] = byte >= 0 ? (char)byte : (char)c;
        i += byte >= 0 && code >= 0x80;
    }
    return n;
}
