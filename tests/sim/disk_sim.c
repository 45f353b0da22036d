/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_sim.c: a disk that loses, tears and reorders what was not synced.
 *
 *     platter ─► names now, names durable, name changes between them
 *        └─────► nodes: bytes now, bytes durable, sectors written between them
 *
 *     sync        durable := now, for this file          crash   each unsynced sector: kept or lost, by the dice of
 * this sync_names  durable names := names                         crash (none, all, the first n, or any); now :=
 * durable
 *
 * Invariants
 *   1. A node lives while a name (now or durable), an unsynced name change or a handle refers to it.
 *   2. Bytes of `now` and `durable` differ only in sectors that are in `dirty`.
 *   3. used is the size of all nodes that have a name now or durably, for a removed file's space comes back for good
 *      only when its removal is.
 * Cost    two copies of every file, and one of every sector between two syncs.
 * Thread  one.
 */
#include "tests/sim/disk_sim.h"

#include <stdio.h>
#include <string.h>

#include "core/base/list.h"

/* One sector as it was after a write. */
struct sector {
    uint32_t at; /* its number in the file */
    uint8_t bytes[PLATTER_SECTOR];
};

/* A file, whatever it is called. owner: platter, by count */
struct node {
    uint32_t refs;
    bool has_failed, has_lost; /* a write or sync of it failed; a sync */
    uint64_t size;
    uint8_t *now, *durable;
    struct sector *dirty; /* [dirty_n], in the order of writing */
    uint32_t dirty_n, dirty_cap;
};

struct name {
    char text[DISK_NAME_MAX];
    struct node *node;
};

struct names {
    struct name *v;
    uint32_t n, cap;
};

enum change_kind { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE };

struct change {
    uint8_t kind;
    struct node *node; /* held */
    char from[DISK_NAME_MAX], to[DISK_NAME_MAX];
};

struct platter {
    struct mem *mem;
    struct rng *rng;
    struct names now, durable;
    struct change *change; /* [change_n]: since the last sync_names */
    uint32_t change_n, change_cap, disks_n;
    uint64_t capacity;
    struct disk_sim *locked_by;
    struct list disks;
    uint32_t fault[PLATTER_FAULT_N];
    uint32_t dies_in; /* 0: not; else changes that still happen, + 1 */
    struct platter_count count;
};

struct disk_sim {
    struct disk disk; /* first */
    struct platter *p;
    struct list_node all;
    uint32_t open_n;
    bool is_dead;
};

struct sim_file {
    struct disk_file file; /* first */
    struct node *node;
    bool may_write;
};

static struct disk_sim *ours(struct disk *d)
{
    return CONTAINER_OF(d, struct disk_sim, disk);
}

/* more: room for one more item in an array that doubles. */
static void *more(struct mem *mem, void *v, uint32_t n, uint32_t *cap, size_t item)
{
    if (n < *cap)
        return v;
    *cap = *cap ? 2 * *cap : 8;
    void *bigger = mem_realloc(mem, v, *cap * item);
    BUG_ON(bigger == NULL);
    return bigger;
}

/* ---- nodes --------------------------------------------------------------------------------------------------------
 */

static void node_drop(struct platter *p, struct node *n)
{
    BUG_ON(n->refs == 0);
    if (--n->refs != 0)
        return;
    mem_free(p->mem, n->now);
    mem_free(p->mem, n->durable);
    mem_free(p->mem, n->dirty);
    mem_free(p->mem, n);
}

static struct node *node_new(struct platter *p, uint64_t size)
{
    struct node *n = mem_zalloc(p->mem, sizeof(*n));
    BUG_ON(n == NULL);
    n->size = size;
    n->now = mem_zalloc(p->mem, size + 1);
    n->durable = mem_zalloc(p->mem, size + 1);
    BUG_ON(n->now == NULL || n->durable == NULL);
    return n;
}

static size_t sector_bytes(const struct node *n, uint32_t at)
{
    uint64_t off = (uint64_t)at * PLATTER_SECTOR;
    return (size_t)MIN(n->size - off, (uint64_t)PLATTER_SECTOR);
}

static void note_sector(struct platter *p, struct node *n, uint32_t at)
{
    n->dirty = more(p->mem, n->dirty, n->dirty_n, &n->dirty_cap, sizeof(*n->dirty));
    struct sector *s = &n->dirty[n->dirty_n++];
    s->at = at;
    memcpy(s->bytes, n->now + (uint64_t)at * PLATTER_SECTOR, sector_bytes(n, at));
}

