/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_log_space.c: the files of the log, and how much may still be said yes to.
 *
 *     segments   [ oldest ] [ ... ] [ tail: written to ]        spares   [ ] [ ] [ ]
 *         │ nothing lives in it, durably                           ▲        └─► becomes the tail when that is full
 *         └──────── recycle: rename, or remove ────────────────────┘ make: a new file of zeros
 *
 * LOG_HELD spares are held back: what must go on when the disk is full (settles, ends, copies of compaction) uses them;
 * publishes ask `reserve`, which does not count them. What could still be made on this disk counts as room, as of the
 * last time somebody looked: what gathers can outrun the making of files, and the held ones make up for small errors.
 * If even they are gone, batches wait, and nothing is lost; nobody was told that it is durable.
 *
 * Segments go oldest first, one after the other, each durably before the next: a settle never goes before its publish.
 * "Nothing lives in it" is what the index says now, that is, of records which may still be on their way to the disk: a
 * segment goes when all that had been appended by then is durable.
 *
 * Invariants
 *   1. segment[] is sorted by number, without holes but those of damage; only the last one is written to.
 *   2. A pinned segment does not go, and its file is not closed.
 *   3. disk_bytes = sizes of all segments and spares, and of the files that are being made or recycled.
 * Cost    O(1) per turn; an estimate of what lives, O(segments), now and then.
 * Thread  the shard's; make_run and recycle_run on LANE_READ.
 */
#include <stdio.h>
#include <string.h>

#include "core/base/hash.h"
#include "persist/store_log_calls.h"

enum { SLOTS_FIRST = 16, RECORD_EXTRA = 128, ESTIMATE_N = 16, CAN_MAKE_MAX = 1u << 20 };

/* ---- tables -------------------------------------------------------------------------------------------------- */

static bool slots(struct store_log *s, struct segment ***all, uint32_t *cap, uint32_t n)
{
    if (n <= *cap)
        return true;
    uint32_t more = MAX(*cap * 2, MAX(n, SLOTS_FIRST));
    struct segment **grown = mem_realloc(s->mem, *all, more * sizeof(struct segment *));
    if (grown == NULL)
        return false;
    *all = grown;
    *cap = more;
    return true;
}

bool space_reserve_slots(struct store_log *s, uint32_t n)
{
    return slots(s, &s->segment, &s->segment_cap, s->segment_n + n);
}

bool space_add(struct store_log *s, struct segment *seg)
{
    if (!space_reserve_slots(s, 1))
        return false;
    s->segment[s->segment_n++] = seg;
    s->segment_last = MAX(s->segment_last, seg->head.number);
    s->base.stats.disk_bytes += seg->head.size;
    return true;
}

bool space_add_spare(struct store_log *s, struct segment *seg)
{
    if (!slots(s, &s->spare, &s->spare_cap, s->spare_n + 1))
        return false;
    s->spare[s->spare_n++] = seg;
    s->base.stats.disk_bytes += seg->head.size;
    return true;
}

struct segment *space_find(const struct store_log *s, uint64_t number)
{
    uint32_t from = 0, to = s->segment_n;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        if (s->segment[mid]->head.number < number)
            from = mid + 1;
        else
            to = mid;
    }
    return from < s->segment_n && s->segment[from]->head.number == number ? s->segment[from] : NULL;
}

void space_begin(struct store_log *s, struct segment *spare)
{
    uint32_t i = 0;
    while (s->spare[i] != spare)
        i++;
    s->spare[i] = s->spare[--s->spare_n];
    spare->head.version = WAL_VERSION;
    spare->head.number = ++s->segment_last;
    spare->head.salt = hash_u64(s->config.seed, spare->head.number);
    spare->landed = WAL_HEAD;
    s->segment[s->segment_n++] = spare;
    s->has_tail = true;
    s->since_estimate = ESTIMATE_N;
}

static void close_file(struct store_log *s, struct segment *seg)
{
    if (seg->file != NULL)
        s->config.disk->ops->close(s->config.disk, seg->file);
    seg->file = NULL;
}

void space_init(struct store_log *s)
{
    s->make.log = s->recycle.log = s;
}

void space_fini(struct store_log *s)
{
    for (uint32_t i = 0; i < s->segment_n + s->spare_n; i++) {
        struct segment *seg = i < s->segment_n ? s->segment[i] : s->spare[i - s->segment_n];
        close_file(s, seg);
        mem_free(s->mem, seg);
    }
    mem_free(s->mem, s->segment);
    mem_free(s->mem, s->spare);
    s->segment = s->spare = NULL;
    s->segment_n = s->spare_n = 0;
}

