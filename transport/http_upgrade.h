/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TRANSPORT_HTTP_UPGRADE_H
#define WEIR_TRANSPORT_HTTP_UPGRADE_H

/*
 * http_upgrade.h: the HTTP request that turns a connection into a WebSocket (RFC 6455 §4.2), as an adapter. A door
 * that lists it has `upgrade` set; the subprotocol the peer asks for names the adapter that goes on:
 *
 *     static const struct upgrade_way ways[] = {
 *         {"mqtt", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
 *         {"v12.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
 *         {.subprotocol = NULL}};
 *     ws_home_init(&home, mem, limits.ws_message_bytes_max);
 *     struct upgrade u = {.home = &home, .way = ways};
 *     door.adapter = {&mqtt_adapter, &http_upgrade_adapter, NULL};      MQTT and WebSocket on one port
 *     door.upgrade = &u;
 *
 * For WebSocket alone, the door lists nothing but http_upgrade_adapter.
 *
 * A request that is refused gets an HTTP answer with one line of text, the log a line at level notice, and the
 * connection is closed. Limits: ws_head_bytes_max for the request, login_ms for all until the login inside.
 */

#include "core/adapter.h"
#include "transport/ws.h"

/* A subprotocol and who speaks it. */
struct upgrade_way {
    const char *subprotocol; /* as registered, e.g. "mqtt"; case matters; at most UPGRADE_NAME_MAX bytes */
    const struct adapter_ops *adapter;
    ws_unit_fn unit;       /* NULL, or how to tell packets apart, so that each goes out in a message of its own */
    enum ws_frames frames; /* 0: binary messages only */
    bool must_be_named;    /* who does not ask for it does not get it, but through a lenient door (door.is_lenient) */
};

#define UPGRADE_NAME_MAX 32u

/* What a door that has WebSockets allows. Read only; outlives its connections, as does all it points to. owner: app */
struct upgrade {
    struct ws_home *home;          /* makes the pipes; one for all doors of a loop */
    const struct upgrade_way *way; /* ends with a subprotocol of NULL; at least one. Who asks for none gets what its
                                    * first bytes claim (ws_guess.h), among those that need not be named; where all
                                    * need it, the request is refused [MQTT-6.0.0-3] (3.1.1: [MQTT-6.0.0-3]) */
    const char *const *path;       /* "/mqtt", NULL-terminated: requests for others are refused. NULL: any path */

    /* Which web pages may come in. A request without Origin is no browser's, and passes. Else the page's origin must be
     * listed, or be the very origin it connects to (host and port; http or https, for a TLS proxy may stand in front)
     * with a host that is localhost, an IP address or listed: a page of somebody else's must not use the visitor's
     * access (cross-site WebSocket hijacking), nor may a name that somebody else points here (DNS rebinding). Both
     * NULL-terminated, compared without case; may be NULL.
     */
    const char *const *origin;    /* "https://example.com", with port unless it is the scheme's own; "*": any */
    const char *const *host_name; /* names of this machine that pages may be loaded from: "hub.example.com" */
};

/* http_upgrade_adapter: claims requests by their method. It makes the connection another adapter's (conn_restack), or
 * closes it; it never logs in. */
extern const struct adapter_ops http_upgrade_adapter;

#endif
