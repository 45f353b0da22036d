/* SPDX-License-Identifier: Apache-2.0 */
/*
 * living_apply.c: what records do to the index.
 *
 *     record ─► op ─► reserve (may fail) ─► commit (cannot)
 *                │
 *                └─ in a unit: kept ... TX_END: reserve all ─► commit all
 *
 * What comes most, a publish for one queue and the notes about it, takes a short way past all that.
 *
 * Invariants
 *   1. Whatever may fail is in reserve, and unreserve undoes it: a record takes effect whole or not at all, and so does
 * a unit. Commit takes what was reserved out of the op; unreserve gives back the rest.
 *   2. Between reserve and commit an entry may be there that has no reason to live (ENTRY_HELD).
 *   3. Nothing in a record is believed to be as it should be: a log may be damaged. What cannot be is ignored.
 *   4. Of two records about one definition, one topic or one id the one with the greater LSN counts, in whatever order
 *      they are read.
 * Cost    O(1), but ends: O(what ends with it).
 * Thread  the shard's.
 */
#include <string.h>

#include "persist/living.h"

#include "persist/living_in.h"

#define PLACES_SPARE 8u /* segments that living_set_place may name without having asked */

/* A record on its way into the index. */
struct op {
    struct list_node node;
    const struct store_rec *rec;
    struct living_place place;
    bool clears;                              /* RETAIN, WILL: there is none any more */
    struct def_key key, retained;             /* what it is about, or its id; its topic. kind 0: nothing */
    struct def_key owner_key[DEF_OWNERS_MAX]; /* what `key` goes with */
    /* reserved: */
    bool has_entry;
    uint32_t seg, q;
    struct several *several;
    struct note *note; /* one, or for a publish a chain */
    struct def *def, *retain, *owner[DEF_OWNERS_MAX];
};

/* An op of a unit: with all that is looked at after the record is gone. */
struct unit_op {
    struct op op;
    struct store_rec rec;
    struct store_target target[];
};

/* ---- notes --------------------------------------------------------------------------------------------------- */

/* settle: a queue that ended may still say so: then there is less to sweep. */
static void settle(struct living *l, uint64_t queue, lsn_t of)
{
    uint64_t *e = spans_get(&l->spans, of);
    uint32_t bit;
    if (e == NULL || !entry_waits(l, of, *e, queue, &bit))
        return;
    if (entry_type(*e) == ENTRY_SEVERAL) {
        struct several *m = several_get(&l->targets, of);
        if (m->left_n > 1) {
            struct note *n = (*e & ENTRY_NOTED) != 0 ? note_get(&l->targets, queue, of) : NULL;
            if (n != NULL)
                note_del(&l->targets, n);
            several_clear(m, bit);
            return;
        }
    }
    *e = entry_forget_targets(l, of, *e);
    if ((*e & ENTRY_REASONS) == 0)
        entry_remove(l, of);
}

static bool is_blank(const struct note *n)
{
    return n->progress == STORE_WAITS && n->returns == 0;
}

static void note_says(struct note *n, const struct store_rec *rec)
{
    if (rec->kind == STORE_SENT) {
        n->progress = STORE_WAS_SENT;
        n->ticket = rec->ticket;
        n->session = rec->session;
    } else if (rec->kind == STORE_RECEIVED) {
        n->progress = STORE_WAS_RECEIVED;
    } else {
        n->progress = STORE_WAITS;
        n->ticket = 0;
        n->session = 0;
        n->returns = rec->returns;
    }
}

/* note: SENT, RECEIVED or RETURNED. *spare: a note that was reserved, NULL when it is used up; spare NULL: none was. */
static enum err note(struct living *l, const struct store_rec *rec, struct note **spare)
{
    uint64_t *e = spans_get(&l->spans, rec->of);
    if (e == NULL || !entry_target(l, rec->of, *e, rec->queue))
        return ERR_OK;
    struct note *n = (*e & ENTRY_NOTED) != 0 ? note_get(&l->targets, rec->queue, rec->of) : NULL;
    if (n == NULL) {
        n = spare != NULL ? *spare : note_new(&l->targets);
        if (n == NULL)
            return ERR_NOMEM;
        if (spare != NULL)
            *spare = NULL;
        n->queue = rec->queue;
        n->of = rec->of;
        note_put(&l->targets, n);
        *e |= ENTRY_NOTED;
    }
    note_says(n, rec);
    if (is_blank(n))
        note_del(&l->targets, n);
    return ERR_OK;
}

