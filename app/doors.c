/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doors.c: from `listener` blocks to open sockets, and who comes in there.
 *
 *     config_listener ─► addresses ─► listener_open * ─► on_accept(pipe) ─► own limit? ─► conn_new(shard, pipe, door)
 *                             └─ all on loopback? ─► door.allow_anonymous, unless it is written
 *
 * A built-in listener is 127.0.0.1 and, on a machine that has it, [::1] with the same port. A listener's own
 * max_connections is kept with a bound, not a count: every accept adds one to `open_most`, and only when that reaches
 * the limit the connections are counted again, at most once in LOOK_AGAIN_MS. Closing a connection costs nothing that
 * way, and listeners without a limit of their own nothing at all.
 *
 * Invariants
 *   1. open_most is never less than the connections of this door.
 *   2. What a door allows is settled before the loop runs, and never changes.
 * Cost    one struct per listener; with max_connections a walk over all connections per LOOK_AGAIN_MS while it is full.
 * Thread  the shard's own; opening may block.
 */
#include "app/doors.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/config.h"
#include "app/logs.h"
#include "core/adapter.h"
#include "core/base/mem.h"
#include "core/conn.h"
#include "core/loop.h"
#include "core/shard.h"
#include "transport/addr.h"
#include "transport/http_upgrade.h"
#include "transport/listener.h"
#include "transport/tcp.h"

#define LOOK_AGAIN_MS 100u
#define PROTOCOLS_MAX 8u
#define WHERE_MAX     1024u

/* One listener block. Freed: doors_fini. */
struct entrance {
    struct list_node node;
    struct doors *doors;
    const struct config_listener *asked;
    struct listener *listener[2]; /* the second: a built-in one's [::1]; NULL: none */
    struct door door;
    struct upgrade upgrade; /* the door's, if it has WebSockets */
    const struct adapter_ops *adapter[PROTOCOLS_MAX + 1];
    const char *spoken[PROTOCOLS_MAX + 1]; /* their names, for people */
    char name[ADDR_TEXT_MAX];
    uint64_t open_most; /* no more connections than this came through and are there */
    mono_ms look_again; /* full until then without a look */
};

static struct entrance *entrance_of(struct list_node *node)
{
    return LIST_ITEM(node, struct entrance, node);
}

/* ---- coming in ---------------------------------------------------------------------------------------------- */

static uint64_t count_open(const struct entrance *e)
{
    uint64_t n = 0;
    LIST_EACH(&e->doors->with.shard->conns, node)
    {
        n += LIST_ITEM(node, struct conn, all)->door == &e->door;
    }
    return n;
}

static bool is_full(struct entrance *e)
{
    uint64_t most = e->asked->connections_max;
    if (most == 0 || e->open_most < most)
        return false;
    mono_ms now = loop_now(e->doors->with.home->loop);
    if (now < e->look_again)
        return true;
    e->open_most = count_open(e);
    e->look_again = now + LOOK_AGAIN_MS;
    return e->open_most >= most;
}

static void on_accept(void *ctx, struct transport *t)
{
    struct entrance *e = ctx;
    struct log *log = &e->doors->with.logs->log;
    if (is_full(e)) {
        t->ops->destroy(t);
        log_line(log, LOG_WARN, "%s: a connection was refused: this listener's max_connections is reached", e->name);
        return;
    }
    e->open_most++;
    if (conn_new(e->doors->with.shard, t, &e->door) == NULL)
        log_line(log, LOG_WARN, "%s: a connection was refused: max_connections is reached, or memory is short",
                 e->name);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

/* cure_for: what to do about what listener_open says. */
static const char *cure_for(const char *why, const struct config_listener *asked)
{
    if (strstr(why, "already in use") != NULL)
        return asked->is_builtin ? "; stop what listens there, or choose another port with -p"
                                 : "; stop what listens there, or choose another port";
    if (strstr(why, "permission denied") != NULL)
        return asked->unix_path ? "; make the directory writable"
                                : "; ports below 1024 are for root: start weir as root with `user`, or choose another";
    if (strstr(why, "does not have that address") != NULL)
        return "; name an address of this machine, or leave it out for all";
    if (strstr(why, "directory does not exist") != NULL)
        return "; make it, or choose another path";
    if (strstr(why, "no such name") != NULL)
        return "; correct the name, or write the address as numbers";
    return "";
}

static enum err failed(const struct entrance *e, const char *why, char *out_why, size_t cap)
{
    char place[512];
    config_place(&e->asked->place, place, sizeof(place));
    snprintf(out_why, cap, "%s%s%s%s", place, e->asked->is_builtin ? "" : "listener: ", why, cure_for(why, e->asked));
    return ERR_IO;
}

/* has_ipv6_loopback: an IPv6 socket can be bound there at all; a port that is taken is another matter. */
static bool has_ipv6_loopback(void)
{
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return false;
    bool bound = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
    close(fd);
    return bound;
}

/* address_in: the first address of `name` in one family, as a number. */
static bool address_in(const char *name, int family, char *out, socklen_t cap)
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return false;
    bool is_text = getnameinfo(found->ai_addr, found->ai_addrlen, out, cap, NULL, 0, NI_NUMERICHOST) == 0;
    freeaddrinfo(found);
    return is_text;
}

