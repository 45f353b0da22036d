/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tx_random.c: random transactions over three queues that refuse, mixed with publishes and answers outside of
 * them, beside a model that keeps every message: where it waits, who has it, in which order, and which commits are
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/tx_bench.h"

/* ---- random transactions, beside a model --------------------------------------------------------------------- */

enum { QUEUES = 3, OPEN = 4, LEN_MAX = 12, PREFETCH = 3, IDS = 4096, ACTIONS = 64 };

enum place { NOWHERE, READY, FLYING, DONE };

/* One message, where the model has it. */
struct thing {
    enum place place;
    unsigned queue;
    uint64_t seq;
    uint32_t ticket;
    bool in_tx;
};

struct deed {
    bool is_publish;
    unsigned queue; /* QUEUES: to all of them */
    unsigned id;    /* of the answered one */
    enum outcome outcome;
};

struct model {
    struct fake *f;
    struct conn *c;
    struct queue *q[QUEUES];
    struct exchange *all;
    struct rng r;
    struct thing thing[IDS];
    unsigned id_n;
    uint64_t seq;
    struct tx *t[OPEN];
    struct deed deed[OPEN][ACTIONS];
    unsigned deed_n[OPEN];
    uint32_t seen; /* events looked at */
    uint64_t commits, refusals;
};

static unsigned ready_of(const struct model *m, unsigned queue)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->id_n; i++)
        n += m->thing[i].place == READY && m->thing[i].queue == queue;
    return n;
}

static unsigned flying_of(const struct model *m, unsigned queue)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->id_n; i++)
        n += m->thing[i].place == FLYING && m->thing[i].queue == queue;
    return n;
}

static void model_add(struct model *m, unsigned queue)
{
    assert_true(m->id_n < IDS);
    m->thing[m->id_n++] = (struct thing){.place = READY, .queue = queue, .seq = m->seq++};
}

/* model_publish: one message, or one to each queue; ids are given in the order of the queues. */
static void model_publish(struct model *m, unsigned queue)
{
    for (unsigned i = 0; i < QUEUES; i++)
        if (queue == QUEUES || queue == i)
            model_add(m, i);
}

static void model_answer(struct model *m, unsigned id, enum outcome o)
{
    struct thing *x = &m->thing[id];
    assert_int_equal(x->place, FLYING);
    x->in_tx = false;
    x->place = o == OUTCOME_REQUEUE ? READY : DONE;
}

/* model_fits: would so many more be taken by each queue? */
static bool model_fits(const struct model *m, const unsigned more[QUEUES])
{
    for (unsigned i = 0; i < QUEUES; i++)
        if (ready_of(m, i) + more[i] > LEN_MAX && more[i] > 0)
            return false;
    return true;
}

/* model_dispatch: the oldest go out while there is credit. */
static void model_dispatch(struct model *m)
{
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        while (flying_of(m, queue) < PREFETCH) {
            struct thing *first = NULL;
            for (unsigned i = 0; i < m->id_n; i++) {
                struct thing *x = &m->thing[i];
                if (x->place == READY && x->queue == queue && (!first || x->seq < first->seq))
                    first = x;
            }
            if (!first)
                break;
            first->place = FLYING;
        }
    }
}

/* id_of: the nth message that ever came to this queue: that is what an entry's seq says. */
static unsigned id_of(const struct model *m, unsigned queue, unsigned nth)
{
    for (unsigned i = 0; i < m->id_n; i++)
        if (m->thing[i].queue == queue && nth-- == 0)
            return i;
    fail_msg("the broker made a message of its own");
    return 0;
}

/* compare: what waits and what is in flight is what the model says; tickets are taken down. */
static void compare(struct model *m)
{
    fake_run(m->f);
    model_dispatch(m);
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        unsigned last = 0, n = 0;
        LIST_EACH(&m->q[queue]->ready, it)
        {
            unsigned id = id_of(m, queue, (unsigned)LIST_ITEM(it, struct entry, node)->seq);
            assert_int_equal(m->thing[id].place, READY);
            assert_true(n == 0 || id > last);
            last = id;
            n++;
        }
        assert_int_equal(n, ready_of(m, queue));
        assert_int_equal(m->q[queue]->inflight_n, flying_of(m, queue));
    }
    LIST_EACH(&m->c->session->inflight, it)
    {
        const struct entry *e = LIST_ITEM(it, struct entry, node);
        unsigned queue = 0;
        while (m->q[queue] != e->at.consumer->queue)
            queue++;
        struct thing *x = &m->thing[id_of(m, queue, (unsigned)e->seq)];
        assert_int_equal(x->place, FLYING);
        assert_int_equal(x->in_tx, e->in_tx);
        x->ticket = e->ticket;
    }
    fake_forget(m->f);
}

static struct publish any_publish(struct model *m, unsigned queue)
{
    static const char *const name[] = {"q0", "q1", "q2", "any"};
    struct publish p = publish_of(m->c, name[queue], "x");
    if (queue == QUEUES)
        p.exchange = m->all;
    return p;
}

/* any_flying: one that is not spoken for, or IDS. */
static unsigned any_flying(struct model *m)
{
    unsigned start = (unsigned)rng_below(&m->r, m->id_n + 1);
    for (unsigned i = 0; i < m->id_n; i++) {
        unsigned id = (start + i) % m->id_n;
        if (m->thing[id].place == FLYING && !m->thing[id].in_tx)
            return id;
    }
    return IDS;
}

