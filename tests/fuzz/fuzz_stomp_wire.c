/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_stomp_wire.c: any bytes to the STOMP decoder.
 *
 * Input: one byte for the version, one for where the stream is cut, then the stream. Checked for every input:
 *   1. fed whole, cut in two and (when short) byte by byte, the frames and the final verdict are the same;
 *   2. whatever was decoded can be encoded, and decoding that gives the same command, headers and body;
 *   3. slices lie inside the input (by the sanitizers: the input is an allocation of exactly its size).
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/base/hash.h"
#include "proto_stomp/stomp_wire.h"

#define HEAD_MAX  4096u
#define BODY_MAX  4096u
#define SHORT_MAX 400u

/* Two headers fewer than the codec can hold: the writer may add content-length and x-encoded. */
static const struct stomp_limits limits = {.command_bytes = 32,
                                           .headers_n = STOMP_HEADERS_MAX - 2,
                                           .line_bytes = 1024,
                                           .head_bytes = HEAD_MAX,
                                           .body_bytes = BODY_MAX};
static const struct stomp_limits wide = {.command_bytes = 32,
                                         .headers_n = STOMP_HEADERS_MAX,
                                         .line_bytes = 65536,
                                         .head_bytes = 1 << 20,
                                         .body_bytes = BODY_MAX};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    uint8_t bytes[HEAD_MAX];
    struct slice s;
};

static void name_get(const struct stomp_frame *f, uint32_t i, struct text *out)
{
    BUG_ON(stomp_header_name(f, i, out->bytes, sizeof(out->bytes), &out->s) != ERR_OK);
}

static void value_get(const struct stomp_frame *f, uint32_t i, struct text *out)
{
    BUG_ON(stomp_header_value(f, i, out->bytes, sizeof(out->bytes), &out->s) != ERR_OK);
}

/* The writer makes these two itself. */
static bool is_writers_own(struct slice name)
{
    enum stomp_known h = stomp_known_from_name(name);
    return h == STOMP_H_CONTENT_LENGTH || h == STOMP_H_X_ENCODED;
}

static void check_same(const struct stomp_frame *a, const struct stomp_frame *b)
{
    struct text left, right;
    uint32_t k = 0;
    BUG_ON(a->command != b->command || !slice_eq(a->body, b->body));
    for (uint32_t i = 0; i < a->header_n; i++) {
        name_get(a, i, &left);
        if (is_writers_own(left.s))
            continue;
        BUG_ON(k >= b->header_n);
        name_get(b, k, &right);
        BUG_ON(!slice_eq(left.s, right.s));
        value_get(a, i, &left);
        value_get(b, k, &right);
        BUG_ON(!slice_eq(left.s, right.s));
        k++;
    }
}

static void check_round_trip(const struct stomp_frame *f)
{
    uint8_t buf[STOMP_WRITE_FIXED_MAX + 3 * HEAD_MAX + 2 * STOMP_HEADERS_MAX + BODY_MAX];
    struct stomp_writer w;
    stomp_write_begin(&w, buf, sizeof(buf), f->version, f->command);
    for (uint32_t i = 0; i < f->header_n; i++) {
        struct text name, value;
        name_get(f, i, &name);
        value_get(f, i, &value);
        if (!is_writers_own(name.s))
            stomp_write_header(&w, name.s, value.s);
    }
    ptrdiff_t n = stomp_write_body(&w, f->body);
    BUG_ON(n <= 0);
    struct stomp_scan scan = {0};
    struct stomp_frame again;
    BUG_ON(stomp_frame_decode(buf, (size_t)n, &wide, f->version, &scan, &again) != n);
    check_same(f, &again);
}

/* What a reader saw, folded into one number. */
struct seen {
    uint64_t hash;
    ptrdiff_t verdict; /* the last result: 0 or an error */
    size_t at;         /* bytes eaten */
};

static void see(struct seen *s, struct slice bytes)
{
    s->hash = hash_bytes(s->hash, bytes.p, bytes.len);
}

static void see_frame(struct seen *s, const struct stomp_frame *f)
{
    s->hash = hash_u64(s->hash, (uint64_t)f->command << 8 | f->version);
    for (uint32_t i = 0; i < f->header_n; i++) {
        s->hash = hash_u64(s->hash, f->header[i].known);
        see(s, f->header[i].name);
        see(s, f->header[i].value);
    }
    s->hash = hash_bytes(s->hash, f->known, sizeof(f->known));
    see(s, f->body);
}

/* Feeds in[len], visible first up to `first` and then `step` more at a time. */
static struct seen read_all(const uint8_t *in, size_t len, enum stomp_version v, size_t first, size_t step, bool check)
{
    struct seen s = {.hash = 1};
    struct stomp_scan scan = {0};
    for (size_t have = first;; have = len - have < step ? len : have + step) {
        ptrdiff_t n = 1;
        while (n > 0) {
            struct stomp_frame f;
            n = stomp_frame_decode(in + s.at, have - s.at, &limits, v, &scan, &f);
            if (n <= 0)
                break;
            BUG_ON(f.total != (uint64_t)n || (size_t)n > have - s.at);
            s.at += (size_t)n;
            if (f.command == STOMP_CMD_EOL)
                continue;
            see_frame(&s, &f);
            if (check)
                check_round_trip(&f);
        }
        s.verdict = n;
        if (n < 0 || have == len)
            return s;
    }
}

static void check_equal(struct seen a, struct seen b)
{
    BUG_ON(a.hash != b.hash || a.verdict != b.verdict || a.at != b.at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum stomp_version v = (enum stomp_version)(data[0] % 3);
    size_t cut = data[1];
    data += 2;
    size -= 2;
    struct seen whole = read_all(data, size, v, size, 0, true);
    check_equal(whole, read_all(data, size, v, MIN(cut, size), size, false));
    if (size <= SHORT_MAX)
        check_equal(whole, read_all(data, size, v, 0, 1, false));
    return 0;
}
