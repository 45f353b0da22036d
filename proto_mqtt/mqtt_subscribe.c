/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_subscribe.c: SUBSCRIBE and UNSUBSCRIBE: one packet, several filters, several verbs, one answer.
 *
 *     SUBSCRIBE {f0, f1, f2} ─► broker_subscribe(f0), (f1), (f2), broker_barrier
 *                                       │        │      │        │
 *                     struct mqtt_subs  code[0]  [1]    [2]      └─► SUBACK, and the record is gone
 *
 * The verbs are answered in order, so the packet that is answered now is always the first of the list, and the barrier
 * behind its filters says that all of them have their code. A filter that is refused here goes to no verb; its code is
 * there from the start.
 *
 * How a refusal is said: 5.0 has reason codes; 3.1.1 has 0x80; 3.1 has nothing, and its specification wants a positive
 * answer where the peer is not authorized (§3.8); any other refusal ends a 3.1 connection.
 *
 * Invariants
 *   1. One code per filter, in the order of the filters [MQTT-3.9.3-1], [MQTT-3.11.3-1].
 *   2. The list is in the order of the packets, and its first is the next to be answered.
 * Cost    one allocation per packet, 24 bytes and one per filter.
 * Thread  the shard's own.
 * Spec    MQTT 5 §3.8 to §3.11, §4.8.2; MQTT 3.1.1 §3.8 to §3.11.
 */
#include "proto_mqtt/mqtt_conn.h"

/* ---- the record ---------------------------------------------------------------------------------------------- */

static struct mqtt_subs *subs_new(struct conn *c, enum mqtt_type type, const struct mqtt_subscribe *s)
{
    struct mqtt_conn *m = conn_state(c);
    struct mqtt_subs *r = mem_zalloc(conn_mem(c), sizeof *r + s->filter_n);
    if (r == NULL) {
        mqtt_fault(c, ERR_NOMEM);
        return NULL;
    }
    r->type = (uint8_t)type;
    r->n = s->filter_n;
    r->packet_id = s->packet_id;
    r->next = r;
    if (m->subs_last != NULL) {
        r->next = m->subs_last->next;
        m->subs_last->next = r;
    }
    m->subs_last = r;
    return r;
}

/* subs_first: the packet whose answer is next; NULL: none. */
static struct mqtt_subs *subs_first(const struct conn *c)
{
    const struct mqtt_conn *m = conn_state(c);
    return m->subs_last != NULL ? m->subs_last->next : NULL;
}

static void drop_first(struct conn *c)
{
    struct mqtt_conn *m = conn_state(c);
    struct mqtt_subs *r = subs_first(c);
    m->subs_last->next = r->next;
    if (r == m->subs_last)
        m->subs_last = NULL;
    mem_free(conn_mem(c), r);
}

void mqtt_subs_free(struct conn *c)
{
    while (subs_first(c) != NULL)
        drop_first(c);
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

void mqtt_subs_part(struct conn *c, uint32_t index, enum err result)
{
    struct mqtt_subs *r = subs_first(c);
    BUG_ON(r == NULL || index >= r->n);
    if (result != ERR_OK)
        r->code[index] = mqtt_reason_from_err(result, (enum mqtt_type)r->type);
}

/* code_for_v3: the 3.x form of a code; false: 3.1 cannot say it. */
static bool code_for_v3(uint8_t *code, enum mqtt_version v)
{
    if (*code <= MQTT_RC_GRANTED_2)
        return true;
    if (v == MQTT_V31 && *code != MQTT_RC_DENIED)
        return false;
    *code = v == MQTT_V31 ? MQTT_RC_GRANTED_0 : mqtt_v3_suback_from_reason(*code);
    return true;
}

static void put_answer(struct conn *c, const struct mqtt_subs *r)
{
    const struct mqtt_conn *m = conn_state(c);
    enum mqtt_version v = (enum mqtt_version)m->version;
    struct mqtt_suback a = {.packet_id = r->packet_id, .codes = slice_make(r->code, r->n)};
    if (r->type == MQTT_UNSUBACK && v != MQTT_V5)
        a.codes.len = 0;
    struct outv *o = conn_out(c);
    size_t cap = 11 + a.codes.len;
    uint8_t *room = o != NULL ? outv_room(o, cap) : NULL;
    if (room == NULL)
        return;
    ptrdiff_t n =
        r->type == MQTT_SUBACK ? mqtt_suback_encode(&a, v, room, cap) : mqtt_unsuback_encode(&a, v, room, cap);
    BUG_ON(n <= 0);
    if ((size_t)n <= m->out_bytes_max) /* [MQTT-3.1.2-24] */
        outv_wrote(o, (size_t)n);
}

void mqtt_subs_answer(struct conn *c, uint16_t packet_id)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subs *r = subs_first(c);
    BUG_ON(r == NULL || r->packet_id != packet_id);
    bool can_say = true;
    for (uint32_t i = 0; m->version != MQTT_V5 && r->type == MQTT_SUBACK && i < r->n; i++)
        can_say = can_say && code_for_v3(&r->code[i], (enum mqtt_version)m->version);
    if (can_say)
        put_answer(c, r); /* [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-6]; [MQTT-3.10.4-4], [MQTT-3.10.4-5] */
    else
        mqtt_close(c, CLOSE_REFUSED, 0);
    drop_first(c);
}

