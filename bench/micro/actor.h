/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_ACTOR_H
#define WEIR_BENCH_ACTOR_H

/*
 * actor.h: who plays at the other end of a stage's pipe: MQTT 3.1.1 or STOMP 1.2, with a codec of its own, so that what
 * is checked does not come from the code under test. Every message that arrives is compared with the script, byte by
 * byte and in order; anything else the broker says is a fault, and a fault ends the run.
 */

#include "bench/micro/stage.h"
#include "core/base/slice.h"

#define SCRIPT_PAYLOAD_BYTES 64u

/* One batch of messages, numbered in their payloads: what the publisher sends again and again. */
struct script {
    bool is_stomp; /* the publisher's protocol */
    uint8_t qos;   /* MQTT: 0 or 1, with packet ids 1 .. batch */
    uint32_t batch;
    const char *topic;       /* in MQTT spelling */
    const char *destination; /* in STOMP's */
    uint8_t *payload;        /* batch times SCRIPT_PAYLOAD_BYTES */
    uint8_t *bytes;          /* batch packets or frames */
    size_t bytes_n;
};

/* script_write: makes payload and bytes of the other fields. script_free: gives them back. */
void script_write(struct script *s);
void script_free(struct script *s);

struct actor_bytes {
    uint8_t *p;
    size_t n, cap;
};

/* owner: whoever plays; zeroed, then actor_enter. */
struct actor {
    struct pipe pipe; /* first */
    const struct script *script;
    bool is_stomp;
    bool acks;                 /* STOMP: every MESSAGE is acknowledged; MQTT does as the QoS says */
    struct actor_bytes carry;  /* the beginning of something the broker has not finished saying */
    struct actor_bytes answer; /* acknowledgements, to be fed; */
    struct actor_bytes fed;    /* and those the broker is reading */
    uint32_t next;             /* place in the batch of the message that comes next */
    uint64_t messages;         /* arrived */
    uint64_t settled;          /* our own that the broker has acknowledged */
    uint64_t greetings;        /* answers to login and subscriptions */
};

/* actor_enter: connects and logs in. `number` makes its identity. */
void actor_enter(struct actor *a, struct stage *s, const struct script *script, bool is_stomp, uint32_t number);

/* actor_subscribe: to the script's topic or destination; STOMP: ack client-individual if a->acks, else auto. */
void actor_subscribe(struct actor *a);

/* actor_perform: the batch, once more. Everything fed before must have been read. */
void actor_perform(struct actor *a);

/* actor_answer: feeds the acknowledgements that have come together. */
void actor_answer(struct actor *a);

/* actor_free: its memory; after stage_free. */
void actor_free(struct actor *a);

#endif
