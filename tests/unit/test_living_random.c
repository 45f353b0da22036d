/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_living_random.c: random records of all kinds go to the index and to its yardstick, persist/store_image.h, and to
 * a log that exists as an array of frames: batches with their notes at the end, segments, compaction that writes copies
 * and drops the oldest segment. What both say must be the same, at any time; and an index that reads the frames that
 * are left must say it, too.
 *
 *     random ─► record ─┬─► living ◄── places when a batch is sealed
 *                       ├─► store_image
 *                       └─► frames ─► a second living, now and then
 *
 * With memory that fails now and then: a record that was refused has changed nothing, and is applied once more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/buf.h"
#include "core/base/rng.h"
#include "persist/living.h"
#include "persist/rec_copy.h"
#include "persist/store_image.h"

#define QUEUES         90u
#define RECENT         48u
#define TARGETS_MAX    80u
#define FRAMES_MAX     30000u
#define LSN_MAX        400000u
#define SEGMENT_FRAMES 24u

/* A frame of the log: index i stands at offset 8 * i of its segment, so that a place names it. */
struct frame {
    struct rec_copy *copy;
    uint64_t segment; /* 0: in the open batch */
    bool is_copy, begins_batch;
};

struct world {
    struct mem_heap heap, living_heap;
    struct mem mem, living_mem;
    struct msg_pool msgs;
    struct rng rng;
    struct living *l;
    struct store_image *img;
    struct frame frame[FRAMES_MAX];
    uint32_t frame_n, sealed_n, gone_n; /* frames; of these in segments; of these in segments that went */
    uint32_t of_lsn[LSN_MAX];           /* the newest frame of that LSN, notes not counted */
    struct rec_copy *note[FRAMES_MAX];  /* for the end of the batch */
    uint32_t note_n;
    lsn_t lsn, notes_lsn;
    uint64_t segment;
    lsn_t recent[RECENT];
    uint32_t recent_n;
    bool is_queue[QUEUES + 1]; /* defined now; 0 always */
    bool in_unit, may_fail, says_settles;
    uint64_t failed_n, cut_n;
    struct store_target target[TARGETS_MAX];
    char text[3][16];
};

static struct world the_world;

static bool is_note(enum store_kind kind)
{
    return kind == STORE_SETTLE || kind == STORE_SENT || kind == STORE_RECEIVED || kind == STORE_RETURNED;
}

/* ---- what there is, as text --------------------------------------------------------------------------------- */

static enum err say(struct buf *out, const struct store_rec *rec)
{
    buf_printf(out, "%u@%llu", (unsigned)rec->kind, (unsigned long long)rec->lsn);
    if (rec->kind == STORE_PUBLISH) {
        buf_printf(out, " id %llu.%u", (unsigned long long)rec->session, rec->rx_id);
        for (uint32_t i = 0; i < rec->target_n; i++) {
            const struct store_target *t = &rec->target[i];
            buf_printf(out, " %llu:%u:%llu:%u:%u", (unsigned long long)t->queue, t->progress,
                       (unsigned long long)t->session, t->ticket, t->returns);
        }
    }
    buf_put_str(out, "\n");
    return ERR_OK;
}

static enum err say_visited(const struct store_rec *rec, void *ctx)
{
    return say(ctx, rec);
}

static const struct frame *frame_of(const struct world *w, const struct living *l, lsn_t lsn)
{
    struct living_place at;
    assert_true(living_where(l, lsn, &at));
    const struct frame *f = &w->frame[w->of_lsn[lsn]];
    if (l == w->l && at.segment == 0) {
        assert_int_equal(f->segment, 0);
        return f;
    }
    const struct frame *found = &w->frame[at.off / 8];
    assert_int_equal(found->segment, at.segment);
    assert_int_equal(found->copy->rec.lsn, lsn);
    if (f->segment != 0)
        assert_ptr_equal(found, f);
    return found;
}

