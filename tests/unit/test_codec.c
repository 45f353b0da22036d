/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_codec.c: every record comes back as it was, whatever is in it; copies say what still counts; what cannot be is
 * refused; without memory nothing is lost; and what it costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/base/rng.h"
#include "core/msg.h"
#include "persist/codec.h"
#include "persist/record.pb-c.h"
#include "tests/support/guard.h"

#define CLOCK 1700000000000
#define SALT  0x1122334455667788u

/* owner: setup */
struct bench {
    struct mem_heap heap;
    struct mem mem;
    struct msg_pool msgs;
    struct store clock;
    struct buf out;
    struct codec_rec got;
    struct rng rng;
    uint8_t text[4096];
    struct store_target target[200];
    uint32_t sub_id[2000];
    struct queue_policy policy;
    struct exchange_spec exchange;
};

static int setup(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    mem_heap_init(&b.heap);
    mem_init(&b.mem, &b.heap, "test");
    msg_pool_init(&b.msgs, &b.mem);
    buf_init(&b.out, &b.mem);
    codec_rec_init(&b.got, &b.mem);
    b.clock.clock = CLOCK;
    b.clock.now = 5000;
    rng_init(&b.rng, 1);
    for (size_t i = 0; i < sizeof(b.text); i++)
        b.text[i] = (uint8_t)rng_u64(&b.rng);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    buf_fini(&b->out);
    codec_rec_fini(&b->got);
    msg_pool_fini(&b->msgs);
    assert_int_equal(b->mem.bytes, 0);
    return 0;
}

/* seal_check: the one frame in b->out from `from` on, as it would be read from the disk. */
static struct wal_frame seal_check(struct bench *b, size_t from)
{
    struct wal_frame f = {0};
    wal_seal(b->out.p + from, b->out.len - from, SALT);
    assert_int_equal(wal_check_frame(b->out.p + from, b->out.len - from, SALT, &f), ERR_OK);
    assert_int_equal(f.bytes, b->out.len - from);
    return f;
}

static void assert_slice(struct slice a, struct slice b)
{
    assert_true(slice_eq(a, b));
}

/* any_number: of up to `bits` bits, small ones and 0 more often. */
static uint64_t any_number(struct bench *b, unsigned bits)
{
    unsigned n = rng_below(&b->rng, bits + 1);
    return n == 0 ? 0 : rng_u64(&b->rng) >> (64 - n);
}

static struct slice any_bytes(struct bench *b, uint32_t most)
{
    uint32_t n = rng_chance(&b->rng, 30) ? 0 : rng_below(&b->rng, most + 1);
    return slice_make(b->text + rng_below(&b->rng, (uint32_t)sizeof(b->text) - n), n);
}

static const struct msg *any_msg(struct bench *b)
{
    struct buf attrs;
    buf_init(&attrs, &b->mem);
    uint32_t n = rng_chance(&b->rng, 50) ? 0 : rng_below(&b->rng, rng_chance(&b->rng, 10) ? 100 : 6);
    for (uint32_t i = 0; i < n; i++)
        attr_put(&attrs, (enum attr_id)(1 + rng_below(&b->rng, ATTR_DEATH)), any_bytes(b, 20), any_bytes(b, 300));
    struct msgview v = {
        .topic = any_bytes(b, 100),
        .payload = any_bytes(b, 3000),
        .attrs = buf_slice(&attrs),
        .expires_at = rng_chance(&b->rng, 50) ? 0 : 1 + any_number(b, 40),
        .publisher = rng_u64(&b->rng),
        .exchange = (uint32_t)any_number(b, 32),
        .qos = (uint8_t)rng_below(&b->rng, 3),
        .flags = (uint8_t)rng_below(&b->rng, 64),
        .priority = (uint8_t)any_number(b, 8),
    };
    const struct msg *m = msg_new(&b->msgs, &v);
    buf_fini(&attrs);
    assert_non_null(m);
    return m;
}

