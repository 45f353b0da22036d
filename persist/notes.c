/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notes.c: what a batch says about publishes, gathered by queue and written as one frame of numbers.
 *
 *     table ─► group {queue, first, last} ─► note {of, what} ─► note ─► note     in the order they were added
 *                                                │
 *                       record.proto, Notes      ▼
 *     queue · n · n notes {of, what} · m · m runs {first of, length}             the runs are the settles
 *
 * A settle is the last that a queue has to say about a publish, so settles may stand behind the others. Acks come in
 * the order of deliveries more often than not: a run is two small numbers, whatever its length.
 *
 * Invariants
 *   1. note[] is never reordered; a group's notes are a chain through it, oldest first.
 *   2. The table has the number + 1 of each group once, open addressing, at most half full; 0 is a free slot.
 *   3. What notes_put packs is at most notes_bytes.
 * Cost    adding: a look-up (the last queue is remembered) and 24 bytes; writing: a sort of settles that came out of
 * order. Thread  the owner's.
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/hash.h"
#include "persist/codec.h"
#include "persist/codec_int.h"
#include "persist/record.pb-c.h"

enum {
    TABLE_MIN = 64,
    NOTES_MAX = 1 << 26, /* in one batch; and a reader believes no more of one frame */
    KEEP_MAX = 1 << 16,  /* of a batch that was larger the memory is given back */
    VARINT_MAX = 10,
    GROUP_NUMBERS = 3, /* queue, n, m */
    NOTE_NUMBERS = 3,  /* of, what, session; or first of, length */
};

enum what { WHAT_SENT_OTHER, WHAT_SENT, WHAT_RECEIVED, WHAT_RETURNED };

struct note {
    uint64_t of;
    uint64_t session; /* SENT */
    uint32_t next;    /* in the group: index + 1 */
    uint16_t number;
    uint8_t kind; /* enum store_kind */
};

struct group {
    uint64_t queue;
    uint32_t first, last; /* index + 1 */
    uint32_t note_n, settle_n;
};

/* owner: the store that made it */
struct notes {
    struct mem *mem;
    struct note *note;
    struct group *group;
    uint32_t *table;
    uint32_t note_n, note_cap, group_n, group_cap, table_cap;
    uint32_t last_group; /* of the last note, if there are groups */
};

struct notes *notes_new(struct mem *mem)
{
    struct notes *n = mem_zalloc(mem, sizeof(*n));
    if (n != NULL)
        n->mem = mem;
    return n;
}

static void free_lists(struct notes *n)
{
    mem_free(n->mem, n->note);
    mem_free(n->mem, n->group);
    mem_free(n->mem, n->table);
    *n = (struct notes){.mem = n->mem};
}

void notes_free(struct notes *n)
{
    if (n == NULL)
        return;
    free_lists(n);
    mem_free(n->mem, n);
}

bool notes_is_empty(const struct notes *n)
{
    return n->note_n == 0;
}

uint64_t notes_bytes(const struct notes *n)
{
    uint64_t numbers = (uint64_t)n->group_n * GROUP_NUMBERS + (uint64_t)n->note_n * NOTE_NUMBERS;
    return wal_frame_bytes(numbers * VARINT_MAX + 2 * VARINT_MAX, 0);
}

/* ---- gathering ------------------------------------------------------------------------------------------------- */

static enum err grow(struct mem *mem, void **p, uint32_t *cap, uint32_t n, size_t item)
{
    if (LIKELY(n < *cap))
        return ERR_OK;
    uint32_t more = *cap != 0 ? *cap * 2 : 64;
    void *grown = mem_realloc(mem, *p, more * item);
    if (grown == NULL)
        return ERR_NOMEM;
    *p = grown;
    *cap = more;
    return ERR_OK;
}

/* slot_of: where queue is in the table, or the free slot where it would be. */
static uint32_t *slot_of(const struct notes *n, uint64_t queue)
{
    uint32_t mask = n->table_cap - 1, at = (uint32_t)hash_u64(0, queue) & mask; /* queue numbers are the broker's own */
    while (n->table[at] != 0 && n->group[n->table[at] - 1].queue != queue)
        at = (at + 1) & mask;
    return &n->table[at];
}

