/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_TRAFFIC_H
#define WEIR_BENCH_TRAFFIC_H

/*
 * traffic.h: publishers and subscribers that keep messages flowing while they are counted.
 *
 *     shape       publishers  subscribers   topic of publisher i    stream
 *     PAIRS n          n           n        its own                 i, seen by subscriber i
 *     FANOUT n         1           n        one                     0, seen by all
 *     FANIN n          n           1        one                     i, all seen by the one
 *
 * Closed loop: at most `window` messages of a publisher are on their way, that is not yet delivered to every
 * subscriber or, at QoS 1 and 2 and with receipts, not yet settled. Open loop (rate > 0): message k is due at k / rate,
 * says so in its payload, and is late if it could not be sent then; the delay counts.
 */

#include "bench/peer.h"
#include "bench/report.h"

enum shape { SHAPE_PAIRS, SHAPE_FANOUT, SHAPE_FANIN };

struct traffic_plan {
    enum shape shape;
    uint32_t n;
    uint8_t qos;
    enum protocol from, to;
    bool queue, ack_individual, receipts, persistent; /* STOMP */
    uint32_t rate;                                    /* 0: closed loop */
    uint32_t payload_bytes, window;                   /* window 0: a default, see traffic_new */
    bool share;                                       /* MQTT subscribers: each in a group of its own */
    bool kept;                                        /* MQTT subscribers: their sessions last */
    const char *topic;                                /* part of every topic, so that runs do not meet; NULL: "b" */
};

struct traffic;

/* traffic_new: opens and subscribes everything. The default window is 100 at QoS 1 and 2 and with receipts, else
 * 5,000 over publishers and subscribers, at least 50 and at most 2,000. */
struct traffic *traffic_new(const struct options *o, const struct traffic_plan *plan);

/* traffic_run: a fifth of the time to warm up, then `seconds` measured into *row, then sending pauses and everything
 * sent must arrive: without any for 3 s, what is missing is lost. May be called again, with rows of their own; the
 * ledger counts anew. `label` names progress lines and the row. */
void traffic_run(struct traffic *t, uint32_t seconds, const char *label, struct row *row);

/* traffic_silence: subscriber i stops reading; it may lose messages and its connection, and nobody waits for it. */
void traffic_silence(struct traffic *t, uint32_t i);

/* traffic_free: logs everybody out. */
void traffic_free(struct traffic *t);

#endif
