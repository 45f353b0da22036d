/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_restore_random.c: anything that peers may do, in any order; then all of them leave, and what there is is written
 * out as text, before the broker ends and after it began anew: the same, to the letter.
 *
 *     session s1 expires 1700003605123 will w/s1 after 5
 *     rx s1 17
 *     flight s1 #4 sent t/1=m12 qos 2 set 2 raps 0 ids 3,5 returns 0 in own:s1
 *     queue q:jobs ready 2 bytes 14 · bind q:jobs amq.topic t/+ qos 1 ... · entry q:jobs t/1=m13 ...
 *     retained t/1=m9 · delayed amq.topic t/2=m14 at 1700000012345 · exchange x 1 ...
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/delayed.h"
#include "core/page_walk.h"
#include "tests/support/restored.h"

#include "core/tx.h"

#define HOUR_S     3600u
#define SESSIONS   4u
#define LINES_MAX  30000u
#define LINE_BYTES 200u

/* ---- what there is --------------------------------------------------------------------------------------------- */

struct lines {
    unsigned n;
    char v[LINES_MAX][LINE_BYTES];
};

static char *line(struct lines *l)
{
    assert_true(l->n < LINES_MAX);
    return l->v[l->n++];
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void key_of(const struct queue *q, char *out)
{
    struct slice name = q->owner && q->name_len == 0 ? session_id(q->owner) : queue_name(q);
    const char *sort = q->is_group ? "g" : q->is_dsub ? "d" : q->name_len == 0 ? "own" : "q";
    snprintf(out, 40, "%s:" SLICE_FMT, sort, SLICE_ARG(name));
}

static unsigned long long wall(const struct fake *f, mono_ms at)
{
    return at == 0 ? 0 : (unsigned long long)(f->wall_at_0 + at);
}

/* What is told of a message in a queue: of an entry, or of one in a page. */
struct shown {
    const struct msg *msg; /* NULL: the peer has it */
    mono_ms expires_at;
    uint32_t set;
    uint16_t returns;
    uint8_t qos;
    bool retained;
};

static struct shown shown_of(const struct entry *e)
{
    bool has_expiry = e->timed && entry_in_queue(e);
    return (struct shown){.msg = e->msg,
                          .expires_at = has_expiry ? CONTAINER_OF(e, const struct entry_timer, entry)->expires_at : 0,
                          .set = e->set,
                          .returns = e->returns,
                          .qos = e->state == ENTRY_RECEIVED ? 2 : e->qos,
                          .retained = e->retained};
}

/* put_shown: what says where it is. */
static void put_shown(struct lines *out, const struct fake *f, const char *what, const struct queue *q, struct shown e)
{
    char key[40], ids[40] = "", topic[40] = "(the peer has it)";
    const struct binding_set *set = queue_set_get(q, e.set);
    size_t n = 0;
    key_of(q, key);
    for (uint16_t i = 0; i < set->sub_id_n; i++)
        n += (size_t)snprintf(ids + n, sizeof(ids) - n, " id %u", set->sub_id[i]);
    if (e.msg != NULL) {
        struct msgview v;
        msg_view(e.msg, &v);
        snprintf(topic, sizeof(topic), SLICE_FMT "=" SLICE_FMT " p%u", SLICE_ARG(v.topic), SLICE_ARG(v.payload),
                 v.priority);
    }
    snprintf(line(out), LINE_BYTES, "%s %s: %s qos %u set %u %u%s returns %u%s expires %llu", what, key, topic, e.qos,
             set->qos, set->retain_as_published, ids, e.returns, e.retained ? " retained" : "", wall(f, e.expires_at));
}

/* put_page: all it stands for; *at counts them. */
static void put_page(struct lines *out, const struct fake *f, const struct queue *q, const struct page *p, unsigned *at)
{
    struct walk w = walk_begin(p);
    while (walk_on(p, &w)) {
        char place[20];
        const struct msg *m = f->store->ops->read(f->store, w.it.lsn);
        assert_non_null(m);
        snprintf(place, sizeof(place), "entry %04u", (*at)++);
        put_shown(out, f, place, q,
                  (struct shown){.msg = m,
                                 .expires_at = w.it.expires_at,
                                 .set = w.it.set,
                                 .returns = w.it.returns,
                                 .qos = w.it.qos,
                                 .retained = w.it.retained});
        msg_drop(m);
    }
}

static void put_bindings(struct lines *out, struct vhost *v, struct list *bindings, const char *key)
{
    struct router *r = &v->router;
    LIST_EACH(bindings, it)
    {
        const struct binding *b = LIST_ITEM(it, struct binding, in_queue);
        const struct exchange *x = router_source(r, b);
        struct buf path;
        buf_init(&path, r->mem);
        if (x->kind != EXCHANGE_FANOUT)
            trie_path(&r->trie, b->node, &path);
        snprintf(line(out), LINE_BYTES, "bind %s " SLICE_FMT " '%.*s' qos %u rh %u id %u rap %u nl %u", key,
                 SLICE_ARG(exchange_name(x)), (int)path.len, path.len ? (const char *)path.p : "", b->qos,
                 b->retain_handling, b->sub_id, b->retain_as_published, b->no_local);
        buf_fini(&path);
    }
}

static void put_queue(struct lines *out, const struct fake *f, struct queue *q)
{
    char key[40], place[20];
    key_of(q, key);
    snprintf(line(out), LINE_BYTES, "queue %s in flight %u len_max %llu ttl %llu priorities %u", key, q->inflight_n,
             (unsigned long long)q->policy->len_max, (unsigned long long)q->policy->ttl_ms, q->policy->priority_max);
    put_bindings(out, q->vhost, &q->bindings, key);
    unsigned at = 0;
    for (unsigned level = 0; level <= q->policy->priority_max; level++) {
        const struct list *ready = queue_levels(q) ? &queue_levels(q)->level[level] : &q->ready;
        for (const struct list_node *it = list_first(ready); it != NULL; it = list_next(ready, it)) {
            struct entry *e = CONTAINER_OF((struct list_node *)(uintptr_t)it, struct entry, node);
            if (entry_is_page(e)) {
                put_page(out, f, q, entry_page(e), &at);
            } else if (e->qos != 0) { /* the rest does not last */
                snprintf(place, sizeof(place), "entry %04u", at++);
                put_shown(out, f, place, q, shown_of(e));
            }
        }
    }
    assert_true(q->owner != NULL || list_is_empty(&q->consumers)); /* an owner is always in line */
}

static void put_session(struct lines *out, const struct fake *f, struct session *s)
{
    char what[64];
    const struct away *a = s->away;
    assert_non_null(a);
    snprintf(line(out), LINE_BYTES, "session " SLICE_FMT " expires %llu will %s after %u at %llu",
             SLICE_ARG(session_id(s)), wall(f, a->expires_at), a->will ? "yes" : "no", a->will ? a->will_delay_s : 0,
             a->will ? wall(f, a->will_at) : 0);
    for (unsigned id = 1; id < 100; id++) {
        if (rx_has(s, (uint16_t)id))
            snprintf(line(out), LINE_BYTES, "rx " SLICE_FMT " %u", SLICE_ARG(session_id(s)), id);
    }
    LIST_EACH(&s->inflight, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        if (e->at.consumer->queue->is_dead) /* goes with its queue */
            continue;
        snprintf(what, sizeof(what), "flight " SLICE_FMT " #%u%s", SLICE_ARG(session_id(s)), e->ticket,
                 e->state == ENTRY_RECEIVED ? " received" : "");
        put_shown(out, f, what, e->at.consumer->queue, shown_of(e));
    }
    LIST_EACH(&s->consumers, it)
    {
        const struct consumer *k = LIST_ITEM(it, struct consumer, in_session);
        char key[40];
        if (!k->is_member)
            continue;
        key_of(k->queue, key);
        snprintf(line(out), LINE_BYTES, "member " SLICE_FMT " of %s qos %u id %u rap %u", SLICE_ARG(session_id(s)), key,
                 k->qos, k->sub_id, k->retain_as_published);
    }
}

static const char *const topics[] = {"t/1", "t/2", "u", "t/1/x", "$y"};

static void put_rest(struct lines *out, const struct fake *f, struct vhost *v)
{
    uint32_t pos = 0;
    for (struct exchange *x = map_next(&v->exchanges, &pos); x; x = map_next(&v->exchanges, &pos)) {
        snprintf(line(out), LINE_BYTES, "exchange " SLICE_FMT " kind %u number %u bindings %u",
                 SLICE_ARG(exchange_name(x)), x->kind, x->number, x->binding_n);
        char key[40];
        snprintf(key, sizeof(key), "x:" SLICE_FMT, SLICE_ARG(exchange_name(x)));
        put_bindings(out, v, &x->bindings, key);
    }
    for (unsigned i = 0; i < ARRAY_N(topics); i++) {
        const struct msg *m = retained_get(&v->retained, slice_from_str(topics[i]));
        if (m != NULL)
            snprintf(line(out), LINE_BYTES, "retained %s=%.*s expires %llu", topics[i], (int)m->payload_len,
                     (const char *)m->bytes + m->topic_len + m->attrs_len, wall(f, m->expires_at));
    }
    LIST_EACH(&v->delayed.all, it)
    {
        const struct delayed_msg *w = LIST_ITEM(it, struct delayed_msg, node);
        if (w->exchange->is_dead) /* nothing will become of it */
            continue;
        snprintf(line(out), LINE_BYTES, "delayed " SLICE_FMT " %.*s at %llu", SLICE_ARG(exchange_name(w->exchange)),
                 (int)(w->msg->topic_len + w->msg->payload_len), (const char *)w->msg->bytes, wall(f, w->timer.due));
    }
}

static void write_out(struct lines *out, const struct fake *f)
{
    struct vhost *v = f->shard->vhost;
    out->n = 0;
    LIST_EACH(&f->shard->sessions, it)
    {
        struct session *s = LIST_ITEM(it, struct session, all);
        if (!s->is_dead)
            put_session(out, f, s);
    }
    LIST_EACH(&v->queues_all, it)
    put_queue(out, f, LIST_ITEM(it, struct queue, all));
    put_rest(out, f, v);
    qsort(out->v, out->n, LINE_BYTES, by_text);
}

/* ---- what peers do --------------------------------------------------------------------------------------------- */

struct world {
    struct fake *f;
    struct rng rng;
    struct conn *c[SESSIONS]; /* NULL: away */
    struct conn *p;           /* a session that does not last: publishes, declares, consumes */
    struct fake_pipe *pipe[SESSIONS + 1];
    unsigned said;
    bool is_gone[2]; /* exchanges that were deleted: a message delayed for one must not meet another of its name */
    struct lines before, after;
};

/* is_there: is number i (the last one: p) connected? */
static bool is_there(struct world *w, unsigned i)
{
    struct conn **c = i < SESSIONS ? &w->c[i] : &w->p;
    const struct fake_pipe *pipe = w->pipe[i];
    if (*c != NULL && (pipe->is_gone || (*c)->is_closing || !(*c)->session))
        *c = NULL;
    return *c != NULL;
}

static void come(struct world *w, unsigned i)
{
    char id[8], topic[16];
    snprintf(id, sizeof(id), "s%u", i);
    snprintf(topic, sizeof(topic), "w/%s", id);
    struct msgview will = {
        .topic = slice_from_str(topic), .payload = SLICE("gone"), .qos = 1, .flags = MSG_DURABLE | MSG_WILL};
    struct attach a = fake_attach(id, HOUR_S);
    a.quota = 1 + rng_below(&w->rng, 10);
    if (rng_chance(&w->rng, 30)) {
        a.will = &will;
        a.will_delay_s = 1000 + rng_below(&w->rng, 1000);
    }
    struct conn *c = fake_conn(w->f);
    broker_attach(c, &a);
    fake_run(w->f);
    w->c[i] = c;
    w->pipe[i] = fake_pipe_of(c);
}

static const char *const filters[] = {"t/1", "t/+", "#", "u", "t/#", "+/+"};
static const char *const queues[] = {"q0", "q1", "q2"};
static const char *const exchanges[] = {"x0", "x1"};

static struct binding_opts any_opts(struct rng *rng)
{
    return (struct binding_opts){.qos = (uint8_t)rng_below(rng, 3),
                                 .sub_id = rng_chance(rng, 50) ? 1 + rng_below(rng, 9) : 0,
                                 .retain_handling = (uint8_t)rng_below(rng, 3),
                                 .retain_as_published = rng_chance(rng, 30),
                                 .no_local = rng_chance(rng, 20)};
}

static void subscribe(struct world *w, struct conn *c)
{
    struct binding_opts o = any_opts(&w->rng);
    const char *filter = filters[rng_below(&w->rng, ARRAY_N(filters))];
    struct fake_filter ff;
    switch (rng_below(&w->rng, 7)) {
    case 0:
        (void)fake_unsub(c, filter);
        break;
    case 1:
        o.no_local = false;
        broker_subscribe_group(c, SLICE("g"), fake_filter(&ff, filter), &o, verb_next(c));
        break;
    case 2:
        broker_unsubscribe_group(c, SLICE("g"), fake_filter(&ff, filter), verb_next(c));
        break;
    case 3:
        broker_subscribe_queue(c, slice_from_str(queues[rng_below(&w->rng, ARRAY_N(queues))]), &o, verb_next(c));
        break;
    case 4:
        broker_unsubscribe_queue(c, slice_from_str(queues[rng_below(&w->rng, ARRAY_N(queues))]), verb_next(c));
        break;
    default:
        (void)fake_sub_opts(c, filter, &o);
    }
}

static struct msgview any_message(struct world *w, char *payload, size_t cap)
{
    snprintf(payload, cap, "m%u", w->said++);
    bool clears = rng_chance(&w->rng, 5);
    return (struct msgview){.topic = slice_from_str(topics[rng_below(&w->rng, ARRAY_N(topics))]),
                            .payload = clears ? (struct slice){0} : slice_from_str(payload),
                            .qos = (uint8_t)(1 + rng_below(&w->rng, 2)),
                            .priority = (uint8_t)rng_below(&w->rng, 5),
                            .expires_at = rng_chance(&w->rng, 20) ? w->f->now + 3000000 + rng_below(&w->rng, 1000) : 0,
                            .flags = (uint8_t)(MSG_DURABLE | (rng_chance(&w->rng, 20) ? MSG_RETAIN : 0))};
}

static void publish(struct world *w, struct conn *c)
{
    char payload[16];
    struct publish p = {.msg = any_message(w, payload, sizeof(payload)), .receipt = verb_next(c)};
    struct vhost *v = c->session->vhost;
    if (rng_chance(&w->rng, 30)) {
        p.exchange = v->default_exchange;
        p.msg.topic = slice_from_str(queues[rng_below(&w->rng, ARRAY_N(queues))]);
        p.msg.flags = MSG_DURABLE | MSG_STOMP;
    } else if (rng_chance(&w->rng, 20)) {
        p.exchange = exchange_get(v, slice_from_str(exchanges[rng_below(&w->rng, ARRAY_N(exchanges))]));
    }
    if (rng_chance(&w->rng, 10))
        p.delay_ms = rng_chance(&w->rng, 50) ? 10 : 2000000;
    if (p.msg.qos == 2 && c != w->p)
        p.rx_id = (uint16_t)(1 + rng_below(&w->rng, 20));
    broker_publish(c, &p);
}

/* answer: something that was delivered lately, rightly or not. */
static void answer(struct world *w)
{
    static const enum outcome outcomes[] = {OUTCOME_ACK,      OUTCOME_ACK,     OUTCOME_RECEIVED,
                                            OUTCOME_COMPLETE, OUTCOME_REQUEUE, OUTCOME_REJECT};
    struct fake *f = w->f;
    if (f->event_n == 0)
        return;
    const struct fake_event e = f->event[f->event_n - 1 - rng_below(&w->rng, MIN(f->event_n, 30u))];
    enum outcome o = outcomes[rng_below(&w->rng, ARRAY_N(outcomes))];
    for (unsigned i = 0; i <= SESSIONS; i++) {
        struct conn **c = i < SESSIONS ? &w->c[i] : &w->p;
        if (!is_there(w, i) || e.conn != fake_number(*c) || e.ticket == 0)
            continue;
        if (i < SESSIONS && (o == OUTCOME_REQUEUE || o == OUTCOME_REJECT))
            o = OUTCOME_ACK;
        enum err done = broker_settle(*c, e.ticket, o);
        assert_true(done == ERR_OK || done == ERR_NOT_FOUND || done == ERR_PROTOCOL);
        return;
    }
}

static void declare(struct world *w)
{
    static const char *const args[] = {"", "x-max-priority=3", "x-message-ttl=3000000", "x-max-length=5",
                                       "x-dead-letter-exchange=;x-dead-letter-routing-key=q1;x-delivery-limit=2"};
    struct conn *c = w->p;
    const char *name = queues[rng_below(&w->rng, ARRAY_N(queues))];
    uint32_t from_i = rng_below(&w->rng, ARRAY_N(exchanges));
    const char *from = exchanges[from_i], *to = exchanges[rng_below(&w->rng, ARRAY_N(exchanges))];
    struct vhost *v = c->session->vhost;
    struct queue *q = map_get(&v->queues, slice_from_str(name));
    struct exchange *x = exchange_get(v, slice_from_str(from)), *y = exchange_get(v, slice_from_str(to));
    struct fake_filter ff;
    struct declared d;
    const char *filter = filters[rng_below(&w->rng, ARRAY_N(filters))];
    switch (rng_below(&w->rng, 8)) {
    case 0:
    case 1:
        (void)verb_declare(c, name, args[rng_below(&w->rng, ARRAY_N(args))], &d);
        break;
    case 2:
        if (rng_chance(&w->rng, 30))
            broker_delete_queue(c, slice_from_str(name), (struct queue_end){0}, verb_next(c));
        break;
    case 3:
        if (x == NULL && !w->is_gone[from_i])
            (void)verb_exchange(c, from, rng_chance(&w->rng, 50) ? EXCHANGE_TOPIC : EXCHANGE_FANOUT, true);
        break;
    case 4:
        if (x != NULL && q != NULL)
            broker_bind(c, x, verb_filter(&ff, x, filter), q, verb_next(c));
        break;
    case 5:
        if (q != NULL)
            broker_bind(c, v->topic_exchange, fake_filter(&ff, filter), q, verb_next(c));
        break;
    case 6:
        if (x != NULL && y != NULL && x != y)
            broker_bind_exchange(c, x, verb_filter(&ff, x, filter), y, verb_next(c));
        break;
    default:
        if (x == NULL || rng_chance(&w->rng, 80))
            break;
        broker_delete_exchange(c, slice_from_str(from), false, verb_next(c));
        w->is_gone[from_i] = true;
    }
}

static void consume(struct world *w)
{
    enum err e;
    struct queue *q = broker_queue(w->p, slice_from_str(queues[rng_below(&w->rng, ARRAY_N(queues))]), &e);
    if (q == NULL)
        return;
    const struct consume how = {.mode = ACK_EACH, .prefetch = 3, .qos = 2, .receipt = verb_next(w->p)};
    struct consumer *k = broker_consume_queue(w->p, q, &how);
    fake_run(w->f);
    for (unsigned i = 0; i < 4; i++)
        answer(w);
    broker_cancel(w->p, k, verb_next(w->p));
}

static void transact(struct world *w)
{
    struct tx *t = tx_new(w->p);
    assert_non_null(t);
    for (unsigned i = 0; i < 3; i++) {
        char payload[16];
        struct publish p = {.msg = any_message(w, payload, sizeof(payload)), .receipt = RECEIPT_NONE};
        p.msg.flags = MSG_DURABLE;
        (void)!tx_publish(w->p, t, &p);
    }
    if (rng_chance(&w->rng, 70))
        tx_commit(w->p, t, verb_next(w->p));
    else
        tx_abort(w->p, t);
}

static void one_step(struct world *w)
{
    unsigned i = rng_below(&w->rng, SESSIONS);
    struct fake *f = w->f;
    if (!is_there(w, SESSIONS)) {
        w->p = fake_login(f, "", 0);
        w->pipe[SESSIONS] = fake_pipe_of(w->p);
    }
    uint32_t what = rng_below(&w->rng, 100);
    if (what < 10) {
        if (!is_there(w, i)) {
            come(w, i);
        } else {
            verb_hang_up(w->c[i]);
            w->c[i] = NULL;
        }
    } else if (what < 25) {
        if (is_there(w, i))
            subscribe(w, w->c[i]);
    } else if (what < 55) {
        publish(w, is_there(w, i) && rng_chance(&w->rng, 50) ? w->c[i] : w->p);
    } else if (what < 75) {
        answer(w);
    } else if (what < 80) {
        if (is_there(w, i))
            broker_rx_release(w->c[i], (uint16_t)(1 + rng_below(&w->rng, 20)), verb_next(w->c[i]));
    } else if (what < 90) {
        declare(w);
    } else if (what < 94) {
        consume(w);
    } else if (what < 96) {
        transact(w);
    } else if (what < 97) {
        for (uint32_t n = rng_below(&w->rng, 150); n > 0; n--)
            publish(w, w->p);
    } else {
        fake_wait(f, rng_below(&w->rng, 200));
    }
    if (rng_chance(&w->rng, 60))
        fake_run(f);
}

static void tell_differences(const struct world *w, uint64_t seed, unsigned life)
{
    unsigned a = 0, b = 0, found = 0;
    while (a < w->before.n || b < w->after.n) {
        int order = a == w->before.n ? 1 : b == w->after.n ? -1 : strcmp(w->before.v[a], w->after.v[b]);
        if (order < 0)
            print_error("was: %s\n", w->before.v[a]);
        if (order > 0)
            print_error("is:  %s\n", w->after.v[b]);
        found += order != 0;
        a += order <= 0;
        b += order >= 0;
    }
    if (found != 0)
        fail_msg("seed %llu, life %u", (unsigned long long)seed, life);
}

/* compare: everybody leaves; the broker ends and begins anew; nothing has changed. */
static void compare(struct world *w, uint64_t seed, unsigned life)
{
    struct fake *f = w->f;
    fake_run(f);
    for (unsigned i = 0; i < SESSIONS; i++) {
        if (is_there(w, i))
            verb_hang_up(w->c[i]);
        w->c[i] = NULL;
    }
    if (is_there(w, SESSIONS))
        verb_hang_up(w->p);
    w->p = NULL;
    fake_run(f);
    write_out(&w->before, f);
    restart(f, life % 2 == 0 ? FAKE_CRASHES : FAKE_CLOSES, 0);
    write_out(&w->after, f);
    tell_differences(w, seed, life);
}

/* broker_new: every other one is short of memory from the beginning, so that what waits becomes pages. */
static struct fake *broker_new(bool is_short)
{
    struct fake_config config;
    fake_config_init(&config);
    config.has_store = true;
    config.is_log_like = true;
    config.limits.memory_soft_mark = is_short ? 1 : 0;
    config.limits.memory_high_mark = config.limits.memory_hard_mark = is_short ? UINT64_C(1) << 40 : 0;
    struct fake *f = fake_new(&config);
    assert_non_null(f);
    return f;
}

static void the_same_to_the_letter(void **state)
{
    (void)state;
    struct world *w = test_calloc(1, sizeof(*w));
    uint64_t paged = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        *w = (struct world){.f = broker_new(seed % 2 == 0)};
        rng_init(&w->rng, seed);
        for (unsigned life = 0; life < 5; life++) {
            for (unsigned i = 0; i < 80; i++)
                one_step(w);
            paged += fake_stat(w->f, STAT_PAGED_OUT);
            compare(w, seed, life);
        }
        fake_free(w->f);
    }
    assert_true(paged > 100);
    test_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_to_the_letter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
