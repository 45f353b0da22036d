/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_REFUSE_H
#define WEIR_TESTS_REFUSE_H

/*
 * refuse.h: epoll refuses to watch, as it does without memory or above its limit.
 */

/* refuse_watches: while not 0, the errno of every epoll_ctl of this process that would add something. A program that
 * uses it has our epoll_ctl, which libev finds before the system's. */
extern int refuse_watches;

#endif
