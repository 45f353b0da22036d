/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwarder.c: the limit of the machine, as a program: the least that can be called forwarding MQTT.
 *
 *     read 512 KiB ─► frame ─► topic ─► hash ─► for each subscriber: append to its output ─► one write each per wake-up
 *
 * It has exact-match topics and QoS 0, 1 and 2 with new packet ids, and nothing else: no sessions, wildcards, retained
 * messages, timers, limits or checks of what a peer says. It answers QoS 1 and 2 at once and keeps no state for them.
 * A broker's rate divided by this program's, on the same machine in the same minute, says what its features cost.
 *
 * Invariants
 *   1. A topic's readers are connections that are open: closing one takes it out of its topics.
 *   2. A connection is in `dirty` exactly when is_dirty; all are flushed before the next wait.
 *   3. Nobody is freed while events are handled: the closed ones wait in `dead` for the end of the wake-up.
 * Cost    a hash, a compare and one memcpy per reader and message; buffers as large as what waits in them.
 * Thread  one.
 * Spec    MQTT 3.1.1 §2.2, §3; version 5 is refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/check.h"

#define IN_BYTES      (512u * 1024u)        /* one read */
#define PACKET_BYTES  (2u * 1024u * 1024u)  /* the longest packet */
#define OUT_BYTES_MAX (64u * 1024u * 1024u) /* waiting for one reader; what comes then is dropped */
#define SLOT_N        65536u                /* buckets of the topic table at the start */
#define EVENT_N       512
#define IDLE_FREE     (64u * 1024u) /* an empty output buffer above this is given back */

struct conn {
    int fd;
    bool is_dirty, is_closed, wants_write;
    uint16_t next_id; /* of PUBLISH towards this connection */
    uint8_t *rest;    /* a partial packet */
    uint32_t rest_n, rest_cap;
    uint8_t *out;
    uint32_t out_at, out_n, out_cap;
    struct topic **reads; /* the topics it is a reader of */
    uint32_t reads_n, reads_cap;
    struct conn *next_dirty, *next_dead;
};

struct reader {
    struct conn *conn;
    uint8_t qos;
};

struct topic {
    struct topic *next;
    uint32_t hash, bytes;
    struct reader *readers;
    uint32_t reader_n, reader_cap;
    uint8_t name[];
};

struct forwarder {
    int epoll_fd, listen_fd;
    struct topic **slots; /* [slot_mask + 1], a power of two, at least as many as topics */
    uint32_t slot_mask, topic_n;
    struct conn *dirty, *dead;
    uint8_t *in; /* [PACKET_BYTES + IN_BYTES] */
};

struct packet {
    const uint8_t *start, *body;
    uint32_t body_bytes, total;
    uint8_t type, flags;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "forwarder: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* grow: *p of `size`-byte items has room for n; dies without memory. */
static void *grow(void *p, uint32_t *cap, uint32_t n, size_t size)
{
    if (n <= *cap)
        return p;
    uint32_t wanted = MAX(*cap, 4u);
    while (wanted < n)
        wanted *= 2;
    p = realloc(p, wanted * size);
    if (p == NULL)
        die("memory");
    *cap = wanted;
    return p;
}

/* ---- topics ------------------------------------------------------------------------------------------------- */

/* hash_of: eight bytes at a time, multiplied and folded. */
static inline uint32_t hash_of(const uint8_t *p, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u;
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        p += 8;
        n -= 8;
    }
    uint64_t word = 0;
    memcpy(&word, p, n);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    return (uint32_t)(h ^ h >> 29);
}

/* slots_grow: four times the buckets, every topic in its new one. */
static void slots_grow(struct forwarder *f)
{
    uint32_t old_n = f->slot_mask + 1, mask = 4 * old_n - 1;
    struct topic **slots = calloc(mask + 1u, sizeof(struct topic *));
    if (slots == NULL)
        die("memory");
    for (uint32_t i = 0; i < old_n; i++) {
        for (struct topic *t = f->slots[i], *next; t != NULL; t = next) {
            next = t->next;
            t->next = slots[t->hash & mask];
            slots[t->hash & mask] = t;
        }
    }
    free(f->slots);
    f->slots = slots;
    f->slot_mask = mask;
}

