/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_copy.c: a directory in memory. Handles point to the table's entry, so a file may be renamed while it is open.
 */
#include "tests/crash/disk_copy.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct handle {
    struct disk_file base;
    struct copy_file *file;
    bool may_write;
};

static struct disk_copy *ours(struct disk *d)
{
    return CONTAINER_OF(d, struct disk_copy, disk);
}

static void *have(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return p;
}

struct copy_file *disk_copy_find(struct disk_copy *c, const char *name)
{
    for (uint32_t i = 0; i < COPY_FILE_N; i++) {
        if (strcmp(c->file[i].name, name) == 0)
            return &c->file[i];
    }
    return NULL;
}

static enum err copy_lock(struct disk *d)
{
    UNUSED(d);
    return ERR_OK;
}

static void copy_unlock(struct disk *d)
{
    UNUSED(d);
}

static enum err copy_list(struct disk *d, enum err (*fn)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct disk_copy *c = ours(d);
    for (uint32_t i = 0; i < COPY_FILE_N; i++) {
        if (c->file[i].name[0] == 0)
            continue;
        enum err e = fn(ctx, c->file[i].name, c->file[i].size);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static struct disk_file *opened(struct disk_copy *c, struct copy_file *f, bool may_write)
{
    struct handle *h = have(calloc(1, sizeof(*h)));
    *h = (struct handle){{f->size}, f, may_write};
    c->open_n++;
    return &h->base;
}

static enum err copy_create(struct disk *d, const char *name, uint64_t size, struct disk_file **out)
{
    struct disk_copy *c = ours(d);
    BUG_ON(strlen(name) >= DISK_NAME_MAX);
    if (disk_copy_find(c, name) != NULL)
        return ERR_EXISTS;
    struct copy_file *f = disk_copy_find(c, "");
    if (f == NULL)
        return ERR_FULL;
    free(f->bytes);
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->bytes = have(calloc(1, size > 0 ? size : 1));
    f->size = size;
    *out = opened(c, f, true);
    return ERR_OK;
}

static enum err copy_open(struct disk *d, const char *name, bool may_write, struct disk_file **out)
{
    struct copy_file *f = disk_copy_find(ours(d), name);
    if (f == NULL)
        return ERR_NOT_FOUND;
    *out = opened(ours(d), f, may_write);
    return ERR_OK;
}

static void copy_close(struct disk *d, struct disk_file *f)
{
    ours(d)->open_n--;
    free(CONTAINER_OF(f, struct handle, base));
}

static enum err copy_read(struct disk *d, struct disk_file *f, uint64_t off, void *buf, size_t n)
{
    UNUSED(d);
    const struct copy_file *file = CONTAINER_OF(f, struct handle, base)->file;
    if (off > file->size || n > file->size - off)
        return ERR_IO;
    memcpy(buf, file->bytes + off, n);
    return ERR_OK;
}

static enum err copy_write(struct disk *d, struct disk_file *f, uint64_t off, const void *buf, size_t n)
{
    UNUSED(d);
    const struct handle *h = CONTAINER_OF(f, struct handle, base);
    BUG_ON(!h->may_write || off > f->size || n > f->size - off);
    memcpy(h->file->bytes + off, buf, n);
    return ERR_OK;
}

static enum err copy_sync(struct disk *d, struct disk_file *f)
{
    UNUSED(d);
    UNUSED(f);
    return ERR_OK;
}

static enum err copy_remove(struct disk *d, const char *name)
{
    struct copy_file *f = disk_copy_find(ours(d), name);
    if (f == NULL)
        return ERR_NOT_FOUND;
    f->name[0] = 0; /* its bytes stay for those who have it open, until the entry is used again */
    return ERR_OK;
}

static enum err copy_rename(struct disk *d, const char *from, const char *to)
{
    struct copy_file *f = disk_copy_find(ours(d), from), *old = disk_copy_find(ours(d), to);
    if (f == NULL)
        return ERR_NOT_FOUND;
    if (old != NULL && old != f)
        old->name[0] = 0;
    snprintf(f->name, sizeof(f->name), "%s", to);
    return ERR_OK;
}

static enum err copy_sync_names(struct disk *d)
{
    UNUSED(d);
    return ERR_OK;
}

static uint64_t copy_free_bytes(struct disk *d)
{
    UNUSED(d);
    return UINT64_MAX;
}

static void copy_destroy(struct disk *d)
{
    struct disk_copy *c = ours(d);
    BUG_ON(c->open_n != 0);
    for (uint32_t i = 0; i < COPY_FILE_N; i++)
        free(c->file[i].bytes);
    free(c);
}

static const struct disk_ops copy_ops = {
    .name = "copy",
    .lock = copy_lock,
    .unlock = copy_unlock,
    .list = copy_list,
    .create = copy_create,
    .open = copy_open,
    .close = copy_close,
    .read = copy_read,
    .write = copy_write,
    .sync = copy_sync,
    .rename = copy_rename,
    .remove = copy_remove,
    .sync_names = copy_sync_names,
    .free_bytes = copy_free_bytes,
    .destroy = copy_destroy,
};

static void load_file(struct copy_file *f, const char *folder, const char *name, uint64_t size)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    snprintf(f->name, sizeof(f->name), "%s", name);
    FILE *in = have(fopen(path, "rb"));
    f->size = size;
    f->bytes = have(malloc(size > 0 ? size : 1));
    if (fread(f->bytes, 1, size, in) != size) {
        fprintf(stderr, "%s cannot be read\n", path);
        exit(2);
    }
    fclose(in);
}

struct disk_copy *disk_copy_load(const char *path)
{
    struct disk_copy *c = have(calloc(1, sizeof(*c)));
    c->disk.ops = &copy_ops;
    DIR *dir = opendir(path);
    uint32_t n = 0;
    if (dir == NULL) {
        fprintf(stderr, "%s: no such directory\n", path);
        exit(2);
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat st;
        if (fstatat(dirfd(dir), e->d_name, &st, 0) == -1 || !S_ISREG(st.st_mode) || strlen(e->d_name) >= DISK_NAME_MAX)
            continue;
        if (n == COPY_FILE_N / 2) {
            fprintf(stderr, "%s has more than %u files\n", path, COPY_FILE_N / 2);
            exit(2);
        }
        load_file(&c->file[n++], path, e->d_name, (uint64_t)st.st_size);
    }
    closedir(dir);
    return c;
}

struct disk_copy *disk_copy_of(const struct disk_copy *origin)
{
    struct disk_copy *c = have(calloc(1, sizeof(*c)));
    c->disk.ops = &copy_ops;
    for (uint32_t i = 0; i < COPY_FILE_N; i++) {
        const struct copy_file *from = &origin->file[i];
        struct copy_file *to = &c->file[i];
        if (from->name[0] == 0)
            continue;
        *to = *from;
        to->bytes = have(malloc(from->size > 0 ? from->size : 1));
        memcpy(to->bytes, from->bytes, from->size);
    }
    return c;
}
