/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_wal.c: any bytes as a log.
 *
 * Input: one byte that says how, then
 *   (how & 1) == 0   the bytes of the files of segments 1, 2, ... of 4,096 bytes each, as they are
 *   (how & 1) == 1   frames {kind, flags, lsn, n of body u16, n of raw, body, raw}, which get good heads and checksums
 * in a segment with a good head: so the codec sees any body; (how >> 1) of the last bytes of the input are then pairs
 * {place u16, bits} that are changed in the file Checked for every input: reading, mending and decoding end and keep to
 * the frames; what was mended reads the same once more, without new damage; a copy of what decodes decodes; check_log
 * changes nothing and says the same of damage.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/msg.h"
#include "persist/check_log.h"
#include "persist/codec.h"
#include "persist/wal_file.h"
#include "tests/sim/disk_sim.h"

enum { SEGMENT = 4096, SEGMENTS = 4, NOTES_SEEN_MAX = 100000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct mem *mem;
    struct msg_pool msgs;
    struct store clock;
    struct codec_rec rec;
    struct buf copy;
    uint64_t frames, hash, notes;
    uint32_t damage_n;
};

/* copy_again: what compaction would make of the frame says the same. */
static void copy_again(struct seen *s, const struct wal_frame *f)
{
    struct wal_frame again;
    struct store_rec now = s->rec.rec;
    struct codec_rec got;
    now.of = now.queue = f->kind == STORE_PUBLISH ? 0 : now.of;
    buf_clear(&s->copy);
    enum err e = codec_put_copy(&s->copy, f, &now);
    BUG_ON(e != ERR_OK);
    wal_seal(s->copy.p, s->copy.len, 1);
    e = wal_check_frame(s->copy.p, s->copy.len, 1, &again);
    BUG_ON(e != ERR_OK || again.kind != f->kind || !(again.flags & WAL_COPY));
    codec_rec_init(&got, s->mem);
    e = codec_get(&again, NULL, &s->clock, &got);
    BUG_ON(e != ERR_OK || got.rec.target_n != s->rec.rec.target_n || got.rec.at != s->rec.rec.at);
    codec_rec_fini(&got);
}

static enum err on_note(const struct store_rec *rec, void *ctx)
{
    struct seen *s = ctx;
    s->hash = hash_u64(s->hash, rec->of ^ (uint64_t)rec->kind << 56);
    return ++s->notes > NOTES_SEEN_MAX ? ERR_FULL : ERR_OK;
}

static enum err on_frame(void *ctx, const struct wal_frame *f)
{
    struct seen *s = ctx;
    wall_ms at;
    s->frames++;
    s->hash = hash_u64(s->hash ^ f->kind, f->lsn);
    s->hash = hash_bytes(s->hash, f->body.p, f->body.len + f->raw.len);
    if (f->kind == WAL_BATCH) {
        (void)!codec_get_batch(f, &at, NULL, NULL);
    } else if (f->kind == WAL_NOTES) {
        s->notes = 0;
        (void)!notes_get(f, s->mem, on_note, s);
    } else {
        enum err e = codec_get(f, &s->msgs, &s->clock, &s->rec);
        BUG_ON(e != ERR_OK && e != ERR_MALFORMED && e != ERR_UNSUPPORTED);
        if (e == ERR_OK)
            copy_again(s, f);
        if (s->rec.rec.msg != NULL)
            msg_drop(s->rec.rec.msg);
        s->rec.rec.msg = NULL;
    }
    return ERR_OK;
}

static void on_damage(void *ctx, const struct wal_damage *d)
{
    struct seen *s = ctx;
    s->damage_n += d->bytes >= WAL_FRAME_HEAD; /* what is shorter has no room for a VOID, and is told again */
}

static enum err read_log(struct disk *d, struct mem *mem, bool repair, struct seen *s)
{
    struct wal_visitor v = {.ctx = s, .frame = on_frame, .damage = on_damage};
    struct wal_found found;
    *s = (struct seen){.mem = mem, .clock = {.clock = 1000}};
    msg_pool_init(&s->msgs, mem);
    codec_rec_init(&s->rec, mem);
    buf_init(&s->copy, mem);
    enum err e = wal_read(d, mem, NULL, repair, &v, &found);
    if (e == ERR_OK)
        wal_found_fini(&found, mem);
    buf_fini(&s->copy);
    codec_rec_fini(&s->rec);
    msg_pool_fini(&s->msgs);
    return e;
}

