/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.c: records to bytes: persist/record.proto by protobuf-c, packed straight into the batch's buffer.
 *
 *     room ─► [ head 24 ][ body: packed in place ][ topic · payload ][ padding ]
 *
 * The message structs live on the stack and point into the record, so nothing is copied twice but numbers. Lists of up
 * to FEW targets are on the stack, too, longer ones in a block that is freed at once. The usual publish is packed by
 * hand.
 *
 * Invariants
 *   1. The bound that room is asked for is never less than what is packed (BUG_ON): protobuf-c does not check.
 *   2. On any error `out` is as it was, and may be used further.
 *   3. Attributes are never written as they are in memory (host order).
 * Cost    tests/unit/test_codec.c prints it: some tens of ns for the usual publish, 150 for others.
 * Thread  any; no state.
 */
#include "persist/codec.h"

#include <string.h>

#include "core/attrs.h"
#include "core/msg.h"
#include "persist/codec_int.h"
#include "persist/record.pb-c.h"

enum {
    FEW = 8,      /* targets, attributes whose lists are on the stack */
    FEW_IDS = 32, /* subscription identifiers of theirs */
    LEN_MAX = 12, /* of a tag and a length, or of a tag and a number */
    PUBLISH_MAX = 26 * LEN_MAX,
    RECORD_MAX = 18 * LEN_MAX,
    POLICY_MAX = 24 * LEN_MAX,
    EXCHANGE_MAX = 9 * LEN_MAX,
    TARGET_MAX = 2 * 10 + 5 * 5, /* in all lists, but subscription identifiers */
    ATTR_MAX = 5 * LEN_MAX,
    ID_MAX = 5,
};

static ProtobufCBinaryData bytes_of(struct slice s)
{
    return (ProtobufCBinaryData){.len = s.len, .data = (uint8_t *)(uintptr_t)s.p};
}

/* frame_room: room for a frame with a body of up to `body` and a raw part of `raw` bytes. */
static enum err frame_room(struct buf *out, uint64_t body, uint64_t raw, uint8_t **room)
{
    uint64_t bytes = WAL_FRAME_HEAD + body + raw + WAL_ALIGN;
    if (UNLIKELY(bytes > UINT32_MAX))
        return ERR_TOO_BIG;
    if (UNLIKELY(out->bad))
        return ERR_NOMEM;
    *room = buf_room(out, (size_t)bytes);
    out->bad = false; /* the frame is missing, nothing else is */
    return LIKELY(*room != NULL) ? ERR_OK : ERR_NOMEM;
}

static void frame_done(struct buf *out, uint8_t *room, uint8_t kind, uint8_t flags, lsn_t lsn, size_t body, size_t raw)
{
    wal_put_frame(room, kind, flags, lsn, (uint32_t)body, (uint32_t)raw);
    buf_wrote(out, (size_t)wal_frame_bytes(body, raw));
}

/* ---- targets --------------------------------------------------------------------------------------------------- */

/* Where the lists of a publish are while it is packed. */
struct lists {
    uint64_t queue[FEW], holder[FEW];
    uint32_t number[5][FEW]; /* plain, sub_id_n, progress, ticket, returns */
    uint32_t sub_id[FEW_IDS];
    Weir__Attribute attribute[FEW], *attribute_at[FEW];
    void *block[2]; /* longer ones; freed by lists_fini */
    struct mem *mem;
};

static void lists_init(struct lists *l, struct mem *mem)
{
    l->block[0] = l->block[1] = NULL;
    l->mem = mem;
}

static void lists_fini(struct lists *l)
{
    if (UNLIKELY(l->block[0] != NULL))
        mem_free(l->mem, l->block[0]);
    if (UNLIKELY(l->block[1] != NULL))
        mem_free(l->mem, l->block[1]);
}

/* count_ids: subscription identifiers of all targets; *out_any: whether one is not merely waiting. */
static uint64_t count_ids(const struct store_target *t, uint32_t n, bool *out_any)
{
    uint64_t ids = 0;
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        ids += t[i].sub_id_n;
        any |= t[i].progress != STORE_WAITS || t[i].ticket != 0 || t[i].returns != 0 || t[i].session != 0;
    }
    *out_any = any;
    return ids;
}

static void fill_ids(const struct store_target *t, uint32_t n, uint32_t *sub_id_n, uint32_t *sub_id)
{
    for (uint32_t i = 0; i < n; i++) {
        sub_id_n[i] = t[i].sub_id_n;
        if (t[i].sub_id_n != 0)
            memcpy(sub_id, t[i].sub_id, t[i].sub_id_n * sizeof(*sub_id));
        sub_id += t[i].sub_id_n;
    }
}

