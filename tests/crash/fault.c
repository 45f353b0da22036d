/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c: a library to preload into the broker, that stands between it and one directory of its files. It makes them
 * slow, makes them fail, and writes down what was done to them, in order.
 *
 *     broker ── pwrite, fdatasync, rename, ... ──► fault.c ──► the C library        LD_PRELOAD=libweir_fault.so
 *                                                    │  ▲                           FAULT_DIR=/the/directory
 *                       FAULT_RECORD (a file) ◄──────┘  └────── FAULT_CONTROL (a file, struct control, mapped)
 *                       what was done, for replay               what is to go wrong; may change at any time
 *
 * The record is a row of { u8 kind, u8 0[3], u32 name_n, u64 file, u64 off, u64 n } · name[name_n] · data, where data
 * is there only for kind 'W' (n bytes). A test may append its own marks ('M') to the same file, with one write each:
 * all writers use O_APPEND, so what stands in front of a mark was done before it.
 *
 *     'C' created, name · 'O' opened, name · 'W' written · 'Z' n zeros written at off · 'T' cut to n · 'S' synced
 *     'R' renamed, name is "from\0to" · 'U' removed, name · 'D' the directory synced
 *
 * Invariants
 *   1. An operation is written down after it has happened and before its caller hears of it: whatever the broker tells
 *      anybody because of a sync stands behind that sync.
 *   2. A file that is not below FAULT_DIR is never touched, delayed or written down.
 *   3. What was failed on purpose was not done at all, and is not in the record.
 * Cost    a look at a table per call.
 * Thread  any: atomics and single writes, no lock.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FD_N 65536

/* What the test sets; crash.py has the same table. */
enum {
    FAIL_WRITE = 1, /* of something else than zeros */
    FAIL_GROW = 2,  /* writes and allocations behind the end of the file */
    FAIL_SYNC = 4,  /* of a file that got something else than zeros since it was opened */
    FAIL_CREATE = 8,
    FAIL_NAME = 16, /* rename, unlink */
    FAIL_DIR_SYNC = 32,
    FAIL_ZEROS = 64, /* writes of zeros, and syncs of files that got only such: files that are made in advance */
};
struct control {
    _Atomic int64_t sync_delay_us;
    _Atomic int64_t fail_ops;      /* FAIL_... together */
    _Atomic int64_t fail_after;    /* so many of these succeed first */
    _Atomic int64_t fail_errno;    /* positive */
    _Atomic int64_t fail_for_good; /* 0: one fails; else all from then on */
    _Atomic int64_t short_bytes;   /* > 0: a write takes no more than that at once */
    /* what has happened so far */
    _Atomic int64_t write_n /* not of zeros */, sync_n, create_n, failed_n, short_n;
};

struct entry {
    uint8_t kind, zero[3];
    uint32_t name_n;
    uint64_t file, off, n;
};

static struct control *control;
static int record = -1;
static char root[PATH_MAX];
static size_t root_n;
/* Of each open file: its inode, if it is one of ours; DIRECTORY for the directory itself; 0 for others. */
static _Atomic uint64_t table[FD_N];
static _Atomic bool has_data[FD_N]; /* something else than zeros was written to it */
#define DIRECTORY UINT64_MAX

/* The functions behind ours. */
static struct {
    int (*open)(const char *, int, ...);
    int (*openat)(int, const char *, int, ...);
    int (*close)(int);
    ssize_t (*write)(int, const void *, size_t);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    ssize_t (*pwritev)(int, const struct iovec *, int, off_t);
    ssize_t (*writev)(int, const struct iovec *, int);
    int (*fdatasync)(int);
    int (*fsync)(int);
    int (*ftruncate)(int, off_t);
    int (*fallocate)(int, int, off_t, off_t);
    int (*posix_fallocate)(int, off_t, off_t);
    int (*rename)(const char *, const char *);
    int (*renameat)(int, const char *, int, const char *);
    int (*renameat2)(int, const char *, int, const char *, unsigned);
    int (*unlink)(const char *);
    int (*unlinkat)(int, const char *, int);
} real;

static _Noreturn void stop(const char *what)
{
    dprintf(2, "fault: %s: %s\n", what, strerror(errno));
    _exit(98);
}

/* find: the next function of that name; a void pointer may not be converted to one, so its bytes are copied. */
static void find(void *out, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        stop(name);
    memcpy(out, &found, sizeof(found));
}

