/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram.c: how much memory there is for us.
 *
 *     the machine's RAM ───────────────────────────────────────────────────┐
 *     /proc/self/cgroup "0::/a/b" ─► /sys/fs/cgroup/a/b/memory.max         ├─► the least
 *                                    /sys/fs/cgroup/a/memory.max, ...      │
 *     version 1: "memory:/a/b" ─► /sys/fs/cgroup/memory/a/b/... ───────────┘
 *
 * In a container the groups above ours are not to be seen, and ours may stand at the root; so every level is tried, and
 * what cannot be read is no limit.
 *
 * Cost    a few small files, once.
 * Thread  any; blocks on the file system.
 */
#include "app/ram.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* number_in: the number a file begins with; UINT64_MAX: none ("max", or no such file). */
static uint64_t number_in(const char *path)
{
    uint64_t n = UINT64_MAX;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return n;
    if (fscanf(f, "%" SCNu64, &n) != 1)
        n = UINT64_MAX;
    fclose(f);
    return n;
}

/* least_above: the least limit on the group at `group` ("/a/b") and all above it; below `top`, in files called `name`.
 */
static uint64_t least_above(const char *top, char *group, const char *name)
{
    uint64_t least = UINT64_MAX;
    for (;;) {
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof(path), "%s%s/%s", top, group, name);
        uint64_t here = number_in(path);
        least = MIN(least, here);
        char *slash = strrchr(group, '/');
        if (slash == NULL)
            return least;
        *slash = 0;
    }
}

/* of_line: the limit that a line of /proc/self/cgroup leads to: "0::/a/b" or "4:memory:/a/b". */
static uint64_t of_line(const char *root, char *line)
{
    char top[PATH_BYTES];
    line[strcspn(line, "\n")] = 0;
    char *which = strchr(line, ':');
    char *group = which != NULL ? strchr(which + 1, ':') : NULL;
    if (group == NULL)
        return UINT64_MAX;
    *group++ = 0;
    if (strcmp(which, ":") == 0) {
        snprintf(top, sizeof(top), "%s/sys/fs/cgroup", root);
        return least_above(top, group, "memory.max");
    }
    if (strcmp(which, ":memory") != 0)
        return UINT64_MAX;
    snprintf(top, sizeof(top), "%s/sys/fs/cgroup/memory", root);
    return least_above(top, group, "memory.limit_in_bytes");
}

static uint64_t group_limit(const char *root)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    uint64_t least = UINT64_MAX;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        uint64_t here = of_line(root, line);
        least = MIN(least, here);
    }
    if (f != NULL)
        fclose(f);
    return least;
}

uint64_t ram_bytes(const char *root)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : UINT64_MAX;
    uint64_t group = group_limit(root), least = MIN(all, group);
    return least == UINT64_MAX ? 0 : least;
}
