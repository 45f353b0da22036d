/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_MODEL_H
#define WEIR_TESTS_CRASH_MODEL_H

/*
 * crash_model.h: what a broker that says "yes" has promised, told by what its peers sent and heard. It knows nothing of
 * the broker's insides and nothing of disks: a promise is a promise, whatever happened in between.
 *
 *     say ─► yes | no | nothing (the answer was lost)          got, take ─► answered ─► done (the receipt came)
 *
 * Places where a message waits are boxes: the session of a device, a shared group, a named queue.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/mem.h"
#include "core/base/slice.h"

/* Boxes, by number. */
enum {
    CRASH_DEVS = 6,
    CRASH_GROUPS = 2,
    CRASH_QUEUES = 4,
    BOX_DEV = 0,
    BOX_GROUP = BOX_DEV + CRASH_DEVS,
    BOX_QUEUE = BOX_GROUP + CRASH_GROUPS,
    BOX_DEAD = BOX_QUEUE + CRASH_QUEUES - 1, /* dead letters of the first queue */
    CRASH_BOXES = BOX_QUEUE + CRASH_QUEUES,
    CRASH_FILTERS = 6,
    CRASH_KEEPS = 3, /* retained topics of one device */
};

enum crash_topic { TOPIC_A, TOPIC_B, TOPIC_C, TOPIC_DELAYED, TOPIC_WILL, TOPIC_GROUP, TOPIC_GROUP2, TOPIC_N };
extern const char *const crash_topics[TOPIC_N];
extern const char *const crash_filters[CRASH_FILTERS]; /* of devices */
extern const char *const crash_groups[CRASH_GROUPS];
extern const char *const crash_queues[CRASH_QUEUES];

#define CRASH_NONE UINT32_MAX

enum crash_kind { TO_TOPIC, TO_QUEUE, TO_KEEP };

enum crash_fate {
    SAID,  /* sent, no answer */
    YES,   /* promised */
    NO,    /* refused at its only attempt: nothing of it may be anywhere */
    MAYBE, /* nobody waits for an answer any more */
};

/* A message in one box. */
struct crash_at {
    uint8_t got;   /* deliveries that were no repetition as far as the receiver can tell */
    uint8_t done;  /* settled there for sure: the receipt of its ACK came */
    uint8_t moved; /* given up there for sure: the receipt of its NACK came */
    bool answered; /* an ACK was sent, and it has not come again */
    bool rejected; /* a rejecting NACK was sent, and it has not come again */
    bool was_rejected, was_answered;
    uint32_t tx; /* + 1: acknowledged in this transaction, which has no answer yet */
};

struct crash_msg {
    uint32_t from, order; /* who published it; place among this publisher's messages */
    uint32_t bytes;
    uint8_t kind, place, qos, fate;
    uint8_t attempts;            /* sendings that may each have made one of it; 1 where repetitions are known as such */
    bool repeats;                /* MQTT QoS 1: each attempt may */
    bool is_late;                /* delayed, or a will: routed later than it was said */
    uint32_t tx;                 /* + 1 */
    uint32_t needs;              /* bit per box: there it must arrive when it was promised */
    uint32_t may;                /* bit per box: there it may */
    mono_ms said_at, due, until; /* due: not before; until: not delivered later (0: for ever) */
    struct crash_at at[CRASH_BOXES];
};

enum crash_sub_state { SUB_OFF, SUB_ASKED, SUB_ON, SUB_LEAVING };

struct crash_sub {
    uint8_t state; /* enum crash_sub_state */
    mono_ms asked_at;
};

enum crash_tx_state { CRASH_TX_OPEN, CRASH_TX_DONE, CRASH_TX_VOID };

struct crash_tx {
    uint8_t state;
    uint32_t sends, acks;
};

/* A retained topic. */
struct crash_keep {
    uint32_t floor; /* the last promised message; CRASH_NONE: none */
    uint32_t last;  /* said last */
};

