/* SPDX-License-Identifier: Apache-2.0 */
/*
 * traffic.c: the loop that keeps messages flowing.
 *
 *     net_poll ─► sub: on_message ─► ledger ─► its publisher owes one delivery less ─┐
 *              └► pub: on_settled ───────────────────────────────────────────────────┤ enough room in the window?
 *     refill  ◄───────────────────────── t->ready[] ◄────────────────────────────────┘
 *        └─► template copied and stamped, as many as the window has room for ─► one send
 *
 * Invariants
 *   1. pub->owed is the number of deliveries of its messages that have not arrived; a broker that loses one keeps
 *      that part of the window shut, so a lossy broker cannot look fast.
 *   2. A publisher is in ready[] exactly when is_ready; a quarter of its window was free then.
 *   3. pub->sent is the next sequence number of its stream; sub->next[] the next one to arrive.
 * Cost    per message sent one memcpy and twelve patched bytes, per message received one compare of the whole of it;
 *         no system call and no allocation.
 */
#include "bench/traffic.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_BYTES     (256u * 1024u) /* a publisher's batch */
#define DRAIN_S       3u             /* silence after which nothing more is expected */
#define ADDRESS_BYTES 96

struct pub {
    struct giver giver;
    struct traffic *traffic;
    struct template template;
    uint32_t topic_bytes, stream, sent;
    uint64_t owed;
    bool is_ready;
};

struct sub {
    struct taker taker;
    struct traffic *traffic;
    uint32_t first, stream_n; /* it may see streams first .. first + stream_n - 1 */
    uint32_t *next;           /* [stream_n] */
    bool is_silent;
};

struct traffic {
    const struct options *options;
    struct traffic_plan plan;
    struct net net;
    struct pub *pubs;
    struct sub *subs;
    uint32_t pub_n, sub_n, listeners; /* listeners: subscribers that see a message and read */
    struct pub **ready;               /* [pub_n] */
    uint32_t ready_n;
    uint8_t *sample;   /* a payload with its filler */
    uint64_t low_owed; /* a publisher that owes no more deliveries than this may send again */
    uint32_t low_unsettled;
    bool sends, times;
    uint64_t start_ns, due_n; /* open loop: when message 0 was due, and the next one's number */
    struct ledger ledger;
    struct hist latency;
};

/* ---- what arrives ------------------------------------------------------------------------------------------- */

static inline void make_ready(struct pub *p)
{
    struct traffic *t = p->traffic;
    if (p->is_ready || p->owed > t->low_owed || p->giver.unsettled > t->low_unsettled)
        return;
    p->is_ready = true;
    t->ready[t->ready_n++] = p;
}

static void on_settled(struct giver *g, uint32_t n)
{
    UNUSED(n);
    make_ready(CONTAINER_OF(g, struct pub, giver));
}

static bool is_topic_of(const struct pub *p, const struct message *m)
{
    return m->topic == NULL || (m->topic_bytes == p->topic_bytes && !m->retain &&
                                memcmp(m->topic, p->template.bytes + p->template.topic_at, p->topic_bytes) == 0);
}

static void on_message(struct taker *taker, const struct message *m)
{
    struct sub *s = CONTAINER_OF(taker, struct sub, taker);
    struct traffic *t = s->traffic;
    struct payload got;
    if (m->payload_bytes != t->plan.payload_bytes || !payload_read(m->payload, m->payload_bytes, t->sample, &got) ||
        got.stream - s->first >= s->stream_n) {
        t->ledger.corrupt++;
        return;
    }
    struct pub *p = &t->pubs[got.stream];
    if (got.sequence >= p->sent || (t->plan.from == PROTOCOL_MQTT && !is_topic_of(p, m))) {
        t->ledger.corrupt++;
        return;
    }
    if (!ledger_see(&t->ledger, &s->next[got.stream - s->first], got.sequence))
        return;
    p->owed--;
    if (t->times)
        hist_add(&t->latency, t->net.read_ns - got.value);
    if (t->sends && t->plan.rate == 0)
        make_ready(p);
}

/* ---- what is sent ------------------------------------------------------------------------------------------- */

static inline bool send_one(struct pub *p, uint64_t value)
{
    uint32_t id = 0;
    if (p->giver.qos > 0) {
        id = giver_claim(&p->giver);
        if (id == 0)
            return false;
    }
    template_put(&p->template, link_end(&p->giver.link), id, &(struct payload){value, p->sent, p->stream});
    p->giver.link.out_n += p->template.n;
    p->sent++;
    return true;
}

