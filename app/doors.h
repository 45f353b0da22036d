/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_DOORS_H
#define WEIR_APP_DOORS_H

/*
 * doors.h: the listeners a configuration asks for, opened: each with its door (what core/conn.h calls what a listener
 * allows). Doors outlive the connections that came through them.
 *
 *     doors_open ─► connections ... ─► doors_close (nobody comes in any more) ─► shard_free ─► doors_fini
 */

#include <stddef.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/list.h"

struct adapter_ops;
struct config;
struct logs;
struct mem;
struct shard;
struct tcp_home;
struct upgrade_way;
struct ws_home;

/* What opening needs. All borrowed; must live until doors_fini. */
struct doors_config {
    const struct config *config;
    const struct adapter_ops *const *adapters; /* NULL-terminated, in the order of config->protocols */
    const struct upgrade_way *ways;            /* what is spoken in WebSockets */
    struct tcp_home *home;                     /* of the shard's loop */
    struct ws_home *ws;                        /* the same for WebSockets */
    struct shard *shard;                       /* may be set later: before the loop runs */
    struct mem *mem;
    struct logs *logs;
};

/* owner: app */
struct doors {
    struct doors_config with;
    struct list all;
};

/* doors_open: opens all listeners of the configuration. ERR_IO, ERR_NOMEM: out_why[cap] is one line with place and
 * cure, and nothing is open. */
enum err doors_open(struct doors *d, const struct doors_config *with, char *out_why, size_t cap) MUST_CHECK;

/* doors_announce: one line per listener, "listening on 127.0.0.1:1883 and [::1]:1883 (mqtt, stomp, websockets)", and
 * one for each that lets nobody in, or only who proves who they are. */
void doors_announce(const struct doors *d);

/* doors_close: closes the listeners. doors_fini: frees the doors, too. Both may be called again. */
void doors_close(struct doors *d);
void doors_fini(struct doors *d);

#endif
