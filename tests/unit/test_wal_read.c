/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wal_read.c: logs are written as the store writes them, then cut, flipped, torn and interrupted while they are
 * mended. Whatever happened: what was synced and stands before the damage is read, in order; of a torn batch there is a
 * beginning or nothing; what was mended once reads clean, and stays so when the log goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/check.h"
#include "core/base/rng.h"
#include "persist/codec.h"
#include "persist/wal_file.h"
#include "tests/sim/disk_sim.h"

enum { FRAMES = 4000, FILES = 64 };

/* A frame as it was written; WAL_BATCHes are left out. */
struct mark {
    uint64_t lsn, batch, segment, off;
    uint32_t bytes;
};

struct bench {
    struct mem_heap heap, platter_heap;
    struct mem mem, platter_mem;
    struct rng rng;
    struct platter *platter;
    struct disk *disk;
    /* writing */
    uint64_t segment, salt, size, off, batch, lsn;
    bool sync;
    struct mark wrote[FRAMES];
    size_t wrote_n;
    /* read */
    uint64_t read[FRAMES], told[FILES];
    size_t read_n, told_n, torn_n, damage_n, spare_n, segment_n;
    struct wal_damage last;
    enum err visit_error;
    struct wal_found found;
};

static void open_disk(struct bench *b)
{
    b->disk = disk_sim_new(b->platter);
    assert_non_null(b->disk);
    assert_int_equal(b->disk->ops->lock(b->disk), ERR_OK);
}

static void close_disk(struct bench *b)
{
    b->disk->ops->unlock(b->disk);
    b->disk->ops->destroy(b->disk);
}

/* fresh: an empty disk and nothing written. */
static void fresh(struct bench *b, uint64_t size)
{
    if (b->platter != NULL) {
        close_disk(b);
        platter_free(b->platter);
    }
    b->platter = platter_new(&b->platter_mem, &b->rng, UINT64_MAX);
    open_disk(b);
    b->segment = b->off = b->batch = b->lsn = 0;
    b->size = size;
    b->sync = true;
    b->wrote_n = 0;
}

