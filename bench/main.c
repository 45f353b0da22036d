/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: the command line of weir-bench.
 *
 *     weir-bench SCENARIO [N] --port PORT [options]
 *        scenarios[] ─► name, default N, function           options[] ─► struct options
 *
 * One thread, one run, one report. Time is bounded everywhere; an alarm ends what is not (exit 1).
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/payload.h"
#include "bench/scenarios.h"

#define LIMIT_S 300u /* the alarm, unless --limit says otherwise */

struct scenario {
    const char *name;
    uint32_t n_default, n_max;
    void (*run)(const struct options *o, struct report *r);
    const char *help;
};

static const struct scenario scenarios[] = {
    {"pairs", 1, 9000, scenario_pairs, "N publishers, each with a topic and a subscriber of its own"},
    {"fanout", 100, 15000, scenario_fanout, "one publisher, N subscribers of its topic"},
    {"fanin", 100, 15000, scenario_fanin, "N publishers on the topic of one subscriber"},
    {"rate", 1, 9000, scenario_rate, "N pairs, --rate messages per second in all, latencies"},
    {"stomp", 1, 9000, scenario_stomp, "N pairs with STOMP subscribers (--from, --queue, --ack, --receipts)"},
    {"stuck", 100, 15000, scenario_stuck, "fanout N, then again while one subscriber reads nothing"},
    {"ageing", 100000, 10000000, scenario_ageing, "a pair before and after N times subscribe and disconnect"},
    {"idle", 10000, 60000, scenario_idle, "N connections that do nothing: memory for each (--subs)"},
    {"connect", 32, 10000, scenario_connect, "connections per second, N at a time"},
    {"storms", 10000, 60000, scenario_storms, "ten times N connections at once, then all gone"},
    {"retained", 1000000, 10000000, scenario_retained, "N retained topics: store, replay to #, clear"},
    {"offline", 100000, 10000000, scenario_offline, "N messages for a session that is away, then drained"},
    {"durable", 1, 1000, scenario_durable,
     "N publishers into a session that is away, by window; --queue: STOMP, persistent, into a queue"},
    {"fill", 1000000, 10000000, scenario_fill, "N messages for a session that is away; they stay"},
    {"subs", 1000000, 10000000, scenario_subs, "N subscriptions, exact or --wildcard, and messages to them at random"},
};

enum option_id {
    OPT_PORT = 256,
    OPT_STOMP_PORT,
    OPT_HOST,
    OPT_SECONDS,
    OPT_PAYLOAD,
    OPT_QOS,
    OPT_WINDOW,
    OPT_PID,
    OPT_JSON,
    OPT_RATE,
    OPT_SOURCES,
    OPT_SUBS,
    OPT_IDLE,
    OPT_WAITING,
    OPT_PARALLEL,
    OPT_FROM,
    OPT_QUEUE,
    OPT_ACK,
    OPT_RECEIPTS,
    OPT_PERSISTENT,
    OPT_WILDCARD,
    OPT_SHARE,
    OPT_KEPT,
    OPT_LIMIT,
    OPT_HELP,
};

struct choice {
    const char *name, *value, *help;
    enum option_id id;
};

