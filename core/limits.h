/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CORE_LIMITS_H
#define WEIR_CORE_LIMITS_H

/*
 * limits.h: every limit of the broker in one table, from which `struct limits`, the configuration options and
 * docs/limits.md are made. What happens at a limit is named: refuse (an error to the peer), close (the connection),
 * drop (the message, counted), queue (wait), cut (clamped in silence, where the specification lets the server say so).
 *
 *   X(field, option, default, min, max, unit, policy, why)
 */

#include <stdint.h>

#define LIMIT_LIST(X)                                                                                                  \
    X(connections_max, "max_connections", 100000, 1, 10000000, "connections", "close",                                 \
      "bounds memory; the open-file limit may be lower")                                                               \
    X(sessions_max, "max_sessions", 1000000, 0, 4294967295, "sessions", "refuse",                                      \
      "sessions, with or without a connection: who comes with a new name is refused (0: no limit)")                    \
    X(queues_max, "max_queues", 100000, 0, 4294967295, "queues", "refuse",                                             \
      "named queues, which peers make by using them (0: no limit)")                                                    \
    X(exchanges_max, "max_exchanges", 10000, 8, 1000000, "exchanges", "refuse",                                        \
      "exchanges of one virtual host, the built-in ones included")                                                     \
    X(ack_ms, "queue_ack_timeout", 1800000, 0, 4294967295, "ms", "queue",                                              \
      "an unacknowledged STOMP delivery from a named queue goes back to it after this time, unless "                   \
      "x-consumer-timeout "                                                                                            \
      "says otherwise (0: never)")                                                                                     \
    X(publish_rate, "max_publish_rate", 0, 0, 4294967295, "messages/s", "queue",                                       \
      "messages one connection may publish; it is not read while it is ahead of that (0: no limit)")                   \
    X(publish_bytes_rate, "max_publish_bytes_rate", 0, 0, 1099511627776, "bytes/s", "queue",                           \
      "bytes of payload one connection may publish; it is not read while it is ahead of that (0: no limit)")           \
    X(topic_rate, "max_topic_publish_rate", 0, 0, 4294967295, "messages/s", "queue",                                   \
      "messages all connections together may publish to topics (amq.topic); other exchanges: x-rate-limit (0: no "     \
      "limit)")                                                                                                        \
    X(tx_n_max, "stomp_max_transactions", 16, 1, 10000, "transactions", "close",                                       \
      "transactions one STOMP connection may have open")                                                               \
    X(tx_actions_max, "stomp_max_transaction_actions", 1024, 1, 1000000, "frames", "close",                            \
      "SEND, ACK and NACK frames in one transaction")                                                                  \
    X(tx_bytes_max, "stomp_max_transaction_bytes", 4194304, 1024, 1099511627776, "bytes", "close",                     \
      "bytes of the messages in all open transactions of one STOMP connection")                                        \
    X(login_ms, "login_timeout", 10000, 100, 600000, "ms", "close",                                                    \
      "a connection must say who it is within this time")                                                              \
    X(packet_bytes_max, "max_packet_size", 268435460, 1024, 268435460, "bytes", "close",                               \
      "largest MQTT packet read, header included (MQTT 5 §2.1.4 allows this much)")                                    \
    X(login_bytes_max, "login_bytes", 16384, 1024, 1048576, "bytes", "close",                                          \
      "largest first packet or frame before the login is accepted; a CONNECT with a large will may need more")         \
    X(stomp_body_bytes_max, "stomp_max_body", 1048576, 1024, 268435456, "bytes", "close", "largest STOMP frame body")  \
    X(topic_levels_max, "max_topic_levels", 200, 1, 200, "levels", "close", "depth of the router's walk")              \
    X(topic_bytes_max, "max_topic_length", 65535, 1, 65535, "bytes", "close",                                          \
      "longest topic; a longer filter is refused (MQTT 5 §4.7.3 allows this much)")                                    \
    X(alias_in_max, "max_topic_alias", 32, 0, 65535, "aliases", "close",                                               \
      "topic aliases an MQTT 5 peer may set; told at the login as Topic Alias Maximum")                                \
    X(alias_out_max, "max_topic_alias_broker", 32, 0, 65535, "aliases", "cut",                                         \
      "topic aliases the broker sets towards one MQTT 5 peer; a smaller Topic Alias Maximum of the peer wins")         \
    X(out_bytes_max, "max_output_bytes", 1048576, 4096, 1073741824, "bytes", "queue",                                  \
      "output waiting for one connection before deliveries wait in its queue")                                         \
    X(out_close_bytes_max, "max_output_control_bytes", 16777216, 65536, 1073741824, "bytes", "close",                  \
      "answers and deliveries copied for a connection that does not read them")                                        \
    X(session_queue_max, "max_queued_messages", 100000, 0, 4294967295, "messages", "drop",                             \
      "messages waiting in one MQTT session or STOMP subscription (0: no limit)")                                      \
    X(session_queue_bytes_max, "max_queued_bytes", 67108864, 0, 1099511627776, "bytes", "drop",                        \
      "bytes waiting in one MQTT session or STOMP subscription (0: no limit)")                                         \
    X(named_queue_max, "queue_max_messages", 1000000, 0, 4294967295, "messages", "refuse",                             \
      "messages in one named queue unless x-max-length says otherwise (0: no limit)")                                  \
    X(named_queue_bytes_max, "queue_max_bytes", 268435456, 0, 1099511627776, "bytes", "refuse",                        \
      "bytes in one named queue unless x-max-length-bytes says otherwise (0: no limit)")                               \
    X(inflight_max, "max_inflight_messages", 16384, 1, 65535, "messages", "queue",                                     \
      "QoS 1 and 2 deliveries on their way to one session; a smaller Receive Maximum of the peer wins")                \
    X(receive_max, "receive_maximum", 1024, 1, 65535, "messages", "close",                                             \
      "QoS 2 publishes a peer may have open towards us; told to MQTT 5 peers as Receive Maximum")                      \
    X(prefetch_max, "stomp_max_unacked", 65535, 1, 1000000, "messages", "queue",                                       \
      "deliveries a STOMP session may leave unacknowledged")                                                           \
    X(subscriptions_max, "max_subscriptions", 100000, 1, 10000000, "subscriptions", "refuse",                          \
      "bindings of one session")                                                                                       \
    X(shared_subscriptions_max, "max_shared_subscriptions", 1024, 1, 100000, "subscriptions", "refuse",                \
      "groups and named queues one MQTT session takes part in: an acknowledgement may have to look at all of them")    \
    X(stomp_subscriptions_max, "stomp_max_subscriptions", 256, 1, 100000, "subscriptions", "close",                    \
      "subscriptions of one STOMP connection")                                                                         \
    X(session_expiry_s_max, "max_session_expiry", 4294967295, 0, 4294967295, "s", "cut",                               \
      "longest time a session waits for its owner (4294967295: for ever)")                                             \
    X(keepalive_s_max, "max_keepalive", 65535, 0, 65535, "s", "cut",                                                   \
      "longest keep-alive; MQTT 5 peers are told (0 is then not allowed)")                                             \
    X(retained_max, "max_retained_messages", 10000000, 0, 4294967295, "messages", "refuse",                            \
      "retained messages of one virtual host (0: no limit)")                                                           \
    X(retained_bytes_max, "max_retained_bytes", 1073741824, 0, 1099511627776, "bytes", "refuse",                       \
      "bytes of the retained messages of one virtual host (0: no limit)")                                              \
    X(delayed_max, "max_delayed_messages", 100000, 0, 4294967295, "messages", "refuse",                                \
      "messages that wait for their delay in one virtual host (0: no limit)")                                          \
    X(delayed_bytes_max, "max_delayed_bytes", 268435456, 0, 1099511627776, "bytes", "refuse",                          \
      "bytes of the messages that wait for their delay (0: no limit)")                                                 \
    X(delay_s_max, "max_delay", 315360000, 1, 4294967295, "s", "refuse", "longest delay a publisher may ask for")      \
    X(route_cache_n, "route_cache", 16384, 64, 1048576, "topics", "cut", "topics whose routing result is remembered")  \
    X(read_bytes_turn, "read_budget", 65536, 4096, 16777216, "bytes", "queue",                                         \
      "bytes read from one connection in one turn")                                                                    \
    X(flush_bytes_turn, "flush_bytes", 1048576, 65536, 67108864, "bytes", "cut",                                       \
      "output made in one turn after which everything is sent before more is routed")                                  \
    X(timers_turn, "timer_budget", 10000, 1, 1000000, "timers", "queue", "timers fired in one turn")                   \
    X(linger_ms, "linger_time", 2000, 0, 60000, "ms", "close",                                                         \
      "time for the peer to read the last words before its connection is dropped")                                     \
    X(memory_soft_mark, "memory_soft_mark", 0, 0, 1099511627776, "bytes", "queue",                                     \
      "memory in use above which what waits in long queues is left to the disk (0: a quarter of what there is)")       \
    X(memory_high_mark, "memory_high_mark", 0, 0, 1099511627776, "bytes", "queue",                                     \
      "memory in use above which publishers are not read for a while, again and again (0: three eighths)")             \
    X(memory_hard_mark, "memory_hard_mark", 0, 0, 1099511627776, "bytes", "refuse",                                    \
      "memory in use above which publishes are refused, and QoS 0 that would wait is dropped (0: half)")               \
    X(ws_head_bytes_max, "websockets_headers_size", 8192, 1024, 65536, "bytes", "close",                               \
      "largest HTTP request that opens a WebSocket")                                                                   \
    X(ws_message_bytes_max, "websockets_max_message", 268435460, 1024, 1099511627776, "bytes", "close",                \
      "largest WebSocket message, over all its fragments")

struct limits {
#define X(field, option, def, min, max, unit, policy, why) uint64_t field;
    LIMIT_LIST(X)
#undef X
};

/* The table itself, for the option parser and the docs. */
struct limit_desc {
    const char *field, *option, *unit, *policy, *why;
    uint64_t def, min, max;
    uint32_t offset; /* of the field in struct limits */
};

extern const struct limit_desc limit_table[];
extern const unsigned limit_table_n;

/* limits_default: every field at its default. */
void limits_default(struct limits *out);

#endif
