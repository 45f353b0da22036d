/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c: table and JSON.
 *
 *     scenario                     per s  CPU ns  broker    gen    lost     dup   order corrupt  ...
 *     pairs 1 q0 64 B           16412345    41.2    68 %   91 %       0       0       0       0
 *
 * The table goes to stdout and holds no more than fits a line; what a scenario has to say beyond it follows as
 * name=value. JSON has every number, under the names of struct row.
 */
#include "bench/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

static const char *const latency_names[5] = {"p50", "p90", "p99", "p99.9", "max"};

void sample_now(struct sample *s, const struct options *o, uint64_t count)
{
    *s = (struct sample){now_ns(), proc_cpu_ns(o->pid), own_cpu_ns(), count};
}

void row_rates(struct row *row, const struct options *o, const struct sample *from, const struct sample *to)
{
    double ns = (double)(to->ns - from->ns), n = (double)(to->count - from->count);
    double cpu = (double)(to->broker_cpu_ns - from->broker_cpu_ns);
    row->per_s = n * NS_PER_S / ns;
    row->own_share = (double)(to->own_cpu_ns - from->own_cpu_ns) / ns;
    row->broker_share = o->pid != 0 ? cpu / ns : -1;
    row->broker_cpu = o->pid != 0 && n > 0 ? cpu / n : -1;
}

void row_figure(struct row *row, const char *name, double value)
{
    if (row->figure_n < FIGURE_N)
        row->figure[row->figure_n++] = (struct figure){name, value};
}

void row_ledger(struct row *row, const struct ledger *g)
{
    row->received = g->received;
    row->lost = g->lost;
    row->duplicated = g->duplicated;
    row->reordered = g->reordered;
    row->corrupt = g->corrupt;
}

void row_latency(struct row *row, const struct hist *h)
{
    static const double shares[4] = {0.5, 0.9, 0.99, 0.999};
    row->has_latency = true;
    for (int i = 0; i < 4; i++)
        row->latency_us[i] = (double)hist_at(h, shares[i]) / 1000;
    row->latency_us[4] = (double)h->max / 1000;
}

/* or_dash: the number, or a dash when it is not known. */
static void or_dash(int width, double value, const char *unit)
{
    if (value < 0)
        printf(" %*s", width, "-");
    else
        printf(" %*.*f%s", width - (int)strlen(unit), value < 1000 && unit[0] == 0 ? 1 : 0, value, unit);
}

void report_row(struct report *r, const struct row *row)
{
    if (r->row_n == 0)
        printf("%-34s %11s %9s %7s %7s %7s %7s %7s %7s\n", "scenario", "per s", "CPU ns", "broker", "gen", "lost",
               "dup", "reord", "corrupt");
    printf("%-34s", row->name);
    or_dash(11, row->per_s, "");
    or_dash(9, row->broker_cpu, "");
    or_dash(7, row->broker_share * 100, "%");
    or_dash(7, row->own_share * 100, "%");
    printf(" %7lu %7lu %7lu %7lu", row->lost, row->duplicated, row->reordered, row->corrupt);
    for (int i = 0; row->has_latency && i < 5; i++)
        printf(" %s=%.1fus", latency_names[i], row->latency_us[i]);
    for (uint32_t i = 0; i < row->figure_n; i++)
        printf(" %s=%.6g", row->figure[i].name, row->figure[i].value);
    printf("\n");
    fflush(stdout);
    if (row->lost + row->duplicated + row->reordered + row->corrupt > 0)
        r->failed = true;
    if (r->row_n == ROW_N)
        die("a scenario has more than %u rows", ROW_N);
    r->row[r->row_n++] = *row;
}

void report_fail(struct report *r, const char *why)
{
    fprintf(stderr, "weir-bench: FAILED: %s\n", why);
    r->failed = true;
}

static void row_json(FILE *file, const struct row *row)
{
    fprintf(file,
            "    {\"name\": \"%s\", \"per_s\": %.3f, \"broker_cpu_ns\": %.3f, \"broker_share\": %.4f, "
            "\"generator_share\": %.4f, \"received\": %lu, \"lost\": %lu, \"duplicated\": %lu, \"reordered\": %lu, "
            "\"corrupt\": %lu",
            row->name, row->per_s, row->broker_cpu, row->broker_share, row->own_share, row->received, row->lost,
            row->duplicated, row->reordered, row->corrupt);
    for (int i = 0; row->has_latency && i < 5; i++)
        fprintf(file, "%s\"%s\": %.3f", i == 0 ? ", \"latency_us\": {" : ", ", latency_names[i], row->latency_us[i]);
    if (row->has_latency)
        fputs("}", file);
    for (uint32_t i = 0; i < row->figure_n; i++)
        fprintf(file, ", \"%s\": %.6g", row->figure[i].name, row->figure[i].value);
    fputs("}", file);
}

int report_close(struct report *r)
{
    const struct options *o = r->options;
    if (o->json == NULL)
        return r->failed ? 1 : 0;
    FILE *file = fopen(o->json, "w");
    if (file == NULL)
        die("%s: %s", o->json, strerror(errno));
    fprintf(file,
            "{\n  \"scenario\": \"%s\", \"n\": %u, \"qos\": %u, \"payload_bytes\": %u, \"seconds\": %u, "
            "\"window\": %u, \"rate\": %u, \"failed\": %s,\n  \"rows\": [\n",
            o->scenario, o->n, o->qos, o->payload_bytes, o->seconds, o->window, o->rate, r->failed ? "true" : "false");
    for (uint32_t i = 0; i < r->row_n; i++) {
        row_json(file, &r->row[i]);
        fputs(i + 1 < r->row_n ? ",\n" : "\n", file);
    }
    fputs("  ]\n}\n", file);
    if (fclose(file) != 0)
        die("%s: %s", o->json, strerror(errno));
    return r->failed ? 1 : 0;
}

void progress(const struct options *o, double at_s, const char *what, double per_s, uint64_t count)
{
    fprintf(stderr, "%s %u: %5.1f s  %-12s %12.0f/s  %lu\n", o->scenario, o->n, at_s, what, per_s, count);
}
