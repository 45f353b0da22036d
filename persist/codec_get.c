/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec_get.c: bytes to records, the other half of codec.c.
 *
 *     body ─► protobuf-c's struct, in the arena ─► checked ─► struct store_rec, which points into the arena and the
 * frame
 *
 * The checksum was good, so what does not parse here was written wrongly or by somebody else; nothing is believed all
 * the same: every number must fit into its field, lists must be as long as they should be, and a topic must end within
 * raw.
 *
 * Invariants
 *   1. Nothing that a record points to outlives the next codec_get with the same codec_rec, but the message.
 *   2. A field that cannot be is ERR_MALFORMED, never cut to size.
 *   3. Memory that a frame can make us ask for is at most some fifty times its body.
 * Cost    the arena's chunk is kept: no allocation for most records but the message itself.
 * Thread  any; no state but codec_rec.
 */
#include <stddef.h>

#include "core/attrs.h"
#include "core/msg.h"
#include "persist/codec.h"
#include "persist/codec_int.h"
#include "persist/record.pb-c.h"

enum { CHUNK_BYTES = 4096, ARENA_ALIGN = 16, PLAIN_MAX = 5 };

/* ---- the arena ------------------------------------------------------------------------------------------------- */

void codec_arena_init(struct codec_arena *a, struct mem *mem)
{
    *a = (struct codec_arena){.mem = mem};
}

void codec_arena_reset(struct codec_arena *a)
{
    while (a->more != NULL) {
        void *next = *(void **)a->more;
        mem_free(a->mem, a->more);
        a->more = next;
    }
    a->chunk_len = 0;
    a->is_out_of_memory = false;
}

void codec_arena_fini(struct codec_arena *a)
{
    codec_arena_reset(a);
    mem_free(a->mem, a->chunk);
    a->chunk = NULL;
}