static void find_all(void)
{
    find(&real.open, "open");
    find(&real.openat, "openat");
    find(&real.close, "close");
    find(&real.write, "write");
    find(&real.pwrite, "pwrite");
    find(&real.pwritev, "pwritev");
    find(&real.writev, "writev");
    find(&real.fdatasync, "fdatasync");
    find(&real.fsync, "fsync");
    find(&real.ftruncate, "ftruncate");
    find(&real.fallocate, "fallocate");
    find(&real.posix_fallocate, "posix_fallocate");
    find(&real.rename, "rename");
    find(&real.renameat, "renameat");
    find(&real.renameat2, "renameat2");
    find(&real.unlink, "unlink");
    find(&real.unlinkat, "unlinkat");
}

__attribute__((constructor)) static void begin(void)
{
    if (real.open != NULL)
        return;
    find_all();
    const char *dir = getenv("FAULT_DIR"), *path = getenv("FAULT_CONTROL"), *log = getenv("FAULT_RECORD");
    if (dir == NULL)
        return;
    if (realpath(dir, root) == NULL)
        stop(dir);
    root_n = strlen(root);
    if (path != NULL) {
        int fd = real.open(path, O_RDWR | O_CLOEXEC);
        if (fd == -1)
            stop(path);
        void *at = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            stop(path);
        control = at;
        real.close(fd);
    }
    if (log != NULL) {
        int fd = real.open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        record = fd == -1 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 200); /* out of the way */
        if (record == -1)
            stop(log);
        real.close(fd);
    }
}

/* ---- what is ours ------------------------------------------------------------------------------------------------ */

static uint64_t get(int fd)
{
    begin();
    return fd >= 0 && fd < FD_N ? table[fd] : 0;
}

/* inside: the part of an absolute path behind FAULT_DIR ("" for itself); NULL: it is elsewhere. */
static const char *inside(const char *path)
{
    if (root_n == 0 || strncmp(path, root, root_n) != 0 || (path[root_n] != 0 && path[root_n] != '/'))
        return NULL;
    return path[root_n] == '/' ? path + root_n + 1 : path + root_n;
}

/* name_of: where `path`, relative to dir_fd, is, below FAULT_DIR, into out[PATH_MAX]; NULL: elsewhere. The directory of
 * it must exist. */
static const char *name_of(int dir_fd, const char *path, char *out)
{
    char folder[PATH_MAX], joined[PATH_MAX];
    folder[0] = 0;
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", dir_fd);
        ssize_t n = readlink(dir_fd == AT_FDCWD ? "/proc/self/cwd" : link, folder, sizeof(folder) - 1);
        if (n < 0)
            return NULL;
        folder[n] = 0;
    }
    if ((size_t)snprintf(joined, sizeof(joined), "%s/%s", folder, path) >= sizeof(joined))
        return NULL;
    char *last = strrchr(joined, '/');
    *last = 0;
    if (realpath(last == joined ? "/" : joined, out) == NULL)
        return NULL;
    size_t n = strlen(out);
    if (strcmp(last + 1, ".") != 0 && (size_t)snprintf(out + n, PATH_MAX - n, "/%s", last + 1) >= PATH_MAX - n)
        return NULL;
    return inside(out);
}

