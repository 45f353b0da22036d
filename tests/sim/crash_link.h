/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_LINK_H
#define WEIR_TESTS_CRASH_LINK_H

/*
 * crash_link.h: a peer's connection to a broker that may not be there.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "tests/sim/crash_world.h"

struct crash_link;

struct crash_link_ops {
    /* on_bytes: all bytes not eaten yet; returns how many it ate. May close the link. */
    size_t (*on_bytes)(struct crash_link *, const uint8_t *in, size_t len);
    /* on_end: broker or network ended it; it is closed already. */
    void (*on_end)(struct crash_link *);
};

/* owner: a peer, which embeds it first. */
struct crash_link {
    struct crash_world *w;
    const struct crash_link_ops *ops;
    struct transport *t; /* NULL: no connection */
    struct buf in, out;
};

void crash_link_init(struct crash_link *l, struct crash_world *w, const struct crash_link_ops *ops);
void crash_link_fini(struct crash_link *l);

/* crash_link_open: false: nobody listens. */
bool crash_link_open(struct crash_link *l);

/* crash_link_flush: l->out was filled. */
void crash_link_flush(struct crash_link *l);

/* crash_link_close: this end goes; by_reset: at once, and what was sent may not arrive. on_end is not called. */
void crash_link_close(struct crash_link *l, bool by_reset);

/* crash_link_cut: the machine at the other end is gone; what it sent may still arrive. */
void crash_link_cut(struct crash_link *l);

#endif