static struct topic *topic_get(struct forwarder *f, const uint8_t *name, uint32_t bytes, bool make)
{
    uint32_t hash = hash_of(name, bytes);
    struct topic **slot = &f->slots[hash & f->slot_mask];
    for (struct topic *t = *slot; t != NULL; t = t->next) {
        if (t->hash == hash && t->bytes == bytes && memcmp(t->name, name, bytes) == 0)
            return t;
    }
    if (!make)
        return NULL;
    struct topic *t = calloc(1, sizeof(*t) + bytes);
    if (t == NULL)
        die("memory");
    *t = (struct topic){.next = *slot, .hash = hash, .bytes = bytes};
    memcpy(t->name, name, bytes);
    *slot = t;
    if (++f->topic_n > f->slot_mask)
        slots_grow(f);
    return t;
}

static void topic_join(struct topic *t, struct conn *c, uint8_t qos)
{
    for (uint32_t i = 0; i < t->reader_n; i++) {
        if (t->readers[i].conn == c) {
            t->readers[i].qos = qos;
            return;
        }
    }
    t->readers = grow(t->readers, &t->reader_cap, t->reader_n + 1, sizeof(*t->readers));
    t->readers[t->reader_n++] = (struct reader){c, qos};
    c->reads = grow(c->reads, &c->reads_cap, c->reads_n + 1, sizeof(struct topic *));
    c->reads[c->reads_n++] = t;
}

static void topic_leave(struct topic *t, const struct conn *c)
{
    for (uint32_t i = 0; i < t->reader_n; i++) {
        if (t->readers[i].conn == c) {
            t->readers[i] = t->readers[--t->reader_n];
            return;
        }
    }
}

/* ---- output ------------------------------------------------------------------------------------------------- */

/* room: n contiguous bytes at the end of c's output, NULL when too much waits there already. */
static inline uint8_t *room(struct forwarder *f, struct conn *c, uint32_t n)
{
    if (UNLIKELY(c->out_n + n > c->out_cap)) {
        if (c->out_n - c->out_at + n > OUT_BYTES_MAX)
            return NULL;
        if (c->out_at > 0)
            memmove(c->out, c->out + c->out_at, c->out_n - c->out_at);
        c->out_n -= c->out_at;
        c->out_at = 0;
        c->out = grow(c->out, &c->out_cap, c->out_n + n, 1);
    }
    if (!c->is_dirty) {
        c->is_dirty = true;
        c->next_dirty = f->dirty;
        f->dirty = c;
    }
    uint8_t *p = c->out + c->out_n;
    c->out_n += n;
    return p;
}

static void put(struct forwarder *f, struct conn *c, const void *bytes, uint32_t n)
{
    uint8_t *p = room(f, c, n);
    if (p != NULL)
        memcpy(p, bytes, n);
}

static void put_ack(struct forwarder *f, struct conn *c, uint8_t first, const uint8_t *id)
{
    uint8_t ack[4] = {first, 2, id[0], id[1]};
    put(f, c, ack, sizeof(ack));
}

static void conn_close(struct forwarder *f, struct conn *c)
{
    if (c->is_closed)
        return;
    c->is_closed = true;
    for (uint32_t i = 0; i < c->reads_n; i++)
        topic_leave(c->reads[i], c);
    close(c->fd);
    c->next_dead = f->dead;
    f->dead = c;
}

static void conn_flush(struct forwarder *f, struct conn *c)
{
    while (c->out_at < c->out_n) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
        if (n == -1 && errno != EAGAIN) {
            conn_close(f, c);
            return;
        }
        if (n == -1)
            break;
        c->out_at += (uint32_t)n;
    }
    bool wants_write = c->out_at < c->out_n;
    if (!wants_write) {
        c->out_at = c->out_n = 0;
        if (c->out_cap > IDLE_FREE) {
            free(c->out);
            c->out = NULL;
            c->out_cap = 0;
        }
    }
    if (wants_write != c->wants_write) {
        struct epoll_event e = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0u), .data.ptr = c};
        c->wants_write = wants_write;
        if (epoll_ctl(f->epoll_fd, EPOLL_CTL_MOD, c->fd, &e) == -1)
            die("epoll_ctl");
    }
}

/* ---- packets ------------------------------------------------------------------------------------------------ */