void *codec_arena_take(struct codec_arena *a, size_t n)
{
    n = (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (a->chunk == NULL)
        a->chunk = mem_alloc(a->mem, CHUNK_BYTES);
    if (a->chunk != NULL && n <= CHUNK_BYTES - a->chunk_len) {
        void *p = a->chunk + a->chunk_len;
        a->chunk_len += n;
        return p;
    }
    uint8_t *block = mem_alloc(a->mem, ARENA_ALIGN + n);
    if (block == NULL) {
        a->is_out_of_memory = true;
        return NULL;
    }
    *(void **)(void *)block = a->more;
    a->more = block;
    return block + ARENA_ALIGN;
}

static void *arena_alloc(void *arena, size_t n)
{
    return codec_arena_take(arena, n);
}

static void arena_free(void *arena, void *p)
{
    UNUSED(arena);
    UNUSED(p);
}

void *codec_unpack(struct codec_arena *a, const ProtobufCMessageDescriptor *type, struct slice body)
{
    static const uint8_t nothing[1];
    ProtobufCAllocator allocator = {.alloc = arena_alloc, .free = arena_free, .allocator_data = a};
    return protobuf_c_message_unpack(type, &allocator, body.len, body.len != 0 ? body.p : nothing);
}

/* ---- fields ---------------------------------------------------------------------------------------------------- */

static struct slice slice_of(ProtobufCBinaryData b)
{
    return slice_make(b.data, b.len);
}

/* fits: every number of list[n] is at most `max`, and there is one per target, or none at all. */
static bool list_fits(const uint32_t *list, size_t n, size_t target_n, uint32_t max)
{
    if (n != 0 && n != target_n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (list[i] > max)
            return false;
    }
    return true;
}

static bool targets_fit(const Weir__Publish *m)
{
    size_t n = m->n_queue;
    uint64_t ids = 0;
    for (size_t i = 0; i < m->n_sub_id_n; i++)
        ids += m->sub_id_n[i];
    return n <= UINT32_MAX && m->n_plain == n && list_fits(m->plain, m->n_plain, n, PLAIN_MAX) &&
           list_fits(m->sub_id_n, m->n_sub_id_n, n, UINT16_MAX) && ids == m->n_sub_id &&
           list_fits(m->progress, m->n_progress, n, STORE_WAS_RECEIVED) &&
           list_fits(m->ticket, m->n_ticket, n, UINT16_MAX) && list_fits(m->returns, m->n_returns, n, UINT16_MAX) &&
           (m->n_holder == 0 || m->n_holder == n);
}

static enum err get_targets(struct codec_rec *r, const Weir__Publish *m)
{
    size_t n = m->n_queue;
    const uint32_t *sub_id = m->sub_id;
    if (!targets_fit(m))
        return ERR_MALFORMED;
    if (n == 0)
        return ERR_OK;
    struct store_target *t = codec_arena_take(&r->arena, n * sizeof(*t));
    if (t == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        t[i] = (struct store_target){.queue = m->queue[i], .plain = (uint8_t)m->plain[i]};
        if (m->n_sub_id_n != 0 && m->sub_id_n[i] != 0) {
            t[i].sub_id_n = (uint16_t)m->sub_id_n[i];
            t[i].sub_id = sub_id;
            sub_id += m->sub_id_n[i];
        }
        if (m->n_progress != 0)
            t[i].progress = (uint8_t)m->progress[i];
        if (m->n_ticket != 0)
            t[i].ticket = (uint16_t)m->ticket[i];
        if (m->n_returns != 0)
            t[i].returns = (uint16_t)m->returns[i];
        if (m->n_holder != 0)
            t[i].session = m->holder[i];
    }
    r->target = t;
    r->rec.target = t;
    r->rec.target_n = (uint32_t)n;
    return ERR_OK;
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

/* attrs_bytes: what msg_bytes counts for attributes. */
static bool attrs_bytes(const Weir__Publish *m, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < m->n_attribute; i++) {
        const Weir__Attribute *a = m->attribute[i];
        if (a->id == 0 || a->key.len > UINT16_MAX || a->value.len > UINT32_MAX)
            return false;
        if (a->id <= ATTR_DEATH)
            *out += 7 + (uint64_t)a->key.len + a->value.len; /* core/attrs.h: the head has 7 bytes */
    }
    return *out <= UINT32_MAX;
}

/* put_attrs: as core/attrs.h has them. Attributes of a later version are left out. */
static bool put_attrs(struct buf *out, const Weir__Publish *m)
{
    buf_clear(out);
    for (size_t i = 0; i < m->n_attribute; i++) {
        const Weir__Attribute *a = m->attribute[i];
        if (a->id <= ATTR_DEATH)
            attr_put(out, (enum attr_id)a->id, slice_of(a->key), slice_of(a->value));
    }
    return !buf_is_bad(out);
}

static enum err make_msg(struct codec_rec *r, const Weir__Publish *m, struct slice raw, struct msg_pool *msgs,
                         const struct store *clock)
{
    size_t topic = m->topic_bytes_plus_1 - 1;
    struct msgview v = {
        .topic = slice_make(raw.p, topic),
        .payload = slice_skip(raw, topic),
        .expires_at = m->expires_at,
        .publisher = m->publisher,
        .exchange = m->exchange,
        .qos = (uint8_t)m->qos,
        .flags = (uint8_t)m->msg_flags,
        .priority = (uint8_t)m->priority,
    };
    if (m->expires_at != 0 && r->rec.kind != STORE_WILL)
        v.expires_at = store_mono(clock, m->expires_at);
    if (m->n_attribute != 0) {
        if (!put_attrs(&r->attrs, m))
            return ERR_NOMEM;
        v.attrs = buf_slice(&r->attrs);
    }
    r->rec.msg = msg_new(msgs, &v);
    return r->rec.msg != NULL ? ERR_OK : ERR_NOMEM;
}

static bool msg_fits(const Weir__Publish *m, struct slice raw)
{
    size_t topic = m->topic_bytes_plus_1 - 1;
    return topic <= UINT16_MAX && topic <= raw.len && raw.len - topic <= UINT32_MAX && m->qos <= 2 &&
           m->msg_flags <= UINT8_MAX && m->priority <= UINT8_MAX;
}

static enum err get_msg(struct codec_rec *r, const Weir__Publish *m, struct slice raw, struct msg_pool *msgs,
                        const struct store *clock)
{
    bool is_retain =
        r->rec.kind == STORE_RETAIN || (r->rec.kind == STORE_PUBLISH && (r->rec.flags & STORE_PUBLISH_RETAINED));
    if (m->topic_bytes_plus_1 == 0) {
        r->is_cleared = is_retain || r->rec.kind == STORE_WILL;
        return ERR_OK;
    }
    uint64_t attrs;
    if (!msg_fits(m, raw) || !attrs_bytes(m, &attrs))
        return ERR_MALFORMED;
    size_t topic = m->topic_bytes_plus_1 - 1;
    r->has_msg = true;
    r->msg_bytes = raw.len + attrs;
    r->is_cleared = is_retain && raw.len == topic;
    if (msgs != NULL)
        return make_msg(r, m, raw, msgs, clock);
    if (is_retain)
        r->rec.name = slice_make(raw.p, topic);
    return ERR_OK;
}

/* is_field: fields of a later broker are kept, but there is no field 0: protobuf-c takes it, and packs it as what it
 * does not take. */
static bool is_field(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++) {
        if (m->unknown_fields[i].tag == 0)
            return false;
    }
    return true;
}

