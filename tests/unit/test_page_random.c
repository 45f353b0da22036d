/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_page_random.c: two brokers are told the same; in one of them all that may leave memory does, at once. What
 * consumers see, and what queues count, must never differ.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/fake.h"
#include "tests/support/verbs.h"

enum { STEPS = 300, CONSUMERS = 3, OPEN_MAX = 4096 };

struct half {
    struct fake *f;
    struct conn *p, *c[CONSUMERS];
    struct queue *q, *dead;
};

struct pair {
    struct half h[2]; /* in memory, on pages */
    struct rng r;
    struct {
        uint32_t ticket;
        unsigned by;
    } open[OPEN_MAX]; /* deliveries not answered yet: the same in both */
    uint32_t open_n;
    uint32_t next; /* number of the next message */
    const char *args;
};

/* high_mark: with it, short runs leave memory, too. */
static void half_start(struct half *h, const char *args, uint64_t soft_mark, uint64_t high_mark)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.limits.memory_soft_mark = soft_mark;
    config.limits.memory_high_mark = high_mark;
    h->f = fake_new(&config);
    h->p = fake_login(h->f, "p", 0);
    h->dead = verb_queue(h->p, "dead", "");
    h->q = verb_queue(h->p, "q", args);
}

static void publish(struct pair *p)
{
    unsigned n = 1 + rng_below(&p->r, rng_below(&p->r, 3) ? 10 : 500);
    for (unsigned i = 0; i < n; i++) {
        char text[32];
        struct msgview v = {.topic = SLICE("q"), .flags = MSG_DURABLE};
        snprintf(text, sizeof(text), "%u%.*s", p->next++, (int)rng_below(&p->r, 8), "        ");
        v.payload = slice_from_str(text);
        v.qos = rng_below(&p->r, 50) ? 1 + (uint8_t)rng_below(&p->r, 2) : 0; /* seldom one that stays in memory */
        v.priority = (uint8_t)rng_below(&p->r, 5);
        if (rng_below(&p->r, 10) == 0)
            v.expires_at = p->h[0].f->now + 1 + rng_below(&p->r, 60000);
        for (unsigned k = 0; k < 2; k++)
            (void)fake_pub_view(p->h[k].p, &v, p->h[k].f->shard->vhost->default_exchange, 0);
    }
}

static void answer(struct pair *p)
{
    for (unsigned n = rng_below(&p->r, 200); n > 0 && p->open_n > 0; n--) {
        uint32_t i = rng_below(&p->r, 4) ? 0 : rng_below(&p->r, p->open_n);
        enum outcome o = rng_below(&p->r, 5) ? OUTCOME_ACK : rng_below(&p->r, 5) ? OUTCOME_REQUEUE : OUTCOME_REJECT;
        enum err e[2];
        for (unsigned k = 0; k < 2; k++)
            e[k] = broker_settle(p->h[k].c[p->open[i].by], p->open[i].ticket, o);
        assert_int_equal(e[0], e[1]);
        memmove(&p->open[i], &p->open[i + 1], (p->open_n - i - 1) * sizeof(p->open[0]));
        p->open_n--;
    }
}

static void come_or_go(struct pair *p)
{
    unsigned i = rng_below(&p->r, CONSUMERS);
    uint32_t quota = 1 + rng_below(&p->r, 300);
    bool comes = !p->h[0].c[i];
    for (unsigned k = 0; k < 2; k++) {
        struct half *h = &p->h[k];
        if (!comes) {
            verb_hang_up(h->c[i]);
            h->c[i] = NULL;
            continue;
        }
        h->c[i] = fake_conn(h->f);
        struct attach a = fake_attach("", 0);
        a.quota = quota;
        broker_attach(h->c[i], &a);
        const struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = RECEIPT_NONE};
        assert_non_null(broker_consume_queue(h->c[i], h->q, &how));
    }
    for (uint32_t at = 0; at < p->open_n && !comes;) {
        if (p->open[at].by == i)
            p->open[at] = p->open[--p->open_n];
        else
            at++;
    }
}

static void same_queue(const struct queue *a, const struct queue *b)
{
    assert_int_equal(a->ready_n, b->ready_n);
    assert_int_equal(a->bytes, b->bytes);
    assert_int_equal(a->inflight_n, b->inflight_n);
}

