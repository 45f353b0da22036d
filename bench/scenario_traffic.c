/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario_traffic.c: the scenarios that are a plan for traffic.h and little else.
 *
 *     pairs, fanout, fanin    closed loop, one row; pairs also beside idle connections or waiting messages
 *     rate                    pairs in an open loop, with latencies
 *     stomp                   pairs, either end STOMP
 *     stuck                   fan-out, then the same with one subscriber that reads nothing: nobody else may be slower
 *     ageing                  a pair, then many subscribe and disconnect on its topic, then a pair again
 */
#include "bench/scenarios.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/traffic.h"

static struct traffic_plan mqtt_plan(const struct options *o, enum shape shape)
{
    return (struct traffic_plan){.shape = shape,
                                 .n = o->n,
                                 .qos = o->qos,
                                 .from = PROTOCOL_MQTT,
                                 .to = PROTOCOL_MQTT,
                                 .payload_bytes = o->payload_bytes,
                                 .kept = o->kept,
                                 .window = o->window};
}

static void run_plan(const struct options *o, struct report *r, const struct traffic_plan *plan)
{
    struct row row;
    struct traffic *t = traffic_new(o, plan);
    traffic_run(t, o->seconds, "", &row);
    report_row(r, &row);
    traffic_free(t);
}

void scenario_pairs(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_PAIRS);
    struct options waiting = *o;
    struct row row;
    plan.share = o->share;
    waiting.window = 0;
    if (o->idle > 0)
        connect_idle(o);
    if (o->waiting > 0)
        store_waiting(&waiting, &row);
    run_plan(o, r, &plan);
}

void scenario_fanout(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_FANOUT);
    run_plan(o, r, &plan);
}

void scenario_fanin(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_FANIN);
    run_plan(o, r, &plan);
}

void scenario_rate(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_PAIRS);
    plan.rate = o->rate;
    run_plan(o, r, &plan);
}

void scenario_stomp(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_PAIRS);
    plan.from = o->from;
    plan.to = PROTOCOL_STOMP;
    plan.queue = o->queue;
    plan.ack_individual = o->ack_individual;
    plan.receipts = o->receipts;
    plan.persistent = o->persistent;
    if (o->from == PROTOCOL_MQTT && (o->queue || o->receipts || o->persistent))
        die("--from mqtt publishes to topics and gets no receipts: not with --queue, --receipts or --persistent");
    run_plan(o, r, &plan);
}

void scenario_stuck(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_FANOUT);
    struct row before, after;
    if (o->n < 2)
        die("stuck needs at least 2 subscribers");
    struct traffic *t = traffic_new(o, &plan);
    traffic_run(t, o->seconds, "all read: ", &before);
    row_figure(&before, "rss_anon_bytes", (double)proc_rss_anon(o->pid));
    report_row(r, &before);
    traffic_silence(t, 0);
    traffic_run(t, o->seconds, "one stuck: ", &after);
    row_figure(&after, "rss_anon_bytes", (double)proc_rss_anon(o->pid));
    /* the same work is one delivery in n less, so what the others get of a message is compared */
    row_figure(&after, "rate_ratio", after.per_s / (o->n - 1) / (before.per_s / o->n));
    report_row(r, &after);
    traffic_free(t);
}

/* age: n times connect, subscribe to the pair's topic, go. At most 60 s; returns how many it was. */
static uint32_t age(const struct options *o, const char *topic)
{
    struct net net;
    struct link l;
    uint64_t start = now_ns(), tick = start + NS_PER_S;
    uint32_t done = 0, last = 0;
    net_init(&net);
    link_init(&l, &net, 64, 64);
    for (; done < o->n && now_ns() - start < 60ull * NS_PER_S; done++) {
        char name[48];
        snprintf(name, sizeof(name), "wb%d-a%u", (int)getpid(), done);
        link_open(&l, o, o->port, done);
        mqtt_login(&l, name, SESSION_NEW);
        mqtt_subscribe(&l, topic, 1, (uint32_t)strlen(topic), o->qos);
        mqtt_logout(&l);
        if (now_ns() >= tick) {
            progress(o, (double)(now_ns() - start) / NS_PER_S, "cycles", done - last, done);
            last = done;
            tick += NS_PER_S;
        }
    }
    return done;
}

void scenario_ageing(const struct options *o, struct report *r)
{
    struct traffic_plan plan = mqtt_plan(o, SHAPE_PAIRS);
    struct row before, after, cycles = {.name = "cycles"};
    struct sample from, to;
    plan.n = 1;
    struct traffic *t = traffic_new(o, &plan);
    traffic_run(t, o->seconds, "fresh: ", &before);
    traffic_free(t);
    row_figure(&before, "rss_anon_bytes", (double)proc_rss_settled(o->pid));
    report_row(r, &before);

    sample_now(&from, o, 0);
    uint32_t done = age(o, "bench/b/0");
    sample_now(&to, o, done);
    row_rates(&cycles, o, &from, &to);
    row_figure(&cycles, "cycles", done);
    report_row(r, &cycles);
    if (done < o->n)
        report_fail(r, "the cycles took more than 60 s");

    t = traffic_new(o, &plan);
    traffic_run(t, o->seconds, "aged: ", &after);
    traffic_free(t);
    row_figure(&after, "rss_anon_bytes", (double)proc_rss_settled(o->pid));
    row_figure(&after, "rate_ratio", after.per_s / before.per_s);
    if (o->pid != 0)
        row_figure(&after, "cpu_ratio", after.broker_cpu / before.broker_cpu);
    report_row(r, &after);
}