static int setup(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    mem_heap_init(&b.heap);
    mem_init(&b.mem, &b.heap, "test");
    mem_heap_init(&b.platter_heap);
    mem_init(&b.platter_mem, &b.platter_heap, "platter");
    rng_init(&b.rng, 1);
    fresh(&b, 2048);
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    wal_found_fini(&b->found, &b->mem);
    close_disk(b);
    platter_free(b->platter);
    assert_int_equal(b->mem.bytes, 0);
    assert_int_equal(b->platter_mem.bytes, 0);
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void put_at(struct bench *b, uint64_t segment, uint64_t off, const void *p, size_t n)
{
    char name[DISK_NAME_MAX];
    struct disk_file *file;
    wal_name(segment, name);
    assert_int_equal(b->disk->ops->open(b->disk, name, true, &file), ERR_OK);
    assert_int_equal(b->disk->ops->write(b->disk, file, off, p, n), ERR_OK);
    if (b->sync)
        assert_int_equal(b->disk->ops->sync(b->disk, file), ERR_OK);
    b->disk->ops->close(b->disk, file);
}

static void make_file(struct bench *b, const char *name, uint64_t size, const void *p, size_t n)
{
    struct disk_file *file;
    assert_int_equal(b->disk->ops->create(b->disk, name, size, &file), ERR_OK);
    if (n != 0)
        assert_int_equal(b->disk->ops->write(b->disk, file, 0, p, n), ERR_OK);
    assert_int_equal(b->disk->ops->sync(b->disk, file), ERR_OK);
    b->disk->ops->close(b->disk, file);
    assert_int_equal(b->disk->ops->sync_names(b->disk), ERR_OK);
}

static void next_segment(struct bench *b)
{
    uint8_t head[WAL_HEAD];
    char name[DISK_NAME_MAX];
    b->segment++;
    b->salt = rng_u64(&b->rng);
    wal_put_head(
        head,
        &(struct wal_head){
            .version = WAL_VERSION, .number = b->segment, .salt = b->salt, .size = b->size, .made = 1000 + b->segment});
    wal_name(b->segment, name);
    make_file(b, name, b->size, head, sizeof(head));
    b->off = WAL_HEAD;
}

static void end_part(struct bench *b, struct buf *part)
{
    if (part->len == 0)
        return;
    wal_seal(part->p, part->len, b->salt);
    size_t zeros = (size_t)MIN(b->size - b->off - part->len, (uint64_t)WAL_FRAME_HEAD), n = part->len;
    for (size_t i = 0; i < zeros; i++)
        buf_put_u8(part, 0);
    put_at(b, b->segment, b->off, part->p, part->len);
    b->off += n;
    buf_clear(part);
}

/* put_record: one frame of up to `most` bytes of name, behind what is in part. */
static void put_record(struct bench *b, struct buf *part, uint32_t most)
{
    static const uint8_t text[4000] = "some text that is no zeros";
    struct store clock = {.now = 1};
    struct store_rec rec = {.kind = STORE_SESSION, .lsn = ++b->lsn, .session = b->lsn};
    rec.name = slice_make(text, rng_below(&b->rng, most));
    assert_int_equal(codec_put(part, &rec, 0, &clock), ERR_OK);
}

/* write_batch: n records of up to `most` bytes, over as many segments as they need. */
static void write_batch(struct bench *b, uint32_t n, uint32_t most)
{
    struct buf part, one;
    uint32_t part_n = 0;
    buf_init(&part, &b->mem);
    buf_init(&one, &b->mem);
    b->batch++;
    for (uint32_t i = 0; i < n; i++) {
        buf_clear(&one);
        put_record(b, &one, most);
        if (b->segment == 0 || b->off + part.len + (part.len == 0 ? CODEC_BATCH_MAX : 0) + one.len > b->size) {
            end_part(b, &part);
            next_segment(b);
        }
        if (part.len == 0)
            assert_int_equal(codec_put_batch(&part, b->batch, 5000 + b->batch, part_n++), ERR_OK);
        BUG_ON(b->wrote_n == FRAMES);
        b->wrote[b->wrote_n++] = (struct mark){.lsn = b->lsn,
                                               .batch = b->batch,
                                               .segment = b->segment,
                                               .off = b->off + part.len,
                                               .bytes = (uint32_t)one.len};
        buf_put(&part, one.p, one.len);
    }
    end_part(b, &part);
    buf_fini(&part);
    buf_fini(&one);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static enum err on_segment(void *ctx, const struct wal_head *h, uint64_t bytes)
{
    struct bench *b = ctx;
    assert_true(bytes >= WAL_HEAD && h->number != 0);
    b->segment_n++;
    return ERR_OK;
}

static enum err on_frame(void *ctx, const struct wal_frame *f)
{
    struct bench *b = ctx;
    if (f->kind == WAL_BATCH)
        return ERR_OK;
    assert_true(b->read_n < FRAMES);
    assert_int_equal(f->kind, STORE_SESSION);
    b->read[b->read_n++] = f->lsn;
    return b->visit_error;
}

static void on_damage(void *ctx, const struct wal_damage *d)
{
    struct bench *b = ctx;
    if (d->is_torn)
        b->torn_n++;
    else
        b->damage_n++;
    b->last = *d;
}

static enum err on_spare(void *ctx, const char *name, uint64_t bytes)
{
    struct bench *b = ctx;
    assert_true(strlen(name) > 0);
    (void)bytes;
    b->spare_n++;
    return ERR_OK;
}

static enum err try_read(struct bench *b, bool repair)
{
    const struct wal_visitor v = {
        .ctx = b, .segment = on_segment, .frame = on_frame, .damage = on_damage, .spare = on_spare};
    b->read_n = b->torn_n = b->damage_n = b->spare_n = b->segment_n = 0;
    b->last = (struct wal_damage){0};
    wal_found_fini(&b->found, &b->mem);
    return wal_read(b->disk, &b->mem, NULL, repair, &v, &b->found);
}

static void read_log(struct bench *b, bool repair)
{
    assert_int_equal(try_read(b, repair), ERR_OK);
    assert_int_equal(b->found.frames, b->read_n);
    uint64_t frames = 0;
    for (uint32_t i = 0; i < b->found.segment_n; i++)
        frames += b->found.segment[i].frame_n;
    assert_int_equal(frames, b->read_n);
    assert_int_equal(b->found.segment_n, b->segment_n);
}

/* read_before: how many frames from the first on were read, in order. */
static size_t read_before(const struct bench *b)
{
    size_t n = 0;
    while (n < b->read_n && n < b->wrote_n && b->read[n] == b->wrote[n].lsn)
        n++;
    return n;
}

static void assert_all(const struct bench *b)
{
    assert_int_equal(b->read_n, b->wrote_n);
    assert_int_equal(read_before(b), b->wrote_n);
}

static void assert_clean(const struct bench *b)
{
    assert_int_equal(b->torn_n + b->damage_n, 0);
    assert_true(b->found.damaged_bytes == 0 && b->found.torn_bytes == 0);
}

/* assert_mended: nothing new is found. What a file that was cut off lacks is told again where it leaves no room to say
 * otherwise. */
static void assert_mended(const struct bench *b)
{
    assert_true(b->torn_n + b->damage_n <= 1 && b->last.bytes == 0);
    assert_true(b->found.damaged_bytes == 0 && b->found.torn_bytes == 0);
}

/* log_goes_on: as after a restart: in a new segment; then everything that was read before and what is new is there. */
static void log_goes_on(struct bench *b)
{
    uint64_t kept[FRAMES];
    size_t kept_n = b->read_n, n = b->wrote_n;
    memcpy(kept, b->read, kept_n * sizeof(kept[0]));
    b->batch = b->found.batch;
    b->lsn += 1000;
    if (b->found.segment_n != 0)
        b->segment = MAX(b->segment, b->found.segment[b->found.segment_n - 1].head.number);
    next_segment(b);
    b->wrote_n = 0;
    write_batch(b, 3, 100);
    write_batch(b, 2, 100);
    read_log(b, true);
    assert_int_equal(b->torn_n, 0);
    assert_int_equal(b->read_n, kept_n + 5);
    assert_memory_equal(b->read, kept, kept_n * sizeof(kept[0]));
    assert_int_equal(b->read[kept_n + 4], b->lsn);
    b->wrote_n = n;
}

/* ---- tests ----------------------------------------------------------------------------------------------------- */

static void test_clean_logs(void **state)
{
    struct bench *b = *state;
    read_log(b, true); /* nothing at all */
    assert_int_equal(b->found.segment_n, 0);
    for (int round = 0; round < 200; round++) {
        fresh(b, 512 + 8 * rng_below(&b->rng, 500));
        uint32_t batches = 1 + rng_below(&b->rng, 20);
        for (uint32_t i = 0; i < batches; i++)
            write_batch(b, 1 + rng_below(&b->rng, 12), 300);
        read_log(b, round % 2 == 0);
        assert_all(b);
        assert_clean(b);
        assert_int_equal(b->found.batch, batches);
        assert_int_equal(b->found.stamp, 5000 + batches);
        assert_int_equal(b->found.segment_n, b->segment);
        assert_int_equal(b->found.segment[b->segment - 1].end, b->off);
        log_goes_on(b);
    }
}

static void test_a_full_segment(void **state)
{
    struct bench *b = *state;
    for (uint32_t room = 0; room < 64; room += 8) { /* 0 to 56 bytes are left behind the last frame */
        fresh(b, 512);
        write_batch(b, 1, 1);
        b->size = b->off + room;
        uint8_t head[WAL_HEAD];
        wal_put_head(head, &(struct wal_head){.version = 1, .number = 1, .salt = b->salt, .size = b->size});
        put_at(b, 1, 0, head, sizeof(head));
        b->off = 10000;
        b->size = 512;
        write_batch(b, 1, 100);
        read_log(b, true);
        assert_all(b);
        assert_clean(b);
    }
}

/* cut_file: the segment ends after n bytes. */
static void cut_file(struct bench *b, uint64_t segment, uint64_t n)
{
    char name[DISK_NAME_MAX];
    struct disk_file *file;
    uint8_t all[8192];
    wal_name(segment, name);
    assert_int_equal(b->disk->ops->open(b->disk, name, false, &file), ERR_OK);
    assert_true(n <= file->size && n <= sizeof(all));
    assert_int_equal(b->disk->ops->read(b->disk, file, 0, all, (size_t)n), ERR_OK);
    b->disk->ops->close(b->disk, file);
    assert_int_equal(b->disk->ops->remove(b->disk, name), ERR_OK);
    make_file(b, name, n, all, (size_t)n);
}

static void test_every_prefix(void **state)
{
    struct bench *b = *state;
    for (uint64_t cut = 2048; cut > 0; cut--) {
        rng_init(&b->rng, 77);
        fresh(b, 2048);
        for (int i = 0; i < 10; i++)
            write_batch(b, 6, 150);
        uint64_t last = b->segment, end = b->off;
        size_t want = 0;
        while (want < b->wrote_n &&
               (b->wrote[want].segment < last || b->wrote[want].off + b->wrote[want].bytes <= cut / 8 * 8))
            want++;
        if (cut < WAL_HEAD)
            for (want = 0; b->wrote[want].segment < last;)
                want++;
        cut_file(b, last, cut);
        read_log(b, false);
        assert_int_equal(b->read_n, want);
        assert_int_equal(read_before(b), want);
        if (cut >= end)
            assert_clean(b);
        else if (cut < WAL_HEAD)
            assert_int_equal(b->damage_n, 1);
        else
            assert_int_equal(b->damage_n, 0);
        read_log(b, true);
        assert_int_equal(b->read_n, want);
        read_log(b, true);
        assert_mended(b);
        assert_int_equal(b->read_n, want);
        if (cut % 16 == 1)
            log_goes_on(b);
    }
}

static void test_a_segment_cut_in_the_middle(void **state)
{
    struct bench *b = *state;
    for (uint64_t cut = WAL_HEAD; cut < 1024; cut++) {
        rng_init(&b->rng, 78);
        fresh(b, 1024);
        for (int i = 0; i < 10; i++)
            write_batch(b, 6, 150);
        size_t missing = 0;
        for (size_t i = 0; i < b->wrote_n; i++)
            missing += b->wrote[i].segment == 2 && b->wrote[i].off + b->wrote[i].bytes > cut / 8 * 8;
        cut_file(b, 2, cut);
        read_log(b, true);
        assert_int_equal(b->torn_n, 0);
        assert_int_equal(b->read_n, b->wrote_n - missing);
        assert_true((missing != 0) == (b->damage_n != 0));
        log_goes_on(b);
    }
}

/* hit: index of the frame that has byte `at` of the segment; wrote_n: none. */
static size_t hit(const struct bench *b, uint64_t segment, uint64_t at)
{
    for (size_t i = 0; i < b->wrote_n; i++) {
        const struct mark *m = &b->wrote[i];
        if (m->segment == segment && at >= m->off && at < m->off + m->bytes)
            return i;
    }
    return b->wrote_n;
}

/* before: how many frames stand before byte `at` of the segment. */
static size_t before(const struct bench *b, uint64_t segment, uint64_t at)
{
    size_t n = 0;
    while (n < b->wrote_n && (b->wrote[n].segment < segment ||
                              (b->wrote[n].segment == segment && b->wrote[n].off + b->wrote[n].bytes <= at)))
        n++;
    return n;
}

static void test_bit_flips(void **state)
{
    struct bench *b = *state;
    int damaged = 0, torn = 0;
    for (int round = 0; round < 4000; round++) {
        if (round % 4 == 0)
            fresh(b, 1024 + 8 * rng_below(&b->rng, 200));
        else
            fresh(b, b->size);
        uint32_t batches = 3 + rng_below(&b->rng, 8);
        for (uint32_t i = 0; i < batches; i++)
            write_batch(b, 1 + rng_below(&b->rng, 6), 300);
        uint64_t segment = 1 + rng_below(&b->rng, (uint32_t)b->segment), at = rng_below(&b->rng, (uint32_t)b->size);
        char name[DISK_NAME_MAX];
        wal_name(segment, name);
        assert_true(platter_flip(b->platter, name, at * 8 + rng_below(&b->rng, 8)));
        read_log(b, round % 2 == 0);
        if (round % 2 == 0) { /* mended: the same frames, once more; a gap may be told again, or a renamed head */
            uint64_t kept[FRAMES];
            size_t kept_n = b->read_n, damage_n = b->damage_n;
            memcpy(kept, b->read, kept_n * sizeof(kept[0]));
            read_log(b, true);
            assert_int_equal(b->read_n, kept_n);
            assert_memory_equal(b->read, kept, kept_n * sizeof(kept[0]));
            assert_int_equal(b->torn_n, 0);
            assert_int_equal(b->damage_n, 0);
            b->damage_n = damage_n;
            log_goes_on(b);
            continue;
        }
        damaged += b->damage_n != 0;
        torn += b->torn_n != 0;
        if (at < WAL_HEAD) {
            assert_int_equal(b->damage_n, 1);
            continue;
        }
        size_t i = hit(b, segment, at);
        assert_true(read_before(b) >= before(b, segment, at));
        if (i < b->wrote_n && b->wrote[i].batch < b->batch) { /* only the one that was hit is missing */
            assert_int_equal(b->read_n, b->wrote_n - 1);
            assert_true(b->damage_n == 1 && b->torn_n == 0 && b->last.off == b->wrote[i].off &&
                        b->last.bytes == b->wrote[i].bytes && b->last.segment == segment);
        }
    }
    assert_true(damaged > 500 && torn > 100);
}

static void test_set_aside(void **state)
{
    struct bench *b = *state;
    char name[DISK_NAME_MAX];
    struct disk_file *file;
    uint8_t was[512], is[512];
    for (int i = 0; i < 5; i++)
        write_batch(b, 4, 60);
    const struct mark *m = &b->wrote[6];
    wal_name(m->segment, name);
    assert_int_equal(b->disk->ops->open(b->disk, name, false, &file), ERR_OK);
    assert_int_equal(b->disk->ops->read(b->disk, file, m->off, was, m->bytes), ERR_OK);
    b->disk->ops->close(b->disk, file);
    assert_true(platter_flip(b->platter, name, (m->off + 40) * 8));
    was[40] ^= 1;
    read_log(b, false);
    assert_true(b->damage_n == 1 && b->last.set_aside[0] == '\0' && b->found.damaged_bytes == m->bytes);
    read_log(b, true);
    assert_int_equal(b->damage_n, 1);
    snprintf(name, sizeof(name), "damaged-%016llx-%llx.bin", (unsigned long long)m->segment,
             (unsigned long long)m->off);
    assert_string_equal(b->last.set_aside, name);
    assert_int_equal(b->disk->ops->open(b->disk, name, false, &file), ERR_OK);
    assert_int_equal(file->size, m->bytes);
    assert_int_equal(b->disk->ops->read(b->disk, file, 0, is, m->bytes), ERR_OK);
    b->disk->ops->close(b->disk, file);
    assert_memory_equal(is, was, m->bytes);
    read_log(b, true); /* once is enough */
    assert_clean(b);
    assert_int_equal(b->found.void_bytes, m->bytes);
    assert_int_equal(b->read_n, b->wrote_n - 1);
}

static void test_no_room_to_set_aside(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 5; i++)
        write_batch(b, 4, 60);
    char name[DISK_NAME_MAX];
    wal_name(1, name);
    assert_true(platter_flip(b->platter, name, (b->wrote[6].off + 40) * 8));
    platter_set_capacity(b->platter, platter_used(b->platter));
    for (int i = 0; i < 2; i++) {
        read_log(b, true);
        assert_true(b->damage_n == 1 && b->last.set_aside[0] == '\0');
        assert_int_equal(b->read_n, b->wrote_n - 1);
    }
    platter_set_capacity(b->platter, UINT64_MAX);
    read_log(b, true);
    assert_true(b->last.set_aside[0] != '\0');
    read_log(b, true);
    assert_clean(b);
}

/* torn_log: some batches synced, and one that the power cut caught. *out_synced: frames of the synced ones. */
static void torn_log(struct bench *b, size_t *out_synced)
{
    fresh(b, 1024 + 512 * rng_below(&b->rng, 8));
    uint32_t batches = rng_below(&b->rng, 5);
    for (uint32_t i = 0; i < batches; i++)
        write_batch(b, 1 + rng_below(&b->rng, 6), 300);
    *out_synced = b->wrote_n;
    b->sync = false;
    write_batch(b, 1 + rng_below(&b->rng, 20), 700);
    platter_crash(b->platter, PLATTER_POWER);
    b->disk->ops->destroy(b->disk);
    b->sync = true;
    open_disk(b);
}

static void test_torn_batches(void **state)
{
    struct bench *b = *state;
    size_t synced, whole = 0, none = 0, torn = 0;
    for (int round = 0; round < 4000; round++) {
        torn_log(b, &synced);
        read_log(b, true);
        assert_int_equal(read_before(b), b->read_n); /* a beginning of what was written */
        assert_true(b->read_n >= synced);
        assert_int_equal(b->damage_n, 0); /* that is not damage */
        whole += b->read_n == b->wrote_n;
        none += b->read_n == synced;
        torn += b->torn_n != 0;
        size_t n = b->read_n;
        read_log(b, true);
        assert_clean(b);
        assert_int_equal(b->read_n, n);
        log_goes_on(b);
        assert_int_equal(b->damage_n, 0);
    }
    assert_true(whole > 10 && none > 100 && torn > 1000);
}

static void test_interrupted_while_mending(void **state)
{
    struct bench *b = *state;
    size_t synced;
    int finished = 0;
    for (int round = 0; round < 3000; round++) {
        if (round % 2 == 0) {
            torn_log(b, &synced);
        } else {
            fresh(b, 1024 + 512 * rng_below(&b->rng, 8));
            for (int i = 0; i < 6; i++)
                write_batch(b, 1 + rng_below(&b->rng, 6), 300);
            const struct mark *m = &b->wrote[rng_below(&b->rng, (uint32_t)b->wrote_n)];
            char name[DISK_NAME_MAX];
            wal_name(m->segment, name);
            assert_true(platter_flip(b->platter, name, (m->off + rng_below(&b->rng, m->bytes)) * 8));
        }
        read_log(b, false);
        uint64_t kept[FRAMES];
        size_t kept_n = b->read_n;
        memcpy(kept, b->read, kept_n * sizeof(kept[0]));
        platter_dies_in(b->platter, rng_below(&b->rng, 16));
        enum err e = try_read(b, true);
        assert_true(e == ERR_OK || e == ERR_IO);
        finished += e == ERR_OK;
        platter_crash(b->platter, PLATTER_POWER);
        b->disk->ops->destroy(b->disk);
        open_disk(b);
        read_log(b, true);
        assert_int_equal(b->read_n, kept_n);
        assert_memory_equal(b->read, kept, kept_n * sizeof(kept[0]));
        log_goes_on(b);
    }
    assert_true(finished > 300 && finished < 2900);
}

static void test_a_later_version_is_not_touched(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 5; i++)
        write_batch(b, 8, 200);
    assert_true(b->segment >= 3);
    uint8_t head[WAL_HEAD], junk[8] = "junk";
    char name[DISK_NAME_MAX];
    wal_put_head(head, &(struct wal_head){.version = 2, .number = b->segment, .size = b->size});
    put_at(b, b->segment, 0, head, sizeof(head));
    put_at(b, 1, b->wrote[3].off, junk, sizeof(junk)); /* which would be mended */
    uint64_t used = platter_used(b->platter);
    const struct platter_count before_it = *platter_count(b->platter);
    assert_int_equal(try_read(b, true), ERR_UNSUPPORTED);
    assert_int_equal(b->read_n, 0);
    assert_int_equal(platter_used(b->platter), used);
    assert_int_equal(platter_count(b->platter)->writes, before_it.writes);
    assert_int_equal(platter_count(b->platter)->renames, before_it.renames);
    wal_name(1, name);
    struct disk_file *file;
    assert_int_equal(b->disk->ops->open(b->disk, name, false, &file), ERR_OK);
    b->disk->ops->close(b->disk, file);
}