static void table_fill(struct notes *n)
{
    memset(n->table, 0, n->table_cap * sizeof(*n->table));
    for (uint32_t i = 0; i < n->group_n; i++)
        *slot_of(n, n->group[i].queue) = i + 1;
}

static enum err table_grow(struct notes *n)
{
    if (LIKELY((n->group_n + 1) * 2 <= n->table_cap))
        return ERR_OK;
    uint32_t cap = n->table_cap != 0 ? n->table_cap * 2 : TABLE_MIN;
    uint32_t *table = mem_alloc(n->mem, cap * sizeof(*table));
    if (table == NULL)
        return ERR_NOMEM;
    mem_free(n->mem, n->table);
    n->table = table;
    n->table_cap = cap;
    table_fill(n);
    return ERR_OK;
}

/* group_of: the queue's group, made if it is missing. */
static NOINLINE enum err group_of(struct notes *n, uint64_t queue)
{
    if (n->table_cap != 0) {
        uint32_t at = *slot_of(n, queue);
        if (at != 0) {
            n->last_group = at - 1;
            return ERR_OK;
        }
    }
    if (table_grow(n) != ERR_OK || grow(n->mem, (void **)&n->group, &n->group_cap, n->group_n, sizeof(*n->group)))
        return ERR_NOMEM;
    *slot_of(n, queue) = n->group_n + 1;
    n->group[n->group_n] = (struct group){.queue = queue};
    n->last_group = n->group_n++;
    return ERR_OK;
}

enum err notes_add(struct notes *n, const struct store_rec *rec)
{
    bool is_settle = rec->kind == STORE_SETTLE;
    BUG_ON(!is_settle && rec->kind != STORE_SENT && rec->kind != STORE_RECEIVED && rec->kind != STORE_RETURNED);
    if (UNLIKELY(n->note_n == NOTES_MAX))
        return ERR_NOMEM;
    enum err e = grow(n->mem, (void **)&n->note, &n->note_cap, n->note_n, sizeof(*n->note));
    if (UNLIKELY(e != ERR_OK))
        return e;
    if (n->group_n == 0 || n->group[n->last_group].queue != rec->queue) {
        e = group_of(n, rec->queue);
        if (UNLIKELY(e != ERR_OK))
            return e;
    }
    n->note[n->note_n++] = (struct note){
        .of = rec->of,
        .session = rec->kind == STORE_SENT ? rec->session : 0,
        .number = rec->kind == STORE_SENT       ? rec->ticket
                  : rec->kind == STORE_RETURNED ? rec->returns
                                                : 0,
        .kind = (uint8_t)rec->kind,
    };
    struct group *g = &n->group[n->last_group];
    if (g->first == 0)
        g->first = n->note_n;
    else
        n->note[g->last - 1].next = n->note_n;
    g->last = n->note_n;
    g->note_n++;
    g->settle_n += is_settle;
    return ERR_OK;
}

static void notes_clear(struct notes *n)
{
    if (n->note_cap > KEEP_MAX || n->group_cap > KEEP_MAX || n->table_cap > KEEP_MAX) {
        free_lists(n);
        return;
    }
    n->note_n = n->group_n = 0;
    if (n->table_cap != 0)
        memset(n->table, 0, n->table_cap * sizeof(*n->table));
}

void notes_filter(struct notes *n, bool (*keep)(void *ctx, lsn_t of), void *ctx)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n->group_n; i++) {
        struct group *g = &n->group[i], left = {.queue = g->queue};
        for (uint32_t at = g->first; at != 0; at = n->note[at - 1].next) {
            if (!keep(ctx, n->note[at - 1].of))
                continue;
            if (left.first == 0)
                left.first = at;
            else
                n->note[left.last - 1].next = at;
            left.last = at;
            left.note_n++;
            left.settle_n += n->note[at - 1].kind == STORE_SETTLE;
        }
        if (left.note_n != 0) {
            n->note[left.last - 1].next = 0;
            kept += left.note_n;
        }
        *g = left;
    }
    if (kept == 0)
        notes_clear(n);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* A row of numbers being made. */