static bool are_fields(const Weir__Publish *m)
{
    bool ok = is_field(&m->base);
    for (size_t i = 0; i < m->n_attribute; i++)
        ok = ok && is_field(&m->attribute[i]->base);
    return ok;
}

static enum err get_publish(const struct wal_frame *f, struct msg_pool *msgs, const struct store *clock,
                            struct codec_rec *r)
{
    struct store_rec *rec = &r->rec;
    const Weir__Publish *m = codec_unpack(&r->arena, &weir__publish__descriptor, f->body);
    if (m == NULL)
        return r->arena.is_out_of_memory ? ERR_NOMEM : ERR_MALFORMED;
    if (m->rx_id > UINT16_MAX || m->flags > UINT8_MAX || !are_fields(m))
        return ERR_MALFORMED;
    if (f->kind != STORE_PUBLISH && m->n_queue != 0) /* RETAIN, WILL: they go nowhere */
        return ERR_MALFORMED;
    rec->at = m->at;
    rec->session = m->session;
    rec->rx_id = (uint16_t)m->rx_id;
    rec->flags = (uint8_t)m->flags;
    rec->due = m->due;
    rec->expiry_s = m->expiry_s;
    rec->of = m->settles;
    rec->queue = m->settles_in;
    rec->name = slice_of(m->name);
    enum err e = get_targets(r, m);
    return e == ERR_OK ? get_msg(r, m, f->raw, msgs, clock) : e;
}

/* ---- the other records ----------------------------------------------------------------------------------------- */

static bool get_policy(const Weir__Policy *m, struct queue_policy *p)
{
    *p = (struct queue_policy){
        .bytes_max = m->bytes_max,
        .len_max = m->len_max,
        .ttl_ms = m->ttl_ms,
        .expires_ms = m->expires_ms,
        .retry_min_ms = m->retry_min_ms,
        .retry_max_ms = m->retry_max_ms,
        .ack_ms = m->ack_ms,
        .dead_exchange = slice_of(m->dead_exchange),
        .dead_key = slice_of(m->dead_key),
        .given = m->given,
        .delivery_limit = (uint16_t)m->delivery_limit,
        .priority_max = (uint8_t)m->priority_max,
        .overflow = (enum queue_overflow)m->overflow,
        .has_ttl = m->has_ttl,
        .has_dead_exchange = m->has_dead_exchange,
        .has_dead_key = m->has_dead_key,
        .has_delivery_limit = m->has_delivery_limit,
        .durable = m->durable,
        .exclusive = m->exclusive,
        .auto_delete = m->auto_delete,
        .single_active = m->single_active,
        .keep_qos0 = m->keep_qos0,
    };
    return m->delivery_limit <= UINT16_MAX && m->priority_max <= UINT8_MAX && m->overflow <= OVERFLOW_REJECT_DLX;
}

static bool get_exchange(const Weir__Exchange *m, struct exchange_spec *x)
{
    *x = (struct exchange_spec){
        .name = slice_of(m->name),
        .kind = (enum exchange_kind)m->kind,
        .durable = m->durable,
        .auto_delete = m->auto_delete,
        .internal = m->internal,
        .alternate = slice_of(m->alternate),
        .rate = m->rate,
    };
    return m->kind <= EXCHANGE_FANOUT;
}

