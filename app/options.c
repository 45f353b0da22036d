/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c: the table of options. One row is all it takes to give Weir an option: where it is kept, what it may be,
 * and what it does, for people.
 *
 *     "max_keepalive" ─► option_find ─┬─ limit_table[]   (core/limits.h; every limit is an option)
 *                                     ├─ rows[]          (the rest of what Weir does)
 *                                     └─ the rest of mosquitto's words: LATER, MOOT, or REFUSED because they restrict
 *
 * Invariants
 *   1. Every option of mosquitto 2.0 has a row: as far as Weir has it under the same name, with the same meaning.
 *   2. What restricts access and is not there yet is REFUSED, never LATER: a broker does not come up more open than its
 *      file says. Only its harmless value, which asks for nothing, passes.
 *   3. A name occurs once, in rows, limits and second names together.
 * Cost    a walk over about 150 short names per configuration line. No allocation.
 * Thread  any; nothing here changes.
 */
#include "app/options.h"

#include <stddef.h>
#include <string.h>

#include "app/config.h"
#include "core/limits.h"

#define GLOBAL(member)       .scope = SCOPE_GLOBAL, .offset = (uint32_t)offsetof(struct config, member)
#define PER_LISTENER(member) .scope = SCOPE_LISTENER, .offset = (uint32_t)offsetof(struct config_listener, member)
#define SWITCH(default_)     .type = OPTION_BOOL, .max = 1, .def = (default_)
#define VERB(verb_, how)     .type = OPTION_VERB, .verb = (verb_), .values = (how)

#define LATER(name_, harmless_, instead)                                                                               \
    {                                                                                                                  \
        .name = (name_), .class = OPTION_LATER, .harmless = (harmless_), .help = (instead)                             \
    }
#define MOOT(name_, harmless_, why)                                                                                    \
    {                                                                                                                  \
        .name = (name_), .class = OPTION_MOOT, .harmless = (harmless_), .help = (why)                                  \
    }
#define REFUSED(name_, harmless_, cure)                                                                                \
    {                                                                                                                  \
        .name = (name_), .class = OPTION_REFUSED, .harmless = (harmless_), .help = (cure)                              \
    }

#define NO_LOGIN                                                                                                       \
    "passwords cannot be checked yet, and nobody is let in unchecked instead; remove this line, and name a "           \
    "scram_file, or write allow_anonymous true only if everybody may log in"
#define NO_ACCESS                                                                                                      \
    "access rules cannot be kept yet, and topics are not left open instead; remove this line only if everybody who "   \
    "logs in may use every topic"
#define NEVER_SAVES                                                                                                    \
    "nothing is saved now and then: what weir acknowledges, it has written (persistence interval MS gives that up)"
#define NO_PLUGIN "there are no plugins, and their checks are not left out instead; remove this line to do without"
#define NO_TLS                                                                                                         \
    "encrypted listeners are not built yet, and no listener speaks in the clear instead; remove this listener, or "    \
    "this line and put a TLS proxy in front of a loopback listener"
#define NO_ID_RULE                                                                                                     \
    "which client identifiers may log in cannot be restricted yet; remove this line only if every identifier may"

