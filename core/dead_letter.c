/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dead_letter.c: what a queue gave up is published again, with its history.
 *
 *     expired, rejected, pushed out, came back too often ─► dead_letter_add ─► [all]
 *     between two steps of the turn   dead_letters_send: attributes + history ─► broker_publish_dead ─► other queues
 *
 * A message dies while somebody walks (a timer, a dispatch, another message on its way), so it is only noted, and
 * published when nobody does. What dies by that is published in the same call.
 *
 * Invariants
 *   1. A message that was noted is published, or counted as dropped, before the turn ends.
 *   2. A message never goes round by itself: it does not come back to a queue where it died, unless a consumer rejected
 *      it on the way (dead_letter_is_cycle); so what one death sets off ends.
 *   3. The move is one record in the store: published there and settled here.
 * Cost    40 bytes per message and turn; a copy of the message with its new attributes.
 * Thread  own shard only.
 */
#include "core/dead_letter.h"

#include <stdio.h>

#include "core/attrs.h"
#include "core/broker.h"
#include "core/conn.h"
#include "core/exchange.h"
#include "core/queue.h"
#include "core/shard.h"

/* owner: dead_letters->all; pooled */
struct dead {
    struct list_node node;
    const struct msg *msg; /* held */
    struct queue *queue;   /* lives until the turn's end, dead or not */
    lsn_t lsn;
    enum death why;
};

static const char *const texts[DEATH_N] = {[DEATH_REJECTED] = "rejected",
                                           [DEATH_EXPIRED] = "expired",
                                           [DEATH_MAXLEN] = "maxlen",
                                           [DEATH_DELIVERY_LIMIT] = "delivery_limit"};

const char *death_text(enum death d)
{
    return texts[d];
}

enum stat_id death_stat(enum death d)
{
    static const enum stat_id stats[DEATH_N] = {[DEATH_REJECTED] = STAT_DROP_REJECTED,
                                                [DEATH_EXPIRED] = STAT_DROP_EXPIRED,
                                                [DEATH_MAXLEN] = STAT_DROP_HEAD,
                                                [DEATH_DELIVERY_LIMIT] = STAT_DROP_RETURNED};
    return stats[d];
}

/* ---- the history -------------------------------------------------------------------------------------------- */

/* One line of it: queue=...;reason=...;count=...;... */
struct line {
    struct slice queue, reason; /* written, not as they are */
    uint64_t count;
};

/* is_plain: is it written as it is? */
static bool is_plain(uint8_t c)
{
    return c > ' ' && c != '%' && c != ';' && c != '=' && c != 0x7f;
}

static void put_part(struct buf *b, const char *name, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    buf_put(b, name, strlen(name));
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.p[i];
        if (is_plain(c)) {
            buf_put(b, &c, 1);
            continue;
        }
        char out[3] = {'%', hex[c >> 4], hex[c & 15]};
        buf_put(b, out, sizeof out);
    }
}

/* part: what stands behind `name` ("queue=") in a line; empty: it does not. */
static struct slice part(struct slice line, const char *name)
{
    size_t n = strlen(name);
    while (line.len != 0) {
        ptrdiff_t end = slice_find(line, ';');
        struct slice one = slice_make(line.p, end >= 0 ? (size_t)end : line.len);
        if (one.len >= n && memcmp(one.p, name, n) == 0)
            return slice_skip(one, n);
        line = slice_skip(line, MIN(one.len + 1, line.len));
    }
    return slice_make(line.p, 0);
}

static struct line line_of(struct slice text)
{
    struct line l = {.queue = part(text, "queue="), .reason = part(text, "reason=")};
    struct slice digits = part(text, "count=");
    for (size_t i = 0; i < digits.len && l.count < UINT32_MAX; i++)
        l.count = l.count * 10 + (uint64_t)(digits.p[i] - '0');
    return l;
}

/* next_line: the next line of the history in attrs; false: there is none. */
static bool next_line(struct slice attrs, size_t *pos, struct attr *out)
{
    while (attr_next(attrs, pos, out))
        if (out->id == ATTR_DEATH && slice_eq_str(out->key, "x-death"))
            return true;
    return false;
}