/* put_targets: t[n] into m's lists. Room for the numbers is in l, or in a block when they are many. */
static enum err put_targets(struct lists *l, Weir__Publish *m, const struct store_target *t, uint32_t n,
                            uint64_t *bound)
{
    bool any;
    uint64_t ids = count_ids(t, n, &any);
    uint64_t *queue = l->queue, *holder = l->holder;
    uint32_t *number[5], *sub_id = l->sub_id;
    for (unsigned i = 0; i < 5; i++)
        number[i] = l->number[i];
    if (UNLIKELY(n > FEW || ids > FEW_IDS)) {
        uint64_t bytes = n * (2 * sizeof(uint64_t) + 5 * sizeof(uint32_t)) + ids * sizeof(uint32_t);
        queue = l->block[0] = bytes > UINT32_MAX ? NULL : mem_alloc(l->mem, (size_t)bytes);
        if (queue == NULL)
            return ERR_NOMEM;
        holder = queue + n;
        for (unsigned i = 0; i < 5; i++)
            number[i] = (uint32_t *)(void *)(holder + n) + (size_t)i * n;
        sub_id = number[4] + n;
    }
    for (uint32_t i = 0; i < n; i++) {
        queue[i] = t[i].queue;
        number[0][i] = t[i].plain;
        if (UNLIKELY(any)) {
            holder[i] = t[i].session;
            number[2][i] = t[i].progress;
            number[3][i] = t[i].ticket;
            number[4][i] = t[i].returns;
        }
    }
    m->n_queue = m->n_plain = n;
    m->queue = queue;
    m->plain = number[0];
    if (UNLIKELY(ids != 0)) {
        fill_ids(t, n, number[1], sub_id);
        m->n_sub_id_n = n;
        m->sub_id_n = number[1];
        m->n_sub_id = (size_t)ids;
        m->sub_id = sub_id;
    }
    if (UNLIKELY(any)) {
        m->n_progress = m->n_ticket = m->n_returns = m->n_holder = n;
        m->progress = number[2];
        m->ticket = number[3];
        m->returns = number[4];
        m->holder = holder;
    }
    *bound += (uint64_t)n * TARGET_MAX + ids * ID_MAX;
    return ERR_OK;
}

static NOINLINE enum err put_attrs(struct lists *l, Weir__Publish *m, struct slice attrs, uint64_t *bound)
{
    size_t n = 0, pos = 0;
    struct attr a;
    while (attr_next(attrs, &pos, &a))
        n++;
    Weir__Attribute *at = l->attribute, **list = l->attribute_at;
    if (n > FEW) {
        list = l->block[1] = mem_alloc(l->mem, n * (sizeof(*list) + sizeof(*at)));
        if (list == NULL)
            return ERR_NOMEM;
        at = (Weir__Attribute *)(void *)(list + n);
    }
    pos = 0;
    for (size_t i = 0; i < n && attr_next(attrs, &pos, &a); i++) {
        weir__attribute__init(&at[i]);
        at[i].id = a.id;
        at[i].key = bytes_of(a.key);
        at[i].value = bytes_of(a.value);
        list[i] = &at[i];
        *bound += ATTR_MAX + a.key.len + a.value.len;
    }
    m->n_attribute = n;
    m->attribute = list;
    return ERR_OK;
}

/* ---- publishes, retains, wills --------------------------------------------------------------------------------- */

static enum err pack_publish(struct buf *out, const Weir__Publish *m, uint64_t bound, const struct wal_frame *f,
                             struct slice topic, struct slice payload)
{
    uint8_t *room;
    bound += PUBLISH_MAX + m->name.len;
    enum err e = frame_room(out, bound, (uint64_t)topic.len + payload.len, &room);
    if (UNLIKELY(e != ERR_OK))
        return e;
    size_t body = weir__publish__pack(m, room + WAL_FRAME_HEAD);
    BUG_ON(body > bound);
    uint8_t *raw = room + WAL_FRAME_HEAD + body;
    if (topic.len != 0)
        memcpy(raw, topic.p, topic.len);
    if (payload.len != 0)
        memcpy(raw + topic.len, payload.p, payload.len);
    frame_done(out, room, f->kind, f->flags, f->lsn, body, topic.len + payload.len);
    return ERR_OK;
}

/* publisher_matters: it is looked at again only when the message is routed, or replayed, once more. */
static bool publisher_matters(const struct store_rec *rec)
{
    return rec->kind != STORE_PUBLISH || (rec->flags & STORE_PUBLISH_RETAINED) || (rec->msg->flags & MSG_RETAIN) ||
           (rec->target_n == 1 && rec->target[0].queue == 0);
}