static void test_heads(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 6; i++)
        write_batch(b, 8, 200);
    char name[DISK_NAME_MAX];
    size_t in_second = 0;
    for (size_t i = 0; i < b->wrote_n; i++)
        in_second += b->wrote[i].segment == 2;
    uint64_t last = b->segment;
    wal_name(last + 1, name); /* one that was being made */
    make_file(b, name, 1024, NULL, 0);
    wal_spare_name(9, name);
    make_file(b, name, 1024, NULL, 0);
    make_file(b, "somebody's.txt", 100, "abc", 3);
    read_log(b, true);
    assert_all(b);
    assert_clean(b);
    assert_int_equal(b->spare_n, 2);
    wal_name(2, name);
    assert_true(platter_flip(b->platter, name, 17 * 8));
    read_log(b, false);
    assert_true(b->damage_n == 1 && b->last.segment == 2 && b->last.bytes == b->size);
    read_log(b, true);
    assert_string_equal(b->last.set_aside, "damaged-0000000000000002-0.bin");
    assert_int_equal(b->read_n, b->wrote_n - in_second);
    size_t n = b->read_n;
    read_log(b, true); /* the gap is no news: batches in it are */
    assert_int_equal(b->read_n, n);
    struct disk_file *file;
    assert_int_equal(b->disk->ops->open(b->disk, name, false, &file), ERR_NOT_FOUND);
    assert_int_equal(b->disk->ops->open(b->disk, "damaged-0000000000000002-0.bin", false, &file), ERR_OK);
    b->disk->ops->close(b->disk, file);
}