/* is_of: is this line about `queue` (as it is)? */
static bool is_of(const struct line *l, struct slice queue)
{
    size_t at = 0;
    for (size_t i = 0; i < queue.len; i++) {
        uint8_t c = queue.p[i];
        bool plain = is_plain(c);
        char hex[4];
        if (plain && (at >= l->queue.len || l->queue.p[at] != c))
            return false;
        if (!plain) {
            snprintf(hex, sizeof hex, "%%%02X", c);
            if (l->queue.len - MIN(at, l->queue.len) < 3 || memcmp(l->queue.p + at, hex, 3) != 0)
                return false;
        }
        at += plain ? 1 : 3;
    }
    return at == l->queue.len;
}

bool dead_letter_is_cycle(struct slice attrs, const struct queue *target)
{
    struct attr a;
    if (!target->name)
        return false;
    for (size_t pos = 0; next_line(attrs, &pos, &a);) {
        struct line l = line_of(a.value);
        if (slice_eq_str(l.reason, texts[DEATH_REJECTED]))
            return false; /* somebody wanted it to go round */
        if (is_of(&l, queue_name(target)))
            return true;
    }
    return false;
}

/* put_first: names as they are, but for the keys of durable subscriptions, which are no text. */
static void put_first(struct buf *b, const struct queue *q, struct slice exchange, enum death why)
{
    struct buf key;
    buf_init(&key, b->mem);
    if (q->is_dsub)
        put_part(&key, "", queue_name(q));
    b->bad |= buf_is_bad(&key);
    attr_put(b, ATTR_DEATH, SLICE("x-first-death-reason"), slice_from_str(texts[why]));
    attr_put(b, ATTR_DEATH, SLICE("x-first-death-queue"), q->is_dsub ? buf_slice(&key) : queue_name(q));
    attr_put(b, ATTR_DEATH, SLICE("x-first-death-exchange"), exchange);
    buf_fini(&key);
}

void dead_letter_attrs(struct buf *b, struct slice attrs, const struct queue *q, struct slice key,
                       struct slice exchange, enum death why, uint64_t time_s)
{
    struct attr a;
    uint64_t count = 1;
    bool has_first = false;
    for (size_t pos = 0; attr_next(attrs, &pos, &a);) {     /* everything else in front, as it was */
        if (a.id != ATTR_DEATH && a.id != ATTR_DESTINATION) /* it comes from elsewhere now */
            attr_put(b, a.id, a.key, a.value);
        has_first |= a.id == ATTR_DEATH && !slice_eq_str(a.key, "x-death");
    }
    for (size_t pos = 0; has_first && attr_next(attrs, &pos, &a);)
        if (a.id == ATTR_DEATH && !slice_eq_str(a.key, "x-death"))
            attr_put(b, a.id, a.key, a.value);
    if (!has_first)
        put_first(b, q, exchange, why);
    for (size_t pos = 0; next_line(attrs, &pos, &a);) {
        struct line l = line_of(a.value);
        if (is_of(&l, queue_name(q)) && slice_eq_str(l.reason, texts[why]))
            count = l.count + 1;
    }
    struct buf text;
    buf_init(&text, b->mem);
    put_part(&text, "queue=", queue_name(q));
    put_part(&text, ";reason=", slice_from_str(texts[why]));
    buf_printf(&text, ";count=%llu", (unsigned long long)count);
    put_part(&text, ";exchange=", exchange);
    put_part(&text, ";routing-key=", key);
    buf_printf(&text, ";time=%llu", (unsigned long long)time_s);
    if (buf_is_bad(&text))
        b->bad = true;
    attr_put(b, ATTR_DEATH, SLICE("x-death"), buf_slice(&text));
    buf_fini(&text);
    for (size_t pos = 0; next_line(attrs, &pos, &a);) {
        struct line l = line_of(a.value);
        if (!is_of(&l, queue_name(q)) || !slice_eq_str(l.reason, texts[why]))
            attr_put(b, ATTR_DEATH, a.key, a.value);
    }
}

/* ---- those that died ---------------------------------------------------------------------------------------- */

void dead_letters_init(struct dead_letters *d, struct vhost *v)
{
    *d = (struct dead_letters){.vhost = v};
    pool_init(&d->pool, shard_mem(v->shard, MEM_ENTRY), sizeof(struct dead));
    list_init(&d->all);
}

static void dead_free(struct dead_letters *d, struct dead *one)
{
    list_del(&one->node);
    msg_drop(one->msg);
    pool_give(&d->pool, one);
}