static void note(uint8_t kind, uint64_t file, uint64_t off, uint64_t n, const char *name, size_t name_n,
                 const void *data)
{
    struct entry e = {.kind = kind, .name_n = (uint32_t)name_n, .file = file, .off = off, .n = n};
    struct iovec part[3] = {
        {&e, sizeof(e)}, {(void *)(uintptr_t)name, name_n}, {(void *)(uintptr_t)data, data != NULL ? n : 0}};
    if (record == -1)
        return;
    int before = errno;
    if (real.writev(record, part, 3) != (ssize_t)(sizeof(e) + name_n + part[2].iov_len))
        stop("the record cannot be written");
    errno = before;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return n > 0 && p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void note_write(int fd, off_t off, const void *data, ssize_t n)
{
    if (n > 0 && record != -1)
        note(is_zero(data, (size_t)n) ? 'Z' : 'W', get(fd), (uint64_t)off, (uint64_t)n, NULL, 0,
             is_zero(data, (size_t)n) ? NULL : data);
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static bool strikes(int64_t op)
{
    if (control == NULL || (control->fail_ops & op) == 0)
        return false;
    int64_t left = atomic_fetch_sub(&control->fail_after, 1);
    if (left > 0 || (left < 0 && control->fail_for_good == 0))
        return false;
    control->failed_n++;
    errno = (int)control->fail_errno;
    return true;
}

static off_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : 0;
}

static bool write_strikes(int fd, off_t off, const void *data, size_t n)
{
    if (control == NULL)
        return false;
    bool zeros = is_zero(data, n);
    control->write_n += !zeros;
    if (!zeros)
        has_data[fd] = true;
    return strikes(zeros ? FAIL_ZEROS : FAIL_WRITE) || (off + (off_t)n > size_of(fd) && strikes(FAIL_GROW));
}

/* shortened: how much of a write of n bytes is done. */
static size_t shortened(size_t n)
{
    if (control == NULL || control->short_bytes <= 0 || (uint64_t)control->short_bytes >= n)
        return n;
    control->short_n++;
    return (size_t)control->short_bytes;
}

static bool sync_strikes(int fd, uint64_t file)
{
    if (control == NULL)
        return false;
    control->sync_n++;
    int64_t us = control->sync_delay_us;
    if (us > 0)
        nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
    return strikes(file == DIRECTORY ? FAIL_DIR_SYNC : has_data[fd] ? FAIL_SYNC : FAIL_ZEROS);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int opened(int fd, const char *name, bool is_new, int flags)
{
    struct stat st;
    if (fd == -1 || fd >= FD_N)
        return fd;
    has_data[fd] = false;
    if (name == NULL || fstat(fd, &st) == -1) {
        table[fd] = 0;
        return fd;
    }
    table[fd] = S_ISDIR(st.st_mode) ? DIRECTORY : st.st_ino;
    if (!S_ISREG(st.st_mode))
        return fd;
    note(is_new ? 'C' : 'O', st.st_ino, 0, 0, name, strlen(name), NULL);
    if (!is_new && (flags & O_TRUNC) != 0)
        note('T', st.st_ino, 0, 0, NULL, 0, NULL);
    return fd;
}

static int open_at(int dir_fd, const char *path, int flags, mode_t mode)
{
    char buffer[PATH_MAX];
    begin();
    const char *name = root_n > 0 ? name_of(dir_fd, path, buffer) : NULL;
    bool is_new = name != NULL && (flags & O_CREAT) != 0 && faccessat(dir_fd, path, F_OK, 0) == -1;
    if (is_new && control != NULL) {
        control->create_n++;
        if (strikes(FAIL_CREATE))
            return -1;
    }
    return opened(real.openat(dir_fd, path, flags, mode), name, is_new, flags);
}

static mode_t mode_of(int flags, va_list list)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

#define EXPORT __attribute__((visibility("default")))

EXPORT int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dir_fd, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_at(dir_fd, path, flags, mode);
}

EXPORT int creat(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int close(int fd)
{
    begin();
    if (fd == record && fd != -1) {
        errno = EBADF;
        return -1;
    }
    if (fd >= 0 && fd < FD_N)
        table[fd] = 0;
    return real.close(fd);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t n, off_t off)
{
    if (get(fd) == 0)
        return real.pwrite(fd, data, n, off);
    if (write_strikes(fd, off, data, n))
        return -1;
    ssize_t done = real.pwrite(fd, data, shortened(n), off);
    note_write(fd, off, data, done);
    return done;
}

EXPORT ssize_t write(int fd, const void *data, size_t n)
{
    if (get(fd) == 0)
        return real.write(fd, data, n);
    off_t off = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? size_of(fd) : lseek(fd, 0, SEEK_CUR);
    if (write_strikes(fd, off, data, n))
        return -1;
    ssize_t done = real.write(fd, data, shortened(n));
    note_write(fd, off, data, done);
    return done;
}

/* writev and pwritev are allowed to write less than all: ours do one part at a time, unless there is nothing to do. */
EXPORT ssize_t pwritev(int fd, const struct iovec *part, int part_n, off_t off)
{
    if (get(fd) == 0)
        return real.pwritev(fd, part, part_n, off);
    ssize_t done = 0;
    for (int i = 0; i < part_n; i++) {
        ssize_t n = pwrite(fd, part[i].iov_base, part[i].iov_len, off + done);
        if (n == -1)
            return done > 0 ? done : -1;
        done += n;
        if ((size_t)n < part[i].iov_len)
            break;
    }
    return done;
}

EXPORT ssize_t writev(int fd, const struct iovec *part, int part_n)
{
    if (get(fd) == 0)
        return real.writev(fd, part, part_n);
    ssize_t done = 0;
    for (int i = 0; i < part_n; i++) {
        ssize_t n = write(fd, part[i].iov_base, part[i].iov_len);
        if (n == -1)
            return done > 0 ? done : -1;
        done += n;
        if ((size_t)n < part[i].iov_len)
            break;
    }
    return done;
}

static int synced(int fd, int (*how)(int))
{
    uint64_t file = get(fd);
    if (file == 0)
        return how(fd);
    if (sync_strikes(fd, file))
        return -1;
    int done = how(fd);
    if (done == 0)
        note(file == DIRECTORY ? 'D' : 'S', file, 0, 0, NULL, 0, NULL);
    return done;
}

EXPORT int fdatasync(int fd)
{
    begin();
    return synced(fd, real.fdatasync);
}

EXPORT int fsync(int fd)
{
    begin();
    return synced(fd, real.fsync);
}

EXPORT int ftruncate(int fd, off_t n)
{
    uint64_t file = get(fd);
    if (file != 0 && n > size_of(fd) && strikes(FAIL_GROW))
        return -1;
    int done = real.ftruncate(fd, n);
    if (file != 0 && done == 0)
        note('T', file, 0, (uint64_t)n, NULL, 0, NULL);
    return done;
}

EXPORT int fallocate(int fd, int mode, off_t off, off_t n)
{
    uint64_t file = get(fd);
    if (file == 0)
        return real.fallocate(fd, mode, off, n);
    off_t before = size_of(fd);
    if (off + n > before && strikes(FAIL_GROW))
        return -1;
    int done = real.fallocate(fd, mode, off, n);
    if (done == 0 && mode == FALLOC_FL_ZERO_RANGE)
        note('Z', file, (uint64_t)off, (uint64_t)n, NULL, 0, NULL);
    if (done == 0 && mode == 0 && off + n > before)
        note('T', file, 0, (uint64_t)(off + n), NULL, 0, NULL);
    return done;
}

EXPORT int posix_fallocate(int fd, off_t off, off_t n)
{
    uint64_t file = get(fd);
    if (file == 0)
        return real.posix_fallocate(fd, off, n);
    off_t before = size_of(fd);
    if (off + n > before && strikes(FAIL_GROW))
        return errno;
    int done = real.posix_fallocate(fd, off, n);
    if (done == 0 && off + n > before)
        note('T', file, 0, (uint64_t)(off + n), NULL, 0, NULL);
    return done;
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    char a[PATH_MAX], b[PATH_MAX], both[2 * PATH_MAX];
    begin();
    const char *old = name_of(from_fd, from, a), *new = name_of(to_fd, to, b);
    if ((old != NULL || new != NULL) && strikes(FAIL_NAME))
        return -1;
    int done = flags == 0 ? real.renameat(from_fd, from, to_fd, to) : real.renameat2(from_fd, from, to_fd, to, flags);
    if (done == 0 && old != NULL && new != NULL) {
        size_t n = strlen(old) + 1;
        memcpy(both, old, n);
        memcpy(both + n, new, strlen(new));
        note('R', 0, 0, 0, both, n + strlen(new), NULL);
    }
    return done;
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlinkat(int dir_fd, const char *path, int flags)
{
    char buffer[PATH_MAX];
    begin();
    const char *name = name_of(dir_fd, path, buffer);
    if (name != NULL && strikes(FAIL_NAME))
        return -1;
    int done = real.unlinkat(dir_fd, path, flags);
    if (done == 0 && name != NULL)
        note('U', 0, 0, 0, name, strlen(name), NULL);
    return done;
}

EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

/* On 64-bit systems the names with 64 are the same functions; a library or a fortified build may call them. */
#if defined(__LP64__)
EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));
EXPORT int openat64(int dir_fd, const char *path, int flags, ...) __attribute__((alias("openat")));
EXPORT int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));
EXPORT ssize_t pwrite64(int fd, const void *data, size_t n, off_t off) __attribute__((alias("pwrite")));
EXPORT ssize_t pwritev64(int fd, const struct iovec *part, int part_n, off_t off) __attribute__((alias("pwritev")));
EXPORT int ftruncate64(int fd, off_t n) __attribute__((alias("ftruncate")));
EXPORT int fallocate64(int fd, int mode, off_t off, off_t n) __attribute__((alias("fallocate")));
EXPORT int posix_fallocate64(int fd, off_t off, off_t n) __attribute__((alias("posix_fallocate")));
#endif

EXPORT int __open_2(const char *path, int flags);
EXPORT int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

EXPORT int __openat_2(int dir_fd, const char *path, int flags);
EXPORT int __openat_2(int dir_fd, const char *path, int flags)
{
    return open_at(dir_fd, path, flags, 0);
}
