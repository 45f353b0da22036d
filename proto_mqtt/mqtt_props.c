/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_props.c: the properties of MQTT 5: one table, one walk, one way to check and one to write.
 *
 *     ┌────────────┬───────────────────────────────────────────────┐
 *     │ length     │ block: { id, value } { id, value } ...        │
 *     │ 1..4 bytes │ U8 1 · U16 2 · U32 4 · VARINT 1..4            │
 *     └────────────┤ UTF8, BIN 2 + n · PAIR 2 + n + 2 + n          │
 *                  └───────────────────────────────────────────────┘
 *
 * RULES is made of MQTT_PROP_LIST and indexed by id: wire type, where it may stand, and at which offset of struct
 * mqtt_props its value is kept. mqtt_props_next knows only the wire types; collect adds all the rules. What repeats
 * (User Properties, a PUBLISH's Subscription Identifiers) is not stored but counted, and walked in the block when
 * wanted.
 *
 * Invariants
 *   1. `has` has exactly the bits of the ids that stand in the block.
 *   2. collect(encode(p)) has the values of p, and its User Properties in the same order.
 *   3. mqtt_props_encode writes the length of the block plus mqtt_props_bytes(p) bytes.
 * Cost    collect O(bytes), encode O(table + items of p->block); no allocation.
 * Thread  any; pure.
 * Spec    MQTT 5 §2.2.2, and the property sections of §3.1 to §3.15.
 */
#include "proto_mqtt/mqtt_props.h"

#include "core/base/utf8.h"
#include "proto_mqtt/mqtt_wire_int.h"
#include "proto_mqtt/mqtt_wire_topic.h"

struct rule {
    const char *name;
    uint32_t where; /* bits 1 << enum mqtt_type */
    uint16_t at;    /* offset of the value in struct mqtt_props */
    uint8_t wire;   /* enum mqtt_prop_wire; MQTT_PROP_NONE: no such property */
};

static const struct rule RULES[MQTT_PROP_N] = {
#define X(name, id, wire, field, text, where)                                                                          \
    [id] = {text, where, offsetof(struct mqtt_props, field), MQTT_PROP_##wire},
    MQTT_PROP_LIST(X)
#undef X
};

const char *mqtt_prop_name(unsigned id)
{
    return id < MQTT_PROP_N && RULES[id].name != NULL ? RULES[id].name : "?";
}

bool mqtt_prop_is_allowed(unsigned id, enum mqtt_type at)
{
    return id < MQTT_PROP_N && (RULES[id].where >> at & 1) != 0;
}

/* read_item: id and value. An unknown id makes the cursor bad: nobody can say how long its value is. */
static void read_item(struct mqtt_rd *r, struct mqtt_prop_item *out)
{
    *out = (struct mqtt_prop_item){.id = mqtt_rd_u8(r)}; /* a VARINT, but all that exist are below 128 */
    out->wire = out->id < MQTT_PROP_N ? RULES[out->id].wire : MQTT_PROP_NONE;
    switch (out->wire) {
    case MQTT_PROP_U8:
        out->num = mqtt_rd_u8(r);
        break;
    case MQTT_PROP_U16:
        out->num = mqtt_rd_u16(r);
        break;
    case MQTT_PROP_U32:
        out->num = mqtt_rd_u32(r);
        break;
    case MQTT_PROP_VARINT:
        out->num = mqtt_rd_varint(r);
        break;
    case MQTT_PROP_PAIR:
        out->name = mqtt_rd_bin(r);
        out->value = mqtt_rd_bin(r);
        break;
    case MQTT_PROP_UTF8:
    case MQTT_PROP_BIN:
        out->value = mqtt_rd_bin(r);
        break;
    default:
        r->bad = true;
        break;
    }
}

ptrdiff_t mqtt_props_next(struct slice *rest, struct mqtt_prop_item *out)
{
    if (rest->len == 0)
        return 0;
    struct mqtt_rd r = mqtt_rd_make(*rest);
    read_item(&r, out);
    if (r.bad)
        return -ERR_MALFORMED;
    ptrdiff_t eaten = r.p - rest->p;
    *rest = slice_skip(*rest, (size_t)eaten);
    return eaten;
}

static bool is_text(struct slice s)
{
    return s.len == 0 || utf8_is_mqtt(s.p, s.len);
}

/* check_value: what the property's own section says about its value. */
static enum err check_value(const struct mqtt_prop_item *item)
{
    switch (item->id) {
    case MQTT_PROP_RECEIVE_MAX:      /* §3.1.2.11.3, §3.2.2.3.3 */
    case MQTT_PROP_PACKET_BYTES_MAX: /* §3.1.2.11.4, §3.2.2.3.6 */
    case MQTT_PROP_SUB_ID:           /* §3.3.2.3.8, §3.8.2.1.2 */
        return item->num != 0 ? ERR_OK : ERR_PROTOCOL;
    case MQTT_PROP_RESPONSE_TOPIC: { /* [MQTT-3.3.2-13] UTF-8, [MQTT-3.3.2-14] no wildcards, [MQTT-4.7.3-1] not empty */
        enum err e = mqtt_topic_name_check(item->value);
        return e == ERR_INVALID ? ERR_PROTOCOL : e;
    }
    default:
        break;
    }
    switch (item->wire) {
    case MQTT_PROP_U8: /* each is a flag: 0 or 1 */
        return item->num <= 1 ? ERR_OK : ERR_PROTOCOL;
    case MQTT_PROP_UTF8: /* [MQTT-1.5.4-1], [MQTT-1.5.4-2]; [MQTT-3.3.2-19] the Content Type among them */
        return is_text(item->value) ? ERR_OK : ERR_MALFORMED;
    case MQTT_PROP_PAIR: /* [MQTT-1.5.7-1] */
        return is_text(item->name) && is_text(item->value) ? ERR_OK : ERR_MALFORMED;
    default:
        return ERR_OK;
    }
}

/* keep: store the value of an item that stands once. */
static void keep(struct mqtt_props *p, const struct mqtt_prop_item *item)
{
    uint8_t *at = (uint8_t *)p + RULES[item->id].at;
    uint16_t half = (uint16_t)item->num;
    switch (item->wire) {
    case MQTT_PROP_U8:
        *at = (uint8_t)item->num;
        break;
    case MQTT_PROP_U16:
        memcpy(at, &half, sizeof half);
        break;
    case MQTT_PROP_U32:
    case MQTT_PROP_VARINT:
        memcpy(at, &item->num, sizeof item->num);
        break;
    default:
        memcpy(at, &item->value, sizeof item->value);
        break;
    }
}

/* accept: one item of a block, on top of what *out holds. */
static enum err accept_item(struct mqtt_props *out, const struct mqtt_prop_item *item, enum mqtt_type at)
{
    uint64_t bit = UINT64_C(1) << item->id;
    if ((RULES[item->id].where >> at & 1) == 0) /* MQTT 5 §2.2.2.2: not valid for its packet type */
        return ERR_MALFORMED;
    enum err e = check_value(item);
    if (e != ERR_OK)
        return e;
    bool again = (out->has & bit) != 0;
    out->has |= bit;
    if (item->id == MQTT_PROP_USER) {
        out->user_n++;
        return ERR_OK;
    }
    if (item->id == MQTT_PROP_SUB_ID)
        out->sub_id_n++;
    if (again) /* each section: "a Protocol Error to include it more than once"; §3.3.2.3.8 excepts these */
        return item->id == MQTT_PROP_SUB_ID && at == MQTT_PUBLISH ? ERR_OK : ERR_PROTOCOL;
    keep(out, item);
    return ERR_OK;
}

enum err mqtt_props_collect(struct slice block, enum mqtt_type at, struct mqtt_props *out)
{
    struct slice rest = block;
    struct mqtt_prop_item item;
    mqtt_props_clear(out);
    out->block = block;
    while (rest.len != 0) {
        if (mqtt_props_next(&rest, &item) <= 0)
            return ERR_MALFORMED;
        enum err e = accept_item(out, &item, at);
        if (e != ERR_OK)
            return e;
    }
    if ((out->has & MQTT_HAS(AUTH_DATA)) != 0 && (out->has & MQTT_HAS(AUTH_METHOD)) == 0) /* §3.1.2.11.10 */
        return ERR_PROTOCOL;
    return ERR_OK;
}

static uint32_t num_of(const struct mqtt_props *p, unsigned id)
{
    const uint8_t *at = (const uint8_t *)p + RULES[id].at;
    uint16_t half;
    uint32_t num;
    switch (RULES[id].wire) {
    case MQTT_PROP_U8:
        return *at;
    case MQTT_PROP_U16:
        memcpy(&half, at, sizeof half);
        return half;
    default:
        memcpy(&num, at, sizeof num);
        return num;
    }
}

static struct slice slice_of(const struct mqtt_props *p, unsigned id)
{
    struct slice s;
    memcpy(&s, (const uint8_t *)p + RULES[id].at, sizeof s);
    return s;
}

static bool is_slice(unsigned id)
{
    return RULES[id].wire == MQTT_PROP_UTF8 || RULES[id].wire == MQTT_PROP_BIN;
}

/* item_bytes: id and value of a property that stands once. */
static size_t item_bytes(const struct mqtt_props *p, unsigned id)
{
    switch (RULES[id].wire) {
    case MQTT_PROP_U8:
        return 2;
    case MQTT_PROP_U16:
        return 3;
    case MQTT_PROP_U32:
        return 5;
    case MQTT_PROP_VARINT:
        return 1 + mqtt_varint_bytes(num_of(p, id));
    default:
        return 3 + slice_of(p, id).len;
    }
}

/* next_copied: the next run of p->block that the writer copies; empty at the end. *seen counts Subscription
 * Identifiers. */
static struct slice next_copied(const struct mqtt_props *p, struct slice *rest, uint32_t *seen)
{
    struct mqtt_prop_item item;
    for (;;) {
        const uint8_t *from = rest->p;
        ptrdiff_t eaten = mqtt_props_next(rest, &item);
        if (eaten <= 0)
            return (struct slice){0};
        bool is_later_id = item.id == MQTT_PROP_SUB_ID && p->sub_id_n > 1 && (*seen)++ > 0;
        if (item.id == MQTT_PROP_USER || is_later_id)
            return slice_make(from, (size_t)eaten);
    }
}

static size_t copied_bytes(const struct mqtt_props *p)
{
    struct slice rest = p->block;
    uint32_t seen = 0;
    size_t n = 0;
    for (struct slice run = next_copied(p, &rest, &seen); run.len != 0; run = next_copied(p, &rest, &seen))
        n += run.len;
    return n;
}

#define HAS_SINGLES(p) ((p)->has & ~MQTT_HAS(USER))

size_t mqtt_props_bytes(const struct mqtt_props *p)
{
    size_t n = copied_bytes(p);
    for (uint64_t left = HAS_SINGLES(p); left != 0; left &= left - 1)
        n += item_bytes(p, (unsigned)__builtin_ctzll(left));
    return n;
}

/* put_items: the singles in the order of their ids, then what is copied from p->block. */
static void put_items(struct mqtt_props_writer *w, const struct mqtt_props *p, enum mqtt_type at)
{
    for (uint64_t left = HAS_SINGLES(p); left != 0; left &= left - 1) {
        unsigned id = (unsigned)__builtin_ctzll(left);
        BUG_ON(!mqtt_prop_is_allowed(id, at));
        if (is_slice(id))
            mqtt_props_put_slice(w, (enum mqtt_prop)id, slice_of(p, id));
        else
            mqtt_props_put_num(w, (enum mqtt_prop)id, num_of(p, id));
    }
    struct slice rest = p->block;
    uint32_t seen = 0;
    struct mqtt_wr wr = {w->p, w->len, w->cap, w->bad};
    for (struct slice run = next_copied(p, &rest, &seen); run.len != 0; run = next_copied(p, &rest, &seen))
        mqtt_wr_bytes(&wr, run);
    w->len = wr.len;
    w->bad = wr.bad;
}

ptrdiff_t mqtt_props_encode(const struct mqtt_props *p, enum mqtt_type at, uint8_t *out, size_t cap)
{
    size_t block = mqtt_props_bytes(p);
    if (block > MQTT_VARINT_MAX || cap < mqtt_varint_bytes((uint32_t)block) + block)
        return -ERR_TOO_BIG;
    size_t head = mqtt_varint_put(out, (uint32_t)block);
    struct mqtt_props_writer w = {out + head, 0, block, false};
    put_items(&w, p, at);
    if (w.bad) /* a string above 65,535 bytes */
        return -ERR_TOO_BIG;
    BUG_ON(w.len != block); /* invariant 3 */
    return (ptrdiff_t)(head + block);
}

/* put_start: the cursor behind which one item goes. put_end: the item is in, or nothing of it is. */
static struct mqtt_wr put_start(const struct mqtt_props_writer *w, enum mqtt_prop id)
{
    struct mqtt_wr wr = {w->p, w->len, w->cap, w->bad};
    mqtt_wr_u8(&wr, id);
    return wr;
}

static void put_end(struct mqtt_props_writer *w, const struct mqtt_wr *wr)
{
    w->bad = wr->bad;
    if (!wr->bad)
        w->len = wr->len;
}

void mqtt_props_put_num(struct mqtt_props_writer *w, enum mqtt_prop id, uint32_t v)
{
    struct mqtt_wr wr = put_start(w, id);
    switch (RULES[id].wire) {
    case MQTT_PROP_U8:
        BUG_ON(v > UINT8_MAX);
        mqtt_wr_u8(&wr, v);
        break;
    case MQTT_PROP_U16:
        BUG_ON(v > UINT16_MAX);
        mqtt_wr_u16(&wr, v);
        break;
    case MQTT_PROP_U32:
        mqtt_wr_u32(&wr, v);
        break;
    default:
        BUG_ON(RULES[id].wire != MQTT_PROP_VARINT || v > MQTT_VARINT_MAX);
        mqtt_wr_varint(&wr, v);
        break;
    }
    put_end(w, &wr);
}

void mqtt_props_put_slice(struct mqtt_props_writer *w, enum mqtt_prop id, struct slice v)
{
    BUG_ON(!is_slice(id));
    struct mqtt_wr wr = put_start(w, id);
    mqtt_wr_bin(&wr, v);
    put_end(w, &wr);
}

void mqtt_props_put_user(struct mqtt_props_writer *w, struct slice name, struct slice v)
{
    struct mqtt_wr wr = put_start(w, MQTT_PROP_USER);
    mqtt_wr_bin(&wr, name);
    mqtt_wr_bin(&wr, v);
    put_end(w, &wr);
}
