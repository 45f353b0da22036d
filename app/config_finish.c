/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_finish.c: the beginning and the end of a configuration: defaults, and what several lines decide together.
 *
 *     config_finish ─► who may be anonymous ─► the default listener, or the built-in ones ─► no listener twice
 *
 * Anonymous: as in mosquitto, allow_anonymous is one setting for all listeners wherever it is written, unless
 * per_listener_settings is true; listener_allow_anonymous always holds for its own. Both can only say true (config.c
 * ends the start on false, until there are passwords), so what several lines say adds up. What nobody wrote stays 0:
 * whoever opens the listener knows whether it is on loopback.
 *
 * Invariants
 *   1. After config_finish there is at least one listener, and none twice.
 *   2. A line never opens more than it would in mosquitto: what cannot be given to any listener is an error.
 * Cost    listeners squared, once.
 * Thread  one.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "app/config.h"
#include "app/config_int.h"

#define PORT_MQTT  1883u
#define PORT_STOMP 61613u

static struct config_listener *listener_of(struct list_node *node)
{
    return LIST_ITEM(node, struct config_listener, node);
}

void config_init(struct config *c, struct mem *mem, const char *const *protocols, config_say_fn say, void *ctx)
{
    *c = (struct config){.mem = mem,
                         .say = say,
                         .say_ctx = ctx,
                         .protocols = protocols,
                         .retain_available = 1,
                         .set_tcp_nodelay = 1,
                         .log_types = 1u << LOG_ERROR | 1u << LOG_WARN | 1u << LOG_NOTICE,
                         .log_dests = LOG_TO_STDERR,
                         .log_timestamp = 1,
                         .connection_messages = 1};
    limits_default(&c->limits);
    list_init(&c->listeners);
    list_init(&c->files);
}

static void listener_fini(struct config *c, struct config_listener *l)
{
    mem_free(c->mem, l->address);
    mem_free(c->mem, l->unix_path);
}

void config_fini(struct config *c)
{
    LIST_EACH(&c->listeners, node)
    {
        listener_fini(c, listener_of(node));
        mem_free(c->mem, listener_of(node));
    }
    LIST_EACH(&c->files, node)
    {
        mem_free(c->mem, node); /* first member of what keep_name made */
    }
    listener_fini(c, &c->base);
    mem_free(c->mem, c->seen);
    mem_free(c->mem, c->log_file);
    mem_free(c->mem, c->pid_file);
    mem_free(c->mem, c->user);
    *c = (struct config){0};
}

const char *config_protocol(const struct config *c, const struct config_listener *l)
{
    return l->protocol == PROTOCOL_ALL ? NULL : c->protocols[l->protocol - 1];
}

/* ---- who may be anonymous ----------------------------------------------------------------------------------- */

/* one_for_all: per_listener_settings false; written once, it holds for every listener. */
static void one_for_all(struct config *c)
{
    uint64_t anyone = c->allow_anonymous | c->base.allow_anonymous;
    LIST_EACH(&c->listeners, node)
    {
        anyone |= listener_of(node)->allow_anonymous;
    }
    c->base.allow_anonymous = anyone;
    LIST_EACH(&c->listeners, node)
    {
        listener_of(node)->allow_anonymous = anyone;
    }
}

/* each_its_own: per_listener_settings true. */
static enum err each_its_own(struct config *c)
{
    const struct place *p = config_seen(c, &c->allow_anonymous);
    if (p == NULL)
        return ERR_OK;
    if (c->base_is_written || !list_is_empty(&c->listeners))
        return config_complain(
            c, p, "allow_anonymous",
            "belongs to no listener, and per_listener_settings is true; move it below a listener line");
    c->base.allow_anonymous = c->allow_anonymous;
    return ERR_OK;
}

static enum err who_is_anonymous(struct config *c)
{
    enum err e = ERR_OK;
    if (c->per_listener_settings)
        e = each_its_own(c);
    else
        one_for_all(c);
    c->base.allow_anonymous |= c->base.listener_allow_anonymous;
    LIST_EACH(&c->listeners, node)
    {
        listener_of(node)->allow_anonymous |= listener_of(node)->listener_allow_anonymous;
    }
    return e;
}

