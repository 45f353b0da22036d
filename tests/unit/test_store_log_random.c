/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_log_random.c: long histories at random through small segments, so that compaction copies records of every
 * kind again and again, with a clean restart now and then; what replay shows is compared with persist/store_image.h,
 * which was told the same records and holds them all in memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/exchange.h"
#include "persist/store_image.h"
#include "tests/sim/disk_sim.h"
#include "tests/support/log_world.h"

enum { STEPS = 6000, SLOTS = 5, RECENT = 64, PAYLOAD_MAX = 3000 };

struct history {
    struct log_world w;
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    struct platter *platter;
    struct store_image *image;
    struct buf expected;
    uint64_t number;         /* given last */
    uint64_t queue[SLOTS];   /* 0: none */
    uint64_t session[SLOTS]; /* owner of queue[i], if there is one; 0: none */
    lsn_t recent[RECENT];
    uint64_t recent_queue[RECENT];
    unsigned n;
    bool in_unit;
    uint8_t payload[PAYLOAD_MAX];
};

static struct disk *new_disk(void *ctx)
{
    struct disk *d = disk_sim_new(((struct history *)ctx)->platter);
    assert_non_null(d);
    return d;
}

static struct history *history_new(uint64_t seed)
{
    struct history *h = test_calloc(1, sizeof(*h));
    mem_heap_init(&h->heap);
    mem_init(&h->mem, &h->heap, "platter");
    rng_init(&h->rng, seed);
    h->platter = platter_new(&h->mem, &h->rng, UINT64_MAX);
    h->image = store_image_new(&h->mem);
    assert_non_null(h->platter);
    assert_non_null(h->image);
    buf_init(&h->expected, &h->mem);
    log_world_init(&h->w, new_disk, h);
    h->w.config.linger_ms = seed % 3 * 10;
    return h;
}

static void history_free(struct history *h)
{
    log_world_fini(&h->w);
    store_image_free(h->image);
    buf_fini(&h->expected);
    platter_free(h->platter);
    assert_int_equal(h->heap.bytes, 0);
    test_free(h);
}

static unsigned below(struct history *h, unsigned n)
{
    return rng_below(&h->rng, n);
}

/* append: to both. */
static lsn_t append(struct history *h, struct store_rec *rec)
{
    rec->at = 1000000 + h->w.now;
    lsn_t lsn = log_append(&h->w, rec);
    assert_true(lsn != 0);
    rec->lsn = lsn;
    assert_int_equal(store_image_apply(h->image, rec), ERR_OK);
    return lsn;
}

static struct msg *new_msg(struct history *h, const char *topic)
{
    uint32_t n = below(h, 10) == 0 ? 0 : below(h, PAYLOAD_MAX);
    snprintf((char *)h->payload, sizeof(h->payload), "%u", h->n++);
    struct msgview v = {.topic = slice_from_str(topic), .payload = slice_make(h->payload, n), .qos = 1};
    struct msg *m = msg_new(&h->w.own_msgs, &v);
    assert_non_null(m);
    return m;
}

static void publish(struct history *h)
{
    char topic[16];
    struct store_target to[SLOTS] = {{0}};
    const uint32_t ids[] = {7, 9};
    struct store_rec r = {.kind = STORE_PUBLISH, .target = to};
    for (unsigned i = 0; i < SLOTS; i++) {
        if (h->queue[i] != 0 && below(h, 2) == 0)
            to[r.target_n++] =
                (struct store_target){.queue = h->queue[i], .sub_id = ids, .sub_id_n = (uint16_t)below(h, 3)};
    }
    unsigned with = below(h, SLOTS), from = below(h, RECENT);
    if (h->session[with] != 0 && below(h, 6) == 0) {
        r.session = h->session[with];
        r.rx_id = (uint16_t)(1 + below(h, 4));
    }
    snprintf(topic, sizeof(topic), "t%u", below(h, 40));
    r.flags = below(h, 4) == 0 ? STORE_PUBLISH_RETAINED : below(h, 2) ? STORE_PUBLISH_LIVE : 0;
    if (below(h, 10) == 0 && h->recent[from] != 0) {
        r.of = h->recent[from];
        r.queue = h->recent_queue[from];
    }
    struct msg *m = new_msg(h, topic);
    r.msg = m;
    unsigned at = below(h, RECENT);
    h->recent[at] = append(h, &r);
    h->recent_queue[at] = r.target_n != 0 ? to[below(h, r.target_n)].queue : 0;
    msg_drop(m);
}

static void note(struct history *h)
{
    static const enum store_kind kind[] = {STORE_SETTLE, STORE_SETTLE,   STORE_SETTLE,
                                           STORE_SENT,   STORE_RECEIVED, STORE_RETURNED};
    unsigned at = below(h, RECENT);
    if (h->recent[at] == 0)
        return;
    struct store_rec r = {.kind = kind[below(h, ARRAY_N(kind))],
                          .queue = below(h, 3) ? h->recent_queue[at] : h->queue[below(h, SLOTS)],
                          .of = h->recent[at]};
    if (r.kind == STORE_SENT)
        r.ticket = (uint16_t)(1 + below(h, 1000));
    if (r.kind == STORE_RETURNED)
        r.returns = (uint16_t)(1 + below(h, 5));
    (void)append(h, &r);
}

