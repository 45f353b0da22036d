/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tx_store.c: what the store hears of a transaction: one unit, or none that counts; and that a commit which finds
 * no memory, wherever that is, changes nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "persist/store_image.h"
#include "persist/store_mem.h"
#include "tests/support/tx_bench.h"

/* ---- the store ----------------------------------------------------------------------------------------------- */

/* The store's ears: what is appended, by letter; its n-th append from now fails, and the m next ones. */
static struct {
    const struct store_ops *real;
    char said[4096];
    size_t n;
    unsigned fail_in, fail_n;
    bool is_full;
} spy;

static lsn_t spy_append(struct store *s, const struct store_rec *rec)
{
    static const char letter[] = {
        [STORE_PUBLISH] = 'P', [STORE_SETTLE] = 'S', [STORE_TX] = '(', [STORE_TX_END] = ')', [STORE_QUEUE] = 'Q'};
    bool fails = spy.fail_in > 0 && --spy.fail_in < spy.fail_n;
    if (fails && spy.fail_in == 0 && spy.fail_n > 1) {
        spy.fail_n--;
        spy.fail_in = 1;
    }
    char c = (size_t)rec->kind < sizeof(letter) && letter[rec->kind] ? letter[rec->kind] : '?';
    if (rec->kind == STORE_TX_END && (rec->flags & STORE_TX_VOID))
        c = '!';
    if (fails)
        return 0;
    assert_true(spy.n + 1 < sizeof(spy.said));
    spy.said[spy.n++] = c;
    spy.said[spy.n] = 0;
    return spy.real->append(s, rec);
}

static enum err spy_reserve(struct store *s, uint64_t bytes)
{
    return spy.is_full ? ERR_FULL : spy.real->reserve(s, bytes);
}

static struct fake *world_with_store(bool is_late)
{
    static struct store_ops ops;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.is_late = is_late;
    struct fake *f = fake_new(&config);
    memset(&spy, 0, sizeof(spy));
    spy.real = f->store->ops;
    ops = *spy.real;
    ops.append = spy_append;
    ops.reserve = spy_reserve;
    f->store->ops = &ops;
    return f;
}

static void listen(void)
{
    spy.n = 0;
    spy.said[0] = 0;
}

static enum err count_publishes(const struct store_rec *rec, void *ctx)
{
    uint32_t *n = ctx;
    *n += rec->kind == STORE_PUBLISH;
    return ERR_OK;
}

/* in_the_image: messages that a restart would bring back. */
static uint32_t in_the_image(struct fake *f)
{
    uint32_t n = 0;
    fake_run(f);
    assert_int_equal(store_image_visit(f->image, count_publishes, &n), ERR_OK);
    return n;
}

static void one_unit(void **state)
{
    (void)state;
    struct fake *f = world_with_store(true);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    consume(c, q, ACK_EACH, 0);
    put(c, "q", "m");
    uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
    fake_durable(f);
    fake_durable(f);
    struct tx *t = begin(c);
    add(c, t, "q", "1");
    assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
    add_topic(c, t, "nobody", "2", MSG_DURABLE);
    struct publish p = publish_of(c, "q", "later");
    p.delay_ms = 1000;
    assert_int_equal(tx_publish(c, t, &p), ERR_OK);
    listen();
    assert_int_equal(commit(c, t), ERR_AGAIN); /* answered when it is on the disk */
    assert_string_equal(spy.said, "(PSP)");
    fake_run(f);
    assert_int_equal(fake_count(f, FAKE_SETTLED), 0);
    fake_durable(f);
    fake_durable(f);
    assert_int_equal(fake_last(f, FAKE_SETTLED)->result, ERR_OK);
    assert_int_equal(in_the_image(f), 2);
    listen();
    t = begin(c);
    add_topic(c, t, "nobody", "3", MSG_DURABLE);
    assert_int_equal(commit(c, t), ERR_OK); /* nothing durable: no unit */
    assert_string_equal(spy.said, "");
    fake_free(f);
}

/* the n-th record cannot be appended: nothing happened, in memory or on the disk. */
static void a_record_fails(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 6; nth++) {
        struct fake *f = world_with_store(false);
        struct conn *c = fake_login(f, "", 0);
        struct queue *q = declare(c, "q");
        consume(c, q, ACK_EACH, 1);
        put(c, "q", "m");
        put(c, "q", "n");
        uint32_t ticket = fake_last(f, FAKE_DELIVER)->ticket;
        struct tx *t = begin(c);
        add(c, t, "q", "1");
        assert_int_equal(tx_settle(c, t, ticket, OUTCOME_ACK, false), ERR_OK);
        add(c, t, "q", "2");
        listen();
        spy.fail_in = nth;
        spy.fail_n = 1;
        fake_forget(f);
        (void)commit(c, t);
        fake_run(f);
        static const char *const said[] = {"", "(!", "(P!", "(PS!", "(PSP!", "(PSP)"};
        assert_string_equal(spy.said, said[nth - 1]);
        assert_int_equal(fake_last(f, FAKE_SETTLED)->result, nth == 6 ? ERR_OK : ERR_STORE);
        assert_int_equal(in_the_image(f), nth == 6 ? 3 : 2);
        assert_int_equal(q->inflight_n + q->ready_n, nth == 6 ? 3 : 2);
        assert_false(f->shard->store_failed);
        if (nth < 6) {
            assert_string_equal(waiting(q), "n");
            spy.fail_in = 0;
            assert_int_equal(broker_settle(c, ticket, OUTCOME_ACK), ERR_OK);
            assert_int_equal(in_the_image(f), 1); /* and the log goes on behind the void unit */
        }
        fake_free(f);
    }
}