static void test_a_missing_batch(void **state)
{
    struct bench *b = *state;
    fresh(b, 8192);
    for (int i = 0; i < 3; i++)
        write_batch(b, 4, 60);
    b->batch++; /* 4 is nowhere */
    write_batch(b, 4, 60);
    read_log(b, true);
    assert_true(b->damage_n == 1 && b->last.bytes == 0 && b->last.off < b->wrote[12].off);
    assert_all(b);
    write_batch(b, 2, 60);
    uint32_t zero[2] = {0};
    put_at(b, 1, b->wrote[17].off, zero, 8); /* the last frame's beginning: torn, although its end is there */
    read_log(b, true);
    assert_true(b->torn_n == 1 && b->damage_n == 1);
    assert_int_equal(b->read_n, b->wrote_n - 1);
}

static void test_former_life(void **state)
{
    struct bench *b = *state;
    for (int round = 0; round < 300; round++) {
        fresh(b, 2048);
        write_batch(b, 1 + rng_below(&b->rng, 12), 200);
        if (b->segment != 1)
            continue;
        uint8_t head[WAL_HEAD]; /* the file becomes segment 1 of a new log: what it had is still in it */
        b->salt++;
        wal_put_head(head, &(struct wal_head){.version = 1, .number = 1, .salt = b->salt, .size = b->size});
        put_at(b, 1, 0, head, sizeof(head));
        b->off = WAL_HEAD;
        uint8_t zeros[WAL_FRAME_HEAD] = {0};
        put_at(b, 1, b->off, zeros, sizeof(zeros));
        b->batch = b->wrote_n = 0;
        read_log(b, round % 2 == 0);
        assert_int_equal(b->read_n, 0);
        assert_clean(b);
        write_batch(b, 1 + rng_below(&b->rng, 4), 200);
        read_log(b, true);
        assert_all(b);
        assert_clean(b);
    }
}

