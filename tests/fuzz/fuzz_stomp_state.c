/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_stomp_state.c: the STOMP adapter's state machine: the input is a little program for three STOMP peers and a
 * device that speaks MQTT, at one broker.
 *
 *     input    [what the broker is like: 4 bytes] then steps: [verb and peer: 1 byte] [what the verb needs]
 *     step     a frame of any kind and version, its headers chosen by the input: destinations of every kind, queue
 *              arguments, transactions, durable and pull subscriptions, browsers, replies, /manage/; a frame in two
 *              pieces; raw bytes; time, from milliseconds to years; no reading, slow reading; the end of a connection;
 *              a store that keeps its "durable" to itself; an allocation that fails
 *     checks   after every step shard_check, and that the broker comes to rest; of everything it says, that a server
 *              may say it at this moment to this peer (tests/support/watch_stomp.h); that nobody is shown a message of
 *              a transaction before its COMMIT, or that was never sent; that heart-beats come; at the end, when nothing
 *              is held back any more, that every receipt was answered or its connection closed, and that all memory
 *              came back
 *
 * An input that has ended reads as zeros, so every prefix of a program is a program.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/check.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "tests/fuzz/stomp_feed.h"
#include "tests/support/rig.h"
#include "tests/support/watch_stomp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum {
    PEERS = 4, /* the last one is the device */
    DEVICE = PEERS - 1,
    STEPS_MAX = 300,
    SENDS_MAX = 1024, /* messages whose fate is followed */
};

/* What became of a SEND. */
enum fate { NEVER, SENT, IN_TX };

struct peer {
    struct rig_pipe *pipe; /* NULL: it has never been here */
    struct watch_stomp watch;
    unsigned version;
    bool has_tx[TXS];
    mono_ms wants_beat_ms; /* not too seldom; 0: never */
    char rest[FRAME_MAX];  /* the second half of a frame */
    size_t rest_n;
};

struct play {
    struct rig *rig;
    struct feed feed;
    struct peer peer[PEERS];
    struct {
        uint8_t fate, peer, tx; /* enum fate */
    } send[SENDS_MAX];
    uint32_t send_n, receipt_n;
    bool has_failed; /* an allocation: answers may be missing */
    bool is_traced;  /* WEIR_FUZZ_TRACE is set: every frame is printed */
};

/* ---- sending -------------------------------------------------------------------------------------------------- */

static bool can_say(const struct peer *p)
{
    return p->pipe != NULL && !p->pipe->is_eof && !p->pipe->is_reset;
}

static void trace(int who, char way, const void *bytes, size_t n)
{
    fprintf(stderr, "%d%c ", who, way);
    (void)fwrite(bytes, 1, n, stderr); /* with the NULs: there may be several frames */
    fputc('\n', stderr);
}

static void say(struct play *y, struct peer *p, const void *bytes, size_t n)
{
    if (!can_say(p) || n == 0)
        return;
    if (y->is_traced)
        trace((int)(p - y->peer), '>', bytes, n);
    rig_send(p->pipe, bytes, n);
}

static void say_rest(struct play *y, struct peer *p)
{
    say(y, p, p->rest, p->rest_n);
    p->rest_n = 0;
}

/* end_frame: the blank line, a body, NUL; sent whole or, now and then, in two pieces. */
static void end_frame(struct play *y, struct peer *p, struct frame *out, const char *body)
{
    struct feed *f = &y->feed;
    put(out, "\n%s", body);
    out->p[out->n++] = '\0';
    say_rest(y, p);
    size_t cut = flag(f, 2) ? u8(f) % out->n : out->n;
    say(y, p, out->p, cut);
    p->rest_n = out->n - cut;
    memcpy(p->rest, out->p + cut, p->rest_n);
}

/* receipt: asks for one; what it will mean. */
static void receipt(struct play *y, struct peer *p, struct frame *out, enum watch_kind kind, uint8_t which,
                    const struct watch_sub *next)
{
    put(out, "receipt:r%u\n", y->receipt_n);
    if (can_say(p))
        watch_stomp_asked(&p->watch, kind, y->receipt_n, which, next);
    y->receipt_n++;
}

static const char *const TX[TXS] = {"t0", "t1", "tx two"};

