/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_TWIN_IN_H
#define WEIR_TESTS_TWIN_IN_H

/*
 * twin_in.h: what the files of the twin share among themselves.
 */

#include "tests/sim/twin.h"

struct twin_binding {
    struct twin_exchange *from, *to_exchange;
    struct twin_queue *to_queue;
    char filter[TWIN_TEXT];
};

struct twin_action {                /* in a transaction */
    struct twin_msg m;              /* is_send */
    const struct twin_exchange *to; /* NULL: the default one */
    uint32_t held_number, held_sub;
    char held_id[TWIN_ID];
    uint8_t answer;
    bool is_send;
};

struct twin_late { /* delayed */
    struct twin_msg m;
    const struct twin_exchange *to; /* NULL: the default one */
    mono_ms due;
    uint64_t armed;
};

/* ---- twin_route.c ---- */
void twin_unbind_queue(struct twin *t, const struct twin_queue *q);

/* twin_publish_all: all of them or none (a COMMIT): would any queue refuse? */
bool twin_would_refuse(struct twin *t, const struct twin_action *a, uint32_t n);
void twin_send_dead(struct twin *t);

/* ---- twin_queue.c ---- */
bool twin_queue_is_full(struct twin *t, struct twin_queue *q, uint32_t n, uint32_t weight);
void twin_push(struct twin *t, struct twin_queue *q, const struct twin_msg *m);
void twin_die(struct twin *t, struct twin_copy *c, enum twin_why why);
/* twin_note_dead: m leaves q with that history, to be published at the end of the turn. False: q has no exchange for
 * it. */
bool twin_note_dead(struct twin *t, const struct twin_queue *q, const struct twin_msg *m, enum twin_why why);
void twin_count_drop(struct twin *t, enum twin_why why);
void twin_requeue(struct twin *t, struct twin_copy *c, bool has_failed);
void twin_copy_end(struct twin *t, struct twin_copy *c);
void twin_dispatch(struct twin *t, struct twin_queue *q);
bool twin_can_take(const struct twin_consumer *k);

#endif
