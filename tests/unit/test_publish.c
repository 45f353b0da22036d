/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_publish.c: what a publish meets on its way: exchanges that are not for peers or are gone, queues that refuse,
 * and dead letters: where they go, where they do not come back to, and what the store hears of all that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/topology.h"
#include "persist/store_image.h"
#include "tests/support/fake.h"

static struct exchange *exchange_of(struct fake *f, const char *name, enum exchange_kind kind, bool internal)
{
    struct exchange *x;
    const char *differs;
    struct exchange_spec spec = {.name = slice_from_str(name), .kind = kind, .internal = internal};
    assert_int_equal(exchange_declare_as(f->shard->vhost, &spec, &x, &differs), ERR_OK);
    return x;
}

/* queue_of: at most len messages; what is refused: also to exchange dlx (NULL: not), with its name as the key. */
static struct queue *queue_of(struct conn *c, const char *name, uint64_t len, enum queue_overflow overflow,
                              const char *dlx)
{
    struct queue_spec spec;
    struct declared d;
    queue_spec_init(&spec, &c->session->vhost->policy_named);
    spec.policy.len_max = len;
    spec.policy.overflow = overflow;
    spec.policy.has_dead_exchange = dlx != NULL;
    if (dlx)
        spec.policy.dead_exchange = slice_from_str(dlx);
    spec.given = 1u << QUEUE_ARG_LEN;
    struct queue *q = broker_declare_queue_as(c, slice_from_str(name), &spec, &d);
    assert_non_null(q);
    return q;
}

static void bind_all(struct fake *f, struct exchange *x, struct queue *q)
{
    struct binding *b;
    bool is_new;
    assert_int_equal(
        router_bind(&f->shard->vhost->router, x, &(struct filter){0}, q, &(struct binding_opts){.qos = 2}, &b, &is_new),
        ERR_OK);
}

static enum err put(struct conn *c, struct exchange *x, const char *key, const char *payload)
{
    struct msgview v = {
        .topic = slice_from_str(key), .payload = slice_from_str(payload), .qos = 1, .flags = MSG_DURABLE};
    return fake_pub_view(c, &v, x, 0);
}

static const struct msg *first_in(const struct queue *q)
{
    const struct entry *e = queue_first(q);
    assert_non_null(e);
    return e->msg;
}

static void not_for_peers(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *in = exchange_of(f, "in", EXCHANGE_FANOUT, true);
    struct queue *q = queue_of(c, "q", 0, OVERFLOW_REJECT, NULL);
    bind_all(f, in, q);
    assert_int_equal(put(c, in, "k", "x"), ERR_DENIED);
    assert_int_equal(put(c, in, "k", "x"), ERR_DENIED); /* no route of the first one lets the second in */
    assert_false(broker_may_write(in, SLICE("k")));
    struct msgview v = {.topic = SLICE("k"), .payload = SLICE("x"), .qos = 1};
    assert_int_equal(broker_publish_shard(f->shard->vhost, in, &v), ERR_OK); /* the broker's own may go there */
    assert_int_equal(q->ready_n, 1);
    fake_free(f);
}

static void deleted_exchange(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *x = exchange_hold(exchange_of(f, "x", EXCHANGE_FANOUT, false));
    assert_int_equal(put(c, x, "k", "1"), ERR_NO_MATCH);
    exchange_delete(x);
    assert_int_equal(put(c, x, "k", "2"), ERR_NOT_FOUND);
    exchange_drop(x);
    fake_free(f);
}

/* a message knows the exchange it was published to, whoever published it. */
static void knows_its_exchange(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct vhost *v = f->shard->vhost;
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *x = exchange_of(f, "x", EXCHANGE_FANOUT, false);
    struct queue *q = queue_of(c, "q", 0, OVERFLOW_REJECT, NULL);
    bind_all(f, x, q);
    struct msgview m = {.topic = SLICE("k"), .payload = SLICE("1"), .qos = 1, .exchange = 12345};
    assert_int_equal(fake_pub_view(c, &m, x, 0), ERR_OK);
    assert_ptr_equal(exchange_by_number(v, first_in(q)->exchange), x);
    queue_purge(q, STAT_DROP_PURGED);
    assert_int_equal(put(c, v->default_exchange, "q", "2"), ERR_OK);
    assert_ptr_equal(exchange_by_number(v, first_in(q)->exchange), v->default_exchange);
    queue_purge(q, STAT_DROP_PURGED);
    assert_int_equal(broker_publish_shard(v, x, &m), ERR_OK);
    assert_ptr_equal(exchange_by_number(v, first_in(q)->exchange), x);
    fake_free(f);
}

