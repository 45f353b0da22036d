/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_ack.c: what the peer says to a MESSAGE.
 *
 *     1.2   ACK id:<ack header>                               1.1   ACK message-id, subscription
 *     1.0   ACK message-id                                    NACK  the same, requeue:false to reject
 *
 *     message-id = ack = <session>-<number>.<ticket>          without ".<ticket>": nothing is expected
 *
 * The ticket finds the delivery, and its consumer says how it is answered: client-individual settles one, client
 * settles it and all earlier ones of that subscription, NACK likewise.
 *
 * Invariants
 *   1. An id that names no delivery waiting for an answer changes nothing and ends the connection. One that was not
 * answered in time still waits for it, for its place in the prefetch is taken until then: that is no error, and changes
 * nothing else.
 *   2. What an ACK settled stays settled: a RECEIPT for it comes when the store has it.
 * Cost    O(1); cumulative: O(deliveries in flight).
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §ACK, §NACK, §SUBSCRIBE ack Header; STOMP 1.1 §ACK; STOMP 1.0 §ACK.
 */
#include "proto_stomp/stomp_attrs.h"
#include "proto_stomp/stomp_conn.h"

/* cut_number: the digits in front of `end` (or all, if end is 0) off *text, and that. */
static bool cut_number(struct slice *text, uint8_t end, uint64_t *out)
{
    enum { DIGITS_MAX = 19 }; /* no more fit for sure */
    uint64_t n = 0;
    size_t i = 0;
    for (; i < text->len && (uint8_t)(text->p[i] - '0') <= 9; i++)
        n = n * 10 + (uint64_t)(text->p[i] - '0'); /* beyond DIGITS_MAX it is not used */
    bool is_whole = end != '\0' ? i < text->len && text->p[i] == end : i == text->len;
    if (i == 0 || i > DIGITS_MAX || !is_whole)
        return false;
    *text = slice_skip(*text, end != '\0' ? i + 1 : i);
    *out = n;
    return true;
}

/* ticket_of: the delivery that an id of ours names; 0: none of this session's. */
static uint32_t ticket_of(const struct conn *c, struct slice id)
{
    uint64_t session, number, ticket;
    if (!cut_number(&id, '-', &session) || !cut_number(&id, '.', &number) || !cut_number(&id, '\0', &ticket))
        return 0;
    return session == c->session->number && ticket <= STOMP_TICKET_MAX ? (uint32_t)ticket : 0;
}

/* get_id: the header that names the delivery: STOMP 1.2 §Frames and Headers; STOMP 1.0 §ACK: by message-id. False:
 * ERROR was said. */
static bool get_id(struct conn *c, const struct stomp_frame *f, uint8_t *buf, size_t cap, struct slice *out)
{
    const struct stomp_conn *s = stomp_state(c);
    enum stomp_known h = s->version == STOMP_1_2 ? STOMP_H_ID : STOMP_H_MESSAGE_ID;
    if (stomp_frame_get(f, h, buf, cap, out) == ERR_OK)
        return true;
    stomp_error(c, f, STOMP_FAULT_NO_HEADER, stomp_known_text(h));
    return false;
}

/* sub_fits: STOMP 1.1 §ACK: it must name the subscription the message came from; one that is over is not checked.
 * False: ERROR was said. */
static bool sub_fits(struct conn *c, const struct stomp_frame *f, const struct consumer *k)
{
    const struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    if (s->version != STOMP_1_1)
        return true;
    if (stomp_frame_get(f, STOMP_H_SUBSCRIPTION, buf, sizeof buf, &id) != ERR_OK) {
        stomp_error(c, f, STOMP_FAULT_NO_HEADER, SLICE("subscription"));
        return false;
    }
    if (k == NULL || k->up == NULL || slice_eq(stomp_sub_id(k->up), id))
        return true;
    stomp_error(c, f, STOMP_FAULT_ACK_UNKNOWN, id);
    return false;
}

/* outcome_of: STOMP 1.2 §NACK; requeue is RabbitMQ's. False: ERROR was said. */
static bool outcome_of(struct conn *c, const struct stomp_frame *f, enum outcome *out)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    bool requeue = true;
    if (stomp_frame_get(f, STOMP_H_REQUEUE, buf, sizeof buf, &text) == ERR_OK && !stomp_bool_parse(text, &requeue)) {
        stomp_error(c, f, STOMP_FAULT_HEADER, SLICE("requeue"));
        return false;
    }
    *out = f->command == STOMP_CMD_ACK ? OUTCOME_ACK : requeue ? OUTCOME_REQUEUE : OUTCOME_REJECT;
    return true;
}

/* settle: STOMP 1.2 §ACK: what is answered already, in another way or by an open transaction, waits for nothing. */
static void settle(struct conn *c, const struct stomp_frame *f, uint32_t ticket, enum outcome o, bool until)
{
    if (f->known[STOMP_H_TRANSACTION] >= 0) {
        struct stomp_tx *t = stomp_tx_of(c, f);
        if (t != NULL)
            stomp_tx_settle(c, f, t, ticket, o, until);
        return;
    }
    enum err err = until ? broker_settle_until(c, ticket, o) : broker_settle(c, ticket, o);
    if (err == ERR_OK)
        stomp_answer(c, f);
    else
        stomp_error(c, f, STOMP_FAULT_ACK_UNKNOWN, SLICE(""));
}

void stomp_ack_in(struct conn *c, const struct stomp_frame *f)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    enum outcome o;
    if (!get_id(c, f, buf, sizeof buf, &id) || !outcome_of(c, f, &o))
        return;
    uint32_t ticket = ticket_of(c, id);
    const struct flight *flight = tickets_get(c->session, ticket);
    if (flight == NULL) {
        stomp_error(c, f, STOMP_FAULT_ACK_UNKNOWN, id);
        return;
    }
    const struct consumer *k = flight_consumer(flight);
    if (sub_fits(c, f, k))
        settle(c, f, ticket, o, k->mode == ACK_CUMULATIVE);
}