static void put_msg(Weir__Publish *m, const struct store_rec *rec, const struct msgview *v, const struct store *clock)
{
    m->topic_bytes_plus_1 = (uint32_t)v->topic.len + 1;
    m->msg_flags = v->flags;
    m->qos = v->qos;
    m->exchange = v->exchange;
    m->priority = v->priority;
    m->expires_at = v->expires_at;
    if (UNLIKELY(v->expires_at != 0) && rec->kind != STORE_WILL)
        m->expires_at = store_wall(clock, v->expires_at);
    if (publisher_matters(rec))
        m->publisher = v->publisher;
}

/* ---- the usual publish, by hand --------------------------------------------------------------------------------- */

/* is_plain: of a Publish, rec needs fields 1 to 12 only. */
static inline bool is_plain(const struct store_rec *rec)
{
    if (rec->kind != STORE_PUBLISH || rec->msg == NULL || rec->msg->attrs_len != 0 || rec->target_n > FEW ||
        rec->of != 0 || rec->queue != 0 || rec->due != 0 || rec->expiry_s != 0 || rec->name.len != 0)
        return false;
    for (uint32_t i = 0; i < rec->target_n; i++) {
        const struct store_target *t = &rec->target[i];
        if (t->sub_id_n != 0 || (t->progress | t->ticket | t->returns) != 0 || t->session != 0 || t->plain > 127)
            return false;
    }
    return rec->msg->publisher == 0 || !publisher_matters(rec);
}

static inline uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v > 127; v >>= 7)
        *p++ = (uint8_t)(v | 128);
    *p++ = (uint8_t)v;
    return p;
}

/* put_field: one below 16, unless it is 0. */
static inline uint8_t *put_field(uint8_t *p, unsigned field, uint64_t v)
{
    if (v == 0)
        return p;
    *p++ = (uint8_t)(field << 3);
    return put_varint(p, v);
}

static inline uint8_t *put_plain_targets(uint8_t *p, const struct store_target *t, uint32_t n)
{
    if (n == 0)
        return p;
    *p = 3 << 3 | 2;
    uint8_t *len = p + 1;
    p += 2;
    for (uint32_t i = 0; i < n; i++)
        p = put_varint(p, t[i].queue);
    *len = (uint8_t)(p - len - 1); /* FEW of 10 bytes: less than 128 */
    *p++ = 4 << 3 | 2;
    *p++ = (uint8_t)n;
    for (uint32_t i = 0; i < n; i++)
        *p++ = t[i].plain;
    return p;
}

/* put_plain: byte for byte what protobuf-c makes of it (tests/unit/test_codec.c compares), in a fifth of the time. */
static enum err put_plain(struct buf *out, const struct store_rec *rec, uint8_t flags, const struct store *clock)
{
    const struct msg *m = rec->msg;
    size_t raw = (size_t)m->topic_len + m->payload_len;
    uint8_t *room;
    enum err e = frame_room(out, PUBLISH_MAX + FEW * TARGET_MAX, raw, &room);
    if (UNLIKELY(e != ERR_OK))
        return e;
    uint8_t *body = room + WAL_FRAME_HEAD, *p = body;
    p = put_field(p, 1, rec->at != 0 ? rec->at : store_wall(clock, clock->now));
    p = put_field(p, 2, (uint64_t)m->topic_len + 1);
    p = put_plain_targets(p, rec->target, rec->target_n);
    p = put_field(p, 5, m->flags);
    p = put_field(p, 6, m->qos);
    p = put_field(p, 7, rec->flags);
    p = put_field(p, 8, rec->session);
    p = put_field(p, 9, rec->rx_id);
    p = put_field(p, 10, m->expires_at != 0 ? store_wall(clock, m->expires_at) : 0);
    p = put_field(p, 11, m->exchange);
    p = put_field(p, 12, m->priority);
    if (raw != 0)
        memcpy(p, m->bytes, raw); /* no attributes between topic and payload */
    frame_done(out, room, STORE_PUBLISH, flags, rec->lsn, (size_t)(p - body), raw);
    return ERR_OK;
}

