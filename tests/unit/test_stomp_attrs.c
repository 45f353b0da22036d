/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_stomp_attrs.c: headers of SEND to attributes and attributes to headers of MESSAGE: names, base64, and the law
 * that what a device says about its message comes back unchanged after a way through STOMP, in every version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "proto_stomp/stomp_attrs.h"
#include "tests/support/guard.h"

static struct mem_heap heap;
static struct mem mem;

static const struct stomp_limits wide = {.command_bytes = STOMP_COMMAND_BYTES_MAX,
                                         .headers_n = STOMP_HEADERS_MAX,
                                         .line_bytes = STOMP_LINE_BYTES_MAX,
                                         .head_bytes = STOMP_HEAD_BYTES_MAX,
                                         .body_bytes = 1u << 20};

static int setup(void **state)
{
    (void)state;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "test");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(mem.bytes, 0);
    return 0;
}

/* ---- small languages ------------------------------------------------------------------------------------------- */

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *text;
    } known[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                 {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
    uint8_t text[64], plain[64];
    for (size_t i = 0; i < ARRAY_N(known); i++) {
        size_t n = stomp_base64_put(slice_from_str(known[i].plain), text);
        assert_true(slice_eq_str(slice_make(text, n), known[i].text));
        ptrdiff_t got = stomp_base64_get(slice_make(text, n), plain);
        assert_int_equal(got, strlen(known[i].plain));
        assert_memory_equal(plain, known[i].plain, strlen(known[i].plain));
    }
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zh==", "Zm9=", "Zm9v\n", "Zm 9", "=Zm9", "Z=9v"};
    for (size_t i = 0; i < ARRAY_N(bad); i++)
        assert_int_equal(stomp_base64_get(slice_from_str(bad[i]), plain), -ERR_MALFORMED);
    assert_int_equal(stomp_base64_get(SLICE("Zm\0v"), plain), -ERR_MALFORMED);
}

static void test_base64_random(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 3);
    for (int i = 0; i < 2000; i++) {
        uint8_t plain[100], text[140], back[110];
        size_t n = rng_u64(&rng) % sizeof plain;
        for (size_t k = 0; k < n; k++)
            plain[k] = (uint8_t)rng_u64(&rng);
        uint8_t *guarded = guard_bytes(plain, n);
        size_t text_n = stomp_base64_put(slice_make(guarded, n), text);
        guard_free(guarded);
        assert_int_equal(text_n, 4 * ((n + 2) / 3));
        guarded = guard_bytes(text, text_n);
        assert_int_equal(stomp_base64_get(slice_make(guarded, text_n), back), n);
        guard_free(guarded);
        assert_memory_equal(back, plain, n);
    }
}

