/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_WS_H
#define WEIR_TRANSPORT_WS_H

/*
 * ws.h: a WebSocket, seen from the server, as a pipe on another pipe (tcp, unix, later tls). It carries bytes: where
 * frames and messages begin is not seen above [MQTT-6.0.0-2] (3.1.1: [MQTT-6.0.0-2]). The upgrade itself is
 * transport/http_upgrade.h's.
 *
 *     ws_home_init ─► transport_ws_new *, pipes live and are destroyed ─► ws_home_fini
 *
 * What recv says beyond bytes: ERR_EOF after the peer's close frame, which was answered; ERR_PROTOCOL and ERR_TOO_BIG
 * after a breach of the rules, for which the peer was sent a close frame with 1002, 1003 (text), 1007 (text that is not
 * UTF-8) or 1009; ERR_RESET also when memory is out. The peer's close frame ends both directions: sendv says ERR_RESET
 * then.
 */

#include <stdbool.h>

#include "core/base/check.h"
#include "core/base/pool.h"
#include "core/base/slice.h"
#include "core/transport.h"

struct mem;

/* What the WebSockets of one loop share. They point to it: it must not move while one lives. owner: app */
struct ws_home {
    struct pool pool;
    uint64_t message_bytes_max;
    bool is_going_away; /* the broker stops: shut() tells 1001 instead of 1000. May be set at any time */
};

/* ws_home_init: no pipe yet, nothing allocated.
 *
 *   mem                 pays for the pipes: 112 bytes each, and for a moment what frames of control need
 *   message_bytes_max   > 0, over all fragments: limits.ws_message_bytes_max
 */
void ws_home_init(struct ws_home *h, struct mem *mem, uint64_t message_bytes_max);

/* ws_home_fini: every pipe must have been destroyed (BUG_ON). */
void ws_home_fini(struct ws_home *h);

/* transport_ws_new: the pipe over `next`, whose peer has asked for a WebSocket.
 *
 *   next    belongs to the new pipe (which sets its up and on_ready) from now on; when this fails it is as before
 *   hello   what goes out before the first frame, as it is: the HTTP answer. Copied; it is offered to `next` at once
 *   first   input that came behind the request already: the first frames. Copied; may be empty
 *
 * NULL when out of memory. The caller attaches it: sets up and on_ready, calls want.
 */
struct transport *transport_ws_new(struct ws_home *home, struct transport *next, struct slice hello,
                                   struct slice first) MUST_CHECK;

/* Which kinds of messages go through it. */
enum ws_frames {
    WS_FRAMES_BINARY, /* binary only: text is a breach, 1003 [MQTT-6.0.0-1] (3.1.1: [MQTT-6.0.0-1]) */
    WS_FRAMES_MIRROR, /* what the peer likes: text until it has sent binary, but binary where bytes are not UTF-8 */
};

/* transport_ws_frames: from now on; a new pipe is WS_FRAMES_BINARY. What came as text before is not judged again. */
void transport_ws_frames(struct transport *t, enum ws_frames frames);

/* transport_ws_has_text: the peer has sent text. */
bool transport_ws_has_text(struct transport *t);

/* transport_ws_breach: the peer broke a rule of what is spoken inside. It is sent a close frame with this code (enum
 * ws_close of ws_codec.h), and the pipe is as after a breach of its own rules: recv says ERR_PROTOCOL. Once. */
void transport_ws_breach(struct transport *t, uint16_t code);

/* How many bytes the packet has that begins with head[n]; 0: these do not tell. Pure. */
typedef size_t (*ws_unit_fn)(const uint8_t *head, size_t n);

#define WS_UNIT_HEAD                                                                                                   \
    5u /* bytes that a ws_unit_fn is shown, if there are so many; more where they stand in one piece                   \
        */

/* transport_ws_cut: from now on each packet goes out in a message of its own. The protocol may not ask for it
 * [MQTT-6.0.0-2], but there are peers that look for one packet per frame only (Paho's C library up to 1.3 leaves the
 * others lying until the next frame comes), and text can be cut only where a packet ends. A sendv then still is one
 * call below. */
void transport_ws_cut(struct transport *t, ws_unit_fn unit);

#endif
