/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_SCENARIOS_H
#define WEIR_BENCH_SCENARIOS_H

/*
 * scenarios.h: what weir-bench can be asked to do. Each runs to its end, reports its rows, and dies when the broker
 * breaks the protocol or goes away. README.md says what the figures mean.
 */

#include "bench/report.h"

/* scenario_traffic.c */
void scenario_pairs(const struct options *o, struct report *r);
void scenario_fanout(const struct options *o, struct report *r);
void scenario_fanin(const struct options *o, struct report *r);
void scenario_rate(const struct options *o, struct report *r);
void scenario_stomp(const struct options *o, struct report *r);
void scenario_stuck(const struct options *o, struct report *r);
void scenario_ageing(const struct options *o, struct report *r);

/* scenario_connect.c */
void scenario_idle(const struct options *o, struct report *r);
void scenario_connect(const struct options *o, struct report *r);
void scenario_storms(const struct options *o, struct report *r);

/* connect_idle: opens o->idle connections that stay until the process ends. */
void connect_idle(const struct options *o);

/* scenario_store.c */
void scenario_retained(const struct options *o, struct report *r);
void scenario_offline(const struct options *o, struct report *r);

/* store_waiting: leaves o->waiting messages at QoS 1 in the queue of a session that is away; how fast is in *row. */
void store_waiting(const struct options *o, struct row *row);

/* scenario_durable.c */
void scenario_durable(const struct options *o, struct report *r);
void scenario_fill(const struct options *o, struct report *r);

/* scenario_subs.c */
void scenario_subs(const struct options *o, struct report *r);

#endif