static const struct option rows[] = {
    /* ---- who may connect, and where */
    {.name = "listener",
     .def_text = "1883 and 61613, on loopback",
     VERB(VERB_LISTENER, "PORT [ADDRESS] | 0 /PATH"),
     .help =
         "Begins a listener. ADDRESS is numeric or a host name; without one every address of the machine is used. Port "
         "0 takes a free port and says which. With 0 and a path that begins with / it is a unix socket. Options of a "
         "listener stand below this line."},
    {.name = "port",
     .scope = SCOPE_LISTENER,
     .def_text = "",
     VERB(VERB_PORT, "0 to 65535"),
     .help =
         "Port of the default listener, which exists only if port or bind_address is written (`listener` says the same "
         "in one line)."},
    {.name = "bind_address",
     .scope = SCOPE_LISTENER,
     .def_text = "every address",
     VERB(VERB_BIND_ADDRESS, "ADDRESS"),
     .help = "Address of the default listener; its port is 1883 unless port says otherwise."},
    {.name = "protocol",
     .def_text = "all",
     PER_LISTENER(protocol),
     VERB(VERB_PROTOCOL, "mqtt | stomp | websockets | all"),
     .help =
         "What is spoken on this listener. With all, the first bytes of a connection decide. mqtt and stomp are the "
         "bare protocols; websockets is MQTT (subprotocols mqtt and mqttv3.1) and STOMP (v12.stomp, v11.stomp and "
         "v10.stomp) in WebSockets, and nothing else."},
    {.name = "socket_domain",
     .type = OPTION_ENUM,
     .values = "any|ipv4|ipv6",
     .def_text = "any",
     PER_LISTENER(domain),
     .help = "Use only one version of IP."},
    {.name = "allow_anonymous",
     .def_text = "on loopback only",
     GLOBAL(allow_anonymous),
     VERB(VERB_ALLOW_ANONYMOUS, "true | false"),
     .help =
         "Let peers log in without proving who they are. Not written, they may on loopback addresses and unix sockets, "
         "and nowhere else. It holds for all listeners wherever it is written, unless per_listener_settings is true. "
         "false needs a scram_file, and ends the start without one: a user name with a plain password proves nothing "
         "yet."},
    {.name = "listener_allow_anonymous",
     .def_text = "what allow_anonymous says",
     PER_LISTENER(listener_allow_anonymous),
     VERB(VERB_ALLOW_ANONYMOUS, "true | false"),
     .help = "allow_anonymous for this listener alone, whatever that says; false needs a scram_file here, too."},
    {.name = "per_listener_settings",
     SWITCH(0),
     GLOBAL(per_listener_settings),
     .help = "With true, allow_anonymous holds for the listener it is written below, and must be written below one."},
    {.name = "scram_file",
     .type = OPTION_TEXT,
     .def_text = "",
     GLOBAL(scram_file),
     .help = "File of the users who can prove who they are by SCRAM-SHA-256 (MQTT 5 enhanced authentication), one "
             "per line as weir --scram-user NAME prints it. Read at the start only: SIGHUP does not read it again."},

    /* ---- what a listener serves */
    {.name = "max_qos",
     .type = OPTION_UINT,
     .max = 2,
     .def = 2,
     PER_LISTENER(qos_max),
     .help = "Highest QoS that publishers may use here and subscribers are granted. MQTT 5 peers are told; a publish "
             "above it ends the connection."},
    {.name = "conformance",
     .type = OPTION_ENUM,
     .values = "strict|lenient",
     .def_text = "strict",
     PER_LISTENER(is_lenient),
     .help = "lenient overlooks what real devices are known to get wrong, and nothing else: reserved bits in the first "
             "byte of SUBSCRIBE, UNSUBSCRIBE and PUBREL; DUP at QoS 0; the reserved CONNECT flag; a will's QoS or "
             "RETAIN without a will; in 3.1.1 a password without a user name; in 5.0 lengths not in their shortest "
             "form; MQTT in a WebSocket without a subprotocol. docs/mqtt.md has the statements."},
    {.name = "server_reference",
     .type = OPTION_TEXT,
     .def_text = "",
     .max = 1024,
     PER_LISTENER(server_reference),
     .help = "Who serves instead (\"hub2.example.com:1883 hub3.example.com\"): told to MQTT 5 peers that are refused "
             "because a limit is reached, and when the broker stops."},
    {.name = "server_moved",
     SWITCH(0),
     PER_LISTENER(has_moved),
     .help =
         "Refuse every MQTT peer here with Server moved and the server_reference, which is needed then. STOMP has no "
         "word for it and is served."},
    {.name = "websockets_origin",
     .scope = SCOPE_LISTENER,
     .def_text = "the page's own host, see websockets_host",
     .offset = (uint32_t)offsetof(struct config_listener, ws_origins),
     VERB(VERB_WS_ORIGIN, "SCHEME://HOST[:PORT] | *"),
     .help = "Web pages of this origin may open WebSockets here; * stands for all. Several lines add up. A page that "
             "was loaded from the very host and port it connects to needs no line."},
    {.name = "websockets_host",
     .scope = SCOPE_LISTENER,
     .def_text = "localhost and IP addresses",
     .offset = (uint32_t)offsetof(struct config_listener, ws_hosts),
     VERB(VERB_WS_HOST, "NAME"),
     .help = "A host name under which pages of this machine may be loaded and connect back here, besides localhost and "
             "IP addresses. Several lines add up."},
    {.name = "websockets_path",
     .scope = SCOPE_LISTENER,
     .def_text = "any path",
     .offset = (uint32_t)offsetof(struct config_listener, ws_paths),
     VERB(VERB_WS_PATH, "/PATH"),
     .help = "WebSockets are opened at this path only, such as /ws; others get 404. Several lines add up."},

    /* ---- the broker */
    {.name = "persistent_client_expiration",
     .type = OPTION_AGE,
     .min = 1,
     .max = 4294967294,
     .def_text = "never",
     .unit = "s",
     GLOBAL(limits.session_expiry_s_max),
     .help = "Longest time a session waits for its owner, as a number and one of h d w m y (a month has 30 days): "
             "max_session_expiry in mosquitto's words."},
    {.name = "queue_qos0_messages",
     SWITCH(0),
     GLOBAL(queue_qos0_messages),
     .help = "Keep QoS 0 messages, too, for sessions whose owner is away."},
    {.name = "retain_available",
     SWITCH(1),
     GLOBAL(retain_available),
     .help = "With false, retained messages are refused."},
    {.name = "queued_overflow",
     .type = OPTION_ENUM,
     .values = "drop-new|drop-head",
     .def_text = "drop-new",
     GLOBAL(session_drop_head),
     .help = "What goes when a session's queue is full (max_queued_messages, max_queued_bytes): the message that does "
             "not fit, or the oldest that waits."},
    {.name = "check_payload_format",
     SWITCH(0),
     GLOBAL(check_payload_format),
     .help = "Refuse MQTT 5 messages whose Payload Format Indicator says UTF-8 and whose payload is not."},
    {.name = "topic_dialect",
     .type = OPTION_ENUM,
     .values = "merged|amqp|mqtt",
     .def_text = "merged",
     GLOBAL(topic_dialect),
     .help =
         "What separates the levels of a STOMP destination behind /topic/: merged takes '.' and '/', amqp only '.' (as "
         "RabbitMQ does), mqtt only '/'. /mqtt/ is always written as MQTT writes topics."},
    {.name = "stomp_persistent",
     SWITCH(0),
     GLOBAL(stomp_persistent),
     .help = "A STOMP SEND without a persistent header is persistent:true: queues that survive a restart keep it, and "
             "its receipt waits for the disk."},
    {.name = "stomp_strict_host",
     SWITCH(0),
     GLOBAL(stomp_strict_host),
     .help =
         "Refuse STOMP 1.1 and 1.2 peers whose CONNECT has no host header, or one that is neither / nor localhost nor "
         "the listener's address. false: whatever they name, they get /."},
    {.name = "response_information",
     .type = OPTION_TEXT,
     .def_text = "",
     .max = 1024,
     GLOBAL(response_information),
     .help = "What MQTT 5 peers that ask for Response Information are told, commonly the topic their responses go to; "
             "%c in it stands for the client id."},
    {.name = "sys_interval",
     .type = OPTION_UINT,
     .unit = "s",
     .max = 65535,
     .def = 10,
     GLOBAL(sys_interval_s),
     .help = "Time between two updates of the $SYS topics; 0: there are none."},
    {.name = "memory_limit",
     .type = OPTION_UINT,
     .unit = "bytes",
     .min = 1048576,
     .max = 1099511627776,
     .unlimited = "0",
     .def_text = "0 (no limit)",
     GLOBAL(memory_bytes_max),
     .help = "Heap memory in all. At the limit messages are refused and connections closed."},
    {.name = "set_tcp_nodelay",
     SWITCH(1),
     GLOBAL(set_tcp_nodelay),
     .help = "Send small packets at once (no Nagle algorithm). Unlike mosquitto's, the default is true."},

    /* ---- the disk */
    {.name = "persistence",
     .def_text = "always with a directory, off without",
     GLOBAL(persistence),
     VERB(VERB_PERSISTENCE, "off | interval MS | always | true | false"),
     .help =
         "What an acknowledgement means. always (true): what it is for is on the disk, synced. interval MS: the "
         "operating system has it, and it is synced every so often: it survives the end of the broker, but a power cut "
         "takes up to that much of what was acknowledged. off (false): everything is in memory. All but off need a "
         "directory: persistence_location, or --data. docs/durability.md has the whole promise."},
    {.name = "persistence_location",
     .type = OPTION_TEXT,
     .def_text = "",
     .max = 4000,
     GLOBAL(disk_location),
     .help =
         "Directory of the log, made if it is not there, for this broker alone. Unlike in mosquitto it is enough to "
         "name it: only persistence off leaves it unused. --data DIR says the same."},
    {.name = "persistence_commit_interval",
     .type = OPTION_UINT,
     .unit = "ms",
     .max = 60000,
     GLOBAL(commit_ms_min),
     .help = "Least time between two batches: fewer and larger writes for flash that wears out or is slow, and "
             "acknowledgements that wait for so long. 0: as fast as the disk is."},
    {.name = "persistence_commit_linger",
     .type = OPTION_UINT,
     .unit = "ms",
     .max = 10000,
     .def = 20,
     GLOBAL(linger_commit_ms),
     .help =
         "How long messages whose consumers are all there may wait to be acknowledged by them before they are written: "
         "what is settled by then is never written, and its publisher is answered at once. 0: nothing waits for that."},
    {.name = "persistence_segment_size",
     .type = OPTION_UINT,
     .unit = "bytes",
     .min = 65536,
     .max = 134217728,
     .def = 16777216,
     GLOBAL(segment_bytes),
     .help = "Size of one file of the log, written in advance. Space is given back a file at a time; a larger message "
             "gets a file of its own."},
    {.name = "persistence_max_size",
     .type = OPTION_UINT,
     .unit = "bytes",
     .max = 1152921504606846976,
     .def_text = "0 (what the disk has)",
     GLOBAL(disk_bytes_max),
     .help =
         "Size of all files of the log together, at least eight segments. At the limit, as on a full disk, messages "
         "that must be stored are refused and consumers go on. 0: what the disk has."},

    /* ---- the process */
    {.name = "include_dir",
     .def_text = "",
     VERB(VERB_INCLUDE_DIR, "DIRECTORY"),
     .help =
         "Reads all files of the directory that end in .conf, in the order of their bytes (A before a). Only in the "
         "main file; a listener of the main file does not reach into them, nor theirs into each other."},
    {.name = "log_dest",
     .def_text = "stderr",
     VERB(VERB_LOG_DEST, "stderr | stdout | file PATH | none"),
     .help = "Where the log goes; several lines make several places. SIGHUP opens the file anew."},
    {.name = "log_type",
     .def_text = "error, warning, notice",
     VERB(VERB_LOG_TYPE, "error | warning | notice | information | debug | all | none"),
     .help = "What is logged; several lines add up. -v is log_type all."},
    {.name = "log_timestamp", SWITCH(1), GLOBAL(log_timestamp), .help = "Begin log lines with the time (UTC)."},
    {.name = "connection_messages",
     SWITCH(1),
     .def_text = "what log_type says",
     GLOBAL(connection_messages),
     .help = "Log why connections end. These lines are of type information: true adds that type unless log_type is "
             "written, false takes it away."},
    {.name = "pid_file",
     .type = OPTION_TEXT,
     .def_text = "",
     GLOBAL(pid_file),
     .help = "Where to write the process id; removed at the end, if `user` may do that in its directory."},
    {.name = "user",
     .type = OPTION_TEXT,
     .def_text = "",
     GLOBAL(user),
     .help =
         "When started as root, become this user and its groups once all listeners are open; the log's files are this "
         "user's from the start. Not written: stay."},

    /* ---- mosquitto's, and nothing is missing without them */
    MOOT("autosave_interval", NULL, NEVER_SAVES),
    MOOT("autosave_on_changes", "false", NEVER_SAVES),
    MOOT("persistence_file", NULL, "the log is several files, in persistence_location, whose names are given"),

    /* ---- mosquitto's, harmless to do without */
    LATER("allow_duplicate_messages", "false", "a message goes once to a subscriber, however many filters match"),
    LATER("auto_id_prefix", NULL, NULL),
    LATER("check_retain_source", "true", "there are no access rules to check against"),
    LATER("log_facility", NULL, NULL),
    LATER("log_timestamp_format", NULL, "times are always written as 2026-11-21T10:30:00.000Z"),
    LATER("max_inflight_bytes", "0", "max_inflight_messages"),
    LATER("message_size_limit", "0", "max_packet_size, which ends the connection"),
    LATER("upgrade_outgoing_qos", "false", NULL),
    LATER("http_dir", NULL, NULL),
    LATER("websockets_log_level", NULL, NULL),
    LATER("retry_interval", NULL, "does nothing in mosquitto 2 either"),
    LATER("store_clean_interval", NULL, "does nothing in mosquitto 2 either"),
    LATER("global_max_clients", "-1", "max_connections"),
    LATER("retain_expiry_interval", "0", NULL),
    LATER("packet_buffer_size", NULL, NULL),
    LATER("packet_max_*", NULL, "login_bytes, max_packet_size"),
    LATER("enable_control_api", "false", NULL),
    LATER("mptcp", "false", NULL),
    LATER("listener_auto_id_prefix", NULL, NULL),
    LATER("disable_client_cert_date_checks", "false", NULL),

    /* ---- mosquitto's bridges: a link that is missing opens nothing */
    LATER("connection", NULL, NULL),
    LATER("address", NULL, NULL),
    LATER("addresses", NULL, NULL),
    LATER("bridge_*", NULL, NULL),
    LATER("cleansession", NULL, NULL),
    LATER("clientid", NULL, NULL),
    LATER("idle_timeout", NULL, NULL),
    LATER("keepalive_interval", NULL, NULL),
    LATER("local_cleansession", NULL, NULL),
    LATER("local_clientid", NULL, NULL),
    LATER("local_password", NULL, NULL),
    LATER("local_username", NULL, NULL),
    LATER("notification_topic", NULL, NULL),
    LATER("notifications", NULL, NULL),
    LATER("notifications_local_only", NULL, NULL),
    LATER("password", NULL, NULL),
    LATER("remote_clientid", NULL, NULL),
    LATER("remote_password", NULL, NULL),
    LATER("remote_username", NULL, NULL),
    LATER("restart_timeout", NULL, NULL),
    LATER("round_robin", NULL, NULL),
    LATER("start_type", NULL, NULL),
    LATER("threshold", NULL, NULL),
    LATER("topic", NULL, NULL),
    LATER("try_private", NULL, NULL),
    LATER("username", NULL, NULL),

    /* ---- mosquitto's, and they restrict */
    REFUSED("password_file", NULL, NO_LOGIN),
    REFUSED("acl_file", NULL, NO_ACCESS),
    REFUSED("mount_point", NULL, NO_ACCESS),
    REFUSED("plugin", NULL, NO_PLUGIN),
    REFUSED("plugin_load", NULL, NO_PLUGIN),
    REFUSED("plugin_use", NULL, NO_PLUGIN),
    REFUSED("plugin_opt_*", NULL, NO_PLUGIN),
    REFUSED("global_plugin", NULL, NO_PLUGIN),
    REFUSED("auth_plugin", NULL, NO_PLUGIN),
    REFUSED("auth_plugin_deny_special_chars", NULL, NO_PLUGIN),
    REFUSED("auth_opt_*", NULL, NO_PLUGIN),
    REFUSED("allow_zero_length_clientid", "true", NO_ID_RULE),
    REFUSED("clientid_prefixes", NULL, NO_ID_RULE),
    REFUSED("use_username_as_clientid", "false", NO_ID_RULE),
    REFUSED("accept_protocol_versions", NULL, "all versions are accepted; remove this line only if they may be"),
    REFUSED("bind_interface", NULL,
            "listeners cannot be tied to an interface yet; name its address in the listener line instead"),
    REFUSED("proxy_protocol_v2", "false", "the PROXY header is not understood yet; remove this listener"),
    REFUSED("proxy_protocol_v2_require_tls", "false", "the PROXY header is not understood yet; remove this listener"),
    REFUSED("cafile", NULL, NO_TLS),
    REFUSED("capath", NULL, NO_TLS),
    REFUSED("certfile", NULL, NO_TLS),
    REFUSED("keyfile", NULL, NO_TLS),
    REFUSED("crlfile", NULL, NO_TLS),
    REFUSED("dhparamfile", NULL, NO_TLS),
    REFUSED("ciphers", NULL, NO_TLS),
    REFUSED("ciphers_tls1.3", NULL, NO_TLS),
    REFUSED("require_certificate", "false", NO_TLS),
    REFUSED("use_identity_as_username", "false", NO_TLS),
    REFUSED("use_subject_as_username", "false", NO_TLS),
    REFUSED("psk_file", NULL, NO_TLS),
    REFUSED("psk_hint", NULL, NO_TLS),
    REFUSED("tls_version", NULL, NO_TLS),
    REFUSED("tls_engine", NULL, NO_TLS),
    REFUSED("tls_engine_kpass_sha1", NULL, NO_TLS),
    REFUSED("tls_keyform", NULL, NO_TLS),
};