static void fill(struct pub *p)
{
    const struct traffic *t = p->traffic;
    uint64_t in_flight = (p->owed + t->listeners - 1) / t->listeners;
    uint32_t used = (uint32_t)MAX(in_flight, p->giver.unsettled), window = t->plan.window, sent = 0;
    uint32_t room = MIN(window - MIN(used, window), giver_room(&p->giver, p->template.n));
    while (sent < room && send_one(p, 0))
        sent++;
    p->owed += (uint64_t)sent * t->listeners;
    if (sent > 0)
        link_flush(&p->giver.link);
}

static void refill(struct traffic *t)
{
    while (t->ready_n > 0) {
        struct pub *p = t->ready[--t->ready_n];
        p->is_ready = false;
        fill(p);
    }
}

/* send_due: all messages whose time has come, publishers in turn. */
static void send_due(struct traffic *t, uint64_t now)
{
    for (;;) {
        uint64_t due = t->start_ns + (uint64_t)((double)t->due_n * NS_PER_S / t->plan.rate);
        struct pub *p = &t->pubs[t->due_n % t->pub_n];
        if (due > now || giver_room(&p->giver, p->template.n) == 0 || !send_one(p, due))
            break;
        p->owed += t->listeners;
        t->due_n++;
        if (!p->is_ready) {
            p->is_ready = true;
            t->ready[t->ready_n++] = p;
        }
    }
    while (t->ready_n > 0) {
        struct pub *p = t->ready[--t->ready_n];
        p->is_ready = false;
        link_flush(&p->giver.link);
    }
}

/* ---- phases ------------------------------------------------------------------------------------------------- */

static void pump(struct traffic *t, uint64_t from, uint64_t until, const char *label)
{
    uint64_t last = t->ledger.received, tick = now_ns() + NS_PER_S;
    for (uint64_t now = now_ns(); now < until; now = now_ns()) {
        if (t->plan.rate > 0)
            send_due(t, now);
        else
            refill(t);
        net_poll(&t->net, t->plan.rate > 0 ? 0 : 20);
        if (now >= tick) {
            progress(t->options, (double)(now - from) / NS_PER_S, label, (double)(t->ledger.received - last),
                     t->ledger.received);
            last = t->ledger.received;
            tick += NS_PER_S;
        }
    }
}

static bool is_all_there(const struct traffic *t)
{
    for (uint32_t i = 0; i < t->pub_n; i++) {
        if (t->pubs[i].owed > 0 || t->pubs[i].giver.unsettled > 0)
            return false;
    }
    return true;
}

static uint64_t unsettled(const struct traffic *t)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < t->pub_n; i++)
        n += t->pubs[i].giver.unsettled;
    return n;
}

/* drain: waits for everything that was sent; what has not come after DRAIN_S of silence is lost. A little longer for
 * what should not come: duplicates of the last ones. */
static void drain(struct traffic *t)
{
    uint64_t quiet_ns = now_ns(), seen = UINT64_MAX;
    t->sends = false;
    while (!is_all_there(t) && now_ns() - quiet_ns < (uint64_t)DRAIN_S * NS_PER_S) {
        net_poll(&t->net, 20);
        uint64_t now_seen = t->ledger.received - unsettled(t);
        if (now_seen != seen)
            quiet_ns = now_ns();
        seen = now_seen;
    }
    for (uint64_t end = now_ns() + 20 * NS_PER_MS; now_ns() < end;)
        net_poll(&t->net, 5);
    for (uint32_t i = 0; i < t->sub_n; i++) {
        struct sub *s = &t->subs[i];
        for (uint32_t k = 0; !s->is_silent && k < s->stream_n; k++) {
            uint32_t sent = t->pubs[s->first + k].sent;
            ledger_close(&t->ledger, &s->next[k], sent);
            s->next[k] = sent;
        }
    }
    for (uint32_t i = 0; i < t->pub_n; i++)
        t->pubs[i].owed = 0;
}