/* who refused is known until the next publish; nothing was stored anywhere. */
static void who_refused(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *x = exchange_of(f, "x", EXCHANGE_FANOUT, false);
    struct queue *open = queue_of(c, "open", 0, OVERFLOW_REJECT, NULL);
    struct queue *full = queue_of(c, "full", 2, OVERFLOW_REJECT, NULL);
    bind_all(f, x, open);
    bind_all(f, x, full);
    assert_int_equal(put(c, x, "k", "1"), ERR_OK);
    assert_null(broker_refused(c));
    assert_int_equal(put(c, x, "k", "2"), ERR_OK);
    assert_int_equal(put(c, x, "k", "3"), ERR_FULL);
    assert_ptr_equal(broker_refused(c), full);
    assert_int_equal(open->ready_n, 2);
    assert_int_equal(put(c, NULL, "nobody", "4"), ERR_NO_MATCH);
    assert_null(broker_refused(c));
    fake_free(f);
}

/* each queue that refuses dead-letters a copy, with its name in the history; the publisher is refused once. */
static void refused_to_dead_letters(void **state)
{
    (void)state;
    struct fake *f = fake_new(NULL);
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *x = exchange_of(f, "x", EXCHANGE_FANOUT, false);
    struct exchange *dlx = exchange_of(f, "dlx", EXCHANGE_FANOUT, false);
    struct queue *a = queue_of(c, "a", 1, OVERFLOW_REJECT_DLX, "dlx");
    struct queue *b = queue_of(c, "b", 1, OVERFLOW_REJECT_DLX, "dlx");
    struct queue *lost = queue_of(c, "lost", 1, OVERFLOW_REJECT_DLX, "no-such-exchange");
    struct queue *dead = queue_of(c, "dead", 0, OVERFLOW_REJECT, NULL);
    bind_all(f, x, a);
    bind_all(f, x, b);
    bind_all(f, x, lost);
    bind_all(f, dlx, dead);
    assert_int_equal(put(c, x, "k", "1"), ERR_OK);
    assert_int_equal(put(c, x, "k", "2"), ERR_FULL);
    assert_int_equal(dead->ready_n, 0); /* not in the middle of another message's way */
    fake_run(f);
    assert_int_equal(dead->ready_n, 2);
    assert_int_equal(a->ready_n + b->ready_n + lost->ready_n, 3);
    assert_int_equal(fake_stat(f, STAT_REFUSED), 1);
    assert_int_equal(fake_stat(f, STAT_DEAD_LETTERED), 2);
    unsigned from_a = 0, from_b = 0;
    LIST_EACH(&dead->ready, it)
    {
        const struct msg *m = LIST_ITEM(it, struct entry, node)->msg;
        struct attr t;
        struct msgview v;
        msg_view(m, &v);
        for (size_t pos = 0; attr_next(v.attrs, &pos, &t);) {
            if (t.id == ATTR_DEATH && slice_eq_str(t.key, "x-first-death-reason"))
                assert_true(slice_eq_str(t.value, "maxlen"));
            from_a += t.id == ATTR_DEATH && slice_eq_str(t.key, "x-first-death-queue") && slice_eq_str(t.value, "a");
            from_b += t.id == ATTR_DEATH && slice_eq_str(t.key, "x-first-death-queue") && slice_eq_str(t.value, "b");
        }
    }
    assert_int_equal(from_a, 1);
    assert_int_equal(from_b, 1);
    fake_free(f);
}

