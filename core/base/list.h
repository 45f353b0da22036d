/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_LIST_H
#define WEIR_BASE_LIST_H

/*
 * list.h: intrusive doubly linked list with a head. A node that is in no list points to itself
 * (after list_node_init) or is zero (after zeroed allocation); list_in() accepts both.
 * O(1) for everything but walks. No allocation.
 */

#include <stdbool.h>
#include <stddef.h>

#include "core/base/check.h"

struct list_node {
    struct list_node *prev, *next;
};

/* A list is a node whose neighbours are its last and first element. */
struct list {
    struct list_node head;
};

#define LIST_ITEM(node, type, member) CONTAINER_OF(node, type, member)

/* Walk; the current item may be removed (and only the current one). */
#define LIST_EACH(list_, it)                                                                                           \
    for (struct list_node *it = (list_)->head.next, *it##_next = it->next; it != &(list_)->head;                       \
         it = it##_next, it##_next = it->next)

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
}

static inline void list_node_init(struct list_node *n)
{
    n->prev = n->next = n;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->head.next == &l->head;
}

static inline bool list_in(const struct list_node *n)
{
    return n->next != NULL && n->next != n;
}

/* list_insert_after, list_insert_before: n, which is in no list, next to `at`, which is in one (or is its head). */
static inline void list_insert_after(struct list_node *at, struct list_node *n)
{
    n->prev = at;
    n->next = at->next;
    at->next->prev = n;
    at->next = n;
}

static inline void list_insert_before(struct list_node *at, struct list_node *n)
{
    list_insert_after(at->prev, n);
}

/* list_push, list_push_front: n, which is in no list, as the last or first. */
static inline void list_push(struct list *l, struct list_node *n)
{
    list_insert_after(l->head.prev, n);
}

static inline void list_push_front(struct list *l, struct list_node *n)
{
    list_insert_after(&l->head, n);
}

/* list_del: removes n from whatever list it is in; afterwards !list_in(n). Harmless on a node in no list. */
static inline void list_del(struct list_node *n)
{
    if (n->next == NULL)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->prev = n->next = n;
}

/* list_first, list_last: NULL when empty. */
static inline struct list_node *list_first(const struct list *l)
{
    return list_is_empty(l) ? NULL : l->head.next;
}

static inline struct list_node *list_last(const struct list *l)
{
    return list_is_empty(l) ? NULL : l->head.prev;
}

/* list_next, list_prev: the neighbour within l, NULL at the end. */
static inline struct list_node *list_next(const struct list *l, const struct list_node *n)
{
    return n->next == &l->head ? NULL : n->next;
}

static inline struct list_node *list_prev(const struct list *l, const struct list_node *n)
{
    return n->prev == &l->head ? NULL : n->prev;
}

/* list_pop: takes the first node off, NULL when empty. */
static inline struct list_node *list_pop(struct list *l)
{
    struct list_node *n = list_first(l);
    if (n)
        list_del(n);
    return n;
}

/* list_splice: moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->head.next->prev = to->head.prev;
    to->head.prev->next = from->head.next;
    from->head.prev->next = &to->head;
    to->head.prev = from->head.prev;
    list_init(from);
}

#endif
