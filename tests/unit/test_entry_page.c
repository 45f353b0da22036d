/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_entry_page.c: queues whose middle is on disk only. The soft mark is one byte, so that all that may leave memory
 * does; every turn ends in shard_check. Order and completeness through pages; everything that ends messages without
 * reading them; dead letters, which need them read; priorities; readers' copies; entries that come back before, behind
 * and into a page; fetches that outlive their queue; messages the store has lost; no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/entry_page.h"
#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/support/fake.h"
#include "tests/support/verbs.h"

static struct fake *start_with(bool is_late)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.is_late = is_late;
    config.limits.memory_soft_mark = 1;
    return fake_new(&config);
}

static struct fake *start(void)
{
    return start_with(false);
}

/* send: messages from .. from + n - 1, each with its number as payload, to a queue. */
static void send(struct conn *p, const char *queue, unsigned from, unsigned n)
{
    char text[16];
    for (unsigned i = from; i < from + n; i++) {
        snprintf(text, sizeof(text), "%u", i);
        assert_int_equal(verb_send(p, p->shard->vhost->default_exchange, queue, text), ERR_OK);
    }
    fake_wait(verb_fake(p), 10000);
}

/* publish: to a queue, as v says; it is answered in the next run. */
static void publish(struct conn *p, const char *queue, const char *payload, struct msgview v)
{
    v.topic = slice_from_str(queue);
    v.payload = slice_from_str(payload);
    v.flags = MSG_DURABLE;
    enum err e = fake_pub_view(p, &v, p->shard->vhost->default_exchange, 0);
    assert_true(e == ERR_OK || e == ERR_AGAIN);
}

static uint64_t paged(const struct fake *f)
{
    return fake_stat(f, STAT_PAGED);
}

/* take: acknowledges what c gets until nothing more comes; it must be first, first + 1, ... Returns how many. */
static unsigned take(struct fake *f, struct conn *c, unsigned first)
{
    unsigned n = 0, before;
    do {
        before = n;
        fake_run(f);
        for (uint32_t i = 0, all = fake_count(f, FAKE_DELIVER); i < all; i++) {
            const struct fake_event *e = fake_nth(f, FAKE_DELIVER, i);
            if (e->conn != fake_number(c))
                continue;
            assert_int_equal(strtoul(e->payload, NULL, 10), first + n);
            n++;
            if (e->ticket)
                assert_int_equal(broker_settle(c, e->ticket, OUTCOME_ACK), ERR_OK);
        }
        fake_forget(f);
    } while (n != before);
    return n;
}

static enum err count_publish(const struct store_rec *r, void *ctx)
{
    uint32_t *n = ctx;
    *n += r->kind == STORE_PUBLISH;
    return ERR_OK;
}

/* stored: publishes that a restart would bring back. */
static uint32_t stored(struct fake *f)
{
    uint32_t n = 0;
    fake_run(f);
    assert_int_equal(store_image_visit(f->image, count_publish, &n), ERR_OK);
    return n;
}

/* ---- there and back ------------------------------------------------------------------------------------------ */

static void there_and_back(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 3600);
    (void)fake_sub(c, "a/#", 1);
    verb_hang_up(c);
    struct queue *q = LIST_ITEM(list_first(&f->shard->vhost->queues_all), struct queue, all);
    for (unsigned i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%u", i);
        enum err e = fake_pub(p, "a/b", text, 1);
        assert_true(e == ERR_OK || e == ERR_AGAIN);
        if (i % 100 == 99)
            fake_run(f);
    }
    fake_wait(f, 10000);
    assert_int_equal(q->ready_n, N);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), N);
    assert_in_range(paged(f), N - 64, N); /* nobody is there: not even the head stays */
    assert_int_equal(f->shard->entries.used_n, N - paged(f));
    assert_in_range(msg_pool_living(&f->shard->msgs), 0, 64);
    c = fake_login(f, "c", 3600);
    assert_int_equal(take(f, c, 0), N);
    assert_int_equal(paged(f), 0);
    assert_int_equal(fake_stat(f, STAT_PAGED_IN), fake_stat(f, STAT_PAGED_OUT));
    assert_int_equal(fake_stat(f, STAT_DROP_LOST), 0);
    assert_int_equal(stored(f), 0);
    fake_free(f);
}