/* ---- from a record to an op ----------------------------------------------------------------------------------- */

static struct slice topic_of(const struct store_rec *rec)
{
    return rec->msg != NULL ? slice_make(rec->msg->bytes, rec->msg->topic_len) : rec->name;
}

/* is_none: a RETAIN or WILL that takes away. */
static bool is_none(const struct store_rec *rec, const struct living_how *how)
{
    if (rec->msg == NULL)
        return how->cleared || how->place.segment == 0;
    return how->cleared || (rec->kind != STORE_WILL && rec->msg->payload_len == 0);
}

static void own_bind(const struct living *l, const struct store_rec *rec, struct def_key *owner)
{
    owner[0] = rec->queue != 0 ? def_key_queue(&l->defs, rec->queue) : def_key_exchange(&l->defs, rec->to);
    owner[1] = def_key_exchange(&l->defs, rec->name);
    if (rec->session != 0)
        owner[2] = def_key_session(&l->defs, rec->session);
}

static void op_owners(const struct living *l, const struct store_rec *rec, struct def_key *owner)
{
    switch (rec->kind) {
    case STORE_QUEUE:
        if (rec->session != 0)
            owner[0] = def_key_session(&l->defs, rec->session);
        break;
    case STORE_MEMBER:
        owner[0] = def_key_queue(&l->defs, rec->queue);
        owner[1] = def_key_session(&l->defs, rec->session);
        break;
    case STORE_WILL:
    case STORE_PUBLISH:
        owner[0] = def_key_session(&l->defs, rec->session);
        break;
    case STORE_BIND:
        own_bind(l, rec, owner);
        break;
    default:
        break;
    }
}

static void op_make(const struct living *l, const struct store_rec *rec, const struct living_how *how, struct op *op)
{
    *op = (struct op){.rec = rec, .place = how->place, .seg = PLACES_NONE, .q = QUEUE_NONE};
    list_node_init(&op->node);
    if (rec->kind == STORE_RETAIN || rec->kind == STORE_WILL || (rec->flags & STORE_PUBLISH_RETAINED) != 0)
        op->clears = is_none(rec, how);
    if (rec->kind == STORE_RETAIN || (rec->kind == STORE_PUBLISH && (rec->flags & STORE_PUBLISH_RETAINED) != 0))
        op->retained = def_key_retained(&l->defs, topic_of(rec));
    if (rec->kind != STORE_PUBLISH)
        op->key = def_key_of(&l->defs, rec);
    else if (rec->session != 0 && rec->rx_id != 0)
        op->key = def_key_id(&l->defs, rec->session, rec->rx_id);
    if (op->key.kind != 0)
        op_owners(l, rec, op->owner_key);
}

/* ---- reserving ------------------------------------------------------------------------------------------------ */

static bool is_definition(const struct op *op)
{
    switch (op->rec->kind) {
    case STORE_SESSION:
    case STORE_QUEUE:
    case STORE_EXCHANGE:
    case STORE_BIND:
    case STORE_MEMBER:
        return true;
    case STORE_WILL:
        return !op->clears;
    default:
        return false;
    }
}

static bool is_message(const struct op *op)
{
    return op->rec->kind == STORE_PUBLISH || op->rec->kind == STORE_RETAIN;
}

static bool keeps_retained(const struct op *op)
{
    return op->retained.kind != 0 && !op->clears;
}

/* needs_entry: after it there may be something that lives. */
static bool needs_entry(const struct op *op)
{
    bool is_publish = op->rec->kind == STORE_PUBLISH;
    return is_definition(op) || keeps_retained(op) || (is_publish && (op->rec->target_n != 0 || op->key.kind != 0));
}

