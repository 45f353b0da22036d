/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wal_file.c: the format of the log, version 1. With persist/record.proto this is all a reader needs, in any language.
 *
 * A log is a directory. wal-NUMBER.log are its segments in the order of NUMBER (16 lower-case hex digits, from 1, never
 * used twice; the oldest go first); everything else in it is no part of the log. All numbers are little-endian. crc is
 * CRC-32C: register ffffffff at first, inverted at the end. A segment of S bytes, S a multiple of 8, has at offset
 *
 *     0   8  "WEIRLOG" and one line feed (0x0a)
 *     8   4  version: 1. Another version shares the first 12 bytes of the head and its crc; nothing else can be said
 *     12  4  bytes of this head: 64
 *     16  8  NUMBER, the same as in the name
 *     24  8  salt: chosen at random each time the file becomes a segment
 *     32  8  S. The file may be shorter (cut off) or longer (what is behind S is nothing)
 *     40  8  when it was made: ms since 1970
 *     48  12 zeros
 *     60  4  crc of bytes 0 .. 59
 *     64     frames, each at a multiple of 8, none beyond S; then zeros, or remains of the file's former life
 *
 * A frame of B bytes takes up B rounded up to 8 and has at offset
 *
 *     0   4  crc of the 8 bytes of the salt, then of this frame from offset 4 to its end, padding included
 *     4   4  B = 24 + body + raw
 *     8   8  LSN: names a record, and orders it; of BATCH: the batch's number
 *     16  4  length of the body
 *     20  1  kind: 1 .. 63 as enum store_kind of core/store.h; 64 BATCH, 65 NOTES, 66 VOID. Others: skip the frame
 *     21  1  flags: 1 COPY. Others: ignore
 *     22  2  the low 16 bits of the crc of the salt, then of bytes 4 .. 21
 *     24     the body: a protobuf message; record.proto says which one for each kind
 *            the raw part: of kinds 1, 3 and 20 topic and payload of the message; of BATCH the part's size, 8 bytes
 *            zeros up to a multiple of 8
 *
 * A frame is valid exactly if B >= 24, body <= B - 24, it ends within S and the file, and both checks are right. So
 * no frame of a former life is, nor one that somebody wrote into a payload. How frames make a log: see below.
 *
 * Thread  any: nothing here keeps state, or reads or writes a file.
 */

/*
 * How frames make a log
 *
 * Batches   What one sync made durable is a batch; they are numbered 1, 2, ... without gaps. One that does not fit
 *           into a segment goes on in the next, so a batch has parts 0, 1, ... Each part begins with a BATCH frame
 *           (number, part, time), whose raw part says how many bytes the part takes up, itself included. Behind a
 *           part stand 24 zero bytes, if there is room; the next batch overwrites them. Nothing of batch n + 1 is
 *           written before n is durable (in a log that syncs by the clock: before n is written).
 * Records   One frame each, kinds 1 .. 63, but for the notes of a batch (SETTLE, SENT, RECEIVED, RETURNED), which one
 *           NOTES frame gathers. What stands between TX and TX_END is one unit: without its TX_END, or if that has
 *           flag 1, nothing of it happened. A unit lies within one batch.
 * Order     Frames count in the order in which they stand. LSNs grow, but for those of COPY frames, and of NOTES,
 *           which have the LSN of their first note. A COPY is a record that compaction wrote again, reduced to what
 *           still counts, under its old LSN: it replaces what was said of its targets and packet ids before.
 * Living    is what persist/store_image.h says after all records were applied.
 *
 * How to read a log
 *
 * At a place where a frame should begin there are three cases: a valid frame; the end of the segment: no valid frame
 * follows in it, the part is as long as it said, and there are 24 zeros, or less than 24 bytes left; or a stretch that
 * does not read, which reaches to the next multiple of 8 where a valid frame begins, else to the end of what is not
 * zero. Where a batch or a part is missing in the count, that is a stretch of no bytes in front of the frame. Let b be
 * the last batch in front of a stretch (0: none). The stretch is
 *
 *     damage      if behind it, in this or a later segment, stands a BATCH frame with a number > b that was not
 *                 written before the stretch was durable, which is so if it is of part 0, or its number > b + 1, or
 *                 the part in which the stretch begins is shorter than it said. Set the stretch aside, go on behind it
 *     torn tail   else: the power went while it was being written, and nobody was told that it is durable. The log
 *                 ends where the stretch begins; what stands behind it, in this and later segments, is nothing
 *
 * A body that does not parse, of a kind that is known, is damage of that frame alone. A segment whose head is not
 * valid, or says another number than its name, is damage as a whole, unless it is all zeros: then it was being made.
 *
 * What the broker does when it opens a log: it makes a torn tail zero, the last segment first, and puts a VOID frame
 * where the part should have gone on; it copies damage to a file damaged-*.bin and puts a VOID frame in its place. So
 * both are found once. Behind a VOID frame, and behind a gap in the numbers of segments, batches and parts are counted
 * anew. It never writes behind what it found, but into a new segment. A file gets its head, durably, under a spare's
 * name (spare-*.log) before it is renamed.
 */
