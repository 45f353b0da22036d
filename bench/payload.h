/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_PAYLOAD_H
#define WEIR_BENCH_PAYLOAD_H

/*
 * payload.h: what every message carries, so that the receiver can tell that it is the right one, whole and in order.
 *
 *     0        8         12         16                 n - 4      n
 *     │ value  │ sequence│ stream   │ filler: A B C ...│ trailer  │      native byte order: both ends are this process
 *
 *   value     scheduled send time in ns (rate), or a number of the scenario (which topic), or 0
 *   sequence  counts from 0 in each stream
 *   stream    who sent it; the receiver knows which streams it may see
 *   trailer   sequence ^ stream ^ PAYLOAD_MARK: beginning and end belong together
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PAYLOAD_HEAD_BYTES 16u
#define PAYLOAD_BYTES_MIN  20u
#define PAYLOAD_MARK       0x5757b0b7u

struct payload {
    uint64_t value;
    uint32_t sequence, stream;
};

/* payload_fill: the bytes that never change, in p[n]; once per template. */
static inline void payload_fill(uint8_t *p, uint32_t n)
{
    for (uint32_t i = PAYLOAD_HEAD_BYTES; i < n; i++)
        p[i] = (uint8_t)('A' + i % 23);
}

/* payload_stamp: the bytes that do, in p[n]. */
static inline void payload_stamp(uint8_t *p, uint32_t n, const struct payload *what)
{
    uint32_t trailer = what->sequence ^ what->stream ^ PAYLOAD_MARK;
    memcpy(p, &what->value, 8);
    memcpy(p + 8, &what->sequence, 4);
    memcpy(p + 12, &what->stream, 4);
    memcpy(p + n - 4, &trailer, 4);
}

/* payload_read: false if p[n] is no payload of n bytes whose filler equals that of `sample`, a filled one. */
static inline bool payload_read(const uint8_t *p, uint32_t n, const uint8_t *sample, struct payload *out)
{
    uint32_t trailer;
    memcpy(&out->value, p, 8);
    memcpy(&out->sequence, p + 8, 4);
    memcpy(&out->stream, p + 12, 4);
    memcpy(&trailer, p + n - 4, 4);
    return trailer == (out->sequence ^ out->stream ^ PAYLOAD_MARK) &&
           memcmp(p + PAYLOAD_HEAD_BYTES, sample + PAYLOAD_HEAD_BYTES, n - PAYLOAD_BYTES_MIN) == 0;
}

#endif
