/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mqtt_wire_random.c: what must hold for every packet, tried on random ones of every type and version.
 *
 *     random struct ──encode──► bytes ──decode──► struct      the same
 *     bytes cut anywhere                                      "need more", and no byte read behind the cut
 *     body cut anywhere, one byte changed                     an error, or a packet that survives the round trip itself
 *     room smaller than the packet                            -ERR_TOO_BIG, or it fits; never a byte too far
 *
 * One seed per packet; a failure names it. Strings and payloads come from one pool of valid UTF-8 that lives as long as
 * the program.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "tests/support/guard.h"
#include "tests/support/mqtt_any.h"

#define SCRATCH_BYTES 4096u
#define ROUNDS        60 /* per type and version */

/* A packet's own memory: blocks of properties and filters are written here. */
struct maker {
    struct rng rng;
    uint8_t scratch[SCRATCH_BYTES];
    size_t used;
};

static struct slice some_text(struct maker *m)
{
    static const char *const texts[] = {"",
                                        "a",
                                        "a/b",
                                        "caf\xc3\xa9",
                                        "\xe2\x82\xac\xf0\x9f\x98\x80",
                                        "sensors/kitchen/temperature",
                                        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    return slice_from_str(texts[rng_below(&m->rng, ARRAY_N(texts))]);
}

static struct slice some_bytes(struct maker *m)
{
    static const uint8_t bytes[300] = {0, 0xff, 0x30, 0x80};
    return slice_make(bytes, rng_below(&m->rng, sizeof bytes));
}

static uint16_t some_id(struct maker *m)
{
    return (uint16_t)(1 + rng_below(&m->rng, 65535));
}

static struct mqtt_props_writer scratch_writer(struct maker *m)
{
    return (struct mqtt_props_writer){.p = m->scratch + m->used, .cap = SCRATCH_BYTES - m->used};
}

static struct slice scratch_slice(struct maker *m, const struct mqtt_props_writer *w)
{
    assert_false(w->bad);
    m->used += w->len;
    return slice_make(w->p, w->len);
}

/* some_single: a valid value for one property, into its field. */
static void some_single(struct maker *m, struct mqtt_props *p, unsigned id)
{
    uint8_t bit = (uint8_t)rng_below(&m->rng, 2);
    uint32_t num = 1 + rng_below(&m->rng, 1u << (1 + rng_below(&m->rng, 27)));
    uint16_t half = some_id(m);
    struct slice text = some_text(m);
    p->has |= UINT64_C(1) << id;
    switch (id) {
#define BIT(name, field)                                                                                               \
    case MQTT_PROP_##name:                                                                                             \
        p->field = bit;                                                                                                \
        break;
#define HALF(name, field)                                                                                              \
    case MQTT_PROP_##name:                                                                                             \
        p->field = half;                                                                                               \
        break;
#define NUM(name, field)                                                                                               \
    case MQTT_PROP_##name:                                                                                             \
        p->field = num;                                                                                                \
        break;
#define TEXT(name, field)                                                                                              \
    case MQTT_PROP_##name:                                                                                             \
        p->field = text;                                                                                               \
        break;
        BIT(PAYLOAD_FORMAT, payload_format)
        BIT(WANT_PROBLEM, want_problem)
        BIT(WANT_RESPONSE, want_response)
        BIT(QOS_MAX, qos_max)
        BIT(HAS_RETAIN, has_retain)
        BIT(HAS_WILDCARD, has_wildcard)
        BIT(HAS_SUB_ID, has_sub_id)
        BIT(HAS_SHARED, has_shared)
        HALF(SERVER_KEEPALIVE, server_keepalive_s)
        HALF(RECEIVE_MAX, receive_max)
        HALF(ALIAS_MAX, alias_max)
        HALF(ALIAS, alias)
        NUM(MESSAGE_EXPIRY, message_expiry_s)
        NUM(SESSION_EXPIRY, session_expiry_s)
        NUM(WILL_DELAY, will_delay_s)
        NUM(PACKET_BYTES_MAX, packet_bytes_max)
        NUM(SUB_ID, sub_id)
        TEXT(CONTENT_TYPE, content_type)
        TEXT(CORRELATION, correlation)
        TEXT(ASSIGNED_ID, assigned_id)
        TEXT(AUTH_METHOD, auth_method)
        TEXT(AUTH_DATA, auth_data)
        TEXT(RESPONSE_INFO, response_info)
        TEXT(SERVER_REF, server_ref)
        TEXT(REASON, reason)
    case MQTT_PROP_RESPONSE_TOPIC:
        p->response_topic = text.len != 0 ? text : SLICE("r");
        break;
    default:
        fail_msg("property %u has no field", id);
    }
}

static struct mqtt_props some_props(struct maker *m, enum mqtt_type at)
{
    struct mqtt_props p = {0};
    unsigned often = rng_below(&m->rng, 80);
    for (unsigned id = 1; id < MQTT_PROP_N; id++)
        if (id != MQTT_PROP_USER && mqtt_prop_is_allowed(id, at) && rng_chance(&m->rng, often))
            some_single(m, &p, id);
    if ((p.has & MQTT_HAS(AUTH_DATA)) != 0 && (p.has & MQTT_HAS(AUTH_METHOD)) == 0)
        some_single(m, &p, MQTT_PROP_AUTH_METHOD);
    struct mqtt_props_writer w = scratch_writer(m);
    for (uint32_t n = rng_chance(&m->rng, often) ? rng_below(&m->rng, 4) : 0; n > 0; n--)
        mqtt_props_put_user(&w, some_text(m), some_text(m));
    p.block = scratch_slice(m, &w);
    return p;
}

/* some_code: any code allowed at `at`. */
static uint8_t some_code(struct maker *m, enum mqtt_type at)
{
    unsigned code = rng_below(&m->rng, 256);
    while (!mqtt_reason_is_allowed(code, at))
        code = (code + 1) & 0xff;
    return (uint8_t)code;
}

static void some_connect(struct maker *m, enum mqtt_version v, struct mqtt_connect *c)
{
    *c = (struct mqtt_connect){.version = (uint8_t)v, .clean = rng_chance(&m->rng, 50), .keepalive_s = some_id(m)};
    c->client_id = some_text(m);
    c->has_will = rng_chance(&m->rng, 50);
    if (c->has_will) {
        c->will_qos = (uint8_t)rng_below(&m->rng, 3);
        c->will_retain = rng_chance(&m->rng, 50);
        c->will_topic = some_text(m);
        c->will_payload = some_bytes(m);
    }
    c->has_user = rng_chance(&m->rng, 50);
    c->has_password = (c->has_user || v == MQTT_V5) && rng_chance(&m->rng, 50);
    if (c->has_user)
        c->user = some_text(m);
    if (c->has_password)
        c->password = some_bytes(m);
    if (v == MQTT_V5) {
        c->props = some_props(m, MQTT_CONNECT);
        if (c->has_will)
            c->will_props = some_props(m, MQTT_WILL);
    }
}

static void some_publish(struct maker *m, enum mqtt_version v, struct mqtt_publish *p)
{
    *p = (struct mqtt_publish){.topic = some_text(m), .payload = some_bytes(m), .retain = rng_chance(&m->rng, 50)};
    p->qos = (uint8_t)rng_below(&m->rng, 3);
    p->dup = p->qos != 0 && rng_chance(&m->rng, 50);
    p->packet_id = p->qos != 0 ? some_id(m) : 0;
    if (v == MQTT_V5) {
        struct mqtt_props props = some_props(m, MQTT_PUBLISH);
        uint32_t len = 0;
        uint8_t *at = m->scratch + m->used;
        ptrdiff_t n = mqtt_props_encode(&props, MQTT_PUBLISH, at, SCRATCH_BYTES - m->used);
        assert_true(n > 0);
        ptrdiff_t head = mqtt_varint_get(at, (size_t)n, &len);
        p->props = slice_make(at + head, len);
        m->used += (size_t)n;
    }
}

/* some_subscribe: the payload is put together here, not by the encoder under test. */
static void some_subscribe(struct maker *m, enum mqtt_type type, enum mqtt_version v, struct mqtt_subscribe *s)
{
    *s = (struct mqtt_subscribe){.packet_id = some_id(m), .filter_n = 1 + rng_below(&m->rng, 6)};
    if (v == MQTT_V5)
        s->props = some_props(m, type);
    uint8_t *from = m->scratch + m->used, *at = from;
    for (uint32_t i = 0; i < s->filter_n; i++) {
        struct slice filter = some_text(m);
        *at++ = 0;
        *at++ = (uint8_t)filter.len;
        memcpy(at, filter.p, filter.len);
        at += filter.len;
        if (type == MQTT_SUBSCRIBE)
            *at++ = (uint8_t)(rng_below(&m->rng, 3) |
                              (v == MQTT_V5 ? rng_below(&m->rng, 4) << 2 | rng_below(&m->rng, 3) << 4 : 0));
    }
    s->filters = slice_make(from, (size_t)(at - from));
    m->used += s->filters.len;
}

static void some_suback(struct maker *m, enum mqtt_type type, enum mqtt_version v, struct mqtt_suback *s)
{
    uint32_t n = 1 + rng_below(&m->rng, 6);
    *s = (struct mqtt_suback){.packet_id = some_id(m)};
    if (v == MQTT_V5)
        s->props = some_props(m, type);
    else if (type == MQTT_UNSUBACK)
        return;
    s->codes = slice_make(m->scratch + m->used, n);
    for (uint32_t i = 0; i < n; i++)
        m->scratch[m->used++] = v == MQTT_V5 ? some_code(m, type) : mqtt_v3_suback_from_reason(rng_below(&m->rng, 4));
}

static void some_closing(struct maker *m, enum mqtt_type type, enum mqtt_version v, struct mqtt_closing *c)
{
    *c = (struct mqtt_closing){0};
    if (v != MQTT_V5 || rng_chance(&m->rng, 20))
        return;
    c->code = some_code(m, type);
    c->props = some_props(m, type);
    if (type == MQTT_AUTH && (c->props.has & MQTT_HAS(AUTH_METHOD)) == 0)
        some_single(m, &c->props, MQTT_PROP_AUTH_METHOD);
}

static void some_connack(struct maker *m, enum mqtt_version v, struct mqtt_connack *c)
{
    *c = (struct mqtt_connack){0};
    c->code = v == MQTT_V5 ? some_code(m, MQTT_CONNACK) : (uint8_t)rng_below(&m->rng, 6);
    c->session_present = v != MQTT_V31 && c->code == 0 && rng_chance(&m->rng, 50);
    if (v == MQTT_V5)
        c->props = some_props(m, MQTT_CONNACK);
}

static void some_packet(struct maker *m, enum mqtt_type type, enum mqtt_version v, struct mqtt_any *a)
{
    *a = (struct mqtt_any){.type = (uint8_t)type, .version = (uint8_t)v};
    switch (type) {
    case MQTT_CONNECT:
        some_connect(m, v, &a->u.connect);
        break;
    case MQTT_CONNACK:
        some_connack(m, v, &a->u.connack);
        break;
    case MQTT_PUBLISH:
        some_publish(m, v, &a->u.publish);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        a->u.ack = (struct mqtt_ack){.type = (uint8_t)type, .packet_id = some_id(m)};
        if (v == MQTT_V5) {
            a->u.ack.code = some_code(m, type);
            a->u.ack.props = some_props(m, type);
        }
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        some_subscribe(m, type, v, &a->u.subscribe);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        some_suback(m, type, v, &a->u.suback);
        break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        some_closing(m, type, v, &a->u.closing);
        break;
    default:
        break;
    }
}

/* no_local on `$share/` cannot come up: no text of the pool starts so. */

typedef void (*packet_fn)(struct maker *m, const struct mqtt_any *a);

static void for_each_packet(packet_fn fn)
{
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    static struct maker m; /* large */
    for (size_t vi = 0; vi < ARRAY_N(versions); vi++)
        for (int type = MQTT_CONNECT; type <= MQTT_AUTH; type++)
            for (int round = 0; round < ROUNDS; round++) {
                struct mqtt_any a;
                if (type == MQTT_AUTH && versions[vi] != MQTT_V5)
                    continue;
                rng_init(&m.rng, (uint64_t)(versions[vi] * 100 + type) * 1000 + (uint64_t)round);
                m.used = 0;
                some_packet(&m, (enum mqtt_type)type, versions[vi], &a);
                fn(&m, &a);
            }
}

static void fail_packet(const char *what, const struct mqtt_any *a, long detail)
{
    fail_msg("%s: %s %s (%ld)", what, mqtt_version_name(a->version), mqtt_type_name(a->type), detail);
}

/* wire_of: the packet's bytes in a guarded buffer of their exact size. */
static uint8_t *wire_of(const struct mqtt_any *a, size_t *out_n)
{
    size_t room = mqtt_any_room(a);
    uint8_t *out = guard_room(room);
    ptrdiff_t n = mqtt_any_encode(a, out, room);
    if (n <= 0)
        fail_packet("cannot be encoded in the promised room", a, (long)n);
    uint8_t *wire = guard_bytes(out, (size_t)n);
    guard_free(out);
    *out_n = (size_t)n;
    return wire;
}

static void same_after_round_trip(struct maker *m, const struct mqtt_any *a)
{
    struct mqtt_any b;
    struct mqtt_frame f;
    size_t n;
    UNUSED(m);
    uint8_t *wire = wire_of(a, &n);
    if (mqtt_frame_peek(wire, n, (uint32_t)n, &f) != (ptrdiff_t)n)
        fail_packet("not one whole packet", a, (long)f.total);
    enum err e = mqtt_any_decode(&f, (enum mqtt_version)a->version, &b);
    if (e != ERR_OK)
        fail_packet("cannot be decoded", a, (long)e);
    if (!mqtt_any_is_equal(a, &b))
        fail_packet("is not the same", a, 0);
    if (mqtt_frame_peek(wire, n, (uint32_t)n - 1, &f) != -ERR_TOO_BIG)
        fail_packet("is not too big", a, (long)n);
    guard_free(wire);
}

static void needs_more_at_every_cut(struct maker *m, const struct mqtt_any *a)
{
    struct mqtt_frame f;
    size_t n;
    UNUSED(m);
    uint8_t *wire = wire_of(a, &n), *edge = guard_room(n) + n;
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *part = edge - cut;
        memcpy(part, wire, cut);
        if (mqtt_frame_peek(part, cut, MQTT_PACKET_BYTES_MAX, &f) != 0)
            fail_packet("complete though cut", a, (long)cut);
        if (f.total != 0 && f.total != n)
            fail_packet("announces a wrong total", a, (long)cut);
    }
    guard_free(edge - n);
    guard_free(wire);
}

