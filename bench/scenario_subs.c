/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_subs.c: a router full of subscriptions.
 *
 *     N filters over `parallel` connections, filter i on connection i % connections
 *     exact       site/123/dev/456/m0
 *     --wildcard  site/123/+/456/m0 (even i), site/123/dev/456/# (odd i): still one per topic
 *     one publisher, QoS 0 closed loop: topics 0..N-1 at random, each of which exactly one connection must get
 *
 * Random topics are the worst case on purpose: a cache of routing results helps only as far as it is larger than N.
 *
 * Invariants
 *   1. Stream c counts the messages that connection c must get; a message that comes to another one is corrupt.
 *   2. At most `window` (default 2,000) messages are on their way.
 * Cost    nothing is allocated after the subscriptions are in.
 */
#include "bench/scenarios.h"

#include <stdio.h>
#include <unistd.h>

#include "bench/peer.h"
#include "bench/topics.h"

#define OUT_BYTES      (512u * 1024u)
#define WINDOW         2000u
#define CONNECTIONS    100u
#define PACKET_FILTERS 100u
#define WILDCARD_N_MAX 1000000u /* beyond, '#' in the last level would match more than one topic */
#define DRAIN_S        3u
#define SUBSCRIBE_S    60u

struct subs_run;

struct holder { /* of subscriptions */
    struct taker taker;
    struct subs_run *run;
    uint32_t i, sent, next; /* stream i */
};

struct subs_run {
    const struct options *options;
    struct net net;
    struct holder *holders; /* [holder_n] */
    uint32_t holder_n, window;
    struct giver giver;
    struct template template;
    uint8_t *sample;
    uint64_t random, sent;
    struct ledger ledger;
};

/* filter_put: filter i into p[TOPIC_BYTES]; returns its bytes, which differ between even and odd i only with
 * wildcards. */
static uint32_t filter_put(char *p, uint32_t i, bool wildcard)
{
    topic_put((uint8_t *)p, i);
    if (!wildcard)
        return TOPIC_BYTES;
    if (i % 2 == 0) { /* site/123/+/456/m0: 'dev' becomes '+' */
        memmove(p + 10, p + 12, TOPIC_BYTES - 12);
        p[9] = '+';
        return TOPIC_BYTES - 2;
    }
    p[TOPIC_BYTES - 2] = '#';
    return TOPIC_BYTES - 1;
}

/* subscribe_some: up to PACKET_FILTERS filters of one length for holder h, from *i on; false when it has all. */
static bool subscribe_some(struct subs_run *s, struct holder *h, uint32_t *i)
{
    char filters[PACKET_FILTERS * TOPIC_BYTES];
    const struct options *o = s->options;
    uint32_t n = 0, bytes = 0;
    for (; *i < o->n && n < PACKET_FILTERS; *i += s->holder_n) {
        char filter[TOPIC_BYTES];
        uint32_t its = filter_put(filter, *i, o->wildcard);
        if (n > 0 && its != bytes)
            break;
        bytes = its;
        memcpy(filters + (size_t)n++ * bytes, filter, bytes);
    }
    if (n > 0)
        mqtt_subscribe(&h->taker.link, filters, n, bytes, 0);
    return n > 0;
}

static void subscribe_all(struct subs_run *s, struct row *row)
{
    const struct options *o = s->options;
    struct sample from, to;
    uint32_t done = 0;
    sample_now(&from, o, 0);
    uint64_t tick = from.ns + NS_PER_S;
    for (uint32_t h = 0; h < s->holder_n; h++) {
        for (uint32_t i = h; subscribe_some(s, &s->holders[h], &i);) {
            uint64_t now = now_ns();
            done = h * (o->n / s->holder_n) + i / s->holder_n;
            if (now - from.ns > (uint64_t)SUBSCRIBE_S * NS_PER_S)
                die("after %u s only about %u of %u subscriptions were made", SUBSCRIBE_S, done, o->n);
            if (now >= tick) {
                progress(o, (double)(now - from.ns) / NS_PER_S, "subscribe",
                         done / ((double)(now - from.ns) / NS_PER_S), done);
                tick += NS_PER_S;
            }
        }
    }
    sample_now(&to, o, o->n);
    *row = (struct row){.broker_cpu = -1};
    snprintf(row->name, sizeof(row->name), "subscribe %u %s", o->n, o->wildcard ? "wildcard" : "exact");
    row_rates(row, o, &from, &to);
}

static void on_message(struct taker *t, const struct message *m)
{
    struct holder *h = CONTAINER_OF(t, struct holder, taker);
    struct subs_run *s = h->run;
    struct payload got;
    if (m->payload_bytes != s->options->payload_bytes || !payload_read(m->payload, m->payload_bytes, s->sample, &got) ||
        got.stream != h->i || got.value != topic_number(m->topic, m->topic_bytes) || got.sequence >= h->sent ||
        m->retain) {
        s->ledger.corrupt++;
        return;
    }
    ledger_see(&s->ledger, &h->next, got.sequence);
}

static uint32_t random_topic(struct subs_run *s)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((s->random >> 32) * s->options->n) >> 32);
}