static void name_row(const struct traffic *t, const char *label, struct row *row)
{
    static const char *const shapes[] = {"pairs", "fanout", "fanin"}, *const froms[] = {"mqtt q0", "mqtt q1",
                                                                                        "mqtt q2"};
    const struct traffic_plan *p = &t->plan;
    *row = (struct row){.broker_cpu = -1};
    if (p->from == PROTOCOL_STOMP || p->to == PROTOCOL_STOMP)
        snprintf(row->name, sizeof(row->name), "%s%s>%s%s%s%s %u %uB", label,
                 p->from == PROTOCOL_STOMP ? "stomp" : froms[p->qos], p->queue ? "/queue" : "/topic",
                 p->ack_individual ? " ack" : "", p->receipts ? " receipt" : "", p->persistent ? " persistent" : "",
                 p->n, p->payload_bytes);
    else
        snprintf(row->name, sizeof(row->name), "%s%s%s %u q%u %uB%s", label, p->share ? "shared " : "",
                 shapes[p->shape], p->n, p->qos, p->payload_bytes, p->rate > 0 ? " open" : "");
}

void traffic_run(struct traffic *t, uint32_t seconds, const char *label, struct row *row)
{
    struct sample from, to;
    uint64_t start = now_ns(), measured = start + (uint64_t)seconds * NS_PER_S / 5;
    t->ledger = (struct ledger){.received = 0};
    t->latency = (struct hist){.count = 0};
    t->start_ns = start;
    t->due_n = 0;
    t->sends = true;
    for (uint32_t i = 0; t->plan.rate == 0 && i < t->pub_n; i++)
        make_ready(&t->pubs[i]);
    pump(t, start, measured, "warm-up");
    sample_now(&from, t->options, t->ledger.received);
    t->times = t->plan.rate > 0;
    pump(t, start, from.ns + (uint64_t)seconds * NS_PER_S, "measured");
    sample_now(&to, t->options, t->ledger.received);
    t->times = false;
    drain(t);
    name_row(t, label, row);
    row_rates(row, t->options, &from, &to);
    row_ledger(row, &t->ledger);
    if (t->plan.rate > 0)
        row_latency(row, &t->latency);
    if (unsettled(t) > 0)
        die("%lu messages were never acknowledged", unsettled(t));
}

/* ---- making and ending -------------------------------------------------------------------------------------- */

/* address_put: the topic or destination number i, as the protocol writes it. */
static void address_put(const struct traffic *t, enum protocol protocol, uint32_t i, char *out)
{
    const char *part = t->plan.topic != NULL ? t->plan.topic : "b";
    if (protocol == PROTOCOL_MQTT)
        snprintf(out, ADDRESS_BYTES, "bench/%s/%u", part, i);
    else if (t->plan.queue)
        snprintf(out, ADDRESS_BYTES, "/queue/bench-%s-%d-%u", part, (int)getpid(), i);
    else
        snprintf(out, ADDRESS_BYTES, "/topic/bench.%s.%u", part, i);
}

static void sub_start(struct traffic *t, uint32_t i)
{
    struct sub *s = &t->subs[i];
    struct link *l = &s->taker.link;
    char address[ADDRESS_BYTES], name[32];
    bool is_pairs = t->plan.shape == SHAPE_PAIRS;
    taker_init(&s->taker, &t->net, t->plan.payload_bytes);
    s->traffic = t;
    s->first = is_pairs ? i : 0;
    s->stream_n = t->plan.shape == SHAPE_FANIN ? t->plan.n : 1;
    s->next = take(s->stream_n, sizeof(*s->next));
    s->taker.acks = t->plan.ack_individual;
    s->taker.on_message = on_message;
    address_put(t, t->plan.to, is_pairs ? i : 0, address);
    snprintf(name, sizeof(name), "wb%d-s%u", (int)getpid(), i);
    if (t->plan.to == PROTOCOL_MQTT) {
        link_open(l, t->options, t->options->port, i);
        mqtt_login(l, name, t->plan.kept ? SESSION_KEPT : SESSION_NEW);
        char filter[sizeof("$share/g/") + ADDRESS_BYTES];
        int n = snprintf(filter, sizeof(filter), "%s%s", t->plan.share ? "$share/g/" : "", address);
        mqtt_subscribe(l, filter, 1, (uint32_t)n, t->plan.qos);
    } else {
        link_open(l, t->options, t->options->stomp_port, i);
        stomp_login(l);
        stomp_subscribe(l, address, t->plan.ack_individual);
    }
    link_watch(l, t->plan.to == PROTOCOL_MQTT ? mqtt_taker_bytes : stomp_taker_bytes);
}

