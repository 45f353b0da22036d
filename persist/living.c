/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living.c: the index as a whole: asking it, and what ended queues leave behind. What records do to it is
 * living_apply.c.
 *
 *     lsn ─► spans ─► entry (8 bytes) ─┬─► places    which segment
 *                                      ├─► targets   which queue, or lists of queues, notes
 *     name ─► defs ─► lsn              └── a bit each: QoS 2 id open, retained, has notes
 *
 * A queue that ended with publishes still waiting for it (a log may be cut between their settles and its end, and notes
 * stand behind other records of their batch) is marked; from then on it counts as settled in every answer. What it
 * leaves in the tables, and in the numbers per segment, is swept out in one walk over the index: before the first of a
 * replay, or when as many records came by as make the walk cheap.
 *
 * Invariants (living_check)
 *   1. Every entry has a reason to live: a target, a definition, an open id, or being retained.
 *   2. ENTRY_ID: exactly one def of kind STORE_RX_RELEASE has this lsn; ENTRY_RETAINED: one STORE_RETAIN; ENTRY_DEF:
 * one of its kind. ENTRY_SEVERAL: there is a struct several.
 *   3. ENTRY_NOTED is set if there is a note, and may be set when there is none any more, but not on ENTRY_BARE.
 *   4. n is the number of entries; the places say how many are in which segment.
 * Cost    8 bytes for a publish with one target, some tens of bytes for others; living_where O(1) for what is new or
 * was asked for near, else O(log n). Thread  the shard's.
 */
#include "persist/living.h"

#include "persist/living_in.h"

#define SWEEP_PART 64u /* a sweep is due when so many entries per record that came by are the whole index */

/* ---- entries ------------------------------------------------------------------------------------------------- */

bool entry_waits(const struct living *l, lsn_t lsn, uint64_t e, uint64_t queue, uint32_t *out_bit)
{
    *out_bit = 0;
    if (entry_type(e) == ENTRY_ONE)
        return l->targets.queue[entry_q(e)].number == queue;
    if (entry_type(e) != ENTRY_SEVERAL)
        return false;
    *out_bit = several_find(&l->targets, several_get(&l->targets, lsn), queue);
    return *out_bit != QUEUE_NONE;
}

bool entry_target(const struct living *l, lsn_t lsn, uint64_t e, uint64_t queue)
{
    uint32_t bit;
    if (!entry_waits(l, lsn, e, queue, &bit))
        return false;
    uint32_t q = entry_type(e) == ENTRY_ONE ? entry_q(e) : several_get(&l->targets, lsn)->list->q[bit];
    return !qslot_is_ended(&l->targets, q);
}

/* is_live: it has a reason that an ended queue does not take away. */
static bool is_live(const struct living *l, lsn_t lsn, uint64_t e)
{
    if (l->targets.ended_n == 0 || (e & (ENTRY_ID | ENTRY_RETAINED)) != 0)
        return (e & ENTRY_REASONS) != 0;
    if (entry_type(e) == ENTRY_ONE)
        return !qslot_is_ended(&l->targets, entry_q(e));
    if (entry_type(e) == ENTRY_SEVERAL)
        return several_is_live(&l->targets, several_get(&l->targets, lsn));
    return entry_type(e) == ENTRY_DEF;
}

static void forget_note(struct living *l, lsn_t lsn, uint32_t q)
{
    struct note *n = note_get(&l->targets, l->targets.queue[q].number, lsn);
    if (n != NULL)
        note_del(&l->targets, n);
}

uint64_t entry_forget_targets(struct living *l, lsn_t lsn, uint64_t e)
{
    if (entry_type(e) == ENTRY_ONE) {
        if ((e & ENTRY_NOTED) != 0)
            forget_note(l, lsn, entry_q(e));
        qslot_drop(&l->targets, entry_q(e));
    } else if (entry_type(e) == ENTRY_SEVERAL) {
        const struct several *m = several_get(&l->targets, lsn);
        for (uint32_t i = 0; (e & ENTRY_NOTED) != 0 && i < m->list->n; i++) {
            if (several_waits(m, i))
                forget_note(l, lsn, m->list->q[i]);
        }
        several_del(&l->targets, lsn);
    }
    return e & ~ENTRY_TARGETS;
}

void entry_remove(struct living *l, lsn_t lsn)
{
    const uint64_t *e = spans_get(&l->spans, lsn);
    places_drop(&l->places, entry_seg(*e));
    spans_del(&l->spans, lsn);
    l->n--;
}

void entry_clear(struct living *l, lsn_t lsn, uint64_t reason)
{
    uint64_t *e = spans_get(&l->spans, lsn);
    BUG_ON(e == NULL);
    *e &= ~reason;
    if ((*e & ENTRY_REASONS) == 0)
        entry_remove(l, lsn);
}

/* ---- sweeping ------------------------------------------------------------------------------------------------ */