/* died_in: attributes that say so. */
static struct slice died_in(struct buf *b, const struct queue *q, enum death why)
{
    dead_letter_attrs(b, SLICE(""), q, SLICE("k"), SLICE("x"), why, 1);
    assert_false(buf_is_bad(b));
    return buf_slice(b);
}

/* a dead letter does not come back to where it died, unless it was rejected there; the others get it. */
static void no_cycles(void **state)
{
    (void)state;
    for (int why = 0; why < 2; why++) {
        struct fake *f = fake_new(NULL);
        struct vhost *v = f->shard->vhost;
        struct conn *c = fake_login(f, "p", 0);
        struct exchange *dlx = exchange_of(f, "dlx", EXCHANGE_FANOUT, false);
        struct queue *q = queue_of(c, "q", 0, OVERFLOW_REJECT, "dlx"),
                     *other = queue_of(c, "o", 0, OVERFLOW_REJECT, NULL);
        bind_all(f, dlx, q);
        bind_all(f, dlx, other);
        struct buf b;
        buf_init(&b, &f->store_mem);
        struct msgview m = {.topic = SLICE("k"), .payload = SLICE("x"), .qos = 1, .flags = MSG_RETAIN};
        m.attrs = died_in(&b, q, why ? DEATH_REJECTED : DEATH_EXPIRED);
        assert_int_equal(broker_publish_dead(v, dlx, &m, q->number, 0), ERR_OK);
        assert_int_equal(q->ready_n, why);
        assert_int_equal(other->ready_n, 1);
        assert_int_equal(first_in(other)->flags & MSG_RETAIN, 0);
        assert_int_equal(fake_stat(f, STAT_DROP_CYCLE), !why);
        queue_delete(other);
        assert_int_equal(broker_publish_dead(v, dlx, &m, q->number, 0), ERR_OK); /* nobody left, and counted once */
        assert_int_equal(fake_stat(f, STAT_DROP_CYCLE), why ? 0 : 2);
        assert_int_equal(fake_stat(f, STAT_NO_MATCH), 0);
        buf_fini(&b);
        fake_free(f);
    }
}

/* ---- the store ----------------------------------------------------------------------------------------------- */

struct seen {
    uint32_t publishes;
    uint64_t queue[4]; /* of their targets */
    uint32_t targets;
};

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct seen *s = ctx;
    if (rec->kind != STORE_PUBLISH)
        return ERR_OK;
    s->publishes++;
    for (uint32_t i = 0; i < rec->target_n && s->targets < ARRAY_N(s->queue); i++)
        s->queue[s->targets++] = rec->target[i].queue;
    return ERR_OK;
}

static struct seen look(struct fake *f)
{
    struct seen s = {0};
    fake_run(f);
    assert_int_equal(store_image_visit(f->image, visit, &s), ERR_OK);
    return s;
}

/* one record moves it: the former one is settled by it; by a plain settle where nothing durable takes it. */
static void one_record(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    for (int durable = 0; durable < 3; durable++) {
        struct fake *f = fake_new(&config);
        struct vhost *v = f->shard->vhost;
        struct conn *c = fake_login(f, "p", 0);
        struct exchange *dlx = exchange_of(f, "dlx", EXCHANGE_FANOUT, false);
        struct queue *q = queue_of(c, "q", 0, OVERFLOW_REJECT, "dlx"),
                     *dead = queue_of(c, "dead", 1, OVERFLOW_REJECT, NULL);
        if (durable)
            bind_all(f, dlx, dead);
        (void)put(c, v->default_exchange, "q", "x");
        if (durable == 2) /* full: refused, and settled all the same */
            (void)put(c, v->default_exchange, "dead", "y");
        struct seen before = look(f);
        assert_int_equal(before.publishes, durable == 2 ? 2 : 1);
        struct entry *e = queue_first(q);
        struct msgview m;
        msg_view(e->msg, &m);
        lsn_t lsn = e->lsn, last = f->shard->lsn_last;
        assert_int_not_equal(lsn, 0);
        static const enum err want[] = {ERR_NO_MATCH, ERR_OK, ERR_FULL};
        assert_int_equal(broker_publish_dead(v, dlx, &m, q->number, lsn), want[durable]);
        assert_int_equal(f->shard->lsn_last, last + 1);
        e->lsn = 0;
        struct seen after = look(f);
        assert_int_equal(after.publishes, durable ? 1 : 0);
        if (durable)
            assert_int_equal(after.queue[0], dead->number);
        fake_free(f);
    }
}