static void say_message(const struct world *w, const struct living *l, lsn_t lsn, struct buf *out)
{
    struct store_target target[TARGETS_MAX];
    struct store_rec rec = frame_of(w, l, lsn)->copy->rec;
    living_trim(l, &rec, target);
    bool is_retained = rec.kind == STORE_RETAIN || (rec.flags & STORE_PUBLISH_RETAINED) != 0;
    rec.kind = STORE_PUBLISH;
    if (rec.target_n != 0 || rec.rx_id != 0)
        say(out, &rec);
    else
        assert_true(is_retained); /* else it is not living */
    rec.kind = STORE_RETAIN;
    if (is_retained)
        say(out, &rec);
}

static void say_living(const struct world *w, struct living *l, struct buf *out)
{
    uint8_t kind = 0;
    uint64_t n = 0;
    buf_clear(out);
    for (lsn_t lsn = living_next(l, 0, &kind); lsn != 0; lsn = living_next(l, lsn, &kind), n++)
        say(out, &frame_of(w, l, lsn)->copy->rec);
    for (lsn_t lsn = living_next(l, 0, NULL); lsn != 0; lsn = living_next(l, lsn, NULL), n++)
        say_message(w, l, lsn, out);
    assert_int_equal(living_n(l), n);
}

static int line_len(const struct buf *b, size_t at)
{
    const uint8_t *end = at < b->len ? memchr(b->p + at, '\n', b->len - at) : NULL;
    return end != NULL ? (int)(end - b->p - (ptrdiff_t)at) : 0;
}

/* assert_same: tells the first line that differs. */
static void assert_same(const struct buf *says, const struct buf *wants)
{
    size_t at = 0, i = 0;
    if (slice_eq(buf_slice(says), buf_slice(wants)))
        return;
    for (; i < MIN(says->len, wants->len) && says->p[i] == wants->p[i]; i++)
        at = says->p[i] == '\n' ? i + 1 : at;
    fail_msg("says \"%.*s\", wants \"%.*s\"", line_len(says, at), (const char *)says->p + at, line_len(wants, at),
             (const char *)wants->p + at);
}

static void compare(struct world *w, struct living *l)
{
    struct buf says, wants;
    buf_init(&says, &w->mem);
    buf_init(&wants, &w->mem);
    living_check(l);
    say_living(w, l, &says);
    living_check(l);
    assert_int_equal(store_image_visit(w->img, say_visited, &wants), ERR_OK);
    assert_same(&says, &wants);
    buf_fini(&says);
    buf_fini(&wants);
}

/* ---- the log ------------------------------------------------------------------------------------------------ */

static void add_frame(struct world *w, struct rec_copy *c, bool is_copy)
{
    assert_true(w->frame_n < FRAMES_MAX);
    w->frame[w->frame_n] = (struct frame){.copy = c, .is_copy = is_copy};
    if (!is_note(c->rec.kind))
        w->of_lsn[c->rec.lsn] = w->frame_n;
    w->frame_n++;
}

static struct rec_copy *keep(struct world *w, const struct store_rec *rec)
{
    struct rec_copy *c = rec_copy_new(&w->mem, rec);
    assert_non_null(c);
    if (rec->msg != NULL)
        msg_hold(rec->msg);
    return c;
}

static void flush_notes(struct world *w)
{
    for (uint32_t i = 0; i < w->note_n; i++)
        add_frame(w, w->note[i], false);
    w->note_n = 0;
    w->notes_lsn = 0;
}

static void seal(struct world *w)
{
    flush_notes(w);
    for (uint32_t i = w->sealed_n; i < w->frame_n; i++) {
        struct frame *f = &w->frame[i];
        f->begins_batch = i == w->sealed_n;
        if (i % SEGMENT_FRAMES == 0)
            w->segment++;
        f->segment = w->segment;
        struct living_place at = {.segment = f->segment, .off = i * 8};
        if (!is_note(f->copy->rec.kind) && w->of_lsn[f->copy->rec.lsn] == i)
            living_set_place(w->l, f->copy->rec.lsn, at);
    }
    w->sealed_n = w->frame_n;
}

