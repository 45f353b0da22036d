/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_mqtt_state.c: the MQTT adapter's state machine: the input is a little program for four peers of one broker.
 *
 *     input    [what the broker is like: 4 bytes] then steps: [verb and peer: 1 byte] [what the verb needs]
 *     step     a well-formed packet of any type and version, filled from the input; the same packet in two pieces; raw
 *              bytes; an answer to what is open; time, from milliseconds to years; no reading, slow reading; the end of
 *              a connection; a store that keeps its "durable" to itself; an allocation that fails
 *     checks   after every step shard_check, and that the broker comes to rest; of everything that it sends, that a
 *              server may send it at this moment to this peer (tests/sim/watch_mqtt.h); at the end, when nothing is
 *              held back any more, that every question was answered or its connection closed, and that all memory came
 *              back
 *
 * An input that has ended reads as zeros, so every prefix of a program is a program.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/sim/watch_mqtt.h"
#include "tests/support/mqtt_any.h"
#include "tests/support/rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum {
    PEERS = 4,
    STEPS_MAX = 400,
    ROOM = 4096,       /* for one packet */
    BLOCK_MAX = 512,   /* of its properties */
    FILTERS_MAX = 4,   /* in one SUBSCRIBE */
    ALIASES_MAX = 40,  /* the peer's own */
    PAYLOAD_MAX = 300, /* mostly; some are larger */
};

struct feed {
    const uint8_t *p;
    size_t n, at;
};

struct peer {
    struct rig_pipe *pipe; /* NULL: it has never been here */
    struct watch_mqtt watch;
    uint8_t v;                       /* of its packets */
    bool answers;                    /* deliveries at once */
    struct slice alias[ALIASES_MAX]; /* topics it has named */
    uint8_t rest[ROOM];              /* the second half of a packet */
    size_t rest_n;
};

struct play {
    struct rig *rig;
    struct feed feed;
    struct peer peer[PEERS];
    bool has_failed; /* an allocation: answers may be missing */
    bool is_traced;  /* WEIR_FUZZ_TRACE is set: every packet is printed */
};

/* ---- the input ------------------------------------------------------------------------------------------------ */

static uint8_t u8(struct feed *f)
{
    return f->at < f->n ? f->p[f->at++] : 0;
}

static bool flag(struct feed *f, unsigned of_16)
{
    return (u8(f) & 15) < of_16;
}

static uint32_t number(struct feed *f)
{
    static const uint32_t some[] = {0,   1,   2,   3,    5,     10,    20,        60,
                                    100, 255, 300, 3600, 65535, 65536, 268435455, UINT32_MAX};
    uint8_t c = u8(f);
    return c < 128 ? some[c % ARRAY_N(some)] : c - 128u;
}

/* raw: up to max bytes straight from the input; never what could be taken for a stamp. */
static struct slice raw(struct feed *f, size_t max)
{
    size_t n = u8(f) % (max + 1);
    n = MIN(n, f->n - f->at);
    struct slice s = slice_make(f->p + f->at, n);
    f->at += n;
    return n && memchr(s.p, WATCH_STAMP_FIRST, n) ? slice_make(s.p, 0) : s;
}

static struct slice text(struct feed *f)
{
    static const char *const some[] = {
        "", "a", "a/b", "name", "x", "r/t", "\xc3\xa4\xe2", "SCRAM-SHA-256", "FAKE", "ONCE", "LOUD", "HARD", "friend",
    };
    uint8_t c = u8(f);
    return c < 200 ? slice_from_str(some[c % ARRAY_N(some)]) : raw(f, 60);
}

#define LONG_NAME   "a-name-that-is-longer-than-what-is-kept-in-place-0123456789-0123456789-0123456789"
#define LONG_TOPIC  "a/" LONG_NAME
#define LONG_FILTER LONG_TOPIC "/#"

static struct slice topic(struct feed *f)
{
    static const char *const some[] = {
        "a",
        "a/b",
        "a/b/c",
        "b",
        "/",
        LONG_TOPIC,
        "$queue/q",
        "$delayed/1/a/b",
        "$delayed/86400/b",
        "$delayed/0/$queue/q",
        "$exchange/amq.topic/a/b",
        "$exchange/amq.fanout/k",
        "$SYS/broker/uptime",
        "$share/g/a",
        "$w/a",
        "",
    };
    uint8_t c = u8(f);
    return c < 240 ? slice_from_str(some[(c & 1 ? c >> 1 : c >> 1 & 3) % ARRAY_N(some)]) : raw(f, 100);
}

