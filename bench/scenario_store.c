/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_store.c: messages that wait in the broker.
 *
 *     retained   N topics stored at QoS 1 ─► '#' subscribed, every one must come once ─► cleared
 *     offline    a session subscribes and goes ─► N messages at QoS 1 or 2 ─► it comes back, all must come in order
 *
 * Storing and enqueueing are closed loops: at most `window` (default 1,000) messages are not acknowledged.
 *
 * Invariants
 *   1. A phase that makes no progress for 10 s ends, and what is missing is lost.
 *   2. Retained message i has topic number i and says i in its payload, value and sequence.
 * Cost    one byte per topic to see that each comes once.
 */
#include "bench/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/peer.h"
#include "bench/topics.h"

#define OUT_BYTES (256u * 1024u)
#define SILENCE_S 10u
#define WINDOW    1000u

/* A publisher that numbers its messages, and a subscriber that looks at what comes. */
struct store_run {
    const struct options *options;
    struct net net;
    struct giver giver;
    struct template template;
    bool topic_each; /* message i goes to topic number i; else all to one */
    struct taker taker;
    uint8_t *sample, *seen; /* seen[i]: topic i has come; NULL: in order, next_sequence is due */
    uint32_t next_sequence;
    uint64_t last_ns; /* when the last message came */
    uint8_t qos;      /* of the subscription */
    struct ledger ledger;
};

static void give(struct store_run *s, uint32_t *next)
{
    struct link *l = &s->giver.link;
    uint32_t window = s->options->window != 0 ? s->options->window : WINDOW;
    uint32_t room = MIN(window - MIN(s->giver.unsettled, window), giver_room(&s->giver, s->template.n));
    if (room < window / 4)
        return;
    for (; room > 0 && *next < s->options->n; room--, (*next)++) {
        uint32_t id = giver_claim(&s->giver);
        if (id == 0)
            break;
        uint8_t *out = link_end(l);
        if (s->template.payload_bytes > 0) {
            template_put(&s->template, out, id, &(struct payload){*next, *next, 0});
        } else { /* clears a retained message */
            memcpy(out, s->template.bytes, s->template.n);
            out[s->template.id_at] = (uint8_t)(id >> 8);
            out[s->template.id_at + 1] = (uint8_t)id;
        }
        if (s->topic_each)
            topic_put(out + s->template.topic_at, *next);
        l->out_n += s->template.n;
    }
    link_flush(l);
}

/* give_all: sends n messages and waits for every PUBACK; dies when the broker stops answering. */
static void give_all(struct store_run *s, const char *label, struct row *row)
{
    const struct options *o = s->options;
    struct sample from, to;
    uint64_t goal = s->giver.settled + o->n, base = s->giver.settled, settled = base, last = base;
    uint32_t next = 0;
    sample_now(&from, o, base);
    uint64_t quiet_ns = from.ns, tick = from.ns + NS_PER_S;
    while (s->giver.settled < goal) {
        give(s, &next);
        net_poll(&s->net, 20);
        uint64_t now = now_ns();
        if (s->giver.settled != settled)
            quiet_ns = now;
        settled = s->giver.settled;
        if (now - quiet_ns > (uint64_t)SILENCE_S * NS_PER_S)
            die("no acknowledgement for %u s, after %lu of %u messages", SILENCE_S, settled - base, o->n);
        if (now >= tick) {
            progress(o, (double)(now - from.ns) / NS_PER_S, label, (double)(settled - last), settled - base);
            last = settled;
            tick += NS_PER_S;
        }
    }
    sample_now(&to, o, s->giver.settled);
    *row = (struct row){.broker_cpu = -1, .received = o->n};
    snprintf(row->name, sizeof(row->name), "%s %s %u %uB", o->scenario, label, o->n, o->payload_bytes);
    row_rates(row, o, &from, &to);
    row_figure(row, "seconds", (double)(to.ns - from.ns) / NS_PER_S);
}

