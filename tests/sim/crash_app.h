/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_APP_H
#define WEIR_TESTS_CRASH_APP_H

/*
 * crash_app.h: an application: a STOMP 1.2 peer that sends persistent messages to queues and topics, with and without
 * receipts, alone and in transactions, and consumes queues with client-individual acknowledgements. It repeats nothing:
 * a message whose receipt did not come is in doubt for ever.
 */

#include <stdbool.h>
#include <stdint.h>

#include "proto_stomp/stomp_wire.h"
#include "tests/sim/crash_link.h"

enum crash_app_state { APP_OFF, APP_CONNECTING, APP_ON, APP_LEAVING };

enum { APP_ACK_BYTES = 64 };

struct crash_held { /* a delivery without an answer */
    uint32_t msg, box;
    char ack[APP_ACK_BYTES];
};

enum crash_receipt_kind { RECEIPT_SEND, RECEIPT_SUBSCRIBE, RECEIPT_ACK, RECEIPT_NACK, RECEIPT_COMMIT, RECEIPT_BYE };

struct crash_receipt { /* awaited, in order */
    uint32_t number, ref, box;
    uint8_t kind;
};

/* owner: crash_world */
struct crash_app {
    struct crash_link link; /* first */
    struct crash_world *w;
    uint32_t number;
    char name[16];
    enum crash_app_state state;
    struct stomp_scan scan;
    struct crash_held *held;
    struct crash_receipt *await;
    uint32_t held_n, held_cap, await_n, await_cap, next_receipt, next_tx;
    uint32_t consumes; /* bit per queue, on this connection */
    struct sim_event back;
};

struct crash_app *crash_app_new(struct crash_world *w, uint32_t number) MUST_CHECK;
void crash_app_free(struct crash_app *a);

void crash_app_act(struct crash_app *a);
/* crash_app_rest: does what must still be done, nothing new. True: it is connected, consumes all that is its own, and
 * owes and waits for nothing. */
bool crash_app_rest(struct crash_app *a);

/* ---- between crash_app.c (what it does) and crash_app_in.c (what it hears) ---- */
extern const struct crash_link_ops crash_app_link_ops;
void crash_app_lost(struct crash_app *a);
void crash_app_subscribe_all(struct crash_app *a);

#endif
