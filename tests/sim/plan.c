/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.c: what a seed is like: the names of the little world, and dice for everything that makes runs differ: the
 * network's faults, the limits, the store, the number and pace of peers. Most runs are moderately bad; some are calm,
 * so that what only shows without faults (a wrong drop, a needless close) is not excused by one.
 */
#include "tests/sim/world.h"

#include <stdio.h>

/* A level too long for a trie node, a topic too long for the route cache. */
#define LONG_LEVEL "a-level-with-a-rather-long-name-such-as-a-serial-number-00112233"

const char *const world_topics[] = {
    "a",    "a/b",  "a/b/c",         "a/c",
    "b",    "b//c", "site/1.5/temp", "site/2/temp",
    "$w/a", "/x",   LONG_LEVEL "/a", LONG_LEVEL "/" LONG_LEVEL "/" LONG_LEVEL "/" LONG_LEVEL "/c"};
const uint32_t world_topics_n = ARRAY_N(world_topics);

const char *const world_filters[] = {
    "#",     "a/#",   "a/+",   "+/b", "a/b/#", "+",     "site/+/temp", "site/#",        "$w/#",
    "$w/+",  "+/+/c", "b/+/c", "/+",  "+/#",   "a/+/c", "nobody/+",    LONG_LEVEL "/#", LONG_LEVEL "/+/+/+/c",
    "a/#/c", "#/temp"};
const uint32_t world_filters_n = ARRAY_N(world_filters), world_filters_inner_n = 2;

const char *const world_queues[] = {"q1", "work.2", "q/3"};
const uint32_t world_queues_n = ARRAY_N(world_queues);

const char *const world_group_topics[] = {"$g/1/temp", "$g/2/temp", "$g/x"};
const uint32_t world_group_topics_n = ARRAY_N(world_group_topics);

/* Twice the same filter for two groups, and twice the same group for two filters. */
const char *const world_groups[] = {"$share/g/$g/#", "$share/h/$g/#", "$share/g/$g/+/temp", "$share/g/a/#",
                                    "$share/h/#"};
const uint32_t world_groups_n = ARRAY_N(world_groups), world_groups_mixed_n = 2;

static void plan_network(struct world *w)
{
    struct net_faults *f = &w->plan.faults;
    *f = (struct net_faults){.buffer_bytes = 65536};
    if (chance(w, 15))
        return; /* a perfect network */
    f->delay_ms_max = chance(w, 80) ? 1 + roll(w, 40) : roll(w, 2000);
    f->buffer_bytes = chance(w, 40) && f->delay_ms_max <= 40 ? 64 + roll(w, 4000) : 65536; /* slow, but not hopeless */
    f->piece_max = chance(w, 30) ? 1 + roll(w, 100) : chance(w, 30) ? 1000 : 0;
    f->again_pct = (uint8_t)(chance(w, 50) ? roll(w, 30) : 0);
    f->spurious_pct = (uint8_t)(chance(w, 30) ? roll(w, 5) : 0);
    f->hold_pct = (uint8_t)(chance(w, 30) ? roll(w, 50) : 0);
}

static void plan_limits(struct world *w)
{
    struct plan *p = &w->plan;
    struct limits *l = &p->limits;
    limits_default(l);
    p->rx_window = 1 + roll(w, 30);
    if (chance(w, 40))
        l->inflight_max = 1 + roll(w, 20);
    if (chance(w, 30))
        l->receive_max = p->rx_window + roll(w, 3);
    if (chance(w, 40))
        l->out_bytes_max = 4096 + roll(w, 8000);
    if (chance(w, 30))
        l->read_bytes_turn = 4096;
    if (chance(w, 30))
        l->flush_bytes_turn = 65536;
    if (chance(w, 30))
        l->route_cache_n = 16;
    if (chance(w, 20))
        l->timers_turn = 1 + roll(w, 3);
    l->linger_ms = roll(w, 3000);
    p->has_small_queues = chance(w, 25);
    if (!p->has_small_queues)
        return;
    l->session_queue_max = 1 + roll(w, 20);
    if (chance(w, 30))
        l->session_queue_bytes_max = 200 + roll(w, 5000);
    l->named_queue_max = 1 + roll(w, 20);
}

void plan_make(struct world *w)
{
    struct plan *p = &w->plan;
    *p = (struct plan){0};
    p->mqtt_n = 2 + roll(w, 4);
    p->stomp_n = roll(w, 4);
    p->steps = chance(w, 70) ? 60 + roll(w, 240) : 300 + roll(w, 1200);
    p->act_ms_max = (uint8_t)(1 + roll(w, 60));
    plan_network(w);
    plan_limits(w);
    p->has_store = chance(w, 60);
    p->store_ms_max = p->has_store && chance(w, 80) ? 1 + roll(w, 100) : 0;
    p->has_auto_queues = chance(w, 40);
    p->bytes_max = p->faults.piece_max && p->faults.piece_max < 30 ? 3000 : 100000;
    p->fails_memory = chance(w, 12);
    p->fails_store = p->store_ms_max != 0 && chance(w, 8);
    p->only_safety = p->fails_memory || p->fails_store;
    p->ends_by_stop = chance(w, 50);
    p->has_shared = w->seed % 5 != 2 && w->seed % 5 != 4; /* no die: the other seeds stay what they were */
    p->has_tx = w->seed >= WORLD_TX_SEED;
    if (p->has_tx)
        p->stomp_n = 2 + roll(w, 3);
    if (p->has_shared && chance(w, 30))
        p->qos0_pct = 30;
}

uint32_t world_pub(struct world *w, struct pub *p)
{
    uint32_t most = chance(w, 90) ? 40 : chance(w, 90) || p->is_will ? 3000 : w->plan.bytes_max;
    p->bytes = p->is_clear ? 0 : PAYLOAD_MIN + roll(w, most);
    return model_pub_new(&w->model, p);
}