/* take_all: reads until n messages have come, or none for SILENCE_S. `from` is when it began. */
static void take_all(struct store_run *s, const char *label, const struct sample *from, struct row *row)
{
    const struct options *o = s->options;
    struct sample to;
    uint64_t quiet_ns = now_ns(), seen = 0, last = 0, tick = from->ns + NS_PER_S;
    s->last_ns = quiet_ns;
    while (s->ledger.received < o->n && now_ns() - quiet_ns < (uint64_t)SILENCE_S * NS_PER_S) {
        net_poll(&s->net, 20);
        uint64_t now = now_ns();
        if (s->ledger.received != seen)
            quiet_ns = s->last_ns = now;
        seen = s->ledger.received;
        if (now >= tick) {
            progress(o, (double)(now - from->ns) / NS_PER_S, label, (double)(seen - last), seen);
            last = seen;
            tick += NS_PER_S;
        }
    }
    sample_now(&to, o, s->ledger.received);
    to.ns = s->last_ns;
    for (uint64_t end = now_ns() + 50 * NS_PER_MS; now_ns() < end;)
        net_poll(&s->net, 5); /* what should not come: more */
    s->ledger.lost = o->n - MIN(s->ledger.received, o->n);
    *row = (struct row){.broker_cpu = -1};
    snprintf(row->name, sizeof(row->name), "%s %s %u q%u", o->scenario, label, o->n, s->qos);
    row_rates(row, o, from, &to);
    row_ledger(row, &s->ledger);
    row_figure(row, "seconds", (double)(to.ns - from->ns) / NS_PER_S);
}

static void on_message(struct taker *t, const struct message *m)
{
    struct store_run *s = CONTAINER_OF(t, struct store_run, taker);
    struct payload got;
    if (m->payload_bytes != s->options->payload_bytes || !payload_read(m->payload, m->payload_bytes, s->sample, &got) ||
        got.stream != 0 || got.value != got.sequence || got.sequence >= s->options->n) {
        s->ledger.corrupt++;
        return;
    }
    if (s->seen == NULL) {
        ledger_see(&s->ledger, &s->next_sequence, got.sequence);
        return;
    }
    if (topic_number(m->topic, m->topic_bytes) != got.sequence || !m->retain) {
        s->ledger.corrupt++;
        return;
    }
    if (s->seen[got.sequence]++ != 0)
        s->ledger.duplicated++;
    else
        s->ledger.received++;
}

static struct store_run *store_run_new(const struct options *o, uint8_t giver_qos)
{
    struct store_run *s = take(1, sizeof(*s));
    char name[32];
    s->options = o;
    s->qos = o->qos;
    net_init(&s->net);
    s->sample = take(o->payload_bytes, 1);
    payload_fill(s->sample, o->payload_bytes);
    giver_init(&s->giver, &s->net, giver_qos, o->window != 0 ? o->window : WINDOW, OUT_BYTES + 2 * o->payload_bytes);
    taker_init(&s->taker, &s->net, o->payload_bytes);
    s->taker.on_message = on_message;
    snprintf(name, sizeof(name), "wb%d-p", (int)getpid());
    link_open(&s->giver.link, o, o->port, 0);
    mqtt_login(&s->giver.link, name, SESSION_NEW);
    link_watch(&s->giver.link, mqtt_giver_bytes);
    return s;
}

/* ---- retained ----------------------------------------------------------------------------------------------- */

/* replay: the time starts with the SUBSCRIBE. Its SUBACK may come before, among or behind the messages (§3.8.4). */
static void replay(struct store_run *s, struct row *row)
{
    const struct options *o = s->options;
    struct sample from;
    char name[32];
    uint8_t packet[16];
    snprintf(name, sizeof(name), "wb%d-s", (int)getpid());
    link_open(&s->taker.link, o, o->port, 1);
    mqtt_login(&s->taker.link, name, SESSION_NEW);
    sample_now(&from, o, 0);
    link_send(&s->taker.link, packet, mqtt_subscribe_put(packet, "#", 1, 1, o->qos));
    link_watch(&s->taker.link, mqtt_taker_bytes);
    take_all(s, "replay", &from, row);
    if (s->taker.granted != 1)
        die("the broker sent %u SUBACKs for one SUBSCRIBE", s->taker.granted);
    link_close(&s->taker.link);
}

