/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_CRASH_DEV_H
#define WEIR_TESTS_CRASH_DEV_H

/*
 * crash_dev.h: a device: an MQTT 5 or 3.1.1 peer with a session that is meant to survive everything. It publishes at
 * QoS 1 and 2 (topics, groups, queues, retained, delayed), repeats what was not answered, subscribes and unsubscribes,
 * takes deliveries at QoS 1 or 2, and leaves a will. It never forgets: its packet ids outlive every connection.
 */

#include <stdbool.h>
#include <stdint.h>

#include "proto_mqtt/mqtt_wire.h"
#include "tests/sim/crash_link.h"

enum crash_dev_state { DEV_OFF, DEV_CONNECTING, DEV_ON, DEV_LEAVING };

enum { DEV_OUT_MAX = 12, DEV_OWED_MAX = 4096 };

struct crash_out { /* a publish without its last answer */
    uint32_t msg;
    uint16_t id;
    bool is_released; /* PUBREC came */
};

struct crash_in { /* QoS 2: received, PUBREL has not come */
    uint32_t msg;
    uint16_t id;
};

struct crash_owed { /* an answer to a delivery, not sent yet */
    uint16_t id;
    uint8_t type;
};

/* owner: crash_world */
struct crash_dev {
    struct crash_link link; /* first */
    struct crash_world *w;
    uint32_t number; /* its box */
    char id[16];
    enum mqtt_version v;
    enum crash_dev_state state;
    uint8_t sub_qos;
    bool has_session; /* it was told so */
    bool must_clean;  /* a clean start was sent and not answered */
    bool asked_clean;
    struct crash_out out[DEV_OUT_MAX];
    uint32_t out_n;
    struct crash_in *in;
    uint32_t in_n, in_cap;
    struct crash_owed *owed;
    uint32_t owed_n, owed_cap;
    uint16_t next_id;
    uint16_t ask_id; /* SUBSCRIBE or UNSUBSCRIBE under way; 0: none */
    bool ask_is_unsub, ask_is_group;
    uint32_t ask;  /* filter or group; CRASH_NONE: nothing has to be asked again */
    uint32_t will; /* CRASH_NONE: none */
    uint32_t will_delay_s;
    bool was_on; /* the login was answered on the connection that ended */
    bool was_goodbye;
    mono_ms lost_at;
    struct sim_event back;   /* connect again */
    struct sim_event answer; /* send what is owed */
};

struct crash_dev *crash_dev_new(struct crash_world *w, uint32_t number) MUST_CHECK;
void crash_dev_free(struct crash_dev *d);

void crash_dev_act(struct crash_dev *d);
/* crash_dev_rest: does what must still be done, nothing new. True: it is connected and owes and waits for nothing. */
bool crash_dev_rest(struct crash_dev *d);

/* ---- between crash_dev.c (what it does) and crash_dev_in.c (what it hears) ---- */
extern const struct crash_link_ops crash_dev_link_ops;
void crash_dev_connect(struct crash_dev *d);
void crash_dev_lost(struct crash_dev *d);
void crash_dev_resend(struct crash_dev *d);
void crash_dev_ask(struct crash_dev *d);
void crash_dev_owe(struct crash_dev *d, uint8_t type, uint16_t id);
void crash_dev_put_ack(struct crash_dev *d, uint8_t type, uint16_t id);
/* crash_dev_judge_will: it is back: must its will have been published meanwhile? */
void crash_dev_judge_will(struct crash_dev *d);

#endif
