/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_fault.c: a disk that fails when it is told to.
 *
 *     store ─► disk_fault: count, fail the n-th ─► disk_sim, disk_posix
 *
 * A call that fails does not reach the disk behind: nothing was written, created or renamed. Calls that cannot fail by
 * contract (close, unlock, free_bytes) pass.
 *
 * Thread: as persist/disk.h says.
 */
#include "tests/support/disk_fault.h"

#include <stdio.h>

struct disk_fault {
    struct disk base;
    struct mem *mem;
    struct disk *next;
    struct disk_faults *f;
};

static struct disk_fault *ours(struct disk *d)
{
    return CONTAINER_OF(d, struct disk_fault, base);
}

/* fails: counts a call; what it returns instead, ERR_OK: it goes on. */
static enum err fails(struct disk_fault *d, bool is_write)
{
    struct disk_faults *f = d->f;
    if (f->only_writes && !is_write)
        return ERR_OK;
    unsigned long long call = ++f->calls, at = f->fail_at;
    if (at == 0 || call < at || (call > at && !f->fail_after))
        return ERR_OK;
    if (!atomic_exchange(&f->has_failed, true))
        snprintf(d->base.why, sizeof(d->base.why), "the test says so");
    if (is_write)
        f->was_write = true;
    return (enum err)f->fail_with;
}

static enum err passed(struct disk_fault *d, enum err e)
{
    if (e != ERR_OK)
        snprintf(d->base.why, sizeof(d->base.why), "%s", d->next->why);
    return e;
}

static enum err fault_lock(struct disk *base)
{
    struct disk_fault *d = ours(base);
    enum err e = fails(d, false);
    return e == ERR_OK ? passed(d, d->next->ops->lock(d->next)) : e;
}

static void fault_unlock(struct disk *base)
{
    ours(base)->next->ops->unlock(ours(base)->next);
}

static enum err fault_list(struct disk *base, enum err (*fn)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct disk_fault *d = ours(base);
    enum err e = fails(d, false);
    return e == ERR_OK ? passed(d, d->next->ops->list(d->next, fn, ctx)) : e;
}

static enum err fault_create(struct disk *base, const char *name, uint64_t size, struct disk_file **out)
{
    struct disk_fault *d = ours(base);
    d->f->creates++;
    enum err e = fails(d, false);
    return e == ERR_OK ? passed(d, d->next->ops->create(d->next, name, size, out)) : e;
}

static enum err fault_open(struct disk *base, const char *name, bool may_write, struct disk_file **out)
{
    struct disk_fault *d = ours(base);
    enum err e = fails(d, false);
    return e == ERR_OK ? passed(d, d->next->ops->open(d->next, name, may_write, out)) : e;
}

static void fault_close(struct disk *base, struct disk_file *file)
{
    ours(base)->next->ops->close(ours(base)->next, file);
}

static enum err fault_read(struct disk *base, struct disk_file *file, uint64_t off, void *buf, size_t n)
{
    struct disk_fault *d = ours(base);
    d->f->reads++;
    enum err e = fails(d, false);
    return e == ERR_OK ? passed(d, d->next->ops->read(d->next, file, off, buf, n)) : e;
}

static enum err fault_write(struct disk *base, struct disk_file *file, uint64_t off, const void *buf, size_t n)
{
    struct disk_fault *d = ours(base);
    d->f->writes++;
    enum err e = fails(d, true);
    return e == ERR_OK ? passed(d, d->next->ops->write(d->next, file, off, buf, n)) : e;
}

static enum err fault_sync(struct disk *base, struct disk_file *file)
{
    struct disk_fault *d = ours(base);
    d->f->syncs++;
    enum err e = fails(d, true);
    return e == ERR_OK ? passed(d, d->next->ops->sync(d->next, file)) : e;
}

static enum err fault_rename(struct disk *base, const char *from, const char *to)
{
    struct disk_fault *d = ours(base);
    d->f->renames++;
    enum err e = fails(d, true);
    return e == ERR_OK ? passed(d, d->next->ops->rename(d->next, from, to)) : e;
}

static enum err fault_remove(struct disk *base, const char *name)
{
    struct disk_fault *d = ours(base);
    d->f->removes++;
    enum err e = fails(d, true);
    return e == ERR_OK ? passed(d, d->next->ops->remove(d->next, name)) : e;
}

static enum err fault_sync_names(struct disk *base)
{
    struct disk_fault *d = ours(base);
    enum err e = fails(d, true);
    return e == ERR_OK ? passed(d, d->next->ops->sync_names(d->next)) : e;
}

static uint64_t fault_free_bytes(struct disk *base)
{
    return ours(base)->next->ops->free_bytes(ours(base)->next);
}

static void fault_destroy(struct disk *base)
{
    struct disk_fault *d = ours(base);
    d->next->ops->destroy(d->next);
    mem_free(d->mem, d);
}

static const struct disk_ops fault_ops = {
    .name = "fault",
    .lock = fault_lock,
    .unlock = fault_unlock,
    .list = fault_list,
    .create = fault_create,
    .open = fault_open,
    .close = fault_close,
    .read = fault_read,
    .write = fault_write,
    .sync = fault_sync,
    .rename = fault_rename,
    .remove = fault_remove,
    .sync_names = fault_sync_names,
    .free_bytes = fault_free_bytes,
    .destroy = fault_destroy,
};

struct disk *disk_fault_new(struct mem *mem, struct disk *d, struct disk_faults *f)
{
    struct disk_fault *mine = mem_zalloc(mem, sizeof(*mine));
    if (mine == NULL) {
        d->ops->destroy(d);
        return NULL;
    }
    mine->base.ops = &fault_ops;
    mine->mem = mem;
    mine->next = d;
    mine->f = f;
    return &mine->base;
}
