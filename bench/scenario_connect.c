/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_connect.c: what connections cost, as such.
 *
 *     idle      N log in (and subscribe); how much more anonymous memory has the broker, with all of them quiet?
 *     connect   N at a time: connect, CONNECT, CONNACK, DISCONNECT, close; the next one takes the place
 *     storms    ten times: N log in as fast as they can, then all leave at once; memory after each storm
 *
 *     door:  closed ─► connecting (CONNECT not sent yet) ─► waiting for CONNACK ─► in ─► closed
 *
 * Connections come from --sources loopback addresses, 28,000 ports each, because a closed one keeps its port for a
 * minute. The open-file limit of this process and that of the broker bound N.
 *
 * Invariants
 *   1. Every CONNACK is four bytes and says 0; anything else ends the run.
 *   2. A door's descriptor is in the epoll set until it is closed.
 * Cost    one socket, one CONNECT and one epoll_ctl per connection.
 */
#include "bench/scenarios.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/peer.h"
#include "bench/topics.h"

#define EVENT_N    256
#define STORM_N    10u
#define PATIENCE_S 20u

enum door_state { DOOR_CLOSED, DOOR_CONNECTING, DOOR_WAITING, DOOR_IN };

struct door {
    int fd;
    enum door_state state;
};

struct doors {
    const struct options *options;
    int epoll_fd;
    uint32_t n, opening, opened; /* opening now; logged in so far, over all rounds */
    uint32_t name_next;
    bool stays;        /* else it leaves as soon as it is in */
    struct door *door; /* [n] */
};

/* files_needed: raises the soft limit to the hard one, and says so when that is not enough. */
static void files_needed(uint32_t n)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == -1)
        die_errno("getrlimit");
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) == -1)
        die_errno("setrlimit");
    if (l.rlim_cur < n + 50)
        die("%u connections need more open files than the %lu this process may have", n, (unsigned long)l.rlim_cur);
}

/* ---- idle --------------------------------------------------------------------------------------------------- */

static void quiet_open(struct link *l, struct net *net, const struct options *o, uint32_t i)
{
    char name[32];
    snprintf(name, sizeof(name), "wb%d-i%u", (int)getpid(), i);
    link_init(l, net, 8, 8);
    link_open(l, o, o->port, i);
    mqtt_login(l, name, SESSION_NEW);
}

void scenario_idle(const struct options *o, struct report *r)
{
    struct net net;
    struct row row = {.broker_cpu = -1};
    struct sample from, to;
    uint64_t tick = now_ns() + NS_PER_S;
    uint32_t last = 0;
    char *filters = take(MAX(o->subs, 1u), TOPIC_BYTES);
    struct link *links = take(o->n, sizeof(*links));
    files_needed(o->n);
    net_init(&net);
    int64_t before = proc_rss_settled(o->pid);
    sample_now(&from, o, 0);
    for (uint32_t i = 0; i < o->n; i++) {
        quiet_open(&links[i], &net, o, i);
        for (uint32_t k = 0; k < o->subs; k++)
            topic_put((uint8_t *)filters + (size_t)k * TOPIC_BYTES, i * o->subs + k);
        if (o->subs > 0)
            mqtt_subscribe(&links[i], filters, o->subs, TOPIC_BYTES, o->qos);
        if (now_ns() >= tick) {
            progress(o, (double)(now_ns() - from.ns) / NS_PER_S, "open", i - last, i);
            last = i;
            tick += NS_PER_S;
        }
    }
    sample_now(&to, o, o->n);
    int64_t during = proc_rss_settled(o->pid);
    for (uint32_t i = 0; i < o->n; i++)
        mqtt_logout(&links[i]);
    pause_ms(300);
    int64_t after = proc_rss_settled(o->pid);
    snprintf(row.name, sizeof(row.name), "idle %u, %u subscription(s)", o->n, o->subs);
    row_rates(&row, o, &from, &to);
    if (o->pid != 0) {
        row_figure(&row, "bytes_per_connection", (double)(during - before) / o->n);
        row_figure(&row, "rss_anon_before_bytes", (double)before);
        row_figure(&row, "rss_anon_during_bytes", (double)during);
        row_figure(&row, "rss_anon_after_bytes", (double)after);
    }
    report_row(r, &row);
}

