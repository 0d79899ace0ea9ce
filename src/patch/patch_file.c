/* Patch files, as docs/patch-format.md describes them. A file is hostile until its parts
 * are checked: the checksum tells damage, not intent. */
#include "patch/kinds.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

static const char magic[8] = {'K', 'E', 'P', 'A', 'T', 'C', 'H', '\n'};
enum { VERSION = 1, HASH_BYTES = 64 };

struct prefix {
    char magic[8];
    uint32_t version, reserved;
    uint64_t header_bytes, payload_bytes;
};
_Static_assert(sizeof(struct prefix) == 32, "the layout of the file");

/* --- writing ----------------------------------------------------------------------- */

static ke_status put_parts(ke_ctx *cx, json_t *header, ke__payload *payload,
                           const ke_patch *p)
{
    ke_status st = KE_OK;
    json_t *entry = NULL, *list = json_array();

    for (size_t i = 0; i < p->n_parts; i++) {
        KE_TRY(ke__part_entry(cx, &entry, &p->parts[i]));
        const ke__kind *kind = ke__kind_of(p->parts[i].kind);
        if (kind->save)
            KE_TRY(kind->save(cx, payload, entry, &p->parts[i]));
        if (json_array_append(list, entry) != 0) {
            st = ke__fail(cx, KE_ENOMEM, NULL, "no memory for JSON");
            goto done;
        }
        json_decref(entry);
        entry = NULL;
    }
    KE_TRY(ke__json_put(cx, header, "parts", json_incref(list)));
done:
    json_decref(entry);
    json_decref(list);
    return st;
}

static json_t *files_json(const ke__recipe *recipe)
{
    json_t *list = json_array();
    bool ok = list != NULL;

    for (size_t i = 0; ok && i < recipe->n_files; i++)
        ok = ke__json_add(list, json_pack("[sI]", recipe->files[i].name,
                                          (json_int_t)recipe->files[i].bytes));
    return ke__json_done(list, ok);
}

static ke_status put_undo(ke_ctx *cx, json_t *header, ke__payload *payload,
                          const ke__recipe *recipe)
{
    ke_status st = KE_OK;
    json_t *undo = json_object(), *list = json_array();

    for (size_t i = 0; i < recipe->n_pieces; i++) {
        const ke__piece *piece = &recipe->pieces[i];
        json_t *entry = json_pack("[III]", (json_int_t)piece->source,
                                  (json_int_t)piece->offset, (json_int_t)piece->bytes);
        if (json_array_append_new(list, entry) != 0) {
            st = ke__fail(cx, KE_ENOMEM, NULL, "no memory for JSON");
            goto done;
        }
    }
    KE_TRY(ke__json_put(cx, undo, "pieces", json_incref(list)));
    if (recipe->n_files > 0)
        KE_TRY(ke__json_put(cx, undo, "files", files_json(recipe)));
    KE_TRY(ke__json_put(cx, undo, "literal_bytes",
                        json_integer((json_int_t)recipe->literal_bytes)));
    KE_TRY(ke__payload_add(cx, payload, undo, "literal", recipe->literal,
                           recipe->literal_bytes));
    KE_TRY(ke__json_put(cx, header, "undo", json_incref(undo)));
done:
    json_decref(undo);
    json_decref(list);
    return st;
}

static ke_status build_header(ke_ctx *cx, char **out, ke__payload *payload,
                              const ke_patch *p)
{
    ke_status st = KE_OK;
    json_t *header = json_object();

    KE_TRY(ke__json_put(cx, header, "meta", json_loads(p->meta, 0, NULL)));
    KE_TRY(put_parts(cx, header, payload, p));
    if (p->undo.n_pieces > 0)
        KE_TRY(put_undo(cx, header, payload, &p->undo));
    KE_TRY(ke__json_text(cx, out, header, 17));
done:
    json_decref(header);
    return st;
}

static ke_status put(ke_ctx *cx, ke__out *out, ke__sha256 *sha, const void *data,
                     size_t bytes)
{
    ke__sha256_add(sha, data, bytes);
    return ke__out_write(cx, out, data, bytes);
}

ke_status ke__patch_write(ke_ctx *cx, ke__out *out, const ke_patch *p)
{
    ke_status st = KE_OK;
    ke__payload payload = {0};
    ke__sha256 *sha = NULL;
    char *header = NULL, hex[HASH_BYTES + 1];
    struct prefix prefix = {.version = VERSION};

    KE_TRY(build_header(cx, &header, &payload, p));
    KE_TRY(ke__sha256_new(cx, &sha));
    memcpy(prefix.magic, magic, sizeof magic);
    prefix.header_bytes = strlen(header);
    prefix.payload_bytes = payload.bytes;
    KE_TRY(put(cx, out, sha, &prefix, sizeof prefix));
    KE_TRY(put(cx, out, sha, header, prefix.header_bytes));
    for (size_t i = 0; i < payload.n; i++)
        KE_TRY(put(cx, out, sha, payload.blobs[i].data, payload.blobs[i].bytes));
    ke__sha256_hex(sha, hex);
    KE_TRY(ke__out_write(cx, out, hex, HASH_BYTES));
done:
    ke__sha256_free(cx, sha);
    ke__free(cx, header);
    ke__free(cx, payload.blobs);
    return st;
}

