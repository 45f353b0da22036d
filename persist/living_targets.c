/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_targets.c: queues, lists of them, and notes.
 *
 *     queue 70001 ─► by_number ─► 4 ─► queue[4] = {70001, 3 refs}
 *     publish 88  ─► several ─► { left 101, list ─► [4, 9, 2] }     publish 91 to the same queues: the same list
 *     (70001, 88) ─► notes ─► { sent, ticket 17 }
 *
 * Invariants (targets_check)
 *   1. A queue slot is in by_number, unless it ended or is free; ended_n counts those that ended and are not swept yet.
 *      One without refs stays for the next publish, until its queue ends or half of all slots are such.
 *   2. A list is in `lists` under the hash of its queue numbers in the order given, and lives as long as some publish
 *      has it. It holds its queues, so a small number in it is never another queue's.
 *   3. left_n is the number of bits in `left`.
 *   4. A note is in `notes` under the hash of its queue and publish.
 * Cost    all O(1), but finding a queue in a list: O(n) up to LIST_SEARCH, O(log n) above. 24 bytes and a slot for each
 *         publish with several targets, 4 (8) bytes per target and list; 40 bytes and a slot per note.
 * Thread  the owner's.
 */
#include "persist/living_targets.h"

#include <string.h>

#include "core/base/hash.h"

#define QUEUE_CAP_MIN 64u

/* ---- queues -------------------------------------------------------------------------------------------------- */

static void qslot_free(struct targets *t, uint32_t q)
{
    t->queue[q] = (struct qslot){.number = t->queue_free, .ended = QUEUE_FREE};
    t->queue_free = q;
}

/* free_idle: all slots that nothing refers to. */
static void free_idle(struct targets *t)
{
    for (uint32_t q = 0; q < t->queue_used_n; q++) {
        struct qslot *s = &t->queue[q];
        if (s->refs != 0 || s->ended != 0)
            continue;
        tab_del(&t->by_number, tab_find(&t->by_number, s->number, NULL));
        qslot_free(t, q);
    }
    t->idle_n = 0;
}

/* room: makes sure of a free slot. */
static enum err room(struct targets *t)
{
    if (t->queue_free != QUEUE_NONE || t->queue_used_n < t->queue_cap)
        return ERR_OK;
    if (t->queue_cap != 0 && t->idle_n >= t->queue_cap / 2) {
        free_idle(t);
        return ERR_OK;
    }
    uint32_t cap = MAX(t->queue_cap * 2, QUEUE_CAP_MIN);
    struct qslot *queue = mem_realloc(t->mem, t->queue, cap * sizeof(*queue));
    if (queue == NULL)
        return ERR_NOMEM;
    t->queue = queue;
    t->queue_cap = cap;
    return ERR_OK;
}

/* qslot_new: for a queue that is not in by_number; without refs. */
static uint32_t qslot_new(struct targets *t, uint64_t number)
{
    if (room(t) != ERR_OK || tab_hold(&t->by_number) != ERR_OK)
        return QUEUE_NONE;
    uint32_t q = t->queue_free;
    if (q != QUEUE_NONE)
        t->queue_free = (uint32_t)t->queue[q].number;
    else
        q = t->queue_used_n++;
    t->queue[q] = (struct qslot){.number = number};
    t->idle_n++;
    tab_put(&t->by_number, number, (uint64_t)q + 1);
    return q;
}

uint32_t qslot_hold(struct targets *t, uint64_t number)
{
    uint32_t q = t->last;
    if (q >= t->queue_used_n || t->queue[q].number != number || t->queue[q].ended != 0) {
        uint64_t found = tab_get(&t->by_number, number);
        q = found != 0 ? (uint32_t)(found - 1) : qslot_new(t, number);
        if (q == QUEUE_NONE)
            return QUEUE_NONE;
        t->last = q;
    }
    t->idle_n -= t->queue[q].refs++ == 0;
    return q;
}

void qslot_drop(struct targets *t, uint32_t q)
{
    struct qslot *s = &t->queue[q];
    BUG_ON(s->refs == 0);
    if (LIKELY(--s->refs != 0))
        return;
    if (LIKELY(s->ended == 0)) {
        t->idle_n++;
        return;
    }
    t->ended_n -= s->ended == QUEUE_ENDED;
    qslot_free(t, q);
}

void qslot_end(struct targets *t, uint64_t number)
{
    struct tab_slot *found = tab_find(&t->by_number, number, NULL);
    if (found == NULL)
        return;
    uint32_t q = (uint32_t)(found->val - 1);
    tab_del(&t->by_number, found);
    if (t->queue[q].refs == 0) {
        t->idle_n--;
        qslot_free(t, q);
        return;
    }
    t->queue[q].ended = QUEUE_ENDED;
    t->ended_n++;
}

