/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_NET_H
#define WEIR_BENCH_NET_H

/*
 * net.h: connections of the generator and their epoll. A link is opened and logged in with blocking calls; then
 * link_watch makes it part of the loop:
 *
 *     net_poll ─► recv ─► link->on_bytes(link, bytes, n) ─► what it did not eat is kept for the next call
 *                                └─► link_room / link_wrote ... and one send after each on_bytes
 */

#include "bench/bench.h"

#include <netinet/in.h>

#define IN_BYTES (256u * 1024u) /* one read */

struct link;

/* Returns how many of in[len] it has eaten. What is left is a partial packet of at most rest_cap bytes. */
typedef size_t (*link_bytes_fn)(struct link *l, const uint8_t *in, size_t len);

struct net {
    int epoll_fd;
    uint8_t *in; /* [IN_BYTES + the longest rest] */
    bool stamps; /* note the time of every read in read_ns */
    uint64_t read_ns;
};

struct link {
    int fd; /* -1: closed */
    uint32_t events;
    bool may_end; /* the broker may close it: a link that misbehaves on purpose */
    struct net *net;
    link_bytes_fn on_bytes;
    uint8_t *out; /* [out_cap]; out[out_at .. out_n) waits for the socket */
    uint32_t out_at, out_n, out_cap;
    uint8_t *rest; /* [rest_cap] */
    uint32_t rest_n, rest_cap;
};

void net_init(struct net *net);

/* net_poll: waits at most timeout_ms, handles what is ready; returns the number of links that were. */
int net_poll(struct net *net, int timeout_ms);

/* source_address: the i-th loopback source address of `sources`: 127.0.0.1 itself when that is 1. */
struct in_addr source_address(const struct options *o, uint32_t i);

/* link_init: no connection yet; room for partial packets of rest_cap and output of out_cap bytes. */
void link_init(struct link *l, struct net *net, uint32_t rest_cap, uint32_t out_cap);

/* link_open: connects, blocking. source_i picks the source address. */
void link_open(struct link *l, const struct options *o, uint16_t port, uint32_t source_i);

/* link_send, link_recv: exactly n bytes, blocking (5 s); only before link_watch. */
void link_send(struct link *l, const void *bytes, size_t n);
void link_recv(struct link *l, void *out, size_t n);

/* link_watch: from now on non-blocking, handled by net_poll. */
void link_watch(struct link *l, link_bytes_fn on_bytes);

/* link_unwatch: the loop no longer reads it; the connection stays open. */
void link_unwatch(struct link *l);

/* link_room: the free bytes at the end of the output; link_end: where they start. */
static inline uint32_t link_room(const struct link *l)
{
    return l->out_cap - l->out_n;
}

static inline uint8_t *link_end(struct link *l)
{
    return l->out + l->out_n;
}

/* link_flush: sends what waits; keeps what the socket does not take. */
void link_flush(struct link *l);

/* link_close: an orderly close of the socket (MQTT's DISCONNECT is the caller's). The memory stays for another open. */
void link_close(struct link *l);

#endif