static void any_targets(struct bench *b, struct store_rec *rec)
{
    uint32_t n = rng_chance(&b->rng, 60) ? 1 : rng_below(&b->rng, rng_chance(&b->rng, 20) ? ARRAY_N(b->target) : 12);
    bool has_ids = rng_chance(&b->rng, 40) != 0, has_progress = rng_chance(&b->rng, 30) != 0;
    uint32_t *id = b->sub_id;
    for (uint32_t i = 0; i < n; i++) {
        struct store_target *t = &b->target[i];
        *t = (struct store_target){.queue = 1 + any_number(b, 63), .plain = (uint8_t)rng_below(&b->rng, 6)};
        t->sub_id_n = (uint16_t)(has_ids ? rng_below(&b->rng, 8) : 0);
        t->sub_id = t->sub_id_n != 0 ? id : NULL;
        for (uint16_t k = 0; k < t->sub_id_n; k++)
            *id++ = (uint32_t)any_number(b, 28);
        if (has_progress && rng_chance(&b->rng, 50)) {
            t->progress = (uint8_t)rng_below(&b->rng, 3);
            t->ticket = (uint16_t)any_number(b, 16);
            t->returns = (uint16_t)any_number(b, 16);
            t->session = any_number(b, 64);
        }
    }
    rec->target = b->target;
    rec->target_n = n;
}

static struct store_rec any_publish(struct bench *b, enum store_kind kind)
{
    struct store_rec rec = {
        .kind = kind,
        .lsn = 1 + any_number(b, 63),
        .at = 1 + any_number(b, 42),
        .session = any_number(b, 64),
        .rx_id = (uint16_t)any_number(b, 16),
        .flags = (uint8_t)rng_below(&b->rng, 8),
        .expiry_s = (uint32_t)any_number(b, 32),
        .msg = rng_chance(&b->rng, 90) ? any_msg(b) : NULL,
    };
    if (kind == STORE_PUBLISH) {
        any_targets(b, &rec);
        rec.due = any_number(b, 43);
        rec.of = any_number(b, 60);
        rec.queue = any_number(b, 60);
    }
    if (kind == STORE_PUBLISH || rec.msg == NULL)
        rec.name = any_bytes(b, 60);
    return rec;
}

static struct store_rec any_record(struct bench *b, enum store_kind kind)
{
    b->policy = (struct queue_policy){
        .bytes_max = any_number(b, 64),
        .len_max = any_number(b, 64),
        .ttl_ms = any_number(b, 64),
        .expires_ms = any_number(b, 64),
        .retry_min_ms = any_number(b, 64),
        .retry_max_ms = any_number(b, 64),
        .ack_ms = any_number(b, 64),
        .dead_exchange = any_bytes(b, 200),
        .dead_key = any_bytes(b, 200),
        .given = (uint32_t)any_number(b, 32),
        .delivery_limit = (uint16_t)any_number(b, 16),
        .priority_max = (uint8_t)any_number(b, 8),
        .overflow = (enum queue_overflow)rng_below(&b->rng, 4),
        .has_ttl = any_number(b, 1),
        .has_dead_exchange = any_number(b, 1),
        .has_dead_key = any_number(b, 1),
        .has_delivery_limit = any_number(b, 1),
        .durable = any_number(b, 1),
        .exclusive = any_number(b, 1),
        .auto_delete = any_number(b, 1),
        .single_active = any_number(b, 1),
        .keep_qos0 = any_number(b, 1),
    };
    b->exchange = (struct exchange_spec){
        .name = any_bytes(b, 255),
        .kind = (enum exchange_kind)rng_below(&b->rng, 4),
        .durable = any_number(b, 1),
        .auto_delete = any_number(b, 1),
        .internal = any_number(b, 1),
        .alternate = any_bytes(b, 255),
        .rate = any_number(b, 64),
    };
    return (struct store_rec){
        .kind = kind,
        .lsn = 1 + any_number(b, 63),
        .at = 1 + any_number(b, 42),
        .queue = any_number(b, 64),
        .session = any_number(b, 64),
        .of = any_number(b, 64),
        .name = any_bytes(b, 300),
        .key = any_bytes(b, 300),
        .to = any_bytes(b, 300),
        .due = any_number(b, 64),
        .expiry_s = (uint32_t)any_number(b, 32),
        .sub_id = (uint32_t)any_number(b, 32),
        .rx_id = (uint16_t)any_number(b, 16),
        .ticket = (uint16_t)any_number(b, 16),
        .returns = (uint16_t)any_number(b, 16),
        .qos = (uint8_t)rng_below(&b->rng, 3),
        .flags = (uint8_t)any_number(b, 8),
        .policy = any_number(b, 1) ? &b->policy : NULL,
        .exchange = any_number(b, 1) ? &b->exchange : NULL,
    };
}