static struct slice filter(struct feed *f)
{
    static const char *const some[] = {
        "#",        "a/#",   "a/b", "+/b",    "$share/g/#",   "$share/g/a/b",          "$share/h/a/#",
        "$queue/q", "a/+",   "b",   "$SYS/#", LONG_FILTER,    "$share/g/$queue/q",     "$share//a",
        "$share/g", "a/#/b", "+a",  "",       "$delayed/1/a", "$exchange/amq.topic/#", "$queue/#",
        "$w/+",
    };
    uint8_t c = u8(f);
    return c < 240 ? slice_from_str(some[(c & 1 ? c >> 1 : c >> 1 & 7) % ARRAY_N(some)]) : raw(f, 100);
}

/* ---- properties ----------------------------------------------------------------------------------------------- */

static void put_property(struct feed *f, struct mqtt_props_writer *w, unsigned id, unsigned wire)
{
    switch (wire) {
    case MQTT_PROP_U8:
    case MQTT_PROP_U16:
    case MQTT_PROP_U32:
    case MQTT_PROP_VARINT: {
        uint32_t v = number(f);
        mqtt_props_put_num(w, (enum mqtt_prop)id,
                           wire == MQTT_PROP_U8    ? v & 1
                           : wire == MQTT_PROP_U16 ? v & 0xffff
                                                   : MIN(v, wire == MQTT_PROP_U32 ? v : MQTT_VARINT_MAX));
        return;
    }
    case MQTT_PROP_PAIR: {
        struct slice name = text(f);
        mqtt_props_put_user(w, name, text(f));
        return;
    }
    default:
        mqtt_props_put_slice(w, (enum mqtt_prop)id, text(f));
    }
}

/* put_properties: some that may stand there, into block; two of a kind, or values that are wrong, take them all back.
 */
static void put_properties(struct feed *f, enum mqtt_type at, uint8_t block[BLOCK_MAX], struct mqtt_props *out)
{
    static const struct {
        uint8_t id, wire;
    } all[] = {
#define X(name, number_, wire_, field, text_, where) {number_, MQTT_PROP_##wire_},
        MQTT_PROP_LIST(X)
#undef X
    };
    struct mqtt_props_writer w = {.p = block, .cap = BLOCK_MAX};
    mqtt_props_clear(out);
    for (unsigned left = u8(f) & 7; left > 0; left--) {
        unsigned i = u8(f) % ARRAY_N(all);
        for (unsigned k = 0; k < ARRAY_N(all) && !mqtt_prop_is_allowed(all[i].id, at); k++)
            i = (i + 1) % ARRAY_N(all);
        if (mqtt_prop_is_allowed(all[i].id, at))
            put_property(f, &w, all[i].id, all[i].wire);
    }
    if (w.bad || mqtt_props_collect(slice_make(block, w.len), at, out) != ERR_OK)
        mqtt_props_clear(out);
}

/* ---- saying --------------------------------------------------------------------------------------------------- */

static bool can_say(const struct peer *p)
{
    return p->pipe != NULL && !p->pipe->is_eof && !p->pipe->is_reset;
}

static void say(struct peer *p, const void *bytes, size_t n)
{
    if (!can_say(p) || n == 0)
        return;
    watch_mqtt_said(&p->watch, bytes, n);
    rig_send(p->pipe, bytes, n);
}

static void say_rest(struct peer *p)
{
    say(p, p->rest, p->rest_n);
    p->rest_n = 0;
}

/* say_packet: whole, or now and then in two pieces, the second with the peer's next word. */
static void say_packet(struct play *y, struct peer *p, const uint8_t *bytes, ptrdiff_t n)
{
    struct feed *f = &y->feed;
    if (n <= 0)
        return; /* what was chosen does not fit into a packet */
    say_rest(p);
    if (!flag(f, 3)) {
        say(p, bytes, (size_t)n);
        return;
    }
    size_t cut = u8(f) % (size_t)n;
    say(p, bytes, cut);
    p->rest_n = (size_t)n - cut;
    memcpy(p->rest, bytes + cut, p->rest_n);
}

