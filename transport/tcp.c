/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c: stream sockets as pipes. A thin layer: errno is turned into our errors here and goes no further up.
 *
 *     conn ─ recv ──► recv(2)      0 → ERR_EOF · EAGAIN → ERR_AGAIN · EINTR → again · anything else → ERR_RESET
 *          ─ sendv ─► sendmsg(2)   one call for the whole vector; EAGAIN → ERR_AGAIN · anything else → ERR_RESET
 *                     send(2)      for a vector of one, which most are: a quarter cheaper, TCP's own work aside
 *          ─ want ──► loop_io_set  level-triggered: what was left unread is reported again
 *
 * The peer's address, as accept told it, is packed behind the struct: after a reset the system no longer knows it,
 * which is just when the log asks. 6 bytes for IPv4, 22 for IPv6, 4 (the process id) for unix sockets. Pipes come from
 * two pools of their loop's tcp_home, by the length of the address.
 *
 * Invariants
 *   1. fd is open from new to destroy and belongs to the pipe alone.
 *   2. A closed peer never raises SIGPIPE (MSG_NOSIGNAL).
 *   3. No call blocks: the socket does not, and shut and destroy do not linger.
 *   4. destroy unsets the io before it closes the fd, so nothing is reported for a number that is used again.
 *   5. A pipe that the loop can no longer watch has ended, and its next recv says so: it never hangs unseen.
 * Cost    one system call per recv and sendv; none to make a pipe (a unix one: one). 104 bytes per connection over IPv4
 *         or a unix socket, 120 over IPv6.
 * Thread  the loop's own.
 */
#include "transport/tcp.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"
#include "transport/addr.h"

/* owner: what it is attached to (conn, or the pipe above); freed: destroy */
struct tcp {
    struct transport base;
    struct tcp_home *home;
    struct loop_io io;
    uint8_t peer_bytes; /* in peer[]: 6, 22, 4, or 0: unknown */
    uint8_t peer[];     /* port, address [, scope], as in the sockaddr; a unix peer's pid */
};

enum { PEER_UNKNOWN = 0, PEER_UNIX = 4, PEER_V4 = 2 + 4, PEER_V6 = 2 + 16 + 4 };

#define SMALL_BYTES MAX(sizeof(struct tcp), offsetof(struct tcp, peer) + PEER_V4)
#define LARGE_BYTES MAX(sizeof(struct tcp), offsetof(struct tcp, peer) + PEER_V6)

_Static_assert(sizeof(void *) > 8 || (SMALL_BYTES <= 104 && LARGE_BYTES <= 120), "an idle connection has grown");

static struct tcp *ours(struct transport *t)
{
    return CONTAINER_OF(t, struct tcp, base);
}

static ptrdiff_t tcp_recv(struct transport *t, uint8_t *out, size_t cap)
{
    struct tcp *s = ours(t);
    BUG_ON(cap == 0);
    for (;;) {
        ssize_t n = recv(s->io.fd, out, cap, 0);
        if (LIKELY(n > 0))
            return n;
        if (n == 0)
            return -ERR_EOF;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return -ERR_AGAIN;
        if (errno != EINTR)
            return -ERR_RESET;
    }
}

static ssize_t send_once(int fd, const struct iovec *iov, int n)
{
    if (LIKELY(n == 1))
        return send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)MIN(n, IOV_MAX)};
    return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static ptrdiff_t tcp_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct tcp *s = ours(t);
    BUG_ON(n <= 0);
    for (;;) {
        ssize_t sent = send_once(s->io.fd, iov, n);
        if (LIKELY(sent > 0))
            return sent;
        BUG_ON(sent == 0); /* the caller offered no byte */
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return -ERR_AGAIN;
        if (errno != EINTR)
            return -ERR_RESET;
    }
}

static void tcp_on_io(struct loop_io *io, unsigned events)
{
    struct tcp *s = CONTAINER_OF(io, struct tcp, io);
    if (UNLIKELY(io->interest == 0)) /* invariant 5 */
        shutdown(io->fd, SHUT_RDWR);
    if (s->base.on_ready != NULL)
        s->base.on_ready(&s->base, events);
}

static void tcp_want(struct transport *t, unsigned interest)
{
    struct tcp *s = ours(t);
    enum err e = loop_io_set(s->home->loop, &s->io, interest);
    BUG_ON(e != ERR_OK); /* the fd is ours and open; what the system refuses comes to tcp_on_io */
}

static bool tcp_pending(struct transport *t)
{
    UNUSED(t);
    return false; /* all that waits, waits in the system */
}

