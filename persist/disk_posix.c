/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_posix.c: persist/disk.h on a directory of a real file system.
 *
 *     struct disk_posix { directory fd · lock fd · file[1024] {fd, size} }
 *
 * Everything is opened relative to the directory's descriptor, so renaming or replacing the directory while the broker
 * runs cannot mix two logs. The lock is flock(2) on DIR/lock: it ends with the process, however that ends; the file
 * holds the process number, for whoever wonders who it is.
 *
 * Invariants
 *   1. A slot of file[] is free exactly when its fd is -1; slots and `why` are changed under the mutex only.
 *   2. What create returns has all its blocks written and synced; nothing is left of one that failed.
 *   3. A write is whole or an error; nothing is retried but what the system interrupted before it did anything.
 *   4. Read only: nothing is made, locked or written.
 * Cost    a system call per call. create writes the file once (DEPS.md: then fdatasync need not write block maps).
 * Thread  any but lock, unlock and list; one file by one thread, but for read (pread has no position to share).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/mem.h"
#include "persist/disk.h"

#define LOCK_NAME "lock"

enum { FILES_MAX = 1024, ZEROS = 65536 };

static const uint8_t zeros[ZEROS];

struct posix_file {
    struct disk_file file; /* first: what the others see */
    int fd;                /* -1: free */
};

/* owner: who made it; freed by destroy */
struct disk_posix {
    struct disk disk; /* first */
    struct mem *mem;
    pthread_mutex_t mutex; /* of `why` and of taking and giving slots */
    int dir, lock;         /* -1: not open */
    bool read_only;
    struct posix_file file[FILES_MAX];
    char path[];
};

static struct disk_posix *self_of(struct disk *d)
{
    return CONTAINER_OF(d, struct disk_posix, disk);
}

static int fd_of(const struct disk_file *f)
{
    return ((const struct posix_file *)(const void *)f)->fd;
}

static PRINTF_LIKE(2, 3) void because(struct disk *d, const char *fmt, ...)
{
    struct disk_posix *p = self_of(d);
    va_list args;
    va_start(args, fmt);
    pthread_mutex_lock(&p->mutex);
    vsnprintf(d->why, sizeof(d->why), fmt, args);
    pthread_mutex_unlock(&p->mutex);
    va_end(args);
}

