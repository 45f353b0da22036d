/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_living.c: the index in single steps: places, settling, ended queues, units, copies that contradict, what cannot
 * be; what it costs; and how far its numbers reach. test_living_random.c compares it with the yardstick.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "persist/living.h"

struct env {
    struct mem_heap heap;
    struct mem mem;
    struct living *l;
    lsn_t lsn;
};

static int setup(void **state)
{
    static struct env v;
    memset(&v, 0, sizeof(v));
    mem_heap_init(&v.heap);
    mem_init(&v.mem, &v.heap, "living");
    v.l = living_new(&v.mem, 7);
    assert_non_null(v.l);
    *state = &v;
    return 0;
}

static int teardown(void **state)
{
    struct env *v = *state;
    living_free(v->l);
    assert_int_equal(v->heap.bytes, 0);
    return 0;
}

/* ---- saying it briefly -------------------------------------------------------------------------------------- */

static enum err try_at(struct env *v, struct store_rec rec, uint64_t segment, uint32_t off, bool is_copy)
{
    struct living_how how = {.place = {.segment = segment, .off = off}, .is_copy = is_copy};
    if (rec.lsn == 0)
        rec.lsn = ++v->lsn;
    return living_apply(v->l, &rec, &how);
}

static lsn_t say(struct env *v, struct store_rec rec)
{
    assert_int_equal(try_at(v, rec, 0, 0, false), ERR_OK);
    return v->lsn;
}

static struct store_rec publish_to(const struct store_target *target, uint32_t n)
{
    return (struct store_rec){.kind = STORE_PUBLISH, .target = target, .target_n = n};
}

static lsn_t publish(struct env *v, uint64_t queue)
{
    struct store_target t = {.queue = queue};
    return say(v, publish_to(&t, 1));
}

static void about(struct env *v, enum store_kind kind, uint64_t queue, lsn_t of)
{
    say(v, (struct store_rec){.kind = kind, .queue = queue, .of = of, .ticket = 9, .session = 4, .returns = 2});
}

static void settle(struct env *v, uint64_t queue, lsn_t of)
{
    about(v, STORE_SETTLE, queue, of);
}

static bool lives(const struct env *v, lsn_t lsn)
{
    struct living_place at;
    return living_where(v->l, lsn, &at);
}

static void assert_place(const struct env *v, lsn_t lsn, uint64_t segment, uint32_t off)
{
    struct living_place at = {99, 99};
    assert_true(living_where(v->l, lsn, &at));
    assert_int_equal(at.segment, segment);
    assert_int_equal(at.off, off);
}

/* trimmed: what is left of a frame with these targets. */
static struct store_rec trimmed(const struct env *v, lsn_t lsn, const struct store_target *target, uint32_t n,
                                struct store_target *out)
{
    struct store_rec rec = publish_to(target, n);
    rec.lsn = lsn;
    rec.of = rec.queue = 3;
    rec.session = 5;
    rec.rx_id = 6;
    rec.flags = STORE_PUBLISH_RETAINED | STORE_PUBLISH_REPLAYED;
    living_trim(v->l, &rec, out);
    assert_ptr_equal(rec.target, out);
    assert_int_equal(rec.of + rec.queue, 0);
    return rec;
}

/* ---- places and settling ------------------------------------------------------------------------------------ */

