/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AUTH_SCRAM_H
#define WEIR_AUTH_SCRAM_H

/*
 * scram.h: the four messages of SCRAM-SHA-256 (RFC 5802, RFC 7677), as a server reads and writes them:
 *
 *     peer ─► client-first   n,,n=user,r=NONCE
 *             server-first   r=NONCEMORE,s=<salt>,i=<iterations>      ─► peer
 *     peer ─► client-final   c=biws,r=NONCEMORE,p=<proof>
 *             server-final   v=<signature>                            ─► peer
 *
 * Text only: keys are scram_verifier.h's, users and random numbers are scram_auth.h's. Pure: no state, no allocation
 * but in the caller's buf. The slices that come out point into the message that was parsed.
 */

#include "auth/scram_verifier.h"
#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/slice.h"

#define SCRAM_MESSAGE_MAX 2048u /* bytes of a message that is read */

struct scram_first {
    struct slice gs2;   /* "n,," up to and with its second comma: what client-final has to repeat */
    struct slice bare;  /* the rest: client-first-message-bare */
    struct slice user;  /* as written: see scram_user */
    struct slice nonce; /* of the peer */
};

struct scram_final {
    struct slice unsigned_part; /* client-final-message-without-proof */
    struct slice binding;       /* of c=, in Base64 */
    struct slice nonce;
    uint8_t proof[SCRAM_KEY_BYTES];
};

/* scram_first_parse: client-first. ERR_MALFORMED: no such message; ERR_TOO_BIG: longer than SCRAM_MESSAGE_MAX;
 * ERR_UNSUPPORTED: it wants channel binding (p=), which is not offered, or an extension that nobody knows (m=);
 * ERR_DENIED: it wants to act for another user (a=). RFC 5802 §5.1, §7. */
enum err scram_first_parse(struct slice in, struct scram_first *out) MUST_CHECK;

/* scram_user: appends the user name behind `written`, in which =2C is ',' and =3D is '='. */
void scram_user(struct slice written, struct buf *out);

/* scram_first_answer: appends server-first for a nonce of the peer and one of ours (printable, without commas). */
void scram_first_answer(struct slice nonce, struct slice our_nonce, const struct scram_verifier *v, struct buf *out);

/* scram_final_parse: client-final. ERR_MALFORMED, ERR_TOO_BIG as above; a proof that is not 32 bytes is malformed. */
enum err scram_final_parse(struct slice in, struct scram_final *out) MUST_CHECK;

/* scram_final_check: does client-final belong to the exchange that began with `gs2` and was answered with `nonce`
 * (both halves)? ERR_DENIED: no. The proof is not looked at. */
enum err scram_final_check(const struct scram_final *f, struct slice gs2, struct slice nonce) MUST_CHECK;

/* scram_final_answer: appends server-final for the ServerSignature signature[SCRAM_KEY_BYTES]. */
void scram_final_answer(const uint8_t *signature, struct buf *out);

#endif