static struct store_rec any(struct bench *b, enum store_kind kind)
{
    bool publish = kind == STORE_PUBLISH || kind == STORE_RETAIN || kind == STORE_WILL;
    return publish ? any_publish(b, kind) : any_record(b, kind);
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

static bool publisher_stays(const struct store_rec *rec)
{
    return rec->kind != STORE_PUBLISH || (rec->flags & STORE_PUBLISH_RETAINED) || (rec->msg->flags & MSG_RETAIN) ||
           (rec->target_n == 1 && rec->target[0].queue == 0);
}

static void assert_msg(const struct store_rec *want, const struct store_rec *got)
{
    assert_int_equal(want->msg != NULL, got->msg != NULL);
    if (want->msg == NULL)
        return;
    struct msgview a, b;
    msg_view(want->msg, &a);
    msg_view(got->msg, &b);
    assert_slice(a.topic, b.topic);
    assert_slice(a.attrs, b.attrs);
    assert_slice(a.payload, b.payload);
    assert_int_equal(a.expires_at, b.expires_at);
    assert_int_equal(b.publisher, publisher_stays(want) ? a.publisher : 0);
    assert_int_equal(a.exchange, b.exchange);
    assert_int_equal(a.qos, b.qos);
    assert_int_equal(a.flags, b.flags);
    assert_int_equal(a.priority, b.priority);
}

static void assert_targets(const struct store_rec *want, const struct store_rec *got)
{
    assert_int_equal(want->target_n, got->target_n);
    for (uint32_t i = 0; i < want->target_n; i++) {
        const struct store_target *a = &want->target[i], *b = &got->target[i];
        assert_int_equal(a->queue, b->queue);
        assert_int_equal(a->session, b->session);
        assert_int_equal(a->plain, b->plain);
        assert_int_equal(a->progress, b->progress);
        assert_int_equal(a->ticket, b->ticket);
        assert_int_equal(a->returns, b->returns);
        assert_int_equal(a->sub_id_n, b->sub_id_n);
        assert_slice(slice_make(a->sub_id, a->sub_id_n * 4u), slice_make(b->sub_id, b->sub_id_n * 4u));
    }
}

static void assert_policy(const struct queue_policy *a, const struct queue_policy *b)
{
    struct queue_policy same = *b;
    assert_slice(a->dead_exchange, b->dead_exchange);
    assert_slice(a->dead_key, b->dead_key);
    assert_int_equal(queue_policy_diff(a, b), QUEUE_ARG_N);
    same.dead_exchange = a->dead_exchange;
    same.dead_key = a->dead_key;
    assert_true(a->bytes_max == same.bytes_max && a->len_max == same.len_max && a->ttl_ms == same.ttl_ms &&
                a->expires_ms == same.expires_ms && a->retry_min_ms == same.retry_min_ms &&
                a->retry_max_ms == same.retry_max_ms && a->ack_ms == same.ack_ms && a->given == same.given &&
                a->delivery_limit == same.delivery_limit && a->priority_max == same.priority_max &&
                a->overflow == same.overflow && a->has_ttl == same.has_ttl &&
                a->has_dead_exchange == same.has_dead_exchange && a->has_dead_key == same.has_dead_key &&
                a->has_delivery_limit == same.has_delivery_limit && a->durable == same.durable &&
                a->exclusive == same.exclusive && a->auto_delete == same.auto_delete &&
                a->single_active == same.single_active && a->keep_qos0 == same.keep_qos0);
}

static void assert_rec(const struct store_rec *want, const struct store_rec *got)
{
    assert_int_equal(want->kind, got->kind);
    assert_int_equal(want->lsn, got->lsn);
    assert_int_equal(want->at, got->at);
    assert_int_equal(want->queue, got->queue);
    assert_int_equal(want->session, got->session);
    assert_int_equal(want->of, got->of);
    assert_int_equal(want->due, got->due);
    assert_int_equal(want->expiry_s, got->expiry_s);
    assert_int_equal(want->sub_id, got->sub_id);
    assert_int_equal(want->rx_id, got->rx_id);
    assert_int_equal(want->ticket, got->ticket);
    assert_int_equal(want->returns, got->returns);
    assert_int_equal(want->qos, got->qos);
    assert_int_equal(want->flags, got->flags);
    assert_slice(want->name, got->name);
    assert_slice(want->key, got->key);
    assert_slice(want->to, got->to);
    assert_int_equal(want->policy != NULL, got->policy != NULL);
    if (want->policy != NULL)
        assert_policy(want->policy, got->policy);
    assert_int_equal(want->exchange != NULL, got->exchange != NULL);
    if (want->exchange != NULL) {
        const struct exchange_spec *a = want->exchange, *b = got->exchange;
        assert_slice(a->name, b->name);
        assert_slice(a->alternate, b->alternate);
        assert_true(a->kind == b->kind && a->durable == b->durable && a->auto_delete == b->auto_delete &&
                    a->internal == b->internal && a->rate == b->rate);
    }
    assert_targets(want, got);
    assert_msg(want, got);
}

static void forget(struct store_rec *rec)
{
    if (rec->msg != NULL)
        msg_drop(rec->msg);
    rec->msg = NULL;
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void test_every_record_comes_back(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 20000; round++) {
        struct store_rec rec = any(b, (enum store_kind)(1 + rng_below(&b->rng, STORE_WILL)));
        size_t from = b->out.len;
        uint8_t flags = rng_chance(&b->rng, 20) ? WAL_COPY : 0;
        assert_int_equal(codec_put(&b->out, &rec, flags, &b->clock), ERR_OK);
        struct wal_frame f = seal_check(b, from);
        assert_int_equal(f.flags, flags);
        assert_int_equal(f.kind, rec.kind);
        uint8_t *body = guard_bytes(f.body.p, f.body.len), *raw = guard_bytes(f.raw.p, f.raw.len);
        f.body.p = body;
        f.raw.p = raw;
        assert_int_equal(codec_get(&f, &b->msgs, &b->clock, &b->got), ERR_OK);
        assert_rec(&rec, &b->got.rec);
        assert_int_equal(b->got.has_msg, rec.msg != NULL);
        assert_int_equal(b->got.msg_bytes, rec.msg != NULL ? msg_bytes(rec.msg) : 0);
        forget(&b->got.rec);
        forget(&rec);
        guard_free(body);
        guard_free(raw);
        if (b->out.len > 1 << 20)
            buf_clear(&b->out);
    }
}

/* canonical: the body is what protobuf-c makes of it, whoever packed it. */
static void canonical(const struct wal_frame *f)
{
    static uint8_t again[1 << 20];
    Weir__Publish *m = weir__publish__unpack(NULL, f->body.len, f->body.p);
    assert_non_null(m);
    assert_int_equal(m->base.n_unknown_fields, 0);
    assert_int_equal(weir__publish__get_packed_size(m), f->body.len);
    assert_int_equal(weir__publish__pack(m, again), f->body.len);
    assert_memory_equal(again, f->body.p, f->body.len);
    weir__publish__free_unpacked(m, NULL);
}

static void test_publishes_are_packed_as_protobuf_says(void **state)
{
    struct bench *b = *state;
    int plain = 0;
    for (int round = 0; round < 20000; round++) {
        struct store_rec rec = any_publish(b, STORE_PUBLISH);
        if (round % 2 == 0) { /* what most publishes are like */
            rec.name.len = rec.due = rec.of = rec.queue = rec.expiry_s = 0;
            for (uint32_t i = 0; i < rec.target_n && round % 4 == 0; i++)
                b->target[i] = (struct store_target){.queue = b->target[i].queue, .plain = b->target[i].plain};
            plain += rec.msg != NULL && rec.msg->attrs_len == 0 && round % 4 == 0;
        }
        buf_clear(&b->out);
        assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
        struct wal_frame f = seal_check(b, 0);
        canonical(&f);
        assert_int_equal(codec_get(&f, &b->msgs, &b->clock, &b->got), ERR_OK);
        assert_rec(&rec, &b->got.rec);
        forget(&b->got.rec);
        forget(&rec);
    }
    assert_true(plain > 1000);
}

static void test_now_and_times(void **state)
{
    struct bench *b = *state;
    struct msgview v = {.topic = SLICE("t"), .expires_at = 7000};
    struct store_rec rec = {.kind = STORE_WILL, .lsn = 1, .session = 1, .msg = msg_new(&b->msgs, &v)};
    assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
    struct wal_frame f = seal_check(b, 0);
    struct store later = {.clock = CLOCK + 6000}; /* the next life's clock begins elsewhere */
    assert_int_equal(codec_get(&f, &b->msgs, &later, &b->got), ERR_OK);
    assert_int_equal(b->got.rec.at, CLOCK + 5000);      /* at 0 is now */
    assert_int_equal(b->got.rec.msg->expires_at, 7000); /* a will's is a length of time */
    forget(&b->got.rec);
    rec.kind = STORE_RETAIN;
    size_t from = b->out.len;
    assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
    f = seal_check(b, from);
    assert_int_equal(codec_get(&f, &b->msgs, &later, &b->got), ERR_OK);
    assert_int_equal(b->got.rec.msg->expires_at, 1000);
    forget(&b->got.rec);
    later.clock = CLOCK + 100000; /* long over */
    assert_int_equal(codec_get(&f, &b->msgs, &later, &b->got), ERR_OK);
    assert_int_equal(b->got.rec.msg->expires_at, 1); /* 0 would be: never */
    forget(&b->got.rec);
    forget(&rec);
}

static void check_retain(struct bench *b, const struct store_rec *rec, const char *topic, bool has_msg, bool cleared)
{
    buf_clear(&b->out);
    assert_int_equal(codec_put(&b->out, rec, 0, &b->clock), ERR_OK);
    struct wal_frame f = seal_check(b, 0);
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_OK);
    assert_null(b->got.rec.msg);
    assert_int_equal(b->got.has_msg, has_msg);
    assert_int_equal(b->got.is_cleared, cleared);
    assert_true(slice_eq_str(b->got.rec.name, topic));
}

