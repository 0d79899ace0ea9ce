#include "base/json.h"

struct sink {
    ke_ctx *cx;
    ke__text text;
    ke_status st;
};

static int add(const char *data, size_t bytes, void *payload)
{
    struct sink *to = payload;
    /* jansson goes on after a failure at an object's key: the first one counts. */
    if (to->st == KE_OK)
        to->st = ke__text_add(to->cx, &to->text, data, bytes);
    return to->st == KE_OK ? 0 : -1;
}

ke_status ke__json_text(ke_ctx *cx, char **out, const json_t *value, unsigned digits)
{
    struct sink to = {.cx = cx};
    *out = NULL;
    if (value &&
        json_dump_callback(value, add, &to, JSON_COMPACT | JSON_REAL_PRECISION(digits)) ==
            0 &&
        to.st == KE_OK) {
        *out = to.text.data;
        return KE_OK;
    }
    ke__free(cx, to.text.data);
    return ke__fail(cx, KE_ENOMEM, NULL, "out of memory for JSON text");
}
