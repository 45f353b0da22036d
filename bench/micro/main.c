/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: the command line of weir-micro, and how a case is measured.
 *
 *     open ─► laps of 1, 2, 4 ... operations until one takes a tenth of a lap ─► `repeats` laps ─► best and median ─►
 * close
 *
 * A lap that did not do what it was asked for ends the run with exit code 1. Wrong use: 2.
 *
 * weir-micro --play JOURNEY runs one journey once, a fixed number of batches: for bench/cost/check.py, which lets a
 * simulated processor count the instructions between the landmarks of bench/micro/stage.h.
 */
#include <errno.h>
#include <getopt.h>
#include <gnu/libc-version.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "bench/micro/journey.h"
#include "bench/micro/micro.h"

enum { REPEATS = 9, REPEATS_MAX = 1000, LAP_MS = 20, LAP_MS_MAX = 10000, CASES_MAX = 64, PLAY_MESSAGES = 20000 };

struct options {
    uint32_t repeats;
    uint64_t lap_ns;
    const char *json, *play;
    bool is_list;
    char **filter; /* filter_n words: a case runs if its name holds one of them; none: all */
    int filter_n;
};

struct result {
    const struct micro *micro;
    double best, median; /* ns per operation */
    uint64_t n;
};

/* ---- small things for everybody ----------------------------------------------------------------------------- */