static enum err reserve_entry(struct living *l, struct op *op)
{
    op->seg = places_hold(&l->places, op->place.segment);
    if (op->seg == PLACES_NONE || spans_put(&l->spans, op->rec->lsn, ENTRY_HELD) == NULL)
        return ERR_NOMEM;
    op->has_entry = true;
    return ERR_OK;
}

static bool wants_note(const struct store_target *t)
{
    return t->progress != STORE_WAITS || t->returns != 0;
}

static enum err reserve_targets(struct living *l, struct op *op)
{
    const struct store_rec *rec = op->rec;
    for (uint32_t i = 0; i < rec->target_n; i++) {
        if (!wants_note(&rec->target[i]))
            continue;
        struct note *n = note_new(&l->targets);
        if (n == NULL)
            return ERR_NOMEM;
        n->next = op->note;
        op->note = n;
    }
    if (rec->target_n == 1) {
        op->q = qslot_hold(&l->targets, rec->target[0].queue);
        if (op->q == QUEUE_NONE)
            return ERR_NOMEM;
        if (LIKELY(op->q < ENTRY_Q_MAX))
            return ERR_OK;
        qslot_drop(&l->targets, op->q); /* more queues than the entry has bits for */
        op->q = QUEUE_NONE;
    }
    op->several = several_new(&l->targets, rec->target, rec->target_n);
    return op->several != NULL ? ERR_OK : ERR_NOMEM;
}

static enum err reserve_defs(struct living *l, struct op *op)
{
    op->def = def_hold(&l->defs, &op->key);
    if (op->def == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < DEF_OWNERS_MAX; i++) {
        if (op->owner_key[i].kind == 0)
            continue;
        op->owner[i] = def_hold(&l->defs, &op->owner_key[i]);
        if (op->owner[i] == NULL)
            return ERR_NOMEM;
    }
    return ERR_OK;
}

/* reserve: on ERR_NOMEM the caller unreserves. */
static enum err reserve(struct living *l, struct op *op)
{
    const struct store_rec *rec = op->rec;
    bool is_publish = rec->kind == STORE_PUBLISH, is_def = is_definition(op);
    enum err e = ERR_OK;
    if (needs_entry(op))
        e = reserve_entry(l, op);
    if (e == ERR_OK && is_publish && rec->target_n != 0)
        e = reserve_targets(l, op);
    if (e == ERR_OK && (is_def || (is_publish && op->key.kind != 0)))
        e = reserve_defs(l, op);
    if (e == ERR_OK && keeps_retained(op)) {
        op->retain = def_hold(&l->defs, &op->retained);
        e = op->retain != NULL ? ERR_OK : ERR_NOMEM;
    }
    if (e == ERR_OK && (rec->kind == STORE_SENT || rec->kind == STORE_RECEIVED || rec->kind == STORE_RETURNED)) {
        op->note = note_new(&l->targets);
        e = op->note != NULL ? ERR_OK : ERR_NOMEM;
    }
    return e;
}

static void unreserve_defs(struct living *l, struct op *op)
{
    for (uint32_t i = 0; i < DEF_OWNERS_MAX; i++) {
        if (op->owner[i] != NULL)
            def_drop(&l->defs, op->owner[i]);
        op->owner[i] = NULL;
    }
    if (op->def != NULL)
        def_drop(&l->defs, op->def);
    if (op->retain != NULL)
        def_drop(&l->defs, op->retain);
    op->def = op->retain = NULL;
}

static void unreserve(struct living *l, struct op *op)
{
    unreserve_defs(l, op);
    while (op->note != NULL) {
        struct note *n = op->note;
        op->note = is_message(op) ? n->next : NULL;
        note_give(&l->targets, n);
    }
    if (op->several != NULL)
        several_give(&l->targets, op->several);
    if (op->q != QUEUE_NONE)
        qslot_drop(&l->targets, op->q);
    op->several = NULL;
    op->q = QUEUE_NONE;
    const uint64_t *e = op->has_entry ? spans_get(&l->spans, op->rec->lsn) : NULL;
    if (e != NULL && *e == ENTRY_HELD)
        spans_del(&l->spans, op->rec->lsn);
    op->has_entry = false;
    if (op->seg != PLACES_NONE)
        places_drop(&l->places, op->seg);
    op->seg = PLACES_NONE;
}