static void test_topic_without_making_the_message(void **state)
{
    struct bench *b = *state;
    struct msgview set = {.topic = SLICE("a/b"), .payload = SLICE("x")}, clear = {.topic = SLICE("a/b")};
    const struct msg *m = msg_new(&b->msgs, &set), *none = msg_new(&b->msgs, &clear);
    struct store_target t = {.queue = 3};
    struct store_rec rec = {.kind = STORE_RETAIN, .lsn = 1, .msg = m};
    check_retain(b, &rec, "a/b", true, false);
    rec.msg = none;
    check_retain(b, &rec, "a/b", true, true);
    rec = (struct store_rec){.kind = STORE_RETAIN, .lsn = 1, .name = SLICE("a/b")};
    check_retain(b, &rec, "a/b", false, true);
    rec = (struct store_rec){.kind = STORE_PUBLISH, .lsn = 1, .msg = m, .target = &t, .target_n = 1};
    check_retain(b, &rec, "", true, false);
    rec.flags = STORE_PUBLISH_RETAINED;
    check_retain(b, &rec, "a/b", true, false);
    rec.msg = none;
    check_retain(b, &rec, "a/b", true, true);
    msg_drop(m);
    msg_drop(none);
}

static void test_copies(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 5000; round++) {
        buf_clear(&b->out);
        struct store_rec rec = any(b, (enum store_kind)(1 + rng_below(&b->rng, STORE_WILL))), want = rec;
        assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
        size_t from = b->out.len;
        struct wal_frame f = seal_check(b, 0);
        struct store_rec now = rec;
        if (rec.kind == STORE_PUBLISH) {
            any_targets(b, &now);
            if (rng_chance(&b->rng, 20))
                now.target_n = 0;
            now.rx_id = (uint16_t)any_number(b, 16);
            now.session = any_number(b, 64);
            now.flags = (uint8_t)rng_below(&b->rng, 8);
            now.of = 0;
            want = now;
            want.queue = 0;
            if (now.target_n == 0 && !(now.flags & STORE_PUBLISH_RETAINED))
                want.msg = NULL;
        }
        uint8_t copy[65536]; /* out may move while it grows */
        assert_true(from < sizeof(copy));
        memcpy(copy, b->out.p, from);
        assert_int_equal(wal_check_frame(copy, from, SALT, &f), ERR_OK);
        assert_int_equal(codec_put_copy(&b->out, &f, &now), ERR_OK);
        f = seal_check(b, from);
        assert_int_equal(f.flags, WAL_COPY);
        assert_int_equal(codec_get(&f, &b->msgs, &b->clock, &b->got), ERR_OK);
        if (want.msg != NULL && rec.kind == STORE_PUBLISH) { /* the publisher is what the first frame said of it */
            assert_int_equal(b->got.rec.msg->publisher, publisher_stays(&rec) ? rec.msg->publisher : 0);
            ((struct msg *)(uintptr_t)b->got.rec.msg)->publisher = publisher_stays(&want) ? rec.msg->publisher : 0;
        }
        assert_rec(&want, &b->got.rec);
        forget(&b->got.rec);
        forget(&rec);
    }
}