/* a unit that cannot even be ended: nothing may stand behind it, so the store is given up, and says so. */
static void a_unit_without_end(void **state)
{
    (void)state;
    struct fake *f = world_with_store(false);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    put(c, "q", "m");
    struct tx *t = begin(c);
    add(c, t, "q", "1");
    spy.fail_in = 3;
    spy.fail_n = 2;
    assert_int_equal(commit(c, t), ERR_STORE);
    assert_true(f->shard->store_failed);
    fake_run(f);
    assert_string_equal(waiting(q), "m");
    assert_int_equal(in_the_image(f), 1);
    fake_free(f);
}

static void a_full_store(void **state)
{
    (void)state;
    struct fake *f = world_with_store(false);
    struct conn *c = fake_login(f, "", 0);
    struct queue *q = declare(c, "q");
    struct tx *t = begin(c);
    add(c, t, "q", "1");
    listen();
    spy.is_full = true;
    assert_int_equal(commit(c, t), ERR_FULL);
    assert_null(broker_refused(c)); /* it was no queue */
    assert_string_equal(spy.said, "");
    assert_int_equal(q->ready_n, 0);
    fake_free(f);
}

/* rejected: without a dead-letter exchange settled in the unit; with one it is published there, after the commit. */
static void rejected(void **state)
{
    (void)state;
    for (int has_dlx = 0; has_dlx < 2; has_dlx++) {
        struct fake *f = world_with_store(false);
        struct conn *c = fake_login(f, "", 0);
        struct queue_spec spec;
        struct declared d;
        queue_spec_init(&spec, &f->shard->vhost->policy_named);
        spec.policy.has_dead_exchange = spec.policy.has_dead_key = has_dlx;
        spec.policy.dead_key = SLICE("dead");
        spec.given = 1u << QUEUE_ARG_DEAD_EXCHANGE | 1u << QUEUE_ARG_DEAD_KEY;
        struct queue *q = broker_declare_queue_as(c, SLICE("q"), &spec, &d), *dead = declare(c, "dead");
        assert_non_null(q);
        consume(c, q, ACK_EACH, 0);
        put(c, "q", "m");
        struct tx *t = begin(c);
        assert_int_equal(tx_settle(c, t, fake_last(f, FAKE_DELIVER)->ticket, OUTCOME_REJECT, false), ERR_OK);
        add(c, t, "dead", "x");
        listen();
        (void)commit(c, t);
        fake_run(f);
        assert_string_equal(spy.said, has_dlx ? "(P)P" : "(SP)");
        assert_string_equal(waiting(dead), has_dlx ? "x,m" : "x");
        assert_int_equal(fake_stat(f, STAT_DROP_REJECTED), !has_dlx);
        assert_int_equal(fake_stat(f, STAT_DEAD_LETTERED), has_dlx);
        assert_int_equal(in_the_image(f), 1 + has_dlx);
        fake_free(f);
    }
}

/* ---- without memory ------------------------------------------------------------------------------------------ */

/* What a torture round looks at. */
struct scene {
    struct fake *f;
    struct conn *c;
    struct queue *plain, *timed, *away;
    struct tx *t;
};

/* scene_make: a transaction with everything in it, over queues of every kind. */
static void scene_make(struct scene *w)
{
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "", 0);
    struct queue_spec spec;
    struct declared d;
    *w = (struct scene){.f = f, .c = c, .plain = declare_full(c, "plain", 100, 0)};
    queue_spec_init(&spec, &f->shard->vhost->policy_named);
    spec.policy.has_ttl = true;
    spec.policy.ttl_ms = 100000;
    spec.given = 1u << QUEUE_ARG_TTL;
    w->timed = broker_declare_queue_as(c, SLICE("timed"), &spec, &d);
    assert_non_null(w->timed);
    struct conn *away = fake_login(f, "away", SESSION_EXPIRY_NEVER);
    assert_int_equal(fake_sub_opts(away, "t/#", &(struct binding_opts){.qos = 1, .sub_id = 7}), ERR_OK);
    w->away = away->session->queue;
    conn_close(away, CLOSE_EOF);
    consume(c, w->plain, ACK_EACH, 2);
    put(c, "plain", "m1");
    put(c, "plain", "m2");
    fake_run(f);
    w->t = begin(c);
    for (int i = 0; i < 40; i++) {
        add(c, w->t, "plain", "a");
        add(c, w->t, "timed", "b");
        add_topic(c, w->t, "t/1", "c", MSG_RETAIN);
        struct publish p = publish_of(c, "plain", "later");
        p.delay_ms = 1000;
        assert_int_equal(tx_publish(c, w->t, &p), ERR_OK);
        char topic[16];
        (void)snprintf(topic, sizeof(topic), "t/x/%d", i);
        struct publish r = topic_of(topic, "kept", MSG_RETAIN);
        r.msg.expires_at = f->now + 5000;
        assert_int_equal(tx_publish(c, w->t, &r), ERR_OK);
    }
    assert_int_equal(tx_settle(c, w->t, fake_nth(f, FAKE_DELIVER, 0)->ticket, OUTCOME_ACK, false), ERR_OK);
    assert_int_equal(tx_settle(c, w->t, fake_nth(f, FAKE_DELIVER, 1)->ticket, OUTCOME_REJECT, false), ERR_OK);
}