/* ---- ends ----------------------------------------------------------------------------------------------------- */

/* forget: x's record is not its newest any more; the entry at its lsn is the caller's. */
static void def_forget(struct living *l, struct def *x)
{
    x->holds++;
    x->lsn = 0;
    def_unlink(&l->defs, x);
    def_drop(&l->defs, x);
}

/* entry_lost: the record at lsn is not x's newest any more. */
static void entry_lost(struct living *l, const struct def *x, lsn_t lsn)
{
    if (x->key.kind == STORE_RX_RELEASE)
        entry_clear(l, lsn, ENTRY_ID);
    else if (x->key.kind == STORE_RETAIN)
        entry_clear(l, lsn, ENTRY_RETAINED);
    else
        entry_remove(l, lsn);
}

/* end: x ends, with all that goes with it. Recursion: session, queue, binding: three deep. */
static void end(struct living *l, struct def *x)
{
    x->holds++;
    lsn_t lsn = x->lsn;
    if (lsn != 0) {
        x->lsn = 0;
        def_unlink(&l->defs, x);
        entry_lost(l, x, lsn);
    }
    if (x->key.kind == STORE_QUEUE)
        qslot_end(&l->targets, x->key.number);
    for (struct list_node *n = list_first(&x->deps); n != NULL; n = list_first(&x->deps))
        end(l, LIST_ITEM(n, struct def_link, node)->of);
    def_drop(&l->defs, x);
}

static void end_key(struct living *l, const struct def_key *key)
{
    struct def *x = def_get(&l->defs, key);
    if (x != NULL)
        end(l, x);
    else if (key->kind == STORE_QUEUE)
        qslot_end(&l->targets, key->number);
}

/* ---- committing ----------------------------------------------------------------------------------------------- */

/* take_place: puts what was reserved for an entry into *e, whose place and reasons are gone or kept by the caller. */
static void take_place(struct living *l, struct op *op, uint64_t *e)
{
    if (*e == ENTRY_HELD)
        l->n++;
    else
        places_drop(&l->places, entry_seg(*e));
    *e = (*e & ~ENTRY_AT_MASK) | entry_at(op->seg, op->place.off);
    op->seg = PLACES_NONE;
}

/* become: lsn is x's newest record now; its owners are the op's. */
static void become(struct living *l, struct op *op, struct def *x, lsn_t lsn)
{
    lsn_t former = x->lsn;
    x->lsn = lsn;
    for (uint32_t i = 0; i < x->owner_n; i++)
        def_link(&l->defs, x, i, op->owner[i]);
    if (former != 0 && former != lsn)
        entry_lost(l, x, former);
}

static void commit_definition(struct living *l, struct op *op)
{
    lsn_t lsn = op->rec->lsn;
    struct def *x = op->def;
    uint64_t *e = spans_get(&l->spans, lsn);
    if (x->lsn > lsn || (*e != ENTRY_HELD && x->lsn != lsn))
        return; /* an old copy; or something else has this number */
    take_place(l, op, e);
    *e = (*e & ENTRY_AT_MASK) | (uint64_t)ENTRY_DEF << ENTRY_TYPE_AT | (uint64_t)op->rec->kind << ENTRY_Q_AT;
    become(l, op, x, lsn);
}

static uint64_t put_targets(struct living *l, struct op *op)
{
    const struct store_rec *rec = op->rec;
    uint64_t e = 0;
    for (uint32_t i = 0; i < rec->target_n; i++) {
        const struct store_target *t = &rec->target[i];
        if (!wants_note(t) || (i > 0 && note_get(&l->targets, t->queue, rec->lsn) != NULL))
            continue;
        struct note *n = op->note;
        op->note = n->next;
        *n = (struct note){.queue = t->queue,
                           .of = rec->lsn,
                           .session = t->session,
                           .ticket = t->ticket,
                           .returns = t->returns,
                           .progress = t->progress};
        note_put(&l->targets, n);
        e |= ENTRY_NOTED;
    }
    if (op->q != QUEUE_NONE) {
        e |= (uint64_t)ENTRY_ONE << ENTRY_TYPE_AT | (uint64_t)op->q << ENTRY_Q_AT;
    } else if (op->several != NULL) {
        several_put(&l->targets, rec->lsn, op->several);
        e |= (uint64_t)ENTRY_SEVERAL << ENTRY_TYPE_AT;
    }
    op->q = QUEUE_NONE;
    op->several = NULL;
    return e;
}