static void node_write(struct platter *p, struct node *n, uint64_t off, const uint8_t *buf, size_t len)
{
    if (len == 0)
        return;
    memcpy(n->now + off, buf, len);
    for (uint64_t at = off / PLATTER_SECTOR; at <= (off + len - 1) / PLATTER_SECTOR; at++)
        note_sector(p, n, (uint32_t)at);
}

static void keep_sector(struct node *n, const struct sector *s)
{
    memcpy(n->durable + (uint64_t)s->at * PLATTER_SECTOR, s->bytes, sector_bytes(n, s->at));
}

static void node_sync(struct node *n)
{
    for (uint32_t i = 0; i < n->dirty_n; i++)
        keep_sector(n, &n->dirty[i]);
    n->dirty_n = 0;
}

/* ---- dice of one crash --------------------------------------------------------------------------------------------
 */

struct dice {
    struct rng *rng;
    uint32_t first; /* so many are kept before chance is asked */
    uint8_t pct;
};

static struct dice dice_new(struct rng *rng, uint32_t n)
{
    static const uint8_t pct[] = {0, 100, 50, 10, 90};
    uint32_t k = rng_below(rng, 7);
    struct dice d = {.rng = rng, .pct = k < ARRAY_N(pct) ? pct[k] : 0};
    d.first = k >= ARRAY_N(pct) ? rng_below(rng, n + 1) : 0; /* in order, up to some point */
    return d;
}

static bool dice_keep(struct dice *d, uint32_t i)
{
    return i < d->first || (d->pct != 0 && rng_chance(d->rng, d->pct));
}

/* node_lose: the power is gone: some unsynced sectors are there, each in any of its versions. */
static void node_lose(struct platter *p, struct node *n)
{
    struct dice d = dice_new(p->rng, n->dirty_n);
    for (uint32_t i = 0; i < n->dirty_n; i++) {
        bool keep = dice_keep(&d, i);
        if (keep)
            keep_sector(n, &n->dirty[i]);
        p->count.kept_sectors += keep;
        p->count.lost_sectors += !keep;
    }
    n->dirty_n = 0;
}

/* ---- names --------------------------------------------------------------------------------------------------------
 */

static struct name *names_find(struct names *s, const char *text)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].text, text) == 0)
            return &s->v[i];
    return NULL;
}

static void copy_name(char *out, const char *text)
{
    BUG_ON(*text == 0 || strlen(text) >= DISK_NAME_MAX || strchr(text, '/') != NULL);
    snprintf(out, DISK_NAME_MAX, "%s", text);
}

static void names_del(struct platter *p, struct names *s, struct name *at)
{
    struct node *n = at->node;
    *at = s->v[--s->n];
    node_drop(p, n);
}

/* names_put: `text` is the name of n now, whatever it was the name of before. */
static void names_put(struct platter *p, struct names *s, const char *text, struct node *n)
{
    n->refs++;
    struct name *old = names_find(s, text);
    if (old)
        names_del(p, s, old);
    s->v = more(p->mem, s->v, s->n, &s->cap, sizeof(*s->v));
    copy_name(s->v[s->n].text, text);
    s->v[s->n++].node = n;
}

static void names_clear(struct platter *p, struct names *s)
{
    while (s->n)
        names_del(p, s, &s->v[s->n - 1]);
}

static void names_copy(struct platter *p, struct names *to, const struct names *from)
{
    for (uint32_t i = 0; i < from->n; i++)
        from->v[i].node->refs++;
    names_clear(p, to);
    for (uint32_t i = 0; i < from->n; i++) {
        names_put(p, to, from->v[i].text, from->v[i].node);
        from->v[i].node->refs--;
    }
}

/* do_change: to a set of names. A change whose node has not the expected name any more (the one before it was lost)
 * does what is left of it. */
static void do_change(struct platter *p, struct names *s, const struct change *c)
{
    struct name *from = c->kind == CHANGE_CREATE ? NULL : names_find(s, c->from);
    c->node->refs++;
    if (from && from->node == c->node)
        names_del(p, s, from);
    if (c->kind != CHANGE_REMOVE)
        names_put(p, s, c->to, c->node);
    node_drop(p, c->node);
}

static void note_change(struct platter *p, enum change_kind kind, struct node *n, const char *from, const char *to)
{
    p->change = more(p->mem, p->change, p->change_n, &p->change_cap, sizeof(*p->change));
    struct change *c = &p->change[p->change_n++];
    *c = (struct change){.kind = (uint8_t)kind, .node = n};
    n->refs++;
    if (from)
        copy_name(c->from, from);
    if (to)
        copy_name(c->to, to);
    do_change(p, &p->now, c);
}