/* check_survivor: what decodes after damage must be a packet of its own right. */
static void check_survivor(const struct mqtt_any *b)
{
    struct mqtt_any c;
    struct mqtt_frame f;
    uint8_t wire[2 * SCRATCH_BYTES];
    assert_true(mqtt_any_room(b) <= sizeof wire);
    ptrdiff_t n = mqtt_any_encode(b, wire, mqtt_any_room(b));
    if (n <= 0 || mqtt_frame_peek(wire, (size_t)n, MQTT_PACKET_BYTES_MAX, &f) != n ||
        mqtt_any_decode(&f, (enum mqtt_version)b->version, &c) != ERR_OK || !mqtt_any_is_equal(b, &c))
        fail_packet("damaged, accepted, and does not survive a round trip", b, (long)n);
}

static void cut_bodies_are_never_overread(struct maker *m, const struct mqtt_any *a)
{
    struct mqtt_frame f;
    struct mqtt_any b;
    size_t n;
    UNUSED(m);
    uint8_t *wire = wire_of(a, &n);
    assert_int_equal(mqtt_frame_peek(wire, n, MQTT_PACKET_BYTES_MAX, &f), n);
    struct slice body = f.body;
    uint8_t *edge = guard_room(body.len) + body.len;
    for (size_t cut = 0; cut < body.len; cut++) {
        f.body = slice_make(edge - cut, cut);
        memcpy(edge - cut, body.p, cut);
        if (mqtt_any_decode(&f, (enum mqtt_version)a->version, &b) == ERR_OK)
            check_survivor(&b);
    }
    guard_free(edge - body.len);
    guard_free(wire);
}

