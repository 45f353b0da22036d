/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_receipt.c: what the broker's verbs answer, as RECEIPT frames, or as ERROR when the answer is no.
 *
 *     frame with receipt:abc ─► fifo "abc" ─► verb(receipt number) ─ ─ ► on_settled ─► fifo "abc" ─► RECEIPT
 * receipt-id:abc
 *
 * Receipt ids are strings of the peer's, core's receipts are numbers. Core answers in the order of the verbs, so the
 * strings wait in one queue of bytes and the number only says whether one of them belongs to it.
 *
 * Invariants
 *   1. The fifo holds exactly the ids of verbs that were not answered yet, in order.
 *   2. A SEND or SUBSCRIBE always has a number: a refusal must be said even if nobody asked for a receipt.
 *   3. An empty fifo keeps at most FIFO_KEEP bytes.
 * Cost    no allocation per receipt once the fifo has its size; O(bytes of the id).
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §RECEIPT, §Header receipt, §DISCONNECT; docs/mapping.md, "STOMP rules".
 */
#include "core/shard.h"
#include "proto_stomp/stomp_conn.h"

enum { FIFO_MIN = 128, FIFO_KEEP = 512, LEN_BYTES = 2 };

/* ---- the fifo -------------------------------------------------------------------------------------------------- */

static bool fifo_room(struct stomp_fifo *q, struct mem *mem, uint32_t n)
{
    if (q->cap - q->len >= n)
        return true;
    if (q->at > 0) { /* answered ones make room first */
        memmove(q->p, q->p + q->at, q->len - q->at);
        q->len -= q->at;
        q->at = 0;
    }
    if (q->cap - q->len >= n && q->len <= q->cap / 2)
        return true;
    if (q->len > UINT32_MAX / 4)
        return false;
    uint32_t cap = MAX(MAX(q->cap * 2, q->len + n), (uint32_t)FIFO_MIN);
    uint8_t *grown = mem_realloc(mem, q->p, cap);
    if (grown == NULL)
        return false;
    q->p = grown;
    q->cap = cap;
    return true;
}

static bool fifo_push(struct stomp_fifo *q, struct mem *mem, struct slice id)
{
    uint16_t len = (uint16_t)id.len; /* <= STOMP_LINE_BYTES_MAX */
    if (!fifo_room(q, mem, LEN_BYTES + len))
        return false;
    memcpy(q->p + q->len, &len, LEN_BYTES);
    if (len != 0)
        memcpy(q->p + q->len + LEN_BYTES, id.p, len);
    q->len += LEN_BYTES + len;
    return true;
}

/* fifo_pop: the oldest id; good until the next push or trim. */
static struct slice fifo_pop(struct stomp_fifo *q)
{
    uint16_t len;
    BUG_ON(q->len - q->at < LEN_BYTES); /* invariant 1 */
    memcpy(&len, q->p + q->at, LEN_BYTES);
    struct slice id = slice_make(q->p + q->at + LEN_BYTES, len);
    q->at += LEN_BYTES + len;
    return id;
}

static void fifo_trim(struct stomp_fifo *q, struct mem *mem)
{
    if (q->at != q->len)
        return;
    q->at = q->len = 0;
    if (q->cap <= FIFO_KEEP)
        return;
    mem_free(mem, q->p);
    *q = (struct stomp_fifo){0};
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

bool stomp_receipt_ask(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind, uint64_t *out)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    if (stomp_frame_get(f, STOMP_H_RECEIPT, buf, sizeof buf, &id) != ERR_OK) {
        *out = kind == STOMP_FOR_OTHER ? RECEIPT_NONE : kind;
        return true;
    }
    *out = kind | STOMP_RECEIPT_HAS_ID;
    if (fifo_push(&s->receipts, conn_mem(c), id))
        return true;
    stomp_nomem(c);
    return false;
}

void stomp_answer(struct conn *c, const struct stomp_frame *f)
{
    uint64_t receipt;
    if (stomp_receipt_ask(c, f, STOMP_FOR_OTHER, &receipt))
        broker_barrier(c, receipt);
}

/* ---- answering ------------------------------------------------------------------------------------------------- */

/* put_receipt: rejected: NULL, or why this SEND with reject:receipt was not stored. */
static void put_receipt(struct conn *c, struct slice id, const char *rejected)
{
    const struct stomp_conn *s = stomp_state(c);
    struct outv *o = conn_out(c);
    if (o == NULL)
        return;
    struct slice reason = slice_from_str(rejected != NULL ? rejected : "");
    size_t cap = STOMP_WRITE_FIXED_MAX + stomp_header_bound(10, id.len) + stomp_header_bound(8, 8) +
                 stomp_header_bound(8, reason.len);
    uint8_t *room = outv_room(o, cap);
    if (room == NULL)
        return;
    struct stomp_writer w;
    stomp_write_begin(&w, room, cap, (enum stomp_version)s->version, STOMP_CMD_RECEIPT);
    stomp_write_known(&w, STOMP_H_RECEIPT_ID, id);
    if (rejected != NULL) {
        stomp_write_known(&w, STOMP_H_X_RESULT, SLICE("rejected"));
        stomp_write_known(&w, STOMP_H_X_REASON, reason);
    }
    ptrdiff_t n = stomp_write_end(&w, STOMP_LENGTH_NONE);
    BUG_ON(n <= 0);
    room[n] = '\0';
    outv_wrote(o, (size_t)n + 1);
    stat_add(&c->shard->stats, STAT_CONTROL_OUT, 1);
}

/* rejected_text: x-reason of a refusal that reject:receipt turns into an answer; NULL: an ERROR all the same. */
static const char *rejected_text(enum err result)
{
    return result == ERR_FULL ? "full" : result == ERR_NOMEM ? "no-memory" : result == ERR_STORE ? "store" : NULL;
}

static bool is_yes(enum stomp_receipt_kind kind, enum err result)
{
    return result == ERR_OK || (kind == STOMP_FOR_SEND && result == ERR_NO_MATCH);
}

void stomp_on_settled(struct conn *c, uint64_t receipt, enum err result)
{
    struct stomp_conn *s = stomp_state(c);
    enum stomp_receipt_kind kind = (enum stomp_receipt_kind)(receipt & 0xff);
    struct slice id = {0};
    bool has_id = (receipt & STOMP_RECEIPT_HAS_ID) != 0;
    if (has_id)
        id = fifo_pop(&s->receipts);
    const char *rejected = (receipt & STOMP_RECEIPT_ASKS) != 0 ? rejected_text(result) : NULL;
    if (UNLIKELY(!is_yes(kind, result) && rejected == NULL))
        stomp_error_receipt(c, has_id ? &id : NULL, stomp_fault_from_err(result));
    else if (has_id)
        put_receipt(c, id, rejected);
    fifo_trim(&s->receipts, conn_mem(c));
    if (kind == STOMP_FOR_GOODBYE) /* STOMP 1.2 §DISCONNECT: its RECEIPT is the last frame */
        conn_close(c, CLOSE_GOODBYE);
}