/* ---- filters ------------------------------------------------------------------------------------------------- */

/* filter_refusal: why no verb gets this filter: a code of SUBACK and UNSUBACK, or 0 and *out filled from tok. */
static uint8_t filter_refusal(struct conn *c, struct slice text, struct token *tok, struct filter *out)
{
    struct slice group, inner;
    if (mqtt_filter_check(text) != ERR_OK) /* [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] */
        return MQTT_RC_FILTER;
    if (slice_eq(text, SLICE("$share")) || slice_starts_with(text, SLICE("$share/")))
        return mqtt_share_split(text, &group, &inner) == ERR_OK ? MQTT_RC_NO_SHARED /* told in CONNACK */
                                                                : MQTT_RC_FILTER;   /* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
    uint8_t code = mqtt_topic_refusal(text);
    if (code != 0 && code != MQTT_RC_DENIED) /* $queue/ and its kin; $SYS may be read */
        return code;
    enum err e = filter_from_mqtt(text, tok, out);
    return e != ERR_OK || out->n > conn_limits(c)->topic_levels_max ? MQTT_RC_FILTER : 0;
}

/* subscribe_one: item `index` of the packet. */
static void subscribe_one(struct conn *c, struct mqtt_subs *r, uint32_t index, const struct mqtt_sub_item *item,
                          uint32_t sub_id)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter filter;
    r->code[index] = filter_refusal(c, item->filter, tok, &filter);
    if (r->code[index] != 0)
        return;
    r->code[index] = item->qos; /* granted, unless the broker says otherwise [MQTT-3.8.4-7], [MQTT-3.8.4-8] */
    struct binding_opts opts = {
        .sub_id = sub_id,
        .qos = item->qos,
        .retain_handling = item->retain_handling, /* [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11] */
        .retain_as_published = item->retain_as_published,
        .no_local = item->no_local, /* [MQTT-3.8.3-3] */
    };
    broker_subscribe(c, &filter, &opts, receipt_make(MQTT_SUBSCRIBE, 0, index, r->packet_id));
}

void mqtt_subscribe_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subscribe s;
    enum err e = mqtt_subscribe_decode(f, (enum mqtt_version)m->version, &s);
    if (e != ERR_OK) {
        mqtt_fault(c, e);
        return;
    }
    struct mqtt_subs *r = subs_new(c, MQTT_SUBACK, &s);
    if (r == NULL)
        return;
    uint32_t sub_id = (s.props.has & MQTT_HAS(SUB_ID)) != 0 ? s.props.sub_id : 0;
    struct mqtt_sub_item item;
    for (uint32_t i = 0; mqtt_subscribe_next(&s.filters, &item) && !conn_is_closing(c); i++)
        subscribe_one(c, r, i, &item, sub_id); /* [MQTT-3.8.4-5] as if each came alone */
    broker_barrier(c, receipt_make(MQTT_SUBACK, 0, 0, s.packet_id));
}

static void unsubscribe_one(struct conn *c, struct mqtt_subs *r, uint32_t index, struct slice text)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct filter filter;
    r->code[index] = filter_refusal(c, text, tok, &filter);
    if (r->code[index] == MQTT_RC_NO_SHARED) /* nobody can have subscribed to it */
        r->code[index] = MQTT_RC_NO_SUBSCRIPTION;
    if (r->code[index] == 0)
        broker_unsubscribe(c, &filter, receipt_make(MQTT_SUBSCRIBE, 0, index, r->packet_id));
}

void mqtt_unsubscribe_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subscribe s;
    enum err e = mqtt_unsubscribe_decode(f, (enum mqtt_version)m->version, &s);
    if (e != ERR_OK) {
        mqtt_fault(c, e);
        return;
    }
    struct mqtt_subs *r = subs_new(c, MQTT_UNSUBACK, &s);
    if (r == NULL)
        return;
    struct slice text;
    for (uint32_t i = 0; mqtt_unsubscribe_next(&s.filters, &text) && !conn_is_closing(c); i++)
        unsubscribe_one(c, r, i, text); /* [MQTT-3.10.4-1] compared character by character */
    broker_barrier(c, receipt_make(MQTT_UNSUBACK, 0, 0, s.packet_id)); /* [MQTT-3.10.4-6] */
}
