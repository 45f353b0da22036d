/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wiring.c: the one place that knows everybody.
 *
 *     adapters[]: mqtt, stomp, websockets ─► ways[]: mqtt, stomp        a new protocol: one row, and its name
 *
 *     heap ─► config ─► log ─► loop ─► doors (listeners) ─► user ─► store ─► shard ─► signals ─► loop runs ─┐
 *      ▲                                                                                                    │
 *      └───────────────────────────── weir_fini, in the reverse order ◄─────────────────────────────────────┘
 *
 * Stopping. SIGTERM is read while the loop reports readiness, when nothing may be closed; so it is noted, and done at
 * the beginning of the turn: listeners first, then shard_stop, which ends the loop when the last connection is gone. A
 * second signal does not wait.
 *
 * Invariants
 *   1. A signal handler does not exist: signals are blocked and read from a signalfd, so that nothing is interrupted.
 *   2. Root is given up after everything that needs it was opened, and before the store is: files and threads of the
 * store are those of the user we become. Nobody is served before that: the loop does not run yet.
 *   3. At the end the heap is empty.
 * Cost    nothing that counts.
 * Thread  main.
 */
#include "app/wiring.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/args.h"
#include "app/process.h"
#include "app/ram.h"
#include "core/adapter.h"
#include "core/base/rng.h"
#include "core/shard.h"
#include "core/store.h"
#include "proto_mqtt/mqtt_adapter.h"
#include "proto_stomp/stomp_adapter.h"
#include "proto_stomp/stomp_unit.h"
#include "transport/http_upgrade.h"

/* Every protocol, in the order in which they are asked whether the first bytes are theirs. */
static const struct adapter_ops *const adapters[] = {
    &mqtt_adapter,
    &stomp_adapter,
    &http_upgrade_adapter,
    NULL,
};

/* Their names in configurations. */
static const char *const protocols[] = {"mqtt", "stomp", "websockets", NULL};

_Static_assert(ARRAY_N(adapters) == ARRAY_N(protocols), "each protocol has a name");

/* What is spoken in WebSockets, by the subprotocol a peer asks for. */
static const struct upgrade_way ways[] = {
    {"mqtt", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
    {"mqttv3.1", &mqtt_adapter, .unit = mqtt_unit_bytes, .must_be_named = true},
    {"v12.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
    {"v11.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
    {"v10.stomp", &stomp_adapter, .unit = stomp_unit_bytes, .frames = WS_FRAMES_MIRROR},
    {.subprotocol = NULL},
};

/* ---- saying ------------------------------------------------------------------------------------------------- */

void weir_say_error(const char *fmt, ...)
{
    char line[8000];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    fprintf(stderr, "weir: %s\n", line);
}

static void on_config_line(void *ctx, enum log_level level, const char *line)
{
    UNUSED(ctx);
    UNUSED(level);
    weir_say_error("%s", line);
}

static enum err out_of_memory(void)
{
    weir_say_error("out of memory at the start; raise memory_limit if it is set");
    return ERR_NOMEM;
}

/* ---- signals ------------------------------------------------------------------------------------------------ */

static void signal_set(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGHUP);
}

static void remove_pid_file(struct weir *w)
{
    if (w->has_pid_file)
        unlink(w->config.pid_file);
    w->has_pid_file = false;
}

static void on_signal(struct loop_io *io, unsigned events)
{
    struct weir *w = CONTAINER_OF(io, struct weir, signals);
    UNUSED(events);
    struct signalfd_siginfo got;
    while (read(io->fd, &got, sizeof(got)) == (ssize_t)sizeof(got)) {
        if (got.ssi_signo == SIGHUP) {
            w->reopen_wanted = true;
            continue;
        }
        if (w->stop_wanted) { /* asked twice: no more patience */
            remove_pid_file(w);
            _exit(1);
        }
        w->stop_wanted = true;
    }
}

static enum err open_signals(struct weir *w)
{
    sigset_t set;
    signal_set(&set);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) == -1 || sigprocmask(SIG_BLOCK, &set, NULL) == -1)
        return ERR_IO;
    w->signals = (struct loop_io){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), .on_ready = on_signal};
    return w->signals.fd == -1 ? ERR_IO : loop_io_set(w->loop, &w->signals, LOOP_READ);
}

static void close_signals(struct weir *w)
{
    if (w->signals.fd == -1)
        return;
    enum err e = loop_io_set(w->loop, &w->signals, 0);
    BUG_ON(e != ERR_OK);
    close(w->signals.fd);
    w->signals.fd = -1;
}

/* ---- the turn ----------------------------------------------------------------------------------------------- */

