/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scram_verifier.c: the arithmetic of SCRAM-SHA-256.
 *
 *     password, salt ─► Hi, `iterations` times ─► SaltedPassword ─┬─ HMAC "Client Key" ─► ClientKey ─ H ─► StoredKey
 *                                                                 └─ HMAC "Server Key" ─► ServerKey
 *     a proof is  ClientKey XOR HMAC(StoredKey, AuthMessage), so
 *     checking is H(proof XOR HMAC(StoredKey, AuthMessage)) == StoredKey: two hashes, no stretching
 *
 * The stretching is done by the peer at every login, and by nobody else. That is why SCRAM_ITERATIONS_DEFAULT is
 * 15,000, the rule of thumb of RFC 7677 §4, and not the hundreds of thousands a server would spend on hashing by
 * itself: a peer is often a microcontroller that makes some ten thousand such hashes a second, and logs in again
 * whenever its network comes back. Who has stronger peers says more (weir --scram-iterations).
 *
 * Invariants
 *   1. No comparison of a secret ends early.
 *   2. Only mbedTLS's md interface is used, which 2.28 and 3.6 have alike. Its only failure with these arguments is
 *      memory.
 * Cost    make: 2 SHA-256 per iteration; check and sign: a few.
 * Thread  any.
 * Spec    RFC 5802 §2.2, §3, §5.1; RFC 7677 §3, §4.
 */
#include "auth/scram_verifier.h"

#include <inttypes.h>
#include <string.h>

#include <mbedtls/constant_time.h>
#include <mbedtls/md.h>

#include "auth/b64.h"

static const mbedtls_md_info_t *sha256(void)
{
    const mbedtls_md_info_t *md = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    BUG_ON(md == NULL); /* an mbedTLS without it */
    return md;
}

static enum err hmac(const uint8_t *key, size_t key_n, struct slice text, uint8_t *out)
{
    return mbedtls_md_hmac(sha256(), key, key_n, text.p, text.len, out) == 0 ? ERR_OK : ERR_NOMEM;
}

static enum err keyed(const uint8_t *key, const char *text, uint8_t *out)
{
    return hmac(key, SCRAM_KEY_BYTES, slice_from_str(text), out);
}

static enum err hash(const uint8_t *in, uint8_t *out)
{
    return mbedtls_md(sha256(), in, SCRAM_KEY_BYTES, out) == 0 ? ERR_OK : ERR_NOMEM;
}

static void xor_into(uint8_t *into, const uint8_t *with)
{
    for (size_t i = 0; i < SCRAM_KEY_BYTES; i++)
        into[i] ^= with[i];
}

/* ---- from a password ---------------------------------------------------------------------------------------- */

/* one_round: u = HMAC(the key the context was started with, text). */
static bool one_round(mbedtls_md_context_t *md, struct slice text, const char *more, size_t more_n, uint8_t *u)
{
    return mbedtls_md_hmac_reset(md) == 0 && mbedtls_md_hmac_update(md, text.p, text.len) == 0 &&
           mbedtls_md_hmac_update(md, (const unsigned char *)more, more_n) == 0 && mbedtls_md_hmac_finish(md, u) == 0;
}

/* stretch: Hi of RFC 5802 §2.2, which is PBKDF2 with one block. */
static enum err stretch(struct slice password, struct slice salt, uint32_t iterations, uint8_t *out)
{
    uint8_t u[SCRAM_KEY_BYTES] = {0};
    mbedtls_md_context_t md;
    mbedtls_md_init(&md);
    bool fine = mbedtls_md_setup(&md, sha256(), 1) == 0 && mbedtls_md_hmac_starts(&md, password.p, password.len) == 0 &&
                one_round(&md, salt, "\0\0\0\1", 4, u);
    memcpy(out, u, SCRAM_KEY_BYTES);
    for (uint32_t i = 1; fine && i < iterations; i++) {
        fine = one_round(&md, slice_make(u, sizeof(u)), "", 0, u);
        xor_into(out, u);
    }
    mbedtls_md_free(&md);
    explicit_bzero(u, sizeof(u));
    return fine ? ERR_OK : ERR_NOMEM;
}

enum err scram_verifier_make(struct slice password, struct slice salt, uint32_t iterations, struct scram_verifier *out)
{
    BUG_ON(salt.len < SCRAM_SALT_MIN || salt.len > SCRAM_SALT_MAX);
    BUG_ON(iterations < SCRAM_ITERATIONS_MIN || iterations > SCRAM_ITERATIONS_MAX);
    uint8_t salted[SCRAM_KEY_BYTES], client_key[SCRAM_KEY_BYTES] = {0};
    *out = (struct scram_verifier){.iterations = iterations, .salt_n = (uint32_t)salt.len};
    memcpy(out->salt, salt.p, salt.len);
    enum err e = stretch(password, salt, iterations, salted);
    if (e == ERR_OK)
        e = keyed(salted, "Client Key", client_key);
    if (e == ERR_OK)
        e = hash(client_key, out->stored_key);
    if (e == ERR_OK)
        e = keyed(salted, "Server Key", out->server_key);
    explicit_bzero(salted, sizeof(salted));
    explicit_bzero(client_key, sizeof(client_key));
    return e;
}

