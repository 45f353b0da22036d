/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_EXCHANGE_H
#define WEIR_CORE_EXCHANGE_H

/*
 * exchange.h: a named root of the router. Every vhost has "" (default: a key is a queue's name), amq.topic (MQTT topics
 * and STOMP /topic/), amq.direct and amq.fanout.
 */

#include <stdint.h>

#include "core/base/err.h"
#include "core/base/slice.h"
#include "core/trie.h"

struct vhost;

enum exchange_kind { EXCHANGE_DEFAULT, EXCHANGE_TOPIC, EXCHANGE_DIRECT, EXCHANGE_FANOUT };

/* owner: vhost->exchanges */
struct exchange {
    struct vhost *vhost;
    trie_at root;
    enum exchange_kind kind;
    uint8_t durable;
    uint16_t name_len;
    uint8_t name[];
};

static inline struct slice exchange_name(const struct exchange *x)
{
    return slice_make(x->name, x->name_len);
}

/* exchange_declare: finds or makes. ERR_EXISTS if there is one of another kind or durability, ERR_NOMEM,
 * ERR_TOO_BIG (name over 255 bytes). */
enum err exchange_declare(struct vhost *v, struct slice name, enum exchange_kind kind, bool durable,
                          struct exchange **out) MUST_CHECK;

/* exchange_get: NULL if there is none. */
struct exchange *exchange_get(struct vhost *v, struct slice name);

/* exchange_free: for vhost_free and exchange deletion; its bindings must be gone. */
void exchange_free(struct exchange *x);

#endif