void connect_idle(const struct options *o)
{
    struct net net;
    struct link *links = take(o->idle, sizeof(*links));
    files_needed(o->idle + 2 * o->n);
    net_init(&net);
    for (uint32_t i = 0; i < o->idle; i++)
        quiet_open(&links[i], &net, o, i);
}

/* ---- doors -------------------------------------------------------------------------------------------------- */

static void door_wait(struct doors *d, uint32_t i, int how, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u32 = i};
    if (epoll_ctl(d->epoll_fd, how, d->door[i].fd, &e) == -1)
        die_errno("epoll_ctl");
}

/* door_login: sends CONNECT; false when the connection is not there yet. */
static bool door_login(struct doors *d, uint32_t i)
{
    uint8_t packet[96];
    char name[32];
    snprintf(name, sizeof(name), "wb%d-d%u", (int)getpid(), d->name_next);
    uint32_t n = mqtt_connect_put(packet, name, SESSION_NEW);
    ssize_t sent = send(d->door[i].fd, packet, n, MSG_NOSIGNAL);
    if (sent == -1 && (errno == EAGAIN || errno == ENOTCONN))
        return false;
    if (sent != (ssize_t)n)
        die_errno("send of CONNECT");
    d->name_next++;
    d->door[i].state = DOOR_WAITING;
    return true;
}

static void door_open(struct doors *d, uint32_t i)
{
    const struct options *o = d->options;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(o->port), .sin_addr.s_addr = o->host};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = source_address(o, d->opened + d->opening)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        die_errno("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (o->sources > 1 && bind(fd, (struct sockaddr *)&from, sizeof(from)) == -1)
        die_errno("bind to a loopback source address");
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == -1 && errno != EINPROGRESS)
        die_errno("connect");
    d->door[i] = (struct door){fd, DOOR_CONNECTING};
    d->opening++;
    bool sent = door_login(d, i);
    door_wait(d, i, EPOLL_CTL_ADD, sent ? EPOLLIN : EPOLLOUT);
}

static void door_leave(struct doors *d, uint32_t i)
{
    const uint8_t packet[2] = {0xe0, 0};
    if (send(d->door[i].fd, packet, sizeof(packet), MSG_NOSIGNAL) != (ssize_t)sizeof(packet))
        die_errno("send of DISCONNECT");
    close(d->door[i].fd);
    d->door[i].state = DOOR_CLOSED;
}

static void door_event(struct doors *d, uint32_t i)
{
    uint8_t connack[5];
    if (d->door[i].state == DOOR_CONNECTING) {
        if (door_login(d, i))
            door_wait(d, i, EPOLL_CTL_MOD, EPOLLIN);
        return;
    }
    ssize_t got = recv(d->door[i].fd, connack, sizeof(connack), 0);
    if (got == -1 && errno == EAGAIN)
        return;
    if (d->door[i].state != DOOR_WAITING || got != 4 || connack[0] != 0x20 || connack[3] != 0)
        die("a connection got %zd bytes or the end where its CONNACK was due", got);
    d->opening--;
    d->opened++;
    d->door[i].state = DOOR_IN;
    if (!d->stays)
        door_leave(d, i);
}

/* doors_turn: opens closed doors from *next on while fewer than `parallel` are opening, then handles events. */
static void doors_turn(struct doors *d, uint32_t parallel, uint32_t *next, uint32_t end)
{
    struct epoll_event events[EVENT_N];
    while (d->opening < parallel && *next < end)
        door_open(d, (*next)++);
    int n = epoll_wait(d->epoll_fd, events, EVENT_N, 20);
    if (n == -1 && errno != EINTR)
        die_errno("epoll_wait");
    for (int k = 0; k < n; k++)
        door_event(d, events[k].data.u32);
}

