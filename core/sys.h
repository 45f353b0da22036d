/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_SYS_H
#define WEIR_CORE_SYS_H

/*
 * sys.h: the broker about itself: retained messages below $SYS/broker, under mosquitto's names where it has them, made
 * anew every sys_interval_s from the table of statistics (core/stats.h) and the close reasons (core/close.h).
 */

#include <stdbool.h>

#include "core/base/check.h"
#include "core/base/clock.h"
#include "core/base/wheel.h"

struct shard;
struct sys;

/* sys_new: the first round is published at once, the next ones after s->config.sys_interval_s each. NULL when out of
 * memory. owner: shard */
struct sys *sys_new(struct shard *s) MUST_CHECK;
void sys_free(struct sys *y); /* NULL is fine; the timer is disarmed, what is retained stays */

/* sys_timer: time for the next round (core/shard.c). */
void sys_timer(struct wtimer *t, mono_ms now);

/* What can be read below $SYS, for docs/sys-topics.md and tests. */
#define SYS_TOPIC_BYTES 64u
struct sys_topic {
    char name[SYS_TOPIC_BYTES]; /* "$SYS/broker/..." */
    char text[192];             /* what its value is, for people */
};

/* sys_topic_get: the i-th topic, from 0, in the order in which a round publishes them. False: there are no more. */
bool sys_topic_get(unsigned i, struct sys_topic *out);

#endif