/* maybe_tx: its number, or -1. */
static int maybe_tx(struct feed *f, const struct peer *p, struct frame *out)
{
    uint8_t c = u8(f);
    unsigned tx = c % TXS;
    if ((c & 0x80) == 0 || (!p->has_tx[tx] && c < 0xf8))
        return -1;
    put(out, "transaction:%s\n", TX[tx]);
    return (int)tx;
}

static const char *dest(struct feed *f, const struct peer *p)
{
    uint8_t c = u8(f);
    if (c >= 190 && p->watch.reply_to[0] != '\0')
        return p->watch.reply_to;
    return DESTS[c < 100 ? c % 3 : c < 200 ? c % 16 : c % ARRAY_N(DESTS)];
}

/* ---- what peers say ------------------------------------------------------------------------------------------- */

static void come_in(struct play *y, struct peer *p)
{
    static const struct {
        const char *text;
        mono_ms wants;
    } beats[] = {{"0,0", 0},   {"1000,0", 0},       {"0,1000", 1000}, {"500,60000", 60000},
                 {"1,1", 250}, {"0,4294967295", 0}, {"x", 0}};
    static const char *const logins[] = {"", "login:anna\npasscode:anna\n", "client-id:c\n",
                                         "login:anna\npasscode:anna\nclient-id:c\n"};
    struct feed *f = &y->feed;
    struct frame out = {0};
    if (can_say(p))
        p->pipe->is_reset = true;
    watch_stomp_free(&p->watch);
    memset(p->has_tx, 0, sizeof p->has_tx);
    p->rest_n = 0;
    p->pipe = rig_connect(y->rig);
    uint8_t c = u8(f);
    p->version = (c & 3) == 3 ? 2 : c & 3;
    p->watch.version = p->version;
    put(&out, "%s\n", c & 4 ? "STOMP" : "CONNECT");
    if (p->version != 0)
        put(&out, "accept-version:1.%u\nhost:h\n", p->version);
    put(&out, "heart-beat:%s\n%s", beats[(c >> 3) % ARRAY_N(beats)].text, ONE_OF(f, logins));
    p->wants_beat_ms = p->version != 0 ? beats[(c >> 3) % ARRAY_N(beats)].wants : 0;
    end_frame(y, p, &out, "");
}

static void put_options(struct feed *f, struct peer *p, struct frame *out)
{
    static const char *const replies[] = {"/topic/r", "/queue/q1", "/temp-queue/t", "/temp-queue/u", "/mqtt/r/s"};
    unsigned has = few(f), more = u8(f);
    if (has & 1)
        put(out, "persistent:%s\n", yes_no(f));
    if (has & 2)
        put(out, "expiration:%s\n", number(f));
    if (has & 4)
        put(out, "x-delay:%s\n", number(f));
    if (has & 8)
        put(out, "priority:%s\n", small(f));
    if (has & 16) {
        const char *to = ONE_OF(f, replies);
        p->watch.has_temp = p->watch.has_temp || strncmp(to, "/temp", 5) == 0;
        put(out, "reply-to:%s\n", to);
    }
    if (has & 32)
        put(out, "retain:%s\n", yes_no(f));
    if (has & 64)
        put(out, "qos:%s\n", small(f));
    if (has & 128)
        put(out, "correlation-id:c%s\n", number(f));
    if ((more & 7) == 7)
        put(out, "mine:1\ncontent-type:text/plain\nuser.mine:2\nmine:3\n");
    if ((more & 24) == 24)
        queue_arguments(f, out);
}

/* body: "#<number> ", by which whoever is shown it can tell what it is. */
static void send_in(struct play *y, struct peer *p)
{
    struct feed *f = &y->feed;
    struct frame out = {0};
    char body[300];
    put(&out, "SEND\ndestination:%s\n", dest(f, p));
    put_options(f, p, &out);
    int tx = maybe_tx(f, p, &out);
    if (flag(f, 8)) {
        maybe(f, &out, 4, "reject", "receipt");
        receipt(y, p, &out, WATCH_OTHER, 0, NULL);
    }
    uint32_t n = y->send_n < SENDS_MAX ? y->send_n++ : 0;
    if (n != 0) {
        y->send[n].fate = tx >= 0 ? IN_TX : SENT;
        y->send[n].peer = (uint8_t)(p - y->peer);
        y->send[n].tx = (uint8_t)MAX(tx, 0);
    }
    (void)snprintf(body, sizeof body, "#%u %*s", n, flag(f, 2) ? 200 : 0, "");
    end_frame(y, p, &out, body);
}

