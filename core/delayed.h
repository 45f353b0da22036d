/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_DELAYED_H
#define WEIR_CORE_DELAYED_H

/*
 * delayed.h: messages that are routed later (MQTT $delayed/<seconds>/<topic>, STOMP x-delay). They wait here, one timer
 * each, and are published by the broker itself when their time has come: bindings and limits of that moment count.
 */

#include <stdint.h>

#include "core/base/list.h"
#include "core/base/pool.h"
#include "core/base/wheel.h"
#include "core/loop.h"
#include "core/msg.h"

struct exchange;
struct vhost;

struct delayed {
    struct vhost *vhost;
    struct pool pool;
    struct list all; /* struct delayed_msg, in no order */
    uint64_t n, bytes;
};

/* owner: delayed->all; pooled */
struct delayed_msg {
    struct wtimer timer;
    struct list_node node;
    struct delayed *home;
    struct exchange *exchange; /* held: it may be deleted meanwhile */
    const struct msg *msg;     /* held */
    lsn_t lsn;                 /* of its record; 0: not logged */
};

void delayed_init(struct delayed *d, struct vhost *v);
/* delayed_fini: drops what waits. */
void delayed_fini(struct delayed *d);

/* delayed_prepare: a place for one message, so that keeping it cannot fail any more; NULL: out of memory. Follow with
 * delayed_set (m, held, is published to x at `due`; lsn: of its record, 0: none) or delayed_cancel. The limits are the
 * caller's to ask for. */
struct delayed_msg *delayed_prepare(struct delayed *d) MUST_CHECK;
void delayed_set(struct delayed *d, struct delayed_msg *w, struct exchange *x, const struct msg *m, mono_ms due,
                 lsn_t lsn);
void delayed_cancel(struct delayed *d, struct delayed_msg *w);

/* delayed_has_room: would n more messages of so many bytes in all stay within max_delayed_messages and _bytes? */
bool delayed_has_room(const struct delayed *d, uint64_t n, uint64_t bytes);

/* delayed_timer: the time of one has come (core/shard.c). */
void delayed_timer(struct delayed_msg *w);

#endif