/* compact: copies what lives in the oldest segment and drops it. */
static void compact(struct world *w)
{
    seal(w);
    uint64_t segment = w->gone_n < w->sealed_n ? w->frame[w->gone_n].segment : 0;
    if (segment == 0 || segment == w->segment)
        return;
    struct store_target target[TARGETS_MAX];
    for (uint32_t i = w->gone_n; w->frame[i].segment == segment; i++) {
        struct store_rec rec = w->frame[i].copy->rec;
        struct living_place at;
        if (is_note(rec.kind) || !living_where(w->l, rec.lsn, &at) || at.segment != segment || at.off != i * 8)
            continue;
        if (rec.kind == STORE_PUBLISH || rec.kind == STORE_RETAIN)
            living_trim(w->l, &rec, target);
        add_frame(w, keep(w, &rec), true);
    }
    seal(w);
    (void)living_next(w->l, 0, NULL); /* what ended queues left is swept, and not counted any more */
    assert_int_equal(living_n_in(w->l, segment), 0);
    while (w->frame[w->gone_n].segment == segment)
        w->gone_n++;
}

/* read_again: a second index of the frames that are left; upto: of these. */
static struct living *read_again(struct world *w, uint32_t upto)
{
    struct living *l = living_new(&w->mem, rng_u64(&w->rng));
    assert_non_null(l);
    for (uint32_t i = w->gone_n; i < upto; i++) {
        const struct frame *f = &w->frame[i];
        struct store_rec rec = f->copy->rec;
        struct living_how how = {.place = {.segment = f->segment, .off = i * 8}, .is_copy = f->is_copy};
        if (f->begins_batch)
            living_cut(l);
        bool is_retain = rec.kind == STORE_RETAIN || (rec.kind == STORE_PUBLISH && (rec.flags & 1) != 0);
        if (rec.msg != NULL && i % 2 == 0) { /* as if it had been read without making the message */
            how.cleared = is_retain && rec.msg->payload_len == 0;
            if (is_retain)
                rec.name = slice_make(rec.msg->bytes, rec.msg->topic_len);
            rec.msg = NULL;
        } else if (rec.msg == NULL) {
            how.cleared = true;
        }
        assert_int_equal(living_apply(l, &rec, &how), ERR_OK);
    }
    living_cut(l);
    return l;
}

static void compare_read(struct world *w)
{
    seal(w);
    struct living *l = read_again(w, w->frame_n);
    compare(w, l);
    living_free(l);
}

/* compare_cut: the log ends anywhere: an image of just these frames says the same. Before any compaction. */
static void compare_cut(struct world *w)
{
    seal(w);
    struct store_image *all = w->img;
    uint32_t upto = rng_below(&w->rng, w->frame_n + 1);
    w->img = store_image_new(&w->mem);
    for (uint32_t i = 0; i < upto; i++)
        assert_int_equal(store_image_apply(w->img, &w->frame[i].copy->rec), ERR_OK);
    store_image_cut(w->img);
    struct living *l = read_again(w, upto);
    compare(w, l);
    living_free(l);
    store_image_free(w->img);
    w->img = all;
}

/* ---- records ------------------------------------------------------------------------------------------------ */

static void apply(struct world *w, struct store_rec *rec)
{
    struct living_how how = {.place = {.segment = 0}};
    struct buf before, after;
    buf_init(&before, &w->mem);
    buf_init(&after, &w->mem);
    bool shared = is_note(rec->kind) && !w->in_unit;
    if (rng_chance(&w->rng, 1))
        w->lsn += rng_below(&w->rng, 1500); /* as if others had gone */
    if (shared && w->notes_lsn != 0) {
        rec->lsn = w->notes_lsn;
    } else {
        rec->lsn = ++w->lsn;
        if (shared)
            w->notes_lsn = rec->lsn;
    }
    assert_true(w->lsn < LSN_MAX);
    struct rec_copy *c = keep(w, rec);
    if (shared)
        w->note[w->note_n++] = c;
    else
        add_frame(w, c, false);
    if (w->may_fail && rng_chance(&w->rng, 70))
        w->living_heap.fail_at = w->living_heap.calls + 1 + rng_below(&w->rng, 4);
    bool looks = w->living_heap.fail_at != 0 && rng_chance(&w->rng, 20);
    if (looks)
        say_living(w, w->l, &before);
    enum err e = living_apply(w->l, rec, &how);
    while (e == ERR_NOMEM) {
        w->failed_n++;
        living_check(w->l);
        if (looks) {
            say_living(w, w->l, &after);
            assert_same(&after, &before);
        }
        w->living_heap.fail_at = rng_chance(&w->rng, 50) ? w->living_heap.calls + 1 + rng_below(&w->rng, 6) : 0;
        e = living_apply(w->l, rec, &how);
    }
    w->living_heap.fail_at = 0;
    assert_int_equal(e, ERR_OK);
    assert_int_equal(store_image_apply(w->img, rec), ERR_OK);
    buf_fini(&before);
    buf_fini(&after);
}

