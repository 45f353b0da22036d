/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refuse.c: epoll_ctl between libev and the system.
 */
#include "tests/support/refuse.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

int refuse_watches;

int epoll_ctl(int epoll_fd, int how, int fd, struct epoll_event *event)
{
    if (how == EPOLL_CTL_ADD && refuse_watches != 0) {
        errno = refuse_watches;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll_fd, how, fd, event);
}
