/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt_subscribe.c: SUBSCRIBE and UNSUBSCRIBE: one packet, several filters, several verbs, one answer.
 *
 *     SUBSCRIBE {f0, f1, f2} ─► broker_subscribe(f0), (f1), (f2), conn_owe
 *                                       │        │      │        │
 *                     struct mqtt_subs cause[0]  [1]    [2]      └─► SUBACK, and the record is gone
 *
 * The verbs are answered in order, so the packet that is answered now is always the first of the list, and the receipt
 * behind its filters says that all of them have their cause. A filter that is refused here goes to no verb; its cause
 * is there from the start. The first refusal of a packet is explained in its Reason String.
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
#include <stdio.h>

#include "proto_mqtt/mqtt_conn.h"

/* ---- the record ---------------------------------------------------------------------------------------------- */

static struct mqtt_subs *subs_new(struct conn *c, enum mqtt_type type, const struct mqtt_subscribe *s)
{
    struct mqtt_more *more = mqtt_more(c);
    struct mqtt_subs *r = more != NULL ? mem_zalloc(conn_mem(c), sizeof *r + s->filter_n) : NULL;
    if (r == NULL) {
        mqtt_fault(c, 0, ERR_NOMEM);
        return NULL;
    }
    r->type = (uint8_t)type;
    r->n = s->filter_n;
    r->packet_id = s->packet_id;
    r->next = r;
    if (more->subs_last != NULL) {
        r->next = more->subs_last->next;
        more->subs_last->next = r;
    }
    more->subs_last = r;
    return r;
}

/* subs_first: the packet whose answer is next; NULL: none. */
static struct mqtt_subs *subs_first(const struct conn *c)
{
    const struct mqtt_conn *m = conn_state(c);
    return m->more != NULL && m->more->subs_last != NULL ? m->more->subs_last->next : NULL;
}

static void drop_first(struct conn *c)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subs *r = subs_first(c);
    m->more->subs_last->next = r->next;
    if (r == m->more->subs_last)
        m->more->subs_last = NULL;
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
        r->cause[index] = mqtt_cause_from_err(result);
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

/* make_codes: turns the causes into the codes to be sent, in their place; text[cap]: why the first refused filter was,
 * "" if none. One per filter, in their order [MQTT-3.9.3-1], [MQTT-3.11.3-1]; 3.1.1: [MQTT-3.9.3-1]. False: 3.1 cannot
 * say it. */
static bool make_codes(struct mqtt_subs *r, enum mqtt_version v, char *text, size_t cap)
{
    text[0] = '\0';
    bool can_say = true;
    for (uint32_t i = 0; i < r->n; i++) {
        uint8_t cause = r->cause[i];
        uint8_t code = mqtt_cause_code(cause, (enum mqtt_type)r->type);
        if (code >= MQTT_RC_UNSPECIFIED && text[0] == '\0')
            (void)snprintf(text, cap, "filter %u: %s", (unsigned)i + 1, mqtt_cause_text(cause));
        if (v != MQTT_V5 && r->type == MQTT_SUBACK)
            can_say = code_for_v3(&code, v) && can_say;
        r->cause[i] = code;
    }
    return can_say;
}

void mqtt_subs_answer(struct conn *c, uint16_t packet_id)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subs *r = subs_first(c);
    BUG_ON(r == NULL || r->packet_id != packet_id);
    char text[MQTT_TEXT_BYTES_MAX];
    bool can_say = make_codes(r, (enum mqtt_version)m->version, text, sizeof text);
    /* [MQTT-2.2.1-6]; 3.1.1: [MQTT-2.3.1-7], [MQTT-3.8.4-2], [MQTT-3.10.4-4] */
    struct mqtt_suback a = {.packet_id = packet_id, .codes = slice_make(r->cause, r->n)};
    if (r->type == MQTT_UNSUBACK && m->version != MQTT_V5)
        a.codes.len = 0;
    if (can_say) /* [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-6]; 3.1.1: [MQTT-3.8.4-1], [MQTT-3.8.4-5] */
        mqtt_say_subs(c, (enum mqtt_type)r->type, &a, text);
    else
        mqtt_close(c, CLOSE_REFUSED, MQTT_CAUSE_NONE);
    drop_first(c);
    mqtt_more_tidy(c);
}

/* ---- filters ------------------------------------------------------------------------------------------------- */

