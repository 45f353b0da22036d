/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_guess.c: what is spoken in this WebSocket?
 *
 *     upgrade without subprotocol ─► ws_guess ─► first bytes ─► claims of each way ─┬─► yes: the pipe is told how that
 *                                                                                   │   way speaks, conn_restack, and
 *                                                                                   │   the same bytes go on there
 *                                                                                   └─► no: close frame, the end
 *
 * Libraries that know one protocol only often name none (they were written for servers that do not look). STOMP may
 * come like that. MQTT may not: its specification demands the name, so only a lenient door listens to it.
 *
 * Invariants
 *   1. Nothing is eaten before somebody claimed it but line ends, which are heart-beats.
 *   2. No byte is sent before that.
 * Cost    no state; at most CLAIM_BYTES_MAX bytes are looked at, within the time for the login.
 * Thread  own shard only.
 * Spec    RFC 6455 §1.9, §4.2.2; MQTT 5 §6 and 3.1.1 §6; docs/mapping.md, "STOMP rules".
 */
#include "transport/ws_guess.h"

#include "core/base/log.h"
#include "core/conn.h"
#include "transport/http_upgrade.h"
#include "transport/ws.h"
#include "transport/ws_codec.h"

static bool may_be_unnamed(const struct door *d, const struct upgrade_way *w)
{
    return d->is_lenient || !w->must_be_named; /* [MQTT-6.0.0-3] 3.1.1: [MQTT-6.0.0-3] */
}

bool ws_guess_can(const struct door *d)
{
    for (const struct upgrade_way *w = d->upgrade->way; w->subprotocol != NULL; w++) {
        if (may_be_unnamed(d, w))
            return true;
    }
    return false;
}

/* look: whose are the first bytes in[len]? NULL with *out_more when more are needed to tell. */
static const struct upgrade_way *look(const struct upgrade_way *w, const uint8_t *in, size_t len, bool *out_more)
{
    *out_more = false;
    for (; w->subprotocol != NULL; w++) {
        enum claim answer = w->adapter->claims(in, MIN(len, (size_t)CLAIM_BYTES_MAX));
        if (answer == CLAIM_YES)
            return w;
        *out_more |= answer == CLAIM_MORE && len < CLAIM_BYTES_MAX;
    }
    return NULL;
}

static void refuse(struct conn *c, uint16_t code, enum close_reason why, const char *text)
{
    char peer[96];
    conn_peer(c, peer, sizeof(peer));
    log_line(conn_log(c), LOG_NOTICE, "%s WebSocket without a subprotocol closed, %u: %s", peer, (unsigned)code, text);
    transport_ws_breach(c->transport, code);
    conn_close(c, why);
}

static enum err guess_open(struct conn *c)
{
    BUG_ON(c->door->upgrade == NULL);
    return ERR_OK;
}

static size_t guess_on_bytes(struct conn *c, const uint8_t *in, size_t len)
{
    size_t skip = 0;
    bool more;
    while (skip < len && (in[skip] == '\n' || in[skip] == '\r'))
        skip++;
    if (skip == len)
        return len;
    const struct upgrade_way *w = look(c->door->upgrade->way, in + skip, len - skip, &more);
    if (w == NULL && more)
        return skip;
    if (w == NULL) {
        refuse(c, WS_CLOSE_PROTOCOL, CLOSE_UNKNOWN_PROTOCOL, "its first bytes are of no protocol spoken here");
    } else if (!may_be_unnamed(c->door, w)) {
        refuse(c, WS_CLOSE_PROTOCOL, CLOSE_PROTOCOL, "ask for the subprotocol mqtt"); /* [MQTT-6.0.0-3] */
    } else if (w->frames == WS_FRAMES_BINARY && transport_ws_has_text(c->transport)) {
        refuse(c, WS_CLOSE_UNACCEPTABLE, CLOSE_PROTOCOL, "text where only binary is spoken"); /* [MQTT-6.0.0-1] */
    } else {
        transport_ws_cut(c->transport, w->unit);
        transport_ws_frames(c->transport, w->frames);
        conn_restack(c, c->transport, w->adapter);
        return conn_is_closing(c) ? len : skip + w->adapter->on_bytes(c, in + skip, len - skip);
    }
    return len;
}

static mono_ms guess_on_tick(struct conn *c, mono_ms now)
{
    UNUSED(c), UNUSED(now);
    return MONO_NEVER; /* until the login, the connection watches the time itself */
}

static void guess_on_close(struct conn *c, enum close_reason why)
{
    UNUSED(c), UNUSED(why); /* the pipe says goodbye */
}

static void guess_destroy(struct conn *c)
{
    UNUSED(c);
}

static enum claim guess_claims(const uint8_t *first, size_t len)
{
    UNUSED(first), UNUSED(len);
    return CLAIM_NO;
}

const struct adapter_ops ws_guess_adapter = {
    .name = "ws",
    .claims = guess_claims,
    .open = guess_open,
    .on_bytes = guess_on_bytes,
    .on_tick = guess_on_tick,
    .on_close = guess_on_close,
    .destroy = guess_destroy,
};
