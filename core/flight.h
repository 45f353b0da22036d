/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_FLIGHT_H
#define WEIR_CORE_FLIGHT_H

/*
 * flight.h: deliveries of a session that wait for an answer, found by their ticket (MQTT: the packet id). A flight
 * either keeps an entry, which can be sent again or go back to its queue, or is bare: the session ends with its
 * connection, so nothing but "who still owes an answer" is remembered.
 *
 * Thread: own shard only.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"

struct session;
struct consumer;
struct entry;

struct flight {
    union {
        struct entry *entry;       /* kept */
        struct consumer *consumer; /* bare */
    } of;
    uint32_t ticket; /* 0: this place is free */
    uint8_t is_bare;
    uint8_t qos;   /* bare: 1 or 2 */
    uint8_t state; /* bare: ENTRY_SENT or ENTRY_RECEIVED */
};

/* A power-of-two ring indexed by ticket, grown when two living tickets would share a place. */
struct tickets {
    struct flight *slot;
    uint32_t cap, n;
    uint32_t next; /* next number to try; 1 .. max */
};

/* tickets_take: a free place with a number from 1 to the session's ticket_max, for the caller to fill; NULL when all
 * are in use or memory is out. The pointer is good until the next call. */
struct flight *tickets_take(struct session *s) MUST_CHECK;

/* tickets_claim: the place of this number, after a restart; NULL: in use, or memory is out. */
struct flight *tickets_claim(struct session *s, uint32_t ticket) MUST_CHECK;

/* tickets_get: the flight with this number, or NULL. */
struct flight *tickets_get(const struct session *s, uint32_t ticket);

/* tickets_give: the place is free again. */
void tickets_give(struct session *s, struct flight *f);

/* flight_take: tickets_take for a delivery to c, which uses up a slot of the session's quota and of c's credit.
 * flight_give: all of that back; counted: the quota's slot was still in use. c may be freed. */
struct flight *flight_take(struct consumer *c) MUST_CHECK;
void flight_give(struct consumer *c, struct flight *f, bool counted);

/* flight_begin: notes a bare delivery at qos 1 or 2 to c. NULL as tickets_take. */
struct flight *flight_begin(struct consumer *c, uint8_t qos) MUST_CHECK;

/* flight_end: a bare flight was answered, or nobody will answer it: its slot, credit and quota are free. */
void flight_end(struct session *s, struct flight *f);

/* flights_drop: the session ends: all bare flights are over. Returns how many the peer had not got (SENT). */
uint32_t flights_drop(struct session *s);

/* flight_consumer, flight_entry: to whom; the entry, NULL of a bare one. */
struct consumer *flight_consumer(const struct flight *f);
static inline struct entry *flight_entry(const struct flight *f)
{
    return f->is_bare ? NULL : f->of.entry;
}

#endif
