/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_finish.c: the beginning and the end of a configuration: defaults, and what several lines decide together.
 *
 *     config_finish ─► who may be anonymous ─► the default listener, or the built-in ones ─► no listener twice
 *                                          └─► what each listener was told fits together
 *
 * Anonymous: as in mosquitto, allow_anonymous is one setting for all listeners wherever it is written, unless
 * per_listener_settings is true; listener_allow_anonymous always holds for its own, whatever else is said. false asks
 * for a proof and needs somebody who can check one (scram_file): without, it would let nobody in, and dropping the line
 * would open what it closes, so it ends the start. What nobody wrote stays unsaid: whoever opens the listener knows
 * whether it is on loopback.
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
#include "app/options.h"

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
                         .sys_interval_s = 10,
                         .linger_commit_ms = 20,
                         .segment_bytes = UINT64_C(16) << 20,
                         .base = {.qos_max = 2},
                         .log_types = 1u << LOG_ERROR | 1u << LOG_WARN | 1u << LOG_NOTICE,
                         .log_dests = LOG_TO_STDERR,
                         .log_timestamp = 1,
                         .connection_messages = 1};
    limits_default(&c->limits);
    list_init(&c->listeners);
    list_init(&c->files);
}

static void words_fini(struct config *c, struct config_words *words)
{
    for (unsigned i = 0; i < words->n; i++)
        mem_free(c->mem, words->v[i]);
    mem_free(c->mem, words->v);
}

static void listener_fini(struct config *c, struct config_listener *l)
{
    mem_free(c->mem, l->address);
    mem_free(c->mem, l->unix_path);
    mem_free(c->mem, l->server_reference);
    words_fini(c, &l->ws_origins);
    words_fini(c, &l->ws_hosts);
    words_fini(c, &l->ws_paths);
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
    mem_free(c->mem, c->response_information);
    mem_free(c->mem, c->scram_file);
    mem_free(c->mem, c->disk_location);
    *c = (struct config){0};
}

const struct place *config_scram_place(const struct config *c)
{
    return config_seen(c, &c->scram_file);
}

const char *config_protocol(const struct config *c, const struct config_listener *l)
{
    return l->protocol == PROTOCOL_ALL ? NULL : c->protocols[l->protocol - 1];
}

/* ---- who may be anonymous ----------------------------------------------------------------------------------- */

/* may_say_no: false without anybody who can check a proof. */
static enum err may_say_no(struct config *c, const uint64_t *said, const char *key)
{
    if (*said != ANYONE_NO || c->scram_file != NULL)
        return ERR_OK;
    return config_complain(c, config_seen(c, said), key,
                           "false needs a scram_file, and there is none; passwords this version cannot check, so "
                           "nobody could log in; name a scram_file, or remove this %s, or write %s true only if "
                           "everybody may log in",
                           key[0] == 'a' ? "line (then loopback is open, and what other lines open)" : "listener", key);
}

static enum err listener_may_say_no(struct config *c, const struct config_listener *l)
{
    enum err e = may_say_no(c, &l->allow_anonymous, "allow_anonymous");
    return e == ERR_OK ? may_say_no(c, &l->listener_allow_anonymous, "listener_allow_anonymous") : e;
}

/* who_says_no: every false has a scram_file. */
static enum err who_says_no(struct config *c)
{
    enum err e = may_say_no(c, &c->allow_anonymous, "allow_anonymous");
    if (e == ERR_OK)
        e = listener_may_say_no(c, &c->base);
    LIST_EACH(&c->listeners, node)
    {
        if (e == ERR_OK)
            e = listener_may_say_no(c, listener_of(node));
    }
    return e;
}

/* agree: what is said here must be what was said before. */
static enum err agree(struct config *c, const uint64_t **former, const uint64_t *said)
{
    char where[512];
    if (*said == ANYONE_UNSAID)
        return ERR_OK;
    if (*former == NULL)
        *former = said;
    if (**former == *said)
        return ERR_OK;
    config_place(config_seen(c, *former), where, sizeof(where));
    where[strlen(where) - 2] = 0; /* without ": " */
    return config_complain(c, config_seen(c, said), "allow_anonymous",
                           "holds for all listeners, and was set to something else at %s; keep one of the two lines, "
                           "or write per_listener_settings true",
                           where);
}