static void forget_changes(struct platter *p)
{
    while (p->change_n)
        node_drop(p, p->change[--p->change_n].node);
}

uint64_t platter_used(const struct platter *p)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < p->now.n; i++)
        used += p->now.v[i].node->size;
    for (uint32_t i = 0; i < p->durable.n; i++) {
        bool has_name = false;
        for (uint32_t k = 0; k < p->now.n; k++)
            has_name |= p->now.v[k].node == p->durable.v[i].node;
        used += has_name ? 0 : p->durable.v[i].node->size;
    }
    return used;
}

/* ---- trouble ------------------------------------------------------------------------------------------------------
 */

static enum err say(struct disk_sim *d, enum err e, const char *why)
{
    snprintf(d->disk.why, sizeof(d->disk.why), "%s", why);
    d->p->count.refused++;
    return e;
}

/* strikes: is this the one that fails? */
static bool strikes(struct platter *p, enum platter_fault f)
{
    return p->fault[f] != 0 && --p->fault[f] == 0;
}

enum fate { FATE_DONE, FATE_PARTLY, FATE_NOT };

/* fate_of: a change to the platter. */
static enum fate fate_of(struct disk_sim *d)
{
    struct platter *p = d->p;
    if (d->is_dead)
        return FATE_NOT;
    if (p->dies_in == 0)
        return FATE_DONE;
    if (--p->dies_in != 0)
        return FATE_DONE;
    LIST_EACH(&p->disks, node)
    LIST_ITEM(node, struct disk_sim, all)->is_dead = true;
    return FATE_PARTLY;
}

/* ---- disk_ops -----------------------------------------------------------------------------------------------------
 */

static enum err sim_lock(struct disk *disk)
{
    struct disk_sim *d = ours(disk);
    if (d->is_dead)
        return say(d, ERR_IO, "the power is gone");
    if (d->p->locked_by)
        return say(d, ERR_EXISTS, "somebody else has it");
    d->p->locked_by = d;
    return ERR_OK;
}

static void sim_unlock(struct disk *disk)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(!d->is_dead && d->p->locked_by != d);
    if (d->p->locked_by == d)
        d->p->locked_by = NULL;
}

static enum err sim_list(struct disk *disk, enum err (*fn)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    struct disk_sim *d = ours(disk);
    struct names *s = &d->p->now;
    if (d->is_dead)
        return say(d, ERR_IO, "the power is gone");
    uint32_t start = s->n ? rng_below(d->p->rng, s->n) : 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const struct name *at = &s->v[(start + i) % s->n];
        enum err e = fn(ctx, at->text, at->node->size);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static struct disk_file *file_new(struct disk_sim *d, struct node *n, bool may_write)
{
    struct sim_file *f = mem_zalloc(d->p->mem, sizeof(*f));
    BUG_ON(f == NULL);
    f->file.size = n->size;
    f->node = n;
    f->may_write = may_write;
    n->refs++;
    d->open_n++;
    return &f->file;
}

static enum err sim_create(struct disk *disk, const char *name, uint64_t size, struct disk_file **out)
{
    struct disk_sim *d = ours(disk);
    struct platter *p = d->p;
    BUG_ON(!d->is_dead && p->locked_by != d);
    enum fate fate = fate_of(d);
    if (fate == FATE_NOT)
        return say(d, ERR_IO, "the power is gone");
    if (names_find(&p->now, name))
        return say(d, ERR_EXISTS, "there is such a file");
    uint64_t used = platter_used(p);
    if (strikes(p, PLATTER_FAIL_CREATE) || used > p->capacity || size > p->capacity - used)
        return say(d, ERR_FULL, "no space left");
    p->count.creates++;
    bool is_whole = fate == FATE_DONE;
    note_change(p, CHANGE_CREATE, node_new(p, is_whole ? size : rng_below(p->rng, (uint32_t)size + 1)), NULL, name);
    if (!is_whole)
        return say(d, ERR_IO, "the power is gone");
    *out = file_new(d, names_find(&p->now, name)->node, true);
    return ERR_OK;
}

static enum err sim_open(struct disk *disk, const char *name, bool may_write, struct disk_file **out)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(!d->is_dead && may_write && d->p->locked_by != d);
    if (d->is_dead)
        return say(d, ERR_IO, "the power is gone");
    struct name *at = names_find(&d->p->now, name);
    if (at == NULL)
        return say(d, ERR_NOT_FOUND, "no such file");
    *out = file_new(d, at->node, may_write);
    return ERR_OK;
}

