/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_error.c: ERROR frames: the only thing a STOMP server says when it will not go on.
 *
 *     ERROR
 *     message:Missing header                    RabbitMQ's text where it has one
 *     x-code:missing-header                     stable, for programs
 *     receipt-id:7                              of the frame that caused it, if it asked for a receipt
 *     x-queue:jobs                              x-code:rejected: the queue that would not have it
 *     x-reason:full                             and why
 *     content-type:text/plain
 *     content-length:52
 *
 *     The frame must include the header: 'message-id'.
 *
 * An ERROR always ends the connection; that the peer can still read it is core's business (lingering).
 *
 * Invariants
 *   1. At most one ERROR per connection, and it is the last frame.
 *   2. Nothing from a peer goes out uncleaned: what is not printable UTF-8 becomes '?', and is cut to DETAIL_MAX.
 * Cost    cold.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §ERROR, §Connection Lingering.
 */
#include "proto_stomp/stomp_error.h"

#include <stdio.h>

#include "core/base/log.h"
#include "core/base/utf8.h"
#include "core/shard.h"
#include "core/topology.h"
#include "proto_stomp/stomp_conn.h"

enum {
    DETAIL_MAX = 200,
    BODY_MAX = 1024,
    HEADERS_BOUND = 512, /* message, x-code, x-reason, version, content-type, all of them ours */
};

static const struct {
    const char *code, *message, *body;
    enum close_reason why;
} texts[STOMP_FAULT_N] = {
#define X(name, code, close, message, body) [STOMP_FAULT_##name] = {code, message, body, CLOSE_##close},
    STOMP_FAULT_LIST(X)
#undef X
};

/* What an ERROR is made of. */
struct words {
    enum stomp_fault why;
    const char *body;
    struct slice detail;
    const struct slice *receipt; /* NULL: none */
    struct slice queue;          /* x-queue; empty: none */
    const char *reason;          /* x-reason; NULL: none */
};

/* clean: detail as text that is safe in a body, at most DETAIL_MAX bytes; returns its length. */
static size_t clean(struct slice detail, char *out)
{
    size_t n = MIN(detail.len, (size_t)DETAIL_MAX);
    while (n < detail.len && n > 0 && (detail.p[n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    bool is_text = utf8_is_valid(detail.p, n);
    for (size_t i = 0; i < n; i++) {
        uint8_t b = detail.p[i];
        out[i] = b < 0x20 || b == 0x7f || (b >= 0x80 && !is_text) ? '?' : (char)b;
    }
    return n;
}

static size_t put_body(const struct words *e, char out[BODY_MAX])
{
    char detail[DETAIL_MAX];
    size_t n = clean(e->detail, detail);
    int len = n == 0 ? snprintf(out, BODY_MAX, "%s.\n", e->body)
                     : snprintf(out, BODY_MAX, "%s: '%.*s'.\n", e->body, (int)n, detail);
    return (size_t)len < BODY_MAX ? (size_t)len : BODY_MAX - 1u;
}

static void log_error(struct conn *c, const char *message, size_t body_len, const char *body)
{
    char peer[96];
    conn_peer(c, peer, sizeof peer);
    log_line(conn_log(c), LOG_NOTICE, "%s stomp error: %s: %.*s", peer, message, (int)body_len - 1, body);
}

/* put_headers: all but content-length. */
static void put_headers(struct stomp_writer *w, const struct words *e)
{
    stomp_write_known(w, STOMP_H_MESSAGE, slice_from_str(texts[e->why].message));
    stomp_write_known(w, STOMP_H_X_CODE, slice_from_str(texts[e->why].code));
    if (e->receipt != NULL)
        stomp_write_known(w, STOMP_H_RECEIPT_ID, *e->receipt); /* STOMP 1.2 §ERROR */
    if (e->queue.len != 0)
        stomp_write_known(w, STOMP_H_X_QUEUE, e->queue);
    if (e->reason != NULL)
        stomp_write_known(w, STOMP_H_X_REASON, slice_from_str(e->reason));
    if (e->why == STOMP_FAULT_VERSION)
        stomp_write_known(w, STOMP_H_VERSION, SLICE("1.0,1.1,1.2")); /* STOMP 1.2 §Protocol Negotiation */
    stomp_write_known(w, STOMP_H_CONTENT_TYPE, SLICE("text/plain"));
}

/* say: puts the frame into the output. */
static void say(struct conn *c, const struct words *e)
{
    struct stomp_conn *s = stomp_state(c);
    struct outv *o = s->has_erred ? NULL : conn_out(c);
    if (o == NULL)
        return;
    char body[BODY_MAX];
    size_t body_len = put_body(e, body);
    size_t receipt_len = e->receipt != NULL ? e->receipt->len : 0;
    size_t cap = STOMP_WRITE_FIXED_MAX + HEADERS_BOUND + stomp_header_bound(10, receipt_len) +
                 stomp_header_bound(7, e->queue.len) + body_len;
    uint8_t *room = outv_room(o, cap);
    if (room == NULL)
        return;
    struct stomp_writer w;
    stomp_write_begin(&w, room, cap, (enum stomp_version)s->version, STOMP_CMD_ERROR);
    put_headers(&w, e);
    ptrdiff_t n = stomp_write_body(&w, slice_make(body, body_len));
    BUG_ON(n <= 0);
    outv_wrote(o, (size_t)n);
    stat_add(&c->shard->stats, STAT_CONTROL_OUT, 1);
    s->has_erred = true;
    log_error(c, texts[e->why].message, body_len, body);
}

static void fail(struct conn *c, const struct words *e)
{
    if (conn_is_closing(c))
        return;
    say(c, e);
    conn_close(c, texts[e->why].why);
}

void stomp_error(struct conn *c, const struct stomp_frame *f, enum stomp_fault why, struct slice detail)
{
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    struct slice receipt;
    bool has_receipt = f != NULL && stomp_frame_get(f, STOMP_H_RECEIPT, buf, sizeof buf, &receipt) == ERR_OK;
    fail(c, &(struct words){
                .why = why, .body = texts[why].body, .detail = detail, .receipt = has_receipt ? &receipt : NULL});
}

void stomp_error_receipt(struct conn *c, const struct slice *receipt, enum stomp_fault why,
                         const struct stomp_refusal *more)
{
    fail(c, &(struct words){.why = why,
                            .body = texts[why].body,
                            .detail = more->detail,
                            .receipt = receipt,
                            .queue = more->queue,
                            .reason = more->reason});
}

/* fault_for_declared: a queue that is there belongs to another session; a name of the broker's may not be made. */
static enum stomp_fault fault_for_declared(const struct conn *c, enum stomp_declared what, struct slice name,
                                           enum err e)
{
    if (what == STOMP_AN_EXCHANGE)
        return e == ERR_FULL ? STOMP_FAULT_AT_LIMIT : stomp_fault_from_err(e);
    bool is_ours = slice_starts_with(name, SLICE("amq.")) && map_get(&c->session->vhost->queues, name) == NULL;
    if (e == ERR_DENIED && is_ours)
        return STOMP_FAULT_DENIED;
    return stomp_fault_for_queue(e);
}

void stomp_error_declared(struct conn *c, const struct stomp_frame *f, enum stomp_declared what, struct slice name,
                          const struct declared *d)
{
    if (d->err != ERR_EXISTS) {
        stomp_error(c, f, fault_for_declared(c, what, name, d->err), name);
        return;
    }
    uint8_t buf[STOMP_LINE_BYTES_MAX];
    char body[BODY_MAX], quoted[DETAIL_MAX], has[DETAIL_MAX], wants[DETAIL_MAX];
    struct slice receipt;
    int name_len = (int)clean(name, quoted), has_len = (int)clean(slice_from_str(d->has), has);
    int wants_len = (int)clean(slice_from_str(d->wants), wants);
    bool has_receipt = f != NULL && stomp_frame_get(f, STOMP_H_RECEIPT, buf, sizeof buf, &receipt) == ERR_OK;
    (void)snprintf(
        body, sizeof body, /* RabbitMQ's words */
        "PRECONDITION_FAILED - inequivalent arg '%s' for %s '%.*s' in vhost '/': received '%.*s' but current "
        "is '%.*s'",
        d->differs, what == STOMP_A_QUEUE ? "queue" : "exchange", name_len, quoted, wants_len, wants, has_len, has);
    fail(c, &(struct words){.why = STOMP_FAULT_DIFFERS, .body = body, .receipt = has_receipt ? &receipt : NULL});
}

void stomp_error_u64(struct conn *c, const struct stomp_frame *f, enum stomp_fault why, uint64_t detail)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)detail);
    stomp_error(c, f, why, slice_make(text, (size_t)n));
}