static void what_is_there_comes_first(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 1000);
    assert_in_range(paged(f), 900, 1000);
    struct conn *c = fake_login(f, "c", 0);
    struct consumer *k = verb_consume(c, q, ACK_EACH);
    for (unsigned i = 1000; i < 1300; i++) { /* behind the pages, while they come */
        char text[16];
        snprintf(text, sizeof(text), "%u", i);
        publish(p, "q", text, (struct msgview){.qos = 1});
    }
    assert_int_equal(take(f, c, 0), 1300);
    send(p, "q", 1300, 1); /* nothing is in the way any more */
    assert_int_equal(take(f, c, 1300), 1);
    consumer_cancel(k);
    fake_free(f);
}

/* A consumer that is slow keeps a head in memory; what was read for it and not taken leaves again. */
static void the_head_stays(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "");
    verb_consume(c, q, ACK_EACH); /* takes a hundred, and answers none */
    send(p, "q", 0, 3000);
    assert_int_equal(q->inflight_n, 100);
    assert_int_equal(q->ready_n, 2900);
    assert_in_range(q->ready_n - paged(f), 256, 256 + 64);
    fake_forget(f);
    verb_hang_up(c);
    fake_wait(f, 20000); /* nobody is there now */
    assert_int_equal(q->ready_n, 3000);
    assert_in_range(q->ready_n - paged(f), 0, 100);
    c = fake_login(f, "d", 0);
    verb_consume(c, q, ACK_EACH);
    fake_run(f); /* some pages were read for it */
    assert_in_range(q->ready_n - paged(f), 200, 1200);
    verb_hang_up(c);
    fake_wait(f, 20000);
    assert_in_range(q->ready_n - paged(f), 0, 100);
    fake_forget(f);
    c = fake_login(f, "e", 0);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 0), 3000);
    fake_free(f);
}

/* Who gives messages back all the time, in front, does not keep the end of the queue in memory. */
static void the_end_leaves_all_the_same(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "");
    verb_consume(c, q, ACK_EACH);
    for (unsigned round = 0; round < 40; round++) {
        fake_forget(f);
        for (unsigned i = 0; i < 300; i++)
            publish(p, "q", "x", (struct msgview){.qos = 1});
        fake_wait(f, 1100);
        LIST_EACH(&c->session->inflight, it)
        assert_int_equal(broker_settle(c, LIST_ITEM(it, struct entry, node)->ticket, OUTCOME_REQUEUE), ERR_OK);
    }
    fake_wait(f, 20000);
    assert_int_equal(q->ready_n, 300 * 40 - 100);
    assert_in_range(q->ready_n - paged(f), 256, 1200);
    fake_free(f);
}

/* Nothing leaves memory that the disk has not got, or that is not for the disk. */
static void only_what_is_durable(void **state)
{
    (void)state;
    struct fake *f = start_with(true);
    struct conn *p = fake_login(f, "p", 0);
    struct declared d;
    struct queue_spec spec;
    verb_spec(p, &spec, "");
    struct queue *q = broker_declare_queue_as(p, SLICE("q"), &spec, &d);
    assert_non_null(q);
    char text[16];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%u", i);
        publish(p, "q", text, (struct msgview){.qos = 1});
    }
    fake_run(f);
    assert_int_equal(paged(f), 0);
    fake_durable(f);
    fake_wait(f, 10000);
    assert_in_range(paged(f), 1000 - 64, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        struct msgview v = {.topic = SLICE("q"), .payload = SLICE("live"), .qos = 0};
        (void)fake_pub_view(p, &v, p->shard->vhost->default_exchange, 0);
    }
    fake_wait(f, 30000);
    assert_in_range(paged(f), 1000 - 64, 1000);
    assert_int_equal(q->ready_n, 2000);
    fake_free(f);
}

/* ---- ends ---------------------------------------------------------------------------------------------------- */

static void purged_and_deleted(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 1000);
    assert_true(paged(f) > 0);
    assert_int_equal(stored(f), 1000);
    assert_int_equal(queue_purge(q, STAT_DROP_PURGED), 1000);
    assert_int_equal(fake_stat(f, STAT_DROP_PURGED), 1000);
    assert_int_equal(paged(f), 0);
    assert_int_equal(q->bytes, 0);
    assert_int_equal(stored(f), 0);
    send(p, "q", 0, 1000);
    assert_int_equal(verb_delete_queue(p, "q", (struct queue_end){0}), ERR_OK);
    assert_int_equal(fake_stat(f, STAT_DROP_CLOSED), 1000);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    assert_int_equal(stored(f), 0);
    assert_int_equal(f->store->stats.fetched, 0);
    fake_free(f);
}