static void test_places(void **state)
{
    struct env *v = *state;
    lsn_t a = publish(v, 1), b = publish(v, 1);
    assert_place(v, a, 0, 0);
    assert_int_equal(living_n_in(v->l, 0), 2);
    living_set_place(v->l, a, (struct living_place){.segment = 5, .off = 64});
    living_set_place(v->l, b, (struct living_place){.segment = 1ull << 60, .off = LIVING_OFF_MAX - 8});
    living_set_place(v->l, b + 1000, (struct living_place){.segment = 5, .off = 8}); /* unknown */
    assert_place(v, a, 5, 64);
    assert_place(v, b, 1ull << 60, LIVING_OFF_MAX - 8);
    living_set_place(v->l, a, (struct living_place){.segment = 6, .off = 72});
    assert_place(v, a, 6, 72);
    assert_int_equal(living_n_in(v->l, 5), 0);
    assert_int_equal(living_n_in(v->l, 6), 1);
    settle(v, 1, a);
    assert_false(lives(v, a));
    assert_int_equal(living_n_in(v->l, 6), 0);
    assert_int_equal(living_n(v->l), 1);
    assert_int_equal(try_at(v, publish_to(NULL, 0), 3, LIVING_OFF_MAX, false), ERR_TOO_BIG);
    living_check(v->l);
}

static void test_only_its_own_queue_settles(void **state)
{
    struct env *v = *state;
    lsn_t a = publish(v, 7);
    settle(v, 8, a);
    settle(v, 7, a + 50);
    assert_true(lives(v, a));
    settle(v, 7, a);
    assert_false(lives(v, a)); /* also where it has no place yet */
    settle(v, 7, a);
    about(v, STORE_SENT, 7, a);
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

static void test_several_targets(void **state)
{
    struct env *v = *state;
    struct store_target t[40], left[40];
    memset(t, 0, sizeof(t));
    for (uint32_t n = 2; n <= 40; n += 19) { /* a search one by one, and by halves */
        for (uint32_t i = 0; i < n; i++)
            t[i].queue = 100 + (i * 17) % n; /* in no order */
        lsn_t a = say(v, publish_to(t, n)), b = say(v, publish_to(t, n));
        for (uint32_t i = 0; i + 1 < n; i++) {
            settle(v, t[i].queue, a);
            settle(v, t[i].queue, a); /* once is all */
            struct store_rec rec = trimmed(v, a, t, n, left);
            assert_int_equal(rec.target_n, n - 1 - i);
            assert_int_equal(rec.target[0].queue, t[i + 1].queue);
        }
        settle(v, t[n - 1].queue, a);
        assert_false(lives(v, a));
        assert_int_equal(trimmed(v, b, t, n, left).target_n, n);
        living_check(v->l);
        for (uint32_t i = 0; i < n; i++)
            settle(v, t[i].queue, b);
        assert_int_equal(living_n(v->l), 0);
    }
}

static void test_trim_tells_notes(void **state)
{
    struct env *v = *state;
    struct store_target t[2] = {{.queue = 1}, {.queue = 2, .progress = STORE_WAS_SENT, .ticket = 77}}, left[2];
    lsn_t a = say(v, publish_to(t, 2));
    about(v, STORE_SENT, 1, a);
    about(v, STORE_RECEIVED, 1, a);
    about(v, STORE_RETURNED, 2, a);
    struct store_rec rec = trimmed(v, a, t, 2, left);
    assert_int_equal(rec.target[0].progress, STORE_WAS_RECEIVED);
    assert_int_equal(rec.target[0].ticket, 9);
    assert_int_equal(rec.target[0].session, 4);
    assert_int_equal(rec.target[1].progress, STORE_WAITS);
    assert_int_equal(rec.target[1].ticket, 0);
    assert_int_equal(rec.target[1].returns, 2);
    assert_int_equal(rec.session + rec.rx_id, 0); /* it has no id open, and is not retained */
    assert_int_equal(rec.flags, STORE_PUBLISH_REPLAYED);
    settle(v, 1, a);
    rec = trimmed(v, a, t, 2, left);
    assert_int_equal(rec.target_n, 1);
    assert_int_equal(rec.target[0].returns, 2);
    living_check(v->l);
}

/* ---- ends --------------------------------------------------------------------------------------------------- */

static void test_ended_queue(void **state)
{
    struct env *v = *state;
    struct store_target t[2] = {{.queue = 1}, {.queue = 2}}, left[2];
    say(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 1, .session = 3});
    lsn_t one = publish(v, 1), two = say(v, publish_to(t, 2)), late = publish(v, 1);
    about(v, STORE_SENT, 1, two);
    for (unsigned i = 0; i < 1000; i++)
        publish(v, 2);
    say(v, (struct store_rec){.kind = STORE_SESSION_END, .session = 3}); /* nobody ever said what session 3 is */
    assert_false(lives(v, one));
    assert_true(lives(v, two));
    assert_int_equal(trimmed(v, two, t, 2, left).target_n, 1);
    settle(v, 1, late); /* the settle stands behind the end */
    assert_int_equal(living_n(v->l), 1002);
    lsn_t anew = publish(v, 1); /* another queue of this number */
    assert_true(lives(v, anew) && !lives(v, one));
    assert_int_equal(living_next(v->l, 0, NULL), two);
    assert_int_equal(living_n(v->l), 1002); /* one was swept */
    settle(v, 2, two);
    assert_false(lives(v, two));
    living_check(v->l);
}

