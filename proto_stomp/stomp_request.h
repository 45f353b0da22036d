/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_REQUEST_H
#define WEIR_STOMP_REQUEST_H

/*
 * stomp_request.h: what a SUBSCRIBE says, header by header. Private to stomp_subscribe.c, which makes a subscription of
 * it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/broker.h"
#include "proto_stomp/stomp_conn.h"
#include "proto_stomp/stomp_durable.h"
#include "proto_stomp/stomp_queue_args.h"

/* One SUBSCRIBE on its way. Large: on the stack, not initialised as a whole. Slices are views of the frame or into the
 * buffers. */
struct stomp_request {
    struct conn *c;
    const struct stomp_frame *f;
    struct vhost *v;
    struct stomp_sub_names names; /* more: set by whoever subscribes */
    struct stomp_dest d;
    struct consume how;
    struct binding_opts opts;
    struct slice queue_name; /* x-queue-name */
    bool has_queue_name, is_browser;
    struct stomp_durable_ask durable;
    struct stomp_queue_text text;
    uint8_t id_buf[STOMP_LINE_BYTES_MAX], dest_buf[STOMP_LINE_BYTES_MAX], queue_buf[STOMP_LINE_BYTES_MAX];
    uint8_t name_buf[STOMP_LINE_BYTES_MAX]; /* of stomp_subscribe.c: a name, key or filter */
};

/* stomp_request_read: c, f, v, names, d, how, opts and is_browser. False: ERROR was said. */
bool stomp_request_read(struct stomp_request *r, struct conn *c, const struct stomp_frame *f) MUST_CHECK;

/* stomp_request_read_life: whether a queue that is bound for it has a name or outlives it: queue_name, durable. False:
 * ERROR was said. */
bool stomp_request_read_life(struct stomp_request *r) MUST_CHECK;

/* How long a queue lives, and whose it is. */
enum { STOMP_LIFE_ARGS = 1u << QUEUE_ARG_DURABLE | 1u << QUEUE_ARG_AUTO_DELETE | 1u << QUEUE_ARG_EXCLUSIVE };

/* stomp_request_spec: the queue arguments, over the defaults in s->policy. False: ERROR was said.
 * stomp_request_has_args: are there any but STOMP_LIFE_ARGS? */
bool stomp_request_spec(struct stomp_request *r, struct queue_spec *s) MUST_CHECK;
bool stomp_request_has_args(const struct stomp_request *r);

/* stomp_request_refuse: says ERROR; false for the caller to return. stomp_request_bad_dest: the same about r->d. */
bool stomp_request_refuse(const struct stomp_request *r, enum stomp_fault why, struct slice detail);
bool stomp_request_bad_dest(const struct stomp_request *r);

#endif