static void changed_bytes_do_no_harm(struct maker *m, const struct mqtt_any *a)
{
    struct mqtt_frame f;
    struct mqtt_any b;
    size_t n;
    uint8_t *wire = wire_of(a, &n);
    for (int i = 0; i < 40; i++) {
        size_t at = rng_below(&m->rng, (uint32_t)n);
        uint8_t was = wire[at];
        wire[at] = (uint8_t)rng_u64(&m->rng);
        if (mqtt_frame_peek(wire, n, MQTT_PACKET_BYTES_MAX, &f) > 0 &&
            mqtt_any_decode(&f, (enum mqtt_version)a->version, &b) == ERR_OK)
            check_survivor(&b);
        wire[at] = was;
    }
    guard_free(wire);
}

static void small_rooms_are_respected(struct maker *m, const struct mqtt_any *a)
{
    size_t room = mqtt_any_room(a), n;
    UNUSED(m);
    guard_free(wire_of(a, &n));
    uint8_t *edge = guard_room(room) + room;
    for (size_t cap = 0; cap < room; cap++) {
        ptrdiff_t got = mqtt_any_encode(a, edge - cap, cap);
        if (got != -ERR_TOO_BIG && (got != (ptrdiff_t)n || cap < n))
            fail_packet("odd answer for a small room", a, (long)cap);
    }
    guard_free(edge - room);
}

static void round_trip(void **state)
{
    UNUSED(state);
    for_each_packet(same_after_round_trip);
}

static void cuts(void **state)
{
    UNUSED(state);
    for_each_packet(needs_more_at_every_cut);
}

static void cut_bodies(void **state)
{
    UNUSED(state);
    for_each_packet(cut_bodies_are_never_overread);
}

static void changed_bytes(void **state)
{
    UNUSED(state);
    for_each_packet(changed_bytes_do_no_harm);
}

static void small_rooms(void **state)
{
    UNUSED(state);
    for_each_packet(small_rooms_are_respected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),    cmocka_unit_test(cuts),        cmocka_unit_test(cut_bodies),
        cmocka_unit_test(changed_bytes), cmocka_unit_test(small_rooms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