static void subscribe(struct play *y, struct peer *p)
{
    static const char *const acks[] = {"auto", "client", "client-individual"};
    static const uint8_t counts[] = {0, 1, 2, 3, 10};
    struct feed *f = &y->feed;
    struct frame out = {0};
    struct watch_sub next = {0};
    uint8_t id = u8(f) % 6, mode = (u8(f) + 1) % 3, more = u8(f);
    if (p->watch.sub[id].is_on && u8(f) < 250)
        return; /* twice is an ERROR */
    next.is_browser = (more & 48) == 48;
    next.is_pull = (more & 48) == 16;
    if (next.is_browser && more != 0xff)
        mode = 0; /* else an ERROR */
    put(&out, "SUBSCRIBE\nid:%u\nack:%s\n", id, acks[mode]);
    next.wants_acks = mode != 0;
    next.is_cumulative = mode == 1;
    put(&out, "destination:%s\n", dest(f, p));
    if ((more & 17) == 1) {
        next.prefetch = counts[u8(f) % ARRAY_N(counts)];
        put(&out, "%s:%u\n", more & 2 ? "prefetch-count" : "activemq.prefetchSize", next.prefetch);
    }
    if (next.is_pull) {
        next.granted = counts[u8(f) % ARRAY_N(counts)];
        put(&out, "x-credit:%u\n", (unsigned)next.granted);
    }
    if (next.is_browser)
        put(&out, "browser:true\n");
    if ((more & 192) == 192)
        queue_arguments(f, &out);
    if (flag(f, 2))
        put(&out, "durable:true\nauto-delete:%s\n", yes_no(f));
    maybe(f, &out, 1, "durable-subscription-name", "d");
    maybe(f, &out, 1, "x-queue-name", "q2");
    maybe(f, &out, 1, "x-priority", small(f));
    maybe(f, &out, 1, "retain-handling", small(f));
    receipt(y, p, &out, WATCH_SUB, id, &next);
    end_frame(y, p, &out, "");
}

static void unsubscribe(struct play *y, struct peer *p)
{
    struct feed *f = &y->feed;
    struct frame out = {0};
    uint8_t id = u8(f) % 6;
    if (!p->watch.sub[id].is_on && u8(f) < 250)
        return; /* an ERROR */
    put(&out, "UNSUBSCRIBE\nid:%u\n", id);
    maybe(f, &out, 2, "durable", "true");
    receipt(y, p, &out, WATCH_UNSUB, id, NULL);
    end_frame(y, p, &out, "");
}

/* answer: a delivery that is open, or (rarely) one that never was. */
static void answer(struct play *y, struct peer *p, bool is_nack)
{
    struct feed *f = &y->feed;
    struct frame out = {0};
    uint8_t which = u8(f), how = u8(f);
    uint32_t i = p->watch.open_n != 0 ? which % p->watch.open_n : 0;
    bool is_open = p->watch.open_n != 0 && p->watch.open[i].tx < 0;
    if (!is_open && how < 0xf0)
        return;
    put(&out, "%s\n%s:%s\n", is_nack ? "NACK" : "ACK", p->version == 2 ? "id" : "message-id",
        is_open ? p->watch.open[i].id : "1-1.1");
    if (p->version == 1)
        put(&out, "subscription:%u\n", is_open ? p->watch.open[i].sub : 0);
    if (is_nack && (how & 3) != 0)
        put(&out, "requeue:%s\n", how & 1 ? "false" : "true");
    int tx = maybe_tx(f, p, &out);
    if (how & 4)
        receipt(y, p, &out, WATCH_OTHER, 0, NULL);
    end_frame(y, p, &out, "");
    if (is_open && can_say(p))
        watch_stomp_answered(&p->watch, i, tx);
}

