/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.c: bytes that end at a forbidden page, and a look at how a mistake ends.
 *
 *     one mapping:   | head page: size |   filler  bytes[n] | PROT_NONE |
 *                                                  ^ result  ^ result + n
 *
 * Invariants
 *   1. result + n is the first byte of the forbidden page, also when n is 0 or a multiple of the page size.
 *   2. The head page is the page in front of the page that holds `result`; so guard_free finds it from `result` alone.
 *      (With n = 0 `result` lies in the forbidden page, whose page in front is the head page.)
 *   3. Once the bytes are in place the head page is made forbidden too, except while guard_free reads it: a read far in
 *      front of the buffer crashes as well.
 * Cost    (2 + ceil(n / page)) pages of address space per buffer; four system calls.
 * Thread  any; nothing is shared.
 */
#include "tests/support/guard.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct guard_head {
    size_t map_bytes;
    uint64_t magic; /* so that a stray pointer is told from ours */
};

#define GUARD_MAGIC 0x6472617567726957ull

static size_t page_bytes(void)
{
    long n = sysconf(_SC_PAGESIZE);
    BUG_ON(n <= 0);
    return (size_t)n;
}

uint8_t *guard_room(size_t n)
{
    size_t page = page_bytes();
    BUG_ON(n > SIZE_MAX / 2);
    size_t body = (n + page - 1) / page * page;
    size_t all = page + body + page;
    uint8_t *map = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BUG_ON(map == MAP_FAILED);
    struct guard_head head = {.map_bytes = all, .magic = GUARD_MAGIC};
    memcpy(map, &head, sizeof(head));
    memset(map + page, 0xa5, body);
    BUG_ON(mprotect(map, page, PROT_NONE) == -1);
    BUG_ON(mprotect(map + page + body, page, PROT_NONE) == -1);
    return map + page + body - n;
}

uint8_t *guard_bytes(const void *p, size_t n)
{
    uint8_t *g = guard_room(n);
    if (n != 0)
        memcpy(g, p, n);
    return g;
}

void guard_free(void *g)
{
    if (g == NULL)
        return;
    size_t page = page_bytes();
    uint8_t *in_page = (uint8_t *)g - (uintptr_t)g % page;
    uint8_t *map = in_page - page;
    BUG_ON(mprotect(map, page, PROT_READ) == -1);
    struct guard_head head;
    memcpy(&head, map, sizeof(head));
    BUG_ON(head.magic != GUARD_MAGIC);
    BUG_ON(munmap(map, head.map_bytes) == -1);
}

/* child: in the forked process; never returns. */
static _Noreturn void child(void (*fn)(void *ctx), void *ctx)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    struct rlimit no_core = {0};
    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < ARRAY_N(fatal); i++)
        signal(fatal[i], SIG_DFL); /* the test runner's own handlers */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null != -1)
        dup2(null, STDERR_FILENO);
    fn(ctx);
    _exit(0);
}

bool guard_dies(void (*fn)(void *ctx), void *ctx)
{
    pid_t pid = fork();
    BUG_ON(pid == -1);
    if (pid == 0)
        child(fn, ctx);
    int status = 0;
    BUG_ON(waitpid(pid, &status, 0) != pid);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}