static void give(struct subs_run *s)
{
    uint64_t in_flight = s->sent - s->ledger.received;
    uint32_t room = MIN(s->window - (uint32_t)MIN(in_flight, s->window), giver_room(&s->giver, s->template.n));
    if (room < MAX(s->window / 4, 1u))
        return;
    for (; room > 0; room--) {
        uint32_t topic = random_topic(s);
        struct holder *h = &s->holders[topic % s->holder_n];
        uint8_t *out = link_end(&s->giver.link);
        template_put(&s->template, out, 0, &(struct payload){topic, h->sent++, h->i});
        topic_put(out + s->template.topic_at, topic);
        s->giver.link.out_n += s->template.n;
        s->sent++;
    }
    link_flush(&s->giver.link);
}

static void pump(struct subs_run *s, uint64_t until, const char *label)
{
    uint64_t start = now_ns(), tick = start + NS_PER_S, last = s->ledger.received;
    for (uint64_t now = start; now < until; now = now_ns()) {
        give(s);
        net_poll(&s->net, 20);
        if (now >= tick) {
            progress(s->options, (double)(now - start) / NS_PER_S, label, (double)(s->ledger.received - last),
                     s->ledger.received);
            last = s->ledger.received;
            tick += NS_PER_S;
        }
    }
}

static void match(struct subs_run *s, struct row *row)
{
    const struct options *o = s->options;
    struct sample from, to;
    pump(s, now_ns() + (uint64_t)o->seconds * NS_PER_S / 5, "warm-up");
    sample_now(&from, o, s->ledger.received);
    pump(s, from.ns + (uint64_t)o->seconds * NS_PER_S, "match");
    sample_now(&to, o, s->ledger.received);
    uint64_t quiet_ns = now_ns(), seen = s->ledger.received;
    while (s->ledger.received < s->sent && now_ns() - quiet_ns < (uint64_t)DRAIN_S * NS_PER_S) {
        net_poll(&s->net, 20);
        if (s->ledger.received != seen)
            quiet_ns = now_ns();
        seen = s->ledger.received;
    }
    for (uint64_t end = now_ns() + 20 * NS_PER_MS; now_ns() < end;)
        net_poll(&s->net, 5); /* what should not come: more */
    for (uint32_t i = 0; i < s->holder_n; i++)
        ledger_close(&s->ledger, &s->holders[i].next, s->holders[i].sent);
    *row = (struct row){.broker_cpu = -1};
    snprintf(row->name, sizeof(row->name), "match among %u %s", o->n, o->wildcard ? "wildcard" : "exact");
    row_rates(row, o, &from, &to);
    row_ledger(row, &s->ledger);
}

static struct subs_run *subs_run_new(const struct options *o)
{
    struct subs_run *s = take(1, sizeof(*s));
    char name[32], topic[TOPIC_BYTES + 1] = {0};
    s->options = o;
    s->random = 1;
    s->window = o->window != 0 ? o->window : WINDOW;
    s->holder_n = MIN(o->parallel != 0 ? o->parallel : CONNECTIONS, o->n);
    s->holders = take(s->holder_n, sizeof(*s->holders));
    s->sample = take(o->payload_bytes, 1);
    payload_fill(s->sample, o->payload_bytes);
    net_init(&s->net);
    for (uint32_t i = 0; i < s->holder_n; i++) {
        struct holder *h = &s->holders[i];
        taker_init(&h->taker, &s->net, o->payload_bytes);
        h->taker.on_message = on_message;
        h->run = s;
        h->i = i;
        snprintf(name, sizeof(name), "wb%d-s%u", (int)getpid(), i);
        link_open(&h->taker.link, o, o->port, i);
        mqtt_login(&h->taker.link, name, SESSION_NEW);
    }
    topic_put((uint8_t *)topic, 0);
    template_mqtt(&s->template, topic, 0, false, o->payload_bytes);
    giver_init(&s->giver, &s->net, 0, 1, MAX(OUT_BYTES, s->template.n));
    snprintf(name, sizeof(name), "wb%d-p", (int)getpid());
    link_open(&s->giver.link, o, o->port, 0);
    mqtt_login(&s->giver.link, name, SESSION_NEW);
    return s;
}

void scenario_subs(const struct options *o, struct report *r)
{
    struct row row;
    if (o->wildcard && o->n > WILDCARD_N_MAX)
        die("with --wildcard at most %u subscriptions", WILDCARD_N_MAX);
    struct subs_run *s = subs_run_new(o);
    int64_t before = proc_rss_settled(o->pid);
    subscribe_all(s, &row);
    if (o->pid != 0)
        row_figure(&row, "bytes_per_subscription", (double)(proc_rss_settled(o->pid) - before) / o->n);
    report_row(r, &row);
    for (uint32_t i = 0; i < s->holder_n; i++)
        link_watch(&s->holders[i].taker.link, mqtt_taker_bytes);
    link_watch(&s->giver.link, mqtt_giver_bytes);
    match(s, &row);
    for (uint32_t i = 0; i < s->holder_n; i++)
        link_close(&s->holders[i].taker.link);
    pause_ms(300);
    if (o->pid != 0)
        row_figure(&row, "rss_anon_after_bytes", (double)proc_rss_settled(o->pid));
    report_row(r, &row);
}
