/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STOMP_QUEUE_ARGS_H
#define WEIR_STOMP_QUEUE_ARGS_H

/*
 * stomp_queue_args.h: what a frame says about the queue it names, as headers with RabbitMQ's names (core/queue_policy.h
 * lists them). Used by SUBSCRIBE, SEND and /manage/.
 *
 *     struct queue_spec spec;
 *     struct stomp_queue_text text;                                  where decoded strings are kept
 *     e = stomp_queue_spec(f, &vhost->policy_named, &spec, &text, &bad);
 *     q = broker_declare_queue_as(c, name, &spec, &declared);        text may go after this
 *     if (q == NULL)  stomp_error_declared(c, f, STOMP_A_QUEUE, name, &declared);
 *
 * Arguments that RabbitMQ has and Weir does not need (x-queue-type, x-queue-mode, x-queue-version, ...) are overlooked.
 */

#include <stdint.h>

#include "core/base/slice.h"
#include "core/queue_policy.h"
#include "core/topology.h"
#include "proto_stomp/stomp_error.h"
#include "proto_stomp/stomp_wire.h"

/* Where values lie that had escapes in them, while a spec refers to them. Large: on the stack, not initialised. */
struct stomp_queue_text {
    uint8_t exchange[STOMP_LINE_BYTES_MAX], key[STOMP_LINE_BYTES_MAX];
};

/* stomp_queue_spec — the declaration that the headers of f ask for, on top of the policy def.
 *
 *   f         the first header of a name counts, as always. Blanks around a value are dropped, as RabbitMQ does
 *   *out      out->given tells whether anything was said at all
 *   text      must live as long as *out is used
 *   *out_bad  on a fault: the header it is about; static
 *
 * Returns STOMP_FAULT_NONE; STOMP_FAULT_HEADER: a value that this argument cannot have; STOMP_FAULT_QUEUE_ARGS: it does
 * not go with the others. Pure.
 */
enum stomp_fault stomp_queue_spec(const struct stomp_frame *f, const struct queue_policy *def, struct queue_spec *out,
                                  struct stomp_queue_text *text, struct slice *out_bad) MUST_CHECK;
/* stomp_queue_spec_take, stomp_queue_spec_end: its two halves behind queue_spec_init: a caller with defaults of its own
 * changes s->policy between them. */
enum stomp_fault stomp_queue_spec_take(const struct stomp_frame *f, struct queue_spec *s, struct stomp_queue_text *text,
                                       struct slice *out_bad) MUST_CHECK;
enum stomp_fault stomp_queue_spec_end(struct queue_spec *s, struct slice *out_bad) MUST_CHECK;

/* stomp_queue_arg_header: the header of an argument. */
enum stomp_known stomp_queue_arg_header(enum queue_arg a);

static inline bool queue_spec_gives(const struct queue_spec *s, enum queue_arg a)
{
    return (s->given & 1u << a) != 0;
}

#endif