/* Second names. */
static const struct {
    const char *name, *option;
} also[] = {
    {"global_max_connections", "max_connections"}, /* mosquitto 2.1 */
    {"retained_persistence", "persistence"},
};

/* What mosquitto's spelling of a limit has beyond a plain number. */
static const struct {
    const char *option, *unlimited;
    enum option_verb verb;
} limit_extra[] = {
    {"max_connections", "-1", VERB_MAX_CONNECTIONS},
    {"max_packet_size", "0", VERB_NONE},
    {"max_inflight_messages", "0", VERB_NONE},
};

static void from_limit(const struct limit_desc *d, struct option *out)
{
    *out = (struct option){.name = d->option,
                           .help = d->why,
                           .unit = d->unit,
                           .policy = d->policy,
                           .def = d->def,
                           .min = d->min,
                           .max = d->max,
                           .class = OPTION_WORKS,
                           .scope = SCOPE_GLOBAL,
                           .type = OPTION_UINT,
                           .offset = (uint32_t)offsetof(struct config, limits) + d->offset};
    for (size_t i = 0; i < ARRAY_N(limit_extra); i++) {
        if (strcmp(limit_extra[i].option, d->option) == 0) {
            out->unlimited = limit_extra[i].unlimited;
            out->verb = limit_extra[i].verb;
        }
    }
}