static void put_file(struct disk *d, uint64_t number, const uint8_t *p, size_t n, size_t size)
{
    char name[DISK_NAME_MAX];
    struct disk_file *f;
    wal_name(number, name);
    enum err e = d->ops->create(d, name, size, &f);
    BUG_ON(e != ERR_OK);
    e = d->ops->write(d, f, 0, p, n);
    BUG_ON(e != ERR_OK);
    e = d->ops->sync(d, f);
    BUG_ON(e != ERR_OK);
    d->ops->close(d, f);
}

/* put_frames: a sealed segment of what the input describes. */
static void put_frames(struct disk *d, const uint8_t *p, size_t n, unsigned flips)
{
    uint8_t file[SEGMENT] = {0};
    size_t off = WAL_HEAD, tail = MIN((size_t)flips * 3, n), end = n - tail;
    const uint8_t *flip = p + end;
    wal_put_head(file, &(struct wal_head){.version = WAL_VERSION, .number = 1, .salt = 7, .size = SEGMENT, .made = 1});
    for (size_t at = 0; end - at >= 6;) {
        size_t body = (size_t)(p[at + 3] | p[at + 4] << 8) % 1024, raw = p[at + 5];
        const uint8_t *head = p + at;
        at += 6;
        body = MIN(body, end - at);
        raw = MIN(raw, end - at - body);
        size_t bytes = (size_t)wal_frame_bytes(body, raw);
        if (bytes > SEGMENT - off)
            break;
        memcpy(file + off + WAL_FRAME_HEAD, p + at, body + raw);
        wal_put_frame(file + off, head[0], head[1] & 1, head[2], (uint32_t)body, (uint32_t)raw);
        at += body + raw;
        off += bytes;
    }
    for (size_t from = WAL_HEAD; from < off;) { /* part by part: each begins with a WAL_BATCH */
        size_t to = from;
        do {
            uint32_t bytes;
            memcpy(&bytes, file + to + 4, sizeof(bytes)); /* little-endian machines only; it is a fuzzer */
            to += (size_t)wal_frame_bytes(bytes - WAL_FRAME_HEAD, 0);
        } while (to < off && file[to + 20] != WAL_BATCH);
        wal_seal(file + from, to - from, 7);
        from = to;
    }
    for (size_t i = 0; i + 3 <= tail; i += 3)
        file[(size_t)(flip[i] | flip[i + 1] << 8) % SEGMENT] ^= flip[i + 2];
    put_file(d, 1, file, SEGMENT, SEGMENT);
}

static void put_files(struct disk *d, const uint8_t *p, size_t n)
{
    for (uint64_t number = 1; number <= SEGMENTS && n != 0; number++) {
        size_t piece = MIN(n, (size_t)SEGMENT);
        put_file(d, number, p, piece, piece);
        p += piece;
        n -= piece;
    }
}

static void check_all(struct disk *d, struct mem *mem)
{
    struct seen as_it_was, mended, again;
    struct buf report;
    bool is_damaged;
    enum err e = read_log(d, mem, false, &as_it_was);
    BUG_ON(e != ERR_OK && e != ERR_UNSUPPORTED);
    d->ops->unlock(d);
    buf_init(&report, mem);
    enum err report_e = check_log(d, mem, CHECK_LOG_JSON, &report, &is_damaged);
    BUG_ON(report_e != e || (as_it_was.damage_n == 0 && e == ERR_OK && report.len == 0));
    buf_fini(&report);
    e = d->ops->lock(d);
    BUG_ON(e != ERR_OK);
    e = read_log(d, mem, true, &mended);
    BUG_ON(e != report_e);
    if (e != ERR_OK)
        return;
    BUG_ON(mended.frames != as_it_was.frames || mended.hash != as_it_was.hash);
    e = read_log(d, mem, true, &again);
    BUG_ON(e != ERR_OK || again.frames != mended.frames || again.hash != mended.hash || again.damage_n != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem_heap heap;
    struct mem mem;
    struct rng rng;
    if (size < 2)
        return 0;
    mem_heap_init(&heap);
    mem_init(&mem, &heap, "fuzz");
    rng_init(&rng, 1);
    struct platter *platter = platter_new(&mem, &rng, UINT64_MAX);
    struct disk *d = disk_sim_new(platter);
    enum err e = d->ops->lock(d);
    BUG_ON(e != ERR_OK);
    if (data[0] & 1)
        put_frames(d, data + 1, size - 1, data[0] >> 1);
    else
        put_files(d, data + 1, size - 1);
    check_all(d, &mem);
    d->ops->unlock(d);
    d->ops->destroy(d);
    platter_free(platter);
    BUG_ON(mem.bytes != 0);
    return 0;
}
