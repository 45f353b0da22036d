/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adapter_suite.c: the contract of core/adapter.h, watched from both sides.
 *
 *     rig (clock, pipes) ─► conn ─► spy ─► the adapter
 *                                    │
 *                                    └── per connection: opened, ticked, attached, closed, destroyed, in this order?
 *                                        input untouched, and gone afterwards (it ends at a forbidden page)?
 *
 * Invariants
 *   1. The spy calls the adapter exactly as core did, with an input copy that nobody may keep a view of.
 *   2. A broken promise fails the test at once, with its name.
 * Cost    out-of-memory tests run the scenario once per allocation in it, a few hundred times.
 * Thread  one. Included by the programs test_adapter_*.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/broker.h"
#include "core/queue.h"
#include "tests/contract/adapter_suite.h"
#include "tests/support/guard.h"
#include "tests/support/rig.h"

enum { WATCHED_MAX = 32, GARBAGE_RUNS = 3000, LONG_AGO_MS = 3600 * 1000 };

/* ---- the spy ------------------------------------------------------------------------------------------------- */

struct watched {
    const struct conn *conn;
    uint32_t opened, ticked, attached, closed, destroyed, settled, delivered, gone, bytes_calls;
    enum close_reason why;
};

/* One for the program: slots of an ops table carry no context. */
static struct {
    const struct adapter_fixture *f;
    struct adapter_ops ops;
    const struct adapter_ops *table[2];
    struct watched conn[WATCHED_MAX];
    uint32_t conn_n;
} spy;

static struct watched *watched_of(const struct conn *c)
{
    for (uint32_t i = spy.conn_n; i-- > 0;)
        if (spy.conn[i].conn == c && spy.conn[i].destroyed == 0)
            return &spy.conn[i];
    fail_msg("a slot is called for a connection that was never opened");
    return NULL;
}

/* alive: the connection is between open and on_close. */
static struct watched *alive(const struct conn *c)
{
    struct watched *w = watched_of(c);
    assert_int_equal(w->opened, 1);
    assert_int_equal(w->closed, 0);
    return w;
}

static enum claim spy_claims(const uint8_t *first, size_t len)
{
    assert_true(len >= 1 && len <= CLAIM_BYTES_MAX);
    uint8_t *copy = guard_bytes(first, len);
    enum claim answer = spy.f->ops->claims(copy, len);
    assert_int_equal(spy.f->ops->claims(copy, len), answer); /* pure */
    assert_memory_equal(copy, first, len);
    guard_free(copy);
    return answer;
}

static enum err spy_open(struct conn *c)
{
    assert_true(spy.conn_n < WATCHED_MAX);
    struct watched *w = &spy.conn[spy.conn_n++];
    *w = (struct watched){.conn = c, .opened = 1};
    const uint8_t *state = conn_state(c);
    for (size_t i = 0; i < CONN_STATE_BYTES; i++)
        assert_int_equal(state[i], 0);
    return spy.f->ops->open(c);
}

static size_t spy_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    struct watched *w = alive(c);
    assert_true(w->ticked > 0); /* once right after open */
    assert_false(conn_is_closing(c));
    w->bytes_calls++;
    uint8_t *copy = guard_bytes(in, len);
    struct ref *reading = c->shard->reading;
    c->shard->reading = NULL; /* no references: what outlives the slot must be copied */
    size_t eaten = spy.f->ops->on_bytes(c, copy, len);
    c->shard->reading = reading;
    assert_memory_equal(copy, in, len); /* not modified */
    guard_free(copy);
    assert_true(eaten <= len);
    if (conn_is_closing(c) && c->reason != CLOSE_NOMEM)
        assert_int_equal(eaten, len);
    return eaten;
}

static void spy_on_attached(struct conn *c, const struct attached *a)
{
    struct watched *w = alive(c);
    assert_int_equal(w->attached++, 0); /* once */
    spy.f->ops->on_attached(c, a);
    if (a->result != ERR_OK)
        assert_true(conn_is_closing(c));
}

static enum err spy_on_deliver(struct conn *c, const struct delivery *d)
{
    struct watched *w = alive(c);
    size_t before = c->out != NULL ? c->out->bytes : 0;
    bool was_closing = conn_is_closing(c);
    assert_int_equal(w->attached, 1);
    enum err e = spy.f->ops->on_deliver(c, d);
    if (e == ERR_OK)
        assert_true(c->out != NULL && (c->out->bad || c->out->bytes > before));
    else
        assert_true(e == ERR_TOO_BIG || e == ERR_NOMEM);
    if (e == ERR_TOO_BIG)
        assert_true((c->out != NULL ? c->out->bytes : 0) == before);
    if (e != ERR_NOMEM)
        assert_int_equal(conn_is_closing(c), was_closing);
    w->delivered += e == ERR_OK;
    return e;
}

