/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_TCP_H
#define WEIR_TRANSPORT_TCP_H

/*
 * tcp.h: a connected stream socket (TCP over IPv4 or IPv6, or unix) as a pipe; the bottom of every stack.
 *
 *     tcp_home_init ─► transport_tcp_new *, pipes live and are destroyed ─► tcp_home_fini
 */

#include <sys/socket.h>

#include "core/base/check.h"
#include "core/base/pool.h"
#include "core/transport.h"

struct loop;
struct mem;

/* What the pipes of one loop share. Pipes point to it: it must not move while one lives. owner: app */
struct tcp_home {
    struct loop *loop;
    struct pool small; /* pipes over IPv4 and unix sockets */
    struct pool large; /* over IPv6 */
};

/* tcp_home_init: no pipe yet, nothing allocated.
 *
 *   loop   what will watch the pipes; borrowed, must outlive them
 *   mem    pays for them: 104 bytes each (IPv6: 120)
 */
void tcp_home_init(struct tcp_home *h, struct loop *loop, struct mem *mem);

/* tcp_home_fini: every pipe must have been destroyed (BUG_ON). */
void tcp_home_fini(struct tcp_home *h);

/* transport_tcp_new: the pipe over `fd`, a connected stream socket that does not block.
 *
 *   fd          taken over: closed by destroy, and also when this fails
 *   peer[len]   the other end as accept or getpeername filled it in; any alignment; copied. Its family is the socket's
 *
 * Nothing is watched until want() is called. ops->name is "tcp" or "unix", by the family. NULL when out of memory.
 */
struct transport *transport_tcp_new(struct tcp_home *home, int fd, const void *peer, socklen_t len) MUST_CHECK;

#endif