static const struct choice choices[] = {
    {"port", "PORT", "the broker's MQTT port; needed", OPT_PORT},
    {"stomp-port", "PORT", "its STOMP port, if another", OPT_STOMP_PORT},
    {"host", "127.x.y.z", "its address; loopback only (127.0.0.1)", OPT_HOST},
    {"pid", "PID", "its process: CPU and memory are read from /proc", OPT_PID},
    {"seconds", "S", "measured time of each phase, 1 to 60 (3)", OPT_SECONDS},
    {"payload", "BYTES", "20 to 1048576 (64)", OPT_PAYLOAD},
    {"qos", "0|1|2", "of publishers and subscriptions (0; offline: at least 1)", OPT_QOS},
    {"window", "N", "messages of one publisher on their way (100 with acknowledgements, else by shape)", OPT_WINDOW},
    {"rate", "N", "rate: messages per second in all (10000)", OPT_RATE},
    {"sources", "N", "loopback source addresses to spread connections over, 1 to 200 (16)", OPT_SOURCES},
    {"subs", "N", "idle: subscriptions of each connection, 0 to 100 (0)", OPT_SUBS},
    {"idle", "N", "pairs: connections that do nothing beside them, 0 to 15000 (0)", OPT_IDLE},
    {"waiting", "N", "pairs: QoS 1 messages that wait for a session that is away meanwhile (0)", OPT_WAITING},
    {"parallel", "N", "storms: connections being opened at a time (256); subs: connections (100)", OPT_PARALLEL},
    {"from", "mqtt|stomp", "stomp: what the publishers speak (stomp)", OPT_FROM},
    {"queue", NULL, "stomp: /queue/... instead of /topic/...", OPT_QUEUE},
    {"ack", "auto|client-individual", "stomp: ack mode of the subscribers (auto)", OPT_ACK},
    {"receipts", NULL, "stomp: every SEND asks for a receipt", OPT_RECEIPTS},
    {"persistent", NULL, "stomp: every SEND is persistent:true", OPT_PERSISTENT},
    {"wildcard", NULL, "subs: every filter has a wildcard", OPT_WILDCARD},
    {"share", NULL, "pairs: each subscriber is the member of a group ($share) of its own", OPT_SHARE},
    {"kept", NULL, "pairs, fanout, fanin, rate: the subscribers' sessions outlast their connections", OPT_KEPT},
    {"json", "FILE", "write the rows there, too", OPT_JSON},
    {"limit", "S", "end the run after that long, whatever happens (300)", OPT_LIMIT},
    {"help", NULL, "print this text", OPT_HELP},
};

static void usage(FILE *file)
{
    fprintf(file, "usage: weir-bench SCENARIO [N] --port PORT [options]\n\nscenarios (N)\n");
    for (size_t i = 0; i < ARRAY_N(scenarios); i++)
        fprintf(file, "  %-9s %8u  %s\n", scenarios[i].name, scenarios[i].n_default, scenarios[i].help);
    fprintf(file, "\noptions\n");
    for (size_t i = 0; i < ARRAY_N(choices); i++)
        fprintf(file, "  --%-10s %-22s %s\n", choices[i].name, choices[i].value != NULL ? choices[i].value : "",
                choices[i].help);
    fprintf(file, "\nExit code: 0 every message arrived whole, once and in order; 1 not so; 2 wrong use.\n");
}

static _Noreturn void wrong_use(const char *what, const char *why)
{
    fprintf(stderr, "weir-bench: %s: %s; --help lists what there is\n", what, why);
    exit(2);
}

static uint32_t number(const char *name, const char *text, uint32_t min, uint32_t max)
{
    char *end, why[80];
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || n < min || n > max) {
        snprintf(why, sizeof(why), "not a number from %u to %u", min, max);
        wrong_use(name, why);
    }
    return (uint32_t)n;
}

/* one_of: 0 or 1, which of the two words. */
static bool one_of(const char *name, const char *text, const char *zero, const char *one)
{
    if (strcmp(text, zero) != 0 && strcmp(text, one) != 0)
        wrong_use(name, "no such choice");
    return strcmp(text, one) == 0;
}

static uint32_t loopback(const char *text)
{
    struct in_addr a;
    if (inet_pton(AF_INET, text, &a) != 1 || ntohl(a.s_addr) >> 24 != 127)
        wrong_use(text, "only loopback addresses, 127.x.y.z: this is no tool to load other machines");
    return a.s_addr;
}