static void test_batch(void **state)
{
    struct bench *b = *state;
    wall_ms at;
    uint32_t part;
    uint64_t bytes;
    assert_int_equal(codec_put_batch(&b->out, UINT64_MAX, UINT64_MAX, UINT32_MAX), ERR_OK);
    assert_true(b->out.len <= CODEC_BATCH_MAX);
    struct wal_frame f = seal_check(b, 0);
    assert_int_equal(codec_get_batch(&f, &at, &part, &bytes), ERR_OK);
    assert_true(f.lsn == UINT64_MAX && at == UINT64_MAX && part == UINT32_MAX && bytes == b->out.len);
    struct wal_frame bad = f;
    bad.body.len--;
    assert_int_equal(codec_get_batch(&bad, &at, &part, &bytes), ERR_MALFORMED);
    bad = f;
    bad.kind = WAL_NOTES;
    assert_int_equal(codec_get_batch(&bad, &at, NULL, NULL), ERR_MALFORMED);
    buf_clear(&b->out);
    assert_int_equal(codec_put_batch(&b->out, 1, 0, 0), ERR_OK); /* nothing in the body: all fields are 0 */
    f = seal_check(b, 0);
    assert_int_equal(codec_get_batch(&f, &at, &part, &bytes), ERR_OK);
    assert_true(f.lsn == 1 && at == 0 && part == 0 && bytes == b->out.len);
}

