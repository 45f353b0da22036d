/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_NET_SIM_H
#define WEIR_TESTS_NET_SIM_H

/*
 * net_sim.h: byte pipes in simulated time. A pair is two ends of one connection, each a `struct transport` as
 * core/transport.h promises it: one goes to conn_new(), the other to a simulated peer (or both to the contract suite).
 *
 * The pipes do whatever that contract allows: bytes arrive late and in other pieces than they were sent in, a full
 * buffer says ERR_AGAIN and so does chance, readiness is reported that is none, bytes hide in the pipe (pending) and no
 * longer make it ready, the connection ends at any byte. Readiness is level-triggered, as epoll's: reported in every
 * step while it lasts.
 */

#include <stdint.h>

#include "core/base/list.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/transport.h"
#include "tests/sim/loop_sim.h"

struct net_faults {
    uint32_t delay_ms_max; /* on the way, per piece; 0: there in the next step */
    uint32_t buffer_bytes; /* room per direction for what was sent and not yet read; > 0 */
    uint32_t piece_max;    /* a call moves 1 .. piece_max bytes; 0: as many as fit */
    uint8_t again_pct;     /* recv and sendv say ERR_AGAIN without need */
    uint8_t spurious_pct;  /* readiness is reported that is none */
    uint8_t hold_pct;      /* recv leaves bytes pending in the pipe */
};

struct net_sim {
    struct sim_poll poll; /* first */
    struct loop_sim *loop;
    struct mem *mem;
    struct rng *rng;
    struct net_faults faults; /* may be changed at any time; buffer_bytes counts for pairs made later */
    struct list ends;
    uint32_t pairs_made;
    uint64_t bytes; /* taken by all sendv */
};

/* net_sim_init: joins the loop's polls. All pointers must outlive it. rng may be NULL if faults has no chances in it.
 */
void net_sim_init(struct net_sim *n, struct loop_sim *loop, struct mem *mem, struct rng *rng,
                  const struct net_faults *faults);

/* net_sim_fini: every end must have been destroyed. */
void net_sim_fini(struct net_sim *n);

/* net_sim_pair: a fresh connection. Each end is owned by the caller and given back by ops->destroy, in any order. */
void net_sim_pair(struct net_sim *n, struct transport *out_end[2]);

/* What becomes of bytes that were sent but not read. */
enum net_loss { NET_KEEP, NET_LOSE };

/* net_sim_reset: this end breaks the connection (a RST): the other one hears of it later; KEEP: after the bytes on the
 * way to it, LOSE: instead of them. This end says ERR_RESET from now on; it still has to be destroyed. */
void net_sim_reset(struct transport *end, enum net_loss loss);

/* net_sim_cut: the network breaks the connection: both ends hear of it later, each losing bytes or not. */
void net_sim_cut(struct transport *end, enum net_loss loss);

/* net_sim_unread: bytes sent to this end that it has not read, arrived or not. */
size_t net_sim_unread(const struct transport *end);

#endif
