/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_suite.c: the contract of stores. Included by the program that runs it (one program per test_*.c).
 *
 * What replay shows is written as text, a line per record, and compared with what the test expects:
 *
 *     4 PUBLISH a/b=hello qos=1 flags=1 -> 7 8/5 rx=3/12
 *
 * Records are called by number: the first one that a test appends is 1, the next one 2. Stores choose LSNs as they like
 * (some leave gaps, or give the same one to several notes); `append` translates.
 *
 * The parts: store_living.c (what lives, by definition), store_basics.c, store_state.c (what of a record survives),
 * store_units.c, store_read.c, store_trouble.c, store_random.c.
 */
#include "tests/contract/store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/check.h"
#include "core/base/rng.h"
#include "core/msg.h"
#include "tests/contract/store_living.c" /* a program of this folder is one file */

#define NUMBERED_MAX 20000u
#define WALL_START   UINT64_C(1700000000000) /* at mono 0 of the first life */

struct numbered {
    lsn_t lsn;
    enum store_kind kind;
};

struct suite {
    const struct store_fixture *f;
    struct mem_heap heap; /* the store's */
    void *world;
    struct mem_heap own_heap; /* the suite's, and the shard's for the store: never runs out */
    struct mem own;
    struct msg_pool msgs;
    struct store *store;       /* NULL between two lives */
    struct numbered *numbered; /* [n]: what was appended in all lives */
    unsigned n;
    unsigned life_n, submitted_n; /* of these: when this life began, when it last submitted */
    lsn_t highest, durable;       /* of this life: given out, reported */
    mono_ms now;                  /* goes on from life to life */
    int64_t clock;
    unsigned durable_calls, failed_calls;
    bool in_submit, in_append, in_fetch;
    struct buf seen; /* what replay showed */
    unsigned seen_n, stop_after;
    const struct msg *held; /* by a visit */
};

/* ---- lives --------------------------------------------------------------------------------------------------- */

static void on_durable(void *ctx, lsn_t lsn)
{
    struct suite *s = ctx;
    assert_false(s->in_append || s->in_fetch);
    assert_int_equal(s->failed_calls, 0);
    assert_true(lsn >= s->durable); /* grows */
    for (unsigned i = s->submitted_n; i < s->n; i++)
        assert_true(s->numbered[i].lsn > lsn); /* nothing that still gathers */
    s->durable = lsn;
    s->durable_calls++;
}

static void on_failed(void *ctx)
{
    struct suite *s = ctx;
    assert_false(s->in_append || s->in_fetch);
    s->failed_calls++;
    assert_int_equal(s->failed_calls, 1);
}

/* number_of: what the record with this LSN, which is no note, is called. */
static unsigned number_of(const struct suite *s, lsn_t lsn)
{
    for (unsigned i = s->n; i-- > 0;) {
        if (s->numbered[i].lsn == lsn && !is_note(s->numbered[i].kind))
            return i + 1;
    }
    fail_msg("replay shows LSN %llu, which nobody got", (unsigned long long)lsn);
    return 0;
}

static enum err visit(const struct store_rec *rec, void *ctx)
{
    struct suite *s = ctx;
    put_rec(&s->seen, rec, number_of(s, rec->lsn));
    assert_true(rec->at <= store_wall(s->store, s->now));
    assert_true(rec->at >= WALL_START);
    if (rec->msg != NULL && s->held == NULL)
        s->held = msg_hold(rec->msg);
    return ++s->seen_n == s->stop_after ? ERR_TOO_BIG : ERR_OK;
}

static void drop_held(struct suite *s)
{
    if (s->held != NULL)
        msg_drop(s->held);
    s->held = NULL;
}

/* open_store: as a shard does it; replay is the caller's. */
static void open_store(struct suite *s)
{
    assert_null(s->store);
    s->store = s->f->make(s->world);
    assert_non_null(s->store);
    s->store->on_durable = on_durable;
    s->store->on_failed = on_failed;
    s->store->ctx = s;
    s->store->msgs = &s->msgs;
    s->store->now = s->now;
    s->highest = s->durable = 0;
    s->life_n = s->submitted_n = s->n;
    s->durable_calls = s->failed_calls = 0;
    buf_clear(&s->seen);
    s->seen_n = 0;
    assert_int_equal(s->store->ops->open(s->store), ERR_OK);
    s->store->clock = s->clock;
}

/* begin: a new life: makes and opens the store and replays it into s->seen. */
static void begin(struct suite *s)
{
    open_store(s);
    assert_int_equal(s->store->ops->replay(s->store, visit, s), ERR_OK);
    buf_put_u8(&s->seen, 0);
    assert_int_equal(s->durable_calls + s->failed_calls, 0);
}

