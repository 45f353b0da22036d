/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AUTH_SCRAM_AUTH_H
#define WEIR_AUTH_SCRAM_AUTH_H

/*
 * scram_auth.h: core/auth.h by SCRAM: the one method is "SCRAM-SHA-256", the users are those of a set of verifiers.
 *
 *     struct scram_auth a;
 *     if (scram_auth_init(&a, &(struct scram_auth_config){.verifiers = &v, .log = log}) == ERR_OK)
 *         shard_config.auth = &a.base;
 */

#include <stddef.h>
#include <stdint.h>

#include "auth/scram_verifier.h"
#include "auth/verifiers.h"
#include "core/auth.h"
#include "core/base/check.h"
#include "core/base/err.h"

struct log;

struct scram_auth_config {
    const struct verifiers *verifiers; /* borrowed; may be empty: then nobody can prove anything */
    struct log *log;                   /* borrowed: hears why a proof was refused (information); NULL: nobody */

    /* fill: fills p[n], n <= 64, with bytes nobody can foresee. ERR_IO: there are none. NULL: the system's. */
    enum err (*fill)(void *ctx, uint8_t *p, size_t n);
    void *ctx;
};

/* owner: the caller; outlives its exchanges */
struct scram_auth {
    struct auth base; /* first */
    struct scram_auth_config with;
    uint8_t secret[SCRAM_KEY_BYTES]; /* what made-up verifiers are made of; of this process alone */
};

/* scram_auth_init: ERR_IO: there are no random bytes. There is no fini: it owns nothing. */
enum err scram_auth_init(struct scram_auth *a, const struct scram_auth_config *with) MUST_CHECK;

#endif