static void transaction(struct play *y, struct peer *p)
{
    static const char *const commands[] = {"BEGIN", "COMMIT", "ABORT"};
    struct feed *f = &y->feed;
    struct frame out = {0};
    uint8_t c = u8(f);
    unsigned tx = c % TXS, what = !p->has_tx[tx] ? 0 : c & 0x10 ? 2 : 1;
    if (c >= 0xf8)
        what = c % 3; /* perhaps one that is not there */
    put(&out, "%s\ntransaction:%s\n", commands[what], TX[tx]);
    if (what == 1)
        maybe(f, &out, 6, "reject", "receipt");
    receipt(y, p, &out, what == 1 ? WATCH_COMMIT : WATCH_OTHER, (uint8_t)tx, NULL);
    end_frame(y, p, &out, "");
    if (!can_say(p))
        return;
    p->has_tx[tx] = what == 0;
    if (what != 0)
        watch_stomp_ended(&p->watch, (int)tx, what == 1);
    for (uint32_t i = 1; what != 0 && i < y->send_n; i++)
        if (y->send[i].fate == IN_TX && y->send[i].peer == p - y->peer && y->send[i].tx == tx)
            y->send[i].fate = what == 1 ? SENT : NEVER;
}

static void manage(struct play *y, struct peer *p)
{
    static const char *const verbs[] = {"declare-exchange", "delete-exchange", "bind",  "unbind", "declare-queue",
                                        "delete-queue",     "purge",           "pause", "resume", "credit"};
    static const char *const queues[] = {QUEUES, ""};
    static const char *const exchanges[] = {"x1", "x2", "amq.topic", "amq.direct", "amq.fanout", ""};
    static const char *const kinds[] = {"topic", "direct", "fanout", "headers"};
    static const char *const keys[] = {"k", "a.b", "#", "*.b", ""};
    struct feed *f = &y->feed;
    struct frame out = {0};
    unsigned verb = u8(f) % ARRAY_N(verbs), id = u8(f) % 6;
    put(&out, "SEND\ndestination:/manage/%s\n", verbs[verb]);
    switch (verb) {
    case 0:
        put(&out, "exchange:%s\ntype:%s\n", ONE_OF(f, exchanges), ONE_OF(f, kinds));
        maybe(f, &out, 4, "alternate-exchange", ONE_OF(f, exchanges));
        maybe(f, &out, 4, "auto-delete", yes_no(f));
        maybe(f, &out, 2, "internal", yes_no(f));
        maybe(f, &out, 1, "x-rate-limit", number(f));
        break;
    case 1:
        put(&out, "exchange:%s\n", ONE_OF(f, exchanges));
        maybe(f, &out, 4, "if-unused", yes_no(f));
        break;
    case 2:
    case 3:
        put(&out, "exchange:%s\nkey:%s\n", ONE_OF(f, exchanges), ONE_OF(f, keys));
        if (flag(f, 8))
            put(&out, "queue:%s\n", ONE_OF(f, queues));
        else
            put(&out, "to-exchange:%s\n", ONE_OF(f, exchanges));
        break;
    case 9: {
        unsigned n = u8(f) & 3;
        watch_stomp_granted(&p->watch, (uint8_t)id, n);
        put(&out, "subscription:%u\ncredit:%u\n", id, n);
        maybe(f, &out, 4, "drain", "true");
        break;
    }
    default:
        put(&out, "queue:%s\n", ONE_OF(f, queues));
        if (verb == 4)
            queue_arguments(f, &out);
        if (verb == 5)
            maybe(f, &out, 4, "if-empty", yes_no(f));
    }
    if (flag(f, 12))
        receipt(y, p, &out, WATCH_OTHER, 0, NULL);
    end_frame(y, p, &out, "");
}

static void send_raw(struct play *y, struct peer *p)
{
    struct slice s = raw(&y->feed, 120);
    say_rest(y, p);
    if (s.len != 0)
        p->watch.is_blind = true;
    say(y, p, s.p, s.len);
}

static void disconnect(struct play *y, struct peer *p)
{
    struct frame out = {0};
    put(&out, "DISCONNECT\n");
    receipt(y, p, &out, WATCH_OTHER, 0, NULL);
    end_frame(y, p, &out, "");
    p->watch.is_leaving = true; /* what comes behind it is not answered */
}

/* ---- the device ----------------------------------------------------------------------------------------------- */

/* A device that is always there, at QoS 0: MQTT's own rules are fuzz_mqtt_state.c's. */
static void device_in(struct play *y)
{
    static const uint8_t hello[] = "\x10\x0d\0\4MQTT\5\2\0\0\0\0\0";
    struct peer *p = &y->peer[DEVICE];
    if (p->pipe != NULL && !rig_is_closed(p->pipe) && can_say(p))
        return;
    p->pipe = rig_connect(y->rig);
    rig_send(p->pipe, hello, 15);
    rig_send(p->pipe, "\x82\x09\0\1\0\0\3a/#\0", 11);
}

