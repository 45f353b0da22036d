/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_JOURNEY_H
#define WEIR_BENCH_JOURNEY_H

/*
 * journey.h: messages from one end of the broker to the other, on a stage: five shapes, each small enough for a
 * simulated processor.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"

struct journey_shape {
    const char *name;
    bool from_stomp, to_stomp;
    bool acks; /* STOMP subscribers acknowledge */
    uint8_t qos;
    uint32_t subscribers;
    uint32_t batch; /* messages fed at once; with acknowledgements the window */
    const char *topic, *destination;
};

struct journey_shapes {
    const struct journey_shape *v;
    uint32_t n;
};

struct journey_shapes journey_shapes(void);

struct journey;

/* journey_open: everybody is connected and subscribed; the first batches have gone through. */
struct journey *journey_open(const struct journey_shape *shape) MUST_CHECK;

/* journey_run: `batches` more, each delivered to every subscriber and settled on both sides. Returns the messages that
 * arrived, each as it should; out_ns: the broker's own time. */
uint64_t journey_run(struct journey *j, uint64_t batches, uint64_t *out_ns);

void journey_close(struct journey *j);

/* journey_deliveries: messages that arrive for one batch. */
static inline uint64_t journey_deliveries(const struct journey_shape *shape)
{
    return (uint64_t)shape->batch * shape->subscribers;
}

#endif
