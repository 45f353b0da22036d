/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stomp_adapter.c: STOMP on the adapter seam: bytes to frames, frames to the function that knows them; heart-beats; the
 * last words.
 *
 *     on_bytes ─► stomp_frame_decode ─┬─ SEND ───────────────────► stomp_send_in ─► broker_publish
 *                                     ├─ SUBSCRIBE, UNSUBSCRIBE ─► stomp_subscribe.c, stomp_unsubscribe.c
 *                                     ├─ ACK, NACK ──────────────► stomp_ack_in ─► broker_settle
 *                                     ├─ BEGIN, COMMIT, ABORT ───► stomp_tx.c
 *                                     └─ DISCONNECT ─────────────► barrier ─► RECEIPT ─► close
 *     FRESH ──CONNECT──► LOGIN ──on_attached──► READY ──DISCONNECT──► LEAVING ──► closed
 *
 * Whoever finds a fault calls stomp_error, which says ERROR and closes, and returns.
 *
 * Invariants
 *   1. No frame but CONNECT or STOMP is looked at before CONNECTED; bytes behind CONNECT wait in core until then.
 *   2. After ERROR or DISCONNECT no further frame is looked at.
 *   3. Every client frame but CONNECT that asks for a receipt gets RECEIPT, in order, or the connection ends.
 * Cost    about 250 bytes per connection; a SEND to the destination of the one before allocates nothing.
 * Thread  the shard's own.
 * Spec    STOMP 1.2 §Connecting, §Heart-beating, §Client Frames, §DISCONNECT, §ERROR.
 */
#include "proto_stomp/stomp_adapter.h"

#include "core/loop.h"
#include "core/shard.h"
#include "proto_stomp/stomp_conn.h"

/* ---- claims ---------------------------------------------------------------------------------------------------- */

/* claims: a command that a STOMP client sends, and a line end. Also those that are wrong as the first one: better an
 * ERROR that says so than silence. HTTP has a blank behind its words, MQTT starts with 0x10, TLS with 0x16. 14 bytes
 * decide. */
