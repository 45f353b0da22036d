/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_read.c: from files to `key value` lines.
 *
 *     config_file ─► the whole file in memory ─► lines ─► key | value ─► config_line (config.c)
 *          ▲                                                   │ include_dir
 *          └────── *.conf, in the order of their bytes ◄───────┘
 *
 * A line is: spaces, a key, spaces, the value up to the end without the spaces there. Empty lines and lines that begin
 * with '#' say nothing. A '#' further right belongs to the value, except where only one word can stand (config.c), as
 * in mosquitto. Line ends may be LF or CR LF.
 *
 * Invariants
 *   1. No byte below 0x20 but tab, and no broken UTF-8, gets past this file.
 *   2. Every file begins outside any listener, and an included one leaves the includer where it was.
 * Cost    a file at a time in memory, at most FILE_BYTES_MAX.
 * Thread  one; blocks on the file system, before the broker runs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config.h"
#include "app/config_int.h"
#include "core/base/buf.h"
#include "core/base/utf8.h"

#define FILE_BYTES_MAX (4u * 1024 * 1024)
#define INCLUDED_MAX   1000u /* files of one directory */

/* One name that places point to. */
struct file_name {
    struct list_node node;
    char text[];
};

/* ---- lines -------------------------------------------------------------------------------------------------- */

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t' || b == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len != 0 && is_space(s.p[0]))
        s = slice_skip(s, 1);
    while (s.len != 0 && is_space(s.p[s.len - 1]))
        s.len--;
    return s;
}

/* has_bad_byte: what no configuration holds and no message should repeat. */
static bool has_bad_byte(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return true;
    }
    return !utf8_is_valid(s.p, s.len);
}

static enum err one_line(struct config *c, struct config_at *at, struct slice line)
{
    line = trim(line);
    if (line.len == 0 || line.p[0] == '#')
        return ERR_OK;
    if (has_bad_byte(line))
        return config_complain(c, &at->place, "", "control bytes or broken UTF-8; this is no line of a configuration");
    size_t n = 0;
    while (n < line.len && !is_space(line.p[n]))
        n++;
    return config_line(c, at, slice_make(line.p, n), trim(slice_skip(line, n)));
}

static enum err lines(struct config *c, struct config_at *at, struct slice text)
{
    if (slice_starts_with(text, SLICE("\xef\xbb\xbf")))
        text = slice_skip(text, 3); /* a byte order mark */
    while (text.len != 0) {
        ptrdiff_t end = slice_find(text, '\n');
        size_t n = end < 0 ? text.len : (size_t)end;
        at->place.line++;
        enum err e = one_line(c, at, slice_make(text.p, n));
        if (e != ERR_OK)
            return e;
        text = slice_skip(text, end < 0 ? n : n + 1);
    }
    return ERR_OK;
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static const char *keep_name(struct config *c, const char *name)
{
    size_t n = strlen(name) + 1;
    struct file_name *f = mem_alloc(c->mem, sizeof(*f) + n);
    if (f == NULL)
        return NULL;
    memcpy(f->text, name, n);
    list_push(&c->files, &f->node);
    return f->text;
}

static enum err cannot_read(struct config *c, const struct place *from, const char *path, int why)
{
    const char *cure = why == EACCES ? "; let the user that starts weir read it" : "";
    config_complain(c, from, "", "%s: cannot be read: %s%s", path, strerror(why), cure);
    return ERR_IO;
}

/* slurp: all bytes of an open file into out. */
static enum err slurp(struct config *c, const struct place *from, const char *path, int fd, struct buf *out)
{
    for (;;) {
        uint8_t *room = buf_room(out, 4096);
        if (room == NULL)
            return config_nomem(c);
        ssize_t n = read(fd, room, 4096);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return cannot_read(c, from, path, errno);
        if (n == 0)
            return ERR_OK;
        buf_wrote(out, (size_t)n);
        if (out->len > FILE_BYTES_MAX)
            return config_complain(c, from, "", "%s: larger than %u bytes; this is no configuration file", path,
                                   FILE_BYTES_MAX);
    }
}

static enum err read_lines(struct config *c, const char *name, struct slice text, bool is_included)
{
    const char *kept = keep_name(c, name);
    if (kept == NULL)
        return config_nomem(c);
    struct config_at at = {.place = {.file = kept}, .is_included = is_included};
    return lines(c, &at, text);
}

static enum err read_file(struct config *c, const struct place *from, const char *path, bool is_included)
{
    struct buf text;
    buf_init(&text, c->mem);
    struct stat st;
    enum err e = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1) {
        e = cannot_read(c, from, path, errno);
        goto out;
    }
    if (S_ISDIR(st.st_mode)) {
        e = config_complain(c, from, "", "%s: is a directory; name a file, or use include_dir", path);
        goto out;
    }
    e = slurp(c, from, path, fd, &text);
    if (e == ERR_OK)
        e = read_lines(c, path, buf_slice(&text), is_included);
out:
    if (fd != -1)
        close(fd);
    buf_fini(&text);
    return e;
}

enum err config_file(struct config *c, const char *path)
{
    struct place nowhere = {0};
    return read_file(c, &nowhere, path, false);
}

enum err config_text(struct config *c, const char *name, struct slice text)
{
    return read_lines(c, name, text, false);
}

/* ---- include_dir -------------------------------------------------------------------------------------------- */

static int is_conf(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

/* names_insert: keeps names[n] in the order of their bytes. */
static void names_insert(char **names, unsigned n, char *name)
{
    unsigned i = n;
    for (; i > 0 && strcmp(names[i - 1], name) > 0; i--)
        names[i] = names[i - 1];
    names[i] = name;
}

/* list_conf: the paths of the *.conf files in dir, sorted; the caller frees names[0..*out_n), also after an error. */
static enum err list_conf(struct config *c, const struct place *from, const char *dir, char **names, unsigned *out_n)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return cannot_read(c, from, dir, errno);
    enum err e = ERR_OK;
    for (struct dirent *entry = readdir(d); entry != NULL && e == ERR_OK; entry = readdir(d)) {
        if (!is_conf(entry))
            continue;
        struct buf path;
        buf_init(&path, c->mem);
        buf_printf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", entry->d_name);
        size_t len = 0;
        char *text = (char *)buf_take(&path, &len);
        buf_fini(&path);
        if (text == NULL) {
            e = config_nomem(c);
        } else if (*out_n == INCLUDED_MAX) {
            mem_free(c->mem, text);
            e = config_complain(c, from, "include_dir", "%s: more than %u files", dir, INCLUDED_MAX);
        } else {
            names_insert(names, (*out_n)++, text);
        }
    }
    closedir(d);
    return e;
}

enum err config_include(struct config *c, const struct config_at *from, struct slice dir)
{
    unsigned n = 0;
    enum err e = ERR_OK;
    char *path = mem_dup(c->mem, dir.p, dir.len);
    char **names = mem_alloc(c->mem, INCLUDED_MAX * sizeof(*names));
    if (path == NULL || names == NULL) {
        e = config_nomem(c);
        goto out;
    }
    e = list_conf(c, &from->place, path, names, &n);
    for (unsigned i = 0; i < n && e == ERR_OK; i++)
        e = read_file(c, &from->place, names[i], true);
out:
    for (unsigned i = 0; i < n; i++)
        mem_free(c->mem, names[i]);
    mem_free(c->mem, names);
    mem_free(c->mem, path);
    return e;
}
