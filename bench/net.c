/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net.c: sockets and epoll of the generator.
 *
 * One buffer is read into by all links: what a link could not eat is kept in its own `rest` and put in front of its
 * next read. Output is built in place in the link's own buffer and sent with one call.
 *
 * Invariants
 *   1. A link that may have to write more than it has room for is not read: on_bytes never finds its output full,
 *      because answers are shorter than what they answer, and IN_BYTES of room are there before each read.
 *   2. EPOLLOUT is asked for exactly while output waits.
 * Cost    one recv and one send per ready link; nothing is allocated after link_init.
 */
#include "bench/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define EVENT_N  512
#define REST_MAX (8u * 1024u * 1024u)
#define BLOCK_S  5

void net_init(struct net *net)
{
    *net = (struct net){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .in = take(IN_BYTES + REST_MAX, 1)};
    if (net->epoll_fd == -1)
        die_errno("epoll_create1");
}

struct in_addr source_address(const struct options *o, uint32_t i)
{
    if (o->sources <= 1)
        return (struct in_addr){htonl(INADDR_LOOPBACK)};
    return (struct in_addr){htonl((127u << 24) + (1u << 16) + 1 + i % o->sources)}; /* 127.1.0.1 and on */
}

void link_init(struct link *l, struct net *net, uint32_t rest_cap, uint32_t out_cap)
{
    if (rest_cap > REST_MAX)
        die("messages of more than %u bytes are not supported", REST_MAX);
    *l = (struct link){.fd = -1, .net = net, .out_cap = out_cap, .rest_cap = rest_cap};
    l->out = take(MAX(out_cap, 1u), 1);
    l->rest = take(rest_cap, 1);
}

void link_open(struct link *l, const struct options *o, uint16_t port, uint32_t source_i)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = o->host};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = source_address(o, source_i)};
    struct timeval patience = {.tv_sec = BLOCK_S};
    int on = 1;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd == -1)
        die_errno("socket");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (o->sources > 1 && bind(l->fd, (struct sockaddr *)&from, sizeof(from)) == -1)
        die_errno("bind to a loopback source address");
    if (connect(l->fd, (struct sockaddr *)&to, sizeof(to)) == -1)
        die_errno("connect");
    l->out_at = l->out_n = l->rest_n = 0;
    l->events = 0;
}

void link_send(struct link *l, const void *bytes, size_t n)
{
    if (send(l->fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
        die_errno("send");
}

void link_recv(struct link *l, void *out, size_t n)
{
    ssize_t got = recv(l->fd, out, n, MSG_WAITALL);
    if (got == -1)
        die_errno("recv");
    if (got != (ssize_t)n)
        die("the broker closed a connection at its login or subscription");
}

static void link_want(struct link *l)
{
    uint32_t events = l->out_at == l->out_n ? EPOLLIN : EPOLLOUT;
    if (events == EPOLLOUT && link_room(l) >= IN_BYTES)
        events |= EPOLLIN;
    if (events == l->events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = l};
    if (epoll_ctl(l->net->epoll_fd, l->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, l->fd, &e) == -1)
        die_errno("epoll_ctl");
    l->events = events;
}

void link_watch(struct link *l, link_bytes_fn on_bytes)
{
    int on = 1;
    if (ioctl(l->fd, FIONBIO, &on) == -1)
        die_errno("ioctl");
    l->on_bytes = on_bytes;
    link_want(l);
}

void link_unwatch(struct link *l)
{
    if (l->events != 0 && epoll_ctl(l->net->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL) == -1)
        die_errno("epoll_ctl");
    l->events = 0;
}

static void link_ended(struct link *l)
{
    if (!l->may_end)
        die("the broker closed a connection: %s", errno != 0 ? strerror(errno) : "end of stream");
    link_close(l);
}

void link_flush(struct link *l)
{
    if (l->fd == -1)
        return;
    while (l->out_at < l->out_n) {
        ssize_t n = send(l->fd, l->out + l->out_at, l->out_n - l->out_at, MSG_NOSIGNAL);
        if (n == -1 && errno == EAGAIN)
            break;
        if (n == -1) {
            link_ended(l);
            return;
        }
        l->out_at += (uint32_t)n;
    }
    if (l->out_at > 0) {
        memmove(l->out, l->out + l->out_at, l->out_n - l->out_at);
        l->out_n -= l->out_at;
        l->out_at = 0;
    }
    link_want(l);
}

static void link_read(struct link *l)
{
    uint8_t *in = l->net->in;
    if (l->rest_n > 0)
        memcpy(in, l->rest, l->rest_n);
    errno = 0;
    ssize_t got = recv(l->fd, in + l->rest_n, IN_BYTES, 0);
    if (got == -1 && errno == EAGAIN)
        return;
    if (got <= 0) {
        link_ended(l);
        return;
    }
    if (l->net->stamps)
        l->net->read_ns = now_ns();
    size_t len = l->rest_n + (size_t)got, eaten = l->on_bytes(l, in, len);
    if (len - eaten > l->rest_cap)
        die("a packet is longer than any this scenario sends");
    l->rest_n = (uint32_t)(len - eaten);
    if (l->rest_n > 0)
        memcpy(l->rest, in + eaten, l->rest_n);
    if (l->out_n > 0)
        link_flush(l);
}

int net_poll(struct net *net, int timeout_ms)
{
    struct epoll_event events[EVENT_N];
    int n = epoll_wait(net->epoll_fd, events, EVENT_N, timeout_ms);
    if (n == -1 && errno != EINTR)
        die_errno("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct link *l = events[i].data.ptr;
        if ((events[i].events & EPOLLOUT) != 0)
            link_flush(l);
        if (l->fd != -1 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            link_read(l);
    }
    return MAX(n, 0);
}

void link_close(struct link *l)
{
    if (l->fd == -1)
        return;
    close(l->fd);
    l->fd = -1;
    l->events = 0;
}