/* ---- packets -------------------------------------------------------------------------------------------------- */

static void come_in(struct play *y, struct peer *p)
{
    if (can_say(p))
        p->pipe->is_reset = true;
    static const char *const names[PEERS] = {"0", "1", "2", "3"};
    watch_mqtt_free(&p->watch);
    if (y->is_traced) {
        p->watch.trace = names[p - y->peer];
        fprintf(stderr, "%s ---- comes in, at %llu\n", p->watch.trace, (unsigned long long)y->rig->now);
    }
    p->pipe = rig_connect(y->rig);
    p->rest_n = 0;
    memset(p->alias, 0, sizeof(p->alias));
}

static void connect_in(struct play *y, struct peer *p)
{
    static const char *const ids[] = {"a", "b", "", "c", LONG_NAME};
    static const uint8_t versions[] = {MQTT_V5, MQTT_V311, MQTT_V5, MQTT_V31};
    struct feed *f = &y->feed;
    uint8_t block[BLOCK_MAX], will_block[BLOCK_MAX], out[ROOM], head = u8(f);
    p->v = versions[head & 3];
    p->answers = (head & 4) != 0;
    struct mqtt_connect c = {.version = p->v, .level = p->v, .clean = (head & 8) != 0, .has_will = (head & 16) != 0};
    c.client_id = slice_from_str(ids[u8(f) % ARRAY_N(ids)]);
    c.keepalive_s = (uint16_t)number(f);
    put_properties(f, MQTT_CONNECT, block, &c.props);
    mqtt_props_clear(&c.will_props);
    if (c.has_will) {
        c.will_qos = u8(f) % 3;
        c.will_retain = flag(f, 4);
        c.will_topic = topic(f);
        c.will_payload = raw(f, 20);
        put_properties(f, MQTT_WILL, will_block, &c.will_props);
    }
    c.has_user = (head & 32) != 0;
    c.has_password = c.has_user && (head & 64) != 0;
    c.user = c.password = SLICE("anna");
    say_packet(y, p, out, mqtt_connect_encode(&c, out, sizeof(out)));
}

/* stamped: the topic under which the message will arrive, if that is simple to tell. */
static bool stamped(const struct peer *p, const struct mqtt_publish *m, uint16_t alias, struct slice *out)
{
    *out = m->topic;
    if (m->topic.len == 0 && alias < ALIASES_MAX)
        *out = p->alias[alias];
    return out->len != 0 && out->p[0] != '$';
}

static void publish(struct play *y, struct peer *p)
{
    struct feed *f = &y->feed;
    uint8_t block[BLOCK_MAX], out[ROOM], head = u8(f), payload[PAYLOAD_MAX];
    struct mqtt_props props;
    struct slice to;
    put_properties(f, p->v == MQTT_V5 ? MQTT_PUBLISH : MQTT_PINGREQ, block, &props);
    struct mqtt_publish m = {.qos = head % 3, .dup = (head & 64) != 0, .retain = (head & 32) != 0};
    m.topic = topic(f);
    if (m.qos)
        m.packet_id = (uint16_t)(1 + (head >> 2 & 7));
    m.dup = m.dup && m.qos;
    m.props = props.block;
    uint16_t alias = props.has & MQTT_HAS(ALIAS) ? props.alias : 0;
    if (m.topic.len && alias < ALIASES_MAX)
        p->alias[alias] = m.topic;
    size_t n = u8(f) & 1 ? WATCH_STAMP + u8(f) : WATCH_STAMP;
    memset(payload, 'x', sizeof(payload));
    if (stamped(p, &m, alias, &to))
        watch_mqtt_stamp(to, payload);
    m.payload = slice_make(payload, head & 128 ? 0 : n);
    if (mqtt_publish_head_max(&m, NULL) + m.payload.len > sizeof(out))
        return;
    size_t at = mqtt_publish_head(out, &m, NULL, (enum mqtt_version)p->v);
    if (at && m.payload.len)
        memcpy(out + at, m.payload.p, m.payload.len);
    say_packet(y, p, out, at ? (ptrdiff_t)(at + m.payload.len) : 0);
}