struct crash_model {
    struct mem *mem;
    const mono_ms *now;
    struct crash_msg *msg;
    uint32_t msg_n, msg_cap;
    struct crash_tx *tx;
    uint32_t tx_n, tx_cap;
    struct crash_sub sub[CRASH_DEVS][CRASH_FILTERS];
    bool group_on[CRASH_GROUPS];
    uint32_t newest[CRASH_BOXES][32]; /* by publisher: order + 1 of the newest first delivery */
    bool is_ordered[CRASH_BOXES];
    struct crash_keep keep[CRASH_DEVS][CRASH_KEEPS];
    bool may_refuse;         /* limits or faults: wills and dead letters may be dropped, too */
    bool ignores_due;        /* the wall clock jumped */
    mono_ms late_ms;         /* so late a delivery may arrive on its way to the receiver */
    uint64_t gots, returned; /* deliveries; of these, known to be repeated */
    char why[256];
};

void crash_model_init(struct crash_model *m, struct mem *mem, const mono_ms *now);
void crash_model_fini(struct crash_model *m);
void crash_fail(struct crash_model *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* crash_msg_new: a message that will be said; spec's from, kind, place, qos, bytes, repeats, is_late, tx count; due and
 * until are counted from its saying. */
uint32_t crash_msg_new(struct crash_model *m, const struct crash_msg *spec);
/* crash_msg_say: it goes out, now, perhaps once more. */
void crash_msg_say(struct crash_model *m, uint32_t msg);
void crash_msg_yes(struct crash_model *m, uint32_t msg);
void crash_msg_no(struct crash_model *m, uint32_t msg);
void crash_msg_maybe(struct crash_model *m, uint32_t msg);

/* crash_payload: its bytes into out[msg.bytes]. crash_from_payload: which one is it? Fails the model when it is none,
 * or damaged: then CRASH_NONE. */
#define CRASH_PAYLOAD_MIN 8u
void crash_payload(const struct crash_model *m, uint32_t msg, uint8_t *out);
uint32_t crash_from_payload(struct crash_model *m, struct slice payload);

/* crash_got: a box hears of it (queues: crash_take). is_exact: the receiver would have known a repetition. */
void crash_got(struct crash_model *m, uint32_t box, uint32_t msg, bool is_exact);

/* A consumer takes it from a queue; answers (accept or reject), in a transaction (tx + 1) or not; hears the receipt. */
void crash_take(struct crash_model *m, uint32_t box, uint32_t msg);
void crash_answer(struct crash_model *m, uint32_t box, uint32_t msg, bool accepts, uint32_t tx);
void crash_done(struct crash_model *m, uint32_t box, uint32_t msg, bool accepts);

uint32_t crash_tx_new(struct crash_model *m);
void crash_tx_ended(struct crash_model *m, uint32_t tx, enum crash_tx_state s);

/* Subscriptions of a device. crash_session_over: it starts anew, with nothing. */
void crash_sub_ask(struct crash_model *m, uint32_t dev, uint32_t filter, bool is_unsubscribe);
void crash_sub_answer(struct crash_model *m, uint32_t dev, uint32_t filter, bool is_unsubscribe);
void crash_session_over(struct crash_model *m, uint32_t dev);

/* crash_will_due: the connection ended badly and long ago: this will was published. */
void crash_will_due(struct crash_model *m, uint32_t msg);

/* crash_check_keep: a stranger was shown `msg` (CRASH_NONE: nothing) as retained. floor: keep.floor when he asked. */
void crash_check_keep(struct crash_model *m, uint32_t dev, uint32_t k, uint32_t floor, uint32_t msg);

/* crash_judge: everything has come to rest: what was promised has arrived, and units are whole. */
void crash_judge(struct crash_model *m);

/* crash_grow: room for n items in an array. */
void *crash_grow(struct mem *mem, void *v, uint32_t *cap, uint32_t n, size_t item);

#endif