struct row {
    uint64_t *number;
    size_t n;
    uint64_t before; /* the last `of` */
};

static inline uint64_t zigzag(uint64_t to, uint64_t from)
{
    uint64_t d = to - from;
    return d << 1 ^ (0 - (d >> 63));
}

static inline uint64_t unzigzag(uint64_t z, uint64_t from)
{
    return from + (z >> 1 ^ (0 - (z & 1)));
}

static void row_put(struct row *r, uint64_t number)
{
    r->number[r->n++] = number;
}

static void row_put_of(struct row *r, uint64_t of)
{
    row_put(r, zigzag(of, r->before));
    r->before = of;
}

static void row_put_note(struct row *r, const struct note *note)
{
    enum what what = note->kind == STORE_RECEIVED   ? WHAT_RECEIVED
                     : note->kind == STORE_RETURNED ? WHAT_RETURNED
                     : note->session == 0           ? WHAT_SENT
                                                    : WHAT_SENT_OTHER;
    row_put_of(r, note->of);
    row_put(r, (uint64_t)note->number << 2 | what);
    if (what == WHAT_SENT_OTHER)
        row_put(r, note->session);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* row_put_runs: of[n], n > 0, which is sorted if it was not. */
static void row_put_runs(struct row *r, uint64_t *of, size_t n)
{
    bool is_sorted = true;
    for (size_t i = 1; i < n; i++)
        is_sorted &= of[i - 1] < of[i];
    if (!is_sorted)
        qsort(of, n, sizeof(*of), by_number);
    size_t count = r->n++, runs = 0;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && of[end] - of[end - 1] <= 1;) /* one that was settled twice is written once */
            end++;
        row_put_of(r, of[i]);
        row_put(r, of[end - 1] - of[i]);
        r->before = of[end - 1];
        runs++;
    }
    r->number[count] = runs;
}

/* row_put_group: scratch has room for its settles. */
static void row_put_group(struct row *r, const struct notes *n, const struct group *g, uint64_t *scratch)
{
    size_t settles = 0;
    row_put(r, g->queue);
    row_put(r, g->note_n - g->settle_n);
    for (uint32_t at = g->first; at != 0; at = n->note[at - 1].next) {
        const struct note *note = &n->note[at - 1];
        if (note->kind == STORE_SETTLE)
            scratch[settles++] = note->of;
        else
            row_put_note(r, note);
    }
    if (settles != 0)
        row_put_runs(r, scratch, settles);
    else
        row_put(r, 0);
}

static enum err pack_row(struct buf *out, const struct row *r, uint64_t bound, lsn_t lsn)
{
    Weir__Notes m = WEIR__NOTES__INIT;
    m.n_number = r->n;
    m.number = r->number;
    if (out->bad || bound > UINT32_MAX)
        return ERR_NOMEM;
    uint8_t *room = buf_room(out, (size_t)bound);
    out->bad = false;
    if (room == NULL)
        return ERR_NOMEM;
    size_t body = weir__notes__pack(&m, room + WAL_FRAME_HEAD);
    BUG_ON(wal_frame_bytes(body, 0) > bound);
    wal_put_frame(room, WAL_NOTES, 0, lsn, (uint32_t)body, 0);
    buf_wrote(out, (size_t)wal_frame_bytes(body, 0));
    return ERR_OK;
}

