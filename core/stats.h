/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_STATS_H
#define WEIR_CORE_STATS_H

/*
 * stats.h: counters and gauges, a static table. Every message that is not delivered is counted under exactly one of the
 * DROP_ names; every connection that ends is counted under its close reason (core/close.h).
 *
 *   X(NAME, kind, "text")   kind: counter (only grows) or gauge
 */

#include <stdint.h>

#define STAT_LIST(X)                                                                                                   \
    X(CONNS, gauge, "open connections")                                                                                \
    X(CONNS_TOTAL, counter, "connections accepted")                                                                    \
    X(CONNS_REFUSED, counter, "connections refused: max_connections, or no memory")                                    \
    X(CONNS_PEAK, gauge, "most connections open at once")                                                              \
    X(SESSIONS, gauge, "sessions, with or without a connection")                                                       \
    X(SESSIONS_ONLINE, gauge, "sessions with a connection")                                                            \
    X(SESSIONS_PEAK, gauge, "most sessions with a connection at once")                                                 \
    X(SESSIONS_EXPIRED, counter, "sessions whose owner did not come back in time")                                     \
    X(LOGINS, counter, "logins accepted: sessions that got a connection")                                              \
    X(QUEUES, gauge, "queues of every kind")                                                                           \
    X(BINDINGS, gauge, "bindings (subscriptions)")                                                                     \
    X(EXCHANGES, gauge, "exchanges, those that are built in too")                                                      \
    X(DURABLE_SUBS, gauge, "durable STOMP subscriptions")                                                              \
    X(GROUPS, gauge, "shared subscriptions (groups)")                                                                  \
    X(MEMBERS, gauge, "members of groups and consumers of named queues, over all MQTT sessions")                       \
    X(DELAYED, gauge, "messages waiting for their delay")                                                              \
    X(RETRYING, gauge, "messages waiting for their next attempt")                                                      \
    X(RETAINED, gauge, "retained messages")                                                                            \
    X(ENTRIES, gauge, "messages waiting or in flight, over all queues")                                                \
    X(BYTES_IN, counter, "bytes received")                                                                             \
    X(BYTES_OUT, counter, "bytes handed to transports")                                                                \
    X(FRAMES_IN, counter, "packets and frames received, of every kind")                                                \
    X(CONTROL_OUT, counter, "packets and frames sent that are not deliveries")                                         \
    X(PAYLOAD_IN, counter, "bytes of payload published")                                                               \
    X(PAYLOAD_OUT, counter, "bytes of payload delivered")                                                              \
    X(PUBLISHED, counter, "messages published, accepted")                                                              \
    X(REFUSED, counter, "messages refused (the publisher was told)")                                                   \
    X(NO_MATCH, counter, "accepted messages that matched no queue")                                                    \
    X(ROUTED, counter, "copies put to queues or sent at once")                                                         \
    X(DELIVERED, counter, "deliveries handed to adapters, first time or again")                                        \
    X(REDELIVERED, counter, "deliveries that were not the first")                                                      \
    X(SETTLED, counter, "deliveries acknowledged")                                                                     \
    X(LAPSED, counter, "deliveries taken back because they were not answered in time")                                 \
    X(DEAD_LETTERED, counter, "messages published to a dead-letter exchange")                                          \
    X(TX_COMMITTED, counter, "transactions committed")                                                                 \
    X(TX_ABORTED, counter, "transactions aborted, refused or left open")                                               \
    X(PAUSES_MEMORY, counter, "times a connection was not read because memory was short (memory_high_mark)")           \
    X(REFUSED_MEMORY, counter, "messages refused because memory was short (memory_hard_mark)")                         \
    X(PAGED, gauge, "messages waiting that are on disk only")                                                          \
    X(PAGED_OUT, counter, "messages that left memory while they waited")                                               \
    X(PAGED_IN, counter, "messages read back from disk to be delivered")                                               \
    X(PAUSES, counter, "times a connection was not read because it published faster than a rate limit")                \
    X(DROP_FULL, counter, "dropped: the queue was full (drop-new)")                                                    \
    X(DROP_HEAD, counter, "dropped: the queue was full, its oldest went (drop-head)")                                  \
    X(DROP_EXPIRED, counter, "dropped: message expiry or TTL")                                                         \
    X(DROP_OFFLINE, counter, "dropped: QoS 0 for a session without a connection")                                      \
    X(DROP_NOMEM, counter, "dropped: out of memory")                                                                   \
    X(DROP_MEMORY, counter, "dropped: QoS 0 that would have had to wait while memory was short (memory_hard_mark)")    \
    X(DROP_LOST, counter, "dropped: the disk did not give it back")                                                    \
    X(DROP_REJECTED, counter, "dropped: a consumer rejected it and there is no dead-letter exchange")                  \
    X(DROP_RETURNED, counter, "dropped: came back more often than x-delivery-limit, and no dead-letter exchange")      \
    X(DROP_CYCLE, counter, "dropped: a dead letter on its way back to where it died")                                  \
    X(DROP_PURGED, counter, "dropped: its queue was purged")                                                           \
    X(DROP_TOO_BIG, counter, "dropped: larger than the receiver's Maximum Packet Size")                                \
    X(DROP_CLOSED, counter, "dropped: the queue or session it waited in ended")                                        \
    X(TURNS, counter, "turns of the loop")                                                                             \
    X(ROUTE_HITS, counter, "routes found in the cache")                                                                \
    X(ROUTE_MISSES, counter, "routes computed by the trie")                                                            \
    X(STORE_APPENDS, counter, "records handed to the store")

enum stat_id {
#define X(name, kind, text) STAT_##name,
    STAT_LIST(X)
#undef X
        STAT_N
};

struct stats {
    uint64_t v[STAT_N];
};

struct stat_desc {
    const char *name, *kind, *text;
};

extern const struct stat_desc stat_table[STAT_N];

static inline void stat_add(struct stats *s, enum stat_id which, uint64_t n)
{
    s->v[which] += n;
}

static inline void stat_sub(struct stats *s, enum stat_id which, uint64_t n)
{
    s->v[which] -= n;
}

/* stat_peak: `peak` is the highest that `of` has been; after each stat_add of it. */
static inline void stat_peak(struct stats *s, enum stat_id peak, enum stat_id of)
{
    if (s->v[of] > s->v[peak])
        s->v[peak] = s->v[of];
}

#endif