static void the_oldest_goes(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "x-max-length=1000;x-overflow=drop-head");
    send(p, "q", 0, 1500);
    assert_int_equal(q->ready_n, 1000);
    assert_int_equal(fake_stat(f, STAT_DROP_HEAD), 500);
    assert_int_equal(f->store->stats.fetched, 0);
    assert_int_equal(stored(f), 1000);
    struct conn *c = fake_login(f, "c", 0);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 500), 1000);
    fake_free(f);
}

static void the_oldest_is_a_dead_letter(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *dead = verb_queue(p, "dead", "");
    struct queue *q = verb_queue(p, "q",
                                 "x-max-length=1000;x-overflow=drop-head;x-dead-letter-exchange=;"
                                 "x-dead-letter-routing-key=dead");
    send(p, "q", 0, 1500);
    assert_int_equal(q->ready_n, 1000);
    assert_int_equal(dead->ready_n, 500);
    assert_int_equal(fake_stat(f, STAT_DEAD_LETTERED), 500);
    assert_int_equal(stored(f), 1500);
    verb_consume(c, dead, ACK_EACH);
    assert_int_equal(take(f, c, 0), 500);
    fake_free(f);
}

static void they_expire(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "");
    char text[16];
    for (unsigned i = 0; i < 1000; i++) { /* every second one lives longer */
        snprintf(text, sizeof(text), "%u", i);
        publish(p, "q", text, (struct msgview){.qos = 1, .expires_at = f->now + (i % 2 ? 900000 : 15000 + i)});
        if (i % 50 == 0)
            fake_run(f);
    }
    fake_wait(f, 10000);
    assert_in_range(paged(f), 900, 1000);
    fake_wait(f, 5500);
    assert_in_range(q->ready_n, 740, 760);
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 1000 - q->ready_n);
    fake_wait(f, 4000);
    assert_int_equal(q->ready_n, 500);
    assert_int_equal(f->store->stats.fetched, 0);
    assert_int_equal(stored(f), 500);
    struct conn *c = fake_login(f, "c", 0);
    verb_consume(c, q, ACK_EACH);
    fake_run(f);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(strtoul(fake_nth(f, FAKE_DELIVER, i)->payload, NULL, 10), i * 2 + 1);
    fake_wait(f, 900000);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(paged(f), 0);
    fake_free(f);
}

/* A queue that delays: what expires there is a dead letter, with its message, though it was on disk. */
static void they_expire_and_go_on(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *dead = verb_queue(p, "dead", "");
    struct queue *q = verb_queue(p, "q", "x-message-ttl=60000;x-dead-letter-exchange=;x-dead-letter-routing-key=dead");
    send(p, "q", 0, 1000);
    assert_in_range(paged(f), 900, 1000);
    fake_wait(f, 30000);
    assert_int_equal(q->ready_n, 1000);
    fake_forget(f);
    fake_wait(f, 30000);
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(dead->ready_n, 1000);
    verb_consume(c, dead, ACK_EACH);
    assert_int_equal(take(f, c, 0), 1000);
    assert_int_equal(fake_stat(f, STAT_DEAD_LETTERED), 1000);
    assert_int_equal(fake_stat(f, STAT_DROP_EXPIRED), 0);
    assert_int_equal(stored(f), 0);
    fake_free(f);
}

/* ---- levels, copies ------------------------------------------------------------------------------------------ */

static void priorities(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "x-max-priority=3");
    char text[16];
    for (unsigned i = 0; i < 4000; i++) {
        snprintf(text, sizeof(text), "%u", (3 - i % 4) * 1000 + i / 4);
        publish(p, "q", text, (struct msgview){.qos = 1, .priority = (uint8_t)(i % 4)});
        if (i % 256 == 0)
            fake_run(f);
    }
    fake_wait(f, 10000);
    assert_in_range(paged(f), 4000 - 4 * 64, 4000);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 0), 4000); /* the highest first, each level in order */
    fake_free(f);
}

