/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_queues.c: which queues go with a session.
 *
 *     SESSION 3 ◄── QUEUE 7 ◄── targets of publishes
 *
 * The index knows it for as long as the queue lives. A log does not: the record of a queue that went with its session
 * may be in a segment that was given back, while publishes that had it as a target are in later ones; whoever reads
 * only these, and the end of the session, cannot know that the queue went, too. So the log says it: it asks here which
 * queues go, and writes an end for each.
 *
 * Cost    O(what depends on the session).
 * Thread  the shard's.
 */
#include "persist/living_in.h"

uint32_t living_queues_of(const struct living *l, uint64_t session, uint64_t *out, uint32_t n)
{
    struct def_key key = def_key_session(&l->defs, session);
    const struct def *d = def_get(&l->defs, &key);
    uint32_t found = 0;
    if (d == NULL)
        return 0;
    LIST_EACH(&d->deps, it)
    {
        const struct def *of = LIST_ITEM(it, struct def_link, node)->of;
        if (of->key.kind == STORE_QUEUE && of->lsn != 0 && found < n)
            out[found++] = of->key.number;
    }
    return found;
}