/* lose_named: the entry *e has a reason which the record that comes now, whose name is x (or NULL), does not have. */
static void lose_named(struct living *l, lsn_t lsn, uint64_t *e, uint64_t reason, const struct def *x)
{
    if ((*e & reason) == 0 || (x != NULL && x->lsn == lsn))
        return;
    struct def *former = def_by_lsn(&l->defs, reason == ENTRY_ID ? STORE_RX_RELEASE : STORE_RETAIN, lsn);
    *e &= ~reason;
    def_forget(l, former);
}

/* commit_message: PUBLISH and RETAIN. */
static void commit_message(struct living *l, struct op *op)
{
    lsn_t lsn = op->rec->lsn;
    uint64_t *e = spans_get(&l->spans, lsn);
    if (e != NULL && entry_type(*e) == ENTRY_DEF)
        return; /* something else has this number */
    if (e != NULL) {
        *e = entry_forget_targets(l, lsn, *e);
        lose_named(l, lsn, e, ENTRY_ID, op->def);
        lose_named(l, lsn, e, ENTRY_RETAINED, op->retain);
        if (op->has_entry)
            take_place(l, op, e);
        *e |= op->rec->kind == STORE_PUBLISH ? put_targets(l, op) : 0;
        *e |= op->def != NULL && op->def->lsn <= lsn ? ENTRY_ID : 0;
        *e |= op->retain != NULL && op->retain->lsn <= lsn ? ENTRY_RETAINED : 0;
    }
    if (op->def != NULL && op->def->lsn < lsn)
        become(l, op, op->def, lsn);
    if (op->retain != NULL && op->retain->lsn < lsn)
        become(l, op, op->retain, lsn);
    if (op->retained.kind != 0 && op->clears)
        end_key(l, &op->retained);
    if (e != NULL)
        e = spans_get(&l->spans, lsn);
    if (e != NULL && (*e & ENTRY_REASONS) == 0)
        entry_remove(l, lsn);
    if (op->rec->of != 0)
        settle(l, op->rec->queue, op->rec->of);
}

static void commit(struct living *l, struct op *op)
{
    switch (op->rec->kind) {
    case STORE_PUBLISH:
    case STORE_RETAIN:
        commit_message(l, op);
        break;
    case STORE_SETTLE:
        settle(l, op->rec->queue, op->rec->of);
        break;
    case STORE_SENT:
    case STORE_RECEIVED:
    case STORE_RETURNED:
        BUG_ON(note(l, op->rec, &op->note) != ERR_OK);
        break;
    default:
        if (is_definition(op))
            commit_definition(l, op);
        else if (op->key.kind != 0)
            end_key(l, &op->key);
    }
    unreserve(l, op);
}

/* ---- units ---------------------------------------------------------------------------------------------------- */

void living_cut(struct living *l)
{
    while (!list_is_empty(&l->unit)) {
        struct op *op = LIST_ITEM(list_pop(&l->unit), struct op, node);
        mem_free(&l->mem, CONTAINER_OF(op, struct unit_op, op));
    }
    l->in_unit = false;
}

static enum err unit_add(struct living *l, const struct store_rec *rec, const struct living_how *how)
{
    struct unit_op *u = mem_alloc(&l->mem, sizeof(*u) + rec->target_n * sizeof(u->target[0]));
    if (u == NULL)
        return ERR_NOMEM;
    op_make(l, rec, how, &u->op);
    u->rec = *rec;
    if (rec->target_n != 0)
        memcpy(u->target, rec->target, rec->target_n * sizeof(u->target[0]));
    u->rec.target = u->target;
    u->op.rec = &u->rec;
    list_push(&l->unit, &u->op.node);
    return ERR_OK;
}

