/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal_scan.c: one segment through a window.
 *
 *     file  ─────────[ window: at least WINDOW bytes, or one frame ]───────────── limit
 *
 * Behind a place that does not read, a good frame is looked for at every multiple of 8. A head's own sum refuses all
 * but one in 65,536 of what is no head before a long frame is read and summed up for nothing, and the salt in it keeps
 * payloads from looking like frames: so looking costs little whatever is there.
 *
 * Invariants
 *   1. buf[0 .. len) is the file from off on; nothing is ever asked for behind the limit.
 *   2. Slices of a frame point into buf: they are gone with the next call.
 * Cost    one read per WINDOW bytes; 8 bytes per step through zeros.
 * Thread  the caller's; blocks.
 */
#include <string.h>

#include "persist/wal_int.h"

#define WINDOW (1u << 20)

static void close_file(struct wal_scan *s)
{
    if (s->file != NULL)
        s->disk->ops->close(s->disk, s->file);
    s->file = NULL;
    s->len = 0;
}

enum err wal_scan_open(struct wal_scan *s, const struct wal_head *h, bool may_write)
{
    char name[DISK_NAME_MAX];
    close_file(s);
    wal_name(h->number, name);
    enum err e = s->disk->ops->open(s->disk, name, may_write, &s->file);
    if (e != ERR_OK) {
        s->file = NULL;
        return e == ERR_NOMEM ? e : ERR_IO;
    }
    s->number = h->number;
    s->salt = h->salt;
    s->limit = MIN(h->size, s->file->size) / WAL_ALIGN * WAL_ALIGN;
    s->off = 0;
    return ERR_OK;
}

void wal_scan_close(struct wal_scan *s)
{
    close_file(s);
    mem_free(s->mem, s->buf);
    s->buf = NULL;
    s->cap = 0;
}

enum err wal_scan_bytes(struct wal_scan *s, uint64_t off, size_t n, const uint8_t **out)
{
    BUG_ON(off > s->limit || n > s->limit - off);
    if (LIKELY(off >= s->off && off - s->off <= s->len && n <= s->len - (size_t)(off - s->off))) {
        *out = s->buf + (off - s->off);
        return ERR_OK;
    }
    size_t want = MAX(n, (size_t)MIN(s->limit - off, (uint64_t)WINDOW));
    if (want > s->cap) {
        uint8_t *grown = mem_realloc(s->mem, s->buf, want);
        if (grown == NULL)
            return ERR_NOMEM;
        s->buf = grown;
        s->cap = want;
    }
    s->len = 0;
    enum err e = s->disk->ops->read(s->disk, s->file, off, s->buf, want);
    if (e != ERR_OK)
        return e;
    s->off = off;
    s->len = want;
    *out = s->buf;
    return ERR_OK;
}

static bool is_zero_word(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word == 0;
}

enum err wal_scan_frame(struct wal_scan *s, uint64_t off, struct wal_frame *out)
{
    const uint8_t *p;
    if (off > s->limit || s->limit - off < WAL_FRAME_HEAD)
        return ERR_MALFORMED;
    enum err e = wal_scan_bytes(s, off, WAL_FRAME_HEAD, &p);
    if (e != ERR_OK)
        return e;
    uint64_t size = is_zero_word(p) ? 0 : wal_frame_size(p, s->salt);
    if (size == 0 || size > s->limit - off)
        return ERR_MALFORMED;
    e = wal_scan_bytes(s, off, (size_t)size, &p);
    if (e != ERR_OK)
        return e;
    e = wal_check_frame(p, (size_t)size, s->salt, out);
    out->segment = s->number;
    out->off = off;
    return e;
}

enum err wal_scan_next(struct wal_scan *s, uint64_t off, uint64_t *out_next, uint64_t *out_dirty)
{
    struct wal_frame f;
    const uint8_t *p;
    *out_dirty = off;
    for (; off < s->limit; off += WAL_ALIGN) {
        enum err e = wal_scan_bytes(s, off, WAL_ALIGN, &p);
        if (e != ERR_OK)
            return e;
        if (is_zero_word(p))
            continue;
        e = wal_scan_frame(s, off, &f);
        if (e == ERR_OK)
            break;
        if (e != ERR_MALFORMED)
            return e;
        *out_dirty = off + WAL_ALIGN;
    }
    *out_next = off;
    return ERR_OK;
}

enum err wal_scan_dirty(struct wal_scan *s, uint64_t off, uint64_t *out)
{
    const uint8_t *p;
    *out = off;
    for (; off < s->limit; off += WAL_ALIGN) {
        enum err e = wal_scan_bytes(s, off, WAL_ALIGN, &p);
        if (e != ERR_OK)
            return e;
        if (!is_zero_word(p))
            *out = off + WAL_ALIGN;
    }
    return ERR_OK;
}

enum err wal_grow(struct mem *mem, void **p, uint32_t *cap, uint32_t n, size_t item)
{
    if (n < *cap)
        return ERR_OK;
    uint32_t more = *cap != 0 ? *cap * 2 : 16;
    void *grown = mem_realloc(mem, *p, more * item);
    if (grown == NULL)
        return ERR_NOMEM;
    *p = grown;
    *cap = more;
    return ERR_OK;
}
