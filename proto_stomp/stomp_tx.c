/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_tx.c: transactions: SEND, ACK and NACK that happen together or not at all.
 *
 *     BEGIN ─► stomp_tx, tx_new ─► SEND, ACK, NACK with transaction:<id> ─► tx_publish, tx_settle ─► RECEIPT: "noted"
 *                                                                               │
 *     COMMIT ─► tx_commit ─► [receipt] ─► RECEIPT: all of it, durable; or RECEIPT x-result:rejected, or ERROR: nothing
 *     ABORT, DISCONNECT, the end of the connection ─► tx_abort
 *
 * The names are the peer's; what a transaction is, core knows (core/tx.h). The list has the one that was used last in
 * front, for one transaction at a time is what peers do.
 *
 * Invariants
 *   1. Every stomp_tx in s->txs has a living tx of this connection; s->tx_n of them.
 *   2. A frame that names no open transaction ends the connection: what it says would be done too early or never.
 *   3. None is open when the connection parts from its session.
 * Cost    one allocation per transaction here, one per message in core; finding one O(open transactions).
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §BEGIN, §COMMIT, §ABORT, §SEND, §ACK, §DISCONNECT.
 */
#include "proto_stomp/stomp_conn.h"

/* owner: stomp_conn.txs */
struct stomp_tx {
    struct stomp_tx *next;
    struct tx *tx;
    uint32_t id_len;
    uint8_t id[];
};

/* ---- the list -------------------------------------------------------------------------------------------------- */

/* find: the open one with this id, moved to the front; NULL: there is none. */
static struct stomp_tx *find(struct stomp_conn *s, struct slice id)
{
    for (struct stomp_tx **at = &s->txs; *at != NULL; at = &(*at)->next) {
        struct stomp_tx *t = *at;
        if (!slice_eq(slice_make(t->id, t->id_len), id))
            continue;
        *at = t->next;
        t->next = s->txs;
        s->txs = t;
        return t;
    }
    return NULL;
}

/* take: the tx of t, which is the first in the list; t is gone. */
static struct tx *take(struct conn *c, struct stomp_tx *t)
{
    struct stomp_conn *s = stomp_state(c);
    struct tx *tx = t->tx;
    BUG_ON(s->txs != t);
    s->txs = t->next;
    s->tx_n--;
    mem_free(conn_mem(c), t);
    return tx;
}

/* is_over_bytes: do the messages of all of them have more bytes than they may? */
static bool is_over_bytes(const struct conn *c)
{
    const struct stomp_conn *s = stomp_state(c);
    uint64_t bytes = 0;
    for (const struct stomp_tx *t = s->txs; t != NULL; t = t->next)
        bytes += tx_bytes(t->tx);
    return bytes > conn_limits(c)->tx_bytes_max;
}

static bool get_id(struct conn *c, const struct stomp_frame *f, uint8_t buf[STOMP_LINE_BYTES_MAX], struct slice *out)
{
    if (stomp_frame_get(f, STOMP_H_TRANSACTION, buf, STOMP_LINE_BYTES_MAX, out) == ERR_OK)
        return true;
    stomp_error(c, f, STOMP_FAULT_NO_TX, SLICE(""));
    return false;
}

struct stomp_tx *stomp_tx_of(struct conn *c, const struct stomp_frame *f)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    if (!get_id(c, f, buf, &id))
        return NULL;
    struct stomp_tx *t = find(stomp_state(c), id);
    if (t == NULL)
        stomp_error(c, f, STOMP_FAULT_TX_UNKNOWN, id);
    return t;
}

void stomp_txs_abort(struct conn *c)
{
    struct stomp_conn *s = stomp_state(c);
    while (s->txs != NULL)
        tx_abort(c, take(c, s->txs));
}

/* ---- BEGIN ----------------------------------------------------------------------------------------------------- */