ke_status ke_patch_save(ke_ctx *cx, const ke_patch *patch, const char *path, bool force)
{
    ke_status st = KE_OK;
    ke__out out = {.fd = -1};
    char hex[HASH_BYTES + 1];

    KE_TRY(ke__out_open(cx, &out, path, force));
    KE_TRY(ke__patch_write(cx, &out, patch));
    KE_TRY(ke__out_sync(cx, &out, hex));
    KE_TRY(ke__out_commit(cx, &out));
done:
    ke__out_close(cx, &out);
    return st;
}

/* --- reading ----------------------------------------------------------------------- */

static ke_status read_part(ke_ctx *cx, ke_patch *p, ke__source *src, const json_t *entry)
{
    ke_status st = KE_OK;
    ke__part *part = NULL;
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    const char *tensor = json_string_value(json_object_get(entry, "tensor"));

    KE_TRY(ke__patch_next_part(cx, p, &part));
    if (!kind || !ke__kind_named(&part->kind, kind) ||
        (!tensor && !ke__kind_of(part->kind)->no_tensor)) {
        st = ke__fail(cx, KE_EFORMAT, src->path,
                      "part %zu: expected a \"kind\" that version %s knows, and its "
                      "\"tensor\"",
                      p->n_parts, KE_VERSION);
        goto done;
    }
    p->n_parts++; /* from here on it is freed with the patch */
    if (!ke__kind_of(part->kind)->no_tensor) {
        KE_TRY(ke__source_u64(cx, src, entry, "rows", 1, INT64_MAX, &part->rows));
        KE_TRY(ke__source_u64(cx, src, entry, "cols", 1, INT64_MAX, &part->cols));
        KE_TRY(ke__strdup(cx, &part->tensor, tensor));
    }
    KE_TRY(ke__kind_of(part->kind)->load(cx, part, src, entry));
done:
    return st;
}

static ke_status read_piece(ke_ctx *cx, ke__piece *out, const ke__source *src,
                            const json_t *entry)
{
    const json_t *source = json_array_get(entry, 0), *offset = json_array_get(entry, 1),
                 *bytes = json_array_get(entry, 2);

    if (json_array_size(entry) != 3 || !json_is_integer(source) ||
        !json_is_integer(offset) || !json_is_integer(bytes) ||
        json_integer_value(source) < 0 || json_integer_value(offset) < 0 ||
        json_integer_value(bytes) < 0)
        return ke__fail(cx, KE_EFORMAT, src->path,
                        "an undo piece: expected [source, offset, bytes]");
    *out = (ke__piece){(uint64_t)json_integer_value(source),
                       (uint64_t)json_integer_value(offset),
                       (uint64_t)json_integer_value(bytes)};
    return KE_OK;
}

static ke_status read_files(ke_ctx *cx, ke__recipe *out, const ke__source *src,
                            const json_t *list)
{
    ke_status st = KE_OK;

    if (json_array_size(list) == 0)
        return KE_OK;
    KE_TRY(ke__alloc(cx, &out->files, json_array_size(list), sizeof *out->files));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i), *bytes = json_array_get(entry, 1);
        const char *name = json_string_value(json_array_get(entry, 0));
        if (json_array_size(entry) != 2 || !name || json_integer_value(bytes) <= 0) {
            st =
                ke__fail(cx, KE_EFORMAT, src->path, "an undo file: expected [name, bytes]");
            goto done;
        }
        KE_TRY(ke__strdup(cx, &out->files[i].name, name));
        out->files[i].bytes = (uint64_t)json_integer_value(bytes);
        out->n_files++;
    }
done:
    return st;
}

static ke_status read_undo(ke_ctx *cx, ke__recipe *out, ke__source *src, const json_t *undo)
{
    ke_status st = KE_OK;
    const json_t *list = json_object_get(undo, "pieces");
    const uint8_t *literal = NULL;

    if (json_array_size(list) == 0) {
        st = ke__fail(cx, KE_EFORMAT, src->path, "\"undo\" in the header has no pieces");
        goto done;
    }
    KE_TRY(ke__alloc(cx, &out->pieces, json_array_size(list), sizeof *out->pieces));
    out->n_pieces = json_array_size(list);
    for (size_t i = 0; i < out->n_pieces; i++)
        KE_TRY(read_piece(cx, &out->pieces[i], src, json_array_get(list, i)));
    KE_TRY(read_files(cx, out, src, json_object_get(undo, "files")));
    KE_TRY(
        ke__source_u64(cx, src, undo, "literal_bytes", 0, src->bytes, &out->literal_bytes));
    KE_TRY(ke__source_take(cx, src, undo, "literal", out->literal_bytes, &literal));
    KE_TRY(ke__alloc(cx, &out->literal, out->literal_bytes, 1));
    memcpy(out->literal, literal, out->literal_bytes);
done:
    return st;
}

