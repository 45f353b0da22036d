/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_receipt.c: what the broker's verbs answer, as RECEIPT frames, or as ERROR when the answer is no.
 *
 *     frame with receipt:abc ─► fifo "abc" ─► verb(receipt number) ─ ─ ► on_settled ─► fifo "abc" ─► RECEIPT
 * receipt-id:abc
 *
 * What else a RECEIPT says lies behind its id in the fifo (/manage/), or is found out when it is due (a refusal).
 *
 * Receipt ids are strings of the peer's, core's receipts are numbers. Core answers in the order of the verbs, so the
 * strings wait in one queue of bytes and the number only says whether one of them belongs to it.
 *
 * Invariants
 *   1. The fifo holds exactly the ids of verbs that were not answered yet, in order.
 *   2. A SEND, COMMIT or SUBSCRIBE always has a number: a refusal must be said even if nobody asked for a receipt.
 *   3. An empty fifo keeps at most FIFO_KEEP bytes.
 *   4. s->refused holds the refusals that were not answered when their verb returned, in order, with the queue's name
 * as it was then: the queue may be gone when the answer is due.
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

/* fifo_push: one record: number (0 or 8 bytes), then text. */
static bool fifo_push(struct stomp_fifo *q, struct mem *mem, struct slice number, struct slice text)
{
    uint16_t len = (uint16_t)(number.len + text.len); /* text.len <= STOMP_LINE_BYTES_MAX */
    if (!fifo_room(q, mem, LEN_BYTES + len))
        return false;
    uint8_t *at = q->p + q->len;
    memcpy(at, &len, LEN_BYTES);
    if (number.len != 0)
        memcpy(at + LEN_BYTES, number.p, number.len);
    if (text.len != 0)
        memcpy(at + LEN_BYTES + number.len, text.p, text.len);
    q->len += LEN_BYTES + len;
    return true;
}

static bool fifo_push_text(struct stomp_fifo *q, struct mem *mem, struct slice text)
{
    return fifo_push(q, mem, SLICE(""), text);
}

/* fifo_pop: the oldest record; good until the next push or trim. */
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