/* scene_check: all of it, or nothing. */
static void scene_check(const struct scene *w, bool all)
{
    uint64_t n = all ? 40 : 0;
    assert_int_equal(w->plain->ready_n, n);
    assert_int_equal(w->plain->inflight_n, all ? 0 : 2);
    assert_int_equal(w->timed->ready_n, n);
    assert_int_equal(w->away->ready_n, 2 * n);
    assert_int_equal(fake_stat(w->f, STAT_DELAYED), n);
    assert_int_equal(fake_stat(w->f, STAT_RETAINED), all ? 41 : 0);
    assert_int_equal(fake_stat(w->f, STAT_SETTLED), all);
    assert_int_equal(fake_stat(w->f, STAT_DROP_NOMEM), 0);
    assert_int_equal(fake_stat(w->f, STAT_PUBLISHED), 2 + 4 * n);
    assert_int_equal(fake_stat(w->f, STAT_TX_COMMITTED), all);
}

static void commit_without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    uint64_t refused_n = 0;
    for (uint64_t nth = 1; !went_through; nth++) {
        for (int after = 0; after < 2; after++) { /* this one, or all from it on */
            struct scene w;
            scene_make(&w);
            w.f->heap.fail_at = w.f->heap.calls + nth;
            w.f->heap.fail_after = after;
            fake_forget(w.f);
            enum err e = commit(w.c, w.t);
            went_through = w.f->heap.calls < w.f->heap.fail_at;
            assert_true(e == ERR_OK || e == ERR_NOMEM);
            if (went_through)
                assert_int_equal(e, ERR_OK);
            scene_check(&w, e == ERR_OK); /* a failure may hit what can do without, a larger cache for one */
            refused_n += e != ERR_OK;
            w.f->heap.fail_at = 0;
            w.f->heap.fail_after = false;
            if (e != ERR_OK) { /* what was named can be answered again */
                struct list_node *first = list_first(&w.c->session->inflight);
                uint32_t ticket = LIST_ITEM(first, struct entry, node)->ticket;
                assert_int_equal(broker_settle(w.c, ticket, OUTCOME_ACK), ERR_OK);
            }
            fake_run(w.f);
            fake_free(w.f);
        }
    }
    assert_true(refused_n > 20); /* it was worth the trouble */
}

static void building_without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t nth = 1; !went_through; nth++) {
        struct fake *f = fake_new(NULL);
        struct conn *c = fake_login(f, "", 0);
        struct queue *q = declare(c, "q");
        consume(c, q, ACK_EACH, 0);
        for (int i = 0; i < 12; i++)
            put(c, "q", "m");
        f->heap.fail_at = f->heap.calls + nth;
        struct tx *t = tx_new(c);
        uint32_t actions = 0;
        for (uint32_t i = 0; t && i < 12; i++) {
            struct publish p = publish_of(c, "q", "x");
            enum err e = tx_publish(c, t, &p);
            assert_true(e == ERR_OK || e == ERR_NOMEM);
            actions += e == ERR_OK;
            e = tx_settle(c, t, fake_nth(f, FAKE_DELIVER, i)->ticket, OUTCOME_ACK, false);
            assert_true(e == ERR_OK || e == ERR_NOMEM);
            actions += e == ERR_OK;
        }
        went_through = f->heap.calls < f->heap.fail_at;
        f->heap.fail_at = 0;
        assert_true(went_through ? t && actions == 24 : !t || actions < 24);
        if (t) {
            assert_int_equal(tx_actions(t), actions);
            uint64_t published = fake_stat(f, STAT_PUBLISHED);
            assert_int_equal(commit(c, t), ERR_OK);
            assert_int_equal(fake_stat(f, STAT_PUBLISHED) - published + fake_stat(f, STAT_SETTLED), actions);
        }
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_unit),
        cmocka_unit_test(a_record_fails),
        cmocka_unit_test(a_unit_without_end),
        cmocka_unit_test(a_full_store),
        cmocka_unit_test(rejected),
        cmocka_unit_test(commit_without_memory),
        cmocka_unit_test(building_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