/* refuse: what a Publish with this wrong says. */
static void refuse(struct bench *b, const Weir__Publish *m, const char *raw, enum err want)
{
    uint8_t body[256];
    size_t n = weir__publish__pack(m, body);
    struct wal_frame f = {.kind = STORE_PUBLISH, .lsn = 1, .body = slice_make(body, n), .raw = slice_from_str(raw)};
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), want);
    assert_int_equal(codec_get(&f, &b->msgs, &b->clock, &b->got), want);
    forget(&b->got.rec);
}

static void test_what_cannot_be_is_refused(void **state)
{
    struct bench *b = *state;
    uint64_t queue[2] = {1, 2};
    uint32_t plain[2] = {1, 2}, big[2] = {70000, 6}, ids[2] = {1, 1};
    Weir__Publish ok = WEIR__PUBLISH__INIT, m;
    ok.topic_bytes_plus_1 = 4;
    ok.n_queue = ok.n_plain = 2;
    ok.queue = queue;
    ok.plain = plain;
    refuse(b, &ok, "abcd", ERR_OK);
    refuse(b, &ok, "ab", ERR_MALFORMED); /* the topic is longer than raw */
#define WRONG(change)                                                                                                  \
    do {                                                                                                               \
        m = ok;                                                                                                        \
        change;                                                                                                        \
        refuse(b, &m, "abcd", ERR_MALFORMED);                                                                          \
    } while (0)
    WRONG(m.n_plain = 1);
    WRONG(m.plain = big + 1; m.n_plain = m.n_queue = 1);
    WRONG(m.qos = 3);
    WRONG(m.msg_flags = 256);
    WRONG(m.priority = 256);
    WRONG(m.rx_id = 65536);
    WRONG(m.flags = 256);
    WRONG(m.n_sub_id_n = 2; m.sub_id_n = ids; m.n_sub_id = 1; m.sub_id = ids);
    WRONG(m.n_sub_id_n = 1; m.sub_id_n = ids; m.n_sub_id = 1; m.sub_id = ids);
    WRONG(m.n_sub_id_n = 2; m.sub_id_n = big);
    WRONG(m.n_progress = 1; m.progress = plain);
    WRONG(m.n_progress = 2; m.progress = big);
    WRONG(m.n_ticket = 2; m.ticket = big);
    WRONG(m.n_returns = 2; m.returns = big);
    WRONG(m.n_holder = 1; m.holder = queue);
#undef WRONG
    struct wal_frame f = {.kind = 21, .lsn = 1};
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_UNSUPPORTED);
    f.kind = STORE_TX;
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_OK);
    f.body = SLICE("\x08"); /* a field without its number */
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_MALFORMED);
    f.body = SLICE("\x58\x03"); /* qos 3 */
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_MALFORMED);
    f.body = SLICE("\xf8\x07\x03"); /* field 127: of a later broker */
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_OK);
    f.lsn = 0; /* "nothing was logged" */
    assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_MALFORMED);
}