/* packet_peek: 1: p is whole; 0: more bytes are needed; -1: not a packet. */
static inline int packet_peek(const uint8_t *in, size_t len, struct packet *p)
{
    uint32_t n = 0, head = 1;
    for (unsigned shift = 0;; shift += 7) {
        if (len <= head)
            return 0;
        uint8_t byte = in[head++];
        n |= (uint32_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
        if (shift == 21)
            return -1;
    }
    *p = (struct packet){in, in + head, n, head + n, in[0] >> 4, in[0] & 15};
    return len >= p->total;
}

/* forward: one copy for one reader. Equal QoS 0 goes out as it came in; otherwise with its own id, or without. */
static inline void forward(struct forwarder *f, const struct packet *p, const struct reader *to, uint32_t topic_bytes)
{
    uint8_t qos = MIN(to->qos, (p->flags >> 1) & 3);
    if (qos == 0 && (p->flags & 6) == 0) {
        put(f, to->conn, p->start, p->total);
        return;
    }
    uint32_t front = 2 + topic_bytes, skip = front + ((p->flags & 6) != 0 ? 2u : 0u);
    uint32_t rest = p->body_bytes - skip, body = front + (qos > 0 ? 2u : 0u) + rest;
    uint8_t *out = room(f, to->conn, 5 + body);
    if (out == NULL)
        return;
    uint8_t *at = out;
    uint32_t length = body;
    *at++ = (uint8_t)(0x30 | qos << 1);
    for (; length > 0x7f; length >>= 7)
        *at++ = (uint8_t)(length | 0x80);
    *at++ = (uint8_t)length;
    memcpy(at, p->body, front);
    at += front;
    if (qos > 0) {
        uint16_t id = to->conn->next_id == UINT16_MAX ? 1 : (uint16_t)(to->conn->next_id + 1);
        to->conn->next_id = id;
        *at++ = (uint8_t)(id >> 8);
        *at++ = (uint8_t)id;
    }
    memcpy(at, p->body + skip, rest);
    to->conn->out_n -= 5 + body - (uint32_t)(at + rest - out);
}

static int on_publish(struct forwarder *f, struct conn *c, const struct packet *p)
{
    uint32_t topic_bytes = p->body_bytes < 2 ? UINT32_MAX - 4 : (uint32_t)(p->body[0] << 8 | p->body[1]);
    unsigned qos = (p->flags >> 1) & 3;
    if (2 + topic_bytes + (qos > 0 ? 2u : 0u) > p->body_bytes || qos == 3)
        return -1;
    const struct topic *t = topic_get(f, p->body + 2, topic_bytes, false);
    for (uint32_t i = 0; t != NULL && i < t->reader_n; i++)
        forward(f, p, &t->readers[i], topic_bytes);
    if (qos > 0)
        put_ack(f, c, qos == 1 ? 0x40 : 0x50, p->body + 2 + topic_bytes);
    return 0;
}

/* on_subscribe: a filter with a wildcard is refused, 0x80. */
static int on_subscribe(struct forwarder *f, struct conn *c, const struct packet *p)
{
    uint8_t codes[256];
    uint32_t n = 0, at = 2;
    while (at + 3 <= p->body_bytes && n < sizeof(codes)) {
        uint32_t bytes = (uint32_t)(p->body[at] << 8 | p->body[at + 1]);
        const uint8_t *name = p->body + at + 2;
        at += 2 + bytes + 1;
        if (at > p->body_bytes)
            return -1;
        uint8_t qos = name[bytes] & 3;
        codes[n] = memchr(name, '+', bytes) != NULL || memchr(name, '#', bytes) != NULL ? 0x80 : qos;
        if (codes[n++] != 0x80)
            topic_join(topic_get(f, name, bytes, true), c, qos);
    }
    if (at != p->body_bytes || n > 125)
        return -1;
    uint8_t head[4] = {0x90, (uint8_t)(2 + n), p->body[0], p->body[1]};
    put(f, c, head, sizeof(head));
    put(f, c, codes, n);
    return 0;
}

/* on_packet: 0, or -1 when the connection ends. */
static int on_packet(struct forwarder *f, struct conn *c, const struct packet *p)
{
    switch (p->type) {
    case 3:
        return on_publish(f, c, p);
    case 1:
        if (p->body_bytes < 7 || p->body[6] == 5)
            return -1;
        put(f, c, "\x20\x02\x00\x00", 4);
        return 0;
    case 4: /* PUBACK and PUBCOMP of a reader: nothing is kept for them */
    case 7:
        return 0;
    case 5:
        put_ack(f, c, 0x62, p->body);
        return 0;
    case 6:
        put_ack(f, c, 0x70, p->body);
        return 0;
    case 8:
        return on_subscribe(f, c, p);
    case 12:
        put(f, c, "\xd0\x00", 2);
        return 0;
    }
    return -1; /* DISCONNECT, and all else */
}

/* on_bytes: the bytes eaten, -1 when the connection ends. */
static ptrdiff_t on_bytes(struct forwarder *f, struct conn *c, const uint8_t *in, size_t len)
{
    size_t at = 0;
    for (;;) {
        struct packet p;
        int whole = packet_peek(in + at, len - at, &p);
        if (whole == 0)
            return (ptrdiff_t)at;
        if (whole == -1 || (p.body_bytes < 2 && p.type > 1 && p.type < 12) || on_packet(f, c, &p) == -1)
            return -1;
        at += p.total;
    }
}

static void conn_read(struct forwarder *f, struct conn *c)
{
    if (c->rest_n > 0)
        memcpy(f->in, c->rest, c->rest_n);
    ssize_t got = recv(c->fd, f->in + c->rest_n, IN_BYTES, 0);
    if (got == -1 && errno == EAGAIN)
        return;
    if (got <= 0) {
        conn_close(f, c);
        return;
    }
    size_t len = c->rest_n + (size_t)got;
    ptrdiff_t eaten = on_bytes(f, c, f->in, len);
    if (eaten == -1 || len - (size_t)eaten > PACKET_BYTES) {
        conn_close(f, c); /* no packet, or a longer one */
        return;
    }
    c->rest_n = (uint32_t)(len - (size_t)eaten);
    if (c->rest_n > 0) {
        c->rest = grow(c->rest, &c->rest_cap, c->rest_n, 1);
        memcpy(c->rest, f->in + eaten, c->rest_n);
    }
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

static void accept_all(struct forwarder *f)
{
    for (;;) {
        int on = 1, fd = accept4(f->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1)
            break;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct conn *c = calloc(1, sizeof(*c));
        if (c == NULL)
            die("memory");
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, fd, &e) == -1)
            die("epoll_ctl");
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EMFILE)
        die("accept4");
}