static uint64_t any_queue(struct world *w)
{
    return rng_chance(&w->rng, 90) ? 1 + rng_below(&w->rng, 6) : 1 + rng_below(&w->rng, QUEUES);
}

static struct slice any_name(struct world *w, unsigned i, unsigned n)
{
    int len = snprintf(w->text[i], sizeof(w->text[i]), "n%u", rng_below(&w->rng, n));
    return slice_make(w->text[i], (size_t)len);
}

static const struct msg *any_msg(struct world *w, unsigned empty_of_100)
{
    bool is_empty = rng_chance(&w->rng, empty_of_100);
    struct msgview v = {.topic = any_name(w, 0, 12), .payload = slice_make("payload", is_empty ? 0 : 7)};
    const struct msg *m = msg_new(&w->msgs, &v);
    assert_non_null(m);
    return m;
}

/* any_targets: different queues, in any order; mostly one, seldom many. */
static uint32_t any_targets(struct world *w)
{
    unsigned r = rng_below(&w->rng, 100);
    uint32_t n = r < 8 ? 0 : r < 60 ? 1 : r < 95 ? 2 + rng_below(&w->rng, 4) : 10 + rng_below(&w->rng, 68);
    uint64_t first = n > 6 ? 1 + rng_below(&w->rng, 10) : any_queue(w);
    bool is_rising = rng_chance(&w->rng, 50);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = is_rising ? i : n - 1 - i;
        w->target[k] = (struct store_target){.queue = (first + i - 1) % QUEUES + 1};
    }
    return n;
}

static lsn_t any_publish(struct world *w)
{
    if (w->recent_n == 0 || rng_chance(&w->rng, 4))
        return rng_chance(&w->rng, 10) || w->lsn == 0 ? LSN_MAX : 1 + rng_below(&w->rng, (uint32_t)w->lsn);
    return w->recent[rng_below(&w->rng, MIN(w->recent_n, RECENT))];
}

/* target_of: one of its queues, mostly. */
static uint64_t target_of(struct world *w, lsn_t of)
{
    if (of > w->lsn || w->frame_n == 0 || rng_chance(&w->rng, 10))
        return any_queue(w);
    const struct store_rec *rec = &w->frame[w->of_lsn[of]].copy->rec;
    return rec->target_n != 0 ? rec->target[rng_below(&w->rng, rec->target_n)].queue : any_queue(w);
}

static void publish(struct world *w)
{
    struct store_rec rec = {.kind = STORE_PUBLISH, .msg = any_msg(w, 20)};
    rec.target_n = any_targets(w);
    rec.target = w->target;
    if (rng_chance(&w->rng, 4)) { /* delayed */
        w->target[0] = (struct store_target){.queue = 0};
        rec.target_n = 1;
        rec.name = SLICE("x");
    } else if (rng_chance(&w->rng, 20)) {
        rec.flags = STORE_PUBLISH_RETAINED;
    }
    if (rng_chance(&w->rng, 20)) {
        rec.session = rng_below(&w->rng, 5);
        rec.rx_id = (uint16_t)rng_below(&w->rng, 4);
    }
    if (rng_chance(&w->rng, 15)) {
        rec.of = any_publish(w);
        rec.queue = target_of(w, rec.of);
    }
    apply(w, &rec);
    w->recent[w->recent_n++ % RECENT] = rec.lsn;
    msg_drop(rec.msg);
}