static void doors_init(struct doors *d, const struct options *o, bool stays)
{
    files_needed(o->n);
    *d = (struct doors){.options = o, .epoll_fd = epoll_create1(EPOLL_CLOEXEC), .n = o->n, .stays = stays};
    d->door = take(o->n, sizeof(*d->door));
    if (d->epoll_fd == -1)
        die_errno("epoll_create1");
}

void scenario_connect(const struct options *o, struct report *r)
{
    struct doors d;
    struct row row = {.broker_cpu = -1};
    struct sample from = {0}, to;
    doors_init(&d, o, false);
    int64_t before = proc_rss_settled(o->pid);
    uint64_t start = now_ns(), warm = start + (uint64_t)o->seconds * NS_PER_S / 5, tick = start + NS_PER_S, last = 0;
    for (uint64_t now = start; from.ns == 0 || now < from.ns + (uint64_t)o->seconds * NS_PER_S; now = now_ns()) {
        uint32_t next = 0;
        for (; next < d.n; next++) {
            if (d.door[next].state == DOOR_CLOSED)
                door_open(&d, next);
        }
        doors_turn(&d, d.n, &next, d.n);
        if (from.ns == 0 && now >= warm)
            sample_now(&from, o, d.opened);
        if (now >= tick) {
            progress(o, (double)(now - start) / NS_PER_S, "connects", (double)(d.opened - last), d.opened);
            last = d.opened;
            tick += NS_PER_S;
        }
    }
    sample_now(&to, o, d.opened);
    for (uint32_t i = 0; i < d.n; i++) {
        if (d.door[i].state != DOOR_CLOSED)
            close(d.door[i].fd);
    }
    pause_ms(300);
    snprintf(row.name, sizeof(row.name), "connect, %u at a time", o->n);
    row_rates(&row, o, &from, &to);
    row_figure(&row, "connects", (double)(to.count - from.count));
    if (o->pid != 0) {
        row_figure(&row, "cpu_us_per_connect", row.broker_cpu / 1000);
        row_figure(&row, "rss_anon_before_bytes", (double)before);
        row_figure(&row, "rss_anon_after_bytes", (double)proc_rss_settled(o->pid));
    }
    report_row(r, &row);
}

/* storm: all in, then all gone. The row counts the way in; leaving has figures of its own. */
static void storm(struct doors *d, uint32_t parallel, struct row *row)
{
    struct sample from, in, out;
    uint32_t next = 0, until = d->opened + d->n;
    sample_now(&from, d->options, d->opened);
    while (d->opened < until) {
        doors_turn(d, parallel, &next, d->n);
        if (now_ns() - from.ns > (uint64_t)PATIENCE_S * NS_PER_S)
            die("after %u s only %u of %u connections were in", PATIENCE_S, d->n - (until - d->opened), d->n);
    }
    sample_now(&in, d->options, d->opened);
    row_rates(row, d->options, &from, &in);
    if (d->options->pid != 0)
        row_figure(row, "rss_anon_in_bytes", (double)proc_rss_settled(d->options->pid));
    for (uint32_t i = 0; i < d->n; i++)
        door_leave(d, i);
    pause_ms(300);
    sample_now(&out, d->options, 0);
    row_figure(row, "seconds_in", (double)(in.ns - from.ns) / NS_PER_S);
    if (d->options->pid != 0) {
        row_figure(row, "cpu_us_per_connect_and_close", (double)(out.broker_cpu_ns - from.broker_cpu_ns) / 1000 / d->n);
        row_figure(row, "rss_anon_out_bytes", (double)proc_rss_settled(d->options->pid));
    }
}

void scenario_storms(const struct options *o, struct report *r)
{
    struct doors d;
    uint64_t start = now_ns();
    doors_init(&d, o, true);
    for (uint32_t k = 1; k <= STORM_N; k++) {
        struct row row = {.broker_cpu = -1};
        snprintf(row.name, sizeof(row.name), "storm %u of %u", k, o->n);
        storm(&d, o->parallel != 0 ? o->parallel : 256, &row);
        progress(o, (double)(now_ns() - start) / NS_PER_S, "in", row.per_s, d.opened);
        report_row(r, &row);
    }
}
