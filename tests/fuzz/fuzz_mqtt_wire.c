/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_mqtt_wire.c: arbitrary bytes as MQTT packets of each version, both directions.
 *
 *     input    a run of packets, as a connection would bring them
 *     checks   what decodes can be encoded in the promised room, decodes again, and says the same
 *              peek keeps its word: complete means total <= len, and a topic or filter check never reads past the end
 *
 * The input is copied to a block of its exact size, so that the address sanitizer sees any byte read behind it.
 */
#include <stdlib.h>

#include "core/base/mem.h"
#include "tests/support/mqtt_any.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void check_topics(const struct mqtt_any *a)
{
    struct slice group, filter, rest = a->u.subscribe.filters;
    struct mqtt_sub_item item;
    if (a->type == MQTT_PUBLISH) {
        enum err e = mqtt_topic_name_check(a->u.publish.topic);
        BUG_ON(e == ERR_OK && mqtt_filter_check(a->u.publish.topic) != ERR_OK); /* every name is a filter */
    } else if (a->type == MQTT_SUBSCRIBE) {
        while (mqtt_subscribe_next(&rest, &item))
            if (mqtt_filter_check(item.filter) == ERR_OK && mqtt_share_split(item.filter, &group, &filter) == ERR_OK) {
                BUG_ON(mqtt_filter_check(filter) != ERR_OK);
                BUG_ON(mqtt_topic_name_check(group) != ERR_OK);
            }
    }
}

/* check_packet: encode what was decoded, and decode that. */
static void check_packet(struct mem *mem, const struct mqtt_any *a)
{
    struct mqtt_frame f;
    struct mqtt_any again;
    size_t room = mqtt_any_room(a);
    uint8_t *out = mem_alloc(mem, room);
    if (out == NULL)
        abort();
    ptrdiff_t n = mqtt_any_encode(a, out, room);
    if (n != -ERR_FULL) {
        BUG_ON(n <= 0 || (size_t)n > room);
        BUG_ON(mqtt_frame_peek(out, (size_t)n, MQTT_PACKET_BYTES_MAX, &f) != n);
        BUG_ON(mqtt_any_decode(&f, (enum mqtt_version)a->version, &again) != ERR_OK);
        BUG_ON(!mqtt_any_is_equal(a, &again));
    }
    mem_free(mem, out);
}

static void check_run(struct mem *mem, const uint8_t *in, size_t len, enum mqtt_version v)
{
    struct mqtt_frame f;
    struct mqtt_any a;
    while (len != 0) {
        ptrdiff_t n = mqtt_frame_peek(in, len, MQTT_PACKET_BYTES_MAX, &f);
        if (n <= 0) {
            BUG_ON(n == 0 && f.total != 0 && f.total <= len);
            return;
        }
        BUG_ON((size_t)n > len || f.body.p < in || f.body.p + f.body.len != in + n);
        if (mqtt_any_decode(&f, v, &a) == ERR_OK) {
            check_topics(&a);
            check_packet(mem, &a);
        }
        in += n;
        len -= (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const enum mqtt_version VERSIONS[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    struct mem_heap heap;
    struct mem mem;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "fuzz");
    uint8_t *in = mem_alloc(&mem, n + 1);
    if (in == NULL)
        abort();
    memcpy(in + 1, bytes, n); /* the end of the block is the end of the input */
    for (size_t i = 0; i < ARRAY_N(VERSIONS); i++)
        check_run(&mem, in + 1, n, VERSIONS[i]);
    mem_free(&mem, in);
    BUG_ON(mem.blocks != 0);
    return 0;
}