/* failed: errno as an error of ours, with the system's words in d->why. */
static enum err failed(struct disk *d, const char *what, const char *name)
{
    int number = errno;
    char text[128];
    because(d, "%s %s: %s", what, name, strerror_r(number, text, sizeof(text)));
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case ENOMEM:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

/* ---- the directory --------------------------------------------------------------------------------------------- */

/* make_dir: p->path, and its parent, if they are missing. */
static enum err make_dir(struct disk_posix *p)
{
    if (mkdir(p->path, 0700) == 0 || errno == EEXIST)
        return ERR_OK;
    if (errno != ENOENT)
        return failed(&p->disk, "make", p->path);
    size_t n = strlen(p->path);
    if (n == 0)
        return failed(&p->disk, "make", "\"\"");
    while (n > 1 && p->path[n - 1] == '/')
        n--;
    while (n > 1 && p->path[n - 1] != '/')
        n--;
    char cut = p->path[n - 1];
    p->path[n - 1] = '\0';
    int rc = mkdir(p->path, 0700);
    p->path[n - 1] = cut;
    if ((rc == -1 && errno != EEXIST) || mkdir(p->path, 0700) == -1)
        return failed(&p->disk, "make", p->path);
    return ERR_OK;
}

static void close_dir(struct disk_posix *p)
{
    if (p->lock != -1)
        close(p->lock);
    if (p->dir != -1)
        close(p->dir);
    p->lock = p->dir = -1;
}

static enum err say_who(struct disk_posix *p)
{
    char text[32] = "";
    ssize_t n = pread(p->lock, text, sizeof(text) - 1, 0);
    size_t digits = 0;
    while (n > 0 && digits < (size_t)n && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    text[digits] = '\0';
    because(&p->disk, "used by process %s", digits != 0 ? text : "?");
    return ERR_EXISTS;
}

static enum err take_lock(struct disk_posix *p)
{
    p->lock = openat(p->dir, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (p->lock == -1)
        return failed(&p->disk, "open", LOCK_NAME);
    if (flock(p->lock, LOCK_EX | LOCK_NB) == -1)
        return errno == EWOULDBLOCK ? say_who(p) : failed(&p->disk, "lock", LOCK_NAME);
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(p->lock, 0) == -1 || pwrite(p->lock, text, (size_t)n, 0) != n) {
        /* A full disk must not keep the broker from starting: the number is only for people. */
        if (errno != ENOSPC && errno != EDQUOT)
            return failed(&p->disk, "write", LOCK_NAME);
    }
    return ERR_OK;
}

static enum err posix_lock(struct disk *d)
{
    struct disk_posix *p = self_of(d);
    enum err e = p->read_only ? ERR_OK : make_dir(p);
    if (e != ERR_OK)
        return e;
    p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->dir == -1)
        return failed(d, "open", p->path);
    e = p->read_only ? ERR_OK : take_lock(p);
    if (e != ERR_OK)
        close_dir(p);
    return e;
}

static void posix_unlock(struct disk *d)
{
    struct disk_posix *p = self_of(d);
    if (p->lock != -1)
        (void)!ftruncate(p->lock, 0);
    close_dir(p);
}

static enum err list_one(struct disk *d, const char *name, enum err (*fn)(void *ctx, const char *name, uint64_t size),
                         void *ctx)
{
    struct stat st;
    if (strlen(name) >= DISK_NAME_MAX)
        return ERR_OK;
    if (fstatat(self_of(d)->dir, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
        return errno == ENOENT ? ERR_OK : failed(d, "look at", name);
    return S_ISREG(st.st_mode) ? fn(ctx, name, (uint64_t)st.st_size) : ERR_OK;
}

static enum err posix_list(struct disk *d, enum err (*fn)(void *ctx, const char *name, uint64_t size), void *ctx)
{
    int fd = openat(self_of(d)->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        enum err e = failed(d, "list", self_of(d)->path);
        if (fd != -1)
            close(fd);
        return e;
    }
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            e = errno != 0 ? failed(d, "list", self_of(d)->path) : ERR_OK;
            break;
        }
        e = list_one(d, entry->d_name, fn, ctx);
    }
    closedir(dir);
    return e;
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

/* slot_take: a free slot gets fd; NULL: none is left. */
static struct posix_file *slot_take(struct disk_posix *p, int fd, uint64_t size)
{
    struct posix_file *found = NULL;
    pthread_mutex_lock(&p->mutex);
    for (size_t i = 0; found == NULL && i < FILES_MAX; i++) {
        if (p->file[i].fd == -1)
            found = &p->file[i];
    }
    if (found != NULL)
        *found = (struct posix_file){.file.size = size, .fd = fd};
    pthread_mutex_unlock(&p->mutex);
    if (found == NULL)
        because(&p->disk, "%d files are open already", FILES_MAX);
    return found;
}

static void posix_close(struct disk *d, struct disk_file *f)
{
    struct disk_posix *p = self_of(d);
    struct posix_file *file = (struct posix_file *)(void *)f;
    BUG_ON(file < p->file || file >= p->file + FILES_MAX || file->fd == -1);
    close(file->fd);
    pthread_mutex_lock(&p->mutex);
    file->fd = -1;
    pthread_mutex_unlock(&p->mutex);
}

static bool write_all(int fd, const void *buf, size_t n, uint64_t off)
{
    const uint8_t *at = buf;
    while (n != 0) {
        ssize_t wrote = pwrite(fd, at, n, (off_t)off);
        if (wrote == -1 && errno == EINTR)
            continue;
        if (wrote <= 0) {
            if (wrote == 0)
                errno = EIO;
            return false;
        }
        at += wrote;
        off += (uint64_t)wrote;
        n -= (size_t)wrote;
    }
    return true;
}

static bool sync_all(int fd, bool names)
{
    int rc;
    do {
        rc = names ? fsync(fd) : fdatasync(fd);
    } while (rc == -1 && errno == EINTR);
    return rc == 0;
}

/* fill: size bytes of zeros, written, so that the blocks are there and known to be written. */
static bool fill(int fd, uint64_t size)
{
    if (fallocate(fd, 0, 0, (off_t)size) == -1 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR)
        return false; /* no space is found before anything was written, where the file system can */
    for (uint64_t off = 0; off < size; off += ZEROS) {
        if (!write_all(fd, zeros, (size_t)MIN(size - off, (uint64_t)ZEROS), off))
            return false;
    }
    return fsync(fd) == 0; /* the size, too */
}

static enum err posix_create(struct disk *d, const char *name, uint64_t size, struct disk_file **out)
{
    struct disk_posix *p = self_of(d);
    BUG_ON(p->read_only || size == 0 || strchr(name, '/') != NULL);
    int fd = openat(p->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1)
        return failed(d, "make", name);
    enum err e = fill(fd, size) ? ERR_OK : failed(d, "make", name);
    if (e == ERR_OK) {
        struct posix_file *file = slot_take(p, fd, size);
        if (file != NULL) {
            *out = &file->file;
            return ERR_OK;
        }
        e = ERR_FULL;
    }
    close(fd);
    unlinkat(p->dir, name, 0);
    return e;
}

static enum err posix_open(struct disk *d, const char *name, bool may_write, struct disk_file **out)
{
    struct disk_posix *p = self_of(d);
    struct stat st;
    BUG_ON((p->read_only && may_write) || strchr(name, '/') != NULL);
    int fd = openat(p->dir, name, (may_write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd == -1)
        return failed(d, "open", name);
    if (fstat(fd, &st) == -1) {
        enum err e = failed(d, "look at", name);
        close(fd);
        return e;
    }
    struct posix_file *file = slot_take(p, fd, (uint64_t)st.st_size);
    if (file == NULL) {
        close(fd);
        return ERR_FULL;
    }
    *out = &file->file;
    return ERR_OK;
}

static enum err posix_read(struct disk *d, struct disk_file *f, uint64_t off, void *buf, size_t n)
{
    uint8_t *at = buf;
    while (n != 0) {
        ssize_t got = pread(fd_of(f), at, n, (off_t)off);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1) {
            (void)failed(d, "read", "a segment");
            return ERR_IO;
        }
        if (got == 0) {
            because(d, "read a segment: it is shorter than it was");
            return ERR_IO;
        }
        at += got;
        off += (uint64_t)got;
        n -= (size_t)got;
    }
    return ERR_OK;
}

static enum err posix_write(struct disk *d, struct disk_file *f, uint64_t off, const void *buf, size_t n)
{
    BUG_ON(off > f->size || n > f->size - off);
    return write_all(fd_of(f), buf, n, off) ? ERR_OK : failed(d, "write", "a segment");
}

static enum err posix_sync(struct disk *d, struct disk_file *f)
{
    return sync_all(fd_of(f), false) ? ERR_OK : failed(d, "sync", "a segment");
}

static enum err posix_rename(struct disk *d, const char *from, const char *to)
{
    int dir = self_of(d)->dir;
    BUG_ON(self_of(d)->read_only || strchr(from, '/') != NULL || strchr(to, '/') != NULL);
    return renameat(dir, from, dir, to) == 0 ? ERR_OK : failed(d, "rename", from);
}

static enum err posix_remove(struct disk *d, const char *name)
{
    BUG_ON(self_of(d)->read_only || strchr(name, '/') != NULL);
    return unlinkat(self_of(d)->dir, name, 0) == 0 ? ERR_OK : failed(d, "remove", name);
}

static enum err posix_sync_names(struct disk *d)
{
    return sync_all(self_of(d)->dir, true) ? ERR_OK : failed(d, "sync", self_of(d)->path);
}

static uint64_t posix_free_bytes(struct disk *d)
{
    struct statvfs v;
    if (self_of(d)->dir == -1 || fstatvfs(self_of(d)->dir, &v) == -1)
        return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

static void posix_destroy(struct disk *d)
{
    struct disk_posix *p = self_of(d);
    for (size_t i = 0; i < FILES_MAX; i++)
        BUG_ON(p->file[i].fd != -1);
    BUG_ON(p->lock != -1);
    close_dir(p); /* read only: unlock may have been left out */
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->mem, p);
}

static const struct disk_ops posix_ops = {
    .name = "posix",
    .lock = posix_lock,
    .unlock = posix_unlock,
    .list = posix_list,
    .create = posix_create,
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .rename = posix_rename,
    .remove = posix_remove,
    .sync_names = posix_sync_names,
    .free_bytes = posix_free_bytes,
    .destroy = posix_destroy,
};

struct disk *disk_posix_new(struct mem *mem, const char *path, bool read_only)
{
    size_t n = strlen(path) + 1;
    struct disk_posix *p = mem_zalloc(mem, sizeof(*p) + n);
    if (p == NULL)
        return NULL;
    p->disk.ops = &posix_ops;
    p->mem = mem;
    p->dir = p->lock = -1;
    p->read_only = read_only;
    for (size_t i = 0; i < FILES_MAX; i++)
        p->file[i].fd = -1;
    memcpy(p->path, path, n);
    pthread_mutex_init(&p->mutex, NULL);
    return &p->disk;
}
