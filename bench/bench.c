/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c: time, memory and the kernel's figures of a process.
 *
 *     /proc/PID/stat    fields 14 and 15: utime, stime in clock ticks, all threads, also those that have ended
 *     /proc/PID/status  RssAnon: what the process has allocated and touched; without its program text and files
 *
 *     /proc/PID/schedstat  field 1: the same sum in ns, of one thread: used when the process has only one
 *
 * CPU time is the primary figure of every comparison: unlike messages per second it does not depend on who else uses
 * the machine. A tick is 10 ms: phases of a process with threads that are shorter than a second say little.
 */
#include "bench/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

_Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("weir-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

_Noreturn void die_errno(const char *what)
{
    die("%s: %s", what, strerror(errno));
}

void *take(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL)
        die("no memory for %zu items of %zu bytes", n, size);
    return p;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t own_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* proc_read: the file of that process into text[cap]. */
static void proc_read(pid_t pid, const char *name, char *text, size_t cap)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die("the broker, process %d, is gone", (int)pid);
    size_t n = fread(text, 1, cap - 1, file);
    text[n] = 0;
    fclose(file);
}

/* ticks_ns: utime + stime of /proc/PID/stat. */
static uint64_t ticks_ns(pid_t pid)
{
    char text[4096];
    unsigned long user = 0, system = 0;
    proc_read(pid, "stat", text, sizeof(text));
    const char *end = strrchr(text, ')'); /* the name may hold anything */
    if (end == NULL || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("cannot read /proc/%d/stat", (int)pid);
    return (user + system) * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* thread_n: how many threads a process has now. */
static long thread_n(pid_t pid)
{
    char text[8192];
    long n = 0;
    proc_read(pid, "status", text, sizeof(text));
    const char *line = strstr(text, "\nThreads:");
    return line != NULL && sscanf(line + 9, "%ld", &n) == 1 ? n : 0;
}

uint64_t proc_cpu_ns(pid_t pid)
{
    char path[64], text[128];
    unsigned long long ns;
    if (pid == 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
    if (access(path, R_OK) == -1 || thread_n(pid) != 1)
        return ticks_ns(pid);
    proc_read(pid, "schedstat", text, sizeof(text));
    return sscanf(text, "%llu", &ns) == 1 ? ns : ticks_ns(pid);
}

int64_t proc_rss_anon(pid_t pid)
{
    char text[8192];
    unsigned long kib = 0;
    if (pid == 0)
        return 0;
    proc_read(pid, "status", text, sizeof(text));
    const char *line = strstr(text, "\nRssAnon:");
    if (line == NULL || sscanf(line + 9, "%lu", &kib) != 1)
        die("cannot read RssAnon in /proc/%d/status", (int)pid);
    return (int64_t)kib * 1024;
}

int64_t proc_rss_settled(pid_t pid)
{
    int64_t last = proc_rss_anon(pid);
    for (int i = 0; pid != 0 && i < 40; i++) {
        pause_ms(50);
        int64_t now = proc_rss_anon(pid);
        if (now == last)
            break;
        last = now;
    }
    return last;
}

void pause_ms(uint32_t ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * NS_PER_MS};
    nanosleep(&t, NULL);
}
