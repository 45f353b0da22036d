/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c: a message into a queue, out to a consumer, acknowledged; without any protocol.
 *
 *     queue_push 64 times ─► dispatch ─► 64 times on_deliver ─► broker_settle 64 times
 *
 * The adapter here says nothing and hears nothing: its first bytes log it in, and on_deliver writes the ticket down.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/micro/stage.h"
#include "core/broker.h"

enum { PREFETCH = 64 };

struct tally {
    uint32_t ticket[PREFETCH];
    uint32_t n;
};

static enum claim tally_claims(const uint8_t *first, size_t len)
{
    UNUSED(first);
    UNUSED(len);
    return CLAIM_YES;
}

static struct tally *tally_of(const struct conn *c)
{
    return *(struct tally **)conn_state(c);
}

static enum err tally_open(struct conn *c)
{
    *(struct tally **)conn_state(c) = micro_take(1, sizeof(struct tally));
    return ERR_OK;
}

static size_t tally_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    UNUSED(in);
    if (c->session == NULL)
        broker_attach(c, &(struct attach){.quota = PREFETCH, .ticket_max = UINT32_MAX, .is_anonymous = true});
    return len;
}

static void tally_attached(struct conn *c, const struct attached *a)
{
    if (a->result != ERR_OK)
        conn_close(c, CLOSE_PROTOCOL);
}

static enum err tally_deliver(struct conn *c, const struct delivery *d)
{
    struct tally *t = tally_of(c);
    t->ticket[t->n++ % PREFETCH] = d->ticket;
    return ERR_OK;
}

static void tally_release(struct conn *c, uint32_t ticket)
{
    UNUSED(c);
    UNUSED(ticket);
}

static void tally_settled(struct conn *c, uint64_t receipt, enum err result)
{
    UNUSED(c);
    UNUSED(receipt);
    UNUSED(result);
}

static mono_ms tally_tick(struct conn *c, mono_ms now)
{
    UNUSED(c);
    UNUSED(now);
    return MONO_NEVER;
}

static void tally_on_close(struct conn *c, enum close_reason why)
{
    UNUSED(c);
    UNUSED(why);
}

static void tally_destroy(struct conn *c)
{
    free(tally_of(c));
}

static const struct adapter_ops tally_adapter = {
    .name = "tally",
    .claims = tally_claims,
    .open = tally_open,
    .on_bytes = tally_bytes,
    .on_attached = tally_attached,
    .on_deliver = tally_deliver,
    .on_release = tally_release,
    .on_settled = tally_settled,
    .on_tick = tally_tick,
    .on_close = tally_on_close,
    .destroy = tally_destroy,
};

static const struct adapter_ops *const adapters[] = {&tally_adapter, NULL};

struct fixture {
    struct stage *stage;
    struct pipe pipe;
    struct queue *queue;
    const struct msg *msg;
};

static void no_output(struct pipe *p, const uint8_t *bytes, size_t n)
{
    UNUSED(p);
    UNUSED(bytes);
    UNUSED(n);
}

static void push(const struct fixture *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        queue_push(f->queue, f->msg, &(struct push){.qos = 1});
}

/* settle: what was delivered; returns how many. */
static uint32_t settle(struct fixture *f)
{
    struct conn *c = f->pipe.conn;
    struct tally *t = tally_of(c);
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++)
        n += broker_settle(c, t->ticket[i], OUTCOME_ACK) == ERR_OK;
    t->n = 0;
    return n;
}

static void *open_fixture(const struct micro *m)
{
    static const uint8_t hello[] = "hello";
    struct fixture *f = micro_take(1, sizeof *f);
    enum err e;
    f->stage = stage_new(adapters);
    f->pipe.on_out = no_output;
    stage_pipe_open(f->stage, &f->pipe);
    stage_pipe_feed(&f->pipe, hello, sizeof hello);
    while (stage_turn(f->stage))
        ;
    struct conn *c = f->pipe.conn;
    if (c->session == NULL)
        micro_die("the login was refused");
    f->queue = micro_must(broker_declare_queue(c, SLICE("jobs"), &e));
    struct msgview v = {.topic = SLICE("jobs"), .payload = SLICE("what is to be done"), .qos = 1};
    f->msg = micro_must(msg_new(&f->stage->shard->msgs, &v));
    push(f, (uint32_t)m->arg);
    struct consume how = {.mode = ACK_EACH, .prefetch = PREFETCH, .qos = 2, .receipt = RECEIPT_NONE};
    (void)micro_must(broker_consume_queue(c, f->queue, &how));
    shard_flush_some(f->stage->shard);
    push(f, settle(f)); /* the first ones were delivered already */
    return f;
}

static void close_fixture(void *ctx)
{
    struct fixture *f = ctx;
    msg_drop(f->msg);
    stage_free(f->stage);
    free(f);
}

static void lap(void *ctx, uint64_t n, struct lap *out)
{
    struct fixture *f = ctx;
    uint32_t before = f->queue->ready_n;
    for (uint64_t i = 0; i < n; i += PREFETCH) {
        push(f, PREFETCH);
        shard_flush_some(f->stage->shard);
        out->done += settle(f);
    }
    if (f->queue->ready_n != before || f->queue->inflight_n != 0)
        out->done = 0;
}

static const struct micro cases[] = {
    {"queue/through", "push, take, acknowledge; the queue is empty in between", 0, open_fixture, lap, close_fixture,
     PREFETCH},
    {"queue/through-100k", "the same behind 100,000 messages that wait", 100000, open_fixture, lap, close_fixture,
     PREFETCH},
};

struct micro_table micro_queue(void)
{
    return (struct micro_table){cases, ARRAY_N(cases)};
}