static enum err visit_retained(const struct store_rec *rec, void *ctx)
{
    *(uint32_t *)ctx +=
        rec->kind == STORE_RETAIN || (rec->kind == STORE_PUBLISH && (rec->flags & STORE_PUBLISH_RETAINED));
    return ERR_OK;
}

static uint32_t retained_in_the_store(struct fake *f)
{
    uint32_t n = 0;
    fake_run(f);
    assert_int_equal(store_image_visit(f->image, visit_retained, &n), ERR_OK);
    return n;
}

/* a retained message is in the store as one, until it is cleared; with a delay from when it is published; to another
 * exchange than amq.topic never. */
static void retained_in_store(void **state)
{
    (void)state;
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    struct fake *f = fake_new(&config);
    struct conn *c = fake_login(f, "p", 0);
    struct exchange *x = exchange_of(f, "x", EXCHANGE_FANOUT, false);
    struct msgview v = {.topic = SLICE("t"), .payload = SLICE("x"), .flags = MSG_RETAIN};
    (void)fake_pub_view(c, &v, x, 0);
    assert_int_equal(look(f).publishes, 0);
    assert_int_equal(retained_in_the_store(f), 0);
    (void)fake_pub_view(c, &v, NULL, 0);
    assert_int_equal(retained_in_the_store(f), 1);
    v.payload = SLICE("");
    (void)fake_pub_view(c, &v, NULL, 0);
    assert_int_equal(retained_in_the_store(f), 0);
    v.payload = SLICE("y");
    broker_publish(c, &(struct publish){.msg = v, .receipt = RECEIPT_NONE, .delay_ms = 1000});
    assert_int_equal(look(f).publishes, 1);
    assert_int_equal(retained_in_the_store(f), 0);
    fake_wait(f, 1000);
    assert_int_equal(look(f).publishes, 0);
    assert_int_equal(retained_in_the_store(f), 1);
    fake_free(f);
}

static void dead_without_memory(void **state)
{
    (void)state;
    bool went_through = false;
    for (uint64_t nth = 1; !went_through; nth++) {
        struct fake *f = fake_new(NULL);
        struct vhost *v = f->shard->vhost;
        struct conn *c = fake_login(f, "p", 0);
        struct exchange *dlx = exchange_of(f, "dlx", EXCHANGE_FANOUT, false);
        struct queue *q = queue_of(c, "q", 0, OVERFLOW_REJECT, "dlx"),
                     *other = queue_of(c, "o", 0, OVERFLOW_REJECT, NULL);
        bind_all(f, dlx, q);
        bind_all(f, dlx, other);
        struct buf b;
        buf_init(&b, &f->store_mem);
        struct msgview m = {.topic = SLICE("k"), .payload = SLICE("x"), .qos = 1};
        m.attrs = died_in(&b, q, DEATH_EXPIRED);
        f->heap.fail_at = f->heap.calls + nth;
        enum err e = broker_publish_dead(v, dlx, &m, q->number, 0);
        went_through = f->heap.calls < f->heap.fail_at;
        f->heap.fail_at = 0;
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        assert_int_equal(other->ready_n + fake_stat(f, STAT_DROP_NOMEM), e == ERR_OK);
        assert_int_equal(q->ready_n, 0);
        buf_fini(&b);
        fake_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_for_peers),
        cmocka_unit_test(deleted_exchange),
        cmocka_unit_test(knows_its_exchange),
        cmocka_unit_test(who_refused),
        cmocka_unit_test(refused_to_dead_letters),
        cmocka_unit_test(no_cycles),
        cmocka_unit_test(one_record),
        cmocka_unit_test(retained_in_store),
        cmocka_unit_test(dead_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
