/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_APP_CONFIG_H
#define WEIR_APP_CONFIG_H

/*
 * config.h: what the files and the command line ask for, checked and complete, before anything is opened.
 *
 *     config_init ─► config_file (each line: option_find, value, set) ─► config_finish ─► listeners, limits, log ...
 *
 * Whatever is wrong is said in one line, "FILE:LINE: OPTION: what, and the cure", through config_say_fn.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/base/check.h"
#include "core/base/err.h"
#include "core/base/list.h"
#include "core/base/log.h"
#include "core/base/mem.h"
#include "core/base/slice.h"
#include "core/limits.h"

/* Where something was written. file NULL: not in a file. */
struct place {
    const char *file; /* owned by the config */
    unsigned line;
};

enum domain { DOMAIN_ANY, DOMAIN_IPV4, DOMAIN_IPV6 }; /* in the order of socket_domain's values, behind ANY */

enum { LOG_TO_STDERR = 1, LOG_TO_STDOUT = 2, LOG_TO_FILE = 4, LOG_TO_NONE = 8 };

/* What lines say about logins without a proof; allow_anonymous. */
enum { ANYONE_UNSAID, ANYONE_YES, ANYONE_NO };

/* What lines say about the disk; persistence. */
enum { PERSIST_UNSAID, PERSIST_OFF, PERSIST_INTERVAL, PERSIST_ALWAYS };

/* Words of an option that may stand several times. */
struct config_words {
    char **v; /* NULL-terminated, owned by the config; NULL: it stands nowhere */
    unsigned n;
};

#define PROTOCOL_ALL 0u /* config_listener.protocol: 0, or the place in config.protocols plus 1 */

/* One `listener` block. Numbers are uint64_t: the option table sets them by offset. owner: config */
struct config_listener {
    struct list_node node;
    struct place place;
    char *address;   /* numeric, or a host name; NULL: every address (or loopback, see is_builtin) */
    char *unix_path; /* not NULL: a unix socket; address and port mean nothing */
    uint64_t port;
    uint64_t protocol;
    uint64_t domain;
    uint64_t connections_max;          /* 0: no limit of its own */
    uint64_t allow_anonymous;          /* ANYONE_; after config_finish UNSAID means: only if it is on loopback */
    uint64_t listener_allow_anonymous; /* ANYONE_; config_finish merges it into allow_anonymous */
    uint64_t qos_max;                  /* 0 .. 2 */
    uint64_t is_lenient;               /* the place in conformance's values */
    uint64_t has_moved;                /* then server_reference is not NULL */
    char *server_reference;            /* or NULL */
    struct config_words ws_origins, ws_hosts, ws_paths;
    bool is_builtin; /* not from a file: 127.0.0.1, and [::1] if there is one */
};

typedef void (*config_say_fn)(void *ctx, enum log_level level, const char *line);

/* owner: app. Numbers that options set are uint64_t. */
struct config {
    struct mem *mem;
    config_say_fn say;
    void *say_ctx;
    const char *const *protocols; /* NULL-terminated names of what can be served, for `protocol` */

    struct limits limits;
    struct list listeners;    /* struct config_listener */
    uint64_t allow_anonymous; /* ANYONE_: written before or outside listener blocks */
    uint64_t per_listener_settings;
    uint64_t retain_available, queue_qos0_messages, set_tcp_nodelay;
    uint64_t memory_bytes_max; /* 0: no limit */
    uint64_t log_types;        /* bit per enum log_level */
    uint64_t log_dests;        /* LOG_TO_ */
    uint64_t log_timestamp, connection_messages;
    char *log_file, *pid_file, *user;
    uint64_t sys_interval_s;    /* 0: there is no $SYS */
    uint64_t session_drop_head; /* the place in queued_overflow's values */
    uint64_t check_payload_format;
    uint64_t topic_dialect; /* the place in topic_dialect's values: enum stomp_dialect */
    uint64_t stomp_persistent, stomp_strict_host;
    char *response_information; /* or NULL */
    char *scram_file;           /* or NULL: nobody can prove who they are */

    uint64_t persistence;      /* PERSIST_; after config_finish never UNSAID */
    uint64_t sync_interval_ms; /* PERSIST_INTERVAL */
    uint64_t commit_ms_min, linger_commit_ms, segment_bytes, disk_bytes_max;
    char *disk_location;    /* persistence_location; or NULL */
    const char *disk_asked; /* borrowed: --data; NULL: not given; to be set before config_finish */
    const char *disk_dir;   /* after config_finish: one of the two; NULL: everything is in memory */

    struct config_listener base; /* what is written before the first listener: the default listener */
    bool base_is_written;        /* port or bind_address were there */
    struct seen *seen;           /* what was set where, to find contradictions */
    unsigned seen_n, seen_cap;
    struct list files;  /* names, for places */
    uint64_t warned[4]; /* bit per option: said once */
};

/* config_init: everything at its default. `say` hears errors (LOG_ERROR), warnings (LOG_WARN) and notes (LOG_NOTICE),
 * one line each, without line end; it may be called until config_finish has returned. */
void config_init(struct config *c, struct mem *mem, const char *const *protocols, config_say_fn say, void *ctx);

/* config_fini: frees what the config owns, places' file names included. */
void config_fini(struct config *c);

/* config_file: reads `path` and, in C-locale order, the *.conf files of the directories it includes. ERR_INVALID:
 * something in it was wrong, ERR_IO: it could not be read, ERR_NOMEM; in each case one error was said. */
enum err config_file(struct config *c, const char *path) MUST_CHECK;

/* config_text: the same for the bytes of one file, called `name` in places. */
enum err config_text(struct config *c, const char *name, struct slice text) MUST_CHECK;

/* config_finish: resolves what depends on several lines (listeners, who may be anonymous), adds the default listeners
 * when none was asked for: 1883 and 61613 on loopback, or `port` (0 .. 65535) when it is not -1; and what is kept on
 * disk, and where. Errors as config_file. */
enum err config_finish(struct config *c, int port) MUST_CHECK;

/* config_place: "FILE:LINE: " of a place, "" when it is in no file; at most cap > 0 bytes, NUL-terminated. */
void config_place(const struct place *p, char *out, size_t cap);

/* config_scram_place: where scram_file, which is not NULL, was written. */
const struct place *config_scram_place(const struct config *c);

/* config_disk_place: where disk_dir, which is not NULL, was written: "FILE:LINE: persistence_location" or "--data". At
 * most cap > 0 bytes, NUL-terminated. */
void config_disk_place(const struct config *c, char *out, size_t cap);

/* config_protocol: the name of what a listener serves alone, NULL: all. */
const char *config_protocol(const struct config *c, const struct config_listener *l);

#endif
