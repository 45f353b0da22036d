/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_LEDGER_H
#define WEIR_BENCH_LEDGER_H

/*
 * ledger.h: is every message there, once, in order and whole? One counter per stream and receiver says which sequence
 * number comes next; what deviates is sorted into four kinds. Any of them fails the run.
 */

#include "bench/bench.h"

#define LEDGER_GAP_N 4096u

struct gap { /* the numbers [from, to) of the stream that counts in *next have not been seen */
    const uint32_t *next;
    uint32_t from, to;
};

struct ledger {
    uint64_t received; /* whole and expected: in order, or late but never seen before */
    uint64_t lost, duplicated, reordered, corrupt;
    uint32_t gap_n;
    struct gap gaps[LEDGER_GAP_N];
};

/* ledger_odd: ledger_see for a number that is not the next one. */
bool ledger_odd(struct ledger *g, uint32_t *next, uint32_t sequence);

/* ledger_see: notes the number of a whole message of the stream whose counter is *next. A jump forward loses what is
 * between; a number that was lost and comes late is reordered instead; any other is a duplicate (also a late one, once
 * more than LEDGER_GAP_N gaps are open). False for a duplicate. */
static inline bool ledger_see(struct ledger *g, uint32_t *next, uint32_t sequence)
{
    if (UNLIKELY(sequence != *next))
        return ledger_odd(g, next, sequence);
    *next = sequence + 1;
    g->received++;
    return true;
}

/* ledger_close: the stream has been sent up to `sent` and nothing more will come. */
void ledger_close(struct ledger *g, const uint32_t *next, uint32_t sent);

bool ledger_is_clean(const struct ledger *g);

#endif