static void sim_close(struct disk *disk, struct disk_file *file)
{
    struct disk_sim *d = ours(disk);
    struct sim_file *f = CONTAINER_OF(file, struct sim_file, file);
    BUG_ON(d->open_n == 0);
    d->open_n--;
    node_drop(d->p, f->node);
    mem_free(d->p->mem, f);
}

static enum err sim_read(struct disk *disk, struct disk_file *file, uint64_t off, void *buf, size_t n)
{
    struct disk_sim *d = ours(disk);
    const struct node *node = CONTAINER_OF(file, struct sim_file, file)->node;
    if (d->is_dead)
        return say(d, ERR_IO, "the power is gone");
    if (off > node->size || n > node->size - off)
        return say(d, ERR_IO, "behind the end of the file");
    if (strikes(d->p, PLATTER_FAIL_READ))
        return say(d, ERR_IO, "a bad sector");
    d->p->count.reads++;
    if (n)
        memcpy(buf, node->now + off, n);
    return ERR_OK;
}

static enum err sim_write(struct disk *disk, struct disk_file *file, uint64_t off, const void *buf, size_t n)
{
    struct disk_sim *d = ours(disk);
    struct platter *p = d->p;
    struct sim_file *f = CONTAINER_OF(file, struct sim_file, file);
    BUG_ON(!f->may_write || off > f->node->size || n > f->node->size - off);
    BUG_ON(!d->is_dead && (p->locked_by != d || f->node->has_failed));
    enum fate fate = fate_of(d);
    if (fate == FATE_NOT)
        return say(d, ERR_IO, "the power is gone");
    bool fails = strikes(p, PLATTER_FAIL_WRITE);
    size_t some = fails || fate == FATE_PARTLY ? rng_below(p->rng, (uint32_t)n + 1) : n;
    p->count.writes++;
    p->count.written_bytes += some;
    node_write(p, f->node, off, buf, some);
    f->node->has_failed |= fails;
    return fails || fate == FATE_PARTLY ? say(d, ERR_IO, "the write failed") : ERR_OK;
}

static enum err sim_sync(struct disk *disk, struct disk_file *file)
{
    struct disk_sim *d = ours(disk);
    struct sim_file *f = CONTAINER_OF(file, struct sim_file, file);
    BUG_ON(!f->may_write || (!d->is_dead && (d->p->locked_by != d || f->node->has_lost)));
    enum fate fate = fate_of(d);
    if (fate != FATE_DONE)
        return say(d, ERR_IO, "the power is gone"); /* its sectors are up to the crash */
    d->p->count.syncs++;
    if (strikes(d->p, PLATTER_FAIL_SYNC)) {
        node_lose(d->p, f->node); /* readers still see it, but it is not on the disk and nobody will bring it there */
        f->node->has_failed = f->node->has_lost = true; /* the next one might say that all is well */
        return say(d, ERR_IO, "the sync failed");
    }
    node_sync(f->node);
    return ERR_OK;
}

static enum err sim_rename(struct disk *disk, const char *from, const char *to)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(!d->is_dead && d->p->locked_by != d);
    enum fate fate = fate_of(d);
    if (fate != FATE_DONE)
        return say(d, ERR_IO, "the power is gone");
    struct name *at = names_find(&d->p->now, from);
    if (at == NULL)
        return say(d, ERR_NOT_FOUND, "no such file");
    d->p->count.renames++;
    if (strcmp(from, to) != 0)
        note_change(d->p, CHANGE_RENAME, at->node, from, to);
    return ERR_OK;
}

static enum err sim_remove(struct disk *disk, const char *name)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(!d->is_dead && d->p->locked_by != d);
    if (fate_of(d) != FATE_DONE)
        return say(d, ERR_IO, "the power is gone");
    struct name *at = names_find(&d->p->now, name);
    if (at == NULL)
        return say(d, ERR_NOT_FOUND, "no such file");
    d->p->count.removes++;
    note_change(d->p, CHANGE_REMOVE, at->node, name, NULL);
    return ERR_OK;
}

static enum err sim_sync_names(struct disk *disk)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(!d->is_dead && d->p->locked_by != d);
    if (fate_of(d) != FATE_DONE)
        return say(d, ERR_IO, "the power is gone");
    names_copy(d->p, &d->p->durable, &d->p->now);
    forget_changes(d->p);
    return ERR_OK;
}