/* STOMP 1.2 §Header receipt: on every frame. */
bool stomp_receipt_ask(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind, uint64_t *out)
{
    struct stomp_conn *s = stomp_state(c);
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice id;
    uint64_t number = ++s->receipt_n << STOMP_RECEIPT_SHIFT | (uint64_t)kind;
    if (stomp_frame_get(f, STOMP_H_RECEIPT, buf, sizeof buf, &id) != ERR_OK) {
        *out = kind == STOMP_FOR_OTHER ? RECEIPT_NONE : number;
        return true;
    }
    *out = number | STOMP_RECEIPT_HAS_ID;
    if (fifo_push_text(&s->receipts, conn_mem(c), id))
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

bool stomp_receipt_say(struct conn *c, const struct stomp_frame *f, enum stomp_receipt_kind kind,
                       const struct stomp_saying *says, uint64_t *out)
{
    struct stomp_conn *s = stomp_state(c);
    struct mem *mem = conn_mem(c);
    if (!stomp_receipt_ask(c, f, kind, out))
        return false;
    if (*out == RECEIPT_NONE || (*out & STOMP_RECEIPT_HAS_ID) == 0)
        return true; /* nobody will hear it */
    *out |= STOMP_RECEIPT_SAYS;
    if (fifo_push_text(&s->receipts, mem, says->name) && fifo_push_text(&s->receipts, mem, says->value))
        return true;
    stomp_nomem(c);
    return false;
}

/* ---- who refused ----------------------------------------------------------------------------------------------- */

/* refused_name: of the queue that refused the running verb; empty: none did, or it has no name to show. */
static struct slice refused_name(const struct conn *c)
{
    const struct queue *q = broker_refused(c);
    return q != NULL && !q->is_group && !q->is_dsub ? queue_name(q) : SLICE("");
}

void stomp_refused_keep(struct conn *c, uint64_t receipt)
{
    struct stomp_conn *s = stomp_state(c);
    struct slice name = refused_name(c);
    if (name.len == 0 || s->refusal_said == receipt)
        return;
    if (!fifo_push(&s->refused, conn_mem(c), slice_make(&receipt, sizeof receipt), name))
        stomp_nomem(c);
}

/* refused_by: the name for the answer to this receipt; good until the next keep or trim. Core forgets who refused
 * before it answers later than the verb. */
static struct slice refused_by(const struct conn *c, struct stomp_conn *s, uint64_t receipt)
{
    struct slice name = refused_name(c);
    uint64_t first;
    if (name.len != 0 || s->refused.at == s->refused.len)
        return name;
    memcpy(&first, s->refused.p + s->refused.at + LEN_BYTES, sizeof first);
    return first == receipt ? slice_skip(fifo_pop(&s->refused), sizeof first) : name;
}

/* reason_text: x-reason of a refusal; NULL: the message was not refused but wrong, or may not be there. */
static const char *reason_text(enum stomp_receipt_kind kind, enum err result)
{
    if (kind != STOMP_FOR_SEND)
        return NULL;
    return result == ERR_FULL ? "full" : result == ERR_NOMEM ? "no-memory" : result == ERR_STORE ? "store" : NULL;
}

/* ---- answering ------------------------------------------------------------------------------------------------- */

/* What a RECEIPT says. */
struct answer {
    struct slice id;
    struct slice name, value; /* one more header; empty name: none */
    const char *rejected;     /* NULL: it was done; else why not: reject:receipt */
    struct slice queue;       /* who would not have it */
};

static void put_headers(struct stomp_writer *w, const struct answer *a)
{
    stomp_write_known(w, STOMP_H_RECEIPT_ID, a->id);
    if (a->rejected != NULL) {
        stomp_write_known(w, STOMP_H_X_RESULT, SLICE("rejected"));
        if (a->queue.len != 0)
            stomp_write_known(w, STOMP_H_X_QUEUE, a->queue);
        stomp_write_known(w, STOMP_H_X_REASON, slice_from_str(a->rejected));
    }
    if (a->name.len != 0)
        stomp_write_header(w, a->name, a->value);
}

/* put_receipt: STOMP 1.2 §RECEIPT */
static void put_receipt(struct conn *c, const struct answer *a)
{
    const struct stomp_conn *s = stomp_state(c);
    enum { REJECTED_BOUND = 128 }; /* x-result and x-reason, which are ours */
    struct outv *o = conn_out(c);
    if (o == NULL)
        return;
    size_t cap = STOMP_WRITE_FIXED_MAX + stomp_header_bound(10, a->id.len) + REJECTED_BOUND +
                 stomp_header_bound(7, a->queue.len) + stomp_header_bound(a->name.len, a->value.len);
    uint8_t *room = outv_room(o, cap);
    if (room == NULL)
        return;
    struct stomp_writer w;
    stomp_write_begin(&w, room, cap, (enum stomp_version)s->version, STOMP_CMD_RECEIPT);
    put_headers(&w, a);
    ptrdiff_t n = stomp_write_end(&w, STOMP_LENGTH_NONE);
    BUG_ON(n <= 0);
    room[n] = '\0';
    outv_wrote(o, (size_t)n + 1);
    stat_add(&c->shard->stats, STAT_CONTROL_OUT, 1);
}

static bool is_yes(enum stomp_receipt_kind kind, enum err result)
{
    return result == ERR_OK || (kind == STOMP_FOR_SEND && result == ERR_NO_MATCH);
}

static enum stomp_fault fault_of(enum stomp_receipt_kind kind, enum err result)
{
    if (result == ERR_FULL && kind != STOMP_FOR_SEND)
        return kind == STOMP_FOR_DELETE ? STOMP_FAULT_IN_USE : STOMP_FAULT_AT_LIMIT;
    return stomp_fault_from_err(result);
}

/* refuse: RECEIPT with x-result:rejected for those who asked for that, else ERROR. */
static void refuse(struct conn *c, uint64_t receipt, enum err result, struct answer *a)
{
    struct stomp_conn *s = stomp_state(c);
    enum stomp_receipt_kind kind = (enum stomp_receipt_kind)(receipt & 0xff);
    const char *reason = reason_text(kind, result);
    a->queue = reason != NULL ? refused_by(c, s, receipt) : SLICE("");
    s->refusal_said = receipt;
    if ((receipt & STOMP_RECEIPT_ASKS) != 0 && reason != NULL) {
        a->rejected = reason;
        put_receipt(c, a);
    } else {
        const struct stomp_refusal more = {.queue = a->queue, .reason = reason, .detail = s->about};
        const struct slice *id = (receipt & STOMP_RECEIPT_HAS_ID) != 0 ? &a->id : NULL;
        stomp_error_receipt(c, id, fault_of(kind, result), &more);
    }
    fifo_trim(&s->refused, conn_mem(c));
}

/* answer: something must be said, or the connection ends with this. */
static void answer(struct conn *c, uint64_t receipt, enum err result, bool yes)
{
    struct stomp_conn *s = stomp_state(c);
    bool has_id = (receipt & STOMP_RECEIPT_HAS_ID) != 0;
    struct answer a = {0};
    if (has_id)
        a.id = fifo_pop(&s->receipts);
    if ((receipt & STOMP_RECEIPT_SAYS) != 0) {
        a.name = fifo_pop(&s->receipts);
        a.value = fifo_pop(&s->receipts);
    }
    if (!yes)
        refuse(c, receipt, result, &a);
    else if (has_id)
        put_receipt(c, &a);
    fifo_trim(&s->receipts, conn_mem(c));
}

void stomp_on_settled(struct conn *c, uint64_t receipt, enum err result)
{
    enum stomp_receipt_kind kind = (enum stomp_receipt_kind)(receipt & 0xff);
    bool yes = is_yes(kind, result);
    if ((receipt & STOMP_RECEIPT_HAS_ID) != 0 || !yes)
        answer(c, receipt, result, yes);
    if (kind == STOMP_FOR_GOODBYE) /* STOMP 1.2 §DISCONNECT: its RECEIPT is the last frame */
        conn_close(c, CLOSE_GOODBYE);
}