void micro_die(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("weir-micro: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void *micro_take(size_t n, size_t size)
{
    return micro_must(calloc(n, size));
}

uint64_t micro_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- measuring ---------------------------------------------------------------------------------------------- */

/* run_lap: n operations; returns the ns they took. */
static uint64_t run_lap(const struct micro *m, void *ctx, uint64_t n)
{
    struct lap lap = {0};
    uint64_t start = micro_now_ns();
    m->lap(ctx, n, &lap);
    uint64_t ns = micro_now_ns() - start;
    if (lap.done != n)
        micro_die("%s: %llu of %llu operations did their work", m->name, (unsigned long long)lap.done,
                  (unsigned long long)n);
    return lap.ns != 0 ? lap.ns : ns;
}

/* lap_size: how many operations fill a lap. */
static uint64_t lap_size(const struct micro *m, void *ctx, uint64_t lap_ns)
{
    uint64_t step = MAX(m->multiple, 1u), n = step, ns = run_lap(m, ctx, n);
    while (ns < lap_ns / 10) {
        n *= 2;
        ns = run_lap(m, ctx, n);
    }
    return MAX(n * lap_ns / ns / step, (uint64_t)1) * step;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct micro *m, void *ctx, const struct options *o, struct result *out)
{
    double each[REPEATS_MAX];
    uint64_t n = lap_size(m, ctx, o->lap_ns);
    for (uint32_t i = 0; i < o->repeats; i++)
        each[i] = (double)run_lap(m, ctx, n) / (double)n;
    qsort(each, o->repeats, sizeof *each, by_size);
    uint32_t middle = o->repeats / 2;
    double median = o->repeats % 2 != 0 ? each[middle] : (each[middle - 1] + each[middle]) / 2;
    *out = (struct result){.micro = m, .best = each[0], .median = median, .n = n};
}

/* is_shared: may b use what was opened for a? */
static bool is_shared(const struct micro *a, const struct micro *b)
{
    return a->open == b->open && a->arg == b->arg && a->close == b->close;
}

static void measure_all(const struct micro *const *chosen, uint32_t n, const struct options *o, struct result *out)
{
    void *ctx = NULL;
    printf("%-28s %12s %12s   ns per operation; %u laps of %llu ms\n", "", "best", "median", o->repeats,
           (unsigned long long)(o->lap_ns / 1000000));
    for (uint32_t i = 0; i < n; i++) {
        const struct micro *m = chosen[i];
        if (ctx == NULL)
            ctx = m->open(m);
        measure(m, ctx, o, &out[i]);
        printf("%-28s %12.2f %12.2f\n", m->name, out[i].best, out[i].median);
        fflush(stdout);
        if (i + 1 == n || !is_shared(m, chosen[i + 1])) {
            m->close(ctx);
            ctx = NULL;
        }
    }
}

/* ---- telling ------------------------------------------------------------------------------------------------ */

static const char *compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

static void write_json(const char *path, const struct options *o, const struct result *v, uint32_t n)
{
    FILE *f = fopen(path, "w");
    if (f == NULL)
        micro_die("%s cannot be written: %s", path, strerror(errno));
    fprintf(f, "{\n  \"compiler\": \"%s\",\n  \"unit\": \"ns per operation\",\n  \"repeats\": %u,\n  \"results\": [",
            compiler(), o->repeats);
    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s\n    {\"name\": \"%s\", \"best\": %.3f, \"median\": %.3f, \"operations\": %llu}",
                i != 0 ? "," : "", v[i].micro->name, v[i].best, v[i].median, (unsigned long long)v[i].n);
    fprintf(f, "\n  ]\n}\n");
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed)
        micro_die("%s cannot be written", path);
}

static void play(const char *name)
{
    struct journey_shapes all = journey_shapes();
    const struct journey_shape *shape = NULL;
    for (uint32_t i = 0; i < all.n; i++) {
        if (strcmp(all.v[i].name, name) == 0)
            shape = &all.v[i];
    }
    if (shape == NULL) {
        fprintf(stderr, "weir-micro: --play: no journey %s; --list names them behind journey/\n", name);
        exit(2);
    }
    struct utsname system;
    if (uname(&system) == -1)
        micro_die("the system does not say what it is: %s", strerror(errno));
    uint64_t ns, batches = MAX(PLAY_MESSAGES / journey_deliveries(shape), (uint64_t)2);
    struct journey *j = journey_open(shape);
    uint64_t messages = journey_run(j, batches, &ns);
    journey_close(j);
    if (messages != batches * journey_deliveries(shape))
        micro_die("%s: %llu messages arrived", name, (unsigned long long)messages);
    printf("messages %llu\ncompiler %s\nmachine %s\nlibc glibc %s\n", (unsigned long long)messages, compiler(),
           system.machine, gnu_get_libc_version());
}

/* ---- command line ------------------------------------------------------------------------------------------- */

static void usage(FILE *file)
{
    fputs("usage: weir-micro [options] [NAME...]\n\n"
          "Measures small parts of weir, and messages on their whole way through it, in ns per operation.\n"
          "NAME: only cases whose name holds one of these words, e.g. router or codec/stomp\n\n"
          "  --list          the cases\n"
          "  --repeats N     laps of each case, 1 to 1000 (9): the best and the median are printed\n"
          "  --lap-ms MS     how long a lap is, about, 1 to 10000 (20)\n"
          "  --json FILE     write the figures there, too\n"
          "  --play JOURNEY  one journey once, a fixed number of messages: for bench/cost/check.py\n"
          "  --help          print this text\n\n"
          "Exit code: 0 every operation did its work; 1 not so; 2 wrong use.\n",
          file);
}

static _Noreturn void wrong_use(const char *what, const char *why)
{
    fprintf(stderr, "weir-micro: %s: %s; --help lists what there is\n", what, why);
    exit(2);
}

static uint32_t number(const char *name, const char *text, uint32_t max)
{
    char *end, why[80];
    unsigned long long n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || n < 1 || n > max) {
        snprintf(why, sizeof why, "not a number from 1 to %u", max);
        wrong_use(name, why);
    }
    return (uint32_t)n;
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option table[] = {
        {"list", no_argument, NULL, 'l'},
        {"repeats", required_argument, NULL, 'r'},
        {"lap-ms", required_argument, NULL, 'm'},
        {"json", required_argument, NULL, 'j'},
        {"play", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (;;) {
        int id = getopt_long(argc, argv, "", table, NULL);
        if (id == -1)
            break;
        if (id == '?')
            exit(2); /* getopt has said why */
        if (id == 'h') {
            usage(stdout);
            exit(0);
        }
        o->is_list |= id == 'l';
        if (id == 'r')
            o->repeats = number("--repeats", optarg, REPEATS_MAX);
        if (id == 'm')
            o->lap_ns = (uint64_t)number("--lap-ms", optarg, LAP_MS_MAX) * 1000000u;
        if (id == 'j')
            o->json = optarg;
        if (id == 'p')
            o->play = optarg;
    }
    o->filter = argv + optind;
    o->filter_n = argc - optind;
    if (o->play != NULL && (o->filter_n != 0 || o->is_list || o->json != NULL))
        wrong_use("--play", "goes alone");
}

static bool is_wanted(const struct options *o, const char *name)
{
    for (int i = 0; i < o->filter_n; i++) {
        if (strstr(name, o->filter[i]) != NULL)
            return true;
    }
    return o->filter_n == 0;
}

static uint32_t choose(const struct options *o, const struct micro **out)
{
    const struct micro_table part[] = {micro_codec(), micro_router(), micro_queue(),
                                       micro_wheel(), micro_outv(),   micro_journeys()};
    uint32_t n = 0;
    for (size_t p = 0; p < ARRAY_N(part); p++) {
        for (size_t i = 0; i < part[p].n; i++) {
            BUG_ON(n == CASES_MAX);
            if (is_wanted(o, part[p].v[i].name))
                out[n++] = &part[p].v[i];
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    struct options o = {.repeats = REPEATS, .lap_ns = (uint64_t)LAP_MS * 1000000u};
    const struct micro *chosen[CASES_MAX];
    struct result result[CASES_MAX];
    parse(&o, argc, argv);
    if (o.play != NULL) {
        play(o.play);
        return 0;
    }
    uint32_t n = choose(&o, chosen);
    if (n == 0)
        wrong_use(o.filter[0], "no case has that in its name (--list)");
    if (o.is_list) {
        for (uint32_t i = 0; i < n; i++)
            printf("%-28s %s\n", chosen[i]->name, chosen[i]->what);
        return 0;
    }
    measure_all(chosen, n, &o, result);
    if (o.json != NULL)
        write_json(o.json, &o, result, n);
    return 0;
}
