/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c: named roots of the router.
 *
 *     ""          default   key = name of a queue; nothing binds to it
 *     amq.topic   topic     MQTT topics and STOMP /topic/: one namespace
 *     amq.direct  direct    the key is one opaque string
 *     amq.fanout  fanout    the key is ignored
 *
 * Invariants
 *   1. An exchange's root node lives as long as the exchange (it is pinned), so bindings may come and go.
 *   2. Names are unique per vhost; kind and durability never change.
 * Cost    one trie node and 40 bytes plus the name.
 * Thread  own shard only.
 */
#include "core/exchange.h"

#include "core/shard.h"

enum { EXCHANGE_NAME_MAX = 255 };

struct exchange *exchange_get(struct vhost *v, struct slice name)
{
    return map_get(&v->exchanges, name);
}

enum err exchange_declare(struct vhost *v, struct slice name, enum exchange_kind kind, bool durable,
                          struct exchange **out)
{
    if (name.len > EXCHANGE_NAME_MAX)
        return ERR_TOO_BIG;
    struct exchange *x = exchange_get(v, name);
    if (x) {
        *out = x;
        return x->kind == kind && x->durable == durable ? ERR_OK : ERR_EXISTS;
    }
    x = mem_zalloc(v->router.mem, sizeof *x + name.len);
    if (!x)
        return ERR_NOMEM;
    x->vhost = v;
    x->kind = kind;
    x->durable = durable;
    x->name_len = (uint16_t)name.len;
    if (name.len)
        memcpy(x->name, name.p, name.len);
    x->root = trie_root(&v->router.trie);
    if (!x->root || map_put(&v->exchanges, x) != ERR_OK) {
        if (x->root)
            trie_unpin(&v->router.trie, x->root);
        mem_free(v->router.mem, x);
        return ERR_NOMEM;
    }
    *out = x;
    return ERR_OK;
}

void exchange_free(struct exchange *x)
{
    struct vhost *v = x->vhost;
    BUG_ON(map_del(&v->exchanges, exchange_name(x)) != x);
    router_touch(&v->router);
    trie_unpin(&v->router.trie, x->root);
    mem_free(v->router.mem, x);
}