/* sweep_several: false: no target is left. */
static bool sweep_several(struct living *l, lsn_t lsn, uint64_t e)
{
    struct several *m = several_get(&l->targets, lsn);
    if (!several_is_live(&l->targets, m))
        return false;
    for (uint32_t i = 0; i < m->list->n; i++) {
        if (!several_waits(m, i) || !qslot_is_ended(&l->targets, m->list->q[i]))
            continue;
        if ((e & ENTRY_NOTED) != 0)
            forget_note(l, lsn, m->list->q[i]);
        several_clear(m, i);
    }
    return true;
}

/* sweep_entry: a spans_keep_fn. */
static bool sweep_entry(void *ctx, lsn_t lsn, uint64_t *e)
{
    struct living *l = ctx;
    bool stays = true;
    if (entry_type(*e) == ENTRY_ONE)
        stays = !qslot_is_ended(&l->targets, entry_q(*e));
    else if (entry_type(*e) == ENTRY_SEVERAL)
        stays = sweep_several(l, lsn, *e);
    if (stays)
        return true;
    *e = entry_forget_targets(l, lsn, *e);
    if ((*e & ENTRY_REASONS) != 0)
        return true;
    places_drop(&l->places, entry_seg(*e));
    l->n--;
    return false;
}

void living_sweep(struct living *l)
{
    l->swept_ago = 0;
    if (l->targets.ended_n == 0)
        return;
    spans_each(&l->spans, sweep_entry, l);
    qslots_swept(&l->targets);
}

void living_sweep_some(struct living *l)
{
    if ((uint64_t)++l->swept_ago * SWEEP_PART > l->n)
        living_sweep(l);
}

/* ---- asking -------------------------------------------------------------------------------------------------- */

void living_set_place(struct living *l, lsn_t lsn, struct living_place at)
{
    uint64_t *e = spans_get(&l->spans, lsn);
    if (e == NULL)
        return;
    BUG_ON(at.off >= LIVING_OFF_MAX || at.off % 8 != 0);
    uint32_t seg = places_hold(&l->places, at.segment);
    BUG_ON(seg == PLACES_NONE); /* living_reserve_segments */
    places_drop(&l->places, entry_seg(*e));
    *e = (*e & ~ENTRY_AT_MASK) | entry_at(seg, at.off);
}

enum err living_reserve_segments(struct living *l, uint32_t n)
{
    return places_reserve(&l->places, n);
}

bool living_where(const struct living *l, lsn_t lsn, struct living_place *out)
{
    const uint64_t *e = spans_get(&l->spans, lsn);
    if (e == NULL || !is_live(l, lsn, *e))
        return false;
    uint32_t seg = entry_seg(*e);
    *out = (struct living_place){0};
    if (seg == 0)
        return true;
    out->segment = l->places.at[seg].number;
    out->off = (uint32_t)(*e & ENTRY_OFF_MASK) * 8;
    return true;
}

static void trim_targets(const struct living *l, uint64_t e, struct store_rec *rec, struct store_target *target)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rec->target_n; i++) {
        struct store_target t = rec->target[i];
        if (!entry_target(l, rec->lsn, e, t.queue))
            continue;
        const struct note *note = (e & ENTRY_NOTED) != 0 ? note_get(&l->targets, t.queue, rec->lsn) : NULL;
        t.progress = note != NULL ? note->progress : STORE_WAITS;
        t.ticket = note != NULL ? note->ticket : 0;
        t.session = note != NULL ? note->session : 0;
        t.returns = note != NULL ? note->returns : 0;
        target[n++] = t;
    }
    rec->target = target;
    rec->target_n = n;
}

void living_trim(const struct living *l, struct store_rec *rec, struct store_target *target)
{
    const uint64_t *found = spans_get(&l->spans, rec->lsn);
    uint64_t e = found != NULL ? *found : 0;
    const struct def *id = NULL;
    trim_targets(l, e, rec, target);
    if ((e & ENTRY_ID) != 0) {
        const struct def_key key = def_key_id(&l->defs, rec->session, rec->rx_id);
        id = def_get(&l->defs, &key);
    }
    if (id == NULL || id->lsn != rec->lsn) {
        rec->session = 0;
        rec->rx_id = 0;
    }
    if ((e & ENTRY_RETAINED) == 0)
        rec->flags &= (uint8_t)~STORE_PUBLISH_RETAINED;
    rec->of = rec->queue = 0;
}

/* The order in which definitions are visited. */
static const uint8_t def_order[] = {
    STORE_EXCHANGE, STORE_SESSION, STORE_QUEUE, STORE_BIND, STORE_MEMBER, STORE_WILL,
};

/* next_of: the first behind `after` that is a definition of this kind; kind 0: that is none. */
static lsn_t next_of(const struct living *l, lsn_t after, uint8_t kind)
{
    lsn_t lsn = after;
    for (const uint64_t *e = spans_next(&l->spans, lsn, &lsn); e != NULL; e = spans_next(&l->spans, lsn, &lsn)) {
        bool is_def = entry_type(*e) == ENTRY_DEF;
        if (kind == 0 ? !is_def : is_def && entry_q(*e) == kind)
            return lsn;
    }
    return 0;
}

