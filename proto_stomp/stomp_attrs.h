/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_ATTRS_H
#define WEIR_STOMP_ATTRS_H

/*
 * stomp_attrs.h: headers of a SEND to core's attributes (core/attrs.h), and those to headers of a MESSAGE. Private to
 * the adapter; pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "core/base/slice.h"
#include "proto_stomp/stomp_dest.h"
#include "proto_stomp/stomp_error.h"
#include "proto_stomp/stomp_wire.h"

/* What a header means in SEND. Whatever is not STOMP_SEND_USER is a reserved name: a device's property of that name
 * goes out with "user." in front, so that nobody can say in the broker's or the protocol's words what they mean as
 * their own. */
enum stomp_send_class {
    STOMP_SEND_USER,   /* nothing: it travels with the message */
    STOMP_SEND_FRAME,  /* about this frame: destination, receipt, content-length, ... */
    STOMP_SEND_OPTION, /* about the message, not carried as an attribute: persistent, retain, qos, expiration, priority,
                          x-delay, transaction, ... */
    STOMP_SEND_ATTR,   /* an attribute of its own: content-type, reply-to, correlation-id */
    STOMP_SEND_OURS,   /* only the broker says this, in MESSAGE: dropped */
    STOMP_SEND_QUEUE,  /* an argument for the queue of the destination */
};

enum stomp_send_class stomp_send_class(enum stomp_known h);

/* stomp_name_is_reserved: must a user property of this name go out with "user." in front? Also true for names that
 * start with "user." and for the empty one (docs/mapping.md, "Properties"). */
bool stomp_name_is_reserved(struct slice name);

/* What reply-to means: where STOMP and MQTT peers answer to the temporary queue it names (stomp_temp.h); both empty:
 * what it says. */
struct stomp_reply {
    enum stomp_dialect dialect;
    struct slice dest, topic;
};

/* stomp_attrs_bytes: room that always suffices for stomp_attrs_put of this SEND. */
size_t stomp_attrs_bytes(const struct stomp_frame *f, const struct stomp_reply *r);

/* stomp_attrs_put: appends the attributes of a SEND to b, in the order of its headers: user headers (one "user."
 * stripped), content-type and whether the body is text, reply-to, correlation-id. STOMP_FAULT_NONE, or what is wrong
 * with the header *out_name (a view of f or static). Running out of memory shows in b. */
enum stomp_fault stomp_attrs_put(struct buf *b, const struct stomp_frame *f, const struct stomp_reply *r,
                                 struct slice *out_name) MUST_CHECK;

/* stomp_headers_bound: what to reserve in a stomp_writer for stomp_headers_put(attrs). stomp_headers_scratch: bytes of
 * scratch it needs. */
size_t stomp_headers_bound(struct slice attrs);
size_t stomp_headers_scratch(struct slice attrs);

/* stomp_headers_put: the headers of a MESSAGE that come from attributes. */
void stomp_headers_put(struct stomp_writer *w, struct slice attrs, uint8_t *scratch);

/* stomp_base64_put: in as base64 with padding into out[4 * (in.len + 2) / 3]; returns its length.
 * stomp_base64_get: the inverse into out[3 * in.len / 4 + 3]; -ERR_MALFORMED unless it is exactly what _put writes. */
size_t stomp_base64_put(struct slice in, uint8_t *out);
ptrdiff_t stomp_base64_get(struct slice in, uint8_t *out) MUST_CHECK;

/* stomp_bool_parse: "true" or "false" in any case. False: neither. stomp_u64_parse: decimal digits, saturating. */
bool stomp_bool_parse(struct slice text, bool *out) MUST_CHECK;
bool stomp_u64_parse(struct slice text, uint64_t *out) MUST_CHECK;

#endif