/* ---- open files ---------------------------------------------------------------------------------------------- */

void space_pin(struct segment *seg)
{
    seg->pins++;
}

/* close_some: old segments need no open file while nobody reads them. */
static void close_some(struct store_log *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->segment_n; i++)
        n += s->segment[i]->file != NULL;
    for (uint32_t i = 0; i + 1 < s->segment_n && n > LOG_OPEN_MAX / 2; i++) {
        struct segment *seg = s->segment[i];
        if (seg->file != NULL && seg->pins == 0) {
            close_file(s, seg);
            n--;
        }
    }
    s->open_files = n;
}

void space_unpin(struct store_log *s, struct segment *seg, struct disk_file *file)
{
    BUG_ON(seg->pins == 0);
    seg->pins--;
    if (file == NULL || file == seg->file)
        return;
    if (seg->file != NULL) {
        s->config.disk->ops->close(s->config.disk, file);
        return;
    }
    seg->file = file;
    if (++s->open_files > LOG_OPEN_MAX)
        close_some(s);
}

/* ---- a new spare --------------------------------------------------------------------------------------------- */

static void make_run(struct job *j)
{
    struct make_job *m = CONTAINER_OF(j, struct make_job, job);
    struct disk *d = m->log->config.disk;
    uint64_t size = m->seg->head.size;
    m->free_bytes = d->ops->free_bytes(d);
    if (m->free_bytes < size) {
        snprintf(d->why, sizeof(d->why), "no space left for a file of %llu bytes", (unsigned long long)size);
        m->err = ERR_FULL;
        return;
    }
    m->err = d->ops->create(d, m->seg->spare_name, size, &m->seg->file);
    if (m->err == ERR_OK) {
        m->err = d->ops->sync_names(d);
        m->is_fatal = m->err != ERR_OK; /* the names that failed may be those of LANE_WRITE */
    }
    m->free_bytes = d->ops->free_bytes(d);
}

static void make_done(struct job *j)
{
    struct make_job *m = CONTAINER_OF(j, struct make_job, job);
    struct store_log *s = m->log;
    struct segment *seg = m->seg;
    m->seg = NULL;
    s->disk_free = m->free_bytes;
    s->base.stats.disk_bytes -= seg->head.size;
    if (m->err == ERR_OK && space_add_spare(s, seg)) {
        s->is_blocked = s->said_why = false;
        s->want_bytes = 0;
        return;
    }
    close_file(s, seg);
    mem_free(s->mem, seg);
    if (m->is_fatal)
        log_fail(s, "syncing the directory", m->err);
    if (m->is_fatal || m->err == ERR_EXISTS)
        return; /* the next one has another number */
    s->is_blocked = true;
    s->retry_at = s->now + LOG_RETRY_MS;
    if (!s->said_why)
        log_line(s->config.log, LOG_NOTICE, "the log cannot grow: %s", s->config.disk->why);
    s->said_why = true;
}

static uint32_t normal_spares(const struct store_log *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->spare_n; i++)
        n += s->spare[i]->head.size == s->config.segment_bytes;
    return n;
}

/* left: bytes of the size limit that are not used. */
static uint64_t left(const struct store_log *s)
{
    if (s->config.bytes_max == 0)
        return UINT64_MAX;
    uint64_t used = s->base.stats.disk_bytes;
    return used < s->config.bytes_max ? s->config.bytes_max - used : 0;
}

/* has_enough: spares there are, or will soon be, out of old segments. */
static bool has_enough(const struct store_log *s)
{
    bool comes = (s->recycle.seg != NULL && s->recycle.to_spare) || (s->segment_n > 1 && s->segment[0]->is_free);
    return normal_spares(s) + comes >= LOG_HELD + LOG_AHEAD;
}