static enum err unit_end(struct living *l)
{
    enum err e = ERR_OK;
    LIST_EACH(&l->unit, n)
    {
        if (e == ERR_OK)
            e = reserve(l, LIST_ITEM(n, struct op, node));
    }
    LIST_EACH(&l->unit, n)
    {
        if (e == ERR_OK)
            commit(l, LIST_ITEM(n, struct op, node));
        else
            unreserve(l, LIST_ITEM(n, struct op, node));
    }
    if (e == ERR_OK)
        living_cut(l);
    return e;
}

/* ---- applying ------------------------------------------------------------------------------------------------- */

static enum err apply_one(struct living *l, const struct store_rec *rec, const struct living_how *how)
{
    struct op op;
    op_make(l, rec, how, &op);
    enum err e = reserve(l, &op);
    if (e == ERR_OK)
        commit(l, &op);
    else
        unreserve(l, &op);
    return e;
}

static enum err apply_slow(struct living *l, const struct store_rec *rec, const struct living_how *how)
{
    if (how->place.off >= LIVING_OFF_MAX || how->place.off % 8 != 0)
        return ERR_TOO_BIG;
    if (places_spare(&l->places) < PLACES_SPARE && places_reserve(&l->places, PLACES_SPARE) != ERR_OK)
        return ERR_NOMEM;
    if (rec->kind == STORE_TX || how->is_copy)
        living_cut(l); /* neither stands within a unit: the end of the one before is lost */
    if (rec->kind == STORE_TX) {
        l->in_unit = true;
        return ERR_OK;
    }
    if (rec->kind == STORE_TX_END) {
        if (l->in_unit && (rec->flags & STORE_TX_VOID) == 0)
            return unit_end(l);
        living_cut(l);
        return ERR_OK;
    }
    return l->in_unit ? unit_add(l, rec, how) : apply_one(l, rec, how);
}

/* publish_one: a publish of no sort but the most usual. False: it is none, or memory must be found first. */
static bool publish_one(struct living *l, const struct store_rec *rec, const struct living_how *how)
{
    bool is_usual = rec->target_n == 1 && rec->rx_id == 0 && rec->of == 0 && !how->is_copy &&
                    (rec->flags & STORE_PUBLISH_RETAINED) == 0 && !wants_note(&rec->target[0]) &&
                    how->place.off < LIVING_OFF_MAX && how->place.off % 8 == 0 &&
                    rec->lsn >> SPAN_SHIFT == l->spans.tip_block && places_spare(&l->places) >= PLACES_SPARE;
    if (!is_usual || l->spans.tip->e[rec->lsn % SPAN_LSNS] != 0)
        return false;
    uint32_t q = qslot_hold(&l->targets, rec->target[0].queue);
    if (UNLIKELY(q >= ENTRY_Q_MAX)) {
        if (q != QUEUE_NONE)
            qslot_drop(&l->targets, q);
        return false;
    }
    uint32_t seg = places_hold(&l->places, how->place.segment); /* one is to spare */
    l->spans.tip->n++;
    l->spans.tip->e[rec->lsn % SPAN_LSNS] =
        (uint64_t)ENTRY_ONE << ENTRY_TYPE_AT | (uint64_t)q << ENTRY_Q_AT | entry_at(seg, how->place.off);
    l->n++;
    return true;
}

enum err living_apply(struct living *l, const struct store_rec *rec, const struct living_how *how)
{
    if (UNLIKELY(l->targets.ended_n != 0))
        living_sweep_some(l);
    if (UNLIKELY(l->in_unit))
        return apply_slow(l, rec, how);
    switch (rec->kind) {
    case STORE_PUBLISH:
        return publish_one(l, rec, how) ? ERR_OK : apply_slow(l, rec, how);
    case STORE_SETTLE:
        settle(l, rec->queue, rec->of);
        return ERR_OK;
    case STORE_SENT:
    case STORE_RECEIVED:
    case STORE_RETURNED:
        return note(l, rec, NULL);
    default:
        return apply_slow(l, rec, how);
    }
}