static uint64_t sim_free_bytes(struct disk *disk)
{
    const struct platter *p = ours(disk)->p;
    uint64_t used = platter_used(p);
    if (p->capacity == UINT64_MAX)
        return UINT64_MAX;
    return used < p->capacity ? p->capacity - used : 0;
}

static void sim_destroy(struct disk *disk)
{
    struct disk_sim *d = ours(disk);
    BUG_ON(d->open_n != 0 || d->p->locked_by == d);
    list_del(&d->all);
    d->p->disks_n--;
    mem_free(d->p->mem, d);
}

static const struct disk_ops ops_sim = {
    .name = "sim",
    .lock = sim_lock,
    .unlock = sim_unlock,
    .list = sim_list,
    .create = sim_create,
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .rename = sim_rename,
    .remove = sim_remove,
    .sync_names = sim_sync_names,
    .free_bytes = sim_free_bytes,
    .destroy = sim_destroy,
};

struct disk *disk_sim_new(struct platter *p)
{
    struct disk_sim *d = mem_zalloc(p->mem, sizeof(*d));
    BUG_ON(d == NULL);
    d->disk.ops = &ops_sim;
    d->p = p;
    list_push(&p->disks, &d->all);
    p->disks_n++;
    return &d->disk;
}

/* ---- platter ------------------------------------------------------------------------------------------------------
 */

struct platter *platter_new(struct mem *mem, struct rng *rng, uint64_t capacity)
{
    struct platter *p = mem_zalloc(mem, sizeof(*p));
    BUG_ON(p == NULL);
    p->mem = mem;
    p->rng = rng;
    p->capacity = capacity;
    list_init(&p->disks);
    return p;
}

void platter_free(struct platter *p)
{
    if (p == NULL)
        return;
    BUG_ON(p->disks_n != 0);
    names_clear(p, &p->now);
    names_clear(p, &p->durable);
    forget_changes(p);
    mem_free(p->mem, p->now.v);
    mem_free(p->mem, p->durable.v);
    mem_free(p->mem, p->change);
    mem_free(p->mem, p);
}

/* lose_names: some of the changes that were not synced are there. */
static void lose_names(struct platter *p)
{
    struct dice d = dice_new(p->rng, p->change_n);
    for (uint32_t i = 0; i < p->change_n; i++)
        if (dice_keep(&d, i))
            do_change(p, &p->durable, &p->change[i]);
    forget_changes(p);
    names_copy(p, &p->now, &p->durable);
}

/* settle_node: once per node, though it may have two names. */
static void settle_node(struct platter *p, struct node *n, enum platter_crash how)
{
    if (how == PLATTER_POWER)
        node_lose(p, n);
    else
        node_sync(n);
    if (n->size)
        memcpy(how == PLATTER_POWER ? n->now : n->durable, how == PLATTER_POWER ? n->durable : n->now, n->size);
    n->has_failed = n->has_lost = false;
}

void platter_crash(struct platter *p, enum platter_crash how)
{
    p->count.crashes++;
    p->dies_in = 0;
    memset(p->fault, 0, sizeof(p->fault));
    p->locked_by = NULL;
    LIST_EACH(&p->disks, node)
    LIST_ITEM(node, struct disk_sim, all)->is_dead = true;
    if (how == PLATTER_POWER) {
        lose_names(p);
    } else {
        names_copy(p, &p->durable, &p->now);
        forget_changes(p);
    }
    for (uint32_t i = 0; i < p->now.n; i++)
        settle_node(p, p->now.v[i].node, how);
}

void platter_dies_in(struct platter *p, uint32_t n)
{
    p->dies_in = n + 1;
}

void platter_fail(struct platter *p, enum platter_fault f, uint32_t n)
{
    p->fault[f] = n;
}

void platter_set_capacity(struct platter *p, uint64_t capacity)
{
    p->capacity = capacity;
}

const struct platter_count *platter_count(const struct platter *p)
{
    return &p->count;
}

bool platter_flip(struct platter *p, const char *name, uint64_t bit)
{
    struct name *at = names_find(&p->now, name);
    if (at == NULL || bit / 8 >= at->node->size)
        return false;
    at->node->now[bit / 8] ^= (uint8_t)(1u << bit % 8);
    at->node->durable[bit / 8] ^= (uint8_t)(1u << bit % 8);
    return true;
}
