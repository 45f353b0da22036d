/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verifiers.c: a file of verifiers, read once.
 *
 *     file ─► lines ─► user ':' verifier ─► verifiers_user_check, scram_verifier_parse ─► by_user, all[]
 *
 * A line is taken as it stands: no spaces are trimmed, for a name may hold some in the middle, and one at an end is
 * more likely a slip than meant, and refused. Only a CR at the end goes. What is wrong ends the reading: a broker that
 * left out a line would lock somebody out, or hide that a line was never valid.
 *
 * Invariants
 *   1. by_user and all hold the same verifiers; no name is there twice.
 *   2. Every name passed verifiers_user_check, every verifier scram_verifier_parse.
 * Cost    160 bytes and a name per user, and 24 for the tables; loading one pass.
 * Thread  one while loading, which blocks on the file; then any.
 */
#include "auth/verifiers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/utf8.h"

static struct slice user_of(const void *item)
{
    const struct verifier *one = item;
    return slice_make(one->user, one->user_n);
}

void verifiers_init(struct verifiers *v, struct mem *mem, uint64_t seed)
{
    *v = (struct verifiers){.mem = mem};
    map_init(&v->by_user, mem, user_of, seed);
}

void verifiers_fini(struct verifiers *v)
{
    for (uint32_t i = 0; i < v->by_user.n; i++)
        mem_free(v->mem, v->all[i]);
    mem_free(v->mem, v->all);
    map_fini(&v->by_user);
    v->all = NULL;
    v->cap = 0;
}

const char *verifiers_user_check(struct slice user)
{
    if (user.len == 0)
        return "the user name is empty";
    if (user.len > VERIFIERS_USER_MAX)
        return "the user name is longer than 255 bytes";
    if (user.p[0] == '#')
        return "the user name begins with #, which begins a comment";
    if (user.p[0] == ' ' || user.p[user.len - 1] == ' ')
        return "the user name begins or ends with a space";
    for (size_t i = 0; i < user.len; i++) {
        if (user.p[i] < 0x20 || user.p[i] == 0x7f)
            return "the user name has a control character";
        if (user.p[i] == ':')
            return "the user name has a colon";
    }
    return utf8_is_valid(user.p, user.len) ? NULL : "the user name is not UTF-8";
}

/* ---- lines -------------------------------------------------------------------------------------------------- */

static enum err out_of_memory(const char *name, char *out_why, size_t cap)
{
    snprintf(out_why, cap, "%s: out of memory", name);
    return ERR_NOMEM;
}

/* make_room: for one more in all[]. */
static bool make_room(struct verifiers *v)
{
    if (v->by_user.n < v->cap)
        return true;
    uint32_t cap = v->cap ? v->cap * 2 : 16;
    struct verifier **grown = mem_realloc(v->mem, v->all, cap * sizeof(struct verifier *));
    if (grown == NULL)
        return false;
    v->all = grown;
    v->cap = cap;
    return true;
}

static enum err add(struct verifiers *v, struct slice user, const struct scram_verifier *scram, uint32_t line)
{
    if (!make_room(v))
        return ERR_NOMEM;
    struct verifier *one = mem_alloc(v->mem, sizeof(*one) + user.len);
    if (one == NULL)
        return ERR_NOMEM;
    *one = (struct verifier){.scram = *scram, .user_n = (uint32_t)user.len, .line = line};
    memcpy(one->user, user.p, user.len);
    enum err e = map_put(&v->by_user, one);
    if (e == ERR_OK)
        v->all[v->by_user.n - 1] = one;
    else
        mem_free(v->mem, one);
    return e;
}

static enum err one_line(struct verifiers *v, struct slice line, uint32_t number, const char **out_why)
{
    ptrdiff_t colon = slice_find(line, ':');
    if (colon < 0) {
        *out_why = "there is no colon; a line is USER:VERIFIER, as weir --scram-user USER prints it";
        return ERR_MALFORMED;
    }
    struct slice user = slice_make(line.p, (size_t)colon);
    struct scram_verifier scram;
    *out_why = verifiers_user_check(user);
    if (*out_why != NULL)
        return ERR_MALFORMED;
    enum err e = scram_verifier_parse(slice_skip(line, user.len + 1), &scram, out_why);
    if (e != ERR_OK)
        return e;
    return verifiers_get(v, user) != NULL ? ERR_EXISTS : add(v, user, &scram, number);
}

enum err verifiers_parse(struct verifiers *v, const char *name, struct slice text, char *out_why, size_t cap)
{
    for (uint32_t number = 1; text.len != 0; number++) {
        ptrdiff_t end = slice_find(text, '\n');
        struct slice line = slice_make(text.p, end < 0 ? text.len : (size_t)end);
        text = slice_skip(text, end < 0 ? text.len : line.len + 1);
        if (line.len != 0 && line.p[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0 || line.p[0] == '#')
            continue;
        const char *why = "";
        enum err e = one_line(v, line, number, &why);
        if (e == ERR_NOMEM)
            return out_of_memory(name, out_why, cap);
        if (e == ERR_EXISTS) {
            const struct verifier *former = verifiers_get(v, slice_make(line.p, (size_t)slice_find(line, ':')));
            snprintf(out_why, cap, "%s:%u: the user stands in line %u already; keep one of the two lines", name, number,
                     former->line);
        } else if (e != ERR_OK) {
            snprintf(out_why, cap, "%s:%u: %s", name, number, why);
        }
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* ---- the file ----------------------------------------------------------------------------------------------- */

static enum err unreadable(const char *path, int why, char *out_why, size_t cap)
{
    snprintf(out_why, cap, "%s: cannot be read: %s%s", path, strerror(why),
             why == EACCES ? "; let the user that starts weir read it" : "");
    return ERR_IO;
}

/* slurp: all bytes of an open file. */
static enum err slurp(int fd, const char *path, struct buf *out, char *out_why, size_t cap)
{
    for (;;) {
        uint8_t *room = buf_room(out, 65536);
        if (room == NULL)
            return out_of_memory(path, out_why, cap);
        ssize_t n = read(fd, room, 65536);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return unreadable(path, errno, out_why, cap);
        if (n == 0)
            return ERR_OK;
        buf_wrote(out, (size_t)n);
        if (out->len > VERIFIERS_FILE_MAX) {
            snprintf(out_why, cap, "%s: larger than %u bytes; this is no file of verifiers", path, VERIFIERS_FILE_MAX);
            return ERR_IO;
        }
    }
}

enum err verifiers_load(struct verifiers *v, const char *path, char *out_why, size_t cap)
{
    struct buf text;
    buf_init(&text, v->mem);
    enum err e = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    e = fd == -1 ? unreadable(path, errno, out_why, cap) : slurp(fd, path, &text, out_why, cap);
    if (e == ERR_OK)
        e = verifiers_parse(v, path, buf_slice(&text), out_why, cap);
    if (fd != -1)
        close(fd);
    buf_fini(&text);
    return e;
}
