/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_durable.c: how fast a broker says yes to what it must keep.
 *
 *     durable N    N publishers ─► QoS 1 for a session that is away ─► PUBACK
 *                  --queue: SEND persistent:true into /queue/... ─► RECEIPT      nobody takes anything meanwhile
 *     fill N       N messages at QoS 1 for a session that is away; they stay there
 *
 * Without --window one row each for 1, 10, 100 and 1,000 messages of each publisher in flight. A message is counted
 * when its acknowledgement is read. Between rows everything is forgotten again: the session ends; a queue keeps its
 * messages (there is a new one for each row).
 */
#include "bench/scenarios.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/peer.h"

#define OUT_BYTES (256u * 1024u)
#define SILENCE_S 10u

struct durable {
    const struct options *options;
    struct net net;
    struct giver *giver;       /* [options->n] */
    struct template *template; /* one for each */
    uint32_t window, *sequence;
};

static void fill_window(struct durable *d, uint32_t i)
{
    struct giver *g = &d->giver[i];
    uint32_t room = MIN(d->window - MIN(g->unsettled, d->window), giver_room(g, d->template[i].n));
    if (room < MAX(d->window / 4, 1u))
        return;
    for (; room > 0; room--) {
        uint32_t id = giver_claim(g);
        if (id == 0)
            break;
        template_put(
            &d->template [i], link_end(&g->link), id, &(struct payload) { d->sequence[i], d->sequence[i], i });
        d->sequence[i]++;
        g->link.out_n += d->template[i].n;
    }
    link_flush(&g->link);
}

static uint64_t settled(const struct durable *d)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < d->options->n; i++)
        n += d->giver[i].settled;
    return n;
}

static uint64_t unsettled(const struct durable *d)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < d->options->n; i++)
        n += d->giver[i].unsettled;
    return n;
}

/* pump: until that time, or with `until` 0 until nothing is in flight. */
static void pump(struct durable *d, uint64_t until, const char *label)
{
    uint64_t start = now_ns(), quiet = start, last = settled(d), shown = last, tick = start + NS_PER_S;
    for (uint64_t now = start; until != 0 ? now < until : unsettled(d) > 0; now = now_ns()) {
        for (uint32_t i = 0; until != 0 && i < d->options->n; i++)
            fill_window(d, i);
        net_poll(&d->net, 20);
        if (settled(d) != last)
            quiet = now;
        last = settled(d);
        if (now - quiet > (uint64_t)SILENCE_S * NS_PER_S)
            die("no acknowledgement for %u s", SILENCE_S);
        if (now >= tick) {
            progress(d->options, (double)(now - start) / NS_PER_S, label, (double)(last - shown), last);
            shown = last;
            tick += NS_PER_S;
        }
    }
}

/* away: a session that wants the topic and is not there. */
static void away(struct durable *d, const char *name, const char *topic)
{
    struct link l;
    link_init(&l, &d->net, 64, 256);
    link_open(&l, d->options, d->options->port, 0);
    mqtt_login(&l, name, SESSION_KEPT);
    mqtt_subscribe(&l, topic, 1, (uint32_t)strlen(topic), 1);
    mqtt_logout(&l);
}

static void forget(struct durable *d, const char *name)
{
    struct link l;
    link_init(&l, &d->net, 64, 256);
    link_open(&l, d->options, d->options->port, 0);
    mqtt_login(&l, name, SESSION_NEW);
    mqtt_logout(&l);
}

static void open_giver(struct durable *d, uint32_t i, const char *address)
{
    const struct options *o = d->options;
    struct giver *g = &d->giver[i];
    char name[40];
    if (o->queue)
        template_stomp(&d->template[i], address, STOMP_RECEIPT | STOMP_PERSISTENT, o->payload_bytes);
    else
        template_mqtt(&d->template[i], address, 1, false, o->payload_bytes);
    giver_init(g, &d->net, 1, d->window, OUT_BYTES + 2 * o->payload_bytes);
    link_open(&g->link, o, o->queue ? o->stomp_port : o->port, i);
    snprintf(name, sizeof(name), "wb%d-d%u", (int)getpid(), i);
    if (o->queue)
        stomp_login(&g->link);
    else
        mqtt_login(&g->link, name, SESSION_NEW);
    link_watch(&g->link, o->queue ? stomp_giver_bytes : mqtt_giver_bytes);
}

static void run_window(const struct options *o, uint32_t window, struct report *r)
{
    struct durable *d = take(1, sizeof(*d));
    struct row row = {.broker_cpu = -1};
    struct sample from, to;
    char name[40], address[96];
    *d = (struct durable){.options = o, .window = window};
    d->giver = take(o->n, sizeof(*d->giver));
    d->template = take(o->n, sizeof(*d->template));
    d->sequence = take(o->n, sizeof(*d->sequence));
    net_init(&d->net);
    snprintf(name, sizeof(name), "wb%d-away", (int)getpid());
    snprintf(address, sizeof(address), o->queue ? "/queue/bench-durable-%d-%u" : "bench/durable/%d/%u", (int)getpid(),
             window);
    if (!o->queue)
        away(d, name, address);
    for (uint32_t i = 0; i < o->n; i++)
        open_giver(d, i, address);
    snprintf(row.name, sizeof(row.name), "durable %s %u x %u in flight %uB", o->queue ? "stomp" : "q1", o->n, window,
             o->payload_bytes);
    pump(d, now_ns() + (uint64_t)o->seconds * NS_PER_S / 5, "warm-up");
    sample_now(&from, o, settled(d));
    pump(d, from.ns + (uint64_t)o->seconds * NS_PER_S, row.name);
    sample_now(&to, o, settled(d));
    pump(d, 0, "rest");
    row_rates(&row, o, &from, &to);
    row.received = settled(d);
    if (o->pid != 0)
        row_figure(&row, "rss_anon_bytes", (double)proc_rss_anon(o->pid));
    report_row(r, &row);
    for (uint32_t i = 0; i < o->n; i++)
        link_close(&d->giver[i].link);
    if (!o->queue)
        forget(d, name);
}

void scenario_durable(const struct options *o, struct report *r)
{
    static const uint32_t windows[] = {1, 10, 100, 1000};
    if (o->window != 0) {
        run_window(o, o->window, r);
        return;
    }
    for (size_t i = 0; i < ARRAY_N(windows); i++)
        run_window(o, windows[i], r);
}

void scenario_fill(const struct options *o, struct report *r)
{
    struct options mine = *o;
    struct row row;
    mine.waiting = o->n;
    int64_t before = proc_rss_settled(o->pid);
    store_waiting(&mine, &row);
    if (o->pid != 0)
        row_figure(&row, "bytes_per_message", (double)(proc_rss_settled(o->pid) - before) / o->n);
    report_row(r, &row);
}
