/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

/*
 * report.h: what a run found: one table row per measured phase, printed when it ends, and all of them as JSON.
 */

#include <stdio.h>

#include "bench/bench.h"
#include "bench/hist.h"
#include "bench/ledger.h"

#define FIGURE_N 8u
#define ROW_N    64u

struct figure {
    const char *name; /* constant text; the unit last, as in rss_bytes */
    double value;
};

struct row {
    char name[48];
    double per_s;                   /* messages, or what the scenario counts, per second */
    double broker_cpu;              /* CPU ns of the broker per message; < 0: not known */
    double broker_share, own_share; /* of one core, 0..1; < 0: not known */
    uint64_t received, lost, duplicated, reordered, corrupt;
    bool has_latency;
    double latency_us[5]; /* p50, p90, p99, p99.9, max */
    uint32_t figure_n;
    struct figure figure[FIGURE_N];
};

struct report {
    const struct options *options;
    bool failed;
    uint32_t row_n;
    struct row row[ROW_N];
};

/* One instant; two of them make a row. */
struct sample {
    uint64_t ns, broker_cpu_ns, own_cpu_ns, count;
};

void sample_now(struct sample *s, const struct options *o, uint64_t count);

/* row_rates: rate and CPU figures of what was counted between two samples. */
void row_rates(struct row *row, const struct options *o, const struct sample *from, const struct sample *to);

/* row_figure: one more number that only this scenario has. */
void row_figure(struct row *row, const char *name, double value);

void row_ledger(struct row *row, const struct ledger *g);
void row_latency(struct row *row, const struct hist *h);

/* report_row: prints the row (before the first one, the heading) and keeps it. A row with messages lost, duplicated,
 * reordered or corrupt fails the report; so does report_fail, which says why. */
void report_row(struct report *r, const struct row *row);
void report_fail(struct report *r, const char *why);

/* report_close: writes the JSON file if there is to be one; returns the exit code. */
int report_close(struct report *r);

/* progress: one line on stderr. */
void progress(const struct options *o, double at_s, const char *what, double per_s, uint64_t count);

#endif