void qslots_swept(struct targets *t)
{
    for (uint32_t q = 0; q < t->queue_used_n && t->ended_n != 0; q++) {
        if (t->queue[q].ended != QUEUE_ENDED)
            continue;
        t->queue[q].ended = QUEUE_SWEPT;
        t->ended_n--;
    }
}

/* ---- lists --------------------------------------------------------------------------------------------------- */

static uint32_t *by_order(const struct target_list *l)
{
    return (uint32_t *)(uintptr_t)l->q + l->n;
}

static uint64_t list_hash(uint64_t seed, const struct store_target *target, uint32_t n)
{
    uint64_t h = seed ^ n;
    for (uint32_t i = 0; i < n; i++)
        h = hash_mix(h ^ target[i].queue ^ 0x9fb21c651e98df25ull, 0xa24baed4963ee407ull ^ seed);
    return h;
}

static bool list_is(const struct targets *t, const struct target_list *l, const struct store_target *target, uint32_t n)
{
    if (l->n != n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct qslot *s = &t->queue[l->q[i]];
        if (s->number != target[i].queue || s->ended != 0)
            return false;
    }
    return true;
}

static uint64_t number_at(const struct targets *t, const struct target_list *l, uint32_t place)
{
    return t->queue[l->q[place]].number;
}

/* sift: heap sort's step: from `root` down, in by_order(l)[0 .. n). */
static void sift(const struct targets *t, const struct target_list *l, uint32_t root, uint32_t n)
{
    uint32_t *o = by_order(l);
    for (uint32_t child = root * 2 + 1; child < n; root = child, child = root * 2 + 1) {
        if (child + 1 < n && number_at(t, l, o[child]) < number_at(t, l, o[child + 1]))
            child++;
        if (number_at(t, l, o[root]) >= number_at(t, l, o[child]))
            return;
        uint32_t was = o[root];
        o[root] = o[child];
        o[child] = was;
    }
}

/* list_sort: fills in by_order. Often the queues come rising already. */
static void list_sort(const struct targets *t, const struct target_list *l)
{
    uint32_t *o = by_order(l);
    bool is_rising = true;
    for (uint32_t i = 0; i < l->n; i++) {
        o[i] = i;
        is_rising = is_rising && (i == 0 || number_at(t, l, i - 1) < number_at(t, l, i));
    }
    if (is_rising)
        return;
    for (uint32_t i = l->n / 2; i-- > 0;)
        sift(t, l, i, l->n);
    for (uint32_t n = l->n; n-- > 1;) {
        uint32_t most = o[0];
        o[0] = o[n];
        o[n] = most;
        sift(t, l, 0, n);
    }
}

static void list_free(struct targets *t, struct target_list *l, uint32_t queue_n)
{
    for (uint32_t i = 0; i < queue_n; i++)
        qslot_drop(t, l->q[i]);
    mem_free(t->mem, l);
}

static struct target_list *list_new(struct targets *t, const struct store_target *target, uint32_t n, uint64_t hash)
{
    size_t words = (size_t)n * (n > LIST_SEARCH ? 2 : 1);
    struct target_list *l = mem_alloc(t->mem, sizeof(*l) + words * sizeof(l->q[0]));
    if (l == NULL)
        return NULL;
    *l = (struct target_list){.hash = hash, .n = n};
    for (uint32_t i = 0; i < n; i++) {
        l->q[i] = qslot_hold(t, target[i].queue);
        if (l->q[i] == QUEUE_NONE) {
            list_free(t, l, i);
            return NULL;
        }
    }
    if (tab_hold(&t->lists) != ERR_OK) {
        list_free(t, l, n);
        return NULL;
    }
    if (n > LIST_SEARCH)
        list_sort(t, l);
    tab_put(&t->lists, hash, (uintptr_t)l);
    return l;
}

static struct target_list *list_hold(struct targets *t, const struct store_target *target, uint32_t n)
{
    uint64_t hash = list_hash(t->seed, target, n);
    struct target_list *l = NULL;
    for (struct tab_slot *s = tab_find(&t->lists, hash, NULL); s != NULL; s = tab_find(&t->lists, hash, s)) {
        l = (struct target_list *)(uintptr_t)s->val;
        if (list_is(t, l, target, n))
            break;
        l = NULL;
    }
    if (l == NULL)
        l = list_new(t, target, n, hash);
    if (l != NULL)
        l->refs++;
    return l;
}