static void test_any_bytes_are_survived(void **state)
{
    struct bench *b = *state;
    uint64_t good = 0;
    for (int round = 0; round < 30000; round++) {
        buf_clear(&b->out);
        struct store_rec rec = any(b, (enum store_kind)(1 + rng_below(&b->rng, STORE_WILL)));
        assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
        forget(&rec);
        struct wal_frame f = seal_check(b, 0);
        uint8_t *body = guard_bytes(f.body.p, f.body.len);
        for (int i = rng_chance(&b->rng, 50) ? 1 : 6; i > 0 && f.body.len != 0; i--)
            body[rng_below(&b->rng, (uint32_t)f.body.len)] ^= (uint8_t)(1u << rng_below(&b->rng, 8));
        f.body.p = body;
        enum err e = codec_get(&f, &b->msgs, &b->clock, &b->got);
        assert_true(e == ERR_OK || e == ERR_MALFORMED);
        good += e == ERR_OK;
        forget(&b->got.rec);
        guard_free(body);
    }
    assert_true(good > 1000 && good < 29000); /* both happen */
}

static void test_out_of_memory(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 300; round++) {
        struct store_rec rec = any(b, (enum store_kind)(1 + rng_below(&b->rng, STORE_WILL)));
        struct buf out;
        buf_init(&out, &b->mem);
        buf_put_str(&out, "12345678");
        enum err e = ERR_NOMEM;
        for (uint64_t nth = 1; e != ERR_OK; nth++) {
            b->heap.fail_at = b->heap.calls + nth;
            e = codec_put(&out, &rec, 0, &b->clock);
            b->heap.fail_at = 0;
            assert_true(e == ERR_OK || (e == ERR_NOMEM && out.len == 8 && !out.bad));
        }
        struct wal_frame f;
        wal_seal(out.p + 8, out.len - 8, SALT);
        assert_int_equal(wal_check_frame(out.p + 8, out.len - 8, SALT, &f), ERR_OK);
        struct codec_rec got;
        codec_rec_init(&got, &b->mem);
        e = ERR_NOMEM;
        for (uint64_t nth = 1; e != ERR_OK; nth++) {
            b->heap.fail_at = b->heap.calls + nth;
            e = codec_get(&f, &b->msgs, &b->clock, &got);
            b->heap.fail_at = 0;
            assert_true(e == ERR_OK || e == ERR_NOMEM);
        }
        assert_rec(&rec, &got.rec);
        forget(&got.rec);
        codec_rec_fini(&got);
        struct buf copy;
        buf_init(&copy, &b->mem);
        e = ERR_NOMEM;
        for (uint64_t nth = 1; e != ERR_OK; nth++) {
            b->heap.fail_at = b->heap.calls + nth;
            e = codec_put_copy(&copy, &f, &rec);
            b->heap.fail_at = 0;
            assert_true(e == ERR_OK || (e == ERR_NOMEM && copy.len == 0 && !copy.bad));
        }
        buf_fini(&copy);
        buf_fini(&out);
        forget(&rec);
    }
}