/* one_for_all: per_listener_settings false; written once, it holds for every listener. */
static enum err one_for_all(struct config *c)
{
    const uint64_t *said = NULL;
    enum err e = agree(c, &said, &c->allow_anonymous);
    if (e == ERR_OK)
        e = agree(c, &said, &c->base.allow_anonymous);
    LIST_EACH(&c->listeners, node)
    {
        if (e == ERR_OK)
            e = agree(c, &said, &listener_of(node)->allow_anonymous);
    }
    uint64_t anyone = said != NULL ? *said : ANYONE_UNSAID;
    c->base.allow_anonymous = anyone;
    LIST_EACH(&c->listeners, node)
    {
        listener_of(node)->allow_anonymous = anyone;
    }
    return e;
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

static void own_word(struct config_listener *l)
{
    if (l->listener_allow_anonymous != ANYONE_UNSAID)
        l->allow_anonymous = l->listener_allow_anonymous;
}

static enum err who_is_anonymous(struct config *c)
{
    enum err e = who_says_no(c);
    if (e == ERR_OK)
        e = c->per_listener_settings ? each_its_own(c) : one_for_all(c);
    own_word(&c->base);
    LIST_EACH(&c->listeners, node)
    {
        own_word(listener_of(node));
    }
    return e;
}

/* ---- one listener ------------------------------------------------------------------------------------------- */

/* fits: what was written for one listener makes sense together. */
static enum err fits(struct config *c, const struct config_listener *l)
{
    static const char *const keys[] = {"websockets_origin", "websockets_host", "websockets_path"};
    const struct config_words *words[] = {&l->ws_origins, &l->ws_hosts, &l->ws_paths};
    const char *protocol = config_protocol(c, l);
    if (l->has_moved && l->server_reference == NULL)
        return config_complain(c, config_seen(c, &l->has_moved), "server_moved",
                               "true needs a server_reference for the same listener, to say where to");
    for (size_t i = 0; i < ARRAY_N(words); i++) {
        if (words[i]->n != 0 && protocol != NULL && strcmp(protocol, "websockets") != 0)
            return config_complain(c, config_seen(c, words[i]), keys[i],
                                   "is for WebSockets, and this listener has protocol %s; remove one of the two lines",
                                   protocol);
    }
    return ERR_OK;
}

static enum err all_fit(struct config *c)
{
    enum err e = fits(c, &c->base);
    LIST_EACH(&c->listeners, node)
    {
        if (e == ERR_OK)
            e = fits(c, listener_of(node));
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
    c->base = (struct config_listener){0}; /* what it owned went with the copy */
    return ERR_OK;
}

static bool copy_text(struct config *c, char **to, const char *from)
{
    if (from != NULL)
        *to = mem_dup(c->mem, from, strlen(from));
    return from == NULL || *to != NULL;
}

static bool copy_words(struct config *c, struct config_words *to, const struct config_words *from)
{
    if (from->n == 0)
        return true;
    to->v = mem_zalloc(c->mem, (from->n + 1) * sizeof(char *));
    bool fine = to->v != NULL;
    for (; fine && to->n < from->n; to->n += fine)
        fine = copy_text(c, &to->v[to->n], from->v[to->n]);
    return fine;
}

/* builtin: a listener nobody asked for has what was said before all listeners. */
static enum err builtin(struct config *c, uint64_t port)
{
    struct config_listener *l = config_listener_new(c, (struct place){0});
    const struct config_listener *base = &c->base;
    if (l == NULL)
        return config_nomem(c);
    l->port = port;
    l->protocol = base->protocol;
    l->domain = base->domain;
    l->allow_anonymous = base->allow_anonymous;
    l->qos_max = base->qos_max;
    l->is_lenient = base->is_lenient;
    l->has_moved = base->has_moved;
    l->is_builtin = true;
    bool fine = copy_text(c, &l->server_reference, base->server_reference) &&
                copy_words(c, &l->ws_origins, &base->ws_origins) && copy_words(c, &l->ws_hosts, &base->ws_hosts) &&
                copy_words(c, &l->ws_paths, &base->ws_paths);
    return fine ? ERR_OK : config_nomem(c);
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
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        const struct place *p = config_seen(c, (const char *)&c->base + o.offset);
        if (o.scope == SCOPE_LISTENER && o.offset != 0 && p != NULL)
            return config_complain(c, p, o.name, "belongs to a listener; move it below a listener line");
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
        e = all_fit(c);
    if (e == ERR_OK)
        e = config_finish_disk(c);
    if (e == ERR_OK)
        e = which_listeners(c, port);
    return e == ERR_OK ? none_twice(c) : e;
}