static void test_numbers_and_flags(void **state)
{
    (void)state;
    uint64_t n = 0;
    bool on = false;
    assert_true(stomp_u64_parse(SLICE("0"), &n) && n == 0);
    assert_true(stomp_u64_parse(SLICE("007"), &n) && n == 7);
    assert_true(stomp_u64_parse(SLICE("99999999999999999999999999"), &n) && n > UINT32_MAX);
    static const char *const no_numbers[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1.0"};
    for (size_t i = 0; i < ARRAY_N(no_numbers); i++)
        assert_false(stomp_u64_parse(slice_from_str(no_numbers[i]), &n));
    assert_true(stomp_bool_parse(SLICE("true"), &on) && on);
    assert_true(stomp_bool_parse(SLICE("True"), &on) && on);
    assert_true(stomp_bool_parse(SLICE("FALSE"), &on) && !on);
    static const char *const no_flags[] = {"", "1", "yes", "truer", "tru", " true"};
    for (size_t i = 0; i < ARRAY_N(no_flags); i++)
        assert_false(stomp_bool_parse(slice_from_str(no_flags[i]), &on));
}

static void test_reserved_names(void **state)
{
    (void)state;
    static const char *const reserved[] = {"",
                                           "user.",
                                           "user.x",
                                           "destination",
                                           "message-id",
                                           "subscription",
                                           "ack",
                                           "receipt",
                                           "receipt-id",
                                           "content-length",
                                           "content-type",
                                           "transaction",
                                           "redelivered",
                                           "retained",
                                           "retain",
                                           "x-death",
                                           "x-death[0]",
                                           "x-first-death-queue",
                                           "x-delivery-count",
                                           "mqtt-qos",
                                           "x-encoded",
                                           "persistent",
                                           "expiration",
                                           "reply-to",
                                           "correlation-id",
                                           "x-delay",
                                           "AMQ_SCHEDULED_DELAY",
                                           "AMQ_SCHEDULED_CRON",
                                           "priority",
                                           "x-consumer-timeout",
                                           "durable",
                                           "x-message-ttl",
                                           "qos",
                                           "reject"};
    static const char *const free_names[] = {"foo",  "timestamp", "Destination", "browser",
                                             "user", "users.x",   "x-dead",      "id"};
    for (size_t i = 0; i < ARRAY_N(reserved); i++)
        if (!stomp_name_is_reserved(slice_from_str(reserved[i])))
            fail_msg("'%s' should be reserved", reserved[i]);
    for (size_t i = 0; i < ARRAY_N(free_names); i++)
        if (stomp_name_is_reserved(slice_from_str(free_names[i])))
            fail_msg("'%s' should not be reserved", free_names[i]);
}

/* ---- there and back -------------------------------------------------------------------------------------------- */

static const struct stomp_reply as_it_says = {.dialect = STOMP_DIALECT_MERGED};

/* frame_of: attributes as the headers of a frame, written for version v and read again; *out points into bytes. */
static size_t frame_of(struct slice attrs, enum stomp_version v, struct slice body, uint8_t *bytes, size_t cap)
{
    struct stomp_writer w;
    size_t bound = STOMP_WRITE_FIXED_MAX + stomp_headers_bound(attrs) + body.len;
    size_t scratch = stomp_headers_scratch(attrs);
    assert_true(bound + scratch <= cap);
    uint8_t *side = scratch != 0 ? malloc(scratch) : NULL; /* exactly: a sanitizer sees one byte more */
    stomp_write_begin(&w, bytes, bound, v, STOMP_CMD_SEND);
    stomp_headers_put(&w, attrs, side);
    ptrdiff_t n = stomp_write_body(&w, body);
    free(side);
    assert_true(n > 0); /* the bound was enough */
    return (size_t)n;
}

static void read_back(const uint8_t *bytes, size_t n, enum stomp_version v, struct stomp_frame *f)
{
    struct stomp_scan scan = {0};
    assert_int_equal(stomp_frame_decode(bytes, n, &wide, v, &scan, f), n);
}

static uint8_t random_byte(struct rng *rng, bool also_odd)
{
    static const char odd[] = "\n\r:\\%.=; \t\x01\x1f/+#*";
    uint64_t r = rng_u64(rng);
    if (also_odd && r % 3 == 0)
        return (uint8_t)odd[(r >> 8) % (sizeof odd - 1)];
    return (uint8_t)('a' + (r >> 8) % 26);
}

/* random_text: UTF-8 without NUL, now and then with a character of two bytes. */
static struct slice random_text(struct rng *rng, uint8_t *out, size_t max)
{
    size_t want = rng_u64(rng) % max, n = 0;
    while (n < want) {
        if (n + 2 <= want && rng_u64(rng) % 8 == 0) {
            out[n++] = 0xc3;
            out[n++] = (uint8_t)(0x80 + rng_u64(rng) % 64);
        } else {
            out[n++] = random_byte(rng, true);
        }
    }
    return slice_make(out, n);
}

static struct slice random_name(struct rng *rng, uint8_t *out, size_t max)
{
    static const char *const names[] = {"destination", "user.x",  "",      "x-death",  "content-type",
                                        "foo",         "receipt", "user.", "x-encoded"};
    if (rng_u64(rng) % 3 != 0)
        return random_text(rng, out, max);
    return slice_from_str(names[rng_u64(rng) % ARRAY_N(names)]);
}

/* random_attrs: what a device may say, in the order in which headers come back. */
static void random_attrs(struct rng *rng, struct buf *b)
{
    uint8_t name[64], value[200];
    for (uint64_t n = rng_u64(rng) % 6; n > 0; n--) {
        struct slice k = random_name(rng, name, sizeof name);
        attr_put(b, ATTR_USER, k, random_text(rng, value, sizeof value));
    }
    if (rng_u64(rng) % 2 == 0)
        attr_put(b, ATTR_CONTENT_TYPE, SLICE(""), random_text(rng, value, 40));
    if (rng_u64(rng) % 2 == 0) {
        size_t n = 1 + rng_u64(rng) % 30;
        for (size_t i = 0; i < n; i++)
            value[i] = rng_u64(rng) % 5 == 0 ? '/' : random_byte(rng, false);
        attr_put(b, ATTR_REPLY_TO, SLICE(""), slice_make(value, n));
    }
    if (rng_u64(rng) % 2 == 0) {
        size_t n = rng_u64(rng) % 60;
        for (size_t i = 0; i < n; i++)
            value[i] = (uint8_t)rng_u64(rng);
        attr_put(b, ATTR_CORRELATION, SLICE(""), rng_u64(rng) % 2 ? slice_make(value, n) : random_text(rng, value, 60));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 11);
    static uint8_t bytes[65536];
    static struct stomp_frame f;
    for (int i = 0; i < 6000; i++) {
        enum stomp_version v = (enum stomp_version)(rng_u64(&rng) % 3);
        struct buf before, after;
        struct slice name;
        buf_init(&before, &mem);
        buf_init(&after, &mem);
        random_attrs(&rng, &before);
        size_t n = frame_of(buf_slice(&before), v, SLICE("\xff"), bytes, sizeof bytes);
        read_back(bytes, n, v, &f);
        assert_int_equal(stomp_attrs_put(&after, &f, &as_it_says, &name), STOMP_FAULT_NONE);
        assert_true(after.len <= stomp_attrs_bytes(&f, &as_it_says));
        assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
        buf_fini(&before);
        buf_fini(&after);
    }
}

static void test_text_is_said(void **state)
{
    (void)state;
    struct buf b;
    static uint8_t bytes[4096];
    static struct stomp_frame f;
    struct slice name;
    struct attr a;
    uint8_t tmp[128];
    struct slice type;
    buf_init(&b, &mem);
    attr_put(&b, ATTR_IS_TEXT, SLICE(""), SLICE(""));
    size_t n = frame_of(buf_slice(&b), STOMP_1_2, SLICE("x"), bytes, sizeof bytes);
    read_back(bytes, n, STOMP_1_2, &f);
    assert_int_equal(stomp_frame_get(&f, STOMP_H_CONTENT_TYPE, tmp, sizeof tmp, &type), ERR_OK);
    assert_true(slice_eq_str(type, "text/plain;charset=utf-8"));
    buf_clear(&b);
    assert_int_equal(stomp_attrs_put(&b, &f, &as_it_says, &name), STOMP_FAULT_NONE);
    assert_true(attr_find(buf_slice(&b), ATTR_IS_TEXT, &a));
    buf_fini(&b);
}

/* put: the attributes of a SEND that is given as text. */
static enum stomp_fault put_with(struct buf *b, const char *frame, size_t n, const struct stomp_reply *r,
                                 struct slice *name)
{
    static struct stomp_frame f;
    read_back((const uint8_t *)frame, n, STOMP_1_2, &f);
    buf_clear(b);
    enum stomp_fault e = stomp_attrs_put(b, &f, r, name);
    assert_true(b->len <= stomp_attrs_bytes(&f, r));
    return e;
}

static enum stomp_fault put(struct buf *b, const char *frame, size_t n, struct slice *name)
{
    return put_with(b, frame, n, &as_it_says, name);
}

#define PUT(b, text, name) put(b, text, sizeof(text), name)

static void test_faults(void **state)
{
    (void)state;
    struct buf b;
    struct slice name;
    buf_init(&b, &mem);
    assert_int_equal(PUT(&b, "SEND\nok:1\nk:\xff\n\n", &name), STOMP_FAULT_HEADER_TEXT);
    assert_true(slice_eq_str(name, "k"));
    assert_int_equal(PUT(&b, "SEND\nx-encoded:1\nk:%00\n\n", &name), STOMP_FAULT_HEADER_TEXT);
    assert_int_equal(PUT(&b, "SEND\ncontent-type:\xff\n\n", &name), STOMP_FAULT_HEADER_TEXT);
    assert_int_equal(PUT(&b, "SEND\ncorrelation-id:!\ncorrelation-id-encoding:base64\n\n", &name), STOMP_FAULT_BASE64);
    assert_int_equal(PUT(&b, "SEND\ncorrelation-id:eA==\ncorrelation-id-encoding:rot13\n\n", &name),
                     STOMP_FAULT_BASE64);
    assert_int_equal(PUT(&b, "SEND\nAMQ_SCHEDULED_REPEAT:3\n\n", &name), STOMP_FAULT_UNSUPPORTED);
    assert_true(slice_eq_str(name, "AMQ_SCHEDULED_REPEAT"));
    assert_int_equal(PUT(&b, "SEND\ncorrelation-id-encoding:base64\n\n", &name), STOMP_FAULT_NONE);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

/* reply-to: where to answer to a temporary queue takes the place of its name, and stands where the header stood. */
static void test_reply_queue(void **state)
{
    (void)state;
    static const struct stomp_reply reply = {
        .dest = {(const uint8_t *)"/reply-queue/0123456789abcdef0123456789abcdef", 45},
        .topic = {(const uint8_t *)"$reply/0123456789abcdef0123456789abcdef", 39}};
    static const char frame[] = "SEND\na:1\nreply-to:/temp-queue/a\nb:2\nreply-to:/temp-queue/b\n\n";
    static const enum attr_id ids[] = {ATTR_USER, ATTR_REPLY_DEST, ATTR_REPLY_TO, ATTR_USER};
    struct buf b;
    struct slice name;
    struct attr a;
    size_t pos = 0;
    buf_init(&b, &mem);
    assert_int_equal(put_with(&b, frame, sizeof frame, &reply, &name), STOMP_FAULT_NONE);
    for (size_t i = 0; i < ARRAY_N(ids); i++) {
        assert_true(attr_next(buf_slice(&b), &pos, &a));
        assert_int_equal(a.id, ids[i]);
        if (a.id == ATTR_REPLY_DEST)
            assert_true(slice_eq(a.value, reply.dest));
        if (a.id == ATTR_REPLY_TO)
            assert_true(slice_eq(a.value, reply.topic));
    }
    assert_false(attr_next(buf_slice(&b), &pos, &a));
    buf_fini(&b);
}

/* value_of: the header of this name in the MESSAGE that `attrs` give. */
static bool value_of(struct slice attrs, const char *header, uint8_t *tmp, size_t cap, struct slice *out)
{
    static uint8_t bytes[4096];
    static struct stomp_frame f;
    size_t n = frame_of(attrs, STOMP_1_2, SLICE("x"), bytes, sizeof bytes);
    read_back(bytes, n, STOMP_1_2, &f);
    return stomp_frame_find(&f, slice_from_str(header), tmp, cap, out) == ERR_OK;
}

/* The history of a dead letter goes out under its own names, and is nobody else's to tell. */
static void test_death(void **state)
{
    (void)state;
    struct buf b;
    struct slice name, value;
    uint8_t tmp[128];
    static uint8_t bytes[4096];
    static struct stomp_frame f;
    buf_init(&b, &mem);
    attr_put(&b, ATTR_USER, SLICE("x-death"), SLICE("a device's"));
    attr_put(&b, ATTR_DEATH, SLICE("x-first-death-reason"), SLICE("rejected"));
    attr_put(&b, ATTR_DEATH, SLICE("x-death"), SLICE("queue=a%3Bb;reason=rejected"));
    assert_true(value_of(buf_slice(&b), "x-first-death-reason", tmp, sizeof tmp, &value));
    assert_true(slice_eq_str(value, "rejected"));
    assert_true(value_of(buf_slice(&b), "x-death", tmp, sizeof tmp, &value));
    assert_true(slice_eq_str(value, "queue=a%3Bb;reason=rejected"));
    assert_true(value_of(buf_slice(&b), "user.x-death", tmp, sizeof tmp, &value));
    assert_true(slice_eq_str(value, "a device's"));
    size_t n = frame_of(buf_slice(&b), STOMP_1_2, SLICE("x"), bytes, sizeof bytes);
    read_back(bytes, n, STOMP_1_2, &f);
    buf_clear(&b);
    assert_int_equal(stomp_attrs_put(&b, &f, &as_it_says, &name), STOMP_FAULT_NONE);
    struct attr a;
    size_t pos = 0;
    assert_true(attr_next(buf_slice(&b), &pos, &a));
    assert_int_equal(a.id, ATTR_USER);
    assert_true(slice_eq_str(a.key, "x-death") && slice_eq_str(a.value, "a device's"));
    assert_false(attr_next(buf_slice(&b), &pos, &a)); /* what the broker said did not become the sender's */
    buf_fini(&b);
}

/* Only the broker says browser:end; other values of that header are anybody's. */
static void test_browsers_end(void **state)
{
    (void)state;
    struct buf b;
    struct slice value;
    uint8_t tmp[128];
    buf_init(&b, &mem);
    attr_put(&b, ATTR_USER, SLICE("browser"), SLICE("end"));
    assert_false(value_of(buf_slice(&b), "browser", tmp, sizeof tmp, &value));
    assert_true(value_of(buf_slice(&b), "user.browser", tmp, sizeof tmp, &value));
    buf_clear(&b);
    attr_put(&b, ATTR_USER, SLICE("browser"), SLICE("Lynx"));
    assert_true(value_of(buf_slice(&b), "browser", tmp, sizeof tmp, &value));
    assert_true(slice_eq_str(value, "Lynx"));
    buf_fini(&b);
}

static void test_out_of_memory_shows(void **state)
{
    (void)state;
    struct buf b;
    struct slice name;
    heap.fail_at = heap.calls + 1;
    buf_init(&b, &mem);
    assert_int_equal(PUT(&b, "SEND\nk:v\n\n", &name), STOMP_FAULT_NONE);
    assert_true(buf_is_bad(&b));
    heap.fail_at = 0;
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64_random),
        cmocka_unit_test(test_numbers_and_flags),
        cmocka_unit_test(test_reserved_names),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_text_is_said),
        cmocka_unit_test(test_reply_queue),
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_browsers_end),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_out_of_memory_shows),
    };
    return cmocka_run_group_tests_name("stomp_attrs", tests, setup, teardown);
}