/* make_spares: what a batch waits for is made even beyond the limit, for it was accepted. */
static void make_spares(struct store_log *s)
{
    if (s->make.seg != NULL || (s->is_blocked && s->now < s->retry_at))
        return;
    uint64_t size = MAX(s->want_bytes, s->config.segment_bytes);
    bool is_needed = s->want_bytes != 0;
    if (!is_needed && (s->is_closing || has_enough(s) || left(s) < size)) {
        s->is_blocked = false; /* nobody asks */
        return;
    }
    struct segment *seg = mem_zalloc(s->mem, sizeof(*seg));
    if (seg == NULL || !slots(s, &s->spare, &s->spare_cap, s->spare_n + 1)) {
        mem_free(s->mem, seg);
        s->is_blocked = true;
        s->retry_at = s->now + LOG_RETRY_MS;
        return;
    }
    seg->head.size = size;
    wal_spare_name(++s->spare_last, seg->spare_name);
    s->base.stats.disk_bytes += size;
    s->make.seg = seg;
    s->make.is_fatal = false;
    s->make.job.run = make_run;
    s->make.job.done = make_done;
    s->config.runner->ops->post(s->config.runner, LANE_READ, &s->make.job);
}

/* ---- old segments -------------------------------------------------------------------------------------------- */

static void recycle_run(struct job *j)
{
    struct recycle_job *r = CONTAINER_OF(j, struct recycle_job, job);
    struct disk *d = r->log->config.disk;
    struct segment *seg = r->seg;
    char name[DISK_NAME_MAX];
    wal_name(seg->head.number, name);
    if (seg->file != NULL)
        d->ops->close(d, seg->file);
    seg->file = NULL;
    r->err = r->to_spare ? d->ops->rename(d, name, seg->spare_name) : d->ops->remove(d, name);
    if (r->err == ERR_OK)
        r->err = d->ops->sync_names(d);
    r->is_lost = r->err == ERR_OK && r->to_spare && d->ops->open(d, seg->spare_name, true, &seg->file) != ERR_OK;
    r->free_bytes = d->ops->free_bytes(d);
}

static void recycle_done(struct job *j)
{
    struct recycle_job *r = CONTAINER_OF(j, struct recycle_job, job);
    struct store_log *s = r->log;
    struct segment *seg = r->seg;
    r->seg = NULL;
    s->disk_free = r->free_bytes;
    s->since_estimate = ESTIMATE_N;
    s->base.stats.disk_bytes -= seg->head.size;
    seg->head.number = 0;
    if (r->err == ERR_OK && r->to_spare && !r->is_lost && space_add_spare(s, seg)) {
        s->want_bytes = 0;
        return;
    }
    close_file(s, seg);
    mem_free(s->mem, seg);
    if (r->err != ERR_OK) /* it might be there again after a restart, without what ended its records */
        log_fail(s, "giving back a segment", r->err);
    else if (!r->to_spare)
        s->retry_at = 0;
}

static void recycle_first(struct store_log *s)
{
    struct segment *seg = s->segment[0];
    memmove(s->segment, s->segment + 1, --s->segment_n * sizeof(struct segment *));
    bool is_wanted = normal_spares(s) + (s->make.seg != NULL) < LOG_SPARES_MAX;
    s->recycle.to_spare = is_wanted && seg->head.size == s->config.segment_bytes;
    if (s->recycle.to_spare)
        wal_spare_name(++s->spare_last, seg->spare_name);
    if (seg->file != NULL)
        s->open_files -= s->open_files != 0;
    seg->end = seg->landed = seg->record_n = 0;
    seg->is_free = false;
    s->recycle.seg = seg;
    s->recycle.is_lost = false;
    s->recycle.job.run = recycle_run;
    s->recycle.job.done = recycle_done;
    s->config.runner->ops->post(s->config.runner, LANE_READ, &s->recycle.job);
}

static void retire(struct store_log *s)
{
    if (s->recycle.seg != NULL || s->segment_n < 2)
        return;
    struct segment *seg = s->segment[0];
    if (seg->pins != 0 || living_n_in(s->living, seg->head.number) != 0)
        return;
    if (!seg->is_free) {
        seg->is_free = true;
        seg->free_lsn = s->last;
        seg->free_batch = s->batch_landed;
    }
    if (s->synced >= seg->free_lsn && s->batch_synced >= seg->free_batch)
        recycle_first(s);
}

/* ---- compaction: whether ------------------------------------------------------------------------------------- */

static void estimate(struct store_log *s)
{
    s->since_estimate = 0;
    s->living_bytes = s->log_bytes = 0;
    for (uint32_t i = 0; i < s->segment_n; i++) {
        const struct segment *seg = s->segment[i];
        uint64_t n = living_n_in(s->living, seg->head.number), used = seg->end - WAL_HEAD;
        s->log_bytes += seg->head.size;
        if (seg->record_n != 0)
            s->living_bytes += (uint64_t)((double)used * (double)MIN(n, seg->record_n) / (double)seg->record_n);
    }
}