static const char *seen(const struct suite *s)
{
    return (const char *)s->seen.p;
}

static void submit(struct suite *s)
{
    s->store->now = ++s->now;
    s->submitted_n = s->n;
    (void)s->store->ops->submit(s->store, s->now);
}

/* wait: everything submitted is answered afterwards, and everything asked for. */
static void wait(struct suite *s)
{
    s->submitted_n = s->n; /* a wait may submit */
    if (s->f->wait != NULL)
        s->f->wait(s->world, s->store, &s->now);
    else
        (void)s->store->ops->submit(s->store, s->now);
}

static void end(struct suite *s)
{
    if (s->store == NULL)
        return;
    struct store *store = s->store;
    s->submitted_n = s->n;
    drop_held(s);
    store->ops->close(store);
    s->store = NULL;
}

/* crash: of what was not durable anything may be lost. */
static void crash(struct suite *s, uint64_t luck)
{
    drop_held(s);
    struct store *store = s->store;
    s->store = NULL;
    s->f->crash(s->world, store, luck);
}

/* sync_all: everything appended so far is durable afterwards. */
static void sync_all(struct suite *s)
{
    submit(s);
    wait(s);
    assert_int_equal(s->failed_calls, 0);
    assert_true(s->durable >= s->highest);
}

/* lsn_of: of the record with this number; one that nobody has for a record that never was, is lost, or is a note, whose
 * LSN another life may use again. */
static lsn_t lsn_of(const struct suite *s, uint64_t number)
{
    bool is_known = number <= s->n && !is_note(s->numbered[number - 1].kind);
    lsn_t lsn = is_known ? s->numbered[number - 1].lsn : 0;
    return lsn != 0 ? lsn : (UINT64_C(1) << 50) + number;
}

/* append: returns the record's number, 0 when the store did not take it; r->of is a number, too. */
static unsigned append(struct suite *s, const struct store_rec *r)
{
    struct store_rec rec = *r;
    assert_true(s->n < NUMBERED_MAX);
    rec.lsn = 0;
    if (r->of != 0)
        rec.of = lsn_of(s, r->of);
    s->in_append = true;
    lsn_t lsn = s->store->ops->append(s->store, &rec);
    s->in_append = false;
    if (lsn == 0)
        return 0;
    assert_true(lsn > s->durable);
    assert_true(is_note(r->kind) || lsn > s->highest); /* its own */
    s->highest = MAX(s->highest, lsn);
    s->numbered[s->n++] = (struct numbered){lsn, r->kind};
    return s->n;
}

/* expect: replay after a clean end shows exactly these lines; then the next life goes on. */
static void expect(struct suite *s, const char *lines)
{
    sync_all(s);
    end(s);
    begin(s);
    assert_string_equal(seen(s), lines);
}

static int suite_setup(void **state)
{
    const struct store_fixture *f = *state;
    struct suite *s = test_calloc(1, sizeof(*s));
    s->f = f;
    s->numbered = test_calloc(NUMBERED_MAX, sizeof(*s->numbered));
    s->now = 1000;
    s->clock = (int64_t)WALL_START;
    mem_heap_init(&s->heap);
    mem_heap_init(&s->own_heap);
    mem_init(&s->own, &s->own_heap, "suite");
    msg_pool_init(&s->msgs, &s->own);
    buf_init(&s->seen, &s->own);
    s->world = f->setup(&s->heap, f->param);
    begin(s);
    *state = s;
    return 0;
}

static int suite_teardown(void **state)
{
    struct suite *s = *state;
    end(s);
    s->f->teardown(s->world);
    assert_int_equal(s->heap.bytes, 0);
    buf_fini(&s->seen);
    msg_pool_fini(&s->msgs); /* the store has let go of every message */
    assert_int_equal(s->own_heap.bytes, 0);
    test_free(s->numbered);
    test_free(s);
    return 0;
}

/* ---- short hands --------------------------------------------------------------------------------------------- */

static struct msg *message(struct suite *s, const char *topic, const char *payload)
{
    struct msgview v = {.topic = slice_from_str(topic), .payload = slice_from_str(payload), .qos = 1, .flags = 1};
    struct msg *m = msg_new(&s->msgs, &v);
    assert_non_null(m);
    return m;
}

struct to {
    uint64_t queue[4];
    uint32_t n;
};