enum err notes_put(struct notes *n, struct buf *out, lsn_t lsn)
{
    uint64_t numbers = (uint64_t)n->group_n * GROUP_NUMBERS + (uint64_t)n->note_n * NOTE_NUMBERS;
    uint64_t few[256], bytes = (numbers + n->note_n) * sizeof(uint64_t);
    struct row r = {.number = few};
    if (bytes > sizeof(few))
        r.number = bytes > SIZE_MAX / 2 ? NULL : mem_alloc(n->mem, (size_t)bytes);
    if (r.number == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n->group_n; i++) {
        if (n->group[i].note_n != 0)
            row_put_group(&r, n, &n->group[i], r.number + numbers);
    }
    enum err e = pack_row(out, &r, notes_bytes(n), lsn);
    if (r.number != few)
        mem_free(n->mem, r.number);
    if (e == ERR_OK)
        notes_clear(n);
    return e;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* A row of numbers being read; visit NULL: only looked at, whether it is whole. */
struct reader {
    const uint64_t *number;
    size_t n, at;
    uint64_t before;
    uint64_t notes; /* so far */
    struct store_rec rec;
    store_visit_fn visit;
    void *ctx;
};

static bool next(struct reader *r, uint64_t *out)
{
    if (r->at == r->n)
        return false;
    *out = r->number[r->at++];
    return true;
}

static bool next_of(struct reader *r)
{
    uint64_t z;
    if (!next(r, &z))
        return false;
    r->before = unzigzag(z, r->before);
    r->rec.of = r->before;
    return true;
}

static enum err tell(struct reader *r, enum store_kind kind)
{
    r->rec.kind = kind;
    return r->visit != NULL ? r->visit(&r->rec, r->ctx) : ERR_OK;
}

static enum err read_note(struct reader *r)
{
    static const uint8_t kinds[] = {STORE_SENT, STORE_SENT, STORE_RECEIVED, STORE_RETURNED};
    uint64_t word;
    if (!next_of(r) || !next(r, &word) || word >> 2 > UINT16_MAX)
        return ERR_MALFORMED;
    unsigned what = word & 3;
    r->rec.session = 0;
    if (what == WHAT_SENT_OTHER && !next(r, &r->rec.session))
        return ERR_MALFORMED;
    uint16_t number = (uint16_t)(word >> 2);
    r->rec.ticket = what <= WHAT_SENT ? number : 0;
    r->rec.returns = what == WHAT_RETURNED ? number : 0;
    return tell(r, (enum store_kind)kinds[what]);
}

static enum err read_run(struct reader *r)
{
    uint64_t more;
    if (!next_of(r) || !next(r, &more) || more >= NOTES_MAX || more > UINT64_MAX - r->before)
        return ERR_MALFORMED;
    r->notes += more;
    if (r->notes > NOTES_MAX)
        return ERR_MALFORMED;
    r->rec.ticket = r->rec.returns = 0;
    r->rec.session = 0;
    for (uint64_t i = 0; r->visit != NULL && i <= more; i++) {
        r->rec.of = r->before + i;
        enum err e = tell(r, STORE_SETTLE);
        if (e != ERR_OK)
            return e;
    }
    r->before += more;
    return ERR_OK;
}

static enum err read_group(struct reader *r)
{
    uint64_t count;
    if (!next(r, &r->rec.queue))
        return ERR_MALFORMED;
    for (unsigned half = 0; half < 2; half++) {
        if (!next(r, &count) || count > r->n)
            return ERR_MALFORMED;
        for (uint64_t i = 0; i < count; i++) {
            enum err e = half == 0 ? read_note(r) : read_run(r);
            if (e != ERR_OK)
                return e;
        }
    }
    return ERR_OK;
}

static enum err read_row(struct reader *r)
{
    enum err e = ERR_OK;
    r->at = 0;
    r->before = r->notes = 0;
    while (e == ERR_OK && r->at != r->n)
        e = read_group(r);
    return e;
}

enum err notes_get(const struct wal_frame *f, struct mem *mem, store_visit_fn visit, void *ctx)
{
    struct codec_arena arena;
    codec_arena_init(&arena, mem);
    const Weir__Notes *m = f->kind == WAL_NOTES ? codec_unpack(&arena, &weir__notes__descriptor, f->body) : NULL;
    enum err e = arena.is_out_of_memory ? ERR_NOMEM : ERR_MALFORMED;
    if (m != NULL) {
        struct reader r = {.number = m->number, .n = m->n_number, .rec = {.lsn = f->lsn}};
        e = read_row(&r);
        r.visit = visit;
        r.ctx = ctx;
        if (e == ERR_OK)
            e = read_row(&r);
    }
    codec_arena_fini(&arena);
    return e;
}