static void subscribe(struct play *y, struct peer *p)
{
    struct feed *f = &y->feed;
    uint8_t block[BLOCK_MAX], out[ROOM];
    struct mqtt_sub_item item[FILTERS_MAX];
    uint8_t head = u8(f);
    struct mqtt_subscribe s = {.packet_id = (uint16_t)(1 + (head & 7))};
    size_t n = 1 + (head >> 3) % FILTERS_MAX;
    put_properties(f, MQTT_SUBSCRIBE, block, &s.props);
    for (size_t i = 0; i < n; i++) {
        uint8_t o = u8(f);
        item[i] = (struct mqtt_sub_item){.filter = filter(f), .qos = o % 3};
        if (p->v == MQTT_V5) {
            item[i].no_local = (o & 0x30) == 0x30;
            item[i].retain_as_published = (o & 4) != 0;
            item[i].retain_handling = (o >> 6) % 3;
        }
    }
    say_packet(y, p, out, mqtt_subscribe_encode(&s, item, n, (enum mqtt_version)p->v, out, sizeof(out)));
}

static void unsubscribe(struct play *y, struct peer *p)
{
    struct feed *f = &y->feed;
    uint8_t block[BLOCK_MAX], out[ROOM];
    struct slice filters[FILTERS_MAX];
    uint8_t head = u8(f);
    struct mqtt_subscribe s = {.packet_id = (uint16_t)(1 + (head & 7))};
    size_t n = 1 + (head >> 3) % FILTERS_MAX;
    put_properties(f, MQTT_UNSUBSCRIBE, block, &s.props);
    for (size_t i = 0; i < n; i++)
        filters[i] = filter(f);
    say_packet(y, p, out, mqtt_unsubscribe_encode(&s, filters, n, (enum mqtt_version)p->v, out, sizeof(out)));
}

/* any_packet: PUBACK to PUBCOMP of any id, PINGREQ, DISCONNECT, AUTH, and what only a server sends. */
static void any_packet(struct play *y, struct peer *p, enum mqtt_type type)
{
    static const uint8_t reasons[] = {0,    0x04, 0x10, 0x18, 0x19, 0x80, 0x81, 0x83,
                                      0x87, 0x8c, 0x90, 0x92, 0x93, 0x97, 0x99, 0xa0};
    struct feed *f = &y->feed;
    uint8_t block[BLOCK_MAX], out[ROOM];
    struct mqtt_any a;
    struct mqtt_props props;
    memset(&a, 0, sizeof(a));
    a.type = (uint8_t)type;
    a.version = p->v;
    if (type == MQTT_AUTH && p->v != MQTT_V5)
        return;
    uint8_t code = flag(f, 6) ? reasons[u8(f) % ARRAY_N(reasons)] : 0;
    uint16_t id = (uint16_t)(1 + (u8(f) & 15));
    if (!mqtt_reason_is_allowed(code, type))
        code = 0;
    put_properties(f, type, block, &props);
    if (type >= MQTT_PUBACK && type <= MQTT_PUBCOMP) {
        a.u.ack = (struct mqtt_ack){.type = (uint8_t)type, .code = p->v == MQTT_V5 ? code : 0, .packet_id = id};
        a.u.ack.props = props;
    } else if (type == MQTT_DISCONNECT || type == MQTT_AUTH) {
        a.u.closing = (struct mqtt_closing){.code = p->v == MQTT_V5 ? code : 0, .props = props};
    } else if (type == MQTT_CONNACK) {
        a.u.connack = (struct mqtt_connack){.props = props};
    } else if (type == MQTT_SUBACK || type == MQTT_UNSUBACK) {
        a.u.suback = (struct mqtt_suback){.packet_id = id, .codes = SLICE("\0"), .props = props};
    }
    say_packet(y, p, out, mqtt_any_encode(&a, out, sizeof(out)));
}

/* ---- answers -------------------------------------------------------------------------------------------------- */

static void put_answer(struct play *y, struct peer *p, enum mqtt_type type, uint16_t id)
{
    uint8_t out[MQTT_ACK_BYTES];
    UNUSED(y);
    mqtt_ack_put(out, type, id);
    say_rest(p);
    say(p, out, sizeof(out));
}