static struct listener *open_one(struct entrance *e, const char *address, uint64_t port, char *out_why, size_t cap)
{
    const struct doors_config *with = &e->doors->with;
    struct listener_config lc = {.home = with->home,
                                 .mem = with->mem,
                                 .log = &with->logs->log,
                                 .address = address,
                                 .port = (uint16_t)port,
                                 .unix_path = e->asked->unix_path,
                                 .nagle = with->config->set_tcp_nodelay ? LISTENER_NAGLE_OFF : LISTENER_NAGLE_ON,
                                 .on_accept = on_accept,
                                 .ctx = e};
    return listener_open(&lc, out_why, cap);
}

/* open_builtin: loopback. With port 0, [::1] follows the port that 127.0.0.1 got, and is left out when it is taken
 * there. */
static enum err open_builtin(struct entrance *e, char *why, size_t cap)
{
    const struct config_listener *asked = e->asked;
    uint64_t port = asked->port;
    unsigned n = 0;
    if (asked->domain != DOMAIN_IPV6) {
        e->listener[n] = open_one(e, "127.0.0.1", port, why, cap);
        if (e->listener[n] == NULL)
            return ERR_IO;
        port = listener_port(e->listener[n++]);
    }
    if (asked->domain == DOMAIN_IPV4 || (n != 0 && !has_ipv6_loopback()))
        return ERR_OK;
    e->listener[n] = open_one(e, "::1", port, why, cap);
    return e->listener[n] != NULL || (n != 0 && asked->port == 0) ? ERR_OK : ERR_IO;
}

static enum err open_asked(struct entrance *e, char *why, size_t cap)
{
    const struct config_listener *asked = e->asked;
    char number[NI_MAXHOST];
    const char *address = asked->address;
    if (asked->domain != DOMAIN_ANY && asked->unix_path == NULL) {
        bool is_v4 = asked->domain == DOMAIN_IPV4;
        if (address == NULL) {
            address = is_v4 ? "0.0.0.0" : "::";
        } else if (address_in(address, is_v4 ? AF_INET : AF_INET6, number, sizeof(number))) {
            address = number;
        } else {
            snprintf(why, cap, "%s has no %s address; name one that has, or remove socket_domain", address,
                     is_v4 ? "IPv4" : "IPv6");
            return ERR_IO;
        }
    }
    e->listener[0] = open_one(e, address, asked->port, why, cap);
    return e->listener[0] != NULL ? ERR_OK : ERR_IO;
}

/* is_local: nobody from another machine can come in here. */
static bool is_local(const struct entrance *e)
{
    char text[ADDR_TEXT_MAX];
    for (size_t k = 0; k < ARRAY_N(e->listener) && e->listener[k] != NULL; k++) {
        for (unsigned i = 0; listener_text(e->listener[k], i, text, sizeof(text)); i++) {
            if (strncmp(text, "127.", 4) != 0 && strncmp(text, "[::1]:", 6) != 0 && e->asked->unix_path == NULL)
                return false;
        }
    }
    return true;
}

/* words: of a list that may stand nowhere. */
static const char *const *words(const struct config_words *w)
{
    return (const char *const *)w->v;
}

static void settle_door(struct entrance *e)
{
    const struct config_listener *asked = e->asked;
    const struct doors_config *with = &e->doors->with;
    bool has_ws = false;
    unsigned n = 0;
    for (unsigned i = 0; with->adapters[i] != NULL; i++) {
        BUG_ON(i >= PROTOCOLS_MAX);
        if (asked->protocol != PROTOCOL_ALL && asked->protocol != i + 1)
            continue;
        has_ws |= with->adapters[i] == &http_upgrade_adapter;
        e->spoken[n] = with->config->protocols[i];
        e->adapter[n++] = with->adapters[i];
    }
    bool is_named = listener_text(e->listener[0], 0, e->name, sizeof(e->name));
    BUG_ON(!is_named);
    e->upgrade = (struct upgrade){.home = with->ws,
                                  .way = with->ways,
                                  .path = words(&asked->ws_paths),
                                  .origin = words(&asked->ws_origins),
                                  .host_name = words(&asked->ws_hosts)};
    bool may_be_unsaid = asked->allow_anonymous == ANYONE_UNSAID && is_local(e);
    e->door = (struct door){.adapter = e->adapter,
                            .name = e->name,
                            .upgrade = has_ws ? &e->upgrade : NULL,
                            .server_reference = asked->server_reference,
                            .allow_anonymous = asked->allow_anonymous == ANYONE_YES || may_be_unsaid,
                            .is_lenient = asked->is_lenient,
                            .has_moved = asked->has_moved,
                            .has_qos_cap = asked->qos_max < 2,
                            .qos_cap = (uint8_t)asked->qos_max};
}

