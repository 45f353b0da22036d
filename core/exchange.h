/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_EXCHANGE_H
#define WEIR_CORE_EXCHANGE_H

/*
 * exchange.h: a named root of the router. Every vhost has "" (default: a key is a queue's name), amq.topic (MQTT topics
 * and STOMP /topic/), amq.direct and amq.fanout; peers declare others.
 *
 *     publish to x, key k ─► x's bindings that match k ─┬─► queues
 *                                                       └─► exchanges: their bindings that match k, each exchange once
 *                  nothing matched there ─► its alternate exchange instead
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/slice.h"
#include "core/brake.h"
#include "core/trie.h"

struct vhost;
struct conn;

enum exchange_kind { EXCHANGE_DEFAULT, EXCHANGE_TOPIC, EXCHANGE_DIRECT, EXCHANGE_FANOUT };

/* owner: vhost->exchanges; freed when it was deleted and nobody holds it any more */
struct exchange {
    struct vhost *vhost;
    trie_at root;
    enum exchange_kind kind;
    uint8_t durable;
    uint8_t auto_delete : 1; /* goes with its last binding */
    uint8_t internal : 1;    /* peers may not publish to it: reached through bindings only */
    uint8_t is_dead : 1;     /* deleted; whoever holds it sees this */
    uint8_t has_brake : 1;   /* publishers are slowed down: `brake` */
    uint8_t is_builtin : 1;  /* every vhost has it, for good */
    uint32_t number;         /* never reused; of messages (msgview.exchange) */
    uint32_t walk;           /* router->walk of the last match that met it */
    uint32_t hold_n;         /* exchange_hold */
    uint32_t binding_n;      /* bindings of which it is the source */
    struct list bindings;    /* bindings of which it is the target: struct binding, in_queue */
    struct list outgoing;    /* bindings of which it is the source; not if it is built in: core/router.c */
    struct list_node ending; /* router->ending: its last binding went */
    struct brake brake;      /* tokens of all its publishers together */
    uint16_t name_len, alternate_len;
    uint8_t name[]; /* name · alternate's name */
};

static inline struct slice exchange_name(const struct exchange *x)
{
    return slice_make(x->name, x->name_len);
}

/* exchange_alternate: name of the exchange that gets what matches nothing here; empty: none. */
static inline struct slice exchange_alternate(const struct exchange *x)
{
    return slice_make(x->name + x->name_len, x->alternate_len);
}

/* What an exchange is declared with. */
struct exchange_spec {
    struct slice name;
    enum exchange_kind kind;
    bool durable, auto_delete, internal;
    struct slice alternate; /* empty: none; it need not exist yet */
    uint64_t rate;          /* messages per second over all publishers; 0: as fast as they come */
};

/* exchange_declare_as: finds or makes. ERR_EXISTS if there is one that differs: *out_differs names the first property
 * ("type", "durable", "auto-delete", "internal", "alternate-exchange", "x-rate-limit"; static); ERR_NOMEM; ERR_TOO_BIG
 * (a name over 255 bytes); ERR_FULL (max_exchanges). exchange_declare: the same with kind and durability alone. */
enum err exchange_declare_as(struct vhost *v, const struct exchange_spec *spec, struct exchange **out,
                             const char **out_differs) MUST_CHECK;
enum err exchange_declare(struct vhost *v, struct slice name, enum exchange_kind kind, bool durable,
                          struct exchange **out) MUST_CHECK;

/* exchange_get: NULL if there is none. exchange_by_number: of a message; NULL: it was deleted. O(exchanges). */
struct exchange *exchange_get(struct vhost *v, struct slice name);
struct exchange *exchange_by_number(struct vhost *v, uint32_t number);

/* exchange_is_builtin: one that every vhost has. */
static inline bool exchange_is_builtin(const struct exchange *x)
{
    return x->is_builtin;
}

/* exchange_hold, exchange_drop: x stays readable (is_dead tells whether it was deleted). */
struct exchange *exchange_hold(struct exchange *x);
void exchange_drop(struct exchange *x);

/* exchange_delete: unbinds everything from and to it, and forgets the name. Others go with it, if they are auto-delete
 * and these were their last bindings; x itself is gone when nobody holds it. Writes nothing down but the end of those
 * others. exchange_free: the same, for vhost_free. */
void exchange_delete(struct exchange *x);
void exchange_free(struct exchange *x);

#endif
