/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_RIG_H
#define WEIR_TESTS_RIG_H

/*
 * rig.h: a real shard with everything around it made of arrays: a clock that moves only when told, byte pipes that the
 * test writes to and reads from, a store that can hold back its "durable". For tests of one conversation at a time,
 * where nothing may happen by chance; tests/sim is for chance.
 *
 *     struct rig *r = rig_new(&config);
 *     struct rig_pipe *a = rig_connect(r);
 *     rig_send(a, bytes, n);
 *     rig_run(r);                    until nothing is left to do
 *     a->out.p[0 .. a->out.len)      what the broker said
 *     rig_free(r);                   true: every byte of the broker's memory came back
 *
 * Thread: one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/adapter.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/conn.h"
#include "core/shard.h"
#include "tests/support/fake_auth.h"

struct rig_config {
    const struct adapter_ops *const *adapters; /* NULL-terminated */
    struct limits limits;
    bool refuses_anonymous, no_retain, queue_qos0;
    bool is_lenient, has_moved; /* of the door */
    bool has_qos_cap;           /* qos_cap holds */
    uint8_t qos_cap;
    bool check_payload_format;
    bool has_auth;                    /* tests/support/fake_auth.h */
    const char *server_reference;     /* NULL: none; lives as long as the rig */
    const char *response_information; /* the same */
    const char *door_name;            /* NULL: "rig"; the same */
    bool stomp_strict_host, stomp_persistent;
    uint8_t topic_dialect;
    bool has_store;   /* durable at once, unless rig->is_holding */
    uint64_t fail_at; /* the broker's Nth allocation fails; 0: none */
};

struct rig_bytes {
    uint8_t *p;
    size_t len, cap;
};

/* One connection, seen from the peer. owner: rig, until rig_free; the broker's half may be gone before. */
struct rig_pipe {
    struct transport transport; /* first */
    struct rig *rig;
    struct rig_pipe *next;
    struct rig_bytes in, out; /* from the peer, to the peer */
    size_t in_at;             /* the broker has read so far */
    size_t out_at;            /* the test has looked so far */
    size_t take_max;          /* bytes one sendv takes, every other one none; 0: all */
    unsigned interest;
    uint32_t take_turns;
    bool is_eof, is_reset; /* the peer ended it */
    bool is_stalled;       /* the peer does not read */
    bool is_shut, is_gone; /* the broker sends no more; the broker's half is destroyed */
};

struct rig_store {
    struct store store; /* first */
    struct rig *rig;
    lsn_t last, durable;
};

struct rig {
    struct loop loop; /* first */
    struct mem_heap heap;
    struct log log;
    struct fake_auth auth;
    struct door door;
    struct shard *shard;
    struct rig_store *store; /* NULL once the shard closed it */
    struct rig_pipe *pipes;
    mono_ms now, timer;
    bool is_woken;
    bool is_holding; /* the store keeps its "durable" to itself */
    bool is_full;    /* the store has no room for more messages */
    bool has_failed; /* rig_fail_store */
    bool is_stuck;   /* rig_run gave up: the broker never came to rest */
};

#define RIG_START 1000u /* the clock's first value, ms */

/* rig_config_init: no adapters, default limits, everything allowed. */
void rig_config_init(struct rig_config *config);

/* rig_new: NULL when the shard could not be made (fail_at). The config is copied. */
struct rig *rig_new(const struct rig_config *config) MUST_CHECK;

/* rig_free: ends everything. False when some of the broker's memory did not come back. */
bool rig_free(struct rig *r) MUST_CHECK;

/* rig_connect: a new connection. */
struct rig_pipe *rig_connect(struct rig *r) MUST_CHECK;

/* rig_send: bytes from the peer, read in the next rig_run. */
void rig_send(struct rig_pipe *p, const void *bytes, size_t n);

/* rig_run: turns until nothing is ready. The clock stands still. */
void rig_run(struct rig *r);

/* rig_wait: lets time pass, stopping at every timer. */
void rig_wait(struct rig *r, mono_ms ms);

/* rig_fail_store: the store breaks: nothing more will be durable. Needs has_store. */
void rig_fail_store(struct rig *r);

/* rig_is_closed: the broker ended its half, so the peer reads end of file after `out`. */
static inline bool rig_is_closed(const struct rig_pipe *p)
{
    return p->is_shut || p->is_gone;
}

/* rig_put: appends to b; for whoever collects bytes in tests. A machine without memory ends the program. */
void rig_put(struct rig_bytes *b, const void *bytes, size_t n);

#endif
