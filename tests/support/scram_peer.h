/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SCRAM_PEER_H
#define WEIR_TESTS_SCRAM_PEER_H

/*
 * scram_peer.h: the other side of SCRAM-SHA-256, written for itself, for tests of the server:
 *
 *     struct scram_peer p;
 *     scram_peer_init(&p, mem, "user", "pencil", "nonce");
 *     scram_peer_first(&p, &out);                        n,,n=user,r=nonce
 *     scram_peer_final(&p, server_first, &out);          c=biws,r=...,p=...
 *     assert_true(scram_peer_accepts(&p, server_final));
 *     scram_peer_fini(&p);
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/slice.h"

struct scram_peer {
    const char *user, *password, *nonce; /* borrowed; user without ',' and '=' */
    struct buf message;                  /* AuthMessage */
    uint8_t salted[32];
};

void scram_peer_init(struct scram_peer *p, struct mem *mem, const char *user, const char *password, const char *nonce);
void scram_peer_fini(struct scram_peer *p);

/* scram_peer_first, scram_peer_final: append the next message. False: server-first makes no sense. */
void scram_peer_first(struct scram_peer *p, struct buf *out);
bool scram_peer_final(struct scram_peer *p, struct slice server_first, struct buf *out);

/* scram_peer_accepts: does the server know the password, too? */
bool scram_peer_accepts(const struct scram_peer *p, struct slice server_final);

#endif
