/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_WORLD_H
#define WEIR_TESTS_WORLD_H

/*
 * world.h: one run of the simulator: a whole broker (one shard, both adapters, a store) on a simulated loop and
 * network, some peers that do what peers do, and the model that watches them. Everything follows from one seed.
 *
 *     plan (from the seed) ─► steps of random acts ─► everybody returns, all faults stop, all is drained ─► the model's
 * verdict
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/adapter.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/conn.h"
#include "core/shard.h"
#include "tests/sim/link.h"
#include "tests/sim/loop_sim.h"
#include "tests/sim/model.h"
#include "tests/sim/net_sim.h"
#include "tests/sim/store_sim.h"

struct peer_mqtt;
struct peer_stomp;

/* What kind of run a seed is. */
struct plan {
    struct net_faults faults;
    struct limits limits;
    uint32_t mqtt_n, stomp_n, steps;
    uint32_t store_ms_max; /* the disk's slowness; 0 with has_store: durable within submit */
    uint32_t rx_window;    /* QoS 2 publishes a peer has open at once */
    uint32_t bytes_max;    /* largest payload */
    uint8_t act_ms_max;    /* between two acts */
    bool has_store;
    bool has_small_queues; /* drops by queue limits may happen (and only then) */
    bool has_auto_queues;  /* `auto` consumers on named queues: what is on the way is lost with their connection */
    bool fails_memory;     /* allocations fail */
    bool fails_store;      /* the store fails for good at some time */
    bool only_safety;      /* one of them: promises may be broken, but nothing wrong may happen */
    bool ends_by_stop;     /* the broker is stopped, not just freed */
    bool has_shared;       /* groups, MQTT consumers of named queues, delayed messages, topic aliases */
    bool has_tx;           /* STOMP peers use transactions */
    uint8_t qos0_pct;      /* members of groups at QoS 0: what they get may be lost */
};

struct world {
    uint64_t seed;
    struct rng rng;
    struct plan plan;
    struct mem_heap sim_heap, heap; /* ours; the broker's */
    struct mem mem;                 /* ours */
    struct loop_sim *loop;
    struct net_sim net;
    struct log log;
    struct store_sim *store; /* NULL: none */
    struct shard *shard;
    const struct adapter_ops *adapters[3];
    struct door door;
    struct model model;
    struct peer_mqtt **mqtt;   /* [plan.mqtt_n] */
    struct peer_stomp **stomp; /* [plan.stomp_n] */
    struct list zombies;
    struct sim_event act;
    uint32_t steps_left;
    mono_ms busy_at;       /* last time a peer sent or got more than a heart-beat */
    mono_ms delayed_until; /* nothing is under way later than that */
    uint32_t checks;
    bool is_resting;  /* before that: those who are away stay away, the others finish */
    bool is_draining; /* the end of the run: faults are over, peers only return and finish */
    bool verbose;
    bool is_stopping, is_stopped;
};

/* Seeds from here on have transactions too; below it they stay what they were. */
#define WORLD_TX_SEED (UINT64_C(1) << 32)

/* world_run: plays one seed. steps 0: as many as the plan says. True when nothing was violated; else why[] says what.
 * Any BUG_ON or sanitizer report ends the program, as everywhere. */
bool world_run(uint64_t seed, uint32_t steps, bool verbose, char *why, size_t why_cap);

/* world_fail: a violation, noted in the model with the time. */
void world_fail(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* world_trace: one line of the trace, if asked for. */
void world_trace(struct world *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

static inline void world_busy(struct world *w)
{
    w->busy_at = w->loop->now;
}

static inline uint32_t roll(struct world *w, uint32_t n)
{
    return rng_below(&w->rng, n);
}

static inline bool chance(struct world *w, unsigned of_100)
{
    return rng_chance(&w->rng, of_100);
}

/* plan_make: what seed `w->seed` is like (uses w->rng). */
void plan_make(struct world *w);

/* The names of this little world. */
extern const char *const world_topics[];
extern const uint32_t world_topics_n;
extern const char *const world_filters[]; /* MQTT spelling; the last world_filters_inner_n have '#' in the middle */
extern const uint32_t world_filters_n, world_filters_inner_n;
extern const char *const world_queues[];
extern const uint32_t world_queues_n;
extern const char *const world_group_topics[]; /* which no other filter matches */
extern const uint32_t world_group_topics_n;
extern const char *const world_groups[]; /* the last world_groups_mixed_n also match other topics */
extern const uint32_t world_groups_n, world_groups_mixed_n;

/* world_pub: a fresh message in the model: destination, QoS, retain and so on are p's; size by chance. */
uint32_t world_pub(struct world *w, struct pub *p);

#endif
