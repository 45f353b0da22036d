/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_across_random.c: what crosses from one protocol to the other comes back as it was.
 *
 *     MQTT 5 ─► STOMP 1.0, 1.1, 1.2; /mqtt/#, /topic/# (dots), /topic/+/# (slashes) ─► SEND as it was read ─► MQTT 5
 *     STOMP, any version, any spelling ─► MQTT 5 ─► PUBLISH as it was read ─► STOMP
 *     retained the same way, seen by those who come later
 *
 * Topics and properties are random, out of what gives trouble: dots, stars, percent signs, empty levels, line ends,
 * backslashes, UTF-8 of every length, reserved names, repeated names, correlation data of any bytes. Each side is read
 * by a small reader of the tests' own, which knows neither codec of the broker.
 *
 * What is allowed to change is what docs/mapping.md says (Payload Format Indicator and content-type are one thing in
 * STOMP): became() is that paragraph as code.
 *
 * Cost    ACROSS_ROUNDS brokers, about a millisecond each. ACROSS_SEED and ACROSS_ROUNDS in the environment repeat or
 *         prolong it.
 * Thread  one.
 * Spec    docs/mapping.md, "Destinations", "Properties", "Retained"; MQTT 5 §3.3.2.3; STOMP 1.2 §MESSAGE, §SEND.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/base/utf8.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "tests/wire/across.h"

enum { ROUNDS = 300 };

static const struct adapter_ops *const ADAPTERS[] = {&mqtt_adapter, &stomp_adapter, NULL};

/* ---- in words ---------------------------------------------------------------------------------------------------- */

static size_t bit_show(const struct bit *b, const char *name, char *out, size_t cap)
{
    size_t at = (size_t)snprintf(out, cap, " %s='", name);
    for (size_t i = 0; i < b->n && at + 6 < cap; i++)
        at += (size_t)snprintf(out + at, cap - at, b->p[i] > ' ' && b->p[i] < 0x7f ? "%c" : "\\x%02x", b->p[i]);
    return at + (size_t)snprintf(out + at, cap - at, "'");
}

/* note_show: all of it, so that two of them can be compared by their words. */
static void note_show(const struct note *m, char *out, size_t cap)
{
    size_t at =
        (size_t)snprintf(out, cap, "qos=%u retain=%d format=%d expiry=%u", m->qos, m->retain, m->format, m->expiry);
    at += bit_show(&m->topic, "topic", out + at, cap - at);
    at += bit_show(&m->payload, "payload", out + at, cap - at);
    if (m->has_type)
        at += bit_show(&m->type, "type", out + at, cap - at);
    if (m->has_reply)
        at += bit_show(&m->reply, "reply", out + at, cap - at);
    if (m->has_correlation)
        at += bit_show(&m->correlation, "correlation", out + at, cap - at);
    for (unsigned i = 0; i < m->user_n; i++) {
        at += bit_show(&m->user[i].name, "user", out + at, cap - at);
        at += bit_show(&m->user[i].value, "", out + at, cap - at);
    }
}

/* ---- what becomes of a message ----------------------------------------------------------------------------------- */

static bool holds_any_case(struct bit text, const char *lower, size_t from)
{
    size_t n = strlen(lower);
    for (size_t i = from; i + n <= text.n; i++) {
        size_t k = 0;
        while (k < n && (text.p[i + k] | (text.p[i + k] >= 'A' && text.p[i + k] <= 'Z' ? 0x20 : 0)) == lower[k])
            k++;
        if (k == n)
            return true;
    }
    return false;
}

/* became: docs/mapping.md, "Properties": the format indicator is spelled as a content type, and read from one. */
static struct note became(const struct note *m)
{
    struct note out = *m;
    if (m->format == 1 && !m->has_type) {
        out.has_type = true;
        out.type = bit_of("text/plain;charset=utf-8");
    }
    struct bit start = {.n = MIN(out.type.n, (size_t)5)};
    memcpy(start.p, out.type.p, start.n);
    bool names_text =
        out.has_type && (holds_any_case(start, "text/", 0) || holds_any_case(out.type, "charset=utf-8", 0));
    out.format = names_text && utf8_is_valid(m->payload.p, m->payload.n) ? 1 : -1;
    return out;
}

/* same: with format 0 and none as the same: MQTT 5 §3.3.2.3.2. */
static void same(const char *what, uint64_t seed, const struct note *want, const struct note *got)
{
    char a[2000], b[2000];
    struct note w = *want, g = *got;
    w.format = w.format == 1 ? 1 : -1;
    g.format = g.format == 1 ? 1 : -1;
    note_show(&w, a, sizeof a);
    note_show(&g, b, sizeof b);
    if (strcmp(a, b) != 0)
        fail_msg("ACROSS_SEED=%llu, %s:\n  sent  %s\n  came  %s", (unsigned long long)seed, what, a, b);
}