static void pub_start(struct traffic *t, uint32_t i)
{
    struct pub *p = &t->pubs[i];
    struct link *l = &p->giver.link;
    const struct traffic_plan *plan = &t->plan;
    char address[ADDRESS_BYTES], name[32];
    bool is_mqtt = plan->from == PROTOCOL_MQTT;
    address_put(t, plan->from, plan->shape == SHAPE_PAIRS ? i : 0, address);
    if (is_mqtt)
        template_mqtt(&p->template, address, plan->qos, false, plan->payload_bytes);
    else
        template_stomp(&p->template, address,
                       (plan->receipts ? STOMP_RECEIPT : 0u) | (plan->persistent ? STOMP_PERSISTENT : 0u),
                       plan->payload_bytes);
    uint64_t wanted = (uint64_t)plan->window * p->template.n;
    uint32_t out_bytes = (uint32_t)MAX(p->template.n, MIN(wanted, OUT_BYTES));
    giver_init(&p->giver, &t->net, is_mqtt ? plan->qos : plan->receipts, plan->rate > 0 ? 8192 : plan->window,
               plan->rate > 0 ? MAX(out_bytes, 65536u) : out_bytes);
    p->giver.on_settled = plan->rate > 0 ? NULL : on_settled;
    p->traffic = t;
    p->stream = i;
    p->topic_bytes = (uint32_t)strlen(address);
    snprintf(name, sizeof(name), "wb%d-p%u", (int)getpid(), i);
    link_open(l, t->options, is_mqtt ? t->options->port : t->options->stomp_port, i);
    if (is_mqtt)
        mqtt_login(l, name, SESSION_NEW);
    else
        stomp_login(l);
    link_watch(l, is_mqtt ? mqtt_giver_bytes : stomp_giver_bytes);
}

/* low_marks: a quarter of the window must be free before a publisher sends again. */
static void low_marks(struct traffic *t)
{
    uint32_t low = t->plan.window - MAX(t->plan.window / 4, 1u);
    t->low_unsettled = low;
    t->low_owed = (uint64_t)low * t->listeners;
}

struct traffic *traffic_new(const struct options *o, const struct traffic_plan *plan)
{
    struct traffic *t = take(1, sizeof(*t));
    t->options = o;
    t->plan = *plan;
    t->pub_n = plan->shape == SHAPE_FANOUT ? 1 : plan->n;
    t->sub_n = plan->shape == SHAPE_FANIN ? 1 : plan->n;
    t->listeners = plan->shape == SHAPE_FANOUT ? plan->n : 1;
    if (plan->window == 0) {
        uint32_t share = 5000 / (t->pub_n * t->listeners);
        bool settles = plan->from == PROTOCOL_MQTT ? plan->qos > 0 : plan->receipts;
        t->plan.window = settles ? 100 : MIN(MAX(share, 50u), 2000u);
    }
    t->pubs = take(t->pub_n, sizeof(*t->pubs));
    t->subs = take(t->sub_n, sizeof(*t->subs));
    t->ready = take(t->pub_n, sizeof(struct pub *));
    t->sample = take(plan->payload_bytes, 1);
    payload_fill(t->sample, plan->payload_bytes);
    low_marks(t);
    net_init(&t->net);
    t->net.stamps = plan->rate > 0;
    for (uint32_t i = 0; i < t->sub_n; i++)
        sub_start(t, i);
    for (uint32_t i = 0; i < t->pub_n; i++)
        pub_start(t, i);
    return t;
}

void traffic_silence(struct traffic *t, uint32_t i)
{
    struct sub *s = &t->subs[i];
    if (t->plan.shape != SHAPE_FANOUT || t->listeners < 2)
        die("only one of several subscribers can stop reading");
    /* else the kernel would take megabytes for it, and the broker not notice for seconds */
    int bytes = 4096;
    if (setsockopt(s->taker.link.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == -1)
        die_errno("setsockopt");
    link_unwatch(&s->taker.link);
    s->is_silent = true;
    t->listeners--;
    low_marks(t);
}

void traffic_free(struct traffic *t)
{
    for (uint32_t i = 0; i < t->pub_n; i++)
        link_close(&t->pubs[i].giver.link);
    for (uint32_t i = 0; i < t->sub_n; i++)
        link_close(&t->subs[i].taker.link);
}
