/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journey.c: the five journeys.
 *
 *     publisher ── batch ──► broker ──► subscriber 0 .. n-1
 *               ◄─ PUBACK ──        ◄── PUBACK, ACK
 *
 * One turn after the other: before each, what was acknowledged is fed, and when nothing of the last batch is on its way
 * any more on the publisher's side, the next batch. So with acknowledgements the window is the batch, and a turn reads
 * a batch and the acknowledgements of the one before.
 */
#include "bench/micro/journey.h"

#include <stdlib.h>
#include <string.h>

#include "bench/micro/actor.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"

enum { WARM_BATCHES = 4, QUIET_TURNS_MAX = 64 };

static const struct journey_shape shapes[] = {
    {.name = "mqtt-1-1-qos0", .subscribers = 1, .batch = 1000, .topic = "site/17/temp"},
    {.name = "mqtt-1-1-qos1", .subscribers = 1, .batch = 100, .qos = 1, .topic = "site/17/temp"},
    {.name = "mqtt-1-100-qos0", .subscribers = 100, .batch = 800, .topic = "site/17/temp"},
    {.name = "mqtt-to-stomp",
     .to_stomp = true,
     .subscribers = 1,
     .batch = 1000,
     .topic = "site/17/temp",
     .destination = "/topic/site.17.temp"},
    {.name = "stomp-queue",
     .from_stomp = true,
     .to_stomp = true,
     .acks = true,
     .subscribers = 1,
     .batch = 100,
     .topic = "",
     .destination = "/queue/jobs"},
};

static const struct adapter_ops *const adapters[] = {&mqtt_adapter, &stomp_adapter, NULL};

struct journey {
    const struct journey_shape *shape;
    struct stage *stage;
    struct script script;
    struct actor publisher;
    struct actor *subscriber;
    uint64_t published;
};

struct journey_shapes journey_shapes(void)
{
    return (struct journey_shapes){shapes, ARRAY_N(shapes)};
}

struct journey *journey_open(const struct journey_shape *shape)
{
    struct journey *j = micro_take(1, sizeof *j);
    j->shape = shape;
    j->stage = stage_new(adapters);
    j->script = (struct script){.is_stomp = shape->from_stomp,
                                .qos = shape->qos,
                                .batch = shape->batch,
                                .topic = shape->topic,
                                .destination = shape->destination};
    script_write(&j->script);
    j->subscriber = micro_take(shape->subscribers, sizeof *j->subscriber);
    for (uint32_t i = 0; i < shape->subscribers; i++) {
        struct actor *a = &j->subscriber[i];
        a->acks = shape->acks;
        actor_enter(a, j->stage, &j->script, shape->to_stomp, i + 1);
        actor_subscribe(a);
    }
    actor_enter(&j->publisher, j->stage, &j->script, shape->from_stomp, 0);
    uint64_t ns;
    (void)journey_run(j, WARM_BATCHES, &ns);
    j->stage->is_counted = true;
    return j;
}

void journey_close(struct journey *j)
{
    stage_free(j->stage);
    for (uint32_t i = 0; i < j->shape->subscribers; i++)
        actor_free(&j->subscriber[i]);
    actor_free(&j->publisher);
    free(j->subscriber);
    script_free(&j->script);
    free(j);
}

/* ---- running ------------------------------------------------------------------------------------------------ */

static bool may_perform(const struct journey *j)
{
    return stage_pipe_is_read(&j->publisher.pipe) && (j->shape->qos == 0 || j->publisher.settled == j->published);
}

/* turn: acknowledgements, then the broker's turn. False when there was nothing to do. */
static bool turn(struct journey *j)
{
    for (uint32_t i = 0; i < j->shape->subscribers; i++)
        actor_answer(&j->subscriber[i]);
    return stage_turn(j->stage);
}

static void drain(struct journey *j)
{
    for (unsigned i = 0; turn(j); i++) {
        if (i == QUIET_TURNS_MAX)
            micro_die("%s: the broker does not come to rest", j->shape->name);
    }
}

static uint64_t arrived(const struct journey *j)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < j->shape->subscribers; i++)
        n += j->subscriber[i].messages;
    return n;
}

/* check: everything published has arrived everywhere, and was settled. */
static void check(const struct journey *j)
{
    for (uint32_t i = 0; i < j->shape->subscribers; i++) {
        const struct actor *a = &j->subscriber[i];
        if (a->messages != j->published)
            micro_die("%s: subscriber %u got %llu of %llu messages", j->shape->name, i + 1,
                      (unsigned long long)a->messages, (unsigned long long)j->published);
    }
    if (j->shape->qos != 0 && j->publisher.settled != j->published)
        micro_die("%s: the publisher got %llu acknowledgements for %llu messages", j->shape->name,
                  (unsigned long long)j->publisher.settled, (unsigned long long)j->published);
    uint64_t left = j->stage->shard->stats.v[STAT_ENTRIES];
    if (left != 0)
        micro_die("%s: %llu deliveries were not settled", j->shape->name, (unsigned long long)left);
}

uint64_t journey_run(struct journey *j, uint64_t batches, uint64_t *out_ns)
{
    uint64_t before = arrived(j), done = 0;
    j->stage->turn_ns = 0;
    while (done < batches) {
        if (may_perform(j)) {
            actor_perform(&j->publisher);
            j->published += j->shape->batch;
            done++;
        }
        if (!turn(j))
            micro_die("%s: the broker stands still", j->shape->name);
    }
    drain(j);
    check(j);
    *out_ns = j->stage->turn_ns;
    return arrived(j) - before;
}

/* ---- as cases ----------------------------------------------------------------------------------------------- */

static void *open_case(const struct micro *m)
{
    const struct journey_shape *shape = &shapes[m->arg];
    BUG_ON(strcmp(m->name + strlen("journey/"), shape->name) != 0); /* the two tables have the same order */
    return journey_open(shape);
}

static void lap_case(void *ctx, uint64_t n, struct lap *out)
{
    struct journey *j = ctx;
    out->done = journey_run(j, n / journey_deliveries(j->shape), &out->ns);
}

static void close_case(void *ctx)
{
    journey_close(ctx);
}

#define CASE(i, name_, what_, multiple_)                                                                               \
    {                                                                                                                  \
        .name = "journey/" name_, .what = what_, .arg = i, .open = open_case, .lap = lap_case, .close = close_case,    \
        .multiple = multiple_                                                                                          \
    }

static const struct micro cases[] = {
    CASE(0, "mqtt-1-1-qos0", "MQTT to MQTT, QoS 0, 64 B: the broker's user ns per message", 1000),
    CASE(1, "mqtt-1-1-qos1", "the same at QoS 1 on both sides, window 100", 100),
    CASE(2, "mqtt-1-100-qos0", "MQTT to 100 MQTT subscribers, QoS 0, 64 B: per delivery", 80000),
    CASE(3, "mqtt-to-stomp", "MQTT QoS 0 to a STOMP /topic subscription, ack auto, 64 B", 1000),
    CASE(4, "stomp-queue", "STOMP to STOMP through /queue, ack client-individual, 100 at a time, 64 B", 100),
};

struct micro_table micro_journeys(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