static void do_now(struct model *m)
{
    unsigned queue = (unsigned)rng_below(&m->r, QUEUES + 1);
    unsigned id = any_flying(m);
    if (rng_chance(&m->r, 50)) {
        struct publish p = any_publish(m, queue);
        unsigned more[QUEUES];
        for (unsigned i = 0; i < QUEUES; i++)
            more[i] = queue == i || queue == QUEUES;
        uint64_t refused = fake_stat(m->f, STAT_REFUSED);
        broker_publish(m->c, &p);
        bool fits = model_fits(m, more);
        assert_int_equal(fake_stat(m->f, STAT_REFUSED) - refused, !fits);
        if (fits)
            model_publish(m, queue);
    } else if (id != IDS) {
        enum outcome o = rng_chance(&m->r, 70) ? OUTCOME_ACK : OUTCOME_REQUEUE;
        assert_int_equal(broker_settle(m->c, m->thing[id].ticket, o), ERR_OK);
        model_answer(m, id, o);
    }
}

static void do_in_tx(struct model *m, unsigned which)
{
    if (m->deed_n[which] == ACTIONS)
        return;
    struct deed *d = &m->deed[which][m->deed_n[which]];
    unsigned id = any_flying(m);
    *d = (struct deed){.is_publish = rng_chance(&m->r, 60), .queue = (unsigned)rng_below(&m->r, QUEUES + 1), .id = id};
    if (d->is_publish) {
        struct publish p = any_publish(m, d->queue);
        assert_int_equal(tx_publish(m->c, m->t[which], &p), ERR_OK);
    } else if (id != IDS) {
        d->outcome = rng_chance(&m->r, 70) ? OUTCOME_ACK : rng_chance(&m->r, 50) ? OUTCOME_REQUEUE : OUTCOME_REJECT;
        assert_int_equal(tx_settle(m->c, m->t[which], m->thing[id].ticket, d->outcome, false), ERR_OK);
        m->thing[id].in_tx = true;
    } else {
        return;
    }
    m->deed_n[which]++;
}

static void do_commit(struct model *m, unsigned which)
{
    unsigned more[QUEUES] = {0};
    for (unsigned i = 0; i < m->deed_n[which]; i++)
        for (unsigned k = 0; k < QUEUES; k++)
            more[k] +=
                m->deed[which][i].is_publish && (m->deed[which][i].queue == k || m->deed[which][i].queue == QUEUES);
    bool fits = model_fits(m, more);
    assert_int_equal(commit(m->c, m->t[which]), fits ? ERR_OK : ERR_FULL);
    m->t[which] = NULL;
    m->commits += fits;
    m->refusals += !fits;
    for (unsigned i = 0; i < m->deed_n[which]; i++) {
        const struct deed *d = &m->deed[which][i];
        if (fits && d->is_publish)
            model_publish(m, d->queue);
        else if (fits)
            model_answer(m, d->id, d->outcome);
        else if (!d->is_publish)
            m->thing[d->id].in_tx = false;
    }
}

static void do_abort(struct model *m, unsigned which)
{
    tx_abort(m->c, m->t[which]);
    m->t[which] = NULL;
    for (unsigned i = 0; i < m->deed_n[which]; i++)
        if (!m->deed[which][i].is_publish)
            m->thing[m->deed[which][i].id].in_tx = false;
}

static void step(struct model *m)
{
    unsigned which = (unsigned)rng_below(&m->r, OPEN);
    uint64_t dice = rng_below(&m->r, 100);
    if (!m->t[which]) {
        m->t[which] = begin(m->c);
        m->deed_n[which] = 0;
    } else if (dice < 25) {
        do_now(m);
    } else if (dice < 85) {
        do_in_tx(m, which);
    } else if (dice < 95) {
        do_commit(m, which);
    } else {
        do_abort(m, which);
    }
    compare(m);
}

static void play(struct model *m, uint64_t seed)
{
    static const char *const name[QUEUES] = {"q0", "q1", "q2"};
    const char *differs;
    struct exchange_spec spec = {.name = SLICE("all"), .kind = EXCHANGE_FANOUT};
    memset(m, 0, sizeof(*m));
    rng_init(&m->r, seed);
    m->f = fake_new(NULL);
    m->c = fake_login(m->f, "", 0);
    assert_int_equal(exchange_declare_as(m->f->shard->vhost, &spec, &m->all, &differs), ERR_OK);
    for (unsigned i = 0; i < QUEUES; i++) {
        struct binding *b;
        bool is_new;
        m->q[i] = declare_full(m->c, name[i], LEN_MAX, 0);
        consume(m->c, m->q[i], ACK_EACH, PREFETCH);
        assert_int_equal(router_bind(&m->f->shard->vhost->router, m->all, &(struct filter){0}, m->q[i],
                                     &(struct binding_opts){.qos = 2}, &b, &is_new),
                         ERR_OK);
    }
    for (unsigned i = 0; i < 400; i++)
        step(m);
    for (unsigned i = 0; i < OPEN; i++)
        if (m->t[i])
            do_abort(m, i);
    compare(m);
    fake_free(m->f);
}

static void beside_a_model(void **state)
{
    (void)state;
    static struct model m;
    uint64_t commits = 0, refusals = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        play(&m, seed);
        commits += m.commits;
        refusals += m.refusals;
    }
    assert_true(commits > 500 && refusals > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beside_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