static enum err open_entrance(struct doors *d, const struct config_listener *asked, char *out_why, size_t cap)
{
    struct entrance *e = mem_zalloc(d->with.mem, sizeof(*e));
    if (e == NULL) {
        snprintf(out_why, cap, "out of memory while the listeners were opened");
        return ERR_NOMEM;
    }
    e->doors = d;
    e->asked = asked;
    list_push(&d->all, &e->node);
    char why[WHERE_MAX] = "";
    enum err err = asked->is_builtin ? open_builtin(e, why, sizeof(why)) : open_asked(e, why, sizeof(why));
    if (err != ERR_OK)
        return failed(e, why, out_why, cap);
    settle_door(e);
    return ERR_OK;
}

enum err doors_open(struct doors *d, const struct doors_config *with, char *out_why, size_t cap)
{
    d->with = *with;
    list_init(&d->all);
    enum err err = ERR_OK;
    LIST_EACH(&with->config->listeners, node)
    {
        if (err == ERR_OK)
            err = open_entrance(d, LIST_ITEM(node, struct config_listener, node), out_why, cap);
    }
    if (err != ERR_OK)
        doors_fini(d);
    return err;
}

/* ---- saying ------------------------------------------------------------------------------------------------- */

/* add: appends to text[cap] what fits. */
static void add(char *text, size_t cap, const char *more)
{
    size_t n = strlen(text);
    snprintf(text + n, cap - n, "%s", more);
}

/* where: "A", "A and B", "A, B and C". */
static void where(const struct entrance *e, char *out, size_t cap)
{
    char text[2][LISTENER_SOCKETS_MAX][ADDR_TEXT_MAX];
    unsigned n[2] = {0, 0};
    for (unsigned k = 0; k < 2 && e->listener[k] != NULL; k++) {
        while (n[k] < LISTENER_SOCKETS_MAX && listener_text(e->listener[k], n[k], text[k][n[k]], ADDR_TEXT_MAX))
            n[k]++;
    }
    out[0] = 0;
    for (unsigned i = 0; i < n[0] + n[1]; i++) {
        if (i != 0)
            add(out, cap, i + 1 == n[0] + n[1] ? " and " : ", ");
        add(out, cap, i < n[0] ? text[0][i] : text[1][i - n[0]]);
    }
}

static void announce(const struct doors *d, const struct entrance *e)
{
    char at[WHERE_MAX], spoken[256] = "";
    where(e, at, sizeof(at));
    for (unsigned i = 0; e->adapter[i] != NULL; i++) {
        add(spoken, sizeof(spoken), i != 0 ? ", " : "");
        add(spoken, sizeof(spoken), e->spoken[i]);
    }
    logs_announce(d->with.logs, "weir: listening on %s (%s)", at, spoken);
}

/* can_prove: somebody can say who they are here: with scram_file, over MQTT 5, bare or in a WebSocket. */
static bool can_prove(const struct doors *d, const struct entrance *e)
{
    bool has_mqtt = false;
    for (unsigned i = 0; e->spoken[i] != NULL; i++)
        has_mqtt |= strcmp(e->spoken[i], "stomp") != 0;
    return has_mqtt && d->with.config->scram_file != NULL;
}

static void announce_closed(const struct doors *d, const struct entrance *e)
{
    if (e->door.allow_anonymous)
        return;
    char at[WHERE_MAX];
    where(e, at, sizeof(at));
    bool is_said = e->asked->allow_anonymous == ANYONE_NO;
    if (can_prove(d, e))
        logs_announce(d->with.logs,
                      "weir: on %s only users of the scram_file can log in, with MQTT 5 and SCRAM-SHA-256", at);
    else
        logs_announce(d->with.logs, "weir: nobody can log in on %s: %s; write allow_anonymous true to let everybody in",
                      at, is_said ? "STOMP has no SCRAM" : "it is not on loopback");
}

void doors_announce(const struct doors *d)
{
    LIST_EACH(&d->all, node)
    {
        announce(d, entrance_of(node));
    }
    LIST_EACH(&d->all, node)
    {
        announce_closed(d, entrance_of(node));
    }
}

/* ---- closing ------------------------------------------------------------------------------------------------ */

void doors_close(struct doors *d)
{
    LIST_EACH(&d->all, node)
    {
        struct entrance *e = entrance_of(node);
        for (size_t k = 0; k < ARRAY_N(e->listener); k++) {
            listener_close(e->listener[k]);
            e->listener[k] = NULL;
        }
    }
}

void doors_fini(struct doors *d)
{
    doors_close(d);
    LIST_EACH(&d->all, node)
    {
        list_del(node);
        mem_free(d->with.mem, entrance_of(node));
    }
}