/* A running index sweeps by itself, after some records. */
static void test_sweeps_in_time(void **state)
{
    struct env *v = *state;
    for (unsigned i = 0; i < 5000; i++)
        publish(v, 1 + i % 2);
    say(v, (struct store_rec){.kind = STORE_QUEUE_END, .queue = 1});
    for (unsigned i = 0; i < 100; i++)
        settle(v, 99, 1);
    assert_int_equal(living_n(v->l), 2500);
    assert_int_equal(living_n_in(v->l, 0), 2500);
    living_check(v->l);
}

static void test_queues_of_a_session(void **state)
{
    struct env *v = *state;
    uint64_t queue[4] = {0};
    assert_int_equal(living_queues_of(v->l, 3, queue, 4), 0);
    for (uint64_t q = 1; q <= 6; q++)
        say(v, (struct store_rec){.kind = STORE_QUEUE, .queue = q, .session = q % 2 != 0 ? 3 : 0});
    say(v, (struct store_rec){.kind = STORE_QUEUE_END, .queue = 5});
    assert_int_equal(living_queues_of(v->l, 3, queue, 4), 2);
    assert_int_equal(queue[0] + queue[1], 1 + 3);
    assert_int_equal(living_queues_of(v->l, 3, queue, 1), 1);
}

/* The record of its queue went with an old segment, after the session had ended; the binding's is still there. */
static void test_binding_goes_with_its_session(void **state)
{
    struct env *v = *state;
    struct store_rec bind = {.kind = STORE_BIND, .queue = 8, .name = SLICE("x"), .key = SLICE("a/#"), .session = 3};
    lsn_t a = say(v, bind);
    bind.queue = 9;
    bind.session = 4;
    lsn_t b = say(v, bind);
    say(v, (struct store_rec){.kind = STORE_SESSION_END, .session = 3});
    assert_true(!lives(v, a) && lives(v, b));
    say(v, (struct store_rec){.kind = STORE_EXCHANGE_END, .name = SLICE("x")});
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

/* ---- units -------------------------------------------------------------------------------------------------- */

static void test_units(void **state)
{
    struct env *v = *state;
    lsn_t before = publish(v, 1);
    say(v, (struct store_rec){.kind = STORE_TX});
    lsn_t in = publish(v, 1);
    settle(v, 1, before);
    assert_true(lives(v, before) && !lives(v, in));
    living_cut(v->l);
    say(v, (struct store_rec){.kind = STORE_TX_END}); /* of a unit whose beginning is gone */
    assert_true(lives(v, before) && !lives(v, in));

    say(v, (struct store_rec){.kind = STORE_TX});
    in = publish(v, 1);
    struct store_target t = {.queue = 4};
    struct store_rec copy = publish_to(&t, 1);
    copy.lsn = before;
    assert_int_equal(try_at(v, copy, 2, 64, true), ERR_OK); /* no unit has copies in it: its end is lost */
    say(v, (struct store_rec){.kind = STORE_TX_END});
    assert_false(lives(v, in));
    settle(v, 1, before);
    assert_place(v, before, 2, 64);
    settle(v, 4, before);
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

static void test_unit_without_memory(void **state)
{
    struct env *v = *state;
    lsn_t before = publish(v, 1), in = 0;
    unsigned failed = 0;
    say(v, (struct store_rec){.kind = STORE_TX});
    for (unsigned i = 0; i < 3000; i++)
        in = publish(v, 2 + i); /* three blocks, many queues */
    settle(v, 1, before);
    struct store_rec end = {.kind = STORE_TX_END, .lsn = ++v->lsn};
    for (unsigned nth = 1;; nth++) {
        v->heap.fail_at = v->heap.calls + nth;
        enum err e = try_at(v, end, 0, 0, false);
        v->heap.fail_at = 0;
        if (e == ERR_OK)
            break;
        assert_int_equal(e, ERR_NOMEM);
        assert_true(lives(v, before) && !lives(v, in) && living_n(v->l) == 1);
        living_check(v->l);
        failed++;
    }
    assert_true(failed > 5);
    assert_false(lives(v, before));
    assert_int_equal(living_n(v->l), 3000);
    living_check(v->l);
}

/* ---- copies, and what cannot be ----------------------------------------------------------------------------- */

static struct store_rec id_publish(lsn_t lsn, uint64_t session, uint16_t rx_id)
{
    return (struct store_rec){.kind = STORE_PUBLISH, .lsn = lsn, .session = session, .rx_id = rx_id};
}

static void test_copy_counts_instead(void **state)
{
    struct env *v = *state;
    struct store_target t[3] = {{.queue = 1}, {.queue = 2}, {.queue = 3}}, left[3];
    struct store_rec rec = publish_to(t, 3);
    rec.session = 5;
    rec.rx_id = 6;
    rec.name = SLICE("topic");
    rec.flags = STORE_PUBLISH_RETAINED;
    rec.lsn = 10;
    assert_int_equal(try_at(v, rec, 1, 64, false), ERR_OK);
    about(v, STORE_SENT, 2, 10);
    struct store_rec now = trimmed(v, 10, t, 3, left);
    assert_int_equal(now.rx_id, 6);
    assert_int_equal(now.flags & STORE_PUBLISH_RETAINED, STORE_PUBLISH_RETAINED);
    t[2].progress = STORE_WAS_SENT; /* the copy: without 1, without id, not retained; 3 was sent, 2 was not */
    t[2].ticket = 12;
    struct store_rec copy = publish_to(&t[1], 2);
    copy.lsn = 10;
    assert_int_equal(try_at(v, copy, 4, 128, true), ERR_OK);
    living_check(v->l);
    assert_place(v, 10, 4, 128);
    now = trimmed(v, 10, t, 3, left);
    assert_int_equal(now.target_n, 2);
    assert_int_equal(now.target[0].progress, STORE_WAITS);
    assert_int_equal(now.target[1].ticket, 12);
    assert_int_equal(now.rx_id + now.session, 0);
    assert_int_equal(now.flags & STORE_PUBLISH_RETAINED, 0);
    copy.target_n = 0;
    assert_int_equal(try_at(v, copy, 5, 64, true), ERR_OK);
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

/* Frames in an order that no log of ours has: the greater LSN counts, and one LSN is one thing. */
static void test_what_cannot_be(void **state)
{
    struct env *v = *state;
    uint8_t kind = 0;
    assert_int_equal(try_at(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 1, .lsn = 20}, 1, 64, false), ERR_OK);
    assert_int_equal(try_at(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 1, .lsn = 10}, 2, 64, true), ERR_OK);
    assert_false(lives(v, 10));
    assert_int_equal(try_at(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 2, .lsn = 20}, 2, 64, false), ERR_OK);
    assert_int_equal(try_at(v, id_publish(20, 4, 4), 2, 64, false), ERR_OK);
    assert_int_equal(try_at(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 1, .lsn = 20}, 3, 64, true), ERR_OK);
    assert_place(v, 20, 3, 64);
    assert_int_equal(try_at(v, id_publish(40, 4, 4), 3, 72, false), ERR_OK);
    assert_int_equal(try_at(v, id_publish(30, 4, 4), 3, 80, true), ERR_OK);
    assert_int_equal(try_at(v, id_publish(40, 4, 5), 3, 88, true), ERR_OK); /* another id under the same LSN */
    assert_int_equal(try_at(v, (struct store_rec){.kind = STORE_QUEUE, .queue = 7, .lsn = 40}, 3, 96, true), ERR_OK);
    assert_true(lives(v, 40) && !lives(v, 30));
    living_check(v->l);
    assert_int_equal(living_next(v->l, 0, &kind), 20);
    assert_int_equal(living_next(v->l, 20, &kind), 0);
    assert_int_equal(living_n(v->l), 2);
    say(v, (struct store_rec){.kind = STORE_RX_RELEASE, .session = 4, .rx_id = 4});
    assert_true(lives(v, 40));
    say(v, (struct store_rec){.kind = STORE_RX_RELEASE, .session = 4, .rx_id = 5});
    assert_false(lives(v, 40));
    living_check(v->l);
}

