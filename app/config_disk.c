/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_disk.c: what is kept on disk, and where, from lines that may stand anywhere and the command line.
 *
 *     persistence   persistence_location / --data   ─►  disk_dir    persistence
 *     not written   none                                NULL        off
 *     not written   DIR                                 DIR         always
 *     off           DIR in the file                     NULL        off
 *     off           DIR by --data                       an error: the two contradict each other
 *     on            none                                an error that names both ways to say it
 *     on            DIR                                 DIR         as written
 *
 * Invariants
 *   1. What asks for the disk never ends in memory: that is an error, not a guess.
 *   2. Nothing here looks at the disk.
 * Cost    nothing that counts.
 * Thread  one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/config_int.h"

#define SEGMENTS_MIN 8u /* in persistence_max_size: what is held back, what is copied, and room for messages */

/* same_place: two spellings of a path that differ in slashes at the end are one. */
static bool same_place(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (m > 1 && b[m - 1] == '/')
        m--;
    return n == m && memcmp(a, b, n) == 0;
}

static enum err against_command_line(struct config *c)
{
    char where[512];
    const struct place nowhere = {0};
    if (c->disk_asked == NULL)
        return ERR_OK;
    if (*c->disk_asked == 0)
        return config_complain(c, &nowhere, "--data", "the directory is missing");
    if (c->persistence == PERSIST_OFF) {
        config_place(config_seen(c, &c->persistence), where, sizeof(where));
        return config_complain(c, &nowhere, "--data",
                               "%spersistence: keeps everything in memory; remove one of the two", where);
    }
    if (c->disk_location != NULL && !same_place(c->disk_location, c->disk_asked)) {
        config_place(config_seen(c, &c->disk_location), where, sizeof(where));
        return config_complain(c, &nowhere, "--data",
                               "%spersistence_location: names another directory; remove one of the two", where);
    }
    return ERR_OK;
}

static enum err sizes_fit(struct config *c)
{
    uint64_t least = SEGMENTS_MIN * c->segment_bytes;
    if (c->disk_bytes_max == 0 || c->disk_bytes_max >= least)
        return ERR_OK;
    return config_complain(c, config_seen(c, &c->disk_bytes_max), "persistence_max_size",
                           "%" PRIu64 " is too small: at least %u segments must fit, %" PRIu64
                           " bytes; raise it, or make persistence_segment_size smaller",
                           c->disk_bytes_max, SEGMENTS_MIN, least);
}

enum err config_finish_disk(struct config *c)
{
    enum err e = against_command_line(c);
    if (e == ERR_OK)
        e = sizes_fit(c);
    if (e != ERR_OK)
        return e;
    const char *dir = c->disk_asked != NULL ? c->disk_asked : c->disk_location;
    if (dir == NULL && c->persistence > PERSIST_OFF)
        return config_complain(c, config_seen(c, &c->persistence), "persistence",
                               "needs a directory for the log, and none is named; add a line persistence_location DIR, "
                               "or start with --data DIR");
    if (c->persistence == PERSIST_UNSAID)
        c->persistence = dir != NULL ? PERSIST_ALWAYS : PERSIST_OFF;
    c->disk_dir = c->persistence == PERSIST_OFF ? NULL : dir;
    return ERR_OK;
}

void config_disk_place(const struct config *c, char *out, size_t cap)
{
    char where[512] = "";
    if (c->disk_dir == c->disk_asked) {
        snprintf(out, cap, "--data");
        return;
    }
    const struct place *p = config_seen(c, &c->disk_location);
    if (p != NULL)
        config_place(p, where, sizeof(where));
    snprintf(out, cap, "%spersistence_location", where);
}