static ke_status read_header(ke_ctx *cx, ke_patch *p, ke__source *src, const json_t *header)
{
    ke_status st = KE_OK;
    const json_t *meta = json_object_get(header, "meta");
    const json_t *parts = json_object_get(header, "parts");
    const json_t *undo = json_object_get(header, "undo");
    char *text = NULL;

    if (!json_is_object(meta) || !json_is_array(parts)) {
        st = ke__fail(cx, KE_EFORMAT, src->path,
                      "header: expected an object with \"meta\" and \"parts\"");
        goto done;
    }
    for (size_t i = 0; i < json_array_size(parts); i++)
        KE_TRY(read_part(cx, p, src, json_array_get(parts, i)));
    if (undo)
        KE_TRY(read_undo(cx, &p->undo, src, undo));
    if (src->used != src->bytes) {
        st = ke__fail(cx, KE_EFORMAT, src->path,
                      "payload: %llu of %llu bytes belong to a part",
                      (unsigned long long)src->used, (unsigned long long)src->bytes);
        goto done;
    }
    KE_TRY(ke__json_text(cx, &text, meta, 17));
    KE_TRY(ke__patch_set_meta(cx, p, text));
done:
    ke__free(cx, text);
    return st;
}

/* The prefix, once magic, checksum, version and lengths are what they should be. */
static ke_status read_prefix(ke_ctx *cx, struct prefix *out, const char *path,
                             const uint8_t *data, size_t bytes)
{
    ke_status st = KE_OK;
    char hex[HASH_BYTES + 1];

    if (bytes < sizeof magic || memcmp(data, magic, sizeof magic) != 0) {
        st = ke__fail(cx, KE_EFORMAT, path,
                      "not a knowedit patch: the file begins otherwise");
        goto done;
    }
    if (bytes < sizeof *out + HASH_BYTES) {
        st = ke__fail(cx, KE_EFORMAT, path,
                      "the file is damaged: %zu bytes, expected %zu or more", bytes,
                      sizeof *out + HASH_BYTES);
        goto done;
    }
    KE_TRY(ke__sha256_of(cx, hex, data, bytes - HASH_BYTES));
    if (memcmp(hex, data + bytes - HASH_BYTES, HASH_BYTES) != 0) {
        st = ke__fail(cx, KE_EFORMAT, path, "checksum differs: the file is damaged");
        goto done;
    }
    memcpy(out, data, sizeof *out);
    if (out->version != VERSION) {
        st = ke__fail(cx, KE_ENOTSUP, path, "patch format %u, this program reads %d",
                      (unsigned)out->version, VERSION);
        goto done;
    }
    uint64_t left = bytes - sizeof *out - HASH_BYTES;
    if (out->header_bytes > left || out->payload_bytes != left - out->header_bytes) {
        st = ke__fail(cx, KE_EFORMAT, path,
                      "header and payload of %llu and %llu bytes, expected %llu together",
                      (unsigned long long)out->header_bytes,
                      (unsigned long long)out->payload_bytes, (unsigned long long)left);
        goto done;
    }
done:
    return st;
}

ke_status ke__patch_parse(ke_ctx *cx, ke_patch **out, const char *path, const uint8_t *data,
                          size_t bytes)
{
    ke_status st = KE_OK;
    struct prefix prefix;
    json_error_t error;
    json_t *header = NULL;
    ke_patch *p = NULL;

    *out = NULL;
    KE_TRY(read_prefix(cx, &prefix, path, data, bytes));
    data += sizeof prefix;
    header =
        json_loadb((const char *)data, prefix.header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!header) {
        st = ke__fail(cx, KE_EFORMAT, path, "header, byte %d: %s", error.position,
                      error.text);
        goto done;
    }
    ke__source src = {path, data + prefix.header_bytes, prefix.payload_bytes, 0};
    KE_TRY(ke__patch_new(cx, &p));
    KE_TRY(read_header(cx, p, &src, header));
    *out = p;
    p = NULL;
done:
    json_decref(header);
    ke_patch_free(cx, p);
    return st;
}

ke_status ke_patch_load(ke_ctx *cx, ke_patch **out, const char *path)
{
    ke_status st = KE_OK;
    ke__map map = {0};

    *out = NULL;
    KE_TRY(ke__map_open(cx, &map, path));
    KE_TRY(ke__patch_parse(cx, out, path, map.data, map.bytes));
done:
    ke__map_close(cx, &map);
    return st;
}