/* ---- MQTT, STOMP, MQTT ------------------------------------------------------------------------------------------- */

static const char *const STYLES[] = {"/mqtt/#", "/topic/#", "/topic/+/#"};

static struct rig *broker(void)
{
    struct rig_config config;
    rig_config_init(&config);
    config.adapters = ADAPTERS;
    struct rig *r = rig_new(&config);
    assert_non_null(r);
    return r;
}

/* one_note: the device was sent exactly one message more. */
static struct note one_note(const char *what, uint64_t seed, struct device *d)
{
    struct note out;
    char shown[2000];
    rig_run(d->p->rig);
    unsigned n = device_reads(d, &out);
    if (n == 0)
        fail_msg("ACROSS_SEED=%llu, %s: nothing came", (unsigned long long)seed, what);
    if (n > 1) {
        note_show(&out, shown, sizeof shown);
        fail_msg("ACROSS_SEED=%llu, %s: %u came, the last: %s", (unsigned long long)seed, what, n, shown);
    }
    return out;
}

enum { BACK_N = 2 * ARRAY_N(STYLES) };

/* collect: every MESSAGE of this connection as SEND: by its own lines, and decoded and said in 1.2. */
static void collect(uint64_t seed, struct web *from, struct rig_bytes lines[BACK_N])
{
    unsigned n = 0;
    while (n < BACK_N && web_next(from)) {
        if (!said_is(&from->said, "MESSAGE"))
            continue;
        web_raw_back(from, &lines[n++]);
        web_said_back(from, 2, &lines[n++]);
    }
    if (n != BACK_N || web_next(from))
        fail_msg("ACROSS_SEED=%llu: 1.%u was shown %u or more of %zu: %s", (unsigned long long)seed, from->version,
                 n / 2, ARRAY_N(STYLES), from->said.why != NULL ? from->said.why : from->words);
}

/* back: they are sent, one by one; the device is shown each as m, as it became. */
static void back(uint64_t seed, const struct note *m, struct web *from, struct web *other,
                 struct rig_bytes lines[BACK_N], struct device *to)
{
    char what[100];
    const struct note want = became(m);
    for (unsigned i = 0; i < BACK_N; i++) {
        struct web *by = i % 2 == 0 ? from : other;
        (void)snprintf(what, sizeof what, "1.%u, %s, sent back %s", from->version, STYLES[i / 2],
                       i % 2 == 0 ? "line by line" : "by 1.2");
        rig_send(by->p, lines[i].p, lines[i].len);
        struct note got = one_note(what, seed, to);
        same(what, seed, &want, &got);
        free(lines[i].p);
    }
}

static void mqtt_stomp_mqtt(uint64_t seed)
{
    struct rng rng;
    struct web web[3], other;
    struct device sender, receiver;
    struct rig_bytes lines[3][BACK_N] = {0};
    struct note m;
    char headers[100];
    rng_init(&rng, seed);
    note_random(&rng, &m);
    struct rig *r = broker();
    device_comes(r, &receiver, "r");
    device_subscribes(&receiver, "#");
    for (unsigned v = 0; v <= 2; v++) {
        web_comes(r, &web[v], v);
        for (unsigned i = 0; i < ARRAY_N(STYLES); i++) {
            (void)snprintf(headers, sizeof headers, "id:%u\ndestination:%s\n", i, STYLES[i]);
            web_says(&web[v], "SUBSCRIBE", headers);
        }
    }
    web_comes(r, &other, 2);
    device_comes(r, &sender, "s");
    device_publishes(&sender, &m);
    struct note direct = one_note("from device to device", seed, &receiver);
    same("from device to device", seed, &m, &direct);
    for (unsigned v = 0; v <= 2; v++)
        collect(seed, &web[v], lines[v]);
    for (unsigned v = 0; v <= 2; v++)
        back(seed, &m, &web[v], &other, lines[v], &receiver);
    for (unsigned v = 0; v <= 2; v++)
        web_free(&web[v]);
    web_free(&other);
    assert_true(rig_free(r));
}