lsn_t living_next(struct living *l, lsn_t after, uint8_t *kind_io)
{
    if (after == 0)
        living_sweep(l);
    if (kind_io == NULL)
        return next_of(l, after, 0);
    for (; *kind_io < ARRAY_N(def_order); ++*kind_io, after = 0) {
        lsn_t lsn = next_of(l, after, def_order[*kind_io]);
        if (lsn != 0)
            return lsn;
    }
    return 0;
}

uint64_t living_n(const struct living *l)
{
    return l->n;
}

uint64_t living_n_in(const struct living *l, uint64_t segment)
{
    return places_n(&l->places, segment);
}

uint64_t living_bytes(const struct living *l)
{
    return sizeof(*l) + l->mem.bytes;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

struct living *living_new(struct mem *mem, uint64_t seed)
{
    struct living *l = mem_zalloc(mem, sizeof(*l));
    if (l == NULL)
        return NULL;
    mem_init(&l->mem, mem->heap, "living");
    if (places_init(&l->places, &l->mem) != ERR_OK) {
        mem_free(mem, l);
        return NULL;
    }
    l->outer = mem;
    spans_init(&l->spans, &l->mem);
    targets_init(&l->targets, &l->mem, seed);
    defs_init(&l->defs, &l->mem, seed);
    list_init(&l->unit);
    return l;
}

void living_free(struct living *l)
{
    if (l == NULL)
        return;
    living_cut(l);
    spans_fini(&l->spans);
    targets_fini(&l->targets);
    defs_fini(&l->defs);
    places_fini(&l->places);
    BUG_ON(l->mem.bytes != 0);
    mem_free(l->outer, l);
}

/* What a walk over all entries counts. */
struct count {
    const struct living *l;
    uint64_t n, one, several, defs;
};

static void check_entry(struct count *c, lsn_t lsn, uint64_t e)
{
    const struct living *l = c->l;
    enum entry_type type = entry_type(e);
    BUG_ON((e & ENTRY_REASONS) == 0 || l->places.at[entry_seg(e)].n == 0);
    BUG_ON(type == ENTRY_ONE && l->targets.queue[entry_q(e)].refs == 0);
    BUG_ON(type == ENTRY_SEVERAL && several_get(&l->targets, lsn) == NULL);
    BUG_ON(type == ENTRY_BARE && (e & ENTRY_NOTED) != 0);
    c->n++;
    c->one += type == ENTRY_ONE;
    c->several += type == ENTRY_SEVERAL;
    c->defs += (e & ENTRY_ID) != 0;
    c->defs += (e & ENTRY_RETAINED) != 0;
    c->defs += type == ENTRY_DEF;
}

static void check_def(const struct living *l, const struct def *x)
{
    const uint64_t *e = spans_get(&l->spans, x->lsn);
    BUG_ON(e == NULL);
    if (x->key.kind == STORE_RX_RELEASE)
        BUG_ON((*e & ENTRY_ID) == 0);
    else if (x->key.kind == STORE_RETAIN)
        BUG_ON((*e & ENTRY_RETAINED) == 0);
    else
        BUG_ON(entry_type(*e) != ENTRY_DEF || entry_q(*e) != x->key.kind);
}

static void check_names(const struct living *l, uint64_t def_n)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < l->defs.by_key.cap; i++) {
        const struct def *x = (const struct def *)(uintptr_t)l->defs.by_key.slot[i].val;
        if (x == NULL || x->lsn == 0)
            continue;
        check_def(l, x);
        n++;
    }
    BUG_ON(n != def_n);
    for (uint32_t i = 0; i < l->targets.notes.cap; i++) {
        const struct note *note = (const struct note *)(uintptr_t)l->targets.notes.slot[i].val;
        const uint64_t *e = note != NULL ? spans_get(&l->spans, note->of) : NULL;
        BUG_ON(note != NULL && (e == NULL || (*e & ENTRY_NOTED) == 0));
    }
}

/* check_refs: every reference to a queue is a publish's or a list's. */
static void check_refs(const struct targets *t, uint64_t one)
{
    uint64_t refs = 0;
    for (uint32_t q = 0; q < t->queue_used_n; q++)
        refs += t->queue[q].refs;
    for (uint32_t i = 0; i < t->lists.cap; i++) {
        const struct target_list *list = (const struct target_list *)(uintptr_t)t->lists.slot[i].val;
        refs -= list != NULL ? list->n : 0;
    }
    BUG_ON(refs != one);
}

void living_check(const struct living *l)
{
    struct count c = {.l = l};
    uint64_t placed = 0;
    lsn_t lsn = 0;
    spans_check(&l->spans);
    places_check(&l->places);
    targets_check(&l->targets);
    defs_check(&l->defs);
    for (const uint64_t *e = spans_next(&l->spans, 0, &lsn); e != NULL; e = spans_next(&l->spans, lsn, &lsn))
        check_entry(&c, lsn, *e);
    for (uint32_t i = 0; i < l->places.used_n; i++)
        placed += l->places.at[i].n;
    BUG_ON(c.n != l->n || placed != l->n || c.several != l->targets.several.n);
    check_refs(&l->targets, c.one);
    check_names(l, c.defs);
}
