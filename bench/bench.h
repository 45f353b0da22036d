/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_BENCH_H
#define WEIR_BENCH_BENCH_H

/*
 * bench.h: what every part of weir-bench shares: the options, time, the figures the kernel keeps of a process, and how
 * a run ends. Memory is taken at the start of a scenario and given back by the end of the process.
 *
 * Exit codes: 0 every message arrived as it should; 1 some did not, or the broker misbehaved; 2 wrong use.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/check.h"

#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u

enum protocol { PROTOCOL_MQTT, PROTOCOL_STOMP };

struct options {
    const char *scenario;
    uint32_t n;    /* the scenario's number: pairs, subscribers, connections, topics ... */
    uint32_t host; /* network order, 127.x.y.z */
    uint16_t port; /* MQTT, and STOMP unless stomp_port is given */
    uint16_t stomp_port;
    uint32_t seconds; /* measured time of one phase */
    uint32_t payload_bytes;
    uint8_t qos;
    uint32_t window;     /* messages of one publisher on their way; 0: the default of the scenario */
    uint32_t rate;       /* messages per second in all, open loop */
    uint32_t sources;    /* loopback source addresses that many connections are spread over */
    uint32_t subs;       /* subscriptions per connection */
    uint32_t idle;       /* pairs: connections that do nothing beside them */
    uint32_t waiting;    /* pairs: messages in the queue of a session that is away */
    uint32_t parallel;   /* connections that are being opened at a time */
    pid_t pid;           /* of the broker; 0: not known, no CPU or memory figures */
    const char *json;    /* file, or NULL */
    enum protocol from;  /* STOMP scenario: the publishers' protocol */
    bool queue;          /* STOMP scenario: /queue instead of /topic; durable: STOMP instead of MQTT */
    bool ack_individual; /* STOMP scenario: ack:client-individual instead of auto */
    bool receipts;       /* STOMP scenario: every SEND asks for a receipt */
    bool persistent;     /* STOMP scenario: every SEND is persistent:true */
    bool wildcard;       /* subscriptions scenario: filters with + and # */
    bool share;          /* pairs: subscribers are members of groups, one each */
    bool kept;           /* pairs and the like: the subscribers' sessions outlast their connections */
};

/* die: prints "weir-bench: ..." and exits with 1; die_errno adds what errno says. */
_Noreturn void die(const char *format, ...) PRINTF_LIKE(1, 2);
_Noreturn void die_errno(const char *what);

/* take: zeroed memory for n items of size bytes, never NULL. Only before the measured time. */
void *take(size_t n, size_t size);

/* now_ns: monotonic clock. */
uint64_t now_ns(void);

/* own_cpu_ns: CPU time of this process so far. */
uint64_t own_cpu_ns(void);

/* proc_cpu_ns: user and system time of all threads of a process, to the ns when it has one thread, else in ticks of
 * 10 ms; 0 if pid is 0. Dies if it is gone. */
uint64_t proc_cpu_ns(pid_t pid);

/* proc_rss_anon: bytes of anonymous memory a process has resident; 0 if pid is 0. Dies if it is gone. */
int64_t proc_rss_anon(pid_t pid);

/* proc_rss_settled: the same once it has stopped changing (50 ms apart, 2 s at most). */
int64_t proc_rss_settled(pid_t pid);

/* A pause of that length (for memory to settle, not to synchronise). */
void pause_ms(uint32_t ms);

#endif