/* retained: whoever comes later, over STOMP, sets it anew as it was read; whoever comes then, over MQTT, sees it. */
static void retained(uint64_t seed)
{
    struct rng rng;
    struct web web;
    struct device sender, receiver;
    struct rig_bytes line = {0};
    struct note m;
    char what[100];
    rng_init(&rng, seed);
    note_random(&rng, &m);
    if (m.payload.n == 0)
        return; /* removes */
    m.retain = true;
    struct rig *r = broker();
    unsigned v = (unsigned)(seed % 3), style = (unsigned)(seed / 3 % 3);
    device_comes(r, &sender, "s");
    device_publishes(&sender, &m);
    web_comes(r, &web, v);
    char headers[100];
    (void)snprintf(headers, sizeof headers, "id:0\ndestination:%s\n", STYLES[style]);
    web_says(&web, "SUBSCRIBE", headers);
    (void)snprintf(what, sizeof what, "retained, 1.%u, %s", v, STYLES[style]);
    struct slice text;
    if (!web_next(&web) || !said_get(&web.said, "retained", &text) || !slice_eq_str(text, "true"))
        fail_msg("ACROSS_SEED=%llu, %s: it is not shown", (unsigned long long)seed, what);
    web_raw_back(&web, &line);
    rig_put(&line, "", 0);
    web_with(&line, "retain:true\n");
    rig_send(web.p, line.p, line.len);
    rig_run(r);
    device_comes(r, &receiver, "r");
    device_subscribes(&receiver, "#");
    struct note got = one_note(what, seed, &receiver), want = became(&m);
    same(what, seed, &want, &got);
    free(line.p);
    web_free(&web);
    assert_true(rig_free(r));
}

/* ---- STOMP, MQTT, STOMP ------------------------------------------------------------------------------------------ */

/* A SEND in any version; a device reads it and publishes it again as it was; what the second MESSAGE says about it must
 * be what the first said, but for its destination's spelling, which is the sender's own the first time. STOMP 1.2
 * §MESSAGE: identical to the one of SEND. */
static void stomp_mqtt_stomp(uint64_t seed)
{
    struct rng rng;
    struct web sender, reader;
    struct device device, again;
    struct note m;
    struct rig_bytes line = {0};
    struct bit first_dest = {0};
    struct slice dest;
    rng_init(&rng, seed);
    note_random(&rng, &m);
    m.format = -1;
    struct rig *r = broker();
    unsigned v = (unsigned)(seed % 3);
    web_comes(r, &sender, v);
    web_comes(r, &reader, (unsigned)(seed / 3 % 3));
    web_says(&reader, "SUBSCRIBE", "id:0\ndestination:/mqtt/#\n");
    device_comes(r, &device, "d");
    device_subscribes(&device, "#");
    device_comes(r, &again, "a");
    if (!note_as_send(&rng, &m, v, &line, &first_dest)) { /* what 1.0 and 1.1 have no way to say */
        web_free(&sender);
        web_free(&reader);
        assert_true(rig_free(r));
        free(line.p);
        return;
    }
    rig_send(sender.p, line.p, line.len);
    struct note got = one_note("SEND to a device", seed, &device), want = became(&m);
    same("SEND to a device", seed, &want, &got);
    assert_true(web_next(&reader));
    struct note shown[2];
    said_as_note(&reader.said, &shown[0]);
    if (!said_get(&reader.said, "destination", &dest) || !slice_eq(dest, slice_make(first_dest.p, first_dest.n)))
        fail_msg("ACROSS_SEED=%llu: sent to %.*s, shown %.*s", (unsigned long long)seed, (int)first_dest.n,
                 (char *)first_dest.p, (int)dest.len, (const char *)dest.p);
    device_publishes(&again, &got);
    rig_run(r);
    assert_true(web_next(&reader));
    said_as_note(&reader.said, &shown[1]);
    shown[0].qos = shown[1].qos = 0; /* mqtt-qos is there only for what a device sent */
    shown[0].topic = shown[1].topic; /* checked above, and: */
    same("shown again", seed, &shown[0], &shown[1]);
    if (shown[1].topic.n != m.topic.n || memcmp(shown[1].topic.p, m.topic.p, m.topic.n) != 0)
        fail_msg("ACROSS_SEED=%llu: another topic is shown", (unsigned long long)seed);
    free(line.p);
    web_free(&sender);
    web_free(&reader);
    assert_true(rig_free(r));
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static void rounds(void (*one)(uint64_t seed))
{
    const char *seed = getenv("ACROSS_SEED"), *n = getenv("ACROSS_ROUNDS");
    if (seed != NULL) {
        one(strtoull(seed, NULL, 10));
        return;
    }
    uint64_t last = n != NULL ? strtoull(n, NULL, 10) : ROUNDS;
    for (uint64_t i = 1; i <= last; i++)
        one(i);
}

static void test_mqtt_stomp_mqtt(void **state)
{
    (void)state;
    rounds(mqtt_stomp_mqtt);
}

static void test_retained(void **state)
{
    (void)state;
    rounds(retained);
}

static void test_stomp_mqtt_stomp(void **state)
{
    (void)state;
    rounds(stomp_mqtt_stomp);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mqtt_stomp_mqtt),
        cmocka_unit_test(test_retained),
        cmocka_unit_test(test_stomp_mqtt_stomp),
    };
    return cmocka_run_group_tests_name("across, at random", tests, NULL, NULL);
}