static void spy_on_release(struct conn *c, uint32_t ticket)
{
    alive(c);
    spy.f->ops->on_release(c, ticket);
}

static void spy_on_settled(struct conn *c, uint64_t receipt, enum err result)
{
    struct watched *w = alive(c);
    assert_true(receipt != RECEIPT_NONE);
    w->settled++;
    spy.f->ops->on_settled(c, receipt, result);
}

static void spy_on_consumer_gone(struct conn *c, struct consumer *k)
{
    struct watched *w = alive(c);
    assert_ptr_equal(k->session, c->session); /* its own, and still whole */
    w->gone++;
    spy.f->ops->on_consumer_gone(c, k);
}

static mono_ms spy_on_tick(struct conn *c, mono_ms now)
{
    struct watched *w = alive(c);
    w->ticked++;
    mono_ms next = spy.f->ops->on_tick(c, now);
    if (!conn_is_closing(c))
        assert_true(next > now); /* else it would be called for ever */
    return next;
}

static void spy_on_close(struct conn *c, enum close_reason why)
{
    struct watched *w = alive(c);
    assert_true(conn_is_closing(c));
    w->why = why;
    spy.f->ops->on_close(c, why);
    w->closed = 1;
}

static void spy_destroy(struct conn *c)
{
    struct watched *w = watched_of(c);
    assert_int_equal(w->closed, 1);
    assert_null(c->session); /* detached already */
    spy.f->ops->destroy(c);
    w->destroyed = 1;
}

static void spy_init(const struct adapter_fixture *f)
{
    memset(&spy, 0, sizeof spy);
    spy.f = f;
    spy.ops = *f->ops;
    spy.ops.claims = spy_claims;
    spy.ops.open = spy_open;
    spy.ops.on_bytes = spy_on_bytes;
    spy.ops.on_attached = spy_on_attached;
    spy.ops.on_deliver = spy_on_deliver;
    spy.ops.on_release = spy_on_release;
    spy.ops.on_settled = spy_on_settled;
    spy.ops.on_consumer_gone = f->ops->on_consumer_gone != NULL ? spy_on_consumer_gone : NULL;
    spy.ops.on_tick = spy_on_tick;
    spy.ops.on_close = spy_on_close;
    spy.ops.destroy = spy_destroy;
    spy.table[0] = &spy.ops;
}

/* all_ended: on_close exactly once and destroy exactly once for everything that was opened. */
static void all_ended(void)
{
    for (uint32_t i = 0; i < spy.conn_n; i++) {
        assert_int_equal(spy.conn[i].closed, 1);
        assert_int_equal(spy.conn[i].destroyed, 1);
    }
}

/* ---- helpers ------------------------------------------------------------------------------------------------- */

static struct rig *start(const struct adapter_fixture *f, struct rig_config *config)
{
    struct rig_config plain;
    rig_config_init(&plain);
    if (config == NULL)
        config = &plain;
    spy_init(f);
    config->adapters = spy.table;
    return rig_new(config);
}

static void finish(struct rig *r)
{
    shard_check(r->shard);
    r->is_holding = false;
    assert_false(r->is_stuck);
    assert_true(rig_free(r)); /* every byte came back */
    all_ended();
}

static void say(struct rig_pipe *p, struct slice s)
{
    rig_send(p, s.p, s.len);
    rig_run(p->rig);
}

/* logged_in: a new connection with a session. */
static struct rig_pipe *logged_in(struct rig *r, struct slice login)
{
    struct rig_pipe *p = rig_connect(r);
    say(p, login);
    assert_false(rig_is_closed(p));
    assert_true(spy.conn_n > 0 && spy.conn[spy.conn_n - 1].attached == 1);
    if (spy.f->greets)
        assert_true(p->out.len > 0);
    return p;
}

