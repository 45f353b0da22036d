/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.c: $SYS: what the broker counts, as retained messages that anybody who may read them can subscribe to.
 *
 *     names[] mosquitto's names ┐
 *     loads[] averages of them  │    every sys_interval_s: one value per row, all of one instant
 *     stat_table[]              ├──► the same as it was said last?  yes: nothing
 *     close reasons             │                                   no:  broker_publish_shard ─► retained set
 *     log[]   of the store      │
 *     memory accounts           ┘                                                             └► who is subscribed
 *
 * A load is a moving average per minute, as mosquitto has it: with x per minute since the last round, which was dt ago,
 * load = x + exp(-dt / period) * (load - x).
 *
 * Values are offered at QoS 0. (mosquitto offers QoS 2, and a persistent session that is away collects a message per
 * value and interval up to its queue's limit.) The next value replaces the last one, so what an absent subscriber would
 * find is not worth the memory and the flash: it finds the newest ones in the retained set when it subscribes again.
 *
 * Invariants
 *   1. A round publishes what differs from what was said last, so a broker without traffic says uptime and turns only.
 *      Where nothing can be retained it says all of them, for nobody could look up what was said before.
 *   2. What a round does is not in the figures, but for what its subscribers get: that is traffic.
 *   3. A value that could not be published (no memory, a full queue) counts as not said: the next round tries again.
 *   4. $SYS is never logged (MSG_OWN): it is made anew at every start.
 * Cost    a round of an idle broker: 13,500 instructions; 5,000 per value that changed, so 0.8 million (0.3 ms) if all
 *         164 did; each delivery as any other. 44 KB, half of it the routes of these topics. Nothing between rounds.
 * Thread  own shard only.
 * Spec    MQTT 5 §4.7.2 (topics that begin with $): router and replay keep them from leading wildcards.
 */
#include "core/sys.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/broker.h"
#include "core/shard.h"
#include "core/store.h"

/* ---- the tables --------------------------------------------------------------------------------------------- */

enum form { FORM_NUMBER, FORM_SECONDS, FORM_VERSION, FORM_HUNDREDTHS };

/* Where a value comes from: statistics added up and taken away, or a function. */
struct source {
    const char *topic, *text; /* behind "$SYS/broker/" */
    uint64_t plus, less;      /* sets of statistics: OF() */
    uint64_t (*read)(const struct sys *y);
    enum form form;
};

#define OF(stat) (UINT64_C(1) << STAT_##stat)
_Static_assert(STAT_N <= 64, "a set of statistics is one word");

static uint64_t read_uptime(const struct sys *y);
static uint64_t read_version(const struct sys *y);
static uint64_t read_stored(const struct sys *y);
static uint64_t read_stored_bytes(const struct sys *y);
static uint64_t read_heap(const struct sys *y);
static uint64_t read_heap_peak(const struct sys *y);

/* clang-format off */
#define DROPPED (OF(DROP_FULL) | OF(DROP_HEAD) | OF(DROP_NOMEM) | OF(DROP_TOO_BIG))

/* mosquitto's names. Not here: timestamp and changeset, which it has given up; packet/out, which nobody counts. */
static const struct source names[] = {
    {"version", "name and version of the broker", .read = read_version, .form = FORM_VERSION},
    {"uptime", "time since the start, as \"N seconds\"", .read = read_uptime, .form = FORM_SECONDS},
    {"clients/total", "sessions, with or without a connection", .plus = OF(SESSIONS)},
    {"clients/connected", "sessions with a connection", .plus = OF(SESSIONS_ONLINE)},
    {"clients/active", "clients/connected by its old name", .plus = OF(SESSIONS_ONLINE)},
    {"clients/disconnected", "sessions without a connection", .plus = OF(SESSIONS), .less = OF(SESSIONS_ONLINE)},
    {"clients/inactive", "clients/disconnected by its old name", .plus = OF(SESSIONS), .less = OF(SESSIONS_ONLINE)},
    {"clients/maximum", "most sessions with a connection at once", .plus = OF(SESSIONS_PEAK)},
    {"clients/expired", "sessions whose owner did not come back in time", .plus = OF(SESSIONS_EXPIRED)},
    {"connections/socket/count", "connections opened, those refused included", .plus = OF(CONNS_TOTAL) | OF(CONNS_REFUSED)},
    {"messages/received", "MQTT packets and STOMP frames received, of every kind", .plus = OF(FRAMES_IN)},
    {"messages/sent", "MQTT packets and STOMP frames sent, of every kind", .plus = OF(CONTROL_OUT) | OF(DELIVERED)},
    {"messages/stored", "store/messages/count by its old name", .read = read_stored},
    {"store/messages/count", "messages kept: waiting, in flight, retained, wills; each once, however many wait for it", .read = read_stored},
    {"store/messages/bytes", "memory set aside for them, headers included (mosquitto: bytes of their payloads)", .read = read_stored_bytes},
    {"bytes/received", "bytes received", .plus = OF(BYTES_IN)},
    {"bytes/sent", "bytes sent", .plus = OF(BYTES_OUT)},
    {"publish/messages/received", "messages published, those refused and wills included", .plus = OF(PUBLISHED) | OF(REFUSED)},
    {"publish/messages/sent", "messages delivered", .plus = OF(DELIVERED)},
    {"publish/messages/dropped", "deliveries dropped at a limit: full queue, no memory, larger than the receiver takes", .plus = DROPPED},
    {"publish/bytes/received", "bytes of payload published", .plus = OF(PAYLOAD_IN)},
    {"publish/bytes/sent", "bytes of payload delivered", .plus = OF(PAYLOAD_OUT)},
    {"retained messages/count", "retained messages, those of $SYS included", .plus = OF(RETAINED)},
    {"subscriptions/count", "subscriptions that are not shared, and what else is bound to exchanges", .plus = OF(BINDINGS), .less = OF(GROUPS)},
    {"shared_subscriptions/count", "subscriptions that are shared: to a group or a named queue", .plus = OF(MEMBERS)},
    {"heap/current", "bytes of memory in use", .read = read_heap},
    {"heap/maximum", "most bytes of memory in use at the end of a turn", .read = read_heap_peak},
};

/* Averages: of things that are counted. */
static const struct source loads[] = {
    {"load/messages/received", "packets and frames received", .plus = OF(FRAMES_IN)},
    {"load/messages/sent", "packets and frames sent", .plus = OF(CONTROL_OUT) | OF(DELIVERED)},
    {"load/publish/received", "messages published", .plus = OF(PUBLISHED) | OF(REFUSED)},
    {"load/publish/sent", "messages delivered", .plus = OF(DELIVERED)},
    {"load/publish/dropped", "deliveries dropped at a limit", .plus = DROPPED},
    {"load/bytes/received", "bytes received", .plus = OF(BYTES_IN)},
    {"load/bytes/sent", "bytes sent", .plus = OF(BYTES_OUT)},
    {"load/connections", "logins accepted (mosquitto: CONNECT packets)", .plus = OF(LOGINS)},
    {"load/sockets", "connections opened", .plus = OF(CONNS_TOTAL) | OF(CONNS_REFUSED)},
};
/* clang-format on */

/* What the store has done since the start (core/store.h); zeros without a log. */
static const struct {
    const char *topic, *text;
    uint32_t offset; /* in struct store_stats */
} log_rows[] = {
#define LOG(member) (uint32_t) offsetof(struct store_stats, member)
    {"records", "records handed to the log", LOG(records)},
    {"consumed", "of these never written: settled before their batch was", LOG(consumed)},
    {"published_bytes", "bytes of topic, attributes and payload of the messages handed to the log",
     LOG(published_bytes)},
    {"written_bytes", "bytes written to the log, everything but zeros", LOG(written_bytes)},
    {"batches", "batches written", LOG(batches)},
    {"syncs", "times a file was synced", LOG(syncs)},
    {"copied", "records written again to give space back", LOG(copied)},
    {"fetched", "messages read back from the disk", LOG(fetched)},
    {"disk_bytes", "size of all files of the log now", LOG(disk_bytes)},
    {"living", "records that still mean something", LOG(living_n)},
    {"replayed", "records found at the start", LOG(replayed)},
    {"damaged_bytes", "bytes found damaged at the start, and set aside", LOG(damaged_bytes)},
#undef LOG
};

static const unsigned period_min[] = {1, 5, 15};

/* The rows: the tables one behind the other. */
enum {
    LOADS_N = ARRAY_N(loads),
    PERIODS_N = ARRAY_N(period_min),
    LOG_ROWS_N = ARRAY_N(log_rows),
    LOG_MORE_N = 3, /* behind them: those of log_more */
    AT_LOADS = ARRAY_N(names),
    AT_STATS = AT_LOADS + LOADS_N * PERIODS_N,
    AT_CLOSED = AT_STATS + STAT_N,
    AT_LOG = AT_CLOSED + CLOSE_N - 1, /* all reasons but CLOSE_NONE, the first */
    AT_LOG_MORE = AT_LOG + LOG_ROWS_N,
    AT_MEMORY = AT_LOG_MORE + LOG_MORE_N,
    ROWS_N = AT_MEMORY + MEM_N,
};

#define NEVER_SAID UINT64_MAX

struct sys {
    struct shard *shard;
    struct wtimer timer;
    mono_ms started, last_at;
    uint64_t load_seen[LOADS_N]; /* what was counted at last_at */
    double load[LOADS_N][PERIODS_N];
    uint64_t said[ROWS_N];
};

static uint64_t read_uptime(const struct sys *y)
{
    return (y->last_at - y->started) / 1000;
}

static uint64_t read_version(const struct sys *y)
{
    UNUSED(y);
    return 0; /* it does not change */
}

static uint64_t read_stored(const struct sys *y)
{
    return msg_pool_living(&y->shard->msgs);
}

static uint64_t read_stored_bytes(const struct sys *y)
{
    return y->shard->mem[MEM_MSG].bytes;
}

static uint64_t read_heap(const struct sys *y)
{
    return y->shard->heap->bytes;
}

static uint64_t read_heap_peak(const struct sys *y)
{
    return MAX(y->shard->heap->bytes_peak, y->shard->heap->bytes);
}

static uint64_t sum(const struct stats *s, uint64_t set)
{
    uint64_t n = 0;
    for (; set; set &= set - 1)
        n += s->v[__builtin_ctzll(set)];
    return n;
}

static uint64_t source_value(const struct sys *y, const struct source *from)
{
    if (from->read)
        return from->read(y);
    uint64_t plus = sum(&y->shard->stats, from->plus), less = sum(&y->shard->stats, from->less);
    return plus > less ? plus - less : 0;
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

/* What is made of the store's statistics. */
static const struct {
    const char *topic, *text;
    enum form form;
} log_more[LOG_MORE_N] = {
    {"written_per_published_byte", "written_bytes divided by published_bytes", FORM_HUNDREDTHS},
    {"is_full", "1 while messages are refused because there is no room on the disk, else 0", FORM_NUMBER},
    {"has_failed", "1 once a write has failed: nothing durable is accepted until a restart, else 0", FORM_NUMBER},
};

static uint64_t log_value(const struct shard *s, unsigned i)
{
    static const struct store_stats nothing;
    const struct store_stats *st = s->store ? &s->store->stats : &nothing;
    uint64_t n = 0;
    if (i < LOG_ROWS_N) {
        memcpy(&n, (const char *)st + log_rows[i].offset, sizeof n);
        return n;
    }
    switch (i - LOG_ROWS_N) {
    case 0:
        return st->published_bytes ? (uint64_t)((double)st->written_bytes * 100 / (double)st->published_bytes + 0.5)
                                   : 0;
    case 1:
        return st->is_full;
    default:
        return s->store_failed;
    }
}

static uint64_t row_value(const struct sys *y, unsigned i)
{
    const struct shard *s = y->shard;
    if (i < AT_LOADS)
        return source_value(y, &names[i]);
    if (i < AT_STATS)
        return (uint64_t)(y->load[(i - AT_LOADS) / PERIODS_N][(i - AT_LOADS) % PERIODS_N] * 100 + 0.5);
    if (i < AT_CLOSED)
        return s->stats.v[i - AT_STATS];
    if (i < AT_LOG)
        return s->close_n[i - AT_CLOSED + 1];
    if (i < AT_MEMORY)
        return log_value(s, i - AT_LOG);
    return s->mem[i - AT_MEMORY].bytes;
}

static const char *account_name(unsigned i)
{
    static const char *const name[MEM_N] = {
#define X(id, text) text,
        MEM_LIST(X)
#undef X
    };
    return name[i];
}

/* row_name: the topic, NUL-terminated. */
static void row_name(unsigned i, char out[SYS_TOPIC_BYTES])
{
    static const char root[] = "$SYS/broker/";
    const size_t cap = SYS_TOPIC_BYTES;
    int n;
    if (i < AT_LOADS)
        n = snprintf(out, cap, "%s%s", root, names[i].topic);
    else if (i < AT_STATS)
        n = snprintf(out, cap, "%s%s/%umin", root, loads[(i - AT_LOADS) / PERIODS_N].topic,
                     period_min[(i - AT_LOADS) % PERIODS_N]);
    else if (i < AT_CLOSED)
        n = snprintf(out, cap, "%sweir/%s", root, stat_table[i - AT_STATS].name);
    else if (i < AT_LOG)
        n = snprintf(out, cap, "%sweir/closed/%s", root, close_name((enum close_reason)(i - AT_CLOSED + 1)));
    else if (i < AT_LOG_MORE)
        n = snprintf(out, cap, "%sweir/log/%s", root, log_rows[i - AT_LOG].topic);
    else if (i < AT_MEMORY)
        n = snprintf(out, cap, "%sweir/log/%s", root, log_more[i - AT_LOG_MORE].topic);
    else
        n = snprintf(out, cap, "%sweir/memory/%s", root, account_name(i - AT_MEMORY));
    BUG_ON(n <= 0 || (size_t)n >= cap);
    for (char *c = out + sizeof root - 1; *c; c++)
        *c = (char)tolower((unsigned char)*c);
}

bool sys_topic_get(unsigned i, struct sys_topic *out)
{
    const size_t cap = sizeof out->text;
    if (i >= ROWS_N)
        return false;
    row_name(i, out->name);
    if (i < AT_LOADS)
        snprintf(out->text, cap, "%s", names[i].text);
    else if (i < AT_STATS)
        snprintf(out->text, cap, "%s, per minute, averaged over %u min", loads[(i - AT_LOADS) / PERIODS_N].text,
                 period_min[(i - AT_LOADS) % PERIODS_N]);
    else if (i < AT_CLOSED)
        snprintf(out->text, cap, "%s", stat_table[i - AT_STATS].text);
    else if (i < AT_LOG)
        snprintf(out->text, cap, "connections that ended because: %s",
                 close_text((enum close_reason)(i - AT_CLOSED + 1)));
    else if (i < AT_LOG_MORE)
        snprintf(out->text, cap, "%s", log_rows[i - AT_LOG].text);
    else if (i < AT_MEMORY)
        snprintf(out->text, cap, "%s", log_more[i - AT_LOG_MORE].text);
    else
        snprintf(out->text, cap, "bytes of memory in the account \"%s\"", account_name(i - AT_MEMORY));
    return true;
}

static enum form row_form(unsigned i)
{
    if (i < AT_LOADS)
        return names[i].form;
    if (i < AT_STATS)
        return FORM_HUNDREDTHS;
    return i >= AT_LOG_MORE && i < AT_MEMORY ? log_more[i - AT_LOG_MORE].form : FORM_NUMBER;
}

/* row_put: the value as text; its bytes. */
static size_t row_put(unsigned i, uint64_t value, char *out, size_t cap)
{
    unsigned long long v = value;
    int n = 0;
    switch (row_form(i)) {
    case FORM_NUMBER:
        n = snprintf(out, cap, "%llu", v);
        break;
    case FORM_SECONDS:
        n = snprintf(out, cap, "%llu seconds", v);
        break;
    case FORM_VERSION:
        n = snprintf(out, cap, "weir %s", WEIR_VERSION);
        break;
    case FORM_HUNDREDTHS:
        n = snprintf(out, cap, "%llu.%02llu", v / 100, v % 100);
        break;
    }
    BUG_ON(n <= 0 || (size_t)n >= cap);
    return (size_t)n;
}

/* ---- a round ------------------------------------------------------------------------------------------------ */

/* measure: the averages, with what was counted since the last round. */
static void measure(struct sys *y, mono_ms now)
{
    double dt = (double)(now - y->last_at), keep[PERIODS_N];
    y->last_at = now;
    if (dt <= 0)
        return;
    for (unsigned p = 0; p < PERIODS_N; p++)
        keep[p] = exp(-dt / (period_min[p] * 60000.0));
    for (unsigned i = 0; i < LOADS_N; i++) {
        uint64_t seen = source_value(y, &loads[i]);
        double a_minute = (double)(seen - y->load_seen[i]) * 60000 / dt;
        y->load_seen[i] = seen;
        for (unsigned p = 0; p < PERIODS_N; p++)
            y->load[i][p] = a_minute + keep[p] * (y->load[i][p] - a_minute);
    }
}

/* publish: one value, as if nobody had counted it. A subscriber that is away neither gets nor loses anything. */
static enum err publish(struct sys *y, unsigned i, uint64_t value)
{
    static const enum stat_id hidden[] = {STAT_PUBLISHED,  STAT_REFUSED,    STAT_NO_MATCH,
                                          STAT_PAYLOAD_IN, STAT_ROUTE_HITS, STAT_ROUTE_MISSES};
    struct shard *s = y->shard;
    uint64_t *v = s->stats.v, before[ARRAY_N(hidden)], offline = v[STAT_DROP_OFFLINE];
    char topic[SYS_TOPIC_BYTES], payload[48];
    row_name(i, topic);
    struct msgview m = {.topic = slice_from_str(topic),
                        .payload = slice_make(payload, row_put(i, value, payload, sizeof payload)),
                        .flags = s->config.retain_available ? MSG_OWN | MSG_RETAIN : MSG_OWN};
    for (unsigned k = 0; k < ARRAY_N(hidden); k++)
        before[k] = v[hidden[k]];
    enum err e = broker_publish_shard(s->vhost, NULL, &m);
    for (unsigned k = 0; k < ARRAY_N(hidden); k++)
        v[hidden[k]] = before[k];
    v[STAT_ROUTED] -= v[STAT_DROP_OFFLINE] - offline;
    v[STAT_DROP_OFFLINE] = offline;
    if (shard_should_flush(s))
        shard_flush_some(s);
    return e;
}

static void play_round(struct sys *y, mono_ms now)
{
    uint64_t value[ROWS_N]; /* all of one instant: publishing changes some */
    measure(y, now);
    for (unsigned i = 0; i < ROWS_N; i++)
        value[i] = row_value(y, i);
    for (unsigned i = 0; i < ROWS_N; i++) {
        if (value[i] == y->said[i] && y->shard->config.retain_available)
            continue;
        enum err e = publish(y, i, value[i]);
        if (e == ERR_NOMEM) {
            log_line(y->shard->log, LOG_WARN, "$SYS is not up to date: out of memory");
            break;
        }
        if (e == ERR_OK || e == ERR_NO_MATCH)
            y->said[i] = value[i];
    }
    shard_arm(y->shard, &y->timer, TIMER_SYS, now + y->shard->config.sys_interval_s * UINT64_C(1000));
}

struct sys *sys_new(struct shard *s)
{
    struct sys *y = mem_zalloc(shard_mem(s, MEM_SHARD), sizeof *y);
    if (!y)
        return NULL;
    y->shard = s;
    y->started = y->last_at = s->now;
    for (unsigned i = 0; i < LOADS_N; i++)
        y->load_seen[i] = source_value(y, &loads[i]);
    for (unsigned i = 0; i < ROWS_N; i++)
        y->said[i] = NEVER_SAID;
    play_round(y, s->now);
    return y;
}

void sys_free(struct sys *y)
{
    if (!y)
        return;
    wheel_disarm(&y->shard->wheel, &y->timer);
    mem_free(shard_mem(y->shard, MEM_SHARD), y);
}

void sys_timer(struct wtimer *t, mono_ms now)
{
    play_round(CONTAINER_OF(t, struct sys, timer), now);
}