static void test_older_copy_of_a_retained(void **state)
{
    struct env *v = *state;
    struct store_rec r = {.kind = STORE_RETAIN, .name = SLICE("t"), .lsn = 20};
    assert_int_equal(try_at(v, r, 1, 64, false), ERR_OK);
    r.lsn = 10;
    assert_int_equal(try_at(v, r, 2, 64, true), ERR_OK);
    assert_true(lives(v, 20) && !lives(v, 10));
    r.lsn = 20;
    assert_int_equal(try_at(v, r, 3, 64, true), ERR_OK);
    assert_place(v, 20, 3, 64);
    assert_int_equal(living_n(v->l), 1);
    living_check(v->l);
    r.lsn = 0;
    say(v, r); /* a running store's, without a message */
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

/* ---- how far it reaches, and what it costs ------------------------------------------------------------------ */

static void test_more_queues_than_bits(void **state)
{
    struct env *v = *state;
    const uint64_t n = (1u << 18) + 50;
    struct store_target t = {.queue = n}, left;
    for (uint64_t q = 1; q <= n; q++)
        publish(v, q);
    assert_int_equal(living_n(v->l), n);
    settle(v, n - 1, n);
    settle(v, n, n - 1);
    assert_int_equal(trimmed(v, n, &t, 1, &left).target_n, 1);
    for (uint64_t q = 1; q <= n; q++)
        settle(v, q, q);
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

static void test_segments_without_end(void **state)
{
    struct env *v = *state;
    for (uint64_t s = 1; s < 300000; s++) { /* at most five at a time */
        lsn_t lsn = publish(v, 1);
        living_set_place(v->l, lsn, (struct living_place){.segment = s << 20, .off = 64});
        if (lsn % 5 == 0) {
            for (lsn_t k = lsn - 8; lsn > 8 && k < lsn - 3; k++)
                settle(v, 1, k);
        }
        v->lsn = lsn; /* settles share one */
    }
    living_check(v->l);
    uint64_t most = living_bytes(v->l);
    assert_true(most < 64 * 1024);
    assert_int_equal(living_reserve_segments(v->l, 1000), ERR_OK);
    lsn_t first = 0;
    for (uint64_t s = 0; s < 1000; s++) {
        lsn_t lsn = publish(v, 1);
        first = first != 0 ? first : lsn;
    }
    lsn_t placed = publish(v, 1);
    living_set_place(v->l, placed, (struct living_place){.segment = 6, .off = 64});
    assert_int_equal(living_reserve_segments(v->l, 1000), ERR_OK);
    settle(v, 1, placed); /* fewer in use: what was reserved stays */
    v->heap.fail_at = v->heap.calls + 1;
    v->heap.fail_after = true;
    for (uint64_t s = 0; s < 1000; s++)
        living_set_place(v->l, first + s, (struct living_place){.segment = 7 + s, .off = 64});
    v->heap.fail_at = 0;
    v->heap.fail_after = false;
    assert_int_equal(living_reserve_segments(v->l, 1u << 20), ERR_NOMEM);
    living_check(v->l);
}

static void test_a_waiting_publish_costs_eight_bytes(void **state)
{
    struct env *v = *state;
    uint64_t before = living_bytes(v->l);
    for (unsigned i = 0; i < 1000000; i++)
        publish(v, 1 + i % 1000);
    uint64_t bytes = living_bytes(v->l) - before;
    assert_true(bytes <= 11 * 1000000ull);
    assert_true(v->heap.calls < 2000); /* one per block and a few more */
    for (lsn_t lsn = 1; lsn <= 1000000; lsn++) {
        if (lsn % 1000 != 0)
            settle(v, 1 + (lsn - 1) % 1000, lsn);
        v->lsn = 1000000;
    }
    assert_int_equal(living_n(v->l), 1000);
    assert_true(living_bytes(v->l) < before + 1000 * 40 + 8192 + 65536); /* the tip, and the 1,000 queues */
    living_check(v->l);
}

static void test_live_traffic_allocates_nothing(void **state)
{
    struct env *v = *state;
    settle(v, 1, publish(v, 1));
    uint64_t calls = v->heap.calls;
    for (unsigned i = 0; i < 100000; i++) {
        lsn_t lsn = publish(v, 1 + i % 50);
        about(v, STORE_SENT, 1 + i % 50, lsn);
        settle(v, 1 + i % 50, lsn);
        v->lsn = lsn;
    }
    assert_true(v->heap.calls - calls < 100000 / 1024 * 2 + 20);
}

static void test_fan_out_shares_its_list(void **state)
{
    struct env *v = *state;
    struct store_target t[64];
    memset(t, 0, sizeof(t));
    for (unsigned i = 0; i < 64; i++)
        t[i].queue = 1000 + i;
    for (unsigned i = 0; i < 10000; i++)
        say(v, publish_to(t, 64));
    assert_true(living_bytes(v->l) < 10000 * 80);
    for (unsigned i = 0; i < 64; i++) {
        for (lsn_t lsn = 1; lsn <= 10000; lsn++) {
            settle(v, 1000 + i, lsn);
            v->lsn = 10000;
        }
    }
    assert_int_equal(living_n(v->l), 0);
    living_check(v->l);
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

static void test_new_without_memory(void **state)
{
    struct env *v = *state;
    for (unsigned nth = 1; nth <= 3; nth++) {
        v->heap.fail_at = v->heap.calls + nth;
        assert_null(living_new(&v->mem, 1));
    }
    v->heap.fail_at = 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_places),
        TEST(test_only_its_own_queue_settles),
        TEST(test_several_targets),
        TEST(test_trim_tells_notes),
        TEST(test_ended_queue),
        TEST(test_sweeps_in_time),
        TEST(test_queues_of_a_session),
        TEST(test_binding_goes_with_its_session),
        TEST(test_units),
        TEST(test_unit_without_memory),
        TEST(test_copy_counts_instead),
        TEST(test_what_cannot_be),
        TEST(test_older_copy_of_a_retained),
        TEST(test_more_queues_than_bits),
        TEST(test_segments_without_end),
        TEST(test_a_waiting_publish_costs_eight_bytes),
        TEST(test_live_traffic_allocates_nothing),
        TEST(test_fan_out_shares_its_list),
        TEST(test_new_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
