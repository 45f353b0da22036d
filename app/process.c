/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c: what the program is to the operating system.
 *
 *     weir -d ─► fork ─┬─ parent: waits ◄──────────── pipe ◄─┐
 *                      └─ child: setsid, bind, read, drop ... ready ─► /dev/null, serves
 *
 * The fork comes first and the verdict later, because epoll, signalfd and threads do not survive a fork, while a port
 * in use has to be heard by whoever typed the command.
 *
 * Invariants
 *   1. The parent's exit code is 0 exactly when the child serves.
 *   2. After process_become, root cannot be had back.
 * Cost    nothing that counts.
 * Thread  one; before there are others.
 */
#include "app/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

void process_raise_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == -1 || r.rlim_cur == r.rlim_max)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r); /* if not, the listeners live with fewer */
}

/* verdict: the parent's part. */
_Noreturn static void verdict(int fd, pid_t child)
{
    char byte = 0;
    ssize_t n = -1;
    do {
        n = read(fd, &byte, 1);
    } while (n == -1 && errno == EINTR);
    if (n == 1)
        _exit(0);
    int status = 0;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR)
        continue;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

enum err process_background(int *out_fd)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) == -1)
        return ERR_IO;
    fflush(NULL); /* what waits in a buffer would be said twice */
    pid_t pid = fork();
    if (pid == -1) {
        close(fds[0]);
        close(fds[1]);
        return ERR_IO;
    }
    if (pid != 0) {
        close(fds[1]);
        verdict(fds[0], pid);
    }
    close(fds[0]);
    setsid(); /* cannot fail in a fresh child */
    *out_fd = fds[1];
    return ERR_OK;
}

void process_is_ready(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = STDIN_FILENO; null != -1 && i <= STDERR_FILENO; i++)
        dup2(null, i);
    if (null > STDERR_FILENO)
        close(null);
    ssize_t n = write(fd, "r", 1);
    UNUSED(n); /* a parent that was killed does not mind */
    close(fd);
}

enum err process_write_pid(const char *path, char *out_why, size_t cap)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd != -1 && write(fd, text, (size_t)n) == n && close(fd) != -1)
        return ERR_OK;
    snprintf(out_why, cap, "%s: cannot be written: %s; make its directory writable, or leave pid_file out", path,
             strerror(errno));
    return ERR_IO;
}

/* other_user: whom root is to be; NULL with ERR_OK: nobody else. */
static enum err other_user(const char *user, const struct passwd **out, char *out_why, size_t cap)
{
    *out = NULL;
    if (geteuid() != 0 || user == NULL || strcmp(user, "root") == 0)
        return ERR_OK;
    *out = getpwnam(user);
    if (*out != NULL)
        return ERR_OK;
    snprintf(out_why, cap, "there is no user \"%s\"; make one, or name another (\"nobody\")", user);
    return ERR_NOT_FOUND;
}

/* sync_parent: the name of path is durable. */
static bool sync_parent(const char *path)
{
    char parent[4096];
    int n = snprintf(parent, sizeof(parent), "%s/..", path);
    int fd = n < (int)sizeof(parent) ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool is_synced = fd != -1 && fsync(fd) != -1;
    if (fd != -1)
        close(fd);
    return is_synced;
}

enum err process_make_dir(const char *path, const char *user, char *out_why, size_t cap)
{
    const struct passwd *p;
    enum err e = other_user(user, &p, out_why, cap);
    if (e != ERR_OK)
        return e;
    bool is_made = mkdir(path, 0700) != -1;
    if (!is_made && errno == EEXIST)
        return ERR_OK;
    if (is_made && (p == NULL || chown(path, p->pw_uid, p->pw_gid) != -1) && sync_parent(path))
        return ERR_OK;
    snprintf(out_why, cap, "cannot be made: %s", strerror(errno));
    return ERR_IO;
}

enum err process_become(const char *user, char *out_why, size_t cap)
{
    const struct passwd *p;
    enum err e = other_user(user, &p, out_why, cap);
    if (p == NULL)
        return e;
    if (initgroups(p->pw_name, p->pw_gid) == -1 || setgid(p->pw_gid) == -1 || setuid(p->pw_uid) == -1) {
        snprintf(out_why, cap, "cannot become \"%s\": %s", user, strerror(errno));
        return ERR_IO;
    }
    BUG_ON(p->pw_uid != 0 && setuid(0) != -1); /* invariant 2 */
    return ERR_OK;
}