#define TO(...)                                                                                                        \
    (struct to)                                                                                                        \
    {                                                                                                                  \
        {__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t)                                            \
    }
#define NOBODY                                                                                                         \
    (struct to)                                                                                                        \
    {                                                                                                                  \
        .n = 0                                                                                                         \
    }

/* publish_as: like rec, to these queues. Drops the message and spoils the targets once append returned: nobody may need
 * them any more. */
static unsigned publish_as(struct suite *s, const char *topic, const char *payload, struct to to, struct store_rec rec)
{
    struct msg *m = message(s, topic, payload);
    struct store_target target[4] = {{0}};
    for (uint32_t i = 0; i < to.n; i++)
        target[i].queue = to.queue[i];
    rec.kind = STORE_PUBLISH;
    rec.msg = m;
    rec.target = target;
    rec.target_n = to.n;
    unsigned number = append(s, &rec);
    msg_drop(m);
    memset(target, 0xee, sizeof(target));
    return number;
}

static unsigned publish(struct suite *s, const char *topic, const char *payload, struct to to, uint64_t session,
                        uint16_t rx_id)
{
    return publish_as(s, topic, payload, to, (struct store_rec){.session = session, .rx_id = rx_id});
}

static unsigned retain(struct suite *s, const char *topic, const char *payload)
{
    struct msg *m = message(s, topic, payload);
    unsigned number = append(s, &(struct store_rec){.kind = STORE_RETAIN, .msg = m});
    msg_drop(m);
    return number;
}

static unsigned settle(struct suite *s, uint64_t queue, unsigned of)
{
    return append(s, &(struct store_rec){.kind = STORE_SETTLE, .queue = queue, .of = of});
}

static unsigned about(struct suite *s, enum store_kind kind, uint64_t queue, uint64_t session, const char *name,
                      uint32_t expiry_s)
{
    char spoiled[64];
    snprintf(spoiled, sizeof(spoiled), "%s", name);
    struct store_rec r = {.kind = kind,
                          .queue = queue,
                          .session = session,
                          .name = slice_make(spoiled, strlen(name)),
                          .expiry_s = expiry_s};
    unsigned number = append(s, &r);
    memset(spoiled, '#', sizeof(spoiled));
    return number;
}

static unsigned bind_to(struct suite *s, enum store_kind kind, uint64_t queue, const char *key, uint8_t qos)
{
    return append(s, &(struct store_rec){.kind = kind,
                                         .queue = queue,
                                         .name = SLICE("amq.topic"),
                                         .key = slice_from_str(key),
                                         .qos = qos,
                                         .sub_id = 268435455,
                                         .flags = 5});
}

/* Each may use what the ones before have. */
/* clang-format off */
#include "tests/contract/store_basics.c"
#include "tests/contract/store_state.c"
#include "tests/contract/store_units.c"
#include "tests/contract/store_read.c"
#include "tests/contract/store_trouble.c"
#include "tests/contract/store_random.c"
/* clang-format on */

int store_suite_run(const struct store_fixture *f)
{
#define T(f_) cmocka_unit_test_prestate_setup_teardown(f_, suite_setup, suite_teardown, (void *)(uintptr_t)f)
    const struct CMUnitTest tests[] = {
        T(test_empty),
        T(test_stamp),
        T(test_lsns),
        T(test_submit_of_nothing),
        T(test_batches),
        T(test_close_finishes),
        T(test_many_lives),
        T(test_settle),
        T(test_inbound_qos2_id),
        T(test_retain),
        T(test_changes),
        T(test_queue_end),
        T(test_session_end_takes_its_queues),
        T(test_members),
        T(test_delays),
        T(test_visit_stops),
        T(test_large),
        T(test_messages),
        T(test_definitions),
        T(test_policies),
        T(test_deliveries),
        T(test_many_notes),
        T(test_consumed),
        T(test_wills),
        T(test_times),
        T(test_exchanges),
        T(test_dead_letters),
        T(test_published_retained),
        T(test_units),
        T(test_units_are_whole),
        T(test_units_of_notes),
        T(test_fetch),
        T(test_fetch_many),
        T(test_read),
        T(test_fetch_at_close),
        T(test_fetch_after_failure),
        T(test_reserve),
        T(test_full),
        T(test_failure),
        T(test_failure_at_close),
        T(test_room_comes_back),
        T(test_crash),
        T(test_crash_at_once),
        T(test_out_of_memory),
        T(test_units_out_of_memory),
        T(test_random),
    };
#undef T
    return _cmocka_run_group_tests(f->name, tests, ARRAY_N(tests), NULL, NULL);
}