static void take_option(struct options *o, enum option_id id, const char *value, uint32_t *limit_s)
{
    switch (id) {
    case OPT_PORT:
        o->port = (uint16_t)number("--port", value, 1, 65535);
        break;
    case OPT_STOMP_PORT:
        o->stomp_port = (uint16_t)number("--stomp-port", value, 1, 65535);
        break;
    case OPT_HOST:
        o->host = loopback(value);
        break;
    case OPT_SECONDS:
        o->seconds = number("--seconds", value, 1, 60);
        break;
    case OPT_PAYLOAD:
        o->payload_bytes = number("--payload", value, PAYLOAD_BYTES_MIN, 1048576);
        break;
    case OPT_QOS:
        o->qos = (uint8_t)number("--qos", value, 0, 2);
        break;
    case OPT_WINDOW:
        o->window = number("--window", value, 1, 16384);
        break;
    case OPT_PID:
        o->pid = (pid_t)number("--pid", value, 1, 1u << 30);
        break;
    case OPT_JSON:
        o->json = value;
        break;
    case OPT_RATE:
        o->rate = number("--rate", value, 1, 100000000);
        break;
    case OPT_SOURCES:
        o->sources = number("--sources", value, 1, 200);
        break;
    case OPT_SUBS:
        o->subs = number("--subs", value, 0, 100);
        break;
    case OPT_IDLE:
        o->idle = number("--idle", value, 0, 15000);
        break;
    case OPT_WAITING:
        o->waiting = number("--waiting", value, 0, 10000000);
        break;
    case OPT_PARALLEL:
        o->parallel = number("--parallel", value, 1, 15000);
        break;
    case OPT_FROM:
        o->from = one_of("--from", value, "mqtt", "stomp") ? PROTOCOL_STOMP : PROTOCOL_MQTT;
        break;
    case OPT_QUEUE:
        o->queue = true;
        break;
    case OPT_ACK:
        o->ack_individual = one_of("--ack", value, "auto", "client-individual");
        break;
    case OPT_RECEIPTS:
        o->receipts = true;
        break;
    case OPT_PERSISTENT:
        o->persistent = true;
        break;
    case OPT_WILDCARD:
        o->wildcard = true;
        break;
    case OPT_SHARE:
        o->share = true;
        break;
    case OPT_KEPT:
        o->kept = true;
        break;
    case OPT_LIMIT:
        *limit_s = number("--limit", value, 1, 3600);
        break;
    case OPT_HELP:
        usage(stdout);
        exit(0);
    }
}

static const struct scenario *scenario_get(const char *name)
{
    for (size_t i = 0; i < ARRAY_N(scenarios); i++) {
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    }
    wrong_use(name, "no such scenario");
}

static const struct scenario *parse(struct options *o, int argc, char **argv, uint32_t *limit_s)
{
    struct option table[ARRAY_N(choices) + 1] = {{0}};
    for (size_t i = 0; i < ARRAY_N(choices); i++)
        table[i] = (struct option){choices[i].name, choices[i].value != NULL, NULL, (int)choices[i].id};
    for (;;) {
        int id = getopt_long(argc, argv, "", table, NULL);
        if (id == -1)
            break;
        if (id == '?')
            exit(2); /* getopt has said why */
        take_option(o, (enum option_id)id, optarg, limit_s);
    }
    if (optind == argc)
        wrong_use("SCENARIO", "missing");
    const struct scenario *s = scenario_get(argv[optind]);
    o->scenario = s->name;
    o->n = optind + 1 < argc ? number("N", argv[optind + 1], 1, s->n_max) : s->n_default;
    if (optind + 2 < argc)
        wrong_use(argv[optind + 2], "one scenario and one number, please");
    if (o->port == 0)
        wrong_use("--port", "missing");
    if (o->stomp_port == 0)
        o->stomp_port = o->port;
    return s;
}

static void on_alarm(int number_of_signal)
{
    static const char text[] = "weir-bench: the time limit of the run is over (--limit)\n";
    UNUSED(number_of_signal);
    if (write(STDERR_FILENO, text, sizeof(text) - 1) == -1)
        _exit(3);
    _exit(1);
}

int main(int argc, char **argv)
{
    struct options o = {.host = htonl(INADDR_LOOPBACK),
                        .seconds = 3,
                        .payload_bytes = 64,
                        .rate = 10000,
                        .sources = 16,
                        .from = PROTOCOL_STOMP};
    uint32_t limit_s = LIMIT_S;
    const struct scenario *s = parse(&o, argc, argv, &limit_s);
    struct report *r = take(1, sizeof(*r));
    r->options = &o;
    signal(SIGALRM, on_alarm);
    alarm(limit_s);
    s->run(&o, r);
    return report_close(r);
}