static enum claim claims(const uint8_t *first, size_t len)
{
    struct slice text = {first, len};
    ptrdiff_t end = slice_find(text, '\n');
    if (end >= 0) {
        text.len = (size_t)end;
        if (text.len > 0 && first[text.len - 1] == '\r')
            text.len--;
        return stomp_command_from_text(text) == STOMP_CMD_EOL ? CLAIM_NO : CLAIM_YES;
    }
    if (first[len - 1] == '\r')
        text.len--;
    for (unsigned i = STOMP_CMD_EOL + 1; i < STOMP_CMD_N; i++) {
        struct slice name = stomp_command_text((enum stomp_command)i);
        bool is_whole = text.len < len; /* a CR came */
        if (is_whole ? slice_eq(name, text) : slice_starts_with(name, text))
            return CLAIM_MORE;
    }
    return CLAIM_NO;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

void stomp_nomem(struct conn *c)
{
    stomp_error(c, NULL, STOMP_FAULT_NOMEM, SLICE(""));
}

/* limits_of: STOMP 1.2 §Size Limits */
static void limits_of(const struct conn *c, struct stomp_limits *out)
{
    const struct limits *l = &c->shard->limits;
    const struct stomp_conn *s = stomp_state(c);
    *out = (struct stomp_limits){
        .command_bytes = STOMP_COMMAND_BYTES_MAX,
        .headers_n = STOMP_HEADERS_MAX,
        .line_bytes = STOMP_LINE_BYTES_MAX,
        .head_bytes = STOMP_HEAD_BYTES_MAX,
        .body_bytes = l->stomp_body_bytes_max,
    };
    if (s->phase == STOMP_FRESH)
        out->head_bytes = (uint32_t)MIN(l->login_bytes_max, (uint64_t)STOMP_HEAD_BYTES_MAX);
}

/* undecodable: in[len] starts with a frame that cannot be: why it was refused by these limits and this version. */
static void undecodable(struct conn *c, const struct slice *in, const struct stomp_limits *lim, enum stomp_version v,
                        enum err e)
{
    struct stomp_frame front; /* with its receipt header, if that came before the fault. STOMP 1.2 §ERROR */
    struct slice line = {in->p, MIN(in->len, (size_t)STOMP_COMMAND_BYTES_MAX)};
    ptrdiff_t end = slice_find(line, '\n');
    if (end >= 0)
        line.len = (size_t)end;
    if (v == STOMP_1_2 && line.len > 0 && in->p[line.len - 1] == '\r') /* it ends a line in no other version */
        line.len--;
    stomp_frame_front(in->p, in->len, lim, v, &front);
    if (e == ERR_TOO_BIG)
        stomp_error_u64(c, &front, STOMP_FAULT_TOO_BIG, conn_limits(c)->stomp_body_bytes_max);
    else if (e != ERR_PROTOCOL)
        stomp_error(c, &front, STOMP_FAULT_MALFORMED, SLICE(""));
    else if (stomp_command_from_text(line) == STOMP_CMD_EOL)
        stomp_error(c, &front, STOMP_FAULT_COMMAND, line);
    else
        stomp_error(c, &front, STOMP_FAULT_BODY, line); /* STOMP 1.2 §Body */
}

static void disconnect_in(struct conn *c, const struct stomp_frame *f)
{
    struct stomp_conn *s = stomp_state(c);
    uint64_t receipt;
    if (!stomp_receipt_ask(c, f, STOMP_FOR_GOODBYE, &receipt))
        return;
    s->phase = STOMP_LEAVING;
    stomp_txs_abort(c); /* STOMP 1.2 §BEGIN: what was not committed when it ends is aborted */
    conn_hush(c);
    broker_barrier(c, receipt); /* STOMP 1.2 §DISCONNECT: when everything before it was answered */
}

/* frame_in: every frame but SEND, once the peer is logged in. STOMP 1.2 §Client Frames: others are an ERROR. */
static void frame_in(struct conn *c, const struct stomp_frame *f)
{
    switch (f->command) {
    case STOMP_CMD_SUBSCRIBE:
        stomp_subscribe_in(c, f);
        return;
    case STOMP_CMD_UNSUBSCRIBE:
        stomp_unsubscribe_in(c, f);
        return;
    case STOMP_CMD_ACK:
    case STOMP_CMD_NACK:
        stomp_ack_in(c, f);
        return;
    case STOMP_CMD_BEGIN:
        stomp_begin_in(c, f);
        return;
    case STOMP_CMD_COMMIT:
        stomp_commit_in(c, f);
        return;
    case STOMP_CMD_ABORT:
        stomp_abort_in(c, f);
        return;
    case STOMP_CMD_DISCONNECT:
        disconnect_in(c, f);
        return;
    case STOMP_CMD_CONNECT:
    case STOMP_CMD_STOMP:
        stomp_error(c, f, STOMP_FAULT_LOGIN_TWICE, SLICE(""));
        return;
    default:
        stomp_error(c, f, STOMP_FAULT_SERVER_COMMAND, stomp_command_text(f->command));
        return;
    }
}

/* first_in: STOMP 1.2 §CONNECT or STOMP Frame, §Connecting: it comes first. */
static void first_in(struct conn *c, const struct stomp_frame *f)
{
    if (f->command == STOMP_CMD_CONNECT || f->command == STOMP_CMD_STOMP)
        stomp_connect_in(c, f);
    else
        stomp_error(c, f, STOMP_FAULT_LOGIN_FIRST, stomp_command_text(f->command));
}

/* frames_in: as on_bytes; *frame_n grows by the frames in there. */
static inline size_t frames_in(struct conn *c, const uint8_t *in, size_t len, uint64_t *frame_n)
{
    struct stomp_conn *s = stomp_state(c);
    struct stomp_limits lim;
    limits_of(c, &lim);
    size_t at = 0;
    while (at < len && !conn_is_closing(c)) {
        struct stomp_frame f;
        if (UNLIKELY(s->phase == STOMP_LOGIN))
            return at;
        if (UNLIKELY(s->phase == STOMP_LEAVING))
            return len;
        bool is_first = s->phase == STOMP_FRESH;
        enum stomp_version v = is_first ? STOMP_VERSION_BEST : (enum stomp_version)s->version;
        ptrdiff_t n = stomp_frame_decode(in + at, len - at, &lim, v, &s->scan, &f);
        if (UNLIKELY(n <= 0)) {
            if (n == 0) {
                conn_need(c, (size_t)f.total);
                return at;
            }
            undecodable(c, &(struct slice){in + at, len - at}, &lim, v, (enum err) - n);
            break;
        }
        at += (size_t)n;
        *frame_n += f.command != STOMP_CMD_EOL; /* STOMP 1.2 §Heart-beating: a line end is no frame */
        if (LIKELY(f.command == STOMP_CMD_SEND && !is_first))
            stomp_send_in(c, &f);
        else if (f.command != STOMP_CMD_EOL && !is_first)
            frame_in(c, &f);
        else if (f.command != STOMP_CMD_EOL) {
            first_in(c, &f);
            limits_of(c, &lim); /* they may be wider now */
        }
    }
    return conn_is_closing(c) ? len : at;
}

static size_t on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    uint64_t n = 0;
    size_t eaten = frames_in(c, in, len, &n);
    stat_add(&c->shard->stats, STAT_FRAMES_IN, n);
    return eaten;
}