static struct conn *conn_of(struct rig_pipe *p)
{
    return p->transport.up;
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void test_table_is_complete(void **state)
{
    const struct adapter_ops *a = ((const struct adapter_fixture *)*state)->ops;
    assert_true(a->name != NULL && a->name[0] != '\0');
    assert_true(a->claims != NULL && a->open != NULL && a->on_bytes != NULL && a->on_attached != NULL);
    assert_true(a->on_deliver != NULL && a->on_release != NULL && a->on_settled != NULL && a->on_tick != NULL);
    assert_true(a->on_close != NULL && a->destroy != NULL);
}

static enum claim claim_of(const struct adapter_fixture *f, struct slice s, size_t len)
{
    uint8_t *copy = guard_bytes(s.p, len); /* reads no further */
    enum claim answer = f->ops->claims(copy, len);
    guard_free(copy);
    return answer;
}

static void test_claims_its_own(void **state)
{
    const struct adapter_fixture *f = *state;
    assert_true(f->first_n > 0);
    for (size_t i = 0; i < f->first_n; i++) {
        size_t most = MIN(f->first[i].len, (size_t)CLAIM_BYTES_MAX);
        enum claim before = CLAIM_MORE;
        for (size_t len = 1; len <= most; len++) {
            enum claim now = claim_of(f, f->first[i], len);
            assert_int_not_equal(now, CLAIM_NO);
            assert_true(now >= before); /* YES stays YES */
            before = now;
        }
        assert_int_equal(before, CLAIM_YES);
    }
}

static void test_claims_nothing_else(void **state)
{
    const struct adapter_fixture *f = *state;
    assert_true(f->foreign_n > 0);
    for (size_t i = 0; i < f->foreign_n; i++) {
        size_t most = MIN(f->foreign[i].len, (size_t)CLAIM_BYTES_MAX);
        bool no = false;
        for (size_t len = 1; len <= most; len++) {
            enum claim now = claim_of(f, f->foreign[i], len);
            assert_int_not_equal(now, CLAIM_YES);
            if (no)
                assert_int_equal(now, CLAIM_NO); /* NO stays NO */
            no = now == CLAIM_NO;
        }
        assert_true(no);
    }
    struct rng rng;
    rng_init(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        uint8_t any[CLAIM_BYTES_MAX];
        for (size_t k = 0; k < sizeof any; k++)
            any[k] = (uint8_t)rng_u64(&rng);
        enum claim now = claim_of(f, slice_make(any, sizeof any), 1 + (size_t)(rng_u64(&rng) % sizeof any));
        assert_true(now == CLAIM_NO || now == CLAIM_MORE || now == CLAIM_YES);
    }
}

static void test_life(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig *r = start(f, NULL);
    struct rig_pipe *a = logged_in(r, f->login), *b = logged_in(r, f->login_b);
    size_t said = b->out.len;
    say(b, f->subscribe);
    assert_true(b->out.len > said); /* answered */
    said = b->out.len;
    say(a, f->publish);
    assert_true(spy.conn[0].settled > 0);
    assert_int_equal(spy.conn[1].delivered, 1);
    assert_true(b->out.len > said);
    say(a, f->goodbye);
    assert_true(rig_is_closed(a));
    assert_int_equal(spy.conn[0].why, CLOSE_GOODBYE);
    finish(r);
}

static void test_partial_input_waits(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig *r = start(f, NULL);
    struct rig_pipe *a = logged_in(r, f->login), *b = logged_in(r, f->login_b);
    say(b, f->subscribe);
    for (size_t i = 0; i < f->publish.len; i++) {
        assert_int_equal(spy.conn[1].delivered, 0);
        assert_false(rig_is_closed(a));
        say(a, slice_make(f->publish.p + i, 1));
    }
    assert_int_equal(spy.conn[1].delivered, 1);
    finish(r);
}

static void test_receipts_wait_for_the_store(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig_config config;
    rig_config_init(&config);
    config.has_store = true;
    struct rig *r = start(f, &config);
    struct rig_pipe *a = logged_in(r, f->login);
    say(a, f->subscribe);
    uint32_t before = spy.conn[0].settled;
    r->is_holding = true;
    say(a, f->publish);
    if (f->lasts)
        assert_int_equal(spy.conn[0].settled, before);
    size_t said = a->out.len;
    r->is_holding = false;
    rig_run(r);
    assert_true(spy.conn[0].settled > before);
    if (f->lasts)
        assert_true(a->out.len > said);
    r->is_holding = true;
    say(a, f->subscribe);
    say(a, f->publish);
    a->is_reset = true; /* gone with receipts still owed */
    rig_run(r);
    finish(r);
}

enum ending { END_GOODBYE, END_BAD, END_EOF, END_RESET, END_SILENCE, END_ADMIN, END_SHUTDOWN, END_NOW, END_N };

static void end_it(struct rig_pipe *p, enum ending how)
{
    const struct adapter_fixture *f = spy.f;
    switch (how) {
    case END_GOODBYE:
        say(p, f->goodbye);
        break;
    case END_BAD:
        say(p, f->bad);
        break;
    case END_EOF:
        p->is_eof = true;
        break;
    case END_RESET:
        p->is_reset = true;
        break;
    case END_SILENCE:
        rig_wait(p->rig, f->silence_ms);
        break;
    case END_ADMIN:
        conn_close(conn_of(p), CLOSE_ADMIN);
        break;
    case END_SHUTDOWN:
        shard_stop(p->rig->shard, 1000, NULL, NULL);
        break;
    default:
        return; /* with the whole broker */
    }
    rig_run(p->rig);
    assert_true(rig_is_closed(p));
}

static void every_end(const struct adapter_fixture *f, struct slice before)
{
    for (enum ending how = END_GOODBYE; how < END_N; how++) {
        static const enum close_reason whys[END_N] = {CLOSE_GOODBYE, CLOSE_NONE,  CLOSE_EOF,      CLOSE_RESET,
                                                      CLOSE_NONE,    CLOSE_ADMIN, CLOSE_SHUTDOWN, CLOSE_NONE};
        struct rig *r = start(f, NULL);
        struct rig_pipe *a = logged_in(r, spy.f->login);
        say(a, spy.f->subscribe);
        say(a, spy.f->publish);
        say(a, before);
        assert_false(rig_is_closed(a)); /* the fixture's words are good ones */
        end_it(a, how);
        if (whys[how] != CLOSE_NONE)
            assert_int_equal(spy.conn[0].why, whys[how]);
        rig_wait(r, LONG_AGO_MS);
        finish(r);
    }
}

static void test_every_end(void **state)
{
    every_end(*state, SLICE(""));
}

/* With transactions, handshakes and the like left open: nothing of them stays, and nobody is called back. */
static void test_every_end_of_unfinished(void **state)
{
    every_end(*state, ((const struct adapter_fixture *)*state)->unfinished);
}

/* A named queue ends under its consumers: each is told once, with deliveries of that queue in flight or without. */
static void test_queue_ends(void **state)
{
    const struct adapter_fixture *f = *state;
    for (unsigned busy = 0; busy < 2; busy++) {
        struct rig *r = start(f, NULL);
        struct rig_pipe *a = logged_in(r, f->login), *b = logged_in(r, f->login_b);
        say(a, f->consume);
        say(b, f->consume);
        say(b, busy != 0 ? f->produce : SLICE(""));
        assert_int_equal(spy.conn[0].delivered + spy.conn[1].delivered, busy);
        struct queue *q = map_get(&r->shard->vhost->queues, slice_from_str(f->queue));
        assert_non_null(q);
        queue_delete(q);
        rig_run(r);
        shard_check(r->shard);
        if (f->ops->on_consumer_gone != NULL)
            assert_int_equal(spy.conn[0].gone + spy.conn[1].gone, 2);
        assert_int_equal(rig_is_closed(a), f->gone_ends);
        assert_int_equal(rig_is_closed(b), f->gone_ends);
        if (!f->gone_ends)
            say(a, f->goodbye);
        finish(r);
    }
}

static void test_every_end_before_login(void **state)
{
    for (enum ending how = END_EOF; how < END_N; how++) {
        struct rig *r = start(*state, NULL);
        struct rig_pipe *p = rig_connect(r);
        size_t most = MIN(spy.f->login.len - 1, (size_t)CLAIM_BYTES_MAX);
        say(p, slice_make(spy.f->login.p, most));
        assert_int_equal(spy.conn_n, 1); /* claimed, not logged in */
        if (how == END_SILENCE)
            rig_wait(r, r->shard->limits.login_ms);
        else
            end_it(p, how);
        rig_wait(r, LONG_AGO_MS);
        finish(r);
    }
}

static void test_refused_login(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig_config config;
    rig_config_init(&config);
    config.refuses_anonymous = true;
    struct rig *r = start(f, &config);
    struct rig_pipe *p = rig_connect(r);
    say(p, f->login);
    say(p, f->publish); /* is not looked at */
    assert_true(rig_is_closed(p));
    assert_true(p->out.len > 0); /* told so */
    assert_int_equal(spy.conn[0].attached, 1);
    assert_int_equal(spy.conn[0].bytes_calls, 1);
    assert_int_equal(spy.conn[0].why, CLOSE_NOT_AUTHORIZED);
    finish(r);
}

static void test_taken_over(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig *r = start(f, NULL);
    struct rig_pipe *a = logged_in(r, f->login);
    struct rig_pipe *b = logged_in(r, f->login);
    assert_int_equal(rig_is_closed(a), f->is_named);
    if (f->is_named)
        assert_int_equal(spy.conn[0].why, CLOSE_TAKEN_OVER);
    assert_false(rig_is_closed(b));
    finish(r);
}

static void test_silence_is_noticed_no_earlier(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig *r = start(f, NULL);
    struct rig_pipe *a = logged_in(r, f->login);
    rig_wait(r, f->silence_ms / 2);
    assert_false(rig_is_closed(a));
    say(a, f->publish); /* speaks again */
    rig_wait(r, f->silence_ms / 2);
    assert_false(rig_is_closed(a));
    rig_wait(r, f->silence_ms);
    assert_true(rig_is_closed(a));
    assert_int_equal(spy.conn[0].why, CLOSE_SILENT);
    finish(r);
}

static void test_a_peer_that_does_not_read(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rig *r = start(f, NULL);
    struct rig_pipe *a = logged_in(r, f->login), *b = logged_in(r, f->login_b);
    say(b, f->subscribe);
    b->is_stalled = true;
    for (int i = 0; i < 100; i++)
        say(a, f->publish);
    size_t said = b->out.len;
    b->is_stalled = false;
    rig_run(r);
    assert_true(b->out.len > said);
    b->is_stalled = true;
    say(a, f->publish);
    b->is_reset = true; /* and goes away with output waiting */
    rig_run(r);
    finish(r);
}

/* unfinished: things begun, and the end. */
static void unfinished(struct rig *r)
{
    struct rig_pipe *a = rig_connect(r);
    say(a, spy.f->login);
    say(a, spy.f->subscribe);
    say(a, spy.f->publish);
    say(a, spy.f->unfinished);
    say(a, spy.f->consume);
    say(a, spy.f->produce);
    struct queue *q = map_get(&r->shard->vhost->queues, slice_from_str(spy.f->queue));
    if (q != NULL && !q->is_dead)
        queue_delete(q);
    rig_run(r);
    a->is_reset = true;
    rig_run(r);
    rig_wait(r, LONG_AGO_MS);
}

/* scenario: a bit of everything; any step may find the connection ended. */
static void scenario(struct rig *r)
{
    struct rig_pipe *a = rig_connect(r), *b = rig_connect(r);
    say(b, spy.f->login_b);
    say(b, spy.f->subscribe);
    say(a, spy.f->login);
    say(a, spy.f->subscribe);
    say(a, spy.f->publish);
    say(a, spy.f->publish);
    rig_wait(r, 10);
    say(a, spy.f->goodbye);
    b->is_reset = true;
    rig_run(r);
    rig_wait(r, LONG_AGO_MS);
}

static void out_of_memory(const struct adapter_fixture *f, void (*play)(struct rig *r))
{
    struct rig_config config;
    bool hit = true;
    uint64_t n = 0;
    while (hit) {
        rig_config_init(&config);
        config.fail_at = ++n;
        assert_true(n < 100000);
        struct rig *r = start(f, &config);
        if (r == NULL)
            continue;
        play(r);
        hit = r->heap.calls >= n;
        finish(r);
    }
    assert_true(n > 20); /* it did allocate */
}

static void test_out_of_memory(void **state)
{
    out_of_memory(*state, scenario);
}

static void test_out_of_memory_unfinished(void **state)
{
    out_of_memory(*state, unfinished);
}

static void test_garbage(void **state)
{
    const struct adapter_fixture *f = *state;
    struct rng rng;
    rng_init(&rng, 7);
    for (int i = 0; i < GARBAGE_RUNS; i++) {
        struct slice words[] = {f->login, f->subscribe, f->publish, f->unfinished, f->consume, f->publish, f->goodbye};
        struct rig *r = start(f, NULL);
        struct rig_pipe *a = rig_connect(r);
        for (size_t k = 0; k < ARRAY_N(words); k++) {
            uint8_t bytes[512];
            size_t n = MIN(words[k].len, sizeof bytes);
            memcpy(bytes, words[k].p, n);
            for (uint64_t wrong = rng_u64(&rng) % 3; wrong > 0 && n > 0; wrong--)
                bytes[rng_u64(&rng) % n] = (uint8_t)rng_u64(&rng);
            say(a, slice_make(bytes, n));
        }
        finish(r);
    }
}

int adapter_suite_run(const struct adapter_fixture *f)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_table_is_complete, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_claims_its_own, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_claims_nothing_else, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_life, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_partial_input_waits, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_receipts_wait_for_the_store, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_every_end, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_every_end_of_unfinished, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_queue_ends, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_every_end_before_login, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_refused_login, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_taken_over, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_silence_is_noticed_no_earlier, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_a_peer_that_does_not_read, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_out_of_memory, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_out_of_memory_unfinished, (void *)(uintptr_t)f),
        cmocka_unit_test_prestate(test_garbage, (void *)(uintptr_t)f),
    };
    return cmocka_run_group_tests_name(f->name, tests, NULL, NULL);
}