static void tcp_shut(struct transport *t)
{
    shutdown(ours(t)->io.fd, SHUT_WR); /* fails when the peer is gone already: nothing to do then */
}

static void tcp_peer(struct transport *t, char *out, size_t cap)
{
    const struct tcp *s = ours(t);
    if (s->peer_bytes == PEER_V4) {
        struct sockaddr_in sa = {.sin_family = AF_INET};
        memcpy(&sa.sin_port, s->peer, 2);
        memcpy(&sa.sin_addr, s->peer + 2, 4);
        addr_text(&sa, sizeof(sa), out, cap);
    } else if (s->peer_bytes == PEER_V6) {
        struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
        memcpy(&sa.sin6_port, s->peer, 2);
        memcpy(&sa.sin6_addr, s->peer + 2, 16);
        memcpy(&sa.sin6_scope_id, s->peer + 18, 4);
        addr_text(&sa, sizeof(sa), out, cap);
    } else if (s->peer_bytes == PEER_UNIX) {
        int32_t pid;
        memcpy(&pid, s->peer, 4);
        snprintf(out, cap, "unix:pid=%ld", (long)pid);
    } else {
        snprintf(out, cap, "unknown");
    }
}

/* pack_peer: the address of the other end of fd, into out[PEER_V6]; returns the bytes used. */
static uint8_t pack_peer(int fd, const void *peer, socklen_t len, uint8_t *out)
{
    sa_family_t family = AF_UNSPEC;
    if (len >= sizeof(family))
        memcpy(&family, (const uint8_t *)peer + offsetof(struct sockaddr, sa_family), sizeof(family));
    if (family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, peer, sizeof(in));
        memcpy(out, &in.sin_port, 2);
        memcpy(out + 2, &in.sin_addr, 4);
        return PEER_V4;
    }
    if (family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, peer, sizeof(in6));
        memcpy(out, &in6.sin6_port, 2);
        memcpy(out + 2, &in6.sin6_addr, 16);
        memcpy(out + 18, &in6.sin6_scope_id, 4);
        return PEER_V6;
    }
    if (family == AF_UNIX) { /* who connects has no path: the process says more */
        struct ucred cred = {.pid = 0};
        socklen_t cred_len = sizeof(cred);
        int rc = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len);
        BUG_ON(rc == -1); /* fd is a unix socket */
        int32_t pid = cred.pid;
        memcpy(out, &pid, 4);
        return PEER_UNIX;
    }
    return PEER_UNKNOWN;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

void tcp_home_init(struct tcp_home *h, struct loop *loop, struct mem *mem)
{
    h->loop = loop;
    pool_init(&h->small, mem, SMALL_BYTES);
    pool_init(&h->large, mem, LARGE_BYTES);
}

void tcp_home_fini(struct tcp_home *h)
{
    pool_fini(&h->small);
    pool_fini(&h->large);
}

static struct pool *pool_of(struct tcp_home *h, uint8_t peer_bytes)
{
    return peer_bytes == PEER_V6 ? &h->large : &h->small;
}

static void tcp_destroy(struct transport *t)
{
    struct tcp *s = ours(t);
    enum err e = loop_io_set(s->home->loop, &s->io, 0);
    BUG_ON(e != ERR_OK); /* to stop watching cannot fail */
    close(s->io.fd);
    pool_give(pool_of(s->home, s->peer_bytes), s);
}

/* [MQTT-4.2.0-1]; 3.1.1: [MQTT-7.1.1-1] */
static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .recv = tcp_recv,
    .sendv = tcp_sendv,
    .want = tcp_want,
    .pending = tcp_pending,
    .shut = tcp_shut,
    .destroy = tcp_destroy,
    .peer = tcp_peer,
};

static const struct transport_ops unix_ops = {
    .name = "unix",
    .recv = tcp_recv,
    .sendv = tcp_sendv,
    .want = tcp_want,
    .pending = tcp_pending,
    .shut = tcp_shut,
    .destroy = tcp_destroy,
    .peer = tcp_peer,
};

struct transport *transport_tcp_new(struct tcp_home *home, int fd, const void *peer, socklen_t len)
{
    uint8_t packed[PEER_V6];
    uint8_t packed_bytes = pack_peer(fd, peer, len, packed);
    struct tcp *s = pool_take(pool_of(home, packed_bytes));
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    *s = (struct tcp){.home = home, .io = {.fd = fd, .on_ready = tcp_on_io}, .peer_bytes = packed_bytes};
    s->base.ops = packed_bytes == PEER_UNIX ? &unix_ops : &tcp_ops;
    memcpy(s->peer, packed, packed_bytes);
    return &s->base;
}