unsigned option_n(void)
{
    return (unsigned)ARRAY_N(rows) + limit_table_n;
}

void option_at(unsigned i, struct option *out)
{
    BUG_ON(i >= option_n());
    if (i < ARRAY_N(rows))
        *out = rows[i];
    else
        from_limit(&limit_table[i - ARRAY_N(rows)], out);
}

/* is_called: name is the row's name, or belongs to the family "prefix_*". */
static bool is_called(const char *row, struct slice name)
{
    size_t n = strlen(row);
    if (row[n - 1] == '*')
        return slice_starts_with(name, slice_make(row, n - 1)) && name.len >= n;
    return slice_eq_str(name, row);
}

bool option_find(struct slice name, struct option *out)
{
    for (size_t i = 0; i < ARRAY_N(also); i++) {
        if (slice_eq_str(name, also[i].name))
            name = slice_from_str(also[i].option);
    }
    for (unsigned i = 0; i < option_n(); i++) {
        option_at(i, out);
        if (is_called(out->name, name))
            return true;
    }
    return false;
}

#define NAME_MAX_COMPARED 40u

/* distance: how many letters to change, add or leave out to make b of a (Levenshtein); both at most NAME_MAX_COMPARED.
 */
static unsigned distance(struct slice a, struct slice b)
{
    unsigned row[NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            unsigned up = row[j];
            unsigned change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            row[j] = MIN(change, MIN(up, row[j - 1]) + 1);
            diagonal = up;
        }
    }
    return row[b.len];
}

const char *option_nearest(struct slice name)
{
    if (name.len > NAME_MAX_COMPARED)
        return NULL;
    const char *nearest = NULL;
    unsigned best = (unsigned)MIN(name.len / 3, 3) + 1;
    for (unsigned i = 0; i < option_n(); i++) {
        struct option o;
        option_at(i, &o);
        struct slice candidate = slice_from_str(o.name);
        unsigned d = candidate.len > NAME_MAX_COMPARED ? best : distance(name, candidate);
        if (d < best) {
            best = d;
            nearest = o.name;
        }
    }
    return nearest;
}
