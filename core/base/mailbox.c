/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.c: a locked list of letters and a bell.
 *
 *     writer thread ─┐  post: append under the lock      drain: take the whole list under the lock,
 *     reader thread ─┼─► [letter]─►[letter]─► ... ──────►       open each without it  (shard thread)
 *     worker thread ─┘  ring if the box was empty
 *
 * The lock is held for a few instructions on either side, and letters come per batch (a sync of the disk), not per
 * message; a lock-free list would buy nothing that can be measured here.
 *
 * Invariants
 *   1. The bell rings once per change from empty to non-empty, after the letter is in: a receiver that drains after
 *      every ring misses nothing.
 *   2. Letters of one sender are opened in the order posted.
 *   3. on_open runs without the lock: it may post, also to this box; such a letter waits for the next drain.
 * Thread  as said at each function in mailbox.h.
 */
#include "core/base/mailbox.h"

#include "core/base/check.h"

void mailbox_init(struct mailbox *b, void (*wake)(void *ctx), void *ctx)
{
    *b = (struct mailbox){.wake = wake, .wake_ctx = ctx};
    BUG_ON(pthread_mutex_init(&b->lock, NULL) != 0);
}

void mailbox_fini(struct mailbox *b)
{
    BUG_ON(b->first != NULL);
    BUG_ON(pthread_mutex_destroy(&b->lock) != 0);
}

void mailbox_post(struct mailbox *b, struct letter *l)
{
    l->next = NULL;
    BUG_ON(pthread_mutex_lock(&b->lock) != 0);
    bool was_empty = b->first == NULL;
    if (was_empty)
        b->first = l;
    else
        b->last->next = l;
    b->last = l;
    BUG_ON(pthread_mutex_unlock(&b->lock) != 0);
    if (was_empty)
        b->wake(b->wake_ctx);
}

unsigned mailbox_drain(struct mailbox *b, void *shard)
{
    BUG_ON(pthread_mutex_lock(&b->lock) != 0);
    struct letter *l = b->first;
    b->first = b->last = NULL;
    BUG_ON(pthread_mutex_unlock(&b->lock) != 0);
    unsigned n = 0;
    while (l != NULL) {
        struct letter *next = l->next; /* on_open may free the letter */
        l->on_open(l, shard);
        l = next;
        n++;
    }
    return n;
}
