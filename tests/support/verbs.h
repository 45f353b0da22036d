/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_VERBS_H
#define WEIR_TESTS_VERBS_H

/*
 * verbs.h: the verbs of core/topology.h as tests like to say them: with strings, and the answer as the result. For
 * connections of fake.h; each runs turns until nothing is left to do.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/topology.h"
#include "tests/support/fake.h"

/* verb_fake_new: a broker with a store. verb_fake: the one of this connection. */
struct fake *verb_fake_new(void) MUST_CHECK;
struct fake *verb_fake(struct conn *c);

/* verb_next: a receipt that was not used yet. verb_answer: what became of it; asserts that it was answered once. */
uint64_t verb_next(struct conn *c);
enum err verb_answer(struct fake *f, uint64_t receipt);

/* verb_stored: asserts what the store would give back after a restart, a line per record, in order:
 *     exchange NAME KIND · queue NAME FLAGS own|default · bind EXCHANGE KEY [to EXCHANGE] · publish TARGETS */
void verb_stored(struct fake *f, const char *expected);

/* verb_exchange, verb_queue: declared, without an error. verb_declare: a queue, with the answer in d. args:
 * "argument=value;argument=value". verb_spec: the same as a spec. */
struct exchange *verb_exchange(struct conn *c, const char *name, enum exchange_kind kind, bool durable);
struct queue *verb_queue(struct conn *c, const char *name, const char *args);
struct queue *verb_declare(struct conn *c, const char *name, const char *args, struct declared *d);
void verb_spec(struct conn *c, struct queue_spec *s, const char *args);

enum err verb_delete_exchange(struct conn *c, const char *name, bool if_unused);
enum err verb_delete_queue(struct conn *c, const char *name, struct queue_end how);

/* verb_filter: as x wants it: from MQTT spelling for a topic exchange, one key for a direct one, nothing for a fanout.
 */
const struct filter *verb_filter(struct fake_filter *out, const struct exchange *x, const char *text);

enum err verb_bind(struct conn *c, struct exchange *x, const char *filter, struct queue *q);
enum err verb_unbind(struct conn *c, struct exchange *x, const char *filter, struct queue *q);
enum err verb_bind_exchange(struct conn *c, struct exchange *x, const char *filter, struct exchange *to);
enum err verb_unbind_exchange(struct conn *c, struct exchange *x, const char *filter, struct exchange *to);

/* verb_send: a durable message at QoS 1; x NULL: amq.topic. verb_consume: a consumer of q, without an error. */
enum err verb_send(struct conn *c, struct exchange *x, const char *key, const char *payload);
struct consumer *verb_consume(struct conn *c, struct queue *q, enum ack_mode mode);

/* verb_hang_up: the peer goes without a word. */
void verb_hang_up(struct conn *c);

#endif