static double ns_since(const struct timespec *from, int n)
{
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((double)(to.tv_sec - from->tv_sec) * 1e9 + (double)(to.tv_nsec - from->tv_nsec)) / n;
}

static void test_cost(void **state)
{
    struct bench *b = *state;
    struct msgview v = {.topic = SLICE("plant/7/line/3/temperature"),
                        .payload = slice_make(b->text, 100),
                        .qos = 1,
                        .flags = MSG_DURABLE,
                        .exchange = 1};
    struct store_target t = {.queue = 1234, .plain = 1};
    struct store_rec rec = {
        .kind = STORE_PUBLISH, .msg = msg_new(&b->msgs, &v), .target = &t, .target_n = 1, .lsn = 1u << 20};
    enum { N = 200000 };
    struct timespec from;
    for (int round = 0; round < 3; round++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < N; i++) {
            if (b->out.len > 60000)
                buf_clear(&b->out);
            rec.lsn++;
            assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
        }
        double put = ns_since(&from, N);
        buf_clear(&b->out);
        assert_int_equal(codec_put(&b->out, &rec, 0, &b->clock), ERR_OK);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < N; i++)
            wal_seal(b->out.p, b->out.len, SALT);
        double seal = ns_since(&from, N);
        struct wal_frame f = seal_check(b, 0);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < N; i++) {
            assert_int_equal(codec_get(&f, NULL, &b->clock, &b->got), ERR_OK);
        }
        double get = ns_since(&from, N);
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < N; i++) {
            assert_int_equal(codec_get(&f, &b->msgs, &b->clock, &b->got), ERR_OK);
            forget(&b->got.rec);
        }
        printf(
            "a publish of 100 bytes for one queue is %zu bytes: put %.0f ns, seal %.0f ns, get %.0f ns, with message "
            "%.0f ns\n",
            b->out.len, put, seal, get, ns_since(&from, N));
    }
    assert_true(b->out.len <= 26 + 100 + 24 + 40);
    forget(&rec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_record_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_publishes_are_packed_as_protobuf_says, setup, teardown),
        cmocka_unit_test_setup_teardown(test_now_and_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topic_without_making_the_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_bytes_are_survived, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