static void turn(struct forwarder *f)
{
    struct epoll_event events[EVENT_N];
    int n = epoll_wait(f->epoll_fd, events, EVENT_N, -1);
    if (n == -1 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c == NULL) {
            accept_all(f);
            continue;
        }
        if ((events[i].events & EPOLLOUT) != 0 && !c->is_closed)
            conn_flush(f, c);
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && !c->is_closed)
            conn_read(f, c);
    }
    for (struct conn *c = f->dirty, *next; c != NULL; c = next) {
        next = c->next_dirty;
        c->is_dirty = false;
        if (!c->is_closed)
            conn_flush(f, c);
    }
    f->dirty = NULL;
    for (struct conn *c = f->dead, *next; c != NULL; c = next) {
        next = c->next_dead;
        free(c->rest);
        free(c->out);
        free(c->reads);
        free(c);
    }
    f->dead = NULL;
}

static void listen_on(struct forwarder *f, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(a);
    int on = 1;
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (f->listen_fd == -1 || setsockopt(f->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1)
        die("socket");
    if (bind(f->listen_fd, (struct sockaddr *)&a, sizeof(a)) == -1 || listen(f->listen_fd, 4096) == -1)
        die("listen");
    if (getsockname(f->listen_fd, (struct sockaddr *)&a, &bytes) == -1)
        die("getsockname");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (f->epoll_fd == -1 || epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->listen_fd, &e) == -1)
        die("epoll");
    printf("forwarder: listening on 127.0.0.1:%u\n", ntohs(a.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unsigned long port = 0;
    char *end = NULL;
    if (argc == 3 && strcmp(argv[1], "-p") == 0)
        port = strtoul(argv[2], &end, 10);
    if (argc > 1 && (end == NULL || *end != 0 || end == argv[2] || port > 65535)) {
        fprintf(stderr,
                "usage: forwarder [-p PORT]    a bare MQTT 3.1.1 forwarder on loopback; port 0: any free one\n");
        return 2;
    }
    struct forwarder f = {.slots = calloc(SLOT_N, sizeof(struct topic *)),
                          .slot_mask = SLOT_N - 1,
                          .in = malloc(PACKET_BYTES + IN_BYTES)};
    if (f.slots == NULL || f.in == NULL)
        die("memory");
    listen_on(&f, (uint16_t)port);
    for (;;)
        turn(&f);
}
