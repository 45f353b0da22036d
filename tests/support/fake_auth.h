/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_FAKE_AUTH_H
#define WEIR_TESTS_FAKE_AUTH_H

/*
 * fake_auth.h: an implementation of core/auth.h whose secrets everybody knows: for tests of the adapters that carry the
 * messages of an exchange.
 *
 *     method FAKE     peer: a user name   we: "who goes there?"   peer: "friend"   we: proven, "welcome"
 *     method ONCE     peer: "friend"                                               we: proven as "once", nothing said
 *     method HARD     peer: anything      we: out of memory
 *     method LOUD     peer: anything      we: 300 bytes 'a'                        (then as FAKE)
 *
 * Any other message: it failed. Thread: one.
 */

#include "core/auth.h"

struct fake_auth {
    struct auth auth; /* first */
    uint32_t talks;   /* exchanges that live now */
};

void fake_auth_init(struct fake_auth *a);

#endif
