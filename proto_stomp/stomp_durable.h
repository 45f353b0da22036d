/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_DURABLE_H
#define WEIR_STOMP_DURABLE_H

/*
 * stomp_durable.h: whose a durable subscription is, and how it is asked for.
 *
 *     durable:true  id:mail                        RabbitMQ (persistent:true says the same)
 *     activemq.subscriptionName:mail               ActiveMQ; also as it was once misspelt, activemq.subcriptionName
 *     durable-subscription-name:mail               Artemis; durable-subscriber-name is its older form
 *
 * Core knows it by a key: 'd' login NUL client-id NUL name NUL destination. All but the destination is its owner's to
 * say, so /dsub/<name> and UNSUBSCRIBE find it by the beginning.
 */

#include <stdbool.h>

#include "core/base/buf.h"
#include "core/base/slice.h"
#include "core/conn.h"
#include "proto_stomp/stomp_error.h"
#include "proto_stomp/stomp_wire.h"

/* stomp_durable_login: CONNECT: who this is from now on. False: out of memory. Both are UTF-8
 * without NUL. */
bool stomp_durable_login(struct conn *c, struct slice login, struct slice client_id) MUST_CHECK;

/* stomp_durable_user: the login; empty: none. */
struct slice stomp_durable_user(const struct conn *c);

/* What a frame says about it. */
struct stomp_durable_ask {
    bool is_asked;
    bool has_name;     /* one of the names; false: its id is its name */
    struct slice name; /* views of f, or into buf */
    uint8_t buf[STOMP_LINE_BYTES_MAX];
};

/* stomp_durable_asks: does f ask for (SUBSCRIBE), or end (UNSUBSCRIBE) a durable subscription? STOMP_FAULT_NONE, or
 * HEADER, HEADER_TEXT and *out_bad, static. Pure. */
enum stomp_fault stomp_durable_asks(const struct stomp_frame *f, struct stomp_durable_ask *out,
                                    struct slice *out_bad) MUST_CHECK;

/* stomp_durable_key: appends the key to b; without dest only what all of that name have in front. Failure shows in b.
 */
void stomp_durable_key(const struct conn *c, struct slice name, const struct slice *dest, struct buf *b);

/* stomp_durable_dest: the destination in a key. */
struct slice stomp_durable_dest(struct slice key);

#endif