static void about_publish(struct world *w)
{
    static const enum store_kind kinds[] = {STORE_SETTLE, STORE_SETTLE, STORE_SENT, STORE_RECEIVED, STORE_RETURNED};
    struct store_rec rec = {.kind = kinds[rng_below(&w->rng, ARRAY_N(kinds))], .of = any_publish(w)};
    rec.queue = target_of(w, rec.of);
    if (rec.kind == STORE_SENT) {
        rec.session = rng_below(&w->rng, 3);
        rec.ticket = (uint16_t)(1 + rng_below(&w->rng, 100));
    } else if (rec.kind == STORE_RETURNED) {
        rec.returns = (uint16_t)rng_below(&w->rng, 3);
    }
    apply(w, &rec);
}

/* owner_of: the session that owns this queue whenever it exists; 0: none. */
static uint64_t owner_of(uint64_t queue)
{
    return queue % 2 != 0 ? 1 + queue % 4 : 0;
}

/* settle_owned: as the broker does before a session ends, whose own queue it does not end by a record. */
static void settle_owned(struct world *w, uint64_t session)
{
    for (lsn_t lsn = living_next(w->l, 0, NULL); lsn != 0; lsn = living_next(w->l, lsn, NULL)) {
        const struct store_rec *p = &w->frame[w->of_lsn[lsn]].copy->rec;
        for (uint32_t i = 0; i < p->target_n; i++) {
            if (owner_of(p->target[i].queue) == session)
                apply(w, &(struct store_rec){.kind = STORE_SETTLE, .queue = p->target[i].queue, .of = lsn});
        }
    }
}

static void define(struct world *w)
{
    static const enum store_kind kinds[] = {
        STORE_SESSION,   STORE_SESSION, STORE_SESSION_END, STORE_QUEUE,      STORE_QUEUE,    STORE_QUEUE,
        STORE_QUEUE_END, STORE_BIND,    STORE_BIND,        STORE_BIND,       STORE_BIND,     STORE_UNBIND,
        STORE_MEMBER,    STORE_MEMBER,  STORE_MEMBER_END,  STORE_EXCHANGE,   STORE_EXCHANGE, STORE_EXCHANGE_END,
        STORE_WILL,      STORE_WILL,    STORE_RETAIN,      STORE_RX_RELEASE,
    };
    struct store_rec rec = {.kind = kinds[rng_below(&w->rng, ARRAY_N(kinds))]};
    rec.session = 1 + rng_below(&w->rng, 4);
    rec.queue = any_queue(w);
    if (rec.kind == STORE_QUEUE || rec.kind == STORE_BIND)
        rec.session = owner_of(rec.queue);
    if (rec.kind == STORE_MEMBER && owner_of(rec.queue) != 0)
        rec.queue++; /* nobody is a member of a queue with an owner */
    if (rec.kind == STORE_SESSION_END && w->says_settles)
        settle_owned(w, rec.session);
    rec.rx_id = (uint16_t)(1 + rng_below(&w->rng, 3));
    rec.name = any_name(w, 0, rec.kind == STORE_RETAIN ? 12 : 3);
    if (rec.kind == STORE_BIND || rec.kind == STORE_UNBIND) {
        rec.key = any_name(w, 1, 3);
        if (rng_chance(&w->rng, 30)) {
            rec.queue = rec.session = 0;
            rec.to = any_name(w, 2, 3);
        }
    }
    if (rec.kind == STORE_BIND && !w->is_queue[rec.queue])
        return; /* what no broker says: the image would not end it with the session */
    for (uint64_t q = 0; q <= QUEUES; q++) {
        bool ends = rec.kind == STORE_QUEUE_END ? q == rec.queue : owner_of(q) == rec.session;
        if (rec.kind == STORE_QUEUE_END || rec.kind == STORE_SESSION_END)
            w->is_queue[q] = w->is_queue[q] && (!ends || q == 0);
    }
    w->is_queue[rec.queue] |= rec.kind == STORE_QUEUE;
    bool has_msg = (rec.kind == STORE_WILL || rec.kind == STORE_RETAIN) && rng_chance(&w->rng, 80);
    if (has_msg)
        rec.msg = any_msg(w, rec.kind == STORE_RETAIN ? 30 : 0);
    apply(w, &rec);
    if (has_msg)
        msg_drop(rec.msg);
}