static struct consumer *browse(struct conn *c, struct queue *q)
{
    const struct consume how = {.mode = ACK_NONE, .qos = 2, .receipt = RECEIPT_NONE};
    struct consumer *k = broker_browse(c, q, &how);
    assert_non_null(k);
    return k;
}

static void a_reader_takes_nothing(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *r = fake_login(f, "r", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 1000);
    fake_forget(f);
    browse(r, q);
    fake_run(f);
    assert_int_equal(fake_count_of(f, FAKE_DELIVER, r), 1001); /* and the end */
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(strtoul(fake_nth(f, FAKE_DELIVER, i)->payload, NULL, 10), i);
    assert_int_equal(q->ready_n, 1000);
    assert_int_equal(stored(f), 1000);
    fake_forget(f);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 0), 1000);
    assert_int_equal(stored(f), 0);
    fake_free(f);
}

static void a_reader_misses_what_went(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *r = fake_login(f, "r", 0), *s = fake_login(f, "s", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 1000);
    fake_forget(f);
    browse(r, q);
    browse(s, q);
    assert_int_equal(queue_purge(q, STAT_DROP_PURGED), 1000);
    verb_hang_up(s); /* copies end without a settle */
    fake_run(f);
    assert_in_range(fake_count_of(f, FAKE_DELIVER, r), 1, 101); /* what was in memory, and the end */
    assert_int_equal(fake_stat(f, STAT_DROP_LOST), 0);
    assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
    fake_free(f);
}

/* ---- coming back --------------------------------------------------------------------------------------------- */

/* member: a session that shares a named queue and has taken its first n at QoS 2; it keeps them while it is away. */
static struct conn *member(struct fake *f, const char *id, struct queue *q, uint32_t n)
{
    struct conn *c = fake_conn(f);
    struct attach a = fake_attach(id, 3600);
    a.quota = n;
    broker_attach(c, &a);
    broker_subscribe_queue(c, queue_name(q), &(struct binding_opts){.qos = 2}, RECEIPT_NONE);
    fake_run(f);
    return c;
}

static void send_qos2(struct conn *p, unsigned from, unsigned n)
{
    char text[16];
    for (unsigned i = from; i < from + n; i++) {
        snprintf(text, sizeof(text), "%u", i);
        publish(p, "q", text, (struct msgview){.qos = 2});
    }
    fake_run(verb_fake(p));
}

static void they_come_back_into_a_page(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    struct queue *q = verb_queue(p, "q", "");
    send_qos2(p, 0, 20);
    struct conn *a = member(f, "a", q, 8), *b;
    assert_int_equal(q->inflight_n, 8);
    verb_hang_up(a);
    b = member(f, "b", q, 8); /* 8 .. 15 */
    verb_hang_up(b);
    assert_int_equal(q->inflight_n, 16);
    send_qos2(p, 20, 1000);
    session_end(map_get(&f->shard->vhost->sessions, SLICE("a"))); /* 0 .. 7 are back, in front of a page */
    fake_wait(f, 20000);
    uint64_t before = paged(f);
    assert_in_range(before, 900, 1020);
    struct entry *first = queue_first(q);
    if (!entry_is_page(first) || entry_page(first)->seq_last < 16) { /* they may stand as they are: eight are few */
        uint64_t n;
        (void)queue_page_out(q, 0, UINT32_MAX, &n);
    }
    session_end(map_get(&f->shard->vhost->sessions, SLICE("b"))); /* 8 .. 15: between 7 and 16 */
    fake_run(f);
    assert_int_equal(q->ready_n, 1020);
    assert_int_equal(q->inflight_n, 0);
    fake_forget(f);
    struct conn *c = fake_login(f, "c", 0);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 0), 1020);
    fake_free(f);
}

