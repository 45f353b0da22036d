/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_conn_memory.c: running out of memory, everywhere. A scene goes from accept to delivery and back; it is played
 * once for each allocation it makes, which then fails (once, or from there on). Whatever happens, the broker stays
 * consistent, gives every byte back, and says ERR_OK only to what it did.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake.h"

static bool alive(const struct conn *c, const struct fake_pipe *p)
{
    return c && !p->is_gone && !conn_is_closing(c) && c->session;
}

struct scene {
    struct fake *f;
    struct conn *p, *s, *t;
    struct fake_pipe *pp, *sp, *tp;
};

static struct conn *enter(struct scene *v, const char *id, uint32_t expiry_s, struct fake_pipe **out)
{
    struct conn *c = fake_login(v->f, id, expiry_s);
    *out = c ? fake_pipe_of(c) : NULL;
    return c;
}

static void publish_all(struct scene *v)
{
    static uint8_t large[3000];
    for (unsigned i = 0; i < 24 && alive(v->p, v->pp); i++) {
        char topic[32];
        snprintf(topic, sizeof(topic), i % 4 ? "t/%u" : "$odd/%u", i);
        struct msgview m = {.topic = slice_from_str(topic),
                            .payload = i % 3 ? SLICE("small") : slice_make(large, sizeof(large)),
                            .qos = (uint8_t)(i % 3),
                            .flags = (uint8_t)(i % 5 == 1 ? MSG_RETAIN : 0),
                            .expires_at = i % 7 == 2 ? v->f->now + 1000 : 0};
        uint64_t had = fake_stat(v->f, STAT_PUBLISHED);
        uint32_t rx = rx_n(v->p->session);
        enum err e = fake_pub_view(v->p, &m, NULL, m.qos == 2 ? (uint16_t)(i + 1) : 0);
        if (e == ERR_NOMEM) { /* refused is refused: not counted, no id kept */
            assert_int_equal(fake_stat(v->f, STAT_PUBLISHED), had);
            assert_int_equal(rx_n(v->p->session), rx);
        }
        if (i % 6 == 5)
            fake_run(v->f);
    }
}

static void answer_all(struct scene *v)
{
    for (uint32_t i = 0; i < v->f->event_n; i++) {
        struct fake_event e = v->f->event[i];
        struct conn *c = alive(v->s, v->sp) && fake_number(v->s) == e.conn   ? v->s
                         : alive(v->t, v->tp) && fake_number(v->t) == e.conn ? v->t
                                                                             : NULL;
        if (e.what != FAKE_DELIVER || e.ticket == 0 || !c || !tickets_get(c->session, e.ticket))
            continue;
        const struct flight *flight = tickets_get(c->session, e.ticket);
        const struct entry *entry = flight_entry(flight);
        uint8_t qos = entry ? (entry->by_qos ? entry->sent_qos : 0) : flight->qos;
        uint8_t at = entry ? entry->state : flight->state;
        enum outcome o = qos == 2 ? OUTCOME_RECEIVED : i % 5 || !entry ? OUTCOME_ACK : OUTCOME_REQUEUE;
        if (at == ENTRY_RECEIVED)
            o = OUTCOME_COMPLETE;
        assert_int_equal(broker_settle(c, e.ticket, o), ERR_OK);
    }
    fake_forget(v->f);
    fake_run(v->f);
}

static void subscribe_all(struct scene *v)
{
    static const char *const filter[] = {"t/+", "t/#", "+/1", "#"};
    for (unsigned i = 0; i < 4 && alive(v->s, v->sp); i++) {
        struct binding_opts o = {.qos = (uint8_t)(i % 3), .sub_id = i, .no_local = i == 2};
        uint32_t had = v->s->session->binding_n;
        enum err e = fake_sub_opts(v->s, filter[i], &o);
        if (e == ERR_AGAIN) { /* the answer waits for the store, or the connection is ending */
            fake_run(v->f);
            if (!alive(v->s, v->sp))
                return;
            e = fake_last(v->f, FAKE_SETTLED)->result;
        }
        if (alive(v->s, v->sp))
            assert_int_equal(v->s->session->binding_n, had + (e == ERR_OK));
    }
    if (!alive(v->t, v->tp))
        return;
    struct fake_filter ff;
    enum err e;
    struct consume how = {.mode = ACK_CUMULATIVE, .prefetch = 5, .qos = 2, .receipt = v->f->receipt_next++};
    (void)broker_consume_filter(v->t, NULL, fake_filter(&ff, "t/#"), &(struct binding_opts){.qos = 2}, &how);
    if (!alive(v->t, v->tp))
        return;
    struct queue *q = broker_declare_queue(v->t, SLICE("jobs"), &e);
    assert_int_equal(q == NULL, e != ERR_OK);
    how.receipt = RECEIPT_NONE;
    how.mode = ACK_EACH;
    if (q)
        (void)broker_consume_queue(v->t, q, &how);
}