/* answer_one: the i-th delivery that is open; false if it has to wait for PUBREL. */
static bool answer_one(struct play *y, struct peer *p, uint32_t i)
{
    struct watch_open o = p->watch.open[i];
    if (o.qos == 1)
        put_answer(y, p, MQTT_PUBACK, o.id);
    else if (!o.is_received)
        put_answer(y, p, MQTT_PUBREC, o.id);
    else if (o.is_released)
        put_answer(y, p, MQTT_PUBCOMP, o.id);
    else
        return false;
    return true;
}

static void answer_all(struct play *y, struct peer *p)
{
    for (uint32_t i = 0; can_say(p) && i < p->watch.open_n;) {
        uint32_t before = p->watch.open_n;
        if (!answer_one(y, p, i) || p->watch.open_n == before)
            i++;
    }
    /* what we have been told is stored can be let go of */
    for (uint32_t i = 0; can_say(p) && i < p->watch.received_n; i++)
        put_answer(y, p, MQTT_PUBREL, p->watch.received[i]);
    p->watch.received_n = 0;
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static mono_ms some_time(struct feed *f)
{
    static const mono_ms some[] = {1,
                                   10,
                                   500,
                                   1000,
                                   1500,
                                   2000,
                                   10000,
                                   60000,
                                   3600000,
                                   86400000,
                                   86400000u * 30,
                                   UINT64_C(31536000000),
                                   UINT64_C(3153600000000),
                                   90000,
                                   5000,
                                   100};
    return some[u8(f) % ARRAY_N(some)];
}

/* look: everybody reads what came, and everything is checked. */
static void look(struct play *y)
{
    BUG_ON(y->rig->is_stuck);
    shard_check(y->rig->shard);
    for (unsigned i = 0; i < PEERS; i++) {
        struct peer *p = &y->peer[i];
        if (p->pipe == NULL || p->pipe->out_at == p->pipe->out.len)
            continue;
        watch_mqtt_heard(&p->watch, p->pipe->out.p + p->pipe->out_at, p->pipe->out.len - p->pipe->out_at);
        p->pipe->out_at = p->pipe->out.len;
        if (p->watch.why[0]) {
            fprintf(stderr, "peer %u: %s\n", i, p->watch.why);
            abort();
        }
        if (p->answers)
            answer_all(y, p);
    }
}

static void pipe_step(struct play *y, struct peer *p, unsigned what)
{
    if (p->pipe == NULL)
        return;
    switch (what) {
    case 0:
        p->pipe->is_eof = true;
        break;
    case 1:
        p->pipe->is_reset = true;
        break;
    case 2:
        p->pipe->is_stalled = true;
        break;
    case 3:
        p->pipe->is_stalled = false;
        p->pipe->take_max = 0;
        break;
    case 4:
        p->pipe->take_max = 1 + u8(&y->feed);
        break;
    default:
        p->answers = !p->answers;
    }
}

static void rig_step(struct play *y, unsigned what)
{
    struct mem_heap *heap = &y->rig->heap;
    switch (what) {
    case 0:
        y->rig->is_holding = true;
        break;
    case 1:
    case 2:
        y->rig->is_holding = false;
        break;
    default:
        heap->fail_at = heap->calls + 1 + u8(&y->feed);
        y->has_failed = true;
    }
}

static void send_raw(struct play *y, struct peer *p)
{
    struct slice s = raw(&y->feed, 255);
    say_rest(p);
    say(p, s.p, s.len);
}

static void step(struct play *y)
{
    struct feed *f = &y->feed;
    uint8_t c = u8(f);
    struct peer *p = &y->peer[c & 3];
    uint8_t verb = c >> 2; /* 64 of them */
    if (verb < 12) {
        publish(y, p);
    } else if (verb < 20) {
        subscribe(y, p);
    } else if (verb < 23) {
        unsubscribe(y, p);
    } else if (verb < 31) {
        come_in(y, p);
        connect_in(y, p);
    } else if (verb < 34) {
        any_packet(y, p, (enum mqtt_type)(verb - 31 + MQTT_PINGREQ)); /* PINGREQ, PINGRESP, DISCONNECT */
    } else if (verb < 36) {
        any_packet(y, p, MQTT_AUTH);
    } else if (verb < 40) {
        any_packet(y, p, (enum mqtt_type)(verb - 36 + MQTT_PUBACK));
    } else if (verb < 41) {
        any_packet(y, p, (enum mqtt_type)(MQTT_CONNACK + 7 * (u8(f) % 2)));
    } else if (verb < 46) {
        answer_all(y, p);
    } else if (verb < 48) {
        if (p->watch.open_n)
            answer_one(y, p, u8(f) % p->watch.open_n);
    } else if (verb < 50) {
        send_raw(y, p);
    } else if (verb < 51) {
        connect_in(y, p); /* a second one */
    } else if (verb < 56) {
        rig_wait(y->rig, some_time(f));
    } else if (verb < 60) {
        pipe_step(y, p, u8(f) % 6);
    } else {
        rig_step(y, verb & 3);
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static void set_up(struct play *y)
{
    static const struct adapter_ops *const adapters[] = {&mqtt_adapter, &stomp_adapter, NULL};
    struct feed *f = &y->feed;
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = adapters;
    uint8_t a = u8(f), b = u8(f), c = u8(f), d = u8(f);
    config.has_store = a & 1;
    config.queue_qos0 = (a & 2) != 0;
    config.no_retain = (a & 12) == 12;
    config.is_lenient = d & 1;
    config.check_payload_format = (d & 2) != 0;
    config.has_auth = (d & 4) != 0;
    config.response_information = d & 8 ? "reply/%c" : NULL;
    config.server_reference = d & 16 ? "other:1883" : NULL;
    config.has_qos_cap = (d & 32) != 0;
    config.qos_cap = d & 64 ? 1 : 0;
    config.has_moved = d == 0xff;
    struct limits *l = &config.limits;
    if (a & 16)
        l->inflight_max = 1 + (b & 3);
    if (a & 32)
        l->receive_max = 1 + (b >> 2 & 3);
    if (a & 64)
        l->session_queue_max = 1 + (b >> 4 & 3);
    if (a & 128)
        l->out_bytes_max = 4096;
    if (c & 1)
        l->packet_bytes_max = 1024;
    if (c & 2)
        l->subscriptions_max = 2;
    if (c & 4)
        l->retained_max = 2;
    if (c & 8)
        l->alias_in_max = c >> 6;
    if (c & 16)
        l->alias_out_max = c >> 6;
    if (c & 32)
        l->keepalive_s_max = 100;
    y->rig = rig_new(&config);
    BUG_ON(y->rig == NULL);
}

/* owes: does the broker owe this peer an answer that it should have given by now? */
static bool owes(const struct peer *p)
{
    const struct watch_mqtt *w = &p->watch;
    if (p->pipe == NULL || rig_is_closed(p->pipe) || !can_say(p) || w->is_deaf || w->is_over)
        return false;
    return (w->is_on && (w->ask_n || w->pings)) || (w->has_connect && !w->has_connack && !w->has_method);
}

static void finish(struct play *y)
{
    y->rig->heap.fail_at = 0;
    y->rig->is_holding = false;
    for (unsigned i = 0; i < PEERS; i++) {
        struct peer *p = &y->peer[i];
        p->answers = false;
        if (p->pipe) {
            p->pipe->is_stalled = false;
            p->pipe->take_max = 0;
        }
    }
    rig_run(y->rig);
    look(y);
    for (unsigned i = 0; i < PEERS && !y->has_failed; i++) {
        const struct peer *p = &y->peer[i];
        if (!owes(p))
            continue;
        fprintf(stderr, "peer %u waits for %u answers (%s %u first), %llu PINGRESPs, connack %d\n", i, p->watch.ask_n,
                mqtt_type_name(p->watch.ask[0].type), p->watch.ask[0].id, (unsigned long long)p->watch.pings,
                p->watch.has_connack);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct play *y = calloc(1, sizeof(*y));
    if (y == NULL)
        abort();
    y->feed = (struct feed){.p = bytes, .n = n};
    y->is_traced = getenv("WEIR_FUZZ_TRACE") != NULL;
    set_up(y);
    for (unsigned i = 0; i < STEPS_MAX && y->feed.at < n; i++) {
        step(y);
        rig_run(y->rig);
        look(y);
    }
    finish(y);
    bool all_back = rig_free(y->rig);
    BUG_ON(!all_back);
    for (unsigned i = 0; i < PEERS; i++)
        watch_mqtt_free(&y->peer[i].watch);
    free(y);
    return 0;
}
