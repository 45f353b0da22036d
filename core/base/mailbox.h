/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_MAILBOX_H
#define WEIR_BASE_MAILBOX_H

/*
 * mailbox.h: how another thread reaches a shard. Many senders, one receiver; letters are embedded in what they carry,
 * so posting never allocates and cannot fail. Order per sender is kept.
 */

#include <pthread.h>
#include <stdbool.h>

struct letter {
    struct letter *next;
    /* on_open: runs on the shard's thread, in the turn's first step; owns the letter (may free it), may post others. */
    void (*on_open)(struct letter *, void *shard);
};

struct mailbox {
    pthread_mutex_t lock;
    struct letter *first, *last; /* guarded by lock */
    void (*wake)(void *ctx);     /* any thread; called when the box was empty */
    void *wake_ctx;
};

/* mailbox_init: an empty box; wake(ctx) must be callable from any thread. */
void mailbox_init(struct mailbox *b, void (*wake)(void *ctx), void *ctx);
/* mailbox_fini: the box must be empty and no sender left. */
void mailbox_fini(struct mailbox *b);

/* mailbox_post: any thread. The letter belongs to the shard from here on. */
void mailbox_post(struct mailbox *b, struct letter *l);

/* mailbox_drain: the shard's thread. Opens all letters that were there at the call, in order; returns how many. */
unsigned mailbox_drain(struct mailbox *b, void *shard);

#endif