/* play: true when the allocation to fail was reached. */
static bool play(uint64_t fail_at, bool for_ever, bool has_store)
{
    struct fake_config config;
    fake_config_init(&config);
    config.fail_at = fail_at;
    config.has_store = has_store;
    config.limits.out_bytes_max = 4096;
    struct scene v = {.f = fake_new(&config)};
    if (!v.f)
        return true;
    struct fake *f = v.f;
    f->heap.fail_after = for_ever;
    v.p = enter(&v, "p", 0, &v.pp);
    v.s = enter(&v, "s", 100, &v.sp);
    v.t = enter(&v, "", 0, &v.tp);
    fake_run(f);
    if (alive(v.p, v.pp)) {
        struct msgview m = {.topic = SLICE("t/before"), .payload = SLICE("kept"), .flags = MSG_RETAIN};
        (void)fake_pub_view(v.p, &m, NULL, 0);
    }
    subscribe_all(&v);
    fake_run(f);
    if (v.sp && !v.sp->is_gone)
        v.sp->send_room = 5000; /* output waits, too */
    publish_all(&v);
    fake_run(f);
    if (alive(v.p, v.pp))
        for (unsigned i = 0; i < 3; i++)
            (void)fake_pub_view(v.p, &(struct msgview){.topic = SLICE("jobs"), .qos = 1},
                                f->shard->vhost->default_exchange, 0);
    fake_run(f);
    if (v.sp)
        v.sp->send_room = SIZE_MAX;
    answer_all(&v);
    if (v.sp && !v.sp->is_gone)
        v.sp->is_reset = true;
    if (v.pp && !v.pp->is_gone)
        fake_feed(v.pp, "\0\0\x40\0 and then nothing", 20);
    fake_run(f);
    if (v.pp && !v.pp->is_gone) /* ready, it is said, but there is nothing */
        v.pp->transport.on_ready(&v.pp->transport, LOOP_READ);
    fake_run(f);
    struct attach a = fake_attach("s", 100);
    struct msgview will = {.topic = SLICE("t/will"), .payload = SLICE("will"), .qos = 1, .flags = MSG_RETAIN};
    a.will = &will;
    v.s = fake_conn(f);
    v.sp = v.s ? fake_pipe_of(v.s) : NULL;
    if (v.s)
        broker_attach(v.s, &a);
    fake_run(f);
    answer_all(&v);
    if (v.sp && !v.sp->is_gone)
        v.sp->is_eof = true;
    fake_run(f);
    fake_wait(f, 200000);
    bool reached = f->heap.calls >= fail_at;
    fake_free(f); /* every byte came back */
    return reached && fail_at != 0;
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (play(n, false, false))
        n++;
    assert_true(n > 80);
}

static void each_allocation_fails_once_with_a_store(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (play(n, false, true))
        n++;
    assert_true(n > 80);
}

static void no_memory_from_there_on(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (n < 400 && play(n, true, n % 2))
        n++;
}

/* one publish to many receivers of every kind, failing at every allocation: refused means that nobody got it. */
static bool fan_out(uint64_t nth)
{
    struct fake *f = fake_new(NULL);
    struct conn *p = fake_login(f, "p", 0), *c[6];
    for (unsigned i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof(id), "%u", i);
        c[i] = fake_login(f, id, i == 4 ? 100 : 0);
        assert_int_equal(fake_sub(c[i], "t", (uint8_t)(i % 3)), ERR_OK);
    }
    fake_pipe_of(c[4])->is_reset = true;
    fake_run(f);
    fake_forget(f);
    static uint8_t large[5000];
    struct msgview v = {.topic = SLICE("t"),
                        .payload = slice_make(large, sizeof(large)),
                        .qos = 2,
                        .flags = MSG_RETAIN,
                        .expires_at = f->now + 100000};
    f->heap.fail_at = f->heap.calls + nth;
    enum err e = fake_pub_view(p, &v, NULL, 9);
    bool failed = f->heap.calls >= f->heap.fail_at;
    f->heap.fail_at = 0;
    fake_run(f);
    if (e != ERR_OK) {
        assert_int_equal(e, ERR_NOMEM);
        assert_int_equal(fake_count(f, FAKE_DELIVER), 0);
        assert_int_equal(fake_stat(f, STAT_ENTRIES), 0);
        assert_int_equal(f->shard->vhost->retained.n, 0);
        assert_false(broker_rx_is_open(p, 9));
    } else { /* accepted: delivered, waiting, or counted */
        const struct session *offline = map_get(&f->shard->vhost->sessions, SLICE("4"));
        uint64_t lost = fake_stat(f, STAT_DROP_NOMEM) + fake_stat(f, STAT_DROP_CLOSED);
        assert_int_equal(f->shard->vhost->retained.n, 1);
        assert_true(broker_rx_is_open(p, 9));
        assert_true(fake_stat(f, STAT_DELIVERED) + offline->queue->ready_n + lost >= 6);
    }
    fake_free(f);
    return failed;
}

static void refused_means_nobody_got_it(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (fan_out(n))
        n++;
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_fails_once),
        cmocka_unit_test(each_allocation_fails_once_with_a_store),
        cmocka_unit_test(no_memory_from_there_on),
        cmocka_unit_test(refused_means_nobody_got_it),
    };
    return cmocka_run_group_tests_name("conn_memory", tests, NULL, NULL);
}
