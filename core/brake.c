/* SPDX-License-Identifier: Apache-2.0 */
/*
 * brake.c: a token bucket that may go into debt.
 *
 *     tokens   full ┬ one second's worth
 *                   │    take ↓   time ↑
 *                 0 ┼──────────────────── here nobody waits
 *                   │
 *              debt ┴ (debt / rate) seconds until 0 again
 *
 * Tokens are kept in thousandths: then a rate of `rate` tokens a second is exactly `rate` thousandths a millisecond,
 * and nothing is ever rounded away. Whoever waits as long as he is told to takes, over any time t, at most rate * t
 * tokens plus what was in the bucket at first and the last amount he took.
 *
 * Invariants
 *   1. -DEBT_MAX <= tokens <= full <= DEBT_MAX, so that no sum or difference of two of them leaves 64 bits.
 *   2. filled_at never goes back, whatever the clock that is handed in does.
 * Cost    24 bytes; O(1): a multiplication and at most two divisions.
 * Thread  own shard only.
 */
#include "core/brake.h"

#include "core/base/check.h"

#define THOUSAND 1000
#define DEBT_MAX (INT64_MAX / 2)

/* thousandths: n tokens, at most DEBT_MAX. */
static int64_t thousandths(uint64_t n)
{
    return n < DEBT_MAX / THOUSAND ? (int64_t)n * THOUSAND : DEBT_MAX;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

void brake_init(struct brake *b, uint64_t rate, mono_ms now)
{
    *b = (struct brake){.rate = rate, .tokens = thousandths(rate), .filled_at = now};
}

static void fill(struct brake *b, mono_ms now)
{
    if (now <= b->filled_at)
        return;
    uint64_t passed = now - b->filled_at, room = (uint64_t)(thousandths(b->rate) - b->tokens);
    b->filled_at = now;
    if (passed >= ceil_div(room, b->rate))
        b->tokens = thousandths(b->rate);
    else
        b->tokens += (int64_t)(passed * b->rate); /* less than room */
}

mono_ms brake_take(struct brake *b, uint64_t n, mono_ms now)
{
    if (b->rate == 0)
        return 0;
    fill(b, now);
    b->tokens = MAX(b->tokens - thousandths(n), -DEBT_MAX);
    return b->tokens < 0 ? ceil_div((uint64_t)-b->tokens, b->rate) : 0;
}