enum stomp_fault stomp_fault_from_err(enum err e)
{
    switch (e) {
    case ERR_DENIED:
        return STOMP_FAULT_DENIED;
    case ERR_NOT_FOUND:
        return STOMP_FAULT_NOT_FOUND;
    case ERR_EXISTS:
        return STOMP_FAULT_DIFFERS;
    case ERR_TOO_BIG:
    case ERR_INVALID:
        return STOMP_FAULT_DEST_TOO_BIG;
    case ERR_UNSUPPORTED:
        return STOMP_FAULT_NO_RETAIN;
    case ERR_STORE:
        return STOMP_FAULT_STORE;
    case ERR_NOMEM:
        return STOMP_FAULT_NOMEM;
    default:
        return STOMP_FAULT_REJECTED;
    }
}

enum stomp_fault stomp_fault_for_queue(enum err e)
{
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        return STOMP_FAULT_NO_QUEUE;
    if (e == ERR_DENIED)
        return STOMP_FAULT_LOCKED;
    return e == ERR_FULL ? STOMP_FAULT_QUEUE_LIMIT : stomp_fault_from_err(e);
}

/* fault_from_close: what a close that no frame caused is called; NONE: the peer is told nothing. */
static enum stomp_fault fault_from_close(enum close_reason why)
{
    switch (why) {
    case CLOSE_NONE:
    case CLOSE_GOODBYE:
    case CLOSE_GOODBYE_WILL:
    case CLOSE_EOF:
    case CLOSE_RESET:
        return STOMP_FAULT_NONE;
    case CLOSE_LOGIN_TIMEOUT:
        return STOMP_FAULT_LOGIN_TIMEOUT;
    case CLOSE_SHUTDOWN:
        return STOMP_FAULT_SHUTDOWN;
    case CLOSE_TAKEN_OVER:
        return STOMP_FAULT_TAKEN_OVER;
    case CLOSE_SLOW:
        return STOMP_FAULT_SLOW;
    case CLOSE_ADMIN:
        return STOMP_FAULT_ADMIN;
    default:
        return STOMP_FAULT_CLOSED;
    }
}

void stomp_error_close(struct conn *c, enum close_reason why)
{
    if (!conn_can_say(c))
        return;
    if (why == CLOSE_TOO_BIG) { /* core's own: more than login_bytes before the login */
        say(c, &(struct words){.why = STOMP_FAULT_TOO_BIG,
                               .body = "The first frame is larger than is allowed before the login"});
        return;
    }
    enum stomp_fault fault = fault_from_close(why);
    if (fault != STOMP_FAULT_NONE)
        say(c, &(struct words){.why = fault, .body = close_text(why)});
}