static enum err put_publish(struct buf *out, const struct store_rec *rec, uint8_t flags, const struct store *clock)
{
    Weir__Publish m = WEIR__PUBLISH__INIT;
    struct lists l;
    struct msgview v = {0};
    uint64_t bound = 0;
    lists_init(&l, out->mem);
    m.at = rec->at != 0 ? rec->at : store_wall(clock, clock->now);
    m.session = rec->session;
    m.rx_id = rec->rx_id;
    m.flags = rec->flags;
    m.due = rec->due;
    m.expiry_s = rec->expiry_s;
    m.settles = rec->of;
    m.settles_in = rec->queue;
    m.name = bytes_of(rec->name);
    enum err e = ERR_OK;
    if (LIKELY(rec->msg != NULL)) {
        msg_view(rec->msg, &v);
        put_msg(&m, rec, &v, clock);
        if (v.attrs.len != 0)
            e = put_attrs(&l, &m, v.attrs, &bound);
    }
    if (LIKELY(e == ERR_OK) && rec->target_n != 0)
        e = put_targets(&l, &m, rec->target, rec->target_n, &bound);
    if (LIKELY(e == ERR_OK)) {
        struct wal_frame f = {.kind = (uint8_t)rec->kind, .flags = flags, .lsn = rec->lsn};
        e = pack_publish(out, &m, bound, &f, v.topic, v.payload);
    }
    lists_fini(&l);
    return e;
}

/* ---- the other records ----------------------------------------------------------------------------------------- */

static void fill_policy(Weir__Policy *m, const struct queue_policy *p)
{
    weir__policy__init(m);
    m->bytes_max = p->bytes_max;
    m->len_max = p->len_max;
    m->ttl_ms = p->ttl_ms;
    m->expires_ms = p->expires_ms;
    m->retry_min_ms = p->retry_min_ms;
    m->retry_max_ms = p->retry_max_ms;
    m->ack_ms = p->ack_ms;
    m->dead_exchange = bytes_of(p->dead_exchange);
    m->dead_key = bytes_of(p->dead_key);
    m->given = p->given;
    m->delivery_limit = p->delivery_limit;
    m->priority_max = p->priority_max;
    m->overflow = p->overflow;
    m->has_ttl = p->has_ttl;
    m->has_dead_exchange = p->has_dead_exchange;
    m->has_dead_key = p->has_dead_key;
    m->has_delivery_limit = p->has_delivery_limit;
    m->durable = p->durable;
    m->exclusive = p->exclusive;
    m->auto_delete = p->auto_delete;
    m->single_active = p->single_active;
    m->keep_qos0 = p->keep_qos0;
}

static void fill_exchange(Weir__Exchange *m, const struct exchange_spec *x)
{
    weir__exchange__init(m);
    m->name = bytes_of(x->name);
    m->kind = x->kind;
    m->durable = x->durable;
    m->auto_delete = x->auto_delete;
    m->internal = x->internal;
    m->alternate = bytes_of(x->alternate);
    m->rate = x->rate;
}

static enum err put_record(struct buf *out, const struct store_rec *rec, uint8_t flags, const struct store *clock)
{
    Weir__Record m = WEIR__RECORD__INIT;
    Weir__Policy policy;
    Weir__Exchange exchange;
    uint64_t bound = RECORD_MAX + (uint64_t)rec->name.len + rec->key.len + rec->to.len;
    m.at = rec->at != 0 ? rec->at : store_wall(clock, clock->now);
    m.queue = rec->queue;
    m.session = rec->session;
    m.of = rec->of;
    m.name = bytes_of(rec->name);
    m.key = bytes_of(rec->key);
    m.to = bytes_of(rec->to);
    m.due = rec->due;
    m.expiry_s = rec->expiry_s;
    m.sub_id = rec->sub_id;
    m.qos = rec->qos;
    m.flags = rec->flags;
    m.rx_id = rec->rx_id;
    m.ticket = rec->ticket;
    m.returns = rec->returns;
    if (rec->policy != NULL) {
        fill_policy(&policy, rec->policy);
        m.policy = &policy;
        bound += POLICY_MAX + (uint64_t)policy.dead_exchange.len + policy.dead_key.len;
    }
    if (rec->exchange != NULL) {
        fill_exchange(&exchange, rec->exchange);
        m.exchange = &exchange;
        bound += EXCHANGE_MAX + (uint64_t)exchange.name.len + exchange.alternate.len;
    }
    uint8_t *room;
    enum err e = frame_room(out, bound, 0, &room);
    if (e != ERR_OK)
        return e;
    size_t body = weir__record__pack(&m, room + WAL_FRAME_HEAD);
    BUG_ON(body > bound);
    frame_done(out, room, (uint8_t)rec->kind, flags, rec->lsn, body, 0);
    return ERR_OK;
}

enum err codec_put(struct buf *out, const struct store_rec *rec, uint8_t flags, const struct store *clock)
{
    if (LIKELY(is_plain(rec)))
        return put_plain(out, rec, flags, clock);
    return codec_is_publish((uint8_t)rec->kind) ? put_publish(out, rec, flags, clock)
                                                : put_record(out, rec, flags, clock);
}

