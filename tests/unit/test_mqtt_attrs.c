/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_attrs.c: MQTT 5 properties to core attributes and back: nothing lost, nothing added, in order; what is not
 * for MQTT stays out; the promised sizes are exact, and nobody writes one byte further (rooms end at a forbidden page).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/attrs.h"
#include "core/base/rng.h"
#include "proto_mqtt/mqtt_attrs.h"
#include "tests/support/guard.h"

enum { ROUNDS = 2000, BLOCK_MAX = 64 * 1024 };

static struct mem_heap heap;
static struct mem mem;

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
    assert_int_equal(heap.bytes, 0);
    return 0;
}

/* there: a block's attributes, in `out`; checks the promised size. */
static void there(struct slice block, struct buf *out)
{
    struct mqtt_props p;
    mqtt_props_clear(&p);
    if (block.len != 0)
        assert_int_equal(mqtt_props_collect(block, MQTT_PUBLISH, &p), ERR_OK);
    buf_init(out, &mem);
    mqtt_attrs_put(out, &p);
    assert_false(buf_is_bad(out));
    assert_int_equal(out->len, mqtt_attrs_bytes(&p));
}

/* back: attributes as a block, written to a room of exactly the promised size. */
static size_t back(struct slice attrs, uint8_t *out)
{
    uint8_t *room = guard_room(mqtt_block_max(attrs));
    size_t n = mqtt_block_put(attrs, room);
    assert_true(n <= mqtt_block_max(attrs));
    memcpy(out, room, n);
    guard_free(room);
    return n;
}

static void same_both_ways(struct slice block, struct slice want)
{
    static uint8_t out[BLOCK_MAX];
    struct buf attrs;
    there(block, &attrs);
    size_t n = back(buf_slice(&attrs), out);
    buf_fini(&attrs);
    assert_int_equal(n, want.len);
    assert_memory_equal(out, want.p, n);
}

static void test_nothing_costs_nothing(void **state)
{
    (void)state;
    struct buf attrs;
    there(slice_make(NULL, 0), &attrs);
    assert_int_equal(attrs.len, 0);
    assert_null(attrs.p);
    buf_fini(&attrs);
    uint8_t none;
    assert_int_equal(mqtt_block_put(slice_make(NULL, 0), &none), 0);
}

static void test_each_property(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t len;
    } same[] = {
        {"\x01\x01", 2},         /* [MQTT-3.3.2-4] Payload Format Indicator, unaltered: */
        {"\x01\x00", 2},         /* also where it says no more than none would */
        {"\x03\x00\x04text", 7}, /* [MQTT-3.3.2-20] Content Type */
        {"\x03\x00\x00", 3},     /* an empty one */
        {"\x08\x00\x03"
         "a/b",
         6},                             /* [MQTT-3.3.2-15] Response Topic */
        {"\x09\x00\x03\x00\xff\x00", 6}, /* [MQTT-3.3.2-16] Correlation Data */
        {"\x26\x00\x01k\x00\x01v", 7},   /* [MQTT-3.3.2-17] User Property */
        {"\x26\x00\x00\x00\x00", 5},
        {"\x26\x00\x01k\x00\x01"
         "1\x26\x00\x01k\x00\x01"
         "0\x26\x00\x01"
         "a\x00\x00",
         20}, /* [MQTT-3.3.2-18] in order */
    };
    for (size_t i = 0; i < ARRAY_N(same); i++) {
        struct slice block = slice_make(same[i].block, same[i].len);
        same_both_ways(block, block);
    }
}

static void test_what_belongs_to_the_hop_is_left_out(void **state)
{
    (void)state;
    same_both_ways(SLICE("\x02\x00\x00\x00\x0a"), SLICE("")); /* expiry is msgview.expires_at */
    same_both_ways(SLICE("\x0b\x05\x23\x00\x01"), SLICE("")); /* Subscription Identifier, Topic Alias */
    same_both_ways(SLICE("\x26\x00\x01k\x00\x01v\x02\x00\x00\x00\x0a\x01\x01"),
                   SLICE("\x01\x01\x26\x00\x01k\x00\x01v"));
}

static void test_what_is_not_for_mqtt_is_left_out(void **state)
{
    (void)state;
    uint8_t out[64];
    struct buf attrs;
    buf_init(&attrs, &mem);
    struct slice none = {0};
    attr_put(&attrs, ATTR_DESTINATION, none, SLICE("/topic/a.b"));
    attr_put(&attrs, ATTR_USER, SLICE("k"), SLICE("v"));
    attr_put(&attrs, ATTR_REPLY_DEST, none, SLICE("/temp-queue/x"));
    size_t n = back(buf_slice(&attrs), out);
    assert_int_equal(n, 7);
    assert_memory_equal(out, "\x26\x00\x01k\x00\x01v", 7);
    buf_fini(&attrs);
}