static void retain(struct history *h)
{
    char topic[16];
    snprintf(topic, sizeof(topic), "t%u", below(h, 40));
    struct store_rec r = {.kind = STORE_RETAIN, .name = slice_from_str(topic)};
    struct msg *m = below(h, 5) != 0 ? new_msg(h, topic) : NULL;
    r.msg = m;
    (void)append(h, &r);
    if (m != NULL)
        msg_drop(m);
}

/* come: a queue, perhaps with a session; go: its end, or that of its session with all that is its. */
static void come(struct history *h, unsigned i)
{
    char name[16];
    snprintf(name, sizeof(name), "n%u", i);
    if (below(h, 2)) {
        h->session[i] = ++h->number;
        (void)append(
            h, &(struct store_rec){.kind = STORE_SESSION, .session = h->session[i], .name = slice_from_str(name)});
    }
    h->queue[i] = ++h->number;
    (void)append(
        h, &(struct store_rec){
               .kind = STORE_QUEUE, .queue = h->queue[i], .session = h->session[i], .name = slice_from_str(name)});
}

static void go(struct history *h, unsigned i)
{
    if (h->session[i] != 0 && below(h, 3) != 0)
        (void)append(h, &(struct store_rec){.kind = STORE_SESSION_END, .session = h->session[i]});
    else
        (void)append(h, &(struct store_rec){.kind = STORE_QUEUE_END, .queue = h->queue[i]});
    h->queue[i] = h->session[i] = 0; /* a session that stays is never heard of again */
}

static void define(struct history *h)
{
    unsigned i = below(h, SLOTS);
    char key[16];
    snprintf(key, sizeof(key), "k%u", below(h, 6));
    if (h->queue[i] == 0) {
        come(h, i);
    } else if (below(h, 12) == 0) {
        go(h, i);
    } else if (h->session[i] != 0 && below(h, 3) == 0) {
        struct msg *m = below(h, 4) != 0 ? new_msg(h, "will") : NULL;
        (void)append(h, &(struct store_rec){.kind = STORE_WILL, .session = h->session[i], .msg = m, .expiry_s = 5});
        if (m != NULL)
            msg_drop(m);
    } else {
        struct store_rec r = {.kind = below(h, 3) ? STORE_BIND : STORE_UNBIND,
                              .queue = h->queue[i],
                              .session = h->session[i],
                              .name = SLICE("amq.topic"),
                              .key = slice_from_str(key),
                              .qos = (uint8_t)below(h, 3)};
        (void)append(h, &r);
    }
}

static void release(struct history *h)
{
    unsigned i = below(h, SLOTS);
    if (h->session[i] != 0)
        (void)append(h, &(struct store_rec){
                            .kind = STORE_RX_RELEASE, .session = h->session[i], .rx_id = (uint16_t)(1 + below(h, 4))});
}

static void unit(struct history *h)
{
    (void)append(h, &(struct store_rec){.kind = STORE_TX});
    for (unsigned n = 1 + below(h, 4); n > 0; n--) {
        if (below(h, 2))
            publish(h);
        else
            note(h);
    }
    (void)append(h, &(struct store_rec){.kind = STORE_TX_END, .flags = below(h, 4) == 0 ? STORE_TX_VOID : 0});
}

static void step(struct history *h)
{
    unsigned what = below(h, 100);
    if (what < 40)
        publish(h);
    else if (what < 85)
        note(h);
    else if (what < 89)
        retain(h);
    else if (what < 95)
        define(h);
    else if (what < 98)
        release(h);
    else
        unit(h);
}

static enum err show(const struct store_rec *rec, void *ctx)
{
    log_show(ctx, rec);
    return ERR_OK;
}

static void restart(struct history *h)
{
    log_wait(&h->w);
    log_world_close(&h->w);
    log_world_open(&h->w);
    buf_clear(&h->expected);
    assert_int_equal(store_image_visit(h->image, show, &h->expected), ERR_OK);
    buf_put_u8(&h->expected, 0);
    assert_string_equal((const char *)h->w.seen.p, (const char *)h->expected.p);
}

static void test_histories(void **state)
{
    UNUSED(state);
    uint64_t copied = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct history *h = history_new(seed);
        log_world_open(&h->w);
        for (unsigned i = 1; i <= STEPS; i++) {
            step(h);
            if (below(h, 8) == 0)
                log_turn(&h->w);
            h->w.now += below(h, 4);
            if (i % 1500 == 0) {
                copied += h->w.store->stats.copied;
                restart(h);
            }
        }
        assert_int_equal(h->w.failed, 0);
        history_free(h);
    }
    assert_true(copied > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