/* ---- heart-beats ----------------------------------------------------------------------------------------------- */

/* listen_due: when the peer's silence is too long; twice the interval is allowed. Silence while we do not read is ours.
 */
static mono_ms listen_due(const struct conn *c, struct stomp_conn *s, mono_ms now)
{
    if (s->beat_in_ms == 0)
        return MONO_NEVER;
    if ((c->interest & LOOP_READ) == 0)
        s->paused_at = now;
    return MAX(c->rx_at, s->paused_at) + 2ull * s->beat_in_ms;
}

/* beat: says that we are there. A little early, so that what the peer measures is never later than agreed. */
static mono_ms beat(struct conn *c, const struct stomp_conn *s, mono_ms now)
{
    if (s->beat_out_ms == 0)
        return MONO_NEVER;
    mono_ms every = s->beat_out_ms - s->beat_out_ms / 10;
    if (now < c->tx_at + every)
        return c->tx_at + every;
    struct outv *o = c->out == NULL ? conn_out(c) : NULL; /* whatever waits to be sent is a sign of life as well */
    if (o != NULL)
        outv_put(o, "\n", 1);
    return now + every;
}

static mono_ms on_tick(struct conn *c, mono_ms now)
{
    struct stomp_conn *s = stomp_state(c);
    if (s->phase != STOMP_READY)
        return MONO_NEVER;
    mono_ms silent = listen_due(c, s, now);
    if (now >= silent) { /* STOMP 1.2 §Heart-beating */
        stomp_error_u64(c, NULL, STOMP_FAULT_SILENT, s->beat_in_ms);
        return MONO_NEVER;
    }
    mono_ms next = beat(c, s, now);
    return MIN(silent, next);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

static enum err on_open(struct conn *c)
{
    struct stomp_conn *s = mem_zalloc(conn_mem(c), sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    *(struct stomp_conn **)conn_state(c) = s;
    s->send_flags = MSG_STOMP | (c->shard->config.stomp_persistent ? MSG_DURABLE : 0);
    map_init(&s->subs, conn_mem(c), stomp_sub_map_key, c->shard->seed);
    return ERR_OK;
}

/* on_release: QoS 2 handshakes are MQTT's; no delivery of a STOMP session has one. */
static void on_release(struct conn *c, uint32_t ticket)
{
    UNUSED(c);
    BUG_ON(ticket == 0);
}

static void on_close(struct conn *c, enum close_reason why)
{
    if (stomp_state(c) == NULL)
        return;
    stomp_txs_abort(c); /* STOMP 1.2 §BEGIN */
    stomp_error_close(c, why);
}

static void destroy(struct conn *c)
{
    struct stomp_conn *s = stomp_state(c);
    struct mem *mem = conn_mem(c);
    if (s == NULL)
        return; /* on_open had no memory */
    stomp_subs_free(c);
    BUG_ON(s->txs != NULL); /* on_close came first */
    stomp_place_free(c, s->place);
    mem_free(mem, s->receipts.p);
    mem_free(mem, s->refused.p);
    mem_free(mem, s->who);
    mem_free(mem, s);
}

const struct adapter_ops stomp_adapter = {
    .name = "stomp",
    .claims = claims,
    .open = on_open,
    .on_bytes = on_bytes,
    .on_attached = stomp_on_attached,
    .on_deliver = stomp_on_deliver,
    .on_release = on_release,
    .on_settled = stomp_on_settled,
    .on_consumer_gone = stomp_on_consumer_gone,
    .on_tick = on_tick,
    .on_close = on_close,
    .destroy = destroy,
};
