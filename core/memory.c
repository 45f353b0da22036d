/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c: three marks on the way to having no memory.
 *
 *     heap bytes ──┬── soft ─► turn by turn through the queues: what waits and is on disk leaves memory
 *                  ├── high ─► memory_brake: a publisher is not read for half a second, again and again
 *                  └── hard ─► accept() says ERR_FULL; QoS 0 that would be kept is dropped (core/broker_publish.c)
 *
 * Queues that grow make pages while they are pushed to (core/entry.c); the walk here is for those that stand still, and
 * for what was not durable then. A round that did nothing is followed by a rest, longer each time, up to REST_MS_MAX:
 * memory may be short because of what cannot be put aside.
 *
 * Invariants
 *   1. Nobody who owes us the answer to a delivery is braked: that answer may be what makes room.
 *   2. m->sweep is in vhost->queues_all, or its head, or NULL.
 * Cost    a comparison per turn below the soft mark; above it at most SWEEP_N entries looked at per turn.
 * Thread  own shard only.
 */
#include "core/memory.h"

#include "core/conn.h"
#include "core/entry_page.h"
#include "core/session.h"
#include "core/shard.h"

enum { SWEEP_N = 8192, REST_MS_MIN = 250, REST_MS_MAX = 8000, BRAKE_MS = 500 };

/* share: so many eighths of it; 0: it is not known. */
static uint64_t share(uint64_t bytes, unsigned eighths)
{
    return bytes ? bytes / 8 * eighths : UINT64_MAX;
}

static uint64_t mark_of(uint64_t limit, uint64_t of_ram, uint64_t of_heap)
{
    return limit ? limit : MIN(of_ram, of_heap);
}

void memory_init(struct memory *m, const struct mem_heap *heap, const struct limits *limits, uint64_t ram_bytes)
{
    *m = (struct memory){.heap = heap};
    uint64_t max = heap->bytes_max;
    uint64_t soft = mark_of(limits->memory_soft_mark, share(ram_bytes, 2), share(max, 4));
    uint64_t high = mark_of(limits->memory_high_mark, share(ram_bytes, 3), share(max, 6));
    uint64_t hard = mark_of(limits->memory_hard_mark, share(ram_bytes, 4), share(max, 7));
    m->mark[MEMORY_SOFT] = soft;
    m->mark[MEMORY_HIGH] = MAX(high, soft);
    m->mark[MEMORY_HARD] = MAX(hard, m->mark[MEMORY_HIGH]);
    list_init(&m->wanting);
}

/* say: what the marks at and above `high` mean, once per crossing; and that it is over. */
static void say(struct shard *s)
{
    static const char *const texts[MEMORY_MARK_N] = {"what waits in queues is left to the disk",
                                                     "publishers have to wait", "publishes are refused"};
    struct memory *m = &s->memory;
    while (m->above < MEMORY_MARK_N && memory_is(m, (enum memory_mark)m->above)) {
        log_line(s->log, m->above == MEMORY_SOFT ? LOG_INFO : LOG_WARN, "%llu MiB of memory in use: %s",
                 (unsigned long long)(m->heap->bytes >> 20), texts[m->above]);
        m->above++;
    }
    while (m->above > 0 && m->heap->bytes < m->mark[m->above - 1] / 8 * 7) {
        m->above--;
        if (m->above >= MEMORY_HIGH)
            log_line(s->log, LOG_WARN, "%llu MiB of memory in use: it is no longer so that %s",
                     (unsigned long long)(m->heap->bytes >> 20), texts[m->above]);
    }
}

void memory_soon(struct shard *s, mono_ms ms)
{
    struct wtimer *t = &s->memory.timer;
    mono_ms due = s->now + ms;
    if (!wheel_is_armed(t) || t->due > due)
        shard_arm(s, t, TIMER_MEMORY, due);
}

/* next_queue: of this round; NULL: it is over. */
static struct queue *next_queue(struct shard *s)
{
    struct memory *m = &s->memory;
    struct list *all = &s->vhost->queues_all;
    if (!m->sweep) {
        m->sweep = all->head.next;
        m->has_paged = false;
    }
    if (m->sweep == &all->head) {
        m->sweep = NULL;
        return NULL;
    }
    struct queue *q = LIST_ITEM(m->sweep, struct queue, all);
    m->sweep = m->sweep->next;
    return q;
}

/* rest: at the end of a round. */
static void rest(struct shard *s)
{
    struct memory *m = &s->memory;
    m->rest_ms = m->has_paged ? REST_MS_MIN : MIN(MAX(m->rest_ms * 2, (mono_ms)REST_MS_MIN), (mono_ms)REST_MS_MAX);
    m->rest_until = s->now + m->rest_ms;
    memory_soon(s, m->rest_ms);
}

bool memory_turn(struct shard *s)
{
    struct memory *m = &s->memory;
    pages_fetch(s);
    if (UNLIKELY(m->above > 0) || memory_is(m, MEMORY_SOFT))
        say(s);
    if (!memory_is(m, MEMORY_SOFT) || !pages_possible(s) || s->now < m->rest_until)
        return false;
    for (uint32_t budget = SWEEP_N; budget > 0;) {
        struct queue *q = next_queue(s);
        if (!q) {
            rest(s);
            return false;
        }
        uint64_t paged = 0;
        uint32_t n = 1 + queue_page_out(q, PAGE_ALL, budget, &paged);
        m->has_paged |= paged != 0;
        budget -= MIN(n, budget);
    }
    return true;
}

void memory_skip(struct shard *s, const struct queue *q)
{
    if (UNLIKELY(s->memory.sweep == &q->all))
        s->memory.sweep = q->all.next;
}

void memory_brake(struct conn *c)
{
    struct shard *s = c->shard;
    if (c->is_closing || !c->session || c->session->tickets.n != 0)
        return;
    if (!c->is_paused)
        stat_add(&s->stats, STAT_PAUSES_MEMORY, 1);
    conn_pause(c, BRAKE_MS);
}