void dead_letters_fini(struct dead_letters *d)
{
    LIST_EACH(&d->all, it)
    dead_free(d, LIST_ITEM(it, struct dead, node));
    pool_fini(&d->pool);
}

bool dead_letter_add(struct queue *q, const struct msg *m, lsn_t lsn, enum death why)
{
    struct vhost *v = q->vhost;
    if (LIKELY(!q->policy->has_dead_exchange) || !exchange_get(v, q->policy->dead_exchange))
        return false;
    struct dead *one = pool_take(&v->dead_letters.pool);
    if (!one)
        return false;
    *one = (struct dead){.msg = msg_hold(m), .queue = q, .lsn = lsn, .why = why};
    list_push(&v->dead_letters.all, &one->node);
    return true;
}

/* put_topic: a routing key of another exchange, or one that was given as an argument, as a topic: levels end where they
 * do in STOMP's /topic/. */
static void put_topic(struct buf *b, struct slice key, const struct shard *s)
{
    enum { ONLY_SLASHES = 2 }; /* shard_config.topic_dialect */
    for (size_t i = 0; i < key.len; i++) {
        bool ends = key.p[i] == '.' && s->config.topic_dialect != ONLY_SLASHES;
        buf_put_u8(b, ends ? '/' : key.p[i]);
    }
}

/* publish: as it was, but for its age, with its history. */
static enum err publish(struct vhost *v, const struct dead *one)
{
    const struct queue_policy *p = one->queue->policy;
    struct shard *s = v->shard;
    struct exchange *from = exchange_by_number(v, one->msg->exchange), *to = exchange_get(v, p->dead_exchange);
    struct msgview m;
    struct buf attrs, topic;
    msg_view(one->msg, &m);
    buf_init(&attrs, shard_mem(s, MEM_MSG));
    buf_init(&topic, shard_mem(s, MEM_MSG));
    dead_letter_attrs(&attrs, m.attrs, one->queue, m.topic, from ? exchange_name(from) : SLICE(""), one->why,
                      s->loop->ops->wall(s->loop) / 1000);
    m.attrs = buf_slice(&attrs);
    m.expires_at = 0;
    m.flags &= (uint8_t)~MSG_RETAIN;
    bool is_topic = !p->has_dead_key && from && from->kind == EXCHANGE_TOPIC;
    if (p->has_dead_key)
        m.topic = p->dead_key;
    if (to && to->kind == EXCHANGE_TOPIC && !is_topic) {
        put_topic(&topic, m.topic, s);
        m.topic = buf_slice(&topic);
    }
    enum err e = !to ? ERR_NOT_FOUND : buf_is_bad(&attrs) || buf_is_bad(&topic) ? ERR_NOMEM : ERR_OK;
    if (e == ERR_OK)
        e = broker_publish_dead(v, to, &m, one->queue->number, one->lsn);
    else if (one->lsn)
        shard_append(s, &(struct store_rec){.kind = STORE_SETTLE, .queue = one->queue->number, .of = one->lsn});
    buf_fini(&topic);
    buf_fini(&attrs);
    return e;
}

/* refused: it is lost. If its exchange went away since it died, that is as if there had been none. */
static void refused(struct vhost *v, const struct dead *one, enum err e)
{
    struct stats *stats = &v->shard->stats;
    if (e == ERR_NOT_FOUND) {
        stat_add(stats, death_stat(one->why), 1);
        return;
    }
    stat_add(stats, e == ERR_NOMEM ? STAT_DROP_NOMEM : STAT_DROP_FULL, 1);
    log_line(v->shard->log, LOG_WARN, "dead letter of queue '" SLICE_FMT "' is lost: %s",
             SLICE_ARG(queue_name(one->queue)), err_text(e));
}

void dead_letters_send(struct dead_letters *d)
{
    for (struct list_node *it = list_first(&d->all); it; it = list_first(&d->all)) {
        struct dead *one = LIST_ITEM(it, struct dead, node);
        enum err e = publish(d->vhost, one);
        if (e == ERR_OK || e == ERR_NO_MATCH)
            stat_add(&d->vhost->shard->stats, STAT_DEAD_LETTERED, 1);
        else
            refused(d->vhost, one, e);
        dead_free(d, one);
    }
    conn_owe_known(d->vhost->shard);
}
