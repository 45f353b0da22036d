/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AUTH_SCRAM_VERIFIER_H
#define WEIR_AUTH_SCRAM_VERIFIER_H

/*
 * scram_verifier.h: what a server keeps of a password for SCRAM-SHA-256: enough to check a proof, too little to make
 * one. Its text is the one PostgreSQL keeps in pg_authid, so verifiers can be moved between the two:
 *
 *     SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>        the last three in Base64
 *
 * Thread: any; nothing here keeps state. All functions that compute hashes may run out of memory (mbedTLS allocates).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

enum {
    SCRAM_KEY_BYTES = 32, /* of SHA-256 */
    SCRAM_SALT_MIN = 8,
    SCRAM_SALT_MAX = 64,
    SCRAM_SALT_BYTES = 16,              /* of the verifiers made here */
    SCRAM_ITERATIONS_MIN = 4096,        /* RFC 7677 §4 */
    SCRAM_ITERATIONS_DEFAULT = 15000,   /* RFC 7677 §4's rule of thumb: see scram_verifier.c */
    SCRAM_ITERATIONS_MAX = 10 * 1000000 /* beyond that a peer could not tell waiting from hanging */
};

struct scram_verifier {
    uint32_t iterations;
    uint32_t salt_n;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_BYTES], server_key[SCRAM_KEY_BYTES];
};

/* scram_verifier_make: the verifier of a password, already prepared (SASLprep; what is plain ASCII without control
 * characters needs no preparation). salt.len is SCRAM_SALT_MIN .. MAX, iterations SCRAM_ITERATIONS_MIN .. MAX. Takes
 * `iterations` hashes: not for the loop thread. ERR_NOMEM. */
enum err scram_verifier_make(struct slice password, struct slice salt, uint32_t iterations,
                             struct scram_verifier *out) MUST_CHECK;

/* scram_verifier_decoy: a verifier for a user that does not exist, no proof for which can be found. The same for the
 * same secret[SCRAM_KEY_BYTES] and user, with the iterations and the salt's length of `like`. ERR_NOMEM. */
enum err scram_verifier_decoy(const uint8_t *secret, struct slice user, const struct scram_verifier *like,
                              struct scram_verifier *out) MUST_CHECK;

/* scram_verifier_check: is proof[SCRAM_KEY_BYTES] the ClientProof of this AuthMessage (RFC 5802 §3)? Takes the same
 * time for every proof. ERR_OK: it is; ERR_DENIED; ERR_NOMEM. */
enum err scram_verifier_check(const struct scram_verifier *v, struct slice auth_message,
                              const uint8_t *proof) MUST_CHECK;

/* scram_verifier_sign: the ServerSignature of this AuthMessage into out[SCRAM_KEY_BYTES]. ERR_NOMEM. */
enum err scram_verifier_sign(const struct scram_verifier *v, struct slice auth_message, uint8_t *out) MUST_CHECK;

/* scram_verifier_parse: reads the text form. ERR_MALFORMED: *out_why is what is wrong with it, a static phrase. */
enum err scram_verifier_parse(struct slice text, struct scram_verifier *out, const char **out_why) MUST_CHECK;

/* scram_verifier_put: appends the text form. */
void scram_verifier_put(const struct scram_verifier *v, struct buf *out);

#endif
