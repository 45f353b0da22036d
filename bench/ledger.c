/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.c: sorting what deviates. Runs only when a broker errs, so it may be slow: gaps are searched one by one.
 */
#include "bench/ledger.h"

/* gap_take: takes number out of the open gaps of that stream; false if it is in none. */
static bool gap_take(struct ledger *g, const uint32_t *next, uint32_t number)
{
    for (uint32_t i = 0; i < g->gap_n; i++) {
        struct gap *gap = &g->gaps[i];
        if (gap->next != next || number < gap->from || number >= gap->to)
            continue;
        struct gap behind = {next, number + 1, gap->to};
        gap->to = number;
        if (gap->from == gap->to)
            *gap = g->gaps[--g->gap_n];
        if (behind.from < behind.to && g->gap_n < LEDGER_GAP_N)
            g->gaps[g->gap_n++] = behind;
        return true;
    }
    return false;
}

bool ledger_odd(struct ledger *g, uint32_t *next, uint32_t sequence)
{
    if (sequence > *next) {
        g->lost += sequence - *next;
        if (g->gap_n < LEDGER_GAP_N)
            g->gaps[g->gap_n++] = (struct gap){next, *next, sequence};
        *next = sequence + 1;
        g->received++;
        return true;
    }
    if (!gap_take(g, next, sequence)) {
        g->duplicated++;
        return false;
    }
    g->lost--;
    g->reordered++;
    g->received++;
    return true;
}

void ledger_close(struct ledger *g, const uint32_t *next, uint32_t sent)
{
    if (sent > *next)
        g->lost += sent - *next;
}

bool ledger_is_clean(const struct ledger *g)
{
    return g->lost == 0 && g->duplicated == 0 && g->reordered == 0 && g->corrupt == 0;
}