#include "persist/wal_file.h"

#include <stdio.h>
#include <string.h>

#include "persist/crc32c.h"

static const uint8_t magic[8] = {'W', 'E', 'I', 'R', 'L', 'O', 'G', '\n'};

enum { SUM_AT = 22 };

static void put_le(uint8_t *at, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        at[i] = (uint8_t)(v >> i * 8);
}

static uint64_t get_le(const uint8_t *at, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)at[i] << i * 8;
    return v;
}

/* ---- names and heads ------------------------------------------------------------------------------------------- */

void wal_name(uint64_t number, char *out)
{
    snprintf(out, DISK_NAME_MAX, "wal-%016llx.log", (unsigned long long)number);
}

void wal_spare_name(uint64_t number, char *out)
{
    snprintf(out, DISK_NAME_MAX, "spare-%016llx.log", (unsigned long long)number);
}

uint64_t wal_number(const char *name)
{
    if (strlen(name) != 24 || memcmp(name, "wal-", 4) != 0 || memcmp(name + 20, ".log", 4) != 0)
        return 0;
    uint64_t number = 0;
    for (const char *c = name + 4; c < name + 20; c++) {
        unsigned digit = *c >= '0' && *c <= '9' ? (unsigned)(*c - '0') : (unsigned)(*c - 'a') + 10;
        if (digit > 15 || (digit > 9 && (*c < 'a' || *c > 'f')))
            return 0;
        number = number << 4 | digit;
    }
    return number;
}

void wal_put_head(uint8_t *out, const struct wal_head *h)
{
    memset(out, 0, WAL_HEAD);
    memcpy(out, magic, sizeof(magic));
    put_le(out + 8, h->version, 4);
    put_le(out + 12, WAL_HEAD, 4);
    put_le(out + 16, h->number, 8);
    put_le(out + 24, h->salt, 8);
    put_le(out + 32, h->size, 8);
    put_le(out + 40, h->made, 8);
    put_le(out + 60, crc32c(0, out, 60), 4);
}