static unsigned by_whom(const struct half *h, uint64_t conn)
{
    for (unsigned i = 0; i < CONSUMERS; i++)
        if (h->c[i] && fake_number(h->c[i]) == conn)
            return i;
    return CONSUMERS;
}

/* compare: what was delivered since the last time, and what the queues say. */
static void compare(struct pair *p)
{
    static const enum stat_id stats[] = {STAT_DROP_HEAD, STAT_DROP_EXPIRED, STAT_DEAD_LETTERED, STAT_DROP_PURGED,
                                         STAT_ENTRIES,   STAT_REFUSED,      STAT_DROP_LOST,     STAT_REDELIVERED};
    struct fake *a = p->h[0].f, *b = p->h[1].f;
    fake_run(a);
    fake_run(b);
    uint32_t n = fake_count(a, FAKE_DELIVER);
    assert_int_equal(n, fake_count(b, FAKE_DELIVER));
    const struct fake_event *x = a->event, *y = b->event;
    for (uint32_t i = 0; i < n; i++, x++, y++) {
        while (x->what != FAKE_DELIVER)
            x++;
        while (y->what != FAKE_DELIVER)
            y++;
        assert_string_equal(x->payload, y->payload);
        assert_int_equal(x->conn, y->conn);
        assert_int_equal(x->ticket, y->ticket);
        assert_int_equal(x->attempts, y->attempts);
        assert_int_equal(x->qos, y->qos);
        unsigned by = by_whom(&p->h[0], x->conn);
        if (by == CONSUMERS)
            continue;
        assert_true(p->open_n < OPEN_MAX);
        p->open[p->open_n].ticket = x->ticket;
        p->open[p->open_n++].by = by;
    }
    fake_forget(a);
    fake_forget(b);
    same_queue(p->h[0].q, p->h[1].q);
    same_queue(p->h[0].dead, p->h[1].dead);
    for (unsigned i = 0; i < ARRAY_N(stats); i++)
        assert_int_equal(fake_stat(a, stats[i]), fake_stat(b, stats[i]));
}

static void step(struct pair *p)
{
    unsigned what = rng_below(&p->r, 100);
    if (what < 40) {
        publish(p);
    } else if (what < 65) {
        answer(p);
    } else if (what < 80) {
        come_or_go(p);
    } else if (what < 99) {
        mono_ms ms = rng_below(&p->r, 3000);
        fake_wait(p->h[0].f, ms);
        fake_wait(p->h[1].f, ms);
    } else {
        (void)queue_purge(p->h[0].q, STAT_DROP_PURGED);
        (void)queue_purge(p->h[1].q, STAT_DROP_PURGED);
    }
}

static void play(const char *args, uint64_t seed)
{
    static struct pair p;
    memset(&p, 0, sizeof(p));
    rng_init(&p.r, seed);
    half_start(&p.h[0], args, 0, 0);
    half_start(&p.h[1], args, 1, seed % 2);
    for (unsigned i = 0; i < STEPS; i++) {
        step(&p);
        compare(&p);
    }
    assert_int_equal(fake_stat(p.h[0].f, STAT_PAGED_OUT), 0);
    assert_true(fake_stat(p.h[1].f, STAT_PAGED_OUT) > 200);
    fake_free(p.h[0].f);
    fake_free(p.h[1].f);
}

static void twins(void **state)
{
    (void)state;
    static const char *const args[] = {
        "",
        "x-max-priority=4",
        "x-max-length=700;x-overflow=drop-head",
        "x-max-length=700;x-overflow=drop-head;x-max-priority=4",
        "x-message-ttl=9000",
        "x-message-ttl=9000;x-dead-letter-exchange=;x-dead-letter-routing-key=dead",
        "x-max-length=700;x-overflow=drop-head;x-dead-letter-exchange=;x-dead-letter-routing-key=dead",
        "x-delivery-limit=2;x-dead-letter-exchange=;x-dead-letter-routing-key=dead",
        "x-single-active-consumer=true",
    };
    for (unsigned i = 0; i < ARRAY_N(args); i++)
        for (uint64_t seed = 1; seed <= 3; seed++)
            play(args[i], seed * 100 + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