/* ---- copies ---------------------------------------------------------------------------------------------------- */

static enum err copy_as_it_is(struct buf *out, const struct wal_frame *f)
{
    uint8_t *room;
    enum err e = frame_room(out, f->body.len, f->raw.len, &room);
    if (e != ERR_OK)
        return e;
    memcpy(room + WAL_FRAME_HEAD, f->body.p, f->body.len + f->raw.len); /* one behind the other */
    frame_done(out, room, f->kind, f->flags | WAL_COPY, f->lsn, f->body.len, f->raw.len);
    return ERR_OK;
}

/* copy_publish: m is f's body. */
static enum err copy_publish(struct buf *out, const struct wal_frame *f, Weir__Publish *m, const struct store_rec *now)
{
    struct wal_frame as = {.kind = f->kind, .flags = f->flags | WAL_COPY, .lsn = f->lsn};
    struct slice raw = f->raw;
    struct lists l;
    uint64_t bound = f->body.len;
    lists_init(&l, out->mem);
    m->n_queue = m->n_plain = m->n_sub_id_n = m->n_sub_id = 0;
    m->n_progress = m->n_ticket = m->n_returns = m->n_holder = 0;
    m->session = now->session;
    m->rx_id = now->rx_id;
    m->flags = now->flags;
    m->settles = now->of;
    m->settles_in = now->of != 0 ? now->queue : 0;
    if (now->target_n == 0 && !(now->flags & STORE_PUBLISH_RETAINED)) {
        m->topic_bytes_plus_1 = m->msg_flags = m->qos = m->exchange = m->priority = 0;
        m->expires_at = m->publisher = 0;
        m->n_attribute = 0;
        raw.len = 0;
    }
    enum err e = now->target_n != 0 ? put_targets(&l, m, now->target, now->target_n, &bound) : ERR_OK;
    if (e == ERR_OK)
        e = pack_publish(out, m, bound, &as, raw, (struct slice){0});
    lists_fini(&l);
    return e;
}

enum err codec_put_copy(struct buf *out, const struct wal_frame *f, const struct store_rec *now)
{
    if (f->kind != STORE_PUBLISH)
        return copy_as_it_is(out, f);
    struct codec_arena arena;
    codec_arena_init(&arena, out->mem);
    Weir__Publish *m = codec_unpack(&arena, &weir__publish__descriptor, f->body);
    enum err e = m != NULL ? copy_publish(out, f, m, now) : arena.is_out_of_memory ? ERR_NOMEM : ERR_MALFORMED;
    codec_arena_fini(&arena);
    return e;
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

enum { PART_BYTES = 8 }; /* raw part of a WAL_BATCH; wal_seal fills it in */

enum err codec_put_batch(struct buf *out, uint64_t number, wall_ms at, uint32_t part)
{
    Weir__Batch m = WEIR__BATCH__INIT;
    uint8_t *room;
    m.at = at;
    m.part = part;
    enum err e = frame_room(out, 2 * LEN_MAX, PART_BYTES, &room);
    if (e != ERR_OK)
        return e;
    size_t body = weir__batch__pack(&m, room + WAL_FRAME_HEAD);
    memset(room + WAL_FRAME_HEAD + body, 0, PART_BYTES);
    frame_done(out, room, WAL_BATCH, 0, number, body, PART_BYTES);
    return ERR_OK;
}

const char *const codec_kind_names[CODEC_KINDS] = {
    [STORE_PUBLISH] = "PUBLISH",
    [STORE_SETTLE] = "SETTLE",
    [STORE_RETAIN] = "RETAIN",
    [STORE_SESSION] = "SESSION",
    [STORE_SESSION_END] = "SESSION_END",
    [STORE_QUEUE] = "QUEUE",
    [STORE_QUEUE_END] = "QUEUE_END",
    [STORE_BIND] = "BIND",
    [STORE_UNBIND] = "UNBIND",
    [STORE_RX_RELEASE] = "RX_RELEASE",
    [STORE_MEMBER] = "MEMBER",
    [STORE_MEMBER_END] = "MEMBER_END",
    [STORE_EXCHANGE] = "EXCHANGE",
    [STORE_EXCHANGE_END] = "EXCHANGE_END",
    [STORE_TX] = "TX",
    [STORE_TX_END] = "TX_END",
    [STORE_SENT] = "SENT",
    [STORE_RECEIVED] = "RECEIVED",
    [STORE_RETURNED] = "RETURNED",
    [STORE_WILL] = "WILL",
};