/* ---- which listeners ---------------------------------------------------------------------------------------- */

/* base_in_list: the default listener that port and bind_address describe becomes one like the others, the first. */
static enum err base_in_list(struct config *c)
{
    struct config_listener *l = config_listener_new(c, c->base.place);
    if (l == NULL)
        return config_nomem(c);
    if (config_seen(c, &c->base.port) == NULL)
        c->base.port = PORT_MQTT;
    list_del(&l->node);
    *l = c->base;
    l->node = (struct list_node){0};
    list_push_front(&c->listeners, &l->node);
    c->base.address = NULL; /* it went with the copy */
    return ERR_OK;
}

static enum err builtin(struct config *c, uint64_t port)
{
    struct config_listener *l = config_listener_new(c, (struct place){0});
    if (l == NULL)
        return config_nomem(c);
    l->port = port;
    l->protocol = c->base.protocol;
    l->domain = c->base.domain;
    l->allow_anonymous = c->base.allow_anonymous;
    l->is_builtin = true;
    return ERR_OK;
}

static enum err builtins(struct config *c, int port)
{
    if (port >= 0)
        return builtin(c, (uint64_t)port);
    enum err e = builtin(c, PORT_MQTT);
    return e == ERR_OK ? builtin(c, PORT_STOMP) : e;
}

/* stray: an option of a listener that stands before all of them. */
static enum err stray(struct config *c)
{
    static const struct {
        const char *key;
        size_t offset;
    } options[] = {{"protocol", offsetof(struct config_listener, protocol)},
                   {"socket_domain", offsetof(struct config_listener, domain)},
                   {"listener_allow_anonymous", offsetof(struct config_listener, listener_allow_anonymous)}};
    for (size_t i = 0; i < ARRAY_N(options); i++) {
        const struct place *p = config_seen(c, (const char *)&c->base + options[i].offset);
        if (p != NULL)
            return config_complain(c, p, options[i].key, "belongs to a listener; move it below a listener line");
    }
    return ERR_OK;
}

static enum err which_listeners(struct config *c, int port)
{
    bool has_own = c->base_is_written || !list_is_empty(&c->listeners);
    if (!has_own)
        return builtins(c, port);
    if (port >= 0)
        config_warn(c, &(struct place){0}, "-p", "ignored: the configuration has listeners of its own");
    return c->base_is_written ? base_in_list(c) : stray(c);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same(const struct config_listener *a, const struct config_listener *b)
{
    if (a->unix_path != NULL || b->unix_path != NULL)
        return same_text(a->unix_path, b->unix_path);
    bool apart = a->domain != b->domain && a->domain != DOMAIN_ANY && b->domain != DOMAIN_ANY;
    return a->port == b->port && a->port != 0 && !apart && same_text(a->address, b->address);
}

static enum err none_twice(struct config *c)
{
    LIST_EACH(&c->listeners, node)
    {
        struct config_listener *l = listener_of(node);
        for (struct list_node *n = list_next(&c->listeners, node); n != NULL; n = list_next(&c->listeners, n)) {
            struct config_listener *other = listener_of(n);
            if (is_same(l, other))
                return config_complain(c, &other->place, "listener", "the same as at %s:%u; remove one of the two",
                                       l->place.file, l->place.line);
        }
    }
    return ERR_OK;
}

/* wanted_messages: who writes connection_messages true wants to see them, unless log_type says what is seen. */
static void wanted_messages(struct config *c)
{
    bool is_written = config_seen(c, &c->connection_messages) != NULL;
    if (is_written && c->connection_messages && config_seen(c, &c->log_types) == NULL)
        c->log_types |= 1u << LOG_INFO;
}

enum err config_finish(struct config *c, int port)
{
    wanted_messages(c);
    enum err e = who_is_anonymous(c);
    if (e == ERR_OK)
        e = which_listeners(c, port);
    return e == ERR_OK ? none_twice(c) : e;
}