static bool is_tight(const struct store_log *s)
{
    return (s->is_blocked || left(s) < s->config.segment_bytes) && normal_spares(s) <= LOG_HELD;
}

static void maybe_compact(struct store_log *s)
{
    if (s->compact.state != COMPACT_IDLE || s->recycle.seg != NULL || s->segment_n < 2)
        return;
    const struct segment *first = s->segment[0];
    if (first->is_stuck || first->is_free || first->pins != 0)
        return;
    bool now_tight = is_tight(s);
    if (s->since_estimate < (now_tight ? 1 : ESTIMATE_N))
        return;
    estimate(s);
    uint64_t size = s->config.segment_bytes;
    bool is_loose = s->log_bytes > 2 * s->living_bytes + 4 * size;
    if (is_loose || (now_tight && s->log_bytes > s->living_bytes + 2 * size))
        compact_start(s, s->segment[0]);
}

/* ---- room ---------------------------------------------------------------------------------------------------- */

uint64_t space_usable(uint64_t size)
{
    return size - WAL_HEAD - LOG_FRONT_MAX;
}

/* can_make: segments that could still be made. */
static uint64_t can_make(const struct store_log *s)
{
    if (s->is_blocked)
        return 0;
    return MIN(MIN(s->disk_free, left(s)) / s->config.segment_bytes, CAN_MAKE_MAX);
}

void space_count(struct store_log *s)
{
    uint64_t usable = space_usable(s->config.segment_bytes), room = 0;
    uint64_t n = normal_spares(s) + (s->make.seg != NULL && !s->is_blocked) + can_make(s);
    if (n >= LOG_HELD) {
        room = (n - LOG_HELD) * (usable - usable / 16);
        const struct segment *tail = s->has_tail ? s->segment[s->segment_n - 1] : NULL;
        if (tail != NULL && tail->head.size - tail->end > LOG_FRONT_MAX)
            room += tail->head.size - tail->end - LOG_FRONT_MAX;
    }
    s->room = room;
    if (s->base.stats.is_full && room >= batch_gathered(s) + usable / 2) {
        s->base.stats.is_full = false;
        log_line(s->config.log, LOG_NOTICE, "the log has room again: durable messages are accepted");
    }
}

/* reserve_large: a record that gets a segment of its own. */
static enum err reserve_large(const struct store_log *s, uint64_t bytes)
{
    uint64_t possible = MIN(s->disk_free, left(s)), held = LOG_HELD * s->config.segment_bytes;
    if (s->is_blocked || bytes > UINT32_MAX / 2 || possible < held || possible - held < bytes / 16 * 17)
        return ERR_FULL;
    return ERR_OK;
}

static void say_full(struct store_log *s)
{
    s->base.stats.is_full = true;
    if (s->is_blocked)
        log_line(s->config.log, LOG_WARN, "the disk is full (%s): durable messages are refused until there is room",
                 s->config.disk->why);
    else
        log_line(s->config.log, LOG_WARN,
                 "the log is full (%llu bytes): durable messages are refused until there is room",
                 (unsigned long long)s->base.stats.disk_bytes);
}

enum err space_reserve(struct store_log *s, uint64_t bytes)
{
    uint64_t gathered = batch_gathered(s) + RECORD_EXTRA, usable = space_usable(s->config.segment_bytes);
    if (LIKELY(!s->base.stats.is_full && gathered < s->room && bytes <= s->room - gathered))
        return LIKELY(bytes <= usable - RECORD_EXTRA) ? ERR_OK : reserve_large(s, bytes);
    if (bytes > usable / 2)
        return ERR_FULL; /* smaller ones may find room */
    if (!s->base.stats.is_full)
        say_full(s);
    return ERR_FULL;
}

/* ---- each turn ----------------------------------------------------------------------------------------------- */

void space_turn(struct store_log *s)
{
    if (s->has_failed)
        return;
    if (s->flying == NULL)
        compact_landed(s);
    if (!s->is_closing) {
        retire(s);
        maybe_compact(s);
    }
    make_spares(s);
    space_count(s);
}

mono_ms space_due(const struct store_log *s)
{
    bool waits = s->is_blocked && s->make.seg == NULL && !s->has_failed;
    return waits ? MAX(s->retry_at, s->now + 1) : MONO_NEVER;
}
