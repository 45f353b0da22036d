/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scram_peer.c: a SCRAM-SHA-256 client for tests.
 *
 * It shares nothing with auth/ but SHA-256 itself: key stretching is mbedTLS's PBKDF2, Base64 mbedTLS's, and messages
 * are put together here, so that a mistake in auth/ is not made twice.
 *
 * Cost    4096 hashes or what the server says.
 * Spec    RFC 5802 §3.
 */
#include "tests/support/scram_peer.h"

#include <stdio.h>
#include <string.h>

#include <mbedtls/base64.h>
#include <mbedtls/md.h>

#define KEY 32u

static const mbedtls_md_info_t *sha256(void)
{
    return mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
}

static void hmac(const uint8_t *key, struct slice text, uint8_t *out)
{
    BUG_ON(mbedtls_md_hmac(sha256(), key, KEY, text.p, text.len, out) != 0);
}

/* stretch: RFC 8018 §5.2 with one block, the plain way. */
static void stretch(const char *password, const uint8_t *salt, size_t salt_n, unsigned iterations, uint8_t *out)
{
    uint8_t u[128], next[KEY];
    BUG_ON(salt_n > sizeof(u) - 4);
    memcpy(u, salt, salt_n);
    memcpy(u + salt_n, "\0\0\0\1", 4);
    memset(out, 0, KEY);
    size_t n = salt_n + 4;
    for (unsigned i = 0; i < iterations; i++) {
        BUG_ON(mbedtls_md_hmac(sha256(), (const uint8_t *)password, strlen(password), u, n, next) != 0);
        for (size_t k = 0; k < KEY; k++)
            out[k] ^= next[k];
        memcpy(u, next, KEY);
        n = KEY;
    }
}

static void put_b64(struct buf *out, const uint8_t *p, size_t n)
{
    uint8_t text[256];
    size_t text_n = 0;
    BUG_ON(mbedtls_base64_encode(text, sizeof(text), &text_n, p, n) != 0);
    buf_put(out, text, text_n);
}

void scram_peer_init(struct scram_peer *p, struct mem *mem, const char *user, const char *password, const char *nonce)
{
    *p = (struct scram_peer){.user = user, .password = password, .nonce = nonce};
    buf_init(&p->message, mem);
}

void scram_peer_fini(struct scram_peer *p)
{
    buf_fini(&p->message);
}

void scram_peer_first(struct scram_peer *p, struct buf *out)
{
    buf_printf(&p->message, "n=%s,r=%s", p->user, p->nonce);
    buf_printf(out, "n,,n=%s,r=%s", p->user, p->nonce);
}

bool scram_peer_final(struct scram_peer *p, struct slice server_first, struct buf *out)
{
    char text[512], nonce[256], salt_text[128];
    uint8_t salt[96], key[KEY], stored[KEY], signature[KEY];
    unsigned iterations = 0;
    size_t salt_n = 0;
    snprintf(text, sizeof(text), SLICE_FMT, SLICE_ARG(server_first));
    if (sscanf(text, "r=%255[^,],s=%127[^,],i=%u", nonce, salt_text, &iterations) != 3 ||
        strncmp(nonce, p->nonce, strlen(p->nonce)) != 0 || strlen(nonce) == strlen(p->nonce) ||
        mbedtls_base64_decode(salt, sizeof(salt), &salt_n, (uint8_t *)salt_text, strlen(salt_text)) != 0)
        return false;
    buf_printf(&p->message, ",%s,c=biws,r=%s", text, nonce);
    stretch(p->password, salt, salt_n, iterations, p->salted);
    hmac(p->salted, SLICE("Client Key"), key);
    BUG_ON(mbedtls_md(sha256(), key, KEY, stored) != 0);
    hmac(stored, buf_slice(&p->message), signature);
    for (size_t i = 0; i < KEY; i++)
        key[i] ^= signature[i];
    buf_printf(out, "c=biws,r=%s,p=", nonce);
    put_b64(out, key, KEY);
    return true;
}

bool scram_peer_accepts(const struct scram_peer *p, struct slice server_final)
{
    uint8_t key[KEY], signature[KEY];
    struct buf expected;
    hmac(p->salted, SLICE("Server Key"), key);
    hmac(key, buf_slice(&p->message), signature);
    buf_init(&expected, p->message.mem);
    buf_put_str(&expected, "v=");
    put_b64(&expected, signature, KEY);
    bool fits = slice_eq(buf_slice(&expected), server_final);
    buf_fini(&expected);
    return fits;
}