enum err wal_get_head(const uint8_t *in, struct wal_head *out)
{
    if (memcmp(in, magic, sizeof(magic)) != 0 || get_le(in + 60, 4) != crc32c(0, in, 60))
        return ERR_MALFORMED;
    *out = (struct wal_head){.version = (uint32_t)get_le(in + 8, 4)};
    if (out->version != WAL_VERSION)
        return ERR_UNSUPPORTED;
    out->number = get_le(in + 16, 8);
    out->salt = get_le(in + 24, 8);
    out->size = get_le(in + 32, 8);
    out->made = get_le(in + 40, 8);
    bool good = get_le(in + 12, 4) == WAL_HEAD && out->number != 0 && out->size >= WAL_HEAD &&
                out->size % WAL_ALIGN == 0 && out->size <= UINT32_MAX;
    return good ? ERR_OK : ERR_MALFORMED;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

void wal_put_frame(uint8_t *at, uint8_t kind, uint8_t flags, lsn_t lsn, uint32_t body, uint32_t raw)
{
    uint64_t bytes = (uint64_t)WAL_FRAME_HEAD + body + raw;
    BUG_ON(bytes > UINT32_MAX);
    put_le(at, 0, 4);
    put_le(at + 4, bytes, 4);
    put_le(at + 8, lsn, 8);
    put_le(at + 16, body, 4);
    at[20] = kind;
    at[21] = flags;
    put_le(at + SUM_AT, 0, 2);
    memset(at + bytes, 0, wal_frame_bytes(body, raw) - bytes);
}

/* salted: what every checksum of this life begins with. */
static uint32_t salted(uint64_t salt)
{
    uint8_t le[8];
    put_le(le, salt, 8);
    return crc32c(0, le, sizeof(le));
}

static inline uint64_t rounded(uint64_t bytes)
{
    return (bytes + WAL_ALIGN - 1) / WAL_ALIGN * WAL_ALIGN;
}

void wal_seal(uint8_t *bytes, size_t n, uint64_t salt)
{
    if (n == 0)
        return;
    BUG_ON(n < WAL_FRAME_HEAD);
    uint64_t body = get_le(bytes + 16, 4);
    if (bytes[20] == WAL_BATCH && get_le(bytes + 4, 4) == WAL_FRAME_HEAD + body + 8)
        put_le(bytes + WAL_FRAME_HEAD + body, n, 8);
    uint32_t begin = salted(salt);
    for (size_t off = 0; off != n;) {
        uint8_t *at = bytes + off;
        BUG_ON(n - off < WAL_FRAME_HEAD);
        uint64_t size = rounded(get_le(at + 4, 4));
        BUG_ON(size < WAL_FRAME_HEAD || size > n - off);
        put_le(at + SUM_AT, crc32c(begin, at + 4, SUM_AT - 4) & 0xffff, 2);
        put_le(at, crc32c(begin, at + 4, size - 4), 4);
        off += size;
    }
}

/* head_size: as wal_frame_size, with the salt already in `begin`. */
static uint64_t head_size(const uint8_t *head, uint32_t begin)
{
    uint64_t bytes = get_le(head + 4, 4), body = get_le(head + 16, 4);
    if (bytes < WAL_FRAME_HEAD || body > bytes - WAL_FRAME_HEAD)
        return 0;
    return get_le(head + SUM_AT, 2) == (crc32c(begin, head + 4, SUM_AT - 4) & 0xffff) ? rounded(bytes) : 0;
}

uint64_t wal_frame_size(const uint8_t *head, uint64_t salt)
{
    return head_size(head, salted(salt));
}

void wal_put_void(uint8_t *out, uint64_t bytes, uint64_t salt)
{
    static const uint8_t zeros[4096];
    BUG_ON(bytes < WAL_FRAME_HEAD || bytes > UINT32_MAX || bytes % WAL_ALIGN != 0);
    wal_put_frame(out, WAL_VOID, 0, 0, 0, 0);
    put_le(out + 4, bytes, 4);
    put_le(out + 16, bytes - WAL_FRAME_HEAD, 4);
    uint32_t begin = salted(salt);
    put_le(out + SUM_AT, crc32c(begin, out + 4, SUM_AT - 4) & 0xffff, 2);
    uint32_t crc = crc32c(begin, out + 4, WAL_FRAME_HEAD - 4);
    for (uint64_t left = bytes - WAL_FRAME_HEAD; left != 0; left -= MIN(left, sizeof(zeros)))
        crc = crc32c(crc, zeros, (size_t)MIN(left, sizeof(zeros)));
    put_le(out, crc, 4);
}

enum err wal_check_frame(const uint8_t *bytes, size_t n, uint64_t salt, struct wal_frame *out)
{
    if (n < WAL_FRAME_HEAD)
        return ERR_MALFORMED;
    uint32_t begin = salted(salt);
    uint64_t size = head_size(bytes, begin);
    if (size == 0 || size > n || get_le(bytes, 4) != crc32c(begin, bytes + 4, size - 4))
        return ERR_MALFORMED;
    size_t body = (size_t)get_le(bytes + 16, 4), whole = (size_t)get_le(bytes + 4, 4);
    out->bytes = (uint32_t)size;
    out->lsn = get_le(bytes + 8, 8);
    out->kind = bytes[20];
    out->flags = bytes[21];
    out->body = slice_make(bytes + WAL_FRAME_HEAD, body);
    out->raw = slice_make(bytes + WAL_FRAME_HEAD + body, whole - WAL_FRAME_HEAD - body);
    return ERR_OK;
}