static void list_drop(struct targets *t, struct target_list *l)
{
    if (--l->refs != 0)
        return;
    struct tab_slot *s = tab_find(&t->lists, l->hash, NULL);
    while (s->val != (uintptr_t)l)
        s = tab_find(&t->lists, l->hash, s);
    tab_del(&t->lists, s);
    list_free(t, l, l->n);
}

/* ---- publishes with several targets -------------------------------------------------------------------------- */

static struct several *several_alloc(struct targets *t, uint32_t n)
{
    size_t words = (n + 63) / 64;
    return n <= SEVERAL_POOLED ? pool_take(&t->several_pool)
                               : mem_alloc(t->mem, sizeof(struct several) + words * sizeof(uint64_t));
}

static void several_release(struct targets *t, struct several *m, uint32_t n)
{
    if (n <= SEVERAL_POOLED)
        pool_give(&t->several_pool, m);
    else
        mem_free(t->mem, m);
}

struct several *several_new(struct targets *t, const struct store_target *target, uint32_t n)
{
    struct several *m = several_alloc(t, n);
    if (m == NULL)
        return NULL;
    m->list = list_hold(t, target, n);
    if (m->list == NULL || tab_hold(&t->several) != ERR_OK) {
        if (m->list != NULL)
            list_drop(t, m->list);
        several_release(t, m, n);
        return NULL;
    }
    m->left_n = n;
    memset(m->left, 0xff, n / 64 * sizeof(uint64_t));
    if (n % 64 != 0)
        m->left[n / 64] = (1ull << n % 64) - 1;
    return m;
}

static void several_free(struct targets *t, struct several *m)
{
    uint32_t n = m->list->n;
    list_drop(t, m->list);
    several_release(t, m, n);
}

void several_give(struct targets *t, struct several *m)
{
    tab_release(&t->several);
    several_free(t, m);
}

void several_put(struct targets *t, lsn_t lsn, struct several *m)
{
    tab_put(&t->several, lsn, (uintptr_t)m);
}

void several_del(struct targets *t, lsn_t lsn)
{
    struct tab_slot *s = tab_find(&t->several, lsn, NULL);
    struct several *m = (struct several *)(uintptr_t)s->val;
    tab_del(&t->several, s);
    several_free(t, m);
}

struct several *several_get(const struct targets *t, lsn_t lsn)
{
    return (struct several *)(uintptr_t)tab_get(&t->several, lsn);
}

static bool is_it(const struct targets *t, const struct several *m, uint32_t bit, uint64_t queue)
{
    const struct qslot *s = &t->queue[m->list->q[bit]];
    return s->number == queue && several_waits(m, bit);
}

static uint32_t find_in_order(const struct targets *t, const struct several *m, uint64_t queue)
{
    const struct target_list *l = m->list;
    const uint32_t *o = by_order(l);
    uint32_t lo = 0, hi = l->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (number_at(t, l, o[mid]) < queue)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < l->n && number_at(t, l, o[lo]) == queue; lo++) { /* a queue that is named twice settles twice */
        if (is_it(t, m, o[lo], queue))
            return o[lo];
    }
    return QUEUE_NONE;
}

uint32_t several_find(const struct targets *t, const struct several *m, uint64_t queue)
{
    const struct target_list *l = m->list;
    if (l->n > LIST_SEARCH)
        return find_in_order(t, m, queue);
    for (uint32_t i = 0; i < l->n; i++) {
        if (is_it(t, m, i, queue))
            return i;
    }
    return QUEUE_NONE;
}

bool several_is_live(const struct targets *t, const struct several *m)
{
    if (t->ended_n == 0)
        return m->left_n != 0;
    for (uint32_t i = 0; i < m->list->n; i++) {
        if (several_waits(m, i) && !qslot_is_ended(t, m->list->q[i]))
            return true;
    }
    return false;
}

/* ---- notes --------------------------------------------------------------------------------------------------- */

static uint64_t note_hash(uint64_t queue, lsn_t of)
{
    return hash_mix(of ^ 0x9e3779b97f4a7c15ull, queue ^ 0xd6e8feb86659fd93ull); /* both count up: they must not meet */
}

struct note *note_new(struct targets *t)
{
    if (tab_hold(&t->notes) != ERR_OK)
        return NULL;
    struct note *n = pool_take(&t->note_pool);
    if (n == NULL)
        tab_release(&t->notes);
    else
        *n = (struct note){.of = 0};
    return n;
}

void note_give(struct targets *t, struct note *n)
{
    tab_release(&t->notes);
    pool_give(&t->note_pool, n);
}

