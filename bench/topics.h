/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_TOPICS_H
#define WEIR_BENCH_TOPICS_H

/*
 * topics.h: ten million topics of five levels and one length, made from a number by patching seven digits.
 *
 *     site/123/dev/456/m7        number 7 123 456
 */

#include <stdint.h>
#include <string.h>

#define TOPIC_BYTES 19u
#define TOPIC_N_MAX 10000000u

static inline void topic_put(uint8_t *p, uint32_t i)
{
    memcpy(p, "site/000/dev/000/m0", TOPIC_BYTES);
    for (unsigned at = 15; at > 12; at--, i /= 10)
        p[at] = (uint8_t)('0' + i % 10);
    for (unsigned at = 7; at > 4; at--, i /= 10)
        p[at] = (uint8_t)('0' + i % 10);
    p[18] = (uint8_t)('0' + i % 10);
}

/* topic_number: the number of a topic; TOPIC_N_MAX if it is none of these. */
static inline uint32_t topic_number(const uint8_t *p, uint32_t bytes)
{
    uint8_t again[TOPIC_BYTES];
    if (bytes != TOPIC_BYTES)
        return TOPIC_N_MAX;
    uint32_t i = (uint32_t)(p[18] - '0') * 1000000u + (uint32_t)(p[5] - '0') * 100000u +
                 (uint32_t)(p[6] - '0') * 10000u + (uint32_t)(p[7] - '0') * 1000u + (uint32_t)(p[13] - '0') * 100u +
                 (uint32_t)(p[14] - '0') * 10u + (uint32_t)(p[15] - '0');
    topic_put(again, i);
    return i < TOPIC_N_MAX && memcmp(again, p, TOPIC_BYTES) == 0 ? i : TOPIC_N_MAX;
}

#endif
