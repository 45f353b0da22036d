/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c: stream sockets as pipes. A thin layer: errno is turned into our errors here and goes no further up.
 *
 *     conn ─ recv ──► recv(2)      0 → ERR_EOF · EAGAIN → ERR_AGAIN · EINTR → again · anything else → ERR_RESET
 *          ─ sendv ─► sendmsg(2)   one call for the whole vector; EAGAIN → ERR_AGAIN · anything else → ERR_RESET
 *          ─ want ──► loop_io_set  level-triggered: what was left unread is reported again
 *
 * The peer's address is packed behind the struct when the pipe is made: after a reset the system no longer knows it,
 * which is just when the log asks. 6 bytes for IPv4, 22 for IPv6, 4 (the process id) for unix sockets.
 *
 * Invariants
 *   1. fd is open from new to destroy and belongs to the pipe alone.
 *   2. A closed peer never raises SIGPIPE (MSG_NOSIGNAL).
 *   3. No call blocks: the socket does not, and shut and destroy do not linger.
 *   4. destroy unsets the io before it closes the fd, so nothing is reported for a number that is used again.
 * Cost    one system call per recv and sendv; 120 bytes per IPv4 connection, allocator's rounding included, 136 for
 * IPv6. Thread  the shard's own.
 */
#include "transport/tcp.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "core/loop.h"
#include "transport/addr.h"

/* owner: what it is attached to (conn, or the pipe above); freed: destroy */
struct tcp {
    struct transport base;
    struct loop *loop;
    struct mem *mem;
    struct loop_io io;
    uint8_t peer_bytes; /* in peer[]: 6, 22, 4, or 0: unknown */
    uint8_t peer[];     /* port, address [, scope], as in the sockaddr; a unix peer's pid */
};

enum { PEER_UNKNOWN = 0, PEER_UNIX = 4, PEER_V4 = 2 + 4, PEER_V6 = 2 + 16 + 4 };

_Static_assert(sizeof(void *) > 8 || sizeof(struct tcp) <= 120, "an idle connection has grown");

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

static ptrdiff_t tcp_sendv(struct transport *t, const struct iovec *iov, int n)
{
    struct tcp *s = ours(t);
    BUG_ON(n <= 0);
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)MIN(n, IOV_MAX)};
    for (;;) {
        ssize_t sent = sendmsg(s->io.fd, &msg, MSG_NOSIGNAL);
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
    if (s->base.on_ready != NULL)
        s->base.on_ready(&s->base, events);
}

static void tcp_want(struct transport *t, unsigned interest)
{
    struct tcp *s = ours(t);
    if (interest == s->io.interest || loop_io_set(s->loop, &s->io, interest) == ERR_OK)
        return;
    /* A pipe that cannot be watched has ended: let the next recv say so. */
    shutdown(s->io.fd, SHUT_RDWR);
    tcp_on_io(&s->io, interest);
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

static void tcp_destroy(struct transport *t)
{
    struct tcp *s = ours(t);
    enum err e = loop_io_set(s->loop, &s->io, 0);
    BUG_ON(e != ERR_OK); /* to stop watching cannot fail */
    close(s->io.fd);
    mem_free(s->mem, s);
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

/* pack_peer: who is at the other end of fd, into out[PEER_V6]; returns the bytes used. */
static uint8_t pack_peer(int fd, uint8_t *out, bool *out_unix)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(sa);
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == -1)
        return PEER_UNKNOWN; /* reset before it was ever looked at */
    if (sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;
        memcpy(out, &in->sin_port, 2);
        memcpy(out + 2, &in->sin_addr, 4);
        return PEER_V4;
    }
    if (sa.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&sa;
        memcpy(out, &in6->sin6_port, 2);
        memcpy(out + 2, &in6->sin6_addr, 16);
        memcpy(out + 18, &in6->sin6_scope_id, 4);
        return PEER_V6;
    }
    if (sa.ss_family == AF_UNIX) {
        *out_unix = true;
        struct ucred cred;
        socklen_t cred_len = sizeof(cred);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == -1)
            return PEER_UNKNOWN;
        int32_t pid = cred.pid;
        memcpy(out, &pid, 4);
        return PEER_UNIX;
    }
    return PEER_UNKNOWN;
}

struct transport *transport_tcp_new(struct loop *loop, struct mem *mem, int fd)
{
    uint8_t peer[PEER_V6];
    bool is_unix = false;
    uint8_t peer_bytes = pack_peer(fd, peer, &is_unix);
    size_t bytes = MAX(sizeof(struct tcp), offsetof(struct tcp, peer) + peer_bytes);
    struct tcp *s = mem_zalloc(mem, bytes);
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    s->base.ops = is_unix ? &unix_ops : &tcp_ops;
    s->loop = loop;
    s->mem = mem;
    s->io.fd = fd;
    s->io.on_ready = tcp_on_io;
    s->peer_bytes = peer_bytes;
    memcpy(s->peer, peer, peer_bytes);
    return &s->base;
}
