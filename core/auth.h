/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_AUTH_H
#define WEIR_CORE_AUTH_H

/*
 * auth.h: the seam to whoever can check a proof of identity that takes several messages (MQTT 5 enhanced
 * authentication: CONNECT, AUTH ..., CONNACK; later other protocols' SASL exchanges). An adapter carries the messages
 * and knows no method; an implementation knows methods and no protocol.
 *
 *     knows ─► begin ─► step (in ─► out) ─► AUTH_GO_ON ─► step ... ─► AUTH_PROVEN, who ─► end
 *                                                                 └─► AUTH_FAILED ─────► end
 *
 * Implementations: auth/scram_auth.c (SCRAM-SHA-256). Thread: the shard's own; no call blocks, so a step may compute a
 * few hashes but not stretch a password.
 */

#include <stdbool.h>

#include "core/base/buf.h"
#include "core/base/mem.h"
#include "core/base/slice.h"

struct auth;
struct auth_talk; /* one exchange with one peer; the implementation's */

enum auth_step {
    AUTH_GO_ON,  /* `out` goes to the peer, whose answer is the next `in` */
    AUTH_PROVEN, /* the peer is auth_who(); `out` goes along with the yes, possibly empty */
    AUTH_FAILED, /* it is not, or its message makes no sense; `out` is empty */
    AUTH_NOMEM,
};

struct auth_ops {
    const char *name; /* for logs */

    /* knows: is this a method that can be begun? Names are compared byte by byte. */
    bool (*knows)(const struct auth *, struct slice method);

    /* begin: a new exchange by a method that knows() said yes to. NULL when out of memory. Memory comes from `mem`,
     * which outlives the exchange. */
    struct auth_talk *(*begin)(struct auth *, struct slice method, struct mem *mem);

    /* step: the peer's message `in` (possibly empty; read during the call only), the answer is appended to `out`. Not
     * called again after anything but AUTH_GO_ON. */
    enum auth_step (*step)(struct auth_talk *, struct slice in, struct buf *out);

    /* who: the user name that was proved; lives as long as the exchange. After AUTH_PROVEN only. */
    struct slice (*who)(const struct auth_talk *);

    /* end: frees the exchange, at any time. */
    void (*end)(struct auth_talk *);
};

/* First member of every implementation. */
struct auth {
    const struct auth_ops *ops;
};

#endif