/* The same, with the page made to stand around the gap, and parted while its messages are on their way. */
static void a_page_is_parted(void **state)
{
    (void)state;
    for (unsigned is_open = 0; is_open < 2; is_open++) {
        struct fake *f = start();
        struct conn *p = fake_login(f, "p", 0);
        struct queue *q = verb_queue(p, "q", "");
        send(p, "q", 0, 1000);
        struct page *page = entry_page(queue_first(q));
        assert_true(entry_is_page(queue_first(q)));
        uint64_t lsn_n = page->n, bytes = page->bytes;
        if (is_open) {
            page_want(page);
            pages_fetch(f->shard);
            assert_non_null(page->fetch);
        }
        struct list_node *at = page_part(page, 100);
        struct page *rest = entry_page(LIST_ITEM(at, struct entry, node));
        assert_ptr_equal(at->prev, &page->t.entry.node);
        assert_int_equal(page->n, 100);
        assert_int_equal(rest->n, lsn_n - 100);
        assert_int_equal(page->bytes + rest->bytes, bytes);
        assert_int_equal(rest->t.entry.seq, 100);
        assert_null(page->fetch);
        shard_check(f->shard);
        assert_ptr_equal(page_part(page, 100), at); /* behind it: nothing to part */
        f->heap.fail_at = f->heap.calls + 1;
        assert_ptr_equal(page_part(page, 50), at); /* no memory: behind it, too */
        f->heap.fail_at = 0;
        assert_true(page->has_overlap);
        struct conn *c = fake_login(f, "c", 0);
        verb_consume(c, q, ACK_EACH);
        assert_int_equal(take(f, c, 0), 1000);
        fake_free(f);
    }
}

static void they_come_back_in_front(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 1000);
    verb_consume(c, q, ACK_EACH);
    fake_run(f);
    assert_int_equal(q->inflight_n, 100);
    for (uint32_t i = 0; i < 100; i += 3) /* any order */
        assert_int_equal(broker_settle(c, fake_nth(f, FAKE_DELIVER, 99 - i)->ticket, OUTCOME_REQUEUE), ERR_OK);
    verb_hang_up(c);
    fake_forget(f);
    fake_wait(f, 20000);
    assert_int_equal(q->ready_n, 1000);
    c = fake_login(f, "d", 0);
    verb_consume(c, q, ACK_EACH);
    fake_run(f);
    assert_int_equal(fake_nth(f, FAKE_DELIVER, 0)->redelivered, true); /* a page remembers that, too */
    assert_int_equal(take(f, c, 0), 1000);
    fake_free(f);
}

/* ---- fetches ------------------------------------------------------------------------------------------------- */

static struct conn *late_backlog(struct fake *f, unsigned n, struct queue **out_q)
{
    struct conn *p = fake_login(f, "p", 0);
    struct declared d;
    struct queue_spec spec;
    verb_spec(p, &spec, "");
    *out_q = broker_declare_queue_as(p, SLICE("q"), &spec, &d);
    assert_non_null(*out_q);
    char text[16];
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "%u", i);
        publish(p, "q", text, (struct msgview){.qos = 1});
    }
    for (unsigned i = 0; i < 3; i++)
        fake_durable(f);
    fake_wait(f, 10000);
    assert_true(paged(f) > 0);
    return p;
}

static void a_fetch_outlives_its_queue(void **state)
{
    (void)state;
    for (unsigned by_end = 0; by_end < 3; by_end++) {
        struct fake *f = start_with(true);
        struct queue *q;
        struct conn *p = late_backlog(f, 600, &q);
        struct conn *c = fake_login(f, "c", 0);
        const struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = RECEIPT_NONE};
        assert_non_null(broker_consume_queue(c, q, &how));
        fake_run(f);
        assert_true(f->shard->memory.fetch_n > 0); /* on its way, and the store takes its time */
        if (by_end == 0)
            broker_delete_queue(p, SLICE("q"), (struct queue_end){0}, RECEIPT_NONE);
        if (by_end == 1)
            queue_purge(q, STAT_DROP_PURGED);
        if (by_end < 2) {
            fake_run(f);
            assert_int_equal(paged(f), 0);
            fake_durable(f);
            fake_durable(f);
            assert_int_equal(f->shard->memory.fetch_n, 0);
            assert_int_equal(fake_count_of(f, FAKE_DELIVER, c), 0);
        }
        fake_free(f); /* 2: while it is open */
    }
}

static void lost_messages(void **state)
{
    (void)state;
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
    struct queue *q = verb_queue(p, "q", "");
    send(p, "q", 0, 600);
    struct page *page = entry_page(queue_first(q));
    assert_true(entry_is_page(queue_first(q)));
    struct page_item it = page->before;
    bool is_void;
    (void)page_pack_get(page->packed + page->at, page->len - page->at, &it, &is_void);
    for (lsn_t i = 0; i < 5; i++) /* the store is told behind the queue's back */
        queue_log_settle(q, it.lsn + i);
    fake_run(f);
    fake_forget(f);
    verb_consume(c, q, ACK_EACH);
    assert_int_equal(take(f, c, 5), 595);
    assert_int_equal(fake_stat(f, STAT_DROP_LOST), 5);
    assert_non_null(strstr(f->log_last, "could not give back"));
    assert_int_equal(q->ready_n, 0);
    assert_int_equal(q->bytes, 0);
    fake_free(f);
}