static void on_stopped(void *ctx)
{
    struct weir *w = ctx;
    w->loop->ops->stop(w->loop);
}

static void stop(struct weir *w)
{
    w->is_stopping = true;
    log_line(&w->logs.log, LOG_INFO, "stopping");
    w->ws.is_going_away = true;
    doors_close(&w->doors);
    shard_stop(w->shard, WEIR_STOP_MS, on_stopped, w);
}

/* on_turn: what signals asked for, then the shard's turn. */
static bool on_turn(void *ctx)
{
    struct weir *w = ctx;
    if (w->reopen_wanted)
        logs_reopen(&w->logs);
    w->reopen_wanted = false;
    logs_tick(&w->logs);
    if (w->stop_wanted && !w->is_stopping)
        stop(w);
    return shard_turn(w->shard);
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

static uint64_t random_seed(void)
{
    struct rng r;
    rng_init_random(&r);
    return rng_u64(&r);
}

void weir_init(struct weir *w)
{
    *w = (struct weir){.signals = {.fd = -1}};
    mem_heap_init(&w->heap);
    mem_init(&w->mem_config, &w->heap, "configuration");
    mem_init(&w->mem_loop, &w->heap, "loop");
    mem_init(&w->mem_store, &w->heap, "store");
    mem_init(&w->mem_doors, &w->heap, "listeners");
    mem_init(&w->mem_auth, &w->heap, "users");
    verifiers_init(&w->verifiers, &w->mem_auth, random_seed());
    config_init(&w->config, &w->mem_config, protocols, on_config_line, NULL);
}

/* load_users: the scram_file. */
static enum err load_users(struct weir *w)
{
    const char *path = w->config.scram_file;
    char why[1024], place[512];
    struct stat st;
    if (path == NULL)
        return ERR_OK;
    config_place(config_scram_place(&w->config), place, sizeof(place));
    enum err e = verifiers_load(&w->verifiers, path, why, sizeof(why));
    if (e != ERR_OK)
        weir_say_error("%sscram_file: %s", place, why);
    else if (verifiers_n(&w->verifiers) == 0)
        weir_say_error("%sscram_file: %s: has no users; make lines for it with weir --scram-user NAME", place, path);
    else if (stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0)
        weir_say_error("%sscram_file: %s: everybody can read or write it; chmod o-rw", place, path);
    return e;
}

enum err weir_configure(struct weir *w, const struct args *a)
{
    enum err e = a->config_file != NULL ? config_file(&w->config, a->config_file) : ERR_OK;
    w->config.disk_asked = a->data;
    if (e == ERR_OK)
        e = config_finish(&w->config, a->port);
    return e == ERR_OK ? load_users(w) : e;
}

static enum err open_logs(struct weir *w, const struct args *a)
{
    char why[512];
    enum err e = logs_open(&w->logs, &w->config, a->is_verbose, why, sizeof(why));
    w->has_logs = e == ERR_OK;
    if (e != ERR_OK)
        weir_say_error("log_dest: %s; choose another file, or let the user that starts weir write it", why);
    return e;
}

/* open_auth: who can prove who they are; *out NULL without a scram_file. */
static enum err open_auth(struct weir *w, struct auth **out)
{
    *out = NULL;
    if (w->config.scram_file == NULL)
        return ERR_OK;
    enum err e =
        scram_auth_init(&w->auth, &(struct scram_auth_config){.verifiers = &w->verifiers, .log = &w->logs.log});
    if (e != ERR_OK)
        weir_say_error("scram_file: the system has no random numbers");
    *out = &w->auth.base;
    return e;
}

static enum err make_store(struct weir *w, struct store **out)
{
    char why[512];
    enum err e = disk_home_store(&w->disk_home, &w->config, &w->mem_store, &w->logs, out, why, sizeof(why));
    if (e != ERR_OK)
        weir_say_error("%s", why);
    return e;
}

/* no_shard: says why there is none: the store, or no memory. */
static enum err no_shard(struct weir *w)
{
    char why[6000];
    disk_home_why(&w->disk_home, why, sizeof(why));
    if (why[0] == 0)
        return out_of_memory();
    weir_say_error("%s", why);
    return ERR_IO;
}

static enum err open_shard(struct weir *w)
{
    struct auth *auth;
    enum err e = open_auth(w, &auth);
    if (e != ERR_OK)
        return e;
    struct store *store;
    e = make_store(w, &store);
    if (e != ERR_OK)
        return e;
    struct shard_config sc = {.loop = w->loop,
                              .log = &w->logs.log,
                              .heap = &w->heap,
                              .store = store,
                              .limits = w->config.limits,
                              .seed = random_seed(),
                              .ram_bytes = ram_bytes(""),
                              .auth = auth,
                              .response_information = w->config.response_information,
                              .sys_interval_s = (uint32_t)w->config.sys_interval_s,
                              .session_drop_head = w->config.session_drop_head,
                              .check_payload_format = w->config.check_payload_format,
                              .retain_available = w->config.retain_available,
                              .topic_dialect = (uint8_t)w->config.topic_dialect,
                              .stomp_persistent = w->config.stomp_persistent,
                              .stomp_strict_host = w->config.stomp_strict_host,
                              .queue_qos0 = w->config.queue_qos0_messages};
    w->shard = shard_new(&sc);
    if (w->shard == NULL)
        return no_shard(w);
    disk_home_opened(&w->disk_home);
    w->doors.with.shard = w->shard;
    w->loop->on_turn = on_turn; /* around the shard's */
    w->loop->ctx = w;
    return ERR_OK;
}

/* open_doors: the loop, and the listeners; nobody comes in before the shard is there, for the loop does not run. */
static enum err open_doors(struct weir *w)
{
    char why[1400];
    w->heap.bytes_max = w->config.memory_bytes_max;
    w->loop = loop_ev_new(&w->mem_loop);
    tcp_home_init(&w->tcp, w->loop, &w->mem_doors);
    ws_home_init(&w->ws, &w->mem_doors, w->config.limits.ws_message_bytes_max);
    if (w->loop == NULL)
        return out_of_memory();
    struct doors_config with = {.config = &w->config,
                                .adapters = adapters,
                                .ways = ways,
                                .home = &w->tcp,
                                .ws = &w->ws,
                                .mem = &w->mem_doors,
                                .logs = &w->logs};
    enum err e = doors_open(&w->doors, &with, why, sizeof(why));
    w->has_doors = e == ERR_OK;
    if (e != ERR_OK)
        weir_say_error("%s", why);
    return e;
}

static enum err settle_process(struct weir *w)
{
    char why[6000];
    enum err e = disk_home_make(&w->config, why, sizeof(why));
    if (e != ERR_OK)
        weir_say_error("%s", why);
    if (e == ERR_OK && w->config.pid_file != NULL) {
        e = process_write_pid(w->config.pid_file, why, sizeof(why));
        if (e != ERR_OK)
            weir_say_error("pid_file: %s", why);
        w->has_pid_file = e == ERR_OK;
    }
    if (e == ERR_OK && w->config.user != NULL) {
        e = process_become(w->config.user, why, sizeof(why));
        if (e != ERR_OK)
            weir_say_error("user: %s", why);
    }
    return e;
}

static enum err open_parts(struct weir *w, const struct args *a)
{
    enum err e = open_logs(w, a);
    if (e == ERR_OK)
        e = open_doors(w);
    if (e == ERR_OK)
        e = settle_process(w);
    if (e == ERR_OK)
        e = open_shard(w);
    if (e == ERR_OK && open_signals(w) != ERR_OK) {
        weir_say_error("signals cannot be watched: %s", strerror(errno));
        e = ERR_IO;
    }
    return e;
}

enum err weir_open(struct weir *w, const struct args *a)
{
    int ready = -1;
    process_raise_files();
    if (a->in_background && process_background(&ready) != ERR_OK) {
        weir_say_error("-d: cannot go into the background: %s", strerror(errno));
        return ERR_IO;
    }
    enum err e = open_parts(w, a);
    if (e != ERR_OK)
        return e;
    doors_announce(&w->doors);
    disk_home_announce(&w->disk_home);
    if (a->in_background)
        process_is_ready(ready);
    return ERR_OK;
}

/* ---- running, closing --------------------------------------------------------------------------------------- */

void weir_run(struct weir *w)
{
    w->loop->ops->run(w->loop);
}

void weir_fini(struct weir *w)
{
    bool was_whole = w->shard != NULL;
    close_signals(w);
    if (w->has_doors)
        doors_close(&w->doors);
    if (w->shard != NULL)
        shard_free(w->shard);
    if (w->has_doors)
        doors_fini(&w->doors); /* connections pointed there */
    if (w->loop != NULL) {
        ws_home_fini(&w->ws);
        tcp_home_fini(&w->tcp);
        w->loop->ops->destroy(w->loop);
    }
    remove_pid_file(w);
    if (w->has_logs)
        logs_close(&w->logs);
    verifiers_fini(&w->verifiers);
    config_fini(&w->config);
    BUG_ON(was_whole && w->heap.bytes != 0);
}