/* A dead letter's history reaches a device as properties; published again, they are the device's own. */
static void test_death_is_told(void **state)
{
    (void)state;
    uint8_t out[64];
    struct buf attrs, again;
    struct attr a;
    size_t pos = 0;
    buf_init(&attrs, &mem);
    attr_put(&attrs, ATTR_USER, SLICE("k"), SLICE("v"));
    attr_put(&attrs, ATTR_DEATH, SLICE("x-death"), SLICE("queue=q"));
    size_t n = back(buf_slice(&attrs), out);
    assert_int_equal(n, 26);
    assert_memory_equal(out, "\x26\x00\x01k\x00\x01v\x26\x00\x07x-death\x00\x07queue=q", 26);
    there(slice_make(out, n), &again);
    while (attr_next(buf_slice(&again), &pos, &a))
        assert_int_equal(a.id, ATTR_USER);
    buf_fini(&again);
    buf_fini(&attrs);
}

static void test_too_long_for_mqtt_is_left_out(void **state)
{
    (void)state;
    static uint8_t big[MQTT_STRING_BYTES_MAX + 1], out[2 * MQTT_STRING_BYTES_MAX];
    memset(big, 'x', sizeof big);
    struct buf attrs;
    buf_init(&attrs, &mem);
    struct slice none = {0};
    attr_put(&attrs, ATTR_CORRELATION, none, slice_make(big, sizeof big));
    attr_put(&attrs, ATTR_CONTENT_TYPE, none, slice_make(big, sizeof big - 1));
    size_t n = back(buf_slice(&attrs), out);
    assert_int_equal(n, 3 + sizeof big - 1);
    assert_int_equal(out[0], MQTT_PROP_CONTENT_TYPE);
    buf_fini(&attrs);
}

static void test_out_of_memory_is_sticky(void **state)
{
    (void)state;
    struct mqtt_props p;
    struct buf attrs;
    assert_int_equal(mqtt_props_collect(SLICE("\x26\x00\x01k\x00\x01v"), MQTT_PUBLISH, &p), ERR_OK);
    buf_init(&attrs, &mem);
    heap.fail_at = heap.calls + 1;
    mqtt_attrs_put(&attrs, &p);
    heap.fail_at = 0;
    assert_true(buf_is_bad(&attrs));
    buf_fini(&attrs);
}

/* random_block: user properties and at most one of each other; returns its length. */
static size_t random_block(struct rng *rng, uint8_t *out, size_t cap)
{
    struct mqtt_props_writer w = {.p = out, .cap = cap};
    static const uint8_t text[] = "abcdefghijklmnopqrstuvwxyz";
    if (rng_u64(rng) % 2 != 0)
        mqtt_props_put_slice(&w, MQTT_PROP_CONTENT_TYPE, slice_make(text, rng_u64(rng) % 20));
    if (rng_u64(rng) % 2 != 0)
        mqtt_props_put_num(&w, MQTT_PROP_PAYLOAD_FORMAT, (uint32_t)(rng_u64(rng) % 2));
    if (rng_u64(rng) % 2 != 0)
        mqtt_props_put_slice(&w, MQTT_PROP_RESPONSE_TOPIC, slice_make(text, 1 + rng_u64(rng) % 20));
    if (rng_u64(rng) % 2 != 0)
        mqtt_props_put_slice(&w, MQTT_PROP_CORRELATION, slice_make(text, rng_u64(rng) % 20));
    for (uint64_t n = rng_u64(rng) % 30; n > 0; n--)
        mqtt_props_put_user(&w, slice_make(text, rng_u64(rng) % 20), slice_make(text, rng_u64(rng) % 20));
    assert_false(w.bad);
    return w.len;
}

static void test_random_blocks(void **state)
{
    (void)state;
    static uint8_t block[BLOCK_MAX];
    struct rng rng;
    rng_init(&rng, 42);
    for (int i = 0; i < ROUNDS; i++) {
        struct slice s = slice_make(block, random_block(&rng, block, sizeof block));
        same_both_ways(s, s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_costs_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_property, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_belongs_to_the_hop_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_for_mqtt_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long_for_mqtt_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory_is_sticky, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_blocks, setup, teardown),
    };
    return cmocka_run_group_tests_name("mqtt_attrs", tests, NULL, NULL);
}
