#include "base/file.h"

#include <openssl/evp.h>

struct ke__sha256 {
    EVP_MD_CTX *md;
};

ke_status ke__sha256_new(ke_ctx *cx, ke__sha256 **out)
{
    ke_status st = ke__alloc(cx, out, 1, sizeof **out);
    if (st != KE_OK)
        return st;
    (*out)->md = EVP_MD_CTX_new();
    if ((*out)->md && EVP_DigestInit_ex((*out)->md, EVP_sha256(), NULL) == 1)
        return KE_OK;
    ke__sha256_free(cx, *out);
    *out = NULL;
    return ke__fail(cx, KE_ENOMEM, NULL, "libcrypto gives no SHA-256");
}

void ke__sha256_add(ke__sha256 *sha, const void *data, size_t bytes)
{
    EVP_DigestUpdate(sha->md, data, bytes);
}

void ke__sha256_hex(ke__sha256 *sha, char out[65])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[KE__SHA256_BYTES];
    EVP_DigestFinal_ex(sha->md, sum, NULL);
    for (size_t i = 0; i < sizeof sum; i++) {
        out[2 * i] = digits[sum[i] >> 4];
        out[2 * i + 1] = digits[sum[i] & 15];
    }
    out[64] = '\0';
}

void ke__sha256_free(ke_ctx *cx, ke__sha256 *sha)
{
    if (sha)
        EVP_MD_CTX_free(sha->md);
    ke__free(cx, sha);
}

ke_status ke__sha256_of(ke_ctx *cx, char out[65], const void *data, size_t bytes)
{
    enum { STEP = 4 << 20 };
    ke_status st = KE_OK;
    ke__sha256 *sha = NULL;
    KE_TRY(ke__sha256_new(cx, &sha));
    for (size_t at = 0; at < bytes; at += STEP) {
        KE_TRY(ke__check_cancel(cx));
        ke__sha256_add(sha, (const char *)data + at,
                       bytes - at < STEP ? bytes - at : (size_t)STEP);
    }
    ke__sha256_hex(sha, out);
done:
    ke__sha256_free(cx, sha);
    return st;
}
