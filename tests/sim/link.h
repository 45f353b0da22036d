/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_LINK_H
#define WEIR_TESTS_LINK_H

/*
 * link.h: a simulated peer's connection to the broker: what both kinds of peers share. Bytes out wait here until the
 * pipe takes them; bytes in are collected here until the peer's codec has eaten them. A link can read slowly, stop
 * reading for a while, and end in all the ways a connection ends.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/list.h"
#include "tests/sim/net_sim.h"

struct world;
struct link;

struct link_ops {
    /* on_bytes: all bytes not eaten yet; returns how many it ate. May end the link. */
    size_t (*on_bytes)(struct link *, const uint8_t *in, size_t len);
    /* on_end: the broker or the network ended it (ERR_EOF, ERR_RESET); it is closed already. */
    void (*on_end)(struct link *, enum err why);
};

/* owner: a peer, which embeds it first. */
struct link {
    struct world *w;
    const struct link_ops *ops;
    struct transport *t;         /* NULL: no connection */
    const struct transport *far; /* the broker's end; only to be compared: it may be gone */
    struct buf in, out;
    struct sim_event resume; /* end of a pause */
    mono_ms heard_at;        /* last bytes in, or the end of the last pause */
    uint32_t number;         /* of this connection, in the model */
    uint32_t read_max;       /* bytes taken by one recv */
    bool is_paused;
};

/* A connection its peer no longer looks at; it goes away by itself after a while. owner: world->zombies. */
struct zombie {
    struct sim_event ev; /* first */
    struct list_node all;
    struct world *w;
    struct transport *t;
};

void link_init(struct link *l, struct world *w, const struct link_ops *ops);
/* link_fini: closes; the buffers are freed. */
void link_fini(struct link *l);

/* link_open: a new connection to the broker; the former one must have ended. */
void link_open(struct link *l);

static inline bool link_is_open(const struct link *l)
{
    return l->t != NULL;
}

/* link_flush: l->out was filled: offer it to the pipe; the rest goes when the pipe has room. */
void link_flush(struct link *l);

/* link_pause: reads nothing for so long. */
void link_pause(struct link *l, mono_ms ms);

/* link_shut: no more will be sent; reading goes on. */
void link_shut(struct link *l);

/* Three ways for the peer to end it: what was given to the pipe still arrives; RST; simply turning away (the broker
 * sees nothing for a while). What waits in l->out is lost. */
void link_close(struct link *l);
void link_reset(struct link *l, enum net_loss loss);
void link_abandon(struct link *l);

/* zombie_free: ends it now. */
void zombie_free(struct zombie *z);

#endif
