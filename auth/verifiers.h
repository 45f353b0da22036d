/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_AUTH_VERIFIERS_H
#define WEIR_AUTH_VERIFIERS_H

/*
 * verifiers.h: the users who can prove themselves by SCRAM, from a file with one line for each:
 *
 *     # a comment; empty lines are fine, too
 *     anna:SCRAM-SHA-256$15000:<salt>$<StoredKey>:<ServerKey>
 *
 * There are no passwords in it, but who reads it can guess at leisure, and pretend to be the server: keep it from
 * others. Nothing changes after loading. Thread: any, once loaded.
 */

#include <stddef.h>
#include <stdint.h>

#include "auth/scram_verifier.h"
#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/map.h"
#include "core/base/mem.h"
#include "core/base/slice.h"

#define VERIFIERS_FILE_MAX 67108864u /* bytes */
#define VERIFIERS_USER_MAX 255u      /* bytes of a name */

/* owner: verifiers */
struct verifier {
    struct scram_verifier scram;
    uint32_t user_n;
    uint32_t line; /* of the file */
    uint8_t user[];
};

/* owner: the caller */
struct verifiers {
    struct mem *mem;
    struct map by_user;
    struct verifier **all; /* [by_user.n], in the order of the file */
    uint32_t cap;
};

/* verifiers_init: nobody. seed: of the table. verifiers_fini: frees all. */
void verifiers_init(struct verifiers *v, struct mem *mem, uint64_t seed);
void verifiers_fini(struct verifiers *v);

/* verifiers_parse: adds what stands in the bytes of a file called `name`. ERR_MALFORMED, ERR_EXISTS (a user twice),
 * ERR_NOMEM: out_why[cap] is one line, "NAME:LINE: what, and the cure", and some may have been added. */
enum err verifiers_parse(struct verifiers *v, const char *name, struct slice text, char *out_why,
                         size_t cap) MUST_CHECK;

/* verifiers_load: reads the file at `path`; may block. As verifiers_parse; ERR_IO: it cannot be read ("PATH: why"). */
enum err verifiers_load(struct verifiers *v, const char *path, char *out_why, size_t cap) MUST_CHECK;

/* verifiers_user_check: what is wrong with a user name, a static phrase; NULL: nothing. A name is 1 to
 * VERIFIERS_USER_MAX bytes of UTF-8 without control characters, ':' and spaces at its ends, and begins with no '#'. */
const char *verifiers_user_check(struct slice user);

/* verifiers_get: the user with this name, NULL: there is none. */
static inline const struct verifier *verifiers_get(const struct verifiers *v, struct slice user)
{
    return map_get(&v->by_user, user);
}

static inline uint32_t verifiers_n(const struct verifiers *v)
{
    return v->by_user.n;
}

#endif