void note_put(struct targets *t, struct note *n)
{
    tab_put(&t->notes, note_hash(n->queue, n->of), (uintptr_t)n);
}

static struct tab_slot *note_find(const struct targets *t, uint64_t queue, lsn_t of)
{
    uint64_t hash = note_hash(queue, of);
    for (struct tab_slot *s = tab_find(&t->notes, hash, NULL); s != NULL; s = tab_find(&t->notes, hash, s)) {
        const struct note *n = (const struct note *)(uintptr_t)s->val;
        if (n->queue == queue && n->of == of)
            return s;
    }
    return NULL;
}

struct note *note_get(const struct targets *t, uint64_t queue, lsn_t of)
{
    const struct tab_slot *s = note_find(t, queue, of);
    return s != NULL ? (struct note *)(uintptr_t)s->val : NULL;
}

void note_del(struct targets *t, struct note *n)
{
    tab_del(&t->notes, note_find(t, n->queue, n->of));
    pool_give(&t->note_pool, n);
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

void targets_init(struct targets *t, struct mem *mem, uint64_t seed)
{
    *t = (struct targets){.mem = mem, .seed = seed, .queue_free = QUEUE_NONE};
    tab_init(&t->by_number, mem);
    tab_init(&t->lists, mem);
    tab_init(&t->several, mem);
    tab_init(&t->notes, mem);
    pool_init(&t->several_pool, mem, sizeof(struct several) + sizeof(uint64_t));
    pool_init(&t->note_pool, mem, sizeof(struct note));
}

void targets_fini(struct targets *t)
{
    for (uint32_t i = 0; i < t->notes.cap; i++) {
        if (t->notes.slot[i].val != 0)
            pool_give(&t->note_pool, (void *)(uintptr_t)t->notes.slot[i].val);
    }
    for (uint32_t i = 0; i < t->several.cap; i++) {
        if (t->several.slot[i].val != 0)
            several_free(t, (struct several *)(uintptr_t)t->several.slot[i].val);
    }
    tab_fini(&t->by_number);
    tab_fini(&t->lists);
    tab_fini(&t->several);
    tab_fini(&t->notes);
    pool_fini(&t->several_pool);
    pool_fini(&t->note_pool);
    mem_free(t->mem, t->queue);
}

static void check_queues(const struct targets *t)
{
    uint32_t free_n = 0, idle = 0, ended = 0, named = 0;
    for (uint32_t q = t->queue_free; q != QUEUE_NONE; q = (uint32_t)t->queue[q].number, free_n++)
        BUG_ON(t->queue[q].refs != 0 || t->queue[q].ended != QUEUE_FREE || free_n > t->queue_used_n);
    for (uint32_t q = 0; q < t->queue_used_n; q++) {
        const struct qslot *s = &t->queue[q];
        free_n -= s->ended == QUEUE_FREE;
        ended += s->ended == QUEUE_ENDED;
        idle += s->refs == 0 && s->ended == 0;
        named += s->ended == 0;
        BUG_ON(s->refs == 0 && (s->ended == QUEUE_ENDED || s->ended == QUEUE_SWEPT));
        BUG_ON(s->ended == 0 && tab_get(&t->by_number, s->number) != (uint64_t)q + 1);
    }
    BUG_ON(free_n != 0 || ended != t->ended_n || idle != t->idle_n || named != t->by_number.n);
    tab_check(&t->by_number);
}

void targets_check(const struct targets *t)
{
    uint64_t refs = 0;
    check_queues(t);
    for (uint32_t i = 0; i < t->lists.cap; i++) {
        const struct target_list *l = (const struct target_list *)(uintptr_t)t->lists.slot[i].val;
        if (l == NULL)
            continue;
        refs += l->refs;
        BUG_ON(l->hash != t->lists.slot[i].key || l->refs == 0);
    }
    BUG_ON(refs != t->several.n + t->several.held);
    for (uint32_t i = 0; i < t->several.cap; i++) {
        const struct several *m = (const struct several *)(uintptr_t)t->several.slot[i].val;
        uint32_t n = 0;
        for (uint32_t b = 0; m != NULL && b < m->list->n; b++)
            n += several_waits(m, b);
        BUG_ON(m != NULL && n != m->left_n);
    }
    for (uint32_t i = 0; i < t->notes.cap; i++) {
        const struct note *n = (const struct note *)(uintptr_t)t->notes.slot[i].val;
        BUG_ON(n != NULL && note_get(t, n->queue, n->of) != n);
    }
    BUG_ON(t->note_pool.used_n != t->notes.n + t->notes.held);
    tab_check(&t->lists);
    tab_check(&t->several);
    tab_check(&t->notes);
}