/* subscribe_one: item `index` of the packet. */
static void subscribe_one(struct conn *c, struct mqtt_subs *r, uint32_t index, const struct mqtt_sub_item *item,
                          uint32_t sub_id)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct mqtt_source from;
    uint8_t cause = mqtt_address_filter(c, item->filter, tok, &from);
    if (cause == 0 && from.from == MQTT_FROM_QUEUE && item->no_local)
        cause = MQTT_CAUSE_QUEUE_LOCAL;
    r->cause[index] = cause;
    if (cause != 0)
        return;
    struct binding_opts opts = {
        .sub_id = sub_id,
        .qos = mqtt_qos_is_capped(c, item->qos) ? c->door->qos_cap : item->qos, /* [MQTT-3.2.2-10] */
        .retain_handling = item->retain_handling, /* [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11] */
        .retain_as_published = item->retain_as_published,
        .no_local = item->no_local, /* [MQTT-3.8.3-3] */
    };
    r->cause[index] = opts.qos; /* granted, unless the broker says otherwise [MQTT-3.8.4-7], [MQTT-3.8.4-8] */
    uint64_t receipt = receipt_make(MQTT_SUBSCRIBE, 0, index, r->packet_id);
    if (from.from == MQTT_FROM_GROUP)
        broker_subscribe_group(c, from.name, &from.filter, &opts, receipt);
    else if (from.from == MQTT_FROM_QUEUE)
        broker_subscribe_queue(c, from.name, &opts, receipt);
    else
        broker_subscribe(c, &from.filter, &opts, receipt);
}

void mqtt_subscribe_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subscribe s;
    enum err e = mqtt_subscribe_decode(f, (enum mqtt_version)m->version, &s);
    if (e != ERR_OK) {
        mqtt_fault(c, MQTT_SUBSCRIBE, e);
        return;
    }
    struct mqtt_subs *r = subs_new(c, MQTT_SUBACK, &s);
    if (r == NULL)
        return;
    uint32_t sub_id = (s.props.has & MQTT_HAS(SUB_ID)) != 0 ? s.props.sub_id : 0;
    struct mqtt_sub_item item;
    for (uint32_t i = 0; mqtt_subscribe_next(&s.filters, &item) && !conn_is_closing(c); i++)
        subscribe_one(c, r, i, &item, sub_id); /* [MQTT-3.8.4-5] as if each came alone; 3.1.1: [MQTT-3.8.4-4] */
    conn_owe(c, receipt_make(MQTT_SUBACK, 0, 0, s.packet_id), ERR_OK, 0); /* behind those; nothing else to wait for */
}

static void unsubscribe_one(struct conn *c, struct mqtt_subs *r, uint32_t index, struct slice text)
{
    struct token tok[TOPIC_LEVELS_MAX];
    struct mqtt_source from;
    r->cause[index] = mqtt_address_filter(c, text, tok, &from);
    if (r->cause[index] != 0)
        return;
    uint64_t receipt = receipt_make(MQTT_SUBSCRIBE, 0, index, r->packet_id);
    if (from.from == MQTT_FROM_GROUP)
        broker_unsubscribe_group(c, from.name, &from.filter, receipt);
    else if (from.from == MQTT_FROM_QUEUE)
        broker_unsubscribe_queue(c, from.name, receipt);
    else
        broker_unsubscribe(c, &from.filter, receipt);
}

void mqtt_unsubscribe_in(struct conn *c, const struct mqtt_frame *f)
{
    const struct mqtt_conn *m = conn_state(c);
    struct mqtt_subscribe s;
    enum err e = mqtt_unsubscribe_decode(f, (enum mqtt_version)m->version, &s);
    if (e != ERR_OK) {
        mqtt_fault(c, MQTT_UNSUBSCRIBE, e);
        return;
    }
    struct mqtt_subs *r = subs_new(c, MQTT_UNSUBACK, &s);
    if (r == NULL)
        return;
    struct slice text;
    for (uint32_t i = 0; mqtt_unsubscribe_next(&s.filters, &text) && !conn_is_closing(c); i++)
        unsubscribe_one(c, r, i, text); /* [MQTT-3.10.4-1] compared character by character */
    /* [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.10.4-6]; 3.1.1: [MQTT-3.10.4-5], [MQTT-3.10.4-6] */
    conn_owe(c, receipt_make(MQTT_UNSUBACK, 0, 0, s.packet_id), ERR_OK, 0);
}