static void device_step(struct play *y)
{
    static const char *const topics[] = {"a",   "a/b",         "$queue/q", "$reply/x", "r", "$exchange/x1/k",
                                         "a/*", "$delayed/1/a"};
    struct peer *p = &y->peer[DEVICE];
    uint8_t packet[100];
    const char *topic = ONE_OF(&y->feed, topics);
    size_t n = strlen(topic);
    device_in(y);
    packet[0] = flag(&y->feed, 4) ? 0x31 : 0x30;
    packet[1] = (uint8_t)(2 + n + 1 + 3);
    packet[2] = 0;
    packet[3] = (uint8_t)n;
    memcpy(packet + 4, topic, n);
    memcpy(packet + 4 + n, "\0dev", 4);
    rig_send(p->pipe, packet, 8 + n);
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

/* shown: a peer was shown this body. */
static void shown(void *ctx, struct slice body)
{
    const struct play *y = ctx;
    uint32_t n = 0;
    if (body.len < 3 || body.p[0] != '#')
        return;
    for (size_t i = 1; i < body.len && body.p[i] >= '0' && body.p[i] <= '9' && n < SENDS_MAX; i++)
        n = n * 10 + (uint32_t)(body.p[i] - '0');
    if (n == 0 || n >= SENDS_MAX)
        return;
    if (n >= y->send_n || y->send[n].fate != SENT) {
        fprintf(stderr, "message %u was shown, and is %s\n", n, n >= y->send_n ? "none" : "in a transaction");
        abort();
    }
}

/* look: everybody reads what came, and everything is checked. */
static void look(struct play *y)
{
    BUG_ON(y->rig->is_stuck);
    shard_check(y->rig->shard);
    for (unsigned i = 0; i < DEVICE; i++) {
        struct peer *p = &y->peer[i];
        if (p->pipe == NULL || p->pipe->out_at == p->pipe->out.len)
            continue;
        size_t n = p->pipe->out.len - p->pipe->out_at;
        const uint8_t *at = p->pipe->out.p + p->pipe->out_at;
        if (y->is_traced)
            trace((int)i, '<', at, n);
        p->watch.on_message = shown;
        p->watch.ctx = y;
        watch_stomp_heard(&p->watch, at, n);
        p->pipe->out_at = p->pipe->out.len;
        if (p->watch.why[0] != '\0') {
            fprintf(stderr, "peer %u: %s\n", i, p->watch.why);
            abort();
        }
    }
}

/* pass: time; whoever was promised a heart-beat hears something. */
static void pass(struct play *y, mono_ms ms)
{
    uint64_t before[DEVICE];
    bool is_owed[DEVICE];
    for (unsigned i = 0; i < DEVICE; i++) { /* years are for who has no heart-beats: else they would be millions */
        const struct peer *p = &y->peer[i];
        if (p->wants_beat_ms != 0 && can_say(p) && !rig_is_closed(p->pipe))
            ms = MIN(ms, 100 * p->wants_beat_ms);
    }
    for (unsigned i = 0; i < DEVICE; i++) {
        const struct peer *p = &y->peer[i];
        bool reads = can_say(p) && !rig_is_closed(p->pipe) && !p->pipe->is_stalled && p->pipe->take_max == 0;
        is_owed[i] = reads && p->watch.beat_ms != 0 && ms >= p->watch.beat_ms;
        before[i] = p->watch.heard_n;
    }
    rig_wait(y->rig, ms);
    look(y);
    for (unsigned i = 0; i < DEVICE; i++)
        if (is_owed[i] && !rig_is_closed(y->peer[i].pipe) && y->peer[i].watch.heard_n == before[i]) {
            fprintf(stderr, "peer %u heard nothing for %llu ms\n", i, (unsigned long long)ms);
            abort();
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
        p->pipe->take_max = 1 + u8(&y->feed);
        break;
    default:
        p->pipe->is_stalled = false;
        p->pipe->take_max = 0;
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
        y->rig->is_holding = false;
        break;
    case 2:
        y->rig->is_full = !y->rig->is_full;
        break;
    default:
        heap->fail_at = heap->calls + 1 + u8(&y->feed);
        y->has_failed = true;
    }
}

static void rare_step(struct play *y, struct peer *p, unsigned what)
{
    switch (what) {
    case 0:
        come_in(y, p);
        break;
    case 1:
        disconnect(y, p);
        break;
    case 2:
        send_raw(y, p);
        break;
    default:
        pipe_step(y, p, u8(&y->feed) % 6);
    }
}

static void step(struct play *y)
{
    static const mono_ms some[] = {1, 10, 250, 500, 1000, 2000, 10000, 60000, 1800000, 86400000, UINT64_C(31536000000)};
    struct feed *f = &y->feed;
    uint8_t c = u8(f);
    struct peer *p = &y->peer[(c & 3) % DEVICE];
    uint8_t verb = c >> 2;                       /* 64 of them */
    if (rig_is_closed(p->pipe) || !can_say(p)) { /* or most programs would end with the first ERROR */
        come_in(y, p);
        rig_run(y->rig);
        look(y);
    }
    switch (verb & 15) {
    case 0:
    case 4:
    case 8:
        send_in(y, p);
        break;
    case 1:
    case 6:
        subscribe(y, p);
        break;
    case 2:
    case 7:
        answer(y, p, (verb & 15) == 7);
        break;
    case 3:
    case 9:
        transaction(y, p);
        break;
    case 5:
    case 11:
        manage(y, p);
        break;
    case 10:
        unsubscribe(y, p);
        break;
    case 12:
        pass(y, ONE_OF(f, some));
        break;
    case 13:
        device_step(y);
        break;
    case 14:
        rare_step(y, p, verb >> 4);
        break;
    default:
        rig_step(y, verb >> 4);
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
    uint8_t a = u8(f), b = u8(f), c = u8(f);
    struct limits *l = &config.limits;
    config.has_store = a & 1;
    config.no_retain = (a & 6) == 6;
    l->prefetch_max = a & 8 ? 1 + (b & 3) : 50; /* who never answers is asked again every so often, for years */
    if (a & 16)
        l->stomp_subscriptions_max = 2;
    if (a & 32)
        l->session_queue_max = 1 + (b >> 2 & 3);
    if (a & 64)
        l->named_queue_max = 1 + (b >> 4 & 3);
    if (a & 128)
        l->out_bytes_max = 4096;
    if (c & 1)
        l->tx_n_max = 1;
    if (c & 2)
        l->tx_actions_max = 2;
    if (c & 4)
        l->queues_max = 2;
    if (c & 8)
        l->ack_ms = 1000;
    if (c & 16)
        l->publish_rate = 1;
    if (c & 32)
        l->delayed_max = 1;
    if (c & 64)
        l->stomp_body_bytes_max = 1024;
    y->rig = rig_new(&config);
    BUG_ON(y->rig == NULL);
    y->send_n = 1;
}

static void finish(struct play *y)
{
    y->rig->heap.fail_at = 0;
    y->rig->is_holding = y->rig->is_full = false;
    for (unsigned i = 0; i < PEERS; i++)
        if (y->peer[i].pipe != NULL) {
            y->peer[i].pipe->is_stalled = false;
            y->peer[i].pipe->take_max = 0;
        }
    rig_run(y->rig);
    look(y);
    if (y->rig->shard->limits.publish_rate != 0) {
        rig_wait(y->rig, 1000 * STEPS_MAX); /* who is ahead of it is read again */
        look(y);
    }
    for (unsigned i = 0; i < DEVICE && !y->has_failed; i++) {
        const struct peer *p = &y->peer[i];
        bool is_over = !can_say(p) || rig_is_closed(p->pipe) || p->watch.is_blind || p->watch.is_leaving;
        if (is_over || p->rest_n != 0 || !p->watch.has_connected || p->watch.ask_n == 0)
            continue;
        fprintf(stderr, "peer %u waits for %u receipts, r%u first\n", i, p->watch.ask_n, p->watch.ask[0].id);
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
    for (unsigned i = 0; i < DEVICE; i++)
        come_in(y, &y->peer[i]);
    for (unsigned i = 0; i < STEPS_MAX && y->feed.at < n; i++) {
        step(y);
        rig_run(y->rig);
        look(y);
    }
    finish(y);
    bool all_back = rig_free(y->rig);
    BUG_ON(!all_back);
    for (unsigned i = 0; i < PEERS; i++)
        watch_stomp_free(&y->peer[i].watch);
    free(y);
    return 0;
}