void scenario_retained(const struct options *o, struct report *r)
{
    struct store_run *s = store_run_new(o, 1);
    struct row row;
    char topic[TOPIC_BYTES + 1] = {0};
    topic_put((uint8_t *)topic, 0);
    s->topic_each = true;
    s->seen = take(o->n, 1);
    template_mqtt(&s->template, topic, 1, true, o->payload_bytes);
    int64_t before = proc_rss_settled(o->pid);
    give_all(s, "store", &row);
    int64_t during = proc_rss_settled(o->pid);
    if (o->pid != 0) {
        row_figure(&row, "bytes_per_topic", (double)(during - before) / o->n);
        row_figure(&row, "rss_anon_bytes", (double)during);
    }
    report_row(r, &row);

    replay(s, &row);
    if (o->pid != 0)
        row_figure(&row, "rss_anon_bytes", (double)proc_rss_settled(o->pid));
    report_row(r, &row);

    template_mqtt(&s->template, topic, 1, true, 0);
    give_all(s, "clear", &row);
    if (o->pid != 0)
        row_figure(&row, "rss_anon_bytes", (double)proc_rss_settled(o->pid));
    report_row(r, &row);
}

/* ---- offline ------------------------------------------------------------------------------------------------ */

void scenario_offline(const struct options *o, struct report *r)
{
    struct store_run *s = store_run_new(o, MAX(o->qos, 1)); /* QoS 0 does not wait */
    struct link *l = &s->taker.link;
    struct sample from;
    struct row row;
    char name[32], topic[48];
    s->qos = s->giver.qos;
    int n = snprintf(topic, sizeof(topic), "bench/offline/%d", (int)getpid());
    snprintf(name, sizeof(name), "wb%d-s", (int)getpid());
    template_mqtt(&s->template, topic, s->qos, false, o->payload_bytes);
    link_open(l, o, o->port, 1);
    mqtt_login(l, name, SESSION_KEPT);
    mqtt_subscribe(l, topic, 1, (uint32_t)n, s->qos);
    mqtt_logout(l);

    int64_t before = proc_rss_settled(o->pid);
    give_all(s, "enqueue", &row);
    if (o->pid != 0)
        row_figure(&row, "bytes_per_message", (double)(proc_rss_settled(o->pid) - before) / o->n);
    report_row(r, &row);

    link_open(l, o, o->port, 1);
    sample_now(&from, o, 0);
    if (!mqtt_login(l, name, SESSION_KEPT))
        report_fail(r, "the broker has forgotten the session");
    link_watch(l, mqtt_taker_bytes);
    take_all(s, "drain", &from, &row);
    link_close(l);
    if (o->pid != 0)
        row_figure(&row, "rss_anon_bytes", (double)proc_rss_settled(o->pid));
    report_row(r, &row);

    link_open(l, o, o->port, 1); /* leave nothing behind: a new session, then none */
    mqtt_login(l, name, SESSION_NEW);
    mqtt_logout(l);
}

/* ---- waiting ------------------------------------------------------------------------------------------------ */

void store_waiting(const struct options *o, struct row *row)
{
    struct options mine = *o;
    const char *topic = "bench/waiting";
    mine.scenario = "waiting";
    mine.n = o->waiting;
    mine.qos = 1;
    struct store_run *s = store_run_new(&mine, mine.qos);
    struct link *l = &s->taker.link;
    template_mqtt(&s->template, topic, mine.qos, false, o->payload_bytes);
    link_open(l, o, o->port, 1);
    mqtt_login(l, "wb-away", SESSION_KEPT);
    mqtt_subscribe(l, topic, 1, (uint32_t)strlen(topic), mine.qos);
    mqtt_logout(l);
    give_all(s, "enqueue", row);
    mqtt_logout(&s->giver.link);
}