static void step(struct world *w)
{
    unsigned r = rng_below(&w->rng, 100);
    if (r < 40)
        publish(w);
    else if (r < 85 || w->in_unit)
        about_publish(w);
    else
        define(w);
}

/* take_back: a void unit is not written at all: its first half could go with an old segment, and the rest be read. */
static void take_back(struct world *w, uint32_t frame_n)
{
    while (w->frame_n > frame_n) {
        struct rec_copy *c = w->frame[--w->frame_n].copy;
        w->of_lsn[c->rec.lsn] = 0;
        if (c->rec.msg != NULL)
            msg_drop(c->rec.msg);
        mem_free(&w->mem, c);
    }
}

static void unit(struct world *w)
{
    unsigned n = rng_below(&w->rng, 8);
    flush_notes(w); /* what was noted before it happened before it */
    uint32_t frame_n = w->frame_n, recent_n = w->recent_n;
    apply(w, &(struct store_rec){.kind = STORE_TX});
    w->in_unit = true;
    while (n-- > 0)
        step(w);
    bool is_void = rng_chance(&w->rng, 25);
    apply(w, &(struct store_rec){.kind = STORE_TX_END, .flags = is_void ? STORE_TX_VOID : 0});
    w->in_unit = false;
    if (!is_void)
        return;
    take_back(w, frame_n);
    w->recent_n = recent_n;
}

/* ---- runs --------------------------------------------------------------------------------------------------- */

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    mem_heap_init(&w->heap);
    mem_heap_init(&w->living_heap);
    mem_init(&w->mem, &w->heap, "test");
    mem_init(&w->living_mem, &w->living_heap, "test-living");
    msg_pool_init(&w->msgs, &w->mem);
    rng_init(&w->rng, seed);
    w->is_queue[0] = true;
    w->l = living_new(&w->living_mem, seed);
    w->img = store_image_new(&w->mem);
    assert_true(w->l != NULL && w->img != NULL);
}

static void world_fini(struct world *w)
{
    seal(w);
    for (uint32_t i = 0; i < w->frame_n; i++) {
        if (w->frame[i].copy->rec.msg != NULL)
            msg_drop(w->frame[i].copy->rec.msg);
        mem_free(&w->mem, w->frame[i].copy);
    }
    living_free(w->l);
    store_image_free(w->img);
    msg_pool_fini(&w->msgs);
    assert_int_equal(w->heap.bytes, 0);
    assert_int_equal(w->living_heap.bytes, 0);
}

struct run {
    unsigned steps, compact_of_1000;
    bool may_fail;
};

static uint64_t run(uint64_t seed, struct run r)
{
    struct world *w = &the_world;
    world_init(w, seed);
    w->may_fail = r.may_fail;
    w->says_settles = r.compact_of_1000 != 0;
    for (unsigned i = 0; i < r.steps; i++) {
        if (rng_chance(&w->rng, 4))
            unit(w);
        else
            step(w);
        if (rng_chance(&w->rng, 8))
            seal(w);
        if (rng_below(&w->rng, 1000) < r.compact_of_1000)
            compact(w);
        if (i % 64 == 0)
            compare(w, w->l);
        if (i % 200 == 0)
            compare_read(w);
        if (i % 200 == 100 && w->gone_n == 0)
            compare_cut(w);
    }
    compare(w, w->l);
    compare_read(w);
    uint64_t failed_n = w->failed_n;
    world_fini(w);
    return failed_n;
}

static void test_says_what_the_image_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++)
        run(seed, (struct run){.steps = 1500});
}

static void test_same_after_compaction(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 106; seed++)
        run(seed, (struct run){.steps = 2500, .compact_of_1000 = 60});
}

static void test_out_of_memory_changes_nothing(void **state)
{
    (void)state;
    uint64_t failed_n = 0;
    for (uint64_t seed = 201; seed <= 206; seed++)
        failed_n += run(seed, (struct run){.steps = 1000, .compact_of_1000 = 30, .may_fail = true});
    assert_true(failed_n > 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_what_the_image_says),
        cmocka_unit_test(test_same_after_compaction),
        cmocka_unit_test(test_out_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