/* open: NULL: ERROR was said. */
static struct stomp_tx *open_tx(struct conn *c, struct slice id)
{
    struct stomp_conn *s = stomp_state(c);
    struct stomp_tx *t = mem_alloc(conn_mem(c), sizeof *t + id.len);
    struct tx *tx = t != NULL ? tx_new(c) : NULL;
    if (tx == NULL) {
        mem_free(conn_mem(c), t);
        stomp_nomem(c);
        return NULL;
    }
    t->tx = tx;
    t->id_len = (uint32_t)id.len;
    if (id.len != 0)
        memcpy(t->id, id.p, id.len);
    t->next = s->txs;
    s->txs = t;
    s->tx_n++;
    return t;
}

void stomp_begin_in(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    if (!get_id(c, f, buf, &id)) /* STOMP 1.2 §BEGIN: the transaction header is required */
        return;
    if (find(s, id) != NULL)
        stomp_error(c, f, STOMP_FAULT_TX_TWICE, id);
    else if (s->tx_n >= conn_limits(c)->tx_n_max)
        stomp_error_u64(c, f, STOMP_FAULT_TX_LIMIT, conn_limits(c)->tx_n_max);
    else if (open_tx(c, id) != NULL)
        stomp_answer(c, f);
}

/* ---- what belongs to it ---------------------------------------------------------------------------------------- */

static enum stomp_fault fault_of(enum err e)
{
    if (e == ERR_FULL)
        return STOMP_FAULT_TX_TOO_BIG;
    return e == ERR_NOT_FOUND ? STOMP_FAULT_ACK_UNKNOWN : stomp_fault_from_err(e);
}

/* noted: the answer to a frame that t has now, or would not have. */
static void noted(struct conn *c, const struct stomp_frame *f, const struct stomp_tx *t, enum err e)
{
    struct slice id = slice_make(t->id, t->id_len);
    if (e == ERR_OK && is_over_bytes(c))
        e = ERR_FULL;
    if (e != ERR_OK)
        stomp_error(c, f, fault_of(e), e == ERR_FULL ? id : SLICE(""));
    else
        stomp_answer(c, f);
}

void stomp_tx_publish(struct conn *c, const struct stomp_frame *f, struct stomp_tx *t, struct publish *p)
{
    noted(c, f, t, tx_publish(c, t->tx, p));
}

void stomp_tx_settle(struct conn *c, const struct stomp_frame *f, struct stomp_tx *t, uint32_t ticket, enum outcome o,
                     bool until)
{
    noted(c, f, t, tx_settle(c, t->tx, ticket, o, until));
}

/* ---- COMMIT, ABORT --------------------------------------------------------------------------------------------- */

/* takes_refusal: reject:receipt: a RECEIPT says so if it is refused. False: ERROR was said. */
static bool takes_refusal(struct conn *c, const struct stomp_frame *f, bool *out)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice text;
    *out = stomp_frame_get(f, STOMP_H_REJECT, buf, sizeof buf, &text) == ERR_OK;
    if (!*out)
        return true;
    if (!slice_eq_str(text, "receipt"))
        stomp_error(c, f, STOMP_FAULT_HEADER, SLICE("reject"));
    else if (f->known[STOMP_H_RECEIPT] < 0)
        stomp_error(c, f, STOMP_FAULT_NO_HEADER, SLICE("receipt"));
    else
        return true;
    return false;
}

void stomp_commit_in(struct conn *c, const struct stomp_frame *f)
{
    uint64_t receipt;
    bool asks;
    struct stomp_tx *t = stomp_tx_of(c, f); /* STOMP 1.2 §COMMIT */
    if (t == NULL || !takes_refusal(c, f, &asks) || !stomp_receipt_ask(c, f, STOMP_FOR_SEND, &receipt))
        return;
    receipt |= asks ? STOMP_RECEIPT_ASKS : 0u;
    tx_commit(c, take(c, t), receipt);
    if (c->shard->refused != NULL)
        stomp_refused_keep(c, receipt);
}

void stomp_abort_in(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_tx *t = stomp_tx_of(c, f); /* STOMP 1.2 §ABORT */
    if (t == NULL)
        return;
    tx_abort(c, take(c, t));
    stomp_answer(c, f);
}
