/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_TOPOLOGY_H
#define WEIR_CORE_TOPOLOGY_H

/*
 * topology.h: the verbs that make and end exchanges, queues and bindings. As in broker.h: a verb acts for a connection,
 * changes everything it says or nothing, and answers its receipt once, when the disk has what survives.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/broker.h"
#include "core/exchange.h"
#include "core/queue_policy.h"

/* Why a declaration was refused. */
struct declared {
    enum err err;
    const char *differs;     /* ERR_EXISTS: which property; static */
    char has[64], wants[64]; /* ERR_EXISTS: its value, and the one asked for; may be cut */
    bool is_new;
};

/* broker_declare_exchange: finds or makes. NULL: out->err: ERR_EXISTS (differs), ERR_INVALID (no name), ERR_DENIED (a
 * name that begins with "amq." and does not exist), ERR_TOO_BIG, ERR_FULL, ERR_NOMEM, ERR_STORE. */
struct exchange *broker_declare_exchange(struct conn *c, const struct exchange_spec *spec, struct declared *out);

/* broker_delete_exchange: ERR_OK, ERR_NOT_FOUND, ERR_DENIED (built in), ERR_FULL (if_unused, and it is the source of a
 * binding), ERR_STORE. Its bindings go with it. */
void broker_delete_exchange(struct conn *c, struct slice name, bool if_unused, uint64_t receipt);

/* broker_declare_queue_as: finds or makes a named queue; an empty name makes one with a name of the broker's
 * ("amq.gen-..."). Nothing given in spec: whatever is there is right. Else every argument must be as it is there. An
 * exclusive one belongs to this session and ends with it. NULL: out->err: ERR_EXISTS (differs), ERR_INVALID, ERR_DENIED
 * (exclusive to another session; a new name that begins with "amq."), ERR_TOO_BIG, ERR_FULL (max_queues), ERR_NOMEM,
 * ERR_STORE. */
struct queue *broker_declare_queue_as(struct conn *c, struct slice name, const struct queue_spec *spec,
                                      struct declared *out);

/* broker_queue: the named queue, if it is there and this session may use it. NULL: ERR_NOT_FOUND, ERR_DENIED. */
struct queue *broker_queue(struct conn *c, struct slice name, enum err *out_err);

/* broker_delete_queue: ERR_OK, ERR_NOT_FOUND, ERR_DENIED, ERR_FULL (if_unused and it has consumers, if_empty and
 * something waits or is in flight), ERR_STORE. What waited is dropped, counted, and not dead-lettered. */
struct queue_end {
    bool if_unused, if_empty;
};
void broker_delete_queue(struct conn *c, struct slice name, struct queue_end how, uint64_t receipt);

/* broker_purge: drops what waits in it (not what is in flight), counted; *out_n how many. Results as broker_queue. */
void broker_purge(struct conn *c, struct slice name, uint64_t *out_n, uint64_t receipt);

/* broker_pause: on: consumers get nothing until it is resumed; publishing goes on. Results as broker_queue. */
void broker_pause(struct conn *c, struct slice name, bool on, uint64_t receipt);

/* broker_bind: binds a named queue, or exchange `to`, to exchange x by filter (core/router.h: what fits which kind);
 * once more changes nothing. ERR_OK, ERR_INVALID, ERR_DENIED (the default exchange), ERR_FULL (max_subscriptions
 * bindings of one queue), ERR_NOMEM, ERR_STORE, ERR_TOO_BIG. broker_unbind: ERR_OK, ERR_NOT_FOUND, ERR_STORE. */
void broker_bind(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q, uint64_t receipt);
void broker_unbind(struct conn *c, struct exchange *x, const struct filter *f, struct queue *q, uint64_t receipt);
void broker_bind_exchange(struct conn *c, struct exchange *x, const struct filter *f, struct exchange *to,
                          uint64_t receipt);
void broker_unbind_exchange(struct conn *c, struct exchange *x, const struct filter *f, struct exchange *to,
                            uint64_t receipt);

/* ---- durable subscriptions ---------------------------------------------------------------------------------- */

/* A durable subscription is a queue that survives its consumers, bound to x by filter, and known by `key`, which says
 * whose it is; no destination can spell it. key is opaque to core. */
struct durable {
    struct slice key;
    struct exchange *exchange; /* NULL: only if it is there already */
    const struct filter *filter;
    struct binding_opts opts;
    const struct queue_spec *spec; /* NULL: the virtual host's policy for named queues with drop-head overflow */
};

/* broker_consume_durable: finds or makes it, and consumes it with others that do. Retained messages follow if it is
 * new (opts.retain_handling 0 or 1) or always (0). NULL with out->err: it could not be found or made, and the receipt
 * is not answered: ERR_NOT_FOUND, ERR_EXISTS (differs: an argument, or "destination" if it is not bound so),
 * ERR_INVALID (spec is exclusive or auto-delete), the rest as broker_declare_queue_as and broker_bind. Else out->err is
 * ERR_OK and the receipt is answered as by broker_consume_queue. */
struct consumer *broker_consume_durable(struct conn *c, const struct durable *d, const struct consume *how,
                                        struct declared *out);

/* broker_durable_find: the first whose key begins with `prefix`; NULL: none. O(durable subscriptions). */
struct queue *broker_durable_find(struct conn *c, struct slice prefix);

/* broker_end_durable: ends it with what waits in it. ERR_OK, ERR_NOT_FOUND, ERR_STORE. */
void broker_end_durable(struct conn *c, struct slice key, uint64_t receipt);

#endif