/* ---- for nobody --------------------------------------------------------------------------------------------- */

/* derive: HMAC(HMAC(secret, purpose), user): a name cannot be chosen so that one purpose gives what another does. */
static enum err derive(const uint8_t *secret, const char *purpose, struct slice user, uint8_t *out)
{
    uint8_t key[SCRAM_KEY_BYTES];
    enum err e = keyed(secret, purpose, key);
    return e == ERR_OK ? hmac(key, sizeof(key), user, out) : e;
}

enum err scram_verifier_decoy(const uint8_t *secret, struct slice user, const struct scram_verifier *like,
                              struct scram_verifier *out)
{
    uint8_t salt[2 * SCRAM_KEY_BYTES];
    _Static_assert(sizeof(salt) == SCRAM_SALT_MAX, "two hashes make the longest salt");
    *out = (struct scram_verifier){.iterations = like->iterations, .salt_n = like->salt_n};
    enum err e = derive(secret, "salt", user, salt);
    if (e == ERR_OK)
        e = derive(secret, "more salt", user, salt + SCRAM_KEY_BYTES);
    if (e == ERR_OK)
        e = derive(secret, "stored key", user, out->stored_key);
    if (e == ERR_OK)
        e = derive(secret, "server key", user, out->server_key);
    if (e == ERR_OK)
        memcpy(out->salt, salt, like->salt_n);
    return e;
}

/* ---- proofs ------------------------------------------------------------------------------------------------- */

enum err scram_verifier_check(const struct scram_verifier *v, struct slice auth_message, const uint8_t *proof)
{
    uint8_t client_key[SCRAM_KEY_BYTES], stored[SCRAM_KEY_BYTES];
    enum err e = hmac(v->stored_key, SCRAM_KEY_BYTES, auth_message, client_key); /* ClientSignature */
    if (e != ERR_OK)
        return e;
    xor_into(client_key, proof);
    e = hash(client_key, stored);
    if (e == ERR_OK && mbedtls_ct_memcmp(stored, v->stored_key, sizeof(stored)) != 0)
        e = ERR_DENIED;
    explicit_bzero(client_key, sizeof(client_key));
    return e;
}

enum err scram_verifier_sign(const struct scram_verifier *v, struct slice auth_message, uint8_t *out)
{
    return hmac(v->server_key, SCRAM_KEY_BYTES, auth_message, out);
}

/* ---- as text ------------------------------------------------------------------------------------------------ */

/* cut: takes what stands before the next `end` off; false: there is no such byte. */
static bool cut(struct slice *rest, char end, struct slice *out)
{
    ptrdiff_t n = slice_find(*rest, (uint8_t)end);
    if (n < 0)
        return false;
    *out = slice_make(rest->p, (size_t)n);
    *rest = slice_skip(*rest, (size_t)n + 1);
    return true;
}

/* iterations_of: 0 for what is no number in range. */
static uint32_t iterations_of(struct slice text)
{
    uint32_t n = 0;
    if (text.len == 0 || text.p[0] == '0')
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return 0;
        n = n * 10 + (uint32_t)(text.p[i] - '0');
        if (n > SCRAM_ITERATIONS_MAX)
            return 0;
    }
    return n < SCRAM_ITERATIONS_MIN ? 0 : n;
}

static const char *read_fields(struct slice text, struct scram_verifier *out)
{
    struct slice method, iterations, salt, stored;
    if (!cut(&text, '$', &method) || !slice_eq_str(method, "SCRAM-SHA-256"))
        return "the verifier does not begin with SCRAM-SHA-256$";
    if (!cut(&text, ':', &iterations) || !cut(&text, '$', &salt) || !cut(&text, ':', &stored))
        return "the verifier is not SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>";
    out->iterations = iterations_of(iterations);
    if (out->iterations == 0)
        return "the iterations are not a number from 4096 to 10000000";
    ptrdiff_t n = b64_get(salt, out->salt, sizeof(out->salt));
    if (n < SCRAM_SALT_MIN)
        return "the salt is not 8 to 64 bytes in Base64";
    out->salt_n = (uint32_t)n;
    if (b64_get(stored, out->stored_key, SCRAM_KEY_BYTES) != SCRAM_KEY_BYTES)
        return "the StoredKey is not 32 bytes in Base64";
    if (b64_get(text, out->server_key, SCRAM_KEY_BYTES) != SCRAM_KEY_BYTES)
        return "the ServerKey is not 32 bytes in Base64";
    return NULL;
}

enum err scram_verifier_parse(struct slice text, struct scram_verifier *out, const char **out_why)
{
    *out = (struct scram_verifier){0};
    *out_why = read_fields(text, out);
    return *out_why == NULL ? ERR_OK : ERR_MALFORMED;
}

void scram_verifier_put(const struct scram_verifier *v, struct buf *out)
{
    buf_printf(out, "SCRAM-SHA-256$%" PRIu32 ":", v->iterations);
    b64_put(out, slice_make(v->salt, v->salt_n));
    buf_put_str(out, "$");
    b64_put(out, slice_make(v->stored_key, SCRAM_KEY_BYTES));
    buf_put_str(out, ":");
    b64_put(out, slice_make(v->server_key, SCRAM_KEY_BYTES));
}