static void test_errors(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 5; i++)
        write_batch(b, 8, 200);
    b->visit_error = ERR_DENIED;
    assert_int_equal(try_read(b, true), ERR_DENIED);
    assert_int_equal(b->read_n, 1);
    b->visit_error = ERR_OK;
    char name[DISK_NAME_MAX];
    wal_name(1, name);
    assert_true(platter_flip(b->platter, name, (b->wrote[3].off + 30) * 8));
    for (enum platter_fault fault = PLATTER_FAIL_WRITE; fault < PLATTER_FAULT_N; fault++) {
        platter_fail(b->platter, fault, 1);
        enum err e = try_read(b, true);
        if (fault == PLATTER_FAIL_CREATE) /* no space: it stays where it is */
            assert_true(e == ERR_OK && b->damage_n == 1 && b->last.set_aside[0] == '\0');
        else
            assert_int_equal(e, ERR_IO);
        platter_fail(b->platter, fault, 0);
        platter_crash(b->platter, PLATTER_PROCESS); /* a file whose write failed is not written again by this process */
        b->disk->ops->destroy(b->disk);
        open_disk(b);
        read_log(b, false);
        assert_true(b->read_n == b->wrote_n - 1);
    }
    int failed = 0;
    for (uint64_t nth = 1;; nth++) {
        b->heap.fail_at = b->heap.calls + nth;
        enum err e = try_read(b, false);
        b->heap.fail_at = 0;
        if (e == ERR_OK)
            break;
        failed++;
        assert_true(e == ERR_NOMEM || e == ERR_IO);
    }
    assert_true(failed >= 3);
    assert_int_equal(b->read_n, b->wrote_n - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_clean_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_full_segment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_segment_cut_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bit_flips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room_to_set_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupted_while_mending, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_later_version_is_not_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_missing_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_former_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
