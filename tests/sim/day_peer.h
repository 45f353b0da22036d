/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_DAY_PEER_H
#define WEIR_TESTS_DAY_PEER_H

/*
 * day_peer.h: a broker in simulated time without faults, and MQTT 5 peers that say what they are told and write down
 * when they heard what: for tests that ask whether things happen at their time.
 *
 *     day_open(&d, seed, sys_interval_s);
 *     struct day_peer *p = day_connect(&d, &(struct day_login){.id = "p", .expiry_s = 60});
 *     loop_sim_run_to(d.loop, t);          everything that is due until then happens
 *     p->session_present, p->closed_at, d.heard ...
 *     day_close(&d);                       asserts that every byte came back
 *
 * A message is known by its number, which is its payload.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/conn.h"
#include "core/shard.h"
#include "proto_mqtt/mqtt_wire.h"
#include "tests/sim/net_sim.h"

struct day_peer;

struct day {
    struct mem_heap heap, sim_heap; /* the broker's, the simulator's */
    struct mem mem;
    struct loop_sim *loop;
    struct net_sim net;
    struct log log;
    struct shard *shard;
    const struct adapter_ops *adapters[2];
    struct door door;
    struct day_peer *peers;
    /* on_heard: a PUBLISH reached the peer; number: UINT32_MAX when its payload is none of ours. */
    void (*on_heard)(struct day *, struct day_peer *, uint32_t number, const struct mqtt_publish *,
                     const struct mqtt_props *);
    void *ctx;
};

/* owner: day, until day_close */
struct day_peer {
    struct day *day;
    struct day_peer *next;
    struct transport *t; /* NULL: the connection has ended */
    uint8_t in[4096];
    size_t in_len;
    uint16_t packet_id;
    bool has_connack, session_present;
    uint8_t close_code; /* of the broker's DISCONNECT, 0: none came */
    mono_ms closed_at;  /* the broker ended the connection; 0: it did not */
};

struct day_login {
    const char *id;
    uint32_t expiry_s;
    uint16_t keepalive_s;
    bool clean;
    const char *will_topic; /* NULL: no will */
    uint32_t will_number, will_delay_s;
};

/* Times of day, in ms. */
#define DAY_S(n) ((mono_ms)(n)*1000)

void day_open(struct day *d, uint32_t sys_interval_s);
void day_close(struct day *d);

static inline mono_ms day_now(const struct day *d)
{
    return d->loop->now;
}

/* day_connect: a new peer; its CONNACK comes when the loop runs. */
struct day_peer *day_connect(struct day *d, const struct day_login *login);

/* day_subscribe, day_publish: at QoS 1. expiry_s: Message Expiry Interval, 0: none. */
void day_subscribe(struct day_peer *p, const char *filter);
void day_publish(struct day_peer *p, const char *topic, uint32_t number, uint32_t expiry_s);
void day_ping(struct day_peer *p);

/* day_leave: DISCONNECT; the session's expiry becomes 0 if it `ends`. day_die: the connection breaks. */
enum day_end { DAY_SESSION_STAYS, DAY_SESSION_ENDS };
void day_leave(struct day_peer *p, enum day_end end);
void day_die(struct day_peer *p);

static inline uint64_t day_stat(const struct day *d, enum stat_id which)
{
    return d->shard->stats.v[which];
}

#endif