static enum err get_record(const struct wal_frame *f, struct codec_rec *r)
{
    struct store_rec *rec = &r->rec;
    const Weir__Record *m = codec_unpack(&r->arena, &weir__record__descriptor, f->body);
    if (m == NULL)
        return r->arena.is_out_of_memory ? ERR_NOMEM : ERR_MALFORMED;
    if (m->qos > 2 || m->flags > UINT8_MAX || m->rx_id > UINT16_MAX || m->ticket > UINT16_MAX ||
        m->returns > UINT16_MAX)
        return ERR_MALFORMED;
    rec->at = m->at;
    rec->queue = m->queue;
    rec->session = m->session;
    rec->of = m->of;
    rec->name = slice_of(m->name);
    rec->key = slice_of(m->key);
    rec->to = slice_of(m->to);
    rec->due = m->due;
    rec->expiry_s = m->expiry_s;
    rec->sub_id = m->sub_id;
    rec->qos = (uint8_t)m->qos;
    rec->flags = (uint8_t)m->flags;
    rec->rx_id = (uint16_t)m->rx_id;
    rec->ticket = (uint16_t)m->ticket;
    rec->returns = (uint16_t)m->returns;
    if (m->policy != NULL) {
        if (!get_policy(m->policy, &r->policy))
            return ERR_MALFORMED;
        rec->policy = &r->policy;
    }
    if (m->exchange != NULL) {
        if (!get_exchange(m->exchange, &r->exchange))
            return ERR_MALFORMED;
        rec->exchange = &r->exchange;
    }
    return ERR_OK;
}

void codec_rec_init(struct codec_rec *r, struct mem *mem)
{
    *r = (struct codec_rec){0};
    buf_init(&r->attrs, mem);
    codec_arena_init(&r->arena, mem);
}

void codec_rec_fini(struct codec_rec *r)
{
    buf_fini(&r->attrs);
    codec_arena_fini(&r->arena);
}

enum err codec_get(const struct wal_frame *f, struct msg_pool *msgs, const struct store *clock, struct codec_rec *out)
{
    codec_arena_reset(&out->arena);
    out->rec = (struct store_rec){.kind = (enum store_kind)f->kind, .lsn = f->lsn};
    out->target = NULL;
    out->msg_bytes = 0;
    out->has_msg = out->is_cleared = false;
    if (f->kind < STORE_PUBLISH || f->kind > STORE_WILL)
        return ERR_UNSUPPORTED;
    if (f->lsn == 0)
        return ERR_MALFORMED; /* "nothing was logged" */
    return codec_is_publish(f->kind) ? get_publish(f, msgs, clock, out) : get_record(f, out);
}

/* Memory for a Batch on the stack, which is many times what one needs. */
struct small {
    max_align_t room[64];
    size_t len;
};

static void *small_alloc(void *small, size_t n)
{
    struct small *s = small;
    size_t units = (n + sizeof(s->room[0]) - 1) / sizeof(s->room[0]);
    if (units > ARRAY_N(s->room) - s->len)
        return NULL;
    s->len += units;
    return &s->room[s->len - units];
}

enum err codec_get_batch(const struct wal_frame *f, wall_ms *out_at, uint32_t *out_part, uint64_t *out_bytes)
{
    struct small small = {.len = 0};
    ProtobufCAllocator allocator = {.alloc = small_alloc, .free = arena_free, .allocator_data = &small};
    const Weir__Batch *m = NULL;
    if (f->kind == WAL_BATCH && f->body.p != NULL)
        m = weir__batch__unpack(&allocator, f->body.len, f->body.p);
    if (m == NULL)
        return ERR_MALFORMED;
    *out_at = m->at;
    if (out_part != NULL)
        *out_part = m->part;
    if (out_bytes != NULL) {
        *out_bytes = 0;
        for (size_t i = 0; f->raw.len == 8 && i < 8; i++)
            *out_bytes |= (uint64_t)f->raw.p[i] << i * 8;
    }
    return ERR_OK;
}