/* Each allocation in turn fails while pages are made, read back and delivered: nothing is lost, and all memory comes
 * back. */
static void no_memory(void **state)
{
    (void)state;
    enum { N = 200 };
    unsigned failed = 0;
    for (uint64_t nth = 1; nth < 200; nth += nth < 40 ? 1 : 23) {
        struct fake *f = start();
        struct conn *p = fake_login(f, "p", 0), *c = fake_login(f, "c", 0);
        struct queue *q = verb_queue(p, "q", "");
        static char text[3000]; /* more than what pools have: an allocation each */
        for (unsigned i = 0; i < N; i++) {
            memset(text, ' ', sizeof(text) - 1);
            text[snprintf(text, sizeof(text), "%u", i)] = ' ';
            publish(p, "q", text, (struct msgview){.qos = 1});
        }
        f->heap.fail_at = f->heap.calls + nth;
        fake_run(f);
        fake_wait(f, 10000);
        f->heap.fail_at = 0;
        assert_in_range(paged(f), N - 64, N);
        const struct consume how = {.mode = ACK_EACH, .qos = 2, .receipt = RECEIPT_NONE};
        assert_non_null(broker_consume_queue(c, q, &how));
        f->heap.fail_at = f->heap.calls + nth;
        fake_run(f);
        failed += f->heap.calls >= f->heap.fail_at;
        fake_wait(f, 1000);
        f->heap.fail_at = 0;
        if (!c->is_closing && c->session) {
            assert_int_equal(take(f, c, 0), N);
            fake_wait(f, 1000);
            assert_int_equal(q->ready_n, 0);
            assert_int_equal(stored(f), 0);
        } else {
            fake_wait(f, 5000); /* it was closed for want of memory: all is there for the next */
            assert_int_equal(q->ready_n, N);
        }
        assert_int_equal(fake_stat(f, STAT_DROP_LOST), 0);
        fake_free(f);
    }
    assert_true(failed > 40);
}

/* ---- how much ------------------------------------------------------------------------------------------------ */

static void bytes_per_message(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct fake *f = start();
    struct conn *p = fake_login(f, "p", 0);
    verb_queue(p, "q", "");
    static char body[101];
    memset(body, 'x', 100);
    struct msgview v = {.topic = SLICE("q"), .payload = slice_from_str(body), .qos = 1, .flags = MSG_DURABLE};
    for (unsigned i = 0; i < N; i++) {
        broker_publish(
            p, &(struct publish){.msg = v, .exchange = p->shard->vhost->default_exchange, .receipt = RECEIPT_NONE});
        if (i % 1000 == 999)
            (void)shard_turn(f->shard);
    }
    fake_run(f);
    fake_wait(f, 1000);
    uint64_t bytes = f->shard->mem[MEM_ENTRY].bytes + f->shard->mem[MEM_MSG].bytes + f->shard->mem[MEM_QUEUE].bytes;
    assert_in_range(paged(f), N - 64, N);
    print_message("%.2f bytes of core's memory per waiting message\n", (double)bytes / N);
    assert_in_range(bytes, N, 4 * N);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(what_is_there_comes_first),
        cmocka_unit_test(the_head_stays),
        cmocka_unit_test(the_end_leaves_all_the_same),
        cmocka_unit_test(only_what_is_durable),
        cmocka_unit_test(purged_and_deleted),
        cmocka_unit_test(the_oldest_goes),
        cmocka_unit_test(the_oldest_is_a_dead_letter),
        cmocka_unit_test(they_expire),
        cmocka_unit_test(they_expire_and_go_on),
        cmocka_unit_test(priorities),
        cmocka_unit_test(a_reader_takes_nothing),
        cmocka_unit_test(a_reader_misses_what_went),
        cmocka_unit_test(they_come_back_into_a_page),
        cmocka_unit_test(a_page_is_parted),
        cmocka_unit_test(they_come_back_in_front),
        cmocka_unit_test(a_fetch_outlives_its_queue),
        cmocka_unit_test(lost_messages),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(bytes_per_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
